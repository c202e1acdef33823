"""Finds card numbers, social security numbers and addresses, and checks JSON, in one pass.

Rules (docs/detection.md):
- JSON is checked strictly (RFC 8259, UTF-8, no lone surrogate, numbers within a double,
  depth <= 128); each of its strings and numbers is read as its reader would read it.
- A text is read as code points with the place of each in the raw bytes: escapes, percent
  encoding and UTF-8 are undone first. What is found are spans of raw bytes.
- A text without enough digits and without an @ is passed over after one cheap look.
- Long texts are read in windows that overlap by more than any finding, so memory is bounded
  and time is linear.
"""

import unicodedata
from sys import maxunicode

from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy

from iatp.values.exchange import KINDS, REDACTED
from iatp.values.issuers import ISSUERS

cdef enum:
    AS_JSON = 0
    AS_TEXT = 1
    AS_TARGET = 2
    AS_FORM = 3
    CARD = 0
    SSN = 1
    EMAIL = 2
    DEPTH = 128
    WINDOW = 8192
    OVERLAP = 512
    MAX_GROUPS = 40
    MAX_ISSUERS = 64

JSON = AS_JSON
TEXT = AS_TEXT
TARGET = AS_TARGET
FORM = AS_FORM

cdef int _kinds = len(KINDS)
cdef list _redacted = [text.encode() for text in REDACTED]

# Decimal digits of every script: each block has its ten digits in a row.
cdef uint32_t _zeros[128]
cdef int _zero_count = 0
for _cp in range(0x80, maxunicode + 1):
    if unicodedata.decimal(chr(_cp), None) == 0 and _zero_count < 128:
        _zeros[_zero_count] = _cp
        _zero_count += 1

cdef struct Issuer:
    int first
    int last
    unsigned int lengths

cdef Issuer _issuers[MAX_ISSUERS]
cdef int _issuer_count = 0
for _name, _first, _last, _lengths in ISSUERS:
    _issuers[_issuer_count].first = _first
    _issuers[_issuer_count].last = _last
    _issuers[_issuer_count].lengths = 0
    for _length in _lengths:
        _issuers[_issuer_count].lengths |= 1u << <int>_length
    _issuer_count += 1


cdef class Spans:
    """Spans in order, without overlaps; iterates as (kind, start, end, quoted)."""

    def __dealloc__(self):
        free(self.items)

    def __len__(self):
        return self.count

    def __iter__(self):
        cdef Py_ssize_t i
        return iter([
            (self.items[i].kind, self.items[i].start, self.items[i].end, bool(self.items[i].quoted))
            for i in range(self.count)
        ])

    cdef int add(self, Py_ssize_t start, Py_ssize_t end, int kind, int quoted) except -1:
        cdef Span* grown
        if self.count and start < self.items[self.count - 1].end:
            return 0
        if self.count == self._room:
            self._room = self._room * 2 if self._room else 8
            grown = <Span*>realloc(self.items, self._room * sizeof(Span))
            if grown == NULL:
                raise MemoryError
            self.items = grown
        self.items[self.count].start = start
        self.items[self.count].end = end
        self.items[self.count].kind = kind
        self.items[self.count].quoted = quoted
        self.count += 1
        return 0


# Code points.

cdef inline int _hex(unsigned char c) noexcept nogil:
    if c'0' <= c <= c'9':
        return c - c'0'
    c |= 0x20
    if c'a' <= c <= c'f':
        return c - c'a' + 10
    return -1


cdef inline int _digit(uint32_t cp) noexcept nogil:
    """The value of a decimal digit of any script, or -1."""
    cdef int low, high, mid
    if cp < 0x80:
        return <int>(cp - c'0') if c'0' <= cp <= c'9' else -1
    if cp < 0x660:
        return -1
    low = 0
    high = _zero_count
    while low < high:
        mid = (low + high) // 2
        if _zeros[mid] <= cp:
            low = mid + 1
        else:
            high = mid
    if low and cp - _zeros[low - 1] < 10:
        return <int>(cp - _zeros[low - 1])
    return -1


