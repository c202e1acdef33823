"""Secrets and IBANs: every kind by an example that is made from its data, on both scans."""

from __future__ import annotations

import base64
import json
import random
import re
import time
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iatp._fast import scan as compiled_scan
from iatp.values import ibans, secrets
from iatp.values.secrets import ALPHABETS, NAMES, TOKENS, Token
from tests._fast.test_scan import both, redacted
from tests.twins.scan import CARD, EMAIL, FORM, IBAN, JSON, SECRET, SSN, TARGET, TEXT, Found
from tests.twins.secrets import checksum

CHARACTERS = {
    name: [c for c in map(chr, range(128)) if re.match(f"[{members}]", c)]
    for name, members in secrets.ALPHABETS.items()
}


def names(found: Found) -> list[str]:
    return [NAMES[number] for number in found.secrets if number >= 0]


def head_of(token: Token, rng: random.Random) -> str:
    return "".join("".join(rng.choices(CHARACTERS[name], k=count)) for name, count in token.head)


def parts_of(token: Token, rng: random.Random) -> str:
    return "".join(
        part if isinstance(part, str) else "".join(rng.choices(CHARACTERS[part[0]], k=part[1]))
        for part in token.parts
    )


def example(token: Token, rng: random.Random, prefix: str | None = None) -> str:
    """Return a token of the least length, with a true checksum where it has one."""
    body = parts_of(token, rng)
    if token.checked:
        body = body[:-6] + checksum(body[:-6])
    return head_of(token, rng) + (prefix or token.prefixes[0]) + body


def found_in(text: str, form: int = TEXT) -> list[tuple[str, str]]:
    """Return name and value of each secret that both scans find."""
    data = text.encode()
    found = both(data, form)
    return [
        (NAMES[number], data[start:end].decode())
        for (_, start, end, _), number in zip(found.spans, found.secrets, strict=True)
        if number >= 0
    ]


def test_names_are_one_closed_set() -> None:
    assert len(NAMES) == len(set(NAMES)) >= 40
    assert all(re.fullmatch(r"secret\.[a-z0-9_]+", name) for name in NAMES)


@pytest.mark.parametrize("token", TOKENS, ids=[token.name for token in TOKENS])
def test_every_token_is_found(token: Token) -> None:
    rng = random.Random(token.name)
    name = f"secret.{token.name}"
    for prefix in token.prefixes:
        value = example(token, rng, prefix)
        for before, behind in [
            ("", ""),
            ("use ", ", please"),
            ('"', '"'),
            ("x." if token.head else "x_", "."),
            ("é", "字"),
        ]:
            assert found_in(f"{before}{value}{behind}") == [(name, value)]
        for body in (json.dumps({"a": value}), json.dumps({"id": [f"it is {value} now"]})):
            assert found_in(body, JSON) == [(name, value)]
            assert value not in redacted(body.encode(), JSON).decode()
        assert json.loads(redacted(json.dumps([value]).encode(), JSON)) == ["[SECRET_REDACTED]"]
        target = f"/proxy/x?k={quote(value, safe='')}&n=1".encode()
        assert names(both(target, TARGET)) == [name]
        assert names(both(b"k=" + quote(value, safe="").encode(), FORM)) == [name]
        # Each letter of it may be escaped, and each slash.
        escaped = "".join(f"\\u{ord(c):04x}" for c in value)
        assert names(both(f'["{escaped}"]'.encode(), JSON)) == [name]
        slashed = value.replace("/", "\\/")
        assert names(both(f'["{slashed}"]'.encode(), JSON)) == [name]


def test_no_token_is_part_of_a_uuid() -> None:
    """The walk passes over UUIDs in quotes."""
    for token in TOKENS:
        kinds = [*token.head, *(part for part in token.parts if not isinstance(part, str))]
        fixed = "".join(part for part in token.parts if isinstance(part, str))
        has_dash = any(re.match(f"[{ALPHABETS[kind[0]]}]", "-") for kind in kinds)
        longest = 36 if has_dash else 12
        for prefix in token.prefixes:
            if not re.search("[^0-9A-Fa-f-]", prefix + fixed):
                assert len(prefix + fixed) + sum(kind[1] for kind in kinds) > longest


