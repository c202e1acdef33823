/* What of a place is said from its bytes: whether what the masks of walk.h show there may be
   something. Most is not, and the walk then goes on without a stop. */
#ifndef IATP_PLACES_H
#define IATP_PLACES_H

/* The unit of the four hex digits at `at`, or -1. */
static inline int walk_unit(const Walk *w, Py_ssize_t at) {
    int unit = 0;
    if (at + 4 > w->n)
        return -1;
    for (int i = 0; i < 4; i++) {
        unsigned char c = w->p[at + i];
        int digit = c >= '0' && c <= '9' ? c - '0' : -1;
        c |= 0x20;
        if (c >= 'a' && c <= 'f')
            digit = c - 'a' + 10;
        if (digit < 0)
            return -1;
        unit = unit * 16 + digit;
    }
    return unit;
}

/* Whether a unit is a digit or a separator beyond ASCII, or begins one. */
static inline int walk_unit_counts(const Walk *w, unsigned unit) {
    return w->rules->units[unit >> 6] >> (unit & 63) & 1;
}

/* The same of a character of `length` bytes. */
static inline int walk_character_counts(const Walk *w, const unsigned char *p, int length) {
    if (!utf8_may_count(p[0]))
        return 0;
    if (length == 2)
        return walk_unit_counts(w, (p[0] & 0x1fu) << 6 | (p[1] & 0x3f));
    if (length == 3)
        return walk_unit_counts(w, (p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3f));
    /* The first unit of its pair. */
    return walk_unit_counts(
        w, 0xd7c0 + ((p[0] & 0x07u) << 8 | (p[1] & 0x3fu) << 2 | (p[2] & 0x3fu) >> 4));
}

/* The backslashes that begin an escape, and in `escaped` the bytes behind them. `carry` says
   whether the first byte is one, and then whether the byte behind the last is. */
static inline uint64_t walk_slants(uint64_t slant, uint64_t *carry, uint64_t *escaped) {
    /* Of backslashes in a row each other one begins an escape. A subtraction goes through a row;
       odd places tell which they are (Keiser and Lemire, simdjson). */
    const uint64_t odd = 0xaaaaaaaaaaaaaaaaull;
    uint64_t before = *carry, free = slant & ~before;
    uint64_t code = ((free << 1 | odd) - free) ^ odd;
    uint64_t starts = code & slant;
    *escaped = code ^ (slant | before);
    *carry = starts >> 63;
    return starts;
}

/* Checks the escapes of a block; gives the bytes behind a backslash, the backslashes of units
   that may count (of ASCII all do), all bytes of those that don't, and both bytes of a tab or a
   slash. 0 where an escape is unknown or a surrogate is alone. Of an escaped slash it gives the
   backslash. `simple` are the bytes that make any other escape of two bytes. */
static int walk_escapes(
    Walk *w, Py_ssize_t base, uint64_t backslash, uint64_t simple, uint64_t *escaped,
    uint64_t *units, uint64_t *letters, uint64_t *slashes, uint64_t *gaps
) {
    Carries *c = &w->carries;
    uint64_t left = walk_slants(backslash, &c->escaped, escaped);
    *units = *slashes = 0;
    *letters = c->letters;
    *gaps = c->gap;
    c->letters = c->gap = 0;
    for (left &= ~(simple >> 1); left; left &= left - 1) {
        int bit = __builtin_ctzll(left);
        Py_ssize_t at = base + bit + 1;
        int unit;
        if (at >= w->n)
            return 0;
        switch (w->p[at]) {
        case '/':
            *slashes |= 1ull << bit;
            /* fall through */
        case 't':
            *gaps |= 3ull << bit;
            c->gap = (uint64_t)(bit == 63);
            break;
        case '"': case '\\': case 'b': case 'f': case 'n': case 'r':
            break;
        case 'u':
            unit = walk_unit(w, at + 1);
            if (unit < 0)
                return 0;
            if (unit < 0x80 || walk_unit_counts(w, (unsigned)unit))
                *units |= 1ull << bit;
            else {
                *letters |= 0x3full << bit;
                if (bit > 64 - 6)
                    c->letters = 0x3full >> (64 - bit);
            }
            if (unit >= 0xdc00 && unit < 0xe000 && w->low_surrogate_at != at)
                return 0;
            if (unit >= 0xd800 && unit < 0xdc00) {
                if (at + 6 >= w->n || w->p[at + 5] != '\\' || w->p[at + 6] != 'u')
                    return 0;
                unit = walk_unit(w, at + 7);
                if (unit < 0xdc00 || unit >= 0xe000)
                    return 0;
                w->low_surrogate_at = at + 6;
            }
            break;
        default:
            return 0;
        }
    }
    return 1;
}

