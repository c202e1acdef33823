# cython: autotestdict=False
"""Checks JSON and finds card numbers, secrets and the like in it, in one pass.

JSON is checked strictly (RFC 8259, UTF-8, no lone surrogate, numbers within a double, depth
<= 128); each of its strings and numbers is read as its reader would read it. Where the machine
has vectors, walk.h goes through it 64 bytes at a time and stops only where something may be
found; what is wrong, and where, is said by the reader that goes byte by byte.
"""

from math import isinf

from libc.stdlib cimport free
from libc.string cimport memcmp

from iatp.values import exchange

from iatp._fast.text cimport (
    AS_FORM, AS_JSON, AS_TARGET, AS_TEXT, CARD, CARD_DIGITS, SSN, UUID, Key, Reader,
    Span, Spans, is_card, is_ssn, json_unit, key_says_ssn, needs_reading, read_text,
)
from iatp._fast.secrets cimport TokenTable, token_table

cdef extern from "runs.h" nogil:
    Py_ssize_t string_bytes(const unsigned char* p, Py_ssize_t n, int* calls)
    int uuid_bytes(const unsigned char* p)

cdef extern from "utf8.h" nogil:
    int utf8_length(const unsigned char* p, Py_ssize_t n)
    int utf8_may_count(unsigned char lead)

cdef extern from "walk.h" nogil:
    enum:
        WALK_DONE
        WALK_BAD
        WALK_STRING
        WALK_SCALAR
        WALK_NONE
    ctypedef struct Walk:
        Py_ssize_t start
        Py_ssize_t end
        Py_ssize_t value
        Py_ssize_t done
    int walk_level()
    void walk_begin(
        Walk* w, const unsigned char* p, Py_ssize_t n, int level, const TokenTable* tokens
    )
    int walk_next(Walk* w)
    int walk_ends(const Walk* w, Py_ssize_t at)

# How wide the vectors are that this machine reads JSON with; WALK_NONE: byte by byte.
cdef int _best_level = walk_level()
cdef int _level = _best_level

cdef enum:
    DEPTH = 128

JSON = AS_JSON
TEXT = AS_TEXT
TARGET = AS_TARGET
FORM = AS_FORM

cdef int _kinds = len(exchange.KINDS)
cdef list _redacted = [text.encode() for text in exchange.REDACTED]

# JSON.

cdef enum:
    VALID = 0
    BAD_STRING = 1
    BAD_SURROGATE = 2
    BAD_UTF8 = 3
    OPEN_STRING = 4
    BAD_NUMBER = 5
    LARGE_NUMBER = 6
    NO_VALUE = 7
    TOO_DEEP = 8
    MORE = 9
    NO_MARK = 10
    NEAR_LIMIT = 11    # not an error: a number of 309 digits has to be looked at closely

cdef list _ERRORS = [
    None, "a control character or an unknown escape in a string", "a lone surrogate",
    "not UTF-8", "a string that does not end", "not a number", "a number beyond a double",
    "a value is missing or unknown", "nested deeper than 128", "something behind the value",
    "a comma, colon or bracket is missing",
]


cdef inline void _skip_space(Reader* r) noexcept nogil:
    while r.at < r.n and r.p[r.at] in (c' ', c'\n', c'\t', c'\r'):
        r.at += 1


cdef int _pass_string(Reader* r, int* calls) noexcept nogil:
    """VALID and `at` behind the string that begins at `at`, or what is wrong and where.

    `calls` is 0 where nothing in it could be part of a finding.
    """
    cdef const unsigned char* p = r.p
    cdef Py_ssize_t n = r.n
    cdef Py_ssize_t at = r.at + 1
    cdef unsigned char c
    cdef int length, unit, low
    calls[0] = 0
    while True:
        at += string_bytes(p + at, n - at, calls)
        if at >= n:
            break
        c = p[at]
        r.at = at
        if c == c'"':
            r.at = at + 1
            return VALID
        if c < 0x20:
            return BAD_STRING
        if c == c'\\':
            unit = json_unit(p, at, n)
            if unit >= 0:
                # It may be a digit, or an @.
                calls[0] = 1
            if 0xd800 <= unit < 0xe000:
                low = json_unit(p, at + 6, n) if unit < 0xdc00 else -1
                if not 0xdc00 <= low < 0xe000:
                    return BAD_SURROGATE
                at += 12
            elif unit >= 0:
                at += 6
            elif at + 1 == n:
                break
            elif p[at + 1] in (c'"', c'\\', c'/', c'b', c'f', c'n', c'r', c't'):
                at += 2
            else:
                return BAD_STRING
            continue
        if c < 0x80:
            at += 1
            continue
        length = utf8_length(p + at, n - at)
        if length == 0:
            return BAD_UTF8
        if utf8_may_count(c):
            calls[0] = 1
        at += length
    r.at = n
    return OPEN_STRING


