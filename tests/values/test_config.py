"""Settings from every source: each variable, each problem, all at once; pure, without files."""

from __future__ import annotations

import importlib.util
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iatp.values.address import AgentAddress, TextError
from iatp.values.config import (
    FileText,
    Loaded,
    OverrideMode,
    Settings,
    limits_warnings,
    parse,
    render_settings,
)
from iatp.values.errors import ConfigurationError
from iatp.values.manifest import (
    AgentCapabilities,
    CapabilityManifest,
    PrivacyContract,
    RetentionPolicy,
    ReversibilityLevel,
    TrustLevel,
    load_manifest,
)
from iatp.values.policy import DEFAULT
from iatp.values.settings import RETIRED, SETTINGS, Setting

ROOT = Path(__file__).resolve().parent.parent.parent
TOKEN = "correct-horse-battery"
OTHER_TOKEN = "staple-correct-horse"


def problems(
    env: Mapping[str, str] | None = None,
    *,
    flags: Mapping[str, object] | None = None,
    file: Mapping[str, object] | None = None,
    **more: Any,
) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse(flags, env, file, **more)
    return caught.value.problems


def problem(*args: Any, **more: Any) -> str:
    (found,) = problems(*args, **more)
    return found


def files(contents: Mapping[str, bytes], warning: str = "") -> Any:
    """A reader of a file system that holds nothing else."""

    def read(path: str, secret: bool) -> FileText:
        if path not in contents:
            raise TextError("there is no such file")
        return FileText(data=contents[path], warning=warning if secret else "")

    return read


# Each variable, from each source.

VALUES: dict[str, tuple[str, object]] = {
    "agent_url": (
        "http://agent:9000/x",
        AgentAddress(host="agent", port=9000, path="/x"),
    ),
    "host": ("127.0.0.1", "127.0.0.1"),
    "port": ("0", 0),
    "admin_host": ("::1", "::1"),
    "admin_port": ("0", 0),
    "admin_token": (TOKEN, TOKEN),
    "metrics_port": ("9090", 9090),
    "control_on_data": ("off", "off"),
    "agent_id": ("bank", "bank"),
    "trust_level": ("verified_partner", TrustLevel.VERIFIED_PARTNER),
    "reversibility": ("full", ReversibilityLevel.FULL),
    "retention": ("forever", RetentionPolicy.FOREVER),
    "human_in_loop": ("True", True),
    "training_consent": ("TRUE", True),
    "idempotency": ("true", True),
    "concurrency_limit": ("7", 7),
    "sla_latency_ms": ("0", 0),
    "log_dir": ("/var/log/iatp", "/var/log/iatp"),
    "record_body_bytes": ("0B", 0),
    "durability": ("power", "power"),
    "record_failure": ("open", "open"),
    "log_segment_bytes": ("64KiB", 65536),
    "log_segment_age_s": ("10m", 600.0),
    "log_max_size_bytes": ("1GiB", 1 << 30),
    "log_max_age_s": ("7d", 604800.0),
    "log_compress": ("off", "off"),
    "log_compress_after_s": ("0s", 0.0),
    "log_key_file": ("/etc/iatp-log.keys", "/etc/iatp-log.keys"),
    "key_file": ("/etc/iatp.key", "/etc/iatp.key"),
    "signing_key_file": ("/etc/iatp.signing.key", "/etc/iatp.signing.key"),
    "workers": ("2", 2),
    "agent_timeout_s": ("200ms", 0.2),
    "stream_idle_timeout_s": ("2m", 120.0),
    "stream_timeout_s": ("1h", 3600.0),
    "max_body_bytes": ("1MB", 1_000_000),
    "max_buffered_bytes": ("128MiB", 128 << 20),
    "max_connections": ("500", 500),
    "queue_limit": ("0", 0),
    "queue_timeout_s": ("0s", 0.0),
    "drain_s": ("5s", 5.0),
    "ready_check_agent": ("false", False),
    "override": ("ticket", OverrideMode.TICKET),
    "override_token": (TOKEN, TOKEN),
    "log_level": ("debug", "debug"),
    "log_format": ("text", "text"),
}


def test_every_setting_is_tried_here() -> None:
    assert {row.field for row in SETTINGS} == set(VALUES) | {"manifest_file", "policy_file"}
    assert [row.field for row in SETTINGS] == list(Settings.__struct_fields__)


@pytest.mark.parametrize("setting", [row for row in SETTINGS if row.field in VALUES])
def test_each_from_each_source(setting: Setting) -> None:
    text, value = VALUES[setting.field]
    native: object = text
    if bool in setting.reader.toml or int in setting.reader.toml:
        native = value
    for loaded, source in (
        (parse(env={setting.env: text}), setting.env),
        (parse({setting.key: text}), setting.flag),
        (parse({setting.key: native}, in_code=True), f"{setting.key}="),
        (parse(file={setting.key: native}, file_name="iatp.toml"), f"{setting.key} in iatp.toml"),
    ):
        assert getattr(loaded.settings, setting.field) == value
        assert loaded.sources[setting.field] == source
        others = {field: word for field, word in loaded.sources.items() if field != setting.field}
        if setting.field == "override_token":
            assert others.pop("override") == f"{source} is set"
        assert set(others.values()) == {"default"}


