/* Walks through a JSON document and says whether it is valid, stopping only at strings, scalars and
   arrays in which something may be found or that have to be read closely.

   Of each block of 64 bytes masks are made (masks.h): one bit a byte, for each kind of byte. What
   follows from masks alone is computed for a group of blocks at once, one in each lane of a vector
   (lanes.h):
   - quotes are paired by a prefix sum, so each byte is inside a string or outside;
   - *tokens* are the brackets, commas and colons outside strings, the opening quotes, and the
     first bytes of scalars. A carry goes from a token through what is none to the next, so that
     one addition tells what stands behind each comma, and one expression checks all pairs;
   - numbers without an exponent are checked where they stand;
   - a *row* is what may be a number of nine digits or more: see scan.pyx;
   - a *run* is WALK_RUN characters of base64 or more, or sixteen of a token.
   Then the blocks are gone through one by one:
   - what the masks show in one is looked at (places.h, coded.h), and what is nothing passed over;
   - what pairs can't say, whether a comma stands in an object or an array, is checked from
     bracket to bracket.
   Of a group in which there is nothing to look at only the brackets are gone through.
   The idea of structural masks is that of Langdale and Lemire, "Parsing Gigabytes of JSON per
   Second" (2019); checking pairs by carries, in lanes, and finding rows are not in it.

   What is not valid is not explained: the caller then reads it once more with the reader that
   says what is wrong and where. */
#ifndef IATP_WALK_H
#define IATP_WALK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "coded.h"
#include "masks.h"
#include "siblings.h"
#include "runs.h"
#include "tokens.h"
#include "utf8.h"

enum { WALK_DONE, WALK_BAD, WALK_STRING, WALK_JSON, WALK_SCALAR, WALK_ARRAY, WALK_ADDRESS };
enum { WALK_NONE, WALK_AVX2, WALK_AVX512 };
enum { IN_ROOT, IN_OBJECT, IN_ARRAY };
enum { WALK_BLOCKS, WALK_QUIET, WALK_PLAIN, WALK_INVALID, WALK_END };    /* what a group is */

#define WALK_DEPTH 128
#define WALK_BLOCK 64
#define WALK_RUN 15    /* SHORTEST_RUN of layers.pxd */
#define WALK_CARD 19   /* CARD_DIGITS of text.pxd */
#define WALK_IBAN 34
#define WALK_UUID 36
#define WALK_UUID_LAST 23   /* its last dash */
#define WALK_FIGURES 64    /* behind its country an IBAN has only digits */
#define WALK_DOMAIN 254  /* with the @; DOMAIN of text.pyx */
#define WALK_LOCAL 64    /* LOCAL of text.pyx */
#define WALK_ENTITY 26
/* Groups behind the -u of curl in which its user may end: CURL_USER of said.pyx, each two escapes,
   which have 13 bytes three levels deep. */
#define WALK_USER 6
/* Longer rows are read. */
#define WALK_ROW 64
#define WALK_GROUPS 12
#define WALK_LINES 256
#define WALK_QUOTED 256
/* Nine digits so near behind others are not asked for what they are called. */
#define WALK_NEAR 40

/* What places.h knows of the rules of text.pyx. */
typedef struct {
    const TokenTable *tokens;
    /* Digits are their values. */
    int (*is_card)(const unsigned char *digits, int n);
    int (*is_ssn)(const unsigned char *digits);
    /* Whether the nine digits at `at`, in the string whose quote is at `start`, may be called a social
       security number. */
    int (*may_call)(const unsigned char *p, Py_ssize_t start, Py_ssize_t at);
    /* Whether something may be encoded in a run of base64 or hex that is not all ruled out. */
    int (*run_holds)(const unsigned char *run, Py_ssize_t n);
    /* One bit for each unit of UTF-16 that is a digit or a separator beyond ASCII, or with which
       a pair begins that is one. */
    uint64_t units[1024];
    uint32_t entities[32];       /* the first two letters of those that need no semicolon */
    unsigned char ibans[26 * 26];    /* their lengths, by country; and WALK_FIGURES */
    /* One bit for each last letter of a word that says secret or stands behind one, by the two before
       it; each letter is its last five bits. */
    uint32_t tails[32][32];
} WalkRules;

