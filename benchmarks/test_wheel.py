"""What keeping the deadlines of 10,000 connections costs, beside walking all of them."""

from __future__ import annotations

import itertools
import statistics
import time

from benchmarks.baseline import Baseline
from iatp._fast.wheel import Alarm, Wheel

CONNECTIONS = 10_000
TICK_NS = 50_000_000
TICKS = 80
"""4 s: an idle link to the agent is armed anew within it, an idle caller is not."""
T0 = 10**12


def _never(now_ns: int) -> None:
    raise AssertionError("nothing is late")


def test_a_tick_costs_a_hundredth_of_a_walk(baseline: Baseline) -> None:
    wheel = Wheel(T0)
    alarms = [Alarm(wheel, _never) for _ in range(CONNECTIONS)]
    for number, alarm in enumerate(alarms):
        # Spread over the minute after the last tick, as callers that come one by one are.
        alarm.arm(T0 + (TICKS + 1 + number % 1200) * TICK_NS)
    ticks = walks = float("inf")
    for number in range(1, TICKS):
        began = time.perf_counter()
        wheel.tick(T0 + number * TICK_NS)
        ticks = min(ticks, time.perf_counter() - began)
    for _ in range(10):
        began = time.perf_counter()
        assert not any(0 < alarm.deadline_ns <= T0 for alarm in tuple(alarms))
        walks = min(walks, time.perf_counter() - began)
    baseline.lines.append(
        f"a tick with {CONNECTIONS} deadlines ahead: {ticks * 1e6:.2f} \u00b5s; "
        f"walking them: {walks * 1e6:.0f} \u00b5s"
    )
    assert ticks * 100 < walks


def test_arming_does_not_depend_on_how_many_are_armed(baseline: Baseline) -> None:
    took = []
    for count in (1, CONNECTIONS):
        wheel = Wheel(T0)
        alarms = [Alarm(wheel, _never) for _ in range(count)]
        for alarm in alarms:
            alarm.arm(T0 + 75 * 10**9)
        mine = alarms[-1]
        best = float("inf")
        for _ in range(20):
            mine.arm(T0 + 75 * 10**9)
            # Always earlier: the dear way, which moves the node each time.
            moves = range(T0 + 74 * 10**9, T0 + 10**9, -TICK_NS)
            began = time.perf_counter()
            for deadline_ns in moves:
                mine.arm(deadline_ns)
            best = min(best, (time.perf_counter() - began) / len(moves))
        took.append(best)
    baseline.lines.append(
        "arming a deadline, called from Python: "
        + ", ".join(
            f"{best * 1e9:.0f} ns beside {count} others"
            for count, best in zip((0, CONNECTIONS - 1), took, strict=True)
        )
    )
    assert took[1] < 3 * took[0]


def test_a_tick_with_a_share_of_all_to_file_anew(baseline: Baseline) -> None:
    wheel = Wheel(T0)
    alarms = [Alarm(wheel, _never) for _ in range(CONNECTIONS)]
    clock = itertools.count(T0 + TICK_NS, TICK_NS)
    for number, alarm in enumerate(alarms):
        alarm.arm(T0 + (2 + number % TICKS) * TICK_NS)
    took = []
    for _ in range(TICKS - 1):
        now = next(clock)
        for alarm in alarms:
            alarm.arm(now + 30 * 10**9)
        began = time.perf_counter()
        wheel.tick(now)
        took.append(time.perf_counter() - began)
    baseline.lines.append(
        f"a tick where each of {CONNECTIONS} is filed anew within 4 s: "
        f"median {statistics.median(took) * 1e6:.2f} \u00b5s"
    )
    assert statistics.median(took) < 0.0001
