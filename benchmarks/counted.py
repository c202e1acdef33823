"""What runs under callgrind: each case between two marks, its name on standard output.

A mark is a call of `os.getppid`: on it callgrind writes down what it counted since the mark
before (`--dump-before=getppid`).
"""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Callable, Sequence
from itertools import repeat

RUNS = 40
"""Calls that are counted; before them as many that are not, so that every cache is warm."""

WORDS = ["the", "time", "of", "one", "day", "and", "of", "the", "next"]


def python() -> tuple[object, int]:
    """A little of what CPython and libc do for us: a dict, strings, a loop, a search."""
    counts = {word: WORDS.count(word) for word in WORDS}
    return sorted(counts), (b"a" * 5000 + b"b").find(b"b")


def call(function: Callable[[], object]) -> None:
    """Call it RUNS times."""
    for _ in repeat(None, RUNS):
        function()


def main() -> None:
    """Run all: first nothing, which is taken off the others, then Python itself."""
    from benchmarks.cases import cases  # noqa: PLC0415  (what else is counted needs none)

    run([("calibration", python), *((case.name, case.ours) for case in cases())])


def run(measured: Sequence[tuple[str, Callable[[], object]]]) -> None:
    """Run these between marks, nothing before them."""
    gc.disable()
    for name, function in [("nothing", functools.partial(id, None)), *measured]:
        call(function)
        os.getppid()
        call(function)
        os.getppid()
        print(name)


if __name__ == "__main__":
    main()
