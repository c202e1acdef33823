"""What is encoded in a text is found, scrubbed where it stands, and the same as the twin says."""

from __future__ import annotations

import base64
import html
import json
import os
import random
import re
import time
import urllib.parse
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from iatp._fast import scan as compiled_scan
from iatp._fast.gate import Gate
from iatp.values.exchange import REDACTED, Respond
from iatp.values.secrets import FIRST_WORDS, LAST_WORDS
from tests._fast.gates import SAFE, ask
from tests._fast.test_scan import as_bytes, both, redacted
from tests.twins import layers
from tests.twins import scan as twin
from tests.twins.scan import CARD, EMAIL, FORM, JSON, SECRET, SSN, TARGET, TEXT

C = "4111111111111111"
CARD_MARK, SSN_MARK, EMAIL_MARK = (REDACTED[kind] for kind in (CARD, SSN, EMAIL))
Encode = Callable[[str], str]


def in_json(value: object) -> bytes:
    return json.dumps(value).encode()


def kinds(data: bytes, form: int) -> list[int]:
    found = both(data, form)
    assert found.error is None
    return [span[0] for span in found.spans]


def unwrapped(data: bytes, levels: int) -> Any:
    """Return the value of JSON that stands in `levels` strings of JSON, each under the key a."""
    value = json.loads(data)
    for _ in range(levels):
        value = json.loads(value["a"])
    return value


def wrapped(text: str, levels: int) -> bytes:
    for _ in range(levels):
        text = json.dumps({"a": text})
    return text.encode()


# JSON in strings.

INNER = {
    "string": ({"c": C}, {"c": CARD_MARK}),
    "number": ({"c": int(C)}, {"c": CARD_MARK}),
    "negative": ({"c": [1, -int(C), 2]}, {"c": [1, CARD_MARK, 2]}),
    "key": ({C: 1}, {CARD_MARK: 1}),
    "SSN as a string": ({"ssn": "123456789"}, {"ssn": SSN_MARK}),
    "SSN as a number": ({"x": 1, "tax_id": [123456789]}, {"x": 1, "tax_id": [SSN_MARK]}),
    "not every number": ({"n": 123456789, "e": 0.4111111111111111}, None),
    "an address": (["ada@example.org"], [EMAIL_MARK]),
    "two kinds": ({"ssn": 123456789, "c": C}, {"ssn": SSN_MARK, "c": CARD_MARK}),
    "a string alone": (f"card {C}", f"card {CARD_MARK}"),
}


@pytest.mark.parametrize(("value", "clean"), INNER.values(), ids=INNER)
@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("spaces", ["", " \n"])
def test_b11_json_in_strings(value: object, clean: object, levels: int, spaces: str) -> None:
    data = wrapped(spaces + json.dumps(value), levels)
    assert both(data, JSON).error is None
    assert unwrapped(redacted(data, JSON), levels) == (value if clean is None else clean)


@pytest.mark.parametrize("token", ["4.111111111111111e15", "0.0004111111111111111e19", f"-{C}.5"])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_b11_numbers_by_their_value(token: str, levels: int) -> None:
    data = wrapped(f'{{"n":{token}}}', levels)
    assert kinds(data, JSON) == [CARD]
    assert unwrapped(redacted(data, JSON), levels) == {"n": CARD_MARK}


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_b11_escapes_at_any_level(levels: int) -> None:
    for at in range(levels + 1):
        text = json.dumps({"c": C}) if at else f'{{"c":"\\u0034{C[1:]}"}}'
        for level in range(1, levels + 1):
            text = json.dumps({"a": text})
            if level == at:
                text = text.replace("4", "\\u0034").replace("a", "\\u0061")
        data = text.encode()
        assert kinds(data, JSON) == [CARD], data
        assert unwrapped(redacted(data, JSON), levels) == {"c": CARD_MARK}


