"""The log while it is rotated, sealed, pruned and restarted under load."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from iatp.adapters.log_folder import list_segments
from iatp.adapters.seals import last_point, parse_head, read_head, read_seal, sealed_stems
from iatp.adapters.segments import iter_records
from iatp.values.records import RetentionRecord, validate
from iatp.values.seals import Final
from tests.adapters.recording import check_sound, verdict
from tests.e2e.agents import agent
from tests.e2e.load import Load, load
from tests.e2e.sidecars import TRUSTED, Sidecar, sidecar, wait_until

FOUR = TRUSTED | {"IATP_WORKERS": "4"}


class Kept:
    """How many records each segment held, also those that retention has deleted since."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def look(self, folder: Path) -> None:
        for worker in range(4):
            for stem in set(sealed_stems(folder, worker)) - set(self.counts):
                point = last_point(folder, stem)
                if isinstance(point, Final):
                    self.counts[stem] = point.records


@contextlib.contextmanager
def again_and_again(work: Callable[[], None], every_s: float) -> Iterator[None]:
    """Do this beside the block, until that is done."""
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(every_s):
            work()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def rotate(running: Sidecar, kept: Kept) -> None:
    """Tell the sidecar to rotate its log, and note what is closed."""
    os.kill(running.process.pid, signal.SIGUSR1)
    kept.look(running.logs)


def signal_all(running: Sidecar) -> None:
    """Tell the sidecar and each of its workers to rotate, if they are still there."""
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        for pid in (running.process.pid, *running.workers()):
            os.kill(pid, signal.SIGUSR1)


