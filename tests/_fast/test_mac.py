from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iatp._fast.mac import Mac
from tests.twins.mac import mac

KEY = bytes(range(32))


@pytest.mark.parametrize(
    "length", [0, 1, 7, 8, 9, 1015, 1016, 1017, 1023, 1024, 1025, 2047, 2048, 2049, 102_400]
)
def test_like_the_twin(length: int) -> None:
    payload = random.Random(length).randbytes(length)
    assert Mac(KEY).of(payload) == mac(KEY, payload)


@given(st.binary(max_size=3000), st.binary(min_size=16, max_size=64))
def test_like_the_twin_on_any(payload: bytes, key: bytes) -> None:
    assert Mac(key).of(payload) == mac(key, payload)


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
