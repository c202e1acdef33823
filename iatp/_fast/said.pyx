# cython: autotestdict=False
"""Tells which secret begins at a place in a text by what stands before it: a word that says so, a
flag, a field, the signs of a URL.

The words are those of iatp/values/secrets.py. All looks at most 128 code points back, and ahead no
further than the window. tokens.h says where it is worth asking; docs/detection.md has the rules.
"""

from libc.stdint cimport uint32_t
from libc.string cimport memset

from iatp.values import secrets

from iatp._fast.secrets cimport (
    NOTHING, TOKEN_RUN, VALUE_ROW, TokenTable, Window, ended, fold, is_alnum, is_base64, is_run,
    is_word, token_pair, token_table,
)

cdef enum:
    MAX_WORDS = 48
    MAX_WORD = 20
    USER = 40
    PASSWORD = 80
    VALUE_MOST = 256
    NAMED_LEAST = 8     # of the value of a key that says secret, and not password
    GAP = 16            # code points between a word and its value, or a word between them
    NAME_MOST = 40      # of a name that ends in such a word
    FLAG_MOST = 24      # of one behind --
    CURL_USER = 40
    FIELD = 32          # of a field's name in a form, behind &
    KEY_LEAST = 32      # of a key that begins with a slash, which
    KEY_SLASH = 10      # has one in so many characters at most

cdef struct Text32:
    int length
    uint32_t[MAX_WORD] text

cdef struct Texts:
    int count
    Text32[MAX_WORDS] each

cdef Texts _words
# By their last two letters, one of them and the next, from 1 on; 0 for those beyond ASCII.
cdef unsigned char[26 * 26 + 1] _by_pair
cdef unsigned char[MAX_WORDS + 1] _next_word
cdef int[MAX_WORDS] _word_says
cdef bint[MAX_WORDS] _word_passes
cdef Texts _not_tokens
cdef Texts _not_short
cdef Texts _verbs
cdef Texts _labels
cdef Texts _contents
cdef Texts _placeholders
cdef Texts _references
cdef int[257] _entropy
# By how much that grows with one more character than these.
cdef int[256] _growth
# Of each character of ASCII, what it is in a value.
cdef enum:
    IS_DIGIT = 1
    IS_LOWER = 2
    IS_UPPER = 4
    IS_SIGN = 8
    IS_CLASS = IS_DIGIT | IS_LOWER | IS_UPPER | IS_SIGN
    IS_COLON = 16
    IS_PLACE = 32    # a placeholder may begin with it
    IS_VALUE = 64    # it may be part of a value in a text; an ampersand may end one
cdef unsigned char[128] _is
cdef int _least_entropy = secrets.LEAST_ENTROPY
cdef int _least_password = secrets.LEAST_PASSWORD
cdef int _url_password = secrets.NAMES.index("secret.url_password")
cdef int _azure_signature = secrets.NAMES.index("secret.azure_signature")
cdef int _azure_account_key = secrets.NAMES.index("secret.azure_account_key")
cdef int _password = secrets.NAMES.index("secret.password")
cdef int _named = secrets.NAMES.index("secret.named")
cdef const TokenTable* _table = token_table()


cdef int _put(Texts* texts, object words) except -1:
    """Adds these words, as code points in lower case."""
    cdef int at
    for word in words:
        assert texts.count < MAX_WORDS and len(word) <= MAX_WORD
        texts.each[texts.count].length = len(word)
        for at in range(len(word)):
            texts.each[texts.count].text[at] = ord(word[at])
        texts.count += 1
    return 0


