"""What was written leaves the page cache, and nothing but that depends on it."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from iatp.adapters import page_cache
from iatp.adapters.page_cache import PIECE_BYTES, DropBehind
from iatp.adapters.recorder import LogFolder, Recorder, new_boot_id
from iatp.adapters.traces import read_trace
from tests.adapters.recording import REPOSITORY, check_numbering, request_ids, tail

MIB = 1 << 20
TURN = 16
"""Records of 64 KiB in a turn: a turn is 1 MiB."""


def cached_bytes(path: Path) -> int:
    """How much of a file is in the page cache."""
    size = path.stat().st_size
    pages = -(-size // mmap.PAGESIZE)
    present = (ctypes.c_ubyte * pages)()
    # A private mapping, so that its address can be had; no page of it is touched.
    with (
        path.open("rb") as file,
        mmap.mmap(
            file.fileno(), size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE
        ) as mapped,
    ):
        first = ctypes.c_char.from_buffer(mapped)
        libc = ctypes.CDLL(None, use_errno=True)
        done = libc.mincore(
            ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(size), ctypes.byref(present)
        )
        del first
    assert done == 0, os.strerror(ctypes.get_errno())
    return sum(each & 1 for each in present) * mmap.PAGESIZE


def can_drop(folder: Path) -> bool:
    """Whether files here leave the page cache when asked to; those of a tmpfs are nowhere else."""
    if not hasattr(os, "posix_fadvise"):
        return False
    path = folder / "probe"
    path.write_bytes(os.urandom(MIB))
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    left = cached_bytes(path)
    path.unlink()
    return left == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, bool]]:
    """A folder on a real file system, if there is one, and whether there is."""
    if can_drop(tmp_path):
        yield tmp_path, True
        return
    build = REPOSITORY / "build"
    build.mkdir(exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=build))
    yield made, can_drop(made)
    shutil.rmtree(made)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[LogFolder]:
    made = LogFolder(tmp_path / "logs")
    yield made
    made.close()


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No test leaves a thread or a descriptor behind."""
    before = descriptors()
    yield
    wait_for(lambda: not threads() and descriptors() == before)


def descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "iatp-drop-behind"]


