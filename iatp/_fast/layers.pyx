# cython: autotestdict=False
"""Undoes one layer of an encoding: JSON escapes, percent and entities, base64, hex.

- A layer is undone into a buffer as long as what it is undone from: none makes text longer.
- There is no map from the buffer back to the text. `trace` undoes the layer once more and counts,
  which costs time only where something was found.
- Nothing is refused here: what is no escape, no entity, no base64 stays as it is.
scan.pyx says in which order layers are undone, and how many.
"""

import html.entities

from libc.stdint cimport uint32_t
from libc.string cimport memchr, memcmp, memcpy

cdef extern from "string.h" nogil:
    void* memmem(const void* text, size_t n, const void* part, size_t length)

from iatp.values import characters

from iatp._fast.text cimport SSN_DIGITS, Span, json_unit

cdef extern from "runs.h" nogil:
    Py_ssize_t before_run(const unsigned char* p, Py_ssize_t at, Py_ssize_t n, int least)
    Py_ssize_t quiet_marked(
        const unsigned char* p, Py_ssize_t n, unsigned char one, unsigned char two
    )
    Py_ssize_t copy_marked(
        const unsigned char* p, Py_ssize_t n, unsigned char one, unsigned char two,
        unsigned char* out
    )

cdef extern from "utf8.h" nogil:
    int utf8_length(const unsigned char* p, Py_ssize_t n)

# Characters of base64 (standard and URL) by their value, of hex by theirs; NONE for all others.
cdef enum:
    NONE = 0xff

cdef unsigned char[256] _base64
cdef unsigned char[256] _hex
for _byte in range(256):
    _base64[_byte] = _hex[_byte] = NONE
for _value, _letter in enumerate(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
):
    _base64[ord(_letter)] = _value
_base64[c'-'] = 62
_base64[c'_'] = 63
for _value, _letter in enumerate("0123456789abcdef"):
    _hex[ord(_letter)] = _hex[ord(_letter.upper())] = _value

# What the byte behind a backslash means: `u` begins a unit, 0 is no escape.
cdef unsigned char[256] _escaped
for _byte in range(256):
    _escaped[_byte] = 0
_escaped[c'"'] = c'"'
_escaped[c'\\'] = c'\\'
_escaped[c'/'] = c'/'
_escaped[c'n'] = c'\n'
_escaped[c't'] = c'\t'
_escaped[c'r'] = c'\r'
_escaped[c'b'] = 8
_escaped[c'f'] = 12
_escaped[c'u'] = c'u'

# What begins an escape, a percent encoding, an entity.
cdef unsigned char[256] _marks
for _byte in range(256):
    _marks[_byte] = 0
_marks[c'\\'] = ESCAPED
_marks[c'%'] = _marks[c'&'] = CODED

# Entities that have a name: those of one character of ASCII and those of separators, which are
# what numbers and addresses are written with. Some need no semicolon; HTML lists both spellings.
cdef enum:
    MAX_NAMES = 256
    LONGEST_NAME = 24
    LONGEST_NUMBER = 24
    # Of those without a semicolon.
    SHORTEST_BARE = 2
    LONGEST_BARE = 6

cdef enum:
    SHORT_TEXT = 20
    # Characters of a run that are looked at together: of either coding, whole bytes.
    FIRST_PIECE = 12
    PIECE = 128

cdef struct Name:
    char[LONGEST_NAME + 2] name    # with its semicolon, where it has one
    int length
    uint32_t cp

cdef Name[MAX_NAMES] _names
cdef int[129] _first_name          # of the names that begin with this byte
cdef uint32_t[128] _name_lengths   # bit n: one of them has n bytes
cdef int _name_count = 0

for _entity, _meaning in sorted(html.entities.html5.items()):
    if len(_meaning) == 1 and (ord(_meaning) < 0x80 or ord(_meaning) in characters.SEPARATORS):
        assert len(_entity) <= LONGEST_NAME + 1 and _name_count < MAX_NAMES
        for _place, _letter in enumerate(_entity):
            _names[_name_count].name[_place] = ord(_letter)
        _names[_name_count].name[len(_entity)] = 0
        _names[_name_count].length = len(_entity)
        _names[_name_count].cp = ord(_meaning)
        _name_count += 1
for _byte in range(128):
    _name_lengths[_byte] = 0
