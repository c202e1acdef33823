from __future__ import annotations

import hashlib
import json

import pytest

from tests.server.wire import REQUEST, TRACE, Records, ask, make_plane, run, wire

LISTENERS = {"data": "localhost:8001", "admin": "127.0.0.1:9901", "metrics": "10.1.2.3:9102"}


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.mark.parametrize("listener", ["data", "admin"])
def test_health(records: Records, listener: str) -> None:
    answer = ask(make_plane(records), "GET", "/health", listener=listener, host="localhost")
    assert (answer.status, answer.json()) == (200, {"status": "healthy", "agent_id": "an-agent"})
    assert answer.header("X-Agent-Trace-ID") == TRACE
    assert answer.header("Server") is None
    assert answer.header("Cache-Control") == "no-store"
    assert records.access == []


@pytest.mark.parametrize("listener", LISTENERS)
def test_probes(records: Records, listener: str) -> None:
    plane = make_plane(records, admin_token="a-long-enough-token")
    host = LISTENERS[listener]
    assert ask(plane, "GET", "/livez", listener=listener, host=host).status == 200
    ready = ask(plane, "GET", "/readyz", listener=listener, host=host)
    assert (ready.status, ready.json()) == (200, {"status": "ready"})
    records.warnings = ["requests pass without a record"]
    ready = ask(plane, "GET", "/readyz", listener=listener, host=host)
    assert ready.status == 200
    assert ready.json() == {"status": "ready", "warnings": records.warnings}
    records.reasons = ["draining", "the agent does not answer"]
    unready = ask(plane, "GET", "/readyz", listener=listener, host=host)
    assert unready.status == 503
    assert unready.json() == {
        "error": "This sidecar is not ready; see reasons.",
        "code": "not_ready",
        "trace_id": TRACE,
        "reasons": records.reasons,
    }
    assert unready.header("Retry-After") == "1"
    assert ask(plane, "GET", "/livez", listener=listener, host=host).status == 200
    assert records.access == []


@pytest.mark.parametrize("path", ["/capabilities", "/.well-known/agent-manifest"])
def test_manifest_is_served_with_a_strong_tag(records: Records, path: str) -> None:
    plane = make_plane(records)
    answer = ask(plane, "GET", path, peer="203.0.113.9", forwarded=True, host="agent.example")
    assert answer.status == 200
    assert answer.body == plane.manifest_document
    assert answer.header("Content-Type") == "application/json"
    assert answer.header("Cache-Control") == "max-age=3600"
    tag = answer.header("ETag")
    assert tag == '"' + hashlib.sha256(plane.manifest_document).hexdigest()[:32] + '"'


def test_manifest_not_modified(records: Records) -> None:
    plane = make_plane(records)
    tag = ask(plane, "GET", "/capabilities").header("ETag")
    assert tag is not None
    same = [
        [tag],
        [f"W/{tag}"],
        ["*"],
        [f'"x,y", {tag}'],
        [f'"",W/"z" , {tag},"q"'],
        ['"first"', tag],
    ]
    other = ['"x"', tag.strip('"'), f'"{tag}', '"*"', "", f'"a{tag[1:]}', "**"]
    for method in ("GET", "HEAD"):
        for lines in same:
            sent = [f"If-None-Match: {line}" for line in lines]
            answer = ask(plane, method, "/capabilities", *sent)
            assert (answer.status, answer.body) == (304, b""), lines
            assert answer.header("ETag") == tag
            assert answer.header("Cache-Control") == "max-age=3600"
        for line in other:
            answer = ask(plane, method, "/capabilities", f"If-None-Match: {line}")
            assert answer.status == 200, line


@pytest.mark.parametrize(
    "path",
    [
        "/health",
        "/livez",
        "/readyz",
        "/capabilities",
        "/.well-known/agent-manifest",
        "/trace/known",
        "/trace/none",
        "/quarantine/known",
        "/metrics",
        "/nothing",
    ],
)
def test_head_has_the_head_of_get(records: Records, path: str) -> None:
    get = ask(make_plane(records), "GET", path)
    head = ask(make_plane(records), "HEAD", path)
    assert head.body == b""
    assert head.status == get.status
    date = {"date"}
    assert [h for h in head.headers if h[0].lower() not in date] == [
        h for h in get.headers if h[0].lower() not in date
    ]
    assert int(head.header("Content-Length") or "-1") == len(get.body)


@pytest.mark.parametrize("listener", ["data", "admin"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/nothing"),
        ("GET", "/health/"),
        ("GET", "//health"),
        ("GET", "/Health"),
        ("GET", "/trace"),
        ("GET", "/trace/"),
        ("GET", "/trace/a/b"),
        ("GET", "/proxy"),
        ("POST", "/proxy"),
        ("POST", "/proxy/x"),
        ("GET", "/.well-known/agent-attestation"),
        ("GET", "/reputation/x"),
        ("GET", "/reputation/export"),
        ("POST", "/reputation/import"),
        ("POST", "/reputation/x/slash"),
        ("POST", "/compensate/x"),
    ],
)
def test_unknown_path(records: Records, method: str, path: str, listener: str) -> None:
    answer = ask(make_plane(records), method, path, listener=listener, body=b"{}")
    assert answer.status == 404
    assert answer.json() == {
        "error": "There is nothing at this path.",
        "code": "not_found",
        "trace_id": TRACE,
    }
    assert answer.header("X-IATP-Decision") == "refuse"


