from __future__ import annotations

import gzip
import itertools
import json
import re
import time
import zlib
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from iatp._fast.gate import Forward, Gate
from iatp.decisions.policy import GatePolicy, OverrideMode
from iatp.values import records
from iatp.values.errors import FAILURES
from iatp.values.exchange import Claim, Grant, Request, Respond
from iatp.values.manifest import RetentionPolicy, ReversibilityLevel, TrustLevel
from tests._fast.test_record import HOSTILE, assert_safe
from tests.twins import gate as twin

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


def settle(
    policy: GatePolicy,
    pieces: list[bytes],
    content_type: bytes = b"application/json",
    encoding: bytes = b"",
    outcome: str = "answered",
) -> dict[str, Any]:
    gate = Gate(policy)
    forward = gate.admit(ask())
    assert isinstance(forward, Forward)
    gate.settle_head(forward, 200, content_type, encoding)
    for piece in pieces:
        gate.settle_piece(forward, piece)
    record = parse(gate.settle_end(forward, outcome, 12_345, TIME_NS, 7))
    answer = b"".join(pieces)
    expected = twin.common(
        policy, "response", (forward.trace_id, forward.request_id), TIME_NS, 7
    ) | {
        "status_code": 200,
        "latency_ms": 12.345,
        "response_bytes": len(answer),
        "truncated": outcome == "truncated",
    }
    expected |= twin.answer_fields(
        policy, content_type, encoding, answer, whole=outcome == "answered"
    )
    assert record == expected
    return record


# The decision table.

BODIES = {
    "clean": b'{"a":"nothing"}',
    "card": b'{"a":"%b"}' % CARD,
    "ssn": b'{"a":"%b"}' % SSN,
    "email": b'{"a":"%b"}' % EMAIL,
}


@pytest.mark.parametrize("mode", list(OverrideMode))
@pytest.mark.parametrize("override", ["none", "valid", "invalid"])
def test_decision_table(mode: OverrideMode, override: str) -> None:
    seen = set()
    for trust, reversibility, retention in itertools.product(
        TrustLevel, ReversibilityLevel, RetentionPolicy
    ):
        policy = msgspec.structs.replace(
            SAFE,
            trust_level=trust,
            reversibility=reversibility,
            retention=retention,
            override=mode,
        )
        gate = Gate(policy)
        assert gate.trust_score == twin.score(policy)
        for kind, body in BODIES.items():
            request = ask(body)
            if override == "invalid":
                request = msgspec.structs.replace(request, override=b"True")
            elif override == "valid":
                first = gate.admit(request)
                token = {"header": b"true", "secret": SECRET.encode()}.get(mode, b"x")
                if mode == OverrideMode.TICKET and isinstance(first, Respond):
                    token = json.loads(first.body).get("override_token", "x").encode()
                request = msgspec.structs.replace(request, override=token)
            verdict = gate.admit(request)
            found = plain(verdict)
            assert found == twin.admit(policy, request)
            # Told once more, from the text of section 6 alone.
            stored = retention in ("permanent", "forever")
            blocked = (kind == "card" and stored) or (kind == "ssn" and retention != "ephemeral")
            confirmed = override == "valid" and mode != OverrideMode.OFF
            if blocked:
                assert found["status"] == 403
                assert [record["type"] for record in found["records"]] == ["blocked"]
                seen.add("block")
            elif gate.trust_score >= 7:
                assert isinstance(verdict, Forward)
                assert not verdict.quarantined
                seen.add("allow")
            elif not confirmed:
                assert found["status"] == 449
                assert [record["type"] for record in found["records"]] == ["warning"]
                assert found["body"]["requires_override"] is (mode != OverrideMode.OFF)
                assert ("override_token" in found["body"]) is (mode == OverrideMode.TICKET)
                seen.add("warn")
            else:
                assert isinstance(verdict, Claim)
                assert (verdict.ticket_id != "") is (mode == OverrideMode.TICKET)
                granted = gate.admit(request, GRANTED)
                assert isinstance(granted, Forward)
                assert granted.quarantined
                assert plain(granted) == twin.admit(policy, request, GRANTED)
                types = [parse(tail)["type"] for tail in granted.records]
                assert types == ["request", "user_override"]
                used = gate.admit(request, Grant(granted=False, session_id="s"))
                assert isinstance(used, Respond)
                assert used.status == 449
                seen.add("claim")
    assert seen >= {"block", "allow"}
    assert ("claim" in seen) is (override == "valid" and mode != OverrideMode.OFF)


def test_the_bodies_of_the_protocol() -> None:
    blocked = Gate(STRICT).admit(ask(BODIES["card"]))
    assert isinstance(blocked, Respond)
    assert blocked.body.startswith(b'{"error":"Privacy Violation: a credit card number ')
    assert list(json.loads(blocked.body)) == ["error", "code", "blocked", "trust_score", "trace_id"]
    policy = msgspec.structs.replace(
        LOW,
        reversibility=ReversibilityLevel.NONE,
        retention=RetentionPolicy.PERMANENT,
        human_in_loop=True,
        override=OverrideMode.TICKET,
    )
    warned = Gate(policy).admit(ask())
    assert isinstance(warned, Respond)
    assert warned.body.startswith(
        '{"warning":"⚠️ WARNING:\\n  • Low trust score (0/10)\\n  • No reversibility\\n  '
        '• Data stored permanently\\n  • Human review enabled","code":"low_trust",'
        '"requires_override":true,"trust_score":0,"override_token":"'.encode()
    )
    said = json.loads(warned.body)
    assert f"X-User-Override: {said['override_token']}" in said["message"]
    assert f"X-Agent-Trace-ID: {said['trace_id']}" in said["message"]


