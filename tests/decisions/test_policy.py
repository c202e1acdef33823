from __future__ import annotations

import itertools
from typing import Any
from uuid import UUID

import msgspec
import pytest

from iatp.decisions.policy import (
    GatePolicy,
    OverrideMode,
    closed,
    decide,
    override_message,
    session_id,
)
from iatp.values.exchange import KINDS
from iatp.values.manifest import RetentionPolicy, ReversibilityLevel, TrustLevel
from iatp.values.policy import Action, Policy, Rule

POLICY = GatePolicy(
    agent_id="a",
    trust_level=TrustLevel.UNTRUSTED,
    reversibility=ReversibilityLevel.NONE,
    retention=RetentionPolicy.PERMANENT,
    human_in_loop=True,
    training_consent=True,
    mac_key=b"m" * 32,
)


SCORES = range(11)


def with_rules(*rules: dict[str, Any], **fields: Any) -> GatePolicy:
    last = {"name": "rest", "action": "allow"}
    table = msgspec.convert({"rules": [*rules, last]}, Policy)
    return msgspec.structs.replace(POLICY, table=table, **fields)


@pytest.mark.parametrize(
    ("retention", "codes"),
    [
        ("ephemeral", {}),
        ("temporary", {"ssn": "ssn_retention"}),
        *(
            (
                stored,
                {
                    "credit_card": "credit_card_retention",
                    "secret": "secret_retention",
                    "ssn": "ssn_retention",
                },
            )
            for stored in ("permanent", "forever")
        ),
    ],
)
def test_the_default_file_is_the_table_of_section_6(
    retention: RetentionPolicy, codes: dict[str, str]
) -> None:
    """Every set of kinds, every score: what is told here is section 6 alone."""
    for trust, count, score in itertools.product(TrustLevel, range(len(KINDS) + 1), SCORES):
        policy = msgspec.structs.replace(POLICY, retention=retention, trust_level=trust)
        for kinds in itertools.combinations(KINDS, count):
            found = decide(policy, kinds, score)
            blocking = [kind for kind in ("credit_card", "secret", "ssn") if kind in kinds]
            blocking = [kind for kind in blocking if kind in codes]
            if blocking:
                assert (found.action, found.rule) == (Action.BLOCK, codes[blocking[0]])
                assert found.reason.startswith("Privacy Violation: a ")
                assert f"'{retention}'" in found.reason
            elif score < 7:
                assert (found.action, found.rule) == (Action.WARN, "low_trust")
                assert f"({score}/10)" in found.warning
            else:
                assert (found.action, found.rule) == (Action.ALLOW, "trust_score")
            assert not found.redacts


