"""The log's seals, indexes and heads as files (docs/log-format.md).

A `SealWriter` goes with a segment that is being written. What is appended is digested and indexed
at once, while it is in the processor's cache, by one compiled call. Marks are written by `mark` and
`finish` alone, index entries also as they come; where the disk refuses, the next of those writes
all that is missing. So a seal may lag, and never says what is not so.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import io
import logging
import os
import re
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from iatp._fast import trail
from iatp.adapters.signing import SigningKey
from iatp.values.seals import (
    DIGEST_PREFIX,
    HEAD_FORMAT,
    NO_DIGEST,
    SEAL_FORMAT,
    Chain,
    Final,
    Head,
    Mark,
    Previous,
    SealHeader,
    SignedFinal,
    SignedHead,
)

_log = logging.getLogger(__name__)

SEAL_SUFFIX = ".seal"
INDEX_SUFFIX = ".index"
TORN_SUFFIX = ".torn"
HEAD_NAME = "head.json"

SEAL_PREFIX = b"iatp-seal-1\n"
"""Stands before `final` in what a seal's signature is made over."""
HEAD_PREFIX = b"iatp-head-1\n"

_HEAD_LIMIT = 1 << 20
_INDEX_KEY_BYTES = 16
_WAITING_RECORDS = 1024
"""So many do not wait for the mark to be in the index: every question for a trace searches those of
an open segment that are not. Costs 60 to 90 µs each time on a busy machine."""
_LAGGING_BYTES = 4 << 20
"""So many entries are kept for an index that cannot be written, then it is given up."""
_TAIL_BYTES = 64 << 10
"""Holds the last lines of a seal, whatever they are."""
_SEAL_NAME = re.compile(r"(\d{8}T\d{6}\.\d{6}Z-w(\d{1,5})-[A-Za-z0-9-]{1,64}-\d{6,12})\.seal")
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
NOTHING_BEFORE = Previous(segment=None, sha256=NO_DIGEST)

_T = TypeVar("_T")

_headers = msgspec.json.Decoder(SealHeader)
_marks = msgspec.json.Decoder(Mark)
_signed_finals = msgspec.json.Decoder(SignedFinal)
_finals = msgspec.json.Decoder(Final)
_signed_heads = msgspec.json.Decoder(SignedHead)
_heads = msgspec.json.Decoder(Head)


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """What a seal's file says; nothing of it is checked against the records or the key."""

    header: SealHeader | None
    """None where the first line is none."""
    marks: list[Mark]
    final: Final | None = None
    """None while the segment is open, and where the last line is damaged."""
    final_raw: bytes = b""
    """`final` as it stands in the file: what was signed, behind SEAL_PREFIX."""
    signature: str = ""
    damaged_lines: int = 0
    """Whole lines that are none of these, and lines behind `final`."""
    torn_bytes: int = 0
    """Bytes behind the last line end: a mark that a crash tore, or one that is being written."""


class SignedHeadText(msgspec.Struct, frozen=True, kw_only=True):
    """A head, and what its signature is over."""

    head: Head
    raw: bytes
    """`head` as it stands in the file: what was signed, behind HEAD_PREFIX."""
    signature: str


def seal_name(stem: str) -> str:
    """Return the name of a segment's seal."""
    return stem + SEAL_SUFFIX


def index_name(stem: str) -> str:
    """Return the name of a segment's index."""
    return stem + INDEX_SUFFIX


def read_seal(folder: str | os.PathLike[str], stem: str) -> Seal | None:
    """Return a segment's seal, or None where it has none.

    Raises:
        OSError: it can't be read.
    """
    data = _read_file(Path(folder, seal_name(stem)))
    return None if data is None else parse_seal(data)