def test_the_secret_stands_nowhere() -> None:
    policy = msgspec.structs.replace(LOW, override=OverrideMode.SECRET)
    for override in (b"", SECRET.encode(), b"wrong"):
        for grant in (None, GRANTED):
            verdict = Gate(policy).admit(ask(override=override), grant)
            assert SECRET not in repr(plain(verdict))


@pytest.mark.parametrize("mode", list(OverrideMode))
@pytest.mark.parametrize(
    "override", [b"1", b"TRUE", b"yes", b"true ", b"\xe9", b"\x00", b"x" * 5000, b"wrong-token"]
)
def test_d06_what_is_no_override_is_a_warning(mode: OverrideMode, override: bytes) -> None:
    policy = msgspec.structs.replace(LOW, override=mode)
    assert same(policy, ask(override=override), GRANTED)["status"] == 449


def test_d08_a_valid_override_lifts_no_block() -> None:
    policy = msgspec.structs.replace(LOW, retention=RetentionPolicy.PERMANENT)
    assert same(policy, ask(BODIES["card"], override=b"true"), GRANTED)["status"] == 403


def test_one_gate_decides_like_a_new_one_each_time() -> None:
    used = Gate(STRICT)
    card_path = b"/proxy/cards/" + CARD
    requests = [
        ask(body, target=target, method=method, content_type=content_type, caller=caller)
        for body in (*BODIES.values(), b"", b"{", b'{"a":[%b,"%b"]}' % (CARD, EMAIL), b"[]" * 9000)
        for target in (b"/proxy", b"/proxy/clean", card_path)
        for method in ("POST", "GET", "alice@example.com")
        for content_type in (b"application/json", b"text/plain", b"text/plain;charset=latin1")
        for caller in ("anonymous", "bob@example.com")
    ]
    waiting = []
    for request in requests + requests[::-1]:
        verdict = used.admit(request)
        assert plain(verdict) == twin.admit(STRICT, request)
        if isinstance(verdict, Forward):
            waiting.append((request, verdict))
    for request, forward in waiting:
        fresh = Gate(STRICT)
        again = fresh.admit(request)
        assert isinstance(again, Forward)
        if request.method == "GET":
            assert plain(used.fail(forward, "agent_reset", TIME_NS, 9)) == plain(
                fresh.fail(again, "agent_reset", TIME_NS, 9)
            )
            continue
        for gate, each in ((used, forward), (fresh, again)):
            gate.settle_head(each, 200, request.content_type, b"")
            gate.settle_piece(each, request.body + b" " + EMAIL)
        one = used.settle_end(forward, "answered", 1, TIME_NS, 9)
        assert one == fresh.settle_end(again, "answered", 1, TIME_NS, 9)
        assert EMAIL not in one


def test_a_ticket_fits_its_request_alone() -> None:
    policy = msgspec.structs.replace(LOW, override=OverrideMode.TICKET)
    gate = Gate(policy)
    first = ask(trace_id=b"t-1")
    warned = gate.admit(first)
    assert isinstance(warned, Respond)
    token = json.loads(warned.body)["override_token"].encode()
    again = msgspec.structs.replace(first, override=token, request_id="another")
    assert isinstance(gate.admit(again), Claim)
    for change in (
        {"body": b"[]"},
        {"trace_id": b"t-2"},
        {"trace_id": b""},
        {"caller": "mallory"},
        {"target": b"/proxy?"},
        {"method": "PUT"},
        {"content_type": b"text/json"},
        {"time_ns": TIME_NS + 300 * 10**9},
    ):
        verdict = gate.admit(msgspec.structs.replace(again, **change))
        assert isinstance(verdict, Respond)
        assert verdict.status == 449
    other = Gate(msgspec.structs.replace(policy, human_in_loop=True)).admit(again)
    assert isinstance(other, Respond)


@pytest.mark.parametrize(
    "change",
    [
        {"override": OverrideMode.TICKET, "ticket_key": b"short"},
        {"override": OverrideMode.SECRET, "override_token": ""},
        {"mac_key": b""},
    ],
)
def test_a_gate_without_its_keys_is_not_made(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"key|token"):
        Gate(msgspec.structs.replace(SAFE, **change))


# Where findings are looked for.


@pytest.mark.parametrize(
    "target",
    [
        b"/proxy/" + CARD,
        b"/proxy?card=" + CARD,
        b"/proxy/x?card=4111%201111%201111%201111",
        b"/proxy?%34111111111111111",
    ],
)
def test_b16_the_target_counts_like_the_body(target: bytes) -> None:
    found = same(STRICT, ask(target=target))
    assert found["code"] == "credit_card_retention"
    assert "[CREDIT_CARD_REDACTED]" in found["records"][0]["path"]