cdef int _fill() except -1:
    """Makes the tables from the data."""
    cdef int at, says, i
    for says, known in (
        (SAYS_PASSWORD, secrets.PASSWORDS), (SAYS_SECRET, secrets.SECRETS),
        (SAYS_SCHEME, secrets.SCHEMES), (SAYS_SHORT, secrets.SHORT_WORDS),
    ):
        for word in known:
            _word_says[_words.count] = says
            _word_passes[_words.count] = "pass" in word
            _put(&_words, [word])
            at = _pair_of(ord(word[len(word) - 2]), ord(word[len(word) - 1]))
            _next_word[_words.count] = _by_pair[at]
            _by_pair[at] = _words.count
    _put(&_verbs, secrets.VERBS)
    _put(&_labels, secrets.LABELS)
    _put(&_contents, secrets.CONTENTS)
    _put(&_not_tokens, secrets.NOT_TOKENS)
    _put(&_not_short, secrets.NOT_SHORT)
    _put(&_placeholders, secrets.PLACEHOLDERS)
    _put(&_references, secrets.REFERENCES)
    for i in range(257):
        _entropy[i] = secrets.ENTROPY[i]
    for i in range(256):
        _growth[i] = _entropy[i + 1] - _entropy[i]
    for at in range(128):
        letter = chr(at)
        _is[at] = IS_SIGN
        if letter.isalnum():
            _is[at] = IS_DIGIT if letter.isdigit() else IS_LOWER if letter.islower() else IS_UPPER
        if letter == ":":
            _is[at] |= IS_COLON
        if any([word.startswith(letter.lower()) for word in secrets.PLACEHOLDERS]):
            _is[at] |= IS_PLACE
        if 0x20 < at < 0x7f and letter not in "\"'`,;<>(){}[]|\\":
            _is[at] |= IS_VALUE
    return 0


cdef struct Word:
    int says
    bint passes       # there is a "pass" in it
    bint is_token


cdef int _start_of(const uint32_t* cp, int end, const Text32* word) noexcept nogil:
    """Where this word begins that ends at `end`, in any case, or -1."""
    cdef int at = end
    cdef int i = word.length
    cdef uint32_t c
    while i > 0:
        c = word.text[i - 1]
        if c == c' ':
            if at > 0 and cp[at - 1] in (c' ', c'_', c'-', c'.'):
                at -= 1
        elif at > 0 and fold(cp[at - 1]) == c:
            at -= 1
        else:
            return NOTHING
        i -= 1
    return at


cdef bint _follows_joined(const uint32_t* cp, int at, const Texts* words) noexcept nogil:
    """Whether one of these stands before `at`, or before a sign there that joins it."""
    cdef int number, joint
    cdef bint joined = at > 0 and cp[at - 1] in (c' ', c'_', c'.', c'-')
    for joint in range(1 + joined):
        for number in range(words.count):
            if _start_of(cp, at - joint, &words.each[number]) >= 0:
                return True
    return False


cdef inline int _pair_of(uint32_t before, uint32_t last) noexcept nogil:
    """Where words that end in these are in the table by pairs."""
    before = fold(before) - 97
    last = fold(last) - 97
    return <int>(before * 26 + last) if before < 26 and last < 26 else 26 * 26


cdef inline bint _may_end(const uint32_t* cp, int end) noexcept nogil:
    """Whether a word that says secret, a verb or a label may end here, by its last two letters."""
    if end < 2:
        return False
    if cp[end - 1] < 0x80 and cp[end - 2] < 0x80:
        return token_pair(_table.ends, <unsigned char>cp[end - 2], <unsigned char>cp[end - 1])
    return True


cdef Word _word_at(const uint32_t* cp, int end) noexcept nogil:
    """Which word of those that say secret ends at `end`."""
    cdef Word word
    cdef int number, at
    cdef uint32_t before
    cdef int next_
    word.says = SAYS_NOTHING
    word.passes = word.is_token = False
    if end < 2:
        return word
    next_ = _by_pair[_pair_of(cp[end - 2], cp[end - 1])]
    while next_:
        number = next_ - 1
        next_ = _next_word[next_]
        at = _start_of(cp, end, &_words.each[number])
        if at < 0:
            continue
        before = cp[at - 1] if at > 0 else 0
        word.says = _word_says[number]
        word.passes = _word_passes[number]
        word.is_token = _words.each[number].text[0] == c't'
        if word.is_token and _follows_joined(cp, at, &_not_tokens):
            word.says = SAYS_NOTHING
        # A scheme is a word of its own: `basic`, not `visual-basic`.
        elif word.says == SAYS_SCHEME and is_alnum(before):
            word.says = SAYS_NOTHING
        elif word.says == SAYS_SHORT:
            if _follows_joined(cp, at, &_not_short):
                word.says = SAYS_NOTHING
            elif is_alnum(before) or before in (c'_', c'.', c'$', c'-'):
                word.says = SAYS_PASSWORD
            elif c'A' <= cp[end - 1] <= c'Z' or (
                before == c' ' and at > 1 and is_alnum(cp[at - 2])
            ):
                word.says = SAYS_LITTLE
        break
    return word


