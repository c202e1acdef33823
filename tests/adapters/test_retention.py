"""Retention: what is deleted, in which order, and what the log says of it before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from iatp.adapters.log_folder import LogFolder
from iatp.adapters.recorder import Recorder, new_boot_id
from iatp.adapters.retention import Expired, delete, find_expired, retention_tail
from iatp.adapters.segments import iter_records
from iatp.values.errors import StartError
from iatp.values.records import RetentionRecord
from iatp.values.records import validate as validate_record
from tests.adapters.recording import tail

DAY = 86_400


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[LogFolder]:
    made = LogFolder(tmp_path / "logs")
    yield made
    made.close()


def fill(folder: LogFolder, days: list[int], worker: int = 0) -> list[str]:
    """A closed segment of 1000 bytes and more for each day, and when it was last written."""
    recorder = Recorder(folder, worker, new_boot_id(), 1 << 20)
    stems: list[str] = []
    for day in days:
        recorder.append([tail("t", day, fill=1000)])
        recorder.rotate()
        closed = {segment.stem for segment in folder.segments() if segment.closed}
        [stem] = [each for each in closed if f"-w{worker}-" in each and each not in stems]
        os.utime(folder.path / f"{stem}.jsonl", (day * DAY, day * DAY))
        stems.append(stem)
    recorder.close()
    return stems


def told(expired: list[Expired]) -> list[tuple[str, str]]:
    return [(each.segment.stem, each.reason) for each in expired]


def test_what_is_too_old_goes(folder: LogFolder) -> None:
    stems = fill(folder, [1, 2, 3, 4, 5])
    expired = find_expired(folder, 1 << 30, 2 * DAY, now=5 * DAY + 1)
    assert told(expired) == [(stem, "age") for stem in stems[:3]]
    delete(folder, expired)
    assert [segment.stem for segment in folder.segments()] == stems[3:]
    assert find_expired(folder, 1 << 30, 2 * DAY, now=5 * DAY + 1) == []


def test_of_what_is_too_large_the_oldest_goes(folder: LogFolder) -> None:
    stems = fill(folder, [1, 2, 3, 4, 5])
    sizes = [each.size for each in find_expired(folder, 0, 30 * DAY, now=6 * DAY)]
    expired = find_expired(folder, sum(sizes[3:]), 30 * DAY, now=6 * DAY)
    assert told(expired) == [(stem, "size") for stem in stems[:3]]


def test_one_record_has_one_reason(folder: LogFolder) -> None:
    stems = fill(folder, [1, 2, 3])
    expired = find_expired(folder, 0, DAY, now=2 * DAY + 1)
    assert told(expired) == [(stems[0], "age")]
    delete(folder, expired)
    assert told(find_expired(folder, 0, DAY, now=2 * DAY + 1)) == [
        (stem, "size") for stem in stems[1:]
    ]


def test_a_worker_s_chain_has_no_gaps(folder: LogFolder) -> None:
    # A copy gave the first of them a later time than the second.
    first, second, third = fill(folder, [8, 2, 9])
    expired = find_expired(folder, 1 << 30, 5 * DAY, now=10 * DAY)
    assert told(expired) == []
    expired = find_expired(folder, 1 << 30, DAY, now=10 * DAY - 1)
    assert told(expired) == [(first, "age"), (second, "age")]
    assert third in {segment.stem for segment in folder.segments()}


def test_what_is_open_stays_and_counts(folder: LogFolder) -> None:
    stems = fill(folder, [1, 2])
    recorder = Recorder(folder, 1, new_boot_id(), 1 << 20)
    recorder.append([tail("t", 0, fill=5000)])
    [written] = [segment for segment in folder.segments() if not segment.closed]
    os.utime(folder.path / written.name, (0, 0))
    expired = find_expired(folder, 5000, 1e9, now=3 * DAY)
    assert told(expired) == [(stem, "size") for stem in stems]
    delete(folder, expired)
    assert find_expired(folder, 0, 1.0) == []
    recorder.close()


def test_nothing_else_is_touched(folder: LogFolder) -> None:
    (folder.path / "notes.jsonl").write_text("x" * 1000)
    os.utime(folder.path / "notes.jsonl", (0, 0))
    assert find_expired(folder, 0, 1.0) == []


def test_what_lies_beside_a_segment_counts_and_goes_with_it(folder: LogFolder) -> None:
    first, second = fill(folder, [1, 2])
    for suffix in (".seal", ".index", ".torn"):
        (folder.path / (first + suffix)).write_bytes(b"x" * 500)
        (folder.path / (second + suffix)).write_bytes(b"x" * 500)
    records = (folder.path / f"{first}.jsonl").stat().st_size
    [expired] = find_expired(folder, 1 << 30, DAY, now=2 * DAY + 1)
    assert expired.size == records + 1500
    delete(folder, [expired])
    assert not list(folder.path.glob(f"{first}*"))
    assert len(list(folder.path.glob(f"{second}*"))) == 4


def test_the_record_names_what_goes_and_where_each_chain_begins(folder: LogFolder) -> None:
    stems = fill(folder, [1, 2, 3])
    other = fill(folder, [3], worker=1)
    for number, stem in enumerate(stems):
        previous = {"segment": stems[number - 1] if number else None, "sha256": str(number) * 64}
        final = {
            "segment": stem, "records": 1, "bytes": 1100, "sha256": str(number + 1) * 64,
            "checks": "f" * 64, "timestamp": "2025-11-24T16:00:01.000000Z", "key": "0" * 16,
        }  # fmt: skip
        lines = [
            {"format": "iatp-seal-1", "segment": stem, "previous": previous},
            {"final": final, "signature": "x"},
        ]
        text = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        (folder.path / f"{stem}.seal").write_bytes(text)
    (folder.path / f"{other[0]}.seal").unlink(missing_ok=True)
    expired = find_expired(folder, 1 << 30, DAY, now=3 * DAY + 1)
    assert told(expired) == [(stem, "age") for stem in stems[:2]]

    recorder = Recorder(folder, 2, new_boot_id(), 1 << 20)
    recorder.append([retention_tail(folder, expired, agent_id="a\u2028b")])
    recorder.close()
    [line] = [
        stored.line for stored in iter_records(folder.path) if b'"type":"retention"' in stored.line
    ]
    assert line.isascii()
    record = validate_record(line)
    assert isinstance(record, RetentionRecord)
    assert (record.reason, record.agent_id) == ("age", "a\u2028b")
    assert [(each.segment, each.records, each.bytes, each.sha256) for each in record.segments] == [
        (stems[0], 1, 1100, "1" * 64),
        (stems[1], 1, 1100, "2" * 64),
    ]
    chains = {each.worker: (each.segment, each.previous) for each in record.chains}
    assert chains[0] == (stems[2], "2" * 64)
    assert chains[1] == (other[0], None)


def test_a_replaced_folder_is_locked_anew(folder: LogFolder, tmp_path: Path) -> None:
    folder.path.rename(tmp_path / "away")
    folder.path.mkdir(mode=0o700)
    delete(folder, [])
    with pytest.raises(StartError, match="in use"):
        LogFolder(folder.path)
