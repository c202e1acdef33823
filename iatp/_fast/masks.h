/* What bytes are, as masks: one bit for each byte of a block of 64, blocks side by side as the lanes
   of lanes.h take them. */
#ifndef IATP_MASKS_H
#define IATP_MASKS_H

#include <stdint.h>

#define MASKS_BLOCKS 8

typedef uint64_t MaskWords[MASKS_BLOCKS] __attribute__((aligned(64)));
#define MASKS_EACH(DO) \
    DO(quote) DO(backslash) DO(control) DO(high) DO(digit) DO(at) DO(code) DO(assign) DO(token) DO(s) \
    DO(dash) DO(space) DO(joiner) DO(comma) DO(bracket) DO(curly) DO(opening) DO(dot) DO(zero) \
    DO(e) DO(ell) DO(alpha) DO(tail) DO(tail2) DO(simple)
#define MASKS_FIELD(name) MaskWords name;
typedef struct {
    MASKS_EACH(MASKS_FIELD)
} Masks;

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <immintrin.h>

#define MASKS_TARGET_AVX2 __attribute__((target("avx2,bmi,bmi2,popcnt")))
#define MASKS_TARGET_AVX512 \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,bmi,bmi2,popcnt")))

/* Classes of bytes by their two halves: a byte is in a class where both tables say so. */
enum {
    IS_EARLY = 1,                /* a to o, and _ */
    IS_LATE = 2,                 /* p to z */
    IS_UNDER = 4,                /* _ ~ ^ DEL */
    IS_SIGN = 8,                 /* + / */
    IS_MINUS = 16,
    IS_S = 32,
    IS_ASSIGN = 64,              /* : = */
    IS_DIGIT = 128               /* the top bit: a mask of its own */
};
#define TOKEN_LOW_HALVES \
    (char)(IS_LATE | IS_DIGIT), (char)(IS_EARLY | IS_LATE | IS_DIGIT), \
    (char)(IS_EARLY | IS_LATE | IS_DIGIT), (char)(IS_EARLY | IS_LATE | IS_DIGIT | IS_S), \
    (char)(IS_EARLY | IS_LATE | IS_DIGIT), (char)(IS_EARLY | IS_LATE | IS_DIGIT), \
    (char)(IS_EARLY | IS_LATE | IS_DIGIT), (char)(IS_EARLY | IS_LATE | IS_DIGIT), \
    (char)(IS_EARLY | IS_LATE | IS_DIGIT), (char)(IS_EARLY | IS_LATE | IS_DIGIT), \
    IS_EARLY | IS_LATE | IS_ASSIGN, IS_EARLY | IS_SIGN, IS_EARLY, \
    IS_EARLY | IS_MINUS | IS_ASSIGN, IS_EARLY | IS_UNDER, IS_EARLY | IS_SIGN | IS_UNDER
#define TOKEN_HIGH_HALVES \
    0, 0, IS_SIGN | IS_MINUS, (char)(IS_DIGIT | IS_ASSIGN), IS_EARLY, IS_LATE | IS_S | IS_UNDER, \
    IS_EARLY, IS_LATE | IS_S | IS_UNDER, 0, 0, 0, 0, 0, 0, 0, 0
#define IS_ALPHA (IS_EARLY | IS_LATE)
#define IS_TOKEN (IS_EARLY | IS_LATE | IS_DIGIT | IS_SIGN | IS_MINUS | IS_UNDER)

/* The last two letters of words that say secret: the last, and the one before it; of 6x, 7x. And
   what stands behind the backslash of an escape of two bytes that is no separator; of 2x, 5x, 6x, 7x. */
enum {
    TAIL_6 = 1, TAIL_7 = 2, TAIL2_6 = 4, TAIL2_7 = 8,
    BEHIND_2 = 16, BEHIND_5 = 32, BEHIND_6 = 64, BEHIND_7 = (char)128
};
#define TAIL_LOW_HALVES \
    TAIL_7 | TAIL2_7, TAIL_6, (char)(TAIL2_7 | BEHIND_2 | BEHIND_6 | BEHIND_7), TAIL_7 | TAIL2_7, \
    TAIL_6 | TAIL_7 | TAIL2_6, TAIL_6 | TAIL2_6 | TAIL2_7, TAIL2_7 | BEHIND_6, TAIL_7 | TAIL2_7, TAIL2_6, \
    TAIL_7, 0, 0, BEHIND_5, 0, TAIL_6 | BEHIND_6, TAIL_6
