"""Compressed segments: Zstandard's seekable format (docs/log-format.md, "Compressed").

Frames of 256 KiB and a table at the end of where each begins, so that any place is read at the
cost of one frame. `zstandard` is imported where something compressed is read or made.
"""

from __future__ import annotations

import bisect
import struct
from array import array
from collections.abc import Iterator
from itertools import accumulate
from typing import Protocol

from iatp.adapters.encryption import SegmentError
from iatp.adapters.pieces import InPieces

FRAME_BYTES = 256 << 10
LEVEL = 3
"""Zstandard's own default: a log of 8 KiB payloads shrinks hardly more at six, at half the pace."""

_MAX_FRAME_BYTES = 64 << 20
"""A frame of another writer may be so long; one that claims more is not decompressed."""
_SKIPPABLE = 0x184D2A5E
_SEEKABLE = 0x8F92EAB1
_CHECKSUMS = 0x80
_FRAME_HEAD = struct.Struct("<II")
_FOOT = struct.Struct("<IBI")
_CHECK = struct.Struct("<I")
_ENTRY = struct.Struct("<II")
_ENTRY_CHECKED = struct.Struct("<III")


class Source(Protocol):
    """Bytes that can be read at any place."""

    @property
    def size(self) -> int:
        """Bytes now."""

    def read(self, offset: int, length: int) -> bytes:
        """Return so many bytes from there, or fewer where it ends."""

    def read_into(self, offset: int, view: memoryview) -> int:
        """Put what stands there into the view, as much as is had at once; return how many bytes.

        None where it ends.
        """

    def close(self) -> None:
        """Give it up."""


class SeekableWriter:
    """Makes a compressed file: what `frame` returns for each piece, then `end`."""

    def __init__(self) -> None:
        import zstandard  # noqa: PLC0415 - only the process that compresses needs it

        self._compressor = zstandard.ZstdCompressor(
            level=LEVEL, write_checksum=True, write_content_size=True
        )
        self._entries = bytearray()

    def frame(self, data: bytes) -> bytes:
        """Return the next frame; of `FRAME_BYTES` but for the last one."""
        packed = self._compressor.compress(data)
        # The table's checksum is the one that ends the frame: the low half of XXH64.
        self._entries += _ENTRY.pack(len(packed), len(data)) + packed[-_CHECK.size :]
        return packed

    def end(self) -> bytes:
        """Return the table."""
        count = len(self._entries) // _ENTRY_CHECKED.size
        length = len(self._entries) + _FOOT.size
        foot = _FOOT.pack(count, _CHECKSUMS, _SEEKABLE)
        return _FRAME_HEAD.pack(_SKIPPABLE, length) + self._entries + foot


class CompressedFile(InPieces):
    """What a compressed file holds, read frame by frame.

    Raises: SegmentError where its table is not there or does not fit the file.
    """

    def __init__(self, file: Source, name: str) -> None:
        import zstandard  # noqa: PLC0415 - see above

        self._file = file
        self._name = name
        self._decompressor = zstandard.ZstdDecompressor()
        self._content_size = zstandard.frame_content_size
        self._error = zstandard.ZstdError
        packed, plain, self._checks = self._table()
        self._places = array("Q", accumulate(packed, initial=0))
        self._starts = array("Q", accumulate(plain, initial=0))
        self._kept = (-1, bytearray())

    @property
    def size(self) -> int:
        """Bytes of plain text."""
        return self._starts[-1]

    def read_into(self, offset: int, view: memoryview) -> int:
        """Put frames that stand there into the view, or a part of one; return how many bytes.

        Frames that fit whole are decompressed where they go. Raises as `read`.
        """
        if offset >= self.size:
            return 0
        number = bisect.bisect_right(self._starts, offset) - 1
        past = bisect.bisect_right(self._starts, offset + len(view)) - 1
        start = self._starts[number]
        if offset > start or past == number:
            part = memoryview(self._frame(number))[offset - start :][: len(view)]
            view[: len(part)] = part
            return len(part)
        for whole in range(number, past):
            at = self._starts[whole] - start
            self._decompress(whole, view[at : self._starts[whole + 1] - start])
        return self._starts[past] - start

    def _pieces(self, offset: int, length: int) -> Iterator[memoryview]:
        end = min(offset + length, self.size)
        while offset < end:
            number = bisect.bisect_right(self._starts, offset) - 1
            start = self._starts[number]
            yield memoryview(self._frame(number))[offset - start : end - start]
            offset = min(self._starts[number + 1], end)

    def close(self) -> None:
        """Give up the file."""
        self._file.close()
        self._kept = (-1, bytearray())

    def _table(self) -> tuple[list[int], list[int], list[int]]:
        size = self._file.size
        if size < _FRAME_HEAD.size + _FOOT.size:
            raise SegmentError(self._name, "was cut off: it has no seek table")
        count, flags, magic = _FOOT.unpack(self._file.read(size - _FOOT.size, _FOOT.size))
        if magic != _SEEKABLE:
            raise SegmentError(self._name, "was cut off or changed: it has no seek table")
        entry = _ENTRY_CHECKED if flags & _CHECKSUMS else _ENTRY
        length = count * entry.size + _FOOT.size
        at = size - length - _FRAME_HEAD.size
        if flags & ~_CHECKSUMS or at < 0:
            raise SegmentError(self._name, "has a damaged seek table")
        head = self._file.read(at, _FRAME_HEAD.size + count * entry.size)
        entries = list(entry.iter_unpack(head[_FRAME_HEAD.size :]))
        packed = [each[0] for each in entries]
        plain = [each[1] for each in entries]
        if (
            _FRAME_HEAD.unpack_from(head) != (_SKIPPABLE, length)
            or sum(packed) != at
            or any(not 0 < each <= _MAX_FRAME_BYTES for each in plain)
        ):
            raise SegmentError(self._name, "has a damaged seek table")
        return packed, plain, [each[2] for each in entries] if entry is _ENTRY_CHECKED else []

    def _frame(self, number: int) -> bytearray:
        if self._kept[0] != number:
            plain = bytearray(self._starts[number + 1] - self._starts[number])
            self._decompress(number, memoryview(plain))
            self._kept = (number, plain)
        return self._kept[1]

    def _decompress(self, number: int, view: memoryview) -> None:
        """Put a frame into the view, which has room for it and no more."""
        at = self._places[number]
        packed = self._file.read(at, self._places[number + 1] - at)
        try:
            # Before anything is decompressed: what a frame says of itself is as it was found.
            sound = self._content_size(packed) == len(view)
            if sound and self._checks:
                sound = packed[-_CHECK.size :] == _CHECK.pack(self._checks[number])
            sound = sound and self._decompressor.stream_reader(packed).readinto(view) == len(view)
        except self._error:
            sound = False
        if not sound:
            raise SegmentError(
                self._name, f"is damaged in frame {number} (byte {at} of the compressed file)"
            )
