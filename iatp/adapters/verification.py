"""Checks a log against its seals, its indexes and its heads (docs/log-format.md).

Each segment is read once, by itself, and held against its own seal; then the segments of each
worker slot are put together by the digests that name each other, and what is missing must be
vouched for by a `retention` record or is a finding. Works beside a running sidecar: heads are
read before seals, a seal before the records that it speaks of, and what is rotated, compressed
or pruned meanwhile is looked at again.
"""

from __future__ import annotations

import base64
import bisect
import contextlib
import errno
import hashlib
import math
import os
import stat
import struct
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from iatp._fast import trail
from iatp.adapters.log_folder import Segment, list_segments, segment_of
from iatp.adapters.processes import Progress, each
from iatp.adapters.seals import (
    HEAD_NAME,
    HEAD_PREFIX,
    SEAL_PREFIX,
    Seal,
    SignedHeadText,
    index_name,
    parse_head,
    read_seal,
    seal_name,
)
from iatp.adapters.segments import LogKeys, SegmentError, SegmentText, open_segment
from iatp.adapters.signing import key_id
from iatp.adapters.signing import verify as is_signed
from iatp.values.records import DeletedSegment, OldestSegment, RetentionRecord, retentions
from iatp.values.seals import DIGEST_PREFIX, NO_DIGEST, Chain, Final, Head, Mark

