"""Readers of single values: what they take, and what they say of what they don't."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iatp.values.texts import (
    BindHost,
    Choice,
    Duration,
    PathText,
    Reader,
    SecondsOrDuration,
    Secret,
    Size,
    Switch,
    Text,
    TextError,
    Token,
    Whole,
    nearest,
    read_text,
)


class Colour(enum.StrEnum):
    RED = "red"
    DARK_BLUE = "dark_blue"


COLOUR = Choice(Colour)
DURATION = Duration("10ms", "1d")
SIZE = Size("0B", "1TiB")


@pytest.mark.parametrize(
    ("reader", "text", "value"),
    [
        (COLOUR, "dark_blue", Colour.DARK_BLUE),
        (Switch(), "TRUE", True),
        (Switch(), "fAlse", False),
        (Whole(0, 9), "9", 9),
        (Whole(0, 9), "007", 7),
        (DURATION, "10ms", 0.01),
        (DURATION, "1.5s", 1.5),
        (DURATION, "2 m", 120.0),
        (DURATION, "24h", 86400.0),
        (SecondsOrDuration("10ms", "1d"), "30", 30.0),
        (SecondsOrDuration("10ms", "1d"), "0.5", 0.5),
        (SecondsOrDuration("10ms", "1d"), "30s", 30.0),
        (SIZE, "0B", 0),
        (SIZE, "1KB", 1000),
        (SIZE, "1.5KiB", 1536),
        (SIZE, "10MiB", 10 << 20),
        (SIZE, "2GB", 2_000_000_000),
        (BindHost(), "::1", "::1"),
        (Text("any", 3), "äöü", "äöü"),
        (PathText(), "./a b", "./a b"),
        (Token(4), "abcd", "abcd"),
    ],
)
def test_read(reader: Reader[Any], text: str, value: object) -> None:
    assert read_text(reader, text) == value
    if not isinstance(reader, Token):
        assert reader.read(reader.show(value)) == value


@pytest.mark.parametrize(
    ("reader", "text", "complaint", "meant"),
    [
        (COLOUR, "", "it is empty", ""),
        (COLOUR, "Red", "names are exact, in lower case", "red"),
        (COLOUR, "dark-blue", "names are exact, in lower case", "dark_blue"),
        (COLOUR, "rde", "there is no such name", "red"),
        (COLOUR, "xyz", "there is no such name", ""),
        (COLOUR, '"red"', "quotes are part of the value", "red"),
        (COLOUR, "'Red", "quotes are part of the value", "red"),
        (COLOUR, "red\r", "a line end is part of the value", "red"),
        (COLOUR, "red\n", "a line end is part of the value", "red"),
        (COLOUR, " red", "white space is part of the value", "red"),
        (COLOUR, "\u00a0red", "white space is part of the value", "red"),
        (
            COLOUR,
            ' "red" \r\n',
            "a line end is part of the value and white space is part of the value "
            "and quotes are part of the value",
            "red",
        ),
        (COLOUR, '""', "quotes are part of the value", ""),
        (COLOUR, "re\x00d", "it holds a character that cannot be printed", ""),
        (COLOUR, "\udcff", "it holds a character that cannot be printed", ""),
        (Switch(), "yes", "it is neither true nor false", "true"),
        (Switch(), "0", "it is neither true nor false", "false"),
        (Switch(), "ture", "it is neither true nor false", "true"),
        (Whole(1, 9), "0", "it is less than 1", ""),
        (Whole(1, 9), "10", "it is more than 9", ""),
        (Whole(1, 9), "-1", "it is less than 1", ""),
        (Whole(1, 9), "9" * 5000, "it is more than 9", ""),
        (Whole(1, 9), "1.0", "it is not a whole number", ""),
        (Whole(1, 9), "1_0", "it is not a whole number", ""),
        (Whole(1, 9), "\u0663", "it is not a whole number", ""),
        (Whole(1, 9), "tcp://10.0.0.1:8001", "Kubernetes sets it so", ""),
        (DURATION, "30", "it has no unit", "30s"),
        (DURATION, "30S", "there is no unit 'S'", "30s"),
        (DURATION, "30 seconds", "there is no unit 'seconds'", "30s"),
        (DURATION, "5min", "there is no unit 'min'", "5m"),
        (DURATION, "5msec", "there is no unit 'msec'", "5ms"),
        (DURATION, "5x", "there is no unit 'x'", ""),
        (DURATION, "1h30m", "it is not a duration", ""),
        (DURATION, "-1s", "it is not a duration", ""),
        (DURATION, "9ms", "it is less than 10ms", ""),
        (DURATION, "25h", "it is more than 1d", ""),
        (DURATION, "10.5ms", "it is not a whole number of ms", ""),
        (SIZE, "10", "it has no unit", "10B"),
        (SIZE, "10mb", "there is no unit 'mb'", "10MB"),
        (SIZE, "10M", "there is no unit 'M'", "10MiB"),
        (SIZE, "10Mi", "there is no unit 'Mi'", "10MiB"),
        (SIZE, "10k", "there is no unit 'k'", "10KiB"),
        (SIZE, "10 megabytes", "there is no unit 'megabytes'", ""),
        (SIZE, "0.1B", "it is not a whole number of B", ""),
        (SIZE, "2TiB", "it is more than 1TiB", ""),
        (Text("any", 3), "abcd", "it is longer than 3 characters", ""),
        (PathText(), "~/x", "'~' stands for a home only in a shell", ""),
        (Token(4), "abc", "it is shorter than 4 characters", ""),
        (Token(), "a b", "it holds a character that cannot stand in it", ""),
        (Token(), "ä", "it holds a character that cannot stand in it", ""),
        (Token(), "a" * 1025, "it is longer than 1024 characters", ""),
    ],
)
def test_refused(reader: Reader[Any], text: str, complaint: str, meant: str) -> None:
    with pytest.raises(TextError) as caught:
        read_text(reader, text)
    assert caught.value.complaint.startswith(complaint)
    assert caught.value.meant == meant


@pytest.mark.parametrize(
    ("reader", "native", "value"),
    [
        (Switch(), True, True),
        (Whole(0, 9), 3, 3),
        (COLOUR, Colour.RED, Colour.RED),
        (DURATION, "1s", 1.0),
        (PathText(), Path("/x/y"), "/x/y"),
    ],
)
def test_native(reader: Reader[Any], native: object, value: object) -> None:
    assert reader.read_native(native) == value


@pytest.mark.parametrize(
    ("reader", "native", "complaint", "meant"),
    [
        (Switch(), "true", "it is not true or false without quotes", "true"),
        (Switch(), 1, "it is not true or false without quotes", ""),
        (Whole(0, 9), "3", "it is not a whole number without quotes", "3"),
        (Whole(0, 9), True, "it is not a whole number without quotes", ""),
        (Whole(0, 9), 3.0, "it is not a whole number without quotes", ""),
        (Whole(0, 9), 10, "it is more than 9", ""),
        (DURATION, 30, 'it is not a duration in quotes with its unit, such as "30s"', ""),
        (COLOUR, ["red"], "it is not a text", ""),
        (PathText(), 7, "it is not a text", ""),
    ],
)
def test_native_refused(reader: Reader[Any], native: object, complaint: str, meant: str) -> None:
    with pytest.raises(TextError) as caught:
        reader.read_native(native)
    assert (caught.value.complaint, caught.value.meant) == (complaint, meant)


@given(st.integers(0, 86_400_000))
def test_durations_round_trip(milliseconds: int) -> None:
    reader = Duration("0s", "1d")
    assert reader.read(reader.show(milliseconds / 1000)) == milliseconds / 1000


@given(st.integers(0, 1 << 40))
def test_sizes_round_trip(size: int) -> None:
    assert SIZE.read(SIZE.show(size)) == size


def test_secret_hides_itself() -> None:
    secret = Secret("do-not-show-me-0")
    assert "show" not in repr(secret)
    assert "show" not in repr({"x": secret})
    assert secret == "do-not-show-me-0"
    reader = Token()
    assert "show" not in reader.given(secret) + reader.show(secret)


def test_long_texts_are_cut() -> None:
    assert len(COLOUR.given("x" * 100_000)) < 200


def test_nearest() -> None:
    assert nearest("IATP_PROT", ["IATP_HOST", "IATP_PORT"]) == "IATP_PORT"
    assert nearest("something else", ["IATP_HOST"]) == ""
