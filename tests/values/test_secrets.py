from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from iatp.values import ibans, secrets

ROOT = Path(__file__).parents[2]


def test_the_table_of_secrets_is_current() -> None:
    path = ROOT / "tools" / "secret_table.py"
    spec = importlib.util.spec_from_file_location("secret_table", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (ROOT / "docs" / "secrets.md").read_text(encoding="utf-8")
    assert page == module.render(), "run: python tools/secret_table.py"
    assert all(f"`{name}`" in page for name in secrets.NAMES)


def test_tokens_are_sound() -> None:
    for token in secrets.TOKENS:
        assert token.prefixes
        longest_text = max(map(len, token.prefixes)) + sum(count for _, count in token.head)
        for part in token.parts:
            longest_text += len(part) if isinstance(part, str) else part[2]
        # A window of the scan holds it wherever it begins (MARGIN and NEAR of text.pyx).
        assert longest_text < 512 - 64
        for name, count in token.head:
            assert name in secrets.ALPHABETS
            assert count > 0
        for part in token.parts:
            assert isinstance(part, str) or (part[0] in secrets.ALPHABETS and part[1] <= part[2])
        if token.head:
            continue
        # The scan looks closely only where a run of sixteen is, shortly behind the beginning.
        longest = max(token.prefixes, key=len).rpartition(".")[2]
        first = token.parts[0]
        assert not isinstance(first, str)
        assert len(longest) + first[1] >= 16 or len(token.parts) > 1


def test_ibans_are_sound() -> None:
    assert list(ibans.STRUCTURES) == sorted(ibans.STRUCTURES)
    for country, structure in ibans.STRUCTURES.items():
        assert re.fullmatch("[A-Z]{2}", country)
        assert re.fullmatch(r"(\d+[nac])+", structure)
        assert 15 <= 4 + sum(map(int, re.findall(r"\d+", structure))) <= ibans.LONGEST
