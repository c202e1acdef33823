"""Two other readers of HTTP/1.1, to hold iatp/_fast/http.pyx against: h11 and llhttp.

Each returns the first message of some bytes, or None where they don't hold a whole one.
Raises: RefusedError where the bytes are none.
"""

from __future__ import annotations

from typing import Any

import h11
import httptools
import msgspec

LIMIT = 1 << 20
"""For h11, which by default refuses a head over 16 KiB; ours is 60 KiB."""


class RefusedError(Exception):
    """It is not HTTP to this reader."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What was read; of a request `status` is 0, of an answer `method` and `target` are empty."""

    method: bytes = b""
    target: bytes = b""
    status: int = 0
    minor: int
    headers: list[tuple[bytes, bytes]]
    """Without space around values; trailers are left out."""
    body: bytes
    ends: bool
    """Whether the end of the message was seen; else only the end of the connection is its end."""
    behind: bytes = b""
    """What h11 left unread; llhttp does not say."""


def h11_request(data: bytes) -> Message | None:
    return _h11(h11.Connection(h11.SERVER, max_incomplete_event_size=LIMIT), data)


def h11_answer(data: bytes, method: bytes = b"POST") -> Message | None:
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=LIMIT)
    parser.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"a")]))
    parser.send(h11.EndOfMessage())
    return _h11(parser, data)


def _h11(parser: h11.Connection, data: bytes) -> Message | None:
    head: h11.Request | h11.Response | h11.InformationalResponse | None = None
    body = bytearray()
    ends = False
    try:
        parser.receive_data(data)
        while not ends:
            event = parser.next_event()
            if isinstance(event, h11.Request | h11.Response):
                head = event
            elif isinstance(event, h11.InformationalResponse):
                head = event
                ends = True
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                ends = True
            else:
                break
    except h11.RemoteProtocolError as error:
        raise RefusedError(str(error)) from None
    if head is None:
        return None
    request = isinstance(head, h11.Request)
    return Message(
        method=head.method if isinstance(head, h11.Request) else b"",
        target=head.target if isinstance(head, h11.Request) else b"",
        status=0 if isinstance(head, h11.Request) else head.status_code,
        minor=int(head.http_version[2:]),
        headers=list(head.headers.raw_items()),
        body=bytes(body),
        ends=ends,
        behind=parser.trailing_data[0] if request or ends else b"",
    )


class _Callbacks:
    """What httptools tells of the first message."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = bytearray()
        self.complete = 0
        self.headed = False

    def on_url(self, url: bytes) -> None:
        if not self.complete:
            self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.headed:
            self.headers.append((name, value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.headed = True

    def on_body(self, body: bytes) -> None:
        if not self.complete:
            self.body += body

    def on_message_complete(self) -> None:
        self.complete += 1


def llhttp_request(data: bytes) -> Message | None:
    seen = _Callbacks()
    return _llhttp(httptools.HttpRequestParser(seen), seen, data)


def llhttp_answer(data: bytes) -> Message | None:
    seen = _Callbacks()
    return _llhttp(httptools.HttpResponseParser(seen), seen, data)


def _llhttp(parser: Any, seen: _Callbacks, data: bytes) -> Message | None:
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        # Not a refusal: it stops behind a message that asks for another protocol.
        pass
    except httptools.HttpParserError as error:
        if not seen.complete:
            raise RefusedError(str(error)) from None
    if not seen.headed:
        return None
    request = isinstance(parser, httptools.HttpRequestParser)
    return Message(
        method=parser.get_method() if request else b"",
        target=seen.url,
        status=0 if request else parser.get_status_code(),
        minor=int(parser.get_http_version()[2:]),
        headers=seen.headers,
        body=bytes(seen.body),
        ends=seen.complete > 0,
    )


def requests_of_llhttp(data: bytes) -> int:
    """How many whole requests llhttp reads in all of `data`."""
    seen = _Callbacks()
    try:
        httptools.HttpRequestParser(seen).feed_data(data)
    except httptools.HttpParserError as error:
        raise RefusedError(str(error)) from None
    return seen.complete
