# cython: autotestdict=False
"""Finds card and social security numbers, addresses, secrets and IBANs in a text of any form.

A text is read as code points with the place of each in the raw bytes: escapes, percent encoding
and UTF-8 are undone first. What is found are spans of raw bytes, in order.
- Whether a finding begins at a place depends only on BEFORE code points before and MARGIN behind.
  So a long text is read in windows, and what is found does not depend on where they end. Only
  JWTs and private keys are read on from the bytes (secrets.pyx).
- What has neither enough digits nor an @ nor a place for a secret (tokens.h) is passed over after
  one look at its bytes.
The rules are told in full in docs/detection.md.
"""

cimport cython

import re
import unicodedata

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memmove, memset

from iatp.values import characters, ibans, issuers

from iatp._fast.said cimport (
    SAYS_NOTHING, ends_with_content, ends_with_label, is_gap, said_at, value_of, word_before,
)
from iatp._fast.secrets cimport TokenTable, fold, forget_runs, is_run, token_at, token_table

cdef extern from "runs.h" nogil:
    Py_ssize_t quiet_bytes(const unsigned char* p, Py_ssize_t n, unsigned char extra)
    int uuid_bytes(const unsigned char* p)

cdef extern from "tokens.h" nogil:
    Py_ssize_t token_mark(
        const TokenTable* t, const unsigned char* p, Py_ssize_t low, Py_ssize_t at,
        Py_ssize_t high, int all, int wide
    )
    int token_said(
        const TokenTable* t, const unsigned char* p, Py_ssize_t low, Py_ssize_t at
    )
    int token_assigns(
        const TokenTable* t, const unsigned char* p, Py_ssize_t low, Py_ssize_t at
    )
    int token_country(const TokenTable* t, const unsigned char* p, Py_ssize_t low, Py_ssize_t at)

cdef extern from "siblings.h" nogil:
    ctypedef struct Names:
        Py_ssize_t start
        Py_ssize_t end
    void names_begin(Names* n, const unsigned char* p, Py_ssize_t key)
    int names_next(Names* n, const TokenTable* t)

cdef extern from "window.h" nogil:
    enum:
        WINDOW_DIGIT
        WINDOW_SEPARATOR
        WINDOW_OTHER
        WINDOW_PAD
    ctypedef struct WindowSet:
        unsigned char[16] lows
    ctypedef struct WindowSets:
        const TokenTable* tokens
        WindowSet firsts
        WindowSet seconds
        WindowSet lasts
        WindowSet befores
        WindowSet gaps
        WindowSet separators
        WindowSet runs
        const unsigned int* lengths
    int window_level()
    int window_lowest(uint64_t bits)
    void window_put(WindowSet* set, unsigned char c)
    Py_ssize_t window_plain(
        const unsigned char* p, Py_ssize_t n, unsigned char one, unsigned char two
    )
    Py_ssize_t window_points(
        const unsigned char* p, Py_ssize_t n, unsigned char mark, int width
    )
    void window_copy(
        const unsigned char* p, Py_ssize_t at, Py_ssize_t n, uint32_t* cp, Py_ssize_t* pos,
        unsigned char* kind
    )
    void window_places(
        const WindowSets* s, const unsigned char* kind, int n, int asked, uint64_t* secrets,
        uint64_t* places
    )
    void window_places_plain(
        const unsigned char* kind, int n, uint64_t* secrets, uint64_t* places
    )

cdef extern from "utf8.h" nogil:
    int utf8_rest(unsigned char lead)
    int utf8_fits(unsigned char lead, int place, unsigned char c)
    int utf8_may_count(unsigned char lead)
    int utf8_point(const unsigned char* p, Py_ssize_t n, uint32_t* cp)

cdef enum:
    NOTHING = -1

cdef enum:
    # What is looked at around a finding. Before it: 64 code points of words or of a local part.
    # After a number: an exponent, or the rest of a UUID or digest. After an @: 254 code points
    # of a domain, a number that begins in it, and the UUID around that.
    BEFORE = 128
    AFTER = 128
    MARGIN = 512
    WORDS = 64
    LINES = 112         # the same with lines between
    CALLED = 448        # bytes in which these are looked for, and
    FEW_CALLED = 144    # where most are ASCII
    MOST_SPACE = 64     # between a key, its colon and its value
    TAG = 24
    PART_LINE = 72
    LOCAL = 64
    DOMAIN = 253
    # So far behind the place where one secret may begin, another may: with the longest that the
    # window has to hold (values/secrets.py) it is less than MARGIN.
    NEAR = 64
    # So many bytes behind its mark a secret may begin: the rest of a word, a verb, and the signs
    # around that, which may be escapes of JSON; or the head of a token.
    LED = 256
    SHORTEST_SECRET = 6
    # A group of so many digits is read like any other row.
    LONG_GROUP = 64
    DIGEST = 24
    # Of a hex dump so many groups on each side are looked at.
    DUMP_GROUPS = 8
    # The most bytes of a code point in a JSON string: two escapes.
    LONGEST_POINT = 12
    # Of fewer code points masks cost more than they save.
    SHORT_WINDOW = 24
    # What follows a dot that follows a digit, from this many digits on, is a fraction.
    FRACTION = 7

cdef enum:
    MAX_PAGES = 96
    MAX_CODE_PAGES = 0x10ffff >> 8
    MAX_ISSUERS = 64
    MAX_CALLS = 32
    MAX_CALL = 36
    MAX_FIRSTS = 4
    MAX_TAILS = 5
    MAX_TAIL = 8
    LONGEST_IBAN = 34

# What each code point is to a number: its byte in a window, see window.h. By pages of 256; the
# first is that of code points that are neither digits nor separators.
cdef unsigned char[MAX_CODE_PAGES + 1] _page_of
cdef unsigned char[MAX_PAGES][256] _pages


cdef int _put_kind(uint32_t code, unsigned char kind) except -1:
    global _page_count
    if _page_of[code >> 8] == 0:
        assert _page_count < MAX_PAGES
        memset(_pages[_page_count], WINDOW_OTHER, 256)
        _page_of[code >> 8] = _page_count
        _page_count += 1
    _pages[_page_of[code >> 8]][code & 0xff] = kind
    return 0


cdef int _page_count = 1
memset(_page_of, 0, sizeof(_page_of))
memset(_pages[0], WINDOW_OTHER, 256)
# Each script has its ten digits in a row.
for _code in characters.DIGIT_ZEROS:
    # As far as this Python knows them: its strings and this scan agree on what is a digit.
    if unicodedata.decimal(chr(_code), None) == 0:
        for _place in range(10):
            _put_kind(_code + _place, WINDOW_DIGIT + _place)
for _code in characters.SEPARATORS:
    _put_kind(_code, WINDOW_SEPARATOR)
for _code in range(128):
    _put_kind(_code, _code)

# Of such a byte: the value of a digit, or one of these.
cdef enum:
    SEPARATOR = 10
    NO_DIGIT = 11
cdef unsigned char[256] _value_of
for _code in range(256):
    _value_of[_code] = NO_DIGIT
cdef list _joins_of_digits = list(b" -./_\t")
for _code in _joins_of_digits:
    _value_of[_code] = SEPARATOR
_value_of[WINDOW_SEPARATOR] = SEPARATOR
for _place in range(10):
    _value_of[<int>c'0' + <int>_place] = _value_of[WINDOW_DIGIT + _place] = _place

cdef struct Issuer:
    int first
    int last
    unsigned int lengths    # bit n: numbers of n digits

cdef Issuer[MAX_ISSUERS] _issuers
# Of the first three digits: all lengths that numbers of theirs may have.
cdef unsigned int[1000] _lengths
memset(_lengths, 0, sizeof(_lengths))
# What a digit counts that counts twice.
cdef unsigned char[10] _twice
for _place in range(10):
    _twice[_place] = _place * 2 - (9 if _place > 4 else 0)
