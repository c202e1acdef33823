from __future__ import annotations

from typing import Any

import pytest

from iatp.server.rules import host_name, is_loopback
from tests.server.wire import Records, ask, make_plane

TOKEN = "correct horse battery"
CONTROL = ["/trace/known", "/quarantine/known", "/metrics"]


def code(plane: Any, path: str, *headers: str, method: str = "GET", **where: Any) -> str | int:
    """The status of a success, else the code of the error."""
    answer = ask(plane, method, path, *headers, **where)
    if answer.status < 300:
        return answer.status
    body = answer.json()
    assert set(body) == {"error", "code", "trace_id"}
    return str(body["code"])


@pytest.mark.parametrize("path", CONTROL)
def test_control_on_the_data_port(path: str) -> None:
    records = Records()
    plane = make_plane(records)
    for peer in ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"):
        assert code(plane, path, peer=peer) == 200
    before = len(records.access)
    for peer in ("10.0.0.1", "203.0.113.9", "::2", "::ffff:10.0.0.1", "fe80::1%eth0", "", "x"):
        assert code(plane, path, peer=peer) == "control_forbidden", peer
    assert code(plane, path, forwarded=True) == "control_forbidden"
    closed = make_plane(records, control_on_data=False)
    assert code(closed, path) == "control_forbidden"
    assert len(records.access) == before


@pytest.mark.parametrize(
    ("where", "settings"),
    [
        ({"peer": "unix"}, ["Unix socket", "IATP_ADMIN_PORT", "IATP_METRICS_PORT"]),
        ({"peer": "10.0.0.1"}, ["IATP_ADMIN_HOST", "IATP_ADMIN_TOKEN", "IATP_METRICS_PORT"]),
        ({"forwarded": True}, ["IATP_ADMIN_HOST", "IATP_ADMIN_TOKEN"]),
        ({"host": "rebound.example"}, ["IATP_ADMIN_HOST"]),
    ],
)
def test_refusal_names_the_setting_that_opens_it(
    where: dict[str, Any], settings: list[str]
) -> None:
    answer = ask(make_plane(Records()), "GET", "/metrics", **where)
    assert answer.status == 403
    for setting in settings:
        assert setting in answer.json()["error"]


def test_closed_port_names_its_setting() -> None:
    answer = ask(make_plane(Records(), control_on_data=False), "GET", "/metrics")
    assert answer.status == 403
    assert "IATP_CONTROL_ON_DATA" in answer.json()["error"]
    assert "IATP_ADMIN_PORT" in answer.json()["error"]


