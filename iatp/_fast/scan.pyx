# cython: autotestdict=False
"""Checks JSON and finds card numbers, secrets and the like in it, in one pass.

JSON is checked strictly (RFC 8259, UTF-8, no lone surrogate, numbers within a double, depth
<= 128); each of its strings and numbers is read as its reader would read it. Where the machine
has vectors, walk.h goes through it 64 bytes at a time and stops only where something may be
found; what is wrong, and where, is said by the reader that goes byte by byte.

What is encoded in a text is undone layer by layer (layers.pyx), in every order, and each time
read like the text itself: at most JSON_LEVELS times JSON, at most CODED_LEVELS times anything
else. What is found there is found in the bytes that it came from.
"""

import html.entities
import os
import re
from math import isinf

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memchr, memcmp, memcpy

from iatp._fast.text import vectors as text_vectors
from iatp.values import characters, exchange, ibans, secrets

from iatp._fast.text cimport (
    AS_FORM, AS_JSON, AS_TARGET, AS_TEXT, CARD, CARD_DIGITS, EMAIL, SECRET, SSN, UUID, Key, Reader,
    Span, Spans, Text, is_card, is_ssn, json_unit, key_says_secret, key_says_ssn,
    may_call_ssn, needs_reading, read_text,
)
from iatp._fast.layers cimport (
    BASE64, CODED, EDGE_BEFORE, EDGE_BEHIND, ESCAPED, HEX, LIKE_JSON, RUN, UNDO_CODES, UNDO_ESCAPES,
    UNDO_FORM, SHORTEST_RUN, UNDO_PERCENT, Run, Zone, Zones, decode, has_number, is_hex, is_joint,
    is_text, look, most_zones, next_hex, next_run, pack, trace, undo, undo_around,
)
from iatp._fast.mac cimport Mac
from iatp._fast.said cimport SAYS_NOTHING
from iatp._fast.secrets cimport TokenTable, token_table

cdef extern from "runs.h" nogil:
    Py_ssize_t quiet_json(const unsigned char* p, Py_ssize_t n)
    Py_ssize_t close_bytes(const unsigned char* p, Py_ssize_t n)
    Py_ssize_t string_bytes(const unsigned char* p, Py_ssize_t n, int* calls)
    int uuid_bytes(const unsigned char* p)

cdef extern from "close.h" nogil:
    enum:
        CLOSE_MOST
        CLOSE_LONGEST
    ctypedef struct CloseWords:
        uint32_t[32] pairs
        unsigned char[256] first
        unsigned char[192] next
        unsigned char[192] lengths
        unsigned char[192] whole
        unsigned char[192][18] words
    Py_ssize_t close_words(const CloseWords* t, const unsigned char* p, Py_ssize_t n)

cdef extern from "coded.h" nogil:
    int coded_run_holds(const unsigned char* p, Py_ssize_t room)

cdef extern from "utf8.h" nogil:
    int utf8_length(const unsigned char* p, Py_ssize_t n)
    int utf8_may_count(unsigned char lead)

cdef extern from "walk.h" nogil:
    enum:
        WALK_DONE
        WALK_BAD
        WALK_STRING
        WALK_JSON
        WALK_SCALAR
        WALK_ARRAY
        WALK_ADDRESS
        WALK_NONE
        WALK_BLOCK
        WALK_FIGURES
    ctypedef struct WalkRules:
        const TokenTable* tokens
        bint (*is_card)(const unsigned char* digits, int n) noexcept nogil
        bint (*is_ssn)(const unsigned char* digits) noexcept nogil
        bint (*may_call)(
            const unsigned char* p, Py_ssize_t start, Py_ssize_t at
        ) noexcept nogil
        bint (*run_holds)(const unsigned char* run, Py_ssize_t n) noexcept nogil
        uint64_t[1024] units
        uint32_t[32] entities
        unsigned char[26 * 26] ibans
    ctypedef struct Walk:
        Py_ssize_t start
        Py_ssize_t end
        Py_ssize_t value
        Py_ssize_t done
        const Py_ssize_t* ends
        bint literal
    int walk_level()
    void walk_tails(WalkRules* rules)
    void walk_begin(
        Walk* w, const unsigned char* p, Py_ssize_t n, int level, const WalkRules* rules
    )
    int walk_next(Walk* w)
    int walk_ends(const Walk* w, Py_ssize_t at)
    int walk_begins(const unsigned char* p, Py_ssize_t at, Py_ssize_t n)
    Py_ssize_t walk_undo(
        const unsigned char* p, Py_ssize_t n, Py_ssize_t start, unsigned char* out,
        Py_ssize_t room, Py_ssize_t* end
    )

# How wide the vectors are that this machine reads JSON with; WALK_NONE: byte by byte.
cdef int _best_level = walk_level()
cdef int _level = _best_level
cdef WalkRules _rules
# Kept from one scan to the next: what it is made of is so large that the system would take it back
# each time.
cdef Text* _text = NULL


cdef void _put_unit(int cp) noexcept:
    """Tells the walk of a character beyond ASCII, by its first unit of UTF-16."""
    cdef int unit = cp if cp < 0x10000 else 0xd7c0 + (cp >> 10)
    _rules.units[unit >> 6] |= <uint64_t>1 << (unit & 63)


cdef void _fill_rules():
    _rules.tokens = token_table()
    walk_tails(&_rules)
    _rules.is_card = is_card
    _rules.is_ssn = is_ssn
    _rules.may_call = may_call_ssn
    _rules.run_holds = _run_holds
    for zero in characters.DIGIT_ZEROS:
        for digit in range(10):
            _put_unit(zero + digit)
    for separator in characters.SEPARATORS:
        _put_unit(separator)
    for entity, meaning in html.entities.html5.items():
        if not entity.endswith(";") and (meaning < "\x80" or ord(meaning) in characters.SEPARATORS):
            first, second = entity[:2].lower().encode()
            _rules.entities[first - 97] |= <uint32_t>1 << (second - 97)
    for country, fields in ibans.STRUCTURES.items():
        first, second = country.encode()
        _rules.ibans[(first - 65) * 26 + second - 65] = 4 + sum(
            int(count) for count in re.findall(r"\d+", fields)
        ) + (WALK_FIGURES if set(re.findall("[nac]", fields)) == {"n"} else 0)


_fill_rules()

cdef CloseWords _close_words


cdef void _fill_close_words():
    cdef int number = 0
    cdef int place
    cdef bytes word
    cdef unsigned char last
    for text in (*secrets.LAST_WORDS, *secrets.FIRST_WORDS):
        word = text.encode()
        number += 1
        assert number < CLOSE_MOST and len(word) <= CLOSE_LONGEST
        for place in range(len(word)):
            _close_words.words[number][place] = word[place]
        last = word[len(word) - 1]
        _close_words.pairs[last & 31] |= <uint32_t>1 << (word[len(word) - 2] & 31)
        _close_words.lengths[number] = len(word)
        _close_words.whole[number] = text in secrets.FIRST_WORDS
        _close_words.next[number] = _close_words.first[last]
        _close_words.first[last] = number


_fill_close_words()

