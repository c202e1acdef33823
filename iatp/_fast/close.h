/* How often a word stands in a text behind which a secret may stand, or with which a token begins:
   each is looked at closely. Counted for the bound on what is undone, and in tests/twins/layers.py. */
#ifndef IATP_CLOSE_H
#define IATP_CLOSE_H

#include <stdint.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define CLOSE_MOST 192
#define CLOSE_LONGEST 18

/* Words in UTF-8, their letters of ASCII small. Of those that end in a byte one, and of each the
   next; from 1 on. To a whole word nothing is joined in front either. Bit b of `pairs[a]`: one ends in
   bytes whose low five bits are b and a. */
typedef struct {
    uint32_t pairs[32];
    unsigned char first[256];
    unsigned char next[CLOSE_MOST];
    unsigned char lengths[CLOSE_MOST];
    unsigned char whole[CLOSE_MOST];
    unsigned char words[CLOSE_MOST][CLOSE_LONGEST];
} CloseWords;

static inline unsigned char close_fold(unsigned char c) {
    return (unsigned char)(c - 'A') < 26 ? c | 0x20 : c;
}

static inline int close_joins(unsigned char c) {
    return c >= 0x80 || (unsigned char)(c - '0') < 10 || (unsigned char)((c | 0x20) - 'a') < 26;
}

/* Whether one of the words ends at `end`, of a text that begins at `p`. */
static inline int close_word(const CloseWords *t, const unsigned char *p, Py_ssize_t end) {
    if (end < 2 || !(t->pairs[p[end - 1] & 31] >> (p[end - 2] & 31) & 1))
        return 0;
    for (int i = t->first[close_fold(p[end - 1])]; i; i = t->next[i]) {
        Py_ssize_t start = end - t->lengths[i];
        int left = t->lengths[i] - 1;
        if (start < 0)
            continue;
        while (left > 0 && close_fold(p[start + left - 1]) == t->words[i][left - 1])
            left--;
        if (left == 0 && !(t->whole[i] && start > 0 && close_joins(p[start - 1])))
            return 1;
    }
    return 0;
}

/* How many of the words end where nothing is joined to them. */
static inline Py_ssize_t close_words(const CloseWords *t, const unsigned char *p, Py_ssize_t n) {
    Py_ssize_t at = 0, count = 0;
#if defined(__SSE2__)
    const __m128i small = _mm_set1_epi8(0x20);
    for (; at + 16 < n; at += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(p + at));
        __m128i letter = _mm_sub_epi8(_mm_or_si128(v, small), _mm_set1_epi8('a'));
        __m128i digit = _mm_sub_epi8(v, _mm_set1_epi8('0'));
        unsigned joined = (unsigned)_mm_movemask_epi8(_mm_or_si128(v, _mm_or_si128(
            _mm_cmpeq_epi8(_mm_min_epu8(letter, _mm_set1_epi8(25)), letter),
            _mm_cmpeq_epi8(_mm_min_epu8(digit, _mm_set1_epi8(9)), digit))));
        unsigned ends = joined & ~(joined >> 1 | (unsigned)close_joins(p[at + 16]) << 15);
        for (; ends; ends &= ends - 1)
            count += close_word(t, p, at + __builtin_ctz(ends) + 1);
    }
#endif
    for (; at < n; at++)
        if (close_joins(p[at]) && (at + 1 == n || !close_joins(p[at + 1])))
            count += close_word(t, p, at + 1);
    return count;
}
#endif