/* Checks the UTF-8 of a block; gives the bytes of characters that may be digits or separators, of
   these all but the first, and where a colon or an equals sign of full width stands behind a word
   that says secret. 0 where it is not valid. */
static int walk_characters(
    Walk *w, Py_ssize_t base, uint64_t high, uint64_t *marks, uint64_t *more, uint64_t *signs
) {
    Carries *c = &w->carries;
    *marks = *more = c->high_marks;
    *signs = 0;
    /* Those of a character that began before have been checked with it. */
    high &= ~((1ull << c->high_bytes) - 1);
    c->high_marks = 0;
    c->high_bytes = 0;
    while (high) {
        int bit = __builtin_ctzll(high);
        Py_ssize_t at = base + bit;
        int length = utf8_length(w->p + at, w->n - at), counts;
        uint64_t bytes = (1ull << length) - 1;
        if (length == 0)
            return 0;
        counts = walk_character_counts(w, w->p + at, length);
        if (bit + length > 64) {
            c->high_bytes = (uint64_t)(bit + length - 64);
            if (counts)
                c->high_marks = (1ull << c->high_bytes) - 1;
        }
        high &= ~(bytes << bit);
        if (token_wide_gap(w->p, at, at + length) && w->p[at] == 0xef
            && token_says(w->rules->tokens, w->p, 0, at))
            *signs |= 1ull << bit;
        if (counts) {
            *marks |= bytes << bit;
            *more |= (bytes & ~1ull) << bit;
        }
    }
    return 1;
}

/* Adds the places at which a secret may begin to the calls. */
static void walk_places(
    Walk *w, uint64_t events, uint64_t dashes, uint64_t words, uint64_t signs
) {
    const TokenTable *t = w->rules->tokens;
    for (; words; words &= words - 1)
        if (token_passes(t, w->p, 0, w->base + __builtin_ctzll(words), w->n))
            w->calls |= words & (0 - words);
    for (; signs; signs &= signs - 1)
        if (token_sign(t, w->p, 0, w->base + __builtin_ctzll(signs), w->n, 0))
            w->calls |= signs & (0 - signs);
    for (; dashes; dashes &= dashes - 1)
        if (token_begin(w->p, w->base + __builtin_ctzll(dashes), w->n) >= 0)
            w->calls |= dashes & (0 - dashes);
    for (; events; events &= events - 1) {
        Py_ssize_t at = w->base + __builtin_ctzll(events) - (TOKEN_RUN - 1);
        /* A string that is a UUID holds nothing. */
        if (at > 0 && at + 36 < w->n && w->p[at - 1] == '"' && w->p[at + 36] == '"'
            && uuid_bytes(w->p + at))
            continue;
        /* What is read closely up to `done` holds it already. */
        if (at >= w->done && token_run(t, w->p, 0, at, w->n,
                                       token_said(t, w->p, 0, at) && token_says(t, w->p, 0, at),
                                       &w->run_end) >= 0)
            w->calls |= events & (0 - events);
    }
}

/* Whether a run of base64 may hold something together with its further lines; the first goes from
   `at` to `end`. */