def test_b11_a_fourth_level_is_read_as_it_stands() -> None:
    """Digits are seen through any quotes; what an escape or a value hides is not undone there."""
    assert kinds(wrapped(json.dumps({"c": C}), 4), JSON) == [CARD]
    assert kinds(wrapped('{"n":0.0004111111111111111e19}', 4), JSON) == []


def test_the_key_of_a_string_speaks_for_what_is_in_it() -> None:
    for text in (
        '["123456789"]',
        "[1,[123456789]]",
        '"123456789"',
        "&#49;23456789",
        "MTIzNDU2Nzg5MTIz",
    ):
        data = in_json({"ssn": text})
        expected = [] if text.startswith("MTI") else [SSN]
        assert kinds(data, JSON) == expected
        assert kinds(in_json({"x": text}), JSON) == []


@pytest.mark.parametrize(
    "text",
    [
        'Result: {"card":"\\u0034111111111111111"}',
        '{"card":"\\u0034111111111111111"} and more',
        '[{"card":"\\u0034111111111111111"',
        'say \\"\\\\u0034111111111111111\\"',
    ],
)
def test_escapes_count_where_it_is_not_quite_json(text: str) -> None:
    for data, form in ((in_json([text]), JSON), (text.encode(), TEXT)):
        assert kinds(data, form) == [CARD]
    assert both(in_json([text])[:-1], JSON).spans


def test_an_unknown_escape_takes_no_digit() -> None:
    for text in ("\\123-45-6789 x", "\\4111111111111111", "a\\4111 1111 1111 1111"):
        assert len(both(text.encode(), JSON).spans) == 1


# Encodings.


