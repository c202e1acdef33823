from iatp._fast.text import Spans

JSON: int
TEXT: int
TARGET: int
FORM: int

def scan(data: bytes, form: int) -> Spans: ...
def redact(data: bytes, spans: Spans) -> bytes: ...
def close_count(data: bytes) -> int: ...
def vectors(level: int) -> int:
    """Read JSON with vectors of at most this width from now on; the one that is used.

    0: byte by byte; 1: of 32 bytes; 2: of 64 bytes. For tests: all must find the same.
    """

def counts(spans: Spans) -> tuple[int, ...]: ...

__pyx_capi__: dict[str, object]