@pytest.mark.parametrize("trace", [CARD, SSN, b"x." + CARD + b".y"])
def test_a_trace_id_with_a_finding_is_not_kept(trace: bytes) -> None:
    found = same(SAFE, ask(trace_id=trace))
    assert found["trace_id"] == ask().request_id
    assert trace.decode() not in repr(found)


@pytest.mark.parametrize(
    ("trace", "kept"),
    [
        (b"a", True),
        (b"A-z.0_9", True),
        (b"x" * 128, True),
        (b"...", True),
        (b"x" * 129, False),
        (b".", False),
        (b"..", False),
        (b"a b", False),
        (b"a/b", False),
        (b"a\n", False),
        (b"\xe9", False),
        (b"%0d%0aX:y", False),
        (b"\x1b[2J", False),
        (b'"},{"', False),
        ("\u2028".encode(), False),
    ],
)
def test_d02_d03_trace_ids(trace: bytes, kept: bool) -> None:
    found = same(SAFE, ask(trace_id=trace))
    assert found["trace_id"] == (trace.decode() if kept else ask().request_id)


@pytest.mark.parametrize("code", sorted(FAILURES))
def test_a_framing_error_always_has_a_new_trace_id(code: str) -> None:
    refused = Gate(SAFE).refuse(ask(trace_id=b"kept"), code)
    assert (refused.trace_id == "kept") is not FAILURES[code].closes
    assert refused.closes is FAILURES[code].closes


# How a body is read.


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (ask(b""), "invalid_json"),
        (ask(b"", content_type=b""), "invalid_json"),
        (ask(b"{}", content_type=b"text/plain"), None),
        (ask(b"hello", content_type=b"text/plain"), "invalid_json"),
        (ask(b"a=1", target=b"/proxy?x=1", content_type=b"text/plain"), "invalid_json"),
        (ask(b"a=1", target=b"/proxy/x", content_type=b"text/plain"), None),
        (ask(b"a=1", target=b"/proxyx", content_type=b"text/plain"), None),
        (ask(b"", target=b"/proxy/x"), None),
        (ask(b"", target=b"/proxy/x", method="GET", content_type=b""), None),
        (ask(b"{", target=b"/proxy/x"), "invalid_json"),
        (ask(b"{", target=b"/proxy/x", content_type=b"Text/JSON ; a=b"), "invalid_json"),
        (ask(b"{", target=b"/proxy/x", content_type=b"application/a+json"), "invalid_json"),
        (ask(b"{", target=b"/proxy/x", content_type=b"application/jsonx"), None),
        (ask(b"\xef\xbb\xbf{}"), "invalid_json"),
        (ask('{"a":1}'.encode("utf-16")), "invalid_json"),
        (ask(b'"\xff"'), "invalid_json"),
        (ask(b"[1,]"), "invalid_json"),
        (ask(b"[" * 129 + b"]" * 129), "invalid_json"),
        (ask(b"[" * 128 + b"]" * 128), None),
        (ask(b"[1e400]"), "invalid_json"),
        (ask(b" " * 10_001), "body_too_large"),
        (ask(b" " * 9_998 + b"{}"), None),
    ],
)
def test_what_is_refused_as_json(request_: Request, code: str | None) -> None:
    found = same(SAFE, request_)
    assert found.get("code") == code
    if code is not None:
        assert [record["type"] for record in found["records"]] == ["error"]


@pytest.mark.parametrize(
    ("content_type", "code"),
    [
        (b"application/json; charset=utf-8", None),
        (b"application/json; Charset=UTF8", None),
        (b'application/json;charset="us-ascii"', None),
        (b"application/json; charset=ISO-8859-1", "unsupported_charset"),
        (b"application/json; charset=utf-16", "unsupported_charset"),
        (b"text/plain; charset=utf-7", "unsupported_charset"),
        (b"text/plain; charset=", "unsupported_charset"),
        (b"text/plain; charset*=utf-16''x", "unsupported_charset"),
        (b"text/plain; charset =utf-16", "unsupported_charset"),
        (b"text/plain; charset=utf-8; charset=utf-16", "unsupported_charset"),
        (b"text/plain; charset=utf-8; charset=utf-8", None),
        (b"text/plain; charsetcharset=utf-8", "unsupported_charset"),
        (b"text/plain; charset=utf-8charset=utf-8", "unsupported_charset"),
        (b"text/plain; charset", "unsupported_charset"),
        (b"text/plain; charset=utf-8; charset=latin1", "unsupported_charset"),
        (b'text/plain; x=";charset=utf-16"', "unsupported_charset"),
        (b"text/plain; charset=iso-8859-1", None),
        (b"text/plain; charset=\xff", "unsupported_charset"),
        (b"text/plain; charset=utf-8\xff", "unsupported_charset"),
    ],
)
def test_b15_charsets(content_type: bytes, code: str | None) -> None:
    request = ask(b"{}", target=b"/proxy/x", content_type=content_type)
    assert same(SAFE, request).get("code") == code
    early = Gate(SAFE).admit_head(request)
    assert (early.code if early else None) == code


