"""Which secret or IBAN begins at a place, in regular expressions; see docs/detection.md."""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections import Counter
from typing import NamedTuple

from iatp.values import ibans, secrets
from iatp.values.characters import SEPARATORS

DIGITS62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
NUMBER = {name.removeprefix("secret."): number for number, name in enumerate(secrets.NAMES)}
ALNUM = re.compile("[0-9A-Za-z]")

# Tokens.


def shape(token: secrets.Token) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return a pattern of what follows the prefix, each part taking all that it can, and of what
    may not follow that.
    """
    alphabet = ""
    pattern = "".join(f"[{secrets.ALPHABETS[name]}]{{{count}}}" for name, count in token.head)
    if token.head:
        pattern += "(?:" + "|".join(map(re.escape, token.prefixes)) + ")"
    for part in token.parts:
        if isinstance(part, str):
            pattern += re.escape(part)
        else:
            alphabet = secrets.ALPHABETS[part[0]]
            pattern += f"([{alphabet}]{{{part[1]},{part[2]}}})"
    # The dot that ends a sentence is none of a token's.
    behind = f"[0-9A-Za-z{alphabet.replace('.', '')}]"
    if "." in alphabet:
        behind += r"|\.[0-9A-Za-z]"
    return re.compile(pattern), re.compile(behind)


def shape_end(text: str, at: int, token: secrets.Token) -> int:
    """Return where the token ends that goes on here behind its prefix, or 0."""
    pattern, behind = PATTERNS[token.name]
    match = pattern.match(text, at)
    if not match:
        return 0
    end = match.end()
    last = token.parts[-1] if token.parts else ""
    if not isinstance(last, str) and "." in secrets.ALPHABETS[last[0]]:
        body = len(match[1])
        while text[end - 1] == "." and body > last[1]:
            end, body = end - 1, body - 1
    return 0 if behind.match(text, end) else end


PATTERNS = {token.name: shape(token) for token in secrets.TOKENS}
SHAPES = [
    (prefix, number, token)
    for number, token in enumerate(secrets.TOKENS)
    if not token.head
    for prefix in token.prefixes
]
BY_FIRST = {
    first: [row for row in SHAPES if row[0][0] == first] for first in {row[0][0] for row in SHAPES}
}
ANCHORED = [(token, number) for number, token in enumerate(secrets.TOKENS) if token.head]
SHAPES.sort(key=lambda row: -len(row[0]))

JWT = re.compile(r"(eyJ[\w-]{13,400}+)\.[\w-]{4,}+\.[\w-]{16,}+", re.ASCII)
TELEGRAM = re.compile(r"[0-9]{8,10}+:AA[\w-]{33}+(?![\w-])", re.ASCII)
SPACE = r"(?:[ \t\r\n]|\\[nrt])"
PEM = re.compile(
    rf"""
    -----BEGIN[ ](?:[A-Z0-9]{{1,12}}[ ]){{0,3}}PRIVATE[ ]KEY(?:[ ]BLOCK)?-----
    (?: {SPACE}{{0,4}}+ [A-Z][A-Za-z-]{{2,20}}+:[ ] [^\r\n\\]{{0,80}}+ {SPACE} ){{0,4}}
    (?P<body> (?: {SPACE}{{0,8}}+ [A-Za-z0-9+/=]{{16,}}+ )* )
    (?P<end>
        {SPACE}{{0,8}}+ (?: [A-Za-z0-9+/=]{{1,15}}+ {SPACE}{{0,8}}+ ){{0,2}}
        -----END[ ][A-Z0-9 ]{{1,60}}+-----
    )?
    """,
    re.VERBOSE,
)


def token_at(text: str, at: int) -> tuple[int, int] | None:
    """Return number and end of the secret whose look alone tells it, if one begins here."""
    if text[at] == "-":
        key = PEM.match(text, at)
        if key and (key["body"] or key["end"]):
            return NUMBER["private_key"], key.end()
    if at and ALNUM.match(text, at - 1):
        return None
    for prefix, number, token in BY_FIRST.get(text[at], ()):
        if text.startswith(prefix, at):
            body = at + len(prefix)
            if end := shape_end(text, body, token):
                return number, end
            if token.checked and is_checked(text[body : body + 36]):
                return number, body + 36
    for token, number in ANCHORED:
        if at and re.match(r"[_+/~^\x7f-]", text[at - 1]):
            break
        if end := shape_end(text, at, token):
            return number, end
    if (jwt := JWT.match(text, at)) and is_header(jwt[1]):
        return NUMBER["jwt"], jwt.end()
    if bot := TELEGRAM.match(text, at):
        return NUMBER["telegram_token"], bot.end()
    return None


def is_checked(body: str) -> bool:
    return re.fullmatch("[0-9A-Za-z]{36}", body) is not None and body[30:] == checksum(body[:30])


def checksum(text: str) -> str:
    """Return the CRC-32 of a text in base 62, six digits."""
    rest = zlib.crc32(text.encode())
    digits = ""
    for _ in range(6):
        rest, digit = divmod(rest, 62)
        digits = DIGITS62[digit] + digits
    return digits


def is_header(text: str) -> bool:
    """Whether this is an object with `alg` in base64url."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        return False
    return data.startswith(b"{") and data.endswith(b"}") and b'"alg"' in data


