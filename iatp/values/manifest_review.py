"""What is allowed in a manifest and yet questionable: `iatp verify` says it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

from iatp.values.manifest import (
    CapabilityManifest,
    RateLimiting,
    RetentionPolicy,
    ReversibilityLevel,
    TrustLevel,
)


def review(manifest: CapabilityManifest) -> list[str]:
    """Choices that are allowed and questionable, one sentence each."""
    return [sentence for holds, sentence in _questionable(manifest) if holds]


def _questionable(manifest: CapabilityManifest) -> Iterable[tuple[bool, str]]:
    capabilities, privacy = manifest.capabilities, manifest.privacy_contract
    score, retention = manifest.trust_score(), privacy.retention
    undoes = capabilities.reversibility != ReversibilityLevel.NONE
    permanent = retention in (RetentionPolicy.PERMANENT, RetentionPolicy.FOREVER)
    yield (
        score < 7,
        (
            f"the trust score is {score} of 10: below 7 every request is answered with a warning "
            "(449) until the caller confirms"
        ),
    )
    yield (
        permanent,
        (
            f"privacy.retention_policy is {retention}: requests that hold a card number, a secret "
            "or a social security number are blocked"
        ),
    )
    yield (
        permanent and not privacy.encryption_at_rest,
        ("privacy.encryption_at_rest is false although data is kept for good"),
    )
    yield (
        retention == RetentionPolicy.EPHEMERAL and bool(privacy.retention_duration_seconds),
        (
            "privacy.retention_duration_seconds is set although privacy.retention_policy is "
            "ephemeral: is the data gone when the session ends?"
        ),
    )
    yield (
        retention == RetentionPolicy.EPHEMERAL and privacy.training_consent,
        (
            "privacy.training_consent is true although privacy.retention_policy is ephemeral: "
            "what a model has learned is not gone"
        ),
    )
    yield not privacy.encryption_in_transit, "privacy.encryption_in_transit is false"
    yield (
        (
            undoes
            and not capabilities.compensation_method
            and not capabilities.compensation_endpoint
        ),
        (
            f"reversibility.level is {capabilities.reversibility}, but neither "
            "compensation_method nor compensation_endpoint says how to undo"
        ),
    )
    yield (
        (
            not undoes
            and (capabilities.compensation_sla_ms or capabilities.undo_conditions) is not None
        ),
        "reversibility.level is none: compensation_sla_ms and undo_conditions say nothing then",
    )
    yield (
        (0 < capabilities.undo_window_seconds * 1000 < (capabilities.compensation_sla_ms or 0)),
        "reversibility.compensation_sla_ms is longer than the undo window",
    )
    yield capabilities.sla_latency_ms == 0, "capabilities.sla_latency_ms is 0: none can keep that"
    yield (
        capabilities.sla_availability == 1,
        ("capabilities.sla_availability is 1: no agent is always there"),
    )
    yield from _questionable_names(manifest)
    yield from _questionable_limits(manifest)


def _questionable_names(manifest: CapabilityManifest) -> Iterable[tuple[bool, str]]:
    yield (
        (manifest.trust_level == TrustLevel.VERIFIED_PARTNER and manifest.verification_key is None),
        "trust_level is verified_partner, but identity.verification_key is missing",
    )
    yield len(set(manifest.scopes)) < len(manifest.scopes), "scopes holds the same scope twice"
    yield (
        any("*" in scope for scope in manifest.scopes),
        ("scopes holds a wildcard: name what the agent may do"),
    )
    contact = manifest.contact
    yield (
        contact is not None and not re.fullmatch(r"[^@\s]+@[^@\s]+", contact),
        ("identity.contact is not an e-mail address"),
    )
    addendum = manifest.privacy_contract.data_processing_addendum
    yield (
        addendum is not None and not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:\S+$", addendum),
        ("privacy.data_processing_addendum is not a URL"),
    )
    yield (
        manifest.updated_at is not None and not _is_timestamp(manifest.updated_at),
        ("updated_at is not a date with time and offset (RFC 3339)"),
    )
    attestation = manifest.attestation
    yield (
        attestation is not None and attestation.agent_id not in (None, manifest.agent_id),
        ("attestation.agent_id names another agent"),
    )


def _questionable_limits(manifest: CapabilityManifest) -> Iterable[tuple[bool, str]]:
    limits = manifest.rate_limiting or RateLimiting()
    second, minute = limits.requests_per_second, limits.requests_per_minute
    hour = limits.requests_per_hour
    yield (
        limits.burst_limit is not None and not (second or minute or hour),
        ("rate_limiting.burst_limit stands alone: it is taken as requests per second"),
    )
    yield (
        bool(second and minute and second * 60 <= minute),
        ("rate_limiting.requests_per_minute is never reached at this requests_per_second"),
    )
    yield (
        bool(minute and hour and minute * 60 <= hour),
        ("rate_limiting.requests_per_hour is never reached at this requests_per_minute"),
    )


def _is_timestamp(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