/* The masks that a group of blocks leaves behind, and of them those that are empty behind plain
   text. Of the last block's the next group needs the last bits. */
#define CARRIES_TEXT(DO) \
    DO(both) DO(row) DO(joiners) DO(ends) DO(tail2) DO(ell) DO(beyond) DO(units) DO(alnum) DO(quoted) \
    DO(backslash) DO(gaps) DO(lasts)
#define CARRIES_EACH(DO) \
    CARRIES_TEXT(DO) DO(opens) DO(scalar) DO(mark) DO(names) DO(square_open) DO(key) DO(others) \
    DO(digits) DO(dots) DO(minuses) DO(zeros) DO(point) DO(alpha) DO(run) DO(s) DO(dash) DO(minus)

typedef struct {
    CARRIES_EACH(MASKS_FIELD)
    uint64_t in_string;          /* 0 or 1 */
    uint64_t escaped;            /* 1 where the first byte is behind a backslash */
    uint64_t letters;            /* bytes of a unit that began before and is a letter */
    uint64_t gap;                /* the rest of an escape that is a separator */
    uint64_t wide;               /* bytes of a unit beyond ASCII that counts */
    uint64_t high_bytes;         /* so many bytes of a character that began before */
    uint64_t high_marks;         /* these, where it counts */
    /* 1 where the last token is of this kind: a comma or a colon, a comma or a curly bracket that
       opens, a square one; a string behind one of `names`. */
    uint64_t after_mark, after_names, after_square_open, after_key;
    uint64_t after_point, apart;
    uint64_t uuid;               /* the first bytes, where they are of one in quotes */
    uint64_t users;              /* in so many more groups a user of curl may stand */
} Carries;

/* What is known of the blocks of a group before their brackets are gone through. */
typedef struct {
    MaskWords in, opens, closes, starts, brackets, opening, curly;
    MaskWords wrong[3];          /* by frame, what may not stand there */
    MaskWords calls, keys;
    MaskWords splits;            /* arrays whose items may be groups of a card number */
    /* What has to be looked at closely, and all of it. */
    MaskWords firsts, look, nine, row, joiners, signs, countries, coded, events, dashes, words;
    MaskWords assigns;           /* colons and equals signs in strings, behind what may say something */
    /* In strings: each e behind a digit, each opening bracket; and all that counts in JSON there. */
    MaskWords exponents, squares, inner;
    MaskWords outer;             /* 0 where all is inside of a string and nothing of it is called */
    MaskWords codes;             /* of strings, where something may be encoded */
    MaskWords closely;
    uint64_t row_before, joiners_before;    /* of the last block of the group before */
} Group;

