"""Writes docs/secrets.md, the table of all secrets that are known, from the data of the scan.

python tools/secret_table.py
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "secrets.md"

_BEFORE = """\
# Secrets

Written by `tools/secret_table.py` from `iatp/values/secrets.py`; a test checks that it is
current. How they are looked for stands in [detection.md](detection.md#secrets). Names are
stable.

A name is followed by what such a secret begins with and by what comes then: so many characters
of an alphabet, or a text as it is. Where a secret is known by a part inside it, what stands
before that is said too, and the part is one of those named.

| Name | Begins with | Then |
|---|---|---|
"""

_OTHERS = """
| Name | What it is |
|---|---|
"""

_ALPHABETS = """
| Alphabet | Characters |
|---|---|
"""


def render() -> str:
    """Return the whole page."""
    from iatp.values import secrets  # noqa: PLC0415 - the path is set below

    rows = []
    for token in secrets.TOKENS:
        then = " ".join(
            f"`{part}`" if isinstance(part, str) else f"{_count(part)} {part[0]}"
            for part in token.parts
        )
        if token.checked:
            then += "; the last 6 are a checksum"
        begins = " ".join(f"`{prefix}`" for prefix in token.prefixes)
        if token.head:
            before = " ".join(f"{count} {name}" for name, count in token.head)
            begins = f"{before}, then {begins}"
        rows.append(f"| `secret.{token.name}` | {begins} | {then} |\n")
    others = [f"| `secret.{name}` | {what} |\n" for name, what in secrets.OTHERS]
    alphabets = [f"| {name} | `{members}` |\n" for name, members in secrets.ALPHABETS.items()]
    return "".join([_BEFORE, *rows, _OTHERS, *others, _ALPHABETS, *alphabets])


def _count(part: tuple[str, int, int]) -> str:
    return str(part[1]) if part[1] == part[2] else f"{part[1]}–{part[2]}"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    PAGE.write_text(render(), encoding="utf-8")
