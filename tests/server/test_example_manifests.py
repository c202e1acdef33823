from __future__ import annotations

from pathlib import Path

import pytest

from iatp.values.manifest import load_manifest

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"


@pytest.mark.parametrize(("name", "score"), [("bank", 10), ("untrusted", 0)])
def test_example_manifests_load(name: str, score: int) -> None:
    manifest = load_manifest((EXAMPLES / f"{name}_manifest.json").read_bytes())
    assert manifest.trust_score() == score
