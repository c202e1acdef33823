from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import Protocol

from typing_extensions import disjoint_base

from iatp._fast.counters import Counters
from iatp._fast.watch import Watch, Watched

class _Recorder(Protocol):
    def append(self, tails: list[bytes]) -> None: ...

class _Sync(Protocol):
    def run(self) -> None: ...

class _SyncedRecorder(_Recorder, Protocol):
    def begin_sync(self) -> _Sync: ...
    def end_sync(self, error: OSError | None, keep: bool) -> None: ...

@disjoint_base
class Outbox:
    """Collects a turn's records and bytes and lets them go in that order."""

    failing: bool
    flushed_ns: int
    lost: int
    settled: bool

    def __init__(
        self,
        loop: AbstractEventLoop,
        recorder: _Recorder,
        on_recorder: Callable[[bool], None],
        counters: Counters,
        *,
        open_failure: bool = False,
        watch: Watch | None = None,
    ) -> None: ...
    def add_record(self, tail: bytes, done: Callable[[bool], None]) -> None: ...
    def recovered(self) -> None: ...
    def look(self) -> None: ...
    def flush(self) -> None: ...

@disjoint_base
class DurableOutbox(Outbox):
    """What waits for a record leaves once the disk has it for good."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        recorder: _SyncedRecorder,
        on_recorder: Callable[[bool], None],
        counters: Counters,
        *,
        submit: Callable[..., object],
        open_failure: bool = False,
        watch: Watch | None = None,
    ) -> None: ...

@disjoint_base
class Peer(Watched):
    """One connection that sends."""

__pyx_capi__: dict[str, object]
