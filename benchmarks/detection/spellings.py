"""A value as people, programs and attackers spell it: a `Fragment` for some body to hold."""

from __future__ import annotations

import base64
import dataclasses
import json
import string
from random import Random

from benchmarks.detection import credentials, digits
from benchmarks.detection.marks import ESCAPE, Value, bare, mark

Parts = tuple[str, str, str]
"""A text in three: before the value, the value, behind it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fragment:
    key: str
    """What the value may stand behind; for a value that is a key itself, the value."""
    leaf: object
    """In JSON: a marked string, number, list or object."""
    text: str
    """In a text: marked."""
    assigned: bool = False
    """It is what it is by its key alone, and must not be parted from it."""
    only_json: bool = False
    kind: str | None = None


DIGITS = ("０", "٠", "۰", "०", "০", "๐", "𝟶")
"""Zeros: fullwidth, Arabic, Persian, Devanagari, Bengali, Thai, mathematical."""
DASHES = "\u2010\u2011\u2012\u2013\u2014\u2212\ufe63\uff0d"
SPACES = "\u00a0\u2002\u2007\u2009\u202f\u3000"
ODD = "\u00ad\u200b\u200c\u2060\u00b7"

CARD = {
    "plain": 36,
    "spaced": 14,
    "dashed": 8,
    "dot, slash, underscore, tab": 4,
    "Unicode separator": 4,
    "Unicode digits": 4,
    "letters stuck to it": 4,
    "with expiry behind": 3,
    "JSON number": 6,
    "JSON number, exponent or sign": 2,
    "JSON key": 2,
    "split over array items": 2,
    "JSON escapes": 2,
    "JSON in a string": 4,
    "percent": 2,
    "entities": 2,
    "base64": 3,
    "hex": 2,
    "base64 twice": 1,
}
SSN = {
    "dashed": 42,
    "spaced": 9,
    "dot, slash, underscore, tab": 4,
    "Unicode separator": 4,
    "Unicode digits": 3,
    "letters stuck to it": 3,
    "nine digits behind the key": 8,
    "nine digits behind words": 8,
    "JSON number behind the key": 4,
    "JSON escapes": 2,
    "JSON in a string": 4,
    "percent": 2,
    "entities": 2,
    "base64": 3,
    "hex": 2,
}
IBAN = {
    "plain": 46,
    "spaced": 24,
    "dashed": 4,
    "Unicode separator": 3,
    "behind its word": 3,
    "JSON escapes": 2,
    "JSON in a string": 5,
    "percent": 2,
    "entities": 2,
    "base64": 3,
    "hex": 2,
}
EMAIL = {
    "plain": 80,
    "JSON escapes": 2,
    "JSON in a string": 6,
    "percent": 3,
    "entities": 3,
    "base64": 4,
    "hex": 2,
}
SECRET = {
    "plain": 82,
    "JSON in a string": 8,
    "percent": 2,
    "base64": 5,
    "hex": 3,
}
SPELLINGS = {"credit_card": CARD, "ssn": SSN, "email": EMAIL, "secret": SECRET, "iban": IBAN}
JSON_ONLY = {
    *("JSON number", "JSON number, exponent or sign", "JSON key", "split over array items"),
    *("JSON escapes", "JSON number behind the key"),
}
ENCODED = {"percent", "entities", "base64", "hex", "base64 twice"}


def base64_of(parts: Parts) -> Parts:
    """The base64 of a text, and which of its characters hold the value."""
    sizes = [len(part.encode()) for part in parts]
    token = base64.b64encode("".join(parts).encode()).decode()
    low, high = sizes[0] * 4 // 3, -(-(sizes[0] + sizes[1]) * 4 // 3)
    return token[:low], token[low:high], token[high:]


def hex_of(parts: Parts) -> Parts:
    before, value, behind = (part.encode().hex() for part in parts)
    return before, value, behind


def _percent(rng: Random, text: str) -> str:
    """Every byte, or every second: both are undone alike."""
    every = rng.random() < 0.5
    return "".join(
        f"%{byte:02X}" if every or at % 2 == 0 or byte > 0x7E or byte < 0x21 else chr(byte)
        for at, byte in enumerate(text.encode())
    )


def _entities(rng: Random, text: str) -> str:
    form = rng.choice(["&#{};", "&#x{:x};", "&#X{:X};", "&#0{};"])
    every = rng.random() < 0.5
    return "".join(
        form.format(ord(sign)) if every or at % 2 == 0 else sign for at, sign in enumerate(text)
    )


def groups(number: str) -> list[str]:
    """As cards are printed."""
    if len(number) == 15:
        return [number[:4], number[4:10], number[10:]]
    if len(number) == 14:
        return [number[:4], number[4:10], number[10:]]
    return [number[at : at + 4] for at in range(0, len(number), 4)]


def _unicode_digits(rng: Random, text: str) -> str:
    zero = ord(rng.choice(DIGITS))
    return "".join(chr(zero + int(sign)) if sign in string.digits else sign for sign in text)


class Speller:
    """Makes fragments, and keeps the value of each by its number."""

    def __init__(self, rng: Random, values: list[Value], *, json_body: bool) -> None:
        self.rng, self.values, self.json_body = rng, values, json_body

    def _mark(self, value: Value, text: str) -> str:
        self.values.append(value)
        return mark(len(self.values) - 1, text)

    def _choose(self, kind: str) -> str:
        table = SPELLINGS[kind]
        names = [name for name in table if self.json_body or name not in JSON_ONLY]
        return self.rng.choices(names, [table[name] for name in names])[0]

    def planted(self, kind: str) -> Fragment:
        spelling = self._choose(kind)
        made = {
            "credit_card": self._card,
            "ssn": self._ssn,
            "iban": self._iban,
            "email": self._email,
            "secret": self._secret,
        }[kind](spelling)
        return dataclasses.replace(made, kind=kind)

    def lookalike(self) -> Fragment:
        sort, key, text, number = digits.lookalike(self.rng)
        marked = self._mark(Value(None, sort, "plain", text), text)
        number = number and (text[:1] != "0" or text[:2] == "0.") and self.rng.random() < 0.7
        return Fragment(key, bare(marked) if number else marked, marked)

    def _simple(self, key: str, value: Value, text: str, *, assigned: bool = False) -> Fragment:
        marked = self._mark(value, text)
        return Fragment(key, marked, marked, assigned=assigned)

    def _encoded(self, spelling: str, key: str, value: Value, parts: Parts) -> Fragment:
        """As part of a text that is encoded as a whole, or the value alone by characters."""
        before, text, behind = parts
        if spelling == "percent":
            text = _percent(self.rng, text)
        elif spelling == "entities":
            text = _entities(self.rng, text)
        else:
            key = self.rng.choice(["data", "payload", "blob", "attachment", "content", "body"])
            encode = hex_of if spelling == "hex" else base64_of
            before, text, behind = encode(parts)
            if spelling == "base64 twice":
                before, text, behind = base64_of((before, text, behind))
        marked = before + self._mark(value, text) + behind
        return Fragment(key, marked, marked, assigned=bool(parts[0]))

    def _in_json(self, key: str, value: Value, text: str) -> Fragment:
        """JSON in a string, up to three levels deep in a JSON body."""
        tree: object = {"id": digits.uuid(self.rng), key: self._mark(value, text)}
        for _ in range(self.rng.choice([1, 1, 1, 2])):
            tree = {"kind": "inner", "arguments": json.dumps(tree, ensure_ascii=False)}
        marked = json.dumps(tree, ensure_ascii=False)
        return Fragment("arguments", marked, marked)

    def _around(self) -> tuple[str, str]:
        """Words that a longer encoded text has around its value."""
        return self.rng.choice(
            [
                ("Here is what you asked for: ", ", as of today.\n"),
                ("name=Ada Brook\nvalue=", "\nstate=open\n"),
                ("", ""),
                ("note: ", ""),
            ]
        )

    def _card(self, spelling: str) -> Fragment:
        rng = self.rng
        issuer, number = digits.card(rng)
        value = Value("credit_card", issuer, spelling, number)
        key = rng.choice(["card", "card_number", "pan", "cc", "number", "payment", "note", "input"])
        parts = groups(number)
        if spelling in ENCODED:
            before, behind = self._around()
            shown = rng.choice([number, " ".join(parts), "-".join(parts)])
            return self._encoded(spelling, key, value, (before, shown, behind))
        if spelling == "JSON in a string":
            return self._in_json(key, value, rng.choice([number, " ".join(parts)]))
        if spelling == "JSON number":
            marked = bare(self._mark(value, number))
            return Fragment(key, marked, number, only_json=True)
        if spelling == "JSON number, exponent or sign":
            shown = rng.choice(
                [f"-{number}", f"{number}.0", f"{number[0]}.{number[1:]}e{len(number) - 1}"]
            )
            return Fragment(key, bare(self._mark(value, shown)), number, only_json=True)
        if spelling == "JSON key":
            return Fragment(
                self._mark(value, number), rng.choice(["ok", "1"]), number, only_json=True
            )
        if spelling == "split over array items":
            self.values.append(value)
            place = len(self.values) - 1
            items = parts if rng.random() < 0.5 else [number[:8], number[8:]]
            leaf = [mark(place, item) for item in items]
            return Fragment(key, leaf, number, only_json=True)
        if spelling == "JSON escapes":
            shown = _escaped(rng, number)
            return Fragment(key, self._mark(value, shown), number, only_json=True)
        shown = self._separated(spelling, parts, number)
        if spelling == "letters stuck to it":
            return self._stuck(key, value, number)
        if spelling == "with expiry behind":
            expiry = f"{rng.randrange(1, 13):02d}/{rng.randrange(26, 32)} {digits.digits(rng, 3)}"
            marked = f"{self._mark(value, ' '.join(parts))} {expiry}"
            return Fragment(key, marked, marked)
        return self._simple(key, value, shown)

    def _separated(self, spelling: str, parts: list[str], alone: str) -> str:
        if spelling == "spaced":
            return " ".join(parts)
        if spelling == "dashed":
            return "-".join(parts)
        if spelling == "dot, slash, underscore, tab":
            return self.rng.choice("./_\t").join(parts)
        if spelling == "Unicode separator":
            return self.rng.choice(DASHES + SPACES + ODD).join(parts)
        if spelling == "Unicode digits":
            return _unicode_digits(self.rng, alone)
        return alone

    def _stuck(self, key: str, value: Value, shown: str) -> Fragment:
        before, behind = self.rng.choice(
            [("card", ""), ("_", ""), ("no", ""), ("", "x"), ("x", "y"), ("Nr", "")]
        )
        marked = before + self._mark(value, shown) + behind
        return Fragment(key, marked, marked)

    def _ssn(self, spelling: str) -> Fragment:
        rng = self.rng
        sort, number = digits.ssn(rng)
        value = Value("ssn", sort, spelling, number)
        parts = [number[:3], number[3:5], number[5:]]
        dashed = "-".join(parts)
        key = rng.choice(["ssn", "social", "tax_id", "applicant", "note", "employee"])
        said = rng.choice(
            ["ssn", "SSN", "userSsn", "tax_id", "social_security_number", "taxpayerId"]
        )
        if spelling in ENCODED:
            before, behind = self._around()
            return self._encoded(spelling, key, value, (before, dashed, behind))
        if spelling == "JSON in a string":
            return self._in_json(key, value, dashed)
        if spelling == "JSON escapes":
            return Fragment(key, self._mark(value, _escaped(rng, dashed)), dashed, only_json=True)
        if spelling == "nine digits behind the key":
            return self._simple(said, value, number, assigned=True)
        if spelling == "JSON number behind the key":
            if number[0] == "0":
                value = dataclasses.replace(value, text="1" + number[1:])
            marked = bare(self._mark(value, value.text))
            return Fragment(said, marked, value.text, assigned=True, only_json=True)
        if spelling == "nine digits behind words":
            words = rng.choice(["SSN ", "SSN: ", "ssn# ", "social security number is ", "Tax ID "])
            marked = words + self._mark(value, number)
            return Fragment("note", marked, marked)
        if spelling == "letters stuck to it":
            return self._stuck(key, value, dashed)
        if spelling == "Unicode digits":
            return self._simple(key, value, _unicode_digits(rng, dashed))
        return self._simple(key, value, self._separated(spelling, parts, dashed))

    def _iban(self, spelling: str) -> Fragment:
        rng = self.rng
        country, number = digits.iban(rng)
        value = Value("iban", country, spelling, number)
        key = rng.choice(["iban", "account", "payee", "bank", "note", "from"])
        parts = [number[at : at + 4] for at in range(0, len(number), 4)]
        if spelling in ENCODED:
            before, behind = self._around()
            shown = rng.choice([number, " ".join(parts)])
            return self._encoded(spelling, key, value, (before, shown, behind))
        if spelling == "JSON in a string":
            return self._in_json(key, value, number)
        if spelling == "JSON escapes":
            marked = self._mark(value, _escaped(rng, number))
            return Fragment(key, marked, number, only_json=True)
        if spelling == "behind its word":
            marked = rng.choice(["IBAN:", "iban=", "IBAN-Nr. "]) + self._mark(value, number)
            return Fragment(key, marked, marked)
        return self._simple(key, value, self._separated(spelling, parts, number))

    def _email(self, spelling: str) -> Fragment:
        rng = self.rng
        text = email(rng)
        value = Value("email", "address", spelling, text)
        key = rng.choice(["email", "to", "from", "user", "contact", "cc"])
        if spelling in ENCODED:
            before, behind = self._around()
            return self._encoded(spelling, key, value, (before, text, behind))
        if spelling == "JSON in a string":
            return self._in_json(key, value, text)
        if spelling == "JSON escapes":
            marked = self._mark(value, _escaped(rng, text))
            return Fragment(key, marked, text, only_json=True)
        return self._simple(key, value, text)

    def _secret(self, spelling: str) -> Fragment:
        rng = self.rng
        made = credentials.secret(rng)
        value = Value("secret", made.sort, spelling, made.text)
        tells_itself = made.sort in credentials.PREFIXED or bool(made.before)
        if spelling in ENCODED:
            before = made.before or ("" if tells_itself else f"{made.key}=")
            return self._encoded(spelling, made.key, value, (before, made.text, made.behind))
        if spelling == "JSON in a string":
            tree = {
                "id": digits.uuid(rng),
                made.key: made.before + self._mark(value, made.text) + made.behind,
            }
            marked = json.dumps(tree, ensure_ascii=False)
            return Fragment("arguments", marked, marked)
        marked = made.before + self._mark(value, made.text) + made.behind
        return Fragment(made.key, marked, marked, assigned=not tells_itself)


def _escaped(rng: Random, text: str) -> str:
    every = rng.random() < 0.5
    return "".join(ESCAPE + sign if every or rng.random() < 0.4 else sign for sign in text)


def email(rng: Random) -> str:
    name = rng.choice(["ada", "j.gross", "li_xiaolong", "o'brien", "zoe+news", "用户", "ünal", "x"])
    number = rng.choice(["", "", str(rng.randrange(100))])
    domain = rng.choice(
        [
            *("example.com", "mail.example.org", "sub.example.co.uk", "example.museum"),
            *("bücher-example.de", "xn--bcher-example-psb.de", "my-example.io", "example.ac.jp"),
        ]
    )
    return f"{name}{number}@{domain}"


SENTENCES: dict[str | None, tuple[str, ...]] = {
    "credit_card": (
        "My card is {}, please use it.",
        "Bitte belasten Sie die Karte {}!",
        "cc: {};",
        "Paiement par carte {} accepté.",
        "请用这张卡 {} 付款。",
        "The customer typed “{}” into the chat.",
        "Charge <{}> again; it failed twice.",
        "{},",
    ),
    "ssn": (
        "The applicant gave {} as the number.",
        "Her SSN is {}.",
        "ID ({}) was verified by phone.",
        "{} belongs to the same person.",
        "social security: {}.",
    ),
    "iban": (
        "Please transfer it to {} by Friday.",
        "IBAN {}.",
        "Überweisung an {} ist erfolgt.",
        "Account: {}, in the name of the firm.",
    ),
    "email": ("Write to {} instead.", "Contact: {}.", "<{}> wrote:", "cc {}; nobody else"),
    "secret": (
        "I get 401 with {} since this morning.",
        "use {} for now",
        "`{}` was printed in the log.",
        "The key ({}) must be rotated.",
    ),
    None: (
        "It is {}, I think.",
        "Reference {} was not found.",
        "See {} for more.",
        "#{}.",
        "({})",
        "No. {}.",
        "Compare “{}” with the list.",
    ),
}
