/* Puts a backslash before the quotes and backslashes of plain ASCII. With AVX-512 each of 32 bytes
   gets one, and those that need none are squeezed out again; else sixteen bytes are taken at a
   time, and for each eight the mask of those to escape chooses a shuffle that makes room. */
#ifndef IATP_ESCAPE_H
#define IATP_ESCAPE_H

#include <stdint.h>

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <immintrin.h>

/* Where each byte of the output comes from: 0 to 7 the input, 8 a backslash. */
static unsigned char escape_shuffles[256][16];
enum { ESCAPE_NONE, ESCAPE_SHUFFLES, ESCAPE_SQUEEZES };
static int escape_level;

/* Chooses what this machine can do, of what is not above `level`; returns it. */
static int escape_init(int level) {
    __builtin_cpu_init();
    for (int mask = 0; mask < 256; mask++) {
        int to = 0;
        for (int from = 0; from < 8; from++) {
            if (mask >> from & 1)
                escape_shuffles[mask][to++] = 8;
            escape_shuffles[mask][to++] = (unsigned char)from;
        }
    }
    escape_level = ESCAPE_NONE;
    if (level >= ESCAPE_SHUFFLES && __builtin_cpu_supports("ssse3")
        && __builtin_cpu_supports("popcnt"))
        escape_level = ESCAPE_SHUFFLES;
    if (level >= ESCAPE_SQUEEZES && escape_level && __builtin_cpu_supports("avx512vbmi2")
        && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")
        && __builtin_cpu_supports("bmi2"))
        escape_level = ESCAPE_SQUEEZES;
    return escape_level;
}

/* As escape_quotes, but that it ends before the last 31 bytes. */
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi2,bmi2,popcnt")))
static Py_ssize_t escape_squeezed(
    const unsigned char *p, Py_ssize_t n, char *out, Py_ssize_t *written
) {
    const __m512i backslashes = _mm512_set1_epi16('\\');
    Py_ssize_t at = 0;
    char *to = out;
    while (at + 32 <= n) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(p + at));
        /* One that is not ASCII is negative. */
        uint32_t odd = _mm256_cmple_epi8_mask(v, _mm256_set1_epi8(0x1f))
                       | _mm256_cmpeq_epi8_mask(v, _mm256_set1_epi8(0x7f));
        uint32_t mask = _mm256_cmpeq_epi8_mask(v, _mm256_set1_epi8('"'))
                        | _mm256_cmpeq_epi8_mask(v, _mm256_set1_epi8('\\'));
        if (odd)
            break;
        if (mask == 0)
            _mm256_storeu_si256((__m256i *)to, v);
        else {
            /* In pairs, the first of which is the backslash. */
            __m512i pairs = _mm512_or_si512(
                _mm512_slli_epi16(_mm512_cvtepu8_epi16(v), 8), backslashes);
            uint64_t kept = _pdep_u64(mask, ~0ull / 3) | ~0ull / 3 << 1;
            _mm512_storeu_si512((void *)to, _mm512_maskz_compress_epi8(kept, pairs));
            to += __builtin_popcount(mask);
        }
        to += 32;
        at += 32;
    }
    *written = to - out;
    return at;
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
    if (escape_level == ESCAPE_NONE)
        n = 0;
    else if (escape_level == ESCAPE_SQUEEZES) {
        at = escape_squeezed(p, n, out, written);
        to += *written;
    }
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
static int escape_init(int level) { (void)level; return 0; }
static Py_ssize_t escape_quotes(
    const unsigned char *p, Py_ssize_t n, char *out, Py_ssize_t *written
) {
    (void)p, (void)n, (void)out;
    *written = 0;
    return 0;
}
#endif
#endif
