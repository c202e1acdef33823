"""The folder: who may own it, who holds it, what is removed from it."""

from __future__ import annotations

import json
import os
import signal
import stat
from pathlib import Path

import pytest

from iatp.adapters import log_folder
from iatp.adapters.log_folder import LogFolder, Segment, list_segments, origin_of, segment_of
from iatp.adapters.recorder import Recorder, new_boot_id
from iatp.values.errors import StartError
from iatp.values.records import RetentionRecord, validate
from tests.adapters.recording import check_sound, run_python, start_python, stored, tail, verdict
from tests.forks import unprivileged


def test_made_with_its_parents(tmp_path: Path) -> None:
    made = LogFolder(tmp_path / "a" / "b" / "logs")
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o700
    assert stat.S_IMODE((made.path / "lock").stat().st_mode) == 0o600
    assert [path.name for path in made.path.iterdir()] == ["lock"]
    made.close()


def test_an_open_folder_is_narrowed(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs").chmod(0o755)
    LogFolder(tmp_path / "logs").close()
    assert stat.S_IMODE((tmp_path / "logs").stat().st_mode) == 0o700


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "logs").symlink_to(tmp_path / "real")
    with pytest.raises(StartError, match="symbolic link; set IATP_LOG_DIR"):
        LogFolder(tmp_path / "logs")
    assert not list((tmp_path / "real").iterdir())


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("")
    with pytest.raises(StartError, match="is not a folder"):
        LogFolder(tmp_path / "logs")
    with pytest.raises(StartError, match=r"cannot be written \(Not a directory\)"):
        LogFolder(tmp_path / "logs" / "inner")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    os.chown(tmp_path / "logs", 65534, 65534)
    with pytest.raises(StartError, match="uid 65534"):
        LogFolder(tmp_path / "logs")


def test_a_read_only_folder_is_refused() -> None:
    with unprivileged() as (folder, run):
        (folder / "logs").mkdir()
        (folder / "logs").chmod(0o500)

        def make() -> None:
            with pytest.raises(StartError, match=r"cannot be written \(Permission denied\)"):
                LogFolder(folder / "logs")

        run(make)


def test_a_folder_on_a_read_only_file_system_is_refused() -> None:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc, where nobody can make a file")
    with pytest.raises(StartError, match="cannot be written"):
        LogFolder("/proc/iatp-logs")


def test_a_planted_lock_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "target").write_text("precious")
    (tmp_path / "logs" / "lock").symlink_to(tmp_path / "target")
    with pytest.raises(StartError, match="cannot be written"):
        LogFolder(tmp_path / "logs")
    assert (tmp_path / "target").read_text() == "precious"


def test_two_sidecars_do_not_share_it(folder: LogFolder) -> None:
    script = """
import sys
from iatp.adapters.log_folder import LogFolder
from iatp.values.errors import StartError
try:
    LogFolder(sys.argv[1])
except StartError as error:
    print(error)
"""
    done = run_python(script, folder.path)
    assert f"in use by another sidecar (process {os.getpid()} or a worker" in done.stdout
    folder.close()
    assert run_python(script, folder.path).stdout == ""


HOLDER = """
import os, sys, time
from iatp.adapters.log_folder import LogFolder
folder = LogFolder(sys.argv[1])
child = os.fork()
if child == 0:
    time.sleep(60)
print(child, flush=True)
time.sleep(60)
"""


def test_the_lock_goes_with_the_last_process(tmp_path: Path) -> None:
    holder = start_python(HOLDER, tmp_path / "logs")
    assert holder.stdin
    assert holder.stdout
    child = int(holder.stdout.readline())
    try:
        holder.kill()
        holder.wait()
        with pytest.raises(StartError, match="in use"):
            LogFolder(tmp_path / "logs")
    finally:
        os.kill(child, signal.SIGKILL)
        holder.stdout.read()  # ends when the child, which holds it too, is gone
        holder.stdout.close()
        holder.stdin.close()
    LogFolder(tmp_path / "logs").close()


def test_a_start_closes_what_the_last_one_left(tmp_path: Path) -> None:
    script = """
import os, sys
from iatp.adapters.recorder import LogFolder, Recorder, new_boot_id
from tests.adapters.recording import tail
folder = LogFolder(sys.argv[1])
recorders = [Recorder(folder, worker, new_boot_id(), 1 << 20) for worker in range(3)]
for recorder in recorders[:2]:
    recorder.append([tail("t", 0)])
os.write(recorders[1]._fd, b"torn")
os.kill(os.getpid(), 9)
"""
    run_python(script, tmp_path / "logs")
    folder = LogFolder(tmp_path / "logs")
    assert sorted(leftover.torn_bytes for leftover in folder.leftovers) == [0, 4]
    assert [segment.closed for segment in folder.segments()] == [True, True]
    folder.close()


def test_names() -> None:
    segment = Segment(
        created="20251124T001122.000001Z", worker=2, boot_id="aa-b-1", number=7, closed=False
    )
    assert segment.name == "20251124T001122.000001Z-w2-aa-b-1-000007.open.jsonl"
    assert segment_of(segment.name) == segment
    assert segment_of(segment.as_closed().name) == segment.as_closed()
    assert origin_of(segment.stem) == ("aa", segment.created)


