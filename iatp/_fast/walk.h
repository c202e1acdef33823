/* Walks through a JSON document 64 bytes at a time and says whether it is valid, stopping only
   at strings, scalars and arrays in which something may be found or that have to be read closely.

   Of each block, masks are made: one bit a byte, for each kind of byte. With them
   - quotes are paired by a prefix sum, so each byte is inside a string or outside;
   - *tokens* are the brackets, commas and colons outside strings, the opening quotes, and the
     first bytes of scalars. PEXT moves their bits together, so that "the token before" is a
     shift by one, and one expression checks all pairs of the block;
   - what pairs can't say, whether a comma stands in an object or an array, is checked from
     bracket to bracket;
   - numbers without an exponent are checked where they stand; true, false and null are compared;
   - a *row* is what may be a number of nine digits or more: see scan.pyx;
   - a *run* is WALK_RUN characters of base64 or more; coded.h rules out most of them.
   The idea of structural masks is that of Langdale and Lemire, "Parsing Gigabytes of JSON per
   Second" (2019); checking pairs in the packed masks and finding rows are not in it.

   What is not valid is not explained: the caller then reads it once more with the reader that
   says what is wrong and where. */
#ifndef IATP_WALK_H
#define IATP_WALK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "coded.h"
#include "runs.h"
#include "tokens.h"
#include "utf8.h"

enum { WALK_DONE, WALK_BAD, WALK_STRING, WALK_JSON, WALK_SCALAR, WALK_ARRAY };
enum { WALK_NONE, WALK_AVX2, WALK_AVX512 };
enum { IN_ROOT, IN_OBJECT, IN_ARRAY };

#define WALK_DEPTH 128
#define WALK_BLOCK 64
#define WALK_RUN 15    /* SHORTEST_RUN of layers.pxd */
#define WALK_CARD 19   /* CARD_DIGITS of text.pxd */
#define WALK_IBAN 34
#define WALK_DOMAIN 254
#define WALK_ENTITY 26
/* Longer rows are read. */
#define WALK_ROW 64
#define WALK_GROUPS 24

/* One bit for each byte of a block. */
typedef struct {
    uint64_t quote, backslash, control, high, digit, at, code, token, s, w, dash;
    uint64_t space, joiner, comma, colon, bracket, curly, opening;
    uint64_t dot, zero, e, alpha, tail, tail2, simple;
} Masks;

/* What the rules of text.pyx say of a place, so that the walk does not stop at each that only looks
   like one. */
typedef struct {
    const TokenTable *tokens;
    /* Digits are their values. */
    int (*is_card)(const unsigned char *digits, int n);
    int (*is_ssn)(const unsigned char *digits);
    /* One bit for each unit of UTF-16 that is a digit or a separator beyond ASCII, or with which
       a pair begins that is one. */
    uint64_t units[1024];
    uint32_t entities[32];       /* the first two letters of those that need no semicolon */
    unsigned char ibans[26 * 26];    /* their lengths, by country */
} WalkRules;

typedef struct {
    const unsigned char *p;
    Py_ssize_t n;
    int level;
    const WalkRules *rules;

    /* Where walk_next stopped: a string or a scalar begins at `start`. The string's closing
       quote is at `end`, or that is 0 where it is not known. The key that names it stands
       before `value`; -1 where there is none. WALK_JSON is a string that begins like an object
       or an array; where it is none, what it holds is told afterwards. */
    Py_ssize_t start, end, value;
    /* For the caller to set: up to here all has been read closely. */
    Py_ssize_t done;

    /* The block at hand and what is left to do in it. */
    Py_ssize_t base;
    uint64_t brackets, openings, curlies, calls, firsts, keys;
    uint64_t in, opens, closes, starts;
    uint64_t seen;
    uint64_t wrong[3];
    uint64_t bad;

    /* What the blocks before leave behind. Bits are 0 or 1. */
    int begun;
    uint64_t in_string;          /* all ones inside a string */
    uint64_t escaped;
    uint64_t letters;            /* bytes of a unit that began before the block and is a letter */
    uint64_t gap;                /* the rest of an escape that is a separator */
    uint64_t scalar;
    Py_ssize_t open_at, scalar_at;
    Py_ssize_t word_end;         /* of the last true, false or null */
    Py_ssize_t row_end;          /* up to here no row that has begun holds anything */
    Py_ssize_t low_surrogate_at;
    uint64_t high_marks;         /* bytes of a character that began before the block */
    int high_bytes;
    uint64_t first, value_end, string, comma, colon, curly_open, square_open;
    uint64_t comma2, curly_open2;
    uint64_t mark, point, digit, dot, minus, zero;
    uint64_t row, row2, row4;
    TokenRuns runs;
    uint64_t letter, tail, tail2, units;
    Py_ssize_t value_at;         /* of a string that its key calls secret; -1 */
    Py_ssize_t run_end;          /* up to here no secret begins in the run at hand */
    Py_ssize_t coded_end;        /* up to here runs of base64 have been looked at */
    uint64_t coded;
    uint64_t opened;             /* a string began with the last byte */
    int depth;
    unsigned char frames[WALK_DEPTH + 2];
    Py_ssize_t values[WALK_DEPTH + 2];
} Walk;

/* With which of { [ " the string from `at` on begins, behind white space; 'u' where an escape says
   it, 0 where it begins with something else. */
static inline int walk_begins(const unsigned char *p, Py_ssize_t at, Py_ssize_t n) {
    for (; at + 1 < n; at++) {
        if (p[at] == '{' || p[at] == '[')
            return p[at];
        if (p[at] == '\\') {
            at++;
            if (p[at] == '"' || p[at] == 'u')
                return p[at];
            if (p[at] != 'n' && p[at] != 'r' && p[at] != 't')
                return 0;
        } else if (p[at] != ' ')
            return 0;
    }
    return 0;
}

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <immintrin.h>

