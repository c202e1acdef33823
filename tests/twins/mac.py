"""The payload MAC, plain: NH over blocks of 1024 bytes, then keyed BLAKE2b."""

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


def mac(key: bytes, payload: bytes) -> str:
    pad = b"".join(
        hashlib.blake2b(b"%d" % part, key=key, person=b"iatp-mac-pad").digest()
        for part in range(17)
    )
    short = len(payload).to_bytes(8, "little") + b"".join(
        value.to_bytes(8, "little") for value in sums(payload, words(pad[:1040]))
    )
    return hashlib.blake2b(short, key=key, digest_size=16, person=b"iatp-mac-1").hexdigest()