def test_latin_text_is_read_as_the_agent_reads_it() -> None:
    content_type = b"text/plain; charset=windows-1252"
    dashes = b"\x96".join([b"4111", b"1111", b"1111", b"1111"])
    found = same(STRICT, ask(dashes, target=b"/proxy/x", content_type=content_type))
    assert found["code"] == "credit_card_retention"
    found = same(SAFE, ask(b"caf\xe9 \x81", target=b"/proxy/x", content_type=content_type))
    assert found["records"][0]["payload"] == "café \x81"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16", "utf-32"])
def test_wide_text_hides_nothing(encoding: str) -> None:
    body = f"card {CARD.decode()}!".encode(encoding)
    found = same(STRICT, ask(body, target=b"/proxy/x", content_type=b"text/plain"))
    assert found["code"] == "credit_card_retention"
    record = found["records"][0]
    assert "CREDIT_CARD_REDACTED" in str(record["payload"]) or "payload_encoding" in record


@pytest.mark.parametrize("content_type", [b"", b"text/plain", b"application/x-www-form-urlencoded"])
@pytest.mark.parametrize(
    "body",
    [
        b'{"a":"\\u0034111111111111111"}',
        b'{"a":"\\u0034111111111111111"} and more',
        b'["4111111111111111"]',
        b'data: {"a":"\\u0034111111111111111"}\n\n',
        b'--b\r\nContent-Type: application/json\r\n\r\n{"a":"\\u0034111111111111111"}\r\n--b--',
        b"card=4111+1111+1111+1111",
        b"card=4111 1111 1111 1111",
    ],
)
def test_json_is_found_whatever_the_content_type_says(content_type: bytes, body: bytes) -> None:
    if b"+" in body and content_type != b"application/x-www-form-urlencoded":
        return
    found = same(STRICT, ask(body, target=b"/proxy/x", content_type=content_type))
    assert found["code"] == "credit_card_retention"
    assert found["findings"][0] == (0, 1)


# Content codings.


def raw_deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(data) + deflater.flush()


PLAIN = b'{"card":"%b"}' % CARD
CODED = [
    (b"gzip", gzip.compress(PLAIN)),
    (b" GZIP\t", gzip.compress(PLAIN)),
    (b"gzip", gzip.compress(PLAIN[:9]) + gzip.compress(b"") + gzip.compress(PLAIN[9:])),
    (b"deflate", zlib.compress(PLAIN)),
    (b"deflate", raw_deflate(PLAIN)),
    (b"identity", PLAIN),
    (b"", PLAIN),
]


@pytest.mark.parametrize(("coding", "body"), CODED)
def test_coded_bodies_are_read(coding: bytes, body: bytes) -> None:
    request = ask(body, content_encoding=coding)
    assert same(STRICT, request)["status"] == 403
    found = same(SAFE, request)
    assert found["records"][0]["payload"] == ["object", ["card", "[CREDIT_CARD_REDACTED]"]] or (
        found["records"][0]["payload"] == ["object", ("card", "[CREDIT_CARD_REDACTED]")]
    )
    assert found["records"][0]["payload_bytes"] == len(PLAIN)


@pytest.mark.parametrize(("coding", "body"), [row for row in CODED if row[1] != PLAIN])
def test_broken_codings_are_refused(coding: bytes, body: bytes) -> None:
    for broken in (body[:-1], body[:5], body + b"x", body + b"\0" * 8, b"x" + body, PLAIN):
        found = same(SAFE, ask(broken, content_encoding=coding))
        assert found["code"] in ("malformed_coding", "invalid_json"), broken


@pytest.mark.parametrize(
    "coding", [b"br", b"gzip, gzip", b"gzip,identity", b"zstd", b"x-gzip", b"\xff", b"compress"]
)
def test_other_codings_are_415(coding: bytes) -> None:
    request = ask(content_encoding=coding)
    assert same(SAFE, request)["status"] == 415
    early = Gate(SAFE).admit_head(request)
    assert early is not None
    assert early.code == "unsupported_coding"


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, raw_deflate])
def test_a_decoded_body_over_the_limit_is_413(pack: Any) -> None:
    coding = b"gzip" if pack is gzip.compress else b"deflate"
    fits = b" " * 9_998 + b"{}"
    assert "status" not in same(SAFE, ask(pack(fits), content_encoding=coding))
    for size in (9_999, 5_000_000):
        over = pack(b" " * size + b"{}")
        assert same(SAFE, ask(over, content_encoding=coding))["status"] == 413
    members = pack(b" " * 6_000) + pack(b" " * 6_000)
    if coding == b"gzip":
        assert same(SAFE, ask(members, content_encoding=coding))["status"] == 413


def test_many_members_cost_little() -> None:
    part = gzip.compress(b"")
    assert "status" not in same(
        SAFE, ask(part * 400 + gzip.compress(b"{}"), content_encoding=b"gzip")
    )
    policy = msgspec.structs.replace(SAFE, max_body_bytes=10_000_000)
    request = ask(part * 400_000, content_encoding=b"gzip")
    start = time.perf_counter()
    assert same(policy, request)["code"] == "malformed_coding"
    assert time.perf_counter() - start < 5


def test_a_hostile_content_type_costs_little() -> None:
    request = ask(content_type=b"text/plain;" + b"charset" * 4_000 + b";charset" * 4_000)
    start = time.perf_counter()
    assert same(SAFE, request)["status"] == 415
    assert time.perf_counter() - start < 1


