"""A policy's own patterns before a real agent: decided, replaced, recorded and counted."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.programs import ROOT, iatp
from tests.e2e.agents import Agent, agent, says
from tests.e2e.sidecars import TRUSTED, Caller, Sidecar, request, sidecar
from tests.e2e.test_answers_judged import chunked
from tests.e2e.test_policy import policy, request_record

POLICY = r"""
[[patterns]]
name = "employee"
regex = '\bEMP-\d{6}\b'
description = "an employee number"

[[patterns]]
name = "project"
regex = '(?i)project falcon'

[[patterns]]
name = "ticket"
regex = '^TCK\d{4}$'

[answers]
"custom.employee" = "redact"
"custom.project" = "block"

[[rules]]
name = "employees_masked"
kinds = ["custom.employee"]
action = "redact"

[[rules]]
name = "no_projects"
kinds = ["custom.project"]
action = "block"

[[rules]]
name = "ask_first"
kinds = ["custom.ticket"]
action = "warn"

[[rules]]
name = "rest"
action = "allow"
"""

Pair = tuple[Sidecar, Agent]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("patterns")
    variables = TRUSTED | policy(folder, POLICY) | {"IATP_WORKERS": "2"}
    with agent(says()) as behind, sidecar(folder / "sidecar", behind.url, variables) as running:
        yield running, behind
        on_disk = b"".join(path.read_bytes() for path in running.logs.glob("*.jsonl"))
        assert b"CUSTOM_REDACTED" in on_disk
        for value in (b"EMP-123456", b"falcon", b"Falcon", b"TCK1234"):
            assert value not in on_disk


def count(running: Sidecar, name: str, family: str = "findings") -> float:
    return running.metric(f'iatp_{family}_total{{kind="{name}"}}')


def test_every_pattern_is_a_series_from_the_start(pair: Pair) -> None:
    running, _ = pair
    for family in ("findings", "answer_findings"):
        names = [
            line.partition('kind="')[2].partition('"')[0]
            for line in running.admin("/metrics").body.decode().splitlines()
            if line.startswith(f"iatp_{family}_total{{")
        ]
        assert names[-3:] == ["custom.employee", "custom.project", "custom.ticket"]
        assert [name for name in names if name.startswith("custom")] == names[-3:]


def test_replaced_for_the_agent_and_in_the_record(pair: Pair) -> None:
    running, behind = pair
    before = count(running, "custom.employee")
    body = json.dumps(
        {"who": "EMP-123456", "args": json.dumps({"id": "EMP\\u002d123456", "n": 1})}
    ).replace("EMP-", "EM\\u0050-")
    answer = running.post(body, {"X-Agent-Trace-ID": "c1"})
    assert answer.status == 200
    sent = json.loads(behind.seen[-1].body)
    assert sent["who"] == "[CUSTOM_REDACTED]"
    assert json.loads(sent["args"]) == {"id": "[CUSTOM_REDACTED]", "n": 1}
    record = request_record(running, "c1")
    assert (record["rule"], record["redacted"]) == ("employees_masked", True)
    assert record["findings"] == {"custom.employee": 2}
    assert record["payload"] == sent
    assert count(running, "custom.employee") == before + 2


def test_blocked_and_told_what_it_is(pair: Pair) -> None:
    running, behind = pair
    seen = len(behind.seen)
    answer = running.post('{"about": "Project Falcon"}', {"X-Agent-Trace-ID": "c2"})
    assert (answer.status, answer.json()["code"]) == (403, "no_projects")
    assert b"alcon" not in answer.body
    (record,) = running.trace("c2")
    assert record["findings"] == {"custom.project": 1}
    target = running.ask("POST", "/proxy/p?of=EMP-123456", "{}", {"X-Agent-Trace-ID": "c3"})
    assert (target.status, target.json()["code"]) == (403, "employees_masked")
    assert "an employee number" in target.json()["error"]
    (record,) = running.trace("c3")
    assert record["path"] == "/proxy/p?of=[CUSTOM_REDACTED]"
    assert len(behind.seen) == seen


def test_warned_and_confirmed(pair: Pair) -> None:
    running, behind = pair
    answer = running.post('{"t": "TCK1234"}')
    assert (answer.status, answer.json()["code"]) == (449, "ask_first")
    assert running.post('{"t": "TCK1234"}', {"X-User-Override": "true"}).status == 200
    assert json.loads(behind.seen[-1].body) == {"t": "TCK1234"}
    assert running.post('{"t": "no TCK9999 alone"}').status == 200


def test_paths_of_other_endpoints_are_scrubbed_too(pair: Pair) -> None:
    running, _ = pair
    assert running.admin("/trace/EMP-123456").status == 404
    accesses = [record for record in running.records() if record["type"] == "access"]
    assert "/trace/[CUSTOM_REDACTED]" in [record["path"] for record in accesses]


def test_answers(pair: Pair) -> None:
    running, behind = pair
    before = count(running, "custom.employee", "answer_findings")
    behind.reply = says(b'{"e":"EMP-123456"}', "Content-Type: application/json")
    answer = running.post("{}", {"X-Agent-Trace-ID": "c4"})
    assert answer.json() == {"e": "[CUSTOM_REDACTED]"}
    behind.reply = says(b'{"e":"project falcon"}', "Content-Type: application/json")
    answer = running.post("{}", {"X-Agent-Trace-ID": "c5"})
    assert (answer.status, answer.json()["code"]) == (403, "answer_withheld")
    behind.reply = says()
    assert running.trace("c4")[-1]["findings"] == {"custom.employee": 1}
    assert running.trace("c5")[-1]["detail"] == "custom.project"
    assert count(running, "custom.employee", "answer_findings") == before + 1


@pytest.mark.parametrize("more", [0, 100_000])
def test_a_streamed_answer_passes_and_is_counted_over_its_chunks(pair: Pair, more: int) -> None:
    running, behind = pair
    before = count(running, "custom.employee", "answer_findings")
    pieces = [
        b'data: {"content":"I am EMP',
        b'-12"}\n\ndata: {"content":"34"}\n\n',
        b'data: {"content":"56 and EMP-1',
        b'23456."}\n\n',
        b'data: {"content":" ' + b"x" * more + b'"}\n\n',
    ]
    behind.reply = chunked("text/event-stream", *pieces)
    with Caller(running.port) as caller:
        name = f"s{more}"
        caller.send(request(body="{}", headers={"X-Agent-Trace-ID": name}))
        answer = caller.read()
    behind.reply = says()
    assert answer.body == b"".join(pieces)
    record = running.trace(name)[-1]
    assert record["findings"] == {"custom.employee": 2}
    # What follows might go on with the last of them, so a longer record ends before it.
    assert record["response"].count("[CUSTOM_REDACTED]") == (1 if more else 2)
    for part in ("EMP", "123456", '"34'):
        assert part not in record["response"]
    assert count(running, "custom.employee", "answer_findings") == before + 2


def test_a_pattern_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("[[patterns]]\nname = 'a'\nregex = 'a('\n")
    for command in (("check",), ("policy", "test", str(path))):
        done = iatp(*command, env={"IATP_POLICY": str(path)} if command == ("check",) else {})
        assert done.returncode == 78
        said = done.stdout + done.stderr
        assert "patterns[0].regex (of 'a') is 'a(': missing ): a(" in said


def test_patterns_without_the_extra(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    (tmp_path / "re2.py").write_text("raise ImportError\n")
    env = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = iatp("policy", "test", str(path), env=env)
    assert done.returncode == 78
    said = done.stdout + done.stderr
    assert said.count("not installed: pip install 'iatp-sidecar[patterns]'") == 1