#define TAIL_HIGH_HALVES \
    0, 0, BEHIND_2, 0, TAIL_6 | TAIL2_6, TAIL_7 | TAIL2_7 | BEHIND_5, \
    TAIL_6 | TAIL2_6 | BEHIND_6, (char)(TAIL_7 | TAIL2_7 | BEHIND_7), 0, 0, 0, 0, 0, 0, 0, 0
#define IS_BEHIND (BEHIND_2 | BEHIND_5 | BEHIND_6 | BEHIND_7)
enum {
    IS_COMMA = 1, IS_TAB = 4, IS_BREAK = 8, IS_SPACE = 16,
    IS_DASH = 32,                /* - . / */
    IS_LINE = 64,                /* _ */
    IS_BRACKET = 128             /* the top bit */
};
#define LOW_HALVES \
    IS_SPACE, 0, 0, 0, 0, 0, 0, 0, 0, IS_BREAK | IS_TAB, IS_BREAK, \
    (char)IS_BRACKET, IS_COMMA, (char)(IS_BRACKET | IS_BREAK | IS_DASH), IS_DASH, IS_DASH | IS_LINE
#define HIGH_HALVES \
    IS_BREAK | IS_TAB, 0, IS_COMMA | IS_SPACE | IS_DASH, 0, 0, \
    (char)(IS_BRACKET | IS_LINE), 0, (char)IS_BRACKET, 0, 0, 0, 0, 0, 0, 0, 0

#define BITS(a, b) \
    ((uint64_t)(uint32_t)_mm256_movemask_epi8(a) | (uint64_t)(uint32_t)_mm256_movemask_epi8(b) << 32)
#define EQUAL(v, c) _mm256_cmpeq_epi8(v, _mm256_set1_epi8((char)(c)))

/* Makes the masks that a text needs of 64 bytes. `least` becomes what is less of it and of the bytes,
   as signed ones: where that is below a space, `control` and `high` are needed, too. */
MASKS_TARGET_AVX2
static inline __attribute__((always_inline)) void masks_text_avx2(
    const unsigned char *p, Masks *m, int i, __m256i *least
) {
    const __m256i none = _mm256_setzero_si256();
    __m256i a = _mm256_loadu_si256((const __m256i *)p);
    __m256i b = _mm256_loadu_si256((const __m256i *)(p + 32));
    __m256i low = _mm256_set1_epi8(0x0f);
    *least = _mm256_min_epi8(*least, _mm256_min_epi8(a, b));
    m->quote[i] = BITS(EQUAL(a, '"'), EQUAL(b, '"'));
    m->backslash[i] = BITS(EQUAL(a, '\\'), EQUAL(b, '\\'));
    m->at[i] = BITS(EQUAL(a, '@'), EQUAL(b, '@'));
    m->code[i] = BITS(_mm256_or_si256(EQUAL(a, '%'), EQUAL(a, '&')),
                   _mm256_or_si256(EQUAL(b, '%'), EQUAL(b, '&')));
    __m256i ha = _mm256_and_si256(_mm256_srli_epi16(a, 4), low);
    __m256i hb = _mm256_and_si256(_mm256_srli_epi16(b, 4), low);
    __m256i names = _mm256_broadcastsi128_si256(_mm_setr_epi8(TOKEN_LOW_HALVES));
    __m256i places = _mm256_broadcastsi128_si256(_mm_setr_epi8(TOKEN_HIGH_HALVES));
    __m256i ta = _mm256_and_si256(_mm256_shuffle_epi8(names, a), _mm256_shuffle_epi8(places, ha));
    __m256i tb = _mm256_and_si256(_mm256_shuffle_epi8(names, b), _mm256_shuffle_epi8(places, hb));
    /* Bits that 16-bit shifts bring to the top; what comes from the next byte is below it. */
    m->s[i] = BITS(_mm256_slli_epi16(ta, 2), _mm256_slli_epi16(tb, 2));
    m->assign[i] = BITS(_mm256_slli_epi16(ta, 1), _mm256_slli_epi16(tb, 1));
    m->dash[i] = BITS(_mm256_slli_epi16(ta, 3), _mm256_slli_epi16(tb, 3));
    m->digit[i] = BITS(ta, tb);
    __m256i word = _mm256_set1_epi8((char)IS_TOKEN), letter = _mm256_set1_epi8(IS_ALPHA);
    m->token[i] = ~BITS(_mm256_cmpeq_epi8(_mm256_and_si256(ta, word), none),
                     _mm256_cmpeq_epi8(_mm256_and_si256(tb, word), none));
    m->alpha[i] = ~BITS(_mm256_cmpeq_epi8(_mm256_and_si256(ta, letter), none),
                     _mm256_cmpeq_epi8(_mm256_and_si256(tb, letter), none));
}

