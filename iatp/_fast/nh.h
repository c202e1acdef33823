/* NH over up to 1024 bytes (mac.pyx), in two forms with the same sums: plain C, and AVX2 where
   the machine that runs it has that. */
#ifndef IATP_NH_H
#define IATP_NH_H

#include <stdint.h>
#include <string.h>

/* How many words the pad of the second sum is shifted. */
#define IATP_NH_SHIFT 4

/* Adds the two sums of `data` to `sums`; `length` is a multiple of 8. `pad` has IATP_NH_SHIFT
   words more than `data`. */
static void iatp_nh_plain(
    const unsigned char *data, Py_ssize_t length, const uint32_t *pad, uint64_t *sums
) {
    uint32_t words[2];
    for (Py_ssize_t at = 0; at < length; at += 8, pad += 2) {
        memcpy(words, data + at, 8);
        sums[0] += (uint64_t)(uint32_t)(words[0] + pad[0]) * (uint32_t)(words[1] + pad[1]);
        sums[1] += (uint64_t)(uint32_t)(words[0] + pad[IATP_NH_SHIFT])
                   * (uint32_t)(words[1] + pad[IATP_NH_SHIFT + 1]);
    }
}

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

/* In each pair of words the first, times the second, as four numbers of 64 bits. */
#define IATP_PAIRS(v) _mm256_mul_epu32(v, _mm256_srli_epi64(v, 32))
#define IATP_WORDS(p) _mm256_loadu_si256((const __m256i *)(p))

/* The same, for a `length` that is a multiple of 32. */
__attribute__((target("avx2"))) static void iatp_nh_avx2(
    const unsigned char *data, Py_ssize_t length, const uint32_t *pad, uint64_t *sums
) {
    __m256i first = _mm256_setzero_si256();
    __m256i second = _mm256_setzero_si256();
    uint64_t lanes[4];
    for (Py_ssize_t at = 0; at < length; at += 32, pad += 8) {
        __m256i words = IATP_WORDS(data + at);
        __m256i one = _mm256_add_epi32(words, IATP_WORDS(pad));
        __m256i two = _mm256_add_epi32(words, IATP_WORDS(pad + IATP_NH_SHIFT));
        first = _mm256_add_epi64(first, IATP_PAIRS(one));
        second = _mm256_add_epi64(second, IATP_PAIRS(two));
    }
    _mm256_storeu_si256((__m256i *)lanes, first);
    sums[0] += lanes[0] + lanes[1] + lanes[2] + lanes[3];
    _mm256_storeu_si256((__m256i *)lanes, second);
    sums[1] += lanes[0] + lanes[1] + lanes[2] + lanes[3];
}

static inline int iatp_has_avx2(void) {
    return __builtin_cpu_supports("avx2") != 0;
}
#else
static void iatp_nh_avx2(
    const unsigned char *data, Py_ssize_t length, const uint32_t *pad, uint64_t *sums
) {
    iatp_nh_plain(data, length, pad, sums);
}

static inline int iatp_has_avx2(void) {
    return 0;
}
#endif

/* Sets `sums` to the two sums; `wide` is what iatp_has_avx2 said. */
static inline void nh(
    int wide, const unsigned char *data, Py_ssize_t length, const uint32_t *pad, uint64_t *sums
) {
    Py_ssize_t even = wide ? length / 32 * 32 : 0;
    sums[0] = sums[1] = 0;
    if (even)
        iatp_nh_avx2(data, even, pad, sums);
    iatp_nh_plain(data + even, length - even, pad + even / 4, sums);
}

#endif
