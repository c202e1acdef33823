/* Runs of bytes that need no closer look, sixteen bytes at a time where there is SSE2, which
   every x86-64 has; elsewhere one at a time. */
#ifndef IATP_RUNS_H
#define IATP_RUNS_H

#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#define IATP_HAS(v, c) _mm_cmpeq_epi8(v, _mm_set1_epi8((char)(c)))
/* Digits: what is at most 9 once '0' is taken off, as unsigned bytes. */
static inline __m128i iatp_digits(__m128i v) {
    __m128i off = _mm_sub_epi8(v, _mm_set1_epi8('0'));
    return _mm_cmpeq_epi8(_mm_min_epu8(off, _mm_set1_epi8(9)), off);
}
#endif

/* Bytes before the first digit, '@', `extra` or byte beyond ASCII. */
static inline Py_ssize_t quiet_bytes(
    const unsigned char *p, Py_ssize_t n, unsigned char extra
) {
    Py_ssize_t at = 0;
#if defined(__SSE2__)
    while (at + 16 <= n) {
        __m128i v = _mm_loadu_si128((const __m128i *)(p + at));
        int hit = _mm_movemask_epi8(v) | _mm_movemask_epi8(_mm_or_si128(
            iatp_digits(v), _mm_or_si128(IATP_HAS(v, '@'), IATP_HAS(v, extra))));
        if (hit)
            return at + __builtin_ctz(hit);
        at += 16;
    }
#endif
    while (at < n && (unsigned char)(p[at] - '0') > 9 && p[at] != '@' && p[at] != extra
           && p[at] < 0x80)
        at++;
    return at;
}

/* Bytes before the first that a JSON string does not hold as it is, U+007F or beyond ASCII.
   `calls` becomes 1 where a digit or an '@' is among them. */
static inline Py_ssize_t string_bytes(const unsigned char *p, Py_ssize_t n, int *calls) {
    Py_ssize_t at = 0;
#if defined(__SSE2__)
    while (at + 16 <= n) {
        __m128i v = _mm_loadu_si128((const __m128i *)(p + at));
        int call = _mm_movemask_epi8(_mm_or_si128(iatp_digits(v), IATP_HAS(v, '@')));
        /* At most 0x1f, as unsigned bytes: a control character. */
        __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v);
        int end = _mm_movemask_epi8(v) | _mm_movemask_epi8(_mm_or_si128(
            _mm_or_si128(control, IATP_HAS(v, 0x7f)),
            _mm_or_si128(IATP_HAS(v, '"'), IATP_HAS(v, 92))));
        if (end) {
            *calls |= (call & (end ^ (end - 1))) != 0;
            return at + __builtin_ctz(end);
        }
        *calls |= call != 0;
        at += 16;
    }
#endif
    while (at < n && p[at] != '"' && p[at] != 92 && p[at] >= 0x20 && p[at] < 0x7f) {
        *calls |= (unsigned char)(p[at] - '0') < 10 || p[at] == '@';
        at++;
    }
    return at;
}

/* Bytes before the first control character, U+007F or byte beyond ASCII: what stands in a JSON
   text as it is. */
static inline Py_ssize_t quiet_json(const unsigned char *p, Py_ssize_t n) {
    Py_ssize_t at = 0;
#if defined(__SSE2__)
    while (at + 16 <= n) {
        __m128i v = _mm_loadu_si128((const __m128i *)(p + at));
        __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v);
        int hit = _mm_movemask_epi8(_mm_or_si128(v, _mm_or_si128(control, IATP_HAS(v, 0x7f))));
        if (hit)
            return at + __builtin_ctz(hit);
        at += 16;
    }
#endif
    while (at < n && p[at] >= 0x20 && p[at] < 0x7f)
        at++;
    return at;
}

/* How many bytes are digits, '@', '%', '&', '=', ':' or a backslash: what is read closely. */
static inline Py_ssize_t close_bytes(const unsigned char *p, Py_ssize_t n) {
    Py_ssize_t at = 0, count = 0;
#if defined(__SSE2__)
    const __m128i none = _mm_setzero_si128(), one = _mm_set1_epi8(1);
    __m128i sum = none;
    uint64_t sums[2];
    for (; at + 16 <= n; at += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(p + at));
        /* Digits, and the colon behind them. */
        __m128i off = _mm_sub_epi8(v, _mm_set1_epi8('0'));
        __m128i hit = _mm_cmpeq_epi8(_mm_min_epu8(off, _mm_set1_epi8(10)), off);
        hit = _mm_or_si128(hit, _mm_or_si128(IATP_HAS(v, '%'), IATP_HAS(v, '&')));
        hit = _mm_or_si128(hit, _mm_or_si128(IATP_HAS(v, '@'), IATP_HAS(v, '=')));
        hit = _mm_or_si128(hit, IATP_HAS(v, 92));
        sum = _mm_add_epi64(sum, _mm_sad_epu8(_mm_and_si128(hit, one), none));
    }
    memcpy(sums, &sum, sizeof sums);
    count = (Py_ssize_t)(sums[0] + sums[1]);
#endif
    for (; at < n; at++) {
        unsigned char c = p[at];
        count += (unsigned char)(c - '0') <= 10 || c == '@' || c == '%' || c == '&' || c == '='
                 || c == 92;
    }
    return count;
}

/* Bytes before the first `one` or `two`. */
static inline Py_ssize_t quiet_marked(
    const unsigned char *p, Py_ssize_t n, unsigned char one, unsigned char two
) {
    Py_ssize_t at = 0;
#if defined(__SSE2__)
    for (; at + 16 <= n; at += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(p + at));
        int hit = _mm_movemask_epi8(_mm_or_si128(IATP_HAS(v, one), IATP_HAS(v, two)));
        if (hit)
            return at + __builtin_ctz((unsigned)hit);
    }
