"""Starts one worker, or several that share the listeners and are replaced when they die.

One worker serves in this very process. With more, this process holds the sockets, the
shared memory and the lock on the log folder, and does nothing but watch: it forks each
worker after everything is imported, so that they share the pages.

A worker may be told to stop more than once (a terminal and a service manager signal every
process, and this one hands the signal on), so to a worker all such signals are one. Ending
at once is this process's to say: it kills. Where this process itself is killed, its workers
see the other end of a pipe close, and drain: nobody would replace them or free their slots.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from iatp.adapters.configuration import memory_limit, raise_file_limit
from iatp.adapters.control_state import ControlState
from iatp.adapters.encryption import LogKeys
from iatp.adapters.keys import installation_key
from iatp.adapters.log_folder import make_parents
from iatp.adapters.recorder import LogFolder
from iatp.adapters.shared_memory import SharedMemory
from iatp.adapters.signing import signing_key
from iatp.sidecar.listeners import Listener, open_listeners
from iatp.sidecar.logs import set_up_logs
from iatp.values.config import Loaded, limits_warnings
from iatp.values.layout import WorkerState

if TYPE_CHECKING:
    from iatp.sidecar.worker import Worker

_log = logging.getLogger("iatp")

RESTART_PAUSE_S = 0.5
"""Between the deaths of one worker that did not live a second: no storm of forks."""
OVERDUE_S = 0.5
"""After the drain has passed, until a worker that has not ended is killed."""
TOLD = (-signal.SIGTERM, -signal.SIGKILL)
"""Exit statuses of a worker that ended as it was told: before it served, or at once."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
_SPARING = {"SSL_CERT_FILE": os.devnull, "FROZENLIST_NO_EXTENSIONS": "1"}
"""Variables of OpenSSL and of aiohttp's lists while aiohttp is imported: 3 MB less of memory."""


def run(loaded: Loaded) -> int:
    """Serve until a signal ends it; return the exit status.

    Raises: StartError.
    """
    settings = loaded.settings
    set_up_logs(settings.log_level, settings.log_format)
    for warning in [*loaded.warnings, *limits_warnings(loaded, raise_file_limit(), memory_limit())]:
        _log.warning("%s", warning)
    listeners = open_listeners(settings)
    try:
        return _run(loaded, listeners)
    finally:
        for listener in listeners:
            listener.remove()
            listener.close()


def _run(loaded: Loaded, listeners: list[Listener]) -> int:
    settings = loaded.settings
    # Until a worker serves there is nothing to rotate; left alone it would end the process.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    keys = LogKeys.load(settings.log_key_file) if settings.log_key_file is not None else None
    make_parents(settings.log_dir)
    folder = LogFolder(settings.log_dir, signing_key(settings.signing_key_file), keys=keys)
    folder.check_writable()
    for leftover in folder.leftovers:
        _log.warning("%s", leftover)
    key = installation_key(Path(settings.key_file))
    ControlState(folder.control_state_path).check()
    memory = SharedMemory(settings.workers, loaded.manifest.capabilities.concurrency_limit)
    for listener in listeners:
        _log.info("%s listener on %s", listener.name, listener.place)
    supervisor = Supervisor(loaded, memory, folder, listeners, key)
    try:
        return supervisor.run()
    finally:
        # All workers have closed their segments.
        try:
            folder.write_head(settings.agent_id)
        except OSError as error:
            _log.warning("The log's head could not be written (%s).", error)
        folder.close()


