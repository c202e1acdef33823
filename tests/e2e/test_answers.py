"""Answers that an agent, or whoever speaks in its place, should not give (cases F02, F07, F08).

Each comes whole, byte by byte, and with another answer behind it; the agent keeps its
connection open, so nothing but the bytes says that they are wrong. The caller always sees one
answer to one request, and its next request on the same connection gets its own.
"""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator

import pytest

from iatp.values.errors import FAILURES
from tests._fast import grammar
from tests._fast.oracles import h11_answer
from tests.e2e.agents import Agent, Reply, Seen, agent, says
from tests.e2e.sidecars import TRUSTED, Caller, Sidecar, request, sidecar, wait_until

Pair = tuple[Sidecar, Agent]

STRAY = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Stray: 1\r\n\r\nstray"
OK = b"HTTP/1.1 200 OK\r\n"
TC = b"Transfer-Encoding: chunked\r\n"
LAST = b"0\r\n\r\n"
BODY = b"Content-Length: 2\r\n\r\nhi"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("answers")
    with agent() as behind, sidecar(folder, behind.url, TRUSTED) as running:
        yield running, behind
        endings = running.endings()
        assert len(endings) == len(behind.seen)
        assert running.metric("iatp_inflight") == 0
        assert "Traceback" not in running.log()


