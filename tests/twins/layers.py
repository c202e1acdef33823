"""What is encoded in a text, in plain Python; the truth for iatp/_fast/layers and the scan.

A layer that is undone is the new bytes with the place of each in the old ones. Slow, and copies
as it likes.
"""

from __future__ import annotations

import base64
import html.entities
import re
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from iatp.values.characters import SEPARATORS
from iatp.values.secrets import FIRST_WORDS, LAST_WORDS
from tests.twins import scan

TOO_MUCH = "too much is encoded in it"


class TooMuchError(Exception):
    pass


CLOSE = re.compile(rb"[0-9@%&=:\\]")
LAST, FIRST = ("|".join(words).encode() for words in (LAST_WORDS, FIRST_WORDS))
JOINED = rb"[0-9A-Za-z\x80-\xff]"
CLOSE_WORD = re.compile(rb"(?i:%b|(?<!%b)(?:%b))(?!%b)" % (LAST, JOINED, FIRST, JOINED))


def close_count(data: bytes, *, again: bool = True) -> int:
    """Return what a text that was undone counts for: it is one, and what is read closely in it.

    `again`: it was undone more than once.
    """
    words = len(CLOSE_WORD.findall(data)) if again else 0
    return 16 + len(CLOSE.findall(data)) + 8 * words


class Known(NamedTuple):
    """A text that was undone and read, how it was, and what it came to."""

    data: bytes
    json: int
    coded: int
    says: bool


class Budget:
    def __init__(self, size: int) -> None:
        self.left = max(16 * size, 1 << 20)
        self.close = max(4 * size, 1 << 18)
        self.known: deque[tuple[Known, int, list[scan.Seen]]] = deque(maxlen=32)

    def take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise TooMuchError

    def take_close(self, data: bytes, depth: Depth) -> None:
        self.close -= close_count(data, again=depth.json + depth.coded < 4)
        if self.close < 0:
            raise TooMuchError

    def take_found(self, count: int) -> None:
        """Count what was found in such a text, as it stands."""
        self.close -= 20 * count
        if self.close < 0:
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

    def back(self, spans: list[scan.Seen]) -> list[scan.Seen]:
        return [
            (kind, self.starts[start], self.ends[end - 1], quoted, which)
            for kind, start, end, quoted, which in spans
        ]


def undo(
    data: bytes, token: re.Pattern[bytes], meaning: Callable[[bytes], tuple[bytes, int]]
) -> Layer:
    """Return the bytes with what `token` matches replaced by what it means.

    `meaning` gives that and how much of the token it is of.
    """
    out, starts, ends = bytearray(), list[int](), list[int]()
    at = 0
    while at < len(data):
        match = token.match(data, at)
        piece, length = meaning(match[0]) if match else (data[at : at + 1], 1)
        out += piece
        starts += [at] * len(piece)
        at += length
        ends += [at] * len(piece)
    return Layer(bytes(out), starts, ends)


ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|\\u[0-9a-fA-F]{4}|\\[\"\\/bfnrt]"
)


def escape(token: bytes) -> tuple[bytes, int]:
    if len(token) == 2:
        return scan.ESCAPES[chr(token[1])].encode(), 2
    units = b"".join(bytes.fromhex(token[at : at + 4].decode()) for at in range(2, len(token), 6))
    return units.decode("utf-16-be", "replace").encode(), len(token)


PERCENT = re.compile(rb"%[0-9a-fA-F]{2}")
FORM = re.compile(rb"%[0-9a-fA-F]{2}|\+")
CODE = re.compile(rb"%[0-9a-fA-F]{2}|&(?:#[0-9]|#[xX][0-9a-fA-F]|[0-9a-zA-Z])[0-9a-zA-Z]{0,24};?")
NAMES = {
    name: meaning
    for name, meaning in html.entities.html5.items()
    if len(meaning) == 1 and (ord(meaning) < 0x80 or ord(meaning) in SEPARATORS)
}


def percent(token: bytes) -> tuple[bytes, int]:
    return b" " if token == b"+" else bytes.fromhex(token[1:].decode()), len(token)


def code(token: bytes) -> tuple[bytes, int]:
    return entity(token) if token.startswith(b"&") else percent(token)


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


def merge(*many: list[scan.Seen]) -> list[scan.Seen]:
    """Return all spans in order; those that overlap become one, of each kind that is among them.

    Of several secrets it is the last of the table.
    """
    merged: list[scan.Seen] = []
    rest = sorted((span for spans in many for span in spans), key=lambda span: span[1:3])
    while rest:
        start, end = rest[0][1:3]
        cluster: list[scan.Seen] = []
        while rest and (not cluster or rest[0][1] < end):
            cluster.append(rest.pop(0))
            end = max(end, cluster[-1][2])
        among = {
            kind: max(span[4] for span in cluster if span[0] == kind)
            for kind in sorted({span[0] for span in cluster})
        }
        quoted = max((span[3] for span in cluster if span[1:3] == (start, end)), default=0)
        if len(among) == 1:
            [(kind, which)] = among.items()
            merged.append((kind, start, end, quoted, which))
        else:
            merged += shared(list(among.items()), start, end)
    return merged


