"""Appending: whole or not at all, whatever the disk does."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iatp.adapters.recorder import LogFolder, Recorder, new_boot_id
from tests.adapters.recording import (
    check_numbering,
    overdue,
    request_ids,
    run_python,
    start_python,
    stored,
    tail,
)

MIB = 1 << 20


@pytest.fixture
def recorder(folder: LogFolder) -> Iterator[Recorder]:
    made = Recorder(folder, 3, new_boot_id(), MIB)
    yield made
    made.close()


def test_lines_are_records_with_seq_worker_and_boot_id(recorder: Recorder) -> None:
    recorder.append([tail("t", 0), tail("t", 1)])
    recorder.append([tail("t", 2)])
    [(name, records)] = stored(recorder.folder.path).items()
    assert name.endswith("-000000.open.jsonl")
    assert [record["seq"] for record in records] == [0, 1, 2]
    assert {record["worker"] for record in records} == {3}
    assert {record["boot_id"] for record in records} == {recorder.boot_id}
    assert [record["request_id"] for record in records] == ["r0", "r1", "r2"]
    assert list(records[0])[:4] == ["seq", "worker", "boot_id", "type"]
    assert recorder.written == 3
    assert not recorder.failing


def test_one_write_for_a_turn(recorder: Recorder) -> None:
    recorder.append([tail("t", 0)])
    # In the file's place, so that each write is a message.
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    file = os.dup(recorder._fd)
    with ours, theirs, os.fdopen(file, "ab", buffering=0) as kept:
        ours.setblocking(False)
        os.dup2(theirs.fileno(), recorder._fd)
        recorder.append([tail("t", n) for n in range(1, 9)])
        os.dup2(file, recorder._fd)
        kept.write(ours.recv(1 << 16))
        with pytest.raises(BlockingIOError):
            ours.recv(1)
    assert request_ids(recorder.folder.path) == [f"r{n}" for n in range(9)]


def test_one_write_for_a_turn_before_which_it_looks(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = []
    write = os.writev

    def counted(fd: int, pieces: list[bytes]) -> int:
        writes.append(len(pieces))
        return write(fd, pieces)

    monkeypatch.setattr(os, "writev", counted)
    overdue(recorder)
    recorder.append([tail("t", n) for n in range(50)])
    assert len(writes) == 1


def test_nothing_to_append_writes_nothing(recorder: Recorder) -> None:
    recorder.append([])
    assert request_ids(recorder.folder.path) == []


def test_a_record_of_two_lines_is_refused(recorder: Recorder) -> None:
    with pytest.raises(ValueError, match="one line"):
        recorder.append([tail("t", 0), b'"type":"x"}\n{"type":"forged"}'])
    recorder.append([tail("t", 1)])
    assert request_ids(recorder.folder.path) == ["r1"]


def test_modes(recorder: Recorder) -> None:
    path = recorder.folder.path
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for file in path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


@pytest.mark.parametrize("boot_id", ["", "a_b", "a/b", 'a"', "x" * 65])
def test_boot_id_that_would_not_fit_a_name_is_refused(folder: LogFolder, boot_id: str) -> None:
    with pytest.raises(ValueError, match="boot_id"):
        Recorder(folder, 0, boot_id, MIB)


def test_boot_ids_share_the_clock_and_differ(folder: LogFolder) -> None:
    first, second = new_boot_id(), new_boot_id()
    assert first != second
    if Path("/proc/sys/kernel/random/boot_id").exists():
        assert first.split("-")[0] == second.split("-")[0]


def test_rotation_by_size_splits_no_turn(folder: LogFolder) -> None:
    recorder = Recorder(folder, 0, new_boot_id(), 2000)
    for n in range(0, 60, 3):
        recorder.append([tail("t", n), tail("t", n + 1), tail("t", n + 2)])
    segments = stored(folder.path)
    assert len(segments) > 5
    assert all(len(records) % 3 == 0 for records in segments.values())
    assert all((folder.path / name).stat().st_size <= 2000 for name in segments)
    assert [name.endswith(".open.jsonl") for name in segments].count(True) == 1
    check_numbering(folder.path)
    assert request_ids(folder.path) == [f"r{n}" for n in range(60)]
    recorder.close()
    assert not list(folder.path.glob("*.open.jsonl"))


def test_a_turn_larger_than_a_segment_has_one_of_its_own(folder: LogFolder) -> None:
    recorder = Recorder(folder, 0, new_boot_id(), 1000)
    recorder.append([tail("t", 0)])
    recorder.append([tail("t", 1, fill=5000)])
    recorder.append([tail("t", 2)])
    recorder.close()
    assert [len(records) for records in stored(folder.path).values()] == [1, 1, 1]


def test_rotate(recorder: Recorder) -> None:
    recorder.rotate()
    assert len(stored(recorder.folder.path)) == 1
    recorder.append([tail("t", 0)])
    recorder.rotate()
    recorder.append([tail("t", 1)])
    assert [len(records) for records in stored(recorder.folder.path).values()] == [1, 1]
    check_numbering(recorder.folder.path)


def test_an_old_segment_is_closed_by_the_tick(recorder: Recorder) -> None:
    recorder.append([tail("t", 0)])
    recorder.tick()
    assert not [name for name in stored(recorder.folder.path) if not name.endswith(".open.jsonl")]
    recorder._age_due = 0.0
    recorder.tick()
    assert [len(records) for records in stored(recorder.folder.path).values()] == [1, 0]


def test_an_unused_segment_leaves_no_file(folder: LogFolder) -> None:
    Recorder(folder, 0, new_boot_id(), MIB).close()
    assert not list(folder.path.glob("*.jsonl"))


@settings(max_examples=40, deadline=None)
@given(
    turns=st.lists(st.lists(st.integers(0, 400), min_size=1, max_size=6), max_size=30),
    segment_bytes=st.integers(300, 4000),
)
def test_any_turns_come_back_whole(
    tmp_path_factory: pytest.TempPathFactory, turns: list[list[int]], segment_bytes: int
) -> None:
    folder = LogFolder(tmp_path_factory.mktemp("any") / "logs")
    recorder = Recorder(folder, 0, new_boot_id(), segment_bytes)
    number = 0
    for turn in turns:
        recorder.append([tail("t", number + n, fill=fill) for n, fill in enumerate(turn)])
        number += len(turn)
    recorder.close()
    folder.close()
    check_numbering(folder.path)
    assert request_ids(folder.path) == [f"r{n}" for n in range(number)]


# The disk refuses.

LIMITED = """
import json, resource, sys
from iatp.adapters.recorder import LogFolder, Recorder
from tests.adapters.recording import tail
folder = LogFolder(sys.argv[1])
recorder = Recorder(folder, 0, "b-1", 1 << 20)
recorder.append([tail("t", 0), tail("t", 1)])
size = recorder._size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 300, resource.RLIM_INFINITY))
states = []
try:
    recorder.append([tail("t", 2), tail("t", 3), tail("t", 4)])
