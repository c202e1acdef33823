"""From what was given to `Settings`: flag over environment over file over manifest over default.

Pure: files are read by what the caller passes in, and `os.environ` is read in the adapter.
Every problem is found before the first is reported. A value is shown as its repr, so stray
quotes and line ends are visible; a secret is never shown.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import msgspec

from iatp.values.address import AgentAddress, TextError, is_loopback, points_at, socket_path
from iatp.values.errors import ConfigurationError
from iatp.values.manifest import (
    AgentCapabilities,
    CapabilityManifest,
    PrivacyContract,
    load_manifest,
)
from iatp.values.manifest_rules import ManifestError
from iatp.values.policy import DEFAULT, Mode, Policy, PolicyError, load_policy
from iatp.values.settings import (
    BY_KEY,
    PREFIX,
    RETIRED,
    SETTINGS,
    ControlOnData,
    Durability,
    LogFormat,
    LogLevel,
    OverrideMode,
    RecordFailure,
    Setting,
    Settings,
    metrics_host,
)
from iatp.values.texts import Reader, Secret, nearest, read_text

__all__ = [
    "AgentAddress",
    "ControlOnData",
    "Durability",
    "FileText",
    "Loaded",
    "LogFormat",
    "LogLevel",
    "OverrideMode",
    "ReadFile",
    "RecordFailure",
    "Secret",
    "Settings",
    "limits_warnings",
    "parse",
    "render_settings",
]

FILE_SUFFIX = "_FILE"
WISE_TOKEN_LENGTH = 16
"""Below it a token can be guessed by who may try often."""
IDLE_BYTES = 56_000_000
"""What one worker holds when idle, at most; a benchmark keeps it so."""
LEAST_MEMORY_BYTES = 64 << 20
"""Memory limit that the design asks for."""
SPARE_FILES = 64
"""File descriptors besides connections: listeners, log segments, shared memory, stdio."""


class FileText(msgspec.Struct, frozen=True, kw_only=True):
    """What a file holds, and what is questionable about the file itself."""

    data: bytes
    warning: str = ""
    """The second half of a sentence that begins with the file."""


ReadFile = Callable[[str, bool], FileText]
"""Takes a path and whether it is to hold a secret. Raises: TextError."""


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the sidecar starts from."""

    settings: Settings
    manifest: CapabilityManifest
    """What is served: the manifest file with the variables that are set over it."""
    policy: Policy
    sources: dict[str, str]
    """Field of `Settings` to where its value came from, such as `default` or `IATP_PORT`."""
    warnings: list[str]
    """One sentence each, for the operator."""


def _no_file(path: str, secret: bool) -> FileText:  # noqa: ARG001, FBT001  (a ReadFile)
    raise TextError("no file can be read here")


def parse(
    flags: Mapping[str, object] | None = None,
    env: Mapping[str, str] | None = None,
    file: Mapping[str, object] | None = None,
    *,
    file_name: str = "",
    manifest: CapabilityManifest | None = None,
    read: ReadFile = _no_file,
    own_hosts: Collection[str] = (),
    terminal: bool = False,
    in_code: bool = False,
    earlier_problems: Iterable[str] = (),
) -> Loaded:
    """All settings in force.

    `flags` and `file` are keyed by `Setting.key`; flags may hold what Python callers give
    (numbers, bools) as well as text. A `manifest` given here takes the place of a flag: it
    holds over the environment and the file, and other flags hold over it. `in_code` says
    that the flags are arguments of a call, which is how problems then name them.

    Raises:
        ConfigurationError: with every problem, `earlier_problems` first.

    """
    parsing = _Parsing(flags or {}, env or {}, file or {}, file_name, read, in_code=in_code)
    parsing.problems += earlier_problems
    loaded = parsing.run(manifest, own_hosts, terminal=terminal)
    if parsing.problems or loaded is None:
        raise ConfigurationError(parsing.problems)
    return loaded