def test_an_empty_coded_body_is_empty() -> None:
    request = ask(b"", method="GET", target=b"/proxy/x", content_encoding=b"gzip")
    assert same(SAFE, request)["records"][0]["payload"] is None


# What the head alone refuses.


def test_admit_head_keeps_the_order_of_section_6() -> None:
    gate = Gate(SAFE)
    bad = ask(b"", content_encoding=b"br", content_type=b"text/plain;charset=utf-7")
    limited = gate.admit_head(bad, 10_001, 7)
    assert limited is not None
    assert plain(limited) == twin.refusal(SAFE, bad, "rate_limited", retry_after_s=7)
    large = gate.admit_head(bad, 10_001, 0)
    assert large is not None
    assert plain(large) == twin.refusal(SAFE, bad, "body_too_large")
    coded = gate.admit_head(bad, 10_000, 0)
    assert coded is not None
    assert coded.code == "unsupported_coding"
    assert gate.admit_head(ask(b""), 10_000) is None
    assert gate.admit_head(ask(b""), None) is None


# Refusals.


@pytest.mark.parametrize("code", sorted(FAILURES))
def test_every_failure_has_its_answer_and_its_record(code: str) -> None:
    request = ask(b"", method="", target=b"", trace_id=b"t")
    refused = Gate(LOW).refuse(request, code, "two lengths")
    found = plain(refused)
    expected = twin.refusal(LOW, request, code, "two lengths")
    assert found == expected


def test_an_unknown_failure_is_an_internal_error() -> None:
    refused = Gate(SAFE).refuse(ask(), "no_such_code")
    assert (refused.status, refused.code) == (500, "internal_error")


def test_refusals_can_be_summed_up() -> None:
    record = parse(Gate(SAFE).refuse(ask(), "malformed_request", "", 250).records[0])
    assert record["count"] == 250


def test_a_detail_is_recorded_scrubbed_and_not_said() -> None:
    refused = Gate(SAFE).refuse(ask(), "malformed_request", f"card {CARD.decode()}\n\ud800", 1, 200)
    record = parse(refused.records[0])
    assert record["detail"] == "card [CREDIT_CARD_REDACTED]\n\\ud800"
    assert record["agent_status"] == 200
    assert b"card" not in refused.body


# No found value anywhere, and one line for every record.

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
FOUND = (CARD, SSN, EMAIL, b"4111 1111 1111 1111", b"4111-1111-1111-1111")


@settings(max_examples=400)
@given(
    body=PIECES,
    target=PIECES.map(lambda text: b"/proxy/" + text) | st.just(b"/proxy"),
    content_type=CONTENT_TYPES,
    trace=PIECES,
    override=st.sampled_from([b"", b"true", b"\xff"]) | PIECES,
    policy=st.sampled_from([SAFE, LOW, STRICT]),
    limit=st.sampled_from([0, 1, 16, 40, 1000]),
    coding=st.sampled_from(["", "gzip", "deflate"]),
)
@example(b"\xff", b"/proxy/\xff", b"\xff", b"\xff", b"", SAFE, 0, "")
def test_any_request_like_the_twin_and_without_a_value(
    body: bytes,
    target: bytes,
    content_type: bytes,
    trace: bytes,
    override: bytes,
    policy: GatePolicy,
    limit: int,
    coding: str,
) -> None:
    packed = {"": bytes, "gzip": gzip.compress, "deflate": zlib.compress}[coding](body)
    request = ask(
        packed,
        target=target,
        content_type=content_type,
        content_encoding=coding.encode(),
        trace_id=trace,
        override=override,
        caller=target.decode("latin-1"),
    )
    policy = msgspec.structs.replace(policy, record_body_bytes=limit)
    same(policy, request)


WORDS = st.lists(
    st.sampled_from(FOUND) | st.sampled_from([b"hello", b"x" * 30, "é€".encode()]), max_size=8
)


def assert_without(values: tuple[bytes, ...], *sinks: bytes) -> None:
    for sink in sinks:
        for value in values:
            assert value not in sink
        # Nor the beginning of one, where something was cut. A MAC may hold any digits.
        rest = re.sub(rb'"payload_mac":"[0-9a-f]{32}"', b"", sink)
        assert b"4111" not in rest
        assert b"123-4" not in rest
        assert b"alice" not in rest


