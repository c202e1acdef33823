/* What of a place is said from its bytes: whether what the masks of walk.h show there may be
   something. Most is not, and the walk then goes on without a stop. */
#ifndef IATP_PLACES_H
#define IATP_PLACES_H

/* Values of hex digits, one more than they are; 0 for all else. */
static const unsigned char walk_hex_values[256] = {
    ['0'] = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10,
    ['A'] = 11, 12, 13, 14, 15, 16,
    ['a'] = 11, 12, 13, 14, 15, 16,
};

/* The unit of the four hex digits at `at`, or -1. */
static inline int walk_unit(const Walk *w, Py_ssize_t at) {
    int a, b, c, d;
    if (at + 4 > w->n)
        return -1;
    a = walk_hex_values[w->p[at]] - 1;
    b = walk_hex_values[w->p[at + 1]] - 1;
    c = walk_hex_values[w->p[at + 2]] - 1;
    d = walk_hex_values[w->p[at + 3]] - 1;
    return (a | b | c | d) < 0 ? -1 : a << 12 | b << 8 | c << 4 | d;
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

#define WALK_ODD 0xaaaaaaaaaaaaaaaaull

/* The backslashes that begin an escape, and in `escaped` the bytes behind them. `carry` says
   whether the first byte is one, and then whether the byte behind the last is. */
static inline uint64_t walk_slants(uint64_t slant, uint64_t *carry, uint64_t *escaped) {
    /* Of backslashes in a row each other one begins an escape. A subtraction goes through a row;
       odd places tell which they are (Keiser and Lemire, simdjson). */
    uint64_t before = *carry, free = slant & ~before;
    uint64_t code = ((free << 1 | WALK_ODD) - free) ^ WALK_ODD;
    uint64_t starts = code & slant;
    *escaped = code ^ (slant | before);
    *carry = starts >> 63;
    return starts;
}

/* What walk_escapes gives of these backslashes, behind which no simple escape stands. */
static __attribute__((noinline)) int walk_units(
    Walk *w, Py_ssize_t base, uint64_t left, uint64_t *units, uint64_t *letters,
    uint64_t *slashes, uint64_t *gaps, uint64_t *more
) {
    Carries *c = &w->carries;
    for (; left; left &= left - 1) {
        int bit = __builtin_ctzll(left), counts;
        Py_ssize_t at = base + bit + 1;
        uint64_t behind;
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
            counts = walk_unit_counts(w, (unsigned)unit);
            if ((unit & 0xf800) == 0xd800) {
                if (unit < 0xdc00) {
                    if (at + 6 >= w->n || w->p[at + 5] != '\\' || w->p[at + 6] != 'u')
                        return 0;
                    unit = walk_unit(w, at + 7);
                    if (unit < 0xdc00 || unit >= 0xe000)
                        return 0;
                    w->low_surrogate_at = at + 6;
                    w->low_counts = counts;
                } else if (w->low_surrogate_at == at)
                    counts = w->low_counts;
                else
                    return 0;
            }
            behind = bit > 64 - 6 ? 0x3full >> (64 - bit) : 0;
            if (unit < 0x80
                || ((unit == 0xff1a || unit == 0xff1d)
                    && token_assigns(w->rules->tokens, w->p, 0, base + bit)))
                *units |= 1ull << bit;
            if (unit < 0x80)
                break;
            if (counts) {
                *gaps |= 0x3full << bit;
                *more |= 0x3eull << bit;
                c->wide = behind;
            } else {
                *letters |= 0x3full << bit;
                c->letters = behind;
            }
            break;
        default:
            return 0;
        }
    }
    return 1;
}

/* Checks the escapes of a block that begin at `left`, all but the simple ones of two bytes; gives the
   backslashes of units of ASCII and of signs of full width behind words that say secret, all bytes of
   units that are letters, the backslash of an escaped slash, all bytes of what counts between or as
   digits (a tab, a slash, units beyond ASCII), and of such units all bytes but the first. 0 where an
   escape is unknown or a surrogate is alone. */
static inline int walk_escapes(
    Walk *w, Py_ssize_t base, uint64_t left, uint64_t *units, uint64_t *letters,
    uint64_t *slashes, uint64_t *gaps, uint64_t *more
) {
    Carries *c = &w->carries;
    *units = *slashes = 0;
    *letters = c->letters;
    *more = c->wide;
    *gaps = c->gap | c->wide;
    c->letters = c->gap = c->wide = 0;
    return !left || walk_units(w, base, left, units, letters, slashes, gaps, more);
}

