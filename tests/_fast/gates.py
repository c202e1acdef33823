"""What the tests of the gate share: policies, requests, and both verdicts, which are one."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import strategies as st

from iatp._fast.forward import Forward
from iatp._fast.gate import Gate
from iatp.decisions.policy import GatePolicy
from iatp.values import records
from iatp.values.exchange import Claim, Grant, Request, Respond
from iatp.values.manifest import RetentionPolicy, ReversibilityLevel, TrustLevel
from tests._fast.test_record import assert_safe
from tests.twins import forward as forward_twin
from tests.twins import gate as twin
from tests.twins import tails as tails_twin

CARD = b"4111111111111111"
SSN = b"123-45-6789"
EMAIL = b"alice@example.com"
SECRET = "operators-secret"
SAFE = GatePolicy(
    agent_id="agent-1",
    trust_level=TrustLevel.VERIFIED_PARTNER,
    reversibility=ReversibilityLevel.FULL,
    retention=RetentionPolicy.EPHEMERAL,
    override_token=SECRET,
    ticket_key=b"k" * 32,
    mac_key=b"m" * 32,
    record_body_bytes=1000,
    max_body_bytes=10_000,
)
LOW = msgspec.structs.replace(SAFE, trust_level=TrustLevel.UNTRUSTED)
STRICT = msgspec.structs.replace(SAFE, retention=RetentionPolicy.PERMANENT)
TIME_NS = 1_732_100_000_123_456_789
GRANTED = Grant(granted=True, session_id="11111111-2222-8333-8444-555555555555")
BODIES = {
    "clean": b'{"a":"nothing"}',
    "card": b'{"a":"%b"}' % CARD,
    "ssn": b'{"a":"%b"}' % SSN,
    "email": b'{"a":"%b"}' % EMAIL,
}
FOUND = (CARD, SSN, EMAIL, b"4111 1111 1111 1111", b"4111-1111-1111-1111")
FRAGMENTS = [
    CARD,
    SSN,
    EMAIL,
    b"4111 1111 1111 1111",
    b"4111-1111-1111-1111",
    b"\\u0034111111111111111",
    b"%34111111111111111",
    b'{"a":"',
    b'"}',
    b"[1,",
    b"]",
    b"\n",
    b"\r\n",
    b"=",
    b"&",
    b"\0",
    b"\xe2\x80\xa8",
    b"\xc2\x85",
    b"\xff",
    b"\x96",
    "é".encode(),
    b"hello world ",
    b"0",
    b'"}\n{"type":"forged"',
]
PIECES = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=6), max_size=12).map(b"".join)
CONTENT_TYPES = st.sampled_from(
    [
        b"application/json",
        b"application/problem+json; charset=utf-8",
        b"text/plain",
        b"text/plain; charset=latin1",
        b"application/x-www-form-urlencoded",
        b"multipart/form-data; boundary=x",
        b"",
        b"\xff\x00\n",
        b"text/event-stream",
    ]
)
PLAIN = b'{"card":"%b"}' % CARD


def ask(body: bytes = b"{}", **fields: Any) -> Request:
    given_fields = {
        "request_id": "01934ac0-0000-7000-8000-000000000001",
        "method": "POST",
        "target": b"/proxy",
        "content_type": b"application/json",
        "peer": "192.0.2.1",
        "time_ns": TIME_NS,
        "mono_ns": 123_456,
    }
    return Request(body=body, **(given_fields | fields))


def parse(tail: bytes) -> dict[str, Any]:
    """Return a tail as a record; it is one safe line that follows section 7 exactly."""
    assert tail.startswith(b'"type":"')
    assert tail.endswith(b"}")
    assert_safe(tail)
    records.validate(b'{"seq":0,"worker":0,"boot_id":"b",' + tail)
    pairs = json.loads(b"{" + tail, object_pairs_hook=lambda pairs: ["object", *pairs])
    names = [name for name, _ in pairs[1:]]
    assert len(names) == len(set(names))
    found = dict(pairs[1:])
    for name in {"findings", "would"} & set(found):
        found[name] = dict(found[name][1:])
    return found


def plain(verdict: object) -> dict[str, Any]:
    """Return a compiled verdict as the twin writes it."""
    if isinstance(verdict, Claim):
        return msgspec.structs.asdict(verdict)
    assert isinstance(verdict, Forward | Respond)
    names = ["trace_id", "trust_score", "findings"]
    if isinstance(verdict, Forward):
        assert verdict.ended is False
        names += ["quarantined", "body", "spared"]
    else:
        names += ["status", "decision", "code", "retry_after_s", "closes"]
    found = {name: getattr(verdict, name) for name in names}
    found["records"] = [parse(tail) for tail in verdict.records]
    if isinstance(verdict, Respond):
        assert_safe(verdict.body)
        found["body"] = json.loads(verdict.body)
    return found


def same(policy: GatePolicy, request: Request, grant: Grant | None = None) -> dict[str, Any]:
    """Return the verdict of both, which is one."""
    found = plain(Gate(policy).admit(request, grant))
    assert found == twin.admit(policy, request, grant)
    return found


def answered(
    policy: GatePolicy, pieces: list[bytes], content_type: bytes, encoding: bytes
) -> tuple[Gate, Forward]:
    """A request that was forwarded and has got this answer, which has not ended yet."""
    gate = Gate(policy)
    forward = gate.admit(ask())
    assert isinstance(forward, Forward)
    forward.settle_head(200, content_type, encoding)
    for piece in pieces:
        forward.settle_piece(piece)
    return gate, forward


def settle(
    policy: GatePolicy,
    pieces: list[bytes],
    content_type: bytes = b"application/json",
    encoding: bytes = b"",
    outcome: str = "answered",
) -> dict[str, Any]:
    gate, forward = answered(policy, pieces, content_type, encoding)
    record = parse(gate.settle_end(forward, outcome, 12_345, TIME_NS, 7))
    answer = b"".join(pieces)
    expected = tails_twin.common(
        policy, "response", (forward.trace_id, forward.request_id), TIME_NS, 7
    ) | {
        "status_code": 200,
        "latency_ms": 12.345,
        "response_bytes": len(answer),
        "truncated": outcome == "truncated",
    }
    expected |= forward_twin.answer_fields(
        policy, content_type, encoding, answer, whole=outcome == "answered"
    )
    assert record == expected
    return record
