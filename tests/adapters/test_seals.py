"""Seals and heads as files: what is read back of them, whatever stands there."""

from __future__ import annotations

from pathlib import Path

import pytest

from iatp.adapters.seals import parse_head, parse_seal, read_head, read_seal

HEADER = (
    b'{"format":"iatp-seal-1","segment":"s","previous":{"segment":null,"sha256":"' + b"0" * 64
) + b'"}}\n'
MARK = b'{"records":2,"bytes":30,"sha256":"ab","timestamp":"2025-11-24T16:00:01.000000Z"}\n'
FINAL = (
    b'{"segment":"s","records":3,"bytes":40,"sha256":"cd","checks":"ef",'
    b'"timestamp":"2025-11-24T16:00:02.000000Z","key":"k","recovered":true,"torn_bytes":7}'
)
LAST = b'{"final":' + FINAL + b',"signature":"c2ln"}\n'


def test_whole() -> None:
    seal = parse_seal(HEADER + MARK + MARK.replace(b"2,", b"3,", 1) + LAST)
    assert seal.header is not None
    assert (seal.header.segment, seal.header.previous.segment) == ("s", None)
    assert [mark.records for mark in seal.marks] == [2, 3]
    assert seal.final is not None
    assert (seal.final.records, seal.final.recovered, seal.final.torn_bytes) == (3, True, 7)
    assert (seal.final_raw, seal.signature) == (FINAL, "c2ln")
    assert (seal.damaged_lines, seal.torn_bytes) == (0, 0)


def test_cut_anywhere_keeps_the_whole_lines() -> None:
    whole = HEADER + MARK + LAST
    for end in range(len(whole)):
        seal = parse_seal(whole[:end])
        assert (seal.header is not None) == (end >= len(HEADER))
        assert len(seal.marks) == (end >= len(HEADER + MARK))
        assert seal.final is None
        assert seal.damaged_lines == 0
        assert seal.torn_bytes == end - (whole.rfind(b"\n", 0, end) + 1)


@pytest.mark.parametrize("bad", [b"\n", b"{}\n", b"\0" * 9 + b"\n", b"\xff\n", HEADER, b"[1]\n"])
def test_damaged_lines_are_counted(bad: bytes) -> None:
    seal = parse_seal(HEADER + bad + MARK + LAST)
    assert (len(seal.marks), seal.damaged_lines) == (1, 1)
    assert seal.final is not None
    behind = parse_seal(HEADER + LAST + bad + MARK + LAST)
    assert (len(behind.marks), behind.damaged_lines) == (0, 3)
    first = parse_seal(bad + MARK)
    assert (first.header is None) == (bad != HEADER)
    assert first.damaged_lines == (bad != HEADER)
    assert len(first.marks) == 1


def test_a_final_that_is_none_is_damage() -> None:
    seal = parse_seal(HEADER + b'{"final":{"segment":"s"},"signature":"c2ln"}\n')
    assert (seal.final, seal.final_raw, seal.signature, seal.damaged_lines) == (None, b"", "", 1)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    assert read_seal(tmp_path, "s") is None
    assert read_head(tmp_path) is None
    (tmp_path / "s.seal").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "head.json").mkdir()
    assert read_seal(tmp_path, "s") is None
    assert read_head(tmp_path) is None
    (tmp_path / "t.seal").write_bytes(HEADER)
    seal = read_seal(tmp_path, "t")
    assert seal is not None
    assert seal.header is not None


HEAD = (
    b'{"format":"iatp-head-1","timestamp":"2025-11-24T16:00:02.000000Z","agent_id":"a","key":"k",'
    b'"public_key":"cHVi","chains":[{"worker":0,"segment":"s","records":3,"bytes":40,'
    b'"sha256":"cd"}]}'
)


def test_head() -> None:
    found = parse_head(b'{"head":' + HEAD + b',"signature":"c2ln"}\n')
    assert found is not None
    assert (found.raw, found.signature) == (HEAD, "c2ln")
    assert [chain.records for chain in found.head.chains] == [3]


@pytest.mark.parametrize(
    "text",
    [b"", b"{}", HEAD, b'{"head":{},"signature":""}', b"\0", b"\xff", b"[" * 2000],
)
def test_what_is_no_head(text: bytes) -> None:
    assert parse_head(text) is None
    other = HEAD.replace(b"iatp-head-1", b"iatp-head-9")
    assert parse_head(b'{"head":' + other + b',"signature":"c2ln"}') is None
