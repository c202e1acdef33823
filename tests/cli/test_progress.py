"""What a long command says of how far it is."""

from __future__ import annotations

import io
import sys

import pytest

from iatp.cli import progress
from iatp.cli.progress import ByteProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("done", "said"),
    [
        (0, "  0 % of 10 GB, 0 bytes/s"),
        (1_000_000_000, " 10 % of 10 GB, 500 MB/s, 18 s left"),
        (20_000_000, "  0 % of 10 GB, 10 MB/s, 17 min left"),
        (10_000_000_000, "100 % of 10 GB, 5 GB/s, 0 s left"),
    ],
)
def test_how_far_how_fast_and_how_long(
    monkeypatch: pytest.MonkeyPatch, done: int, said: str
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    shown = ByteProgress()
    began_s = shown.began_s
    monkeypatch.setattr(progress.time, "monotonic", lambda: began_s + 2.0)
    shown.show(done, 10_000_000_000)
    assert screen.getvalue() == f"\r{said}\x1b[K"
    shown.show(done, 10_000_000_000)
    assert screen.getvalue().count("\r") == 1
    shown.end()
    assert screen.getvalue().endswith("\r\x1b[K")


def test_nothing_is_said_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    shown = ByteProgress()
    shown.due_s = 0.0
    shown.show(1, 2)
    shown.end()
    assert screen.getvalue() == ""