/* Control characters, and what is beyond ASCII. */
MASKS_TARGET_AVX2
static inline void masks_rare_avx2(const unsigned char *p, Masks *m, int i) {
    const __m256i last = _mm256_set1_epi8(0x1f);
    __m256i a = _mm256_loadu_si256((const __m256i *)p);
    __m256i b = _mm256_loadu_si256((const __m256i *)(p + 32));
    m->control[i] = BITS(_mm256_cmpeq_epi8(_mm256_min_epu8(a, last), a),
                         _mm256_cmpeq_epi8(_mm256_min_epu8(b, last), b));
    m->high[i] = BITS(a, b);
}

/* Makes the others. */
MASKS_TARGET_AVX2
static inline __attribute__((always_inline)) void masks_rest_avx2(
    const unsigned char *p, Masks *m, int i
) {
    const __m256i none = _mm256_setzero_si256(), low = _mm256_set1_epi8(0x0f);
    __m256i a = _mm256_loadu_si256((const __m256i *)p);
    __m256i b = _mm256_loadu_si256((const __m256i *)(p + 32));
    __m256i ha = _mm256_and_si256(_mm256_srli_epi16(a, 4), low);
    __m256i hb = _mm256_and_si256(_mm256_srli_epi16(b, 4), low);
    __m256i lows = _mm256_broadcastsi128_si256(_mm_setr_epi8(LOW_HALVES));
    __m256i highs = _mm256_broadcastsi128_si256(_mm_setr_epi8(HIGH_HALVES));
    /* A byte beyond ASCII has its top bit set, so the first table gives it no class. */
    __m256i ka = _mm256_and_si256(_mm256_shuffle_epi8(lows, a), _mm256_shuffle_epi8(highs, ha));
    __m256i kb = _mm256_and_si256(_mm256_shuffle_epi8(lows, b), _mm256_shuffle_epi8(highs, hb));
#define NOT_IN(c) BITS( \
    _mm256_cmpeq_epi8(_mm256_and_si256(ka, _mm256_set1_epi8((char)(c))), none), \
    _mm256_cmpeq_epi8(_mm256_and_si256(kb, _mm256_set1_epi8((char)(c))), none))
    m->space[i] = ~NOT_IN(IS_BREAK | IS_SPACE);
    m->joiner[i] = ~NOT_IN(IS_SPACE | IS_DASH | IS_LINE | IS_TAB);
    m->bracket[i] = BITS(ka, kb);
#undef NOT_IN
    m->comma[i] = BITS(EQUAL(a, ','), EQUAL(b, ','));
    /* Of the four brackets, 20 is set in the curly ones and 02 in the opening ones. */
    m->curly[i] = BITS(_mm256_slli_epi16(a, 2), _mm256_slli_epi16(b, 2));
    m->opening[i] = BITS(_mm256_slli_epi16(a, 6), _mm256_slli_epi16(b, 6));
    m->dot[i] = BITS(EQUAL(a, '.'), EQUAL(b, '.'));
    m->zero[i] = BITS(EQUAL(a, '0'), EQUAL(b, '0'));
