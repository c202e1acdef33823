"""The memory that all workers share: counters, concurrency slots, rate limits, who lives.

One anonymous mapping, made before the supervisor forks, so that it needs no name, no file
and no cleaning up, and outlives each worker. Parts of different workers begin on lines of
their own. Pages that nobody writes take no memory: the table of rate limits costs nothing
where none is set.
"""

from __future__ import annotations

import mmap
import os

import msgspec

from iatp.values.layout import (
    CELL_BYTES,
    CELLS,
    GAUGES,
    LINE_BYTES,
    MAX_SLOTS,
    MAX_WORKERS,
    RATE_BUCKET_WORDS,
    RATE_BUCKETS,
    ROW_BYTES,
    Row,
    WorkerState,
)

_BLOCK_BYTES = -(-CELLS * CELL_BYTES // LINE_BYTES) * LINE_BYTES
_RATES_BYTES = RATE_BUCKETS * RATE_BUCKET_WORDS * CELL_BYTES


class WorkerViews(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker's compiled parts write to."""

    worker: int
    counters: memoryview
    """Its own block, for `Counters`."""
    slots: memoryview
    """One byte a slot, for `Slots`."""
    rows: memoryview
    """The rows of all workers, for `Slots`."""
    rates: memoryview
    """The table of callers, for `RateLimiter`."""
    rate_key: bytes
    """16 random bytes, the same in all workers: who does not know them can't choose
    addresses that fall into one place of the table."""


class WorkerRow(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the sidecar, as the table of workers has it."""

    name: str
    """The worker's number, or `supervisor`."""
    pid: int
    state: WorkerState
    starts: int


class SharedMemory:
    """The mapping; made once, before the first fork, and used by every process after it."""

    def __init__(self, workers: int, concurrency_limit: int) -> None:
        """Map the memory.

        Raises: ValueError where a number is out of range.
        """
        if not 1 <= workers <= MAX_WORKERS:
            raise ValueError(f"between 1 and {MAX_WORKERS} workers, not {workers}")
        if concurrency_limit < 1:
            raise ValueError(f"a concurrency limit of at least 1, not {concurrency_limit}")
        self.workers = workers
        self.slots = min(concurrency_limit, MAX_SLOTS)
        self._rate_key = os.urandom(16)
        self._blocks_at = 0
        self._rows_at = self._blocks_at + workers * _BLOCK_BYTES
        # One row more than workers: the supervisor's.
        self._slots_at = self._rows_at + (workers + 1) * ROW_BYTES
        self._rates_at = self._slots_at + -(-self.slots // mmap.PAGESIZE) * mmap.PAGESIZE
        self._rates_at = -(-self._rates_at // mmap.PAGESIZE) * mmap.PAGESIZE
        self._map = mmap.mmap(-1, self._rates_at + _RATES_BYTES)
        self._view = memoryview(self._map)

    def attach(self, worker: int) -> WorkerViews:
        """Return the parts that this worker writes to; call it in the worker or before the fork."""
        return WorkerViews(
            worker=worker,
            counters=self._block(worker),
            slots=self._view[self._slots_at : self._slots_at + self.slots],
            rows=self._view[self._rows_at : self._rows_at + self.workers * ROW_BYTES],
            rates=self._view[self._rates_at : self._rates_at + _RATES_BYTES],
            rate_key=self._rate_key,
        )

    def sums(self) -> list[int]:
        """Return every cell of the counters, summed over the workers."""
        columns = (self._block(worker).cast("q")[:CELLS].tolist() for worker in range(self.workers))
        return [sum(cells) for cells in zip(*columns, strict=True)]

    def reset_gauges(self, worker: int) -> None:
        """Take what a dead worker held off the gauges; its counters stay."""
        cells = self._block(worker).cast("q")
        for family in GAUGES:
            for cell in range(family.at, family.at + family.cells):
                cells[cell] = 0

    def set_worker(self, worker: int | None, pid: int, state: WorkerState) -> None:
        """Note which process a worker is (None: the supervisor) and what it does.

        A pid that the row has not had counts as a start; pid 0 says that it is gone.
        """
        row = self._row(worker)
        if pid not in (0, row[Row.PID]):
            row[Row.STARTS] += 1
        row[Row.PID] = pid
        row[Row.STATE] = state

    def processes(self) -> list[WorkerRow]:
        """Return the processes that live, the supervisor first."""
        found = []
        for worker in (None, *range(self.workers)):
            row = self._row(worker)
            if row[Row.PID]:
                found.append(
                    WorkerRow(
                        name="supervisor" if worker is None else str(worker),
                        pid=row[Row.PID],
                        state=WorkerState(row[Row.STATE]),
                        starts=row[Row.STARTS],
                    )
                )
        return found

    def _block(self, worker: int) -> memoryview:
        if not 0 <= worker < self.workers:
            raise ValueError(f"worker {worker} of {self.workers}")
        at = self._blocks_at + worker * _BLOCK_BYTES
        return self._view[at : at + _BLOCK_BYTES]

    def _row(self, worker: int | None) -> memoryview[int]:
        if worker is not None and not 0 <= worker < self.workers:
            raise ValueError(f"worker {worker} of {self.workers}")
        at = self._rows_at + (self.workers if worker is None else worker) * ROW_BYTES
        return self._view[at : at + ROW_BYTES].cast("q")