cdef int _issuer_count = 0
assert len(issuers.ISSUERS) <= MAX_ISSUERS
for _name, _first, _last, _allowed in issuers.ISSUERS:
    _issuers[_issuer_count].first = _first
    _issuers[_issuer_count].last = _last
    _issuers[_issuer_count].lengths = sum([1 << length for length in _allowed])
    for _place in range(<int>_first // 1000, <int>_last // 1000 + 1):
        _lengths[_place] |= _issuers[_issuer_count].lengths
    _issuer_count += 1

cdef const TokenTable* _tokens = token_table()

# What window.h looks for.
cdef WindowSets _sets
cdef bint _wide = window_level()
memset(&_sets, 0, sizeof(_sets))
_sets.tokens = _tokens
_sets.lengths = _lengths
for _code in range(_tokens.first[128]):
    window_put(&_sets.firsts, _tokens.prefixes[_code].text[0])
    window_put(&_sets.seconds, _tokens.prefixes[_code].text[1])
for _code in range(26):
    for _place in range(26):
        if _tokens.ends[_code] >> _place & 1:
            for _number in (0, 32):
                window_put(&_sets.befores, 65 + _code + _number)
                window_put(&_sets.lasts, 65 + _place + _number)
for _code in range(_tokens.wide_count):
    if _tokens.wide[_code].last < 128:
        window_put(&_sets.lasts, _tokens.wide[_code].last)
for _code in _joins_of_digits:
    window_put(&_sets.separators, _code)
for _code in range(128):
    if is_gap(_code):
        window_put(&_sets.gaps, _code)
    if is_run(_code) or _code == c'.':
        window_put(&_sets.runs, _code)

# Of each country, the length of its IBANs and which of n, a, c each character is.
cdef char[26 * 26][LONGEST_IBAN + 1] _ibans
assert ibans.LONGEST <= LONGEST_IBAN
for _country, _fields in ibans.STRUCTURES.items():
    _number = (ord(_country[0]) - 65) * 26 + ord(_country[1]) - 65
    _text = b"aann" + b"".join(
        _kind.encode() * int(_count) for _count, _kind in re.findall(r"(\d+)([nac])", _fields)
    )
    for _place in range(len(_text)):
        _ibans[_number][_place] = _text[_place]

# What calls a number a social security or taxpayer number. A space stands for one joiner or
# none (social_security, socialSecurity, taxid, soc. sec). The first counts in keys alone: in a text
# it is a word of several languages. Those of the second tuple are long enough to be meant inside a
# longer word too (socialsecuritynumber).
cdef tuple _words = (
    "tin", "ssn", "s s n", "ssn number", "ssn no", "ss number", "ss no", "ss num", "ss nbr", "ss #",
    "ssn #", "itin", "tax id", "soc sec",
)
# What the number is called where forms speak other languages.
cdef tuple _inner_words = (
    "social security", "tax payer", "seguro social", "sozialversicherung",
    "securite sociale", "s\xe9curit\xe9 sociale",
    "\u0441\u043e\u0446\u0438\u0430\u043b\u044c\u043d\u043e\u0433\u043e"
    " \u0441\u0442\u0440\u0430\u0445\u043e\u0432\u0430\u043d\u0438\u044f",
    "\u793e\u4f1a\u5b89\u5168", "\u793e\u6703\u5b89\u5168", "\u793e\u4f1a\u4fdd\u969c",
    "\uc0ac\ud68c\ubcf4\uc7a5",
)
cdef uint32_t[MAX_CALLS][MAX_CALL] _calls
cdef int _whole_words = len(_words)
cdef int _call_count = _whole_words + len(_inner_words)
assert _call_count <= MAX_CALLS
for _number, _call in enumerate(_words + _inner_words):
    assert len(_call) < MAX_CALL
    for _place in range(len(_call)):
        _calls[_number][_place] = ord(_call[_place])
# Which of the calls' first letters this is, from 1 on, and which two may follow it.
cdef unsigned char[128] _call_firsts
cdef uint64_t[MAX_FIRSTS][128][2] _call_begins
memset(_call_firsts, 0, sizeof(_call_firsts))
memset(_call_begins, 0, sizeof(_call_begins))
_joiners = [_dot + _joiner for _dot in ("", ".") for _joiner in ("", " ", "_", "-")]
_letters = sorted({_call[0] for _call in _words + _inner_words if _call.isascii()})
assert len(_letters) <= MAX_FIRSTS
for _call in _words + _inner_words:
    if ord(_call[0]) >= 0x80:
        continue
    _call_firsts[ord(_call[0])] = _call_firsts[ord(_call[0].upper())] = (
        _letters.index(_call[0]) + 1
    )
    _spelled = {""}
    for _letter in _call:
        _more = _joiners if _letter == " " else [_letter]
        _spelled = {_text + _joiner for _text in _spelled for _joiner in _more}
    for _text in _spelled:
        if _text[:3].isascii():
            _call_begins[_letters.index(_call[0])][ord(_text[1])][ord(_text[2]) >> 6] |= (
                <uint64_t>1 << (<int>ord(_text[2]) & 63)
            )
# What may stand between such a word and the end of its line.
cdef uint32_t[MAX_TAILS][MAX_TAIL] _tails
for _number, _call in enumerate(("number", "no", "num", "nbr", "is")):
    for _place in range(len(_call)):
        _tails[_number][_place] = ord(_call[_place])
# The beginning of a header line that may stand between the name of a multipart field and its value.
cdef const char* _part_line = b"Content-T"


def vectors(int level):
    """Look at windows with vectors from now on, where the machine has them, or at 0 without."""
    global _wide
    _wide = level > 0 and window_level()


@cython.final
@cython.no_gc
@cython.freelist(4)
cdef class Spans:
    """Spans in order, without overlaps; iterates as (kind, start, end, quoted)."""

    def __dealloc__(self):
        free(self.items)

    def __len__(self):
        return self.count

    def __iter__(self):
        cdef Py_ssize_t i
        return iter([
            (self.items[i].kind, self.items[i].start, self.items[i].end, self.items[i].quoted)
            for i in range(self.count)
        ])

    @property
    def secrets(self):
        """Of each span, which secret it is: its index in NAMES of values/secrets.py, or -1."""
        cdef Py_ssize_t i
        return tuple([self.items[i].secret for i in range(self.count)])

    cdef int add(
        self, Py_ssize_t start, Py_ssize_t end, int kind, int quoted, int secret=NOTHING
    ) except -1:
        cdef Span* grown
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
        self.items[self.count].secret = secret
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


cdef inline bint _is_digit(unsigned char c) noexcept nogil:
    return c'0' <= c <= c'9'


cdef inline unsigned char _kind_of(uint32_t cp) noexcept nogil:
    """The byte of a code point in a window."""
    return _pages[_page_of[cp >> 8]][cp & 0xff]


cdef inline int _digit(uint32_t cp) noexcept nogil:
    """The value of a decimal digit of any script, or -1."""
    cdef int value = _value_of[_kind_of(cp)]
    return value if value < SEPARATOR else NOTHING


cdef inline bint _is_separator(uint32_t cp) noexcept nogil:
    """What people and layouts put between groups of digits."""
    return _value_of[_kind_of(cp)] == SEPARATOR


cdef inline bint _is_letter(uint32_t cp) noexcept nogil:
    return c'a' <= (cp | 0x20) <= c'z'


cdef inline bint _is_alnum(uint32_t cp) noexcept nogil:
    return c'0' <= cp <= c'9' or c'a' <= (cp | 0x20) <= c'z'


cdef inline bint _is_hex(uint32_t cp) noexcept nogil:
    return c'0' <= cp <= c'9' or c'a' <= (cp | 0x20) <= c'f'


cdef int json_unit(const unsigned char* p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """The code unit of a \\uXXXX whose backslash is at `at`, or -1."""
    cdef int i, digit, unit = 0
    if at + 6 > end or p[at] != c'\\' or p[at + 1] != c'u':
        return -1
    for i in range(2, 6):
        digit = _hex(p[at + i])
        if digit < 0:
            return -1
        unit = unit * 16 + digit
    return unit


cdef inline Py_ssize_t _read_byte(
    const unsigned char* p, Py_ssize_t at, Py_ssize_t end, int form, unsigned char* out
) noexcept nogil:
    """Where the byte after this one begins; `out` is the byte without its percent encoding."""
    if (
        form >= AS_TARGET and p[at] == c'%' and at + 2 < end
        and _hex(p[at + 1]) >= 0 and _hex(p[at + 2]) >= 0
    ):
        out[0] = <unsigned char>(_hex(p[at + 1]) * 16 + _hex(p[at + 2]))
        return at + 3
    out[0] = c' ' if form == AS_FORM and p[at] == c'+' else p[at]
    return at + 1


cdef Py_ssize_t _read_escape(
    const unsigned char* p, Py_ssize_t at, Py_ssize_t end, uint32_t* out
) noexcept nogil:
    """Where what is behind the JSON escape at `at` begins; an unknown one is its backslash."""
    cdef int unit = json_unit(p, at, end)
    cdef int low
    cdef unsigned char c
    if unit >= 0:
        out[0] = unit
        if 0xd800 <= unit < 0xdc00:
            low = json_unit(p, at + 6, end)
            if 0xdc00 <= low < 0xe000:
                out[0] = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00)
                return at + 12
        return at + 6
    out[0] = c'\\'
    if at + 1 == end:
        return at + 1
    c = p[at + 1]
    if c in (c'"', c'\\', c'/'):
        out[0] = c
    elif c == c't':
        out[0] = c'\t'
    elif c == c'n':
        out[0] = c'\n'
    elif c == c'r':
        out[0] = c'\r'
    elif c == c'b':
        out[0] = 8
    elif c == c'f':
        out[0] = 12
    else:
        return at + 1
    return at + 2


cdef Py_ssize_t _read_point(
    const unsigned char* p, Py_ssize_t at, Py_ssize_t end, int form, uint32_t* out
) noexcept nogil:
    """Where the next code point begins; `at` < `end`. Broken UTF-8 gives its bytes one by one."""
    cdef unsigned char lead, c
    cdef Py_ssize_t behind, then
    cdef int rest, i
    cdef uint32_t cp
    if form == AS_JSON and p[at] == c'\\':
        return _read_escape(p, at, end, out)
    behind = _read_byte(p, at, end, form, &lead)
    out[0] = lead
    rest = utf8_rest(lead)
    if rest == 0:
        return behind
    cp = lead & (0x3f >> rest)
    then = behind
    for i in range(rest):
        if then >= end:
            return behind
        then = _read_byte(p, then, end, form, &c)
        if not utf8_fits(lead, i, c):
            return behind
        cp = (cp << 6) | (c & 0x3f)
    out[0] = cp
    return then


# Texts.


cdef int _match_end(
    const uint32_t* cp, int low, int high, const uint32_t* call, bint whole_word
) noexcept nogil:
    """Where `call` ends that stands at `low`, in any case, before `high`; 0 if it does not.

    cp[low - 1] is looked at.
    """
    cdef int at = low
    cdef int i = 0
    while call[i] != 0:
        if call[i] == c' ':
            if at < high and cp[at] == c'.':
                at += 1
            if at < high and cp[at] in (c' ', c'_', c'-'):
                at += 1
        elif at < high and fold(cp[at]) == call[i]:
            at += 1
        else:
            return 0
        i += 1
    if not whole_word:
        return at
    # It begins and ends like a word, also in camelCase: theSsn, ssnValue, SSNValue.
    if low > 0 and _is_letter(cp[low - 1]) and not (_is_lower(cp[low - 1]) and _is_upper(cp[low])):
        return 0
    if at == high or not _is_letter(cp[at]):
        return at
    if (cp[at] | 0x20) == c's' and (at + 1 == high or not _is_letter(cp[at + 1])):
        return at
    if _is_upper(cp[at]) and (
        _is_lower(cp[at - 1]) or (at + 1 < high and _is_lower(cp[at + 1]))
    ):
        return at
    return 0


cdef inline bint _is_lower(uint32_t cp) noexcept nogil:
    return c'a' <= cp <= c'z'


cdef inline bint _is_upper(uint32_t cp) noexcept nogil:
    return c'A' <= cp <= c'Z'


cdef inline bint _may_call(const uint32_t* cp, int low, int high) noexcept nogil:
    """Whether the first three of one of the calls may stand at `low`."""
    cdef uint32_t second, third
    cdef int first
    if cp[low] >= 0x80:
        return True
    first = _call_firsts[cp[low]]
    if first == 0 or low + 2 >= high:
        return False
    second = cp[low + 1]
    third = cp[low + 2]
    if second >= 0x80 or third >= 0x80:
        return True
    return _call_begins[first - 1][fold(second)][fold(third) >> 6] >> (fold(third) & 63) & 1


cdef bint _call_in(const uint32_t* cp, int low, int high, bint in_key) noexcept nogil:
    """Whether a social security or taxpayer number is announced between `low` and `high`."""
    cdef int i, call
    cdef uint32_t first
    for i in range(low, high):
        if not _may_call(cp, i, high):
            continue
        first = fold(cp[i])
        call = 0 if in_key else 1
        if i > 0 and _is_lower(cp[i - 1]) and not _is_upper(cp[i]):
            # In the middle of a word.
            call = _whole_words
        for call in range(call, _call_count):
            if first != _calls[call][0]:
                continue
            if _match_end(cp, i, high, _calls[call], call < _whole_words):
                return True
    return False


cdef bint _is_short_for(const uint32_t* cp, int end) noexcept nogil:
    """Whether the dot at `end` is that of one letter, no, soc, sec, nbr or num."""
    cdef int low = end
    cdef uint32_t first, second, third
    while low > 0 and end - low < 4 and _is_letter(cp[low - 1]):
        low -= 1
    if end - low == 1:
        return True
    if end - low == 2:
        return (cp[low] | 0x20) == c'n' and (cp[low + 1] | 0x20) == c'o'
    if end - low != 3:
        return False
    first = cp[low] | 0x20
    second = cp[low + 1] | 0x20
    third = cp[low + 2] | 0x20
    if third == c'c':
        return first == c's' and (second == c'o' or second == c'e')
    return first == c'n' and (
        (second == c'b' and third == c'r') or (second == c'u' and third == c'm')
    )


cdef bint _words_say_ssn(const Text* t, int at) noexcept nogil:
    """Whether the words before a number, in its sentence or field or just above, announce it."""
    cdef int low = at
    cdef int digits = 0
    cdef uint32_t c
    while low > 0 and at - low < WORDS:
        c = t.cp[low - 1]
        if c in (c'\n', c'\r', c',', c';', c'!', c'?', c'&', c'|', c'{', c'}'):
            break
        if c == c'.' and not _is_short_for(t.cp, low - 1):
            break
        digits = digits + 1 if _digit(c) >= 0 else 0
        if digits == 3:
            break
        low -= 1
    return _call_in(t.cp, low, at, False) or _line_says_ssn(t.cp, at)


cdef inline bint _is_wordy(uint32_t c) noexcept nogil:
    return c >= 0x80 or _is_alnum(c) or c == c'#'


cdef int _tag_start(const uint32_t* cp, int low, int end) noexcept nogil:
    """Where the tag of HTML or XML begins that ends with the > before `end`; or `end`."""
    cdef int at = end - 1
    while at > low and end - at <= TAG:
        at -= 1
        if cp[at] == c'<':
            return at
        if cp[at] in (c'>', c'\r', c'\n'):
            break
    return end


cdef int _part_line_start(const uint32_t* cp, int low, int end) noexcept nogil:
    """Where a header line of a multipart field begins that ends at `end`; or `end`."""
    cdef int at = end
    cdef int i
    while at > low and end - at < PART_LINE and cp[at - 1] not in (c'\r', c'\n'):
        at -= 1
    if at == low or cp[at - 1] != c'\n':
        return end
    for i in range(9):
        if at + i >= end or cp[at + i] != <uint32_t>_part_line[i]:
            return end
    return at


cdef bint _line_says_ssn(const uint32_t* cp, int at) noexcept nogil:
    """Whether the line or field before that of a number ends with what it is called.

    Between them are no words: line ends, signs, tags, and the header lines of a multipart field.
    """
    cdef int low = at - LINES if at > LINES else 0
    cdef int end = at
    cdef int start, tail, i, call
    cdef bint lines = False
    while end > low:
        start = end
        if end < at and cp[end] in (c'\r', c'\n'):
            start = _part_line_start(cp, low, end)
        if start == end and cp[end - 1] in (c'\r', c'\n', c'|', c',', c';'):
            lines = True
        elif start == end and cp[end - 1] == c'>':
            start = _tag_start(cp, low, end)
        if start == end and not _is_wordy(cp[end - 1]):
            start = end - 1
        if start == end:
            break
        end = start
    if not lines:
        return False
    # The second is a tag between them.
    if _ends_with_call(cp, low, end) or _call_in(cp, end, at, False):
        return True
    # A name such as taxpayerId.
    start = end
    while start > low and (_is_alnum(cp[start - 1]) or cp[start - 1] in (c'_', c'-', c'.')):
        start -= 1
    if _call_in(cp, start, end, False):
        return True
    # `number` and the like between it and the end.
    for tail in range(MAX_TAILS):
        i = 0
        while _tails[tail][i] != 0:
            i += 1
        start = end - i
        if start <= low or _is_wordy(cp[start - 1]):
            continue
        i = 0
        while start + i < end and fold(cp[start + i]) == _tails[tail][i]:
            i += 1
        if start + i < end:
            continue
        for call in range(1, 4):
            if start - call < low or _is_wordy(cp[start - call]):
                break
            if _ends_with_call(cp, low, start - call):
                return True
    return False


cdef bint _ends_with_call(const uint32_t* cp, int low, int end) noexcept nogil:
    """Whether one of the calls, or its plural, ends at `end` and begins at `low` or later."""
    cdef int i, call, stop
    for i in range(max(low, end - MAX_CALL), end):
        if not _may_call(cp, i, end):
            continue
        for call in range(1, _call_count):
            stop = _match_end(cp, i, end, _calls[call], call < _whole_words)
            if stop and (stop == end or (stop == end - 1 and (cp[stop] | 0x20) == c's')):
                return True
    return False


cdef bint key_says_ssn(const unsigned char* p, Key* key) noexcept nogil:
    """Whether a key of at most WORDS code points calls its value such a number."""
    if key == NULL:
        return False
    if key.says < 0:
        key.says = _calls_ssn(p, key.value)
    return key.says


cdef inline Py_ssize_t _space_before(const unsigned char* p, Py_ssize_t at) noexcept nogil:
    while at > 0 and p[at - 1] in (c' ', c'\n', c'\t', c'\r'):
        at -= 1
    return at


cdef bint _calls_ssn(const unsigned char* p, Py_ssize_t value) noexcept nogil:
    """Whether a key before `value`, in JSON that is valid up to there, says so, or its name."""
    cdef uint32_t[WORDS] cp
    cdef Py_ssize_t start
    cdef Names names
    cdef int n = _read_key(p, value, cp, &start)
    if n == 0:
        return False
    if _call_in(cp, 0, n, True):
        return True
    if not (ends_with_label(cp, n) or ends_with_content(cp, n)):
        return False
    names_begin(&names, p, start)
    while names_next(&names, _tokens):
        n = _read_short(p, names.start, names.end, cp)
        if n and _call_in(cp, 0, n, True):
            return True
    return False


cdef inline Py_ssize_t _sign_before(const unsigned char* p, Py_ssize_t at) noexcept nogil:
    """Where the last byte before `at` is that is no white space; -1 where that is far."""
    cdef Py_ssize_t low = max(at - MOST_SPACE, 0)
    while at > low:
        at -= 1
        if p[at] not in (c' ', c'\n', c'\t', c'\r'):
            return at
    return -1


cdef int _words_call_ssn(
    const unsigned char* p, Py_ssize_t first, Py_ssize_t at, int room
) noexcept nogil:
    """Whether words before `at`, of the text from `first` on, may announce such a number.

    NOTHING where `room` bytes are too few to say so.
    """
    cdef uint32_t[CALLED] cp
    cdef Py_ssize_t low = max(first, at - room + LONGEST_POINT)
    cdef Py_ssize_t place, behind, plain
    cdef int n = 0
    cdef int slants = 0
    if low > first:
        # Where a code point begins.
        while at - low < room and (p[low] & 0xc0 == 0x80 or p[low - 1] == c'\\'):
            low -= 1
        if at - low == room:
            return NOTHING
    place = low
    while place < at:
        for plain in range(place, place + window_plain(p + place, at - place, c'\\', c'\\')):
            cp[n] = p[plain]
            n += 1
            place = plain + 1
        if place == at:
            break
        place = _read_point(p, place, at, AS_JSON, &cp[n])
        if cp[n] == c'\\':
            slants += 1
            # Behind an escape of JSON inside the string a word may begin that seems to go on; not
            # behind that of a quote.
            behind = place
            while behind < at and p[behind] == c'\\':
                behind += 1
            if behind == at or p[behind] != c'"':
                return True
        n += 1
    # Half an escape may have been read as several, and backslashes may be gone there.
    if low > first and n - slants < LINES + LONGEST_POINT:
        return NOTHING
    return _call_in(cp, 0, n, False)


cdef bint may_call_ssn(
    const unsigned char* p, Py_ssize_t start, Py_ssize_t at
) noexcept nogil:
    """Whether nine digits at `at` in the string at `start` may be called such a number.

    By its key or by words before it, wherever these stand; of an array, by what is not known here.
    """
    cdef Py_ssize_t before = _sign_before(p, start)
    cdef int called
    if before < 0 or p[before] == c'[' or p[before] == c',':
        return True
    # Many digits may ask for one key.
    if p[before] == c':' and (_sign_before(p, before) < 0 or _calls_ssn(p, start)):
        return True
    called = _words_call_ssn(p, start + 1, at, FEW_CALLED)
    if called == NOTHING:
        called = _words_call_ssn(p, start + 1, at, CALLED)
    return called != 0


cdef int key_says_secret(const unsigned char* p, Py_ssize_t start, Key* key) noexcept nogil:
    """Which word the key of the string from `start` on ends in, or what else names it;
    SAYS_NOTHING in an array."""
    cdef uint32_t[WORDS] cp
    cdef Py_ssize_t at
    cdef Names names
    cdef int n, says
    if key == NULL or key.value < 0 or start == 0 or _space_before(p, start - 1) < 1:
        return SAYS_NOTHING
    # The key's last two letters tell nearly all of them off, unless they are escaped.
    at = _space_before(p, start - 1) - 1
    if p[at] != c':':
        return SAYS_NOTHING
    at = _space_before(p, at)
    if at < 4 or not token_said(_tokens, p, 0, at):
        for n in range(13):
            if at - n <= 0:
                return SAYS_NOTHING
            if p[at - n - 1] == c'\\':
                break
        else:
            return SAYS_NOTHING
    n = _read_key(p, start - 1, cp, &at)
    if n == 0:
        return SAYS_NOTHING
    says = word_before(cp, n)
    if says != SAYS_NOTHING or not ends_with_label(cp, n):
        return says
    names_begin(&names, p, at)
    while says == SAYS_NOTHING and names_next(&names, _tokens):
        n = _read_short(p, names.start, names.end, cp)
        says = word_before(cp, n)
    return says


cdef bint needs_reading(
    const unsigned char* p, Py_ssize_t start, Py_ssize_t end, Key* key
) noexcept nogil:
    """Whether a JSON string without digits, @ and escapes of characters may hold a secret."""
    if end - start < SHORTEST_SECRET:
        return False
    return (
        token_mark(_tokens, p, start, start, end, False, _wide) < end
        or key_says_secret(p, start, key) != SAYS_NOTHING
    )


cdef int _read_key(
    const unsigned char* p, Py_ssize_t value, uint32_t* cp, Py_ssize_t* quote
) noexcept nogil:
    """How many code points the key before `value` has, in JSON that is valid up to there.

    0 where there is none, or one of more than WORDS. `quote` is where it begins.
    """
    cdef Py_ssize_t at = _space_before(p, value) - 1
    cdef Py_ssize_t start, end, slash
    if at <= 0 or p[at] != c':':
        return 0
    end = _space_before(p, at) - 1
    if end < 0 or p[end] != c'"':
        return 0
    # Back to a quote with an even number of backslashes before it.
    start = end
    while True:
        start -= 1
        if start < 0 or end - start > WORDS * LONGEST_POINT + 1:
            return 0
        if p[start] != c'"':
            continue
        slash = start
        while slash > 0 and p[slash - 1] == c'\\':
            slash -= 1
        if (start - slash) % 2 == 0:
            break
    quote[0] = start
    return _read_short(p, start + 1, end, cp)


cdef int _read_short(
    const unsigned char* p, Py_ssize_t at, Py_ssize_t end, uint32_t* cp
) noexcept nogil:
    """How many code points this text in JSON has; 0 where they are more than WORDS."""
    cdef int n = 0
    while at < end and n < WORDS:
        at = _read_point(p, at, end, AS_JSON, &cp[n])
        n += 1
    return n if at == end else 0


cdef bint is_card(const unsigned char* digits, int n) noexcept nogil:
    """Length, issuer, Luhn, and not one digit repeated."""
    cdef int i, prefix
    cdef int total = 0
    cdef bint varied = False
    if n < 13 or n > CARD_DIGITS:
        return False
    prefix = digits[0] * 100 + digits[1] * 10 + digits[2]
    if not _lengths[prefix] >> n & 1:
        return False
    # Two by two from the end, of which the first counts twice.
    for i in range(n & 1, n, 2):
        total += _twice[digits[i]] + digits[i + 1]
    if n & 1:
        total += digits[0]
    if total % 10:
        return False
    for i in range(3, 6):
        prefix = prefix * 10 + digits[i]
    for i in range(_issuer_count):
        if _issuers[i].first <= prefix <= _issuers[i].last and _issuers[i].lengths >> n & 1:
            break
    else:
        return False
    for i in range(1, n):
        varied = varied or digits[i] != digits[0]
    return varied


cdef bint is_ssn(const unsigned char* d) noexcept nogil:
    """Area, group and serial as they are assigned; 9xx only with a group of an ITIN (IRS)."""
    cdef int area = d[0] * 100 + d[1] * 10 + d[2]
    cdef int group = d[3] * 10 + d[4]
    if area == 0 or area == 666 or group == 0 or d[5] + d[6] + d[7] + d[8] == 0:
        return False
    if area >= 900:
        return 50 <= group <= 65 or 70 <= group <= 88 or 90 <= group <= 92 or 94 <= group <= 99
    return True


cdef bint _in_digest(const Text* t, int start, int end) noexcept nogil:
    """Whether an unbroken group of digits is part of DIGEST or more hex digits of ASCII."""
    cdef int low = start
    cdef int high = start
    while high < end:
        if not _is_hex(t.cp[high]):
            return False
        high += 1
    while low > 0 and high - low < DIGEST and _is_hex(t.cp[low - 1]):
        low -= 1
    while high < t.n and high - low < DIGEST and _is_hex(t.cp[high]):
        high += 1
    return high - low >= DIGEST


cdef bint _in_uuid(const Text* t, int start, int end) noexcept nogil:
    """Whether these digits stand inside a UUID (8-4-4-4-12 hex digits)."""
    cdef int first = end - UUID if end > UUID else 0
    cdef int last = start if start < t.n - UUID else t.n - UUID
    cdef int run = 0
    cdef int i
    # Between its dashes are twelve digits at most.
    for i in range(start, end):
        run = 0 if t.cp[i] == c'-' else run + 1
        if run > 12 or run and not _is_hex(t.cp[i]):
            return False
    while first <= last:
        for i in range(UUID):
            if i in (8, 13, 18, 23):
                if t.cp[first + i] != c'-':
                    break
            elif not _is_hex(t.cp[first + i]):
                break
        else:
            if (first == 0 or not _is_hex(t.cp[first - 1])) and (
                first + UUID == t.n or not _is_hex(t.cp[first + UUID])
            ):
                return True
        first += 1
    return False


cdef bint _is_fraction(const Text* t, int start, int end) noexcept nogil:
    """Whether these digits follow a decimal point: `0.5`, or `.5` on its own; not `1.2.3`."""
    cdef int low = start - 1
    if end - start < FRACTION or start == 0 or t.cp[low] != c'.':
        return False
    if end + 1 < t.n and t.cp[end] == c'.' and _digit(t.cp[end + 1]) >= 0:
        return False
    if low > 0 and _digit(t.cp[low - 1]) >= 0:
        while low > 0 and start - low < CARD_DIGITS + 2 and _digit(t.cp[low - 1]) >= 0:
            low -= 1
        return not (low > 1 and t.cp[low - 1] == c'.' and _digit(t.cp[low - 2]) >= 0)
    return low == 0 or t.cp[low - 1] in (
        c' ', c'\t', c'\n', c'\r', c'+', c'-', c'=', c':', c',', c';', c'(', c'[', c'{', c'"', c'\''
    )


cdef int _exponent_end(
    const Text* t, int at, unsigned char* digits, int whole, int total
) noexcept nogil:
    """Where a number like 4.111111111111111e15 ends, if it is a card; else 0.

    `digits` are its `total` digits, `whole` of them before the point; `at` is behind them.
    """
    cdef int exponent = 0
    cdef int length = 0
    if at >= t.n or (t.cp[at] | 0x20) != c'e':
        return 0
    at += 1
    if at < t.n and t.cp[at] == c'+':
        at += 1
    while at < t.n and length < 2 and c'0' <= t.cp[at] <= c'9':
        exponent = exponent * 10 + <int>t.cp[at] - c'0'
        length += 1
        at += 1
    if length == 0 or (at < t.n and _digit(t.cp[at]) >= 0) or whole + exponent > CARD_DIGITS:
        return 0
    while total < whole + exponent:
        digits[total] = 0
        total += 1
    return at if is_card(digits, whole + exponent) else 0


cdef inline bint _is_printed(
    const int* starts, const int* ends, int last, int total, bint fours
) noexcept nogil:
    """Whether these groups are those on cards: 4-4-4-4 and what begins so, 4-6-5, 4-6-4, 6-13.

    `fours` says that all but the last have four digits.
    """
    cdef int size = ends[last] - starts[last]
    if fours:
        return size < 5 and total != 14 and total != 15
    if last == 2:
        return ends[0] - starts[0] == 4 and ends[1] - starts[1] == 6 and (size == 4 or size == 5)
    return last == 1 and ends[0] - starts[0] == 6 and size == 13


cdef inline bint _is_apart(const Text* t, int start, int end, uint32_t separator) noexcept nogil:
    """Whether no letter is joined to these digits by their separator; a space joins none."""
    cdef uint32_t c
    if separator not in (c'-', c'.', c'/', c'_'):
        return True
    if start > 1 and t.cp[start - 1] == separator and _is_letter(t.cp[start - 2]):
        return False
    if end + 1 >= t.n:
        return True
    c = t.cp[end]
    return not ((c == separator or c == c'_') and _is_letter(t.cp[end + 1]))


cdef bint _is_mixed(const Text* t, int low, int high) noexcept nogil:
    """Whether these are hex digits of ASCII, letters as well as figures."""
    cdef bint letters = False
    cdef bint figures = False
    cdef int i
    for i in range(low, high):
        if not _is_hex(t.cp[i]):
            return False
        if _is_letter(t.cp[i]):
            letters = True
        else:
            figures = True
    return letters and figures


cdef bint _are_figures(const Text* t, int low, int high) noexcept nogil:
    cdef int i
    for i in range(low, high):
        if not c'0' <= t.cp[i] <= c'9':
            return False
    return True


cdef bint _in_dump(const Text* t, int start, int end, int width) noexcept nogil:
    """Whether these groups stand in a row of groups of `width` hex digits, as dumps are printed."""
    cdef int at, low, high, _turn
    cdef bint behind
    if width not in (2, 4, 8):
        return False
    for behind in range(2):
        at = end if behind else start
        for _turn in range(DUMP_GROUPS):
            low = at + 1 if behind else at - 1 - width
            high = low + width
            if low < 0 or high > t.n or t.cp[at if behind else high] != c' ':
                break
            if (low > 0 and _is_alnum(t.cp[low - 1])) or (high < t.n and _is_alnum(t.cp[high])):
                break
            if _is_mixed(t, low, high):
                return True
            if not _are_figures(t, low, high):
                break
            at = high if behind else low
    return False


cdef int _number_at(const Text* t, int i, int* end) noexcept nogil:
    """The kind of the finding whose first digit is at `i`, and its end; or NOTHING.

    A number is a row of groups of digits with one separator between each.
    """
    cdef unsigned char[CARD_DIGITS + 1] digits
    cdef int[CARD_DIGITS] starts
    cdef int[CARD_DIGITS] ends
    cdef int[CARD_DIGITS] totals    # digits up to and with each group
    cdef int groups = 0
    cdef int total = 0
    cdef int at = i
    cdef int stop, j, behind
    cdef uint32_t before = t.cp[i - 1] if i > 0 else 0
    # The row ends where the last of these groups does; else a separator and a digit follow.
    cdef bint ends_here = False
    cdef bint begins_here = not (i > 1 and _is_separator(before) and _digit(t.cp[i - 2]) >= 0)
    cdef bint fours = True
    cdef bint alike = True
    cdef bint is_fraction, is_printed
    cdef unsigned char value
    # Most are one short group.
    stop = i + 1
    while _value_of[t.kind[stop]] < SEPARATOR and stop - i <= CARD_DIGITS:
        stop += 1
    if stop - i > CARD_DIGITS or (
        stop - i < 13 and stop - i != SSN_DIGITS and (
            _value_of[t.kind[stop]] != SEPARATOR or _value_of[t.kind[stop + 1]] >= SEPARATOR
        )
    ):
        return NOTHING
    while True:
        # Behind the window there is no digit.
        stop = at
        value = _value_of[t.kind[stop]]
        while value < SEPARATOR and total <= CARD_DIGITS:
            digits[total] = value
            total += 1
            stop += 1
            value = _value_of[t.kind[stop]]
        if total > CARD_DIGITS:
            break
        starts[groups] = at
        ends[groups] = stop
        totals[groups] = total
        groups += 1
        if value != SEPARATOR or _value_of[t.kind[stop + 1]] >= SEPARATOR:
            ends_here = True
            break
        # A card that is not the whole row has at most five groups, 4-4-4-4-3; and where its first
        # is none of those on cards nor of 3-2-4, only that one counts, or what is behind its point.
        if not begins_here and (groups == 5 or (
            totals[0] < 13 and totals[0] not in (3, 4, 6)
            and groups == (2 if t.cp[ends[0]] == c'.' else 1)
        )):
            break
        at = stop + 1
    if groups == 0:
        return NOTHING
    is_fraction = _is_fraction(t, i, ends[0])

    # 3-2-4 with one kind of separator that leads to no further digits.
    if (
        groups > 2 and totals[0] == 3 and totals[1] == 5 and totals[2] == 9
        and t.cp[ends[0]] == t.cp[ends[1]] and is_ssn(digits)
        and (begins_here or before != t.cp[ends[0]])
        and ((ends_here and groups == 3) or t.cp[ends[2]] != t.cp[ends[0]])
    ):
        end[0] = ends[2]
        return SSN

    behind = 0
    if not is_fraction:
        for j in range(groups):
            if j > 0:
                if _is_fraction(t, starts[j], ends[j]):
                    break
                alike = alike and t.cp[ends[j - 1]] == t.cp[ends[0]]
                fours = fours and ends[j - 1] - starts[j - 1] == 4
            # A telephone number has a plus and at most fifteen digits (E.164).
            if totals[j] < 13 or (before == c'+' and totals[j] < 16):
                continue
            if not is_card(digits, totals[j]):
                continue
            if j > 0:
                # Two of three: groups as on a card, one kind of separator, nothing else in the row.
                is_printed = _is_printed(starts, ends, j, totals[j], fours)
                if is_printed + alike + (begins_here and ends_here and j == groups - 1) < 2:
                    continue
                # Groups that no card has are not joined to letters by their separator, no columns
                # of a table, and no end of a digest.
                if not is_printed and (
                    t.cp[ends[0]] == c'\t' or not _is_apart(t, i, ends[j], t.cp[ends[0]])
                    or _in_digest(t, i, ends[0]) or _in_digest(t, starts[j], ends[j])
                ):
                    continue
                if t.cp[ends[0]] == c' ' and _in_dump(t, i, ends[j], ends[0] - i):
                    continue
            if not _in_uuid(t, i, ends[j]):
                if j > 0 or not _in_digest(t, i, ends[j]):
                    behind = ends[j]
        if behind == 0 and groups > 1 and t.cp[ends[0]] == c'.':
            behind = _exponent_end(t, ends[1], digits, totals[0], totals[1])
    if behind:
        end[0] = behind
        return CARD

    # Nine bare digits where the key or the words before say so.
    if (
        totals[0] == 9 and not is_fraction and is_ssn(digits)
        and not (ends[0] < t.n and _is_letter(t.cp[ends[0]]))
        and (_words_say_ssn(t, i) or not _is_letter(before) and key_says_ssn(t.p, t.key))
    ):
        end[0] = ends[0]
        return SSN
    return NOTHING


cdef int _iban_at(const Text* t, int i) noexcept nogil:
    """Where the IBAN that begins at `i` ends, or 0.

    The first four characters stand together, each other may have one separator before it.
    """
    cdef const char* kinds
    cdef int at = i + 2
    cdef int count = 2
    cdef int rest = 0
    cdef int value, turn, digit
    cdef int[LONGEST_IBAN] values
    cdef uint32_t c
    if i + 14 >= t.n or not (_is_letter(t.cp[i]) and _is_letter(t.cp[i + 1])):
        return 0
    if i > 0 and (_is_letter(t.cp[i - 1]) or _digit(t.cp[i - 1]) >= 0):
        return 0
    kinds = _ibans[((t.cp[i] | 0x20) - c'a') * 26 + (t.cp[i + 1] | 0x20) - c'a']
    if kinds[0] == 0:
        return 0
    values[0] = (t.cp[i] | 0x20) - c'a' + 10
    values[1] = (t.cp[i + 1] | 0x20) - c'a' + 10
    while kinds[count] != 0:
        if count >= 4 and at < t.n and _is_separator(t.cp[at]):
            at += 1
        if at >= t.n:
            return 0
        c = t.cp[at]
        digit = _digit(c)
        if digit >= 0:
            if kinds[count] == c'a':
                return 0
            values[count] = digit
        elif _is_letter(c):
            if kinds[count] == c'n':
                return 0
            values[count] = (c | 0x20) - c'a' + 10
        else:
            return 0
        count += 1
        at += 1
    if at < t.n and (_is_letter(t.cp[at]) or _digit(t.cp[at]) >= 0):
        return 0
    # The first four go to the end; letters are two digits (ISO 7064, MOD 97-10).
    for turn in range(count):
        value = values[(turn + 4) % count]
        rest = (rest * (100 if value > 9 else 10) + value) % 97
    return at if rest == 1 else 0


cdef int _secret_at(Text* t, int i, int* kind, Py_ssize_t* end) noexcept nogil:
    """Which secret begins at `i`, or NOTHING; `kind` is NOTHING too where it is no IBAN either.

    `end` is the end of either, in bytes.
    """
    cdef uint32_t c = t.cp[i]
    cdef int found, behind
    kind[0] = NOTHING
    t.w.n = t.n
    if i > 0 and c != c'-' and _is_alnum(t.cp[i - 1]):
        return NOTHING
    found = token_at(&t.w, i, end)
    if found == NOTHING:
        if _is_letter(c):
            behind = _iban_at(t, i)
            if behind and not _in_uuid(t, i, behind):
                kind[0] = IBAN
                end[0] = t.pos[behind]
                return NOTHING
        found = said_at(&t.w, i, end)
    if found != NOTHING:
        kind[0] = SECRET
    return found


cdef inline bint _in_address(uint32_t c) noexcept nogil:
    """A letter or digit of an address; beyond ASCII all but punctuation."""
    if c < 0xc0:
        return _is_letter(c) or c'0' <= c <= c'9'
    return not (0x2000 <= c <= 0x206f or 0x3000 <= c <= 0x303f or 0xff00 <= c <= 0xff0f)


cdef int _email_start(const Text* t, int at, int floor) noexcept nogil:
    """Where the local part before the @ at `at` begins, at `floor` or later; `at` if none."""
    cdef int low = at
    while (
        low > floor and at - low < LOCAL and (
            _in_address(t.cp[low - 1]) or t.cp[low - 1] in (c'.', c'_', c'%', c'+', c'-', c'\'')
        )
    ):
        low -= 1
    while low < at and (t.cp[low] == c'.' or t.cp[low] == c'\''):
        low += 1
    return low


cdef int _email_end(Text* t, int at) noexcept nogil:
    """Where the domain behind the @ at `at` ends, or 0.

    Labels with a dot between; the last has two characters or more and not digits alone. A
    number or secret that is a finding ends it: it must not pass as part of an address.
    """
    cdef int i, ignored
    cdef Py_ssize_t unused
    cdef int behind = 0
    cdef int labels = 0
    cdef int length = 0
    cdef bint named = False
    cdef uint32_t c
    for i in range(at + 1, min(t.n, at + 1 + DOMAIN)):
        c = t.cp[i]
        if _is_place(t.secrets, i):
            _secret_at(t, i, &ignored, &unused)
            if ignored != NOTHING:
                break
        if c == c'.':
            if length == 0:
                break
            labels += 1
            length = 0
            named = False
            continue
        if c != c'-' and not _in_address(c):
            break
        if _digit(c) < 0:
            named = named or c != c'-'
        elif _digit(t.cp[i - 1]) < 0 and _number_at(t, i, &ignored) != NOTHING:
            break
        length += 1
        if labels and length > 1 and named and c != c'-':
            behind = i + 1
    return behind


cdef bint _is_remote(const Text* t, int start, int at, int end) noexcept nogil:
    """Whether these are user and host of `git@host:path`."""
    cdef uint32_t c
    if at - start != 3 or end + 1 >= t.n or t.cp[end] != c':':
        return False
    if t.cp[start] != c'g' or t.cp[start + 1] != c'i' or t.cp[start + 2] != c't':
        return False
    c = t.cp[end + 1]
    return _is_alnum(c) or c == c'/' or c == c'~'


cdef inline bint _is_place(const uint64_t* places, int i) noexcept nogil:
    return places[i >> 6] >> (i & 63) & 1


cdef inline int _next_place(const uint64_t* places, int i, int limit) noexcept nogil:
    """The first place at `i` or behind and before `limit`; or `limit`."""
    cdef int block = i >> 6
    cdef uint64_t left
    if i >= limit:
        return i
    left = places[block] >> (i & 63) << (i & 63)
    while left == 0:
        block += 1
        if block << 6 >= limit:
            return limit
        left = places[block]
    return min(limit, (block << 6) + window_lowest(left))


cdef int _asked(const Text* t, Py_ssize_t asked) noexcept nogil:
    """How many code points of a window begin before the byte `asked`."""
    # Those behind it are at most as many as their bytes.
    cdef int i = <int>max(t.n - max(t.pos[t.n] - asked, 0), 0)
    while i < t.n and t.pos[i] < asked:
        i += 1
    return i


cdef int _read_window(
    Text* t, int first, int limit, Py_ssize_t asked, int* floor, Spans spans
) except -1:
    """Where reading goes on: all that begins from `first` on and before `limit` is found.

    From the byte `asked` on nothing begins. `floor` is the end of the last finding.
    """
    cdef int i = first
    cdef int kind, start, end, secret
    cdef Py_ssize_t behind
    if i >= limit:
        return i
    memset(&t.kind[t.n], 0, WINDOW_PAD)
    forget_runs(&t.w)
    if _wide and t.n >= SHORT_WINDOW:
        window_places(&_sets, t.kind, t.n, _asked(t, asked), t.secrets, t.places)
    else:
        window_places_plain(t.kind, t.n, t.secrets, t.places)
    if t.direct and t.pos[0] == t.start:
        t.secrets[0] |= 1
        t.places[0] |= 1
    while True:
        # A secret that began before the window, or ends behind it.
        while i < limit and t.pos[i] < t.done:
            i += 1
            floor[0] = i
        i = _next_place(t.places, i, limit)
        if i >= limit:
            return i
        if _is_place(t.secrets, i):
            secret = _secret_at(t, i, &kind, &behind)
            if secret == NOTHING and kind == NOTHING and t.pos[i] == t.start and t.direct:
                secret = value_of(&t.w, t.direct, &behind)
                kind = SECRET if secret != NOTHING else NOTHING
            if kind != NOTHING:
                spans.add(t.pos[i], behind, kind, 0, secret)
                t.done = behind
                continue
        if t.kind[i] == c'@':
            start = _email_start(t, i, floor[0])
            end = _email_end(t, i) if start < i else 0
            if end and not _is_remote(t, start, i, end):
                spans.add(t.pos[start], t.pos[end], EMAIL, 0)
                floor[0] = i = end
                continue
        elif _value_of[t.kind[i]] < SEPARATOR and (
            i == 0 or _value_of[t.kind[i - 1]] >= SEPARATOR
        ):
            kind = _number_at(t, i, &end)
            if kind != NOTHING:
                spans.add(t.pos[i], t.pos[end], kind, 0)
                floor[0] = i = end
                continue
        i += 1


# Most of a text holds nothing. It is looked through for *rows*: digits, and what may stand for
# one or for a separator (escapes, percent encoding, some of what is not ASCII), with at most one
# separator between two of them. Only around a row that is long enough for a finding, and around
# an @, the text is read as code points, with the margin that decides what is found there.

cdef enum:
    ROW = SSN_DIGITS
    # Where so many code points in a row had to be read, the next bytes are read as well, without
    # looking at them first.
    DENSE = 512
    READ_ON = 4096


cdef inline bint is_mark(unsigned char c, int form) noexcept nogil:
    """Whether a digit or a separator beyond ASCII can begin here, plain or encoded."""
    if c < 0x80:
        return (
            c'0' <= c <= c'9' or form == AS_JSON and c == c'\\'
            or form >= AS_TARGET and c == c'%'
        )
    return utf8_may_count(c)


cdef inline bint is_wide_sign(uint32_t cp) noexcept nogil:
    """A colon or an equals sign of full width."""
    return cp == 0xff1a or cp == 0xff1d


cdef inline Py_ssize_t _mark_end(
    const unsigned char* p, Py_ssize_t at, Py_ssize_t end, int form, int* weight, int* points
) noexcept nogil:
    """Where what begins at a mark ends; how many digits it can be, how many code points it is.

    Of code points it says rather too few, and of digits rather too many. What is encoded
    although it need not be weighs as much as a row.
    """
    cdef unsigned char c = p[at]
    cdef unsigned char byte
    cdef int unit, rest
    weight[0] = points[0] = 1
    if c < 0x80:
        if c == c'\\':
            unit = json_unit(p, at, end)
            if unit < 0:
                weight[0] = 0
                # Of an escape that JSON does not know, a digit is still a digit.
                return at + 2 if at + 2 <= end and not _is_digit(p[at + 1]) else at + 1
            if unit < 0x80 or is_wide_sign(unit):
                # An @, or part of a secret; or what stands before one.
                weight[0] = ROW
            if 0xd800 <= unit < 0xdc00 and json_unit(p, at + 6, end) >= 0xdc00:
                return at + 12
            return at + 6
        if c == c'%':
            at = _read_byte(p, at, end, form, &byte)
            points[0] = byte & 0xc0 != 0x80
            if byte < 0x80 or byte == 0xef:
                weight[0] = ROW
            return at
        return at + 1
    rest = utf8_rest(c)
    if (
        c == 0xef and at + 2 < end and p[at + 1] == 0xbc and p[at + 2] in (0x9a, 0x9d)
        and token_assigns(_tokens, p, 0, at)
    ):
        # A colon or an equals sign behind a word that says secret.
        weight[0] = ROW
    at += 1
    while rest and at < end and p[at] & 0xc0 == 0x80:
        at += 1
        rest -= 1
    return at


cdef inline bint _joins(unsigned char c, int form) noexcept nogil:
    """Whether this byte may stand between two digits of one number."""
    return c in (c' ', c'-', c'.', c'/', c'_', c'\t') or form == AS_FORM and c == c'+'


cdef bint _is_row_of_uuid(
    const unsigned char* p, Py_ssize_t row, Py_ssize_t behind, Py_ssize_t start, Py_ssize_t end
) noexcept nogil:
    """Whether a row from `row` to `behind` is part of a UUID, so that nothing in it is found."""
    cdef Py_ssize_t first = row
    cdef Py_ssize_t after, i
    while first > start and row - first < UUID and (_is_hex(p[first - 1]) or p[first - 1] == c'-'):
        first -= 1
    after = first + UUID
    if after < behind or after > end or (after < end and _is_hex(p[after])):
        return False
    if not uuid_bytes(p + first):
        return False
    # Words before it could still announce nine digits at its end.
    if behind < after or _is_digit(p[after - SSN_DIGITS - 1]):
        return True
    for i in range(1, SSN_DIGITS + 1):
        if not _is_digit(p[after - i]):
            return True
    return False


cdef inline bint _is_group(
    const unsigned char* p, Py_ssize_t at, Py_ssize_t end, int form, int* width
) noexcept nogil:
    """Whether a row is one group of ASCII digits, and of how many; what messages hold most."""
    cdef Py_ssize_t stop = at
    while stop < end and c'0' <= p[stop] <= c'9' and stop - at < LONG_GROUP:
        stop += 1
    width[0] = <int>(stop - at)
    if stop == at or stop == end:
        return stop > at
    return not (
        is_mark(p[stop], form)
        or stop + 1 < end and _joins(p[stop], form) and is_mark(p[stop + 1], form)
    )


cdef inline bint _may_be_found(const unsigned char* p, int n) noexcept nogil:
    """Whether a row of one group of `n` ASCII digits can be a finding, whatever is around it."""
    cdef unsigned char[CARD_DIGITS] digits
    cdef int i
    if n != SSN_DIGITS and (n < 13 or n > CARD_DIGITS):
        return False
    for i in range(n):
        digits[i] = p[i] - c'0'
    return is_ssn(digits) if n == SSN_DIGITS else is_card(digits, n)


cdef int read_text(
    Reader* r, Py_ssize_t start, Py_ssize_t end, int form, Key* key, Spans spans
) except -1:
    """Adds what is found in one text, the bytes from `start` to `end`."""
    return read_text_from(r, start, start, end, form, key, spans)


cdef int read_text_from(
    Reader* r, Py_ssize_t start, Py_ssize_t first, Py_ssize_t end, int form, Key* key, Spans spans
) except -1:
    """The same of what begins at `first` or later; what stands before only says what it is."""
    cdef const unsigned char* p = r.p
    cdef Py_ssize_t at = start
    cdef Py_ssize_t points = 0          # code points before `at`, rather too few
    # Two places behind, each with the points before it: the earlier is far enough from `at`.
    cdef Py_ssize_t near = start, near_points = 0
    cdef Py_ssize_t far = start
    cdef Py_ssize_t begin = -1          # of the stretch to read, where one is open
    cdef Py_ssize_t until = 0           # the points at which it ends
    cdef Py_ssize_t opened = 0          # those at which it was opened
    cdef Py_ssize_t read = first        # up to here all is found
    cdef Py_ssize_t asked = end         # from here on nothing begins in the stretch
    cdef Py_ssize_t reach               # the same of what opens it or goes on with it
    cdef Py_ssize_t quiet, row, row_points, behind, more
    cdef unsigned char extra = c'\\' if form == AS_JSON else c'%' if form >= AS_TARGET else c'@'
    cdef int escape = 6 if form == AS_JSON else 3 if form >= AS_TARGET else 0
    cdef bint all_ = form >= AS_TARGET
    cdef int weight, width, digits, ahead
    cdef bint dotted
    cdef bint told      # a secret may begin in the row, or an IBAN just before it
    # The next place where a secret may begin.
    cdef Py_ssize_t mark = token_mark(_tokens, p, start, start, end, all_, _wide)
    cdef int direct = key_says_secret(p, start, key) if form == AS_JSON else SAYS_NOTHING
    if direct:
        begin = start
        until = MARGIN
    while at < end:
        quiet = quiet_bytes(p + at, min(max(mark, at), end) - at, extra)
        at += quiet
        points += quiet
        if begin >= 0 and points >= until and quiet >= points - until:
            # In a quiet run each byte is a point, so its end can be placed exactly.
            behind = at - (points - until)
            read = _read_stretch(
                r, start, end, begin, read, behind, asked, form, key, direct, spans
            )
            begin = -1
        if at >= end:
            break
        if quiet >= BEFORE:
            near = far = at - BEFORE
            near_points = points - BEFORE
        elif points - near_points >= BEFORE:
            far = near
            near = at
            near_points = points
        row = at
        row_points = points
        ahead = AFTER
        reach = end
        if mark <= at:
            ahead = MARGIN
            # What is marked so soon has been read with it.
            mark = token_mark(_tokens, p, start, min(at + NEAR, end), end, all_, _wide)
            if form < AS_TARGET:
                reach = min(at + NEAR + LED, end)
        elif p[at] == c'@':
            ahead = MARGIN
            at += 1
            points += 1
            reach = at
        elif not is_mark(p[at], form):
            # A letter beyond ASCII.
            width = utf8_rest(p[at])
            at += 1
            points += 1
            while width and at < end and p[at] & 0xc0 == 0x80:
                at += 1
                width -= 1
            continue
        elif p[at] == c'\\' and at + 1 < end and p[at + 1] in (
            c'n', c'"', c'\\', c't', c'r', c'/', c'b', c'f'
        ):
            # No digit; if a row goes on behind it, that begins there.
            at += 2
            points += 1
            while at + 1 < mark and p[at] == c'\\' and p[at + 1] == c'\\':
                at += 2
                points += 1
            continue
        elif _is_group(p, at, end, form, &width):
            at += width
            points += width
            told = mark < at or token_country(_tokens, p, start, row)
            if not told and not _may_be_found(p + at - width, width):
                continue
            reach = at
        else:
            digits = 0
            dotted = False
            while True:
                at = _mark_end(p, at, end, form, &weight, &width)
                if weight == ROW:
                    ahead = MARGIN
                digits += weight
                points += width
                if at >= end:
                    break
                if is_mark(p[at], form):
                    continue
                if at + 1 < end and _joins(p[at], form) and is_mark(p[at + 1], form):
                    dotted = dotted or p[at] == c'.'
                    at += 1
                    points += 1
                    continue
                break
            told = mark < at or token_country(_tokens, p, start, row)
            # A number with a point and an exponent may stand for more digits than it has.
            if digits < ROW and not (told or dotted and at < end and (p[at] | 0x20) == c'e'):
                continue
            if not told and _is_row_of_uuid(p, row, at, start, end):
                continue
            # What is encoded although it need not be may be part of anything.
            if ahead == AFTER:
                reach = at
        if begin < 0:
            begin = near if row_points - near_points >= BEFORE else far
            until = asked = 0
            opened = points
        if points - opened >= DENSE:
            more = min(end - at, READ_ON)
            points += window_points(p + at, more, extra, escape)
            at += more
            if mark < at:
                mark = token_mark(_tokens, p, start, at, end, all_, _wide)
            ahead = MARGIN
            reach = end
        asked = max(asked, reach)
        until = max(until, points + ahead)
    if begin >= 0:
        _read_stretch(r, start, end, begin, read, end, asked, form, key, direct, spans)
    return 0


cdef Py_ssize_t _read_stretch(
    Reader* r, Py_ssize_t low, Py_ssize_t high, Py_ssize_t start, Py_ssize_t first,
    Py_ssize_t end, Py_ssize_t asked, int form, Key* key, int direct, Spans spans
) except -1:
    """Up to where all has been read that begins in the bytes from `first` to `end`.

    They are read as code points from `start` on; the whole text goes from `low` to `high`. From
    `asked` on nothing begins. What begins in the last code points is left to the stretch that
    follows, where its mark is.
    """
    cdef Text* t
    cdef Py_ssize_t at = start
    cdef int next_ = 0
    cdef int floor
    cdef int shift
    # What else is not itself in this form.
    cdef unsigned char one = c'\\' if form == AS_JSON else c'%' if form >= AS_TARGET else 0x80
    cdef unsigned char two = c'+' if form == AS_FORM else one
    cdef Py_ssize_t plain
    if r.text == NULL:
        r.text = <Text*>malloc(sizeof(Text))
        if r.text == NULL:
            raise MemoryError
    t = r.text
    t.p = t.w.p = r.p
    t.key = key
    t.n = 0
    t.start = low
    t.done = first
    t.direct = direct
    t.w.cp = t.cp
    t.w.pos = t.pos
    t.w.end = high
    t.w.form = form
    t.w.read = _read_point
    t.w.dead = -1
    t.w.known = 0
    floor = -1
    while True:
        while at < end and t.n < TEXT_WINDOW:
            plain = window_plain(r.p + at, min(end - at, TEXT_WINDOW - t.n), one, two)
            if plain:
                window_copy(r.p, at, plain, &t.cp[t.n], &t.pos[t.n], &t.kind[t.n])
                if at < first:
                    next_ = t.n + <int>min(plain, first - at)
                at += plain
                t.n += <int>plain
                continue
            t.pos[t.n] = at
            if at < first:
                next_ = t.n + 1
            if form == AS_TEXT or form == AS_JSON and r.p[at] != c'\\':
                at += utf8_point(r.p + at, end - at, &t.cp[t.n])
            else:
                at = _read_point(r.p, at, end, form, &t.cp[t.n])
            t.kind[t.n] = _kind_of(t.cp[t.n])
            t.n += 1
        t.pos[t.n] = at
        if floor < 0:
            floor = next_
        if at >= end:
            shift = t.n if end == high else max(next_, t.n - AFTER)
            next_ = _read_window(t, next_, shift, asked, &floor, spans)
            return max(t.pos[next_], t.done)
        next_ = _read_window(t, next_, t.n - MARGIN, asked, &floor, spans)
        # `next_` is at least TEXT_WINDOW - MARGIN, so the window moves on by most of its size.
        shift = next_ - MARGIN
        t.n -= shift
        memmove(&t.cp[0], &t.cp[shift], t.n * sizeof(uint32_t))
        memmove(&t.pos[0], &t.pos[shift], t.n * sizeof(Py_ssize_t))
        memmove(&t.kind[0], &t.kind[shift], t.n)
        next_ = MARGIN
        floor = max(floor - shift, 0)
        t.w.known = max(t.w.known - shift, 0)
