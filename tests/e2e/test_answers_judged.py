"""What the policy makes of agents' answers: passed, redacted or withheld, before a real caller."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.agents import Agent, Reply, Seen, agent, says, sends
from tests.e2e.sidecars import TRUSTED, Answer, Caller, Sidecar, request, sidecar

CARD = "4111111111111111"
SSN = "123-45-6789"
EMAIL = "jane.roe@example.com"
POLICY = """
[answers]
credit_card = "redact"
ssn = "block"
"""
JSON = "Content-Type: application/json"

Pair = tuple[Sidecar, Agent]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("answers")
    policy = folder / "policy.toml"
    policy.write_text(POLICY)
    settings = TRUSTED | {"IATP_POLICY": str(policy), "IATP_MAX_BODY": "1MiB"}
    with (
        agent(says()) as behind,
        sidecar(folder / "sidecar", behind.url, settings) as running,
    ):
        yield running, behind


def chunked(content_type: str, *pieces: bytes) -> Reply:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"

    def reply(connection: socket.socket, _: Seen) -> bool:
        connection.sendall(head.encode())
        for piece in pieces:
            connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        connection.sendall(b"0\r\n\r\n")
        return True

    return reply


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def ending(running: Sidecar, answer: Answer) -> dict[str, Any]:
    records = running.trace(answer.header("X-Agent-Trace-ID") or "")
    assert [record["type"] for record in records[:-1]] == ["request"]
    return records[-1]


def assert_withheld(running: Sidecar, answer: Answer, why: str) -> None:
    assert (answer.status, answer.json()["code"]) == (403, "answer_withheld")
    assert answer.header("X-IATP-Decision") == "block"
    record = ending(running, answer)
    assert (record["type"], record["code"]) == ("error", "answer_withheld")
    assert (record["decision"], record["status_code"]) == ("block", 403)
    assert (record["agent_status"], record["detail"]) == (200, why)
    assert running.metric("iatp_buffered_bytes") == 0


def test_a_value_is_replaced(pair: Pair) -> None:
    running, behind = pair
    body = json.dumps({"card": CARD, "number": int(CARD), "mail": EMAIL}).encode()
    behind.reply = says(
        body, JSON, "Content-MD5: x", "Repr-Digest: sha-256=:x:", 'ETag: "1"', "X-Kept: 1"
    )
    with Caller(running.port) as caller:
        for _ in range(2):
            caller.send(request(body="{}"))
            answer = caller.read()
            assert answer.json() == {
                "card": "[CREDIT_CARD_REDACTED]",
                "number": "[CREDIT_CARD_REDACTED]",
                "mail": EMAIL,
            }
            assert answer.header("Content-Length") == str(len(answer.body))
            assert answer.header("Content-MD5") is None
            assert answer.header("Repr-Digest") is None
            assert (answer.header("ETag"), answer.header("X-Kept")) == ('"1"', "1")
            assert answer.header("X-IATP-Decision") == "allow"
    record = ending(running, answer)
    assert (record["type"], record["redacted"]) == ("response", True)
    assert record["findings"] == {"credit_card": 2, "email": 1}
    assert record["response_bytes"] == len(body)
    assert running.metric("iatp_buffered_bytes") == 0


@pytest.mark.parametrize(
    "body", [f'{{"ssn":"{SSN}"}}', f'["{SSN}","{CARD}"]', f'["{"x" * 20_000}","{SSN}"]']
)
@pytest.mark.parametrize("split", [False, True])
def test_an_answer_is_withheld(body: str, pair: Pair, *, split: bool) -> None:
    running, behind = pair
    data = body.encode()
    middle = len(data) // 2
    behind.reply = (
        chunked("application/json", data[:middle], data[middle:]) if split else says(data, JSON)
    )
    with Caller(running.port) as caller:
        for _ in range(2):
            # The connection stays.
            caller.send(request(body="{}"))
            answer = caller.read()
            assert_withheld(running, answer, "ssn")


@pytest.mark.parametrize("body", [b'{"a":1}', b'{"a":"' + b"x" * 100_000 + b'"}', b"[]", b""])
@pytest.mark.parametrize("pieces", [0, 1, 3])
def test_what_holds_nothing_passes_as_it_is(body: bytes, pieces: int, pair: Pair) -> None:
    running, behind = pair
    behind.reply = says(body, JSON, "Content-MD5: x")
    if pieces and body:
        step = len(body) // pieces or 1
        parts = [body[at : at + step] for at in range(0, len(body), step)]
        behind.reply = chunked("application/json", *parts)
    answer = running.post()
    assert (answer.status, answer.body) == (200, body)
    assert answer.header("Content-MD5") == (None if pieces and body else "x")
    assert "redacted" not in ending(running, answer)


def test_packed_answers(pair: Pair) -> None:
    running, behind = pair
    packed = gzip.compress(b'{"a":"nothing"}')
    behind.reply = says(packed, JSON, "Content-Encoding: gzip")
    answer = running.post()
    assert (answer.body, answer.header("Content-Encoding")) == (packed, "gzip")
    behind.reply = says(gzip.compress(json.dumps([CARD]).encode()), JSON, "Content-Encoding: gzip")
    answer = running.post()
    assert answer.json() == ["[CREDIT_CARD_REDACTED]"]
    assert answer.header("Content-Encoding") is None
    behind.reply = says(gzip.compress(json.dumps([SSN]).encode()), JSON, "Content-Encoding: gzip")
    assert_withheld(running, running.post(), "ssn")
    behind.reply = says(b"xx", JSON, "Content-Encoding: br")
    assert_withheld(running, running.post(), "it cannot be read")
    behind.reply = says(b"xx", JSON, "Content-Encoding: gzip")
    assert_withheld(running, running.post(), "it cannot be decoded")


def test_what_cannot_be_replaced_is_withheld(pair: Pair) -> None:
    running, behind = pair
    behind.reply = says(b"\x00 " + CARD.encode(), "Content-Type: application/octet-stream")
    assert_withheld(running, running.post(), "what is found cannot be replaced")


@pytest.mark.parametrize("declared", [True, False])
def test_what_is_too_long_to_be_judged_is_withheld(declared: bool, pair: Pair) -> None:
    running, behind = pair
    body = b'"' + b"x" * (1 << 20) + b'"'
    behind.reply = says(body, JSON) if declared else chunked("application/json", body, body)
    assert_withheld(running, running.post(), "it is longer than IATP_MAX_BODY")


@pytest.mark.parametrize("content_type", ["text/event-stream", "application/x-ndjson"])
def test_streams_pass(content_type: str, pair: Pair) -> None:
    running, behind = pair
    line = f"data: {SSN}\n\n".encode()
    behind.reply = chunked(content_type, line, line)
    answer = running.post()
    assert (answer.status, answer.body) == (200, line * 2)
    assert ending(running, answer)["findings"] == {"ssn": 2}


def test_text_without_a_length_is_a_stream(pair: Pair) -> None:
    running, behind = pair
    behind.reply = chunked("text/plain", SSN.encode())
    assert running.post().body == SSN.encode()


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_what_has_no_body_passes(status: str, pair: Pair) -> None:
    running, behind = pair
    behind.reply = sends(f"HTTP/1.1 {status}\r\n\r\n".encode())
    assert running.post().status == int(status[:3])


def test_head_passes(pair: Pair) -> None:
    running, behind = pair
    behind.reply = sends(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n")
    answer = running.ask("HEAD", "/proxy/x")
    assert (answer.status, answer.header("Content-Length")) == (200, "11")


def test_an_agent_that_breaks_off_is_502(pair: Pair) -> None:
    running, behind = pair
    behind.reply = sends(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
    )
    answer = running.post()
    assert (answer.status, answer.json()["code"]) == (502, "agent_reset")
    assert ending(running, answer)["type"] == "error"
    assert running.metric("iatp_buffered_bytes") == 0


def test_a_caller_that_leaves_is_recorded_once(pair: Pair) -> None:
    running, behind = pair

    def slow(connection: socket.socket, _: Seen) -> bool:
        head = f"HTTP/1.1 200 OK\r\n{JSON}\r\nContent-Length: 4\r\n\r\n[1"
        connection.sendall(head.encode())
        leaving.wait(5)
        connection.sendall(b"2]")
        return True

    leaving = threading.Event()
    behind.reply = slow
    with Caller(running.port) as caller:
        caller.send(request(body="{}", headers={"X-Agent-Trace-ID": "left"}))
        wait_until(lambda: running.metric("iatp_buffered_bytes") == 2)
    # It has been gone for a while when the agent ends.
    time.sleep(0.2)
    leaving.set()
    wait_until(lambda: len(running.trace("left")) == 2)
    records = running.trace("left")
    assert [record["type"] for record in records] == ["request", "error"]
    assert records[1]["code"] == "caller_gone"
    wait_until(lambda: running.metric("iatp_buffered_bytes") == 0)


def test_a_caller_that_only_ends_its_side_gets_it(pair: Pair) -> None:
    running, behind = pair
    behind.reply = says(json.dumps([CARD]).encode(), JSON)
    with Caller(running.port) as caller:
        caller.send(request(body="{}"))
        caller.socket.shutdown(socket.SHUT_WR)
        answer = caller.read()
    assert answer.json() == ["[CREDIT_CARD_REDACTED]"]
    assert ending(running, answer)["type"] == "response"


def test_http_1_0(pair: Pair) -> None:
    running, behind = pair
    behind.reply = chunked("application/json", json.dumps([CARD]).encode())
    with Caller(running.port) as caller:
        caller.send(b"POST /proxy HTTP/1.0\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
        answer = caller.read()
        assert answer.json() == ["[CREDIT_CARD_REDACTED]"]
        caller.closes()


def test_observed_only(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('mode = "observe"\n' + POLICY)
    settings = TRUSTED | {"IATP_POLICY": str(policy)}
    body = json.dumps([SSN, CARD]).encode()
    with (
        agent(says(body, JSON)) as behind,
        sidecar(tmp_path / "sidecar", behind.url, settings) as running,
    ):
        answer = running.post()
        assert answer.body == body
        assert ending(running, answer)["findings"] == {"credit_card": 1, "ssn": 1}