@pytest.mark.parametrize(
    "name",
    ["lock", "control.sqlite", "x.jsonl", "20251124T001122.000001Z-w2-a_b-000007.jsonl",
     "20251124T001122.000001Z-w2-ab-000007.jsonl.new", "../x.jsonl",
     "20251124T001122.000001Z-w2-ab-000007.jsonl\n"],
)  # fmt: skip
def test_other_names_are_not_segments(name: str) -> None:
    assert segment_of(name) is None


def test_a_segment_seen_under_both_names_counts_once(tmp_path: Path) -> None:
    stem = "20251124T001122.000001Z-w2-ab-000007"
    (tmp_path / f"{stem}.open.jsonl").touch()
    (tmp_path / f"{stem}.jsonl").touch()
    assert [segment.closed for segment in list_segments(tmp_path)] == [True]


# Retention.


def fill(folder: LogFolder, count: int) -> list[str]:
    """`count` closed segments of 1000 bytes and more, written a day apart, up to day `count`."""
    recorder = Recorder(folder, 0, new_boot_id(), 1 << 20)
    names = []
    for day in range(1, count + 1):
        recorder.append([tail("t", day, fill=1000)])
        recorder.rotate()
        closed = [segment.name for segment in folder.segments() if segment.closed]
        [name] = set(closed) - set(names)
        for file in folder.path.glob(segment_of_name(name).stem + ".*"):
            os.utime(file, (day * 86_400, day * 86_400))
        names.append(name)
    recorder.close()
    return names


def left(folder: LogFolder) -> list[str]:
    return [segment.name for segment in folder.segments()]


def segment_of_name(name: str) -> Segment:
    found = segment_of(name)
    assert found is not None
    return found


def size_of(folder: LogFolder, name: str) -> int:
    """Of all files of a segment together."""
    files = folder.path.glob(segment_of_name(name).stem + ".*")
    return sum(file.stat().st_size for file in files)


def stems(names: list[str]) -> list[str]:
    return [segment_of_name(name).stem for name in names]


def test_what_is_too_old(folder: LogFolder) -> None:
    names = fill(folder, 5)
    found = folder.outdated(1 << 30, 2 * 86_400, now=5 * 86_400 + 1)
    assert found is not None
    assert found.reason == "age"
    assert [each.segment for each in found.segments] == stems(names[:3])
    assert found.size == sum(size_of(folder, name) for name in names[:3])
    folder.delete(found)
    assert left(folder) == names[3:]
    assert {file.name[:40] for file in folder.path.glob("*-w0-*")} == {
        name[:40] for name in names[3:]
    }
    assert folder.outdated(1 << 30, 2 * 86_400, now=5 * 86_400 + 1) is None


def test_what_is_too_much_is_the_oldest(folder: LogFolder) -> None:
    names = fill(folder, 5)
    sizes = [size_of(folder, name) for name in names]
    found = folder.outdated(sum(sizes[3:]), 30 * 86_400, now=6 * 86_400)
    assert found is not None
    assert found.reason == "size"
    assert [each.segment for each in found.segments] == stems(names[:3])
    assert found.size == sum(sizes[:3])
    assert folder.outdated(sum(sizes), 30 * 86_400, now=6 * 86_400) is None
    less = folder.outdated(sum(sizes) - 1, 30 * 86_400, now=6 * 86_400)
    assert less is not None
    assert [each.segment for each in less.segments] == stems(names[:1])


def test_an_open_segment_is_never_outdated(folder: LogFolder) -> None:
    recorder = Recorder(folder, 0, new_boot_id(), 1 << 20)
    recorder.append([tail("t", 0, fill=5000)])
    recorder.tick()
    for file in folder.path.glob("*-w0-*"):
        os.utime(file, (0, 0))
    assert folder.outdated(1, 1.0) is None
    recorder.close()


def test_open_segments_count_for_the_size(folder: LogFolder) -> None:
    names = fill(folder, 2)
    recorder = Recorder(folder, 1, new_boot_id(), 1 << 20)
    recorder.append([tail("t", 0, fill=5000)])
    found = folder.outdated(5000, 1e9, now=3 * 86_400)
    assert found is not None
    assert [each.segment for each in found.segments] == stems(names)
    recorder.close()


def test_other_files_are_none_of_it(folder: LogFolder) -> None:
    (folder.path / "notes.jsonl").write_text("x" * 1000)
    os.utime(folder.path / "notes.jsonl", (0, 0))
    assert folder.outdated(0, 1.0) is None


def test_of_each_slot_the_oldest_go_first(folder: LogFolder) -> None:
    """One that was touched stays, and so do those behind it in its slot, but not in others."""
    names = fill(folder, 3)
    other = Recorder(folder, 1, new_boot_id(), 1 << 20)
    other.append([tail("t", 0)])
    other.close()
    for file in folder.path.glob("*-w1-*"):
        os.utime(file, (86_400, 86_400))
    for file in folder.path.glob(stems(names)[1] + ".*"):
        os.utime(file, (100 * 86_400, 100 * 86_400))
    found = folder.outdated(1 << 30, 86_400, now=100 * 86_400)
    assert found is not None
    assert [each.segment.split("-")[1] for each in found.segments] == ["w0", "w1"]
    assert found.segments[0].segment == stems(names)[0]


