from typing import final

@final
class Ids:
    """Random bytes, and IDs made of them."""

    def new(self, time_ns: int) -> str: ...
