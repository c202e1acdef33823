"""What a head says of a body, and the body without it, in plain Python."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator

LATIN = {"iso-8859-1", "iso8859-1", "latin-1", "latin1", "windows-1252", "cp1252"}
ASCII = {"utf-8", "utf8", "us-ascii", "ascii"}


class RefusedError(Exception):
    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code)
        self.code, self.detail = code, detail


def media(content_type: bytes) -> tuple[bool, bool, str]:
    """Return whether it is JSON, whether a form, and "utf-8", "latin" or "unreadable"."""
    text = content_type.decode("latin-1")
    kind = text.split(";")[0].strip(" \t\n\r\x0b\x0c").lower()
    is_json = kind in ("application/json", "text/json") or bool(
        re.fullmatch(r"application/.*\+json", kind, re.DOTALL)
    )
    is_form = kind == "application/x-www-form-urlencoded"
    names = []
    for parameter in text.lower().split(";")[1:]:
        if match := re.search("charset(.*)", parameter, re.DOTALL):
            suffix, _, name = match[1].partition("=")
            names.append((suffix.strip(" \t\n\r\x0b\x0c"), name.strip(" \t\"'")))
    if any(suffix or name not in LATIN | ASCII for suffix, name in names):
        return is_json, is_form, "unreadable"
    kinds = {name in LATIN for _, name in names}
    if len(kinds) == 2 or (kinds == {True} and is_json):
        return is_json, is_form, "unreadable"
    return is_json, is_form, "latin" if kinds == {True} else "utf-8"


def coding(value: bytes) -> str:
    name = value.strip().lower()
    if name in (b"", b"identity"):
        return ""
    if name in (b"gzip", b"deflate"):
        return name.decode()
    raise RefusedError("unsupported_coding")


def window_bits(data: bytes, name: str) -> int:
    if name == "gzip":
        return 31
    is_zlib = len(data) > 1 and data[0] % 16 == 8 and int.from_bytes(data[:2], "big") % 31 == 0
    return 15 if is_zlib else -15


def inflated(data: bytes, name: str) -> Iterator[bytes]:
    """Yield what each byte brings to light."""
    inflater = None
    members = 0
    for at in range(len(data)):
        if inflater is None or inflater.eof:
            members += 1
            if members > (1000 if name == "gzip" else 1):
                raise RefusedError("malformed_coding")
            inflater = zlib.decompressobj(window_bits(data[at:], name))
        try:
            yield inflater.decompress(data[at : at + 1])
        except zlib.error:
            raise RefusedError("malformed_coding") from None


def beginning(data: bytes, name: str, most: int) -> tuple[bytes, bool]:
    """Return at most so many decoded bytes, and whether that is all and nothing is cut off."""
    out = b""
    ended = False
    while data and len(out) < most:
        inflater = zlib.decompressobj(window_bits(data, name))
        try:
            out += inflater.decompress(data, most - len(out))
        except zlib.error:
            raise RefusedError("malformed_coding") from None
        ended = inflater.eof
        data = inflater.unused_data
        if not ended:
            break
        if data and name == "deflate" and len(out) < most:
            raise RefusedError("malformed_coding")
    return out, ended and not data


def decoded(data: bytes, name: str, limit: int) -> bytes:
    out = b""
    members = 0
    while data:
        members += 1
        if members > 1000:
            raise RefusedError("malformed_coding")
        inflater = zlib.decompressobj(window_bits(data, name))
        try:
            out += inflater.decompress(data, limit + 1 - len(out))
        except zlib.error:
            raise RefusedError("malformed_coding") from None
        if len(out) > limit:
            raise RefusedError("body_too_large")
        if not inflater.eof or (inflater.unused_data and name == "deflate"):
            raise RefusedError("malformed_coding")
        data = inflater.unused_data
    return out


def from_latin(data: bytes) -> bytes:
    holes = b"\x81\x8d\x8f\x90\x9d"
    return "".join(
        chr(byte) if byte in holes else bytes([byte]).decode("cp1252") for byte in data
    ).encode()


def is_stream(content_type: bytes) -> bool:
    kind = content_type.split(b";")[0].strip().lower()
    return bool(
        re.fullmatch(rb"text/event-stream|application/((x-)?ndjson|jsonl|x-jsonlines)", kind)
    )