cdef enum:
    DEPTH = 128

cdef enum:
    # A run up to this long is put together on the stack.
    SHORT_RUN = 512
    # JSON in a string of JSON up to this long is undone on the stack.
    SHORT_JSON = 4096
    # So many strings of JSON are put together on the stack, that they are checked at once.
    MOST_NESTED = 32
    # So many places that have to be read are kept while JSON is checked.
    KEPT_CALLS = 32
    # A layer up to this long is undone on the stack.
    SHORT_LAYER = 512
    # Of a layer that has no more zones, they are kept on the stack.
    SHORT_ZONES = 4
    # Texts that are remembered, and how many findings of each.
    KNOWN_TEXTS = 32
    KNOWN_SPANS = 4096
    # So far, and behind so many joints, base64 is looked for behind what is joined to it.
    PREFIX = 64
    JOINTS = 8

cdef struct Known:
    # A text that was undone and read: what was found in it, and in what is encoded in it.
    uint64_t[2] hash
    Py_ssize_t n
    int json
    int coded
    bint says
    Py_ssize_t taken    # bytes undone for it
    Py_ssize_t count
    Span* items

cdef struct Memory:
    # Of one body.
    Py_ssize_t left     # bytes that may still be undone
    Py_ssize_t close    # of what is undone: bytes that may still be read closely
    int known_count     # the last KNOWN_TEXTS of them are kept
    Known* known

cdef struct Depth:
    # How often a text may still be undone.
    int json
    int coded
    Memory* memory

cdef struct Call:
    # Where the walk stopped.
    int what
    Py_ssize_t start
    Py_ssize_t end      # the closing quote of a string; 0: not known
    Py_ssize_t value

cdef struct Nested:
    # A string of JSON.
    Py_ssize_t start    # its quotes
    Py_ssize_t end
    Py_ssize_t value    # of its key
    Py_ssize_t first    # where it begins among those put together

cdef struct Together:
    # Strings of JSON with their escapes undone, as the items of an array.
    int count
    Py_ssize_t n
    Nested[MOST_NESTED + 1] items       # and what would come next
    Py_ssize_t[MOST_NESTED + 1] ends    # the last bracket of each, and of the array
    unsigned char[SHORT_JSON] text

JSON = AS_JSON
TEXT = AS_TEXT
TARGET = AS_TARGET
FORM = AS_FORM

# Of the hashes of texts: a caller must not be able to make two with the same.
cdef Mac _key = Mac(os.urandom(32))

cdef int _kinds = len(exchange.KINDS)
cdef list _redacted = [text.encode() for text in exchange.REDACTED]


class _TooMuch(Exception):
    """More would have to be undone than the bound allows."""


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
cdef str _TOO_MUCH = "too much is encoded in it"


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
            if at + 1 < n and p[at + 1] in (c'n', c'"', c'\\', c't', c'r'):
                at += 2
                continue
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


cdef int _read_string(Reader* r, Key* key, Depth* depth, Spans spans) except -1:
    """VALID and what is found in the string at `at`, or what is wrong with it."""
    cdef Py_ssize_t start = r.at + 1
    cdef int calls
    cdef int wrong = _pass_string(r, &calls)
    if wrong or spans is None:
        return wrong
    _read_text_of(r, start, r.at - 1, key, depth, False, calls, spans)
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
    if wrong or spans is None:
        return wrong
    if is_card(digits, count):
        spans.add(start, r.at, CARD, 1)
    elif count == 9 and is_ssn(digits) and key_says_ssn(r.p, key):
        spans.add(start, r.at, SSN, 1)
    return VALID


cdef int _read_key(
    Reader* r, Key* key, Py_ssize_t* rest, Depth* depth, Spans spans
) except -1:
    """VALID and what is found in the key at `at`, its colon passed; or what is wrong."""
    cdef int wrong
    rest[0] = r.at
    if r.at >= r.n or r.p[r.at] != c'"':
        return NO_MARK
    wrong = _read_string(r, NULL, depth, spans)
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


cdef bint _is_split(
    const unsigned char* p, Py_ssize_t at, Py_ssize_t n, Py_ssize_t* start, Py_ssize_t* end
) noexcept nogil:
    """Whether the array that opens at `at` is a card number, its groups being the items.

    They go from `start` to `end`. Strings: all as long as the first, the last may be shorter; or
    4-6-5, 4-6-4. Numbers, of which short lists are common: four of four digits, 4-6-5, 4-6-4.
    """
    cdef unsigned char[CARD_DIGITS] digits
    cdef int[CARD_DIGITS] sizes
    cdef int items = 0
    cdef int total = 0
    cdef int i
    cdef bint even = True
    cdef bint text
    at = _behind_space(p, at + 1, n)
    if at >= n:
        return False
    start[0] = at
    text = p[at] == c'"'
    while items < CARD_DIGITS:
        if text:
            if at >= n or p[at] != c'"':
                return False
            at += 1
        sizes[items] = 0
        while at < n and c'0' <= p[at] <= c'9':
            if total == CARD_DIGITS:
                return False
            digits[total] = p[at] - c'0'
            total += 1
            sizes[items] += 1
            at += 1
        if sizes[items] == 0:
            return False
        if text:
            if at >= n or p[at] != c'"':
                return False
            at += 1
        items += 1
        end[0] = at
        at = _behind_space(p, at, n)
        if at >= n or (p[at] != c',' and p[at] != c']'):
            return False
        if p[at] == c']':
            break
        at = _behind_space(p, at + 1, n)
    else:
        return False
    for i in range(1, items):
        even = even and (sizes[i] == sizes[0] or i == items - 1 and sizes[i] < sizes[0])
    if items < 2 or not (
        even and (text or items == 4 and total == 16)
        or items == 3 and sizes[0] == 4 and sizes[1] == 6 and 4 <= sizes[2] <= 5
    ):
        return False
    return is_card(digits, total)


cdef inline Py_ssize_t _behind_space(
    const unsigned char* p, Py_ssize_t at, Py_ssize_t n
) noexcept nogil:
    while at < n and p[at] in (c' ', c'\n', c'\t', c'\r'):
        at += 1
    return at


cdef int _read_split(const unsigned char* p, Py_ssize_t at, Py_ssize_t n, Spans spans) except -1:
    """Adds the card number that is split over the items of the array at `at`, if it is one."""
    cdef Py_ssize_t start, end
    if spans is not None and _is_split(p, at, n, &start, &end):
        # One string in place of all items.
        spans.add(start, end, CARD, 1)
    return 0


cdef inline bint _pass_word(Reader* r, const char* word, int length) noexcept nogil:
    if r.n - r.at < length or memcmp(r.p + r.at, word, length) != 0:
        return False
    r.at += length
    return True


