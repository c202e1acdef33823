"""What the gate must do, in plain Python; the truth that iatp/_fast/gate is held against.

Verdicts are dicts, records are parsed. The scan is its twin too, so nothing here is compiled.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import zlib
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from iatp.decisions import tickets
from iatp.decisions.policy import GatePolicy, OverrideMode, override_message, session_id
from iatp.values.errors import FAILURES
from iatp.values.exchange import FINDINGS, KINDS, REDACTED, Grant, Request, kind_of
from iatp.values.policy import Pattern, Rule
from tests.twins import patterns as own
from tests.twins.answer import DELTA, across, count, scrub_deltas
from tests.twins.layers import TOO_MUCH
from tests.twins.mac import mac
from tests.twins.scan import FORM, JSON, TARGET, TEXT, Seen, characters, scan
from tests.twins.scan import find as find_text
from tests.twins.scan import redact as redact_spans

LOOKAHEAD = 512
BREAKS = b"\"'`,;<>()[]{}|" + bytes(range(33))
POINTS = {"verified_partner": 10, "trusted": 7, "standard": 5, "unknown": 2, "untrusted": 0}
LATIN = {"iso-8859-1", "iso8859-1", "latin-1", "latin1", "windows-1252", "cp1252"}
ASCII = {"utf-8", "utf8", "us-ascii", "ascii"}

Found = list[Seen]

PATTERNS: ContextVar[tuple[Pattern, ...]] = ContextVar("patterns", default=())
"""Those of the policy that is in force while one call lasts."""


class RefusedError(Exception):
    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code)
        self.code, self.detail = code, detail


def score(policy: GatePolicy) -> int:
    points = POINTS[policy.trust_level]
    points += 2 if policy.reversibility != "none" else 0
    points += 1 if policy.retention == "ephemeral" else 0
    points -= 1 if policy.retention in ("permanent", "forever") else 0
    points -= 2 if policy.human_in_loop else 0
    points -= 1 if policy.training_consent else 0
    return min(10, max(0, points))


def find(data: bytes, form: int) -> Found:
    found = scan(data, form)
    if found.error == TOO_MUCH:
        raise RefusedError("body_too_large")
    if patterns := PATTERNS.get():
        return own.find(data, form, [pattern.regex for pattern in patterns])
    return [(*span, which) for span, which in zip(found.spans, found.secrets, strict=True)]


def name_of(span: Seen) -> str:
    return own.name_of(span, [pattern.name for pattern in PATTERNS.get()])


def all_names() -> list[str]:
    return [*FINDINGS, *(pattern.finding for pattern in PATTERNS.get())]


def pairs(names: list[str]) -> tuple[tuple[int, int], ...]:
    """Return how many there are of each, by their numbers in the gate's `names`."""
    return tuple(
        (number, names.count(name)) for number, name in enumerate(all_names()) if name in names
    )


def counts(numbered: tuple[tuple[int, int], ...]) -> dict[str, int]:
    return {all_names()[number]: count for number, count in numbered}


def scrub(data: bytes, spans: Found) -> bytes:
    """Return the text with every span replaced, those of one range by one mark."""
    return redact_spans(data, list({span[1:3]: span for span in reversed(spans)}.values())[::-1])