#define SOME(x, y, c) ~BITS( \
    _mm256_cmpeq_epi8(_mm256_and_si256(x, _mm256_set1_epi8((char)(c))), none), \
    _mm256_cmpeq_epi8(_mm256_and_si256(y, _mm256_set1_epi8((char)(c))), none))
    lows = _mm256_broadcastsi128_si256(_mm_setr_epi8(TAIL_LOW_HALVES));
    highs = _mm256_broadcastsi128_si256(_mm_setr_epi8(TAIL_HIGH_HALVES));
    ka = _mm256_and_si256(_mm256_shuffle_epi8(lows, a), _mm256_shuffle_epi8(highs, ha));
    kb = _mm256_and_si256(_mm256_shuffle_epi8(lows, b), _mm256_shuffle_epi8(highs, hb));
    m->tail[i] = SOME(ka, kb, TAIL_6 | TAIL_7);
    m->tail2[i] = SOME(ka, kb, TAIL2_6 | TAIL2_7);
    m->simple[i] = SOME(ka, kb, IS_BEHIND);
#undef SOME
    a = _mm256_or_si256(a, _mm256_set1_epi8(0x20));
    b = _mm256_or_si256(b, _mm256_set1_epi8(0x20));
    m->e[i] = BITS(EQUAL(a, 'e'), EQUAL(b, 'e'));
    m->ell[i] = BITS(EQUAL(a, 'l'), EQUAL(b, 'l'));
}
#undef BITS
#undef EQUAL

/* What is compared with 64 bytes, from memory: to make it costs as much as the comparison. */
typedef unsigned char MasksRow[64] __attribute__((aligned(64)));
enum {
    ROW_QUOTE, ROW_BACKSLASH, ROW_ZERO, ROW_AT, ROW_PERCENT, ROW_ONE, ROW_HALF, ROW_TOKEN_LOW,
    ROW_TOKEN_HIGH, ROW_TOKEN, ROW_ALPHA, ROW_MINUS, ROW_LOW, ROW_HIGH,
    ROW_SPACES, ROW_JOINERS, ROW_TAIL_LOW, ROW_TAIL_HIGH, ROW_TAIL, ROW_TAIL2,
    ROW_BEHIND, ROW_COMMA, ROW_SMALL, ROW_OPENING, ROW_DOT, ROW_E, ROW_ELL, ROWS
};
#define ALL(...) {[0 ... 63] = (unsigned char)(__VA_ARGS__)}
#define FOUR(...) {__VA_ARGS__, __VA_ARGS__, __VA_ARGS__, __VA_ARGS__}
static const MasksRow masks_rows[ROWS] = {
    [ROW_QUOTE] = ALL('"'), [ROW_BACKSLASH] = ALL('\\'), [ROW_ZERO] = ALL('0'),
    [ROW_AT] = ALL('@'), [ROW_PERCENT] = ALL('%'), [ROW_ONE] = ALL(1), [ROW_HALF] = ALL(0x0f),
    [ROW_TOKEN_LOW] = FOUR(TOKEN_LOW_HALVES), [ROW_TOKEN_HIGH] = FOUR(TOKEN_HIGH_HALVES),
    [ROW_TOKEN] = ALL(IS_TOKEN), [ROW_ALPHA] = ALL(IS_ALPHA), [ROW_MINUS] = ALL(IS_MINUS),
    [ROW_LOW] = FOUR(LOW_HALVES), [ROW_HIGH] = FOUR(HIGH_HALVES),
    [ROW_SPACES] = ALL(IS_BREAK | IS_SPACE),
    [ROW_JOINERS] = ALL(IS_SPACE | IS_DASH | IS_LINE | IS_TAB),
    [ROW_TAIL_LOW] = FOUR(TAIL_LOW_HALVES), [ROW_TAIL_HIGH] = FOUR(TAIL_HIGH_HALVES),
    [ROW_TAIL] = ALL(TAIL_6 | TAIL_7), [ROW_TAIL2] = ALL(TAIL2_6 | TAIL2_7),
    [ROW_BEHIND] = ALL(IS_BEHIND), [ROW_COMMA] = ALL(','),
    /* The bit of small letters, which IS_S is too. */
    [ROW_SMALL] = ALL(0x20), [ROW_OPENING] = ALL(0x02), [ROW_DOT] = ALL('.'), [ROW_E] = ALL('e'),
    [ROW_ELL] = ALL('l'),
};
#undef ALL
#undef FOUR