typedef struct {
    const unsigned char *p;
    Py_ssize_t n;
    int level;
    const WalkRules *rules;

    /* Where walk_next stopped: a string or a scalar begins at `start`. The string's closing
       quote is at `end`, or that is 0 where it is not known. The key that names it stands
       before `value`; -1 where there is none. WALK_JSON is a string that begins like an object
       or an array, and in which something may be found, as JSON or as a text; where it is no JSON,
       what it may hold as a text is told afterwards. In a string that is `literal`, and does not
       begin so, nothing is encoded. WALK_ADDRESS is an address, from `start` to `end`; all that
       has been found in a string, unless that is told afterwards. */
    Py_ssize_t start, end, value;
    int literal;
    /* For the caller to set: up to here all has been read closely. And the places of the brackets
       with which the items of the outermost array end, where these are known: it has no others. */
    Py_ssize_t done;
    const Py_ssize_t *ends;

    /* The block at hand, one of a group of `lanes`, and what is left to do in it. */
    Py_ssize_t base;
    int lane, lanes;
    uint64_t brackets, calls, firsts, keys, addresses;
    uint64_t in, opens, closes, starts;
    uint64_t seen;
    uint64_t begins;             /* with these bytes strings begin like JSON */
    Py_ssize_t begins_at;        /* the last before the block at hand that does so */
    int nested;                  /* the string at hand does so, and nothing is in it so far */

    /* What the blocks before leave behind. */
    Py_ssize_t open_at, scalar_at;
    Py_ssize_t scalar_end;       /* of the last scalar that was read and is nothing */
    Py_ssize_t row_end;          /* up to here no row that has begun holds anything */
    Py_ssize_t low_surrogate_at;
    int low_counts;              /* whether the pair there does */
    Py_ssize_t value_at;         /* of a string that its key calls secret; -1 */
    Py_ssize_t called_end;       /* up to here it has been looked for what nine digits are called */
    Py_ssize_t address_end;      /* of the last address */
    Py_ssize_t run_end;          /* up to here no secret begins in the run at hand */
    Py_ssize_t coded_end;        /* up to here runs of base64 have been looked at */
    Carries carries;
    int depth;
    unsigned char frames[WALK_DEPTH + 2] __attribute__((aligned(64)));
    Py_ssize_t values[WALK_DEPTH + 2];
    Group group;
} Walk;

/* With which of { [ " the string from `at` on begins, behind white space; 'u' where an escape says
   it, a backslash where one in JSON inside the string may, 0 where it begins with something else. */
static inline int walk_begins(const unsigned char *p, Py_ssize_t at, Py_ssize_t n) {
    for (; at + 1 < n; at++) {
        if (p[at] == '{' || p[at] == '[')
            return p[at];
        if (p[at] == '\\') {
            at++;
            if (p[at] == '"' || p[at] == 'u' || p[at] == '\\')
                return p[at];
            if (p[at] != 'n' && p[at] != 'r' && p[at] != 't')
                return 0;
        } else if (p[at] != ' ')
            return 0;
    }
    return 0;
}

/* Whether the string from `at` on may be a string of JSON, which it begins like. */
static int walk_may_quote(const unsigned char *p, Py_ssize_t at, Py_ssize_t n) {
    Py_ssize_t high = n - at > WALK_QUOTED ? at + WALK_QUOTED : n;
    while (p[at] != '\\' || p[at + 1] != '"')
        at++;
    for (at += 2; at + 1 < high;) {
        if (p[at] == '"')
            return 0;
        if (p[at] != '\\') {
            at++;
            continue;
        }
        at += 2;
        switch (p[at - 1]) {
        case '"':
            /* It ends here; behind it is white space. */
            while (at + 1 < n && (p[at] == ' ' || (p[at] == '\\' && token_blank(p[at + 1]))))
                at += p[at] == ' ' ? 1 : 2;
            return at + 1 >= n || p[at] == '"' || (p[at] == '\\' && p[at + 1] == 'u');
        case '\\':
            /* What it escapes. */
            if (at + 1 >= high || (p[at] == '\\' && p[at + 1] == 'u'))
                return 1;
            at += p[at] == '\\' ? 2 : 1;
            break;
        case '/':
            break;
        case 'u':
            return 1;
        default:
            return 0;
        }
    }
    return 1;
}

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <immintrin.h>

#define WALK_TARGET_BITS __attribute__((target("bmi,bmi2,popcnt")))

/* What this machine can do: one of WALK_NONE, WALK_AVX2, WALK_AVX512. */
static int walk_level(void) {
    __builtin_cpu_init();
    /* On the first two generations of Zen PEXT takes as long as a loop over the bits. */
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi")
        || !__builtin_cpu_supports("bmi2") || !__builtin_cpu_supports("popcnt")
        || __builtin_cpu_is("znver1") || __builtin_cpu_is("znver2"))
        return WALK_NONE;
    return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")
                   && __builtin_cpu_supports("avx512vl")
               ? WALK_AVX512
               : WALK_AVX2;
}

/* GCC would clear it with an instruction that takes longer to begin than all of this. */
#if defined(__clang__)
#define WALK_STORES
#else
#define WALK_STORES __attribute__((optimize("no-tree-loop-distribute-patterns")))
#endif

