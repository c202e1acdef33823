"""Encryption of the log at rest: its keys, and files of blocks (docs/log-format.md, "Encrypted").

Each file has a key of its own, derived from one of IATP_LOG_KEY_FILE, a random salt and the
segment's stem. Each block is sealed by AES-256-GCM with its number as nonce, so a block that was
changed, moved or taken from another file can't be read, and nothing of it is given out.

`cryptography` is imported with the first key that is used: a log that is not encrypted does not
pay for it here.
"""

from __future__ import annotations

import binascii
import bisect
import errno
import hashlib
import os
import struct
import threading
from array import array
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from iatp._fast import lookup
from iatp._fast.append import BlockWriter
from iatp.adapters.keys import KEY_BYTES, read_key_file
from iatp.adapters.pieces import InPieces
from iatp.adapters.read_once import ReadOnce
from iatp.values.errors import StartError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HEADER_BYTES = 64
BLOCK_BYTES = 256 << 10
"""Of a closed file. Of smaller ones as many as make up so much are decrypted at once, and kept."""

_MAGIC = b"IATPENC1"
_SALT_BYTES = 32
_HEADER = struct.Struct(f"<8s8s{_SALT_BYTES}s16x")
_LENGTH = struct.Struct("<I")
_LAST = 1 << 31
_TAG_BYTES = 16
_OVERHEAD = _LENGTH.size + _TAG_BYTES
_MAX_BLOCK_BYTES = 1 << 30
"""A length above it is none."""
_NONCE_BYTES = 12
_MOST_PLACES = 1 << 18
"""2 MiB: the open segments of four workers in blocks of 1 KiB."""


class SegmentError(OSError):
    """A segment, or a part of it, that cannot be read; `strerror` says why and what to do.

    Nothing that could not be verified is given out. An OSError, since to who reads it is one:
    the bytes on disk are not to be had.
    """

    def __init__(self, name: str, why: str) -> None:
        super().__init__(errno.EBADMSG, f"{name} {why}")


