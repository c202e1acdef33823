"""The endpoints before the real flight record, control state and counters."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from iatp.adapters.control_state import ControlState
from iatp.adapters.log_folder import LogFolder, new_boot_id
from iatp.adapters.metrics import Metrics
from iatp.adapters.recorder import Recorder
from iatp.adapters.shared_memory import SharedMemory
from iatp.adapters.traces import TracePage, read_trace
from iatp.server.plane import ControlPlane
from iatp.values.exchange import Claim
from iatp.values.records import validate
from tests.server.wire import TRACE, Records, ask, make_plane

CARD = "4111111111111111"


def tail(trace_id: str, number: int) -> bytes:
    record = {
        "type": "access",
        "trace_id": trace_id,
        "request_id": f"request-{number}",
        "timestamp": "2026-01-02T03:04:05.000000Z",
        "agent_id": "an-agent",
        "mono_ns": number,
        "caller": "anonymous",
        "peer": "127.0.0.1",
        "method": "GET",
        "path": "/",
        "status_code": 200,
    }
    return msgspec.json.encode(record)[1:]


class Stored:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "logs"
        self.folder = LogFolder(self.path)
        self.recorder = Recorder(self.folder, 0, new_boot_id(), 1 << 20)
        self.state = ControlState(self.folder.control_state_path)
        self.counters = Metrics(SharedMemory(1, 10), version="1.0", trust_score=10)

    def plane(self) -> ControlPlane:
        async def read(trace_id: str, *, limit: int, after: str | None) -> TracePage:
            return await asyncio.to_thread(
                read_trace, self.path, trace_id, limit=limit, after=after
            )

        async def quarantine(trace_id: str) -> dict[str, Any] | None:
            return await asyncio.to_thread(self.state.quarantine, trace_id)

        async def write(record: bytes) -> None:
            self.recorder.append([record])

        async def metrics(accept: str) -> tuple[str, bytes]:
            return self.counters.render(accept)

        return make_plane(
            Records(), read_trace=read, quarantine=quarantine, record_access=write, metrics=metrics
        )

    def lines(self) -> list[bytes]:
        return b"".join(path.read_bytes() for path in self.segments()).splitlines()

    def segments(self) -> list[Path]:
        return [path for path in sorted(self.path.rglob("*")) if ".jsonl" in path.name]


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Stored]:
    there = Stored(tmp_path)
    yield there
    there.state.close()
    there.recorder.close()
    there.folder.close()


def test_trace_from_disk(stored: Stored) -> None:
    stored.recorder.append([tail("mine", number) for number in range(25)])
    stored.recorder.append([tail("other", 99)])
    plane = stored.plane()
    seen: list[int] = []
    query = "?limit=10"
    while True:
        page = ask(plane, "GET", f"/trace/mine{query}").json()
        seen += [record["mono_ns"] for record in page["logs"]]
        if "next" not in page:
            break
        query = f"?limit=10&after={page['next']}"
    assert seen == list(range(25))
    assert ask(plane, "GET", "/trace/mine?after=bad").json()["code"] == "bad_query"
    assert ask(plane, "GET", "/trace/nobody").status == 404


def test_access_records_are_valid(stored: Stored) -> None:
    plane = stored.plane()
    ask(plane, "GET", "/trace/x")
    ask(plane, "HEAD", f"/quarantine/{CARD}")
    ask(plane, "GET", "/metrics")
    ask(plane, "GET", "/trace/x", peer="10.0.0.1")
    lines = stored.lines()
    for line in lines:
        validate(line)
    assert [json.loads(line)["path"] for line in lines] == [
        "/trace/x",
        "/quarantine/[CREDIT_CARD_REDACTED]",
    ]
    # The reading itself can be read, under the reading request's own trace ID.
    page = ask(plane, "GET", f"/trace/{TRACE}").json()
    assert [record["path"] for record in page["logs"]] == [
        json.loads(line)["path"] for line in lines
    ]


def test_quarantine_session(stored: Stored) -> None:
    claim = Claim(
        trace_id="overridden",
        ticket_id="",
        expires_s=0,
        session_id="a-session",
        warning="⚠️ WARNING",
        trust_score=2,
        time_ns=1_700_000_000_000_000_000,
    )
    stored.state.claim(claim, b'{"agent_id":"an-agent"}')
    session = ask(stored.plane(), "GET", "/quarantine/overridden").json()
    assert session["session_id"] == "a-session"
    assert session["warning_message"] == "⚠️ WARNING"
    assert session["user_override"] is True
    assert session["manifest"] == {"agent_id": "an-agent"}
    assert set(session) == {
        "session_id",
        "trace_id",
        "warning_message",
        "user_override",
        "timestamp",
        "manifest",
    }


def test_broken_control_state_is_503(stored: Stored) -> None:
    stored.state.path.write_bytes(b"not a database" * 1000)
    answer = ask(stored.plane(), "GET", "/quarantine/overridden")
    assert (answer.status, answer.json()["code"]) == (503, "state_unavailable")
    assert str(stored.path) not in answer.body.decode()


def test_unreadable_record_is_503(stored: Stored, tmp_path: Path) -> None:
    plane = stored.plane()
    stored.path.rename(tmp_path / "moved")
    answer = ask(plane, "GET", "/trace/x")
    (tmp_path / "moved").rename(stored.path)
    assert (answer.status, answer.json()["code"]) == (503, "recorder_unavailable")
    assert str(stored.path) not in answer.body.decode()


def test_metrics_in_both_formats(stored: Stored) -> None:
    text = ask(stored.plane(), "GET", "/metrics")
    assert text.status == 200
    assert (text.header("Content-Type") or "").startswith("text/plain; version=")
    assert b"iatp_requests_total" in text.body
    accept = "Accept: application/openmetrics-text; version=1.0.0"
    openmetrics = ask(stored.plane(), "GET", "/metrics", accept)
    assert (openmetrics.header("Content-Type") or "").startswith("application/openmetrics-text")
    assert openmetrics.body.endswith(b"# EOF\n")
