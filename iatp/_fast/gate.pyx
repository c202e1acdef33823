"""Decides what happens to one request, and writes what the flight record says of it.

No I/O, no clock, no environment: whatever time it is comes with the call. The only state is
the policy (what else a gate keeps only saves work), so one gate serves all connections of a
worker, in one thread. A request is read once (`_read`): the spans that decide are the spans
that scrub. Only `Gate.admit` makes a `Forward`, and a `Forward` ends once: by `settle_end` or
by `fail`.

Protocol sections 2 (trace ID), 6 (decision), 7 (records), 8 (errors).
"""

cimport cython
from libc.stdint cimport uint64_t
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from iatp._fast.answer cimport Answer, scrub_deltas, settled
from iatp._fast.mac cimport Mac
from iatp._fast.patterns cimport Patterns
from iatp._fast.record cimport Line, cut_at, is_utf8, json_string
from iatp._fast.scan cimport is_too_much, mark, scan
from iatp._fast.slots cimport slot, slot_of
from iatp._fast.text cimport (
    AS_FORM, AS_JSON, AS_TARGET, AS_TEXT, MOST_FINDINGS, SECRET_NAMES, Span, Spans, finding_of,
)

import base64
import codecs
import hmac
import json
import zlib
from urllib.parse import quote

from iatp._fast import trust
from iatp.decisions import policy as decisions
from iatp.decisions import tickets
from iatp.decisions.policy import OverrideMode
from iatp.values import errors, exchange
from iatp.values import patterns as own
from iatp.values import policy as policies
from iatp.values.exchange import Claim, Outcome, Request, Respond
from iatp.values.policy import AnswerAction, Mode

cdef extern from *:
    int __builtin_ctzll(unsigned long long word) noexcept nogil

cdef enum:
    # How far beyond what is kept of an answer is looked, so that a value that begins in the
    # kept part is seen whole: 19 digits and 18 separators, each a doubly escaped \\\\u0034.
    LOOKAHEAD = 512
    # The same for the policy's own patterns, whose matches may be longer.
    OWN_LOOKAHEAD = 4096
    # How far before a cut is looked for what only the cut made look like a value.
    LOOKBACK = 1024
    FEED_BYTES = 1 << 16
    # Each costs at most a copy of FEED_BYTES; bgzip makes one per 64 KiB of text.
    GZIP_MEMBERS = 1000
    # Rows of the policy that are kept; each is some 1 KiB.
    MOST_ROWS = 1024
    WORDS = MOST_FINDINGS // 64

cdef enum:
    CHARSET_UTF8 = 0
    CHARSET_LATIN = 1
    CHARSET_UNREADABLE = 2

# Where the fields lie that every request is asked for.
cdef object REQUEST = Request
cdef Py_ssize_t REQUEST_ID = slot_of(Request, "request_id")
cdef Py_ssize_t METHOD = slot_of(Request, "method")
cdef Py_ssize_t TARGET = slot_of(Request, "target")
cdef Py_ssize_t CONTENT_TYPE = slot_of(Request, "content_type")
cdef Py_ssize_t CONTENT_ENCODING = slot_of(Request, "content_encoding")
cdef Py_ssize_t BODY = slot_of(Request, "body")
cdef Py_ssize_t TRACE_ID = slot_of(Request, "trace_id")
cdef Py_ssize_t CALLER = slot_of(Request, "caller")
cdef Py_ssize_t PEER = slot_of(Request, "peer")
cdef Py_ssize_t TIME_NS = slot_of(Request, "time_ns")
cdef Py_ssize_t MONO_NS = slot_of(Request, "mono_ns")

cdef int FINDINGS = len(exchange.FINDINGS)
cdef dict FAILURES = errors.FAILURES
cdef object ANSWERED = Outcome.ANSWERED
cdef object TRUNCATED = Outcome.TRUNCATED
assert exchange.FINDINGS[SECRET_NAMES].startswith("secret.")
assert exchange.FINDINGS[:SECRET_NAMES] == tuple(
    [kind for kind in exchange.KINDS if kind not in ("secret", "custom")]
)
assert FINDINGS + own.MOST_OWN <= MOST_FINDINGS

# What a row of the policy does.
cdef enum:
    ALLOWS = 0
    REDACTS = 1
    WARNS = 2
    BLOCKS = 3

assert [policies.STRENGTH[each] for each in ("allow", "redact", "warn", "block")] == [
    ALLOWS, REDACTS, WARNS, BLOCKS
]

cdef frozenset COMMON_METHODS = frozenset(
    ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
)
cdef frozenset UTF8_CHARSETS = frozenset((b"utf-8", b"utf8", b"us-ascii", b"ascii"))
cdef frozenset LATIN_CHARSETS = frozenset(
    (b"iso-8859-1", b"iso8859-1", b"latin-1", b"latin1", b"windows-1252", b"cp1252")
)
# Text, though not below text/ (RFC 7303 for XML, 9512 for YAML).
cdef frozenset TEXT_TYPES = frozenset((
    b"application/xml", b"application/yaml", b"application/x-ndjson", b"application/jsonl"
))

# What a trace ID is made of (section 2).
cdef unsigned char[256] OF_TRACE_ID
cdef int _byte
for _byte in range(256):
    OF_TRACE_ID[_byte] = _byte < 0x80 and (chr(_byte).isalnum() or chr(_byte) in "._-")


# Streams of events that carry JSON: server-sent events, and a JSON text on each line.
cdef frozenset STREAMS = frozenset((
    b"text/event-stream", b"application/x-ndjson", b"application/ndjson", b"application/jsonl",
    b"application/x-jsonlines",
))


cdef class _ContentType:
    # What a Content-Type says about how a body is read.
    cdef bint json
    cdef bint events
    cdef bint form
    cdef bint text                       # characters and nothing else, or not said
    cdef int charset


cdef dict _content_types = {}
cdef bytes _last_value = None
cdef _ContentType _last_type = None


cdef _ContentType _content_type(bytes value):
    # Remembered: there are few in use, and the table is emptied before it grows. The door
    # gives one that comes again as the same object.
    global _last_value, _last_type
    cdef _ContentType found
    if value is _last_value:
        return _last_type
    found = _content_types.get(value)
    if found is None:
        found = _read_content_type(value)
        if len(value) > 128:
            return found
        if len(_content_types) >= 256:
            _content_types.clear()
        _content_types[value] = found
    _last_value = value
    _last_type = found
    return found


cdef _ContentType _read_content_type(bytes value):
    cdef _ContentType found = _ContentType()
    media = value.split(b";", 1)[0].strip().lower()
    found.json = media in (b"application/json", b"text/json") or (
        media.startswith(b"application/") and media.endswith(b"+json")
    )
    found.form = media == b"application/x-www-form-urlencoded"
    found.text = not media or media.startswith(b"text/") or media in TEXT_TYPES or (
        media.startswith(b"application/") and media.endswith(b"+xml")
    )
    found.events = media in STREAMS
    found.charset = CHARSET_UTF8
    named = set()
    # Every charset that stands anywhere, also inside a quoted parameter: readers differ in
    # which of them they take, so all of them have to mean the same.
    for parameter in value.lower().split(b";")[1:]:
        if b"charset" not in parameter:
            continue
        suffix, _, name = parameter.partition(b"charset")[2].partition(b"=")
        name = name.strip(b" \t\"'")
        if suffix.strip() or not (name in UTF8_CHARSETS or name in LATIN_CHARSETS):
            found.charset = CHARSET_UNREADABLE
        named.add(name in LATIN_CHARSETS)
    if found.charset != CHARSET_UNREADABLE and True in named:
        found.charset = CHARSET_UNREADABLE if found.json or False in named else CHARSET_LATIN
    return found


