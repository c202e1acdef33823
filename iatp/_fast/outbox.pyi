from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import Protocol

from typing_extensions import disjoint_base

from iatp._fast.counters import Counters
from iatp._fast.wheel import Timed

class _Recorder(Protocol):
    def append(self, tails: list[bytes]) -> None: ...

@disjoint_base
class Outbox:
    """Collects a turn's records and bytes and lets them go in that order."""

    failing: bool
    flushed_ns: int

    def __init__(
        self,
        loop: AbstractEventLoop,
        recorder: _Recorder,
        on_recorder: Callable[[bool], None],
        counters: Counters,
    ) -> None: ...
    def add_record(self, tail: bytes) -> None: ...
    def recovered(self) -> None: ...
    def flush(self) -> None: ...

@disjoint_base
class Peer(Timed):
    """One connection that sends."""

__pyx_capi__: dict[str, object]
