"""What the gate decides, and that no found value stands anywhere."""

from __future__ import annotations

import gzip
import itertools
import json
import re
import zlib
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from iatp._fast.forward import Forward
from iatp._fast.gate import Gate
from iatp.decisions.policy import GatePolicy, OverrideMode
from iatp.values.errors import FAILURES
from iatp.values.exchange import Claim, Grant, Respond
from iatp.values.manifest import RetentionPolicy, ReversibilityLevel, TrustLevel
from tests._fast.gates import (
    BODIES,
    CARD,
    CONTENT_TYPES,
    EMAIL,
    FOUND,
    GRANTED,
    LOW,
    PIECES,
    SAFE,
    SECRET,
    SSN,
    STRICT,
    TIME_NS,
    ask,
    parse,
    plain,
    same,
)
from tests.twins import gate as twin
from tests.twins import tails as tails_twin


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
        for each in (forward, again):
            each.settle_head(200, request.content_type, b"")
            each.settle_piece(request.body + b" " + EMAIL)
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
        verdict.settle_head(200, request.content_type, b"")
        sent = request.body if whole else request.body[: len(request.body) // 2]
        verdict.settle_piece(sent)
        sinks.append(gate.settle_end(verdict, "answered" if whole else "truncated", 1, 1, 1))
    else:
        sinks.append(verdict.body)
    refused = gate.refuse(request, "agent_reset", f"it said {word.decode()}")
    sinks += [refused.body, *refused.records, json.dumps(gate.explain(request)).encode()]
    assert_without(FOUND, *sinks)


@pytest.mark.parametrize("quarantined", [False, True])
def test_a_failed_forward_ends_with_an_error_record(quarantined: bool) -> None:
    policy, override, grant = (LOW, b"true", GRANTED) if quarantined else (SAFE, b"", None)
    gate = Gate(policy)
    request = ask(target=b"/proxy/" + CARD, override=override)
    forward = gate.admit(request, grant)
    assert isinstance(forward, Forward)
    forward.settle_head(200, b"", b"")
    failed = gate.fail(forward, "agent_reset", TIME_NS + 1000, 8, "reset")
    assert forward.ended
    failure = FAILURES["agent_reset"]
    assert (failed.status, failed.decision, failed.code) == (502, "error", failure.code)
    assert (forward.findings, failed.findings) == (((0, 1),), ())
    record = parse(failed.records[0])
    assert record == tails_twin.common(
        policy, "error", (forward.trace_id, forward.request_id), TIME_NS + 1000, 8
    ) | tails_twin.about(request) | {
        "decision": "error",
        "error": failure.sentence,
        "code": failure.code,
        "status_code": 502,
        "detail": "reset",
        "agent_status": 200,
        "quarantined": quarantined,
    }


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
