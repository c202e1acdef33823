/* Fills a window of code points, and says where in it something may begin that has to be asked
   for: a number, an address, a secret, an IBAN.

   Of each code point there is a byte: itself, where it is ASCII; else what it is, for numbers.
   From these bytes masks are made, 64 at a time, and from the masks the places, but for those where
   a look at the bytes says that it is nothing: no such word, prefix, key, or number. What is not
   among them is nothing; what is may be nothing too. Without AVX2 all places are. */
#ifndef IATP_WINDOW_H
#define IATP_WINDOW_H

#include <stdint.h>
#include <string.h>
#include "tokens.h"
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* Bytes of code points beyond ASCII: a decimal digit (its value is added), a separator, others. */
#define WINDOW_DIGIT 0x90
#define WINDOW_SEPARATOR 0xa0
#define WINDOW_OTHER 0xb0
/* So many bytes that are 0 stand behind those of a window: no look at a place goes further. */
#define WINDOW_PAD 128
/* Of said.pyx, the most code points of a user in a URL. */
#define WINDOW_USER 40
/* Digits of cards. */
#define WINDOW_CARD 19
#define WINDOW_CARD_LEAST 13

/* Sets of ASCII: bit h of `lows[l]` is that of the character with the halves h and l. */
typedef struct {
    unsigned char lows[16];
} WindowSet;

typedef struct {
    const TokenTable *tokens;
    WindowSet firsts, seconds;      /* of known prefixes */
    WindowSet lasts, befores;       /* the last two letters of words that announce a secret */
    WindowSet gaps;                 /* what may stand between those and the secret */
    WindowSet separators;           /* of groups of digits */
    WindowSet runs;                 /* what tokens are made of, whose fixed part stands inside */
    const unsigned int *lengths;    /* of cards that begin with three digits; bit n: n digits */
} WindowSets;

static inline int window_lowest(uint64_t bits) {
    return __builtin_ctzll(bits);
}

static inline void window_put(WindowSet *set, unsigned char c) {
    set->lows[c & 15] |= (unsigned char)(1 << (c >> 4));
}

/* How many of `n` bytes are ASCII and neither `one` nor `two`. */
static inline Py_ssize_t window_plain(
    const unsigned char *p, Py_ssize_t n, unsigned char one, unsigned char two
) {
    Py_ssize_t at = 0;
#if defined(__SSE2__)
    for (; at + 16 <= n; at += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(p + at));
        int hit = _mm_movemask_epi8(_mm_or_si128(v, _mm_or_si128(
            _mm_cmpeq_epi8(v, _mm_set1_epi8((char)one)),
            _mm_cmpeq_epi8(v, _mm_set1_epi8((char)two)))));
        if (hit)
            return at + __builtin_ctz((unsigned)hit);
    }
#endif
    while (at < n && p[at] < 0x80 && p[at] != one && p[at] != two)
        at++;
    return at;
}

/* How many code points `n` bytes are, rather too few: UTF-8 in which each `mark` may begin an escape
   of `width` bytes that is none by itself. */
static inline Py_ssize_t window_points(
    const unsigned char *p, Py_ssize_t n, unsigned char mark, int width
) {
    Py_ssize_t at = 0, points = 0, marks = 0;
#if defined(__SSE2__)
    const __m128i none = _mm_setzero_si128(), one = _mm_set1_epi8(1);
    __m128i sum = none, mark_sum = none;
    uint64_t sums[2];
    for (; at + 16 <= n; at += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(p + at));
        /* What goes on in a character is, as a signed byte, at most this. */
        __m128i leads = _mm_cmpgt_epi8(v, _mm_set1_epi8((char)0xbf));
        __m128i hits = _mm_cmpeq_epi8(v, _mm_set1_epi8((char)mark));
        sum = _mm_add_epi64(sum, _mm_sad_epu8(_mm_and_si128(leads, one), none));
        mark_sum = _mm_add_epi64(mark_sum, _mm_sad_epu8(_mm_and_si128(hits, one), none));
    }
    memcpy(sums, &sum, sizeof sums);
    points = (Py_ssize_t)(sums[0] + sums[1]);
    memcpy(sums, &mark_sum, sizeof sums);
    marks = (Py_ssize_t)(sums[0] + sums[1]);
#endif
    for (; at < n; at++) {
        points += (p[at] & 0xc0) != 0x80;
        marks += p[at] == mark;
    }
    return points > width * marks ? points - width * marks : 0;
}