cdef int word_before(const uint32_t* cp, int end) noexcept nogil:
    """SAYS_…: which word of those that say secret ends at `end`; SAYS_NOTHING where none does."""
    return _word_at(cp, end).says


cdef inline bint _is_wide_gap(uint32_t c) noexcept nogil:
    """Spaces, colon and equals sign beyond ASCII."""
    return c in (0xa0, 0x202f, 0x3000, 0xff1a, 0xff1d)


cdef inline bint _is_wordy(uint32_t c) noexcept nogil:
    return is_alnum(c) or (c >= 0x80 and not _is_wide_gap(c))


cdef int _word_end(const uint32_t* cp, int i) noexcept nogil:
    """Where the word ends that stands before `i`, with signs between; or 0."""
    cdef int low = i
    while low > 0 and i - low <= GAP and not _is_wordy(cp[low - 1]):
        low -= 1
    return low if 0 < i - low <= GAP else 0


cdef inline bint _is_quote(uint32_t c) noexcept nogil:
    return c in (c'"', c'\'', c'`', c'\\')


cdef inline bint _is_space(uint32_t c) noexcept nogil:
    return c in (c' ', c'\t', 0xa0, 0x202f, 0x3000)


cdef inline int _skip_quotes(const uint32_t* cp, int at, int high) noexcept nogil:
    """Behind up to four quotes and signs that are put around a word."""
    cdef int most = at + 4
    while at < high and at < most and (_is_quote(cp[at]) or cp[at] in (c']', c'*')):
        at += 1
    return at


cdef bint _begins_part(const uint32_t* cp, int low, int high) noexcept nogil:
    """Whether a quote, the end of its line and an empty line are all that stands between."""
    cdef int at = low + 1
    cdef int _line
    if low == high or cp[low] != c'"':
        return False
    for _line in range(2):
        if at < high and cp[at] == c'\r':
            at += 1
        if at == high or cp[at] != c'\n':
            return False
        at += 1
    return at == high


cdef bint _assigns(const uint32_t* cp, int low, int high) noexcept nogil:
    """Whether what stands between a word and its value says that this is the value."""
    cdef int at = low
    cdef int most
    cdef uint32_t c
    # The end of a tag, or of an attribute and its tag.
    if cp[high - 1] == c'>' and high - low < 5:
        while at < high - 1 and cp[at] in (c'"', c'\'', c'\\'):
            at += 1
        if at == high - 1:
            return True
    if _begins_part(cp, low, high):
        return True
    at = _skip_quotes(cp, low, high)
    most = at + 12
    while at < high and at < most and _is_space(cp[at]):
        at += 1
    if at == high:
        return False
    c = cp[at]
    at += 1
    if c == c'=' or c == c':':
        if at < high and (
            cp[at] == c or (c == c'=' and cp[at] == c'>') or (c == c':' and cp[at] == c'=')
        ):
            at += 1
    elif c not in (0xff1a, 0xff1d):
        return False
    most = at + 2
    while at < high and at < most and cp[at] == c'*':
        at += 1
    c = cp[at - 1]
    most = at + 3
    while at < high and at < most and _is_space(cp[at]):
        at += 1
    # In the next line.
    if at < high and cp[at] in (c'\r', c'\n') and c in (c':', c'*', 0xff1a):
        if cp[at] == c'\r':
            at += 1
        if at == high or cp[at] != c'\n':
            return False
        at += 1
        most = at + 8
        while at < high and at < most and cp[at] in (c' ', c'\t'):
            at += 1
    return _skip_quotes(cp, at, high) == high


cdef bint _stands_apart(const uint32_t* cp, int low, int high, int least) noexcept nogil:
    """Whether one to three spaces stand between, and perhaps a quote behind them.

    With `least` 0, it may be quotes with a comma instead.
    """
    cdef int at = low
    while at < high and at - low < 3 and cp[at] in (c' ', c'\t'):
        at += 1
    if at > low:
        return at == high or (at + 1 == high and cp[at] in (c'"', c'\''))
    if least or at == high or cp[at] not in (c'"', c'\''):
        return False
    at += 1
    if at == high or cp[at] != c',':
        return False
    at += 1
    if at < high and cp[at] == c' ':
        at += 1
    return at + 1 == high and cp[at] in (c'"', c'\'')


