"""The endpoints of protocol section 1 on their three listeners, and who may call them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from iatp.values.manifest import load_manifest
from tests.e2e.agents import Agent, agent
from tests.e2e.sidecars import STRANGER, Caller, Sidecar, free_ports, request, sidecar

Pair = tuple[Sidecar, Agent]

TOKEN = "an-admin-token-of-some-length"
METRICS_PORT = free_ports(1)[0]


def own_address() -> str | None:
    """An address of this machine that is not loopback, where it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address: str = probe.getsockname()[0]
    return None if address.startswith("127.") else address


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """On all addresses, with all three listeners; the admin listener needs no token."""
    folder = tmp_path_factory.mktemp("open")
    variables = STRANGER | {"IATP_HOST": "0.0.0.0", "IATP_METRICS_PORT": str(METRICS_PORT)}
    with agent() as behind, sidecar(folder, behind.url, variables) as running:
        assert running.post("{}", {"X-Agent-Trace-ID": "warned"}).status == 449
        confirmed = {"X-User-Override": "true", "X-Agent-Trace-ID": "known"}
        for _ in range(3):
            assert running.post("{}", confirmed).status == 200
        yield running, behind


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """The admin listener is wide and has a token; the data port is closed to control."""
    folder = tmp_path_factory.mktemp("closed")
    variables = {
        "IATP_ADMIN_HOST": "0.0.0.0",
        "IATP_ADMIN_TOKEN": TOKEN,
        "IATP_CONTROL_ON_DATA": "off",
    }
    with agent() as behind, sidecar(folder, behind.url, variables) as running:
        running.post("{}", {"X-Agent-Trace-ID": "known"})
        yield running


CONTROL = ["/trace/known", "/quarantine/known", "/metrics"]
PUBLIC = ["/health", "/livez", "/readyz", "/capabilities", "/.well-known/agent-manifest"]


def port_of(running: Sidecar, listener: str) -> int:
    return {"data": running.port, "admin": running.admin_port, "metrics": METRICS_PORT}[listener]


# What there is.


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("listener", ["data", "admin", "metrics"])
@pytest.mark.parametrize("path", [*PUBLIC, *CONTROL])
def test_where_each_is_served(path: str, listener: str, method: str, pair: Pair) -> None:
    running, _ = pair
    answer = running.ask(method, path, port=port_of(running, listener))
    served = listener != "metrics" or path in ("/metrics", "/livez", "/readyz")
    assert answer.status == (200 if served else 404)
    assert answer.header("X-Agent-Trace-ID")
    assert answer.header("Server") is None
    if method == "HEAD":
        assert answer.body == b""
        assert int(answer.header("Content-Length") or "") > 0
    else:
        assert answer.body


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/health", {"status": "healthy", "agent_id": "the-agent"}),
        ("/livez", {"status": "alive"}),
        ("/readyz", {"status": "ready"}),
    ],
)
def test_probes(path: str, body: dict[str, str], pair: Pair) -> None:
    answer = pair[0].get(path)
    assert answer.json() == body
    assert answer.header("Content-Type") == "application/json"
    assert answer.header("Cache-Control") == "no-store"


WRONG = [
    *[("POST", path, "GET, HEAD") for path in (*PUBLIC, *CONTROL)],
    ("DELETE", "/trace/known", "GET, HEAD"),
    ("PUT", "/health", "GET, HEAD"),
    ("OPTIONS", "/metrics", "GET, HEAD"),
    ("PATCH", "/capabilities", "GET, HEAD"),
    ("GET", "/proxy", "POST"),
    ("PUT", "/proxy", "POST"),
]


@pytest.mark.parametrize(("method", "path", "allow"), WRONG)
def test_wrong_method(method: str, path: str, allow: str, pair: Pair) -> None:
    answer = pair[0].ask(method, path)
    assert answer.status == 405
    assert sorted((answer.header("Allow") or "").split(", ")) == allow.split(", ")
    assert answer.json()["code"] == "method_not_allowed"
    assert answer.header("X-IATP-Decision") == "refuse"