static int walk_lines(const Walk *w, Py_ssize_t at, Py_ssize_t end) {
    const unsigned char *p = w->p;
    unsigned char run[WALK_LINES];
    Py_ssize_t first = end - at, length = 0, line = first;
    for (;;) {
        if (line > WALK_LINES - length)
            return 1;
        memcpy(run + length, p + at, (size_t)line);
        length += line;
        end = at + line;
        /* In an escaped break another layer ends; an escaped slash goes on with the line. */
        if (end + 4 >= w->n || (p[end] == '\\' && !token_blank(p[end + 1])
                                && p[end + 1] != '"'))
            return 1;
        if (line % 4 || line < first)
            break;
        if (p[end] == '\\' && p[end + 1] == 'r')
            end += 2;
        if (p[end] != '\\' || p[end + 1] != 'n')
            break;
        for (at = end + 2; at + 1 < w->n;) {
            if (p[at] == ' ')
                at++;
            else if (p[at] == '\\' && p[at + 1] == 't')
                at += 2;
            else
                break;
        }
        line = coded_end(p + at, w->n - at);
        if (line == 0 || line > first)
            break;
    }
    return coded_may_hold(run, length, length);
}

/* Whether the run of base64 that begins at `at` in a string, if one does, may hold something. An
   escape is no part of it, but for an escaped slash. */
static inline int walk_may_hold(Walk *w, Py_ssize_t at) {
    const unsigned char *p = w->p;
    Py_ssize_t end;
    if (p[at - 1] == '\\') {
        if (p[at] == 'u') {
            w->coded_end = at;
            return 1;
        }
        at++;
    } else if (p[at - 1] == '"' && at + 36 < w->n && p[at + 36] == '"' && uuid_bytes(p + at)) {
        /* A string that is a UUID holds nothing. */
        w->coded_end = at + 36;
        return 0;
    }
    end = w->coded_end = at + coded_end(p + at, w->n - at);
    if (end == w->n || (end - at < WALK_RUN && p[end] != '\\'))
        return 0;
    if (end + 1 < w->n && p[end] == '\\') {
        if (p[end + 1] == '/')
            return 1;
        /* It may go on in the next line, also in JSON inside the string. */
        if ((p[end + 1] == 'n' || p[end + 1] == 'r' || p[end + 1] == '\\') && (end - at) % 4 == 0
            && end - at >= WALK_RUN && walk_lines(w, at, end))
            return 1;
    }
    return end - at >= WALK_RUN && coded_may_hold(p + at, end - at, w->n - at);
}

/* Adds the runs of base64 that may hold something to the calls. */
static void walk_coded(Walk *w, uint64_t runs) {
    for (; runs; runs &= runs - 1) {
        Py_ssize_t place = w->base + __builtin_ctzll(runs);
        Py_ssize_t at = place - (WALK_RUN - 1);
        if (place < w->coded_end || place < w->done)
            continue;
        if (at <= w->coded_end)
            at = w->coded_end + 1;
        /* The mask may have more than base64 in it. */
        for (; at <= place; at = w->coded_end + 1)
            if (walk_may_hold(w, at))
                w->calls |= runs & (0 - runs);
    }
}

static inline int walk_digit(unsigned char c) {
    return (unsigned char)(c - '0') < 10;
}

static inline int walk_hex(unsigned char c) {
    return walk_digit(c) || (unsigned char)((c | 0x20) - 'a') < 6;
}

/* What of ASCII stands between the groups of a row; a tab is an escape. */
static inline int walk_joins(unsigned char c) {
    return c == ' ' || c == '-' || c == '.' || c == '/' || c == '_';
}

/* Whether the end of a line or a quote is escaped by this letter; none of them is in a row. */
static inline int walk_breaks(unsigned char c) {
    return c == 'n' || c == 'r' || c == '"' || c == '\\' || c == 'b' || c == 'f';
}

/* Whether a character before `at` may belong to a row that begins there. */
static inline int walk_joined_before(const Walk *w, Py_ssize_t at) {
    const unsigned char *p = w->p;
    Py_ssize_t low;
    if (walk_joins(p[at - 1]))
        at--;
    /* A tab or a slash; or a unit, of which the last digits may look like ones of the row. */
    if (p[at - 1] == '\\' || (p[at - 1] == 't' && p[at - 2] == '\\'))
        return 1;
    for (low = at - 1; low > 0 && low > at - 7; low--)
        if (p[low] == 'u' && p[low - 1] == '\\')
            return 1;
    for (low = at - 1; low > 0 && (p[low] & 0xc0) == 0x80; low--)
        continue;
    return p[low] >= 0x80 && walk_character_counts(w, p + low, (int)(at - low));
}

