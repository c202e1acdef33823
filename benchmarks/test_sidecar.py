"""Requests per second through a real sidecar, beside the same agent reached directly.

What counts is the ratio where caller, agent and sidecar share one core: it says what a
request costs. With cores of their own they wait for each other's wake-ups, which on a
virtual machine is most of the time and nearly all of the noise; that is printed, not judged.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import load
from benchmarks.baseline import Baseline
from tests.e2e.sidecars import KEEPS, sidecar

ROOT = Path(__file__).parent.parent
SECONDS = 2
ROUNDS = 4

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


@contextlib.contextmanager
def agent() -> Iterator[tuple[str, int]]:
    """Its URL and its process."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.agent"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}", process.pid
        finally:
            process.terminate()


@contextlib.contextmanager
def placed(core: int, *processes: int) -> Iterator[None]:
    """These processes, or ourselves and what we start (0), on the core of this number."""
    if CORES:
        for process in processes:
            os.sched_setaffinity(process, {CORES[core]})
    try:
        yield
    finally:
        if CORES:
            for process in processes:
                os.sched_setaffinity(process, CORES)


@pytest.mark.timeout(120)
def test_requests_per_second(tmp_path: Path, baseline: Baseline) -> None:
    with agent() as (direct, behind), sidecar(tmp_path, direct, KEEPS) as running:
        through = f"http://127.0.0.1:{running.port}/proxy"
        ours = [running.process.pid, *(running.workers() if CORES else [])]
        answered = 0

        def best(url: str, before: float = 0.0) -> float:
            nonlocal answered
            done = load.run(url, SECONDS, tmp_path)
            assert done.errors == 0, running.log()
            assert done.requests > 0
            answered += done.requests if url == through else 0
            return max(before, done.per_second)

        straight = governed = apart = 0.0
        with placed(0, 0, behind, *ours):
            for _ in range(ROUNDS):
                straight, governed = best(direct, straight), best(through, governed)
        if len(CORES) > 1:
            with placed(0, 0, behind), placed(1, *ours):
                apart = best(through, best(through))
        allowed = running.metric('iatp_requests_total{decision="allow",status="200"}')
    assert allowed >= answered
    ratio = governed / straight
    said = f"{governed:,.0f} beside {straight:,.0f} directly ({ratio:.3f}), all on one core"
    baseline.check_ratio("requests/s, 600 B", ratio, said)
    if apart:
        baseline.lines.append(f"{'':40} {apart:,.0f} where the sidecar has a core to itself")