/* Whether a colon or an equals sign of full width stands at `at` behind a word that says secret. */
static inline int walk_wide_sign(const Walk *w, Py_ssize_t at) {
    const unsigned char *p = w->p + at;
    return p[0] == 0xef && p[1] == 0xbc && (p[2] == 0x9a || p[2] == 0x9d)
           && token_assigns(w->rules->tokens, w->p, 0, at);
}

#define WALK_BITS(a, b) \
    ((uint64_t)(uint32_t)_mm256_movemask_epi8(a) | (uint64_t)(uint32_t)_mm256_movemask_epi8(b) << 32)
#define WALK_ALL(c) _mm256_set1_epi8((char)(c))
/* Of bytes as they are, as signed ones: those beyond ASCII are less than all others. */
#define WALK_BELOW(c) \
    WALK_BITS(_mm256_cmpgt_epi8(WALK_ALL(c), a), _mm256_cmpgt_epi8(WALK_ALL(c), b))
#define WALK_IS(c) WALK_BITS(_mm256_cmpeq_epi8(a, WALK_ALL(c)), _mm256_cmpeq_epi8(b, WALK_ALL(c)))

/* Checks the UTF-8 of a block; gives the bytes of characters that may be digits or separators, of
   these all but the first, and where a colon or an equals sign of full width stands behind a word
   that says secret. 0 where it is not valid. */
MASKS_TARGET_AVX2
static __attribute__((noinline)) int walk_characters(
    Walk *w, Py_ssize_t base, uint64_t high, uint64_t *marks, uint64_t *more, uint64_t *signs
) {
    Carries *c = &w->carries;
    const unsigned char *p = w->p + base;
    unsigned char rest[WALK_BLOCK];
    /* Those of a character that began before have been checked with it. */
    const uint64_t began = (1ull << c->high_bytes) - 1;
    uint64_t on, lead, three, four, early, first, crossing, count;
    __m256i a, b;
    *marks = *more = c->high_marks;
    *signs = 0;
    c->high_marks = 0;
    c->high_bytes = 0;
    if (!(high & ~began))
        return 1;
    if (w->n - base < WALK_BLOCK) {
        memset(rest, ' ', WALK_BLOCK);
        memcpy(rest, p, (size_t)(w->n - base));
        p = rest;
    }
    a = _mm256_loadu_si256((const __m256i *)p);
    b = _mm256_loadu_si256((const __m256i *)(p + 32));
    /* Which go on in a character, which lead one, of three bytes or more, of four. */
    on = WALK_BELOW(0xc0);
    lead = high & ~on;
    three = high & ~WALK_BELOW(0xe0);
    four = high & ~WALK_BELOW(0xf0);
    if (on != (lead << 1 | three << 2 | four << 3 | began)
        || (lead & (WALK_BELOW(0xc2) | ~WALK_BELOW(0xf5))))
        return 0;
    /* Overlong forms, surrogates, and what is above all code points. */
    early = on & WALK_BELOW(0xa0);
    first = on & WALK_BELOW(0x90);
    if ((WALK_IS(0xe0) << 1 & early) | (WALK_IS(0xed) << 1 & ~early)
        | (WALK_IS(0xf0) << 1 & first) | (WALK_IS(0xf4) << 1 & ~first))
        return 0;
    count = lead & ~(WALK_BELOW(0xd9) & ~WALK_BELOW(0xc3) & ~WALK_IS(0xd6))
            & ~(WALK_BELOW(0xea) & ~WALK_BELOW(0xe4)) & ~(WALK_BELOW(0xee) & ~WALK_BELOW(0xeb))
            & ~(WALK_IS(0xe3) & ~(WALK_IS(0x80) >> 1 | 1ull << 63));
    crossing = (lead & 1ull << 63) | (three & 3ull << 62) | (four & 7ull << 61);
    if (crossing) {
        int bit = __builtin_ctzll(crossing);
        int length = utf8_length(w->p + base + bit, w->n - base - bit);
        if (length == 0)
            return 0;
        c->high_bytes = (uint64_t)(bit + length - 64);
    }
    for (; count; count &= count - 1) {
        int bit = __builtin_ctzll(count);
        int length = 2 + (int)(three >> bit & 1) + (int)(four >> bit & 1);
        uint64_t bytes = (1ull << length) - 1;
        if (walk_wide_sign(w, base + bit))
            *signs |= 1ull << bit;
        if (!walk_character_counts(w, w->p + base + bit, length))
            continue;
        *marks |= bytes << bit;
        *more |= (bytes & ~1ull) << bit;
        if (bit + length > 64)
            c->high_marks = (1ull << c->high_bytes) - 1;
    }
    return 1;
}
#undef WALK_IS
#undef WALK_BELOW
#undef WALK_ALL
#undef WALK_BITS

