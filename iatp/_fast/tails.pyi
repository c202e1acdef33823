from typing import final

@final
class Tails:
    """Writes records about requests and answers, one at a time."""

__pyx_capi__: dict[str, object]
