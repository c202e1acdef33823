"""One `POST /proxy` from the caller's bytes to the caller's bytes, without a socket.

The compiled road is the real one: door, gate, upstream, outbox. What it stands between is
not: the event loop, the transports and the recorder are the least that it takes. So the
instructions of a request can be counted, and are the same each time.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

from iatp._fast.counters import Counters
from iatp._fast.door import Front
from iatp._fast.gate import Gate
from iatp._fast.limits import Slots
from iatp._fast.outbox import Outbox
from iatp._fast.upstream import AgentPool, Pool
from iatp.adapters.shared_memory import SharedMemory
from iatp.decisions.policy import GatePolicy


class _Loop:
    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def end_turn(self) -> None:
        while self.soon:
            self.soon.pop(0)()


class _Transport:
    def __init__(self) -> None:
        # What is sent goes into one end, past the transport; the other is open and silent.
        self._sockets = socket.socketpair()

    def get_extra_info(self, name: str) -> object:
        return {"peername": ("127.0.0.1", 50000), "socket": self._sockets[0]}.get(name)

    def taken(self) -> bytes:
        return self._sockets[1].recv(65536)

    def is_closing(self) -> bool:
        return False


class _Recorder:
    def append(self, tails: Sequence[bytes]) -> None:
        self.last = tails[-1]


def _never(*_: object) -> None:
    raise AssertionError("a request of the benchmark does not come here")


class Turn:
    """A caller's connection and an agent's, both open."""

    def __init__(self, policy: GatePolicy, request: bytes, answer: bytes) -> None:
        self._request = request
        self._answer = answer
        self._loop = _Loop()
        self._buffer = bytearray(128 * 1024)
        self._memory = SharedMemory(1, 100)
        views = self._memory.attach(0)
        counters = Counters(views.counters)
        # What the compiled classes ask of a loop and a recorder is all that these have.
        outbox = Outbox(self._loop, _Recorder(), _never, counters)  # type: ignore[arg-type]
        times = {
            "head_timeout_ns": 10**10,
            "idle_timeout_ns": 10**10,
            "total_timeout_ns": 10**10,
        }
        agent = AgentPool(
            outbox,
            counters,
            self._connect,
            self._buffer,
            slots=Slots(views.slots, views.rows, 0),
            queue_limit=100,
            queue_timeout_ns=10**10,
            **times,
        )
        front = Front(
            outbox,
            counters=counters,
            gate=Gate(policy),
            agent=agent,
            application=Pool(outbox, counters, _never, self._buffer, **times),
            limiter=None,
            read_buffer=self._buffer,
            settle_claim=_never,
            agent_host=b"127.0.0.1:9000",
            agent_base=b"",
            agent_target=b"/",
            via=b"iatp-0123456789abcdef",
            idempotent_agent=False,
            max_body=10 << 20,
            max_buffered=100 << 20,
            max_connections=100,
        )
        self._link = agent.link()
        self._link_end = _Transport()
        self._link.connection_made(self._link_end)  # type: ignore[arg-type]
        self._door = front.door("data")
        self._door_end = _Transport()
        self._door.connection_made(self._door_end)  # type: ignore[arg-type]
        # The first request opens the connection to the agent; all others find it.
        self.serve()

    def _connect(self, pool: AgentPool, exchange: object) -> None:
        self._loop.call_soon(lambda: pool.connected(self._link, exchange, 0.001))  # type: ignore[arg-type]

    def _receive(self, protocol: object, data: bytes) -> None:
        self._buffer[: len(data)] = data
        protocol.buffer_updated(len(data))  # type: ignore[attr-defined]
        self._loop.end_turn()

    def serve(self) -> bytes:
        """What the caller gets."""
        self._receive(self._door, self._request)
        self._link_end.taken()
        self._receive(self._link, self._answer)
        return self._door_end.taken()
