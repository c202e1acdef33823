"""Deletes old segments of the log, and says so in the log before (docs/log-format.md, Retention).

Whole closed segments go, with their seal, index and what was set aside. In each worker slot the
oldest goes first, so that what stays is one chain, whose beginning the `retention` record names.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import time
from typing import Final as Constant

import msgspec

from iatp.adapters.log_folder import LogFolder, Segment
from iatp.adapters.seals import INDEX_SUFFIX, SEAL_SUFFIX, TORN_SUFFIX, read_seal
from iatp.values.records import DeletedSegment, OldestSegment

BESIDE: Constant = (SEAL_SUFFIX, INDEX_SUFFIX, TORN_SUFFIX)
"""What goes with a segment."""
_AT_ONCE: Constant = 256
"""So many are deleted under one record, whose line stays short."""


class Expired(msgspec.Struct, frozen=True, kw_only=True):
    """A closed segment that is to be deleted."""

    segment: Segment
    size: int
    """Bytes on disk, with what lies beside it."""
    reason: str
    """`age` or `size`."""

    def __str__(self) -> str:
        why = "it was too old" if self.reason == "age" else "the log was too large"
        return f"Deleted segment {self.segment.name} ({self.size} bytes): {why}."


def find_expired(
    folder: LogFolder, max_bytes: int, max_age_s: float, now: float | None = None
) -> list[Expired]:
    """Return what is too old, or the oldest of what is too large; all of one reason.

    Age and order go by the last write. Open segments count for the size and never expire. `now`
    is Unix time. There may be more: call it again once these are deleted.

    Raises:
        OSError: the folder can't be read.
    """
    now = time.time() if now is None else now
    total = 0
    newest: dict[int, float] = {}
    closed: list[tuple[float, str, int, Segment]] = []
    directory = folder.open_directory()
    try:
        for segment in folder.segments():
            size, mtime = _size(segment, directory)
            total += size
            if mtime is None or not segment.closed:
                continue
            # Nothing counts as older than what its worker wrote before: a chain has no gaps.
            mtime = newest[segment.worker] = max(mtime, newest.get(segment.worker, mtime))
            closed.append((mtime, segment.stem, size, segment))
    finally:
        os.close(directory)
    expired: list[Expired] = []
    for mtime, _, size, segment in sorted(closed, key=lambda each: each[:2]):
        too_old = mtime < now - max_age_s
        if not too_old and (total <= max_bytes or (expired and expired[0].reason == "age")):
            break
        if len(expired) == _AT_ONCE:
            break
        reason = "age" if too_old else "size"
        expired.append(Expired(segment=segment, size=size, reason=reason))
        total -= size
    return expired


def retention_tail(folder: LogFolder, expired: list[Expired], *, agent_id: str) -> bytes:
    """Return the tail of the record that stands in the log before these are deleted.

    Raises:
        OSError: the folder can't be read.
    """
    gone = {each.segment.stem for each in expired}
    segments = []
    for stem in sorted(gone):
        seal = read_seal(folder.path, stem)
        final = seal.final if seal is not None else None
        segments.append(
            DeletedSegment(
                segment=stem,
                records=final.records if final is not None else None,
                bytes=final.bytes if final is not None else None,
                sha256=final.sha256 if final is not None else None,
            )
        )
    oldest: dict[int, OldestSegment] = {}
    for segment in folder.segments():
        if segment.stem in gone or segment.worker in oldest:
            continue
        seal = read_seal(folder.path, segment.stem)
        header = seal.header if seal is not None else None
        oldest[segment.worker] = OldestSegment(
            worker=segment.worker,
            segment=segment.stem,
            previous=header.previous.sha256 if header is not None else None,
        )
    now = datetime.datetime.now(datetime.UTC)
    request_id = os.urandom(16).hex()
    record = {
        "type": "retention",
        "trace_id": request_id,
        "request_id": request_id,
        "timestamp": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "agent_id": agent_id,
        "mono_ns": time.monotonic_ns(),
        "reason": expired[0].reason,
        "segments": segments,
        "chains": [oldest[worker] for worker in sorted(oldest)],
    }
    # The standard encoder escapes all that is not printable ASCII, line separators included.
    return json.dumps(msgspec.to_builtins(record), separators=(",", ":")).encode("ascii")[1:]


def delete(folder: LogFolder, expired: list[Expired]) -> None:
    """Delete segments and what lies beside them; the record of it is on disk.

    Raises:
        OSError: one can't be deleted; what stands before it in the list is gone.
    """
    directory = folder.open_directory()
    try:
        folder.keep_lock()
        for each in expired:
            # The records last: where this is cut short, the next look finds the segment again.
            names = [each.segment.stem + suffix for suffix in BESIDE]
            names += [form.name for form in each.segment.forms()]
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=directory)
    finally:
        os.close(directory)


def _size(segment: Segment, directory: int) -> tuple[int, float | None]:
    """Return how many bytes a segment takes with what lies beside it, and its last write."""
    size, mtime = 0, None
    for name in (segment.name, *(segment.stem + suffix for suffix in BESIDE)):
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            size += found.st_size
            if name == segment.name:
                mtime = found.st_mtime
    return size, mtime
