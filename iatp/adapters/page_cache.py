"""Keeps a log out of the page cache: what was written is dropped some way behind the writer.

A log is written once and seldom read. Left alone it takes all free memory, pushes out what the
agent beside it reads, and always writes to fresh pages, which the host of a virtual machine may
have to supply first (docs/records.md has figures). `POSIX_FADV_DONTNEED` starts to write what
is dirty and drops what is clean: what is old enough is written at one call and dropped at the
next.

It is advice: no promise rests on it, and where it can't be given nothing else changes. Giving
it may wait for the disk, so a thread does. It keeps no list: each time it looks which segments
there are.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable

from iatp.adapters.log_folder import LogFolder, newest_first

PIECE_BYTES = 16 << 20
"""Written between two calls."""
KEPT_BYTES = 256 << 20
"""The newest records stay: they are the ones that are asked for, and a burst waits for no disk."""
_REACH_BYTES = 8 * PIECE_BYTES
"""How far behind those is looked: a disk that was slow has a few calls more."""
_JOIN_S = 1.0

_DONTNEED: int = getattr(os, "POSIX_FADV_DONTNEED", 0)


class DropBehind:
    """Drops what one worker has written to its segments from the page cache.

    `written` and `close` are called from one thread; neither raises, and `written` waits for
    nothing. The thread that does the work begins with the first call of `written`.
    """

    def __init__(self, folder: LogFolder, worker: int) -> None:
        self._folder = folder
        self._worker = worker
        # Python has none on macOS. None also once it has failed: it would every time.
        self._fadvise: Callable[[int, int, int, int], None] | None = getattr(
            os, "posix_fadvise", None
        )
        self._thread: threading.Thread | None = None
        self._more = threading.Event()
        self._closed = False

    def written(self) -> None:
        """Say that the log has grown; worth it every `PIECE_BYTES`."""
        if self._fadvise is None or self._closed:
            return
        self._more.set()
        if self._thread is None:
            # Out of threads: the next piece tries again.
            with contextlib.suppress(RuntimeError):
                thread = threading.Thread(target=self._run, name="iatp-drop-behind", daemon=True)
                thread.start()
                self._thread = thread

    def close(self) -> None:
        """Stop the thread. Waits a second at most; a thread that the disk holds ends behind it."""
        self._closed = True
        if self._thread is not None:
            self._more.set()
            self._thread.join(_JOIN_S)
            self._thread = None

    # In the thread.

    def _run(self) -> None:
        while self._more.wait() and not self._closed and self._fadvise is not None:
            self._more.clear()
            with contextlib.suppress(OSError):
                directory = self._folder.open_directory()
                try:
                    self._drop(directory)
                finally:
                    os.close(directory)

    def _drop(self, directory: int) -> None:
        newer = 0
        for segment in newest_first(self._folder.path):
            if segment.worker != self._worker:
                continue
            # It may have been renamed, pruned or replaced meanwhile.
            with contextlib.suppress(OSError):
                fd = os.open(
                    segment.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory
                )
                try:
                    newer += self._advise(fd, newer)
                finally:
                    os.close(fd)
            if newer > KEPT_BYTES + _REACH_BYTES or self._closed or self._fadvise is None:
                return

    def _advise(self, fd: int, newer: int) -> int:
        """Drop of one segment what is old enough, where `newer` bytes follow; gives its size."""
        size = os.fstat(fd).st_size
        old = newer + size - KEPT_BYTES
        fadvise = self._fadvise
        # Of no bytes it would be all, and what is no file has none.
        if old > 0 and size > 0 and fadvise is not None:
            try:
                fadvise(fd, 0, min(old, size), _DONTNEED)
            except OSError:
                self._fadvise = None
        return size