#define WALK_TARGET_AVX2 __attribute__((target("avx2")))
#define WALK_TARGET_AVX512 __attribute__((target("avx512f,avx512bw")))
/* Without SLP: masks that have just been written one by one would be read in pairs, for which the
   processor waits. */
#if defined(__clang__)
#define WALK_ALONE
#else
#define WALK_ALONE __attribute__((optimize("no-tree-slp-vectorize")))
#endif
#define WALK_TARGET_BITS __attribute__((target("bmi,bmi2,popcnt")))

/* Classes of bytes by their two halves: a byte is in a class where both tables say so. */
enum {
    IS_EARLY = 1,                /* a to o, and _ */
    IS_LATE = 2,                 /* p to z */
    IS_DIGIT = 4,
    IS_SIGN = 8,                 /* + / */
    IS_MINUS = 16,
    IS_S = 32, IS_W = 64,
    IS_UNDER = (char)128         /* _ ~ ^ DEL */
};
#define TOKEN_LOW_HALVES \
    IS_LATE | IS_DIGIT, IS_EARLY | IS_LATE | IS_DIGIT, IS_EARLY | IS_LATE | IS_DIGIT, \
    IS_EARLY | IS_LATE | IS_DIGIT | IS_S, IS_EARLY | IS_LATE | IS_DIGIT, \
    IS_EARLY | IS_LATE | IS_DIGIT, IS_EARLY | IS_LATE | IS_DIGIT, \
    IS_EARLY | IS_LATE | IS_DIGIT | IS_W, IS_EARLY | IS_LATE | IS_DIGIT, \
    IS_EARLY | IS_LATE | IS_DIGIT, IS_EARLY | IS_LATE, IS_EARLY | IS_SIGN, IS_EARLY, \
    IS_EARLY | IS_MINUS, (char)(IS_EARLY | IS_UNDER), (char)(IS_EARLY | IS_SIGN | IS_UNDER)
#define TOKEN_HIGH_HALVES \
    0, 0, IS_SIGN | IS_MINUS, IS_DIGIT, IS_EARLY, (char)(IS_LATE | IS_S | IS_W | IS_UNDER), IS_EARLY, \
    (char)(IS_LATE | IS_S | IS_W | IS_UNDER), 0, 0, 0, 0, 0, 0, 0, 0
#define IS_TOKEN (IS_EARLY | IS_LATE | IS_DIGIT | IS_SIGN | IS_MINUS | IS_UNDER)

/* The last two letters of words that say secret: the last, and the one before it; of 6x, 7x. And
   what stands behind the backslash of an escape of two bytes, that is no separator; of 2x, 5x, 6x, 7x. */
enum {
    TAIL_6 = 1, TAIL_7 = 2, TAIL2_6 = 4, TAIL2_7 = 8,
    BEHIND_2 = 16, BEHIND_5 = 32, BEHIND_6 = 64, BEHIND_7 = (char)128
};
#define TAIL_LOW_HALVES \
    0, 0, (char)(TAIL2_7 | BEHIND_2 | BEHIND_6 | BEHIND_7), 0, \
    TAIL_6 | TAIL_7, TAIL2_6, BEHIND_6, TAIL2_7, 0, TAIL_7, 0, 0, BEHIND_5, 0, \
    TAIL_6 | BEHIND_6, 0
#define TAIL_HIGH_HALVES \
    0, 0, BEHIND_2, 0, TAIL_6 | TAIL2_6, TAIL_7 | TAIL2_7 | BEHIND_5, \
    TAIL_6 | TAIL2_6 | BEHIND_6, (char)(TAIL_7 | TAIL2_7 | BEHIND_7), 0, 0, 0, 0, 0, 0, 0, 0
#define IS_BEHIND (BEHIND_2 | BEHIND_5 | BEHIND_6 | BEHIND_7)
enum {
    IS_COMMA = 1, IS_COLON = 2, IS_BRACKET = 4, IS_BREAK = 8, IS_SPACE = 16,
    IS_DASH = 32,                /* - . / */
    IS_LINE = 64,                /* _ */
    IS_TAB = 128
};
#define LOW_HALVES \
    IS_SPACE, 0, 0, 0, 0, 0, 0, 0, 0, (char)(IS_BREAK | IS_TAB), IS_COLON | IS_BREAK, \
    IS_BRACKET, IS_COMMA, IS_BRACKET | IS_BREAK | IS_DASH, IS_DASH, IS_DASH | IS_LINE
#define HIGH_HALVES \
    (char)(IS_BREAK | IS_TAB), 0, IS_COMMA | IS_SPACE | IS_DASH, IS_COLON, 0, \
    IS_BRACKET | IS_LINE, 0, IS_BRACKET, 0, 0, 0, 0, 0, 0, 0, 0

#define BITS(a, b) \
    ((uint64_t)(uint32_t)_mm256_movemask_epi8(a) | (uint64_t)(uint32_t)_mm256_movemask_epi8(b) << 32)
#define EQUAL(v, c) _mm256_cmpeq_epi8(v, _mm256_set1_epi8((char)(c)))

/* Makes the masks of 64 bytes. Within a string it says 0 where all of them are plain text: then
   only the masks before `space` are made, and the seven from `quote` to `code` are 0. */
