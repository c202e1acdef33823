"""The keeper as a process: started where the log has something to keep, gone when it has not.

Compressing and encrypting would take the event loop's time and memory, so another process does
it, at the lowest priority. Worker 0 starts it and holds one end of a pipe: when that worker ends,
however it does, the keeper sees the other end close and ends too. It may be killed at any moment.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import sys
import time
from typing import Any

from iatp.adapters.encryption import LogKeys
from iatp.adapters.keeper import Keeper, Plan, Stopped
from iatp.sidecar.logs import set_up_logs
from iatp.values.errors import StartError
from iatp.values.settings import LogCompression, LogFormat, LogLevel, Settings

_log = logging.getLogger("iatp")

LOOK_S = 5.0
"""How often worker 0 looks whether there is something to keep."""
IDLE_S = 10.0
"""A keeper without work for this long ends: until the next rotation it would cost memory."""
RETRY_S = 5.0
"""Until a keeper that died is started again; doubled each time it does."""
MAX_RETRY_S = 600.0
UNDONE_S = 3600.0
"""Until what a keeper left undone is reason enough to start another."""
_PAUSE_S = 1.0
_END_S = 1.0
"""How long a stopped sidecar waits for its keeper, which looks at the pipe every 256 KiB."""
_NICE = 19
_BUSY = 75
"""Exit status where another keeper, of a worker that died, still holds the folder."""

_BOOT = (
    "import json, sys; given = json.loads(sys.argv[1]); sys.path[:] = given.pop('path'); "
    "from iatp.sidecar.keeper import main; sys.exit(main(given))"
)


class KeeperProcess:
    """Starts the keeper where there is something to do, and starts it again where it died.

    All calls come from one thread at a time; none raises.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._plan = Plan(
            settings.log_dir,
            compress=settings.log_compress == LogCompression.ZSTD,
            compress_after_s=settings.log_compress_after_s,
            encrypt=settings.log_key_file is not None,
        )
        self._pid = 0
        self._lifeline = -1
        self._not_before = 0.0
        self._retry_s = RETRY_S
        self._given: set[str] = set()
        """Stems that the keeper was started for."""
        self._undone: dict[str, float] = {}
        """Stems that one left undone, and until when that stays so."""

    @property
    def pid(self) -> int:
        """The keeper's process, or 0."""
        return self._pid

    def look(self) -> None:
        """Take note of a keeper that ended, and start one where there is something to do."""
        try:
            if self._pid:
                self._reap()
            if not self._pid and time.monotonic() >= self._not_before:
                stems = self._stems()
                if stems - self._undone.keys():
                    self._given = stems
                    self._start()
        except OSError as error:
            _log.error(
                "The keeper of the log could not be started (%s); it is tried again in %.0f s.",
                error.strerror,
                self._put_off(),
            )

    def _stems(self) -> set[str]:
        """Of what there is something to do with."""
        stems = {task.segment.stem for task in self._plan.tasks()}
        now = time.monotonic()
        self._undone = {
            stem: until for stem, until in self._undone.items() if until > now and stem in stems
        }
        return stems

    def close(self) -> None:
        """Have the keeper end, and see that it does."""
        self._let_go()
        deadline = time.monotonic() + _END_S
        while self._pid and time.monotonic() < deadline:
            self._reap()
            if self._pid:
                time.sleep(0.01)
        if self._pid:
            # It may be: what it was at is made anew.
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0

    def _start(self) -> None:
        if not sys.executable:
            raise OSError(0, "there is no Python interpreter to start it with")
        settings = self._settings
        given = {
            "path": [os.path.abspath(each or ".") for each in sys.path],  # noqa: PTH100
            "folder": os.path.abspath(settings.log_dir),  # noqa: PTH100
            "compress": settings.log_compress == LogCompression.ZSTD,
            "compress_after_s": settings.log_compress_after_s,
            "key_file": settings.log_key_file,
            "idle_s": IDLE_S,
            "log_level": settings.log_level,
            "log_format": settings.log_format,
        }
        # It needs no secret of the sidecar's.
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("IATP_")
        }
        its, mine = os.pipe()
        try:
            self._pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-c", _BOOT, json.dumps(given)],
                environment,
                file_actions=[(os.POSIX_SPAWN_DUP2, its, 0)],
                setsigmask=(),
                setsigdef=(signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE),
            )
        except BaseException:
            os.close(mine)
            raise
        finally:
            os.close(its)
        self._lifeline = mine

    def _reap(self) -> None:
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if not pid:
            return
        stopped = self._lifeline < 0
        self._pid = 0
        self._let_go()
        code = os.waitstatus_to_exitcode(status)
        if stopped:
            return
        if code == 0:
            self._retry_s = RETRY_S
            until = time.monotonic() + UNDONE_S
            self._undone |= dict.fromkeys(self._given & self._stems(), until)
        elif code == _BUSY:
            self._not_before = time.monotonic() + RETRY_S
        else:
            how = f"was killed by signal {-code}" if code < 0 else f"failed with status {code}"
            _log.error(
                "The keeper of the log %s; it is tried again in %.0f s.", how, self._put_off()
            )

    def _put_off(self) -> float:
        retry_s = self._retry_s
        self._not_before = time.monotonic() + retry_s
        self._retry_s = min(2 * retry_s, MAX_RETRY_S)
        return retry_s

    def _let_go(self) -> None:
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1


def main(given: dict[str, Any]) -> int:
    """Keep the log until there is nothing to keep, or standard input closes."""
    os.nice(_NICE)
    # A terminal's interrupt is for the sidecar, which lets go of the pipe once it has drained.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    set_up_logs(LogLevel(given["log_level"]), LogFormat(given["log_format"]))
    try:
        keys = LogKeys.load(given["key_file"]) if given["key_file"] is not None else None
        keeper = Keeper(
            given["folder"],
            compress=given["compress"],
            compress_after_s=given["compress_after_s"],
            keys=keys,
            stopped=lambda: _let_go_of(0.0),
        )
        if not keeper.lock():
            return _BUSY
        _keep(keeper, given["idle_s"])
    except Stopped:
        pass
    except (StartError, OSError) as error:
        _log.error("The keeper of the log: %s", getattr(error, "strerror", None) or error)
        return 1
    return 0


def _keep(keeper: Keeper, idle_s: float) -> None:
    idle_since = time.monotonic()
    while time.monotonic() - idle_since < idle_s:
        if keeper.work():
            idle_since = time.monotonic()
        if _let_go_of(_PAUSE_S):
            return


def _let_go_of(wait_s: float) -> bool:
    """Whether the worker let go of the pipe, or ended, within that time: nobody writes to it."""
    return bool(select.select([0], [], [], wait_s)[0])
