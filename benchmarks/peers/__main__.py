"""Measures the sidecar beside plain proxies, prints the table, and keeps it in the pages.

Needs two cores, nginx, HAProxy and wrk (Debian: nginx-light, haproxy, wrk); Envoy is installed
below build/. Load goes to 127.0.0.1 alone. Everything that is started ends with the run, and
the sidecar's records, of some gigabytes, are removed.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import platform
import re
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from benchmarks.peers import load, picture, proxies, report
from benchmarks.peers.bodies import BODIES, BY_NAME, Body
from benchmarks.peers.proxies import MissingError, RecordCount, Target
from benchmarks.peers.results import AGENT, Measurement, Paced, Results, goals

CONNECTIONS = (1, 32, 256)
QUICK_BODIES = ("600 B", "10 KB, tool calls")
PAGE = proxies.ROOT / "docs" / "performance.md"
PICTURE = PAGE.with_suffix(".svg")
BEGIN, END = "<!-- peers: written by make peers -->\n", "<!-- end of peers -->"
PACED_S = 3


def main() -> int:
    """Exit status 1 where --check finds that something does not hold, 2 where it cannot run."""
    arguments = _arguments()
    try:
        if arguments.read:
            results = msgspec.json.decode(arguments.read.read_bytes(), type=Results)
        else:
            results = _measure(arguments)
    except (MissingError, load.LoadError, RuntimeError) as error:
        print(f"peers: {error}", file=sys.stderr)
        return 2
    said = report.markdown(results)
    print(said)
    if arguments.write:
        _write(results, said)
    if not arguments.check:
        return 0
    wrong = [goal for goal in goals(results) if not goal.holds]
    for goal in wrong:
        found = "not measured" if goal.found is None else f"{goal.found:.2f}"
        print(f"peers: {goal.says}: {found}, must be {goal.bound:g}", file=sys.stderr)
    return 1 if wrong else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--seconds", type=int, default=1, help="of each measurement (1)")
    parser.add_argument("--rounds", type=int, help="of which the median counts (5; --quick: 2)")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="two bodies at 1 and 32 connections, in about a minute; without what is missing",
    )
    parser.add_argument("--only", metavar="NAMES", help=f"of {','.join(proxies.NAMES)}")
    parser.add_argument("--bodies", metavar="PREFIX", help="those whose name begins so: '10 KB'")
    parser.add_argument("--connections", metavar="NUMBERS", help="1,32,256")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep every measurement there")
    parser.add_argument("--read", type=Path, metavar="FILE", help="measure nothing, take that file")
    parser.add_argument("--write", action="store_true", help="into docs/performance.md and .svg")
    parser.add_argument("--check", action="store_true", help="fail where something does not hold")
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (2 if arguments.quick else 5)
    wanted = arguments.only.lower().split(",") if arguments.only else []
    known = {name.lower() for name in proxies.NAMES}
    if not known.issuperset(wanted):
        parser.error(f"--only takes names of {', '.join(proxies.NAMES)}")
    arguments.names = [name for name in proxies.NAMES if not wanted or name.lower() in wanted]
    bodies = [BY_NAME[name] for name in QUICK_BODIES] if arguments.quick else BODIES
    arguments.chosen = [body for body in bodies if body.name.startswith(arguments.bodies or "")]
    if not arguments.chosen:
        parser.error(f"--bodies takes the beginning of one of {', '.join(BY_NAME)}")
    if arguments.connections:
        arguments.counts = [int(count) for count in arguments.connections.split(",")]
    else:
        arguments.counts = [1, 32] if arguments.quick else list(CONNECTIONS)
    return arguments


def _measure(arguments: argparse.Namespace) -> Results:
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) < 2:
        raise MissingError("two cores are needed: one for the proxy, one for load and agent")
    own_core, load_core = cores[:2]
    proxies.program("wrk")
    names = _present(arguments.names, leaves_out=arguments.quick)
    results = Results(
        date=datetime.now(UTC).strftime("%d %B %Y").lstrip("0"),
        machine=_machine(),
        load_average=os.getloadavg()[0],
        versions=proxies.versions(names),
        seconds=arguments.seconds,
        rounds=arguments.rounds,
        targets=[AGENT, *names],
    )
    build = proxies.ROOT / "build"
    build.mkdir(exist_ok=True)
    # Not below /tmp, which may be memory: records go to a disk.
    with (
        tempfile.TemporaryDirectory(prefix="peers-", dir=build) as name,
        proxies.on_core(load_core),
        contextlib.ExitStack() as stack,
    ):
        folder = Path(name)
        # nginx's workers are nobody's where its master is root's.
        folder.chmod(0o755)
        agent = stack.enter_context(proxies.agent(folder, load_core))
        targets = [Target(AGENT, agent.port)]
        for each in names:
            proxy = proxies.proxy(each, folder, agent.port, own_core)
            targets.append(stack.enter_context(proxy))
        run = _Run(results, targets, folder, arguments)
        if results.load_average > 1:
            busy = f"the load average is {results.load_average:.1f}: other programs slow this down"
            print(f"peers: {busy}", file=sys.stderr)
        run.measure(arguments.chosen, arguments.counts, arguments.rounds)
        run.measure_paced(rounds=1 if arguments.quick else 3)
    return results


def _present(names: list[str], *, leaves_out: bool) -> list[str]:
    """Those that can be started. Raises: MissingError, with every one that cannot."""
    missing = {}
    for name in names:
        try:
            if name in ("nginx", "HAProxy"):
                proxies.program(name.lower())
            elif name == "Envoy":
                proxies.install_envoy()
        except MissingError as error:
            missing[name] = str(error)
    proxies.program("nginx")
    if missing and not leaves_out:
        raise MissingError("; ".join(missing.values()))
    for reason in missing.values():
        print(f"peers: left out: {reason}", file=sys.stderr)
    return [name for name in names if name not in missing]


def _machine() -> str:
    described = Path("/proc/cpuinfo").read_text()
    found = re.search(r"^model name\s*: (.+)$", described, re.MULTILINE)
    model = re.sub(r"\((R|TM)\)", "", found[1]) if found else platform.machine()
    kernel = platform.release().split("-")[0]
    return f"{os.cpu_count()} cores ({model}), Linux {kernel}, Python {platform.python_version()}"


class _Run:
    """The measurements, one after the other."""

    def __init__(
        self, results: Results, targets: list[Target], folder: Path, given: argparse.Namespace
    ) -> None:
        self.results = results
        self.targets = targets
        self.folder = folder
        self.seconds: int = given.seconds
        self.file: Path | None = given.json
        self.records = {
            target.name: RecordCount(target.governed.logs) for target in targets if target.governed
        }

    def measure(self, bodies: list[Body], counts: list[int], rounds: int) -> None:
        """Raises: LoadError."""
        held = self.results.memory_kib
        through = [target for target in self.targets if target.pids]
        for target in through:
            held[target.name] = {"idle": proxies.memory_kib(target.pids, "VmRSS")}
        total = len(bodies) * len(counts)
        for number, body in enumerate(bodies):
            for target in through:
                proxies.forget_peak(target.pids)
            for place, connections in enumerate(counts):
                done = number * len(counts) + place + 1
                print(f"peers: {done}/{total}: {body.name}, {connections}", file=sys.stderr)
                for turn in range(rounds):
                    for target in self.targets:
                        self._one(target, body, connections, turn)
            for target in through:
                held[target.name][body.name] = proxies.memory_kib(target.pids, "VmHWM")
            self._keep()

    def _keep(self) -> None:
        """So that a run that fails later has not been in vain (--read)."""
        if self.file:
            encoded = msgspec.json.format(msgspec.json.encode(self.results))
            self.file.write_bytes(encoded + b"\n")

    def _one(self, target: Target, body: Body, connections: int, turn: int) -> None:
        found, (core_s, waited) = self._patiently(target, body, connections)
        self.results.measurements.append(
            Measurement(
                target=target.name,
                body=body.name,
                connections=connections,
                round=turn,
                per_second=found.per_second,
                p50_us=found.p50_us,
                p99_us=found.p99_us,
                core_us=1e6 * core_s / found.requests,
                waited=waited,
            )
        )

    def _patiently(
        self, target: Target, body: Body, connections: int
    ) -> tuple[load.Load, tuple[float, float]]:
        """What came of it, and the target's `CoreTime`.

        256 bodies of 100 KB can take a second in all where other programs run.
        """
        for seconds in (self.seconds, 2 * self.seconds):
            with contextlib.suppress(load.LateError):
                return self._checked(target, body, connections, seconds)
        return self._checked(target, body, connections, 4 * self.seconds)

    def _checked(
        self, target: Target, body: Body, connections: int, seconds: int
    ) -> tuple[load.Load, tuple[float, float]]:
        """Raises: LoadError, also where the sidecar has not two records for each request."""
        counter = self.records.get(target.name)
        if counter is not None:
            counter.settle()
        core_time = proxies.CoreTime(target.pids)
        try:
            url = target.url(body.path)
            found = load.flat_out(url, body, connections, seconds, self.folder)
        except load.LoadError as error:
            said = target.governed.log()[-1000:] if target.governed else ""
            case = f"{target.name}, {body.name}, {connections} connections"
            raise type(error)(f"{case}: {error}\n{said}") from None
        used = core_time.since()
        if counter is not None:
            # What was under way when wrk ended is recorded too.
            lines = counter.settle()
            if not 2 * found.requests <= lines <= 2 * (found.requests + connections):
                said = f"{found.requests} requests, and {lines} records instead of two each"
                raise load.LoadError(f"{target.name}, {body.name}: {said}")
        return found, used

    def measure_paced(self, rounds: int) -> None:
        """At half of the sidecar's highest rate. Raises: LoadError."""
        body = BY_NAME["600 B"]
        peaks = [
            self.results.middle("per_second", "sidecar", *case) or 0.0
            for case in self.results.cases()
            if case[0] == body.name
        ]
        rate = max(peaks, default=0.0) / 2
        if not rate:
            return
        print(f"peers: {body.name}, {rate:,.0f} requests/s", file=sys.stderr)
        chosen = [target for target in self.targets if target.name in (AGENT, "nginx", "sidecar")]
        for _ in range(rounds):
            for target in chosen:
                before = _buckets(target)
                try:
                    found = load.paced(target.port, target.target("/"), body, rate, PACED_S)
                except load.LateError as error:
                    print(f"peers: {target.name}: {error}", file=sys.stderr)
                    continue
                self.results.paced.append(
                    Paced(
                        target=target.name,
                        per_second=found.per_second,
                        p50_us=found.p50_us,
                        p99_us=found.p99_us,
                        own_p99_s=_p99_since(before, _buckets(target)),
                    )
                )
        self._keep()


def _buckets(target: Target) -> dict[float, float]:
    """Of `iatp_overhead_seconds`, by upper bound; none where the target has no metrics."""
    if target.governed is None:
        return {}
    text = target.governed.admin("/metrics").body.decode()
    found = re.findall(r'^iatp_overhead_seconds_bucket\{le="([^"]+)"\} (\S+)$', text, re.MULTILINE)
    return {float(bound): float(count) for bound, count in found}


def _p99_since(before: dict[float, float], now: dict[float, float]) -> float | None:
    counts = {bound: count - before.get(bound, 0.0) for bound, count in now.items()}
    if not counts.get(math.inf):
        return None
    return min(bound for bound, count in counts.items() if count >= 0.99 * counts[math.inf])


def _write(results: Results, said: str) -> None:
    page = PAGE.read_text()
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"peers: {PAGE.name} has no lines {BEGIN.strip()} … {END}")
    PAGE.write_text(f"{before}{begin}\n{said}\n{end}{after}")
    PICTURE.write_text(picture.svg(results))
    print(f"peers: docs/{PAGE.name} and docs/{PICTURE.name} are written", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
