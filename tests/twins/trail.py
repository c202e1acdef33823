"""The index beside a segment, plain."""

from __future__ import annotations

import json
import re
import struct

from tests.twins.mac import sip_rounds, sip_turns

_SEGMENT = re.compile(r".{15}\..{7}[^.]*(?:\.open)?\.jsonl.*", re.DOTALL)

ENTRY = struct.Struct("<QQII")


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def entries(text: bytes, key: bytes, offset: int, seq: int) -> bytes:
    made = b""
    for line in text.splitlines(keepends=True):
        trace_id = json.loads(line)["trace_id"].encode()
        made += ENTRY.pack(siphash64(key, trace_id), offset, seq, crc32c(line))
        offset += len(line)
        seq += 1
    return made


def lookup(index: bytes, trace_id: str) -> list[int]:
    wanted = siphash64(index[16:32], trace_id.encode())
    whole = index[64 : len(index) - (len(index) - 64) % 24]
    found = [
        (seq, offset) for hashed, offset, seq, _ in ENTRY.iter_unpack(whole) if hashed == wanted
    ]
    return [offset for _, offset in sorted(found)]


def segment_names(names: list[str]) -> list[str]:
    return sorted(name for name in names if _SEGMENT.fullmatch(name) and name.isascii())


def sort(index: bytes) -> bytes:
    whole = index[64 : len(index) - (len(index) - 64) % 24]
    rows = sorted(ENTRY.iter_unpack(whole), key=lambda row: (row[0], row[2]))
    head = index[:8] + struct.pack("<I", 1) + index[12:32] + struct.pack("<Q", len(rows))
    return head + index[40:64] + b"".join(ENTRY.pack(*row) for row in rows)


def siphash64(key: bytes, data: bytes) -> int:
    v = sip_turns(key, data, change=0)
    v[2] ^= 0xFF
    sip_rounds(v, 4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


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
