"""Closed segments are sorted, compressed and encrypted, and no crash or damage loses a record."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from iatp.adapters import keeper as module
from iatp.adapters.encryption import LogKeys, is_as_appended
from iatp.adapters.keeper import Keeper, Plan, Stopped
from iatp.adapters.log_folder import LogFolder, list_segments
from iatp.adapters.segments import iter_records, open_segment
from tests.adapters.recording import REPOSITORY
from tests.logs import Log, Made

KEYS = LogKeys([bytes(range(32))])


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "logs", key=Ed25519PrivateKey.generate())


def fill(log: Log, *, segments: int = 2, records: int = 30, payload: int = 100) -> list[Made]:
    for _ in range(segments):
        for number in range(records):
            log.append(0, payload=f"{number} " + "x" * payload)
            if number % 10 == 0:
                log.mark(0)
        log.close(0)
    return log.made[-segments:]


def keeper_of(
    log: Log, *, compress: bool = True, after_s: float = 0.0, keys: LogKeys | None = None
) -> Keeper:
    return Keeper(log.folder, compress=compress, compress_after_s=after_s, keys=keys)


def text_of(log: Log, made: Made, keys: LogKeys | None = None) -> bytes:
    (segment,) = [one for one in list_segments(log.folder) if one.stem == made.stem]
    text = open_segment(log.folder, segment, keys)
    assert text is not None
    with text:
        return text.read(0, text.size)


def data_files(log: Log) -> list[str]:
    return sorted(path.name for path in log.folder.iterdir() if ".jsonl" in path.name)


def encrypt_as_written(log: Log, made: Made, *, last: bool = True) -> Path:
    """As the recorder leaves it: each append a block."""
    writer = KEYS.writer(made.stem)
    data = writer.header()
    for number, line in enumerate(made.lines, 1):
        data += b"".join(writer.block([line], last=last and number == len(made.lines)))
        writer.written()
    path = log.path(made, ".jsonl.enc")
    path.write_bytes(data)
    log.path(made).unlink()
    return path


@pytest.mark.parametrize(
    ("compress", "keys", "suffix"),
    [
        (True, None, ".jsonl.zst"),
        (False, KEYS, ".jsonl.enc"),
        (True, KEYS, ".jsonl.zst.enc"),
        (False, None, ".jsonl"),
    ],
)
def test_every_form_reads_as_it_was_written(
    log: Log, compress: bool, keys: LogKeys | None, suffix: str
) -> None:
    # Some frames long, so that places within and across them are read.
    made = fill(log, records=60, payload=12_000)
    times = [log.path(one).stat().st_mtime_ns for one in made]
    keeper = keeper_of(log, compress=compress, keys=keys)
    assert keeper.work() == 2
    assert keeper.work() == 0
    assert data_files(log) == [one.stem + suffix for one in made]
    for one, written in zip(made, times, strict=True):
        path = log.path(one, suffix)
        assert (path.stat().st_mode & 0o777, path.stat().st_mtime_ns) == (0o600, written)
        assert text_of(log, one, keys) == one.text
        if keys is not None:
            assert b"trace_id" not in path.read_bytes()
    lines = [stored.line + b"\n" for stored in iter_records(log.folder, keys)]
    assert lines == [line for one in made for line in one.lines]
    assert not list(log.folder.glob("*.tmp"))
    assert keeper.failed == set()


def test_an_index_is_sorted(log: Log) -> None:
    (made,) = fill(log, segments=1)
    assert keeper_of(log).work() == 1
    sorted_index = log.path(made, ".index").read_bytes()
    log.sort_index(made)
    assert log.path(made, ".index").read_bytes() == sorted_index


def test_an_index_that_an_earlier_version_sorted_gets_its_count(log: Log) -> None:
    (made,) = fill(log, segments=1)
    assert keeper_of(log).work() == 1
    sorted_index = log.path(made, ".index").read_bytes()
    log.sort_index(made, of_before=True)
    assert log.path(made, ".index").read_bytes() != sorted_index
    assert keeper_of(log).work() == 1
    assert log.path(made, ".index").read_bytes() == sorted_index
    assert keeper_of(log).work() == 0


@pytest.mark.parametrize("damage", ["lost", "empty", "torn", "flipped", "short", "of another"])
def test_a_lost_or_damaged_index_is_made_anew(log: Log, damage: str) -> None:
    made, other = fill(log)
    path = log.path(made, ".index")
    data = path.read_bytes()
    if damage == "lost":
        path.unlink()
    else:
        path.write_bytes(
            {
                "empty": b"",
                "torn": data[:-5],
                "flipped": data[:-1] + bytes([data[-1] ^ 1]),
                "short": data[:-24],
                "of another": log.path(other, ".index").read_bytes(),
            }[damage]
        )
    assert keeper_of(log).work() == 2
    index = path.read_bytes()
    assert index[:12] == b"IATPIDX1\x01\x00\x00\x00"
    made.index_key = index[16:32]
    log.sort_index(made)
    assert path.read_bytes() == index


def test_open_segments_and_those_without_a_closed_seal_are_left_alone(log: Log) -> None:
    first, second = fill(log)
    log.append(0)
    log.mark(0)
    log.path(first, ".seal").unlink()
    seal = log.path(second, ".seal")
    seal.write_bytes(b"".join(seal.read_bytes().splitlines(keepends=True)[:-1]))
    before = data_files(log)
    keeper = keeper_of(log, keys=KEYS)
    assert keeper.work() == 0
    assert data_files(log) == before
    assert keeper.failed == {second.stem}


def test_shippers_have_their_time(log: Log) -> None:
    made = fill(log)
    for number, one in enumerate(made):
        os.utime(log.path(one), (1000 + 100 * number, 1000 + 100 * number))
    keeper = keeper_of(log, after_s=600)
    keeper.work(now=1500)
    assert [Path(name).suffix for name in data_files(log)] == [".jsonl", ".jsonl"]
    keeper.work(now=1601)
    assert [Path(name).suffix for name in data_files(log)] == [".zst", ".jsonl"]
    keeper.work(now=1701)
    assert [Path(name).suffix for name in data_files(log)] == [".zst", ".zst"]


def test_what_is_to_be_encrypted_waits_for_nobody(log: Log) -> None:
    fill(log)
    keeper_of(log, after_s=600, keys=KEYS).work()
    assert [name.partition(".jsonl")[2] for name in data_files(log)] == [".zst.enc"] * 2


def test_a_plan_is_cheap_where_nothing_changes(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    made = fill(log)
    plan = Plan(log.folder, compress=True, compress_after_s=600, encrypt=False)
    now = time.time()
    # Indexes are to be sorted.
    assert len(plan.tasks(now)) == 2
    for one in made:
        log.sort_index(one)
    os.utime(log.folder, (now, now))
    assert plan.tasks(now) == []
    listed = []
    monkeypatch.setattr(module.os, "listdir", lambda path: listed.append(path) or [])
    assert plan.tasks(now + 100) == []
    assert listed == []
    plan.tasks(now + 700)
    assert len(listed) == 1


def test_turning_encryption_on_encrypts_what_there_is(log: Log) -> None:
    made = fill(log)
    keeper_of(log).work()
    keeper_of(log, keys=KEYS).work()
    assert [name.partition(".jsonl")[2] for name in data_files(log)] == [".zst.enc"] * 2
    assert [text_of(log, one, KEYS) for one in made] == [one.text for one in made]
    # And turning it off leaves it: there is no key to read it with.
    assert keeper_of(log).work() == 0


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("compress", [True, False])
def test_what_the_recorder_encrypted_is_stored_in_equal_blocks(
    log: Log, last: bool, compress: bool
) -> None:
    (made,) = fill(log, segments=1, records=60, payload=12_000)
    path = encrypt_as_written(log, made, last=last)
    assert is_as_appended(path)
    keeper = keeper_of(log, compress=compress, keys=KEYS)
    assert keeper.work() == 1
    assert keeper.work() == 0
    assert data_files(log) == [made.stem + (".jsonl.zst.enc" if compress else ".jsonl.enc")]
    assert not is_as_appended(log.folder / data_files(log)[0])
    assert text_of(log, made, KEYS) == made.text


# Damage.


@pytest.mark.parametrize("form", ["plain", "encrypted"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "longer"])
def test_what_is_not_as_sealed_stays_as_it_is(
    log: Log, form: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = fill(log)
    path = encrypt_as_written(log, bad) if form == "encrypted" else log.path(bad)
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1
    elif damage == "cut":
        del data[len(data) // 2 :]
    else:
        data += bad.lines[0] if form == "plain" else b"0" * 4
    path.write_bytes(data)
    keeper = keeper_of(log, keys=KEYS)
    with caplog.at_level(logging.ERROR, "iatp"):
        keeper.work()
    if form == "encrypted" and damage == "longer":
        # Behind the last block nothing is read.
        assert keeper.failed == set()
        return
    assert keeper.failed == {bad.stem}
    assert path.read_bytes() == data
    assert path.name in caplog.text
    assert data_files(log) == sorted([path.name, good.stem + ".jsonl.zst.enc"])
    assert not list(log.folder.glob("*.tmp"))
    caplog.clear()
    keeper.work()
    assert caplog.text == ""


def test_what_was_written_wrong_does_not_take_the_place(
    log: Log, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (made,) = fill(log, segments=1)
    write = module._write

    def spoiled(fd: int, pieces: object) -> None:
        write(fd, pieces)  # type: ignore[arg-type]
        os.pwrite(fd, bytes([os.pread(fd, 1, 100)[0] ^ 1]), 100)

    monkeypatch.setattr(module, "_write", spoiled)
    keeper_of(log).work()
    assert data_files(log) == [made.stem + ".jsonl"]
    assert text_of(log, made) == made.text
    assert "could not store" in caplog.text


def test_a_full_disk_leaves_what_there_was(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    (made,) = fill(log, segments=1)

    def full(fd: int, data: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "write", full)
        keeper_of(log).work()
    assert data_files(log) == [made.stem + ".jsonl"]
    assert not list(log.folder.glob("*.tmp"))
    assert keeper_of(log).work() == 1


def test_without_its_key_a_segment_stays(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    (made,) = fill(log, segments=1)
    path = encrypt_as_written(log, made)
    keeper_of(log, keys=LogKeys([bytes(32)])).work()
    assert path.exists()
    assert KEYS.current_id in caplog.text


# Crashes and races.

CRASHING = """
import os, sys
from iatp.adapters import keeper as module
from iatp.adapters.encryption import LogKeys
folder, step = sys.argv[1], int(sys.argv[2])
keys = LogKeys([bytes(range(32))]) if sys.argv[3] == "enc" else None
count = 0
def counted(name, real):
    def call(*args, **named):
        global count
        count += 1
        if count == step:
            os.kill(os.getpid(), 9)
        return real(*args, **named)
    return call