def pieces(data: bytes) -> list[bytes]:
    """Single bytes; of what is long, some hundred stretches instead."""
    step = max(1, len(data) // 400)
    return [data[at : at + step] for at in range(0, len(data), step)]


class Script:
    """A reply in these parts; then it waits for the other end to drop the connection."""

    def __init__(self, parts: list[bytes]) -> None:
        self.parts = parts
        self.dropped = threading.Event()

    def __call__(self, connection: socket.socket, _: Seen) -> bool:
        # The other end may drop it before all is sent, and may do so with a reset.
        try:
            for part in self.parts:
                connection.sendall(part)
            connection.settimeout(10)
            assert connection.recv(1) == b"", "a request on a connection that was not in order"
        except TimeoutError:
            return False
        except OSError:
            pass
        self.dropped.set()
        return False


def sends_parts(parts: list[bytes], *, keep: bool) -> Reply:
    def reply(connection: socket.socket, _: Seen) -> bool:
        for part in parts:
            connection.sendall(part)
        return keep

    return reply


def ways(message: bytes) -> list[list[bytes]]:
    return [[message], pieces(message), [message + STRAY], [message, STRAY]]


def use(caller: Caller, behind: Agent) -> None:
    """One clean answer, whose connection is kept and read without the loop's stream."""
    behind.reply = says(b"first")
    caller.send(request(body="[0]"))
    assert caller.read().body == b"first"


def own_answer(caller: Caller, behind: Agent) -> None:
    """Assert that the next request on this connection gets its own answer."""
    behind.reply = says(b"mine", "Connection: close", keep=False)
    before = len(behind.seen)
    caller.send(request(body="[2]"))
    answer = caller.read()
    assert (answer.status, answer.body, answer.header("X-Stray")) == (200, b"mine", None)
    assert [seen.body for seen in behind.seen[before:]] == [b"[2]"]


def coded(coding: bytes) -> bytes:
    return OK + b"Transfer-Encoding: " + coding + b"\r\n\r\n2\r\nhi\r\n" + LAST


def cases() -> Iterator[tuple[str, bytes]]:
    for status in {
        *grammar.ODD_STATUSES,
        b"000",
        b"0200",
        b"-200",
        b"200.0",
        b"0x1",
        b"600",
        b"1e2",
    }:
        yield f"status {status!r}", b"HTTP/1.1 " + status + b" x\r\n" + BODY
    for version in {
        *grammar.ODD_VERSIONS,
        b"HTTP/0.9",
        b"HTTP/2",
        b"HTTP/1",
        b"HTP/1.1",
        b"HTTPS/1.1",
    }:
        if version != b"HTTP/1.1 ":
            yield f"version {version!r}", version + b" 200 OK\r\n" + BODY
    for reason in (
        b" a\x00b",
        b" \x1b[2J",
        b" a\rb",
        b" a\nSet-Cookie: x",
        b"OK",
        b"\tOK",
        b" \x7f",
        b" a\x0b",
    ):
        yield f"reason {reason!r}", b"HTTP/1.1 200" + reason + b"\r\n" + BODY
    yield "a reason beyond 8 KiB", b"HTTP/1.1 200 " + b"x" * 8192 + b"\r\n" + BODY
    yield "two spaces before the status", b"HTTP/1.1  200 OK\r\n" + BODY
    yield "a tab before the status", b"HTTP/1.1\t200 OK\r\n" + BODY
    yield "an empty line first", b"\r\n" + OK + BODY
    yield "a space first", b" " + OK + BODY
    yield "HTTP/0.9", b"hello\n"
    yield "HTTP/0.9 that looks like HTML", b"<html><body>hello</body></html>\r\n\r\n"
    yield "HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield (
        "HTTP/2's settings",
        bytes.fromhex("000012040000000000000300000080000400010000000500ffffff"),
    )
    yield "a TLS alert", bytes.fromhex("15030100020246")
    yield "SSH", b"SSH-2.0-OpenSSH_9.9\r\n"
    yield "SMTP", b"220 mail ESMTP\r\n"
    yield "a request", request(body="{}")
    yield "shoutcast", b"ICY 200 OK\r\n" + BODY
    yield "RTSP", b"RTSP/1.0 200 OK\r\n" + BODY
    yield "all LF", (OK + BODY).replace(b"\r\n", b"\n")
    yield "one LF", OK + b"X: y\nSet-Cookie: z\r\n" + BODY
    yield "LF at the end of the head", OK + b"Content-Length: 2\r\n\nhi"
    yield "LF LF at the end of the head", OK + b"Content-Length: 2\n\nhi"
    for number in [*range(9), *range(11, 32), 127]:
        yield f"value with {number:#x}", OK + b"X: a" + bytes([number]) + b"b\r\n" + BODY
    for number in [*range(0x21), *b'"(),/;<=>?@[\\]{}', *range(0x7F, 0x100)]:
        yield f"name with {number:#x}", OK + b"X" + bytes([number]) + b"y: 1\r\n" + BODY
    for text in (
        b"X: a\r\n b",
        b"X: a\r\n\tb",
        b": x",
        b"X",
        b" X: y",
        b"X : y",
        b"X\t: y",
        b"\x00: y",
    ):
        yield f"field {text!r}", OK + text + b"\r\n" + BODY
    for form in grammar.ODD_LENGTHS:
        length = form % ((2,) * form.count(b"%d"))
        yield f"CL {length!r}", OK + b"Content-Length: " + length + b"\r\n\r\nhi"
    for first, second in ((b"2", b"3"), (b"2", b"2"), (b"0", b"2"), (b"2", b"")):
        lines = b"Content-Length: " + first + b"\r\ncontent-length: " + second + b"\r\n\r\nhi"
        yield f"CL {first!r} and {second!r}", OK + lines
    for coding in {*grammar.ODD_CODINGS, b"chunked\t", b"chunked \t"}:
        yield f"TE {coding!r}", coded(coding)
    yield "CL and TE", OK + b"Content-Length: 2\r\n" + TC + b"\r\n2\r\nhi\r\n" + LAST
    yield "TE and CL", OK + TC + BODY
    yield "TE twice", OK + TC * 2 + b"\r\n" + LAST
    yield "chunked on 1.0", b"HTTP/1.0 200 OK\r\n" + TC + b"\r\n" + LAST
    for name in (b"Content-Length", b"x, content-length", b'"close"', b"a b"):
        yield f"Connection: {name!r}", OK + b"Connection: " + name + b"\r\n" + BODY
    yield "101", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
    yield "1xx with CL", b"HTTP/1.1 103 Early Hints\r\nContent-Length: 2\r\n\r\nhi" + OK + BODY
    yield "1xx with TE", b"HTTP/1.1 100 Continue\r\n" + TC + b"\r\n" + LAST + OK + BODY
    yield "17 of 1xx", b"HTTP/1.1 100 Continue\r\n\r\n" * 17 + OK + BODY
    yield "1000 of 1xx", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 1000 + OK + BODY
    yield "1xx, then nonsense", b"HTTP/1.1 100 Continue\r\n\r\nhello"
    yield "101 fields", OK + b"X: 1\r\n" * 101 + BODY
    yield "a head beyond 60 KiB", OK + b"X: " + b"y" * 61440 + b"\r\n" + BODY
    yield "a head without end", OK + b"X: " + b"y" * 62000


CASES = dict(cases())


def test_no_case_has_the_name_of_another() -> None:
    assert len(CASES) == len(list(cases())) > 250