_INDEX_HEADER = struct.Struct("<8sII16sQ24s")
_ENTRY_BYTES = 24
_BLOCK_BYTES = 1 << 20
PATIENCE_S = 2.0
"""A writer makes a segment and its seal, and gives it its last line and its name, in two steps."""
_HEAD_DUE_S = 150
"""A head is written every minute: a log that spans more than this has one."""
_MOST_ROUNDS = 5


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong, and where; of records from `seq` to `last_seq` one at least was changed."""

    worker: int | None
    segment: str | None
    seq: int | None
    """The first record that is wrong; None where it is not a record that is."""
    last_seq: int | None = None
    """Where the log cannot say which, the last of those that it may be."""
    why: str


class ChainReport(msgspec.Struct, frozen=True, kw_only=True):
    """One worker slot."""

    worker: int
    segments: int
    records: int
    bytes: int
    unsealed_records: int
    """Behind the last mark of an open segment: at most a second old while it is written."""
    first_bad: Problem | None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What verification says of a log."""

    sound: bool
    segments: int
    records: int
    bytes: int
    key: str | None
    """The id of the key that signed; its file or the log's own head gave it."""
    key_source: str
    chains: list[ChainReport]
    problems: list[Problem]
    notes: list[str]


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What one segment says of itself; what its neighbours say comes later."""

    segment: Segment
    has_seal: bool
    previous: str | None
    """The stem of the segment before; None where there is none, or the seal is lost."""
    previous_digest: str
    final: Final | None
    records: int
    bytes: int
    digest: str
    """Of all whole records."""
    sealed_records: int
    last_stamp: str
    """Of the newest mark."""
    points: dict[int, tuple[int, str]]
    """Of the numbers of records that were asked for: how long they are, and their digest."""
    retentions: list[RetentionRecord]
    problems: list[Problem]
    notes: list[str]


class Keys:
    """The public keys that signatures are held against."""

    def __init__(self, public_keys: Iterable[bytes]) -> None:
        self.known = {key_id(key): key for key in public_keys}

    def complaint(self, key: str, prefix: bytes, data: bytes, signature: str) -> str:
        """Return what is wrong with a signature, as a predicate, or nothing."""
        public_key = self.known.get(key)
        if public_key is None:
            return f"was signed with the key {key}, which is not known"
        # One spelling only: bits that base64 leaves unused would be a place to hide an edit.
        if not _is_plain_base64(signature) or not is_signed(public_key, prefix, data, signature):
            return "has a wrong signature"
        return ""


class Means(msgspec.Struct, frozen=True, kw_only=True):
    """What every segment is checked with."""

    folder: str
    keys: Keys
    log_keys: LogKeys | None
    patience_s: float


def check_segment(means: Means, segment: Segment, asked: frozenset[int]) -> Checked | None:
    """Read one segment and hold it against its own seal and index; None where it was pruned.

    `asked`: after which numbers of records its digest is wanted. For `patience_s` it is read
    again where its writer may be just about to close it.

    Raises:
        OSError: it can't be read.
    """
    deadline = time.monotonic() + means.patience_s
    while True:
        found = _Check(means, segment, asked)
        try:
            checked = found.run()
        except FileNotFoundError:
            return None
        if not found.is_passing or time.monotonic() >= deadline:
            return checked
        time.sleep(0.02)


class _Check:
    """One reading of one segment."""

    def __init__(self, means: Means, segment: Segment, asked: frozenset[int]) -> None:
        self.folder = Path(means.folder)
        self.segment = segment
        self.asked = asked
        self.keys = means.keys
        self.means = means
        self.is_passing = False
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.retentions: list[RetentionRecord] = []
        self.records = 0
        self.bytes = 0
        self.rest = 0
        """Bytes behind the last line end."""
        self.damage = ""
        self.entries = bytearray()
        self.points: dict[int, tuple[int, str]] = {}

    def run(self) -> Checked:
        """Read it all."""
        stem = self.segment.stem
        seal = self._seal()
        index = _read_small(self.folder / index_name(stem))
        key = index[16:32].ljust(16, b"\0") if index else bytes(16)
        header = seal.header if seal is not None else None
        previous = header.previous.sha256 if header is not None else NO_DIGEST
        self.digest = hashlib.sha256(
            DIGEST_PREFIX + previous.encode("utf-8") + b"\n" + stem.encode() + b"\n"
        )
        found = self._read(seal, key)
        digest = self.digest.hexdigest()
        if seal is not None:
            self._judge(seal, found, index)
        final = seal.final if seal is not None else None
        marks = seal.marks if seal is not None else []
        sealed = final.records if final else marks[-1].records if marks else 0
        if seal is not None and final is None and self.segment.closed:
            self._add(None, "it is closed, but its seal is not")
            self.is_passing = True
        return Checked(
            segment=self.segment,
            has_seal=seal is not None,
            previous=header.previous.segment if header is not None else None,
            previous_digest=previous,
            final=final,
            records=self.records,
            bytes=self.bytes,
            digest=digest,
            sealed_records=min(sealed, self.records),
            last_stamp=final.timestamp if final else marks[-1].timestamp if marks else "",
            points=self.points,
            retentions=self.retentions,
            problems=self.problems,
            notes=self.notes,
        )

    def _add(self, seq: int | None, why: str, last: int | None = None) -> None:
        self.problems.append(
            Problem(
                worker=self.segment.worker,
                segment=self.segment.stem,
                seq=seq,
                last_seq=None if last is None or last == seq else last,
                why=why,
            )
        )

    def _seal(self) -> Seal | None:
        stem = self.segment.stem
        seal = read_seal(self.folder, stem)
        if seal is None:
            self._add(None, "its seal is gone")
            self.is_passing = True
            return None
        why = _seal_is_wrong(seal, stem)
        if why:
            self._add(None, f"its seal {why}")
            self.is_passing = seal.header is None and not seal.damaged_lines
            return None
        final = seal.final
        if final is not None and (
            why := self.keys.complaint(final.key, SEAL_PREFIX, seal.final_raw, seal.signature)
        ):
            self._add(None, f"its seal {why}")
        return seal

    def _read(self, seal: Seal | None, key: bytes) -> dict[int, tuple[int, str]]:
        """Read all records; return their number and digest after the bytes that the seal names."""
        wanted = sorted({mark.bytes for mark in seal.marks} if seal else ())
        if seal is not None and seal.final is not None:
            wanted = sorted({*wanted, seal.final.bytes})
        asked = sorted(self.asked)
        found: dict[int, tuple[int, str]] = {0: (0, self.digest.hexdigest())}
        self.points[0] = found[0]
        for block in self._blocks():
            made = trail.entries([block], key, self.bytes, self.records)
            self.entries += made
            if self.segment.worker == 0:
                self.retentions += retentions(block)
            start = 0
            with memoryview(block) as view:
                for records, stop in self._cuts(made, len(block), wanted, asked):
                    self.digest.update(view[start:stop])
                    start = stop
                    digest = self.digest.hexdigest()
                    found[self.bytes + stop] = (records, digest)
                    self.points[records] = (self.bytes + stop, digest)
                self.digest.update(view[start:])
            self.bytes += len(block)
            self.records += len(made) // _ENTRY_BYTES
        return found

    def _cuts(
        self, made: bytes, end: int, wanted: list[int], asked: list[int]
    ) -> list[tuple[int, int]]:
        """Return where in this block the digest is wanted: behind which record, and where it ends.

        By bytes, as a mark says, or by number of records, as a head is asked for.
        """
        count = len(made) // _ENTRY_BYTES
        offsets = memoryview(made).cast("Q")[1::3]
        cuts = set()
        for at in range(bisect.bisect_right(wanted, self.bytes), len(wanted)):
            if wanted[at] > self.bytes + end:
                break
            before = bisect.bisect_left(offsets, wanted[at])
            cuts.add((self.records + before, wanted[at] - self.bytes))
        for at in range(bisect.bisect_right(asked, self.records), len(asked)):
            before = asked[at] - self.records
            if before > count:
                break
            stop = end if before == count else offsets[before] - self.bytes
            cuts.add((asked[at], stop))
        return sorted(cuts, key=lambda cut: cut[1])

    def _judge(self, seal: Seal, found: dict[int, tuple[int, str]], index: bytes | None) -> None:
        """Hold what was read against what was sealed."""
        points: list[Mark | Final] = [*seal.marks]
        if seal.final is not None:
            points.append(seal.final)
        good = 0
        for point in points:
            if found.get(point.bytes) != (point.records, point.sha256):
                self._name_first_bad(seal, good, point.records, index)
                return
            good = point.records
        if self.damage:
            # Behind all that is sealed; or in an open segment, whose last second is not.
            self._add(self.records, self.damage)
            return
        if seal.final is not None and self.records > seal.final.records:
            self._add(
                seal.final.records,
                "it stands behind the last record that was sealed",
                self.records - 1,
            )
            return
        self._judge_index(seal, index)
        if self.rest:
            self.notes.append(
                f"{self.segment.stem}: {self.rest} bytes behind its last record are no record"
            )

    def _name_first_bad(self, seal: Seal, good: int, bad: int, index: bytes | None) -> None:
        """Say which record between two numbers is the first that is not the one sealed."""
        sealed = _sealed_checks(seal, index)
        if sealed is not None:
            there = _checks(self.entries)
            for seq in range(0, len(sealed), 4):
                if there[seq : seq + 4] != sealed[seq : seq + 4]:
                    why = "it is not the record that was sealed"
                    if seq >= len(there):
                        why = self.damage or "it is gone, with all behind it"
                    self._add(seq // 4, why)
                    return
            if seal.final is None or not seal.final.recovered:
                self._add(None, "its records are those that were sealed, but its seal was changed")
                return
            # Recovery seals what it finds: what was there before only the marks know.
        if self.records <= good:
            self._add(self.records, self.damage or "it is gone, with all behind it")
            return
        last = max(good, bad - 1)
        self._add(good, "the digest of these records is not the one that was sealed", last)

    def _judge_index(self, seal: Seal, index: bytes | None) -> None:
        """Hold the index against the records, which are those that were sealed."""
        if seal.final is not None and _digest(_checks(self.entries)) != seal.final.checks:
            self._add(None, "its seal has other checks than its records")
            return
        if index is None:
            self._add(None, "its index is gone")
            return
        why = _index_is_wrong(index, bytes(self.entries), whole=self.segment.closed)
        if why:
            self._add(None, why)

    def _blocks(self) -> Iterator[bytes]:
        """Yield whole lines in large pieces, up to where the file is damaged."""
        try:
            text = open_segment(self.means.folder, self.segment, self.means.log_keys, once=True)
        except SegmentError as error:
            self.damage = error.strerror or str(error)
            return
        if text is None:
            raise FileNotFoundError
        with text:
            size = text.size
            at = 0
            try:
                for start, block in text.blocks(block_bytes=_BLOCK_BYTES):
                    yield block
                    at = start + len(block)
            except SegmentError as error:
                self.damage = error.strerror or str(error)
                # What stands before the damage is still known; so is then which record is first.
                block = _readable(text, at, _BLOCK_BYTES)
                yield block[: block.rfind(b"\n") + 1]
            else:
                self.rest = max(size - at, 0)


def _readable(text: SegmentText, start: int, length: int) -> bytes:
    """Return as much of a piece as can be read before what is damaged."""
    data = b""
    good, bad = 0, length
    while good < bad:
        middle = (good + bad + 1) // 2
        try:
            data = text.read(start, middle)
            good = middle
        except SegmentError:
            bad = middle - 1
    return data


def _seal_is_wrong(seal: Seal, stem: str) -> str:
    """Return what is wrong with the text of a seal, as a predicate, or nothing."""
    header, final = seal.header, seal.final
    if header is None:
        return "cannot be read"
    if seal.damaged_lines or (final is not None and seal.torn_bytes):
        return "holds what is no part of a seal"
    if header.segment != stem or (final is not None and final.segment != stem):
        return "is that of another segment"
    if (header.previous.segment is None) != (header.previous.sha256 == NO_DIGEST):
        return "does not say which segment came before"
    marks = [(mark.records, mark.bytes) for mark in seal.marks]
    if marks != sorted(set(marks)):
        return "has marks out of order"
    return ""


def _is_plain_base64(text: str) -> bool:
    try:
        return base64.b64encode(base64.b64decode(text, validate=True)).decode() == text
    except ValueError:
        return False


def _index_is_wrong(index: bytes, made: bytes, *, whole: bool) -> str:
    """Return what is wrong with an index, or nothing; `whole`: it must have every record."""
    if len(index) < _INDEX_HEADER.size:
        return "its index is cut" if whole else ""
    magic, is_sorted, zero, _, count, zeros = _INDEX_HEADER.unpack_from(index)
    entries = index[_INDEX_HEADER.size :]
    # Earlier versions did not write the count down.
    is_counted = not count or (is_sorted and count * _ENTRY_BYTES == len(entries))
    is_known = magic == trail.MAGIC and is_sorted in {0, 1}
    if not is_known or not is_counted or zero or zeros.strip(b"\0"):
        return "the head of its index is wrong"
    if not whole and not is_sorted:
        entries = entries[: len(entries) // _ENTRY_BYTES * _ENTRY_BYTES]
        common = min(len(entries), len(made))
        if entries[:common] != made[:common]:
            return "its index is not that of its records"
        return ""
    if is_sorted:
        made = trail.sort(index[: _INDEX_HEADER.size] + made)[_INDEX_HEADER.size :]
    if len(entries) != len(made):
        return "its index has not one entry for each record"
    return "" if entries == made else "its index is not that of its records"


def _split(entries: bytes) -> list[bytes]:
    return [entries[at : at + _ENTRY_BYTES] for at in range(0, len(entries), _ENTRY_BYTES)]


def _seq(entry: bytes) -> int:
    return int.from_bytes(entry[16:20], "little")


def _checks(entries: bytes | bytearray) -> bytes:
    """Return the CRC-32C of each record, of entries in order of seq."""
    with memoryview(entries) as view:
        return view.cast("I")[5::6].tobytes()


def _sealed_checks(seal: Seal, index: bytes | None) -> bytes | None:
    """Return the CRC-32C of each record as it was sealed, where the index still has them."""
    if seal.final is None or index is None or len(index) < _INDEX_HEADER.size:
        return None
    body = index[_INDEX_HEADER.size :]
    body = body[: len(body) // _ENTRY_BYTES * _ENTRY_BYTES]
    checks = b"".join(entry[20:] for entry in sorted(_split(body), key=_seq))
    return checks if _digest(checks) == seal.final.checks else None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read_small(path: Path) -> bytes | None:
    """Return a seal or an index, or None where it is gone or no file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ELOOP, errno.EMLINK}:
            return None
        raise
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        return file.read()


