"""How the text of one setting is read, one reader per kind of value.

A reader takes text (from the environment or a flag) or what TOML makes of it, and raises
`TextError` with a complaint and, where it can be told, what was meant. Texts are exact: a
stray quote, space or line end is pointed out and never taken off silently.
"""

from __future__ import annotations

import decimal
import enum
import pathlib
import re
from typing import Generic, TypeVar

from iatp.values.address import (
    AgentAddress,
    TextError,
    read_agent_url,
    read_bind_host,
    read_data_host,
    show_agent_url,
)

T = TypeVar("T")
E = TypeVar("E", bound=enum.StrEnum)

_QUOTES = "\"'`“”‘’"
_SHOWN_LENGTH = 100


class Secret(str):
    """A text that does not show itself in a repr, so that no log of settings holds it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class Reader(Generic[T]):
    """Reads one kind of value. `allowed` says what it takes, as the end of a sentence."""

    allowed: str
    metavar: str
    toml: tuple[type, ...] = (str,)
    toml_name: str = "a text"

    def read(self, text: str) -> T:
        """The value of a text without strays. Raises: TextError."""
        raise NotImplementedError

    def read_native(self, value: object) -> T:
        """The value of something that TOML or a Python caller gave. Raises: TextError."""
        if not isinstance(value, str):
            raise TextError(f"it is not {self.toml_name}")
        if str not in self.toml:
            raise TextError(f"it is not {self.toml_name}", self._meant(str(value)))
        return read_text(self, str(value))

    def show(self, value: T) -> str:
        """The text that would be read as this value."""
        return str(value)

    def given(self, text: str) -> str:
        """How a wrong text is shown."""
        shown = repr(text)
        return shown if len(shown) <= _SHOWN_LENGTH else shown[:_SHOWN_LENGTH] + "…"

    def _meant(self, text: str) -> str:
        try:
            return self.show(self.read(text))
        except TextError:
            return ""


def read_text(reader: Reader[T], text: str) -> T:
    """What the reader makes of a text as it was given. Raises: TextError."""
    if not text:
        raise TextError("it is empty")
    strays, cleaned = _strays(text)
    if strays:
        meant = ""
        if cleaned.isprintable():
            try:
                meant = reader.show(reader.read(cleaned))
            except TextError as wrong:
                meant = wrong.meant
        raise TextError(" and ".join(strays), meant)
    if any(not character.isprintable() for character in text):
        raise TextError("it holds a character that cannot be printed")
    return reader.read(text)


def _strays(text: str) -> tuple[list[str], str]:
    cleaned = text.strip()
    outside = text[: len(text) - len(text.lstrip())] + text[len(text.rstrip()) :]
    strays = []
    if "\r" in outside or "\n" in outside:
        strays.append("a line end is part of the value")
    if any(character not in "\r\n" for character in outside):
        strays.append("white space is part of the value")
    inner = cleaned.strip(_QUOTES)
    if inner != cleaned:
        strays.append("quotes are part of the value")
        if inner != inner.strip():
            inner = inner.strip()
    return strays, inner


def nearest(name: str, known: list[str]) -> str:
    """The known name that was probably meant, or empty."""
    import difflib  # noqa: PLC0415  (only a mistake needs it)

    found = difflib.get_close_matches(name, known, 1, 0.6)
    return found[0] if found else ""


class Choice(Reader[E]):
    """One member of an enumeration, by its exact text."""

    metavar = "NAME"

    def __init__(self, members: type[E]) -> None:
        self.members = members
        names = [str(member) for member in members]
        self.allowed = f"{', '.join(names[:-1])} or {names[-1]}"

    def read(self, text: str) -> E:
        """The member."""
        names = [str(member) for member in self.members]
        if text in names:
            return self.members(text)
        plain = text.lower().replace("-", "_").replace(" ", "_")
        if plain in names:
            raise TextError("names are exact, in lower case", plain)
        raise TextError("there is no such name", nearest(plain, names))


class Switch(Reader[bool]):
    """`true` or `false`, in any case."""

    allowed = "true or false"
    metavar = "true|false"
    toml = (bool,)
    toml_name = "true or false without quotes"

    def read(self, text: str) -> bool:
        """The truth value."""
        plain = text.lower()
        if plain in ("true", "false"):
            return plain == "true"
        if plain in ("1", "yes", "y", "on", "t"):
            raise TextError("it is neither true nor false", "true")
        if plain in ("0", "no", "n", "off", "f"):
            raise TextError("it is neither true nor false", "false")
        raise TextError("it is neither true nor false", nearest(plain, ["true", "false"]))

    def read_native(self, value: object) -> bool:
        """A bool as it is."""
        return value if isinstance(value, bool) else super().read_native(value)

    def show(self, value: bool) -> str:  # noqa: FBT001  (the value itself)
        """The text."""
        return "true" if value else "false"


class Whole(Reader[int]):
    """A whole number within a range."""

    metavar = "NUMBER"
    toml = (int,)
    toml_name = "a whole number without quotes"

    def __init__(self, least: int, most: int, note: str = "") -> None:
        self.least, self.most = least, most
        self.allowed = f"a whole number from {least} to {most}{note}"

    def read(self, text: str) -> int:
        """The number."""
        if re.fullmatch(r"[+-]?[0-9]+", text) is None:
            if re.fullmatch(r"(?:tcp|udp)://\S+", text) is not None:
                # A service named "iatp" puts IATP_PORT=tcp://10.0.0.1:8001 into every pod.
                raise TextError(
                    "Kubernetes sets it so for a service of that name; "
                    "enableServiceLinks: false in the pod keeps it out"
                )
            raise TextError("it is not a whole number")
        # int() of thousands of digits raises; twenty are beyond every range.
        return self._within(int(text) if len(text) <= 20 else self.most + 1)

    def read_native(self, value: object) -> int:
        """An int within the range."""
        if isinstance(value, int) and not isinstance(value, bool):
            return self._within(value)
        return super().read_native(value)

    def _within(self, number: int) -> int:
        if number > self.most:
            raise TextError(f"it is more than {self.most}")
        if number < self.least:
            raise TextError(f"it is less than {self.least}")
        return number


class _Measured(Reader[T]):
    """A number with a unit."""

    units: dict[str, int]
    """Unit to how many of the smallest one it holds, from small to large."""
    bare_unit: str = ""
    """Unit of a number without one; empty: it is refused."""
    suggested_unit: str
    noun: str

    def __init__(self, least: str, most: str) -> None:
        self.least, self.most = self.amount(least), self.amount(most)
        names = ", ".join(self.units)
        self.allowed = f"{self.noun} from {least} to {most} with its unit ({names})"
        self.toml_name = f'{self.noun} in quotes with its unit, such as "30{self.suggested_unit}"'

    def amount(self, text: str) -> int:
        """How many of the smallest unit. Raises: TextError."""
        found = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?([A-Za-zµ]*)", text)
        if found is None:
            raise TextError(f"it is not {self.noun}")
        number, unit = decimal.Decimal(found.group(1)), found.group(2)
        if not unit and not self.bare_unit:
            raise TextError("it has no unit", f"{text}{self.suggested_unit}")
        unit = unit or self.bare_unit
        if unit not in self.units:
            likely = self._likely(unit.lower())
            meant = f"{found.group(1)}{likely}" if likely else ""
            raise TextError(f"there is no unit {unit!r}", meant)
        amount = number * self.units[unit]
        if amount != int(amount):
            raise TextError(f"it is not a whole number of {next(iter(self.units))}")
        return int(amount)

    def _likely(self, unit: str) -> str:
        """The unit that was probably meant, or empty."""
        likely = {name[0].lower(): name for name in reversed(self.units)}
        likely |= {"msec": "ms", "millis": "ms", "millisecond": "ms", "milliseconds": "ms"}
        for name in self.units:
            if name.endswith("iB"):
                likely |= {name[0].lower(): name, name[:2].lower(): name}
            likely[name.lower()] = name
        first = "" if self.noun == "a size" else likely.get(unit[:1], "")
        return likely.get(unit, first)

    def limited(self, text: str) -> int:
        """The amount within the range. Raises: TextError."""
        amount = self.amount(text)
        if amount < self.least:
            raise TextError(f"it is less than {self.text(self.least)}")
        if amount > self.most:
            raise TextError(f"it is more than {self.text(self.most)}")
        return amount

    def text(self, amount: int) -> str:
        """The amount in the largest unit that gives a whole number."""
        for unit, size in reversed(self.units.items()):
            if amount and amount % size == 0:
                return f"{amount // size}{unit}"
        return f"0{self.suggested_unit}"


class Duration(_Measured[float]):
    """A time, in seconds, exact to the millisecond."""

    metavar = "TIME"
    units = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}  # noqa: RUF012
    suggested_unit = "s"
    noun = "a duration"

    def read(self, text: str) -> float:
        """Seconds."""
        return self.limited(text) / 1000

    def show(self, value: float) -> str:
        """The text in the largest fitting unit."""
        return self.text(round(value * 1000))


class SecondsOrDuration(Duration):
    """A time whose bare number means seconds, for an older name."""

    bare_unit = "s"


class Size(_Measured[int]):
    """A number of bytes."""

    metavar = "SIZE"
    units = {  # noqa: RUF012
        "B": 1,
        "KB": 1000,
        "KiB": 1 << 10,
        "MB": 1000**2,
        "MiB": 1 << 20,
        "GB": 1000**3,
        "GiB": 1 << 30,
        "TB": 1000**4,
        "TiB": 1 << 40,
    }
    suggested_unit = "B"
    noun = "a size"

    def read(self, text: str) -> int:
        """Bytes."""
        return self.limited(text)

    def show(self, value: int) -> str:
        """The text in the largest fitting unit, binary units first."""
        for unit in ("TiB", "GiB", "MiB", "KiB"):
            if value and value % self.units[unit] == 0:
                return f"{value // self.units[unit]}{unit}"
        return self.text(value)


class AgentUrl(Reader[AgentAddress]):
    """The agent's URL."""

    allowed = "http://host:port/path or unix:/path/of/socket:/path"
    metavar = "URL"

    def read(self, text: str) -> AgentAddress:
        """The address."""
        return read_agent_url(text)

    def given(self, text: str) -> str:
        """The text without credentials and query."""
        return super().given(show_agent_url(text))


