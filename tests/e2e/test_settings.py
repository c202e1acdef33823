"""Each variable of protocol section 9 has its effect, on a running sidecar.

That every wrong value is explained stands in tests/values/test_config.py; here once, whole.
Others are shown where they matter: trust, reversibility and retention in test_decisions,
overrides and workers in test_overrides, listeners in test_endpoints, timeouts of the agent's
answer in test_refusals and test_proxying.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from iatp.adapters.log_folder import list_segments
from tests.cli.programs import iatp
from tests.e2e.agents import Agent, Seen, agent, says
from tests.e2e.sidecars import (
    STRANGER,
    TRUSTED,
    Caller,
    Sidecar,
    free_ports,
    request,
    sidecar,
    wait_until,
)
from tests.e2e.test_overrides import ticket_of

Pair = tuple[Sidecar, Agent]

SECRET = "correct-horse-battery-staple"


# What is wrong.

WRONG = {
    "IATP_TRUST_LEVEL": ('"trusted"', "quotes are part of the value; meant: trusted"),
    "IATP_REVERSIBILITY": ("Full", "meant: full"),
    "IATP_RETENTION": ("Forever", "meant: forever"),
    "IATP_HOST": ("0.0.0.0\r", "a line end is part of the value; meant: 0.0.0.0"),
    "IATP_PORT": ("80801", "it is more than 65535"),
    "IATP_AGENT_URL": ("localhost:8000", "the scheme is missing; meant: http://localhost:8000"),
    "IATP_AGENT_TIMEOUT": ("30", "it has no unit; meant: 30s"),
    "IATP_MAX_BODY": ("10MB ", "white space is part of the value; meant: 10MB"),
    "IATP_OVERRIDE_TOKEN": ("short", "it is shorter than 16 characters"),
}


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    done = iatp("run", env={name: value for name, (value, _) in WRONG.items()}, cwd=tmp_path)
    assert done.returncode == 78
    lines = [line for line in done.stderr.splitlines() if line.startswith("iatp-sidecar: IATP_")]
    assert len(lines) == len(WRONG)
    for name, (value, part) in WRONG.items():
        (line,) = (line for line in lines if line.startswith(f"iatp-sidecar: {name} "))
        assert part in line
        assert "allowed: " in line
        assert (repr(value) in line) == (name != "IATP_OVERRIDE_TOKEN")
    assert "short" not in done.stderr.replace("shorter", "")
    assert "\r" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("variables", "part"),
    [
        ({"IATP_TRUST_LEVEL": "Trusted"}, "meant: trusted"),
        ({"IATP_TRUST_LEVEL": "trusted\r"}, "a line end is part of the value; meant: trusted"),
        (
            {"IATP_AGENT_URL": "http://localhost:8001/x"},
            "which is the sidecar itself (IATP_PORT is 8001)",
        ),
        ({"IATP_AGENT_URL": "http://127.0.0.1:9901"}, "which is the sidecar itself"),
        (
            {"IATP_AGENT_URL": "http://127.0.0.1:8000/a?b=c"},
            "it has a query or a fragment; meant: http://127.0.0.1:8000/a",
        ),
        ({"IATP_ADMIN_HOST": "0.0.0.0"}, "that needs IATP_ADMIN_TOKEN"),
        (
            {"IATP_OVERRIDE": "ticket", "IATP_OVERRIDE_TOKEN": SECRET},
            "IATP_OVERRIDE is 'ticket', but IATP_OVERRIDE_TOKEN is set",
        ),
        (
            {"IATP_AGENT_URL": "http://127.0.0.1:1", "IATP_BACKEND_URL": "http://127.0.0.1:2"},
            "IATP_BACKEND_URL and IATP_AGENT_URL are set differently",
        ),
    ],
)
def test_what_does_not_go_together(variables: dict[str, str], part: str, tmp_path: Path) -> None:
    done = iatp("run", env=variables, cwd=tmp_path)
    assert done.returncode == 78
    (line,) = done.stderr.splitlines()
    assert part in line
    assert SECRET not in line


# Listeners, names, secrets in files, older names, the sidecar's own log.


def listens(port: int) -> bool:
    with socket.socket() as tried:
        tried.settimeout(5)
        return tried.connect_ex(("127.0.0.1", port)) == 0


def test_older_names_no_admin_port_and_text_logs(tmp_path: Path) -> None:
    """An environment of the published sidecars; and three settings of today beside it."""
    with agent() as behind:
        variables = {
            "IATP_AGENT_URL": "",
            "IATP_BACKEND_URL": behind.url,
            "IATP_BACKEND_TIMEOUT": "1",
            "IATP_HUMAN_REVIEW": "True",
            "IATP_TRUSTED_USER_OVERRIDE_TOKEN": SECRET,
            "IATP_TRAINING_CONSENT": "true",
            "IATP_IDEMPOTENCY": "TRUE",
            "IATP_SLA_LATENCY_MS": "1234",
            "IATP_CONCURRENCY_LIMIT": "7",
            "IATP_MAX_BUFFERED": "64KiB",
            "IATP_PROT": "1",
            "IATP_ADMIN_PORT": "0",
            "IATP_LOG_FORMAT": "text",
        }
        with sidecar(tmp_path, "", variables) as running:
            assert not listens(9901)
            # standard, partial, temporary, people and training: 5 + 2 - 2 - 1.
            warned = running.post()
            assert (warned.status, warned.json()["trust_score"]) == (449, 4)
            assert running.post("{}", {"X-User-Override": "true"}).status == 449
            assert running.post("{}", {"X-User-Override": SECRET}).status == 200
            # Less than IATP_MAX_BODY: what is larger never fits.
            assert running.post('"' + "x" * 60_000 + '"').status == 449
            assert running.post('"' + "x" * 70_000 + '"').status == 503
            manifest = running.get("/capabilities").json()
            log = running.log()
            assert running.stop() == 0
    assert manifest["identity"]["agent_id"] == "the-agent"
    assert manifest["privacy"]["human_in_loop"] is True
    assert manifest["privacy"]["training_consent"] is True
    assert manifest["capabilities"]["idempotency"] is True
    assert manifest["capabilities"]["sla_latency_ms"] == 1234
    assert manifest["capabilities"]["concurrency_limit"] == 7
    for older, now in (
        ("IATP_BACKEND_URL", "IATP_AGENT_URL"),
        ("IATP_BACKEND_TIMEOUT", "IATP_AGENT_TIMEOUT (with a unit, such as 30s)"),
        ("IATP_HUMAN_REVIEW", "IATP_HUMAN_IN_LOOP"),
        ("IATP_TRUSTED_USER_OVERRIDE_TOKEN", "IATP_OVERRIDE_TOKEN"),
    ):
        assert f" warning {older} is an older name; write {now}.\n" in log
    assert "IATP_PROT is set, but there is no such variable: the nearest is IATP_PORT.\n" in log
    assert "IATP_MAX_BUFFERED is 64KiB: a body of IATP_MAX_BODY, 10MiB, never fits.\n" in log
    assert "admin listener" not in log
    assert SECRET not in log


def test_secrets_in_files_and_a_quiet_log(tmp_path: Path) -> None:
    for name, value in (("admin", "the-admin-token-in-a-file"), ("override", SECRET)):
        path = tmp_path / name
        path.write_text(f"{value}\r\n")
        path.chmod(0o600)
    variables = STRANGER | {
        "IATP_ADMIN_TOKEN_FILE": str(tmp_path / "admin"),
        "IATP_OVERRIDE_TOKEN_FILE": str(tmp_path / "override"),
        "IATP_LOG_LEVEL": "error",
    }
    with agent() as behind, sidecar(tmp_path / "it", behind.url, variables) as running:
        assert running.post("{}", {"X-User-Override": SECRET}).status == 200
        assert running.post("{}", {"X-User-Override": "true"}).status == 449
        token = {"Authorization": "Bearer the-admin-token-in-a-file"}
        assert running.admin("/metrics").status == 401
        assert running.admin("/metrics", token).status == 200
        assert running.stop() == 0
        # No warning, no listener: nothing has gone wrong.
        assert running.log() == ""


def test_readiness_asks_for_the_agents_port(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    variables = {"IATP_READY_CHECK_AGENT": "true"}
    with sidecar(tmp_path, f"http://127.0.0.1:{port}", variables, ready=False) as running:
        wait_until(lambda: listens(running.port), 15)
        answer = running.get("/readyz")
        assert (answer.status, answer.json()["code"]) == (503, "not_ready")
        assert answer.json()["reasons"] == ["the agent's port does not answer"]
        assert running.get("/livez").status == 200
        with socket.create_server(("127.0.0.1", port)):
            assert running.get("/readyz").status == 200
        for line in running.log().splitlines():
            assert set(json.loads(line)) >= {"timestamp", "level", "message"}


# The manifest file.

NESTED = {
    "identity": {"agent_id": "from-the-file", "owner": "someone"},
    "trust_level": "trusted",
    "capabilities": {"sla_latency_ms": 150, "concurrency_limit": 3},
    "reversibility": {"level": "full", "undo_window_seconds": 60},
    "privacy": {"retention_policy": "permanent"},
    "rate_limiting": {"requests_per_minute": 6, "burst_limit": 6},
}
FLAT = {
    "agent_id": "from-the-file",
    "trust_level": "trusted",
    "capabilities": {
        "reversibility": "full",
        "undo_window": "60s",
        "sla_latency": "150ms",
        "concurrency_limit": 3,
        "rate_limit": 6,
    },
    "privacy_contract": {"retention": "permanent", "human_review": False},
}


@pytest.mark.parametrize("shape", ["nested", "flat"])
def test_manifest_file(shape: str, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(NESTED if shape == "nested" else FLAT))
    variables = {
        "IATP_MANIFEST": str(path),
        "IATP_AGENT_ID": "",
        # What is set holds over the file.
        "IATP_RETENTION": "temporary",
    }
    with agent() as behind, sidecar(tmp_path, behind.url, variables) as running:
        document = running.get("/capabilities").json()
        assert document["identity"]["agent_id"] == document["agent_id"] == "from-the-file"
        assert document["capabilities"]["sla_latency_ms"] == 150
        assert document["capabilities"]["concurrency_limit"] == 3
        assert document["reversibility"]["level"] == "full"
        assert document["reversibility"]["undo_window_seconds"] == 60
        assert document["privacy"]["retention_policy"] == "temporary"
        assert running.get("/health").json()["agent_id"] == "from-the-file"
        assert running.post().header("X-Agent-Trust-Score") == "9"
        # `temporary` lets a card pass; what the file says would not have.
        assert running.post('"4111111111111111"').status == 200
        # What is advertised is enforced, and a new name does not help (D10).
        answers = [
            running.post("{}", {"X-Forwarded-For": f"10.0.0.{n}", "X-Real-IP": f"10.0.1.{n}"})
            for n in range(8)
        ]
        limited = [answer for answer in answers if answer.status == 429]
        assert [answer.status for answer in answers[:3]] == [200] * 3
        assert len(limited) >= 2
        for answer in limited:
            assert answer.json()["code"] == "rate_limited"
            assert 1 <= int(answer.header("Retry-After") or "") <= 60
            (record,) = running.trace(answer.json()["trace_id"])
            assert (record["type"], record["code"]) == ("error", "rate_limited")


# Limits.

MIB = 1 << 20


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Every limit is small, and none in the way of another."""
    folder = tmp_path_factory.mktemp("small")
    variables = TRUSTED | {
        "IATP_MAX_BODY": "1MiB",
        "IATP_MAX_BUFFERED": "1MiB",
        "IATP_MAX_CONNECTIONS": "8",
        "IATP_CONCURRENCY_LIMIT": "2",
        "IATP_QUEUE_LIMIT": "0",
        "IATP_RECORD_BODY": "64B",
        "IATP_STREAM_TIMEOUT": "400ms",
        "IATP_IDEMPOTENCY": "true",
    }
    with agent() as behind, sidecar(folder, behind.url, variables) as running:
        yield running, behind


