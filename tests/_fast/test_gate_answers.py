"""What the gate makes of answers that are judged before a caller gets them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iatp._fast.forward import Forward
from iatp._fast.gate import Gate
from iatp.values.exchange import KINDS, kind_of
from iatp.values.policy import DEFAULT, AnswerAction, Mode
from tests._fast.gates import CARD, EMAIL, SAFE, SSN, ask
from tests.twins.content import media
from tests.twins.reading import read_loose
from tests.twins.scan import FORM, JSON, TEXT, scan
from tests.twins.scan import redact as scrub

VALUES = {"credit_card": CARD, "ssn": SSN, "email": EMAIL}


def judging(
    actions: dict[str, AnswerAction], mode: Mode = Mode.ENFORCE, off: tuple[str, ...] = ()
) -> Gate:
    table = msgspec.structs.replace(
        DEFAULT, answers=actions, mode=mode, kinds=dict.fromkeys(off, False)
    )
    return Gate(msgspec.structs.replace(SAFE, table=table))


def judged(
    gate: Gate, body: bytes, content_type: bytes = b"application/json"
) -> tuple[bytes | None, Forward]:
    forward = gate.admit(ask())
    assert isinstance(forward, Forward)
    forward.settle_head(200, content_type, b"")
    return gate.judge(forward, body), forward


def kinds_in(body: bytes, content_type: bytes) -> set[str]:
    """Return the kinds that the plain reading of a body finds."""
    is_json, is_form, _ = media(content_type)
    found = scan(body, JSON)
    if is_json and found.error is None:
        return {KINDS[span[0]] for span in found.spans}
    return {kind_of(name) for name in read_loose(body, FORM if is_form else TEXT)[2]}


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("action", AnswerAction)
def test_one_kind(kind: str, action: AnswerAction) -> None:
    gate = judging({kind: action})
    assert gate.judges_answers is (action != AnswerAction.PASS)
    for other, value in VALUES.items():
        body = b'{"a":"%b"}' % value
        answer, forward = judged(gate, body)
        if other != kind or action == AnswerAction.PASS:
            assert answer is body
        elif action == AnswerAction.REDACT:
            assert answer == b'{"a":"[%b_REDACTED]"}' % kind.upper().encode()
        else:
            assert answer is None
        assert forward.answer_redacted is (answer not in (body, None))
        assert forward.withheld == (kind if answer is None else None)


def test_what_is_held() -> None:
    gate = judging({"ssn": AnswerAction.BLOCK})
    assert gate.holds(b"application/json", True)
    assert gate.holds(b"application/json", False)
    assert gate.holds(b"text/plain", True)
    assert gate.holds(b"", True)
    assert not gate.holds(b"text/plain", False)
    assert not gate.holds(b"text/event-stream; charset=utf-8", True)
    assert not Gate(SAFE).holds(b"application/json", True)


def test_a_kind_that_is_off_and_a_policy_that_observes_hold_nothing() -> None:
    actions = {"ssn": AnswerAction.BLOCK}
    assert not judging(actions, off=("ssn",)).judges_answers
    assert not judging(actions, mode=Mode.OBSERVE).judges_answers


@settings(max_examples=300, deadline=None)
@given(
    parts=st.lists(
        st.sampled_from([*VALUES.values(), b"4111 1111 1111 1111", b"word", b" ", b"12"]),
        max_size=8,
    ),
    shape=st.sampled_from(["string", "list", "number", "text", "form", "broken"]),
    redacts=st.sets(st.sampled_from(list(VALUES))),
    blocks=st.sets(st.sampled_from(list(VALUES))),
)
def test_any_answer(parts: list[bytes], shape: str, redacts: set[str], blocks: set[str]) -> None:
    content_type = {"text": b"text/plain", "form": b"application/x-www-form-urlencoded"}.get(
        shape, b"application/json"
    )
    value: Any = [part.decode() for part in parts]
    body = {
        "string": json.dumps({"a": " ".join(value)}).encode(),
        "list": json.dumps(value).encode(),
        "number": json.dumps({"n": int(CARD), "v": value}).encode(),
        "text": b" ".join(parts),
        "form": b"a=" + b"&b=".join(parts).replace(b" ", b"+"),
        "broken": json.dumps(value).encode()[:-1],
    }[shape]
    actions = dict.fromkeys(redacts, AnswerAction.REDACT)
    actions |= dict.fromkeys(blocks, AnswerAction.BLOCK)
    answer, forward = judged(judging(actions), body, content_type)
    found = kinds_in(body, content_type)
    if found & blocks:
        assert answer is None
        assert forward.withheld == ", ".join(kind for kind in KINDS if kind in found & blocks)
    elif not found & redacts:
        assert answer is body
    elif shape == "broken":
        assert answer is None
        assert forward.withheld == "what is found cannot be replaced"
    else:
        assert answer is not None
        assert not kinds_in(answer, content_type) & redacts
        if shape in ("string", "list", "number"):
            spans = [span for span in scan(body, JSON).spans if KINDS[span[0]] in redacts]
            assert answer == scrub(body, spans)
            json.loads(answer)