def percent(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


def entities(text: str) -> str:
    return "".join(f"&#{ord(character)};" for character in text)


def hexadecimal(text: str) -> str:
    return text.encode().hex()


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


ENCODINGS: dict[str, Encode] = {
    "percent": percent,
    "percent, one digit": lambda text: f"%{ord(text[0]):02X}{text[1:]}" if text else "",
    "percent as a library does it": urllib.parse.quote,
    "entities": entities,
    "entities in hex": lambda text: "".join(f"&#x{ord(c):X};" for c in text),
    "entities with zeros": lambda text: "".join(f"&#000{ord(c)};" for c in text),
    "entities without semicolons": lambda text: "".join(
        f"&#{ord(c)}" if c == "@" else f"&#{ord(c)};" for c in text
    ),
    "entities as a library does it": html.escape,
    "base64": base64_of,
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64 without padding": lambda text: base64_of(text).rstrip("="),
    "base64 in lines": lambda text: base64.encodebytes(text.encode()).decode(),
    "base64 in lines of 20": lambda text: "\r\n".join(re.findall("..{0,19}", base64_of(text))),
    "data URI": lambda text: f"data:text/plain;base64,{base64_of(text)}",
    "hex": hexadecimal,
    "HEX": lambda text: text.encode().hex().upper(),
    "0x": lambda text: "0x" + text.encode().hex(),
}
VALUES = {
    C: CARD,
    "4111 1111 1111 1111": CARD,
    "3782-822463-10005": CARD,
    "4111\u20131111\u20131111\u20131111": CARD,
    "123-45-6789": SSN,
    "SSN: 123456789": SSN,
    "ada.lovelace@example.org": EMAIL,
}


def forms_of(text: str) -> list[tuple[bytes, int]]:
    quoted = urllib.parse.quote(text, safe="").encode()
    return [
        (in_json({"a": f"see {text} there"}), JSON),
        (in_json({text: 1}), JSON),
        (text.encode(), TEXT),
        (f"see {text}\nthere".encode(), TEXT),
        (b"a=%b&b=1" % quoted, FORM),
        (b"/p/%b?a=1" % quoted, TARGET),
        (b"/p?a=%b&b=1" % quoted, TARGET),
    ]


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize("value", VALUES, ids=ascii)
def test_b13_encoded_once(encode: Encode, value: str) -> None:
    for data, form in forms_of(encode(value)):
        # A run of several lines has to begin its line.
        if form == TARGET and b"%0A" in data and b"?x=" not in data and data.startswith(b"/p/"):
            continue
        assert kinds(data, form) == [VALUES[value]], data


@pytest.mark.parametrize("outer", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize("inner", ENCODINGS.values(), ids=ENCODINGS)
def test_b13_encoded_twice(outer: Encode, inner: Encode) -> None:
    for value, kind in VALUES.items():
        data = in_json({"a": outer(inner(value))})
        assert kinds(data, JSON) == [kind], data


def test_b13_encoded_three_times_is_a_limit() -> None:
    assert kinds(in_json([percent(percent(percent(C)))]), JSON) == []
    # In a form and a target the first is what makes them a text.
    assert kinds(percent(percent(percent(C))).encode(), FORM) == [CARD]


@pytest.mark.parametrize(
    "text",
    [
        "%34111111111111111",
        "4%31%311111111111111",
        "%2534111111111111111",
        "%25%33%34111111111111111",
        "&#52;111111111111111",
        "&#x34;&#49;11111111111111",
        "&#00052;111111111111111",
        "%26%2352%3B111111111111111",
        "&#37;34111111111111111",
        "&amp;#52;111111111111111",
        "&percnt;34111111111111111",
        "4111&nbsp;1111&nbsp;1111&nbsp;1111",
        "4111&nbsp1111&nbsp1111&nbsp1111",
        "4111&hyphen;1111&dash;1111&hyphen;1111",
        "4111&ensp;1111&ensp;1111&ensp;1111",
        "4111&period;1111&period;1111&period;1111",
        "4111&#8211;1111&#x2013;1111&ndash;1111",
        "4111%C2%A01111&nbsp;1111&#160;1111",
        "4111%E2%80%931111&ndash;1111&ndash;1111",
        "&#1636;111111111111111",
        "\\u0026#52;111111111111111",
        "%5Cu0034111111111111111",
    ],
)
def test_b13_mixed_with_what_is_plain(text: str) -> None:
    for data, form in forms_of(text):
        assert kinds(data, form) == [CARD], data


def test_entities_that_have_a_name() -> None:
    for name, meaning in layers.NAMES.items():
        text = f"a&{name}b"
        if name.endswith(";"):
            assert layers.undo(text.encode(), layers.CODE, layers.code).data == (
                html.unescape(text).encode()
            )
        found = both(f"ssn&{name}x &#49;23456789".encode(), TEXT).spans
        assert [span[0] for span in found] == ([] if meaning in "\n,;!?&|{}." else [SSN]), name
    assert kinds(b"ada&commat;example.org ssn &num; &#49;23456789", TEXT) == [EMAIL, SSN]


@pytest.mark.parametrize("before", range(7))
@pytest.mark.parametrize("behind", range(4))
@pytest.mark.parametrize("glue", ["", "path/", "x_", "key-"])
def test_base64_at_every_place(before: int, behind: int, glue: str) -> None:
    run = glue + base64_of("x" * before + " " + C + " " + "y" * behind)
    data = in_json([f"see {run}, please"])
    assert kinds(data, JSON) == [CARD]
    assert json.loads(redacted(data, JSON)) == [f"see {CARD_MARK}, please"]


def test_a_run_that_holds_several_kinds_has_them_all() -> None:
    secret = json.dumps({"ssn": 123456789, "card": C, "mail": "ada@example.org"})
    for encode in (base64_of, hexadecimal):
        data = in_json([f"<{encode(secret)}>"])
        assert kinds(data, JSON) == [SSN, CARD, EMAIL]
        assert json.loads(redacted(data, JSON)) == [f"<{SSN_MARK}{CARD_MARK}{EMAIL_MARK}>"]


def test_numbers_count_in_what_is_no_text() -> None:
    raw = b"\x89PNG\x00\xff" + C.encode() + b"\x00 ada@example.org \x00"
    for text in (base64.b64encode(raw).decode(), raw.hex()):
        assert kinds(in_json([text]), JSON) == [CARD]


def test_kinds_that_overlap_are_all_counted() -> None:
    """What is one address as it stands holds a card once it is undone."""
    data = in_json(["a.%34111111111111111@example.org"])
    found = kinds(data, JSON)
    assert sorted(found) == [CARD, EMAIL]
    assert json.loads(redacted(data, JSON)) == [CARD_MARK + EMAIL_MARK]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["4111 1111 1111 1111", "123-45-6789", "text of words", "caf\u00e9 " * 6, ""]),
    st.integers(0, 70),
    st.integers(0, 70),
    st.sampled_from(["", "x/", "key-", "a-b_c/d+", "\u00e9", "-" * 9]),
    st.sampled_from(["", "=", "==", "\n", "\nQUJD", " ", "/", "\u00e9"]),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_any_run_like_the_twin(
    value: str, before: int, behind: int, glue: str, tail: str, is_hex: bool, rng: random.Random
) -> None:
    """Whatever stands around it, at whatever place of the 64 that are looked at together."""
    raw = rng.randbytes(before) + value.encode() + rng.randbytes(behind)
    run = raw.hex() if is_hex else base64.b64encode(raw).decode().rstrip("=")
    cut = rng.randrange(4)
    for text in (glue + run + tail, glue + run[cut:] + tail):
        for slashes in (False, True):
            data = json.dumps([text], ensure_ascii=False).encode()
            both(data.replace(b"/", b"\\/") if slashes else data, JSON)
        both(text.encode(), TEXT)


def test_json_in_a_string_is_read_as_that_alone() -> None:
    """What its text would say beyond its values is no finding, as in a body of its own."""
    held = {"password": "Tr0ub4dor&3 and more", "n": [1, 2.5]}
    assert kinds(in_json(held), JSON) == []
    for text in (json.dumps(held), json.dumps(held, indent=2), " \n" + json.dumps([held]) + "\t"):
        for levels in range(3):
            assert kinds(wrapped(text, levels + 1), JSON) == [], text
        assert kinds(in_json([base64_of(text)]), JSON) == []
        # At the fourth level, and where it is not JSON, it is a text.
        assert kinds(wrapped(text, 4), JSON) == [SECRET]
        assert kinds(in_json([text + "."]), JSON) == [SECRET]
        assert kinds(in_json([text.rstrip()[:-1]]), JSON) == [SECRET]


def test_json_behind_a_key_that_says_secret_is_a_secret() -> None:
    text = json.dumps({"k": "Zq9-xV4_Wm2"}, separators=(",", ":"))
    assert kinds(in_json({"secret": text}), JSON) == [SECRET]
    assert kinds(in_json({"x": text}), JSON) == []


# What is none.


@pytest.mark.parametrize(
    "text",
    [
        "100% of 4111 are 50 %, &c.",
        "&4111111111111112;",
        "&#;&#x;&;&amp",
        "AT&T &copy; R&D %zz %",
        "a_rather_long_identifier_of_some_function",
        "https://example.org/a/rather/long/path/to/something?x=%20y&z=%3D",
        "C:\\Users\\name\\new\\table",
        '{"e":[0.4111111111111111,-3.5555555555554444]}',
        "[1732100000000001,1732100000000]",
        "41111111-1111-1111-1111-111111111111",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        base64_of(C[:-1] + "2"),
        base64_of("2024-01-15T12:30:45.1234567890123Z"),
        base64_of(json.dumps({"e": [0.4111111111111111]})),
        hexadecimal(str(uuid.UUID(int=1))),
    ],
)
def test_b25_what_is_no_finding(text: str) -> None:
    for data, form in ((in_json([text]), JSON), (text.encode(), TEXT), (wrapped(text, 3), JSON)):
        assert kinds(data, form) == []


def test_b25_random_data_holds_nothing() -> None:
    rng = random.Random(3)
    for _ in range(8):
        raw = rng.randbytes(1_000_000)
        pieces = [raw[at : at + 32] for at in range(0, len(raw), 32)]
        for text in (
            base64.b64encode(raw),
            base64.encodebytes(raw),
            base64.urlsafe_b64encode(raw),
            raw.hex().encode(),
            b", ".join(base64.b64encode(piece) for piece in pieces),
            b", ".join(piece[:16].hex().encode() for piece in pieces),
        ):
            assert list(compiled_scan.scan(in_json([text.decode()]), JSON)) == []
            assert list(compiled_scan.scan(text, TEXT)) == []


# The bound.


LAYERED = "\\" * 16 + "%252534&amp;amp;amp;" + C
"""A text that every order of every layer changes."""


LONG = ("a " * 400 + LAYERED) * 50
DENSE = "\\" * 8 + "n%252534" + "12 34567 8901 " * 4
FOUND = "\\\\n%2541&amp;" + "a@b.co " * 4


def test_more_than_the_bound_is_not_judged() -> None:
    short = in_json(["a " * 1_000 + LAYERED])
    assert both(short, JSON).error is None
    for text in (LONG, DENSE * 6_000):
        spans = compiled_scan.scan(in_json([text]), JSON)
        assert (list(spans), spans.error, spans.error_at) == ([], layers.TOO_MUCH, 0)
        for form in (TEXT, FORM, TARGET):
            assert compiled_scan.scan(text.encode(), form).error == layers.TOO_MUCH


@pytest.mark.proof
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "text", [LONG, DENSE * 600, FOUND * 400], ids=["bytes", "closely", "findings"]
)
def test_the_bound_is_that_of_the_twin(text: str) -> None:
    """The twin takes most of a minute for it."""
    assert both(in_json([text]), JSON).error == layers.TOO_MUCH


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                *LAST_WORDS,
                *FIRST_WORDS,
                "PassWord",
                "x",
                "9",
                "\u00e9",
                "=",
                ": ",
                "-",
                "_",
                "@",
                "\\",
            ]
        ),
        max_size=30,
    )
)
def test_what_is_read_closely_counts_as_in_the_twin(pieces: list[str]) -> None:
    data = "".join(pieces).encode()
    assert compiled_scan.close_count(data) == layers.close_count(data)


