"""The manifest: both shapes, what is refused and how, what is served, the review."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iatp.values import manifest as module
from iatp.values.errors import ConfigurationError
from iatp.values.manifest import (
    AgentCapabilities,
    Attestation,
    Authentication,
    CapabilityManifest,
    PrivacyContract,
    RateLimiting,
    RetentionPolicy,
    ReversibilityLevel,
    TrustLevel,
    UndoConditions,
    explain,
    load_manifest,
    served_document,
)
from iatp.values.manifest_review import review
from iatp.values.manifest_rules import ManifestError

ROOT = Path(__file__).parent.parent.parent
SCHEMA = json.loads((ROOT / "iatp" / "values" / "manifest.schema.json").read_bytes())
VALIDATOR = jsonschema.Draft7Validator(
    SCHEMA, format_checker=jsonschema.Draft7Validator.FORMAT_CHECKER
)

NESTED: dict[str, Any] = {
    "$schema": "http://inter-agent-trust.org/v1/schema",
    "identity": {
        "agent_id": "parcel-agent-v3",
        "verification_key": "ed25519:q2Vd...",
        "owner": "Parcels Ltd",
        "contact": "security@parcels.example",
    },
    "trust_level": "verified_partner",
    "scopes": ["parcels:read", "parcels:write"],
    "capabilities": {
        "idempotency": True,
        "idempotency_duration_seconds": 86400,
        "concurrency_limit": 10,
        "sla_latency_ms": 1500,
        "sla_availability": 0.995,
    },
    "reversibility": {
        "level": "partial",
        "undo_window_seconds": 7200,
        "compensation_method": "refund_minus_fee",
        "compensation_sla_ms": 4000,
        "compensation_endpoint": "POST /compensate/{transaction_id}",
        "compensation_notes": "Two hours to cancel; after that a fee is due.",
        "undo_conditions": {
            "until_state": "shipped",
            "check_endpoint": "GET /parcels/{parcel_id}/status",
        },
    },
    "privacy": {
        "retention_policy": "ephemeral",
        "storage_location": "eu-central-1",
        "human_in_loop": False,
        "training_consent": False,
        "encryption_at_rest": True,
        "encryption_in_transit": True,
        "data_processing_addendum": "https://parcels.example/dpa",
    },
    "authentication": {"methods": ["jwt", "mutual_tls"], "required": True},
    "rate_limiting": {
        "requests_per_second": 5,
        "requests_per_minute": 100,
        "requests_per_hour": 2000,
        "burst_limit": 20,
    },
    "protocol_version": "1.0",
    "manifest_version": "1.2.0",
    "updated_at": "2026-02-01T12:00:00Z",
}

FLAT: dict[str, Any] = {
    "agent_id": "writer-agent",
    "agent_version": "2.1.0",
    "trust_level": "trusted",
    "scopes": ["docs:read", "docs:write"],
    "capabilities": {
        "reversibility": "full",
        "idempotency": True,
        "undo_window": "24h",
        "rate_limit": 60,
        "sla_latency": "2000ms",
    },
    "privacy_contract": {
        "retention": "ephemeral",
        "storage_location": "us-west",
        "human_review": False,
        "encryption_at_rest": True,
        "encryption_in_transit": True,
    },
}

PUBLISHED_SHAPES: dict[str, tuple[dict[str, Any], int]] = {
    # Each as the published SDKs and documents of 0.x and 1.0 have it, with its score.
    "1.0, every field": (NESTED, 10),
    "1.0, spec of the handshake": (
        {
            **{k: NESTED[k] for k in ("$schema", "identity", "trust_level", "capabilities")},
            "reversibility": {
                "level": "partial",
                "undo_window_seconds": 3600,
                "compensation_method": "refund",
                "compensation_sla_ms": 5000,
            },
            "privacy": {"retention_policy": "temporary", "human_in_loop": True},
            "protocol_version": "1.0",
        },
        10,
    ),
    "1.0, irreversible with null": (
        {
            "identity": {"agent_id": "mailer", "owner": "Post"},
            "trust_level": "standard",
            "reversibility": {
                "level": "none",
                "undo_window_seconds": 0,
                "compensation_method": None,
                "compensation_notes": "A letter that is gone is gone.",
            },
            "protocol_version": "1.0",
        },
        5,
    ),
    "1.0, reversible without limit": (
        {
            "identity": {"agent_id": "rows", "owner": "Base"},
            "trust_level": "standard",
            "reversibility": {
                "level": "full",
                "undo_window_seconds": 0,
                "compensation_method": "rollback",
                "compensation_sla_ms": 100,
            },
            "protocol_version": "1.0",
        },
        7,
    ),
    "Go sidecar, no version": (
        {
            "identity": {"agent_id": "default-agent"},
            "trust_level": "standard",
            "capabilities": {
                "idempotency": True,
                "concurrency_limit": 100,
                "sla_latency_ms": 2000,
            },
            "reversibility": {"level": "partial", "undo_window_seconds": 3600},
            "privacy": {
                "retention_policy": "temporary",
                "human_in_loop": False,
                "training_consent": False,
            },
        },
        7,
    ),
    "0.x, every field": (FLAT, 10),
    "0.x, the shortest file": (
        {
            "agent_id": "trap",
            "trust_level": "untrusted",
            "capabilities": {
                "reversibility": "none",
                "idempotency": False,
                "rate_limit": 10,
                "sla_latency": "5000ms",
            },
            "privacy_contract": {"retention": "permanent", "human_review": True},
        },
        0,
    ),
    "0.x, served with nulls": (
        {
            "agent_id": "clerk",
            "agent_version": None,
            "trust_level": "standard",
            "capabilities": {
                "idempotency": False,
                "reversibility": "none",
                "undo_window": None,
                "sla_latency": None,
                "rate_limit": None,
            },
            "privacy_contract": {
                "retention": "forever",
                "storage_location": None,
                "human_review": True,
                "encryption_at_rest": False,
                "encryption_in_transit": True,
            },
            "scopes": [],
            "attestation": None,
        },
        2,
    ),
    "0.x, attested": (
        {
            **FLAT,
            "attestation": {
                "agent_id": "writer-agent",
                "codebase_hash": "sha256:aa",
                "config_hash": "sha256:bb",
                "signature": "c2ln",
                "signing_key_id": "plane-1",
                "timestamp": "2026-01-25T10:00:00Z",
                "expires_at": None,
            },
        },
        10,
    ),
    "0.x, training in the contract": (
        {
            "agent_id": "learner",
            "trust_level": "trusted",
            "capabilities": {},
            "privacy_contract": {"retention": "temporary", "training_consent": True},
        },
        6,
    ),
    "a name and nothing else": ({"agent_id": "a"}, 5),
}


def problems_of(document: Any, *, ours: bool = True) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        load_manifest(document, ours=ours)
    assert str(caught.value) == "; ".join(caught.value.problems)
    return caught.value.problems


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    made = copy.deepcopy(document)
    *sections, name = path.split(".")
    inner = made
    for section in sections:
        inner = inner.setdefault(section, {})
    inner[name] = value
    return made


# What loads.


def test_the_example_of_the_protocol_as_users_write_it(tmp_path: Path) -> None:
    protocol_example = """