#endif
    while (at < n && p[at] != one && p[at] != two)
        at++;
    return at;
}

/* The same, and they are copied to `out`, which has room for `n`. */
static inline Py_ssize_t copy_marked(
    const unsigned char *p, Py_ssize_t n, unsigned char one, unsigned char two,
    unsigned char *out
) {
    Py_ssize_t at = 0;
#if defined(__SSE2__)
    for (; at + 16 <= n; at += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(p + at));
        int hit = _mm_movemask_epi8(_mm_or_si128(IATP_HAS(v, one), IATP_HAS(v, two)));
        _mm_storeu_si128((__m128i *)(out + at), v);
        if (hit)
            return at + __builtin_ctz((unsigned)hit);
    }
#endif
    for (; at < n && p[at] != one && p[at] != two; at++)
        out[at] = p[at];
    return at;
}

#if defined(__SSE2__)
/* Which of 64 bytes are characters of base64, standard or URL. */
static inline uint64_t base64_bytes(const unsigned char *p) {
    uint64_t bits = 0;
    for (int i = 0; i < 4; i++) {
        __m128i v = _mm_loadu_si128((const __m128i *)(p + 16 * i));
        /* Digits, and the slash before them. */
        __m128i digit = _mm_sub_epi8(v, _mm_set1_epi8('/'));
        __m128i letter = _mm_sub_epi8(_mm_or_si128(v, _mm_set1_epi8(0x20)), _mm_set1_epi8('a'));
        __m128i hit = _mm_or_si128(
            _mm_cmpeq_epi8(_mm_min_epu8(digit, _mm_set1_epi8(10)), digit),
            _mm_cmpeq_epi8(_mm_min_epu8(letter, _mm_set1_epi8(25)), letter));
        hit = _mm_or_si128(hit, _mm_or_si128(
            IATP_HAS(v, '+'), _mm_or_si128(IATP_HAS(v, '-'), IATP_HAS(v, '_'))));
        bits |= (uint64_t)(uint32_t)_mm_movemask_epi8(hit) << (16 * i);
    }
    return bits;
}
#endif

/* From where on `at` is the first of `least` characters of base64 together, eight to 64 of them;
   or a place behind which there are none, which the caller goes on from byte by byte. */
static inline Py_ssize_t before_run(
    const unsigned char *p, Py_ssize_t at, Py_ssize_t n, int least
) {
#if defined(__SSE2__)
    Py_ssize_t open = at;    /* all from here on are such characters */
    while (at + 64 <= n) {
        uint64_t bits = base64_bytes(p + at), run;
        if (bits != ~0ull) {
            int first = __builtin_ctzll(~bits);
            if (at + first - open >= least)
                return open;
            run = bits & bits >> 1;
            run &= run >> 2;
            run &= run >> 4;
            run &= run >> (least - 8);
            if (run)
                return at + __builtin_ctzll(run);
            open = at + 64 - __builtin_clzll(~bits);
        } else if (at + 64 - open >= least) {
            return open;
        }
        at += 64;
    }
    return open;
#else
    (void)p, (void)n, (void)least;
    return at;
#endif
}

#if defined(__SSE2__)
/* Which of sixteen bytes are hex digits, and in `dashes` which are dashes. */
static inline int iatp_hex(const unsigned char *p, int *dashes) {
    __m128i v = _mm_loadu_si128((const __m128i *)p);
    __m128i off = _mm_sub_epi8(_mm_or_si128(v, _mm_set1_epi8(0x20)), _mm_set1_epi8('a'));
    __m128i letters = _mm_cmpeq_epi8(_mm_min_epu8(off, _mm_set1_epi8(5)), off);
    *dashes = _mm_movemask_epi8(IATP_HAS(v, '-'));
    return _mm_movemask_epi8(_mm_or_si128(iatp_digits(v), letters));
}
#endif

/* Whether 36 bytes are a UUID, 8-4-4-4-12 hex digits. */
static inline int uuid_bytes(const unsigned char *p) {
#if defined(__SSE2__)
    int dashes, hex = iatp_hex(p, &dashes);
    if (dashes != 0x2100 || hex != 0xdeff)
        return 0;
    hex = iatp_hex(p + 16, &dashes);
    if (dashes != 0x0084 || hex != 0xff7b)
        return 0;
    return iatp_hex(p + 20, &dashes) >> 12 == 0xf;
#else
    for (int i = 0; i < 36; i++) {
        unsigned char c = p[i];
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (c != '-')
                return 0;
        } else {
            unsigned char letter = (unsigned char)((c | 0x20) - 'a');
            if ((unsigned char)(c - '0') > 9 && letter > 5)
                return 0;
        }
    }
    return 1;
#endif
}

/* Whether no letter of a UUID is a capital. */
static inline int small_bytes(const unsigned char *p) {
#if defined(__SSE2__)
    __m128i all = _mm_and_si128(
        _mm_and_si128(_mm_loadu_si128((const __m128i *)p), _mm_loadu_si128((const __m128i *)(p + 16))),
        _mm_loadu_si128((const __m128i *)(p + 20)));
    return _mm_movemask_epi8(_mm_slli_epi16(all, 2)) == 0xffff;
#else
    for (int i = 0; i < 36; i++)
        if (!(p[i] & 0x20))
            return 0;
    return 1;
#endif
}

#endif