cdef bint _is_constant(const uint32_t* cp, int end) noexcept nogil:
    """Whether a name in capitals with a _ in it ends here."""
    cdef int low = end
    cdef bint joined = False
    while low > 0 and end - low < NAME_MOST and (
        c'A' <= cp[low - 1] <= c'Z' or c'0' <= cp[low - 1] <= c'9' or cp[low - 1] == c'_'
    ):
        low -= 1
        joined = joined or cp[low] == c'_'
    return joined and (
        low == 0 or end - low == NAME_MOST or not c'a' <= cp[low - 1] <= c'z'
    )


cdef bint _is_flag(const uint32_t* cp, int end) noexcept nogil:
    """Whether a flag of a command ends here, such as --password."""
    cdef int low = end
    while low > 0 and end - low < NAME_MOST and is_word(cp[low - 1]):
        low -= 1
    return 2 < end - low <= FLAG_MOST + 2 and cp[low] == c'-' and cp[low + 1] == c'-'


cdef int _verb_start(const uint32_t* cp, int end) noexcept nogil:
    """Where the verb begins that ends at `end`, a word of its own; or -1."""
    cdef int number, i
    for number in range(_verbs.count):
        i = _verbs.each[number].length
        if end < i or end - i < 1 or cp[end - i - 1] not in (c' ', c'\t'):
            continue
        while i > 0 and cp[end - i] == _verbs.each[number].text[_verbs.each[number].length - i]:
            i -= 1
        if i == 0:
            return end - _verbs.each[number].length
    return NOTHING


cdef int _label_start(const uint32_t* cp, int end) noexcept nogil:
    """Where the label begins that ends at `end`, or -1."""
    cdef int number, at
    for number in range(_labels.count):
        at = _start_of(cp, end, &_labels.each[number])
        if at >= 0:
            return at
    return NOTHING


cdef bint ends_with_label(const uint32_t* cp, int end) noexcept nogil:
    """Whether a key ends like one whose value is named by another member."""
    return _label_start(cp, end) >= 0


cdef bint ends_with_content(const uint32_t* cp, int end) noexcept nogil:
    """The same, where the value is a number."""
    cdef int number
    for number in range(_contents.count):
        if _start_of(cp, end, &_contents.each[number]) >= 0:
            return True
    return False


cdef bint _leads_to_verb(const uint32_t* cp, int low, int high) noexcept nogil:
    cdef int at = _skip_quotes(cp, low, high)
    cdef int most = at + 3
    if at == high:
        return False
    while at < high and at < most and cp[at] in (c' ', c'\t'):
        at += 1
    return at == high and most - at < 3


cdef bint _leads_from_verb(const uint32_t* cp, int low, int high) noexcept nogil:
    cdef int at = low
    cdef int most
    if at < high and cp[at] == c':':
        at += 1
    elif at + 1 < high and cp[at] in (c' ', c'\t') and cp[at + 1] == c':':
        at += 2
    low = at
    most = at + 3
    while at < high and at < most and cp[at] in (c' ', c'\t', c'\r', c'\n'):
        at += 1
    return at > low and _skip_quotes(cp, at, high) == high


cdef bint _leads_to_label(const uint32_t* cp, int low, int high) noexcept nogil:
    cdef int at = low
    cdef int most = at + 4
    while at < high and at < most and _is_quote(cp[at]):
        at += 1
    low = at
    most = at + 12
    while at < high and at < most and cp[at] in (
        c' ', c'\t', c'\r', c'\n', c',', c';', c'{', c'-'
    ):
        at += 1
    if at == low:
        return False
    most = at + 4
    while at < high and at < most and _is_quote(cp[at]):
        at += 1
    return at == high


