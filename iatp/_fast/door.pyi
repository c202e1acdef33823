from asyncio import BaseTransport, BufferedProtocol
from collections.abc import Callable

from typing_extensions import disjoint_base

from iatp._fast.counters import Counters
from iatp._fast.gate import Gate
from iatp._fast.limits import RateLimiter
from iatp._fast.outbox import Outbox
from iatp._fast.upstream import AgentPool, Exchange, Pool
from iatp.values.exchange import Claim, Grant

@disjoint_base
class Front:
    """What all doors of a worker share: where requests go, and the limits they keep."""

    draining: bool
    inflight: int
    last_request_ns: int

    def __init__(
        self,
        outbox: Outbox,
        *,
        counters: Counters,
        gate: Gate,
        agent: AgentPool,
        application: Pool,
        limiter: RateLimiter | None,
        read_buffer: bytearray,
        settle_claim: Callable[[Door, Claim], None],
        agent_host: bytes,
        agent_base: bytes,
        agent_target: bytes,
        via: bytes,
        idempotent_agent: bool,
        max_body: int,
        max_buffered: int,
        max_connections: int,
    ) -> None: ...
    def door(self, listener: str) -> BufferedProtocol: ...
    @property
    def connections(self) -> int: ...
    def tick(self, now_ns: int) -> None: ...
    def flush_refusals(self) -> None: ...
    @property
    def expecting(self) -> bool: ...
    def close_used(self) -> None: ...
    def close_idle(self) -> None: ...
    def cut(self) -> None: ...
    def abort(self) -> None: ...

@disjoint_base
class Door(Exchange):
    """One connection of a caller."""

    listener: str

    def __init__(self, front: Front, listener: str) -> None: ...
    def connection_made(self, transport: BaseTransport) -> None: ...
    def get_buffer(self, sizehint: int) -> memoryview: ...
    def buffer_updated(self, n: int) -> None: ...
    def eof_received(self) -> bool: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    def cut(self) -> None: ...
    def claimed(self, grant: Grant | None) -> None: ...
