"""What a report says of many records, summed up from groups of equal ones.

Sums of parts can be added, so that each segment may be summed up by itself. Whatever callers can
choose freely (their names, above all) is kept in a bounded number, so that memory is, too.
"""

from __future__ import annotations

import collections
import functools
import json
from collections.abc import Mapping
from typing import Any

FIELDS = {
    "type": 32,
    "timestamp": 11,
    "decision": 32,
    "rule": 96,
    "code": 64,
    "reason": 160,
    "status_code": 4,
    "trust_score": 3,
    "findings": 256,
    "caller": 160,
    "count": 12,
    "quarantined": 5,
}
"""Fields of a record that make its group, and how many bytes of each as JSON; a day of the time."""

PERCENTILES = (50, 90, 95, 99, 99.9)

_MOST_CALLERS = 20_000
"""Kept of all that were seen; above twice as many those with the fewest requests are dropped."""
_REQUEST_TYPES = frozenset({"request", "blocked", "warning", "error"})
_NEVER_SENT = frozenset({"agent_unreachable", "agent_failing", "queue_full", "queue_timeout"})
"""Errors of requests that were let through and have no record of type `request` all the same."""


class Review:
    """Sums; `add` and `merge` in any order."""

    def __init__(self) -> None:
        self.records = 0
        self.lost = 0
        """Lines that are no records."""
        self.types: collections.Counter[str] = collections.Counter()
        self.scores: collections.Counter[int] = collections.Counter()
        self.blocked: collections.Counter[tuple[str, str, str]] = collections.Counter()
        """By rule, code and reason."""
        self.warned: collections.Counter[tuple[str, str, str]] = collections.Counter()
        self.errors: collections.Counter[tuple[str, int]] = collections.Counter()
        """By code and status."""
        self.failed = 0
        """Of the errors, those that broke; all others were turned away, or their answer was."""
        self.statuses: collections.Counter[int] = collections.Counter()
        """Of the agent's answers."""
        self.findings: collections.Counter[tuple[str, str]] = collections.Counter()
        """By kind and day, in requests."""
        self.answer_findings: collections.Counter[tuple[str, str]] = collections.Counter()
        self.callers: dict[str, collections.Counter[str]] = {}
        self.callers_dropped = False
        self.latencies: collections.Counter[int] = collections.Counter()
        """By bucket of the histogram."""

    def add(self, groups: Mapping[bytes, int]) -> None:
        """Add groups: the raw values of `FIELDS` in their order, and how often they came."""
        for group, times in groups.items():
            raw = dict(zip(FIELDS, group.split(b"\x1f"), strict=False))
            self._add({name: _value(text) for name, text in raw.items() if text}, times)
        self._bound_callers()

    def merge(self, other: Review) -> None:
        """Add what another one summed up."""
        for name, value in vars(other).items():
            if isinstance(value, collections.Counter):
                getattr(self, name).update(value)
        self.records += other.records
        self.lost += other.lost
        self.failed += other.failed
        self.callers_dropped |= other.callers_dropped
        for caller, counts in other.callers.items():
            self.callers.setdefault(caller, collections.Counter()).update(counts)
        self._bound_callers()

    def _add(self, record: dict[str, Any], times: int) -> None:
        kind = record.get("type")
        if not isinstance(kind, str):
            self.lost += times
            return
        self.records += times
        self.types[kind] += times
        day = str(record.get("timestamp", "")).removesuffix("…")
        findings = record.get("findings")
        if isinstance(findings, dict):
            sums = self.answer_findings if kind == "response" else self.findings
            for found, count in findings.items():
                if isinstance(count, int):
                    sums[str(found), day] += count * times
        if kind in _REQUEST_TYPES:
            self._add_request(kind, record, times)
        elif kind == "response":
            self.statuses[_whole(record.get("status_code"))] += times

    def _add_request(self, kind: str, record: dict[str, Any], times: int) -> None:
        counts = self.callers.setdefault(str(record.get("caller", "")), collections.Counter())
        code = str(record.get("code", ""))
        if kind == "error":
            times *= max(_whole(record.get("count", 1)), 1)
            self.errors[code, _whole(record.get("status_code"))] += times
            counts["errors"] += times
            if record.get("decision") == "error":
                self.failed += times
            # Of one that had been forwarded a record of type `request` was counted already.
            if "quarantined" in record and code not in _NEVER_SENT:
                return
        else:
            self.scores[_whole(record.get("trust_score"))] += times
            why = (str(record.get("rule", "")), code, str(record.get("reason", "")))
            if kind == "blocked":
                self.blocked[why] += times
                counts["blocked"] += times
            elif kind == "warning":
                self.warned[why] += times
                counts["warned"] += times
        counts["requests"] += times

    def _bound_callers(self) -> None:
        if len(self.callers) > 2 * _MOST_CALLERS:
            by_requests = sorted(
                self.callers.items(), key=lambda item: item[1]["requests"], reverse=True
            )
            self.callers = dict(by_requests[:_MOST_CALLERS])
            self.callers_dropped = True

    def requests(self) -> int:
        """How many requests ended, whatever became of them: each has one record that ends it."""
        types = self.types
        return types["response"] + types["blocked"] + types["warning"] + self.errors.total()


def percentile(buckets: Mapping[int, int], share: float) -> int | None:
    """The bucket in which that percentage of all values, or more, has been reached."""
    total = sum(buckets.values())
    below = 0
    for bucket, count in sorted(buckets.items()):
        below += count
        if below * 100 >= share * total:
            return bucket
    return None


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


@functools.lru_cache(maxsize=4096)
def _value(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        # Cut at its width: only texts are longer.
        text = raw.decode("utf-8", "replace")
        return text[1:].rstrip("\\\ufffd") + "…" if text.startswith('"') else text
