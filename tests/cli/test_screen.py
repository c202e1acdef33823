"""What reaches a terminal."""

from __future__ import annotations

import io

import pytest

from iatp.cli.records import show_records
from iatp.cli.screen import Screen, plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain — ⚠️ text", "plain — ⚠️ text"),
        ("\x1b[2J", "\\u001b[2J"),
        ("a\r\nb\tc", "a\\u000d\\u000ab\\u0009c"),
        ("\x9b31m\x7f", "\\u009b31m\\u007f"),
        ("\u2028\u2029\u202eevil\u2066", "\\u2028\\u2029\\u202eevil\\u2066"),
    ],
)
def test_plain(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_a_pipe_gets_no_colours() -> None:
    screen = Screen(io.StringIO())
    assert screen.paint("x", "1") == "x"
    assert screen.marked("[SSN_REDACTED]") == "[SSN_REDACTED]"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("variables", "colours"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({}, False),
    ],
)
def test_colours(variables: dict[str, str], colours: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Screen(Terminal()).colours is colours


def test_columns_align_whatever_their_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    screen = Screen(stream := Terminal())
    screen.table([[screen.paint("a", "31"), "one"], ["bbb", "two"]])
    assert stream.getvalue() == "  \x1b[31ma\x1b[0m    one\n  bbb  two\n"


def test_records_of_anybody_are_harmless() -> None:
    """A trace fetched from elsewhere may hold any JSON."""
    stream = io.StringIO()
    show_records(
        Screen(stream),
        [
            {"type": "\x1b[2J", "timestamp": 5, "payload": "\x1b]0;title\x07"},
            {"type": "request", "method": ["GET"], "path": "/\x1b[31m", "findings": {"ssn": 2}},
            {"type": "response", "latency_ms": 1.5, "response": {"\u202e": "\x9b"}},
            {"type": "response", "latency_ms": "x", "findings": ["ssn"], "response_bytes": None},
            {"payload": "x" * 10_000, "type": "warning", "warning": "a\n\x1b[2Jb"},
            {},
        ],
    )
    shown = stream.getvalue()
    assert shown.replace("\n", "").isprintable()
    assert "found 2 ssn" in shown
    assert "1.50 ms" in shown
    assert max(map(len, shown.splitlines())) < 500
