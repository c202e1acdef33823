from __future__ import annotations

import re
from pathlib import Path

from iatp.values.issuers import ISSUERS


def test_the_issuer_table_is_sound() -> None:
    for name, first, last, lengths in ISSUERS:
        assert name
        assert 200000 <= first <= last <= 999999
        assert lengths == tuple(sorted(set(lengths)))
        assert set(lengths) <= set(range(13, 20))
    assert [row[1] for row in ISSUERS] == sorted(row[1] for row in ISSUERS)


def test_the_issuer_table_is_documented() -> None:
    rows = re.findall(
        r"^\| ([^|]+) \| (\d+) \| (\d+) \| ([\d, ]+) \|$",
        (Path(__file__).parents[2] / "docs/detection.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert rows == [
        (name, str(first), str(last), ", ".join(map(str, lengths)))
        for name, first, last, lengths in ISSUERS
    ]
