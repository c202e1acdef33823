from collections.abc import Sequence
from typing import final

@final
class Patterns:
    """The patterns of one policy. For one thread."""

    def __new__(cls, regexes: Sequence[str]) -> Patterns: ...

@final
class PatternFlow:
    """Counts what patterns find in one text that comes in pieces."""

    def __new__(cls, patterns: Patterns, form: int, bordered: bool = False) -> PatternFlow: ...

def find(
    data: bytes, form: int, patterns: Patterns
) -> list[tuple[int, int, int, int, int]] | str: ...
def count(
    pieces: list[bytes], form: int, patterns: Patterns, *, bordered: bool = False
) -> dict[int, int]: ...

__pyx_capi__: dict[str, object]
