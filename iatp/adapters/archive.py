"""Whole segments of a log, as they are, in one tar file; and a folder made of it again.

An archive begins with `iatp-export.json`, then come `head.json` and the segments, each with its
seal and index. It is consistent while writing goes on: the head is read first, closed segments
next, what is being written last and only up to its last mark, with worker 0, whose records say
what retention removed meanwhile, at the very end. Nothing is decrypted or compressed on the way.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import stat
import struct
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import msgspec

from iatp.adapters.log_folder import Segment, segment_of
from iatp.adapters.seals import (
    HEAD_NAME,
    INDEX_SUFFIX,
    SEAL_SUFFIX,
    TORN_SUFFIX,
    index_name,
    parse_seal,
    seal_name,
)
from iatp.adapters.selection import segments_within

MANIFEST_NAME = "iatp-export.json"
_FORMAT = "iatp-export-1"
_INDEX_HEADER_BYTES = 64
_INDEX_ENTRY_BYTES = 24
_CRYPT_HEADER_BYTES = 64
_CRYPT_TAG_BYTES = 16
_CRYPT_LENGTH = struct.Struct("<I")
_CRYPT_LAST = 1 << 31
_COPY_BYTES = 1 << 20
_PATIENCE_S = 2.0
"""A writer seals a segment and gives it its name in two steps."""
_PAUSE_S = 0.02
_MANIFEST_LIMIT = 1 << 16

Progress = Callable[[int, int], None]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The first file of an archive."""

    format: str = _FORMAT
    timestamp: str
    since: str = ""
    until: str = ""
    """Whole segments that reach into that time; both empty: the whole log."""

    @property
    def is_excerpt(self) -> bool:
        """Whether segments were left out on purpose."""
        return bool(self.since or self.until)


class Archived(msgspec.Struct, frozen=True, kw_only=True):
    """What was written to an archive, or read from one."""

    segments: int
    open_segments: int
    """Of them, those that were being written: they are there up to their last mark."""
    bytes: int
    excerpt: bool


class ArchiveError(Exception):
    """An archive that is none, or holds what no log holds; the message is a sentence."""


_manifests = msgspec.json.Decoder(Manifest)


def write_archive(
    folder: Path, file: IO[bytes], manifest: Manifest, progress: Progress | None = None
) -> Archived:
    """Write a log, or the segments of some time, as a stream.

    Raises:
        OSError: the folder can't be read, or the archive can't be written.
    """
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        return _Export(folder, tar, manifest, progress).run()