WALK_TARGET_AVX2
static inline int masks_avx2(const unsigned char *p, Masks *m, int in_string) {
    const __m256i none = _mm256_setzero_si256();
    __m256i a = _mm256_loadu_si256((const __m256i *)p);
    __m256i b = _mm256_loadu_si256((const __m256i *)(p + 32));
    __m256i zero = _mm256_set1_epi8('0'), nine = _mm256_set1_epi8(9);
    __m256i last = _mm256_set1_epi8(0x1f), low = _mm256_set1_epi8(0x0f);
    __m256i da = _mm256_sub_epi8(a, zero), db = _mm256_sub_epi8(b, zero);
    da = _mm256_cmpeq_epi8(_mm256_min_epu8(da, nine), da);
    db = _mm256_cmpeq_epi8(_mm256_min_epu8(db, nine), db);
    __m256i ca = _mm256_cmpeq_epi8(_mm256_min_epu8(a, last), a);
    __m256i cb = _mm256_cmpeq_epi8(_mm256_min_epu8(b, last), b);
    m->quote = BITS(EQUAL(a, '"'), EQUAL(b, '"'));
    m->backslash = BITS(EQUAL(a, '\\'), EQUAL(b, '\\'));
    m->control = BITS(ca, cb);
    m->high = BITS(a, b);
    m->digit = BITS(da, db);
    m->at = BITS(EQUAL(a, '@'), EQUAL(b, '@'));
    m->code = BITS(_mm256_or_si256(EQUAL(a, '%'), EQUAL(a, '&')),
                   _mm256_or_si256(EQUAL(b, '%'), EQUAL(b, '&')));
    __m256i ha = _mm256_and_si256(_mm256_srli_epi16(a, 4), low);
    __m256i hb = _mm256_and_si256(_mm256_srli_epi16(b, 4), low);
    __m256i names = _mm256_broadcastsi128_si256(_mm_setr_epi8(TOKEN_LOW_HALVES));
    __m256i places = _mm256_broadcastsi128_si256(_mm_setr_epi8(TOKEN_HIGH_HALVES));
    __m256i ta = _mm256_and_si256(_mm256_shuffle_epi8(names, a), _mm256_shuffle_epi8(places, ha));
    __m256i tb = _mm256_and_si256(_mm256_shuffle_epi8(names, b), _mm256_shuffle_epi8(places, hb));
    /* Bits that 16-bit shifts bring to the top; what comes from the next byte is below it. */
    m->s = BITS(_mm256_slli_epi16(ta, 2), _mm256_slli_epi16(tb, 2));
    m->w = BITS(_mm256_slli_epi16(ta, 1), _mm256_slli_epi16(tb, 1));
    m->dash = BITS(_mm256_slli_epi16(ta, 3), _mm256_slli_epi16(tb, 3));
    __m256i word = _mm256_set1_epi8((char)IS_TOKEN);
    m->token = ~BITS(_mm256_cmpeq_epi8(_mm256_and_si256(ta, word), none),
                     _mm256_cmpeq_epi8(_mm256_and_si256(tb, word), none));
    if (in_string
        && !(m->quote | m->backslash | m->control | m->high | m->digit | m->at | m->code))
        return 0;
    __m256i lows = _mm256_broadcastsi128_si256(_mm_setr_epi8(LOW_HALVES));
    __m256i highs = _mm256_broadcastsi128_si256(_mm_setr_epi8(HIGH_HALVES));
    /* A byte beyond ASCII has its top bit set, so the first table gives it no class. */
    __m256i ka = _mm256_and_si256(_mm256_shuffle_epi8(lows, a), _mm256_shuffle_epi8(highs, ha));
    __m256i kb = _mm256_and_si256(_mm256_shuffle_epi8(lows, b), _mm256_shuffle_epi8(highs, hb));
#define NOT_IN(c) BITS( \
    _mm256_cmpeq_epi8(_mm256_and_si256(ka, _mm256_set1_epi8((char)(c))), none), \
    _mm256_cmpeq_epi8(_mm256_and_si256(kb, _mm256_set1_epi8((char)(c))), none))
    m->space = ~NOT_IN(IS_BREAK | IS_SPACE);
    m->joiner = ~NOT_IN(IS_SPACE | IS_DASH | IS_LINE | IS_TAB);
    m->bracket = ~NOT_IN(IS_BRACKET);
#undef NOT_IN
    m->comma = BITS(EQUAL(a, ','), EQUAL(b, ','));
    m->colon = BITS(EQUAL(a, ':'), EQUAL(b, ':'));
    /* Of the four brackets, 20 is set in the curly ones and 02 in the opening ones. */
    m->curly = BITS(_mm256_slli_epi16(a, 2), _mm256_slli_epi16(b, 2));
    m->opening = BITS(_mm256_slli_epi16(a, 6), _mm256_slli_epi16(b, 6));
    m->dot = BITS(EQUAL(a, '.'), EQUAL(b, '.'));
    m->zero = BITS(EQUAL(a, '0'), EQUAL(b, '0'));
#define SOME(x, y, c) ~BITS( \
    _mm256_cmpeq_epi8(_mm256_and_si256(x, _mm256_set1_epi8((char)(c))), none), \
    _mm256_cmpeq_epi8(_mm256_and_si256(y, _mm256_set1_epi8((char)(c))), none))
    m->alpha = SOME(ta, tb, IS_EARLY | IS_LATE);
    lows = _mm256_broadcastsi128_si256(_mm_setr_epi8(TAIL_LOW_HALVES));
    highs = _mm256_broadcastsi128_si256(_mm_setr_epi8(TAIL_HIGH_HALVES));
    ka = _mm256_and_si256(_mm256_shuffle_epi8(lows, a), _mm256_shuffle_epi8(highs, ha));
    kb = _mm256_and_si256(_mm256_shuffle_epi8(lows, b), _mm256_shuffle_epi8(highs, hb));
    m->tail = SOME(ka, kb, TAIL_6 | TAIL_7);
    m->tail2 = SOME(ka, kb, TAIL2_6 | TAIL2_7);
    m->simple = SOME(ka, kb, IS_BEHIND);
#undef SOME
    __m256i small = _mm256_set1_epi8(0x20);
    m->e = BITS(EQUAL(_mm256_or_si256(a, small), 'e'), EQUAL(_mm256_or_si256(b, small), 'e'));
    return 1;
}
#undef BITS
#undef EQUAL