cdef inline bint _separator(uint32_t cp) noexcept nogil:
    """What people and layouts put between groups of digits."""
    if cp < 0x80:
        return cp in (c' ', c'-', c'.', c'/', c'_', c'\t')
    return (
        cp == 0xa0 or cp == 0xad or cp == 0x1680 or 0x2000 <= cp <= 0x200b
        or 0x2010 <= cp <= 0x2015 or cp == 0x202f or cp == 0x205f or cp == 0x2212
        or cp == 0x2043 or cp == 0x3000 or cp == 0xfe58 or cp == 0xfe63 or cp == 0xff0d
        or cp == 0xff0e or cp == 0xff0f or cp == 0xff3f or cp == 0xb7 or cp == 0x2024
    )


cdef inline bint _word(uint32_t cp) noexcept nogil:
    return c'a' <= (cp | 0x20) <= c'z' or c'0' <= cp <= c'9' or _digit(cp) >= 0


cdef inline bint _hex_digit(uint32_t cp) noexcept nogil:
    return c'0' <= cp <= c'9' or c'a' <= (cp | 0x20) <= c'f'


cdef Py_ssize_t _read_byte(
    const unsigned char* p, Py_ssize_t at, Py_ssize_t end, int form, unsigned char* out
) noexcept nogil:
    """The next byte as its reader sees it; where the one after it begins."""
    if p[at] == c'%' and form >= AS_TARGET and at + 2 < end and (
        _hex(p[at + 1]) >= 0 and _hex(p[at + 2]) >= 0
    ):
        out[0] = <unsigned char>(_hex(p[at + 1]) * 16 + _hex(p[at + 2]))
        return at + 3
    if p[at] == c'+' and form == AS_FORM:
        out[0] = c' '
        return at + 1
    out[0] = p[at]
    return at + 1


cdef Py_ssize_t _read_point(
    const unsigned char* p, Py_ssize_t at, Py_ssize_t end, int form, uint32_t* out
) noexcept nogil:
    """The next code point; where the one after it begins. Broken UTF-8 gives its bytes."""
    cdef unsigned char b, c
    cdef Py_ssize_t following, then
    cdef int need, i
    cdef uint32_t cp, low
    if form == AS_JSON and p[at] == c'\\' and at + 1 < end:
        c = p[at + 1]
        if c == c'u' and at + 5 < end:
            cp = (_hex(p[at + 2]) << 12) | (_hex(p[at + 3]) << 8) | (_hex(p[at + 4]) << 4) | _hex(p[at + 5])
            at += 6
            if 0xd800 <= cp < 0xdc00 and at + 5 < end and p[at] == c'\\' and p[at + 1] == c'u':
                low = (_hex(p[at + 2]) << 12) | (_hex(p[at + 3]) << 8) | (_hex(p[at + 4]) << 4) | _hex(p[at + 5])
                cp = 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00)
                at += 6
            out[0] = cp
            return at
        out[0] = c'\t' if c == c't' else (c'\n' if c in (c'n', c'r', c'b', c'f') else c)
        return at + 2
    following = _read_byte(p, at, end, form, &b)
    if b < 0xc2 or b > 0xf4:
        out[0] = b
        return following
    need = 1 if b < 0xe0 else (2 if b < 0xf0 else 3)
    cp = b & (0x3f >> need)
    then = following
    for i in range(need):
        if then >= end:
            out[0] = b
            return following
        then = _read_byte(p, then, end, form, &c)
        if c & 0xc0 != 0x80:
            out[0] = b
            return following
        cp = (cp << 6) | (c & 0x3f)
    out[0] = cp
    return then


# Cards.

cdef bint _assigned(const unsigned char* digits, int n) noexcept nogil:
    """Whether an issuer has this prefix at this length."""
    cdef int prefix = 0
    cdef int i
    for i in range(6):
        prefix = prefix * 10 + digits[i]
    for i in range(_issuer_count):
        if _issuers[i].first <= prefix <= _issuers[i].last:
            return _issuers[i].lengths >> n & 1
    return False