@pytest.mark.parametrize("path", ["/health", "/capabilities", "/trace/known", "/proxy", "/nothing"])
def test_metrics_listener_has_nothing_else(records: Records, path: str) -> None:
    answer = ask(make_plane(records), "GET", path, listener="metrics", host="10.1.2.3:9102")
    assert (answer.status, answer.json()["code"]) == (404, "not_found")
    assert records.access == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["/health", "/capabilities", "/trace/known", "/metrics"])
def test_wrong_method(records: Records, method: str, path: str) -> None:
    answer = ask(make_plane(records), method, path, listener="admin")
    assert (answer.status, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.header("Allow") == "GET, HEAD"
    assert records.access == []


def test_method_that_aiohttp_does_not_know(records: Records) -> None:
    async def both() -> None:
        async with wire(make_plane(records)) as there:
            answer = await there.ask("BREW", "/health")
            assert (answer.status, answer.json()["code"]) == (501, "not_implemented")
            assert b"BREW" not in answer.body
            assert await there.at_end()

    run(both())


def test_metrics_pass_the_accept_header_on(records: Records) -> None:
    answer = ask(make_plane(records), "GET", "/metrics", "Accept: application/openmetrics-text")
    assert answer.status == 200
    assert answer.header("Content-Type") == "text/plain; version=1.0.0; charset=utf-8"
    assert answer.body == b"# asked for application/openmetrics-text\n"
    assert records.access == []


def test_trace_in_pages(records: Records) -> None:
    plane = make_plane(records)

    async def read_all(query: str, parameter: str) -> list[dict[str, int]]:
        logs = []
        async with wire(plane) as there:
            answer = await there.ask("GET", f"/trace/known{query}")
            while True:
                page = answer.json()
                assert page["trace_id"] == "known"
                logs += page["logs"]
                if "next" not in page:
                    assert answer.header("Link") is None
                    return logs
                link = answer.header("Link")
                assert link is not None
                assert link.startswith("<?limit=")
                assert link.endswith('>; rel="next"')
                more = f"{query}&" if query else "?"
                answer = await there.ask("GET", f"/trace/known{more}{parameter}={page['next']}")

    expected = [json.loads(record) for record in records.traces["known"]]
    assert run(read_all("", "after")) == expected
    assert run(read_all("?limit=1000", "after")) == expected
    assert run(read_all("?limit=83", "after")) == expected
    assert run(read_all("?limit=250", "next")) == expected


def test_trace_default_page_is_100(records: Records) -> None:
    page = ask(make_plane(records), "GET", "/trace/known").json()
    assert list(page) == ["trace_id", "logs", "next"]
    assert len(page["logs"]) == 100
    link = ask(make_plane(records), "GET", "/trace/known?limit=7").header("Link")
    assert link == '<?limit=7&after=7>; rel="next"'


def test_short_trace_has_no_next(records: Records) -> None:
    assert ask(make_plane(records), "GET", "/trace/a").json() == {"trace_id": "a", "logs": [{}]}


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=+5",
        "limit=",
        "limit=1e2",
        "limit=5.0",
        "limit=%D9%A3",
        "limit=00005",
        "limit=5&limit=5",
        "limit=99999999999999999999",
        "after=",
        "after=x",
        "after=1&after=2",
        "after=1&next=1",
        "next=%00",
    ],
)
def test_bad_query(records: Records, query: str) -> None:
    answer = ask(make_plane(records), "GET", f"/trace/known?{query}")
    assert (answer.status, answer.json()["code"]) == (422, "bad_query")


@pytest.mark.parametrize(
    "trace_id",
    [
        "none",
        ".",
        "..",
        "%2e%2e",
        "a" * 129,
        "a%2Fb",
        "a%00",
        "%C3%A9",
        "a%20",
        "a'b",
        "a%0A",
        "a,b",
    ],
)
@pytest.mark.parametrize("kind", ["trace", "quarantine"])
def test_unknown_trace(records: Records, kind: str, trace_id: str) -> None:
    answer = ask(make_plane(records), "GET", f"/{kind}/{trace_id}")
    assert (answer.status, answer.json()["code"]) == (404, f"unknown_{kind}")
    assert answer.json()["trace_id"] == TRACE
    assert [(access["path"], access["status_code"]) for access in records.access] == [
        (f"/{kind}/{trace_id}", 404)
    ]


def test_quarantine(records: Records) -> None:
    answer = ask(make_plane(records), "GET", "/quarantine/known")
    assert answer.json() == {"trace_id": "known", "user_override": True}