for _place in range(_name_count):
    _name_lengths[<int>_names[_place].name[0]] |= <uint32_t>1 << _names[_place].length
for _byte in range(129):
    _first_name[_byte] = sum([1 for _place in range(_name_count) if _names[_place].name[0] < _byte])


cdef inline bint _is_alphanumeric(unsigned char c) noexcept nogil:
    return c'0' <= c <= c'9' or c'a' <= (c | 0x20) <= c'z'


cdef inline int _write(uint32_t cp, unsigned char* out) noexcept nogil:
    """How many bytes the UTF-8 of a code point has; what is none becomes U+FFFD."""
    if cp < 0x80:
        out[0] = <unsigned char>cp
        return 1
    if cp < 0x800:
        out[0] = <unsigned char>(0xc0 | cp >> 6)
        out[1] = <unsigned char>(0x80 | cp & 0x3f)
        return 2
    if cp > 0x10ffff or 0xd800 <= cp < 0xe000:
        cp = 0xfffd
    if cp < 0x10000:
        out[0] = <unsigned char>(0xe0 | cp >> 12)
        out[1] = <unsigned char>(0x80 | cp >> 6 & 0x3f)
        out[2] = <unsigned char>(0x80 | cp & 0x3f)
        return 3
    out[0] = <unsigned char>(0xf0 | cp >> 18)
    out[1] = <unsigned char>(0x80 | cp >> 12 & 0x3f)
    out[2] = <unsigned char>(0x80 | cp >> 6 & 0x3f)
    out[3] = <unsigned char>(0x80 | cp & 0x3f)
    return 4


cdef Py_ssize_t _escape(
    const unsigned char* p, Py_ssize_t at, Py_ssize_t n, unsigned char* out, int* width
) noexcept nogil:
    """Where the JSON escape at `at` ends; `out` is what it means. `at` where it is none."""
    cdef int unit, low
    cdef unsigned char c
    if at + 1 >= n:
        return at
    c = _escaped[p[at + 1]]
    if c == 0:
        return at
    if c == c'u':
        unit = json_unit(p, at, n)
        if unit < 0:
            return at
        if 0xd800 <= unit < 0xdc00:
            low = json_unit(p, at + 6, n)
            if 0xdc00 <= low < 0xe000:
                width[0] = _write(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00), out)
                return at + 12
        width[0] = _write(unit, out)
        return at + 6
    out[0] = c
    width[0] = 1
    return at + 2


cdef bint _find_name(const unsigned char* p, int length, uint32_t* cp) noexcept nogil:
    """Whether `length` bytes are a name of the table; they begin with ASCII."""
    cdef int i
    if not _name_lengths[p[0]] >> length & 1:
        return False
    for i in range(_first_name[p[0]], _first_name[p[0] + 1]):
        if _names[i].length == length and memcmp(_names[i].name, p, length) == 0:
            cp[0] = _names[i].cp
            return True
    return False


cdef int _named(const unsigned char* p, Py_ssize_t n, uint32_t* cp) noexcept nogil:
    """How many bytes of `p` are the name of an entity, its semicolon included; 0: none."""
    cdef int length = 0
    while length < n and length < LONGEST_NAME and _is_alphanumeric(p[length]):
        length += 1
    if length and length < n and p[length] == c';' and _find_name(p, length + 1, cp):
        return length + 1
    length = min(length, LONGEST_BARE)
    while length >= SHORTEST_BARE:
        if _find_name(p, length, cp):
            return length
        length -= 1
    return 0


cdef Py_ssize_t _entity_at(
    const unsigned char* p, Py_ssize_t at, Py_ssize_t n, unsigned char* out, int* width
) noexcept nogil:
    """Where the entity at `at` ends; `out` is what it means. `at` where it is none."""
    cdef Py_ssize_t behind = at + 1
    cdef Py_ssize_t first
    cdef uint32_t cp = 0
    cdef int base = 10
    cdef int length
    if behind >= n:
        return at
    if p[behind] != c'#':
        length = _named(p + behind, n - behind, &cp)
        if length == 0:
            return at
        width[0] = _write(cp, out)
        return behind + length
    behind += 1
    if behind < n and (p[behind] | 0x20) == c'x':
        base = 16
        behind += 1
    first = behind
    while behind < n and behind - first < LONGEST_NUMBER and _hex[p[behind]] < base:
        # What is beyond every code point stays so.
        if cp <= 0x10ffff:
            cp = cp * base + _hex[p[behind]]
        behind += 1
    if behind == first:
        return at
    if behind < n and p[behind] == c';':
        behind += 1
    width[0] = _write(cp if cp else 0xfffd, out)
    return behind


