"""Charsets and content codings of requests, as the gate takes them."""

from __future__ import annotations

import gzip
import time
import zlib
from typing import Any

import msgspec
import pytest

from iatp._fast.gate import Gate
from tests._fast.gates import PLAIN, SAFE, STRICT, ask, same


@pytest.mark.parametrize(
    ("content_type", "code"),
    [
        (b"application/json; charset=utf-8", None),
        (b"application/json; Charset=UTF8", None),
        (b'application/json;charset="us-ascii"', None),
        (b"application/json; charset=ISO-8859-1", "unsupported_charset"),
        (b"application/json; charset=utf-16", "unsupported_charset"),
        (b"text/plain; charset=utf-7", "unsupported_charset"),
        (b"text/plain; charset=", "unsupported_charset"),
        (b"text/plain; charset*=utf-16''x", "unsupported_charset"),
        (b"text/plain; charset =utf-16", "unsupported_charset"),
        (b"text/plain; charset=utf-8; charset=utf-16", "unsupported_charset"),
        (b"text/plain; charset=utf-8; charset=utf-8", None),
        (b"text/plain; charsetcharset=utf-8", "unsupported_charset"),
        (b"text/plain; charset=utf-8charset=utf-8", "unsupported_charset"),
        (b"text/plain; charset", "unsupported_charset"),
        (b"text/plain; charset=utf-8; charset=latin1", "unsupported_charset"),
        (b'text/plain; x=";charset=utf-16"', "unsupported_charset"),
        (b"text/plain; charset=iso-8859-1", None),
        (b"text/plain; charset=\xff", "unsupported_charset"),
        (b"text/plain; charset=utf-8\xff", "unsupported_charset"),
    ],
)
def test_b15_charsets(content_type: bytes, code: str | None) -> None:
    request = ask(b"{}", target=b"/proxy/x", content_type=content_type)
    assert same(SAFE, request).get("code") == code
    early = Gate(SAFE).admit_head(request)
    assert (early.code if early else None) == code


def test_latin_text_is_read_as_the_agent_reads_it() -> None:
    content_type = b"text/plain; charset=windows-1252"
    dashes = b"\x96".join([b"4111", b"1111", b"1111", b"1111"])
    found = same(STRICT, ask(dashes, target=b"/proxy/x", content_type=content_type))
    assert found["code"] == "credit_card_retention"
    found = same(SAFE, ask(b"caf\xe9 \x81", target=b"/proxy/x", content_type=content_type))
    assert found["records"][0]["payload"] == "café \x81"


def raw_deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(data) + deflater.flush()


CODED = [
    (b"gzip", gzip.compress(PLAIN)),
    (b" GZIP\t", gzip.compress(PLAIN)),
    (b"gzip", gzip.compress(PLAIN[:9]) + gzip.compress(b"") + gzip.compress(PLAIN[9:])),
    (b"deflate", zlib.compress(PLAIN)),
    (b"deflate", raw_deflate(PLAIN)),
    (b"identity", PLAIN),
    (b"", PLAIN),
]


@pytest.mark.parametrize(("coding", "body"), CODED)
def test_coded_bodies_are_read(coding: bytes, body: bytes) -> None:
    request = ask(body, content_encoding=coding)
    assert same(STRICT, request)["status"] == 403
    found = same(SAFE, request)
    assert found["records"][0]["payload"] == ["object", ["card", "[CREDIT_CARD_REDACTED]"]] or (
        found["records"][0]["payload"] == ["object", ("card", "[CREDIT_CARD_REDACTED]")]
    )
    assert found["records"][0]["payload_bytes"] == len(PLAIN)


@pytest.mark.parametrize(("coding", "body"), [row for row in CODED if row[1] != PLAIN])
def test_broken_codings_are_refused(coding: bytes, body: bytes) -> None:
    for broken in (body[:-1], body[:5], body + b"x", body + b"\0" * 8, b"x" + body, PLAIN):
        found = same(SAFE, ask(broken, content_encoding=coding))
        assert found["code"] in ("malformed_coding", "invalid_json"), broken


@pytest.mark.parametrize(
    "coding", [b"br", b"gzip, gzip", b"gzip,identity", b"zstd", b"x-gzip", b"\xff", b"compress"]
)
def test_other_codings_are_415(coding: bytes) -> None:
    request = ask(content_encoding=coding)
    assert same(SAFE, request)["status"] == 415
    early = Gate(SAFE).admit_head(request)
    assert early is not None
    assert early.code == "unsupported_coding"


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, raw_deflate])
def test_a_decoded_body_over_the_limit_is_413(pack: Any) -> None:
    coding = b"gzip" if pack is gzip.compress else b"deflate"
    fits = b" " * 9_998 + b"{}"
    assert "status" not in same(SAFE, ask(pack(fits), content_encoding=coding))
    for size in (9_999, 5_000_000):
        over = pack(b" " * size + b"{}")
        assert same(SAFE, ask(over, content_encoding=coding))["status"] == 413
    members = pack(b" " * 6_000) + pack(b" " * 6_000)
    if coding == b"gzip":
        assert same(SAFE, ask(members, content_encoding=coding))["status"] == 413


def test_many_members_cost_little() -> None:
    part = gzip.compress(b"")
    assert "status" not in same(
        SAFE, ask(part * 400 + gzip.compress(b"{}"), content_encoding=b"gzip")
    )
    policy = msgspec.structs.replace(SAFE, max_body_bytes=10_000_000)
    request = ask(part * 400_000, content_encoding=b"gzip")
    start = time.perf_counter()
    assert same(policy, request)["code"] == "malformed_coding"
    assert time.perf_counter() - start < 5


def test_a_hostile_content_type_costs_little() -> None:
    request = ask(content_type=b"text/plain;" + b"charset" * 4_000 + b";charset" * 4_000)
    start = time.perf_counter()
    assert same(SAFE, request)["status"] == 415
    assert time.perf_counter() - start < 1


def test_an_empty_coded_body_is_empty() -> None:
    request = ask(b"", method="GET", target=b"/proxy/x", content_encoding=b"gzip")
    assert same(SAFE, request)["records"][0]["payload"] is None
