from collections.abc import Iterator
from typing import final

@final
class Spans:
    """Spans in order, without overlaps; iterates as (kind, start, end, quoted)."""

    error: str | None
    error_at: int
    @property
    def secrets(self) -> tuple[int, ...]: ...
    def __iter__(self) -> Iterator[tuple[int, int, int, int]]: ...
    def __len__(self) -> int: ...

def vectors(level: int) -> None:
    """Look at windows with vectors from now on, where the machine has them, or at 0 without."""

__pyx_capi__: dict[str, object]