/* Whether something is escaped in the word that ends at `at`: it may be a letter. */
static inline int walk_escaped(const Walk *w, Py_ssize_t at) {
    const unsigned char *p = w->p;
    for (int back = 1; back < TOKEN_WORD * TOKEN_ESCAPE && at - back >= 0; back++) {
        if (p[at - back] == '\\')
            return 1;
        if (p[at - back] == '"' && p[at - back - (at > back)] != '\\')
            return 0;
    }
    return 0;
}

/* Puts the ends of the words that say secret, and of those between them and a value, into the rules. */
static void walk_tails(WalkRules *rules) {
    const TokenTable *t = rules->tokens;
    for (int i = 1; i < t->word_count; i++) {
        const unsigned char *end = t->words[i] + t->lengths[i];
        if (t->kinds[i] & (TOKEN_SAYS | TOKEN_LABEL | TOKEN_VERB))
            for (int first = 0; first < 32; first++)
                if (t->lengths[i] == 2 || first == (end[-3] & 31))
                    rules->tails[first][end[-2] & 31] |= 1u << (end[-1] & 31);
    }
}

/* Whether the word may say something that ends before the sign at `at`, or before the quote of JSON
   inside a string there. */
static inline int walk_may_say(const Walk *w, Py_ssize_t at) {
    const unsigned char *end = w->p + at;
    if (at < 8)
        return 1;
    if (end[-1] == '"')
        end -= end[-3] == '\\' ? 4 : 2;
    return w->rules->tails[end[-3] & 31][end[-2] & 31] >> (end[-1] & 31) & 1;
}

/* Whether a UUID in quotes stands at `at`, as they are written, or are in JSON inside a string. In lower
   case nothing can be encoded in it: no byte of a number begins with such a character of base64,
   and no text goes on behind a dash. */
static inline int walk_is_uuid(const Walk *w, Py_ssize_t at) {
    const unsigned char *p = w->p + at, *end = p + WALK_UUID;
    return at > 0 && at + WALK_UUID + 3 < w->n && p[-1] == '"'
           && (end[0] == '"'
               || (end[0] == '\\'
                   && (end[1] == '"' || (end[1] == '\\' && end[2] == '\\' && end[3] == '"'))))
           && uuid_bytes(p) && small_bytes(p);
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
        /* A UUID in quotes is no secret. */
        if (at > 0 && at + 36 < w->n && w->p[at - 1] == '"'
            && (w->p[at + 36] == '"' || w->p[at + 36] == '\\') && uuid_bytes(w->p + at))
            continue;
        /* What is read closely up to `done` holds it already. */
        if (at >= w->done && token_run(t, w->p, 0, at, w->n,
                                       token_said(t, w->p, 0, at)
                                           && (token_says(t, w->p, 0, at)
                                               || walk_escaped(w, token_word(w->p, 0, at))),
                                       &w->run_end) >= 0)
            w->calls |= events & (0 - events);
    }
}

/* What stands behind the backslashes from `at` on. */
static inline unsigned char walk_unescaped(const Walk *w, Py_ssize_t at) {
    while (at < w->n && w->p[at] == '\\')
        at++;
    return at < w->n ? w->p[at] : 0;
}

/* Whether a run of base64 has further lines and may hold something together with them; the first
   goes from `at` to `end`. */
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
        /* In an escaped break another layer ends, and an escaped slash goes on with the line; at a
           quote a string ends, of whatever JSON inside the string. */
        if (end + 4 >= w->n
            || (p[end] == '\\' && !token_blank(p[end + 1]) && walk_unescaped(w, end) != '"'))
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
    return length > first && coded_may_hold(run, length, length);
}

/* Whether the run from `at` to `w->coded_end` may hold something. */
static inline int walk_run_may_hold(const Walk *w, Py_ssize_t at) {
    const unsigned char *p = w->p;
    Py_ssize_t end = w->coded_end;
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
    return end - at >= WALK_RUN && coded_may_hold(p + at, end - at, w->n - at)
           && w->rules->run_holds(p + at, end - at);
}

/* Whether the run of base64 that begins at `at` in a string, if one does, may hold something. An
   escape is no part of it, but for an escaped slash. */
