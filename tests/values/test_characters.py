"""The table of characters holds all that the Unicode database of this Python knows."""

from __future__ import annotations

import sys
import unicodedata

from iatp.values.characters import DIGIT_ZEROS, SEPARATORS

ALL = [chr(code) for code in range(0x80, sys.maxunicode + 1)]
LOOKALIKES = (
    "\u00ad\u00b7\u200b\u200c\u200d\u2024\u2043\u2044\u2060\u2212\u2215\ufeff\uff0e\uff0f\uff3f"
)
"""Neither dash nor space to Unicode, but they look like one, or like nothing."""


def test_every_digit() -> None:
    known = {ord(one) for one in ALL if unicodedata.decimal(one, None) == 0}
    assert known <= set(DIGIT_ZEROS)
    for code in set(DIGIT_ZEROS) - known:
        assert unicodedata.category(chr(code)) == "Cn", f"{code:X} is assigned, and no zero"
    for code in DIGIT_ZEROS:
        row = [unicodedata.decimal(chr(code + digit), None) for digit in range(10)]
        assert row == list(range(10)) or set(row) == {None}
    assert list(DIGIT_ZEROS) == sorted(DIGIT_ZEROS)


def test_every_separator() -> None:
    known = {ord(one) for one in ALL if unicodedata.category(one) in ("Pd", "Zs")}
    known |= set(map(ord, LOOKALIKES))
    assert known <= set(SEPARATORS)
    for code in set(SEPARATORS) - known:
        assert unicodedata.category(chr(code)) == "Cn", f"{code:X} is assigned, and no separator"
    assert list(SEPARATORS) == sorted(SEPARATORS)
