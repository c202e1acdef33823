"""What passes through `/proxy` (protocol sections 1 and 6): methods, paths, bodies, answers."""

from __future__ import annotations

import gzip
import json
import random
import socket
import time
import zlib
from collections.abc import Iterator

import pytest

from tests.e2e.agents import Agent, Reply, Seen, agent, says, sends
from tests.e2e.sidecars import KEEPS, TRUSTED, Caller, Sidecar, request, sidecar

Pair = tuple[Sidecar, Agent]

CARD = "4111111111111111"
AGENT_TIMEOUT_S = 0.4


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Before an agent below a path, that may be sent cards."""
    folder = tmp_path_factory.mktemp("proxying")
    variables = TRUSTED | {
        "IATP_AGENT_TIMEOUT": f"{int(AGENT_TIMEOUT_S * 1000)}ms",
        "IATP_MAX_BODY": "2MiB",
    }
    with agent() as behind, sidecar(folder, f"{behind.url}/base", variables) as running:
        yield running, behind


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Before an agent that may not be sent cards."""
    folder = tmp_path_factory.mktemp("strict")
    with agent() as behind, sidecar(folder, behind.url, KEEPS) as running:
        yield running, behind


@pytest.fixture(autouse=True)
def plain_agent(pair: Pair, strict: Pair) -> None:
    pair[1].reply = strict[1].reply = says()


# Methods and paths.

METHODS = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "PROPFIND",
    "REPORT",
    "SEARCH",
    "MKCOL",
    "PURGE",
]


@pytest.mark.parametrize("body", [None, b'{"a":1}'], ids=["bare", "body"])
@pytest.mark.parametrize("method", METHODS)
def test_any_method_on_a_path(method: str, body: bytes | None, pair: Pair) -> None:
    running, behind = pair
    answer = running.ask(method, "/proxy/tasks/7?x=1&y=%20", body)
    assert answer.status == 200
    assert answer.body == (b"" if method == "HEAD" else b'{"done":true}')
    assert answer.header("Content-Length") == "13"
    seen = behind.seen[-1]
    assert (seen.method, seen.target, seen.body) == (method, "/base/tasks/7?x=1&y=%20", body or b"")
    # A body that was not there is not announced, but for methods that always have one.
    announced = body is not None or method in ("POST", "PUT", "PATCH")
    assert seen.header("Content-Length") == (str(len(body or b"")) if announced else None)


@pytest.mark.parametrize(
    ("method", "status", "code"),
    [
        ("GET", 405, "method_not_allowed"),
        ("HEAD", 405, "method_not_allowed"),
        ("DELETE", 405, "method_not_allowed"),
        ("OPTIONS", 405, "method_not_allowed"),
        ("PROPFIND", 405, "method_not_allowed"),
        ("CONNECT", 501, "not_implemented"),
        ("TRACE", 501, "not_implemented"),
        ("BREW", 501, "not_implemented"),
        ("post", 501, "not_implemented"),
    ],
)
def test_proxy_itself_takes_post(method: str, status: int, code: str, pair: Pair) -> None:
    running, behind = pair
    before = len(behind.seen)
    answer = running.ask(method, "/proxy")
    assert answer.status == status
    assert answer.header("Allow") == ("POST" if status == 405 else None)
    assert answer.body == b"" if method == "HEAD" else answer.json()["code"] == code
    assert len(behind.seen) == before


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
def test_no_tunnel_and_no_trace_on_a_path(method: str, pair: Pair) -> None:
    running, behind = pair
    before = len(behind.seen)
    assert running.ask(method, "/proxy/x").status == 501
    assert len(behind.seen) == before