@pytest.mark.parametrize("target", [b"/proxy", b"/proxy/x"])
@pytest.mark.parametrize("content_type", [b"application/json", b"text/plain"])
def test_what_is_not_judged_is_refused(target: bytes, content_type: bytes) -> None:
    policy = msgspec.structs.replace(SAFE, max_body_bytes=1 << 20)
    body = in_json([LONG])
    found = Gate(policy).admit(ask(body, target=target, content_type=content_type))
    assert isinstance(found, Respond)
    assert (found.code, found.status) == ("body_too_large", 413)
    assert C.encode() not in found.body + b"".join(found.records)


def honest() -> dict[str, str]:
    rng = random.Random(7)
    table = "\n".join(f"{at},{rng.random():.6f},2026-11-{at % 28 + 1:02}" for at in range(60))
    logs = "\n".join(
        json.dumps(
            {
                "ts": rng.randrange(10**12, 10**13),
                "ms": rng.random(),
                "path": f"/a%20b?id={rng.randrange(10**6)}&x=1",
                "agent": 'Mozilla/5.0 "x" (X11; Linux)',
                "user": "ada@example.org",
            }
        )
        for _ in range(12)
    )
    code = (
        'print("%d items\\n", &count);\nre.compile("\\\\d+\\\\.x\\n")\nu = "/a%20b?x=1&y=2";\n' * 25
    )
    page = '<td>4&nbsp;kg</td>\n<a href="/q?a=%20b&amp;c=1">caf&eacute; &lt;x&gt;</a>\n' * 25
    nested = json.dumps({"a": json.dumps({"a": json.dumps({"v": [rng.random()] * 90})})})
    return {
        "image": json.dumps({"a": "data:image/png;base64," + base64_of(str(rng.randbytes(900)))}),
        "JSON three deep": json.dumps({"a": nested}),
        "a table": json.dumps({"a": table, "b": base64_of(table)}),
        "logs": json.dumps({"a": logs}),
        "logs as a string in a text": json.dumps({"a": "out: " + json.dumps(logs)}),
        "code": json.dumps({"a": code}),
        "code as a string in a text": json.dumps({"a": "diff: " + json.dumps(code)}),
        "a page": json.dumps({"a": page}),
        "a page as a string in a text": json.dumps({"a": "saved: " + json.dumps(page)}),
        "an escaped page": json.dumps({"a": html.escape(page)}),
    }


