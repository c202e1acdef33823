"""The application as a protocol for one end of a socket pair; the door has the other end.

aiohttp's own limits and timers are set so wide that they never act: the door's limits are
the narrower ones, and the door ends connections.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMethod
from aiohttp.web_protocol import RequestHandler

from iatp.server.errors import failure_response

_log = logging.getLogger("iatp.server")

_OPTIONS: Final[dict[str, Any]] = {
    "logger": _log,
    "access_log": None,
    "tcp_keepalive": False,
    # The door takes lines up to 8 KiB and heads up to 60 KiB and 100 fields, and adds its own.
    "max_line_size": 16 * 1024,
    "max_field_size": 64 * 1024,
    "max_headers": 160,
    "keepalive_timeout": 30 * 24 * 3600.0,
    # A body that no handler reads is in the socket already; it is thrown away, so that the
    # connection lives on and the answer is not lost in a reset.
    "lingering_time": 5.0,
    "auto_decompress": False,
}


class Endpoints:
    """Makes a protocol for each connection of the door, and closes them all."""

    def __init__(self, runner: web.AppRunner, server: web.Server) -> None:
        self._runner = runner
        self._server = server
        self._loop = asyncio.get_running_loop()

    def __call__(self) -> asyncio.Protocol:
        """Return a protocol for `loop.connect_accepted_socket`."""
        return _Connection(self._server, loop=self._loop, **_OPTIONS)

    async def close(self) -> None:
        """End all connections; handlers that run get the runner's shutdown timeout."""
        await self._runner.cleanup()


async def make_protocol_factory(app: web.Application, *, drain_s: float = 5.0) -> Endpoints:
    """Start the application; return it as a factory of protocols on the running loop."""
    # handler_cancellation stays off: a reader that went away is recorded all the same.
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=drain_s)
    await runner.setup()
    server = runner.server
    if server is None:  # only typing can't know that setup() makes it
        raise RuntimeError
    return Endpoints(runner, server)


class _Connection(RequestHandler):
    """aiohttp's protocol, whose last-resort errors have our shape and quote no input."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, BadHttpMethod):
            code = "not_implemented"
        elif status < 500:
            code = "malformed_request"
        else:
            code = "internal_error"
        self.logger.error("aiohttp refused what the door wrote: %s", type(exc).__name__)
        if request.writer is not None and request.writer.output_size > 0:
            message = "an answer had begun"
            raise ConnectionError(message)
        response = failure_response(code, str(uuid.uuid4()))
        response.force_close()
        return response
