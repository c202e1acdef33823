"""What the record says of an answer, in plain Python."""

from __future__ import annotations

import contextlib
import re
from typing import Any

from iatp.decisions.policy import GatePolicy
from tests.twins.answer import DELTA, across, count, scrub_deltas
from tests.twins.content import (
    RefusedError,
    beginning,
    coding,
    from_latin,
    inflated,
    is_stream,
    media,
)
from tests.twins.reading import counts, cut, find, name_of, pairs, read_loose, scrub
from tests.twins.scan import FORM, JSON, TEXT, characters, scan
from tests.twins.scan import find as find_text
from tests.twins.tails import as_string, parsed

LOOKAHEAD = 512
BREAKS = b"\"'`,;<>()[]{}|" + bytes(range(33))


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


def answer_findings(
    policy: GatePolicy, content_type: bytes, encoding: bytes, answer: bytes
) -> tuple[tuple[int, int], ...]:
    """Return how many there are of each finding in an answer that is read as it passes."""
    is_json, is_form, _ = media(content_type)
    begun = answer[: policy.record_body_bytes + LOOKAHEAD]
    form = FORM if is_form else TEXT
    if name := coding(encoding):
        pieces: list[bytes] = []
        # Up to where it is broken.
        with contextlib.suppress(RefusedError):
            pieces.extend(inflated(answer, name))
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
        try:
            window, all_of_it = beginning(window, name, limit + LOOKAHEAD)
        except RefusedError as refused:
            return {"response": None, "response_omitted": refused.code} | counted(found)
        whole = whole and all_of_it
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
