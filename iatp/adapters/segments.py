"""Reading segments as they were written, however they are stored: plain, compressed, encrypted.

Offsets are always those of the plain text. Files are read, not mapped: a writer may cut its
file, which would kill a process that has it mapped, and `read` lets go of the interpreter's
lock, so a server's other threads go on.

What a crash left behind the last line end is not a record and is skipped. A segment that is
closed, compressed or encrypted meanwhile is found under its new name; one that is pruned
meanwhile is gone.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import msgspec

from iatp.adapters.compression import CompressedFile, Source
from iatp.adapters.encryption import HEADER_BYTES, EncryptedFile, LogKeys, PlainFile, SegmentError
from iatp.adapters.log_folder import Segment, list_segments
from iatp.adapters.seals import last_point, read_seal
from iatp.values.seals import Final

__all__ = [
    "BLOCK_BYTES",
    "LogKeys",
    "SegmentError",
    "SegmentText",
    "StoredRecord",
    "iter_records",
    "open_segment",
]

BLOCK_BYTES = 256 << 10
"""Searched in some 50 µs, the longest that the interpreter's lock is held."""


class SegmentText:
    """The plain text of one segment, read at any place. A context manager."""

    def __init__(self, segment: Segment, source: Source) -> None:
        self.segment = segment
        """Under the name that it was opened by."""
        self._source = source

    @property
    def size(self) -> int:
        """Bytes of plain text now; an open segment grows."""
        return self._source.size

    def read(self, offset: int, length: int) -> bytes:
        """Return so many bytes from there, or fewer where it ends.

        Raises:
            SegmentError: what stands there was changed, or cut.
            OSError: the disk can't be read.
        """
        return self._source.read(offset, length)

    def blocks(self, start: int = 0, block_bytes: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Yield whole lines in large pieces, each with the offset of its first.

        `start` is where a line begins. Ends at the size that the text has now, so that a busy
        writer is not followed for ever, and before a line that has no end. Raises as `read`.
        """
        end = self.size
        whole = wanted = block_bytes or BLOCK_BYTES
        while start < end:
            data = self.read(start, min(wanted, end - start))
            stop = data.rfind(b"\n") + 1
            if stop:
                yield start, data if stop == len(data) else data[:stop]
                start += stop
                wanted = whole
            elif not data or start + len(data) >= end:
                return
            else:
                wanted *= 2

    def views(self, buffer: bytearray) -> Iterator[memoryview]:
        """Yield whole lines as `blocks` does, in the caller's buffer: each until the next is asked.

        A new block costs as much as reading it: its memory comes from the system page by page.
        A line that is longer than the buffer gets a larger one.
        """
        at, end = 0, self.size
        rest = 0
        while at < end:
            view = memoryview(buffer)
            length = self._source.read_into(at, view[rest : rest + end - at])
            if not length:
                return
            at += length
            filled = rest + length
            stop = buffer.rfind(b"\n", 0, filled) + 1
            if stop:
                yield view[:stop]
            rest = filled - stop
            if stop:
                # What stands behind the last line end is the beginning of the next line.
                view[:rest] = view[stop:filled]
            elif rest == len(buffer):
                buffer = buffer + bytes(rest)

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    def __enter__(self) -> SegmentText:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class StoredRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a segment, without its line end."""

    segment: Segment
    offset: int
    line: bytes


def open_segment(
    folder: str | os.PathLike[str],
    segment: Segment,
    keys: LogKeys | None = None,
    *,
    once: bool = False,
) -> SegmentText | None:
    """Open a segment under the name it has now; None where it is gone, or no file.

    `once`: to read it from end to end, and keep it out of the page cache.

    Raises:
        SegmentError: it is encrypted and its key is not among the keys, or it was cut.
        OSError: it can't be read.
    """
    for form in segment.forms():
        try:
            fd = os.open(
                Path(folder, form.name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            )
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.EMLINK}:
                return None
            raise
        file = PlainFile(fd, once=once)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                file.close()
                return None
            return SegmentText(form, read_form(folder, form, file, keys))
        except BaseException:
            file.close()
            raise
    return None


def iter_records(
    folder: str | os.PathLike[str], keys: LogKeys | None = None
) -> Iterator[StoredRecord]:
    """Return all records, segment by segment, oldest first; within one as they were written.

    Lines that are not records come too: what reads them decides what that means.

    Raises:
        SegmentError: a segment is encrypted and its key is missing, or it was changed.
        OSError: the folder can't be read.
    """
    for segment in list_segments(folder):
        text = open_segment(folder, segment, keys)
        if text is None:
            continue
        with text:
            for base, block in text.blocks():
                start = 0
                while start < len(block):
                    stop = block.index(b"\n", start)
                    yield StoredRecord(segment=segment, offset=base + start, line=block[start:stop])
                    start = stop + 1


def read_form(
    folder: str | os.PathLike[str], form: Segment, file: PlainFile, keys: LogKeys | None
) -> Source:
    """Return what reads the plain text of a file of this form; it closes the file.

    Raises: as `open_segment`.
    """
    source: Source = file
    if form.encrypted:
        if keys is None:
            raise SegmentError(
                form.name, "is encrypted; set IATP_LOG_KEY_FILE to the file with its key"
            )
        if file.size < HEADER_BYTES and not _should_hold_records(folder, form):
            return _Nothing(file)
        source = EncryptedFile(file, keys, form.stem, form.name)
        if form.closed and not source.complete:
            _check_end(folder, form, source)
    return CompressedFile(source, form.name) if form.compressed else source


def _should_hold_records(folder: str | os.PathLike[str], form: Segment) -> bool:
    """False where a file may be empty: just made, or one of which a crash left nothing."""
    if not form.closed:
        return False
    final = last_point(folder, form.stem)
    return not isinstance(final, Final) or final.bytes > 0


def _check_end(folder: str | os.PathLike[str], form: Segment, source: EncryptedFile) -> None:
    """A closed file without a last block was cut, unless a crash ended it and its seal says so."""
    if not form.compressed:
        seal = read_seal(folder, form.stem)
        if seal is not None and (seal.final is None or seal.final.bytes <= source.size):
            return
    raise SegmentError(form.name, "was cut off: its last block is missing")


class _Nothing:
    """A segment that holds no records."""

    size = 0

    def __init__(self, file: PlainFile) -> None:
        self._file = file

    def read(self, offset: int, length: int) -> bytes:
        del offset, length
        return b""

    def read_into(self, offset: int, view: memoryview) -> int:
        del offset, view
        return 0

    def close(self) -> None:
        self._file.close()
