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

from iatp.adapters import page_cache, recorder
from iatp.adapters.page_cache import DropBehind
from iatp.adapters.recorder import LogFolder, Recorder, new_boot_id
from iatp.adapters.traces import read_trace
from tests.adapters.recording import REPOSITORY, check_numbering, request_ids, tail

MIB = 1 << 20
TURN = 16
"""Records of 64 KiB in a turn: a turn is 1 MiB."""
PIECE = 4 * MIB
KEPT = 8 * MIB
"""Smaller than the real ones, so that a test writes less."""


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


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No test leaves a thread or a descriptor behind."""
    before = descriptors()
    yield
    wait_for(lambda: not threads() and descriptors() == before)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "PIECE_BYTES", PIECE)
    monkeypatch.setattr(page_cache, "KEPT_BYTES", KEPT)


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


def pieces(to: Recorder, count: int, first: int = 0) -> None:
    """Append so many pieces."""
    for number in range(first, first + count * PIECE // MIB):
        to.append(turn(number))


def records(count: int) -> list[str]:
    """What so many pieces hold."""
    return [f"r{n}" for n in range(count * PIECE // MIB * TURN)]


class Advice:
    """Stands in for posix_fadvise: notes the calls, and does what `effect` says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, effect: Callable[[int], object]) -> None:
        self.calls: list[tuple[str, int]] = []
        """The file's name and how much of it was to be dropped."""
        self.effect = effect
        monkeypatch.setattr(os, "posix_fadvise", self, raising=False)

    def __call__(self, fd: int, offset: int, length: int, advice: int) -> None:
        assert offset == 0
        self.calls.append((Path(f"/dev/fd/{fd}").readlink().name, length))
        self.effect(fd)


# What it is for.


