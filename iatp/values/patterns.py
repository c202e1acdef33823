"""A policy's own patterns, as RE2 compiles them.

RE2 looks at each byte of a text once, whatever the pattern and whatever the text. It comes with
the extra `patterns` (google-re2 on PyPI) and is imported where a policy has patterns alone.
How they are looked for stands in `iatp._fast.patterns`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from iatp.values.exchange import REDACTED

MOST_OWN = 64
"""Patterns of a policy; with all other findings they fit into four words of bits."""
LONGEST_REGEX = 1000
MOST_INSTRUCTIONS = 2000
"""Of all patterns of a policy together. Where a text keeps RE2 from what it has prepared, a byte
costs a step for each of them; fifty usual patterns have 860."""
LONGEST_MATCH = 1024
"""Bytes of a match that is found for certain, wherever it stands."""

_ALL_BYTES = 4 << 20
_EACH_BYTES = 256 << 10
"""What RE2 may take for all patterns as one, for the set of them, and for each alone."""

# They speak of where the whole text begins and ends, or of single bytes; texts are looked at
# many at a time, as lines.
_REFUSED = re.compile(r"(?<!\\)(?:\\\\)*(\\[AzC])|(\(\?[a-zA-Z]*-[a-zA-Z]*m)")

_SAMPLES = (b"", b"a", b"a b", b"\n0-_.\n")


class NotInstalledError(Exception):
    """RE2 is not there."""


class PatternError(Exception):
    """A regular expression that cannot be used; the text says why."""


class Compiled(NamedTuple):
    """Patterns, ready to be looked for in bytes."""

    together: Any
    """One expression that matches where any of them does."""
    which: Any
    """A set, which says which of them match in a text."""
    each: tuple[Any, ...]


def check_pattern(regex: str) -> None:
    """Check one expression by itself.

    Raises:
        NotInstalledError, PatternError.
    """
    re2 = _engine()
    if found := _REFUSED.search(regex):
        given = found[1] or found[2]
        raise PatternError(f"{given} is not to be used; ^ and $ match at line ends and text ends")
    _compile(re2, regex, _EACH_BYTES)
    pattern = _compile(re2, _lines(regex), _EACH_BYTES)
    if any(match.start() == match.end() for text in _SAMPLES for match in pattern.finditer(text)):
        raise PatternError("it matches where there is nothing")
    if mark := next((mark for mark in REDACTED if pattern.search(mark.encode())), None):
        raise PatternError(f"it matches {mark}, which stands where something was found")


def compile_patterns(regexes: Sequence[str]) -> Compiled:
    """Return expressions that have been checked, each and together.

    Raises:
        NotInstalledError, PatternError.
    """
    re2 = _engine()
    lines = [_lines(regex) for regex in regexes]
    together = _compile(re2, "|".join(lines), _ALL_BYTES)
    if together.programsize > MOST_INSTRUCTIONS:
        raise PatternError(
            f"together they are {together.programsize} instructions of RE2, more than "
            f"{MOST_INSTRUCTIONS}; {{n,m}} and classes beyond ASCII take the most"
        )
    which = re2.Set.SearchSet(_options(re2, _ALL_BYTES))
    for line in lines:
        which.Add(line)
    which.Compile()
    return Compiled(together, which, tuple(_compile(re2, line, _EACH_BYTES) for line in lines))


def _engine() -> Any:
    try:
        import re2  # noqa: PLC0415  (an extra)
    except ImportError:
        raise NotInstalledError from None
    if not hasattr(re2, "Set"):
        # Another package has a module of that name.
        raise NotInstalledError
    return re2


def _lines(regex: str) -> str:
    return f"(?m:{regex})"


def _options(re2: Any, most_bytes: int) -> Any:
    options = re2.Options()
    options.never_capture = True
    options.log_errors = False
    options.max_mem = most_bytes
    return options


def _compile(re2: Any, regex: str, most_bytes: int) -> Any:
    try:
        return re2.compile(regex, _options(re2, most_bytes))
    except re2.error as error:
        said = error.args[0]
        raise PatternError(
            said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        ) from None
    except UnicodeEncodeError:
        raise PatternError("it holds half of a character") from None
