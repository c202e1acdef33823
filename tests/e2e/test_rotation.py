"""Segments that end under load: no record is lost, none is written twice."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from iatp.adapters.segments import StoredRecord, iter_records
from tests.e2e.agents import agent
from tests.e2e.load import Load, load
from tests.e2e.sidecars import TRUSTED, Sidecar, sidecar, wait_until


def _closed(running: Sidecar) -> int:
    return sum(".open." not in path.name for path in running.logs.glob("*.jsonl"))


def _check_whole(running: Sidecar, told: list[str]) -> None:
    """Each request has its two records, and each segment counts its lines without gaps."""
    records = running.records()
    kinds = Counter((record["trace_id"], record["type"]) for record in records)
    assert all(kinds[trace, "request"] == kinds[trace, "response"] == 1 for trace in told)
    assert set(kinds.values()) == {1}
    lines = itertools.groupby(iter_records(running.logs), lambda stored: stored.segment.stem)
    for _, stored in lines:
        numbers = [int(each.line.split(b",", 1)[0].split(b":")[1]) for each in stored]
        assert numbers == list(range(len(numbers)))


def _wait_for_more(running: Sidecar, asking: Load) -> None:
    """Some more requests, and then a segment that ends."""
    closed, seen = _closed(running), len(asking.told)
    wait_until(lambda: len(asking.told) > seen + 50)
    os.kill(running.process.pid, signal.SIGUSR1)
    wait_until(lambda: _closed(running) > closed)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_signal_ends_the_segments_of_all_workers(tmp_path: Path, workers: int) -> None:
    settings = TRUSTED | {"IATP_WORKERS": str(workers)}
    with agent() as behind, sidecar(tmp_path, behind.url, settings) as running:
        with load(running.port, 8) as asking:
            for _ in range(10):
                _wait_for_more(running, asking)
                assert running.process.poll() is None
        assert not asking.lost
        assert running.stop() == 0
        _check_whole(running, [one.trace_id for one in asking.told])


def test_a_signal_to_one_worker_ends_its_segment_alone(tmp_path: Path) -> None:
    settings = TRUSTED | {"IATP_WORKERS": "2"}
    with agent() as behind, sidecar(tmp_path, behind.url, settings) as running:
        with load(running.port, 8, keep=False) as asking:
            wait_until(lambda: len({stored.segment.worker for stored in _stored(running)}) == 2)
            first = running.workers()[0]
            os.kill(first, signal.SIGUSR1)
            wait_until(lambda: _closed(running) == 1)
        assert not asking.lost
        time.sleep(0.1)
        assert _closed(running) == 1


def _stored(running: Sidecar) -> list[StoredRecord]:
    with contextlib.suppress(FileNotFoundError):
        return list(iter_records(running.logs))
    return []


def test_a_signal_without_records_ends_nothing(tmp_path: Path) -> None:
    with agent() as behind, sidecar(tmp_path, behind.url, {}) as running:
        os.kill(running.process.pid, signal.SIGUSR1)
        assert running.post('{"a":1}').status in {200, 403, 449}
        assert _closed(running) == 0


def test_what_retention_deletes_is_on_record(tmp_path: Path) -> None:
    with agent() as behind:
        with sidecar(tmp_path, behind.url, TRUSTED) as running:
            assert running.post().status == 200
            assert running.stop() == 0
            [old] = running.logs.glob("*.jsonl")
        for each in old.parent.glob(f"{old.stem}*"):
            os.utime(each, (0, 0))
        with sidecar(tmp_path, behind.url, TRUSTED | {"IATP_LOG_MAX_AGE": "1d"}) as running:
            wait_until(lambda: not old.exists())
            [told] = [each for each in running.records() if each["type"] == "retention"]
            assert [each["segment"] + ".jsonl" for each in told["segments"]] == [old.name]
            assert told["reason"] == "age"
            [kept] = told["chains"]
            assert (running.logs / (kept["segment"] + ".open.jsonl")).exists()
            assert running.post().status == 200
            assert running.stop() == 0
