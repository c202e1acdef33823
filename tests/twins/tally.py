"""Counting of fields, plain: the JSON is read as JSON."""

from __future__ import annotations

import collections
import re
from decimal import Decimal

_FIRST_LEVEL = re.compile(r'"((?:[^"\\]|\\.)*)":')


def tally(
    lines: list[bytes], fields: dict[str, int], number: str
) -> tuple[dict[bytes, int], list[int]]:
    """Groups, and the thousandths of the number where there is one."""
    groups: collections.Counter[bytes] = collections.Counter()
    numbers = []
    for line in lines:
        values = first_level(line.decode())
        raw = [values.get(name, "").encode()[:width] for name, width in fields.items()]
        groups[b"\x1f".join(raw)] += 1
        if re.fullmatch(r"[0-9.]{1,16}", values.get(number, "")):
            numbers.append(int(Decimal(values[number]) * 1000))
    return dict(groups), numbers


def first_level(text: str) -> dict[str, str]:
    """The raw values of an object of JSON without white space, by name; of two the last."""
    found = {}
    at = 1
    while at < len(text) - 1:
        name = _FIRST_LEVEL.match(text, at)
        assert name is not None
        start = at = name.end()
        depth, quoted = 0, False
        while depth or quoted or text[at] not in ",}":
            if quoted and text[at] == "\\":
                at += 1
            elif quoted:
                quoted = text[at] != '"'
            elif text[at] == '"':
                quoted = True
            else:
                depth += (text[at] in "{[") - (text[at] in "}]")
            at += 1
        found[name[1]] = text[start:at]
        at += 1
    return found


def bucket_of(value: int) -> int:
    """Where a value stands in the histogram: its first seven bits, for each doubling."""
    shift = max(value.bit_length() - 7, 0)
    return value if value < 128 else ((shift + 1) << 6) + (value >> shift) - 64