class _Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One place in which a setting is given."""

    label: str
    value: object
    reader: Reader[Any]
    is_text: bool = True
    is_path: bool = False
    """Whether the value is the path of a file that holds it."""
    older: bool = False


class _Level(msgspec.Struct, frozen=True, kw_only=True):
    """One layer of what is given, such as the environment."""

    values: Mapping[str, object]
    label: Callable[[str], str]
    is_env: bool = False
    is_text: bool = True


class _Parsing:
    """One pass over everything that is given, which gathers problems and warnings."""

    def __init__(
        self,
        flags: Mapping[str, object],
        env: Mapping[str, str],
        file: Mapping[str, object],
        file_name: str,
        read: ReadFile,
        *,
        in_code: bool,
    ) -> None:
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self.values: dict[str, Any] = {}
        self.sources: dict[str, str] = {}
        self.broken: set[str] = set()
        """Fields whose value is a problem; what depends on them is not judged."""
        self.read = read
        self.in_flags: set[str] = set()
        """Fields that a flag gives."""
        self.where = file_name or "the file"
        ours = {name: value for name, value in env.items() if name.startswith(PREFIX)}
        self.flags = _Level(
            values=flags,
            label=lambda key: f"{key}=" if in_code else f"--{key.replace('_', '-')}",
            is_text=False,
        )
        self.env = _Level(values=ours, label=lambda name: name, is_env=True)
        self.file = _Level(values=file, label=lambda key: f"{key} in {self.where}", is_text=False)

    def run(
        self, manifest: CapabilityManifest | None, own_hosts: Collection[str], *, terminal: bool
    ) -> Loaded | None:
        self._find_unknown()
        for setting in SETTINGS:
            self._take(setting)
        self._derive(terminal=terminal)
        effective = self._overlay(manifest)
        policy = self._load_policy()
        self._check_override()
        self._check_socket()
        self._check_listeners()
        self._check_agent(own_hosts)
        self._check_sizes()
        self._check_record_failure()
        if self.problems or effective is None or policy is None:
            return None
        return Loaded(
            settings=Settings(**self.values),
            manifest=effective,
            policy=policy,
            sources=self.sources,
            warnings=self.warnings,
        )

    # What is given.

    def _find_unknown(self) -> None:
        keys = list(BY_KEY) + [f"{key}_file" for key in BY_KEY if BY_KEY[key].secret]
        for level, word in ((self.flags, "setting"), (self.file, "key")):
            for key in level.values:
                if key in keys:
                    continue
                meant = nearest(key.lower().removeprefix("iatp_").replace("-", "_"), keys)
                hint = f"; meant: {meant}" if meant else ""
                name = key if level is self.flags else level.label(_bare(key))
                self.problems.append(f"{name}: there is no such {word}{hint}.")
        variables = [name for setting in SETTINGS for name, *_ in _variables(setting)]
        for name, value in self.env.values.items():
            if name in variables or _is_service_link(name, str(value)):
                continue
            hint = RETIRED.get(name, "")
            if not hint:
                meant = nearest(name, variables)
                hint = f"the nearest is {meant}" if meant else "see iatp-sidecar --help"
            self.warnings.append(f"{_bare(name)} is set, but there is no such variable: {hint}.")

    def _take(self, setting: Setting) -> None:
        self._warn_of_older(setting)
        for level in (self.flags, self.env, self.file):
            candidates = self._candidates(setting, level)
            if candidates:
                if level is self.flags:
                    self.in_flags.add(setting.field)
                self._settle(setting, candidates)
                return
        if setting.default is not None:
            self.values[setting.field] = setting.reader.read(setting.default)
        else:
            self.values[setting.field] = None
        self.sources[setting.field] = "default"

    def _candidates(self, setting: Setting, level: _Level) -> list[_Candidate]:
        if level.is_env:
            named = _variables(setting)
        else:
            named = [(setting.key, setting.reader, False, False)]
            if setting.secret:
                named.append((f"{setting.key}_file", setting.reader, True, False))
        found = []
        for name, reader, is_path, older in named:
            value = level.values.get(name)
            # Compose files pass what is not set as an empty text. A secret that came out
            # empty, though, must not open anything.
            if value is None or (level.is_env and value == "" and not setting.secret):
                continue
            found.append(
                _Candidate(
                    label=level.label(name),
                    value=value,
                    reader=reader,
                    is_text=level.is_text or (level is self.flags and isinstance(value, str)),
                    is_path=is_path,
                    older=older,
                )
            )
        return found

    def _settle(self, setting: Setting, candidates: list[_Candidate]) -> None:
        read: list[tuple[_Candidate, Any]] = []
        for candidate in candidates:
            try:
                read.append((candidate, self._value(setting, candidate)))
            except TextError as error:
                self.broken.add(setting.field)
                self.problems.append(_sentence(setting, candidate, error))
        if not read:
            self.values[setting.field] = None
            return
        (first, value), *others = read
        for other, other_value in others:
            if other_value != value:
                self.broken.add(setting.field)
                self.problems.append(
                    f"{other.label} and {first.label} are set differently; unset one of them."
                )
        self.values[setting.field] = value
        self.sources[setting.field] = first.label
        if setting.secret and first.label.startswith("--") and not first.is_path:
            self.warnings.append(
                f"{first.label} is seen by everyone who can list processes; "
                f"{first.label}-file takes the path of a file."
            )

    def _value(self, setting: Setting, given: _Candidate) -> Any:
        if setting.secret and given.value == "":
            raise TextError("it is set but empty; unset it or give it a value")
        if not given.is_path:
            if given.is_text:
                return read_text(given.reader, str(given.value))
            return given.reader.read_native(given.value)
        if not isinstance(given.value, str):
            raise TextError("it is not the path of a file")
        content = self.read(given.value, True)  # noqa: FBT003  (a ReadFile)
        if content.warning:
            self.warnings.append(
                f"{given.label} is {_shown_path(given.value)}, which {content.warning}."
            )
        try:
            text = content.data.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise TextError("the file does not hold text") from None
        if not text:
            raise TextError("the file is empty")
        try:
            return read_text(given.reader, text)
        except TextError as error:
            raise TextError(f"in the file, {error.complaint}") from None

    def _warn_of_older(self, setting: Setting) -> None:
        for name, _, is_path, older in _variables(setting):
            if older and self.env.values.get(name):
                now = setting.env + (FILE_SUFFIX if is_path else "")
                unit = " (with a unit, such as 30s)" if setting.field.endswith("_s") else ""
                self.warnings.append(f"{name} is an older name; write {now}{unit}.")

    # What follows from it.

    def _derive(self, *, terminal: bool) -> None:
        if "key_file" not in self.broken and self.values["key_file"] is None:
            self.values["key_file"] = _beside(self.values["log_dir"] or ".", "key")
        if "signing_key_file" not in self.broken and self.values["signing_key_file"] is None:
            folder = self.values["log_dir"] or "."
            self.values["signing_key_file"] = _beside(folder, "signing.key")
        if "log_format" not in self.broken and self.values["log_format"] is None:
            self.values["log_format"] = LogFormat.TEXT if terminal else LogFormat.JSON

    def _overlay(self, argument: CapabilityManifest | None) -> CapabilityManifest | None:
        """The manifest with what is set over it; its fields become settings."""
        path, is_argument = self.values["manifest_file"], argument is not None
        where = "the manifest argument" if is_argument else f"manifest {path}"
        manifest = argument
        if not is_argument and path is not None:
            manifest = self._load_manifest(path)
        if manifest is None and (path is not None or "manifest_file" in self.broken):
            return None
        if manifest is not None:
            self._check_manifest(manifest, where)
        given = {
            setting.field: self.values[setting.field]
            for setting in _IN_MANIFEST
            if manifest is None or self._is_over(setting.field, is_argument, where)
        }
        if is_argument:
            self._is_over("manifest_file", is_argument, where)
            self.values["manifest_file"] = None
        if self.broken.intersection(setting.field for setting in _IN_MANIFEST):
            return None
        try:
            effective = _with_fields(manifest, given)
        except ManifestError as error:
            names = ", ".join(
                self.sources[field] for field in given if self.sources[field] != "default"
            )
            self.problems += [f"{where} with {names}: {each}." for each in error.problems]
            return None
        for setting in _IN_MANIFEST:
            self.values[setting.field] = _field_of(effective, setting.field)
        return effective

    def _is_over(self, field: str, is_argument: bool, where: str) -> bool:  # noqa: FBT001
        """Whether what is set holds over the manifest; if not, the manifest is the source."""
        source = self.sources.get(field, "")
        if source != "default":
            if field in self.in_flags or not is_argument:
                return True
            self.warnings.append(f"{source} has no effect: {where} holds over it.")
        self.sources[field] = where
        return False

    def _load_manifest(self, path: str) -> CapabilityManifest | None:
        source = self.sources["manifest_file"]
        try:
            return load_manifest(self.read(path, False).data)  # noqa: FBT003  (a ReadFile)
        except TextError as error:
            self.problems.append(f"{source} is {path!r}: {error.complaint}.")
        except ManifestError as error:
            self.problems += [f"{source}, {path}: {each}." for each in error.problems]
        return None

    def _load_policy(self) -> Policy | None:
        path = self.values["policy_file"]
        if path is None:
            return None if "policy_file" in self.broken else DEFAULT
        source = self.sources["policy_file"]
        try:
            policy = load_policy(self.read(path, False).data)  # noqa: FBT003  (a ReadFile)
        except TextError as error:
            self.problems.append(f"{source} is {path!r}: {error.complaint}.")
        except PolicyError as error:
            self.problems += [f"{source}, {path}: {each}." for each in error.problems]
        else:
            if policy.mode == Mode.OBSERVE:
                self.warnings.append(
                    f'{path} only observes (mode = "observe"): nothing is blocked, warned of, '
                    "redacted or closed; records say what would have happened."
                )
            return policy
        return None

    def _check_manifest(self, manifest: CapabilityManifest, where: str) -> None:
        authentication = manifest.authentication
        if authentication is None:
            return
        advice = "what is advertised must be enforced, and callers cannot be authenticated yet"
        if authentication.required:
            self.problems.append(f"{where}: authentication.required is true; {advice}.")
        methods = [method for method in authentication.methods if method != "none"]
        if methods:
            names = ", ".join(methods)
            self.problems.append(f"{where}: authentication.methods holds {names}; {advice}.")

    def _ok(self, *fields: str) -> bool:
        return not self.broken.intersection(fields)

    def _check_override(self) -> None:
        """Section 6: which mode is in force."""
        if not self._ok("override", "override_token"):
            return
        mode, token = self.values["override"], self.values["override_token"]
        source, token_source = self.sources["override"], self.sources["override_token"]
        if token is not None and source == "default":
            self.values["override"] = OverrideMode.SECRET
            self.sources["override"] = f"{token_source} is set"
        elif token is not None and mode != OverrideMode.SECRET:
            self.problems.append(
                f"{source} is {str(mode)!r}, but {token_source} is set, which only the mode "
                "'secret' takes; unset one of them."
            )
        elif token is None and mode == OverrideMode.SECRET:
            self.problems.append(
                f"{source} is 'secret', but neither IATP_OVERRIDE_TOKEN nor "
                "IATP_OVERRIDE_TOKEN_FILE is set; set one of them."
            )
        elif mode == OverrideMode.HEADER:
            self.warnings.append(
                "IATP_OVERRIDE is header: callers confirm warnings for themselves, and nothing "
                "shows that a user saw one; IATP_OVERRIDE=ticket is for production."
            )

    def _check_socket(self) -> None:
        """A data listener on a Unix socket has no port."""
        if not self._ok("host", "port") or not socket_path(self.values["host"]):
            return
        if self.sources["port"] != "default":
            self.problems.append(
                f"{self._name('port')} is {self.values['port']}, but {self._name('host')} is "
                f"{self.values['host']!r}, which has no port; unset one of them."
            )
        self.values["port"] = None
        self.sources["port"] = f"{self._name('host')} is a Unix socket"

    def _check_listeners(self) -> None:
        ports = [
            (field, self.values[field])
            for field in ("port", "admin_port", "metrics_port")
            if self._ok(field) and self.values[field]
        ]
        for index, (field, port) in enumerate(ports):
            for other, other_port in ports[:index]:
                if port == other_port:
                    self.problems.append(
                        f"{self._name(field)} and {self._name(other)} are both {port}; "
                        "every listener needs a port of its own."
                    )
        if not self._ok("admin_host", "admin_port", "admin_token"):
            return
        host, token = self.values["admin_host"], self.values["admin_token"]
        if not self.values["admin_port"]:
            return
        if token is None and not is_loopback(host):
            self.problems.append(
                f"{self._name('admin_host')} is {host!r}, which is wider than loopback; "
                "that needs IATP_ADMIN_TOKEN."
            )
        if token is not None and len(token) < WISE_TOKEN_LENGTH:
            self.warnings.append(
                f"{self._name('admin_token')} is shorter than {WISE_TOKEN_LENGTH} characters "
                "and can be guessed."
            )

    def _check_agent(self, own_hosts: Collection[str]) -> None:
        if not self._ok("agent_url"):
            return
        agent: AgentAddress = self.values["agent_url"]
        if agent.unix_path:
            self._check_agent_socket(agent)
            return
        for host_field, port_field in (
            ("host", "port"),
            ("admin_host", "admin_port"),
            ("host", "metrics_port"),
        ):
            if not self._ok(host_field, port_field) or agent.port != self.values[port_field]:
                continue
            host = self.values[host_field]
            if port_field == "metrics_port":
                host = metrics_host(host)
            if points_at(agent.host, host, own_hosts):
                self.problems.append(
                    f"{self._name('agent_url')} is {agent.url!r}, which is the sidecar itself "
                    f"({self._name(port_field)} is {agent.port}); it must be where the agent "
                    "listens."
                )
        if not is_loopback(agent.host):
            self.warnings.append(
                f"{agent.url} is plain HTTP to another host: whoever is on the way can read "
                "and change what the agent is sent."
            )

    def _check_agent_socket(self, agent: AgentAddress) -> None:
        own = socket_path(self.values["host"]) if self._ok("host") else ""
        if own and posixpath.normpath(own) == posixpath.normpath(agent.unix_path):
            self.problems.append(
                f"{self._name('agent_url')} is {agent.url!r}, which is the sidecar itself "
                f"({self._name('host')}); it must be where the agent listens."
            )

    def _check_sizes(self) -> None:
        values = self.values
        if (
            self._ok("max_body_bytes", "max_buffered_bytes")
            and values["max_buffered_bytes"] < values["max_body_bytes"]
        ):
            self.warnings.append(
                f"{self._name('max_buffered_bytes')} is {self._text('max_buffered_bytes')}: a "
                f"body of {self._name('max_body_bytes')}, {self._text('max_body_bytes')}, "
                "never fits."
            )
        if self._ok("log_max_size_bytes", "log_segment_bytes", "workers"):
            open_bytes = values["log_segment_bytes"] * values["workers"]
            if values["log_max_size_bytes"] < open_bytes:
                self.warnings.append(
                    f"{self._name('log_max_size_bytes')} is {self._text('log_max_size_bytes')}, "
                    f"but a file is deleted only once it is closed: each of "
                    f"{values['workers']} workers may hold one of "
                    f"{self._text('log_segment_bytes')} open."
                )

    def _check_record_failure(self) -> None:
        if self._ok("record_failure") and self.values["record_failure"] == RecordFailure.OPEN:
            self.warnings.append(
                f"{self._name('record_failure')} is open: while the flight recorder cannot write, "
                "requests are forwarded and answered without a record."
            )

    def _name(self, field: str) -> str:
        """Where the field was given; its variable for a default."""
        source = self.sources.get(field, "default")
        return _BY_FIELD[field].env if source == "default" else source

    def _text(self, field: str) -> str:
        return _BY_FIELD[field].reader.show(self.values[field])


_BY_FIELD: dict[str, Setting] = {setting.field: setting for setting in SETTINGS}

_IN_MANIFEST = tuple(setting for setting in SETTINGS if setting.in_manifest)

_CAPABILITY_FIELDS = ("reversibility", "idempotency", "concurrency_limit", "sla_latency_ms")
_PRIVACY_FIELDS = ("retention", "human_in_loop", "training_consent")


def _with_fields(
    manifest: CapabilityManifest | None, given: Mapping[str, Any]
) -> CapabilityManifest:
    capabilities = {name: given[name] for name in _CAPABILITY_FIELDS if name in given}
    privacy = {name: given[name] for name in _PRIVACY_FIELDS if name in given}
    top = {name: given[name] for name in ("agent_id", "trust_level") if name in given}
    if manifest is None:
        return CapabilityManifest(
            **top,
            capabilities=AgentCapabilities(**capabilities),
            privacy_contract=PrivacyContract(**privacy),
        )
    return msgspec.structs.replace(
        manifest,
        **top,
        capabilities=msgspec.structs.replace(manifest.capabilities, **capabilities),
        privacy_contract=msgspec.structs.replace(manifest.privacy_contract, **privacy),
    )


def _field_of(manifest: CapabilityManifest, field: str) -> Any:
    for names, part in (
        (_CAPABILITY_FIELDS, manifest.capabilities),
        (_PRIVACY_FIELDS, manifest.privacy_contract),
    ):
        if field in names:
            return getattr(part, field)
    return getattr(manifest, field)


def _variables(setting: Setting) -> list[tuple[str, Reader[Any], bool, bool]]:
    """Its variables, newest first: name, reader, whether it holds a path, whether it is older."""
    names = [(setting.env, setting.reader, False)]
    names += [(older.env, older.reader, True) for older in setting.older]
    found = []
    for name, reader, older in names:
        found.append((name, reader, False, older))
        if setting.secret:
            found.append((name + FILE_SUFFIX, reader, True, older))
    return found


def _is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes set it for a service whose name begins with "iatp"."""
    _, found, rest = name.partition("_SERVICE_")
    if found and rest.startswith(("HOST", "PORT")):
        return True
    return "_PORT" in name and (value.startswith(("tcp://", "udp://")) or "_TCP_" in name)


