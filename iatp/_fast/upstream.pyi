from asyncio import BaseTransport, BufferedProtocol
from collections.abc import Callable

from typing_extensions import disjoint_base

from iatp._fast.counters import Counters
from iatp._fast.limits import Slots
from iatp._fast.outbox import Outbox, Peer

@disjoint_base
class Exchange(Peer):
    """What wants an answer from an upstream."""

    peer: str

@disjoint_base
class Link(Peer):
    """One connection to an upstream: a buffered protocol of the event loop."""

    def __init__(self, pool: Pool) -> None: ...
    def connection_made(self, transport: BaseTransport) -> None: ...
    def get_buffer(self, sizehint: int) -> memoryview: ...
    def buffer_updated(self, n: int) -> None: ...
    def eof_received(self) -> bool: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    def close(self) -> None: ...

@disjoint_base
class Pool:
    """Connections to one upstream; as it is, the way to the aiohttp application."""

    opening: int
    closing: bool

    def __init__(
        self,
        outbox: Outbox,
        counters: Counters,
        connect: Callable[[Pool, Exchange], None],
        read_buffer: bytearray,
        *,
        head_timeout_ns: int,
        idle_timeout_ns: int,
        total_timeout_ns: int,
    ) -> None: ...
    def link(self) -> BufferedProtocol: ...
    def connected(self, link: Link, exchange: Exchange, seconds: float) -> None: ...
    def connect_failed(self, exchange: Exchange) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...

@disjoint_base
class AgentPool(Pool):
    """The way to the agent: its concurrency limit, a bounded queue and a breaker."""

    queued: int

    def __init__(
        self,
        outbox: Outbox,
        counters: Counters,
        connect: Callable[[Pool, Exchange], None],
        read_buffer: bytearray,
        *,
        slots: Slots,
        queue_limit: int,
        queue_timeout_ns: int,
        head_timeout_ns: int,
        idle_timeout_ns: int,
        total_timeout_ns: int,
    ) -> None: ...
    def poll(self) -> None: ...
    def tick(self, now_ns: int) -> None: ...
    def expel(self) -> None: ...
    def recall(self) -> None: ...