cdef Word _announced(const uint32_t* cp, int i, int* start) noexcept nogil:
    """Which word announces the value that begins at `i`; `start` is where the word ends."""
    cdef Word word
    cdef int end = _word_end(cp, i)
    cdef int at, last
    start[0] = end
    word.says = SAYS_NOTHING
    word.passes = word.is_token = False
    if not _may_end(cp, end):
        return word
    word = _word_at(cp, end)
    if word.says != SAYS_NOTHING:
        if _assigns(cp, end, i):
            return word
        if cp[end] == c' ' and (i - end == 1 or (i - end == 2 and cp[end + 1] == c' ')):
            if word.says == SAYS_SCHEME or word.says == SAYS_SECRET:
                return word
        # PASSWORD 'x' of SQL.
        if word.says == SAYS_PASSWORD and i - end == 2 and cp[end] == c' ' and cp[end + 1] in (
            c'"', c'\''
        ):
            return word
        if _is_constant(cp, end) and _stands_apart(cp, end, i, 0):
            return word
        if _is_flag(cp, end) and _stands_apart(cp, end, i, 1):
            return word
    word.says = SAYS_NOTHING
    at = _verb_start(cp, end)
    if at > 0:
        last = _word_end(cp, at)
        if last and _leads_to_verb(cp, last, at) and _leads_from_verb(cp, end, i):
            start[0] = last
            return _word_at(cp, last)
    at = _label_start(cp, end)
    if at > 0:
        last = _word_end(cp, at)
        if last and _leads_to_label(cp, last, at) and _assigns(cp, end, i):
            start[0] = last
            word = _word_at(cp, last)
            # `status: pass` and the value of something else.
            if word.says in (SAYS_SHORT, SAYS_LITTLE):
                word.says = SAYS_NOTHING
    return word


cdef bint _is_user(Window* w, int i) noexcept nogil:
    """Whether a user of curl stands before the colon before `i`: -u user:, --user user:."""
    cdef int at = i - 1
    cdef int low, most
    cdef uint32_t c
    while at > 0 and i - 1 - at < CURL_USER:
        c = w.cp[at - 1]
        if c in (c':', c'/', c'@', c'"', c'\'', c'\\', c'=') or _is_blank(c):
            break
        at -= 1
    if at == i - 1 or at == 0:
        return False
    if w.cp[at - 1] in (c'"', c'\''):
        at -= 1
    low = at
    most = at - 3
    while at > 0 and at > most and w.cp[at - 1] in (c' ', c'\t'):
        at -= 1
    if at < low and ended(w, at, b"-u", 2):
        at -= 2
    else:
        if at == low:
            if at == 0 or w.cp[at - 1] != c'=':
                return False
            at -= 1
        if ended(w, at, b"--proxy-user", 12):
            at -= 12
        elif ended(w, at, b"--user", 6):
            at -= 6
        else:
            return False
    return at == 0 or not (is_alnum(w.cp[at - 1]) or w.cp[at - 1] == c'-')


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
        if not is_base64(cp[i]):
            return False
        slashes += cp[i] == c'/'
        digits += c'0' <= cp[i] <= c'9'
        capitals += c'A' <= cp[i] <= c'Z'
    return n >= KEY_LEAST and slashes * KEY_SLASH <= n and digits > 1 and capitals > 3


cdef bint _is_placeholder(const uint32_t* cp, int low, int high) noexcept nogil:
    """Whether a text stands for a value, or is the name of a variable."""
    cdef const uint32_t* your = [c'y', c'o', c'u', c'r']
    cdef int at, number, i
    for at in range(low, high):
        if not _is[cp[at]] & IS_PLACE:
            continue
        for number in range(_placeholders.count):
            i = 0
            while (
                i < _placeholders.each[number].length and at + i < high
                and fold(cp[at + i]) == _placeholders.each[number].text[i]
            ):
                i += 1
            if i == _placeholders.each[number].length:
                return True
    if high - low >= 4:
        i = 0
        while i < 4 and fold(cp[low + i]) == your[i]:
            i += 1
        if i == 4:
            return True
    if cp[low] != c'$' or c'0' <= cp[low + 1] <= c'9':
        return False
    for at in range(low + 1, high):
        if not (c'A' <= cp[at] <= c'Z' or c'0' <= cp[at] <= c'9' or cp[at] == c'_'):
            return False
    return True


cdef bint _is_name(const uint32_t* cp, int low, int high) noexcept nogil:
    """Whether these are words of one case and small numbers, with - _ or . between them."""
    cdef int at = low
    cdef int start
    cdef bint joined = False
    while True:
        start = at
        if at < high and c'a' <= cp[at] <= c'z':
            while at < high and c'a' <= cp[at] <= c'z':
                at += 1
        elif at < high and c'A' <= cp[at] <= c'Z':
            while at < high and c'A' <= cp[at] <= c'Z':
                at += 1
        if at == start or (at == start + 1 and cp[start] == c'v'):
            start = at
            while at < high and c'0' <= cp[at] <= c'9':
                at += 1
            if at - start > 4 or (at == start and (at == low or cp[at - 1] != c'v')):
                return False
        if at == high:
            return joined
        if cp[at] not in (c'-', c'_', c'.'):
            return False
        joined = True
        at += 1


