"""What is encoded in a text, in plain Python; the truth for iatp/_fast/layers and the scan.

A layer that is undone is the new bytes with the place of each in the old ones. Slow, and copies
as it likes.
"""

from __future__ import annotations

import base64
import html.entities
import re
from collections.abc import Callable
from typing import NamedTuple

from iatp.values.characters import SEPARATORS
from tests.twins import scan

TOO_MUCH = "too much is encoded in it"


class TooMuchError(Exception):
    pass


class Budget:
    def __init__(self, size: int) -> None:
        self.left = max(16 * size, 1 << 20)

    def take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise TooMuchError


class Depth(NamedTuple):
    """How often a text may still be undone."""

    json: int
    coded: int
    budget: Budget


# Layers.


class Layer(NamedTuple):
    data: bytes
    starts: list[int]
    ends: list[int]

    def back(self, spans: list[scan.Span]) -> list[scan.Span]:
        return [
            (kind, self.starts[start], self.ends[end - 1], quoted)
            for kind, start, end, quoted in spans
        ]


def undo(data: bytes, token: re.Pattern[bytes], meaning: Callable[[bytes], bytes]) -> Layer:
    out, starts, ends = bytearray(), list[int](), list[int]()
    at = 0
    while at < len(data):
        match = token.match(data, at)
        piece = meaning(match[0]) if match else data[at : at + 1]
        end = match.end() if match else at + 1
        if match and match[0].startswith(b"&"):
            piece, length = entity(match[0])
            end = at + length
        out += piece
        starts += [at] * len(piece)
        ends += [end] * len(piece)
        at = end
    return Layer(bytes(out), starts, ends)


ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|\\u[0-9a-fA-F]{4}|\\[\"\\/bfnrt]"
)


def escape(token: bytes) -> bytes:
    if len(token) == 2:
        return scan.ESCAPES[chr(token[1])].encode()
    units = b"".join(bytes.fromhex(token[at : at + 4].decode()) for at in range(2, len(token), 6))
    return units.decode("utf-16-be", "replace").encode()


PERCENT = re.compile(rb"%[0-9a-fA-F]{2}")
FORM = re.compile(rb"%[0-9a-fA-F]{2}|\+")
CODE = re.compile(rb"%[0-9a-fA-F]{2}|&(?:#[0-9]|#[xX][0-9a-fA-F]|[0-9a-zA-Z])[0-9a-zA-Z]{0,24};?")
MAYBE_CODE = re.compile(rb"%[0-9a-fA-F]{2}|&[#0-9a-zA-Z].", re.DOTALL)
NAMES = {
    name: meaning
    for name, meaning in html.entities.html5.items()
    if len(meaning) == 1 and (ord(meaning) < 0x80 or ord(meaning) in SEPARATORS)
}


def percent(token: bytes) -> bytes:
    return b" " if token == b"+" else bytes.fromhex(token[1:].decode())


def code(token: bytes) -> bytes:
    return b"" if token.startswith(b"&") else percent(token)


def entity(token: bytes) -> tuple[bytes, int]:
    """Return what an entity means and how long it is; what is none is its ampersand."""
    number = re.match(rb"&#(?:[xX]([0-9a-fA-F]{1,24})|([0-9]{1,24}));?", token)
    if number:
        value = int(number[1], 16) if number[1] else int(number[2])
        valid = 0 < value <= 0x10FFFF and not 0xD800 <= value < 0xE000
        return (chr(value) if valid else "\ufffd").encode(), number.end()
    match = re.match(rb"&([0-9a-zA-Z]{1,24})(;?)", token)
    assert match
    name = match[1].decode()
    if match[2] and f"{name};" in NAMES:
        return NAMES[f"{name};"].encode(), match.end()
    for length in range(min(len(name), 6), 1, -1):
        if name[:length] in NAMES:
            return NAMES[name[:length]].encode(), 1 + length
    return b"&", 1


# Reading.


def merge(*many: list[scan.Span]) -> list[scan.Span]:
    """Return all spans in order; those that overlap become one, of each kind that is among them."""
    merged: list[scan.Span] = []
    rest = sorted((span for spans in many for span in spans), key=lambda span: span[1:3])
    while rest:
        start, end = rest[0][1:3]
        cluster: list[scan.Span] = []
        while rest and (not cluster or rest[0][1] < end):
            cluster.append(rest.pop(0))
            end = max(end, cluster[-1][2])
        kinds = sorted({span[0] for span in cluster})
        quoted = max(span[3] for span in cluster if span[1:3] == (start, end)) if (
            any(span[1:3] == (start, end) for span in cluster)
        ) else 0  # fmt: skip
        if len(kinds) == 1:
            merged.append((kinds[0], start, end, quoted))
        else:
            merged += shared(kinds, start, end)
    return merged


