"""The one reader of HTTP: case by case, and against h11 and llhttp on generated messages.

What the door or the upstream accepts, both others must accept and read alike. The reverse is
not asked for: much of what they take is refused here on purpose.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from iatp._fast.http import leaves_base, parse_answer, parse_chunks, parse_request, refused_early
from tests._fast import oracles
from tests._fast.grammar import SMUGGLED, Grammar, exact
from tests._fast.oracles import Message, RefusedError

HOST = b"Host: a\r\n"


def request(*lines: bytes, start: bytes = b"POST /proxy HTTP/1.1", host: bytes = HOST) -> bytes:
    return start + b"\r\n" + host + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def answer(*lines: bytes, start: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return start + b"\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def trouble(read: Callable[[bytes], object], head: bytes) -> str:
    """What is wrong with a head; empty where nothing is. It is read from a buffer that ends
    where the head does, so that the address sanitizer sees a byte too many."""
    try:
        read(exact(head))  # type: ignore[arg-type]
    except ValueError as error:
        return str(error)
    return ""


# Heads of requests.


def test_a_head_is_read() -> None:
    head = request(b"Content-Length: 7", b"X-A:  two  spaces\tand \xe9 ", b"x-empty:")
    assert parse_request(head) == {
        "method": b"POST",
        "target": b"/proxy",
        "minor": 1,
        "fields": [
            (b"Host", b"a"),
            (b"Content-Length", b"7"),
            (b"X-A", b"two  spaces\tand \xe9"),
            (b"x-empty", b""),
        ],
        "content_length": 7,
        "chunked": False,
        "close": False,
        "expect_continue": False,
    }


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        (b"Transfer-Encoding: chunked", "chunked", True),
        (b"transfer-ENCODING:\t ChUnKeD  ", "chunked", True),
        (b"Content-Length: 0000000010", "content_length", 10),
        (b"Content-Length: 999999999999999999", "content_length", 10**18 - 1),
        (b"Connection: keep-alive, CLOSE", "close", True),
        (b"Expect: 100-Continue", "expect_continue", True),
    ],
)
def test_what_a_field_says(line: bytes, name: str, value: object) -> None:
    assert parse_request(request(line))[name] == value


REFUSED: list[tuple[str, bytes]] = [
    *[
        ("malformed", request(b"Content-Length: " + value))
        for value in (
            *(b"+2", b"-2", b"1_0", b"0x2", b"2 2", b"\x0b2", b"2,", b"1Z", b"", b"\xd9\xa2"),
            *(b"2, 2", b"2.0", b"1e1", b'"2"', b"9" * 19, b"0" * 19, b"2\x00", b"\xa02"),
        )
    ],
    ("malformed", request(b"Content-Length: 1", b"Content-Length: 2")),
    ("malformed", request(b"Content-Length: 2", b"content-length: 2")),
    ("malformed", request(b"Content-Length: 2", b"Transfer-Encoding: chunked")),
    ("malformed", request(b"Transfer-Encoding: chunked", b"Content-Length: 2")),
    ("malformed", request(b"Transfer-Encoding: chunked", b"transfer-encoding: chunked")),
    ("malformed", request(b"Transfer-Encoding:", b"Content-Length: 2")),
    ("malformed", request(b"Transfer-Encoding: chunked", start=b"POST /proxy HTTP/1.0")),
    *[
        ("not_implemented", request(b"Transfer-Encoding: " + value))
        for value in (
            *(b"xchunked", b"\xa0chunked", b'"chunked"', b"chunked;x=1", b"chunkedchunked", b""),
            *(b"chunked, identity", b"gzip, chunked", b"gzip", b"identity", b",chunked"),
            *(b"chunked,", b"chunked\t", b"chunked \t", b"chunked\t "),
        )
    ],
    ("malformed", request(b"Transfer-Encoding: \x0bchunked")),
    ("malformed", request(b"Transfer-Encoding : chunked")),
    *[
        ("malformed", request(line))
        for line in (
            *(
                b": x",
                b"Foo",
                b"F@o: x",
                b" X: a",
                b"\tX: a",
                b"\xefX: y",
                b"X\x00: y",
                b"X: a\r\n b",
            ),
            *(
                b"X: a\nb",
                b"X: a\rb",
                b"X: a\r",
                b"X: \x00",
                b"X: \x01",
                b"X: \x7f",
                b"X: \x1b[2J",
            ),
            *(b"X: y\nContent-Length: 24", b"Content-Length\x85: 2", b"X\t: a", b"X (a): b", b"X"),
        )
    ],
    *[
        ("malformed", request(host=b"Host: " + value + b"\r\n"))
        for value in (
            *(b"", b"a/b@c", b"a b", b"a,b", b"a@b", b"a?b", b"a#b", b"a\\b", b"\xe9", b"a:b:c"),
            *(b"[", b"[]", b"[::1", b"[::1]x", b"[g::1]", b":80", b"a:b", b"a:-1", b"a:123456"),
            *(b"%", b"%2", b"%zz", b"a" * 256, b"http://a", b"a;b", b"a'b", b"a[b]"),
        )
    ],
    ("malformed", request(host=b"")),
    ("malformed", request(host=HOST + HOST)),
    ("malformed", request(host=HOST + b"hOST: a\r\n")),
    *[
        ("malformed", request(start=line))
        for line in (
            *(b"GET /health", b"GET  /a HTTP/1.1", b"GET /a  HTTP/1.1", b" GET /a HTTP/1.1"),
            *(
                b"GET\t/a\tHTTP/1.1",
                b"GET /a b HTTP/1.1",
                b"GET /a#x HTTP/1.1",
            ),
            *(
                b"GET /\x00 HTTP/1.1",
                b"GET /\xff HTTP/1.1",
                b"GET /\x7f HTTP/1.1",
                b"GET /a http/1.1",
            ),
            *(b"GET * HTTP/1.1", b"OPTIONS * HTTP/1.1", b"GET a:80 HTTP/1.1", b"GET /a HTTP /1.1"),
            *(
                b"CONNECT a:80 HTTP/1.1",
                b"GET http://a/ HTTP/1.1",
                b"PRI * HTTP/2.0",
                b"GET HTTP/1.1",
            ),
            *(b"G\x00T /a HTTP/1.1", b"G(T /a HTTP/1.1", b"/a HTTP/1.1", b"GET /a HTTPS/1.1", b""),
            *(b"GET /a\rHTTP/1.1", b"GET /a XTTP/1.1", b"GET /a\nHTTP/1.1", b"GET ? HTTP/1.1"),
        )
    ],
    *[
        ("bad_version", request(start=b"GET /a " + version))
        for version in (
            *(
                b"HTTP/2.0",
                b"HTTP/1.2",
                b"HTTP/4294967295.255",
                b"HTTP/1.10",
                b"HTTP/01.1",
                b"HTTP/1",
            ),
            *(b"HTTP/0.9", b"HTTP/1.1 ", b"HTTP/1,1", b"HTTP/11", b"HTTP/1.\xb1", b"HTTP/"),
        )
    ],
    *[
        ("not_implemented", request(start=method + b" /a HTTP/1.1"))
        for method in (b"get", b"CONNECT", b"TRACE", b"X", b"POSTS", b"M-SEARC", b"X" * 33)
    ],
    ("bad_expectation", request(b"Expect: a-miracle")),
    ("bad_expectation", request(b"Expect: 100-continue, x")),
    ("bad_expectation", request(b"Expect:")),
    ("malformed", request(b"Expect: 100-continue", b"expect: 100-continue")),
    *[
        ("malformed", request(b"Connection: " + name, b"Content-Length: 2", b"Authorization: x"))
        for name in (
            b"Content-Length",
            b"x, host",
            b"authorization",
            b"a b",
            b'"close"',
            b"close;x",
        )
    ],
    ("malformed", request(b"Connection: Transfer-Encoding", b"Transfer-Encoding: chunked")),
    ("uri_too_long", request(start=b"GET /" + b"a" * 8179 + b" HTTP/1.1")),
    ("head_too_large", request(*[b"X: 1"] * 100)),
    ("head_too_large", request(b"X: " + b"y" * 61440)),
    ("incomplete", request() + b"x"),
    ("incomplete", request()[:-1]),
    ("incomplete", b""),
    ("incomplete", request().replace(b"\r\n", b"\n")),
]


@pytest.mark.parametrize(("said", "head"), REFUSED, ids=[repr(row[1][:60]) for row in REFUSED])
def test_a_head_that_is_refused(said: str, head: bytes) -> None:
    assert trouble(parse_request, head) == said


@pytest.mark.parametrize(
    "head",
    [
        request(start=b"GET /" + b"a" * 8178 + b" HTTP/1.1"),
        request(*[b"X: 1"] * 99),
        request(b"X: " + b"y" * (61440 - len(request(b"X: ")))),
        request(host=b"", start=b"GET / HTTP/1.0"),
        request(b"Expect: a-miracle", start=b"GET / HTTP/1.0"),
        request(host=b"Host: [::ffff:1.2.3.4]:65535\r\n"),
        request(host=b"host:\ta%2db_c~d.e: \r\n"),
        *[
            request(start=method + b" /a HTTP/1.1")
            for method in (b"GET", b"M-SEARCH", b"ACL", b"UNSUBSCRIBE")
        ],
    ],
    ids=len,
)
def test_a_head_at_the_limit_passes_whole_and_in_pieces(head: bytes) -> None:
    assert trouble(parse_request, head) == ""
    for step in (1, 7, 4096):
        assert refused_early(exact(head), False, step) == ("", len(head))


def test_every_byte_of_names_and_values() -> None:
    token = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    for number in range(256):
        byte = bytes([number])
        if byte != b":":
            said = trouble(parse_request, request(b"X" + byte + b"y: 1"))
            assert said == ("" if byte in token else "malformed"), byte
        allowed = number == 9 or 0x20 <= number <= 0x7E or number >= 0x80
        for read, head in (
            (parse_request, request(b"X: a" + byte + b"b")),
            (parse_answer, answer(b"X: a" + byte + b"b")),
            (parse_answer, answer(start=b"HTTP/1.1 200 a" + byte + b"b")),
        ):
            assert trouble(read, head) == ("" if allowed else "malformed"), (byte, head)
        # Values are read eight bytes at a time: so in each place, behind others and a tab.
        for before in range(1, 18):
            head = request(b"X: " + b"\xff" * before + b"\t~" + byte + b" " * 9 + b"b")
            assert trouble(parse_request, head) == ("" if allowed else "malformed"), (byte, head)
        allowed = 0x21 <= number <= 0x7E and byte != b"#"
        said = trouble(parse_request, request(start=b"GET /a" + byte + b"b HTTP/1.1"))
        assert (said == "") == allowed, byte


@pytest.mark.parametrize(
    ("said", "begun"),
    [
        ("malformed", b"\x16"),
        ("malformed", b"GET /health\r\n"),
        ("malformed", b"GET a"),
        ("malformed", b"GET h"),
        ("malformed", b"PRI *"),
        ("malformed", b" "),
        ("malformed", b"\n"),
        ("malformed", b"\r"),
        ("malformed", b"GET / HTTP/1.1\n"),
        ("malformed", b"GET / HTTP/1.1\r\nX: 1\n"),
        ("malformed", b"\x00"),
        ("not_implemented", b"X" * 33),
        ("uri_too_long", b"GET /" + b"a" * 8189),
        ("head_too_large", request(b"X: " + b"y" * 62000)[:61440]),
    ],
)
def test_what_can_never_become_a_request_is_refused_at_once(said: str, begun: bytes) -> None:
    assert refused_early(exact(begun), False) == (said, len(begun))
    assert refused_early(exact(begun), False, len(begun)) == (said, len(begun))
    assert refused_early(begun[:-1], False) == ("", 0)


def test_a_name_that_gateways_confuse_with_a_known_one_reads_as_it_stands() -> None:
    """It frames nothing; that it isn't passed on is shown in tests/e2e/test_wire.py."""
    head = request(b"Content_Length: 5", b"Transfer_Encoding: chunked", b"Content_Length: 6")
    read = parse_request(head)
    assert (read["content_length"], read["chunked"]) == (None, False)