def test_defaults() -> None:
    found = parse().settings
    hints = typing.get_type_hints(Settings)
    for field in Settings.__struct_fields__:
        value = getattr(found, field)
        assert isinstance(value, hints[field]), field
    assert found.agent_url.url == "http://localhost:8000"
    assert (found.host, found.port) == ("0.0.0.0", 8001)
    assert (found.admin_host, found.admin_port) == ("127.0.0.1", 9901)
    assert (found.admin_token, found.metrics_port, found.manifest_file) == (None, None, None)
    assert (found.agent_id, found.trust_level) == ("default-agent", "standard")
    assert (found.reversibility, found.retention) == ("partial", "temporary")
    assert {found.human_in_loop, found.training_consent, found.idempotency} == {False}
    assert (found.concurrency_limit, found.sla_latency_ms) == (100, 2000)
    assert (found.log_dir, found.key_file) == ("./iatp-logs", "iatp-logs.key")
    assert found.signing_key_file == "iatp-logs.signing.key"
    assert found.log_segment_age_s == 86400
    assert (found.record_body_bytes, found.log_segment_bytes) == (8192, 64 << 20)
    assert (found.log_max_size_bytes, found.log_max_age_s) == (10 << 30, 30 * 86400)
    assert (found.log_compress, found.log_compress_after_s) == ("zstd", 600)
    assert found.log_key_file is None
    assert (found.agent_timeout_s, found.stream_idle_timeout_s) == (30, 60)
    assert (found.stream_timeout_s, found.drain_s, found.queue_timeout_s) == (900, 25, 30)
    assert (found.max_body_bytes, found.max_buffered_bytes) == (10 << 20, 64 << 20)
    assert (found.max_connections, found.queue_limit, found.workers) == (10_000, 10_000, 1)
    assert (found.override, found.log_level, found.control_on_data) == (
        "header",
        "info",
        "loopback",
    )
    assert (found.durability, found.record_failure) == ("process", "closed")
    assert found.ready_check_agent


def test_log_format_follows_the_terminal() -> None:
    assert parse(terminal=True).settings.log_format == "text"
    assert parse(terminal=False).settings.log_format == "json"
    assert parse(env={"IATP_LOG_FORMAT": "json"}, terminal=True).settings.log_format == "json"


@pytest.mark.parametrize(
    ("folder", "key"),
    [
        ("/var/log/iatp", "/var/log/iatp.key"),
        ("logs/", "logs.key"),
        (".", "../iatp.key"),
        ("..", "../../iatp.key"),
    ],
)
def test_key_stands_beside_the_log_folder(folder: str, key: str) -> None:
    found = parse(env={"IATP_LOG_DIR": folder}).settings
    assert found.key_file == key
    assert found.signing_key_file == key.removesuffix("key") + "signing.key"


def test_flag_over_environment_over_file_over_manifest_over_default() -> None:
    manifest = {"/m.json": b'{"agent_id": "from-manifest"}'}
    flags = {"agent_id": "from-flag"}
    env = {"IATP_AGENT_ID": "from-env", "IATP_MANIFEST": "/m.json"}
    file = {"agent_id": "from-file"}
    read = files(manifest)
    bare = {"IATP_MANIFEST": "/m.json"}
    for loaded, value, source in (
        (parse(flags, env, file, read=read), "from-flag", "--agent-id"),
        (parse({}, env, file, read=read), "from-env", "IATP_AGENT_ID"),
        (parse({}, bare, file, read=read), "from-file", "agent_id in the file"),
        (parse({}, bare, {}, read=read), "from-manifest", "manifest /m.json"),
        (parse(), "default-agent", "default"),
    ):
        assert loaded.settings.agent_id == loaded.manifest.agent_id == value
        assert loaded.sources["agent_id"] == source


def test_only_what_is_set_overrides() -> None:
    env = {"IATP_PORT": "", "IATP_TRUST_LEVEL": "", "IATP_AGENT_URL": "", "IATP_BACKEND_URL": ""}
    assert parse(env=env, file={"port": 7000}).settings.port == 7000
    assert parse(env=env).settings.trust_level == "standard"
    assert parse({"port": None}).settings.port == 8001
    assert not [text for text in parse(env=env).warnings if "older" in text]


def test_what_is_overridden_is_not_judged() -> None:
    assert parse({"port": "7000"}, {"IATP_PORT": "80801"}).settings.port == 7000


# Problems.

