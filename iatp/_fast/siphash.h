/* SipHash-2-4 with 64 bits (Aumasson, Bernstein, "SipHash: a fast short-input PRF", 2012) and with
   128 bits (as in its authors' reference code): a keyed hash for short inputs. */
#ifndef IATP_SIPHASH_H
#define IATP_SIPHASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t sip_word(const unsigned char *p, Py_ssize_t n) {
    uint64_t word = 0;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    if (n == 8) {
        memcpy(&word, p, 8);
        return word;
    }
#endif
    for (Py_ssize_t i = n; i-- > 0;)
        word = word << 8 | p[i];
    return word;
}

static inline uint64_t sip_turn(uint64_t x, int by) { return x << by | x >> (64 - by); }

static inline void sip_rounds(uint64_t v[4], int rounds) {
    while (rounds-- > 0) {
        v[0] += v[1], v[2] += v[3];
        v[1] = sip_turn(v[1], 13) ^ v[0], v[3] = sip_turn(v[3], 16) ^ v[2];
        v[0] = sip_turn(v[0], 32);
        v[2] += v[1], v[0] += v[3];
        v[1] = sip_turn(v[1], 17) ^ v[2], v[3] = sip_turn(v[3], 21) ^ v[0];
        v[2] = sip_turn(v[2], 32);
    }
}

/* `key` has 16 bytes. */
static uint64_t siphash64(const unsigned char *key, const unsigned char *data, Py_ssize_t length) {
    const uint64_t k0 = sip_word(key, 8), k1 = sip_word(key + 8, 8);
    uint64_t v[4] = {
        k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d,
        k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573
    };
    uint64_t word;
    Py_ssize_t at = 0;
    for (; at + 8 <= length; at += 8) {
        word = sip_word(data + at, 8);
        v[3] ^= word;
        sip_rounds(v, 2);
        v[0] ^= word;
    }
    word = sip_word(data + at, length - at) | (uint64_t)length << 56;
    v[3] ^= word;
    sip_rounds(v, 2);
    v[0] ^= word;
    v[2] ^= 0xff;
    sip_rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* `key` has 16 bytes, and so has `out`. */
static void siphash128(
    const unsigned char *key, const unsigned char *data, Py_ssize_t length, unsigned char *out
) {
    const uint64_t k0 = sip_word(key, 8), k1 = sip_word(key + 8, 8);
    uint64_t v[4] = {
        k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d ^ 0xee,
        k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573
    };
    uint64_t word;
    Py_ssize_t at = 0;
    for (; at + 8 <= length; at += 8) {
        word = sip_word(data + at, 8);
        v[3] ^= word;
        sip_rounds(v, 2);
        v[0] ^= word;
    }
    word = sip_word(data + at, length - at) | (uint64_t)length << 56;
    v[3] ^= word;
    sip_rounds(v, 2);
    v[0] ^= word;
    v[2] ^= 0xee;
    for (int half = 0; half < 2; half++) {
        sip_rounds(v, 4);
        word = v[0] ^ v[1] ^ v[2] ^ v[3];
        for (int i = 0; i < 8; i++)
            out[8 * half + i] = (unsigned char)(word >> 8 * i);
        v[1] ^= 0xdd;
    }
}
#endif
