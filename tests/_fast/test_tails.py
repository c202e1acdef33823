"""Records of requests: one line each, scrubbed and cut."""

from __future__ import annotations

import json

import msgspec
import pytest

from iatp._fast.gate import Gate
from tests._fast.gates import CARD, EMAIL, LOW, SAFE, SSN, STRICT, ask, parse, same, settle
from tests._fast.test_record import HOSTILE


def test_a_detail_is_recorded_scrubbed_and_not_said() -> None:
    refused = Gate(SAFE).refuse(ask(), "malformed_request", f"card {CARD.decode()}\n\ud800", 1, 200)
    record = parse(refused.records[0])
    assert record["detail"] == "card [CREDIT_CARD_REDACTED]\n\\ud800"
    assert record["agent_status"] == 200
    assert b"card" not in refused.body


@pytest.mark.parametrize("hostile", HOSTILE, ids=ascii)
def test_g13_one_line_whatever_the_caller_sends(hostile: bytes) -> None:
    text = hostile.decode("latin-1")
    request = ask(
        b'{"a":1,\r\n "b":"\xe2\x80\xa8\xc2\x85\x7f"}',
        method=f"GET{text}",
        target=b"/proxy/" + hostile,
        content_type=b"application/json" + hostile,
        trace_id=hostile,
        override=hostile,
        caller=text,
        peer=text,
    )
    for policy in (SAFE, LOW, STRICT):
        same(policy, request)
        same(policy, msgspec.structs.replace(request, content_type=b"", body=hostile))
        parse(Gate(policy).refuse(request, "malformed_request", text).records[0])


def test_a_pretty_printed_payload_is_one_line() -> None:
    body = json.dumps({"a": [1, 2], "b": EMAIL.decode()}, indent=2).encode()
    record = same(SAFE, ask(body))["records"][0]
    assert record["payload"][1:] in (
        [("a", [1, 2]), ("b", "[EMAIL_REDACTED]")],
        [["a", [1, 2]], ["b", "[EMAIL_REDACTED]"]],
    )


def test_a_found_number_becomes_a_string() -> None:
    record = same(SAFE, ask(b"[%b]" % CARD))["records"][0]
    assert record["payload"] == ["[CREDIT_CARD_REDACTED]"]


@pytest.mark.parametrize("value", [CARD, SSN, EMAIL, b"\\u0034111111111111111", "é€😀".encode()])
def test_a_payload_is_cut_without_splitting_a_value(value: bytes) -> None:
    macs = set()
    for limit in range(1, 60):
        policy = msgspec.structs.replace(SAFE, record_body_bytes=limit)
        body = b'{"a":"text %b","b":"%b"}' % (value, b"." * 100)
        record = same(policy, ask(body))["records"][0]
        assert len(record["payload"].encode()) <= limit
        assert "payload_encoding" not in record
        assert record["payload_bytes"] == len(body)
        macs.add(record["payload_mac"])
        if value[:1] in b"4\\1":
            assert "411" not in record["payload"]
            assert "123-" not in record["payload"]
        if value == EMAIL:
            assert "alice" not in record["payload"]
    assert len(macs) == 1


def test_what_is_not_text_is_base64() -> None:
    record = same(SAFE, ask(b"\x89PNG\xff", target=b"/proxy/x", content_type=b"image/png"))
    assert record["records"][0]["payload"] == "iVBOR/8="
    assert record["records"][0]["payload_encoding"] == "base64"


def test_c11_a_nul_in_a_key_gives_one_intact_record() -> None:
    record = same(SAFE, ask(b'{"\\u0000":"\\u0000"}'))["records"][0]
    assert tuple(record["payload"][1]) == ("\0", "\0")


def nest(value: str, levels: int) -> str:
    for _ in range(levels):
        value = json.dumps({"a": value})
    return value


@pytest.mark.parametrize("levels", range(4))
def test_a_number_in_nested_json_leaves_json_at_every_level(levels: int) -> None:
    body = nest(f'{{"n":{CARD.decode()},"m":1}}', levels).encode()
    record = same(SAFE, ask(body))["records"][0]
    value = record["payload"]
    for _ in range(levels):
        value = json.loads(tuple(value[1])[1])
        value = ["object", *value.items()]
    assert dict(value[1:]) == {"n": "[CREDIT_CARD_REDACTED]", "m": 1}
    settle(SAFE, [body])