@pytest.mark.parametrize("text", honest().values(), ids=honest())
def test_honest_bodies_stay_below_the_bound(text: str) -> None:
    data = text.encode()
    assert both(data, JSON).error is None
    budget = layers.Budget(1 << 30)
    left, close = budget.left, budget.close
    twin.Json(data, "", layers.Depth(3, 2, budget)).read()
    assert left - budget.left < 12 * len(data)
    assert close - budget.close < 2.5 * len(data)


# Generated.

STEPS = st.sampled_from([*ENCODINGS.values(), json.dumps, lambda text: json.dumps({"k": text})])
AROUND = st.sampled_from(
    [
        ("", ""),
        ("see ", "."),
        ("a=", "&b=1"),
        ("x/", ""),
        ("%41", "&lt;"),
        ("\\", "\\n"),
        ("{", "}"),
        ("deadbeef", ""),
        ("1", ""),
        ("\u00e9", "\u00e9"),
        ("TWFu", "TWFu"),
        ("\n", "\r\n "),
    ]
)
TEXTS = st.sampled_from([*VALUES, "4111111111111112", "0.4111111111111111", "plain words", ""])


@st.composite
def nests(draw: st.DrawFn) -> str:
    text = draw(TEXTS)
    for _ in range(draw(st.integers(0, 4))):
        before, behind = draw(AROUND)
        # The twin takes its time.
        if len(text) < 300:
            text = draw(STEPS)(before + text + behind)
    before, behind = draw(AROUND)
    return before + text + behind


