"""A log that is encrypted as it is written: nothing plain on disk, whatever fails meanwhile."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iatp.adapters import recorder as module
from iatp.adapters.encryption import LogKeys, SegmentError
from iatp.adapters.keeper import Keeper
from iatp.adapters.log_folder import list_segments
from iatp.adapters.recorder import LogFolder, Recorder
from iatp.adapters.seals import read_seal
from iatp.adapters.segments import iter_records, open_segment
from iatp.adapters.traces import read_trace
from tests.adapters.recording import overdue, run_python, tail

KEYS = LogKeys([bytes(range(32))])
MIB = 1 << 20
MARKER = "never-on-disk"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[LogFolder]:
    made = LogFolder(tmp_path / "logs", keys=KEYS)
    yield made
    made.close()


def marked(number: int) -> bytes:
    return tail(f"t{number}", number).replace(b'"payload":""', b'"payload":"%b"' % MARKER.encode())


def ids(path: Path, keys: LogKeys | None = KEYS) -> list[str]:
    return [json.loads(stored.line)["request_id"] for stored in iter_records(path, keys)]


def nothing_plain(path: Path) -> None:
    for file in path.iterdir():
        if file.is_file():
            data = file.read_bytes()
            for plain in (MARKER.encode(), b"trace_id", b"request_id"):
                assert plain not in data, file.name


def test_what_is_written_is_read_and_nothing_is_plain(folder: LogFolder) -> None:
    recorder = Recorder(folder, 0, "clock-1", 4000)
    for number in range(0, 60, 3):
        recorder.append([marked(number + more) for more in range(3)])
        nothing_plain(folder.path)
    recorder.tick()
    assert ids(folder.path) == [f"r{number}" for number in range(60)]
    assert {one.encrypted for one in list_segments(folder.path)} == {True}
    assert len(read_trace(folder.path, "t59", KEYS).logs) == 1
    assert len(read_trace(folder.path, "t0", KEYS).logs) == 1
    recorder.close()
    nothing_plain(folder.path)
    for segment in list_segments(folder.path):
        assert segment.name.endswith(".jsonl.enc")
        text = open_segment(folder.path, segment, KEYS)
        seal = read_seal(folder.path, segment.stem)
        assert text is not None
        assert seal is not None
        assert seal.final is not None
        with text:
            assert text.size == seal.final.bytes
            assert text._source.complete  # type: ignore[attr-defined]
    keeper = Keeper(folder.path, compress=True, compress_after_s=600, keys=KEYS)
    keeper.work()
    assert keeper.failed == set()
    assert {one.compressed for one in list_segments(folder.path)} == {True}
    nothing_plain(folder.path)
    assert ids(folder.path) == [f"r{number}" for number in range(60)]
    with pytest.raises(SegmentError):
        ids(folder.path, None)


SHORT = """
import json, resource, sys
from iatp.adapters.encryption import LogKeys
from iatp.adapters.recorder import LogFolder, Recorder
from tests.adapters.recording import overdue, run_python, tail
heals = sys.argv[2] == "heals"
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

class Watched(Recorder):
    def _append(self, tails):
        fallen_back.append(len(tails))
        if heals:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        super()._append(tails)

fallen_back = []
folder = LogFolder(sys.argv[1], keys=LogKeys([bytes(range(32))]))
recorder = Watched(folder, 0, "b-1", 1 << 20)
recorder.append([tail("t", 0)])
recorder.append([tail("t", 1), tail("t", 2)])
size = recorder._file_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 300, hard))
failed = False
try:
    recorder.append([tail("t", 3), tail("t", 4), tail("t", 5)])