@pytest.mark.parametrize("listener", ["data", "admin", "metrics"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/nothing"),
        ("GET", "/health/"),
        ("GET", "/Health"),
        ("GET", "/trace"),
        ("GET", "/trace/"),
        ("GET", "/trace/a/b"),
        ("GET", "/quarantine"),
        ("POST", "/metrics/x"),
        ("GET", "/.well-known/agent-attestation"),
        ("GET", "/reputation/some-agent"),
        ("GET", "/reputation/export"),
        ("POST", "/reputation/some-agent/slash"),
        ("POST", "/reputation/import"),
        ("POST", "/compensate/known"),
        ("GET", "/../etc/passwd"),
    ],
)
def test_unknown_path(method: str, path: str, listener: str, pair: Pair) -> None:
    running, _ = pair
    body = "{}" if method == "POST" else None
    answer = running.ask(method, path, body, port=port_of(running, listener))
    assert answer.status == 404
    assert answer.header("Content-Type") == "application/json"
    said = answer.json()
    assert set(said) == {"error", "code", "trace_id"}
    assert said["code"] == "not_found"
    assert said["trace_id"] == answer.header("X-Agent-Trace-ID")


@pytest.mark.parametrize("listener", ["admin", "metrics"])
@pytest.mark.parametrize("target", ["/proxy", "/proxy/x"])
def test_proxy_is_on_the_data_port_alone(target: str, listener: str, pair: Pair) -> None:
    running, behind = pair
    before = len(behind.seen)
    confirmed = {"X-User-Override": "true"}
    answer = running.ask("POST", target, "{}", confirmed, port=port_of(running, listener))
    assert answer.status == 404
    assert len(behind.seen) == before


# The manifest.


@pytest.mark.parametrize("path", ["/capabilities", "/.well-known/agent-manifest"])
def test_manifest(path: str, pair: Pair) -> None:
    running, _ = pair
    answer = running.get(path)
    assert answer.header("Cache-Control") == "max-age=3600"
    assert answer.header("Content-Type") == "application/json"
    tag = answer.header("ETag") or ""
    assert tag.startswith('"')
    assert tag == running.get("/capabilities").header("ETag")
    document = answer.json()
    assert document["protocol_version"] == "1.0"
    assert document["identity"]["agent_id"] == document["agent_id"] == "the-agent"
    assert document["trust_level"] == "unknown"
    assert document["reversibility"]["level"] == "none"
    assert document["capabilities"]["reversibility"] == "none"
    assert document["privacy"]["retention_policy"] == "ephemeral"
    assert document["privacy_contract"]["retention"] == "ephemeral"
    assert document["privacy_contract"]["human_review"] is False
    assert load_manifest(answer.body).agent_id == "the-agent"


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("{tag}", 304),
        ("W/{tag}", 304),
        ('"other", {tag}', 304),
        ("*", 304),
        ('"other"', 200),
        ("", 200),
        ("garbage", 200),
    ],
)
def test_manifest_that_the_caller_has(given: str, status: int, pair: Pair) -> None:
    running, _ = pair
    tag = running.get("/capabilities").header("ETag") or ""
    with Caller(running.port) as caller:
        # Twice on one connection: what follows a 304 is read as the next answer.
        for _ in range(2):
            headers = {"If-None-Match": given.format(tag=tag)}
            caller.send(request("GET", "/capabilities", headers=headers))
            answer = caller.read("GET")
            assert answer.status == status
            assert answer.header("ETag") == tag
            assert answer.header("Cache-Control") == "max-age=3600"
            assert (answer.body == b"") == (status == 304)


# Traces and quarantine.


def test_trace_in_pages(pair: Pair) -> None:
    running, _ = pair
    whole = running.admin("/trace/known").json()
    assert set(whole) == {"trace_id", "logs"}
    assert whole["trace_id"] == "known"
    kinds = [record["type"] for record in whole["logs"]]
    assert kinds == ["request", "user_override", "response"] * 3
    paged: list[dict[str, Any]] = []
    after = ""
    pages = 0
    while True:
        answer = running.admin(f"/trace/known?limit=2{after}")
        page = answer.json()
        paged += page["logs"]
        pages += 1
        if "next" not in page:
            assert answer.header("Link") is None
            break
        assert len(page["logs"]) == 2
        assert 'rel="next"' in (answer.header("Link") or "")
        after = f"&{'after' if pages % 2 else 'next'}={page['next']}"
    assert pages == 5
    assert paged == whole["logs"]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "limit=-1", "next=x", "after="]
)
def test_page_that_cannot_be(query: str, pair: Pair) -> None:
    answer = pair[0].admin(f"/trace/known?{query}")
    assert (answer.status, answer.json()["code"]) == (422, "bad_query")