/* Takes `n` bytes of ASCII from `at` on as they are. */
static inline void window_copy(
    const unsigned char *p, Py_ssize_t at, Py_ssize_t n, uint32_t *cp, Py_ssize_t *pos,
    unsigned char *kind
) {
    Py_ssize_t i = 0;
    p += at;
    memcpy(kind, p, (size_t)n);
#if defined(__SSE2__)
    if (sizeof(Py_ssize_t) == 8) {
        const __m128i none = _mm_setzero_si128();
        __m128i place = _mm_set_epi64x((long long)at + 1, (long long)at);
        for (; i + 8 <= n; i += 8) {
            __m128i v = _mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i *)(p + i)), none);
            _mm_storeu_si128((__m128i *)(cp + i), _mm_unpacklo_epi16(v, none));
            _mm_storeu_si128((__m128i *)(cp + i + 4), _mm_unpackhi_epi16(v, none));
            for (int pair = 0; pair < 8; pair += 2) {
                _mm_storeu_si128((__m128i *)(pos + i + pair), place);
                place = _mm_add_epi64(place, _mm_set1_epi64x(2));
            }
        }
    }
#endif
    for (; i < n; i++) {
        cp[i] = p[i];
        pos[i] = at + i;
    }
}

/* `secrets` become the places where a secret or an IBAN may begin, `places` those where anything
   may. */
static inline void window_places_plain(
    const unsigned char *kind, int n, uint64_t *secrets, uint64_t *places
) {
    int joined = 0, counting = 0;
    for (int block = 0; block * 64 < n; block++) {
        uint64_t secret = 0, place = 0;
        for (int bit = 0; bit < 64 && block * 64 + bit < n; bit++) {
            unsigned char c = kind[block * 64 + bit];
            int figure = (unsigned char)(c - '0') < 10;
            int digit = figure || (unsigned char)(c - WINDOW_DIGIT) < 10;
            secret |= (uint64_t)(c > 0x20 && c < 0x80 && (c == '-' || !joined)) << bit;
            place |= (uint64_t)(c == '@' || (digit && !counting)) << bit;
            joined = figure || (unsigned char)((c | 0x20) - 'a') < 26;
            counting = digit;
        }
        secrets[block] = secret;
        places[block] = secret | place;
    }
}

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <immintrin.h>

#define WINDOW_TARGET __attribute__((target("avx2")))

static int window_level(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") != 0;
}

/* One bit for each code point of 64. */
typedef struct {
    uint64_t alnum, letter, figure, digit, visible, run, gap;
    uint64_t first, second, last, before;
    uint64_t dash, slash, colon, begin, key, user, equals, at;
    uint64_t high, separator, exponent;
} WindowMasks;

#define WINDOW_BITS_OF(a, b) \
    ((uint64_t)(uint32_t)_mm256_movemask_epi8(a) | (uint64_t)(uint32_t)_mm256_movemask_epi8(b) << 32)
#define WINDOW_ALL(c) _mm256_set1_epi8((char)(c))
#define WINDOW_IS(c) \
    WINDOW_BITS_OF(_mm256_cmpeq_epi8(a, WINDOW_ALL(c)), _mm256_cmpeq_epi8(b, WINDOW_ALL(c)))

WINDOW_TARGET
static inline __attribute__((always_inline)) __m256i window_within(
    __m256i v, int first, int count
) {
    __m256i off = _mm256_sub_epi8(v, WINDOW_ALL(first));
    return _mm256_cmpeq_epi8(_mm256_min_epu8(off, WINDOW_ALL(count - 1)), off);
}

WINDOW_TARGET
static inline __attribute__((always_inline)) uint64_t window_in(
    const WindowSet *set, __m256i a, __m256i b, __m256i places_a, __m256i places_b
) {
    const __m256i none = _mm256_setzero_si256();
    __m256i lows = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)set->lows));
    return ~WINDOW_BITS_OF(
        _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(lows, a), places_a), none),
        _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(lows, b), places_b), none));
}