def wait_for(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def turn(number: int) -> list[bytes]:
    """A turn of 1 MiB."""
    return [tail("t", number * TURN + n, fill=MIB // TURN) for n in range(TURN)]


def pieces(recorder: Recorder, count: int, first: int = 0) -> None:
    """Append so many pieces."""
    for number in range(first, first + count * PIECE_BYTES // MIB):
        recorder.append(turn(number))


class Advice:
    """Stands in for posix_fadvise: notes the calls, and does what `effect` says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, effect: Callable[[int], object]) -> None:
        self.calls = 0
        self.effect = effect
        monkeypatch.setattr(os, "posix_fadvise", self, raising=False)

    def __call__(self, fd: int, offset: int, length: int, advice: int) -> None:
        self.calls += 1
        self.effect(fd)


# What it is for.


def test_a_log_leaves_the_page_cache_while_it_is_written(disk: tuple[Path, bool]) -> None:
    path, drops = disk
    folder = LogFolder(path / "logs")
    recorder = Recorder(folder, 0, new_boot_id(), 256 * MIB)
    [segment] = folder.path.glob("*.open.jsonl")
    written = 0
    while written < 12 or (drops and cached_bytes(segment) > 3 * PIECE_BYTES):
        # A disk may be slow to take what it was given; far from as slow as this allows.
        assert written < 60
        pieces(recorder, 1, first=written * PIECE_BYTES // MIB)
        written += 1
        time.sleep(0.05)
    # What was dropped is read from the disk.
    assert request_ids(folder.path) == [f"r{n}" for n in range(written * PIECE_BYTES // MIB * TURN)]
    page = read_trace(folder.path, "t", limit=3)
    assert [b'"request_id":"r%d"' % n in bytes(page.logs[n]) for n in range(3)] == [True] * 3
    recorder.close()
    folder.close()


@pytest.mark.parametrize("segment_bytes", [6 * MIB + 1, 2 * MIB + MIB // 2])
def test_the_end_of_a_closed_segment_leaves_it_too(
    disk: tuple[Path, bool], segment_bytes: int
) -> None:
    path, drops = disk
    folder = LogFolder(path / "logs")
    recorder = Recorder(folder, 0, new_boot_id(), segment_bytes)
    pieces(recorder, 3)
    recorder.rotate()
    # The first may have been finished before there was a thread.
    closed = [each for each in sorted(folder.path.glob("*Z-*.jsonl")) if "open" not in each.name]
    assert len(closed) > 1
    if drops:
        wait_for(lambda: cached_bytes(closed[-1]) == 0)
    wait_for(lambda: len(recorder._drop_behind._held) == 0)
    assert request_ids(folder.path) == [f"r{n}" for n in range(3 * PIECE_BYTES // MIB * TURN)]
    recorder.close()
    folder.close()


def test_a_quiet_recorder_has_no_thread(folder: LogFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    Advice(monkeypatch, lambda fd: None)
    recorder = Recorder(folder, 0, new_boot_id(), 2 * MIB)
    assert threads() == []
    for number in range(3):
        recorder.append(turn(number))
    recorder.rotate()
    assert threads() == []
    recorder.append(turn(3))
    recorder.append(turn(4))
    assert len(threads()) == 1
    recorder.close()
    assert threads() == []


def test_one_call_for_a_piece(folder: LogFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    advice = Advice(monkeypatch, lambda fd: None)
    recorder = Recorder(folder, 0, new_boot_id(), 64 * MIB)
    for number in range(5):
        pieces(recorder, 1, first=number * PIECE_BYTES // MIB)
        wait_for(lambda number=number: advice.calls == number + 1)  # type: ignore[misc]
    recorder.close()


# Rotation and close.


def test_only_open_segments_are_touched_while_others_open_and_close_files(
    folder: LogFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers of closed descriptors are taken by other files at once; none is ever advised."""
    wrong: list[str] = []

    def check(fd: int) -> None:
        time.sleep(0.001)
        try:
            found = os.fstat(fd)
        except OSError as error:
            wrong.append(str(error))
            return
        if not stat.S_ISREG(found.st_mode) or found.st_ino not in segments:
            wrong.append(f"{fd} is another file")

    monkeypatch.setattr(page_cache, "_SETTLE_S", 0.01)
    advice = Advice(monkeypatch, check)
    recorder = Recorder(folder, 0, new_boot_id(), 5 * MIB)
    segments = {os.fstat(recorder._fd).st_ino}
    for number in range(100):
        recorder.append(turn(number))
        # A turn that rotates is the first of its segment, so no piece of it can be asked for yet.
        segments.add(os.fstat(recorder._fd).st_ino)
        for fd in [os.open(os.devnull, os.O_RDONLY) for _ in range(4)]:
            os.close(fd)
    recorder.close()
    assert wrong == []
    assert advice.calls > 20
    check_numbering(folder.path)
    assert request_ids(folder.path) == [f"r{n}" for n in range(100 * TURN)]


def test_a_disk_that_hangs_holds_up_nothing(
    folder: LogFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_cache, "_JOIN_S", 0.1)
    go_on = threading.Event()
    advice = Advice(monkeypatch, lambda fd: go_on.wait(30))
    recorder = Recorder(folder, 0, new_boot_id(), 2 * MIB)
    before = descriptors()
    pieces(recorder, 2)
    wait_for(lambda: advice.calls == 1)
    pieces(recorder, 10, first=2 * PIECE_BYTES // MIB)
    held = recorder._drop_behind
    for _ in range(1000):
        held.written(recorder._fd)
    assert advice.calls == 1
    assert len(held._held) <= page_cache._MAX_FILES
    assert descriptors() <= before + page_cache._MAX_FILES
    assert held._messages.qsize() <= 2 * page_cache._MAX_FILES
    began = time.monotonic()
    recorder.close()
    assert time.monotonic() - began < 5
    assert len(threads()) == 1
    go_on.set()
    wait_for(lambda: not threads())
    assert held._held == set()
    assert len(request_ids(folder.path)) == 12 * PIECE_BYTES // MIB * TURN


def test_what_is_asked_for_meanwhile_is_asked_for_once(
    folder: LogFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    advice = Advice(monkeypatch, lambda fd: go_on.wait(30))
    recorder = Recorder(folder, 0, new_boot_id(), 64 * MIB)
    pieces(recorder, 1)
    wait_for(lambda: advice.calls == 1)
    pieces(recorder, 3, first=PIECE_BYTES // MIB)
    for _ in range(1000):
        recorder._drop_behind.written(recorder._fd)
    assert recorder._drop_behind._messages.qsize() == 1
    go_on.set()
    wait_for(lambda: advice.calls == 2)
    recorder.close()


def test_after_a_hang_it_goes_on(folder: LogFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_cache, "_SETTLE_S", 0.01)
    go_on = threading.Event()
    advice = Advice(monkeypatch, lambda fd: go_on.wait(30))
    recorder = Recorder(folder, 0, new_boot_id(), 2 * MIB)
    pieces(recorder, 8)
    go_on.set()
    wait_for(lambda: not recorder._drop_behind._held)
    before = advice.calls
    pieces(recorder, 2, first=100)
    wait_for(lambda: advice.calls > before)
    recorder.close()


def test_a_deleted_segment_is_let_go_of(folder: LogFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_cache, "_SETTLE_S", 0.01)
    recorder = Recorder(folder, 0, new_boot_id(), 64 * MIB)
    pieces(recorder, 2)
    next(folder.path.glob("*.open.jsonl")).unlink()
    recorder.tick()
    wait_for(lambda: not recorder._drop_behind._held)
    pieces(recorder, 2, first=100)
    recorder.close()
    check_numbering(folder.path)


def test_close_before_anything_was_written() -> None:
    drop_behind = DropBehind()
    drop_behind.finished(0)
    drop_behind.close()
    drop_behind.close()
    drop_behind.written(0)
    assert threads() == []


# Where it can't be done.


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ESPIPE, errno.ENOSYS, errno.EPERM])
def test_what_fails_is_not_tried_again(
    folder: LogFolder, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(fd: int) -> None:
        raise OSError(number, os.strerror(number))

    advice = Advice(monkeypatch, fail)
    recorder = Recorder(folder, 0, new_boot_id(), 6 * MIB)
    pieces(recorder, 1)
    wait_for(lambda: advice.calls == 1)
    pieces(recorder, 8, first=PIECE_BYTES // MIB)
    recorder.close()
    assert advice.calls == 1
    assert request_ids(folder.path) == [f"r{n}" for n in range(9 * PIECE_BYTES // MIB * TURN)]


def test_a_pipe_is_nothing_to_drop() -> None:
    reader, writer = os.pipe()
    drop_behind = DropBehind()
    drop_behind.written(writer)
    wait_for(lambda: drop_behind._fadvise is None)
    drop_behind.written(writer)
    drop_behind.finished(writer)
    os.close(writer)
    drop_behind.close()
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_a_platform_without_it(folder: LogFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    recorder = Recorder(folder, 0, new_boot_id(), 6 * MIB)
    pieces(recorder, 4)
    assert threads() == []
    assert recorder._drop_behind._held == set()
    recorder.close()
    assert len(request_ids(folder.path)) == 4 * PIECE_BYTES // MIB * TURN


def test_without_a_descriptor_the_next_piece_tries_again(
    folder: LogFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(fd: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    advice = Advice(monkeypatch, lambda fd: None)
    recorder = Recorder(folder, 0, new_boot_id(), 64 * MIB)
    with monkeypatch.context() as crowded:
        crowded.setattr(os, "dup", none_left)
        pieces(recorder, 2)
    assert advice.calls == 0
    pieces(recorder, 1, first=2 * PIECE_BYTES // MIB)
    wait_for(lambda: advice.calls == 1)
    recorder.close()
    assert not recorder.failing


def test_without_a_thread_the_next_piece_tries_again(
    folder: LogFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    advice = Advice(monkeypatch, lambda fd: None)
    recorder = Recorder(folder, 0, new_boot_id(), 64 * MIB)
    with monkeypatch.context() as crowded:
        crowded.setattr(threading.Thread, "start", none_left)
        pieces(recorder, 2)
    assert advice.calls == 0
    pieces(recorder, 1, first=2 * PIECE_BYTES // MIB)
    wait_for(lambda: advice.calls == 1)
    recorder.close()
