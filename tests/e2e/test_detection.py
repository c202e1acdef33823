"""Sections B and C of the cases, through the running sidecar: what is found, decided, recorded.

Every value that is found is looked for afterwards, in every sink: the log folder, standard
output and error, the metrics, the sidecar's own answers.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.agents import Agent, agent, says
from tests.e2e.sidecars import KEEPS, Caller, Sidecar, request, sidecar

C = "4111111111111111"
SSN = "123-45-6789"
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

Pair = tuple[Sidecar, Agent]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with (
        agent(says()) as behind,
        sidecar(tmp_path_factory.mktemp("detection"), behind.url, KEEPS) as running,
    ):
        yield running, behind


def nest(value: str, levels: int) -> str:
    for _ in range(levels):
        value = json.dumps({"a": value})
    return value


def secret(*parts: str) -> str:
    """Put together here, so that no one's search for leaks stops at this file."""
    return "".join(parts)


PEM = "\n".join(
    [
        secret("-----BEGIN RSA ", "PRIVATE KEY-----"),
        *(base64.b64encode(bytes(range(at, at + 48))).decode() for at in range(0, 144, 48)),
        secret("-----END RSA ", "PRIVATE KEY-----"),
    ]
)
JWT = ".".join(
    base64.urlsafe_b64encode(part).decode().rstrip("=")
    for part in (b'{"alg":"HS256","typ":"JWT"}', b'{"sub":"1234567890"}', bytes(range(60, 92)))
)

CARDS: dict[str, str] = {
    "B01 plain": json.dumps(C),
    "B01 spaced": '"4111 1111 1111 1111"',
    "B01 dashed": '"4111-1111-1111-1111"',
    "B03 number": f'{{"a":{C}}}',
    "B03 negative": f'{{"a":-{C}}}',
    "B03 with a fraction": f'{{"a":{C}.0}}',
    "B03 with an exponent": '{"a":4.111111111111111e15}',
    "B04 key": f'{{"{C}":1}}',
    "B06 letters before": f'"card{C}"',
    "B06 a letter behind": f'"{C}x"',
    "B06 underscore": f'"_{C}"',
    "B07 amex": '"378282246310005"',
    "B07 amex in groups": '"3782 822463 10005"',
    "B07 diners": '"30569309025904"',
    "B07 visa of 13": '"4222222222222"',
    "B07 maestro of 19": '"6304000000000000000"',
    "B11 one level": nest(C, 1),
    "B11 two levels": nest(C, 2),
    "B11 three levels": nest(C, 3),
    "B11 an escape inside": json.dumps({"a": '{"b":"\\u00341111111\\u00311111111"}'}),
    "escaped digits": '{"a":"\\u0034\\u0031\\u0031\\u0031111111111111"}',
    "digits of another script": json.dumps("٤١١١١١١١١١١١١١١١", ensure_ascii=False),
    "B13 percent": json.dumps("%34111111111111111"),
    "B13 all percent": json.dumps("".join(f"%{ord(digit):02x}" for digit in C)),
    "B13 percent twice": json.dumps("%2534111111111111111"),
    "B13 entity": json.dumps("&#52;111111111111111"),
    "B13 hex entity": json.dumps("&#x34;111111111111111"),
    "B13 base64": json.dumps(base64.b64encode(f"card {C} ok".encode()).decode()),
    "B13 base64 twice": json.dumps(
        base64.b64encode(base64.b64encode(f"card {C} ok".encode())).decode()
    ),
    "B13 hex": json.dumps(C.encode().hex()),
    "over the items of an array": '["4111","1111","1111","1111"]',
}
SSNS: dict[str, str] = {
    "B19 hyphens": json.dumps(SSN),
    "B19 spaces": '"123 45 6789"',
    "B19 dots": '"123.45.6789"',
    "B19 en dashes": '"123–45–6789"',
    "B19 escaped hyphens": '"123\\u002d45\\u002d6789"',
    "B19 the key says so": '{"ssn":"123456789"}',
    "B20 an ITIN": '"987-65-4321"',
    "B20 another": '"900-70-1234"',
}
NOTHING: dict[str, str] = {
    "B20 area 000": '"000-12-3456"',
    "B20 area 666": '"666-12-3456"',
    "B20 no group of an ITIN": '"900-12-3456"',
    "B20 group 00": '"123-00-4567"',
    "B20 serial 0000": '"123-45-0000"',
    "B25 a fraction": '{"a":0.4111111111111111}',
    "B25 microseconds": '{"at":1732100000000001}',
    "B25 ICCID": '"8944500102198304503"',
    "B25 IMEI": '"356938035643809"',
    "B25 UUID": '"41111111-1111-1111-1111-111111111111"',
    "B25 zeros": '"0000000000000000"',
    "B25 SHA-256": '"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"',
    "B25 git": '"4b825dc642cb6eb9a060e54bf8d69288fbee4904"',
    "B26 inside 24 digits": f'"1234{C}5678"',
}


