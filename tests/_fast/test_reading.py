"""How a target and a body are read."""

from __future__ import annotations

import pytest

from iatp.values.exchange import Request
from tests._fast.gates import CARD, SAFE, STRICT, ask, same


@pytest.mark.parametrize(
    "target",
    [
        b"/proxy/" + CARD,
        b"/proxy?card=" + CARD,
        b"/proxy/x?card=4111%201111%201111%201111",
        b"/proxy?%34111111111111111",
    ],
)
def test_b16_the_target_counts_like_the_body(target: bytes) -> None:
    found = same(STRICT, ask(target=target))
    assert found["code"] == "credit_card_retention"
    assert "[CREDIT_CARD_REDACTED]" in found["records"][0]["path"]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (ask(b""), "invalid_json"),
        (ask(b"", content_type=b""), "invalid_json"),
        (ask(b"{}", content_type=b"text/plain"), None),
        (ask(b"hello", content_type=b"text/plain"), "invalid_json"),
        (ask(b"a=1", target=b"/proxy?x=1", content_type=b"text/plain"), "invalid_json"),
        (ask(b"a=1", target=b"/proxy/x", content_type=b"text/plain"), None),
        (ask(b"a=1", target=b"/proxyx", content_type=b"text/plain"), None),
        (ask(b"", target=b"/proxy/x"), None),
        (ask(b"", target=b"/proxy/x", method="GET", content_type=b""), None),
        (ask(b"{", target=b"/proxy/x"), "invalid_json"),
        (ask(b"{", target=b"/proxy/x", content_type=b"Text/JSON ; a=b"), "invalid_json"),
        (ask(b"{", target=b"/proxy/x", content_type=b"application/a+json"), "invalid_json"),
        (ask(b"{", target=b"/proxy/x", content_type=b"application/jsonx"), None),
        (ask(b"\xef\xbb\xbf{}"), "invalid_json"),
        (ask('{"a":1}'.encode("utf-16")), "invalid_json"),
        (ask(b'"\xff"'), "invalid_json"),
        (ask(b"[1,]"), "invalid_json"),
        (ask(b"[" * 129 + b"]" * 129), "invalid_json"),
        (ask(b"[" * 128 + b"]" * 128), None),
        (ask(b"[1e400]"), "invalid_json"),
        (ask(b" " * 10_001), "body_too_large"),
        (ask(b" " * 9_998 + b"{}"), None),
    ],
)
def test_what_is_refused_as_json(request_: Request, code: str | None) -> None:
    found = same(SAFE, request_)
    assert found.get("code") == code
    if code is not None:
        assert [record["type"] for record in found["records"]] == ["error"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16", "utf-32"])
def test_wide_text_hides_nothing(encoding: str) -> None:
    body = f"card {CARD.decode()}!".encode(encoding)
    found = same(STRICT, ask(body, target=b"/proxy/x", content_type=b"text/plain"))
    assert found["code"] == "credit_card_retention"
    record = found["records"][0]
    assert "CREDIT_CARD_REDACTED" in str(record["payload"]) or "payload_encoding" in record


@pytest.mark.parametrize("content_type", [b"", b"text/plain", b"application/x-www-form-urlencoded"])
@pytest.mark.parametrize(
    "body",
    [
        b'{"a":"\\u0034111111111111111"}',
        b'{"a":"\\u0034111111111111111"} and more',
        b'["4111111111111111"]',
        b'data: {"a":"\\u0034111111111111111"}\n\n',
        b'--b\r\nContent-Type: application/json\r\n\r\n{"a":"\\u0034111111111111111"}\r\n--b--',
        b"card=4111+1111+1111+1111",
        b"card=4111 1111 1111 1111",
    ],
)
def test_json_is_found_whatever_the_content_type_says(content_type: bytes, body: bytes) -> None:
    if b"+" in body and content_type != b"application/x-www-form-urlencoded":
        return
    found = same(STRICT, ask(body, target=b"/proxy/x", content_type=content_type))
    assert found["code"] == "credit_card_retention"
    assert found["findings"][0] == (0, 1)