class Supervisor:
    """Keeps the workers alive, and hands signals on."""

    def __init__(
        self,
        loaded: Loaded,
        memory: SharedMemory,
        folder: LogFolder,
        listeners: list[Listener],
        key: bytes,
    ) -> None:
        self._loaded = loaded
        self._memory = memory
        self._folder = folder
        self._listeners = listeners
        self._key = key
        self._workers: dict[int, int] = {}
        self._started: dict[int, float] = {}
        self._stopping = False
        self._lifeline = (-1, -1)

    def run(self) -> int:
        """Serve in this process or in workers, as the settings say."""
        count = self._loaded.settings.workers
        if count == 1:
            self._memory.set_worker(0, os.getpid(), WorkerState.READY)
            return self._serve(0)
        # Imported here once, so that all workers share the pages.
        _worker_class()
        gc.collect()
        gc.freeze()
        self._memory.set_worker(None, os.getpid(), WorkerState.READY)
        self._lifeline = os.pipe()
        for each in _SIGNALS:
            signal.signal(each, self._on_signal)
        signal.signal(signal.SIGUSR1, self._on_rotate)
        for number in range(count):
            self._start(number)
        status = self._watch()
        # While Python ends these have no handler, and would end it at once.
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        return status

    def _serve(self, number: int, lifeline: int | None = None) -> int:
        worker = _worker_class()(
            self._loaded,
            number=number,
            memory=self._memory,
            folder=self._folder,
            listeners=self._listeners,
            key=self._key,
            prunes=number == 0,
            lifeline=lifeline,
        )
        return worker.run()

    def _start(self, number: int) -> None:
        # A signal that arrives meanwhile is handled once the new worker can be told of it.
        signal.pthread_sigmask(signal.SIG_BLOCK, (*_SIGNALS, signal.SIGUSR1))
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                for each in _SIGNALS:
                    signal.signal(each, signal.SIG_DFL)
                # Until its recorder is there; it then has a new segment anyway.
                signal.signal(signal.SIGUSR1, signal.SIG_IGN)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, (*_SIGNALS, signal.SIGUSR1))
                os.close(self._lifeline[1])
                for listener in self._listeners:
                    listener.keep_only(number)
                status = self._serve(number, self._lifeline[0])
            except BaseException:
                _log.exception("worker %d failed", number)
            finally:
                sys.stderr.flush()
                os._exit(status)
        self._workers[pid] = number
        self._started[number] = time.monotonic()
        self._memory.set_worker(number, pid, WorkerState.READY)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (*_SIGNALS, signal.SIGUSR1))

    def _on_signal(self, _number: int, _frame: object) -> None:
        """Have the workers drain; on the second signal, or when they are overdue, kill them."""
        told = signal.SIGKILL if self._stopping else signal.SIGTERM
        if not self._stopping:
            self._stopping = True
            signal.setitimer(signal.ITIMER_REAL, self._loaded.settings.drain_s + OVERDUE_S)
            # A port on which nobody listens any more must refuse, not keep callers waiting.
            for listener in self._listeners:
                listener.close()
        for pid in tuple(self._workers):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, told)

    def _on_rotate(self, _number: int, _frame: object) -> None:
        """Have every worker begin a new segment."""
        for pid in tuple(self._workers):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR1)

    def _watch(self) -> int:
        """Wait for workers; replace those that die, until all are told to stop."""
        failed = 0
        while self._workers:
            try:
                pid, status = os.waitpid(-1, 0)
            except InterruptedError:
                continue
            number = self._workers.pop(pid, None)
            if number is None:
                continue
            if os.waitstatus_to_exitcode(status) not in (0, *TOLD):
                failed = 1
            self._clear(number)
            if self._stopping:
                continue
            _log.error("worker %d (process %d) died; it is replaced", number, pid)
            if time.monotonic() - self._started[number] < 1.0:
                time.sleep(RESTART_PAUSE_S)
            failed = 0
            if not self._stopping:
                self._start(number)
        return failed

    def _clear(self, number: int) -> None:
        from iatp._fast.limits import reclaim  # noqa: PLC0415  (with the worker's imports)

        views = self._memory.attach(number)
        reclaim(views.slots, views.rows, number)
        self._memory.reset_gauges(number)
        self._memory.set_worker(number, 0, WorkerState.ABSENT)


def _worker_class() -> type[Worker]:
    """Import what serves, which is not done before the settings are known to be right.

    With aiohttp comes its client, which at once reads every certificate authority of the system,
    two megabytes of them. Nothing here asks anyone by TLS, so for it there are none. And its lists
    of callbacks bring the library of C++ in, where they are not the plain ones.
    """
    given = {name: os.environ.get(name) for name in _SPARING}
    os.environ.update(_SPARING)
    try:
        from iatp.sidecar.worker import Worker  # noqa: PLC0415
    finally:
        for name, value in given.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return Worker
