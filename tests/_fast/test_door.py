"""Doors behind a real loop, real sockets and a real recorder; only the time is told."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path

import pytest
import uvloop

from iatp._fast import record
from iatp._fast.counters import Counters
from iatp._fast.door import Front
from iatp._fast.gate import Gate
from iatp._fast.limits import Slots
from iatp._fast.outbox import Outbox
from iatp._fast.upstream import AgentPool, Pool
from iatp.adapters.log_folder import LogFolder
from iatp.adapters.recorder import Recorder, new_boot_id
from iatp.adapters.shared_memory import SharedMemory
from tests._fast.gates import SAFE

REFUSED = b"POST /proxy HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n{"
COUNT = 250
"""So many fit into what is read at once; what they are answered does not fit into a socket."""
NEXT = b"POST /proxy HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n[7,"
IN_HEAD = 30


def _no_one(*_: object) -> None:
    raise AssertionError("nothing is sent on here")


@contextlib.contextmanager
def recording(folder: Path) -> Iterator[Recorder]:
    kept = LogFolder(folder / "logs")
    recorder = Recorder(kept, 0, new_boot_id(), 64 << 20, join=record.lines)
    yield recorder
    recorder.close()
    kept.close()


class Behind:
    """A caller's end of a connection, and the front that serves the other end."""

    def __init__(self, front: Front, end: socket.socket) -> None:
        self.front = front
        self.end = end

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.end, data)
        await asyncio.sleep(0.1)

    async def hears(self) -> bytes:
        """What has been sent up to now, or up to the end of the connection."""
        heard = b""
        with contextlib.suppress(TimeoutError, ConnectionError):
            while piece := await asyncio.wait_for(
                asyncio.get_running_loop().sock_recv(self.end, 1 << 20), 0.3
            ):
                heard += piece
        return heard

    async def passes(self, seconds: float) -> None:
        """So much time from now; it never goes back."""
        self.front.tick(time.monotonic_ns() + int(seconds * 1e9))
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def connected(recorder: Recorder) -> AsyncIterator[Behind]:
    loop = asyncio.get_running_loop()
    views = SharedMemory(1, 100).attach(0)
    counters = Counters(views.counters)
    outbox = Outbox(loop, recorder, _no_one, counters)
    buffer = bytearray(128 * 1024)
    times = {"head_timeout_ns": 10**10, "idle_timeout_ns": 10**10, "total_timeout_ns": 10**10}
    slots = Slots(views.slots, views.rows, 0)
    front = Front(
        outbox,
        counters=counters,
        gate=Gate(SAFE),
        agent=AgentPool(
            outbox,
            counters,
            _no_one,
            buffer,
            slots=slots,
            queue_limit=1,
            queue_timeout_ns=10**10,
            **times,
        ),
        application=Pool(outbox, counters, _no_one, buffer, **times),
        limiter=None,
        read_buffer=buffer,
        settle_claim=_no_one,
        agent_host=b"127.0.0.1:9",
        agent_base=b"",
        agent_target=b"/",
        via=b"iatp-0",
        idempotent_agent=False,
        max_body=10_000,
        max_buffered=100_000,
        max_connections=10,
    )
    end, other = socket.socketpair()
    end.setblocking(False)
    other.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with end:
        await loop.connect_accepted_socket(lambda: front.door("data"), other)
        yield Behind(front, end)


def run(folder: Path, work: Callable[[Behind], Coroutine[None, None, None]]) -> None:
    async def all_of_it(recorder: Recorder) -> None:
        async with connected(recorder) as caller:
            await work(caller)

    with (
        recording(folder) as recorder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(all_of_it(recorder))


@pytest.mark.parametrize(
    ("begun", "within_s"), [(NEXT[:IN_HEAD], 10), (NEXT, 30)], ids=["head", "body"]
)
@pytest.mark.parametrize("takes", [True, False])
def test_answers_that_wait_change_no_deadline_of_what_is_sent(
    tmp_path: Path, begun: bytes, within_s: int, takes: bool
) -> None:
    """A caller that has not taken its answers has begun another request."""

    async def work(caller: Behind) -> None:
        await caller.send(REFUSED * COUNT + begun)
        if not takes:
            await caller.passes(59)
            assert caller.front.connections == 1
            await caller.passes(61)
            assert caller.front.connections == 0
            assert (await caller.hears()).count(b"HTTP/1.1 400") < COUNT
            return
        assert (await caller.hears()).count(b"HTTP/1.1 400") == COUNT
        await caller.passes(within_s - 1)
        assert await caller.hears() == b""
        await caller.passes(within_s + 1)
        assert (await caller.hears()).startswith(b"HTTP/1.1 408")

    run(tmp_path, work)


def test_no_first_request_is_expected_of_who_was_refused(tmp_path: Path) -> None:
    async def work(caller: Behind) -> None:
        assert caller.front.expecting
        await caller.send(b"no request\r\n\r\n")
        assert caller.front.connections == 1
        assert not caller.front.expecting

    run(tmp_path, work)
