"""What the gate must do, in plain Python; the truth that iatp/_fast/gate is held against.

Verdicts are dicts, records are parsed. The scan is its twin too, so nothing here is compiled.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote_to_bytes

from iatp.decisions import tickets
from iatp.decisions.policy import GatePolicy, OverrideMode, override_message, session_id
from iatp.values.errors import FAILURES
from iatp.values.exchange import KINDS, Grant, Request, kind_of
from iatp.values.policy import Rule
from tests.twins.content import RefusedError, decoded, from_latin
from tests.twins.layers import TOO_MUCH
from tests.twins.mac import mac
from tests.twins.reading import (
    PATTERNS,
    all_names,
    check_head,
    counts,
    cut,
    find,
    is_entry,
    name_of,
    pairs,
    read_loose,
    scrub,
    without,
)
from tests.twins.scan import FORM, JSON, TARGET, TEXT, scan
from tests.twins.tails import about, as_string, common, parsed

POINTS = {"verified_partner": 10, "trusted": 7, "standard": 5, "unknown": 2, "untrusted": 0}


def score(policy: GatePolicy) -> int:
    points = POINTS[policy.trust_level]
    points += 2 if policy.reversibility != "none" else 0
    points += 1 if policy.retention == "ephemeral" else 0
    points -= 1 if policy.retention in ("permanent", "forever") else 0
    points -= 2 if policy.human_in_loop else 0
    points -= 1 if policy.training_consent else 0
    return min(10, max(0, points))


LABELS = {
    "credit_card": "a credit card number",
    "ssn": "a social security number",
    "email": "an e-mail address",
    "secret": "a secret",
    "iban": "an IBAN",
    "custom": "what a pattern of its policy names",
}
STRENGTHS = ["allow", "redact", "warn", "block"]


def rules(policy: GatePolicy) -> list[Rule]:
    """Return the rules whose conditions on the agent hold."""

    def holds(rule: Rule) -> bool:
        meant = {str(each) for each in rule.retention}
        if meant & {"permanent", "forever"}:
            meant |= {"permanent", "forever"}
        return (
            (not meant or str(policy.retention) in meant)
            and (not rule.trust_level or policy.trust_level in rule.trust_level)
            and (rule.score_below is None or score(policy) < rule.score_below)
        )

    return [rule for rule in policy.table.rules if holds(rule)]


def speakers(policy: GatePolicy, names: set[str]) -> dict[str, Rule]:
    """Return the rule that speaks for each finding, and under "" that of the request."""
    spoken: dict[str, Rule] = {}
    for rule in rules(policy):
        for name in rule.kinds or [""]:
            if name in names or name == "":
                spoken.setdefault(name, rule)
    # What no rule names is spoken for by those that name its kind.
    for rule in rules(policy):
        for name in names:
            if kind_of(name) in rule.kinds:
                spoken.setdefault(name, rule)
    return spoken


def verdict_of(policy: GatePolicy, names: set[str]) -> tuple[str, Rule, dict[str, Rule]]:
    """Return the strongest action, the first rule that has it, and who speaks for what."""
    spoken = speakers(policy, names)
    in_order = [rule for rule in policy.table.rules if rule in spoken.values()]
    action = STRENGTHS[max(STRENGTHS.index(rule.action) for rule in in_order)]
    return action, next(rule for rule in in_order if rule.action == action), spoken


def called(spoken: dict[str, Rule], rule: Rule) -> list[str]:
    """Return what callers are told of what a rule speaks for."""
    names = {name for name, by in spoken.items() if by == rule and name}
    said = {
        pattern.finding: pattern.description for pattern in PATTERNS.get() if pattern.description
    }
    kinds = {kind_of(name) for name in names - set(said)}
    labels = [LABELS[kind] for kind in KINDS if kind in kinds]
    for name, description in said.items():
        if name in names and description not in labels:
            labels.append(description)
    return labels


def block_text(policy: GatePolicy, rule: Rule, spoken: dict[str, Rule]) -> str:
    if rule.reason:
        return rule.reason
    labels = called(spoken, rule)
    if not labels:
        return "Policy Violation: this agent may not be sent this request"
    whose = f"an agent whose retention policy is '{policy.retention}'"
    whose = whose if rule.retention else "this agent"
    return f"Privacy Violation: {labels[0]} may not be sent to {whose}"


def read_body(policy: GatePolicy, request: Request) -> tuple[dict[str, Any], list[str]]:
    """Return the payload fields of a record and the names of what is found in the body."""
    if len(request.body) > policy.max_body_bytes:
        raise RefusedError("body_too_large")
    name, is_json, is_form, charset = check_head(request)
    body = decoded(request.body, name, policy.max_body_bytes) if name else request.body
    fields: dict[str, Any] = {"payload": None, "payload_bytes": len(body)}
    embeds = False
    if is_entry(request) or (is_json and body):
        result = scan(body, JSON)
        if result.error == TOO_MUCH:
            raise RefusedError("body_too_large")
        if result.error is not None:
            raise RefusedError("invalid_json", f"{result.error} at byte {result.error_at}")
        text, spans = body, find(body, JSON)
        names = [name_of(span) for span in spans]
        embeds = True
    elif body:
        text = from_latin(body) if charset == "latin" else body
        text, spans, names = read_loose(text, FORM if is_form else TEXT)
    else:
        return fields, []
    limit = policy.record_body_bytes
    if len(body) > limit:
        fields |= as_string("payload", cut(text, spans, limit))
        fields["payload_mac"] = mac(policy.mac_key, body)
    elif embeds:
        fields["payload"] = parsed(scrub(text, spans))
    else:
        fields |= as_string("payload", scrub(text, spans))
    return fields, names


def trace_id(request: Request) -> str:
    given = request.trace_id
    shaped = re.fullmatch(rb"[A-Za-z0-9._-]{1,128}", given) and given not in (b".", b"..")
    return given.decode() if shaped and not find(given, TEXT) else request.request_id


def refusal(
    policy: GatePolicy, request: Request, code: str, detail: str = "", retry_after_s: int = 0
) -> dict[str, Any]:
    failure = FAILURES[code]
    trace = request.request_id if failure.closes else trace_id(request)
    sentence = failure.sentence
    extra = {}
    if detail and code == "invalid_json":
        sentence = f"{sentence[:-1]}: {detail}."
    elif detail:
        extra = {"detail": detail}
    record = (
        common(policy, "error", (trace, request.request_id), request.time_ns, request.mono_ns)
        | about(request)
        | {"decision": failure.decision, "error": sentence, "code": code}
        | {"status_code": failure.status}
        | extra
    )
    return {
        "status": failure.status,
        "decision": failure.decision,
        "code": code,
        "body": {"error": sentence, "code": code, "trace_id": trace},
        "trace_id": trace,
        "trust_score": score(policy),
        "records": [record],
        "findings": (),
        "retry_after_s": retry_after_s or failure.retry_after_s,
        "closes": failure.closes,
    }


def confirmed(policy: GatePolicy, request: Request, trace: str) -> tuple[str, int] | None:
    if policy.override == OverrideMode.HEADER:
        return ("", 0) if request.override == b"true" else None
    if policy.override == OverrideMode.SECRET:
        return ("", 0) if request.override == policy.override_token.encode() else None
    if policy.override == OverrideMode.TICKET:
        ticket = tickets.check(
            policy.ticket_key,
            request.override,
            bound(policy, request, trace),
            now_s=request.time_ns // 10**9,
        )
        return (ticket.ticket_id, ticket.expires_s) if ticket else None
    return None


def bound(policy: GatePolicy, request: Request, trace: str) -> tickets.Bound:
    return tickets.Bound(
        caller=request.caller,
        method=request.method,
        target=request.target,
        content_type=request.content_type,
        content_encoding=request.content_encoding,
        body=request.body,
        policy_version=policy.policy_version,
        trace_id=trace,
    )


def warning(policy: GatePolicy, points: int, spoken: dict[str, Rule]) -> str:
    text = "⚠️ WARNING:"
    for rule in policy.table.rules:
        if rule not in spoken.values() or rule.action != "warn":
            continue
        labels = called(spoken, rule)
        if rule.reason:
            text += f"\n  • {rule.reason}"
        elif labels:
            text += "".join(f"\n  • Sends {label}" for label in labels)
        elif points < 7:
            text += f"\n  • Low trust score ({points}/10)"
        else:
            text += f"\n  • The policy asks for it ({rule.name})"
    if policy.reversibility == "none":
        text += "\n  • No reversibility"
    if policy.retention in ("permanent", "forever"):
        text += "\n  • Data stored permanently"
    if policy.human_in_loop:
        text += "\n  • Human review enabled"
    if policy.training_consent:
        text += "\n  • Data used for training"
    return text


def path_trouble(policy: GatePolicy, request: Request) -> str:
    """Return the code of the refusal where the policy does not open the path, or empty."""
    path = request.target.removeprefix(b"/proxy").split(b"?")[0]
    if not policy.table.open or not path:
        return ""
    methods: set[str] = set()
    for each in policy.table.open:
        for pattern in each.paths:
            shape = "".join(
                "/.+" if part == "**" else "/[^/]+" if part == "*" else "/" + re.escape(part)
                for part in pattern[1:].split("/")
            )
            if re.fullmatch(shape.encode(), unquote_to_bytes(path), re.DOTALL):
                methods |= set(each.methods)
    if request.method in methods:
        return ""
    return "method_not_allowed" if methods else "path_not_open"


def is_on(policy: GatePolicy, name: str) -> bool:
    said = policy.table.kinds
    return said[name] if name in said else said.get(kind_of(name), True)


def admit(policy: GatePolicy, request: Request, grant: Grant | None = None) -> dict[str, Any]:
    token = PATTERNS.set(policy.table.patterns)
    try:
        return admitted(policy, request, grant)
    finally:
        PATTERNS.reset(token)


def admitted(policy: GatePolicy, request: Request, grant: Grant | None) -> dict[str, Any]:
    points = score(policy)
    observes = policy.table.mode == "observe"
    closed = path_trouble(policy, request)
    if closed and not observes:
        return refusal(policy, request, closed)
    try:
        payload, names = read_body(policy, request)
    except RefusedError as refused:
        return refusal(policy, request, refused.code, refused.detail)
    names = [name_of(span) for span in find(request.target, TARGET)] + names
    names = [name for name in names if is_on(policy, name)]
    trace = trace_id(request)
    findings = pairs(names)
    ids = (trace, request.request_id)

    def record(kind: str, more: dict[str, Any]) -> dict[str, Any]:
        return common(policy, kind, ids, request.time_ns, request.mono_ns) | more

    described = about(request) | payload
    described["findings"] = counts(findings)
    described |= {"trust_score": points, "quarantined": False}
    verdict: dict[str, Any] = {"trace_id": trace, "trust_score": points, "findings": findings}
    answer = {"retry_after_s": 0, "closes": False} | verdict

    action, rule, spoken = verdict_of(policy, set(names))
    reason = block_text(policy, rule, spoken)
    body: bytes | None = None
    redacting = [each for each in policy.table.rules if each in spoken.values()]
    redacting = [each for each in redacting if each.action == "redact"]
    if redacting and action != "block":
        taken_out = {name for name, each in spoken.items() if each in redacting}
        stay = {name for name in all_names() if not is_on(policy, name)} | set(names) - taken_out
        body = without(policy, request, taken_out, stay)
        if body is None:
            action, rule = "block", redacting[0]
            reason = (
                f"Privacy Violation: {called(spoken, rule)[0]} is to be taken "
                "out of what this agent is sent, and that is not possible where it stands"
            )

    if observes:
        would: dict[str, Any] = {"decision": action, "rule": rule.name}
        if closed:
            would = {"decision": "refuse", "rule": closed}
        elif action in ("allow", "redact"):
            would["decision"] = "allow"
            would |= {} if body is None else {"redacted": True}
        more = {"decision": "allow", "rule": "observe", "would": would}
        records = [record("request", described | more)]
        spared = bool(closed) or action != "allow"
        return verdict | {
            "quarantined": False,
            "body": None,
            "spared": spared,
            "records": records,
        }
    if action == "block":
        code = rule.name
        more = {"reason": reason, "code": code, "decision": "block", "rule": code}
        said = {"error": reason, "code": code, "blocked": True, "trust_score": points}
        return answer | {
            "status": 403,
            "decision": "block",
            "code": code,
            "body": said | {"trace_id": trace},
            "records": [record("blocked", described | more)],
        }
    changed = {} if body is None else {"redacted": True}
    if action != "warn":
        more = {"decision": "allow", "rule": rule.name} | changed
        records = [record("request", described | more)]
        return verdict | {
            "quarantined": False,
            "body": body,
            "spared": False,
            "records": records,
        }
    text = warning(policy, points, spoken)
    override = confirmed(policy, request, trace)
    if override is not None and grant is None:
        return {
            "trace_id": trace,
            "ticket_id": override[0],
            "expires_s": override[1],
            "session_id": session_id(request.request_id),
            "warning": text,
            "trust_score": points,
            "time_ns": request.time_ns,
        }
    if override is not None and grant is not None and grant.granted:
        more = {"decision": "allow", "rule": "override", "quarantined": True} | changed
        said = {"warning": text, "trust_score": points, "session_id": grant.session_id}
        return verdict | {
            "quarantined": True,
            "body": body,
            "spared": False,
            "records": [record("request", described | more), record("user_override", said)],
        }
    more = {"warning": text, "code": rule.name, "decision": "warn", "rule": rule.name}
    can_override = policy.override != OverrideMode.OFF
    said = {"warning": text, "code": rule.name, "requires_override": can_override}
    token = ""
    if policy.override == OverrideMode.TICKET:
        token = tickets.issue(
            policy.ticket_key,
            bound(policy, request, trace),
            request_id=request.request_id,
            now_s=request.time_ns // 10**9,
        )
        said["override_token"] = token
    said |= {
        "trust_score": points,
        "message": override_message(policy.override, token, trace),
        "trace_id": trace,
    }
    return answer | {
        "status": 449,
        "decision": "warn",
        "code": rule.name,
        "body": said,
        "records": [record("warning", described | more)],
    }
