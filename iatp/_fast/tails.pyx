"""Writes what the flight record says of a request and of its answer: protocol section 7.

A record travels as its *tail*, from its `"type"` on (values/exchange.py). There is one `Line`:
what is begun is done before the next. Whatever a caller sent is scrubbed before it is written.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from iatp._fast.reading cimport Reading, replaced
from iatp._fast.record cimport Line, is_utf8
from iatp._fast.scan cimport mark
from iatp._fast.text cimport AS_TEXT, Span, Spans

import base64

cdef frozenset COMMON_METHODS = frozenset(
    ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
)


@cython.final
cdef class Tails:
    """Writes records about requests and answers, one at a time."""

    cdef Line begin(
        self, const char* start, str trace_id, str request_id, long long time_ns,
        long long mono_ns
    ):
        """The line with the fields that every record has.

        `start` has the type, and the key of the trace ID behind it.
        """
        cdef Line line = self.line
        line.clear()
        line.literal(start)
        line.text(trace_id)
        line.literal(b',"request_id":')
        line.text(request_id)
        line.literal(b',"timestamp":')
        line.timestamp(time_ns)
        line.raw(self.agent)
        line.integer(mono_ns)
        return line

    cdef int about(self, str method, bytes path, str caller, str peer) except -1:
        """Who asked for what; `path` is scrubbed."""
        cdef Line line = self.line
        line.literal(b',"method":')
        if method == "POST" or method in COMMON_METHODS:
            line.text(method)
        else:
            line.string(self.scanner.scrubbed(utf8(method), AS_TEXT))
        line.literal(b',"path":')
        line.string(path)
        line.literal(b',"caller":')
        if caller == "anonymous":
            line.literal(b'"anonymous"')
        else:
            line.string(self.scanner.scrubbed(utf8(caller), AS_TEXT))
        line.literal(b',"peer":')
        return line.text(peer)

    cdef int describe(
        self, Reading reading, const char* decision, const char* rule, bint quarantined
    ) except -1:
        """What a request's record has, and that of a block or a warning as well."""
        cdef Line line = self.line
        cdef Py_ssize_t length = PyBytes_GET_SIZE(reading.decoded)
        self.about(reading.method, reading.path, reading.caller, reading.peer)
        line.literal(b',"decision":"')
        line.literal(decision)
        line.literal(b'","rule":"')
        line.literal(rule)
        line.literal(b'"')
        self.findings(reading.findings)
        line.literal(b',"trust_score":')
        line.raw(self.score)
        if not length:
            line.literal(b',"payload":null')
        elif length > self.keep:
            self.text(
                b"payload", self.scanner.cut(reading.text, reading.spans, self.keep), reading.json
            )
            line.literal(b',"payload_mac":"')
            line.ascii(self.mac.of(reading.decoded))
            line.literal(b'"')
        elif reading.json:
            line.literal(b',"payload":')
            self.json(reading.text, reading.spans)
        else:
            self.text(b"payload", replaced(reading.text, reading.spans, None, False), False)
        line.literal(b',"payload_bytes":')
        line.integer(length)
        if quarantined:
            return line.literal(b',"quarantined":true')
        return line.literal(b',"quarantined":false')

    cdef int findings(self, tuple findings) except -1:
        cdef Line line = self.line
        cdef bint first = True
        line.literal(b',"findings":{')
        for finding, count in findings:
            if not first:
                line.literal(b",")
            first = False
            line.raw(self.keys[finding])
            line.integer(count)
        return line.literal(b"}")

    cdef int failure(
        self, object failure, str sentence, str detail, int agent_status
    ) except -1:
        """What an `error` record says of a failure; `detail` stands nowhere else."""
        cdef Line line = self.line
        line.literal(b',"decision":')
        line.text(failure.decision)
        line.literal(b',"error":')
        line.text(sentence)
        line.literal(b',"code":')
        line.text(failure.code)
        line.literal(b',"status_code":')
        line.integer(failure.status)
        if detail:
            line.literal(b',"detail":')
            line.string(self.scanner.scrubbed(utf8(detail), AS_TEXT))
        if agent_status:
            line.literal(b',"agent_status":')
            line.integer(agent_status)
        return 0

    cdef int json(self, bytes value, Spans spans) except -1:
        """A JSON value with what was found in it replaced."""
        cdef Line line = self.line
        cdef const unsigned char* data = <const unsigned char*>PyBytes_AS_STRING(value)
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t i
        cdef Span* span
        for i in range(spans.count):
            span = &spans.items[i]
            if span.start < at:
                # Another finding in the same range.
                continue
            line._embed(data + at, span.start - at)
            line.raw(mark(span))
            at = span.end
        return line._embed(data + at, PyBytes_GET_SIZE(value) - at)

    cdef int text(self, const char* key, bytes text, bint utf8) except -1:
        """A payload as a string: itself where it is UTF-8 (`utf8`: known to be), else base64."""
        cdef Line line = self.line
        line.literal(b',"')
        line.literal(key)
        if utf8 or is_utf8(text):
            line.literal(b'":')
            return line.utf8(
                <const unsigned char*>PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text)
            )
        line.literal(b'":"')
        line.raw(base64.b64encode(text))
        line.literal(b'","')
        line.literal(key)
        return line.literal(b'_encoding":"base64"')


cdef bytes utf8(str text):
    """The text in UTF-8; what has no place there is escaped."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")