Named = tuple[int, int]
"""A kind, and which secret it is or -1."""


def shared(among: list[Named], start: int, end: int) -> list[scan.Seen]:
    """Return one span for each, a byte long but for the last; together they cover all."""
    last = len(among) - 1
    return [
        (kind, start + place, end if place == last else start + place + 1, 0, which)
        for place, (kind, which) in enumerate(among)
    ]


def inside(data: bytes, form: int, key: str, depth: Depth) -> list[scan.Seen]:
    """Return what is found in what is encoded in one text."""
    if form == scan.JSON:
        layer = undo(data, ESCAPE, escape)
        return layer.back(deeper(unfold(layer.data, key, depth)))
    if form == scan.TEXT:
        return unfold_texts(data, depth)
    layer = undo(data, FORM if form == scan.FORM else PERCENT, percent)
    return layer.back(unfold_texts(layer.data, depth))


TEXT = re.compile(
    rb"(?:[\t\n\r\x20-\x7e]|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]"
    rb"|\xed[\x80-\x9f][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xf0[\x90-\xbf][\x80-\xbf]{2}"
    rb"|\xf4[\x80-\x8f][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3})+"
)


def unfold_texts(data: bytes, depth: Depth) -> list[scan.Seen]:
    """Return what is encoded in the texts of a body, which may be of any bytes."""
    return [
        (kind, run.start() + start, run.start() + end, quoted, which)
        for run in TEXT.finditer(data)
        if len(run[0]) >= 6
        for kind, start, end, quoted, which in unfold(run[0], "", depth)
    ]


def deeper(spans: list[scan.Seen]) -> list[scan.Seen]:
    """Return the spans with quotes that are escaped once more."""
    return [
        (kind, start, end, quoted and quoted + 1, which)
        for kind, start, end, quoted, which in spans
    ]


def document(data: bytes, key: str, depth: Depth, begins: bytes = b"{[") -> list[scan.Seen] | None:
    """Return what is found in a text that is one valid object or array; None where it is none."""
    begin = data.lstrip(b" \t\r\n")[:1]
    if not depth.json or not begin or begin not in begins or scan.Json(data).read().error:
        return None
    depth.budget.take(len(data))
    inner = scan.Json(data, key, depth._replace(json=depth.json - 1))
    inner.read()
    return inner.spans


def unfold(data: bytes, key: str, depth: Depth) -> list[scan.Seen]:
    spans: list[scan.Seen] = []
    json, coded, budget = depth
    value = document(data, key, depth, b'{["')
    if value is not None:
        budget.take_close(data, depth)
        return value
    if json and ESCAPE.search(data):
        layer = undo(data, ESCAPE, escape)
        found = around(layer, key, depth._replace(json=json - 1))
        spans = merge(spans, layer.back(deeper(found)))
    if coded:
        layer = undo(data, CODE, code)
        spans = merge(spans, layer.back(around(layer, key, depth._replace(coded=coded - 1))))
    if coded:
        spans = merge(spans, runs(data, key, depth._replace(coded=coded - 1)))
    return spans


RUNS_ON = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=.\r\n")


def zones(layer: Layer) -> list[tuple[int, int]]:
    """Return the parts of a layer that are read: what changed, and what is around it."""
    data = layer.data
    size = len(data)
    changed = [i for i in range(size) if layer.ends[i] - layer.starts[i] > 1]
    stripped = data.strip(b" \t\r\n")
    like_json = stripped[:1] in (b"{", b"[", b'"') and stripped[-1:] in (b"}", b"]", b'"')
    if not changed:
        return []
    if size <= 4096 or like_json or b"-----BEGIN" in data:
        return [(0, size)]
    parts: list[tuple[int, int]] = []
    behind = 0
    for i in changed:
        # Far enough from the last to be a zone of its own, unless runs lead there.
        start, end = i, max(i + 1, behind)
        while start > behind and data[start - 1] in RUNS_ON:
            start -= 1
        while end < size and data[end] in RUNS_ON:
            end += 1
        behind = end
        start, end = max(0, start - 1024), min(size, end + 1536)
        for _ in range(3):
            start -= start > 0 and 0x80 <= data[start] < 0xC0
            end += end < size and 0x80 <= data[end] < 0xC0
        if parts and start <= parts[-1][1]:
            start = parts.pop()[0]
        parts.append((start, end))
    if 2 * sum(end - start for start, end in parts) < size:
        return parts
    return [(0, size)]


def around(layer: Layer, key: str, depth: Depth) -> list[scan.Seen]:
    """Return what is found around what changed, but for what is too near to where that is cut."""
    spans: list[scan.Seen] = []
    size = len(layer.data)
    parts = zones(layer)
    if parts:
        depth.budget.take(layer.ends[-1])
    for low, high in parts:
        first = low + 512 if low else 0
        last = high - 384 if high < size else size
        spans += [
            (kind, low + start, low + end, quoted, which)
            for kind, start, end, quoted, which in decoded(layer.data[low:high], key, depth)
            if first <= low + start and low + end <= last
        ]
    return spans


