"""Keeping closed segments: sorts their indexes, compresses and encrypts them.

Nothing here touches a segment that is being written, or one without a closed seal. What is made
is read back and compared with the seal before it takes the place of what there was: it is
written beside it, synced, renamed, and only then the older file is removed. So a crash at any
point leaves a log that can be read; the next run finds what it left.

Where the log is encrypted, what is written is encrypted before it is written.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from iatp._fast import trail
from iatp._fast.append import BlockWriter
from iatp.adapters.compression import FRAME_BYTES, SeekableWriter, Source
from iatp.adapters.encryption import (
    BLOCK_BYTES,
    LogKeys,
    PlainFile,
    SegmentError,
    is_as_appended,
)
from iatp.adapters.log_folder import TEMPORARY_SUFFIX, Segment, form_rank, segment_of
from iatp.adapters.seals import first_digest, index_name, read_seal, seal_name
from iatp.adapters.segments import SegmentText, open_segment, read_form
from iatp.values.seals import Final, SealHeader

_log = logging.getLogger(__name__)

_INDEX_KEY_BYTES = 16
_SORTED = trail.MAGIC + (1).to_bytes(4, "little")
"""How a sorted index begins."""
_COUNT_AT = 32
"""Where in its header the number of its entries stands; 0 where an earlier version sorted it."""
_MAX_INDEX_BYTES = 1 << 30
"""One that is larger is none: 64 MiB of the smallest records have 5 MB."""


class Stopped(Exception):  # noqa: N818 - not an error
    """The keeper was told to end; what it was at is left to the next one."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done with one closed segment."""

    segment: Segment
    older: tuple[Segment, ...] = ()
    """Files of it that a crash left, though `segment` had taken their place."""
    form: Segment | None = None
    """As it is to be stored from now on."""
    sort: bool = False
    """Its index is lost, still in the order of writing, or does not say how many entries it has."""


