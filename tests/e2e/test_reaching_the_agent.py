"""Names that are slow, addresses that do not answer, and what the sockets are set to (F13)."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.programs import ROOT
from tests.e2e.agents import agent, says
from tests.e2e.sidecars import TRUSTED, Caller, Sidecar, free_ports, request, sidecar, wait_until
from tests.e2e.test_in_front import strace

RESOLVER = """
import os, socket, time

original = socket.getaddrinfo

def getaddrinfo(host, port, *arguments, **named):
    if host != "agent.test":
        return original(host, port, *arguments, **named)
    with open(os.environ["ASKED"], "a") as file:
        file.write("asked\\n")
    while os.path.exists(os.environ["HANGS"]):
        time.sleep(0.05)
    return [
        found
        for address in os.environ["ADDRESSES"].split()
        for found in original(address, port, *arguments, **named)
    ]

socket.getaddrinfo = getaddrinfo
"""
"""A sitecustomize: agent.test has these addresses, once a file is gone."""


class Resolver:
    """The resolver of a sidecar whose agent is called agent.test."""

    def __init__(self, folder: Path, *addresses: str) -> None:
        site = folder / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(RESOLVER)
        self.hangs = folder / "hangs"
        self.asked = folder / "asked"
        self.variables = {
            "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]),
            "ADDRESSES": " ".join(addresses),
            "HANGS": str(self.hangs),
            "ASKED": str(self.asked),
        }

    def times(self) -> int:
        """How often it was asked."""
        return len(self.asked.read_text().splitlines()) if self.asked.exists() else 0


def test_f13_a_resolver_that_hangs(tmp_path: Path) -> None:
    resolver = Resolver(tmp_path, "127.0.0.1")
    resolver.hangs.touch()
    settings = TRUSTED | resolver.variables | {"IATP_READY_CHECK_AGENT": "true"}
    with (
        agent() as behind,
        sidecar(tmp_path, f"http://agent.test:{behind.port}", settings, ready=False) as running,
    ):
        wait_until(lambda: alive(running))
        with contextlib.ExitStack() as stack:
            callers = [stack.enter_context(Caller(running.port)) for _ in range(3)]
            began = time.monotonic()
            for caller in callers:
                caller.send(request(body="{}"))
            # Nothing else waits for it.
            slowest = 0.0
            for _ in range(20):
                before = time.monotonic()
                assert running.get("/health").status == 200
                assert running.admin("/metrics").status == 200
                assert running.post("{").status == 400
                slowest = max(slowest, time.monotonic() - before)
            assert slowest < 1.0
            assert running.get("/readyz").status == 503
            for caller in callers:
                answer = caller.read()
                assert (answer.status, answer.json()["code"]) == (502, "agent_unreachable")
            assert 4.5 < time.monotonic() - began < 7.5
        # All have waited for the one lookup.
        assert resolver.times() == 1
        assert running.metric("iatp_inflight") == 0
        # Once it answers, so does the agent.
        resolver.hangs.unlink()
        wait_until(lambda: running.post().status == 200)
        assert running.get("/readyz").status == 200


@pytest.mark.parametrize("workers", ["1", "2"])
def test_f13_the_exit_does_not_wait_for_the_resolver(tmp_path: Path, workers: str) -> None:
    resolver = Resolver(tmp_path, "127.0.0.1")
    resolver.hangs.touch()
    settings = TRUSTED | resolver.variables | {"IATP_DRAIN": "2s", "IATP_WORKERS": workers}
    with (
        sidecar(tmp_path, "http://agent.test:9", settings) as running,
        Caller(running.port) as caller,
    ):
        caller.send(request(body="{}"))
        wait_until(lambda: resolver.times() == 1)
        began = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - began < 5.0
        # The drain was shorter than the deadline for connecting.
        answer = caller.read()
        assert (answer.status, answer.json()["code"]) == (503, "draining")


def alive(running: Sidecar) -> bool:
    with contextlib.suppress(OSError):
        return running.get("/livez").status == 200
    return False


@contextlib.contextmanager
def black_hole(address: str, port: int) -> Iterator[None]:
    """An address that takes no connection and does not refuse one: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(0)
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((address, port))
        time.sleep(0.1)
        with socket.socket() as tried:
            tried.settimeout(0.5)
            with pytest.raises(TimeoutError):
                tried.connect((address, port))
        yield


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")
def test_the_second_address_is_tried_where_the_first_does_not_answer(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    resolver = Resolver(tmp_path, "127.0.0.2", "127.0.0.1")

    # It says so, or the next request could meet the end of the connection.
    closes = says(b"{}", "Connection: close", keep=False)

    with (
        agent(closes, port) as behind,
        black_hole("127.0.0.2", port),
        sidecar(tmp_path, f"http://agent.test:{port}", TRUSTED | resolver.variables) as running,
    ):
        began = time.monotonic()
        assert running.post().status == 200
        first = time.monotonic() - began
        # The first address has its half of the five seconds.
        assert 2.0 < first < 4.5
        # Each of these needs a new connection, and the address that answers is known.
        began = time.monotonic()
        for _ in range(3):
            assert running.post().status == 200
        assert time.monotonic() - began < 2.0
        assert len(behind.seen) == 4
        # It is what answers that counts, not what did once.
        behind.close()
        with agent(port=port):
            wait_until(lambda: running.post().status == 200)


def test_the_first_address_that_refuses_costs_nothing(tmp_path: Path) -> None:
    resolver = Resolver(tmp_path, "::1", "127.0.0.1")
    with (
        agent() as behind,
        sidecar(
            tmp_path, f"http://agent.test:{behind.port}", TRUSTED | resolver.variables
        ) as running,
    ):
        began = time.monotonic()
        assert running.post().status == 200
        assert time.monotonic() - began < 1.0


@pytest.mark.servers
def test_small_writes_are_not_held_back_on_either_side(tmp_path: Path) -> None:
    """TCP_NODELAY on what is accepted and on what is opened to the agent."""
    (port, admin_port) = free_ports(2)
    settings = TRUSTED | {"IATP_PORT": str(port), "IATP_ADMIN_PORT": str(admin_port)}
    with agent() as behind, sidecar(tmp_path, behind.url, settings) as running:
        output = tmp_path / "strace"
        with strace(running, output, "setsockopt"):
            assert running.post().status == 200
        set_on = re.findall(
            r"setsockopt\(\d+<(\S+)>, SOL_TCP, TCP_NODELAY, \[1\]", output.read_text()
        )
        assert any(f":{port}->" in one for one in set_on), set_on
        # Set before it was connected.
        assert any("->" not in one for one in set_on), set_on
