"""HTTP on the wire, as an attacker writes it (cases A01 to A44).

Each case is sent whole, byte by byte, and with another request behind it. What the agent got
over all of them is read again by h11 and by llhttp: one request for each that was recorded as
forwarded, and not one more. The rest of section A is in test_slow_callers.py.
"""

from __future__ import annotations

import random
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from iatp.values.errors import FAILURES
from tests._fast import grammar
from tests._fast.grammar import SMUGGLED, Grammar
from tests._fast.oracles import requests_of_llhttp
from tests.e2e.agents import Agent, Seen, agent, says
from tests.e2e.load import peak_kib, resident_kib
from tests.e2e.sidecars import KEEPS, Answer, Caller, Sidecar, request, sidecar, wait_until

Pair = tuple[Sidecar, Agent]
Case = tuple[bytes, set[int]]
"""What is sent, and the statuses that are right."""

CANARY = b"the-callers-own"
HOST = b"Host: a\r\n"
TYPE = b"Content-Type: application/json\r\nX-Agent-Trace-ID: " + CANARY + b"\r\n"
PH = b"POST /proxy HTTP/1.1\r\n" + HOST + TYPE
TC = b"Transfer-Encoding: chunked\r\n"
LAST = b"0\r\n\r\n"
BODY = b"Content-Length: 2\r\n\r\n{}"

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
TO_CLOSE_S = 3.0
"""The case says within 1 s; the machine may be busy."""


def echo(connection: socket.socket, seen: Seen) -> bool | None:
    """Answers with the body it got."""
    return says(seen.body)(connection, seen)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("wire")
    settings = KEEPS | {"IATP_OVERRIDE": "ticket", "IATP_MAX_BODY": "256KiB"}
    with agent(echo) as behind, sidecar(folder, behind.url, settings) as running:
        yield running, behind
        # h11 has read it already (agents.py).
        forwarded = [record for record in running.records() if record["type"] == "request"]
        assert len(behind.seen) == len(forwarded) > 0
        assert sum(requests_of_llhttp(bytes(raw)) for raw in behind.raw) == len(forwarded)
        assert not any(b"4111111111111111" in raw for raw in behind.raw)
        assert "Traceback" not in running.log()


