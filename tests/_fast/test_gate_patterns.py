"""A policy's own patterns in the gate: decisions, records, redaction and answers."""

from __future__ import annotations

import base64
import gzip
import json
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iatp._fast.forward import Forward
from iatp._fast.gate import Gate
from iatp.decisions.policy import GatePolicy
from iatp.values.exchange import FINDINGS
from tests._fast.gates import CARD, TIME_NS, answered, ask, parse, same
from tests._fast.gates import SAFE as SMALL
from tests._fast.test_gate_policy import refused, sent, with_table
from tests._fast.test_patterns import SLOW

SAFE = msgspec.structs.replace(SMALL, max_body_bytes=10 << 20, record_body_bytes=8192)
EMPLOYEE = {
    "name": "employee",
    "regex": r"\bEMP-\d{5}\b",
    "description": "an employee number",
}
PROJECT = {"name": "project", "regex": r"(?i)project falcon"}
NUMBER = {"name": "number", "regex": r"^7\d{5}$"}
OWN = [EMPLOYEE, PROJECT, NUMBER]
BODY = b'{"who":"EMP-12345","n":712345,"about":"Project\\u0020Falcon","card":"%b"}' % CARD


def rule(action: str, *kinds: str, name: str = "own") -> dict[str, Any]:
    return {"name": name, "kinds": list(kinds), "action": action}


def with_own(base: GatePolicy, *rules: dict[str, Any], **more: Any) -> GatePolicy:
    return with_table(base, *rules, patterns=OWN, **more)


def test_they_are_found_and_scrubbed_and_named() -> None:
    found = same(with_own(SAFE), ask(BODY))
    (record,) = found["records"]
    assert record["findings"] == {
        "credit_card": 1,
        "custom.employee": 1,
        "custom.project": 1,
        "custom.number": 1,
    }
    assert record["payload"][1:] == [
        ("who", "[CUSTOM_REDACTED]"),
        ("n", "[CUSTOM_REDACTED]"),
        ("about", "[CUSTOM_REDACTED]"),
        ("card", "[CREDIT_CARD_REDACTED]"),
    ]
    assert found["findings"][-1] == (len(FINDINGS) + 2, 1)
    assert Gate(with_own(SAFE)).names[-3:] == ("custom.employee", "custom.project", "custom.number")


def test_without_patterns_nothing_of_it_is_found() -> None:
    (record,) = same(with_table(SAFE), ask(BODY))["records"]
    assert record["findings"] == {"credit_card": 1}


def test_blocked_warned_and_told() -> None:
    block = refused(with_own(SAFE, rule("block", "custom.employee")), BODY)
    assert block["code"] == "own"
    assert block["body"]["error"] == (
        "Privacy Violation: an employee number may not be sent to this agent"
    )
    assert "EMP-1" not in repr(block)
    block = refused(with_own(SAFE, rule("block", "custom.project")), BODY)
    assert "what a pattern of its policy names may not be sent" in block["body"]["error"]
    warned = same(with_own(SAFE, rule("warn", "custom")), ask(BODY))
    assert (warned["status"], warned["code"]) == (449, "own")
    assert "Sends an employee number" in warned["body"]["warning"]
    assert "Sends what a pattern of its policy names" in warned["body"]["warning"]


def test_the_more_specific_goes_before_all_of_them() -> None:
    policy = with_own(SAFE, rule("block", "custom"), rule("allow", "custom.employee", name="fine"))
    assert sent(policy, b'["EMP-12345"]') == b'["EMP-12345"]'
    assert refused(policy, b'["EMP-12345","project falcon"]')["code"] == "own"


def test_off_is_neither_judged_nor_counted_but_scrubbed() -> None:
    policy = with_own(SAFE, rule("block", "custom"), kinds={"custom.employee": False})
    (record,) = same(policy, ask(b'["EMP-12345"]'))["records"]
    assert record["findings"] == {}
    assert record["payload"] == ["[CUSTOM_REDACTED]"]


