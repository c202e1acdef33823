"""The index beside a segment, plain."""

from __future__ import annotations

import json
import struct

from tests.twins.mac import sip_rounds, sip_turns

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
