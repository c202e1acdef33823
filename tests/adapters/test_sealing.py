"""The seal of a segment that is written: it may lag, and is never wrong."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iatp._fast import lookup, record, trail
from iatp.adapters import seals
from iatp.adapters.log_folder import LogFolder, list_segments, new_boot_id
from iatp.adapters.recorder import Recorder
from iatp.adapters.seals import Seal, last_point, read_head, read_seal
from tests.adapters.recording import check_numbering, check_sound, request_ids, tail, verdict

MIB = 1 << 20


@pytest.fixture
def recorder(folder: LogFolder) -> Iterator[Recorder]:
    made = Recorder(folder, 0, new_boot_id(), MIB, join=record.lines)
    yield made
    made.close()


def only_seal(folder: LogFolder) -> Seal:
    [segment] = list_segments(folder.path)
    found = read_seal(folder.path, segment.stem)
    assert found is not None
    return found


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def write(recorder: Recorder, first: int, count: int) -> None:
    for number in range(first, first + count):
        recorder.append([tail(f"t{number}", number)])


def test_a_seal_is_made_with_its_segment(recorder: Recorder) -> None:
    seal = only_seal(recorder.folder)
    assert seal.header is not None
    assert (seal.header.previous.segment, seal.header.previous.sha256) == (None, "0" * 64)
    assert (seal.marks, seal.final) == ([], None)


def test_a_tick_marks_what_is_new_and_nothing_else(recorder: Recorder) -> None:
    recorder.tick()
    write(recorder, 0, 3)
    recorder.tick()
    recorder.tick()
    write(recorder, 3, 2)
    recorder.tick()
    seal = only_seal(recorder.folder)
    assert [mark.records for mark in seal.marks] == [3, 5]
    [data] = recorder.folder.path.glob("*.open.jsonl")
    assert seal.marks[-1].bytes == data.stat().st_size
    check_sound(recorder.folder.path)


def test_as_the_page_says_with_nothing_but_hashlib(recorder: Recorder) -> None:
    """The digest, the checks and the index of a closed segment, made by hand."""
    write(recorder, 0, 5)
    stem = list_segments(recorder.folder.path)[0].stem
    recorder.close()
    seal = only_seal(recorder.folder)
    assert seal.final is not None
    text = (recorder.folder.path / f"{stem}.jsonl").read_bytes()
    start = b"iatp-log-1\n" + b"0" * 64 + b"\n" + stem.encode() + b"\n"
    assert seal.final.sha256 == hashlib.sha256(start + text).hexdigest()
    crcs = b"".join(
        trail.crc32c(line, plain=True).to_bytes(4, "little") for line in text.splitlines(True)
    )
    assert seal.final.checks == hashlib.sha256(crcs).hexdigest()
    index = (recorder.folder.path / f"{stem}.index").read_bytes()
    assert trail.checks_sha256(index) == seal.final.checks
    at = text.index(b'{"seq":3')
    ((_, _, entries, _, offsets),) = lookup.look(recorder.folder.path, [f"{stem}.index"], "t3")
    assert (entries, offsets) == (5, [at])


def test_each_names_the_one_before(recorder: Recorder) -> None:
    for number in range(4):
        write(recorder, number, 1)
        recorder.rotate()
    recorder.close()
    names = [segment.stem for segment in list_segments(recorder.folder.path)]
    found = [read_seal(recorder.folder.path, name) for name in names]
    finals = [seal.final for seal in found if seal]
    headers = [seal.header for seal in found if seal]
    for at in range(1, 4):
        header, before = headers[at], finals[at - 1]
        assert header is not None
        assert before is not None
        assert (header.previous.segment, header.previous.sha256) == (names[at - 1], before.sha256)
    assert check_sound(recorder.folder.path).chains[0].segments == 4


def test_empty_segments_leave_nothing(folder: LogFolder) -> None:
    for _ in range(3):
        recorder = Recorder(folder, 0, new_boot_id(), MIB)
        recorder.tick()
        recorder.rotate()
        recorder.close()
    assert not list(folder.path.glob("*-w0-*"))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.lists(st.integers(0, 4000), min_size=1, max_size=9),
            st.sampled_from(["tick", "rotate", "start"]),
        ),
        max_size=25,
    ),
    st.booleans(),
)
def test_whatever_is_appended(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[list[int] | str],
    power: bool,
) -> None:
    """Pieces of any size, in any grouping, over segments and starts: always sound."""
    folder = LogFolder(tmp_path_factory.mktemp("any") / "logs")
    options: dict[str, Any] = {"join": record.lines, "power": power}
    recorder = Recorder(folder, 0, new_boot_id(), 20_000, **options)
    count = 0
    for step in steps:
        if isinstance(step, list):
            recorder.append([tail("t", count + n, fill=fill) for n, fill in enumerate(step)])
            count += len(step)
            if power:
                recorder.begin_sync().run()
                recorder.end_sync(None, False)
        elif step == "tick":
            recorder.tick()
        elif step == "rotate":
            recorder.rotate()
        else:
            recorder.close()
            recorder = Recorder(folder, 0, new_boot_id(), 20_000, **options)
    check_sound(folder.path)
    recorder.close()
    check_numbering(folder.path)
    assert request_ids(folder.path) == [f"r{n}" for n in range(count)]
    assert check_sound(folder.path).records == count
    folder.close()


class Refusing:
    """Stands for `os.pwrite`, which only seals and indexes use while records are written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refuses = False
        self.short = 0
        self.calls = 0
        self._write = os.pwrite
        monkeypatch.setattr(os, "pwrite", self)

    def __call__(self, fd: int, data: Any, offset: int) -> int:
        self.calls += 1
        if self.refuses:
            if self.short:
                self._write(fd, bytes(data)[: self.short], offset)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._write(fd, data, offset)