# Places that say secret.

WIDE = "\xa0\u202f\u3000：＝"
GAP = " \t\r\n\"'`=:\\]>*" + WIDE
"""What may stand between a word and its value."""
VALUE = r"(?:[^\x00-\x20\x7f-\U0010ffff\"'`,;&<>(){}\[\]|\\]|&(?![0-9A-Za-z_.-]{1,32}=))"
"""An & too where it does not lead to the next field of a form."""
URL = re.compile(
    r"""[^\s/@:"'<>?\#\\]{0,40}+:(?P<password>[^\s/@"'<>\\]{1,80}+)@(?=[0-9A-Za-z\[])""", re.ASCII
)
SIGNATURE = re.compile(r"[0-9A-Za-z%+/]{43,120}+=?")
ACCOUNT = re.compile(r"[0-9A-Za-z+/]{40,100}+={0,2}")
UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
BEGINS_LONG = re.compile(r"[0-9A-Za-z_+/~^\x7f-]{16}")
KEY = re.compile(r"(?=.*[0-9].*[0-9])(?=(?:.*[A-Z]){4})[0-9A-Za-z+/]*=*")


CURL = re.compile(
    r"""(?<![0-9A-Za-z-])(?:-u[ \t]{1,3}|--(?:proxy-)?user(?:[ \t]{1,3}|=))["']?"""
    r"""[^\s:/@"'\\=]{1,40}:\Z""",
    re.ASCII,
)
"""The user before a password: `-u user:`, `--user user:`."""


def words(known: tuple[str, ...]) -> str:
    """Return a pattern of these words; they may end a longer name."""
    cases = ["".join(c if c.isascii() else f"[{c}{fold_up(c)}]" for c in word) for word in known]
    return "|".join(case.replace(" ", r"[\ _.-]?") for case in cases)


def fold_up(c: str) -> str:
    """Return the capital of a letter of Latin-1 or Cyrillic; of others there is none."""
    return c.upper() if "\xe0" <= c <= "\xfe" or "\u0430" <= c <= "\u044f" else c