cdef int _read_json(
    Reader* r, Py_ssize_t* rest, bint says, Depth* inside, Spans spans
) except -1:
    """VALID, or what is wrong and `at` where; adds what is found up to there.

    `rest` is where that begins which has not been read. `says`: the key of all this calls it a
    social security number. Without `spans` nothing is looked for.
    """
    cdef unsigned char[DEPTH + 1] opened    # c'{' or c'['
    cdef Key[DEPTH + 1] keys
    cdef int depth = 0
    cdef int wrong
    cdef bint value_next = True
    cdef unsigned char c
    cdef Py_ssize_t opening
    keys[0].value = -1
    keys[0].says = says
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
                wrong = _read_key(r, &keys[depth], rest, inside, spans)
                if wrong:
                    return wrong
            continue
        if r.at >= r.n:
            return NO_VALUE
        c = r.p[r.at]
        value_next = False
        wrong = VALID
        if c == c'"':
            wrong = _read_string(r, &keys[depth], inside, spans)
        elif c == c'-' or c'0' <= c <= c'9':
            wrong = _read_number(r, &keys[depth], spans)
        elif c == c'{' or c == c'[':
            if depth == DEPTH:
                return TOO_DEEP
            opening = r.at
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
                _read_split(r.p, opening, r.n, spans)
            else:
                wrong = _read_key(r, &keys[depth], rest, inside, spans)
        elif not (
            _pass_word(r, b"true", 4) or _pass_word(r, b"false", 5) or _pass_word(r, b"null", 4)
        ):
            wrong = NO_VALUE
        if wrong:
            return wrong


cdef int _walk_json(Reader* r, bint says, Depth* inside, Spans spans) except -1:
    """VALID and what is found; or WALK_BAD and nothing, then _read_json says what is wrong.

    Without `spans` nothing is looked for.
    """
    cdef Walk w
    cdef Key key
    cdef Together together
    cdef int calls, what, read
    cdef Py_ssize_t first = 0 if spans is None else spans.count
    cdef Py_ssize_t plain = -1    # a string that is no object or array, although it begins so
    cdef Py_ssize_t end
    cdef bint told
    key.value = -1
    key.says = says
    together.count = 0
    walk_begin(&w, r.p, r.n, _level, &_rules)
    while True:
        what = walk_next(&w)
        if what == WALK_BAD:
            break
        if what != WALK_JSON and together.count:
            _read_together(r, &together, says, inside, spans)
        if what == WALK_DONE:
            return VALID
        if what == WALK_ARRAY:
            _read_split(r.p, w.start, r.n, spans)
            continue
        if what == WALK_ADDRESS:
            if spans is not None:
                spans.add(w.start, w.end, EMAIL, 0)
            continue
        _turn_key(&key, w.value, says)
        r.at = w.start
        if what == WALK_SCALAR:
            if _read_number(r, &key, spans) != VALID or not walk_ends(&w, r.at):
                break
        elif what == WALK_JSON:
            if spans is None:
                continue
            told = _drop_addresses(spans, first, w.start)
            end = w.end
            if _put_nested(r, w.start, &end, &key, says, &together, inside, spans):
                w.done = end + 1
                continue
            if together.count:
                _read_together(r, &together, says, inside, spans)
            read = _read_nested(r, w.start + 1, &end, &key, inside, spans)
            if read == IS_ESCAPED or told and read != IS_JSON:
                _read_text_of(
                    r, w.start + 1, end, &key, inside, read != IS_UNKNOWN, True, spans
                )
            elif read != IS_JSON:
                plain = w.start if read == IS_PLAIN else -1
                continue
            r.at = end + 1
        else:
            if w.end:
                r.at = w.end + 1
            elif _pass_string(r, &calls) != VALID:
                break
            if spans is None:
                w.done = r.at
                continue
            _drop_addresses(spans, first, w.start)
            if w.literal and not walk_begins(r.p, w.start + 1, r.at - 1):
                read_text(r, w.start + 1, r.at - 1, AS_JSON, &key, spans)
            else:
                _read_text_of(
                    r, w.start + 1, r.at - 1, &key, inside, w.start == plain, True, spans
                )
        w.done = r.at
    r.at = 0
    if spans is not None:
        spans.count = first
    return WALK_BAD


cdef inline bint _drop_addresses(Spans spans, Py_ssize_t first, Py_ssize_t start) noexcept nogil:
    """Takes back what is told of the string at `start`: the last of the spans from `first` on.

    Whether there was any.
    """
    cdef Py_ssize_t count = spans.count
    while (
        spans.count > first and spans.items[spans.count - 1].kind == EMAIL
        and spans.items[spans.count - 1].start > start
    ):
        spans.count -= 1
    return spans.count < count


cdef inline void _turn_key(Key* key, Py_ssize_t value, bint says) noexcept nogil:
    """Makes it the key of another value, where it is one."""
    if value != key.value:
        key.value = value
        key.says = -1 if value >= 0 else says


cdef int _check_json(Reader* r, Call* calls, const Py_ssize_t* ends) except -2:
    """How many places of one valid value have to be read, or -1 where it is none.

    The first KEPT_CALLS of them are `calls`. Nothing is looked for. `ends`: those of the items of
    an array, where it has to have just these; else NULL.
    """
    cdef Walk w
    cdef Py_ssize_t rest
    cdef int what, unused
    cdef int count = 0
    r.at = 0
    if _level == WALK_NONE:
        return KEPT_CALLS + 1 if _read_json(r, &rest, False, NULL, None) == VALID else -1
    walk_begin(&w, r.p, r.n, _level, &_rules)
    w.ends = ends
    while True:
        what = walk_next(&w)
        if what == WALK_DONE:
            return count
        if what == WALK_BAD:
            return -1
        r.at = w.start
        if what == WALK_SCALAR:
            if _read_number(r, NULL, None) != VALID or not walk_ends(&w, r.at):
                return -1
            w.done = r.at
        elif what == WALK_STRING:
            if w.end:
                r.at = w.end + 1
            elif _pass_string(r, &unused) != VALID:
                return -1
            w.end = r.at - 1
            w.done = r.at
        if count < KEPT_CALLS:
            calls[count].what = what
            calls[count].start = w.start
            calls[count].end = w.end
            calls[count].value = w.value
        count += 1


cdef bint is_json(const unsigned char* p, Py_ssize_t n) except -1:
    """Whether a text is one valid value."""
    cdef Call[KEPT_CALLS] calls
    cdef Reader r
    r.p = p
    r.n = n
    r.text = NULL
    return _check_json(&r, calls, NULL) >= 0