WRONG: dict[str, tuple[str, str]] = {
    "IATP_AGENT_URL": (
        "localhost:8000",
        "IATP_AGENT_URL is 'localhost:8000': the scheme is missing; meant: "
        "http://localhost:8000; allowed: http://host:port/path or unix:/path/of/socket:/path.",
    ),
    "IATP_HOST": (
        "0.0.0.0\r",
        "IATP_HOST is '0.0.0.0\\r': a line end is part of the value; meant: 0.0.0.0; allowed: "
        "an IP address or a host name, without a port, or unix:/path/of/socket.",
    ),
    "IATP_PORT": (
        "80801",
        "IATP_PORT is '80801': it is more than 65535; allowed: a whole number from 0 to 65535 "
        "(0: a free port).",
    ),
    "IATP_ADMIN_HOST": ("[::1]", "an address stands without brackets here; meant: ::1;"),
    "IATP_ADMIN_PORT": ("-1", "it is less than 0;"),
    "IATP_ADMIN_TOKEN": ("", "IATP_ADMIN_TOKEN (hidden): it is set but empty;"),
    "IATP_METRICS_PORT": ("9090x", "it is not a whole number;"),
    "IATP_CONTROL_ON_DATA": ("on", "allowed: loopback or off."),
    "IATP_AGENT_ID": ("x" * 256, "it is longer than 255 characters;"),
    "IATP_TRUST_LEVEL": (
        '"trusted"',
        "IATP_TRUST_LEVEL is '\"trusted\"': quotes are part of the value; meant: trusted; "
        "allowed: verified_partner, trusted, standard, unknown or untrusted.",
    ),
    "IATP_REVERSIBILITY": ("Full", "IATP_REVERSIBILITY is 'Full': names are exact, in lower"),
    "IATP_RETENTION": ("permanant", "there is no such name; meant: permanent;"),
    "IATP_HUMAN_IN_LOOP": ("yes", "it is neither true nor false; meant: true;"),
    "IATP_TRAINING_CONSENT": ("0", "it is neither true nor false; meant: false;"),
    "IATP_IDEMPOTENCY": (" true", "white space is part of the value; meant: true;"),
    "IATP_CONCURRENCY_LIMIT": ("0", "it is less than 1;"),
    "IATP_SLA_LATENCY_MS": ("2s", "it is not a whole number;"),
    "IATP_MANIFEST": ("/nowhere.json", "IATP_MANIFEST is '/nowhere.json': there is no such file."),
    "IATP_LOG_DIR": ("~/logs", "'~' stands for a home only in a shell;"),
    "IATP_RECORD_BODY": ("8", "it has no unit; meant: 8B;"),
    "IATP_DURABILITY": ("fsync", "allowed: process or power."),
    "IATP_RECORD_FAILURE": ("Open", "meant: open;"),
    "IATP_LOG_SEGMENT": ("1KiB", "it is less than 4KiB;"),
    "IATP_LOG_SEGMENT_AGE": ("24", "it has no unit; meant: 24s;"),
    "IATP_LOG_MAX_SIZE": ("10gb", "there is no unit 'gb'; meant: 10GB;"),
    "IATP_LOG_MAX_AGE": ("30", "it has no unit; meant: 30s;"),
    "IATP_LOG_COMPRESS": ("gzip", "IATP_LOG_COMPRESS is 'gzip': there is no such name;"),
    "IATP_LOG_COMPRESS_AFTER": ("10", "it has no unit; meant: 10s;"),
    "IATP_LOG_KEY_FILE": ("'/etc/key'", "quotes are part of the value; meant: /etc/key;"),
    "IATP_KEY_FILE": ("'/etc/key'", "quotes are part of the value; meant: /etc/key;"),
    "IATP_SIGNING_KEY_FILE": ("'/etc/key'", "quotes are part of the value; meant: /etc/key;"),
    "IATP_WORKERS": ("65", "it is more than 64;"),
    "IATP_AGENT_TIMEOUT": ("30", "it has no unit; meant: 30s;"),
    "IATP_STREAM_IDLE_TIMEOUT": ("2d", "it is more than 1d;"),
    "IATP_STREAM_TIMEOUT": ("soon", "it is not a duration;"),
    "IATP_MAX_BODY": ("0B", "it is less than 1B;"),
    "IATP_MAX_BUFFERED": ("64M", "there is no unit 'M'; meant: 64MiB;"),
    "IATP_MAX_CONNECTIONS": ("1e4", "it is not a whole number;"),
    "IATP_QUEUE_LIMIT": ("1000001", "it is more than 1000000;"),
    "IATP_QUEUE_TIMEOUT": ("-1s", "it is not a duration;"),
    "IATP_DRAIN": ("25 sec", "there is no unit 'sec'; meant: 25s;"),
    "IATP_READY_CHECK_AGENT": ("nope", "it is neither true nor false;"),
    "IATP_POLICY": ("/nowhere.toml", "IATP_POLICY is '/nowhere.toml': there is no such file."),
    "IATP_OVERRIDE": ("tickets", "there is no such name; meant: ticket;"),
    "IATP_OVERRIDE_TOKEN": ("short-one", "it is shorter than 16 characters;"),
    "IATP_LOG_LEVEL": ("INFO", "meant: info;"),
    "IATP_LOG_FORMAT": ("yaml", "allowed: text or json."),
}


def test_each_wrong_one_alone() -> None:
    assert set(WRONG) == {row.env for row in SETTINGS}
    for name, (value, sentence) in WRONG.items():
        found = problem({name: value}, read=files({}))
        assert sentence in found
        assert found.startswith(name)


def test_a_policy_file() -> None:
    read = files({"/p": b'mode = "observe"', "/bad": b'mode = "x"\n[[rules]]\naction = "DENY"'})
    loaded = parse(env={"IATP_POLICY": "/p"}, read=read)
    assert loaded.policy == msgspec.structs.replace(DEFAULT, mode="observe")
    assert any("/p only observes" in warning for warning in loaded.warnings)
    assert loaded.sources["policy_file"] == "IATP_POLICY"
    without = parse(read=read)
    assert without.policy == DEFAULT
    assert not any("observes" in warning for warning in without.warnings)
    found = problems({"IATP_POLICY": "/bad", "IATP_PORT": "x"}, read=read)
    assert len(found) == 4
    start = "IATP_POLICY, /bad: "
    assert f"{start}mode is 'x': allowed: enforce or observe." in found
    assert sum(each.startswith(start) for each in found) == 3


def test_all_wrong_ones_in_one_run() -> None:
    found = problems({name: value for name, (value, _) in WRONG.items()}, read=files({}))
    assert len(found) == len(WRONG)
    for sentence in (sentence for _, sentence in WRONG.values()):
        assert sum(sentence in each for each in found) >= 1, sentence
    assert not [each for each in found if "\r" in each or "\n" in each]


