/* CRC-32C (Castagnoli; RFC 3720, B.4), with the instructions of SSE4.2 and PCLMULQDQ where the
   machine has them, else from tables, eight bytes at a time. */
#ifndef IATP_TRAIL_H
#define IATP_TRAIL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static uint32_t crc_tables[8][256];

static void crc_init(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
        crc_tables[0][byte] = crc;
    }
    for (uint32_t byte = 0; byte < 256; byte++)
        for (int table = 1; table < 8; table++)
            crc_tables[table][byte] =
                crc_tables[table - 1][byte] >> 8
                ^ crc_tables[0][crc_tables[table - 1][byte] & 255];
}

static inline uint64_t trail_word(const unsigned char *p) {
    uint64_t word = 0;
    for (int i = 8; i-- > 0;)
        word = word << 8 | p[i];
    return word;
}

/* Of an inverted sum, which it leaves inverted. */
static uint32_t crc_plain(uint32_t crc, const unsigned char *p, Py_ssize_t n) {
    for (; n >= 8; p += 8, n -= 8) {
        const uint64_t word = trail_word(p) ^ crc;
        crc = 0;
        for (int i = 0; i < 8; i++)
            crc ^= crc_tables[7 - i][word >> 8 * i & 255];
    }
    for (; n > 0; p++, n--)
        crc = crc >> 8 ^ crc_tables[0][(crc ^ *p) & 255];
    return crc;
}

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

/* One instruction waits three cycles for the one before, but three of them can be on their way:
   so three stretches of so many bytes are summed side by side and then put together. */
#define CRC_LANE 128

/* What a sum is multiplied by so that it counts as one of so many bytes more: x^(8n - 33), bits
   reversed. Of the 33, 32 are the instruction's own shift and one is that of a product of reversed
   factors. */
static uint64_t crc_farther[2];

static void crc_wide_init(void) {
    for (int lanes = 1; lanes <= 2; lanes++) {
        uint32_t power = 0x80000000u;
        for (int bit = 8 * CRC_LANE * lanes - 33; bit > 0; bit--)
            power = power >> 1 ^ (power & 1 ? 0x82f63b78u : 0);
        crc_farther[lanes - 1] = power;
    }
}

__attribute__((target("sse4.2,pclmul")))
static inline uint64_t crc_moved(uint64_t sum, int lanes) {
    return (uint64_t)_mm_cvtsi128_si64(_mm_clmulepi64_si128(
        _mm_cvtsi64_si128((long long)sum), _mm_cvtsi64_si128((long long)crc_farther[lanes - 1]), 0));
}

__attribute__((target("sse4.2,pclmul")))
static uint32_t crc_wide(uint32_t crc, const unsigned char *p, Py_ssize_t n) {
    uint64_t sum = crc, second, third, words[3];
    uint32_t half;
    for (; n >= 3 * CRC_LANE; p += 3 * CRC_LANE, n -= 3 * CRC_LANE) {
        second = third = 0;
        for (int at = 0; at < CRC_LANE; at += 8) {
            memcpy(words, p + at, 8);
            memcpy(words + 1, p + CRC_LANE + at, 8);
            memcpy(words + 2, p + 2 * CRC_LANE + at, 8);
            sum = _mm_crc32_u64(sum, words[0]);
            second = _mm_crc32_u64(second, words[1]);
            third = _mm_crc32_u64(third, words[2]);
        }
        sum = third ^ _mm_crc32_u64(0, crc_moved(sum, 2) ^ crc_moved(second, 1));
    }
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(words, p, 8);
        sum = _mm_crc32_u64(sum, words[0]);
    }
    crc = (uint32_t)sum;
    if (n >= 4) {
        memcpy(&half, p, 4);
        crc = _mm_crc32_u32(crc, half);
        p += 4, n -= 4;
    }
    for (; n > 0; p++, n--)
        crc = _mm_crc32_u8(crc, *p);
    return crc;
}

static int crc_has_wide(void) {
    return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
}
#else
static void crc_wide_init(void) {}
static uint32_t crc_wide(uint32_t crc, const unsigned char *p, Py_ssize_t n) {
    return crc_plain(crc, p, n);
}
static int crc_has_wide(void) { return 0; }
#endif
#endif
