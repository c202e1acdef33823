"""More than fits: it is turned away at once, and memory stays bounded (cases F23, F25)."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import resource
import socket
import time
from pathlib import Path

import h11

from tests.e2e.agents import Seen, agent, says
from tests.e2e.load import peak_kib
from tests.e2e.sidecars import TRUSTED, request, sidecar, wait_until

MIB = 1 << 20


async def _ask(port: int, message: bytes) -> tuple[int, str, float]:
    """One request on a connection of its own: status, code, seconds from its connect on."""
    loop = asyncio.get_running_loop()
    began = time.monotonic()
    with socket.socket() as connection:
        connection.setblocking(False)
        await loop.sock_connect(connection, ("127.0.0.1", port))
        with contextlib.suppress(ConnectionError):  # the answer may come before all was sent
            await loop.sock_sendall(connection, message)
        parser = h11.Connection(h11.CLIENT)
        parser.send(h11.Request(method="POST", target="/", headers=[("Host", "a")]))
        parser.send(h11.EndOfMessage())
        status, body = 0, b""
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                parser.receive_data(await loop.sock_recv(connection, 65536))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            else:
                assert isinstance(event, h11.EndOfMessage)
                break
        took = time.monotonic() - began
    return status, body.partition(b'"code":"')[2].partition(b'"')[0].decode(), took


def _all_at_once(port: int, count: int, message: bytes) -> list[tuple[int, str, float]]:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))

    async def ask() -> list[tuple[int, str, float]]:
        return await asyncio.gather(*(_ask(port, message) for _ in range(count)))

    return asyncio.run(ask())


def test_f23_a_thousand_bodies_of_a_mebibyte_are_shed(tmp_path: Path) -> None:
    def reply(connection: socket.socket, seen: Seen) -> bool | None:
        time.sleep(0.2)
        return says()(connection, seen)

    with agent(reply) as behind, sidecar(tmp_path, behind.url, TRUSTED) as running:
        answers = _all_at_once(running.port, 1000, request(body=b"[" + b" " * (MIB - 2) + b"]"))
        outcomes = collections.Counter((status, code) for status, code, _ in answers)
        assert set(outcomes) == {(200, ""), (503, "buffers_full")}
        peak = peak_kib(running.process.pid)
        print(f"F23: {dict(outcomes)}, peak {peak / 1024:.0f} MiB")
        assert peak < 128 * 1024
        wait_until(lambda: running.metric("iatp_buffered_bytes") == 0)
        assert running.metric("iatp_inflight") == 0
        assert len(running.endings()) == 1000
        assert running.post().status == 200


def test_f25_two_thousand_callers_at_once_are_all_answered(tmp_path: Path) -> None:
    with agent() as behind, sidecar(tmp_path, behind.url, TRUSTED) as running:
        answers = _all_at_once(running.port, 2000, request(body='{"a":1}'))
        took = sorted(seconds for _, _, seconds in answers)
        print(f"F25: all answered within {took[-1]:.2f} s, half within {took[1000]:.2f} s")
        assert {status for status, _, _ in answers} == {200}
        assert len(running.endings()) == 2000
        assert running.metric("iatp_inflight") == 0


def test_connections_over_the_limit_are_503_at_once(tmp_path: Path) -> None:
    settings = TRUSTED | {"IATP_MAX_CONNECTIONS": "50"}

    def reply(connection: socket.socket, seen: Seen) -> bool | None:
        time.sleep(0.5)
        return says()(connection, seen)

    with agent(reply) as behind, sidecar(tmp_path, behind.url, settings) as running:
        answers = _all_at_once(running.port, 200, request(body='{"a":1}'))
        outcomes = collections.Counter(status for status, _, _ in answers)
        assert set(outcomes) == {200, 503}
        assert outcomes[200] <= 50
        assert {code for status, code, _ in answers if status == 503} == {"too_many_connections"}
        # Those that found no room did not wait for those that did.
        assert min(seconds for status, _, seconds in answers if status == 503) < 0.5
        wait_until(lambda: running.post().status == 200)


def test_a_full_queue_is_503_at_once_and_one_that_waits_too_long_in_time(tmp_path: Path) -> None:
    settings = TRUSTED | {
        "IATP_CONCURRENCY_LIMIT": "1",
        "IATP_QUEUE_LIMIT": "5",
        "IATP_QUEUE_TIMEOUT": "1s",
    }

    def reply(connection: socket.socket, seen: Seen) -> bool | None:
        time.sleep(2.0)
        return says()(connection, seen)

    with agent(reply) as behind, sidecar(tmp_path, behind.url, settings) as running:
        answers = _all_at_once(running.port, 20, request(body='{"a":1}'))
        outcomes = collections.Counter((status, code) for status, code, _ in answers)
        assert outcomes == {(200, ""): 1, (503, "queue_full"): 14, (503, "queue_timeout"): 5}
        for _, code, seconds in answers:
            if code == "queue_timeout":
                assert 0.9 < seconds < 1.9
            elif code == "queue_full":
                assert seconds < 0.9
        assert len(behind.seen) == 1
        assert len(running.endings()) == 20
