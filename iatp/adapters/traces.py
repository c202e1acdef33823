"""Reading the flight record from disk, while others write, rotate and prune it.

Each segment has an index beside it (docs/log-format.md). One compiled call lists them and another
looks at all, without the interpreter's lock: a reader that asked for it again for each file would
wait behind a busy event loop hundreds of times. Of a sorted one 3 KB are read; that of an open
segment is read whole, and the records behind its last entry are searched, a thousand or so. Where
an index is lost, is not whole or leads to another record, the segment is searched. A hit counts
only if the record's own top-level `trace_id` says so, so an ID inside a payload is never found.
Nothing is kept between two calls but where the blocks of encrypted segments begin (encryption.py).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import re
from collections.abc import Iterable, Iterator

import msgspec

from iatp._fast import lookup
from iatp.adapters.log_folder import Segment, names_by_stem, newest_form, origin_of
from iatp.adapters.seals import INDEX_SUFFIX, last_point
from iatp.adapters.segments import LogKeys, SegmentText, open_segment
from iatp.values.records import envelope
from iatp.values.seals import Final

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000

_PAGE_BYTES = 8 << 20
"""A page ends early rather than be larger than this; it holds at least one record."""
_MAX_FILES = 64
_LINE_BYTES = 4096
"""Read for a record at first; most are shorter."""
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
    and jumps of the wall clock. Cost: some 5 µs for each segment; run it in a thread.

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
    names = names_by_stem(folder)
    clocks = _clocks(names)
    start = _start(cursor, clocks) if cursor else None
    kept: dict[_Place, bytes] = {}
    kept_bytes = 0
    places: list[_Place] = []
    segments: dict[str, Segment] = {}
    for segment, known in _look_up(folder, names, trace_id):
        segments[segment.stem] = segment
        rank = clocks[origin_of(segment.stem)[0]][0]
        for offset, line in _hits(folder, segment, known, trace_id, keys):
            found = envelope(line)
            if found is None or found.trace_id != trace_id:
                continue
            place = _Place(rank, found.mono_ns, segment.stem, offset, len(line))
            if start is not None and place <= start:
                continue
            places.append(place)
            if kept_bytes < _PAGE_BYTES:
                kept[place] = line
                kept_bytes += len(line)
            if len(places) > 4 * limit:
                places.sort()
                # One more than a page tells that there is another.
                del places[limit + 1 :]
    places.sort()
    reader = _Reader(folder, trace_id, segments, keys, kept)
    return _page(reader, clocks, places, limit=limit)


class _Known(msgspec.Struct, frozen=True):
    """What an index says of one trace."""

    offsets: list[int]
    rest: int | None
    """From where on records may stand that it does not have; None where it has all."""


_NOTHING = _Known([], 0)


def _look_up(
    folder: str | os.PathLike[str], names: dict[str, list[str]], trace_id: str
) -> Iterator[tuple[Segment, _Known]]:
    """Yield the segments that may have records of a trace, with what their indexes say of it."""
    stems = [*names]
    indexes = [stem + INDEX_SUFFIX for stem in stems]
    for number, state, entries, last, offsets in lookup.look(folder, indexes, trace_id):
        segment = newest_form(names[stems[number]])
        if segment is None:
            continue
        if state == lookup.IS_LOST:
            yield segment, _NOTHING
        elif state == lookup.IS_WHOLE or _is_whole(folder, segment, entries):
            if offsets:
                yield segment, _Known(offsets, None)
        else:
            # In the order of writing: what is behind its last entry is searched.
            is_written = state == lookup.IS_WRITTEN
            yield segment, _Known(offsets, last) if is_written else _NOTHING


def _is_whole(folder: str | os.PathLike[str], segment: Segment, entries: int) -> bool:
    """Whether an index has as many entries as the seal says that there are records.

    `segment` was listed before the index was read: one that was open then is searched.
    """
    if not segment.closed:
        return False
    try:
        final = last_point(folder, segment.stem)
    except OSError:
        return False
    return isinstance(final, Final) and final.records == entries


def _hits(
    folder: str | os.PathLike[str],
    segment: Segment,
    known: _Known,
    trace_id: str,
    keys: LogKeys | None,
) -> Iterator[tuple[int, bytes]]:
    """Yield offset and text of each line of a segment that may be of this trace."""
    text = open_segment(folder, segment, keys)
    if text is None:
        return
    with text:
        rest = known.rest
        if rest is not None and rest >= text.size:
            rest = 0
        seen = set()
        for offset in known.offsets:
            line = _line_at(text, offset)
            if not _is_of(line, trace_id):
                # That is not the index of these records.
                rest = 0
                break
            seen.add(offset)
            yield offset, line
        if rest is not None:
            for hit in _lines_with(text, trace_id, rest):
                if hit[0] not in seen:
                    yield hit


def _line_at(text: SegmentText, offset: int) -> bytes:
    """Return the line that begins there, without its end; empty where none does."""
    if offset >= text.size:
        return b""
    before = min(offset, 1)
    wanted = _LINE_BYTES
    while True:
        data = text.read(offset - before, wanted)
        stop = data.find(b"\n", before)
        if stop >= 0:
            return data[before:stop] if data[:before] in (b"", b"\n") else b""
        if len(data) < wanted:
            return b""
        wanted *= 4


def _is_of(line: bytes, trace_id: str) -> bool:
    found = envelope(line)
    return found is not None and found.trace_id == trace_id


def _lines_with(text: SegmentText, trace_id: str, start: int) -> Iterator[tuple[int, bytes]]:
    """Yield offset and text of each line from there on that holds the ID."""
    needle = b'"trace_id":"%b"' % trace_id.encode("ascii")
    for base, block in text.blocks(start):
        at = block.find(needle)
        while at >= 0:
            first = block.rfind(b"\n", 0, at) + 1
            stop = block.index(b"\n", at)
            yield base + first, block[first:stop]
            at = block.find(needle, stop)


def _clocks(stems: Iterable[str]) -> dict[str, tuple[int, str]]:
    """Return for each clock its rank by age and when its oldest segment was created."""
    created: dict[str, str] = {}
    for stem in sorted(stems):
        clock, since = origin_of(stem)
        created.setdefault(clock, since)
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


class _Reader:
    """Gets the records of a page: those that were kept when they were found, or from disk."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        trace_id: str,
        segments: dict[str, Segment],
        keys: LogKeys | None,
        kept: dict[_Place, bytes],
    ) -> None:
        self._folder = folder
        self._trace_id = trace_id
        self._segments = segments
        self._keys = keys
        self._kept = kept
        self._texts: dict[str, SegmentText | None] = {}

    def line(self, place: _Place) -> bytes:
        """Return a record; empty where its segment was pruned, or cut by its writer, meanwhile."""
        line = self._kept.get(place)
        if line is None:
            text = self._text(place.stem)
            line = text.read(place.offset, place.length) if text is not None else b""
        return line if _is_of(line, self._trace_id) and _is_json(line) else b""

    def _text(self, stem: str) -> SegmentText | None:
        if stem not in self._texts:
            if len(self._texts) >= _MAX_FILES:
                self.close()
            self._texts[stem] = open_segment(self._folder, self._segments[stem], self._keys)
        return self._texts[stem]

    def close(self) -> None:
        for text in self._texts.values():
            if text is not None:
                text.close()
        self._texts.clear()


def _page(
    reader: _Reader, clocks: dict[str, tuple[int, str]], places: list[_Place], *, limit: int
) -> TracePage:
    logs: list[msgspec.Raw] = []
    size = taken = 0
    with contextlib.closing(reader):
        for place in places[:limit]:
            if size >= _PAGE_BYTES:
                break
            taken += 1
            line = reader.line(place)
            if line:
                logs.append(msgspec.Raw(line))
                size += len(line)
    if taken == len(places):
        return TracePage(logs=logs)
    last = places[taken - 1]
    clock, _ = origin_of(last.stem)
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
