# cython: autotestdict=False
"""Tells which secret begins at a place in a text by its look; by what stands before it: said.pyx.

The shapes are those of iatp/values/secrets.py. A window holds enough for all but JWTs and private
keys, which are read on from the bytes as far as they go. tokens.h says where it is worth asking,
for these and for what said.pyx knows; docs/detection.md has the rules in full.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memset

import re
import zlib

from iatp.values import ibans, secrets

cdef enum:
    NO_POINT = 0x110000    # beyond Unicode
    MAX_TOKENS = 192
    MAX_PARTS = 5
    MAX_LITERAL = 8
    CHECKED = 36        # of a token with a checksum: so many letters and digits,
    CHECKSUM = 6        # the last of them the checksum
    HEADER_LEAST = 13   # of a JWT, behind eyJ
    MOST_FOLLOW = 12    # characters behind a prefix that are looked for at once
    HEADER_MOST = 400

cdef struct Part:
    uint16_t alphabet                 # its bit in _alphabets; 0: the literal
    uint16_t row                      # which bit that is
    uint8_t[MAX_LITERAL] literal
    int least
    int most

cdef struct Shape:
    int parts
    bint checked
    Part[MAX_PARTS] part
    int heads                         # how many of `head` stand before the prefix
    Part[MAX_PARTS] head

cdef TokenTable _table
cdef Shape[MAX_TOKENS] _shapes
cdef uint16_t[128] _alphabets         # of each character, the alphabets that it is in
cdef uint32_t[256] _crc
cdef int _telegram = secrets.NAMES.index("secret.telegram_token")
cdef int _jwt = secrets.NAMES.index("secret.jwt")
cdef int _private_key = secrets.NAMES.index("secret.private_key")


cdef list _members(str alphabet):
    """The characters of a class such as 0-9a-f_-."""
    cdef list found = []
    cdef Py_ssize_t at = 0
    while at < len(alphabet):
        if at + 2 < len(alphabet) and alphabet[at + 1] == "-":
            found += list(range(ord(alphabet[at]), ord(alphabet[at + 2]) + 1))
            at += 3
        else:
            found.append(ord(alphabet[at]))
            at += 1
    return found


cdef int _put_word(str word, int kind) except -1:
    """Adds a word to the table; of those that are several, the last."""
    # What stands behind its last letter beyond ASCII is enough to be asked for.
    cdef bytes text = re.sub("^.*[^!-~]", "", word).encode()
    cdef int number = _table.word_count
    cdef int at, pair
    if len(text) > 1:
        assert number < TOKEN_WORDS and len(text) <= TOKEN_WORD
        _table.word_count += 1
        _table.kinds[number] = kind
        _table.lengths[number] = len(text)
        for at in range(len(text)):
            _table.words[number][at] = text[at]
        at = len(text)
        pair = (<int>text[at - 2] - 97) * 26 + <int>text[at - 1] - 97
        _table.next[number] = _table.by_pair[pair]
        _table.by_pair[pair] = number
    return 0 if kind == TOKEN_TITLE else _put_end(word)


cdef int _put_end(str word) except -1:
    """Adds the last two letters of a word to the table of those before a value."""
    cdef int before = ord(word[len(word) - 2])
    cdef int last = ord(word[len(word) - 1])
    if before < 0x80 and last < 0x80:
        _table.ends[before - 97] |= <uint32_t>1 << (last - 97)
        return 0
    assert _table.wide_count < TOKEN_WIDE
    _table.wide[_table.wide_count].before = before
    _table.wide[_table.wide_count].last = last
    _table.wide_count += 1
    return 0


cdef int _fill() except -1:
    """Makes the tables from the data."""
    cdef int number, i, at
    cdef list bits = list(secrets.ALPHABETS)
    cdef list rows = [("eyJ", -1)]
    memset(&_table, 0, sizeof(_table))
    memset(_alphabets, 0, sizeof(_alphabets))
    _table.word_count = 1
    assert len(bits) <= MAX_ALPHABETS and len(secrets.TOKENS) <= MAX_TOKENS
    for number, alphabet in enumerate(bits):
        for code in _members(secrets.ALPHABETS[alphabet]):
            _alphabets[<int>code] |= 1 << number
    for number, token in enumerate(secrets.TOKENS):
        assert len(token.parts) <= MAX_PARTS
        _shapes[number].parts = len(token.parts)
        _shapes[number].checked = token.checked
        for i, part in enumerate(token.parts):
            if isinstance(part, str):
                assert len(part) < MAX_LITERAL
                _shapes[number].part[i].alphabet = 0
                memset(_shapes[number].part[i].literal, 0, MAX_LITERAL)
                for at in range(len(part)):
                    _shapes[number].part[i].literal[at] = ord(part[at])
            else:
                _shapes[number].part[i].row = bits.index(part[0])
                _shapes[number].part[i].alphabet = 1 << _shapes[number].part[i].row
                _shapes[number].part[i].least = part[1]
                _shapes[number].part[i].most = part[2]
        assert len(token.head) <= MAX_PARTS
        _shapes[number].heads = len(token.head)
        for i, part in enumerate(token.head):
            _shapes[number].head[i].alphabet = 1 << bits.index(part[0])
            _shapes[number].head[i].least = _shapes[number].head[i].most = part[1]
        if not token.head:
            rows += [(prefix, number) for prefix in token.prefixes]
    rows.sort(key=lambda row: (row[0][:2], -len(row[0])))
    assert len(rows) <= TOKEN_PREFIXES
    at = 0
    for i in range(129):
        while at < len(rows) and ord(rows[at][0][0]) < i:
            at += 1
        _table.first[i] = at
    for at, (prefix, number) in enumerate(rows):
        assert 2 <= len(prefix) <= 31
        _table.prefixes[at].length = len(prefix)
        _table.prefixes[at].number = number
        part = secrets.TOKENS[number].parts[0] if number >= 0 else ("word", HEADER_LEAST, 0)
        _table.prefixes[at].least = 0 if isinstance(part, str) else min(<int>part[1], MOST_FOLLOW)
        for i in range(len(prefix)):
            _table.prefixes[at].text[i] = ord(prefix[i])
        for code in prefix[1] + ("\\" if prefix[1] == "/" else ""):
            _table.seconds[<int>ord(prefix[0])][<int>ord(code) >> 6] |= (
                <unsigned long long>1 << (<int>ord(code) & 63)
            )
    _fill_anchors()
    for kind, known in (
        (TOKEN_SAYS, secrets.PASSWORDS), (TOKEN_SAYS, secrets.SECRETS),
        (TOKEN_SAYS, secrets.SCHEMES), (TOKEN_SAYS, secrets.SHORT_WORDS), (TOKEN_SAYS, ("sig",)),
        (TOKEN_VERB, secrets.VERBS), (TOKEN_LABEL, secrets.LABELS), (TOKEN_TITLE, secrets.TITLES),
    ):
        for word in known:
            _put_word(word, kind)
    for country in ibans.STRUCTURES:
        _table.countries[ord(country[0]) - 65] |= <uint32_t>1 << (<int>ord(country[1]) - 65)
    for i in range(256):
        # The entry that a byte of this value brings into an empty CRC.
        _crc[i] = _crc_entry(i)
    assert _crc_of_a() == zlib.crc32(b"a")
    return 0


cdef int _fill_anchors() except -1:
    """Adds the tokens whose fixed part stands inside."""
    cdef int number, at, i
    cdef list rows = sorted([
        (sum([count for _, count in token.head]), text, number)
        for number, token in enumerate(secrets.TOKENS) if token.head for text in token.prefixes
    ])
    cdef Head* head
    assert len(rows) <= TOKEN_ANCHORS
    _table.anchor_count = len(rows)
    for at, (length, text, number) in enumerate(rows):
        assert 0 < length <= TOKEN_HEAD and 2 <= len(text) <= 15
        assert length + len(text) + sum([
            len(part) if isinstance(part, str) else part[1]
            for part in secrets.TOKENS[number].parts
        ]) >= TOKEN_ANCHORED
        if at == 0 or rows[at - 1][0] != length:
            assert _table.head_count < TOKEN_HEADS
            _table.head_count += 1
            _table.heads[_table.head_count - 1].head = length
            _table.heads[_table.head_count - 1].first = at
        head = &_table.heads[_table.head_count - 1]
        head.end = at + 1
        _table.anchors[at].length = len(text)
        _table.anchors[at].number = number
        if "/" in "".join([secrets.ALPHABETS[name] for name, _ in secrets.TOKENS[number].head]):
            assert text[0] == "+" or "A" <= text[0] <= "Z"
            _table.anchors[at].slashes = 1
        for i in range(len(text)):
            _table.anchors[at].text[i] = ord(text[i])
        head.firsts[<int>ord(text[0]) >> 6] |= <unsigned long long>1 << (<int>ord(text[0]) & 63)
    return 0


cdef uint32_t _crc_entry(uint32_t value) noexcept nogil:
    cdef int _bit
    for _bit in range(8):
        # The polynomial of IEEE 802.3, its bits in reverse.
        value = (value >> 1) ^ (<uint32_t>0xedb88320 * (value & 1))
    return value


cdef uint32_t _crc_of_a() noexcept nogil:
    return ~((~<uint32_t>0 >> 8) ^ _crc[(~<uint32_t>0 ^ 97) & 0xff])


cdef TokenTable* token_table() noexcept nogil:
    """The table that tokens.h reads."""
    return &_table


cdef inline bint _is_in(uint32_t c, int alphabet) noexcept nogil:
    return c < 128 and _alphabets[c] & alphabet != 0


cdef void forget_runs(Window* w) noexcept nogil:
    """Called before a window is read whose code points moved, or became more."""
    memset(w.run_ends, 0, sizeof(w.run_ends))


cdef inline int _run_end(Window* w, int i, int row) noexcept nogil:
    """Where the run of an alphabet's characters ends that `i` is in.

    Each is gone through once in a window, wherever in it tokens begin.
    """
    cdef int at = i
    if w.run_starts[row] <= i < w.run_ends[row]:
        return w.run_ends[row]
    while at < w.n and _is_in(w.cp[at], 1 << row):
        at += 1
    w.run_starts[row] = i
    w.run_ends[row] = at
    return at


cdef int _shape_end(Window* w, int i, Shape* shape) noexcept nogil:
    """Where a token ends whose prefix ends at `i`, or -1."""
    cdef int number, at
    cdef int count = 0
    cdef int body = i
    cdef Part* part
    cdef int alphabet = 0
    for number in range(shape.parts):
        part = &shape.part[number]
        if part.alphabet == 0:
            at = 0
            while part.literal[at] != 0:
                if i >= w.n or w.cp[i] != part.literal[at]:
                    return NOTHING
                i += 1
                at += 1
            continue
        alphabet = part.alphabet
        count = min(_run_end(w, i, part.row) - i, part.most)
        if count < part.least:
            return NOTHING
        i += count
    if _is_in(c'.', alphabet):
        # The dot that ends a sentence is none of a token's.
        while count > part.least and w.cp[i - 1] == c'.':
            count -= 1
            i -= 1
    if i < w.n and (is_alnum(w.cp[i]) or _is_in(w.cp[i], alphabet)):
        if w.cp[i] == c'.' and (i + 1 == w.n or not is_alnum(w.cp[i + 1])):
            return i
        return body + CHECKED if shape.checked and _is_checked(w, body) else NOTHING
    return i


cdef bint _has_head(Window* w, int i, Shape* shape) noexcept nogil:
    """Whether what stands at `i` is the head of this shape; the window has all of it."""
    cdef int number, _place
    for number in range(shape.heads):
        for _place in range(shape.head[number].least):
            if not _is_in(w.cp[i], shape.head[number].alphabet):
                return False
            i += 1
    return True


cdef int _anchored_at(Window* w, int i, Py_ssize_t* end) noexcept nogil:
    """Which token with a fixed part inside begins at `i`, and its `end` in bytes; or NOTHING."""
    cdef int number, at, body, stop
    cdef Head* head
    cdef Anchor* anchor
    cdef uint32_t c
    if w.n - i < TOKEN_ANCHORED or (i > 0 and is_run(w.cp[i - 1])):
        return NOTHING
    # All of the shortest such token is of these; mostly its end is not.
    for at in range(TOKEN_ANCHORED - 1, -1, -1):
        c = w.cp[i + at]
        if not is_run(c) and c != c'.':
            return NOTHING
    for number in range(_table.head_count):
        head = &_table.heads[number]
        if i + head.head >= w.n:
            break
        c = w.cp[i + head.head]
        if c > 127 or not head.firsts[c >> 6] >> (c & 63) & 1:
            continue
        for at in range(head.first, head.end):
            anchor = &_table.anchors[at]
            body = i + head.head
            stop = body + anchor.length
            if stop > w.n:
                continue
            while body < stop and w.cp[body] == anchor.text[body - i - head.head]:
                body += 1
            if body < stop or not _has_head(w, i, &_shapes[anchor.number]):
                continue
            stop = _shape_end(w, body, &_shapes[anchor.number])
            if stop >= 0:
                end[0] = w.pos[stop]
                return anchor.number
    return NOTHING


cdef bint _is_checked(Window* w, int body) noexcept nogil:
    """Whether CHECKED letters and digits end in the CRC-32 of the others, in base 62."""
    cdef uint32_t crc = ~<uint32_t>0
    cdef uint32_t c
    cdef int i, digit
    if body + CHECKED > w.n:
        return False
    for i in range(body, body + CHECKED):
        if not is_alnum(w.cp[i]):
            return False
    for i in range(body, body + CHECKED - CHECKSUM):
        crc = (crc >> 8) ^ _crc[(crc ^ w.cp[i]) & 0xff]
    crc = ~crc
    for i in range(body + CHECKED - 1, body + CHECKED - CHECKSUM - 1, -1):
        c = w.cp[i]
        digit = c - c'0' if c <= c'9' else c - c'A' + 10 if c <= c'Z' else c - c'a' + 36
        if crc % 62 != <uint32_t>digit:
            return False
        crc //= 62
    return True


cdef struct Cursor:
    # Reads code points from the bytes; `cp` is the one at `at`, NO_POINT at the end.
    Window* w
    Py_ssize_t at
    Py_ssize_t next
    uint32_t cp


cdef inline void _step(Cursor* c) noexcept nogil:
    c.at = c.next
    if c.at >= c.w.end:
        c.cp = NO_POINT
        return
    c.next = c.w.read(c.w.p, c.at, c.w.end, c.w.form, &c.cp)


cdef inline Cursor _cursor(Window* w, Py_ssize_t at) noexcept nogil:
    cdef Cursor c
    c.w = w
    c.next = at
    c.at = at
    c.cp = NO_POINT
    _step(&c)
    return c


cdef Py_ssize_t _run(Cursor* c) noexcept nogil:
    """How many characters of base64url follow; the cursor is behind them."""
    cdef Py_ssize_t count = 0
    while is_word(c.cp):
        count += 1
        _step(c)
    return count


cdef bint _is_header(Window* w, int low, int high) noexcept nogil:
    """Whether this is an object with "alg" in base64url."""
    cdef unsigned char[320] data
    cdef int i, n = 0, bits = 0
    cdef uint32_t c, value = 0
    if (high - low) % 4 == 1:
        return False
    for i in range(low, high):
        c = w.cp[i]
        if c == c'-':
            value = value << 6 | 62
        elif c == c'_':
            value = value << 6 | 63
        elif c <= c'9':
            value = value << 6 | (c - c'0' + 52)
        elif c <= c'Z':
            value = value << 6 | (c - c'A')
        else:
            value = value << 6 | (c - c'a' + 26)
        bits += 6
        if bits >= 8:
            bits -= 8
            data[n] = <unsigned char>(value >> bits)
            n += 1
    if n < 2 or data[0] != c'{' or data[n - 1] != c'}':
        return False
    for i in range(n - 4):
        if (
            data[i] == c'"' and data[i + 1] == c'a' and data[i + 2] == c'l'
            and data[i + 3] == c'g' and data[i + 4] == c'"'
        ):
            return True
    return False


cdef Py_ssize_t _jwt_end(Window* w, int i) noexcept nogil:
    """Where the JWT ends whose eyJ stands at `i`, or -1."""
    cdef int at = max(i + 3, w.known)
    cdef Cursor c
    while at < w.n and at - i <= HEADER_MOST + 3 and is_word(w.cp[at]):
        at += 1
    w.known = at
    if at - i - 3 < HEADER_LEAST or at - i - 3 > HEADER_MOST or at >= w.n or w.cp[at] != c'.':
        return NOTHING
    if w.pos[at] == w.dead or not _is_header(w, i, at):
        return NOTHING
    c = _cursor(w, w.pos[at + 1])
    if _run(&c) >= 4 and c.cp == c'.':
        _step(&c)
        if _run(&c) >= 16:
            return c.at
    w.dead = w.pos[at]
    return NOTHING


cdef int _telegram_end(Window* w, int i) noexcept nogil:
    cdef int at = i
    while at < w.n and at - i < 10 and c'0' <= w.cp[at] <= c'9':
        at += 1
    if at - i < 8 or not stands(w, at, b":AA"):
        return NOTHING
    i = at + 3
    at = i
    while at < w.n and at - i < 34 and is_word(w.cp[at]):
        at += 1
    return at if at - i == 33 else NOTHING


cdef inline bint _skip_space(Cursor* c) noexcept nogil:
    """Whether white space stood here, a \\n that is still escaped too; it is passed."""
    cdef Cursor then
    if c.cp in (c' ', c'\t', c'\r', c'\n'):
        _step(c)
        return True
    if c.cp == c'\\':
        then = c[0]
        _step(&then)
        if then.cp in (c'n', c'r', c't'):
            _step(&then)
            c[0] = then
            return True
    return False


cdef inline void _skip_spaces(Cursor* c, int most) noexcept nogil:
    while most > 0 and _skip_space(c):
        most -= 1


cdef bint _skip_header(Cursor* c) noexcept nogil:
    """Whether a line such as `Proc-Type: 4,ENCRYPTED` stood here; it is passed."""
    cdef Cursor then = c[0]
    cdef int count
    _skip_spaces(&then, 4)
    if not c'A' <= then.cp <= c'Z':
        return False
    _step(&then)
    count = 0
    while count < 20 and (c'a' <= (then.cp | 0x20) <= c'z' or then.cp == c'-'):
        count += 1
        _step(&then)
    if count < 2 or then.cp != c':':
        return False
    _step(&then)
    if then.cp != c' ':
        return False
    _step(&then)
    count = 0
    while count < 80 and then.cp not in (c'\r', c'\n', c'\\', NO_POINT):
        count += 1
        _step(&then)
    if not _skip_space(&then):
        return False
    c[0] = then
    return True


cdef inline int _skip_base64(Cursor* c, int most) noexcept nogil:
    """How many characters of padded base64 follow, counted up to `most`; they are passed."""
    cdef int count = 0
    while count < most and (is_base64(c.cp) or c.cp == c'='):
        count += 1
        _step(c)
    return count


cdef bint _skip_text(Cursor* c, const char* text) noexcept nogil:
    cdef int at = 0
    while text[at] != 0:
        if c.cp != <uint32_t>text[at]:
            return False
        _step(c)
        at += 1
    return True


cdef bint _skip_end(Cursor* c) noexcept nogil:
    """Whether a short last line and the END line follow; they are passed."""
    cdef Cursor then = c[0]
    cdef int _lines, count
    _skip_spaces(&then, 8)
    for _lines in range(2):
        if _skip_base64(&then, 15) == 0:
            break
        _skip_spaces(&then, 8)
    if not _skip_text(&then, b"-----END "):
        return False
    count = 0
    while count < 60 and (c'A' <= then.cp <= c'Z' or c'0' <= then.cp <= c'9' or then.cp == c' '):
        count += 1
        _step(&then)
    if count == 0 or not _skip_text(&then, b"-----"):
        return False
    c[0] = then
    return True


cdef Py_ssize_t _private_key_end(Window* w, int i) noexcept nogil:
    """Where the PEM of a private key ends whose dashes stand at `i`, or -1.

    All up to the END line; without one, up to the end of its base64.
    """
    cdef int at = i + 11
    cdef int _word, headers, length
    cdef bint found
    cdef Cursor c, then
    if not stands(w, i, b"-----BEGIN "):
        return NOTHING
    for _word in range(4):
        if stands(w, at, b"PRIVATE KEY-----"):
            at += 16
            break
        if stands(w, at, b"PRIVATE KEY BLOCK-----"):
            at += 22
            break
        length = 0
        while (
            length < 12 and at < w.n
            and (c'A' <= w.cp[at] <= c'Z' or c'0' <= w.cp[at] <= c'9')
        ):
            length += 1
            at += 1
        if length == 0 or at >= w.n or w.cp[at] != c' ':
            return NOTHING
        at += 1
    else:
        return NOTHING
    c = _cursor(w, w.pos[at])
    headers = 0
    while headers < 4 and _skip_header(&c):
        headers += 1
    found = False
    while True:
        then = c
        _skip_spaces(&then, 8)
        if _skip_base64(&then, TOKEN_RUN) < TOKEN_RUN:
            break
        while is_base64(then.cp) or then.cp == c'=':
            _step(&then)
        c = then
        found = True
    if _skip_end(&c):
        found = True
    return c.at if found else NOTHING


cdef int token_at(Window* w, int i, Py_ssize_t* end) noexcept nogil:
    """Which secret begins at `i` by its look, and its `end` in bytes; or NOTHING."""
    cdef uint32_t c = w.cp[i]
    cdef int at, length, stop
    cdef Prefix* prefix
    if c == c'-':
        end[0] = _private_key_end(w, i)
        if end[0] >= 0:
            return _private_key
    if i > 0 and is_alnum(w.cp[i - 1]):
        return NOTHING
    if i + 1 >= w.n or w.cp[i + 1] > 127:
        return NOTHING
    if not is_alnum(c):
        return _anchored_at(w, i, end)
    at = length = 0
    if _table.seconds[c][w.cp[i + 1] >> 6] >> (w.cp[i + 1] & 63) & 1:
        at = _table.first[c]
        length = _table.first[c + 1]
    for at in range(at, length):
        prefix = &_table.prefixes[at]
        length = prefix.length
        if i + length > w.n:
            continue
        stop = 1
        while stop < length and w.cp[i + stop] == prefix.text[stop]:
            stop += 1
        if stop < length or prefix.number < 0:
            continue
        stop = _shape_end(w, i + length, &_shapes[prefix.number])
        if stop >= 0:
            end[0] = w.pos[stop]
            return prefix.number
    at = _anchored_at(w, i, end)
    if at >= 0:
        return at
    if c == c'e' and stands(w, i, b"eyJ"):
        end[0] = _jwt_end(w, i)
        if end[0] >= 0:
            return _jwt
    if c <= c'9':
        stop = _telegram_end(w, i)
        if stop >= 0:
            end[0] = w.pos[stop]
            return _telegram
    return NOTHING


_fill()
