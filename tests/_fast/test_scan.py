"""Every case of detection and of the JSON check, on the compiled scan and on its twin."""

from __future__ import annotations

import itertools
import json
import random
import re
import time
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from iatp._fast import scan as compiled_scan
from iatp._fast.text import Spans
from iatp.values.exchange import KINDS, REDACTED
from iatp.values.issuers import ISSUERS
from tests.twins import scan as twin
from tests.twins.scan import CARD, EMAIL, FORM, JSON, SSN, TARGET, TEXT, Found

Scan = Callable[[bytes, int], Found]
C = b"4111111111111111"
WIDEST = 2
"""Of the widths that `vectors` knows; a machine may have less."""
UNICODE_DIGITS = [chr(code) for code in range(0x80, 0x20000) if chr(code).isdecimal()]


def compiled(data: bytes, form: int) -> Found:
    """Return what the compiled scan finds, which is the same with vectors of every width."""
    widest = compiled_scan.vectors(WIDEST)
    try:
        found = []
        for level in range(widest + 1):
            compiled_scan.vectors(level)
            spans = compiled_scan.scan(data, form)
            found.append(Found(list(spans), spans.error, spans.error_at, spans.secrets))
    finally:
        compiled_scan.vectors(widest)
    assert all(one == found[0] for one in found)
    assert all(one[2] <= other[1] for one, other in itertools.pairwise(found[0].spans))
    return found[0]


BOTH = pytest.mark.parametrize("scan", [compiled, twin.scan], ids=["compiled", "twin"])


def both(data: bytes, form: int) -> Found:
    """Return what both find, which is the same."""
    found = compiled(data, form)
    assert found == twin.scan(data, form)
    return found


def values(data: bytes, found: Found) -> list[tuple[int, bytes]]:
    return [(kind, data[start:end]) for kind, start, end, _ in found.spans]


def redacted(data: bytes, form: int) -> bytes:
    spans = compiled_scan.scan(data, form)
    out = compiled_scan.redact(data, spans)
    assert out == twin.redact(data, list(spans))
    assert compiled_scan.counts(spans) == twin.counts(list(spans))
    return out


def number(prefix: str, length: int) -> str:
    """Return a number of that length which passes Luhn."""
    body = prefix.ljust(length - 1, "7")[: length - 1]
    return next(body + last for last in "0123456789" if twin.luhn(body + last))


# Cards.

CARDS = {
    "B01 plain": "4111111111111111",
    "B01 spaced": "4111 1111 1111 1111",
    "B01 dashed": "4111-1111-1111-1111",
    "B07 Amex": "378282246310005",
    "B07 Amex as printed": "3782 822463 10005",
    "B07 Diners": "30569309025904",
    "B07 Diners as printed": "3056 930902 5904",
    "B07 Visa of 13": "4222222222222",
    "B07 Visa of 13 as printed": "4222 2222 2222 2",
    "B07 Maestro of 19": "6304000000000000000",
    "Mastercard": "5555555555554444",
    "Mastercard, series 2": "2223003122003222",
    "Discover": "6011111111111117",
    "JCB": "3530111333300000",
    "UnionPay of 19": number("620000", 19),
    "UnionPay of 19 as printed": " ".join(
        re.findall("^.{6}|.+$", number("620000", 19))
    ),
    "Mir": number("220012", 16),
    "dots": "4111.1111.1111.1111",
    "slashes": "4111/1111/1111/1111",
    "underscores": "4111_1111_1111_1111",
    "tabs": "4111\t1111\t1111\t1111",
    "no-break spaces": "4111\u00a01111\u00a01111\u00a01111",
    "thin spaces": "4111\u20091111\u20091111\u20091111",
    "en dashes": "4111\u20131111\u20131111\u20131111",
    "minus signs": "4111\u22121111\u22121111\u22121111",
    "soft hyphens": "4111\u00ad1111\u00ad1111\u00ad1111",
    "zero width spaces": "4111\u200b1111\u200b1111\u200b1111",
    "fullwidth dots": "4111．1111．1111．1111",
    "ideographic spaces": "4111\u30001111\u30001111\u30001111",
    "halves": "41111111 11111111",
    "three parts": "41111 111111 11111",
    "every digit": " ".join("4111111111111111"),
    "pairs": "41-11-11-11-11-11-11-11",
    "mixed separators as printed": "4111-1111 1111.1111",
    "Arabic-Indic digits": "٤١١١١١١١١١١١١١١١",
    "fullwidth digits": "４１１１ １１１１ １１１１ １１１１",
    "mathematical digits": "𝟒𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏",
    "digits of three scripts": "٤111１１１１११११1111",
}  # fmt: skip
AROUND = [
    ("", ""),
    ("card", "x"),
    ("x", ""),
    ("_", "_"),
    ("pay with ", ", please"),
    ("(", ")"),
    ("№", "。"),
    ("号码", "是"),
    ("#", "."),
    ("card=", "&cvv=1"),
    ("'", "'"),
    ("a,", ",b"),
    ("--", "--"),
]


@BOTH
@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_b01_b07_cards_in_a_text(scan: Scan, card: str) -> None:
    for before, behind in AROUND:
        data = f"{before}{card}{behind}".encode()
        assert values(data, scan(data, TEXT)) == [(CARD, card.encode())], data


@BOTH
@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
@pytest.mark.parametrize("ascii_only", [False, True])
def test_b01_b04_cards_in_json(scan: Scan, card: str, ascii_only: bool) -> None:
    for value in (card, [card], {"a": {"b": card}}, {card: 1}, {"x": f"card {card}!"}):
        data = json.dumps(value, ensure_ascii=ascii_only).encode()
        found = scan(data, JSON)
        (span,) = found.spans
        assert (found.error, span[0]) == (None, CARD)
        assert json.loads(b'"%b"' % data[span[1] : span[2]]) == card
        assert json.loads(redacted(data, JSON)) == json.loads(
            json.dumps(value).replace(json.dumps(card)[1:-1], REDACTED[CARD])
        )


@BOTH
@pytest.mark.parametrize(
    "token",
    [
        C,
        b"-" + C,
        C + b".0",
        C + b".000",
        C + b".5",
        C + b"e0",
        C + b"E+00",
        b"4.111111111111111e15",
        b"4.111111111111111E+15",
        b"-4.111111111111111e15",
        b"41111111111111110e-1",
        b"0.4111111111111111e16",
        b"0.0004111111111111111e19",
        b"4111111111111111000e-3",
        b"378282246310005",
        b"6304000000000000000",
        b"6.304e18",
    ],
)
def test_b03_json_numbers(scan: Scan, token: bytes) -> None:
    for before, behind in ((b"", b""), (b"[1, ", b" ,2]"), (b'{"a":', b"}"), (b"\n", b"\n")):
        data = before + token + behind
        found = scan(data, JSON)
        assert found.error is None
        assert found.spans == [(CARD, len(before), len(before + token), True)]
        assert redacted(data, JSON) == before + b'"[CREDIT_CARD_REDACTED]"' + behind
        json.loads(redacted(data, JSON))


@BOTH
@pytest.mark.parametrize(
    "token",
    [
        b"0.4111111111111111",
        b"-0.4111111111111111",
        b"12.4111111111111111",
        b"4.111111111111111",
        b"4.111111111111111e-15",
        b"4.111111111111111e14",
        b"4111111111111111e5",
        b"4111111111111112",
        b"1732100000000001",
        b"1732100000000",
        b"1732100000000000001",
        b"411111111111111111111111",
        b"356938035643809",
        b"0",
        b"1e18",
    ],
)
def test_b03_b25_numbers_that_are_no_card(scan: Scan, token: bytes) -> None:
    assert scan(b"[" + token + b"]", JSON) == Found([])