class _Export:
    """One archive being written."""

    def __init__(
        self,
        folder: Path,
        tar: tarfile.TarFile,
        manifest: Manifest,
        progress: Progress | None,
    ) -> None:
        self.folder = folder
        self.tar = tar
        self.manifest = manifest
        self.progress = progress
        self.seen: set[str] = set()
        self.segments = 0
        self.open_segments = 0
        self.bytes = 0
        self.ended: set[int] = set()
        """Worker slots of which what was being written was added."""

    def run(self) -> Archived:
        """Write everything."""
        self._add_bytes(MANIFEST_NAME, msgspec.json.encode(self.manifest) + b"\n")
        with contextlib.suppress(FileNotFoundError):
            self._add_bytes(HEAD_NAME, (self.folder / HEAD_NAME).read_bytes())
        self.total = sum(_size(self.folder, segment) for segment in self._listed())
        while following := self._following():
            for segment in following:
                self._add_segment(segment)
        return Archived(
            segments=self.segments,
            open_segments=self.open_segments,
            bytes=self.bytes,
            excerpt=self.manifest.is_excerpt,
        )

    def _following(self) -> list[Segment]:
        """Return what is to be added next, as the folder is now; nothing at the end.

        What retention says of segments that are missed stands in a record that is sealed before
        they are deleted. So it is there where worker 0 is added to its end after all else.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            new = [
                each
                for each in self._listed()
                if each.stem not in self.seen and each.worker not in self.ended
            ]
            closed = [each for each in new if each.closed]
            if closed:
                return closed
            following = [each for each in new if each.worker != 0] or new
            oldest = {each.worker: each for each in reversed(following)}
            # A writer has begun the next segment a moment before the one before is closed.
            if len(oldest) == len(following) or time.monotonic() > deadline:
                self.ended |= oldest.keys()
                return list(oldest.values())
            time.sleep(_PAUSE_S)

    def _listed(self) -> list[Segment]:
        return segments_within(self.folder, self.manifest.since, self.manifest.until)

    def _add_segment(self, segment: Segment) -> None:
        stem = segment.stem
        self.seen.add(stem)
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                form, file = _open_form(self.folder, segment)
            except FileNotFoundError:
                return  # pruned
            seal = _read_or_nothing(self.folder / seal_name(stem))
            index = _read_or_nothing(self.folder / index_name(stem))
            is_sealed = parse_seal(seal).final is not None
            # One without an index may be being pruned.
            if (is_sealed == form.closed and index) or time.monotonic() > deadline:
                break
            file.close()
            time.sleep(_PAUSE_S)
        self.segments += 1
        with file:
            if form.closed:
                self._add_file(form.name, file, os.fstat(file.fileno()).st_size)
            else:
                seal, index = self._add_open(form, file, seal, index)
        self._add_bytes(seal_name(stem), seal)
        self._add_bytes(index_name(stem), index)
        torn = _read_or_nothing(self.folder / (stem + TORN_SUFFIX))
        if torn:
            self._add_bytes(stem + TORN_SUFFIX, torn)
        if self.progress is not None:
            self.progress(self.bytes, max(self.total, self.bytes))

    def _add_open(
        self, form: Segment, file: IO[bytes], seal: bytes, index: bytes
    ) -> tuple[bytes, bytes]:
        """Add what is sealed of a segment that is being written; return its seal and index."""
        self.open_segments += 1
        whole = seal[: seal.rfind(b"\n") + 1]
        marks = parse_seal(whole).marks
        records, length = (marks[-1].records, marks[-1].bytes) if marks else (0, 0)
        if form.encrypted:
            length = _encrypted_length(file, length)
        self._add_file(form.name, file, length)
        return whole, index[: _INDEX_HEADER_BYTES + records * _INDEX_ENTRY_BYTES]

    def _add_bytes(self, name: str, data: bytes) -> None:
        self._add_file(name, io.BytesIO(data), len(data))

    def _add_file(self, name: str, file: IO[bytes], length: int) -> None:
        entry = tarfile.TarInfo(name)
        entry.size = length
        entry.mode = 0o600
        entry.mtime = int(time.time())
        if isinstance(file, io.BufferedReader):
            entry.mtime = int(os.fstat(file.fileno()).st_mtime)
        self.tar.addfile(entry, file)
        self.bytes += length


def read_archive(file: IO[bytes], target: Path) -> Archived:
    """Make a new log folder of an archive; all of it, or nothing.

    Raises:
        FileExistsError: there is something in the target already.
        ArchiveError: it is none, or holds what no log holds.
        OSError: it can't be read, or the folder can't be made.
    """
    target = Path(os.path.abspath(target))  # noqa: PTH100 - must not resolve links
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise FileExistsError(errno.EEXIST, "it is there already, and is not empty", str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    made = target.with_name(f"{target.name}.{os.urandom(4).hex()}.importing")
    made.mkdir(mode=0o700)
    try:
        archived = _unpack(file, made)
        # Takes the place of an empty folder, and of nothing else.
        made.rename(target)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return archived


def _unpack(file: IO[bytes], folder: Path) -> Archived:
    manifest: Manifest | None = None
    segments: list[Segment] = []
    total = 0
    try:
        with tarfile.open(fileobj=file, mode="r|") as tar:
            for entry in tar:
                content = tar.extractfile(entry) if entry.isreg() else None
                if content is None:
                    raise ArchiveError(f"It holds {entry.name!r}, which is no file.")
                if manifest is None:
                    manifest = _manifest(entry, content)
                    continue
                segment = segment_of(entry.name)
                if segment is None and not _belongs(entry.name):
                    raise ArchiveError(f"It holds {entry.name!r}, which no log folder holds.")
                if segment is not None:
                    segments.append(segment)
                _write_new(folder / entry.name, content, entry)
                total += entry.size
    except tarfile.TarError as error:
        raise ArchiveError(f"It is no archive, or is cut off ({error}).") from None
    if manifest is None:
        raise ArchiveError("It is empty.")
    return Archived(
        segments=len({segment.stem for segment in segments}),
        open_segments=sum(not segment.closed for segment in segments),
        bytes=total,
        excerpt=manifest.is_excerpt,
    )


def _manifest(entry: tarfile.TarInfo, content: IO[bytes]) -> Manifest:
    if entry.name == MANIFEST_NAME and entry.size <= _MANIFEST_LIMIT:
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
            manifest = _manifests.decode(content.read())
            if manifest.format == _FORMAT:
                return manifest
    raise ArchiveError("It was not made by iatp log export.")


def _belongs(name: str) -> bool:
    if name == HEAD_NAME:
        return True
    for suffix in (SEAL_SUFFIX, INDEX_SUFFIX, TORN_SUFFIX):
        if name.endswith(suffix):
            return segment_of(name.removesuffix(suffix) + ".jsonl") is not None
    return False


def _write_new(path: Path, content: IO[bytes], entry: tarfile.TarInfo) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o600)
    except FileExistsError:
        raise ArchiveError(f"It holds {path.name!r} twice.") from None
    with os.fdopen(fd, "wb") as made:
        shutil.copyfileobj(content, made, _COPY_BYTES)
        made.flush()
        if os.fstat(fd).st_size != entry.size:
            raise ArchiveError("It is cut off.")
        os.fsync(fd)
    # Retention goes by the time of the last write.
    os.utime(path, (entry.mtime, entry.mtime))


def _open_form(folder: Path, segment: Segment) -> tuple[Segment, IO[bytes]]:
    """Open the file of a segment as it is stored now.

    Raises:
        FileNotFoundError: it is gone.
    """
    for form in segment.forms():
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(
                folder / form.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            )
            if stat.S_ISREG(os.fstat(fd).st_mode):
                return form, os.fdopen(fd, "rb", _COPY_BYTES)
            os.close(fd)
    raise FileNotFoundError(errno.ENOENT, "the segment is gone", segment.name)


def _encrypted_length(file: IO[bytes], plain: int) -> int:
    """Return how long an encrypted file is that holds so much, and leave it at its beginning."""
    at, held = _CRYPT_HEADER_BYTES, 0
    while held < plain:
        file.seek(at)
        (length,) = _CRYPT_LENGTH.unpack(file.read(_CRYPT_LENGTH.size))
        length &= ~_CRYPT_LAST
        held += length
        at += _CRYPT_LENGTH.size + length + _CRYPT_TAG_BYTES
    file.seek(0)
    return min(at, os.fstat(file.fileno()).st_size)


def _read_or_nothing(path: Path) -> bytes:
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    return b""


def _size(folder: Path, segment: Segment) -> int:
    with contextlib.suppress(OSError):
        return (folder / segment.name).lstat().st_size
    return 0