cdef inline bint _is_percent(const unsigned char* p, Py_ssize_t at, Py_ssize_t n) noexcept nogil:
    return at + 2 < n and _hex[p[at + 1]] != NONE and _hex[p[at + 2]] != NONE


cdef struct Steps:
    # Goes through a text from mark to mark: what may begin something that is encoded.
    const unsigned char* p
    Py_ssize_t n
    unsigned char one
    unsigned char two


cdef void _begin(Steps* s, const unsigned char* p, Py_ssize_t n, int how) noexcept nogil:
    s.p = p
    s.n = n
    s.one = s.two = c'\\' if how == UNDO_ESCAPES else c'%'
    if how >= UNDO_FORM:
        s.two = c'+' if how == UNDO_FORM else c'&'


cdef inline Py_ssize_t _undo_mark(
    const Steps* s, Py_ssize_t at, unsigned char* out, int* width
) noexcept nogil:
    """Where what the mark at `at` begins ends; `out` has its `width` bytes."""
    cdef unsigned char c = s.p[at]
    cdef Py_ssize_t behind = at
    if c == c'\\':
        behind = _escape(s.p, at, s.n, out, width)
    elif c == c'&':
        behind = _entity_at(s.p, at, s.n, out, width)
    elif c == c'%':
        if _is_percent(s.p, at, s.n):
            out[0] = <unsigned char>(_hex[s.p[at + 1]] << 4 | _hex[s.p[at + 2]])
            width[0] = 1
            return at + 3
    else:
        c = c' '
    if behind == at:
        out[0] = c
        width[0] = 1
        return at + 1
    return behind


cdef Py_ssize_t undo(
    const unsigned char* p, Py_ssize_t n, int how, unsigned char* out
) noexcept nogil:
    """How long the text is with one layer undone; `out` has room for `n` bytes."""
    return _undo(p, n, how, out, NULL)


cdef Py_ssize_t _undo(
    const unsigned char* p, Py_ssize_t n, int how, unsigned char* out, Zones* changed
) noexcept nogil:
    """The same; `changed` become the zones of `out` that are not as they were."""
    cdef Steps s
    cdef Zone* last
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t to = 0
    cdef Py_ssize_t plain, mark
    cdef int width = 0
    _begin(&s, p, n, how)
    while True:
        plain = copy_marked(p + at, n - at, s.one, s.two, out + to)
        at += plain
        to += plain
        if at >= n:
            return to
        # What is undone is never longer than what it is undone from.
        mark = at
        at = _undo_mark(&s, at, out + to, &width)
        if changed != NULL and at > mark + 1:
            last = &changed.items[changed.count - 1]
            if changed.count == 0 or to - last.end > ZONE_BEFORE + ZONE_BEHIND:
                last += 1
                changed.count += 1
                last.start = to
            last.end = to + width
        to += width


cdef inline bint _runs_on(unsigned char c) noexcept nogil:
    """Whether a token or a run may go on over this byte, however far."""
    return _base64[c] != NONE or c in (c'=', c'.', c'\r', c'\n')


