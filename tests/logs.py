"""Makes logs as docs/log-format.md says, from that page alone and without the sidecar's code.

So it is the oracle of what reads and checks logs: what is made here must verify, and what is
edited here must be found. Slow, and meant to be read beside the page.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

NO_DIGEST = "0" * 64
_MASK = (1 << 64) - 1


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


_CRC = _crc_table()


def crc32c(data: bytes) -> int:
    """The Castagnoli polynomial, reflected (RFC 3720, appendix B.4)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def siphash24(key: bytes, data: bytes) -> int:
    """SipHash-2-4 with 64 bits, as its authors' reference code."""
    k0, k1 = struct.unpack("<QQ", key)
    v0, v1 = k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D
    v2, v3 = k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573

    def rounds(count: int) -> None:
        nonlocal v0, v1, v2, v3
        for _ in range(count):
            v0 = (v0 + v1) & _MASK
            v1 = (v1 << 13 | v1 >> 51) & _MASK ^ v0
            v0 = (v0 << 32 | v0 >> 32) & _MASK
            v2 = (v2 + v3) & _MASK
            v3 = (v3 << 16 | v3 >> 48) & _MASK ^ v2
            v0 = (v0 + v3) & _MASK
            v3 = (v3 << 21 | v3 >> 43) & _MASK ^ v0
            v2 = (v2 + v1) & _MASK
            v1 = (v1 << 17 | v1 >> 47) & _MASK ^ v2
            v2 = (v2 << 32 | v2 >> 32) & _MASK

    whole = len(data) // 8 * 8
    for (word,) in struct.iter_unpack("<Q", data[:whole]):
        v3 ^= word
        rounds(2)
        v0 ^= word
    last = int.from_bytes(data[whole:], "little") | (len(data) & 0xFF) << 56
    v3 ^= last
    rounds(2)
    v0 ^= last
    v2 ^= 0xFF
    rounds(4)
    return v0 ^ v1 ^ v2 ^ v3


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass
class Made:
    """One segment, as it stands on disk."""

    worker: int
    stem: str
    previous: dict[str, Any]
    lines: list[bytes] = field(default_factory=list)
    marks: list[dict[str, Any]] = field(default_factory=list)
    closed: bool = False
    index_key: bytes = b""

    @property
    def text(self) -> bytes:
        return b"".join(self.lines)

    def digest(self, records: int | None = None) -> str:
        taken = self.lines[:records]
        return hashlib.sha256(
            b"iatp-log-1\n"
            + self.previous["sha256"].encode()
            + b"\n"
            + self.stem.encode()
            + b"\n"
            + b"".join(taken)
        ).hexdigest()


