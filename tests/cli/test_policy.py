"""`iatp policy`: what a policy would decide, line by line."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from iatp.values.policy import DEFAULT, load_policy
from tests.cli.programs import document, environment, iatp

TRUSTED = {"IATP_TRUST_LEVEL": "trusted"}
POLICY = """
mode = "observe"
[[open]]
paths = ["/tasks"]
methods = ["POST"]
[[rules]]
name = "masked"
kinds = ["credit_card"]
action = "redact"
[[rules]]
name = "stays"
kinds = ["ssn"]
retention = ["temporary"]
action = "block"
[[rules]]
name = "low"
score_below = 7
action = "warn"
[[rules]]
name = "rest"
action = "allow"
"""
BODIES = b'{"a":1}\n["4111 1111 1111 1111"]\r\n\n["123-45-6789"]\n{\n'


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    return str(path)


def test_each_line_and_the_sum(file: str) -> None:
    done = iatp("policy", "test", file, "--json", env=TRUSTED, stdin=BODIES)
    assert done.returncode == 1
    found = document(done)
    assert (found["policy"], found["mode"]) == (file, "observe")
    assert [tuple(line.values()) for line in found["lines"]] == [
        (1, "allow", "rest", {}, False),
        (2, "allow", "masked", {"credit_card": 1}, True),
        (4, "block", "stays", {"ssn": 1}, False),
        (5, "refuse", "invalid_json", {}, False),
    ]
    assert {row["decision"]: row["count"] for row in found["summary"]} == dict.fromkeys(
        ("allow", "redact", "block", "refuse"), 1
    )
    assert found["counts"] == {"judged": 4, "would_pass": 2, "skipped": 1}


def test_for_people(file: str) -> None:
    done = iatp("policy", "test", file, env=TRUSTED, stdin=BODIES)
    lines = done.stdout.splitlines()
    assert lines[0] == f"{file} only observes; this is what it would decide"
    assert lines[2].split() == ["2", "redact", "masked", "1", "credit_card"]
    assert lines[5] == "2 of 4 would be forwarded; skipped: 1"
    assert len(lines) == 10
    assert "4111" not in done.stdout
    short = iatp("policy", "test", file, "--summary", env=TRUSTED, stdin=BODIES)
    assert short.stdout.splitlines() == [lines[0], *lines[5:]]


def test_the_agent_is_what_the_settings_say(file: str) -> None:
    ephemeral = ("--retention", "ephemeral")
    done = iatp("policy", "test", file, *ephemeral, env=TRUSTED, stdin=b'["123-45-6789"]')
    assert (done.returncode, done.stdout.split()[-3:]) == (0, ["allow", "rest", "1"])
    low = iatp("policy", "test", file, "--trust-level", "untrusted", stdin=b"{}")
    assert (low.returncode, low.stdout.split()[-3:]) == (1, ["warn", "low", "1"])


@pytest.mark.parametrize(
    ("more", "decision", "rule"),
    [
        (("--target", "/proxy/tasks?x=1"), "allow", "rest"),
        (("--target", "/proxy/tasks?x=4111111111111111"), "block", "masked"),
        (("--target", "/proxy/admin"), "refuse", "path_not_open"),
        (("--target", "/proxy/tasks", "--method", "PUT"), "refuse", "method_not_allowed"),
        (("--target", "/proxy/tasks", "--content-type", "text/plain"), "allow", "rest"),
    ],
)
def test_how_bodies_were_sent(file: str, more: tuple[str, ...], decision: str, rule: str) -> None:
    done = iatp("policy", "test", file, "--json", *more, env=TRUSTED, stdin=b"{}\n")
    (line,) = document(done)["lines"]
    assert (line["decision"], line["rule"]) == (decision, rule)


def test_records_are_judged_by_what_was_found_in_them(file: str) -> None:
    record = {
        "trace_id": "t",
        "request_id": "r",
        "boot_id": "b",
        "type": "request",
        "method": "POST",
        "path": "/proxy",
        "findings": {"ssn": 2},
        "payload": "[SSN_REDACTED]",
    }
    lines = [
        record,
        record | {"path": "/proxy/admin?x=1", "findings": {}},
        {name: record[name] for name in ("trace_id", "request_id", "boot_id")},
        record | {"findings": "x"},
    ]
    stdin = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    found = document(iatp("policy", "test", file, "--json", env=TRUSTED, stdin=stdin))
    assert [(line["decision"], line["rule"]) for line in found["lines"]] == [
        ("block", "stays"),
        ("refuse", "path_not_open"),
    ]
    assert found["counts"]["skipped"] == 2


def test_records_with_one_name_for_all_secrets_are_judged_too(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    rules = {"jwt": '["secret.jwt"]', "any": '["secret"]'}
    path.write_text(
        "".join(
            f'[[rules]]\nname = "{name}"\nkinds = {kinds}\naction = "block"\n'
            for name, kinds in rules.items()
        )
        + '[[rules]]\nname = "rest"\naction = "allow"\n'
    )
    common = {"trace_id": "t", "request_id": "r", "boot_id": "b", "type": "request"}
    common |= {"method": "POST", "path": "/proxy"}
    found = [{"secret": 1}, {"secret.jwt": 2}, {"secret.npm_token": 1, "secret.jwt": 1}]
    stdin = b"".join(json.dumps(common | {"findings": each}).encode() + b"\n" for each in found)
    lines = document(iatp("policy", "test", str(path), "--json", env=TRUSTED, stdin=stdin))["lines"]
    assert [line["rule"] for line in lines] == ["any", "jwt", "jwt"]
    assert [line["findings"] for line in lines] == [found[0], found[1], found[2]]


def test_nothing_to_judge_passes(file: str) -> None:
    done = iatp("policy", "test", file, stdin=b"")
    assert done.returncode == 0
    assert "0 of 0 would be forwarded" in done.stdout


def test_a_wrong_policy(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text("[pattern]\n")
    done = iatp("policy", "test", str(path), "--json", stdin=b"{}")
    assert done.returncode == 78
    (problem,) = document(done)["problems"]
    assert f"{path}: pattern: there is no such key; meant: patterns" in problem


def test_patterns_of_the_policy_are_looked_for(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text(
        "[[patterns]]\nname = 'employee'\nregex = '\\bEMP-[0-9]{5}\\b'\n"
        '[[rules]]\nname = "stays"\nkinds = ["custom.employee"]\naction = "block"\n'
        '[[rules]]\nname = "rest"\naction = "allow"\n'
    )
    record = {"trace_id": "t", "request_id": "r", "boot_id": "b", "method": "POST"}
    record |= {"path": "/proxy", "findings": {"custom.employee": 2, "custom.gone": 1}}
    stdin = b'["EMP-\\u00312345"]\n["EMP-1"]\n' + json.dumps(record).encode()
    lines = document(iatp("policy", "test", str(path), "--json", env=TRUSTED, stdin=stdin))["lines"]
    assert [(line["rule"], line["findings"]) for line in lines] == [
        ("stays", {"custom.employee": 1}),
        ("rest", {}),
        ("stays", {"custom.employee": 2}),
    ]


def test_the_default_is_printed() -> None:
    done = iatp("policy", "default")
    assert done.returncode == 0
    assert load_policy(done.stdout.encode()) == DEFAULT


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("test",), "needs the FILE"), (("test", "a", "--policy", "b"), "leave --policy out")],
)
def test_wrong_usage(arguments: tuple[str, ...], said: str) -> None:
    done = iatp("policy", *arguments)
    assert done.returncode == 2
    assert said in done.stderr


def test_progress_is_shown_on_a_terminal_and_taken_away(file: str) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "iatp", "policy", "test", file, "--summary"],
        env=environment(TRUSTED),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        said, _ = process.communicate(b"{}\n" * 60_000, timeout=40)
    shown = b""
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:  # EIO: the other end has closed
        pass
    os.close(ours)
    assert b" lines" in shown
    assert shown.endswith(b"\r\x1b[K")
    assert b"60000 of 60000 would be forwarded" in said
