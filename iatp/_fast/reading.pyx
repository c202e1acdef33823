"""Reads a payload once: what is found in it, and what it is without that.

A `Scanner` knows of a policy what there is to look for; what follows from a finding is the
gate's to say. A `Reading` holds the spans that decide, and the same spans scrub. A body that need
not be JSON is read in each way in which an agent could read it.

Sets of findings are integers with a bit for each, as it stands in the gate's `names`. They are
only made where something was found. Protocol sections 5 and 6.
"""

cimport cython
from libc.stdint cimport uint64_t
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from iatp._fast.content cimport (
    CHARSET_LATIN, ContentType, coding_of, decode, from_latin, to_latin, type_of, unreadable,
)
from iatp._fast.patterns cimport Patterns
from iatp._fast.record cimport cut_at
from iatp._fast.scan cimport is_too_much, mark, scan
from iatp._fast.slots cimport slot, slot_of
from iatp._fast.text cimport AS_FORM, AS_JSON, AS_TARGET, AS_TEXT, Span, Spans, finding_of

from urllib.parse import quote

from iatp._fast.content import CodingError
from iatp.values.exchange import Request

cdef extern from *:
    int __builtin_ctzll(unsigned long long word) noexcept nogil

cdef enum:
    # How far before a cut is looked for what only the cut made look like a value: 19 digits and 18
    # separators, each a doubly escaped \\\\u0034.
    LOOKBACK = 512

# Where the fields lie that every request is asked for.
cdef object REQUEST = Request
cdef Py_ssize_t METHOD = slot_of(Request, "method")
cdef Py_ssize_t TARGET = slot_of(Request, "target")
cdef Py_ssize_t CONTENT_TYPE = slot_of(Request, "content_type")
cdef Py_ssize_t CONTENT_ENCODING = slot_of(Request, "content_encoding")
cdef Py_ssize_t BODY = slot_of(Request, "body")
cdef Py_ssize_t CALLER = slot_of(Request, "caller")
cdef Py_ssize_t PEER = slot_of(Request, "peer")


@cython.final
@cython.no_gc
@cython.freelist(2)
cdef class Tally:
    """How many there are of each finding."""

    cdef void add(self, int finding) noexcept:
        self.counts[finding] += 1
        self.words[finding >> 6] |= <uint64_t>1 << (finding & 63)

    cdef object found(self):
        """The set of what there is."""
        cdef int word
        cdef object found = self.words[0]
        for word in range(1, FINDING_WORDS):
            if self.words[word]:
                found |= <object>self.words[word] << 64 * word
        return found

    cdef tuple pairs(self):
        """As Respond has them."""
        cdef int word, finding
        cdef uint64_t rest
        cdef list pairs = []
        for word in range(FINDING_WORDS):
            rest = self.words[word]
            while rest:
                finding = 64 * word + __builtin_ctzll(rest)
                rest &= rest - 1
                pairs.append((finding, self.counts[finding]))
        return tuple(pairs)

    cdef int leave_out(self, object findings) except -1:
        cdef int word
        for word in range(FINDING_WORDS):
            self.words[word] &= ~<uint64_t>(findings >> 64 * word & 0xffffffffffffffff)
        return 0


@cython.final
@cython.no_gc
@cython.freelist(2)
cdef class Reading:
    """One payload as it was read."""

    cdef int add(self, int finding) except -1:
        """Counts one more."""
        if self.tally is None:
            self.tally = Tally.__new__(Tally)
        self.tally.add(finding)
        return 0

    cdef int count(self, Spans spans) except -1:
        """Counts what was found."""
        cdef Py_ssize_t i
        for i in range(spans.count):
            self.add(finding_of(&spans.items[i]))
        return 0


