"""Settings from real flags, files and the real environment, and the machine's limits."""

from __future__ import annotations

import argparse
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from iatp.adapters.configuration import (
    MOST_FILE_BYTES,
    add_flags,
    file_limit,
    given_flags,
    load,
    memory_limit,
    own_hosts,
    raise_file_limit,
    read_file,
)
from iatp.values.address import TextError
from iatp.values.errors import ConfigurationError
from iatp.values.settings import SETTINGS
from tests.forks import unprivileged

TOKEN = "correct-horse-battery"


def write(path: Path, data: bytes | str, mode: int = 0o600) -> str:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    path.chmod(mode)
    return str(path)


def problems(*args: object, **more: object) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(*args, **more)  # type: ignore[arg-type]
    return caught.value.problems


def test_environment_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IATP_AGENT_ID", "from-here")
    assert load().settings.agent_id == "from-here"
    assert load(environ={}).settings.agent_id == "default-agent"


def test_flags() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_flags(parser)
    line = ["--agent-url", "http://127.0.0.1:9000/x", "--human-in-loop", "TRUE", "--workers=2"]
    flags = given_flags(parser.parse_args(line))
    assert flags == {
        "agent_url": "http://127.0.0.1:9000/x",
        "human_in_loop": "TRUE",
        "workers": "2",
    }
    loaded = load(flags, {"IATP_WORKERS": "3"})
    assert loaded.settings.workers == 2
    assert loaded.settings.human_in_loop
    assert loaded.sources["workers"] == "--workers"
    assert given_flags(parser.parse_args([])) == {}


def test_help_says_of_every_flag_its_variable_default_and_what_it_takes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_flags(parser)
    text = " ".join(parser.format_help().split())
    # argparse wraps at hyphens too.
    bare = text.replace(" ", "")
    for row in SETTINGS:
        assert f"{row.flag} {row.reader.metavar}" in text
        said = f"{row.meaning} ({row.env}; default: {row.default_text}; allowed: "
        assert f"{said}{row.reader.allowed})".replace("`", "").replace(" ", "") in bare
        assert not row.secret or f"{row.flag}-file PATH" in text
    assert "--config PATH" in text


def test_toml_file(tmp_path: Path) -> None:
    secret = write(tmp_path / "token", f"{TOKEN}\n")
    manifest = write(tmp_path / "m.json", '{"agent_id": "x", "trust_level": "unknown"}')
    config = write(
        tmp_path / "iatp.toml",
        f'port = 7000\r\nmanifest = "{manifest}"\noverride_token_file = "{secret}"\n'
        'agent_timeout = "5s"\n',
    )
    loaded = load({"config": config}, {"IATP_AGENT_TIMEOUT": "6s"})
    assert loaded.settings.port == 7000
    assert loaded.settings.agent_timeout_s == 6
    assert loaded.settings.override == "secret"
    assert loaded.settings.override_token == TOKEN
    assert loaded.manifest.trust_level == "unknown"
    assert loaded.sources["port"] == f"port in {config}"
    assert loaded.warnings == []


@pytest.mark.parametrize(
    ("data", "part"),
    [
        ("port 7000", "it is not TOML: Expected '=' after a key"),
        (b"\xef\xbb\xbfport = 7000", "it begins with a byte order mark"),
        (b'host = "\xff"', "it is not UTF-8 at byte 8"),
        (f"port = {'9' * 5000}", "it is not TOML: a number is too long"),
        (f"port = {'[' * 20000}", "it is not TOML"),
        ("port = 1\nport = 2", "it is not TOML: Cannot overwrite a value"),
    ],
)
def test_wrong_toml_file(tmp_path: Path, data: bytes | str, part: str) -> None:
    config = write(tmp_path / "iatp.toml", data)
    first, second = problems({"config": config}, {"IATP_PORT": "x"})
    assert first.startswith(f"--config is '{config}': {part}")
    assert second.startswith("IATP_PORT is 'x'")


def test_toml_problems_hold_no_secret(tmp_path: Path) -> None:
    config = write(tmp_path / "iatp.toml", f'admin_token = "{TOKEN}\nport = 1')
    assert TOKEN not in "".join(problems({"config": config}, {}))


