"""The door behind TLS: no setting asks for it yet, but nothing in the door stands in its way.

The sidecar is the real one. Only its event loop is another: one that gives the data listener
a certificate. Callers take an end without close_notify for an error, as they should.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import trustme

from tests.cli.programs import ROOT
from tests.e2e.agents import Agent, Reply, Seen, agent, says
from tests.e2e.load import peak_kib, reset
from tests.e2e.sidecars import (
    KEEPS,
    STRANGER,
    TRUSTED,
    Answer,
    Caller,
    Sidecar,
    is_ready,
    request,
    sidecar,
    wait_until,
)

SITE = """
import os, ssl, uvloop

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(os.environ["CERTIFICATE"])

class Loop(uvloop.Loop):
    async def create_server(self, door, **named):
        if door.args == ("data",):
            named["ssl"] = context
        return await super().create_server(door, **named)

uvloop.new_event_loop = Loop
"""
CARD = "4111111111111111"

Speak = Callable[[], Caller]


class Certificates:
    """An authority of this session, and its certificate for localhost."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.file = folder / "certificate.pem"
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(
            str(self.file)
        )
        self.trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority.configure_trust(self.trusting)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


class TlsCaller(Caller):
    """A caller whose connection is encrypted."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        super().__init__(port)
        self.socket = context.wrap_socket(
            self.socket, server_hostname="localhost", suppress_ragged_eofs=False
        )

    def closes(self, within_s: float = 5.0) -> bytes:
        """What still comes until close_notify. Raises: SSLEOFError where there is none."""
        rest, self._rest = self._rest, b""
        self.socket.settimeout(within_s)
        while piece := self.socket.recv(65536):
            rest += piece
        return rest


class Encrypted:
    """A sidecar with TLS, the agent behind it, and callers for both."""

    def __init__(self, running: Sidecar, behind: Agent, trusting: ssl.SSLContext) -> None:
        self.running = running
        self.behind = behind
        self.trusting = trusting

    def caller(self) -> TlsCaller:
        return TlsCaller(self.running.port, self.trusting)

    def post(self, body: bytes | str = "{}", headers: Mapping[str, str] | None = None) -> Answer:
        with self.caller() as caller:
            caller.send(request(body=body, headers=headers))
            return caller.read()


@contextlib.contextmanager
def encrypted(
    folder: Path, certificates: Certificates, reply: Reply, settings: Mapping[str, str]
) -> Iterator[Encrypted]:
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SITE)
    variables = {
        "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]),
        "CERTIFICATE": str(certificates.file),
        **settings,
    }
    with (
        agent(reply) as behind,
        sidecar(folder, behind.url, variables, ready=False) as running,
    ):
        wait_until(lambda: is_ready(running.admin_port), 15.0)
        yield Encrypted(running, behind, certificates.trusting)
        assert running.process.poll() is None
        assert running.stop() == 0
        for word in ("Traceback", "returning true", "Error", "rror occurred"):
            assert word not in running.log(), running.log()


@pytest.mark.parametrize(
    ("settings", "body", "status", "decision"),
    [
        (TRUSTED, '{"a":1}', 200, "allow"),
        (STRANGER, '{"a":1}', 449, "warn"),
        (KEEPS, f'{{"a":"{CARD}"}}', 403, "block"),
        (TRUSTED, "{", 400, "refuse"),
    ],
)
def test_every_outcome(
    tmp_path: Path,
    certificates: Certificates,
    settings: dict[str, str],
    body: str,
    status: int,
    decision: str,
) -> None:
    with (
        encrypted(tmp_path, certificates, says(), settings) as tls,
        tls.caller() as caller,
    ):
        assert caller.socket.version() == "TLSv1.3"  # type: ignore[attr-defined]
        for _ in range(3):
            caller.send(request(body=body, headers={"X-Agent-Trace-ID": "t"}))
            answer = caller.read()
            assert (answer.status, answer.header("x-iatp-decision")) == (status, decision)
        for target, expected in (("/health", 200), ("/capabilities", 200), ("/none", 404)):
            caller.send(request("GET", target))
            assert caller.read("GET").status == expected
        ending = [record for record in tls.running.trace("t") if record["type"] != "request"]
        assert len(ending) == 3
        for seen in tls.behind.seen:
            assert seen.header("x-forwarded-proto") == "https"
            assert seen.header("x-forwarded-for") == "127.0.0.1"


def test_whole_in_pieces_and_with_more_behind(tmp_path: Path, certificates: Certificates) -> None:
    def echo(connection: socket.socket, seen: Seen) -> bool | None:
        return says(seen.body)(connection, seen)

    chunked = (
        b"POST /proxy HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n"
    )
    with encrypted(tmp_path, certificates, echo, TRUSTED) as tls, tls.caller() as caller:
        several = b"".join(request(body=f"[{n}]") for n in range(40)) + chunked
        caller.send(several)
        assert [caller.read().body for _ in range(40)] == [b"[%d]" % n for n in range(40)]
        assert caller.read().body == b"[1,2]"
        # One record of TLS for each byte.
        for byte in request(body="[3]") + chunked:
            caller.send(bytes([byte]))
        assert (caller.read().body, caller.read().body) == (b"[3]", b"[1,2]")
        # Nobody waits for a 100 that never comes.
        caller.send(request(body="", headers={"Expect": "100-continue", "Content-Length": "2"}))
        assert caller.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        caller.send(b"[]")
        assert caller.read().body == b"[]"


@pytest.mark.parametrize("mebibytes", [1, 9])
def test_large_bodies(tmp_path: Path, certificates: Certificates, mebibytes: int) -> None:
    body = b'"%b"' % (b"words " * (mebibytes * 174_762))

    def echo(connection: socket.socket, seen: Seen) -> bool | None:
        return says(seen.body)(connection, seen)

    with encrypted(tmp_path, certificates, echo, TRUSTED) as tls, tls.caller() as caller:
        for _ in range(2):
            # One after the other: Python's TLS sockets do not do both at once.
            caller.send(request(body=body))
            assert caller.read().body == body


def test_a_slow_caller_slows_the_agent(tmp_path: Path, certificates: Certificates) -> None:
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    sent = 0

    def reply(connection: socket.socket, _: Seen) -> bool:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(1600):
            connection.sendall(piece)
            sent += 1
        connection.sendall(b"0\r\n\r\n")
        return True

    with encrypted(tmp_path, certificates, reply, TRUSTED) as tls, tls.caller() as caller:
        before = peak_kib(tls.running.process.pid)
        caller.send(request(body="{}"))
        wait_until(lambda: sent > 0)
        still = -1
        while still != sent:
            still = sent
            time.sleep(0.3)
        # What is between is in the buffers of sockets, of which loopback has some MiB.
        assert still < 400
        got, rest = 0, b""
        while not rest.endswith(b"\r\n0\r\n\r\n"):
            taken = caller.socket.recv(1 << 20)
            assert taken
            got += len(taken)
            rest = (rest + taken)[-7:]
        assert got > 1600 * 65536
        assert peak_kib(tls.running.process.pid) - before < 16 << 10
        # The connection goes on.
        tls.behind.reply = says()
        caller.send(request(body="{}"))
        assert caller.read().status == 200


def test_an_end_is_said(tmp_path: Path, certificates: Certificates) -> None:
    with encrypted(tmp_path, certificates, says(), TRUSTED) as tls:
        with tls.caller() as caller:
            caller.send(request(body="{}", headers={"Connection": "close"}))
            assert caller.read().status == 200
            assert caller.closes() == b""
        with tls.caller() as caller:
            caller.send(b"POST /proxy HTTP/9.9\r\n\r\n")
            assert caller.read().status == 505
            assert caller.closes() == b""
        # An idle connection, too.
        with tls.caller() as caller:
            caller.send(request(body="{}"))
            assert caller.read().status == 200
            tls.running.process.terminate()
            assert caller.closes() == b""
            assert tls.running.process.wait(10) == 0
            tls.running.process.poll = lambda: None  # type: ignore[method-assign]


@pytest.mark.slow
def test_who_does_not_say_goodbye_is_dropped(tmp_path: Path, certificates: Certificates) -> None:
    with encrypted(tmp_path, certificates, says(), TRUSTED) as tls, tls.caller() as caller:
        caller.send(request(body="{"))
        assert caller.read().status == 400
        caller.send(request(body="{}", headers={"Connection": "close"}))
        assert caller.read().status == 200
        wait_until(lambda: tls.running.metric('iatp_connections{state="active"}') == 1, 20.0)


def test_a_refusal_arrives_while_the_caller_still_sends(
    tmp_path: Path, certificates: Certificates
) -> None:
    settings = TRUSTED | {"IATP_MAX_BODY": "1KiB"}
    with encrypted(tmp_path, certificates, says(), settings) as tls:
        for framing in ("Content-Length: 8000000", "Transfer-Encoding: chunked"):
            with tls.caller() as caller:
                head = f"POST /proxy HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n".encode()
                caller.send(head + b"7a1200\r\n" * ("chunked" in framing))
                with contextlib.suppress(ConnectionError):
                    for _ in range(80):
                        caller.send(b"x" * 100_000)
                answer = caller.read()
                assert (answer.status, answer.json()["code"]) == (413, "body_too_large")
                assert caller.closes() == b""
        assert len(tls.behind.seen) == 0
        # None of them lingers.
        wait_until(lambda: tls.running.metric('iatp_connections{state="active"}') == 1)


class Holding:
    """Answers when it may."""

    def __init__(self) -> None:
        self.seen = threading.Event()
        self.go = threading.Event()

    def __call__(self, connection: socket.socket, seen: Seen) -> bool | None:
        self.seen.set()
        self.go.wait(10)
        return says()(connection, seen)


def says_goodbye(caller: TlsCaller) -> None:
    """close_notify and no more: there is no half of a TLS connection that stays open here."""
    assert isinstance(caller.socket, ssl.SSLSocket)
    caller.socket.settimeout(5)
    with contextlib.suppress(OSError):
        caller.socket.unwrap()
    caller.socket.close()


def ends(caller: TlsCaller) -> None:
    """FIN without close_notify."""
    caller.socket.close()


def resets(caller: TlsCaller) -> None:
    raw = socket.socket(fileno=os.dup(caller.socket.fileno()))
    caller.socket.close()
    reset(raw)


@pytest.mark.parametrize("leaves", [says_goodbye, ends, resets])
def test_a_caller_that_goes_away(
    tmp_path: Path, certificates: Certificates, leaves: Callable[[TlsCaller], None]
) -> None:
    holding = Holding()
    settings = TRUSTED | {"IATP_CONCURRENCY_LIMIT": "1"}

    def code(trace_id: str) -> object:
        return [record.get("code") for record in tls.running.trace(trace_id)][-1:]

    with encrypted(tmp_path, certificates, holding, settings) as tls:
        # Before it has said anything.
        leaves(tls.caller())
        # Inside its body.
        caller = tls.caller()
        caller.send(request(body="[1,2]", headers={"X-Agent-Trace-ID": "body"})[:-2])
        time.sleep(0.05)
        leaves(caller)
        wait_until(lambda: code("body") == ["caller_gone"])
        # While the agent works; the agent's side is finished.
        caller = tls.caller()
        caller.send(request(body="{}", headers={"X-Agent-Trace-ID": "works"}))
        assert holding.seen.wait(5)
        # While it waits for a slot.
        queued = tls.caller()
        queued.send(request(body="{}", headers={"X-Agent-Trace-ID": "queued"}))
        wait_until(lambda: tls.running.metric("iatp_queued") == 1)
        leaves(queued)
        wait_until(lambda: code("queued") == ["caller_gone"])
        leaves(caller)
        wait_until(lambda: tls.running.metric('iatp_connections{state="active"}') == 1)
        holding.go.set()
        wait_until(lambda: code("works") == ["caller_gone"])
        assert len(tls.behind.seen) == 1
        # Inside its answer.
        tls.behind.reply = says(b"x" * 8_000_000)
        caller = tls.caller()
        caller.send(request(body="{}", headers={"X-Agent-Trace-ID": "answer"}))
        assert caller.socket.recv(1000)
        leaves(caller)
        wait_until(lambda: code("answer") in (["caller_gone"], [None]))
        wait_until(lambda: tls.running.metric("iatp_inflight") == 0)
        assert tls.post().status == 200


def test_an_answer_that_is_cut_looks_cut(tmp_path: Path, certificates: Certificates) -> None:
    def reply(connection: socket.socket, seen: Seen) -> bool:
        framing = {
            "/length": b"Content-Length: 10\r\n\r\nhello",
            "/chunks": b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        }[seen.target]
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + framing)
        time.sleep(0.1)
        return False

    with encrypted(tmp_path, certificates, reply, TRUSTED) as tls:
        for target in ("/length", "/chunks"):
            with tls.caller() as caller:
                caller.send(request(target=f"/proxy{target}", body="{}"))
                with pytest.raises(OSError, match=r"."):
                    caller.read()
        # Only the end delimits what an HTTP/1.0 caller gets: it must not be a good one.
        with tls.caller() as caller:
            caller.send(
                request(target="/proxy/chunks", body="{}").replace(b"HTTP/1.1", b"HTTP/1.0")
            )
            with pytest.raises(OSError, match=r"."):
                caller.closes()
        assert [record["truncated"] for record in tls.running.endings()] == [True] * 3


def test_who_does_not_speak_tls(tmp_path: Path, certificates: Certificates) -> None:
    with encrypted(tmp_path, certificates, says(), TRUSTED) as tls:
        with Caller(tls.running.port) as caller:
            caller.send(request(body="{}"))
            assert b"HTTP/" not in caller.closes(5.0)
        with pytest.raises(ssl.SSLError):
            TlsCaller(tls.running.port, ssl.create_default_context())
        # Half of a handshake, and then nothing: others are served.
        with Caller(tls.running.port) as caller:
            caller.send(b"\x16\x03\x01\x02\x00\x01")
            assert tls.post().status == 200
        assert len(tls.running.endings()) == 1


def test_it_drains(tmp_path: Path, certificates: Certificates) -> None:
    holding = Holding()
    with (
        encrypted(tmp_path, certificates, holding, TRUSTED) as tls,
        tls.caller() as busy,
        tls.caller() as idle,
    ):
        idle.send(request("GET", "/health"))
        assert idle.read("GET").status == 200
        busy.send(request(body="{}"))
        assert holding.seen.wait(5)
        tls.running.process.terminate()
        assert idle.closes() == b""
        holding.go.set()
        answer = busy.read()
        assert (answer.status, answer.header("connection")) == (200, "close")
        assert busy.closes() == b""
        assert tls.running.process.wait(10) == 0
        tls.running.process.poll = lambda: None  # type: ignore[method-assign]