cdef bint _is_card(const unsigned char* digits, int n) noexcept nogil:
    """Length, issuer, Luhn, and not one digit repeated."""
    cdef int i, d, total = 0
    cdef bint same = True
    if n < 13 or n > 19 or not _assigned(digits, n):
        return False
    for i in range(n):
        d = digits[i]
        if d != digits[0]:
            same = False
        if (n - i) % 2 == 0:
            d *= 2
            if d > 9:
                d -= 9
        total += d
    return total % 10 == 0 and not same


# Texts.

cdef struct Text:
    uint32_t cp[WINDOW]
    Py_ssize_t pos[WINDOW + 1]
    int n

cdef struct Group:
    int start
    int end


cdef bint _in_hex(Text* t, int start, int end) noexcept nogil:
    """Whether these digits are part of a hex digest or of a UUID."""
    cdef int low = start
    cdef int high = end
    cdef int i, letters = 0, dashes = 0, first = -1, last = -1, length
    cdef bint shaped = True
    while low > 0 and start - low < 160 and (_hex_digit(t.cp[low - 1]) or t.cp[low - 1] == c'-'):
        low -= 1
    while high < t.n and high - end < 160 and (_hex_digit(t.cp[high]) or t.cp[high] == c'-'):
        high += 1
    length = high - low
    # A UUID, wherever in this stretch the digits stand.
    for i in range(low, high - 35):
        if (
            i <= start and i + 36 >= end and t.cp[i + 8] == c'-' and t.cp[i + 13] == c'-'
            and t.cp[i + 18] == c'-' and t.cp[i + 23] == c'-'
        ):
            return True
    # A digest: one unbroken word of hex digits with letters among them, 24 or longer.
    low = start
    high = end
    while low > 0 and start - low < 160 and _hex_digit(t.cp[low - 1]):
        low -= 1
    while high < t.n and high - end < 160 and _hex_digit(t.cp[high]):
        high += 1
    for i in range(low, high):
        if (t.cp[i] | 0x20) >= c'a':
            letters += 1
        elif t.cp[i] == c'-':
            return False
    return letters >= 2 and high - low >= 24


cdef bint _says_ssn(Text* t, int start) noexcept nogil:
    """Whether the words before a number call it a social security or taxpayer number."""
    cdef char words[64]
    cdef int n = 0
    cdef int i = start - 1
    cdef uint32_t c
    # The last letters before the number, lower case, backwards, without what stands between.
    while i >= 0 and n < 40 and start - i < 64:
        c = t.cp[i] | 0x20
        if c'a' <= c <= c'z':
            words[n] = <char>c
            n += 1
        elif _digit(t.cp[i]) >= 0:
            break
        i -= 1
    return _ends_in_ssn(words, n)


cdef bint _has(const char* words, int n, const char* reversed_word, int m) noexcept nogil:
    cdef int i
    for i in range(n - m + 1):
        if memcmp(words + i, reversed_word, m) == 0:
            return True
    return False


cdef bint _ends_in_ssn(const char* words, int n) noexcept nogil:
    return (
        _has(words, n, b"nss", 3) or _has(words, n, b"niti", 4)
        or _has(words, n, b"ytirucesl", 9) or _has(words, n, b"ceslaicos", 9)
        or _has(words, n, b"dixat", 5) or _has(words, n, b"dixat", 5)
        or _has(words, n, b"reyapxat", 8)
    )


cdef bint _ssn_digits(const unsigned char* d) noexcept nogil:
    """Area, group and serial as they are assigned; 9xx only with an ITIN's group."""
    cdef int area = d[0] * 100 + d[1] * 10 + d[2]
    cdef int group = d[3] * 10 + d[4]
    cdef int serial = d[5] * 1000 + d[6] * 100 + d[7] * 10 + d[8]
    if area == 0 or area == 666 or group == 0 or serial == 0:
        return False
    if area >= 900:
        return 50 <= group <= 65 or 70 <= group <= 88 or 90 <= group <= 92 or 94 <= group <= 99
    return True