def test_a_log_leaves_the_page_cache_but_for_its_end(disk: tuple[Path, bool]) -> None:
    path, drops = disk
    folder = LogFolder(path / "logs")
    made = Recorder(folder, 0, new_boot_id(), 256 * MIB)
    [segment] = folder.path.glob("*.open.jsonl")
    written = 0
    while written < 8 or (drops and cached_bytes(segment) > KEPT + 3 * PIECE):
        # A disk may be slow to take what it was given; far from as slow as this allows.
        assert written < 60
        pieces(made, 1, first=written * PIECE // MIB)
        written += 1
        time.sleep(0.05)
    assert cached_bytes(segment) >= KEPT
    # What was dropped is read from the disk.
    assert request_ids(folder.path) == records(written)
    page = read_trace(folder.path, "t", limit=3)
    assert [b'"request_id":"r%d"' % n in bytes(page.logs[n]) for n in range(3)] == [True] * 3
    made.close()
    folder.close()


@pytest.mark.parametrize("segment_bytes", [6 * MIB + 1, 2 * MIB + MIB // 2])
def test_closed_segments_leave_it_too(disk: tuple[Path, bool], segment_bytes: int) -> None:
    path, drops = disk
    folder = LogFolder(path / "logs")
    made = Recorder(folder, 0, new_boot_id(), segment_bytes)
    pieces(made, 1)
    written = 1
    oldest = folder.path / folder.segments()[0].name
    if "open" in oldest.name:
        made.rotate()
        oldest = folder.path / folder.segments()[0].name
    while written < 8 or (drops and cached_bytes(oldest) > 0):
        assert written < 60
        pieces(made, 1, first=written * PIECE // MIB)
        written += 1
        time.sleep(0.05)
    assert request_ids(folder.path) == records(written)
    made.close()
    folder.close()


def test_what_is_dropped(folder: LogFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the newest bytes of this worker, and of no other."""
    advice = Advice(monkeypatch, lambda fd: None)
    other = Recorder(folder, 1, new_boot_id(), 2 * MIB)
    for number in range(3):
        other.append(turn(number))
    made = Recorder(folder, 0, new_boot_id(), 5 * MIB)
    for number in range(0, 24, 4):
        advice.calls.clear()
        pieces(made, 1, first=number)
        segments = [each for each in folder.segments() if each.worker == 0]
        sizes = [(folder.path / each.name).stat().st_size for each in segments]
        expected = [
            (each.name, min(size, sum(sizes[at:]) - KEPT))
            for at, (each, size) in enumerate(zip(segments, sizes, strict=True))
            if sum(sizes[at:]) > KEPT
        ]
        wait_for(lambda wanted=expected: sorted(advice.calls) == wanted)  # type: ignore[misc]
    made.close()
    other.close()


def test_a_quiet_recorder_has_no_thread(folder: LogFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    Advice(monkeypatch, lambda fd: None)
    made = Recorder(folder, 0, new_boot_id(), 2 * MIB)
    assert threads() == []
    for number in range(3):
        made.append(turn(number))
    made.rotate()
    assert threads() == []
    made.append(turn(3))
    made.append(turn(4))
    assert len(threads()) == 1
    made.close()
    assert threads() == []


# Rotation and close.


def test_a_hundred_rotations_under_it(folder: LogFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are renamed, and their descriptors' numbers taken by others, while it looks."""
    wrong: list[str] = []

    def check(fd: int) -> None:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_dev != folder.path.stat().st_dev:
            wrong.append(f"{fd} is another file")

    advice = Advice(monkeypatch, check)
    made = Recorder(folder, 0, new_boot_id(), MIB)
    for number in range(100):
        made.append(turn(number))
        for fd in [os.open(os.devnull, os.O_RDONLY) for _ in range(4)]:
            os.close(fd)
    made.close()
    assert wrong == []
    assert advice.calls
    assert all(name.endswith(".jsonl") for name, _ in advice.calls)
    check_numbering(folder.path)
    assert request_ids(folder.path) == [f"r{n}" for n in range(100 * TURN)]


def test_a_disk_that_hangs_holds_up_nothing(
    folder: LogFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_cache, "_JOIN_S", 0.1)
    go_on = threading.Event()
    advice = Advice(monkeypatch, lambda fd: go_on.wait(30))
    made = Recorder(folder, 0, new_boot_id(), 2 * MIB)
    pieces(made, 4)
    wait_for(lambda: len(advice.calls) == 1)
    before = descriptors()
    pieces(made, 10, first=4 * PIECE // MIB)
    for _ in range(1000):
        made._drop_behind.written()
    assert len(advice.calls) == 1
    assert descriptors() == before
    began = time.monotonic()
    made.close()
    assert time.monotonic() - began < 5
    assert len(threads()) == 1
    go_on.set()
    wait_for(lambda: not threads())
    assert len(request_ids(folder.path)) == len(records(14))


def test_after_a_hang_it_goes_on(folder: LogFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    advice = Advice(monkeypatch, lambda fd: go_on.wait(30))
    made = Recorder(folder, 0, new_boot_id(), 2 * MIB)
    pieces(made, 8)
    go_on.set()
    wait_for(lambda: len(advice.calls) > 2)
    before = len(advice.calls)
    pieces(made, 2, first=100)
    wait_for(lambda: len(advice.calls) > before)
    made.close()


def test_a_segment_that_is_deleted_is_held_by_nothing(folder: LogFolder) -> None:
    made = Recorder(folder, 0, new_boot_id(), 64 * MIB)
    pieces(made, 4)
    next(folder.path.glob("*.open.jsonl")).unlink()
    made.tick()
    pieces(made, 4, first=100)
    made.close()
    check_numbering(folder.path)


def test_what_is_no_file_is_left_alone(folder: LogFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link or a pipe in the place of a segment neither misleads it nor holds it up."""
    advice = Advice(monkeypatch, lambda fd: None)
    made = Recorder(folder, 0, new_boot_id(), 2 * MIB)
    pieces(made, 4)
    oldest, second = (folder.path / each.name for each in folder.segments()[:2])
    oldest.unlink()
    oldest.symlink_to("/etc/passwd")
    second.unlink()
    os.mkfifo(second)
    pieces(made, 2, first=100)
    wait_for(lambda: len(advice.calls) > 4)
    made.close()
    assert "passwd" not in [name for name, _ in advice.calls]


def test_close_before_anything_was_written(folder: LogFolder) -> None:
    drop_behind = DropBehind(folder, 0)
    drop_behind.close()
    drop_behind.close()
    drop_behind.written()
    assert threads() == []


# Where it can't be done.


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ESPIPE, errno.ENOSYS, errno.EPERM])
def test_what_fails_is_not_tried_again(
    folder: LogFolder, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(fd: int) -> None:
        raise OSError(number, os.strerror(number))

    advice = Advice(monkeypatch, fail)
    made = Recorder(folder, 0, new_boot_id(), 6 * MIB)
    pieces(made, 12)
    made.close()
    assert len(advice.calls) == 1
    assert request_ids(folder.path) == records(12)


def test_a_platform_without_it(folder: LogFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    made = Recorder(folder, 0, new_boot_id(), 6 * MIB)
    pieces(made, 4)
    assert threads() == []
    made.close()
    assert request_ids(folder.path) == records(4)


def test_without_a_thread_the_next_piece_tries_again(
    folder: LogFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    advice = Advice(monkeypatch, lambda fd: None)
    made = Recorder(folder, 0, new_boot_id(), 64 * MIB)
    with monkeypatch.context() as crowded:
        crowded.setattr(threading.Thread, "start", none_left)
        pieces(made, 4)
    assert advice.calls == []
    pieces(made, 1, first=4 * PIECE // MIB)
    wait_for(lambda: len(advice.calls) == 1)
    made.close()
