"""Headers (protocol section 2), both ways, as bytes."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest

from tests.e2e.agents import Agent, Seen, agent, says
from tests.e2e.sidecars import KEEPS, TRUSTED, Answer, Caller, Sidecar, sidecar

Pair = tuple[Sidecar, Agent]

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
CARD = "4111111111111111"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("headers")
    with agent() as behind, sidecar(folder, behind.url, TRUSTED) as running:
        yield running, behind


@pytest.fixture(autouse=True)
def plain_agent(pair: Pair) -> None:
    pair[1].reply = says()


def post(running: Sidecar, *lines: bytes, target: bytes = b"/proxy", body: bytes = b"{}") -> Answer:
    """One request with these header lines, byte for byte."""
    head = [b"POST " + target + b" HTTP/1.1", b"Host: the-host:81", *lines]
    head.append(b"Content-Length: %d" % len(body))
    with Caller(running.port) as caller:
        caller.send(b"\r\n".join(head) + b"\r\n\r\n" + body)
        return caller.read()


def arrived(pair: Pair, *lines: bytes) -> Seen:
    """How a request with these lines came to the agent."""
    running, behind = pair
    before = len(behind.seen)
    answer = post(running, *lines)
    assert answer.status == 200, answer
    assert len(behind.seen) == before + 1
    return behind.seen[-1]


# What the sidecar itself sends to the agent, whatever the caller sent.
OWN = {
    "host",
    "accept-encoding",
    "x-agent-trace-id",
    "traceparent",
    "via",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "content-length",
}


def test_end_to_end_headers_pass_as_they_are(pair: Pair) -> None:
    every = bytes(range(0x80, 0x100))
    seen = arrived(
        pair,
        b"X-High: a" + every + b"z",
        b"X-Inner:  two  spaces\tand a tab ",
        b"X-Empty:",
        b'Cookie: a=b; c="d"',
        b"Authorization: Bearer abc.def",
        b"X-Idempotency-Key: key-1",
        b"X-Twice: 1",
        b"x-twice: 2",
        b"Content-Type: application/json; charset=utf-8",
        b"Accept: text/event-stream",
        b"User-Agent: someone/1.0",
        b"X-Agentic: mine",
        b"Warning: 199 - x",
    )
    given = [(name, value) for name, value in seen.headers if name not in OWN]
    assert given == [
        ("x-high", "a" + every.decode("latin-1") + "z"),
        ("x-inner", "two  spaces\tand a tab"),
        ("x-empty", ""),
        ("cookie", 'a=b; c="d"'),
        ("authorization", "Bearer abc.def"),
        ("x-idempotency-key", "key-1"),
        ("x-twice", "1"),
        ("x-twice", "2"),
        ("content-type", "application/json; charset=utf-8"),
        ("accept", "text/event-stream"),
        ("user-agent", "someone/1.0"),
        ("x-agentic", "mine"),
        ("warning", "199 - x"),
    ]
    assert {name for name, _ in seen.headers} >= OWN


def test_letters_of_a_name_keep_their_case(pair: Pair) -> None:
    running, behind = pair
    behind.reply = says(b"{}", "X-CaSe: 1")
    assert post(running, b"X-OtHer: 1").status == 200
    assert b"\r\nX-OtHer: 1\r\n" in bytes(behind.raw[-1])


DROPPED = [
    b"Keep-Alive: timeout=5",
    b"Proxy-Connection: keep-alive",
    b"Proxy-Authorization: Basic eDp5",
    b"Proxy-Authenticate: Basic",
    b"TE: trailers",
    b"Trailer: X-Sum",
    b"Upgrade: websocket",
    b"HTTP2-Settings: AAMAAABk",
    b"X-User-Override: true",
    b"X-Agent-Trust-Score: 10",
    b"X-Agent-Quarantined: false",
    b"x-agent-anything: 1",
    b"X-IATP-Decision: allow",
    b"X-IATP-Listener: admin",
    b"x-iatp-peer: 127.0.0.1",
    b"Forwarded: for=1.2.3.4",
    b"X-Real-IP: 1.2.3.4",
    b"X-Forwarded-For: 1.2.3.4",
    b"X-Forwarded-Host: evil",
    b"X-Forwarded-Proto: https",
    b"X-Forwarded-Port: 443",
    b"X-Forwarded-Server: evil",
    b"X-Forwarded-Prefix: /evil",
    b"X-Forwarded: evil",
]


def test_hop_by_hop_and_our_own_do_not_pass(pair: Pair) -> None:
    seen = arrived(pair, *DROPPED)
    assert {name for name, _ in seen.headers} == OWN
    assert seen.header("X-Forwarded-For") == "127.0.0.1"
    assert seen.header("X-Forwarded-Proto") == "http"
    assert seen.header("X-Forwarded-Host") == "the-host:81"
    assert seen.header("Accept-Encoding") == "identity"
    assert seen.header("Host") == f"127.0.0.1:{pair[1].port}"


def test_what_connection_names_does_not_pass(pair: Pair) -> None:
    seen = arrived(
        pair,
        b"Connection: keep-alive, X-Mine ,x-other,,not-there",
        b"X-Mine: 1",
        b"X-Other: 2",
        b"X-Third: 3",
    )
    assert [name for name, _ in seen.headers if name not in OWN] == ["x-third"]


def test_accept_encoding_is_ours(pair: Pair) -> None:
    seen = arrived(pair, b"Accept-Encoding: br;q=1, gzip")
    assert seen.all("Accept-Encoding") == ["identity"]


@pytest.mark.parametrize(
    "name",
    [
        "Content-Type",
        "Content-Encoding",
        "Authorization",
        "X-Agent-Trace-ID",
        "X-User-Override",
        "X-Idempotency-Key",
        "Traceparent",
    ],
)
def test_a_second_one_is_400(name: str, pair: Pair) -> None:
    running, behind = pair
    before = len(behind.seen)
    value = "identity" if name == "Content-Encoding" else "application/json"
    lines = [f"{name}: {value}".encode(), b"X-Between: 1", f"{name.upper()}: {value}".encode()]
    answer = post(running, *lines)
    assert answer.status == 400
    assert answer.json()["code"] == "malformed_request"
    assert len(behind.seen) == before


@pytest.mark.parametrize("name", ["Content-Length", "Host", "X-User-Override", "Authorization"])
def test_connection_may_not_name_what_decides(name: str, pair: Pair) -> None:
    running, behind = pair
    before = len(behind.seen)
    answer = post(running, f"Connection: {name}".encode(), b"X-Between: 1", b"Authorization: a")
    # Naming what is not there is harmless.
    assert answer.status == (200 if name == "X-User-Override" else 400)
    assert len(behind.seen) == before + (answer.status == 200)


# Trace IDs.


@pytest.mark.parametrize("given", ["a", "A-b_c.9", "...", "x" * 128, "-", "0" * 16])
def test_trace_id_is_kept(given: str, pair: Pair) -> None:
    running, behind = pair
    answer = post(running, b"X-Agent-Trace-ID: " + given.encode())
    assert answer.header("X-Agent-Trace-ID") == given
    assert behind.seen[-1].header("X-Agent-Trace-ID") == given
    assert running.trace(given)[-1]["type"] == "response"


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b".",
        b"..",
        b"x" * 129,
        b"x" * 300,
        b"a b",
        b"a/b",
        b"%0d%0aX:y",
        b'"},{"',
        b"a\tb",
        "\N{LINE SEPARATOR}".encode(),
        b"\xe9",
        b"a,b",
        CARD.encode(),
        b"order-4111-1111-1111-1111",
        b"123-45-6789",
    ],
)
def test_trace_id_is_replaced(given: bytes, pair: Pair) -> None:
    running, behind = pair
    answer = post(running, b"X-Agent-Trace-ID: " + given)
    made = answer.header("X-Agent-Trace-ID")
    assert answer.status == 200
    assert made
    assert UUID7.fullmatch(made)
    assert behind.seen[-1].header("X-Agent-Trace-ID") == made
    assert {record["request_id"] for record in running.trace(made)} == {made}


def test_trace_id_on_every_answer(pair: Pair) -> None:
    """Also on errors, in the body as in the header, and also where nothing is governed."""
    running, _ = pair
    mine = {"X-Agent-Trace-ID": "mine.7"}
    for method, target, body in (
        ("POST", "/proxy", "{"),
        ("GET", "/proxy", None),
        ("POST", "/proxy/..", "{}"),
        ("GET", "/nothing", None),
        ("POST", "/health", "{}"),
        ("GET", "/health", None),
        ("GET", "/trace/none", None),
        ("GET", "/capabilities", None),
        ("GET", "/metrics", None),
        ("OPTIONS", "/proxy/x", None),
    ):
        answer = running.ask(method, target, body, mine)
        assert answer.header("X-Agent-Trace-ID") == "mine.7", target
        if "json" in (answer.header("Content-Type") or "") and answer.status >= 400:
            assert answer.json()["trace_id"] == "mine.7"


def test_after_a_framing_error_it_is_always_new(pair: Pair) -> None:
    running, _ = pair
    answer = post(running, b"X-Agent-Trace-ID: mine.8", b"Transfer-Encoding: chunked")
    assert answer.status == 400
    assert UUID7.fullmatch(answer.json()["trace_id"])
    assert answer.header("X-Agent-Trace-ID") == answer.json()["trace_id"]
    assert answer.header("Connection") == "close"
    assert running.trace("mine.8") == []


# W3C trace context.

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_trace_context_is_kept_with_a_new_parent(pair: Pair) -> None:
    seen = arrived(
        pair, f"Traceparent: {PARENT}".encode(), b"tracestate: a=1", b"Tracestate: b=2,c=3"
    )
    version, trace, span, flags = (seen.header("traceparent") or "").split("-")
    assert (version, trace, flags) == ("00", PARENT[3:35], "01")
    assert re.fullmatch(r"[0-9a-f]{16}", span)
    assert span not in (PARENT[36:52], "0" * 16)
    assert ",".join(seen.all("tracestate")).replace(" ", "") == "a=1,b=2,c=3"
    assert arrived(pair, f"traceparent: {PARENT}".encode()).header("traceparent") != seen.header(
        "traceparent"
    )


@pytest.mark.parametrize(
    "given",
    [
        "",
        PARENT.upper(),
        PARENT[:-1],
        PARENT + "-x",
        PARENT.replace("00f067aa0ba902b7", "0" * 16),
        PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
        "ff" + PARENT[2:],
        "garbage",
    ],
)
def test_trace_context_is_made(given: str, pair: Pair) -> None:
    lines = [f"traceparent: {given}".encode(), b"tracestate: a=1"] if given else []
    seen = arrived(pair, *lines)
    made = seen.header("traceparent") or ""
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", made)
    assert made[3:35] not in ("0" * 32, PARENT[3:35])
    # A state without its parent means nothing.
    assert seen.all("tracestate") == []


# The agent's answer.


def test_answer_passes_as_it_is(pair: Pair) -> None:
    running, behind = pair
    every = bytes(range(0x80, 0x100)).decode("latin-1")
    behind.reply = says(
        b"\x00\xff",
        "X-High: a" + every,
        "Set-Cookie: a=1",
        "Set-Cookie: b=2",
        "Content-Type: application/x-thing; q=1",
        "Content-Encoding: x-own",
        'ETag: W/"1"',
        "Server: theirs/1",
        "Date: Sun, 06 Nov 1994 08:49:37 GMT",
        "Location: http://evil.example/",
        "WWW-Authenticate: Basic",
        "X-Empty:",
        "X-Idempotency-Key: k",
        status="207 Multi Things",
    )
    answer = post(running)
    assert (answer.status, answer.body) == (207, b"\x00\xff")
    ours = {
        "content-length",
        "x-agent-trace-id",
        "x-agent-trust-score",
        "x-agent-latency-ms",
        "x-iatp-decision",
    }
    assert [(name, value) for name, value in answer.headers if name not in ours] == [
        ("x-high", "a" + every),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("content-type", "application/x-thing; q=1"),
        ("content-encoding", "x-own"),
        ("etag", 'W/"1"'),
        ("server", "theirs/1"),
        ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("location", "http://evil.example/"),
        ("www-authenticate", "Basic"),
        ("x-empty", ""),
        ("x-idempotency-key", "k"),
    ]
    assert ours <= {name for name, _ in answer.headers}


def test_answer_cannot_speak_for_the_sidecar(pair: Pair) -> None:
    running, behind = pair
    behind.reply = says(
        b"{}",
        "X-Agent-Trust-Score: 0",
        "X-Agent-Quarantined: true",
        "X-Agent-Trace-ID: theirs",
        "X-Agent-Latency-Ms: 0.00",
        "X-Agent-New: 1",
        "X-IATP-Decision: block",
        "X-IATP-Any: 1",
        status="449 Retry With",
    )
    answer = post(running, b"X-Agent-Trace-ID: mine.9")
    assert answer.status == 449
    assert answer.header("X-IATP-Decision") == "allow"
    assert answer.header("X-Agent-Trust-Score") == "10"
    assert answer.header("X-Agent-Trace-ID") == "mine.9"
    assert answer.header("X-Agent-Quarantined") is None
    assert answer.header("X-Agent-Latency-Ms") != "0.00"
    assert answer.header("X-Agent-New") is None
    assert answer.header("X-IATP-Any") is None


def test_hop_by_hop_of_the_answer_does_not_pass(pair: Pair) -> None:
    running, behind = pair
    behind.reply = says(
        b"{}",
        "Connection: X-Mine, keep-alive",
        "X-Mine: 1",
        "Keep-Alive: timeout=5, max=100",
        "Upgrade: h2c",
        "Trailer: X-Sum",
        "Proxy-Authenticate: Basic",
        "X-Kept: 1",
    )
    answer = post(running)
    names = {name for name, _ in answer.headers}
    assert "x-kept" in names
    assert not names & {
        "connection",
        "x-mine",
        "keep-alive",
        "upgrade",
        "trailer",
        "proxy-authenticate",
    }


def test_latency_is_the_agents(pair: Pair) -> None:
    running, behind = pair
    plain = says()

    def slowly(connection: socket.socket, seen: Seen) -> bool | None:
        connection.settimeout(0.15)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(None)
        return plain(connection, seen)

    behind.reply = slowly
    latency_ms = float(post(running).header("X-Agent-Latency-Ms") or "")
    assert 150 <= latency_ms < 5000


def test_refusals_carry_what_the_table_says(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every answer to /proxy has the score and the decision, also one that is an error."""
    folder = tmp_path_factory.mktemp("refusals")
    with agent() as behind, sidecar(folder, behind.url, KEEPS) as running:
        cases = [
            (running.post(f'{{"a":"{CARD}"}}'), 403, "block"),
            (running.post("{"), 400, "refuse"),
            (running.post("{}", {"Content-Encoding": "br"}), 415, "refuse"),
            (running.ask("GET", "/proxy"), 405, "refuse"),
            (running.ask("TRACE", "/proxy/x"), 501, "refuse"),
            (post(running, b"Content-Length: 3"), 400, "refuse"),
        ]
        behind.close()
        cases.append((running.post(), 502, "error"))
    for answer, status, decision in cases:
        assert answer.status == status
        assert answer.header("X-IATP-Decision") == decision
        assert answer.header("X-Agent-Trust-Score") == "10"
        assert answer.header("X-Agent-Quarantined") is None
