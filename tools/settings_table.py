"""Writes the tables of docs/configuration.md from what the sidecar itself uses.

python tools/settings_table.py
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "configuration.md"

BEGIN = "<!-- tables: written by tools/settings_table.py -->"
END = "<!-- end of tables -->"


def render() -> str:
    """Return the tables: every setting, and the older names."""
    from iatp.values.config import FILE_SUFFIX  # noqa: PLC0415 - the path is set below
    from iatp.values.settings import SETTINGS  # noqa: PLC0415

    lines = [
        "| Variable | Flag | TOML key | Default | Allowed | Meaning | Why this default |",
        "|---|---|---|---|---|---|---|",
    ]
    for setting in SETTINGS:
        default = setting.default_note or (f"`{setting.default}`" if setting.default else "none")
        variable, flag, key = f"`{setting.env}`", f"`{setting.flag}`", f"`{setting.key}`"
        if setting.secret:
            variable += f", `{setting.env}{FILE_SUFFIX}`"
            flag += f", `{setting.flag}-file`"
            key += f", `{setting.key}_file`"
        cells = (variable, flag, key, default, setting.reader.allowed, setting.meaning)
        lines.append(f"| {' | '.join(_cell(cell) for cell in (*cells, setting.reason))} |")
    lines += ["", "| Older name | Now | Takes |", "|---|---|---|"]
    for setting in SETTINGS:
        for older in setting.older:
            takes = "the same"
            if older.reader is not setting.reader:
                takes = "a bare number as well, in seconds"
            lines.append(f"| `{older.env}` | `{setting.env}` | {takes} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def insert(page: str) -> str:
    """Return the page with its tables written anew."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"{PAGE} has lost its marks")
    return f"{before}{BEGIN}\n\n{render()}\n{END}{after}"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    PAGE.write_text(insert(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