def _beside(folder: str, suffix: str) -> str:
    """Path of a key where none is set."""
    plain = posixpath.normpath(folder)
    if posixpath.basename(plain) in ("", ".", ".."):
        return posixpath.normpath(posixpath.join(plain, "..", f"iatp.{suffix}"))
    return f"{plain}.{suffix}"


def _bare(name: str) -> str:
    """A name as it is, or its repr where that would not be safe to print."""
    return name if name.isprintable() and len(name) <= 80 else repr(name[:80])


def _shown(reader: Reader[Any], value: object) -> str:
    """The value as a problem shows it, short and on one line."""
    if isinstance(value, str):
        return reader.given(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float) and abs(value) < 1 << 63:
        return str(value)
    return {int: "a number beyond 2^63", list: "a list", dict: "a table"}.get(
        type(value), f"a {type(value).__name__}"
    )


def _shown_path(path: object) -> str:
    """The path, unless it might be the secret itself, given in the wrong variable."""
    if isinstance(path, str) and (not path or path.startswith(("/", "./", "../"))):
        return repr(path)
    return "(hidden)"


def _sentence(setting: Setting, given: _Candidate, error: TextError) -> str:
    reader = given.reader
    if given.is_path:
        return f"{given.label} is {_shown_path(given.value)}: {error.complaint}."
    if setting.secret:
        return f"{given.label} (hidden): {error.complaint}; allowed: {reader.allowed}."
    meant = f"; meant: {error.meant}" if error.meant else ""
    return (
        f"{given.label} is {_shown(reader, given.value)}: {error.complaint}{meant}; "
        f"allowed: {reader.allowed}."
    )


