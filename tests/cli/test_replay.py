"""`iatp replay`: what is sent again, what is not, and what the two answers look like."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from iatp.adapters.log_folder import LogFolder, new_boot_id
from iatp.adapters.recorder import Recorder
from tests.cli.programs import document, iatp
from tests.e2e.agents import Agent, agent, says

BODY = '{"a": [1, 2.50, "é\\u2028"]}'


def tail(type_: str, trace_id: str, **more: Any) -> bytes:
    record = {
        "type": type_,
        "trace_id": trace_id,
        "request_id": f"r-{trace_id}",
        "timestamp": "2026-01-02T03:04:05.000000Z",
        "agent_id": "bank",
        "mono_ns": 1,
    } | more
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()[1:]


def request(trace_id: str, payload: str, payload_bytes: int, **more: Any) -> bytes:
    fields: dict[str, Any] = {
        "method": "POST",
        "path": "/proxy",
        "findings": {},
        "payload_bytes": payload_bytes,
    }
    made = tail("request", trace_id, **(fields | more))
    return made[:-1] + b',"payload":' + payload.encode() + b"}"


def response(trace_id: str, answer: Any, **more: Any) -> bytes:
    return tail(
        "response",
        trace_id,
        status_code=200,
        latency_ms=1.5,
        response=answer,
        response_bytes=11,
        truncated=False,
        **more,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    logs = LogFolder(tmp_path / "logs")
    recorder = Recorder(logs, 0, new_boot_id(), 1 << 20)
    size = len(BODY.encode())
    recorder.append(
        [
            request("whole", BODY, size),
            response("whole", {"ok": True}),
            request("spaced", '{"a":1}', 11, path="/proxy/tools/x?y=1", method="PUT"),
            response("spaced", {"ok": False, "why": "then"}),
            request("text", '"plain text"', 10, path="/proxy?q=1"),
            request("binary", '"AAH/"', 3, payload_encoding="base64"),
            request("nothing", "null", 0, method="GET"),
            request("found", '{"a":"[CREDIT_CARD_REDACTED]"}', 30, findings={"credit_card": 1}),
            request("cut", '"xxxx"', 4000, payload_mac="0" * 32),
            request("omitted", "null", 30),
            request("short", '"AAH/"', 300, payload_encoding="base64"),
            request("odd", '"\\\\xff"', 1),
            request("path", "{}", 2, path="/proxy/[EMAIL_REDACTED]"),
            tail("blocked", "blocked", method="POST", path="/proxy", payload={}, payload_bytes=2),
            request("twice", "{}", 2),
            request("twice", "[]", 2),
        ]
    )
    recorder.close()
    logs.close()
    return tmp_path / "logs"


@pytest.fixture
def behind() -> Iterator[Agent]:
    with agent(says(b'{ "ok": true, "mail": "ada@example.org" }')) as running:
        yield running


def replay(folder: Path, behind: Agent, *arguments: str, yes: bool = True) -> Any:
    return iatp(
        "replay",
        *arguments,
        "--log-dir",
        str(folder),
        "--to",
        f"{behind.url}/base",
        *(["--yes"] if yes else []),
    )


def test_a_whole_request_is_sent_as_it_was(folder: Path, behind: Agent) -> None:
    done = replay(folder, behind, "whole", "--json")
    (seen,) = behind.seen
    assert (seen.method, seen.target, seen.body) == ("POST", "/base", BODY.encode())
    assert seen.header("content-type") == "application/json"
    assert seen.header("x-iatp-replay") == "r-whole"
    found = document(done)
    assert seen.header("x-agent-trace-id") == found["replay_trace_id"] != "whole"
    assert done.returncode == 1
    assert (found["then"]["status"], found["now"]["status"]) == (200, 200)
    assert (found["then"]["latency_ms"], found["same_status"]) == (1.5, True)
    assert not found["same_body"]
    assert '+  "mail": "[EMAIL_REDACTED]",' in found["diff"]
    assert "ada@" not in done.stdout + done.stderr


def test_the_same_answer_is_said_to_be(folder: Path) -> None:
    with agent(says(b'{ "ok":\n true}')) as same:
        done = replay(folder, same, "whole")
    assert (done.returncode, done.stderr) == (0, "")
    assert "the bodies are the same" in done.stdout


@pytest.mark.parametrize(
    ("trace_id", "method", "target", "body", "content_type"),
    [
        ("spaced", "PUT", "/base/tools/x?y=1", b'{"a":1}', "application/json"),
        ("text", "POST", "/base?q=1", b"plain text", "text/plain; charset=utf-8"),
        ("binary", "POST", "/base", b"\0\1\xff", "application/octet-stream"),
        ("nothing", "GET", "/base", b"", None),
    ],
)
def test_every_kind_of_body(
    folder: Path,
    behind: Agent,
    trace_id: str,
    method: str,
    target: str,
    body: bytes,
    content_type: str | None,
) -> None:
    done = replay(folder, behind, trace_id)
    (seen,) = behind.seen
    assert (seen.method, seen.target, seen.body) == (method, target, body), done.stderr
    assert seen.header("content-type") == content_type


@pytest.mark.parametrize(
    ("trace_id", "why"),
    [
        ("found", "values in it (1 credit_card) were replaced"),
        ("cut", "longer than IATP_RECORD_BODY"),
        ("omitted", "its payload is not on record"),
        ("short", "its base64 is not all on record"),
        ("odd", "its text is not on record as it was"),
        ("path", "its path was scrubbed"),
        ("blocked", "the agent never had a request of this trace"),
        ("twice", "the trace has 2 requests; say which with --request"),
        ("unknown", "no record has the trace ID unknown"),
    ],
)
def test_what_is_not_all_on_record_is_refused(
    folder: Path, behind: Agent, trace_id: str, why: str
) -> None:
    done = replay(folder, behind, trace_id)
    assert done.returncode == 1
    assert why in done.stderr
    assert behind.seen == []


def test_one_of_several(folder: Path, behind: Agent) -> None:
    replay(folder, behind, "twice", "--request", "2")
    assert [seen.body for seen in behind.seen] == [b"[]"]
    assert "no number 3" in replay(folder, behind, "twice", "--request", "3").stderr


def test_what_may_change_something_is_not_sent_unasked(folder: Path, behind: Agent) -> None:
    done = replay(folder, behind, "whole", yes=False)
    assert done.returncode == 1
    assert "POST may change something; --yes sends it" in done.stderr
    assert BODY[:12] in done.stdout, "what would be sent is shown first"
    assert behind.seen == []
    assert replay(folder, behind, "nothing", yes=False).returncode == 1
    assert len(behind.seen) == 1


def test_an_agent_that_is_not_there(folder: Path) -> None:
    with agent() as gone:
        url = gone.url
    done = iatp("replay", "whole", "--log-dir", str(folder), "--to", url, "--yes")
    assert done.returncode == 1
    assert "refused" in done.stderr
    assert os.sep not in done.stdout.splitlines()[-1]