@pytest.mark.parametrize("short", [0, 1, 30])
def test_records_go_on_where_the_seal_cannot_and_it_follows(
    folder: LogFolder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    short: int,
) -> None:
    disk = Refusing(monkeypatch)
    disk.short = short
    recorder = Recorder(folder, 0, new_boot_id(), MIB)
    write(recorder, 0, 2)
    recorder.tick()
    disk.refuses = True
    for number in range(2, 8, 2):
        write(recorder, number, 2)
        recorder.tick()
        recorder.rotate()
        # What has no closed seal has no closed name.
        assert not list(folder.path.glob("*[0-9].jsonl"))
    assert not recorder.failing
    assert caplog.text.count("seal cannot be written") == 1
    disk.refuses = False
    recorder.tick()
    assert len(list(folder.path.glob("*[0-9].jsonl"))) == 3
    check_sound(folder.path)
    write(recorder, 8, 1)
    recorder.close()
    said = check_sound(folder.path)
    assert (said.records, said.chains[0].segments) == (9, 4)


def test_what_could_not_be_sealed_to_the_end_the_next_start_seals(
    folder: LogFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Refusing(monkeypatch)
    recorder = Recorder(folder, 0, new_boot_id(), MIB)
    before = open_files()
    disk.refuses = True
    for number in range(25):
        write(recorder, number, 1)
        recorder.rotate()
    # Each that waits has three files open, so not all do.
    assert open_files() - before <= 3 * 17
    recorder.close()
    assert len(list(folder.path.glob("*.open.jsonl"))) == 25
    disk.refuses = False
    again = Recorder(folder, 0, new_boot_id(), MIB)
    assert len(again.leftovers) == 25
    again.close()
    assert check_sound(folder.path).records == 25


@pytest.fixture
def busy() -> Iterator[tuple[Executor, threading.Event]]:
    """One thread that does nothing until the event is set."""
    free = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        executor.submit(free.wait, 30.0)
        yield executor, free
        free.set()


def closed(folder: LogFolder) -> int:
    return len(list(folder.path.glob("*[0-9].jsonl")))


def ticks_until(recorder: Recorder, count: int) -> None:
    deadline = time.monotonic() + 10
    while closed(recorder.folder) < count:
        assert time.monotonic() < deadline
        recorder.tick()
        time.sleep(0.01)


@pytest.mark.parametrize("power", [False, True])
def test_another_thread_closes_while_records_go_on(
    folder: LogFolder, busy: tuple[Executor, threading.Event], power: bool
) -> None:
    executor, free = busy
    recorder = Recorder(folder, 0, new_boot_id(), MIB, power=power, executor=executor)
    for number in range(3):
        write(recorder, number, 1)
        recorder.rotate()
        recorder.tick()
    assert closed(folder) == 0
    check_sound(folder.path)
    free.set()
    ticks_until(recorder, 3)
    write(recorder, 3, 1)
    recorder.close()
    assert check_sound(folder.path).records == 4
    assert closed(folder) == 4


def test_the_end_closes_what_no_thread_has_begun_with(
    folder: LogFolder, busy: tuple[Executor, threading.Event]
) -> None:
    executor, _ = busy
    before = open_files()
    recorder = Recorder(folder, 0, new_boot_id(), MIB, executor=executor)
    for number in range(25):
        write(recorder, number, 1)
        recorder.rotate()
    # Each that waits has three files open, so not all do.
    assert open_files() - before <= 3 * 17
    recorder.close()
    assert closed(folder) == 16
    again = Recorder(folder, 0, new_boot_id(), MIB)
    assert len(again.leftovers) == 9
    again.close()
    assert check_sound(folder.path).records == 25


class Starved(ThreadPoolExecutor):
    """Takes what it is given, and finds no thread for it the first time."""

    refused = 0

    def submit(self, *given: Any, **named: Any) -> Any:
        done = super().submit(*given, **named)
        self.refused += 1
        if self.refused == 1:
            raise RuntimeError("can't start new thread")
        return done


def test_without_a_thread_it_is_tried_again_and_done_once(
    folder: LogFolder, caplog: pytest.LogCaptureFixture
) -> None:
    with Starved(1) as executor:
        recorder = Recorder(folder, 0, new_boot_id(), MIB, executor=executor)
        write(recorder, 0, 2)
        recorder.rotate()
        ticks_until(recorder, 1)
        recorder.tick()
        # Whatever was given to the thread, it has done.
        executor.submit(lambda: None).result()
        write(recorder, 2, 1)
        recorder.close()
    assert "could not be closed" not in caplog.text
    assert check_sound(folder.path).records == 3


def test_what_another_thread_could_not_close_is_closed_later(
    folder: LogFolder,
    busy: tuple[Executor, threading.Event],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    executor, free = busy
    free.set()
    disk = Refusing(monkeypatch)
    recorder = Recorder(folder, 0, new_boot_id(), MIB, executor=executor)
    write(recorder, 0, 2)
    disk.refuses = True
    recorder.rotate()
    deadline = time.monotonic() + 10
    while "seal cannot be written" not in caplog.text:
        assert time.monotonic() < deadline
        recorder.tick()
    assert closed(folder) == 0
    disk.refuses = False
    ticks_until(recorder, 1)
    recorder.close()
    assert check_sound(folder.path).records == 2


def test_an_index_that_cannot_follow_is_given_up(
    folder: LogFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk = Refusing(monkeypatch)
    monkeypatch.setattr(seals, "_LAGGING_BYTES", 24 * 50)
    recorder = Recorder(folder, 0, new_boot_id(), MIB)
    disk.refuses = True
    write(recorder, 0, 60)
    recorder.tick()
    disk.refuses = False
    write(recorder, 60, 60)
    recorder.close()
    assert "is given up" in caplog.text
    assert not list(folder.path.glob("*.index"))
    assert [problem.why for problem in verdict(folder.path).problems] == ["its index is gone"]


def test_a_seal_that_was_removed_is_made_anew(recorder: Recorder) -> None:
    write(recorder, 0, 2)
    recorder.tick()
    [path] = recorder.folder.path.glob("*.seal")
    path.unlink()
    recorder.tick()
    assert [mark.records for mark in only_seal(recorder.folder).marks] == [2]
    path.unlink()
    write(recorder, 2, 1)
    recorder.close()
    check_sound(recorder.folder.path)


def test_records_of_a_failed_append_are_not_sealed(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(recorder, 0, 2)

    def short(fd: int, pieces: list[bytes]) -> int:
        os.write(fd, b"".join(pieces)[:50])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", short)
        # Not the common case, which is compiled.
        recorder._check_due = 0.0
        with pytest.raises(OSError, match="No space"):
            recorder.append([tail("lost", 9)])
    recorder.tick()
    check_sound(recorder.folder.path)
    write(recorder, 2, 2)
    recorder.close()
    assert check_sound(recorder.folder.path).records == 4


def test_records_that_a_sync_lost_are_not_sealed(folder: LogFolder) -> None:
    recorder = Recorder(folder, 0, new_boot_id(), MIB, power=True)
    write(recorder, 0, 2)
    recorder.begin_sync().run()
    recorder.end_sync(None, False)
    write(recorder, 2, 3)
    sync = recorder.begin_sync()
    recorder.tick()
    # Not durable yet, so not marked.
    assert [mark.records for mark in only_seal(folder).marks] == [2]
    sync.run()
    recorder.end_sync(OSError(errno.EIO, os.strerror(errno.EIO)), False)
    write(recorder, 5, 1)
    recorder.begin_sync().run()
    recorder.end_sync(None, False)
    recorder.close()
    assert request_ids(folder.path) == ["r0", "r1", "r5"]
    check_sound(folder.path)


def test_what_something_else_wrote_is_named(recorder: Recorder) -> None:
    write(recorder, 0, 2)
    recorder.tick()
    [path] = recorder.folder.path.glob("*.open.jsonl")
    with path.open("ab") as file:
        file.write(b'{"seq":2,"type":"forged","trace_id":"f"}\n')
    write(recorder, 2, 2)
    recorder._check_due = 0.0
    write(recorder, 4, 2)
    recorder.close()
    [problem] = verdict(recorder.folder.path).problems
    assert (problem.segment, problem.seq) == (path.name.removesuffix(".open.jsonl"), 2)


def test_a_segment_that_was_removed_stays_in_the_chain(recorder: Recorder) -> None:
    write(recorder, 0, 3)
    recorder.tick()
    [path] = recorder.folder.path.glob("*.open.jsonl")
    stem = path.name.removesuffix(".open.jsonl")
    path.unlink()
    recorder._check_due = 0.0
    write(recorder, 3, 1)
    recorder.close()
    seal = read_seal(recorder.folder.path, stem)
    assert seal is not None
    assert seal.final is not None
    assert seal.final.records == 3
    said = verdict(recorder.folder.path)
    assert not said.sound
    assert {problem.segment for problem in said.problems} == {stem}


def test_a_head_says_how_far_each_chain_goes(folder: LogFolder) -> None:
    recorders = [Recorder(folder, worker, new_boot_id(), MIB) for worker in range(3)]
    write(recorders[0], 0, 2)
    recorders[0].rotate()
    recorders[0].tick()
    write(recorders[1], 0, 3)
    recorders[1].tick()
    folder.write_head("bank")
    found = read_head(folder.path)
    assert found is not None
    # The third has written nothing, and of the first the newest segment is empty.
    assert [(chain.worker, chain.records) for chain in found.head.chains] == [(0, 2), (1, 3)]
    assert (found.head.agent_id, found.head.key) == ("bank", folder.signing_key.key_id)
    kept = (folder.path / "head.json").read_bytes()
    for recorder in recorders:
        recorder.close()
    check_sound(folder.path, kept)
    [removed] = {segment.stem for segment in list_segments(folder.path) if segment.worker == 1}
    for path in folder.path.glob(removed + ".*"):
        path.unlink()
    assert not verdict(folder.path, kept).sound


def test_the_last_point_is_found_at_the_end_of_a_long_seal(folder: LogFolder) -> None:
    line = b'{"records":%d,"bytes":30,"sha256":"ab","timestamp":"2025-11-24T16:00:01.000000Z"}\n'
    (folder.path / "s.seal").write_bytes(b"".join(line % n for n in range(20_000)) + b'{"reco')
    point = last_point(folder.path, "s")
    assert point is not None
    assert point.records == 19_999
    assert last_point(folder.path, "none") is None