except OSError:
    failed = True
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
recorder.append([tail("t", 6)])
recorder.close()
print(json.dumps([failed, fallen_back, len(list(folder.path.glob("*.jsonl.enc")))]))
"""


@pytest.mark.parametrize(
    ("then", "said", "kept"),
    [
        # The first append, and the one that was short, whose block is written once more.
        ("heals", [False, [1, 3], 1], [0, 1, 2, 3, 4, 5, 6]),
        # The append after it looks at the file first, and goes on in another.
        ("fails", [True, [1, 3, 1], 2], [0, 1, 2, 6]),
    ],
)
def test_a_short_write_of_a_block_is_cut_back(
    tmp_path: Path, then: str, said: list[Any], kept: list[int]
) -> None:
    done = run_python(SHORT, tmp_path / "logs", then)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == said
    assert ids(tmp_path / "logs") == [f"r{number}" for number in kept]
    for segment in list_segments(tmp_path / "logs"):
        text = open_segment(tmp_path / "logs", segment, KEYS)
        assert text is not None
        text.close()


def test_an_empty_segment_leaves_nothing(folder: LogFolder) -> None:
    Recorder(folder, 0, "clock-1", MIB).close()
    assert not [one.name for one in folder.path.iterdir() if "w0" in one.name]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("written", [0, 1, 70, 200])
def test_after_a_failed_append_no_number_is_used_again(
    folder: LogFolder, monkeypatch: pytest.MonkeyPatch, code: int, written: int
) -> None:
    recorder = Recorder(folder, 0, "clock-1", MIB)
    recorder.append([marked(0)])
    # What is not common is written from Python, whose call can be made to fail.
    overdue(recorder)

    def fails(fd: int, pieces: list[bytes]) -> int:
        os.write(fd, b"".join(pieces)[:written])
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "writev", fails)
        with pytest.raises(OSError, match=os.strerror(code)):
            recorder.append([marked(1)])
    recorder.append([marked(2)])
    recorder.append([marked(3)])
    recorder.close()
    assert ids(folder.path) == ["r0", "r2", "r3"]
    first, second = list_segments(folder.path)
    text = open_segment(folder.path, first, KEYS)
    assert text is not None
    with text:
        # It ends where the block was not written, and its seal says that this is all.
        assert not text._source.complete  # type: ignore[attr-defined]
        assert text.read(0, text.size).count(b"\n") == 1
    assert second.number > first.number
    Keeper(folder.path, compress=True, compress_after_s=0, keys=KEYS).work()
    assert {one.compressed for one in list_segments(folder.path)} == {True}
    assert ids(folder.path) == ["r0", "r2", "r3"]


def test_a_failed_sync_cuts_back_to_the_last_one(folder: LogFolder) -> None:
    recorder = Recorder(folder, 0, "clock-1", MIB, power=True)
    recorder.append([marked(0)])
    sync = recorder.begin_sync()
    sync.run()
    recorder.end_sync(None, False)
    recorder.append([marked(1)])
    os.close(recorder.begin_sync()._fd)
    recorder.end_sync(OSError(errno.EIO, "x"), False)
    recorder.append([marked(2)])
    recorder.close()
    assert ids(folder.path) == ["r0", "r2"]
    Keeper(folder.path, compress=False, compress_after_s=0, keys=KEYS).work()
    assert ids(folder.path) == ["r0", "r2"]


def test_records_of_a_deleted_file_are_saved_encrypted(folder: LogFolder) -> None:
    recorder = Recorder(folder, 0, "clock-1", MIB)
    recorder.append([marked(0)])
    recorder.tick()
    recorder.append([marked(1)])
    recorder.append([marked(2)])
    (segment,) = list_segments(folder.path)
    (folder.path / segment.name).unlink()
    recorder._check_due = 0.0
    recorder.append([marked(3)])
    recorder.append([marked(4)])
    recorder.close()
    assert ids(folder.path) == ["r1", "r2", "r3", "r4"]
    nothing_plain(folder.path)


def crashed(path: Path, keys: LogKeys = KEYS) -> tuple[Path, list[int]]:
    """Leave an open segment; give its file, and where each append ends in it."""
    folder = LogFolder(path, keys=keys)
    recorder = Recorder(folder, 0, "clock-1", MIB)
    ends = []
    (segment,) = list_segments(path)
    file = path / segment.name
    for number in range(6):
        recorder.append([marked(2 * number), marked(2 * number + 1)])
        ends.append(file.stat().st_size)
        if number == 2:
            recorder._mark()
    os.close(recorder._fd)
    folder.close()
    return file, ends


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 1 << 16), st.integers(0, 100), st.booleans())
def test_cut_anywhere_it_is_whole_again_at_the_next_start(
    tmp_path_factory: pytest.TempPathFactory, cut: int, behind: int, zeros: bool
) -> None:
    path = tmp_path_factory.mktemp("crash") / "logs"
    file, ends = crashed(path)
    # What was marked is on disk; of the rest any byte may be the last.
    data = file.read_bytes()
    cut = ends[2] + cut % (len(data) - ends[2] + 1)
    junk = bytes(behind) if zeros else os.urandom(behind)
    file.write_bytes(data[:cut] + junk)
    folder = LogFolder(path, keys=KEYS)
    (leftover,) = folder.leftovers
    whole = sum(end <= cut for end in ends)
    assert ids(path) == [f"r{number}" for number in range(2 * whole)]
    assert leftover.torn_bytes == cut + behind - ends[whole - 1]
    assert leftover.changed_after is None
    nothing_plain(path)
    torn = list(path.glob("*.torn"))
    assert [one.read_bytes() for one in torn] == (
        [(data[:cut] + junk)[ends[whole - 1] :]] if leftover.torn_bytes else []
    )
    keeper = Keeper(path, compress=True, compress_after_s=0, keys=KEYS)
    keeper.work()
    assert keeper.failed == set()
    assert ids(path) == [f"r{number}" for number in range(2 * whole)]
    folder.close()


@pytest.mark.parametrize("left", [0, 1, 63, 64, 65, 100])
@pytest.mark.parametrize("zeros", [False, True])
def test_a_crash_within_the_first_append(tmp_path: Path, left: int, zeros: bool) -> None:
    path = tmp_path / "logs"
    folder = LogFolder(path, keys=KEYS)
    recorder = Recorder(folder, 0, "clock-1", MIB)
    recorder.append([marked(0)])
    (segment,) = list_segments(path)
    os.close(recorder._fd)
    folder.close()
    file = path / segment.name
    file.write_bytes(bytes(left) if zeros else file.read_bytes()[:left])
    again = LogFolder(path, keys=KEYS)
    assert ids(path) == []
    assert not [one for one in list_segments(path) if not one.closed]
    Keeper(path, compress=True, compress_after_s=0, keys=KEYS).work()
    assert ids(path) == []
    again.close()


def test_without_its_key_a_leftover_waits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "logs"
    file, _ = crashed(path)
    data = file.read_bytes()
    for keys in (None, LogKeys([bytes(32)])):
        folder = LogFolder(path, keys=keys)
        assert folder.leftovers == []
        folder.close()
        assert file.read_bytes() == data
    assert "set IATP_LOG_KEY_FILE" in caplog.text
    assert KEYS.current_id in caplog.text
    rotated = LogFolder(path, keys=LogKeys([bytes(32), bytes(range(32))]))
    assert len(rotated.leftovers) == 1
    rotated.close()
    assert len(ids(path)) == 12


def test_rotation_of_keys(tmp_path: Path) -> None:
    path = tmp_path / "logs"
    both = LogKeys([bytes(32), bytes(range(32))])
    for number, keys in enumerate((KEYS, both)):
        folder = LogFolder(path, keys=keys)
        recorder = Recorder(folder, 0, f"clock-{number}", MIB)
        recorder.append([marked(number)])
        recorder.close()
        folder.close()
    assert ids(path, both) == ["r0", "r1"]
    with pytest.raises(SegmentError):
        ids(path, KEYS)
    with pytest.raises(SegmentError):
        ids(path, LogKeys([bytes(32)]))


def test_keys_change_nothing_for_a_plain_log(tmp_path: Path) -> None:
    path = tmp_path / "logs"
    records: dict[str, Any] = {}
    for keys in (None, KEYS, None):
        folder = LogFolder(path, keys=keys)
        recorder = Recorder(folder, 0, f"clock-{len(records)}", MIB)
        records[f"r{len(records)}"] = None
        recorder.append([marked(len(records) - 1)])
        recorder.close()
        folder.close()
    assert ids(path) == ["r0", "r1", "r2"]
    assert [one.encrypted for one in list_segments(path)] == [False, True, False]
