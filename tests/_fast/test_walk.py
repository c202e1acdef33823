"""What walk.h passes over and what it stops at, wherever in its blocks and groups that stands."""

from __future__ import annotations

import json

import pytest

from tests._fast.test_scan import both, compiled
from tests.twins.scan import CARD, EMAIL, IBAN, JSON, SECRET, SSN

GROUP = 512
"""Bytes of a group, where vectors are widest."""

# As they stand in a body, with their escapes: what only looks like a finding, and what is one.
STRINGS: list[tuple[str, list[int]]] = [
    # Rows.
    ("Reference 9566707109 was not found", []),
    ("2026-03-14 09:26:53 4111111111111112", []),
    ("192.168.100.200 +49 170 1234567", []),
    ("41111111111111111111111111111111111111111111111111111111111111111111111111111111", []),
    ("12 4111 1111 1111 1111 12/26", [CARD]),
    ("x4111-1111-1111-1111x", [CARD]),
    (r"\n4111111111111111\n", [CARD]),
    (r"4111\t1111\t1111\t1111", [CARD]),
    (r"4111\/1111\/1111\/1111", [CARD]),
    (r"4111\u00a01111\u00a01111\u00a01111", [CARD]),
    ("4111\u20131111\u20131111\u20131111", [CARD]),
    (r"\u0664111111111111111", [CARD]),
    (r"\ud835\udfd2111111111111111", [CARD]),
    (r"\u201c411111111111\u201d \ud83d\ude80411111111111", []),
    ("123-45-6789 of 123-45 6789", [SSN]),
    ("ssn 123456789, 000456789", [SSN]),
    (r"\"\"\"\n\n    \"\"\"\n", []),
    (r"\"\"\"What it is.\"\"\" \"He said, \\\"no\\\".\" I", []),
    (r"\t\t\t\t\t\t\t\t\t\t12\t34\t\t\t5", []),
    (r"\t\t\t\t\t4111\t1111\t1111\t1111", [CARD]),
    (r"\u0664\u0665 \u062f\u0642 \u0661\u0662\u0663\u0664-\u0661\u0662\u0663\u0664", []),
    ("\\\\u0664" + r"\u0661" * 15, [CARD]),
    (r"\ud835\udfd2" + r"\ud835\udfcf" * 15, [CARD]),
    # Nine bare digits.
    ("UC790919044DE, 1be745174609c21c and of 219099999", []),
    ("the number of the taxpayer is 219099999 today", [SSN]),
    (r"Seguro\tSocial: no. 219099999", []),
    (r"a, \\nssn 219099999", [SSN]),
    ("\u793e\u4f1a\u5b89\u5168 219099999", [SSN]),
    # Addresses, and users of URLs.
    (r"Bye!\nada@example.org\n\u201cbob@example.org\u201d", [EMAIL, EMAIL]),
    ("\u201cada@example.org\u201d, \u00e9bob@example.org\u3002 a@b.co'c@d.org", [EMAIL] * 4),
    ("ada@example.org 4111111111111111 b@example.org", [EMAIL, CARD, EMAIL]),
    ("git@github.com:org/a ada@example.org: ada@4111111111111111.org", [EMAIL, CARD]),
    ("x" * 70 + r"@example.org \\\\ada@example.org", [EMAIL, EMAIL]),
    ("mail ada@example.org", [EMAIL]),
    ("@types/node@12.1.1 @handle x @ y a@b", []),
    (r"\n@decorated ada\u0040example.org", [EMAIL]),
    ("ada@例子.广告", [EMAIL]),
    ("https://ada:Secret17!,@10.0.0.1/", [SECRET]),
    (r"https:\/\/ada:Secret17!,@localhost\/", [SECRET]),
    # What is encoded.
    ("100% of a&b, c & d, %zz, x&page=1", []),
    ("%34111111111111111", [CARD]),
    ("&#52;111111111111111", [CARD]),
    ("4111&nbsp1111&nbsp1111&nbsp1111", [CARD]),
    ("4111&hyphen;1111&hyphen;1111&hyphen;1111", [CARD]),
    (r"re.compile('\\d+\\.\\w') \\\n \\\"\\n", []),
    (r"\\u0034111111111111111", [CARD]),
    (r"4111\\t1111\\t1111\\t1111", [CARD]),
    (r"4111\\\/1111\\\/1111\\\/1111", [CARD]),
    (r"x\\nada@example.org\\n", [EMAIL]),
    (r"\"4111111111111111\"", [CARD]),
    ("original_optionflags\\n    from unquote_to_bytes\\nimport x", []),
    ("NDExMTExMTExMTEx\\nMTExMQ==", [CARD]),
    (r"\\YWRhQGV4YW1wbGUub3Jn", [EMAIL]),
    (r"it\\nYWRhQGV4YW1wbGUub3Jn", [EMAIL]),
    ("sys.builtin_module_names XtCResignCommand %04d-%02d: %032x", []),
    (r"C:\\\\users\\\\uncle \\\\\\\\d", []),
    # IBANs.
    ("DE807225860 ee23a421e21450600612f8362623f7e5", []),
    ("DE89 3704 0044 0532 0130 00", [IBAN]),
    ("DE89 3704 0044 0532 0130 01", []),
    ("gb82west12345698765432", [IBAN]),
    (r"\nDE89370400440532013000\n", [IBAN]),
    (r"gl2ext_h_ TN3270E sys.ps1 GL89\n6471 GL\t\t1", []),
    (r"x\\tDE89 3704 0044 0532 0130 00", [IBAN]),
    # Words that say secret, and those that end like one.
    ("action = platform_dependent_1, header: content-disposition9", []),
    ("the token is Zm9vYmFyYmF6cXV4MTIz", [SECRET]),
    (r"secret = \"Zm9vYmFyYmF6cXV4MTIz\"", [SECRET]),
    (r"secret = \\\"Zm9vYmFyYmF6cXV4MTIz\\\"", [SECRET]),
    (r"curl -u a\u00fcb:hunter2x https://x", [SECRET]),
    ("curl -u  'ada':" + "x" * 5 + "7y9 https://x", []),
    ("pat-1 of path/to/the/patient-records SKU-1 1:2:3 a=b c:d", []),
    ("das kennwort is: Hx9!k2Lq7", [SECRET]),
    (r"das \"kennwort was\" : \"Hx9!k2Lq7\"", []),
    ("das kennwort lautet: Hx9!k2Lq7 kennwort:Hx9!k2Lq7", [SECRET, SECRET]),
    ("curl -u " + "a" * 40 + ":hunter2x https://x", [SECRET]),
]
SCALARS: list[tuple[str, list[int]]] = [
    ("true", []),
    ("[null,false]", []),
    ("1769168857", []),
    ("-1788103650086", []),
    ("1.0180457069704470e-05", []),
    ("0.5E+3", []),
    ("12345678901234567890123", []),
    ("4111111111111111", [CARD]),
    ("-4111111111111111.0", [CARD]),
    ("4.111111111111111e15", [CARD]),
    ("41111111111.11111e5", [CARD]),
    ("[4111,1111,1111,1111]", [CARD]),
]
INVALID = [
    *("tru", "nulll", "truefalse", "falsey", "1e", "1e+", "01", "-", "1.", "1.e5", "1e5e5", "--1"),
    *('"a" "b"', "[1 2]", "[,1]", "[1,]", '{"a" 1}', '{"a":}', '{"a":1,}', '{"a":1,"b"}', "{1:2}"),
    *(
        '["a":1]',
        '{"a":1]',
        '"\\x"',
        '"\\u12g4"',
        '"\\ud800x"',
        '"\x01"',
        "1e999",
        "[1]]",
        "]",
        ",",
    ),
]