WALK_TARGET_AVX512
static inline int masks_avx512(const unsigned char *p, Masks *m, int in_string) {
    __m512i v = _mm512_loadu_si512((const void *)p);
#define EQUAL(c) _mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8(c))
    m->quote = EQUAL('"');
    m->backslash = EQUAL('\\');
    m->control = _mm512_cmple_epu8_mask(v, _mm512_set1_epi8(0x1f));
    m->high = _mm512_movepi8_mask(v);
    m->digit = _mm512_cmple_epu8_mask(
        _mm512_sub_epi8(v, _mm512_set1_epi8('0')), _mm512_set1_epi8(9));
    m->at = EQUAL('@');
    m->code = EQUAL('%') | EQUAL('&');
    __m512i half = _mm512_and_si512(_mm512_srli_epi16(v, 4), _mm512_set1_epi8(0x0f));
    __m512i names = _mm512_broadcast_i32x4(_mm_setr_epi8(TOKEN_LOW_HALVES));
    __m512i places = _mm512_broadcast_i32x4(_mm_setr_epi8(TOKEN_HIGH_HALVES));
    __m512i parts = _mm512_and_si512(
        _mm512_shuffle_epi8(names, v), _mm512_shuffle_epi8(places, half));
#define PART(c) _mm512_test_epi8_mask(parts, _mm512_set1_epi8((char)(c)))
    m->token = PART(IS_TOKEN);
    m->s = PART(IS_S);
    m->w = PART(IS_W);
    m->dash = PART(IS_MINUS);
    if (in_string
        && !(m->quote | m->backslash | m->control | m->high | m->digit | m->at | m->code))
        return 0;
    m->alpha = PART(IS_EARLY | IS_LATE);
#undef PART
    __m512i lows = _mm512_broadcast_i32x4(_mm_setr_epi8(LOW_HALVES));
    __m512i highs = _mm512_broadcast_i32x4(_mm_setr_epi8(HIGH_HALVES));
    __m512i classes = _mm512_and_si512(
        _mm512_shuffle_epi8(lows, v), _mm512_shuffle_epi8(highs, half));
#define IN(c) _mm512_test_epi8_mask(classes, _mm512_set1_epi8((char)(c)))
    m->space = IN(IS_BREAK | IS_SPACE);
    m->joiner = IN(IS_SPACE | IS_DASH | IS_LINE | IS_TAB);
    m->bracket = IN(IS_BRACKET);
    lows = _mm512_broadcast_i32x4(_mm_setr_epi8(TAIL_LOW_HALVES));
    highs = _mm512_broadcast_i32x4(_mm_setr_epi8(TAIL_HIGH_HALVES));
    classes = _mm512_and_si512(_mm512_shuffle_epi8(lows, v), _mm512_shuffle_epi8(highs, half));
    m->tail = IN(TAIL_6 | TAIL_7);
    m->tail2 = IN(TAIL2_6 | TAIL2_7);
    m->simple = IN(IS_BEHIND);
#undef IN
    m->comma = EQUAL(',');
    m->colon = EQUAL(':');
    m->curly = _mm512_test_epi8_mask(v, _mm512_set1_epi8(0x20));
    m->opening = _mm512_test_epi8_mask(v, _mm512_set1_epi8(0x02));
    m->dot = EQUAL('.');
    m->zero = EQUAL('0');
    m->e = _mm512_cmpeq_epi8_mask(
        _mm512_or_si512(v, _mm512_set1_epi8(0x20)), _mm512_set1_epi8('e'));
#undef EQUAL
    return 1;
}

/* What this machine can do: one of WALK_NONE, WALK_AVX2, WALK_AVX512. */
static int walk_level(void) {
    __builtin_cpu_init();
    /* On the first two generations of Zen PEXT takes as long as a loop over the bits. */
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi")
        || !__builtin_cpu_supports("bmi2") || !__builtin_cpu_supports("popcnt")
        || __builtin_cpu_is("znver1") || __builtin_cpu_is("znver2"))
        return WALK_NONE;
    return __builtin_cpu_supports("avx512bw") ? WALK_AVX512 : WALK_AVX2;
}

