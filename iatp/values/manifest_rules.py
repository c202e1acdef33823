"""What a field of a manifest takes, and what is said of a value that it does not.

A rule reads a value of JSON as it is kept, or raises `UnfitError`; `complaint` makes the sentence.
"""

from __future__ import annotations

import enum
import re
from typing import Any, ClassVar

from iatp.values.errors import ConfigurationError

MOST_PROBLEMS = 50
"""So many are told of a manifest."""
MOST_WHOLE = 2**53 - 1
"""RFC 8259, section 6: whole numbers beyond it do not survive every JSON parser."""


class ManifestError(ConfigurationError):
    """A manifest that cannot be used. `problems`: one sentence each, the field's path first."""


class UnfitError(Exception):
    """A value that its rule does not allow."""

    def __init__(self, meant: str = "", shown: str = "") -> None:
        super().__init__(meant)
        self.meant = meant
        self.shown = shown
        """Of it, where that is only a part of the value."""


class Rule:
    """What one field takes. `allowed` ends the sentence "it must be …"."""

    allowed: str
    dropped: tuple[type, ...] = ()
    """Types that a peer's field may have without being usable: it then counts as absent.

    Only for fields that no decision rests on, and that published manifests fill freely.
    """

    def read(self, value: object) -> Any:
        """The value as it is kept. Raises: UnfitError."""
        return self._read(value)

    def _read(self, value: object) -> Any:
        raise NotImplementedError


class Text(Rule):
    """A text of at most `most` characters, in one line or in `lines`, that fits a pattern."""

    # Controls, lone surrogates, line separators, and what turns the direction of writing:
    # none of these may reach a terminal or a header through a manifest.
    _UNWANTED = re.compile(
        "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
    )

    def __init__(
        self, most: int = 255, allowed: str = "", pattern: str = "", *, lines: bool = False
    ) -> None:
        self.most = most
        self.lines = lines
        self.pattern = re.compile(pattern, re.ASCII) if pattern else None
        self.allowed = allowed or f"a text of 1 to {most} characters without control characters"
        self.dropped = (str,) if pattern else ()

    def _read(self, value: object) -> str:
        if not isinstance(value, str) or not 1 <= len(value) <= self.most:
            raise UnfitError
        searched = value.replace("\n", "").replace("\t", "") if self.lines else value
        if self._UNWANTED.search(searched):
            raise UnfitError
        if self.pattern is not None and not self.pattern.fullmatch(value):
            raise UnfitError
        return str(value)


class Exactly(Text):
    """One text; of a peer also what fits the pattern `peers`."""

    def __init__(self, text: str, peers: str) -> None:
        super().__init__()
        self.text, self.peers = text, re.compile(peers, re.ASCII)
        self.allowed = f"'{text}'"

    def _read(self, value: object) -> str:
        if value != self.text:
            raise UnfitError(self.text)
        return self.text


class Whole(Rule):
    """A whole number; `freely`: a peer may have written anything that is a number."""

    def __init__(self, least: int, most: int = MOST_WHOLE, *, freely: bool = False) -> None:
        self.least, self.most = least, most
        self.allowed = f"a whole number from {least} to {most}"
        self.dropped = (int, float) if freely else ()

    def _read(self, value: object) -> int:
        # JSON Schema counts 5.0 as an integer; a bool is an int to Python alone.
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is not int or not self.least <= value <= self.most:
            raise UnfitError
        return value


class Share(Rule):
    """A number from 0 to 1."""

    allowed = "a number from 0 to 1"

    def _read(self, value: object) -> int | float:
        if type(value) is not int and type(value) is not float:
            raise UnfitError
        if not 0 <= value <= 1:
            raise UnfitError(f"{value / 100:.6g}" if 1 < value <= 100 else "")
        return value


class Flag(Rule):
    """True or false."""

    allowed = "true or false"

    def _read(self, value: object) -> bool:
        if type(value) is not bool:
            raise UnfitError(
                value.lower()
                if isinstance(value, str) and value.lower() in ("true", "false")
                else ""
            )
        return value


