"""What a policy's own patterns find, in plain Python; the truth for iatp/_fast/patterns.

RE2 is the same: what is held against each other is which texts it sees, and what becomes of what
it finds there. Each text by itself, each pattern by itself, and the whole of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from iatp.values.exchange import FINDINGS, KINDS
from iatp.values.patterns import compile_patterns
from iatp.values.secrets import NAMES
from tests.twins import layers, scan

CUSTOM = KINDS.index("custom")
TOKEN = re.compile(rb'"((?:[^"\\]|\\.)*)"|-?[0-9][0-9.eE+-]*', re.DOTALL)


class Hit(NamedTuple):
    start: int
    end: int
    quoted: int
    which: frozenset[int]


def find(data: bytes, form: int, regexes: Iterable[str]) -> list[scan.Seen]:
    """Return what the scan finds and what these find, in order; what overlaps has one range."""
    found = scan.scan(data, form)
    own = Reading(list(regexes)).body(data, form, valid=found.error is None)
    return joined(found, own)


def joined(found: scan.Found, own: list[Hit]) -> list[scan.Seen]:
    names = [
        (start, end, quoted, (kind, which, number))
        for number, ((kind, start, end, quoted), which) in enumerate(
            zip(found.spans, found.secrets, strict=True)
        )
    ]
    for hit in clusters(own):
        names += [
            (hit.start, hit.end, hit.quoted, (CUSTOM, len(NAMES) + one, 0)) for one in hit.which
        ]
    seen: list[scan.Seen] = []
    while names:
        start, end = min(name[0] for name in names), -1
        among = []
        while more := [
            name for name in names if name not in among and (name[0] == start or name[0] < end)
        ]:
            among += more
            end = max(name[1] for name in among)
        names = [name for name in names if name not in among]
        quoted = max((name[2] for name in among if name[:2] == (start, end)), default=0)
        seen += [
            (kind, start, end, quoted, which)
            for kind, which, _ in sorted({name[3] for name in among})
        ]
    return seen


def name_of(seen: scan.Seen, names: list[str]) -> str:
    """Return what a finding is called; `names` are those of the patterns."""
    kind, _, _, _, which = seen
    return f"custom.{names[which - len(NAMES)]}" if kind == CUSTOM else scan.name_of(seen)


def number_of(pattern: int) -> int:
    return len(FINDINGS) + pattern


def clusters(hits: list[Hit]) -> list[Hit]:
    """Return hits in order; those that overlap are one, of all patterns among them."""
    whole: list[Hit] = []
    for hit in sorted(hits, key=lambda hit: hit[:2]):
        last = whole[-1] if whole else None
        if last is None or hit.start >= last.end:
            whole.append(hit)
            continue
        end = max(last.end, hit.end)
        among = [each for each in (last, hit) if each[:2] == (last.start, end)]
        quoted = max((each.quoted for each in among), default=0)
        whole[-1] = Hit(last.start, end, quoted, last.which | hit.which)
    return whole


MAYBE_CODE = re.compile(rb"%[0-9a-fA-F]{2}|&[#0-9a-zA-Z].", re.DOTALL)


class Reading:
    def __init__(self, regexes: list[str]) -> None:
        self.patterns = compile_patterns(regexes).each if regexes else ()

    def body(self, data: bytes, form: int, *, valid: bool) -> list[Hit]:
        if form == scan.JSON:
            if valid:
                return self.document(data, 3, 2)
            return self.loose(layers.undo(data, layers.ESCAPE, layers.escape), escapes=1)
        if form == scan.TARGET:
            path, mark, query = data.partition(b"?")
            path += mark
            return self.loose(layers.undo(path, layers.PERCENT, layers.percent)) + shifted(
                self.loose(layers.undo(query, layers.FORM, layers.percent)), len(path)
            )
        if form == scan.FORM:
            return self.loose(layers.undo(data, layers.FORM, layers.percent))
        return self.loose(layers.undo(data, re.compile(b"(?!)"), layers.percent))

    def match(self, text: bytes) -> list[Hit]:
        """Return what is found in one text, which stands between line ends."""
        hits = []
        for number, pattern in enumerate(self.patterns):
            for match in pattern.finditer(b"\n" + text + b"\n"):
                start, end = max(match.start() - 1, 0), min(match.end() - 1, len(text))
                if start < end:
                    hits.append(Hit(start, end, 0, frozenset({number})))
        return hits

    def loose(self, layer: layers.Layer, escapes: int = 0) -> list[Hit]:
        hits = self.match(layer.data)
        for run in layers.TEXT.finditer(layer.data):
            if len(run[0]) >= 6:
                hits += shifted(self.inside(run[0], 3, 2), run.start())
        return back(layer, hits, escapes)

    def document(self, data: bytes, json: int, coded: int) -> list[Hit]:
        hits = []
        for token in TOKEN.finditer(data):
            if token[1] is None:
                if found := self.match(token[0]):
                    which = frozenset[int]().union(*(hit.which for hit in found))
                    hits.append(Hit(*token.span(), 1, which))
                continue
            layer = layers.undo(token[1], layers.ESCAPE, layers.escape)
            found = back(layer, self.text(layer.data, json, coded), 1)
            hits += shifted(found, token.start() + 1)
        return hits

    def text(self, data: bytes, json: int, coded: int) -> list[Hit]:
        if json and is_value(data, b"{["):
            return self.document(data, json - 1, coded)
        return self.match(data) + self.inside(data, json, coded)

    def inside(self, data: bytes, json: int, coded: int) -> list[Hit]:
        if json and is_value(data, b'{["'):
            return self.document(data, json - 1, coded)
        hits = []
        if json and layers.ESCAPE.search(data):
            layer = layers.undo(data, layers.ESCAPE, layers.escape)
            hits += back(layer, self.text(layer.data, json - 1, coded), 1)
        if coded and MAYBE_CODE.search(data):
            layer = layers.undo(data, layers.CODE, layers.code)
            hits += back(layer, self.text(layer.data, json, coded - 1))
        return hits + self.runs(data, json, coded - 1) if coded else hits

    def runs(self, data: bytes, json: int, coded: int) -> list[Hit]:
        hits = []
        at = 0
        while match := layers.RUN.search(data, at):
            start = match.start()
            ends = [match.end()]
            width = ends[0] - start
            while (
                width % 4 == 0
                and (line := layers.LINE.match(data, ends[-1]))
                and len(line[1]) <= width
            ):
                ends.append(line.end())
                if len(line[1]) < width:
                    break
            while data[ends[-1] : ends[-1] + 1] == b"=":
                ends[-1] += 1
            at, found = self.base64(data, start, ends, json, coded)
            hits += found
            for digits in layers.HEX.finditer(data, start, at):
                hits += self.hex(digits, json, coded)
        return hits

    def base64(
        self, data: bytes, start: int, ends: list[int], json: int, coded: int
    ) -> tuple[int, list[Hit]]:
        packed = layers.pack(data[start : ends[-1]])
        if layers.HEX_ALONE.fullmatch(packed):
            return ends[-1], []
        joints = [i + 1 for i in range(min(63, len(packed) - 15)) if packed[i : i + 1] in b"/-_+"]
        runs = [(ends[-1], packed[skip:]) for skip in (0, *joints[:8])]
        runs += [(end, layers.pack(data[start:end])) for end in (*ends[-2:-1], ends[0])]
        for end, run in runs:
            if layers.is_text(raw := layers.from_base64(run)):
                return end, covering(self.text(raw, json, coded), start, end)
        return ends[-1], []

    def hex(self, digits: re.Match[bytes], json: int, coded: int) -> list[Hit]:
        for skip in range(2):
            run = digits[0][skip:]
            raw = bytes.fromhex(run[: len(run) // 2 * 2].decode())
            if layers.is_text(raw):
                return covering(self.text(raw, json, coded), *digits.span())
        return []


def is_value(data: bytes, begins: bytes) -> bool:
    begin = data.lstrip(b" \t\r\n")[:1]
    return begin != b"" and begin in begins and scan.Json(data).read().error is None


def shifted(hits: list[Hit], by: int) -> list[Hit]:
    return [hit._replace(start=hit.start + by, end=hit.end + by) for hit in hits]


def covering(hits: list[Hit], start: int, end: int) -> list[Hit]:
    return [Hit(start, end, 0, hit.which) for hit in hits]


def back(layer: layers.Layer, hits: list[Hit], escapes: int = 0) -> list[Hit]:
    return [
        Hit(
            layer.starts[hit.start],
            layer.ends[hit.end - 1],
            hit.quoted and hit.quoted + escapes,
            hit.which,
        )
        for hit in hits
    ]