cdef int _pass_number(Reader* r, unsigned char* digits, int* count) noexcept nogil:
    """VALID, NEAR_LIMIT or what is wrong; `at` is behind the number, or where it is wrong.

    `digits` are the `count` digits before its decimal point once the exponent is applied;
    `count` is 0 where they are too many for a card.
    """
    cdef const unsigned char* p = r.p
    cdef Py_ssize_t n = r.n
    cdef Py_ssize_t at = r.at
    cdef Py_ssize_t first
    cdef int kept = 0              # digits from the first that is not 0 on
    cdef long long point = 0       # the value is 0.digits x 10**point
    cdef long long exponent = 0
    cdef bint negative
    count[0] = 0
    if at < n and p[at] == c'-':
        at += 1
    first = at
    while at < n and c'0' <= p[at] <= c'9':
        if kept or p[at] != c'0':
            point += 1
            if kept < CARD_DIGITS:
                digits[kept] = p[at] - c'0'
                kept += 1
        at += 1
    r.at = at
    if at == first:
        return BAD_NUMBER
    if p[first] == c'0' and at > first + 1:
        r.at = first + 1
        return BAD_NUMBER
    if at < n and p[at] == c'.':
        at += 1
        first = at
        while at < n and c'0' <= p[at] <= c'9':
            if kept or p[at] != c'0':
                if kept < CARD_DIGITS:
                    digits[kept] = p[at] - c'0'
                    kept += 1
            else:
                point -= 1
            at += 1
        r.at = at
        if at == first:
            return BAD_NUMBER
    if at < n and (p[at] | 0x20) == c'e':
        at += 1
        negative = at < n and p[at] == c'-'
        if at < n and (p[at] == c'+' or p[at] == c'-'):
            at += 1
        first = at
        while at < n and c'0' <= p[at] <= c'9':
            # Beyond this no body is long enough to bring the value back into range.
            if exponent < 1000000000:
                exponent = exponent * 10 + (p[at] - c'0')
            at += 1
        r.at = at
        if at == first:
            return BAD_NUMBER
        point += -exponent if negative else exponent
    if kept == 0:
        return VALID
    if point > 309:
        return LARGE_NUMBER
    if 0 < point <= CARD_DIGITS:
        while kept < point:
            digits[kept] = 0
            kept += 1
        count[0] = <int>point
    return NEAR_LIMIT if point == 309 else VALID


cdef int _read_string(Reader* r, Key* key, Spans spans) except -1:
    """VALID and what is found in the string at `at`, or what is wrong with it."""
    cdef Py_ssize_t start = r.at + 1
    cdef int calls
    cdef int wrong = _pass_string(r, &calls)
    if wrong or not (calls or needs_reading(r.p, start, r.at - 1, key)):
        return wrong
    if r.at - start != UUID + 1 or not uuid_bytes(r.p + start):
        read_text(r, start, r.at - 1, AS_JSON, key, spans)
    return VALID


cdef int _read_number(Reader* r, Key* key, Spans spans) except -1:
    """VALID and what is found in the number at `at`, or what is wrong with it."""
    cdef unsigned char[CARD_DIGITS] digits
    cdef Py_ssize_t start = r.at
    cdef int count
    cdef int wrong = _pass_number(r, digits, &count)
    if wrong == NEAR_LIMIT:
        wrong = LARGE_NUMBER if isinf(float(r.p[start:r.at])) else VALID
    if wrong == LARGE_NUMBER:
        r.at = start
    if wrong:
        return wrong
    if is_card(digits, count):
        spans.add(start, r.at, CARD, 1)
    elif count == 9 and is_ssn(digits) and key_says_ssn(r.p, key):
        spans.add(start, r.at, SSN, 1)
    return VALID


cdef int _read_key(Reader* r, Key* key, Py_ssize_t* rest, Spans spans) except -1:
    """VALID and what is found in the key at `at`, its colon passed; or what is wrong."""
    cdef int wrong
    rest[0] = r.at
    if r.at >= r.n or r.p[r.at] != c'"':
        return NO_MARK
    wrong = _read_string(r, NULL, spans)
    if wrong:
        return wrong
    _skip_space(r)
    rest[0] = r.at
    if r.at >= r.n or r.p[r.at] != c':':
        return NO_MARK
    r.at += 1
    key.value = r.at
    key.says = -1
    return VALID


cdef inline bint _pass_word(Reader* r, const char* word, int length) noexcept nogil:
    if r.n - r.at < length or memcmp(r.p + r.at, word, length) != 0:
        return False
    r.at += length
    return True


