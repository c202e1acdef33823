"""The sockets that callers connect to: made before anything else, kept over a worker's death.

On Linux each worker has a socket of its own on each port (SO_REUSEPORT), so the kernel
spreads connections and a dead worker's successor finds the queue as it was left. Elsewhere,
and on a Unix socket, all workers accept from one socket.

The file of a Unix socket is replaced where nobody listens on it any more, and taken away
when the last worker stops listening. Who may connect is said by the folder that it is in:
with its set-group-ID bit the folder's group, else this user alone.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import socket
import stat
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from iatp.values.address import UNIX, socket_path
from iatp.values.config import Settings
from iatp.values.errors import StartError

BACKLOG = 4096
"""Connections that wait to be accepted; the kernel caps it at net.core.somaxconn."""

_SO_ATTACH_FILTER = 26
_NO_SYN = (
    (0x30, 0, 0, 13),  # the byte of the TCP header that holds the flags
    (0x45, 0, 1, 0x02),  # SYN?
    (0x06, 0, 0, 0),  # drop it: its sender tries again in a second
    (0x06, 0, 0, 0xFFFF),  # else take it whole
)
"""A classic BPF program (linux/filter.h): code, steps if true, steps if false, operand."""


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """One port and its sockets, one for each worker."""

    name: str
    """`data`, `admin` or `metrics`."""
    host: str
    port: int
    """0: a Unix socket."""
    sockets: tuple[socket.socket, ...]
    path: str = ""
    """Of a Unix socket."""
    file: tuple[int, int] = (0, 0)
    """Device and inode of its file, by which it is known not to be another's."""

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"{UNIX}{self.path}" if self.path else f"{self.host} port {self.port}"

    def remove(self) -> None:
        """Take the file of a Unix socket away; what has connected can still be accepted."""
        if self.path:
            with contextlib.suppress(OSError):
                if _identity(self.path) == self.file:
                    Path(self.path).unlink()

    def close(self) -> None:
        """Give up all sockets; the port is free once every process has done so."""
        for each in self.sockets:
            each.close()

    def keep_only(self, worker: int) -> None:
        """Give up the sockets of other workers."""
        for each in self.sockets:
            if each is not self.sockets[worker]:
                each.close()

    def turn_away(self, worker: int) -> None:
        """Let no new connection begin, while those that have begun can still be accepted.

        Closing alone would reset what the kernel has taken and the worker has not seen yet.
        Where it can't be done (only Linux can), closing has to do. On a Unix socket it is
        `remove`, for all workers at once.
        """
        if sys.platform == "linux" and not self.path:
            program = array.array("B", b"".join(struct.pack("=HBBI", *step) for step in _NO_SYN))
            address, length = program.buffer_info()
            with contextlib.suppress(OSError):
                self.sockets[worker].setsockopt(
                    socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", length // 8, address)
                )


def open_listeners(settings: Settings) -> list[Listener]:
    """Every listener that the settings ask for. Raises: StartError where a port is taken."""
    wanted = []
    if settings.port is not None:
        wanted.append(("data", settings.host, settings.port, "IATP_PORT"))
    if settings.admin_port:
        wanted.append(("admin", settings.admin_host, settings.admin_port, "IATP_ADMIN_PORT"))
    if settings.metrics_port is not None:
        host = settings.metrics_host
        wanted.append(("metrics", host, settings.metrics_port, "IATP_METRICS_PORT"))
    opened: list[Listener] = []
    try:
        for name, host, port, variable in wanted:
            opened.append(_open(name, host, port, variable, settings.workers))
        if path := socket_path(settings.host):
            # Last: nothing that fails after it leaves a file behind.
            opened.insert(0, _open_unix(path, settings.workers))
    except StartError:
        for listener in opened:
            listener.close()
        raise
    return opened


def _open(name: str, host: str, port: int, variable: str, workers: int) -> Listener:
    try:
        # Without SO_REUSEPORT: a port that another process has is found, not shared.
        first = _bind(host, port, shared=False)
    except OSError as error:
        raise StartError(_why(error, host, port, variable)) from None
    port = first.getsockname()[1]
    if workers == 1 or sys.platform != "linux":
        first.listen(BACKLOG)
        return Listener(name=name, host=host, port=port, sockets=(first,) * workers)
    first.close()
    sockets: list[socket.socket] = []
    try:
        sockets.extend(_bind(host, port, shared=True) for _ in range(workers))
    except OSError as error:
        raise StartError(_why(error, host, port, variable)) from None
    for each in sockets:
        each.listen(BACKLOG)
    return Listener(name=name, host=host, port=port, sockets=tuple(sockets))


def _bind(host: str, port: int, *, shared: bool) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.setblocking(False)  # noqa: FBT003  (the method's own shape)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made


def _open_unix(path: str, workers: int) -> Listener:
    made = socket.socket(socket.AF_UNIX)
    try:
        made.setblocking(False)  # noqa: FBT003  (the method's own shape)
        with _folder_lock(path) as group:
            _clear(path)
            made.bind(path)
            # Nobody can connect before it listens, so no one finds it with other rights.
            Path(path).chmod(0o660 if group else 0o600)
            made.listen(BACKLOG)
            file = _identity(path)
    except OSError as error:
        made.close()
        why = os.strerror(error.errno) if error.errno else str(error)
        raise StartError(
            f"cannot listen on {UNIX}{path} ({why}); make its folder one that this user may write "
            "to, or set IATP_HOST to another path"
        ) from None
    except StartError:
        made.close()
        raise
    return Listener(
        name="data", host=UNIX + path, port=0, sockets=(made,) * workers, path=path, file=file
    )


@contextlib.contextmanager
def _folder_lock(path: str) -> Iterator[bool]:
    """Keep other sidecars from the socket's folder; give its set-group-ID bit.

    Else two that start at once could each take the other's socket for a stale one.
    """
    folder = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield bool(os.fstat(folder).st_mode & stat.S_ISGID)
    finally:
        os.close(folder)


def _clear(path: str) -> None:
    """Take a socket's file away on which nobody listens. Raises: StartError where it is used."""
    try:
        mode = Path(path).lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StartError(f"{path} is there and is not a socket; set IATP_HOST to another path")
    with socket.socket(socket.AF_UNIX) as probe:
        # A listener with a full queue would keep the probe waiting.
        probe.setblocking(False)  # noqa: FBT003
        if probe.connect_ex(path) != errno.ECONNREFUSED:
            raise StartError(
                f"{UNIX}{path} is in use; stop what listens there, or set IATP_HOST to another path"
            )
    Path(path).unlink()


def _identity(path: str) -> tuple[int, int]:
    found = Path(path).lstat()
    return found.st_dev, found.st_ino


def _why(error: OSError, host: str, port: int, variable: str) -> str:
    if error.errno == errno.EADDRINUSE:
        owner = _owner(port)
        held = f" by {owner}" if owner else ""
        return f"port {port} is in use{held}; stop that, or set {variable} to another port"
    if error.errno == errno.EACCES:
        return f"port {port} needs privileges; set {variable} to a port above 1023"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        of_host = "IATP_ADMIN_HOST" if variable == "IATP_ADMIN_PORT" else "IATP_HOST"
        return f"{host} is not an address of this machine; set {of_host} to one that is"
    return f"cannot listen on {host} port {port}: {os.strerror(error.errno or 0)}"


def _owner(port: int) -> str:
    """Which process listens on a port, where /proc shows it."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return ""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for fd in (process / "fd").iterdir():
                if str(fd.readlink()) in inodes:
                    name = (process / "comm").read_text().strip()
                    return f"{name} (process {process.name})"
    return ""
