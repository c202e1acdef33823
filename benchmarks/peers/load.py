"""Two load generators: wrk, as fast as it goes, and one of our own that keeps to a rate."""

from __future__ import annotations

import random
import re
import select
import socket
import subprocess
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import ANSWER
from benchmarks.peers.bodies import Body
from benchmarks.peers.proxies import program

_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [==[{body}]==]
function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format("peers: %d %d %d %d %d\\n", summary.requests, summary.duration,
        latency:percentile(50), latency:percentile(99),
        errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
"""


class LoadError(Exception):
    """An answer was an error."""


class LateError(LoadError):
    """No answer was an error, but none came in time: the machine is busy, or the target hangs."""


@dataclass(frozen=True)
class Load:
    """What came of one measurement; latencies in µs."""

    requests: int
    per_second: float
    p50_us: float
    p99_us: float


def flat_out(url: str, body: Body, connections: int, seconds: int, folder: Path) -> Load:
    """Each connection asks again as soon as it is answered.

    Raises: LoadError.
    """
    script = folder / "post.lua"
    script.write_text(_SCRIPT.format(body=body.data.decode()))
    options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "5s", "-s", str(script)]
    done = subprocess.run(
        [program("wrk"), *options, url], capture_output=True, text=True, check=False, timeout=60
    )
    said = re.search(r"^peers: (\d+) (\d+) (\d+) (\d+) (\d+)$", done.stdout, re.MULTILINE)
    if said is None:
        raise LoadError(f"wrk failed: {done.stderr or done.stdout}")
    requests, duration_us, p50, p99, errors = (int(number) for number in said.groups())
    if not errors and not requests:
        raise LateError(f"no answer within {seconds} s")
    if errors:
        raise LoadError(f"{errors} errors in {requests} requests:\n{done.stdout}")
    return Load(requests, requests / (duration_us / 1e6), p50, p99)


def paced(port: int, target: str, body: Body, rate: float, seconds: float) -> Load:
    """Requests at random moments, `rate` a second, whatever the answers do.

    Latency counts from the moment at which a request was due, so none is left out because an
    earlier one took long. At most 128 are under way. Raises: LoadError.
    """
    head = f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    data = f"{head}Content-Length: {len(body.data)}\r\n\r\n".encode() + body.data
    connections = [socket.create_connection(("127.0.0.1", port), 5.0) for _ in range(128)]
    try:
        for each in connections:
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            each.setblocking(False)
        took = _ask_paced(connections, data, rate, seconds)
    finally:
        for each in connections:
            each.close()
    took.sort()
    share = len(took) / 100
    return Load(
        len(took), len(took) / seconds, 1e6 * took[int(50 * share)], 1e6 * took[int(99 * share)]
    )


def _ask_paced(
    connections: list[socket.socket], message: bytes, rate: float, seconds: float
) -> list[float]:
    """The seconds that each took.

    Not asyncio: its timers are those of epoll, whole milliseconds, and a burst each
    millisecond is another load than the one asked for. select(2) takes microseconds.
    """
    by_number = {each.fileno(): each for each in connections}
    idle = list(by_number)
    poll = select.epoll()
    for number in idle:
        poll.register(number, select.EPOLLIN)
    draw = random.Random(17).expovariate
    clock = time.perf_counter
    began = clock()
    due = began + draw(rate)
    waiting: deque[float] = deque()
    asked_at: dict[int, float] = {}
    took: list[float] = []
    with poll:
        while due < began + seconds or waiting or asked_at:
            now = clock()
            if now > began + seconds + 5:
                raise LateError(f"{len(asked_at)} requests were not answered within 5 s")
            while due <= now and due < began + seconds:
                waiting.append(due)
                due += draw(rate)
            while waiting and idle:
                number = idle.pop()
                asked_at[number] = waiting.popleft()
                if by_number[number].send(message) != len(message):
                    raise LoadError("a request did not fit into the socket's buffer")
            left = due - clock() if due < began + seconds else 0.1
            if left > 0:
                select.select([poll.fileno()], [], [], left)
            for number, _ in poll.poll(0):
                answer = by_number[number].recv(65536)
                if not answer.startswith(b"HTTP/1.1 200 ") or not answer.endswith(ANSWER):
                    raise LoadError(f"answered with {answer[:60]!r}")
                took.append(clock() - asked_at.pop(number))
                idle.append(number)
    return took
