"""Ten thousand at once: no error, little memory, and others hardly notice.

The agent and the callers are processes of their own (tests/e2e/crowd.py). Memory is read from
/proc while they are there. Times of others are those of requests that the sidecar answers
itself, so that the crowd's agent has no part in them; the best of several rounds counts, since
other work on the machine only ever adds. `make proof` prints the figures of the large ones.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.crowd import (
    BLOCKED,
    CROWD_NICE,
    QUICK,
    Crowd,
    CrowdAgent,
    crowd,
    crowd_agent,
)
from tests.e2e.load import open_files, peak_kib, processor_s, resident_kib, shared_out_kib
from tests.e2e.sidecars import KEEPS, Sidecar, sidecar, wait_until

ROOM = {
    "IATP_CONCURRENCY_LIMIT": "10000",
    "IATP_MAX_CONNECTIONS": "11000",
    "IATP_QUEUE_LIMIT": "10000",
    "IATP_AGENT_TIMEOUT": "60s",
    "IATP_LOG_MAX_SIZE": "1GiB",
}
OTHERS = 4
"""Connections that ask while the crowd is there, each every hundredth of a second."""
ROUND_S = 1.0
ROUNDS = 5


class Rig:
    """A sidecar, its agent, a crowd, and some others that measure how they are served."""

    def __init__(
        self, running: Sidecar, agent: CrowdAgent, callers: list[Crowd], others: Crowd
    ) -> None:
        self.running = running
        self.pid = running.process.pid
        self.agent = agent
        self.callers = callers
        self.others = others

    def open(self, count: int) -> None:
        """Connect so many callers, and wait until the sidecar has taken all of them."""
        before = self._files()
        for callers in self.callers:
            callers.open(count // len(self.callers))
        wait_until(lambda: self._files() >= before + count, 20.0)

    def serve_each(self, count: int) -> None:
        """Have each ask once, spread over some time; who never asks is closed after a while."""
        before = self._files()
        self.begin(count, messages=(QUICK,), spread_s=count / 5_000)
        assert self.told() == (Counter({200: count}), 0)
        # The connections to the agent are given up when they have been idle for 4 s.
        wait_until(lambda: self._files() <= before, 20.0)

    def _files(self) -> int:
        return sum(open_files(pid) for pid in (self.running.workers() or [self.pid]))

    def begin(self, count: int, **how: Any) -> None:
        """Have so many callers ask, as `Crowd.begin` does."""
        for callers in self.callers:
            callers.begin(count // len(self.callers), **how)

    def told(self) -> tuple[Counter[int], int]:
        """How often each status came, and how many connections were lost."""
        told = [callers.told() for callers in self.callers]
        return sum((each.statuses for each in told), Counter()), sum(each.lost for each in told)

    def hold(self, count: int) -> None:
        """Have so many requests wait at the agent, all at once."""
        self.agent.hold()
        self.begin(count)
        wait_until(lambda: self.agent.held() == count, 40.0, every_s=0.1)

    def others_p99_s(self, rounds: int = ROUNDS) -> float:
        """The 99th percentile of how long the others wait: of the best round."""
        found = []
        for _ in range(rounds):
            told = self.others.ask(OTHERS, messages=(BLOCKED,), seconds=ROUND_S, every_s=0.01)
            assert told.statuses.keys() == {403}
            assert not told.lost
            found.append(told.at(0.99))
        return min(found)


@contextlib.contextmanager
def rig(folder: Path, workers: int = 1, processes: int = 2) -> Iterator[Rig]:
    with contextlib.ExitStack() as stack:
        agent = stack.enter_context(crowd_agent())
        settings = KEEPS | ROOM | {"IATP_WORKERS": str(workers)}
        running = stack.enter_context(sidecar(folder, agent.url, settings))
        others = stack.enter_context(crowd(running.port))
        callers = [stack.enter_context(crowd(running.port, CROWD_NICE)) for _ in range(processes)]
        others.open(OTHERS)
        # What is made with the first requests is not the crowd's.
        told = others.ask(OTHERS, messages=(QUICK, BLOCKED), seconds=0.5, every_s=0.01)
        assert told.statuses.keys() == {200, 403}
        yield Rig(running, agent, callers, others)


def test_hundreds_in_flight(tmp_path: Path) -> None:
    with rig(tmp_path, processes=1) as crowded:
        empty = resident_kib(crowded.pid)
        crowded.open(600)
        idle = resident_kib(crowded.pid)
        crowded.hold(500)
        held = resident_kib(crowded.pid)
        crowded.others_p99_s(1)
        crowded.agent.release(0.1)
        assert crowded.told() == (Counter({200: 500}), 0)
        crowded.begin(500, seconds=2.0)
        told, lost = crowded.told()
        assert told.keys() == {200}
        assert not lost
        print(
            f"\n600 idle connections: {(idle - empty) / 600:.1f} KiB each; "
            f"500 in flight: {(held - idle) / 500:.1f} KiB each; "
            f"peak {peak_kib(crowded.pid) / 1024:.1f} MiB"
        )
        # The allocators take memory by the megabyte: so few tell little of one.
        assert idle - empty < 600 * 8
        assert peak_kib(crowded.pid) - idle < 500 * 24


@pytest.mark.proof
@pytest.mark.timeout(240)
def test_nine_thousand_in_flight_in_one_process(tmp_path: Path) -> None:
    with rig(tmp_path) as crowded:
        pid = crowded.pid
        alone = crowded.others_p99_s()
        empty = resident_kib(pid)
        crowded.open(10_000)
        new = resident_kib(pid)
        crowded.serve_each(10_000)
        idle = resident_kib(pid)
        used, began = processor_s(pid), time.monotonic()
        time.sleep(2.0)
        quiet = (processor_s(pid) - used) / (time.monotonic() - began)
        crowded.hold(9_000)
        held = resident_kib(pid)
        while_held = crowded.others_p99_s()
        crowded.agent.release(1.0)
        assert crowded.told() == (Counter({200: 9_000}), 0)
        # Each asks again as soon as it is answered: 9,000 a second, if the machine lets them.
        crowded.begin(9_000, seconds=12.0, spread_s=2.0)
        time.sleep(3.0)
        while_answered = crowded.others_p99_s()
        told, lost = crowded.told()
        peak = peak_kib(pid)
        print(
            f"\n10,000 idle connections: {(new - empty) / 10_000:.2f} KiB each when new, "
            f"{(idle - empty) / 10_000:.2f} KiB once all were served (with what is kept of the "
            f"connections to the agent); {quiet:.1%} of a processor\n"
            f"9,000 in flight: {held * 1024 / 1e6:.1f} MB resident, "
            f"{(held - idle) / 9_000:.2f} KiB each; peak {peak * 1024 / 1e6:.1f} MB\n"
            f"answers after 1 s, in 12 s: {told.total()}, errors: "
            f"{told.total() - told[200] + lost}\n"
            f"p99 of others: {alone * 1000:.2f} ms alone, {while_held * 1000:.2f} ms while 9,000 "
            f"are held, {while_answered * 1000:.2f} ms while they ask and are answered"
        )
        assert told.keys() == {200}
        assert not lost
        assert (new - empty) * 1024 <= 10_000 * 4_000
        assert peak * 1024 <= 110e6
        assert while_held <= 2 * alone


@pytest.mark.proof
@pytest.mark.timeout(180)
def test_ten_thousand_in_flight_with_two_workers(tmp_path: Path) -> None:
    with rig(tmp_path, workers=2) as crowded:
        workers = crowded.running.workers()
        assert len(workers) == 2
        crowded.open(10_000)
        crowded.serve_each(10_000)
        crowded.hold(10_000)
        every = [crowded.pid, *workers]
        held = [shared_out_kib(pid) for pid in every]
        crowded.agent.release(1.0)
        assert crowded.told() == (Counter({200: 10_000}), 0)
        crowded.begin(10_000, seconds=5.0, spread_s=2.0)
        told, lost = crowded.told()
        after = [shared_out_kib(pid) for pid in every]
        print(
            f"\n10,000 in flight, two workers: {sum(held) * 1024 / 1e6:.1f} MB in all (PSS: "
            f"{', '.join(f'{each * 1024 / 1e6:.1f}' for each in held)}); "
            f"after {told.total()} answers more {sum(after) * 1024 / 1e6:.1f} MB"
        )
        assert told.keys() == {200}
        assert not lost
        assert sum(held) * 1024 <= 160e6
        assert sum(after) * 1024 <= 160e6