@settings(max_examples=400, deadline=None)
@given(st.lists(nests(), min_size=1, max_size=3), st.booleans())
def test_any_nest_like_the_twin(texts: list[str], ascii_only: bool) -> None:
    data = as_bytes(json.dumps({"ssn": texts[0], "x": texts}, ensure_ascii=ascii_only))
    assert both(data, JSON).error is None
    json.loads(redacted(data, JSON))
    for form in (JSON, TEXT, FORM, TARGET):
        both(as_bytes("\n".join(texts)), form)


PIECES = [
    *VALUES,
    "%34",
    "%25",
    "%2",
    "%",
    "&#52;",
    "&#x34",
    "&#",
    "&",
    ";",
    "&amp;",
    "&nbsp;",
    "&commat;",
    "\\u0034",
    "\\\\",
    "\\",
    '\\"',
    '"',
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "NDExMTExMTExMTExMTExMQ",
    "34313131313131313131313131313131",
    "=",
    "==",
    "\n",
    "\r\n",
    " ",
    "A",
    "AAAA",
    "A" * 16,
    "-",
    "/",
    "+",
    "ssn",
    "MTIzLTQ1LTY3ODk",
    "\u00e9",
    "0x",
    "4",
    "123456789",
    "\\u00e9",
    "&eacute;",
    "\\ud835\\udfd2",
]


# The first character of an address is an escape, and the address runs on into a card in base64:
# what is shared out among both lies within one escape.
SHARED = r"\u00e9ada.lovelace%sexample.org%sDExMTExMTExMTExMTExMQ"


