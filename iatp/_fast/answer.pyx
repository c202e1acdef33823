"""Finds what an agent's answer holds while it passes: in its text, and across its deltas.

- A `Flow` takes a text in pieces and finds what reading it whole would find: it keeps as much as
  decides what begins where it stopped, and no more, however long the text is.
- Agents that stream send an answer as events with a word or two in each. A card number is then
  in no event, but in what the caller makes of them. `Deltas` puts those strings together again;
  what is found there and is not within one of them counts as well.
Nothing is held back for it: pieces pass on as they come. Protocol section 5.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport free, realloc
from libc.string cimport memchr, memcpy, memmove, memset

import re

from iatp._fast.content cimport Inflater
from iatp._fast.patterns cimport PatternFlow, Patterns, join_deltas
from iatp._fast.text cimport (
    AS_JSON, AS_TARGET, MOST_FINDINGS, Reader, Span, Spans, finding_of, read_text_from,
)

from iatp._fast.content import CodingError
from iatp.values import exchange

cdef enum:
    # What decides whether a finding begins at a place: so many code points before and behind
    # (MARGIN of text.pyx), each of at most twelve bytes.
    MARGIN = 512
    MARGIN_BYTES = MARGIN * 12
    FIRST_WINDOW = 1 << 13
    LAST_WINDOW = 1 << 15
    INFLATED_AT_ONCE = 1 << 16
    # A line of a stream that is longer holds no delta.
    LONGEST_LINE = 1 << 16

# The members in which streamed answers carry their text: chat completions and responses of
# OpenAI and those who speak like it, Anthropic messages, Gemini, Cohere, Ollama, TGI.
DELTA_KEYS = (
    "content", "text", "delta", "arguments", "partial_json", "response", "completion",
    "thinking", "reasoning", "reasoning_content", "refusal", "token", "output",
)
cdef object _delta = re.compile(
    rb'"(?:%b)"[ \t]*:[ \t]*"([^"\\\r\n]*(?:\\[^\r\n][^"\\\r\n]*)*)"'
    % "|".join(DELTA_KEYS).encode()
)
cdef list _redacted = [text.encode() for text in exchange.REDACTED]

# Where a run of characters that could be part of a found value ends for certain.
cdef unsigned char[256] BREAKS
cdef int _byte
for _byte in range(256):
    BREAKS[_byte] = 1 if _byte <= 0x20 or chr(_byte) in "\"'`,;<>()[]{}|" else 0


cdef Py_ssize_t settled(bytes text):
    """How much of a text that goes on somewhere else holds no part of a value cut off at its end.

    That is all before its last word, and before the groups of digits that lead up to it.
    """
    cdef Py_ssize_t at = PyBytes_GET_SIZE(text)
    cdef Py_ssize_t start
    cdef bint digits
    cdef const unsigned char* data = <const unsigned char*>PyBytes_AS_STRING(text)
    while at > 0 and not BREAKS[data[at - 1]]:
        at -= 1
    while at > 1 and data[at - 1] <= 0x20:
        start = at - 1
        digits = False
        while start > 0 and not BREAKS[data[start - 1]]:
            start -= 1
            digits = digits or 0x30 <= data[start] <= 0x39 or data[start] >= 0x80
        if not digits:
            break
        at = start
    return at


cdef Py_ssize_t _margin(const unsigned char* p, Py_ssize_t at, int form) noexcept nogil:
    """How many bytes before `at` hold MARGIN code points, rather too many."""
    cdef Py_ssize_t start = at
    cdef int points = 0
    while start > 0 and at - start < MARGIN_BYTES and points < MARGIN:
        start -= 1
        # What is escaped counts as nothing, since several escapes may be one code point.
        if form == AS_JSON and p[start] == c'\\':
            points = max(points - 5, 0)
        elif form >= AS_TARGET and p[start] == c'%':
            points = max(points - 2, 0)
        elif p[start] & 0xc0 != 0x80:
            points += 1
    return at - start


@cython.final
cdef class Flow:
    """Counts the findings of one text that comes in pieces.

    `bordered`: only those that are not within one piece.
    """

    def __cinit__(self, int form, bint bordered=False):
        self._form = form
        self._bordered = bordered

    def __dealloc__(self):
        free(self._text)
        free(self._borders)

    cdef int _widen(self, Py_ssize_t room) except -1:
        cdef unsigned char* grown = <unsigned char*>realloc(self._text, room)
        if grown == NULL:
            raise MemoryError
        self._text = grown
        if self._bordered:
            grown = <unsigned char*>realloc(self._borders, room)
            if grown == NULL:
                raise MemoryError
            self._borders = grown
        self._room = room
        return 0

    cdef int add(self, const unsigned char* data, Py_ssize_t length) except -1:
        """Takes the next piece."""
        cdef Py_ssize_t part
        cdef bint first = True
        while length > 0:
            if self._length == self._room:
                self._look(False)
            part = min(length, self._room - self._length)
            memcpy(self._text + self._length, data, part)
            if self._bordered:
                memset(self._borders + self._length, 0, part)
                self._borders[self._length] = first
                first = False
            self._length += part
            data += part
            length -= part
        return 0

    cdef int end(self) except -1:
        """Counts what the end of the text decides."""
        return self._look(True)

    cdef int _look(self, bint last) except -1:
        """Counts what is decided by now, and lets go of what decides nothing any more."""
        cdef Spans spans
        cdef Reader r
        cdef Span* span
        cdef Py_ssize_t i
        cdef Py_ssize_t start
        cdef Py_ssize_t limit = self._length
        if self._room == 0:
            return 0 if last else self._widen(FIRST_WINDOW)
        if not last:
            limit -= _margin(self._text, self._length, self._form)
            if limit <= self._first:
                # Nothing is decided yet. With LAST_WINDOW there always is.
                return self._widen(2 * self._room)
        spans = Spans.__new__(Spans)
        r.p = self._text
        r.n = self._length
        r.at = 0
        r.text = NULL
        try:
            read_text_from(&r, 0, self._first, self._length, self._form, NULL, spans)
        finally:
            free(r.text)
        for i in range(spans.count):
            span = &spans.items[i]
            if span.start >= limit:
                break
            if not self._bordered or memchr(
                self._borders + span.start + 1, 1, span.end - span.start - 1
            ) != NULL:
                self.counts[finding_of(span)] += 1
            limit = max(limit, span.end)
        start = limit - _margin(self._text, limit, self._form)
        self._length -= start
        memmove(self._text, self._text + start, self._length)
        if self._bordered:
            memmove(self._borders, self._borders + start, self._length)
        self._first = limit - start
        if not last and self._length > self._room // 2 and self._room < LAST_WINDOW:
            return self._widen(2 * self._room)
        return 0


@cython.final
cdef class _Deltas:
    """The strings that the events of a stream carry, as one text."""

    cdef Flow flow
    cdef object patterns         # the PatternFlow of the same text, or None
    cdef bytearray _rest         # of a line that is not complete
    cdef bint _passing           # a line that is too long

    def __cinit__(self, patterns):
        self.flow = Flow(AS_JSON, True)
        if patterns is not None:
            self.patterns = PatternFlow(patterns, AS_JSON, True)
        self._rest = bytearray()

    cdef int add(self, bytes data) except -1:
        cdef Py_ssize_t cut = data.rfind(b"\n") + 1
        cdef bytes lines
        if cut:
            lines = data[:cut]
            if self._passing:
                lines = lines[lines.find(b"\n") + 1:]
            elif self._rest:
                lines = bytes(self._rest) + lines
            self._passing = False
            self._rest = bytearray()
            self._read(lines)
        if not self._passing and cut < len(data):
            self._rest += data[cut:]
            if len(self._rest) > LONGEST_LINE:
                self._rest = bytearray()
                self._passing = True
        return 0

    cdef int _read(self, bytes lines) except -1:
        cdef bytes text
        for found in _delta.finditer(lines):
            text = found[1]
            if text:
                self.flow.add(
                    <const unsigned char*>PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text)
                )
                if self.patterns is not None:
                    (<PatternFlow>self.patterns).add(
                        <const unsigned char*>PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text)
                    )
        return 0

    cdef int end(self) except -1:
        self._read(bytes(self._rest))
        if self.patterns is not None:
            (<PatternFlow>self.patterns).end()
        return self.flow.end()


@cython.final
cdef class Answer:
    """Counts the findings of one answer that comes in pieces.

    Where it has a content `coding` (not empty), its first piece has two bytes or is all, and no
    more than `most` bytes are read of what comes out of it, so that an answer can't buy time.
    `events`: a stream of them.
    `patterns`: the policy's own, if it has any.
    """

    def __cinit__(
        self, int form, bint events, bytes coding not None, long long most, patterns=None
    ):
        self._flow = Flow(form)
        if patterns is not None:
            self._patterns = PatternFlow(patterns, form)
        if events:
            self._deltas = _Deltas(patterns)
        if coding:
            self._inflater = Inflater(coding)
        self._left = most

    cdef int add(self, const unsigned char* data, Py_ssize_t length) except -1:
        """Takes the next piece, as it came."""
        if self._inflater is None:
            return self._take(data, length)
        return self._inflate(PyBytes_FromStringAndSize(<const char*>data, length))

    cdef int _take(self, const unsigned char* data, Py_ssize_t length) except -1:
        if self._deltas is not None:
            (<_Deltas>self._deltas).add(PyBytes_FromStringAndSize(<const char*>data, length))
        if self._patterns is not None:
            (<PatternFlow>self._patterns).add(data, length)
        return self._flow.add(data, length)

    cdef int _inflate(self, bytes data) except -1:
        cdef bytes text
        while data and self._left > 0:
            try:
                text = self._inflater.take(data, min(self._left, INFLATED_AT_ONCE))
            except CodingError:
                self._left = 0
                return 0
            self._left -= len(text)
            self._take(<const unsigned char*>PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
            data = self._inflater.rest
        return 0

    cdef tuple end(self):
        """What there is: pairs of a number in the gate's `names` and how many, in that order."""
        cdef long* counts = self._flow.counts
        cdef long* across
        cdef int finding
        self._flow.end()
        if self._deltas is not None:
            (<_Deltas>self._deltas).end()
            across = (<_Deltas>self._deltas).flow.counts
            for finding in range(MOST_FINDINGS):
                counts[finding] += across[finding]
        if self._patterns is not None:
            (<PatternFlow>self._patterns).end()
            _add_counts(counts, (<PatternFlow>self._patterns).counts)
            if self._deltas is not None:
                _add_counts(
                    counts, (<PatternFlow>(<_Deltas>self._deltas).patterns).counts
                )
        return tuple([
            (finding, counts[finding]) for finding in range(MOST_FINDINGS) if counts[finding]
        ])


