/* CRC-32C (Castagnoli; RFC 3720, B.4), with the instruction of SSE4.2 where the machine has it,
   else from tables, eight bytes at a time. */
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
__attribute__((target("sse4.2")))
static uint32_t crc_wide(uint32_t crc, const unsigned char *p, Py_ssize_t n) {
    uint64_t sum = crc, word;
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&word, p, 8);
        sum = __builtin_ia32_crc32di(sum, word);
    }
    crc = (uint32_t)sum;
    for (; n > 0; p++, n--)
        crc = __builtin_ia32_crc32qi(crc, *p);
    return crc;
}
static int crc_has_wide(void) { return __builtin_cpu_supports("sse4.2") != 0; }
#else
static uint32_t crc_wide(uint32_t crc, const unsigned char *p, Py_ssize_t n) {
    return crc_plain(crc, p, n);
}
static int crc_has_wide(void) { return 0; }
#endif
#endif