cdef int _take_digits(Text* t, int start, int end, unsigned char* out, int room) noexcept nogil:
    """The digits between two places, without separators; -1 where there are too many."""
    cdef int i, d, n = 0
    for i in range(start, end):
        d = _digit(t.cp[i])
        if d >= 0:
            if n == room:
                return -1
            out[n] = <unsigned char>d
            n += 1
    return n


cdef int _read_run(
    Text* t, Group* g, int count, int limit, bint key_says_ssn, Spans spans
) except -1:
    """Looks for cards and SSNs in groups of digits with one separator between each."""
    cdef unsigned char digits[24]
    cdef int i = 0
    cdef int j, n, size, found, ones
    cdef uint32_t sep
    cdef bint alone
    while i < count:
        found = -1
        size = g[i].end - g[i].start
        # 3-2-4 with one and the same separator, standing alone.
        if size == 3 and i + 2 < count and g[i + 1].end - g[i + 1].start == 2 and (
            g[i + 2].end - g[i + 2].start == 4
        ):
            sep = t.cp[g[i].end]
            alone = (
                t.cp[g[i + 1].end] == sep
                and (i == 0 or t.cp[g[i].start - 1] != sep)
                and (i + 3 >= count or t.cp[g[i + 2].end] != sep)
                and (g[i].start == 0 or not _word(t.cp[g[i].start - 1]))
                and (g[i + 2].end == t.n or not _word(t.cp[g[i + 2].end]))
            )
            if alone and _take_digits(t, g[i].start, g[i + 2].end, digits, 24) == 9:
                if _ssn_digits(digits) and not _in_hex(t, g[i].start, g[i + 2].end):
                    spans.add(t.pos[g[i].start], t.pos[g[i + 2].end], SSN, 0)
                    i += 3
                    continue
        if size == 9 and (key_says_ssn or _says_ssn(t, g[i].start)):
            if (
                (g[i].start == 0 or not _word(t.cp[g[i].start - 1]))
                and (g[i].end == t.n or not _word(t.cp[g[i].end]))
                and _take_digits(t, g[i].start, g[i].end, digits, 24) == 9 and _ssn_digits(digits)
            ):
                spans.add(t.pos[g[i].start], t.pos[g[i].end], SSN, 0)
                i += 1
                continue
        # A fraction is not a card; a card may end a sentence or begin one.
        if i > 0 and t.cp[g[i].start - 1] == c'.' and g[i - 1].end == g[i].start - 1 and size > 6:
            i += 1
            continue
        n = 0
        ones = 0
        for j in range(i, count):
            size = g[j].end - g[j].start
            if n + size > 19:
                break
            if j > i:
                if t.cp[g[j].start - 1] != t.cp[g[i].end]:
                    break
                # Groups that people write: three digits or more, but for the last; or all single.
                if g[j - 1].end - g[j - 1].start < 3 and ones != j - i:
                    break
            ones += size == 1
            n += size
            if n >= 13 and (size >= 3 or ones == 0 or ones == j - i + 1 or ones == 1):
                if _take_digits(t, g[i].start, g[j].end, digits, 24) == n and _is_card(digits, n):
                    if not _in_hex(t, g[i].start, g[j].end):
                        found = j
        if found >= 0:
            spans.add(t.pos[g[i].start], t.pos[g[found].end], CARD, 0)
            i = found + 1
        else:
            i += 1
    return 0


cdef inline bint _local(uint32_t c) noexcept nogil:
    """A character of an address before its @ (RFC 5322 atext, as far as people use it)."""
    return c'a' <= (c | 0x20) <= c'z' or c'0' <= c <= c'9' or c >= 0xa1 or c in (
        c'.', c'_', c'%', c'+', c'-', c'\''
    )