@BOTH
def test_b04_keys_and_each_of_duplicate_keys(scan: Scan) -> None:
    data = b'{"%b":1,"a":"%b","a":"%b","\\u0061":%b}' % (C, C, C, C)
    assert values(data, scan(data, JSON)) == [(CARD, C)] * 4
    assert redacted(b'{"%b":1}' % C, JSON) == b'{"[CREDIT_CARD_REDACTED]":1}'


@BOTH
@pytest.mark.parametrize(
    "data", [b"card" + C, C + b"x", b"_" + C, b"x" + C + b"x", b"n:" + C + b"/", b"0x" + C]
)
def test_b06_letters_stick_to_a_card(scan: Scan, data: bytes) -> None:
    assert values(data, scan(data, TEXT)) == [(CARD, C)]


ESCAPED = {
    "\\u0034111111111111111": JSON,
    "\\u0034\\u0031\\u0031\\u0031111111111111": JSON,
    "4111\\u00201111\\u20131111\\u20131111": JSON,
    "4111\\t1111\\t1111\\t1111": JSON,
    "4111\\/1111\\/1111\\/1111": JSON,
    "\\ud835\\udfd2111111111111111": JSON,
    "\\uFF14111111111111111": JSON,
    "%34111111111111111": TARGET,
    "%34%31%31%31%31%31%31%31%31%31%31%31%31%31%31%31": TARGET,
    "4111%201111%201111%201111": TARGET,
    "4111%2D1111%2d1111%2D1111": TARGET,
    "4111%E2%80%931111%E2%80%931111%E2%80%931111": TARGET,
    "%D9%A4111111111111111": TARGET,
    "4111+1111+1111+1111": FORM,
    "4111+1111%201111+1111": FORM,
}


@BOTH
@pytest.mark.parametrize("card", ESCAPED)
def test_b13_what_is_encoded(scan: Scan, card: str) -> None:
    form = ESCAPED[card]
    forms = {JSON: [JSON], TARGET: [TARGET, FORM], FORM: [FORM]}[form]
    before, behind = ('{"a":"', '"}') if form == JSON else ("/a/", "")
    data = f"{before}{card}{behind}".encode()
    for each in forms:
        assert values(data, scan(data, each)) == [(CARD, card.encode())]


@BOTH
def test_b16_path_and_query(scan: Scan) -> None:
    data = b"/proxy/4111/1111/1111/1111/x?a=4111+1111+1111+1111&e=a%40b.example&ssn=123456789"
    found = [b"4111/1111/1111/1111", b"4111+1111+1111+1111", b"a%40b.example", b"123456789"]
    assert [value for _, value in values(data, scan(data, TARGET))] == found
    # A plus is a plus in a path, and what follows a second mark is the query still.
    assert scan(b"/a+4111+1111+1111+1111", TARGET).spans == []
    assert len(scan(b"/?a?b=4111+1111+1111+1111", TARGET).spans) == 1
    assert scan(b"/users/ssn/123456789", TARGET).spans == [(SSN, 11, 20, False)]


@BOTH
@pytest.mark.parametrize(
    "text",
    [
        "0.4111111111111111",
        "-0.4111111111111111",
        "12.4111111111111111",
        "[0.4111111111111111, -3.5555555555554444]",
        " .4111111111111111",
        "x=.4111111111111111",
        "4.111111111111111",
        "4.111111111111111e-15",
        "1." + "2" * 30 + ".4111111111111111",
        "1732100000000001",
        "1732100000000",
        "8944500102198304503",
        "356938035643809",
        "41111111-1111-1111-1111-111111111111",
        "urn:uuid:41111111-1111-1111-1111-111111111111.",
        "a4111111-1111-1111-1111-1111111111ff",
        "0" * 16,
        "4" * 16,
        "411111111111111111111111",
        "1" * 8 + "4111111111111111",
        "4111111111111111" * 2,
        "4111111111111112",
        "4111 1111 1111 1112",
        "4111  1111  1111  1111",
        "4111 - 1111 - 1111 - 1111",
        "4111\n1111\n1111\n1111",
        "4111,1111,1111,1111",
        "4111:1111:1111:1111",
        "+4915123456785",
        "1Z999AA10123456784",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "abcd4111111111111111abcdabcdabcdabcdabcd",
        "4111111111111111abcdef0123456789",
        "ffffffff4111111111111111ffffffff4111111111111111ffffffff44444444",
        "2024-01-15 12:30:45.123456",
        "2024-01-15T12:30:45.1234567890123Z",
        "192.168.100.100",
        "4²²²²²²²²²²²²",
        "④①①①①①①①①①①①①①①①",
    ],
)
def test_b25_b26_what_is_no_card(scan: Scan, text: str) -> None:
    data = text.encode()
    assert scan(data, TEXT).spans == []
    assert scan(json.dumps({"a": text}).encode(), JSON) == Found([])
    assert scan(json.dumps({"a": text}, ensure_ascii=False).encode(), JSON) == Found([])


def test_b25_an_embedding_is_no_finding() -> None:
    rng = random.Random(1)
    for digits in (15, 16, 17, 18):
        vector = [round(rng.uniform(-9, 9), digits) for _ in range(2_000)]
        data = json.dumps({"embedding": vector}).encode()
        assert compiled(data, JSON) == Found([])
        assert compiled(data, TEXT) == Found([])
        assert compiled(str(vector).replace(", ", " ").encode(), TEXT) == Found([])


@BOTH
@pytest.mark.parametrize(
    ("text", "found"),
    [
        # What stands beside a card in its row does not hide it.
        ("12 4111 1111 1111 1111 12/26", ["4111 1111 1111 1111"]),
        ("2024-01-15 4111 1111 1111 1111", ["4111 1111 1111 1111"]),
        ("1-4111111111111111-2", ["4111111111111111"]),
        ("4111111111111111 5555555555554444", ["4111111111111111", "5555555555554444"]),
        (
            "4111 1111 1111 1111 5555 5555 5555 4444",
            ["4111 1111 1111 1111", "5555 5555 5555 4444"],
        ),
        ("4111111111111111.", ["4111111111111111"]),
        ("4111111111111111.50", ["4111111111111111"]),
        ("4111.1111.11111111", ["4111.1111.11111111"]),
        ("1.2.4111111111111111", ["4111111111111111"]),
        ("0.4111111111111111.5", ["4111111111111111"]),
        ("4111111111111111e0", ["4111111111111111"]),
        ("4.111111111111111e15", ["4.111111111111111e15"]),
        ("4.111111111111111E+15!", ["4.111111111111111E+15"]),
        ("No.4111111111111111", ["4111111111111111"]),
        ("...4111111111111111", ["4111111111111111"]),
        ("+4111111111111111", ["4111111111111111"]),
        ("4111111111111111deadbee", ["4111111111111111"]),
        ("41111111-1111-1111", ["41111111-1111-1111"]),
        ("12 3782 822463 10005 12/26", ["3782 822463 10005"]),
        ("12 4222 2222 2222 2 12/26", ["4222 2222 2222 2"]),
        ("12 3056 930902 5904 12/26", ["3056 930902 5904"]),
        ("12 411 111 111 111 111 1 12", []),
        ("1111-41111111-1111-1111-1111", []),
        # The parts of a tracking number are none.
        ("9400 1118 3969 9278 1201 12", []),
        # Groups of two, or two kinds of separators, only where nothing else is in the row.
        ("7 41 11 11 11 11 11 11 11", []),
        ("7 4111-1111 1111-1111", []),
        ("41-11 11-11 11-11 11-11", []),
    ],
)
def test_rows_of_groups(scan: Scan, text: str, found: list[str]) -> None:
    data = text.encode()
    assert values(data, scan(data, TEXT)) == [(CARD, each.encode()) for each in found]


