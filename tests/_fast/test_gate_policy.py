"""Policies other than the default: every case is decided by the gate and by its twin."""

from __future__ import annotations

import gzip
import itertools
import json
import zlib
from typing import Any
from urllib.parse import parse_qsl, quote_plus

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iatp._fast.forward import Forward
from iatp._fast.gate import Gate
from iatp._fast.scan import FORM, JSON, TEXT, counts, scan
from iatp.decisions.policy import GatePolicy, OverrideMode
from iatp.values.exchange import KINDS, Claim, Respond
from iatp.values.manifest import RetentionPolicy, TrustLevel
from iatp.values.policy import Policy
from tests._fast.gates import CARD, EMAIL, GRANTED, LOW, SAFE, SSN, ask, parse, plain, same

LAST = {"name": "rest", "action": "allow"}
REDACTS = {"name": "masked", "kinds": ["credit_card", "ssn"], "action": "redact"}


def with_table(base: GatePolicy, *rules: dict[str, Any], **more: Any) -> GatePolicy:
    table = msgspec.convert({"rules": [*rules, LAST], **more}, Policy)
    return msgspec.structs.replace(base, table=table)


def sent(policy: GatePolicy, body: bytes, **fields: Any) -> bytes:
    """What the agent gets; both twins say so, and the record says that it was changed."""
    found = same(policy, ask(body, **fields))
    (record,) = found["records"]
    assert record["type"] == "request"
    assert (found["body"] is not None) is record.get("redacted", False)
    replaced: bytes = body if found["body"] is None else found["body"]
    return replaced


def refused(policy: GatePolicy, body: bytes, **fields: Any) -> dict[str, Any]:
    found = same(policy, ask(body, **fields))
    assert (found["status"], found["decision"]) == (403, "block")
    assert [record["type"] for record in found["records"]] == ["blocked"]
    assert "redacted" not in found["records"][0]
    return found


# Secrets by their own names.

AWS, JWT = b"AKIAIOSFODNN7EXAMPLE", b"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcdefghijklmnop"
STRIPE = b"sk_live_4eC39HqLyjWDarjtT1zdp7dc"
TWO = b'{"a":"%b","b":"%b","c":"%b"}' % (AWS, JWT, AWS)


def test_a_rule_for_one_secret_goes_before_one_for_all() -> None:
    rules = (
        {"name": "any", "kinds": ["secret"], "action": "block"},
        {"name": "tokens", "kinds": ["secret.jwt"], "action": "redact"},
    )
    policy = with_table(SAFE, *rules)
    assert sent(policy, b'["%b"]' % JWT) == b'["[SECRET_REDACTED]"]'
    found = refused(policy, TWO)
    assert found["code"] == "any"
    assert found["records"][0]["findings"] == {"secret.aws_access_key": 2, "secret.jwt": 1}
    assert "AKIA" not in repr(found)
    # A rule whose conditions do not hold says nothing, so the next one speaks.
    elsewhere = {"retention": ["permanent"]}
    assert refused(with_table(SAFE, rules[0], rules[1] | elsewhere), TWO)["code"] == "any"
    assert sent(with_table(SAFE, rules[0] | elsewhere, rules[1]), TWO) == TWO.replace(
        JWT, b"[SECRET_REDACTED]"
    )


def test_callers_are_told_of_a_secret_and_not_which() -> None:
    secrets = ["secret.jwt", "secret.aws_access_key"]
    rule = {"name": "r", "kinds": secrets, "action": "block"}
    assert refused(with_table(SAFE, rule), TWO)["body"]["error"] == (
        "Privacy Violation: a secret may not be sent to this agent"
    )
    asked = same(with_table(SAFE, rule | {"action": "warn"}), ask(TWO))
    assert asked["body"]["warning"] == "⚠️ WARNING:\n  • Sends a secret"
    rule = {"name": "r", "kinds": ["secret.jwt"], "action": "redact"}
    stuck = refused(with_table(SAFE, rule), b"{}", target=b"/proxy?t=" + JWT)
    assert "a secret is to be taken out" in stuck["body"]["error"]