WINDOW_TARGET
static inline __attribute__((always_inline)) void window_masks(
    const WindowSets *s, const unsigned char *kind, WindowMasks *m
) {
    __m256i a = _mm256_loadu_si256((const __m256i *)kind);
    __m256i b = _mm256_loadu_si256((const __m256i *)(kind + 32));
    __m256i small = WINDOW_ALL(0x20), half = WINDOW_ALL(0x0f);
    /* A byte beyond ASCII has its top bit set, so the table of low halves gives it nothing. */
    __m256i bits = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(1, 2, 4, 8, 16, 32, 64, (char)128, 0, 0, 0, 0, 0, 0, 0, 0));
    __m256i pa = _mm256_shuffle_epi8(bits, _mm256_and_si256(_mm256_srli_epi16(a, 4), half));
    __m256i pb = _mm256_shuffle_epi8(bits, _mm256_and_si256(_mm256_srli_epi16(b, 4), half));
    m->letter = WINDOW_BITS_OF(window_within(_mm256_or_si256(a, small), 'a', 26),
                               window_within(_mm256_or_si256(b, small), 'a', 26));
    m->figure = WINDOW_BITS_OF(window_within(a, '0', 10), window_within(b, '0', 10));
    m->digit = m->figure | WINDOW_BITS_OF(window_within(a, WINDOW_DIGIT, 10),
                                          window_within(b, WINDOW_DIGIT, 10));
    m->alnum = m->letter | m->figure;
    m->visible = WINDOW_BITS_OF(_mm256_cmpgt_epi8(a, small), _mm256_cmpgt_epi8(b, small));
    m->run = window_in(&s->runs, a, b, pa, pb);
    m->gap = window_in(&s->gaps, a, b, pa, pb);
    m->first = window_in(&s->firsts, a, b, pa, pb);
    m->second = window_in(&s->seconds, a, b, pa, pb);
    m->last = window_in(&s->lasts, a, b, pa, pb);
    m->before = window_in(&s->befores, a, b, pa, pb);
    m->dash = WINDOW_IS('-');
    m->slash = WINDOW_IS('/');
    m->colon = WINDOW_IS(':');
    m->equals = WINDOW_IS('=');
    m->begin = WINDOW_IS('B');
    m->key = WINDOW_IS('g') | WINDOW_IS('y');
    m->user = WINDOW_IS('u');
    m->at = WINDOW_IS('@');
    m->high = WINDOW_BITS_OF(a, b);
    m->separator = window_in(&s->separators, a, b, pa, pb) | WINDOW_IS(WINDOW_SEPARATOR);
    m->exponent = WINDOW_BITS_OF(_mm256_cmpeq_epi8(_mm256_or_si256(a, small), WINDOW_ALL('e')),
                                 _mm256_cmpeq_epi8(_mm256_or_si256(b, small), WINDOW_ALL('e')));
}

/* A mask of what stands `n` places behind, and of what stands `n` places before. */
#define BEHIND(name, n) (m->name >> (n) | next->name << (64 - (n)))
#define BEFORE(name, n) (m->name << (n) | past->name >> (64 - (n)))

/* Whether one of the words that announce a secret, or lead to one, ends at the letter at `at`. */
static inline int window_word(const TokenTable *t, const unsigned char *kind, int at) {
    unsigned first, second;
    if (at < 1)
        return 0;
    if (kind[at - 1] >= 0x80)
        return 1;
    first = (unsigned char)((kind[at - 1] | 0x20) - 'a');
    second = (unsigned char)((kind[at] | 0x20) - 'a');
    if (first > 25 || second > 25)
        return 0;
    for (int i = t->by_pair[first * 26 + second]; i; i = t->next[i]) {
        int left = t->lengths[i] - 2;
        if (!(t->kinds[i] & (TOKEN_SAYS | TOKEN_LABEL | TOKEN_VERB)) || at + 1 < t->lengths[i])
            continue;
        while (left > 0 && (kind[at - t->lengths[i] + left] | 0x20) == t->words[i][left - 1])
            left--;
        if (left == 0)
            return 1;
    }
    return 0;
}

/* Whether what stands at `p`, behind ://, may be a user and a colon. */
static inline int window_user(const unsigned char *p) {
    for (int i = 0; i <= WINDOW_USER; i++)
        switch (p[i]) {
        case ':': return 1;
        case '/': case '@': case '"': case '\'': case '<': case '>': case '?': case '#': case '\\':
        case ' ': case '\t': case '\n': case '\v': case '\f': case '\r':
            return 0;
        }
    return 0;
}

/* Whether a key or a signature of Azure may stand at `at`, behind an equals sign. */
static inline int window_key(const unsigned char *kind, int at) {
    return at > 3 && (memcmp(kind + at - 4, "sig=", 4) == 0 || memcmp(kind + at - 4, "Key=", 4) == 0);
}

