"""Counting of fields: against its twin, against odd lines, and how far a histogram is off."""

from __future__ import annotations

import collections
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iatp._fast.tally import ERROR, Tally, bucket_middle
from tests.twins import tally as twin

FIELDS = {"type": 16, "caller": 12, "findings": 40, "n": 5}

texts = st.text(alphabet='ab"\\{}[]:,\u00e4\u2028 ', max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(
    ["type", "caller", "findings", "n", "payload", "ms", "typ", "types", "tipe", "x" * 63, "x" * 99]
)
records = st.dictionaries(names, values, min_size=1, max_size=8)
numbers = st.decimals(0, 10**9, places=3) | st.integers(0, 10**9)


def line_of(record: dict[str, object], number: object) -> bytes:
    text = json.dumps(record, separators=(",", ":"), ensure_ascii=False)
    return (text[:-1] + (f',"ms":{number}' if number is not None else "") + "}").encode()


def counted(lines: list[bytes]) -> Tally:
    tally = Tally(FIELDS, "ms")
    tally.feed(b"".join(line + b"\n" for line in lines))
    return tally


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(records, st.none() | numbers), max_size=3))
def test_the_same_as_its_twin(made: list[tuple[dict[str, object], object]]) -> None:
    lines = [line_of(record, number) for record, number in made]
    groups, thousandths = twin.tally(lines, FIELDS, "ms")
    tally = counted(lines)
    assert len(tally) == len(groups)
    assert tally.histogram() == dict(collections.Counter(map(twin.bucket_of, thousandths)))
    assert tally.take() == groups
    assert (tally.lost, len(tally)) == (0, 0)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"{}",
        b"[]",
        b"\0\0\0",
        b'{"type"',
        b'{"type":',
        b'{"type":"a',
        b'{"type":"a\\"}',
        b'{"type":{"a":1}',
        b'{"type":"a"',
        b'{"type":"a";"n":1}',
        b'{"type":1',
        b'{"a":[}',
        b"{type:1}",
    ],
)
def test_what_is_no_record_is_lost(line: bytes) -> None:
    good = b'{"type":"a"}'
    tally = counted([good, line, good])
    assert (tally.lost, tally.take()) == (1, {b'"a"\x1f\x1f\x1f': 2})


def test_what_has_no_line_end_is_not_looked_at() -> None:
    tally = Tally(FIELDS, "ms")
    tally.feed(b'{"type":"a"}\n{"type":"b"}')
    assert (tally.take(), tally.lost) == ({b'"a"\x1f\x1f\x1f': 1}, 0)


@given(st.integers(0, 10**13))
def test_a_value_is_off_by_no_more_than_is_said(thousandths: int) -> None:
    tally = counted([b'{"ms":%d.%03d}' % divmod(thousandths, 1000)])
    (bucket,) = tally.histogram()
    assert abs(bucket_middle(bucket) - thousandths) <= ERROR * thousandths


@pytest.mark.parametrize("number", [b"-1", b"1e3", b'"1"', b"12345678901234567", b"null"])
def test_what_is_no_plain_number_is_not_counted(number: bytes) -> None:
    assert counted([b'{"ms":%b}' % number]).histogram() == {}


def test_its_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="1 to 15 fields"):
        Tally({}, "ms")
    with pytest.raises(ValueError, match="1 to 15 fields"):
        Tally({f"f{n}": 1 for n in range(16)}, "ms")
    with pytest.raises(ValueError, match="1 to 15 fields"):
        Tally({"ms": 4}, "ms")
    with pytest.raises(ValueError, match="63 bytes at most"):
        Tally({"a" * 64: 1}, "ms")
    with pytest.raises(ValueError, match="1 to 256 bytes"):
        Tally({"a": 257}, "ms")