class _Undecodable(Exception):
    """The body is not what its Content-Encoding says."""


class _TooLarge(Exception):
    """The decoded body would be larger than is allowed."""


cdef bytes _coding(bytes value):
    # The normalized content coding; b"" for none, and None where it can't be read here.
    cdef bytes name
    if not value:
        return b""
    name = value.strip().lower()
    if name == b"identity" or not name:
        return b""
    return name if name == b"gzip" or name == b"deflate" else None


cdef object _inflater(bytes data, bytes coding):
    # "deflate" is zlib (RFC 9110 8.4.1.2); many send it raw, and readers tell them apart by
    # the zlib header as is done here.
    if coding == b"gzip":
        return zlib.decompressobj(31)
    if len(data) >= 2 and data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0:
        return zlib.decompressobj(15)
    return zlib.decompressobj(-15)


cdef bytes _decode(bytes data, bytes coding, Py_ssize_t limit):
    # The whole decoded body. Raises _Undecodable or _TooLarge; never holds more than
    # `limit` + 1 decoded bytes.
    cdef list pieces = []
    cdef Py_ssize_t length = 0
    cdef Py_ssize_t at = 0
    cdef int members = 1
    cdef object inflater = _inflater(data, coding)
    cdef bytes taken
    while True:
        # Fed in parts, since `unused_data` is a copy of what is left of a part.
        taken = data[at:at + FEED_BYTES]
        try:
            piece = inflater.decompress(taken, limit + 1 - length)
        except zlib.error:
            raise _Undecodable from None
        length += len(piece)
        if length > limit:
            raise _TooLarge
        pieces.append(piece)
        at += len(taken) - len(inflater.unused_data)
        if inflater.eof:
            if at == len(data):
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)
            # RFC 1952 2.2: a gzip file may have several members. Anything else is garbage.
            members += 1
            if coding != b"gzip" or members > GZIP_MEMBERS:
                raise _Undecodable
            inflater = _inflater(data, coding)
        elif at == len(data):
            raise _Undecodable


# WHATWG reads ISO-8859-1 as windows-1252, and so do most agents; its five holes are C1.
cdef str LATIN = "".join([
    chr(_byte) if _byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else bytes((_byte,)).decode("cp1252")
    for _byte in range(256)
])
cdef object LATIN_BYTES = codecs.charmap_build(LATIN)


cdef bytes _from_latin(bytes data):
    return data if data.isascii() else codecs.charmap_decode(data, "strict", LATIN)[0].encode()


cdef bytes _to_latin(bytes text):
    # What `_from_latin` made this text of.
    if text.isascii():
        return text
    return codecs.charmap_encode(text.decode(), "strict", LATIN_BYTES)[0]


@cython.final
cdef class _Row:
    # What the policy says of one set of findings, ready to be written.
    cdef int action
    cdef object redacts                  # a set, of what to replace for the agent; or None
    cdef str code
    cdef bytes rule
    cdef str decision
    cdef str reason
    cdef bytes reason_json
    cdef str warning
    cdef bytes warning_json
    cdef _Row otherwise                  # where `redacts` cannot be replaced

    def __cinit__(self, tuple names, decision):
        self.action = policies.STRENGTH[decision.action]
        if decision.redacts:
            self.redacts = _set_of(names, decision.redacts)
        self.code = decision.rule
        self.rule = decision.rule.encode()
        self.decision = "allow" if self.action == REDACTS else str(decision.action)
        self.reason = decision.reason
        self.reason_json = json_string(decision.reason.encode())
        self.warning = decision.warning
        self.warning_json = json_string(decision.warning.encode())
        if decision.otherwise is not None:
            self.otherwise = _Row(names, decision.otherwise)


# Sets of findings are integers with a bit for each, as it stands in the gate's `names`. They are
# only made where something was found.


cdef object _set_of(tuple names, object chosen):
    cdef Py_ssize_t i
    return sum([<object>1 << i for i in range(len(names)) if names[i] in chosen])


cdef list _names_in(Gate gate, object found):
    cdef Py_ssize_t i
    return [gate.names[i] for i in range(len(gate.names)) if found >> i & 1]


cdef inline Spans _look(Gate gate, bytes data, int form):
    # What the scan finds, and the policy's own patterns.
    cdef Spans spans = scan(data, form)
    if gate._patterns is not None:
        _look_for_own(gate._patterns, data, form, spans)
    return spans


cdef int _look_for_own(Patterns patterns, bytes data, int form, Spans spans) except -1:
    cdef str why
    if is_too_much(spans):
        return 0
    why = patterns.add(data, form, spans)
    if why is not None:
        spans.count = 0
        spans.error = why
        spans.error_at = -1
    return 0


cdef inline bint _is_unjudged(Spans spans) noexcept:
    # Whether nothing is known of a text: too much is encoded in it, or it takes too long.
    return is_too_much(spans) or spans.error_at < 0


@cython.final
@cython.no_gc
@cython.freelist(2)
cdef class _Tally:
    # How many there are of each finding, and which there are: a bit for each, 64 to a word.
    cdef unsigned int[MOST_FINDINGS] counts
    cdef uint64_t[WORDS] words

    cdef void add(self, int finding) noexcept:
        self.counts[finding] += 1
        self.words[finding >> 6] |= <uint64_t>1 << (finding & 63)

    cdef object found(self):
        # The set of what there is.
        cdef int word
        cdef object found = self.words[0]
        for word in range(1, WORDS):
            if self.words[word]:
                found |= <object>self.words[word] << 64 * word
        return found

    cdef tuple pairs(self):
        # As Respond has them.
        cdef int word, finding
        cdef uint64_t rest
        cdef list pairs = []
        for word in range(WORDS):
            rest = self.words[word]
            while rest:
                finding = 64 * word + __builtin_ctzll(rest)
                rest &= rest - 1
                pairs.append((finding, self.counts[finding]))
        return tuple(pairs)

    cdef int leave_out(self, object findings) except -1:
        cdef int word
        for word in range(WORDS):
            self.words[word] &= ~<uint64_t>(findings >> 64 * word & 0xffffffffffffffff)
        return 0


@cython.final
@cython.no_gc
@cython.freelist(2)
cdef class _Reading:
    # One payload as it was read: `spans` lie in `text`, which is what may be recorded.
    cdef bytes text
    cdef Spans spans
    cdef bint json
    cdef _Tally tally                    # None where nothing was found
    cdef object found                    # the set of it, once all is read; else None
    cdef object target_found             # what of it is in the target; or None
    # Filled for requests.
    cdef str code
    cdef str detail
    cdef str method
    cdef str caller
    cdef str peer
    cdef bytes path
    cdef bytes decoded
    cdef tuple findings
    cdef bytes sent                      # what the agent gets instead of the body
    # What explain looks at again where the body was not strictly JSON.
    cdef bytes source
    cdef int form


