"""Generated HTTP/1.1 messages: mostly right ones, with what is known to confuse readers.

Everything comes from the `random.Random` that is given, so a seed is a message.
"""

from __future__ import annotations

import random
from array import array

SMUGGLED = (
    b"POST /proxy HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    b'Content-Length: 24\r\n\r\n{"a":"4111111111111111"}'
)

METHODS = [b"POST", b"GET", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH", b"M-SEARCH"]
ODD_METHODS = [b"post", b"CONNECT", b"TRACE", b"PRI", b"", b"GE T", b"G\x00T", b"X", b"G(T"]
TARGETS = [b"/proxy", b"/proxy/a/b?c=d&e=%20", b"/", b"/proxy?", b'/p"<>\\^`{|}', b"/" + b"a" * 300]
ODD_TARGETS = [b"*", b"http://a/proxy", b"a:80", b"/a b", b"/#f", b"/\xff", b"/\x00", b"", b"//a/b"]
VERSIONS = [b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"]
ODD_VERSIONS = [
    b"HTTP/2.0",
    b"HTTP/1.2",
    b"http/1.1",
    b"HTTP/1.10",
    b"HTTP/01.1",
    b"",
    b"HTTP/1.1 ",
]
HOSTS = [b"a", b"localhost:8001", b"[::1]:80", b"a.b-c_d~e", b"127.0.0.1", b"a:"]
ODD_HOSTS = [b"", b"a/b@c", b"a b", b"a,b", b"[::1", b"a:b", b"a:123456", b"%", b"a\x00", b"\xe9"]
NAMES = [
    *(
        b"X",
        b"x-a",
        b"Accept",
        b"Cookie",
        b"User-Agent",
        b"X_a",
        b"Content_Length",
        b"Via",
        b"Date",
    ),
    *(b"X-Forwarded-For", b"Content-Type", b"Content-Encoding", b"Authorization", b"Traceparent"),
    *(
        b"X-Agent-Trace-ID",
        b"X-User-Override",
        b"TE",
        b"Trailer",
        b"Keep-Alive",
        b"Server",
        b"!#$%&'*+.^`|~",
    ),
    *(b"HTTP2-Settings", b"Proxy-Connection", b"Accept-Encoding", b"X-IATP-Peer", b"Expect"),
]
ODD_NAMES = [b"", b"X ", b" X", b"F@o", b"\xefX", b"Content-Length\x85", b"X\x00", b"X\t", b"X:Y"]
VALUES = [
    *(
        b"",
        b"x",
        b"a, b",
        b"text/plain; q=1",
        b"  two  spaces\tand a tab ",
        bytes(range(0x80, 0x100)),
    ),
    *(b"100-continue", b"\t", b"chunked", b"close", b'"quoted \\" text"', b"\xa0", b"x" * 700),
]
ODD_VALUES = [b"\x00", b"\x01", b"\x7f", b"a\rb", b"a\nb", b"a\r\n b", b"\x0b", b"\x1f", b"\r"]
LENGTHS = [b"%d", b"%d", b"%d", b"0%d", b" %d\t", b"000000%d"]
ODD_LENGTHS = [
    *(
        b"+%d",
        b"-%d",
        b"%d_0",
        b"0x%d",
        b"%d %d",
        b"\x0b%d",
        b"%d,",
        b"%d,%d",
        b"%dZ",
        b"",
        b"\xd9\xa2",
    ),
    *(b"%d.0", b"%de0", b'"%d"', b"9223372036854775808", b"18446744073709551617", b"1" * 40),
]
CODINGS = [b"chunked", b"chunked", b"Chunked", b"CHUNKED", b" chunked\t"]
ODD_CODINGS = [
    *(b"xchunked", b"\x0bchunked", b"\xa0chunked", b'"chunked"', b"chunked;x=1", b"chunkedchunked"),
    *(b"chunked, identity", b"identity, chunked", b"gzip, chunked", b"gzip", b"", b",chunked"),
    *(
        b"chunked,",
        b"chunked,chunked",
        b"identity",
        b"ch\xc5unked",
        b"chun\xc4\xb7ed",
        b"chunked\x00",
    ),
]
CONNECTIONS = [b"keep-alive", b"close", b"Keep-Alive, X", b"close, te", b"upgrade", b",, close ,"]
ODD_CONNECTIONS = [b"Content-Length", b"Host", b"transfer-encoding", b"a b", b'"close"', b"close;x"]
REASONS = [b" OK", b" ", b"", b" Not Found", b" caf\xe9", b" a\tb"]
ODD_REASONS = [b" a\x00b", b" \x1b[2J", b"  x", b"\tOK", b" a\rb", b"OK"]
STATUSES = [b"200", b"201", b"204", b"304", b"404", b"500", b"599", b"100", b"103"]
ODD_STATUSES = [
    b"099",
    b"600",
    b"999",
    b"1000",
    b"20",
    b"2 0",
    b"+20",
    b"2e2",
    b"",
    b"\xb2\xb0\xb0",
]
EXTENSIONS = [b"", b"", b"", b"", b";a", b";a=b", b";a=b;c"]
ODD_EXTENSIONS = [
    b";",
    b"; a",
    b";a=",
    b" ;a",
    b";a\x00",
    b";a\nb",
    b";a\rb",
    b';a="b"',
    b";" + b"x" * 9000,
]
SIZES = [b"%x", b"%x", b"%X", b"0%x", b"000%x"]
ODD_SIZES = [
    *(b"-%x", b"+%x", b"0x%x", b"0_%x", b" %x", b"%x ", b"\xef\xbc\x91", b"", b"%xg", b"\t%x"),
    *(b"1000000000000000%x", b"ffffffffffffffff", b"7fffffffffffffff", b"0000000000000000%x"),
]
TRAILERS = [b"", b"", b"", b"X-Sum: 1\r\n", b"X: \r\nY: a b\r\n"]
ODD_TRAILERS = [
    *(b"X\r\n", b" X: 1\r\n", b"X: 1\n", b"X: a\r\n b\r\n", b"X : 1\r\n", b"X: \x00\r\n"),
    *(b"content-length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Content-Lengths: 5\r\n"),
]
ENDS = [b"\r\n"]
ODD_ENDS = [b"\n", b"\r", b"\r\r\n", b"\n\r\n", b"\n\n", b" \r\n", b"\x00\r\n", b"\x0b\r\n", b""]
BYTES = [
    b"\x00",
    b"\t",
    b"\n",
    b"\r",
    b"\r\n",
    b" ",
    b",",
    b":",
    b";",
    b"\x7f",
    b"\x85",
    b"\xff",
    b"0",
]


def exact(data: bytes) -> array[int]:
    """The same bytes in memory that ends where they do, so that one too many is an error.

    Behind those of a bytes object stands a NUL, and an array made of one has room to grow.
    """
    return array("B", list(data))


class Grammar:
    """Messages of one random source; `odd` of all choices are taken from what confuses."""

    def __init__(self, source: random.Random, odd: float) -> None:
        self.random = source
        self.odd = odd

    def pick(self, right: list[bytes], wrong: list[bytes]) -> bytes:
        return self.random.choice(wrong if self.random.random() < self.odd else right)

    def request(self) -> bytes:
        """A request with its body, perhaps broken, and perhaps with another behind it."""
        start = b"%b %b %b" % (
            self.pick(METHODS, ODD_METHODS),
            self.pick(TARGETS, ODD_TARGETS),
            self.pick(VERSIONS, ODD_VERSIONS),
        )
        hosts = [b"Host: " + self.pick(HOSTS, ODD_HOSTS)]
        if self.random.random() < self.odd:
            hosts *= self.random.choice([0, 2])
        return self._message(start, hosts, bodies=0.7)

    def answer(self) -> bytes:
        """An answer with its body, perhaps broken, and perhaps with another behind it."""
        start = b"%b %b%b" % (
            self.pick(VERSIONS, ODD_VERSIONS),
            self.pick(STATUSES, ODD_STATUSES),
            self.pick(REASONS, ODD_REASONS),
        )
        return self._message(start, [], bodies=0.9)

    def chunks(self, content: bytes) -> bytes:
        """A body in chunks."""
        out = []
        at = 0
        while at < len(content):
            n = self.random.randint(1, len(content) - at)
            out += [self._size(n), content[at : at + n], self.pick(ENDS, ODD_ENDS)]
            at += n
        out += [self._size(0), self.pick(TRAILERS, ODD_TRAILERS), self.pick(ENDS, ODD_ENDS)]
        return b"".join(out)

    def mutated(self, data: bytes) -> bytes:
        """The same with a byte changed, put in or taken out, or a stretch doubled or moved."""
        at = self.random.randrange(len(data) + 1)
        to = min(len(data), at + self.random.choice([1, 1, 2, 4, 16, 64]))
        kind = self.random.randrange(6)
        if kind == 0:
            return data[:at] + self.random.choice(BYTES) + data[at:]
        if kind == 1:
            return data[:at] + data[to:]
        if kind == 2:
            return data[:at] + bytes([self.random.randrange(256)]) + data[at + 1 :]
        if kind == 3:
            return data[:to] + data[at:]
        if kind == 4 and at < len(data):
            return data[:at] + bytes([data[at] ^ (1 << self.random.randrange(8))]) + data[at + 1 :]
        lines = data.split(b"\r\n")
        self.random.shuffle(lines[1:-1])
        one = self.random.choice(lines)
        lines.insert(self.random.randrange(len(lines) + 1), one)
        return b"\r\n".join(lines)

    def _message(self, start: bytes, lines: list[bytes], *, bodies: float) -> bytes:
        content = self.random.randbytes(self.random.choice([0, 1, 2, 10, 24, 255, 4000]))
        lines += [self._field() for _ in range(self.random.choice([0, 1, 2, 5]))]
        body = b""
        if self.random.random() < bodies:
            if self.random.random() < 0.5:
                lines.append(b"Content-Length: " + self._length(len(content)))
                body = content
            else:
                lines.append(b"Transfer-Encoding: " + self.pick(CODINGS, ODD_CODINGS))
                body = self.chunks(content)
            if self.random.random() < self.odd:
                lines.append(
                    self.random.choice(
                        [b"transfer-encoding: chunked", b"CONTENT-LENGTH: 3", lines[-1]]
                    )
                )
        if self.random.random() < 0.3:
            lines.append(b"Connection: " + self.pick(CONNECTIONS, ODD_CONNECTIONS))
        self.random.shuffle(lines)
        head = start + self.pick(ENDS, ODD_ENDS)
        head += b"".join(line + self.pick(ENDS, ODD_ENDS) for line in lines)
        data = head + self.pick(ENDS, ODD_ENDS) + body
        for _ in range(self.random.choice([0, 0, 0, 1, 1, 2, 3])):
            data = self.mutated(data)
        return data + self.random.choice([b"", b"", SMUGGLED, b"\r\n", b"x"])

    def _field(self) -> bytes:
        between = self.pick([b": ", b":", b":\t ", b":  "], [b" : ", b"", b"\t:", b"::", b" "])
        return self.pick(NAMES, ODD_NAMES) + between + self.pick(VALUES, ODD_VALUES)

    def _length(self, n: int) -> bytes:
        form = self.pick(LENGTHS, ODD_LENGTHS)
        return form % ((n,) * form.count(b"%d"))

    def _size(self, n: int) -> bytes:
        form = self.pick(SIZES, ODD_SIZES)
        size = form % ((n,) * (form.count(b"%x") + form.count(b"%X")))
        return size + self.pick(EXTENSIONS, ODD_EXTENSIONS) + self.pick(ENDS, ODD_ENDS)
