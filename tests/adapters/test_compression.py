"""Compressed files: read by zstd and at any place, refused where they are damaged."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from iatp.adapters.compression import FRAME_BYTES, CompressedFile, SeekableWriter
from iatp.adapters.encryption import PlainFile, SegmentError


def pack(frames: list[bytes]) -> bytes:
    writer = SeekableWriter()
    return b"".join([*map(writer.frame, frames), writer.end()])


def opened(path: Path) -> CompressedFile:
    return CompressedFile(PlainFile(os.open(path, os.O_RDONLY)), path.name)


def read_all(path: Path) -> bytes:
    file = PlainFile(os.open(path, os.O_RDONLY))
    try:
        found = CompressedFile(file, path.name)
        return found.read(0, found.size)
    finally:
        file.close()


def text(length: int) -> bytes:
    line = b'{"seq":%d,"type":"request","trace_id":"t%d"}\n'
    return b"".join(line % (n, n * 7) for n in range(length // 40 + 1))[:length]


@pytest.mark.parametrize("length", [1, FRAME_BYTES, FRAME_BYTES + 1, 3 * FRAME_BYTES + 5])
def test_the_library_reads_it_from_its_beginning(tmp_path: Path, length: int) -> None:
    whole = text(length)
    path = tmp_path / "f.zst"
    path.write_bytes(pack([whole[at : at + FRAME_BYTES] for at in range(0, length, FRAME_BYTES)]))
    assert read_all(path) == whole
    unpacker = zstandard.ZstdDecompressor()
    with path.open("rb") as file, unpacker.stream_reader(file, read_across_frames=True) as reader:
        assert reader.read() == whole


@pytest.mark.servers
def test_the_program_reads_it(tmp_path: Path) -> None:
    zstd = shutil.which("zstd")
    assert zstd, "this test needs zstd"
    whole = text(2 * FRAME_BYTES + 99)
    path = tmp_path / "f.zst"
    path.write_bytes(
        pack([whole[at : at + FRAME_BYTES] for at in range(0, len(whole), FRAME_BYTES)])
    )
    done = subprocess.run([zstd, "-dc", path], capture_output=True, check=True)
    assert done.stdout == whole
    subprocess.run([zstd, "-q", "--test", path], check=True)


@settings(deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, 420), st.integers(0, 420)), max_size=5),
)
def test_any_place_reads_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    frames: list[bytes],
    places: list[tuple[int, int]],
) -> None:
    path = tmp_path_factory.mktemp("zst") / "f"
    path.write_bytes(pack(frames))
    whole = b"".join(frames)
    file = opened(path)
    assert file.size == len(whole)
    for offset, length in places:
        assert file.read(offset, length) == whole[offset : offset + length]
    file.close()


def test_one_place_costs_one_frame(tmp_path: Path) -> None:
    path = tmp_path / "f"
    frames = [os.urandom(FRAME_BYTES) for _ in range(8)]
    path.write_bytes(pack(frames))

    class Counted(PlainFile):
        read_bytes = 0

        def read(self, offset: int, length: int) -> bytes:
            Counted.read_bytes += length
            return super().read(offset, length)

    file = CompressedFile(Counted(os.open(path, os.O_RDONLY)), "f")
    assert file.read(5 * FRAME_BYTES + 10, 20) == frames[5][10:30]
    assert Counted.read_bytes < FRAME_BYTES + 1000
    file.close()


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 7))
def test_no_flipped_bit_goes_unseen(
    tmp_path_factory: pytest.TempPathFactory, at: int, bit: int
) -> None:
    path = tmp_path_factory.mktemp("zst") / "f"
    whole = [text(300), text(200), b"end\n"]
    data = bytearray(pack(whole))
    at %= len(data)
    data[at] ^= 1 << bit
    path.write_bytes(data)
    with contextlib.suppress(SegmentError):
        # Where it is read, that was a bit of a frame's head that says nothing about its text.
        assert read_all(path) == b"".join(whole)


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_no_cut_goes_unseen(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("zst") / "f"
    data = pack([text(300), text(200), b"end\n"])
    path.write_bytes(data[: cut % len(data)])
    with pytest.raises(SegmentError, match="seek table"):
        read_all(path)


def test_swapped_frames(tmp_path: Path) -> None:
    # Of the same length, so that the table fits both ways.
    one, two = pack([b"a" * 100, b"b" * 100]), pack([b"b" * 100, b"a" * 100])
    half = (len(one) - len(SeekableWriter().end()) - 24) // 2
    path = tmp_path / "f"
    path.write_bytes(two[: 2 * half] + one[2 * half :])
    with pytest.raises(SegmentError, match="is damaged in frame 0"):
        read_all(path)


def test_a_frame_that_claims_to_be_huge_is_not_decompressed(tmp_path: Path) -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(100 << 20))
    writer = SeekableWriter()
    writer.frame(b"x" * 100)
    table = bytearray(writer.end())
    table[8:12] = len(bomb).to_bytes(4, "little")
    path = tmp_path / "f"
    path.write_bytes(bomb + table)
    with pytest.raises(SegmentError, match="is damaged in frame 0"):
        read_all(path)
    table[12:16] = (100 << 20).to_bytes(4, "little")
    path.write_bytes(bomb + table)
    with pytest.raises(SegmentError, match="has a damaged seek table"):
        read_all(path)


def test_a_table_without_checksums_of_another_writer(tmp_path: Path) -> None:
    frames = [zstandard.ZstdCompressor().compress(part) for part in (b"one", b"two2")]
    table = b"".join(
        len(frame).to_bytes(4, "little") + size.to_bytes(4, "little")
        for frame, size in zip(frames, (3, 4), strict=True)
    )
    table += (2).to_bytes(4, "little") + b"\x00" + (0x8F92EAB1).to_bytes(4, "little")
    head = (0x184D2A5E).to_bytes(4, "little") + len(table).to_bytes(4, "little")
    (tmp_path / "f").write_bytes(b"".join(frames) + head + table)
    assert read_all(tmp_path / "f") == b"onetwo2"