cdef int _tally(_Reading reading, Spans spans) except -1:
    cdef Py_ssize_t i
    cdef _Tally tally = reading.tally
    if spans.count == 0:
        return 0
    if tally is None:
        tally = reading.tally = _Tally.__new__(_Tally)
    for i in range(spans.count):
        tally.add(finding_of(&spans.items[i]))
    return 0


cdef bytes _replaced(bytes text, Spans spans, object findings, bint form):
    # The text with what is in this set replaced (None: with all), percent-encoded as a form needs
    # it. Of spans that overlap, as those of own patterns do, one that is replaced takes the others
    # along.
    cdef list parts
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t i
    cdef Span* span
    if spans.count == 0:
        return text
    parts = []
    for i in range(spans.count):
        span = &spans.items[i]
        if not (findings is None or findings >> finding_of(span) & 1):
            continue
        if span.start < at:
            at = max(at, span.end)
            continue
        parts.append(text[at:span.start])
        parts.append(quote(mark(span)).encode() if form else mark(span))
        at = span.end
    parts.append(text[at:])
    return b"".join(parts)


cdef bytes _scrubbed(Gate gate, bytes text, int form):
    cdef Spans spans = _look(gate, text, form)
    if _is_unjudged(spans):
        # What could not be judged is not shown.
        return b""
    return _replaced(text, spans, None, False)


cdef bytes _cut(Gate gate, bytes text, Spans spans, Py_ssize_t limit):
    # `text` up to `limit`, scrubbed, and then cut to `limit` again; a span that the first cut
    # would split is taken in whole, so nothing of its value remains. Looked at once more where
    # it is cut, since the cut may leave of a longer run of digits what looks like a card.
    cdef Py_ssize_t end = cut_at(text, limit)
    cdef Py_ssize_t count = spans.count
    cdef Py_ssize_t kept = 0
    cdef bytes out
    while kept < count and spans.items[kept].start < end:
        kept += 1
    if kept and spans.items[kept - 1].end > end:
        end = spans.items[kept - 1].end
    out = text[:end]
    if kept:
        spans.count = kept
        try:
            out = _replaced(out, spans, None, False)
        finally:
            spans.count = count
    if end == PyBytes_GET_SIZE(text) and PyBytes_GET_SIZE(out) <= limit:
        return out
    out = out[:cut_at(out, limit)]
    end = cut_at(out, PyBytes_GET_SIZE(out) - LOOKBACK)
    out = out[:end] + _scrubbed(gate, out[end:], AS_TEXT)
    return out[:cut_at(out, limit)]


cdef bint _may_hold_json(bytes text):
    # It is JSON, or holds an escape that only JSON has: a part of a form, an event of a stream.
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t length = PyBytes_GET_SIZE(text)
    cdef const unsigned char* data = <const unsigned char*>PyBytes_AS_STRING(text)
    while at < length and data[at] in b" \t\r\n":
        at += 1
    return at < length and data[at] in b"{[\"" or b"\\u" in text


cdef int _read_loose(Gate gate, _Reading reading, bytes text, int form) except -1:
    # A body that need not be JSON. Since the agent may still read it as JSON, or as UTF-16,
    # it is read in each way it could be; what an earlier reading found is scrubbed before
    # the next one looks, so nothing is counted twice. `code` says where it cannot be judged.
    cdef Spans spans
    cdef bytes narrow
    reading.source = text
    reading.form = form
    if _may_hold_json(text):
        # Also where it ends in an error: what stands before that is read as JSON all the same.
        spans = _look(gate, text, AS_JSON)
        if _is_unjudged(spans):
            return _cannot_judge(reading, spans)
        if spans.count:
            _tally(reading, spans)
            text = _replaced(text, spans, None, False)
    if b"\0" in text:
        narrow = text.replace(b"\0", b"")
        spans = _look(gate, narrow, AS_TEXT)
        if spans.count or _is_unjudged(spans):
            text = narrow
    spans = _look(gate, text, form)
    if _is_unjudged(spans):
        return _cannot_judge(reading, spans)
    _tally(reading, spans)
    reading.text = text
    reading.spans = spans
    reading.json = False
    return 0


cdef int _cannot_judge(_Reading reading, Spans spans) except -1:
    reading.code = "body_too_large"
    if spans.error_at < 0:
        reading.detail = spans.error
    return 0


cdef bint _is_strict(str method, bytes target):
    # What `POST /proxy` takes is JSON whatever its content type says.
    return method == "POST" and (target == b"/proxy" or target.startswith(b"/proxy?"))


cdef _Reading _read(Gate gate, object request):
    # Everything that the decision and the record need to know of a request. `code` is None,
    # or says why it is refused.
    cdef _Reading reading = _Reading.__new__(_Reading)
    cdef bytes target = slot(request, REQUEST, TARGET)
    cdef bytes body = slot(request, REQUEST, BODY)
    cdef bytes coding
    cdef bytes text
    cdef _ContentType content_type
    cdef Spans spans
    cdef bint strict
    cdef Py_ssize_t length = PyBytes_GET_SIZE(body)
    reading.detail = ""
    reading.text = b""
    reading.decoded = b""
    reading.findings = ()
    reading.method = slot(request, REQUEST, METHOD)
    reading.caller = slot(request, REQUEST, CALLER)
    reading.peer = slot(request, REQUEST, PEER)
    reading.path = target
    # Requests have few targets, and the door gives one that comes again as the same object.
    if target is not gate._clean_target:
        spans = _look(gate, target, AS_TARGET)
        if _is_unjudged(spans):
            _cannot_judge(reading, spans)
            reading.path = b""
            return reading
        if spans.count:
            reading.path = _replaced(target, spans, None, False)
            _tally(reading, spans)
            reading.target_found = reading.tally.found()
        else:
            gate._clean_target = target

    if length > gate._max_body:
        reading.code = "body_too_large"
        return reading
    coding = _coding(slot(request, REQUEST, CONTENT_ENCODING))
    content_type = _content_type(slot(request, REQUEST, CONTENT_TYPE))
    strict = _is_strict(reading.method, target)
    reading.code = _unreadable(coding, content_type, strict)
    if reading.code is not None:
        return reading
    if coding and length:
        try:
            body = _decode(body, coding, gate._max_body)
        except _TooLarge:
            reading.code = "body_too_large"
            return reading
        except _Undecodable:
            reading.code = "malformed_coding"
            return reading
        length = PyBytes_GET_SIZE(body)
    reading.decoded = body
    if strict or (content_type.json and length):
        spans = _look(gate, body, AS_JSON)
        if _is_unjudged(spans):
            _cannot_judge(reading, spans)
            return reading
        if spans.error is not None:
            reading.code = "invalid_json"
            reading.detail = f"{spans.error} at byte {spans.error_at}"
            return reading
        _tally(reading, spans)
        reading.text = body
        reading.spans = spans
        reading.json = True
    elif length:
        text = _from_latin(body) if content_type.charset == CHARSET_LATIN else body
        _read_loose(gate, reading, text, AS_FORM if content_type.form else AS_TEXT)
    if reading.tally is not None:
        _judge_by(gate, reading)
        reading.findings = reading.tally.pairs()
    return reading