class BindHost(Reader[str]):
    """Where a listener binds; with `unix` also a Unix socket."""

    allowed = "an IP address or a host name, without a port"
    metavar = "HOST"

    def __init__(self, *, unix: bool = False) -> None:
        self.unix = unix
        if unix:
            self.allowed += ", or unix:/path/of/socket"

    def read(self, text: str) -> str:
        """The host in lower case."""
        return read_data_host(text) if self.unix else read_bind_host(text)


class Text(Reader[str]):
    """Any printable text, up to a length."""

    metavar = "TEXT"

    def __init__(self, allowed: str, most: int, metavar: str = "TEXT") -> None:
        self.allowed, self.most, self.metavar = allowed, most, metavar

    def read(self, text: str) -> str:
        """The text."""
        if len(text) > self.most:
            raise TextError(f"it is longer than {self.most} characters")
        return text


class PathText(Text):
    """A path of the file system."""

    def __init__(self) -> None:
        super().__init__("the path of a file or folder", 4096, "PATH")

    def read(self, text: str) -> str:
        """The path as it is written."""
        if text.startswith("~"):
            raise TextError("'~' stands for a home only in a shell")
        return super().read(text)

    def read_native(self, value: object) -> str:
        """A path object as well as its text."""
        return super().read_native(str(value) if isinstance(value, pathlib.PurePath) else value)


class Token(Reader[Secret]):
    """A secret that callers send in a header."""

    metavar = "SECRET"

    def __init__(self, least: int = 1) -> None:
        self.least = least
        some = f"at least {least} " if least > 1 else ""
        self.allowed = f"{some}visible ASCII characters, at most 1024"

    def read(self, text: str) -> Secret:
        """The secret."""
        if any(not "!" <= character <= "~" for character in text):
            raise TextError("it holds a character that cannot stand in it")
        if len(text) < self.least:
            raise TextError(f"it is shorter than {self.least} characters")
        if len(text) > 1024:
            raise TextError("it is longer than 1024 characters")
        return Secret(text)

    def given(self, text: str) -> str:  # noqa: ARG002
        """Nothing of it."""
        return "(hidden)"

    def show(self, value: Secret) -> str:  # noqa: ARG002
        """Nothing of it."""
        return "***"