class Choice(Rule):
    """A member of an enumeration."""

    def __init__(self, members: type[enum.StrEnum]) -> None:
        self.members = members
        self.names = [str(member) for member in members]
        self.allowed = f"one of {', '.join(self.names)}"

    def _read(self, value: object) -> enum.StrEnum:
        if not isinstance(value, str):
            raise UnfitError
        if value not in self.names:
            raise UnfitError(nearest(value, self.names))
        return self.members(value)


class Texts(Rule):
    """A list of at most `most` items."""

    def __init__(self, item: Rule, most: int) -> None:
        self.item, self.most = item, most
        self.allowed = f"a list of up to {most}, each {item.allowed}"

    def _read(self, value: object) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or len(value) > self.most:
            raise UnfitError
        return tuple(self._read_item(item) for item in value)

    def _read_item(self, item: object) -> Any:
        try:
            return self.item.read(item)
        except UnfitError as unfit:
            raise UnfitError(unfit.meant, f"{shown(item)} in the list") from None


class Span(Rule):
    """A duration as 0.x writes it, such as "24h", in whole units of `unit_ms`."""

    _UNITS_MS: ClassVar[dict[str, int]] = {
        "ms": 1,
        "s": 1000,
        "m": 60_000,
        "h": 3_600_000,
        "d": 86_400_000,
        "w": 604_800_000,
    }
    _WORDS: ClassVar[dict[str, str]] = {"sec": "s", "second": "s", "min": "m", "minute": "m"}
    _WORDS |= {"hour": "h", "day": "d", "week": "w", "hr": "h", "millisecond": "ms"}
    _TEXT = re.compile(r"([0-9]{1,16}(?:\.[0-9]{1,3})?) ?([A-Za-z]{1,12})", re.ASCII)

    def __init__(self, unit_ms: int) -> None:
        self.unit_ms = unit_ms
        least = "millisecond" if unit_ms == 1 else "second"
        self.allowed = f'a duration such as "24h" or "5s", in whole {least}s'
        self.dropped = (str,)

    def _read(self, value: object) -> int:
        if type(value) is int and 0 <= value <= MOST_WHOLE:
            raise UnfitError(f'"{value}{"ms" if self.unit_ms == 1 else "s"}"')
        found = self._TEXT.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            raise UnfitError
        name = found.group(2).lower()
        name = self._WORDS.get(name.removesuffix("s"), name) if len(name) > 2 else name
        if name not in self._UNITS_MS:
            raise UnfitError
        whole, _, fraction = found.group(1).partition(".")
        thousandths = int(whole) * 1000 + int(fraction.ljust(3, "0") if fraction else 0)
        units, rest = divmod(thousandths * self._UNITS_MS[name], 1000 * self.unit_ms)
        if rest or units > MOST_WHOLE:
            raise UnfitError
        return units


def complaint(path: str, value: object, rule: Rule, unfit: UnfitError) -> str:
    """The sentence about a value that its rule does not allow."""
    hint = f"; meant: {unfit.meant}" if unfit.meant else ""
    said = unfit.shown or shown(value)
    return f"{path}: {said} is not allowed; it must be {rule.allowed}{hint}"


def shown(value: object) -> str:
    """A value of a document in a few characters, safe to print."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return ascii(str(value[:40])) + ("…" if len(value) > 40 else "")
    if isinstance(value, int | float):
        # Python refuses to write whole numbers of thousands of digits.
        small = isinstance(value, float) or abs(value) <= MOST_WHOLE
        return repr(value) if small else "a number beyond 2^53"
    if isinstance(value, list | tuple):
        return "a list"
    return "an object" if isinstance(value, dict) else f"a {type(value).__name__}"


def nearest(given: str, known: list[str]) -> str:
    """The known name that was probably meant, or empty."""
    plain = given[:100].strip("\"' \t\r\n").lower()
    if plain in known:
        return plain
    import difflib  # noqa: PLC0415  (only a mistake needs it)

    found = difflib.get_close_matches(plain, known, 1, 0.6)
    return found[0] if found else ""