cdef int _judge_by(Gate gate, _Reading reading) except -1:
    # Fills `found`, without what is off: that stays in the spans alone, since records are
    # scrubbed of it all the same.
    reading.found = reading.tally.found()
    if not reading.found & gate._off:
        return 0
    reading.tally.leave_out(gate._off)
    reading.found &= ~gate._off
    if reading.target_found is not None:
        reading.target_found &= ~gate._off
    return 0


cdef bytes _without(Gate gate, bytes content_type_value, _Reading reading, object findings):
    # The decoded body with what is in this set replaced, or None where that cannot be done: in
    # the target, and in a body that is neither JSON nor a form nor text. Read once more as the
    # agent will: what is returned holds nothing but what the policy lets stay, and JSON is still
    # JSON. (A number that stood in the way of another may be gone.)
    cdef bytes text = reading.decoded
    cdef _ContentType content_type
    cdef _Reading again = _Reading.__new__(_Reading)
    cdef Spans spans
    cdef int form
    cdef object wrong = findings | ~(reading.found | gate._off)
    if reading.target_found is not None and reading.target_found & findings:
        return None
    if reading.json:
        text = _replaced(text, reading.spans, findings, False)
        spans = _look(gate, text, AS_JSON)
        _tally(again, spans)
        return None if spans.error is not None or _holds(again, wrong) else text
    content_type = _content_type(content_type_value)
    # A zero byte may be half of a UTF-16 character.
    if not (content_type.form or content_type.text) or b"\0" in text:
        return None
    form = AS_FORM if content_type.form else AS_TEXT
    if content_type.charset == CHARSET_LATIN:
        text = _from_latin(text)
    if _may_hold_json(text):
        text = _replaced(text, _look(gate, text, AS_JSON), findings, content_type.form)
    text = _replaced(text, _look(gate, text, form), findings, content_type.form)
    _read_loose(gate, again, text, form)
    if again.code is not None or _holds(again, wrong):
        return None
    return _to_latin(text) if content_type.charset == CHARSET_LATIN else text


cdef bint _holds(_Reading reading, object findings) except -1:
    return reading.tally is not None and (reading.tally.found() & findings) != 0


cdef str _unreadable(bytes coding, _ContentType content_type, bint strict):
    # The 415 that follows from the head alone, or None.
    if coding is None:
        return "unsupported_coding"
    if content_type.charset == CHARSET_UNREADABLE or (
        strict and content_type.charset != CHARSET_UTF8
    ):
        return "unsupported_charset"
    return None


cdef bytes _utf8(str text):
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


cdef bint _is_trace_id(bytes given):
    # Whether it has the shape of section 2.
    cdef Py_ssize_t at
    cdef Py_ssize_t length = PyBytes_GET_SIZE(given)
    cdef const unsigned char* data = <const unsigned char*>PyBytes_AS_STRING(given)
    if length > 128 or given == b"." or given == b"..":
        return False
    for at in range(length):
        if not OF_TRACE_ID[data[at]]:
            return False
    return length > 0


cdef str _trace_id(Gate gate, object request, str request_id):
    # Section 2: the caller's where it has the shape and holds no finding, else our own.
    cdef bytes given = slot(request, REQUEST, TRACE_ID)
    cdef Spans spans
    if given and _is_trace_id(given):
        spans = _look(gate, given, AS_TEXT)
        if spans.count == 0 and not _is_unjudged(spans):
            return given.decode()
    return request_id


cdef Line _line(
    Gate gate, const char* start, str trace_id, str request_id, long long time_ns,
    long long mono_ns
):
    # A tail with the fields that every record has, in the gate's one line: what is begun is
    # done before the next. `start` has the type, and the key of the trace ID behind it.
    cdef Line line = gate._line
    line.clear()
    line.literal(start)
    line.text(trace_id)
    line.literal(b',"request_id":')
    line.text(request_id)
    line.literal(b',"timestamp":')
    line.timestamp(time_ns)
    line.raw(gate._agent)
    line.integer(mono_ns)
    return line


cdef int _add_about(
    Gate gate, Line line, str method, bytes path, str caller, str peer
) except -1:
    # Who asked for what; each part free of findings.
    line.literal(b',"method":')
    if method == "POST" or method in COMMON_METHODS:
        line.text(method)
    else:
        line.string(_scrubbed(gate, _utf8(method), AS_TEXT))
    line.literal(b',"path":')
    line.string(path)
    line.literal(b',"caller":')
    if caller == "anonymous":
        line.literal(b'"anonymous"')
    else:
        line.string(_scrubbed(gate, _utf8(caller), AS_TEXT))
    line.literal(b',"peer":')
    return line.text(peer)


cdef int _add_json(Line line, bytes value, Spans spans) except -1:
    # A JSON value with what was found in it replaced.
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


cdef int _add_text(Line line, const char* key, bytes text, bint utf8) except -1:
    # A payload as a string: itself where it is UTF-8 (`utf8`: known to be), else base64.
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


cdef int _add_findings(Gate gate, Line line, tuple findings) except -1:
    cdef bint first = True
    line.literal(b',"findings":{')
    for finding, count in findings:
        if not first:
            line.literal(b",")
        first = False
        line.raw(gate._keys[finding])
        line.integer(count)
    return line.literal(b"}")


cdef int _describe(
    Gate gate, Line line, _Reading reading, const char* decision, const char* rule,
    bint quarantined
) except -1:
    # What a request's record has, and that of a block or a warning as well.
    cdef Py_ssize_t length = PyBytes_GET_SIZE(reading.decoded)
    _add_about(gate, line, reading.method, reading.path, reading.caller, reading.peer)
    line.literal(b',"decision":"')
    line.literal(decision)
    line.literal(b'","rule":"')
    line.literal(rule)
    line.literal(b'"')
    _add_findings(gate, line, reading.findings)
    line.literal(b',"trust_score":')
    line.raw(gate._score)
    if not length:
        line.literal(b',"payload":null')
    elif length > gate._keep:
        _add_text(
            line, b"payload", _cut(gate, reading.text, reading.spans, gate._keep), reading.json
        )
        line.literal(b',"payload_mac":"')
        line.ascii(gate._mac.of(reading.decoded))
        line.literal(b'"')
    elif reading.json:
        line.literal(b',"payload":')
        _add_json(line, reading.text, reading.spans)
    else:
        _add_text(line, b"payload", _replaced(reading.text, reading.spans, None, False), False)
    line.literal(b',"payload_bytes":')
    line.integer(length)
    if quarantined:
        return line.literal(b',"quarantined":true')
    return line.literal(b',"quarantined":false')


cdef object _refuse(
    Gate gate, object request, str code, str detail, int count, int agent_status,
    int retry_after_s, bytes path
):
    # The answer and the one record of a request that is not forwarded and was not judged.
    cdef Line line
    cdef str trace_id, request_id, sentence
    failure = FAILURES.get(code)
    if failure is None:
        failure = FAILURES["internal_error"]
    # After a framing error nothing that came with the request is believed.
    request_id = request.request_id
    trace_id = request_id if failure.closes else _trace_id(gate, request, request_id)
    if path is None:
        path = _scrubbed(gate, request.target, AS_TARGET)
    line = _line(
        gate, b'"type":"error","trace_id":', trace_id, request_id, request.time_ns,
        request.mono_ns,
    )
    _add_about(gate, line, request.method, path, request.caller, request.peer)
    sentence = failure.sentence
    if detail and code == "invalid_json":
        sentence = f"{sentence.removesuffix('.')}: {detail}."
        detail = ""
    _add_failure(gate, line, failure, sentence, detail, agent_status)
    if count > 1:
        line.literal(b',"count":')
        line.integer(count)
    line.literal(b"}")
    record = line.done()
    return Respond(
        status=failure.status,
        decision=failure.decision,
        code=failure.code,
        body=_error_body(gate, sentence, failure.code, trace_id),
        trace_id=trace_id,
        trust_score=gate.trust_score,
        records=(record,),
        retry_after_s=retry_after_s or failure.retry_after_s,
        closes=failure.closes,
    )


