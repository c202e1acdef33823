from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iatp._fast import record
from iatp._fast.record import Line, cut_at, lines
from iatp.adapters.recorder import Join, join_lines

HOSTILE = [
    b"\r",
    b"\n",
    b"\x00",
    b"\x1b[2J",
    b"\x7f",
    "\u0085".encode(),
    "\u009f".encode(),
    "\u2028\u2029".encode(),
    b'"}\n{"type":"forged"',
    b"\\",
    b'\\"',
    b"\xe2\x80",
    b"\xc2",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    *(bytes([byte]) for byte in range(0x80, 0x100)),
]


WIDEST = 2
"""Of the widths that `vectors` knows; a machine may have less."""


def json_string(data: bytes) -> bytes:
    """Return what is written, which is the same with vectors of every width."""
    widest = record.vectors(WIDEST)
    try:
        found = []
        for level in range(widest + 1):
            record.vectors(level)
            found.append(record.json_string(data))
    finally:
        record.vectors(widest)
    assert all(one == found[0] for one in found)
    return found[0]


def assert_safe(line: bytes) -> None:
    """No reader splits it, no terminal acts on it, and it is UTF-8."""
    text = line.decode()
    assert not [c for c in text if ord(c) < 0x20 or 0x7F <= ord(c) <= 0x9F or c in "\u2028\u2029"]
    assert len(text.splitlines()) == 1


def written(method: str, *values: object) -> bytes:
    line = Line()
    for value in values:
        getattr(line, method)(value)
    return line.done()


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("around", [b"%b", b"a%bz", b"4111 %b\n"])
def test_strings_are_one_line_and_come_back(text: bytes, around: bytes) -> None:
    data = around % text
    line = json_string(data)
    assert_safe(line)
    assert json.loads(line) == data.decode("utf-8", "backslashreplace")


@given(st.binary(max_size=200))
def test_any_bytes_are_one_line_and_come_back(data: bytes) -> None:
    line = json_string(data)
    assert_safe(line)
    assert json.loads(line) == data.decode("utf-8", "backslashreplace")


@given(st.text('ab"\\~', max_size=300), st.binary(max_size=3), st.text('a"\\', max_size=100))
def test_long_texts_with_quotes_come_back(before: str, odd: bytes, behind: str) -> None:
    data = before.encode() + odd + behind.encode()
    line = json_string(data)
    assert_safe(line)
    assert json.loads(line) == data.decode("utf-8", "backslashreplace")


@pytest.mark.parametrize("length", range(140))
def test_quotes_at_every_place_come_back(length: int) -> None:
    for at in range(length):
        for quote in (b'"', b"\\"):
            data = b"x" * at + quote * (length - at)
            assert json.loads(json_string(data)) == data.decode()


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_any_text_comes_back(text: str) -> None:
    line = json_string(text.encode())
    assert_safe(line)
    assert json.loads(line) == text


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("a\x7f\u2028é"), inner),
    max_leaves=8,
)


@given(JSON_VALUES, st.sampled_from([None, 0, 1, "\t", "\r\n"]), st.booleans())
def test_an_embedded_value_is_one_line_and_means_the_same(
    value: object, indent: object, escapes: bool
) -> None:
    data = json.dumps(value, indent=indent, ensure_ascii=escapes).encode()  # type: ignore[arg-type]
    line = written("json", data)
    assert_safe(line)
    assert json.loads(line) == value


@given(st.integers(-(2**63), 2**63 - 1))
def test_integers(value: int) -> None:
    assert written("integer", value) == b"%d" % value


@pytest.mark.parametrize(
    ("us", "text"),
    [(0, b"0.000"), (1, b"0.001"), (999, b"0.999"), (12345, b"12.345"), (-5, b"0.000")],
)
def test_milliseconds(us: int, text: bytes) -> None:
    assert written("milliseconds", us) == text


