"""Concurrency slots and rate limits, over real processes that compete and die."""

from __future__ import annotations

import os
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iatp._fast.limits import RateLimiter, Slots, caller_key, reclaim, siphash_of
from iatp.adapters.shared_memory import SharedMemory
from iatp.values.layout import RATE_BUCKET_WORDS, RATE_WAYS, ROW_BYTES, Row
from tests import forks

SECOND = 1_000_000_000
T0 = 1_000 * SECOND


def slots(memory: SharedMemory, worker: int) -> Slots:
    views = memory.attach(worker)
    return Slots(views.slots, views.rows, worker)


def held(memory: SharedMemory, worker: int) -> int:
    """What the cells say."""
    return bytes(memory.attach(0).slots).count(worker + 1)


def limiter(memory: SharedMemory, worker: int = 0, **limits: int) -> RateLimiter:
    views = memory.attach(worker)
    return RateLimiter(views.rates, views.rate_key, worker, **limits)


class TestSlots:
    @pytest.mark.parametrize("limit", [1, 2, 7, 100, 5000])
    def test_the_limit_is_reached_and_kept(self, limit: int) -> None:
        memory = SharedMemory(2, limit)
        first, second = slots(memory, 0), slots(memory, 1)
        assert first.limit == limit
        cells = [(first if n % 2 else second).try_acquire() for n in range(limit)]
        assert sorted(cells) == list(range(limit))
        assert first.try_acquire() == -1
        assert second.try_acquire() == -1
        assert first.held() + second.held() == limit
        for n, cell in enumerate(cells):
            assert (first if n % 2 else second).release(cell) is False
        assert first.held() == second.held() == 0
        assert sum(first.try_acquire() >= 0 for _ in range(limit + 1)) == limit

    def test_the_cell_released_last_is_taken_first(self) -> None:
        one = slots(SharedMemory(1, 1000), 0)
        cells = [one.try_acquire() for _ in range(5)]
        for cell in cells:
            one.release(cell)
        assert [one.try_acquire() for _ in range(5)] == cells[::-1]

    def test_more_releases_than_are_remembered(self) -> None:
        memory = SharedMemory(1, 1000)
        one = slots(memory, 0)
        cells = [one.try_acquire() for _ in range(1000)]
        for cell in cells:
            one.release(cell)
        assert sorted(one.try_acquire() for _ in range(1000)) == list(range(1000))
        assert one.try_acquire() == -1

    @pytest.mark.parametrize("cell", [-1, -(2**31), 0, 9, 10, 2**31 - 1])
    def test_a_cell_that_is_not_held_is_left_alone(self, cell: int) -> None:
        memory = SharedMemory(2, 10)
        mine, other = slots(memory, 0), slots(memory, 1)
        for _ in range(10):
            other.try_acquire()
        assert mine.release(cell) is False
        assert (mine.held(), held(memory, 0)) == (0, 0)
        assert (other.held(), held(memory, 1)) == (10, 10)

    def test_released_twice(self) -> None:
        memory = SharedMemory(1, 2)
        one = slots(memory, 0)
        cell = one.try_acquire()
        one.release(cell)
        one.release(cell)
        assert one.held() == 0
        assert sum(one.try_acquire() >= 0 for _ in range(3)) == 2

    def test_unknown_worker(self) -> None:
        views = SharedMemory(2, 1).attach(0)
        for worker in (-1, 2):
            with pytest.raises(ValueError, match="of 2"):
                Slots(views.slots, views.rows, worker)
            with pytest.raises(ValueError, match="of 2"):
                reclaim(views.slots, views.rows, worker)

    def test_four_processes_never_exceed_the_limit(self) -> None:
        """Each marks the cell that it holds; a mark already there would be a second holder."""
        limit = 5
        memory = SharedMemory(4, limit)
        marks = SharedMemory(1, limit).attach(0).slots
        with forks.gate() as (wait, open_):

            def work(worker: int) -> None:
                own = slots(memory, worker)
                chance = random.Random(worker)
                wait()
                until = time.monotonic() + 0.5
                mine: list[int] = []
                taken = refused = 0
                while time.monotonic() < until or mine:
                    if mine and (chance.random() < 0.5 or time.monotonic() >= until):
                        cell = mine.pop(chance.randrange(len(mine)))
                        assert marks[cell] == worker + 1
                        marks[cell] = 0
                        own.release(cell)
                    else:
                        cell = own.try_acquire()
                        if cell < 0:
                            refused += 1
                            continue
                        assert marks[cell] == 0
                        marks[cell] = worker + 1
                        taken += 1
                        mine.append(cell)
                        assert own.held() == len(mine) <= limit
                assert taken > 100
                assert refused > 0

            pids = [forks.start(lambda worker=worker: work(worker)) for worker in range(4)]
            open_()
            forks.join(*pids)
        assert bytes(memory.attach(0).slots) == bytes(limit)
        assert [slots(memory, worker).held() for worker in range(4)] == [0] * 4

    def test_a_killed_workers_slots_are_given_back_and_no_others(self) -> None:
        memory = SharedMemory(2, 50)
        mine = slots(memory, 0)
        kept = {mine.try_acquire() for _ in range(7)}
        ready, tell = os.pipe()

        def work() -> None:
            own = slots(memory, 1)
            for _ in range(20):
                own.try_acquire()
            own.waiting(3)
            os.write(tell, b"x")
            # Killed anywhere in here.
            while True:
                own.release(own.try_acquire())

        pid = forks.start(work)
        assert os.read(ready, 1) == b"x"
        os.close(ready)
        os.close(tell)
        time.sleep(0.02)
        forks.kill(pid)
        views = memory.attach(0)
        assert mine.others_waiting()
        assert reclaim(views.slots, views.rows, 1) in (20, 21)
        assert reclaim(views.slots, views.rows, 1) == 0
        assert held(memory, 1) == 0
        assert slots(memory, 1).held() == 0
        assert not mine.others_waiting()
        assert held(memory, 0) == mine.held() == 7
        fresh = {mine.try_acquire() for _ in range(43)}
        assert fresh | kept == set(range(50))

    def test_killed_at_any_moment_20_times(self) -> None:
        """Whatever instruction it died at: after `reclaim` every slot can be had again."""
        memory = SharedMemory(2, 8)
        views = memory.attach(0)
        mine = slots(memory, 0)
        chance = random.Random(7)
        for _ in range(20):

            def work() -> None:
                own = slots(memory, 1)
                while True:
                    cells = [own.try_acquire() for _ in range(5)]
                    for cell in cells:
                        own.release(cell)

            pid = forks.start(work)
            time.sleep(chance.random() * 0.01)
            forks.kill(pid)
            assert 0 <= reclaim(views.slots, views.rows, 1) <= 5
            cells = [mine.try_acquire() for _ in range(8)]
            assert sorted(cells) == list(range(8))
            for cell in cells:
                mine.release(cell)


