"""The trust score as the table of protocol section 4 says it, line by line."""

from __future__ import annotations

LEVELS = {"verified_partner": 10, "trusted": 7, "standard": 5, "unknown": 2, "untrusted": 0}
REVERSIBILITIES = ("full", "partial", "none")
RETENTIONS = ("ephemeral", "temporary", "permanent", "forever")

Inputs = tuple[str, str, str, bool, bool]


def explain(
    trust_level: str,
    reversibility: str,
    retention: str,
    human_in_loop: bool,
    training_consent: bool,
) -> list[tuple[str, int]]:
    for name, known in (
        (trust_level, LEVELS),
        (reversibility, REVERSIBILITIES),
        (retention, RETENTIONS),
    ):
        if not isinstance(name, str):
            raise TypeError(name)
        if name not in known:
            raise ValueError(name)
    for flag in (human_in_loop, training_consent):
        if not isinstance(flag, bool):
            raise TypeError(flag)
    parts = [("trust_level: " + trust_level, LEVELS[trust_level])]
    if reversibility != "none":
        parts.append(("reversibility: " + reversibility, +2))
    if retention == "ephemeral":
        parts.append(("retention: ephemeral", +1))
    if retention in ("permanent", "forever"):
        parts.append(("retention: " + retention, -1))
    if human_in_loop:
        parts.append(("human_in_loop", -2))
    if training_consent:
        parts.append(("training_consent", -1))
    total = sum(points for _, points in parts)
    if total > 10:
        parts.append(("limited to 0–10", 10 - total))
    if total < 0:
        parts.append(("limited to 0–10", -total))
    return parts


def score(
    trust_level: str,
    reversibility: str,
    retention: str,
    human_in_loop: bool,
    training_consent: bool,
) -> int:
    parts = explain(trust_level, reversibility, retention, human_in_loop, training_consent)
    return sum(points for _, points in parts)


COMBINATIONS: list[Inputs] = [
    (level, reversibility, retention, human, training)
    for level in LEVELS
    for reversibility in REVERSIBILITIES
    for retention in RETENTIONS
    for human in (False, True)
    for training in (False, True)
]