MASKS_TARGET_AVX2 WALK_STORES
static void walk_begin(
    Walk *w, const unsigned char *p, Py_ssize_t n, int level, const WalkRules *rules
) {
    /* All but the stack, of which only what is below `depth` counts, and the group. */
    __m256i *words = (__m256i *)w;
    for (size_t i = 0; i < offsetof(Walk, frames) / sizeof *words; i++)
        _mm256_store_si256(words + i, _mm256_setzero_si256());
    w->depth = 0;
    w->frames[0] = IN_ROOT;
    w->values[0] = -1;
    w->p = p;
    w->n = n;
    w->level = level;
    /* As if a block had been gone through. */
    w->base = -WALK_BLOCK;
    w->seen = ~0ull;
    w->open_at = w->scalar_at = -1;
    w->low_surrogate_at = -1;
    w->value_at = w->begins_at = -1;
    w->rules = rules;
    /* As if the value stood behind a colon. */
    w->carries.after_mark = 1;
}

#include "places.h"

#define LANES(name) name##_avx2
#define LANES_COUNT 4
#define LANES_TARGET MASKS_TARGET_AVX2
#define LANES_ROWS
#define LANES_TEXT masks_text_avx2
#define LANES_REST masks_rest_avx2
#define LANES_RARE masks_rare_avx2
#define LANES_VECTOR __m256i
#define LANES_MOST _mm256_set1_epi8(0x7f)
#define LANES_ODD(x) (_mm256_movemask_epi8(_mm256_cmpgt_epi8(_mm256_set1_epi8(0x20), x)) != 0)
#define LANES_UP(x, before) _mm256_alignr_epi8( \
    (__m256i)(x), _mm256_permute2x128_si256((__m256i)(before), (__m256i)(x), 0x21), 8)
#define LANES_DOWN(x) _mm256_blend_epi32( \
    _mm256_permute4x64_epi64((__m256i)(x), 0x39), _mm256_setzero_si256(), 0xc0)
#define LANES_TOPS(x) ((unsigned)_mm256_movemask_pd((__m256d)(x)))
#define LANES_FULL(x) \
    LANES_TOPS(_mm256_cmpeq_epi64((__m256i)(x), _mm256_set1_epi64x(-1)))
#define LANES_SPREAD(bits) _mm256_cmpeq_epi64( \
    _mm256_and_si256(_mm256_set1_epi64x(bits), _mm256_setr_epi64x(1, 2, 4, 8)), \
    _mm256_setr_epi64x(1, 2, 4, 8))
#define LANES_ANY(x) (!_mm256_testz_si256((__m256i)(x), (__m256i)(x)))
#define LANES_SET(x) \
    (0xfu ^ LANES_TOPS(_mm256_cmpeq_epi64((__m256i)(x), _mm256_setzero_si256())))
#include "lanes.h"

#define LANES(name) name##_avx512
#define LANES_COUNT 8
#define LANES_TARGET MASKS_TARGET_AVX512
/* Where they are is kept from the compiler, which would make them anew. */
#define LANES_ROWS const MasksRow *rows = masks_rows; __asm__("" : "+r"(rows));
#define LANES_TEXT(p, m, i, least) masks_text_avx512(p, rows, m, i, least)
#define LANES_REST(p, m, i) masks_rest_avx512(p, rows, m, i)
#define LANES_RARE masks_rare_avx512
#define LANES_VECTOR __m512i
#define LANES_MOST _mm512_set1_epi8(0x7f)
#define LANES_ODD(x) (_mm512_cmplt_epi8_mask(x, _mm512_set1_epi8(0x20)) != 0)
#define LANES_UP(x, before) _mm512_alignr_epi64((__m512i)(x), (__m512i)(before), 7)
#define LANES_DOWN(x) _mm512_alignr_epi64(_mm512_setzero_si512(), (__m512i)(x), 1)
#define LANES_TOPS(x) ((unsigned)_mm512_movepi64_mask((__m512i)(x)))
#define LANES_FULL(x) ((unsigned)_mm512_cmpeq_epi64_mask((__m512i)(x), _mm512_set1_epi64(-1)))
#define LANES_SPREAD(bits) _mm512_movm_epi64((__mmask8)(bits))
#define LANES_ANY(x) (_mm512_test_epi64_mask((__m512i)(x), (__m512i)(x)) != 0)
#define LANES_SET(x) ((unsigned)_mm512_test_epi64_mask((__m512i)(x), (__m512i)(x)))
#include "lanes.h"

