"""Closes a segment whose writer died: what is whole stays, is sealed, and is signed as recovered.

What was sealed is taken as it stands, whatever it is: if it was changed, the marks say so, and
taking it away would take evidence away. Behind the last mark the first line that is not the
record that must stand there ends the segment; it and what follows is set aside in `.torn`. A
crash during recovery leaves what another one can do again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import msgspec

from iatp._fast import trail
from iatp.adapters.encryption import (
    HEADER_BYTES,
    EncryptedFile,
    LogKeys,
    PlainFile,
    SegmentError,
)
from iatp.adapters.seals import (
    INDEX_SUFFIX,
    SEAL_SUFFIX,
    TORN_SUFFIX,
    Seal,
    chain_end,
    final_line,
    first_digest,
    header_line,
    read_seal,
    replace_file,
    timestamp,
)
from iatp.values.seals import Final, Mark, Previous

if TYPE_CHECKING:
    from iatp.adapters.log_folder import Segment
    from iatp.adapters.signing import SigningKey

_log = logging.getLogger(__name__)

_BLOCK_BYTES = 256 << 10
_decode = msgspec.json.Decoder().decode


class Leftover(msgspec.Struct, frozen=True, kw_only=True):
    """A segment whose writer died, closed now by its successor."""

    name: str
    size: int
    """Bytes of its whole records."""
    torn_bytes: int
    """Bytes behind the last whole record, set aside: a write that was cut off, or zeros."""
    changed_after: int | None = None
    """The records behind so many are not those that were sealed."""

    def __str__(self) -> str:
        said = f"Closed segment {self.name}, whose writer had died; "
        if not self.torn_bytes:
            said += "it is whole."
        else:
            said += (
                f"its last {self.torn_bytes} bytes are no whole records and were set aside "
                f"in a file that ends in {TORN_SUFFIX}."
            )
        if self.changed_after is not None:
            said += (
                f" ITS RECORDS FROM NUMBER {self.changed_after} ON ARE NOT THOSE THAT WERE "
                "SEALED; iatp log verify says more."
            )
        return said


def recover(
    folder: str | os.PathLike[str],
    directory: int,
    segment: Segment,
    fd: int,
    key: SigningKey,
    *,
    keys: LogKeys | None = None,
) -> Leftover | None:
    """Seal a segment, to which `fd` is open, and close it; None where it held nothing.

    Raises:
        OSError: it can't, or its key is not among `keys`; the segment stays as it is, or is cut
            to its whole records.
    """
    stem = segment.stem
    seal = read_seal(folder, stem)
    text = _text(segment, fd, keys)
    if not text.stored and (seal is None or not seal.marks) and _torn_size(directory, stem) == 0:
        for name in (stem + INDEX_SUFFIX, stem + SEAL_SUFFIX, segment.name):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory)
        return None
    if seal is not None and seal.final is not None:
        # Its writer died between the last line of the seal and the segment's new name.
        return _rename(directory, segment, Leftover(name="", size=seal.final.bytes, torn_bytes=0))
    previous = _previous(folder, segment, seal)
    marks = seal.marks if seal is not None else []
    whole = _find_end(text, first_digest(previous, stem), marks)
    _set_aside(directory, stem, fd, text.place_behind(whole.end))
    made = _make_index(directory, stem, text, whole.end, previous)
    final = Final(
        segment=stem,
        records=made.records,
        bytes=whole.end,
        sha256=made.digest(),
        checks=made.checks(),
        timestamp=timestamp(),
        key=key.key_id,
        recovered=True,
        torn_bytes=_torn_size(directory, stem),
    )
    line = final_line(final, key)
    if seal is None or seal.header is None:
        if seal is not None:
            _log.error("The seal of segment %s was damaged and is made anew.", stem)
        replace_file(directory, stem + SEAL_SUFFIX, [header_line(stem, previous), line])
    else:
        _append(directory, stem + SEAL_SUFFIX, seal.torn_bytes, line)
    return _rename(
        directory,
        segment,
        Leftover(
            name="",
            size=whole.end,
            torn_bytes=final.torn_bytes,
            changed_after=whole.changed_after,
        ),
    )


def _rename(directory: int, segment: Segment, leftover: Leftover) -> Leftover:
    name = segment.as_closed().name
    os.rename(segment.name, name, src_dir_fd=directory, dst_dir_fd=directory)
    return msgspec.structs.replace(leftover, name=name)


def _previous(folder: str | os.PathLike[str], segment: Segment, seal: Seal | None) -> Previous:
    if seal is not None and seal.header is not None and seal.header.segment == segment.stem:
        return seal.header.previous
    return chain_end(folder, segment.worker, segment.stem)


class _Whole(msgspec.Struct, frozen=True):
    """How far a segment's records go."""

    end: int
    changed_after: int | None


