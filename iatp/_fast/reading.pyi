from typing import final

@final
class Tally:
    """How many there are of each finding."""

@final
class Reading:
    """One payload as it was read."""

@final
class Scanner:
    """Reads payloads by one policy; for one thread."""

__pyx_capi__: dict[str, object]
