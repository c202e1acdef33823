"""Text that carries labels: a value stands between two private characters.

`label` wraps a value; the mark goes through JSON, JSON in a string, percent encoding and
everything else that keeps characters, and `settle` takes the marks out and says where in the
bytes each value came to stand. Nothing is searched for, so a value that stands twice is no
problem, and neither is one that is spelled so that nobody could find it again.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable

from iatp._fast import scan

BEGIN, END, BARE, ESCAPE = "\ue000", "\ue001", "\ue002", "\ue003"
"""Around a value; before a number that JSON has without quotes; before a character that JSON
has as an escape."""
_FIRST = 0xE100
"""The character behind BEGIN is this plus the value's number in its body."""
MOST = 0x17FF
_MARK = re.compile("\ue000([\ue100-\uf8ff])|(\ue001)")
_ANY = re.compile("(\ue000[\ue100-\uf8ff]|[\ue001-\ue003])")
_BARE = re.compile('"\ue002([^"]*)"')
_WIDE = re.compile("[^\x00-\x7f\ue000-\uf8ff]")

JSON_TYPE = "application/json"
FORMS = {
    JSON_TYPE: scan.JSON,
    "application/x-www-form-urlencoded": scan.FORM,
    "text/plain": scan.TEXT,
    "multipart/form-data": scan.TEXT,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Value:
    """One value of a body: planted (it has a kind) or a look-alike (it has none)."""

    kind: str | None
    sort: str
    """What it is, such as `Visa`, `ghp_`, `order number`."""
    spelling: str
    text: str
    """The plain value."""


@dataclasses.dataclass(frozen=True, slots=True)
class Label:
    """Where a value stands: byte ranges, more than one where it is split."""

    value: Value
    ranges: tuple[tuple[int, int], ...]

    @property
    def start(self) -> int:
        return self.ranges[0][0]

    @property
    def end(self) -> int:
        return self.ranges[-1][1]


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """Bytes and the labels in them, in order."""

    data: bytes
    labels: tuple[Label, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Body:
    number: int
    sort: str
    """The shape it was made by, such as `chat`."""
    content_type: str
    sent: Text
    """What the sidecar gets."""
    read: Text
    """What the agent reads: for JSON a line `"key": value` for each value, escapes undone."""

    @property
    def form(self) -> int:
        return FORMS[self.content_type]


def mark(number: int, text: str) -> str:
    """The text as the value of that number; once more for each part of a split value."""
    return f"{BEGIN}{chr(_FIRST + number)}{text}{END}"


def through(change: Callable[[str], str], text: str) -> str:
    """The text changed by what works on each character alone; marks stay."""
    return "".join(
        piece if _ANY.fullmatch(piece) else change(piece) for piece in _ANY.split(text) if piece
    )


def bare(text: str) -> str:
    """A number for `dump`, given as its digits."""
    return BARE + text


def plain(text: str) -> str:
    """Without its marks."""
    return _ANY.sub("", text)


def dump(tree: object, *, indent: int | None = None, wide: bool = True, tight: bool = False) -> str:
    """JSON; with `wide`, characters beyond ASCII as they are, else as escapes."""
    separators = (",", ":") if tight else None
    text = json.dumps(tree, ensure_ascii=False, indent=indent, separators=separators)
    text = _BARE.sub(r"\1", text)
    text = re.sub(f"{ESCAPE}(.)", lambda found: f"\\u{ord(found[1]):04x}", text)
    if wide:
        return text
    return _WIDE.sub(lambda found: json.dumps(found[0])[1:-1], text)


def lines(tree: object, key: str = "") -> list[str]:
    """What a reader gets of a JSON document: a line for each string, number and key."""
    said = f'"{key}": ' if key else ""
    if isinstance(tree, dict):
        found = [f'"{name}":' for name, value in tree.items() if isinstance(value, dict | list)]
        for name, value in tree.items():
            found += lines(value, name)
        return found
    if isinstance(tree, list):
        return [line for value in tree for line in lines(value, key)]
    if isinstance(tree, str):
        return [said + (tree[1:] if tree.startswith(BARE) else f'"{tree}"')]
    return [said + json.dumps(tree)]


def settle(marked: str, values: list[Value]) -> Text:
    """The bytes without marks, and where each value stands in them."""
    parts: list[bytes] = []
    open_at: list[tuple[int, int]] = []
    found: dict[int, list[tuple[int, int]]] = {}
    at = last = 0
    marked = marked.replace(ESCAPE, "")
    for match in _MARK.finditer(marked):
        piece = marked[last : match.start()].encode()
        parts.append(piece)
        at += len(piece)
        last = match.end()
        if match[2]:
            number, start = open_at.pop()
            found.setdefault(number, []).append((start, at))
        else:
            open_at.append((ord(match[1]) - _FIRST, at))
    parts.append(marked[last:].encode())
    assert not open_at, "a mark that does not end"
    labels = [Label(values[number], tuple(sorted(ranges))) for number, ranges in found.items()]
    return Text(b"".join(parts), tuple(sorted(labels, key=lambda label: label.start)))