@pytest.mark.parametrize("token", TOKENS, ids=[token.name for token in TOKENS])
def test_another_length_is_another_thing(token: Token) -> None:
    rng = random.Random(token.name)
    name = f"secret.{token.name}"
    value = example(token, rng)
    assert name not in [found for found, _ in found_in(value[:-1])]
    most = token.parts[-1] if token.parts else ""
    more = 1 if isinstance(most, str) else most[2] - most[1] + 1
    long = value + "".join(rng.choices("0123456789", k=more))
    if token.checked:
        # The checksum tells where it ends.
        assert found_in(long) == [(name, value)]
        wrong = value[:-1] + ("A" if value[-1] != "A" else "B")
        assert found_in(wrong) == [(name, wrong)]
        assert found_in(wrong + "x") == []
    else:
        assert name not in [found for found, _ in found_in(long)]
    # Letters before it, too.
    assert (name, value) not in found_in("x" + value)


PEM = (
    "-----BEGIN RSA PRIVATE KEY-----\n"
    + "\n".join(["MIIEowIBAAKCAQEAx9f8a7b6c5d4e3f2a1b0cMIIEowIBAAKCAQEAx9f8a7b6c5d"] * 5)
    + "\nq1w2e3==\n-----END RSA PRIVATE KEY-----"
)
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
KEY88 = base64.b64encode(random.Random(1).randbytes(64)).decode()
SIGNATURE = quote(base64.b64encode(random.Random(3).randbytes(32)).decode(), safe="")


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("AKIAIOSFODNN7EXAMPLE", "aws_access_key", "AKIAIOSFODNN7EXAMPLE"),
        ("x-AKIAIOSFODNN7EXAMPLE!", "aws_access_key", "AKIAIOSFODNN7EXAMPLE"),
        ("ghp_" + "a1B2" * 9, "github_token", "ghp_" + "a1B2" * 9),
        ("sk-" + "a1B2" * 5 + "T3BlbkFJ" + "a1B2" * 5, "llm_key", None),
        (f"key:\n{PEM}\n", "private_key", PEM),
        (PEM.replace("\n", "\\n"), "private_key", None),
        (PEM.replace("RSA ", ""), "private_key", None),
        (PEM.replace("RSA", "OPENSSH"), "private_key", None),
        (
            PEM.replace("RSA PRIVATE KEY", "PGP PRIVATE KEY BLOCK").replace(
                "-----\nM", "-----\nVersion: GnuPG v2\n\nM"
            ),
            "private_key",
            None,
        ),
        (
            PEM.replace("-----\nM", "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES,12\n\nM"),
            "private_key",
            None,
        ),
        (PEM[:150] + "\nand more", "private_key", PEM[:150]),
        (f"it is {JWT}, ok", "jwt", JWT),
        (
            f"https://a.blob.core.windows.net/c?sv=1&sig={SIGNATURE}&se=2",
            "azure_signature",
            SIGNATURE,
        ),
        (f"AccountName=a;AccountKey={KEY88};End=b", "azure_account_key", KEY88),
        ("postgres://bob:s3cret@db.example/x", "url_password", "bob:s3cret"),
        ("see https://user:pass@host/x", "url_password", "user:pass"),
        ("redis://:hunter22@[::1]:6379", "url_password", ":hunter22"),
        ("123456789:AA" + "Hd7_e" * 6 + "xyz", "telegram_token", None),
        ("password: Tr0ub4dor&3", "password", "Tr0ub4dor&3"),
        ("my password is Tr0ub4dor&3.", "password", "Tr0ub4dor&3"),
        ("password=Tr0ub4dor&user=bob", "password", "Tr0ub4dor"),
        ("PASSWD='Tr0ub4dor&3'", "password", "Tr0ub4dor&3"),
        ("Authorization: Bearer 9f8a7b6c5d4e3f2a1b0c", "named", "9f8a7b6c5d4e3f2a1b0c"),
        ("Authorization: Basic dXNlcjpwYXNzd29yZDE=", "named", "dXNlcjpwYXNzd29yZDE="),
        ('"api_key" : "9f8a7b6c5d4e3f2a1b0c"', "named", "9f8a7b6c5d4e3f2a1b0c"),
        ("the token is 9f8a7b6c5d4e3f2a1b0c", "named", "9f8a7b6c5d4e3f2a1b0c"),
        (
            "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "named",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        ),
    ],
)
def test_secrets_of_a_place_or_a_look(text: str, name: str, value: str | None) -> None:
    value = value or text
    assert found_in(text) == [(f"secret.{name}", value)]
    for body in (json.dumps({"a": text}), json.dumps({"a": f"so: {text}"}).replace("/", "\\/")):
        found = both(body.encode(), JSON)
        assert names(found) == [f"secret.{name}"]
        ((_, start, end, _),) = found.spans
        assert json.loads(f'"{body[start:end]}"') == value


