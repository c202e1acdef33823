"""Callers that are slow, leave, or send more than they should (cases A42 to A51)."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from tests.e2e.agents import Seen, agent, says
from tests.e2e.load import peak_kib, reset, resident_kib, together
from tests.e2e.sidecars import KEEPS, TRUSTED, Caller, request, sidecar, wait_until

SMUGGLED = request(body='{"a":"4111111111111111"}')


def test_a42_ten_thousand_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    count = 10_000

    def reply(connection: socket.socket, seen: Seen) -> bool | None:
        return says(seen.body)(connection, seen)

    with (
        agent(reply) as behind,
        sidecar(tmp_path, behind.url, KEEPS) as running,
        Caller(running.port, 50.0) as caller,
    ):
        caller.send(request(body=b'{"warm":1}'))
        assert caller.read().status == 200
        before = resident_kib(running.process.pid)
        # Of ten, one goes to the agent, one to the application; the rest is refused.
        messages = []
        for number in range(count):
            trace = {"X-Agent-Trace-ID": f"n{number}"}
            if number % 10 == 0:
                messages.append(request(body=b"[%d]" % number, headers=trace))
            elif number % 10 == 1:
                messages.append(request("GET", "/health", headers=trace))
            else:
                messages.append(request(body="{", headers=trace))
        data = b"".join(messages)

        sender = threading.Thread(target=caller.send, args=(data,), daemon=True)
        sender.start()
        for number in range(count):
            answer = caller.read("GET" if number % 10 == 1 else "POST")
            assert answer.header("x-agent-trace-id") == f"n{number}"
            assert answer.status == (400 if number % 10 > 1 else 200)
        sender.join(5)
        assert peak_kib(running.process.pid) - before < 6144
        assert len(behind.seen) == 1 + count // 10
        assert len(running.endings()) == 1 + count - count // 10


def test_a45_a_body_over_the_limit_is_refused_unread(tmp_path: Path) -> None:
    settings = TRUSTED | {"IATP_MAX_BODY": "64KiB"}
    limit = 64 * 1024
    with agent() as behind, sidecar(tmp_path, behind.url, settings) as running:
        with Caller(running.port) as caller:
            caller.send(request(headers={"Content-Length": str(limit + 1)}))
            answer = caller.read()
            assert (answer.status, answer.header("connection")) == (413, "close")
            assert caller.closes(2.0) == b""
        with Caller(running.port) as caller:
            caller.send(request(headers={"Transfer-Encoding": "chunked"}))
            chunk = b"1000\r\n" + b" " * 4096 + b"\r\n"
            for _ in range(16):
                caller.send(chunk)
            time.sleep(0.05)
            assert behind.seen == []
            caller.send(b"1\r\n")
            caller.send(b" ")
            answer = caller.read()
            assert (answer.status, answer.header("connection")) == (413, "close")
        body = b"[" + b" " * (limit - 2) + b"]"
        assert running.post(body).status == 200
        assert len(behind.seen) == 1
        assert [record["status_code"] for record in running.endings()] == [413, 413, 200]


def _dribbled(caller: Caller, seconds: float) -> float:
    """After how long a caller that sends one byte now and then is answered 408."""
    began = time.monotonic()
    caller.socket.settimeout(0.5)
    while time.monotonic() - began < seconds:
        try:
            answer = caller.read()
        except TimeoutError:
            caller.send(b" ")
        else:
            assert (answer.status, answer.header("connection")) == (408, "close")
            return time.monotonic() - began
    raise AssertionError("it is still waited for")


@pytest.mark.slow
def test_a47_a_head_or_body_that_dribbles_is_408_at_the_deadline(tmp_path: Path) -> None:
    with (
        agent() as behind,
        sidecar(tmp_path, behind.url, TRUSTED) as running,
        Caller(running.port) as body,
        Caller(running.port) as head,
    ):
        body.send(request(body=b"{}" + b" " * 998)[:-998])
        head.send(b"POST /proxy HTTP/1.1\r\nHost: a\r\nX: ")
        took: dict[str, float] = {}

        def dribble(number: int) -> None:
            name, caller = [("head", head), ("body", body)][number]
            took[name] = _dribbled(caller, 40)

        together(2, dribble)
        # Ten and thirty seconds in total, whatever arrives meanwhile.
        assert 9.5 < took["head"] < 12
        assert 29.5 < took["body"] < 33
        assert behind.connections == 0
        assert {record["status_code"] for record in running.endings()} == {408}


def test_a49_a_caller_that_ends_its_side_gets_its_answers(tmp_path: Path) -> None:
    def reply(connection: socket.socket, seen: Seen) -> bool | None:
        time.sleep(0.1)
        return says()(connection, seen)

    with agent(reply) as behind, sidecar(tmp_path, behind.url, TRUSTED) as running:
        with Caller(running.port) as caller:
            caller.send(request(body="{}"))
            caller.socket.shutdown(socket.SHUT_WR)
            answer = caller.read()
            assert (answer.status, answer.header("connection")) == (200, "close")
            assert caller.closes() == b""
        # All that were sent before, too; what is not whole goes nowhere.
        with Caller(running.port) as caller:
            caller.send(request(body="{}") * 3 + request("GET", "/health") + request(body="{"))
            caller.send(request(body='{"half":1}')[:-4])
            caller.socket.shutdown(socket.SHUT_WR)
            assert [caller.read().status for _ in range(3)] == [200] * 3
            assert caller.read("GET").status == 200
            assert caller.read().status == 400
            assert caller.closes() == b""
        with Caller(running.port) as caller:
            caller.send(request(body="{}")[:-1])
            caller.socket.shutdown(socket.SHUT_WR)
            assert caller.closes() == b""
        assert len(behind.seen) == 4
        statuses = [record["status_code"] for record in running.endings()]
        assert sorted(statuses) == [200, 200, 200, 200, 400, 499, 499]


def test_a50_a_reset_before_and_after_forwarding_is_recorded(tmp_path: Path) -> None:
    def reply(connection: socket.socket, seen: Seen) -> bool | None:
        time.sleep(0.3)
        return says()(connection, seen)

    with agent(reply) as behind, sidecar(tmp_path, behind.url, TRUSTED) as running:
        caller = Caller(running.port)
        caller.send(request(body="{}", headers={"X-Agent-Trace-ID": "half"})[:-1])
        time.sleep(0.05)
        reset(caller.socket)
        wait_until(lambda: len(running.endings()) == 1)
        assert behind.connections == 0

        caller = Caller(running.port)
        caller.send(request(body="{}", headers={"X-Agent-Trace-ID": "post"}))
        wait_until(lambda: len(behind.seen) == 1)
        reset(caller.socket)
        wait_until(lambda: len(running.endings()) == 2)
        # Not idempotent: the agent could finish, so its connection is good for the next.
        assert running.post().status == 200
        assert behind.connections == 1

        caller = Caller(running.port)
        caller.send(request("GET", "/proxy/x", headers={"X-Agent-Trace-ID": "get"}))
        wait_until(lambda: len(behind.seen) == 3)
        began = time.monotonic()
        reset(caller.socket)
        wait_until(lambda: len(running.endings()) == 4)
        assert time.monotonic() - began < 0.25
        for trace_id in ("half", "post", "get"):
            ending = running.trace(trace_id)[-1]
            assert (ending["type"], ending["code"]) == ("error", "caller_gone")
            assert ending["status_code"] == 499


def test_a_caller_that_leaves_the_queue_is_not_forwarded(tmp_path: Path) -> None:
    def reply(connection: socket.socket, seen: Seen) -> bool | None:
        time.sleep(0.5)
        return says()(connection, seen)

    settings = TRUSTED | {"IATP_CONCURRENCY_LIMIT": "1"}
    with (
        agent(reply) as behind,
        sidecar(tmp_path, behind.url, settings) as running,
        Caller(running.port) as first,
    ):
        first.send(request(body="{}"))
        wait_until(lambda: len(behind.seen) == 1)
        leaving = [Caller(running.port) for _ in range(4)]
        for caller in leaving:
            caller.send(request(body='{"leaves":1}'))
        wait_until(lambda: running.metric("iatp_queued") == 4)
        for caller in leaving[:2]:
            caller.socket.close()
        for caller in leaving[2:]:
            reset(caller.socket)
        wait_until(lambda: running.metric("iatp_queued") == 0)
        assert first.read().status == 200
        assert running.post().status == 200
        assert [one.body for one in behind.seen] == [b"{}", b"{}"]
        statuses = sorted(record["status_code"] for record in running.endings())
        assert statuses == [200, 200, 499, 499, 499, 499]


@pytest.mark.parametrize("target", ["/health", "/livez", "/nothing"])
def test_a51_a_body_where_none_belongs_is_never_a_request(tmp_path: Path, target: str) -> None:
    with (
        agent() as behind,
        sidecar(tmp_path, behind.url, KEEPS) as running,
        Caller(running.port) as caller,
    ):
        head = request("GET", target, headers={"Content-Length": str(len(SMUGGLED))})
        caller.send(head + SMUGGLED)
        assert caller.read("GET").status in (200, 400, 404)
        try:
            caller.send(request("GET", "/health"))
            assert caller.read("GET").status == 200
        except ConnectionError:
            pass
        assert running.records() == []
        assert behind.connections == 0