cdef inline bint _domain(uint32_t c) noexcept nogil:
    return c'a' <= (c | 0x20) <= c'z' or c'0' <= c <= c'9' or c == c'-' or c == c'.' or c >= 0xa1


cdef bint _email_at(Text* t, int at, int floor, int* start, int* end) noexcept nogil:
    """The address around an @."""
    cdef int low = at
    cdef int high = at + 1
    cdef int dot = -1
    cdef int i
    while low > floor and at - low < 64 and _local(t.cp[low - 1]):
        low -= 1
    while low < at and t.cp[low] == c'.':
        low += 1
    if low == at:
        return False
    while high < t.n and high - at <= 254 and _domain(t.cp[high]):
        high += 1
    while high > at + 1 and (t.cp[high - 1] == c'.' or t.cp[high - 1] == c'-'):
        high -= 1
    for i in range(at + 1, high):
        if t.cp[i] == c'.':
            dot = i
    if dot <= at + 1 or high - dot < 3:
        return False
    for i in range(dot + 1, high):
        if c'0' <= t.cp[i] <= c'9' and high - dot < 4:
            return False
    start[0] = low
    end[0] = high
    return True


cdef int _read_window(Text* t, int limit, bint key_says_ssn, Spans spans) except -1:
    """Everything that begins before `limit`; numbers and addresses in order of place."""
    cdef Group groups[MAX_GROUPS]
    cdef int count = 0
    cdef int i = 0
    cdef int j, start, end
    cdef int floor = 0
    while i < t.n:
        if _digit(t.cp[i]) >= 0:
            # An address may begin with digits: it is looked for first where an @ is near.
            j = i
            while j < t.n and _digit(t.cp[j]) >= 0:
                j += 1
            groups[count].start = i
            groups[count].end = j
            count += 1
            i = j
            if (
                count == MAX_GROUPS or i + 1 >= t.n or not _separator(t.cp[i])
                or _digit(t.cp[i + 1]) < 0
            ):
                if groups[0].start < limit:
                    _read_run(t, groups, count, limit, key_says_ssn, spans)
                if count == MAX_GROUPS:
                    # The end of a long row of groups may begin a number: keep its last ones.
                    for j in range(19):
                        groups[j] = groups[count - 19 + j]
                    count = 19
                    if i + 1 < t.n and _separator(t.cp[i]) and _digit(t.cp[i + 1]) >= 0:
                        i += 1
                        continue
                count = 0
            else:
                i += 1
            continue
        if t.cp[i] == c'@' and _email_at(t, i, floor, &start, &end):
            # What stuck to a finding before it is that finding's, not the address's.
            while start < i and spans.count and t.pos[start] < spans.items[spans.count - 1].end:
                start += 1
            if start < i and start < limit:
                spans.add(t.pos[start], t.pos[end], EMAIL, 0)
            floor = end
            i = end
            continue
        i += 1
    return 0


cdef bint _worth_reading(const unsigned char* p, Py_ssize_t n, int form) noexcept nogil:
    """Whether a finding could be in here at all: nine digits, an @, or something encoded."""
    cdef Py_ssize_t i
    cdef int digits = 0
    for i in range(n):
        if c'0' <= p[i] <= c'9':
            digits += 1
            if digits >= 9:
                return True
        elif p[i] == c'@' or p[i] >= 0xc0:
            return True
        elif p[i] == c'\\' and form == AS_JSON or p[i] == c'%' and form >= AS_TARGET:
            return True
    return False