/* Words that say secret, of the block before: their ends, and whether the last of it stands between
   one and a value. */
typedef struct {
    uint64_t ends, between;
} WindowWords;

/* Where secrets and IBANs may begin: secret_at of text.pyx says what they are. */
static inline uint64_t window_secrets(
    const WindowSets *s, const unsigned char *kind, int base, const WindowMasks *past,
    const WindowMasks *m, const WindowMasks *next, WindowWords *words
) {
    const uint64_t starts = m->visible & ~BEFORE(alnum, 1);
    uint64_t found, ends, from, left;
    found = 0;
    for (left = starts & m->alnum & m->first & BEHIND(second, 1); left; left &= left - 1)
        if (token_prefix(s->tokens, kind + base + __builtin_ctzll(left), WINDOW_PAD))
            found |= left & (0 - left);
    left = starts & m->letter & BEHIND(letter, 1) & BEHIND(digit, 2) & BEHIND(digit, 3);
    for (; left; left &= left - 1) {
        const unsigned char *p = kind + base + __builtin_ctzll(left);
        if (token_pair(s->tokens->countries, p[0], p[1]))
            found |= left & (0 - left);
    }
    left = starts & BEFORE(slash, 1) & BEFORE(slash, 2) & BEFORE(colon, 3);
    for (; left; left &= left - 1)
        if (window_user(kind + base + __builtin_ctzll(left)))
            found |= left & (0 - left);
    left = starts & BEFORE(equals, 1) & BEFORE(key, 2);
    for (; left; left &= left - 1)
        if (window_key(kind, base + __builtin_ctzll(left)))
            found |= left & (0 - left);
    /* Behind the user of curl, whose flag stands less than a block before. */
    if ((m->dash & BEHIND(user, 1)) | (past->dash & (past->user >> 1 | m->user << 63)))
        found |= BEFORE(colon, 1) & ~m->gap;
    if (m->run) {
        unsigned __int128 run = (unsigned __int128)next->run << 64 | m->run, four;
        run &= run >> 1;
        four = run &= run >> 2;
        run &= run >> 4;
        run &= run >> 8;
        run &= run >> 16;
        for (left = starts & (uint64_t)(run & four >> 32); left; left &= left - 1) {
            int at = base + __builtin_ctzll(left);
            if (!(at > 0 && token_byte(kind[at - 1]))
                && token_anchor(s->tokens, kind + at, WINDOW_PAD))
                found |= left & (0 - left);
        }
    }
    if (m->figure & BEHIND(figure, 1) & BEHIND(figure, 2))
        found |= m->figure & BEHIND(figure, 7) & (BEHIND(colon, 8) | BEHIND(colon, 9) | BEHIND(colon, 10));
    /* The last letters of words; behind each, what is no letter or digit, and what follows that. */
    ends = m->alnum & m->last & (BEFORE(before, 1) | BEFORE(high, 1)) & ~BEHIND(alnum, 1);
    for (left = ends; left; left &= left - 1)
        if (!window_word(s->tokens, kind, base + __builtin_ctzll(left)))
            ends &= ~(left & (0 - left));
    ends |= m->high & ~BEHIND(alnum, 1);
    from = (ends << 1 | words->ends >> 63 | words->between) & ~m->alnum;
    if (from | words->between) {
        /* An addition goes through a run of ones; what begins in one that is gone through is left. */
        uint64_t between = (~m->alnum & ~(~m->alnum + from)) | from;
        /* At most GAP of said.pyx, and one, behind the word. */
        unsigned __int128 near = (unsigned __int128)ends << 64 | words->ends;
        near |= near << 1;
        near |= near << 2;
        near |= near << 4;
        near |= near << 8;
        near |= near << 2;
        found |= (uint64_t)(near >> 64) & (between << 1 | words->between)
                 & (BEFORE(gap, 1) | BEFORE(high, 1)) & ~m->gap;
        words->between = between >> 63;
    }
    words->ends = ends;
    found &= starts;
    if (m->dash & BEHIND(dash, 4))
        found |= m->dash & BEHIND(dash, 1) & BEHIND(dash, 2) & BEHIND(dash, 3) & BEHIND(dash, 4)
                 & BEHIND(begin, 5);
    return found;
}

