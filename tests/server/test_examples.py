"""The example agents, started as their users start them."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.sidecars import free_ports

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"


@contextlib.contextmanager
def started(name: str, cwd: Path) -> Iterator[int]:
    """The port of the example, which must end cleanly on SIGTERM."""
    (port,) = free_ports(1)
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / name), "--port", str(port)],
        cwd=cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield port
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
    finally:
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()


def call(
    port: int, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, data if body is not None else None, headers or {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with started("bank_agent.py", tmp_path_factory.mktemp("elsewhere")) as port:
        yield port


def balances(port: int) -> dict[str, int]:
    return {
        name: call(port, "GET", f"/accounts/{name}")[1]["balance_cents"]
        for name in ("alice", "bob", "carol")
    }


def test_transfer_and_undo(bank: int) -> None:
    before = balances(bank)
    order = {"from": "alice", "to": "bob", "amount_cents": 1250}
    status, made = call(bank, "POST", "/transfer", order)
    assert status == 200
    assert made["status"] == "completed"
    moved = {"alice": before["alice"] - 1250, "bob": before["bob"] + 1250}
    assert balances(bank) == before | moved
    undo = {"transaction_id": made["transaction_id"]}
    for _ in range(2):
        status, undone = call(bank, "POST", "/compensate", undo)
        assert status == 200
        assert undone == {"compensated": [made | {"status": "undone"}]}
        assert balances(bank) == before


def test_undo_by_trace(bank: int) -> None:
    before = balances(bank)
    trace = {"X-Agent-Trace-ID": "trace-of-two"}
    for source, target in (("alice", "carol"), ("carol", "bob")):
        order = {"from": source, "to": target, "amount_cents": 700}
        assert call(bank, "POST", "/transfer", order, trace)[0] == 200
    assert balances(bank) != before
    status, undone = call(bank, "POST", "/compensate", {"trace_id": "trace-of-two"})
    assert (status, len(undone["compensated"])) == (200, 2)
    assert balances(bank) == before


def test_undo_is_all_or_nothing(bank: int) -> None:
    first = {"from": "alice", "to": "carol", "amount_cents": 300}
    made = call(bank, "POST", "/transfer", first)[1]
    second = {"from": "carol", "to": "bob", "amount_cents": 300}
    spent = call(bank, "POST", "/transfer", second)[1]
    before = balances(bank)
    undo = {"transaction_id": made["transaction_id"]}
    assert call(bank, "POST", "/compensate", undo)[0] == 409
    assert balances(bank) == before
    for transaction in (spent, made):
        undo = {"transaction_id": transaction["transaction_id"]}
        assert call(bank, "POST", "/compensate", undo)[0] == 200


def test_idempotency_key_pays_once(bank: int) -> None:
    before = balances(bank)
    key = {"X-Idempotency-Key": "once"}
    order = {"from": "alice", "to": "bob", "amount_cents": 5}
    answers = [call(bank, "POST", "/transfer", order, key) for _ in range(3)]
    assert answers[0][0] == 200
    assert answers[1:] == answers[:1] * 2
    assert balances(bank)["alice"] == before["alice"] - 5
    assert call(bank, "POST", "/transfer", order | {"amount_cents": 6}, key)[0] == 422


@pytest.mark.parametrize(
    ("order", "status"),
    [
        ({"from": "alice", "to": "bob", "amount_cents": 0}, 422),
        ({"from": "alice", "to": "bob", "amount_cents": -5}, 422),
        ({"from": "alice", "to": "bob", "amount_cents": 1.5}, 422),
        ({"from": "alice", "to": "bob", "amount_cents": True}, 422),
        ({"from": "alice", "to": "alice", "amount_cents": 1}, 422),
        ({"from": "alice", "to": "nobody", "amount_cents": 1}, 404),
        ({"from": ["alice"], "to": "bob", "amount_cents": 1}, 404),
        ({"from": "alice", "to": "bob", "amount_cents": 10**9}, 409),
        ([1], 400),
        (b"{", 400),
    ],
)
def test_transfers_that_are_refused(bank: int, order: Any, status: int) -> None:
    before = balances(bank)
    answer = call(bank, "POST", "/transfer", order)
    assert answer[0] == status
    assert answer[1]["error"]
    assert balances(bank) == before


def test_tasks_at_the_root(bank: int) -> None:
    order = {"task": "transfer", "from": "alice", "to": "bob", "amount_cents": 1}
    status, made = call(bank, "POST", "/", order)
    assert status == 200
    undo = {"task": "compensate", "transaction_id": made["transaction_id"]}
    assert call(bank, "POST", "/", undo)[0] == 200
    assert call(bank, "POST", "/", {"task": "balance", "account": "carol"})[0] == 200
    assert call(bank, "POST", "/", {"task": "rob"})[0] == 422
    assert call(bank, "POST", "/compensate", {"transaction_id": "tx-none"})[0] == 404
    assert call(bank, "POST", "/compensate", {"trace_id": ""})[0] == 404


def test_feed_shows_transfers_as_they_happen(tmp_path: Path) -> None:
    with started("bank_agent.py", tmp_path) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/events")
        feed = connection.getresponse()
        assert feed.headers["Content-Type"] == "text/event-stream"
        assert feed.readline() == b": open\n"
        feed.readline()
        order = {"from": "alice", "to": "bob", "amount_cents": 9}
        made = call(port, "POST", "/transfer", order)[1]
        assert feed.readline() == b"event: transfer\n"
        assert json.loads(feed.readline().removeprefix(b"data: ")) == made
        # The feed is open while the agent is told to stop: `started` checks that it does.
    assert feed.read() == b"\n"
    connection.close()


def test_untrusted_agent(tmp_path: Path) -> None:
    with started("untrusted_agent.py", tmp_path) as port:
        status, answer = call(port, "POST", "/", {"message": "hello"})
        assert (status, answer["answer"]) == (
            200,
            "I will remember all 5 characters of that, for good.",
        )
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("POST", "/chat", json.dumps({"message": "hi"}))
        stream = connection.getresponse()
        arrivals = []
        while line := stream.readline():
            if line.startswith(b"data: "):
                arrivals.append((time.monotonic(), json.loads(line.removeprefix(b"data: "))))
        connection.close()
        words = [data["word"] for _, data in arrivals[:-1]]
        assert " ".join(words) == "I will remember all 2 characters of that, for good."
        assert arrivals[-1][0] - arrivals[0][0] > 0.5
        assert call(port, "GET", "/memory") == (200, {"kept": 2})
