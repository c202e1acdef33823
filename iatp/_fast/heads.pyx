"""What is kept of a request's head, and the head that the agent or the application gets instead.

A head is always written anew. Fields that were checked are copied as raw bytes; what is
hop-by-hop, what the sidecar used itself, and what only the sidecar may say does not pass
(protocol section 2).
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcmp

from iatp._fast.http cimport (
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, FORWARDED, HOST, IDEMPOTENCY_KEY, OTHER,
    OVERRIDE, SERVER, TRACE_ID, TRACEPARENT, TRACESTATE, VIA, Field, Head, Slice,
)
from iatp._fast.ids cimport Ids
from iatp._fast.record cimport Line

# RFC 9110 8.4, RFC 9530, and the older forms of its digests.
cdef frozenset OF_THE_BYTES = frozenset((
    b"content-encoding", b"content-digest", b"repr-digest", b"digest", b"content-md5"
))


cdef bytes copied(Slice s):
    """These bytes."""
    return PyBytes_FromStringAndSize(<const char*>s.p, s.n)


cdef bytes of_another_body(bytes fields):
    """What still holds of these fields once the gate has changed the body, and decoded it."""
    return b"".join([
        line for line in fields.splitlines(True)
        if line.partition(b":")[0].lower() not in OF_THE_BYTES
    ])


@cython.final
cdef class Heads:
    """What the heads of all requests of a worker share."""

    def __cinit__(
        self, Ids ids not None, *, bytes agent_host not None, bytes agent_base not None,
        bytes agent_target not None, bytes via not None,
    ):
        self.line = Line()
        self.ids = ids
        self.via = via
        self.content_type = self._target = self._host = b""
        self._to_agent = b" HTTP/1.1\r\nHost: %b\r\n" % agent_host
        self._post_line = b"POST " + agent_target + self._to_agent
        self._via_line = b"1.1 %b\r\n" % via
        self._agent_base = agent_base
        self._agent_target = agent_target

    cdef bytes same(self, bytes last, Slice s):
        """These bytes; `last` where it is the same, which spares making another."""
        if PyBytes_GET_SIZE(last) == s.n and memcmp(PyBytes_AS_STRING(last), s.p, s.n) == 0:
            return last
        return copied(s)


@cython.final
cdef class RequestHead:
    """What is kept of the head of one connection's request."""

    def __cinit__(self, Heads heads not None):
        self.heads = heads

    cdef int keep(self, Head* head) except -1:
        """Keeps what outlives the head: facts, and the lines that are passed on."""
        cdef Heads heads = self.heads
        cdef Line passed = heads.line
        cdef Field* field
        cdef int i
        passed.clear()
        self.post = head.method.n == 4 and memcmp(head.method.p, b"POST", 4) == 0
        if self.post:
            self.method = "POST"
        else:
            self.method = copied(head.method).decode("ascii")
        self.target = heads._target = heads.same(heads._target, head.target)
        self.minor = head.minor
        self.content_type = self.content_encoding = self.trace_id = self.override = b""
        self.host = self.old_via = self.traceparent = self.tracestate = b""
        self.has_key = self.forwarded = False
        self.has_length = head.content_length >= 0 or head.chunked
        for i in range(head.count):
            field = &head.fields[i]
            if field.known == HOST:
                self.host = heads._host = heads.same(heads._host, field.value)
            elif field.known == VIA:
                self.forwarded = True
                self.old_via += (b", " if self.old_via else b"") + copied(field.value)
            elif field.known == FORWARDED:
                self.forwarded = True
            elif field.known == TRACE_ID:
                self.trace_id = copied(field.value)
            elif field.known == OVERRIDE:
                # An empty override is still one that is not valid.
                self.override = copied(field.value) or b" "
            elif field.known == TRACEPARENT:
                self.traceparent = copied(field.value)
            elif field.known == TRACESTATE:
                self.tracestate += (b"," if self.tracestate else b"") + copied(field.value)
            elif (
                field.known == OTHER or field.known == CONTENT_TYPE
                or field.known == CONTENT_ENCODING or field.known == AUTHORIZATION
                or field.known == IDEMPOTENCY_KEY or field.known >= SERVER
            ):
                if field.known == CONTENT_TYPE:
                    self.content_type = heads.same(heads.content_type, field.value)
                    heads.content_type = self.content_type
                elif field.known == CONTENT_ENCODING:
                    self.content_encoding = copied(field.value)
                elif field.known == IDEMPOTENCY_KEY:
                    # An empty one names nothing that could be told from another.
                    self.has_key = field.value.n > 0
                if not field.dropped:
                    add_field(passed, field)
        self.passed = passed.done()
        return 0

    cdef int keep_line(self, Head* head) except -1:
        """Keeps what could be read of a head that is refused."""
        if head.method.n:
            self.method = copied(head.method).decode("ascii")
        if head.target.n:
            self.target = copied(head.target)
        return 0

    cdef int forget(self) except -1:
        """The request has been sent on, or has ended."""
        self.method = None
        self.target = self.passed = self.content_type = self.content_encoding = None
        self.trace_id = self.override = self.host = self.old_via = None
        self.traceparent = self.tracestate = None
        return 0

    cdef bytes for_agent(self, bytes body, str trace_id, str peer, bint tls):
        """The message for the agent; without the body where that is longer than TOGETHER."""
        cdef Heads heads = self.heads
        cdef Line line = heads.line
        cdef bytes rest
        line.clear()
        if self.post and PyBytes_GET_SIZE(self.target) == 6:
            line.raw(heads._post_line)
        else:
            rest = self.target[6:]
            line.ascii(self.method)
            line._raw(b" ", 1)
            # The agent's URL itself, or a path below it.
            if not rest or rest.startswith(b"?"):
                line.raw(heads._agent_target)
            else:
                line.raw(heads._agent_base)
            line.raw(rest)
            line.raw(heads._to_agent)
        line.raw(self.passed)
        line._raw(b"Accept-Encoding: identity\r\nX-Agent-Trace-ID: ", 45)
        line.ascii(trace_id)
        line._raw(b"\r\n", 2)
        self._add_trace_lines(line)
        line._raw(b"Via: ", 5)
        if self.old_via:
            line.raw(self.old_via)
            line._raw(b", ", 2)
        line.raw(heads._via_line)
        # The other end of a Unix socket has no address, and a name in its place would be taken
        # for one.
        if peer != "unix":
            line._raw(b"X-Forwarded-For: ", 17)
            line.ascii(peer)
            line._raw(b"\r\n", 2)
        if tls:
            line._raw(b"X-Forwarded-Proto: https\r\n", 26)
        else:
            line._raw(b"X-Forwarded-Proto: http\r\n", 25)
        if self.host:
            line._raw(b"X-Forwarded-Host: ", 18)
            line.raw(self.host)
            line._raw(b"\r\n", 2)
        if self.has_length or self.post or self.method in ("PUT", "PATCH"):
            line._raw(b"Content-Length: ", 16)
            line.integer(PyBytes_GET_SIZE(body))
            line._raw(b"\r\n", 2)
        line._raw(b"\r\n", 2)
        if PyBytes_GET_SIZE(body) <= TOGETHER:
            line.raw(body)
        return line.done()

    cdef int _add_trace_lines(self, Line line) except -1:
        """W3C trace context: the caller's trace with a new parent, or a new trace."""
        cdef bytes given = self.traceparent
        cdef Ids ids = self.heads.ids
        cdef bytes span
        if not given:
            line._raw(b"traceparent: 00-", 16)
            line.hex(ids.random(16), 16)
            line._raw(b"-", 1)
            line.hex(ids.random(8), 8)
            return line._raw(b"-01\r\n", 5)
        span = ids.random(8)[:8].hex().encode()
        if (
            len(given) == 55 and given.startswith(b"00-") and given[35:36] == b"-"
            and given[52:53] == b"-" and not given[3:35].strip(b"0123456789abcdef")
            and not given[36:52].strip(b"0123456789abcdef") and given[3:35].strip(b"0")
            and given[36:52].strip(b"0") and not given[53:].strip(b"0123456789abcdef")
        ):
            line.raw(b"traceparent: %b%b-%b\r\n" % (given[:36], span, given[53:]))
            if self.tracestate:
                line.raw(b"tracestate: %b\r\n" % self.tracestate)
            return 0
        trace = ids.random(16)[:16].hex().encode()
        return line.raw(b"traceparent: 00-%b-%b-01\r\n" % (trace, span))

    cdef bytes for_application(
        self, bytes body, str listener, str peer, str trace_id, str request_id
    ):
        """The message for the application, which is told what no caller can say."""
        return b"".join((
            self.method.encode(), b" ", self.target, b" HTTP/1.1\r\nHost: ", self.host or b"-",
            b"\r\n", self.passed, b"X-IATP-Listener: ", listener.encode(),
            b"\r\nX-IATP-Peer: ", peer.encode(),
            b"\r\nX-IATP-Forwarded: ", b"1" if self.forwarded else b"0",
            b"\r\nX-IATP-Trace-ID: ", trace_id.encode(),
            b"\r\nX-IATP-Request-ID: ", request_id.encode(),
            b"\r\nContent-Length: %d\r\n\r\n" % len(body), body,
        ))
