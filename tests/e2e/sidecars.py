"""Real sidecars as processes, and callers that speak to them in raw bytes."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h11
import msgspec

from iatp.adapters.encryption import LogKeys
from iatp.adapters.segments import iter_records
from iatp.values.records import ENDING_TYPES
from tests.cli.programs import environment

TRUSTED = {
    "IATP_TRUST_LEVEL": "trusted",
    "IATP_REVERSIBILITY": "full",
    "IATP_RETENTION": "ephemeral",
}
"""Score 10: a clean request passes, a card passes too."""
KEEPS = {
    "IATP_TRUST_LEVEL": "verified_partner",
    "IATP_REVERSIBILITY": "full",
    "IATP_RETENTION": "permanent",
}
"""S1 of the cases: a clean request passes, a card is blocked."""
STRANGER = {
    "IATP_TRUST_LEVEL": "unknown",
    "IATP_REVERSIBILITY": "none",
    "IATP_RETENTION": "ephemeral",
}
"""S2 of the cases: every request is warned."""

JSON = {"Content-Type": "application/json"}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One answer, as h11 read it."""

    status: int
    headers: list[tuple[str, str]]
    """Names in lower case."""
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name.lower()]

    def header(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    def json(self) -> Any:
        return json.loads(self.body)


class Caller:
    """One connection to a listener: to a port, or to a Unix socket by its path."""

    def __init__(self, place: int | str, timeout_s: float = 20.0, source: str = "") -> None:
        if isinstance(place, str):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout_s)
            try:
                self.socket.connect(place)
            except OSError:
                self.socket.close()
                raise
        else:
            self.socket = socket.create_connection(
                ("127.0.0.1", place), timeout_s, source_address=(source, 0)
            )
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self, method: str = "POST") -> Answer:
        """The next final answer. Raises: ConnectionError where it does not come whole."""
        parser = h11.Connection(h11.CLIENT)
        parser.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        parser.send(h11.EndOfMessage())
        if self._rest:
            parser.receive_data(self._rest)
            self._rest = b""
        head: h11.Response | None = None
        body = b""
        while True:
            try:
                event = parser.next_event()
            except h11.RemoteProtocolError as error:
                raise ConnectionError(str(error)) from None
            if event is h11.NEED_DATA:
                parser.receive_data(self.socket.recv(65536))
            elif isinstance(event, h11.InformationalResponse):
                continue
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                raise ConnectionError("closed before an answer")
        assert head is not None
        self._rest = parser.trailing_data[0]
        return Answer(
            status=head.status_code,
            headers=[(name.decode(), value.decode("latin-1")) for name, value in head.headers],
            body=body,
        )

    def closes(self, within_s: float = 1.0) -> bytes:
        """What still comes until the other end closes; raises TimeoutError where it does not."""
        rest, self._rest = self._rest, b""
        self.socket.settimeout(within_s)
        with contextlib.suppress(ConnectionError):
            while piece := self.socket.recv(65536):
                rest += piece
        return rest


def request(
    method: str = "POST",
    target: str = "/proxy",
    body: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """The bytes of one request; a body gets its Content-Length, and is JSON by default."""
    data = body.encode() if isinstance(body, str) else body
    lines = {"Host": "localhost"}
    if data is not None:
        lines |= {**JSON, "Content-Length": str(len(data))}
    lines |= headers or {}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value != "")
    return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + (data or b"")


def log_key(folder: Path) -> dict[str, str]:
    """The setting of an encrypted log, with its key below `folder`."""
    path = folder / "log.keys"
    path.write_text("ab" * 32 + "\n")
    path.chmod(0o600)
    return {"IATP_LOG_KEY_FILE": str(path)}


