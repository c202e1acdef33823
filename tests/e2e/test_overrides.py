"""Overrides (protocol section 6): four modes, what is valid in each, and what remains of it."""

from __future__ import annotations

import gzip
import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from iatp.adapters.keys import derive, installation_key
from iatp.decisions import tickets
from iatp.decisions.policy import GatePolicy, OverrideMode
from iatp.values.manifest import RetentionPolicy, ReversibilityLevel, TrustLevel
from tests.e2e.agents import Agent, agent, says
from tests.e2e.sidecars import KEEPS, STRANGER, Answer, Caller, Sidecar, request, sidecar

SECRET = "correct-horse-battery-staple"
BODY = '{"a":1}'
Pair = tuple[Sidecar, Agent]


@pytest.fixture(scope="module")
def header_mode(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("header")
    with agent() as behind, sidecar(folder, behind.url, STRANGER) as running:
        yield running, behind


@pytest.fixture(scope="module")
def ticket_mode(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two workers: every ticket meets both."""
    variables = STRANGER | {"IATP_OVERRIDE": "ticket", "IATP_WORKERS": "2"}
    folder = tmp_path_factory.mktemp("ticket")
    with agent() as behind, sidecar(folder, behind.url, variables) as running:
        yield running, behind


@pytest.fixture(scope="module")
def secret_mode(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    variables = STRANGER | {"IATP_OVERRIDE_TOKEN": SECRET}
    folder = tmp_path_factory.mktemp("secret")
    with agent() as behind, sidecar(folder, behind.url, variables) as running:
        yield running, behind


def ticket_of(answer: Answer) -> dict[str, str]:
    """The headers that the 449's message asks for."""
    assert answer.status == 449, answer
    body = answer.json()
    headers = {
        "X-User-Override": body["override_token"],
        "X-Agent-Trace-ID": body["trace_id"],
    }
    for name, value in headers.items():
        assert f"{name}: {value}" in body["message"]
    return headers


# X-User-Override `true` is written differently, or nearly right, or not text at all (D06).
WRONG = [
    "1",
    "TRUE",
    "True",
    "yes",
    "true,true",
    "true;",
    '"true"',
    "\xe9",
    "\xff" * 40,
    "x" * 4000,
]


@pytest.mark.parametrize("given", WRONG)
@pytest.mark.parametrize("mode", ["header_mode", "ticket_mode", "secret_mode"])
def test_what_is_no_valid_override_is_warned(
    mode: str, given: str, request: pytest.FixtureRequest
) -> None:
    running, behind = request.getfixturevalue(mode)
    before = len(behind.seen)
    answer = running.post(BODY, {"X-User-Override": given})
    assert answer.status == 449
    assert answer.header("X-IATP-Decision") == "warn"
    assert len(behind.seen) == before
    assert [record["type"] for record in running.trace(answer.json()["trace_id"])] == ["warning"]


@pytest.mark.parametrize("mode", ["ticket_mode", "secret_mode"])
def test_true_is_valid_in_mode_header_alone(mode: str, request: pytest.FixtureRequest) -> None:
    running, _ = request.getfixturevalue(mode)
    assert running.post(BODY, {"X-User-Override": "true"}).status == 449
    # Present and empty is no confirmation either.
    with Caller(running.port) as caller:
        caller.send(
            b"POST /proxy HTTP/1.1\r\nHost: a\r\nX-User-Override:\r\nContent-Length: 2\r\n\r\n{}"
        )
        assert caller.read().status == 449


def check_overridden(running: Sidecar, behind: Agent, headers: dict[str, str]) -> None:
    """A valid override goes through quarantined, and is on record."""
    answer = running.post(BODY, headers)
    assert (answer.status, answer.body) == (200, b'{"done":true}')
    assert answer.header("X-Agent-Quarantined") == "true"
    assert answer.header("X-IATP-Decision") == "allow"
    trace_id = answer.header("X-Agent-Trace-ID")
    assert trace_id
    assert behind.seen[-1].header("X-Agent-Trace-ID") == trace_id
    assert behind.seen[-1].all("X-User-Override") == []

    records = [one for one in running.trace(trace_id) if one["type"] != "warning"]
    assert [one["type"] for one in records] == ["request", "user_override", "response"]
    assert len({one["request_id"] for one in records}) == 1
    forwarded, override, _ = records
    assert (forwarded["quarantined"], forwarded["decision"], forwarded["rule"]) == (
        True,
        "allow",
        "override",
    )
    assert override["trust_score"] == 3
    session = running.admin(f"/quarantine/{trace_id}").json()
    manifest = session.pop("manifest")
    assert manifest["agent_id"] == manifest["identity"]["agent_id"] == "the-agent"
    assert session.pop("timestamp")
    assert session == {
        "session_id": override["session_id"],
        "trace_id": trace_id,
        "warning_message": override["warning"],
        "user_override": True,
    }
    assert override["warning"].startswith("⚠️ WARNING:\n  • Low trust score (3/10)\n")


def test_header(header_mode: Pair) -> None:
    running, behind = header_mode
    message = running.post(BODY).json()["message"]
    assert "X-User-Override: true" in message
    assert "X-Agent-Trace-ID" not in message
    check_overridden(running, behind, {"X-User-Override": "true"})
    check_overridden(running, behind, {"X-User-Override": "true", "X-Agent-Trace-ID": "mine"})
    assert "callers confirm warnings for themselves" in running.log()


def test_secret(secret_mode: Pair) -> None:
    running, behind = secret_mode
    answer = running.post(BODY).json()
    assert "X-User-Override" in answer["message"]
    assert SECRET not in str(answer)
    for near in (SECRET[:-1], SECRET + "x", SECRET.upper(), f"Bearer {SECRET}"):
        assert running.post(BODY, {"X-User-Override": near}).status == 449
    check_overridden(running, behind, {"X-User-Override": SECRET})
    assert SECRET not in running.log()
    assert SECRET.encode() not in b"".join(
        path.read_bytes() for path in running.logs.rglob("*") if path.is_file()
    )


def test_off(tmp_path: Path) -> None:
    with (
        agent() as behind,
        sidecar(tmp_path, behind.url, STRANGER | {"IATP_OVERRIDE": "off"}) as running,
    ):
        for given in ({}, {"X-User-Override": "true"}, {"X-User-Override": SECRET}):
            answer = running.post(BODY, given)
            assert answer.status == 449
            assert answer.json()["requires_override"] is False
            assert "IATP_OVERRIDE=off" in answer.json()["message"]
        assert behind.seen == []


def test_ticket(ticket_mode: Pair) -> None:
    running, behind = ticket_mode
    check_overridden(running, behind, ticket_of(running.post(BODY)))
    check_overridden(
        running, behind, ticket_of(running.post(BODY, {"X-Agent-Trace-ID": "caller.1"}))
    )


def test_ticket_is_used_up_where_the_agent_fails(ticket_mode: Pair) -> None:
    """It was let through; that nothing came of it does not bring the ticket back."""
    running, behind = ticket_mode
    ticket = ticket_of(running.post(BODY))
    behind.reply = lambda _, __: False
    try:
        assert running.post(BODY, ticket).status == 502
    finally:
        behind.reply = says()
    assert running.post(BODY, ticket).status == 449
    kinds = [one["type"] for one in running.trace(ticket["X-Agent-Trace-ID"])]
    assert kinds == ["warning", "request", "user_override", "error", "warning"]


OTHERWISE: dict[str, dict[str, Any]] = {
    "method": {"method": "PUT", "target": "/proxy/a"},
    "target": {"target": "/proxy/b"},
    "query": {"target": "/proxy/a?x=1"},
    "content type": {"headers": {"Content-Type": "text/json"}},
    "charset": {"headers": {"Content-Type": "application/json; charset=utf-8"}},
    "body": {"body": '{"a":2}'},
    "space in the body": {"body": '{"a": 1}'},
    "coding": {"headers": {"Content-Encoding": "gzip"}, "body": gzip.compress(BODY.encode())},
    "trace": {"headers": {"X-Agent-Trace-ID": "another"}},
    "no trace": {"headers": {"X-Agent-Trace-ID": ""}},
}


@pytest.mark.parametrize("what", OTHERWISE)
def test_ticket_is_bound(what: str, ticket_mode: Pair) -> None:
    running, behind = ticket_mode
    given: dict[str, Any] = {"target": "/proxy/a", "body": BODY}
    ticket = ticket_of(running.ask(**given))
    before = len(behind.seen)
    other = given | OTHERWISE[what]
    assert running.ask(**other | {"headers": ticket | other.get("headers", {})}).status == 449
    assert len(behind.seen) == before
    # It is still good for what it was given for, and then no more.
    assert running.ask(**given, headers=ticket).status == 200
    assert running.ask(**given, headers=ticket).status == 449
    assert len(behind.seen) == before + 1


@pytest.mark.parametrize("spoilt", ["cut", "longer", "flipped", "padded", "swapped"])
def test_ticket_that_is_not_whole(spoilt: str, ticket_mode: Pair) -> None:
    running, _ = ticket_mode
    ticket = ticket_of(running.post(BODY))
    token = ticket["X-User-Override"]
    swapped = ticket_of(running.post(BODY))["X-User-Override"]
    wrong = {
        "cut": token[:-1],
        "longer": token + "A",
        "flipped": token[:20] + ("A" if token[20] != "A" else "B") + token[21:],
        "padded": token[:-1] + "=",
        "swapped": swapped[:34] + token[34:],
    }[spoilt]
    assert running.post(BODY, ticket | {"X-User-Override": wrong}).status == 449
    assert running.post(BODY, ticket).status == 200


@pytest.mark.parametrize(("age_s", "status"), [(290, 200), (301, 449)])
def test_ticket_is_good_for_five_minutes(age_s: int, status: int, ticket_mode: Pair) -> None:
    """Made with the installation's own key, as one that was given some time ago."""
    running, _ = ticket_mode
    trace_id = f"aged-{age_s}"
    policy = GatePolicy(
        agent_id="the-agent",
        trust_level=TrustLevel.UNKNOWN,
        reversibility=ReversibilityLevel.NONE,
        retention=RetentionPolicy.EPHEMERAL,
        override=OverrideMode.TICKET,
        mac_key=b"",
    )
    bound = tickets.Bound(
        caller="anonymous",
        method="POST",
        target=b"/proxy",
        content_type=b"application/json",
        content_encoding=b"",
        body=BODY.encode(),
        policy_version=policy.policy_version,
        trace_id=trace_id,
    )
    key = derive(installation_key(running.folder / "key"), "ticket")
    token = tickets.issue(key, bound, request_id=trace_id, now_s=int(time.time()) - age_s)
    headers = {"X-User-Override": token, "X-Agent-Trace-ID": trace_id}
    assert running.post(BODY, headers).status == status


def test_ticket_is_good_once_over_all_workers(ticket_mode: Pair) -> None:
    running, behind = ticket_mode
    ticket = ticket_of(running.post(BODY))
    before = len(behind.seen)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: running.post(BODY, ticket), range(36)))
    assert sorted(one.status for one in answers) == [200] + [449] * 35
    assert len(behind.seen) == before + 1
    records = running.trace(ticket["X-Agent-Trace-ID"])
    assert {record["worker"] for record in records} == {0, 1}
    kinds = [record["type"] for record in records]
    assert kinds.count("user_override") == kinds.count("response") == 1
    assert kinds.count("warning") == 36


