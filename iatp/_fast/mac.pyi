from typing import final

@final
class Mac:
    """Makes the MACs of one key of 16 to 64 bytes."""

    def __init__(self, key: bytes) -> None: ...
    def of(self, payload: bytes) -> str: ...