def test_problems_name_flag_and_key() -> None:
    assert problem(flags={"port": "x"}).startswith("--port is 'x':")
    assert problem(flags={"port": 80801}, in_code=True).startswith("port= is 80801:")
    assert problem(flags={"port": ""}).startswith("--port is '': it is empty")
    assert problem(file={"port": 80801}, file_name="a.toml").startswith("port in a.toml is 80801:")


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ({"port": "8001"}, "it is not a whole number without quotes; meant: 8001;"),
        ({"port": True}, "port in the file is true: it is not a whole number"),
        ({"port": 8001.0}, "port in the file is 8001.0: it is not a whole number"),
        ({"port": 1 << 70}, "port in the file is a number beyond 2^63: it is more than 65535"),
        ({"port": {"token": TOKEN}}, "port in the file is a table:"),
        ({"agent_timeout": 30}, 'a duration in quotes with its unit, such as "30s"'),
        ({"max_body": 10}, "a size in quotes with its unit"),
        ({"human_in_loop": "true"}, "it is not true or false without quotes; meant: true;"),
        ({"trust_level": 7}, "trust_level in the file is 7: it is not a text"),
        ({"admin_token": 7}, "admin_token in the file (hidden): it is not a text"),
        ({"admin_token": ""}, "admin_token in the file (hidden): it is set but empty"),
        ({"agnet_url": "x"}, "agnet_url in the file: there is no such key; meant: agent_url."),
        ({"IATP_PORT": 1}, "IATP_PORT in the file: there is no such key; meant: port."),
        ({"agent-url": "x"}, "there is no such key; meant: agent_url."),
        ({"agent_timeout_s": 3}, "there is no such key; meant: agent_timeout."),
        ({"iatp": {"port": 1}}, "iatp in the file: there is no such key"),
        ({"x\x1b[2J": 1}, "'x\\x1b[2J' in the file: there is no such key"),
    ],
)
def test_toml(file: dict[str, object], sentence: str) -> None:
    found = problem(file=file)
    assert sentence in found
    assert TOKEN not in found


def test_unknown_argument() -> None:
    assert problem(flags={"wrokers": 2}, in_code=True) == (
        "wrokers: there is no such setting; meant: workers."
    )


def test_earlier_problems_come_first() -> None:
    found = problems({"IATP_PORT": "x"}, earlier_problems=["The file is not there."])
    assert found[0] == "The file is not there."
    assert len(found) == 2


# Unknown and older variables.


def test_unknown_variable_warns() -> None:
    loaded = parse(env={"IATP_WORKER": TOKEN, "IATP_ZZZZZZZZZZ": "1", "PATH": "/bin"})
    warned = "\n".join(loaded.warnings)
    assert "IATP_WORKER is set, but there is no such variable: the nearest is IATP_WORKERS." in (
        loaded.warnings
    )
    assert "IATP_ZZZZZZZZZZ is set, but there is no such variable: see " in warned
    assert TOKEN not in warned
    assert "PATH" not in warned
    assert loaded.settings.workers == 1


@pytest.mark.parametrize("name", list(RETIRED))
def test_retired_variable_says_what_to_do(name: str) -> None:
    assert any(text.endswith(f"{RETIRED[name]}.") for text in parse(env={name: "1"}).warnings)


def test_kubernetes_service_links() -> None:
    env = {
        "IATP_SIDECAR_SERVICE_HOST": "10.0.0.1",
        "IATP_SIDECAR_SERVICE_PORT_HTTP": "8001",
        "IATP_SIDECAR_PORT": "tcp://10.0.0.1:8001",
        "IATP_SIDECAR_PORT_8001_TCP_ADDR": "10.0.0.1",
    }
    assert not [text for text in parse(env=env).warnings if "SIDECAR_" in text]
    found = problem({"IATP_PORT": "tcp://10.0.0.1:8001"})
    assert "enableServiceLinks: false" in found


@pytest.mark.parametrize(
    ("older", "text", "field", "value", "now"),
    [
        ("IATP_BACKEND_URL", "http://agent", "agent_url", AgentAddress(host="agent", port=80), ""),
        ("IATP_BACKEND_TIMEOUT", "45", "agent_timeout_s", 45.0, " (with a unit, such as 30s)"),
        ("IATP_BACKEND_TIMEOUT", "1m", "agent_timeout_s", 60.0, " (with a unit, such as 30s)"),
        ("IATP_HUMAN_REVIEW", "True", "human_in_loop", True, ""),
        ("IATP_TRUSTED_USER_OVERRIDE_TOKEN", TOKEN, "override_token", TOKEN, ""),
    ],
)
def test_older_name(older: str, text: str, field: str, value: object, now: str) -> None:
    loaded = parse(env={older: text})
    assert getattr(loaded.settings, field) == value
    assert loaded.sources[field] == older
    row = next(row for row in SETTINGS if row.field == field)
    assert f"{older} is an older name; write {row.env}{now}." in loaded.warnings
    assert TOKEN not in "".join(loaded.warnings)


@pytest.mark.parametrize(
    ("older", "text", "now", "other", "same"),
    [
        ("IATP_BACKEND_URL", "http://a", "IATP_AGENT_URL", "http://b", "http://A"),
        ("IATP_BACKEND_TIMEOUT", "30", "IATP_AGENT_TIMEOUT", "31s", "0.5m"),
        ("IATP_HUMAN_REVIEW", "true", "IATP_HUMAN_IN_LOOP", "false", "TRUE"),
        (
            "IATP_TRUSTED_USER_OVERRIDE_TOKEN",
            TOKEN,
            "IATP_OVERRIDE_TOKEN",
            OTHER_TOKEN,
            TOKEN,
        ),
    ],
)
def test_older_and_new_name(older: str, text: str, now: str, other: str, same: str) -> None:
    found = problem({older: text, now: other})
    assert found == f"{older} and {now} are set differently; unset one of them."
    assert any(older in warning for warning in parse(env={older: text, now: same}).warnings)