static void walk_begin(
    Walk *w, const unsigned char *p, Py_ssize_t n, int level, const WalkRules *rules
) {
    /* All but the stack, of which only what is below `depth` counts. */
    memset(w, 0, offsetof(Walk, frames));
    w->frames[0] = IN_ROOT;
    w->values[0] = -1;
    w->p = p;
    w->n = n;
    w->level = level;
    w->first = 1;
    w->open_at = w->scalar_at = -1;
    w->low_surrogate_at = -1;
    w->value_at = -1;
    w->rules = rules;
}

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
static inline int walk_escapes(
    Walk *w, uint64_t backslash, uint64_t simple, uint64_t *escaped, uint64_t *units,
    uint64_t *letters, uint64_t *slashes, uint64_t *gaps
) {
    uint64_t left = walk_slants(backslash, &w->escaped, escaped);
    *units = 0;
    *letters = w->letters;
    *gaps = w->gap;
    w->letters = w->gap = 0;
    for (left &= ~(simple >> 1); left; left &= left - 1) {
        int bit = __builtin_ctzll(left);
        Py_ssize_t at = w->base + bit + 1;
        int unit;
        if (at >= w->n)
            return 0;
        switch (w->p[at]) {
        case '/':
            *slashes |= 1ull << bit;
            /* fall through */
        case 't':
            *gaps |= 3ull << bit;
            w->gap = (uint64_t)(bit == 63);
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
                    w->letters = 0x3full >> (64 - bit);
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

/* Checks the UTF-8 of a block; gives the bytes of characters that may be digits or separators.
   0 where it is not valid. */
static inline int walk_characters(Walk *w, uint64_t high, uint64_t *marks) {
    *marks = w->high_marks;
    /* Those of a character that began before have been checked with it. */
    high &= ~((1ull << w->high_bytes) - 1);
    w->high_marks = 0;
    w->high_bytes = 0;
    while (high) {
        int bit = __builtin_ctzll(high);
        Py_ssize_t at = w->base + bit;
        int length = utf8_length(w->p + at, w->n - at), counts;
        uint64_t bytes = (1ull << length) - 1;
        if (length == 0)
            return 0;
        counts = walk_character_counts(w, w->p + at, length);
        if (bit + length > 64) {
            w->high_bytes = bit + length - 64;
            if (counts)
                w->high_marks = (1ull << w->high_bytes) - 1;
        }
        high &= ~(bytes << bit);
        if (counts)
            *marks |= bytes << bit;
    }
    return 1;
}

/* Adds the places at which a secret may begin to the calls. */
static __attribute__((noinline)) void walk_places(
    Walk *w, uint64_t events, uint64_t dashes, uint64_t words
) {
    w->calls |= words;
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
        if (at >= w->done && token_run(w->rules->tokens, w->p, 0, at, w->n, &w->run_end) >= 0)
            w->calls |= events & (0 - events);
    }
}

/* The same, with masks of what is in strings. */
static inline __attribute__((always_inline)) void walk_tokens(
    Walk *w, uint64_t token, uint64_t s, uint64_t sw, uint64_t dash
) {
    uint64_t dashes, words;
    uint64_t events = token_events(&w->runs, token, s, sw, dash, &dashes, &words);
    if (events | dashes | words)
        walk_places(w, events, dashes, words);
}

/* Where runs of base64 have their last characters, from the WALK_RUNth on. */
static inline uint64_t walk_runs(Walk *w, uint64_t coded) {
    const uint64_t ones = ~0ull / 0xff, tops = ones << 7;
    uint64_t before = w->coded;
    w->coded = coded;
    /* Fifteen places hold eight that are one byte of a mask; most blocks have no such byte. */
    if (!((~coded - ones) & coded & tops) && before >> 56 != 0xff)
        return 0;
    uint64_t two = coded & (coded << 1 | before >> 63);
    before &= before << 1;
    uint64_t four = two & (two << 2 | before >> 62);
    before &= before << 2;
    uint64_t eight = four & (four << 4 | before >> 60);
    before &= before << 4;
    return eight & (eight << (WALK_RUN - 8) | before >> (64 - (WALK_RUN - 8)));
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
        /* It may go on in the next line. */
        if ((p[end + 1] == 'n' || p[end + 1] == 'r') && (end - at) % 4 == 0 && end - at >= WALK_RUN)
            return 1;
    }
    return end - at >= WALK_RUN && coded_may_hold(p + at, end - at, w->n - at);
}

/* Adds the runs of base64 that may hold something to the calls. */
static __attribute__((noinline)) void walk_coded(Walk *w, uint64_t runs) {
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

/* Of the ninth and further places of rows, those in which something may be. */
static __attribute__((noinline)) uint64_t walk_rows(Walk *w, uint64_t nine) {
    uint64_t kept = 0;
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

/* Of signs in strings, those that may count: @ % & and escaped backslashes. */
static __attribute__((noinline)) uint64_t walk_signs(const Walk *w, uint64_t signs) {
    const unsigned char *p = w->p;
    uint64_t kept = 0;
    for (; signs; signs &= signs - 1) {
        Py_ssize_t at = w->base + __builtin_ctzll(signs);
        unsigned char next;
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
            /* It may begin an escape of JSON inside the string. */
            next = at + 1 < w->n ? p[at + 1] : '"';
            counts = next != '"'
                     && (walk_breaks(next) || next == 't' || next == '/' || next == 'u');
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

/* Where the word that begins at `at` ends, or 0 where there is none. */
static inline Py_ssize_t walk_word(const Walk *w, Py_ssize_t at) {
    const unsigned char *p = w->p + at;
    Py_ssize_t left = w->n - at;
    if (left >= 4 && (memcmp(p, "true", 4) == 0 || memcmp(p, "null", 4) == 0))
        left = 4;
    else if (left >= 5 && memcmp(p, "false", 5) == 0)
        left = 5;
    else
        return 0;
    return at + left;
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

/* Reads the masks of the block at `base`. 0 where it is not valid. */
WALK_TARGET_BITS WALK_ALONE
static inline int walk_block(Walk *w, const Masks *m) {
    const uint64_t top = 1ull << 63;
    uint64_t escaped = 0, units = 0, letters = 0, marks = 0, slashes = 0, gaps = 0, quoted = 0;
    uint64_t quote, in, firsts, ops, scalar, starts, tokens, digits, dots, minuses, look, runs;

    if ((m->backslash | w->escaped | w->letters)
        && !walk_escapes(w, m->backslash, m->simple, &escaped, &units, &letters, &slashes, &gaps))
        return 0;
    if ((m->high | w->high_marks) && !walk_characters(w, m->high, &marks))
        return 0;
    quote = m->quote & ~escaped;
    in = quote;
    in ^= in << 1;
    in ^= in << 2;
    in ^= in << 4;
    in ^= in << 8;
    in ^= in << 16;
    in ^= in << 32;
    in ^= w->in_string;
    w->in_string = (uint64_t)((int64_t)in >> 63);
    if (m->control & in)
        return 0;
    w->in = in;
    w->opens = quote & in;
    w->closes = quote & ~in;
    /* What begins like JSON, or may once its escapes are undone or spaces are passed. */
    firsts = w->opens << 1 | w->opened;
    firsts &= (m->bracket & m->opening) | m->space | m->backslash;
    w->opened = w->opens >> 63;
    w->firsts = 0;
    for (; firsts; firsts &= firsts - 1) {
        int begins = walk_begins(w->p, w->base + __builtin_ctzll(firsts), w->n);
        if (begins == '"')
            quoted |= firsts & (0 - firsts);
        else if (begins == '{' || begins == '[')
            w->firsts |= firsts & (0 - firsts);
    }

    ops = m->comma | m->colon | m->bracket;
    scalar = ~(ops | m->space | quote | in);
    starts = scalar & ~(scalar << 1 | w->scalar);
    w->scalar = scalar >> 63;
    w->starts = starts;
    ops &= ~in;
    w->brackets = m->bracket & ~in;
    w->openings = m->opening;
    w->curlies = m->curly;
    w->wrong[IN_ROOT] = w->wrong[IN_OBJECT] = w->wrong[IN_ARRAY] = 0;
    w->seen = 0;

    tokens = ops | w->opens | starts;
    if (tokens) {
        int count = __builtin_popcountll(tokens);
        uint64_t all = count == 64 ? ~0ull : (1ull << count) - 1;
        uint64_t bracket = _pext_u64(w->brackets, tokens);
        uint64_t curly = _pext_u64(m->curly, tokens) & bracket;
        uint64_t opening = _pext_u64(m->opening, tokens) & bracket;
        uint64_t string = _pext_u64(w->opens, tokens);
        uint64_t comma = _pext_u64(m->comma & ~in, tokens);
        uint64_t colon = _pext_u64(m->colon & ~in, tokens);
        uint64_t plain = all & ~(bracket | string | comma | colon);    /* scalars */
        uint64_t curly_open = curly & opening, square_open = opening & ~curly;
        uint64_t curly_close = curly & ~opening, square_close = bracket & ~(curly | opening);
        uint64_t value_end = string | plain | curly_close | square_close;
#define BEFORE(x) (x << 1 | w->x)
        uint64_t string_before = BEFORE(string);
        uint64_t comma_before = BEFORE(comma);
        uint64_t curly_before = BEFORE(curly_open);
        uint64_t square_before = BEFORE(square_open);
        uint64_t end_before = BEFORE(value_end);
        uint64_t room = w->first | comma_before | square_before | BEFORE(colon);
        uint64_t comma_2 = comma << 2 | w->comma << 1 | w->comma2;
        uint64_t curly_2 = curly_open << 2 | w->curly_open << 1 | w->curly_open2;
#undef BEFORE
        uint64_t key = string_before & (comma_2 | curly_2);    /* if a colon follows */
        uint64_t bad = (plain | opening) & ~room;
        uint64_t member;
        bad |= string & ~(room | curly_before);
        bad |= comma & ~end_before;
        bad |= curly_close & ~(curly_before | end_before);
        bad |= square_close & ~(square_before | end_before);
        bad |= colon & ~key;
        bad |= all & string_before & curly_2 & ~colon;
        if (bad)
            return 0;
        /* What stands behind a comma and is not a key: only in an array. */
        member = (plain | opening) & comma_before;
        member |= all & string_before & comma_2 & ~colon;
        member = _pdep_u64(member, tokens);
        w->wrong[IN_OBJECT] = member;
        w->wrong[IN_ARRAY] = m->colon & ~in;
        w->wrong[IN_ROOT] = member | ((m->colon | m->comma) & ~in);
        w->comma2 = count > 1 ? comma >> (count - 2) & 1 : w->comma;
        w->curly_open2 = count > 1 ? curly_open >> (count - 2) & 1 : w->curly_open;
        w->first = 0;
        w->value_end = value_end >> (count - 1) & 1;
        w->string = string >> (count - 1) & 1;
        w->comma = comma >> (count - 1) & 1;
        w->colon = colon >> (count - 1) & 1;
        w->curly_open = curly_open >> (count - 1) & 1;
        w->square_open = square_open >> (count - 1) & 1;
    }

    /* Numbers: whatever is not [-]digits[.digits], with no 0 before other digits, is looked at.
       Of a word, its first letter. */
    digits = m->digit & scalar;
    dots = m->dot & scalar;
    minuses = m->dash & scalar;
    look = scalar & ~(m->digit | m->dot | m->dash);
    look &= ~(look << 1);
    look |= dots & ~(digits << 1 | w->digit);
    look |= (dots << 1 | w->dot) & ~digits;
    look |= minuses & ~starts;
    look |= (minuses << 1 | w->minus) & ~digits;
    {
        uint64_t zeros = m->zero & digits & (starts | minuses << 1 | w->minus);
        look |= (zeros << 1 | w->zero) & digits;
        w->zero = zeros >> 63;
    }
    w->digit = digits >> 63;
    w->dot = dots >> 63;
    w->minus = minuses >> 63;

    if (w->word_end > w->base)
        look &= ~0ull << (w->word_end - w->base);
    for (uint64_t words = look & starts & m->alpha; words; words &= words - 1) {
        Py_ssize_t end = walk_word(w, w->base + __builtin_ctzll(words));
        if (end && walk_ends(w, end)) {
            look &= ~(words & (0 - words));
            w->word_end = end;
        }
    }

    /* Rows. In a string, a mark is a digit or what may stand for one, or for a separator: an
       escape, a character beyond ASCII. In a number only the digits before its point count. */
    marks |= m->digit | gaps;
    marks &= in & ~letters;
    {
        uint64_t both = marks | digits;
        uint64_t joined = (both << 1 | w->mark) & (both >> 1 | top) & in;
        uint64_t points = (m->dot & joined) | dots;
        uint64_t sum, behind, joiners, row, two, four, nine, signs;
        /* A sum carries the bit behind a point through the digits there, to what follows. */
        w->mark = both >> 63;
        int over = __builtin_add_overflow(both, points << 1 | w->point, &sum);
        w->point = (uint64_t)over | points >> 63;
        behind = sum & ~both;
        look |= behind & dots;
        joiners = m->joiner & joined;
        row = marks | joiners | (digits & sum);
        two = row & (row << 1 | w->row >> 63);
        four = two & (two << 2 | w->row2 >> 62);
        nine = four & (four << 4 | w->row4 >> 60);
        nine &= row << 8 | w->row >> 56;
        if (nine && joiners) {
            /* Nine places are not yet nine marks (a date): once more without the joiners. Of a
               row that began in the block before, no less is taken than it may have. */
            uint64_t before = 0 - (w->row >> 63);
            uint64_t marked = _pext_u64(row, ~joiners);
            marked &= marked << 1 | before >> 63;
            marked &= marked << 2 | before >> 62;
            marked &= marked << 4 | before >> 60;
            marked &= _pext_u64(row, ~joiners) << 8 | before >> 56;
            nine = _pdep_u64(marked, ~joiners);
        }
        w->row = row;
        w->row2 = two;
        w->row4 = four;
        if (nine)
            nine = walk_rows(w, nine);
        w->calls = look | nine | (in & (units | (behind & m->e) | quoted));
        signs = in & (m->at | m->code | (m->backslash & escaped));
        if (signs)
            w->calls |= walk_signs(w, signs);
    }

    /* Secrets and IBANs. */
    {
        uint64_t country = in & (m->digit | marks) & (m->alpha << 1 | w->letter >> 63)
                           & (m->alpha << 2 | w->letter >> 62);
        uint64_t tail = m->tail << 1 | w->tail >> 63, tail2 = m->tail2 << 2 | w->tail2 >> 62;
        /* An escape may be what a key ends in, too. */
        uint64_t hidden = units << 6 | units << 7 | w->units >> 58 | w->units >> 57;
        for (country &= ~w->calls; country; country &= country - 1)
            if (token_country(w->rules->tokens, w->p, 0, w->base + __builtin_ctzll(country))
                && walk_iban(w, w->base + __builtin_ctzll(country)))
                w->calls |= country & (0 - country);
        runs = walk_runs(w, m->token | slashes) & in;
        if (runs)
            walk_coded(w, runs);
        walk_tokens(w, (m->token | slashes) & in, m->s & in, m->w & in, m->dash & in);
        w->keys = w->closes & ((tail & tail2) | hidden);
        w->letter = m->alpha;
        w->tail = m->tail;
        w->tail2 = m->tail2;
        w->units = units;
        if (w->value_at >= 0 && w->value_at < w->base + WALK_BLOCK) {
            if (w->value_at >= w->base)
                w->calls |= 1ull << (w->value_at - w->base);
            w->value_at = -1;
        }
    }
    return 1;
}

/* Where the string begins that is the value of the key whose closing quote is at `at`, if the key
   may say secret; or -1. */
static inline Py_ssize_t walk_value(const Walk *w, Py_ssize_t at) {
    const unsigned char *p = w->p;
    Py_ssize_t i = at + 1;
    int escaped = 0;
    while (i < w->n && (p[i] == ' ' || p[i] == '\n' || p[i] == '\t' || p[i] == '\r'))
        i++;
    if (i >= w->n || p[i] != ':')
        return -1;
    for (i++; i < w->n && (p[i] == ' ' || p[i] == '\n' || p[i] == '\t' || p[i] == '\r');)
        i++;
    if (i >= w->n || p[i] != '"')
        return -1;
    for (int back = 1; back < 13 && at - back >= 0; back++)
        escaped |= p[at - back] == '\\';
    return escaped || token_pair(w->rules->tokens->ends, p[at - 2], p[at - 1]) ? i : -1;
}

/* Adds the strings whose keys may say secret to the calls. */
static __attribute__((noinline)) void walk_keys(Walk *w) {
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

/* How long the string that begins at `start` is with its escapes undone into `out`, which has
   `room` bytes; `end` becomes the place of its closing quote. -1 where it is not so simple: it is
   too long, it is not valid, or an escape stands for a unit. */
__attribute__((target("avx2,bmi,bmi2,popcnt")))
static Py_ssize_t walk_undo(
    const unsigned char *p, Py_ssize_t n, Py_ssize_t start, unsigned char *out, Py_ssize_t room,
    Py_ssize_t *end
) {
    const uint64_t ones = ~0ull / 0xff;
    Py_ssize_t to = 0;
    uint64_t carry = 0;
    for (Py_ssize_t base = start + 1; base < n; base += WALK_BLOCK) {
        unsigned char block[WALK_BLOCK];
        Py_ssize_t left = n - base;
        __m256i a, b;
        uint64_t quote, slant, control, starts, escaped = 0, other, within = ~0ull;
        if (left >= WALK_BLOCK) {
            a = _mm256_loadu_si256((const __m256i *)(p + base));
            b = _mm256_loadu_si256((const __m256i *)(p + base + 32));
            _mm256_storeu_si256((__m256i *)block, a);
            _mm256_storeu_si256((__m256i *)(block + 32), b);
        } else {
            memset(block, ' ', WALK_BLOCK);
            memcpy(block, p + base, (size_t)left);
            a = _mm256_loadu_si256((const __m256i *)block);
            b = _mm256_loadu_si256((const __m256i *)(block + 32));
        }
#define EQUAL(c) \
    ((uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(a, _mm256_set1_epi8(c))) \
     | (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(b, _mm256_set1_epi8(c))) << 32)
        quote = EQUAL('"');
        slant = EQUAL('\\');
#undef EQUAL
        control = (uint64_t)(uint32_t)_mm256_movemask_epi8(
                      _mm256_cmpeq_epi8(_mm256_min_epu8(a, _mm256_set1_epi8(0x1f)), a))
                  | (uint64_t)(uint32_t)_mm256_movemask_epi8(
                      _mm256_cmpeq_epi8(_mm256_min_epu8(b, _mm256_set1_epi8(0x1f)), b)) << 32;
        if (slant | carry) {
            starts = walk_slants(slant, &carry, &escaped);
            quote &= ~escaped;
        } else
            starts = 0;
        if (quote)
            within = (quote & (0 - quote)) - 1;
        if (control & within)
            return -1;
        for (other = escaped & within; other; other &= other - 1) {
            unsigned char *c = block + __builtin_ctzll(other);
            switch (*c) {
            case 'n': *c = '\n'; break;
            case 't': *c = '\t'; break;
            case 'r': *c = '\r'; break;
            case 'b': *c = '\b'; break;
            case 'f': *c = '\f'; break;
            case '"': case '\\': case '/': break;
            default: return -1;
            }
        }
        if (room - to < WALK_BLOCK)
            return -1;
        within &= ~starts;
        for (int i = 0; i < WALK_BLOCK; i += 8) {
            uint64_t word, keep = within >> i & 0xff;
            memcpy(&word, block + i, 8);
            word = _pext_u64(word, _pdep_u64(keep, ones) * 0xff);
            memcpy(out + to, &word, 8);
            to += __builtin_popcountll(keep);
        }
        if (quote) {
            *end = base + __builtin_ctzll(quote);
            return to;
        }
    }
    return -1;
}

/* Goes on to the next string, scalar or array that has to be read; WALK_DONE at the end. */
WALK_TARGET_BITS WALK_ALONE
static int walk_next(Walk *w) {
    for (;;) {
        uint64_t left;
        if (w->keys)
            walk_keys(w);
        left = w->brackets | w->calls | w->firsts;
        while (left) {
            int bit = __builtin_ctzll(left);
            uint64_t one = 1ull << bit;
            Py_ssize_t at = w->base + bit;
            int frame = w->frames[w->depth];
            if (w->firsts & ~w->calls & one) {
                uint64_t closes = w->closes & ~((one << 1) - 1);
                w->firsts &= ~one;
                left &= ~one;
                w->start = walk_last(w, w->opens, bit, w->open_at);
                if (w->start < w->done)
                    continue;
                w->value = frame == IN_OBJECT ? w->start : w->values[w->depth];
                w->end = closes ? w->base + __builtin_ctzll(closes) : 0;
                return WALK_JSON;
            }
            if (w->calls & one) {
                int text = (w->in & one) != 0;
                uint64_t closes = w->closes & ~((one << 1) - 1);
                /* One call is enough for a string: those up to its end are dropped. */
                uint64_t rest = text ? (closes ? closes & -closes : 0) - one : one;
                w->calls &= ~rest;
                w->firsts &= ~rest;
                left &= ~rest | one;
                w->start = text ? walk_last(w, w->opens, bit, w->open_at)
                                : walk_last(w, w->starts, bit, w->scalar_at);
                if (w->start >= w->done) {
                    w->value = frame == IN_OBJECT ? w->start : w->values[w->depth];
                    if (text) {
                        w->end = closes ? w->base + __builtin_ctzll(closes) : 0;
                        return WALK_STRING;
                    }
                    return WALK_SCALAR;
                }
                if (!(w->brackets & one)) {
                    left &= ~one;
                    continue;
                }
            }
            left &= ~one;
            w->brackets &= ~one;
            {
                uint64_t upto = ((one << 1) - 1) & ~w->seen;
                int kind = w->curlies & one ? IN_OBJECT : IN_ARRAY;
                if (upto & w->wrong[frame])
                    return WALK_BAD;
                w->seen |= upto;
                if (w->openings & one) {
                    if (w->depth == WALK_DEPTH)
                        return WALK_BAD;
                    w->depth++;
                    w->frames[w->depth] = (unsigned char)kind;
                    w->values[w->depth] = frame == IN_OBJECT ? at : w->values[w->depth - 1];
                    if (kind == IN_ARRAY && walk_may_split(w, at)) {
                        w->start = at;
                        return WALK_ARRAY;
                    }
                } else {
                    if (frame != kind)
                        return WALK_BAD;
                    w->depth--;
                }
            }
        }
        if (~w->seen & w->wrong[w->frames[w->depth]])
            return WALK_BAD;
        if (w->begun) {
            w->open_at = walk_last(w, w->opens, 63, w->open_at);
            w->scalar_at = walk_last(w, w->starts, 63, w->scalar_at);
            w->base += WALK_BLOCK;
        }
        w->begun = 1;
        for (;;) {
            Masks m;
            unsigned char rest[WALK_BLOCK];
            const unsigned char *block = w->p + w->base;
            int marked, in_string = w->in_string != 0 && !w->opened;
            if (w->base > w->n)
                return w->in_string || w->depth || !w->value_end ? WALK_BAD : WALK_DONE;
            if (w->base + WALK_BLOCK > w->n) {
                memset(rest, ' ', WALK_BLOCK);
                memcpy(rest, block, (size_t)(w->n - w->base));
                block = rest;
            }
            marked = w->level == WALK_AVX512 ? masks_avx512(block, &m, in_string)
                                             : masks_avx2(block, &m, in_string);
            if (!marked && !(w->escaped | w->letters | w->point)) {
                uint64_t runs = walk_runs(w, m.token);
                /* What is called for is told with the block; all of it is in one string. */
                w->mark = w->row = w->row2 = w->row4 = 0;
                w->letter = m.token;
                w->calls = 0;
                if (runs)
                    walk_coded(w, runs);
                walk_tokens(w, m.token, m.s, m.w, m.dash);
                if (!w->calls) {
                    w->base += WALK_BLOCK;
                    continue;
                }
                w->in = ~0ull;
                w->opens = w->closes = w->starts = 0;
                w->brackets = w->firsts = w->keys = 0;
                w->wrong[IN_ROOT] = w->wrong[IN_OBJECT] = w->wrong[IN_ARRAY] = 0;
                w->tail = w->tail2 = w->units = 0;
                break;
            }
            if (!marked)
                memset((char *)&m + offsetof(Masks, space), 0, sizeof m - offsetof(Masks, space));
            if (!walk_block(w, &m))
                return WALK_BAD;
            break;
        }
    }
}

#else
static int walk_level(void) { return WALK_NONE; }
static void walk_begin(
    Walk *w, const unsigned char *p, Py_ssize_t n, int level, const WalkRules *rules
) {
    memset(w, 0, sizeof *w);
    (void)p, (void)n, (void)level, (void)rules;
}
static int walk_next(Walk *w) {
    (void)w;
    return WALK_BAD;
}
static Py_ssize_t walk_undo(
    const unsigned char *p, Py_ssize_t n, Py_ssize_t start, unsigned char *out, Py_ssize_t room,
    Py_ssize_t *end
) {
    (void)p, (void)n, (void)start, (void)out, (void)room, (void)end;
    return -1;
}
#endif
#endif
