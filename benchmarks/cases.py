"""What is measured: each compiled function beside its plain-Python twin or another library.

A case is two callables that do the same work. Which results are right is for the tests to
say; here nothing but the cost counts.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from datetime import datetime, timedelta

import h11
import httptools
import msgspec

from benchmarks.turn import Turn
from iatp._fast import http, record, scan, trust
from iatp._fast.forward import Forward
from iatp._fast.gate import Gate
from iatp.decisions.policy import GatePolicy
from iatp.values.exchange import Request
from iatp.values.manifest import RetentionPolicy, ReversibilityLevel, TrustLevel
from tests.twins import forward as forward_twin
from tests.twins import gate as gate_twin
from tests.twins import scan as scan_twin
from tests.twins import tails as tails_twin
from tests.twins import trust as trust_twin


@dataclasses.dataclass(frozen=True)
class Case:
    """The same work, done by us and by something to compare with."""

    name: str
    ours: Callable[[], object]
    theirs: dict[str, Callable[[], object]]
    """Empty where nothing else does the same: then only instructions are compared."""


def _tool_call() -> bytes:
    """200 bytes."""
    call = {
        "jsonrpc": "2.0",
        "id": 17,
        "method": "tools/call",
        "params": {
            "name": "get_balance",
            "arguments": {"account": "savings", "currency": "EUR", "since": "2025-01-31"},
        },
    }
    return _padded(call, 200)


def _chat(size: int) -> bytes:
    """A chat of as many turns as fit, and a text that fills up what is left."""
    turns = [
        {"role": "system", "content": "You answer in one short sentence."},
        {"role": "user", "content": "Which of the 3 offers of 12.50, 14 and 17.25 is best?"},
        {"role": "assistant", "content": "The first one, unless \u201cfree returns\u201d matter."},
        {"role": "user", "content": "Write that to ada@example.org, please.\nThanks!"},
    ]
    chat = {"model": "small-1", "temperature": 0.2, "messages": turns[:2]}
    while len(json.dumps(chat)) + 200 < size:
        chat["messages"] = [*chat["messages"], turns[len(chat["messages"]) % 4]]
    return _padded(chat, size)


def _padded(document: dict[str, object], size: int) -> bytes:
    words = "and some more words for the length of it all "
    empty = len(json.dumps(document | {"note": ""}))
    note = (words * (size // len(words) + 1))[: size - empty]
    data = json.dumps(document | {"note": note}).encode()
    assert len(data) == size
    return data


def _card_list(size: int) -> bytes:
    """What a scan has most to do with: rows of digits, some of them cards."""
    rows = [f"4111 1111 1111 {number:04d}" for number in range(size // 24)]
    return _padded({"rows": rows}, size)


def _hostile() -> dict[str, bytes]:
    """4 KB of each of what makes a scan work hardest."""
    layers = "\\\\n%2541&amp;"
    pieces = {
        "layers and numbers": layers + "123456789 ",
        "layers and addresses": layers + "a@",
        "layers and secrets": layers + "password=",
        "layers and base64": layers + "QUJDREVGR0hJSktM ",
        "base64": "/zEtMi0zLTQtNS02LTctOC05 ",
        "rows": "4111 1111-1111.1111/411 11 1-",
        "other scripts": "4\u0661\u2013\uff11 \u0e44a",
        "words": "soc" * 20 + "123456780 ",
        "addresses": "a@1.",
    }
    return {
        name: json.dumps([piece * (4000 // len(piece))], ensure_ascii=False).encode()
        for name, piece in pieces.items()
    }


TOOL_CALL = _tool_call()
CHAT = _chat(600)
LONG_CHAT = _chat(10_000)
CARDS = _card_list(10_000)

POLICY = GatePolicy(
    agent_id="bank-agent",
    trust_level=TrustLevel.TRUSTED,
    reversibility=ReversibilityLevel.FULL,
    retention=RetentionPolicy.PERMANENT,
    mac_key=b"m" * 32,
)
TIME_NS = 1_732_100_000_123_456_789
ANSWER = b'{"done":true,"words":17,"longest":"sentence","text":"The first one is best."}'
HEAD = (
    b"POST /proxy HTTP/1.1\r\nHost: agents.example.org:8080\r\nUser-Agent: python-httpx/0.28\r\n"
    b"Accept: */*\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n"
    b"Content-Type: application/json\r\nX-Agent-Trace-ID: order-2025-17\r\n"
    b"Authorization: Bearer 0123456789abcdef0123456789abcdef\r\nContent-Length: 600\r\n\r\n"
)


def _request(body: bytes) -> Request:
    return Request(
        request_id="01934ac0-0000-7000-8000-000000000001",
        method="POST",
        target=b"/proxy",
        content_type=b"application/json",
        body=body,
        peer="192.0.2.1",
        time_ns=TIME_NS,
        mono_ns=123_456,
    )


def _decide(gate: Gate, request: Request) -> object:
    """The verdict, and where it lets the request pass, the record of the answer."""
    verdict = gate.admit(request)
    if not isinstance(verdict, Forward):
        return verdict
    verdict.settle_head(200, b"application/json", b"")
    verdict.settle_piece(ANSWER)
    return gate.settle_end(verdict, "answered", 12_345, TIME_NS, 7)


def _decide_plainly(policy: GatePolicy, request: Request) -> object:
    verdict = gate_twin.admit(policy, request)
    records = [json.dumps(tail) for tail in verdict["records"]]
    if "status" in verdict:
        return json.dumps(verdict["body"]), records
    ids = (verdict["trace_id"], request.request_id)
    answer = tails_twin.common(policy, "response", ids, TIME_NS, 7) | {
        "status_code": 200,
        "latency_ms": 12.345,
        "response_bytes": len(ANSWER),
        "truncated": False,
    }
    answer |= forward_twin.answer_fields(policy, b"application/json", b"", ANSWER, whole=True)
    return json.dumps(answer), records


def _line(body: bytes) -> bytes:
    """A `request` record."""
    line = record.Line()
    line.raw(b'"type":"request","trace_id":')
    line.string(b"order-2025-17")
    line.raw(b',"timestamp":')
    line.timestamp(TIME_NS)
    line.raw(b',"path":')
    line.string("/proxy/tasks?q=\u00e9\u0085".encode())
    line.raw(b',"latency_ms":')
    line.milliseconds(12_345)
    line.raw(b',"payload_bytes":')
    line.integer(len(body))
    line.raw(b',"payload":')
    line.json(body)
    line.raw(b"}")
    return line.done()


def _line_plainly(body: bytes) -> bytes:
    time = datetime(1970, 1, 1) + timedelta(microseconds=TIME_NS // 1000)
    fields = {
        "type": "request",
        "trace_id": "order-2025-17",
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "path": "/proxy/tasks?q=\u00e9\u0085",
        "latency_ms": 12.345,
        "payload_bytes": len(body),
        "payload": json.loads(body),
    }
    return json.dumps(fields, separators=(",", ":")).encode()


def _read_by_h11(head: bytes) -> object:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(head)
    return connection.next_event()


class _Fields:
    def __init__(self) -> None:
        self.target = b""
        self.found: list[tuple[bytes, bytes]] = []

    def on_url(self, target: bytes) -> None:
        self.target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        self.found.append((name, value))


def _read_by_httptools(head: bytes) -> object:
    fields = _Fields()
    parser = httptools.HttpRequestParser(fields)
    parser.feed_data(head)
    return parser.get_method(), fields


def _message(start: bytes, body: bytes) -> bytes:
    return b"%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        start,
        len(body),
        body,
    )


def _turn() -> Callable[[], object]:
    head = b"POST /proxy HTTP/1.1\r\nHost: localhost\r\nUser-Agent: wrk\r\n"
    answer = _message(b"HTTP/1.1 200 OK\r\nServer: agent\r\n", ANSWER)
    turn = Turn(POLICY, _message(head, CHAT), answer)
    assert turn.serve().startswith(b"HTTP/1.1 200 OK\r\n")
    return turn.serve


def cases() -> list[Case]:
    """All of them."""
    partial = functools.partial
    bodies = {
        "tool call, 200 B": TOOL_CALL,
        "chat, 600 B": CHAT,
        "chat, 10 KB": LONG_CHAT,
        "card numbers, 10 KB": CARDS,
    }
    scans = [
        Case(
            f"scan: {name}",
            partial(scan.scan, body, scan.JSON),
            {"twin": partial(scan_twin.scan, body, scan.JSON)},
        )
        for name, body in bodies.items()
    ]
    hostile = [
        Case(f"scan: hostile {name}, 4 KB", partial(scan.scan, body, scan.JSON), {})
        for name, body in _hostile().items()
    ]
    facts = ("trusted", "partial", "permanent", True, False)
    score = Case(
        "trust score",
        partial(trust.score, *facts),
        {"twin": partial(trust_twin.score, *facts)},
    )
    low = msgspec.structs.replace(POLICY, trust_level=TrustLevel.UNTRUSTED)
    decisions = [
        Case(
            f"decision: {name}",
            partial(_decide, Gate(policy), _request(body)),
            {"twin": partial(_decide_plainly, policy, _request(body))},
        )
        for name, policy, body in [
            *((name, POLICY, body) for name, body in bodies.items()),
            ("a warning, 600 B", low, CHAT),
        ]
    ]
    lines = [
        Case(
            f"record line: {name}",
            partial(_line, bodies[name]),
            {"json": partial(_line_plainly, bodies[name])},
        )
        for name in ("tool call, 200 B", "chat, 600 B", "chat, 10 KB")
    ]
    head = Case(
        "request head",
        partial(http.parse_request, HEAD),
        {"h11": partial(_read_by_h11, HEAD), "httptools": partial(_read_by_httptools, HEAD)},
    )
    return [
        *scans,
        *hostile,
        score,
        *decisions,
        *lines,
        head,
        Case("whole request, 600 B", _turn(), {}),
    ]
