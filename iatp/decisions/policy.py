"""What follows from a policy: the decision for each set of findings, and the texts that go with it.

The compiled gate asks once for each set of findings that it meets, and keeps the row. Nothing
here knows a request's content: findings come in by their names.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Collection, Iterable
from urllib.parse import unquote_to_bytes
from uuid import UUID

import msgspec

from iatp.values.exchange import kind_of
from iatp.values.manifest import RetentionPolicy, ReversibilityLevel, TrustLevel
from iatp.values.policy import DEFAULT, STRENGTH, Action, Policy, Rule


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
    table: Policy = DEFAULT

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
            self.table,
        )
        return hashlib.sha256(msgspec.json.encode(decides)).hexdigest()[:16]


SCORE_TO_PASS = 7
"""Section 6: below it a score is low. The default policy warns of it."""

JSON_DEPTH = 128
"""Section 6: the deepest nesting that is accepted."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy says of a request in which this was found."""

    action: Action
    """The strongest of the rules that apply."""
    rule: str
    """The first rule that has this action; also the code of a 403 or 449."""
    reason: str = ""
    """What a caller is told whose request is blocked."""
    warning: str = ""
    """The lines that a caller's user has to confirm."""
    redacts: frozenset[str] = frozenset()
    """Findings to replace in what is sent to the agent, should it be sent."""
    otherwise: Decision | None = None
    """The block that holds where `redacts` cannot be replaced."""


_LABELS = {
    "credit_card": "a credit card number",
    "ssn": "a social security number",
    "email": "an e-mail address",
    "secret": "a secret",
    "iban": "an IBAN",
    "custom": "what a pattern of its policy names",
}
_STORED = (RetentionPolicy.PERMANENT, RetentionPolicy.FOREVER)


def applies(rule: Rule, policy: GatePolicy, score: int) -> bool:
    """Return whether a rule's conditions on the agent hold."""
    retention = policy.retention
    return (
        (
            not rule.retention
            or retention in rule.retention
            # Section 3: these two mean the same, so a rule that names one means both.
            or (retention in _STORED and any(each in _STORED for each in rule.retention))
        )
        and (not rule.trust_level or policy.trust_level in rule.trust_level)
        and (rule.score_below is None or score < rule.score_below)
    )


def decide(policy: GatePolicy, findings: Collection[str], score: int) -> Decision:
    """Return what the table says where this was found and the agent's score is `score`.

    `findings`: names of `Policy.findings`, in that order, without what it switches off; a kind
    alone, as older records have it, is judged as that.
    """
    rows = [rule for rule in policy.table.rules if applies(rule, policy, score)]
    # Of each finding the first row that names it, else the first that names its kind; one row may
    # speak for several.
    spoken = {
        name: next(
            (rule for each in (name, kind_of(name)) for rule in rows if each in rule.kinds), None
        )
        for name in findings
    }
    whole = next(rule for rule in rows if not rule.kinds)
    chosen = [rule for rule in rows if rule is whole or rule in spoken.values()]
    strongest = max(chosen, key=lambda rule: STRENGTH[rule.action])

    def of(rule: Rule) -> list[str]:
        """Return what the rule speaks for."""
        return [name for name in findings if spoken[name] is rule]

    redacting = [rule for rule in chosen if rule.action == Action.REDACT]
    decision = Decision(action=strongest.action, rule=strongest.name)
    if strongest.action == Action.BLOCK:
        reason = strongest.reason or _block_text(policy, strongest, of(strongest))
        return msgspec.structs.replace(decision, reason=reason)
    if strongest.action == Action.WARN:
        warning = [rule for rule in chosen if rule.action == Action.WARN]
        lines = [line for rule in warning for line in _lines(policy, rule, of(rule), score)]
        decision = msgspec.structs.replace(decision, warning=warning_text(policy, lines))
    if not redacting:
        return decision
    first = redacting[0]
    return msgspec.structs.replace(
        decision,
        redacts=frozenset(name for rule in redacting for name in of(rule)),
        otherwise=Decision(
            action=Action.BLOCK,
            rule=first.name,
            reason=f"Privacy Violation: {_called(policy, of(first))[0]} is to be taken out of what "
            "this agent is sent, and that is not possible where it stands",
        ),
    )


def _called(policy: GatePolicy, findings: list[str]) -> list[str]:
    """Return what callers are told of findings: their kinds, each once, or what a pattern says."""
    said = {each.finding: each.description for each in policy.table.patterns if each.description}
    kinds = {kind_of(name) for name in findings if name not in said}
    labels = [label for kind, label in _LABELS.items() if kind in kinds]
    return labels + list(dict.fromkeys(said[name] for name in findings if name in said))


def _block_text(policy: GatePolicy, rule: Rule, findings: list[str]) -> str:
    if not findings:
        return "Policy Violation: this agent may not be sent this request"
    whose = f"an agent whose retention policy is '{policy.retention}'"
    return (
        f"Privacy Violation: {_called(policy, findings)[0]} may not be sent to "
        f"{whose if rule.retention else 'this agent'}"
    )


def _lines(policy: GatePolicy, rule: Rule, findings: list[str], score: int) -> list[str]:
    if rule.reason:
        return [rule.reason]
    if findings:
        return [f"Sends {called}" for called in _called(policy, findings)]
    if score < SCORE_TO_PASS:
        return [f"Low trust score ({score}/10)"]
    return [f"The policy asks for it ({rule.name})"]


def warning_text(policy: GatePolicy, lines: Iterable[str]) -> str:
    """Return the lines that a caller's user has to confirm (section 6), these first."""
    lines = list(lines)
    if policy.reversibility == "none":
        lines.append("No reversibility")
    if policy.retention in _STORED:
        lines.append("Data stored permanently")
    if policy.human_in_loop:
        lines.append("Human review enabled")
    if policy.training_consent:
        lines.append("Data used for training")
    return "⚠️ WARNING:" + "".join(f"\n  • {line}" for line in lines)


def closed(policy: Policy, method: str, path: bytes) -> str | None:
    """Return None where a path below `/proxy` is open to this method.

    Else the methods that it is open to, as in `Allow`; empty: to none. `path` begins behind
    `/proxy` and has no query; `/proxy` itself is always open. It is compared with its percent
    encoding undone once, as an agent reads it.
    """
    if not policy.open or not path:
        return None
    given = unquote_to_bytes(path)[1:].split(b"/")
    methods: list[str] = []
    for each in policy.open:
        if any(_matches(pattern[1:].encode().split(b"/"), given) for pattern in each.paths):
            methods += each.methods
    return None if method in methods else ", ".join(sorted(set(methods)))


def _matches(pattern: list[bytes], given: list[bytes]) -> bool:
    if pattern[-1] == b"**":
        pattern = pattern[:-1]
        if len(given) <= len(pattern) or given[len(pattern) :] == [b""]:
            return False
        given = given[: len(pattern)]
    return len(pattern) == len(given) and all(
        (want == b"*" and got != b"") or want == got
        for want, got in zip(pattern, given, strict=True)
    )


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