def _find_end(text: _Text, digest: hashlib._Hash, marks: list[Mark]) -> _Whole:
    """Return where the last record that counts ends."""
    size = text.size
    end = seq = 0
    changed_after = None
    for mark in marks:
        if end <= mark.bytes <= size:
            records = seq
            for block in _blocks(text, end, mark.bytes):
                digest.update(block)
                records += block.count(b"\n")
            if (records, digest.hexdigest()) == (mark.records, mark.sha256):
                end, seq = mark.bytes, mark.records
                continue
        changed_after = seq
        break
    # Where the marks are right, what was sealed ends here.
    sealed = end if changed_after is None else min(size, max(mark.bytes for mark in marks))
    for start, stop, line in _lines(text, end, size):
        found = _seq(line)
        if found is not None and (found == seq or (start < sealed and found > seq)):
            end = stop
            seq = found
        elif start >= sealed:
            break
        seq += 1
    return _Whole(end, changed_after)


def _seq(line: bytes) -> int | None:
    """Return the number of a record, or None where the line is none."""
    try:
        record = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    seq = record.get("seq") if isinstance(record, dict) else None
    return seq if type(seq) is int and "type" in record else None


class _Text(Protocol):
    """The records of a segment, and where in its file they stand."""

    size: int
    stored: bool
    """Whether the file holds anything."""

    def read(self, offset: int, length: int) -> bytes:
        """Return so many bytes of the records from there."""

    def place_behind(self, offset: int) -> int:
        """Return where in the file so many bytes of records end."""


class _Plain:
    def __init__(self, fd: int) -> None:
        self.size = os.fstat(fd).st_size
        self.stored = self.size > 0
        self._fd = fd

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._fd, length, offset)

    def place_behind(self, offset: int) -> int:
        return offset


class _Encrypted:
    """Ends at the first block that cannot be decrypted: a write that was cut off, or zeros."""

    def __init__(self, file: EncryptedFile, file_size: int) -> None:
        self.size = file.sound_size()
        self.stored = file_size > HEADER_BYTES
        self._file = file

    def read(self, offset: int, length: int) -> bytes:
        return self._file.read(offset, length)

    def place_behind(self, offset: int) -> int:
        return self._file.place_behind(offset)


class _Headless:
    """An encrypted file that ends within its header."""

    size = 0

    def __init__(self, file_size: int) -> None:
        self.stored = file_size > 0

    def read(self, offset: int, length: int) -> bytes:
        del offset, length
        return b""

    def place_behind(self, offset: int) -> int:
        return offset


def _text(segment: Segment, fd: int, keys: LogKeys | None) -> _Text:
    if not segment.encrypted:
        return _Plain(fd)
    file_size = os.fstat(fd).st_size
    if not any(os.pread(fd, HEADER_BYTES, 0)) or file_size < HEADER_BYTES:
        return _Headless(file_size)
    if keys is None:
        raise SegmentError(segment.name, "is encrypted; set IATP_LOG_KEY_FILE to its key file")
    return _Encrypted(EncryptedFile(PlainFile(fd), keys, segment.stem, segment.name), file_size)


def _blocks(text: _Text, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        block = text.read(start, min(_BLOCK_BYTES, end - start))
        if not block:
            raise OSError(errno.EIO, "the segment became shorter while it was read")
        yield block
        start += len(block)


def _lines(text: _Text, start: int, end: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield where each whole line begins and where the next does, and it without its end.

    Of a line that holds a zero byte, and so is no record, none may be given: a crash can leave
    gigabytes of them.
    """
    rest = bytearray()
    skipped = 0
    for block in _blocks(text, start, end):
        if b"\n" not in block:
            rest += block
            if b"\0" in block:
                skipped += len(rest)
                rest.clear()
            continue
        *lines, last = block.split(b"\n")
        lines[0] = bytes(rest) + lines[0]
        for line in lines:
            stop = start + skipped + len(line) + 1
            yield start, stop, b"" if skipped else line
            start, skipped = stop, 0
        rest = bytearray(last)


def _torn_size(directory: int, stem: str) -> int:
    try:
        return os.stat(stem + TORN_SUFFIX, dir_fd=directory, follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0


def _set_aside(directory: int, stem: str, fd: int, end: int) -> None:
    """Move what stands in the file behind the last whole record to one of its own, as it is."""
    file = _Plain(fd)
    if end >= file.size:
        return
    replace_file(directory, stem + TORN_SUFFIX, _blocks(file, end, file.size))
    os.ftruncate(fd, end)
    os.fsync(fd)


def _make_index(
    directory: int, stem: str, text: _Text, end: int, previous: Previous
) -> trail.Trail:
    """Make the index anew; return what was made of all records."""
    index_key = os.urandom(16)
    made = trail.Trail(first_digest(previous, stem), index_key)

    def pieces() -> Iterator[bytes]:
        yield trail.header(index_key)
        rest = b""
        for block in _blocks(text, 0, end):
            data = rest + block
            stop = data.rfind(b"\n") + 1
            rest = data[stop:]
            made.add([data[:stop]])
            yield made.take()

    replace_file(directory, stem + INDEX_SUFFIX, pieces())
    return made


def _append(directory: int, name: str, torn_bytes: int, line: bytes) -> None:
    """Write a line behind the whole ones of a file, durably."""
    fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        size = os.fstat(fd).st_size - torn_bytes
        os.ftruncate(fd, size)
        while line:
            done = os.pwrite(fd, line, size)
            line = line[done:]
            size += done
        os.fsync(fd)
    finally:
        os.close(fd)