def render_settings(loaded: Loaded) -> list[tuple[str, str, str]]:
    """Variable, value as it would be written, and source of every setting; secrets masked."""
    rows = []
    for setting in SETTINGS:
        value = getattr(loaded.settings, setting.field)
        text = "none" if value is None else setting.reader.show(value)
        rows.append((setting.env, text, loaded.sources[setting.field]))
    return rows


def limits_warnings(
    loaded: Loaded, nofile_limit: int | None, cgroup_bytes: int | None
) -> list[str]:
    """Limits of the machine that the settings do not fit; None is a limit that is not known."""
    settings = loaded.settings
    warnings = []
    agent_files = min(settings.concurrency_limit, settings.max_connections)
    needed = settings.max_connections + agent_files + SPARE_FILES
    if nofile_limit is not None and needed > nofile_limit:
        fit = max(0, nofile_limit - agent_files - SPARE_FILES)
        warnings.append(
            f"IATP_MAX_CONNECTIONS is {settings.max_connections}, but the limit of "
            f"{nofile_limit} open files leaves room for {fit}; raise it to {needed} "
            "(ulimit -n, LimitNOFILE=) or lower the setting."
        )
    if cgroup_bytes is None:
        return warnings
    limit = f"{cgroup_bytes / (1 << 20):.0f} MiB"
    if cgroup_bytes < LEAST_MEMORY_BYTES:
        warnings.append(
            f"The memory limit is {limit}; the sidecar needs {LEAST_MEMORY_BYTES >> 20} MiB."
        )
    # More workers share most of their pages, so this is the most that can be left.
    room = cgroup_bytes - IDLE_BYTES
    if settings.max_buffered_bytes > room:
        size = _BY_FIELD["max_buffered_bytes"].reader.show(settings.max_buffered_bytes)
        warnings.append(
            f"IATP_MAX_BUFFERED is {size}, but the memory limit of {limit} leaves room for "
            f"{max(0, room) >> 20} MiB at most."
        )
    return warnings
