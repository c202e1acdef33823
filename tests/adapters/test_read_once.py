"""What is read once does not stay in the page cache; what was there does."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from iatp.adapters.encryption import PlainFile
from iatp.adapters.read_once import PIECE_BYTES

SIZE = 3 * PIECE_BYTES + 12_345
PAGE = os.sysconf("SC_PAGE_SIZE")
FEW = 0.2
"""Of the pages: those that a processor has just taken into its list are not dropped."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs RWF_NOWAIT")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that is on the disk and not in memory."""
    made = tmp_path / "file"
    with made.open("wb") as file:
        file.write(os.urandom(1 << 16) * (SIZE >> 16) + bytes(SIZE & 0xFFFF))
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if cached(made) > FEW:
        pytest.skip("this file system keeps everything in memory")
    return made


def cached(path: Path) -> float:
    """Which share of some pages is in memory."""
    fd = os.open(path, os.O_RDONLY)
    try:
        places = range(0, os.fstat(fd).st_size, 64 * PAGE)
        there = 0
        for at in places:
            try:
                os.preadv(fd, [bytearray(1)], at, os.RWF_NOWAIT)
                there += 1
            except BlockingIOError:
                pass
        return there / len(places)
    finally:
        os.close(fd)


def read_all(path: Path, *, once: bool) -> bytes:
    file = PlainFile(os.open(path, os.O_RDONLY), once=once)
    data = bytearray(file.size)
    view = memoryview(data)
    # Both ways of reading, one after the other.
    half = len(data) // 2
    for at in range(0, half, 1 << 20):
        piece = view[at : min(at + (1 << 20), half)]
        piece[:] = file.read(at, len(piece))
    assert file.read_into(half, view[half:]) == len(data) - half
    file.close()
    return bytes(data)


def test_what_was_not_in_memory_does_not_stay(path: Path) -> None:
    data = read_all(path, once=True)
    assert cached(path) <= FEW
    assert data == path.read_bytes()


def test_what_was_in_memory_stays(path: Path) -> None:
    path.read_bytes()
    before = cached(path)
    assert before == 1
    read_all(path, once=True)
    assert cached(path) == before


def test_else_it_stays(path: Path) -> None:
    read_all(path, once=False)
    assert cached(path) == 1


def test_where_no_advice_is_taken_all_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(os, "posix_fadvise", refuse)
    assert read_all(path, once=True) == path.read_bytes()