def kept(running: Sidecar, trace_id: str | None) -> dict[str, Any]:
    return running.trace(trace_id or "")[0]


@pytest.mark.parametrize("name", CARDS)
def test_cards_are_blocked(name: str, pair: Pair) -> None:
    running, behind = pair
    before = len(behind.seen)
    answer = running.post(CARDS[name].encode())
    assert (answer.status, answer.json()["code"]) == (403, "credit_card_retention")
    record = kept(running, answer.header("X-Agent-Trace-ID"))
    assert record["findings"] == {"credit_card": 1}
    assert "[CREDIT_CARD_REDACTED]" in json.dumps(record["payload"])
    assert len(behind.seen) == before


def test_each_of_duplicate_keys_is_read(pair: Pair) -> None:
    running, _ = pair
    for body in (f'{{"a":"{C}","a":"x"}}', f'{{"a":"x","a":"{C}"}}'):
        answer = running.post(body)
        assert (answer.status, answer.json()["code"]) == (403, "credit_card_retention")


@pytest.mark.parametrize("name", SSNS)
def test_social_security_numbers_are_blocked(name: str, pair: Pair) -> None:
    running, _ = pair
    answer = running.post(SSNS[name].encode())
    assert (answer.status, answer.json()["code"]) == (403, "ssn_retention")
    assert kept(running, answer.header("X-Agent-Trace-ID"))["findings"] == {"ssn": 1}


SECRETS: dict[str, str] = {
    "AWS": secret("AKIA", "IOSFODNN7EXAMPLE"),
    "GitHub": secret("ghp_", "0123456789abcdefABCDEFGHIJKLMN0PbEBm"),
    "Slack": secret("xoxb-", "123456789012-1234567890123-", "AbCdEfGhIjKlMnOpQrStUvWx"),
    "Stripe": secret("sk_live_", "4eC39HqLyjWDarjtT1zdp7dc"),
    "Google": secret("AIza", "SyA1bC2dE3fG4hI5jK6lM7nO8pQ9rS0tU1v"),
    "PEM": PEM,
    "JWT": JWT,
    "Azure SAS": "https://a.blob.core.windows.net/c?sv=2022-11-02&sig="
    + base64.b64encode(bytes(range(100, 132))).decode().replace("+", "%2B").replace("=", "%3D"),
}


@pytest.mark.parametrize("name", SECRETS)
def test_b21_secrets_are_blocked(name: str, pair: Pair) -> None:
    running, behind = pair
    before = len(behind.seen)
    for text in (SECRETS[name], f"it is {SECRETS[name]}, keep it"):
        answer = running.post(json.dumps({"note": text}))
        assert (answer.status, answer.json()["code"]) == (403, "secret_retention")
        record = kept(running, answer.header("X-Agent-Trace-ID"))
        assert "[SECRET_REDACTED]" in json.dumps(record["payload"])
    assert len(behind.seen) == before


@pytest.mark.parametrize("name", NOTHING)
def test_what_is_no_finding_passes(name: str, pair: Pair) -> None:
    running, behind = pair
    answer = running.post(NOTHING[name].encode())
    assert answer.status == 200
    assert behind.seen[-1].body == NOTHING[name].encode()
    record = kept(running, answer.header("X-Agent-Trace-ID"))
    assert record["findings"] == {}
    assert record["payload"] == json.loads(NOTHING[name])


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("", C.encode()),
        ("text/plain", C.encode()),
        (FORM, b"a=4111+1111+1111+1111"),
        (FORM, b"a=%34111111111111111"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\n" + C.encode() + b"\r\n--x--"),
        ("text/plain; charset=utf-16", C.encode("utf-16")),
        ("text/plain; charset=utf-7", C.encode("utf-7")),
        ("application/octet-stream", b"\x00\xff" + C.encode()),
    ],
)
def test_b15_bodies_of_other_types(content_type: str, body: bytes, pair: Pair) -> None:
    running, behind = pair
    before = len(behind.seen)
    answer = running.ask("PUT", "/proxy/x", body, {"Content-Type": content_type})
    assert answer.status in (403, 415)
    assert (answer.status == 415) == ("utf-" in content_type)
    assert len(behind.seen) == before


