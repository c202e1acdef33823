"""A load that goes on: resident memory stands still once everything has been seen once.

The load is 70 % of what the callers, the agent and the sidecar reach together on this machine:
clean requests, requests that the sidecar blocks, and ones that it refuses. Records are written,
rotated and pruned meanwhile. `make proof` runs five minutes of it and prints the figures.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from iatp.adapters.segments import iter_records
from tests.e2e.crowd import BLOCKED, BODY, CROWD_NICE, QUICK, Crowd, crowd, crowd_agent
from tests.e2e.load import resident_kib, written_kib
from tests.e2e.sidecars import KEEPS, STRANGER, Caller, Sidecar, request, sidecar

CALLERS = 64
SHARE = 0.7
REFUSED = request(body=b'{"text": ')
MIX = (QUICK, QUICK, QUICK, BLOCKED, QUICK, QUICK, QUICK, REFUSED)
"""What each caller sends in turn."""
SEGMENTS = {"IATP_LOG_SEGMENT": "16MiB", "IATP_LOG_MAX_SIZE": "128MiB"}


def grown(folder: Path, seconds: float, settles_s: float) -> float:
    """By how much resident memory grew after `settles_s`, as a share of what it was then."""
    with (
        crowd_agent() as agent,
        sidecar(folder, agent.url, KEEPS | SEGMENTS) as running,
        crowd(running.port, CROWD_NICE) as callers,
    ):
        callers.open(CALLERS)
        peak = _per_second(callers)
        callers.begin(
            CALLERS, messages=MIX, seconds=seconds, every_s=CALLERS / (SHARE * peak), spread_s=0.5
        )
        began = time.monotonic()
        time.sleep(settles_s)
        settled = _steady_kib(running.process.pid)
        time.sleep(seconds - settles_s - 1.0 - (time.monotonic() - began - settles_s))
        now = _steady_kib(running.process.pid)
        told = callers.told(within_s=40.0)
        count = told.statuses.total()
        print(
            f"\nsoak: {count} requests in {seconds:.0f} s, {count / seconds:.0f}/s, "
            f"{SHARE:.0%} of {peak:.0f}/s; resident {settled / 1024:.1f} MiB after "
            f"{settles_s:.0f} s, {now / 1024:.1f} MiB at the end; p99 {told.at(0.99) * 1000:.1f} ms"
        )
        assert not told.lost
        _check(told.statuses)
        assert " error " not in running.log()
        assert next(iter(iter_records(running.logs))) is not None
        return (now - settled) / settled


def _per_second(callers: Crowd) -> float:
    """What is reached where each caller asks again at once."""
    told = callers.ask(CALLERS, messages=MIX, seconds=3.0)
    assert not told.lost
    _check(told.statuses)
    return told.statuses.total() / 3.0


def _check(statuses: Counter[int]) -> None:
    """Each caller goes through the mix, so all parts of it come as often as they stand there."""
    assert statuses.keys() == {200, 403, 400}
    total = statuses.total()
    for status, share in ((200, 6 / 8), (403, 1 / 8), (400, 1 / 8)):
        assert abs(statuses[status] - share * total) <= 2 * CALLERS


def _steady_kib(pid: int) -> float:
    """The median of some looks: a segment that is being closed is not growth."""
    looks = []
    for _ in range(9):
        looks.append(resident_kib(pid))
        time.sleep(0.1)
    return sorted(looks)[4]


def test_memory_stands_still_under_load(tmp_path: Path) -> None:
    # Most of a minute's growth may still come: this only finds what grows with each request.
    assert grown(tmp_path, 15.0, 7.0) < 0.15


def override(running: Sidecar, count: int) -> None:
    """Confirm so many warnings with their tickets, and look at every twentieth afterwards."""
    with Caller(running.port) as caller, Caller(running.admin_port) as reader:
        for number in range(count):
            caller.send(QUICK)
            warned = caller.read()
            assert warned.status == 449
            trace_id = warned.json()["trace_id"]
            ticket = {
                "X-User-Override": warned.json()["override_token"],
                "X-Agent-Trace-ID": trace_id,
            }
            caller.send(request(target="/proxy/quick", body=BODY, headers=ticket))
            assert caller.read().status == 200
            if number % 20:
                continue
            for target in (f"/trace/{trace_id}", f"/quarantine/{trace_id}"):
                reader.send(request("GET", target))
                assert reader.read("GET").status == 200


def test_memory_stands_still_under_overrides_and_reads(tmp_path: Path) -> None:
    variables = STRANGER | {"IATP_OVERRIDE": "ticket"}
    with crowd_agent() as agent, sidecar(tmp_path, agent.url, variables) as running:
        override(running, 3000)
        # Until buffers have filled and each thread has worked once; then it stands still twice.
        still, grown_kib = 0, []
        while still < 2 and len(grown_kib) < 5:
            before = written_kib(running.process.pid)
            override(running, 2000)
            grown_kib.append(written_kib(running.process.pid) - before)
            # What SQLite kept of each session made 900.
            still = still + 1 if grown_kib[-1] < 400 else 0
        assert still == 2, grown_kib
        assert " error " not in running.log()


@pytest.mark.proof
@pytest.mark.timeout(400)
def test_memory_stands_still_for_five_minutes(tmp_path: Path) -> None:
    assert grown(tmp_path, 300.0, 60.0) < 0.02
