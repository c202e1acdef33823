"""Records of a log that fit: by time, by what stands in them; once, or as they come.

Segments whose time lies outside are not opened: the name of one says when it began, its seal when
it ended. What a filter needs of a line is first looked for as bytes, so that most lines are never
decoded.
"""

from __future__ import annotations

import contextlib
import heapq
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec

from iatp.adapters.log_folder import Segment, list_segments
from iatp.adapters.seals import read_seal
from iatp.adapters.segments import LogKeys, SegmentError, SegmentText, open_segment
from iatp.values.exchange import kind_of

_SLACK = timedelta(minutes=1)
"""A wall clock that is set back by up to this much doesn't hide a record from a search by time."""


class Row(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is filtered by; all else of a record is skipped over."""

    type: str = ""
    trace_id: str = ""
    timestamp: str = ""
    agent_id: str = ""
    caller: str = ""
    decision: str = ""
    code: str = ""
    status_code: int = 0
    findings: dict[str, int] = msgspec.field(default_factory=dict)


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """What a record must be: each field that is not empty must hold one of its values."""

    since: str = ""
    """As in `timestamp`; the first that fits."""
    until: str = ""
    """The first that doesn't fit any more; empty: no end."""
    types: frozenset[str] = frozenset()
    traces: frozenset[str] = frozenset()
    agents: frozenset[str] = frozenset()
    callers: frozenset[str] = frozenset()
    decisions: frozenset[str] = frozenset()
    codes: frozenset[str] = frozenset()
    findings: frozenset[str] = frozenset()
    """`secret.jwt`, or `secret` for all of its kind."""
    statuses: frozenset[str] = frozenset()
    """`403`, or `4xx` for all that begin with it."""

    def takes(self, row: Row) -> bool:
        """Whether a record fits."""
        return (
            (not self.since or row.timestamp >= self.since)
            and (not self.until or row.timestamp < self.until)
            and (not self.types or row.type in self.types)
            and (not self.traces or row.trace_id in self.traces)
            and (not self.agents or row.agent_id in self.agents)
            and (not self.callers or row.caller in self.callers)
            and (not self.decisions or row.decision in self.decisions)
            and (not self.codes or row.code in self.codes)
            and (not self.findings or _has_finding(self.findings, row.findings))
            and (not self.statuses or _has_status(self.statuses, row.status_code))
        )

    @property
    def needle(self) -> bytes:
        """What stands in every line that fits, where that can be said; of several the rarest."""
        for name, values in (
            ("trace_id", self.traces),
            ("caller", self.callers),
            ("code", self.codes),
            ("decision", self.decisions),
            ("type", self.types),
        ):
            if len(values) == 1:
                (value,) = values
                # Others could be spelled in several ways.
                if value.isascii() and value.isprintable() and not set(value) & set('"\\/<>&'):
                    return f'"{name}":"{value}"'.encode()
        return b""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A record that fits."""

    timestamp: str
    line: bytes


class Losses:
    """What could not be read on the way."""

    def __init__(self) -> None:
        self.lines = 0
        """Lines that are no records."""
        self.segments: list[str] = []
        """Sentences about segments that are damaged, or whose key is missing."""


_rows = msgspec.json.Decoder(Row)


def _has_finding(wanted: frozenset[str], findings: dict[str, int]) -> bool:
    return any(
        count and (name in wanted or kind_of(name) in wanted) for name, count in findings.items()
    )


def _has_status(wanted: frozenset[str], status: int) -> bool:
    text = str(status)
    return text in wanted or f"{text[:1]}xx" in wanted


def stamp(moment: datetime) -> str:
    """A moment as `timestamp` has it, so that the two can be compared as texts."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def segments_within(
    folder: str | os.PathLike[str], since: str = "", until: str = ""
) -> list[Segment]:
    """Return the segments that may hold records of that time, oldest name first.

    Raises:
        OSError: the folder can't be read.
    """
    return [
        segment
        for segment in list_segments(folder)
        if not (until and _began(segment) > _moved(until, _SLACK))
        and not (since and (ended := _ended(folder, segment)) and ended < _moved(since, -_SLACK))
    ]


def is_within(
    folder: str | os.PathLike[str], segment: Segment, since: str = "", until: str = ""
) -> bool:
    """Whether all records of a segment are of that time, so that none has to be looked at."""
    if since and _began(segment) < _moved(since, _SLACK):
        return False
    ended = _ended(folder, segment)
    return not until or bool(ended and ended < _moved(until, -_SLACK))


