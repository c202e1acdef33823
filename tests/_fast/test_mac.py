from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iatp._fast.mac import Mac, siphash
from tests.twins import mac as twin
from tests.twins.mac import mac

KEY = bytes(range(32))


# With vector instructions, where this machine has them, and without.
FORMS = pytest.mark.parametrize("plain", [False, True], ids=["wide", "plain"])


@FORMS
@pytest.mark.parametrize("whole", [0, 1024, 2048])
def test_like_the_twin_at_every_length_of_the_last_block(whole: int, plain: bool) -> None:
    made = Mac(KEY, plain=plain)
    payload = random.Random(whole).randbytes(whole + 1024)
    for length in range(whole, whole + 1024, 1 if whole == 0 else 7):
        assert made.of(payload[:length]) == mac(KEY, payload[:length])


@FORMS
@pytest.mark.parametrize("length", [102_400, 102_403])
@pytest.mark.parametrize("filler", [None, 0x00, 0xFF])
def test_like_the_twin_where_it_is_long(length: int, filler: int | None, plain: bool) -> None:
    payload = random.Random(1).randbytes(length) if filler is None else bytes([filler]) * length
    assert Mac(KEY, plain=plain).of(payload) == mac(KEY, payload)


@FORMS
@given(payload=st.binary(max_size=3000), key=st.binary(min_size=16, max_size=64))
def test_like_the_twin_on_any(payload: bytes, key: bytes, plain: bool) -> None:
    assert Mac(key, plain=plain).of(payload) == mac(key, payload)


@pytest.mark.parametrize(
    ("length", "hashed"),
    [
        # From the vectors of the reference code: key and data are 00 01 02 and so on.
        (0, "a3817f04ba25a8e66df67214c7550293"),
        (1, "da87c1d86b99af44347659119b22fc45"),
    ],
)
def test_siphash_of_its_authors(length: int, hashed: str) -> None:
    assert siphash(KEY[:16], bytes(range(length))).hex() == hashed
    assert twin.siphash(KEY[:16], bytes(range(length))).hex() == hashed


@given(key=st.binary(min_size=16, max_size=16), data=st.binary(max_size=600))
def test_siphash_like_the_twin(key: bytes, data: bytes) -> None:
    assert siphash(key, data) == twin.siphash(key, data)


def test_a_siphash_key_of_another_length() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        siphash(b"k" * 15, b"")


def test_every_bit_and_the_length_count() -> None:
    made = Mac(KEY)
    payload = random.Random(1).randbytes(1100)
    found = {made.of(payload), made.of(payload + b"\0"), made.of(payload[:-1])}
    for bit in range(0, 8 * len(payload), 7):
        changed = bytearray(payload)
        changed[bit // 8] ^= 1 << bit % 8
        found.add(made.of(bytes(changed)))
    assert len(found) == 3 + len(range(0, 8 * len(payload), 7))
    assert Mac(b"k" * 32).of(payload) not in found
    # Blocks that change places, and zeros that the padding would add anyway.
    one, two = payload[:1024], payload[:1024][::-1]
    assert made.of(one + two) != made.of(two + one)
    assert len({made.of(bytes(length)) for length in range(40)}) == 40


@pytest.mark.parametrize("key", [b"", b"k" * 15, b"k" * 65])
def test_a_key_of_another_length(key: bytes) -> None:
    with pytest.raises(ValueError, match="16 to 64"):
        Mac(key)
