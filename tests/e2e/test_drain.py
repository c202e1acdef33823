"""SIGTERM: what was accepted is answered, and the sidecar ends in time (case F16)."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.agents import Seen, agent, says
from tests.e2e.load import load, reset
from tests.e2e.sidecars import TRUSTED, Caller, Sidecar, request, sidecar, wait_until

both = pytest.mark.parametrize("workers", [1, 2])


def settings(workers: int, **more: str) -> dict[str, str]:
    return TRUSTED | {"IATP_WORKERS": str(workers)} | more


def hangs(connection: socket.socket, _: Seen) -> bool:
    """Never answers."""
    with contextlib.suppress(OSError):
        connection.settimeout(60)
        connection.recv(1)
    return False


@contextlib.contextmanager
def waiting(running: Sidecar, count: int) -> Iterator[list[Caller]]:
    """Callers whose requests the agent has."""
    with contextlib.ExitStack() as stack:
        callers = [stack.enter_context(Caller(running.port)) for _ in range(count)]
        for caller in callers:
            caller.send(request(body="{}"))
        wait_until(lambda: running.metric("iatp_inflight") == count)
        yield callers


@both
def test_an_idle_sidecar_ends_soon(tmp_path: Path, workers: int) -> None:
    with (
        agent() as behind,
        sidecar(tmp_path, behind.url, settings(workers, IATP_DRAIN="25s")) as running,
        Caller(running.port) as idle,
    ):
        idle.send(request(body="{}"))
        assert idle.read().status == 200
        began = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - began < 3.0
        assert idle.closes() == b""
        assert "Traceback" not in running.log()


@both
def test_readyz_says_so_first_and_whatever_was_accepted_is_answered(
    tmp_path: Path, workers: int
) -> None:
    go_on = threading.Event()

    def reply(connection: socket.socket, seen: Seen) -> bool | None:
        if seen.body == b'{"slow":1}':
            go_on.wait(10)
        return says()(connection, seen)

    with (
        agent(reply) as behind,
        sidecar(tmp_path, behind.url, settings(workers)) as running,
        contextlib.ExitStack() as stack,
    ):
        slow = [stack.enter_context(Caller(running.port)) for _ in range(6)]
        for caller in slow:
            caller.send(request(body='{"slow":1}'))
        # Connected, and silent so far: no request of theirs may be lost either.
        late = [stack.enter_context(Caller(running.port)) for _ in range(6)]
        wait_until(lambda: running.metric("iatp_inflight") == 6)

        running.process.send_signal(signal.SIGTERM)
        # Which worker answers is chance.
        wait_until(lambda: all(running.get("/readyz").status == 503 for _ in range(12)), 1.0)
        ready = running.get("/readyz")
        assert ready.json()["reasons"] == ["draining"]
        # A balancer has not noticed yet: new connections are still served.
        fresh = running.post()
        assert (fresh.status, fresh.header("connection")) == (200, "close")
        assert running.get("/livez").status == 200
        for caller in late:
            caller.send(request(body="{}"))
            answer = caller.read()
            assert (answer.status, answer.header("connection")) == (200, "close")
        assert running.process.poll() is None
        go_on.set()
        for caller in slow:
            answer = caller.read()
            assert (answer.status, answer.header("connection")) == (200, "close")
            assert caller.closes() == b""
        assert running.process.wait(5) == 0
        assert len(running.endings()) == 13
        assert len(behind.seen) == 13


@both
def test_a_hung_agent_does_not_hold_it(tmp_path: Path, workers: int) -> None:
    with (
        agent(hangs) as behind,
        sidecar(tmp_path, behind.url, settings(workers, IATP_DRAIN="1s")) as running,
        waiting(running, 4) as callers,
        Caller(running.port) as half,
    ):
        # This one's request has not arrived in whole.
        half.send(request(body='{"a":1}')[:-2])
        # And this one's caller went away; the agent works on.
        gone = Caller(running.port)
        gone.send(request(body="{}"))
        wait_until(lambda: running.metric("iatp_inflight") == 5)
        reset(gone.socket)

        began = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        for caller in [*callers, half]:
            answer = caller.read()
            assert (answer.status, answer.json()["code"]) == (503, "draining")
            assert answer.header("connection") == "close"
            assert answer.header("retry-after") == "1"
        assert running.process.wait(5) == 0
        assert time.monotonic() - began < 2.0
        statuses = sorted(record["status_code"] for record in running.endings())
        assert statuses == [499, 503, 503, 503, 503, 503]


@both
def test_what_waits_for_the_agent_is_answered_at_the_end(tmp_path: Path, workers: int) -> None:
    more = {"IATP_DRAIN": "1s", "IATP_CONCURRENCY_LIMIT": "1"}
    with (
        agent(hangs) as behind,
        sidecar(tmp_path, behind.url, settings(workers, **more)) as running,
        waiting(running, 1) as working,
        contextlib.ExitStack() as stack,
    ):
        queued = [stack.enter_context(Caller(running.port)) for _ in range(5)]
        for caller in queued:
            caller.send(request(body="{}"))
        wait_until(lambda: running.metric("iatp_queued") == 5)
        running.process.send_signal(signal.SIGTERM)
        assert [caller.read().status for caller in [*working, *queued]] == [503] * 6
        assert running.process.wait(5) == 0
        assert len(running.endings()) == 6
        assert len(behind.seen) == 1


@both
def test_a_second_signal_ends_at_once(tmp_path: Path, workers: int) -> None:
    with (
        agent(hangs) as behind,
        sidecar(tmp_path, behind.url, settings(workers, IATP_DRAIN="25s")) as running,
        waiting(running, 2),
    ):
        running.process.send_signal(signal.SIGTERM)
        wait_until(lambda: running.get("/readyz").status == 503, 2.0)
        began = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(5) == 0
        assert time.monotonic() - began < 1.0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_to_every_process_is_one_signal(tmp_path: Path, number: signal.Signals) -> None:
    """A terminal and a service manager signal the whole group; that is not "at once"."""
    go_on = threading.Event()

    def reply(connection: socket.socket, seen: Seen) -> bool | None:
        go_on.wait(10)
        return says()(connection, seen)

    with (
        agent(reply) as behind,
        sidecar(tmp_path, behind.url, settings(2)) as running,
        waiting(running, 6) as callers,
    ):
        os.killpg(running.process.pid, number)
        wait_until(lambda: running.get("/readyz").status == 503, 2.0)
        time.sleep(0.2)
        go_on.set()
        assert [caller.read().status for caller in callers] == [200] * 6
        assert running.process.wait(8) == 0


def test_a_worker_that_hangs_is_killed_when_the_drain_is_over(tmp_path: Path) -> None:
    with (
        agent() as behind,
        sidecar(tmp_path, behind.url, settings(2, IATP_DRAIN="1s")) as running,
    ):
        stuck = running.workers()[0]
        os.kill(stuck, signal.SIGSTOP)
        began = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        running.process.wait(5)
        assert time.monotonic() - began < 2.5


@both
@pytest.mark.parametrize("keep", [True, False], ids=["kept", "anew"])
def test_no_connection_is_reset_while_it_drains_under_load(
    tmp_path: Path, workers: int, keep: bool
) -> None:
    more = {"IATP_DRAIN": "3s"}
    with agent() as behind, sidecar(tmp_path, behind.url, settings(workers, **more)) as running:
        with load(running.port, 12, keep=keep) as callers:
            wait_until(lambda: len(callers.told) > 100)
            running.process.send_signal(signal.SIGTERM)
            assert running.process.wait(8) == 0
        assert callers.lost == []
        assert {told.answer.status for told in callers.told} == {200}
        told = {one.trace_id for one in callers.told}
        assert told == {record["trace_id"] for record in running.endings()}
        assert len(running.endings()) == len(told) == len(behind.seen)
        assert callers.refused > 0


def test_a_stream_ends_with_the_drain_and_is_recorded(tmp_path: Path) -> None:
    def streams(connection: socket.socket, _: Seen) -> bool:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(b"b\r\ndata: {}\n\n\n\r\n")
                time.sleep(0.05)
        return False

    with (
        agent(streams) as behind,
        sidecar(tmp_path, behind.url, settings(1, IATP_DRAIN="1s")) as running,
        Caller(running.port) as caller,
    ):
        caller.send(request(body="{}", headers={"X-Agent-Trace-ID": "stream"}))
        data = b""
        while b"data: {}" not in data:
            data += caller.socket.recv(65536)
        began = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        data += caller.closes(3.0)
        assert not data.endswith(b"0\r\n\r\n")
        assert running.process.wait(5) == 0
        assert time.monotonic() - began < 2.0
        (ending,) = running.endings()
        assert (ending["type"], ending["truncated"]) == ("response", True)