ROWS = [
    (first, last, length) for _, first, last, lengths in ISSUERS for length in lengths
]  # fmt: skip


@BOTH
def test_every_issuer_at_every_length(scan: Scan) -> None:
    for first, last, length in ROWS:
        for prefix in (first, last, (first + last) // 2):
            card = number(str(prefix), length).encode()
            assert scan(card, TEXT).spans == [(CARD, 0, length, False)]
            assert scan(card, JSON).spans == [(CARD, 0, length, True)]


@BOTH
def test_no_other_prefix_at_any_length(scan: Scan) -> None:
    edges = {edge + by for _, first, last, _ in ISSUERS for edge in (first, last) for by in (-1, 1)}
    for prefix in sorted(edges | {0, 100000, 173210, 700000, 899999, 999999}):
        for length in range(11, 22):
            card = number(f"{prefix:06}", length).encode()
            assigned = any(
                first <= prefix <= last and length in lengths for _, first, last, lengths in ISSUERS
            )
            assert bool(scan(card, TEXT).spans) is assigned, card


@BOTH
@pytest.mark.parametrize("at", range(16))
def test_every_digit_counts_for_luhn(scan: Scan, at: int) -> None:
    for digit in b"0123456789":
        changed = bytearray(C)
        changed[at] = digit
        assert bool(scan(bytes(changed), TEXT).spans) is (changed == C), changed


def test_every_decimal_digit_of_unicode_is_a_digit() -> None:
    for character in UNICODE_DIGITS:
        card = number(f"4{int(character)}", 16)
        data = (card[0] + character + card[2:]).encode()
        assert compiled(data, TEXT).spans == [(CARD, 0, len(data), False)], ascii(character)
    for code in range(0x80, 0x20000):
        if unicodedata.category(chr(code)) in ("No", "Nl"):
            data = ("4" + chr(code) + "11111111111111").encode("utf-8", "surrogatepass")
            assert compiled(data, TEXT).spans == []


def test_every_dash_and_space_of_unicode_is_a_separator() -> None:
    for code in range(0x80, 0x20000):
        data = chr(code).join(["4111", "1111", "1111", "1111"]).encode("utf-8", "surrogatepass")
        if unicodedata.category(chr(code)) in ("Pd", "Zs"):
            assert compiled(data, TEXT).spans == [(CARD, 0, len(data), False)], hex(code)


# Social security numbers.


@BOTH
@pytest.mark.parametrize(
    "ssn",
    [
        "123-45-6789",
        "123 45 6789",
        "123.45.6789",
        "123/45/6789",
        "123_45_6789",
        "123\t45\t6789",
        "123\u201345\u20136789",
        "123\u00a045\u00a06789",
        "123\u221245\u22126789",
        "１２３-４５-６７８９",
        "١٢٣-٤٥-٦٧٨٩",
        "987-65-4321",
        "900-70-1234",
        "001-01-0001",
        "899-99-9999",
        "912-50-0001",
        "912-99-0001",
    ],
)
def test_b19_b20_ssns(scan: Scan, ssn: str) -> None:
    for before, behind in [*AROUND, ("12 ", " 5" if "-" in ssn else "")]:
        if before == "12 " and " " in ssn:
            continue
        data = f"{before}{ssn}{behind}".encode()
        assert values(data, scan(data, TEXT)) == [(SSN, ssn.encode())], data
    for ascii_only in (False, True):
        data = json.dumps({"a": ssn, ssn: 1}, ensure_ascii=ascii_only).encode()
        assert [span[0] for span in scan(data, JSON).spans] == [SSN, SSN]
        assert json.loads(redacted(data, JSON)) == {"a": REDACTED[SSN], REDACTED[SSN]: 1}


@BOTH
def test_b19_an_escaped_separator(scan: Scan) -> None:
    for data in (b'"123\\u002d45\\u002d6789"', b'"\\u0031\\u0032\\u0033-45-6789"'):
        assert scan(data, JSON).spans == [(SSN, 1, len(data) - 1, False)]
    assert len(scan(b"/123%2d45%2D6789", TARGET).spans) == 1


@BOTH
@pytest.mark.parametrize(
    "text",
    [
        "000-12-3456",
        "666-12-3456",
        "900-12-3456",
        "900-66-3456",
        "900-69-3456",
        "900-89-3456",
        "900-93-3456",
        "123-00-4567",
        "123-45-0000",
        "123-45 6789",
        "123--45--6789",
        "123 - 45 - 6789",
        "1234-45-6789",
        "123-45-67890",
        "1-123-45-6789",
        "123-45-6789-1",
        "123-456-789",
        "123-45-678",
        "123:45:6789",
        "123456789",
    ],
)
def test_b20_what_is_no_ssn(scan: Scan, text: str) -> None:
    assert scan(text.encode(), TEXT).spans == []
    assert scan(json.dumps({"a": text}).encode(), JSON) == Found([])


SAYS = [
    "ssn", "SSN", "Ssn", "ssns", "SSNs", "userSSN", "userSsn", "ssnValue", "SSNValue", "user_ssn",
    "ssn_1",
    "ssn-number", "SSNumber", "ssnNumber", "ssn_no", "ss number", "ss-no", "itin", "ITIN", "tin",
    "socialSecurityNumber", "social_security_number", "SocialSecurity", "social security",
    "socialsecuritynumber", "SOCIAL-SECURITY-NO", "soc_sec", "tax_id", "taxId", "taxID", "taxid",
    "taxpayer_id", "taxpayerIdentificationNumber", "\u00fcber-ssn", "s.s.n", "soc. sec. no",
    "n\u00famero de seguro social", "Sozialversicherungsnummer",
    "NUM\u00c9RO DE S\u00c9CURIT\u00c9 SOCIALE", "\u793e\u4f1a\u5b89\u5168\u53f7\u7801",
    "\u0421\u041e\u0426\u0418\u0410\u041b\u042c\u041d\u041e\u0413\u041e"
    " \u0421\u0422\u0420\u0410\u0425\u041e\u0412\u0410\u041d\u0418\u042f",
]  # fmt: skip
SAYS_NOT = [
    "id", "lesson", "sessions", "missing", "classname", "business_number", "ssnx", "assn", "LESSON",
    "martini", "tint", "setting", "latin", "Martin", "taxidermist", "syntax_idx", "ssh", "order",
    "social", "security", "passnumber", "ss", "sn", "", "a" * 61 + "_ssn",
]  # fmt: skip


@BOTH
@pytest.mark.parametrize("key", SAYS)
def test_b19_a_key_or_the_words_before_say_ssn(scan: Scan, key: str) -> None:
    for value in ('"123456789"', "123456789", '["123456789"]', "[[],[123456789]]", "-123456789.0"):
        for ascii_only in (False, True):
            data = f"{{{json.dumps(key, ensure_ascii=ascii_only)}: {value}}}".encode()
            assert [span[0] for span in scan(data, JSON).spans] == [SSN], data
            json.loads(redacted(data, JSON))
    data = "".join(f"\\u{ord(character):04x}" for character in key)
    assert len(scan(f'{{"{data}":123456789}}'.encode(), JSON).spans) == 1
    if key.isascii() and key != "tin":
        for joint in (" ", ": ", "=", " is ", " #", '":"', " of Jo Doe is ", ">", "\t"):
            data = f"The {key}{joint}123456789, and".encode()
            assert [span[0] for span in scan(data, TEXT).spans] == [SSN], data


@BOTH
@pytest.mark.parametrize("key", SAYS_NOT)
def test_other_keys_and_words_do_not(scan: Scan, key: str) -> None:
    for value in ('"123456789"', "123456789", '["123456789"]'):
        data = f"{{{json.dumps(key)}:{value}}}".encode()
        assert scan(data, JSON) == Found([]), data
    if len(key) < 60:
        assert scan(f"The {key}: 123456789".encode(), TEXT).spans == []


@BOTH
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("SSN No. 123456789", True),
        ("Social Security no.123456789", True),
        ("SSN123456789", True),
        ("SS# 123456789", True),
        ("ss#: 123456789", True),
        ("css# 123456789", False),
        ("ss 123456789", False),
        ("ssn=123456789&order=223456789", True),
        ("SSN 123456789 and 223456789", True),
        ("<ssn>123456789</ssn>", True),
        ('{"ssn": 123456789', True),
        ("I lost my SSN. Order 123456789", False),
        ("ssn=&order=123456789", False),
        ("ssn,order\n1,123456789", False),
        ('{"ssn":"","order":"123456789', False),
        ("Tin nhắn 123456789", False),
        ("ssn 000123456", False),
        ("ssn 666123456", False),
        ("ssn 900123456", False),
        ("ssn 1234567890", False),
        ("ssn 12345678", False),
        ("ssn 123456789x", False),
        ("ssn: 0.123456789", False),
        ("ssn x123456789", True),
        ("ssn" + " " * 61 + "123456789", True),
        ("ssn" + " " * 62 + "123456789", False),
    ],
)
def test_nine_bare_digits(scan: Scan, text: str, found: bool) -> None:
    data = text.encode()
    nine = re.search(rb"123456789", data)
    assert values(data, scan(data, TEXT)) == ([(SSN, nine[0])] if found and nine else [])