class Plan:
    """Finds what there is to do. Where nothing has changed it only looks at the folder's time."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        compress: bool,
        compress_after_s: float,
        encrypt: bool,
    ) -> None:
        self._folder = Path(folder)
        self._compress = compress
        self._compress_after_s = compress_after_s
        self._encrypt = encrypt
        self._settled: set[str] = set()
        self._seen = -1
        self._due = float("-inf")

    def tasks(self, now: float | None = None) -> list[Task]:
        """Return what is to be done now, the oldest segment first; `now` is Unix time.

        Raises:
            OSError: the folder can't be read.
        """
        now = time.time() if now is None else now
        changed = self._folder.stat().st_mtime_ns
        if changed == self._seen and now < self._due:
            return []
        self._due = float("inf")
        names = set(os.listdir(self._folder))  # noqa: PTH208 - names are wanted
        files: dict[str, list[Segment]] = {}
        for name in names:
            segment = segment_of(name)
            if segment is not None:
                files.setdefault(segment.stem, []).append(segment)
        self._settled &= files.keys()
        found = []
        for stem in sorted(files.keys() - self._settled):
            forms = sorted(files[stem], key=form_rank)
            if not forms[0].closed or seal_name(stem) not in names:
                continue
            try:
                task = self._task(forms, now)
            except FileNotFoundError:
                continue  # pruned, or renamed, which changes the folder's time
            if task is not None:
                found.append(task)
        # What is found is looked at again, whether the folder changes or not.
        self._seen = -1 if found else changed
        return found

    def _task(self, forms: list[Segment], now: float) -> Task | None:
        segment = forms[-1]
        form, due = self._form(segment)
        if form is not None and due > now:
            self._due = min(self._due, due)
            form = None
        else:
            due = now
        sort = not _is_sorted(self._folder / index_name(segment.stem))
        older = tuple(forms[:-1])
        if form is None and not sort and not older:
            if due <= now:
                self._settled.add(segment.stem)
            return None
        return Task(segment=segment, older=older, form=form, sort=sort)

    def _form(self, segment: Segment) -> tuple[Segment | None, float]:
        """Return as what it is to be stored, None where it is, and when (Unix time)."""
        if segment.encrypted and not self._encrypt:
            return None, 0.0  # without keys it stays as it is
        path = self._folder / segment.name
        form = msgspec.structs.replace(
            segment,
            compressed=segment.compressed or self._compress,
            encrypted=segment.encrypted or self._encrypt,
        )
        if form == segment:
            is_as_it_should = not form.encrypted or form.compressed or not is_as_appended(path)
            return None if is_as_it_should else form, 0.0
        if form.encrypted:
            # Shippers can't read it, so it waits for nobody.
            return form, 0.0
        return form, path.stat().st_mtime + self._compress_after_s


class Keeper:
    """Does what a plan finds. One at a time in a folder: see `lock`."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        compress: bool,
        compress_after_s: float,
        keys: LogKeys | None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._folder = Path(folder)
        self._keys = keys
        self._stopped = stopped
        self._plan = Plan(
            folder, compress=compress, compress_after_s=compress_after_s, encrypt=keys is not None
        )
        self.failed: set[str] = set()
        """Stems of what could not be done; it is not tried again by this keeper."""

    def lock(self) -> bool:
        """Return whether this is the folder's only keeper; holds for the life of the process.

        Raises:
            OSError: the folder can't be opened.
        """
        fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        return True

    def work(self, now: float | None = None) -> int:
        """Do all that there is to do; return of how many segments it was.

        Raises:
            Stopped: it was told to end.
            OSError: the folder can't be read.
        """
        done = 0
        for task in self._plan.tasks(now):
            stem = task.segment.stem
            if stem in self.failed:
                continue
            if self._stopped():
                raise Stopped
            try:
                done += self._do(task)
            except FileNotFoundError:
                continue  # pruned meanwhile
            except (OSError, ValueError) as error:
                self.failed.add(stem)
                _log.error(
                    "The keeper of the log could not store %s (%s); it stays as it is.",
                    task.segment.name,
                    getattr(error, "strerror", None) or error,
                )
        return done

    def _do(self, task: Task) -> bool:
        segment = task.segment
        seal = read_seal(self._folder, segment.stem)
        if seal is None or seal.header is None or seal.final is None:
            # Of an older version, or made good later by who writes the log.
            self.failed.add(segment.stem)
            return False
        final = seal.final
        if final.segment != segment.stem or seal.header.segment != segment.stem:
            raise SegmentError(segment.name, "has the seal of another segment")
        check = _Check(seal.header, final, self._stopped)
        if task.older:
            self._remove_older(task, check)
        if task.form is not None:
            self._store(segment, task.form, check)
        if task.sort:
            self._sort(segment, final, check)
        return True

    # Records.

    def _remove_older(self, task: Task, check: _Check) -> None:
        """Finish what a crash cut off between the rename and the removal."""
        with _opened(self._folder, task.segment, self._keys) as text:
            check.read(task.segment.name, text)
        for older in task.older:
            (self._folder / older.name).unlink(missing_ok=True)
        _sync_folder(self._folder)

    def _store(self, segment: Segment, form: Segment, check: _Check) -> None:
        temporary = form.name + TEMPORARY_SUFFIX
        path = self._folder / temporary
        path.unlink(missing_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(path, flags, 0o600)
        try:
            with _opened(self._folder, segment, self._keys) as text:
                if text.segment != segment:
                    raise FileNotFoundError(errno.ENOENT, "stored by another", segment.name)
                times = (self._folder / segment.name).stat()
                _write(fd, _stored(check.read(segment.name, text), form, self._keys))
            os.utime(fd, ns=(times.st_atime_ns, times.st_mtime_ns))
            os.fsync(fd)
            with contextlib.closing(
                read_form(self._folder, form, PlainFile(os.dup(fd)), self._keys)
            ) as written:
                for _ in check.read(temporary, written):
                    pass
            self._take_place(path, segment, form)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)

    def _take_place(self, path: Path, segment: Segment, form: Segment) -> None:
        old, new = self._folder / segment.name, self._folder / form.name
        old.lstat()  # else it was pruned
        path.rename(new)
        _sync_folder(self._folder)
        if new != old:
            try:
                old.unlink()
            except FileNotFoundError:
                # Pruned before it had another name: so it must not come back under that.
                new.unlink(missing_ok=True)
            _sync_folder(self._folder)

    # Index.

    def _sort(self, segment: Segment, final: Final, check: _Check) -> None:
        path = self._folder / index_name(segment.stem)
        index = _read_index(path)
        if index is None or not _is_of(index, final):
            index = self._made_anew(segment, check)
            _log.warning("The index of %s was lost or damaged and is made anew.", segment.name)
        temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
        temporary.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(temporary, flags, 0o600)
        try:
            _write(fd, [trail.sort(index)])
            os.fsync(fd)
            # Where the segment was pruned meanwhile, its index must not come back.
            if not any((self._folder / one.name).exists() for one in segment.forms()):
                raise FileNotFoundError(errno.ENOENT, "pruned", segment.name)
            temporary.rename(path)
            _sync_folder(self._folder)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)

    def _made_anew(self, segment: Segment, check: _Check) -> bytes:
        key = os.urandom(_INDEX_KEY_BYTES)
        pieces = [trail.header(key)]
        offset = records = 0
        rest = b""
        with _opened(self._folder, segment, self._keys) as text:
            for data in check.read(segment.name, text):
                lines, rest = _whole_lines(rest + data)
                if lines:
                    pieces.append(trail.entries([lines], key, offset, records))
                    offset += len(lines)
                    records += lines.count(b"\n")
        return b"".join(pieces)


