"""Every request has exactly one ending record, whatever became of it (cases G01)."""

from __future__ import annotations

import collections
import random
import socket
import time
from pathlib import Path

import pytest

from tests.e2e.agents import Seen, agent, says, sends
from tests.e2e.load import reset, together
from tests.e2e.sidecars import STRANGER, Caller, Sidecar, request, sidecar, wait_until

CARD = b'{"a":"4111111111111111"}'
CONFIRMED = {"X-User-Override": "true"}
OUTCOMES: dict[str, tuple[int, bytes]] = {
    "fine": (200, request(body=b'{"a":1}', headers=CONFIRMED)),
    "made": (201, request(target="/proxy/made", body=b'{"a":1}', headers=CONFIRMED)),
    "card": (403, request(body=CARD, headers=CONFIRMED)),
    "brace": (400, request(body=b"{", headers=CONFIRMED)),
    "path": (400, request(target="/proxy/../x", body=b"{}", headers=CONFIRMED)),
    "large": (413, request(body=b"[" + b" " * 20_000 + b"]", headers=CONFIRMED)),
    "coded": (415, request(body=b"{}", headers={**CONFIRMED, "Content-Encoding": "br"})),
    "warned": (449, request(body=b'{"a":1}')),
    "odd": (502, request(target="/proxy/odd", body=b'{"a":1}', headers=CONFIRMED)),
    "mute": (504, request(target="/proxy/mute", body=b'{"a":1}', headers=CONFIRMED)),
    "left": (499, request(target="/proxy/slow", body=b'{"a":1}', headers=CONFIRMED)),
    "half": (499, request(body=b'{"a":1}', headers=CONFIRMED)[:-3]),
}
RARE = {"mute": 2, "left": 4, "half": 4}
"""How often of a hundred; they take time, or a connection."""

_fine, _made = says(), says(status="201 Created")
_odd = sends(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx")


def _reply(connection: socket.socket, seen: Seen) -> bool | None:
    match seen.target:
        case "/odd":
            return _odd(connection, seen)
        case "/made":
            return _made(connection, seen)
        case "/mute":
            connection.recv(1)
            return False
        case "/slow":
            time.sleep(0.3)
    return _fine(connection, seen)


def _plan(count: int) -> list[str]:
    often = [name for name in OUTCOMES if name not in RARE]
    rare = [name for name, percent in RARE.items() for _ in range(count * percent // 100)]
    plan = rare + [often[number % len(often)] for number in range(count - len(rare))]
    random.Random(1).shuffle(plan)
    return plan


def _ask(running: Sidecar, plan: list[str], first: int, step: int) -> None:
    """Every `step`-th request of the plan, over one connection for as long as it lasts."""
    number = first
    while number < len(plan):
        with Caller(running.port) as caller:
            while number < len(plan):
                name = plan[number]
                status, message = OUTCOMES[name]
                trace_id = f"{name}-{number}"
                number += step
                line = f"\r\nX-Agent-Trace-ID: {trace_id}\r\nHost:".encode()
                caller.send(message.replace(b"\r\nHost:", line, 1))
                if status == 499:
                    time.sleep(0.1)
                    if number % 3:
                        reset(caller.socket)
                    break
                answer = caller.read()
                assert answer.status == status, (name, answer)
                assert answer.header("x-agent-trace-id") == trace_id
                if answer.header("connection") == "close":
                    break


@pytest.mark.parametrize("workers", [1, 2])
def test_a_thousand_of_all_kinds_leave_a_thousand_endings(tmp_path: Path, workers: int) -> None:
    plan = _plan(1000)
    settings = STRANGER | {
        "IATP_RETENTION": "permanent",
        "IATP_WORKERS": str(workers),
        "IATP_MAX_BODY": "16KiB",
        "IATP_AGENT_TIMEOUT": "1s",
    }
    with agent(_reply) as behind, sidecar(tmp_path, behind.url, settings) as running:
        together(64, lambda first: _ask(running, plan, first, 64))
        wait_until(lambda: running.metric("iatp_inflight") == 0 and len(running.endings()) >= 1000)
        wait_until(lambda: running.metric('iatp_connections{state="active"}') <= 1)

        endings = running.endings()
        expected = {f"{name}-{number}": OUTCOMES[name][0] for number, name in enumerate(plan)}
        assert {record["trace_id"]: _status(record) for record in endings} == expected
        assert len(endings) == len({record["request_id"] for record in endings}) == 1000

        counted = _requests_total(running)
        assert counted == collections.Counter(map(str, expected.values()))
        assert running.metric("iatp_records_written_total") == len(running.records())
        assert running.metric("iatp_buffered_bytes") == 0
        assert running.metric("iatp_queued") == 0
        if workers == 2:
            assert {record["worker"] for record in endings} == {0, 1}
        # What went out has its `request` record, and nothing else has.
        reached = {one.header("x-agent-trace-id") for one in behind.seen}
        assert reached == {
            record["trace_id"] for record in running.records() if record["type"] == "request"
        }
        assert running.stop() == 0


def _status(record: dict[str, object]) -> object:
    return {"blocked": 403, "warning": 449}.get(str(record["type"])) or record["status_code"]


def _requests_total(running: Sidecar) -> collections.Counter[str]:
    """Requests by status."""
    found: collections.Counter[str] = collections.Counter()
    for line in running.admin("/metrics").body.decode().splitlines():
        if line.startswith("iatp_requests_total{"):
            name, _, value = line.rpartition(" ")
            if float(value):
                found[name.partition('status="')[2].partition('"')[0]] += int(float(value))
    return found