def test_older_name_is_read_as_strictly() -> None:
    assert problem({"IATP_HUMAN_REVIEW": "1"}).startswith("IATP_HUMAN_REVIEW is '1':")
    assert problem({"IATP_BACKEND_TIMEOUT": "0"}).startswith("IATP_BACKEND_TIMEOUT is '0':")
    # 0.x let nobody override where the token was empty or blank.
    for blank in ("", "   "):
        assert TOKEN not in problem({"IATP_TRUSTED_USER_OVERRIDE_TOKEN": blank})
    assert problem({"IATP_TRUSTED_USER_OVERRIDE_TOKEN": TOKEN, "IATP_OVERRIDE": "header"})


# Overrides (section 6).


@pytest.mark.parametrize("token_name", ["IATP_OVERRIDE_TOKEN", "IATP_TRUSTED_USER_OVERRIDE_TOKEN"])
@pytest.mark.parametrize("mode", [None, *OverrideMode])
@pytest.mark.parametrize("has_token", [False, True])
def test_override_modes(mode: OverrideMode | None, has_token: bool, token_name: str) -> None:
    env = {"IATP_OVERRIDE": str(mode)} if mode else {}
    env |= {token_name: TOKEN} if has_token else {}
    if (has_token and mode not in (None, OverrideMode.SECRET)) or (
        mode == OverrideMode.SECRET and not has_token
    ):
        found = problem(env)
        assert found.startswith(f"IATP_OVERRIDE is '{mode}', but ")
        assert token_name in found or not has_token
        assert TOKEN not in found
        return
    loaded = parse(env=env)
    expected = mode or (OverrideMode.SECRET if has_token else OverrideMode.HEADER)
    assert loaded.settings.override == expected
    assert (loaded.settings.override_token == TOKEN) is has_token
    confirms = [text for text in loaded.warnings if "callers confirm warnings" in text]
    assert bool(confirms) is (expected == OverrideMode.HEADER)


# Secrets.


def test_secrets_are_never_shown() -> None:
    env = {"IATP_ADMIN_TOKEN": TOKEN, "IATP_OVERRIDE_TOKEN": OTHER_TOKEN}
    loaded = parse(env=env)
    assert loaded.settings.admin_token == TOKEN
    shown = repr(loaded) + repr(render_settings(loaded)) + "".join(loaded.warnings)
    assert TOKEN not in shown
    assert OTHER_TOKEN not in shown
    rows = {name: text for name, text, _ in render_settings(loaded)}
    assert rows["IATP_ADMIN_TOKEN"] == rows["IATP_OVERRIDE_TOKEN"] == "***"


@pytest.mark.parametrize("stray", ['"{}"', "{}\r", " {}", "{}\n", "a {}", "ä{}", "{}\x00"])
@pytest.mark.parametrize("name", ["IATP_ADMIN_TOKEN", "IATP_OVERRIDE_TOKEN"])
def test_wrong_secrets_are_never_shown(name: str, stray: str) -> None:
    found = problem({name: stray.format(TOKEN)})
    assert found.startswith(f"{name} (hidden): ")
    assert TOKEN not in found


def test_secret_in_a_file() -> None:
    for content in (TOKEN, f"{TOKEN}\n", f"{TOKEN}\r\n"):
        read = files({"/t": content.encode()})
        for loaded in (
            parse(env={"IATP_ADMIN_TOKEN_FILE": "/t"}, read=read),
            parse({"admin_token_file": "/t"}, read=read),
            parse(file={"admin_token_file": "/t"}, read=read),
        ):
            assert loaded.settings.admin_token == TOKEN
            assert TOKEN not in repr(loaded)
    read = files({"/t": TOKEN.encode()})
    loaded = parse(env={"IATP_TRUSTED_USER_OVERRIDE_TOKEN_FILE": "/t"}, read=read)
    assert loaded.settings.override == OverrideMode.SECRET
    assert any("write IATP_OVERRIDE_TOKEN_FILE." in text for text in loaded.warnings)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "IATP_OVERRIDE_TOKEN_FILE is '/t': there is no such file."),
        (b"", "the file is empty."),
        (b"\r\n", "the file is empty."),
        (b"\xff\xfe", "the file does not hold text."),
        (b"short", "in the file, it is shorter than 16 characters."),
        (f'"{TOKEN}"'.encode(), "in the file, quotes are part of the value."),
        (f"{TOKEN}\n{TOKEN}".encode(), "in the file, it holds a character"),
    ],
)
def test_wrong_secret_in_a_file(content: bytes | None, sentence: str) -> None:
    read = files({} if content is None else {"/t": content})
    found = problem({"IATP_OVERRIDE_TOKEN_FILE": "/t"}, read=read)
    assert sentence in found
    assert TOKEN not in found


def test_secret_given_where_its_path_belongs() -> None:
    found = problem({"IATP_ADMIN_TOKEN_FILE": TOKEN}, read=files({}))
    assert found == "IATP_ADMIN_TOKEN_FILE is (hidden): there is no such file."


def test_empty_path_of_a_secret() -> None:
    found = problem({"IATP_ADMIN_TOKEN_FILE": ""}, read=files({}))
    assert found.startswith("IATP_ADMIN_TOKEN_FILE is '': it is set but empty")


