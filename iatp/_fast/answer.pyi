from typing import Final, final

from iatp._fast.patterns import Patterns

DELTA_KEYS: Final[tuple[str, ...]]

@final
class Flow:
    """Counts the findings of one text that comes in pieces."""

    def __new__(cls, form: int, bordered: bool = False) -> Flow: ...

@final
class Answer:
    """Counts the findings of one answer that comes in pieces."""

    def __new__(
        cls,
        form: int,
        events: bool,
        coding: bytes,
        most: int,
        patterns: Patterns | None = None,
    ) -> Answer: ...

def count(
    pieces: list[bytes], form: int, *, events: bool = False, patterns: Patterns | None = None
) -> tuple[tuple[int, int], ...]: ...
def scrub_deltas(
    text: bytes, whole: bool, found: list[int], patterns: Patterns | None = None
) -> bytes: ...

__pyx_capi__: dict[str, object]
