"""Deadlines are kept: never early, at most a tick late, whatever else is armed meanwhile."""

from __future__ import annotations

import gc
import logging
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iatp._fast.wheel import Alarm, Wheel

MS = 1_000_000
SECOND = 1000 * MS
TICK = 50 * MS
T0 = 1_000 * SECOND + 7 * MS


class Bench:
    """A wheel and a clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = T0
        self.wheel = Wheel(T0)
        self.rung: list[tuple[int, int]] = []
        """Number of the alarm and when it was called."""

    def alarm(self, number: int = 0) -> Alarm:
        return Alarm(self.wheel, lambda now_ns: self.rung.append((number, now_ns)))

    def pass_by(self, ns: int, step: int = TICK) -> None:
        until = self.now + ns
        while self.now < until:
            self.now = min(self.now + step, until)
            self.wheel.tick(self.now)


@pytest.mark.parametrize(
    "ms", [1, 43, 44, 49, 50, 51, 100, 4000, 10_000, 75_000, 102_300, 102_400, 102_450, 900_000]
)
def test_it_rings_once_and_at_most_a_tick_late(ms: int) -> None:
    bench = Bench()
    alarm = bench.alarm()
    alarm.arm(T0 + ms * MS)
    assert alarm.deadline_ns == T0 + ms * MS
    bench.pass_by(ms * MS - 1)
    assert bench.rung == []
    bench.pass_by(2 * TICK)
    ((_, rang),) = bench.rung
    assert 0 <= rang - (T0 + ms * MS) <= 2 * TICK
    assert alarm.deadline_ns == 0
    assert not alarm.filed
    bench.pass_by(300 * SECOND)
    assert len(bench.rung) == 1


def test_what_is_over_already_rings_at_the_next_tick() -> None:
    bench = Bench()
    alarm = bench.alarm()
    alarm.arm(T0 - SECOND)
    bench.wheel.tick(T0)
    assert bench.rung == []
    bench.pass_by(TICK)
    assert len(bench.rung) == 1


def test_a_disarmed_one_does_not_ring_and_is_let_go() -> None:
    bench = Bench()
    alarm = bench.alarm()
    alarm.arm(T0 + SECOND)
    alarm.disarm()
    assert alarm.filed
    bench.pass_by(2 * SECOND)
    assert not alarm.filed
    assert bench.rung == []
    alarm.arm(bench.now + SECOND)
    bench.pass_by(2 * SECOND)
    assert len(bench.rung) == 1


def test_a_deadline_may_move_both_ways() -> None:
    bench = Bench()
    alarm = bench.alarm()
    for _ in range(100):
        alarm.arm(bench.now + 30 * SECOND)
        bench.pass_by(SECOND)
        alarm.arm(bench.now + 4 * SECOND)
        bench.pass_by(SECOND)
    assert bench.rung == []
    due = bench.now + 3 * SECOND
    bench.pass_by(10 * SECOND)
    ((_, rang),) = bench.rung
    assert due <= rang <= due + 2 * TICK


def test_a_loop_that_stood_still_is_made_up_for() -> None:
    bench = Bench()
    kept = [bench.alarm(number) for number in range(200)]
    for number, alarm in enumerate(kept):
        alarm.arm(T0 + number * SECOND)
    bench.pass_by(150 * SECOND, step=150 * SECOND)
    assert sorted(number for number, _ in bench.rung) == list(range(151))
    bench.pass_by(50 * SECOND, step=50 * SECOND)
    assert len(bench.rung) == 200


def test_one_that_fails_does_not_keep_the_others(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()

    def fail(now_ns: int) -> None:
        raise LookupError("broken")

    alarms = [bench.alarm(1), Alarm(bench.wheel, fail), bench.alarm(2)]
    for alarm in alarms:
        alarm.arm(T0 + SECOND)
    with caplog.at_level(logging.ERROR, "iatp"):
        bench.pass_by(2 * SECOND)
    assert [number for number, _ in bench.rung] == [1, 2]
    assert "could not be handled" in caplog.text


def test_an_interrupted_tick_is_continued_by_the_next() -> None:
    bench = Bench()

    def interrupt(now_ns: int) -> None:
        raise KeyboardInterrupt

    alarms = [bench.alarm(1), Alarm(bench.wheel, interrupt), bench.alarm(2)]
    for alarm in alarms:
        alarm.arm(T0 + SECOND)
    with pytest.raises(KeyboardInterrupt):
        bench.pass_by(2 * SECOND)
    bench.pass_by(TICK)
    assert [number for number, _ in bench.rung] == [1, 2]


def test_the_wheel_keeps_nothing_alive_and_nothing_breaks_where_it_goes_first() -> None:
    class Ears:
        def hear(self, now_ns: int) -> None:
            raise AssertionError("it went away before")

    bench = Bench()
    ears = Ears()
    gone = weakref.ref(ears)
    alarms = [Alarm(bench.wheel, ears.hear) for _ in range(10)]
    for alarm in alarms:
        alarm.arm(T0 + SECOND)
    del ears, alarm, alarms
    gc.collect()
    assert gone() is None
    bench.pass_by(2 * SECOND)
    # Nodes, wheel and callback in one ring of references, freed in whatever order.
    left: list[object] = []
    left += [Alarm(bench.wheel, left.append), bench.wheel, left]
    assert isinstance(left[0], Alarm)
    left[0].arm(bench.now + SECOND)
    del left, bench
    gc.collect()


def test_whoever_is_called_may_change_everything() -> None:
    bench = Bench()
    alarms: dict[int, Alarm] = {}

    def first(now_ns: int) -> None:
        alarms[1].disarm()
        del alarms[2]
        alarms[3].arm(now_ns + SECOND)
        alarms[4] = bench.alarm(4)
        alarms[4].arm(now_ns)
        alarms[0].arm(now_ns + 2 * SECOND)

    alarms[0] = Alarm(bench.wheel, first)
    for number in (1, 2, 3):
        alarms[number] = bench.alarm(number)
    for number in range(4):
        alarms[number].arm(T0 + SECOND)
    bench.pass_by(int(1.5 * SECOND))
    assert [number for number, _ in bench.rung] == [4]
    bench.pass_by(SECOND)
    assert [number for number, _ in bench.rung] == [4, 3]


def test_what_is_no_deadline_is_refused() -> None:
    alarm = Bench().alarm()
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="monotonic"):
            alarm.arm(wrong)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("arm"), st.integers(0, 4), st.integers(0, 200_000)),
        st.tuples(st.just("disarm"), st.integers(0, 4), st.just(0)),
        st.tuples(st.just("pass"), st.just(0), st.integers(1, 150_000)),
        st.tuples(st.just("replace"), st.integers(0, 4), st.just(0)),
    ),
    max_size=60,
)


@given(STEPS)
@settings(max_examples=300, deadline=None)
def test_it_does_what_a_list_of_deadlines_would(steps: list[tuple[str, int, int]]) -> None:
    bench = Bench()
    alarms = [bench.alarm(number) for number in range(5)]
    deadlines: dict[int, int] = {}
    for what, number, ms in steps:
        if what == "arm":
            deadlines[number] = bench.now + ms * MS + 1
            alarms[number].arm(deadlines[number])
        elif what == "disarm":
            deadlines.pop(number, None)
            alarms[number].disarm()
        elif what == "replace":
            deadlines.pop(number, None)
            alarms[number] = bench.alarm(number)
        else:
            _pass(bench, ms * MS, deadlines)
        for each, alarm in enumerate(alarms):
            assert alarm.deadline_ns == deadlines.get(each, 0)


def _pass(bench: Bench, ns: int, deadlines: dict[int, int]) -> None:
    """Let time go by and check who rang; in one step where it is long."""
    until = bench.now + ns
    step = TICK if ns < 100 * TICK else ns
    while bench.now < until:
        bench.rung = []
        bench.pass_by(min(step, until - bench.now), step=step)
        for number, rang in bench.rung:
            due = deadlines.pop(number)
            assert due <= rang == bench.now
        # Whatever is left is not late by a whole tick at the last tick's time.
        assert all(due > bench.now - TICK for due in deadlines.values())