MASKS_TARGET_AVX512
static inline __attribute__((always_inline)) void masks_text_avx512(
    const unsigned char *p, const MasksRow *rows, Masks *m, int i, __m512i *least
) {
    __m512i v = _mm512_loadu_si512((const void *)p);
    *least = _mm512_min_epi8(*least, v);
#define ROW(name) _mm512_load_si512((const void *)rows[name])
#define EQUAL(name) _mm512_cmpeq_epi8_mask(v, ROW(name))
    m->quote[i] = EQUAL(ROW_QUOTE);
    m->backslash[i] = EQUAL(ROW_BACKSLASH);
    m->at[i] = EQUAL(ROW_AT);
    /* An ampersand comes next to it. */
    m->code[i] = _mm512_cmple_epu8_mask(_mm512_sub_epi8(v, ROW(ROW_PERCENT)), ROW(ROW_ONE));
    __m512i half = _mm512_and_si512(_mm512_srli_epi16(v, 4), ROW(ROW_HALF));
    __m512i names = ROW(ROW_TOKEN_LOW);
    __m512i places = ROW(ROW_TOKEN_HIGH);
    __m512i parts = _mm512_and_si512(
        _mm512_shuffle_epi8(names, v), _mm512_shuffle_epi8(places, half));
#define PART(name) _mm512_test_epi8_mask(parts, ROW(name))
    m->token[i] = PART(ROW_TOKEN);
    m->s[i] = PART(ROW_SMALL);
    m->assign[i] = _mm512_movepi8_mask(_mm512_add_epi8(parts, parts));
    m->dash[i] = PART(ROW_MINUS);
    m->digit[i] = _mm512_movepi8_mask(parts);
    m->alpha[i] = PART(ROW_ALPHA);
#undef PART
}

MASKS_TARGET_AVX512
static inline void masks_rare_avx512(const unsigned char *p, Masks *m, int i) {
    __m512i v = _mm512_loadu_si512((const void *)p);
    m->control[i] = _mm512_cmplt_epu8_mask(v, _mm512_set1_epi8(0x20));
    m->high[i] = _mm512_movepi8_mask(v);
}

MASKS_TARGET_AVX512
static inline __attribute__((always_inline)) void masks_rest_avx512(
    const unsigned char *p, const MasksRow *rows, Masks *m, int i
) {
    __m512i v = _mm512_loadu_si512((const void *)p);
    __m512i half = _mm512_and_si512(_mm512_srli_epi16(v, 4), ROW(ROW_HALF));
    __m512i lows = ROW(ROW_LOW);
    __m512i highs = ROW(ROW_HIGH);
    __m512i classes = _mm512_and_si512(
        _mm512_shuffle_epi8(lows, v), _mm512_shuffle_epi8(highs, half));
#define IN(name) _mm512_test_epi8_mask(classes, ROW(name))
    m->space[i] = IN(ROW_SPACES);
    m->joiner[i] = IN(ROW_JOINERS);
    m->bracket[i] = _mm512_movepi8_mask(classes);
    lows = ROW(ROW_TAIL_LOW);
    highs = ROW(ROW_TAIL_HIGH);
    classes = _mm512_and_si512(_mm512_shuffle_epi8(lows, v), _mm512_shuffle_epi8(highs, half));
    m->tail[i] = IN(ROW_TAIL);
    m->tail2[i] = IN(ROW_TAIL2);
    m->simple[i] = IN(ROW_BEHIND);
#undef IN
    m->comma[i] = EQUAL(ROW_COMMA);
    m->curly[i] = _mm512_test_epi8_mask(v, ROW(ROW_SMALL));
    m->opening[i] = _mm512_test_epi8_mask(v, ROW(ROW_OPENING));
    m->dot[i] = EQUAL(ROW_DOT);
    m->zero[i] = EQUAL(ROW_ZERO);
    v = _mm512_or_si512(v, ROW(ROW_SMALL));
    m->e[i] = EQUAL(ROW_E);
    m->ell[i] = EQUAL(ROW_ELL);
#undef EQUAL
#undef ROW
}

#endif
#endif