cdef int _read_calls(
    Reader* r, const Call* calls, int count, bint says, Depth* inside, Spans spans
) except -1:
    """Adds what is found in these places of a valid value."""
    cdef Key key
    cdef Together together
    cdef const Call* call
    cdef Py_ssize_t first = spans.count
    cdef Py_ssize_t done = 0
    cdef Py_ssize_t plain = -1
    cdef Py_ssize_t end
    cdef int i, read
    cdef bint told
    key.value = -1
    key.says = says
    together.count = 0
    for i in range(count):
        call = &calls[i]
        if call.what != WALK_JSON and together.count:
            _read_together(r, &together, says, inside, spans)
        if call.what == WALK_ARRAY:
            _read_split(r.p, call.start, r.n, spans)
            continue
        if call.start < done:
            continue
        if call.what == WALK_ADDRESS:
            spans.add(call.start, call.end, EMAIL, 0)
            continue
        _turn_key(&key, call.value, says)
        end = call.end
        if call.what == WALK_SCALAR:
            r.at = call.start
            _read_number(r, &key, spans)
        elif call.what == WALK_JSON:
            told = _drop_addresses(spans, first, call.start)
            if _put_nested(r, call.start, &end, &key, says, &together, inside, spans):
                done = end
                continue
            if together.count:
                _read_together(r, &together, says, inside, spans)
            read = _read_nested(r, call.start + 1, &end, &key, inside, spans)
            if read == IS_ESCAPED or told and read != IS_JSON:
                _read_text_of(
                    r, call.start + 1, end, &key, inside, read != IS_UNKNOWN, True, spans
                )
                done = end
            elif read == IS_JSON:
                done = end
            elif read == IS_PLAIN:
                plain = call.start
        else:
            _drop_addresses(spans, first, call.start)
            _read_text_of(
                r, call.start + 1, end, &key, inside, call.start == plain, True, spans
            )
    if together.count:
        _read_together(r, &together, says, inside, spans)
    return 0


# What is encoded.


cdef int _merge(Spans spans, Py_ssize_t first, Spans more) except -1:
    """Joins spans in order to those of `spans` from `first` on; what overlaps becomes one.

    Where different kinds overlap, what they cover together is shared out, so that each kind is
    counted and each byte replaced. Of several secrets it is the last of the table.
    """
    cdef Spans merged
    cdef Span* next_
    cdef Py_ssize_t i = first
    cdef Py_ssize_t j = 0
    cdef Py_ssize_t start, end
    cdef int quoted, kind, secret
    cdef unsigned int kinds
    merged = Spans.__new__(Spans)
    while i < spans.count or j < more.count:
        start = end = -1
        kinds = 0
        quoted = 0
        secret = -1
        while i < spans.count or j < more.count:
            if j == more.count or i < spans.count and spans.items[i].start < more.items[j].start:
                next_ = &spans.items[i]
            else:
                next_ = &more.items[j]
            if start < 0:
                start = next_.start
            elif next_.start >= end:
                break
            if next_.end > end:
                end = next_.end
                quoted = 0
            if next_.start == start and next_.end == end:
                quoted = max(quoted, next_.quoted)
            kinds |= 1u << next_.kind
            secret = max(secret, next_.secret)
            if j < more.count and next_ == &more.items[j]:
                j += 1
            else:
                i += 1
        for kind in range(_kinds):
            if kinds >> kind & 1:
                kinds &= ~(1u << kind)
                if kinds == 0:
                    merged.add(start, end, kind, quoted, secret if kind == SECRET else -1)
                else:
                    merged.add(start, start + 1, kind, 0, secret if kind == SECRET else -1)
                    start += 1
                    quoted = 0
    spans.count = first
    for j in range(merged.count):
        next_ = &merged.items[j]
        spans.add(next_.start, next_.end, next_.kind, next_.quoted, next_.secret)
    return 0


cdef int _part(Spans spans, Py_ssize_t first) except -1:
    """Has no spans from `first` on overlap, which came through a layer that is now traced back.

    Two that share the bytes of one character overlap where an escape stood for it.
    """
    cdef Py_ssize_t i
    for i in range(first + 1, spans.count):
        if spans.items[i].start < spans.items[i - 1].end:
            return _merge(spans, first, Spans.__new__(Spans))
    return 0


cdef int _merge_last(Spans spans, Py_ssize_t first, Py_ssize_t middle) except -1:
    """Joins the spans from `middle` on, which may overlap, to those from `first` on.

    All at once: what different kinds cover together is shared out once.
    """
    cdef Spans more
    cdef Py_ssize_t i
    cdef Span* span
    if middle == spans.count:
        return 0
    if first == middle or spans.items[middle - 1].end <= spans.items[middle].start:
        return _part(spans, middle)
    more = Spans.__new__(Spans)
    for i in range(middle, spans.count):
        span = &spans.items[i]
        more.add(span.start, span.end, span.kind, span.quoted, span.secret)
    spans.count = middle
    return _merge(spans, first, more)


cdef inline int _take(Depth* depth, Py_ssize_t n) except -1:
    """Counts `n` bytes that are undone."""
    depth.memory.left -= n
    if depth.memory.left < 0:
        raise _TooMuch
    return 0


cdef inline Py_ssize_t _close_of(const unsigned char* d, Py_ssize_t n, bint again) noexcept nogil:
    cdef Py_ssize_t close = CLOSE_TEXT + close_bytes(d, n)
    # Words are free in what is undone once: honest texts are, and there are two at most of a text.
    return close + CLOSE_WORD * close_words(&_close_words, d, n) if again else close


cdef inline int _take_close(Depth* depth, const unsigned char* d, Py_ssize_t n) except -1:
    """Counts what is read closely in a text that was undone, and that it is a text."""
    cdef bint again = depth.json + depth.coded < JSON_LEVELS + CODED_LEVELS - 1
    depth.memory.close -= _close_of(d, n, again)
    if depth.memory.close < 0:
        raise _TooMuch
    return 0


cdef inline int _take_found(Depth* depth, Py_ssize_t count) except -1:
    """Counts what was found in a text that was undone, as it stands."""
    depth.memory.close -= CLOSE_FINDING * count
    if depth.memory.close < 0:
        raise _TooMuch
    return 0


cdef enum:
    # What is encoded in less is too short for a finding.
    SHORTEST_TEXT = 6


cdef int _read_inside(
    Reader* r, Py_ssize_t start, Py_ssize_t end, int form, Key* key, Depth* depth,
    Py_ssize_t first, bint plain, Spans spans
) except -1:
    """Adds what is encoded in one text, the bytes from `start` to `end`.

    Spans from `first` on are what was found in it as it is. `plain`: it is no object or array.
    """
    cdef const unsigned char* p = r.p + start
    cdef Py_ssize_t n = end - start
    cdef Py_ssize_t i
    cdef int flags = look(p, n)
    cdef int how = UNDO_PERCENT
    cdef bint undone = False
    cdef unsigned char[SHORT_LAYER] short
    cdef bytes kept
    cdef const unsigned char* d = p
    cdef Py_ssize_t middle = spans.count
    if form == AS_JSON:
        how = UNDO_ESCAPES
        undone = flags & ESCAPED
    elif form == AS_TARGET:
        undone = flags & CODED
    elif form == AS_FORM:
        how = UNDO_FORM
        undone = flags & CODED or memchr(p, c'+', n) != NULL
    if not undone and flags == 0:
        return 0
    if undone:
        d = short
        if n > SHORT_LAYER:
            kept = PyBytes_FromStringAndSize(NULL, n)
            d = <const unsigned char*>PyBytes_AS_STRING(kept)
        n = undo(p, n, how, <unsigned char*>d)
        flags = look(d, n)
    if plain:
        flags &= ~LIKE_JSON
    if flags == 0:
        return 0
    if form == AS_JSON:
        _unfold(r, d, n, flags, key_says_ssn(r.p, key), depth, spans)
    else:
        _unfold_texts(r, d, n, depth, spans)
    if spans.count == middle:
        return 0
    if undone:
        trace(p, end - start, how, spans.items + middle, spans.count - middle)
    for i in range(middle, spans.count):
        spans.items[i].start += start
        spans.items[i].end += start
        if form == AS_JSON and spans.items[i].quoted:
            spans.items[i].quoted += 1
    return _merge_last(spans, first, middle)


