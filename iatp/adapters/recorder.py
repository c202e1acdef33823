"""The flight recorder's writer: one per worker, segments of JSON lines, append-only.

`append` runs once per turn of the event loop, for all records of that turn: one `writev(2)`. Its
common case is compiled (iatp/_fast/append). It is all or nothing: a short or failed write is cut
back to where it began, and `OSError` says that nothing of that turn may leave. Once a second it
looks whether the file still is where it should be, so that nothing is written for long into a
deleted one. After a failure every further call tries again, so it heals by itself.

Where the disk shall have the records for good (`power`), `begin_sync` gives what another thread
runs and `end_sync` says what came of it. While a sync runs no segment takes the place of another.
After one that failed, what it was to cover is cut off and the segment left for good: a second
`fdatasync` of that file would say nothing about the pages that the first one lost.

Each segment has a seal (iatp/adapters/seals.py). It takes in what stands in the file, with `power`
what the disk has. `tick` marks it; where that fails, records go on and the seal follows later. A
segment has its closed name only once its seal is closed: that is done by an executor, since with
`power` it waits for the disk, and tried again with each tick where it fails.

With the keys of the log (`LogFolder.keys`) each append is encrypted as one block. Such a segment
ends where an append failed: the number of a block is used once.

Not thread-safe: but for `Sync.run` and what the executor gets all calls come from the thread that
runs the event loop.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import ParamSpec, TypeVar

from iatp._fast.append import Appender, BlockWriter
from iatp.adapters.encryption import EncryptedFile, PlainFile
from iatp.adapters.log_folder import (
    LogFolder,
    Segment,
    close_segment,
    create_segment,
    new_boot_id,
)
from iatp.adapters.page_cache import PIECE_BYTES, DropBehind
from iatp.adapters.recovery import Leftover
from iatp.adapters.seals import NOTHING_BEFORE, SealWriter, chain_end, sealed_stems
from iatp.values.seals import Previous

__all__ = ["Leftover", "LogFolder", "Recorder", "new_boot_id"]

_log = logging.getLogger(__name__)

_CHECK_INTERVAL_S = 1.0
_SEGMENT_AGE_S = 86_400.0
_MAX_UNFINISHED = 16
"""So many segments wait for their seal, each with open files; the next start sees to any other."""
_ROOM_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT})
"""After these the same file may well be written again; after any other a new one is tried."""
_MAX_PIECES = 1024
"""One `writev` takes so many on Linux and macOS (IOV_MAX)."""


_F_FULLFSYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)
"""macOS: its fsync leaves the data in the disk's own cache."""

_P = ParamSpec("_P")
_T = TypeVar("_T")

Join = Callable[[list[bytes], int, bytes], list[bytes]]
"""Whole lines, in as many pieces as it likes, of tails, the first `seq` and what follows it."""


def join_lines(tails: list[bytes], first: int, middle: bytes) -> list[bytes]:
    """Return whole lines: `{"seq":N`, `middle` and a tail for each, N counting up from `first`.

    The plain form of what a worker passes in compiled (iatp/_fast/record).

    Raises:
        ValueError: a tail holds a line end.
    """
    data = b"".join(
        [b'{"seq":%d%b%b\n' % (seq, middle, tail) for seq, tail in enumerate(tails, first)]
    )
    if data.count(b"\n") != len(tails):
        raise ValueError("a record must be one line")
    return [data]


class Sync:
    """Makes the records of one moment durable."""

    def __init__(
        self, fd: int, folder: LogFolder | None, size: int, seq: int, file_size: int
    ) -> None:
        """Take a descriptor of its own; `folder` where the file's entry in it is new."""
        self._fd = fd
        self._folder = folder
        self.size = size
        """Bytes of records that are durable once it has run."""
        self.file_size = file_size
        self.seq = seq

    def run(self) -> None:
        """Wait for the disk; for a thread of its own. To be called once.

        Raises:
            OSError: the disk does not have them, and may never.
        """
        try:
            _sync_file(self._fd)
            if self._folder is not None:
                directory = self._folder.open_directory()
                try:
                    os.fsync(directory)
                finally:
                    os.close(directory)
        finally:
            os.close(self._fd)


