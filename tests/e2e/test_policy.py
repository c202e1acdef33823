"""A policy file before a real agent: what arrives there, what is answered, what is recorded."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from tests.cli.programs import iatp
from tests.e2e.agents import agent, says
from tests.e2e.sidecars import STRANGER, TRUSTED, Caller, Sidecar, request, sidecar

CARD = "4111 1111 1111 1111"
REDACT = """
[[rules]]
name = "cards_masked"
kinds = ["credit_card"]
action = "redact"

[[rules]]
name = "no_ssn"
kinds = ["ssn"]
action = "block"

[[rules]]
name = "rest"
action = "allow"
"""
OPEN = """
[[open]]
paths = ["/tasks", "/tasks/*"]
methods = ["GET", "POST"]
"""


def policy(folder: Path, text: str) -> dict[str, str]:
    path = folder / "policy.toml"
    path.write_text(text)
    return {"IATP_POLICY": str(path)}


def request_record(running: Sidecar, trace_id: str) -> dict[str, Any]:
    (record,) = [one for one in running.trace(trace_id) if one["type"] == "request"]
    return record


def test_a_redacted_body_arrives_whole(tmp_path: Path) -> None:
    body = json.dumps({"pay": CARD, "amount": 4111111111111111, "to": "ada@example.org"})
    expected = {
        "pay": "[CREDIT_CARD_REDACTED]",
        "amount": "[CREDIT_CARD_REDACTED]",
        "to": "ada@example.org",
    }
    variables = TRUSTED | policy(tmp_path, REDACT)
    with agent() as behind, sidecar(tmp_path, behind.url, variables) as running:
        answer = running.post(body, {"X-Agent-Trace-ID": "r1", "Content-Digest": "sha-256=:x:"})
        clean = running.post('{"a": 1}', {"Content-Digest": "sha-256=:x:"})
        record = request_record(running, "r1")
        evaluated = 'iatp_policy_evaluations_total{result="%s"}'
        assert running.metric(evaluated % "redact") == 1
        assert running.metric(evaluated % "allow") == 1
        assert running.metric("iatp_buffered_bytes") == 0
        on_disk = b"".join(path.read_bytes() for path in running.logs.glob("*.jsonl"))
    assert (answer.status, answer.header("X-IATP-Decision")) == (200, "allow")
    first, second = behind.seen
    assert json.loads(first.body) == expected
    assert first.header("Content-Length") == str(len(first.body))
    assert first.header("Content-Digest") is None
    assert second.body == b'{"a": 1}'
    assert second.header("Content-Digest") == "sha-256=:x:"
    assert clean.status == 200
    assert record["redacted"] is True
    assert (record["decision"], record["rule"]) == ("allow", "cards_masked")
    assert record["payload_bytes"] == len(body)
    assert record["findings"] == {"credit_card": 2, "email": 1}
    assert b"4111" not in on_disk + bytes(behind.raw[0])


def test_coded_chunked_form_and_text_bodies(tmp_path: Path) -> None:
    variables = TRUSTED | policy(tmp_path, REDACT)
    with agent() as behind, sidecar(tmp_path, behind.url, variables) as running:
        coded = gzip.compress(json.dumps({"pay": CARD}).encode())
        assert running.post(coded, {"Content-Encoding": "gzip"}).status == 200
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        assert running.ask("POST", "/proxy/f", "c=4111+1111+1111+1111&d=1", form).status == 200
        text = {"Content-Type": "text/plain"}
        assert running.ask("PUT", "/proxy/n", f"pay {CARD} now", text).status == 200
        head = request(headers={"Content-Type": "application/json"})
        with Caller(running.port) as caller:
            chunks = b"7\r\n" + b'{"c":"4' + b"\r\n12\r\n" + b"111 1111 1111 1111" + b"\r\n"
            chunked = head.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")
            caller.send(chunked + chunks + b'2\r\n"}\r\n0\r\n\r\n')
            assert caller.read().status == 200
    gzipped, formed, texted, pieces = behind.seen
    assert json.loads(gzipped.body) == {"pay": "[CREDIT_CARD_REDACTED]"}
    assert gzipped.header("Content-Encoding") is None
    assert parse_qsl(formed.body.decode()) == [("c", "[CREDIT_CARD_REDACTED]"), ("d", "1")]
    assert texted.body == b"pay [CREDIT_CARD_REDACTED] now"
    assert json.loads(pieces.body) == {"c": "[CREDIT_CARD_REDACTED]"}
    for seen in behind.seen:
        assert seen.header("Content-Length") == str(len(seen.body))


def test_a_long_redacted_body(tmp_path: Path) -> None:
    """Longer than what is sent in one piece, and longer than it came."""
    items = ["ada@b.org" if at % 2 else "4111-1111-1111-1111" for at in range(40_000)]
    body = json.dumps(items).encode()
    text = REDACT.replace('["credit_card"]', '["credit_card", "email"]')
    variables = TRUSTED | policy(tmp_path, text)
    with agent() as behind, sidecar(tmp_path, behind.url, variables) as running:
        assert running.post(body).status == 200
        assert running.metric("iatp_buffered_bytes") == 0
    (seen,) = behind.seen
    assert json.loads(seen.body) == ["[CREDIT_CARD_REDACTED]", "[EMAIL_REDACTED]"] * 20_000
    assert seen.header("Content-Length") == str(len(seen.body))


def test_a_body_that_no_longer_fits_is_refused(tmp_path: Path) -> None:
    """200 KB of coded zeros would wait as 20 MB: the buffers count what is sent."""
    body = b'{"c":"%b","z":"%b"}' % (CARD.encode(), b"0" * 3_000_000)
    limits = {"IATP_MAX_BUFFERED": "1MiB", "IATP_WORKERS": "1"}
    variables = TRUSTED | limits | policy(tmp_path, REDACT)
    with agent() as behind, sidecar(tmp_path, behind.url, variables) as running:
        headers = {"Content-Encoding": "gzip", "X-Agent-Trace-ID": "big"}
        answer = running.post(gzip.compress(body), headers)
        assert (answer.status, answer.json()["code"]) == (503, "buffers_full")
        assert [one["type"] for one in running.trace("big")] == ["error"]
        assert running.post(f'["{CARD}"]').status == 200
        assert running.metric("iatp_buffered_bytes") == 0
    assert [seen.body for seen in behind.seen] == [b'["[CREDIT_CARD_REDACTED]"]']


def test_blocked_as_the_file_says(tmp_path: Path) -> None:
    variables = TRUSTED | policy(tmp_path, REDACT)
    with agent() as behind, sidecar(tmp_path, behind.url, variables) as running:
        answer = running.post('{"who": "123-45-6789"}')
        in_query = running.ask("POST", "/proxy?card=4111111111111111", "{}")
    assert (answer.status, answer.json()["code"]) == (403, "no_ssn")
    assert answer.header("X-IATP-Decision") == "block"
    assert (in_query.status, in_query.json()["code"]) == (403, "cards_masked")
    assert b"4111" not in in_query.body
    assert behind.seen == []


def test_observing(tmp_path: Path) -> None:
    variables = STRANGER | policy(tmp_path, 'mode = "observe"\n' + OPEN)
    variables |= {"IATP_RETENTION": "permanent"}
    with agent() as behind, sidecar(tmp_path, behind.url, variables) as running:
        body = json.dumps({"pay": CARD})
        assert running.post(body, {"X-Agent-Trace-ID": "o1"}).status == 200
        assert running.post("{}", {"X-Agent-Trace-ID": "o2"}).status == 200
        headers = {"X-Agent-Trace-ID": "o3"}
        assert running.ask("DELETE", "/proxy/tasks/1", headers=headers).status == 200
        assert running.post("{").status == 400
        records = [request_record(running, name) for name in ("o1", "o2", "o3")]
        assert running.metric('iatp_policy_evaluations_total{result="observe"}') == 3
        assert "only observes" in running.log()
    assert [record["would"] for record in records] == [
        {"decision": "block", "rule": "credit_card_retention"},
        {"decision": "warn", "rule": "low_trust"},
        {"decision": "refuse", "rule": "method_not_allowed"},
    ]
    assert {record["rule"] for record in records} == {"observe"}
    assert behind.seen[0].body == body.encode()
    assert len(behind.seen) == 3


def test_paths_that_are_not_open(tmp_path: Path) -> None:
    variables = TRUSTED | policy(tmp_path, OPEN)
    with agent() as behind, sidecar(tmp_path, behind.url, variables) as running:
        closed = running.ask("POST", "/proxy/admin", "{}", {"X-Agent-Trace-ID": "c1"})
        wrong = running.ask("DELETE", "/proxy/tasks/1")
        hidden = running.ask("GET", "/proxy/tasks/%2e%2e%2fadmin")
        assert running.ask("GET", "/proxy/%74asks/1").status == 200
        assert running.ask("GET", "/proxy/tasks/1?x=/admin").status == 200
        assert running.post("{}").status == 200
        # The body of a refused request is not taken for a request.
        with Caller(running.port) as caller:
            caller.send(request("POST", "/proxy/admin", "{}"))
            assert caller.read().status == 403
            assert caller.closes() == b""
        (record,) = running.trace("c1")
    assert (closed.status, closed.json()["code"]) == (403, "path_not_open")
    assert closed.header("X-IATP-Decision") == "refuse"
    assert (wrong.status, wrong.header("Allow")) == (405, "GET, POST")
    assert hidden.status == 400
    assert (record["type"], record["code"]) == ("error", "path_not_open")
    assert [seen.target for seen in behind.seen] == ["/%74asks/1", "/tasks/1?x=/admin", "/"]


def test_a_policy_is_tried_on_what_was_recorded(tmp_path: Path) -> None:
    with agent() as behind, sidecar(tmp_path, behind.url, TRUSTED) as running:
        for body in ("{}", f'["{CARD}"]', '["123-45-6789"]', "{"):
            running.post(body)
        running.ask("POST", "/proxy/admin", "{}")
        shown = running.log()
    recorded = b"".join(path.read_bytes() for path in running.logs.glob("*.jsonl"))
    (tmp_path / "new.toml").write_text(OPEN + REDACT)
    done = iatp("policy", "test", str(tmp_path / "new.toml"), env=TRUSTED, stdin=recorded)
    assert done.returncode == 1
    lines = [line.split() for line in done.stdout.splitlines()[:4]]
    assert [line[1:] for line in lines] == [
        ["allow", "rest"],
        ["redact", "cards_masked", "1", "credit_card"],
        ["block", "no_ssn", "1", "ssn"],
        ["refuse", "path_not_open"],
    ], shown
    # Four answers and a refusal: what holds no request is not judged.
    assert "2 of 4 would be forwarded; skipped: 5" in done.stdout


@pytest.mark.parametrize("command", ["run", "check"])
def test_b30_a_wrong_policy_starts_nothing(command: str, tmp_path: Path) -> None:
    text = '[[rules]]\nname = "a"\naction = "DENY"\nwhen = "x"\n'
    done = iatp(command, env=policy(tmp_path, text) | {"IATP_PORT": "x"})
    assert done.returncode == 78
    path = tmp_path / "policy.toml"
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    assert f"IATP_POLICY, {path}: rules[0].when: there is no such key" in done.stderr
    assert f"IATP_POLICY, {path}: rules[0].action is 'DENY': meant: block;" in done.stderr


ONE_SECRET = """
[answers]
secret = "block"
"secret.jwt" = "redact"