cdef Py_ssize_t text_end(const unsigned char* p, Py_ssize_t at, Py_ssize_t n) noexcept nogil:
    """Where a text from `at` on ends: at a control character, or where it is not UTF-8."""
    cdef int length
    while True:
        at += quiet_json(p + at, n - at)
        if at >= n:
            break
        if p[at] >= 0x80:
            length = utf8_length(p + at, n - at)
            if length == 0:
                break
            at += length
        elif p[at] in (c'\t', c'\n', c'\r'):
            at += 1
        else:
            break
    return at


cdef int _unfold_texts(
    Reader* r, const unsigned char* d, Py_ssize_t n, Depth* depth, Spans found
) except -1:
    """Adds what is encoded in the texts that stand in a body, which may be of any bytes.

    Only those: among random bytes there is always something that looks encoded, and undoing all
    of them for it would cost much and show nothing.
    """
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t end, i, first
    cdef int flags
    while at < n:
        end = text_end(d, at, n)
        flags = look(d + at, end - at) if end - at >= SHORTEST_TEXT else 0
        if flags:
            first = found.count
            _unfold(r, d + at, end - at, flags, False, depth, found)
            for i in range(first, found.count):
                found.items[i].start += at
                found.items[i].end += at
        at = end + 1
    return 0


cdef bint begins_like_json(const unsigned char* d, Py_ssize_t n) noexcept nogil:
    """Whether a text without escapes begins like an object or an array."""
    cdef Py_ssize_t at = _behind_space(d, 0, n)
    return at < n and d[at] in (c'{', c'[')


cdef bint ends_like_json(const unsigned char* d, Py_ssize_t n) noexcept nogil:
    while n > 0 and d[n - 1] in (c' ', c'\n', c'\t', c'\r'):
        n -= 1
    return n > 0 and d[n - 1] in (c'}', c']', c'"')


cdef bint _read_value(
    Reader* r, const unsigned char* d, Py_ssize_t n, Key* key, Depth* depth, Spans found
) except -1:
    """Whether a text is one valid value of JSON; adds what is found in it. `key` is the text's."""
    cdef Call[KEPT_CALLS] calls
    cdef Reader inner
    cdef Depth below
    cdef Py_ssize_t rest
    cdef int count
    cdef bint says
    if not ends_like_json(d, n):
        return False
    inner.p = d
    inner.n = n
    inner.text = r.text
    count = _check_json(&inner, calls, NULL)
    if count < 0:
        return False
    _take(depth, n)
    if count == 0:
        return True
    below.memory = depth.memory
    below.json = depth.json - 1
    below.coded = depth.coded
    says = key_says_ssn(r.p, key)
    inner.at = 0
    try:
        if count <= KEPT_CALLS:
            _read_calls(&inner, calls, count, says, &below, found)
        elif _level != WALK_NONE:
            _walk_json(&inner, says, &below, found)
        else:
            _read_json(&inner, &rest, says, &below, found)
    finally:
        r.text = inner.text
    return True


cdef enum:
    # What a text is that may be an object or an array.
    IS_UNKNOWN = 0    # whatever it is, it is read as a text
    IS_PLAIN = 1
    IS_ESCAPED = 2    # plain, but it may be JSON once its own escapes are undone
    IS_JSON = 3


cdef int _read_nested(
    Reader* r, Py_ssize_t start, Py_ssize_t* end, Key* key, Depth* depth, Spans spans
) except -1:
    """What the string is whose text begins at `start`; where IS_JSON, adds what is found in it.

    `end` is that of the text; where that is 0, it is found. What its key calls a secret is a
    text in any case.
    """
    cdef unsigned char[SHORT_JSON] short
    cdef const unsigned char* d = short
    cdef Py_ssize_t first = spans.count
    cdef Py_ssize_t n = -1
    cdef Py_ssize_t room
    cdef bytes kept
    if depth.json == 0 or key_says_secret(r.p, start, key) != SAYS_NOTHING:
        _find_end(r, start, end)
        return IS_UNKNOWN
    if _level != WALK_NONE:
        n = walk_undo(r.p, r.n, start - 1, short, SHORT_JSON, end)
    if n < 0:
        if not _find_end(r, start, end):
            return IS_UNKNOWN
        room = end[0] - start + WALK_BLOCK
        kept = PyBytes_FromStringAndSize(NULL, room)
        d = <const unsigned char*>PyBytes_AS_STRING(kept)
        if _level != WALK_NONE and room > SHORT_JSON:
            n = walk_undo(r.p, r.n, start - 1, <unsigned char*>d, room, end)
        if n < 0:
            n = undo(r.p + start, end[0] - start, UNDO_ESCAPES, <unsigned char*>d)
        # An escape may have made it a string.
        if not begins_like_json(d, n):
            return IS_UNKNOWN
    if not _read_value(r, d, n, key, depth, spans):
        return IS_PLAIN if memchr(d, c'\\', n) == NULL else IS_ESCAPED
    _place_nested(r, start, end[0], spans, first, spans.count)
    _part(spans, first)
    return IS_JSON


cdef inline bint _find_end(Reader* r, Py_ssize_t start, Py_ssize_t* end) noexcept nogil:
    """Makes `end`, where it is 0, that of the string whose text begins at `start`.

    Whether the string is valid; where not, its text counts as empty.
    """
    cdef int unused
    if end[0]:
        return True
    r.at = start - 1
    if _pass_string(r, &unused) != VALID:
        end[0] = start
        return False
    end[0] = r.at - 1
    return True


cdef void _place_nested(
    const Reader* r, Py_ssize_t start, Py_ssize_t end, Spans spans, Py_ssize_t first,
    Py_ssize_t last
) noexcept nogil:
    """Turns spans of the JSON in the string from `start` to `end` into spans of the string.

    They are those from `first` to `last`.
    """
    cdef Py_ssize_t i
    if last > first:
        trace(r.p + start, end - start, UNDO_ESCAPES, spans.items + first, last - first)
    for i in range(first, last):
        spans.items[i].start += start
        spans.items[i].end += start
        if spans.items[i].quoted:
            spans.items[i].quoted += 1


