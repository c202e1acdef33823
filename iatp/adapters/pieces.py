"""What a file keeps in pieces, read: frames that are compressed, blocks that are encrypted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator


class InPieces(ABC):
    """What stands in such a file, by its place in the plain text."""

    def read(self, offset: int, length: int) -> bytes:
        """Return so many bytes from there, or fewer where it ends.

        Raises: SegmentError where a piece of them was changed.
        """
        pieces = [*self._pieces(offset, length)]
        return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)

    def read_into(self, offset: int, view: memoryview) -> int:
        """Put what stands there into the view; return how many bytes that are. Raises as `read`."""
        done = 0
        for piece in self._pieces(offset, len(view)):
            view[done : done + len(piece)] = piece
            done += len(piece)
        return done

    @abstractmethod
    def _pieces(self, offset: int, length: int) -> Iterator[memoryview]:
        """Yield what of each piece is asked for, in order."""