class _Closing:
    """A segment that is not written any more."""

    def __init__(
        self,
        folder: LogFolder,
        segment: Segment,
        fd: int,
        size: int,
        seal: SealWriter,
        *,
        power: bool,
        syncs_rest: bool,
    ) -> None:
        """Take what is closed; `syncs_rest`: it holds records that no sync covers, with `power`."""
        self.segment = segment
        self.job: Future[None] | None = None
        """What closes it; None where that is to be tried again."""
        self.failed = False
        self.lost = False
        """Something else took its file away: there is none to be renamed."""
        self._folder = folder
        self._fd = fd
        self._size = size
        self._seal = seal
        self._power = power
        self._syncs_rest = syncs_rest
        self._lock = threading.Lock()
        self._is_done = False

    def run(self) -> None:
        """Close the seal and give the segment its name; for any thread, and only once done.

        Raises:
            OSError: the seal can't be closed; another call makes it good.
        """
        with self._lock:
            if not self._is_done:
                self._close()
                self._is_done = True

    def give_up(self) -> None:
        """Close its files as they are."""
        with self._lock:
            if not self._is_done:
                self._is_done = True
                os.close(self._fd)
                self._seal.close()

    def _close(self) -> None:
        if self._syncs_rest:
            self._syncs_rest = False
            try:
                _sync_file(self._fd)
            except OSError as error:
                # Nothing waits for these: what did was answered when its own sync failed.
                _log.error("The end of a segment may not be on the disk (%s).", error.strerror)
        if self._size:
            self._seal.finish(sync=self._power)
        else:
            self._seal.discard()
        self._seal.close()
        if self.lost:
            os.close(self._fd)
            return
        try:
            close_segment(self._folder, self.segment, self._fd, self._size)
        except OSError as error:
            # Its records are on disk, and sealed; the next start gives it its name.
            _log.warning("Segment %s could not be closed (%s).", self.segment.name, error.strerror)


