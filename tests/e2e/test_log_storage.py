"""A log that is compressed and encrypted while the sidecar runs: found, verified, never plain."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from iatp.adapters.encryption import LogKeys
from iatp.adapters.log_folder import list_segments
from iatp.adapters.segments import iter_records
from tests.cli.programs import iatp
from tests.e2e.agents import agent
from tests.e2e.sidecars import TRUSTED, Sidecar, log_key, sidecar, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

MARKER = "a-word-that-is-nowhere-else"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return Path(log_key(tmp_path)["IATP_LOG_KEY_FILE"])


def descendants(pid: int) -> list[str]:
    """The command lines of all processes below one."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found.append(Path(f"/proc/{child}/cmdline").read_text().replace("\0", " "))
                found += descendants(int(child))
    return found


def keepers(running: Sidecar) -> list[str]:
    return [each for each in descendants(running.process.pid) if "sidecar.keeper" in each]


def post(running: Sidecar, numbers: range) -> None:
    for number in numbers:
        body = json.dumps([number, MARKER, "x" * 300])
        assert running.post(body, {"X-Agent-Trace-ID": f"trace-{number % 7}"}).status == 200


def nothing_plain(folder: Path) -> None:
    for path in folder.iterdir():
        if not path.is_file():
            continue
        with contextlib.suppress(FileNotFoundError):
            data = path.read_bytes()
            assert MARKER.encode() not in data, path.name
            assert b"trace-3" not in data, path.name


def forms(folder: Path) -> set[str]:
    names = [one.name for one in list_segments(folder)]
    return {re.sub(r"^.*?(?=\.(open\.)?jsonl)", "", name) for name in names}


def requests_of(records: list[dict[str, object]]) -> list[object]:
    return [one["payload"][0] for one in records if one["type"] == "request"]  # type: ignore[index]


def verify(folder: Path, key_file: Path) -> subprocess.CompletedProcess[str]:
    return iatp("log", "verify", "--log-dir", str(folder), env={"IATP_LOG_KEY_FILE": str(key_file)})


def test_encrypted_and_compressed_while_it_runs(tmp_path: Path, key_file: Path) -> None:
    variables = TRUSTED | {
        "IATP_LOG_SEGMENT": "8KiB",
        "IATP_LOG_KEY_FILE": str(key_file),
        "IATP_WORKERS": "2",
    }
    with agent() as behind:
        with sidecar(tmp_path, behind.url, variables) as running:
            post(running, range(70))
            nothing_plain(running.logs)
            expected = list(range(3, 70, 7))
            for _ in range(4):
                # Whichever worker answers.
                assert requests_of(running.trace("trace-3")) == expected
            wait_until(lambda: ".jsonl.zst.enc" in forms(running.logs), 20.0)
            wait_until(lambda: ".jsonl.enc" not in forms(running.logs), 20.0)
            nothing_plain(running.logs)
            for _ in range(4):
                assert requests_of(running.trace("trace-3")) == expected
            done = verify(running.logs, key_file)
            assert done.returncode == 0, done.stdout + done.stderr
            assert running.stop() == 0
            assert "error" not in running.log()
        nothing_plain(tmp_path / "logs")
        keys = LogKeys.load(key_file)
        records = [json.loads(one.line) for one in iter_records(tmp_path / "logs", keys)]
        assert sorted(requests_of(records)) == list(range(70))  # type: ignore[type-var]
        # Without the key the sidecar runs, and says why it cannot show a trace.
        del variables["IATP_LOG_KEY_FILE"]
        with sidecar(tmp_path, behind.url, variables) as running:
            assert running.admin("/trace/trace-3").status == 503
            assert "set IATP_LOG_KEY_FILE" in running.log()
            assert running.admin("/trace/unknown").status == 404


def test_killed_it_leaves_what_the_next_start_reads(tmp_path: Path, key_file: Path) -> None:
    variables = TRUSTED | {"IATP_LOG_SEGMENT": "8KiB", "IATP_LOG_KEY_FILE": str(key_file)}
    with agent() as behind:
        with sidecar(tmp_path, behind.url, variables) as running:
            post(running, range(40))
            os.killpg(running.process.pid, signal.SIGKILL)
            running.process.wait()
        nothing_plain(tmp_path / "logs")
        with sidecar(tmp_path, behind.url, variables) as running:
            assert requests_of(running.trace("trace-3")) == list(range(3, 40, 7))
            done = verify(running.logs, key_file)
            assert done.returncode == 0, done.stdout + done.stderr


def test_a_keeper_is_there_only_while_there_is_work(tmp_path: Path) -> None:
    variables = TRUSTED | {"IATP_LOG_SEGMENT": "8KiB", "IATP_LOG_COMPRESS_AFTER": "0s"}
    with agent() as behind, sidecar(tmp_path, behind.url, variables) as running:
        assert keepers(running) == []
        post(running, range(30))
        wait_until(lambda: len(keepers(running)) == 1, 20.0)
        wait_until(lambda: forms(running.logs) == {".jsonl.zst", ".open.jsonl"}, 20.0)
        wait_until(lambda: keepers(running) == [], 30.0)
        assert requests_of(running.trace("trace-3")) == list(range(3, 30, 7))
        post(running, range(30, 60))
        wait_until(lambda: len(keepers(running)) == 1, 20.0)
        pid = running.process.pid
        assert running.stop() == 0
        assert not Path(f"/proc/{pid}").exists()
        assert not list(running.logs.glob("*.tmp"))


def test_a_wrong_key_file_is_said_at_start(tmp_path: Path, key_file: Path) -> None:
    key_file.write_text("not a key\n")
    variables = {
        "IATP_LOG_KEY_FILE": str(key_file),
        "IATP_LOG_DIR": str(tmp_path / "logs"),
        "IATP_PORT": "0",
        "IATP_ADMIN_PORT": "0",
    }
    done = iatp("run", env=variables)
    assert done.returncode != 0
    assert "Line 1 of the log's key file" in done.stderr
    assert "not a key" not in done.stderr