def test_missing_files(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    env = {"IATP_ADMIN_TOKEN_FILE": gone, "IATP_MANIFEST": gone}
    assert problems({"config": gone}, env) == [
        f"--config is '{gone}': there is no such file.",
        f"IATP_ADMIN_TOKEN_FILE is '{gone}': there is no such file.",
        f"IATP_MANIFEST is '{gone}': there is no such file.",
    ]
    assert problems({"config": gone}, {}, in_code=True)[0].startswith("config= is ")


@pytest.mark.parametrize("mode", [0o602, 0o620, 0o666])
def test_secret_that_others_may_write(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "token", TOKEN, mode)
    (found,) = problems({}, {"IATP_ADMIN_TOKEN_FILE": path})
    assert found == (f"IATP_ADMIN_TOKEN_FILE is '{path}': others may write the file; chmod 600 it.")


@pytest.mark.parametrize(("mode", "warned"), [(0o644, True), (0o440, True), (0o600, False)])
def test_secret_that_others_may_read(tmp_path: Path, mode: int, warned: bool) -> None:
    path = write(tmp_path / "token", TOKEN, mode)
    loaded = load({}, {"IATP_ADMIN_TOKEN_FILE": path, "IATP_OVERRIDE": "ticket"})
    assert loaded.settings.admin_token == TOKEN
    expected = f"IATP_ADMIN_TOKEN_FILE is '{path}', which others may read; chmod 600 it."
    assert loaded.warnings == ([expected] if warned else [])


def test_manifest_may_be_read_and_written_by_others(tmp_path: Path) -> None:
    path = write(tmp_path / "m.json", '{"agent_id": "x"}', 0o666)
    assert load({}, {"IATP_MANIFEST": path}).settings.agent_id == "x"


def test_unreadable_file() -> None:
    with unprivileged() as (folder, run):
        path = write(folder / "token", TOKEN, 0o000)

        def read() -> None:
            with pytest.raises(TextError, match="may not be read by this user"):
                read_file(path, True)

        run(read)


@pytest.mark.parametrize("kind", ["folder", "pipe", "socket", "device"])
def test_only_regular_files(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    listener = socket.socket(socket.AF_UNIX)
    with listener:
        if kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "socket":
            previous = Path.cwd()
            os.chdir(tmp_path)
            listener.bind(kind)
            os.chdir(previous)
        else:
            path = Path("/dev/zero")
        with pytest.raises(TextError):
            read_file(str(path), False)


def test_file_without_end(tmp_path: Path) -> None:
    path = write(tmp_path / "m.json", b" " * (MOST_FILE_BYTES + 1))
    with pytest.raises(TextError, match="longer than 1024 KiB"):
        read_file(path, False)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    path = write(tmp_path / "token", TOKEN, 0o666)
    before = os.dup(0)
    os.close(before)
    for _ in range(3):
        with pytest.raises(TextError):
            read_file(path, True)
        read_file(path, False)
    after = os.dup(0)
    os.close(after)
    assert after == before


def test_agent_on_this_machine_s_own_name() -> None:
    name = socket.gethostname()
    assert name in own_hosts()
    (found,) = problems({}, {"IATP_AGENT_URL": f"http://{name}:8001"})
    assert "which is the sidecar itself" in found


@pytest.mark.skipif(not Path("/proc/net/fib_trie").exists(), reason="read from Linux's /proc")
def test_own_addresses() -> None:
    assert "127.0.0.1" in own_hosts()


def test_memory_limit_of_cgroup_2(tmp_path: Path) -> None:
    root, membership = tmp_path / "cgroup", tmp_path / "membership"
    inner = root / "a.slice" / "b.service"
    inner.mkdir(parents=True)
    membership.write_text("0::/a.slice/b.service\n")
    assert memory_limit(root, membership) is None
    (inner / "memory.max").write_text("max\n")
    assert memory_limit(root, membership) is None
    (root / "a.slice" / "memory.max").write_text("67108864\n")
    assert memory_limit(root, membership) == 64 << 20
    (inner / "memory.max").write_text("134217728\n")
    assert memory_limit(root, membership) == 64 << 20
    # A container without a namespace of its own sees the host's path, which is not there.
    membership.write_text("0::/docker/0123\n")
    (root / "memory.max").write_text("33554432\n")
    assert memory_limit(root, membership) == 32 << 20


def test_memory_limit_of_cgroup_1(tmp_path: Path) -> None:
    root, membership = tmp_path / "cgroup", tmp_path / "membership"
    folder = root / "memory" / "docker"
    folder.mkdir(parents=True)
    membership.write_text("5:cpu,cpuacct:/x\n4:memory:/docker\n")
    (folder / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert memory_limit(root, membership) is None
    (folder / "memory.limit_in_bytes").write_text("1048576\n")
    assert memory_limit(root, membership) == 1 << 20


def test_no_control_groups(tmp_path: Path) -> None:
    assert memory_limit(tmp_path, tmp_path / "nothing") is None


def test_file_limit_is_raised() -> None:
    script = (
        "import resource\n"
        "from iatp.adapters.configuration import file_limit, raise_file_limit\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 512))\n"
        "print(file_limit(), raise_file_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.split() == ["512", "512", "512", "512"]


def test_file_limit_here() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert file_limit() == (None if hard == resource.RLIM_INFINITY else hard)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        raised = raise_file_limit()
        assert raised is None or raised >= before[0]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_rare_modules_are_loaded_late() -> None:
    script = (
        "import sys\n"
        "from iatp.adapters.configuration import load\n"
        "load({}, {'IATP_PORT': '8002'})\n"
        "print(*sorted({'tomllib', 'argparse', 'difflib', 'sqlite3'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.split() == []
