"""Hand-written cases: the known ones, and those that rules of thumb get wrong.

`[[kind|text]]` is a planted value; everything else must stay unfound.
"""

from __future__ import annotations

import json
import re

from benchmarks.detection.bodies import FORM_TYPE, JSON_TYPE
from benchmarks.detection.marks import BEGIN, Body, Value, lines, mark, plain, settle

_PLANTED = re.compile(r"\[\[(\w+)\|(.*?)\]\]", re.DOTALL)
_TEXT = "text/plain"
_J, _T, _F = JSON_TYPE, _TEXT, FORM_TYPE

CASES: tuple[tuple[str, str], ...] = (
    (_J, '{"q":"[[credit_card|4111111111111111]]"}'),
    (_J, '{"q":"[[credit_card|4111 1111 1111 1111]]"}'),
    (_J, '{"q":"[[credit_card|4111-1111-1111-1111]]"}'),
    (_J, '{"q":[[credit_card|4111111111111111]]}'),
    (_J, '{"q":[[credit_card|-4111111111111111]]}'),
    (_J, '{"q":[[credit_card|4111111111111111.0]]}'),
    (_J, '{"q":[[credit_card|4.111111111111111e15]]}'),
    (_J, '{"[[credit_card|4111111111111111]]":1}'),
    (_J, '{"q":"card[[credit_card|4111111111111111]]"}'),
    (_J, '{"q":"[[credit_card|4111111111111111]]x"}'),
    (_J, '{"q":"_[[credit_card|4111111111111111]]"}'),
    (_T, "[[credit_card|378282246310005]]"),
    (_T, "[[credit_card|3782 822463 10005]]"),
    (_T, "[[credit_card|30569309025904]]"),
    (_T, "[[credit_card|4222222222222]]"),
    (_T, "[[credit_card|6304000000000000000]]"),
    (_J, r'{"a":"{\"b\":\"[[credit_card|4111111111111111]]\"}"}'),
    (_J, r'{"a":"{\"b\":\"{\\\"c\\\":\\\"[[credit_card|4111111111111111]]\\\"}\"}"}'),
    (_T, "[[credit_card|%34111111111111111]]"),
    (_T, "[[credit_card|&#52;111111111111111]]"),
    (_F, "card=[[credit_card|4111+1111+1111+1111]]&cvc=123"),
    (_F, "card=[[credit_card|%34%31%31%31111111111111]]"),
    (_J, '{"a":"x","a":"[[credit_card|4111111111111111]]","a":"y"}'),
    (_T, "12 [[credit_card|4111 1111 1111 1111]] 12/26"),
    (_T, "[[credit_card|5555\u20135555\u20135555\u20134444]]"),
    (_T, "[[credit_card|6011\u00a00009\u00a09013\u00a09424]]"),
    (_T, "[[credit_card|３５３０１１１３３３３０００００]]"),
    (_J, '{"q":"[[ssn|123-45-6789]]"}'),
    (_J, '{"q":"[[ssn|123 45 6789]]"}'),
    (_J, '{"q":"[[ssn|123.45.6789]]"}'),
    (_J, '{"q":"[[ssn|123\u201345\u20136789]]"}'),
    (_J, r'{"q":"[[ssn|123\u002d45\u002d6789]]"}'),
    (_J, '{"ssn":"[[ssn|123456789]]"}'),
    (_J, '{"userSsn":[[ssn|123456789]]}'),
    (_T, "[[ssn|987-65-4321]] and [[ssn|900-70-1234]]"),
    (_T, "000-12-3456 666-12-3456 900-12-3456 123-00-4567 123-45-0000"),
    (_J, '{"lesson":"123456789","missing":123456789,"classname":"123456789"}'),
    (_T, "IBAN [[iban|DE89 3704 0044 0532 0130 00]], please"),
    (_T, "[[iban|GB82WEST12345698765432]]"),
    (_T, "[[iban|FR14 2004 1010 0505 0001 3M02 606]]"),
    (_T, "DE89 3704 0044 0532 0130 01 has one digit wrong"),
    (_T, "XX82WEST12345698765432 is of no country"),
    (_T, "IBAN[[iban|DE89370400440532013000]]"),
    (_J, '{"iban":"[[iban|DE89370400440532013000]]","bic":"COBADEFFXXX"}'),
    (_T, "GB82 WEST 1234 5698 7654 33 and NO93 8601 1117 948 are none"),
    (_T, "[[iban|NO9386011117947]], [[iban|BE68 5390 0754 7034]]"),
    (_T, "[[iban|MT84MALT011000012345MTLCAST001S]]"),
    (_T, "SHIP12345678901234567890 BOOK1234567812345678 are no IBANs"),
    (_T, "write to [[email|ada@example.org]]."),
    (_T, "[[email|用户@例子.广告]]"),
    (_T, "foo@bar is none, nor is @handle, nor user@localhost"),
    (_J, '{"x":0.4111111111111111,"y":[0.4111111111111111,-0.5555555555554444]}'),
    (_J, '{"ts":1732100000000001,"ms":1732100000000}'),
    (_J, '{"iccid":"8944500102198304503","imei":"356938035643809"}'),
    (_J, '{"id":"41111111-1111-1111-1111-111111111111"}'),
    (_J, '{"zero":"0000000000000000","one":1111111111111111}'),
    (_T, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  empty"),
    (_T, "commit 4111111111111111aaaaaaaaaaaaaaaaaaaaaaaa"),
    (_T, "1.2.[[credit_card|4111111111111111]]"),
    (_T, "[[credit_card|4111\u200b1111\u200b1111\u200b1111]]"),
    (_T, "[[credit_card|4111\u00ad1111\u00ad1111\u00ad1111]]"),
    (_T, "[[credit_card|٤١١١١١١١١١١١١١١١]]"),
    (_J, '{"a":["[[credit_card|4111-1111-1111-1111]]","x"],"b":[[credit_card|5105105105105100]]}'),
    (_J, '{"m":"[[credit_card|4111111111111111]],[[credit_card|5555555555554444]]"}'),
    (_T, "card,expiry,cvc\n[[credit_card|4111111111111111]],12/26,123\n"),
    (_T, "[[credit_card|4111111111111111]] 12/26 123"),
    (_T, "[[credit_card|4111111111111111]]|12|2026|123"),
    (_T, "4111 1111 1111 1112 fails, and so does 5555555555554445"),
    (_T, "4111, 1111, 1111, 1111 are four numbers; 4111:1111:1111:1111 too"),
    (_T, "9400 1118 9922 3033 0052 82 is a parcel"),
    (_T, "00000000: 8950 4e47 0d0a 1a0a 0000 000d 4948 4452  .PNG........IHDR"),
    (_T, "114-1111111-1111116 was ordered; 1Z999AA10123456784 is on its way"),
    (_T, "978-0-306-40615-7 and 9780306406157 are books"),
    (_T, "+49 30 901820, (020) 7946 0018, +86 13812345678"),
    (_J, '{"lat":52.520008,"lon":13.404954,"alt":34.0,"t":1767225600.123456}'),
    (_J, '{"total":4111111111.11,"amount":"EUR 4.111.111.111,11"}'),
    (_T, "ssn: [[ssn|219-09-9998]]\nssn [[ssn|219099998]]"),
    (_T, "219-099-998 and 2190-99-998 and 21-9099998 are none"),
    (_T, "2026-03-14 09:26:53 219-09-99980"),
    (_J, '{"applicant":{"tax_id":"[[ssn|912-70-1234]]"},"zip":"12345-6789"}'),
    (_T, "999941111111111111119999 is longer than a card"),
    (_J, '{"p":"+41111111111111"}'),
    (_J, '{"k":"[[secret|AK' + 'IAIOSFODNN7EXAMPLE]]"}'),
    (_J, '{"k":"[[secret|gh' + "p_" + "a1B2" * 9 + ']]"}'),
    (_J, '{"k":"[[secret|xo' + "xb-2345678901-2345678901234-" + "Ab3d" * 6 + ']]"}'),
    (_J, '{"k":"[[secret|sk_' + "live_" + "4eC39HqL" * 3 + ']]"}'),
    (_J, '{"k":"[[secret|AI' + "za" + "SyA1b2C" * 5 + ']]"}'),
    (
        _T,
        "token = [[secret|ey"
        + "JhbGciOiJIUzI1NiJ9.ey"
        + "JzdWIiOiIxMjM0In0."
        + "q1W2e3R4" * 5
        + "]]",
    ),
    (
        _T,
        "DB_PASS=[[secret|k7Fq2ZpL9x]]\nPGPASSWORD='[[secret|Tr0ub4dor&3]]'",
    ),
    (_T, "MYSQL_PWD=[[secret|h7nter22]] mysql -u root"),
    (_T, "my password is [[secret|Tr0ub4dor&3]]. Das Passwort lautet [[secret|k7Fq2ZpL9x]]"),
    (
        _T,
        "Mot de passe : [[secret|k7Fq2ZpL9x]]\nsenha=[[secret|k7Fq2Z]]",
    ),
    (
        _T,
        "wachtwoord: [[secret|k7Fq2ZpL9x]]; пароль: [[secret|k7Fq2ZpL9x]]",
    ),
    (_T, "contraseña: [[secret|k7Fq2ZpL9x]]"),
    (_T, "密码：[[secret|k7Fq2ZpL9x]]"),
    (_T, "curl -u admin:[[secret|k7Fq2ZpL9x]] https://api.example.com/v1"),
    (_T, "curl --user 'admin:[[secret|k7Fq2ZpL9x]]' https://api.example.com/v1"),
    (_T, "jdbc:mysql://h/db?user=bob&password=[[secret|k7Fq2ZpL9x]]&useSSL=false"),
    (_T, "Driver={ODBC Driver 17};Server=h;Uid=sa;Pwd=[[secret|k7Fq2ZpL9x]];"),
    (_T, "redis://[[secret|:k7Fq2ZpL9x]]@cache:6379/0"),
    (_T, "mongodb+srv://[[secret|bob:k7Fq2ZpL9x]]@cluster0.example.net/db"),
    (_T, 'admin_pass      = "[[secret|k7Fq2ZpL9x]]"\n$env:DB_PASS = "[[secret|k7Fq2ZpL9x]]"'),
    (_T, "FROM a\nENV DB_PASSWORD [[secret|k7Fq2ZpL9x]]\nRUN b"),
    (_T, "- name: DB_PASS\n  value: [[secret|k7Fq2ZpL9x]]\n- name: MODE\n  value: k7Fq2ZpL9x"),
    (_T, '<add key="password" value="[[secret|k7Fq2ZpL9x]]"/><add key="mode" value="k7Fq2ZpL9x"/>'),
    (_T, "Authorization: ApiKey [[secret|9f8a7b6c5d4e3f2a1b0c]]"),
    (_J, '{"name":"ssn","value":"[[ssn|219099998]]"}'),
    (_J, '{"field":"Social Security Number","content":[[ssn|219099998]]}'),
    (_J, '{"name":"order","value":"219099998","ssn_status":"none"}'),
    (_J, '{"name":"DB_PASS","value":"[[secret|k7Fq2ZpL9x]]"}'),
    (_J, '{"name":"password","type":"string","description":"at least 8 characters1"}'),
    (
        _T,
        "--- PASS: TestFoo1 (0.00s)\npass: test_login_2; PWD=/srv/bob/project2",
    ),
    (
        _T,
        "curl -u user:password https://x; docker run -u 1000:1000 img",
    ),
    (
        _T,
        "DB_PASS=$DB_PASS1 password: process.env.PASS1 secret: my-app-secret-v1",
    ),
    (_T, "the variable TOKEN is read from the environment; password: ********"),
    (_T, "sk_test is the prefix of test keys, ghp_ that of tokens"),
    (_T, "api_key = os.environ['API_KEY']; secret = get_secret(name)"),
)


def body(number: int) -> Body:
    """Case `number` as a body."""
    content_type, text = CASES[number]
    values: list[Value] = []

    def planted(found: re.Match[str]) -> str:
        values.append(Value(found[1], "hard case", "hard case", found[2]))
        return mark(len(values) - 1, found[2])

    marked = _PLANTED.sub(planted, text)
    read = "\n".join(lines(_parsed(marked))) if content_type == _J else marked
    if read.count(BEGIN) != len(values):  # A value that a key's repetition hides.
        read = marked
    return Body(number, "hard case", content_type, settle(marked, values), settle(read, values))


def _parsed(marked: str) -> object:
    """The document; where a mark inside a number hinders that, as one text."""
    try:
        return json.loads(marked)
    except ValueError:
        json.loads(plain(marked))
        return marked
