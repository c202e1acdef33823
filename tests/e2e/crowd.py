"""An agent that holds thousands of requests, and thousands of callers: processes of their own.

Both are protocols of uvloop that do as little as they can, so that on a small machine most of
the time is left to the sidecar. They speak in one shape alone: whole heads with a
`Content-Length`, nothing pipelined.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import multiprocessing
import os
import resource
import socket
import time
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, cast

import uvloop

from tests.e2e.sidecars import free_ports, request, wait_until

BODY = b'{"task":"summarise","text":"%b"}' % (b"lorem ipsum " * 48)
"""600 bytes."""
SLOW = request(body=BODY)
QUICK = request(target="/proxy/quick", body=BODY)
"""What the agent answers at once, whatever else it holds."""
BLOCKED = request(body=b'{"card":"4111 1111 1111 1111","text":"%b"}' % (b"lorem ipsum " * 47))
"""What the sidecar answers itself, with 403, where the agent keeps what it gets."""
ANSWER = b'{"done":true}'
MESSAGE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n" + ANSWER
)
CROWD_NICE = 10
"""Of a crowd and its agent, so that they do not take the time of who measures beside them."""
OPENED_AT_ONCE = 200
"""Connections that are being opened at a time: well below what a listener's queue takes."""


@dataclass
class Told:
    """What came of what a crowd asked."""

    statuses: Counter[int] = field(default_factory=Counter)
    lost: int = 0
    """Connections that ended while their caller waited."""
    took_s: array[float] = field(default_factory=lambda: array("d"))
    """Of each answer, from when it was asked for, sorted."""

    def at(self, share: float) -> float:
        """The quantile of `took_s`."""
        return self.took_s[math.ceil(len(self.took_s) * share) - 1]


class CrowdAgent:
    """An agent in a process of its own, that answers after `delay_s` or when it is let."""

    def __init__(self, pipe: Connection, port: int) -> None:
        self._pipe = pipe
        self.port = port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def hold(self) -> None:
        """Answer none of the requests that come from now on, but the quick ones."""
        _call(self._pipe, "hold")

    def release(self, delay_s: float) -> None:
        """Answer each request that is held, and those to come, after so long."""
        _call(self._pipe, "release", delay_s)

    def held(self) -> int:
        """How many requests wait for their answer now."""
        return int(_call(self._pipe, "held"))


class Crowd:
    """Callers in a process of their own; each has one connection and asks one thing at a time."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def open(self, count: int) -> None:
        """Open so many connections more."""
        _call(self._pipe, "open", count)

    def begin(
        self,
        count: int,
        *,
        messages: tuple[bytes, ...] = (SLOW,),
        seconds: float = 0.0,
        every_s: float = 0.0,
        spread_s: float = 0.0,
    ) -> None:
        """Have the first `count` callers ask; `told` waits for all of it.

        Each asks once, and again when it has been answered (`every_s` after it asked, if that
        is later) until `seconds` have gone by; the messages in turn. They begin evenly spread
        over `spread_s`.
        """
        self._pipe.send(("ask", count, messages, seconds, every_s, spread_s))

    def told(self, within_s: float = 50.0) -> Told:
        """What came of the last `begin`."""
        return cast("Told", _result(self._pipe, within_s))

    def ask(self, count: int, **how: Any) -> Told:
        """`begin`, and what came of it."""
        self.begin(count, **how)
        return self.told()


@contextlib.contextmanager
def crowd_agent() -> Iterator[CrowdAgent]:
    """A running agent; it holds what it gets until it is told to `release`."""
    (port,) = free_ports(1)
    with _process(_Agent.run, port, CROWD_NICE) as pipe:
        wait_until(lambda: _accepts(port))
        yield CrowdAgent(pipe, port)


@contextlib.contextmanager
def crowd(port: int, nice: int = 0) -> Iterator[Crowd]:
    """Callers of this port; none is connected yet."""
    with _process(_Callers.run, port, nice) as pipe:
        yield Crowd(pipe)


def _call(pipe: Connection, *command: object) -> Any:
    pipe.send(command)
    return _result(pipe)


def _result(pipe: Connection, within_s: float = 50.0) -> Any:
    assert pipe.poll(within_s), "a process of the crowd does not answer"
    result = pipe.recv()
    if isinstance(result, BaseException):
        raise result
    return result


@contextlib.contextmanager
def _process(
    target: Callable[[Connection, int], None], port: int, nice: int
) -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(target, theirs, port, nice), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.terminate()
        process.join(10)
        process.close()


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
        return True
    return False


# What runs in the other processes.


def _run(target: Callable[[Connection, int], None], pipe: Connection, port: int, nice: int) -> None:
    os.nice(nice)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    target(pipe, port)


async def _obey(pipe: Connection, work: Callable[..., Awaitable[object]]) -> None:
    """Do what comes through the pipe, one thing after the other, until it closes."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            command = await loop.run_in_executor(None, pipe.recv)
        except (EOFError, OSError):
            return
        try:
            result: object = await work(*command)
        except Exception as error:
            result = error
        pipe.send(result)


