"""`iatp scan`: a manifest from a peer that may be anybody."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.programs import document, iatp, on_terminal, peer, says

ROOT = Path(__file__).parent.parent.parent
BANK = (ROOT / "examples" / "bank_manifest.json").read_bytes()
UNTRUSTED = (ROOT / "examples" / "untrusted_manifest.json").read_bytes()

Answer = Callable[[socket.socket, bytes], None]


def test_a_trustworthy_agent() -> None:
    with peer(says("200 OK", BANK)) as url:
        done = iatp("scan", url, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = document(done)
    assert found["verdict"] == "pass"
    assert found["agent_id"] == "secure-bank-agent"
    assert found["trust_score"] == 10
    assert sum(part["points"] for part in found["score_parts"]) >= 10


def test_an_agent_below_seven_is_a_negative_verdict() -> None:
    with peer(says("200 OK", UNTRUSTED)) as url:
        done = iatp("scan", url)
    assert done.returncode == 1
    assert "trust score 0/10" in done.stdout
    assert "below 7" in done.stdout


def test_the_flat_shape_of_published_clients() -> None:
    flat = {
        "agent_id": "old",
        "trust_level": "trusted",
        "capabilities": {"reversibility": "partial", "sla_latency": "2000ms"},
        "privacy_contract": {"retention": "ephemeral", "human_review": False},
    }
    with peer(says("200 OK", json.dumps(flat).encode())) as url:
        found = document(iatp("scan", url, "--json"))
    assert (found["agent_id"], found["trust_score"]) == ("old", 10)


def test_the_older_path_is_tried_too() -> None:
    asked: list[bytes] = []

    def answer(connection: socket.socket, head: bytes) -> None:
        asked.append(head.split(b" ")[1])
        if asked[-1] == b"/capabilities":
            says("200 OK", BANK)(connection, head)
        else:
            says("404 Not Found", b"")(connection, head)

    with peer(answer) as url:
        assert iatp("scan", url + "/").returncode == 0
    assert asked == [b"/.well-known/agent-manifest", b"/capabilities"]


def test_a_path_that_is_given_is_the_one_asked() -> None:
    asked: list[bytes] = []

    def answer(connection: socket.socket, head: bytes) -> None:
        asked.append(head.split(b" ")[1])
        says("404 Not Found", b"")(connection, head)

    with peer(answer) as url:
        done = iatp("scan", url + "/agents/7?x=1", "--json")
    assert asked == [b"/agents/7?x=1"]
    assert document(done)["error"] == "it serves no manifest at /agents/7?x=1"


def drip(connection: socket.socket, _: bytes) -> None:
    """A byte now and then, each within any timeout of a read."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    for _ in range(100):
        connection.sendall(b"X: y\r\n")
        time.sleep(0.1)


def endless(connection: socket.socket, _: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(100_000):
        connection.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")


def interim(connection: socket.socket, _: bytes) -> None:
    for _ in range(1_000_000):
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


def early_end(connection: socket.socket, _: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")


def not_http(connection: socket.socket, _: bytes) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (drip, "no complete answer within 1 s"),
        (interim, "no complete answer within 1 s"),
        (endless, "its answer is longer than 1024 KiB"),
        (early_end, "its answer ended early"),
        (not_http, "its answer is not valid HTTP"),
        (says("200 OK", b"x" * ((1 << 20) + 1)), "its answer is longer than 1024 KiB"),
        (says("200 OK", b"", "Content-Encoding: gzip"), "it answers in a coding"),
        (says("302 Found", b"", "Location: http://127.0.0.1:9/"), "answers with status 302"),
        (says("200 OK", b"<html>"), "its manifest cannot be used"),
        (says("200 OK", b"{}"), "its manifest cannot be used"),
        (says("200 OK", b'{"agent_id":' + b"[" * 100_000), "its manifest cannot be used"),
        (says("200 OK", b'{"agent_id":"a","trust_level":"god"}'), "its manifest cannot be used"),
        (says("200 OK", b"\xff\xfe"), "its manifest cannot be used"),
    ],
    ids=lambda value: value.__name__ if callable(value) else value[:30],
)
def test_a_hostile_peer(answer: Answer, sentence: str) -> None:
    began = time.monotonic()
    with peer(answer) as url:
        done = iatp("scan", url, "--json", "--timeout", "1")
        assert time.monotonic() - began < 5
    assert (done.returncode, done.stderr) == (1, "")
    found = document(done)
    assert found["verdict"] == "unreadable"
    assert sentence in found["error"]


def test_a_refused_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    done = iatp("scan", url)
    assert (done.returncode, done.stdout) == (1, f"{url}: connection refused\n")


def test_a_peer_cannot_write_to_the_terminal() -> None:
    hostile: dict[str, Any] = json.loads(BANK)
    hostile["identity"]["agent_id"] = "a\x1b[2J\x9b31m\u202eb"
    with peer(says("200 OK", json.dumps(hostile).encode())) as url:
        shown = on_terminal("scan", url, env={"NO_COLOR": "1"})
    assert "trust score" in shown or "cannot be used" in shown
    assert shown.replace("\r\n", "").isprintable()


def test_no_proxy_of_the_environment_is_used() -> None:
    with peer(says("200 OK", BANK)) as url, peer(says("200 OK", UNTRUSTED)) as proxy:
        done = iatp("scan", url, env={"http_proxy": proxy, "HTTP_PROXY": proxy, "ALL_PROXY": proxy})
    assert done.returncode == 0


@pytest.mark.parametrize(
    "url",
    [
        *("127.0.0.1:8001", "ftp://a", "http://", "http://a:b", "http://a:99999", "http://[::1"),
        *("http://user:pw@a", "http://a/b c", "http://a/\r\nX: y", "file:///etc/hostname", ""),
    ],
)
def test_what_is_not_a_url_is_wrong_usage(url: str) -> None:
    done = iatp("scan", url)
    assert done.returncode == 2
    assert done.stdout == ""


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "x"])
def test_timeout_is_a_time(seconds: str) -> None:
    assert iatp("scan", "http://127.0.0.1:1", "--timeout", seconds).returncode == 2


def test_a_wrong_ca_file_is_named(tmp_path: Path) -> None:
    done = iatp("scan", "https://127.0.0.1:1", "--ca", str(tmp_path / "none.pem"), "--json")
    assert done.returncode == 1
    assert "none.pem holds no usable certificates" in document(done)["error"]