from iatp import (CapabilityManifest, AgentCapabilities, PrivacyContract,
                  TrustLevel, ReversibilityLevel, RetentionPolicy)
manifest = CapabilityManifest(
    agent_id="production-agent-v1",
    trust_level=TrustLevel.TRUSTED,
    capabilities=AgentCapabilities(
        reversibility=ReversibilityLevel.FULL, idempotency=True,
        concurrency_limit=100, sla_latency_ms=2000),
    privacy_contract=PrivacyContract(
        retention=RetentionPolicy.EPHEMERAL,
        human_in_loop=False, training_consent=False))
print(manifest.trust_score())
"""
    done = subprocess.run(
        [sys.executable, "-c", protocol_example],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("10\n", "")


def test_the_example_made_from_the_values() -> None:
    manifest = CapabilityManifest(
        agent_id="production-agent-v1",
        trust_level=TrustLevel.TRUSTED,
        capabilities=AgentCapabilities(
            reversibility=ReversibilityLevel.FULL,
            idempotency=True,
            concurrency_limit=100,
            sla_latency_ms=2000,
        ),
        privacy_contract=PrivacyContract(
            retention=RetentionPolicy.EPHEMERAL, human_in_loop=False, training_consent=False
        ),
    )
    assert manifest.trust_score() == manifest.calculate_trust_score() == 10
    assert explain(manifest) == [
        ("trust_level: trusted", 7),
        ("reversibility: full", 2),
        ("retention: ephemeral", 1),
    ]


@pytest.mark.parametrize("name", PUBLISHED_SHAPES)
@pytest.mark.parametrize("ours", [True, False])
def test_published_shapes_load_and_are_served_again(name: str, ours: bool) -> None:
    document, score = PUBLISHED_SHAPES[name]
    manifest = load_manifest(document, ours=ours)
    assert load_manifest(json.dumps(document).encode(), ours=ours) == manifest
    assert load_manifest(json.dumps(document), ours=ours) == manifest
    assert manifest.trust_score() == score
    served = served_document(manifest)
    VALIDATOR.validate(json.loads(served))
    assert load_manifest(served) == manifest
    assert load_manifest(served, ours=False) == manifest
    assert served_document(load_manifest(served)) == served


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/*manifest*.json")), ids=str)
def test_the_examples_of_this_repository_load(path: Path) -> None:
    served = served_document(load_manifest(path.read_bytes()))
    VALIDATOR.validate(json.loads(served))


def test_every_nested_field_is_kept() -> None:
    manifest = load_manifest(NESTED)
    assert manifest == CapabilityManifest(
        agent_id="parcel-agent-v3",
        verification_key="ed25519:q2Vd...",
        owner="Parcels Ltd",
        contact="security@parcels.example",
        trust_level=TrustLevel.VERIFIED_PARTNER,
        scopes=("parcels:read", "parcels:write"),
        capabilities=AgentCapabilities(
            idempotency=True,
            idempotency_duration_seconds=86400,
            concurrency_limit=10,
            sla_latency_ms=1500,
            sla_availability=0.995,
            reversibility=ReversibilityLevel.PARTIAL,
            undo_window_seconds=7200,
            compensation_method="refund_minus_fee",
            compensation_sla_ms=4000,
            compensation_endpoint="POST /compensate/{transaction_id}",
            compensation_notes="Two hours to cancel; after that a fee is due.",
            undo_conditions=UndoConditions(
                until_state="shipped", check_endpoint="GET /parcels/{parcel_id}/status"
            ),
        ),
        privacy_contract=PrivacyContract(
            retention=RetentionPolicy.EPHEMERAL,
            storage_location="eu-central-1",
            encryption_at_rest=True,
            data_processing_addendum="https://parcels.example/dpa",
        ),
        authentication=Authentication(methods=("jwt", "mutual_tls"), required=True),
        rate_limiting=RateLimiting(
            requests_per_second=5,
            requests_per_minute=100,
            requests_per_hour=2000,
            burst_limit=20,
        ),
        manifest_version="1.2.0",
        updated_at="2026-02-01T12:00:00Z",
    )


def test_the_flat_fields_are_kept_where_the_nested_ones_are() -> None:
    manifest = load_manifest(FLAT)
    assert manifest.agent_id == "writer-agent"
    assert manifest.agent_version == "2.1.0"
    assert manifest.capabilities.reversibility is ReversibilityLevel.FULL
    assert manifest.capabilities.undo_window_seconds == 86400
    assert manifest.capabilities.sla_latency_ms == 2000
    assert manifest.capabilities.rate_limit is None
    assert manifest.rate_limiting == RateLimiting(requests_per_minute=60)
    assert manifest.privacy_contract.retention is RetentionPolicy.EPHEMERAL
    assert manifest.privacy_contract.storage_location == "us-west"
    assert manifest.privacy_contract.encryption_at_rest is True


def test_the_defaults_of_the_table() -> None:
    manifest = load_manifest({"identity": {"agent_id": "a"}})
    assert manifest == CapabilityManifest(agent_id="a")
    served = json.loads(served_document(manifest))
    assert served["identity"] == {"agent_id": "a", "owner": "a"}
    assert served["trust_level"] == "standard"
    assert served["protocol_version"] == "1.0"
    assert served["scopes"] == []
    assert served["capabilities"]["idempotency"] is False
    assert served["capabilities"]["concurrency_limit"] == 100
    assert served["capabilities"]["sla_latency_ms"] == 2000
    assert "idempotency_duration_seconds" not in served["capabilities"]
    assert "sla_availability" not in served["capabilities"]
    assert served["reversibility"] == {"level": "none", "undo_window_seconds": 0}
    assert served["privacy"] == {
        "retention_policy": "temporary",
        "human_in_loop": False,
        "training_consent": False,
        "encryption_at_rest": False,
        "encryption_in_transit": True,
    }
    assert "authentication" not in served
    assert "rate_limiting" not in served


def _all_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _all_null(inner) for key, inner in value.items()}
    return None


def test_null_is_absent_everywhere() -> None:
    nulls = _all_null(NESTED)
    nulls["identity"]["agent_id"] = "a"
    assert load_manifest(nulls) == CapabilityManifest(agent_id="a")
    nulls = dict.fromkeys(NESTED) | {"agent_id": "a"}
    assert load_manifest(nulls) == CapabilityManifest(agent_id="a")


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("capabilities.undo_window", "24h", 86400),
        ("capabilities.undo_window", "7d", 604800),
        ("capabilities.undo_window", "5m", 300),
        ("capabilities.undo_window", "1w", 604800),
        ("capabilities.undo_window", "0s", 0),
        ("capabilities.undo_window", "24 hours", 86400),
        ("capabilities.undo_window", "1 day", 86400),
        ("capabilities.undo_window", "30min", 1800),
        ("capabilities.undo_window", "1.5h", 5400),
        ("capabilities.undo_window", "2000ms", 2),
        ("capabilities.sla_latency", "2000ms", 2000),
        ("capabilities.sla_latency", "5s", 5000),
        ("capabilities.sla_latency", "1.5s", 1500),
    ],
)
def test_durations_of_0x(path: str, text: str, value: int) -> None:
    document = changed({"agent_id": "a", "capabilities": {"reversibility": "full"}}, path, text)
    capabilities = load_manifest(document).capabilities
    name = "undo_window_seconds" if "undo" in path else "sla_latency_ms"
    assert getattr(capabilities, name) == value


@pytest.mark.parametrize(
    "text", ["", "24", "h", "-1h", "24x", "1e3s", "0.5s", "٢s", "24h ", "1" * 17 + "s", "24H\n"]
)
def test_durations_that_are_none(text: str) -> None:
    document = changed(FLAT, "capabilities.undo_window", text)
    (problem,) = problems_of(document)
    assert problem.startswith("capabilities.undo_window: ")
    assert "24h" in problem.partition("must be")[2]
    # A peer's is nothing that a decision rests on.
    assert load_manifest(document, ours=False).capabilities.undo_window_seconds == 0


def test_both_shapes_in_one_document() -> None:
    both = NESTED | {
        "agent_id": "parcel-agent-v3",
        "privacy_contract": {"retention": "ephemeral", "human_review": False},
    }
    both = changed(both, "capabilities.reversibility", "partial")
    both = changed(both, "capabilities.undo_window", "2h")
    both = changed(both, "capabilities.sla_latency", "1.5s")
    both = changed(both, "capabilities.rate_limit", 100)
    assert load_manifest(both) == load_manifest(NESTED)


def test_forever_is_permanent_in_another_spelling() -> None:
    document = {
        "agent_id": "a",
        "privacy": {"retention_policy": "permanent"},
        "privacy_contract": {"retention": "forever"},
    }
    assert load_manifest(document).privacy_contract.retention is RetentionPolicy.PERMANENT
    manifest = load_manifest({"agent_id": "a", "privacy_contract": {"retention": "forever"}})
    served = json.loads(served_document(manifest))
    assert served["privacy"]["retention_policy"] == "forever"
    assert served["privacy_contract"]["retention"] == "forever"
    assert manifest.trust_score() == load_manifest(document).trust_score() == 4


# What is refused.


@pytest.mark.parametrize(
    ("path", "value", "allowed"),
    [
        ("identity.agent_id", "", "1 to 255"),
        ("identity.agent_id", "a" * 256, "1 to 255"),
        ("identity.agent_id", 7, "1 to 255"),
        ("identity.agent_id", "a\nb", "control characters"),
        ("identity.agent_id", "a\ud800", "control characters"),
        ("identity.agent_id", "a\u202eb", "control characters"),
        ("identity.owner", "", "1 to 255"),
        ("identity.verification_key", "rsa:abc", "'ed25519:' and the key"),
        ("identity.verification_key", "ed25519:", "'ed25519:' and the key"),
        ("identity", "me", "an object"),
        ("trust_level", "Trusted", "verified_partner, trusted, standard, unknown, untrusted"),
        ("trust_level", 10, "verified_partner"),
        ("trust_level", ["trusted"], "verified_partner"),
        ("scopes", "repo:read", "a list"),
        ("scopes", ["repo:read", 1], "a list"),
        ("scopes", [None], "a list"),
        ("capabilities.idempotency", 1, "true or false"),
        ("capabilities.idempotency", "true", "true or false"),
        ("capabilities.idempotency_duration_seconds", -1, "from 0"),
        ("capabilities.concurrency_limit", 0, "from 1"),
        ("capabilities.concurrency_limit", True, "from 1"),
        ("capabilities.concurrency_limit", 1.5, "from 1"),
        ("capabilities.concurrency_limit", "100", "from 1"),
        ("capabilities.concurrency_limit", 2**53, "from 1"),
        pytest.param("capabilities.concurrency_limit", 10**5000, "from 1", id="limit-huge"),
        ("capabilities.sla_latency_ms", False, "from 0"),
        ("capabilities.sla_latency_ms", float("inf"), "from 0"),
        ("capabilities.sla_availability", 99.9, "from 0 to 1"),
        ("capabilities.sla_availability", True, "from 0 to 1"),
        ("capabilities.sla_availability", float("nan"), "from 0 to 1"),
        ("capabilities.sla_availability", 10**400, "from 0 to 1"),
        ("capabilities.sla_latency", 2000, "24h"),
        pytest.param("capabilities.undo_window", 10**5000, "24h", id="window-huge"),
        ("capabilities.rate_limit", "60", "from 1"),
        ("capabilities.rate_limit", 0, "from 1"),
        ("capabilities.reversibility", "partly", "full, partial, none"),
        ("reversibility", "full", "an object"),
        ("reversibility.level", True, "full, partial, none"),
        ("reversibility.undo_window_seconds", "3600", "from 0"),
        ("reversibility.compensation_notes", "n" * 1001, "1 to 1000"),
        ("reversibility.undo_conditions", "shipped", "an object"),
        ("reversibility.undo_conditions.until_state", 3, "1 to 255"),
        ("privacy.retention_policy", "sometimes", "ephemeral, temporary, permanent, forever"),
        ("privacy.human_in_loop", 0, "true or false"),
        ("privacy.training_consent", "no", "true or false"),
        ("privacy_contract.human_review", 1, "true or false"),
        ("privacy_contract.retention", "Forever", "ephemeral, temporary, permanent, forever"),
        ("authentication.methods", ["password"], "none, api_key, oauth2, mutual_tls, jwt"),
        ("authentication.required", "yes", "true or false"),
        ("rate_limiting.requests_per_second", 0.5, "from 1"),
        ("rate_limiting.requests_per_hour", -3, "from 1"),
        ("rate_limiting.burst_limit", True, "from 1"),
        ("protocol_version", "2.0", "'1.0'"),
        ("protocol_version", 1.0, "'1.0'"),
        ("manifest_version", "1.0", "three numbers"),
        ("attestation", "sha256:aa", "an object"),
        ("attestation.signature", 5, "1 to 8192"),
    ],
)
def test_wrong_values_name_their_path_and_what_is_allowed(
    path: str, value: object, allowed: str
) -> None:
    base: dict[str, Any] = {} if path == "identity.agent_id" else {"agent_id": "a"}
    (problem,) = problems_of(changed(base, path, value))
    assert problem.startswith(f"{path}: ")
    assert allowed in problem.partition("it must be")[2]
    assert len(problem) < 300


@pytest.mark.parametrize(
    ("path", "value", "meant"),
    [
        ("trust_level", "Trusted", "trusted"),
        ("trust_level", '"trusted"', "trusted"),
        ("trust_level", "trusted\r", "trusted"),
        ("trust_level", "verifiedpartner", "verified_partner"),
        ("privacy.retention_policy", "permanant", "permanent"),
        ("reversibility.level", "partially", "partial"),
        ("privacy.human_in_loop", "False", "false"),
        ("capabilities.sla_availability", 99.9, "0.999"),
        ("capabilities.sla_latency", 2000, '"2000ms"'),
        ("capabilities.undo_window", 60, '"60s"'),
    ],
)
def test_the_nearest_value_is_named(path: str, value: object, meant: str) -> None:
    (problem,) = problems_of(changed({"agent_id": "a"}, path, value))
    assert problem.endswith(f"; meant: {meant}")


def test_what_is_wrong_in_a_list_is_shown() -> None:
    (problem,) = problems_of(
        changed({"agent_id": "a"}, "authentication.methods", ["jwt", "ouath2"])
    )
    assert problem.startswith(
        "authentication.methods: 'ouath2' in the list is not allowed; it must"
    )
    assert problem.endswith("each one of none, api_key, oauth2, mutual_tls, jwt; meant: oauth2")


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("truts_level", "trust_level"),
        ("capabilities.idempotent", "capabilities.idempotency"),
        ("capabilities.undo_window_seconds", "reversibility.undo_window_seconds"),
        ("privacy.retention", "privacy.retention_policy"),
        ("privacy.human_review", "privacy_contract.human_review"),
        ("rate_limiting.request_per_minute", "rate_limiting.requests_per_minute"),
    ],
)
def test_unknown_fields_are_errors_in_ours_and_nothing_in_a_peers(path: str, meant: str) -> None:
    document = changed({"agent_id": "a"}, path, 5)
    (problem,) = problems_of(document)
    assert problem == f"{path}: there is no such field; meant: {meant}"
    assert load_manifest(document, ours=False) == CapabilityManifest(agent_id="a")


def test_an_unknown_field_that_is_near_to_nothing() -> None:
    (problem,) = problems_of({"agent_id": "a", "authentication": {"colour": 1}})
    assert problem == ("authentication.colour: there is no such field; known are methods, required")


def test_all_problems_at_once() -> None:
    problems = problems_of(
        {
            "identity": {"owner": "", "colour": "blue"},
            "trust_level": "Trusted",
            "capabilities": {"concurrency_limit": 0, "idempotency_duration_seconds": 5},
            "reversibility": {"level": "none", "undo_window_seconds": 9},
            "privacy": {"human_in_loop": True},
            "privacy_contract": {"human_review": False},
            "extra": 1,
        }
    )
    starts = [problem.split(":")[0].split(",")[0].split(" ")[0] for problem in problems]
    assert sorted(starts) == sorted(
        [
            "identity.colour",
            "extra",
            "identity.agent_id",
            "identity.owner",
            "trust_level",
            "capabilities.concurrency_limit",
            "capabilities.idempotency_duration_seconds",
            "reversibility.undo_window_seconds",
            "privacy.human_in_loop",
        ]
    )


def test_an_error_is_one_of_configuration() -> None:
    with pytest.raises(ConfigurationError):
        load_manifest(b"{}")
    assert problems_of({}) == [
        "identity.agent_id: it is missing; it must be a text of 1 to 255 characters "
        "without control characters"
    ]


@pytest.mark.parametrize(
    ("nested", "flat"),
    [
        ({"identity": {"agent_id": "b"}}, {"agent_id": "a"}),
        ({"reversibility": {"level": "full"}}, {"capabilities": {"reversibility": "none"}}),
        (
            {"reversibility": {"undo_window_seconds": 60, "level": "full"}},
            {"capabilities": {"undo_window": "2m"}},
        ),
        ({"capabilities": {"sla_latency_ms": 5, "sla_latency": "6ms"}}, {}),
        (
            {"rate_limiting": {"requests_per_minute": 1}},
            {"capabilities": {"rate_limit": 2}},
        ),
        (
            {"privacy": {"retention_policy": "ephemeral"}},
            {"privacy_contract": {"retention": "permanent"}},
        ),
        (
            {"privacy": {"human_in_loop": False}},
            {"privacy_contract": {"human_review": True}},
        ),
        ({}, {"privacy_contract": {"human_review": True, "human_in_loop": False}}),
        (
            {"privacy": {"training_consent": False}},
            {"privacy_contract": {"training_consent": True}},
        ),
        (
            {"privacy": {"storage_location": "eu"}},
            {"privacy_contract": {"storage_location": "us"}},
        ),
        (
            {"privacy": {"encryption_at_rest": False}},
            {"privacy_contract": {"encryption_at_rest": True}},
        ),
    ],
)
@pytest.mark.parametrize("ours", [True, False])
def test_one_fact_given_twice_and_differently(
    nested: dict[str, Any], flat: dict[str, Any], ours: bool
) -> None:
    (problem,) = problems_of({"agent_id": "a"} | nested | flat, ours=ours)
    assert problem.endswith("contradict each other")


CONTRADICTIONS = [
    # A document, the path that its problem begins with, and what is read of a peer's.
    (
        {"capabilities": {"idempotency": False, "idempotency_duration_seconds": 60}},
        "capabilities.idempotency_duration_seconds",
        ("capabilities", "idempotency_duration_seconds", None),
    ),
    (
        {"capabilities": {"idempotency_duration_seconds": 60}},
        "capabilities.idempotency_duration_seconds",
        ("capabilities", "idempotency_duration_seconds", None),
    ),
    (
        {"reversibility": {"level": "none", "undo_window_seconds": 3600}},
        "reversibility.undo_window_seconds",
        ("capabilities", "undo_window_seconds", 0),
    ),
    (
        # What a 0.x sidecar serves when its reversibility alone is set to none.
        {"capabilities": {"reversibility": "none", "undo_window": "24h"}},
        "reversibility.undo_window_seconds",
        ("capabilities", "undo_window_seconds", 0),
    ),
    (
        {"reversibility": {"level": "none", "compensation_method": "refund"}},
        "reversibility.compensation_method",
        ("capabilities", "compensation_method", None),
    ),
    (
        {"reversibility": {"level": "none", "compensation_endpoint": "/undo"}},
        "reversibility.compensation_endpoint",
        ("capabilities", "compensation_endpoint", None),
    ),
    (
        {"privacy": {"retention_policy": "ephemeral", "retention_duration_seconds": 86_401}},
        "privacy.retention_duration_seconds",
        ("privacy_contract", "retention", RetentionPolicy.TEMPORARY),
    ),
    (
        {"privacy": {"retention_policy": "forever", "retention_duration_seconds": 60}},
        "privacy.retention_duration_seconds",
        ("privacy_contract", "retention_duration_seconds", None),
    ),
    (
        {"authentication": {"methods": ["none", "jwt"], "required": True}},
        "authentication.methods",
        ("authentication", "required", False),
    ),
]


@pytest.mark.parametrize(("document", "path", "read"), CONTRADICTIONS)
def test_contradictions(document: dict[str, Any], path: str, read: tuple[str, str, object]) -> None:
    document = {"agent_id": "a"} | document
    (problem,) = problems_of(document)
    assert problem.startswith(path)
    part, name, value = read
    assert getattr(getattr(load_manifest(document, ours=False), part), name) == value


@pytest.mark.parametrize(
    "document",
    [
        {"capabilities": {"idempotency": False, "idempotency_duration_seconds": 0}},
        {"reversibility": {"level": "none", "undo_window_seconds": 0}},
        {"reversibility": {"level": "none", "compensation_method": "none"}},
        {"privacy": {"retention_policy": "ephemeral", "retention_duration_seconds": 86_400}},
        {"privacy": {"retention_policy": "permanent", "retention_duration_seconds": 0}},
        {"authentication": {"methods": ["none"], "required": False}},
    ],
)
def test_what_only_looks_like_a_contradiction(document: dict[str, Any]) -> None:
    assert load_manifest({"agent_id": "a"} | document).agent_id == "a"


def test_a_contradiction_with_an_unreadable_field_is_not_claimed() -> None:
    (problem,) = problems_of(
        {
            "agent_id": "a",
            "capabilities": {"idempotency": "true", "idempotency_duration_seconds": 60},
        }
    )
    assert problem.startswith("capabilities.idempotency: ")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not JSON: Expecting value at line 1, column 1"),
        (b"{", "not JSON"),
        (b'{\n  "agent_id": a}', "at line 2, column 15"),
        (b"null", "not a JSON object but null"),
        (b"[]", "not a JSON object but a list"),
        (b'"x"', "not a JSON object but 'x'"),
        (b'{"agent_id":"a"} {}', "not JSON: Extra data"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"agent_id":"\xff"}', "not UTF-8"),
        (b'{"agent_id":"a","capabilities":{"sla_availability":NaN}}', "a number is not one"),
        (b'{"agent_id":"a","capabilities":{"sla_latency_ms":-Infinity}}', "a number is not one"),
        (b'{"a":' + b"9" * 5000 + b"}", "a number is not one"),
        (b'{"a":' + b"[" * 60_000, "nested too deeply"),
        (b'{"a":' * 12_000, "nested too deeply"),
        (b'{"agent_id":"a","agent_id":"b"}', "'agent_id' stands twice"),
        (b'{"agent_id":"a","privacy":{"x":1,"x":1}}', "'x' stands twice"),
        (b'{"agent_id":"' + b"a" * (1 << 20) + b'"}', "longer than 64 KiB"),
    ],
)
@pytest.mark.parametrize("ours", [True, False])
def test_what_is_not_a_manifest(data: bytes, said: str, ours: bool) -> None:
    (problem,) = problems_of(data, ours=ours)
    assert said in problem


@pytest.mark.parametrize("value", [None, 5, [], object(), 1.5])
def test_what_is_not_even_a_text(value: Any) -> None:
    assert problems_of(value) == ["the manifest is not a text"]


def test_problems_are_bounded_and_quick() -> None:
    many = json.dumps({f"unknown_{number}": 1 for number in range(3000)}).encode()
    begin = time.process_time()
    problems = problems_of(many)
    assert len(problems) == 51
    assert problems[-1] == "and more problems like these"
    assert time.process_time() - begin < 2


def test_what_was_given_cannot_harm_a_terminal() -> None:
    (problem,) = problems_of({"agent_id": "a", "trust_level": "\x1b[2J\u202eabc"})
    assert problem.isprintable()
    assert problem.isascii()
    problems = problems_of({"agent_id": "a", "\x1b[2J": 1, 5: 2})
    assert all(problem.isprintable() for problem in problems)


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**4000, -(10**400), 2**63, 0.5, 1e308])
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["full", "none", "trusted", "ephemeral", "24h", "1.0", "\ud800", "a" * 9999])
    | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from([path.rpartition(".")[2] for path in module._PATHS])
            | st.text(max_size=5)
            | st.integers(),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([path.partition(".")[0] for path in module._PATHS]),
        JSON_VALUES,
        max_size=10,
    ),
    st.booleans(),
)
def test_anything_is_a_manifest_or_a_manifest_error(document: Any, ours: bool) -> None:
    document.setdefault("agent_id", "a")
    problems: list[str] = []
    try:
        manifest = load_manifest(document, ours=ours)
    except ManifestError as error:
        problems = error.problems or [""]
    else:
        assert load_manifest(served_document(manifest)) == manifest
        review(manifest)
    assert all(problem and len(problem) < 2000 for problem in problems)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes(data: bytes, ours: bool) -> None:
    with pytest.raises(ManifestError):
        load_manifest(data, ours=ours)


# A peer's.


@pytest.mark.parametrize(
    ("path", "value", "read"),
    [
        ("identity.verification_key", "rsa:abc", None),
        ("manifest_version", "1.0", None),
    ],
)
def test_what_a_peer_may_write_freely(path: str, value: object, read: object) -> None:
    manifest = load_manifest(changed({"agent_id": "a"}, path, value), ours=False)
    assert getattr(manifest, path.rpartition(".")[2]) is read


def test_a_peers_rates_may_be_fractions() -> None:
    document = {"agent_id": "a", "rate_limiting": {"requests_per_second": 0.5, "burst_limit": 3}}
    manifest = load_manifest(document, ours=False)
    assert manifest.rate_limiting == RateLimiting(burst_limit=3)


@pytest.mark.parametrize("version", ["0.3", "1.0", "1.7"])
def test_a_peers_version_may_be_near(version: str) -> None:
    document = {"agent_id": "a", "protocol_version": version}
    assert load_manifest(document, ours=False).protocol_version == "1.0"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("protocol_version", "2.0"),
        ("protocol_version", "1"),
        ("trust_level", "god"),
        ("privacy.human_in_loop", 0),
        ("privacy", []),
        ("identity.verification_key", 5),
        ("manifest_version", 1.0),
        ("rate_limiting.requests_per_second", True),
        ("capabilities.undo_window", 5),
    ],
)
def test_what_a_peer_may_not(path: str, value: object) -> None:
    (problem,) = problems_of(changed({"agent_id": "a"}, path, value), ours=False)
    assert problem.startswith(f"{path}: ")


# What Python makes.


def test_older_names_in_python() -> None:
    manifest = CapabilityManifest(
        agent_id="a",
        agent_version="0.1.0",
        trust_level="untrusted",
        capabilities=AgentCapabilities(
            idempotency=False,
            reversibility="partial",
            undo_window="5m",
            sla_latency="1000ms",
            rate_limit=10,
        ),
        privacy_contract=PrivacyContract(
            retention="forever", storage_location="unknown", human_review=True
        ),
        scopes=["repo:read"],
    )
    assert manifest.trust_level is TrustLevel.UNTRUSTED
    assert manifest.capabilities.reversibility is ReversibilityLevel.PARTIAL
    assert manifest.capabilities.undo_window_seconds == 300
    assert manifest.capabilities.sla_latency_ms == 1000
    assert manifest.rate_limiting == RateLimiting(requests_per_minute=10)
    assert manifest.privacy_contract.retention is RetentionPolicy.FOREVER
    assert manifest.privacy_contract.human_in_loop is True
    assert manifest.privacy_contract.human_review is True
    assert manifest.scopes == ("repo:read",)
    assert manifest == CapabilityManifest(
        agent_id="a",
        agent_version="0.1.0",
        trust_level=TrustLevel.UNTRUSTED,
        capabilities=AgentCapabilities(
            reversibility=ReversibilityLevel.PARTIAL,
            undo_window_seconds=300,
            sla_latency_ms=1000,
        ),
        privacy_contract=PrivacyContract(
            retention=RetentionPolicy.FOREVER, storage_location="unknown", human_in_loop=True
        ),
        rate_limiting=RateLimiting(requests_per_minute=10),
        scopes=("repo:read",),
    )


def test_none_is_absent_in_python() -> None:
    assert AgentCapabilities(undo_window=None, sla_latency=None, rate_limit=None) == (
        AgentCapabilities()
    )
    assert PrivacyContract(retention=None, human_review=None) == PrivacyContract()


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (lambda: CapabilityManifest(agent_id=""), "identity.agent_id"),
        (lambda: CapabilityManifest(agent_id="a", trust_level="Trusted"), "trust_level"),
        (lambda: CapabilityManifest(agent_id="a", scopes="repo"), "scopes"),
        (lambda: CapabilityManifest(agent_id="a", capabilities={}), "capabilities"),
        (lambda: CapabilityManifest(agent_id="a", privacy_contract=5), "privacy_contract"),
        (lambda: CapabilityManifest(agent_id="a", protocol_version="0.3"), "protocol_version"),
        (lambda: AgentCapabilities(concurrency_limit=0), "capabilities.concurrency_limit"),
        (lambda: AgentCapabilities(concurrency_limit=True), "capabilities.concurrency_limit"),
        (lambda: AgentCapabilities(reversibility="half"), "reversibility.level"),
        (lambda: AgentCapabilities(undo_window="soon"), "undo_window"),
        (lambda: AgentCapabilities(rate_limit=0), "capabilities.rate_limit"),
        (lambda: AgentCapabilities(undo_conditions={}), "undo_conditions"),
        (
            lambda: AgentCapabilities(undo_window="24h"),
            "reversibility.undo_window_seconds contradicts",
        ),
        (lambda: PrivacyContract(human_in_loop=1), "privacy.human_in_loop"),
        (
            lambda: PrivacyContract(human_in_loop=False, human_review=True),
            "human_in_loop and human_review contradict each other",
        ),
        (
            lambda: Authentication(methods=["none"], required=True),
            "authentication.methods",
        ),
        (lambda: RateLimiting(requests_per_second=0), "rate_limiting.requests_per_second"),
        (
            lambda: CapabilityManifest(
                agent_id="a",
                capabilities=AgentCapabilities(rate_limit=1),
                rate_limiting=RateLimiting(requests_per_minute=2),
            ),
            "rate_limiting.requests_per_minute, 2, and capabilities.rate_limit, 1, contradict",
        ),
    ],
)
def test_constructors_check_like_the_loader(make: Any, path: str) -> None:
    with pytest.raises(ManifestError) as caught:
        make()
    (problem,) = caught.value.problems
    assert problem.startswith(path)


def test_a_name_that_no_version_knows_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="retention_policy"):
        PrivacyContract(retention_policy="ephemeral")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="agent_id"):
        CapabilityManifest()  # type: ignore[call-arg]


def test_replacing_checks_too_and_leaves_no_older_name_behind() -> None:
    privacy = PrivacyContract(human_review=True)
    assert msgspec.structs.replace(privacy, human_in_loop=False) == PrivacyContract()
    manifest = load_manifest(FLAT)
    with pytest.raises(ManifestError):
        msgspec.structs.replace(manifest.capabilities, reversibility=ReversibilityLevel.NONE)
    renamed = msgspec.structs.replace(load_manifest({"agent_id": "a"}), agent_id="b")
    assert json.loads(served_document(renamed))["identity"] == {"agent_id": "b", "owner": "b"}


def test_manifests_are_values() -> None:
    manifest = load_manifest(NESTED)
    assert pickle.loads(pickle.dumps(manifest)) == manifest
    assert copy.deepcopy(manifest) == manifest
    assert hash(manifest) == hash(load_manifest(NESTED))
    with pytest.raises(AttributeError):
        manifest.agent_id = "other"  # type: ignore[misc]


# What is served.


def test_served_flat_fields_are_what_0x_clients_read() -> None:
    served = json.loads(served_document(load_manifest(NESTED)))
    assert served["agent_id"] == "parcel-agent-v3"
    assert served["capabilities"]["reversibility"] == "partial"
    assert served["capabilities"]["undo_window"] == "2h"
    assert served["capabilities"]["sla_latency"] == "1500ms"
    assert served["capabilities"]["rate_limit"] == 100
    assert served["privacy_contract"] == {
        "retention": "ephemeral",
        "storage_location": "eu-central-1",
        "human_review": False,
        "training_consent": False,
        "encryption_at_rest": True,
        "encryption_in_transit": True,
    }
    without_flat = {
        key: value for key, value in served.items() if key not in ("agent_id", "privacy_contract")
    }
    for name in ("reversibility", "undo_window", "sla_latency", "rate_limit"):
        del without_flat["capabilities"][name]
    assert without_flat == NESTED


@pytest.mark.parametrize("seconds", [1, 59, 60, 90, 3600, 5400, 86_399, 86_400, 604_800, 2**53 - 1])
def test_served_undo_windows_are_read_back(seconds: int) -> None:
    capabilities = AgentCapabilities(
        reversibility=ReversibilityLevel.FULL, undo_window_seconds=seconds
    )
    manifest = CapabilityManifest(agent_id="a", capabilities=capabilities)
    assert load_manifest(served_document(manifest)) == manifest


def _leaves(schema: dict[str, Any], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, inner in schema["properties"].items():
        path = f"{prefix}{name}"
        found |= _leaves(inner, path + ".") if "properties" in inner else {path}
    return found


def test_schema_and_loader_know_the_same_fields() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    # Tolerated on the way in, and not part of what is published.
    assert _leaves(SCHEMA) == set(module._PATHS) - {"privacy_contract.human_in_loop"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("trust_level", "Trusted"),
        ("identity.agent_id", ""),
        ("identity.owner", 5),
        ("capabilities.concurrency_limit", 0),
        ("capabilities.sla_availability", 1.1),
        ("reversibility.level", "half"),
        ("privacy.human_in_loop", 1),
        ("privacy.retention_policy", "never"),
        ("authentication.methods", ["password"]),
        ("rate_limiting.burst_limit", 0),
        ("protocol_version", "one"),
        ("manifest_version", "1.0"),
        ("agent_id", 5),
        ("privacy_contract.retention", "never"),
    ],
)
def test_the_schema_refuses_too(path: str, value: object) -> None:
    document = json.loads(served_document(load_manifest(NESTED)))
    assert VALIDATOR.is_valid(document)
    assert not VALIDATOR.is_valid(changed(document, path, value))


SHORT = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Cf", "Zl", "Zp")), min_size=1, max_size=20
)
COUNTS = st.integers(0, 2**53 - 1)
RATES = st.none() | st.integers(1, 10**9)


@st.composite
def manifests(draw: st.DrawFn) -> CapabilityManifest:
    idempotency = draw(st.booleans())
    level = draw(st.sampled_from(ReversibilityLevel))
    undoes = level != "none"
    retention = draw(st.sampled_from(RetentionPolicy))
    return CapabilityManifest(
        agent_id=draw(SHORT),
        owner=draw(st.none() | SHORT),
        verification_key=draw(st.none() | st.just("ed25519:abc")),
        trust_level=draw(st.sampled_from(TrustLevel)),
        scopes=draw(st.lists(SHORT, max_size=3)),
        capabilities=AgentCapabilities(
            idempotency=idempotency,
            idempotency_duration_seconds=draw(COUNTS) if idempotency else None,
            concurrency_limit=draw(st.integers(1, 2**53 - 1)),
            sla_latency_ms=draw(st.integers(0, 10**12 - 1)),
            sla_availability=draw(st.none() | st.floats(0, 1)),
            reversibility=level,
            undo_window_seconds=draw(st.integers(0, 10**12 - 1)) if undoes else 0,
            compensation_method=draw(SHORT) if undoes else None,
            compensation_sla_ms=draw(st.none() | COUNTS),
            compensation_notes=draw(st.none() | st.just("two\n\tlines")),
            undo_conditions=draw(
                st.none() | st.builds(UndoConditions, until_state=SHORT, check_endpoint=SHORT)
            ),
        ),
        privacy_contract=PrivacyContract(
            retention=retention,
            retention_duration_seconds=draw(COUNTS) if retention == "temporary" else None,
            storage_location=draw(st.none() | SHORT),
            human_in_loop=draw(st.booleans()),
            training_consent=draw(st.booleans()),
            encryption_at_rest=draw(st.booleans()),
            encryption_in_transit=draw(st.booleans()),
        ),
        authentication=draw(st.none() | st.just(Authentication(methods=("jwt",), required=True))),
        rate_limiting=draw(
            st.none()
            | st.builds(
                RateLimiting,
                requests_per_second=st.integers(1, 10**9),
                requests_per_minute=RATES,
                requests_per_hour=RATES,
                burst_limit=RATES,
            )
        ),
        attestation=draw(st.none() | st.builds(Attestation, signature=SHORT, timestamp=SHORT)),
        agent_version=draw(st.none() | SHORT),
    )


@settings(max_examples=200, deadline=None)
@given(manifests())
def test_what_is_served_is_valid_and_loads_again(manifest: CapabilityManifest) -> None:
    served = served_document(manifest)
    document = json.loads(served)
    VALIDATOR.validate(document)
    assert load_manifest(served) == manifest
    assert load_manifest(served, ours=False) == manifest
    assert review(manifest) == review(load_manifest(served))


# The review.


def test_a_careful_manifest_has_nothing_questionable() -> None:
    assert review(load_manifest(NESTED)) == []


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("trust_level", "untrusted", "trust score is 3 of 10"),
        ("privacy.retention_policy", "permanent", "card number"),
        ("privacy.retention_policy", "forever", "card number"),
        ("privacy.retention_duration_seconds", 60, "is the data gone"),
        ("privacy.training_consent", True, "has learned"),
        ("privacy.encryption_in_transit", False, "encryption_in_transit"),
        ("reversibility.compensation_sla_ms", 7_200_001, "longer than the undo window"),
        ("capabilities.sla_latency_ms", 0, "sla_latency_ms"),
        ("capabilities.sla_availability", 1, "always there"),
        ("identity.verification_key", None, "verification_key"),
        ("identity.contact", "ring us", "e-mail"),
        ("scopes", ["a", "a"], "twice"),
        ("scopes", ["repo:*"], "wildcard"),
        ("privacy.data_processing_addendum", "on paper", "URL"),
        ("updated_at", "yesterday", "RFC 3339"),
        ("updated_at", "2026-02-01T12:00:00", "RFC 3339"),
        ("attestation.agent_id", "somebody", "another agent"),
        ("rate_limiting.requests_per_second", 1, "requests_per_minute is never reached"),
        ("rate_limiting.requests_per_hour", 6000, "requests_per_hour is never reached"),
    ],
)
def test_questionable_choices(path: str, value: object, said: str) -> None:
    warnings = review(load_manifest(changed(NESTED, path, value)))
    assert [warning for warning in warnings if said in warning] == warnings
    assert len(warnings) == 1


def test_more_questionable_choices() -> None:
    claims = {"identity": {"agent_id": "a"}, "reversibility": {"level": "full"}}
    assert "says how to undo" in review(load_manifest(claims))[0]
    lone = {"identity": {"agent_id": "a"}, "rate_limiting": {"burst_limit": 5}}
    assert "taken as requests per second" in "\n".join(review(load_manifest(lone)))
    late = {"agent_id": "a", "reversibility": {"level": "none", "compensation_sla_ms": 5}}
    assert "say nothing then" in "\n".join(review(load_manifest(late)))
    bare = changed(NESTED, "privacy.retention_policy", "permanent")
    bare = changed(bare, "privacy.encryption_at_rest", False)
    assert any("kept for good" in warning for warning in review(load_manifest(bare)))


def test_reading_a_good_manifest_loads_nothing_that_mistakes_need() -> None:
    code = (
        "import sys, iatp.values.manifest as m; m.load_manifest({'agent_id': 'a'});"
        "print([n for n in ('difflib', 'jsonschema', 'iatp._fast') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
