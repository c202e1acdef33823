"""What is run: how many callers come and go when, and what is asked of the sidecar meanwhile."""

from __future__ import annotations

import dataclasses

KEEPS = {
    "IATP_TRUST_LEVEL": "trusted",
    "IATP_REVERSIBILITY": "full",
    "IATP_RETENTION": "permanent",
}
"""Clean requests pass, a card number is blocked."""
STRANGER = {
    "IATP_TRUST_LEVEL": "unknown",
    "IATP_REVERSIBILITY": "none",
    "IATP_RETENTION": "ephemeral",
    "IATP_OVERRIDE": "ticket",
}
"""Everything is warned, and passes with the warning's ticket."""
ROOM = {
    "IATP_CONCURRENCY_LIMIT": "10000",
    "IATP_MAX_CONNECTIONS": "11000",
    "IATP_QUEUE_LIMIT": "10000",
}

OVERHEAD_P50_S = 0.001
OVERHEAD_P90_S = 0.010
"""Of iatp_overhead_seconds, over all sidecars. locust and the agent take the processors from
them for a scheduler's slice or two, and then this measures the waiting for that: the 99th
percentile says more of the machine than of the sidecar, and is printed only."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """So many users until this second."""

    until_s: int
    users: int
    spawn_rate: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scenario:
    """One run of locust, and what must hold."""

    name: str
    steps: tuple[Step, ...]
    crowd: bool = False
    """Many users with long pauses, all with clean requests; else the mix, without pauses."""
    workers: int = 1
    resident_mb: float = 64.0
    """Of any one sidecar, all its processes together, whatever else runs."""
    settles_s: int = 0
    """From when on memory may grow by no more than `growth`; 0: that is not asked."""
    growth: float = 0.02

    @property
    def seconds(self) -> int:
        return self.steps[-1].until_s


SHORT = (
    Scenario(name="steady mix", steps=(Step(until_s=15, users=50, spawn_rate=50),)),
    Scenario(
        name="spike",
        steps=(
            Step(until_s=3, users=20, spawn_rate=100),
            Step(until_s=8, users=300, spawn_rate=300),
            Step(until_s=11, users=20, spawn_rate=300),
        ),
    ),
)
FULL = (
    Scenario(
        name="steady mix, two workers",
        steps=(Step(until_s=60, users=200, spawn_rate=200),),
        workers=2,
        resident_mb=120.0,
    ),
    Scenario(
        name="spike",
        steps=(
            Step(until_s=10, users=20, spawn_rate=100),
            Step(until_s=25, users=1000, spawn_rate=1000),
            Step(until_s=40, users=20, spawn_rate=1000),
        ),
    ),
    Scenario(
        name="soak",
        steps=(Step(until_s=300, users=8, spawn_rate=8),),
        settles_s=60,
    ),
    Scenario(
        name="10,000 users",
        steps=(Step(until_s=60, users=10_000, spawn_rate=500),),
        crowd=True,
        resident_mb=110.0,
    ),
)