static inline unsigned window_value(unsigned char c) {
    return c < WINDOW_DIGIT ? c - '0' : c - WINDOW_DIGIT;
}

/* Whether a row of digits with single separators may be a finding from its first on: by its groups,
   how many digits it has, and the first three. `digits` and `row` are the masks from there on. */
WINDOW_TARGET
static inline __attribute__((always_inline)) int window_number(
    const WindowSets *s, const unsigned char *p, uint64_t digits, uint64_t row
) {
    int first = ~digits ? __builtin_ctzll(~digits) : 64;
    int length = ~row ? __builtin_ctzll(~row) : 64;
    uint64_t left;
    unsigned prefix;
    if (first > WINDOW_CARD || (length < 9 && (p[length] | 0x20) != 'e'))
        return 0;
    /* Nine digits in one group, or 3-2-4. */
    if (first == 9 || (first == 3 && (digits >> 4 & 7) == 3 && p[3] == p[6]))
        return 1;
    if (length < 64)
        digits &= (1ull << length) - 1;
    left = digits & (digits - 1);
    prefix = window_value(p[0]) * 100;
    if (left) {
        prefix += window_value(p[__builtin_ctzll(left)]) * 10;
        left &= left - 1;
        if (left)
            prefix += window_value(p[__builtin_ctzll(left)]);
    }
    if (!s->lengths[prefix])
        return 0;
    return __builtin_popcountll(digits) >= WINDOW_CARD_LEAST
           || (first < length && (p[length] | 0x20) == 'e');
}

/* Where numbers and the @ of addresses may be. */
WINDOW_TARGET
static inline __attribute__((always_inline)) uint64_t window_numbers(
    const WindowSets *s, const unsigned char *kind, const WindowMasks *past, const WindowMasks *m,
    const WindowMasks *next
) {
    uint64_t starts = m->digit & ~BEFORE(digit, 1);
    uint64_t found = m->at & (BEHIND(alnum, 1) | BEHIND(high, 1) | BEHIND(dash, 1));
    unsigned __int128 digit, row, eight;
    if (!starts)
        return found;
    /* Nine digits with single separators between them; with an exponent they may be fewer. */
    digit = (unsigned __int128)next->digit << 64 | m->digit;
    row = (unsigned __int128)next->separator << 64 | m->separator;
    row = digit | (row & digit << 1 & digit >> 1);
    if (!((m->exponent & BEFORE(digit, 1)) | (next->exponent & (next->digit << 1 | m->digit >> 63)))) {
        eight = row & row >> 1;
        eight &= eight >> 2;
        eight &= eight >> 4;
        starts &= (uint64_t)(eight & row >> 8);
    }
    for (; starts; starts &= starts - 1) {
        int bit = __builtin_ctzll(starts);
        if (window_number(s, kind + bit, (uint64_t)(digit >> bit), (uint64_t)(row >> bit)))
            found |= 1ull << bit;
    }
    return found;
}

/* The same, of fewer places; none behind the block of the last of the first `asked`. */
WINDOW_TARGET
static __attribute__((noinline)) void window_places(
    const WindowSets *s, const unsigned char *kind, int n, int asked, uint64_t *secrets,
    uint64_t *places
) {
    WindowMasks three[3], *past = &three[0], *m = &three[1], *next = &three[2], *turn;
    WindowWords words = {0, 0};
    int block = 0;
    memset(past, 0, sizeof *past);
    window_masks(s, kind, m);
    for (; block * 64 < asked; block++) {
        if (block * 64 + 64 < n)
            window_masks(s, kind + 64 * block + 64, next);
        else
            memset(next, 0, sizeof *next);
        secrets[block] = window_secrets(s, kind, 64 * block, past, m, next, &words);
        places[block] = secrets[block] | window_numbers(s, kind + 64 * block, past, m, next);
        turn = past;
        past = m;
        m = next;
        next = turn;
    }
    for (; block * 64 < n; block++)
        secrets[block] = places[block] = 0;
}
#undef BEHIND
#undef BEFORE
#undef WINDOW_IS
#undef WINDOW_ALL
#undef WINDOW_BITS_OF
#else
static int window_level(void) { return 0; }
static void window_places(
    const WindowSets *s, const unsigned char *kind, int n, int asked, uint64_t *secrets,
    uint64_t *places
) {
    (void)s, (void)kind, (void)n, (void)asked, (void)secrets, (void)places;
}
#endif
#endif