except OSError as error:
    states.append(error.strerror)
states.append(recorder.failing)
states.append([path.read_bytes().count(b"\\n") for path in folder.path.glob("*.jsonl")])
states.append(folder.path.joinpath(recorder._segment.name).stat().st_size == size)
recorder.append([tail("t", 5)])
states.append(recorder.failing)
recorder.close()
print(json.dumps(states))
"""


def test_a_short_write_is_cut_back_and_heals(tmp_path: Path) -> None:
    # The limit lets the first of three records through, so the write is short, then fails.
    done = run_python(LIMITED, tmp_path / "logs")
    assert done.returncode == 0, done.stderr
    assert '["File too large", true, [2], true, false]' in done.stdout
    assert request_ids(tmp_path / "logs") == ["r0", "r1", "r5"]
    check_numbering(tmp_path / "logs")


STUCK = """
import json, resource, sys
from iatp.adapters.recorder import LogFolder, Recorder
from tests.adapters.recording import tail
folder = LogFolder(sys.argv[1])
recorder = Recorder(folder, 0, "b-1", 1 << 20)
recorder.append([tail("t", 0)])
soft = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, soft[1]))
states = [recorder.probe()]
for n in range(20):
    try:
        recorder.append([tail("t", 1)])
    except OSError:
        states.append(recorder.failing)