class TestFairness:
    """Rules of `release` in limits.pxd."""

    def test_nobody_else_waits(self) -> None:
        memory = SharedMemory(2, 4)
        one = slots(memory, 0)
        cells = [one.try_acquire() for _ in range(4)]
        one.waiting(5)
        assert not one.others_waiting()
        assert [one.release(cell) for cell in cells] == [False] * 4

    def test_above_its_share_it_gives_at_its_share_it_keeps(self) -> None:
        memory = SharedMemory(3, 6)
        one, two = slots(memory, 0), slots(memory, 1)
        cells = [one.try_acquire() for _ in range(6)]
        two.waiting(1)
        assert one.others_waiting()
        # The third worker neither holds nor waits: shares are 3 and 3.
        assert [one.is_for_others() for _ in range(2)] == [True, True]
        assert [one.release(cell) for cell in cells] == [True] * 3 + [False] * 3

    def test_an_idle_holder_counts_as_active(self) -> None:
        memory = SharedMemory(3, 6)
        one, two, three = (slots(memory, worker) for worker in range(3))
        assert three.try_acquire() >= 0
        cells = [one.try_acquire() for _ in range(5)]
        two.waiting(1)
        assert [one.release(cell) for cell in cells] == [True] * 3 + [False] * 2

    def test_a_waiting_that_ended(self) -> None:
        memory = SharedMemory(2, 2)
        one, two = slots(memory, 0), slots(memory, 1)
        cell = one.try_acquire()
        one.try_acquire()
        two.waiting(2)
        two.waiting(-2)
        assert one.release(cell) is False

    @given(
        limit=st.integers(1, 40),
        loads=st.lists(st.integers(1, 60), min_size=2, max_size=6),
        seed=st.integers(0, 2**32),
    )
    @settings(max_examples=60, deadline=None)
    def test_everybody_comes_to_a_share(self, limit: int, loads: list[int], seed: int) -> None:
        """Every worker always has more to do than it is given.

        The first took all before the others came. In rounds of random order each worker ends
        one request, obeys `release`, and tries for its queue; then nobody whose queue waits
        holds less than limit / workers, rounded down, and nobody starved.
        """
        memory = SharedMemory(len(loads), limit)
        workers = [slots(memory, worker) for worker in range(len(loads))]
        mine: list[list[int]] = [[] for _ in workers]
        served = [0] * len(workers)
        chance = random.Random(seed)

        def pull(n: int) -> None:
            while len(mine[n]) < loads[n] and (cell := workers[n].try_acquire()) >= 0:
                mine[n].append(cell)
                served[n] += 1

        pull(0)
        for worker in workers:
            worker.waiting(1)
        order = list(range(len(workers)))
        # So many that chance alone leaves nobody out.
        for _ in range(limit * 3 + 60 * len(workers)):
            chance.shuffle(order)
            for n in order:
                give = bool(mine[n]) and workers[n].release(mine[n].pop(0))
                if not give:
                    pull(n)
        share = limit // len(workers)
        assert all(
            len(cells) >= min(share, load) - 1 for cells, load in zip(mine, loads, strict=True)
        )
        assert all(served)

    def test_two_processes_share_one_slot(self) -> None:
        """A limit of 1, two workers that always have more to do: both get on."""
        memory = SharedMemory(2, 1)
        with forks.gate() as (wait, open_):

            def work(worker: int) -> None:
                own = slots(memory, worker)
                own.waiting(1)
                wait()
                served = 0
                until = time.monotonic() + 0.5
                cell = -1
                while time.monotonic() < until:
                    cell = own.try_acquire()
                    if cell >= 0:
                        served += 1
                        if own.release(cell):
                            time.sleep(0.001)  # The next tick.
                    else:
                        time.sleep(0.0005)
                own.waiting(-1)
                assert served > 20

            pids = [forks.start(lambda worker=worker: work(worker)) for worker in range(2)]
            open_()
            forks.join(*pids)


