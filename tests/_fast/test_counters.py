"""The compiled counters and the layout agree: each count moves its own cell and no other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iatp._fast.counters import Counters, labels
from iatp.values import layout
from iatp.values.errors import FAILURES
from iatp.values.exchange import FINDINGS
from iatp.values.layout import CELL_BYTES, CELLS, FAMILIES
from iatp.values.patterns import MOST_OWN

GUARD = 16


class Block:
    """A block with guard cells on both sides, which nothing may touch."""

    def __init__(self) -> None:
        whole = memoryview(bytearray((CELLS + 2 * GUARD) * CELL_BYTES))
        self._all = whole.cast("q")
        self.counters = Counters(whole[GUARD * CELL_BYTES : -GUARD * CELL_BYTES])

    def moved(self) -> dict[int, int]:
        """What is not 0, by cell."""
        found = {at - GUARD: value for at, value in enumerate(self._all) if value}
        assert all(0 <= at < CELLS for at in found)
        return found


def at(name: str, *series: str) -> int:
    family = FAMILIES[name]
    return family.at + family.series.index(series)


def test_the_compiled_labels_are_those_of_the_layout() -> None:
    expected = {
        "Decision": layout.DECISIONS,
        "Policy": layout.POLICY_RESULTS,
        "Override": layout.OVERRIDE_RESULTS,
        "UpstreamError": layout.UPSTREAM_ERRORS,
        "ConnectionState": layout.CONNECTION_STATES,
    }
    assert labels() == {
        kind: tuple((name.upper(), number) for number, name in enumerate(names))
        for kind, names in expected.items()
    }


def test_families_lie_one_behind_the_other() -> None:
    end = 0
    for name, family in FAMILIES.items():
        assert family.name == name
        assert family.at == end
        end += family.cells
    assert end == CELLS


def _single() -> Iterator[tuple[Callable[[Counters], None], int, int]]:
    for decision, status in FAMILIES["iatp_requests_total"].series:
        if status.isdigit():
            yield (
                lambda c, d=decision, s=int(status): c.count_request(d, s),
                at("iatp_requests_total", decision, status),
                1,
            )
    for result in layout.POLICY_RESULTS:
        cell = at("iatp_policy_evaluations_total", result)
        yield lambda c, r=result: c.count_policy(r), cell, 1
    for kind in FINDINGS:
        cell = at("iatp_findings_total", kind)
        yield lambda c, k=kind: c.count_findings(k, 3), cell, 3
        cell = at("iatp_answer_findings_total", kind)
        yield lambda c, k=kind: c.count_answer_findings(k, 3), cell, 3
    for result in layout.OVERRIDE_RESULTS:
        cell = at("iatp_overrides_total", result)
        yield lambda c, r=result: c.count_override(r), cell, 1
    for reason in layout.UPSTREAM_ERRORS:
        cell = at("iatp_upstream_errors_total", reason)
        yield lambda c, r=reason: c.count_upstream_error(r), cell, 1
    for state in layout.CONNECTION_STATES:
        cell = at("iatp_connections", state)
        yield lambda c, s=state: c.add_connections(s, -2), cell, -2
    yield lambda c: c.count_quarantined(), at("iatp_quarantined_total"), 1
    yield lambda c: c.count_records(9), at("iatp_records_written_total"), 9
    yield lambda c: c.count_records_lost(8), at("iatp_records_lost_total"), 8
    yield lambda c: c.add_recorder_failing(1), at("iatp_recorder_failing"), 1
    yield lambda c: c.add_inflight(1), at("iatp_inflight"), 1
    yield lambda c: c.add_queued(-1), at("iatp_queued"), -1
    yield lambda c: c.add_buffered(1 << 40), at("iatp_buffered_bytes"), 1 << 40


def test_each_count_moves_its_own_cell_and_no_other() -> None:
    cells = set()
    for count, cell, value in _single():
        block = Block()
        count(block.counters)
        assert block.moved() == {cell: value}
        cells.add(cell)
    # All families but the histograms, the classes of statuses and the cells of a policy's own
    # patterns were met.
    classes = {
        at("iatp_requests_total", *series)
        for series in FAMILIES["iatp_requests_total"].series
        if not series[1].isdigit()
    }
    histograms = {
        cell
        for family in FAMILIES.values()
        if family.sort is layout.Sort.HISTOGRAM
        for cell in range(family.at, family.at + family.cells)
    }
    own = {
        cell
        for family in FAMILIES.values()
        for cell in range(family.at + len(family.series), family.at + family.cells)
        if family.own
    }
    assert len(own) == 2 * MOST_OWN
    assert cells | classes | histograms | own == set(range(CELLS))


@pytest.mark.parametrize(
    ("decision", "status", "series"),
    [
        ("allow", 203, "2xx"),
        ("allow", 299, "2xx"),
        ("allow", 418, "4xx"),
        ("allow", 599, "5xx"),
        ("allow", 100, "1xx"),
        ("allow", 305, "3xx"),
        ("allow", 99, "other"),
        ("allow", 600, "other"),
        ("allow", 999, "other"),
        ("allow", 0, "other"),
        ("allow", -1, "other"),
        ("allow", 2**31 - 1, "other"),
        ("allow", -(2**31), "other"),
        ("warn", 200, "other"),
        ("block", 449, "other"),
        ("refuse", 200, "other"),
        ("error", 418, "other"),
    ],
)
def test_statuses_without_a_series_of_their_own(decision: str, status: int, series: str) -> None:
    block = Block()
    block.counters.count_request(decision, status)
    assert block.moved() == {at("iatp_requests_total", decision, series): 1}


def test_every_failure_has_its_own_series() -> None:
    for failure in FAILURES.values():
        block = Block()
        block.counters.count_request(failure.decision, failure.status)
        cell = at("iatp_requests_total", failure.decision, str(failure.status))
        assert block.moved() == {cell: 1}


@pytest.mark.parametrize(
    "count",
    [
        lambda c: c.count_request("forward", 200),
        lambda c: c.count_policy("refuse"),
        lambda c: c.count_findings("name"),
        lambda c: c.count_override(""),
        lambda c: c.count_upstream_error("dns"),
        lambda c: c.add_connections("open", 1),
    ],
)
def test_an_unknown_label_is_an_error_and_counts_nothing(
    count: Callable[[Counters], None],
) -> None:
    block = Block()
    with pytest.raises(ValueError, match="not in tuple"):
        count(block.counters)
    assert block.moved() == {}


TIMED = {
    "iatp_request_duration_seconds": Counters.time_request,
    "iatp_overhead_seconds": Counters.time_overhead,
    "iatp_upstream_duration_seconds": Counters.time_upstream,
    "iatp_upstream_connect_seconds": Counters.time_connect,
    "iatp_event_loop_lag_seconds": Counters.time_loop_lag,
}


def expected(name: str, value: int) -> dict[int, int]:
    family = FAMILIES[name]
    bucket = sum(1 for bound in family.bounds if bound < value)
    cells = {family.at + bucket: 1, family.at + family.cells - 1: value}
    return {cell: number for cell, number in cells.items() if number}


@pytest.mark.parametrize("name", TIMED)
def test_bounds_are_inclusive(name: str) -> None:
    for bound in FAMILIES[name].bounds:
        for value in (bound - 1, bound, bound + 1):
            block = Block()
            TIMED[name](block.counters, value / 1000)
            assert block.moved() == expected(name, value)


@given(name=st.sampled_from(sorted(TIMED)), ns=st.integers(0, 10**15))
def test_any_duration(name: str, ns: int) -> None:
    block = Block()
    TIMED[name](block.counters, ns / 1000)
    assert block.moved() == expected(name, ns)


@pytest.mark.parametrize("name", TIMED)
@pytest.mark.parametrize(
    ("us", "ns"),
    [(-1.0, 0), (-math.inf, 0), (math.nan, 0), (-0.0, 0), (math.inf, 2**53), (1e300, 2**53)],
)
def test_a_clock_gone_wrong(name: str, us: float, ns: int) -> None:
    block = Block()
    TIMED[name](block.counters, us)
    assert block.moved() == expected(name, ns)


@pytest.mark.parametrize("score", range(11))
def test_trust_scores(score: int) -> None:
    block = Block()
    block.counters.count_trust(score)
    assert block.moved() == expected("iatp_trust_score_distribution", score)


@pytest.mark.parametrize(("score", "counted"), [(-1, 0), (11, 10), (2**31 - 1, 10)])
def test_trust_scores_out_of_range(score: int, counted: int) -> None:
    block = Block()
    block.counters.count_trust(score)
    assert block.moved() == expected("iatp_trust_score_distribution", counted)


def test_overhead_begins_at_25_microseconds() -> None:
    assert FAMILIES["iatp_overhead_seconds"].bounds[0] == 25_000


def test_bounds_rise() -> None:
    for family in FAMILIES.values():
        assert list(family.bounds) == sorted(set(family.bounds))


def test_counts_add_up() -> None:
    block = Block()
    for _ in range(1000):
        block.counters.count_request("allow", 200)
        block.counters.add_inflight(1)
        block.counters.add_inflight(-1)
    assert block.moved() == {at("iatp_requests_total", "allow", "200"): 1000}


def test_a_block_too_small() -> None:
    with pytest.raises(ValueError, match="cells"):
        Counters(bytearray(CELLS * CELL_BYTES - 1))


def test_a_block_between_cells() -> None:
    with pytest.raises(ValueError, match="aligned"):
        Counters(memoryview(bytearray(CELLS * CELL_BYTES + 1))[1:])


def test_a_block_that_cannot_be_written() -> None:
    with pytest.raises((BufferError, ValueError), match=r"read-only|not writable|writable"):
        Counters(bytes(CELLS * CELL_BYTES))
