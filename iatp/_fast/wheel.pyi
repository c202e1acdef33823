from collections.abc import Callable

from typing_extensions import disjoint_base

@disjoint_base
class Timed:
    """What has a deadline: the base of every connection."""

    @property
    def deadline_ns(self) -> int: ...

@disjoint_base
class Wheel:
    """Files nodes under the tick at which it has to look at them; `now_ns` is monotonic."""

    def __new__(cls, now_ns: int) -> Wheel: ...
    def tick(self, now_ns: int) -> None: ...

@disjoint_base
class Alarm(Timed):
    """A deadline of what is written in Python: calls `late(now_ns)`."""

    def __init__(self, wheel: Wheel, late: Callable[[int], object]) -> None: ...
    def arm(self, deadline_ns: int) -> None: ...
    def disarm(self) -> None: ...
    @property
    def filed(self) -> bool: ...
