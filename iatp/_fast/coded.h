/* Whether a run of base64 or hex can hold a text or a number, 64 characters at a time.

   Most runs are none: paths, names, ids, digests. Of those this says so from a few masks, without
   decoding at each place where what is encoded may begin. What it does not rule out may still be
   nothing; layers.pyx then decides. Ruled out is
   - a text: of the bytes from each place at which one may begin, the first nine (of hex, eight)
     are not all UTF-8 without controls;
   - a number: nine digits and separators together hold two whole triples of base64, each of four
     characters. */
#ifndef IATP_CODED_H
#define IATP_CODED_H

#include <stdint.h>
#include <string.h>

#define CODED_STEP 44           /* what is looked for from a place has at most 20 characters */
#define CODED_STARTS 64         /* PREFIX of scan.pyx */
#define CODED_SHORTEST 15       /* SHORTEST_RUN of layers.pxd */

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <immintrin.h>

#define CODED_TARGET __attribute__((target("avx2")))

/* What bytes are, one bit a byte. */
typedef struct {
    uint64_t number;             /* of_number in layers.pyx */
    uint64_t control;            /* in no text */
    uint64_t high, more;         /* beyond ASCII; of these, those that lead no character */
} CodedBytes;

enum { CODED_TAB = 1, CODED_SIGN = 2, CODED_DIGIT = 4, CODED_LINE = 8,
       CODED_C0 = 16, CODED_C1 = 32, CODED_DEL = 64 };
#define CODED_LOW_HALVES \
    CODED_C0 | CODED_C1 | CODED_SIGN | CODED_DIGIT, CODED_C0 | CODED_C1 | CODED_DIGIT, \
    CODED_C0 | CODED_C1 | CODED_DIGIT, CODED_C0 | CODED_C1 | CODED_DIGIT, \
    CODED_C0 | CODED_C1 | CODED_DIGIT, CODED_C0 | CODED_C1 | CODED_DIGIT, \
    CODED_C0 | CODED_C1 | CODED_DIGIT, CODED_C0 | CODED_C1 | CODED_DIGIT, \
    CODED_C0 | CODED_C1 | CODED_DIGIT, CODED_TAB | CODED_C1 | CODED_DIGIT, CODED_C1, \
    CODED_C0 | CODED_C1, CODED_C0 | CODED_C1, CODED_C1 | CODED_SIGN, \
    CODED_C0 | CODED_C1 | CODED_SIGN, \
    CODED_C0 | CODED_C1 | CODED_SIGN | CODED_LINE | CODED_DEL
#define CODED_HIGH_HALVES \
    CODED_TAB | CODED_C0, CODED_C1, CODED_SIGN, CODED_DIGIT, 0, CODED_LINE, 0, CODED_DEL, \
    0, 0, 0, 0, 0, 0, 0, 0

/* Where there is `wide`, these are 64 characters, else only the first half counts and nothing is done
   for the other. */
#define CODED_BITS(a, b) \
    ((uint64_t)(uint32_t)_mm256_movemask_epi8(a) \
     | (wide ? (uint64_t)(uint32_t)_mm256_movemask_epi8(b) << 32 : 0))
#define CODED_ALL(c) _mm256_set1_epi8((char)(c))

static inline int coded_joint(unsigned char c) {
    return c == '/' || c == '-' || c == '_' || c == '+';
}