cdef Py_ssize_t undo_around(
    const unsigned char* p, Py_ssize_t n, int how, unsigned char* out, Zones* zones
) noexcept nogil:
    """The same as `undo`; what may differ in findings lies in `zones`, which has room for all.

    A zone is what changed, the runs that this is part of, and what decides what is found there.
    """
    cdef Zone* zone
    cdef Py_ssize_t length, start, end, i
    cdef int _place
    cdef Py_ssize_t behind = 0    # where the runs of the last zone end
    cdef Py_ssize_t covered = 0
    cdef Py_ssize_t count = 0
    zones.count = 0
    length = _undo(p, n, how, out, zones)
    if zones.count == 0:
        return length
    if length > ZONED:
        for i in range(zones.count):
            start = zones.items[i].start
            end = max(zones.items[i].end, behind)
            while start > behind and _runs_on(out[start - 1]):
                start -= 1
            while end < length and _runs_on(out[end]):
                end += 1
            behind = end
            start -= min(start, ZONE_BEFORE)
            end = min(length, end + ZONE_BEHIND)
            # No character is cut, where these are any.
            for _place in range(3):
                start -= start > 0 and out[start] & 0xc0 == 0x80
                end += end < length and out[end] & 0xc0 == 0x80
            if count and start <= zones.items[count - 1].end:
                count -= 1
                start = zones.items[count].start
                covered -= zones.items[count].end - start
            zone = &zones.items[count]
            zone.start = start
            zone.end = end
            covered += end - start
            count += 1
        zones.count = count
        if covered * 2 < length and not (_like_json(out, length) or _holds_key(out, length)):
            return length
    zones.count = 1
    zones.items[0].start = 0
    zones.items[0].end = length
    return length


cdef bint _like_json(const unsigned char* p, Py_ssize_t n) noexcept nogil:
    """Whether a text begins and ends like an array, an object or a string."""
    cdef Py_ssize_t at = 0
    while at < n and p[at] in (c' ', c'\n', c'\t', c'\r'):
        at += 1
    while n > at and p[n - 1] in (c' ', c'\n', c'\t', c'\r'):
        n -= 1
    return at < n and p[at] in (c'{', c'[', c'"') and p[n - 1] in (c'}', c']', c'"')


cdef bint _holds_key(const unsigned char* p, Py_ssize_t n) noexcept nogil:
    """Whether a private key may begin in a text, which ends anywhere."""
    return memmem(p, n, b"-----BEGIN", 10) != NULL


cdef void trace(
    const unsigned char* p, Py_ssize_t n, int how, Span* spans, Py_ssize_t count
) noexcept nogil:
    """Turns places in what `undo` made into places in `p`; spans are in order."""
    cdef Steps s
    cdef unsigned char[4] bytes_
    cdef Py_ssize_t at = 0         # in p, and
    cdef Py_ssize_t to = 0         # where that is in the text undone
    cdef Py_ssize_t mark, behind
    cdef Py_ssize_t i = 0
    cdef bint open_ = False        # the start of spans[i] is known
    cdef int width = 0
    _begin(&s, p, n, how)
    while i < count:
        # From `at` to the mark each byte is itself; the mark becomes `width` bytes.
        mark = at + quiet_marked(p + at, n - at, s.one, s.two)
        behind = n
        if mark < n:
            behind = _undo_mark(&s, mark, bytes_, &width)
        while i < count:
            if not open_:
                if spans[i].start < to + (mark - at):
                    spans[i].start = at + (spans[i].start - to)
                elif mark < n and spans[i].start < to + (mark - at) + width:
                    spans[i].start = mark
                else:
                    break
                open_ = True
            if spans[i].end <= to + (mark - at):
                spans[i].end = at + (spans[i].end - to)
            elif mark < n and spans[i].end <= to + (mark - at) + width:
                spans[i].end = behind
            else:
                break
            open_ = False
            i += 1
        if mark >= n:
            return
        to += mark - at + width
        at = behind


# What may be encoded.


