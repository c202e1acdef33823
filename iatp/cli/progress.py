"""How far a long command is, on standard error where that is a terminal."""

from __future__ import annotations

import math
import sys
import time

_EACH_S = 0.2
_UNITS = ("bytes", "KB", "MB", "GB", "TB")


class ByteProgress:
    """Bytes done, of how many, how fast, and how long it will take.

    `show` may be called as often as one likes.
    """

    def __init__(self) -> None:
        self.is_shown = sys.stderr.isatty()
        self.began_s = time.monotonic()
        self.due_s = self.began_s + _EACH_S

    def show(self, done: int, total: int) -> None:
        """Say how far it is."""
        now = time.monotonic()
        if not self.is_shown or now < self.due_s:
            return
        self.due_s = now + _EACH_S
        rate = done / (now - self.began_s)
        share = 100 * done // total if total else 100
        left = f", {_duration((total - done) / rate)} left" if rate else ""
        text = f"\r{share:>3} % of {in_units(total)}, {in_units(rate)}/s{left}\x1b[K"
        print(text, end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Take it off the screen."""
        if self.is_shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    whole = math.ceil(seconds)
    return f"{whole} s" if whole < 120 else f"{math.ceil(whole / 60)} min"


def in_units(count: float) -> str:
    """So many bytes, with three digits."""
    for unit in _UNITS:
        if count < 1000 or unit == _UNITS[-1]:
            break
        count /= 1000
    return f"{count:.0f} {unit}" if count >= 100 or unit == _UNITS[0] else f"{count:.3g} {unit}"
