"""The order of checks, the shape of errors, and one ending record for whatever happens.

Protocol sections 6, 7 and 8. Each module-wide sidecar sees few malformed requests: beyond ten
a second of one address they are summed up.
"""

from __future__ import annotations

import gzip
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.e2e.agents import Agent, Seen, agent, says, sends
from tests.e2e.sidecars import (
    KEEPS,
    STRANGER,
    Answer,
    Caller,
    Sidecar,
    request,
    sidecar,
    wait_until,
)

Pair = tuple[Sidecar, Agent]

CARD = "4111111111111111"
ENDING = {"response", "blocked", "warning", "error"}
HEADER = dict[str, str]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Small limits: each outcome is near."""
    folder = tmp_path_factory.mktemp("outcomes")
    variables = KEEPS | {
        "IATP_MAX_BODY": "64KiB",
        "IATP_AGENT_TIMEOUT": "300ms",
        "IATP_STREAM_IDLE_TIMEOUT": "300ms",
        "IATP_CONCURRENCY_LIMIT": "1",
        "IATP_QUEUE_LIMIT": "1",
        "IATP_QUEUE_TIMEOUT": "200ms",
        "IATP_RECORD_BODY": "1MiB",
    }
    with agent() as behind, sidecar(folder, behind.url, variables) as running:
        yield running, behind


@pytest.fixture(autouse=True)
def plain_agent(pair: Pair) -> None:
    pair[1].reply = says()


class Holding:
    """A reply that answers once it is let go; `seen` is set when the request has come."""

    def __init__(self) -> None:
        self.seen = threading.Event()
        self.go = threading.Event()

    def __call__(self, connection: socket.socket, _: Seen) -> bool:
        self.seen.set()
        self.go.wait(10)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        return True


# Order: each row breaks several rules at once; the first in the table of section 6 answers.

LARGE = b"x" * (65 * 1024)
WORST: HEADER = {"Content-Encoding": "br", "Content-Type": "application/json; charset=utf-16"}
ORDER: list[tuple[str, dict[str, Any], int, str]] = [
    (
        "a path, before its body",
        {"target": "/proxy/..", "body": LARGE, "headers": WORST},
        400,
        "bad_path",
    ),
    ("too large, before the coding", {"body": LARGE, "headers": WORST}, 413, "body_too_large"),
    ("the coding, before JSON", {"body": b"{", "headers": WORST}, 415, "unsupported_coding"),
    (
        "the charset, before JSON",
        {"body": b"{", "headers": {"Content-Type": "application/json; charset=utf-16"}},
        415,
        "unsupported_charset",
    ),
    ("JSON, before a finding", {"body": f'["{CARD}",]'}, 400, "invalid_json"),
    (
        "JSON, before a finding in the query",
        {"target": f"/proxy?c={CARD}", "body": "{"},
        400,
        "invalid_json",
    ),
    (
        "decoded size, before JSON",
        {"body": gzip.compress(LARGE), "headers": {"Content-Encoding": "gzip"}},
        413,
        "body_too_large",
    ),
    (
        "the card, before the SSN",
        {"body": f'["123-45-6789", "{CARD}"]'},
        403,
        "credit_card_retention",
    ),
    ("the SSN", {"body": '["123-45-6789"]'}, 403, "ssn_retention"),
]


@pytest.mark.parametrize(
    ("given", "status", "code"), [row[1:] for row in ORDER], ids=[r[0] for r in ORDER]
)
def test_order_of_checks(given: dict[str, Any], status: int, code: str, pair: Pair) -> None:
    running, behind = pair
    before = len(behind.seen)
    answer = running.ask(**given)
    assert (answer.status, answer.json()["code"]) == (status, code)
    assert len(behind.seen) == before
    check_error(answer, running)


def test_too_large_is_answered_without_its_body(pair: Pair) -> None:
    running, _ = pair
    head = request(headers={**WORST, "Content-Length": "65537"})
    with Caller(running.port) as caller:
        caller.send(head)
        answer = caller.read()
        assert (answer.status, answer.json()["code"]) == (413, "body_too_large")
        assert answer.header("Connection") == "close"
    with Caller(running.port) as caller:
        caller.send(
            head.replace(b"Content-Length: 65537", b"Transfer-Encoding: chunked")
            .replace(b"br", b"gzip")
            .replace(b"; charset=utf-16", b"")
        )
        caller.send(b"11000\r\n" + b"x" * 0x10001)
        answer = caller.read()
        assert (answer.status, answer.json()["code"]) == (413, "body_too_large")


def test_largest_body_passes(pair: Pair) -> None:
    running, behind = pair
    body = b'"' + b"x" * (64 * 1024 - 2) + b'"'
    assert running.post(body).status == 200
    assert behind.seen[-1].body == body


def test_low_trust_comes_after_all_that(tmp_path: Path) -> None:
    """With a score that warns: refusals and blocks come first."""
    low = KEEPS | {"IATP_TRUST_LEVEL": "unknown"}
    with agent() as behind, sidecar(tmp_path, behind.url, low) as running:
        assert running.post("{").status == 400
        assert running.post("{}", {"Content-Encoding": "br"}).status == 415
        assert running.post(f'"{CARD}"').status == 403
        assert running.post("{}").status == 449
        assert behind.seen == []


# JSON: section C of the cases, through the sidecar.


def deep(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


NOT_JSON: dict[str, bytes] = {
    "depth 129": deep(129),
    "depth 129 of objects": b'{"a":' * 129 + b"1" + b"}" * 129,
    "depth 900": deep(900),
    "depth 30000, open": b"[" * 30000,
    "NaN": b"NaN",
    "Infinity": b"[Infinity]",
    "-Infinity": b"-Infinity",
    "1e400": b"1e400",
    "-1e400": b"[-1e400]",
    "digits beyond a double": b"9" * 5000,
    "byte ff": b'"\xff"',
    "overlong": b'"\xc0\xb1"',
    "surrogate in UTF-8": b'"\xed\xa0\x80"',
    "cut off UTF-8": b'"\xc3"',
    "beyond Unicode": b'"\xf4\x90\x80\x80"',
    "lone surrogate": b'"\\ud800"',
    "lone low surrogate": b'"\\udc00"',
    "swapped surrogates": b'"\\udc00\\ud800"',
    "BOM": b"\xef\xbb\xbf{}",
    "UTF-16": "{}".encode("utf-16"),
    "UTF-16 without BOM": "{}".encode("utf-16-le"),
    "UTF-32": "{}".encode("utf-32"),
    "two values": b"{}{}",
    "two lines": b"{}\n{}",
    "NUL behind": b"{}\x00",
    "NUL inside": b'"\x00"',
    "comma at the end": b"[1,]",
    "comma at the end of an object": b'{"a":1,}',
    "leading zero": b"[01]",
    "plus": b"[+1]",
    "no digit before the point": b"[.5]",
    "no digit behind the point": b"[5.]",
    "single quotes": b"['a']",
    "line comment": b"{} // x",
    "comment": b"/* x */ {}",
    "form feed": b"\x0c{}",
    "no-break space": b"\xc2\xa0{}",
    "bare word": b"hello",
    "True": b"True",
    "tab in a string": b'"a\tb"',
    "unknown escape": b'"\\x41"',
    "short escape": b'"\\u12"',
    "key without quotes": b"{a:1}",
    "number as a key": b"{1:1}",
    "no colon": b'{"a" 1}',
    "hex": b"0x10",
    "minus alone": b"-",
    "open string": b'"a',
    "empty": b"",
    "spaces": b"  \n ",
}


@pytest.mark.parametrize("name", NOT_JSON)
def test_not_json(name: str, pair: Pair) -> None:
    running, behind = pair
    before = len(behind.seen)
    answer = running.post(NOT_JSON[name])
    assert (answer.status, answer.json()["code"]) == (400, "invalid_json")
    check_error(answer, running)
    if name not in ("empty",):
        # Where the content type says JSON, a path makes no difference.
        assert running.ask("PUT", "/proxy/x", NOT_JSON[name]).status == 400
    assert len(behind.seen) == before


JSON_ALL_THE_SAME = {
    "depth 128": deep(128),
    "string": b'"x"',
    "null": b"null",
    "number": b"1",
    "large number": b"1.7976931348623157e308",
    "small number": b"1e-400",
    "many digits": b"0." + b"3" * 5000,
    "spaces": b" \t\r\n{ } \n",
    "NUL escaped": b'{"a\\u0000b":"\\u0000"}',
    "pair of surrogates": b'"\\ud83d\\ude00"',
    "four bytes": '"\U0001f600"'.encode(),
    "DEL": b'"\x7f"',
    "line separator": '"\u2028"'.encode(),
    "duplicate keys": b'{"a":1,"a":2}',
    "minus zero": b"-0",
}


@pytest.mark.parametrize("name", JSON_ALL_THE_SAME)
def test_json(name: str, pair: Pair) -> None:
    running, behind = pair
    body = JSON_ALL_THE_SAME[name]
    answer = running.post(body)
    assert answer.status == 200
    assert behind.seen[-1].body == body
    first, last = running.trace(answer.header("X-Agent-Trace-ID") or "")
    assert (first["type"], last["type"]) == ("request", "response")
    assert first["payload"] == json.loads(body)


def test_a_body_that_need_not_be_json(pair: Pair) -> None:
    running, _ = pair
    for body in (b"{", b"\xff", b"NaN"):
        assert running.ask("PUT", "/proxy/x", body, {"Content-Type": "text/plain"}).status == 200
        # POST /proxy takes JSON, whatever its content type says.
        assert running.post(body, {"Content-Type": "text/plain"}).status == 400


# Endings.


def check_error(answer: Answer, running: Sidecar) -> None:
    """The shape of section 8, and the one record."""
    body = answer.json()
    trace_id = body["trace_id"]
    assert answer.header("Content-Type") == "application/json"
    assert answer.header("X-Agent-Trace-ID") == trace_id
    assert answer.header("Content-Length") == str(len(answer.body))
    if answer.status == 403:
        assert set(body) == {"error", "code", "blocked", "trust_score", "trace_id"}
    else:
        assert set(body) == {"error", "code", "trace_id"}
    assert body["error"].endswith(".") or answer.status == 403
    said = answer.body.decode()
    assert not any(word in said for word in ("Traceback", ".py", "/tmp", "/usr", "/home", CARD))
    (record,) = running.trace(trace_id)
    assert record["type"] == ("blocked" if answer.status == 403 else "error")
    assert record["code"] == body["code"]
    if record["type"] == "error":
        assert (record["status_code"], record["error"]) == (answer.status, body["error"])


def closing(connection: socket.socket, _: Seen) -> bool:
    return False


def hanging(connection: socket.socket, _: Seen) -> bool:
    return bool(connection.recv(1))


def half(connection: socket.socket, _: Seen) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
    return False


def pausing(connection: socket.socket, _: Seen) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
    return bool(connection.recv(1))


PH = b"POST /proxy HTTP/1.1\r\nHost: a\r\nX-Agent-Trace-ID: %b\r\n"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent, what comes of it, and the record that ends it."""

    data: bytes
    """Behind the head `PH`; or a whole request."""
    reply: Any = None
    status: int | None = None
    """None: the answer is cut."""
    ending: str
    code: str | None = None
    reached: bool = False
    own_id: bool = True
    """Whether the caller's trace ID was kept."""
    extra: dict[str, Any] = {}


