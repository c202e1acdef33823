"""`iatp run` and `iatp-sidecar`: that they serve, and what they say where they cannot."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.programs import environment, iatp
from tests.e2e.sidecars import free_ports

SIDECAR = [
    sys.executable,
    "-c",
    "import sys; from iatp.cli.main import sidecar_main as m; sys.exit(m())",
]


@contextlib.contextmanager
def serving(
    folder: Path, *arguments: str, env: dict[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A sidecar that answers, and its port."""
    (port,) = free_ports(1)
    process = subprocess.Popen(
        [*SIDECAR, *arguments],
        env=environment(
            {"IATP_HOST": "127.0.0.1", "IATP_PORT": str(port), "IATP_ADMIN_PORT": "0"} | (env or {})
        ),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 15
        while not answers(port) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert process.poll() is None, process.communicate()
        yield process, port
    finally:
        process.kill()
        process.communicate()


def answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def test_it_serves_with_the_agent_url_alone_and_ends_on_sigterm(tmp_path: Path) -> None:
    agent = f"http://127.0.0.1:{free_ports(1)[0]}"
    with serving(tmp_path, env={"IATP_AGENT_URL": agent}) as (process, _):
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=15)
        assert process.returncode == 0
    assert output == ""
    assert "Traceback" not in errors
    # What it made is where the defaults say.
    assert {path.name for path in tmp_path.iterdir()} == {
        "iatp-logs",
        "iatp-logs.key",
        "iatp-logs.signing.key",
        "iatp-logs.signing.key.pub",
    }


def test_its_own_log_is_json_where_that_is_asked_for(tmp_path: Path) -> None:
    with serving(tmp_path, "--json", "--agent-url", f"http://127.0.0.1:{free_ports(1)[0]}") as (
        process,
        _,
    ):
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=15)
    lines = errors.splitlines()
    assert lines
    for line in lines:
        assert isinstance(json.loads(line), dict)


def test_an_agent_that_does_not_answer_is_a_warning(tmp_path: Path) -> None:
    (closed,) = free_ports(1)
    with serving(tmp_path, "--agent-url", f"http://127.0.0.1:{closed}") as (process, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("POST", "/proxy", "{}", {"Content-Type": "application/json"})
        assert connection.getresponse().status == 502
        connection.close()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=15)
    assert str(closed) in errors


def refusal(*arguments: str, env: dict[str, str] | None = None, cwd: Path) -> tuple[int, str]:
    """Exit status and what it said, which is one sentence on one line."""
    done = iatp("run", *arguments, env=env, cwd=cwd)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("iatp-sidecar: ")]
    return done.returncode, said[-1] if said else done.stderr


def test_a_port_in_use_is_named_with_who_has_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, said = refusal(
            *("--host", "127.0.0.1", "--port", str(port), "--admin-port", "0"), cwd=tmp_path
        )
    assert status == 1
    assert str(port) in said
    if Path("/proc/self/fd").exists():
        assert str(os.getpid()) in said


def test_a_log_folder_in_use(tmp_path: Path) -> None:
    with serving(tmp_path, "--log-dir", "./logs") as (process, _):
        status, said = refusal(
            *("--log-dir", "./logs", "--host", "127.0.0.1", "--port", str(free_ports(1)[0])),
            *("--admin-port", "0"),
            cwd=tmp_path,
        )
        assert status == 1
        assert "logs" in said
        assert str(process.pid) in said


def test_a_log_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    status, said = refusal(
        *("--log-dir", "./file/logs", "--port", str(free_ports(1)[0]), "--admin-port", "0"),
        cwd=tmp_path,
    )
    assert status == 1
    assert "file/logs" in said


@pytest.mark.parametrize("as_json", [False, True])
def test_wrong_settings_end_with_78(as_json: bool, tmp_path: Path) -> None:
    done = iatp(
        "run",
        *(["--json"] if as_json else []),
        env={"IATP_PORT": "80801", "IATP_TRUST_LEVEL": "Trusted"},
        cwd=tmp_path,
    )
    assert done.returncode == 78
    assert done.stderr.count("iatp-sidecar: IATP_") == 2
    assert list(tmp_path.iterdir()) == []


def test_the_production_entry_has_its_own_name() -> None:
    done = subprocess.run(
        [*SIDECAR, "--help"], env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("usage: iatp-sidecar [-h]")
    done = subprocess.run(
        [*SIDECAR, "--version"], env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("iatp-sidecar ")