@pytest.mark.parametrize(
    ("body", "fields", "expected"),
    [
        (
            BODY,
            {},
            b'{"who":"[CUSTOM_REDACTED]","n":"[CUSTOM_REDACTED]",'
            b'"about":"[CUSTOM_REDACTED]","card":"%b"}' % CARD,
        ),
        (
            json.dumps({"args": json.dumps({"n": 712345, "e": "EMP-12345"})}).encode(),
            {},
            json.dumps(
                {"args": json.dumps({"n": "[CUSTOM_REDACTED]", "e": "[CUSTOM_REDACTED]"})}
            ).encode(),
        ),
        (b'["EMP-12345@example.com"]', {}, b'["[CUSTOM_REDACTED]"]'),
        (
            b'["%b"]' % base64.b64encode(b"about EMP-12345, please"),
            {},
            b'["[CUSTOM_REDACTED]"]',
        ),
        (
            b"a=EMP%2D12345&b=project+falcon&c=1",
            {
                "target": b"/proxy/f",
                "content_type": b"application/x-www-form-urlencoded",
            },
            b"a=%5BCUSTOM_REDACTED%5D&b=%5BCUSTOM_REDACTED%5D&c=1",
        ),
        (
            b"of EMP-12345, project falcon",
            {"target": b"/proxy/t", "content_type": b"text/plain"},
            b"of [CUSTOM_REDACTED], [CUSTOM_REDACTED]",
        ),
        (
            gzip.compress(b'["EMP-12345"]', mtime=0),
            {"content_encoding": b"gzip"},
            b'["[CUSTOM_REDACTED]"]',
        ),
    ],
)
def test_redacted_and_forwarded(body: bytes, fields: dict[str, Any], expected: bytes) -> None:
    assert sent(with_own(SAFE, rule("redact", "custom")), body, **fields) == expected


def test_one_of_two_that_overlap_takes_the_other_along() -> None:
    policy = with_own(SAFE, rule("redact", "custom.employee"))
    assert sent(policy, b'["EMP-12345@example.com"]') == b'["[CUSTOM_REDACTED]"]'
    policy = with_own(SAFE, rule("redact", "email"))
    assert sent(policy, b'["EMP-12345@example.com"]') == b'["[EMAIL_REDACTED]"]'
    numbers = with_table(
        SAFE, rule("redact", "custom"), patterns=[{"name": "n", "regex": r"4111\d+"}]
    )
    assert sent(numbers, b"[%b]" % CARD) == b'["[CUSTOM_REDACTED]"]'
    (record,) = same(numbers, ask(b"[%b,1]" % CARD))["records"]
    assert record["payload"] == ["[CREDIT_CARD_REDACTED]", 1]
    assert record["findings"] == {"credit_card": 1, "custom.n": 1}


def test_in_the_target_it_is_blocked_and_scrubbed() -> None:
    policy = with_own(SAFE, rule("redact", "custom"))
    found = refused(policy, b"{}", target=b"/proxy/of/EMP-1234%35?q=project+falcon")
    record = found["records"][0]
    assert record["path"] == "/proxy/of/[CUSTOM_REDACTED]?q=[CUSTOM_REDACTED]"
    assert "names is to be taken out of what" in found["body"]["error"]


def test_a_trace_id_that_holds_one_is_replaced() -> None:
    request = ask(b"{}", trace_id=b"EMP-12345")
    assert same(with_own(SAFE), request)["trace_id"] == request.request_id
    assert same(with_table(SAFE), request)["trace_id"] == "EMP-12345"


@pytest.mark.parametrize("place", [8150, 8186, 8190, 8191, 8192])
def test_none_is_cut_in_two_where_the_record_ends(place: int) -> None:
    body = json.dumps(["." * place + " EMP-12345 " + "." * 4000]).encode()
    (record,) = same(with_own(SAFE), ask(body))["records"]
    assert "EMP" not in record["payload"]
    assert record["findings"] == {"custom.employee": 1}


def test_a_body_that_takes_too_long_is_refused() -> None:
    own = [{"name": f"p{at}", "regex": regex} for at, regex in enumerate(SLOW)]
    policy = with_table(SAFE, patterns=own)
    chance = random.Random(7)
    body = json.dumps(["".join(chance.choices("xy", k=400_000))]).encode()
    verdict = Gate(policy).admit(ask(body))
    assert not isinstance(verdict, Forward)
    assert (verdict.status, verdict.code) == (413, "body_too_large")
    record = parse(verdict.records[0])
    assert record["detail"] == "the policy's patterns take too long in it"


