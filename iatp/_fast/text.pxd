# What is found in a text; see text.pyx.

cimport cython

from libc.stdint cimport uint32_t, uint64_t

from iatp._fast.secrets cimport Window


cdef enum:
    AS_JSON = 0
    AS_TEXT = 1
    AS_TARGET = 2
    AS_FORM = 3

# Kinds, as KINDS has them.
cdef enum:
    CARD = 0
    SSN = 1
    EMAIL = 2
    SECRET = 3
    IBAN = 4

cdef enum:
    # Where the names of secrets begin among all findings, and how many of these there may be.
    SECRET_NAMES = 4
    MOST_FINDINGS = 256

cdef enum:
    CARD_DIGITS = 19
    SSN_DIGITS = 9
    UUID = 36
    TEXT_WINDOW = 8192
    TEXT_WORDS = TEXT_WINDOW >> 6

cdef struct Span:
    Py_ssize_t start
    Py_ssize_t end
    unsigned char kind      # index in KINDS
    unsigned char quoted    # n: a number of JSON inside n - 1 strings, it gets quotes; 0: none
    short secret            # index in NAMES of values/secrets.py, or -1


cdef inline int finding_of(const Span* span) noexcept nogil:
    """Index in FINDINGS of values/exchange.py, in which secrets have their own names."""
    if span.secret >= 0:
        return SECRET_NAMES + span.secret
    return span.kind - (span.kind > SECRET)


@cython.final
cdef class Spans:
    cdef Span* items
    cdef Py_ssize_t count
    cdef Py_ssize_t _room
    cdef readonly object error           # why the body is not valid JSON, or None
    cdef readonly Py_ssize_t error_at    # at which byte; 0 where there is no error

    cdef int add(
        self, Py_ssize_t start, Py_ssize_t end, int kind, int quoted, int secret=*
    ) except -1


cdef struct Key:
    # The key of a JSON value: what stands before `value`, where that is preceded by a colon; of
    # what stands in an array, `value` is the array. -1: there is none. It is only looked for
    # where it matters.
    Py_ssize_t value
    int says    # 1: it names a social security number; 0: not; -1: not yet looked at

cdef struct Text:
    # A window on a text; pos[i] is where cp[i] begins in `p`, pos[n] where cp[n - 1] ends.
    const unsigned char* p
    Key* key
    int n
    Py_ssize_t start    # of the whole text in `p`
    Py_ssize_t done     # up to here a finding reaches; it may lie beyond the window
    int direct          # what the text's key says it is: SAYS_… of secrets.pxd
    Window w            # the same, for secrets.pyx and said.pyx
    uint32_t[TEXT_WINDOW] cp
    Py_ssize_t[TEXT_WINDOW + 1] pos
    unsigned char[TEXT_WINDOW + 128] kind    # of each code point; see window.h
    uint64_t[TEXT_WORDS] secrets             # where a secret or an IBAN may begin
    uint64_t[TEXT_WORDS] places              # where anything may

cdef struct Reader:
    const unsigned char* p
    Py_ssize_t n
    Py_ssize_t at
    Text* text    # made when it is first needed; the caller frees it


cdef int json_unit(const unsigned char* p, Py_ssize_t at, Py_ssize_t end) noexcept nogil
cdef bint is_card(const unsigned char* digits, int n) noexcept nogil
cdef bint is_ssn(const unsigned char* d) noexcept nogil
cdef bint may_call_ssn(
    const unsigned char* p, Py_ssize_t start, Py_ssize_t at
) noexcept nogil
cdef bint key_says_ssn(const unsigned char* p, Key* key) noexcept nogil
cdef int key_says_secret(const unsigned char* p, Py_ssize_t start, Key* key) noexcept nogil
cdef bint needs_reading(
    const unsigned char* p, Py_ssize_t start, Py_ssize_t end, Key* key
) noexcept nogil
cdef int read_text(
    Reader* r, Py_ssize_t start, Py_ssize_t end, int form, Key* key, Spans spans
) except -1
cdef int read_text_from(
    Reader* r, Py_ssize_t start, Py_ssize_t first, Py_ssize_t end, int form, Key* key, Spans spans
) except -1
