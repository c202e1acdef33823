"""Writes record tails: one line of JSON, whatever bytes stood in the request.

A line holds no control character, no U+007F to U+009F and no U+2028 or U+2029: what splits
lines in some reader, or speaks to a terminal, stands there as \\uXXXX. What is not UTF-8
stands as \\xNN in plain characters, as `bytes.decode(errors="backslashreplace")` has it.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_GET_LENGTH
from cpython.ref cimport Py_XDECREF
from libc.string cimport memchr, memcpy

cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(str text)
    void* PyUnicode_DATA(str text)
    PyObject* _new_bytes "PyBytes_FromStringAndSize"(
        const char* text, Py_ssize_t length
    ) except NULL
    char* _bytes_data "PyBytes_AS_STRING"(PyObject* made) noexcept
    # Sets it to NULL where it raises.
    int _PyBytes_Resize(PyObject** made, Py_ssize_t length) except -1

cdef extern from "runs.h" nogil:
    Py_ssize_t string_bytes(const unsigned char* p, Py_ssize_t n, int* calls)
    Py_ssize_t quiet_json(const unsigned char* p, Py_ssize_t n)

cdef extern from "escape.h" nogil:
    int escape_init(int level)
    Py_ssize_t escape_quotes(
        const unsigned char* p, Py_ssize_t n, char* out, Py_ssize_t* written
    )

# The widest that escape.h knows.
cdef enum:
    WIDEST_ESCAPE = 2

escape_init(WIDEST_ESCAPE)

# How each byte is treated inside a string: 0 copied, 1 escaped by itself, 2 and 3 looked at
# with the bytes behind it (U+0080-009F begin with C2, U+2028 and U+2029 with E2 80).
cdef unsigned char[256] TREATMENT
cdef int _byte
for _byte in range(256):
    TREATMENT[_byte] = 1 if _byte < 0x20 or _byte in (0x22, 0x5C, 0x7F) else 0
TREATMENT[0xC2] = 2
TREATMENT[0xE2] = 3

cdef enum:
    # From this length on a text is handed over as it is: copying it costs more than new memory.
    LONG = 1 << 11
    # A builder that is used again keeps no more than this.
    KEPT_BYTES = 1 << 18
    # What stands around a tail beside the middle: `{"seq":`, a number and a line end.
    AROUND_TAIL = 32
    # Twice as much, and a little, is reserved for it.
    ESCAPED_AT_ONCE = 1 << 12

cdef const char* HEX = "0123456789abcdef"
# 00 to ff, and 00 to 99.
cdef char[512] HEX_PAIRS
cdef char[200] PAIRS
memcpy(HEX_PAIRS, PyBytes_AS_STRING(bytes(range(256)).hex().encode()), 512)
memcpy(PAIRS, PyBytes_AS_STRING(b"".join([b"%02d" % _byte for _byte in range(100)])), 200)

cdef enum:
    # With its sign, as 64 bits.
    LONGEST_INTEGER = 20
    # "yyyy-mm-ddThh:mm:ss. with the quote before it.
    SECOND_BYTES = 21

# The last second that was written: most records share theirs with the one before.
cdef long long _second = -1
cdef char[SECOND_BYTES] _second_text

cdef long long DAY_S = 86400
# The last microsecond of the year 9999.
cdef long long LAST_US = 253402300799999999


@cython.final
cdef class Line:
    def __dealloc__(self):
        Py_XDECREF(self._made)

    cdef int _grow(self, Py_ssize_t more) except -1:
        # Room for `more` bytes, at least as much again as there is.
        cdef Py_ssize_t capacity = self._capacity or LONG
        while capacity < self._length + more:
            capacity *= 2
        if self._made == NULL:
            self._made = _new_bytes(NULL, capacity)
        else:
            try:
                _PyBytes_Resize(&self._made, capacity)
            except MemoryError:
                self._forget()
                raise
        self._text = _bytes_data(self._made)
        self._capacity = capacity
        return 0

    cdef void _forget(self) noexcept:
        self._made = NULL
        self._text = NULL
        self._capacity = self._length = 0

    cdef int _escape(self, const unsigned char* text, Py_ssize_t length) except -1:
        # `text` is UTF-8, the inside of a string that is not escaped yet.
        cdef Py_ssize_t at = 0, start = 0
        cdef unsigned int code
        cdef Py_ssize_t width, read, written
        cdef unsigned char kind
        cdef char* out
        cdef int calls
        self._reserve(length + 16)
        while at < length:
            while at == start and length - at >= 16:
                width = min(length - at, ESCAPED_AT_ONCE)
                self._reserve(2 * width + 16)
                read = escape_quotes(text + at, width, self._text + self._length, &written)
                self._length += written
                at += read
                start = at
                if read <= width - 16:
                    break
            at += string_bytes(text + at, length - at, &calls)
            if at >= length:
                break
            kind = TREATMENT[text[at]]
            if kind == 0:
                at += 1
                continue
            if kind == 1:
                code = text[at]
                width = 1
            elif kind == 2:
                if at + 1 >= length or text[at + 1] >= 0xA0:
                    at += 1
                    continue
                code = text[at + 1]
                width = 2
            else:
                if (at + 2 >= length or text[at + 1] != 0x80
                        or (text[at + 2] != 0xA8 and text[at + 2] != 0xA9)):
                    at += 1
                    continue
                code = 0x2000 | (text[at + 2] & 0x3F)
                width = 3
            self._raw(<const char*>text + start, at - start)
            self._reserve(6)
            out = self._text + self._length
            out[0] = b"\\"
            if code == 0x22 or code == 0x5C:
                out[1] = <char>code
                self._length += 2
            elif code == 0x0A or code == 0x0D or code == 0x09:
                out[1] = b"n" if code == 0x0A else b"r" if code == 0x0D else b"t"
                self._length += 2
            else:
                out[1] = b"u"
                out[2] = HEX[(code >> 12) & 15]
                out[3] = HEX[(code >> 8) & 15]
                out[4] = HEX[(code >> 4) & 15]
                out[5] = HEX[code & 15]
                self._length += 6
            at += width
            start = at
        return self._raw(<const char*>text + start, at - start)

    cdef int _embed(self, const unsigned char* text, Py_ssize_t length) except -1:
        # `text` is valid JSON: control characters are white space between tokens and may go,
        # and the others that are escaped here can only stand inside a string.
        cdef Py_ssize_t at = 0, start = 0
        cdef unsigned char kind
        cdef unsigned char byte
        while at < length:
            at += quiet_json(text + at, length - at)
            if at >= length:
                break
            byte = text[at]
            kind = TREATMENT[byte]
            if kind == 0 or byte == 0x22 or byte == 0x5C:
                at += 1
                continue
            if byte < 0x20:
                self._raw(<const char*>text + start, at - start)
                at += 1
                start = at
            elif byte == 0x7F:
                self._raw(<const char*>text + start, at - start)
                self._escape(text + at, 1)
                at += 1
                start = at
            elif kind == 2 and at + 1 < length and text[at + 1] < 0xA0:
                self._raw(<const char*>text + start, at - start)
                self._escape(text + at, 2)
                at += 2
                start = at
            elif (kind == 3 and at + 2 < length and text[at + 1] == 0x80
                    and (text[at + 2] == 0xA8 or text[at + 2] == 0xA9)):
                self._raw(<const char*>text + start, at - start)
                self._escape(text + at, 3)
                at += 3
                start = at
            else:
                at += 1
        return self._raw(<const char*>text + start, at - start)

    cpdef int raw(self, bytes text) except -1:
        """Add `text` as it is: literal JSON from this project."""
        return self._raw(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))

    cpdef int string(self, bytes text) except -1:
        """Add any bytes as a JSON string with its quotes."""
        if not is_utf8(text):
            text = text.decode("utf-8", "backslashreplace").encode()
        return self.utf8(
            <const unsigned char*>PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text)
        )

    cdef int text(self, str value) except -1:
        # Any text as a JSON string with its quotes; a lone surrogate in plain characters.
        if value is None:
            raise TypeError("text is a str")
        if not PyUnicode_IS_COMPACT_ASCII(value):
            return self.string(value.encode("utf-8", "backslashreplace"))
        return self.utf8(
            <const unsigned char*>PyUnicode_DATA(value), PyUnicode_GET_LENGTH(value)
        )

    cdef int utf8(self, const unsigned char* text, Py_ssize_t length) except -1:
        # What is known to be UTF-8, as a JSON string with its quotes.
        self._raw(b"\"", 1)
        self._escape(text, length)
        return self._raw(b"\"", 1)

    cpdef int json(self, bytes value) except -1:
        """Add a JSON value that was checked before, without its line breaks."""
        return self._embed(
            <const unsigned char*>PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)
        )

    cpdef int integer(self, long long value) except -1:
        """Add a decimal integer."""
        cdef unsigned long long rest
        self._reserve(LONGEST_INTEGER)
        rest = <unsigned long long>value if value >= 0 else 0 - <unsigned long long>value
        if value < 0:
            self._text[self._length] = b"-"
            self._length += 1
        self._length += _decimal(self._text + self._length, rest)
        return 0

    cpdef int milliseconds(self, long long microseconds) except -1:
        """Add microseconds (not below 0) as milliseconds with three decimals."""
        cdef char[4] tail
        cdef int part
        if microseconds < 0:
            microseconds = 0
        part = <int>(microseconds % 1000)
        self.integer(microseconds // 1000)
        tail[0] = b"."
        tail[1] = <char>(48 + part // 100)
        tail[2] = <char>(48 + part // 10 % 10)
        tail[3] = <char>(48 + part % 10)
        return self._raw(tail, 4)

    cdef int hundredths(self, long long value) except -1:
        # `value` hundredths (not below 0) with two decimals.
        cdef char[3] tail
        cdef int part = <int>(value % 100) if value > 0 else 0
        self.integer(value // 100 if value > 0 else 0)
        tail[0] = b"."
        tail[1] = <char>(48 + part // 10)
        tail[2] = <char>(48 + part % 10)
        return self._raw(tail, 3)

    cpdef int timestamp(self, long long time_ns) except -1:
        """Add a quoted RFC 3339 time in UTC with microseconds; `time_ns` since 1970.

        Times outside the years 1970 to 9999 stand as the nearest of these.
        """
        cdef long long us = time_ns // 1000 if time_ns > 0 else 0
        cdef char* out
        if us > LAST_US:
            us = LAST_US
        if us // 1000000 != _second:
            _write_second(us // 1000000)
        self._reserve(SECOND_BYTES + 8)
        out = self._text + self._length
        memcpy(out, _second_text, SECOND_BYTES)
        _digits(out + SECOND_BYTES, <int>(us % 1000000), 6)
        memcpy(out + SECOND_BYTES + 6, b"Z\"", 2)
        self._length += SECOND_BYTES + 8
        return 0

    cdef int ascii(self, str text) except -1:
        # Text that is known to be ASCII, as it is.
        cdef Py_ssize_t length
        cdef const char* data = PyUnicode_AsUTF8AndSize(text, &length)
        return self._raw(data, length)

    cdef int hex(self, const unsigned char* data, Py_ssize_t length) except -1:
        cdef Py_ssize_t at
        cdef char* out
        self._reserve(2 * length)
        out = self._text + self._length
        for at in range(length):
            memcpy(out + 2 * at, &HEX_PAIRS[2 * data[at]], 2)
        self._length += 2 * length
        return 0

    cdef void clear(self) noexcept:
        # Ready for another text; what one large text needed is not kept for ever.
        self._length = 0
        if self._capacity > KEPT_BYTES:
            Py_XDECREF(self._made)
            self._forget()

    cpdef bytes done(self):
        """Return what was written; the line is empty then."""
        cdef PyObject* made = self._made
        cdef Py_ssize_t length = self._length
        self._length = 0
        if length < LONG:
            return PyBytes_FromStringAndSize(self._text, length)
        self._forget()
        _PyBytes_Resize(&made, length)
        text = <bytes>made
        # It counts for `text` now, and was counted as `_made`.
        Py_XDECREF(made)
        return text


cpdef list lines(list tails, long long first, bytes middle):
    """Return whole lines in pieces: `{"seq":N`, `middle` and a tail for each, N from `first` up.

    What follows one upon another is the text; a long tail is a piece of its own, not copied.
    `first` is not below 0.

    Raises:
        ValueError: a tail holds a line end.
    """
    cdef Line line = Line()
    cdef list pieces = []
    cdef bytes tail
    cdef Py_ssize_t length
    cdef Py_ssize_t room = 0
    for tail in tails:
        length = PyBytes_GET_SIZE(tail)
        if length >= LONG:
            break
        room += AROUND_TAIL + PyBytes_GET_SIZE(middle) + length
    line._reserve(room)
    for tail in tails:
        length = PyBytes_GET_SIZE(tail)
        if memchr(PyBytes_AS_STRING(tail), b"\n", length) != NULL:
            raise ValueError("a record must be one line")
        line.literal(b'{"seq":')
        line.integer(first)
        line.raw(middle)
        if length < LONG:
            line.raw(tail)
        else:
            pieces.append(line.done())
            pieces.append(tail)
        line.literal(b"\n")
        first += 1
    if line._length:
        pieces.append(line.done())
    return pieces


cdef void _digits(char* out, int value, int width) noexcept nogil:
    # Writes exactly `width` digits, an even number of them.
    cdef int at = width
    while at > 0:
        at -= 2
        memcpy(out + at, &PAIRS[2 * (value % 100)], 2)
        value //= 100


cdef int _decimal(char* out, unsigned long long value) noexcept nogil:
    # Writes `value` and returns how many digits it has, at most 20.
    cdef int width = 1
    cdef int at
    cdef unsigned long long rest = value
    while rest >= 100:
        rest //= 100
        width += 2
    if rest >= 10:
        width += 1
    at = width
    while value >= 100:
        at -= 2
        memcpy(out + at, &PAIRS[2 * (value % 100)], 2)
        value //= 100
    if value >= 10:
        memcpy(out, &PAIRS[2 * value], 2)
    else:
        out[0] = <char>(48 + value)
    return width


cdef void _write_second(long long second) noexcept nogil:
    # Makes `_second_text` that of `second`, counted from 1970.
    global _second
    cdef long long days, era, day_of_era, year_of_era, year, day_of_year, shifted
    cdef int month, day, rest
    cdef char* out = _second_text
    days = second // DAY_S
    rest = <int>(second - days * DAY_S)
    # Days to a date in the proleptic Gregorian calendar: Howard Hinnant,
    # "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    days += 719468
    era = days // 146097
    day_of_era = days - era * 146097
    year_of_era = (
        day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096
    ) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    day = <int>(day_of_year - (153 * shifted + 2) // 5 + 1)
    month = <int>(shifted + 3 if shifted < 10 else shifted - 9)
    year = year_of_era + era * 400 + (1 if month <= 2 else 0)
    memcpy(out, b"\"yyyy-mm-ddThh:mm:ss.", SECOND_BYTES)
    _digits(out + 1, <int>year, 4)
    _digits(out + 6, month, 2)
    _digits(out + 9, day, 2)
    _digits(out + 12, rest // 3600, 2)
    _digits(out + 15, rest // 60 % 60, 2)
    _digits(out + 18, rest % 60, 2)
    _second = second


cdef bint is_utf8(bytes text) except -1:
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def vectors(int level):
    """Escape with vectors of at most this width from now on; return the one that is used.

    0: byte by byte; 1: of 16 bytes; 2: of 64 bytes. For tests: all must write the same.
    """
    return escape_init(level)


cpdef bytes json_string(bytes text):
    """Return any bytes as one JSON string with its quotes."""
    cdef Line line = Line()
    line.string(text)
    return line.done()


cpdef Py_ssize_t cut_at(bytes text, Py_ssize_t limit):
    """Return the largest length up to `limit` that splits no UTF-8 character of `text`.

    Where the bytes around `limit` are not UTF-8, it is `limit` (or all of a shorter text).
    """
    cdef const unsigned char* data = <const unsigned char*>PyBytes_AS_STRING(text)
    cdef Py_ssize_t length = PyBytes_GET_SIZE(text)
    cdef Py_ssize_t at, back
    cdef int width
    if length <= limit:
        return length
    if limit <= 0:
        return 0
    at = limit
    # A character has at most three continuation bytes (10xxxxxx) behind its first byte.
    for back in range(4):
        if (data[at] & 0xC0) != 0x80:
            if back == 0:
                return limit
            width = 4 if data[at] >= 0xF0 else 3 if data[at] >= 0xE0 else 2
            return at if data[at] >= 0xC2 and width > back else limit
        if at == 0:
            break
        at -= 1
    return limit
