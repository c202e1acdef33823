"""Reading the flight record from disk, while others write, rotate and prune it.

Blocks of whole lines are read and searched for the bytes of the trace ID; a hit counts only
if the record's own top-level `trace_id` says so, so an ID inside a payload is never found.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import re
from collections.abc import Iterator

import msgspec

from iatp.adapters.log_folder import Segment, list_segments
from iatp.adapters.segments import LogKeys, SegmentText, open_segment
from iatp.values.records import envelope

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000

_PAGE_BYTES = 8 << 20
"""A page ends early rather than be larger than this; it holds at least one record."""
_MAX_FILES = 64
_BEHIND = 1 << 62
"""As a length: sorts behind the record that stands at the same offset."""
_TRACE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class TracePage(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the records of one trace, in order."""

    logs: list[msgspec.Raw]
    next: str | None = None
    """Pass as `after` to get the page behind this one; None where there is no more."""


class _Place(msgspec.Struct, frozen=True, order=True, gc=False):
    """Where a record stands: first in time, then on disk. The order of fields is the order."""

    clock_rank: int
    mono_ns: int
    stem: str
    offset: int
    length: int


class _Cursor(msgspec.Struct, frozen=True, array_like=True):
    """The last record of a page. Names its clock, since ranks shift as segments are pruned."""

    clock: str
    clock_created: str
    mono_ns: int
    stem: str
    offset: int


_cursors = msgspec.json.Decoder(_Cursor)


def read_trace(
    folder: str | os.PathLike[str],
    trace_id: str,
    keys: LogKeys | None = None,
    *,
    limit: int = DEFAULT_LIMIT,
    after: str | None = None,
) -> TracePage:
    """Return the records of a trace in the order in which things happened.

    Order is by run of the monotonic clock, then `mono_ns`, so it holds over workers, restarts
    and jumps of the wall clock. Cost: one pass over all segments; run it in a thread.

    Raises:
        ValueError: `limit` is not 1 to 1000, or `after` is not from an earlier page.
        SegmentError: a segment is encrypted and its key is missing, or it was changed.
        OSError: the folder can't be read.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise ValueError(f"limit must be between 1 and {MAX_LIMIT}")
    cursor = _decode_cursor(after) if after else None
    if not _TRACE_ID.fullmatch(trace_id):
        return TracePage(logs=[])
    segments = list_segments(folder)
    clocks = _clocks(segments)
    start = _start(cursor, clocks) if cursor else None
    needle = b'"trace_id":"%b"' % trace_id.encode("ascii")
    places: list[_Place] = []
    for segment in segments:
        rank = clocks[segment.clock][0]
        for offset, line in _lines_with(folder, segment, keys, needle):
            found = envelope(line)
            if found is None or found.trace_id != trace_id:
                continue
            place = _Place(rank, found.mono_ns, segment.stem, offset, len(line))
            if start is not None and place <= start:
                continue
            places.append(place)
            if len(places) > 4 * limit:
                places.sort()
                # One more than a page tells that there is another.
                del places[limit + 1 :]
    places.sort()
    by_stem = {segment.stem: segment for segment in segments}
    return _page(folder, trace_id, by_stem, clocks, places, keys=keys, limit=limit)


def _lines_with(
    folder: str | os.PathLike[str], segment: Segment, keys: LogKeys | None, needle: bytes
) -> Iterator[tuple[int, bytes]]:
    """Yield offset and text of each line that holds the needle."""
    text = open_segment(folder, segment, keys)
    if text is None:
        return
    with text:
        for base, block in text.blocks():
            at = block.find(needle)
            while at >= 0:
                start = block.rfind(b"\n", 0, at) + 1
                stop = block.index(b"\n", at)
                yield base + start, block[start:stop]
                at = block.find(needle, stop)


def _clocks(segments: list[Segment]) -> dict[str, tuple[int, str]]:
    """Return for each clock its rank by age and when its oldest segment was created."""
    created: dict[str, str] = {}
    for segment in segments:
        created.setdefault(segment.clock, segment.created)
    ranked = sorted(created.items(), key=lambda item: (item[1], item[0]))
    return {clock: (rank, since) for rank, (clock, since) in enumerate(ranked)}


def _start(cursor: _Cursor, clocks: dict[str, tuple[int, str]]) -> _Place:
    known = clocks.get(cursor.clock)
    if known is not None:
        return _Place(known[0], cursor.mono_ns, cursor.stem, cursor.offset, _BEHIND)
    # All of its clock was pruned meanwhile: go on with the clocks behind it.
    before = sum(
        (since, clock) < (cursor.clock_created, cursor.clock)
        for clock, (_, since) in clocks.items()
    )
    return _Place(before, 0, "", 0, 0)


def _page(
    folder: str | os.PathLike[str],
    trace_id: str,
    segments: dict[str, Segment],
    clocks: dict[str, tuple[int, str]],
    places: list[_Place],
    *,
    keys: LogKeys | None,
    limit: int,
) -> TracePage:
    logs: list[msgspec.Raw] = []
    size = taken = 0
    files: dict[str, SegmentText | None] = {}
    with contextlib.ExitStack() as stack:
        for place in places[:limit]:
            if size >= _PAGE_BYTES:
                break
            taken += 1
            if place.stem not in files:
                if len(files) >= _MAX_FILES:
                    stack.close()
                    files.clear()
                file = open_segment(folder, segments[place.stem], keys)
                files[place.stem] = stack.enter_context(file) if file is not None else None
            file = files[place.stem]
            line = file.read(place.offset, place.length) if file is not None else b""
            found = envelope(line)
            # Else its segment was pruned, or cut by its writer, since it was found.
            if found is not None and found.trace_id == trace_id and _is_json(line):
                logs.append(msgspec.Raw(line))
                size += len(line)
    if taken == len(places):
        return TracePage(logs=logs)
    last = places[taken - 1]
    clock = segments[last.stem].clock
    cursor = _Cursor(clock, clocks[clock][1], last.mono_ns, last.stem, last.offset)
    return TracePage(logs=logs, next=_encode_cursor(cursor))


def _is_json(line: bytes) -> bool:
    """Whether all of a record can be read: one that is damaged would spoil its page."""
    try:
        msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def _encode_cursor(cursor: _Cursor) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).rstrip(b"=").decode("ascii")


def _decode_cursor(text: str) -> _Cursor:
    try:
        data = base64.b64decode(
            text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True
        )
        return _cursors.decode(data)
    except (UnicodeEncodeError, binascii.Error, msgspec.DecodeError):
        raise ValueError("after must be the next of an earlier page") from None
