"""An agent that one should think twice about: it keeps for good all that it is told.

    python examples/untrusted_agent.py --port 8002

POST /        {"message": "…"}: an answer
POST /chat    {"message": "…"}: the same, word by word (server-sent events)
GET  /memory  how much it has kept

It says so itself, in untrusted_manifest.json: nothing can be undone, people read along. Its
trust score is 0, so a sidecar asks the caller's user before anything is sent here, and
blocks card numbers and SSNs whatever the user says.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import dataclass, field

from aiohttp import web

WORD_INTERVAL_S = 0.1
# For good means as long as it runs, here: an example should not fill anybody's disk.
KEPT = 10_000


@dataclass
class Memory:
    """All that was said, newest last."""

    messages: list[str] = field(default_factory=list)

    def keep(self, message: str) -> str:
        """Remember a message; return what to say to it."""
        self.messages.append(message)
        del self.messages[:-KEPT]
        return f"I will remember all {len(message)} characters of that, for good."


MEMORY = web.AppKey("memory", Memory)


async def _read_message(request: web.Request) -> str:
    try:
        body = json.loads(await request.read())
    except ValueError:
        raise web.HTTPBadRequest(text="The body is not JSON.\n") from None
    message = body.get("message") if isinstance(body, dict) else None
    if not isinstance(message, str):
        raise web.HTTPUnprocessableEntity(text="message must be a string.\n")
    return message


async def answer(request: web.Request) -> web.Response:
    """POST /."""
    message = await _read_message(request)
    return web.json_response({"answer": request.app[MEMORY].keep(message)})


async def chat(request: web.Request) -> web.StreamResponse:
    """POST /chat."""
    words = request.app[MEMORY].keep(await _read_message(request)).split()
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
    )
    await response.prepare(request)
    for number, word in enumerate(words):
        if number:
            await asyncio.sleep(WORD_INTERVAL_S)
        await response.write(f"data: {json.dumps({'word': word})}\n\n".encode())
    await response.write(b"event: done\ndata: {}\n\n")
    return response


async def memory(request: web.Request) -> web.Response:
    """GET /memory."""
    return web.json_response({"kept": len(request.app[MEMORY].messages)})


def build_app() -> web.Application:
    """Return the agent."""
    app = web.Application(client_max_size=1024 * 1024)
    app[MEMORY] = Memory()
    app.router.add_post("/", answer)
    app.router.add_post("/chat", chat)
    app.router.add_get("/memory", memory)
    return app


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="An agent that keeps all it is told.")
    parser.add_argument("--host", default="127.0.0.1", help="default 127.0.0.1")
    parser.add_argument("--port", type=int, default=8002, help="default 8002")
    arguments = parser.parse_args()
    web.run_app(build_app(), host=arguments.host, port=arguments.port, access_log=None)


if __name__ == "__main__":
    main()
