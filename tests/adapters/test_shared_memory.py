from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from iatp._fast.counters import Counters
from iatp.adapters.shared_memory import SharedMemory
from iatp.values.layout import FAMILIES, LINE_BYTES, MAX_SLOTS, Row, WorkerState
from tests import forks


def cell(memory: SharedMemory, name: str, series: int = 0) -> int:
    return memory.sums()[FAMILIES[name].at + series]


@pytest.mark.parametrize("workers", [0, -1, 255])
def test_workers_out_of_range(workers: int) -> None:
    with pytest.raises(ValueError, match="workers"):
        SharedMemory(workers, 1)


def test_concurrency_limit_below_one() -> None:
    with pytest.raises(ValueError, match="concurrency limit"):
        SharedMemory(1, 0)


def test_a_limit_beyond_the_table_is_kept_as_the_table() -> None:
    assert len(SharedMemory(1, 1 << 40).attach(0).slots) == MAX_SLOTS


@pytest.mark.parametrize("worker", [-1, 2])
def test_attaching_an_unknown_worker(worker: int) -> None:
    with pytest.raises(ValueError, match="of 2"):
        SharedMemory(2, 1).attach(worker)


def test_the_parts_share_no_line() -> None:
    """Each part is filled with its own value; none is found in another."""
    memory = SharedMemory(3, 100)
    views = [memory.attach(worker) for worker in range(3)]
    parts = [*(view.counters for view in views), views[0].rows, views[0].slots, views[0].rates]
    for value, part in enumerate(parts, 1):
        part[:] = bytes([value]) * len(part)
    for value, part in enumerate(parts, 1):
        assert part == bytes([value]) * len(part)
    assert all(len(view.counters) % LINE_BYTES == 0 for view in views)


def test_counters_outlive_their_worker_and_the_successor_goes_on() -> None:
    memory = SharedMemory(2, 1)

    def work() -> None:
        Counters(memory.attach(1).counters).count_records(5)

    forks.join(forks.start(work))
    assert cell(memory, "iatp_records_written_total") == 5
    forks.join(forks.start(work))
    Counters(memory.attach(0).counters).count_records(2)
    assert cell(memory, "iatp_records_written_total") == 12


def test_a_killed_workers_gauges_go_and_its_counters_stay() -> None:
    memory = SharedMemory(2, 1)
    ready, tell = os.pipe()

    def work() -> None:
        counters = Counters(memory.attach(0).counters)
        counters.add_inflight(3)
        counters.add_connections("agent_idle", 4)
        counters.add_buffered(1 << 20)
        counters.count_quarantined()
        counters.time_request(1000.0)
        os.write(tell, b"x")
        signal.pause()

    Counters(memory.attach(1).counters).add_inflight(1)
    pid = forks.start(work)
    assert os.read(ready, 1) == b"x"
    forks.kill(pid)
    os.close(ready)
    os.close(tell)
    assert cell(memory, "iatp_inflight") == 4
    memory.reset_gauges(0)
    assert cell(memory, "iatp_inflight") == 1
    assert cell(memory, "iatp_connections", 3) == 0
    assert cell(memory, "iatp_buffered_bytes") == 0
    assert cell(memory, "iatp_quarantined_total") == 1
    duration = FAMILIES["iatp_request_duration_seconds"]
    assert cell(memory, duration.name, len(duration.bounds) + 1) == 1_000_000


def test_the_table_of_workers() -> None:
    memory = SharedMemory(2, 1)
    assert memory.processes() == []

    def work() -> None:
        memory.set_worker(1, os.getpid(), WorkerState.STARTING)
        memory.set_worker(1, os.getpid(), WorkerState.READY)

    memory.set_worker(None, os.getpid(), WorkerState.READY)
    pid = forks.start(work)
    forks.join(pid)
    supervisor, worker = memory.processes()
    assert (supervisor.name, supervisor.pid) == ("supervisor", os.getpid())
    assert (worker.name, worker.pid, worker.state) == ("1", pid, WorkerState.READY)
    assert worker.starts == 1
    memory.set_worker(1, 0, WorkerState.ABSENT)
    assert [row.name for row in memory.processes()] == ["supervisor"]
    memory.set_worker(1, pid + 1, WorkerState.STARTING)
    assert memory.processes()[1].starts == 2


def test_rows_of_slots_and_of_workers_are_the_same_rows() -> None:
    memory = SharedMemory(2, 1)
    memory.set_worker(1, 77, WorkerState.READY)
    row = memory.attach(0).rows[128:256].cast("q")
    assert (row[Row.PID], row[Row.STATE]) == (77, WorkerState.READY)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is resident")
def test_an_untouched_rate_table_takes_no_memory() -> None:
    def shared_kib() -> int:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("RssShmem:")[2].split()[0])

    before = shared_kib()
    memory = SharedMemory(2, 100)
    Counters(memory.attach(0).counters).count_records()
    assert len(memory.attach(0).rates) == 4 << 20
    assert shared_kib() - before <= 16