@pytest.mark.parametrize(
    "name", ["none", "..%2f..%2fetc", "a%20b", "x" * 129, "%00", "%2e%2e", "%C3%A9"]
)
@pytest.mark.parametrize("kind", ["trace", "quarantine"])
def test_unknown_id(kind: str, name: str, pair: Pair) -> None:
    answer = pair[0].admin(f"/{kind}/{name}")
    assert answer.status == 404
    body = answer.json()
    assert set(body) == {"error", "code", "trace_id"}
    assert body["code"] == f"unknown_{kind}"


def test_a_warning_is_no_quarantine(pair: Pair) -> None:
    assert pair[0].admin("/trace/warned").status == 200
    assert pair[0].admin("/quarantine/warned").status == 404


def test_reading_is_recorded(pair: Pair) -> None:
    running, _ = pair
    mine = {"X-Agent-Trace-ID": "the-reader"}
    running.admin("/trace/known?limit=1", mine)
    running.get("/quarantine/known", mine)
    running.get("/trace/nobody", mine)
    running.get("/metrics", mine)
    running.get("/readyz", mine)
    running.get("/trace/known", mine | {"Via": "1.1 x"})
    accesses = running.trace("the-reader")
    assert [(one["type"], one["path"], one["status_code"]) for one in accesses] == [
        ("access", "/trace/known", 200),
        ("access", "/quarantine/known", 200),
        ("access", "/trace/nobody", 404),
    ]
    for one in accesses:
        assert (one["method"], one["caller"], one["peer"]) == ("GET", "anonymous", "127.0.0.1")


def test_trace_from_before_a_restart(tmp_path: Path) -> None:
    confirmed = {"X-User-Override": "true", "X-Agent-Trace-ID": "over"}
    with agent() as behind:
        for times in (1, 2):
            with sidecar(tmp_path, behind.url, STRANGER) as running:
                assert running.post("{}", confirmed).status == 200
                records = running.trace("over")
                kinds = [record["type"] for record in records if record["type"] != "access"]
                assert kinds == ["request", "user_override", "response"] * times
                assert running.get("/quarantine/over").status == 200
                assert running.stop() == 0


def test_metrics(pair: Pair) -> None:
    running, _ = pair
    answer = running.admin("/metrics")
    assert (answer.header("Content-Type") or "").startswith("text/plain; version=")
    text = answer.body.decode()
    assert "# TYPE iatp_" in text
    assert "known" not in text


# Who may call control endpoints.


@pytest.mark.parametrize("path", CONTROL)
@pytest.mark.parametrize(
    "name",
    [
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "x-forwarded-anything",
        "X-Real-IP",
        "Via",
    ],
)
def test_data_port_through_a_proxy(name: str, path: str, pair: Pair) -> None:
    running, _ = pair
    answer = running.get(path, {name: "127.0.0.1"})
    assert (answer.status, answer.json()["code"]) == (403, "control_forbidden")
    assert "IATP_ADMIN_HOST" in answer.json()["error"]
    # What is for anyone stays so, and the admin listener takes it.
    assert running.get("/health", {name: "127.0.0.1"}).status == 200
    assert running.admin(path, {name: "127.0.0.1"}).status == 200


@pytest.mark.parametrize("path", CONTROL)
def test_data_port_from_elsewhere(path: str, pair: Pair) -> None:
    running, _ = pair
    address = own_address()
    if address is None:
        pytest.skip("this machine has no address beside loopback")
    with socket.create_connection((address, running.port), timeout=10) as connection:
        assert connection.getsockname()[0] == address
        connection.sendall(request("GET", path))
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b'"control_forbidden"' in answer
    assert b"IATP_ADMIN_HOST" in answer