def test_session_is_known_to_all_workers(ticket_mode: Pair) -> None:
    running, _ = ticket_mode
    ticket = ticket_of(running.post(BODY))
    assert running.post(BODY, ticket).status == 200
    path = f"/quarantine/{ticket['X-Agent-Trace-ID']}"
    sessions = [running.get(path).json()["session_id"] for _ in range(24)]
    assert len(set(sessions)) == 1
    # Reading is recorded; the records tell that both workers answered.
    readers = {
        record["worker"]
        for record in running.records()
        if record["type"] == "access" and record["path"] == path
    }
    assert readers == {0, 1}


def test_ticket_of_another_policy(tmp_path: Path) -> None:
    """The same key, folder and caller, but the manifest has changed."""
    variables = STRANGER | {"IATP_OVERRIDE": "ticket"}
    with agent() as behind:
        with sidecar(tmp_path, behind.url, variables) as running:
            stale, kept = (ticket_of(running.post(BODY)) for _ in range(2))
            used = ticket_of(running.post(BODY))
            assert running.post(BODY, used).status == 200
            assert running.stop() == 0
        with sidecar(tmp_path, behind.url, variables | {"IATP_HUMAN_IN_LOOP": "true"}) as running:
            assert running.post(BODY, stale).status == 449
            assert running.stop() == 0
        with sidecar(tmp_path, behind.url, variables) as running:
            # Tickets outlive a restart; that one was used does as well.
            assert running.post(BODY, kept).status == 200
            assert running.post(BODY, used).status == 449
            assert running.get(f"/quarantine/{used['X-Agent-Trace-ID']}").status == 200