OUTCOMES: dict[str, Outcome] = {
    "answered": Outcome(
        data=b"Content-Length: 2\r\n\r\n{}",
        status=200,
        ending="response",
        reached=True,
        extra={"status_code": 200, "truncated": False},
    ),
    "an error of the agent": Outcome(
        data=b"Content-Length: 2\r\n\r\n{}",
        reply=says(b"no", status="500 Theirs"),
        status=500,
        ending="response",
        reached=True,
        extra={"status_code": 500},
    ),
    "blocked": Outcome(
        data=b'Content-Length: 18\r\n\r\n"%b"' % CARD.encode(),
        status=403,
        ending="blocked",
        code="credit_card_retention",
    ),
    "framing": Outcome(
        data=b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        status=400,
        ending="error",
        code="malformed_request",
        own_id=False,
    ),
    "chunks": Outcome(
        data=b"Transfer-Encoding: chunked\r\n\r\nx\r\n",
        status=400,
        ending="error",
        code="malformed_request",
        own_id=False,
    ),
    "not JSON": Outcome(
        data=b"Content-Length: 1\r\n\r\n{", status=400, ending="error", code="invalid_json"
    ),
    "no length": Outcome(data=b"\r\n", status=400, ending="error", code="invalid_json"),
    "too large": Outcome(
        data=b"Content-Length: 99999\r\n\r\n", status=413, ending="error", code="body_too_large"
    ),
    "coding": Outcome(
        data=b"Content-Encoding: br\r\nContent-Length: 2\r\n\r\n{}",
        status=415,
        ending="error",
        code="unsupported_coding",
    ),
    "expectation": Outcome(
        data=b"Expect: a-miracle\r\nContent-Length: 2\r\n\r\n{}",
        status=417,
        ending="error",
        code="expectation_failed",
        own_id=False,
    ),
    "too many fields": Outcome(
        data=b"X: 1\r\n" * 101 + b"Content-Length: 2\r\n\r\n{}",
        status=431,
        ending="error",
        code="headers_too_large",
        own_id=False,
    ),
    "closed": Outcome(
        data=b"Content-Length: 2\r\n\r\n{}",
        reply=closing,
        status=502,
        ending="error",
        code="agent_reset",
        reached=True,
    ),
    "not HTTP": Outcome(
        data=b"Content-Length: 2\r\n\r\n{}",
        reply=sends(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"),
        status=502,
        ending="error",
        code="agent_invalid_answer",
        reached=True,
    ),
    "two lengths": Outcome(
        data=b"Content-Length: 2\r\n\r\n{}",
        reply=sends(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc"),
        status=502,
        ending="error",
        code="agent_invalid_answer",
        reached=True,
    ),
    "no answer": Outcome(
        data=b"Content-Length: 2\r\n\r\n{}",
        reply=hanging,
        status=504,
        ending="error",
        code="agent_timeout",
        reached=True,
    ),
    "half an answer": Outcome(
        data=b"Content-Length: 2\r\n\r\n{}",
        reply=half,
        ending="response",
        reached=True,
        extra={"truncated": True, "response_bytes": 4, "status_code": 200},
    ),
    "a pause": Outcome(
        data=b"Content-Length: 2\r\n\r\n{}",
        reply=pausing,
        ending="response",
        reached=True,
        extra={"truncated": True, "response_bytes": 4},
    ),
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_one_ending_record(name: str, pair: Pair) -> None:
    running, behind = pair
    outcome = OUTCOMES[name]
    behind.reply = outcome.reply or says()
    before = len(behind.seen)
    mine = name.replace(" ", "-")
    with Caller(running.port) as caller:
        caller.send(PH % mine.encode() + outcome.data)
        if outcome.status is None:
            assert b"half" in caller.closes(5.0)
            trace_id = mine
        else:
            answer = caller.read()
            assert answer.status == outcome.status
            trace_id = answer.header("X-Agent-Trace-ID") or ""
    assert (trace_id == mine) == outcome.own_id
    records = running.trace(trace_id)
    kinds = [record["type"] for record in records]
    assert kinds == (["request"] if outcome.reached else []) + [outcome.ending]
    last = records[-1]
    assert last.get("code") == outcome.code
    assert outcome.extra.items() <= last.items()
    assert len({record["request_id"] for record in records}) == 1
    assert len(behind.seen) == before + outcome.reached
    check_fields(records)


COMMON = {
    "type",
    "trace_id",
    "request_id",
    "timestamp",
    "agent_id",
    "worker",
    "boot_id",
    "mono_ns",
    "seq",
}
DECIDED = {
    *("method", "path", "caller", "peer", "decision", "rule", "findings", "trust_score"),
    *("payload", "payload_bytes", "quarantined"),
}
FIELDS = {
    "request": DECIDED,
    "response": {"status_code", "latency_ms", "response", "response_bytes", "truncated"},
    "blocked": DECIDED | {"reason", "code"},
    "warning": DECIDED | {"warning", "code"},
    "error": {"error", "code", "status_code"},
}


def check_fields(records: list[dict[str, Any]]) -> None:
    """Section 7: each record has its fields."""
    for record in records:
        assert COMMON | FIELDS[record["type"]] <= set(record)
        assert record["agent_id"] == "the-agent"
        assert len(record["timestamp"]) == len("2026-01-01T00:00:00.000000Z")
        assert record["timestamp"].endswith("Z")
    assert [one["mono_ns"] for one in records] == sorted(one["mono_ns"] for one in records)


def test_agent_that_cannot_be_reached(tmp_path: Path) -> None:
    """502 five times, then the breaker's 503; each with its ending."""
    with agent() as behind:
        url = behind.url
    with sidecar(tmp_path, url, KEEPS) as running:
        answers = [running.post() for _ in range(6)]
        assert [(one.status, one.json()["code"]) for one in answers] == [
            (502, "agent_unreachable")
        ] * 5 + [(503, "agent_failing")]
        assert answers[-1].header("Retry-After") == "1"
        for answer in answers:
            check_error(answer, running)


def test_warned_and_overridden(tmp_path: Path) -> None:
    with agent() as behind, sidecar(tmp_path, behind.url, STRANGER) as running:
        running.post("{}", {"X-Agent-Trace-ID": "w"})
        (record,) = running.trace("w")
        assert (record["type"], record["code"], record["decision"]) == (
            "warning",
            "low_trust",
            "warn",
        )
        check_fields([record])


# The queue: one request is with the agent, one waits, and there is room for no more.


def in_background(work: Callable[[], Answer]) -> Callable[[], Answer]:
    """Starts it; the result's call waits for its answer."""
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(work()))
    thread.start()

    def wait() -> Answer:
        thread.join(20)
        return answers[0]

    return wait


def test_queue_timeout_and_queue_full(pair: Pair) -> None:
    running, behind = pair
    holding = Holding()
    behind.reply = holding
    before = len(behind.seen)
    first = in_background(lambda: running.post("[1]"))
    assert holding.seen.wait(5)
    second = in_background(lambda: running.post("[2]"))
    wait_until(lambda: running.metric("iatp_queued") == 1)
    third = running.post("[3]")
    waited = second()
    holding.go.set()
    assert first().status in (200, 504)
    for answer, code in ((third, "queue_full"), (waited, "queue_timeout")):
        assert (answer.status, answer.json()["code"]) == (503, code)
        assert answer.header("Retry-After") == "1"
        check_error(answer, running)
    assert len(behind.seen) == before + 1


def test_caller_that_goes_away_while_queued(pair: Pair) -> None:
    running, behind = pair
    holding = Holding()
    behind.reply = holding
    before = len(behind.seen)
    first = in_background(lambda: running.post("[1]"))
    assert holding.seen.wait(5)
    with Caller(running.port) as caller:
        caller.send(request(body="[2]", headers={"X-Agent-Trace-ID": "gone-queued"}))
        wait_until(lambda: running.metric("iatp_queued") == 1)
    wait_until(lambda: running.trace("gone-queued") != [])
    holding.go.set()
    first()
    (record,) = running.trace("gone-queued")
    assert (record["type"], record["code"], record["status_code"]) == ("error", "caller_gone", 499)
    assert len(behind.seen) == before + 1


def reset(caller: Caller) -> None:
    caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    caller.socket.close()


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_caller_that_goes_away_while_the_agent_works(method: str, pair: Pair) -> None:
    running, behind = pair
    holding = Holding()
    behind.reply = holding
    before = len(behind.seen)
    mine = f"gone-{method}"
    with Caller(running.port) as caller:
        body = "{}" if method == "POST" else None
        caller.send(request(method, "/proxy/x", body, {"X-Agent-Trace-ID": mine}))
        assert holding.seen.wait(5)
        reset(caller)
    # The connection that asks is the only one left.
    wait_until(lambda: running.metric('iatp_connections{state="active"}') == 1)
    if method == "GET":
        # Idempotent: given up at once, whatever the agent does.
        wait_until(lambda: len(running.trace(mine)) == 2)
    holding.go.set()
    wait_until(lambda: len(running.trace(mine)) == 2)
    first, last = running.trace(mine)
    assert (first["type"], last["type"]) == ("request", "error")
    assert (last["code"], last["status_code"]) == ("caller_gone", 499)
    assert len(behind.seen) == before + 1
    behind.reply = says()
    wait_until(lambda: running.post().status == 200)


def test_caller_that_goes_away_in_its_body(pair: Pair) -> None:
    running, behind = pair
    before = len(behind.seen)
    for number, leave in enumerate((reset, lambda caller: caller.socket.close())):
        mine = f"gone-body-{number}"
        with Caller(running.port) as caller:
            caller.send(PH % mine.encode() + b'Content-Length: 100\r\n\r\n{"a":')
            time.sleep(0.05)
            leave(caller)
        wait_until(lambda mine=mine: running.trace(mine) != [])  # type: ignore[misc]
        (record,) = running.trace(mine)
        assert (record["type"], record["code"]) == ("error", "caller_gone")
    assert len(behind.seen) == before


def test_loop(tmp_path: Path) -> None:
    """A request that comes back through `Via` is 508, also where another proxy was between."""
    with agent() as behind, sidecar(tmp_path / "a", behind.url, KEEPS) as running:
        assert running.post().status == 200
        via = behind.seen[-1].header("Via") or ""
        assert via.startswith("1.1 ")
        for given in (via, f"1.0 first, {via}", f"{via}, 1.1 last (comment)"):
            answer = running.post("{}", {"Via": given})
            assert (answer.status, answer.json()["code"]) == (508, "loop_detected")
            check_error(answer, running)
        assert len(behind.seen) == 1
        # Another's name passes, and ours is added behind it.
        assert running.post("{}", {"Via": "1.1 other"}).status == 200
        assert behind.seen[-1].header("Via") == f"1.1 other, {via}"
        # Two sidecars one behind the other are no loop.
        with sidecar(tmp_path / "b", f"http://127.0.0.1:{running.port}/proxy", KEEPS) as front:
            assert front.post().status == 200
            assert front.ask("POST", "/proxy/x", "{}").status == 200
        assert [seen.target for seen in behind.seen[-2:]] == ["/", "/x"]


def test_every_request_has_ended_once(pair: Pair) -> None:
    """Over all that this file has sent: one ending each, and seq without gaps."""
    running, behind = pair
    for body in ("{}", "{", f'"{CARD}"'):
        running.post(body)
    records = running.records()
    endings: dict[str, list[str]] = {}
    for record in records:
        endings.setdefault(record["request_id"], [])
        if record["type"] in ENDING:
            endings[record["request_id"]].append(record["type"])
        elif record["type"] == "access":
            del endings[record["request_id"]]
    assert len(endings) >= 3
    assert {name: kinds for name, kinds in endings.items() if len(kinds) != 1} == {}
    seqs = [record["seq"] for record in records]
    assert seqs == list(range(len(seqs)))
    forwarded = sum(record["type"] == "request" for record in records)
    assert forwarded == len(behind.seen)