cdef int _read_text(
    const unsigned char* p, Py_ssize_t start, Py_ssize_t end, int form, bint key_says_ssn,
    Spans spans
) except -1:
    """Spans of one text, the bytes of `p` from `start` to `end`."""
    cdef Text* t
    cdef Py_ssize_t at = start
    cdef int keep, limit
    if not _worth_reading(p + start, end - start, form):
        return 0
    t = <Text*>malloc(sizeof(Text))
    if t == NULL:
        raise MemoryError
    try:
        t.n = 0
        while True:
            while at < end and t.n < WINDOW:
                t.pos[t.n] = at
                at = _read_point(p, at, end, form, &t.cp[t.n])
                t.n += 1
            t.pos[t.n] = at
            limit = t.n if at >= end else t.n - OVERLAP // 2
            _read_window(t, limit, key_says_ssn, spans)
            if at >= end:
                return 0
            # The overlap gives what begins behind `limit` its words before it.
            keep = OVERLAP
            memcpy(&t.cp[0], &t.cp[t.n - keep], keep * sizeof(uint32_t))
            for i in range(keep):
                t.pos[i] = t.pos[t.n - keep + i]
            t.n = keep
    finally:
        free(t)


# JSON.

cdef struct Json:
    const unsigned char* p
    Py_ssize_t n
    Py_ssize_t at


cdef inline void _skip_space(Json* j) noexcept nogil:
    while j.at < j.n and j.p[j.at] in (c' ', c'\n', c'\t', c'\r'):
        j.at += 1


cdef int _string(Json* j) noexcept nogil:
    """Passes the string that begins at the quote; 0, or what is wrong."""
    cdef const unsigned char* p = j.p
    cdef Py_ssize_t n = j.n
    cdef Py_ssize_t at = j.at + 1
    cdef unsigned char c
    cdef int need, i, unit, low
    while at < n:
        c = p[at]
        if c == c'"':
            j.at = at + 1
            return 0
        if c < 0x20:
            j.at = at
            return 1
        if c == c'\\':
            if at + 1 >= n:
                break
            c = p[at + 1]
            if c == c'u':
                unit = _four(p, at + 2, n)
                if unit < 0 or 0xdc00 <= unit < 0xe000:
                    j.at = at
                    return 2
                at += 6
                if 0xd800 <= unit < 0xdc00:
                    if at + 1 >= n or p[at] != c'\\' or p[at + 1] != c'u':
                        j.at = at
                        return 2
                    low = _four(p, at + 2, n)
                    if low < 0xdc00 or low >= 0xe000:
                        j.at = at
                        return 2
                    at += 6
                continue
            if c not in (c'"', c'\\', c'/', c'b', c'f', c'n', c'r', c't'):
                j.at = at
                return 1
            at += 2
            continue
        if c < 0x80:
            at += 1
            continue
        # UTF-8 (RFC 3629): no overlong form, no surrogate, nothing above U+10FFFF.
        need = 1 if 0xc2 <= c < 0xe0 else (2 if 0xe0 <= c < 0xf0 else (3 if 0xf0 <= c < 0xf5 else 0))
        if need == 0 or at + need >= n:
            j.at = at
            return 3
        if (
            c == 0xe0 and p[at + 1] < 0xa0 or c == 0xed and p[at + 1] > 0x9f
            or c == 0xf0 and p[at + 1] < 0x90 or c == 0xf4 and p[at + 1] > 0x8f
        ):
            j.at = at
            return 3
        for i in range(1, need + 1):
            if p[at + i] & 0xc0 != 0x80:
                j.at = at
                return 3
        at += need + 1
    j.at = n
    return 4


cdef int _four(const unsigned char* p, Py_ssize_t at, Py_ssize_t n) noexcept nogil:
    cdef int i, unit = 0
    if at + 4 > n:
        return -1
    for i in range(4):
        if _hex(p[at + i]) < 0:
            return -1
        unit = unit * 16 + _hex(p[at + i])
    return unit


