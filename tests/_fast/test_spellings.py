"""Values as people, forms and programs write them, and what only looks like one; on both scans.

Each text is read as a text and as a string of JSON. Many words and layouts, few of each: what is
held is the rule, and that no rule is paid for with another spelling.
"""

from __future__ import annotations

import json

import pytest

from tests._fast.test_scan import both
from tests.twins.scan import CARD, EMAIL, IBAN, JSON, SECRET, SSN, TEXT

CARDS = [
    "4111111111111111",
    "4111 1111 1111 1111",
    "4111-1111-1111-1111",
    "4111.1111.1111.1111",
    "4111/1111/1111/1111",
    "4111_1111_1111_1111",
    "4111\t1111\t1111\t1111",
    "4111\xa01111\xa01111\xa01111",
    "4111\u20091111\u20091111\u20091111",
    "4111\u202f1111\u202f1111\u202f1111",
    "4111\u20131111\u20131111\u20131111",
    "4111\u30001111\u30001111\u30001111",
    "\uff13\uff17\uff18\uff12 \uff18\uff12\uff12\uff14\uff16\uff13 \uff11\uff10\uff10\uff10\uff15",
    "3782 822463 10005",
    "3782-822463-10005",
    "3056 930902 5904",
    "30569309025904",
    "4222222222222",
    "4222 222 222 222",
    "41111111 11111111",
    "411111 1111111111",
    "4111 11111111 1111",
    "41 11 11 11 11 11 11 11",
    "411 111 111 111 111 1",
    "4-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1",
    "4111-11111111-1111",
    "card: 4111 1111 1111 1111 exp 12/26 cvv 123",
    "4111 1111 1111 1111 12/26 123",
    "4111 1111 1111 1111 1226 123",
    "4111111111111111|12|26|123",
    "4111111111111111,12/26,123",
    "4111111111111111;1226",
    "cc=4111111111111111&exp=1226",
    "Visa4111111111111111",
    "card4111111111111111x",
    "_4111111111111111_",
    "PAN:4111111111111111",
    "n\xfamero de tarjeta: 4111 1111 1111 1111",
    "Kartennummer 4111 1111 1111 1111",
    "\u5361\u53f74111111111111111",
    "\u30ab\u30fc\u30c9\u756a\u53f7\uff1a4111-1111-1111-1111",
    "\u043d\u043e\u043c\u0435\u0440 \u043a\u0430\u0440\u0442\u044b 4111 1111 1111 1111",
    "बैंक कार्ड ४१११ ११११ ११११ ११११",
    "رقم البطاقة ٤١١١ ١١١١ ١١١١ ١١١١",
    "<pan>4111111111111111</pan>",
    "<Card>\n4111 1111 1111 1111\n</Card>",
    "| 4111 1111 1111 1111 | Bob |",
    "`4111111111111111`",
    'card_number: "4111-1111-1111-1111"',
    "CARD_NUMBER=4111111111111111",
    "VALUES ('Bob', '4111111111111111', 12)",
    "name,card\nBob,4111111111111111",
    "ts=1732100000 card=4111111111111111 ok",
    "x-4111-1111-1111-1111-y",
    "order-4111-1111-1111-1111",
    "%B4111111111111111^DOE/JOHN^2612101?",
    ";4111111111111111=2612101?",
    "5500000000000004",
    "2221000000000009",
    "6011000000000004",
    "3530111333300000",
    "6200000000000005",
    "6759649826438453",
    "2200000000000004",
    "6304000000000000000",
    "4111111111111111.",
    "4111111111111111!",
    "(4111111111111111)",
    "[4111111111111111]",
    "'4111111111111111'",
    "id4111111111111111",
    "4111 1111 1111 1111 4222222222222",
    "4111-1111-1111-1111 5500-0000-0000-0004",
    "1234 4111 1111 1111 1111",
]
SSNS = [
    "ssn: 612345678",
    "SSN 612345678",
    "SSN#612345678",
    "SSN # 612345678",
    "SS#: 612345678",
    "Soc. Sec. No. 612345678",
    "Soc Sec #612345678",
    "S.S.N. 612345678",
    "social security number is 612345678",
    "Social Security Nbr: 612345678",
    "Social-Security-Number=612345678",
    "SOCIAL_SECURITY_NUMBER=612345678",
    "export SSN=612345678",
    'ssn="612345678"',
    "ssn='612345678'",
    "<ssn>612345678</ssn>",
    "<SSN>\n  612345678\n</SSN>",
    '<ns:ssn xsi:type="string">612345678</ns:ssn>',
    '<input type="text" name="ssn" value="612345678">',
    "<td>SSN</td><td>612345678</td>",
    "<td>SSN</td>\n    <td>612345678</td>",
    "<dt>Social Security Number</dt>\n<dd>612345678</dd>",
    "| SSN | 612345678 |",
    "**SSN:** 612345678",
    "- SSN: `612345678`",
    "SSN:\n612345678",
    "SSN\n612345678",
    "Social Security Number:\n\n612345678",
    "ssn:\n  - 612345678",
    "ssn: >\n  612345678",
    "ssn: |-\n  612345678",
    "INSERT INTO p SET ssn = 612345678",
    "WHERE ssn='612345678'",
    "level=info user=bob ssn=612345678 ok",
    "{'ssn': '612345678'}",
    "ssn => 612345678",
    "ssn -> 612345678",
    "my ssn's 612345678",
    "SSN (612345678)",
    "SSN [612345678]",
    "taxpayer id 612345678",
    "Tax ID No.: 612345678",
    "ITIN 912701234",
    "n\xfamero de seguro social 612345678",
    "N\xfamero de Seguro Social: 612345678",
    "Sozialversicherungsnummer: 612345678",
    "num\xe9ro de s\xe9curit\xe9 sociale : 612345678",
    "\u793e\u4f1a\u5b89\u5168\u53f7\u7801\uff1a612345678",
    "\u793e\u4f1a\u4fdd\u969c\u756a\u53f7\u306f612345678\u3067\u3059",
    "номер социального страхования 612345678",
    "\uc0ac\ud68c\ubcf4\uc7a5\ubc88\ud638 612345678",
    "ssn\uff16\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18",
    "SSN: \uff16\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18",
    "SSN: \u0666\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668",
    '--b\r\nContent-Disposition: form-data; name="ssn"\r\n\r\n612345678\r\n--b--',
    '--b\nContent-Disposition: form-data; name="applicant[ssn]"\n\n612345678\n--b--',
    '--b\r\nContent-Disposition: form-data; name="taxpayerId"\r\n\r\n612345678\r\n',
    "curl -d 'ssn=612345678' https://x",
    'curl -d \'{"ssn":"612345678"}\' x',
    "ssn:612345678",
    "SSN\u2014612345678",
    "SSN \u2013 612345678",
    "ssn\t612345678",
    "employee.ssn=612345678",
    "employeeSsn=612345678",
    "EMPLOYEE_SSN=612345678",
    "ssn_last=612345678",
    "ssnNumber: 612345678",
    "her social security no. was 612345678",
    "SSN no 612345678",
    "SSN:612345678;",
    "123-45-6789",
    "123 45 6789",
    "123.45.6789",
    "123\u201345\u20136789",
    "123\u201145\u20116789",
    "123_45_6789",
    "123/45/6789",
    "123\xb745\xb76789",
    "\uff11\uff12\uff13\uff0d\uff14\uff15\uff0d\uff16\uff17\uff18\uff19",
    "\u0661\u0662\u0663-\u0664\u0665-\u0666\u0667\u0668\u0669",
    "(123-45-6789)",
    "123-45-6789.",
    "SSN123-45-6789",
    "#123-45-6789,",
    "name,ssn\nBob,123-45-6789",
    "| 123-45-6789 |",
]
SECRETS = [
    "password: hunter2xyz!",
    "PASSWORD=Tr0ub4dor&3",
    "<password>Tr0ub4dor3x</password>",
    "<apiKey>9f8a7b6c5d4e3f2a1b0c</apiKey>",
    "CREATE USER bob WITH PASSWORD 'Tr0ub4dor3x'",
    "DB_PASSWORD='Tr0ub4dor3x'",
    'api_key = "9f8a7b6c5d4e3f2a1b0cAA"',
    "X-API-Key: 9f8a7b6c5d4e3f2a1b0cAA",
    "Authorization: Bearer 9f8a7b6c5d4e3f2a1b0cAA",
    "authorization: token 9f8a7b6c5d4e3f2a1b0cAA",
    "Authorization: Basic dXNlcjpUcjB1YjRkb3Iz",
    "postgres://bob:s3cret@db/x",
    "https://bob:s3cret@git.example/x",
    "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "aws_secret_access_key = /JalrXUtnFEMIaK7MDENG+bPxRfiCYEXAMPLE1E2",
    'name="password"\r\n\r\nTr0ub4dor3x\r\n',
    'name="api_key"\r\n\r\n9f8a7b6c5d4e3f2a1b0cAA\r\n',
    "3ae48986cdc823fc2037dae21285663c-us4",
    "abc8Q~m5_KX4_2kSLR2zAMtJUzhecZ3juk15AzR0",
    "client_secret: abc8Q~m5_KX4_2kSLR2zAMtJUzhecZ3juk15AzR0.",
    "password is Tr0ub4dor3x",
    "passwd=Tr0ub4dor3x;",
    'pwd: "9f8a7b6c5d4e3f2a1b0cAA"',
    "AccountKey=abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789==",
    "ghp_a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2",
    "token=ghp_a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2",
    "curl -H 'Authorization: Bearer 9f8a7b6c5d4e3f2a1b0cAA' https://x",
    "secret: ~9f8a7b6c5d4e3f2a1b0cAA",
    "secret=9f8a~7b6c5d4e3f2a1b0cAA",
]
ADDRESSES = [
    "bob@example.com",
    "<bob@example.com>",
    "mailto:bob@example.com",
    "git@example.com",
    "bob.o'neil@example.co.uk",
    "\u7528\u6237@\u4f8b\u5b50.\u5e7f\u544a",
    "user+tag@example.org,",
]
IBANS = [
    "DE89370400440532013000",
    "DE89 3704 0044 0532 0130 00",
    "IBAN: GB82 WEST 1234 5698 7654 32",
    "gb82west12345698765432",
    "GB82-WEST-1234-5698-7654-32",
    "FR14 2004 1010 0505 0001 3M02 606",
]
NOTHING = [
    "TIN: 612345678",
    "NSS: 612345678",
    "my social is 612345678",
    "invoice 612345678",
    "phone 612345678",
    "lesson 612345678",
    "mission: 612345678",
    "SSN is required. Order 612345678",
    "martini 612345678",
    "order 123-45-67890",
    "1-123-45-6789-0",
    "000-12-3456",
    "666-12-3456",
    "900-12-3456",
    "123-00-4567",
    "123-45-0000",
    "ISBN 978-12-3456",
    "ip 10.123.45.6789",
    "2024-12-3456",
    "session 612345678",
    "classname 612345678",
    "0.4111111111111111",
    "1732100000000001",
    "8944500102198304503",
    "356938035643809",
    "41111111-1111-1111-1111-111111111111",
    "0000000000000000",
    "deadbeef4111111111111111deadbeef",
    "411111111111111141111111",
    "4111111111111112",
    "360-8695262-1138802",
    "INV-50214-1361-9652",
    "b5b713e617/1606058237805_o.jpg",
    "00000010: 5f3b 4111 1111 1111 1111 aa12",
    "11\t42\t732040\t50\t97821",
    "+4915112345678",
    "2024-11-28 05:48:29.123456",
    "1Z999AA10123456784",
    "420123459400111899223197428490",
    "978-3-16-148410-0",
    "192.168.100.200",
    "4.1111.111.11",
    "sha1:411111111111111141111111111111111111abcd",
    "snowflake 1234567890123456789",
    "123456789012345678",
    "curl -u bob:Tr0ub4dor3x https://x",
    "Mot de passe : Tr0ub4dor3x",
    "Passwort: Tr0ub4dor3x",
    "contrase\xf1a: Tr0ub4dor3x",
    "password: ********",
    "password: ${DB_PASSWORD1}",
    "password: <your-password-1>",
    "password=changeme",
    "the secret is patience and 9 lives",
    "token: /usr/local/share/Token1/file2",
    "next_token=9f8a7b6c5d4e3f2a1b0cAA",
    "commit 9f8a7b6c5d4e3f2a1b0c9f8a7b6c5d4e3f2a1b0c",
    "550e8400-e29b-41d4-a716-446655440000",
    "data-us1 region",
    "password_hint: the dog",
    "~~~~~~~~~~~~~~~~~~~~~~~~~~",
    "----------------------------------------",
    "sha256~short",
    "git@github.com:org/repo.git",
    "git@host.example:22/x",
    "foo@bar",
    "@handle",
    "a@b.c",
    "npm i @scope/pkg@1.2.3",
    "root@server:~#",
    "GB82WEST12345698765433",
    "\uff27\uff2282WEST12345698765432",
]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (kind, text)
        for kind, texts in [
            (CARD, CARDS), (SSN, SSNS), (SECRET, SECRETS), (EMAIL, ADDRESSES), (IBAN, IBANS),
        ]
        for text in texts
    ],
)  # fmt: skip
def test_what_people_write_is_found(kind: int, text: str) -> None:
    for data, form in ((text.encode(), TEXT), (json.dumps({"note": text}).encode(), JSON)):
        assert kind in [span[0] for span in both(data, form).spans], data