def test_secret_and_its_file() -> None:
    read = files({"/t": TOKEN.encode()})
    env = {"IATP_ADMIN_TOKEN": TOKEN, "IATP_ADMIN_TOKEN_FILE": "/t"}
    assert parse(env=env, read=read).settings.admin_token == TOKEN
    found = problem(env | {"IATP_ADMIN_TOKEN": OTHER_TOKEN}, read=read)
    assert found == (
        "IATP_ADMIN_TOKEN_FILE and IATP_ADMIN_TOKEN are set differently; unset one of them."
    )


def test_warning_about_a_secret_file() -> None:
    read = files({"/t": TOKEN.encode()}, warning="others may read; chmod 600 it")
    loaded = parse(env={"IATP_ADMIN_TOKEN_FILE": "/t"}, read=read)
    assert "IATP_ADMIN_TOKEN_FILE is '/t', which others may read; chmod 600 it." in loaded.warnings


def test_secret_on_the_command_line() -> None:
    warned = [text for text in parse({"admin_token": TOKEN}).warnings if "processes" in text]
    assert warned
    assert TOKEN not in "".join(warned)
    assert not [
        text for text in parse({"admin_token": TOKEN}, in_code=True).warnings if "processes" in text
    ]


# What settings say together.


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        (
            {"IATP_AGENT_URL": "http://localhost:8001"},
            "IATP_AGENT_URL is 'http://localhost:8001', which is the sidecar itself (IATP_PORT is "
            "8001); it must be where the agent listens.",
        ),
        ({"IATP_AGENT_URL": "http://127.0.0.1:9901/x"}, "(IATP_ADMIN_PORT is 9901)"),
        ({"IATP_AGENT_URL": "http://box:8001"}, "which is the sidecar itself"),
        ({"IATP_AGENT_URL": "http://0.0.0.0:8001"}, "which is the sidecar itself"),
        (
            {"IATP_AGENT_URL": "http://[::1]:9090", "IATP_METRICS_PORT": "9090"},
            "(IATP_METRICS_PORT is 9090)",
        ),
        ({"IATP_PORT": "8000"}, "(IATP_PORT is 8000)"),
        ({"IATP_BACKEND_URL": "http://localhost:8001"}, "IATP_BACKEND_URL is "),
    ],
)
def test_agent_is_the_sidecar(env: dict[str, str], sentence: str) -> None:
    assert sentence in problem(env, own_hosts={"box"})


@pytest.mark.parametrize(
    "env",
    [
        {"IATP_AGENT_URL": "http://agent:8001"},
        {"IATP_AGENT_URL": "http://localhost:9901", "IATP_ADMIN_PORT": "0"},
        {"IATP_AGENT_URL": "http://127.0.0.2:8001", "IATP_HOST": "127.0.0.1"},
        {"IATP_AGENT_URL": "http://box:9901"},
    ],
)
def test_agent_is_not_the_sidecar(env: dict[str, str]) -> None:
    parse(env=env, own_hosts={"box"})


@pytest.mark.parametrize(
    ("env", "names"),
    [
        ({"IATP_ADMIN_PORT": "8001"}, "IATP_ADMIN_PORT and IATP_PORT are both 8001"),
        ({"IATP_METRICS_PORT": "8001"}, "IATP_METRICS_PORT and IATP_PORT are both 8001"),
        ({"IATP_METRICS_PORT": "9901"}, "IATP_METRICS_PORT and IATP_ADMIN_PORT are both 9901"),
    ],
)
def test_every_listener_has_its_port(env: dict[str, str], names: str) -> None:
    assert names in problem(env)


UNIX_HOST = {"IATP_HOST": "unix:/run/iatp.sock"}


def test_a_unix_socket_has_no_port() -> None:
    loaded = parse(env=UNIX_HOST | {"IATP_ADMIN_PORT": "8001", "IATP_METRICS_PORT": "9090"})
    settings = loaded.settings
    assert (settings.host, settings.port) == ("unix:/run/iatp.sock", None)
    assert settings.metrics_host == "127.0.0.1"
    assert ("IATP_PORT", "none", "IATP_HOST is a Unix socket") in render_settings(loaded)
    # The default port is nobody's then.
    parse(env=UNIX_HOST | {"IATP_AGENT_URL": "http://localhost:8001"})
    for number in ("8001", "0"):
        assert problem(UNIX_HOST | {"IATP_PORT": number}) == (
            f"IATP_PORT is {number}, but IATP_HOST is 'unix:/run/iatp.sock', which has no port; "
            "unset one of them."
        )
    assert parse(env={"IATP_HOST": "::1"}).settings.metrics_host == "::1"


def test_an_agent_on_a_unix_socket_may_not_be_the_sidecar() -> None:
    parse(env=UNIX_HOST | {"IATP_AGENT_URL": "unix:/run/agent.sock"})
    parse(env={"IATP_AGENT_URL": "unix:/run/agent.sock", "IATP_PORT": "80"})
    for url in ("unix:/run/iatp.sock", "unix:/run/x/..//iatp.sock:/proxy"):
        assert problem(UNIX_HOST | {"IATP_AGENT_URL": url}) == (
            f"IATP_AGENT_URL is {url!r}, which is the sidecar itself (IATP_HOST); it must be "
            "where the agent listens."
        )
    # The metrics listener is on 127.0.0.1 alone.
    ports = {"IATP_METRICS_PORT": "9090", "IATP_AGENT_URL": "http://127.0.0.1:9090"}
    assert "which is the sidecar itself" in problem(UNIX_HOST | ports)
    parse(env=UNIX_HOST | ports | {"IATP_AGENT_URL": "http://127.0.0.2:9090"})


