/* Puts a backslash before the quotes and backslashes of plain ASCII, sixteen bytes at a time:
   for each eight bytes, the mask of those to escape chooses a shuffle that makes room. */
#ifndef IATP_ESCAPE_H
#define IATP_ESCAPE_H

#include <stdint.h>

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <immintrin.h>

/* Where each byte of the output comes from: 0 to 7 the input, 8 a backslash. */
static unsigned char escape_shuffles[256][16];
static int escape_ready;

static int escape_init(void) {
    __builtin_cpu_init();
    for (int mask = 0; mask < 256; mask++) {
        int to = 0;
        for (int from = 0; from < 8; from++) {
            if (mask >> from & 1)
                escape_shuffles[mask][to++] = 8;
            escape_shuffles[mask][to++] = (unsigned char)from;
        }
    }
    escape_ready = __builtin_cpu_supports("ssse3") && __builtin_cpu_supports("popcnt");
    return escape_ready;
}

/* Writes the escaped form of the first bytes of `p` to `out`, which has room for 2 * n + 16;
   gives how many bytes were read, and in `written` how many were written. It ends before a
   control character, U+007F, what is not ASCII, and the last 15 bytes. */
__attribute__((target("ssse3,popcnt")))
static Py_ssize_t escape_quotes(
    const unsigned char *p, Py_ssize_t n, char *out, Py_ssize_t *written
) {
    const __m128i backslash = _mm_set1_epi8('\\');
    Py_ssize_t at = 0;
    char *to = out;
    if (!escape_ready)
        n = 0;
    while (at + 16 <= n) {
        __m128i v = _mm_loadu_si128((const __m128i *)(p + at));
        __m128i odd = _mm_or_si128(
            _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v),
            _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f)));
        int mask = _mm_movemask_epi8(_mm_or_si128(
            _mm_cmpeq_epi8(v, _mm_set1_epi8('"')), _mm_cmpeq_epi8(v, backslash)));
        if (_mm_movemask_epi8(_mm_or_si128(odd, v)))
            break;
        if (mask == 0) {
            _mm_storeu_si128((__m128i *)to, v);
            to += 16;
        } else {
            int low = mask & 0xff, high = mask >> 8;
            __m128i first = _mm_shuffle_epi8(
                _mm_unpacklo_epi64(v, backslash),
                _mm_loadu_si128((const __m128i *)escape_shuffles[low]));
            __m128i second = _mm_shuffle_epi8(
                _mm_unpackhi_epi64(v, backslash),
                _mm_loadu_si128((const __m128i *)escape_shuffles[high]));
            _mm_storeu_si128((__m128i *)to, first);
            to += 8 + __builtin_popcount((unsigned)low);
            _mm_storeu_si128((__m128i *)to, second);
            to += 8 + __builtin_popcount((unsigned)high);
        }
        at += 16;
    }
    *written = to - out;
    return at;
}

#else
static int escape_init(void) { return 0; }
static Py_ssize_t escape_quotes(
    const unsigned char *p, Py_ssize_t n, char *out, Py_ssize_t *written
) {
    (void)p, (void)n, (void)out;
    *written = 0;
    return 0;
}
#endif
#endif
