"""The sidecar's own log never holds what an exception says, since that can be a payload."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from iatp.sidecar.logs import set_up_logs
from iatp.values.settings import LogFormat, LogLevel


@pytest.fixture(autouse=True)
def _root_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def raised(error: Exception) -> None:
    try:
        raise error
    except Exception:
        logging.getLogger("iatp").exception("it failed")


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_word_of_an_exception(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(LogLevel.INFO, LogFormat(form))
    raised(ValueError("4111 1111 1111 1111"))
    raised(OSError(28, "No space left on device", "/a/file"))
    said = capsys.readouterr().err
    assert "4111" not in said
    assert "ValueError" in said
    assert "test_logs.py" in said
    assert "OSError: No space left on device" in said
    assert "/a/file" not in said


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(LogLevel.INFO, LogFormat.JSON)
    logging.getLogger("iatp").warning("two\nlines %s", "and a value")
    raised(KeyError("x"))
    entries = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [entry["level"] for entry in entries] == ["warning", "error"]
    assert entries[0]["message"] == "two\nlines and a value"
    assert entries[1]["exception"].endswith("KeyError")
