"""Whole lines of a segment, in whatever form it is stored and however large the buffer is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iatp.adapters.compression import SeekableWriter
from iatp.adapters.encryption import LogKeys
from iatp.adapters.log_folder import segment_of
from iatp.adapters.segments import SegmentError, SegmentText, open_segment

STEM = "20251124T160000.123456Z-w0-1a2b3c4d-0123456789ab-000000"
KEYS = LogKeys([bytes(range(32))])
FORMS = (".jsonl", ".jsonl.zst", ".jsonl.enc", ".jsonl.zst.enc")


def stored(folder: Path, pieces: list[bytes], form: str) -> SegmentText:
    """A segment of which each piece is a frame or a block."""
    if ".zst" in form:
        frames = SeekableWriter()
        pieces = [*(frames.frame(piece) for piece in pieces if piece), frames.end()]
    if form.endswith(".enc"):
        blocks = KEYS.writer(STEM)
        sealed = [blocks.header()]
        for number, piece in enumerate(pieces, 1):
            sealed += blocks.block([piece], last=number == len(pieces))
            blocks.written()
        pieces = sealed
    path = folder / (STEM + form)
    path.write_bytes(b"".join(pieces))
    segment = segment_of(path.name)
    assert segment is not None
    text = open_segment(folder, segment, KEYS)
    assert text is not None
    return text


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([b"a", b"bcd", b"\n", b"efghijklmnop", b"\n\n"]), max_size=40),
    st.lists(st.integers(1, 30), min_size=1, max_size=6),
    st.integers(1, 50),
    st.sampled_from(FORMS),
)
def test_views_are_the_whole_lines(
    tmp_path_factory: pytest.TempPathFactory,
    parts: list[bytes],
    widths: list[int],
    buffer_bytes: int,
    form: str,
) -> None:
    whole = b"".join(parts)
    pieces = []
    at = 0
    while at < len(whole):
        pieces.append(whole[at : at + widths[len(pieces) % len(widths)]])
        at += len(pieces[-1])
    pieces = pieces or [b"\n"]
    whole = b"".join(pieces)
    folder = tmp_path_factory.mktemp("segment")
    with stored(folder, pieces, form) as text:
        views = [bytes(view) for view in text.views(bytearray(buffer_bytes))]
        blocks = [block for _, block in text.blocks(block_bytes=buffer_bytes)]
    assert all(view.endswith(b"\n") for view in views)
    assert b"".join(views) == b"".join(blocks) == whole[: whole.rfind(b"\n") + 1]


def test_a_view_stays_while_a_longer_line_gets_a_larger_buffer(tmp_path: Path) -> None:
    lines = [b"a\n", b"b" * 100 + b"\n", b"c\n"]
    with stored(tmp_path, [b"".join(lines)], ".jsonl") as text:
        views = text.views(bytearray(8))
        first = next(views)
        assert first == b"a\n"
        assert next(views) == b"b" * 100 + b"\nc\n"


@pytest.mark.parametrize("form", [".jsonl.zst", ".jsonl.enc", ".jsonl.zst.enc"])
def test_views_end_with_an_error_where_a_piece_was_changed(tmp_path: Path, form: str) -> None:
    pieces = [os.urandom(100).hex().encode() + b"\n" for _ in range(5)]
    stored(tmp_path, pieces, form).close()
    path = tmp_path / (STEM + form)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    segment = segment_of(path.name)
    assert segment is not None
    text = open_segment(tmp_path, segment, KEYS)
    assert text is not None
    views: list[bytes] = []
    with text, pytest.raises(SegmentError):
        views.extend(map(bytes, text.views(bytearray(250))))
    seen = b"".join(views)
    assert b"".join(pieces).startswith(seen)
    assert len(seen) < len(b"".join(pieces))