@pytest.mark.parametrize(
    ("key", "value", "name"),
    [
        ("password", "Tr0ub4dor&3", "password"),
        ("db_password", "a,b;c(1)X", "password"),
        ("api_key", "9f8a7b6c5d4e3f2a1b0c", "named"),
        ("client_secret", "q1w2e3r4", "named"),
        ("accessToken", "q1w2e3r4t5", "named"),
        ("credentials", "q1w2e3r4t5y6u7i8o9", "named"),
        ("authorization", "q1w2e3r4t5y6u7i8o9", "named"),
    ],
)
def test_keys_that_say_secret(key: str, value: str, name: str) -> None:
    for pad in range(70):
        body = f'{{"{"a" * pad}":1, "{key}" : "{value}"}}'
        found = both(body.encode(), JSON)
        assert names(found) == [f"secret.{name}"]
        ((_, start, end, _),) = found.spans
        assert body[start:end] == value
    escaped = key[:-1] + f"\\u{ord(key[-1]):04x}"
    assert names(both(f'{{"{escaped}":"{value}"}}'.encode(), JSON)) == [f"secret.{name}"]
    assert names(both(json.dumps({key: [value]}).encode(), JSON)) == []


@pytest.mark.parametrize(
    ("key", "value", "name"),
    [
        ("DB_PASS", "k7Fq2Z", "password"),
        ("dbPass", "k7Fq2ZpL", "password"),
        ("pass", "hunter22", "password"),
        ("PWD", "k7Fq2ZpL", "password"),
        ("smtp-passphrase", "k7Fq2ZpL", "password"),
        ("Mot de passe", "k7Fq2ZpL", "password"),
        ("contraseña", "k7Fq2ZpL", "password"),
        ("ПАРОЛЬ", "k7Fq2ZpL", "password"),
        ("密码", "k7Fq2ZpL", "password"),
        ("비밀번호", "k7Fq2ZpL", "password"),
        ("X-Api-Key", "9f8a7b6c5d", "named"),
        ("SECRET_KEY_BASE", "9f8a7b6c5d", "named"),
    ],
)
def test_keys_that_say_secret_in_other_spellings(key: str, value: str, name: str) -> None:
    for pad in (*range(0, 70, 3), 500):
        for tree in (
            {"a" * pad: 1, key: value},
            {"a": "x" * pad, "n": {"name": key, "value": value}},
            {"a": "x" * pad, "n": {"Key": key, "type": "string", "n": -1.5e3, "Value": value}},
            {"a": "x" * pad, "n": {key: {"value": value}}},
        ):
            for wide in (True, False):
                body = json.dumps(tree, ensure_ascii=not wide)
                found = both(body.encode(), JSON)
                assert names(found) == [f"secret.{name}"], body
                ((_, start, end, _),) = found.spans
                assert body.encode()[start:end] == value.encode()


@pytest.mark.parametrize(
    "tree",
    [
        {"name": "order", "value": "k7Fq2ZpL"},
        {"kind": "password", "value": "k7Fq2ZpL"},
        {"name": "password", "size": "k7Fq2ZpL"},
        {"name": "password", "more": [1], "value": "k7Fq2ZpL"},
        {"name": "password", "a": 1, "b": 1, "c": 1, "d": 1, "value": "k7Fq2ZpL"},
        {"name": "password", "a": "x" * 500, "value": "k7Fq2ZpL"},
        {"name": "password", "value": "changeme"},
        {"name": "password", "value": "${DB_PASS1}"},
        {"name": "password", "value": {"name": "db", "value": "k7Fq2ZpL"}},
        {"name": "api_key", "in": "header", "type": "apiKey1"},
        {
            "key": "password",
            "valueFrom": {"secretKeyRef": {"name": "db1secret", "key": "pw1abcde"}},
        },
        {"password": {"type": "string", "format": "password1"}},
        {"secret": "my-app-secret-v1", "token": "page_token_12"},
        {"pass": "test_login_1", "PASS": "12/12"},
    ],
)
def test_names_that_say_nothing_of_a_value(tree: object) -> None:
    for space in (None, 2):
        assert both(json.dumps(tree, indent=space).encode(), JSON).spans == []
        assert both(json.dumps({"a": json.dumps(tree)}).encode(), JSON).spans == []


