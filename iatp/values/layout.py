"""Where each number of the metrics stands in a worker's block of shared memory.

One table of families: name, labels, closed set of series, and the first cell. The compiled
counters read it at import and write the cells; the collector reads it at a scrape and sums
them over the workers. A cell is a signed 64-bit integer in the machine's own order. The
layout holds for one start of the sidecar and is never stored, so it may change freely.
"""

from __future__ import annotations

import enum

import msgspec

from iatp.values.errors import FAILURES
from iatp.values.exchange import FINDINGS
from iatp.values.patterns import MOST_OWN

CELL_BYTES = 8
LINE_BYTES = 128
"""Blocks of different workers never share a line: 64 on x86-64, 128 on Apple's arm64, and
x86-64 fetches lines in pairs."""

DECISIONS = ("allow", "warn", "block", "refuse", "error")
"""X-IATP-Decision of protocol section 2."""

POLICY_RESULTS = ("allow", "warn", "block", "quarantine", "redact", "observe")
"""What the decision table of section 6 came to; quarantine: forwarded on an override."""

OVERRIDE_RESULTS = ("granted", "refused", "invalid")
"""refused: a ticket used before, or the mode is off; invalid: not a valid header at all."""

UPSTREAM_ERRORS = ("connect", "reset", "timeout", "invalid_answer", "breaker_open", "truncated")

CONNECTION_STATES = ("active", "idle", "agent_active", "agent_idle")

STATUSES = (
    *(200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308),
    *(400, 401, 402, 403, 404, 405, 406, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 422),
    *(424, 425, 426, 428, 429, 431, 449, 451, 499, 500, 501, 502, 503, 504, 505, 507, 508),
)
"""Statuses of an agent's answer that are counted singly; others by their class."""

STATUS_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx", "other")

_MICROSECOND = 1_000
_MILLISECOND = 1_000_000
_SECOND = 1_000_000_000

_DURATION_NS = (
    *(n * _MICROSECOND for n in (250, 500)),
    *(n * _MILLISECOND for n in (1, 2, 5, 10, 25, 50, 100, 250, 500)),
    *(n * _SECOND for n in (1, 2, 5, 10, 30, 60, 300, 900)),
)
"""Up to IATP_STREAM_TIMEOUT's default, 15 minutes."""

_OVERHEAD_NS = (
    *(n * _MICROSECOND for n in (25, 50, 75, 100, 150, 250, 500)),
    *(n * _MILLISECOND for n in (1, 2, 5, 10, 25, 50, 100, 250)),
    _SECOND,
)

_CONNECT_NS = (
    *(n * _MICROSECOND for n in (50, 100, 250, 500)),
    *(n * _MILLISECOND for n in (1, 2, 5, 10, 25, 50, 100, 250, 500)),
    *(n * _SECOND for n in (1, 2, 5)),
)
"""Up to the connect deadline, 5 s."""

_LAG_NS = (
    *(n * _MICROSECOND for n in (100, 250, 500)),
    *(n * _MILLISECOND for n in (1, 2, 5, 10, 25, 50, 100, 250, 500)),
    *(n * _SECOND for n in (1, 5)),
)


class Sort(enum.StrEnum):
    """The Prometheus type of a family."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """One metric: its name, its closed set of series and its cells."""

    name: str
    """As exposed; a counter's ends in _total."""
    sort: Sort
    meaning: str
    labels: tuple[str, ...] = ()
    series: tuple[tuple[str, ...], ...] = ((),)
    """Label values, one tuple a series, in the order of the cells; histograms have one."""
    own: int = 0
    """Cells behind those of `series`, for the names of a policy's own patterns."""
    bounds: tuple[int, ...] = ()
    """Upper bounds of a histogram's buckets, inclusive, in the unit of its cells. One bucket
    more, without a bound, follows them; then the sum."""
    units: int = 1
    """How many of the cells' units make one of the exposed unit: 10**9 where cells are ns."""
    at: int = 0
    """First cell."""

    @property
    def cells(self) -> int:
        """How many cells the family takes."""
        return len(self.bounds) + 2 if self.bounds else len(self.series) + self.own


def _seconds(name: str, meaning: str, bounds: tuple[int, ...]) -> Family:
    return Family(name=name, sort=Sort.HISTOGRAM, meaning=meaning, bounds=bounds, units=_SECOND)


def _counter(name: str, meaning: str, label: str = "", values: tuple[str, ...] = ()) -> Family:
    return _cells(Sort.COUNTER, name, meaning, label, values)


def _findings(name: str, meaning: str) -> Family:
    return msgspec.structs.replace(_counter(name, meaning, "kind", FINDINGS), own=MOST_OWN)


def _gauge(name: str, meaning: str, label: str = "", values: tuple[str, ...] = ()) -> Family:
    return _cells(Sort.GAUGE, name, meaning, label, values)


def _cells(sort: Sort, name: str, meaning: str, label: str, values: tuple[str, ...]) -> Family:
    if not label:
        return Family(name=name, sort=sort, meaning=meaning)
    return Family(
        name=name,
        sort=sort,
        meaning=meaning,
        labels=(label,),
        series=tuple((value,) for value in values),
    )