def places(piece: str, before: str, behind: str) -> list[bytes]:
    """Return bodies in which a piece begins at each place of a group, and over its border."""
    return [
        (before + " " * place + piece + behind).encode() for place in range(GROUP + 3 * len(piece))
    ]


@pytest.mark.parametrize(("text", "found"), STRINGS, ids=[text[:30] for text, _ in STRINGS])
def test_a_string_at_each_place(text: str, found: list[int]) -> None:
    body = f'{{"a":"{text}"}}'.encode()
    assert sorted(kind for kind, *_ in both(body, JSON).spans) == sorted(found)
    for data in places(f'"{text}"', '[{"a":', ',"b":[1]}]'):
        spans = compiled(data, JSON)
        assert spans.error is None
        assert sorted(kind for kind, *_ in spans.spans) == sorted(found)


@pytest.mark.parametrize("begin", ["", " ", r"\n", r"\\n", r" \\n\\t"])
def test_json_in_a_string_behind_white_space(begin: str) -> None:
    quote = "\\" * (1 + 2 * begin.count(r"\\")) + '"'
    groups = ",".join(f"{quote}{group}{quote}" for group in ("4111", "1111", "1111", "1111"))
    body = f'["{begin}[{groups}]"]'.encode()
    assert [kind for kind, *_ in both(body, JSON).spans] == [CARD]