def test_one_secret_may_be_off_and_another_on() -> None:
    rule = {"name": "r", "kinds": ["secret"], "action": "block"}
    policy = with_table(SAFE, rule, kinds={"secret": False, "secret.jwt": True})
    assert sent(policy, b'["%b"]' % AWS) == b'["%b"]' % AWS
    assert refused(policy, TWO)["records"][0]["findings"] == {"secret.jwt": 1}
    policy = with_table(SAFE, rule, kinds={"secret.aws_access_key": False})
    assert sent(policy, b'["%b"]' % AWS) == b'["%b"]' % AWS
    assert "AKIA" not in repr(same(policy, ask(b'["%b"]' % AWS))["records"])


def test_explain_and_the_table_name_the_secret() -> None:
    told = Gate(SAFE).explain(ask(TWO))
    assert told["findings"] == {"secret.aws_access_key": 2, "secret.jwt": 1}
    assert [span["kind"] for span in told["spans"]] == [
        "secret.aws_access_key", "secret.jwt", "secret.aws_access_key",
    ]  # fmt: skip


def test_an_answer_with_one_secret() -> None:
    table = {"secret": "redact", "secret.jwt": "block", "secret.aws_access_key": "pass"}
    gate = Gate(with_table(SAFE, answers=table))
    for body, answer, withheld in (
        (b'["%b"]' % STRIPE, b'["[SECRET_REDACTED]"]', None),
        (b'["%b"]' % AWS, b'["%b"]' % AWS, None),
        (TWO, None, "secret.jwt"),
    ):
        forward = gate.admit(ask())
        assert isinstance(forward, Forward)
        forward.settle_head(200, b"application/json", b"")
        assert gate.judge(forward, body) == answer
        assert forward.withheld == withheld


def test_rows_that_are_let_go_are_made_again() -> None:
    """More sets of findings than a gate keeps rows for, each of them twice."""
    found = {
        "credit_card": CARD,
        "ssn": SSN,
        "email": EMAIL,
        "iban": b"DE89370400440532013000",
        "secret.aws_access_key": AWS,
        "secret.jwt": JWT,
        "secret.stripe_key": STRIPE,
        "secret.google_api_key": b"AIza" + b"Sy1a2B3" * 5,
        "secret.gitlab_token": b"glpat-" + b"Sy1a2" * 4,
        "secret.shopify_token": b"shpat_" + b"01ab" * 8,
        "secret.digitalocean_token": b"dop_v1_" + b"01ab" * 16,
    }
    rules = [{"name": kind.replace(".", "_"), "kinds": [kind], "action": "block"} for kind in found]
    gate = Gate(with_table(SAFE, *rules))
    values = [value.decode() for value in found.values()]
    for _ in range(2):
        for mask in range(1, 1 << len(values)):
            body = [value for at, value in enumerate(values) if mask >> at & 1]
            verdict = gate.admit(ask(json.dumps(body).encode()))
            assert isinstance(verdict, Respond)
            assert verdict.code == rules[(mask & -mask).bit_length() - 1]["name"]
            assert len(verdict.findings) == mask.bit_count()


# The table.


ACTIONS = ("allow", "redact", "warn", "block")
BODY = b'{"c":"%b","s":"%b","e":"%b","n":%b}' % (CARD, SSN, EMAIL, CARD)


@pytest.mark.parametrize("override", [b"", b"true"])
def test_every_action_for_every_kind(override: bytes) -> None:
    seen = set()
    for actions in itertools.product(ACTIONS, repeat=3):
        rules = [
            {"name": f"rule_{kind}", "kinds": [kind], "action": action}
            for kind, action in zip(("credit_card", "ssn", "email"), actions, strict=True)
        ]
        for base in (SAFE, LOW):
            policy = with_table(base, *rules)
            found = same(policy, ask(BODY, override=override), GRANTED)
            strongest = max(actions, key=ACTIONS.index)
            seen.add((strongest, found.get("status")))
            if strongest == "block":
                assert found["code"] == f"rule_{KINDS[actions.index('block')]}"
            elif strongest == "warn" and not override:
                assert found["code"] == f"rule_{KINDS[actions.index('warn')]}"
                assert found["body"]["warning"].count("Sends ") == actions.count("warn")
            else:
                body = found["body"] or BODY
                for kind, value, action in zip(KINDS, (CARD, SSN, EMAIL), actions, strict=False):
                    assert (value in body) is (action != "redact"), kind
                assert found["quarantined"] is (strongest == "warn")
    expected = {("block", 403), ("allow", None), ("redact", None)}
    assert seen == expected | {("warn", None if override else 449)}


