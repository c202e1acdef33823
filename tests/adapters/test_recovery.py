"""What a dead writer left: whole records stay and are sealed, all else is set aside."""

from __future__ import annotations

import errno
import os
import random
import shutil
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iatp.adapters.log_folder import LogFolder, new_boot_id
from iatp.adapters.recorder import Recorder
from iatp.adapters.seals import Seal, parse_seal, read_seal
from iatp.adapters.traces import read_trace
from tests import forks
from tests.adapters.recording import (
    check_numbering,
    check_sound,
    run_python,
    stored,
    tail,
    verdict,
)


class Crashed:
    """A folder as a writer left it that died: three closed segments and one that was open."""

    def __init__(self, path: Path, *, unsealed: int = 3) -> None:
        self.path = path
        folder = LogFolder(path)
        recorder = Recorder(folder, 0, new_boot_id(), 1 << 20)
        self.count = 0
        for _ in range(3):
            self._append(recorder, 4)
            recorder.rotate()
        for _ in range(3):
            self._append(recorder, 2)
            recorder.tick()
        self._append(recorder, unsealed)
        shutil.copytree(path, path.with_name("kept"))
        recorder.close()
        folder.close()
        shutil.rmtree(path)
        path.with_name("kept").rename(path)
        [self.data] = path.glob("*.open.jsonl")
        self.stem = self.data.name.removesuffix(".open.jsonl")
        self.text = self.data.read_bytes()
        self.seal = path / f"{self.stem}.seal"
        self.index = path / f"{self.stem}.index"

    def _append(self, recorder: Recorder, number: int) -> None:
        for _ in range(number):
            recorder.append([tail(f"t{self.count}", self.count, fill=self.count % 5 * 40)])
            self.count += 1

    def sealed_bytes(self) -> int:
        """Up to where the marks go that stand in the seal now."""
        marks = parse_seal(self.seal.read_bytes() if self.seal.exists() else b"").marks
        return marks[-1].bytes if marks else 0

    def start(self) -> Seal:
        """Start as a successor does; write one more record; return the seal of what was left."""
        folder = LogFolder(self.path)
        recorder = Recorder(folder, 0, new_boot_id(), 1 << 20)
        recorder.append([tail("more", 9999)])
        recorder.close()
        folder.close()
        seal = read_seal(self.path, self.stem)
        assert seal is not None
        assert seal.final is not None
        assert not list(self.path.glob("*.tmp"))
        return seal


def whole_lines(text: bytes) -> int:
    return text.rfind(b"\n") + 1


def test_whole(tmp_path: Path) -> None:
    crashed = Crashed(tmp_path / "logs")
    seal = crashed.start()
    assert seal.final is not None
    assert (seal.final.recovered, seal.final.torn_bytes, seal.final.records) == (True, 0, 9)
    assert len(seal.marks) == 3
    assert (crashed.path / f"{crashed.stem}.jsonl").read_bytes() == crashed.text
    said = check_sound(crashed.path)
    assert said.records == crashed.count + 1
    assert said.chains[0].segments == 5


TAILS = [
    b"",
    b"{",
    b'{"seq":9,"worker":0,"boot_id":"1a2b3c4d',
    bytes(4096),
    bytes(700) + b"\n",
    b"\xff\xfe\n",
    b"[]\n",
    b'{"seq":8,"type":"request","trace_id":"x"}\n',
    b'{"seq":true,"type":"request","trace_id":"x"}\n',
    b'{"seq":9}\n',
    b'{"seq":11,"type":"request","trace_id":"x"}\n{"seq":9,"type":"request"}\n',
    b"\n\n\n",
]