@cython.final
cdef class Scanner:
    """Reads payloads by one policy; for one thread."""

    cdef Spans look(self, bytes data, int form):
        """What the scan finds, and the policy's own patterns."""
        cdef Spans spans = scan(data, form)
        if self.patterns is not None:
            _look_for_own(self.patterns, data, form, spans)
        return spans

    cdef Reading read(self, object request):
        """Everything that the decision and the record need to know of a request.

        Its `code` is None, or says why the request is refused.
        """
        cdef Reading reading = Reading.__new__(Reading)
        cdef bytes target = slot(request, REQUEST, TARGET)
        cdef bytes body = slot(request, REQUEST, BODY)
        cdef bytes coding
        cdef ContentType content_type
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
        if target is not self.clean_target:
            spans = self.look(target, AS_TARGET)
            if is_unjudged(spans):
                _cannot_judge(reading, spans)
                reading.path = b""
                return reading
            if spans.count:
                reading.path = replaced(target, spans, None, False)
                reading.count(spans)
                reading.target_found = reading.tally.found()
            else:
                self.clean_target = target

        if length > self.max_body:
            reading.code = "body_too_large"
            return reading
        coding = coding_of(slot(request, REQUEST, CONTENT_ENCODING))
        content_type = type_of(slot(request, REQUEST, CONTENT_TYPE))
        strict = is_strict(reading.method, target)
        reading.code = unreadable(coding, content_type, strict)
        if reading.code is not None:
            return reading
        if coding and length:
            try:
                body = decode(body, coding, self.max_body)
            except CodingError as failed:
                reading.code = failed.args[0]
                return reading
            length = PyBytes_GET_SIZE(body)
        reading.decoded = body
        if strict or (content_type.json and length):
            self._read_json(reading, body)
        elif length:
            if content_type.charset == CHARSET_LATIN:
                body = from_latin(body)
            self._read_loose(reading, body, AS_FORM if content_type.form else AS_TEXT)
        if reading.tally is not None:
            self.leave_out_off(reading)
            reading.findings = reading.tally.pairs()
        return reading

    cdef int read_any(
        self, Reading reading, bytes text, ContentType content_type, bint json
    ) except -1:
        """Reads an answer: as JSON where that is asked for and it is, else in each way."""
        cdef Spans spans
        if json:
            spans = self.look(text, AS_JSON)
            if is_unjudged(spans):
                return _cannot_judge(reading, spans)
            if spans.error is None:
                return _take_json(reading, text, spans)
        return self._read_loose(reading, text, AS_FORM if content_type.form else AS_TEXT)

    cdef int _read_json(self, Reading reading, bytes body) except -1:
        cdef Spans spans = self.look(body, AS_JSON)
        if is_unjudged(spans):
            return _cannot_judge(reading, spans)
        if spans.error is not None:
            reading.code = "invalid_json"
            reading.detail = f"{spans.error} at byte {spans.error_at}"
            return 0
        return _take_json(reading, body, spans)

    cdef int _read_loose(self, Reading reading, bytes text, int form) except -1:
        """Reads a body that need not be JSON.

        Since the agent may still read it as JSON, or as UTF-16, it is read in each way it could
        be; what an earlier reading found is scrubbed before the next one looks, so nothing is
        counted twice.
        """
        cdef Spans spans
        cdef bytes narrow
        reading.source = text
        reading.form = form
        if may_hold_json(text):
            # Also where it ends in an error: what stands before that is read as JSON all the same.
            spans = self.look(text, AS_JSON)
            if is_unjudged(spans):
                return _cannot_judge(reading, spans)
            if spans.count:
                reading.count(spans)
                text = replaced(text, spans, None, False)
        if b"\0" in text:
            narrow = text.replace(b"\0", b"")
            spans = self.look(narrow, AS_TEXT)
            if spans.count or is_unjudged(spans):
                text = narrow
        spans = self.look(text, form)
        if is_unjudged(spans):
            return _cannot_judge(reading, spans)
        reading.count(spans)
        reading.text = text
        reading.spans = spans
        return 0

    cdef int leave_out_off(self, Reading reading) except -1:
        """Fills `found`, without what is off.

        That stays in the spans alone, since records are scrubbed of it all the same.
        """
        reading.found = reading.tally.found()
        if not reading.found & self.off:
            return 0
        reading.tally.leave_out(self.off)
        reading.found &= ~self.off
        if reading.target_found is not None:
            reading.target_found &= ~self.off
        return 0

    cdef bytes without(self, ContentType content_type, Reading reading, object findings):
        """The decoded body with what is in this set replaced, or None where that cannot be done.

        It cannot in the target, and in a body that is neither JSON nor a form nor text. What is
        made is read once more as the agent will: it holds nothing but what the policy lets stay,
        and JSON is still JSON. (A number that stood in the way of another may be gone.)
        """
        cdef bytes text = reading.decoded
        cdef Reading again = Reading.__new__(Reading)
        cdef Spans spans
        cdef int form
        cdef object wrong = findings | ~(reading.found | self.off)
        if reading.target_found is not None and reading.target_found & findings:
            return None
        if reading.json:
            text = replaced(text, reading.spans, findings, False)
            spans = self.look(text, AS_JSON)
            again.count(spans)
            return None if spans.error is not None or _holds(again, wrong) else text
        # A zero byte may be half of a UTF-16 character.
        if not (content_type.form or content_type.text) or b"\0" in text:
            return None
        form = AS_FORM if content_type.form else AS_TEXT
        if content_type.charset == CHARSET_LATIN:
            text = from_latin(text)
        if may_hold_json(text):
            text = replaced(text, self.look(text, AS_JSON), findings, content_type.form)
        text = replaced(text, self.look(text, form), findings, content_type.form)
        self._read_loose(again, text, form)
        if again.code is not None or _holds(again, wrong):
            return None
        return to_latin(text) if content_type.charset == CHARSET_LATIN else text

    cdef bytes scrubbed(self, bytes text, int form):
        """The text with all that is found replaced."""
        cdef Spans spans = self.look(text, form)
        if is_unjudged(spans):
            # What could not be judged is not shown.
            return b""
        return replaced(text, spans, None, False)

    cdef bytes cut(self, bytes text, Spans spans, Py_ssize_t limit):
        """The text up to `limit` bytes, scrubbed.

        A span that the cut would split is taken in whole before it is replaced, so nothing of
        its value remains. Looked at once more where it is cut, since the cut may leave of a
        longer run of digits what looks like a card.
        """
        cdef Py_ssize_t end = cut_at(text, limit)
        cdef Py_ssize_t count = spans.count
        cdef Py_ssize_t kept = 0
        cdef bytes out, rest, looked
        while kept < count and spans.items[kept].start < end:
            kept += 1
        if kept and spans.items[kept - 1].end > end:
            end = spans.items[kept - 1].end
        out = text[:end]
        if kept:
            spans.count = kept
            try:
                out = replaced(out, spans, None, False)
            finally:
                spans.count = count
        if end == PyBytes_GET_SIZE(text) and PyBytes_GET_SIZE(out) <= limit:
            return out
        out = out[:cut_at(out, limit)]
        end = cut_at(out, PyBytes_GET_SIZE(out) - LOOKBACK)
        rest = out[end:]
        looked = self.scrubbed(rest, AS_TEXT)
        if looked is rest:
            return out
        out = out[:end] + looked
        return out[:cut_at(out, limit)]


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