def test_reading_is_recorded(records: Records) -> None:
    plane = make_plane(records)
    ask(plane, "GET", "/trace/known?limit=3", peer="::1", host="[::1]:8001")
    access = records.access[0]
    assert next(iter(access)) == "type"
    assert access.pop("mono_ns") > 0
    assert access.pop("timestamp")
    assert access == {
        "type": "access",
        "trace_id": TRACE,
        "request_id": REQUEST,
        "agent_id": "an-agent",
        "caller": "anonymous",
        "peer": "::1",
        "method": "GET",
        "path": "/trace/known",
        "status_code": 200,
    }
    ask(plane, "HEAD", "/quarantine/none", listener="admin")
    assert [(a["method"], a["status_code"]) for a in records.access[1:]] == [("HEAD", 404)]


def test_a_card_asked_for_is_not_recorded(records: Records) -> None:
    for path in ("/trace/4111111111111111", "/quarantine/4111-1111-1111-1111"):
        answer = ask(make_plane(records), "GET", path)
        assert answer.status == 404
        assert b"1111" not in answer.body
    paths = [access["path"] for access in records.access]
    assert paths == ["/trace/[CREDIT_CARD_REDACTED]", "/quarantine/[CREDIT_CARD_REDACTED]"]


def test_unrecorded_nothing_is_shown(records: Records) -> None:
    records.failing = True
    for path in ("/trace/known", "/quarantine/known"):
        answer = ask(make_plane(records), "GET", path)
        assert (answer.status, answer.json()["code"]) == (503, "recorder_unavailable")
        assert b"secret" not in answer.body
    assert ask(make_plane(records), "GET", "/metrics").status == 200


def test_unexpected_failure_shows_nothing(
    records: Records, caplog: pytest.LogCaptureFixture
) -> None:
    async def both() -> None:
        async with wire(make_plane(records)) as there:
            answer = await there.ask("GET", "/trace/broken")
            assert answer.status == 500
            assert answer.json() == {
                "error": "Something failed inside the sidecar.",
                "code": "internal_error",
                "trace_id": TRACE,
            }
            assert answer.header("X-IATP-Decision") == "error"
            assert (await there.ask("GET", "/health")).status == 200

    run(both())
    assert [record.levelname for record in caplog.records] == ["ERROR"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"X-IATP-Listener: admin\r\n", b""),
        (b"X-IATP-Listener: admin", b"X-IATP-Listener: other"),
        (b"X-IATP-Peer: 127.0.0.1\r\n", b""),
        (b"X-IATP-Forwarded: 0\r\n", b""),
        (b"X-IATP-Request-ID: r\r\n", b""),
        (b"X-IATP-Trace-ID: t\r\n", b""),
        (b"X-IATP-Listener: admin", b"X-IATP-Listener: data\r\nX-IATP-Listener: admin"),
        (b"X-IATP-Peer: 127.0.0.1", b"X-IATP-Peer: 127.0.0.1\r\nX-IATP-Peer: 10.0.0.1"),
    ],
)
def test_a_request_that_the_door_did_not_describe_is_refused(
    records: Records, old: bytes, new: bytes
) -> None:
    whole = (
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-IATP-Listener: admin\r\n"
        b"X-IATP-Peer: 127.0.0.1\r\nX-IATP-Forwarded: 0\r\nX-IATP-Trace-ID: t\r\n"
        b"X-IATP-Request-ID: r\r\n\r\n"
    )

    async def both() -> None:
        async with wire(make_plane(records)) as there:
            assert (await there.ask_raw(whole)).status == 200
            answer = await there.ask_raw(whole.replace(old, new))
            assert (answer.status, answer.json()["code"]) == (500, "internal_error")

    assert old in whole
    run(both())


def test_connection_lives_on(records: Records) -> None:
    """Unread bodies, large heads and odd bytes leave the connection usable."""

    async def many() -> None:
        async with wire(make_plane(records)) as there:
            for _ in range(3):
                answer = await there.ask("POST", "/health", body=b"x" * 3_000_000)
                assert answer.status == 405
                fields = [f"X-Field-{n}: {'v' * 500}" for n in range(100)]
                assert (await there.ask("GET", "/health", *fields)).status == 200
                assert (await there.ask("GET", "/health", f"A: {'v' * 60_000}")).status == 200
                assert (await there.ask("GET", "/health", "A: \xe9\xff")).status == 200
                assert (await there.ask("GET", "/nothing?" + "q" * 8100)).status == 404
                gzip = "Content-Encoding: gzip"
                assert (await there.ask("POST", "/nothing", gzip, body=b"no gzip")).status == 404

    run(many())


def test_large_page_arrives_whole(records: Records) -> None:
    records.traces["large"] = [b'"' + b"x" * 20_000 + b'"'] * 500
    page = ask(make_plane(records), "GET", "/trace/large?limit=1000").json()
    assert [len(record) for record in page["logs"]] == [20_000] * 500
