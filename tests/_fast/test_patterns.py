"""A policy's own patterns: which texts they see, and where in the raw bytes they are found."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iatp._fast import answer, patterns
from iatp._fast.patterns import Patterns
from iatp._fast.scan import FORM, JSON, TARGET, TEXT
from iatp.values.patterns import LONGEST_MATCH, compile_patterns
from iatp.values.secrets import NAMES
from tests.twins import patterns as twin
from tests.twins.scan import Seen

REGEXES = [
    r"\bEMP-\d{5,8}\b",
    r"^\d{5}$",
    r"(?i)project[ _-]falcon",
    r"P-\d+",
    r"MP-1",
    r"é[a-zé]{2}",
]
OWN = Patterns(REGEXES)
EMP = b"EMP-12345"


def both(data: bytes, form: int = JSON) -> list[Seen]:
    """Return what both find, which is the same."""
    found = patterns.find(data, form, OWN)
    assert found == twin.find(data, form, REGEXES)
    assert isinstance(found, list)
    return found


def own(found: list[Seen]) -> list[tuple[int, int, int, int]]:
    """Return those of the patterns: which, start, end, quoted."""
    return [
        (which - len(NAMES), start, end, quoted)
        for kind, start, end, quoted, which in found
        if kind == twin.CUSTOM
    ]


def nested(value: object, times: int) -> bytes:
    for _ in range(times):
        value = json.dumps(value)
    return json.dumps({"a": value}).encode()


@pytest.mark.parametrize(
    ("data", "form", "found"),
    [
        (b'["%b"]' % EMP, JSON, [EMP]),
        (b'{"%b":1}' % EMP, JSON, [EMP]),
        (rb'["x EMP\u002d\u0031234\u0035 y"]', JSON, [rb"EMP\u002d\u0031234\u0035"]),
        (
            b'["xEMP-12345","EMP-2345","EMP-234567890"]',
            JSON,
            [b"MP-12345", b"P-2345", b"P-234567890"],
        ),
        (b"[12345]", JSON, [b"12345"]),
        (b"[123456,-12345,1e5]", JSON, []),
        (b'["12345","12345 ","a\\n12345\\nb"]', JSON, [b"12345", b"12345"]),
        (b'["EMP-","12345"]', JSON, [b"12345"]),
        ('["é€é€","éab"]'.encode(), JSON, ["éab".encode()]),
        (b'["\\u00e9ab"]', JSON, [b"\\u00e9ab"]),
        (b"no json EMP-12345", TEXT, [EMP]),
        (b"\xff EMP-12345\xfe", TEXT, [EMP]),
        (b'{"a":"EMP-1234\\u0035"', JSON, [b"EMP-1234\\u0035"]),
        (b"/proxy/EMP%2D12345?x=PROJECT+falcon", TARGET, [b"EMP%2D12345", b"PROJECT+falcon"]),
        (b"/proxy/project+falcon", TARGET, []),
        (b"a=project+falcon&b=EM%50-12345", FORM, [b"project+falcon", b"EM%50-12345"]),
        (b"project&nbsp;falcon EMP&#45;12345", TEXT, [b"EMP&#45;12345"]),
        (b"", TEXT, []),
        (b"", JSON, []),
    ],
)
def test_where_they_are_found(data: bytes, form: int, found: list[bytes]) -> None:
    places = sorted({span[1:3] for span in both(data, form) if span[0] == twin.CUSTOM})
    assert [data[start:end] for start, end in places] == found


@pytest.mark.parametrize("times", range(5))
def test_json_in_strings_of_json(times: int) -> None:
    value = {"n": 12345, "t": "é EMP-12345"}
    data = nested(value, times) if times else json.dumps(value).encode()
    found = own(both(data))
    if times <= 3:
        assert [one[3] for one in found if one[0] == 1] == [times + 1]
    text = data.decode()
    for _, start, end, quoted in reversed([one for one in found if one[0] < 2]):
        mark = "\\" * (2 ** (quoted - 1) - 1) + '"' if quoted else ""
        text = f"{text[:start]}{mark}X{mark}{text[end:]}"
    if times <= 3:
        parsed = json.loads(text)
        for _ in range(times):
            parsed = parsed["a"] if isinstance(parsed, dict) and "a" in parsed else parsed
            parsed = json.loads(parsed)
        assert parsed == {"n": "X", "t": "é X"}


def test_json_in_a_string_without_any_escape() -> None:
    data = b'["[12345]"]'
    assert own(both(data)) == [(1, 3, 8, 2)]


CODES: list[Callable[[bytes], bytes]] = [
    base64.b64encode,
    base64.urlsafe_b64encode,
    lambda data: data.hex().encode(),
    lambda data: quote(data).encode(),
    lambda data: b"".join(b"%%%02x" % byte for byte in data),
    lambda data: b"".join(b"&#%d;" % byte for byte in data),
    lambda data: json.dumps(data.decode()).encode(),
    lambda data: json.dumps([data.decode()]).encode(),
    lambda data: b"key/" + base64.b64encode(data),
]


@pytest.mark.parametrize("outer", [*CODES, bytes])
@pytest.mark.parametrize("inner", CODES)
def test_what_is_encoded(inner: Callable[[bytes], bytes], outer: Callable[[bytes], bytes]) -> None:
    coded = outer(inner(b"of EMP-12345 and project falcon"))
    for data, form in (
        (json.dumps({"k": f"x {coded.decode()} y"}).encode(), JSON),
        (json.dumps({"k": coded.decode()}).encode(), JSON),
        (b"x " + coded + b" y", TEXT),
        (quote_plus(coded).encode(), FORM),
        (b"/p?q=" + quote_plus(coded).encode(), TARGET),
    ):
        assert {one[0] for one in own(both(data, form))} >= {0, 2}


def test_what_overlaps_has_one_range() -> None:
    found = both(b'["EMP-12345@example.com"]')
    assert {span[1:3] for span in found} == {(2, 23)}
    assert [span[0] for span in found] == [2, *[twin.CUSTOM] * 3]
    found = both(b"[4111111111111111]")
    assert [span[:4] for span in found] == [(0, 1, 17, 1)]


PIECES = st.sampled_from(
    [
        b"EMP-12345 ",
        b" 12345",
        b"project falcon",
        b"EMP-",
        b"\n",
        rb"\u0045MP-12345",
        b"%45MP-12345",
        b"&#69;MP-1",
        b"RU1QLTEyMzQ1IGFuZCBub3RoaW5n",
        b"454d502d3132333435206f6b",
        b"a@b.co",
        b"4111111111111111",
        b"\xc3\xa9ab",
        b"\xff",
        b"[12345]",
        rb"{\"a\":12345}",
        rb"{\"a\":\"\\u0045MP-12345\"}",
        *(b"%c" % byte for byte in b'"{},:=+&?\\'),
        b"%25",
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=8).map(b"".join), st.sampled_from([JSON, TEXT, TARGET, FORM]))
def test_generated_bodies(data: bytes, form: int) -> None:
    both(data, form)


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.lists(PIECES, max_size=4).map(lambda parts: b"".join(parts).decode("latin-1"))
        | st.sampled_from([12345, 123456, 1.5, None, True]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["EMP-12345", "k", ""]), inner, max_size=2)
            | inner.map(json.dumps)
        ),
        max_leaves=6,
    )
)
def test_generated_json(value: object) -> None:
    both(json.dumps(value, ensure_ascii=False).encode())


def test_a_thousand_texts_and_more_are_looked_at_in_turn() -> None:
    values = [f"EMP-{10000 + at}" if at % 97 == 0 else f"word {at}" for at in range(20_000)]
    data = json.dumps(values).encode()
    found = patterns.find(data, JSON, OWN)
    assert isinstance(found, list)
    places = sorted({span[1:3] for span in found})
    assert [data[start:end].decode() for start, end in places] == values[::97]


@pytest.mark.parametrize("before", [0, 1, 3000, 3055, 3056, 3057, 4085, 4095, 4096, 4097, 70_000])
@pytest.mark.parametrize("length", [9, 700, LONGEST_MATCH])
def test_a_match_may_stand_anywhere_in_a_long_text(before: int, length: int) -> None:
    value = b"P-" + b"7" * (length - 2)
    data = b"." * before + value + b"." * 9000 + value
    found = patterns.find(data, TEXT, Patterns([r"P-\d+"]))
    assert [span[1:3] for span in found if span[0] == twin.CUSTOM] == [
        (before, before + length),
        (before + length + 9000, before + 2 * length + 9000),
    ]


SLOW = [rf"x[xy]{{{length}}}z" for length in range(10, 60)]


def test_what_takes_too_long_is_not_judged() -> None:
    """Each byte is another set of places in these, so that nothing is ever prepared."""
    chance = base64.b64encode(bytes(range(256)) * 4096)
    data = bytes(b"xy"[byte & 1] for byte in chance)
    began = time.thread_time()
    assert patterns.find(data, TEXT, Patterns(SLOW)) == "the policy's patterns take too long in it"
    assert time.thread_time() - began < 5
    assert patterns.find(data[:64], TEXT, Patterns(SLOW)) == []


def test_more_matches_than_are_looked_at() -> None:
    data = b"7 " * 70_000
    assert isinstance(patterns.find(data, TEXT, Patterns([r"7"])), str)


# What comes in pieces.


def flowed(data: bytes, form: int, size: int) -> dict[int, int]:
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return patterns.count(pieces, form, OWN)


@pytest.mark.parametrize("size", [1, 7, 4096, 16_383, 1 << 20])
def test_where_pieces_end_makes_no_difference(size: int) -> None:
    parts = [
        b"word EMP-%05d, " % at if at % 50 == 0 else b"nothing here %d " % at
        for at in range(8 if size == 1 else 12_000)
    ]
    data = b"".join(parts)
    expected = {
        twin.number_of(number): len(found)
        for number, pattern in enumerate(compile_patterns(REGEXES).each)
        if (found := list(pattern.finditer(data)))
    }
    assert flowed(data, TEXT, size) == expected


@pytest.mark.parametrize("shift", range(0, 40, 3))
def test_a_value_over_the_border_of_what_is_kept(shift: int) -> None:
    """Escaped in full, and at each place of the borders."""
    value = b"".join(b"\\u%04x" % byte for byte in EMP)
    for at in (16_384 - 6240, 16_384, 17_000 - 6240):
        data = b"." * (at - 30 + shift) + b" " + value + b" " + b"." * 70_000
        assert flowed(data, JSON, 1000)[twin.number_of(0)] == 1


def test_over_the_deltas_of_a_stream() -> None:
    events = [b'data: {"content":"%b"}\n\n' % part for part in (b"of EMP-1", b"23", b"45 ok")]
    own_numbers = [twin.number_of(0)]
    found = answer.count(events, JSON, events=True, patterns=OWN)
    assert dict(found)[own_numbers[0]] == 1
    numbers: list[int] = []
    text = answer.scrub_deltas(b"".join(events), True, numbers, OWN)
    assert b"12" not in text
    assert b"23" not in text
    assert b'"of [CUSTOM_REDACTED]"' in text
    assert twin.number_of(0) in numbers
    # What is within one event is counted there alone.
    whole = [b'data: {"content":"EMP-12345 "}\n\n', b'data: {"content":"x"}\n\n']
    assert dict(answer.count(whole, JSON, events=True, patterns=OWN))[twin.number_of(0)] == 1
