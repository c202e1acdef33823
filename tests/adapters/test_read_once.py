"""What is read once does not stay in the page cache; what was there does."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from iatp.adapters.encryption import PlainFile
from iatp.adapters.read_once import PIECE_BYTES
from tests.cli.programs import ROOT

SIZE = 3 * PIECE_BYTES + 12_345
FEW = 0.2
"""Of the pages: those that a processor has just taken into its list are not dropped."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's advice")


@pytest.fixture
def path() -> Iterator[Path]:
    """A file that is on the disk and not in memory; a temporary folder may have no disk."""
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as folder:
        yield _written(Path(folder) / "file")


def _written(made: Path) -> Path:
    with made.open("wb") as file:
        file.write(os.urandom(1 << 16) * (SIZE >> 16) + bytes(SIZE & 0xFFFF))
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    assert cached(made) <= FEW, "the project's folder is on no disk"
    return made


def cached(path: Path) -> float:
    """Which share of its pages is in memory. To ask for one would read it."""
    library = ctypes.CDLL(None, use_errno=True)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        there = (ctypes.c_ubyte * -(-len(mapped) // mmap.PAGESIZE))()
        start = ctypes.c_char.from_buffer(mapped)
        asked = library.mincore(
            ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(len(mapped)), there
        )
        del start
        assert asked == 0
        return sum(page & 1 for page in there) / len(there)


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