class LogKeys:
    """The keys of the log: the first encrypts what is new, each decrypts what it encrypted."""

    def __init__(self, keys: list[bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError("at least one key, of 32 bytes each")
        self._current = keys[0]
        self._by_id = {_key_id(key): key for key in reversed(keys)}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LogKeys:
        """Return the keys of a file: 64 hex digits a line; empty lines and `#` lines are skipped.

        Raises:
            StartError: it is not there, can't be read, is open to others, or holds something
                else. What it holds is not shown.
        """
        path = Path(path)
        try:
            data = read_key_file(path, "IATP_LOG_KEY_FILE")
        except FileNotFoundError:
            raise StartError(
                f"The log's key file {path} (IATP_LOG_KEY_FILE) does not exist; make one with: "
                f"(umask 077; openssl rand -hex {KEY_BYTES} > {path}), and keep a copy: without "
                "it the log cannot be read."
            ) from None
        keys = []
        for number, line in enumerate(data.splitlines(), 1):
            text = line.strip()
            if not text or text.startswith(b"#"):
                continue
            try:
                key = binascii.unhexlify(text)
            except binascii.Error:
                key = b""
            if len(key) != KEY_BYTES:
                raise StartError(
                    f"Line {number} of the log's key file {path} (IATP_LOG_KEY_FILE) is no key: "
                    f"it must be {2 * KEY_BYTES} hex digits, and has {len(text)} characters."
                )
            keys.append(key)
        if not keys:
            raise StartError(
                f"The log's key file {path} (IATP_LOG_KEY_FILE) holds no key; "
                f"add one with: openssl rand -hex {KEY_BYTES} >> {path}"
            )
        return cls(keys)

    @property
    def current_id(self) -> str:
        """The id of the key that encrypts, 16 hex digits; it says nothing about the key."""
        return _key_id(self._current).hex()

    @property
    def ids(self) -> list[str]:
        """The ids of all keys."""
        return [key_id.hex() for key_id in self._by_id]

    def writer(self, stem: str) -> BlockWriter:
        """Return what encrypts a new file of the segment with this stem."""
        salt = os.urandom(_SALT_BYTES)
        header = _HEADER.pack(_MAGIC, _key_id(self._current), salt)
        return BlockWriter(header, _cipher(self._current, salt, stem))

    def cipher(self, header: bytes, stem: str, name: str) -> AESGCM:
        """Return what decrypts the blocks of a file with this header.

        Raises:
            SegmentError: it is no such file, or its key is not among these.
        """
        magic, key_id, salt = _HEADER.unpack(header)
        if magic != _MAGIC:
            raise SegmentError(name, "is not an encrypted segment: it does not begin with IATPENC1")
        key = self._by_id.get(key_id)
        if key is None:
            raise SegmentError(
                name,
                f"is encrypted with the key {key_id.hex()}, which is not in IATP_LOG_KEY_FILE; "
                "add that key as a further line",
            )
        return _cipher(key, salt, stem)


class PlainFile:
    """The bytes of a file as they are. Closes its descriptor.

    `once`: it is read from end to end, and what was read is kept out of the page cache.
    """

    def __init__(self, fd: int, *, once: bool = False) -> None:
        self._fd = fd
        self._once = ReadOnce(fd) if once else None

    @property
    def size(self) -> int:
        """Bytes now."""
        return os.fstat(self._fd).st_size

    def read(self, offset: int, length: int) -> bytes:
        """Return so many bytes from there, or fewer where it ends."""
        data = os.pread(self._fd, length, offset)
        while 0 < len(data) < length:
            more = os.pread(self._fd, length - len(data), offset + len(data))
            if not more:
                break
            data += more
        if self._once is not None:
            self._once.passed(offset + len(data))
        return data

    def read_into(self, offset: int, view: memoryview) -> int:
        """Put what stands there into the view; return how many bytes that are."""
        # Not `preadv`, which Python has not on macOS.
        os.lseek(self._fd, offset, os.SEEK_SET)
        done = 0
        while done < len(view):
            more = os.readv(self._fd, [view[done:]])
            if not more:
                break
            done += more
        if self._once is not None:
            self._once.passed(offset + done)
        return done

    def block_lengths(self, at: int) -> array[int]:
        """Return the lengths of the blocks of an encrypted file from there on, as they stand."""
        return array("I", lookup.block_lengths(self._fd, at, self.size))

    def close(self) -> None:
        """Give up the descriptor."""
        if self._fd >= 0:
            if self._once is not None:
                self._once.finish()
            os.close(self._fd)
            self._fd = -1


class EncryptedFile(InPieces):
    """What stands in an encrypted file. It is read block by block, each by itself.

    A file whose blocks are all of one size, as compressed segments are kept, is never walked
    through; of any other it is read once where each block begins, and kept for who opens it again.

    Raises: SegmentError where it is no such file, its key is missing, or, where `closed`, its
        end was cut off.
    """

    def __init__(self, file: PlainFile, keys: LogKeys, stem: str, name: str) -> None:
        self._file = file
        self._name = name
        self._header = file.read(0, HEADER_BYTES)
        if len(self._header) < HEADER_BYTES:
            raise SegmentError(name, "was cut off within its first 64 bytes")
        self._cipher = keys.cipher(self._header, stem, name)
        self._starts, self._known_end = _places.of(self._header)
        """Of each block whose place is known, where what it holds begins; and where that ends."""
        if self._place_behind_known() > file.size:
            # It was cut: its writer ends it then, so nothing else stands there.
            self._starts, self._known_end = array("Q"), 0
        self._kept = (0, b"")
        """What was decrypted last, and where that begins."""
        self.complete = False
        """Its last block says that it is the last."""
        self._each = self._uniform(file.size)
        if not self._each:
            self._walk()
            self._keep_places()

    @property
    def size(self) -> int:
        """Bytes that its whole blocks hold now."""
        if not self.complete:
            self._walk()
        return self._known_end

    def _pieces(self, offset: int, length: int) -> Iterator[memoryview]:
        end = offset + length
        if end > self._known_end:
            end = min(end, self.size)
        while offset < end:
            start, run = self._run(offset, end)
            yield memoryview(run)[offset - start : end - start]
            offset = start + len(run)

    def sound_size(self) -> int:
        """Return how many bytes are to be had from the first on: up to a block that was changed.

        Reads all of them.
        """
        offset = 0
        size = self.size
        # Many blocks at once; of those of which one was changed, each by itself.
        for wanted in (BLOCK_BYTES, 1):
            while offset < size:
                try:
                    start, run = self._run(offset, offset + wanted)
                except SegmentError:
                    break
                offset = start + len(run)
        return offset

    def place_behind(self, offset: int) -> int:
        """Return where in the file the block ends with which so many bytes are whole."""
        if offset >= self.size:
            if self._each:
                return self._file.size
            return self._place_behind_known()
        number, start, stop = self._block_at(offset)
        behind = offset > start
        return HEADER_BYTES + (number + behind) * _OVERHEAD + (stop if behind else start)

    def close(self) -> None:
        """Give up the file."""
        self._file.close()
        self._kept = (0, b"")

    def _uniform(self, size: int) -> int:
        """Return the length of each block, where all but the last have the same; else 0."""
        first, last = self._length(HEADER_BYTES)
        if first <= 0 or (first != BLOCK_BYTES and not last):
            return 0
        whole = first + _OVERHEAD
        count = -(-(size - HEADER_BYTES) // whole)
        at = HEADER_BYTES + (count - 1) * whole
        length, last = self._length(at)
        if not last or at + length + _OVERHEAD != size:
            return 0
        self._known_end = (count - 1) * first + length
        self.complete = True
        return first

    def _walk(self) -> None:
        """Learn where the blocks stand that were not there yet."""
        if self.complete:
            return
        lengths = self._file.block_lengths(self._place_behind_known())
        if lengths:
            self.complete = bool(lengths[-1] & _LAST)
            lengths[-1] &= ~_LAST
            self._starts.extend(accumulate(lengths[:-1], initial=self._known_end))
            self._known_end = self._starts[-1] + lengths[-1]

    def _keep_places(self) -> None:
        if not self.complete:
            _places.keep(self._header, self._starts, self._known_end)
        else:
            # That the last block is the last is to be seen again.
            _places.keep(self._header, self._starts[:-1], self._starts[-1])

    def _place_behind_known(self) -> int:
        """Return where in the file the blocks end whose places are known."""
        return HEADER_BYTES + len(self._starts) * _OVERHEAD + self._known_end

    def _length(self, at: int) -> tuple[int, bool]:
        data = self._file.read(at, _LENGTH.size)
        if len(data) < _LENGTH.size:
            return 0, False
        (length,) = _LENGTH.unpack(data)
        length, last = length & ~_LAST, bool(length & _LAST)
        return (length, last) if length <= _MAX_BLOCK_BYTES else (0, False)

    def _block_at(self, offset: int) -> tuple[int, int, int]:
        """Return the number of the block that holds it, and where that begins and ends."""
        if self._each:
            number = offset // self._each
            start = number * self._each
            return number, start, min(start + self._each, self._known_end)
        number = bisect.bisect_right(self._starts, offset) - 1
        return number, self._starts[number], self._end_of(number)

    def _end_of(self, number: int) -> int:
        following = number + 1
        return self._starts[following] if following < len(self._starts) else self._known_end

    def _run(self, offset: int, end: int) -> tuple[int, bytes]:
        """Return what the block at this place holds, with others behind it, and where that begins.

        Those that begin before `end`, of 256 KiB together or little more: of small blocks each by
        itself would cost several times as much.
        """
        start, run = self._kept
        if start <= offset < start + len(run):
            return self._kept
        first, start, stop = self._block_at(offset)
        ends = [stop]
        if not self._each:
            past = bisect.bisect_left(self._starts, min(end, start + BLOCK_BYTES), first + 1)
            ends = [*self._starts[first + 1 : past], self._end_of(past - 1)]
        self._kept = (start, self._decrypted(first, start, ends))
        return self._kept

    def _decrypted(self, number: int, start: int, ends: list[int]) -> bytes:
        """Return what the blocks from this one on hold, of which it is known where each ends."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - loaded with the key

        place = HEADER_BYTES + number * _OVERHEAD + start
        data = self._file.read(place, ends[-1] - start + len(ends) * _OVERHEAD)
        # Of small blocks a copy of each costs less than a view.
        stored = data if len(ends) > 1 else memoryview(data)
        decrypt, header = self._cipher.decrypt, self._header
        blocks = []
        at = 0
        for end in ends:
            behind = at + end - start + _OVERHEAD
            if behind > len(data):
                raise SegmentError(self._name, f"was cut off in block {number}")
            nonce = number.to_bytes(_NONCE_BYTES, "little")
            sealed = at + _LENGTH.size
            try:
                blocks.append(decrypt(nonce, stored[sealed:behind], data[at:sealed] + header))
            except InvalidTag:
                raise SegmentError(
                    self._name,
                    f"cannot be decrypted from block {number} (byte {place + at} of the file): it "
                    "was changed, or belongs to another segment",
                ) from None
            number, start, at = number + 1, end, behind
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)


_NO_PLACES = array("Q")


class _Places:
    """Where the blocks of files that were walked through begin, each known by its header.

    A header holds a random salt, and behind it a file only grows, or ends where it was cut. A
    server that is asked for traces would else walk through its open segments for each. Of a file
    with more blocks than are kept in all, the first are. For any threads.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: dict[bytes, tuple[array[int], int]] = {}
        """The one that was used last stands at the end."""

    def of(self, header: bytes) -> tuple[array[int], int]:
        """Return the places that are known, for the caller to add to, and where the last ends."""
        with self._lock:
            starts, end = self._kept.get(header, (_NO_PLACES, 0))
        return starts[:], end

    def keep(self, header: bytes, starts: array[int], end: int) -> None:
        """Keep these, which are of whole blocks."""
        if len(starts) > self._most:
            starts, end = starts[: self._most], starts[self._most]
        with self._lock:
            self._kept.pop(header, None)
            self._kept[header] = starts[:], end
            while sum(len(each) for each, _ in self._kept.values()) > self._most:
                del self._kept[next(iter(self._kept))]


_places = _Places(_MOST_PLACES)


def is_as_appended(path: str | os.PathLike[str]) -> bool:
    """Return whether an encrypted file still stands in one block for each append.

    Raises:
        OSError: it can't be read.
    """
    with open(path, "rb") as file:  # noqa: PTH123 - any kind of path
        head = file.read(HEADER_BYTES + _LENGTH.size)[HEADER_BYTES:]
    length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else 0
    return not (length == BLOCK_BYTES or length & _LAST)


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"iatp-log-key\n" + key).digest()[:8]


def _cipher(key: bytes, salt: bytes, stem: str) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - see above
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

    info = b"iatp-log-1\n" + stem.encode("ascii")
    return AESGCM(HKDF(SHA256(), KEY_BYTES, salt, info).derive(key))