CODED_TARGET
static inline __attribute__((always_inline)) CodedBytes coded_bytes(__m256i a, __m256i b, int wide) {
    const __m256i none = _mm256_setzero_si256(), half = CODED_ALL(0x0f);
    const __m256i lows = _mm256_broadcastsi128_si256(_mm_setr_epi8(CODED_LOW_HALVES));
    const __m256i highs = _mm256_broadcastsi128_si256(_mm_setr_epi8(CODED_HIGH_HALVES));
    /* A byte beyond ASCII has its top bit set, so the first table gives it no class. */
    __m256i ka = _mm256_and_si256(
        _mm256_shuffle_epi8(lows, a),
        _mm256_shuffle_epi8(highs, _mm256_and_si256(_mm256_srli_epi16(a, 4), half)));
    __m256i kb = _mm256_and_si256(
        _mm256_shuffle_epi8(lows, b),
        _mm256_shuffle_epi8(highs, _mm256_and_si256(_mm256_srli_epi16(b, 4), half)));
    const __m256i number = CODED_ALL(CODED_TAB | CODED_SIGN | CODED_DIGIT | CODED_LINE);
    const __m256i control = CODED_ALL(CODED_C0 | CODED_C1 | CODED_DEL);
    CodedBytes of;
    of.number = ~CODED_BITS(_mm256_cmpeq_epi8(_mm256_and_si256(ka, number), none),
                            _mm256_cmpeq_epi8(_mm256_and_si256(kb, number), none));
    of.control = ~CODED_BITS(_mm256_cmpeq_epi8(_mm256_and_si256(ka, control), none),
                             _mm256_cmpeq_epi8(_mm256_and_si256(kb, control), none));
    of.high = CODED_BITS(a, b);
    of.more = of.high & ~CODED_BITS(_mm256_slli_epi16(a, 1), _mm256_slli_epi16(b, 1));
    return of;
}

/* The values of characters of base64; what is none gets some value. */
CODED_TARGET
static inline __attribute__((always_inline)) __m256i coded_sextets(__m256i v) {
    const __m256i offsets = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 0, 16, 4, -65, -65, -71, -71, 0, 0, 0, 0, 0, 0, 0, 0));
    __m256i half = _mm256_and_si256(_mm256_srli_epi16(v, 4), CODED_ALL(0x0f));
    __m256i off = _mm256_shuffle_epi8(offsets, half);
    off = _mm256_add_epi8(
        off, _mm256_and_si256(_mm256_cmpeq_epi8(v, CODED_ALL('+')), CODED_ALL(3)));
    off = _mm256_add_epi8(
        off, _mm256_and_si256(_mm256_cmpeq_epi8(v, CODED_ALL('-')), CODED_ALL(1)));
    off = _mm256_add_epi8(
        off, _mm256_and_si256(_mm256_cmpeq_epi8(v, CODED_ALL('_')), CODED_ALL(33)));
    return _mm256_and_si256(_mm256_add_epi8(v, off), CODED_ALL(0x3f));
}

/* Which of these are hex digits. */
CODED_TARGET
static inline __attribute__((always_inline)) __m256i coded_hex(__m256i v) {
    __m256i digit = _mm256_sub_epi8(v, CODED_ALL('0'));
    __m256i letter = _mm256_sub_epi8(_mm256_or_si256(v, CODED_ALL(0x20)), CODED_ALL('a'));
    return _mm256_or_si256(
        _mm256_cmpeq_epi8(_mm256_min_epu8(digit, CODED_ALL(9)), digit),
        _mm256_cmpeq_epi8(_mm256_min_epu8(letter, CODED_ALL(5)), letter));
}

/* Which of these are characters of base64, standard or URL. */
CODED_TARGET
static inline __attribute__((always_inline)) __m256i coded_base64(__m256i v) {
    __m256i digit = _mm256_sub_epi8(v, CODED_ALL('/'));
    __m256i letter = _mm256_sub_epi8(_mm256_or_si256(v, CODED_ALL(0x20)), CODED_ALL('a'));
    __m256i sign = _mm256_or_si256(
        _mm256_cmpeq_epi8(_mm256_or_si256(v, CODED_ALL(0x06)), CODED_ALL(0x2f)),
        _mm256_cmpeq_epi8(v, CODED_ALL('_')));
    sign = _mm256_andnot_si256(_mm256_cmpeq_epi8(v, CODED_ALL(')')), sign);
    return _mm256_or_si256(sign, _mm256_or_si256(
        _mm256_cmpeq_epi8(_mm256_min_epu8(digit, CODED_ALL(10)), digit),
        _mm256_cmpeq_epi8(_mm256_min_epu8(letter, CODED_ALL(25)), letter)));
}