class Log:
    """A log folder, and a wall clock that its maker moves."""

    def __init__(self, folder: Path, *, key: Ed25519PrivateKey, seed: int = 0) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self.folder = folder
        self.key = key
        self.public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.key_id = hashlib.sha256(self.public).hexdigest()[:16]
        self.now = datetime(2025, 11, 24, 16, 0, 0, tzinfo=UTC)
        self.boot_id = f"1a2b3c4d-{seed:012x}"
        self.made: list[Made] = []
        self.open: dict[int, Made] = {}
        self.count = 0
        self._records = 0
        self._ends: dict[int, Made] = {}
        self.announced: set[str] = set()
        """Segments that a retention record says are removed, whether or not they were."""

    def of(self, worker: int) -> list[Made]:
        return [made for made in self.made if made.worker == worker]

    def path(self, made: Made, suffix: str | None = None) -> Path:
        if suffix is None:
            suffix = ".jsonl" if made.closed else ".open.jsonl"
        return self.folder / (made.stem + suffix)

    def tick(self, seconds: float = 0.1) -> None:
        self.now += timedelta(seconds=seconds)

    def restart(self) -> None:
        """What follows is of another process."""
        self.boot_id = f"{self.boot_id[:8]}-{int(self.boot_id[9:], 16) + 1:012x}"
        self.count = 0

    def begin(self, worker: int) -> Made:
        self.tick(0.000001)
        created = self.now.strftime("%Y%m%dT%H%M%S.%fZ")
        stem = f"{created}-w{worker}-{self.boot_id}-{self.count:06d}"
        self.count += 1
        before = self._ends.get(worker)
        previous = (
            {"segment": before.stem, "sha256": before.digest()}
            if before
            else {"segment": None, "sha256": NO_DIGEST}
        )
        made = Made(worker=worker, stem=stem, previous=previous)
        made.index_key = hashlib.sha256(stem.encode()).digest()[:16]
        self.made.append(made)
        self.open[worker] = self._ends[worker] = made
        self.path(made).touch(mode=0o600)
        self.path(made, ".seal").write_bytes(
            compact({"format": "iatp-seal-1", "segment": stem, "previous": previous}) + b"\n"
        )
        self.path(made, ".index").write_bytes(
            b"IATPIDX1" + struct.pack("<II", 0, 0) + made.index_key + bytes(32)
        )
        return made

    def append(self, worker: int, **fields: Any) -> bytes:
        """Write one record; it is not sealed before `mark`."""
        made = self.open.get(worker) or self.begin(worker)
        self._records += 1
        record = {
            "seq": len(made.lines),
            "worker": worker,
            "boot_id": self.boot_id,
            "type": "access",
            "trace_id": f"t-{self._records % 7}",
            "request_id": f"r-{self._records}",
            "timestamp": stamp(self.now),
            "agent_id": "bank",
            "mono_ns": self._records,
            **fields,
        }
        line = compact(record) + b"\n"
        made.lines.append(line)
        with self.path(made).open("ab") as file:
            file.write(line)
        return line

    def mark(self, worker: int) -> None:
        made = self.open[worker]
        done = made.marks[-1]["records"] if made.marks else 0
        if len(made.lines) == done:
            return
        made.marks.append(
            {
                "records": len(made.lines),
                "bytes": len(made.text),
                "sha256": made.digest(),
                "timestamp": stamp(self.now),
            }
        )
        with self.path(made, ".seal").open("ab") as file:
            file.write(compact(made.marks[-1]) + b"\n")
        self._index(made, done)

    def _index(self, made: Made, done: int) -> None:
        with self.path(made, ".index").open("ab") as file:
            file.write(b"".join(self.entries(made)[done:]))

    def entries(self, made: Made) -> list[bytes]:
        offset, found = 0, []
        for seq, line in enumerate(made.lines):
            trace_id = json.loads(line)["trace_id"].encode()
            found.append(
                struct.pack("<QQII", siphash24(made.index_key, trace_id), offset, seq, crc32c(line))
            )
            offset += len(line)
        return found

    def close(self, worker: int, *, recovered: bool = False, torn: bytes = b"") -> None:
        made = self.open.pop(worker)
        if not recovered:
            self.open[worker] = made
            self.mark(worker)
            del self.open[worker]
        else:
            self._index(made, made.marks[-1]["records"] if made.marks else 0)
        checks = b"".join(struct.pack("<I", crc32c(line)) for line in made.lines)
        final: dict[str, Any] = {
            "segment": made.stem,
            "records": len(made.lines),
            "bytes": len(made.text),
            "sha256": made.digest(),
            "checks": hashlib.sha256(checks).hexdigest(),
            "timestamp": stamp(self.now),
            "key": self.key_id,
        }
        if recovered:
            final["recovered"] = True
            if torn:
                final["torn_bytes"] = len(torn)
                self.path(made, ".torn").write_bytes(torn)
        raw = compact(final)
        signature = base64.b64encode(self.key.sign(b"iatp-seal-1\n" + raw)).decode()
        with self.path(made, ".seal").open("ab") as file:
            file.write(b'{"final":%b,"signature":"%b"}\n' % (raw, signature.encode()))
        before = self.path(made)
        made.closed = True
        before.rename(self.path(made))

    def crash(self, worker: int, torn: bytes = b"") -> None:
        """The writer dies; the next start of the slot closes what it left."""
        if worker in self.open:
            self.close(worker, recovered=True, torn=torn)
        self.restart()

    def sort_index(self, made: Made, *, of_before: bool = False) -> None:
        """As the keeper does it; `of_before`: as versions did that did not write the count."""
        entries = sorted(self.entries(made), key=lambda entry: struct.unpack("<QQI", entry[:20]))
        count = struct.pack("<Q", 0 if of_before else len(entries))
        head = b"IATPIDX1" + struct.pack("<II", 1, 0) + made.index_key + count + bytes(24)
        self.path(made, ".index").write_bytes(head + b"".join(entries))

    def head(self) -> bytes:
        chains = []
        for worker in sorted({made.worker for made in self.made}):
            last = [m for m in self.of(worker) if m.closed or m.marks]
            if not last:
                continue
            made = last[-1]
            records = len(made.lines) if made.closed else made.marks[-1]["records"]
            chains.append(
                {
                    "worker": worker,
                    "segment": made.stem,
                    "records": records,
                    "bytes": len(b"".join(made.lines[:records])),
                    "sha256": made.digest(records),
                }
            )
        raw = compact(
            {
                "format": "iatp-head-1",
                "timestamp": stamp(self.now),
                "agent_id": "bank",
                "key": self.key_id,
                "public_key": base64.b64encode(self.public).decode(),
                "chains": chains,
            }
        )
        signature = base64.b64encode(self.key.sign(b"iatp-head-1\n" + raw)).decode()
        text = b'{"head":%b,"signature":"%b"}\n' % (raw, signature.encode())
        (self.folder / "head.json").write_bytes(text)
        return text

    def retain(self, removed: list[Made], *, interrupted_after: int | None = None) -> None:
        """Write the record of it, then remove these segments, or the first so many of them."""
        if not removed:
            return
        staying: dict[int, Made] = {}
        for made in self.made:
            if made not in removed:
                staying.setdefault(made.worker, made)
        if 0 not in self.open:
            staying.setdefault(0, self.begin(0))
        self.append(
            0,
            type="retention",
            reason="age",
            segments=[
                {
                    "segment": made.stem,
                    "records": len(made.lines),
                    "bytes": len(made.text),
                    "sha256": made.digest(),
                }
                for made in removed
            ],
            chains=[
                {
                    "worker": worker,
                    "segment": made.stem,
                    "previous": made.previous["sha256"],
                }
                for worker, made in sorted(staying.items())
            ],
        )
        self.mark(0)
        self.announced |= {made.stem for made in removed}
        for made in removed[:interrupted_after]:
            for path in self.folder.glob(made.stem + ".*"):
                path.unlink()
        gone = removed[:interrupted_after]
        self.made = [made for made in self.made if made not in gone]
