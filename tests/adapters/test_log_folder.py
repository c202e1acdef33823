"""The folder: who may own it, who holds it, what is in it."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from iatp.adapters.log_folder import LogFolder, Segment, list_segments, segment_of
from iatp.values.errors import StartError
from tests.adapters.recording import run_python, start_python
from tests.forks import unprivileged


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[LogFolder]:
    made = LogFolder(tmp_path / "logs")
    yield made
    made.close()


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
    assert segment.clock == "aa"


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