cdef bint _put_nested(
    Reader* r, Py_ssize_t start, Py_ssize_t* end, Key* key, bint says, Together* t, Depth* depth,
    Spans spans
) except -1:
    """Whether the string at `start` is put beside others; its closing quote is at `end`.

    It is small, begins and ends like an object or an array, and its escapes are simple. Where there
    is no room left, the others are read before.
    """
    cdef Nested* item
    cdef Py_ssize_t n = -1
    cdef Py_ssize_t last
    cdef unsigned char* d
    if depth.json == 0 or key_says_secret(r.p, start + 1, key) != SAYS_NOTHING:
        return False
    if t.count < MOST_NESTED and t.count:
        n = walk_undo(r.p, r.n, start, t.text + t.n, SHORT_JSON - t.n, end)
    if n < 0:
        if t.count:
            _read_together(r, t, says, depth, spans)
        t.text[0] = c'['
        t.n = 1
        n = walk_undo(r.p, r.n, start, t.text + 1, SHORT_JSON - 1, end)
        if n < 0:
            return False
    d = t.text + t.n
    last = n - 1
    while last > 0 and d[last] in (c' ', c'\n', c'\t', c'\r'):
        last -= 1
    if d[last] != c'}' and d[last] != c']':
        return False
    item = &t.items[t.count]
    item.start = start
    item.end = end[0]
    item.value = key.value
    item.first = t.n
    t.ends[t.count] = t.n + last
    t.count += 1
    # walk_undo leaves at least as much as a block behind it.
    d[n] = c','
    t.n += n + 1
    t.items[t.count].first = t.n
    return True


cdef int _read_together(
    Reader* r, Together* t, bint says, Depth* depth, Spans spans
) except -1:
    """Adds what is found in the strings of JSON that were put together. None is left there."""
    cdef Call[KEPT_CALLS] calls
    cdef bint[KEPT_CALLS] says_of
    cdef Reader inner
    cdef Depth below
    cdef Key key
    cdef Nested* item
    cdef Py_ssize_t end, begun, first, last
    cdef int number, count, read, call, from_
    t.text[t.n - 1] = c']'
    t.ends[t.count] = -1
    inner.p = t.text
    inner.n = t.n
    count = _check_json(&inner, calls, t.ends)
    key.value = -1
    key.says = says
    if not 0 <= count <= KEPT_CALLS:
        # One of them is none, or there is much to read: each by itself.
        for number in range(t.count):
            item = &t.items[number]
            _turn_key(&key, item.value, says)
            end = item.end
            read = _read_nested(r, item.start + 1, &end, &key, depth, spans)
            if read != IS_JSON:
                _read_text_of(
                    r, item.start + 1, end, &key, depth, read != IS_UNKNOWN, True, spans
                )
        t.count = 0
        return 0
    call = 0
    for number in range(t.count):
        item = &t.items[number]
        _take(depth, t.items[number + 1].first - 1 - item.first)
        if call < count and calls[call].start < t.items[number + 1].first:
            _turn_key(&key, item.value, says)
            key_says_ssn(r.p, &key)
        while call < count and calls[call].start < t.items[number + 1].first:
            says_of[call] = key.says
            call += 1
    below.memory = depth.memory
    below.json = depth.json - 1
    below.coded = depth.coded
    begun = first = spans.count
    from_ = 0
    inner.text = r.text
    try:
        while from_ < count:
            call = from_
            while call < count and says_of[call] == says_of[from_]:
                call += 1
            _read_calls(&inner, calls + from_, call - from_, says_of[from_], &below, spans)
            from_ = call
    finally:
        r.text = inner.text
    for number in range(t.count):
        item = &t.items[number]
        last = first
        while last < spans.count and spans.items[last].start < t.items[number + 1].first:
            spans.items[last].start -= item.first
            spans.items[last].end -= item.first
            last += 1
        _place_nested(r, item.start + 1, item.end, spans, first, last)
        first = last
    _part(spans, begun)
    t.count = 0
    return 0


cdef int _read_text_of(
    Reader* r, Py_ssize_t start, Py_ssize_t end, Key* key, Depth* depth, bint plain, bint calls,
    Spans spans
) except -1:
    """Adds what is found in the text of a string. `plain`: it is no object or array.

    Without `calls` nothing but a secret can be in it as it stands.
    """
    cdef Py_ssize_t first = spans.count
    cdef int read
    if end - start == UUID and uuid_bytes(r.p + start):
        return 0
    if not plain and walk_begins(r.p, start, end) in (c'{', c'[', c'u'):
        read = _read_nested(r, start, &end, key, depth, spans)
        if read == IS_JSON:
            return 0
        plain = read != IS_UNKNOWN
    if calls or needs_reading(r.p, start, end, key):
        read_text(r, start, end, AS_JSON, key, spans)
    return _read_inside(r, start, end, AS_JSON, key, depth, first, plain, spans)


cdef int _unfold(
    Reader* r, const unsigned char* d, Py_ssize_t n, int flags, bint says, Depth* depth,
    Spans found
) except -1:
    """Adds what is encoded in a text without escapes of its own; `flags` are what `look` says."""
    cdef Depth below
    cdef Key key
    cdef Py_ssize_t first = found.count
    below.memory = depth.memory
    key.value = -1
    key.says = says
    # All that JSON holds are its strings and numbers.
    if flags & LIKE_JSON and depth.json and _read_value(r, d, n, &key, depth, found):
        _take_close(depth, d, n)
        return 0
    if flags & ESCAPED and depth.json:
        below.json = depth.json - 1
        below.coded = depth.coded
        _read_layer(r, d, n, UNDO_ESCAPES, says, &below, first, found)
    if depth.coded:
        below.json = depth.json
        below.coded = depth.coded - 1
        if flags & CODED:
            _read_layer(r, d, n, UNDO_CODES, says, &below, first, found)
        if flags & RUN:
            _read_runs(r, d, n, says, &below, first, found)
    return 0


cdef int _read_decoded(
    Reader* r, const unsigned char* d, Py_ssize_t n, bint says, Depth* depth, Spans found
) except -1:
    """Adds what is found in a text that was undone, and in what is encoded in it.

    Layers that are undone in another order often give the same text; it is read once.
    """
    cdef uint64_t[2] hash
    cdef Py_ssize_t first = found.count
    cdef Py_ssize_t i, left
    cdef Known* known
    if depth == NULL or depth.json == JSON_LEVELS or depth.coded == CODED_LEVELS:
        return _read_anew(r, d, n, says, depth, found)
    _key.hash(d, n, hash)
    known = _known(depth, hash, n, says)
    if known == NULL:
        left = depth.memory.left
        _read_anew(r, d, n, says, depth, found)
        return _remember(depth, hash, n, says, left - depth.memory.left, found, first)
    _take(depth, known.taken)
    for i in range(known.count):
        found.add(
            known.items[i].start, known.items[i].end, known.items[i].kind, known.items[i].quoted,
            known.items[i].secret,
        )
    return 0


cdef Known* _known(
    const Depth* depth, const uint64_t* hash, Py_ssize_t n, bint says
) noexcept nogil:
    """The text with this hash that was read as this one is to be, or NULL."""
    cdef const Memory* memory = depth.memory
    cdef Known* known
    cdef int i
    for i in range(min(memory.known_count, KNOWN_TEXTS)):
        known = &memory.known[i]
        if (
            known.hash[0] == hash[0] and known.hash[1] == hash[1] and known.n == n
            and known.json == depth.json and known.coded == depth.coded and known.says == says
        ):
            return known
    return NULL