def _began(segment: Segment) -> str:
    made = datetime.strptime(segment.created, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
    return stamp(made)


def _ended(folder: str | os.PathLike[str], segment: Segment) -> str:
    """When the last record of a closed segment was written, at the latest; else nothing."""
    if not segment.closed:
        return ""
    with contextlib.suppress(OSError):
        seal = read_seal(folder, segment.stem)
        if seal is not None and seal.final is not None:
            return seal.final.timestamp
    return ""


def _moved(text: str, by: timedelta) -> str:
    return stamp(datetime.fromisoformat(text) + by)


def select(
    folder: str | os.PathLike[str], wanted: Filter, losses: Losses, keys: LogKeys | None = None
) -> Iterator[Found]:
    """Yield what fits, in the order of the wall clock, merged over all workers.

    Raises:
        OSError: the folder can't be read.
    """
    workers: dict[int, list[Segment]] = {}
    for segment in segments_within(folder, wanted.since, wanted.until):
        workers.setdefault(segment.worker, []).append(segment)
    return heapq.merge(
        *(
            _of_worker(folder, segments, wanted, losses, keys)
            for _, segments in sorted(workers.items())
        ),
        key=lambda found: found.timestamp,
    )


def _of_worker(
    folder: str | os.PathLike[str],
    segments: list[Segment],
    wanted: Filter,
    losses: Losses,
    keys: LogKeys | None,
) -> Iterator[Found]:
    for segment in segments:
        try:
            text = open_segment(folder, segment, keys, once=True)
            if text is None:
                continue
            with text:
                for _, block in text.blocks():
                    yield from matching(block, wanted, losses)
        except SegmentError as error:
            losses.segments.append(error.strerror or str(error))


def matching(block: bytes, wanted: Filter, losses: Losses) -> Iterator[Found]:
    """Yield what fits of whole lines."""
    for line in _lines(block, wanted.needle):
        try:
            row = _rows.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            losses.lines += 1
            continue
        if wanted.takes(row):
            yield Found(timestamp=row.timestamp, line=line)


def _lines(block: bytes, needle: bytes) -> Iterator[bytes]:
    if not needle:
        yield from block.split(b"\n")[:-1]
        return
    at = block.find(needle)
    while at >= 0:
        stop = block.index(b"\n", at)
        yield block[block.rfind(b"\n", 0, at) + 1 : stop]
        at = block.find(needle, stop)


class Follower:
    """Gives the records that are written from now on, over rotation and all workers.

    Segments stay open from one look to the next, so one that is renamed, compressed or pruned
    meanwhile is read to its end all the same.
    """

    def __init__(
        self, folder: str | os.PathLike[str], losses: Losses, keys: LogKeys | None = None
    ) -> None:
        self._folder = folder
        self._losses = losses
        self._keys = keys
        self._open: dict[str, tuple[SegmentText, int]] = {}
        self._ended: set[str] = set()

    def skip_present(self) -> None:
        """Begin behind what stands there now."""
        for _ in self._pieces():
            pass

    def look(self, wanted: Filter) -> list[Found]:
        """Return what fits of what came since the last look, in the order of the wall clock."""
        found = [each for block in self._pieces() for each in matching(block, wanted, self._losses)]
        found.sort(key=lambda each: each.timestamp)
        return found

    def close(self) -> None:
        """Close all files."""
        for text, _ in self._open.values():
            text.close()
        self._open.clear()

    def _pieces(self) -> Iterator[bytes]:
        segments = {segment.stem: segment for segment in list_segments(self._folder)}
        self._ended &= segments.keys()
        for stem in [*self._open.keys() - segments.keys(), *segments]:
            if stem in self._ended:
                continue
            segment = segments.get(stem)
            try:
                if stem not in self._open and segment is not None:
                    text = open_segment(self._folder, segment, self._keys)
                    if text is None:
                        continue
                    self._open[stem] = text, 0
                if stem in self._open:
                    yield from self._rest(stem)
            except SegmentError as error:
                self._losses.segments.append(error.strerror or str(error))
                self._end(stem)
            # Listed as closed before it was read, or gone: nothing more comes.
            if segment is None or segment.closed:
                self._end(stem)

    def _rest(self, stem: str) -> Iterator[bytes]:
        text, at = self._open[stem]
        for start, block in text.blocks(at):
            self._open[stem] = text, start + len(block)
            yield block

    def _end(self, stem: str) -> None:
        self._ended.add(stem)
        if stem in self._open:
            self._open.pop(stem)[0].close()