cdef int _add_failure(
    Gate gate, Line line, object failure, str sentence, str detail, int agent_status
) except -1:
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
        line.string(_scrubbed(gate, _utf8(detail), AS_TEXT))
    if agent_status:
        line.literal(b',"agent_status":')
        line.integer(agent_status)
    return 0


cdef bytes _error_body(Gate gate, str sentence, str code, str trace_id):
    cdef Line line = gate._line
    line.clear()
    line.literal(b'{"error":')
    line.text(sentence)
    line.literal(b',"code":')
    line.text(code)
    line.literal(b',"trace_id":')
    line.text(trace_id)
    line.literal(b"}")
    return line.done()


cdef object _blocked(
    Gate gate, object request, str trace_id, str request_id, _Reading reading, _Row row
):
    cdef Line line
    line = _line(
        gate, b'"type":"blocked","trace_id":', trace_id, request_id, request.time_ns,
        request.mono_ns,
    )
    line.literal(b',"reason":')
    line.raw(row.reason_json)
    line.literal(b',"code":"')
    line.raw(row.rule)
    line.literal(b'"')
    _describe(gate, line, reading, b"block", row.rule, False)
    line.literal(b"}")
    record = line.done()
    line.clear()
    line.literal(b'{"error":')
    line.raw(row.reason_json)
    line.literal(b',"code":"')
    line.raw(row.rule)
    line.literal(b'","blocked":true,"trust_score":')
    line.raw(gate._score)
    line.literal(b',"trace_id":')
    line.text(trace_id)
    line.literal(b"}")
    return Respond(
        status=403,
        decision="block",
        code=row.code,
        body=line.done(),
        trace_id=trace_id,
        trust_score=gate.trust_score,
        records=(record,),
        findings=reading.findings,
    )


cdef object _bound(Gate gate, object request, str trace_id):
    return tickets.Bound(
        caller=request.caller,
        method=request.method,
        target=request.target,
        content_type=request.content_type,
        content_encoding=request.content_encoding,
        body=request.body,
        policy_version=gate._policy_version,
        trace_id=trace_id,
    )


cdef object _confirmed(Gate gate, object request, str trace_id):
    # None, or the ticket's ID and expiry; ("", 0) where the override is no ticket.
    cdef bytes given = request.override
    if not given:
        return None
    if gate._mode == OverrideMode.HEADER:
        return ("", 0) if given == b"true" else None
    if gate._mode == OverrideMode.SECRET:
        return ("", 0) if hmac.compare_digest(given, gate._secret) else None
    if gate._mode == OverrideMode.TICKET:
        ticket = tickets.check(
            gate.policy.ticket_key, given, _bound(gate, request, trace_id),
            now_s=request.time_ns // 1000000000,
        )
        return None if ticket is None else (ticket.ticket_id, ticket.expires_s)
    return None


cdef object _warned(
    Gate gate, object request, str trace_id, str request_id, _Reading reading, _Row row
):
    cdef Line line
    cdef str token = ""
    cdef bint can_override = gate._mode != OverrideMode.OFF
    line = _line(
        gate, b'"type":"warning","trace_id":', trace_id, request_id, request.time_ns,
        request.mono_ns,
    )
    line.literal(b',"warning":')
    line.raw(row.warning_json)
    line.literal(b',"code":"')
    line.raw(row.rule)
    line.literal(b'"')
    _describe(gate, line, reading, b"warn", row.rule, False)
    line.literal(b"}")
    record = line.done()
    if gate._mode == OverrideMode.TICKET:
        token = tickets.issue(
            gate.policy.ticket_key, _bound(gate, request, trace_id),
            request_id=request_id, now_s=request.time_ns // 1000000000,
        )
    line.clear()
    line.literal(b'{"warning":')
    line.raw(row.warning_json)
    line.literal(b',"code":"')
    line.raw(row.rule)
    line.literal(b'","requires_override":')
    line.literal(b"true" if can_override else b"false")
    line.literal(b',"trust_score":')
    line.raw(gate._score)
    if token:
        line.literal(b',"override_token":')
        line.text(token)
    line.literal(b',"message":')
    line.text(decisions.override_message(gate._mode, token, trace_id))
    line.literal(b',"trace_id":')
    line.text(trace_id)
    line.literal(b"}")
    return Respond(
        status=449,
        decision="warn",
        code=row.code,
        body=line.done(),
        trace_id=trace_id,
        trust_score=gate.trust_score,
        records=(record,),
        findings=reading.findings,
    )


cdef _Row _row_of(Gate gate, _Reading reading):
    # What the policy says of what was found; made when it is first found.
    cdef _Row row
    if reading.found is None:
        return gate._clear
    row = gate._rows.get(reading.found)
    if row is None:
        row = _Row(
            gate.names,
            decisions.decide(gate.policy, _names_in(gate, reading.found), gate.trust_score),
        )
        if len(gate._rows) >= MOST_ROWS:
            gate._rows.clear()
        gate._rows[reading.found] = row
    return row


cdef _Row _redacting(Gate gate, object request, _Reading reading, _Row row):
    # The row that holds once `sent` is filled, or could not be.
    reading.sent = _without(gate, request.content_type, reading, row.redacts)
    return row if reading.sent is not None else row.otherwise


cdef bytes _path_of(bytes target):
    # What stands behind /proxy, without the query.
    return target[6:].partition(b"?")[0] if target.startswith(b"/proxy") else target


cdef tuple _closed(Gate gate, str method, bytes target):
    # None, or the code and the methods (as in Allow) where the policy does not open the path.
    if not gate.limits_paths:
        return None
    methods = decisions.closed(gate.policy.table, method, _path_of(target))
    if methods is None:
        return None
    return ("method_not_allowed", methods) if methods else ("path_not_open", "")


cdef int _begin_answer(
    Gate gate, Forward forward, const unsigned char* data, Py_ssize_t length
) except -1:
    # From here on what passes is looked at as it comes: first what has been kept, which is all
    # that came before, then `data`. What can't be read stays unread, as in the record.
    cdef bytes coding = _coding(forward._content_encoding)
    cdef _ContentType content_type = _content_type(forward._content_type)
    cdef bytes begun = b""
    cdef bytes piece
    cdef int form = AS_TEXT
    cdef object inflater = None
    if coding is None or content_type.charset == CHARSET_UNREADABLE:
        return 0
    if forward._kept is not None:
        begun = bytes(forward._kept)
    elif forward._first is not None:
        begun = forward._first
    piece = PyBytes_FromStringAndSize(<const char*>data, length)
    if coding:
        inflater = _inflater(begun + piece, coding)
    if (
        content_type.json or content_type.events
        or (not coding and _may_hold_json((begun + piece)[:gate._keep + gate._ahead]))
    ):
        form = AS_JSON
    elif content_type.form:
        form = AS_FORM
    forward._answer = Answer(
        form, content_type.events, inflater, gate._max_body, gate._patterns
    )
    if begun:
        forward._answer.add(
            <const unsigned char*>PyBytes_AS_STRING(begun), PyBytes_GET_SIZE(begun)
        )
    return forward._answer.add(data, length)