cdef int _add_counts(long* counts, dict more) except -1:
    for finding, n in more.items():
        counts[<int>finding] += n
    return 0


def count(list pieces not None, int form, *, bint events=False, Patterns patterns=None):
    """What is in the text that these pieces make, as `Answer.end` has it."""
    cdef Answer answer = Answer(form, events, b"", 0, patterns)
    cdef bytes piece
    for piece in pieces:
        answer.add(<const unsigned char*>PyBytes_AS_STRING(piece), PyBytes_GET_SIZE(piece))
    return answer.end()


cpdef bytes scrub_deltas(bytes text, bint whole, list found, Patterns patterns=None):
    """The events of a stream without the values that are spread over several of them.

    `found` takes the number of each of these, as the gate has them. Where the stream goes on
    behind `text` (not `whole`), what is left ends before whatever the rest may make a value of.
    """
    cdef list places = [delta.span(1) for delta in _delta.finditer(text)]
    cdef bytes joined = b"".join([text[start:end] for start, end in places])
    cdef Py_ssize_t cut, end
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t i
    cdef Py_ssize_t offset = 0
    cdef Py_ssize_t length = PyBytes_GET_SIZE(text)
    cdef Spans spans = Spans.__new__(Spans)
    cdef Span* span
    cdef Reader r
    cdef list out = []
    if not joined:
        return text
    r.p = <const unsigned char*>PyBytes_AS_STRING(joined)
    r.n = PyBytes_GET_SIZE(joined)
    r.at = 0
    r.text = NULL
    try:
        read_text_from(&r, 0, 0, r.n, AS_JSON, NULL, spans)
    finally:
        free(r.text)
    if patterns is not None:
        join_deltas(patterns, joined, spans)
    cut = r.n if whole else settled(joined)
    for i in range(spans.count):
        if spans.items[i].start < cut < spans.items[i].end:
            cut = spans.items[i].start
    # `offset` is where a delta begins in `joined`, `at` up to where `text` has been copied.
    i = 0
    for start, end in places:
        while i < spans.count and spans.items[i].start < min(offset + end - start, cut):
            span = &spans.items[i]
            if span.start >= offset and span.end <= offset + end - start:
                # Within one of them, where it is found as it stands.
                i += 1
                continue
            if span.start >= offset:
                found.append(finding_of(span))
                while i + 1 < spans.count and spans.items[i + 1].start == span.start:
                    # Another finding in the same range.
                    i += 1
                    found.append(finding_of(&spans.items[i]))
                out.append(text[at:start + span.start - offset])
                out.append(_redacted[span.kind])
            else:
                out.append(text[at:start])
            at = min(end, start + span.end - offset)
            if span.end > offset + end - start:
                break
            i += 1
        if offset + end - start > cut:
            length = start + cut - offset
            break
        offset += end - start
    out.append(text[at:length])
    return b"".join(out)