/* Whether a character from `at` on may belong to a row that ends before it. */
static inline int walk_joined_behind(const Walk *w, Py_ssize_t at) {
    const unsigned char *p = w->p + at;
    Py_ssize_t left = w->n - at;
    if (left > 1 && walk_joins(p[0])) {
        p++;
        left--;
    }
    if (left > 1 && p[0] == '\\')
        return !walk_breaks(p[1]);
    return left > 0 && p[0] >= 0x80 && utf8_may_count(p[0])
           && walk_character_counts(w, p, utf8_length(p, left));
}

/* Whether the row of digits and single separators around `at` in a string may hold a number. */
static int walk_row(Walk *w, Py_ssize_t at) {
    const unsigned char *p = w->p;
    unsigned char digits[WALK_ROW];
    int starts[WALK_GROUPS + 1], groups = 0, total = 0;
    unsigned char joints[WALK_GROUPS];
    Py_ssize_t i = at;
    while (walk_digit(p[i - 1]) || (walk_joins(p[i - 1]) && walk_digit(p[i - 2]))) {
        i--;
        if (at - i == WALK_ROW)
            return 1;
    }
    if (!walk_digit(p[i]) || walk_joined_before(w, i))
        return 1;
    for (;;) {
        if (groups == WALK_GROUPS)
            return 1;
        starts[groups++] = total;
        for (; i < w->n && walk_digit(p[i]); i++) {
            if (total == WALK_ROW)
                return 1;
            digits[total++] = p[i] - '0';
        }
        if (i + 1 >= w->n || !walk_joins(p[i]) || !walk_digit(p[i + 1]))
            break;
        joints[groups - 1] = p[i++];
    }
    starts[groups] = total;
    w->row_end = i;
    if (walk_joined_behind(w, i))
        return 1;
    for (int first = 0; first < groups; first++)
        for (int end = first + 1; end <= groups; end++) {
            int length = starts[end] - starts[first];
            if (length > WALK_CARD)
                break;
            if (length >= 13 && w->rules->is_card(digits + starts[first], length))
                return 1;
            if (length == 9 && w->rules->is_ssn(digits + starts[first])
                && (end == first + 1
                    || (end == first + 3 && starts[first + 1] - starts[first] == 3
                        && starts[first + 2] - starts[first] == 5
                        && joints[first] == joints[first + 1])))
                return 1;
        }
    return 0;
}

/* The same of a number without a fraction or an exponent, the digits from `at` on. */
static int walk_number(Walk *w, Py_ssize_t at) {
    const unsigned char *p = w->p;
    unsigned char digits[WALK_CARD];
    int n = 0;
    if (p[at] == '-')
        at++;
    for (; at < w->n && walk_digit(p[at]); at++) {
        /* It may be beyond a double. */
        if (n == WALK_CARD)
            return 1;
        digits[n++] = p[at] - '0';
    }
    w->row_end = at;
    return n == 9 ? w->rules->is_ssn(digits) : n >= 13 && w->rules->is_card(digits, n);
}

