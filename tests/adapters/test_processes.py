"""Tasks shared out over processes: in order, each once, and nothing is left of what was begun."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from iatp.adapters.processes import each
from iatp.values.errors import StartError
from tests.cli.programs import environment

NAMES = [f"task {number}" for number in range(40)]


def square(number: int) -> tuple[int, int]:
    time.sleep(0.001 * (number * 7 % 5))
    if number == 33:
        raise OSError(5, "this one can't")
    if number == 35:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number, os.getpid()


def run(count: int, processes: int) -> Iterator[tuple[int, int]]:
    tasks = [(number,) for number in range(count)]
    return each(square, tasks, names=NAMES[:count], processes=processes)


def descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


@pytest.mark.parametrize("processes", [1, 2, 3, 64])
@pytest.mark.parametrize("count", [0, 1, 2, 30])
def test_all_come_in_order(processes: int, count: int) -> None:
    before = descriptors()
    found = [*run(count, processes)]
    assert [result for result, _ in found] == [number * number for number in range(count)]
    others = {pid for _, pid in found} - {os.getpid()}
    assert len(others) <= (min(processes, count) if min(processes, count) > 1 else 0)
    assert all(is_gone(pid) for pid in others)
    assert descriptors() == before


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("processes", [1, 3])
def test_an_error_comes_in_its_place(processes: int) -> None:
    found = run(40, processes)
    assert [next(found)[0] for _ in range(33)] == [number * number for number in range(33)]
    with pytest.raises(OSError, match="this one can't") as caught:
        next(found)
    assert caught.value.errno == 5


def test_a_process_that_is_killed_is_said_and_at_what() -> None:
    tasks = [(number,) for number in (1, 2, 35, 3, 4)]
    with pytest.raises(StartError, match=r"the process that read task 2 ended \(status -9\)"):
        [*each(square, tasks, names=NAMES, processes=2)]


def test_what_is_not_asked_for_is_ended() -> None:
    found = run(30, 2)
    pids = {next(found)[1] for _ in range(5)}
    found.close()  # type: ignore[attr-defined]
    assert all(is_gone(pid) for pid in pids)


SLOW = """
import os, signal, sys, time
# A shell has what it starts in the background ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
from iatp.adapters.processes import each

def work(number):
    os.write(1, b"%d\\n" % os.getpid())
    time.sleep(60)

try:
    list(each(work, [(1,), (2,)], names=["one", "two"], processes=2))
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_all_end_with_the_one_that_began_them(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SLOW if number == signal.SIGINT else SLOW.replace("60", "1")],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            pids = [int(process.stdout.readline()) for _ in range(2)]
            assert not any(map(is_gone, pids))
            if number == signal.SIGINT:
                # As a terminal does: to all of them.
                os.killpg(process.pid, number)
            else:
                process.kill()
            # Ends once none of them has it open any more.
            assert process.stderr.read() == ""
            assert process.wait(5) == (130 if number == signal.SIGINT else -number)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