/* Adds to the calls what of the block at hand has to be looked at closely and may be something. */
WALK_TARGET_BITS
static __attribute__((noinline)) void walk_closely(Walk *w) {
    const Group *g = &w->group;
    const uint64_t new_ = w->done > w->base ? ~0ull << (w->done - w->base) : ~0ull;
    int i = w->lane;
    uint64_t left;
    for (left = g->firsts[i] & new_; left; left &= left - 1) {
        Py_ssize_t at = w->base + __builtin_ctzll(left);
        int begins = walk_begins(w->p, at, w->n);
        if (begins == '\\' || (begins == '"' && walk_may_quote(w->p, at, w->n)))
            w->calls |= left & (0 - left);
        else if (begins == '{' || begins == '[')
            w->begins |= left & (0 - left);
    }
    if (g->look[i])
        w->calls |= walk_scalars(w, g->look[i]);
    if (g->nine[i])
        w->calls |= walk_rows(w, i);
    if (g->signs[i] & new_)
        w->calls |= walk_signs(w, g->signs[i] & new_);
    for (left = g->countries[i] & ~w->calls & new_; left; left &= left - 1) {
        Py_ssize_t at = w->base + __builtin_ctzll(left);
        if (token_country(w->rules->tokens, w->p, 0, at) && walk_iban(w, at))
            w->calls |= left & (0 - left);
    }
    if (g->coded[i])
        walk_coded(w, g->coded[i]);
    if ((g->events[i] | g->dashes[i] | g->words[i] | g->assigns[i]) & new_)
        walk_places(w, g->events[i] & new_, g->dashes[i] & new_, g->words[i] & new_,
                    g->assigns[i] & new_);
}

/* Goes through the brackets `left` of a block of the group, the one from `base` on: WALK_DONE, WALK_BAD,
   or WALK_ARRAY behind the first of `splits` whose items may be groups of a card number. Checks what
   stands before each, of what `rest` says has not been checked. */
WALK_TARGET_BITS
static inline __attribute__((always_inline)) int walk_brackets(
    Walk *w, int lane, Py_ssize_t base, uint64_t *left, uint64_t splits, uint64_t *rest, int *depth
) {
    const Group *g = &w->group;
    const uint64_t openings = g->opening[lane], curlies = g->curly[lane];
    int frame = w->frames[*depth];
    for (; *left; *left &= *left - 1) {
        const uint64_t upto = *left ^ (*left - 1), one = *left & upto;
        const int kind = curlies & one ? IN_OBJECT : IN_ARRAY;
        const Py_ssize_t at = base + __builtin_ctzll(one);
        if (upto & *rest & g->wrong[frame][lane])
            return WALK_BAD;
        *rest &= ~upto;
        if (openings & one) {
            if (*depth == WALK_DEPTH)
                return WALK_BAD;
            w->values[*depth + 1] = frame == IN_OBJECT ? at : w->values[*depth];
            w->frames[++*depth] = (unsigned char)kind;
            frame = kind;
            if (splits & one && walk_may_split(w, at)) {
                *left &= *left - 1;
                w->start = at;
                return WALK_ARRAY;
            }
        } else {
            if (frame != kind)
                return WALK_BAD;
            frame = w->frames[--*depth];
            if (w->ends && *depth == 1 && *w->ends++ != at)
                return WALK_BAD;
        }
    }
    return WALK_DONE;
}

