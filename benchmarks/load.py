"""Requests per second: wrk where it is installed, a caller of our own where it is not."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import uvloop

from benchmarks.cases import CHAT

CONNECTIONS = 32

_WRK_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [==[{body}]==]
"""


@dataclass(frozen=True)
class Load:
    """What came of one run."""

    requests: int
    errors: int
    """Answers that are not 200, and connections that failed."""
    per_second: float


def run(url: str, seconds: int, folder: Path) -> Load:
    """Send `CHAT` over and over on 32 connections."""
    if shutil.which("wrk") is None:
        command = [sys.executable, "-m", "benchmarks.load", url, str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        requests, errors, per_second = done.stdout.split()
        return Load(int(requests), int(errors), float(per_second))
    script = folder / "post.lua"
    script.write_text(_WRK_SCRIPT.format(body=CHAT.decode()))
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script), url]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    total = re.search(r"(\d+) requests in", said)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert total is not None, said
    assert rate is not None, said
    failed = re.findall(
        r"Non-2xx or 3xx responses: (\d+)|(?:connect|read|write|timeout) (\d+)", said
    )
    errors = sum(int(one or other) for one, other in failed)
    return Load(int(total.group(1)), errors, float(rate.group(1)))


class _Caller(asyncio.Protocol):
    """Sends the next request when the answer is whole."""

    def __init__(self, message: bytes, until: float) -> None:
        self.message = message
        self.until = until
        self.seen = b""
        self.requests = self.errors = 0
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self.message)

    def data_received(self, data: bytes) -> None:
        self.seen += data
        head, end, body = self.seen.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self.requests += 1
        self.errors += not head.startswith(b"HTTP/1.1 200 ")
        self.seen = b""
        if time.monotonic() < self.until:
            self.transport.write(self.message)
        else:
            self.ended.set_result(None)
            self.transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        if not self.ended.done():
            self.errors += 1
            self.ended.set_result(None)


async def _call(url: str, seconds: int) -> None:
    address, _, path = url.removeprefix("http://").partition("/")
    host, _, port = address.partition(":")
    head = f"POST /{path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n"
    message = f"{head}Content-Length: {len(CHAT)}\r\n\r\n".encode() + CHAT
    loop = asyncio.get_running_loop()
    began = time.monotonic()
    callers = []
    for _ in range(CONNECTIONS):
        _, caller = await loop.create_connection(
            lambda: _Caller(message, began + seconds), host, int(port)
        )
        callers.append(caller)
    await asyncio.gather(*(caller.ended for caller in callers))
    requests = sum(caller.requests for caller in callers)
    errors = sum(caller.errors for caller in callers)
    print(requests, errors, requests / (time.monotonic() - began))


if __name__ == "__main__":
    uvloop.run(_call(sys.argv[1], int(sys.argv[2])))