@pytest.mark.parametrize(
    "tree",
    [
        {"name": "ssn", "value": "219099998"},
        {"name": "Social Security Number", "type": "string", "value": 219099998},
        {"key": "ssn", "content": "219099998"},
        {"field": "tax_id", "answer": "it is 219099998"},
        {"question": "What is your SSN?", "answer": ["219099998"]},
        {"ssn": {"value": "219099998"}},
        {"k": 1, "label": "ssn", "v": 219099998},
    ],
)
def test_names_say_what_nine_digits_are(tree: object) -> None:
    for body in (
        json.dumps(tree),
        json.dumps([{"x": "y" * 60}, tree], indent=1),
        json.dumps({"a": json.dumps(tree)}),
    ):
        found = both(body.encode(), JSON)
        assert [span[0] for span in found.spans] == [SSN], body
    other = json.loads(json.dumps(tree).replace("ssn", "order").replace("SSN", "order"))
    if other != tree:
        assert both(json.dumps(other).encode(), JSON).spans == []


@pytest.mark.parametrize(
    "text",
    [
        "0f8fad5b-d9cb-469f-a165-70867728950e",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "d41d8cd98f00b204e9800998ecf8427e",
        "data:image/png;base64," + base64.b64encode(random.Random(2).randbytes(900)).decode(),
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "/usr/local/lib/python3.11/site-packages/token/secret_key.py",
        "https://example.com/v1/users/12345678901/orders?page=12&sort=created_at",
        "the secret is patience", "a token of appreciation", "bearer of bad news",
        "sk-learn", "hf_model_name", "key-value-store", "pk_id_4711", "xoxb", "eyJ.eyJ.x",
        "password: ********", "password: ${SECRET}", "password: <your-password>",
        "password = null", "password: changeme", "token: your-api-key-goes-here",
        "next_page_token=9f8a7b6c5d4e3f2a1b0c", "https://user:${PASS}@host/",
        "-----BEGIN CERTIFICATE-----\nMIIEowIBAAKCAQEAx9f8a7b6c5d4e3f2\n-----END CERTIFICATE-----",
        "-----BEGIN PRIVATE KEY----- begins a private key",
        "calculate_total_price_for_order_items_2", "NoTokenHere1234567890",
    ],
)  # fmt: skip
def test_what_is_no_secret(text: str) -> None:
    assert both(text.encode(), TEXT).spans == []
    assert both(json.dumps({"value": text}).encode(), JSON).spans == []


@pytest.mark.parametrize("key", ["password", "token", "secret", "api_key"])
@pytest.mark.parametrize(
    "value",
    [None, "", "********", "${SECRET}", "<your-api-key>", "changeme", "hello", 4711, "null",
     "0f8fad5b-d9cb-469f-a165-70867728950e", "some words 12", "/etc/keys/id_1"],
)  # fmt: skip
def test_placeholders_behind_a_key(key: str, value: object) -> None:
    assert both(json.dumps({key: value}).encode(), JSON).spans == []


def test_one_value_is_one_finding() -> None:
    card = "4111111111111111"
    token = f"glpat-{card}-abc"
    assert found_in(token) == [("secret.gitlab_token", token)]
    assert found_in("x@b.AKIAIOSFODNN7EXAMPLE") == [
        ("secret.aws_access_key", "AKIAIOSFODNN7EXAMPLE")
    ]
    found = both(b"postgres://bob:s3cret@db.example.org and ada@example.org", TEXT)
    assert [kind for kind, *_ in found.spans] == [SECRET, EMAIL]
    found = both(b"DE89 3704 0044 0532 0130 00 4111 1111 1111 1111", TEXT)
    assert [kind for kind, *_ in found.spans] in ([IBAN], [IBAN, CARD])