def test_the_record_says_what_goes_and_where_the_chains_begin(folder: LogFolder) -> None:
    names = fill(folder, 3)
    recorder = Recorder(folder, 0, new_boot_id(), 1 << 20)
    found = folder.outdated(1 << 30, 2 * 86_400, now=4 * 86_400 + 1)
    assert found is not None
    recorder.append([found.tail("bank")])
    folder.delete(found)
    recorder.close()
    last = list(stored(folder.path).items())[-1][1][0]
    record = validate(json.dumps(last).encode())
    assert isinstance(record, RetentionRecord)
    assert [each.segment for each in record.segments] == stems(names[:2])
    assert all(each.records == 1 and each.sha256 for each in record.segments)
    [chain] = record.chains
    assert (chain.worker, chain.segment) == (0, stems(names)[2])
    assert chain.previous == record.segments[-1].sha256
    check_sound(folder.path)


def test_without_its_record_the_rest_does_not_verify(folder: LogFolder) -> None:
    names = fill(folder, 3)
    for file in folder.path.glob(stems(names)[0] + ".*"):
        file.unlink()
    assert not verdict(folder.path).sound


@pytest.mark.parametrize("after", ["end", "restart", "nothing"])
def test_an_unused_segment_that_stayed_may_go_and_a_used_one_may_not(
    folder: LogFolder, after: str
) -> None:
    """Of worker 1 retention lets a segment stay that never holds a record."""
    recorders = [Recorder(folder, number, new_boot_id(), 1 << 20) for number in range(2)]
    for recorder in recorders:
        recorder.append([tail("t", 1)])
        recorder.rotate()
    for file in folder.path.glob("*-w*"):
        os.utime(file, (0, 0))
    found = folder.outdated(1 << 30, 86_400)
    assert found is not None
    assert [chain.worker for chain in found.chains] == [0, 1]
    recorders[0].append([found.tail("bank")])
    folder.delete(found)
    for recorder in recorders:
        recorder.close()
    # Nobody says yet that it held nothing: it may have been taken away.
    assert [one.why for one in verdict(folder.path).problems] == [
        "it is gone; retention had kept it"
    ]
    if after == "restart":
        again = Recorder(folder, 1, new_boot_id(), 1 << 20)
        folder.write_head("bank")
        again.append([tail("t", 2)])
        again.close()
    elif after == "end":
        folder.write_head("bank")
    assert verdict(folder.path).sound == (after != "nothing")
    if after == "restart":
        folder.write_head("bank")
        for file in folder.path.glob("*-w1-*"):
            file.unlink()
        assert not verdict(folder.path).sound


def test_segments_of_an_older_version_go_too(folder: LogFolder) -> None:
    [name] = fill(folder, 1)
    for suffix in (".seal", ".index"):
        (folder.path / (stems([name])[0] + suffix)).unlink()
    found = folder.outdated(1 << 30, 86_400, now=9 * 86_400)
    assert found is not None
    assert [(each.segment, each.records, each.sha256) for each in found.segments] == [
        (stems([name])[0], None, None)
    ]


def test_records_that_get_another_name_meanwhile_go_too(
    folder: LogFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    [name] = fill(folder, 1)
    found = folder.outdated(1 << 30, 86_400, now=9 * 86_400)
    assert found is not None
    unlink = os.unlink

    def compressed_before(path: str, *, dir_fd: int) -> None:
        if path == name:
            os.rename(name, f"{name}.zst", src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        unlink(path, dir_fd=dir_fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", compressed_before)
        folder.delete(found)
    assert not list(folder.path.glob("*-w0-*"))


def test_room_for_the_record_is_made_of_indexes(folder: LogFolder) -> None:
    names = fill(folder, 3)
    found = folder.outdated(1 << 30, 2 * 86_400, now=4 * 86_400 + 1)
    assert found is not None
    folder.make_room(found)
    assert left(folder) == names
    assert [file.name for file in folder.path.glob("*.index")] == [stems(names)[2] + ".index"]
    assert len(list(folder.path.glob("*.seal"))) == 3


def test_many_go_some_at_a_time(folder: LogFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    names = fill(folder, 5)
    monkeypatch.setattr(log_folder, "_DELETED_AT_ONCE", 2)
    for expected in (names[:2], names[2:4], names[4:]):
        found = folder.outdated(0, 1e9, now=6 * 86_400)
        assert found is not None
        assert [each.segment for each in found.segments] == stems(expected)
        folder.delete(found)


def test_looking_locks_a_replaced_folder_anew(folder: LogFolder, tmp_path: Path) -> None:
    folder.path.rename(tmp_path / "away")
    folder.path.mkdir(mode=0o700)
    folder.outdated(1 << 30, 1e9)
    with pytest.raises(StartError, match="in use"):
        LogFolder(folder.path)