class _Here(Executor):
    """Does what it is given in the call."""

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Return what came of it."""
        done: Future[_T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:
            # Its frames hold `done`, and with it themselves.
            done.set_exception(error.with_traceback(None))
        return done


class Recorder(Appender):
    """Appends records to the segments of one worker.

    Construction closes what a dead predecessor in this worker slot left (`leftovers`) and
    opens the first segment; where the disk refuses, `failing` is true from the start.
    """

    def __init__(
        self,
        folder: LogFolder,
        worker: int,
        boot_id: str,
        segment_bytes: int,
        *,
        segment_age_s: float = _SEGMENT_AGE_S,
        join: Join = join_lines,
        power: bool = False,
        executor: Executor | None = None,
    ) -> None:
        """Take what closes segments, if not the call that ends them shall do it."""
        self.folder = folder
        self.worker = worker
        self.boot_id = boot_id
        self.segment_bytes = segment_bytes
        self.written = 0
        """Records on disk since this recorder was made."""
        self.failing = False
        """The last attempt to write, or to sync, failed."""
        self._power = power
        self._executor = executor or _Here()
        self._sync: Sync | None = None
        # What encrypts the segment, and how long its file is then: longer than the records.
        self._blocks = None
        self._file_size = 0
        # Up to where the segment was synced, and whether its entry in the folder was.
        self._synced_size = self._synced_seq = self._synced_file_size = 0
        self._entry_synced = False
        # Nothing more is written to the segment at hand: a sync of it has failed.
        self._left = False
        # Where there is a segment and no sync, the common case of an append is for compiled code.
        self._synced = True
        self._join = join
        self._middle = b',"worker":%d,"boot_id":"%s",' % (worker, boot_id.encode("ascii"))
        self._fd = -1
        self._segment: Segment | None = None
        self._number = 0
        self._seq = 0
        self._size = 0
        self._rotate_at = segment_bytes
        self._drop_behind = DropBehind(folder, worker)
        self._drop_at = PIECE_BYTES
        self._segment_age_s = segment_age_s
        self._seal: SealWriter | None = None
        # What the first segment names as the one before, and the newest name of this slot.
        self._chain_end: Previous = NOTHING_BEFORE
        self._newest: str | None = None
        # With `power`: what the seal takes in once the disk has it.
        self._unsealed: list[list[bytes]] = []
        self._unfinished: list[_Closing] = []
        self._seal_lags = False
        # Whether bytes of an append that failed may stand behind _size.
        self._uncut = False
        self._suspect = False
        self._checked_size = 0
        self._check_due = 0.0
        self._age_due = 0.0
        self._proved_until = 0.0
        # What the last look at the disk, or a failure since, has shown.
        self._proved = True
        self.leftovers: list[Leftover] = []
        try:
            self._begin()
            if power:
                _sync_directory(folder.path.parent)
        except OSError as error:
            self._failed(error)

    def _append(self, tails: list[bytes]) -> None:
        """Append where something is to be done before, or has gone wrong."""
        try:
            if time.monotonic() >= self._check_due or self._uncut or self._suspect:
                self._check()
            pieces = self._join(tails, self._seq, self._middle)
            length = sum(map(len, pieces))
            if self._size + length > self._rotate_at and self._size and self._sync is None:
                pieces, length = self._rotate_for(tails, pieces, length)
            self._write(pieces, length)
        except OSError as error:
            self._failed(error)
            raise
        self._seal_later(pieces)
        self._seq += len(tails)
        self.written += len(tails)
        if self.failing and not self._power:
            self._recovered()

    def begin_sync(self) -> Sync:
        """Return what makes all records so far durable; `end_sync` must follow.

        Raises:
            OSError: there is nothing to sync it by; as after a sync that failed.
        """
        try:
            if self._fd < 0:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            fd = os.dup(self._fd)
        except OSError as error:
            self._leave_unsynced(error, keep=False)
            raise
        folder = None if self._entry_synced else self.folder
        self._sync = Sync(fd, folder, self._size, self._seq, self._file_size)
        return self._sync

    def end_sync(self, error: OSError | None, keep: bool) -> None:  # noqa: FBT001  (the outbox calls it)
        """Take note of what came of a sync.

        Where it failed, records that were not durable are cut off, or stay with `keep`.
        """
        sync, self._sync = self._sync, None
        if error is not None:
            self._leave_unsynced(error, keep=keep)
            return
        assert sync is not None  # noqa: S101 - for the type checker
        self._synced_size, self._synced_seq = sync.size, sync.seq
        self._synced_file_size = sync.file_size
        self._entry_synced = True
        self._seal_unsealed()
        if self.failing:
            self._recovered()

    def rotate(self) -> None:
        """Close the segment, if it holds records, and open a new one.

        While a sync runs, soon after it.

        Raises:
            OSError: it can't; the old segment stays in use.
        """
        if self._sync is not None:
            self._age_due = self._check_due = 0.0
        elif self._size:
            self._cut()
            self._replace()

    def tick(self) -> None:
        """Check the file, close a segment that is old, mark the seal; for a call each second."""
        try:
            self._check()
        except OSError as error:
            self._failed(error)
        self._mark()

    def probe(self) -> bool:
        """Return whether records can be written now; heals what can be healed.

        Looks at the disk at most once a second. It writes a file of its own, never a record.
        """
        now = time.monotonic()
        if now < self._proved_until or self._sync is not None:
            return self._proved
        self._proved_until = now + _CHECK_INTERVAL_S
        try:
            self._check()
            self.folder.try_write(f"w{self.worker}")
        except OSError as error:
            self._failed(error)
            return False
        self._proved = True
        # With `power` only a sync shows whether the disk takes what it was given.
        if self.failing and not self._power:
            self._recovered()
        return True

    def close(self) -> None:
        """Close the segment. The recorder can't be used after it."""
        if self._segment is None:
            return
        with contextlib.suppress(OSError):
            self._cut()
        self._seal_unsealed()
        self._unfinished.append(self._closing())
        self._finish_all()
        self._segment = self._seal = None
        self._synced = True
        self._fd = -1
        self._drop_behind.close()

    def _write(self, pieces: list[bytes], length: int) -> None:
        stored, stored_length = pieces, length
        if self._blocks is not None:
            stored = self._blocks.block(pieces)
            if not self._file_size:
                stored = [self._blocks.header(), *stored]
            stored_length = sum(map(len, stored))
        self._uncut = True
        _write_all(self._fd, stored, stored_length)
        self._size += length
        self._file_size += stored_length
        self._uncut = False
        if self._blocks is not None:
            self._blocks.written()
        if self._size >= self._drop_at:
            self._drop()

    def _drop(self) -> None:
        """Have what is old leave the page cache."""
        self._drop_at = self._size + PIECE_BYTES
        self._drop_behind.written()

    def _seal_later(self, pieces: list[bytes]) -> None:
        """Have the seal take in what stands in the file now."""
        if self._power:
            self._unsealed.append(pieces)
        elif self._seal is not None:
            self._seal.add(pieces)

    def _enter(self) -> None:
        """Have the index written, where much waits for it."""
        assert self._seal is not None  # noqa: S101 - for the type checker
        self._index_at = self._seal.enter()

    def _seal_unsealed(self) -> None:
        for pieces in self._unsealed:
            assert self._seal is not None  # noqa: S101 - for the type checker
            self._seal.add(pieces)
        self._unsealed.clear()

    def _mark(self) -> None:
        """Mark the seal, and finish those that could not be; records go on where it can't."""
        self._finish()
        if self._seal is None:
            return
        try:
            self._seal.mark()
        except OSError as error:
            self._lags(error)
        else:
            self._seal_lags = any(each.failed for each in self._unfinished)

    def _lags(self, error: OSError) -> None:
        if not self._seal_lags:
            self._seal_lags = True
            _log.error("The log's seal cannot be written (%s); it will be later.", error.strerror)

    def _closing(self) -> _Closing:
        assert self._segment is not None  # noqa: S101 - for the type checker
        assert self._seal is not None  # noqa: S101 - for the type checker
        self._write_last_block()
        return _Closing(
            self.folder,
            self._segment,
            self._fd,
            self._size,
            self._seal,
            power=self._power,
            syncs_rest=self._power and self._size > self._synced_size and not self._left,
        )

    def _write_last_block(self) -> None:
        """Say where an encrypted file ends; where it can't be written the seal says so alone."""
        if self._blocks is None or not self._file_size or self._uncut:
            return
        with contextlib.suppress(OSError):
            stored = self._blocks.block([], last=True)
            try:
                _write_all(self._fd, stored, sum(map(len, stored)))
            except OSError:
                os.ftruncate(self._fd, self._file_size)

    def _finish(self) -> None:
        """Have those segments closed that are not written any more."""
        self._unfinished = [each for each in self._unfinished if not self._is_closed(each)]
        for each in self._unfinished[:]:
            if len(self._unfinished) <= _MAX_UNFINISHED:
                break
            # The oldest, but for those that are being closed.
            if each.job is None or each.job.cancel():
                self._unfinished.remove(each)
                self._leave(each)

    def _is_closed(self, each: _Closing) -> bool:
        if each.job is None:
            try:
                each.job = self._executor.submit(each.run)
            except RuntimeError:
                # Out of threads. One that is there may do it all the same.
                return False
        if not each.job.done():
            return False
        error = each.job.exception()
        if error is None:
            return True
        if not isinstance(error, OSError):
            raise error
        each.job = None
        each.failed = True
        self._lags(error)
        return False

    def _finish_all(self) -> None:
        """The same for the last time: there is no later."""
        waiting, self._unfinished = self._unfinished, []
        for each in waiting:
            try:
                # One that runs is waited for.
                if each.job is None or each.job.cancel() or each.job.exception() is not None:
                    each.run()
            except OSError as error:
                self._lags(error)
                self._leave(each)

    def _leave(self, each: _Closing) -> None:
        _log.warning("Segment %s is left for the next start to close.", each.segment.name)
        each.give_up()

    def _rotate_for(
        self, tails: list[bytes], pieces: list[bytes], length: int
    ) -> tuple[list[bytes], int]:
        """Return the lines as they stand in a new segment, or `pieces` where there is none."""
        try:
            self._replace()
        except OSError as error:
            # Out of descriptors or inodes: the segment at hand may still be good.
            self._rotate_at = self._size + length + max(self.segment_bytes // 16, 1)
            _log.warning("No new segment could be opened (%s); the old one grows.", error.strerror)
            return pieces, length
        pieces = self._join(tails, 0, self._middle)
        return pieces, sum(map(len, pieces))

    def _check(self) -> None:
        """Leave behind a file that is cut, gone, changed by others, or old."""
        if self._sync is not None:
            return
        if self._fd < 0:
            self._begin()
            return
        now = time.monotonic()
        if self._left:
            self._replace()
        elif not self._in_place():
            self._leave_lost()
        else:
            self._cut()
            if os.fstat(self._fd).st_size != self._file_size:
                _log.error("Something else wrote to the segment; recording goes on in another.")
                self._replace()
            elif self._suspect or (now >= self._age_due and self._size):
                self._replace()
        self._checked_size = self._size
        self._check_due = now + _CHECK_INTERVAL_S

    def _cut(self) -> None:
        """Take away what a failed append may have left behind the last whole record."""
        if not self._uncut:
            return
        if os.fstat(self._fd).st_size > self._file_size:
            os.ftruncate(self._fd, self._file_size)
        self._uncut = False

    def _in_place(self) -> bool:
        """Whether the segment's path still leads to the open file."""
        assert self._segment is not None  # noqa: S101 - for the type checker
        try:
            held = os.fstat(self._fd)
            found = (self.folder.path / self._segment.name).lstat()
        except OSError:
            return False
        return (held.st_dev, held.st_ino) == (found.st_dev, found.st_ino)

    def _leave_lost(self) -> None:
        """Go on in a new segment; records of a deleted file since the last look go with it."""
        saved = self._since_last_look()
        lost = self._closing()
        fd, segment, seal, blocks = self._make()
        data = b"".join(self._join(saved, 0, self._middle))
        stored = data
        try:
            if blocks is not None and data:
                stored = b"".join([blocks.header(), *blocks.block([data])])
                blocks.written()
            _write_all(fd, [stored], len(stored))
        except OSError:
            # The lost file stays at hand, so that the next call saves its records again.
            seal.discard()
            close_segment(self.folder, segment, fd, 0)
            raise
        self._take(fd, segment, seal, blocks)
        self._seq, self._size, self._file_size = len(saved), len(data), len(stored)
        if saved:
            self._seal_later([data])
        # What was lost stays on record: in its seal, which the chain names.
        lost.lost = True
        self._unfinished.append(lost)
        self._finish()
        _log.error(
            "Segment %s was removed or moved by something else; "
            "%d records were saved and recording goes on in %s.",
            lost.segment.name,
            len(saved),
            segment.name,
        )

    def _since_last_look(self) -> list[bytes]:
        """Tails written since the file was last seen in place, if it is deleted since."""
        with contextlib.suppress(OSError):
            # One that has another name now, or that a mount hides, still has its records.
            if os.fstat(self._fd).st_nlink == 0:
                data = self._read_back(self._checked_size, self._size - self._checked_size)
                parts = [line.partition(self._middle) for line in data.split(b"\n")[:-1]]
                return [tail for _, found, tail in parts if found]
        return []

    def _read_back(self, offset: int, length: int) -> bytes:
        assert self._segment is not None  # noqa: S101 - for the type checker
        file = PlainFile(os.dup(self._fd))
        keys = self.folder.keys
        with contextlib.closing(file):
            if keys is None or not self._segment.encrypted:
                return file.read(offset, length)
            return EncryptedFile(file, keys, self._segment.stem, self._segment.name).read(
                offset, length
            )

    def _begin(self) -> None:
        """Close what a dead predecessor left, and open the first segment behind it."""
        self.leftovers += self.folder.close_leftovers(self.worker)
        path = self.folder.path
        self._chain_end = chain_end(path, self.worker)
        self._newest = max(sealed_stems(path, self.worker), default=None)
        self._replace()

    def _make(self) -> tuple[int, Segment, SealWriter, BlockWriter | None]:
        """Return a new segment, its seal, behind the one at hand, and what encrypts it."""
        previous = self._seal.as_previous() if self._seal is not None else self._chain_end
        fd, segment = create_segment(
            self.folder,
            worker=self.worker,
            boot_id=self.boot_id,
            number=self._number,
            after=self._newest,
        )
        seal = SealWriter(
            self.folder.open_directory, segment.stem, previous, self.folder.signing_key
        )
        try:
            seal.begin()
        except OSError as error:
            self._lags(error)
        keys = self.folder.keys
        return fd, segment, seal, keys.writer(segment.stem) if keys is not None else None

    def _replace(self) -> None:
        """Open a new segment and close the one before."""
        self._seal_unsealed()
        fd, segment, seal, blocks = self._make()
        if self._segment is not None:
            self._unfinished.append(self._closing())
        self._take(fd, segment, seal, blocks)
        self._finish()

    def _take(
        self, fd: int, segment: Segment, seal: SealWriter, blocks: BlockWriter | None
    ) -> None:
        # Pieces are counted on from one segment to the next.
        self._drop_at -= self._size
        now = time.monotonic()
        self._fd, self._segment, self._seal, self._blocks = fd, segment, seal, blocks
        self._synced = self._power
        self._take_in, self._index_at = seal.take_in, 0
        self._newest = segment.stem
        self._number += 1
        self._seq = self._size = self._checked_size = 0
        self._suspect = self._uncut = self._left = self._entry_synced = False
        self._synced_size = self._synced_seq = 0
        self._file_size = self._synced_file_size = 0
        self._rotate_at = self.segment_bytes
        self._check_due = now + _CHECK_INTERVAL_S
        self._age_due = now + self._segment_age_s

    def _failed(self, error: OSError) -> None:
        self._proved = False
        self._proved_until = 0.0
        self._check_due = 0.0
        # An encrypted file ends where an append failed.
        if error.errno not in _ROOM_ERRORS or self._blocks is not None:
            self._suspect = True
        if self._fd >= 0:
            # Where it can't, it stays uncut, and nothing is written here before it can.
            with contextlib.suppress(OSError):
                self._cut()
        if not self.failing:
            self.failing = True
            _log.error(
                "The flight recorder cannot write (%s); requests are refused until it can.",
                error.strerror or type(error).__name__,
            )

    def _cut_unsynced(self) -> bool:
        """Whether what no sync has covered could be cut off."""
        try:
            os.ftruncate(self._fd, self._synced_file_size)
        except OSError:
            return False
        self._unsealed.clear()
        self._size, self._seq = self._synced_size, self._synced_seq
        self._file_size = self._synced_file_size
        if self._blocks is not None:
            self._blocks.end()
        return True

    def _leave_unsynced(self, error: OSError, *, keep: bool) -> None:
        """Write no more to this segment; the next record goes to a new one."""
        if self._segment is not None and not self._left:
            unsynced = self._size - self._synced_size
            if keep or not self._cut_unsynced():
                # The seal says what the file holds, whoever was answered for it.
                keep = True
                self._seal_unsealed()
            _log.error(
                "Segment %s could not be synced (%s); its last %d bytes %s, and it is left.",
                self._segment.name,
                error.strerror,
                unsynced,
                "may be lost" if keep else "are cut off",
            )
        self._failed(error)
        self._suspect = self._left = True
        # Not at once: a disk that fails is not asked with every request.
        self._proved_until = time.monotonic() + _CHECK_INTERVAL_S

    def _recovered(self) -> None:
        self.failing = False
        _log.warning("The flight recorder writes again.")


def _sync_file(fd: int) -> None:
    if _F_FULLFSYNC is not None:
        fcntl.fcntl(fd, _F_FULLFSYNC)
    else:
        os.fdatasync(fd)


def _sync_directory(path: Path) -> None:
    """Make the entries of a folder durable, where that can be asked for."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _write_all(fd: int, pieces: list[bytes], length: int) -> None:
    if len(pieces) > _MAX_PIECES:
        pieces = [b"".join(pieces)]
    done = os.writev(fd, pieces)
    if done == length:
        return
    rest = memoryview(b"".join(pieces))
    while done != length:
        more = os.write(fd, rest[done:])
        if not more:
            raise OSError(errno.EIO, "a write took no bytes")
        done += more