def test_free_ports_do_not_collide() -> None:
    env = {"IATP_PORT": "0", "IATP_ADMIN_PORT": "0", "IATP_METRICS_PORT": "0"}
    assert parse(env=env).settings.metrics_port == 0


def test_wide_admin_listener_needs_a_token() -> None:
    assert problem({"IATP_ADMIN_HOST": "0.0.0.0"}) == (
        "IATP_ADMIN_HOST is '0.0.0.0', which is wider than loopback; that needs IATP_ADMIN_TOKEN."
    )
    parse(env={"IATP_ADMIN_HOST": "0.0.0.0", "IATP_ADMIN_TOKEN": TOKEN})
    parse(env={"IATP_ADMIN_HOST": "0.0.0.0", "IATP_ADMIN_PORT": "0"})
    for host in ("127.0.0.2", "::1", "localhost"):
        parse(env={"IATP_ADMIN_HOST": host})


def test_one_wrong_value_is_one_problem() -> None:
    """What depends on a wrong value is not judged as well."""
    problem({"IATP_ADMIN_HOST": "0.0.0.0", "IATP_ADMIN_TOKEN": ""})
    problem({"IATP_OVERRIDE": "secret", "IATP_OVERRIDE_TOKEN": "short"})
    problem({"IATP_PORT": "x", "IATP_ADMIN_PORT": "8001"})
    problem({"IATP_AGENT_URL": "x", "IATP_PORT": "8000"})
    problem({"IATP_RETENTION": "x", "IATP_AGENT_ID": "y"})


@pytest.mark.parametrize(
    ("env", "part"),
    [
        ({"IATP_AGENT_URL": "http://agent:8000/x"}, "http://agent:8000/x is plain HTTP to another"),
        ({"IATP_MAX_BUFFERED": "1MiB"}, "IATP_MAX_BUFFERED is 1MiB: a body of IATP_MAX_BODY, 10M"),
        ({"IATP_LOG_MAX_SIZE": "1MiB"}, "IATP_LOG_MAX_SIZE is 1MiB, but a file is deleted only"),
        ({"IATP_RECORD_FAILURE": "open"}, "IATP_RECORD_FAILURE is open: while the flight"),
        ({"IATP_ADMIN_TOKEN": "short"}, "IATP_ADMIN_TOKEN is shorter than 16 characters"),
    ],
)
def test_warnings(env: dict[str, str], part: str) -> None:
    assert len([text for text in parse(env=env).warnings if text.startswith(part)]) == 1


def test_ticket_on_this_machine_warns_of_nothing() -> None:
    assert parse(env={"IATP_OVERRIDE": "ticket"}).warnings == []


# The manifest.

BANK = b"""{
  "identity": {"agent_id": "secure-bank-agent", "owner": "Example Bank"},
  "trust_level": "verified_partner",
  "capabilities": {"idempotency": true, "idempotency_duration_seconds": 86400},
  "reversibility": {"level": "full", "undo_window_seconds": 3600},
  "privacy": {"retention_policy": "ephemeral"}
}"""


def bank(**env: str) -> Loaded:
    return parse(env={"IATP_MANIFEST": "/bank.json", **env}, read=files({"/bank.json": BANK}))


def test_defaults_make_a_manifest() -> None:
    manifest = parse().manifest
    assert manifest == CapabilityManifest(
        agent_id="default-agent",
        capabilities=AgentCapabilities(reversibility=ReversibilityLevel.PARTIAL),
    )
    assert manifest.trust_score() == 7


def test_manifest_file() -> None:
    loaded = bank()
    assert loaded.manifest == load_manifest(BANK)
    assert loaded.settings.trust_level == "verified_partner"
    assert loaded.settings.idempotency
    assert loaded.sources["retention"] == "manifest /bank.json"
    assert loaded.sources["manifest_file"] == "IATP_MANIFEST"


def test_variables_override_the_manifest_file() -> None:
    loaded = bank(
        IATP_TRUST_LEVEL="unknown",
        IATP_CONCURRENCY_LIMIT="3",
        IATP_SLA_LATENCY_MS="10",
        IATP_RETENTION="temporary",
        IATP_HUMAN_REVIEW="true",
        IATP_TRAINING_CONSENT="true",
    )
    manifest = loaded.manifest
    assert (manifest.agent_id, manifest.owner) == ("secure-bank-agent", "Example Bank")
    assert manifest.trust_level == TrustLevel.UNKNOWN
    assert manifest.capabilities.concurrency_limit == loaded.settings.concurrency_limit == 3
    assert manifest.capabilities.undo_window_seconds == 3600
    assert manifest.privacy_contract == PrivacyContract(
        retention=RetentionPolicy.TEMPORARY, human_in_loop=True, training_consent=True
    )
    assert loaded.sources["human_in_loop"] == "IATP_HUMAN_REVIEW"
    assert loaded.sources["reversibility"] == "manifest /bank.json"


def test_result_may_not_contradict_itself() -> None:
    with pytest.raises(ConfigurationError) as caught:
        bank(IATP_REVERSIBILITY="none")
    for found in caught.value.problems:
        assert found.startswith("manifest /bank.json with IATP_REVERSIBILITY: reversibility.")


