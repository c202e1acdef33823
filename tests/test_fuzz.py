"""Mutated messages: a moment of them here, ten minutes under the address sanitizer in proof.

`.ci/run` runs tools/fuzz.sh for ten seconds.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.fuzz import fuzz

ROOT = Path(__file__).parent.parent


def test_a_moment() -> None:
    assert fuzz(1.0, 7) > 100


@pytest.mark.proof
@pytest.mark.timeout(1200)
def test_ten_minutes_under_the_address_sanitizer() -> None:
    ran = subprocess.run(
        ["sh", "tools/fuzz.sh", "600"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    print(f"\n{ran.stdout}")
    assert ran.returncode == 0, ran.stderr[-10_000:]
    found = re.search(r"(\d+) inputs in .*, no finding", ran.stdout)
    assert found is not None
    assert int(found[1]) > 100_000