class Gcra:
    """The twin: one caller, as limits.pxd says it, in exact fractions of a window."""

    def __init__(self, windows: list[tuple[int, int, int]]) -> None:
        self.windows = [(-(-length // limit), at_once) for limit, length, at_once in windows]
        self.until = [0] * len(windows)

    def check(self, now: int) -> int:
        wait = 0
        for (interval, at_once), until in zip(self.windows, self.until, strict=True):
            wait = max(wait, max(until, now) - interval * (at_once - 1) - now)
        if wait:
            return -(-wait // SECOND)
        self.until = [
            max(until, now) + interval
            for (interval, _), until in zip(self.windows, self.until, strict=True)
        ]
        return 0


class TestRateLimiter:
    def test_no_limit_set(self) -> None:
        off = limiter(SharedMemory(1, 1))
        assert not off.is_on()
        assert [off.check(b"a", T0) for _ in range(1000)] == [0] * 1000

    @pytest.mark.parametrize(
        ("limits", "allowed", "retry_after_s"),
        [
            ({"per_second": 1}, 1, 1),
            ({"per_second": 10}, 10, 1),
            ({"per_minute": 60}, 60, 1),
            ({"per_minute": 6}, 6, 10),
            ({"per_minute": 7}, 7, 9),
            ({"per_hour": 1}, 1, 3600),
            ({"per_hour": 100}, 100, 36),
            ({"per_second": 10, "per_minute": 4}, 4, 15),
            ({"per_second": 2, "per_minute": 100}, 2, 1),
            ({"per_minute": 60, "burst": 5}, 5, 1),
            ({"per_second": 10, "burst": 25}, 25, 1),
            ({"per_second": 10, "per_minute": 20, "burst": 25}, 20, 3),
            ({"burst": 3}, 3, 1),
        ],
    )
    def test_so_many_at_once_and_not_one_more(
        self, limits: dict[str, int], allowed: int, retry_after_s: int
    ) -> None:
        one = limiter(SharedMemory(1, 1), **limits)
        assert one.is_on()
        assert [one.check(b"a", T0) for _ in range(allowed)] == [0] * allowed
        assert one.check(b"a", T0) == retry_after_s
        # Refusals don't count: after just that time there is one again, and only one.
        assert one.check(b"a", T0 + retry_after_s * SECOND) == 0

    def test_a_quiet_caller_has_all_again(self) -> None:
        one = limiter(SharedMemory(1, 1), per_minute=10)
        for start in (T0, T0 + 60 * SECOND, T0 + 10_000 * SECOND):
            assert [one.check(b"a", start) for _ in range(11)] == [0] * 10 + [6]

    def test_it_refills_one_by_one(self) -> None:
        one = limiter(SharedMemory(1, 1), per_minute=6)
        for _ in range(6):
            one.check(b"a", T0)
        assert one.check(b"a", T0 + 10 * SECOND - 1) == 1
        assert one.check(b"a", T0 + 10 * SECOND) == 0
        assert one.check(b"a", T0 + 10 * SECOND) == 10
        assert [one.check(b"a", T0 + 40 * SECOND) for _ in range(4)] == [0, 0, 0, 10]

    def test_what_one_window_refuses_no_other_counts(self) -> None:
        one = limiter(SharedMemory(1, 1), per_second=1, per_hour=3)
        assert one.check(b"a", T0) == 0
        assert [one.check(b"a", T0) for _ in range(50)] == [1] * 50
        assert one.check(b"a", T0 + SECOND) == 0
        assert one.check(b"a", T0 + 2 * SECOND) == 0
        assert one.check(b"a", T0 + 3 * SECOND) == 1197

    def test_callers_are_apart(self) -> None:
        one = limiter(SharedMemory(1, 1), per_minute=1)
        callers = [b"4" + n.to_bytes(4, "big") for n in range(2000)]
        assert [one.check(caller, T0) for caller in callers] == [0] * 2000
        assert [one.check(caller, T0) for caller in callers] == [60] * 2000

    def test_less_than_twice_the_limit_in_any_window(self) -> None:
        one = limiter(SharedMemory(1, 1), per_minute=10)
        times = [T0 + n * SECOND // 10 for n in range(3000)]
        allowed = [now for now in times if one.check(b"a", now) == 0]
        for start in allowed:
            assert sum(start <= now < start + 60 * SECOND for now in allowed) < 20

    def test_a_clock_that_steps_back_gives_nothing(self) -> None:
        one = limiter(SharedMemory(1, 1), per_minute=2)
        times = (T0, T0 - SECOND, T0 - 40 * SECOND, T0)
        assert [one.check(b"a", now) for now in times] == [0, 1, 40, 0]

    @pytest.mark.parametrize("limits", [{"per_second": 0}, {"per_hour": -1}, {"burst": 0}])
    def test_a_limit_below_one(self, limits: dict[str, int]) -> None:
        with pytest.raises(ValueError, match="at least 1"):
            limiter(SharedMemory(1, 1), **limits)

    def test_the_largest_limits(self) -> None:
        huge = limiter(SharedMemory(1, 1), per_second=2**60, per_hour=2**60, burst=2**60)
        assert [huge.check(b"a", T0) for _ in range(100)] == [0] * 100

    @given(
        limits=st.fixed_dictionaries(
            {},
            optional={
                "per_second": st.integers(1, 20),
                "per_minute": st.integers(1, 100),
                "per_hour": st.integers(1, 300),
                "burst": st.integers(1, 50),
            },
        ).filter(len),
        gaps=st.lists(
            st.one_of(st.just(0), st.integers(0, SECOND), st.integers(0, 400 * SECOND)),
            min_size=1,
            max_size=120,
        ),
    )
    @settings(max_examples=100, deadline=None)
    def test_equals_the_twin(self, limits: dict[str, int], gaps: list[int]) -> None:
        burst = limits.get("burst")
        windows = [
            (limits[name], length * SECOND)
            for name, length in (("per_second", 1), ("per_minute", 60), ("per_hour", 3600))
            if name in limits
        ] or [(limits["burst"], SECOND)]
        twin = Gcra(
            [
                (limit, length, burst if burst and n == 0 else limit)
                for n, (limit, length) in enumerate(windows)
            ]
        )
        one = limiter(SharedMemory(1, 1), **limits)
        now = T0
        for gap in gaps:
            now += gap
            assert one.check(b"a", now) == twin.check(now)

    @pytest.mark.parametrize(("callers", "limit"), [(1, 200_000), (20, 1000)])
    def test_two_processes_allow_exactly_the_limit(self, callers: int, limit: int) -> None:
        """Twice as many as allowed, of one caller or of several, as fast as both can."""
        for _ in range(10):
            allowed = self.contest(callers, limit)
            assert allowed.sums()[:callers] == [limit] * callers
            # On a busy machine one may be done before the other begins: then they try again.
            if all(any(allowed.attach(worker).counters.cast("q")) for worker in range(2)):
                return
        pytest.fail("they never competed")

    def contest(self, callers: int, limit: int) -> SharedMemory:
        """What two processes allowed, each in its block of counters."""
        memory = SharedMemory(2, 1)
        names = [bytes([n]) for n in range(callers)]
        allowed = SharedMemory(2, 1)
        with forks.gate() as (wait, open_):

            def work(worker: int) -> None:
                own = limiter(memory, worker, per_hour=limit, per_minute=limit)
                counts = allowed.attach(worker).counters.cast("q")
                wait()
                for _ in range(limit):
                    for n, name in enumerate(names):
                        counts[n] += own.check(name, T0) == 0

            pids = [forks.start(lambda worker=worker: work(worker)) for worker in range(2)]
            open_()
            forks.join(*pids)
        return allowed

    def test_a_worker_killed_under_the_lock_stops_nobody(self) -> None:
        """Every lock is held by a process that is gone: each is taken over once, in time."""
        memory = SharedMemory(2, 1)
        one = limiter(memory, 0, per_minute=1)
        words = memory.attach(0).rates.cast("q")
        for bucket in range(0, len(words), RATE_BUCKET_WORDS):
            words[bucket] = 2 + 256 * 99
        begin = time.monotonic()
        assert one.check(b"a", T0) == 0
        waited = time.monotonic() - begin
        assert 0.005 <= waited < 1
        begin = time.monotonic()
        assert one.check(b"a", T0) == 60
        assert time.monotonic() - begin < 0.005

    def test_killed_at_any_moment(self) -> None:
        memory = SharedMemory(2, 1)
        one = limiter(memory, 0, per_second=5)
        for n in range(10):

            def work() -> None:
                own = limiter(memory, 1, per_second=5)
                for now in range(T0, T0 + 10**12):
                    own.check(b"a", now)

            pid = forks.start(work)
            time.sleep(0.002 * (n % 4))
            forks.kill(pid)
            quiet = T0 + (n + 1) * 5000 * SECOND
            assert [one.check(b"a", quiet) for _ in range(6)] == [0] * 5 + [1]


class TestFullTable:
    """A table of one bucket: all callers meet in it, as an attacker could only wish."""

    def small(self, **limits: int) -> RateLimiter:
        return RateLimiter(bytearray(RATE_BUCKET_WORDS * 8), bytes(16), 0, **limits)

    def test_a_limited_caller_does_not_get_through_by_being_forgotten(self) -> None:
        one = self.small(per_minute=10)
        for _ in range(10):
            assert one.check(b"limited", T0) == 0
        chance = random.Random(3)
        for second in range(5):
            now = T0 + second * SECOND
            for _ in range(500):
                one.check(chance.randbytes(5), now)
            assert one.check(b"limited", now) > 0

    @pytest.mark.parametrize("others", [5, 20, 256])
    @pytest.mark.parametrize("per_minute", [1, 5, 30])
    def test_never_more_than_its_limit_whatever_the_others_do(
        self, others: int, per_minute: int
    ) -> None:
        """Its requests allowed are at most those that it alone would be allowed."""
        chance = random.Random(5)
        one = self.small(per_minute=per_minute, per_hour=100)
        twin = Gcra([(per_minute, 60 * SECOND, per_minute), (100, 3600 * SECOND, 100)])
        now = T0
        through = alone = 0
        for _ in range(3000):
            now += chance.randrange(SECOND)
            if chance.random() < 0.2:
                through += one.check(b"watched", now) == 0
                alone += twin.check(now) == 0
                assert through <= alone
            else:
                one.check(b"%d" % chance.randrange(others), now)
        assert alone > 20
        if others < RATE_WAYS:
            assert through == alone

    def test_addresses_whose_debts_are_paid_take_nothing_from_a_newcomer(self) -> None:
        one = self.small(per_minute=5)
        for n in range(1000):
            one.check(b"%d" % n, T0)
        later = T0 + 3600 * SECOND
        assert [one.check(b"new", later) for _ in range(6)] == [0] * 5 + [12]

    def test_as_many_as_have_a_place_take_nothing_from_each_other(self) -> None:
        one = self.small(per_minute=5)
        for n in range(RATE_WAYS):
            assert [one.check(b"%d" % n, T0) for _ in range(6)] == [0] * 5 + [12]

    def test_a_newcomer_is_refused_only_where_all_in_its_place_are_at_their_limit(self) -> None:
        """The documented bound: what the fifteen have left is there for newcomers."""
        one = self.small(per_minute=20)
        for n in range(RATE_WAYS):
            for _ in range(20):
                one.check(b"%d" % n, T0)
        assert one.check(b"new", T0) == 3
        now = T0 + 30 * SECOND
        allowed = [one.check(b"new%d" % n, now) == 0 for n in range(400)]
        assert allowed == [True] * 10 * RATE_WAYS + [False] * (400 - 10 * RATE_WAYS)

    def test_a_flood_over_the_whole_table_leaves_newcomers_alone(self) -> None:
        """As many addresses in debt at once as there are places; none sent much."""
        one = limiter(SharedMemory(1, 1), per_minute=60)
        for n in range(120_000):
            for _ in range(3):
                one.check(b"4" + n.to_bytes(4, "big"), T0)
        refused = 0
        for n in range(500):
            for _ in range(50):
                refused += one.check(b"6" + n.to_bytes(8, "big"), T0) > 0
        assert refused == 0


class TestCallerKey:
    @pytest.mark.parametrize(
        ("peer", "same"),
        [
            ("192.0.2.1", "::ffff:192.0.2.1"),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"),
            ("2001:db8:1:2::1", "2001:0DB8:0001:0002:0:0:0:2"),
            ("fe80::1%eth0", "fe80::2%eth1"),
        ],
    )
    def test_the_same_caller(self, peer: str, same: str) -> None:
        assert caller_key("anonymous", peer) == caller_key("anonymous", same)

    def test_different_callers(self) -> None:
        keys = [
            caller_key(*of)
            for of in (
                ("anonymous", "192.0.2.1"),
                ("anonymous", "192.0.2.2"),
                ("anonymous", "2001:db8:1:2::1"),
                ("anonymous", "2001:db8:1:3::1"),
                ("anonymous", ""),
                ("anonymous", "not an address"),
                ("192.0.2.1", "192.0.2.1"),
                ("", "192.0.2.1"),
                ("k2", "192.0.2.1"),
                ("é\ud800", "192.0.2.1"),
            )
        ]
        assert len(set(keys)) == len(keys)

    def test_who_authenticated_has_one_limit_from_everywhere(self) -> None:
        assert caller_key("k", "192.0.2.1") == caller_key("k", "2001:db8::1") == b"ck"


def test_siphash_gives_its_authors_vectors() -> None:
    """SipHash-2-4, key 00…0f, input of 0 to 15 rising bytes (reference vectors)."""
    key = bytes(range(16))
    assert siphash_of(key, b"") == 0x726FDB47DD0E0E31
    assert siphash_of(key, bytes(range(8))) == 0x93F5F5799A932462
    assert siphash_of(key, bytes(range(15))) == 0xA129CA6149BE45E5


def test_rows_are_those_of_the_layout() -> None:
    memory = SharedMemory(2, 3)
    one = slots(memory, 1)
    one.try_acquire()
    one.waiting(4)
    row = memory.attach(0).rows[ROW_BYTES : 2 * ROW_BYTES].cast("q")
    assert (row[Row.HELD], row[Row.WAITING]) == (1, 4)
