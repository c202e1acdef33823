"""`iatp demo`: its outcomes, its lines as they can be pasted, and that nothing stays behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.programs import document, environment, iatp, on_terminal

CARD = "4111 1111 1111 1111"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the demo puts its temporary folder."""
    (tmp_path / "tmp").mkdir()
    return tmp_path / "tmp"


def test_every_outcome_is_shown(folder: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    done = iatp("demo", env={"TMPDIR": str(folder)}, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - began < 25
    shown = done.stdout
    assert shown.count("\n$ curl -sS -i http://127.0.0.1:") == 5
    for verdict in ("200 allow, trust score 10/10", "403 block, trust score 8/10", "449 warn"):
        assert verdict in shown
    assert "200 allow, quarantined, trust score 0/10" in shown
    assert "[CREDIT_CARD_REDACTED]" in shown
    assert "[EMAIL_REDACTED]" in shown
    assert "5 requests were sent; asked directly, the agent says it got 3." in shown
    assert re.search(r"The sidecar added -?\d+\.\d\d ms to a request", shown)
    assert re.search(r"\n\$ IATP_AGENT_URL=http://localhost:8000 .*iatp", shown)
    assert "\x1b" not in shown
    assert "NOT AS EXPECTED" not in shown
    # What was sent stands in the curl lines alone.
    traces = "\n".join(line for line in shown.splitlines() if not line.startswith("$ "))
    assert CARD not in traces
    assert list(folder.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["tmp"]


def test_json(folder: Path) -> None:
    done = iatp("demo", "--json", env={"TMPDIR": str(folder)})
    assert (done.returncode, done.stderr) == (0, "")
    found = document(done)
    assert found["problems"] == []
    assert [(one["status"], one["decision"]) for one in found["outcomes"]] == [
        *((200, "allow"), (200, "allow"), (403, "block"), (449, "warn"), (200, "allow")),
    ]
    assert [one["quarantined"] for one in found["outcomes"]] == [False] * 4 + [True]
    # The confirmed request goes on with the trace of the one that was warned.
    last = [record["type"] for record in found["outcomes"][4]["logs"]]
    assert last == ["warning", "request", "user_override", "response"]
    for one in found["outcomes"]:
        assert sum(part["points"] for part in one["score_parts"]) == one["trust_score"]
        assert CARD not in json.dumps(one["logs"])
    assert found["ready_s"] < 5


def test_a_setting_of_the_caller_changes_nothing(folder: Path) -> None:
    env = {"TMPDIR": str(folder), "IATP_TRUST_LEVEL": "untrusted", "IATP_PORT": "nonsense"}
    assert iatp("demo", "--json", env=env).returncode == 0


def test_colours_on_a_terminal(folder: Path) -> None:
    shown = on_terminal("demo", env={"TMPDIR": str(folder)})
    assert "\x1b[1;33m[CREDIT_CARD_REDACTED]\x1b[0m" in shown
    assert "\x1b[1;31m403 block\x1b[0m" in shown


@contextlib.contextmanager
def held_demo(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    """A demo that stays, and the document that it printed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "iatp", "demo", "--hold", "--json"],
        env=environment({"TMPDIR": str(folder)}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        process_group=0,
    )
    assert process.stdout is not None
    try:
        printed = b""
        deadline = time.monotonic() + 30
        while not printed.endswith(b"\n}\n") and time.monotonic() < deadline:
            if select.select([process.stdout], [], [], 0.5)[0]:
                piece = os.read(process.stdout.fileno(), 65536)
                assert piece, printed
                printed += piece
        yield process, json.loads(printed)
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


def processes() -> dict[int, tuple[int, str]]:
    """Every process, with its parent and state."""
    if Path("/proc/self/stat").exists():
        found = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                # The name before the state is in parentheses and may hold anything.
                state, parent = stat.read_text().rpartition(")")[2].split()[:2]
                found[int(stat.parent.name)] = (int(parent), state)
        return found
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True
    ).stdout
    rows = (line.split() for line in listed.splitlines())
    return {int(pid): (int(parent), state) for pid, parent, state in rows}


def children(pid: int) -> set[int]:
    """The processes below this one."""
    parents = {child: parent for child, (parent, _) in processes().items()}
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def running(pids: set[int]) -> set[int]:
    """Those that still run; a zombie does not."""
    return {pid for pid, (_, state) in processes().items() if not state.startswith("Z")} & pids


@pytest.mark.servers
def test_the_curl_lines_can_be_pasted(folder: Path) -> None:
    with held_demo(folder) as (_, found):
        for one in found["outcomes"]:
            done = subprocess.run(
                ["sh", "-c", one["curl"]], capture_output=True, text=True, check=True, timeout=10
            )
            assert done.stdout.startswith(f"HTTP/1.1 {one['status']} ")
            assert f"\nX-IATP-Decision: {one['decision']}" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything(number: signal.Signals, folder: Path) -> None:
    with held_demo(folder) as (process, _):
        started = children(process.pid)
        assert len(started) >= 4
        process.send_signal(number)
        process.send_signal(number)
        assert process.wait(20) == 128 + number
    assert running(started) == set()
    assert list(folder.iterdir()) == []


def test_a_signal_while_it_starts_ends_everything(folder: Path) -> None:
    for delay in (0.15, 0.3, 0.6, 0.9):
        process = subprocess.Popen(
            [sys.executable, "-m", "iatp", "demo"],
            env=environment({"TMPDIR": str(folder)}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
        time.sleep(delay)
        started = children(process.pid)
        process.terminate()
        # Before its handler stands, the signal ends it at once; nothing has started by then.
        assert process.wait(20) in (143, -signal.SIGTERM)
        time.sleep(0.1)
        assert running(started) == set(), delay
        assert list(folder.iterdir()) == []