@pytest.mark.parametrize("name", sorted(CASES))
def test_what_is_no_answer_is_502_and_its_connection_dropped(name: str, pair: Pair) -> None:
    running, behind = pair
    for number, parts in enumerate((*ways(CASES[name]), *ways(CASES[name])[:2])):
        script = Script(parts)
        with Caller(running.port, 10.0) as caller:
            if number > 3:
                use(caller, behind)
            behind.reply = script
            before = len(behind.seen)
            caller.send(request(body="[1]"))
            answer = caller.read()
            said = answer.json()
            failure = FAILURES["agent_invalid_answer"]
            assert (answer.status, answer.header("X-IATP-Decision")) == (502, "error")
            # Nothing of what the agent said.
            assert said == {
                "error": failure.sentence,
                "code": failure.code,
                "trace_id": answer.header("X-Agent-Trace-ID"),
            }
            assert script.dropped.wait(5)
            # It had come as far as an agent: not repeated, since it could not be idempotent.
            assert len(behind.seen) == before + 1
            own_answer(caller, behind)


BROKEN_CHUNKS = {
    *(
        b"-1",
        b"+1",
        b"0x1",
        b" 1",
        b"1 ",
        b"g",
        b"",
        b"f" * 16,
        b"0" * 17,
        b"1;",
        b'1;a="b"',
        b"1;\x00",
    ),
    *(b"1\n", b"1\r", b"100000000000000001", b"1;" + b"x" * 9000),
}
TAILS = {
    *(b"0\r\n\n", b"0\r\nX\r\n\r\n", b"0\r\n X: 1\r\n\r\n", b"0\r\nX: \x00\r\n\r\n", b"0\n\r\n"),
    *(
        b"0\r\nContent-Length: 5\r\n\r\n",
        b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"0\r\r\n\r\n",
    ),
    b"0\r\n" + b"X: y\r\n" * 101 + b"\r\n",
    b"0\r\n" + b"X: " + b"y" * 8192 + b"\r\n\r\n",
}


@pytest.mark.parametrize(
    "chunks",
    [
        *[b"2\r\nhi\r\n" + size + b"\r\na\r\n" + LAST for size in sorted(BROKEN_CHUNKS)],
        *[b"2\r\nhi\r\n" + tail for tail in sorted(TAILS)],
        b"2\r\nhi" + LAST,
        b"2\r\nhix\r\n" + LAST,
        b"2\r\nhi\n" + LAST,
    ],
    ids=lambda chunks: repr(chunks[7:27]),
)
def test_broken_chunks_cut_the_answer_and_the_caller_sees_it(chunks: bytes, pair: Pair) -> None:
    running, behind = pair
    for parts in ways(OK + TC + b"\r\n" + chunks):
        script = Script(parts)
        behind.reply = script
        with Caller(running.port, 10.0) as caller:
            caller.send(request(body="[1]", headers={"X-Agent-Trace-ID": "cut"}))
            whole = caller.closes(5.0)
        head, _, body = whole.partition(b"\r\n\r\n")
        assert head.count(b"HTTP/1.1 ") == 1
        assert b"stray" not in whole
        assert b"chunked" in head
        assert b"0\r\n\r\n" not in body
        assert script.dropped.wait(5)
        wait_until(lambda: running.trace("cut")[-1]["type"] == "response")
        assert running.trace("cut")[-1]["truncated"] is True
    behind.reply = says()
    assert running.post().status == 200


def fake(content: bytes) -> bytes:
    """A chunk of this."""
    return b"%x\r\n%b\r\n" % (len(content), content)


