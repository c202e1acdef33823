"""Which tests run where: some need programs beyond Python, some take minutes."""

from __future__ import annotations

import os

import pytest

GATED = {
    "servers": (
        "IATP_TEST_SERVERS",
        "they need nginx, strace, curl, zstd or openssl; .ci/run always runs them",
    ),
    "proof": ("IATP_TEST_PROOF", "they take minutes; make proof runs them"),
}
"""Marker: the variable that lets its tests run when it is 1, and why they are left out."""

_left_out = pytest.StashKey[dict[str, int]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out: dict[str, int] = {}
    kept: list[pytest.Item] = []
    dropped: list[pytest.Item] = []
    for item in items:
        closed = [
            marker
            for marker, (variable, _) in GATED.items()
            if item.get_closest_marker(marker) and os.environ.get(variable) != "1"
        ]
        for marker in closed[:1]:
            left_out[marker] = left_out.get(marker, 0) + 1
        (dropped if closed else kept).append(item)
    config.stash[_left_out] = left_out
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for marker, count in config.stash.get(_left_out, {}).items():
        variable, reason = GATED[marker]
        terminalreporter.write_line(
            f"{count} tests marked '{marker}' left out: {reason} ({variable}=1 does too)"
        )