SAYS = re.compile(
    rf"""
    (?i: (?P<password> {words(secrets.PASSWORDS)}) | (?P<secret> {words(secrets.SECRETS)})
    | (?P<scheme> {words(secrets.SCHEMES)}) | (?P<short> {words(secrets.SHORT_WORDS)}) )
    """,
    re.VERBOSE | re.ASCII,
)
QUOTES = r"""["'`\\\]*]{0,4}"""
BLANK = r"[ \t\xa0\u202f\u3000]"
ASSIGNS = re.compile(
    rf"""
    ["'\\]{{0,3}}> | \"(?:\r?\n){{2}}
    | {QUOTES} {BLANK}{{0,12}} (?:=>|:=|={{1,2}}|:{{1,2}}|[：＝]) \*{{0,2}}
      (?: {BLANK}{{0,3}} | (?<=[:*：]) {BLANK}{{0,3}} \r?\n [ \t]{{0,8}} ) {QUOTES}
    """,
    re.VERBOSE,
)
BEFORE_VERB = re.compile(rf"{QUOTES}[ \t]{{1,3}}")
BEHIND_VERB = re.compile(rf"(?:[ \t]?:)?[ \t\r\n]{{1,3}}{QUOTES}")
BEFORE_LABEL = re.compile(r"""["'`\\]{0,4}[ \t\r\n,;{-]{1,12}["'`\\]{0,4}""")
VERB = re.compile(rf"(?:{'|'.join(secrets.VERBS)})\Z")
LABEL = re.compile(rf"(?i:{'|'.join(secrets.LABELS)})\Z", re.ASCII)
CONTENT = re.compile(rf"(?i:{'|'.join(secrets.CONTENTS)})\Z", re.ASCII)
CONSTANT = re.compile(r"(?<![0-9A-Za-z_])[0-9A-Z]*_[0-9A-Z_]*\Z")
FLAG = re.compile(r"(?<![0-9A-Za-z_-])--[0-9A-Za-z_-]{1,24}\Z")
NOT_TOKEN = re.compile(rf"(?i:(?:{'|'.join(secrets.NOT_TOKENS)})[ _.-]?)\Z", re.ASCII)
NOT_SHORT = re.compile(rf"(?i:(?:{'|'.join(secrets.NOT_SHORT)})[ _.-]?)\Z", re.ASCII)


PLACEHOLDER = re.compile(rf"(?i:\Ayour|{'|'.join(secrets.PLACEHOLDERS)})", re.ASCII)
VARIABLE = re.compile(r"\$[A-Z_][0-9A-Z_]*")
NAME = re.compile(r"PART(?:[_.-]PART)+".replace("PART", "(?:[a-z]+|[A-Z]+|v?[0-9]{1,4})"))
"""Words and small numbers: `my-app-secret-v1`, `test_login_2`."""
REFERENCE = re.compile(rf"(?:{'|'.join(secrets.REFERENCES)})\.[A-Za-z]")


class Word(NamedTuple):
    says: str
    """`password`, `secret`, `scheme`, `short` or `little`; empty where nothing is said."""
    text: str
    gap: str = ""
    """What stands between it and the value, other words too."""


NO_WORD = Word("", "")


def word_before(text: str, end: int) -> Word:
    """Return which word ends here."""
    for low in range(max(0, end - 24), end):
        match = SAYS.fullmatch(text, low, end)
        if match and match.lastgroup:
            word = Word(match.lastgroup, match[0].lower())
            before = text[max(0, low - 16) : low]
            if word.text == "token" and NOT_TOKEN.search(before):
                return NO_WORD
            # A scheme is a word of its own: `basic`, not `visual-basic`.
            if word.says == "scheme" and ALNUM.match(before[-1:]):
                return NO_WORD
            if word.says == "short":
                if NOT_SHORT.search(before):
                    return NO_WORD
                if re.search(r"[0-9A-Za-z_.$-]\Z", before):
                    return word._replace(says="password")
                if text[end - 1].isupper() or re.search(r"[0-9A-Za-z] \Z", before):
                    return word._replace(says="little")
            return word
    return NO_WORD


BETWEEN_NAMES, BETWEEN_NUMBERS = "\ud800", "\ud801"
"""What no key of valid JSON holds stands between a key and what else names its value, or a number
alone."""


