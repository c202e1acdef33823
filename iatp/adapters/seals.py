"""The log's seals and heads as files (docs/log-format.md)."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from pathlib import Path
from typing import TypeVar

import msgspec

from iatp.values.seals import (
    HEAD_FORMAT,
    SEAL_FORMAT,
    Final,
    Head,
    Mark,
    SealHeader,
    SignedFinal,
    SignedHead,
)

SEAL_SUFFIX = ".seal"
INDEX_SUFFIX = ".index"
TORN_SUFFIX = ".torn"
HEAD_NAME = "head.json"

SEAL_PREFIX = b"iatp-seal-1\n"
"""Stands before `final` in what a seal's signature is made over."""
HEAD_PREFIX = b"iatp-head-1\n"

_HEAD_LIMIT = 1 << 20

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


def _read_file(path: Path) -> bytes | None:
    """Return all of a file; None where there is none, or something that is no file."""
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
        return file.readall()