for name in ("write", "fsync", "utime"):
    setattr(module.os, name, counted(name, getattr(os, name)))
for name in ("rename", "unlink"):
    setattr(module.Path, name, counted(name, getattr(module.Path, name)))
module.Keeper(folder, compress=True, compress_after_s=0.0, keys=keys).work()
"""


@pytest.mark.parametrize("kind", ["plain", "enc"])
def test_killed_at_any_step_leaves_a_readable_log(log: Log, kind: str) -> None:
    keys = KEYS if kind == "enc" else None
    step = killed = 0
    while True:
        step += 1
        (made,) = fill(log, segments=1)
        status = subprocess.run(
            [sys.executable, "-c", CRASHING, log.folder, str(step), kind],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            check=False,
        ).returncode
        segments = [one for one in list_segments(log.folder) if one.stem == made.stem]
        assert len(segments) == 1
        assert text_of(log, made, keys) == made.text
        if kind == "enc":
            for path in log.folder.glob(f"{made.stem}*.tmp"):
                assert b"trace_id" not in path.read_bytes()
        if status == 0:
            break
        assert status == -signal.SIGKILL
        killed += 1
        # A start removes what was being made, the next keeper does the rest.
        folder = LogFolder(log.folder)
        folder.close()
        assert not list(log.folder.glob("*.tmp"))
        keeper_of(log, keys=keys).work()
        assert [one.partition(".jsonl")[2] for one in data_files(log)] == (
            [".zst.enc" if keys else ".zst"]
        )
        assert log.path(made, ".index").read_bytes()[8] == 1
        for path in log.folder.iterdir():
            if path.is_file():
                path.unlink()
    assert killed >= 10


def test_pruned_between_rename_and_removal_it_does_not_come_back(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    (made,) = fill(log, segments=1)
    rename = Path.rename

    def prune_then(self: Path, target: Path) -> Path:
        log.path(made).unlink(missing_ok=True)
        return rename(self, target)

    monkeypatch.setattr(module.Path, "rename", prune_then)
    keeper_of(log).work()
    assert data_files(log) == []


def test_pruned_while_it_is_read(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    (made,) = fill(log, segments=1)
    write = module._write

    def prune_then(fd: int, pieces: object) -> None:
        write(fd, pieces)  # type: ignore[arg-type]
        for path in log.folder.glob(f"{made.stem}*"):
            if path.suffix != ".tmp":
                path.unlink()

    monkeypatch.setattr(module, "_write", prune_then)
    keeper = keeper_of(log)
    assert keeper.work() == 0
    assert list(log.folder.glob(f"{made.stem}*")) == []
    assert keeper.failed == set()


def test_a_reader_goes_on_while_the_file_is_replaced(log: Log) -> None:
    made, other = fill(log)
    first, second = list_segments(log.folder)
    text = open_segment(log.folder, first)
    assert text is not None
    keeper_of(log, keys=KEYS).work()
    with text:
        assert text.read(0, text.size) == made.text
    # Known by the name that it had, it is found under the one it has.
    later = open_segment(log.folder, second, KEYS)
    assert later is not None
    with later:
        assert later.segment.name == other.stem + ".jsonl.zst.enc"
        assert later.read(0, later.size) == other.text


def test_one_keeper_at_a_time(log: Log) -> None:
    first, second = keeper_of(log), keeper_of(log)
    assert first.lock()
    assert not second.lock()


def test_told_to_stop_it_leaves_nothing(log: Log) -> None:
    (made,) = fill(log, segments=1, records=60, payload=12_000)
    calls = 0

    def stopped() -> bool:
        nonlocal calls
        calls += 1
        return calls > 2

    keeper = Keeper(log.folder, compress=True, compress_after_s=0, keys=None, stopped=stopped)
    with pytest.raises(Stopped):
        keeper.work()
    assert data_files(log) == [made.stem + ".jsonl"]
    assert not list(log.folder.glob("*.tmp"))
