from typing import final

class CodingError(Exception):
    """A body cannot be decoded; the text is the code of the refusal."""

@final
class ContentType:
    """How a body of one Content-Type is read."""

@final
class Inflater:
    """Takes a content coding off what comes in pieces; the first has two bytes or is all."""

    def __new__(cls, coding: bytes) -> Inflater: ...

__pyx_capi__: dict[str, object]