def rfc3339(time_ns: int) -> bytes:
    time = datetime(1970, 1, 1) + timedelta(microseconds=time_ns // 1000)
    # strftime does not pad years before 1000 everywhere; from 1970 on there are none.
    return time.strftime('"%Y-%m-%dT%H:%M:%S.%fZ"').encode()


@given(st.integers(0, 2**63 - 1))
def test_timestamps(time_ns: int) -> None:
    assert written("timestamp", time_ns) == rfc3339(time_ns)


@pytest.mark.parametrize("days", [0, 58, 59, 60, 11016, 11017, 19782, 19783, 47540, 47541])
def test_timestamps_around_leap_days(days: int) -> None:
    for time_ns in (days * 86400 * 10**9, (days + 1) * 86400 * 10**9 - 1):
        assert written("timestamp", time_ns) == rfc3339(time_ns)


def test_timestamps_of_one_second_and_the_next() -> None:
    start = 1_732_100_000 * 10**9
    for later in (0, 1000, 123_456_000, 999_999_999, 10**9, 999_999_000, 60 * 10**9):
        assert written("timestamp", start + later) == rfc3339(start + later)


@pytest.mark.parametrize("width", range(1, 20))
def test_integers_of_every_width(width: int) -> None:
    for value in (10 ** (width - 1), min(10**width - 1, 2**63 - 1)):
        assert written("integer", value) == b"%d" % value
        assert written("integer", -value) == b"-%d" % value
        line = lines([b"x"], value, b"")
        assert b"".join(line) == b'{"seq":%dx\n' % value


def test_a_time_before_1970_stands_as_1970() -> None:
    assert written("timestamp", -1) == b'"1970-01-01T00:00:00.000000Z"'


@given(st.text(max_size=30), st.integers(-1, 130))
def test_a_cut_splits_no_character(text: str, limit: int) -> None:
    data = text.encode("utf-8", "surrogatepass").replace(b"\xed", b"e")
    at = cut_at(data, limit)
    assert at <= max(limit, 0)
    assert at > limit - 4 or at == len(data)
    try:
        data.decode()
    except UnicodeDecodeError:
        return
    data[:at].decode()


@pytest.mark.parametrize("data", [b"\xff" * 9, b"\x80" * 9, b"ab\x80\x80\x80\x80\x80\x80"])
def test_what_is_not_utf8_is_cut_at_the_limit(data: bytes) -> None:
    assert cut_at(data, 5) == 5


@pytest.mark.parametrize("length", [0, 1, 2047, 2048, 2049, 4096, 300_000, 600_000])
def test_a_line_is_empty_once_it_is_done(length: int) -> None:
    line = Line()
    for byte in (b"a", b"b"):
        line.raw(byte * length)
        first = line.done()
        line.raw(b"next")
        assert first == byte * length
        assert line.done() == b"next"
        assert line.done() == b""


def test_a_line_grows() -> None:
    assert written("raw", *[b"x" * 1000] * 50) == b"x" * 50_000
    assert len(written("string", b"\x00" * 5000)) == 30_002


@pytest.mark.parametrize("join", [lines, join_lines], ids=["compiled", "plain"])
def test_lines(join: Join) -> None:
    middle = b',"worker":3,"boot_id":"a-b",'
    tails = [b'"type":"request"}', b'"type":"response","payload":"' + b"x" * 5000 + b'"}']
    assert b"".join(join([], 7, middle)) == b""
    for order in (tails, tails[::-1], tails[1:] * 3, tails[:1] * 300):
        assert b"".join(join(order, 9, middle)) == b"".join(
            b'{"seq":%d%b%b\n' % (number, middle, tail) for number, tail in enumerate(order, 9)
        )
    with pytest.raises(ValueError, match="one line"):
        join([*tails, b'"a":\n1}'], 0, middle)


def test_a_value_is_embedded_the_same_at_every_place() -> None:
    for odd in (b"\n", b"\t", b"\x7f", "\u0085".encode(), "\u2028".encode(), "é".encode(), b'"'):
        for place in range(40):
            value = b"a" * place + odd + b"b" * (20 - place % 20)
            line = Line()
            line.json(value)
            kept = odd if odd in ("é".encode(), b'"') else b""
            if odd not in (b"\n", b"\t") and not kept:
                kept = b"\\u%04x" % ord(odd.decode())
            assert line.done() == value.replace(odd, kept)