cdef bint _is_reference(const uint32_t* cp, int low, int high) noexcept nogil:
    """Whether this is where code has a value: `config.`, `user.` and a letter."""
    cdef int number, i
    for number in range(_references.count):
        i = 0
        while (
            i < _references.each[number].length and low + i < high
            and cp[low + i] == _references.each[number].text[i]
        ):
            i += 1
        if i == _references.each[number].length and low + i + 1 < high and cp[low + i] == c'.':
            if c'a' <= (cp[low + i + 1] | 0x20) <= c'z':
                return True
    return False


cdef int _classes(const uint32_t* cp, int low, int high) noexcept nogil:
    """Which of digits, lower case, upper case and signs are in a value, a bit for each."""
    cdef int classes = 0
    cdef int i
    for i in range(low, high):
        classes |= _is[cp[i]]
    return classes & IS_CLASS


cdef inline int _class_count(int classes) noexcept nogil:
    return (classes & 1) + (classes >> 1 & 1) + (classes >> 2 & 1) + (classes >> 3 & 1)


cdef inline bint _is_mixed(int classes) noexcept nogil:
    """A letter and a digit, or three of the classes."""
    return (
        classes & (IS_LOWER | IS_UPPER) and classes & IS_DIGIT or _class_count(classes) > 2
    )


cdef bint _is_strong(const uint32_t* cp, int low, int high, int says) noexcept nogil:
    """Whether a value looks made up by chance, and not like a word, an ID or a placeholder."""
    cdef unsigned char[128] counts
    cdef int n = high - low
    cdef int i, entropy
    cdef int is_ = 0
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
    entropy = _entropy[n]
    for i in range(low, high):
        c = cp[i]
        is_ |= _is[c]
        entropy -= _growth[counts[c]]
        counts[c] += 1
    if not _is_mixed(is_):
        return False
    if entropy < _least_entropy * n or _is_uuid(cp, low, high):
        return False
    if is_ & IS_COLON:
        for i in range(low, high - 2):
            if cp[i] == c':' and cp[i + 1] == c'/' and cp[i + 2] == c'/':
                return False
    if says != SAYS_PASSWORD and _is_name(cp, low, high):
        return False
    return not _is_placeholder(cp, low, high)


cdef inline bint _is_value(Window* w, int i) noexcept nogil:
    """Whether the code point at `i` may be part of a value in a text."""
    cdef uint32_t c = w.cp[i]
    cdef int at
    if c > 0x7f or not _is[c] & IS_VALUE:
        return False
    if c != c'&':
        return True
    at = i + 1
    while at < w.n and at - i <= FIELD and (is_word(w.cp[at]) or w.cp[at] == c'.'):
        at += 1
    return at == i + 1 or at >= w.n or w.cp[at] != c'='


cdef inline int _value_end(Window* w, int i) noexcept nogil:
    """Where what may be a value ends that `i` is in; gone through once in a window."""
    cdef int at = i
    if w.run_starts[VALUE_ROW] <= i < w.run_ends[VALUE_ROW]:
        return w.run_ends[VALUE_ROW]
    w.value_is = 0
    while at < w.n and _is_value(w, at):
        w.value_is |= _is[w.cp[at]]
        at += 1
    w.run_starts[VALUE_ROW] = i
    w.run_ends[VALUE_ROW] = at
    return at


