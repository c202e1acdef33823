"""The agent of `iatp demo`: a small text agent, in a process of its own.

`POST /` with `{"text": …}` gives what it counted; `GET /received` says how many of those it
was ever sent, so that the demo can show what did not reach it. It listens on a free port of
127.0.0.1, prints that port, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys

from aiohttp import web

_RECEIVED = web.AppKey("received", list[int])


async def count_words(request: web.Request) -> web.Response:
    """Words, sentences and the longest word of the text."""
    request.app[_RECEIVED].append(request.content_length or 0)
    try:
        text = (await request.json())["text"]
        words = re.findall(r"\w+", text)
    except (ValueError, KeyError, TypeError):
        return web.json_response({"error": 'send {"text": "…"}'}, status=422)
    sentences = len(re.findall(r"[.!?]+(?:\s|$)", text))
    longest = max(words, key=len, default="")
    return web.json_response({"words": len(words), "sentences": sentences, "longest": longest})


async def received(request: web.Request) -> web.Response:
    """How many texts came here."""
    return web.json_response({"received": len(request.app[_RECEIVED])})


def build_agent() -> web.Application:
    """The agent's application."""
    agent = web.Application()
    agent[_RECEIVED] = []
    agent.router.add_post("/", count_words)
    agent.router.add_get("/received", received)
    return agent


async def _serve() -> None:
    runner = web.AppRunner(build_agent(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(json.dumps({"port": runner.addresses[0][1]}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_serve())
