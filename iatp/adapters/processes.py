"""One task a segment, in as many processes as there are cores for it.

For commands alone: they have one thread, so a fork is safe and costs nothing to import again. What
a process needs of a task it has by the fork; only results are sent. The processes end with the one
that began them, however that ends: at Ctrl-C, at an error, and where it is killed at their next
result.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import Any, Generic, TypeVar

from iatp.values.errors import StartError

T = TypeVar("T")

Progress = Callable[[int, int], None]
"""Told after each segment: bytes done, and of how many."""

_AHEAD = 4
"""Tasks handed out beyond what is being worked on, so that results do not pile up."""


def cores() -> int:
    """Return how many processes may work at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(
    work: Callable[..., T],
    tasks: Sequence[tuple[Any, ...]],
    *,
    names: Sequence[str],
    processes: int,
) -> Iterator[T]:
    """Yield what each task gives, in their order; what one raises is raised in its place.

    `names` says for people what each task is about.

    Raises:
        StartError: a process was ended from outside; it says at what.
    """
    processes = min(processes, len(tasks))
    if processes < 2:
        for task in tasks:
            yield work(*task)
        return
    with contextlib.closing(_Processes(work, tasks, names, processes)) as running:
        yield from running.results()


class _Processes(Generic[T]):
    def __init__(
        self,
        work: Callable[..., T],
        tasks: Sequence[tuple[Any, ...]],
        names: Sequence[str],
        count: int,
    ) -> None:
        self._names = names
        self._tasks = len(tasks)
        self._processes: dict[Connection, ForkProcess] = {}
        self._busy: dict[Connection, int] = {}
        """And with which task."""
        context = multiprocessing.get_context("fork")
        for _ in range(count):
            ours, theirs = multiprocessing.Pipe()
            # It would keep the other ends of the pipes open too.
            given = (work, tasks, theirs, [*self._processes, ours])
            process = context.Process(target=_work, args=given, daemon=True)
            process.start()
            theirs.close()
            self._processes[ours] = process

    def results(self) -> Iterator[T]:
        idle = [*self._processes]
        found: dict[int, tuple[T | None, BaseException | None]] = {}
        begun = 0
        for following in range(self._tasks):
            while following not in found:
                while idle and begun < min(self._tasks, following + len(self._processes) + _AHEAD):
                    self._busy[idle[-1]] = begun
                    self._send(idle.pop(), begun)
                    begun += 1
                for pipe in wait([*self._busy]):
                    assert isinstance(pipe, Connection)  # noqa: S101 - for the type checker
                    number = self._busy.pop(pipe)
                    try:
                        found[number] = pipe.recv()
                        idle.append(pipe)
                    except (EOFError, OSError):
                        found[number] = None, self._ended(pipe, number)
            result, error = found.pop(following)
            if error is not None:
                raise error
            yield result  # type: ignore[misc]

    def _send(self, pipe: Connection, number: int) -> None:
        # One that is gone shows where its result is waited for.
        with contextlib.suppress(OSError):
            pipe.send(number)

    def _ended(self, pipe: Connection, number: int) -> StartError:
        process = self._processes[pipe]
        process.join()
        status = process.exitcode
        return StartError(f"the process that read {self._names[number]} ended (status {status})")

    def close(self) -> None:
        """End them all, whatever they are at."""
        for process in self._processes.values():
            process.kill()
        for pipe, process in self._processes.items():
            pipe.close()
            process.join()
            process.close()


def _work(
    work: Callable[..., Any],
    tasks: Sequence[tuple[Any, ...]],
    pipe: Connection,
    others: list[Connection],
) -> None:
    """Do the tasks whose numbers come, until no more can."""
    # A terminal sends it to all: the one that began us ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for other in others:
        other.close()
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            number = pipe.recv()
            try:
                pipe.send((work(*tasks[number]), None))
            except ConnectionError:
                raise
            except Exception as error:
                error.add_note(traceback.format_exc())
                pipe.send((None, error))
