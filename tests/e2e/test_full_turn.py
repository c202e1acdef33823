"""A turn in which more connections wait to send than are kept: what was read last stays whole.

What has just been read stands in the one buffer of the loop while those that wait are let go. An
answer of the agent that is looked for at that moment may not be read into it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import time
from pathlib import Path

from tests.e2e.sidecars import (
    KEEPS,
    Caller,
    free_ports,
    request,
    sidecar,
    stopped,
    wait_until,
)

TURN_PEERS = 64
CARD = '{"text": "4111 1111 1111 1111"}'
CLEAN = '{"clean": 1}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfast"
LATE_S = 0.05


def quick_agent(port: int) -> None:
    """Answers within microseconds, since it never sleeps; what asks for `/late` waits."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        listener.setblocking(False)
        connections: list[socket.socket] = []
        late: list[tuple[float, socket.socket]] = []
        while True:
            with contextlib.suppress(BlockingIOError):
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.setblocking(False)
                connections.append(connection)
            for connection in connections[:]:
                try:
                    got = connection.recv(65536)
                except BlockingIOError:
                    continue
                except ConnectionError:
                    got = b""
                if not got:
                    connections.remove(connection)
                    connection.close()
                elif b" /late " in got:
                    late.append((time.monotonic() + LATE_S, connection))
                else:
                    connection.send(ANSWER)
            while late and time.monotonic() > late[0][0]:
                late.pop(0)[1].send(ANSWER)


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_what_was_read_stays_whole_while_others_leave(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    agent = multiprocessing.get_context("spawn").Process(target=quick_agent, args=(port,))
    agent.start()
    try:
        wait_until(lambda: _accepts(port))
        with (
            sidecar(tmp_path, f"http://127.0.0.1:{port}", KEEPS) as running,
            contextlib.ExitStack() as stack,
        ):
            callers = [stack.enter_context(Caller(running.port)) for _ in range(TURN_PEERS)]
            for caller in callers:
                caller.send(request(body=CARD))
                assert caller.read().status == 403
            late, other_late, quick, *blocked = callers
            for _ in range(40):
                with Caller(running.port) as fresh, stopped(running.process.pid):
                    # Two at once: for one alone its answer would be looked for, in vain.
                    late.send(request(target="/proxy/late", body=CLEAN))
                    other_late.send(request(target="/proxy/late", body=CLEAN))
                    os.kill(running.process.pid, signal.SIGCONT)
                    time.sleep(LATE_S / 5)
                    os.kill(running.process.pid, signal.SIGSTOP)
                    # All of it is read in one turn, in this order: one that is forwarded, many
                    # that are answered here, the late answers, and what a new caller sends.
                    quick.send(request(body=CLEAN))
                    for caller in blocked:
                        caller.send(request(body=CARD))
                    time.sleep(2 * LATE_S)
                    fresh.send(request(body=CARD))
                    os.kill(running.process.pid, signal.SIGCONT)
                    assert late.read().body == other_late.read().body == b"fast"
                    assert quick.read().body == b"fast"
                    assert {caller.read().status for caller in (*blocked, fresh)} == {403}
            assert "Traceback" not in running.log()
    finally:
        agent.kill()
        agent.join()