@BOTH
def test_a_key_speaks_for_its_own_value_alone(scan: Scan) -> None:
    for data in (
        b'{"ssn":{"id":123456789}}',
        b'{"ssn":1,"id":123456789}',
        b'{"ssn":[{"id":"123456789"}]}',
        b'[{"ssn":1},"123456789"]',
    ):
        assert scan(data, JSON) == Found([])
    assert len(scan(b'{"a":{"ssn":[1,[2,123456789]]},"b":123456789}', JSON).spans) == 1


# Addresses.


@BOTH
@pytest.mark.parametrize(
    "email",
    [
        "alice@example.com",
        "a@b.co",
        "a.b+c_d%e-f@sub.example.co.uk",
        "O'Neil@example.org",
        "1@example.com",
        "12345@example.com",
        "jürgen@bücher.example",
        "用户@例子.广告",
        "user@xn--bcher-kva.example",
        "x@123.com",
        "x@1.2.3.4.example",
        "a" * 64 + "@" + "b" * 60 + ".com",
        "q@a.1b",
    ],
)
def test_addresses(scan: Scan, email: str) -> None:
    for before, behind in [("", ""), ("<", ">"), ("mailto:", "?subject=x"), ("e=", "&"), ("'", "'"),
                           (" ", "."), ("(", "),"), ('"', '"'), ("\u201c", "\u201d"), ("..", "..."),
                           ("、", "。"), ("/", "/"), ("", "-"), ("", "@"), ("", ".a")]:  # fmt: skip
        data = f"{before}{email}{behind}".encode()
        assert values(data, scan(data, TEXT)) == [(EMAIL, email.encode())], data
    for ascii_only in (False, True):
        data = json.dumps([email, {email: email}], ensure_ascii=ascii_only).encode()
        assert [span[0] for span in scan(data, JSON).spans] == [EMAIL] * 3
        json.loads(redacted(data, JSON))


@BOTH
@pytest.mark.parametrize(
    "text",
    [
        "foo@bar",
        "foo@bar.c",
        "@example.com",
        "foo@",
        "foo@.com",
        "foo@ example.com",
        "foo @example.com",
        "...@example.com",
        "user@192.168.1.1",
        "a@b..c",
        "foo@bar.-",
        "@@@@",
        "@user and @other.name",
    ],
)
def test_what_is_no_address(scan: Scan, text: str) -> None:
    assert scan(text.encode(), TEXT).spans == []


@BOTH
@pytest.mark.parametrize(
    ("text", "found"),
    [
        # A number keeps its own kind inside an address: an address alone blocks nothing.
        ("4111111111111111@example.com", [(CARD, "4111111111111111")]),
        ("x@4111111111111111.com", [(CARD, "4111111111111111")]),
        ("x@example.com.4111111111111111", [(EMAIL, "x@example.com"), (CARD, "4111111111111111")]),
        ("123-45-6789@example.com", [(SSN, "123-45-6789")]),
        ("4111111111111111bob@example.com", [(CARD, C.decode()), (EMAIL, "bob@example.com")]),
        ("a@b.example,c@d.example", [(EMAIL, "a@b.example"), (EMAIL, "c@d.example")]),
        ("a@b.example@d.example", [(EMAIL, "a@b.example")]),
    ],
)  # fmt: skip
def test_addresses_beside_numbers(scan: Scan, text: str, found: list[tuple[int, str]]) -> None:
    data = text.encode()
    assert values(data, scan(data, TEXT)) == [(kind, value.encode()) for kind, value in found]


# JSON.


@BOTH
@pytest.mark.parametrize(
    "data",
    [
        b"{}", b"[]", b'""', b" \t\r\n1\n", b"null", b"true", b"false", b"0", b"-0", b"0.0", b"1e5",
        b"1E-5", b"1e+5", b"-1.5e10", b'"x"', b"1e308", b"-1.7976931348623157e308", b"1e-400",
        b"17976931348623157" + b"0" * 292, b"0e999999999999999999999", b"0.0000001e314",
        b"1.7976931348623158e308", b"179769313486231580793728971405302" + b"0" * 276,
        b'{"a":{"b":[1,{"c":[]}]}}', b'{"a":1,"a":2}', b'"\\ud83d\\ude00"', b'"\\u0000"',
        b'"\\"\\\\\\/\\b\\f\\n\\r\\t"', "\"\x7f\u0080\uffff\U0010ffff\"".encode(), b"[1,2 , 3]",
        b'{"":""}', b"[" * 128 + b"]" * 128, b'{"a":' * 128 + b"1" + b"}" * 128,
        b'"\\uD834\\uDD1E"', b"[[],[[]],{}]",
    ],
    ids=lambda data: ascii(data[:40]),
)  # fmt: skip
def test_valid_json(scan: Scan, data: bytes) -> None:
    assert scan(data, JSON) == Found([])


