"""F27: what fails inside the sidecar is answered, not forwarded, and the process lives.

Such failures have no outside cause, so a module that Python loads at start plants them: each
breaks one step for the requests that ask for it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.programs import ROOT
from tests.e2e.agents import Agent, agent, says
from tests.e2e.sidecars import TRUSTED, Answer, Sidecar, sidecar, wait_until

Pair = tuple[Sidecar, Agent]

PLANTED = """
import os

from iatp._fast import tails
from iatp.adapters.recorder import Recorder
from iatp.sidecar.connector import AgentConnector


class NoBase64:
    def b64encode(self, data):
        raise RuntimeError("planted: decide")


def append(self, records):
    if any(b"break-record" in record for record in records):
        raise RuntimeError("planted: record")
    return real_append(self, records)


async def connect(self, pool):
    if os.path.exists(os.environ["BREAK_CONNECT"]):
        raise RuntimeError("planted: connect")
    return await real_connect(self, pool)


tails.base64 = NoBase64()
real_append, Recorder.append = Recorder.append, append
real_connect, AgentConnector._connect = AgentConnector._connect, connect
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """With one place at the agent: a request that keeps it would stop all others."""
    folder = tmp_path_factory.mktemp("inside")
    (folder / "sitecustomize.py").write_text(PLANTED)
    variables = TRUSTED | {
        "PYTHONPATH": f"{folder}:{ROOT}",
        "BREAK_CONNECT": str(folder / "break-connect"),
        "IATP_CONCURRENCY_LIMIT": "1",
        "IATP_QUEUE_TIMEOUT": "2s",
    }
    with agent() as behind, sidecar(folder, behind.url, variables) as running:
        yield running, behind


def check_generic(answer: Answer, *statuses: int) -> None:
    assert answer.status in statuses
    assert answer.header("X-IATP-Decision") in ("error", "refuse")
    assert set(answer.json()) == {"error", "code", "trace_id"}
    for word in ("planted", "Traceback", "RuntimeError", ".py"):
        assert word not in answer.body.decode()


def check_alive(running: Sidecar) -> None:
    for _ in range(3):
        assert running.post().status == 200
    assert running.process.poll() is None


def test_deciding(pair: Pair) -> None:
    running, behind = pair
    before = len(behind.seen)
    answer = running.ask("PUT", "/proxy/x", b"\xff", {"Content-Type": "image/png"})
    check_generic(answer, 500)
    assert len(behind.seen) == before
    (record,) = running.trace(answer.json()["trace_id"])
    assert (record["type"], record["code"]) == ("error", "internal_error")
    assert "planted: decide" in running.log()
    check_alive(running)


@pytest.mark.parametrize("body", ["{}", "{"], ids=["forwarded", "refused"])
def test_recording(body: str, pair: Pair) -> None:
    """What could not be recorded neither reaches the agent nor is answered as if it were."""
    running, behind = pair
    before = len(behind.seen)
    answer = running.post(body, {"X-Agent-Trace-ID": "break-record"})
    check_generic(answer, 500, 503)
    assert len(behind.seen) == before
    wait_until(lambda: running.post().status == 200)
    check_alive(running)


def test_connecting(pair: Pair) -> None:
    running, behind = pair
    # No connection that is open already may be used: the one that is left is closed.
    behind.reply = lambda _, __: False
    running.post()
    before = len(behind.seen)
    planted = running.folder / "break-connect"
    planted.touch()
    try:
        for _ in range(3):
            answer = running.post()
            check_generic(answer, 500, 502)
            kinds = [one["type"] for one in running.trace(answer.json()["trace_id"])]
            assert kinds == ["error"]
    finally:
        planted.unlink()
    assert len(behind.seen) == before
    behind.reply = says()
    wait_until(lambda: running.post().status == 200)
    check_alive(running)
