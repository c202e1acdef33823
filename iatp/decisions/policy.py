"""The decision table of protocol section 6, as data, and the texts that go with it.

The compiled gate reads these tables once, when it is made; per request it only compares
numbers. Nothing here knows a request's content: findings come in as kinds.
"""

from __future__ import annotations

import enum
import hashlib
from uuid import UUID

import msgspec

from iatp.values.manifest import RetentionPolicy, ReversibilityLevel, TrustLevel


class OverrideMode(enum.StrEnum):
    """What counts as a caller's confirmation of a warning (IATP_OVERRIDE)."""

    HEADER = "header"
    TICKET = "ticket"
    SECRET = "secret"  # noqa: S105
    OFF = "off"


class GatePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """All that the gate's decisions and records depend on, apart from the request."""

    agent_id: str
    trust_level: TrustLevel
    reversibility: ReversibilityLevel
    retention: RetentionPolicy
    human_in_loop: bool = False
    training_consent: bool = False
    override: OverrideMode = OverrideMode.HEADER
    override_token: str = ""
    """The operator's secret; needed in mode `secret` alone."""
    ticket_key: bytes = b""
    """At least 16 bytes; needed in mode `ticket` alone."""
    mac_key: bytes
    """16 to 64 bytes: the key of `payload_mac`."""
    record_body_bytes: int = 8 << 10
    max_body_bytes: int = 10 << 20

    @property
    def policy_version(self) -> str:
        """Return a name for what decides: a ticket made under another policy is void.

        Sixteen hex digits, the same on every worker and replica with the same settings.
        """
        decides = (
            self.agent_id,
            self.trust_level,
            self.reversibility,
            self.retention,
            self.human_in_loop,
            self.training_consent,
            self.override,
        )
        return hashlib.sha256(msgspec.json.encode(decides)).hexdigest()[:16]


SCORE_TO_PASS = 7
"""Section 6: below it a request needs a valid override."""

JSON_DEPTH = 128
"""Section 6: the deepest nesting that is accepted."""


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of finding that an agent with this retention may never be sent."""

    kind: str
    code: str
    """Also the rule's name in the record."""
    reason: str


_LABELS = {"credit_card": "credit card number", "secret": "secret", "ssn": "social security number"}

_BLOCKED_BY_RETENTION: dict[str, tuple[str, ...]] = {
    "ephemeral": (),
    "temporary": ("ssn",),
    "permanent": ("credit_card", "secret", "ssn"),
    "forever": ("credit_card", "secret", "ssn"),
}
"""The kinds that block, the first to apply first. Section 6."""


def blocks(retention: str) -> tuple[Block, ...]:
    """Return what this retention policy blocks, the first to apply first."""
    return tuple(
        Block(
            kind=kind,
            code=f"{kind}_retention",
            reason=f"Privacy Violation: a {_LABELS[kind]} may not be sent to an agent "
            f"whose retention policy is '{retention}'",
        )
        for kind in _BLOCKED_BY_RETENTION[retention]
    )


RULE_TRUST = "trust_score"
"""Allowed: the score is high enough."""
RULE_OVERRIDE = "override"
"""Allowed and quarantined: the score is too low and the override valid."""
RULE_LOW_TRUST = "low_trust"
"""Warned; also the code of the 449."""


def warning_text(policy: GatePolicy, score: int) -> str:
    """Return the lines that a caller's user has to confirm (section 6)."""
    lines = [f"Low trust score ({score}/10)"]
    if policy.reversibility == "none":
        lines.append("No reversibility")
    if policy.retention in ("permanent", "forever"):
        lines.append("Data stored permanently")
    if policy.human_in_loop:
        lines.append("Human review enabled")
    if policy.training_consent:
        lines.append("Data used for training")
    return "⚠️ WARNING:" + "".join(f"\n  • {line}" for line in lines)


def override_message(mode: OverrideMode, token: str, trace_id: str) -> str:
    """Return how the request can be confirmed; `token` is the ticket, in its mode alone."""
    if mode == OverrideMode.HEADER:
        return "To proceed, repeat the request with the header X-User-Override: true"
    if mode == OverrideMode.TICKET:
        return (
            f"To proceed, repeat the request with the headers X-User-Override: {token} "
            f"and X-Agent-Trace-ID: {trace_id}"
        )
    if mode == OverrideMode.SECRET:
        return (
            "To proceed, repeat the request with the header X-User-Override: "
            "and the operator's override token as its value"
        )
    return "This request cannot be confirmed: overrides are switched off (IATP_OVERRIDE=off)"


def session_id(request_id: str) -> str:
    """Return the quarantine session's ID, a UUID that follows from the request's."""
    digest = bytearray(hashlib.sha256(b"iatp session\0" + request_id.encode()).digest()[:16])
    digest[6] = 0x80 | digest[6] & 0x0F  # Version 8 and the variant of RFC 9562.
    digest[8] = 0x80 | digest[8] & 0x3F
    return str(UUID(bytes=bytes(digest)))
