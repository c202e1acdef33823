"""One request that may be sent to the agent, and what its record will say of the answer.

Only the gate makes a `Forward`, and the upstream takes nothing else. Of an answer as much is kept
as the record may need; what goes on behind that is looked at as it passes (answer.pyx). Protocol
sections 5 and 7.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from iatp._fast.answer cimport Answer, scrub_deltas, settled
from iatp._fast.content cimport (
    CHARSET_LATIN, CHARSET_UNREADABLE, ContentType, Inflater, coding_of, from_latin, type_of,
)
from iatp._fast.reading cimport Reading, Scanner, may_hold_json
from iatp._fast.record cimport Line
from iatp._fast.tails cimport Tails
from iatp._fast.text cimport AS_FORM, AS_JSON, AS_TEXT

from iatp._fast.content import CodingError

cdef bint _making = False


@cython.final
@cython.no_gc
@cython.freelist(8)
cdef class Forward:
    """Permission to send one request to the agent, and what settles it afterwards."""

    def __cinit__(self):
        if not _making:
            raise TypeError("only Gate.admit makes a Forward")

    cpdef object settle_head(self, int status, bytes content_type, bytes content_encoding):
        """Take the head of the agent's final answer; a retried one replaces the first."""
        if self.ended:
            raise RuntimeError("this Forward has ended before")
        self.agent_status = status
        self._content_type = content_type
        self._content_encoding = content_encoding

    def settle_piece(self, bytes piece not None):
        """Take a piece of the agent's answer, content-encoded as it came."""
        self.settle_bytes(
            <const unsigned char*>PyBytes_AS_STRING(piece), PyBytes_GET_SIZE(piece)
        )

    cdef int settle_bytes(self, const unsigned char* data, Py_ssize_t length) except -1:
        """The same for bytes that are no object; copied as far as they are kept."""
        cdef Py_ssize_t window = self._tails.window
        cdef Py_ssize_t room
        if self.ended:
            raise RuntimeError("this Forward has ended before")
        if length <= 0:
            return 0
        self.answer_bytes += length
        if self._answer is not None:
            self._answer.add(data, length)
        elif self.answer_bytes > window or (
            # Of two bytes it can be told which kind of deflate it is.
            self._content_encoding and self.answer_bytes > 1
            and coding_of(self._content_encoding)
        ):
            # No longer what is looked at whole in the end.
            self._begin(data, length)
        if self._kept is None:
            if self._first is None:
                room = min(length, window)
                self._first = PyBytes_FromStringAndSize(<const char*>data, room)
                return 0
            room = window - PyBytes_GET_SIZE(self._first)
            if room <= 0:
                return 0
            self._kept = bytearray(self._first)
            self._first = None
        room = window - len(self._kept)
        if room > 0:
            self._kept += PyBytes_FromStringAndSize(<const char*>data, min(room, length))
        return 0

    cdef int _begin(self, const unsigned char* data, Py_ssize_t length) except -1:
        """From here on what passes is looked at as it comes.

        First what has been kept, which is all that came before, then `data`. What can't be read
        stays unread, as in the record.
        """
        cdef bytes coding = coding_of(self._content_encoding)
        cdef ContentType content_type = type_of(self._content_type)
        cdef Scanner scanner = self._tails.scanner
        cdef bytes begun = self._so_far()
        cdef bytes piece
        cdef int form = AS_TEXT
        if coding is None or content_type.charset == CHARSET_UNREADABLE:
            return 0
        piece = PyBytes_FromStringAndSize(<const char*>data, length)
        if (
            content_type.json or content_type.events
            or (not coding and may_hold_json((begun + piece)[:self._tails.window]))
        ):
            form = AS_JSON
        elif content_type.form:
            form = AS_FORM
        self._answer = Answer(
            form, content_type.events, coding, scanner.max_body, scanner.patterns
        )
        if coding:
            begun += piece
            length = 0
        if begun:
            self._answer.add(
                <const unsigned char*>PyBytes_AS_STRING(begun), PyBytes_GET_SIZE(begun)
            )
        return self._answer.add(data, length)

    cdef bytes _so_far(self):
        """What is kept."""
        if self._kept is not None:
            return bytes(self._kept)
        return b"" if self._first is None else self._first

    cdef int tell_answer(self, bint whole) except -1:
        """Adds what is recorded of the answer to its record; `answer_findings` is what is in it."""
        cdef Tails tails = self._tails
        cdef Line line = tails.line
        cdef bytes text = self._so_far()
        cdef list across = None
        cdef int finding
        cdef bytes coding
        cdef Inflater inflater
        cdef Reading reading
        cdef ContentType content_type
        cdef Py_ssize_t limit = tails.keep
        if self.answer_bytes > PyBytes_GET_SIZE(text):
            whole = False
        if self._answer is not None:
            self.answer_findings = self._answer.end()
            self._answer = None
        if not text:
            return line.literal(b',"response":null')
        coding = coding_of(self._content_encoding)
        content_type = type_of(self._content_type)
        if coding is None or content_type.charset == CHARSET_UNREADABLE:
            # What can't be read can't be scrubbed.
            line.literal(b',"response":null,"response_omitted":')
            return line.literal(b'"unknown_coding"' if coding is None else b'"unknown_charset"')
        if coding:
            inflater = Inflater(coding)
            try:
                text = inflater.beginning(text, tails.window)
            except CodingError:
                return line.literal(b',"response":null,"response_omitted":"malformed_coding"')
            whole = whole and inflater.whole and not inflater.rest
        if content_type.charset == CHARSET_LATIN:
            text = from_latin(text)
        if content_type.events:
            across = []
            text = scrub_deltas(text, whole, across, tails.scanner.patterns)
        reading = Reading.__new__(Reading)
        tails.scanner.read_any(
            reading, text, content_type,
            content_type.json and whole and PyBytes_GET_SIZE(text) <= limit,
        )
        if reading.code is not None:
            line.literal(b',"response":null,"response_omitted":')
            return line.literal(
                b'"patterns_too_slow"' if reading.detail else b'"too_much_encoded"'
            )
        if across is not None:
            for finding in across:
                reading.add(finding)
        # What is longer, or compressed, has been counted as it passed.
        if reading.tally is not None and not coding and self.answer_bytes <= tails.window:
            self.answer_findings = reading.tally.pairs()
        if reading.json:
            line.literal(b',"response":')
            return tails.json(reading.text, reading.spans)
        if not whole:
            limit = min(limit, settled(reading.text))
        return tails.text(
            b"response", tails.scanner.cut(reading.text, reading.spans, limit), False
        )


cdef Forward make_forward(Tails tails):
    """A Forward of the gate that writes these tails; for the gate alone."""
    global _making
    cdef Forward forward
    _making = True
    try:
        forward = Forward.__new__(Forward)
    finally:
        _making = False
    forward._tails = tails
    forward.answer_findings = ()
    return forward