@pytest.fixture(autouse=True)
def all_is_quiet(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "small" in request.fixturenames:
        running, behind = request.getfixturevalue("small")
        behind.reply = says()
        # The next test begins with every place free.
        wait_until(lambda: running.metric('iatp_connections{state="active"}') == 1)


def test_max_body(small: Pair) -> None:
    running, behind = small
    largest = b'"' + b"x" * (MIB - 2) + b'"'
    assert running.post(largest).status == 200
    assert running.post(largest + b" ").status == 413
    assert behind.seen[-1].body == largest


def test_max_buffered(small: Pair) -> None:
    running, _ = small
    body = b'"' + b"x" * 700_000 + b'"'
    with Caller(running.port) as first:
        first.send(request(body=body)[:-10])
        wait_until(lambda: running.metric("iatp_buffered_bytes") > 699_000)
        answer = running.post(body)
        assert (answer.status, answer.json()["code"]) == (503, "buffers_full")
        assert answer.header("Retry-After") == "1"
        (record,) = running.trace(answer.json()["trace_id"])
        assert record["code"] == "buffers_full"
        # What is small still fits, and the room comes back.
        assert running.post().status == 200
        first.send(body[-10:])
        assert first.read().status == 200
    assert running.post(body).status == 200
    wait_until(lambda: running.metric("iatp_buffered_bytes") == 0)


def test_max_connections(small: Pair) -> None:
    running, _ = small
    with contextlib.ExitStack() as stack:
        callers = [stack.enter_context(Caller(running.port)) for _ in range(8)]
        for caller in callers:
            caller.send(request(body="{}"))
            assert caller.read().status == 200
        with Caller(running.port) as one_more:
            # Answered before it has asked, and closed.
            answer = one_more.read()
            assert (answer.status, answer.json()["code"]) == (503, "too_many_connections")
            assert answer.header("Retry-After") == "1"
            assert answer.header("Connection") == "close"
        # The operator is not kept out by callers.
        assert running.admin("/readyz").status == 200
        for caller in callers:
            caller.send(request(body="{}"))
            assert caller.read().status == 200
    wait_until(lambda: can_post(running))


def can_post(running: Sidecar) -> bool:
    try:
        return running.post().status == 200
    except OSError:
        return False


def test_concurrency_limit_with_no_queue(small: Pair) -> None:
    """Two at once reach the agent; with a queue of none, a third is turned away at once."""
    running, behind = small
    go = threading.Event()
    came = threading.Semaphore(0)

    def hold(connection: socket.socket, _: Seen) -> bool:
        came.release()
        go.wait(10)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        return True

    behind.reply = hold
    with Caller(running.port) as first, Caller(running.port) as second:
        for caller in (first, second):
            caller.send(request(body="{}"))
            assert came.acquire(timeout=5)
        answer = running.post()
        assert (answer.status, answer.json()["code"]) == (503, "queue_full")
        assert answer.header("Retry-After") == "1"
        go.set()
        for caller in (first, second):
            assert caller.read().status == 200
    assert running.post().status == 200


def test_record_body(small: Pair) -> None:
    running, behind = small
    behind.reply = says(b"y" * 30 + b" " + b"z" * 100, "Content-Type: text/plain")
    exactly, longer = json.dumps("x" * 62), json.dumps(["x" * 30, "4111111111111111", "w" * 40])
    kept, cut = (
        running.trace(one.header("X-Agent-Trace-ID") or "")
        for one in map(running.post, (exactly, longer))
    )
    assert kept[0]["payload"] == "x" * 62
    assert "payload_mac" not in kept[0]
    payload = cut[0]["payload"]
    assert payload.startswith('["' + "x" * 30 + '", "[CREDIT_CARD_REDACTED]"')
    assert len(payload) <= 64
    assert cut[0]["payload_bytes"] == len(longer)
    assert len(bytes.fromhex(cut[0]["payload_mac"])) == 16
    assert cut[1]["response"].startswith("y" * 30)
    assert len(cut[1]["response"]) <= 64
    assert cut[1]["response_bytes"] == 131


def test_stream_timeout(small: Pair) -> None:
    running, behind = small

    def drip(connection: socket.socket, _: Seen) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.settimeout(0.05)
        while True:
            connection.sendall(b"2\r\n. \r\n")
            try:
                return bool(connection.recv(1))
            except TimeoutError:
                continue

    behind.reply = drip
    began = time.monotonic()
    with Caller(running.port) as caller:
        caller.send(request(body="{}", headers={"X-Agent-Trace-ID": "dripped"}))
        whole = caller.closes(5)
    assert 0.4 <= time.monotonic() - began < 3
    assert whole.count(b"2\r\n. \r\n") >= 2
    assert not whole.endswith(b"0\r\n\r\n")
    last = running.trace("dripped")[-1]
    assert (last["type"], last["truncated"], last["status_code"]) == ("response", True, 200)


@pytest.mark.parametrize(
    ("method", "key", "times"), [("POST", True, 2), ("POST", False, 1), ("PUT", False, 2)]
)
def test_idempotency(method: str, key: bool, times: int, small: Pair) -> None:
    """A request is repeated after a reset only where that is safe."""
    running, behind = small
    bodies: list[bytes] = []

    def close_once(connection: socket.socket, seen: Seen) -> bool | None:
        bodies.append(seen.body)
        return says()(connection, seen) if len(bodies) > 1 else False

    behind.reply = close_once
    headers = {"X-Idempotency-Key": "k"} if key else {}
    answer = running.ask(method, "/proxy/x", "[7]", headers)
    assert answer.status == (200 if times > 1 else 502)
    assert bodies == [b"[7]"] * times
    kinds = [one["type"] for one in running.trace(answer.header("X-Agent-Trace-ID") or "")]
    assert kinds == ["request", "response" if times > 1 else "error"]


def test_a_manifest_without_idempotency_repeats_nothing(tmp_path: Path) -> None:
    with agent(lambda _, __: False) as behind, sidecar(tmp_path, behind.url, TRUSTED) as running:
        assert running.post("{}", {"X-Idempotency-Key": "k"}).status == 502
        assert len(behind.seen) == 1


# The flight recorder's folder and key.


def test_rotation_and_retention(tmp_path: Path) -> None:
    small = TRUSTED | {"IATP_LOG_SEGMENT": "4KiB"}
    with agent() as behind:
        with sidecar(tmp_path, behind.url, small) as running:
            for number in range(30):
                running.post(json.dumps([number, "x" * 500]), {"X-Agent-Trace-ID": "all"})
            segments = list_segments(running.logs)
            assert len(segments) > 5
            assert [one.closed for one in segments] == [True] * (len(segments) - 1) + [False]
            assert all((running.logs / one.name).stat().st_size <= 4096 for one in segments)
            logs = [one for one in running.trace("all") if one["type"] == "request"]
            assert [one["payload"][0] for one in logs] == list(range(30))
            assert running.stop() == 0
        oldest = list_segments(tmp_path / "logs")[:3]
        hour_ago = time.time() - 3600
        for segment in oldest:
            for file in (tmp_path / "logs").glob(segment.stem + ".*"):
                os.utime(file, (hour_ago, hour_ago))
        with sidecar(tmp_path, behind.url, small | {"IATP_LOG_MAX_AGE": "30m"}) as running:
            wait_until(lambda: not set(names(running.logs)) & {one.name for one in oldest})
            left = len(list_segments(running.logs))
            assert left >= len(segments) - 3
            assert running.stop() == 0
        with sidecar(tmp_path, behind.url, small | {"IATP_LOG_MAX_SIZE": "20KiB"}) as running:
            wait_until(lambda: size_of(running.logs) <= 20 * 1024)
            assert "1" in running.log()
            # What is left is the latest, and can be read.
            last = [one for one in running.trace("all") if one["type"] == "request"]
            assert last[-1]["payload"][0] == 29
            assert last[0]["payload"][0] > 3


def names(folder: Path) -> list[str]:
    return [one.name for one in list_segments(folder)]


def size_of(folder: Path) -> int:
    size = 0
    for name in names(folder):
        # It may be taken away meanwhile.
        with contextlib.suppress(FileNotFoundError):
            size += (folder / name).stat().st_size
    return size


def test_key_file_is_shared_by_replicas(tmp_path: Path) -> None:
    """A ticket of one is good at the other, and the same payload has the same MAC."""
    key = tmp_path / "keys" / "key"
    key.parent.mkdir(mode=0o700)
    variables = STRANGER | {
        "IATP_OVERRIDE": "ticket",
        "IATP_KEY_FILE": str(key),
        "IATP_RECORD_BODY": "0B",
    }
    body = '{"a":"the same"}'
    with (
        agent() as behind,
        sidecar(tmp_path / "a", behind.url, variables) as first,
        sidecar(tmp_path / "b", behind.url, variables) as second,
        sidecar(tmp_path / "c", behind.url, variables | {"IATP_KEY_FILE": ""}) as third,
    ):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert len(bytes.fromhex(key.read_text())) == 32
        ticket = ticket_of(first.post(body))
        assert third.post(body, ticket).status == 449
        assert second.post(body, ticket).status == 200
        macs = [
            {one["payload_mac"] for one in each.records() if "payload_mac" in one}
            for each in (first, second, third)
        ]
        # Without a setting it lies beside the folder, not in it.
        assert (tmp_path / "c" / "logs.key").exists()
    assert len(macs[0]) == 1
    assert macs[0] == macs[1]
    assert macs[0] != macs[2]


def test_drain(tmp_path: Path) -> None:
    """What the agent answers in time is delivered; what hangs gets 503, and then it is over."""
    go = threading.Event()
    came = threading.Semaphore(0)

    def hold(connection: socket.socket, seen: Seen) -> bool | None:
        came.release()
        if seen.target == "/hangs":
            return bool(connection.recv(1))
        go.wait(10)
        return says()(connection, seen)

    variables = TRUSTED | {"IATP_DRAIN": "2s"}
    with (
        agent(hold) as behind,
        sidecar(tmp_path, behind.url, variables) as running,
        Caller(running.port) as waits,
        Caller(running.port) as hangs,
    ):
        for caller, target in ((waits, "/proxy/x"), (hangs, "/proxy/hangs")):
            caller.send(request(target=target, body="{}"))
            assert came.acquire(timeout=5)
        began = time.monotonic()
        running.process.terminate()
        go.set()
        answer = waits.read()
        assert answer.status == 200
        cut = hangs.read()
        assert cut.status == 503
        assert (cut.json()["code"], cut.header("Connection")) == ("draining", "close")
        assert running.process.wait(10) == 0
        assert time.monotonic() - began <= 3
        kinds = [record["type"] for record in running.records()]
    assert sorted(kinds) == ["error", "request", "request", "response"]


def test_log_dir_is_for_one_sidecar(tmp_path: Path) -> None:
    with agent() as behind, sidecar(tmp_path, behind.url) as running:
        port, admin_port = free_ports(2)
        done = iatp(
            "run",
            env={
                "IATP_AGENT_URL": behind.url,
                "IATP_HOST": "127.0.0.1",
                "IATP_PORT": str(port),
                "IATP_ADMIN_PORT": str(admin_port),
                "IATP_LOG_DIR": str(running.logs),
                "IATP_LOG_LEVEL": "error",
            },
        )
        assert done.returncode == 1
        assert f"process {running.process.pid}" in done.stderr
        assert running.post().status == 200