class Sidecar:
    """A running sidecar."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        port: int,
        admin_port: int,
        folder: Path,
        path: str = "",
        log_key_file: str = "",
    ) -> None:
        self.process = process
        self.port = port
        self.path = path
        """Of the Unix socket that its data listener is; empty: it is a port."""
        self.admin_port = admin_port
        self.folder = folder
        self.logs = folder / "logs"
        self.log_key_file = log_key_file
        """Empty: its log is not encrypted."""

    def ask(
        self,
        method: str = "POST",
        target: str = "/proxy",
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        port: int | None = None,
    ) -> Answer:
        """One request on a connection of its own."""
        with Caller(port or self.path or self.port) as caller:
            caller.send(request(method, target, body, headers))
            return caller.read(method)

    def post(self, body: bytes | str = "{}", headers: Mapping[str, str] | None = None) -> Answer:
        """`POST /proxy` with this body, as JSON."""
        return self.ask(body=body, headers=headers)

    def get(self, target: str, headers: Mapping[str, str] | None = None) -> Answer:
        """`GET` on the data port."""
        return self.ask("GET", target, headers=headers)

    def admin(self, target: str, headers: Mapping[str, str] | None = None) -> Answer:
        """`GET` on the admin port."""
        return self.ask("GET", target, headers=headers, port=self.admin_port)

    def trace(self, trace_id: str) -> list[dict[str, Any]]:
        """The records of a trace; empty where it is unknown."""
        answer = self.admin(f"/trace/{trace_id}?limit=1000")
        logs: list[dict[str, Any]] = answer.json()["logs"] if answer.status == 200 else []
        return logs

    def records(self) -> list[dict[str, Any]]:
        """Everything in the log folder; a line that is no JSON raises."""
        keys = LogKeys.load(self.log_key_file) if self.log_key_file else None
        return [json.loads(stored.line) for stored in iter_records(self.logs, keys)]

    def endings(self) -> list[dict[str, Any]]:
        """The records that end a request."""
        return [record for record in self.records() if record["type"] in ENDING_TYPES]

    def metric(self, sample: str) -> float:
        """The value of a sample, such as `iatp_inflight` or `x_total{a="b"}`."""
        for line in self.admin("/metrics").body.decode().splitlines():
            name, _, value = line.rpartition(" ")
            if name == sample:
                return float(value)
        raise KeyError(sample)

    def log(self) -> str:
        """What it said on standard error so far."""
        return (self.folder / "log").read_text(errors="replace")

    def stop(self, within_s: float = 30.0) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within_s)

    def workers(self) -> list[int]:
        """Process IDs of its children, oldest first (Linux)."""
        pid = self.process.pid
        path = Path(f"/proc/{pid}/task/{pid}/children")
        return [int(child) for child in path.read_text().split()]


_PORTS = itertools.count(os.getpid() * 61)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on now; each is given once.

    Below those that the kernel hands out, so that no connection takes one before its sidecar.
    """
    found: list[int] = []
    while len(found) < count:
        port = 20000 + next(_PORTS) % 12000
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(("127.0.0.1", port))
            found.append(port)
    return found


@contextlib.contextmanager
def sidecar(
    folder: Path, agent_url: str, variables: Mapping[str, str] | None = None, *, ready: bool = True
) -> Iterator[Sidecar]:
    """A sidecar before this agent, with its log folder and key below `folder`.

    The folder may have served an earlier sidecar. However the test ends, no process stays.
    """
    port, admin_port = free_ports(2)
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "IATP_AGENT_URL": agent_url,
        "IATP_AGENT_ID": "the-agent",
        "IATP_HOST": "127.0.0.1",
        "IATP_PORT": str(port),
        "IATP_ADMIN_PORT": str(admin_port),
        "IATP_LOG_DIR": str(folder / "logs"),
        "IATP_KEY_FILE": str(folder / "key"),
        "IATP_READY_CHECK_AGENT": "false",
        "IATP_DRAIN": "5s",
    } | dict(variables or {})
    host, path = settings["IATP_HOST"], ""
    if host.startswith("unix:"):
        path = host.removeprefix("unix:")
        del settings["IATP_PORT"]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "iatp", "run"],
            env=environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,
        )
    try:
        port = int(settings.get("IATP_PORT", "0"))
        admin_port, keys = int(settings["IATP_ADMIN_PORT"]), settings.get("IATP_LOG_KEY_FILE", "")
        running = Sidecar(process, port, admin_port, folder, path, keys)
        if ready:
            wait_until(lambda: process.poll() is not None or is_ready(path or port), 15.0)
            assert process.poll() is None, running.log()
        yield running
    finally:
        # The whole group: workers too.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def is_ready(place: int | str) -> bool:
    """Whether `/readyz` answers 200."""
    try:
        with Caller(place, 5.0) as caller:
            caller.send(request("GET", "/readyz"))
            return caller.read("GET").status == 200
    except OSError:
        return False


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """The process stands still at the beginning, and in any case not at the end."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def wait_until(holds: Callable[[], bool], within_s: float = 10.0, *, every_s: float = 0.02) -> None:
    """Wait for something to be true. Raises: AssertionError."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(every_s)