cdef int value_of(Window* w, int says, Py_ssize_t* end) noexcept nogil:
    """Which secret the whole text is, as the value of a key that says so; or NOTHING."""
    cdef int i
    cdef bint passes = says in (SAYS_PASSWORD, SAYS_SHORT, SAYS_LITTLE)
    if w.n < (_least_password if passes else NAMED_LEAST) or w.n > VALUE_MOST:
        return NOTHING
    if w.pos[w.n] != w.end:
        return NOTHING
    for i in range(w.n):
        if w.cp[i] <= 0x20 or w.cp[i] >= 0x7f:
            return NOTHING
    if says == SAYS_NOTHING or not _is_strong(w.cp, 0, w.n, says):
        return NOTHING
    if says == SAYS_SCHEME and not _begins_long(w.cp, 0, w.n):
        return NOTHING
    end[0] = w.end
    return _password if passes else _named


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
    if not (is_alnum(w.cp[at + 1]) or w.cp[at + 1] == c'['):
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
    while at < w.n and at - i < 120 and (is_base64(w.cp[at]) or w.cp[at] == c'%'):
        run = 0 if w.cp[at] == c'%' else run + 1
        long_ = long_ or run == TOKEN_RUN
        at += 1
    if at - i < 43 or not long_:
        return NOTHING
    return at + 1 if at < w.n and w.cp[at] == c'=' else at


cdef int _account_end(Window* w, int i) noexcept nogil:
    cdef int at = i
    cdef int low
    while at < w.n and at - i < 100 and is_base64(w.cp[at]):
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
    cdef int at, low
    cdef Word word
    if i == 0:
        return NOTHING
    before = w.cp[i - 1]
    if before == c'/':
        if ended(w, i, b"://", 3):
            at = _url_end(w, i)
            if at >= 0:
                end[0] = w.pos[at]
                return _url_password
        return NOTHING
    if before == c'=':
        if ended(w, i, b"sig=", 4) and (i == 4 or not is_alnum(w.cp[i - 5])):
            at = _signature_end(w, i)
            if at >= 0:
                end[0] = w.pos[at]
                return _azure_signature
        if ended(w, i, b"AccountKey=", 11) or ended(w, i, b"SharedAccessKey=", 16):
            at = _account_end(w, i)
            if at >= 0:
                end[0] = w.pos[at]
                return _azure_account_key
    if not is_gap(before) or is_gap(w.cp[i]) or not _is_value(w, i):
        return NOTHING
    # Most are too short or too plain, whatever announces them.
    at = min(_value_end(w, i), i + VALUE_MOST + 1)
    if at - i < _least_password or not _is_mixed(w.value_is):
        return NOTHING
    word = _announced(w.cp, i, &low)
    if word.says == SAYS_NOTHING:
        if before != c':' or not _is_user(w, i):
            return NOTHING
        word.says = SAYS_PASSWORD
        low = i - 1
    if w.cp[at - 1] == c':' and _begins_line(w.cp, i):
        return NOTHING
    if at == w.n or w.cp[at] not in (c'"', c'\'', c'`', c';', c'&'):
        while at > i and w.cp[at - 1] in (c'.', c'!', c'?', c':'):
            at -= 1
    if at - i < _least_password or not _fits(w.cp, low, i, at, word):
        return NOTHING
    if not _is_strong(w.cp, i, at, word.says) or _is_reference(w.cp, i, at):
        return NOTHING
    end[0] = w.pos[at]
    return _named if word.says in (SAYS_SECRET, SAYS_SCHEME) else _password


cdef bint _begins_line(const uint32_t* cp, int i) noexcept nogil:
    """Whether nothing but up to eight spaces stands before `i` in its line."""
    cdef int at = i
    while at > 0 and i - at < 8 and cp[at - 1] in (c' ', c'\t'):
        at -= 1
    return at > 0 and cp[at - 1] == c'\n'


cdef bint _fits(const uint32_t* cp, int low, int i, int end, Word word) noexcept nogil:
    """Whether the value from `i` to `end` is such as the word announces that ends at `low`."""
    cdef int at
    # A short value is found by this.
    cdef bint is_marked = word.passes
    cdef bint is_firm = False
    if word.says not in (SAYS_SECRET, SAYS_SCHEME):
        for at in range(low, i):
            is_marked = is_marked or cp[at] in (c':', c'=', 0xff1a, 0xff1d)
            is_firm = is_firm or cp[at] in (c'=', c'"', c'\'', c'`')
        if not is_firm and (
            word.says == SAYS_LITTLE
            or word.says == SAYS_SHORT and _class_count(_classes(cp, i, end)) < 3
        ):
            return False
        if is_marked:
            return True
    return _begins_long(cp, i, end)


cdef bint is_gap(uint32_t c) noexcept nogil:
    return c in (
        c' ', c'\t', c'\r', c'\n', c'"', c'\'', c'`', c'=', c':', c'\\', c']', c'>', c'*'
    ) or _is_wide_gap(c)


_fill()
