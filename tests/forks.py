"""Real child processes for tests of what processes share."""

from __future__ import annotations

import os
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def start(work: Callable[[], None]) -> int:
    """Return the pid of a fork that does the work and ends with 0, or with 1 if it raised."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def join(*pids: int) -> None:
    """Wait for all and fail unless each ended with 0."""
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    assert codes == [0] * len(pids)


def kill(pid: int) -> None:
    """kill -9 and wait."""
    os.kill(pid, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


@contextmanager
def gate() -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """Give (wait, open): children wait until the parent opens, so that they truly compete."""
    reader, writer = os.pipe()
    opened = False

    def wait() -> None:
        os.close(writer)
        os.read(reader, 1)

    def open_() -> None:
        nonlocal opened
        if not opened:
            opened = True
            os.close(writer)

    try:
        yield wait, open_
    finally:
        open_()
        os.close(reader)


NOBODY = 65534


@contextmanager
def unprivileged() -> Iterator[tuple[Path, Callable[[Callable[[], None]], None]]]:
    """Give a folder and what runs a function as a user that modes bind: us, or not root."""
    is_root = os.geteuid() == 0
    with tempfile.TemporaryDirectory(prefix="iatp-test-") as name:
        folder = Path(name)

        def run(work: Callable[[], None]) -> None:
            if not is_root:
                work()
                return

            def drop() -> None:
                os.setgid(NOBODY)
                os.setuid(NOBODY)
                work()

            for path in [folder, *folder.rglob("*")]:
                os.chown(path, NOBODY, NOBODY)
            join(start(drop))

        yield folder, run