@pytest.mark.parametrize(
    "target",
    [
        f"/proxy/{C}",
        f"/proxy/x?a={C}",
        "/proxy/x?a=4111+1111+1111+1111",
        "/proxy/4111-1111-1111-1111/y",
        "/proxy/%34111111111111111",
    ],
)
def test_b16_the_target_counts_like_the_body(target: str, pair: Pair) -> None:
    running, behind = pair
    before = len(behind.seen)
    answer = running.ask("GET", target)
    assert (answer.status, answer.json()["code"]) == (403, "credit_card_retention")
    assert len(behind.seen) == before


def test_b16_headers_are_in_no_sink(pair: Pair) -> None:
    running, _ = pair
    for name in ("X-Agent-Trace-ID", "X-Other", "User-Agent", "traceparent"):
        assert running.post("{}", {name: C}).status == 200


def test_b18_an_answer_is_scrubbed(pair: Pair) -> None:
    running, behind = pair
    behind.reply = says(json.dumps({"card": C}).encode(), f"Content-Type: {JSON}")
    try:
        answer = running.post()
    finally:
        behind.reply = says()
    assert answer.json() == {"card": C}
    ending = running.trace(answer.header("X-Agent-Trace-ID") or "")[-1]
    assert ending["response"] == {"card": "[CREDIT_CARD_REDACTED]"}
    assert ending["findings"] == {"credit_card": 1}


@pytest.mark.parametrize(("depth", "status"), [(128, 200), (129, 400), (900, 400), (100_000, 400)])
def test_c01_depth(depth: int, status: int, pair: Pair) -> None:
    running, _ = pair
    body = "[" * depth + "]" * depth
    with Caller(running.port) as caller:
        caller.send(request(body=body))
        started = time.perf_counter()
        assert caller.read().status == status
    # 10 ms of the sidecar's own; the rest is for a busy machine.
    assert time.perf_counter() - started < 0.5


INVALID = {
    "C03": [b"NaN", b"[Infinity]", b"-Infinity", b'{"a":1e400}'],
    "C05": [b'"\xff"', b'"\xc0\xb1"', b'"\xed\xa0\x80"'],
    "C06": [b"\xef\xbb\xbf{}", '{"a":1}'.encode("utf-16"), '{"a":1}'.encode("utf-32")],
    "C07": [
        b"{}{}",
        b"{}\x00",
        b"[1,]",
        b"[01]",
        b"[+1]",
        b"[.5]",
        b"['a']",
        b"[1 /* one */]",
        b"\x0c{}",
        b"1" * 5000,
    ],
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_json_is_400(case: str, pair: Pair) -> None:
    running, behind = pair
    before = len(behind.seen)
    for body in INVALID[case]:
        answer = running.post(body)
        assert (answer.status, answer.json()["code"]) == (400, "invalid_json"), body
    assert len(behind.seen) == before


def test_c08_other_values_at_the_top(pair: Pair) -> None:
    running, _ = pair
    for body in (b'"x"', b"null", b"1"):
        assert running.post(body).status == 200
    assert running.post(b"").status == 400


def test_c11_a_null_makes_one_record(pair: Pair) -> None:
    running, _ = pair
    answer = running.post(b'{"\\u0000":"\\u0000"}')
    assert answer.status == 200
    assert kept(running, answer.header("X-Agent-Trace-ID"))["payload"] == {"\0": "\0"}


def test_nothing_found_is_in_any_sink(pair: Pair) -> None:
    """Runs last: seven digits of any value in a row, in no spelling."""
    running, _ = pair
    sinks = "\n".join(
        path.read_bytes().decode("latin-1")
        for path in sorted(running.folder.rglob("*"))
        if path.is_file()
    )
    sinks += running.admin("/metrics").body.decode()
    assert "[CREDIT_CARD_REDACTED]" in sinks
    numbers = [C, "378282246310005", "30569309025904", "4222222222222", "123456789", "987654321"]
    for value in numbers:
        for at in range(len(value) - 6):
            part = value[at : at + 7]
            # What is no finding holds such digits too, and is kept as it is.
            if any(part in body for body in NOTHING.values()):
                continue
            assert part not in sinks, value
    for name, value in SECRETS.items():
        assert value.rsplit("=")[-1][-20:] not in sinks, name
    assert PEM.splitlines()[1][:20] not in sinks
    for spelled in ("4111 1111", "4111-1111", "3782 8224", SSN, "123 45 6789", "123.45.6789"):
        assert spelled not in sinks