def records(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    return [(one.segment.stem, json.loads(one.line)) for one in iter_records(folder)]


def check_storm(folder: Path, loads: list[Load], kept: Kept, retentions: int) -> int:
    """None lost, none doubled, `seq` without gaps; returns how many segments were deleted."""
    check_sound(folder)
    found = records(folder)
    by_segment: dict[str, list[int]] = {}
    for stem, record in found:
        by_segment.setdefault(stem, []).append(record["seq"])
    assert all(seqs == list(range(len(seqs))) for seqs in by_segment.values())
    seen = Counter((record["request_id"], record["type"]) for _, record in found)
    assert max(seen.values()) == 1
    told = [each for one in loads for each in one.told]
    assert not [lost for one in loads for lost in one.lost]
    assert all(each.answer.status == 200 for each in told)
    kept.look(folder)
    assert {stem: len(seqs) for stem, seqs in by_segment.items()}.items() <= kept.counts.items()
    # Of each request two records, and one of each time that retention deleted something.
    assert sum(kept.counts.values()) == 2 * len(told) + retentions
    deleted = kept.counts.keys() - by_segment.keys()
    said = [validate(json.dumps(one).encode()) for _, one in found if one["type"] == "retention"]
    named = {
        each.segment for one in said if isinstance(one, RetentionRecord) for each in one.segments
    }
    assert named <= deleted
    if len(said) == retentions:
        assert named == deleted
    return len(deleted)


def storm(
    tmp_path: Path, seconds: tuple[float, float], every_s: float, more: dict[str, str]
) -> int:
    """Rotate under load, twice: with room for all, and with room for half of that."""
    folder = tmp_path / "logs"
    loads = []
    kept = Kept()
    settings = FOUR | more
    retentions = deleted = 0
    with agent() as behind:
        for length in seconds:
            with (
                sidecar(tmp_path, behind.url, settings) as running,
                again_and_again(partial(rotate, running, kept), every_s),
            ):
                with load(running.port, 64) as callers:
                    time.sleep(length)
                loads.append(callers)
                assert running.stop() == 0
                retentions = running.log().count("and are deleted.")
            deleted = check_storm(folder, loads, kept, retentions)
            assert (deleted > 0) == (retentions > 0) == ("IATP_LOG_MAX_SIZE" in settings)
            half = sum(path.stat().st_size for path in folder.glob("*-w*")) // 2
            settings = settings | {"IATP_LOG_MAX_SIZE": f"{half}B"}
    return deleted


@pytest.mark.parametrize("durability", ["process", "power"])
def test_rotation_and_retention_under_load(tmp_path: Path, durability: str) -> None:
    more = {"IATP_DURABILITY": durability, "IATP_LOG_COMPRESS": "off"}
    assert storm(tmp_path, (2.5, 2.5), 0.25, more)
    assert len(list_segments(tmp_path / "logs")) > 20


@pytest.mark.proof
@pytest.mark.timeout(400)
def test_rotation_every_second_and_retention_each_minute(tmp_path: Path) -> None:
    more = {"IATP_LOG_COMPRESS_AFTER": "0s", "IATP_LOG_SEGMENT_AGE": "1s"}
    assert storm(tmp_path, (15, 70), 1.0, more)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_usr1_rotates_also_a_worker_without_traffic(tmp_path: Path, workers: str) -> None:
    with agent() as behind:
        settings = TRUSTED | {"IATP_WORKERS": workers}
        with sidecar(tmp_path, behind.url, settings) as running:

            def of(closed: bool) -> set[int]:
                return {one.worker for one in list_segments(running.logs) if one.closed == closed}

            every = set(range(int(workers)))
            wait_until(lambda: running.post().status == 200 and written(running) == every)
            os.kill(running.process.pid, signal.SIGUSR1)
            wait_until(lambda: of(True) == every)
            assert of(False) == every
            before = len(list_segments(running.logs))
            # Nothing has been written since: nothing to rotate.
            os.kill(running.process.pid, signal.SIGUSR1)
            time.sleep(0.5)
            assert len(list_segments(running.logs)) == before
            assert running.stop() == 0
        check_sound(tmp_path / "logs")


def written(running: Sidecar) -> set[int]:
    return {record["worker"] for _, record in records(running.logs)}


def test_usr1_before_it_serves_does_not_end_it(tmp_path: Path) -> None:
    with (
        agent() as behind,
        sidecar(tmp_path, behind.url, TRUSTED | {"IATP_WORKERS": "2"}, ready=False) as running,
    ):
        wait_until((tmp_path / "logs").exists, 15.0)
        while len(running.workers()) < 2:
            os.kill(running.process.pid, signal.SIGUSR1)
        for pid in running.workers():
            os.kill(pid, signal.SIGUSR1)
        wait_until(lambda: running.ask("GET", "/readyz").status == 200, 15.0)
        assert running.stop() == 0


@pytest.mark.parametrize("workers", ["1", "4"])
def test_usr1_while_it_stops_does_not_end_it(tmp_path: Path, workers: str) -> None:
    # What is looked for lasted microseconds in each worker: found in one stop of four.
    for _ in range(4):
        with (
            agent() as behind,
            sidecar(tmp_path, behind.url, TRUSTED | {"IATP_WORKERS": workers}) as running,
        ):
            assert running.post().status == 200
            with again_and_again(partial(signal_all, running), 0.0002):
                assert running.stop() == 0
    check_sound(tmp_path / "logs")


def test_an_old_segment_is_closed_without_traffic(tmp_path: Path) -> None:
    with (
        agent() as behind,
        sidecar(tmp_path, behind.url, TRUSTED | {"IATP_LOG_SEGMENT_AGE": "1s"}) as running,
    ):
        assert running.post().status == 200
        wait_until(lambda: any(one.closed for one in list_segments(running.logs)))
        assert running.stop() == 0


def test_the_head_is_there_from_the_start_and_last_of_all(tmp_path: Path) -> None:
    with agent() as behind:
        with sidecar(tmp_path, behind.url, TRUSTED | {"IATP_WORKERS": "2"}) as running:
            wait_until(lambda: read_head(running.logs) is not None)
            first = (running.logs / "head.json").read_bytes()
            for _ in range(40):
                assert running.post().status == 200
            # Each second a mark.
            wait_until(lambda: marked(running.logs) == 80)
            assert running.stop() == 0
        folder = tmp_path / "logs"
        last = read_head(folder)
        assert last is not None
        assert sum(chain.records for chain in last.head.chains) == 80
        assert last.head.agent_id == "the-agent"
        for chain in last.head.chains:
            seal = read_seal(folder, chain.segment)
            assert seal is not None
            assert seal.final is not None
            assert seal.final.sha256 == chain.sha256
        check_sound(folder, first, (folder / "head.json").read_bytes())
        assert parse_head(first) is not None


def marked(folder: Path) -> int:
    points = [last_point(folder, stem) for n in range(2) for stem in sealed_stems(folder, n)]
    return sum(point.records for point in points if point is not None)


def test_a_worker_that_dies_has_its_segment_sealed_while_others_write(tmp_path: Path) -> None:
    with agent() as behind:
        with sidecar(tmp_path, behind.url, TRUSTED | {"IATP_WORKERS": "2"}) as running:
            with load(running.port, 8) as callers:
                for _ in range(3):
                    time.sleep(0.6)
                    victim = running.workers()[0]
                    os.kill(victim, signal.SIGKILL)
                    wait_until(
                        lambda victim=victim: (
                            victim not in running.workers() and len(running.workers()) == 2
                        )
                    )
                time.sleep(0.5)
            assert callers.told
            assert running.stop() == 0
            assert "whose writer had died" in running.log()
        folder = tmp_path / "logs"
        check_sound(folder)
        finals = [last_point(folder, stem) for n in range(2) for stem in sealed_stems(folder, n)]
        assert sum(getattr(final, "recovered", False) for final in finals) == 3
        kept = Counter(record["trace_id"] for _, record in records(folder))
        assert all(kept[each.trace_id] == 2 for each in callers.told)
        victim_path = next(folder.glob("*-w0-*.jsonl"))
        victim_path.write_bytes(victim_path.read_bytes().replace(b'"request"', b'"requesT"', 1))
        assert not verdict(folder).sound


# One and two workers, and one of two.


def closed_in(running: Sidecar) -> int:
    return sum(".open." not in path.name for path in running.logs.glob("*.jsonl"))


def check_whole(running: Sidecar, told: list[str]) -> None:
    """Each request has its two records, and each segment counts its lines without gaps."""
    records = running.records()
    kinds = Counter((record["trace_id"], record["type"]) for record in records)
    assert all(kinds[trace, "request"] == kinds[trace, "response"] == 1 for trace in told)
    assert set(kinds.values()) == {1}
    lines = itertools.groupby(iter_records(running.logs), lambda stored: stored.segment.stem)
    for _, stored in lines:
        numbers = [int(each.line.split(b",", 1)[0].split(b":")[1]) for each in stored]
        assert numbers == list(range(len(numbers)))


def wait_for_more(running: Sidecar, asking: Load) -> None:
    """Some more requests, and then a segment that ends."""
    closed, seen = closed_in(running), len(asking.told)
    wait_until(lambda: len(asking.told) > seen + 50)
    os.kill(running.process.pid, signal.SIGUSR1)
    wait_until(lambda: closed_in(running) > closed)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_signal_ends_the_segments_of_all_workers(tmp_path: Path, workers: int) -> None:
    settings = TRUSTED | {"IATP_WORKERS": str(workers)}
    with agent() as behind, sidecar(tmp_path, behind.url, settings) as running:
        with load(running.port, 8) as asking:
            for _ in range(10):
                wait_for_more(running, asking)
                assert running.process.poll() is None
        assert not asking.lost
        assert running.stop() == 0
        check_whole(running, [one.trace_id for one in asking.told])


def test_a_signal_to_one_worker_ends_its_segment_alone(tmp_path: Path) -> None:
    settings = TRUSTED | {"IATP_WORKERS": "2"}
    with agent() as behind, sidecar(tmp_path, behind.url, settings) as running:
        with load(running.port, 8, keep=False) as asking:
            wait_until(lambda: written(running) == {0, 1})
            first = running.workers()[0]
            os.kill(first, signal.SIGUSR1)
            wait_until(lambda: closed_in(running) == 1)
        assert not asking.lost
        time.sleep(0.1)
        assert closed_in(running) == 1


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