@pytest.mark.parametrize("path", CONTROL)
def test_data_port_that_is_closed(path: str, closed: Sidecar) -> None:
    answer = closed.get(path)
    assert (answer.status, answer.json()["code"]) == (403, "control_forbidden")
    assert "IATP_CONTROL_ON_DATA" in answer.json()["error"]
    assert closed.get(path, {"Authorization": f"Bearer {TOKEN}"}).status == 403
    assert closed.get("/health").status == 200


PAGES = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:9901"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Host": "rebound.example"},
    {"Host": "localhost.evil.example:9901"},
    {"Host": "192.0.2.1"},
]


@pytest.mark.parametrize("headers", PAGES)
@pytest.mark.parametrize("path", [*CONTROL, "/health"])
def test_no_web_page_reaches_the_admin_listener(
    path: str, headers: dict[str, str], pair: Pair
) -> None:
    running, _ = pair
    answer = running.admin(path, headers)
    assert answer.status == 403
    assert answer.json()["code"] == ("bad_host" if "Host" in headers else "cross_site")
    # Public endpoints of the data port are for any name.
    assert running.get("/health", headers).status == 200
    if path != "/health":
        assert running.get(path, headers).status == 403


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9901", "[::1]:9901", "LOCALHOST:1"])
def test_names_of_the_admin_listener(host: str, pair: Pair) -> None:
    assert pair[0].admin("/metrics", {"Host": host}).status == 200


@pytest.mark.parametrize("path", CONTROL)
def test_admin_token(path: str, closed: Sidecar) -> None:
    status = 404 if path.startswith("/quarantine") else 200
    assert closed.admin(path, {"Authorization": f"Bearer {TOKEN}"}).status == status
    assert closed.admin(path, {"Authorization": f"bearer {TOKEN}"}).status == status
    for given in (
        "",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer ",
        "Bearer \xe9",
    ):
        answer = closed.admin(path, {"Authorization": given})
        assert answer.status == 401, given
        assert answer.json()["code"] == "unauthenticated"
        assert "IATP_ADMIN_TOKEN" in answer.json()["error"]
        assert (answer.header("WWW-Authenticate") or "").startswith("Bearer")
        assert TOKEN not in str(answer)
    assert closed.admin("/health").status == 200
    assert TOKEN not in closed.log()


def test_admin_token_is_not_for_pages(closed: Sidecar) -> None:
    token = {"Authorization": f"Bearer {TOKEN}"}
    assert closed.admin("/metrics", token | {"Origin": "http://localhost"}).status == 403
    # Bound wide, a service's name passes with the token, an address without.
    assert closed.admin("/metrics", token | {"Host": "sidecar.svc"}).status == 200
    assert closed.admin("/health", {"Host": "sidecar.svc"}).status == 403
    assert closed.admin("/health", {"Host": "10.1.2.3"}).status == 200


def test_metrics_listener_is_for_scrapers(pair: Pair) -> None:
    running, _ = pair
    through = {"Via": "1.1 x", "X-Forwarded-For": "1.2.3.4", "Host": "scraped.example"}
    assert running.ask("GET", "/metrics", headers=through, port=METRICS_PORT).status == 200


def test_control_connection_lives_on(pair: Pair) -> None:
    """Answers of all kinds on one connection, in order, with a body that nobody reads."""
    running, _ = pair
    with Caller(running.port) as caller:
        for method, path, body, status in (
            ("GET", "/health", None, 200),
            ("GET", "/nothing", '{"a":1}', 404),
            ("POST", "/health", '{"b":2}', 405),
            ("GET", "/trace/known", None, 200),
            ("POST", "/proxy", "{}", 449),
            ("GET", "/metrics", None, 200),
        ):
            caller.send(request(method, path, body))
            assert caller.read(method).status == status


def test_too_large_for_a_control_endpoint(pair: Pair) -> None:
    running, _ = pair
    head = b"POST /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n\r\n"
    with Caller(running.port) as caller:
        caller.send(head)
        answer = caller.read()
    assert (answer.status, answer.json()["code"]) == (413, "body_too_large")
