"""What a crash in the middle of a deletion left is deleted, and nothing that nobody vouches for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from iatp.adapters.encryption import LogKeys
from iatp.adapters.log_folder import LogFolder, new_boot_id, segment_of
from iatp.adapters.recorder import Recorder
from iatp.adapters.remains import Remains
from tests.adapters.recording import check_sound, run_python, tail, verdict

KEYS = LogKeys([bytes(32)])

KILLED = """
import os, sys
from pathlib import Path
from iatp.adapters.encryption import LogKeys
from iatp.adapters.log_folder import LogFolder, new_boot_id
from iatp.adapters.recorder import Recorder

unlink, left = os.unlink, int(sys.argv[2])

def dying(*args, **options):
    global left
    if left == 0:
        os._exit(9)
    left -= 1
    unlink(*args, **options)

keys = LogKeys([bytes(32)]) if sys.argv[3] == "encrypted" else None
folder = LogFolder(Path(sys.argv[1]), keys=keys)
recorder = Recorder(folder, 0, new_boot_id(), 1 << 20)
found = folder.outdated(1 << 30, 86_400, now=4 * 86_400)
recorder.append([found.tail("bank")])
recorder.close()
os.unlink = dying
folder.delete(found)
"""


def fill(folder: LogFolder) -> list[str]:
    """Two old segments and a new one, each with something that was set aside; their stems."""
    recorder = Recorder(folder, 0, new_boot_id(), 1 << 20)
    for number in range(3):
        recorder.append([tail("t", number)])
        recorder.rotate()
    recorder.close()
    stems = [segment.stem for segment in folder.segments()]
    for number, stem in enumerate(stems):
        (folder.path / f"{stem}.torn").write_bytes(b"{")
        for file in folder.path.glob(f"{stem}.*"):
            os.utime(file, (0, 0) if number < 2 else (4 * 86_400, 4 * 86_400))
    return stems


def files_of(folder: LogFolder, stems: list[str]) -> list[str]:
    """In the order in which they are deleted."""
    names = [file.name for stem in stems for file in folder.path.glob(f"{stem}.*")]
    return sorted(names, key=lambda name: (segment_of(name) is None, name))


@pytest.mark.parametrize("kind", ["plain", "encrypted"])
@pytest.mark.parametrize("unlinks", range(9))
def test_killed_between_any_two_files_the_next_start_deletes_the_rest(
    tmp_path: Path, unlinks: int, kind: str
) -> None:
    keys = KEYS if kind == "encrypted" else None
    folder = LogFolder(tmp_path / "logs", keys=keys)
    stems = fill(folder)
    before = files_of(folder, stems[:2])
    folder.close()
    done = run_python(KILLED, folder.path, unlinks, kind)
    assert done.returncode == (9 if unlinks < 8 else 0), done.stderr
    folder = LogFolder(tmp_path / "logs", keys=keys)
    assert files_of(folder, stems[:2]) == before[unlinks:]
    recorder = Recorder(folder, 0, new_boot_id(), 1 << 20)
    Remains(folder).delete()
    # What still has its records, retention names and deletes again.
    has_records = {segment.stem for segment in folder.segments()}
    assert folder.without_records() == set()
    assert {stem for stem in stems[:2] if files_of(folder, [stem])} <= has_records
    found = folder.outdated(1 << 30, 86_400, now=4 * 86_400)
    if found is not None:
        recorder.append([found.tail("bank")])
        folder.delete(found)
    recorder.close()
    assert files_of(folder, stems[:2]) == []
    assert len(files_of(folder, stems[2:])) == 4
    if keys is None:
        check_sound(folder.path)
    folder.close()


def test_what_no_record_names_stays_and_is_said_once(
    folder: LogFolder, caplog: pytest.LogCaptureFixture
) -> None:
    stems = fill(folder)
    [data] = folder.path.glob(f"{stems[0]}.jsonl")
    data.unlink()
    remains = Remains(folder)
    for _ in range(3):
        remains.delete()
    assert caplog.text.count(f"The records of segment {stems[0]} are gone") == 1
    assert (folder.path / f"{stems[0]}.seal").exists()
    assert not verdict(folder.path).sound


def test_a_payload_vouches_for_nothing(folder: LogFolder) -> None:
    stems = fill(folder)
    recorder = Recorder(folder, 0, new_boot_id(), 1 << 20)
    forged = tail("t", 9)[:-1] + b',"x":{"type":"retention","segments":[{"segment":"%b"}]}}'
    recorder.append([forged % stems[0].encode()])
    recorder.close()
    next(folder.path.glob(f"{stems[0]}.jsonl")).unlink()
    Remains(folder).delete()
    assert (folder.path / f"{stems[0]}.seal").exists()


def test_what_is_being_written_or_made_is_left_alone(folder: LogFolder) -> None:
    fill(folder)
    recorder = Recorder(folder, 0, new_boot_id(), 1 << 20)
    recorder.append([tail("t", 9)])
    recorder.tick()
    stem = next(segment.stem for segment in folder.segments() if not segment.closed)
    (folder.path / f"{stem[:-1]}9.index.tmp").touch()
    before = sorted(folder.path.iterdir())
    Remains(folder).delete()
    assert sorted(folder.path.iterdir()) == before
    recorder.close()