# Heads of answers.

ANSWERS_REFUSED = [
    *[
        answer(start=line)
        for line in (
            *(
                b"HTTP/1.1 99 x",
                b"HTTP/1.1 099 x",
                b"HTTP/1.1 600 x",
                b"HTTP/1.1 1000 x",
                b"HTTP/1.1",
            ),
            *(
                b"HTTP/1.1 2 0 x",
                b"HTTP/1.1  200 x",
                b"HTTP/1.1 +20 x",
                b"HTTP/1.1 200x",
                b"HTTP/1.1 ",
            ),
            *(
                b"HTTP/2.0 200 x",
                b"HTTP/2 200",
                b"HTTP/1.2 200 x",
                b"http/1.1 200 x",
                b"HTTP/0.9 200 x",
            ),
            *(b"ICY 200 OK", b" HTTP/1.1 200 x", b"HTTP/1.1\t200\tx", b"HTTP/1.1 200\tx", b"hello"),
            *(
                b"HTTP/1.1 200 a\x00",
                b"HTTP/1.1 200 a\rb",
                b"HTTP/1.1 200 a\nb",
                b"HTTP/1.1 200 \x1b[2J",
            ),
            *(b"PRI * HTTP/2.0", b"SSH-2.0-OpenSSH_9.9", b"\x15\x03\x01\x00\x02\x02\x46", b""),
            *(b"HTTP/1.1 \xb2\xb0\xb0 x", b"HTTP/1.1 200 " + b"x" * 9000),
        )
    ],
    answer(b"Content-Length: 2", b"Content-Length: 3"),
    answer(b"Content-Length: 2", b"content-length: 2"),
    answer(b"Content-Length: 2", b"Transfer-Encoding: chunked"),
    answer(b"Content-Length: 2, 2"),
    answer(b"Content-Length: +2"),
    answer(b"Content-Length:"),
    answer(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    answer(b"Transfer-Encoding: gzip, chunked"),
    answer(b"Transfer-Encoding: identity"),
    answer(b"Transfer-Encoding: chunked\t"),
    answer(b"Transfer-Encoding: chunked", start=b"HTTP/1.0 200 OK"),
    answer(b"Connection: Content-Length", b"Content-Length: 2"),
    answer(b"X: a\r\n b"),
    answer(b"X: a\nSet-Cookie: b"),
    answer(b"X : a"),
    answer(b" X: a"),
    answer(b"Content-Length: 1", start=b"HTTP/1.1 103 Early Hints"),
    answer(b"Transfer-Encoding: chunked", start=b"HTTP/1.1 100 Continue"),
]


@pytest.mark.parametrize("head", ANSWERS_REFUSED, ids=[repr(head[:60]) for head in ANSWERS_REFUSED])
def test_a_head_of_an_answer_that_is_refused(head: bytes) -> None:
    assert trouble(parse_answer, head) in ("malformed", "not_implemented", "bad_version")


@pytest.mark.parametrize(
    ("start", "status", "reason"),
    [
        (b"HTTP/1.1 200 OK", 200, b"OK"),
        (b"HTTP/1.1 200 ", 200, b""),
        (b"HTTP/1.1 200", 200, b""),
        (b"HTTP/1.0 599 a b\tc \xe9", 599, b"a b\tc \xe9"),
        (b"HTTP/1.1 100 Continue", 100, b"Continue"),
    ],
)
def test_a_status_line(start: bytes, status: int, reason: bytes) -> None:
    read = parse_answer(exact(answer(b"X: 1", b"X: 2", start=start)))
    assert (read["status"], read["reason"]) == (status, reason)
    assert read["fields"] == [(b"X", b"1"), (b"X", b"2")]


@pytest.mark.parametrize(
    "begun",
    [
        b"h",
        b"\x15",
        b"HTTP/2",
        b"HTTP/1.1 200 OK\n",
        b"HTTP/1.1 200 OK\r\nX: 1\n",
        b"HTTP/1.1 200 OK\r\nX: 1\r\n\n",
    ],
)
def test_what_can_never_become_an_answer_is_refused_at_once(begun: bytes) -> None:
    for step in (1, len(begun)):
        assert refused_early(exact(begun), True, step) == ("malformed", len(begun))


# Chunks.


@pytest.mark.parametrize(
    ("stream", "content"),
    [
        (b"0\r\n\r\n", b""),
        (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"3;a;b=c\r\nabc\r\n00A\r\n0123456789\r\n0;x\r\nX-Sum: 1\r\nY:\r\n\r\n", b"abc0123456789"),
        (b"0000000000000001\r\na\r\n0\r\n\r\n", b"a"),
        (b"a\r\n" + b"\r\n" * 5 + b"\r\n0\r\n\r\n", b"\r\n" * 5),
        (b"0\r\n" + b"X: 1\r\n" * 100 + b"\r\n", b""),
        (b"0\r\nContent-Lengths: 5\r\nTransfer-Encodin: x\r\nTontent-Length: 1\r\n\r\n", b""),
    ],
)
def test_chunks(stream: bytes, content: bytes) -> None:
    for step in (0, 1, 2, 5):
        assert parse_chunks(exact(stream + b"POST"), step) == ("done", content, len(stream))
    for end in range(len(stream)):
        state, begun, used = parse_chunks(exact(stream[:end]))
        assert (state, used) == ("more", end)
        assert content.startswith(begun)


@pytest.mark.parametrize(
    ("state", "stream"),
    [
        *[
            ("broken", size + b"\r\na\r\n0\r\n\r\n")
            for size in (
                *(b"-1", b"+1", b"0x1", b"0_1", b" 1", b"1 ", b"\xef\xbc\x91", b"", b"g", b"1\t"),
                *(b"100000000000000001", b"0" * 17, b"f" * 16, b"4" + b"0" * 15, b"1\x00", b"1,1"),
                *(b"1;", b"1; a", b"1 ;a", b"1;a=", b'1;a="b"', b"1;a b", b"1;\x00", b"1;a=b=c"),
            )
        ],
        ("broken", b"1\na\r\n0\r\n\r\n"),
        ("broken", b"1\r\na\n0\r\n\r\n"),
        ("broken", b"1\r\nab\r\n0\r\n\r\n"),
        ("broken", b"1\r\na0\r\n\r\n"),
        ("broken", b"1\r\ra\r\n"),
        ("broken", b"1;a\nb\r\na\r\n"),
        ("broken", b"0\r\n\n"),
        ("broken", b"0\r\n\r\r\n"),
        ("broken", b"0\r\nX\r\n\r\n"),
        ("broken", b"0\r\n X: 1\r\n\r\n"),
        ("broken", b"0\r\nX: a\r\n b\r\n\r\n"),
        ("broken", b"0\r\nX: \x00\r\n\r\n"),
        ("broken", b"0\r\nX : 1\r\n\r\n"),
        ("broken", b"0\r\n: 1\r\n\r\n"),
        ("broken", b"0\r\nX: 1\n\r\n"),
        ("broken", b"0\r\nContent-Length: 5\r\n\r\n"),
        ("broken", b"0\r\nX: 1\r\nTRANSFER-encoding: chunked\r\n\r\n"),
        ("broken", b"1;" + b"x" * 65536 + b"\r\na\r\n0\r\n\r\n"),
        ("broken", b"1;x\r\na\r\n" * 8192 + b"0\r\n\r\n"),
        ("too_large", b"0\r\n" + b"X: 1\r\n" * 10_000 + b"\r\n"),
        ("too_large", b"0\r\nX: " + b"y" * 8192 + b"\r\n\r\n"),
    ],
    ids=lambda value: repr(value[:40]),
)
def test_chunks_that_are_refused(state: str, stream: bytes) -> None:
    whole = parse_chunks(exact(stream))
    assert whole[0] == state
    for step in (1, 3):
        assert parse_chunks(exact(stream), step) == whole


def test_paths_that_leave_their_base() -> None:
    for path in (
        b"/..",
        b"/a/../b",
        b"/%2e%2E",
        b"/a%2fb",
        b"/..;x",
        b"/%",
        b"/%2",
        b"/%252e",
        b"/\\",
    ):
        assert leaves_base(exact(path)), path
    for path in (b"", b"/", b"/a", b"/a..b", b"/...", b"/%41", b"/;a", b"/%25", b"/a%252"):
        assert not leaves_base(exact(path)), path


# Against the others.


class Tally(msgspec.Struct):
    """What the generated messages were."""

    heads: int = 0
    accepted: int = 0
    bodies: int = 0


def fields(message: Message) -> list[tuple[bytes, bytes]]:
    return [_field(name, value) for name, value in message.headers]


def _field(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    # h11 writes the letters of this value small.
    return name, value.lower() if name.lower() == b"transfer-encoding" else value


def compare(data: bytes, *, request: bool, tally: Tally) -> None:
    """Assert that both others read the same in `data`, if it is accepted here."""
    at = data.find(b"\r\n\r\n")
    if at < 0:
        return
    tally.heads += 1
    head, rest = data[: at + 4], data[at + 4 :]
    read: dict[str, Any]
    try:
        read = (parse_request if request else parse_answer)(exact(head))
    except ValueError:
        return
    tally.accepted += 1
    # What is accepted whole is accepted byte by byte.
    assert refused_early(exact(head), not request) == ("", len(head))
    status = read.get("status", 0)
    if status == 101:
        # The upstream refuses it: nothing here asks for another protocol. Nor does h11 take it.
        return
    body, used, ends = b"", 0, True
    if request or not (100 <= status < 200 or status in (204, 304)):
        if read["chunked"]:
            state, body, used = parse_chunks(exact(rest))
            assert parse_chunks(exact(rest), 1) == (state, body, used)
            if state in ("broken", "too_large"):
                return
            ends = state == "done"
        elif request or read["content_length"] is not None:
            length = read["content_length"] or 0
            body, used, ends = rest[:length], min(length, len(rest)), len(rest) >= length
        else:
            body, used, ends = rest, len(rest), False
    tally.bodies += ends and used > 0
    whole = head + rest[:used]
    for other in (
        (oracles.h11_request, oracles.llhttp_request)
        if request
        else (oracles.h11_answer, oracles.llhttp_answer)
    ):
        theirs = other(whole)
        assert theirs is not None
        assert (theirs.method, theirs.target) == (read.get("method", b""), read.get("target", b""))
        assert (theirs.status, theirs.minor) == (status, read["minor"])
        assert fields(theirs) == [_field(*pair) for pair in read["fields"]]
        assert (theirs.body, theirs.ends) == (body, ends)
        if ends and used:
            # Not a byte earlier.
            begun = other(whole[:-1])
            assert begun is None or not begun.ends
    if ends:
        after = (oracles.h11_request if request else oracles.h11_answer)(data)
        assert after is not None
        assert after.behind == rest[used:]


def run(seeds: range, tally: Tally, within_s: float) -> None:
    until = time.monotonic() + within_s
    for seed in seeds:
        source = random.Random(seed)
        grammar = Grammar(source, source.choice([0, 0.02, 0.02, 0.15]))
        asks = seed % 2 == 0
        data = grammar.request() if asks else grammar.answer()
        try:
            compare(data, request=asks, tally=tally)
        except (AssertionError, RefusedError) as error:
            raise AssertionError(f"seed {seed}: {data[:2000]!r}") from error
        assert time.monotonic() < until, f"{seed - seeds.start} messages took too long"


def test_generated_messages_are_read_alike() -> None:
    tally = Tally()
    run(range(5_000), tally, 55)
    # Else it compares nothing.
    assert tally.accepted > 1_000
    assert tally.bodies > 300
    assert tally.heads - tally.accepted > 1_000


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_generated_messages_are_read_alike_at_length() -> None:
    tally = Tally()
    began = time.monotonic()
    run(range(5_000, 505_000), tally, 890)
    print(f"\n{tally} in {time.monotonic() - began:.0f} s")
    assert tally.accepted > 100_000
    assert tally.bodies > 30_000


def test_what_is_smuggled_is_a_request() -> None:
    """What the generated messages carry behind them would be taken if it were read."""
    assert oracles.requests_of_llhttp(SMUGGLED) == 1
    assert trouble(parse_request, SMUGGLED[: SMUGGLED.index(b"\r\n\r\n") + 4]) == ""