cdef object _answer(Gate gate, Line line, Forward forward, bint whole):
    # Adds what is recorded of the agent's answer; `forward.answer_findings` is what is in it.
    cdef bytes text = b""
    cdef list across = []
    cdef int finding
    cdef bytes coding
    cdef _Reading reading = _Reading.__new__(_Reading)
    cdef Spans spans
    cdef _ContentType content_type
    cdef Py_ssize_t limit = gate._keep
    if forward._kept is not None:
        text = bytes(forward._kept)
    elif forward._first is not None:
        text = forward._first
    if forward.answer_bytes > PyBytes_GET_SIZE(text):
        whole = False
    if forward._answer is not None:
        forward.answer_findings = forward._answer.end()
        forward._answer = None
    if not text:
        line.literal(b',"response":null')
        return None
    coding = _coding(forward._content_encoding)
    content_type = _content_type(forward._content_type)
    if coding is None or content_type.charset == CHARSET_UNREADABLE:
        # What can't be read can't be scrubbed.
        line.literal(b',"response":null,"response_omitted":')
        line.literal(b'"unknown_coding"' if coding is None else b'"unknown_charset"')
        return None
    if coding:
        try:
            inflater = _inflater(text, coding)
            text = inflater.decompress(text, limit + gate._ahead)
            if not inflater.eof or inflater.unused_data:
                whole = False
        except zlib.error:
            line.literal(b',"response":null,"response_omitted":"malformed_coding"')
            return None
    if content_type.charset == CHARSET_LATIN:
        text = _from_latin(text)
    if content_type.json and whole and PyBytes_GET_SIZE(text) <= limit:
        spans = _look(gate, text, AS_JSON)
        if spans.error is None:
            line.literal(b',"response":')
            _add_json(line, text, spans)
            if spans.count and not coding:
                _tally(reading, spans)
                forward.answer_findings = reading.tally.pairs()
            return None
    if content_type.events:
        text = scrub_deltas(text, whole, across, gate._patterns)
    _read_loose(gate, reading, text, AS_FORM if content_type.form else AS_TEXT)
    if reading.code is not None:
        line.literal(b',"response":null,"response_omitted":')
        line.literal(b'"patterns_too_slow"' if reading.detail else b'"too_much_encoded"')
        return None
    # What is longer, or compressed, has been counted as it passed.
    if (
        (reading.tally is not None or across) and not coding
        and forward.answer_bytes <= gate._keep + gate._ahead
    ):
        if reading.tally is None:
            reading.tally = _Tally.__new__(_Tally)
        for finding in across:
            reading.tally.add(finding)
        forward.answer_findings = reading.tally.pairs()
    if not whole:
        limit = min(limit, settled(reading.text))
    _add_text(line, b"response", _cut(gate, reading.text, reading.spans, limit), False)
    return None


cdef bint _making = False


@cython.final
@cython.no_gc
@cython.freelist(8)
cdef class Forward:
    def __cinit__(self):
        if not _making:
            raise TypeError("only Gate.admit makes a Forward")


cdef Forward _forward(
    Gate gate, object request, str trace_id, str request_id, _Reading reading, object grant,
    const char* rule, bytes warning_json, bytes would
):
    # `would`: what the policy would have done, as JSON, where it only observes; else None.
    global _making
    cdef Forward forward
    cdef Line line
    cdef long long time_ns, mono_ns
    _making = True
    try:
        forward = Forward.__new__(Forward)
    finally:
        _making = False
    forward._gate = gate
    forward.trace_id = trace_id
    forward.request_id = request_id
    forward.trust_score = gate.trust_score
    forward.findings = reading.findings
    forward.quarantined = grant is not None
    if would is None:
        forward.body = reading.sent
    forward._method = reading.method
    forward.answer_findings = ()
    forward._path = reading.path
    forward._caller = reading.caller
    forward._peer = reading.peer
    time_ns = slot(request, REQUEST, TIME_NS)
    mono_ns = slot(request, REQUEST, MONO_NS)
    line = _line(gate, b'"type":"request","trace_id":', trace_id, request_id, time_ns, mono_ns)
    _describe(gate, line, reading, b"allow", rule, forward.quarantined)
    if would is not None:
        line.literal(b',"would":')
        line.raw(would)
    elif reading.sent is not None:
        line.literal(b',"redacted":true')
    line.literal(b"}")
    if not forward.quarantined:
        forward.records = (line.done(),)
        return forward
    record = line.done()
    line = _line(
        gate, b'"type":"user_override","trace_id":', trace_id, request_id, time_ns, mono_ns
    )
    line.literal(b',"warning":')
    line.raw(warning_json)
    line.literal(b',"trust_score":')
    line.raw(gate._score)
    line.literal(b',"session_id":')
    line.text(grant.session_id)
    line.literal(b"}")
    forward.records = (record, line.done())
    return forward


cdef bytes _would(_Reading reading, _Row row, tuple closed):
    # What a policy that only observes would have done, for the record.
    if closed is not None:
        return b'{"decision":"refuse","rule":"%b"}' % (<str>closed[0]).encode()
    return b'{"decision":"%b","rule":"%b"%b}' % (
        row.decision.encode(), row.rule,
        b',"redacted":true' if reading.sent is not None and row.action <= REDACTS else b"",
    )


cdef set _spans_of(Gate gate, str part, Spans spans):
    cdef Py_ssize_t i
    cdef set found = set()
    for i in range(spans.count):
        found.add((
            part, spans.items[i].start, spans.items[i].end,
            gate.names[finding_of(&spans.items[i])],
        ))
    return found


def _by_place(row):
    # The target comes before the body.
    return row[0] != "target", row[1:]


cdef int _end(Gate gate, Forward forward) except -1:
    if forward._gate is not gate:
        raise RuntimeError("this Forward is another gate's")
    if forward.ended:
        raise RuntimeError("this Forward has ended before")
    forward.ended = True
    return 0