def verify(
    folder: str | os.PathLike[str],
    *,
    public_keys: Iterable[bytes] = (),
    heads: Iterable[bytes] = (),
    log_keys: LogKeys | None = None,
    excerpt: bool = False,
    processes: int = 1,
    progress: Progress | None = None,
    patience_s: float = PATIENCE_S,
) -> Verdict:
    """Check a whole log; heads are documents that were kept elsewhere.

    Without `public_keys` the key that stands in `head.json` is taken, which shows that the log
    was not damaged, and not who wrote it.

    Raises:
        OSError: the folder can't be read.
        ValueError: a head that was kept elsewhere is none.
    """
    return _Verification(
        os.fspath(folder),
        public_keys,
        heads,
        log_keys=log_keys,
        excerpt=excerpt,
        processes=processes,
        progress=progress,
        patience_s=patience_s,
    ).run()


class _Verification:
    """One check of one log."""

    def __init__(
        self,
        folder: str,
        public_keys: Iterable[bytes],
        heads: Iterable[bytes],
        *,
        log_keys: LogKeys | None,
        excerpt: bool,
        processes: int,
        progress: Progress | None,
        patience_s: float,
    ) -> None:
        self.folder = folder
        self.log_keys = log_keys
        self.excerpt = excerpt
        self.processes = processes
        self.progress = progress
        self.patience_s = patience_s
        self.public_keys = list(public_keys)
        self.kept_heads: list[SignedHeadText] = []
        for data in heads:
            head = parse_head(data)
            if head is None:
                raise ValueError("not the head of a log")
            self.kept_heads.append(head)
        self.checked: dict[str, Checked] = {}

    def run(self) -> Verdict:
        """Check until nothing that matters changes meanwhile."""
        for _ in range(_MOST_ROUNDS):
            stems = self._round()
            if not self.problems:
                break
            now = _stems(self.folder)
            if now == stems:
                break
            # What changed is looked at again; what is closed and sound stays as it is.
            self.checked = {
                stem: found
                for stem, found in self.checked.items()
                if stem in now and found.final is not None and not found.problems
            }
        return self._verdict()

    def _round(self) -> dict[str, Segment | None]:
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self._take_heads()
        stems = _stems(self.folder)
        self._check_all([found for found in stems.values() if found is not None])
        self.by_worker: dict[int, dict[str, Checked]] = {}
        for stem, found in sorted(self.checked.items()):
            self.by_worker.setdefault(found.segment.worker, {})[stem] = found
            self.problems += found.problems
            self.notes += found.notes
        self._take_retentions()
        self._miss_records([stem for stem, segment in stems.items() if segment is None])
        for worker, chain in self.by_worker.items():
            self._link(worker, chain)
        for source, head in self.heads:
            self._hold_head(source, head)
        self._miss_kept()
        return stems

    def _add(self, worker: int | None, segment: str | None, seq: int | None, why: str) -> None:
        if worker is None and segment is not None:
            named = segment_of(f"{segment}.jsonl")
            worker = named.worker if named is not None else None
        self.problems.append(Problem(worker=worker, segment=segment, seq=seq, why=why))

    def _take_heads(self) -> None:
        """Read `head.json`, and say of each head whether its signature is right."""
        heads = [("a head that was kept elsewhere", head) for head in self.kept_heads]
        data = _read_small(Path(self.folder, HEAD_NAME))
        self.has_head = data is not None
        if data is not None:
            own = parse_head(data)
            if own is None:
                self._add(None, None, None, f"{HEAD_NAME} cannot be read")
            else:
                heads.append((HEAD_NAME, own))
        public_keys = list(self.public_keys)
        self.key_source = "given"
        if not public_keys:
            self.key_source = heads[0][0] if heads else "none"
            with contextlib.suppress(ValueError):
                for _, signed in heads[:1]:
                    public_keys.append(base64.b64decode(signed.head.public_key, validate=True))
        self.keys = Keys(public_keys)
        self.heads: list[tuple[str, Head]] = []
        for source, signed in heads:
            head = signed.head
            why = self.keys.complaint(head.key, HEAD_PREFIX, signed.raw, signed.signature)
            if why:
                self._add(None, None, None, f"{source} {why}")
            else:
                self.heads.append((source, head))

    def _check_all(self, segments: list[Segment]) -> None:
        asked: dict[str, set[int]] = {}
        for _, head in self.heads:
            for chain in head.chains:
                asked.setdefault(chain.segment, set()).add(chain.records)
        waiting = [segment for segment in segments if segment.stem not in self.checked]
        sizes = {segment.stem: _size(self.folder, segment) for segment in waiting}
        total, done = sum(sizes.values()), 0
        means = Means(
            folder=self.folder,
            keys=self.keys,
            log_keys=self.log_keys,
            patience_s=self.patience_s,
        )
        tasks = [(means, segment, frozenset(asked.get(segment.stem, ()))) for segment in waiting]
        names = [segment.name for segment in waiting]
        results = each(check_segment, tasks, names=names, processes=self.processes)
        for segment, found in zip(waiting, results, strict=True):
            if found is not None:
                self.checked[segment.stem] = found
            done += sizes[segment.stem]
            if self.progress is not None:
                self.progress(done, total)

    def _take_retentions(self) -> None:
        """Collect what retention says it removed."""
        self.removed: dict[str, DeletedSegment] = {}
        self.kept: set[tuple[int, str | None]] = set()
        self.newest: RetentionRecord | None = None
        chain = self.by_worker.get(0, {})
        for stem in _in_order(chain):
            found = chain[stem]
            for retention in found.retentions:
                self.removed |= {removed.segment: removed for removed in retention.segments}
                self.kept |= {(kept.worker, kept.previous) for kept in retention.chains}
                self.newest = retention
                if found.final is None and not self._is_in_head(stem, retention.seq):
                    self.notes.append(
                        f"{stem}: the retention record {retention.seq} is not signed yet"
                    )

    def _miss_records(self, stems: list[str]) -> None:
        """What has a seal, but no records."""
        for stem in stems:
            data = _read_small(Path(self.folder, seal_name(stem)))
            # Where its process died, a segment may have got no farther, or not all of its removal.
            if stem not in self.removed and data is not None and data.count(b"\n") > 1:
                self._add(None, stem, 0, "its records are gone; its seal is there")

    def _is_in_head(self, stem: str, seq: int) -> bool:
        return any(
            chain.segment == stem and chain.records > seq
            for _, head in self.heads
            for chain in head.chains
        )

    def _link(self, worker: int, chain: dict[str, Checked]) -> None:
        """Hold each segment against the one that it names as the one before."""
        followed: set[str] = set()
        for stem, found in chain.items():
            before = found.previous
            if not found.has_seal:
                continue
            if before is None:
                # Names begin with the time of creation: nothing is older than a beginning.
                if stem != min(chain):
                    self._add(worker, stem, 0, "the slot's chain begins anew with it")
                continue
            if before in followed:
                self._add(worker, stem, 0, f"it follows {before}, as another segment does")
                continue
            followed.add(before)
            earlier = chain.get(before)
            if earlier is not None:
                self._hold_together(worker, earlier, found)
            elif (named := segment_of(f"{before}.jsonl")) is None or named.worker != worker:
                self._add(worker, stem, None, "its seal names no segment of its slot before it")
            elif not (self._is_vouched_for(found) or (self.excerpt and stem == min(chain))):
                self._add(worker, before, 0, f"it is gone, or the seal of {stem} names it wrongly")

    def _hold_together(self, worker: int, earlier: Checked, later: Checked) -> None:
        if earlier.problems or earlier.digest == later.previous_digest:
            return
        if earlier.final is None:
            self._add(
                worker,
                earlier.segment.stem,
                earlier.sealed_records,
                "behind its last mark are not the records that the next segment names",
            )
        elif earlier.final.sha256 != later.previous_digest:
            why = f"it names another digest for {earlier.segment.stem} before it"
            self._add(worker, later.segment.stem, None, why)

    def _is_vouched_for(self, found: Checked) -> bool:
        """Whether retention removed the segment before this one."""
        assert found.previous is not None  # noqa: S101 - for the type checker
        removed = self.removed.get(found.previous)
        if removed is not None:
            return removed.sha256 == found.previous_digest
        if any(each.sha256 == found.previous_digest for each in self.removed.values()):
            # It was removed under another name than the seal has for it.
            return False
        # One that stayed without records is gone by now, and the next follows the same digest.
        return (found.segment.worker, found.previous_digest) in self.kept

    def _hold_head(self, source: str, head: Head) -> None:
        """Find again what a head says of each slot."""
        for chain in head.chains:
            found = self.checked.get(chain.segment)
            if found is None:
                if not (self.excerpt or self._head_is_pruned(head, chain)):
                    why = f"it is gone; {source} names it"
                    self._add(chain.worker, chain.segment, 0, why)
                continue
            if found.problems:
                continue
            if found.records < chain.records:
                why = f"it is gone, with all behind it; {source} counts {chain.records}"
                self._add(chain.worker, chain.segment, found.records, why)
            elif found.points.get(chain.records) != (chain.bytes, chain.sha256):
                why = f"{source} has another digest for its first {chain.records} records"
                self._add(chain.worker, chain.segment, 0, why)

    def _head_is_pruned(self, head: Head, chain: Chain) -> bool:
        """Whether retention removed the segment at which a head ends a slot's chain."""
        removed = self.removed.get(chain.segment)
        if removed is not None:
            is_whole = removed.records is None or chain.records == removed.records
            return not is_whole or removed.sha256 in {None, chain.sha256}
        if self.newest is None or self.newest.timestamp < head.timestamp:
            return False
        staying = [kept for kept in self.newest.chains if kept.worker == chain.worker]
        # Names begin with the time of creation: an older one than the oldest that stays.
        return all(chain.segment < kept.segment for kept in staying)

    def _miss_kept(self) -> None:
        """What the newest retention record says stays must be there."""
        if self.newest is not None and not self.excerpt:
            for kept in self.newest.chains:
                if kept.segment not in self.checked and not self._held_nothing(kept):
                    why = "it is gone; retention had kept it"
                    self._add(kept.worker, kept.segment, 0, why)
        stamps = sorted(found.last_stamp for found in self.checked.values() if found.last_stamp)
        if not self.has_head and stamps:
            if _seconds_between(stamps[0], stamps[-1]) > _HEAD_DUE_S:
                self._add(None, None, None, f"{HEAD_NAME} is gone")
            else:
                self.notes.append(f"there is no {HEAD_NAME} yet")

    def _held_nothing(self, kept: OldestSegment) -> bool:
        """Whether a segment that retention let stay never held a record: those leave no file.

        Then another one follows the digest before it, or a later head does not name it.
        """
        assert self.newest is not None  # noqa: S101 - for the type checker
        if any(
            found.previous_digest == kept.previous
            for found in self.by_worker.get(kept.worker, {}).values()
        ):
            return True
        return any(
            head.timestamp > self.newest.timestamp
            and all(chain.segment != kept.segment for chain in head.chains)
            for _, head in self.heads
        )

    def _verdict(self) -> Verdict:
        chains = []
        for worker in sorted(
            {*self.by_worker} | {p.worker for p in self.problems if p.worker is not None}
        ):
            chain = self.by_worker.get(worker, {})
            order = {stem: at for at, stem in enumerate(_in_order(chain))}
            own = [problem for problem in self.problems if problem.worker == worker]
            own.sort(key=lambda problem: _where(problem, order))
            last = [found for found in chain.values() if found.final is None]
            chains.append(
                ChainReport(
                    worker=worker,
                    segments=len(chain),
                    records=sum(found.records for found in chain.values()),
                    bytes=sum(found.bytes for found in chain.values()),
                    unsealed_records=sum(f.records - f.sealed_records for f in last),
                    first_bad=own[0] if own else None,
                )
            )
        return Verdict(
            sound=not self.problems,
            segments=len(self.checked),
            records=sum(chain.records for chain in chains),
            bytes=sum(chain.bytes for chain in chains),
            key=next(iter(self.keys.known), None),
            key_source=self.key_source,
            chains=chains,
            problems=self.problems,
            notes=self.notes,
        )


