from collections.abc import Callable
from typing import Protocol, final

from typing_extensions import disjoint_base

class _Cipher(Protocol):
    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes: ...

@final
class BlockWriter:
    """Encrypts one file, block after block."""

    def __new__(cls, header: bytes, cipher: _Cipher) -> BlockWriter: ...
    def header(self) -> bytes: ...
    def block(self, pieces: list[bytes], *, last: bool = False) -> list[bytes]: ...
    def end(self) -> None: ...
    def written(self) -> None: ...

@disjoint_base
class Appender:
    """What of a Recorder changes with every turn."""

    _fd: int
    _seq: int
    _size: int
    _file_size: int
    _blocks: BlockWriter | None
    _synced: bool
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