def _length(data: bytes) -> int:
    """How long the message at the beginning is; 0 where its head is not whole."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return 0
    head = data[:end].lower()
    _, found, rest = head.partition(b"content-length: ")
    return end + 4 + (int(rest.partition(b"\r\n")[0]) if found else 0)


class _Agent:
    """All connections of the agent's process."""

    def __init__(self) -> None:
        self.delay_s: float | None = None
        """None: nothing is answered."""
        self.held: set[_Answers] = set()

    @classmethod
    def run(cls, pipe: Connection, port: int) -> None:
        uvloop.run(cls()._serve(pipe, port))

    async def _serve(self, pipe: Connection, port: int) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_server(lambda: _Answers(self), "127.0.0.1", port, backlog=4096)
        await _obey(pipe, self._do)

    async def _do(self, what: str, delay_s: float | None = None) -> int:
        if what != "held":
            self.delay_s = delay_s
        if what == "release":
            assert delay_s is not None
            for connection in self.held:
                asyncio.get_running_loop().call_later(delay_s, connection.answer)
        return len(self.held)


class _Answers(asyncio.Protocol):
    def __init__(self, agent: _Agent) -> None:
        self.agent = agent
        self.data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.data:
            data = self.data + data
        length = _length(data)
        if not length or len(data) < length:
            self.data = data
            return
        assert len(data) == length
        self.data = b""
        if data.startswith(b"POST /quick"):
            self.transport.write(MESSAGE)
            return
        self.agent.held.add(self)
        if self.agent.delay_s is not None:
            asyncio.get_running_loop().call_later(self.agent.delay_s, self.answer)

    def answer(self) -> None:
        if self in self.agent.held:
            self.agent.held.discard(self)
            self.transport.write(MESSAGE)

    def connection_lost(self, exc: Exception | None) -> None:
        self.agent.held.discard(self)


class _Callers:
    """All callers of one process."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.callers: list[_Asks] = []

    @classmethod
    def run(cls, pipe: Connection, port: int) -> None:
        uvloop.run(_obey(pipe, cls(port)._do))

    async def _do(self, what: str, count: int, *how: Any) -> object:
        if what == "open":
            for begun in range(0, count, OPENED_AT_ONCE):
                batch = min(OPENED_AT_ONCE, count - begun)
                await asyncio.gather(*(self._open() for _ in range(batch)))
            return None
        return await self._ask(count, *how)

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        _, caller = await loop.create_connection(_Asks, "127.0.0.1", self.port)
        self.callers.append(caller)

    async def _ask(
        self,
        count: int,
        messages: tuple[bytes, ...],
        seconds: float,
        every_s: float,
        spread_s: float,
    ) -> Told:
        loop = asyncio.get_running_loop()
        told = Told()
        began = loop.time()
        asking = self.callers[:count]
        assert len(asking) == count
        for number, caller in enumerate(asking):
            first = began + spread_s * number / count
            caller.begin(told, messages, number, first, began + seconds, every_s)
            loop.call_at(first, caller.ask)
        for caller in asking:
            assert caller.done is not None
            await caller.done
        told.took_s = array("d", sorted(told.took_s))
        return told


class _Asks(asyncio.Protocol):
    def __init__(self) -> None:
        self.data = b""
        self.done: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.loop = asyncio.get_running_loop()

    def begin(
        self,
        told: Told,
        messages: tuple[bytes, ...],
        number: int,
        first: float,
        until: float,
        every_s: float,
    ) -> None:
        self.told = told
        self.messages = messages
        self.number = number
        self.next = first
        self.until = until
        self.every_s = every_s
        self.done = self.loop.create_future()

    def ask(self) -> None:
        assert self.done is not None
        if self.transport.is_closing():
            self._end(lost=True)
            return
        # The loop's own clock stands still within one of its turns.
        self.began = time.perf_counter()
        self.next += self.every_s
        self.transport.write(self.messages[self.number % len(self.messages)])
        self.number += 1

    def data_received(self, data: bytes) -> None:
        if self.data:
            data = self.data + data
        length = _length(data)
        if not length or len(data) < length:
            self.data = data
            return
        self.data = b""
        now = time.perf_counter()
        self.told.took_s.append(now - self.began)
        self.told.statuses[int(data[9:12])] += 1
        if self.loop.time() >= self.until:
            self._end()
        elif self.every_s:
            self.next = max(self.next, self.loop.time())
            self.loop.call_at(self.next, self.ask)
        else:
            self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(lost=True)

    def _end(self, *, lost: bool = False) -> None:
        if self.done is not None and not self.done.done():
            self.told.lost += lost
            self.done.set_result(None)