def shared(kinds: list[int], start: int, end: int) -> list[scan.Span]:
    """Return one span for each kind, a byte long but for the last; together they cover all."""
    last = len(kinds) - 1
    return [
        (kind, start + place, end if place == last else start + place + 1, 0)
        for place, kind in enumerate(kinds)
    ]


def inside(data: bytes, form: int, key: str, depth: Depth) -> list[scan.Span]:
    """Return what is found in what is encoded in one text."""
    if form == scan.JSON:
        layer = undo(data, ESCAPE, escape)
        return layer.back(deeper(unfold(layer.data, key, depth)))
    if form == scan.TEXT:
        return unfold(data, key, depth)
    layer = undo(data, FORM if form == scan.FORM else PERCENT, percent)
    return layer.back(unfold(layer.data, key, depth))


def deeper(spans: list[scan.Span]) -> list[scan.Span]:
    """Return the spans with quotes that are escaped once more."""
    return [(kind, start, end, quoted and quoted + 1) for kind, start, end, quoted in spans]


def unfold(data: bytes, key: str, depth: Depth) -> list[scan.Span]:
    spans: list[scan.Span] = []
    json, coded, budget = depth
    if json and data.lstrip(b" \t\r\n")[:1] in (b"{", b"[", b'"'):
        if scan.Json(data).read().error is None:
            budget.take(len(data))
            return scan.Json(data, key, depth._replace(json=json - 1)).read().spans
    if json and ESCAPE.search(data):
        budget.take(len(data))
        layer = undo(data, ESCAPE, escape)
        found = decoded(layer.data, key, depth._replace(json=json - 1))
        spans = merge(spans, layer.back(deeper(found)))
    if coded and MAYBE_CODE.search(data):
        budget.take(len(data))
        layer = undo(data, CODE, code)
        spans = merge(spans, layer.back(decoded(layer.data, key, depth._replace(coded=coded - 1))))
    if coded:
        spans = merge(spans, runs(data, key, depth._replace(coded=coded - 1)))
    return spans


def decoded(data: bytes, key: str, depth: Depth) -> list[scan.Span]:
    plain = scan.find(scan.characters(data, scan.TEXT), key)
    return merge(plain, unfold(data, key, depth))


# Runs.

RUN = re.compile(rb"[A-Za-z0-9+/_-]{15,}")
LINE = re.compile(rb"\r?\n[ \t]*([A-Za-z0-9+/_-]+)")
HEX = re.compile(rb"[0-9a-fA-F]{18,}")
NUMBER = re.compile(rb"[0-9 \t_./-]{9}")
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def runs(data: bytes, key: str, depth: Depth) -> list[scan.Span]:
    spans: list[scan.Span] = []
    at = 0
    while match := RUN.search(data, at):
        start, at = match.span()
        width = at - start
        while width % 4 == 0 and (line := LINE.match(data, at)) and len(line[1]) <= width:
            at = line.end()
            if len(line[1]) < width:
                break
        while data[at : at + 1] == b"=":
            at += 1
        depth.budget.take(at - start)
        packed = re.sub(rb"[^A-Za-z0-9+/_-]", b"", data[start:at])
        found: list[scan.Span] = []
        for skip in range(4):
            whole, more = in_run(from_base64(packed[skip:]), skip == 0, key, depth)
            found = merge(found, cover(more, start, at))
            if whole:
                break
        for digits in HEX.finditer(data, start, at):
            for skip in range(2):
                pairs = digits[0][skip:]
                raw = bytes.fromhex(pairs[: len(pairs) // 2 * 2].decode())
                whole, more = in_run(raw, True, key, depth)
                found = merge(found, cover(more, *digits.span()))
                if whole:
                    break
        spans += found
    return spans


def from_base64(run: bytes) -> bytes:
    run = run[: len(run) - (len(run) % 4 == 1)]
    return base64.urlsafe_b64decode(
        run.replace(b"+", b"-").replace(b"/", b"_") + b"=" * (-len(run) % 4)
    )


def in_run(raw: bytes, whole: bool, key: str, depth: Depth) -> tuple[bool, list[int]]:
    """Return whether a run holds a text, and the kinds of what is found in it."""
    try:
        is_text = whole and CONTROL.search(raw.decode()) is None
    except UnicodeDecodeError:
        is_text = False
    if is_text:
        return True, [span[0] for span in decoded(raw, key, depth)]
    if not NUMBER.search(raw):
        return False, []
    found = scan.find(scan.characters(raw, scan.TEXT), key)
    return False, [span[0] for span in found if span[0] in (scan.CARD, scan.SSN)]


def cover(kinds: list[int], start: int, end: int) -> list[scan.Span]:
    return shared(kinds, start, end) if kinds else []
