"""The results as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from benchmarks.peers.results import AGENT, Results, goals

NOT_MEASURED = "–"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *("--:" for _ in head[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _number(value: float | None, form: str = ",.0f", scale: float = 1.0) -> str:
    return NOT_MEASURED if value is None else format(value * scale, form)


def markdown(results: Results) -> str:
    """Everything that was measured."""
    parts = [
        _circumstances(results),
        "Requests per second, and the sidecar's beside those of others:\n",
        _rates(results),
        "Time on the core of a request, in µs, which other programs change less than the rate:\n",
        _core_times(results),
        "Latency in ms, p50 / p99:\n",
        _latencies(results),
        "Resident memory in MiB, idle and at most during the measurements of a body. Of "
        "processes with shared pages, each counts them:\n",
        _memory(results),
    ]
    if any(connections == 1 for _, connections in results.cases()):
        said = "Added to the agent's own median answer at 1 connection, in µs:\n"
        parts += [said, _added(results)]
    if results.paced:
        parts += [
            f"At half of the sidecar's peak load ({results.paced[0].per_second:,.0f} requests/s "
            "of 600 B at random moments), in ms:\n",
            _paced(results),
        ]
    return "\n".join([*parts, "What must hold:\n", _goals(results)])


def _circumstances(results: Results) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    waited = [each.waited for each in results.measurements if each.target != AGENT] or [0.0]
    return (
        f"{results.date}, {results.machine}, load average {results.load_average:.1f} before. "
        f"{versions}. Medians of {results.rounds} rounds of {results.seconds} s. Other programs "
        f"kept a proxy from its core for {median(waited):.0%} of the time (median; at most "
        f"{max(waited):.0%}).\n"
    )


def _rates(results: Results) -> str:
    beside = [name for name in results.targets if name not in (AGENT, "sidecar")]
    if "sidecar" not in results.targets:
        beside = []
    rows = [
        [
            f"{body}, {connections}",
            *(
                _number(results.middle("per_second", target, body, connections))
                for target in results.targets
            ),
            *(
                _number(results.ratio("sidecar", other, body, connections), ".2f")
                for other in beside
            ),
        ]
        for body, connections in results.cases()
    ]
    head = ["Body, connections", *results.targets, *(f"÷ {name}" for name in beside)]
    return _table(head, rows)


def _core_times(results: Results) -> str:
    through = [name for name in results.targets if name != AGENT]
    rows = [
        [
            f"{body}, {connections}",
            *(
                _number(results.middle("core_us", name, body, connections), ".1f")
                for name in through
            ),
        ]
        for body, connections in results.cases()
    ]
    return _table(["Body, connections", *through], rows)


def _latencies(results: Results) -> str:
    def both(target: str, body: str, connections: int) -> str:
        p50, p99 = (
            _number(results.middle(field, target, body, connections), ".2f", 0.001)
            for field in ("p50_us", "p99_us")
        )
        return f"{p50} / {p99}"

    rows = [
        [f"{body}, {connections}", *(both(target, body, connections) for target in results.targets)]
        for body, connections in results.cases()
    ]
    return _table(["Body, connections", *results.targets], rows)


def _added(results: Results) -> str:
    through = [name for name in results.targets if name != AGENT]
    rows = [
        [body, *(_number(results.added_us(name, body, 1)) for name in through)]
        for body, connections in results.cases()
        if connections == 1
    ]
    return _table(["Body", *through], rows)


def _memory(results: Results) -> str:
    bodies = list(dict.fromkeys(body for body, _ in results.cases()))
    rows = [
        [name, *(_number(held.get(column), ".0f", 1 / 1024) for column in ("idle", *bodies))]
        for name, held in results.memory_kib.items()
    ]
    return _table(["", "idle", *bodies], rows)


def _paced(results: Results) -> str:
    rows = []
    for name in dict.fromkeys(each.target for each in results.paced):
        rounds = [each for each in results.paced if each.target == name]
        p50, p99 = (
            median(each.p50_us for each in rounds),
            median(each.p99_us for each in rounds),
        )
        own = [each.own_p99_s for each in rounds if each.own_p99_s is not None]
        said = f"≤ {1000 * median(own):.2g}" if own else NOT_MEASURED
        rows.append([name, _number(p50, ".2f", 0.001), _number(p99, ".2f", 0.001), said])
    return _table(["", "p50", "p99", "p99 of iatp_overhead_seconds"], rows)


def _goals(results: Results) -> str:
    words = {True: "yes", False: "**no**", None: NOT_MEASURED}
    rows = [
        [
            goal.says,
            _number(goal.found, ".2f"),
            f"{'≤' if goal.at_most else '≥'} {goal.bound:g}",
            words[goal.holds],
        ]
        for goal in goals(results)
    ]
    return _table(["", "found", "must be", "holds"], rows)
