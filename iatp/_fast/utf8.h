/* UTF-8 as RFC 3629 has it: no overlong form, no surrogate, nothing above U+10FFFF. */
#ifndef IATP_UTF8_H
#define IATP_UTF8_H

#include <stdint.h>

/* How many bytes follow this one, or 0 where it leads none. */
static inline int utf8_rest(unsigned char lead) {
    if (lead < 0xc2)
        return 0;
    return lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : lead < 0xf5 ? 3 : 0;
}

/* Whether `c` may be the byte number `place` (from 0) behind `lead`. */
static inline int utf8_fits(unsigned char lead, int place, unsigned char c) {
    if ((c & 0xc0) != 0x80)
        return 0;
    if (place > 0)
        return 1;
    switch (lead) {
    case 0xe0: return c >= 0xa0;
    case 0xed: return c < 0xa0;
    case 0xf0: return c >= 0x90;
    case 0xf4: return c < 0x90;
    }
    return 1;
}

/* The length of the character beyond ASCII that begins at `p`, of which `n` bytes are there;
   0 where it is not valid. */
static inline int utf8_length(const unsigned char *p, Py_ssize_t n) {
    int rest = utf8_rest(p[0]);
    if (rest == 0 || n <= rest)
        return 0;
    for (int place = 0; place < rest; place++)
        if (!utf8_fits(p[0], place, p[place + 1]))
            return 0;
    return rest + 1;
}

/* The length of the character beyond ASCII that begins at `p`, and what it is; a byte that is no
   UTF-8 is one of its own. */
static inline int utf8_point(const unsigned char *p, Py_ssize_t n, uint32_t *cp) {
    int length = utf8_length(p, n);
    *cp = p[0];
    if (length == 0)
        return 1;
    *cp &= 0x7f >> length;
    for (int place = 1; place < length; place++)
        *cp = *cp << 6 | (p[place] & 0x3f);
    return length;
}

/* Whether a digit or a separator beyond ASCII can begin with this byte. Letters of Latin, Greek,
   Cyrillic, Hebrew, ideographs and syllables of Hangul do not: D6 begins the hyphens of Armenian and
   Hebrew, E3 U+3000. */
static inline int utf8_may_count(unsigned char lead) {
    return !((lead >= 0xc3 && lead <= 0xd8 && lead != 0xd6) || (lead >= 0xe4 && lead <= 0xe9)
             || (lead >= 0xeb && lead <= 0xed));
}

#endif