def _stems(folder: str) -> dict[str, Segment | None]:
    """Return the segments of a folder; None where there are no records, but a seal."""
    found: dict[str, Segment | None] = {
        name.removesuffix(".seal"): None
        for name in os.listdir(folder)  # noqa: PTH208 - names are wanted
        if name.endswith(".seal") and segment_of(name.removesuffix("seal") + "jsonl") is not None
    }
    found |= {segment.stem: segment for segment in list_segments(folder)}
    return dict(sorted(found.items()))


def _size(folder: str, segment: Segment) -> int:
    with contextlib.suppress(OSError):
        return Path(folder, segment.name).lstat().st_size
    return 0


def _in_order(chain: dict[str, Checked]) -> list[str]:
    """Return a slot's segments in the order in which they follow each other."""
    after: dict[str | None, list[str]] = {}
    for stem, found in chain.items():
        before = found.previous if found.previous in chain else None
        after.setdefault(before, []).append(stem)
    order: dict[str, None] = {}
    waiting = after.get(None, [])[::-1]
    while waiting:
        stem = waiting.pop()
        if stem not in order:
            order[stem] = None
            waiting += after.get(stem, [])[::-1]
    return [*order, *(stem for stem in chain if stem not in order)]


def _where(problem: Problem, order: dict[str, int]) -> tuple[int, float]:
    """Where in its chain a problem stands; what is gone stands before all that is there."""
    place = order.get(problem.segment or "", -1)
    return place, math.inf if problem.seq is None else problem.seq


def _seconds_between(first: str, last: str) -> float:
    try:
        return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()
    except ValueError:
        return 0.0