/* The ninth and further places of rows in which something may be. */
WALK_TARGET_BITS
static uint64_t walk_rows(Walk *w, int lane) {
    const Group *g = &w->group;
    uint64_t nine = g->nine[lane], joiners = g->joiners[lane], row = g->row[lane], kept = 0;
    if (joiners) {
        /* Nine places are not yet nine marks (a date, other scripts): once more without the joiners
           and with one byte of each character. Of a row that began in the block before, no less is
           taken than it may have. */
        uint64_t before = 0 - ((lane ? g->row[lane - 1] : g->row_before) >> 63);
        uint64_t marks = _pext_u64(row, ~joiners), long_ = marks;
        long_ &= long_ << 1 | before >> 63;
        long_ &= long_ << 2 | before >> 62;
        long_ &= long_ << 4 | before >> 60;
        nine = _pdep_u64(long_ & (marks << 8 | before >> 56), ~joiners);
    }
    for (; nine; nine &= nine - 1) {
        uint64_t one = nine & (0 - nine);
        int bit = __builtin_ctzll(nine);
        Py_ssize_t at = w->base + bit;
        if (at < w->row_end || at < w->done)
            continue;
        if (w->in & one) {
            if (walk_row(w, at)) {
                /* One call is enough for a string. */
                uint64_t closes = w->closes & ~(one - 1);
                kept |= one;
                nine &= closes ? one | ~((closes & (0 - closes)) - 1) : one;
            }
        } else {
            uint64_t starts = w->starts & (one - 1);
            if (walk_number(w, starts ? w->base + 63 - __builtin_clzll(starts) : w->scalar_at))
                kept |= one;
        }
    }
    return kept;
}

/* Whether an address, or the user and password of a URL, may stand around the @ at `at`. */
static int walk_address(const Walk *w, Py_ssize_t at) {
    const unsigned char *p = w->p;
    Py_ssize_t high = w->n - at > WALK_DOMAIN ? at + WALK_DOMAIN : w->n, i = at + 1;
    unsigned char c = i < w->n ? p[i] : 0;
    int labels = 0, length = 0, named = 0;
    if (c < 0x80 && !token_alnum(c) && c != '-' && c != '[' && c != '\\')
        return 0;
    c = p[at - 1];
    if (c >= 0x80 || token_alnum(c) || c == '.' || c == '_' || c == '%' || c == '+' || c == '-'
        || c == '\'') {
        for (; i < high; i++) {
            c = p[i];
            if (c >= 0x80 || c == '\\')
                return 1;
            if (c == '.') {
                if (length == 0)
                    break;
                labels++;
                length = named = 0;
                continue;
            }
            if (!token_alnum(c) && c != '-')
                break;
            named |= !walk_digit(c) && c != '-';
            length++;
            if (labels && length > 1 && named && c != '-')
                return 1;
        }
    }
    /* Neither a user nor a password has these in it. */
    for (i = at - 1; i > 0; i--) {
        c = p[i];
        if (c == '/')
            return p[i - 1] == '/' || p[i - 1] == '\\';
        if (c == ' ' || c == '"' || c == '<' || c == '>' || c == '@')
            break;
    }
    return 0;
}

/* Whether the ampersand at `at` may begin an entity. */
static int walk_entity(const Walk *w, Py_ssize_t at) {
    const unsigned char *p = w->p;
    Py_ssize_t i = at + 1;
    if (i + 1 >= w->n || p[i] == '#')
        return 1;
    if (token_pair(w->rules->entities, p[i], p[i + 1]))
        return 1;
    while (i < w->n && i - at < WALK_ENTITY && token_alnum(p[i]))
        i++;
    return i < w->n && i > at + 1 && p[i] == ';';
}

/* Whether an escape of JSON inside the string may count whose backslash stands before `at`. The end
   of a line and a quote do not: what stands beside one is looked at as it is beside them. */
static int walk_inner_escape(const Walk *w, Py_ssize_t at) {
    const unsigned char *p = w->p + at;
    if (w->n - at < 2)
        return 0;
    if (p[0] == '\\')
        return p[1] == '\\' || p[1] == '/' || p[1] == 'u';
    /* A tab counts between digits. */
    if (p[0] == 't')
        return walk_digit(p[1]) || p[1] >= 0x80;
    return p[0] == '/' || p[0] == 'u';
}

/* Of signs in strings, those that may count: @ % & and escaped backslashes. */
static uint64_t walk_signs(const Walk *w, uint64_t signs) {
    const unsigned char *p = w->p;
    uint64_t kept = 0;
    for (; signs; signs &= signs - 1) {
        Py_ssize_t at = w->base + __builtin_ctzll(signs);
        int counts;
        switch (p[at]) {
        case '@':
            counts = walk_address(w, at);
            break;
        case '%':
            counts = at + 2 < w->n && walk_hex(p[at + 1]) && walk_hex(p[at + 2]);
            break;
        case '&':
            counts = walk_entity(w, at);
            break;
        default:
            counts = walk_inner_escape(w, at + 1);
        }
        if (counts)
            kept |= signs & (0 - signs);
    }
    return kept;
}