def test_a_claim_carries_the_warning_of_its_rules() -> None:
    policy = with_table(SAFE, {"name": "asks", "kinds": ["email"], "action": "warn"})
    request = ask(b'["%b"]' % EMAIL, override=b"true")
    claim = Gate(policy).admit(request)
    assert isinstance(claim, Claim)
    assert claim.warning == "⚠️ WARNING:\n  • Sends an e-mail address"
    found = same(policy, request, GRANTED)
    assert [record["rule"] for record in found["records"][:1]] == ["override"]
    assert found["records"][1]["warning"] == claim.warning


def test_a_ticket_is_void_under_another_policy() -> None:
    ticketed = msgspec.structs.replace(LOW, override=OverrideMode.TICKET)
    rules = {"name": "low", "score_below": 7, "action": "warn"}
    old, new = with_table(ticketed, rules), with_table(ticketed, rules | {"score_below": 8})
    first = Gate(old).admit(ask())
    assert isinstance(first, Respond)
    token = json.loads(first.body)["override_token"].encode()
    assert isinstance(Gate(old).admit(ask(override=token)), Claim)
    assert isinstance(Gate(new).admit(ask(override=token)), Respond)


@pytest.mark.parametrize("retention", list(RetentionPolicy))
@pytest.mark.parametrize("trust", list(TrustLevel))
def test_conditions_on_the_agent(retention: RetentionPolicy, trust: TrustLevel) -> None:
    base = msgspec.structs.replace(SAFE, retention=retention, trust_level=trust)
    policy = with_table(
        base,
        {"name": "p", "kinds": ["email"], "retention": ["permanent"], "action": "block"},
        {"name": "t", "trust_level": ["unknown", "trusted"], "action": "block"},
        {"name": "s", "score_below": 4, "action": "warn", "reason": "Ask Ada"},
    )
    for body in (b"{}", b'["%b"]' % EMAIL):
        same(policy, ask(body))


def test_a_kind_that_is_off_is_not_judged_but_scrubbed() -> None:
    stored = msgspec.structs.replace(SAFE, retention=RetentionPolicy.PERMANENT)
    rule = {"name": "cards", "kinds": ["credit_card"], "action": "block"}
    policy = with_table(stored, rule, kinds={"credit_card": False})
    found = same(policy, ask(BODY, target=b"/proxy?c=" + CARD))
    assert found["findings"] == ((1, 1), (2, 1))
    (record,) = found["records"]
    assert record["findings"] == {"ssn": 1, "email": 1}
    assert CARD.decode() not in repr(record)
    assert found["body"] is None
    refused(with_table(stored, rule), BODY)


# Redact and forward.


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a": "x %b y" }' % CARD, b'{"a": "x [CREDIT_CARD_REDACTED] y" }'),
        (b'{"a":%b}' % CARD, b'{"a":"[CREDIT_CARD_REDACTED]"}'),
        (b'{"a":[-%b.0,1]}' % CARD, b'{"a":["[CREDIT_CARD_REDACTED]",1]}'),
        (b'{"a":4.111111111111111e15}', b'{"a":"[CREDIT_CARD_REDACTED]"}'),
        (b'{"%b":1}' % CARD, b'{"[CREDIT_CARD_REDACTED]":1}'),
        (b'"\\u0034111111111111111"', b'"[CREDIT_CARD_REDACTED]"'),
        (b'["%b","%b"]' % (SSN, EMAIL), b'["[SSN_REDACTED]","%b"]' % EMAIL),
        (b"%b" % CARD, b'"[CREDIT_CARD_REDACTED]"'),
    ],
)
def test_json_stays_json(body: bytes, expected: bytes) -> None:
    assert sent(with_table(SAFE, REDACTS), body) == expected
    json.loads(expected)