def pieces(data: bytes) -> list[bytes]:
    """Single bytes; of what is long, some hundred stretches instead."""
    step = max(1, len(data) // 400)
    return [data[at : at + step] for at in range(0, len(data), step)]


def use(caller: Caller) -> None:
    """One clean request: from then on the connection is read without the loop's stream."""
    caller.send(request(body='{"clean":1}'))
    assert caller.read().status == 200


def refused(
    running: Sidecar, parts: list[bytes], statuses: set[int], *, used: bool = False
) -> None:
    """Send this; assert `NNNc` of the cases."""
    with Caller(running.port, 10.0) as caller:
        if used:
            use(caller)
        # Each part leaves at once: TCP_NODELAY is on.
        for part in parts:
            caller.send(part)
        answer = caller.read()
        said = answer.json()
        began = time.monotonic()
        assert caller.closes(TO_CLOSE_S) == b"", "a second answer"
        assert time.monotonic() - began < TO_CLOSE_S
        # Whatever still comes is ignored, and is no reason to reset what was answered.
        caller.send(SMUGGLED)
    assert answer.status in statuses
    assert answer.header("Connection") == "close"
    # Nothing but fixed text and a new ID: no input is echoed.
    failure = FAILURES[said["code"]]
    assert failure.status == answer.status
    trace_id = answer.header("X-Agent-Trace-ID") or ""
    # 413 is no framing error: the caller's ID is known by then, and kept.
    assert UUID7.fullmatch(trace_id) or answer.status == 413
    assert said == {"error": failure.sentence, "code": failure.code, "trace_id": trace_id}


def forwarded_next(pair: Pair) -> Seen:
    """What the agent gets next, which must be the one clean request that is sent here."""
    running, behind = pair
    before = len(behind.seen)
    assert running.post('{"clean":1}').status == 200
    assert len(behind.seen) == before + 1
    return behind.seen[-1]


def check_refused(pair: Pair, data: bytes, statuses: set[int]) -> None:
    running, behind = pair
    before = len(behind.seen), behind.connections
    refused(running, [data], statuses)
    refused(running, pieces(data), statuses)
    refused(running, [data + SMUGGLED], statuses)
    # A connection to the agent that idled may have ended; none was opened.
    assert (len(behind.seen), behind.connections) == before
    refused(running, [data], statuses, used=True)
    refused(running, pieces(data), statuses, used=True)
    assert len(behind.seen) == before[0] + 2
    assert forwarded_next(pair).body == b'{"clean":1}'


MALFORMED = {400}
EITHER = {400, 501}


def chunked(size: bytes) -> bytes:
    return PH + TC + b"\r\n" + size + b"\r\n{\r\n1\r\n}\r\n" + LAST


def line(text: bytes) -> bytes:
    return PH + text + b"\r\n" + BODY


def start(text: bytes, host: bytes = HOST) -> bytes:
    return text + b"\r\n" + host + TYPE + BODY


def cases() -> Iterator[tuple[str, Case]]:
    yield "A01 CL.TE", (PH + b"Content-Length: 6\r\n" + TC + b"\r\n" + LAST + b"X", MALFORMED)
    yield "A01 empty TE", (line(b"Transfer-Encoding:"), MALFORMED)
    yield "A02 TE.CL", (PH + TC + b"Content-Length: 3\r\n\r\n" + LAST + SMUGGLED, MALFORMED)
    for between in (b" ", b"\t", b"\x0b", b"\x00", b"\r", b"\xa0"):
        for name, value in ((b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"5")):
            data = PH + name + between + b": " + value + b"\r\n\r\n" + LAST
            yield f"A05 {name.decode()} {between!r}", (data, MALFORMED)
    for coding in {
        *grammar.ODD_CODINGS,
        b"chunked\t",
        b"chunked \t",
        b"\x00chunked",
        b"chunked\x0b",
    }:
        data = PH + b"Transfer-Encoding: " + coding + b"\r\n\r\n" + LAST
        yield f"A06 TE {coding!r}", (data, EITHER)
    yield "A07 TE twice", (PH + TC * 2 + b"\r\n" + LAST, EITHER)
    yield "A07 TE twice, in two cases", (PH + TC + TC.upper() + b"\r\n" + LAST, EITHER)
    yield (
        "A07 identity first",
        (PH + b"Transfer-Encoding: identity\r\n" + TC + b"\r\n" + LAST, EITHER),
    )
    old = PH.replace(b"HTTP/1.1", b"HTTP/1.0")
    yield "A09 chunked on 1.0", (old + TC + b"\r\n" + LAST, MALFORMED)
    yield "A09 kept alive", (old + TC + b"Connection: keep-alive\r\n\r\n" + LAST, MALFORMED)
    for first, second in ((b"1", b"2"), (b"2", b"2"), (b"2", b""), (b"0", b"2")):
        data = PH + b"Content-Length: " + first + b"\r\ncontent-length: " + second + b"\r\n\r\n{}"
        yield f"A11 CL {first!r} and {second!r}", (data, MALFORMED)
    yield "A11 CL 2, 2", (PH + b"Content-Length: 2, 2\r\n\r\n{}", MALFORMED)
    for form in grammar.ODD_LENGTHS:
        length = form % ((2,) * form.count(b"%d"))
        yield f"A12 CL {length!r}", (PH + b"Content-Length: " + length + b"\r\n\r\n{}", MALFORMED)
    yield "A12 CL folded", (PH + b"Content-Length: 2\r\n 4\r\n\r\n{}", MALFORMED)
    yield "A12 CL on the next line", (PH + b"Content-Length:\r\n 2\r\n\r\n{}", MALFORMED)
    yield "A15 all LF", ((PH + BODY).replace(b"\r\n", b"\n"), MALFORMED)
    yield "A15 one LF", (line(b"X: y\nContent-Length: 24"), MALFORMED)
    for end in (
        b"\n",
        b"\r",
        b"\r\r\n",
        b"\n\r\n",
        b"\x00\r\n",
        b"\x0b\r\n",
        b"\x85\r\n",
        b" \r\n",
    ):
        if end not in (b"\x85\r\n", b" \r\n"):
            yield f"A15 line end {end!r}", (PH + b"X: y" + end + b"Y: z\r\n" + BODY, MALFORMED)
        first = PH.replace(b"\r\n", end, 1) + BODY
        yield f"A15 end of the request line {end!r}", (first, {400, 505})
    yield "A15 a space before the end of the head", (PH + b"X: y\r\n \r\n" + BODY, MALFORMED)
    yield "A15 LF CRLF at the end of the head", (PH + b"X: y\n\r\n{}", MALFORMED)
    for number in [*range(9), *range(10, 32), 127]:
        yield f"A17 value with {number:#x}", (line(b"X: a" + bytes([number]) + b"b"), MALFORMED)
    for text in (
        b": x",
        b"Foo",
        b"F@o: x",
        b"\xefX: y",
        b"Content-Length\x85: 2",
        b"(x): y",
        b"X;: y",
    ):
        yield f"A18 {text!r}", (line(text), MALFORMED)
    for number in [*range(0x21), *b'"(),/;<=>?@[\\]{}', *range(0x7F, 0x100)]:
        if bytes([number]) != b"\n":
            yield f"A18 name with {number:#x}", (line(b"X" + bytes([number]) + b"y: 1"), MALFORMED)
    yield "A18 a space first", (start(b"POST /proxy HTTP/1.1", b" Host: a\r\n"), MALFORMED)
    for text in (b"X: a\r\n b", b"X: a\r\n\tb", b"X:\r\n b", b"X: a\r\n \r\n b"):
        yield f"A19 {text!r}", (line(text), MALFORMED)
    for form in grammar.ODD_SIZES:
        size = form % ((1,) * form.count(b"%x"))
        yield f"A21 size {size!r}", (chunked(size), MALFORMED)
    yield "A22 size beyond all", (chunked(b"100000000000000001"), MALFORMED)
    for size in (b"f" * 16, b"f" * 17, b"8000000000000000", b"4000000000000001", b"0" * 40 + b"1"):
        yield f"A22 size {size!r}", (chunked(size), MALFORMED)
    for text in {*grammar.ODD_EXTENSIONS, b";" + b"x" * 65536, b";x=" + b"y" * 65536}:
        yield f"A25 extension {text[:12]!r} {len(text)}", (chunked(b"1" + text), {400, 431})
    for number, between in enumerate(
        (b"", b"\n", b"\r", b"x", b"x\r\n", b"\r\r\n", b" \r\n", b"0\r\n")
    ):
        data = PH + TC + b"\r\n2\r\n{}" + between + LAST
        yield f"A25 behind a chunk {number} {between!r}", (data, MALFORMED)
    lines = b"".join(b"X%d: y\r\n" % number for number in range(10_000))
    yield "A28 trailers", (PH + TC + b"\r\n2\r\n{}\r\n0\r\n" + lines + b"\r\n", {431})
    for text in grammar.ODD_TRAILERS:
        if text != b"Content-Lengths: 5\r\n":
            data = PH + TC + b"\r\n2\r\n{}\r\n0\r\n" + text + b"\r\n"
            yield f"A28 trailer {text!r}", (data, MALFORMED)
    yield "A30 no Host", (start(b"POST /proxy HTTP/1.1", b""), MALFORMED)
    yield "A30 two Hosts", (start(b"POST /proxy HTTP/1.1", HOST + b"hOsT: a\r\n"), MALFORMED)
    for host in {
        *grammar.ODD_HOSTS,
        b"a@b",
        b"a?",
        b"a#",
        b"a\\b",
        b"http://a",
        b"[::1]@b",
        b"a:80:80",
    }:
        head = start(b"POST /proxy HTTP/1.1", b"Host: " + host + b"\r\n")
        yield f"A30 Host {host!r}", (head, MALFORMED)
    for target in (
        b"http://evil/proxy",
        b"HTTP://a/proxy",
        b"https://a/proxy",
        b"a/proxy",
        b"proxy",
    ):
        yield f"A31 {target!r}", (start(b"POST " + target + b" HTTP/1.1"), MALFORMED)
    for text in (
        b"CONNECT a:80",
        b"GET a:80",
        b"TRACE /",
        b"TRACE /proxy/x",
        b"OPTIONS *",
        b"get /",
    ):
        yield f"A32 {text!r}", (start(text + b" HTTP/1.1"), {400, 405, 501})
    for text in (
        b"CONNECT /proxy",
        b"CONNECT /proxy/x",
        b"Post /proxy",
        b"POSTT /proxy",
        b"X /proxy",
    ):
        yield f"A32 {text!r}", (start(text + b" HTTP/1.1"), {400, 405, 501})
    yield "A32 HTTP/2", (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 405, 501})
    hello = bytes.fromhex("160301020001 0001fc0303") + bytes(range(14, 46)) + b"\x20" * 33
    yield "A32 TLS", (hello, {400, 405, 501})
    yield "A33 HTTP/0.9", (b"GET /health\r\n", MALFORMED)
    yield "A33 HTTP/0.9 of a proxy", (b"GET /proxy/x\r\n", MALFORMED)
    for version in {
        *grammar.ODD_VERSIONS,
        b"HTTP/4294967295.255",
        b"HTTP/0.9",
        b"HTTP/1",
        b"HTTP/-1.1",
    }:
        yield f"A34 {version!r}", (start(b"POST /proxy " + version), {400, 505})
    for target in (
        b"/proxy#x",
        b"/a b",
        b"/\x00",
        b"/\xff",
        b"/\x7f",
        b"/\t",
        b"/proxy ",
        b" /proxy",
    ):
        yield f"A35 {target!r}", (start(b"POST " + target + b" HTTP/1.1"), MALFORMED)
    for number in [*range(0x21), 0x23, *range(0x7F, 0x100)]:
        if bytes([number]) not in (b" ", b"\n"):
            data = start(b"POST /proxy/" + bytes([number]) + b"x HTTP/1.1")
            yield f"A35 target with {number:#x}", (data, MALFORMED)
    for text in (b"POST  /proxy HTTP/1.1", b"POST /proxy  HTTP/1.1", b" POST /proxy HTTP/1.1"):
        yield f"A35 spaces {text!r}", (start(text), MALFORMED)
    yield "A35 tabs", (start(b"POST\t/proxy\tHTTP/1.1"), MALFORMED)
    yield "A35 two empty lines first", (b"\r\n\r\n" + PH + BODY, MALFORMED)
    yield "A35 LF first", (b"\n" + PH + BODY, MALFORMED)
    yield "A35 CR first", (b"\r" + PH + BODY, MALFORMED)
    for name in (b"Content-Length", b"host", b"Content-Type", b"x, Transfer-Encoding , y"):
        framing = TC + b"\r\n" + LAST if b"Transfer" in name else BODY
        yield (
            f"A39 Connection: {name!r}",
            (PH + b"Connection: " + name + b"\r\n" + framing, MALFORMED),
        )
    for value in (b"a b", b'"close"', b"close;x", b"close\x0b", b"\xe9"):
        yield f"A39 Connection: {value!r}", (line(b"Connection: " + value), MALFORMED)
    for value in (
        b"a-miracle",
        b"",
        b"100-continue, x",
        b"100",
        b"100-continue;x=1",
        b"\xa0100-continue",
    ):
        yield f"A40 Expect: {value!r}", (line(b"Expect: " + value), {417})
    yield "A40 Expect twice", (line(b"Expect: 100-continue\r\nexpect: 100-continue"), MALFORMED)
    long = b"GET /" + b"a" * (8193 - len(b"GET / HTTP/1.1")) + b" HTTP/1.1"
    yield "A44 line of 8193", (start(long), {414})
    yield "A44 line without end", (b"GET /" + b"a" * 8190, {414})
    yield "A44 101 fields", (PH + b"X: 1\r\n" * 97 + BODY, {431})
    fill = 61441 - len(PH) - len(b"X: \r\n\r\n")
    yield "A44 head of 60 KiB + 1", (PH + b"X: " + b"y" * fill + b"\r\n\r\n", {431})
    yield "A44 head without end", (PH + b"X: " + b"y" * 61440, {431})
    yield "A44 name without end", (PH + b"y" * 61440, {400, 431})


