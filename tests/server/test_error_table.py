from __future__ import annotations

import importlib.util
from pathlib import Path

from iatp.values.errors import FAILURES

ROOT = Path(__file__).resolve().parent.parent.parent


def test_error_table_is_current() -> None:
    path = ROOT / "tools" / "error_table.py"
    spec = importlib.util.spec_from_file_location("error_table", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.render(), (
        "run: python tools/error_table.py"
    )


def test_every_code_is_given_somewhere() -> None:
    sources = "".join(
        path.read_text(encoding="utf-8")
        for pattern in ("*.py", "*.pyx", "*.pxd")
        for path in sorted((ROOT / "iatp").rglob(pattern))
        if path.name != "errors.py" or path.parent.name != "values"
    )
    assert [code for code in FAILURES if f'"{code}"' not in sources] == []


def test_every_code_stands_in_the_table_once() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    for code in [*FAILURES, "low_trust", "credit_card_retention", "ssn_retention"]:
        assert page.count(f"| `{code}` |") == 1, code