def test_every_line_of_a_warning() -> None:
    assert decide(POLICY, (), 0).warning == (
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
    assert decide(mild, (), 2).warning == "⚠️ WARNING:\n  • Low trust score (2/10)"
    forever = msgspec.structs.replace(mild, retention=RetentionPolicy.FOREVER)
    assert "Data stored permanently" in decide(forever, (), 2).warning


def test_the_strongest_of_several_kinds_holds() -> None:
    policy = with_rules(
        {"name": "a", "kinds": ["email"], "action": "allow"},
        {"name": "r", "kinds": ["iban", "ssn"], "action": "redact"},
        {"name": "w", "kinds": ["secret"], "action": "warn"},
        {"name": "b", "kinds": ["credit_card"], "action": "block"},
    )
    expected = {
        ("email",): ("allow", "a", set()),
        ("email", "iban"): ("redact", "r", {"iban"}),
        ("iban", "ssn"): ("redact", "r", {"iban", "ssn"}),
        ("iban", "secret"): ("warn", "w", {"iban"}),
        ("iban", "secret", "credit_card"): ("block", "b", set()),
        (): ("allow", "rest", set()),
    }
    for kinds, (action, rule, redacts) in expected.items():
        found = decide(policy, kinds, 10)
        assert (found.action, found.rule, found.redacts) == (action, rule, redacts)
        assert (found.otherwise is not None) is bool(redacts)
    unable = decide(policy, ("iban", "ssn"), 10).otherwise
    assert unable is not None
    assert (unable.action, unable.rule) == ("block", "r")
    assert "a social security number is to be taken out" in unable.reason


def test_the_first_rule_of_a_kind_decides_and_conditions_are_of_the_agent() -> None:
    policy = with_rules(
        {"name": "partner", "kinds": ["email"], "trust_level": ["trusted"], "action": "allow"},
        {"name": "kept", "kinds": ["email"], "retention": ["forever"], "action": "block"},
        {"name": "weak", "kinds": ["email"], "score_below": 5, "action": "warn"},
        trust_level=TrustLevel.TRUSTED,
    )
    assert decide(policy, ["email"], 1).rule == "partner"
    other = msgspec.structs.replace(policy, trust_level=TrustLevel.UNKNOWN)
    # POLICY's retention is permanent, which means the same as forever.
    assert decide(other, ["email"], 1).rule == "kept"
    short = msgspec.structs.replace(other, retention=RetentionPolicy.EPHEMERAL)
    assert [decide(short, ["email"], score).rule for score in (4, 5)] == ["weak", "rest"]


def test_what_callers_are_told() -> None:
    policy = with_rules(
        {"name": "own", "kinds": ["email"], "action": "block", "reason": "Ask the desk first"},
        {"name": "made", "kinds": ["iban"], "action": "block"},
        {"name": "asks", "kinds": ["ssn", "secret"], "action": "warn"},
        {"name": "all", "trust_level": ["untrusted"], "action": "warn"},
        reversibility=ReversibilityLevel.FULL,
        retention=RetentionPolicy.EPHEMERAL,
        human_in_loop=False,
        training_consent=False,
    )
    assert decide(policy, ["email"], 10).reason == "Ask the desk first"
    assert decide(policy, ["iban"], 10).reason == (
        "Privacy Violation: an IBAN may not be sent to this agent"
    )
    assert decide(policy, ["secret", "ssn"], 10).warning == (
        "⚠️ WARNING:\n  • Sends a social security number\n  • Sends a secret"
        "\n  • The policy asks for it (all)"
    )
    closed_to_all = msgspec.convert({"rules": [{"name": "none", "action": "block"}]}, Policy)
    nothing = msgspec.structs.replace(policy, table=closed_to_all)
    assert decide(nothing, (), 10).reason.startswith("Policy Violation: ")


OPEN = [
    {"paths": ["/tasks", "/tasks/*"], "methods": ["GET", "POST"]},
    {"paths": ["/files/**", "/a b/\u00e9"], "methods": ["PUT"]},
    {"paths": ["/tasks/all", "/", "/*/x"], "methods": ["DELETE"]},
]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", b"", None),
        ("GET", b"/tasks", None),
        ("GET", b"/tasks/1", None),
        ("GET", b"/%74asks/%31", None),
        ("DELETE", b"/tasks/all", None),
        ("DELETE", b"/tasks/1", "GET, POST"),
        ("PUT", b"/tasks/all", "DELETE, GET, POST"),
        ("GET", b"/tasks/", ""),
        ("GET", b"/tasks/1/2", ""),
        ("GET", b"/TASKS", ""),
        ("GET", b"//tasks", ""),
        ("GET", b"/tasks;x", ""),
        ("GET", b"/%2574asks", ""),
        ("PUT", b"/files", ""),
        ("PUT", b"/files/", ""),
        ("PUT", b"/files/a/b//c", None),
        ("PUT", b"/a%20b/%c3%a9", None),
        ("PUT", b"/a+b/%c3%a9", ""),
        ("HEAD", b"/tasks", "GET, POST"),
        ("DELETE", b"/", None),
        ("DELETE", b"//x", ""),
        ("DELETE", b"/y/x", None),
    ],
)
def test_open_paths(method: str, path: bytes, allow: str | None) -> None:
    table = msgspec.convert({"open": OPEN, "rules": [{"name": "a", "action": "allow"}]}, Policy)
    assert closed(table, method, path) == allow
    assert closed(POLICY.table, method, path) is None


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
        {"table": Policy(rules=(Rule(name="a", action=Action.ALLOW),))},
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