CASES = dict(cases())


def test_no_case_has_the_name_of_another() -> None:
    assert len(CASES) == len(list(cases())) > 400


@pytest.mark.parametrize("name", sorted(CASES))
def test_refused_whole_in_pieces_and_with_more_behind(name: str, pair: Pair) -> None:
    check_refused(pair, *CASES[name])


def exchange(
    running: Sidecar, parts: list[bytes], *methods: str, used: bool = False
) -> list[Answer]:
    with Caller(running.port, 10.0) as caller:
        if used:
            use(caller)
        for part in parts:
            caller.send(part)
        return [caller.read(method) for method in methods]


SERVED: dict[str, tuple[bytes, bytes]] = {
    "A14 leading zero": (PH + b"Content-Length: 010\r\n\r\n[12345678]", b"[12345678]"),
    "a chunk": (PH + TC + b"\r\n2\r\n{}\r\n" + LAST, b"{}"),
    "chunks of one byte": (PH + TC + b"\r\n" + b"1\r\n[\r\n1\r\n]\r\n" + LAST, b"[]"),
    "a chunk with line ends": (PH + TC + b"\r\n6\r\n[\r\n\r\n]\r\n" + LAST, b"[\r\n\r\n]"),
    "zeros and letters": (PH + TC + b"\r\n00A\r\n[1,2,3,45]\r\n000\r\n\r\n", b"[1,2,3,45]"),
    "extensions": (PH + TC + b"\r\n2;a=b;c\r\n{}\r\n0;x\r\n\r\n", b"{}"),
    "A28 trailers": (PH + TC + b"\r\n2\r\n{}\r\n0\r\nX-Sum: 1\r\nHost: evil\r\n\r\n", b"{}"),
    "the coding in capitals": (PH + TC.upper() + b"\r\n2\r\n{}\r\n" + LAST, b"{}"),
    "a smuggled request as the body": (
        PH
        + b"Content-Length: %d\r\n\r\n" % (len(SMUGGLED) - 23)
        + b'"'
        + b"S" * (len(SMUGGLED) - 25)
        + b'"',
        b'"' + b"S" * (len(SMUGGLED) - 25) + b'"',
    ),
    "an empty line first": (b"\r\n" + PH + BODY, b"{}"),
    "no space behind the colon": (PH.replace(b": ", b":") + BODY, b"{}"),
    "spaces around values": (
        PH.replace(b": ", b": \t ") + b"Content-Length: 2 \t\r\n\r\n{}",
        b"{}",
    ),
    "A39 h2c": (
        PH
        + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n"
        + BODY,
        b"{}",
    ),
    "A39 websocket": (
        PH + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" + BODY,
        b"{}",
    ),
    "A44 100 fields": (PH + b"X: 1\r\n" * 96 + BODY, b"{}"),
    "names that gateways confuse": (
        line(
            b"Content_Length: 24\r\nTransfer_Encoding: chunked\r\nX_Forwarded_For: 1.2.3.4"
        ).replace(
            b"X-Agent", b"X_IATP_Peer: 1\r\nX_Agent_Trace_ID: mine\r\nX_Real_IP: 1\r\nX-Agent"
        ),
        b"{}",
    ),
}


