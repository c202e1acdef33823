"""Agents for the end-to-end tests: raw sockets, so that every byte that arrives is seen."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import h11
import msgspec


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One request as the agent got it."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    """Names in lower case."""
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name.lower()]

    def header(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None


Reply = Callable[[socket.socket, Seen], bool | None]
"""Answers one request on its connection; True keeps the connection."""


def says(
    body: bytes = b'{"done":true}', *headers: str, status: str = "200 OK", keep: bool = True
) -> Reply:
    """A reply that is always the same."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    message = "\r\n".join(lines).encode("latin-1") + body

    def reply(connection: socket.socket, _: Seen) -> bool:
        connection.sendall(message)
        return keep

    return reply


def sends(message: bytes) -> Reply:
    """A reply of exactly these bytes; the connection closes behind them."""

    def reply(connection: socket.socket, _: Seen) -> bool:
        connection.sendall(message)
        return False

    return reply


class Agent:
    """A server of one script; `raw` is what each connection brought, `seen` what was in it.

    Everything that arrives must be exactly one well-formed request after another (h11 reads
    it); what is not is kept in `broken`.
    """

    def __init__(self, reply: Reply, port: int = 0, path: str = "") -> None:
        self.reply = reply
        self.seen: list[Seen] = []
        self.raw: list[bytearray] = []
        self.broken: list[str] = []
        self.connections = 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self.path = path
        self.port = 0
        if path:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(path)
            self._listener.listen(512)
        else:
            self._listener = socket.create_server(("127.0.0.1", port), backlog=512)
            self.port = self._listener.getsockname()[1]
        self._ended = False
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    @property
    def url(self) -> str:
        return f"unix:{self.path}" if self.path else f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._ended = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()
        self._acceptor.join(5)
        for thread in self._threads:
            thread.join(5)

    def hang_up(self) -> None:
        """Close every connection that is open."""
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._ended:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if not self.path:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open.add(connection)
                self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        raw = bytearray()
        self.raw.append(raw)
        try:
            with connection, contextlib.suppress(OSError):
                while True:
                    seen = self._read(connection, raw)
                    if seen is None or not self.reply(connection, seen):
                        return
        finally:
            with self._lock:
                self._open.discard(connection)

    def _read(self, connection: socket.socket, raw: bytearray) -> Seen | None:
        """The next request; None where the connection ends or what comes is no request."""
        parser = h11.Connection(h11.SERVER)
        head: h11.Request | None = None
        body = b""
        while True:
            try:
                event = parser.next_event()
            except h11.RemoteProtocolError as error:
                self.broken.append(str(error))
                return None
            if event is h11.NEED_DATA:
                piece = connection.recv(65536)
                raw += piece
                parser.receive_data(piece)
                if not piece and head is None:
                    return None
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                return None
        assert head is not None
        if parser.trailing_data[0]:
            self.broken.append(f"bytes behind a request: {parser.trailing_data[0][:80]!r}")
            return None
        seen = Seen(
            method=head.method.decode(),
            target=head.target.decode(),
            headers=[(name.decode(), value.decode("latin-1")) for name, value in head.headers],
            body=body,
        )
        self.seen.append(seen)
        return seen


@contextlib.contextmanager
def agent(reply: Reply | None = None, port: int = 0, path: str = "") -> Iterator[Agent]:
    """A running agent, at `path` on a Unix socket; whatever it gets must be well-formed."""
    running = Agent(reply or says(), port, path)
    try:
        yield running
    finally:
        running.close()
    assert running.broken == []