cdef bint _has_code(const unsigned char* p, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t at = quiet_marked(p, n, c'%', c'&')
    while at + 2 < n:
        if p[at] == c'%':
            if _is_percent(p, at, n):
                return True
        elif p[at] == c'&' and (p[at + 1] == c'#' or _is_alphanumeric(p[at + 1])):
            return True
        at += 1
        if p[at] != c'%' and p[at] != c'&':
            at += quiet_marked(p + at, n - at, c'%', c'&')
    return False


cdef bint _has_escape(const unsigned char* p, Py_ssize_t n) noexcept nogil:
    cdef const unsigned char* found
    cdef unsigned char[4] bytes_
    cdef Py_ssize_t at = 0
    cdef int width
    while at < n:
        found = <const unsigned char*>memchr(p + at, c'\\', n - at)
        if found == NULL:
            return False
        at = found - p
        if _escape(p, at, n, bytes_, &width) > at:
            return True
        at += 1
    return False


cdef int look(const unsigned char* p, Py_ssize_t n) noexcept nogil:
    """What may be encoded in a text, as flags; costs little."""
    cdef Run run
    cdef Py_ssize_t at = 0
    cdef int flags = 0
    cdef unsigned char seen = 0
    while at < n and p[at] in (c' ', c'\n', c'\t', c'\r'):
        at += 1
    if at < n and p[at] in (c'{', c'[', c'"'):
        flags |= LIKE_JSON
    # Most strings are short and hold none of them.
    for at in range(min(n, SHORTEST_RUN)):
        seen |= _marks[p[at]]
    if (seen & ESCAPED or n > SHORTEST_RUN) and _has_escape(p, n):
        flags |= ESCAPED
    if (seen & CODED or n > SHORTEST_RUN) and _has_code(p, n):
        flags |= CODED
    if next_run(p, n, 0, &run):
        flags |= RUN
    return flags


# Runs of base64 and hex.


cdef inline Py_ssize_t _over_break(
    const unsigned char* p, Py_ssize_t n, Py_ssize_t at
) noexcept nogil:
    """Where the next line begins, if this one ends at `at`; else `at`."""
    cdef Py_ssize_t behind = at
    if behind < n and p[behind] == c'\r':
        behind += 1
    if behind >= n or p[behind] != c'\n':
        return at
    behind += 1
    while behind < n and p[behind] in (c' ', c'\t'):
        behind += 1
    return behind


cdef inline Py_ssize_t _line_end(
    const unsigned char* p, Py_ssize_t n, Py_ssize_t at
) noexcept nogil:
    while at < n and _base64[p[at]] != NONE:
        at += 1
    return at


cdef bint next_run(const unsigned char* p, Py_ssize_t n, Py_ssize_t at, Run* run) noexcept nogil:
    """Whether there is a run, at `at` or behind.

    It has at least SHORTEST_RUN characters of base64, its padding and what goes on in further
    lines: as long as the first, four characters or a multiple, the last may be shorter.
    """
    cdef Py_ssize_t low, line, next_, length
    at = before_run(p, at, n, SHORTEST_RUN)
    while at + SHORTEST_RUN <= n:
        # Backwards: where a byte is none of base64, no run of this length holds it.
        low = at + SHORTEST_RUN
        while low > at and _base64[p[low - 1]] != NONE:
            low -= 1
        if low > at:
            at = low
            continue
        run.start = at
        at = _line_end(p, n, at + SHORTEST_RUN)
        length = at - run.start
        run.first_end = run.last_end = at
        while length % 4 == 0:
            next_ = _over_break(p, n, at)
            if next_ == at:
                break
            line = _line_end(p, n, next_)
            if line == next_ or line - next_ > length:
                break
            run.last_end = at
            at = line
            if line - next_ < length:
                break
        if run.last_end == run.first_end and at == run.first_end:
            run.last_end = -1
        while at < n and p[at] == c'=':
            at += 1
        run.end = at
        if run.last_end < 0:
            run.first_end = run.last_end = at
        return True
    return False


cdef bint is_hex(const unsigned char* p, Py_ssize_t n) noexcept nogil:
    """Whether all of these are hex digits."""
    cdef Py_ssize_t i
    for i in range(n):
        if _hex[p[i]] == NONE:
            return False
    return True


cdef bint is_joint(unsigned char c) noexcept nogil:
    """Whether this character of base64 may also join a run to what stands before it."""
    return c in (c'/', c'-', c'_', c'+')


cdef bint next_hex(
    const unsigned char* p, Py_ssize_t n, Py_ssize_t* start, Py_ssize_t* end
) noexcept nogil:
    """Whether SHORTEST_HEX or more hex digits stand from `start` on; and their ends."""
    cdef Py_ssize_t at = start[0]
    cdef Py_ssize_t low
    while at + SHORTEST_HEX <= n:
        low = at + SHORTEST_HEX
        while low > at and _hex[p[low - 1]] != NONE:
            low -= 1
        if low > at:
            at = low
            continue
        start[0] = at
        at += SHORTEST_HEX
        while at < n and _hex[p[at]] != NONE:
            at += 1
        end[0] = at
        return True
    return False


cdef inline bint _of_number(unsigned char c) noexcept nogil:
    return c'-' <= c <= c'9' or c in (c' ', c'_', c'\t')


cdef Py_ssize_t pack(
    const unsigned char* p, Py_ssize_t n, unsigned char* out
) noexcept nogil:
    """How many characters of base64 a run has, without line ends and padding; `out` is them."""
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t to = 0
    cdef Py_ssize_t end
    while at < n:
        end = _line_end(p, n, at)
        memcpy(out + to, p + at, end - at)
        to += end - at
        at = end
        while at < n and _base64[p[at]] == NONE:
            at += 1
    return to


cdef inline unsigned char _base64_byte(const unsigned char* p, Py_ssize_t i) noexcept nogil:
    """Byte number `i` of what is encoded; it lies in two characters."""
    p += i // 3 * 4 + i % 3
    if i % 3 == 0:
        return <unsigned char>(_base64[p[0]] << 2 | _base64[p[1]] >> 4)
    if i % 3 == 1:
        return <unsigned char>(_base64[p[0]] << 4 | _base64[p[1]] >> 2)
    return <unsigned char>(_base64[p[0]] << 6 | _base64[p[1]])


cdef inline unsigned char _hex_byte(const unsigned char* p, Py_ssize_t i) noexcept nogil:
    return <unsigned char>(_hex[p[2 * i]] << 4 | _hex[p[2 * i + 1]])


cdef inline Py_ssize_t _length(Py_ssize_t n, int coding) noexcept nogil:
    """How many bytes `n` characters are; what is left over is none."""
    return n * 3 // 4 if coding == BASE64 else n // 2


cdef inline unsigned char _byte_of(
    const unsigned char* p, Py_ssize_t i, int coding
) noexcept nogil:
    return _base64_byte(p, i) if coding == BASE64 else _hex_byte(p, i)


cdef Py_ssize_t decode(
    const unsigned char* p, Py_ssize_t n, int coding, unsigned char* out
) noexcept nogil:
    """How many bytes a run holds, of which each character is one of the coding."""
    cdef Py_ssize_t length = _length(n, coding)
    cdef Py_ssize_t at = 0
    cdef const unsigned char* q = p
    cdef unsigned char b, c
    if coding == BASE64:
        while at + 3 <= length:
            b = _base64[q[1]]
            c = _base64[q[2]]
            out[at] = <unsigned char>(_base64[q[0]] << 2 | b >> 4)
            out[at + 1] = <unsigned char>(b << 4 | c >> 2)
            out[at + 2] = <unsigned char>(c << 6 | _base64[q[3]])
            q += 4
            at += 3
    while at < length:
        out[at] = _byte_of(p, at, coding)
        at += 1
    return length


cdef bint is_text(const unsigned char* p, Py_ssize_t n, int coding) noexcept nogil:
    """Whether a run is characters of UTF-8, without controls but for tabs and line ends.

    A short one is ASCII: of random bytes, as digests and tokens are, UTF-8 is valid too often.
    """
    cdef unsigned char[PIECE + 4] d
    cdef bint short = _length(n, coding) < SHORT_TEXT
    cdef Py_ssize_t done = 0
    # What is none is mostly seen from its first bytes.
    cdef Py_ssize_t piece = FIRST_PIECE
    cdef int held = 0    # bytes of a character that goes on in the next piece
    cdef int at, end, width
    while done < n:
        piece = min(piece, n - done)
        end = held + <int>decode(p + done, piece, coding, d + held)
        done += piece
        piece = PIECE
        at = 0
        while at < end:
            if d[at] < 0x80:
                if d[at] < 0x20 and d[at] not in (c'\t', c'\n', c'\r') or d[at] == 0x7f:
                    return False
                at += 1
                continue
            if short:
                return False
            if end - at < 4 and done < n:
                break
            width = utf8_length(d + at, end - at)
            if width == 0 or d[at] == 0xc2 and d[at + 1] < 0xa0:
                return False
            at += width
        held = end - at
        for width in range(held):
            d[width] = d[at + width]
    return True


cdef bint has_number(const unsigned char* p, Py_ssize_t n, int coding) noexcept nogil:
    """Whether nine bytes together in a run are digits of ASCII and separators."""
    cdef Py_ssize_t length = _length(n, coding)
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t low
    while at + SSN_DIGITS <= length:
        # Backwards: behind a byte that is none of these the next nine begin.
        low = at + SSN_DIGITS
        while low > at and _of_number(_byte_of(p, low - 1, coding)):
            low -= 1
        if low == at:
            return True
        at = low
    return False