FROM_A_PAGE = [
    "Origin: http://evil.example",
    "Origin: http://localhost:8001",
    "Origin: null",
    "Origin:",
    "Sec-Fetch-Site: cross-site",
    "Sec-Fetch-Site: same-site",
    "Sec-Fetch-Site: Cross-Site",
    "Sec-Fetch-Site: new-word",
]
NOT_FROM_A_PAGE = ["Sec-Fetch-Site: none", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: NONE"]
REBOUND = [
    "evil.example",
    "evil.example:9901",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "10.0.0.7:9901",
    "169.254.169.254",
    "[fe80::1]:9901",
    "0.0.0.0:9901",
    "localhost:x",
    "[::1",
    "[localhost]",
    "",
]
LOCAL = [
    "localhost",
    "LOCALHOST:9901",
    "localhost.:9901",
    "127.0.0.1",
    "127.0.0.1:12345",
    "127.1.2.3",
    "[::1]",
    "[::1]:9901",
    "[::ffff:127.0.0.1]",
]


@pytest.mark.parametrize("path", [*CONTROL, "/health", "/capabilities", "/nothing"])
def test_no_page_reaches_the_admin_listener(path: str) -> None:
    plane = make_plane(Records())
    expected = "not_found" if path == "/nothing" else 200
    for header in FROM_A_PAGE:
        assert code(plane, path, header, listener="admin") == "cross_site", header
    for header in NOT_FROM_A_PAGE:
        assert code(plane, path, header, listener="admin") == expected, header
    for host in REBOUND:
        assert code(plane, path, listener="admin", host=host) == "bad_host", host
    for host in LOCAL:
        assert code(plane, path, listener="admin", host=host) == expected, host


def test_no_page_reaches_control_on_the_data_port() -> None:
    plane = make_plane(Records(), data_host="127.0.0.1")
    for header in FROM_A_PAGE:
        assert code(plane, "/metrics", header) == "cross_site", header
        assert code(plane, "/capabilities", header) == 200
    for host in REBOUND:
        assert code(plane, "/metrics", host=host) == "bad_host", host
        assert code(plane, "/health", host=host) == 200
    for host in LOCAL:
        assert code(plane, "/metrics", host=host) == 200, host


def test_bound_names_are_known() -> None:
    plane = make_plane(Records(), data_host="Sidecar.Internal", admin_host="127.0.0.9")
    assert code(plane, "/metrics", host="sidecar.internal:8001") == 200
    assert code(plane, "/metrics", host="other.internal:8001") == "bad_host"
    plane = make_plane(Records(), admin_host="Admin.Internal", admin_token=TOKEN)
    bearer = f"Authorization: Bearer {TOKEN}"
    assert code(plane, "/metrics", bearer, listener="admin", host="admin.internal") == 200


def test_preflight_is_refused() -> None:
    answer = ask(
        make_plane(Records()),
        "OPTIONS",
        "/trace/known",
        "Origin: http://evil.example",
        "Access-Control-Request-Method: GET",
        listener="admin",
    )
    assert (answer.status, answer.json()["code"]) == (403, "cross_site")
    assert not [name for name, _ in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("path", CONTROL)
def test_admin_token(path: str) -> None:
    records = Records()
    plane = make_plane(records, admin_token=TOKEN)
    for header in (f"Authorization: Bearer {TOKEN}", f"authorization: bearer  {TOKEN} "):
        assert code(plane, path, header, listener="admin") == 200
    before = len(records.access)
    wrong = [
        f"Authorization: Basic {TOKEN}",
        f"Authorization: {TOKEN}",
        f"Authorization: Bearer{TOKEN}",
        "Authorization: Bearer",
        "Authorization: Bearer ",
        "Authorization:",
        f"Authorization: Bearer {TOKEN}x",
        f"Authorization: Bearer {TOKEN[:-1]}",
        f"Authorization: Bearer {TOKEN.upper()}",
        "Authorization: Bearer \xe9",
        "Authorization: Bearer \xff\xfe",
    ]
    for header in wrong:
        answer = ask(plane, "GET", path, header, listener="admin")
        assert (answer.status, answer.json()["code"]) == (401, "unauthenticated"), header
        challenge = 'Bearer realm="iatp-admin", error="invalid_token"'
        assert answer.header("WWW-Authenticate") == challenge
    bare = ask(plane, "GET", path, listener="admin")
    assert bare.status == 401
    assert bare.header("WWW-Authenticate") == 'Bearer realm="iatp-admin"'
    assert TOKEN not in bare.body.decode()
    assert len(records.access) == before


def test_two_tokens_are_none() -> None:
    plane = make_plane(Records(), admin_token=TOKEN)
    twice = [f"Authorization: Bearer {TOKEN}"] * 2
    assert code(plane, "/metrics", *twice, listener="admin") == "unauthenticated"


def test_token_opens_nothing_on_the_data_port() -> None:
    plane = make_plane(Records(), admin_token=TOKEN)
    bearer = f"Authorization: Bearer {TOKEN}"
    assert code(plane, "/metrics", bearer, peer="10.0.0.1") == "control_forbidden"


def test_public_endpoints_need_no_token() -> None:
    plane = make_plane(Records(), admin_token=TOKEN)
    for path in ("/health", "/livez", "/readyz", "/capabilities"):
        assert code(plane, path, listener="admin") == 200


def test_admin_listener_on_all_addresses() -> None:
    """Addresses pass, since they can't be rebound; other names pass with the token."""
    plane = make_plane(Records(), admin_host="0.0.0.0", admin_token=TOKEN)
    bearer = f"Authorization: Bearer {TOKEN}"
    for host in ("10.0.0.7:9901", "[2001:db8::1]:9901", "localhost:9901"):
        assert code(plane, "/readyz", listener="admin", host=host) == 200
        assert code(plane, "/metrics", listener="admin", host=host) == "unauthenticated"
        assert code(plane, "/metrics", bearer, listener="admin", host=host) == 200
    name = "sidecar.prod.svc:9901"
    assert code(plane, "/metrics", bearer, listener="admin", host=name) == 200
    assert code(plane, "/metrics", listener="admin", host=name) == "bad_host"
    assert code(plane, "/metrics", f"{bearer}x", listener="admin", host=name) == "bad_host"
    page = "Origin: http://sidecar.prod.svc"
    assert code(plane, "/metrics", bearer, page, listener="admin", host=name) == "cross_site"


def test_token_does_not_lift_the_host_check_on_loopback() -> None:
    plane = make_plane(Records(), admin_token=TOKEN)
    bearer = f"Authorization: Bearer {TOKEN}"
    assert code(plane, "/metrics", bearer, listener="admin", host="evil.example") == "bad_host"


def test_metrics_listener_is_open_to_scrapers() -> None:
    plane = make_plane(Records(), admin_token=TOKEN, control_on_data=False)
    where = {"listener": "metrics", "peer": "10.0.0.1", "host": "sidecar.prod.svc:9102"}
    assert code(plane, "/metrics", **where) == 200
    assert code(plane, "/metrics", method="POST", **where) == "method_not_allowed"


def test_admin_listener_takes_any_peer_and_proxy() -> None:
    """Its address and its token decide, not where the connection comes from."""
    plane = make_plane(Records())
    assert code(plane, "/metrics", listener="admin", peer="10.0.0.1", forwarded=True) == 200


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("a.example:80", "a.example"),
        ("A.example", "a.example"),
        ("a.example:", "a.example"),
        ("[::1]:80", "::1"),
        ("::1", None),
        ("a:b:c", None),
        ("a:80:80", None),
        (":80", None),
        ("[::1]x", None),
        ("[]", None),
        ("a:\u0663", None),
    ],
)
def test_host_name(host: str, name: str | None) -> None:
    assert host_name(host) == name


def test_is_loopback() -> None:
    assert is_loopback("localhost")
    assert not is_loopback("")
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("2130706433")
    assert not is_loopback("127.1")