@pytest.mark.parametrize(("text", "found"), STRINGS, ids=[text[:30] for text, _ in STRINGS])
def test_a_text_inside_a_string(text: str, found: list[int]) -> None:
    for data in places(text, '["it is:', '. "]'):
        spans = compiled(data, JSON)
        assert spans.error is None
        assert sorted(kind for kind, *_ in spans.spans) == sorted(found)


@pytest.mark.parametrize(("text", "found"), SCALARS)
def test_a_scalar_at_each_place(text: str, found: list[int]) -> None:
    assert [kind for kind, *_ in both(text.encode(), JSON).spans] == found
    for data in places(text, '{"a":', ',"b":{}}'):
        spans = compiled(data, JSON)
        assert spans.error is None
        assert [kind for kind, *_ in spans.spans] == found


@pytest.mark.parametrize("text", INVALID)
def test_what_is_not_valid_at_each_place(text: str) -> None:
    assert both(text.encode(), JSON).error is not None
    for data in places(text, '{"a":[', "]}"):
        assert compiled(data, JSON).error is not None


@pytest.mark.parametrize("length", [GROUP - 1, GROUP, GROUP + 1, 3 * GROUP])
def test_a_long_string_is_plain_up_to_its_last_byte(length: int) -> None:
    for text, error in (("a" * length, False), ("a" * (length - 1) + "\x01", True)):
        assert (compiled(f'["{text}"]'.encode(), JSON).error is not None) is error
        assert compiled(f'["{text}'.encode(), JSON).error is not None
    spans = compiled(f'["{"a " * length} password: Hunter2-Hunter2"]'.encode(), JSON)
    assert [kind for kind, *_ in spans.spans] == [SECRET]


def test_tokens_far_from_each_other() -> None:
    gap = " " * (2 * GROUP)
    for parts, valid in [
        (["{", '"a"', ":", "1", ",", '"b"', ":", "2", "}"], True),
        (["{", '"a"', ":", "1", ",", '"b"', "}"], False),
        (["[", '"a"', ",", '"b"', "]"], True),
        (["[", '"a"', ",", '"b"', ":", "1", "]"], False),
        (["{", '"a"', "}"], False),
        (["[", ",", "1", "]"], False),
        (["[", "1", ",", "]"], False),
        (["1", "1"], False),
    ]:
        assert (compiled(gap.join(parts).encode(), JSON).error is None) is valid
        json_error = False
        try:
            json.loads(gap.join(parts))
        except ValueError:
            json_error = True
        assert json_error is not valid