def key_word(key: str) -> Word:
    """Return which word a key ends in, or the first of the other names of its value that does."""
    words = [word_before(name, len(name)) for name in key.split(BETWEEN_NAMES)]
    return next((word for word in words if word.says), NO_WORD)


def word_end(text: str, at: int) -> int:
    """Return where the word ends that stands before a place, with signs between; or 0."""
    low = at
    while low > max(0, at - 17) and not is_word(text[low - 1]):
        low -= 1
    return low if at - 17 < low < at else 0


def is_word(c: str) -> bool:
    return c in DIGITS62 or (c >= "\x80" and c not in WIDE)


def announced(text: str, at: int) -> Word:
    """Return which word announces the value that begins here."""
    end = word_end(text, at)
    gap = text[end:at]
    word = word_before(text, end)._replace(gap=gap)
    if word.says:
        if ASSIGNS.fullmatch(gap):
            return word
        if gap in (" ", "  ") and word.says in ("scheme", "secret"):
            return word
        if word.says == "password" and re.fullmatch(r""" ["']""", gap):
            return word
        name = text[max(0, end - 40) : end]
        if CONSTANT.search(name) and re.fullmatch(r"""[ \t]{1,3}["']?|["'], ?["']""", gap):
            return word
        if FLAG.search(name) and re.fullmatch(r"""[ \t]{1,3}["']?""", gap):
            return word
    verb = VERB.search(text, max(0, end - 8), end)
    label = LABEL.search(text, max(0, end - 8), end)
    found = verb or label
    if not end or not found:
        return NO_WORD
    last = word_end(text, found.start())
    between = text[last : found.start()]
    word = word_before(text, last)._replace(gap=text[last:at])
    if verb and BEFORE_VERB.fullmatch(between) and BEHIND_VERB.fullmatch(gap):
        return word
    if label and BEFORE_LABEL.fullmatch(between) and ASSIGNS.fullmatch(gap):
        # `status: pass` and the value of something else.
        return NO_WORD if word.says in ("short", "little") else word
    return NO_WORD


def fits(word: Word, value: str) -> bool:
    """Whether a value in a text is such as its word announces."""
    is_long = BEGINS_LONG.match(value) is not None
    # What a short value is found by.
    is_marked = "pass" in word.text or re.search("[:=：＝]", word.gap) is not None
    if not re.search("[='\"`]", word.gap) and (
        word.says == "little" or (word.says == "short" and len(classes(value)) < 3)
    ):
        return False
    if word.says in ("password", "short", "little"):
        return len(value) >= secrets.LEAST_PASSWORD and (is_long or is_marked)
    return is_long


def classes(value: str) -> set[int]:
    """Return which of lower case, upper case, digits and signs are in a value."""
    patterns = ("[a-z]", "[A-Z]", "[0-9]", "[^0-9A-Za-z]")
    return {number for number, pattern in enumerate(patterns) if re.search(pattern, value)}


def is_strong(value: str, says: str) -> bool:
    """Whether a value looks made up by chance, and not like a word, an ID or a placeholder."""
    has = classes(value)
    if not (has & {0, 1} and 2 in has) and len(has) < 3:
        return False
    if UUID.fullmatch(value) or re.match(r"\$\{|\$\(|\{\{|[<\[%]|\./|\*\*\*", value):
        return False
    if PLACEHOLDER.search(value) or VARIABLE.fullmatch(value):
        return False
    if says != "password" and NAME.fullmatch(value):
        return False
    # A path, unless it looks like a key in base64.
    if value[0] == "/" and not (
        KEY.fullmatch(value) and len(value) >= 32 and value.count("/") * 10 <= len(value)
    ):
        return False
    if "://" in value or len(value) > 256:
        return False
    entropy = secrets.ENTROPY[len(value)]
    entropy -= sum(secrets.ENTROPY[count] for count in Counter(value).values())
    return entropy >= secrets.LEAST_ENTROPY * len(value)