VALUES = st.sampled_from(
    ["EMP-12345", "project falcon", "712345", "a@b.co", "4111111111111111", "x", '"', "\\", " "]
)
ACTIONS = st.sampled_from(["allow", "redact", "warn", "block"])


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.lists(VALUES, max_size=3).map("".join) | st.sampled_from([712345, 4111111111111111, 1]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(VALUES, inner, max_size=2)
            | inner.map(json.dumps)
        ),
        max_leaves=5,
    ),
    ACTIONS,
    ACTIONS,
    st.booleans(),
)
def test_generated(value: object, one: str, other: str, on: bool) -> None:
    policy = with_own(
        SAFE,
        rule(one, "custom"),
        rule(other, "email", "credit_card", "custom.employee", name="other"),
        kinds={"custom.number": on},
    )
    body = json.dumps(value).encode()
    found = same(policy, ask(body))
    if found.get("body") and found["records"][0]["type"] == "request":
        json.loads(found["body"])


# Answers.


def judged(policy: GatePolicy, body: bytes, content_type: bytes = b"application/json") -> Any:
    gate = Gate(policy)
    forward = gate.admit(ask())
    assert isinstance(forward, Forward)
    forward.settle_head(200, content_type, b"")
    return gate.judge(forward, body), forward.withheld


def test_answers_are_redacted_and_withheld() -> None:
    policy = with_own(SAFE, answers={"custom": "redact", "custom.project": "block"})
    assert judged(policy, b'{"e":"EMP-12345","n":712345}') == (
        b'{"e":"[CUSTOM_REDACTED]","n":"[CUSTOM_REDACTED]"}',
        None,
    )
    assert judged(policy, b'["project falcon"]') == (None, "custom.project")
    assert judged(policy, b"EMP-12345", b"text/plain")[0] == b"[CUSTOM_REDACTED]"
    assert judged(policy, b'["fine"]') == (b'["fine"]', None)


def settled(
    policy: GatePolicy, pieces: list[bytes], content_type: bytes, encoding: bytes = b""
) -> dict[str, Any]:
    gate, forward = answered(policy, pieces, content_type, encoding)
    return parse(gate.settle_end(forward, "answered", 1, TIME_NS, 7))


@pytest.mark.parametrize("size", [1, 5, 100, 100_000])
@pytest.mark.parametrize("encoding", [b"", b"gzip"])
@pytest.mark.parametrize("words", [2, 1500])
def test_answers_are_counted_and_scrubbed(size: int, encoding: bytes, words: int) -> None:
    if size == 1 and words > 2:
        size = 3
    data = b" ".join(b"word EMP-%05d of" % (10_000 + at) for at in range(words))
    coded = gzip.compress(data) if encoding else data
    pieces = [coded[at : at + size] for at in range(0, len(coded), size)]
    record = settled(with_own(SAFE), pieces, b"text/plain", encoding)
    assert record["findings"] == {"custom.employee": words}
    assert "EMP" not in record["response"]
    assert record["response"].startswith("word [CUSTOM_REDACTED] of")


def test_a_long_match_at_the_end_of_what_the_record_keeps() -> None:
    small = msgspec.structs.replace(SAFE, record_body_bytes=100)
    policy = with_table(small, patterns=[{"name": "long", "regex": r"<[ a-z]+>"}])
    value = b"<" + b"a b " * 249 + b">"
    record = settled(policy, [b"." * 90 + value + b"." * 9000], b"text/plain")
    assert record["findings"] == {"custom.long": 1}
    assert "a b" not in record["response"]


@pytest.mark.parametrize("more", [0, 20_000])
def test_a_value_over_the_events_of_a_stream(more: int) -> None:
    events = [
        b'data: {"content":"%b"}\n\n' % part
        for part in (b"I am EMP-", b"123", b"45 of pro", b"ject fal", b"con.", b"x" * more)
    ]
    record = settled(with_own(SAFE), events, b"text/event-stream")
    assert record["findings"] == {"custom.employee": 1, "custom.project": 1}
    for part in ("EMP", "123", "fal"):
        assert part not in record["response"].replace("[CUSTOM_REDACTED]", "")