# Windows.


@pytest.mark.parametrize("size", [4_000, 9_000, 40_000])
@pytest.mark.parametrize("kind", ["jwt", "pem"])
def test_long_secrets_are_found_whole(size: int, kind: str) -> None:
    if kind == "jwt":
        head, _, tail = JWT.split(".")
        value = f"{head}.{'aB3_' * (size // 4)}.{tail}"
    else:
        lines = "\n".join(["aB3/" * 16] * (size // 65))
        value = f"-----BEGIN PRIVATE KEY-----\n{lines}\n-----END PRIVATE KEY-----"
    for offset in (0, 1, 500, 7_600, 7_679, 7_680, 8_100, 8_192, 15_900):
        for filler in ("lorem ipsum ", "4111 1111 1111 1112 "):
            text = (filler * 2_000)[:offset] + " " + value + " ada@example.org"
            for form in (TEXT, JSON):
                data = json.dumps([text]).encode() if form == JSON else text.encode()
                found = compiled_scan.scan(data, form)
                spans = list(found)
                assert [span[0] for span in spans] == [SECRET, EMAIL]
                start, end = spans[0][1:3]
                got = data[start:end].decode()
                assert (json.loads(f'"{got}"') if form == JSON else got) == value
    both(text.encode(), TEXT)


# IBANs.


def iban(country: str, rng: random.Random) -> str:
    letters = {"n": "0123456789", "a": "ABCXYZ", "c": "0123456789ABCXYZ"}
    body = "".join(
        "".join(rng.choices(letters[kind], k=int(count)))
        for count, kind in re.findall(r"(\d+)([nac])", ibans.STRUCTURES[country])
    )
    value = int("".join(str(int(c, 36)) for c in body + country + "00"))
    return f"{country}{98 - value % 97:02}{body}"


PUBLISHED = [
    "DE89370400440532013000", "GB82WEST12345698765432", "FR1420041010050500013M02606",
    "NL91ABNA0417164300", "NO9386011117947", "MT84MALT011000012345MTLCAST001S",
    "BR1800360305000010009795493C1", "CH9300762011623852957", "LC55HEMM000100010012001200023015",
    "SA0380000000608010167519", "TR330006100519786457841326", "PL61109010140000071219812874",
]  # fmt: skip


@pytest.mark.parametrize("value", PUBLISHED)
def test_published_ibans(value: str) -> None:
    printed = " ".join(re.findall(".{1,4}", value))
    for text in (value, printed, value.lower(), printed.replace(" ", "-"), printed.lower()):
        for before, behind in [("", ""), ("IBAN: ", "."), ("é", "字"), ("(", ")")]:
            found = both(f"{before}{text}{behind}".encode(), TEXT)
            start = len(before.encode())
            assert found.spans == [(IBAN, start, start + len(text), False)]
        body = json.dumps({"iban": text}).encode()
        assert json.loads(redacted(body, JSON)) == {"iban": "[IBAN_REDACTED]"}
        assert [s[0] for s in both(b"a=" + text.replace(" ", "+").encode(), FORM).spans] == [IBAN]


@pytest.mark.parametrize("country", ibans.STRUCTURES)
def test_ibans_of_every_country(country: str) -> None:
    rng = random.Random(country)
    for _ in range(5):
        value = iban(country, rng)
        assert [s[0] for s in both(value.encode(), TEXT).spans] == [IBAN], value
        wrong = f"{value[:2]}{(int(value[2:4]) + 1) % 97:02}{value[4:]}"
        for text in (wrong, value[:-1], value + "1", "x" + value, value[:2] + " " + value[2:]):
            assert IBAN not in [s[0] for s in both(text.encode(), TEXT).spans], text


# Generated.

PIECES = [
    *(example(token, random.Random(token.name)) for token in TOKENS),
    *PUBLISHED, JWT, JWT[:40], PEM, PEM[:60], PEM[:150], PEM.replace("\n", "\\n"), KEY88, SIGNATURE,
    "AccountKey=", "sig=", "123456789:AA" + "Hd7_e" * 6 + "xyz", "://", "https://", "bob:s3cret@h",
    "password", "Passwd", "token", "api_key", "Bearer", "basic", "page_token", "authorization",
    "secret", "private-key", "credentials", "is", "was", "lautet", "value", "pass",
    "PASS", "DB_PASS", "PWD", "--password", "mot de passe", "contraseña", "пароль", "密码", "：",
    "curl -u bob:", "--user=bob:", "hunter2", "k7Fq2Z", "*", "name", "{", ";",
    "Tr0ub4dor&3", "9f8a7b6c5d4e3f2a1b0c",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "ada@example.org", "4111111111111111",
    "123-45-6789", " ", " ", ": ", "=", '"', "'", "\\", "\\n", "\\/", "\\u0041", "\\u00e9",
    "/", "-", "_", "+",
    ".", "&x=", "%", "%41", "%2B", "@", "x", "7", "é", "字", "\t", "\n", ",", "٤",
    "-----", "eyJ", "AA",
]  # fmt: skip
MIXES = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=8).map("".join)


@settings(max_examples=400, deadline=None)
@given(MIXES, st.sampled_from(["a", "password", "x_token", "authorization"]), st.integers(0, 70))
def test_any_mix_like_the_twin(text: str, key: str, pad: int) -> None:
    data = text.encode("utf-8", "surrogatepass")
    for form in (JSON, TEXT, TARGET, FORM):
        both(data, form)
    both(json.dumps({"p" * pad: 1, key: text}).encode(), JSON)
    both(json.dumps({key: text}, ensure_ascii=False).encode("utf-8", "surrogatepass"), JSON)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(PIECES), st.integers(0, 60), st.sampled_from("aZ0_-+/ =é"))