NOT_JSON = [
    ("C01", b"[" * 129 + b"]" * 129, "nested deeper than 128", 128),
    ("C01", b'{"a":' * 128 + b"[", "nested deeper than 128", 640),
    ("C03", b"NaN", "a value is missing or unknown", 0),
    ("C03", b"[Infinity]", "a value is missing or unknown", 1),
    ("C03", b"-Infinity", "not a number", 1),
    ("C03", b"[1e400]", "a number beyond a double", 1),
    ("C03", b"-1e309", "a number beyond a double", 0),
    ("C03", b"1.7976931348623159e308", "a number beyond a double", 0),
    ("C03", b"179769313486231580793728971405304" + b"0" * 276, "a number beyond a double", 0),
    ("C03", b"1e99999999999999999999999", "a number beyond a double", 0),
    ("C05", b'"\xff"', "not UTF-8", 1),
    ("C05", b'"a\xc0\xb1"', "not UTF-8", 2),
    ("C05", b'"\xed\xa0\x80"', "not UTF-8", 1),
    ("C05", b'"\xe0\x80\xb1"', "not UTF-8", 1),
    ("C05", b'"\xf0\x80\x80\xb1"', "not UTF-8", 1),
    ("C05", b'"\xf4\x90\x80\x80"', "not UTF-8", 1),
    ("C05", b'"\xe2\x82"', "not UTF-8", 1),
    ("C05", b'"\xe2\x82', "not UTF-8", 1),
    ("C05", b'"\x80"', "not UTF-8", 1),
    ("C05", b'{"\xff":1}', "not UTF-8", 2),
    ("C06", b"\xef\xbb\xbf{}", "a value is missing or unknown", 0),
    ("C06", '{"a":1}'.encode("utf-16"), "a value is missing or unknown", 0),
    ("C06", '{"a":1}'.encode("utf-16-le"), "a comma, colon or bracket is missing", 1),
    ("C06", '{"a":1}'.encode("utf-16-be"), "a value is missing or unknown", 0),
    ("C06", '{"a":1}'.encode("utf-32"), "a value is missing or unknown", 0),
    ("C07", b"{}{}", "something behind the value", 2),
    ("C07", b"{}\x00", "something behind the value", 2),
    ("C07", b"[1,]", "a value is missing or unknown", 3),
    ("C07", b'{"a":1,}', "a comma, colon or bracket is missing", 7),
    ("C07", b"[01]", "not a number", 2),
    ("C07", b"-01", "not a number", 2),
    ("C07", b"[+1]", "a value is missing or unknown", 1),
    ("C07", b"[.5]", "a value is missing or unknown", 1),
    ("C07", b"[5.]", "not a number", 3),
    ("C07", b"[1.e1]", "not a number", 3),
    ("C07", b"[1e]", "not a number", 3),
    ("C07", b"[1e+]", "not a number", 4),
    ("C07", b"[-]", "not a number", 2),
    ("C07", b"[0x1]", "a comma, colon or bracket is missing", 2),
    ("C07", b"['a']", "a value is missing or unknown", 1),
    ("C07", b"{a:1}", "a comma, colon or bracket is missing", 1),
    ("C07", b"[1/*x*/]", "a comma, colon or bracket is missing", 2),
    ("C07", b"//x\n{}", "a value is missing or unknown", 0),
    ("C07", b"\x0c{}", "a value is missing or unknown", 0),
    ("C07", b"1" * 5000, "a number beyond a double", 0),
    ("C07", b"truex", "something behind the value", 4),
    ("C07", b"tru", "a value is missing or unknown", 0),
    ("C07", b'{"a"}', "a comma, colon or bracket is missing", 4),
    ("C07", b'{"a":}', "a value is missing or unknown", 5),
    ("C07", b'{"a" 1}', "a comma, colon or bracket is missing", 5),
    ("C07", b"{1:1}", "a comma, colon or bracket is missing", 1),
    ("C07", b"[1}", "a comma, colon or bracket is missing", 2),
    ("C07", b"[1 2]", "a comma, colon or bracket is missing", 3),
    ("C07", b"[,1]", "a value is missing or unknown", 1),
    ("C07", b"]", "a value is missing or unknown", 0),
    ("C07", b"[", "a value is missing or unknown", 1),
    ("C07", b"[1", "a comma, colon or bracket is missing", 2),
    ("C07", b"{", "a comma, colon or bracket is missing", 1),
    ("C07", b'{"a":1', "a comma, colon or bracket is missing", 6),
    ("C08", b"", "a value is missing or unknown", 0),
    ("C08", b" \n", "a value is missing or unknown", 2),
    ("C11", b'"\x00"', "a control character or an unknown escape in a string", 1),
    ("", b'"a\nb"', "a control character or an unknown escape in a string", 2),
    ("", b'"\\x41"', "a control character or an unknown escape in a string", 1),
    ("", b'"\\u12"', "a control character or an unknown escape in a string", 1),
    ("", b'"\\u12g4"', "a control character or an unknown escape in a string", 1),
    ("", b'"\\ud800"', "a lone surrogate", 1),
    ("", b'"\\ud800x"', "a lone surrogate", 1),
    ("", b'"\\ud800\\ud800"', "a lone surrogate", 1),
    ("", b'"\\ud800\\u0041"', "a lone surrogate", 1),
    ("", b'"a\\udc00"', "a lone surrogate", 2),
    ("", b'{"\\udfff":1}', "a lone surrogate", 2),
    ("", b'"abc', "a string that does not end", 4),
    ("", b'"abc\\', "a string that does not end", 5),
    ("", b'"', "a string that does not end", 1),
]


@BOTH
@pytest.mark.parametrize(
    ("data", "error", "at"),
    [row[1:] for row in NOT_JSON],
    ids=[f"{row[0]} {row[1][:20]!a}" for row in NOT_JSON],
)
def test_c_what_is_not_json(scan: Scan, data: bytes, error: str, at: int) -> None:
    assert scan(data, JSON) == Found([], error, at)


@BOTH
@pytest.mark.parametrize(
    ("data", "found"),
    [
        # Read as JSON up to the error, and with JSON's escapes behind it.
        (b'{"a":"\\u0034111111111111111"} and more', [b"\\u0034111111111111111"]),
        (b'["\\u0034111111111111111"', [b"\\u0034111111111111111"]),
        (b'["x","\\u0034111111111111111', [b"\\u0034111111111111111"]),
        (b'{"a":1}\n{"b":"\\u0034111111111111111"}', [b"\\u0034111111111111111"]),
        (b'{"\\u0034111111111111111" "\\u0034111111111111111"}', [b"\\u0034111111111111111"] * 2),
        (b'{"\\u0034111111111111111', [b"\\u0034111111111111111"]),
        (b"['\\u0034111111111111111']", [b"\\u0034111111111111111"]),
        (b'["\\u0034111111111111111\xff"]', [b"\\u0034111111111111111"]),
        (b'["\\x \\u0034111111111111111"]', [b"\\u0034111111111111111"]),
        (b'["\\\\u0034111111111111111"', [b"\\\\u0034111111111111111"]),
        (b"[4111111111111111,01]", [C]),
        (b"[04111111111111111]", []),
        (b"[4111111111111111x]", [C]),
        (b"[1e400,4111111111111111]", [C]),
        (b"[" * 129 + C, [C]),
        (b"\xef\xbb\xbf[4111111111111111]", [C]),
    ],
)
def test_an_error_hides_nothing(scan: Scan, data: bytes, found: list[bytes]) -> None:
    result = scan(data, JSON)
    assert result.error is not None
    assert values(data, result) == [(CARD, value) for value in found]


def test_c01_a_deep_body_costs_little() -> None:
    for data in (b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000):
        assert compiled(data, JSON).error == "nested deeper than 128"
        assert seconds(data, JSON) < 0.01


# Other bodies.


@BOTH
def test_b15_forms_and_multipart(scan: Scan) -> None:
    form = b"name=x&card=4111+1111+1111+1111&m=a%40b.example&n=%34111111111111111"
    found = [b"4111+1111+1111+1111", b"a%40b.example", b"%34111111111111111"]
    assert [value for _, value in values(form, scan(form, FORM))] == found
    multipart = b'--x\r\nContent-Disposition: form-data; name="c"\r\n\r\n%b\r\n--x--' % C
    assert values(multipart, scan(multipart, TEXT)) == [(CARD, C)]
    binary = b"\x89PNG\xff\xfe" + C + b"\xc3\x28\xe2\x82\xa0\xa1"
    assert values(binary, scan(binary, TEXT)) == [(CARD, C)]


