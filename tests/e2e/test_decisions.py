"""The decision table of protocol section 6, whole: what is answered, and what got through.

The expected values come from the small tables here, written down from sections 4 and 6, and
from nothing of the sidecar's own. A sidecar has one manifest, so there are sixty of them.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.programs import environment
from tests.e2e.agents import Agent, agent
from tests.e2e.sidecars import Answer, Sidecar, free_ports, is_ready, sidecar, wait_until

TRUST = {"verified_partner": 10, "trusted": 7, "standard": 5, "unknown": 2, "untrusted": 0}
REVERSIBILITY = {"full": 2, "partial": 2, "none": 0}
RETENTION = {"ephemeral": 1, "temporary": 0, "permanent": -1, "forever": -1}
BLOCKS = {
    "clean": {},
    "credit_card": {"permanent", "forever"},
    "ssn": {"temporary", "permanent", "forever"},
}
BODIES = {
    "clean": b'{"task": "sum", "of": [1, 2]}',
    "credit_card": b'{"task": "pay", "with": "4111 1111 1111 1111"}',
    "ssn": b'{"task": "find", "who": "123-45-6789"}',
}
VALUES = (b"4111", b"1111", b"123-45", b"6789")
SAID = b'{ "kept" :  "as it is" }'


def clamp(points: int) -> int:
    return min(10, max(0, points))


def warning(score: int, *lines: str) -> str:
    return "⚠️ WARNING:" + "".join(
        f"\n  • {line}" for line in (f"Low trust score ({score}/10)", *lines)
    )


def check(
    running: Sidecar,
    behind: Agent,
    base: str,
    *,
    kind: str,
    override: bool,
    retention: str,
    score: int,
    lines: list[str],
) -> None:
    """One request, and all that protocol sections 2 and 6 say of its answer."""
    trace_id = f"{base}-{kind}-{override}"
    headers = {"X-Agent-Trace-ID": trace_id} | ({"X-User-Override": "true"} if override else {})
    answer = running.post(BODIES[kind], headers)
    arrived = [one for one in behind.seen if one.header("X-Agent-Trace-ID") == trace_id]
    assert answer.header("X-Agent-Trust-Score") == str(score)
    assert answer.header("X-Agent-Trace-ID") == trace_id
    if retention in BLOCKS[kind]:
        check_blocked(answer, kind, score, trace_id)
    elif score < 7 and not override:
        check_warned(answer, score, lines, trace_id)
    else:
        assert answer.status == 200
        assert answer.body == SAID
        assert answer.header("X-IATP-Decision") == "allow"
        assert answer.header("X-Agent-Quarantined") == ("true" if score < 7 else None)
        assert re.fullmatch(r"\d+\.\d\d", answer.header("X-Agent-Latency-Ms") or "")
        assert [(one.method, one.target, one.body) for one in arrived] == [
            ("POST", f"/{base}", BODIES[kind])
        ]
        return
    assert arrived == []
    assert answer.header("X-Agent-Quarantined") is None
    assert answer.header("Content-Type") == "application/json"
    assert not any(value in answer.body for value in VALUES)


def check_blocked(answer: Answer, kind: str, score: int, trace_id: str) -> None:
    assert answer.status == 403
    assert answer.header("X-IATP-Decision") == "block"
    body: dict[str, Any] = answer.json()
    assert body.pop("error").startswith("Privacy Violation: ")
    assert body == {
        "code": f"{kind}_retention",
        "blocked": True,
        "trust_score": score,
        "trace_id": trace_id,
    }


def check_warned(answer: Answer, score: int, lines: list[str], trace_id: str) -> None:
    assert answer.status == 449
    assert answer.header("X-IATP-Decision") == "warn"
    body: dict[str, Any] = answer.json()
    assert "X-User-Override: true" in body.pop("message")
    assert body == {
        "warning": warning(score, *lines),
        "code": "low_trust",
        "requires_override": True,
        "trust_score": score,
        "trace_id": trace_id,
    }


STARTER = """
import json, os, sys
import iatp.sidecar.worker
from iatp.cli.main import sidecar_main
for line in sys.stdin:
    if os.fork() == 0:
        os.environ.update(json.loads(line))
        os._exit(sidecar_main([]))
"""
"""Becomes a sidecar for each line of settings: sixty starts would be half a minute of imports."""


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[bytes]]:
    with (tmp_path_factory.mktemp("starter") / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", STARTER],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            process_group=0,
        )
    with process:
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("trust", TRUST)
def test_table(trust: str, starter: subprocess.Popen[bytes], tmp_path: Path) -> None:
    with agent(says_json) as behind:
        running = {
            (reversibility, retention): start(
                starter,
                tmp_path / f"{trust}-{reversibility}-{retention}",
                behind.url,
                {
                    "IATP_TRUST_LEVEL": trust,
                    "IATP_REVERSIBILITY": reversibility,
                    "IATP_RETENTION": retention,
                },
            )
            for reversibility, retention in itertools.product(REVERSIBILITY, RETENTION)
        }
        assert len(running) == 12
        for (reversibility, retention), each in running.items():
            wait_until(functools.partial(is_ready, each.port), 30.0)
            lines = ["No reversibility"] if reversibility == "none" else []
            lines += ["Data stored permanently"] if retention in ("permanent", "forever") else []
            for kind, override in itertools.product(BODIES, (False, True)):
                check(
                    each,
                    behind,
                    each.folder.name,
                    kind=kind,
                    override=override,
                    retention=retention,
                    score=clamp(TRUST[trust] + REVERSIBILITY[reversibility] + RETENTION[retention]),
                    lines=lines,
                )


def start(
    starter: subprocess.Popen[bytes], folder: Path, agent_url: str, manifest: dict[str, str]
) -> Sidecar:
    """A sidecar that is about to be ready, before `{agent_url}/{name of the folder}`."""
    (port,) = free_ports(1)
    settings = {
        "IATP_AGENT_URL": f"{agent_url}/{folder.name}",
        "IATP_HOST": "127.0.0.1",
        "IATP_PORT": str(port),
        "IATP_ADMIN_PORT": "0",
        "IATP_LOG_DIR": str(folder / "logs"),
    }
    assert starter.stdin is not None
    starter.stdin.write(json.dumps(settings | manifest).encode() + b"\n")
    starter.stdin.flush()
    return Sidecar(starter, port, 0, folder)


def says_json(connection: Any, _: Any) -> bool:
    connection.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (len(SAID), SAID)
    )
    return True


@pytest.mark.parametrize(
    ("trust", "human", "training", "score", "lines"),
    [
        ("untrusted", "true", "false", 0, ["Human review enabled"]),
        ("standard", "TRUE", "True", 1, ["Human review enabled", "Data used for training"]),
        ("trusted", "false", "true", 5, ["Data used for training"]),
    ],
)
def test_every_line_of_the_warning(
    trust: str, human: str, training: str, score: int, lines: list[str], tmp_path: Path
) -> None:
    variables = {
        "IATP_TRUST_LEVEL": trust,
        "IATP_REVERSIBILITY": "none",
        "IATP_RETENTION": "forever",
        "IATP_HUMAN_IN_LOOP": human,
        "IATP_TRAINING_CONSENT": training,
    }
    with agent() as behind, sidecar(tmp_path, behind.url, variables) as running:
        body = running.post().json()
        assert behind.seen == []
    assert body["trust_score"] == score
    assert body["warning"] == warning(score, "No reversibility", "Data stored permanently", *lines)