@pytest.mark.parametrize("content_type", [b"", b"text/plain", b"TEXT/CSV; charset=utf-8"])
def test_text(content_type: bytes) -> None:
    policy = with_table(SAFE, REDACTS)
    for body, expected in (
        (b"pay %b, %b" % (CARD, EMAIL), b"pay [CREDIT_CARD_REDACTED], %b" % EMAIL),
        (b'{"a":%b}' % CARD, b'{"a":"[CREDIT_CARD_REDACTED]"}'),
        (b"\xff %b \xe9" % CARD, b"\xff [CREDIT_CARD_REDACTED] \xe9"),
        (b"nothing", b"nothing"),
    ):
        got = sent(policy, body, target=b"/proxy/notes", content_type=content_type)
        assert got == expected


def test_text_in_latin_1_comes_back_in_its_own_bytes() -> None:
    policy = with_table(SAFE, REDACTS)
    rest = bytes(byte for byte in range(1, 256) if not 48 <= byte < 58)
    body = rest + b" " + CARD + b" " + rest
    got = sent(policy, body, target=b"/proxy/notes", content_type=b"text/plain; charset=iso-8859-1")
    assert got == rest + b" [CREDIT_CARD_REDACTED] " + rest


def test_a_form_is_encoded_as_a_form() -> None:
    policy = with_table(SAFE, REDACTS)
    body = b"a=%b&b=%%34111+1111+1111+1111&%b=1&c=%b" % (CARD, SSN, b"x%40y")
    got = sent(
        policy,
        body,
        target=b"/proxy/form",
        content_type=b"application/x-www-form-urlencoded",
    )
    assert parse_qsl(got.decode(), strict_parsing=True) == [
        ("a", "[CREDIT_CARD_REDACTED]"),
        ("b", "[CREDIT_CARD_REDACTED]"),
        ("[SSN_REDACTED]", "1"),
        ("c", "x@y"),
    ]
    assert b"[" not in got


@pytest.mark.parametrize("coding", [b"gzip", b"deflate"])
def test_a_coded_body_is_sent_decoded(coding: bytes) -> None:
    body = b'{"a":"%b"}' % CARD
    coded = gzip.compress(body) if coding == b"gzip" else zlib.compress(body)
    policy = with_table(SAFE, REDACTS)
    got = sent(policy, coded, content_encoding=coding)
    assert got == b'{"a":"[CREDIT_CARD_REDACTED]"}'
    clean = gzip.compress(b"{}")
    assert sent(policy, clean, content_encoding=b"gzip") == clean


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"{}", {"target": b"/proxy?card=" + CARD}),
        (b"{}", {"target": b"/proxy/" + CARD}),
        (b'["%b"]' % SSN, {"target": b"/proxy?card=" + CARD}),
        (CARD, {"target": b"/proxy/f", "content_type": b"application/octet-stream"}),
        (CARD, {"target": b"/proxy/f", "content_type": b"multipart/form-data; boundary=x"}),
        (CARD, {"target": b"/proxy/f", "content_type": b"image/png"}),
        (b"\0" + CARD, {"target": b"/proxy/f", "content_type": b"text/plain"}),
        (CARD.decode().encode("utf-16"), {"target": b"/proxy/f", "content_type": b""}),
    ],
)
def test_what_cannot_be_redacted_is_blocked(body: bytes, fields: dict[str, Any]) -> None:
    for base in (SAFE, LOW):
        found = refused(with_table(base, REDACTS), body, **fields)
        assert found["code"] == "masked"
        assert "not possible where it stands" in found["body"]["error"]
        assert CARD.decode() not in repr(found)


def test_a_redaction_uncovers_nothing() -> None:
    """A card stood in the way of a number that only now reads as one."""
    joined = CARD + b"-" + SSN
    masks = {"name": "masks", "kinds": ["credit_card"], "action": "redact"}
    assert refused(with_table(SAFE, masks), b'["%b"]' % joined)["code"] == "masks"
    text = {"target": b"/proxy/t", "content_type": b"text/plain"}
    refused(with_table(SAFE, masks), joined, **text)
    # Let pass where such a number is none of the policy's business, or was there anyway.
    off = with_table(SAFE, masks, kinds={"ssn": False})
    assert sent(off, b'["%b"]' % joined) == b'["[CREDIT_CARD_REDACTED]-%b"]' % SSN
    both = b'["%b","%b"]' % (joined, SSN)
    assert SSN + b'","' + SSN in sent(with_table(SAFE, masks), both)