/* Goes through a group in which nothing has to be looked at; whether its brackets may be those of a
   valid document. */
WALK_TARGET_BITS
static int walk_quiet(Walk *w) {
    const Group *g = &w->group;
    int depth = w->depth;
    for (int i = 0; i < w->lanes; i++) {
        uint64_t left = g->brackets[i], rest = ~0ull;
        if (walk_brackets(w, i, w->base + i * WALK_BLOCK, &left, 0, &rest, &depth) == WALK_BAD
            || rest & g->wrong[w->frames[depth]][i])
            return 0;
    }
    w->depth = depth;
    for (int i = 0; i < w->lanes; i++) {
        w->open_at = walk_last(g->opens[i], 63, w->base + i * WALK_BLOCK, w->open_at);
        w->scalar_at = walk_last(g->starts[i], 63, w->base + i * WALK_BLOCK, w->scalar_at);
    }
    return 1;
}

/* Takes the next block that has to be gone through: WALK_BLOCKS; or WALK_END or WALK_INVALID. */
static inline int walk_turn(Walk *w) {
    const Group *g = &w->group;
    int i, read, closely;
    if (w->begins)
        w->begins_at = w->base + 62 - __builtin_clzll(w->begins);
    do {
        w->base += WALK_BLOCK;
        w->lane++;
        while (w->lane >= w->lanes) {
            Carries *c = &w->carries;
            if (w->base > w->n)
                return c->in_string || w->depth || c->after_mark || c->after_names
                               || c->after_square_open
                           ? WALK_INVALID
                           : WALK_END;
            w->lane = 0;
            read = w->level == WALK_AVX512 ? walk_group_avx512(w, w->base)
                                           : walk_group_avx2(w, w->base);
            if (read == WALK_INVALID)
                return WALK_INVALID;
            if (read == WALK_QUIET && !walk_quiet(w))
                return WALK_INVALID;
            if (read == WALK_QUIET || read == WALK_PLAIN) {
                w->base += w->lanes * WALK_BLOCK;
                w->lanes = 0;
            }
        }
        i = w->lane;
        closely = g->closely[i] && w->base + WALK_BLOCK > w->done;
    } while (!closely && !g->outer[i] && !(w->nested && g->inner[i]) && w->value_at < 0);
    w->in = g->in[i];
    w->opens = g->opens[i];
    w->closes = g->closes[i];
    w->starts = g->starts[i];
    w->brackets = g->brackets[i];
    w->calls = g->calls[i];
    w->keys = g->keys[i];
    w->begins = w->firsts = w->addresses = 0;
    w->seen = 0;
    if (closely)
        walk_closely(w);
    if (w->begins || w->nested)
        walk_nested(w);
    if (w->value_at >= 0 && w->value_at < w->base + WALK_BLOCK) {
        if (w->value_at >= w->base)
            w->calls |= 1ull << (w->value_at - w->base);
        w->value_at = -1;
    }
    return WALK_BLOCKS;
}

/* How long the string that begins at `start` is with its escapes undone into `out`, which has
   `room` bytes; `end` becomes the place of its closing quote. -1 where it is not so simple: it is
   too long, it is not valid, or an escape stands for a unit. */
