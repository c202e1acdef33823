from collections.abc import Callable

from typing_extensions import disjoint_base

@disjoint_base
class Appender:
    """What of a Recorder changes with every turn."""

    _fd: int
    _seq: int
    _size: int
    _file_size: int
    _plain: bool
    _uncut: bool
    _suspect: bool
    failing: bool
    _check_due: float
    _rotate_at: int
    _drop_at: int
    _index_at: int
    written: int
    _join: Callable[[list[bytes], int, bytes], list[bytes]]
    _middle: bytes
    _take_in: Callable[[list[bytes]], None]

    def append(self, tails: list[bytes]) -> None:
        """Write the records whose tails these are, in order: all of them, or none.

        A tail is the text of a record from `"type":` to the closing brace, in one line.

        Raises:
            OSError: nothing was recorded, so nothing of this turn may be sent.
            ValueError: a tail holds a line end; nothing was recorded.
        """
