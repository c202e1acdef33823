"""Keeps a log out of the page cache: what was written is dropped some way behind the writer.

A log is written once and seldom read. Left alone it takes all free memory, pushes out what the
agent beside it reads, and always writes to fresh pages, which the host of a virtual machine may
have to supply first (docs/records.md has figures). `POSIX_FADV_DONTNEED` starts to write what
is dirty and drops what is clean: a piece is written at one call and dropped at a later one.

It is advice: no promise rests on it, and where it can't be given nothing else changes. Giving
it may wait for the disk, so a thread does, on descriptors that only it closes.
"""

from __future__ import annotations

import collections
import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable

import msgspec

PIECE_BYTES = 4 << 20
"""Written between two calls: 60 a second at 250 MB/s, and some 8 MiB stay in memory."""
_SETTLE_S = 1.0
"""What a finished file still had to write is clean by then, and can be dropped."""
_MAX_SETTLING = 4
"""Segments of 64 MiB that are finished within a second at 250 MB/s."""
_MAX_FILES = 8
"""Descriptors held at most; while the disk hangs further files are let go as they are."""
_JOIN_S = 1.0

_DONTNEED: int = getattr(os, "POSIX_FADV_DONTNEED", 0)


class _File(msgspec.Struct, eq=False):
    """A file by a descriptor of our own, so that its writer may close his at any time."""

    fd: int
    asked: bool = False
    """The thread is yet to come to it; asking again would add nothing."""
    settled_at: float = 0.0


class DropBehind:
    """Drops the written part of one growing file after another from the page cache.

    `written`, `finished` and `close` are called from one thread. The first two raise nothing
    and wait for nothing; the thread that does the work begins with the first call of `written`.
    """

    def __init__(self) -> None:
        # Python has none on macOS. None also once it has failed: it would every time.
        self._fadvise: Callable[[int, int, int, int], None] | None = getattr(
            os, "posix_fadvise", None
        )
        self._thread: threading.Thread | None = None
        self._messages: queue.SimpleQueue[tuple[_File, bool] | None] = queue.SimpleQueue()
        """A file to look at, and whether it is finished; None at the end.

        Holds at most two for each of `_held`.
        """
        self._held: set[_File] = set()
        """Added to here, taken from by the thread."""
        self._file: _File | None = None

    def written(self, fd: int) -> None:
        """Say that the open file `fd` has grown; worth it every `PIECE_BYTES`."""
        file = self._file = self._file or self._hold(fd)
        if file is not None and not file.asked and self._fadvise is not None:
            file.asked = True
            self._messages.put((file, False))

    def finished(self, fd: int) -> None:
        """Say that nothing more is written to `fd`, before it is closed."""
        file = self._file
        if file is None and self._thread is not None:
            file = self._hold(fd)
        if file is not None:
            self._messages.put((file, True))
        self._file = None

    def close(self) -> None:
        """Stop the thread. Waits a second at most; a thread that the disk holds ends behind it."""
        if self._thread is not None:
            self._messages.put(None)
            self._thread.join(_JOIN_S)
        self._thread = self._file = self._fadvise = None

    def _hold(self, fd: int) -> _File | None:
        """Return the file, held until the thread lets go of it; None where that can't be."""
        if self._fadvise is None or len(self._held) >= _MAX_FILES:
            return None
        # Out of descriptors or threads: the next piece tries again.
        with contextlib.suppress(OSError, RuntimeError):
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="iatp-drop-behind", daemon=True)
                thread.start()
                self._thread = thread
            file = _File(os.dup(fd))
            self._held.add(file)
            return file
        return None

    # In the thread.

    def _run(self) -> None:
        settling: collections.deque[_File] = collections.deque()
        while True:
            with contextlib.suppress(queue.Empty):
                message = self._messages.get(timeout=_SETTLE_S if settling else None)
                if message is None:
                    break
                file, finished = message
                # Before the call, so that what is written during it is not forgotten.
                file.asked = False
                self._advise(file)
                if finished:
                    file.settled_at = time.monotonic() + _SETTLE_S
                    settling.append(file)
            self._settle(settling)
        for file in tuple(self._held):
            self._advise(file)
            self._let_go(file)

    def _settle(self, settling: collections.deque[_File]) -> None:
        """Drop what has become clean of finished files, and let go of the oldest."""
        for file in settling:
            self._advise(file)
        now = time.monotonic()
        while settling and (len(settling) > _MAX_SETTLING or settling[0].settled_at <= now):
            self._let_go(settling.popleft())

    def _advise(self, file: _File) -> None:
        fadvise = self._fadvise
        if fadvise is not None:
            try:
                fadvise(file.fd, 0, 0, _DONTNEED)
            except OSError:
                self._fadvise = None

    def _let_go(self, file: _File) -> None:
        self._held.discard(file)
        with contextlib.suppress(OSError):
            os.close(file.fd)
