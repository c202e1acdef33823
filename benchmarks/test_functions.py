"""Each compiled function beside its twin, or beside a library that does the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import repeat
from typing import Any

import pytest

from benchmarks import instructions
from benchmarks.baseline import Baseline
from benchmarks.cases import Case, cases

CASES = cases()
SIDES = [
    pytest.param(case, side, id=f"{case.name}-{side}")
    for case in CASES
    for side in ("ours", *case.theirs)
]
PAIRS = [
    pytest.param(case, other, id=f"{case.name}-{other}") for case in CASES for other in case.theirs
]

_best_s: dict[tuple[str, str], float] = {}


@pytest.mark.parametrize(("case", "side"), SIDES)
@pytest.mark.benchmark(max_time=0.15, min_rounds=5, disable_gc=True, warmup=True)
def test_time(benchmark: Any, case: Case, side: str) -> None:
    benchmark.group = case.name
    benchmark(case.ours if side == "ours" else case.theirs[side])
    _best_s[case.name, side] = benchmark.stats.stats.min


@pytest.mark.parametrize(("case", "other"), PAIRS)
def test_ratio(case: Case, other: str, baseline: Baseline) -> None:
    name = f"{case.name} / {other}"
    ours, theirs = _best_s[case.name, "ours"], _best_s[case.name, other]
    if not baseline.fits(name, theirs / ours):
        # Perhaps the machine was busy with something else: once more, both in turns.
        ours, theirs = _in_turns(case.ours, case.theirs[other])
    ratio = theirs / ours
    said = f"{ours * 1e6:8.2f} \u00b5s, {ratio:5.1f} times as fast as {other}"
    baseline.check_ratio(name, ratio, said)


def _in_turns(*functions: Callable[[], object]) -> list[float]:
    """The best time of one call of each, in seconds."""
    best = [float("inf")] * len(functions)
    for _ in range(30):
        for at, function in enumerate(functions):
            calls, took = 1, 0.0
            while took < 0.003:
                calls *= 2
                began = time.perf_counter()
                for _ in repeat(None, calls):
                    function()
                took = time.perf_counter() - began
            best[at] = min(best[at], took / calls)
    return best


@pytest.mark.timeout(instructions.WITHIN_S + 30)
def test_instructions(baseline: Baseline) -> None:
    try:
        now = instructions.count()
    except instructions.UnavailableError as error:
        baseline.lines.append(f"instructions were not counted, ratios alone hold: {error}")
        pytest.skip(str(error))
    machine = instructions.machine()
    if baseline.renews:
        baseline.keep_counts(machine, now)
        return
    before = baseline.counts_like(machine, now["calibration"])
    if isinstance(before, str):
        baseline.lines.append(f"instructions were not compared, ratios alone hold: {before}")
        pytest.skip(before)
    baseline.check_counts(before, now)