def test_nobody_overrides_a_block(tmp_path: Path) -> None:
    """D08, for each mode's valid value."""
    card = '{"a":"4111111111111111"}'
    low = KEEPS | {"IATP_TRUST_LEVEL": "untrusted"}
    with agent() as behind:
        for mode, variables, value in (
            ("header", {}, "true"),
            ("secret", {"IATP_OVERRIDE_TOKEN": SECRET}, SECRET),
        ):
            with sidecar(tmp_path / mode, behind.url, low | variables) as running:
                answer = running.post(card, {"X-User-Override": value})
                assert answer.status == 403
                assert answer.header("X-IATP-Decision") == "block"
                assert answer.header("X-Agent-Quarantined") is None
                assert running.get(f"/quarantine/{answer.json()['trace_id']}").status == 404
                # The override itself is valid here.
                assert running.post(BODY, {"X-User-Override": value}).status == 200
        assert [one.body for one in behind.seen] == [BODY.encode()] * 2


def test_override_on_one_connection_with_others(header_mode: Pair) -> None:
    """Confirmed and unconfirmed requests in turn: nothing of one is left for the next."""
    running, behind = header_mode
    before = len(behind.seen)
    with Caller(running.port) as caller:
        for confirmed in itertools.islice(itertools.cycle((True, False, False)), 9):
            headers = {"X-User-Override": "true"} if confirmed else None
            caller.send(request(body=BODY, headers=headers))
            assert caller.read().status == (200 if confirmed else 449)
    assert len(behind.seen) == before + 3
