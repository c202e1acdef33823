from asyncio import AbstractEventLoop

from typing_extensions import disjoint_base

from iatp._fast.wheel import Timed

EXISTS: bool
"""Whether this machine can watch; elsewhere every connection is read by its transport."""

@disjoint_base
class Turns:
    """Hears when a batch of connections is read."""

@disjoint_base
class Watch:
    """Reads connections without the event loop's streams."""

    def __init__(self, loop: AbstractEventLoop) -> None: ...
    def close(self) -> None: ...

@disjoint_base
class Watched(Timed):
    """A connection, read by its transport or by a watch."""