def test_any_cut_like_the_twin(piece: str, cut: int, put: str) -> None:
    at = min(cut, len(piece))
    for text in (piece[:at] + put + piece[at:], piece[:at] + piece[at + 1 :], put + piece + put):
        both(text.encode(), TEXT)
        both(json.dumps([text]).encode(), JSON)


HOSTILE = {
    "prefixes": "sk-ghp_AKIA", "headers of JWTs": "eyJhbGciOiJub25lIn0.", "cut JWTs": "-eyJhbGciOi",
    "keys without an end": "-----BEGIN PRIVATE KEY-----\nAbc: ", "dashes": "-----", "URLs": "://a:",
    "words": "password is ", "short words": "pass pw: ", "labels": "password, value = ",
    "signs": "a:b=", "users": "-u a:", "long users": "-u " + "a" * 39 + ":", "wide words": "密码：",
    "gaps": "token = ", "values": "token=a1b2c3d4e5f6g7h8 ",
    "short values": "password=a1b2c3d ", "countries": "DE12 ", "IBANs": "DE12 3456 7890 ",
    "numbers of IBANs": "BE12", "runs": "a1b2c3d4e5f6g7h8/", "signatures": "sig=" + "a" * 42 + " ",
    "backslashes": "\\\\a1b2c3d4e5f6g7h8", "robots": "12345678:AA",
    "discord": "MTa1b2c3d4e5f6g7h8i9j0k1l.",
}  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE)
def test_hostile_input_costs_linear_time(piece: str) -> None:
    def seconds(data: bytes, form: int) -> float:
        times = []
        for _ in range(5):
            start = time.thread_time()
            compiled_scan.scan(data, form)
            times.append(time.thread_time() - start)
        return min(times)

    quarter, whole = (piece.encode() * (size // len(piece)) for size in (250_000, 1_000_000))
    took = seconds(whole, TEXT)
    assert took < 0.5
    assert took < 8 * seconds(quarter, TEXT) + 0.002
    assert seconds(json.dumps([whole.decode()]).encode(), JSON) < 1


@pytest.mark.parametrize(
    "body",
    [
        rb'{"password":{"default":"hunter22x"}}',
        rb'{"name":"password","default":"hunter22x"}',
        rb'{"\u5bc6\u7801":"hunter22x"}',
        rb'["\u5bc6\u7801\uff1ahunter22x"]',
        rb'["password\u00a0=\u3000hunter22x"]',
        rb'["password \uff1a hunter22x"]',
    ],
)
def test_what_is_named_or_escaped_beyond_ascii(body: bytes) -> None:
    start = body.index(b"hunter22x")
    assert both(body, JSON).spans == [(SECRET, start, start + 9, 0)]
