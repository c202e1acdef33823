"""`make load`: sidecars and their agent under load, on 127.0.0.1 alone.

Exit status 1 where a request failed or its answer had not the status it should have, where
the records or the agent say something else than the callers saw, where a sidecar logged an
error, took longer for its own share or held more memory than the scenario allows.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from iatp.adapters.configuration import raise_file_limit
from iatp.adapters.segments import iter_records
from iatp.cli.rig import Rig, Sidecar, start_rig
from iatp.values.records import ENDING_TYPES, validate
from loadtest import wrk
from loadtest.measured import Memory, between, overhead, quantile
from loadtest.scenarios import (
    FULL,
    KEEPS,
    OVERHEAD_P50_S,
    OVERHEAD_P90_S,
    ROOM,
    SHORT,
    STRANGER,
    Scenario,
)

_RECORDED_AS = {200: "response", 403: "blocked", 449: "warning", 400: "error"}
"""The record that ends a request, by the status that its caller saw."""


def main() -> int:
    """Run every scenario and say what came of each."""
    parser = argparse.ArgumentParser(prog="python -m loadtest", description=__doc__)
    parser.add_argument("--full", action="store_true", help="soak and 10,000 users too: minutes")
    parser.add_argument("--only", metavar="WORD", default="", help="those with this in the name")
    arguments = parser.parse_args()
    limit = raise_file_limit()
    print(f"files that each process may open: {limit or 'any number'}")
    runs: list[tuple[str, Callable[[], list[str]]]] = [
        (each.name, partial(_run, each)) for each in (FULL if arguments.full else SHORT)
    ]
    if shutil.which("wrk") is None:
        print("load: wrk is not installed; what it measures is left out")
    else:
        twins = wrk.FULL if arguments.full else wrk.SHORT
        runs += [(each.name, partial(wrk.run, each)) for each in twins]
    chosen = [(name, run) for name, run in runs if arguments.only in name]
    failed = [name for name, run in chosen if not _passes(name, run())]
    print(f"load: failed: {', '.join(failed)}" if failed else "load: passed")
    return 1 if failed else 0


def _passes(name: str, wrong: list[str]) -> bool:
    for reason in wrong:
        print(f"{name}: {reason}")
    print(f"{name}: {'failed' if wrong else 'passed'}", flush=True)
    return not wrong


def _run(scenario: Scenario) -> list[str]:
    """What was wrong."""
    more = ROOM | {"IATP_WORKERS": str(scenario.workers)}
    with start_rig({"keeps": KEEPS | more, "stranger": STRANGER | more}) as rig:
        most = max(step.users for step in scenario.steps)
        print(f"\n{scenario.name}: up to {most} users, {scenario.seconds} s", flush=True)
        sidecars = list(rig.sidecars.values())
        # The first scrape loads what makes metrics; it is not the load's.
        before = [overhead(each) for each in sidecars]
        with Memory(sidecars) as memory:
            wrong, seen = _run_locust(rig, scenario)
        wrong += _compare(rig, seen)
        for each in sidecars:
            wrong += _said(each)
        if any(each.process.poll() is not None for each in sidecars):
            return wrong
        counts = between(before, [overhead(each) for each in sidecars])
        p50, p90, p99 = (quantile(counts, share) for share in (0.5, 0.9, 0.99))
        peak = memory.peak_mb()
        print(
            f"own share (iatp_overhead_seconds): p50 \u2264 {p50 * 1000:g} ms, "
            f"p90 \u2264 {p90 * 1000:g} ms, p99 \u2264 {p99 * 1000:g} ms; "
            f"most memory of one sidecar: {peak:.1f} MB"
        )
        if not (p50 <= OVERHEAD_P50_S and p90 <= OVERHEAD_P90_S):
            wrong.append(
                f"its own share is above {OVERHEAD_P50_S * 1000:g} ms at p50 or "
                f"{OVERHEAD_P90_S * 1000:g} ms at p90"
            )
        if peak > scenario.resident_mb:
            wrong.append(f"more than {scenario.resident_mb:g} MB")
        if scenario.settles_s:
            growth = memory.growth(scenario.settles_s, scenario.seconds)
            print(f"memory after the first {scenario.settles_s} s: {growth:+.1%}")
            if growth >= scenario.growth:
                wrong.append(f"memory grew by {growth:.1%}")
    return wrong


def _run_locust(rig: Rig, scenario: Scenario) -> tuple[list[str], dict[str, Counter[int]]]:
    """What was wrong, and how often each sidecar answered with which status."""
    answers = rig.folder / "answers.json"
    plan = {name: (each.port, each.admin_port) for name, each in rig.sidecars.items()}
    steps = [(step.until_s, step.users, step.spawn_rate) for step in scenario.steps]
    environment = os.environ | {
        "LOADTEST_PLAN": json.dumps({**plan, "steps": steps, "answers": str(answers)})
    }
    command = [sys.executable, "-m", "locust", "-f", str(Path(__file__).with_name("locustfile.py"))]
    command += ["--headless", "--only-summary", "--stop-timeout", "20", "--loglevel", "WARNING"]
    command += ["Crowd" if scenario.crowd else "Mix"]
    status = subprocess.run(command, check=False, cwd=rig.folder, env=environment).returncode
    wrong = [] if status == 0 else [f"locust ended with status {status}"]
    if not answers.exists():
        return [*wrong, "nothing was sent"], {}
    told = json.loads(answers.read_text())
    return wrong, {
        name: Counter({int(code): count for code, count in codes.items()})
        for name, codes in told.items()
    }


def _compare(rig: Rig, seen: dict[str, Counter[int]]) -> list[str]:
    """Every answered request has exactly one ending record, of the type that its status says."""
    wrong = []
    for name, codes in seen.items():
        endings: Counter[str] = Counter()
        recorded: Counter[str] = Counter()
        for stored in iter_records(rig.folder / name / "logs"):
            record = validate(stored.line)
            kind = record.__struct_config__.tag
            if kind in ENDING_TYPES:
                endings[record.request_id] += 1
                recorded[str(kind)] += 1
        expected: Counter[str] = Counter()
        for code, count in codes.items():
            expected[_RECORDED_AS.get(code, "?")] += count
        print(f"{name}: {codes.total()} answers, {len(endings)} requests with an ending record")
        if recorded != expected:
            wrong.append(f"{name}: records {dict(recorded)}, answers {dict(expected)}")
        if twice := sum(count > 1 for count in endings.values()):
            wrong.append(f"{name}: {twice} requests have more than one ending record")
    answered = sum((codes for codes in seen.values()), Counter[int]())
    received = rig.received()
    if not answered:
        wrong.append("nothing was answered")
    if received != answered[200]:
        wrong.append(f"{received} requests came to the agent, {answered[200]} were answered by it")
    return wrong


def _said(sidecar: Sidecar) -> list[str]:
    """What a sidecar should not have said, or done."""
    wrong = [] if sidecar.process.poll() is None else [f"{sidecar.name} ended by itself"]
    return wrong + [
        f"{sidecar.name} said: {line}"
        for line in sidecar.log.read_text(errors="replace").splitlines()
        if '"level":"error"' in line or " error " in line or "Traceback" in line
    ]


if __name__ == "__main__":
    sys.exit(main())