/* Whether the IBAN may be one whose country stands before the digit at `at`. */
static int walk_iban(const Walk *w, Py_ssize_t at) {
    const unsigned char *p = w->p;
    unsigned char text[WALK_IBAN];
    Py_ssize_t i = at - 2;
    int count = 0, gap = 0, rest = 0;
    int length = w->rules->ibans[((p[i] | 0x20) - 'a') * 26 + (p[i + 1] | 0x20) - 'a'];
    for (; count < length; i++) {
        if (i >= w->n || p[i] >= 0x80 || p[i] == '\\')
            return 1;
        if (token_alnum(p[i])) {
            text[count++] = p[i];
            gap = 0;
        } else if (count < 4 || gap || !walk_joins(p[i]))
            return 0;
        else
            gap = 1;
    }
    if ((i < w->n && token_alnum(p[i])) || !walk_digit(text[3]))
        return 0;
    /* The first four go to the end; letters are two digits (ISO 7064, MOD 97-10). */
    for (int turn = 0; turn < count; turn++) {
        unsigned char c = text[(turn + 4) % count];
        rest = walk_digit(c) ? rest * 10 + c - '0' : rest * 100 + (c | 0x20) - 'a' + 10;
        rest %= 97;
    }
    return rest == 1;
}

/* Whether a scalar may end before `at`. */
static inline int walk_ends(const Walk *w, Py_ssize_t at) {
    if (at >= w->n)
        return 1;
    switch (w->p[at]) {
    case ' ': case '\t': case '\n': case '\r': case ',': case ':': case '"':
    case '[': case ']': case '{': case '}':
        return 1;
    }
    return 0;
}

/* Where the word that begins at `at` ends, or 0 where there is none. */
static inline Py_ssize_t walk_word(const Walk *w, Py_ssize_t at) {
    const unsigned char *p = w->p + at;
    Py_ssize_t left = w->n - at;
    if (left >= 4 && (memcmp(p, "true", 4) == 0 || memcmp(p, "null", 4) == 0))
        at += 4;
    else if (left >= 5 && memcmp(p, "false", 5) == 0)
        at += 5;
    else
        return 0;
    return walk_ends(w, at) ? at : 0;
}

/* Where the number with an exponent ends that begins at `at`, or 0 where it has to be read: it is
   not valid, or nine digits or more stand before its point. */
static Py_ssize_t walk_exponent(const Walk *w, Py_ssize_t at) {
    const unsigned char *p = w->p;
    Py_ssize_t n = w->n - at > WALK_ROW ? at + WALK_ROW : w->n, first;
    int whole, exponent = 0, negative;
    at += p[at] == '-';
    for (first = at; at < n && walk_digit(p[at]);)
        at++;
    whole = (int)(at - first);
    if (whole == 0 || (whole > 1 && p[first] == '0'))
        return 0;
    if (at < n && p[at] == '.') {
        for (first = ++at; at < n && walk_digit(p[at]);)
            at++;
        if (at == first)
            return 0;
    }
    if (at + 1 >= n || (p[at] | 0x20) != 'e')
        return 0;
    at++;
    negative = p[at] == '-';
    at += negative || p[at] == '+';
    for (first = at; at < n && walk_digit(p[at]); at++)
        exponent = at - first < 4 ? exponent * 10 + p[at] - '0' : WALK_ROW;
    if (at == first || at == n || whole + (negative ? 0 : exponent) > 8)
        return 0;
    return walk_ends(w, at) ? at : 0;
}