@BOTH
def test_broken_utf_8_is_read_byte_by_byte(scan: Scan) -> None:
    # Latin-1's no-break space and soft hyphen are separators too.
    for byte in (b"\xa0", b"\xad", b"\xb7"):
        data = byte.join([b"4111", b"1111", b"1111", b"1111"])
        assert values(data, scan(data, TEXT)) == [(CARD, data)]
    # Overlong forms and surrogates are no digits.
    for data in (b"\xc0\xb4111111111111111", b"\xe0\x80\xb4111111111111111"):
        assert scan(data, TEXT).spans == []
        assert scan(b"/%C0%B4111111111111111", TARGET).spans == []


def test_what_is_given_is_checked() -> None:
    for form in (-1, 4, 100):
        with pytest.raises(ValueError, match="form"):
            compiled_scan.scan(b"", form)
    calls: list[Callable[[], Any]] = [
        lambda: compiled_scan.scan(None, TEXT),  # type: ignore[arg-type]
        lambda: compiled_scan.scan("", TEXT),  # type: ignore[arg-type]
        lambda: compiled_scan.scan(bytearray(), TEXT),  # type: ignore[arg-type]
        lambda: compiled_scan.redact(None, Spans()),  # type: ignore[arg-type]
        lambda: compiled_scan.redact(b"", None),  # type: ignore[arg-type]
        lambda: compiled_scan.counts(None),  # type: ignore[arg-type]
        lambda: compiled_scan.counts([]),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(TypeError):
            call()
    assert (JSON, TEXT, TARGET, FORM) == (
        compiled_scan.JSON,
        compiled_scan.TEXT,
        compiled_scan.TARGET,
        compiled_scan.FORM,
    )
    assert len(compiled_scan.counts(Spans())) == len(KINDS)
    assert compiled_scan.redact(b"x", Spans()) == b"x"


# Windows.

WINDOW = 8192
AT_BORDERS = [
    "4111111111111111",
    "4111 1111 1111 1111",
    "4111\u20131111\u20131111\u20131111",
    " ".join("4111111111111111111"),
    "4.111111111111111e15",
    "123-45-6789",
    "social security number of Jo is 123456789",
    "alice@example.com",
    "a" * 64 + "@" + "b" * 240 + ".example",
    "411111111111111111111111",
    "7" * 700 + "4111111111111111",
    "41111111-1111-1111-1111-111111111111",
    "abcd4111111111111111abcdabcdabcdabcdabcd",
    "0.4111111111111111",
    "x@4111111111111111.com",
    "4111 1111 1111 1111 " * 40,
    "alice@example.com," * 40,
]


@pytest.mark.parametrize("value", AT_BORDERS, ids=lambda value: value[:24])
@pytest.mark.parametrize("filler", ["\n", "é", "a,"])
def test_windows_change_nothing(value: str, filler: str) -> None:
    # The border of the first window, and of the second, in code points.
    middle = f",{value}, then ".encode()
    short = compiled(middle, TEXT)
    assert short == twin.scan(middle, TEXT)
    # A span of at most two windows' margins before each border, one step at a time.
    for border in (WINDOW, 2 * WINDOW - 1024):
        for at in range(border - 1100, border + 40):
            head = (filler * (at // len(filler) + 1))[:at].encode()
            found = compiled(head + middle + filler.encode() * 9, TEXT)
            shifted = [
                (kind, start + len(head), end + len(head), quoted)
                for kind, start, end, quoted in short.spans
            ]
            assert found.spans == shifted, at


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ssn 0f8fad5b-d9cb-469f-a165-abc123456789", 0),
        ("ssn adfbadeb-dccb-abcf-abcd-abc123456789!", 1),
        ("ssn 0f8fad5b-d9cb-469f-a165-abc123456789f", 0),
        ("ssn 0f8fad5b-d9cb-469f-a165-1234567890ab", 0),
        ("id 0f8fad5b-d9cb-469f-a165-411111111111-1111", 0),
        ("id 0f8fad5b-d9cb-4111-1111-111111111111", 0),
        ("id 0f8fad5b-d9cb-4111-1111-111111111111-1", 0),
        ("id 10f8fad5b-d9cb-4111-1111-111111111111", 0),
        ("id 4111-1111-1111-1111-0f8fad5b-d9cb-469f-a165-70867728950e", 1),
        ("%410f8fad5b-d9cb-469f-a165-70867728950e", 0),
    ],
)
@pytest.mark.parametrize("form", [JSON, TEXT, FORM])
def test_rows_of_a_uuid(text: str, found: int, form: int) -> None:
    data = json.dumps([text]).encode() if form == JSON else text.encode()
    assert len(both(data, form).spans) == found


@pytest.mark.parametrize("first", ["4111 1111 1111 1111", "123-45-6789", "ada@example.org"])
@pytest.mark.parametrize("form", [JSON, TEXT, FORM])
def test_a_finding_hides_no_later_one(first: str, form: int) -> None:
    """Wherever reading stops behind the first, what announces the second is still seen."""
    later = ["my social security number is 123456789", "0f8fad5b-d9cb-469f-a165-41111111111111"]
    later += ["a1b2c3d4e5f60718 4111111111111111", "some.one@example.org", "0.4111111111111111"]
    for gap in range(40, 700, 3):
        text = f"{first} {'x' * gap} {later[gap // 3 % 5]} and so on"
        both(json.dumps([text]).encode() if form == JSON else text.encode(), form)


def test_windows_like_the_twin() -> None:
    rng = random.Random(2)
    for form in (TEXT, FORM, TARGET, JSON):
        for _ in range(2):
            text = "".join(rng.choices(FRAGMENTS, k=4_000))[:18_000]
            both(text.encode("utf-8", "surrogatepass"), form)
    text = "".join(rng.choices([f for f in FRAGMENTS if f not in '\\"'], k=4_000))
    data = json.dumps({"ssn": text}).encode("utf-8")
    assert both(data, JSON).error is None


# Generated input.

FRAGMENTS = [
    *(card for card in CARDS.values() if len(card) < 24),
    "5500005555555559", "123-45-6789", "987.65.4321", "123456789", "223456789", "ssn", "SSN: ",
    "userSSN", "social security number ", " no. ", "itin=", "taxId", "bob@example.com", "@",
    "a@b.co",
    ".", "-", " ", "/", "_", "\t", "\u2013", "\u00a0", "\\u0034", "\\u002d", "%34", "%2d", "%40",
    "%E2%80%93", "+", "0", "1", "4", "11", "111", "1111", "111111", "٤", "４", "é", "字", "\\", '"',
    "{", "}", "[", "]", ":", ",", "e15", "e", "E+", "\n", "x", "a", "f", "abcdef",
    "41111111-1111-1111-1111-111111111111", "deadbeefdeadbeef", "true", "null", "\\ud835\\udfd2",
    "\\ud835", "\\n", "\\/", "0.4111111111111111", "4.111111111111111e15", "1e309", "-",
    "1.7976931348623159e308", "&", "=", "?", "user@4111111111111111.com", "no.", "'", "\u200b",
]  # fmt: skip
TEXTS = st.lists(
    st.sampled_from(FRAGMENTS) | st.text(max_size=4), max_size=12
).map("".join)  # fmt: skip


def as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@settings(max_examples=300, deadline=None)
@given(TEXTS.map(as_bytes) | st.binary(max_size=60))
def test_any_text_like_the_twin(data: bytes) -> None:
    for form in (JSON, TEXT, TARGET, FORM):
        both(data, form)


@settings(max_examples=200, deadline=None)
@given(
    digits=st.sampled_from([*CARDS.values(), "123456789", "123456789012345678901"]),
    scripts=st.lists(st.sampled_from([chr(0x30), *UNICODE_DIGITS[::10]]), min_size=1, max_size=3),
    cuts=st.lists(st.integers(1, 6), min_size=1, max_size=20),
    separators=st.lists(
        st.sampled_from([*" -./_\t", "", "\u2013", "\u00a0", "\u3000", "--", ","]),
        min_size=1,
        max_size=2,
    ),
    around=st.sampled_from([*AROUND, ("ssn ", ""), ("0.", ""), ("+", ""), ("1 ", " 2")]),
)
def test_any_grouping_and_script_like_the_twin(
    digits: str,
    scripts: list[str],
    cuts: list[int],
    separators: list[str],
    around: tuple[str, str],
) -> None:
    plain = [str(int(c)) for c in digits if c.isdecimal()]
    text = ""
    for at, digit in enumerate(plain):
        text += chr(ord(scripts[at % len(scripts)]) + int(digit))
        if at % cuts[at % len(cuts)] == 0:
            text += separators[at % len(separators)]
    text = around[0] + text + around[1]
    both(text.encode(), TEXT)
    both(json.dumps(text).encode(), JSON)


NUMBERS = st.from_regex(r"\A-?[0-9]{1,20}(\.[0-9]{0,20})?([eE][+-]?[0-9]{0,4})?\Z") | st.builds(
    lambda digits, point, by: f"{digits[:point]}.{digits[point:]}e{len(digits) - point + by}",
    st.sampled_from(["4111111111111111", "0123456789", "4222222222222", "17976931348623158"]),
    st.integers(1, 9),
    st.integers(-3, 3) | st.integers(280, 310),
)


@settings(max_examples=300, deadline=None)
@given(NUMBERS, st.sampled_from(["a", "ssn"]))
@example("179769313486231580793728971405303" + "0" * 276, "a")
@example("179769313486231570814527423731704356798070" + "0" * 267, "a")
def test_any_number_like_the_twin(text: str, key: str) -> None:
    found = both(f'{{"{key}":{text}}}'.encode(), JSON)
    both(text.encode(), TEXT)
    if found.error is None:
        json.loads(redacted(f'{{"{key}":{text}}}'.encode(), JSON))


def strictly_valid(data: bytes) -> bool:
    """Whether Python's own decoder, held to section 6, accepts the body."""

    def refuse(_: str) -> None:
        raise ValueError

    def finite(text: str) -> float:
        if abs(value := float(text)) == float("inf"):
            raise ValueError
        return value

    def walk(value: object, depth: int) -> None:
        if isinstance(value, str):
            value.encode()
        elif isinstance(value, list | tuple):
            if depth == 128 and not isinstance(value, tuple):
                raise ValueError
            for each in value:
                walk(each, depth if isinstance(value, tuple) else depth + 1)

    try:
        # Pairs are tuples, so an object is a list of them and none is lost.
        value = json.loads(
            data.decode(),
            parse_constant=refuse,
            parse_float=finite,
            parse_int=finite,
            object_pairs_hook=lambda pairs: [(key, value) for key, value in pairs],
        )
        walk(value, 0)
    except (ValueError, RecursionError):
        return False
    return True


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
BODIES = st.builds(
    lambda value, ascii_only, indent, around: (
        around[0] + as_bytes(json.dumps(value, ensure_ascii=ascii_only, indent=indent)) + around[1]
    ),
    VALUES,
    st.booleans(),
    st.sampled_from([None, 1]),
    st.sampled_from([(b"", b""), (b" ", b"\n"), (b"[" * 126, b"]" * 126), (b'{"a":', b"}")]),
)
MUTATIONS = st.lists(
    st.tuples(
        st.integers(0, 10_000), st.sampled_from(["cut", "put", "drop"]), st.binary(max_size=3)
    ),
    max_size=2,
)


def mutated(data: bytes, mutations: list[tuple[int, str, bytes]]) -> bytes:
    for place, how, piece in mutations:
        at = place % (len(data) + 1)
        if how == "cut":
            data = data[:at]
        else:
            data = data[:at] + piece + data[at + (how == "drop") * len(piece) :]
    return data


@settings(max_examples=300, deadline=None)
@given(BODIES, MUTATIONS)
@example(b"\xef\xbb\xbf{}", [])
@example(b'"\\ud800"', [])
@example(b'"\xed\xa0\x80"', [])
def test_any_json_like_the_twin_and_pythons_decoder(
    body: bytes, mutations: list[tuple[int, str, bytes]]
) -> None:
    data = mutated(body, mutations)
    found = both(data, JSON)
    assert (found.error is None) is strictly_valid(data)
    ends = [0]
    for _, start, end, _ in found.spans:
        assert ends[-1] <= start < end <= len(data)
        ends.append(end)
    if found.error is None:
        assert strictly_valid(redacted(data, JSON))


HIDDEN = st.lists(
    st.tuples(
        st.sampled_from(["4111111111111111", "378282246310005", "5555555555554444"]),
        st.sampled_from(["", " ", "-", "\u2013", "\u00a0", "."]),
        st.sampled_from(["plain", "escaped", "number", "key"]),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=200, deadline=None)
@given(HIDDEN, TEXTS)
def test_nothing_of_a_card_remains(cards: list[tuple[str, str, str]], more: str) -> None:
    members = []
    for place, (card, separator, how) in enumerate(cards):
        groups = [*re.findall(".{4}", card[:8]), card[8:]]
        text = separator.join(groups)
        members.append(
            {
                "plain": f'"k{place}": "x {text} y"',
                "escaped": f'"k{place}": "'
                + "".join(f"\\u{ord(character):04X}" for character in text)
                + '"',
                "number": f'"k{place}": {card}',
                "key": f"{json.dumps(text)}: {place}",
            }[how]
        )
    data = as_bytes("{" + ", ".join(members) + "}")
    out = redacted(data, JSON)
    both(as_bytes("{" + ", ".join([*members, f'"more":{json.dumps(more)}']) + "}"), JSON)
    read = str(json.loads(out, object_pairs_hook=list))
    kept = "".join(character for character in read if character.isdecimal())
    for card, _, _ in cards:
        assert not any(card[at : at + 7] in kept for at in range(len(card) - 6))
    assert read.count(REDACTED[CARD]) >= len(cards)


# Cost.

HOSTILE: dict[str, tuple[bytes, int]] = {
    "@": (b"@", TEXT),
    "a@": (b"a@", TEXT),
    "a@a.": (b"a@a.", TEXT),
    "a@1.": (b"a@1.", TEXT),
    "a@ and one domain": (b"a." * 40 + b"@", TEXT),
    "letters": (b"a", TEXT),
    "digits": (b"4", TEXT),
    "single digits": (b"4 ", TEXT),
    "groups": (b"4111 ", TEXT),
    "valid cards in digests": (b"a4111111111111111aaaaaaaaaaaaa", TEXT),
    "valid cards in UUIDs": (b"41111111-1111-1111-1111-111111111111-", TEXT),
    "words before numbers": (b"ssnssnssnssnssnssnssn 123456780 ", TEXT),
    "long words before numbers": (b"s" * 60 + b"123456780 ", TEXT),
    "nine digits": (b"123456789 ", TEXT),
    "dashes": ("4\u2013".encode(), TEXT),
    "digits of other scripts": ("٤".encode(), TEXT),
    "broken UTF-8": (b"\xf0\x9f\x98", TEXT),
    "percent": (b"%34", FORM),
    "percent escaped @": (b"%40a", FORM),
    "dashes of a key in a form": (b"-----", FORM),
    "words that begin like calls": (b"soc" * 20 + b"123456780 ", TEXT),
    "escapes": (b"\\u0034", JSON),
    "escapes in a string": (b'"\\u0034"', JSON),
    "backslashes": (b"\\", JSON),
    "keys": (b'{"ssn":[', JSON),
    "fraction": (b"0.", TEXT),
    "colons": (b":", TEXT),
    "equals signs behind words": (b"password=", TEXT),
    "colons of full width": ("：".encode(), TEXT),
    "words between a word and its value": (b"value:", TEXT),
    "users": (b"-u a:", TEXT),
    "short words in a value": (b"pw:", TEXT),
    "keys in a value": (b"key=", TEXT),
    "values in each other": (b"pw=$1a/", TEXT),
    "prefixes": (b"sk-", TEXT),
    "signatures": (b"sig=", TEXT),
    "countries": (b"DE89 ", TEXT),
}


def seconds(data: bytes, form: int) -> float:
    """Return the processor time of the quickest of a few scans."""
    times = []
    for _ in range(5):
        start = time.thread_time()
        compiled_scan.scan(data, form)
        times.append(time.thread_time() - start)
    return min(times)


@pytest.mark.parametrize(("piece", "form"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_input_costs_linear_time(piece: bytes, form: int) -> None:
    quarter, whole = (piece * (size // len(piece)) for size in (250_000, 1_000_000))
    took = seconds(whole, form)
    assert took < 1
    assert took < 8 * seconds(quarter, form) + 0.002
    valid = json.dumps([whole.decode("latin-1")]).encode()
    assert seconds(valid, JSON) < 2


def test_a_key_is_asked_again_at_no_cost() -> None:
    body = b'{"%b":[%b1]}' % (b"a" * 64, b"123456789," * 100_000)
    assert seconds(body, JSON) < 1


UUID = "4111a5a1-1111-1111-1111-d424c17c6279"
"""In lower case, as most are; others are told by their own."""


@pytest.mark.parametrize(
    "text",
    [
        f'{{"order_id":"{UUID}","n":"4111111111111111"}}',
        f'{{"a":"{UUID}","b":"{UUID.upper()}","c":"{UUID[:-1]}","d":"{UUID}4111111111111111"}}',
        '{"a":"41111111-1111-1111-1111-111111111111","b":"41111111-1111-1111-1111-11111111111"}',
        f'{{"a":"{UUID}\\nNDExMTExMTExMTExMTExMQ==","token":"{UUID}"}}',
        '{"api_key":"hunter2xQ9vWq","apikez":"hunter2xQ9vWq","is":"hunter2xQ9vWq","xey":"a"}',
        '{"name":"db_password","value":"hunter2xQ9vWq"}',
        '{"at":1730440222123,"to":1730440222,"card":4111111111111111,"visa":"4222222222222"}',
        '{"ids":[ "4111","1111","1111","1111"],"tags":["a","4111"],"e":[4111, 1111,1111,1111]}',
        "/srv/app/data/report_265 ghp_16C7e42F292c6912E7710c838347Ae178B4a AKIAIOSFODNN7EXAMPLE",
    ],
)
@pytest.mark.parametrize("depth", range(4))
def test_what_is_passed_over_in_strings_wherever_it_stands(text: str, depth: int) -> None:
    for _ in range(depth):
        text = json.dumps({"a": text})
    # Where blocks and groups of them end.
    for before in (*range(64), *range(440, 512, 3)):
        both(json.dumps({"x" * before: text}).encode(), JSON)


@pytest.mark.parametrize("before", [0, 1, 62, 63, 64, 511])
def test_backslashes_over_many_blocks(before: int) -> None:
    for count in range(1, 140):
        body = b'["' + b"x" * before + b"\\" * count + b'n","4111111111111111"]'
        assert (both(body, JSON).error is None) is strictly_valid(body)


@pytest.mark.proof
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(20))
def test_a_million_bodies_like_the_twin(seed: int) -> None:
    rng = random.Random(seed)

    def text() -> str:
        # Five pieces, now and then many.
        return "".join(rng.choices(FRAGMENTS, k=1 + int(rng.expovariate(0.25))))

    def value(depth: int) -> str:
        how = rng.randrange(6 if depth < 4 else 4)
        if how == 4:
            return "[" + ",".join(value(depth + 1) for _ in range(rng.randrange(4))) + "]"
        if how == 5:
            keys = rng.choices(["a", "ssn", "classname", "tax_id", json.dumps(text())[1:-1]], k=3)
            return "{" + ",".join(f'"{key}":{value(depth + 1)}' for key in keys) + "}"
        if how == 3:
            return rng.choice(["4111111111111111", "123456789", "-1.5e3", "true", "1e309", "null"])
        return json.dumps(text(), ensure_ascii=rng.random() < 0.5)

    for _ in range(50_000):
        made = as_bytes(value(0) if rng.random() < 0.6 else text())
        if rng.random() < 0.4:
            mutations = [
                (rng.randrange(10_000), rng.choice(["cut", "put", "drop"]), rng.randbytes(1))
                for _ in range(rng.randrange(1, 3))
            ]
            made = mutated(made, mutations)
        form = rng.choice([JSON, JSON, TEXT, TARGET, FORM])
        found = both(made, form)
        if form == JSON:
            assert (found.error is None) is strictly_valid(made)


@BOTH
@pytest.mark.parametrize(
    ("data", "form", "start", "end"),
    [
        (rb'{"a":"ada\u0040example.org"}', JSON, 6, 26),
        (rb'{"a":"it is \u0061da\u0040example.org."}', JSON, 12, 37),
        (b"/proxy/x?m=ada%40example.org", TARGET, 11, 28),
        (b"m=ada%40example.org&n=1", FORM, 2, 19),
    ],
)
def test_an_at_sign_may_be_encoded(
    scan: Scan, data: bytes, form: int, start: int, end: int
) -> None:
    assert scan(data, form).spans == [(EMAIL, start, end, False)]


SPLIT = [
    b'["4111","1111","1111","1111"]',
    b"[4111,1111,1111,1111]",
    b'[ "4111" ,\n"1111", "1111","1111" ]',
    b'["41111111","11111111"]',
    b'["3782","822463","10005"]',
    b"[3782,822463,10005]",
    b'["4","1","1","1","1","1","1","1","1","1","1","1","1","1","1","1"]',
    b'["41111","11111","11111","1"]',
]
NOT_SPLIT = [
    b'["4111","1111","1111","1112"]',
    b'["4111","1111","1111","1111","x"]',
    b'["4111","1111","1111",1111]',
    b'["4111","1111","1111","1111",""]',
    b"[41111111,11111111]",
    b"[4111,1111,1111,1111.0]",
    b"[4111,1111,1111,1111,2024]",
    b"[2024,2025,2026,2027]",
    b'["411","1111","1111","11111"]',
    b"[[4111],[1111],[1111],[1111]]",
    b'{"4111":1111,"1111":1111}',
    b'["4111"]',
    b"[]",
]


@pytest.mark.parametrize("body", SPLIT)
def test_a_card_over_the_items_of_an_array(body: bytes) -> None:
    for before, behind in ((b"", b""), (b'{"a":[1,' + b" " * 57, b',"b"]}'), (b'[["x"],', b"]")):
        data = before + body + behind
        assert [span[0] for span in both(data, JSON).spans] == [CARD]
        cleaned = json.loads(redacted(data, JSON))
        assert ["[CREDIT_CARD_REDACTED]"] in (cleaned, *found_lists(cleaned))


def found_lists(value: object) -> list[object]:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return []
    return [value, *(inner for item in value for inner in found_lists(item))]


@pytest.mark.parametrize("body", NOT_SPLIT)
def test_an_array_that_is_no_card(body: bytes) -> None:
    assert both(body, JSON).spans == []
