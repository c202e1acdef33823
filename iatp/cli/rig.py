"""A real agent and sidecars before it, as processes on free ports of 127.0.0.1.

What the demo and the load test stand on. However it ends, short of SIGKILL, no process of
it stays behind.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn
from urllib.parse import urlsplit

from iatp.cli.fetch import FetchError, fetch
from iatp.cli.screen import plain
from iatp.values.errors import StartError

_PORTS = range(20_000, 32_000)
"""No system gives these out by itself: Linux begins at 32768, others at 49152."""
_READY_WITHIN_S = 30.0
_ENDS_WITHIN_S = 5.0


_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Sidecar:
    """A running sidecar."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    admin_port: int
    log: Path

    def get(self, port: int, target: str) -> Any:
        """The JSON at a path of one of its listeners. Raises: FetchError."""
        answer = fetch(urlsplit(f"http://127.0.0.1:{port}"), target, timeout_s=10.0)
        if answer.status != 200:
            raise FetchError(f"{target} answers with status {answer.status}")
        return json.loads(answer.body)

    def last_words(self) -> str:
        """The last line of its log."""
        return _last_line(self.log)


@dataclass(frozen=True)
class Rig:
    """What is running."""

    agent_port: int
    sidecars: dict[str, Sidecar]
    folder: Path

    def received(self) -> int:
        """How many requests reached the agent, asked of the agent itself."""
        url = urlsplit(f"http://127.0.0.1:{self.agent_port}")
        return int(json.loads(fetch(url, "/received", timeout_s=10.0).body)["received"])

    def hold(self) -> NoReturn:
        """Wait until a signal comes. Raises: StartError, where a sidecar ends by itself."""
        while True:
            for sidecar in self.sidecars.values():
                with suppress(subprocess.TimeoutExpired):
                    sidecar.process.wait(0.5)
                    raise StartError(f"the sidecar '{sidecar.name}' ended: {sidecar.last_words()}")


@contextmanager
def start_rig(sidecars: Mapping[str, Mapping[str, str]]) -> Iterator[Rig]:
    """An agent and these sidecars (name to variables), ready; all gone afterwards.

    While it stands, SIGINT, SIGTERM and SIGHUP raise SystemExit.

    Raises:
        StartError: one of them did not start.
    """
    ports = _free_ports(2 * len(sidecars))
    with _orderly_end(), ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="iatp-")))
        agent_port = stack.enter_context(_agent(folder))
        running = {
            name: stack.enter_context(
                _sidecar(name, variables, agent_port, (ports.pop(), ports.pop()), folder)
            )
            for name, variables in sidecars.items()
        }
        for sidecar in running.values():
            _wait_until_ready(sidecar)
        yield Rig(agent_port, running, folder)


class _Signals:
    """What a signal that ends the rig does, and when."""

    def __init__(self) -> None:
        self.starting = False
        self.waiting = 0

    def end(self, number: int, frame: FrameType | None = None) -> None:  # noqa: ARG002
        """Leave by way of every `finally`, but not while a child is half started."""
        if self.starting:
            self.waiting = number
            return
        # Once: what ends the children on the way out must not be cut short by another.
        for each in _ENDING_SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)


_signals = _Signals()


@contextmanager
def _orderly_end() -> Iterator[None]:
    before = {number: signal.signal(number, _signals.end) for number in _ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _child(module: str, *arguments: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs one of our modules, ended on the way out whatever happened."""
    _signals.starting = True
    try:
        process = subprocess.Popen(  # noqa: S603  (our own interpreter and module)
            [sys.executable, "-m", module, *arguments],
            # -m looks in the working folder first: it must be the one that holds this package.
            cwd=Path(__file__).parent.parent.parent,
            # A Ctrl-C is for this process alone, which then ends its children in order.
            process_group=0,
            **options,
        )
    except OSError:
        _signals.starting = False
        raise
    with process:
        try:
            _signals.starting = False
            if _signals.waiting:
                _signals.end(_signals.waiting)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def _agent(folder: Path) -> Iterator[int]:
    """A running agent's port."""
    log = folder / "agent.log"
    with (
        log.open("wb") as errors,
        _child(
            "iatp.cli.demo_agent", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        ) as process,
    ):
        line = process.stdout.readline() if process.stdout else b""
        if not line:
            raise StartError(f"the agent did not start: {_last_line(log)}")
        yield int(json.loads(line)["port"])


@contextmanager
def _sidecar(
    name: str,
    variables: Mapping[str, str],
    agent_port: int,
    ports: tuple[int, int],
    folder: Path,
) -> Iterator[Sidecar]:
    """A sidecar that is starting."""
    port, admin_port = ports
    # Nothing of the caller's own configuration: the rig is the same everywhere.
    environment = {key: text for key, text in os.environ.items() if not key.startswith("IATP_")}
    environment |= dict(variables) | {
        "IATP_AGENT_URL": f"http://127.0.0.1:{agent_port}",
        "IATP_AGENT_ID": name,
        "IATP_HOST": "127.0.0.1",
        "IATP_PORT": str(port),
        "IATP_ADMIN_PORT": str(admin_port),
        "IATP_LOG_DIR": str(folder / name / "logs"),
        "IATP_KEY_FILE": str(folder / name / "key"),
        "IATP_DRAIN": "2s",
    }
    (folder / name).mkdir(mode=0o700)
    log = folder / f"{name}.log"
    with (
        log.open("wb") as output,
        _child(
            "iatp", "run", stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
        ) as process,
    ):
        yield Sidecar(name, process, port, admin_port, log)


def _free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on, nor is given by chance before a sidecar does."""
    found: list[int] = []
    with ExitStack() as stack:
        for port in secrets.SystemRandom().sample(_PORTS, len(_PORTS)):
            with suppress(OSError):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
                found.append(port)
            if len(found) == count:
                return found
    raise StartError(f"no port of 127.0.0.1 from {_PORTS[0]} to {_PORTS[-1]} is free")


def _wait_until_ready(sidecar: Sidecar) -> None:
    deadline = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < deadline:
        if sidecar.process.poll() is not None:
            raise StartError(f"the sidecar '{sidecar.name}' did not start: {sidecar.last_words()}")
        with suppress(FetchError):
            sidecar.get(sidecar.port, "/readyz")
            return
        time.sleep(0.02)
    raise StartError(
        f"the sidecar '{sidecar.name}' was not ready within {_READY_WITHIN_S:g} s: "
        f"{sidecar.last_words()}"
    )


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return plain(lines[-1]) if lines else "it said nothing"
