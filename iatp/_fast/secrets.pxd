# Which secret begins at a place in a text; see secrets.pyx.

from libc.stdint cimport uint32_t

cdef extern from "tokens.h" nogil:
    enum:
        TOKEN_PREFIXES
        TOKEN_ANCHORS
        TOKEN_HEADS
        TOKEN_RUN
        TOKEN_ANCHORED
        TOKEN_HEAD
        TOKEN_WIDE
        TOKEN_WORDS
        TOKEN_WORD
        TOKEN_SAYS
        TOKEN_LABEL
        TOKEN_VERB
        TOKEN_TITLE
    ctypedef struct Prefix:
        unsigned char length
        unsigned char[31] text
        unsigned char least
        short number
    ctypedef struct Anchor:
        unsigned char length
        unsigned char[15] text
        short number
        short slashes
    ctypedef struct Head:
        short head
        short first
        short end
        unsigned long long[2] firsts
    ctypedef struct WideEnd:
        uint32_t before
        uint32_t last
    ctypedef struct TokenTable:
        Prefix[320] prefixes
        Anchor[32] anchors
        Head[12] heads
        int head_count
        int anchor_count
        short[129] first
        unsigned long long[128][2] seconds
        uint32_t[32] ends
        uint32_t[32] countries
        WideEnd[12] wide
        int wide_count
        unsigned char[80][16] words
        unsigned char[80] lengths
        unsigned char[80] kinds
        unsigned char[26 * 26] by_pair
        unsigned char[80] next
        int word_count
    int token_pair(const uint32_t* pairs, unsigned char a, unsigned char b)

cdef inline uint32_t fold(uint32_t c) noexcept nogil:
    """The small letter of a capital, in ASCII, Latin-1 and Cyrillic."""
    if c'A' <= c <= c'Z' or 0xc0 <= c <= 0xde or 0x410 <= c <= 0x42f:
        return c + 0x20
    return c

# Reads the code point at a byte, and gives where the next begins.
ctypedef Py_ssize_t (*ReadPoint)(
    const unsigned char* p, Py_ssize_t at, Py_ssize_t end, int form, uint32_t* out
) noexcept nogil

cdef enum:
    NOTHING = -1
    MAX_ALPHABETS = 16
    VALUE_ROW = MAX_ALPHABETS

cdef struct Window:
    # Code points, the place of each in the raw bytes, and where the whole text ends there.
    const uint32_t* cp
    const Py_ssize_t* pos
    int n
    const unsigned char* p
    Py_ssize_t end
    int form
    ReadPoint read
    # For the next JWT: a dot behind which none goes on, and the index up to which all from the
    # last on is base64url.
    Py_ssize_t dead
    int known
    # Of each alphabet, and of what a value may be of: the last run that was gone through.
    int[MAX_ALPHABETS + 1] run_starts
    int[MAX_ALPHABETS + 1] run_ends
    int value_is    # what the last run of a value's characters has; see said.pyx

cdef inline bint is_alnum(uint32_t c) noexcept nogil:
    return c'0' <= c <= c'9' or c'a' <= (c | 0x20) <= c'z'


cdef inline bint is_word(uint32_t c) noexcept nogil:
    return is_alnum(c) or c == c'_' or c == c'-'


cdef inline bint is_base64(uint32_t c) noexcept nogil:
    return is_alnum(c) or c == c'+' or c == c'/'


cdef inline bint is_run(uint32_t c) noexcept nogil:
    return is_word(c) or c in (c'+', c'/', c'~', c'^', 0x7f)


cdef inline bint stands(Window* w, int i, const char* text) noexcept nogil:
    """Whether this text stands at `i`."""
    cdef int at = 0
    while text[at] != 0:
        if i + at >= w.n or w.cp[i + at] != <uint32_t>text[at]:
            return False
        at += 1
    return True


cdef inline bint ended(Window* w, int i, const char* text, int length) noexcept nogil:
    """Whether this text stands before `i`."""
    return i >= length and stands(w, i - length, text)


cdef TokenTable* token_table() noexcept nogil
cdef void forget_runs(Window* w) noexcept nogil
cdef int token_at(Window* w, int i, Py_ssize_t* end) noexcept nogil