/* Where the run of base64 that begins at `p` ends; `n` bytes are there. */
CODED_TARGET
static inline Py_ssize_t coded_end(const unsigned char *p, Py_ssize_t n) {
    Py_ssize_t at = 0;
    for (; at + 32 <= n; at += 32) {
        unsigned rest = ~(unsigned)_mm256_movemask_epi8(
            coded_base64(_mm256_loadu_si256((const __m256i *)(p + at))));
        if (rest)
            return at + __builtin_ctz(rest);
    }
    if (at < n) {
        unsigned char last[32] = {0};
        memcpy(last, p + at, (size_t)(n - at));
        at += __builtin_ctz(~(unsigned)_mm256_movemask_epi8(
            coded_base64(_mm256_loadu_si256((const __m256i *)last))));
    }
    return at;
}

/* Whether the hex digits among 64 characters may hold something; `starts` are those with which
   their runs begin. It takes no vectors: GCC then leaves their upper halves in use behind it, for
   which all that has none of AVX pays. */
CODED_TARGET
static __attribute__((noinline)) int coded_hex_holds(
    const unsigned char *p, uint64_t hex, uint64_t starts
) {
    const __m256i a = _mm256_loadu_si256((const __m256i *)p);
    const __m256i b = _mm256_loadu_si256((const __m256i *)(p + 32));
    const __m256i a1 = _mm256_loadu_si256((const __m256i *)(p + 1));
    const __m256i b1 = _mm256_loadu_si256((const __m256i *)(p + 33));
    const __m256i nine = CODED_ALL(9), half = CODED_ALL(0x0f), nines = CODED_ALL('9');
#define NIBBLES(v) _mm256_and_si256( \
    _mm256_add_epi8(v, _mm256_and_si256(_mm256_cmpgt_epi8(v, nines), nine)), half)
#define TOP(v) _mm256_andnot_si256(half, _mm256_slli_epi16(v, 4))
    CodedBytes of = coded_bytes(_mm256_or_si256(TOP(NIBBLES(a)), NIBBLES(a1)),
                                _mm256_or_si256(TOP(NIBBLES(b)), NIBBLES(b1)), 1);
#undef TOP
#undef NIBBLES
    uint64_t pairs = hex & hex >> 1;
    /* A lead needs more behind it, and more needs something beyond ASCII before it. */
    uint64_t breaks = (of.high & ~of.more & ~(of.more >> 2)) | (~of.high & of.more >> 2);
    uint64_t text = pairs & ~of.control & ~(breaks & pairs >> 2);
    uint64_t number = pairs & of.number, eight = number;
    text &= text >> 2;
    text &= text >> 4;
    text &= text >> 8;
    eight &= eight >> 2;
    eight &= eight >> 4;
    eight &= eight >> 8;
    return (text & ~of.more & (starts | starts << 1)) || (eight & number >> 16);
}