/* Of the places in scalars that are no plain number, those that have to be read. */
static uint64_t walk_scalars(Walk *w, uint64_t look) {
    uint64_t kept = 0;
    for (; look; look &= look - 1) {
        uint64_t one = look & (0 - look), starts = w->starts & (one | (one - 1));
        Py_ssize_t at = w->base + __builtin_ctzll(look), start, end;
        if (at < w->scalar_end)
            continue;
        start = starts ? w->base + 63 - __builtin_clzll(starts) : w->scalar_at;
        end = start == at ? walk_word(w, at) : at - start < WALK_ROW ? walk_exponent(w, start) : 0;
        if (end)
            w->scalar_end = end;
        else
            kept |= one;
    }
    return kept;
}

/* Whether what names the member whose key ends before the quote at `at` may say secret. */
static __attribute__((noinline)) int walk_named(const Walk *w, Py_ssize_t at) {
    const TokenTable *t = w->rules->tokens;
    Names n;
    names_begin(&n, w->p, at);
    n.at = names_string(&n, at + 1);
    if (n.at < 0)
        return 0;
    while (names_next(&n, t))
        if (token_named(t, w->p, n.start, n.end, TOKEN_SAYS) >= 0
            || memchr(w->p + n.start, '\\', (size_t)(n.end - n.start)))
            return 1;
    return 0;
}

/* Where the string begins that is the value of the key whose closing quote is at `at`, if the key
   may say secret; or -1. */
static inline Py_ssize_t walk_value(const Walk *w, Py_ssize_t at) {
    const unsigned char *p = w->p;
    const TokenTable *t = w->rules->tokens;
    Py_ssize_t i = at + 1;
    int said = 0;
    if (!token_pair(t->ends, p[at - 2], p[at - 1]) && !token_is_wide(p, 0, at))
        return -1;
    while (i < w->n && (p[i] == ' ' || p[i] == '\n' || p[i] == '\t' || p[i] == '\r'))
        i++;
    if (i >= w->n || p[i] != ':')
        return -1;
    for (i++; i < w->n && (p[i] == ' ' || p[i] == '\n' || p[i] == '\t' || p[i] == '\r');)
        i++;
    if (i >= w->n || p[i] != '"')
        return -1;
    said = token_named(t, p, 0, at, TOKEN_SAYS) >= 0;
    /* Where something is escaped, it may be a letter of the word. */
    for (int back = 1; back < TOKEN_WORD * TOKEN_ESCAPE && at - back >= 0 && !said; back++) {
        if (p[at - back] == '"' && p[at - back - (at > back)] != '\\')
            break;
        said = p[at - back] == '\\';
    }
    if (!said && token_named(t, p, 0, at, TOKEN_LABEL) >= 0)
        said = walk_named(w, at);
    return said ? i : -1;
}

/* Adds the strings whose keys may say secret to the calls. */
static void walk_keys(Walk *w) {
    for (; w->keys; w->keys &= w->keys - 1) {
        Py_ssize_t value = walk_value(w, w->base + __builtin_ctzll(w->keys));
        if (value < 0)
            continue;
        if (value < w->base + WALK_BLOCK)
            w->calls |= 1ull << (value - w->base);
        else
            w->value_at = value;
    }
}

/* Where the last bit up to `bit` stands; `before` where there is none. */
static inline Py_ssize_t walk_last(const Walk *w, uint64_t bits, int bit, Py_ssize_t before) {
    bits &= (2ull << bit) - 1;
    return bits ? w->base + 63 - __builtin_clzll(bits) : before;
}

/* Whether the items of the array that opens at `at` may be groups of a card number. */
static inline int walk_may_split(const Walk *w, Py_ssize_t at) {
    const unsigned char *p = w->p;
    Py_ssize_t n = w->n;
    at++;
    while (at < n && (p[at] == ' ' || p[at] == '\n' || p[at] == '\t' || p[at] == '\r'))
        at++;
    if (at + 5 >= n)
        return 0;
    if (p[at] == '"')
        return (unsigned char)(p[at + 1] - '0') < 10;
    for (int i = 0; i < 4; i++)
        if ((unsigned char)(p[at + i] - '0') > 9)
            return 0;
    return p[at + 4] == ',' || p[at + 4] == ' ' || p[at + 4] == '\n' || p[at + 4] == '\r'
           || p[at + 4] == '\t';
}

#endif