cdef bint is_unjudged(Spans spans) noexcept:
    """Whether nothing is known of a text: too much is encoded in it, or it takes too long."""
    return is_too_much(spans) or spans.error_at < 0


cdef int _cannot_judge(Reading reading, Spans spans) except -1:
    reading.code = "body_too_large"
    if spans.error_at < 0:
        reading.detail = spans.error
    return 0


cdef int _take_json(Reading reading, bytes text, Spans spans) except -1:
    reading.count(spans)
    reading.text = text
    reading.spans = spans
    reading.json = True
    return 0


cdef bint _holds(Reading reading, object findings) except -1:
    return reading.tally is not None and (reading.tally.found() & findings) != 0


cdef bint is_strict(str method, bytes target):
    """Whether it is `POST /proxy`, which takes JSON whatever its content type says."""
    return method == "POST" and (target == b"/proxy" or target.startswith(b"/proxy?"))


cdef bint may_hold_json(bytes text):
    """Whether a text begins like JSON, or holds an escape that only JSON has.

    The latter does a part of a form, an event of a stream.
    """
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t length = PyBytes_GET_SIZE(text)
    cdef const unsigned char* data = <const unsigned char*>PyBytes_AS_STRING(text)
    while at < length and data[at] in b" \t\r\n":
        at += 1
    return at < length and data[at] in b"{[\"" or b"\\u" in text


cdef bytes replaced(bytes text, Spans spans, object findings, bint form):
    """The text with what is in this set replaced (None: with all).

    Percent-encoded as a form needs it. Of spans that overlap, as those of own patterns do, one
    that is replaced takes the others along.
    """
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
