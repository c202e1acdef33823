"""A recorder that cannot write, and code that raises: nothing is forwarded (cases F19, F27)."""

from __future__ import annotations

import os
import resource
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.programs import ROOT
from tests.e2e.agents import Seen, agent
from tests.e2e.sidecars import TRUSTED, Caller, Sidecar, request, sidecar, wait_until

Change = Callable[[Sidecar], None]


def _limit_files(running: Sidecar, length: int) -> None:
    """No file of this process may grow beyond this, as if the disk were full."""
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (length, resource.RLIM_INFINITY))


def _is_full(running: Sidecar) -> None:
    _limit_files(running, 0)


def _has_room(running: Sidecar) -> None:
    _limit_files(running, resource.RLIM_INFINITY)


def _is_moved(running: Sidecar) -> None:
    running.logs.rename(running.folder / "moved")
    # Whoever makes the folder anew would hide the one that is gone.
    running.logs.write_text("")


def _is_back(running: Sidecar) -> None:
    running.logs.unlink()
    (running.folder / "moved").rename(running.logs)


@pytest.mark.parametrize(
    ("breaks", "heals"), [(_is_full, _has_room), (_is_moved, _is_back)], ids=["full", "moved"]
)
def test_f19_no_record_no_traffic_and_it_heals(
    tmp_path: Path, breaks: Change, heals: Change
) -> None:
    with (
        agent() as behind,
        sidecar(tmp_path, behind.url, TRUSTED) as running,
        Caller(running.port) as caller,
    ):
        caller.send(request(body="{}"))
        assert caller.read().status == 200
        breaks(running)
        wait_until(lambda: running.get("/readyz").status == 503, 5.0)
        seen = len(behind.seen)
        for _ in range(3):
            answer = running.post()
            assert (answer.status, answer.json()["code"]) == (503, "recorder_unavailable")
            assert answer.header("retry-after")
        assert len(behind.seen) == seen
        assert running.get("/livez").status == 200
        heals(running)
        wait_until(lambda: running.get("/readyz").status == 200, 5.0)
        assert running.post().status == 200
        answered = [record for record in running.endings() if record["type"] == "response"]
        assert len(answered) == len(behind.seen)
        assert running.stop() == 0


def test_f19_the_request_that_finds_it_out_is_not_forwarded(tmp_path: Path) -> None:
    with agent() as behind, sidecar(tmp_path, behind.url, TRUSTED) as running:
        for _ in range(5):
            assert running.post().status == 200
            seen = len(behind.seen)
            _is_full(running)
            answers = [running.post() for _ in range(3)]
            assert [answer.status for answer in answers] == [503] * 3
            assert len(behind.seen) == seen
            _has_room(running)
            wait_until(lambda: running.get("/readyz").status == 200, 5.0)
        assert running.metric("iatp_inflight") == 0


def test_an_answer_whose_record_fails_is_withheld_or_cut(tmp_path: Path) -> None:
    """Section 7: a caller that has its answer in full has the record of its outcome on disk."""
    go_on = threading.Event()
    begin = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"

    def reply(connection: socket.socket, seen: Seen) -> bool | None:
        if seen.target == "/parts":
            connection.sendall(begin)
        go_on.wait(10)
        connection.sendall(b"world" if seen.target == "/parts" else begin + b"world")
        return True

    with (
        agent(reply) as behind,
        sidecar(tmp_path, behind.url, TRUSTED) as running,
        Caller(running.port) as whole,
        Caller(running.port) as parts,
    ):
        whole.send(request(target="/proxy/whole", body="{}"))
        parts.send(request(target="/proxy/parts", body="{}"))
        got = b""
        while b"hello" not in got:
            got += parts.socket.recv(65536)
        wait_until(lambda: len(behind.seen) == 2)
        _is_full(running)
        go_on.set()
        answer = whole.read()
        assert (answer.status, answer.json()["code"]) == (503, "recorder_unavailable")
        assert parts.closes(5.0) == b""
        _has_room(running)
        wait_until(lambda: running.post().status == 200, 5.0)
        assert running.metric("iatp_inflight") == 0


