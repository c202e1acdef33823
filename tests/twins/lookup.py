"""What is looked at in a log folder, plain."""

from __future__ import annotations

import re
import struct

from tests.twins.trail import ENTRY, siphash64

_SEGMENT = re.compile(r".{15}\..{7}[^.]*(?:\.open)?\.jsonl.*", re.DOTALL)


def lookup(index: bytes, trace_id: str) -> list[int]:
    wanted = siphash64(index[16:32], trace_id.encode())
    whole = index[64 : len(index) - (len(index) - 64) % 24]
    found = [
        (seq, offset) for hashed, offset, seq, _ in ENTRY.iter_unpack(whole) if hashed == wanted
    ]
    return [offset for _, offset in sorted(found)]


def segment_names(names: list[str]) -> list[str]:
    return sorted(name for name in names if _SEGMENT.fullmatch(name) and name.isascii())


def block_lengths(data: bytes, at: int) -> bytes:
    found = b""
    while at + 20 <= len(data):
        (stored,) = struct.unpack_from("<I", data, at)
        last, length = stored >> 31, stored & 0x7FFFFFFF
        if length > 1 << 30 or (not length and not last) or at + length + 20 > len(data):
            break
        found += data[at : at + 4]
        at += length + 20
        if last:
            break
    return found