def test_an_address_in_the_query_does_not_hinder_redacting_a_card() -> None:
    policy = with_table(SAFE, REDACTS)
    assert sent(policy, b"[%b]" % CARD, target=b"/proxy?to=" + EMAIL) == (
        b'["[CREDIT_CARD_REDACTED]"]'
    )


def test_a_confirmed_warning_is_redacted_too() -> None:
    policy = with_table(LOW, REDACTS, {"name": "low", "score_below": 7, "action": "warn"})
    warned = same(policy, ask(b"[%b]" % CARD))
    assert warned["status"] == 449
    assert "redacted" not in warned["records"][0]
    found = same(policy, ask(b"[%b]" % CARD, override=b"true"), GRANTED)
    assert found["body"] == b'["[CREDIT_CARD_REDACTED]"]'
    assert found["records"][0]["redacted"] is True
    assert found["records"][0]["rule"] == "override"
    # What cannot be taken out is not for the caller to confirm.
    refused(policy, b"{}", target=b"/proxy?c=" + CARD, override=b"true")


VALUES = st.sampled_from([CARD, SSN, EMAIL, b"4111 1111 1111 1111", b"378282246310005"])
PIECES = st.one_of(
    VALUES,
    st.sampled_from(list(b' x-01@.&"{}[]:,+\xff')).map(lambda byte: bytes((byte,))),
    st.sampled_from([b"a=", b"%40", b"\\u0034", b"\\n", b"\xc3\xa9"]),
)
TYPES = st.sampled_from(
    [b"text/plain", b"", b"application/x-www-form-urlencoded", b"application/json",
     b"text/plain;charset=latin1", b"application/xml"]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=12).map(b"".join), TYPES, st.booleans())
def test_no_value_gets_through(body: bytes, content_type: bytes, as_json: bool) -> None:
    """Whatever it is put together from: refused, blocked, or free of what is to go."""
    kinds = ["credit_card", "ssn", "email"]
    policy = with_table(SAFE, {"name": "all", "kinds": kinds, "action": "redact"})
    if as_json:
        body = json.dumps([body.decode("latin-1"), {"k": body.decode("latin-1")}]).encode()
    request = ask(body, target=b"/proxy/x", content_type=content_type)
    found = same(policy, request)
    if "status" in found:
        assert found["status"] in (400, 403)
        return
    got = body if found["body"] is None else found["body"]
    form = JSON if content_type == b"application/json" and body else TEXT
    form = FORM if b"form" in content_type else form
    assert counts(scan(got, form)) == (0,) * len(KINDS)
    if form == JSON:
        json.loads(got)


@settings(deadline=None)
@given(st.lists(st.tuples(VALUES | st.just(b"free text"), VALUES | st.just(b"k")), min_size=1))
def test_a_form_keeps_its_fields(fields: list[tuple[bytes, bytes]]) -> None:
    kinds = ["credit_card", "ssn", "email"]
    policy = with_table(SAFE, {"name": "all", "kinds": kinds, "action": "redact"})
    body = "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in fields).encode()
    got = sent(policy, body, target=b"/proxy/f", content_type=b"application/x-www-form-urlencoded")
    read = parse_qsl(got.decode(), strict_parsing=True, keep_blank_values=True)
    assert len(read) == len(fields)
    for (name, value), pair in zip(read, fields, strict=True):
        for text, original in zip((name, value), pair, strict=True):
            assert text.endswith("_REDACTED]") or text.encode() == original


# Observing.