@pytest.mark.parametrize("marks", [("@", "N"), (r"\u0040", r"\u004e")])
@pytest.mark.parametrize("wrap", [str, json.dumps, lambda text: json.dumps(json.dumps([text]))])
def test_what_shares_an_escape_does_not_overlap(
    marks: tuple[str, str], wrap: Callable[[str], str]
) -> None:
    data = wrap(SHARED % marks).encode()
    for form in (TEXT, JSON) if data[:1] == b'"' else (TEXT,):
        spans = both(data, form).spans
        assert {kind for kind, *_ in spans} == {CARD, EMAIL}
        assert b"lovelace" not in compiled_scan.redact(data, compiled_scan.scan(data, form))


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join), st.integers(0, 3))
@example(SHARED % ("@", "N"), 0)
# Findings of one layer that overlap, and overlap with those of another.
@example(
    "%\\\\&nbsp;&#x34AAAAAAAAAAAAAAAA&#52;\\u0034&amp;&#0xada.lovelace@example.org" + "31" * 16, 1
)
@example("\\\\&#x34" + "34" + "31" * 16 + "%25ada.lovelace@example.org+MTIzLTQ1LTY3ODk", 2)
def test_any_pieces_like_the_twin(text: str, levels: int) -> None:
    both(wrapped(text, levels) if levels else as_bytes(text), JSON)
    for form in (TEXT, FORM, TARGET):
        both(as_bytes(text), form)


EXACT: list[Encode] = [
    percent,
    entities,
    base64_of,
    hexadecimal,
    json.dumps,
    lambda text: json.dumps([text]),
]
UNDONE: dict[Encode, Callable[[str], str]] = {
    percent: urllib.parse.unquote,
    entities: html.unescape,
}


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([value for value, kind in VALUES.items() if kind == CARD]),
    st.lists(st.integers(0, 3), max_size=2),
    st.lists(st.integers(4, 5), max_size=3),
    st.randoms(use_true_random=False),
)
def test_nothing_of_a_card_remains(
    value: str, coded: list[int], quoted: list[int], rng: random.Random
) -> None:
    steps = [EXACT[at] for at in (*coded, *quoted)]
    rng.shuffle(steps)
    encoded = [f"so {value} it is"]
    for step in steps:
        encoded.append(step(encoded[-1]))
    data = in_json({"a": f"{encoded[-1]}"})
    out = redacted(data, JSON)
    both(data, JSON)
    text = json.loads(out)["a"]
    assert CARD_MARK in text
    digits = re.sub(r"\D", "", value)
    kept = re.sub(r"\D", "", text)
    for at in range(len(digits) - 6):
        piece = digits[at : at + 7]
        assert piece not in kept
        for step in EXACT[:4]:
            assert step(piece).rstrip("=")[:-2] not in text


# Zones.


FILL = "some words of a text, and more of them; "


