"""Keeps what is read once, from end to end, out of the page cache.

A report over ten gigabytes would else push out what the agent beside it reads, and take fresh
pages for each, which the host of a virtual machine may have to supply first: with 1 MiB read at a
time that cost four times as much of the system's time, measured. What was in the cache before
stays there. Where the platform has no such advice nothing else changes.
"""

from __future__ import annotations

import os
from collections.abc import Callable

PIECE_BYTES = 8 << 20
"""Dropped at once."""

_DONTNEED: int = getattr(os, "POSIX_FADV_DONTNEED", 0)
_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)


class ReadOnce:
    """Drops what was read of one file, some way behind the reader."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._dropped = 0
        # Python has none on macOS.
        self._fadvise: Callable[[int, int, int, int], None] | None = getattr(
            os, "posix_fadvise", None
        )
        if _is_cached(fd):
            self._fadvise = None

    def passed(self, end: int) -> None:
        """Say that all before this offset was read."""
        if end - self._dropped >= PIECE_BYTES:
            self._drop(end - self._dropped)
            self._dropped = end

    def finish(self) -> None:
        """Say that nothing more is read; the file is still open."""
        # Of no bytes: to the end, with what was read ahead.
        self._drop(0)

    def _drop(self, length: int) -> None:
        if self._fadvise is not None:
            try:
                self._fadvise(self._fd, self._dropped, length, _DONTNEED)
            except OSError:
                self._fadvise = None


def _is_cached(fd: int) -> bool:
    """Whether the beginning of a file is in memory; also where that can't be known."""
    if not _NOWAIT:
        return True
    try:
        return os.preadv(fd, [bytearray(1)], 0, _NOWAIT) >= 0
    except BlockingIOError:
        return False
    except OSError:
        return True
