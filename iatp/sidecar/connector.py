"""Opens connections upstream, off the hot path: to the agent, and to the application."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections import deque
from typing import Any

from iatp.values.address import AgentAddress

_log = logging.getLogger("iatp")

CONNECT_S = 5.0
"""Name and connection together (the limits of the wire)."""
OPENING = 64
"""Connections to the agent that are being opened at a time: more would not be open sooner, and
thousands of them would cost several KiB each."""
NAME_KEPT_S = 10.0
"""An agent that moves to another address is found after this."""


class AgentConnector:
    """Connects to the agent; every address that its name has is tried."""

    def __init__(self, address: AgentAddress) -> None:
        self._address = address
        self._place = f"unix:{address.unix_path}" if address.unix_path else address.authority
        self._found: list[Any] = []
        self._found_at = float("-inf")
        self._preferred: Any = None
        self._lookup: asyncio.Future[Any] | None = None
        self._wanted: deque[tuple[Any, Any, float]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        # What was said last, so that each change is said once.
        self._reached = True

    def __call__(self, pool: Any, exchange: Any) -> None:
        """Open a link of `pool` for `exchange` in the background."""
        self._wanted.append((pool, exchange, time.monotonic()))
        if len(self._tasks) < OPENING:
            task = asyncio.get_running_loop().create_task(self._open_wanted())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _open_wanted(self) -> None:
        """Open what is wanted, one after the other; OPENING of these run at a time."""
        while self._wanted:
            await self._open(*self._wanted.popleft())

    async def _open(self, pool: Any, exchange: Any, wanted_s: float) -> None:
        began = time.monotonic()
        if not self._reached and began - wanted_s > CONNECT_S:
            # It has waited behind connections that failed: that was its time.
            pool.connect_failed(exchange)
            return
        try:
            async with asyncio.timeout(CONNECT_S):
                link = await self._connect(pool)
        except Exception as error:
            # UnicodeError: a name that no resolver can be asked for.
            if not isinstance(error, OSError | UnicodeError):
                _log.exception("a connection to the agent could not be made")
            self._found_at = float("-inf")
            if self._reached:
                self._reached = False
                _log.warning("the agent at %s cannot be reached", self._place)
            pool.connect_failed(exchange)
        else:
            if not self._reached:
                self._reached = True
                _log.info("the agent at %s is reached again", self._place)
            pool.connected(link, exchange, time.monotonic() - began)

    async def _connect(self, pool: Any) -> Any:
        loop = asyncio.get_running_loop()
        made = await self._open_socket(CONNECT_S)
        try:
            if made.family == socket.AF_UNIX:
                _, link = await loop.create_unix_connection(pool.link, sock=made)
            else:
                _, link = await loop.create_connection(pool.link, sock=made)
        except BaseException:
            made.close()
            raise
        return link

    async def _open_socket(self, within_s: float) -> socket.socket:
        """A connected socket. Raises: OSError."""
        if self._address.unix_path:
            return await _connect_unix(self._address.unix_path)
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + within_s
        failure: OSError | None = None
        found = await self._resolve()
        # An address that answered where an earlier one did not is asked first from then on.
        found = sorted(found, key=lambda one: one[4] != self._preferred)
        for left, (family, kind, protocol, _, address) in zip(
            range(len(found), 0, -1), found, strict=True
        ):
            made = socket.socket(family, kind, protocol)
            try:
                made.setblocking(False)  # noqa: FBT003  (the method's own shape)
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                # An address that never answers leaves the others their share of the time.
                async with asyncio.timeout((ends_at - loop.time()) / left):
                    await loop.sock_connect(made, address)
            except OSError as error:
                made.close()
                failure = error
            except BaseException:
                made.close()
                raise
            else:
                if failure is not None:
                    self._preferred = address
                return made
        self._preferred = None
        raise failure or OSError

    async def _resolve(self) -> list[Any]:
        """Addresses of the agent; one lookup at a time, so a slow resolver holds one thread."""
        if time.monotonic() - self._found_at < NAME_KEPT_S:
            return self._found
        if self._lookup is None:
            lookup: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            look_up(self._address.host, self._address.port, lookup)
            lookup.add_done_callback(self._looked_up)
            self._lookup = lookup
        return await asyncio.shield(self._lookup)

    def _looked_up(self, lookup: asyncio.Future[Any]) -> None:
        self._lookup = None
        if not lookup.cancelled() and lookup.exception() is None:
            self._found = lookup.result()
            self._found_at = time.monotonic()

    async def answers(self, timeout_s: float = 1.0) -> bool:
        """Whether the agent's port (or Unix socket) takes a connection now."""
        try:
            async with asyncio.timeout(timeout_s):
                made = await self._open_socket(timeout_s)
        except (OSError, UnicodeError):
            self._found_at = float("-inf")
            return False
        made.close()
        return True


async def _connect_unix(path: str) -> socket.socket:
    """A connected socket. Raises: OSError; while the agent's queue is full it waits."""
    made = socket.socket(socket.AF_UNIX)
    try:
        made.setblocking(False)  # noqa: FBT003  (the method's own shape)
        pause_s = 0.002
        while True:
            # Done or refused at once; with a full queue nothing has begun that a
            # poll could wait for (unix(7)), which the event loop's own connect would do.
            with contextlib.suppress(BlockingIOError):
                made.connect(path)
                return made
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.1)
    except BaseException:
        made.close()
        raise


def look_up(host: str, port: int, found: asyncio.Future[Any]) -> None:
    """Have the resolver find the addresses of a name, on a thread that nobody waits for.

    The event loop's own threads, and those of an executor, are waited for when the process
    ends, however long a name server keeps them.

    Raises: RuntimeError where no thread can be started.
    """
    loop = asyncio.get_running_loop()

    def tell(addresses: list[Any] | None, error: Exception | None) -> None:
        if found.done():
            return
        if error is not None:
            found.set_exception(error)
        else:
            found.set_result(addresses)

    def work() -> None:
        addresses, failure = None, None
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except Exception as error:
            failure = error
        # The loop may have ended meanwhile.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(tell, addresses, failure)

    threading.Thread(target=work, name="iatp-resolver", daemon=True).start()


class ApplicationConnector:
    """Connects to the aiohttp application over a socket pair inside the process."""

    def __init__(self, endpoints: Any) -> None:
        self._endpoints = endpoints
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, pool: Any, exchange: Any) -> None:
        """Open a link of `pool` for `exchange` in the background."""
        task = asyncio.get_running_loop().create_task(self._open(pool, exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open(self, pool: Any, exchange: Any) -> None:
        loop = asyncio.get_running_loop()
        try:
            ours, theirs = socket.socketpair()
        except OSError:
            pool.connect_failed(exchange)
            return
        ours.setblocking(False)  # noqa: FBT003  (the method's own shape)
        theirs.setblocking(False)  # noqa: FBT003
        await loop.connect_accepted_socket(self._endpoints, theirs)
        _, link = await loop.create_unix_connection(pool.link, sock=ours)
        pool.connected(link, exchange, 0.0)
