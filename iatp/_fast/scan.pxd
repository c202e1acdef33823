# What is found in a body, a target or a text; see scan.pyx.

from iatp._fast.text cimport Span, Spans

cdef enum:
    # JSON inside strings of JSON, and base64, hex, percent encoding and entities (protocol
    # section 5: three levels, once or twice).
    JSON_LEVELS = 3
    CODED_LEVELS = 2
    # How much may be undone in all: so many times the body, and for a short one so much that all
    # orders of all layers fit. Beyond it the body is not judged.
    EXPANSION = 16
    SHORT_EXPANSION = 1 << 20

cdef enum:
    # The same of what is read closely in the texts that were undone: each of them, the bytes in
    # them at which something may be found or encoded (close_bytes in runs.h), the words of secrets
    # (close.h), and what is found. One is about 18 ns.
    CLOSE_TEXT = 16
    CLOSE_WORD = 8
    CLOSE_FINDING = 20
    CLOSE_EXPANSION = 4
    SHORT_CLOSE = 1 << 18


cpdef Spans scan(bytes data, int form)
cpdef bytes redact(bytes data, Spans spans)
cdef bytes mark(const Span* span)
cpdef int vectors(int level)
cpdef tuple counts(Spans spans)
cdef bint is_too_much(Spans spans) noexcept

# What patterns.pyx undoes and reads by the same rules.
cdef Py_ssize_t text_end(const unsigned char* p, Py_ssize_t at, Py_ssize_t n) noexcept nogil
cdef bint is_json(const unsigned char* p, Py_ssize_t n) except -1
cdef bint begins_like_json(const unsigned char* d, Py_ssize_t n) noexcept nogil
cdef bint ends_like_json(const unsigned char* d, Py_ssize_t n) noexcept nogil
