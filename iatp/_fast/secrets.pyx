# cython: autotestdict=False
"""Tells which secret begins at a place in a text: by its look, or by what stands before it.

The shapes and words are those of iatp/values/secrets.py. All looks at most 64 code points back;
forward a window holds enough for all but JWTs and private keys, which are read on from the bytes
as far as they go. tokens.h says where it is worth asking; docs/detection.md has the rules in full.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memset

import zlib

from iatp.values import ibans, secrets

cdef enum:
    NOTHING = -1
    NO_POINT = 0x110000    # beyond Unicode

cdef enum:
    MAX_TOKENS = 192
    MAX_PARTS = 5
    MAX_LITERAL = 8
    MAX_WORDS = 32
    MAX_WORD = 20
    CHECKED = 36        # of a token with a checksum: so many letters and digits,
    CHECKSUM = 6        # the last of them the checksum
    HEADER_LEAST = 13   # of a JWT, behind eyJ
    HEADER_MOST = 400
    USER = 40
    PASSWORD = 80
    VALUE_MOST = 256
    GAP = 16            # code points between a word and its value
    LINES = 6           # line ends and spaces between the name of a multipart field and its value
    FIELD = 32          # of a field's name in a form, behind &
    KEY_LEAST = 32      # of a key that begins with a slash, which
    KEY_SLASH = 10      # has one in so many characters at most

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
cdef int[257] _entropy
cdef int _least_entropy = secrets.LEAST_ENTROPY
cdef char[MAX_WORDS][MAX_WORD] _words
cdef int[MAX_WORDS] _word_says
cdef int[MAX_WORDS] _word_length
cdef int _word_count = 0
cdef char[8][MAX_WORD] _not_tokens
cdef int _not_token_count = 0
cdef int _telegram = secrets.NAMES.index("secret.telegram_token")
cdef int _jwt = secrets.NAMES.index("secret.jwt")
cdef int _private_key = secrets.NAMES.index("secret.private_key")
cdef int _url_password = secrets.NAMES.index("secret.url_password")
cdef int _azure_signature = secrets.NAMES.index("secret.azure_signature")
cdef int _azure_account_key = secrets.NAMES.index("secret.azure_account_key")
cdef int _password = secrets.NAMES.index("secret.password")
cdef int _named = secrets.NAMES.index("secret.named")


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


cdef void _put_pair(uint32_t* pairs, str text) except *:
    """Adds the last two letters of a text to a table of them."""
    cdef bytes last = text.lower().encode()[len(text) - 2:]
    pairs[<int>last[0] - 97] |= <uint32_t>1 << (<int>last[1] - 97)


cdef int _fill() except -1:
    """Makes the tables from the data."""
    cdef int number, i, at, says
    cdef list bits = list(secrets.ALPHABETS)
    cdef list rows = [("eyJ", -1)]
    global _word_count, _not_token_count
    memset(&_table, 0, sizeof(_table))
    memset(_alphabets, 0, sizeof(_alphabets))
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
    rows.sort(key=lambda row: (row[0][0], -len(row[0])))
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
        for i in range(len(prefix)):
            _table.prefixes[at].text[i] = ord(prefix[i])
        for code in prefix[1] + ("\\" if prefix[1] == "/" else ""):
            _table.seconds[<int>ord(prefix[0])][<int>ord(code) >> 6] |= (
                <unsigned long long>1 << (<int>ord(code) & 63)
            )
    _fill_anchors()
    for says, known in (
        (SAYS_PASSWORD, secrets.PASSWORDS), (SAYS_SECRET, secrets.SECRETS),
        (SAYS_SCHEME, secrets.SCHEMES),
    ):
        for word in known:
            assert _word_count < MAX_WORDS and len(word) < MAX_WORD
            memset(_words[_word_count], 0, MAX_WORD)
            for at in range(len(word)):
                _words[_word_count][at] = ord(word[at])
            _word_says[_word_count] = says
            _word_length[_word_count] = len(word)
            _word_count += 1
            _put_pair(_table.ends, word)
    # Before the words that stand between a word and its value, and before sig=.
    for word in ("is", "was", "sig"):
        _put_pair(_table.ends, word)
    for word in secrets.NOT_TOKENS:
        memset(_not_tokens[_not_token_count], 0, MAX_WORD)
        for at in range(len(word)):
            _not_tokens[_not_token_count][at] = ord(word[at])
        _not_token_count += 1
    for country in ibans.STRUCTURES:
        _put_pair(_table.countries, country)
    for i in range(257):
        _entropy[i] = secrets.ENTROPY[i]
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


# Code points.


cdef inline bint _is_alnum(uint32_t c) noexcept nogil:
    return c'0' <= c <= c'9' or c'a' <= (c | 0x20) <= c'z'


cdef inline bint _is_in(uint32_t c, int alphabet) noexcept nogil:
    return c < 128 and _alphabets[c] & alphabet != 0


cdef inline bint _is_word(uint32_t c) noexcept nogil:
    return _is_alnum(c) or c == c'_' or c == c'-'


cdef inline bint _is_base64(uint32_t c) noexcept nogil:
    return _is_alnum(c) or c == c'+' or c == c'/'


cdef bint is_run(uint32_t c) noexcept nogil:
    return _is_word(c) or c in (c'+', c'/', c'~', c'^', 0x7f)


cdef inline uint32_t _small(uint32_t c) noexcept nogil:
    return c | 0x20 if c'A' <= c <= c'Z' else c


cdef bint _stands(Window* w, int i, const char* text) noexcept nogil:
    """Whether this text stands at `i`."""
    cdef int at = 0
    while text[at] != 0:
        if i + at >= w.n or w.cp[i + at] != <uint32_t>text[at]:
            return False
        at += 1
    return True


cdef bint _ended(Window* w, int i, const char* text, int length) noexcept nogil:
    """Whether this text stands before `i`."""
    return i >= length and _stands(w, i - length, text)


cdef void forget_runs(Window* w) noexcept nogil:
    """Called before a window is read whose code points moved, or became more."""
    memset(w.run_ends, 0, sizeof(w.run_ends))


cdef inline int _run_end(Window* w, int i, int row) noexcept nogil:
    """Where the run that `i` is in ends: of an alphabet's characters, or of those of a value.

    Each is gone through once in a window, wherever in it tokens and values begin.
    """
    cdef int at = i
    if w.run_starts[row] <= i < w.run_ends[row]:
        return w.run_ends[row]
    if row == VALUE_ROW:
        while at < w.n and _is_value(w, at):
            at += 1
    else:
        while at < w.n and _is_in(w.cp[at], 1 << row):
            at += 1
    w.run_starts[row] = i
    w.run_ends[row] = at
    return at


# Tokens.


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
    if i < w.n and (_is_alnum(w.cp[i]) or _is_in(w.cp[i], alphabet)):
        if w.cp[i] == c'.' and (i + 1 == w.n or not _is_alnum(w.cp[i + 1])):
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
    c = w.cp[i + TOKEN_ANCHORED - 1]
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
        if not _is_alnum(w.cp[i]):
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
    while _is_word(c.cp):
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
    while at < w.n and at - i <= HEADER_MOST + 3 and _is_word(w.cp[at]):
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
    if at - i < 8 or not _stands(w, at, b":AA"):
        return NOTHING
    i = at + 3
    at = i
    while at < w.n and at - i < 34 and _is_word(w.cp[at]):
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
    while count < most and (_is_base64(c.cp) or c.cp == c'='):
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
    if not _stands(w, i, b"-----BEGIN "):
        return NOTHING
    for _word in range(4):
        if _stands(w, at, b"PRIVATE KEY-----"):
            at += 16
            break
        if _stands(w, at, b"PRIVATE KEY BLOCK-----"):
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
        while _is_base64(then.cp) or then.cp == c'=':
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
    if i > 0 and _is_alnum(w.cp[i - 1]):
        return NOTHING
    if i + 1 >= w.n or w.cp[i + 1] > 127:
        return NOTHING
    if not _is_alnum(c):
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
    if c == c'e' and _stands(w, i, b"eyJ"):
        end[0] = _jwt_end(w, i)
        if end[0] >= 0:
            return _jwt
    if c <= c'9':
        stop = _telegram_end(w, i)
        if stop >= 0:
            end[0] = w.pos[stop]
            return _telegram
    return NOTHING


# Places that say secret.


cdef int word_before(const uint32_t* cp, int end) noexcept nogil:
    """SAYS_…: which word of those that say secret ends at `end`; SAYS_NOTHING where none does."""
    cdef int number, at, i
    cdef uint32_t c
    cdef uint32_t last = _small(cp[end - 1]) if end > 0 else 0
    for number in range(_word_count):
        i = _word_length[number]
        if <uint32_t>_words[number][i - 1] != last:
            continue
        at = end
        while i > 0:
            c = <uint32_t>_words[number][i - 1]
            if c == c' ':
                if at > 0 and cp[at - 1] in (c' ', c'_', c'-', c'.'):
                    at -= 1
            elif at > 0 and _small(cp[at - 1]) == c:
                at -= 1
            else:
                break
            i -= 1
        if i > 0:
            continue
        if _word_says[number] == SAYS_SCHEME and at > 0 and _is_alnum(cp[at - 1]):
            return SAYS_NOTHING
        if _words[number][0] == c't' and _follows_list(cp, at):
            return SAYS_NOTHING
        return _word_says[number]
    return SAYS_NOTHING


cdef bint _follows_list(const uint32_t* cp, int at) noexcept nogil:
    """Whether what stands before `token` makes it the place where a list goes on."""
    cdef int number, i, length, end
    for number in range(_not_token_count):
        length = 0
        while _not_tokens[number][length] != 0:
            length += 1
        for end in range(at, at - 2, -1):
            if end < at and (end < 0 or cp[end] not in (c' ', c'_', c'.', c'-')):
                break
            i = 0
            while (
                i < length and end - i > 0
                and _small(cp[end - 1 - i]) == <uint32_t>_not_tokens[number][length - 1 - i]
            ):
                i += 1
            if i == length:
                return True
    return False


cdef inline bint _is_quote(uint32_t c) noexcept nogil:
    return c in (c'"', c'\'', c'`', c'\\')


cdef bint _begins_part(const uint32_t* cp, int low, int high) noexcept nogil:
    """Whether a quote, the end of its line and an empty line are all that stands between."""
    cdef int at = low + 1
    cdef int lines = 0
    if low == high or cp[low] != c'"':
        return False
    while at < high and at - low <= LINES and cp[at] in (c'\r', c'\n'):
        lines += cp[at] == c'\n'
        at += 1
    return at == high and lines == 2


cdef bint _assigns(const uint32_t* cp, int low, int high, int is_at, int is_end) noexcept nogil:
    """Whether what stands between a word and its value says that this is the value.

    `is_at` and `is_end`: where a word `is` or `was` stands in it; 0 where none does.
    """
    cdef int at = low
    if not is_at and (high - low == 1 and cp[low] == c'>' or _begins_part(cp, low, high)):
        return True
    while at < high and at - low < 3 and (_is_quote(cp[at]) or cp[at] == c']'):
        at += 1
    low = at
    while at < high and at - low < 3 and cp[at] in (c' ', c'\t'):
        at += 1
    if is_at:
        if at != is_at or at == low:
            return False
        at = is_end
        if at == high or cp[at] not in (c' ', c'\t'):
            return False
    elif at < high and cp[at] == c'=' and at + 1 < high and cp[at + 1] == c'>':
        at += 2
    else:
        low = at
        while at < high and at - low < 2 and cp[at] in (c'=', c':'):
            at += 1
        if at == low:
            return False
    low = at
    while at < high and at - low < 3 and cp[at] in (c' ', c'\t'):
        at += 1
    low = at
    while at < high and at - low < 3 and _is_quote(cp[at]):
        at += 1
    return at == high


cdef int _announced(const uint32_t* cp, int i) noexcept nogil:
    """SAYS_…: which word announces the value that begins at `i`."""
    cdef int low = i
    cdef int is_at, is_end, says
    cdef int least = i - GAP if i > GAP else 1
    while low >= least and not _is_alnum(cp[low - 1]):
        low -= 1
    if low < max(least, 2) or low == i or not token_pair(
        _table.ends, <unsigned char>cp[low - 2], <unsigned char>cp[low - 1]
    ):
        return SAYS_NOTHING
    says = word_before(cp, low)
    if says:
        if _assigns(cp, low, i, 0, 0):
            return says
        if cp[low] == c' ' and (i - low == 1 or (i - low == 2 and cp[low + 1] == c' ')):
            if says == SAYS_SCHEME or (says == SAYS_SECRET and _ends_token(cp, low)):
                return says
        # PASSWORD 'x' of SQL.
        if says == SAYS_PASSWORD and i - low == 2 and cp[low] == c' ' and cp[low + 1] in (
            c'"', c'\''
        ):
            return says
    # `is` or `was` between.
    is_end = low
    if low > 1 and cp[low - 1] == c's' and cp[low - 2] == c'i':
        low -= 2
    elif low > 2 and cp[low - 1] == c's' and cp[low - 2] == c'a' and cp[low - 3] == c'w':
        low -= 3
    else:
        return SAYS_NOTHING
    is_at = low
    while low >= least and not _is_alnum(cp[low - 1]):
        low -= 1
    if low < least or low == is_at or not _assigns(cp, low, i, is_at, is_end):
        return SAYS_NOTHING
    return word_before(cp, low)


cdef bint _ends_token(const uint32_t* cp, int end) noexcept nogil:
    cdef int i
    cdef const char* word = b"token"
    if end < 5:
        return False
    for i in range(5):
        if _small(cp[end - 5 + i]) != <uint32_t>word[i]:
            return False
    return True


cdef bint _begins_long(const uint32_t* cp, int low, int high) noexcept nogil:
    """Whether the first sixteen of these are such as runs in a text are found by."""
    cdef int i
    if high - low < TOKEN_RUN:
        return False
    for i in range(low, low + TOKEN_RUN):
        if not is_run(cp[i]):
            return False
    return True


cdef bint _is_uuid(const uint32_t* cp, int low, int high) noexcept nogil:
    cdef int i
    cdef uint32_t c
    if high - low != 36:
        return False
    for i in range(36):
        c = cp[low + i]
        if i in (8, 13, 18, 23):
            if c != c'-':
                return False
        elif not (c'0' <= c <= c'9' or c'a' <= (c | 0x20) <= c'f'):
            return False
    return True


cdef bint _is_key(const uint32_t* cp, int low, int high) noexcept nogil:
    """Whether this is a key in base64 and no path, though it begins with a slash."""
    cdef int n = high - low
    cdef int slashes = 0
    cdef int digits = 0
    cdef int capitals = 0
    cdef int i
    while high > low and cp[high - 1] == c'=':
        high -= 1
    for i in range(low, high):
        if not _is_base64(cp[i]):
            return False
        slashes += cp[i] == c'/'
        digits += c'0' <= cp[i] <= c'9'
        capitals += c'A' <= cp[i] <= c'Z'
    return n >= KEY_LEAST and slashes * KEY_SLASH <= n and digits > 1 and capitals > 3


cdef bint _is_strong(const uint32_t* cp, int low, int high) noexcept nogil:
    """Whether a value looks made up by chance, and not like a word, an ID or a placeholder."""
    cdef int[128] counts
    cdef bint[4] classes
    cdef int n = high - low
    cdef int i, entropy
    cdef uint32_t c = cp[low]
    cdef uint32_t second = cp[low + 1]
    if n > VALUE_MOST:
        return False
    if c == c'/' and not _is_key(cp, low, high):
        return False
    if (
        c in (c'<', c'[', c'%') or (c == c'$' and second in (c'{', c'('))
        or (c == c'{' and second == c'{') or (c == c'.' and second == c'/')
        or (c == c'*' and second == c'*' and cp[low + 2] == c'*')
    ):
        return False
    memset(counts, 0, sizeof(counts))
    memset(classes, 0, sizeof(classes))
    for i in range(low, high):
        c = cp[i]
        counts[c & 0x7f] += 1
        if c'0' <= c <= c'9':
            classes[0] = True
        elif c'a' <= c <= c'z':
            classes[1] = True
        elif c'A' <= c <= c'Z':
            classes[2] = True
        else:
            classes[3] = True
            if c == c':' and i + 2 < high and cp[i + 1] == c'/' and cp[i + 2] == c'/':
                return False
    if not ((classes[1] or classes[2]) and classes[0]):
        if classes[0] + classes[1] + classes[2] + classes[3] < 3:
            return False
    if _is_uuid(cp, low, high):
        return False
    entropy = _entropy[n]
    for i in range(128):
        entropy -= _entropy[counts[i]]
    return entropy >= _least_entropy * n


cdef inline bint _is_value(Window* w, int i) noexcept nogil:
    """Whether the code point at `i` may be part of a value in a text."""
    cdef uint32_t c = w.cp[i]
    cdef int at
    if c <= 0x20 or c >= 0x7f or c in (
        c'"', c'\'', c'`', c',', c';', c'<', c'>', c'(', c')', c'{', c'}', c'[', c']', c'|', c'\\'
    ):
        return False
    if c != c'&':
        return True
    at = i + 1
    while at < w.n and at - i <= FIELD and (_is_word(w.cp[at]) or w.cp[at] == c'.'):
        at += 1
    return at == i + 1 or at >= w.n or w.cp[at] != c'='


cdef int value_of(Window* w, int says, Py_ssize_t* end) noexcept nogil:
    """Which secret the whole text is, as the value of a key that says so; or NOTHING."""
    cdef int i
    if w.n < 8 or w.n > VALUE_MOST or w.pos[w.n] != w.end:
        return NOTHING
    for i in range(w.n):
        if w.cp[i] <= 0x20 or w.cp[i] >= 0x7f:
            return NOTHING
    if says == SAYS_NOTHING or not _is_strong(w.cp, 0, w.n):
        return NOTHING
    if says == SAYS_SCHEME and not _begins_long(w.cp, 0, w.n):
        return NOTHING
    end[0] = w.end
    return _password if says == SAYS_PASSWORD else _named


cdef int _url_end(Window* w, int i) noexcept nogil:
    """Where `user:password` ends that stands at `i` and before an @, or -1."""
    cdef int at = i
    cdef int low
    cdef uint32_t c
    while at < w.n and at - i < USER:
        c = w.cp[at]
        if c in (c'/', c'@', c':', c'"', c'\'', c'<', c'>', c'?', c'#', c'\\') or _is_blank(c):
            break
        at += 1
    if at >= w.n or w.cp[at] != c':':
        return NOTHING
    low = at + 1
    at = low
    while at < w.n and at - low < PASSWORD:
        c = w.cp[at]
        if c in (c'/', c'@', c'"', c'\'', c'<', c'>', c'\\') or _is_blank(c):
            break
        at += 1
    if at == low or at + 1 >= w.n or w.cp[at] != c'@':
        return NOTHING
    if not (_is_alnum(w.cp[at + 1]) or w.cp[at + 1] == c'['):
        return NOTHING
    c = w.cp[low]
    if c == c'$' and (w.cp[low + 1] in (c'{', c'(') or c'A' <= w.cp[low + 1] <= c'Z'):
        return NOTHING
    if (c == c'{' or c == c'*') and w.cp[low + 1] == c:
        return NOTHING
    return at


cdef inline bint _is_blank(uint32_t c) noexcept nogil:
    return c == c' ' or 9 <= c <= 13


cdef int _signature_end(Window* w, int i) noexcept nogil:
    cdef int at = i
    cdef int run = 0
    cdef bint long_ = False
    while at < w.n and at - i < 120 and (_is_base64(w.cp[at]) or w.cp[at] == c'%'):
        run = 0 if w.cp[at] == c'%' else run + 1
        long_ = long_ or run == TOKEN_RUN
        at += 1
    if at - i < 43 or not long_:
        return NOTHING
    return at + 1 if at < w.n and w.cp[at] == c'=' else at


cdef int _account_end(Window* w, int i) noexcept nogil:
    cdef int at = i
    cdef int low
    while at < w.n and at - i < 100 and _is_base64(w.cp[at]):
        at += 1
    if at - i < 40:
        return NOTHING
    low = at
    while at < w.n and at - low < 2 and w.cp[at] == c'=':
        at += 1
    return at


cdef int said_at(Window* w, int i, Py_ssize_t* end) noexcept nogil:
    """Which secret begins at `i` by what stands before it, and its `end`; or NOTHING."""
    cdef uint32_t before
    cdef int at, says
    if i == 0:
        return NOTHING
    before = w.cp[i - 1]
    if before == c'/':
        if _ended(w, i, b"://", 3):
            at = _url_end(w, i)
            if at >= 0:
                end[0] = w.pos[at]
                return _url_password
        return NOTHING
    if before == c'=':
        if _ended(w, i, b"sig=", 4) and (i == 4 or not _is_alnum(w.cp[i - 5])):
            at = _signature_end(w, i)
            if at >= 0:
                end[0] = w.pos[at]
                return _azure_signature
        if _ended(w, i, b"AccountKey=", 11) or _ended(w, i, b"SharedAccessKey=", 16):
            at = _account_end(w, i)
            if at >= 0:
                end[0] = w.pos[at]
                return _azure_account_key
    if not is_gap(before) or is_gap(w.cp[i]) or not _is_value(w, i):
        return NOTHING
    says = _announced(w.cp, i)
    if says == SAYS_NOTHING:
        return NOTHING
    at = min(_run_end(w, i, VALUE_ROW), i + VALUE_MOST + 1)
    while at > i and w.cp[at - 1] in (c'.', c'!', c'?', c':'):
        at -= 1
    if at - i < 8 or (says != SAYS_PASSWORD and not _begins_long(w.cp, i, at)):
        return NOTHING
    if not _is_strong(w.cp, i, at):
        return NOTHING
    end[0] = w.pos[at]
    return _password if says == SAYS_PASSWORD else _named


cdef bint is_gap(uint32_t c) noexcept nogil:
    return c in (
        c' ', c'\t', c'\r', c'\n', c'"', c'\'', c'`', c'=', c':', c'\\', c']', c'>'
    )


_fill()