@pytest.mark.parametrize("text", NOTHING)
def test_what_only_looks_like_a_value_is_none(text: str) -> None:
    for data, form in ((text.encode(), TEXT), (json.dumps({"note": text}).encode(), JSON)):
        assert both(data, form).spans == [], data


def test_the_line_above_speaks_only_for_what_stands_right_below_it() -> None:
    for between in ("\n", "\r\n\r\n", " |\n| ", "</b>\n<b>", "\nContent-Type: text/plain\r\n\r\n"):
        assert len(both(f"SSN{between}612345678".encode(), TEXT).spans) == 1
        assert both(f"SSN of whom{between}612345678".encode(), TEXT).spans == []
        assert both(f"SSN{between}order 612345678".encode(), TEXT).spans == []
        assert both(f"SSN{between}{between}{'.' * 112}612345678".encode(), TEXT).spans == []


def test_groups_of_a_dump_are_no_card_wherever_they_stand_in_it() -> None:
    card = "4111 1111 1111 1111"
    for text in (
        f"a1b2 {card}",
        f"{card} a1b2",
        f"9f00 1234 {card} 1234",
        f"{card} 0000 0000 00ff",
    ):
        assert both(text.encode(), TEXT).spans == []
    for text in (
        f"dead {card}",
        f"{card} face",
        f"a1b2  {card}",
        f"ref a1b2c {card}",
        f"a1b2-{card}",
    ):
        assert len(both(text.encode(), TEXT).spans) == 1


def test_slashes_that_json_escapes_stand_in_a_key() -> None:
    key = "ab/d" * 19 + "+ASt" + "abcde/=="
    for text in (key, f"key: {key}.", "x" * 600 + f" {key} " + "y" * 600):
        data = json.dumps([text]).replace("/", "\\/").encode()
        (span,) = both(data, JSON).spans
        assert span[0] == SECRET
        assert json.loads(data[: span[1]] + b"." + data[span[2] :]) == [text.replace(key, ".")]
