"""What counts: a planted value is found where spans of its kind cover all of it; a span that
overlaps no planted value of its kind is a false positive.
"""

from __future__ import annotations

import bisect
import re
from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from benchmarks.detection.digits import luhn
from benchmarks.detection.marks import Body, Label, Text
from iatp._fast import scan
from iatp.values.exchange import SCANNED

Finding = tuple[str, int, int]
"""Kind, start, end."""


class Cause(msgspec.Struct):
    """Misses or false positives that have the same reason: spelling and sort, or look-alike."""

    count: int = 0
    example: str = ""


class Tally(msgspec.Struct):
    """Of one kind, by one system."""

    found: int = 0
    missed: int = 0
    wrong: int = 0
    """False positives, all of them."""
    chance: int = 0
    """Of those: a whole number, such as an order's, that is a card number by every rule."""
    by_spelling: dict[str, tuple[int, int]] = {}
    """Found and planted."""
    misses: dict[str, Cause] = {}
    wrongs: dict[str, Cause] = {}

    @property
    def recall(self) -> float | None:
        return _share(self.found, self.found + self.missed)

    @property
    def precision(self) -> float | None:
        return _share(self.found, self.found + self.wrong)

    @property
    def precision_but_chance(self) -> float | None:
        return _share(self.found, self.found + self.wrong - self.chance)

    @property
    def f1(self) -> float:
        if not self.found:
            return 0.0
        return 2 * self.found / (2 * self.found + self.missed + self.wrong)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def ours(body: Body) -> list[Finding]:
    """What the sidecar's scan finds in what it gets."""
    return [(SCANNED[span[0]], span[1], span[2]) for span in scan.scan(body.sent.data, body.form)]


class Score:
    """Tallies of one system, by kind."""

    def __init__(self, *, covers: bool = True) -> None:
        self.covers = covers
        """Whether all of a value must be covered, or a part is enough (for peers)."""
        self.tallies = {kind: Tally() for kind in SCANNED}

    def add(self, body: Body, text: Text, findings: Iterable[Finding]) -> None:
        by_kind: dict[str, list[tuple[int, int]]] = {kind: [] for kind in SCANNED}
        for kind, start, end in findings:
            by_kind[kind].append((start, end))
        for kind, spans in by_kind.items():
            labels = [label for label in text.labels if label.value.kind == kind]
            if spans or labels:
                self._kind(body, text, self.tallies[kind], labels, sorted(set(spans)))

    def _kind(
        self,
        body: Body,
        text: Text,
        tally: Tally,
        labels: list[Label],
        spans: list[tuple[int, int]],
    ) -> None:
        for label in labels:
            touching = [each for part in label.ranges for each in overlapping(spans, part)]
            found = bool(touching)
            if self.covers:
                found = all(covered(spans, part) for part in label.ranges)
            hits, planted = tally.by_spelling.get(label.value.spelling, (0, 0))
            tally.by_spelling[label.value.spelling] = (hits + found, planted + 1)
            if found:
                tally.found += 1
            else:
                tally.missed += 1
                note(tally.misses, f"{label.value.spelling}, {label.value.sort}", body, text, label)
        parts = sorted(part for label in labels for part in label.ranges)
        for span in spans:
            if not any(True for _ in overlapping(parts, span)):
                tally.wrong += 1
                cause, by_chance = _taken_for(text, span)
                tally.chance += by_chance
                name = f"{cause}, by chance" if by_chance else cause
                note(tally.wrongs, name, body, text, span)


def overlapping(
    sorted_ranges: list[tuple[int, int]], part: tuple[int, int]
) -> Iterator[tuple[int, int]]:
    start, end = part
    for at in range(bisect.bisect_left(sorted_ranges, (end, 0)) - 1, -1, -1):
        if sorted_ranges[at][1] > start:
            yield sorted_ranges[at]


def covered(spans: list[tuple[int, int]], part: tuple[int, int]) -> bool:
    """Whether the spans together cover every byte of the part."""
    at, end = part
    for start, behind in spans:
        if start <= at < behind:
            at = behind
    return at >= end


_WHOLE = re.compile(rb"\d+")
_DECIMAL = re.compile(rb"\d[.,]\Z")


def _taken_for(text: Text, span: tuple[int, int]) -> tuple[str, bool]:
    """What the span overlaps, and whether it is one whole number that is a card by every rule.

    Whole: one run of digits, neither part of a longer one nor of a decimal.
    """
    start, end = span
    number = text.data[start:end]
    alone = not text.data[end : end + 1].isdigit() and not text.data[start - 1 : start].isdigit()
    decimal = _DECIMAL.search(text.data[max(0, start - 2) : start]) is not None
    valid = False
    if _WHOLE.fullmatch(number) and alone and not decimal:
        valid = 13 <= len(number) <= 19 and luhn(number[:-1].decode()) == number.decode()
    for label in text.labels:
        if label.start < end and start < label.end:
            return label.value.sort, valid and label.value.kind is None
    return "what no value is in", valid


def note(
    causes: dict[str, Cause], name: str, body: Body, text: Text, at: Label | tuple[int, int]
) -> None:
    cause = causes.setdefault(name, Cause())
    cause.count += 1
    if not cause.example:
        start, end = (at.start, at.end) if isinstance(at, Label) else at
        around = text.data[max(0, start - 40) : min(end, start + 120) + 20]
        cause.example = f"body {body.number}, {body.sort}: {around.decode(errors='replace')!r}"


def worst(causes: dict[str, Cause], count: int = 10) -> list[tuple[str, Cause]]:
    """The most frequent first."""
    order = Counter({name: cause.count for name, cause in causes.items()})
    return [(name, causes[name]) for name, _ in order.most_common(count)]
