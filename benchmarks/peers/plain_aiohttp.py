"""A proxy as one writes it with aiohttp: its server, its client, and nothing in between.

python -m benchmarks.peers.plain_aiohttp PORT AGENT_PORT
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import uvloop
from aiohttp import ClientSession, TCPConnector, web
from multidict import CIMultiDict

OF_ONE_CONNECTION = ("Connection", "Keep-Alive", "Transfer-Encoding", "Content-Length", "Host")


async def _run(port: int, agent_port: int) -> web.Application:
    application = web.Application(client_max_size=1 << 20)
    session = web.AppKey("session", ClientSession)

    async def hold_session(application: web.Application) -> AsyncIterator[None]:
        # The default limit of 100 connections would make callers wait.
        connector = TCPConnector(limit=0, keepalive_timeout=60)
        async with ClientSession(connector=connector, auto_decompress=False) as opened:
            application[session] = opened
            yield

    async def forward(request: web.Request) -> web.Response:
        async with request.app[session].request(
            request.method,
            f"http://127.0.0.1:{agent_port}{request.raw_path}",
            headers=_kept(request.headers.copy()),
            data=await request.read(),
            allow_redirects=False,
        ) as answer:
            return web.Response(
                status=answer.status,
                headers=_kept(answer.headers.copy()),
                body=await answer.read(),
            )

    application.cleanup_ctx.append(hold_session)
    application.router.add_route("*", "/{path:.*}", forward)
    return application


def _kept(headers: CIMultiDict[str]) -> CIMultiDict[str]:
    for name in OF_ONE_CONNECTION:
        headers.popall(name, None)
    return headers


if __name__ == "__main__":
    own_port, behind = int(sys.argv[1]), int(sys.argv[2])
    web.run_app(
        _run(own_port, behind),
        host="127.0.0.1",
        port=own_port,
        backlog=1024,
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )
