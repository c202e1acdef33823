from __future__ import annotations

from uuid import UUID

import msgspec
import pytest

from iatp.decisions.policy import (
    GatePolicy,
    OverrideMode,
    blocks,
    override_message,
    session_id,
    warning_text,
)
from iatp.values.manifest import RetentionPolicy, ReversibilityLevel, TrustLevel

POLICY = GatePolicy(
    agent_id="a",
    trust_level=TrustLevel.UNTRUSTED,
    reversibility=ReversibilityLevel.NONE,
    retention=RetentionPolicy.PERMANENT,
    human_in_loop=True,
    training_consent=True,
    mac_key=b"m" * 32,
)


@pytest.mark.parametrize(
    ("retention", "codes"),
    [
        ("ephemeral", []),
        ("temporary", ["ssn_retention"]),
        ("permanent", ["credit_card_retention", "secret_retention", "ssn_retention"]),
        ("forever", ["credit_card_retention", "secret_retention", "ssn_retention"]),
    ],
)
def test_what_each_retention_blocks(retention: str, codes: list[str]) -> None:
    rows = blocks(retention)
    assert [row.code for row in rows] == codes
    for row in rows:
        assert row.reason.startswith("Privacy Violation: ")
        assert f"'{retention}'" in row.reason
    assert {value.value for value in RetentionPolicy} >= {retention}


def test_every_line_of_a_warning() -> None:
    assert warning_text(POLICY, 0) == (
        "⚠️ WARNING:\n  • Low trust score (0/10)\n  • No reversibility\n"
        "  • Data stored permanently\n  • Human review enabled\n  • Data used for training"
    )


def test_a_line_stands_only_where_it_applies() -> None:
    mild = msgspec.structs.replace(
        POLICY,
        reversibility=ReversibilityLevel.PARTIAL,
        retention=RetentionPolicy.TEMPORARY,
        human_in_loop=False,
        training_consent=False,
    )
    assert warning_text(mild, 2) == "⚠️ WARNING:\n  • Low trust score (2/10)"
    forever = msgspec.structs.replace(mild, retention=RetentionPolicy.FOREVER)
    assert "Data stored permanently" in warning_text(forever, 2)


def test_the_message_names_the_headers_of_the_mode() -> None:
    header = override_message(OverrideMode.HEADER, "", "t1")
    assert "X-User-Override: true" in header
    ticket = override_message(OverrideMode.TICKET, "TOKEN", "t1")
    assert "X-User-Override: TOKEN" in ticket
    assert "X-Agent-Trace-ID: t1" in ticket
    secret = override_message(OverrideMode.SECRET, "", "t1")
    assert "X-User-Override" in secret
    assert "operator's override token" in secret
    assert "switched off" in override_message(OverrideMode.OFF, "", "t1")


@pytest.mark.parametrize(
    "change",
    [
        {"agent_id": "b"},
        {"trust_level": TrustLevel.UNKNOWN},
        {"reversibility": ReversibilityLevel.FULL},
        {"retention": RetentionPolicy.FOREVER},
        {"human_in_loop": False},
        {"training_consent": False},
        {"override": OverrideMode.TICKET},
    ],
)
def test_the_policy_version_follows_what_decides(change: dict[str, object]) -> None:
    other = msgspec.structs.replace(POLICY, **change)
    assert other.policy_version != POLICY.policy_version
    assert len(other.policy_version) == 16


def test_the_policy_version_ignores_limits_and_keys() -> None:
    other = msgspec.structs.replace(POLICY, record_body_bytes=1, mac_key=b"x" * 16)
    assert other.policy_version == POLICY.policy_version


def test_a_session_id_is_a_uuid_that_follows_from_the_request() -> None:
    assert UUID(session_id("r1")).version == 8
    assert session_id("r1") == session_id("r1") != session_id("r2")