def test_f19_a_folder_that_cannot_be_written_is_no_start(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("not a folder")
    with sidecar(tmp_path, "http://127.0.0.1:9", TRUSTED, ready=False) as running:
        assert running.process.wait(10) != 0
        assert "logs" in running.log()
        assert "Traceback" not in running.log()


FAULTS = """
import base64
import os
import types
import iatp._fast.door as door
import iatp._fast.tails as tails
import iatp.adapters.recorder as recorder
import iatp.sidecar.connector as connector

def broken(original, when=lambda named: True):
    def call(*arguments, **named):
        if os.path.exists(os.environ["FAULT_FILE"]) and when(named):
            raise RuntimeError("secret-detail")
        return original(*arguments, **named)
    return call

match os.environ["FAULT"]:
    case "read":
        door.Request = broken(door.Request, lambda named: named["body"])
    case "record":
        recorder.Recorder.append = broken(recorder.Recorder.append)
    case "forward":
        connector.AgentConnector.__call__ = broken(connector.AgentConnector.__call__)
    case "connect":
        connector.AgentConnector._connect = broken(connector.AgentConnector._connect)
    case "settle":
        tails.base64 = types.SimpleNamespace(b64encode=broken(base64.b64encode))
"""
"""A sitecustomize for the sidecar: replaces one callable, which raises while a file exists."""


def faulty(folder: Path, fault: str) -> tuple[Path, dict[str, str]]:
    """The file that makes this fault happen, and the settings of a sidecar that has it."""
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(FAULTS)
    trigger = folder / "fault"
    return trigger, TRUSTED | {
        "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]),
        "FAULT": fault,
        "FAULT_FILE": str(trigger),
        "IATP_CONCURRENCY_LIMIT": "2",
    }


@pytest.mark.parametrize("fault", ["read", "record", "forward", "connect"])
def test_f27_what_raises_is_a_generic_answer_and_the_process_lives(
    tmp_path: Path, fault: str
) -> None:
    trigger, settings = faulty(tmp_path, fault)
    with agent() as behind, sidecar(tmp_path, behind.url, settings) as running:
        for _ in range(3):
            trigger.touch()
            for _ in range(3):
                answer = running.post('{"a":1}')
                # From the sixth failure to connect on, the breaker is open.
                assert answer.status in ((502, 503) if fault == "connect" else (500,))
                assert answer.header("x-agent-trace-id")
                assert b"secret-detail" not in answer.body
            assert behind.seen == []
            trigger.unlink()
        # No slot was lost, nothing hangs, deadlines are kept.
        wait_until(lambda: running.metric("iatp_inflight") == 0)
        wait_until(lambda: running.post().status == 200, 3.0)
        assert running.post().status == 200
        assert running.get("/readyz").status == 200
        assert "RuntimeError" in running.log()
        assert running.stop() == 0


@pytest.mark.parametrize("begun", [False, True])
def test_f27_what_raises_at_the_end_of_an_answer_ends_its_connection(
    tmp_path: Path, begun: bool
) -> None:
    trigger, settings = faulty(tmp_path, "settle")
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
    # What is cut short ends the same way.
    answer = head % 10 + b"\xff,and so" if begun else head % 2 + b"\xff\xfe"

    def reply(connection: socket.socket, _: Seen) -> bool:
        connection.sendall(answer)
        # One that closes behind a whole answer may do so when the next request is on its way.
        return not begun

    with agent(reply) as behind, sidecar(tmp_path, behind.url, settings) as running:
        trigger.touch()
        for number in range(3):
            with Caller(running.port, 5.0) as caller:
                caller.send(request(body="{}", headers={"X-Agent-Trace-ID": f"t{number}"}))
                with pytest.raises(ConnectionError):
                    caller.read()
        trigger.unlink()
        wait_until(lambda: running.metric("iatp_inflight") == 0)
        assert [ending["code"] for ending in running.endings()] == ["internal_error"] * 3
        assert running.stop() == 0