@pytest.mark.parametrize("torn", TAILS)
def test_what_is_no_record_behind_the_last_one_is_set_aside(tmp_path: Path, torn: bytes) -> None:
    crashed = Crashed(tmp_path / "logs")
    crashed.data.write_bytes(crashed.text + torn)
    seal = crashed.start()
    assert seal.final is not None
    assert (seal.final.records, seal.final.torn_bytes) == (9, len(torn))
    assert (crashed.path / f"{crashed.stem}.jsonl").read_bytes() == crashed.text
    aside = crashed.path / f"{crashed.stem}.torn"
    assert (aside.read_bytes() if torn else b"") == torn
    assert aside.exists() == bool(torn)
    check_sound(crashed.path)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_killed_anywhere(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """However much of its last bytes each file has: all whole records stay, and verify."""
    crashed = Crashed(tmp_path_factory.mktemp("any") / "logs", unsealed=4)
    seal = crashed.seal.read_bytes()
    cut = data.draw(st.integers(0, len(seal)), "seal")
    lost = data.draw(st.sampled_from(["cut", "gone", "zeros"]), "what became of the seal")
    if lost == "gone":
        crashed.seal.unlink()
    else:
        crashed.seal.write_bytes(seal[:cut] + bytes(len(seal) - cut if lost == "zeros" else 0))
    index = crashed.index.read_bytes()
    cut = data.draw(st.integers(-1, len(index)), "index")
    crashed.index.unlink()
    if cut >= 0:
        crashed.index.write_bytes(index[:cut] + bytes(data.draw(st.sampled_from([0, 50]))))
    end = data.draw(st.integers(crashed.sealed_bytes(), len(crashed.text)), "data")
    torn = data.draw(st.sampled_from([b"", bytes(100), b"x" * 40]), "behind it")
    crashed.data.write_bytes(crashed.text[:end] + torn)
    if end == 0 and not torn:
        # Only where no mark stood: it may as well have been empty.
        LogFolder(crashed.path).close()
        assert not list(crashed.path.glob(crashed.stem + "*"))
        check_sound(crashed.path)
        return
    made = crashed.start()
    assert made.final is not None
    kept = whole_lines(crashed.text[:end])
    assert made.final.bytes == kept
    assert made.final.torn_bytes == end - kept + len(torn)
    stays = crashed.path / f"{crashed.stem}.jsonl"
    assert (stays.read_bytes() if kept else b"") == crashed.text[:kept]
    check_numbering(crashed.path)
    said = check_sound(crashed.path)
    assert said.records == 12 + crashed.text[:kept].count(b"\n") + 1
    for number in range(said.records - 1):
        assert len(read_trace(crashed.path, f"t{number}").logs) == 1


@settings(max_examples=30, deadline=None)
@given(st.randoms(use_true_random=False))
def test_recovery_that_is_killed_is_done_again(
    tmp_path_factory: pytest.TempPathFactory, chance: random.Random
) -> None:
    """At any of its calls that change a file."""
    crashed = Crashed(tmp_path_factory.mktemp("again") / "logs")
    crashed.data.write_bytes(crashed.text + b'{"seq":9,"tor')
    for _ in range(chance.randint(1, 3)):
        left = chance.randint(0, 12)
        os.waitpid(forks.start(lambda left=left: _recover_and_die(crashed.path, left)), 0)
    seal = crashed.start()
    assert seal.final is not None
    assert (seal.final.records, seal.final.torn_bytes) == (9, 13)
    assert (crashed.path / f"{crashed.stem}.torn").read_bytes() == b'{"seq":9,"tor'
    check_sound(crashed.path)
    assert not seal.damaged_lines


def _recover_and_die(path: Path, left: int) -> None:
    """Let so many calls that change a file through and die at the next."""
    calls = iter(range(left))

    def before(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            if next(calls, None) is None:
                os._exit(9)
            return call(*args, **options)

        return wrapped

    for name in ("rename", "ftruncate", "fsync", "pwrite", "unlink"):
        setattr(os, name, before(getattr(os, name)))
    LogFolder(path)


def test_what_was_sealed_stays_also_where_it_was_changed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Evidence is not taken away; verification names it."""
    crashed = Crashed(tmp_path / "logs")
    lines = crashed.text.splitlines(keepends=True)
    lines[3] = lines[3].replace(b'"request"', b'"requesT"')
    lines[4] = b"no record at all\n"
    crashed.data.write_bytes(b"".join(lines))
    folder = LogFolder(crashed.path)
    [leftover] = folder.leftovers
    folder.close()
    # The first mark is behind two records, the second behind four.
    assert leftover.changed_after == 2
    assert "NOT THOSE THAT WERE SEALED" in str(leftover)
    assert (crashed.path / f"{crashed.stem}.jsonl").read_bytes() == b"".join(lines)
    said = verdict(crashed.path)
    assert not said.sound
    [problem] = said.problems
    assert (problem.segment, problem.seq) == (crashed.stem, 2)


def test_a_cut_into_what_was_sealed_shows(tmp_path: Path) -> None:
    crashed = Crashed(tmp_path / "logs")
    lines = crashed.text.splitlines(keepends=True)
    kept = b"".join(lines[:3])
    crashed.data.write_bytes(kept + lines[3][:20] + bytes(5000))
    seal = crashed.start()
    assert seal.final is not None
    assert (seal.final.records, seal.final.torn_bytes) == (3, 5020)
    assert (crashed.path / f"{crashed.stem}.jsonl").read_bytes() == kept
    assert len(read_trace(crashed.path, "t14").logs) == 1
    said = verdict(crashed.path)
    assert not said.sound
    assert said.problems[0].segment == crashed.stem


def test_zeros_where_all_was(tmp_path: Path) -> None:
    """As after a power cut: the size was there and the data was not."""
    crashed = Crashed(tmp_path / "logs")
    for path in (crashed.data, crashed.seal, crashed.index):
        path.write_bytes(bytes(path.stat().st_size))
    seal = crashed.start()
    assert seal.final is not None
    assert (seal.final.records, seal.final.torn_bytes) == (0, len(crashed.text))
    check_sound(crashed.path)


def test_a_large_tail_of_zeros_takes_little_memory(tmp_path: Path) -> None:
    crashed = Crashed(tmp_path / "logs")
    with crashed.data.open("r+b") as file:
        file.truncate(len(crashed.text) + (64 << 20))
    tracemalloc.start()
    seal = crashed.start()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seal.final is not None
    assert seal.final.torn_bytes == 64 << 20
    assert peak < 8 << 20
    check_sound(crashed.path)


def test_a_closed_seal_is_not_touched(tmp_path: Path) -> None:
    """Its writer died before it gave the segment its name."""
    crashed = Crashed(tmp_path / "logs")
    crashed.start()
    closed = crashed.path / f"{crashed.stem}.jsonl"
    closed.rename(crashed.data)
    before = crashed.seal.read_bytes()
    folder = LogFolder(crashed.path)
    [leftover] = folder.leftovers
    folder.close()
    assert closed.exists()
    assert crashed.seal.read_bytes() == before
    assert leftover.torn_bytes == 0
    check_sound(crashed.path)


def test_an_empty_one_leaves_nothing(tmp_path: Path) -> None:
    crashed = Crashed(tmp_path / "logs")
    crashed.data.write_bytes(b"")
    crashed.seal.write_bytes(crashed.seal.read_bytes().splitlines(keepends=True)[0])
    LogFolder(crashed.path).close()
    assert not list(crashed.path.glob(crashed.stem + "*"))
    check_sound(crashed.path)


def test_one_that_was_emptied_is_not_taken_for_one_without_records(tmp_path: Path) -> None:
    crashed = Crashed(tmp_path / "logs")
    crashed.data.write_bytes(b"")
    seal = crashed.start()
    assert seal.final is not None
    assert seal.final.records == 0
    assert not verdict(crashed.path).sound


def test_a_slot_that_has_no_worker_any_more_is_closed_too(tmp_path: Path) -> None:
    path = tmp_path / "logs"
    script = """
import os, sys
from iatp.adapters.recorder import LogFolder, Recorder, new_boot_id
from tests.adapters.recording import tail
folder = LogFolder(sys.argv[1])
for worker in range(4):
    recorder = Recorder(folder, worker, new_boot_id(), 1 << 20)
    recorder.append([tail("t", worker)])
    globals()[f"kept{worker}"] = recorder
os._exit(9)
"""
    assert run_python(script, path).returncode == 9
    folder = LogFolder(path)
    assert len(folder.leftovers) == 4
    folder.close()
    assert len(check_sound(path).chains) == 4


def test_chains_go_on_over_starts_and_counts_of_workers(tmp_path: Path) -> None:
    path = tmp_path / "logs"
    for count in (1, 3, 2, 3):
        folder = LogFolder(path)
        recorders = [Recorder(folder, worker, new_boot_id(), 1 << 20) for worker in range(count)]
        for recorder in recorders:
            for _ in range(3):
                recorder.append([tail("t", 0)])
                recorder.rotate()
            recorder.close()
        folder.close()
    said = check_sound(path)
    assert [chain.segments for chain in said.chains] == [12, 9, 6]


def test_the_wall_clock_set_back_keeps_the_chain(
    folder: LogFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time_ns()
    for hours in (0, -5, -3, -9):
        monkeypatch.setattr(time, "time_ns", lambda at=now + hours * 3600 * 10**9: at)
        recorder = Recorder(folder, 0, new_boot_id(), 1 << 20)
        recorder.append([tail("t", 0)])
        recorder.rotate()
        recorder.append([tail("t", 0)])
        recorder.close()
    folder.write_head("bank")
    assert check_sound(folder.path).chains[0].segments == 8
    assert [next(iter(each))["seq"] for each in stored(folder.path).values()] == [0] * 8


@pytest.mark.parametrize("call", ["fsync", "rename", "pwrite", "ftruncate"])
def test_a_full_disk_at_start_leaves_it_for_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    crashed = Crashed(tmp_path / "logs")
    crashed.data.write_bytes(crashed.text + b"torn")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        folder = LogFolder(crashed.path)
        recorder = Recorder(folder, 0, new_boot_id(), 1 << 20)
        # Its chain would not go on: no record before what is left is closed.
        assert recorder.failing
        with pytest.raises(OSError, match="No space"):
            recorder.append([tail("t", 0)])
    recorder.append([tail("more", 1)])
    recorder.close()
    folder.close()
    seal = read_seal(crashed.path, crashed.stem)
    assert seal is not None
    assert seal.final is not None
    assert (seal.final.records, seal.final.torn_bytes) == (9, 4)
    check_sound(crashed.path)


def test_one_that_cannot_be_read_does_not_hold_up_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    crashed = Crashed(tmp_path / "logs")

    def broken(*_: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", broken)
        folder = LogFolder(crashed.path)
        recorder = Recorder(folder, 0, new_boot_id(), 1 << 20)
    assert not recorder.failing
    assert "cannot be closed" in caplog.text
    recorder.append([tail("more", 1)])
    recorder.close()
    folder.close()
    assert not verdict(crashed.path).sound