states.append(len(list(folder.path.glob("*.jsonl"))))
states.append(recorder.probe())
resource.setrlimit(resource.RLIMIT_FSIZE, soft)
states.append(recorder.probe())
states.append(recorder.failing)
recorder.append([tail("t", 2)])
recorder.close()
print(json.dumps(states))
"""


def test_failing_for_long_leaves_no_litter_and_the_probe_heals(tmp_path: Path) -> None:
    done = run_python(STUCK, tmp_path / "logs")
    assert done.returncode == 0, done.stderr
    states = "[false, " + "true, " * 20 + "2, false, true, false]"
    assert states in done.stdout
    assert request_ids(tmp_path / "logs") == ["r0", "r2"]
    assert not list((tmp_path / "logs").glob("*.probe"))


CROWDED = """
import os, resource, sys
from iatp.adapters.recorder import LogFolder, Recorder
from tests.adapters.recording import tail
folder = LogFolder(sys.argv[1])
recorder = Recorder(folder, 0, "b-1", 1000)
fd = os.dup(0)
resource.setrlimit(resource.RLIMIT_NOFILE, (fd, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
for n in range(40):
    recorder.append([tail("t", n)])
assert not recorder.failing
os._exit(0)
"""


def test_without_a_descriptor_for_a_new_segment_the_old_one_grows(tmp_path: Path) -> None:
    done = run_python(CROWDED, tmp_path / "logs")
    assert done.returncode == 0, done.stderr
    assert request_ids(tmp_path / "logs") == [f"r{n}" for n in range(40)]
    assert done.stderr.count("No new segment") < 40


FULL = """
import json, os, sys
from pathlib import Path
from iatp.adapters.recorder import LogFolder, Recorder
from tests.adapters.recording import check_numbering, request_ids, tail
root = Path(sys.argv[1])
folder = LogFolder(root / "logs")
recorder = Recorder(folder, 0, "b-1", 1 << 20)
accepted = []
filler = root / "filler"
for n in range(2000):
    try:
        recorder.append([tail("t", n, fill=1000), tail("t", -n, fill=1000)])
        accepted += [f"r{n}", f"r{-n}"]
    except OSError as error:
        assert recorder.failing and not recorder.probe()
        refused = error.strerror
        break
    if n == 10:
        free = os.statvfs(root).f_bavail * os.statvfs(root).f_bsize
        filler.write_bytes(b"x" * (free - 30_000))
assert request_ids(folder.path) == accepted
filler.unlink()
assert recorder.probe() and not recorder.failing
recorder.append([tail("t", 5000)])
recorder.close()
check_numbering(folder.path)
assert request_ids(folder.path) == [*accepted, "r5000"]
print(refused, len(accepted))
"""


@pytest.mark.servers
@pytest.mark.skipif(sys.platform != "linux", reason="a file system of its own needs Linux")
def test_full_disk(tmp_path: Path) -> None:
    mount = "mount -t tmpfs -o size=1m tmpfs $0"
    allowed = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount, str(tmp_path)], capture_output=True, check=False
    )
    if allowed.returncode:
        pytest.skip("this machine does not let tests mount a file system")
    inside = f'{mount} && exec "$1" -c "$2" $0'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", inside, str(tmp_path), sys.executable, FULL],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("No space left on device")


# The file is taken away.


def test_records_of_a_deleted_segment_move_to_a_new_one(recorder: Recorder) -> None:
    recorder.append([tail("t", 0)])
    overdue(recorder)
    recorder.append([tail("t", 1)])
    recorder.append([tail("t", 2)])
    (recorder.folder.path / str(recorder._segment and recorder._segment.name)).unlink()
    recorder.append([tail("t", 3)])
    assert request_ids(recorder.folder.path) == []
    overdue(recorder)
    recorder.append([tail("t", 4)])
    # What was there at the last look went with the file; what came after it did not.
    assert request_ids(recorder.folder.path) == ["r1", "r2", "r3", "r4"]
    check_numbering(recorder.folder.path)


def test_a_moved_segment_is_left_and_nothing_is_doubled(recorder: Recorder) -> None:
    recorder.append([tail("t", 0)])
    segment = next(recorder.folder.path.glob("*.open.jsonl"))
    segment.rename(segment.with_name("moved.jsonl"))
    overdue(recorder)
    recorder.append([tail("t", 1)])
    assert sorted(request_ids(recorder.folder.path)) == ["r0", "r1"]
    assert len(list(recorder.folder.path.glob("*.open.jsonl"))) == 1


def test_records_of_a_deleted_segment_wait_until_there_is_room(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.append([tail("t", 0), tail("t", 1)])
    next(recorder.folder.path.glob("*.jsonl")).unlink()
    write = os.writev

    def full(fd: int, pieces: list[bytes]) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "writev", full)
    for _ in range(3):
        overdue(recorder)
        with pytest.raises(OSError, match="No space"):
            recorder.append([tail("t", 2)])
    assert list(recorder.folder.path.glob("*.jsonl")) == []
    monkeypatch.setattr(os, "writev", write)
    recorder.append([tail("t", 3)])
    assert request_ids(recorder.folder.path) == ["r0", "r1", "r3"]
    check_numbering(recorder.folder.path)


def test_nothing_is_written_behind_what_can_not_be_cut(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.append([tail("t", 0)])
    write = os.writev

    def broken(fd: int, pieces: list[bytes]) -> int:
        write(fd, [b"".join(pieces)[:-10]])
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def no_cut(fd: int, size: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as disk:
        disk.setattr(os, "writev", broken)
        disk.setattr(os, "ftruncate", no_cut)
        overdue(recorder)
        for _ in range(3):
            with pytest.raises(OSError, match="Input/output"):
                recorder.append([tail("t", 1), tail("t", 2)])
    recorder.append([tail("t", 3)])
    assert request_ids(recorder.folder.path) == ["r0", "r3"]


@pytest.mark.parametrize("size", [0, 10, 5000])
def test_a_segment_changed_by_others_is_left(recorder: Recorder, size: int) -> None:
    recorder.append([tail("t", 0)])
    segment = next(recorder.folder.path.glob("*.open.jsonl"))
    os.truncate(segment, size)
    overdue(recorder)
    recorder.append([tail("t", 1)])
    [newest] = recorder.folder.path.glob("*.open.jsonl")
    assert newest != segment
    assert newest.read_bytes().count(b"\n") == 1


def test_a_folder_that_vanished_refuses_until_it_is_back(recorder: Recorder) -> None:
    path = recorder.folder.path
    away = path.with_name("away")
    recorder.append([tail("t", 0)])
    path.rename(away)
    overdue(recorder)
    with pytest.raises(FileNotFoundError):
        recorder.append([tail("t", 1)])
    assert recorder.failing
    assert not recorder.probe()
    path.write_text("a file in its place")
    with pytest.raises(OSError, match="directory"):
        recorder.append([tail("t", 1)])
    path.unlink()
    away.rename(path)
    assert recorder.probe()
    assert not recorder.failing
    recorder.append([tail("t", 2)])
    assert request_ids(path) == ["r0", "r2"]


def test_a_deleted_folder_that_is_made_anew_gets_the_records(recorder: Recorder) -> None:
    path = recorder.folder.path
    recorder.append([tail("t", 0)])
    shutil.rmtree(path)
    overdue(recorder)
    with pytest.raises(FileNotFoundError):
        recorder.append([tail("t", 1)])
    path.mkdir(mode=0o700)
    recorder.append([tail("t", 2)])
    assert request_ids(path) == ["r0", "r2"]


def test_a_folder_replaced_by_a_link_is_not_written(recorder: Recorder, tmp_path: Path) -> None:
    path = recorder.folder.path
    recorder.append([tail("t", 0)])
    path.rename(tmp_path / "away")
    (tmp_path / "elsewhere").mkdir()
    path.symlink_to(tmp_path / "elsewhere")
    overdue(recorder)
    with pytest.raises(OSError, match=r"."):
        recorder.append([tail("t", 1)])
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_recorder_that_can_not_begin_is_failing_and_heals(folder: LogFolder) -> None:
    away = folder.path.with_name("away")
    folder.path.rename(away)
    recorder = Recorder(folder, 0, new_boot_id(), MIB)
    assert recorder.failing
    with pytest.raises(FileNotFoundError):
        recorder.append([tail("t", 0)])
    away.rename(folder.path)
    recorder.append([tail("t", 1)])
    assert not recorder.failing
    recorder.close()
    assert request_ids(folder.path) == ["r1"]


def test_a_pre_planted_link_is_not_followed(
    folder: LogFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_123_456_789)
    name = "20231114T221320.123456Z-w0-b-1-000000.open.jsonl"
    target = tmp_path / "target"
    target.write_text("")
    (folder.path / name).symlink_to(target)
    recorder = Recorder(folder, 0, "b-1", MIB)
    assert recorder.failing
    monkeypatch.undo()
    recorder.append([tail("t", 0)])
    recorder.close()
    assert target.read_text() == ""


# Crashes.

WRITER = """
import itertools, sys
from iatp.adapters.recorder import Recorder, LogFolder, new_boot_id
from tests.adapters.recording import tail
class Joined(LogFolder):
    "The folder as a worker has it whose supervisor holds the lock."
    def _lock(self):
        return -1
    def close_leftovers(self, worker=None):
        return super().close_leftovers(worker) if worker is not None else []
worker, start = int(sys.argv[2]), int(sys.argv[3])
recorder = Recorder(Joined(sys.argv[1]), worker, new_boot_id(), 20_000)
for n in itertools.count(start, 2):
    recorder.append([tail("t", n, fill=200), tail("t", n + 1, fill=200)])
    print(n, n + 1, flush=True)
"""


def test_what_was_accepted_survives_kill(folder: LogFolder) -> None:
    """A slot is killed and filled anew while the other one goes on writing."""
    accepted: list[str] = []
    taken: list[threading.Thread] = []

    def collect(process: subprocess.Popen[str], *, kill_after: int) -> None:
        assert process.stdout
        for count, line in enumerate(process.stdout):
            accepted.extend(f"r{n}" for n in line.split())
            if count == kill_after:
                process.kill()
        process.wait()
        process.stdout.close()
        assert process.stdin
        process.stdin.close()

    steady = start_python(WRITER, folder.path, 1, 0)
    taken.append(threading.Thread(target=collect, args=(steady,), kwargs={"kill_after": 1500}))
    taken[0].start()
    for turn in range(1, 4):
        collect(start_python(WRITER, folder.path, 0, turn * 1_000_000), kill_after=100 + turn * 37)
    taken[0].join()
    folder.close_leftovers()
    assert not list(folder.path.glob("*.open.jsonl"))
    torn = 0
    seen = []
    for path in sorted(folder.path.glob("*.jsonl")):
        data = path.read_bytes()
        torn += not data.endswith(b"\n")
        whole = data[: data.rfind(b"\n") + 1]
        seen += [line.split(b'"request_id":"')[1].split(b'"')[0] for line in whole.splitlines()]
    assert len(seen) == len(set(seen))
    assert {name.encode() for name in accepted} <= set(seen)
    assert len(accepted) > 3000
    assert torn <= 4


def test_a_successor_closes_what_its_slot_left_and_no_other(folder: LogFolder) -> None:
    other = Recorder(folder, 1, new_boot_id(), MIB)
    other.append([tail("t", 0)])
    dead = Recorder(folder, 0, new_boot_id(), MIB)
    dead.append([tail("t", 1)])
    os.write(dead._fd, b'{"seq":1,"wor')
    os.close(dead._fd)
    successor = Recorder(folder, 0, new_boot_id(), MIB)
    [leftover] = successor.leftovers
    assert leftover.torn_bytes == 13
    assert "13 bytes" in str(leftover)
    assert (folder.path / leftover.name).exists()
    assert other.leftovers == []
    other.append([tail("t", 2)])
    successor.close()
    other.close()


@pytest.mark.parametrize(
    ("end", "torn"), [(b"", 0), (b"\0" * 100, 100), (b"\0" * 200_000, 200_000), (b"{", 1)]
)
def test_torn_tails_are_measured(folder: LogFolder, end: bytes, torn: int) -> None:
    dead = Recorder(folder, 0, new_boot_id(), MIB)
    dead.append([tail("t", 1)])
    os.write(dead._fd, end)
    os.close(dead._fd)
    [leftover] = folder.close_leftovers()
    assert leftover.torn_bytes == torn


def test_a_live_segment_is_not_closed_by_others(folder: LogFolder) -> None:
    recorder = Recorder(folder, 0, new_boot_id(), MIB)
    recorder.append([tail("t", 0)])
    assert folder.close_leftovers() == []
    assert len(list(folder.path.glob("*.open.jsonl"))) == 1
    recorder.close()
