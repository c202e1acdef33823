from collections.abc import Iterator
from typing import final

JSON: int
TEXT: int
TARGET: int
FORM: int

@final
class Spans:
    """Spans in order, without overlaps; iterates as (kind, start, end, quoted)."""

    error: str | None
    error_at: int
    def __iter__(self) -> Iterator[tuple[int, int, int, bool]]: ...
    def __len__(self) -> int: ...

def scan(data: bytes, form: int) -> Spans: ...
def redact(data: bytes, spans: Spans) -> bytes: ...
def vectors(level: int) -> int:
    """Read JSON with vectors of at most this width from now on; the one that is used.

    0: byte by byte; 1: of 32 bytes; 2: of 64 bytes. For tests: all must find the same.
    """

def counts(spans: Spans) -> tuple[int, ...]: ...

__pyx_capi__: dict[str, object]