@pytest.mark.parametrize("name", SERVED)
def test_served_whole_in_pieces_and_with_more_behind(name: str, pair: Pair) -> None:
    running, behind = pair
    data, body = SERVED[name]
    before = len(behind.seen)
    for parts in ([data], pieces(data), [data + data[: len(data) // 2], data[len(data) // 2 :]]):
        answers = exchange(running, parts, *["POST"] * (2 if parts[0] > data else 1))
        assert [(answer.status, answer.body) for answer in answers] == [(200, body)] * len(answers)
    first, second = exchange(running, [data + SMUGGLED], "POST", "POST")
    assert (first.status, second.status) == (200, 403)
    arrived = behind.seen[before:]
    for parts in ([data], pieces(data)):
        (answer,) = exchange(running, parts, "POST", used=True)
        assert (answer.status, answer.body) == (200, body)
        assert behind.seen[-2].body == b'{"clean":1}'
        assert (behind.seen[-1].target, behind.seen[-1].body) == ("/", body)
    assert [seen.body for seen in arrived] == [body] * 5
    for seen in arrived:
        assert seen.target == "/"
        assert seen.header("Host") == f"127.0.0.1:{behind.port}"
        assert seen.header("Content-Length") == str(len(body))
        assert seen.header("X-Agent-Trace-ID") == CANARY.decode()
        assert seen.header("X-Forwarded-For") == "127.0.0.1"
        for gone in (
            "Transfer-Encoding",
            "Upgrade",
            "HTTP2-Settings",
            "Connection",
            "X-Sum",
            "X-Real-IP",
        ):
            assert seen.header(gone) is None
        assert not any("_" in header for header, _ in seen.headers)


def test_an_underscore_is_no_reason_to_lose_a_field(pair: Pair) -> None:
    running, behind = pair
    data = line(b"X_Mine: 1\r\nUser_Agent: 2\r\n_: 3")
    (answer,) = exchange(running, [data], "POST")
    assert answer.status == 200
    assert [behind.seen[-1].header(name) for name in ("x_mine", "user_agent", "_")] == [
        "1",
        "2",
        "3",
    ]


@pytest.mark.parametrize("split", [False, True])
def test_a37_http_1_0_is_closed_unless_it_asks_and_its_end_shows(split: bool, pair: Pair) -> None:
    running, behind = pair
    old = PH.replace(b"HTTP/1.1", b"HTTP/1.0")
    with Caller(running.port) as caller:
        for part in pieces(old + BODY) if split else [old + BODY]:
            caller.send(part)
        answer = caller.read()
        assert (answer.status, answer.header("Connection")) == (200, "close")
        assert caller.closes(TO_CLOSE_S) == b""
    kept = old + b"Connection: keep-alive\r\n"
    with Caller(running.port) as caller:
        for _ in range(3):
            for part in pieces(kept + BODY) if split else [kept + BODY]:
                caller.send(part)
            answer = caller.read()
            assert (answer.status, answer.header("Connection")) == (200, "keep-alive")
        # An answer whose end only the connection's end can show.
        try:
            behind.reply = lambda connection, _: bool(
                connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end")
            )
            caller.send(kept + BODY)
            answer = caller.read()
            assert (answer.body, answer.header("Connection")) == (b"to the end", "close")
            assert caller.closes(TO_CLOSE_S) == b""
        finally:
            behind.reply = echo


def test_a44_a_line_of_8192_passes_whole_and_in_pieces(pair: Pair) -> None:
    running, _ = pair
    line_8192 = b"GET /" + b"a" * (8192 - len(b"GET / HTTP/1.1")) + b" HTTP/1.1\r\n"
    data = line_8192 + HOST + b"\r\n"
    for parts in ([data], pieces(data), [data[:8193], data[8193:]]):
        (answer,) = exchange(running, parts, "GET")
        assert answer.status == 404


def test_a40_a_caller_that_expects_continue_is_told_once(pair: Pair) -> None:
    running, _ = pair
    head = PH + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    for parts in ([head], pieces(head)):
        with Caller(running.port) as caller:
            for part in parts:
                caller.send(part)
            assert caller.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            caller.send(b"{}" + SMUGGLED)
            assert [caller.read().status, caller.read().status] == [200, 403]


def test_what_is_no_request_is_told_so_behind_head_too(pair: Pair) -> None:
    running, _ = pair
    name = "iatp_request_duration_seconds_sum"
    with Caller(running.port) as caller:
        for _ in range(2):
            caller.send(request("HEAD", "/proxy/x"))
            assert caller.read("HEAD").status == 200
        before = running.metric(name)
        time.sleep(1)
        caller.send(b"no request\r\n\r\n")
        answer = caller.read()
        assert (answer.status, answer.json()["code"]) == (400, "malformed_request")
    # Nor did it take since the request before it came.
    assert running.metric(name) - before < 0.9


def test_an_empty_line_behind_each_request_is_passed_over(pair: Pair) -> None:
    """As some old callers send; but not two, and not for ever."""
    running, _ = pair
    with Caller(running.port) as caller:
        for _ in range(3):
            caller.send(PH + BODY + b"\r\n")
            assert caller.read().status == 200
        time.sleep(0.05)
        caller.send(b"\r\n")
        assert caller.read().status == 400


@pytest.mark.parametrize(
    ("behind_it", "heard"),
    [(b"", [200]), (b"x y z\r\n", [200, 400]), (PH + BODY[:-1], [200]), (PH[:-9], [200])],
)
def test_an_answer_is_not_lost_where_its_caller_ends_in_the_same_turn(
    behind_it: bytes, heard: list[int], pair: Pair
) -> None:
    running, behind = pair
    go_on, answered = threading.Event(), threading.Event()

    def reply(connection: socket.socket, seen: Seen) -> bool | None:
        go_on.wait(10)
        echo(connection, seen)
        answered.set()
        return True

    behind.reply = reply
    try:
        with Caller(running.port) as caller:
            before = len(behind.seen)
            caller.send(PH + BODY + behind_it)
            wait_until(lambda: len(behind.seen) > before)
            # Both are there when the sidecar looks again: the answer, and the caller's end.
            running.process.send_signal(signal.SIGSTOP)
            go_on.set()
            assert answered.wait(5)
            caller.socket.shutdown(socket.SHUT_WR)
            running.process.send_signal(signal.SIGCONT)
            assert list(answers_in(caller.closes(5.0))) == heard
    finally:
        behind.reply = echo


def test_what_is_endless_costs_no_memory_and_no_time(pair: Pair) -> None:
    """A25, A28, A44 over and over, and a body of chunks of one byte."""
    running, _ = pair
    assert running.post().status == 200
    before = resident_kib(running.process.pid)
    began = time.monotonic()
    endless = [
        (PH + TC + b"\r\n1;" + b"x" * 65536, {400}),
        (PH + TC + b"\r\n0\r\n" + b"X: y\r\n" * 10_000, {431}),
        (PH + b"X: " + b"y" * 65536, {431}),
        (PH + b"X: y\r\n" * 20_000, {431}),
        (b"GET /" + b"a" * 65536, {414}),
        (PH + TC + b"\r\n" + b"1\r\n \r\n" * 300_000, {413}),
    ]
    for data, statuses in endless * 5:
        refused(running, [data], statuses)
    assert time.monotonic() - began < 30
    assert peak_kib(running.process.pid) - before < 8192


def answers_in(data: bytes) -> Iterator[int]:
    """The statuses of the answers that these bytes are; raises where they are none."""
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        assert end, "half a head"
        assert head.startswith(b"HTTP/1.1 ")
        lengths = re.findall(rb"(?i)\r\ncontent-length: (\d+)", head)
        status = int(head[9:12])
        if status >= 200:
            assert len(lengths) == 1
            assert len(data) >= int(lengths[0])
            data = data[int(lengths[0]) :]
        yield status


def test_generated_requests_never_split(pair: Pair) -> None:
    """Mostly broken ones, whole and in pieces: as many answers whichever way they came."""
    running, behind = pair
    statuses: dict[int, int] = {}
    for seed in range(300):
        source = random.Random(seed)
        data = Grammar(source, source.choice([0.02, 0.1])).request()
        # The length of an answer to HEAD says nothing; and no trace is read here.
        data = data.replace(b"HEAD", b"LOCK")
        heard = []
        cuts = sorted(source.randrange(len(data) + 1) for _ in range(5))
        split = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        for parts in ([data], split, pieces(data)):
            with Caller(running.port, 10.0) as caller:
                for part in parts:
                    caller.send(part)
                caller.socket.shutdown(socket.SHUT_WR)
                heard.append([code for code in answers_in(caller.closes(10.0)) if code >= 200])
        assert heard[0] == heard[1] == heard[2], f"seed {seed}: {data[:2000]!r}"
        for code in heard[0]:
            statuses[code] = statuses.get(code, 0) + 1
    # Of every kind some: what is forwarded, refused, blocked behind it, and not found.
    assert {200, 400, 403, 404, 501} <= statuses.keys()
    assert not any(b"4111111111111111" in raw for raw in behind.raw)
    wait_until(lambda: running.metric("iatp_inflight") == 0)