cdef int _read_json(Reader* r, Py_ssize_t* rest, Spans spans) except -1:
    """VALID, or what is wrong and `at` where; adds what is found up to there.

    `rest` is where that begins which has not been read.
    """
    cdef unsigned char[DEPTH + 1] opened    # c'{' or c'['
    cdef Key[DEPTH + 1] keys
    cdef int depth = 0
    cdef int wrong
    cdef bint value_next = True
    cdef unsigned char c
    keys[0].value = -1
    keys[0].says = 0
    while True:
        _skip_space(r)
        rest[0] = r.at
        if not value_next:
            if depth == 0:
                return MORE if r.at < r.n else VALID
            if r.at >= r.n:
                return NO_MARK
            c = r.p[r.at]
            if c == (c'}' if opened[depth] == c'{' else c']'):
                r.at += 1
                depth -= 1
                continue
            if c != c',':
                return NO_MARK
            r.at += 1
            value_next = True
            if opened[depth] == c'{':
                _skip_space(r)
                wrong = _read_key(r, &keys[depth], rest, spans)
                if wrong:
                    return wrong
            continue
        if r.at >= r.n:
            return NO_VALUE
        c = r.p[r.at]
        value_next = False
        wrong = VALID
        if c == c'"':
            wrong = _read_string(r, &keys[depth], spans)
        elif c == c'-' or c'0' <= c <= c'9':
            wrong = _read_number(r, &keys[depth], spans)
        elif c == c'{' or c == c'[':
            if depth == DEPTH:
                return TOO_DEEP
            r.at += 1
            _skip_space(r)
            if r.at < r.n and r.p[r.at] == (c'}' if c == c'{' else c']'):
                r.at += 1
                continue
            depth += 1
            opened[depth] = c
            value_next = True
            if c == c'[':
                keys[depth] = keys[depth - 1]
            else:
                wrong = _read_key(r, &keys[depth], rest, spans)
        elif not (
            _pass_word(r, b"true", 4) or _pass_word(r, b"false", 5) or _pass_word(r, b"null", 4)
        ):
            wrong = NO_VALUE
        if wrong:
            return wrong


cdef int _walk_json(Reader* r, Spans spans) except -1:
    """VALID and what is found; or WALK_BAD and nothing, then _read_json says what is wrong."""
    cdef Walk w
    cdef Key key
    cdef int calls
    cdef int what = WALK_STRING
    key.value = -1
    key.says = 0
    walk_begin(&w, r.p, r.n, _level, token_table())
    while True:
        what = walk_next(&w)
        if what == WALK_DONE:
            return VALID
        if what == WALK_BAD:
            break
        if w.value != key.value:
            key.value = w.value
            key.says = -1
        r.at = w.start
        if what == WALK_SCALAR:
            if _read_number(r, &key, spans) != VALID or not walk_ends(&w, r.at):
                break
        else:
            if w.end:
                r.at = w.end + 1
            elif _pass_string(r, &calls) != VALID:
                break
            if r.at - w.start != UUID + 2 or not uuid_bytes(r.p + w.start + 1):
                read_text(r, w.start + 1, r.at - 1, AS_JSON, &key, spans)
        w.done = r.at
    r.at = 0
    spans.count = 0
    return WALK_BAD


cpdef int vectors(int level):
    """Read JSON with vectors of at most this width from now on; the one that is used.

    0: byte by byte; 1: of 32 bytes; 2: of 64 bytes. For tests: all must find the same.
    """
    global _level
    _level = min(level, _best_level)
    return _level


cpdef Spans scan(bytes data, int form):
    """Spans of what is found; for JSON also `error`, why it is not valid, or None.

    What stands behind an error is read all the same, as one text with JSON's escapes. A target
    is read as its path and its query.
    """
    cdef Spans spans = Spans.__new__(Spans)
    cdef Reader r
    cdef Py_ssize_t rest = 0
    cdef Py_ssize_t query
    cdef int wrong
    if data is None:
        raise TypeError("data must be bytes")
    if not AS_JSON <= form <= AS_FORM:
        raise ValueError("an unknown form")
    r.p = data
    r.n = len(data)
    r.at = 0
    r.text = NULL
    try:
        if form == AS_JSON:
            if _level != WALK_NONE and _walk_json(&r, spans) == VALID:
                return spans
            wrong = _read_json(&r, &rest, spans)
            if wrong:
                spans.error = _ERRORS[wrong]
                spans.error_at = r.at
                read_text(&r, rest, r.n, AS_JSON, NULL, spans)
        elif form == AS_TARGET:
            query = data.find(b"?") + 1
            if query == 0:
                query = r.n
            read_text(&r, 0, query, AS_TARGET, NULL, spans)
            read_text(&r, query, r.n, AS_FORM, NULL, spans)
        else:
            read_text(&r, 0, r.n, form, NULL, spans)
    finally:
        free(r.text)
    return spans


cpdef bytes redact(bytes data, Spans spans):
    """The same bytes with each span replaced; valid JSON stays valid."""
    cdef list parts
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t i
    cdef Span* span
    if data is None or spans is None:
        raise TypeError("data must be bytes, and spans those of a scan")
    if not spans.count:
        return data
    parts = []
    for i in range(spans.count):
        span = &spans.items[i]
        parts.append(data[at:span.start])
        parts.append(b'"%b"' % _redacted[span.kind] if span.quoted else _redacted[span.kind])
        at = span.end
    parts.append(data[at:])
    return b"".join(parts)


cpdef tuple counts(Spans spans):
    """How many of each kind, in the order of KINDS."""
    cdef list found = [0] * _kinds
    cdef Py_ssize_t i
    if spans is None:
        raise TypeError("spans must be those of a scan")
    for i in range(spans.count):
        found[spans.items[i].kind] += 1
    return tuple(found)
