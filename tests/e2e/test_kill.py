"""`kill -9` at any moment: the last paragraph of protocol section 7, and a start afterwards."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from iatp.adapters.log_folder import list_segments
from tests.e2e.agents import Agent, Seen, agent, says
from tests.e2e.disks import check_log, check_stopped
from tests.e2e.load import Load, kill, lives, load
from tests.e2e.sidecars import STRANGER, Sidecar, log_key, sidecar, wait_until

SETTINGS = STRANGER | {"IATP_RETENTION": "permanent", "IATP_LOG_SEGMENT": "256KiB"}
CONFIRMED = {"X-User-Override": "true"}
KINDS: tuple[tuple[bytes, dict[str, str]], ...] = (
    (b'{"a":1}', CONFIRMED),
    (b'{"a":1}', CONFIRMED),
    (b'{"a":1}', {}),
    (b'{"a":"4111111111111111"}', {}),
)
"""Two that are forwarded, one that is warned, one that is blocked."""


def _kill(running: Sidecar, what: str) -> None:
    if what == "worker":
        kill(random.choice(running.workers()))
    elif what == "supervisor":
        kill(running.process.pid)
    else:
        os.killpg(running.process.pid, signal.SIGKILL)


def _round(
    tmp_path: Path, behind: Agent, number: int, what: str, settings: Mapping[str, str]
) -> None:
    """One start on the same folder, a load, a kill in the middle of it."""
    behind.seen.clear()
    with sidecar(tmp_path, behind.url, settings) as running, contextlib.ExitStack() as stack:
        children = running.workers()
        loads = [
            stack.enter_context(load(running.port, 3, body=body, headers=headers))
            for body, headers in KINDS
        ]
        wait_until(lambda: all(len(each.told) >= 10 for each in loads))
        time.sleep(random.Random(number).random() * 0.05)
        _kill(running, what)
        if what == "worker":
            # The other one goes on, and so does a new one.
            after = sum(len(each.told) for each in loads)
            wait_until(lambda: sum(len(each.told) for each in loads) > after + 40)
            os.killpg(running.process.pid, signal.SIGKILL)
        for each in loads:
            each.stop()
        running.process.wait(10)
        wait_until(lambda: not any(map(lives, children)))
        _check(running, behind, loads)
    _told(tmp_path, loads, behind)


def _check(running: Sidecar, behind: Agent, loads: list[Load]) -> None:
    # A line that is torn would raise here, as would a record that stands there twice.
    check_log(running)
    records = running.records()
    requests = {record["trace_id"] for record in records if record["type"] == "request"}
    reached = {one.header("x-agent-trace-id") for one in behind.seen}
    assert reached <= requests
    statuses: dict[str, set[int]] = {}
    for record in records:
        status = {"blocked": 403, "warning": 449}.get(record["type"]) or record.get("status_code")
        if status:
            statuses.setdefault(record["trace_id"], set()).add(status)
    told = [one for each in loads for one in each.told]
    assert told
    for one in told:
        assert statuses.get(one.trace_id) == {one.answer.status}, one
    assert {one.answer.status for one in told} == {200, 403, 449}


def _told(tmp_path: Path, loads: list[Load], behind: Agent) -> None:
    """Remember one answered request, and one that reached the agent, for the last start."""
    with (tmp_path / "remembered").open("a") as file:
        for trace_id in (
            random.choice(random.choice(loads).told).trace_id,
            behind.seen[-1].header("x-agent-trace-id"),
        ):
            file.write(f"{trace_id}\n")


def _rounds(tmp_path: Path, rounds: list[tuple[int, str, str]], *, encrypted: bool = False) -> None:
    settings = SETTINGS | (log_key(tmp_path) if encrypted else {})
    with agent(_answer) as behind:
        for number, (workers, what, durability) in enumerate(rounds):
            more = {"IATP_WORKERS": str(workers), "IATP_DURABILITY": durability}
            _round(tmp_path, behind, number, what, settings | more)
        # One more start on what all of these left.
        with sidecar(tmp_path, behind.url, settings) as running:
            for trace_id in (tmp_path / "remembered").read_text().split():
                assert running.trace(trace_id), trace_id
            assert running.post(headers=CONFIRMED).status == 200
            assert running.stop() == 0
            assert not list(running.logs.glob("*.open.jsonl*"))
            assert {one.encrypted for one in list_segments(running.logs)} == {encrypted}
            check_stopped(running)


_says = says(b'{"done":true}' + b" " * 500)


def _answer(connection: socket.socket, seen: Seen) -> bool | None:
    return _says(connection, seen)


@pytest.mark.parametrize("encrypted", [False, True])
def test_nothing_that_was_promised_is_lost(tmp_path: Path, *, encrypted: bool) -> None:
    rounds = [(1, "all", "power"), (2, "worker", "process"), (2, "supervisor", "process")]
    _rounds(tmp_path, rounds, encrypted=encrypted)


KINDS_OF_KILLS = [(4, "worker"), (1, "all"), (4, "supervisor"), (4, "all"), (1, "all")]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_that_was_promised_is_lost_in_twenty_kills(tmp_path: Path) -> None:
    _rounds(tmp_path, _kills(20))


@pytest.mark.proof
@pytest.mark.timeout(2400)
def test_nothing_that_was_promised_is_lost_in_two_hundred_kills(tmp_path: Path) -> None:
    _rounds(tmp_path, _kills(200))


@pytest.mark.proof
@pytest.mark.timeout(1200)
def test_nothing_of_an_encrypted_log_is_lost_in_sixty_kills(tmp_path: Path) -> None:
    _rounds(tmp_path, _kills(60), encrypted=True)


def _kills(count: int) -> list[tuple[int, str, str]]:
    """So many, of all kinds, in both durabilities."""
    return [
        (*KINDS_OF_KILLS[number % 5], ("process", "power")[number // 5 % 2])
        for number in range(count)
    ]
