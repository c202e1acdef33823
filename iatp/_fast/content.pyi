from typing import final

class CodingError(Exception):
    """A body cannot be decoded; the text is the code of the refusal."""

@final
class ContentType:
    """How a body of one Content-Type is read."""

__pyx_capi__: dict[str, object]