@cython.final
cdef class Gate:
    """Decides on requests and records what came of them; no I/O and no clock.

    What it keeps only saves work; no decision depends on it. For one thread.
    """

    def __init__(self, policy):
        """`policy` is a GatePolicy; its score is computed here, once.

        Raises:
            ValueError: a key or a secret that the mode needs is missing or too short.
        """
        if policy.override == OverrideMode.TICKET and len(policy.ticket_key) < 16:
            raise ValueError("mode ticket needs a ticket_key of 16 bytes or more")
        if policy.override == OverrideMode.SECRET and len(policy.override_token) < 16:
            raise ValueError("mode secret needs an override_token of 16 characters or more")
        self.policy = policy
        self.trust_score = trust.score(
            policy.trust_level, policy.reversibility, policy.retention,
            policy.human_in_loop, policy.training_consent,
        )
        self._mode = OverrideMode(policy.override)
        table = policy.table
        names = self.names = table.findings
        self._keys = tuple([f'"{name}":'.encode() for name in names])
        if table.patterns:
            self._patterns = Patterns([pattern.regex for pattern in table.patterns])
        self._clear = _Row(names, decisions.decide(policy, (), self.trust_score))
        self._rows = {0: self._clear}
        self._off = _set_of(names, [name for name in names if not table.is_on(name)])
        self._observes = table.mode == Mode.OBSERVE
        judged = [name for name in names if table.is_on(name) and not self._observes]
        self._answer_redacts = _set_of(
            names, [name for name in judged if table.answer(name) == AnswerAction.REDACT]
        )
        self._answer_blocks = _set_of(
            names, [name for name in judged if table.answer(name) == AnswerAction.BLOCK]
        )
        self.judges_answers = (self._answer_redacts | self._answer_blocks) != 0
        self.limits_paths = len(policy.table.open) > 0
        self._agent = b',"agent_id":%b,"mono_ns":' % json_string(_utf8(policy.agent_id))
        self._line = Line()
        self._score = str(self.trust_score).encode()
        self._secret = policy.override_token.encode()
        self._mac = Mac(policy.mac_key)
        self._policy_version = policy.policy_version
        self._keep = policy.record_body_bytes
        self._ahead = LOOKAHEAD if self._patterns is None else OWN_LOOKAHEAD
        self._max_body = policy.max_body_bytes

    cpdef str trace_id(self, object request):
        """The caller's trace ID where it may be kept (section 2), else the request's own ID."""
        return _trace_id(self, request, request.request_id)

    def scrub_target(self, bytes target not None):
        """Return a request target as a record may have it."""
        return _scrubbed(self, target, AS_TARGET)

    cpdef tuple closed(self, str method, bytes target):
        """Return None, or the code of the refusal and what `Allow` holds (405 alone).

        Only where `limits_paths`; a policy that observes closes nothing.
        """
        return None if self._observes else _closed(self, method, target)

    cdef bint reads(self, bytes content_type) except -1:
        # Whether a body of this type can be read, however it is asked for.
        return _content_type(content_type).charset == CHARSET_UTF8

    cpdef object admit_head(
        self, object request, object declared_length=None, int rate_retry_after_s=0
    ):
        """Return the refusal that follows from the head alone, or None.

        `rate_retry_after_s` above 0 means that the caller is over a rate limit.
        `declared_length` is the Content-Length, or None where there is none.
        """
        cdef str code
        cdef bytes target
        if rate_retry_after_s > 0:
            return _refuse(self, request, "rate_limited", "", 1, 0, rate_retry_after_s, None)
        if declared_length is not None and declared_length > self._max_body:
            return _refuse(self, request, "body_too_large", "", 1, 0, 0, None)
        target = request.target
        code = _unreadable(
            _coding(request.content_encoding), _content_type(request.content_type),
            _is_strict(request.method, target),
        )
        if code is not None:
            return _refuse(self, request, code, "", 1, 0, 0, None)
        return None

    cpdef object admit(self, object request, object grant=None):
        """Return the verdict on a complete request: Forward, Respond or Claim.

        After a Claim the same request comes again with the Grant; one that was not granted
        counts as no override. Costs one pass over the target and one over the body.
        """
        cdef _Reading reading
        cdef str request_id, trace_id
        cdef tuple closed = None
        cdef _Row row
        cdef Forward forward
        if self.limits_paths:
            closed = _closed(self, request.method, request.target)
            if closed is not None and not self._observes:
                return _refuse(self, request, closed[0], "", 1, 0, 0, None)
        reading = _read(self, request)
        if reading.code is not None:
            return _refuse(
                self, request, reading.code, reading.detail, 1, 0, 0, reading.path
            )
        request_id = slot(request, REQUEST, REQUEST_ID)
        trace_id = _trace_id(self, request, request_id)
        row = _row_of(self, reading)
        if row.redacts is not None:
            row = _redacting(self, request, reading, row)
        if self._observes:
            forward = _forward(
                self, request, trace_id, request_id, reading, None, b"observe", None,
                _would(reading, row, closed),
            )
            forward.spared = closed is not None or row.action != ALLOWS
            return forward
        if row.action == BLOCKS:
            return _blocked(self, request, trace_id, request_id, reading, row)
        if row.action != WARNS:
            return _forward(
                self, request, trace_id, request_id, reading, None, row.rule, None, None
            )
        confirmed = _confirmed(self, request, trace_id)
        if confirmed is None or (grant is not None and not grant.granted):
            return _warned(self, request, trace_id, request_id, reading, row)
        if grant is None:
            return Claim(
                trace_id=trace_id,
                ticket_id=confirmed[0],
                expires_s=confirmed[1],
                session_id=decisions.session_id(request_id),
                warning=row.warning,
                trust_score=self.trust_score,
                time_ns=request.time_ns,
            )
        return _forward(
            self, request, trace_id, request_id, reading, grant, b"override", row.warning_json,
            None,
        )

    cpdef object refuse(
        self, object request, str code, str detail="", int count=1, int agent_status=0
    ):
        """Return the answer to a request that is refused or broke before it was admitted.

        `code` is one of FAILURES (an unknown one is internal_error). `detail` goes into the
        record alone. `count` above 1: the record sums up so many refusals.
        """
        return _refuse(self, request, code, detail, count, agent_status, 0, None)

    cpdef object fail(
        self, Forward forward, str code, long long time_ns, long long mono_ns, str detail=""
    ):
        """Return the answer to an admitted request that broke; its record ends the Forward.

        Raises:
            RuntimeError: the Forward has ended before (a bug).
        """
        cdef Line line
        _end(self, forward)
        failure = FAILURES.get(code)
        if failure is None:
            failure = FAILURES["internal_error"]
        line = _line(
            self, b'"type":"error","trace_id":', forward.trace_id, forward.request_id, time_ns,
            mono_ns,
        )
        _add_about(self, line, forward._method, forward._path, forward._caller, forward._peer)
        _add_failure(self, line, failure, failure.sentence, detail, forward.agent_status)
        if forward.quarantined:
            line.literal(b',"quarantined":true}')
        else:
            line.literal(b',"quarantined":false}')
        record = line.done()
        return Respond(
            status=failure.status,
            decision=failure.decision,
            code=failure.code,
            body=_error_body(self, failure.sentence, failure.code, forward.trace_id),
            trace_id=forward.trace_id,
            trust_score=self.trust_score,
            records=(record,),
            findings=forward.findings,
            retry_after_s=failure.retry_after_s,
            closes=failure.closes,
        )

    cpdef object settle_head(
        self, Forward forward, int status, bytes content_type, bytes content_encoding
    ):
        """Take the head of the agent's final answer; a retried one replaces the first."""
        if forward.ended:
            raise RuntimeError("this Forward has ended before")
        forward.agent_status = status
        forward._content_type = content_type
        forward._content_encoding = content_encoding

    cpdef object settle_piece(self, Forward forward, bytes piece):
        """Take a piece of the agent's answer, content-encoded as it came."""
        if (
            forward._first is None and forward._kept is None and not forward.ended
            and 0 < len(piece) <= self._keep + self._ahead and not forward._content_encoding
        ):
            # Most answers come in one piece, which is then held and not copied.
            forward._first = piece
            forward.answer_bytes = PyBytes_GET_SIZE(piece)
            return
        self.settle_bytes(
            forward, <const unsigned char*>PyBytes_AS_STRING(piece), PyBytes_GET_SIZE(piece)
        )

    cdef int settle_bytes(
        self, Forward forward, const unsigned char* data, Py_ssize_t length
    ) except -1:
        cdef Py_ssize_t room
        if forward.ended:
            raise RuntimeError("this Forward has ended before")
        if length <= 0:
            return 0
        forward.answer_bytes += length
        if forward._answer is not None:
            forward._answer.add(data, length)
        elif forward.answer_bytes > self._keep + self._ahead or (
            # Of two bytes it can be told which kind of deflate it is.
            forward._content_encoding and forward.answer_bytes > 1
            and _coding(forward._content_encoding)
        ):
            # No longer what is looked at whole in the end.
            _begin_answer(self, forward, data, length)
        if forward._kept is None:
            if forward._first is None:
                room = min(length, self._keep + self._ahead)
                forward._first = PyBytes_FromStringAndSize(<const char*>data, room)
                return 0
            room = self._keep + self._ahead - PyBytes_GET_SIZE(forward._first)
            if room <= 0:
                return 0
            forward._kept = bytearray(forward._first)
            forward._first = None
        room = self._keep + self._ahead - len(forward._kept)
        if room > 0:
            forward._kept += PyBytes_FromStringAndSize(<const char*>data, min(room, length))
        return 0

    cpdef bint holds(self, bytes content_type, bint has_length) except -1:
        """Return whether an answer is judged before its caller gets it: where it does not stream.

        A stream is one by its content type; also what has no length and is not JSON.
        """
        cdef _ContentType found = _content_type(content_type)
        return self.judges_answers and not found.events and (has_length or found.json)

    cpdef bytes judge(self, Forward forward, bytes body):
        """Return what the caller gets in place of this body, which is the whole answer.

        The same object where nothing is replaced; None where the caller does not get it, and
        `forward.withheld` says why. What can't be read can't be judged, and is withheld.
        """
        cdef _Reading reading
        cdef bytes text = body
        cdef bytes coding = _coding(forward._content_encoding)
        cdef _ContentType content_type = _content_type(forward._content_type)
        cdef Spans spans
        if coding is None or content_type.charset == CHARSET_UNREADABLE:
            forward.withheld = "it cannot be read"
            return None
        if coding:
            try:
                text = _decode(body, coding, self._max_body)
            except (_TooLarge, _Undecodable):
                forward.withheld = "it cannot be decoded"
                return None
        reading = _Reading.__new__(_Reading)
        reading.decoded = text
        if content_type.json:
            spans = _look(self, text, AS_JSON)
            reading.json = spans.error is None
            if reading.json:
                _tally(reading, spans)
                reading.spans = spans
        if not reading.json:
            _read_loose(
                self, reading, _from_latin(text) if content_type.charset == CHARSET_LATIN else text,
                AS_FORM if content_type.form else AS_TEXT,
            )
            if reading.code is not None:
                forward.withheld = reading.detail or "too much is encoded in it"
                return None
        if reading.tally is None:
            return body
        _judge_by(self, reading)
        if reading.found & self._answer_blocks:
            forward.withheld = ", ".join(_names_in(self, reading.found & self._answer_blocks))
            return None
        if not reading.found & self._answer_redacts:
            return body
        text = _without(self, forward._content_type, reading, self._answer_redacts)
        if text is None:
            forward.withheld = "what is found cannot be replaced"
            return None
        forward.answer_redacted = True
        return text

    cpdef bytes settle_end(
        self, Forward forward, object outcome, long long latency_us, long long time_ns,
        long long mono_ns
    ):
        """Return the `response` record, which ends the Forward.

        `outcome` is an Outcome or its text. `latency_us` runs to the end of the answer.

        Raises:
            RuntimeError: the Forward has ended before, or no head was settled (bugs).
        """
        cdef Line line
        cdef bint truncated = outcome is TRUNCATED or outcome == TRUNCATED
        if not truncated and outcome is not ANSWERED and outcome != ANSWERED:
            raise ValueError("outcome is 'answered' or 'truncated'")
        if not forward.agent_status:
            raise RuntimeError("no head was settled")
        _end(self, forward)
        line = _line(
            self, b'"type":"response","trace_id":', forward.trace_id, forward.request_id,
            time_ns, mono_ns,
        )
        line.literal(b',"status_code":')
        line.integer(forward.agent_status)
        line.literal(b',"latency_ms":')
        line.milliseconds(latency_us)
        _answer(self, line, forward, not truncated)
        line.literal(b',"response_bytes":')
        line.integer(forward.answer_bytes)
        if forward.answer_findings:
            _add_findings(self, line, forward.answer_findings)
        if forward.answer_redacted:
            line.literal(b',"redacted":true')
        if truncated:
            line.literal(b',"truncated":true}')
        else:
            line.literal(b',"truncated":false}')
        forward._first = None
        forward._kept = None
        return line.done()

    def explain(self, request):
        """Return what `admit` would do with this request and why, without any found value.

        Overrides are not looked at. `spans` are byte offsets: in the target, and in the body
        after its content coding is taken off.
        """
        cdef _Row row
        cdef tuple closed = _closed(self, request.method, request.target)
        cdef _Reading reading = _read(self, request)
        cdef set found = _spans_of(self, "target", _look(self, request.target, AS_TARGET))
        if reading.source is not None:
            # The passes of `_read` build on each other; here the offsets have to be those of
            # one text.
            if _may_hold_json(reading.source):
                found |= _spans_of(self, "body", _look(self, reading.source, AS_JSON))
            found |= _spans_of(self, "body", _look(self, reading.source, reading.form))
        elif reading.spans is not None:
            found |= _spans_of(self, "body", reading.spans)
        shown = [
            {"part": part, "kind": kind, "start": start, "end": end}
            for part, start, end, kind in sorted(found, key=_by_place)
        ]
        findings = {self.names[finding]: count for finding, count in reading.findings}
        verdict = {
            "trust_score": self.trust_score,
            "findings": findings,
            "spans": shown,
        }
        if closed is not None and not self._observes:
            reading.code, reading.detail = closed[0], ""
        if reading.code is not None:
            failure = FAILURES[reading.code]
            return {
                "verdict": "refuse", "status": failure.status, "rule": failure.code,
                "code": failure.code, "error": failure.sentence, "detail": reading.detail,
            } | verdict
        row = _row_of(self, reading)
        if row.redacts is not None:
            row = _redacting(self, request, reading, row)
        if self._observes:
            return {
                "verdict": "allow", "rule": policies.RULE_OBSERVE,
                "would": json.loads(_would(reading, row, closed)),
            } | verdict
        if row.action == BLOCKS:
            return {
                "verdict": "block", "status": 403, "rule": row.code, "code": row.code,
                "error": row.reason,
            } | verdict
        if row.action == WARNS:
            return {
                "verdict": "warn", "status": 449, "rule": row.code, "code": row.code,
                "warning": row.warning, "requires_override": self._mode != OverrideMode.OFF,
            } | verdict
        if reading.sent is not None:
            verdict["redacted"] = True
        return {"verdict": "allow", "rule": row.code} | verdict