@pytest.mark.parametrize("override", [b"", b"true"])
def test_observing_lets_pass_and_says_what_would_have_been(override: bytes) -> None:
    rules = [
        {"name": "cards", "kinds": ["credit_card"], "action": "block"},
        {"name": "numbers", "kinds": ["ssn"], "action": "redact"},
        {"name": "low", "score_below": 7, "action": "warn"},
    ]
    for base, body, would in (
        (SAFE, b"{}", {"decision": "allow", "rule": "rest"}),
        (LOW, b"{}", {"decision": "warn", "rule": "low"}),
        (LOW, b"[%b]" % CARD, {"decision": "block", "rule": "cards"}),
        (SAFE, b'["%b"]' % SSN, {"decision": "allow", "rule": "numbers", "redacted": True}),
        (LOW, b'["%b"]' % SSN, {"decision": "warn", "rule": "low"}),
    ):
        policy = with_table(base, *rules, mode="observe")
        found = same(policy, ask(body, override=override))
        assert found["body"] is None
        (record,) = found["records"]
        assert (record["decision"], record["rule"]) == ("allow", "observe")
        assert record["would"] == would
        assert "redacted" not in record
        assert CARD.decode() not in repr(record)
    policy = with_table(SAFE, *rules, mode="observe")
    found = same(policy, ask(b"{}", target=b"/proxy/" + SSN))
    assert found["records"][0]["would"] == {"decision": "block", "rule": "numbers"}


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"body": b"{"}, 400),
        ({"content_encoding": b"br"}, 415),
        ({"content_encoding": b"gzip"}, 400),
        ({"body": b"[]" + b" " * 10_000}, 413),
    ],
)
def test_observing_passes_nothing_that_is_broken(fields: dict[str, Any], status: int) -> None:
    policy = with_table(SAFE, mode="observe")
    assert same(policy, ask(**fields))["status"] == status


# Open paths.


OPEN = [
    {"paths": ["/tasks/*", "/"], "methods": ["GET", "POST"]},
    {"paths": ["/files/**"], "methods": ["PUT"]},
]


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("POST", b"/proxy", None),
        ("POST", b"/proxy?x=/admin", None),
        ("POST", b"/proxy/tasks/1?q=1", None),
        ("POST", b"/proxy/%74asks/1", None),
        ("PUT", b"/proxy/files/a/b", None),
        ("GET", b"/proxy/files/a/b", 405),
        ("DELETE", b"/proxy/tasks/1", 405),
        ("POST", b"/proxy/tasks", 403),
        ("POST", b"/proxy/admin?/tasks/1", 403),
        ("POST", b"/proxy/" + CARD, 403),
    ],
)
def test_open_paths(method: str, target: bytes, status: int | None) -> None:
    policy = with_table(SAFE, open=OPEN)
    request = ask(b"{}", method=method, target=target)
    found = same(policy, request)
    assert found.get("status") == status
    gate = Gate(policy)
    assert gate.limits_paths
    assert (gate.closed(method, target) is None) is (status is None)
    if status is not None:
        assert found["decision"] == "refuse"
        assert CARD.decode() not in repr(found)
        assert gate.explain(request)["rule"] == found["code"]
    observing = with_table(SAFE, open=OPEN, mode="observe")
    assert Gate(observing).closed(method, target) is None
    would = same(observing, request)["records"][0]["would"]
    assert would["decision"] == ("allow" if status is None else "refuse")


def test_allow_names_the_methods() -> None:
    gate = Gate(with_table(SAFE, open=OPEN))
    assert gate.closed("DELETE", b"/proxy/tasks/1") == ("method_not_allowed", "GET, POST")
    assert gate.closed("GET", b"/proxy/admin") == ("path_not_open", "")
    assert not Gate(SAFE).limits_paths
    assert Gate(SAFE).closed("GET", b"/proxy/admin") is None


# What explain says.


def test_explain_says_the_same() -> None:
    rules = [
        {"name": "cards", "kinds": ["credit_card"], "action": "block"},
        {"name": "numbers", "kinds": ["ssn"], "action": "redact"},
        {"name": "mail", "kinds": ["email"], "action": "warn"},
    ]
    for mode, body in itertools.product(("enforce", "observe"), (b"{}", BODY, b'["%b"]' % SSN,
                                                                 b'["%b"]' % EMAIL)):  # fmt: skip
        gate = Gate(with_table(SAFE, *rules, mode=mode))
        said = gate.explain(ask(body))
        verdict = gate.admit(ask(body))
        if isinstance(verdict, Forward):
            record = parse(verdict.records[0])
            assert (said["verdict"], said["rule"]) == ("allow", record["rule"])
            assert said.get("redacted") is record.get("redacted")
            assert said.get("would") == record.get("would")
        else:
            assert (said["verdict"], said["rule"]) == (
                plain(verdict)["decision"],
                plain(verdict)["code"],
            )
