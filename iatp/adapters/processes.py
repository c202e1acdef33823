"""One task a segment, in as many processes as there are cores for it.

For commands alone: they have one thread, so a fork is safe and costs nothing to import again.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

Progress = Callable[[int, int], None]
"""Told after each segment: bytes done, and of how many."""

_AHEAD = 4
"""Tasks handed out beyond what is being worked on, so that results do not pile up."""


def cores() -> int:
    """Return how many processes may work at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(
    work: Callable[..., T], tasks: Sequence[tuple[Any, ...]], *, processes: int
) -> Iterator[T]:
    """Yield what each task gives, in their order."""
    processes = min(processes, len(tasks))
    if processes < 2:
        for task in tasks:
            yield work(*task)
        return
    context = multiprocessing.get_context("fork")
    with contextlib.ExitStack() as stack:
        pool = ProcessPoolExecutor(processes, context)
        # Where the caller stops early, nothing more is begun.
        stack.callback(pool.shutdown, cancel_futures=True)
        waiting: list[Future[T]] = []
        for task in tasks:
            waiting.append(pool.submit(work, *task))
            if len(waiting) > processes + _AHEAD:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()
