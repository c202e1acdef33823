"""What the scan must find, in plain Python; the truth that iatp/_fast/scan is held against.

A text becomes a str of the characters that its reader sees, with the place of each in the raw
bytes; the rules of docs/detection.md are regular expressions on it. Slow, and no windows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from iatp.values.characters import SEPARATORS
from iatp.values.exchange import FINDINGS, KINDS, REDACTED
from iatp.values.issuers import ISSUERS
from iatp.values.secrets import NAMES, TITLES
from tests.twins import layers, secrets

JSON, TEXT, TARGET, FORM = range(4)
CARD, SSN, EMAIL, SECRET, IBAN = range(5)

Span = tuple[int, int, int, int]
Seen = tuple[int, int, int, int, int]
"""A span, and which secret it is or -1."""
Reading = tuple[str, list[int]]


class Found(NamedTuple):
    spans: list[Span]
    error: str | None = None
    error_at: int = 0
    secrets: tuple[int, ...] = ()
    """Which secret each span is, or -1."""


def found(seen: list[Seen], error: str | None = None, error_at: int = 0) -> Found:
    return Found([span[:4] for span in seen], error, error_at, tuple(span[4] for span in seen))


def scan(data: bytes, form: int) -> Found:
    depth = layers.Depth(3, 2, layers.Budget(len(data)))
    try:
        if form == JSON:
            return Json(data, "", depth).read()
        if form == TARGET:
            path, mark, _ = data.partition(b"?")
            cut = len(path + mark)
            query = read(data[cut:], FORM, "", depth, cut)
            return found(read(data[:cut], TARGET, "", depth, 0) + query)
        return found(read(data, form, "", depth, 0))
    except layers.TooMuchError:
        return Found([], layers.TOO_MUCH)


def read(
    data: bytes,
    form: int,
    key: str,
    depth: layers.Depth | None,
    start: int,
    *,
    direct: bool = False,
) -> list[Seen]:
    """Return what is found in a text as it is and, unless `depth` is None, in its layers."""
    spans = find(characters(data, form), key, direct=direct)
    if depth:
        spans = layers.merge(spans, layers.inside(data, form, key, depth))
    return [
        (kind, low + start, high + start, quoted, which) for kind, low, high, quoted, which in spans
    ]


def name_of(span: Seen) -> str:
    """Return what a finding is called in records and metrics."""
    return KINDS[span[0]] if span[4] < 0 else NAMES[span[4]]


def pairs(names: list[str]) -> tuple[tuple[int, int], ...]:
    """Return how many there are of each, by their numbers in FINDINGS."""
    return tuple(
        (number, names.count(name)) for number, name in enumerate(FINDINGS) if name in names
    )


def redact(data: bytes, spans: Sequence[Span | Seen]) -> bytes:
    for kind, start, end, quoted, *_ in reversed(spans):
        # In JSON inside a string its quotes are escaped, once more at each level.
        quote = "\\" * (2 ** (quoted - 1) - 1) + '"' if quoted else ""
        value = quote + REDACTED[kind] + quote
        data = data[:start] + value.encode() + data[end:]
    return data


def counts(spans: list[Span]) -> tuple[int, ...]:
    return tuple(sum(span[0] == kind for span in spans) for kind in range(len(KINDS)))


# Characters.

ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "b": "\b", "f": "\f", '"': '"', "\\": "\\", "/": "/"}


def characters(data: bytes, form: int) -> Reading:
    """Return what the reader sees, and where each character begins, and where the last ends."""
    units: list[tuple[bytes, int]] = []  # What each byte means, and where its text begins.
    pattern = {
        JSON: rb"\\(?:u[0-9a-fA-F]{4}|[\"\\/bfnrt])|.",
        TEXT: rb".",
        TARGET: rb"%[0-9a-fA-F]{2}|.",
        FORM: rb"%[0-9a-fA-F]{2}|.",
    }[form]
    for match in re.finditer(pattern, data, re.DOTALL):
        token = match[0]
        if form >= TARGET and len(token) == 3:
            token = bytes([int(token[1:], 16)])
        elif form == FORM and token == b"+":
            token = b" "
        units.append((token, match.start()))
    text: list[str] = []
    places: list[int] = []
    at = 0
    while at < len(units):
        token, place = units[at]
        width = 1
        if len(token) > 2:
            character = chr(int(token[2:], 16))
            behind = units[at + 1][0] if at + 1 < len(units) else b""
            if "\ud800" <= character < "\udc00" and re.match(rb"\\u[dD][c-fC-F]", behind):
                low = int(behind[2:], 16)
                character = chr(0x10000 + (ord(character) - 0xD800) * 0x400 + low - 0xDC00)
                width = 2
        elif len(token) == 2:
            character = ESCAPES[chr(token[1])]
        else:
            width, character = utf8([unit[0] for unit in units[at : at + 4]])
        text.append(character)
        places.append(place)
        at += width
    return "".join(text), [*places, len(data)]


def utf8(units: list[bytes]) -> tuple[int, str]:
    """Return how many units make the next character, and it; a broken one is its first byte."""
    for width in range(1, len(units) + 1):
        if all(len(unit) == 1 for unit in units[:width]):
            try:
                return width, b"".join(units[:width]).decode()
            except UnicodeDecodeError:
                pass
    return 1, chr(units[0][0])


# Numbers.

DASHES = "".join(map(chr, SEPARATORS))
SEPARATOR = f"[ ./_\\t{DASHES}-]"
ROW = re.compile(rf"\d+(?:{SEPARATOR}\d+){{0,19}}")
MORE_BEFORE = re.compile(rf"\d{SEPARATOR}\Z")
MORE_BEHIND = re.compile(rf"{SEPARATOR}\d")
POINT = re.compile(r"""(?:\A|\d|[ \t\n\r+\-=:,;(\[{"'])\.\Z""")
SECOND_POINT = re.compile(r"\d\.\d{1,20}\.\Z")
PRINTED = re.compile("4 4 4 1|4 4 4 4( [123])?|4 6 [45]|6 13")
EXPONENT = re.compile(r"[eE]\+?([0-9]{1,2})(?!\d)")
HEX = re.compile(r"[0-9a-fA-F]{24,}")
UUID = re.compile(
    r"(?<![0-9a-fA-F])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9a-fA-F])"
)


def call(words: str) -> re.Pattern[str]:
    """Return what calls a number an SSN: long words anywhere, `words` as words of their own."""
    return re.compile(
        rf"""
        (?i: {LONG})
        |
        (?: (?<![a-zA-Z]) | (?<=[a-z])(?=[A-Z]) )
        (?i: {words})
        (?: (?![a-zA-Z]) | (?=[sS](?![a-zA-Z])) | (?<=[a-z])(?=[A-Z]) | (?=[A-Z][a-z]) )
        """,
        re.VERBOSE | re.ASCII,
    )


JOINER = r"\.?[ _-]?"
WORDY = r"0-9A-Za-z\#\x80-\U0010ffff"


def called(*words: str) -> str:
    """Return a pattern of any of these; a space is a joiner or nothing."""
    cases = [
        "".join(c if c.isascii() else f"[{c}{c.upper()}]" for c in word).replace("#", r"\#")
        for word in words
    ]
    return "|".join(case.replace(" ", JOINER) for case in cases)


LONG = called(
    "social security", "tax payer", "seguro social", "sozialversicherung", "securite sociale",
    "sécurité sociale", "социального страхования", "社会安全", "社會安全", "社会保障", "사회보장",
)  # fmt: skip
SAID = called(
    "ssn", "s s n", "ssn number", "ssn no", "ss number", "ss no", "ss num", "ss nbr", "ss #",
    "ssn #", "itin", "tax id", "soc sec",
)  # fmt: skip
WORDS = call(SAID)
KEY_WORDS = call(f"{SAID} | tin")
ABOVE = re.compile(
    rf"""
    (?: <[^<>\r\n]{{0,23}}> | (?<=\n) Content-T [^\r\n]{{0,63}} (?=[\r\n]) | [^{WORDY}] )* \Z
    """,
    re.VERBOSE,
)
"""What may stand between a number and the line above it."""
ENDS = re.compile(
    rf"(?:{WORDS.pattern})[sS]?(?:[^{WORDY}]{{1,3}}(?i:number|no|num|nbr|is))?\Z",
    re.VERBOSE | re.ASCII,
)
STOP = re.compile(
    r"""
    [\n\r,;!?&|{}] | \d{3}
    | (?<! (?<![a-zA-Z])[a-zA-Z] ) (?<! (?<![a-zA-Z])(?i:no) )
      (?<! (?<![a-zA-Z])(?i:soc|sec|nbr|num) ) \.
    """,
    re.VERBOSE,
)


def is_card(digits: str) -> bool:
    assigned = any(
        len(digits) in lengths and first <= int(digits[:6]) <= last
        for _, first, last, lengths in ISSUERS
    )
    return assigned and luhn(digits) and len(set(digits)) > 1


def luhn(digits: str) -> bool:
    """Every second digit from the right is doubled, the digits of that are added up."""
    doubled = [int(d) * (1 + place % 2) for place, d in enumerate(reversed(digits))]
    return sum(sum(map(int, str(value))) for value in doubled) % 10 == 0


def is_ssn(digits: str) -> bool:
    area, group, serial = int(digits[:3]), int(digits[3:5]), int(digits[5:])
    if area in (0, 666) or group == 0 or serial == 0:
        return False
    itin = {*range(50, 66), *range(70, 89), *range(90, 93), *range(94, 100)}
    return area < 900 or group in itin


def words_before(text: str, at: int) -> bool:
    """Whether the 64 characters before a place, in one sentence or field, announce an SSN."""
    low = max(0, at - 64)
    for stop in STOP.finditer(text, low, at):
        low = stop.end()
    return WORDS.search(text, low, at) is not None or line_says(text, at)


def line_says(text: str, at: int) -> bool:
    """Whether the line or field before that of a number, with no words between, says what it is."""
    low = max(0, at - 112)
    gap = ABOVE.search(text[low:at])
    assert gap
    above = low + gap.start()
    if not re.search(r"[\r\n|,;]", gap[0]):
        return False
    name = re.search(r"[0-9A-Za-z_.-]*\Z", text[low:above])
    assert name
    return (
        WORDS.search(text, low + name.start(), above) is not None
        or WORDS.search(text, above, at) is not None
        or ENDS.search(text, low, above) is not None
    )


def find(reading: Reading, key: str = "", start: int = 0, *, direct: bool = False) -> list[Seen]:
    """Return the spans of one text; `key` is that of its value, `start` is where it begins.

    `direct` says that the text is that value, and not one of several in an array.
    """
    text, places = reading
    spans: list[Seen] = []
    at = floor = 0
    while at < len(text):
        secret = secret_at(text, at, key, direct=direct)
        number = None if secret else number_at(text, at, key)
        address = address_at(text, at, floor, key)
        if secret:
            kind, end, which = secret
            spans.append((kind, start + places[at], start + places[end], 0, which))
            at = floor = end
        elif number:
            kind, end = number
            spans.append((kind, start + places[at], start + places[end], 0, -1))
            at = floor = end
        elif address:
            low, end = address
            spans.append((EMAIL, start + places[low], start + places[end], 0, -1))
            at = floor = end
        else:
            at += 1
    return spans


def secret_at(text: str, at: int, key: str, *, direct: bool) -> tuple[int, int, int] | None:
    """Return kind, end and number of the secret or IBAN that begins here."""
    if token := secrets.token_at(text, at):
        return SECRET, token[1], token[0]
    if (end := secrets.iban_at(text, at)) and not inside(UUID, text, at, end):
        return IBAN, end, -1
    if said := secrets.said_at(text, at, key, direct=direct):
        return SECRET, said[1], said[0]
    return None


def number_at(text: str, at: int, key: str) -> tuple[int, int] | None:
    """Return the kind and the end of the number that begins here, if it is a finding."""
    if not text[at].isdecimal() or text[at - 1 : at].isdecimal():
        return None
    row = ROW.match(text, at)
    assert row
    groups = [match.span() for match in re.finditer(r"\d+", row[0])]
    groups = [(at + low, at + high) for low, high in groups]
    sizes = [high - low for low, high in groups]
    seps = [text[high] for _, high in groups[:-1]]
    before = text[max(0, at - 2) : at]
    begins_row = not MORE_BEFORE.search(before)

    if sizes[:3] == [3, 2, 4] and seps[0] == seps[1] and is_ssn(ascii_digits(text, groups[:3])):
        apart_before = begins_row or before[-1] != seps[0]
        if apart_before and (len(groups) == 3 or seps[2] != seps[0]):
            return SSN, groups[2][1]

    fraction = is_fraction(text, *groups[0])
    best = 0
    for count in range(1, len(groups) + 1):
        digits = ascii_digits(text, groups[:count])
        low, high = groups[count - 1]
        if len(digits) > 19 or is_fraction(text, low, high):
            break
        if len(digits) <= 15 and before.endswith("+"):
            continue
        marks = [
            PRINTED.fullmatch(" ".join(map(str, sizes[:count]))) is not None,
            len(set(seps[: count - 1])) == 1,
            begins_row and count == len(groups) and not MORE_BEHIND.match(text, high),
        ]
        if not is_card(digits) or (count > 1 and sum(marks) < 2):
            continue
        if (
            count > 1
            and not marks[0]
            and (
                seps[0] == "\t"
                or not is_apart(text, at, high, seps[0])
                or inside(HEX, text, *groups[0])
                or inside(HEX, text, low, high)
            )
        ):
            continue
        if count > 1 and seps[0] == " " and in_dump(text, at, high, sizes[0]):
            continue
        if inside(UUID, text, at, high) or (count == 1 and inside(HEX, text, at, high)):
            continue
        best = high
    if not best and len(groups) == 2 and seps == ["."] and not fraction:
        exponent = EXPONENT.match(text, groups[1][1])
        digits = ascii_digits(text, groups)
        if exponent and len(digits) <= 19:
            length = sizes[0] + int(exponent[1])
            if is_card(digits.ljust(length, "0")[:length]):
                best = exponent.end()
    if best:
        return CARD, best

    end = groups[0][1]
    if sizes[0] == 9 and not fraction and is_ssn(ascii_digits(text, groups[:1])):
        glued = re.search(r"[a-zA-Z]\Z", before) is not None
        announced = words_before(text, at) or (KEY_WORDS.search(key) is not None and not glued)
        if announced and not re.match("[a-zA-Z]", text[end:]):
            return SSN, end
    return None


def is_apart(text: str, low: int, high: int, separator: str) -> bool:
    """Whether no letter is joined to these digits by their separator; a space joins none."""
    if separator not in "-./_":
        return True
    before = re.search(rf"[a-zA-Z]{re.escape(separator)}\Z", text[max(0, low - 2) : low])
    return not before and not re.match(rf"[_{re.escape(separator)}][a-zA-Z]", text[high : high + 2])


def in_dump(text: str, low: int, high: int, width: int) -> bool:
    """Whether these groups stand in a row of groups of `width` hex digits, as dumps are printed."""
    if width not in (2, 4, 8):
        return False
    group, figures = f"[0-9a-fA-F]{{{width}}}", f"[0-9]{{{width}}}"
    mixed = rf"(?=[0-9]*[a-fA-F])(?=[a-fA-F]*[0-9]){group}"
    joined = "(?![0-9A-Za-z])"
    behind = rf"(?: {figures}{joined}){{0,7}} {mixed}{joined}"
    before = rf"(?<![0-9A-Za-z]){mixed} (?:{figures} ){{0,7}}\Z"
    return bool(
        re.match(behind, text[high : high + 100])
        or re.search(before, text[max(0, low - 100) : low])
    )


def is_fraction(text: str, low: int, high: int) -> bool:
    """Whether these digits follow a decimal point, and not the second dot of `1.2.3`."""
    if high - low < 7 or re.match(r"\.\d", text[high : high + 2]):
        return False
    before = text[max(0, low - 24) : low]
    return POINT.search(before) is not None and not SECOND_POINT.search(before)


def ascii_digits(text: str, groups: list[tuple[int, int]]) -> str:
    return "".join(str(int(digit)) for low, high in groups for digit in text[low:high])


def inside(pattern: re.Pattern[str], text: str, low: int, high: int) -> bool:
    around = max(0, low - 300)
    return any(
        around + match.start() <= low and high <= around + match.end()
        for match in pattern.finditer(text[around : high + 300])
    )


# Addresses.

LETTERS = "a-zA-Z0-9\u00c0-\u1fff\u2070-\u2fff\u3040-\ufeff\uff10-\U0010ffff"
LOCAL = re.compile(rf"[{LETTERS}._%+'-]{{0,64}}\Z")
LABEL = re.compile(f"[{LETTERS}-]+")


def address_at(text: str, at: int, floor: int, key: str) -> tuple[int, int] | None:
    """Return the ends of the address whose @ stands here, if there is one."""
    if text[at] != "@":
        return None
    local = LOCAL.search(text[max(floor, at - 64) : at])
    assert local
    name = local[0].lstrip(".'")
    domain = text[at + 1 : at + 254]
    for place in range(len(domain)):
        here = at + 1 + place
        if number_at(text, here, key) or secret_at(text, here, "", direct=False):
            domain = domain[:place]
            break
    # The longest that is labels with dots between, the last of two or more and not all digits.
    for high in range(len(domain), 0, -1):
        labels = domain[:high].split(".")
        last = labels[-1]
        if (
            len(labels) > 1
            and all(LABEL.fullmatch(label) for label in labels)
            and len(last) > 1
            and not last.endswith("-")
            and re.search(r"[^\d-]", last)
        ):
            end = at + 1 + high
            # user and host of git@host:path
            if not name or (name == "git" and re.match(r":[0-9A-Za-z/~]", text[end:])):
                return None
            return at - len(name), end
    return None


# JSON.

CONTROL = "a control character or an unknown escape in a string"
NUMBER = re.compile(rb"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


SPLIT = re.compile(
    rb"\[[ \n\t\r]*(\"[0-9]+\"(?:[ \n\t\r]*,[ \n\t\r]*\"[0-9]+\")+"
    rb"|[0-9]+(?:[ \n\t\r]*,[ \n\t\r]*[0-9]+)+)[ \n\t\r]*\]"
)


class JsonError(Exception):
    def __init__(self, reason: str, at: int, rest: int | None = None) -> None:
        super().__init__(reason)
        self.reason, self.at = reason, at
        self.rest = at if rest is None else rest
        """From here on nothing has been read."""


class Json:
    """A strict decoder (RFC 8259) by recursive descent, which looks at all that it passes."""

    def __init__(self, data: bytes, key: str = "", depth: layers.Depth | None = None) -> None:
        self.data, self.at, self.spans = data, 0, list[Seen]()
        self.key, self.depth = key, depth

    def read(self) -> Found:
        try:
            self.value(self.key, 0)
            if self.peek():
                raise JsonError("something behind the value", self.at)
        except JsonError as error:
            rest = read(self.data[error.rest :], JSON, "", self.depth, error.rest)
            return found(self.spans + rest, error.reason, error.at)
        return found(self.spans)

    def peek(self) -> bytes:
        """Return the next byte that is not white space; empty at the end."""
        while self.data[self.at : self.at + 1] in (b" ", b"\t", b"\n", b"\r"):
            self.at += 1
        return self.data[self.at : self.at + 1]

    def value(self, key: str, depth: int, *, direct: bool = False) -> None:
        first = self.peek()
        if first == b'"':
            self.string(key, direct=direct)
        elif first in (b"[", b"{"):
            if depth == 128:
                raise JsonError("nested deeper than 128", self.at)
            self.members(key, depth + 1, is_object=first == b"{")
        elif first and first in b"-0123456789":
            self.number(key)
        else:
            for word in (b"true", b"false", b"null"):
                if self.data.startswith(word, self.at):
                    self.at += len(word)
                    return
            raise JsonError("a value is missing or unknown", self.at)

    def members(self, key: str, depth: int, *, is_object: bool) -> None:
        closing = b"}" if is_object else b"]"
        if not is_object:
            self.split()
        self.at += 1
        if self.peek() == closing:
            self.at += 1
            return
        while True:
            if is_object:
                self.expect(b'"')
                start = self.at
                key = self.string("")
                if secrets.LABEL.search(key):
                    key = secrets.BETWEEN_NAMES.join([key, *self.names(start)])
                elif secrets.CONTENT.search(key):
                    between = secrets.BETWEEN_NUMBERS
                    key = between.join([key, *self.names(start), ""])
                self.expect(b":")
                self.at += 1
            self.value(key, depth, direct=is_object)
            if self.peek() == closing:
                self.at += 1
                return
            self.expect(b",")
            self.at += 1

    def names(self, at: int) -> list[str]:
        """Return what else names the member whose key begins here, the nearest first.

        These are the strings of up to four members before it, by the ends of their keys, and the
        key of the object.
        """
        low = max(0, at - 512)
        found = []
        for left in range(4, -1, -1):
            before = self.data[low:at].rstrip(b" \n\t\r")
            if before.endswith(b"{"):
                key = re.search(rb":[ \n\t\r]*\Z", before[:-1])
                if key and (name := last_string(before[: key.start()])):
                    found.append(name[1])
                break
            if not before.endswith(b",") or left == 0:
                break
            before = before[:-1].rstrip(b" \n\t\r")
            value = last_string(before)
            scalar = re.search(rb"[0-9A-Za-z.+-]+\Z", before)
            end = value[0] if value else scalar.start() if scalar else 0
            colon = re.search(rb":[ \n\t\r]*\Z", before[:end])
            key = last_string(before[: colon.start()]) if colon else None
            if not key:
                break
            if value and TITLE.search(key[1]):
                found.append(value[1])
            at = low + key[0]
        texts = [characters(name, JSON)[0] for name in found]
        return [text if len(text) <= 64 else "" for text in texts]

    def split(self) -> None:
        """Add the card number that is split over the items of the array that opens here."""
        match = SPLIT.match(self.data, self.at)
        if not match:
            return
        groups = re.findall("[0-9]+", match[1].decode())
        sizes = [len(group) for group in groups]
        is_even = len(set(sizes[:-1])) == 1 and sizes[-1] <= sizes[0]
        is_text = match[1][:1] == b'"'
        is_printed = sizes[:2] == [4, 6] and sizes[2:] in ([4], [5])
        is_split = is_printed or (is_even and (is_text or sizes == [4, 4, 4, 4]))
        if is_split and is_card("".join(groups)):
            self.spans.append((CARD, *match.span(1), 1, -1))

    def expect(self, byte: bytes) -> None:
        if self.peek() != byte:
            raise JsonError("a comma, colon or bracket is missing", self.at)

    def string(self, key: str, *, direct: bool = False) -> str:
        """Return what a reader makes of the string, if it may be asked what it says."""
        start = self.at
        data = self.data
        at = start + 1
        while data[at : at + 1] != b'"':
            if at >= len(data):
                raise JsonError("a string that does not end", at, start)
            if match := re.compile(rb"[^\x00-\x1f\"\\\x80-\xff]+").match(data, at):
                at = match.end()
            elif match := re.compile(rb"\\u([0-9a-fA-F]{4})").match(data, at):
                at = match.end()
                if re.match(b"[dD][89abAB]", match[1]):
                    pair = re.compile(rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}").match(data, at)
                    if not pair:
                        raise JsonError("a lone surrogate", match.start(), start)
                    at = pair.end()
                elif re.match(b"[dD][c-fC-F]", match[1]):
                    raise JsonError("a lone surrogate", match.start(), start)
            elif data[at] == 0x5C and at + 1 == len(data):
                raise JsonError("a string that does not end", len(data), start)
            elif re.compile(rb"\\[\"\\/bfnrt]").match(data, at):
                at += 2
            elif data[at] < 0x80:
                raise JsonError(CONTROL, at, start)
            else:
                width = utf8([data[place : place + 1] for place in range(at, at + 4)])[0]
                if width == 1:
                    raise JsonError("not UTF-8", at, start)
                at += width
        self.at = at + 1
        text, _ = characters(data[start + 1 : at], JSON)
        self.spans += self.string_spans(start + 1, at, key, direct=direct)
        return text if len(text) <= 64 else ""

    def string_spans(self, start: int, end: int, key: str, *, direct: bool) -> list[Seen]:
        """Return what is found in the text of a string."""
        data = self.data[start:end]
        # What a key calls a secret is one as it stands, whatever it holds.
        if self.depth and not (direct and secrets.key_word(key).says):
            layer = layers.undo(data, layers.ESCAPE, layers.escape)
            spans = layers.document(layer.data, key, self.depth)
            if spans is not None:
                return [
                    (kind, start + low, start + high, quoted, which)
                    for kind, low, high, quoted, which in layer.back(layers.deeper(spans))
                ]
        return read(data, JSON, key, self.depth, start, direct=direct)

    def number(self, key: str) -> None:
        start = self.at
        match = NUMBER.match(self.data, start)
        if not match:
            raise JsonError("not a number", start + 1, start)
        self.at = match.end()
        behind = self.data[self.at : self.at + 2]
        if match[1] == b"0" and match[2] is None and match[3] is None and behind[:1].isdigit():
            raise JsonError("not a number", self.at, start)
        if match[3] is None and (broken := self.broken(match)):
            raise JsonError("not a number", broken, start)
        text = match[0].decode()
        if math.isinf(float(text)):
            raise JsonError("a number beyond a double", start)
        digits = whole_digits(text)
        if is_card(digits):
            self.spans.append((CARD, start, self.at, 1, -1))
        elif len(digits) == 9 and is_ssn(digits) and KEY_WORDS.search(key):
            self.spans.append((SSN, start, self.at, 1, -1))

    def broken(self, match: re.Match[bytes]) -> int:
        """Return where a number breaks off behind its point, its e or its sign, or 0."""
        more = rb"\.|[eE][+-]?" if match[2] is None else rb"[eE][+-]?"
        tail = re.compile(more).match(self.data, match.end())
        return tail.end() if tail else 0


TITLE = re.compile(f"(?i:{'|'.join(TITLES)})\\Z".encode())


def last_string(data: bytes) -> tuple[int, bytes] | None:
    """Return where the string of JSON begins that ends the data, white space behind it, and it."""
    data = data.rstrip(b" \n\t\r")
    if not data.endswith(b'"'):
        return None
    start = len(data) - 1
    while (start := data.rfind(b'"', 0, start)) >= 0:
        slants = re.search(rb"\\*\Z", data[:start])
        assert slants
        if len(slants[0]) % 2 == 0:
            return start, data[start + 1 : -1]
    return None


def whole_digits(text: str) -> str:
    """Return the digits before the decimal point of a JSON number, its exponent applied."""
    mantissa, _, exponent = text.lstrip("-").lower().partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return ""
    length = len(whole + fraction) - len(fraction) + int(Decimal(exponent or 0))
    length -= len(whole + fraction) - len(digits)
    return digits.ljust(length, "0")[:length] if 0 < length <= 19 else ""