def said_at(text: str, at: int, key: str, *, direct: bool) -> tuple[int, int] | None:
    """Return number and end of the secret that its place tells, if one begins here.

    `direct` says that the whole text is the value of that key.
    """
    before = text[max(0, at - 17) : at]
    if before.endswith("://"):
        url = URL.match(text, at)
        if url and not re.match(r"\$[{(A-Z]|\{\{|\*\*", url["password"]):
            return NUMBER["url_password"], url.end() - 1
    if before.endswith("="):
        if re.search(r"(?<![0-9A-Za-z])sig=\Z", before):
            value = SIGNATURE.match(text, at)
            if value and BEGINS_LONG.search(value[0]):
                return NUMBER["azure_signature"], value.end()
        if before.endswith(("AccountKey=", "SharedAccessKey=")):
            value = ACCOUNT.match(text, at)
            if value:
                return NUMBER["azure_account_key"], value.end()
    if direct and at == 0 and re.fullmatch("[!-~]{6,256}", text):
        word = key_word(key)
        is_named = word.says in ("secret", "scheme")
        least = 8 if is_named else secrets.LEAST_PASSWORD
        fit = word.says != "scheme" or BEGINS_LONG.match(text)
        if word.says and fit and len(text) >= least and is_strong(text, word.says):
            return named(word), len(text)
    if not before or before[-1] in DIGITS62 or text[at] in GAP:
        return None
    match = re.compile(f"{VALUE}{{6,257}}").match(text, at)
    if not match:
        return None
    value, behind = match[0], text[match.end() : match.end() + 1]
    if re.search(r"\n[ \t]{0,8}\Z", before) and value.endswith(":"):
        return None
    if behind not in tuple("\"'`;&"):
        value = value.rstrip(".!?:")
    word = announced(text, at)
    if not word.says and CURL.search(text, max(0, at - 64), at):
        word = Word("password", "", ":")
    if (
        word.says
        and fits(word, value)
        and not REFERENCE.match(value)
        and is_strong(value, word.says)
    ):
        return named(word), at + len(value)
    return None


def named(word: Word) -> int:
    return NUMBER["named" if word.says in ("secret", "scheme") else "password"]


# IBANs.

STRUCTURES = {
    country: re.sub(
        r"(\d+)([nac])",
        lambda m: {"n": "[0-9]", "a": "[A-Z]", "c": "[0-9A-Z]"}[m[2]] + f"{{{m[1]}}}",
        structure,
    )
    for country, structure in ibans.STRUCTURES.items()
}
LENGTHS = {
    country: 4 + sum(map(int, re.findall(r"\d+", structure)))
    for country, structure in ibans.STRUCTURES.items()
}
SEPARATOR = re.compile("[ ./_\\t" + "".join(map(chr, SEPARATORS)) + "-]")


def iban_at(text: str, at: int) -> int:
    """Return the end of the IBAN that begins here, or 0.

    Its first four characters stand together; of the others any may have one separator before.
    """
    if at and is_iban_character(text[at - 1]):
        return 0
    length = LENGTHS.get(text[at : at + 2].upper() if text[at : at + 2].isascii() else "")
    if length is None:
        return 0
    found = text[at : at + 2].upper()
    place = at + 2
    while len(found) < length and place < len(text):
        if len(found) >= 4 and SEPARATOR.match(text, place):
            place += 1
        character = text[place : place + 1]
        if not character or not is_iban_character(character):
            return 0
        found += str(int(character)) if character.isdecimal() else character.upper()
        place += 1
    if len(found) < length or (place < len(text) and is_iban_character(text[place])):
        return 0
    if not re.fullmatch(f"[A-Z]{{2}}[0-9]{{2}}{STRUCTURES[found[:2]]}", found):
        return 0
    value = int("".join(str(int(c, 36)) for c in found[4:] + found[:4]))
    return place if value % 97 == 1 else 0


def is_iban_character(character: str) -> bool:
    return character.isdecimal() or ALNUM.match(character) is not None