@pytest.mark.parametrize("away", [0, 500, 512, 1024, 1536, 2600])
@pytest.mark.parametrize("code", ["%20", "\\u0020"])
def test_a_layer_is_read_around_what_changed(away: int, code: str) -> None:
    """What a change makes a finding is one, and what is far from it still is."""
    fill = FILL * 110
    text = fill + "4111%31 " + fill[:away] + f", 4111 1111{code}1111 1111" + fill + C + fill
    for form in (JSON, TEXT):
        assert kinds(in_json([text]) if form == JSON else text.encode(), form) == [CARD, CARD]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxIn0x" * 400 + "%2E" + "abcdefgh" * 6, SECRET),
        (
            "-----BEGIN PRIVATE KEY-----\n"
            + ("MIIEvQIBADANBgkq" * 4 + "\n") * 80
            + "MIIEvQ%2BBADANBgkqMIIEvQIBADANBgkq\n-----END PRIVATE KEY-----",
            SECRET,
        ),
        (base64_of("so it is. " * 400 + C).replace("=", "") + "%3D%3D", CARD),
        ("ab" * 2 + base64_of("so it is. " * 400 + C)[:3000] + "%2B", None),
        ("ssn: &#32;" + " " * 40 + "123456789", SSN),
        ("a" * 60 + "%40" + ".".join(["abcdefgh"] * 26) + ".org", EMAIL),
    ],
    ids=["JWT", "key", "base64", "cut base64", "words", "address"],
)
def test_what_a_change_is_part_of_is_read_with_it(text: str, kind: int | None) -> None:
    fill = FILL * 400
    for data, form in ((in_json([fill + text + " " + fill]), JSON), ((fill + text).encode(), TEXT)):
        found = compiled_scan.scan(data, form)
        assert kind is None or kind in [span[0] for span in found], data
        assert all(span[1] >= len(fill) for span in found)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 40, 900, 1500, 2600, 4000]),
            st.sampled_from([" ", "x", "1", "\u00e9", "\n", "A0", "4111 "]),
            st.sampled_from([*PIECES, *VALUES]),
            st.sampled_from(["", "%20", "&amp;", "\\\\", "\\u0031"]),
        ),
        min_size=2,
        max_size=4,
    ),
    st.booleans(),
)
def test_any_zones_like_the_twin(parts: list[tuple[int, str, str, str]], ascii_only: bool) -> None:
    text = "".join(fill * (count // len(fill)) + code + piece for count, fill, piece, code in parts)
    both(as_bytes(json.dumps([text], ensure_ascii=ascii_only)), JSON)
    both(as_bytes(text), TEXT)


# Cost.

HOSTILE = {
    "percent": "%",
    "percent twice": "%2534",
    "ampersands": "&",
    "entities": "&#52;",
    "names": "&abcdefghijklmnopqrstuvwx",
    "escapes twice": "\\u0034",
    "backslashes": "\\",
    "all": "\\\\\\n%2541&amp;a ",
    "all and a number": "\\\\n%2541&amp;123456789 ",
    "all and an address": "\\\\n%2541&amp;@",
    "all and a secret": "\\\\n%2541&amp;password=",
    "all and base64": "\\\\n%2541&amp;QUJDREVGR0hJSktM ",
    "all and words": "\\\\n%2541&amp;" + "pw:" * 200,
    "all and keys": "\\\\n%2541&amp;" + "key=" * 20,
    "all and values": "\\\\n%2541&amp;" + "key='a1" * 20,
    "all and prefixes": "\\\\n%2541&amp;" + "sk-" * 20,
    "all and addresses": "\\\\n%2541&amp;" + "a@b.co " * 20,
    "all and cards": "\\\\n%2541&amp;" + "4111 1111 1111 1111 " * 20,
    "all and countries": "\\\\n%2541&amp;" + "DE89 " * 20,
    "JSON": "[[[[ ",
    "quotes": '"',
    "base64": "QUJDREVGR0hJSktM ",
    "base64 twice": base64_of(base64_of("hello worlds " * 3)) + " ",
    "hex": "3431313131313131313131 ",
    "lines": "QUJDREVGR0hJSktM\n",
    "one run": "QUJD",
    "cards": base64_of(C + " ") + " ",
}


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("form", [JSON, TEXT, FORM])
def test_hostile_input_costs_linear_time(piece: str, form: int) -> None:
    took = []
    for size in (250_000, 1_000_000):
        text = piece * (size // len(piece))
        data = in_json([text]) if form == JSON else text.encode()
        times = []
        for _ in range(3):
            start = time.thread_time()
            compiled_scan.scan(data, form)
            times.append(time.thread_time() - start)
        took.append(min(times))
    assert took[1] < 1
    assert took[1] < 8 * took[0] + 0.004


def test_nested_strings_cost_linear_time() -> None:
    took = []
    for count in (5_000, 20_000):
        text: object = [["a", C]] * count
        for _ in range(3):
            text = json.dumps([text])
        data = in_json(text)
        start = time.thread_time()
        found = compiled_scan.scan(data, JSON)
        took.append(time.thread_time() - start)
        assert len(found) == count
    assert took[1] < 8 * took[0] + 0.01


@pytest.mark.proof
@pytest.mark.timeout(1200)
def test_a_hundred_megabytes_of_random_data_hold_nothing() -> None:
    for _ in range(25):
        raw = os.urandom(3_000_000)
        for text in (base64.b64encode(raw), raw[:2_000_000].hex().encode()):
            assert list(compiled_scan.scan(in_json([text.decode()]), JSON)) == []