cdef int _number(Json* j, unsigned char* digits, int* count) noexcept nogil:
    """Passes a number; 0, or what is wrong. `count` digits of its value where it is a whole
    number of 9 to 19 digits, else 0. A double's range is checked by its decimal exponent."""
    cdef const unsigned char* p = j.p
    cdef Py_ssize_t n = j.n
    cdef Py_ssize_t at = j.at
    cdef Py_ssize_t first
    cdef long long whole = 0     # digits before the point, without leading zeros
    cdef long long exponent = 0
    cdef long long zeros = 0
    cdef bint minus_exponent = False
    cdef bint fits = True
    cdef unsigned char lead[24]
    cdef int kept = 0
    cdef int i
    cdef bint nonzero_tail = False
    cdef long long leading
    count[0] = 0
    if at < n and p[at] == c'-':
        at += 1
    if at >= n or not c'0' <= p[at] <= c'9':
        j.at = at
        return 5
    if p[at] == c'0' and at + 1 < n and c'0' <= p[at + 1] <= c'9':
        j.at = at
        return 5
    while at < n and c'0' <= p[at] <= c'9':
        if kept or p[at] != c'0':
            whole += 1
            if kept < 24:
                lead[kept] = p[at] - c'0'
                kept += 1
            elif p[at] != c'0':
                nonzero_tail = True
        at += 1
    leading = whole
    if at < n and p[at] == c'.':
        at += 1
        first = at
        while at < n and c'0' <= p[at] <= c'9':
            if kept or p[at] != c'0':
                if kept < 24:
                    lead[kept] = p[at] - c'0'
                    kept += 1
                elif p[at] != c'0':
                    nonzero_tail = True
            elif whole == 0:
                leading -= 1
            at += 1
        if at == first:
            j.at = at
            return 5
    if at < n and (p[at] | 0x20) == c'e':
        at += 1
        if at < n and (p[at] == c'+' or p[at] == c'-'):
            minus_exponent = p[at] == c'-'
            at += 1
        first = at
        while at < n and c'0' <= p[at] <= c'9':
            if exponent < 1000000000:
                exponent = exponent * 10 + (p[at] - c'0')
            at += 1
        if at == first:
            j.at = at
            return 5
        if minus_exponent:
            exponent = -exponent
    # The value is 0.lead x 10**leading.
    leading += exponent
    if kept and (leading > 309 or leading == 309 and _above_double(lead, kept)):
        j.at = at
        return 6
    while kept and lead[kept - 1] == 0:
        kept -= 1
    if not nonzero_tail and 9 <= leading <= 19 and kept <= leading:
        for i in range(<int>leading):
            digits[i] = lead[i] if i < kept else 0
        count[0] = <int>leading
    j.at = at
    return 0


cdef bint _above_double(const unsigned char* lead, int kept) noexcept nogil:
    """Whether 0.lead x 10**309 rounds to infinity: the largest double is 1.797693134862315807e308."""
    cdef const char* limit = b"17976931348623158079"
    cdef int i, d
    for i in range(20):
        d = lead[i] if i < kept else 0
        if d != limit[i] - c'0':
            return d > limit[i] - c'0'
    return False