def parse_seal(data: bytes) -> Seal:
    """Return what the text of a seal says; damaged lines are counted, not raised."""
    lines = data.split(b"\n")
    torn_bytes = len(lines.pop())
    header = _decoded(_headers, lines[0]) if lines else None
    if header is not None and header.format != SEAL_FORMAT:
        header = None
    damaged = 1 if lines and header is None else 0
    marks: list[Mark] = []
    final: Final | None = None
    final_raw, signature = b"", ""
    for line in lines[1:]:
        mark = _decoded(_marks, line) if final is None else None
        if mark is not None:
            marks.append(mark)
            continue
        signed = _decoded(_signed_finals, line) if final is None else None
        if signed is not None:
            final_raw, signature = bytes(signed.final), signed.signature
            final = _decoded(_finals, final_raw)
        if signed is None or final is None:
            damaged += 1
    return Seal(
        header=header,
        marks=marks,
        final=final,
        final_raw=final_raw if final is not None else b"",
        signature=signature if final is not None else "",
        damaged_lines=damaged,
        torn_bytes=torn_bytes,
    )


def read_head(folder: str | os.PathLike[str]) -> SignedHeadText | None:
    """Return the folder's head, or None where there is none that can be read.

    Raises:
        OSError: the file can't be read.
    """
    data = _read_file(Path(folder, HEAD_NAME))
    return None if data is None else parse_head(data)


def parse_head(data: bytes) -> SignedHeadText | None:
    """Return what the text of a head says, or None where it is none."""
    signed = _decoded(_signed_heads, data) if len(data) <= _HEAD_LIMIT else None
    head = _decoded(_heads, bytes(signed.head)) if signed is not None else None
    if signed is None or head is None or head.format != HEAD_FORMAT:
        return None
    return SignedHeadText(head=head, raw=bytes(signed.head), signature=signed.signature)


def _decoded(decoder: msgspec.json.Decoder[_T], data: bytes) -> _T | None:
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        return decoder.decode(data)
    return None


def _read_file(path: Path, last_bytes: int | None = None) -> bytes | None:
    """Return all of a file, or its end; None where there is none, or something that is no file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EMLINK}:
            return None
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    with io.FileIO(fd) as file:
        if last_bytes is not None:
            file.seek(max(0, os.fstat(fd).st_size - last_bytes))
        return file.readall()


def sealed_stems(folder: str | os.PathLike[str], worker: int) -> list[str]:
    """Return the stems of the segments of a worker slot that have a seal, oldest first.

    Raises:
        OSError: the folder can't be read.
    """
    return sorted(_stems_by_worker(folder).get(worker, []))


def _stems_by_worker(folder: str | os.PathLike[str]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for name in os.listdir(folder):  # noqa: PTH208 - names are wanted
        match = _SEAL_NAME.fullmatch(name)
        if match is not None:
            found.setdefault(int(match[2]), []).append(match[1])
    return found


def last_point(folder: str | os.PathLike[str], stem: str) -> Mark | Final | None:
    """Return the last thing that a segment's seal says, or None where it says nothing.

    Reads its end only: a segment that was open for a day may have 86,400 marks.

    Raises:
        OSError: it can't be read.
    """
    data = _read_file(Path(folder, seal_name(stem)), _TAIL_BYTES)
    for line in reversed((data or b"").split(b"\n")[:-1]):
        signed = _decoded(_signed_finals, line)
        if signed is not None:
            return _decoded(_finals, bytes(signed.final))
        mark = _decoded(_marks, line)
        if mark is not None:
            return mark
    return None


def seal_header(folder: str | os.PathLike[str], stem: str) -> SealHeader | None:
    """Return the first line of a segment's seal, or None where there is none.

    Raises:
        OSError: it can't be read.
    """
    try:
        with Path(folder, seal_name(stem)).open("rb") as file:
            return parse_seal(file.readline(_TAIL_BYTES)).header
    except FileNotFoundError:
        return None


def chain_end(folder: str | os.PathLike[str], worker: int, before: str | None = None) -> Previous:
    """Return what the next segment of a worker slot names as the one before it.

    That is the newest whose seal is closed; older than `before` where that is given.

    Raises:
        OSError: the folder can't be read.
    """
    for stem in reversed(sealed_stems(folder, worker)):
        if before is None or stem < before:
            point = last_point(folder, stem)
            if isinstance(point, Final):
                return Previous(segment=stem, sha256=point.sha256)
    return NOTHING_BEFORE


def write_head(
    folder: str | os.PathLike[str], directory: int, agent_id: str, key: SigningKey
) -> None:
    """Write down, signed, how far every worker slot's chain is sealed.

    `directory` is a descriptor of the folder.

    Raises:
        OSError: it can't be written; the one before stays.
    """
    chains = []
    for worker, stems in sorted(_stems_by_worker(folder).items()):
        for stem in sorted(stems, reverse=True):
            # It may have been removed meanwhile: one that was empty, or by retention.
            point = last_point(folder, stem)
            if point is not None:
                chains.append(
                    Chain(
                        worker=worker,
                        segment=stem,
                        records=point.records,
                        bytes=point.bytes,
                        sha256=point.sha256,
                    )
                )
                break
    head = Head(
        format=HEAD_FORMAT,
        timestamp=timestamp(),
        agent_id=agent_id,
        key=key.key_id,
        public_key=base64.b64encode(key.public_key).decode("ascii"),
        chains=chains,
    )
    raw = msgspec.json.encode(head)
    signed = SignedHead(head=msgspec.Raw(raw), signature=key.sign(HEAD_PREFIX, raw))
    replace_file(directory, HEAD_NAME, [msgspec.json.encode(signed), b"\n"])


def replace_file(directory: int, name: str, pieces: Iterable[bytes]) -> None:
    """Give a file this content, whole and durable, or leave it as it is.

    Raises:
        OSError: it can't be written.
    """
    temporary = f"{name}.{os.urandom(4).hex()}.tmp"
    try:
        with open_new(directory, temporary) as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise


def open_new(directory: int, name: str) -> io.BufferedWriter:
    """Return a new file of the folder, to be written. Raises: OSError."""
    return io.BufferedWriter(io.FileIO(os.open(name, _NEW_FILE, 0o600, dir_fd=directory), "w"))


def first_digest(previous: Previous, stem: str) -> hashlib._Hash:
    """Return the digest of a segment without records."""
    text = f"{previous.sha256}\n{stem}\n"
    return hashlib.sha256(DIGEST_PREFIX + text.encode("ascii"))


def timestamp() -> str:
    """Return the wall clock as records have it."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    day = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{day}.{nanoseconds // 1000:06d}Z"