/* coded_may_hold, of at most 32 characters where there is not `wide`. */
CODED_TARGET
static inline __attribute__((always_inline)) int coded_may_hold_of(
    const unsigned char *p, Py_ssize_t n, Py_ssize_t room, int wide
) {
    unsigned char rest[68];
    uint64_t hex_before = 0;
    int all_hex = n > 64;
    Py_ssize_t at;
    /* Of hex digits alone base64 is not read; where all are looked at at once, that is told below. */
    for (at = 0; at < n && all_hex; at += 32) {
        unsigned hex;
        const unsigned char *q = p + at;
        if (at + 32 > room) {
            memset(rest, 0, 32);
            memcpy(rest, q, (size_t)(room - at));
            q = rest;
        }
        hex = (unsigned)_mm256_movemask_epi8(coded_hex(_mm256_loadu_si256((const __m256i *)q)));
        if (n - at < 32)
            hex |= ~0u << (n - at);
        all_hex = hex == ~0u;
    }
    for (at = 0; at < n; at += CODED_STEP) {
        const unsigned char *q = p + at;
        uint64_t within = n - at < 64 ? (1ull << (n - at)) - 1 : ~0ull;
        uint64_t hex, long_hex;
        __m256i a, b, a1, b1;
        /* The characters before have been looked at together with these. */
        if (at > 0 && n - at <= 64 - CODED_STEP)
            break;
        if (at + 65 > room) {
            memset(rest, 0, sizeof rest);
            memcpy(rest, q, (size_t)(room - at));
            q = rest;
        }
        a = _mm256_loadu_si256((const __m256i *)q);
        b = _mm256_loadu_si256((const __m256i *)(q + 32));
        a1 = _mm256_loadu_si256((const __m256i *)(q + 1));
        b1 = _mm256_loadu_si256((const __m256i *)(q + 33));
        hex = CODED_BITS(coded_hex(a), coded_hex(b)) & within;
        if (n <= 64)
            all_hex = hex == within;
        long_hex = hex & hex >> 1;
        long_hex &= long_hex >> 2;
        long_hex &= long_hex >> 4;
        long_hex &= long_hex >> 8;
        long_hex &= long_hex >> 2;
        if (long_hex && coded_hex_holds(q, hex, hex & ~(hex << 1 | hex_before)))
            return 1;
        hex_before = hex >> (CODED_STEP - 1) & 1;
        if (all_hex)
            continue;

        /* Three bytes of each four characters; masks of them at each place. */
        __m256i s = coded_sextets(a), t = coded_sextets(b);
        __m256i s1 = coded_sextets(a1), t1 = coded_sextets(b1);
#define BYTE(x, y, left, right, low) _mm256_or_si256( \
    _mm256_andnot_si256(CODED_ALL(low), _mm256_slli_epi16(x, left)), \
    _mm256_and_si256(CODED_ALL(low), _mm256_srli_epi16(y, right)))
        CodedBytes one = coded_bytes(BYTE(s, s1, 2, 4, 0x03), BYTE(t, t1, 2, 4, 0x03), wide);
        CodedBytes two = coded_bytes(BYTE(s, s1, 4, 2, 0x0f), BYTE(t, t1, 4, 2, 0x0f), wide);
        CodedBytes three = coded_bytes(BYTE(s, s1, 6, 0, 0x3f), BYTE(t, t1, 6, 0, 0x3f), wide);
#undef BYTE
        uint64_t whole = within >> 3;    /* places of four characters of the run */
        uint64_t number = one.number & two.number >> 1 & three.number >> 2 & whole;
        if (number & number >> 4)
            return 1;
        if (at < CODED_STARTS) {
            uint64_t joints = CODED_BITS(_mm256_cmpgt_epi8(s, CODED_ALL(61)),
                                         _mm256_cmpgt_epi8(t, CODED_ALL(61)));
            uint64_t starts = joints << 1 | (at == 0) | (at > 0 && coded_joint(p[at - 1]));
            uint64_t text = ~(one.control | two.control >> 1 | three.control >> 2) & whole;
            /* A lead needs more behind it, and more needs something beyond ASCII before it. */
#define BREAKS(x, y, places) (((x).high & ~(x).more & ~((y).more >> places)) \
                              | (~(x).high & (y).more >> places))
            text &= ~(BREAKS(one, two, 1) | BREAKS(two, three, 1) >> 1);
            starts &= text & text >> 4 & text >> 8 & ~one.more;
            if (starts) {
                uint64_t apart = BREAKS(three, one, 2) >> 2;
                if (starts & ~(apart | apart >> 4))
                    return 1;
            }
#undef BREAKS
        }
    }
    return 0;
}
#undef CODED_BITS
#undef CODED_ALL

/* 0 where nothing that counts can be encoded in `n` characters of base64; `room` bytes may be
   read from `p` on. */
CODED_TARGET
static int coded_may_hold(const unsigned char *p, Py_ssize_t n, Py_ssize_t room) {
    /* Most are ids. */
    return n <= 32 ? coded_may_hold_of(p, n, room, 0) : coded_may_hold_of(p, n, room, 1);
}

/* The same of the run that begins at `p`, however long that is. */
static int coded_run_holds(const unsigned char *p, Py_ssize_t room) {
    return coded_may_hold(p, coded_end(p, room), room);
}
#else
static int coded_run_holds(const unsigned char *p, Py_ssize_t room) {
    (void)p, (void)room;
    return 1;
}
#endif
#endif
