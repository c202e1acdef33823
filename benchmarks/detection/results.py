"""What one run found, kept as JSON."""

from __future__ import annotations

import msgspec

from benchmarks.detection.ids import Count
from benchmarks.detection.score import Tally
from benchmarks.detection.speed import Speed

OURS, PRESIDIO, DETECT_SECRETS = "iatp", "Presidio", "detect-secrets"
PEERS = {PRESIDIO: ("credit_card", "ssn", "email", "iban"), DETECT_SECRETS: ("secret",)}
"""And the kinds that each knows."""
BLOCKING = ("credit_card", "ssn", "iban")
"""The kinds that must be found without fail; the bound for secrets is lower."""


class Results(msgspec.Struct):
    date: str
    machine: str
    load_average: float
    """Of the last minute, before: above 1, other programs slow the speeds down."""
    versions: dict[str, str]
    bodies: int
    megabytes: float
    empty: int
    """Bodies in which nothing is planted."""
    lookalikes: int
    digest: str
    systems: dict[str, dict[str, Tally]]
    """By system and kind."""
    second_opinion: int = 0
    """Numbers that python-stdnum was asked about; it differed on none."""
    ids: list[Count] = []
    speeds: list[Speed] = []
    speed_kinds: list[str] = []


class Goal(msgspec.Struct, frozen=True):
    """Something that must hold."""

    says: str
    found: float | None
    bound: float | None
    """None where a peer was not run, or found nothing."""

    @property
    def holds(self) -> bool:
        return self.bound is None or (self.found is not None and self.found >= self.bound)


def goals(results: Results) -> list[Goal]:
    """Recall, precision (chance apart) and, where peers were run, nobody's better."""
    found = []
    for kind in (*BLOCKING, "secret"):
        tally = results.systems[OURS][kind]
        recall, precision = (0.999, 0.995) if kind in BLOCKING else (0.98, 0.98)
        found.append(Goal(f"recall of {kind}", tally.recall, recall))
        found.append(
            Goal(f"precision of {kind}, chance apart", tally.precision_but_chance, precision)
        )
    for peer, kinds in PEERS.items():
        for kind in kinds:
            tally = results.systems[OURS][kind]
            theirs = results.systems.get(peer, {}).get(kind, Tally())
            says = f"of {kind}, beside {peer}"
            found.append(Goal(f"recall {says}", tally.recall, theirs.recall))
            found.append(Goal(f"precision {says}", tally.precision, theirs.precision))
    if results.ids:
        wrong = sum(each.must_be_none and each.cards > 0 for each in results.ids)
        found.append(Goal("sorts of numbers taken for cards", -wrong, 0))
    else:
        found.append(Goal("sorts of numbers taken for cards", None, None))
    return found
