from __future__ import annotations

import json
import random
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from iatp._fast.answer import DELTA_KEYS, count, scrub_deltas
from iatp._fast.scan import FORM, JSON, TEXT
from iatp.values.exchange import FINDINGS
from tests.twins import answer as twin
from tests.twins.scan import name_of

CARD = b"4111111111111111"
VALUES = [
    CARD,
    b"4111 1111 1111 1111",
    b"3782-822463-10005",
    b"123-45-6789",
    b"my ssn is 123456789",
    b"alice.b@example.com",
    b"\\u0034111111111111111",
    "４１１１１１１１１１１１１１１１".encode(),
    b"%34111111111111111",
]
# What stands around a value, and what only looks like one.
FILLERS = [
    b"word ",
    b"12 ",
    b"0.4111111111111111,",
    b"41111111-1111-1111-1111-111111111111 ",
    b"\\u0020",
    b"\\n",
    "é".encode(),
    "\U0001f600".encode(),
    b"%20",
    b"+",
    b"\xff",
    b"9" * 30,
    b"a1" * 20,
    b"4111 ",
]
FORMS = [JSON, TEXT, FORM]


def split(text: bytes, sizes: list[int]) -> list[bytes]:
    """Return the text in pieces of these sizes, over and over."""
    pieces = []
    at = turn = 0
    while at < len(text):
        pieces.append(text[at : at + sizes[turn % len(sizes)]])
        at += len(pieces[-1])
        turn += 1
    return pieces


def event(key: str, text: str) -> bytes:
    delta = {"id": "c-1", "choices": [{"index": 0, "delta": {key: text}}]}
    return b"data: " + json.dumps(delta).encode() + b"\n\n"


@settings(max_examples=100, deadline=None)
@given(
    parts=st.lists(
        st.tuples(st.sampled_from(VALUES + FILLERS * 2), st.integers(1, 60)), max_size=8
    ),
    form=st.sampled_from(FORMS),
    sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=4),
)
@example(parts=[(b"\\u0034", 2000), (CARD, 1)], form=JSON, sizes=[7])
@example(parts=[("\U0001f600".encode(), 4000), (CARD, 1)], form=TEXT, sizes=[4096])
@example(parts=[(b"9", 9000), (b" " + CARD, 1)], form=TEXT, sizes=[1000])
def test_pieces_are_read_like_the_whole(
    parts: list[tuple[bytes, int]], form: int, sizes: list[int]
) -> None:
    text = b"".join(part * (times if part in FILLERS else 1) for part, times in parts)
    assert count(split(text, sizes), form) == twin.count(text, form)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("form", FORMS)
def test_at_every_split(value: bytes, form: int) -> None:
    text = b"so: " + value + b" and " + value + b"."
    whole = twin.count(text, form)
    for at in range(len(text) + 1):
        assert count([text[:at], text[at:]], form) == whole
    assert count([bytes([byte]) for byte in text], form) == whole


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("filler", [b"ab ", "éü ".encode(), b"\\u0061"])
def test_at_every_place_around_the_window(value: bytes, form: int, filler: bytes) -> None:
    """The window is 8 KiB first, and what decides is up to 6 KiB on both sides."""
    for length in [*range(8192 - 700, 8192 + 60, 13), 2048, 6144, 14_336, 20_000]:
        text = (filler * length)[:length] + b" " + value + b" " + filler * 2500
        found = count([text], form)
        assert found == count(split(text, [611]), form)
        assert found == count([b" " + value + b" "], form)


def test_nothing_is_kept_of_a_long_answer() -> None:
    started = time.perf_counter()
    pieces = [b"nothing to see here, 12 of 34 and 2026-11-25; "] * 200_000
    assert count(pieces, TEXT) == ()
    assert time.perf_counter() - started < 5


# Streams.


@pytest.mark.parametrize("key", DELTA_KEYS)
def test_a_value_over_several_deltas(key: str) -> None:
    stream = b"".join(event(key, text) for text in ("Your card: 41", "11 1111", " 1111 1", "111."))
    assert count([stream], JSON, events=True) == ((0, 1),)
    assert count(split(stream, [3]), JSON, events=True) == ((0, 1),)
    found: list[int] = []
    scrubbed = scrub_deltas(stream, True, found)
    assert found == [0]
    assert scrubbed == b"".join(
        event(key, text) for text in ("Your card: [CREDIT_CARD_REDACTED]", "", "", ".")
    )


def test_a_value_within_a_delta_counts_once() -> None:
    stream = event("content", "it is 4111111111111111, or ") + event("content", "123-45-6789")
    assert count([stream], JSON, events=True) == ((0, 1), (1, 1))
    found: list[int] = []
    assert scrub_deltas(stream, True, found) == stream
    assert found == []


def test_other_members_are_no_deltas() -> None:
    stream = event("name", "4111 1111 ") + event("name", "1111 1111")
    assert count([stream], JSON, events=True) == ()


CHIPS = ["41", "11", "1111", " ", "11 1", "123-", "45-", "6789", "a", "lice@ex", "ample.com"]
TEXTS = st.lists(
    st.sampled_from(CHIPS)
    | st.sampled_from(["word ", '"', "\\", "\n", "é", "4111111111111111", "x" * 40, "\U0001f600"]),
    max_size=30,
)


@settings(max_examples=100, deadline=None)
@given(texts=TEXTS, sizes=st.lists(st.integers(1, 300), min_size=1, max_size=3))
def test_streams_like_the_twin(texts: list[str], sizes: list[int]) -> None:
    chance = random.Random(len(texts))
    stream = b"".join(event(chance.choice(DELTA_KEYS[:2]), text) for text in texts)
    assert count(split(stream, sizes), JSON, events=True) == twin.count(stream, JSON, events=True)
    found: list[int] = []
    scrubbed = scrub_deltas(stream, True, found)
    assert scrubbed == twin.scrub_deltas(stream)
    assert found == [FINDINGS.index(name_of(span)) for span, _ in twin.across(stream)]
    # What is left is a stream of JSON, and nothing of what was found is in it any more.
    for line in scrubbed.split(b"\n\n"):
        if line:
            json.loads(line.removeprefix(b"data: "))


def test_a_line_without_an_end_is_let_go() -> None:
    head = b'data: {"content":"4111 1111 "}\n\n'
    tail = b'data: {"content":"1111 1111"}\n\n'
    long = b"data: " + b"x" * 200_000
    assert count([head, tail], JSON, events=True) == ((0, 1),)
    assert count([head, *split(long, [1000]), b"\n", tail], JSON, events=True) == ((0, 1),)