def decoded(data: bytes, key: str, depth: Depth) -> list[scan.Seen]:
    """Return what is found in a text that was undone; one that is known is not read again."""
    json, coded, budget = depth
    if json == 3 or coded == 2:
        return anew(data, key, depth)
    text = Known(data, json, coded, scan.KEY_WORDS.search(key) is not None)
    for other, taken, spans in budget.known:
        if other == text:
            budget.take(taken)
            return spans
    left = budget.left
    spans = anew(data, key, depth)
    if len(spans) <= 4096:
        budget.known.append((text, left - budget.left, spans))
    return spans


def anew(data: bytes, key: str, depth: Depth) -> list[scan.Seen]:
    depth.budget.take_close(data, depth)
    value = document(data, key, depth)
    if value is not None:
        return value
    plain = scan.find(scan.characters(data, scan.TEXT), key)
    depth.budget.take_found(len(plain))
    return merge(plain, unfold(data, key, depth))


# Runs.

RUN = re.compile(rb"[A-Za-z0-9+/_-]{15,}")
LINE = re.compile(rb"\r?\n[ \t]*([A-Za-z0-9+/_-]+)")
HEX = re.compile(rb"[0-9a-fA-F]{18,}")
HEX_ALONE = re.compile(rb"[0-9a-fA-F]*")
NUMBER = re.compile(rb"[0-9 \t_./-]{9}")
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def runs(data: bytes, key: str, depth: Depth) -> list[scan.Seen]:
    spans: list[scan.Seen] = []
    at = 0
    while match := RUN.search(data, at):
        start = match.start()
        ends = [match.end()]
        width = ends[0] - start
        while width % 4 == 0 and (line := LINE.match(data, ends[-1])) and len(line[1]) <= width:
            ends.append(line.end())
            if len(line[1]) < width:
                break
        while data[ends[-1] : ends[-1] + 1] == b"=":
            ends[-1] += 1
        at, many = base64_run(data, start, ends, key, depth)
        found = cover(many, start, at)
        for digits in HEX.finditer(data, start, at):
            found = merge(found, cover(hex_run(digits[0], key, depth), *digits.span()))
        spans += found
    return spans


def base64_run(
    data: bytes, start: int, ends: list[int], key: str, depth: Depth
) -> tuple[int, list[list[Named]]]:
    """Return where a run ends and the kinds of what is found in it, for each reading of it."""
    packed = pack(data[start : ends[-1]])
    joints = [i + 1 for i in range(min(63, len(packed) - 15)) if packed[i : i + 1] in b"/-_+"]
    texts = [(ends[-1], packed[skip:]) for skip in (0, *joints[:8])]
    texts += [(end, pack(data[start:end])) for end in (*ends[-2:-1], ends[0])]
    if HEX_ALONE.fullmatch(packed):
        return ends[-1], []
    for end, run in texts:
        if is_text(raw := from_base64(run)):
            depth.budget.take(len(run))
            return end, [kinds(decoded(raw, key, depth))]
    runs = [packed[skip:] for skip in range(4)]
    return ends[-1], [numbers(from_base64(run), len(run), key, depth) for run in runs]


def hex_run(digits: bytes, key: str, depth: Depth) -> list[list[Named]]:
    raws = [
        bytes.fromhex(digits[skip : len(digits) - (len(digits) - skip) % 2].decode())
        for skip in range(2)
    ]
    for skip, raw in enumerate(raws):
        if is_text(raw):
            depth.budget.take(len(digits) - skip)
            return [kinds(decoded(raw, key, depth))]
    return [numbers(raw, len(digits) - skip, key, depth) for skip, raw in enumerate(raws)]


def kinds(spans: list[scan.Seen]) -> list[Named]:
    return [(span[0], span[4]) for span in spans]


def pack(run: bytes) -> bytes:
    return re.sub(rb"[^A-Za-z0-9+/_-]", b"", run)


def from_base64(run: bytes) -> bytes:
    run = run[: len(run) - (len(run) % 4 == 1)]
    return base64.urlsafe_b64decode(
        run.replace(b"+", b"-").replace(b"/", b"_") + b"=" * (-len(run) % 4)
    )


def is_text(raw: bytes) -> bool:
    if len(raw) < 20 and not raw.isascii():
        return False
    try:
        return CONTROL.search(raw.decode()) is None
    except UnicodeDecodeError:
        return False


def numbers(raw: bytes, length: int, key: str, depth: Depth) -> list[Named]:
    """Return the kinds of the numbers in what is no text; `length` is that of its run."""
    if not NUMBER.search(raw):
        return []
    depth.budget.take(length)
    depth.budget.take_close(raw, depth)
    found = scan.find(scan.characters(raw, scan.TEXT), key)
    return [named for named in kinds(found) if named[0] in (scan.CARD, scan.SSN)]


def cover(many: list[list[Named]], start: int, end: int) -> list[scan.Seen]:
    """Return spans over a run for what each reading of it found."""
    spans: list[scan.Seen] = []
    for among in many:
        spans = merge(spans, shared(among, start, end))
    return spans
