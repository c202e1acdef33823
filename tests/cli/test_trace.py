"""`iatp trace`: from a folder that a recorder wrote, and from peers that answer anything."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iatp.adapters.log_folder import LogFolder, new_boot_id
from iatp.adapters.recorder import Recorder
from tests.cli.programs import document, iatp, on_terminal, peer, says


def tail(trace_id: str, number: int, **more: Any) -> bytes:
    record = {
        "type": "request",
        "trace_id": trace_id,
        "request_id": f"r{number}",
        "timestamp": f"2026-01-02T03:04:05.{number:06d}Z",
        "agent_id": "bank",
        "mono_ns": number,
        "method": "POST",
        "path": "/proxy",
        "decision": "allow",
        "rule": "trust_score",
        "findings": {"credit_card": 1},
        "trust_score": 10,
        "payload": {"card": "[CREDIT_CARD_REDACTED]"},
    }
    return json.dumps(record | more, separators=(",", ":")).encode()[1:]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A log folder with two records of trace `t-1`, one of another, and 1,100 of `many`."""
    logs = LogFolder(tmp_path / "logs")
    recorder = Recorder(logs, 0, new_boot_id(), 1 << 20)
    recorder.append([tail("t-1", 1), tail("other", 2)])
    recorder.append(
        [tail("t-1", 3, type="response", status_code=200, latency_ms=1.5, response={"ok": True})]
    )
    recorder.append([tail("many", number) for number in range(10, 1110)])
    recorder.close()
    logs.close()
    return tmp_path / "logs"


def test_from_a_folder(folder: Path) -> None:
    done = iatp("trace", "t-1", "--log-dir", str(folder), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = document(done)
    assert found["trace_id"] == "t-1"
    assert found["errors"] == []
    assert [record["request_id"] for record in found["logs"]] == ["r1", "r3"]


def test_all_pages_are_read(folder: Path) -> None:
    found = document(iatp("trace", "many", "--log-dir", str(folder), "--json"))
    assert [record["mono_ns"] for record in found["logs"]] == list(range(10, 1110))


def test_for_people(folder: Path) -> None:
    done = iatp("trace", "t-1", "--log-dir", str(folder))
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert lines[0] == "trace t-1, 2 records"
    assert lines[1].startswith("03:04:05.000001  request ")
    assert "POST /proxy, allow (trust_score), score 10/10, found 1 credit_card" in lines[1]
    assert lines[2] == 'payload: {"card": "[CREDIT_CARD_REDACTED]"}'
    assert "status 200" in lines[3]
    assert "1.50 ms" in lines[3]


def test_a_terminal_sees_what_was_redacted(folder: Path) -> None:
    shown = on_terminal("trace", "t-1", "--log-dir", str(folder))
    assert "\x1b[1;33m[CREDIT_CARD_REDACTED]\x1b[0m" in shown
    shown = on_terminal("trace", "t-1", "--log-dir", str(folder), env={"NO_COLOR": "1"})
    assert "\x1b" not in shown


def test_unknown_id(folder: Path) -> None:
    done = iatp("trace", "nobody", "--log-dir", str(folder))
    assert (done.returncode, done.stdout) == (1, "no record has the trace ID nobody\n")


def test_missing_folder(tmp_path: Path) -> None:
    done = iatp("trace", "t-1", "--log-dir", str(tmp_path / "none"))
    assert done.returncode == 1
    assert done.stderr.startswith(f"iatp-sidecar: the log folder {tmp_path / 'none'} is not there")


@pytest.mark.parametrize("trace_id", ["", ".", "..", "a/b", "a b", "x" * 129, "é"])
def test_what_cannot_be_a_trace_id(trace_id: str, folder: Path) -> None:
    done = iatp("trace", "--log-dir", str(folder), "--", trace_id)
    assert done.returncode == 2
    assert "is not a trace ID" in done.stderr


def test_folder_or_sidecars() -> None:
    done = iatp("trace", "t", "--log-dir", "x", "--url", "http://127.0.0.1:1")
    assert done.returncode == 2


def page(records: list[dict[str, Any]], following: str | None = None) -> bytes:
    body: dict[str, Any] = {"trace_id": "t-1", "logs": records}
    return json.dumps(body | ({"next": following} if following else {})).encode()


def test_from_several_sidecars_in_the_order_of_time() -> None:
    early = {"type": "request", "timestamp": "2026-01-02T03:04:05.000001Z"}
    late = {"type": "response", "timestamp": "2026-01-02T03:04:06.000001Z"}
    missing = json.dumps({"error": "No record.", "code": "unknown_trace"}).encode()
    with (
        peer(says("200 OK", page([late]))) as first,
        peer(says("200 OK", page([early]))) as second,
        peer(says("404 Not Found", missing)) as third,
    ):
        done = iatp("trace", "t-1", "--url", first, "--url", second, "--url", third, "--json")
    assert done.returncode == 0
    assert document(done)["logs"] == [early, late]


def test_pages_of_a_sidecar_and_its_token(tmp_path: Path) -> None:
    heads: list[bytes] = []

    def answer(connection: socket.socket, head: bytes) -> None:
        heads.append(head)
        last = b"after=c%2F1" in head
        body = page([{"n": len(heads)}], None if last else "c/1")
        says("200 OK", body)(connection, head)

    token = tmp_path / "token"
    token.write_text("secret-of-the-operator\n")
    with peer(answer) as url:
        done = iatp("trace", "t-1", "--url", url, "--token-file", str(token), "--json")
    assert [record["n"] for record in document(done)["logs"]] == [1, 2]
    assert heads[0].startswith(b"GET /trace/t-1?limit=1000 HTTP/1.1\r\n")
    for head in heads:
        assert b"\r\nAuthorization: Bearer secret-of-the-operator\r\n" in head
    assert "secret-of-the-operator" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (says("403 Forbidden", b'{"error":"Set IATP_CONTROL_ON_DATA."}'), "status 403: Set IATP"),
        (says("404 Not Found", b"{}"), "status 404"),
        (says("200 OK", b"[]"), "its answer is not a trace"),
        (says("200 OK", b'{"logs":[1]}'), "its answer is not a trace"),
        (says("200 OK", b"[" * 100_000), "its answer is not a trace"),
        (says("302 Found", b"", "Location: http://127.0.0.1:9/"), "status 302"),
    ],
)
def test_a_sidecar_that_does_not_tell(
    answer: Callable[[socket.socket, bytes], None], sentence: str
) -> None:
    with peer(answer) as url:
        done = iatp("trace", "t-1", "--url", url, "--json")
    assert done.returncode == 1
    (error,) = document(done)["errors"]
    assert error.startswith(f"{url}: {sentence}")


def test_an_incomplete_trace_is_shown_and_is_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with peer(says("200 OK", page([{"type": "request"}]))) as url:
        done = iatp("trace", "t-1", "--url", url, "--url", closed)
    assert done.returncode == 1
    assert "trace t-1, 1 records" in done.stdout
    assert f"{closed}: connection refused" in done.stdout
