from typing import final

@final
class Mac:
    """Makes the MACs of one key of 16 to 64 bytes; `plain`: without vector instructions."""

    def __init__(self, key: bytes, *, plain: bool = False) -> None: ...
    def of(self, payload: bytes) -> str: ...

def siphash(key: bytes, data: bytes) -> bytes: ...
