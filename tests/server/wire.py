"""The application over a real socket pair, asked in raw bytes as the door writes them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import h11
import msgspec
import uvloop

from iatp._fast.gate import Gate
from iatp.decisions.policy import GatePolicy
from iatp.server.app import build_app
from iatp.server.plane import ControlPlane
from iatp.server.protocol import make_protocol_factory
from iatp.values.manifest import RetentionPolicy, ReversibilityLevel, TrustLevel

T = TypeVar("T")

TRACE = "0190a1b2-trace"
REQUEST = "0190a1b2-request"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    def json(self) -> Any:
        assert self.header("Content-Type") == "application/json"
        return json.loads(self.body)


class Page(msgspec.Struct, frozen=True):
    logs: list[msgspec.Raw]
    next: str | None = None


class Records:
    """Three traces in memory, and the access records that were written."""

    def __init__(self) -> None:
        self.access: list[dict[str, Any]] = []
        self.failing = False
        self.reasons: list[str] = []
        self.warnings: list[str] = []
        self.traces = {
            "known": [b'{"type":"request","n":%d}' % n for n in range(250)],
            "a": [b"{}"],
        }

    async def read(self, trace_id: str, *, limit: int, after: str | None) -> Page:
        if trace_id == "broken":
            raise RuntimeError("/secret/path 4111111111111111")
        start = int(after or 0)  # ValueError, as the interface says
        records = self.traces.get(trace_id, [])
        logs = [msgspec.Raw(record) for record in records[start : start + limit]]
        more = start + limit < len(records)
        return Page(logs, str(start + limit) if more else None)

    async def quarantine(self, trace_id: str) -> dict[str, Any] | None:
        return {"trace_id": trace_id, "user_override": True} if trace_id == "known" else None

    async def write(self, tail: bytes) -> None:
        if self.failing:
            raise OSError(28, "No space left on device: '/secret/path'")
        assert b"\n" not in tail
        self.access.append(json.loads(b"{" + tail))

    async def readiness(self) -> list[str]:
        return self.reasons

    async def warn(self) -> list[str]:
        return self.warnings

    async def metrics(self, accept: str) -> tuple[str, bytes]:
        return "text/plain; version=1.0.0; charset=utf-8", f"# asked for {accept}\n".encode()


GATE = Gate(
    GatePolicy(
        agent_id="an-agent",
        trust_level=TrustLevel.STANDARD,
        reversibility=ReversibilityLevel.NONE,
        retention=RetentionPolicy.EPHEMERAL,
        mac_key=b"m" * 16,
    )
)


def make_plane(records: Records, **changes: Any) -> ControlPlane:
    settings: dict[str, Any] = {
        "agent_id": "an-agent",
        "manifest_document": b'{"agent_id":"an-agent"}',
        "data_host": "0.0.0.0",
        "admin_host": "127.0.0.1",
        "admin_token": None,
        "control_on_data": True,
        "readiness": records.readiness,
        "warnings": records.warn,
        "metrics": records.metrics,
        "read_trace": records.read,
        "quarantine": records.quarantine,
        "scrub_target": GATE.scrub_target,
        "record_access": records.write,
    }
    return ControlPlane(**(settings | changes))


class Wire:
    """The door's end of the socket pair."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._connection = h11.Connection(h11.CLIENT)

    async def ask(
        self,
        method: str,
        target: str,
        *headers: str,
        listener: str = "data",
        peer: str = "127.0.0.1",
        forwarded: bool = False,
        host: str = "localhost:8001",
        body: bytes = b"",
    ) -> Answer:
        lines = [
            f"{method} {target} HTTP/1.1",
            f"Host: {host}",
            *headers,
            f"X-IATP-Listener: {listener}",
            f"X-IATP-Peer: {peer}",
            f"X-IATP-Forwarded: {int(forwarded)}",
            f"X-IATP-Trace-ID: {TRACE}",
            f"X-IATP-Request-ID: {REQUEST}",
        ]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        return await self.ask_raw(head + body, method)

    async def ask_raw(self, data: bytes, method: str = "GET") -> Answer:
        connection = self._connection
        if connection.our_state is h11.DONE:
            connection.start_next_cycle()
        # Tells h11 the method, so that it knows which answers have a body; it sends nothing.
        connection.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        connection.send(h11.EndOfMessage())
        self._writer.write(data)
        status, fields, body = 0, [], b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await asyncio.wait_for(self._reader.read(65536), 10))
            elif isinstance(event, h11.Response):
                status = event.status_code
                fields = [(k.decode(), v.decode("latin-1")) for k, v in event.headers.raw_items()]
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return Answer(status=status, headers=fields, body=body)
            else:
                raise AssertionError(event)

    async def at_end(self) -> bool:
        """Whether the application has closed the connection, with nothing behind."""
        return await asyncio.wait_for(self._reader.read(), 10) == b""


@contextlib.asynccontextmanager
async def wire(plane: ControlPlane) -> AsyncIterator[Wire]:
    loop = asyncio.get_running_loop()
    factory = await make_protocol_factory(build_app(plane))
    door, inner = socket.socketpair()
    door.setblocking(False)
    inner.setblocking(False)
    await loop.connect_accepted_socket(factory, inner)
    reader, writer = await asyncio.open_connection(sock=door, limit=1 << 20)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()
        await factory.close()


def ask(plane: ControlPlane, method: str, target: str, *headers: str, **where: Any) -> Answer:
    """One request on a connection of its own."""

    async def one() -> Answer:
        async with wire(plane) as there:
            return await there.ask(method, target, *headers, **where)

    return run(one())


def run(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