DELIVERED: dict[str, tuple[str, bytes, int, bytes]] = {
    "a length": ("POST", OK + BODY, 200, b"hi"),
    "no body": ("POST", OK + b"Content-Length: 0\r\n\r\n", 200, b""),
    "chunks": ("POST", OK + TC + b"\r\n" + fake(b"hi") + LAST, 200, b"hi"),
    "trailers": ("POST", OK + TC + b"\r\n" + fake(b"hi") + b"0\r\nX-Sum: 1\r\n\r\n", 200, b"hi"),
    "an answer inside a length": (
        "POST",
        OK + b"Content-Length: %d\r\n\r\n" % len(STRAY) + STRAY,
        200,
        STRAY,
    ),
    "an answer inside a chunk": (
        "POST",
        OK + TC + b"\r\n" + fake(b"\r\n" + LAST + STRAY) + LAST,
        200,
        b"\r\n" + LAST + STRAY,
    ),
    "204": ("POST", b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "204 with a length": ("POST", b"HTTP/1.1 204 No Content\r\n" + BODY, 204, b""),
    "204 with chunks": (
        "POST",
        b"HTTP/1.1 204 x\r\n" + TC + b"\r\n" + fake(STRAY) + LAST,
        204,
        b"",
    ),
    "304": ("POST", b"HTTP/1.1 304 Not Modified\r\n\r\n", 304, b""),
    "304 with a length": ("POST", b"HTTP/1.1 304 Not Modified\r\n" + BODY, 304, b""),
    "304 with chunks": (
        "POST",
        b"HTTP/1.1 304 x\r\n" + TC + b"\r\n" + fake(STRAY) + LAST,
        304,
        b"",
    ),
    "a body for HEAD": ("HEAD", OK + BODY, 200, b""),
    "chunks for HEAD": ("HEAD", OK + TC + b"\r\n" + fake(STRAY) + LAST, 200, b""),
    "16 of 1xx": ("POST", b"HTTP/1.1 100 Continue\r\n\r\n" * 16 + OK + BODY, 200, b"hi"),
    "a reason with a space": ("POST", b"HTTP/1.1 200  caf\xe9 \r\n" + BODY, 200, b"hi"),
    "HTTP/1.0": ("POST", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + BODY, 200, b"hi"),
}


BEHIND = {
    *("204 with a length", "204 with chunks", "304 with a length", "304 with chunks"),
    *("a body for HEAD", "chunks for HEAD"),
}
"""Those that end before their last byte."""


@pytest.mark.parametrize("name", DELIVERED)
def test_one_answer_and_nothing_of_what_is_behind_it(name: str, pair: Pair) -> None:
    running, behind = pair
    method, message, status, body = DELIVERED[name]
    for number, parts in enumerate((*ways(message), *ways(message))):
        # Bytes beyond the end: never used again, though the agent holds it open.
        drops = name in BEHIND or b"".join(parts) != message
        script = Script(parts)
        with Caller(running.port, 10.0) as caller:
            if number > 3:
                use(caller, behind)
            behind.reply = script if drops else sends_parts(parts, keep=True)
            caller.send(request(method, "/proxy/x", "[1]"))
            answer = caller.read(method)
            assert (answer.status, answer.body) == (status, body)
            assert answer.header("X-Stray") is None
            assert answer.header("X-Sum") is None
            if drops:
                assert script.dropped.wait(5)
            own_answer(caller, behind)


def test_an_answer_to_the_end_holds_no_second_one(pair: Pair) -> None:
    running, behind = pair
    for head in (OK, b"HTTP/1.0 200 OK\r\n", OK + b"Connection: close\r\n"):
        for parts in ways(head + b"\r\n" + LAST + STRAY):
            behind.reply = sends_parts(parts, keep=False)
            with Caller(running.port, 10.0) as caller:
                caller.send(request(body="[1]"))
                answer = caller.read()
                assert answer.status == 200
                assert answer.body == b"".join(parts)[len(head) + 2 :]
                own_answer(caller, behind)


def test_generated_answers_never_split(pair: Pair) -> None:
    """Mostly broken ones, whole and in pieces: one answer each, with the body that h11 reads."""
    running, behind = pair
    delivered = 0
    statuses = set()
    for seed in range(300):
        source = random.Random(seed)
        message = grammar.Grammar(source, source.choice([0.0, 0.02, 0.1])).answer()
        for parts in ([message], pieces(message)):
            behind.reply = sends_parts(parts, keep=False)
            with Caller(running.port, 10.0) as caller:
                caller.send(request(body="[1]", headers={"Connection": "close"}))
                heard = h11_answer(caller.closes(10.0))
            assert heard is not None
            assert heard.behind == b"", f"seed {seed}: {message[:2000]!r}"
            statuses.add(heard.status)
            if (b"X-IATP-Decision", b"allow") in heard.headers and heard.ends:
                sent = h11_answer(message)
                assert sent is not None
                # Behind an interim answer there may be another.
                if sent.status >= 200:
                    delivered += 1
                    assert (heard.status, heard.body) == (sent.status, sent.body), f"seed {seed}"
            # What is sent on a connection that the agent is closing is lost.
            wait_until(lambda: running.metric('iatp_connections{state="agent_idle"}') == 0)
            # An agent that ends where it should not counts as failing until it answers.
            behind.reply = says(b"mine", "Connection: close", keep=False)
            assert running.post().body == b"mine"
    assert delivered > 100
    assert {200, 204, 304, 404, 502} <= statuses


def test_what_an_agent_says_unasked_reaches_nobody(pair: Pair) -> None:
    """Behind its answer, in the same piece, in the next, or while the connection idles."""
    running, behind = pair
    sockets: list[socket.socket] = []

    def reply(connection: socket.socket, seen: Seen) -> bool | None:
        sockets.append(connection)
        return says(seen.body)(connection, seen)

    behind.reply = reply
    with Caller(running.port, 10.0) as caller:
        for number in range(50):
            caller.send(request(body=f"[{number}]"))
            assert caller.read().body == b"[%d]" % number
            sockets[-1].sendall(STRAY)
            wait_until(lambda: running.metric('iatp_connections{state="agent_idle"}') == 0)
