"""The sockets that callers connect to: made before anything else, kept over a worker's death.

On Linux each worker has a socket of its own on each port (SO_REUSEPORT), so the kernel
spreads connections and a dead worker's successor finds the queue as it was left. Elsewhere
all workers accept from one socket.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import socket
import struct
import sys
from pathlib import Path

import msgspec

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
    sockets: tuple[socket.socket, ...]

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
        Where it can't be done (only Linux can), closing has to do.
        """
        if sys.platform == "linux":
            program = array.array("B", b"".join(struct.pack("=HBBI", *step) for step in _NO_SYN))
            address, length = program.buffer_info()
            with contextlib.suppress(OSError):
                self.sockets[worker].setsockopt(
                    socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", length // 8, address)
                )


def open_listeners(settings: Settings) -> list[Listener]:
    """Every listener that the settings ask for. Raises: StartError where a port is taken."""
    wanted = [("data", settings.host, settings.port, "IATP_PORT")]
    if settings.admin_port:
        wanted.append(("admin", settings.admin_host, settings.admin_port, "IATP_ADMIN_PORT"))
    if settings.metrics_port is not None:
        wanted.append(("metrics", settings.host, settings.metrics_port, "IATP_METRICS_PORT"))
    return [
        _open(name, host, port, variable, settings.workers) for name, host, port, variable in wanted
    ]


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


def _why(error: OSError, host: str, port: int, variable: str) -> str:
    if error.errno == errno.EADDRINUSE:
        owner = _owner(port)
        held = f" by {owner}" if owner else ""
        return f"port {port} is in use{held}; stop that, or set {variable} to another port"
    if error.errno == errno.EACCES:
        return f"port {port} needs privileges; set {variable} to a port above 1023"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return (
            f"{host} is not an address of this machine; set the host of {variable} to one that is"
        )
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
