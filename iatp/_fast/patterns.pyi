from collections.abc import Sequence
from typing import final

@final
class Patterns:
    """The patterns of one policy. For one thread."""

    def __new__(cls, regexes: Sequence[str]) -> Patterns: ...

def find(
    data: bytes, form: int, patterns: Patterns
) -> list[tuple[int, int, int, int, int]] | str: ...

__pyx_capi__: dict[str, object]