cdef int _remember(
    const Depth* depth, const uint64_t* hash, Py_ssize_t n, bint says, Py_ssize_t taken,
    Spans found, Py_ssize_t first
) except -1:
    """Keeps what was found in a text: the spans from `first` on."""
    cdef Memory* memory = depth.memory
    cdef Py_ssize_t count = found.count - first
    cdef Known* known
    cdef Span* items = NULL
    if count > KNOWN_SPANS:
        return 0
    if memory.known == NULL:
        memory.known = <Known*>calloc(KNOWN_TEXTS, sizeof(Known))
        if memory.known == NULL:
            raise MemoryError
    if count:
        items = <Span*>malloc(count * sizeof(Span))
        if items == NULL:
            raise MemoryError
        memcpy(items, found.items + first, count * sizeof(Span))
    known = &memory.known[memory.known_count % KNOWN_TEXTS]
    memory.known_count += 1
    if memory.known_count == 2 * KNOWN_TEXTS:
        memory.known_count = KNOWN_TEXTS
    free(known.items)
    known.hash[0] = hash[0]
    known.hash[1] = hash[1]
    known.n = n
    known.json = depth.json
    known.coded = depth.coded
    known.says = says
    known.taken = taken
    known.count = count
    known.items = items
    return 0


cdef void _begin(Memory* memory, Py_ssize_t n) noexcept nogil:
    memory.left = max(n * EXPANSION, SHORT_EXPANSION)
    memory.close = max(n * CLOSE_EXPANSION, SHORT_CLOSE)
    memory.known_count = 0
    memory.known = NULL


cdef void _forget(Memory* memory) noexcept nogil:
    cdef int i
    if memory.known == NULL:
        return
    for i in range(KNOWN_TEXTS):
        free(memory.known[i].items)
    free(memory.known)


cdef int _read_anew(
    Reader* r, const unsigned char* d, Py_ssize_t n, bint says, Depth* depth, Spans found
) except -1:
    cdef Reader inner
    cdef Key key
    cdef Py_ssize_t first = found.count
    cdef Py_ssize_t middle
    cdef int flags
    key.value = -1
    key.says = says
    if depth != NULL:
        _take_close(depth, d, n)
    flags = look(d, n) if depth != NULL else 0
    if flags & LIKE_JSON and depth.json and begins_like_json(d, n):
        if _read_value(r, d, n, &key, depth, found):
            return 0
        flags &= ~LIKE_JSON
    inner.p = d
    inner.n = n
    inner.at = 0
    inner.text = r.text
    try:
        read_text(&inner, 0, n, AS_TEXT, &key, found)
    finally:
        r.text = inner.text
    if depth != NULL:
        _take_found(depth, found.count - first)
    if flags:
        middle = found.count
        _unfold(r, d, n, flags, says, depth, found)
        _merge_last(found, first, middle)
    return 0


cdef int _read_layer(
    Reader* r, const unsigned char* d, Py_ssize_t n, int how, bint says, Depth* depth,
    Py_ssize_t first, Spans found
) except -1:
    """Adds what is found once this layer is undone, around what changed by that.

    Spans from `first` on are what was found in it otherwise.
    """
    cdef unsigned char[SHORT_LAYER] short
    cdef unsigned char* out = short
    cdef bytes kept, places
    cdef Zone[SHORT_ZONES] few
    cdef Zones zones
    cdef Py_ssize_t middle = found.count
    cdef Py_ssize_t i, length
    zones.items = few
    if n > SHORT_LAYER:
        kept = PyBytes_FromStringAndSize(NULL, n)
        out = <unsigned char*>PyBytes_AS_STRING(kept)
    if most_zones(n) > SHORT_ZONES:
        places = PyBytes_FromStringAndSize(NULL, most_zones(n) * sizeof(Zone))
        zones.items = <Zone*>PyBytes_AS_STRING(places)
    length = undo_around(d, n, how, out, &zones)
    if zones.count == 0:
        return 0
    _take(depth, n)
    for i in range(zones.count):
        _read_zone(r, out, length, &zones.items[i], says, depth, found)
    if found.count == middle:
        return 0
    trace(d, n, how, found.items + middle, found.count - middle)
    if how == UNDO_ESCAPES:
        for i in range(middle, found.count):
            if found.items[i].quoted:
                found.items[i].quoted += 1
    return _merge_last(found, first, middle)


cdef int _read_zone(
    Reader* r, const unsigned char* d, Py_ssize_t n, const Zone* zone, bint says, Depth* depth,
    Spans found
) except -1:
    """Adds what is found in a zone, but for what is too near to where it is cut."""
    cdef Py_ssize_t to = found.count
    cdef Py_ssize_t first = zone.start + EDGE_BEFORE if zone.start else 0
    cdef Py_ssize_t last = zone.end - EDGE_BEHIND if zone.end < n else n
    cdef Py_ssize_t i
    cdef Span* span
    _read_decoded(r, d + zone.start, zone.end - zone.start, says, depth, found)
    for i in range(to, found.count):
        span = &found.items[i]
        if first <= span.start + zone.start and span.end + zone.start <= last:
            found.items[to] = span[0]
            span = &found.items[to]
            span.start += zone.start
            span.end += zone.start
            to += 1
    found.count = to
    return 0


cdef int _read_runs(
    Reader* r, const unsigned char* d, Py_ssize_t n, bint says, Depth* depth, Py_ssize_t before,
    Spans spans
) except -1:
    """Adds what is found in runs of base64 and hex; the run is its span, for it can't be cut.

    Spans from `before` on are what was found in the text otherwise.

    A run that holds a text is read as one. In what is none, an image say, only numbers count: of
    all that is found by chance they are the least likely.
    """
    cdef unsigned char[SHORT_RUN] short
    cdef unsigned char* packed
    cdef bytes kept
    cdef Run run
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t middle = spans.count
    cdef Py_ssize_t first, length, start, end
    cdef int skip
    cdef bint text, hexadecimal
    while next_run(d, n, at, &run):
        if (
            _level != WALK_NONE and run.last_end == run.end
            and not coded_run_holds(d + run.start, n - run.start)
        ):
            at = run.end
            continue
        packed = short
        if run.end - run.start > SHORT_RUN:
            kept = PyBytes_FromStringAndSize(NULL, run.end - run.start)
            packed = <unsigned char*>PyBytes_AS_STRING(kept)
        first = spans.count
        at = run.end
        length = pack(d + run.start, run.end - run.start, packed)
        # Of a digest, what base64 makes of its digits is a text too often. A number it never is:
        # among the characters of three digits one is no hex digit.
        hexadecimal = is_hex(packed, length)
        text = not hexadecimal and _read_joined(
            r, packed, length, says, depth, &run, first, spans
        )
        # The word of the next line may look like its last line.
        if not text and not hexadecimal and run.last_end < run.end:
            at = run.last_end
            length = pack(d + run.start, at - run.start, packed)
            text = _read_run(
                r, packed, length, BASE64, True, says, depth, run.start, at, first, spans
            )
            if not text and run.first_end < run.last_end:
                at = run.first_end
                length = pack(d + run.start, at - run.start, packed)
                text = _read_run(
                    r, packed, length, BASE64, True, says, depth, run.start, at, first, spans
                )
        if not text and not hexadecimal:
            at = run.end
            length = pack(d + run.start, at - run.start, packed)
            # What is joined to it in front may have any length.
            for skip in range(4):
                _read_run(
                    r, packed + skip, length - skip, BASE64, False, says, depth, run.start, at,
                    first, spans
                )
        start = run.start
        while next_hex(d, at, &start, &end):
            text = False
            for skip in range(2):
                text = text or _read_run(
                    r, d + start + skip, end - start - skip, HEX, True, says, depth, start, end,
                    first, spans
                )
            for skip in range(2):
                if not text:
                    _read_run(
                        r, d + start + skip, end - start - skip, HEX, False, says, depth, start,
                        end, first, spans
                    )
            start = end
    return _merge_last(spans, before, middle)