@settings(max_examples=300)
@given(
    words=WORDS,
    path=WORDS,
    form=st.sampled_from(["json", "pretty", "escaped", "text", "form"]),
    word=st.sampled_from(FOUND),
    policy=st.sampled_from([SAFE, LOW, STRICT]),
    mode=st.sampled_from(list(OverrideMode)),
    limit=st.sampled_from([0, 5, 20, 100, 1000]),
    whole=st.booleans(),
)
def test_no_found_value_in_any_sink(
    words: list[bytes],
    path: list[bytes],
    form: str,
    word: bytes,
    policy: GatePolicy,
    mode: OverrideMode,
    limit: int,
    whole: bool,
) -> None:
    text = [each.decode() for each in words]
    body, content_type = {
        "json": (json.dumps({each: [each, {"k": each}] for each in text}), "application/json"),
        "pretty": (json.dumps(text, indent=2, ensure_ascii=False), "application/json"),
        "escaped": (
            '["' + "".join(f"\\u{ord(c):04x}" for c in ", ".join(text)) + '"]',
            "text/json",
        ),
        "text": (" and ".join(text), "text/plain"),
        "form": ("&".join(f"k{each}={each}" for each in text), "application/x-www-form-urlencoded"),
    }[form]
    policy = msgspec.structs.replace(policy, record_body_bytes=limit, override=mode)
    gate = Gate(policy)
    request = ask(
        body.encode(),
        target=b"/proxy/x?q=" + b"&q=".join(path).replace(b" ", b"%20"),
        content_type=content_type.encode(),
        trace_id=word,
        override=b"true" if mode == OverrideMode.HEADER else word,
        caller=word.decode(),
    )
    verdict = gate.admit(request)
    if isinstance(verdict, Claim):
        assert_without(FOUND, msgspec.json.encode(verdict))
        verdict = gate.admit(request, GRANTED)
    sinks = [*verdict.records, repr(verdict.findings).encode(), verdict.trace_id.encode()]
    if isinstance(verdict, Forward):
        gate.settle_head(verdict, 200, request.content_type, b"")
        sent = request.body if whole else request.body[: len(request.body) // 2]
        gate.settle_piece(verdict, sent)
        sinks.append(gate.settle_end(verdict, "answered" if whole else "truncated", 1, 1, 1))
    else:
        sinks.append(verdict.body)
    refused = gate.refuse(request, "agent_reset", f"it said {word.decode()}")
    sinks += [refused.body, *refused.records, json.dumps(gate.explain(request)).encode()]
    assert_without(FOUND, *sinks)


@pytest.mark.parametrize("hostile", HOSTILE, ids=ascii)
def test_g13_one_line_whatever_the_caller_sends(hostile: bytes) -> None:
    text = hostile.decode("latin-1")
    request = ask(
        b'{"a":1,\r\n "b":"\xe2\x80\xa8\xc2\x85\x7f"}',
        method=f"GET{text}",
        target=b"/proxy/" + hostile,
        content_type=b"application/json" + hostile,
        trace_id=hostile,
        override=hostile,
        caller=text,
        peer=text,
    )
    for policy in (SAFE, LOW, STRICT):
        same(policy, request)
        same(policy, msgspec.structs.replace(request, content_type=b"", body=hostile))
        parse(Gate(policy).refuse(request, "malformed_request", text).records[0])


# Payloads in records.


def test_a_pretty_printed_payload_is_one_line() -> None:
    body = json.dumps({"a": [1, 2], "b": EMAIL.decode()}, indent=2).encode()
    record = same(SAFE, ask(body))["records"][0]
    assert record["payload"][1:] in (
        [("a", [1, 2]), ("b", "[EMAIL_REDACTED]")],
        [["a", [1, 2]], ["b", "[EMAIL_REDACTED]"]],
    )


def test_a_found_number_becomes_a_string() -> None:
    record = same(SAFE, ask(b"[%b]" % CARD))["records"][0]
    assert record["payload"] == ["[CREDIT_CARD_REDACTED]"]


@pytest.mark.parametrize("value", [CARD, SSN, EMAIL, b"\\u0034111111111111111", "é€😀".encode()])
def test_a_payload_is_cut_without_splitting_a_value(value: bytes) -> None:
    macs = set()
    for limit in range(1, 60):
        policy = msgspec.structs.replace(SAFE, record_body_bytes=limit)
        body = b'{"a":"text %b","b":"%b"}' % (value, b"." * 100)
        record = same(policy, ask(body))["records"][0]
        assert len(record["payload"].encode()) <= limit
        assert "payload_encoding" not in record
        assert record["payload_bytes"] == len(body)
        macs.add(record["payload_mac"])
        if value[:1] in b"4\\1":
            assert "411" not in record["payload"]
            assert "123-" not in record["payload"]
        if value == EMAIL:
            assert "alice" not in record["payload"]
    assert len(macs) == 1


def test_what_is_not_text_is_base64() -> None:
    record = same(SAFE, ask(b"\x89PNG\xff", target=b"/proxy/x", content_type=b"image/png"))
    assert record["records"][0]["payload"] == "iVBOR/8="
    assert record["records"][0]["payload_encoding"] == "base64"


def test_c11_a_nul_in_a_key_gives_one_intact_record() -> None:
    record = same(SAFE, ask(b'{"\\u0000":"\\u0000"}'))["records"][0]
    assert tuple(record["payload"][1]) == ("\0", "\0")


def nest(value: str, levels: int) -> str:
    for _ in range(levels):
        value = json.dumps({"a": value})
    return value


@pytest.mark.parametrize("levels", range(4))
def test_a_number_in_nested_json_leaves_json_at_every_level(levels: int) -> None:
    body = nest(f'{{"n":{CARD.decode()},"m":1}}', levels).encode()
    record = same(SAFE, ask(body))["records"][0]
    value = record["payload"]
    for _ in range(levels):
        value = json.loads(tuple(value[1])[1])
        value = ["object", *value.items()]
    assert dict(value[1:]) == {"n": "[CREDIT_CARD_REDACTED]", "m": 1}
    settle(SAFE, [body])


# Answers.


def test_an_answer_is_recorded_scrubbed() -> None:
    record = settle(SAFE, [b'{"card":', CARD, b"}"])
    assert tuple(record["response"][1]) == ("card", "[CREDIT_CARD_REDACTED]")


ANSWERS = [
    (b"text/event-stream", b"data: hello\n\n" * 200),
    (b"application/json", json.dumps([EMAIL.decode(), "x" * 50] * 40).encode()),
    (b"application/json", b'{"broken'),
    (b"text/html", b"<p>" + SSN + b"</p>"),
    (b"image/png", bytes(range(256)) * 8),
    (b"text/plain; charset=utf-16", "4111111111111111".encode("utf-16")),
    (b"text/plain; charset=latin1", b"caf\xe9 " * 300),
    (b"", b""),
]


@pytest.mark.parametrize(("content_type", "answer"), ANSWERS)
@pytest.mark.parametrize("outcome", ["answered", "truncated"])
@pytest.mark.parametrize("size", [1, 7, 1000, 100_000])
def test_answers_of_every_kind_in_pieces(
    content_type: bytes, answer: bytes, outcome: str, size: int
) -> None:
    pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
    record = settle(SAFE, pieces, content_type, outcome=outcome)
    assert record["response_bytes"] == len(answer)
    assert len(str(record["response"])) <= 1336  # Base64 of the 1000 bytes that are kept.


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate", b"br"])
@pytest.mark.parametrize("outcome", ["answered", "truncated"])
def test_coded_answers(encoding: bytes, outcome: str) -> None:
    pack = zlib.compress if encoding == b"deflate" else gzip.compress
    for answer in (PLAIN, b'"' + b"a " * 5000 + b'"', bytes(range(256)) * 20):
        packed = pack(answer)
        record = settle(SAFE, [packed[:9], packed[9:]], b"application/json", encoding, outcome)
        if encoding == b"br":
            assert record["response_omitted"] == "unknown_coding"
        assert CARD.decode() not in repr(record)
    broken = settle(SAFE, [b"\x1f\x8bxxxxxxxxxxx"], b"text/plain", b"gzip")
    assert broken["response_omitted"] == "malformed_coding"


@pytest.mark.parametrize(
    "value", [CARD, b"4111 1111 1111 1111", SSN, EMAIL, b"\\u0034111111111111111"]
)
@pytest.mark.parametrize("content_type", [b"application/json", b"text/plain"])
@pytest.mark.parametrize("filler", [b"a ", b"\\u0020", b"x"])
def test_b18_no_part_of_a_value_at_the_cut(
    value: bytes, content_type: bytes, filler: bytes
) -> None:
    limit = 64
    policy = msgspec.structs.replace(SAFE, record_body_bytes=limit)
    edges = [*range(limit - 30, limit + 4), *range(limit + 480, limit + 520, 4)]
    for edge in edges:
        head = b'["' + filler * (edge // len(filler)) + b' "," '
        answer = head + value + b' ","' + b"tail " * 120 + b'"]'
        for outcome, sent in (("answered", answer), ("truncated", answer[: edge + 12])):
            record = settle(policy, [sent], content_type, outcome=outcome)
            assert "4111" not in record["response"]
            assert "0034" not in record["response"]
            assert "123-4" not in record["response"]
            assert "alice" not in record["response"]


@settings(max_examples=300, deadline=None)
@given(
    answer=PIECES,
    content_type=CONTENT_TYPES,
    limit=st.sampled_from([0, 3, 20, 200]),
    repeat=st.sampled_from([1, 1, 60]),
    outcome=st.sampled_from(["answered", "truncated"]),
    size=st.integers(1, 400),
)
def test_any_answer_like_the_twin(
    answer: bytes, content_type: bytes, limit: int, repeat: int, outcome: str, size: int
) -> None:
    answer *= repeat
    policy = msgspec.structs.replace(SAFE, record_body_bytes=limit)
    pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
    settle(policy, pieces, content_type, outcome=outcome)


def test_what_is_found_behind_what_is_kept_counts() -> None:
    answer = b"word " * 5000 + CARD + b" and " + SSN + b" word" * 5000
    for size in (100, 4096, 100_000):
        pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
        record = settle(SAFE, pieces, b"text/plain")
        assert record["findings"] == {"credit_card": 1, "ssn": 1}
        for encoding, pack in ((b"gzip", gzip.compress), (b"deflate", zlib.compress)):
            # It is read up to `max_body_bytes`, which end before the second.
            packed = pack(answer[15_100:])
            pieces = [packed[at : at + size] for at in range(0, len(packed), size)]
            record = settle(SAFE, pieces, b"text/plain", encoding)
            assert record["findings"] == {"credit_card": 1, "ssn": 1}
    assert "findings" not in settle(SAFE, [b"word " * 5000], b"text/plain")


def test_a_packed_answer_buys_no_time() -> None:
    packed = gzip.compress(b"4111 1111 1111 1111 word " * 4_000_000, 1)
    started = time.perf_counter()
    gate = Gate(SAFE)
    forward = gate.admit(ask())
    assert isinstance(forward, Forward)
    gate.settle_head(forward, 200, b"text/plain", b"gzip")
    gate.settle_piece(forward, packed)
    record = parse(gate.settle_end(forward, "answered", 1, 1, 1))
    assert record["findings"] == {"credit_card": 400}
    assert time.perf_counter() - started < 1


@settings(max_examples=200, deadline=None)
@given(
    texts=st.lists(
        st.sampled_from(["4111", " 1111", "11111111", "123-45", "-6789", "alice", "@example.com"])
        | st.sampled_from([" word", "word ", "x" * 60, CARD.decode(), "\n", '"', "é"]),
        max_size=40,
    ),
    content_type=st.sampled_from(
        [b"text/event-stream", b"Text/Event-Stream; charset=utf-8", b"application/x-ndjson"]
    ),
    limit=st.sampled_from([0, 60, 400, 1000]),
    outcome=st.sampled_from(["answered", "truncated"]),
    size=st.integers(1, 400),
)
def test_any_stream_like_the_twin(
    texts: list[str], content_type: bytes, limit: int, outcome: str, size: int
) -> None:
    stream = b"".join(
        b"data: " + json.dumps({"delta": {"content": text}}).encode() + b"\n\n" for text in texts
    )
    policy = msgspec.structs.replace(SAFE, record_body_bytes=limit)
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    settle(policy, pieces, content_type, outcome=outcome)


def test_a_forward_ends_once() -> None:
    gate = Gate(SAFE)
    forward = gate.admit(ask())
    assert isinstance(forward, Forward)
    with pytest.raises(RuntimeError, match="no head"):
        gate.settle_end(forward, "answered", 1, 1, 1)
    assert not forward.ended
    gate.settle_head(forward, 204, b"", b"")
    with pytest.raises(ValueError, match="outcome"):
        gate.settle_end(forward, "lost", 1, 1, 1)
    assert parse(gate.settle_end(forward, "answered", 1, 1, 1))["response"] is None
    assert forward.ended
    for again in (
        lambda: gate.settle_end(forward, "answered", 1, 1, 1),
        lambda: gate.fail(forward, "agent_reset", 1, 1),
        lambda: gate.settle_head(forward, 200, b"", b""),
        lambda: gate.settle_piece(forward, b"x"),
    ):
        with pytest.raises(RuntimeError, match="ended before"):
            again()


def test_a_forward_belongs_to_its_gate() -> None:
    forward = Gate(SAFE).admit(ask())
    assert isinstance(forward, Forward)
    with pytest.raises(RuntimeError, match="another gate"):
        Gate(SAFE).fail(forward, "agent_reset", 1, 1)


def test_only_the_gate_makes_a_forward() -> None:
    with pytest.raises(TypeError):
        Forward()
    with pytest.raises(TypeError):
        Forward.__new__(Forward)
    with pytest.raises(TypeError):
        type("Mine", (Forward,), {})


@pytest.mark.parametrize("quarantined", [False, True])
def test_a_failed_forward_ends_with_an_error_record(quarantined: bool) -> None:
    policy, override, grant = (LOW, b"true", GRANTED) if quarantined else (SAFE, b"", None)
    gate = Gate(policy)
    request = ask(target=b"/proxy/" + CARD, override=override)
    forward = gate.admit(request, grant)
    assert isinstance(forward, Forward)
    gate.settle_head(forward, 200, b"", b"")
    failed = gate.fail(forward, "agent_reset", TIME_NS + 1000, 8, "reset")
    assert forward.ended
    failure = FAILURES["agent_reset"]
    assert (failed.status, failed.decision, failed.code) == (502, "error", failure.code)
    assert failed.findings == forward.findings == ((0, 1),)
    record = parse(failed.records[0])
    assert record == twin.common(
        policy, "error", (forward.trace_id, forward.request_id), TIME_NS + 1000, 8
    ) | twin.about(request) | {
        "decision": "error",
        "error": failure.sentence,
        "code": failure.code,
        "status_code": 502,
        "detail": "reset",
        "agent_status": 200,
        "quarantined": quarantined,
    }


# What `iatp decide` shows.


@pytest.mark.parametrize("policy", [SAFE, LOW, STRICT])
@pytest.mark.parametrize("body", [*BODIES.values(), b"{", b'{"a":"\\u0034111111111111111"}'])
def test_explain_says_what_admit_does(policy: GatePolicy, body: bytes) -> None:
    for content_type in (b"application/json", b"text/plain"):
        request = ask(body, target=b"/proxy/" + EMAIL, content_type=content_type)
        told = Gate(policy).explain(request)
        done = Gate(policy).admit(request)
        decision = done.decision if isinstance(done, Respond) else "allow"
        assert told["verdict"] == decision
        if isinstance(done, Respond):
            assert (told["status"], told["code"]) == (done.status, done.code)
        for span in told["spans"]:
            text = request.target if span["part"] == "target" else body
            assert text[span["start"] : span["end"]] in (
                CARD, SSN, EMAIL, b"\\u0034111111111111111",
            )  # fmt: skip
        assert not any(value.decode() in json.dumps(told) for value in FOUND)
        assert told["spans"][0]["part"] == "target"
        if told["verdict"] != "refuse":
            assert len(told["spans"]) == sum(told["findings"].values())