def _request_series() -> tuple[tuple[str, str], ...]:
    """Pairs of decision and status that can be counted.

    Not the whole product: what the sidecar answers itself has its own few statuses, and a
    series that can never move is a cost to every Prometheus that scrapes it.
    """
    refusals = sorted({failure.status for failure in FAILURES.values()})
    statuses = {
        "allow": (*STATUSES, *STATUS_CLASSES),
        "warn": (449, "other"),
        "block": (403, "other"),
        "refuse": (*refusals, "other"),
        "error": (*refusals, "other"),
    }
    return tuple((decision, str(status)) for decision in DECISIONS for status in statuses[decision])


def _placed(families: tuple[Family, ...]) -> dict[str, Family]:
    placed: dict[str, Family] = {}
    at = 0
    for family in families:
        placed[family.name] = msgspec.structs.replace(family, at=at)
        at += family.cells
    return placed


FAMILIES = _placed(
    (
        Family(
            name="iatp_requests_total",
            sort=Sort.COUNTER,
            meaning="Requests to /proxy by how they were decided and the status of the answer.",
            labels=("decision", "status"),
            series=_request_series(),
        ),
        _seconds(
            "iatp_request_duration_seconds",
            "From the complete request to the last byte of the answer.",
            _DURATION_NS,
        ),
        _seconds(
            "iatp_overhead_seconds",
            "The sidecar's own share of a request: what is left without the agent.",
            _OVERHEAD_NS,
        ),
        _seconds(
            "iatp_upstream_duration_seconds",
            "From the request's first byte to the agent to the answer's last.",
            _DURATION_NS,
        ),
        _seconds(
            "iatp_upstream_connect_seconds",
            "To open a connection to the agent.",
            _CONNECT_NS,
        ),
        _seconds(
            "iatp_event_loop_lag_seconds",
            "How late a worker's timer fired: what everything on that loop waits.",
            _LAG_NS,
        ),
        Family(
            name="iatp_trust_score_distribution",
            sort=Sort.HISTOGRAM,
            meaning="The agent's trust score as it stood at each decided request.",
            bounds=tuple(range(11)),
        ),
        _counter(
            "iatp_policy_evaluations_total",
            "Requests that reached the decision table, by what it said.",
            "result",
            POLICY_RESULTS,
        ),
        _findings("iatp_findings_total", "Values found in requests."),
        _findings("iatp_answer_findings_total", "Values found in the agent's answers."),
        _counter(
            "iatp_overrides_total",
            "Requests that carried X-User-Override, by what came of it.",
            "result",
            OVERRIDE_RESULTS,
        ),
        _counter("iatp_quarantined_total", "Requests forwarded on an override."),
        _counter(
            "iatp_upstream_errors_total",
            "What went wrong between the sidecar and the agent.",
            "reason",
            UPSTREAM_ERRORS,
        ),
        _counter("iatp_records_written_total", "Records written to the flight recorder."),
        _counter("iatp_records_lost_total", "Records that the disk refused."),
        _gauge("iatp_recorder_failing", "Workers whose flight recorder cannot write."),
        _gauge("iatp_inflight", "Requests that the agent works on."),
        _gauge("iatp_queued", "Requests that wait for the agent."),
        _gauge(
            "iatp_connections",
            "Open connections: of callers (active, idle) and to the agent (agent_*).",
            "state",
            CONNECTION_STATES,
        ),
        _gauge("iatp_buffered_bytes", "Bytes of bodies held in memory."),
    )
)
"""All families that workers count, by name, in the order in which they are exposed."""

CELLS = sum(family.cells for family in FAMILIES.values())

GAUGES = tuple(family for family in FAMILIES.values() if family.sort is Sort.GAUGE)
"""What ends with the worker that counted it; everything else outlives it."""


class Row(enum.IntEnum):
    """Cells of a worker's row in the table of workers."""

    PID = 0
    """0: no such process."""
    STATE = 1
    STARTS = 2
    """How often this worker was started; above 1 it has died and was replaced."""
    HELD = 3
    """Concurrency slots that it holds, as it says itself; the slots' own cells are the truth."""
    WAITING = 4
    """Requests that wait in its queue for a slot."""


ROW_BYTES = LINE_BYTES
"""A row to a line, so that HELD of one worker does not slow that of another."""


class WorkerState(enum.IntEnum):
    """What a worker is doing."""

    ABSENT = 0
    STARTING = 1
    READY = 2
    DRAINING = 3


MAX_WORKERS = 254
"""A slot's cell is one byte: 0 for free, else the worker's number plus 1."""

MAX_SLOTS = 1 << 20
"""A concurrency limit above this is kept as if it were this."""

RATE_WINDOWS_NS = (_SECOND, 60 * _SECOND, 3600 * _SECOND)
"""requests_per_second, requests_per_minute, requests_per_hour."""

RATE_BUCKETS = 8192
RATE_WAYS = 15
"""Callers of one bucket. 8,192 × 15 callers in 4 MiB, of which only what is used is resident:
with 50,000 callers in debt at once, 3 buckets of 10,000 have more than 15 of them."""

RATE_BUCKET_WORDS = (RATE_WAYS + 1) * (1 + len(RATE_WINDOWS_NS))
"""Per bucket: the lock and the callers' numbers, then for each window the floor and the
callers' times."""
