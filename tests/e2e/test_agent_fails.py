"""What becomes of a request whose agent refuses, resets, stalls or talks nonsense (cases F)."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.e2e.agents import Seen, agent, says, sends
from tests.e2e.load import reset
from tests.e2e.sidecars import (
    TRUSTED,
    Caller,
    Sidecar,
    free_ports,
    request,
    sidecar,
    wait_until,
)


def resets(connection: socket.socket, _: Seen) -> bool:
    """Executes what it was asked, then resets the connection."""
    reset(connection)
    return False


def ends(connection: socket.socket, _: Seen) -> bool:
    """Closes the connection instead of answering."""
    return False


def test_an_agent_that_refuses_is_502_at_once_and_found_again(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    settings = TRUSTED | {"IATP_READY_CHECK_AGENT": "true"}
    with sidecar(tmp_path, f"http://127.0.0.1:{port}", settings, ready=False) as running:
        wait_until(lambda: _alive(running))
        began = time.monotonic()
        answer = running.post()
        assert (answer.status, answer.json()["code"]) == (502, "agent_unreachable")
        assert answer.header("x-iatp-decision") == "error"
        assert time.monotonic() - began < 1.0
        ready = running.get("/readyz")
        assert ready.status == 503
        assert b"agent" in ready.body
        with agent(port=port):
            wait_until(lambda: running.get("/readyz").status == 200, 2.0)
            wait_until(lambda: running.post().status == 200, 1.5)
        assert "Traceback" not in running.log()


def _alive(running: Sidecar) -> bool:
    with contextlib.suppress(OSError):
        return running.get("/livez").status == 200
    return False


def test_a_payment_is_executed_once_though_the_agent_resets(tmp_path: Path) -> None:
    with agent(resets) as behind, sidecar(tmp_path, behind.url, TRUSTED) as running:
        answer = running.post('{"pay":1}', {"X-Agent-Trace-ID": "payment"})
        assert (answer.status, answer.json()["code"]) == (502, "agent_reset")
        assert [record["type"] for record in running.trace("payment")] == ["request", "error"]
        assert len(behind.seen) == 1


@pytest.mark.parametrize("reply", [resets, ends])
def test_what_may_be_repeated_is_repeated(tmp_path: Path, reply: object) -> None:
    def once(connection: socket.socket, seen: Seen) -> bool | None:
        if len([one for one in behind.seen if one.target == seen.target]) == 1:
            return (resets if reply is resets else ends)(connection, seen)
        return says()(connection, seen)

    settings = TRUSTED | {"IATP_IDEMPOTENCY": "true"}
    with agent(once) as behind, sidecar(tmp_path, behind.url, settings) as running:
        assert running.ask("GET", "/proxy/get").status == 200
        assert running.ask("PUT", "/proxy/put", "{}").status == 200
        assert running.ask(target="/proxy/key", body="{}", headers=KEY).status == 200
        # A POST without a key is not repeated, whatever the manifest says.
        assert running.ask(target="/proxy/post", body="{}").status == 502
        # An empty key is none.
        with Caller(running.port) as caller:
            bare = b"POST /proxy/bare HTTP/1.1\r\nHost: a\r\nX-Idempotency-Key: \r\n"
            caller.send(bare + b"Content-Length: 2\r\n\r\n{}")
            assert caller.read().status == 502
        assert [one.target for one in behind.seen] == [
            *("/get", "/get"),
            *("/put", "/put"),
            *("/key", "/key"),
            "/post",
            "/bare",
        ]
        # Repeated for the caller, not for the record.
        assert len(running.records()) == 10


KEY = {"X-Idempotency-Key": "k-1"}


def test_a_key_alone_does_not_make_a_post_repeatable(tmp_path: Path) -> None:
    with agent(resets) as behind, sidecar(tmp_path, behind.url, TRUSTED) as running:
        assert running.ask(body="{}", headers=KEY).status == 502
        assert len(behind.seen) == 1


def test_what_was_found_counts_once_though_the_agent_fails(tmp_path: Path) -> None:
    with agent(resets) as behind, sidecar(tmp_path, behind.url, TRUSTED) as running:
        for number in (1, 2):
            assert running.post('{"to":"alice@example.com"}').status == 502
            assert running.metric('iatp_findings_total{kind="email"}') == number


def test_a_repeat_ends_too(tmp_path: Path) -> None:
    with agent(resets) as behind, sidecar(tmp_path, behind.url, TRUSTED) as running:
        assert running.ask("GET", "/proxy/x").status == 502
        assert 2 <= len(behind.seen) <= 3
        assert len(running.endings()) == 1


def test_a_pooled_connection_that_the_agent_closed_is_replaced(tmp_path: Path) -> None:
    closing: list[socket.socket] = []

    def reply(connection: socket.socket, seen: Seen) -> bool | None:
        closing.append(connection)
        return says()(connection, seen)

    with agent(reply) as behind, sidecar(tmp_path, behind.url, TRUSTED) as running:
        for number in range(1, 21):
            assert running.post('{"pay":1}').status == 200
            closing[-1].shutdown(socket.SHUT_RDWR)
            # No pause: the request may meet a connection that is closing just now. It is
            # answered, or, where it had left already, refused; it is never sent twice.
            answer = running.post('{"pay":2}')
            assert answer.status in (200, 502)
            if answer.status == 502:
                assert answer.json()["code"] == "agent_reset"
            assert len([one for one in behind.seen if one.body == b'{"pay":2}']) <= number
        wait_until(lambda: running.metric("iatp_inflight") == 0)
        closing[-1].shutdown(socket.SHUT_RDWR)
        wait_until(lambda: running.metric('iatp_connections{state="agent_idle"}') == 0)
        assert running.post().status == 200


@pytest.mark.parametrize("target", ["/proxy", "/proxy/tasks/7"])
def test_two_sidecars_in_a_loop_end_with_508(tmp_path: Path, target: str) -> None:
    port, admin_port = free_ports(2)
    fixed = TRUSTED | {"IATP_PORT": str(port), "IATP_ADMIN_PORT": str(admin_port)}
    other_port, other_admin_port = free_ports(2)
    other = TRUSTED | {"IATP_PORT": str(other_port), "IATP_ADMIN_PORT": str(other_admin_port)}
    with (
        sidecar(tmp_path / "a", f"http://127.0.0.1:{other_port}/proxy", fixed) as first,
        sidecar(tmp_path / "b", f"http://127.0.0.1:{port}/proxy", other) as second,
    ):
        answer = first.ask(target=target, body="{}", headers={"X-Agent-Trace-ID": "loop"})
        assert answer.status == 508
        assert answer.json()["code"] == "loop_detected"
        assert len(first.records()) + len(second.records()) == 5
        assert sorted(record["type"] for record in first.endings()) == ["error", "response"]
        assert [record["type"] for record in second.endings()] == ["response"]


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5",
    ],
)
def test_a_reset_inside_the_head_is_502(tmp_path: Path, message: bytes) -> None:
    def reply(connection: socket.socket, _: Seen) -> bool:
        connection.sendall(message)
        time.sleep(0.05)
        reset(connection)
        return False

    with agent(reply) as behind, sidecar(tmp_path, behind.url, TRUSTED) as running:
        assert running.post().status == 502
        assert [record["type"] for record in running.endings()] == ["error"]


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 10\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello"]
)
def test_a_reset_inside_the_body_is_seen_and_recorded(tmp_path: Path, framing: bytes) -> None:
    with (
        agent(sends(HEAD + framing)) as behind,
        sidecar(tmp_path, behind.url, TRUSTED) as running,
        Caller(running.port) as caller,
    ):
        caller.send(request(body="{}"))
        with pytest.raises(ConnectionError):
            caller.read()
        (ending,) = running.endings()
        assert (ending["type"], ending["truncated"]) == ("response", True)
        assert ending["response_bytes"] == 5
        assert running.metric('iatp_upstream_errors_total{reason="truncated"}') == 1


@pytest.mark.parametrize(
    "message", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"]
)
def test_no_complete_head_is_504_at_the_deadline(tmp_path: Path, message: bytes) -> None:
    dropped = threading.Event()

    def reply(connection: socket.socket, _: Seen) -> bool:
        connection.sendall(message)
        connection.settimeout(10)
        with contextlib.suppress(OSError):
            assert connection.recv(1) == b""
        dropped.set()
        return False

    settings = TRUSTED | {"IATP_AGENT_TIMEOUT": "500ms"}
    with agent(reply) as behind, sidecar(tmp_path, behind.url, settings) as running:
        began = time.monotonic()
        answer = running.post()
        took = time.monotonic() - began
        assert (answer.status, answer.json()["code"]) == (504, "agent_timeout")
        # The case says within a tenth; the machine may be busy.
        assert 0.45 < took < 1.0
        assert dropped.wait(2)
        assert running.metric("iatp_inflight") == 0


@pytest.mark.parametrize(
    "message",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" * 1000 + HEAD + b"Content-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"hello\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        HEAD + b"X: " + b"y" * 70_000 + b"\r\n\r\n",
    ],
)
def test_what_is_not_an_answer_is_502(tmp_path: Path, message: bytes) -> None:
    with agent(sends(message)) as behind, sidecar(tmp_path, behind.url, TRUSTED) as running:
        answer = running.post(headers={"Upgrade": "x", "Connection": "upgrade"})
        assert (answer.status, answer.json()["code"]) == (502, "agent_invalid_answer")
        assert behind.seen[0].header("upgrade") is None
        assert running.post().status == 502


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("queued", [False, True])
def test_what_follows_an_answer_without_a_body_reaches_nobody(
    tmp_path: Path, status: int, queued: bool
) -> None:
    stray = HEAD + b"Content-Length: 5\r\n\r\nstray"

    def reply(connection: socket.socket, seen: Seen) -> bool | None:
        if seen.target == "/first":
            time.sleep(0.2)
            connection.sendall(b"HTTP/1.1 %d Nothing\r\n\r\n%b" % (status, stray))
            return True
        return says(b"mine")(connection, seen)

    settings = TRUSTED | {"IATP_CONCURRENCY_LIMIT": "1" if queued else "100"}
    with (
        agent(reply) as behind,
        sidecar(tmp_path, behind.url, settings) as running,
        Caller(running.port) as one,
        Caller(running.port) as two,
    ):
        # Pipelined, or another caller's: the next request waits as the first is answered.
        one.send(request("GET", "/proxy/first"))
        wait_until(lambda: len(behind.seen) == 1)
        (two if queued else one).send(request("GET", "/proxy/second"))
        assert one.read("GET").status == status
        assert (two if queued else one).read("GET").body == b"mine"
        assert behind.connections == 2


def test_an_answer_that_comes_before_its_request_reaches_nobody(tmp_path: Path) -> None:
    stray = HEAD + b"Content-Length: 5\r\n\r\nstray"
    kept: list[socket.socket] = []

    def reply(connection: socket.socket, seen: Seen) -> bool | None:
        kept.append(connection)
        return says(b"mine")(connection, seen)

    with (
        agent(reply) as behind,
        sidecar(tmp_path, behind.url, TRUSTED) as running,
        Caller(running.port) as caller,
    ):
        for number in range(20):
            caller.send(request(body="{}"))
            assert caller.read().body == b"mine"
            # Both are there when the sidecar looks again; what came first it sees first.
            running.process.send_signal(signal.SIGSTOP)
            if number % 2:
                kept[-1].sendall(stray)
            caller.send(request(body="{}"))
            if not number % 2:
                kept[-1].sendall(stray)
            running.process.send_signal(signal.SIGCONT)
            assert caller.read().body == b"mine"
        assert len(behind.seen) == 40


def test_the_breaker_opens_after_five_failures_and_probes(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with sidecar(tmp_path, f"http://127.0.0.1:{port}", TRUSTED) as running:
        answers = [running.post() for _ in range(5)]
        assert [answer.json()["code"] for answer in answers] == ["agent_unreachable"] * 5
        with Caller(running.port) as caller:
            quickest = 1.0
            for _ in range(10):
                began = time.monotonic()
                caller.send(request(body="{}"))
                answer = caller.read()
                quickest = min(quickest, time.monotonic() - began)
                assert (answer.status, answer.json()["code"]) == (503, "agent_failing")
                assert answer.header("retry-after") == "1"
            assert quickest < 0.005

            # One probe each half second, whoever asks.
            codes = []
            until = time.monotonic() + 1.7
            while time.monotonic() < until:
                caller.send(request(body="{}"))
                codes.append(caller.read().json()["code"])
                time.sleep(0.005)
            assert 2 <= codes.count("agent_unreachable") <= 4
        with agent(port=port):
            wait_until(lambda: running.post().status == 200, 1.5)
            assert running.post().status == 200


POISON = '{"poison":1}'


def poisonable(connection: socket.socket, seen: Seen) -> bool | None:
    """Resets on some requests, and is well otherwise."""
    return (resets if seen.body == POISON.encode() else says())(connection, seen)


def test_a_success_in_between_keeps_the_breaker_closed(tmp_path: Path) -> None:
    with agent(poisonable) as behind, sidecar(tmp_path, behind.url, TRUSTED) as running:
        for _ in range(5):
            codes = [running.post(POISON).json()["code"] for _ in range(4)]
            assert codes == ["agent_reset"] * 4
            assert running.post().status == 200
        assert len(behind.seen) == 25


def test_what_was_repeated_counts_once(tmp_path: Path) -> None:
    with agent(resets) as behind, sidecar(tmp_path, behind.url, TRUSTED) as running:
        answers = [running.ask("GET", "/proxy/x").json()["code"] for _ in range(5)]
        assert answers == ["agent_reset"] * 5
        assert len(behind.seen) == 10
        assert running.ask("GET", "/proxy/x").json()["code"] == "agent_failing"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"", "agent_timeout"),
        (b"nonsense\r\n\r\n", "agent_invalid_answer"),
        (HEAD.replace(b"200", b"500") + b"Connection: close\r\nContent-Length: 0\r\n\r\n", None),
        (HEAD + b"Content-Length: 10\r\n\r\nhello", None),
    ],
)
def test_an_agent_that_is_there_keeps_the_breaker_closed(
    tmp_path: Path, message: bytes, code: str | None
) -> None:
    def reply(connection: socket.socket, _: Seen) -> bool:
        connection.sendall(message)
        if not message:
            connection.settimeout(10)
            with contextlib.suppress(OSError):
                connection.recv(1)
        return False

    settings = TRUSTED | {"IATP_AGENT_TIMEOUT": "50ms"}
    with agent(reply) as behind, sidecar(tmp_path, behind.url, settings) as running:
        for number in range(8):
            if b"hello" in message:
                with pytest.raises(ConnectionError):
                    running.post()
            elif code:
                assert running.post().json()["code"] == code
            else:
                assert running.post().status == 500
            wait_until(lambda number=number: len(behind.seen) == number + 1)
        behind.reply = says()
        assert running.post().status == 200


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")
def test_one_caller_cannot_shut_the_others_out(tmp_path: Path) -> None:
    with (
        agent(poisonable) as behind,
        sidecar(tmp_path, behind.url, TRUSTED) as running,
        Caller(running.port, source="127.0.0.2") as poisoner,
        Caller(running.port, source="127.0.0.3") as other,
    ):
        for _ in range(3):
            # It would also take every probe, if others had none of their own.
            codes = []
            while codes[-3:] != ["agent_failing"] * 3:
                poisoner.send(request(body=POISON))
                codes.append(poisoner.read().json()["code"])
            assert codes[:5] == ["agent_reset"] * 5
            other.send(request(body="{}"))
            assert other.read().status == 200
            # All is well again, for both.
            poisoner.send(request(body="{}"))
            assert poisoner.read().status == 200
        behind.close()
        # Where nobody gets through, nobody has more than two probes in half a second.
        for _ in range(5):
            poisoner.send(request(body="{}"))
            assert poisoner.read().status == 502
        codes = []
        until = time.monotonic() + 1.4
        while time.monotonic() < until:
            for caller in (poisoner, other):
                caller.send(request(body="{}"))
                codes.append(caller.read().json()["code"])
        assert set(codes) == {"agent_failing", "agent_unreachable"}
        assert codes.count("agent_unreachable") <= 8


def test_a_name_that_does_not_exist_is_502(tmp_path: Path) -> None:
    with sidecar(tmp_path, "http://no-such-agent.invalid:9", TRUSTED) as running:
        began = time.monotonic()
        answer = running.post()
        assert (answer.status, answer.json()["code"]) == (502, "agent_unreachable")
        assert time.monotonic() - began < 6.0
        assert running.get("/health").status == 200
        assert running.metric("iatp_inflight") == 0
        assert running.stop() == 0


def test_proxies_of_the_environment_are_not_used_and_redirects_not_followed(
    tmp_path: Path,
) -> None:
    with agent() as evil, agent() as behind:
        behind.reply = says(b"", f"Location: {evil.url}/", status="307 Temporary Redirect")
        proxies = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy")
        settings = TRUSTED | dict.fromkeys(proxies, evil.url)
        with sidecar(tmp_path, behind.url, settings) as running:
            answer = running.post()
            assert answer.status == 307
            assert answer.header("location") == f"{evil.url}/"
        assert evil.connections == 0
        assert len(behind.seen) == 1
