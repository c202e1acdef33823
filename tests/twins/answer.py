"""What is found in an agent's answer, in plain Python: in its text, and across its deltas."""

from __future__ import annotations

import re

from iatp._fast.answer import DELTA_KEYS
from iatp.values.exchange import REDACTED
from tests.twins.scan import JSON, Seen, characters, find, name_of, pairs

DELTA = re.compile(
    rb'"(?:%b)"[ \t]*:[ \t]*"((?:[^"\\\r\n]|\\[^\r\n])*)"' % "|".join(DELTA_KEYS).encode()
)
LONGEST_LINE = 1 << 16


def across(text: bytes) -> list[tuple[Seen, list[tuple[int, int]]]]:
    """Return what is spread over several deltas, with the part of each that it takes."""
    places: list[int] = []
    deltas: list[int] = []
    for number, match in enumerate(DELTA.finditer(text)):
        places += range(*match.span(1))
        deltas += [number] * len(match[1])
    joined = bytes(text[place] for place in places)
    found = []
    for span in find(characters(joined, JSON)):
        _, start, end, _, _ = span
        parts: dict[int, list[int]] = {}
        for at in range(start, end):
            parts.setdefault(deltas[at], []).append(places[at])
        if len(parts) > 1:
            found.append((span, [(part[0], part[-1] + 1) for part in parts.values()]))
    return found


def scrub_deltas(text: bytes) -> bytes:
    for (kind, *_), parts in reversed(across(text)):
        for number, (start, end) in reversed(list(enumerate(parts))):
            text = text[:start] + (b"" if number else REDACTED[kind].encode()) + text[end:]
    return text


def count(text: bytes, form: int, *, events: bool = False) -> tuple[tuple[int, int], ...]:
    """Return how many there are of each finding in a text that is read as it passes."""
    found = [name_of(span) for span in find(characters(text, form))]
    if events:
        lines = text.splitlines(keepends=True)
        short = b"".join(line for line in lines if len(line) <= LONGEST_LINE)
        found += [name_of(span) for span, _ in across(short)]
    return pairs(found)
