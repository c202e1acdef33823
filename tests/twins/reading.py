"""What is found in a payload and what is left without it, in plain Python."""

from __future__ import annotations

import re
from contextvars import ContextVar
from urllib.parse import quote

from iatp.decisions.policy import GatePolicy
from iatp.values.exchange import FINDINGS, REDACTED, Request
from iatp.values.policy import Pattern
from tests.twins import patterns as own
from tests.twins.content import RefusedError, coding, decoded, from_latin, media
from tests.twins.layers import TOO_MUCH
from tests.twins.scan import FORM, JSON, TARGET, TEXT, Seen, scan
from tests.twins.scan import redact as redact_spans

Found = list[Seen]
PATTERNS: ContextVar[tuple[Pattern, ...]] = ContextVar("patterns", default=())
"""Those of the policy that is in force while one call lasts."""


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
    end = cut_at(out, len(out) - 512)
    tail = out[end:]
    out = out[:end] + scrub(tail, find(tail, TEXT))
    return out[: cut_at(out, limit)]


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


def is_entry(request: Request) -> bool:
    return request.method == "POST" and request.target.split(b"?")[0] == b"/proxy"


def check_head(request: Request) -> tuple[str, bool, bool, str]:
    name = coding(request.content_encoding)
    is_json, is_form, charset = media(request.content_type)
    if charset == "unreadable" or (charset == "latin" and is_entry(request)):
        raise RefusedError("unsupported_charset")
    return name, is_json, is_form, charset


TEXTS = ("application/xml", "application/yaml", "application/x-ndjson", "application/jsonl")


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