[[rules]]
name = "keys"
kinds = ["secret"]
action = "block"

[[rules]]
name = "tokens"
kinds = ["secret.jwt"]
action = "redact"

[[rules]]
name = "rest"
action = "allow"
"""


def test_a_secret_has_its_own_name_everywhere(tmp_path: Path) -> None:
    key = "AKIAIOSFODNN7EXAMPLE"
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcdefghijklmnop"
    variables = TRUSTED | policy(tmp_path, ONE_SECRET)
    with agent() as behind, sidecar(tmp_path, behind.url, variables) as running:
        requests = 'iatp_findings_total{kind="secret.%s"}'
        answers = 'iatp_answer_findings_total{kind="secret.%s"}'
        assert running.metric(requests % "jwt") == running.metric(answers % "jwt") == 0
        behind.reply = says(json.dumps([token, token]).encode(), "Content-Type: application/json")
        answer = running.post(json.dumps({"t": token}), {"X-Agent-Trace-ID": "s1"})
        assert answer.json() == ["[SECRET_REDACTED]"] * 2
        blocked = running.post(json.dumps([key, key, token]), {"X-Agent-Trace-ID": "s2"})
        assert (blocked.status, blocked.json()["code"]) == (403, "keys")
        assert blocked.json()["error"].startswith("Privacy Violation: a secret may not be sent")
        sent, settled = running.trace("s1")
        assert sent["findings"] == {"secret.jwt": 1}
        assert settled["findings"] == {"secret.jwt": 2}
        (ended,) = running.trace("s2")
        assert ended["findings"] == {"secret.aws_access_key": 2, "secret.jwt": 1}
        assert running.metric(requests % "jwt") == 2
        assert running.metric(requests % "aws_access_key") == 2
        assert running.metric(answers % "jwt") == 2
        printed = iatp("trace", "s2", "--log-dir", str(running.logs)).stdout
    assert "2 secret.aws_access_key, 1 secret.jwt" in printed
    assert [json.loads(one.body) for one in behind.seen] == [{"t": "[SECRET_REDACTED]"}]