cdef bint _key_says_ssn(const unsigned char* p, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    """Whether a key calls its value a social security or taxpayer number."""
    cdef char words[64]
    cdef int n = 0
    cdef Py_ssize_t i = end - 1
    cdef unsigned char c
    while i >= start and n < 63:
        c = p[i] | 0x20
        if c'a' <= c <= c'z':
            words[n] = <char>c
            n += 1
        i -= 1
    return _ends_in_ssn(words, n)


cdef list _ERRORS = [
    None, "a control character or an unknown escape in a string", "a lone surrogate",
    "not UTF-8", "a string that does not end", "not a number", "a number beyond a double",
    "a value is missing or unknown", "nested deeper than 128", "something behind the value",
    "a comma, colon or bracket is missing",
]


cdef int _read_json(const unsigned char* p, Py_ssize_t n, Spans spans) except -1:
    """0, or what is wrong; spans of all strings and numbers on the way."""
    cdef Json j
    cdef unsigned char stack[DEPTH + 1]   # b'{' or b'['
    cdef bint says[DEPTH + 1]             # whether the key that is open says SSN
    cdef unsigned char digits[24]
    cdef int count, wrong
    cdef int depth = 0
    cdef Py_ssize_t start
    cdef unsigned char c
    cdef bint value_next = True
    j.p = p
    j.n = n
    j.at = 0
    says[0] = False
    spans.error_at = 0
    while True:
        _skip_space(&j)
        spans.error_at = j.at
        if value_next:
            if j.at >= n:
                return 7
            c = p[j.at]
            value_next = False
            if c == c'"':
                start = j.at
                wrong = _string(&j)
                spans.error_at = j.at
                if wrong:
                    return wrong
                _read_text(p, start + 1, j.at - 1, AS_JSON, says[depth], spans)
            elif c == c'{' or c == c'[':
                if depth == DEPTH:
                    return 8
                depth += 1
                stack[depth] = c
                says[depth] = says[depth - 1] if c == c'[' else False
                j.at += 1
                _skip_space(&j)
                if j.at < n and p[j.at] == (c'}' if c == c'{' else c']'):
                    depth -= 1
                    j.at += 1
                elif c == c'[':
                    value_next = True
                    continue
                else:
                    wrong = _key(&j, spans, &says[depth])
                    if wrong:
                        return wrong
                    value_next = True
                    continue
            elif c == c'-' or c'0' <= c <= c'9':
                start = j.at
                wrong = _number(&j, digits, &count)
                spans.error_at = j.at
                if wrong:
                    return wrong
                if count == 9 and says[depth] and _ssn_digits(digits):
                    spans.add(start, j.at, SSN, 1)
                elif _is_card(digits, count):
                    spans.add(start, j.at, CARD, 1)
            elif n - j.at >= 4 and memcmp(p + j.at, b"true", 4) == 0:
                j.at += 4
            elif n - j.at >= 5 and memcmp(p + j.at, b"false", 5) == 0:
                j.at += 5
            elif n - j.at >= 4 and memcmp(p + j.at, b"null", 4) == 0:
                j.at += 4
            else:
                return 7
            continue
        if depth == 0:
            return 9 if j.at < n else 0
        if j.at >= n:
            return 10
        c = p[j.at]
        j.at += 1
        if c == c',':
            if stack[depth] == c'{':
                _skip_space(&j)
                wrong = _key(&j, spans, &says[depth])
                if wrong:
                    return wrong
            value_next = True
        elif c == (c'}' if stack[depth] == c'{' else c']'):
            depth -= 1
        else:
            return 10


cdef int _key(Json* j, Spans spans, bint* says) except -1:
    """Passes a key and its colon; 0, or what is wrong."""
    cdef Py_ssize_t start = j.at
    cdef int wrong
    spans.error_at = j.at
    if j.at >= j.n or j.p[j.at] != c'"':
        return 10
    wrong = _string(j)
    spans.error_at = j.at
    if wrong:
        return wrong
    _read_text(j.p, start + 1, j.at - 1, AS_JSON, False, spans)
    says[0] = _key_says_ssn(j.p, start + 1, j.at - 1)
    _skip_space(j)
    if j.at >= j.n or j.p[j.at] != c':':
        spans.error_at = j.at
        return 10
    j.at += 1
    return 0


cpdef Spans scan(bytes data, int form):
    """Spans of what is found; for JSON also whether it is valid.

    Where it is not, `error` says why and the spans are those of the same bytes as a text.
    """
    cdef Spans spans = Spans.__new__(Spans)
    cdef Py_ssize_t n = len(data)
    cdef const unsigned char* p = data
    cdef int wrong
    if form == AS_JSON:
        wrong = _read_json(p, n, spans)
        if not wrong:
            return spans
        spans.error = _ERRORS[wrong]
        spans.count = 0
        form = AS_TEXT
    elif not AS_TEXT <= form <= AS_FORM:
        raise ValueError("an unknown form")
    _read_text(p, 0, n, form, False, spans)
    return spans


cpdef bytes redact(bytes data, Spans spans):
    """The same bytes with each span replaced; valid JSON stays valid."""
    cdef list parts
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t i
    cdef Span* span
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
    for i in range(spans.count):
        found[spans.items[i].kind] += 1
    return tuple(found)
