"""Digests and index entries, against the plain twin and known vectors."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iatp._fast import record, trail
from tests.adapters.recording import tail
from tests.twins import trail as twin

KEY = bytes(range(16))
MIDDLE = b',"worker":0,"boot_id":"1a2b3c4d-0123456789ab",'

# RFC 3720, B.4, and the usual check value.
VECTORS = [
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
    (b"123456789", 0xE3069283),
    (b"", 0),
]


@pytest.mark.parametrize(("data", "crc"), VECTORS)
def test_crc_of_the_rfc(data: bytes, crc: int) -> None:
    assert trail.crc32c(data) == trail.crc32c(data, plain=True) == twin.crc32c(data) == crc


@pytest.mark.parametrize("length", [*range(380, 390), 767, 768, 769, 775, 1152, 5000])
def test_crc_of_what_is_summed_side_by_side(length: int) -> None:
    data = random.Random(length).randbytes(length)
    assert trail.crc32c(data) == trail.crc32c(data, plain=True) == twin.crc32c(data)


@given(st.binary(max_size=300), st.integers(0, 20))
def test_crc_is_the_twins(data: bytes, skip: int) -> None:
    data = data[skip:]
    assert trail.crc32c(data) == trail.crc32c(data, plain=True) == twin.crc32c(data)


# The reference code's vectors_sip64: the key 00 to 0f, of no, one, two … bytes 00, 01, 02 ….
SIP = {0: 0x726FDB47DD0E0E31, 1: 0x74F839C593DC67FD, 8: 0x93F5F5799A932462, 15: 0xA129CA6149BE45E5}


@pytest.mark.parametrize("length", SIP)
def test_the_twins_siphash_is_the_references(length: int) -> None:
    assert twin.siphash64(KEY, bytes(range(length))) == SIP[length]


def lines(ids: list[str], fill: int = 0) -> list[bytes]:
    return record.lines([tail(each, n, fill=fill) for n, each in enumerate(ids)], 0, MIDDLE)


names = st.text("abcXYZ019._-", min_size=1, max_size=128)


@given(st.lists(names, max_size=12), st.integers(0, 3000), st.data())
def test_entries_are_the_twins_however_the_pieces_are_cut(
    ids: list[str], fill: int, data: st.DataObject
) -> None:
    pieces = lines(ids, fill)
    text = b"".join(pieces)
    offset, seq = data.draw(st.integers(0, 2**40)), data.draw(st.integers(0, 2**32 - 20))
    expected = twin.entries(text, KEY, offset, seq)
    assert trail.entries(list(pieces), KEY, offset, seq) == expected
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    bounds = list(zip([0, *cuts], [*cuts, len(text)], strict=True))
    assert trail.entries([text[a:b] for a, b in bounds], KEY, offset, seq) == expected
    assert trail.entries([memoryview(bytearray(text))], KEY, offset, seq) == expected


@pytest.mark.parametrize("text", [b"x", b'{"a":1}\n{'])
def test_a_line_without_end_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="no end"):
        trail.entries([text], KEY, 0, 0)


@pytest.mark.parametrize("key", [b"", b"x" * 15, b"x" * 17])
def test_a_key_of_another_length_is_refused(key: bytes) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        trail.entries([], key, 0, 0)
    with pytest.raises(ValueError, match="16 bytes"):
        trail.header(key)


@given(
    st.lists(
        st.tuples(st.lists(names, max_size=3), st.sampled_from([0, 0, 300, 2100]), st.booleans()),
        max_size=5,
    )
)
def test_a_growing_trail_is_what_stands_in_the_whole_text(
    turns: list[tuple[list[str], int, bool]],
) -> None:
    made = trail.Trail(hashlib.sha256(b"before"), KEY)
    text, taken = b"", b""
    for ids, fill, takes in turns:
        tails = [tail(each, n, fill=fill) for n, each in enumerate(ids)]
        pieces = record.lines(tails, made.records, MIDDLE)
        made.add(list(pieces))
        text += b"".join(pieces)
        if takes:
            taken += made.take()
    check_trail(made, taken + made.take(), text, twin.entries(text, KEY, 0, 0))
    assert made.take() == b""


def check_trail(made: trail.Trail, taken: bytes, text: bytes, entries: bytes) -> None:
    assert (made.size, made.records) == (len(text), text.count(b"\n"))
    assert made.digest() == hashlib.sha256(b"before" + text).hexdigest()
    assert taken == entries
    sums = b"".join(entries[at + 20 : at + 24] for at in range(0, len(entries), 24))
    # Again, since a seal that could not be written is written later.
    assert [made.checks() for _ in range(2)] == [hashlib.sha256(sums).hexdigest()] * 2


def test_a_trail_of_more_records_than_it_keeps_room_for() -> None:
    made = trail.Trail(hashlib.sha256(b"before"), KEY)
    text, taken = b"", b""
    for turn, count in enumerate([1023, 1, 1, 2048, 20_000, 5]):
        tails = [b'"type":"x","trace_id":"%d-%d"}' % (turn, n) for n in range(count)]
        pieces = record.lines(tails, made.records, MIDDLE)
        made.add(list(pieces))
        text += b"".join(pieces)
        taken += made.take()
    check_trail(made, taken, text, trail.entries([text], KEY, 0, 0))


def test_a_trail_refuses_what_is_no_whole_line() -> None:
    made = trail.Trail(hashlib.sha256(), KEY)
    with pytest.raises(ValueError, match="no end"):
        made.add([WHOLE, b"x"])
    with pytest.raises(TypeError):
        made.add([memoryview(WHOLE)])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="16 bytes"):
        trail.Trail(hashlib.sha256(), b"short")


WHOLE = b"".join(lines(["wanted"]))


@pytest.mark.parametrize("end", [*range(WHOLE.index(b'wanted"') + 7), len(WHOLE)])
def test_a_line_that_is_cut_has_the_hash_of_nothing(end: int) -> None:
    line = WHOLE[:end].rstrip(b"\n") + b"\n"
    hashed, _, _, crc = twin.ENTRY.unpack(trail.entries([line], KEY, 0, 0))
    assert hashed == twin.siphash64(KEY, b"wanted" if end == len(WHOLE) else b"")
    assert crc == twin.crc32c(line)


@pytest.mark.parametrize("line", [b"\n", b"\0" * 5000 + b"\n", b'{"trace_id":"wanted"}\n', b'"\n'])
def test_other_lines_have_the_hash_of_nothing(line: bytes) -> None:
    made = trail.entries([line], KEY, 0, 0)
    assert twin.ENTRY.unpack(made) == (twin.siphash64(KEY, b""), 0, 0, twin.crc32c(line))


def index_of(ids: list[str]) -> bytes:
    return trail.header(KEY) + trail.entries(list(lines(ids)), KEY, 0, 0)


def test_checks_are_in_order_of_seq() -> None:
    rows = [(9, 0, 2, 111), (1, 5, 0, 222), (5, 6, 1, 333)]
    made = b"".join(twin.ENTRY.pack(*row) for row in rows)
    expected = b"".join(crc.to_bytes(4, "little") for crc in (222, 333, 111))
    assert trail.checks(made) == expected
    for wrong in (made[:48], made[48:], made + made[:24], made[:24] * 3):
        with pytest.raises(ValueError, match="do not number"):
            trail.checks(wrong)
    with pytest.raises(ValueError, match="cut"):
        trail.checks(made[:-1])
    assert trail.checks(b"") == b""
    index = index_of(["a", "b"])
    assert trail.checks_sha256(index) == hashlib.sha256(trail.checks(index[64:])).hexdigest()


NO_INDEX = [b"", trail.header(KEY)[:63], bytes(64), trail.header(KEY)[:8] + b"\2" + bytes(55)]


@pytest.mark.parametrize("index", NO_INDEX)
def test_what_is_no_index(index: bytes) -> None:
    for call in (trail.sort, trail.checks_sha256):
        with pytest.raises(ValueError, match="no index"):
            call(index)