@pytest.mark.parametrize(
    ("target", "arrives"),
    [
        ("/proxy", "/base"),
        ("/proxy?a=b", "/base?a=b"),
        ("/proxy/", "/base/"),
        ("/proxy/?", "/base/?"),
        ("/proxy//x", "/base//x"),
        ("/proxy/x/", "/base/x/"),
        ("/proxy/a%20b/%C3%A9", "/base/a%20b/%C3%A9"),
        ("/proxy/~a!$&'()*+,;=:@-._b", "/base/~a!$&'()*+,;=:@-._b"),
        ("/proxy/...", "/base/..."),
        ("/proxy/.a/b..", "/base/.a/b.."),
        ("/proxy/x?path=../..&q=%2e%2e%2f\\", "/base/x?path=../..&q=%2e%2e%2f\\"),
        ("/proxy/x?a=1?b=2/..", "/base/x?a=1?b=2/.."),
        ("/proxy/proxy", "/base/proxy"),
        ("/proxy/health", "/base/health"),
    ],
)
def test_path_and_query_are_kept(target: str, arrives: str, pair: Pair) -> None:
    running, behind = pair
    assert running.ask("POST", target, "{}").status == 200
    assert behind.seen[-1].target == arrives


@pytest.mark.parametrize("target", ["/", "/base"])
def test_where_the_agent_url_ends_in_a_slash(
    target: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("slash")
    base = target.rstrip("/")
    with agent() as behind, sidecar(folder, f"{behind.url}{base}/", TRUSTED) as running:
        for asked in ("/proxy", "/proxy?x=1", "/proxy/", "/proxy/a/b?x=1"):
            assert running.ask("POST", asked, "{}").status == 200
        arrived = [seen.target for seen in behind.seen]
    assert arrived == [f"{base}/", f"{base}/?x=1", f"{base}/", f"{base}/a/b?x=1"]


ESCAPES = [
    "..",
    "../",
    "a/..",
    "a/../b",
    ".",
    "a/./b",
    "%2e%2e",
    "%2E%2e/x",
    ".%2e",
    "%2e",
    "a%2fb",
    "a%2F..",
    "a%5cb",
    "a%5C..",
    "a\\b",
    "..\\x",
    "..;x",
    "..;/x",
    "a/..;v=1/b",
    "%252e%252e",
    "%252e%252e%252f",
    "%252f",
    "a%255c",
    "%",
    "%2",
    "%zz",
    "a%00b",
    "a%0d%0ab",
]


@pytest.mark.parametrize("path", ESCAPES)
def test_path_that_would_leave_the_agent_url(path: str, pair: Pair) -> None:
    running, behind = pair
    before = len(behind.seen)
    answer = running.ask("GET", f"/proxy/{path}?q=1")
    assert answer.status == 400
    body = answer.json()
    assert body["code"] == "bad_path"
    assert [one["type"] for one in running.trace(body["trace_id"])] == ["error"]
    assert len(behind.seen) == before


@pytest.mark.parametrize(
    "target", ["/proxyx", "/prox", "/Proxy", "/proxy%2Fx", "//proxy", "/./proxy"]
)
def test_what_is_not_proxy_is_404(target: str, pair: Pair) -> None:
    running, behind = pair
    before = len(behind.seen)
    answer = running.ask("POST", target, "{}")
    assert answer.status == 404
    assert answer.json()["code"] == "not_found"
    assert len(behind.seen) == before


# Bodies.

MULTIPART = (
    b"--b\r\nContent-Disposition: form-data; name=f; filename=a.bin\r\n"
    b"Content-Type: application/octet-stream\r\n\r\n\x00\xff\r\n\x01\r\n--b--\r\n"
)
BODIES: list[tuple[str, bytes]] = [
    ("text/plain", "h\xe9llo".encode()),
    ("text/plain; charset=iso-8859-1", b"h\xe9llo"),
    ("text/html", b"<p>x</p>"),
    ("application/x-www-form-urlencoded", b"a=1&b=%20&c"),
    ("multipart/form-data; boundary=b", MULTIPART),
    ("application/octet-stream", bytes(range(256)) * 9),
    ("image/png", b"\x89PNG\r\n\x1a\n\x00"),
    ("application/json", b' {"a" : [1, 2.50, "\\u00e9"],\r\n "b": null}\n'),
    ("application/vnd.api+json", b"[]"),
    ("", b"no type at all \x00"),
    ("nonsense", b"GET / HTTP/1.1\r\n\r\n"),
]


@pytest.mark.parametrize(("content_type", "body"), BODIES, ids=[one[0] for one in BODIES])
def test_bodies_pass_as_they_are(content_type: str, body: bytes, pair: Pair) -> None:
    running, behind = pair
    answer = running.ask("PUT", "/proxy/x", body, {"Content-Type": content_type})
    assert answer.status == 200
    assert behind.seen[-1].body == body
    assert behind.seen[-1].header("Content-Type") == (content_type or None)


@pytest.mark.parametrize("length", [4095, 4096, 16_300, 16_384, 16_500, 100_000, 262_144, 262_145])
def test_a_long_body_arrives_whole_however_it_is_sent(length: int, pair: Pair) -> None:
    running, behind = pair
    chance = random.Random(length)
    head = b"PUT /proxy/x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
    for first in (1, 5000, 16_384, 16_385, length, length + 200):
        body = chance.randbytes(length)
        sent = head % length + body + head % 2 + b"ok"
        with Caller(running.port) as caller:
            caller.send(sent[:first])
            # A turn of the event loop, so that the rest is read by itself.
            time.sleep(0.01)
            middle = min(first + 9000, len(sent) - 30)
            caller.send(sent[first:middle])
            time.sleep(0.01)
            caller.send(sent[max(first, middle) :])
            assert caller.read().status == 200
            assert caller.read().status == 200
        assert [one.body for one in behind.seen[-2:]] == [body, b"ok"]


def test_chunked_body_arrives_whole(pair: Pair) -> None:
    running, behind = pair
    with Caller(running.port) as caller:
        caller.send(
            b"POST /proxy/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3;ext=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nX-Trailer: 1\r\n\r\n"
        )
        assert caller.read().status == 200
    assert behind.seen[-1].body == b"abc0123456789"
    assert behind.seen[-1].header("Content-Length") == "13"
    assert behind.seen[-1].all("X-Trailer") == []


def test_expect_continue(pair: Pair) -> None:
    running, behind = pair
    with Caller(running.port) as caller:
        caller.send(
            b"POST /proxy HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        )
        assert caller.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        caller.send(b"{}")
        assert caller.read().status == 200
    assert behind.seen[-1].all("Expect") == []


def test_expect_continue_of_what_is_refused(pair: Pair) -> None:
    """The body is not asked for where the head alone says no."""
    running, _ = pair
    for lines, status in (
        (b"Content-Length: 99999999", 413),
        (b"Content-Encoding: br\r\nContent-Length: 2", 415),
    ):
        with Caller(running.port) as caller:
            caller.send(
                b"POST /proxy HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n" + lines + b"\r\n\r\n"
            )
            assert caller.closes(5.0).startswith(b"HTTP/1.1 %d " % status)


def test_no_body_is_no_json(pair: Pair) -> None:
    """A content type without a body, as some clients send it."""
    running, behind = pair
    for method, length in (("GET", None), ("DELETE", None), ("POST", b""), ("PUT", b"")):
        answer = running.ask(method, "/proxy/x", length, {"Content-Type": "application/json"})
        assert answer.status == 200
        assert behind.seen[-1].body == b""


def deflate(data: bytes, window: int) -> bytes:
    packer = zlib.compressobj(wbits=window)
    return packer.compress(data) + packer.flush()


CODED = [
    ("gzip", gzip.compress),
    ("GZIP", gzip.compress),
    ("deflate", lambda data: deflate(data, 15)),
    ("deflate", lambda data: deflate(data, -15)),
    ("gzip", lambda data: gzip.compress(data[:5]) + gzip.compress(data[5:])),
    ("identity", lambda data: data),
]


@pytest.mark.parametrize(("coding", "pack"), CODED)
def test_coded_body_is_read_and_passed_unchanged(coding: str, pack: object, strict: Pair) -> None:
    running, behind = strict
    assert callable(pack)
    headers = {"Content-Encoding": coding}
    packed = pack(b'{"clean": "enough to be packed"}')
    for target in ("/proxy", "/proxy/x"):
        assert running.ask("POST", target, packed, headers).status == 200
        assert behind.seen[-1].body == packed
        assert behind.seen[-1].header("Content-Encoding") == coding
        before = len(behind.seen)
        answer = running.ask("POST", target, pack(f'{{"pay": "{CARD}"}}'.encode()), headers)
        assert answer.status == 403
        assert len(behind.seen) == before


@pytest.mark.parametrize(
    ("coding", "body", "status", "code"),
    [
        ("br", b"{}", 415, "unsupported_coding"),
        ("zstd", b"{}", 415, "unsupported_coding"),
        ("compress", b"{}", 415, "unsupported_coding"),
        ("gzip, gzip", gzip.compress(gzip.compress(b"{}")), 415, "unsupported_coding"),
        ("x-gzip", gzip.compress(b"{}"), 415, "unsupported_coding"),
        ("gzip", b"{}", 400, "malformed_coding"),
        ("gzip", gzip.compress(b"{}")[:-3], 400, "malformed_coding"),
        ("gzip", gzip.compress(b"{}") + b"more", 400, "malformed_coding"),
        ("gzip", gzip.compress(b" " * (3 << 20)), 413, "body_too_large"),
        ("deflate", deflate(b" " * (64 << 20), -15), 413, "body_too_large"),
    ],
)
def test_coded_body_that_is_refused(
    coding: str, body: bytes, status: int, code: str, pair: Pair
) -> None:
    running, behind = pair
    before = len(behind.seen)
    for target in ("/proxy", "/proxy/x"):
        answer = running.ask("POST", target, body, {"Content-Encoding": coding})
        assert (answer.status, answer.json()["code"]) == (status, code)
    assert len(behind.seen) == before


FINDINGS = [
    ("POST", f"/proxy/pay/{CARD}", None, ""),
    ("GET", f"/proxy/pay?card={CARD}", None, ""),
    ("GET", "/proxy/pay?card=4111%201111%201111%201111", None, ""),
    ("DELETE", "/proxy/pay/%34111111111111111", None, ""),
    ("PUT", "/proxy/x", f"pay with {CARD}".encode(), "text/plain"),
    ("PUT", "/proxy/x", f"card={CARD}".encode(), "application/x-www-form-urlencoded"),
    (
        "PUT",
        "/proxy/x",
        MULTIPART.replace(b"\x01", CARD.encode()),
        "multipart/form-data; boundary=b",
    ),
    ("PUT", "/proxy/x", b"\x00\xff" + CARD.encode() + b"\xfe", "application/octet-stream"),
    ("PUT", "/proxy/x", CARD.encode(), ""),
]


@pytest.mark.parametrize(("method", "target", "body", "content_type"), FINDINGS)
def test_findings_count_wherever_they_stand(
    method: str, target: str, body: bytes | None, content_type: str, strict: Pair, pair: Pair
) -> None:
    headers = {"Content-Type": content_type}
    running, behind = strict
    before = len(behind.seen)
    answer = running.ask(method, target, body, headers)
    assert (answer.status, answer.json()["code"]) == (403, "credit_card_retention")
    assert len(behind.seen) == before
    # The agent that may be sent cards gets this one as it was.
    running, behind = pair
    assert running.ask(method, target, body, headers).status == 200
    assert behind.seen[-1].target == target.replace("/proxy", "/base", 1)
    assert behind.seen[-1].body == (body or b"")


# Answers.


def ok(*lines: str, body: bytes = b"", status: str = "200 OK") -> Reply:
    # It closes, and says so: the next request must not meet a connection that is closing.
    head = "\r\n".join([f"HTTP/1.1 {status}", *lines, "Connection: close", "", ""]).encode()
    return sends(head + body)


@pytest.mark.parametrize(
    "status", [200, 201, 202, 206, 226, 301, 400, 401, 403, 404, 449, 500, 503, 599]
)
def test_statuses_pass(status: int, pair: Pair) -> None:
    running, behind = pair
    behind.reply = says(b"theirs", status=f"{status} Some Reason")
    answer = running.post()
    assert (answer.status, answer.body) == (status, b"theirs")
    assert answer.header("X-IATP-Decision") == "allow"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_204_and_304_have_no_body(method: str, pair: Pair) -> None:
    running, behind = pair
    with Caller(running.port) as caller:
        for status in (204, 304, 204, 304):
            behind.reply = ok('ETag: "a"', status=f"{status} x")
            caller.send(request(method, "/proxy/x", "{}" if method == "POST" else None))
            answer = caller.read(method)
            assert (answer.status, answer.body) == (status, b"")
            assert answer.header("ETag") == '"a"'
            assert answer.header("Transfer-Encoding") is None


def test_head_keeps_the_length_of_what_is_not_sent(pair: Pair) -> None:
    running, behind = pair
    with Caller(running.port) as caller:
        for lines in (["Content-Length: 1234567"], ["Transfer-Encoding: chunked"], []):
            behind.reply = ok("X-It: 1", *lines)
            caller.send(request("HEAD", "/proxy/x"))
            answer = caller.read("HEAD")
            assert (answer.status, answer.body) == (200, b"")
            assert answer.header("X-It") == "1"
            assert answer.header("Content-Length") == (
                "1234567" if "Content-Length" in str(lines) else None
            )


def test_not_modified_keeps_its_length(pair: Pair) -> None:
    running, behind = pair
    behind.reply = ok("Content-Length: 77", status="304 Not Modified")
    answer = running.ask("GET", "/proxy/x")
    assert (answer.status, answer.header("Content-Length"), answer.body) == (304, "77", b"")


CHUNKED = b"3;x=y\r\nabc\r\n00A\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n"


@pytest.mark.parametrize(
    "reply",
    [
        ok("Content-Length: 13", body=b"abc0123456789"),
        ok("Transfer-Encoding: chunked", body=CHUNKED),
        ok("Trailer: X-Sum", "transfer-encoding: Chunked", body=CHUNKED),
        ok(body=b"abc0123456789"),
        sends(b"HTTP/1.0 200 OK\r\n\r\nabc0123456789"),
        sends(b"HTTP/1.1 200\r\nConnection: close\r\nContent-Length: 13\r\n\r\nabc0123456789"),
        sends(b"HTTP/1.1 200 \r\nConnection:close\r\nContent-Length:13\r\n\r\nabc0123456789"),
    ],
)
def test_framings_of_an_answer(reply: Reply, pair: Pair) -> None:
    running, behind = pair
    behind.reply = reply
    with Caller(running.port) as caller:
        for _ in range(2):
            caller.send(request(body="{}"))
            answer = caller.read()
            assert (answer.status, answer.body) == (200, b"abc0123456789")
            assert answer.all("Trailer") == answer.all("X-Sum") == []
    assert running.trace(answer.header("X-Agent-Trace-ID") or "")[-1]["response_bytes"] == 13


def test_a_caller_of_http_1_0(pair: Pair) -> None:
    running, behind = pair
    behind.reply = ok("Transfer-Encoding: chunked", body=CHUNKED)
    with Caller(running.port) as caller:
        caller.send(
            b"POST /proxy HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}"
        )
        whole = caller.closes(5.0)
    head, _, body = whole.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"chunked" not in head.lower()
    assert body == b"abc0123456789"


def test_a_caller_that_asks_to_close(pair: Pair) -> None:
    running, behind = pair
    behind.reply = says(b"all of it")
    with Caller(running.port) as caller:
        caller.send(request(body="{}", headers={"Connection": "close"}))
        whole = caller.closes(5.0)
    head, _, body = whole.partition(b"\r\n\r\n")
    assert b"\r\nConnection: close" in head
    assert body == b"all of it"


def test_interim_answers_are_read_over(pair: Pair) -> None:
    running, behind = pair
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n"
    behind.reply = sends(
        b"HTTP/1.1 100 Continue\r\n\r\n"
        + early * 5
        + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    )
    answer = running.post()
    assert (answer.status, answer.body) == (200, b"ok")
    assert answer.header("Link") is None


@pytest.mark.parametrize("framing", ["length", "chunked", "to the end"])
def test_large_answer_is_the_same_bytes(framing: str, pair: Pair) -> None:
    running, behind = pair
    body = random.Random(7).randbytes(5_000_000)

    def reply(connection: socket.socket, _: Seen) -> bool:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
        if framing == "length":
            connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        elif framing == "to the end":
            connection.sendall(head + b"\r\n" + body)
        else:
            connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
            for at in range(0, len(body), 77_777):
                piece = body[at : at + 77_777]
                connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            connection.sendall(b"0\r\n\r\n")
        return False

    behind.reply = reply
    answer = running.post()
    assert answer.body == body
    record = running.trace(answer.header("X-Agent-Trace-ID") or "")[-1]
    assert (record["response_bytes"], record["truncated"]) == (len(body), False)


def test_large_request_is_the_same_bytes(pair: Pair) -> None:
    running, behind = pair
    body = json.dumps(["x" * 1000] * 1900).encode()
    assert running.post(body).status == 200
    assert behind.seen[-1].body == body


# Streams.


def test_events_arrive_one_by_one_and_longer_than_the_agent_timeout(pair: Pair) -> None:
    """Each event is sent when the caller has the one before: so none waits for the next."""
    running, behind = pair
    events = [b"data: %d\n\n" % number for number in range(5)]

    def reply(connection: socket.socket, _: Seen) -> bool:
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for event in events:
            ours.recv(1)
            connection.sendall(b"%x\r\n%b\r\n" % (len(event), event))
        ours.recv(1)
        connection.sendall(b"0\r\n\r\n")
        return True

    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    behind.reply = reply
    began = time.monotonic()
    with ours, theirs, Caller(running.port) as caller:
        caller.send(request("GET", "/proxy/feed", headers={"Accept": "text/event-stream"}))
        got = b""
        while b"\r\n\r\n" not in got:
            got += caller.socket.recv(65536)
        head, _, got = got.partition(b"\r\n\r\n")
        assert b"text/event-stream" in head
        for event in events:
            assert event not in got
            time.sleep(1.5 * AGENT_TIMEOUT_S / len(events))
            theirs.send(b"x")
            while event not in got:
                got += caller.socket.recv(65536)
        assert time.monotonic() - began > AGENT_TIMEOUT_S
        theirs.send(b"x")
        while not got.endswith(b"0\r\n\r\n"):
            got += caller.socket.recv(65536)
    assert got.count(b"data: ") == len(events)


def test_no_head_in_time_is_504(pair: Pair) -> None:
    running, behind = pair

    def reply(connection: socket.socket, _: Seen) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n")
        return bool(connection.recv(1))

    behind.reply = reply
    began = time.monotonic()
    answer = running.post()
    assert (answer.status, answer.json()["code"]) == (504, "agent_timeout")
    assert answer.header("X-IATP-Decision") == "error"
    assert AGENT_TIMEOUT_S <= time.monotonic() - began < AGENT_TIMEOUT_S + 1