static inline int walk_may_hold(Walk *w, Py_ssize_t at) {
    const unsigned char *p = w->p;
    Py_ssize_t slash = at;
    while (p[slash - 1] == '\\')
        slash--;
    if ((at - slash) & 1) {
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
    w->coded_end = at + coded_end(p + at, w->n - at);
    /* Its first character may be of an escape of JSON inside the string. */
    return walk_run_may_hold(w, at)
           || (slash < at && p[at - 1] == '\\' && w->coded_end > at && walk_run_may_hold(w, at + 1));
}

/* Adds the runs of base64 that may hold something to the calls. */
static void walk_coded(Walk *w, uint64_t runs) {
    while (runs) {
        Py_ssize_t past = (w->coded_end > w->done ? w->coded_end : w->done) - w->base, place, at;
        if (past >= WALK_BLOCK)
            return;
        if (past > 0)
            runs &= ~0ull << past;
        if (!runs)
            return;
        place = w->base + __builtin_ctzll(runs);
        at = place - (WALK_RUN - 1);
        if (at <= w->coded_end)
            at = w->coded_end + 1;
        /* The mask may have more than base64 in it. */
        for (; at <= place; at = w->coded_end + 1)
            if (walk_may_hold(w, at))
                w->calls |= runs & (0 - runs);
        runs &= runs - 1;
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

/* What no row has in it, and no escape or character beyond ASCII. */
static const unsigned char walk_stops[256] = {
    [':'] = 1, [','] = 1, ['='] = 1, ['"'] = 1, ['('] = 1, [')'] = 1, ['['] = 1, [']'] = 1, ['}'] = 1,
};

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

/* Where the last bit up to `bit` stands of the block from `base` on; `before` where there is none. */
static inline Py_ssize_t walk_last(uint64_t bits, int bit, Py_ssize_t base, Py_ssize_t before) {
    bits &= (2ull << bit) - 1;
    return bits ? base + 63 - __builtin_clzll(bits) : before;
}

/* Whether the row around `at` has nine digits, or may have them: it has escapes or characters beyond
   ASCII in it. */
static int walk_many(Walk *w, Py_ssize_t at) {
    const unsigned char *p = w->p;
    Py_ssize_t low = at, high = at;
    int count = 0;
    /* The second byte of an escape. */
    if (p[low] != '\\' && !walk_digit(p[low]) && p[low - 1] == '\\')
        low--, high--;
    for (;;) {
        unsigned char c = p[low - 1];
        if (at - low > WALK_ROW || c >= 0x80)
            return 1;
        if (walk_digit(c) || walk_joins(c)) {
            count += walk_digit(c) != 0;
            low--;
        } else if ((c == 't' || c == '/') && p[low - 2] == '\\' && p[low - 3] != '\\')
            low -= 2;
        else
            break;
    }
    /* It may be the end of a unit. */
    for (Py_ssize_t i = low - 1; i > low - 6 && i > 0; i--)
        if (p[i] == 'u' && p[i - 1] == '\\')
            return 1;
    while (high < w->n) {
        unsigned char c = p[high];
        if (high - at > WALK_ROW || c >= 0x80)
            return 1;
        if (walk_digit(c) || walk_joins(c)) {
            count += walk_digit(c) != 0;
            high++;
        } else if (c == '\\' && high + 1 < w->n && !walk_breaks(p[high + 1])) {
            if (p[high + 1] == 'u')
                return 1;
            high += 2;
        } else
            break;
    }
    w->row_end = high;
    return count >= 9;
}

/* Whether the string at `start`, in which the place at hand is, begins like JSON. */
static inline int walk_is_nested(const Walk *w, Py_ssize_t start) {
    Py_ssize_t place = start + 1 - w->base;
    return place < 0 ? start == w->begins_at : place < WALK_BLOCK && (w->begins >> place & 1);
}

/* Whether nine bare digits, from `at` to `end` in the string that begins at `start`, may be a social
   security number. */
static int walk_bare(Walk *w, Py_ssize_t start, Py_ssize_t at, Py_ssize_t end) {
    const unsigned char *p = w->p;
    if (end < w->n && (unsigned char)((p[end] | 0x20) - 'a') < 26)
        return 0;
    /* In JSON inside the string keys far from it may say so, unless a letter stands before it. */
    if (walk_is_nested(w, start)
        && (p[at - 2] == '\\' || (unsigned char)((p[at - 1] | 0x20) - 'a') > 25))
        return 1;
    if (at - w->called_end < WALK_NEAR)
        return 1;
    w->called_end = end;
    return w->rules->may_call(p, start, at);
}

/* Whether the ten digits or more around `at`, to which no others are joined, are a card; -1 where that
   is not known here. Most are a time, or an ID. */
MASKS_TARGET_AVX2
static inline int walk_lone(Walk *w, Py_ssize_t at) {
    const unsigned char *p = w->p;
    unsigned char digits[32];
    __m256i values;
    uint32_t others;
    Py_ssize_t low, high, before, behind;
    int length;
    if (at < 16 || w->n - at < 20)
        return -1;
    values = _mm256_sub_epi8(_mm256_loadu_si256((const __m256i *)(p + at - 16)),
                             _mm256_set1_epi8('0'));
    others = ~(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(
        _mm256_min_epu8(values, _mm256_set1_epi8(9)), values));
    if (!(others & 0xfffe) || !(others >> 16) || others >> 16 & 1)
        return -1;
    low = at - 15 + (31 - __builtin_clz(others & 0xffff));
    high = at + __builtin_ctz(others >> 16);
    before = low - 1 - walk_joins(p[low - 1]);
    behind = high + walk_joins(p[high]);
    length = (int)(high - low);
    if (length < 10 || length > WALK_CARD || !walk_stops[p[before]]
        || !(walk_stops[p[behind]] || (p[behind] == '\\' && walk_breaks(p[behind + 1]))))
        return -1;
    w->row_end = high;
    if (length < 13)
        return 0;
    _mm256_storeu_si256((__m256i *)digits, values);
    return w->rules->is_card(digits + (low - (at - 16)), length);
}

/* Whether the row of digits and single separators around `at`, in the string that begins at `start`,
   may hold a number. */
static int walk_row(Walk *w, Py_ssize_t start, Py_ssize_t at) {
    const unsigned char *p = w->p;
    unsigned char digits[WALK_ROW];
    int starts[WALK_GROUPS + 1], groups = 0, total = 0;
    Py_ssize_t places[WALK_GROUPS];
    unsigned char joints[WALK_GROUPS];
    Py_ssize_t i = at;
    uint64_t eight;
    memcpy(&eight, p + at - 8, 8);
    /* Digits, or nearly so: a row of several groups is not asked. */
    if ((eight & 0xf0f0f0f0f0f0f0f0ull) == 0x3030303030303030ull) {
        const int lone = walk_lone(w, at);
        if (lone >= 0)
            return lone;
    }
    while (walk_digit(p[i - 1]) || (walk_joins(p[i - 1]) && walk_digit(p[i - 2]))) {
        i--;
        if (at - i == WALK_ROW)
            return 1;
    }
    if (!walk_digit(p[i]) || walk_joined_before(w, i))
        return walk_many(w, at);
    for (;;) {
        if (groups == WALK_GROUPS)
            return 1;
        places[groups] = i;
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
    if (walk_joined_behind(w, i))
        return walk_many(w, at);
    w->row_end = i;
    for (int first = 0; first < groups; first++)
        for (int end = first + 1; end <= groups; end++) {
            int length = starts[end] - starts[first];
            if (length > WALK_CARD)
                break;
            if (length >= 13 && w->rules->is_card(digits + starts[first], length))
                return 1;
            if (length == 9 && w->rules->is_ssn(digits + starts[first])
                && ((end == first + 1 && walk_bare(w, start, places[first], places[first] + 9))
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
    uint64_t nine = g->nine[lane], joiners = g->joiners[lane], kept = 0;
    uint64_t joiners_before = lane ? g->joiners[lane - 1] : g->joiners_before;
    if (joiners | joiners_before) {
        /* Nine places are not yet nine marks (a date, other scripts): once more without the joiners
           and with one byte of each character. Of what is left of the block before, the last is
           the highest bit; what is before that may all be marks. */
        uint64_t row = g->row[lane], row_before = lane ? g->row[lane - 1] : g->row_before;
        int gone = __builtin_popcountll(joiners_before);
        uint64_t before = gone == 64 ? ~0ull
                                     : _pext_u64(row_before, ~joiners_before) << gone
                                           | ((1ull << gone) - 1);
        unsigned __int128 marks = (unsigned __int128)_pext_u64(row, ~joiners) << 64 | before;
        unsigned __int128 long_ = marks & marks << 1;
        long_ &= long_ << 2;
        long_ &= long_ << 4;
        nine = _pdep_u64((uint64_t)((long_ & marks << 8) >> 64), ~joiners);
    }
    for (; nine; nine &= nine - 1) {
        uint64_t one = nine & (0 - nine);
        int bit = __builtin_ctzll(nine);
        Py_ssize_t at = w->base + bit;
        if (at < w->row_end || at < w->done)
            continue;
        if (w->in & one) {
            if (walk_row(w, walk_last(w->opens, bit, w->base, w->open_at), at)) {
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

/* Whether the @ at `at` may be that of an address, or of a URL with a password. */
static inline int walk_may_address(const Walk *w, Py_ssize_t at) {
    unsigned char c = at + 1 < w->n ? w->p[at + 1] : 0;
    return c >= 0x80 || token_alnum(c) || c == '-' || c == '[' || c == '\\';
}

/* Whether the user and the password of a URL may stand before the @ at `at`. */
static inline int walk_url(const Walk *w, Py_ssize_t at) {
    const unsigned char *p = w->p;
    for (Py_ssize_t i = at - 1; i > 0; i--) {
        unsigned char c = p[i];
        if (c == '/')
            return p[i - 1] == '/' || p[i - 1] == '\\';
        /* Neither a user nor a password has these in it. */
        if (c == ' ' || c == '"' || c == '<' || c == '>' || c == '@')
            break;
    }
    return 0;
}

/* Whether the character beyond ASCII at `p` is none of an address, as _in_address of text.pyx has
   it; some that are none are not known here. */
static inline int walk_no_letter(const unsigned char *p) {
    switch (p[0]) {
    case 0xc2: return 1;
    case 0xe2: return p[1] == 0x80 || (p[1] == 0x81 && p[2] < 0xb0);
    case 0xe3: return p[1] == 0x80;
    case 0xef: return p[1] == 0xbc && p[2] < 0x90;
    }
    return 0;
}

/* Where the local part before the @ at `at` begins, at `floor` or later; `at` where there is none;
   -1 where it has to be read. */
static Py_ssize_t walk_local(const Walk *w, Py_ssize_t at, Py_ssize_t floor) {
    const unsigned char *p = w->p;
    Py_ssize_t low = at, slash;
    unsigned char c;
    for (; low > floor && at - low < WALK_LOCAL; low--) {
        c = p[low - 1];
        if (!token_alnum(c) && c != '.' && c != '_' && c != '%' && c != '+' && c != '-'
            && c != '\'')
            break;
    }
    c = p[low - 1];
    if (low == floor)
        ;
    else if (c == '\\') {
        for (slash = low - 1; slash > floor && p[slash - 1] == '\\';)
            slash--;
        if (p[low] == 'u')
            return -1;
        /* The first of these is part of an escape. */
        if ((low - slash) & 1) {
            if (at - low == WALK_LOCAL)
                return -1;
            low++;
        }
    } else if (c >= 0x80 && at - low < WALK_LOCAL) {
        for (slash = low - 1; slash > floor && (p[slash] & 0xc0) == 0x80;)
            slash--;
        if (!walk_no_letter(p + slash))
            return -1;
    }
    while (low < at && (p[low] == '.' || p[low] == '\''))
        low++;
    return low;
}

/* Where the domain behind the @ at `at` ends; 0 where there is none; -1 where it has to be read. */
static Py_ssize_t walk_domain(const Walk *w, Py_ssize_t at) {
    const unsigned char *p = w->p;
    Py_ssize_t high = w->n - at > WALK_DOMAIN ? at + WALK_DOMAIN : w->n, end = 0;
    int labels = 0, length = 0, named = 0;
    for (Py_ssize_t i = at + 1; i < high; i++) {
        unsigned char c = p[i];
        if (c == '.') {
            if (length == 0)
                break;
            labels++;
            length = named = 0;
            continue;
        }
        if (!token_alnum(c) && c != '-') {
            if (c >= 0x80 ? !walk_no_letter(p + i) : c == '\\' && walk_unescaped(w, i) == 'u')
                return -1;
            break;
        }
        named |= !walk_digit(c) && c != '-';
        length++;
        if (labels && length > 1 && named && c != '-')
            end = i + 1;
    }
    return end;
}

/* Whether before the local part at `low` stands an escape other than that of a quote; in JSON inside
   the string its letter may be the end of another. `floor` is where the string's text begins. */
static inline int walk_after_escape(const unsigned char *p, Py_ssize_t floor, Py_ssize_t low) {
    while (low > floor && (p[low - 1] == '.' || p[low - 1] == '\''))
        low--;
    return low > floor && p[low - 1] != '"'
           && (p[low - 1] == '\\' || (low - 1 > floor && p[low - 2] == '\\'));
}

/* Whether an address stands around the @ at `at` in the string that begins at `start`, from
   `w->start` to `w->end`; -1 where it has to be read. Numbers and secrets, at which an address ends,
   have been looked for by their own masks: where there may be one, the string is read. */
static int walk_address(Walk *w, Py_ssize_t start, Py_ssize_t at) {
    const unsigned char *p = w->p;
    Py_ssize_t floor = w->address_end > start ? w->address_end : start + 1, low, end;
    if (walk_url(w, at))
        return -1;
    end = walk_domain(w, at);
    if (end <= 0)
        return (int)end;
    low = walk_local(w, at, floor);
    if (low < 0 || low == at)
        return low < 0 ? -1 : 0;
    if (walk_is_nested(w, start) && walk_after_escape(p, start + 1, low))
        return -1;
    if (at - low == 3 && memcmp(p + low, "git", 3) == 0 && end + 1 < w->n && p[end] == ':') {
        /* User and host of git@host:path. */
        if (p[end + 1] == '\\')
            return -1;
        if (token_alnum(p[end + 1]) || p[end + 1] == '/' || p[end + 1] == '~')
            return 0;
    }
    w->start = low;
    w->end = w->address_end = end;
    return 1;
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

/* Whether the unit of JSON inside the string may count whose hex digits stand at `at`. A letter
   beyond ASCII does not, unless a word that says secret may end with it, or a run of base64 begins
   behind it; of addresses, rows and users those know who look at them. */
static int walk_inner_unit(const Walk *w, Py_ssize_t at) {
    const TokenTable *t = w->rules->tokens;
    int unit = walk_unit(w, at);
    uint32_t small;
    if (unit < 0x80)
        return unit >= 0;
    if (walk_unit_counts(w, (unsigned)unit) || unit == 0xff1a || unit == 0xff1d)
        return 1;
    small = token_small((uint32_t)unit);
    for (int i = 0; i < t->wide_count; i++)
        if (t->wide[i].last == small || t->wide[i].before == small)
            return 1;
    return coded_end(w->p + at + 4, w->n - at - 4) >= WALK_RUN;
}

/* Whether an escape of JSON inside the string may count whose backslash stands before `at`. The end
   of a line, a quote and a backslash do not: what stands beside one is looked at as it is beside
   them. */
static inline int walk_inner_escape(const Walk *w, Py_ssize_t at) {
    const unsigned char *p = w->p + at;
    if (w->n - at < 2)
        return 0;
    if (p[0] == '\\')
        return p[1] == '/' || p[1] == 'u';
    /* A tab counts between digits. */
    if (p[0] == 't')
        return walk_digit(p[1]) || p[1] >= 0x80;
    return p[0] == '/' || (p[0] == 'u' && (p[1] == '\\' || walk_inner_unit(w, at + 1)));
}

/* Whether the percent sign at `at` is one of %04d and the like: undone it is a control character, a
   letter, and what stood behind that before. */
static inline int walk_format(const Walk *w, Py_ssize_t at) {
    const unsigned char *p = w->p + at;
    return w->n - at > 4 && p[1] == '0' && walk_digit(p[2]) && p[2] != '9'
           && (p[3] == 'd' || p[3] == 'x' || p[3] == 'X' || p[3] == 'u')
           && (p[4] == '-' || p[4] == ' ' || p[4] == ':' || p[4] == '.' || p[4] == '\'');
}

/* Of signs in strings, those that may count: % & and escaped backslashes. Every @ that may is among
   `w->addresses`. */
static uint64_t walk_signs(Walk *w, uint64_t signs) {
    const unsigned char *p = w->p;
    uint64_t kept = 0;
    for (; signs; signs &= signs - 1) {
        Py_ssize_t at = w->base + __builtin_ctzll(signs);
        int counts = 0;
        switch (p[at]) {
        case '@':
            if (walk_may_address(w, at))
                w->addresses |= signs & (0 - signs);
            break;
        case '%':
            counts = at + 2 < w->n && walk_hex(p[at + 1]) && walk_hex(p[at + 2])
                     && !walk_format(w, at);
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

/* Whether an IBAN may go on with the escape at `at`, behind so many characters. */
static inline int walk_iban_escape(const Walk *w, Py_ssize_t at, int count) {
    const unsigned char *p = w->p + at + 1;
    if (w->n - at < 3)
        return 1;
    /* JSON inside the string, whose escapes of characters are told elsewhere. */
    if (p[0] == '\\')
        p++;
    return p[0] == 'u' || (count >= 4 && !walk_breaks(p[0]));
}

/* Whether the IBAN may be one whose country stands before the digit at `at`. */
static int walk_iban(const Walk *w, Py_ssize_t at) {
    const unsigned char *p = w->p;
    unsigned char text[WALK_IBAN];
    Py_ssize_t i = at - 2;
    int count = 0, gap = 0, rest = 0;
    int length = w->rules->ibans[((p[i] | 0x20) - 'a') * 26 + (p[i + 1] | 0x20) - 'a'];
    const int figures = length & WALK_FIGURES;
    length &= WALK_FIGURES - 1;
    for (; count < length; i++) {
        if (i >= w->n || p[i] >= 0x80)
            return 1;
        if (p[i] == '\\')
            return walk_iban_escape(w, i, count);
        if (token_alnum(p[i])) {
            if ((count == 2 || count == 3 || (figures && count > 3)) && !walk_digit(p[i]))
                return 0;
            text[count++] = p[i];
            gap = 0;
        } else if (count < 4 || gap || !walk_joins(p[i]))
            return 0;
        else
            gap = 1;
    }
    if (i < w->n && token_alnum(p[i]))
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
    said = said || walk_escaped(w, at);
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

/* What is found in JSON inside a string and would not be in its text: numbers by their value, cards
   that are split over an array, and what keys say. As deep as it lies, and however often the quotes
   are escaped there, it has one of these three. */

/* Whether the e at `at`, behind a digit, may be that of a number with nine digits or more before its
   point. */
static int walk_inner_exponent(const Walk *w, Py_ssize_t at) {
    const unsigned char *p = w->p;
    Py_ssize_t low = at, i = at + 1;
    int whole = 0, exponent = 0;
    unsigned char c;
    if (at + 2 >= w->n)
        return 1;
    if (!walk_digit(p[i]) && !((p[i] == '+' || p[i] == '-') && walk_digit(p[i + 1])))
        return 0;
    for (; walk_digit(p[low - 1]) || p[low - 1] == '.'; low--) {
        if (at - low == WALK_ROW)
            return 1;
        whole = p[low - 1] == '.' ? 0 : whole + 1;
    }
    low -= p[low - 1] == '-';
    c = p[low - 1];
    if (c != ':' && c != ',' && c != '[' && c != ' ' && !(token_blank(c) && p[low - 2] == '\\'))
        return 0;
    if (p[i] != '-')
        for (i += p[i] == '+'; i < w->n && walk_digit(p[i]) && exponent < WALK_ROW; i++)
            exponent = exponent * 10 + p[i] - '0';
    return whole + exponent > 8;
}

/* Whether the items of the array that opens at `at` may be groups of a card number. */
static int walk_inner_split(const Walk *w, Py_ssize_t at) {
    const unsigned char *p = w->p;
    Py_ssize_t n = w->n, i = at + 1, first;
    int text = 0;
    for (;; i++) {
        while (i < n && p[i] == ' ')
            i++;
        first = i;
        while (i < n && p[i] == '\\')
            i++;
        if (i == n || i == first || !token_blank(p[i]))
            break;
    }
    if (i > first) {
        if (i == n || p[i++] != '"')
            return 0;
        text = 1;
    }
    for (first = i; i < n && walk_digit(p[i]);)
        i++;
    if (i == n)
        return 0;
    return text ? i > first && p[i] == '\\'
                : i - first == 4 && (p[i] == ',' || p[i] == ' ' || p[i] == '\\');
}

/* Whether the colon at `at` may stand between a string and a key that has it named by others. */
static int walk_inner_label(const Walk *w, Py_ssize_t at) {
    const TokenTable *t = w->rules->tokens;
    const unsigned char *p = w->p;
    Py_ssize_t i = at + 1;
    if (token_no_word(t, p, 0, at))
        return 0;
    while (i < w->n && p[i] == ' ')
        i++;
    return i < w->n && p[i] == '\\' && !token_assigned(p, 0, at)
           && token_named(t, p, 0, token_word(p, 0, at), TOKEN_LABEL) >= 0;
}

/* Of these bytes of the block at hand, in JSON inside a string, one at which that may hold
   something; or 0. */
static uint64_t walk_inner(const Walk *w, uint64_t within) {
    const Group *g = &w->group;
    uint64_t left;
    for (left = g->exponents[w->lane] & within; left; left &= left - 1)
        if (walk_inner_exponent(w, w->base + __builtin_ctzll(left)))
            return left & (0 - left);
    for (left = g->squares[w->lane] & within; left; left &= left - 1)
        if (walk_inner_split(w, w->base + __builtin_ctzll(left)))
            return left & (0 - left);
    for (left = g->assigns[w->lane] & within; left; left &= left - 1)
        if (walk_inner_label(w, w->base + __builtin_ctzll(left)))
            return left & (0 - left);
    return 0;
}

/* Of strings that begin like JSON, `w->begins` being those that do so in the block at hand, tells
   the first places at which they may hold something but an address: that is the same in JSON and in
   its text. */
static __attribute__((noinline)) void walk_nested(Walk *w) {
    uint64_t begins = w->begins;
    while (w->nested || begins) {
        uint64_t one = w->nested ? 1 : begins & (0 - begins), closes = w->closes & ~(one - 1);
        uint64_t within = (closes & (0 - closes)) - one;
        uint64_t found = w->calls & within;
        if (!w->nested)
            begins &= begins - 1;
        if (!found)
            found = walk_inner(w, within);
        if (found) {
            /* Before it, since what is told of an address is then taken back. */
            found |= w->addresses & within;
            w->firsts |= found & (0 - found);
        }
        w->nested = !closes && !found;
        if (!closes)
            return;
    }
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
