"""What was measured, kept as JSON, and what follows from it.

A ratio is taken within each round, between measurements that were neighbours in time; the
median of the rounds counts.
"""

from __future__ import annotations

from statistics import median

import msgspec

AGENT = "directly"
"""The agent without anything between."""


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One target, one kind of body, one number of connections, one round."""

    target: str
    body: str
    connections: int
    round: int
    per_second: float
    p50_us: float
    p99_us: float
    core_us: float
    """The time on the core that a request took, in the kernel too."""
    waited: float
    """The part of the time in which the proxy could have worked, but others had its core."""


class Paced(msgspec.Struct, frozen=True, kw_only=True):
    """A target at half of the sidecar's peak load."""

    target: str
    per_second: float
    p50_us: float
    p99_us: float
    own_p99_s: float | None
    """Upper bound of the bucket of `iatp_overhead_seconds` with the 99th percentile in it."""


class Results(msgspec.Struct, kw_only=True):
    """One run."""

    date: str
    machine: str
    load_average: float
    """At the start: what else the machine does."""
    versions: dict[str, str]
    seconds: int
    rounds: int
    targets: list[str]
    measurements: list[Measurement] = []
    memory_kib: dict[str, dict[str, int]] = {}
    """By target: `idle`, and the most that it held during the measurements of a body."""
    paced: list[Paced] = []

    def cases(self) -> list[tuple[str, int]]:
        """Bodies and numbers of connections, in the order in which they were measured."""
        return list(dict.fromkeys((each.body, each.connections) for each in self.measurements))

    def of(self, target: str, body: str, connections: int) -> list[Measurement]:
        """Its rounds, in order."""
        key = (target, body, connections)
        found = [each for each in self.measurements if self._key(each) == key]
        return sorted(found, key=lambda each: each.round)

    @staticmethod
    def _key(each: Measurement) -> tuple[str, str, int]:
        return each.target, each.body, each.connections

    def middle(self, field: str, target: str, body: str, connections: int) -> float | None:
        """The median of a field; None where it was not measured."""
        found = [float(getattr(each, field)) for each in self.of(target, body, connections)]
        return median(found) if found else None

    def ratio(self, target: str, other: str, body: str, connections: int) -> float | None:
        """Requests/s of one beside the other's."""
        ours, theirs = self.of(target, body, connections), self.of(other, body, connections)
        pairs = zip(ours, theirs, strict=True) if len(ours) == len(theirs) else ()
        found = [one.per_second / two.per_second for one, two in pairs]
        return median(found) if found else None

    def added_us(self, target: str, body: str, connections: int) -> float | None:
        """What it adds to the median answer of the agent."""
        through, direct = self.of(target, body, connections), self.of(AGENT, body, connections)
        pairs = zip(through, direct, strict=True) if len(through) == len(direct) else ()
        found = [one.p50_us - two.p50_us for one, two in pairs]
        return median(found) if found else None


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """Something that must hold."""

    says: str
    found: float | None
    """None: not measured."""
    bound: float
    at_most: bool = False

    @property
    def holds(self) -> bool | None:
        """None where it was not measured."""
        if self.found is None:
            return None
        return self.found <= self.bound if self.at_most else self.found >= self.bound


def goals(results: Results) -> list[Goal]:
    """What the sidecar promises beside the others, and what was found."""
    promised = [
        ("600 B", "Envoy", 1.5),
        ("600 B", "nginx", 0.65),
        ("600 B", "aiohttp", 5.0),
        ("10 KB, one string", "nginx", 0.6),
        ("10 KB, tool calls", "nginx", 0.6),
        ("100 KB, one string", "nginx", 0.4),
        ("100 KB, tool calls", "nginx", 0.4),
    ]
    found = [
        Goal(
            says=f"requests/s beside {other}, {body}, 32 connections",
            found=results.ratio("sidecar", other, body, 32),
            bound=bound,
        )
        for body, other, bound in promised
    ]
    ours, theirs = (results.added_us(name, "600 B", 1) for name in ("sidecar", "nginx"))
    found.append(
        Goal(
            says="added to the median beside what nginx adds, 600 B, 1 connection",
            found=ours / theirs if ours is not None and theirs else None,
            bound=1.2,
            at_most=True,
        )
    )
    own = [each.own_p99_s for each in results.paced if each.own_p99_s is not None]
    found.append(
        Goal(
            says="ms, p99 of its own share, 600 B, half of the peak load",
            found=1000 * median(own) if own else None,
            bound=1.0,
            at_most=True,
        )
    )
    return found