def header_line(stem: str, previous: Previous) -> bytes:
    """Return the first line of a seal."""
    header = SealHeader(format=SEAL_FORMAT, segment=stem, previous=previous)
    return msgspec.json.encode(header) + b"\n"


def final_line(final: Final, key: SigningKey) -> bytes:
    """Return the last line of a seal, signed."""
    raw = msgspec.json.encode(final)
    signature = key.sign(SEAL_PREFIX, raw)
    return msgspec.json.encode(SignedFinal(final=msgspec.Raw(raw), signature=signature)) + b"\n"


class SealWriter:
    """The digest, the seal and the index of one segment while it is written.

    Not thread-safe. `open_directory` returns a descriptor of the log folder.
    """

    def __init__(
        self, open_directory: Callable[[], int], stem: str, previous: Previous, key: SigningKey
    ) -> None:
        self.stem = stem
        self.previous = previous
        self._open_directory = open_directory
        self._key = key
        self._marked_records = self._taken_records = 0
        self._seal = _File(stem + SEAL_SUFFIX)
        self._index = _File(stem + INDEX_SUFFIX)
        index_key = os.urandom(_INDEX_KEY_BYTES)
        self._trail = trail.Trail(first_digest(previous, stem), index_key)
        self.take_in = self._trail.add
        """Takes in whole records that stand in the file now; `enter` must follow in time."""
        # What is not in the index's file yet: one piece, but where that could not be written.
        self._entries = [trail.header(index_key)]
        self._gave_up = False
        self._finished = False

    def add(self, pieces: list[bytes]) -> None:
        """Take in whole records that stand in the file now."""
        self.take_in(pieces)
        self.enter()

    def enter(self) -> int:
        """Write the index where many records wait for it; return with how many to ask again."""
        if self._trail.records >= self._taken_records + _WAITING_RECORDS and self._index.size:
            # What is not written now is written with the mark, which also says what is wrong.
            with contextlib.suppress(OSError):
                self._write(b"")
        return self._taken_records + _WAITING_RECORDS

    def as_previous(self) -> Previous:
        """Return what the next segment names: this one, or where it is empty the one before."""
        if not self._trail.records:
            return self.previous
        return Previous(segment=self.stem, sha256=self._trail.digest())

    def begin(self) -> None:
        """Make the files, where that was not done yet.

        Raises:
            OSError: they can't be made; the next mark tries again.
        """
        self._write(b"")

    def mark(self) -> None:
        """Write down the digest so far and the entries up to it, if there is anything new.

        Raises:
            OSError: it is not, or not all, written; the next call makes it good.
        """
        records = self._trail.records
        if records == self._marked_records and not self._entries and not self._seal.is_lost():
            return
        mark = Mark(
            records=records,
            bytes=self._trail.size,
            sha256=self._trail.digest(),
            timestamp=timestamp(),
        )
        self._write(msgspec.json.encode(mark) + b"\n" if records else b"")

    def finish(self, *, sync: bool = False) -> None:
        """Write the rest of the index and the signed end of the seal; `sync`: durably.

        Raises:
            OSError: it is not written; the next call makes it good.
        """
        if self._finished:
            return
        final = Final(
            segment=self.stem,
            records=self._trail.records,
            bytes=self._trail.size,
            sha256=self._trail.digest(),
            checks=self._trail.checks(),
            timestamp=timestamp(),
            key=self._key.key_id,
        )
        # The index first: a segment with a whole seal has a whole index.
        self._write(b"")
        if sync:
            self._index.sync()
        self._write(final_line(final, self._key))
        if sync:
            self._seal.sync()
        self._finished = True

    def discard(self) -> None:
        """Remove the files, of a segment that held no record."""
        self.close()
        with contextlib.suppress(OSError):
            directory = self._open_directory()
            try:
                for file in (self._index, self._seal):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(file.name, dir_fd=directory)
            finally:
                os.close(directory)

    def close(self) -> None:
        """Close the files as they are."""
        self._seal.close()
        self._index.close()

    def _take_entries(self) -> None:
        """Have what is new written to the index with what is still missing there."""
        made = self._trail.take()
        self._taken_records = self._trail.records
        if not made or self._gave_up:
            return
        self._entries.append(made)
        if sum(map(len, self._entries)) > _LAGGING_BYTES:
            self._give_up_index()

    def _write(self, line: bytes) -> None:
        """Append a line to the seal and what there is to the index; makes them first."""
        self._take_entries()
        directory = self._open_directory()
        try:
            if self._seal.is_lost():
                # Removed under us: what is sealed from now on is sealed anew.
                self._seal.close()
            if not self._seal.size:
                self._seal.append(directory, header_line(self.stem, self.previous))
            if line:
                self._seal.append(directory, line)
                self._marked_records = self._trail.records
            while self._entries:
                self._index.append(directory, self._entries[0])
                del self._entries[0]
        finally:
            os.close(directory)

    def _give_up_index(self) -> None:
        self._gave_up = True
        self._entries.clear()
        self._index.close()
        _log.error("The index of segment %s cannot be written and is given up.", self.stem)
        with contextlib.suppress(OSError):
            directory = self._open_directory()
            try:
                os.unlink(self._index.name, dir_fd=directory)
            finally:
                os.close(directory)


class _File:
    """A file that grows by whole pieces; a piece that was not written whole is written again."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.size = 0
        """Of the whole pieces."""
        self._fd = -1
        self._uncut = False

    def append(self, directory: int, data: bytes) -> None:
        """Write a piece behind those before; makes the file. Raises: OSError."""
        if self._fd < 0:
            self._fd = os.open(self.name, _NEW_FILE, 0o600, dir_fd=directory)
            self.size = 0
        if self._uncut:
            os.ftruncate(self._fd, self.size)
        self._uncut = True
        with memoryview(data) as view:
            done = 0
            while done < len(view):
                more = os.pwrite(self._fd, view[done:], self.size + done)
                if not more:
                    raise OSError(errno.EIO, "a write took no bytes")
                done += more
        self.size += len(data)
        self._uncut = False

    def is_lost(self) -> bool:
        """Whether the file was removed."""
        return self._fd >= 0 and os.fstat(self._fd).st_nlink == 0

    def sync(self) -> None:
        """Wait until the disk has it. Raises: OSError."""
        if self._fd >= 0:
            os.fsync(self._fd)

    def close(self) -> None:
        """Close it; what is appended next makes it anew."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
        self.size = 0
        self._uncut = False