def test_wrong_manifest_file() -> None:
    data = b'{"agent_id": "a", "trust_level": "Trusted", "nope": 1}'
    found = problems({"IATP_MANIFEST": "/m.json", "IATP_PORT": "x"}, read=files({"/m.json": data}))
    assert len(found) == 3
    assert sum(text.startswith("IATP_MANIFEST, /m.json: ") for text in found) == 2
    assert any(text.endswith("; meant: trusted.") for text in found)


@pytest.mark.parametrize(
    ("advertised", "field"),
    [
        ({"required": True, "methods": ["jwt"]}, "authentication.required is true"),
        ({"methods": ["none", "api_key"]}, "authentication.methods holds api_key"),
    ],
)
def test_authentication_cannot_be_enforced(advertised: dict[str, object], field: str) -> None:
    document = msgspec.json.encode({"agent_id": "a", "authentication": advertised})
    found = problems({"IATP_MANIFEST": "/m"}, read=files({"/m": document}))
    assert any(text.startswith(f"manifest /m: {field}; what is advertised") for text in found)
    manifest = load_manifest(document)
    assert any(
        text.startswith(f"the manifest argument: {field}") for text in problems(manifest=manifest)
    )


def test_no_authentication_may_be_advertised() -> None:
    document = b'{"agent_id": "a", "authentication": {"required": false, "methods": ["none"]}}'
    assert parse(manifest=load_manifest(document)).manifest.authentication is not None


def test_manifest_argument() -> None:
    manifest = load_manifest(BANK)
    env = {"IATP_TRUST_LEVEL": "unknown", "IATP_MANIFEST": "/else"}
    loaded = parse({"agent_id": "b"}, env, {"retention": "forever"}, manifest=manifest)
    assert loaded.manifest.agent_id == loaded.settings.agent_id == "b"
    assert loaded.settings.trust_level == "verified_partner"
    assert loaded.settings.retention == "ephemeral"
    ignored = [text for text in loaded.warnings if "has no effect" in text]
    assert ignored == [
        "IATP_TRUST_LEVEL has no effect: the manifest argument holds over it.",
        "retention in the file has no effect: the manifest argument holds over it.",
        "IATP_MANIFEST has no effect: the manifest argument holds over it.",
    ]


# What is shown, and the machine.


def test_rendered_settings_load_again() -> None:
    loaded = parse(
        env={row.env: VALUES[row.field][0] for row in SETTINGS if not row.secret and row.default}
    )
    rows = render_settings(loaded)
    assert [name for name, _, _ in rows] == [row.env for row in SETTINGS]
    again = parse(env={name: text for name, text, _ in rows if text != "none"})
    assert again.settings == loaded.settings
    assert dict(loaded.sources) == {
        row.field: source for row, (_, _, source) in zip(SETTINGS, rows, strict=True)
    }


def test_limits_that_fit() -> None:
    loaded = parse()
    assert limits_warnings(loaded, None, None) == []
    assert limits_warnings(loaded, 10_164, 118 << 20) == []


def test_limits_that_do_not_fit() -> None:
    loaded = parse()
    (files_warning,) = limits_warnings(loaded, 10_163, None)
    assert "limit of 10163 open files leaves room for 9999; raise it to 10164" in files_warning
    (little,) = limits_warnings(parse(env={"IATP_MAX_CONNECTIONS": "50"}), 100, None)
    assert "leaves room for 0; raise it to 164" in little
    (buffered,) = limits_warnings(loaded, None, 100 << 20)
    assert "IATP_MAX_BUFFERED is 64MiB" in buffered
    assert "limit of 100 MiB leaves room for 46 MiB" in buffered
    (small,) = limits_warnings(parse(env={"IATP_MAX_BUFFERED": "1MiB"}), None, 63 << 20)
    assert small == "The memory limit is 63 MiB; the sidecar needs 64 MiB."


_NAMES = [row.env for row in SETTINGS if not row.env.startswith("IATP_OVERRIDE")]


@given(
    # Without a mode there is always the warning that callers confirm for themselves.
    st.dictionaries(
        st.sampled_from([*_NAMES, "IATP_BACKEND_TIMEOUT", "IATP_X"]),
        st.text(max_size=20) | st.sampled_from([text for text, _ in VALUES.values()]),
        max_size=6,
    )
)
@settings(max_examples=300, deadline=None)
def test_anything_loads_or_is_explained(env: dict[str, str]) -> None:
    sentences: list[str] = []
    try:
        loaded = parse(env=env, read=files({}))
        assert loaded.manifest.agent_id == loaded.settings.agent_id
        sentences = loaded.warnings
    except ConfigurationError as error:
        sentences = error.problems
    assert sentences
    assert all(each.endswith(".") and each.isprintable() for each in sentences)


# The page.


def table() -> ModuleType:
    path = ROOT / "tools" / "settings_table.py"
    spec = importlib.util.spec_from_file_location("settings_table", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_is_current() -> None:
    module = table()
    page = module.PAGE.read_text(encoding="utf-8")
    assert page == module.insert(page), "run: python tools/settings_table.py"
    for row in SETTINGS:
        assert f"| `{row.env}`" in page


def test_examples_on_the_page_are_true() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    shown = page.partition("```text\n")[2].partition("```")[0]
    assert problems({"IATP_PORT": "80801", "IATP_TRUST_LEVEL": '"trusted"'}) == shown.splitlines()
    example = tomllib.loads(page.partition("```toml\n")[2].partition("```")[0])
    loaded = parse(file=example, read=files({"/run/secrets/iatp-admin": TOKEN.encode()}))
    assert loaded.settings.override == OverrideMode.TICKET
    assert loaded.settings.admin_token == TOKEN