def readable(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def cut_at(data: bytes, limit: int) -> int:
    if len(data) <= limit:
        return len(data)
    for at in range(limit, max(limit - 4, -1), -1):
        if data[at] & 0xC0 != 0x80:
            width = 4 if data[at] >= 0xF0 else 3 if data[at] >= 0xE0 else 2
            splits = data[at] >= 0xC2 and at < limit < at + width
            return at if splits else limit
    return limit


def cut(data: bytes, spans: Found, limit: int) -> bytes:
    end = cut_at(data, limit)
    spans = [span for span in spans if span[1] < end]
    if spans:
        end = max(end, spans[-1][2])
    out = scrub(data[:end], spans)
    if end == len(data) and len(out) <= limit:
        return out
    out = out[: cut_at(out, limit)]
    end = cut_at(out, len(out) - 1024)
    tail = out[end:]
    out = out[:end] + scrub(tail, find(tail, TEXT))
    return out[: cut_at(out, limit)]


def media(content_type: bytes) -> tuple[bool, bool, str]:
    """Return whether it is JSON, whether a form, and "utf-8", "latin" or "unreadable"."""
    text = content_type.decode("latin-1")
    kind = text.split(";")[0].strip(" \t\n\r\x0b\x0c").lower()
    is_json = kind in ("application/json", "text/json") or bool(
        re.fullmatch(r"application/.*\+json", kind, re.DOTALL)
    )
    is_form = kind == "application/x-www-form-urlencoded"
    names = []
    for parameter in text.lower().split(";")[1:]:
        if match := re.search("charset(.*)", parameter, re.DOTALL):
            suffix, _, name = match[1].partition("=")
            names.append((suffix.strip(" \t\n\r\x0b\x0c"), name.strip(" \t\"'")))
    if any(suffix or name not in LATIN | ASCII for suffix, name in names):
        return is_json, is_form, "unreadable"
    kinds = {name in LATIN for _, name in names}
    if len(kinds) == 2 or (kinds == {True} and is_json):
        return is_json, is_form, "unreadable"
    return is_json, is_form, "latin" if kinds == {True} else "utf-8"


def coding(value: bytes) -> str:
    name = value.strip().lower()
    if name in (b"", b"identity"):
        return ""
    if name in (b"gzip", b"deflate"):
        return name.decode()
    raise RefusedError("unsupported_coding")


def window_bits(data: bytes, name: str) -> int:
    if name == "gzip":
        return 31
    is_zlib = len(data) > 1 and data[0] % 16 == 8 and int.from_bytes(data[:2], "big") % 31 == 0
    return 15 if is_zlib else -15


def decoded(data: bytes, name: str, limit: int) -> bytes:
    out = b""
    members = 0
    while data:
        members += 1
        if members > 1000:
            raise RefusedError("malformed_coding")
        inflater = zlib.decompressobj(window_bits(data, name))
        try:
            out += inflater.decompress(data, limit + 1 - len(out))
        except zlib.error:
            raise RefusedError("malformed_coding") from None
        if len(out) > limit:
            raise RefusedError("body_too_large")
        if not inflater.eof or (inflater.unused_data and name == "deflate"):
            raise RefusedError("malformed_coding")
        data = inflater.unused_data
    return out


def from_latin(data: bytes) -> bytes:
    holes = b"\x81\x8d\x8f\x90\x9d"
    return "".join(
        chr(byte) if byte in holes else bytes([byte]).decode("cp1252") for byte in data
    ).encode()


def may_hold_json(text: bytes) -> bool:
    return text.lstrip(b" \t\r\n")[:1] in (b"{", b"[", b'"') or b"\\u" in text


def read_loose(text: bytes, form: int) -> tuple[bytes, Found, list[str]]:
    """Return the text for the record, its spans, and the names of all that was found."""
    names: list[str] = []
    if may_hold_json(text):
        spans = find(text, JSON)
        names += map(name_of, spans)
        text = scrub(text, spans)
    if b"\0" in text and find(text.replace(b"\0", b""), TEXT):
        text = text.replace(b"\0", b"")
    spans = find(text, form)
    return text, spans, names + [name_of(span) for span in spans]


def as_string(name: str, text: bytes) -> dict[str, Any]:
    try:
        return {name: text.decode()}
    except UnicodeDecodeError:
        return {name: base64.b64encode(text).decode(), f"{name}_encoding": "base64"}


def is_entry(request: Request) -> bool:
    return request.method == "POST" and request.target.split(b"?")[0] == b"/proxy"


def check_head(request: Request) -> tuple[str, bool, bool, str]:
    name = coding(request.content_encoding)
    is_json, is_form, charset = media(request.content_type)
    if charset == "unreadable" or (charset == "latin" and is_entry(request)):
        raise RefusedError("unsupported_charset")
    return name, is_json, is_form, charset


LABELS = {
    "credit_card": "a credit card number",
    "ssn": "a social security number",
    "email": "an e-mail address",
    "secret": "a secret",
    "iban": "an IBAN",
    "custom": "what a pattern of its policy names",
}
STRENGTHS = ["allow", "redact", "warn", "block"]
TEXTS = ("application/xml", "application/yaml", "application/x-ndjson", "application/jsonl")


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


def replaced(data: bytes, spans: Found, names: set[str], *, form: bool = False) -> bytes:
    chosen = {span[1:3]: span for span in reversed(spans) if name_of(span) in names}
    for span in sorted(chosen.values(), key=lambda span: span[1], reverse=True):
        kind, start, end, quoted, _ = span
        if name_of(span) in names:
            mark = REDACTED[kind].encode()
            quotes = b"\\" * (2 ** (quoted - 1) - 1) + b'"' if quoted else b""
            mark = quotes + mark + quotes
            if form:
                mark = quote(mark).encode()
            data = data[:start] + mark + data[end:]
    return data


def without(policy: GatePolicy, request: Request, names: set[str], stay: set[str]) -> bytes | None:
    """Return the decoded body without these findings, or None where that cannot be done.

    `stay`: the others that were found, or are off. No further one may appear.
    """
    name, is_json, is_form, charset = check_head(request)
    body = decoded(request.body, name, policy.max_body_bytes) if name else request.body
    if named(find(request.target, TARGET)) & names:
        return None
    if is_entry(request) or (is_json and body):
        out = replaced(body, find(body, JSON), names)
        return None if scan(out, JSON).error or named(find(out, JSON)) - stay else out
    text_type = request.content_type.decode("latin-1").split(";")[0]
    text_type = text_type.strip(" \t\n\r\x0b\x0c").lower()
    is_text = (
        text_type in ("", *TEXTS)
        or text_type.startswith("text/")
        or re.fullmatch(r"application/.*\+xml", text_type, re.DOTALL)
    )
    if not (is_form or is_text) or b"\0" in body:
        return None
    out = from_latin(body) if charset == "latin" else body
    if may_hold_json(out):
        out = replaced(out, find(out, JSON), names, form=is_form)
    form = FORM if is_form else TEXT
    out = replaced(out, find(out, form), names, form=is_form)
    if set(read_loose(out, form)[2]) - stay:
        return None
    if charset != "latin":
        return out
    return b"".join(
        letter.encode("latin-1" if "\x80" <= letter < "\xa0" else "cp1252")
        for letter in out.decode()
    )


def named(spans: Found) -> set[str]:
    return {name_of(span) for span in spans}


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


def parsed(data: bytes) -> Any:
    """Return JSON as a value in which duplicate keys stay visible."""
    return json.loads(data, object_pairs_hook=lambda pairs: ["object", *pairs])


def trace_id(request: Request) -> str:
    given = request.trace_id
    shaped = re.fullmatch(rb"[A-Za-z0-9._-]{1,128}", given) and given not in (b".", b"..")
    return given.decode() if shaped and not find(given, TEXT) else request.request_id


def common(policy: GatePolicy, kind: str, ids: tuple[str, str], ns: int, mono: int) -> Any:
    time = datetime(1970, 1, 1) + timedelta(microseconds=ns // 1000)
    return {
        "type": kind,
        "trace_id": ids[0],
        "request_id": ids[1],
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "agent_id": policy.agent_id,
        "mono_ns": mono,
    }


def about(request: Request) -> dict[str, str]:
    def clean(text: str) -> str:
        data = text.encode("utf-8", "backslashreplace")
        return readable(scrub(data, find(data, TEXT)))

    return {
        "method": clean(request.method),
        "path": readable(scrub(request.target, find(request.target, TARGET))),
        "caller": clean(request.caller),
        "peer": request.peer,
    }


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


def settled(text: bytes) -> int:
    """Return how much of a text that goes on can hold no part of a value cut off at its end."""
    words = re.split(rb"(?<=[" + re.escape(BREAKS) + rb"])", text)
    words.pop()
    while words and words[-1][-1:] <= b" " and words[-1]:
        # The word that ends with this break is made of all before it back to the last break.
        if not re.search(rb"[0-9\x80-\xff]", words[-1]):
            break
        words.pop()
    return sum(map(len, words))


def is_stream(content_type: bytes) -> bool:
    kind = content_type.split(b";")[0].strip().lower()
    return bool(
        re.fullmatch(rb"text/event-stream|application/((x-)?ndjson|jsonl|x-jsonlines)", kind)
    )


def answer_findings(
    policy: GatePolicy, content_type: bytes, encoding: bytes, answer: bytes
) -> tuple[tuple[int, int], ...]:
    """Return how many there are of each finding in an answer that is read as it passes."""
    is_json, is_form, _ = media(content_type)
    begun = answer[: policy.record_body_bytes + LOOKAHEAD]
    form = FORM if is_form else TEXT
    if name := coding(encoding):
        inflater = zlib.decompressobj(window_bits(answer, name))
        pieces: list[bytes] = []
        # Up to where it is broken.
        with contextlib.suppress(zlib.error):
            pieces.extend(inflater.decompress(bytes([byte])) for byte in answer)
        answer = b"".join(pieces)[: policy.max_body_bytes]
    elif begun.lstrip(b" \t\r\n")[:1] in (b"{", b"[", b'"') or b"\\u" in begun:
        form = JSON
    if is_json or is_stream(content_type):
        form = JSON
    return count(answer, form, events=is_stream(content_type))


def answer_fields(
    policy: GatePolicy, content_type: bytes, encoding: bytes, answer: bytes, *, whole: bool
) -> dict[str, Any]:
    """Return the fields of a `response` record that hold the agent's answer."""
    limit = policy.record_body_bytes
    window = answer[: limit + LOOKAHEAD]
    whole = whole and len(window) == len(answer)
    is_json, is_form, charset = media(content_type)
    events = is_stream(content_type)
    if not window:
        return {"response": None}
    try:
        name = coding(encoding)
    except RefusedError:
        return {"response": None, "response_omitted": "unknown_coding"}
    if charset == "unreadable":
        return {"response": None, "response_omitted": "unknown_charset"}
    found: tuple[tuple[int, int], ...] | None = None
    if (name and len(answer) > 1) or len(answer) > limit + LOOKAHEAD:
        found = answer_findings(policy, content_type, encoding, answer)
    if name:
        inflater = zlib.decompressobj(window_bits(window, name))
        try:
            window = inflater.decompress(window, limit + LOOKAHEAD)
        except zlib.error:
            return {"response": None, "response_omitted": "malformed_coding"} | counted(found)
        whole = whole and inflater.eof and not inflater.unused_data
    if charset == "latin":
        window = from_latin(window)
    if is_json and whole and len(window) <= limit and scan(window, JSON).error is None:
        spans = find(window, JSON)
        names = [name_of(span) for span in spans]
        return {"response": parsed(scrub(window, spans))} | counted(found, names)
    more: list[str] = []
    if events:
        if not whole:
            window = window[: settled_deltas(window)]
        more = [name_of(span) for span, _ in across(window)]
        window = scrub_deltas(window)
    try:
        text, spans, names = read_loose(window, FORM if is_form else TEXT)
    except RefusedError:
        return {"response": None, "response_omitted": "too_much_encoded"} | counted(found)
    if not whole:
        limit = min(limit, settled(text))
    return as_string("response", cut(text, spans, limit)) | counted(found, names + more)


def counted(
    found: tuple[tuple[int, int], ...] | None, names: list[str] | None = None
) -> dict[str, Any]:
    """Return `findings`, of what was read as it passed or else of `names`, where there are any."""
    if found is None:
        found = pairs(names or [])
    return {"findings": counts(found)} if found else {}


def settled_deltas(text: bytes) -> int:
    """Return how much of a stream that goes on has no delta that may be part of a value."""
    places = [place for match in DELTA.finditer(text) for place in range(*match.span(1))]
    if not places:
        return len(text)
    joined = bytes(text[place] for place in places)
    cut = settled(joined)
    for _, start, end, _, _ in find_text(characters(joined, JSON)):
        if start < cut < end:
            cut = start
    return places[cut] if cut < len(places) else len(text)
