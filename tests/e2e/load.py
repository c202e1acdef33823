"""Callers in numbers, and what a process costs: for the tests of running and failing."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from tests.e2e.sidecars import Answer, Caller, request


def together(count: int, work: Callable[[int], None], within_s: float = 50.0) -> None:
    """Run `work(0)` to `work(count - 1)` at once. Raises: the first thing that one raised."""
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + within_s
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    if failures:
        raise failures[0]
    assert not any(thread.is_alive() for thread in threads), "a caller still waits"


_numbers = itertools.count(1)


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One answer that a caller of a `Load` has in full."""

    trace_id: str
    answer: Answer


class Load:
    """Callers that ask one request after another until the load ends.

    Each request has a trace ID of its own. `told` is what was answered in full; `lost` are
    connections that ended without an answer although a request had been sent on them.
    """

    def __init__(self, port: int, body: bytes, headers: Mapping[str, str], *, keep: bool) -> None:
        self.port = port
        self.told: list[Told] = []
        self.lost: list[str] = []
        self.refused = 0
        """Connections that were not taken."""
        # Short, so that no run of digits in it can be taken for a card's.
        self._name = f"load-{next(_numbers)}"
        self._body = body
        self._headers = dict(headers)
        self._keep = keep
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, callers: int) -> None:
        for number in range(callers):
            thread = threading.Thread(target=self._call, args=(number,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Have every caller ask no more."""
        self._ended.set()

    def end(self) -> None:
        self.stop()
        for thread in self._threads:
            thread.join(15)
        assert not any(thread.is_alive() for thread in self._threads)

    def _call(self, number: int) -> None:
        count = 0
        while not self._ended.is_set():
            try:
                caller = Caller(self.port, 10.0)
            except OSError:
                self.refused += 1
                time.sleep(0.01)
                continue
            with caller:
                closes = False
                while not closes and not self._ended.is_set():
                    count += 1
                    trace_id = f"{self._name}-{number}-{count}"
                    headers = {**self._headers, "X-Agent-Trace-ID": trace_id}
                    if not self._keep:
                        headers["Connection"] = "close"
                    try:
                        caller.send(request(body=self._body, headers=headers))
                        answer = caller.read()
                    except OSError as error:
                        self.lost.append(f"{trace_id}: {error!r}")
                        break
                    self.told.append(Told(trace_id=trace_id, answer=answer))
                    closes = answer.header("connection") == "close"


@contextlib.contextmanager
def load(
    port: int,
    callers: int,
    *,
    body: bytes = b'{"a":1}',
    headers: Mapping[str, str] | None = None,
    keep: bool = True,
) -> Iterator[Load]:
    """A load of this many callers; it goes on until the block ends."""
    running = Load(port, body, headers or {}, keep=keep)
    running.start(callers)
    try:
        yield running
    finally:
        running.end()


def resident_kib(pid: int) -> int:
    """The memory of a process that is resident, without what it shares with its parent."""
    return _status(pid, "VmRSS")


def written_kib(pid: int) -> int:
    """The memory that is resident and was written, so not of a file; exact."""
    return _status(pid, "Anonymous", "smaps_rollup")


def peak_kib(pid: int) -> int:
    """The most memory that was ever resident."""
    return _status(pid, "VmHWM")


def shared_out_kib(pid: int) -> int:
    """The memory that is resident, each page divided by how many processes have it (PSS)."""
    return _status(pid, "Pss", "smaps_rollup")


def open_files(pid: int) -> int:
    """How many descriptors a process holds."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def processor_s(pid: int) -> float:
    """The time that the first thread of a process has had on a processor."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _status(pid: int, field: str, file: str = "status") -> int:
    for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0])
    raise KeyError(field)


def lives(pid: int) -> bool:
    """Whether a thread of a process runs; one that has ended and was not waited for does not.

    Of a killed process the first thread can be dead while another still holds its sockets.
    """
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except FileNotFoundError:
        return False
    return any(map(_runs, threads))


def _runs(thread: Path) -> bool:
    try:
        state = (thread / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")


def kill(pid: int) -> None:
    """`kill -9`."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def reset(connection: socket.socket) -> None:
    """Close a connection with RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