# JSON that stands in a string: what is found in it and would not be in its text, and what only
# looks like that.
INNER: list[tuple[str, list[int]]] = [
    ('{"n": 4.111111111111111e15}', [CARD]),
    ('{"n":411111111111111100E-2}', [CARD]),
    ("[1,\n-411111111111111.1e+1\n]", [CARD]),
    ("[4111,1111,1111,1111]", [CARD]),
    ('{"a":[ "4111", "1111", "1111", "1111"]}', [CARD]),
    ("[\n  3782,\n  822463,\n  10005\n]", [CARD]),
    ('{"tin": 219099999}', [SSN]),
    ('{"tin":["x","219099999"]}', [SSN]),
    ('{"name":"tin","a":1,"value":"219099999"}', [SSN]),
    ('{"a":"c386bbc4-cd61-4e30-98f1-6ad219099999"}', []),
    ('{"name":"DB_PASS","a":1,"value":"Hunter2!x9"}', [SECRET]),
    (r'{"a":"das kennwort was: Hx9!k2Lq7"}', [SECRET]),
    (r'{"a":"curl -u ' + r"\u0434\ud835\udc00" * 20 + ':hunter2x https://x"}', [SECRET]),
    ('{"name":"api_token","a":1,"value" : "Hx9!k2Lq#7"}', [SECRET]),
    ('{"password":{"default" : "Hunter2!x9"}}', [SECRET]),
    (r'{"contrase\u00f1a":"Hunter2!x9"}', [SECRET]),
    (r'{"\u5bc6\u7801":"Hunter2!x9"}', [SECRET]),
    (r'{"a":"\nada@example.org, b.o@example.org"}', [EMAIL, EMAIL]),
    (r'{"a":"\u00fcada@example.org","b":"ada@m\u00fcller.de"}', [EMAIL, EMAIL]),
    (r'{"a":"ada@example.org"} and more', [EMAIL]),
    ('{"ada@example.org":4111111111111111}', [EMAIL, CARD]),
    (r'{"a":"\u00e9NDExMTExMTExMTExMTExMQ=="}', [CARD]),
    (r'{"a":"\u00e9YWRhQGV4YW1wbGUub3Jn"}', [EMAIL]),
    (r'{"a":"NDExMTExMTExMTEx\nMTExMQ=="}', [CARD]),
    (r'{"a":"curl -u a\u00fcb:hunter2x https://x"}', [SECRET]),
    (r'{"a":"\u00e9DE89 3704 0044 0532 0130 00"}', [IBAN]),
    (r'{"a":"caf\u00e9 M\u00fcller","b":"be20f869-b2c0-4c0d-990b-62bb39055ea7"}', []),
    ('{"a":"3e4f","b":[1e5,2.5E-3,[1,2]],"c":["2026-03-14","x"],"value":1,"default":null}', []),
]


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize(("text", "found"), INNER, ids=[text[:30] for text, _ in INNER])
def test_json_in_a_string_at_each_place(text: str, found: list[int], depth: int) -> None:
    for _ in range(depth - 1):
        text = json.dumps({"a": text, "b": 1})
    string = json.dumps(text)
    spans = both(f'{{"a":{string}}}'.encode(), JSON)
    assert [kind for kind, *_ in spans.spans] == found
    for data in places(string, '[{"a":', ',"b":[1]}]'):
        alone = compiled(data, JSON)
        assert alone.error is None
        assert [kind for kind, *_ in alone.spans] == found


@pytest.mark.parametrize(("text", "found"), INNER, ids=[text[:30] for text, _ in INNER])
@pytest.mark.parametrize("gap", [GROUP - 40, GROUP, 3 * GROUP])
def test_json_in_a_string_far_from_where_it_begins(text: str, found: list[int], gap: int) -> None:
    for begin in ("[", '[{"x":"' + "plain words " * (gap // 12) + '"},'):
        string = json.dumps(begin + " " * gap + text + "]")
        spans = both(f"[{string}]".encode(), JSON).spans
        assert [kind for kind, *_ in spans] == found


NESTED = [
    '{"a":"ada@example.org","b":["x","bob@example.org"]}',
    '{"a":4111111111111111}',
    "[4111,1111,1111,1111]",
    '{"ssn":"219099999"}',
    '{"a":"{\\"b\\":\\"ada@example.org\\"}"}',
    "[1],[2]",
    "[1],[[2]",
    "[3]]",
    '{"a":[1]',
    "[ada@example.org]",
    "[a card: 4111111111111111]",
    r"[4111,1111,1111,1111]\n",
    "[" * 127 + "]" * 127,
    "[" * 129 + "]" * 129,
]


@pytest.mark.parametrize("odd", NESTED, ids=[text[:30] for text in NESTED])
@pytest.mark.parametrize("place", [0, 3, 31, 32, 39])
def test_strings_of_json_are_checked_together(odd: str, place: int) -> None:
    plain = json.dumps({"city": "Berlin", "days": 3, "at": [1.5, True]})
    alone = [kind for kind, *_ in both(json.dumps([odd]).encode(), JSON).spans]
    for key in ("arguments", "ssn"):
        texts = [plain] * 40
        texts[place] = odd
        spans = both(json.dumps([{key: text} for text in texts]).encode(), JSON)
        assert spans.error is None
        assert [kind for kind, *_ in spans.spans] == alone