__attribute__((target("avx2,bmi,bmi2,popcnt")))
static Py_ssize_t walk_undo(
    const unsigned char *p, Py_ssize_t n, Py_ssize_t start, unsigned char *out, Py_ssize_t room,
    Py_ssize_t *end
) {
    const uint64_t ones = ~0ull / 0xff;
    Py_ssize_t to = 0;
    uint64_t carry = 0;
    for (Py_ssize_t base = start + 1; base < n; base += WALK_BLOCK) {
        unsigned char block[WALK_BLOCK];
        Py_ssize_t left = n - base;
        __m256i a, b;
        uint64_t quote, slant, control, starts, escaped = 0, other, within = ~0ull;
        if (left >= WALK_BLOCK) {
            a = _mm256_loadu_si256((const __m256i *)(p + base));
            b = _mm256_loadu_si256((const __m256i *)(p + base + 32));
            _mm256_storeu_si256((__m256i *)block, a);
            _mm256_storeu_si256((__m256i *)(block + 32), b);
        } else {
            memset(block, ' ', WALK_BLOCK);
            memcpy(block, p + base, (size_t)left);
            a = _mm256_loadu_si256((const __m256i *)block);
            b = _mm256_loadu_si256((const __m256i *)(block + 32));
        }
#define EQUAL(c) \
    ((uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(a, _mm256_set1_epi8(c))) \
     | (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(b, _mm256_set1_epi8(c))) << 32)
        quote = EQUAL('"');
        slant = EQUAL('\\');
#undef EQUAL
        control = (uint64_t)(uint32_t)_mm256_movemask_epi8(
                      _mm256_cmpeq_epi8(_mm256_min_epu8(a, _mm256_set1_epi8(0x1f)), a))
                  | (uint64_t)(uint32_t)_mm256_movemask_epi8(
                      _mm256_cmpeq_epi8(_mm256_min_epu8(b, _mm256_set1_epi8(0x1f)), b)) << 32;
        if (slant | carry) {
            starts = walk_slants(slant, &carry, &escaped);
            quote &= ~escaped;
        } else
            starts = 0;
        if (quote)
            within = (quote & (0 - quote)) - 1;
        if (control & within)
            return -1;
        for (other = escaped & within; other; other &= other - 1) {
            unsigned char *c = block + __builtin_ctzll(other);
            switch (*c) {
            case 'n': *c = '\n'; break;
            case 't': *c = '\t'; break;
            case 'r': *c = '\r'; break;
            case 'b': *c = '\b'; break;
            case 'f': *c = '\f'; break;
            case '"': case '\\': case '/': break;
            default: return -1;
            }
        }
        if (room - to < WALK_BLOCK)
            return -1;
        within &= ~starts;
        for (int i = 0; i < WALK_BLOCK; i += 8) {
            uint64_t word, keep = within >> i & 0xff;
            memcpy(&word, block + i, 8);
            word = _pext_u64(word, _pdep_u64(keep, ones) * 0xff);
            memcpy(out + to, &word, 8);
            to += __builtin_popcountll(keep);
        }
        if (quote) {
            *end = base + __builtin_ctzll(quote);
            return to;
        }
    }
    return -1;
}

/* Says of the string that begins at `start`, and that `bit` of the block is in, where it ends, if
   that is in this group; and whether all of it is in the group and nothing may be encoded in it. */
static inline void walk_string(Walk *w, int bit) {
    const Group *g = &w->group;
    Py_ssize_t from = w->start - (w->base - w->lane * WALK_BLOCK);
    int i = from < 0 ? w->lane : (int)(from / WALK_BLOCK);
    uint64_t within = from < 0 ? 0 : ~0ull << from % WALK_BLOCK, codes = 0;
    w->end = w->literal = 0;
    for (; i < w->lanes; i++, within = ~0ull) {
        uint64_t closes = i < w->lane ? 0 : g->closes[i];
        if (i == w->lane)
            closes &= ~0ull << bit;
        if (closes) {
            int end = __builtin_ctzll(closes);
            codes |= (g->codes[i] | g->coded[i]) & within & ((1ull << end) - 1);
            w->end = w->base + (i - w->lane) * WALK_BLOCK + end;
            w->literal = from >= 0 && !codes;
            return;
        }
        codes |= (g->codes[i] | g->coded[i]) & within;
    }
}

/* Goes through the brackets of the block at hand that are among `those`, all up to some byte. */
WALK_TARGET_BITS
static inline int walk_block(Walk *w, uint64_t those) {
    uint64_t left = w->brackets & those, rest = ~w->seen;
    int depth = w->depth;
    int what = walk_brackets(w, w->lane, w->base, &left, w->group.splits[w->lane], &rest, &depth);
    w->brackets = left | (w->brackets & ~those);
    w->seen = ~rest;
    w->depth = depth;
    return what;
}