class _Check:
    """Reads the text of one segment and holds it against its seal."""

    def __init__(self, header: SealHeader, final: Final, stopped: Callable[[], bool]) -> None:
        self._digest = first_digest(header.previous, header.segment)
        self._final = final
        self._stopped = stopped

    def read(self, name: str, text: Source | SegmentText) -> Iterator[bytes]:
        """Yield the text in pieces of a frame. Raises, behind the last: SegmentError."""
        digest = self._digest.copy()
        size = text.size
        if size != self._final.bytes:
            raise SegmentError(
                name, f"has {size} bytes of records, and its seal says {self._final.bytes}"
            )
        for offset in range(0, size, FRAME_BYTES):
            if self._stopped():
                raise Stopped
            data = text.read(offset, FRAME_BYTES)
            digest.update(data)
            yield data
        if digest.hexdigest() != self._final.sha256:
            raise SegmentError(name, "is not what its seal says; `iatp log verify` says where")


@contextlib.contextmanager
def _opened(folder: Path, segment: Segment, keys: LogKeys | None) -> Iterator[SegmentText]:
    text = open_segment(folder, segment, keys)
    if text is None:
        raise FileNotFoundError(errno.ENOENT, "pruned", segment.name)
    with text:
        yield text


def _stored(text: Iterable[bytes], form: Segment, keys: LogKeys | None) -> Iterable[bytes]:
    """Yield what is written for a text, piece by piece."""
    stored = _compressed(text) if form.compressed else text
    if not form.encrypted:
        return stored
    if keys is None:
        raise ValueError("to encrypt there must be a key")
    return _encrypted(stored, keys.writer(form.stem))


def _compressed(text: Iterable[bytes]) -> Iterator[bytes]:
    writer = SeekableWriter()
    for data in text:
        yield writer.frame(data)
    yield writer.end()


def _encrypted(stored: Iterable[bytes], writer: BlockWriter) -> Iterator[bytes]:
    yield writer.header()
    waiting = bytearray()
    for data in stored:
        waiting += data
        # A last block is there in any case, so what would fill one waits for more.
        while len(waiting) > BLOCK_BYTES:
            yield from writer.block([bytes(waiting[:BLOCK_BYTES])])
            writer.written()
            del waiting[:BLOCK_BYTES]
    yield from writer.block([bytes(waiting)], last=True)


def _write(fd: int, pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(fd, rest) :]


def _whole_lines(data: bytes) -> tuple[bytes, bytes]:
    end = data.rfind(b"\n") + 1
    return data[:end], data[end:]


def _is_sorted(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        head = os.pread(fd, trail.HEADER_BYTES, 0)
        return head.startswith(_SORTED) and any(head[_COUNT_AT : _COUNT_AT + 8])
    finally:
        os.close(fd)


def _read_index(path: Path) -> bytes | None:
    """Return an index, or None where it is lost or can't be one."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    with io.FileIO(fd) as file:
        if os.fstat(fd).st_size > _MAX_INDEX_BYTES:
            return None
        return file.readall()


def _is_of(index: bytes, final: Final) -> bool:
    """Whether an index is the one that the seal vouches for."""
    count = (len(index) - trail.HEADER_BYTES) // trail.ENTRY_BYTES
    try:
        return count == final.records and trail.checks_sha256(index) == final.checks
    except ValueError:
        return False


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
