from typing import final

from iatp._fast.counters import Counters

@final
class Budget:
    """What is buffered in all."""

    def __new__(cls, counters: Counters, limit: int) -> Budget: ...

@final
class Body:
    """The body of the request that a connection reads or serves."""

    size: int

    def __new__(cls, budget: Budget) -> Body: ...
