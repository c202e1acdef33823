"""Where settings come from: flags, `os.environ`, a TOML file, secrets in files, the machine.

The only place that reads the environment. What it all means is decided in
`iatp.values.config`; here are the files, the flags of the commands, and the limits that the
machine sets.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iatp.values.address import TextError
from iatp.values.config import FILE_SUFFIX, FileText, Loaded, parse
from iatp.values.manifest import CapabilityManifest
from iatp.values.settings import BY_KEY, SETTINGS

if TYPE_CHECKING:
    import argparse

MOST_FILE_BYTES = 1 << 20
"""A TOML file, manifest or secret is far smaller; a device never ends."""
SECRET_FOLDERS = ("/run/secrets/", "/var/run/secrets/")
"""Where Docker and Kubernetes mount secrets, readable by everyone in the container."""
_MOST_OPEN_FILES = 10_240
"""OPEN_MAX of macOS, where the hard limit says infinity but more than this is refused."""
_NO_LIMIT_BYTES = 1 << 60
"""cgroup v1 says "no limit" with a number close to 2**63."""


def load(
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    manifest: CapabilityManifest | None = None,
    terminal: bool | None = None,
    in_code: bool = False,
) -> Loaded:
    """All settings in force, from these flags and the environment (default: this process's).

    `flags` are keyed as in TOML, and `config` is the path of a TOML file. `terminal` says
    whether the log goes to one; as it is, if not given.

    Raises:
        ConfigurationError: with every problem at once.

    """
    given = dict(flags or {})
    problems: list[str] = []
    config = given.pop("config", None)
    file: dict[str, Any] = {}
    if config is not None:
        try:
            file = _read_toml(str(config))
        except TextError as error:
            problems.append(f"{'config=' if in_code else '--config'} is {str(config)!r}: {error}.")
    return parse(
        given,
        os.environ if environ is None else environ,
        file,
        file_name=str(config or ""),
        manifest=manifest,
        read=read_file,
        own_hosts=own_hosts(),
        terminal=sys.stderr.isatty() if terminal is None else terminal,
        in_code=in_code,
        earlier_problems=problems,
    )


def log_key_file() -> str | None:
    """The file of IATP_LOG_KEY_FILE, for commands that read a log folder without its sidecar."""
    return os.environ.get("IATP_LOG_KEY_FILE") or None


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Give the parser one flag per setting, and `--config`. Abbreviations should be off."""
    group = parser.add_argument_group(
        "settings",
        "A flag holds over its variable, the variable over the file, the file over the manifest.",
    )
    group.add_argument("--config", metavar="PATH", help="a TOML file with any of the settings")
    for setting in SETTINGS:
        facts = f"{setting.env}; default: {setting.default_text}; allowed: {setting.reader.allowed}"
        group.add_argument(
            setting.flag,
            dest=setting.key,
            metavar=setting.reader.metavar,
            help=f"{setting.meaning} ({facts})".replace("%", "%%").replace("`", ""),
        )
        if setting.secret:
            group.add_argument(
                f"{setting.flag}-file",
                dest=f"{setting.key}_file",
                metavar="PATH",
                help=f"a file that holds it ({setting.env}{FILE_SUFFIX})",
            )


def given_flags(arguments: argparse.Namespace) -> dict[str, object]:
    """The flags that stood on the command line, for `load`."""
    names = ["config", *BY_KEY, *(f"{row.key}_file" for row in SETTINGS if row.secret)]
    return {name: value for name in names if (value := getattr(arguments, name, None)) is not None}


def read_file(path: str, secret: bool) -> FileText:  # noqa: FBT001  (a ReadFile)
    """What a regular file holds, judged more strictly where it is a secret.

    Raises:
        TextError: it can't be read, or others may write a secret.

    """
    try:
        # Not blocking: opening a named pipe would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise TextError(_reason(error)) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise TextError("it is not a regular file")
        if secret and status.st_mode & 0o022:
            raise TextError("others may write the file; chmod 600 it")
        with os.fdopen(os.dup(descriptor), "rb") as file:
            data = file.read(MOST_FILE_BYTES + 1)
    except OSError as error:
        raise TextError(_reason(error)) from None
    finally:
        os.close(descriptor)
    if len(data) > MOST_FILE_BYTES:
        raise TextError(f"the file is longer than {MOST_FILE_BYTES >> 10} KiB")
    mounted = path.startswith(SECRET_FOLDERS)
    shown = secret and status.st_mode & 0o044 and not mounted
    return FileText(data=data, warning="others may read; chmod 600 it" if shown else "")


def own_hosts() -> frozenset[str]:
    """Names and addresses of this machine, found without asking anyone."""
    name = socket.gethostname()
    hosts = {name, name.partition(".")[0]} - {""}
    hosts |= _local_addresses()
    for line in _lines(Path("/etc/hosts")):
        address, *names = line.partition("#")[0].split() or [""]
        if address in hosts or address.startswith("127.") or address == "::1":
            hosts.update(names)
    return frozenset(hosts)


def raise_file_limit() -> int | None:
    """How many files this process may open, after raising the limit as far as it goes."""
    import resource  # noqa: PLC0415

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft in (hard, resource.RLIM_INFINITY):
        return None if soft == resource.RLIM_INFINITY else soft
    for wanted in (hard, _MOST_OPEN_FILES):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            continue
        return None if wanted == resource.RLIM_INFINITY else wanted
    return soft


def file_limit() -> int | None:
    """How far `raise_file_limit` would get; None: no limit."""
    import resource  # noqa: PLC0415

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return None if hard == resource.RLIM_INFINITY else hard


def memory_limit(
    root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> int | None:
    """The tightest memory limit of this process's control groups, in bytes; None: no limit."""
    limits: list[int] = []
    for line in _lines(membership):
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers == "":
            base, name = root, "memory.max"
        elif "memory" in controllers.split(","):
            base, name = root / "memory", "memory.limit_in_bytes"
        else:
            continue
        # The path is the host's where the container has no cgroup namespace: what of it
        # does not exist here is skipped, and the root of the mount is the container's own.
        folder = base / group.lstrip("/")
        for place in (folder, *folder.parents):
            limits += [int(text) for text in _lines(place / name)[:1] if text.strip().isdigit()]
            if place == base:
                break
    real = [limit for limit in limits if limit < _NO_LIMIT_BYTES]
    return min(real, default=None)


def _read_toml(path: str) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415  (only --config needs it)

    data = read_file(path, False).data  # noqa: FBT003  (a ReadFile)
    if data.startswith(b"\xef\xbb\xbf"):
        raise TextError("it begins with a byte order mark; save it as plain UTF-8")
    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        raise TextError(f"it is not UTF-8 at byte {error.start}") from None
    except tomllib.TOMLDecodeError as error:
        # Ends in the line and column; it quotes a character or a key and no value.
        raise TextError(f"it is not TOML: {error}") from None
    except (ValueError, RecursionError):
        raise TextError(
            "it is not TOML: a number is too long, or it is nested too deeply"
        ) from None


def _local_addresses() -> set[str]:
    """Addresses of this machine's interfaces, on Linux; elsewhere none are known."""
    found = set()
    previous = ""
    for line in _lines(Path("/proc/net/fib_trie")):
        # A leaf is "|-- ADDRESS", and the lines below it say what it is.
        if "|--" in line:
            previous = line.split()[-1]
        elif "host LOCAL" in line:
            found.add(previous)
    for line in _lines(Path("/proc/net/if_inet6")):
        digits = line.partition(" ")[0]
        if len(digits) == 32:
            found.add(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits)))
    return found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _reason(error: Exception) -> str:
    known: dict[type[Exception], str] = {
        FileNotFoundError: "there is no such file",
        PermissionError: "the file may not be read by this user",
        IsADirectoryError: "it is a folder",
    }
    strerror = getattr(error, "strerror", None)
    return known.get(type(error), f"the file cannot be read ({strerror or 'its name is odd'})")
