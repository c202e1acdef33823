"""What a person sees: colours where they are wanted, tables, and text made harmless.

Colours appear on a terminal only, and not where NO_COLOR is set. Whatever came from outside
(a peer's manifest, a recorded payload) goes through `plain`, because a terminal obeys
control characters.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BOLD, DIM, RED, GREEN, YELLOW, CYAN = "1", "2", "31", "32", "33", "36"

# C0 and C1 controls, DEL, and the characters that reorder or break a line.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_MARKS = re.compile(r"\[[A-Z_]+_REDACTED\]")
_STYLES = re.compile("\x1b\\[[0-9;]*m")


def plain(text: str) -> str:
    """The text with every character that a terminal would obey shown as its escape."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def print_json(value: Any) -> None:
    """Print one JSON document, in ASCII, so that no terminal obeys what is in it."""
    print(json.dumps(value, indent=2, ensure_ascii=True))


class Screen:
    """Standard output or error, as a person reads it."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = sys.stdout if stream is None else stream
        self.is_terminal = self.stream.isatty()
        self.colours = (
            self.is_terminal
            and not os.environ.get("NO_COLOR")
            and os.environ.get("TERM", "dumb") != "dumb"
        )

    def paint(self, text: str, *styles: str) -> str:
        """The text in these styles, or as it is."""
        if not self.colours or not text:
            return text
        return f"\x1b[{';'.join(styles)}m{text}\x1b[0m"

    def marked(self, text: str) -> str:
        """The text with its redactions made visible."""
        return _MARKS.sub(lambda found: self.paint(found.group(), BOLD, YELLOW), text)

    def line(self, text: str = "") -> None:
        """Print one line at once, also where the output is a pipe."""
        print(text, file=self.stream, flush=True)

    def table(self, rows: Iterable[Sequence[str]], *, indent: int = 2) -> None:
        """Print rows with their columns aligned; the last column is not padded."""
        cells = [list(row) for row in rows]
        if not cells:
            return
        widths = [max(_width(row[at]) for row in cells) for at in range(len(cells[0]) - 1)]
        for row in cells:
            padded = [cell + " " * (widths[at] - _width(cell)) for at, cell in enumerate(row[:-1])]
            self.line(" " * indent + "  ".join([*padded, row[-1]]).rstrip())


def _width(text: str) -> int:
    return len(_STYLES.sub("", text))