cdef bint _run_holds(const unsigned char* run, Py_ssize_t n) noexcept nogil:
    """Whether _read_runs would read a run of one line, or something in it."""
    cdef Py_ssize_t start = 0
    cdef Py_ssize_t end = 0
    cdef int skip
    cdef int joints = 0
    if n > SHORT_RUN:
        return True
    if not is_hex(run, n):
        for skip in range(<int>min(PREFIX, n - SHORTEST_RUN + 1)):
            if skip > 0:
                if not is_joint(run[skip - 1]):
                    continue
                joints += 1
                if joints > JOINTS:
                    break
            if is_text(run + skip, n - skip, BASE64):
                return True
        for skip in range(4):
            if has_number(run + skip, n - skip, BASE64):
                return True
    while next_hex(run, n, &start, &end):
        for skip in range(2):
            if (
                is_text(run + start + skip, end - start - skip, HEX)
                or has_number(run + start + skip, end - start - skip, HEX)
            ):
                return True
        start = end
    return False


cdef int _read_joined(
    Reader* r, const unsigned char* packed, Py_ssize_t n, bint says, Depth* depth, const Run* run,
    Py_ssize_t first, Spans spans
) except -1:
    """1 where a run holds a text, behind what may be joined to it: a path, a prefix."""
    cdef Py_ssize_t i
    cdef int joints = 0
    for i in range(min(PREFIX, n - SHORTEST_RUN + 1)):
        if i > 0:
            if not is_joint(packed[i - 1]):
                continue
            joints += 1
            if joints > JOINTS:
                break
        if _read_run(
            r, packed + i, n - i, BASE64, True, says, depth, run.start, run.end, first, spans
        ):
            return 1
    return 0


cdef int _read_run(
    Reader* r, const unsigned char* run, Py_ssize_t n, int coding, bint as_text, bint says,
    Depth* depth, Py_ssize_t start, Py_ssize_t end, Py_ssize_t first, Spans spans
) except -1:
    """1 where a run is read: it is a text or, unless `as_text`, may hold a number.

    Adds a span for each finding; together they are what stands from `start` to `end`.
    """
    cdef unsigned char[SHORT_LAYER] short
    cdef unsigned char* out = short
    cdef bytes kept
    cdef Py_ssize_t middle = spans.count
    cdef Py_ssize_t to = middle
    cdef Py_ssize_t i
    cdef Span* span
    if not (is_text(run, n, coding) if as_text else has_number(run, n, coding)):
        return 0
    _take(depth, n)
    if n > SHORT_LAYER:
        kept = PyBytes_FromStringAndSize(NULL, n)
        out = <unsigned char*>PyBytes_AS_STRING(kept)
    n = decode(run, n, coding, out)
    if not as_text:
        _take_close(depth, out, n)
    _read_decoded(r, out, n, says, depth if as_text else NULL, spans)
    for i in range(middle, spans.count):
        span = &spans.items[i]
        if as_text or span.kind == CARD or span.kind == SSN:
            spans.items[to] = span[0]
            span = &spans.items[to]
            span.start = start + to - middle
            span.end = span.start + 1
            span.quoted = 0
            to += 1
    spans.count = to
    if to > middle:
        spans.items[to - 1].end = end
    _merge_last(spans, first, middle)
    return 1


def close_count(bytes data not None) -> int:
    """What a text that was undone twice counts for, before it is read. For tests."""
    return _close_of(data, len(data), True)


cpdef int vectors(int level):
    """Read JSON with vectors of at most this width from now on; the one that is used.

    0: byte by byte; 1: of 32 bytes; 2: of 64 bytes. For tests: all must find the same.
    """
    global _level
    _level = min(level, _best_level)
    text_vectors(_level)
    return _level


cpdef Spans scan(bytes data, int form):
    """Spans of what is found; for JSON also `error`, why it is not valid, or None.

    What stands behind an error is read all the same, as one text with JSON's escapes. A target
    is read as its path and its query. A body in which more is encoded than may be undone has no
    spans and that `error`, in every form.
    """
    cdef Spans spans = Spans.__new__(Spans)
    cdef Reader r
    cdef Depth depth
    cdef Memory memory
    cdef Py_ssize_t rest = 0
    cdef Py_ssize_t query
    cdef int wrong
    global _text
    if data is None:
        raise TypeError("data must be bytes")
    if not AS_JSON <= form <= AS_FORM:
        raise ValueError("an unknown form")
    r.p = data
    r.n = len(data)
    r.at = 0
    r.text = _text
    _text = NULL
    _begin(&memory, r.n)
    depth.json = JSON_LEVELS
    depth.coded = CODED_LEVELS
    depth.memory = &memory
    try:
        if form == AS_JSON:
            if _level != WALK_NONE and _walk_json(&r, False, &depth, spans) == VALID:
                return spans
            _forget(&memory)
            _begin(&memory, r.n)
            wrong = _read_json(&r, &rest, False, &depth, spans)
            if wrong:
                spans.error = _ERRORS[wrong]
                spans.error_at = r.at
                _read_whole(&r, rest, r.n, AS_JSON, &depth, spans)
        elif form == AS_TARGET:
            query = data.find(b"?") + 1
            if query == 0:
                query = r.n
            _read_whole(&r, 0, query, AS_TARGET, &depth, spans)
            _read_whole(&r, query, r.n, AS_FORM, &depth, spans)
        else:
            _read_whole(&r, 0, r.n, form, &depth, spans)
    except _TooMuch:
        spans.count = 0
        spans.error = _TOO_MUCH
        spans.error_at = 0
    finally:
        free(_text)
        _text = r.text
        _forget(&memory)
    return spans


cdef int _read_whole(
    Reader* r, Py_ssize_t start, Py_ssize_t end, int form, Depth* depth, Spans spans
) except -1:
    cdef Py_ssize_t first = spans.count
    read_text(r, start, end, form, NULL, spans)
    return _read_inside(r, start, end, form, NULL, depth, first, False, spans)


cdef bint is_too_much(Spans spans) noexcept:
    """Whether more was encoded in a body than may be undone; then nothing is known of it."""
    return spans.error is _TOO_MUCH


cdef bytes mark(const Span* span):
    """What a span is replaced by; valid JSON stays valid."""
    cdef bytes quote
    if not span.quoted:
        return _redacted[span.kind]
    # In JSON inside a string its quotes are escaped, once more at each level.
    quote = b"\\" * ((1 << (span.quoted - 1)) - 1) + b'"'
    return quote + _redacted[span.kind] + quote


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
        parts.append(mark(span))
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
