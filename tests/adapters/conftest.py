"""What the tests of the log share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from iatp.adapters.log_folder import LogFolder


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[LogFolder]:
    made = LogFolder(tmp_path / "logs")
    yield made
    made.close()
