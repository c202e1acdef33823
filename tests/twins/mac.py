"""The payload MAC, plain: NH over blocks of 1024 bytes, then SipHash-2-4 with 128 bits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator


def words(data: bytes) -> list[int]:
    return [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)]


def sums(payload: bytes, pad: list[int]) -> Iterator[int]:
    for start in range(0, len(payload), 1024):
        block = payload[start : start + 1024]
        block += bytes(-len(block) % 8)
        for shift in (0, 4):
            added = [
                (word + key) % 2**32 for word, key in zip(words(block), pad[shift:], strict=False)
            ]
            yield sum(a * b for a, b in zip(added[::2], added[1::2], strict=True)) % 2**64


def siphash(key: bytes, data: bytes) -> bytes:
    v = sip_turns(key, data, change=0xEE)
    out = []
    for place, change in ((2, 0xEE), (1, 0xDD)):
        v[place] ^= change
        sip_rounds(v, 4)
        out.append((v[0] ^ v[1] ^ v[2] ^ v[3]).to_bytes(8, "little"))
    return b"".join(out)


def sip_turns(key: bytes, data: bytes, *, change: int) -> list[int]:
    """The state after all of the data; `change` tells the forms of SipHash apart."""
    low, high = (int.from_bytes(half, "little") for half in (key[:8], key[8:]))
    names = [
        int.from_bytes(name, "big") for name in (b"somepseu", b"dorandom", b"lygenera", b"tedbytes")
    ]
    v = [low ^ names[0], high ^ names[1] ^ change, low ^ names[2], high ^ names[3]]
    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) % 256])
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        v[3] ^= word
        sip_rounds(v, 2)
        v[0] ^= word
    return v


def sip_rounds(v: list[int], count: int) -> None:
    mask = 2**64 - 1

    def turn(value: int, by: int) -> int:
        return (value << by | value >> (64 - by)) & mask

    for _ in range(count):
        v[0] = (v[0] + v[1]) & mask
        v[1] = turn(v[1], 13) ^ v[0]
        v[0] = turn(v[0], 32)
        v[2] = (v[2] + v[3]) & mask
        v[3] = turn(v[3], 16) ^ v[2]
        v[0] = (v[0] + v[3]) & mask
        v[3] = turn(v[3], 21) ^ v[0]
        v[2] = (v[2] + v[1]) & mask
        v[1] = turn(v[1], 17) ^ v[2]
        v[2] = turn(v[2], 32)


def mac(key: bytes, payload: bytes) -> str:
    pad = b"".join(
        hashlib.blake2b(b"%d" % part, key=key, person=b"iatp-mac-pad").digest()
        for part in range(17)
    )
    short = len(payload).to_bytes(8, "little") + b"".join(
        value.to_bytes(8, "little") for value in sums(payload, words(pad[:1040]))
    )
    last = hashlib.blake2b(key=key, digest_size=16, person=b"iatp-mac-sip").digest()
    return siphash(last, short).hex()
