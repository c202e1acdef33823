"""Two workers are one sidecar: what they share, and what the death of one costs."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from pathlib import Path

from tests.e2e.agents import Seen, agent, says
from tests.e2e.load import kill, lives, load, together
from tests.e2e.sidecars import (
    STRANGER,
    TRUSTED,
    Caller,
    Sidecar,
    request,
    sidecar,
    wait_until,
)

TWO = TRUSTED | {"IATP_WORKERS": "2"}


def _on_both(running: Sidecar) -> list[str]:
    """Trace IDs of requests, of which each worker served some."""
    asked: list[str] = []
    while len(asked) < 300:
        answer = running.post()
        assert answer.status == 200
        asked.append(answer.header("x-agent-trace-id") or "")
        if len(asked) >= 10 and {record["worker"] for record in running.endings()} == {0, 1}:
            return asked
    raise AssertionError("one worker got nothing")


def test_traces_and_counters_are_the_same_wherever_one_asks(tmp_path: Path) -> None:
    with agent() as behind, sidecar(tmp_path, behind.url, TWO) as running:
        asked = _on_both(running)
        for trace_id in asked:
            types = [record["type"] for record in running.trace(trace_id)]
            assert types[:2] == ["request", "response"]
        for _ in range(6):
            assert _requests(running) == len(asked)


def _requests(running: Sidecar) -> float:
    return running.metric('iatp_requests_total{decision="allow",status="200"}')


def test_the_concurrency_limit_holds_over_both(tmp_path: Path) -> None:
    working: list[int] = []
    most = 0
    lock = threading.Lock()

    def reply(connection: socket.socket, seen: Seen) -> bool | None:
        nonlocal most
        with lock:
            working.append(1)
            most = max(most, len(working))
        time.sleep(0.02)
        with lock:
            working.pop()
        return says()(connection, seen)

    settings = TWO | {"IATP_CONCURRENCY_LIMIT": "3"}
    with agent(reply) as behind, sidecar(tmp_path, behind.url, settings) as running:

        def ask(_: int) -> None:
            for _ in range(5):
                assert running.post().status == 200

        together(24, ask)
        assert most == 3
        assert {record["worker"] for record in running.endings()} == {0, 1}
        assert running.metric("iatp_queued") == running.metric("iatp_inflight") == 0


def test_a_slot_that_one_gives_back_serves_who_waits_at_the_other(tmp_path: Path) -> None:
    """One slot in all: whoever waits gets it in time, or 503 at the deadline."""
    hold = threading.Event()

    def reply(connection: socket.socket, seen: Seen) -> bool | None:
        if seen.body == b'{"hold":1}':
            hold.wait(20)
        return says()(connection, seen)

    settings = TWO | {"IATP_CONCURRENCY_LIMIT": "1", "IATP_QUEUE_TIMEOUT": "2s"}
    with (
        agent(reply) as behind,
        sidecar(tmp_path, behind.url, settings) as running,
        Caller(running.port) as holder,
        contextlib.ExitStack() as stack,
    ):
        holder.send(request(body='{"hold":1}'))
        wait_until(lambda: len(behind.seen) == 1)

        def wait_in_both(prefix: str) -> list[Caller]:
            waiting = [stack.enter_context(Caller(running.port)) for _ in range(24)]
            for number, caller in enumerate(waiting):
                trace_id = {"X-Agent-Trace-ID": f"{prefix}{number}"}
                caller.send(request(body="{}", headers=trace_id))
            return waiting

        began = time.monotonic()
        for caller in wait_in_both("late"):
            answer = caller.read()
            assert (answer.status, answer.json()["code"]) == (503, "queue_timeout")
            assert answer.header("retry-after")
        assert 1.9 < time.monotonic() - began < 8.0
        assert len(behind.seen) == 1
        workers = {r["worker"] for r in running.endings() if r["trace_id"].startswith("late")}
        assert workers == {0, 1}
        waiting = wait_in_both("soon")
        wait_until(lambda: running.metric("iatp_queued") == 24, 1.5)
        hold.set()
        assert [caller.read().status for caller in waiting] == [200] * 24
        assert holder.read().status == 200
        assert running.metric("iatp_queued") == running.metric("iatp_inflight") == 0


def test_a_ticket_is_good_once_whichever_worker_sees_it(tmp_path: Path) -> None:
    settings = STRANGER | {"IATP_WORKERS": "2", "IATP_OVERRIDE": "ticket"}
    with agent() as behind, sidecar(tmp_path, behind.url, settings) as running:
        for _ in range(5):
            warned = running.post().json()
            statuses: list[int] = []
            headers = {
                "X-User-Override": warned["override_token"],
                "X-Agent-Trace-ID": warned["trace_id"],
            }
            together(8, lambda _, h=headers, s=statuses: s.append(running.post(headers=h).status))
            assert sorted(statuses) == [200] + [449] * 7
        assert len(behind.seen) == 5
        assert {record["worker"] for record in running.endings()} == {0, 1}


def test_a_dead_worker_is_replaced_and_what_it_held_is_given_back(tmp_path: Path) -> None:
    hold = threading.Event()

    def reply(connection: socket.socket, seen: Seen) -> bool | None:
        if seen.body == b'{"hold":1}':
            hold.wait(20)
        return says()(connection, seen)

    settings = TWO | {"IATP_CONCURRENCY_LIMIT": "4"}
    with agent(reply) as behind, sidecar(tmp_path, behind.url, settings) as running:
        asked = len(_on_both(running))
        before = running.workers()
        with contextlib.ExitStack() as stack:
            # All four slots are held, by both workers or by one.
            holders = [stack.enter_context(Caller(running.port)) for _ in range(4)]
            for holder in holders:
                holder.send(request(body='{"hold":1}'))
            wait_until(lambda: running.metric("iatp_inflight") == 4)
            wait_until(lambda: len(behind.seen) == asked + 4)
            for pid in before:
                kill(pid)
                began = time.monotonic()
                wait_until(
                    lambda dead=pid: dead not in running.workers() and len(running.workers()) == 2,
                    5.0,
                )
                assert time.monotonic() - began < 1.5
            wait_until(lambda: running.metric("iatp_inflight") == 0, 5.0)
        # Nobody answered the four, and nobody holds their slots.
        together(4, lambda _: _ok(running))
        hold.set()
        assert _requests(running) == asked + 4
        assert set(running.workers()).isdisjoint(before)
        # What the dead had recorded is still there, and the four have begun.
        assert len(running.endings()) == asked + 4
        assert len(behind.seen) == asked + 8
        assert running.stop() == 0


def _ok(running: Sidecar) -> None:
    assert running.post().status == 200


def test_the_other_worker_serves_while_one_is_dead(tmp_path: Path) -> None:
    with agent() as behind, sidecar(tmp_path, behind.url, TWO) as running:
        pids = running.workers()
        with load(running.port, 8, keep=True) as callers:
            wait_until(lambda: len(callers.told) > 100)
            # The supervisor can't replace what it has not seen die.
            os.kill(running.process.pid, signal.SIGSTOP)
            kill(pids[0])
            seen = len(callers.told)
            wait_until(lambda: len(callers.told) > seen + 100)
            os.kill(running.process.pid, signal.SIGCONT)
            wait_until(lambda: len(running.workers()) == 2 and pids[0] not in running.workers())
            seen = len(callers.told)
            wait_until(lambda: len(callers.told) > seen + 100)
        # Only what was on the dead worker's connections is lost: one request each at most.
        assert len(callers.lost) <= 8
        assert {told.answer.status for told in callers.told} == {200}


def test_workers_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    go_on = threading.Event()

    def reply(connection: socket.socket, seen: Seen) -> bool | None:
        if seen.body == b'{"slow":1}':
            go_on.wait(10)
        return says()(connection, seen)

    with (
        agent(reply) as behind,
        sidecar(tmp_path, behind.url, TWO) as running,
        contextlib.ExitStack() as stack,
    ):
        _on_both(running)
        # So many that both workers have some.
        slow = [stack.enter_context(Caller(running.port)) for _ in range(20)]
        for caller in slow:
            caller.send(request(body='{"slow":1}'))
        wait_until(lambda: running.metric("iatp_inflight") == 20)
        workers = running.workers()
        kill(running.process.pid)
        running.process.wait(5)
        # New connections are refused soon; what was accepted is answered.
        wait_until(lambda: not _accepts(running.port), 3.0)
        assert all(map(lives, workers))
        go_on.set()
        assert [caller.read().status for caller in slow] == [200] * 20
        wait_until(lambda: not any(map(lives, workers)), 5.0)
        assert "supervisor is gone" in running.log()

        # The folder, the lock and the ports are free for the next one.
        again = {
            "IATP_PORT": str(running.port),
            "IATP_ADMIN_PORT": str(running.admin_port),
        }
        with sidecar(tmp_path, behind.url, TWO | again) as other:
            assert other.post().status == 200


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False