/* Behind what the key stands, if there is one, of the string or scalar at `w->start`. */
static inline Py_ssize_t walk_names(const Walk *w) {
    return w->frames[w->depth] == IN_OBJECT ? w->start : w->values[w->depth];
}

/* Says whether the first of the places to be told, `one`, has to be read, and what it is; WALK_DONE
   where it has not. It is then no more among them. */
static inline int walk_place(Walk *w, uint64_t one) {
    const int bit = __builtin_ctzll(one);
    uint64_t behind, rest;
    int text;
    if (w->firsts & one) {
        w->firsts &= ~one;
        w->start = walk_last(w->opens, bit, w->base, w->open_at);
        if (w->start >= w->done) {
            behind = w->closes & ~((one << 1) - 1);
            w->end = behind ? w->base + __builtin_ctzll(behind) : 0;
            w->value = walk_names(w);
            return WALK_JSON;
        }
    }
    if (w->addresses & ~w->calls & one) {
        Py_ssize_t start = walk_last(w->opens, bit, w->base, w->open_at);
        int found = start < w->done ? 0 : walk_address(w, start, w->base + bit);
        w->addresses &= ~one;
        if (found >= 0)
            return found ? WALK_ADDRESS : WALK_DONE;
        w->calls |= one;
    }
    if (!(w->calls & one))
        return WALK_DONE;
    /* One call is enough for a string: those up to its end are dropped. */
    text = (w->in & one) != 0;
    behind = w->closes & ~((one << 1) - 1);
    rest = text ? (behind ? behind & -behind : 0) - one : one;
    w->calls &= ~rest;
    w->firsts &= ~rest;
    w->addresses &= ~rest;
    w->start = text ? walk_last(w->opens, bit, w->base, w->open_at)
                    : walk_last(w->starts, bit, w->base, w->scalar_at);
    if (w->start < w->done)
        return WALK_DONE;
    w->value = walk_names(w);
    if (!text)
        return WALK_SCALAR;
    walk_string(w, bit);
    return WALK_STRING;
}

/* Goes on to the next string, scalar or array that has to be read; WALK_DONE at the end. */
WALK_TARGET_BITS
static int walk_next(Walk *w) {
    for (;;) {
        uint64_t places;
        int what;
        if (w->keys)
            walk_keys(w);
        while ((places = w->calls | w->firsts | w->addresses)) {
            uint64_t one = places & (0 - places);
            what = w->brackets & (one - 1) ? walk_block(w, one - 1) : WALK_DONE;
            if (what == WALK_DONE)
                what = walk_place(w, one);
            if (what != WALK_DONE)
                return what;
        }
        what = walk_block(w, ~0ull);
        if (what != WALK_DONE)
            return what;
        if (~w->seen & w->group.wrong[w->frames[w->depth]][w->lane])
            return WALK_BAD;
        w->open_at = walk_last(w->opens, 63, w->base, w->open_at);
        w->scalar_at = walk_last(w->starts, 63, w->base, w->scalar_at);
        switch (walk_turn(w)) {
        case WALK_INVALID: return WALK_BAD;
        case WALK_END: return WALK_DONE;
        }
    }
}

#else
static int walk_level(void) { return WALK_NONE; }
static void walk_tails(WalkRules *rules) { (void)rules; }
static void walk_begin(
    Walk *w, const unsigned char *p, Py_ssize_t n, int level, const WalkRules *rules
) {
    memset(w, 0, sizeof *w);
    (void)p, (void)n, (void)level, (void)rules;
}
static int walk_next(Walk *w) {
    (void)w;
    return WALK_BAD;
}
static int walk_ends(const Walk *w, Py_ssize_t at) {
    (void)w, (void)at;
    return 0;
}
static Py_ssize_t walk_undo(
    const unsigned char *p, Py_ssize_t n, Py_ssize_t start, unsigned char *out, Py_ssize_t room,
    Py_ssize_t *end
) {
    (void)p, (void)n, (void)start, (void)out, (void)room, (void)end;
    return -1;
}
#endif
#endif
