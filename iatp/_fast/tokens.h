/* Where in raw bytes a secret may begin, so that only there the text is read closely.

   Whatever is found (secrets.pyx, said.pyx) holds one of these, unless a part of it is escaped:
   - a run of sixteen bytes or more that are letters, digits or one of _ - + / ~ ^, in which or
     before which a known prefix or the fixed part of a token stands, or a word that says secret;
   - a colon or an equals sign behind such a word, or behind the user of curl;
   - "pass" in such a word, with what may lead to a value behind the word;
   - five dashes and BEGIN.
   What is found here may be nothing; what is not here is nothing. */
#ifndef IATP_TOKENS_H
#define IATP_TOKENS_H

#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define TOKEN_RUN 16
#define TOKEN_PREFIXES 320
#define TOKEN_ANCHORS 32
#define TOKEN_HEADS 12
/* So far before a run a token may begin that has dots in it: hooks.slack.com/services/, and 14
   characters before .atlasv1. */
#define TOKEN_BACK 24
/* An escape of JSON has so many bytes. */
#define TOKEN_ESCAPE 6
/* No token whose fixed part stands inside is shorter. */
#define TOKEN_ANCHORED 36
/* What stands before the fixed part is at most so long. */
#define TOKEN_HEAD 76
/* Of words that say secret: so many, so long; and of those that end beyond ASCII. */
#define TOKEN_WORDS 80
#define TOKEN_WORD 16
#define TOKEN_WIDE 12
/* What a word is: it says secret; it stands between such a word and a value; it ends the key of a
   name. */
enum { TOKEN_SAYS = 1, TOKEN_LABEL = 2, TOKEN_VERB = 4, TOKEN_TITLE = 8 };
/* Bytes of the user of curl. */
#define TOKEN_USER 160

typedef struct {
    unsigned char length;
    unsigned char text[31];
    unsigned char least;         /* so many characters of tokens stand behind it */
    short number;                /* of the token in values/secrets.py; -1: a JWT */
} Prefix;

/* The fixed part of a token that has others before it, so many that `head` is always the same. */
typedef struct {
    unsigned char length;
    unsigned char text[15];
    short number;
    short slashes;               /* what stands before it may have slashes in it */
} Anchor;

typedef struct {
    short head;
    short first, end;            /* of the anchors with this head */
    uint64_t firsts[2];          /* their first bytes */
} Head;

/* The last two code points of a word. */
typedef struct {
    uint32_t before, last;
} WideEnd;

typedef struct {
    Prefix prefixes[TOKEN_PREFIXES];    /* by the first two bytes, the longest first */
    Anchor anchors[TOKEN_ANCHORS];
    Head heads[TOKEN_HEADS];            /* the shortest first */
    int head_count, anchor_count;
    short first[129];                   /* index of the first that begins with a byte */
    uint64_t seconds[128][2];           /* which bytes come second behind a first */
    uint32_t ends[32];                  /* the last two letters of words that say secret */
    uint32_t countries[32];             /* the two letters of an IBAN's country */
    WideEnd wide[TOKEN_WIDE];           /* of those words whose ends are not all ASCII */
    int wide_count;
    /* The words; of those that are several, the last. The first is none. */
    unsigned char words[TOKEN_WORDS][TOKEN_WORD];
    unsigned char lengths[TOKEN_WORDS], kinds[TOKEN_WORDS];
    unsigned char by_pair[26 * 26];     /* one that ends in two letters, or 0 */
    unsigned char next[TOKEN_WORDS];    /* and one more, or 0 */
    int word_count;
} TokenTable;

/* 3: a letter or digit; 1: another byte of a token. As masks have it, DEL is one too: one comparison
   tells ^ _ ~ and DEL. */
static const unsigned char token_kinds[256] = {
    ['0' ... '9'] = 3, ['A' ... 'Z'] = 3, ['a' ... 'z'] = 3,
    ['-'] = 1, ['+'] = 1, ['/'] = 1, ['^'] = 1, ['_'] = 1, ['~'] = 1, [0x7f] = 1,
};

/* What may stand between a word and what it says, each by itself. */
static const unsigned char token_gaps[256] = {
    [' '] = 1, ['"'] = 1, ['\\'] = 1, ['='] = 1, [':'] = 1, ['\''] = 1, ['`'] = 1, ['\t'] = 1,
    ['\n'] = 1, ['\r'] = 1, ['>'] = 1, [']'] = 1, ['*'] = 1, [','] = 1,
};

/* What no user of curl has in it. */
static const unsigned char token_no_user[256] = {
    [0 ... ' '] = 1, [':'] = 1, ['/'] = 1, ['@'] = 1, ['"'] = 1, ['\''] = 1, ['\\'] = 1, ['='] = 1,
};

static inline int token_alnum(unsigned char c) {
    return token_kinds[c] & 2;
}

static inline int token_byte(unsigned char c) {
    return token_kinds[c];
}

/* Whether two letters are among those of a table, in any case. */
static inline int token_pair(const uint32_t *pairs, unsigned char a, unsigned char b) {
    unsigned char first = (unsigned char)((a | 0x20) - 'a');
    unsigned char second = (unsigned char)((b | 0x20) - 'a');
    return first < 26 && second < 26 && (pairs[first] >> second & 1);
}

/* Whether `count` characters of tokens may follow at `at`, of `left` bytes; an escape may be one. */
static inline int token_follows(
    const unsigned char *p, Py_ssize_t at, Py_ssize_t left, int count
) {
    for (; count > 0; count--, at++) {
        if (at >= left)
            return 0;
        if (p[at] == '\\')
            return 1;
        if (!token_byte(p[at]) && p[at] != '.')
            return 0;
    }
    return 1;
}

/* Whether a known token may begin at `p`, of which `left` bytes are there: its prefix does. */
static inline int token_prefix(const TokenTable *t, const unsigned char *p, Py_ssize_t left) {
    if (left < 2 || p[0] > 127 || p[1] > 127 || !(t->seconds[p[0]][p[1] >> 6] >> (p[1] & 63) & 1))
        return 0;
    for (int i = t->first[p[0]]; i < t->first[p[0] + 1]; i++) {
        const Prefix *x = &t->prefixes[i];
        Py_ssize_t at = 1, place = 1;
        if (x->text[1] != p[1] && p[1] != '\\') {
            if (x->text[1] > p[1])
                break;
            continue;
        }
        /* Some writers of JSON escape every slash. */
        for (; place < x->length && at < left; place++, at++) {
            if (x->text[place] == '/' && p[at] == '\\' && at + 1 < left)
                at++;
            if (p[at] != x->text[place])
                break;
        }
        if (place == x->length && token_follows(p, at, left, x->least))
            return 1;
    }
    return 0;
}

/* Whether the fixed part of a token stands where it would if the token began at `p`. */
static __attribute__((noinline)) int token_anchor(
    const TokenTable *t, const unsigned char *p, Py_ssize_t left
) {
    for (int i = 0; i < t->head_count && t->heads[i].head < left; i++) {
        const Head *x = &t->heads[i];
        unsigned char c = p[x->head];
        if (c > 127 || !(x->firsts[c >> 6] >> (c & 63) & 1))
            continue;
        for (int a = x->first; a < x->end; a++)
            if (x->head + t->anchors[a].length <= left
                && memcmp(p + x->head, t->anchors[a].text, t->anchors[a].length) == 0)
                return 1;
    }
    return 0;
}

/* Whether what begins at `p` is long enough for such a token; so many bytes are there. */
static inline int token_goes_on(const unsigned char *p) {
    int i = TOKEN_ANCHORED - 1;
    while (i > 0 && (token_byte(p[i]) || p[i] == '.'))
        i--;
    return i == 0;
}

/* Whether such a token may begin at `at`: where a run does. A letter before is of an escape. */
static inline int token_apart(const unsigned char *p, Py_ssize_t low, Py_ssize_t at) {
    return at == low || token_alnum(p[at - 1]) || !token_byte(p[at - 1]);
}

/* Where in a run with escaped slashes the fixed part of a token stands, wherever that begins, or
   -1. */
static __attribute__((noinline)) Py_ssize_t token_anchor_in(
    const TokenTable *t, const unsigned char *p, Py_ssize_t at, Py_ssize_t end
) {
    for (; at < end; at++)
        if (p[at] == '+' || (unsigned char)(p[at] - 'A') < 26)
            for (int a = 0; a < t->anchor_count; a++)
                if (t->anchors[a].slashes && t->anchors[a].length <= end - at
                    && memcmp(p + at, t->anchors[a].text, t->anchors[a].length) == 0)
                    return at;
    return -1;
}

/* Whether this letter behind a backslash is a tab or the end of a line. */
static inline int token_blank(unsigned char c) {
    return c == 't' || c == 'n' || c == 'r';
}

/* The unit that the four hex digits at `p` are; what of other bytes comes out may be one too. */
static inline uint32_t token_unit(const unsigned char *p) {
    uint32_t unit = 0;
    for (int i = 0; i < 4; i++) {
        unsigned char c = p[i] | 0x20;
        unit = unit << 4 | (uint32_t)(c >= 'a' ? c - 'a' + 10 : c & 15);
    }
    return unit;
}

/* How many bytes before `at` are a space, a colon or an equals sign beyond ASCII, or its escape; or
   0. */
static inline int token_wide_gap(const unsigned char *p, Py_ssize_t low, Py_ssize_t at) {
    const unsigned char *c = p + at;
    if (at - low >= TOKEN_ESCAPE && c[-6] == '\\' && c[-5] == 'u') {
        uint32_t unit = token_unit(c - 4);
        return unit == 0xa0 || unit == 0x202f || unit == 0x3000 || unit == 0xff1a || unit == 0xff1d
                   ? TOKEN_ESCAPE
                   : 0;
    }
    if (at - low >= 2 && c[-2] == 0xc2 && c[-1] == 0xa0)
        return 2;
    if (at - low < 3)
        return 0;
    return (c[-3] == 0xe2 && c[-2] == 0x80 && c[-1] == 0xaf)
                   || (c[-3] == 0xe3 && c[-2] == 0x80 && c[-1] == 0x80)
                   || (c[-3] == 0xef && c[-2] == 0xbc && (c[-1] == 0x9a || c[-1] == 0x9d))
               ? 3
               : 0;
}

/* How many bytes before `at` are one of the signs that may stand between a word and what it says,
   or 0. */
static inline int token_gap(const unsigned char *p, Py_ssize_t low, Py_ssize_t at) {
    unsigned char c;
    if (at == low)
        return 0;
    c = p[at - 1];
    if (token_gaps[c])
        return 1;
    if (token_blank(c) && at - 1 > low && p[at - 2] == '\\')
        return 2;
    return token_wide_gap(p, low, at);
}

/* Where a word would end that says what stands at `at`: behind it are an assignment or spaces. */
static inline Py_ssize_t token_word(const unsigned char *p, Py_ssize_t low, Py_ssize_t at) {
    Py_ssize_t i = at;
    int gap;
    if (i > low && token_blank(p[i]) && p[i - 1] == '\\')
        i--;
    while ((gap = token_gap(p, low, i)))
        i -= gap;
    return i;
}

/* Whether another colon or equals sign stands in the gap before that at `at`. */
static inline int token_assigned(const unsigned char *p, Py_ssize_t low, Py_ssize_t at) {
    int gap;
    for (; (gap = token_gap(p, low, at)); at -= gap)
        if (p[at - 1] == ':' || p[at - 1] == '=' || (gap == 3 && p[at - 3] == 0xef)
            || (gap == TOKEN_ESCAPE && (p[at - 4] | 0x20) == 'f'))
            return 1;
    return 0;
}

/* A letter of Latin or Cyrillic in lower case, as the words have them; or what it is. */
static inline uint32_t token_small(uint32_t cp) {
    return (cp >= 'A' && cp <= 'Z') || (cp >= 0xc0 && cp <= 0xde) || (cp >= 0x410 && cp <= 0x42f)
               ? cp + 0x20
               : cp;
}

/* The code point before `at`, in lower case, and in `start` where it begins. What is not UTF-8 is
   0x110000. */
static uint32_t token_point(
    const unsigned char *p, Py_ssize_t low, Py_ssize_t at, Py_ssize_t *start
) {
    uint32_t cp = 0;
    *start = at - 1;
    if (at <= low)
        return 0;
    if (at - low >= TOKEN_ESCAPE && p[at - 6] == '\\' && p[at - 5] == 'u') {
        cp = token_unit(p + at - 4);
        *start = at - TOKEN_ESCAPE;
    } else if (p[at - 1] < 0x80)
        cp = p[at - 1];
    else {
        Py_ssize_t i = at - 1;
        while (i > low && at - i < 4 && (p[i] & 0xc0) == 0x80)
            i--;
        if (p[i] < 0xc2 || p[i] >= 0xf0 || (p[i] < 0xe0 ? 2 : 3) != at - i)
            return 0x110000;
        cp = p[i] & (p[i] < 0xe0 ? 0x1f : 0x0f);
        for (*start = i++; i < at; i++)
            cp = cp << 6 | (p[i] & 0x3f);
    }
    return token_small(cp);
}

/* Whether a word that says secret may end before `at` in what is beyond ASCII. */
static __attribute__((noinline)) int token_wide(
    const TokenTable *t, const unsigned char *p, Py_ssize_t low, Py_ssize_t at
) {
    Py_ssize_t start;
    uint32_t last = token_point(p, low, at, &start), before;
    before = token_point(p, low, start, &start);
    if (last == 0x110000 || before == 0x110000)
        return 1;
    for (int i = 0; i < t->wide_count; i++)
        if (t->wide[i].last == last && t->wide[i].before == before)
            return 1;
    return 0;
}

/* Whether something beyond ASCII, or its escape, is among the last two code points before `at`. */
static inline int token_is_wide(const unsigned char *p, Py_ssize_t low, Py_ssize_t at) {
    if (at - low < 2)
        return 0;
    return (p[at - 1] | p[at - 2]) >= 0x80
           || (at - low >= 6 && p[at - 6] == '\\' && p[at - 5] == 'u')
           || (at - low >= 7 && p[at - 7] == '\\' && p[at - 6] == 'u');
}

/* Whether a word that says secret may stand before `at`, by its last two letters. */
static inline int token_said(
    const TokenTable *t, const unsigned char *p, Py_ssize_t low, Py_ssize_t at
) {
    Py_ssize_t i = token_word(p, low, at);
    return i < at && i - 2 >= low
           && (token_pair(t->ends, p[i - 2], p[i - 1])
               || (token_is_wide(p, low, i) && token_wide(t, p, low, i)));
}

/* Where the word of one of these kinds begins that ends at `at`, or -1. */
static inline Py_ssize_t token_named(
    const TokenTable *t, const unsigned char *p, Py_ssize_t low, Py_ssize_t at, int kinds
) {
    unsigned char first, second;
    if (at - low < 2)
        return -1;
    first = (unsigned char)((p[at - 2] | 0x20) - 'a');
    second = (unsigned char)((p[at - 1] | 0x20) - 'a');
    if (first < 26 && second < 26)
        for (int i = t->by_pair[first * 26 + second]; i; i = t->next[i]) {
            int left = t->lengths[i] - 2;
            if (!(t->kinds[i] & kinds) || at - low < left + 2)
                continue;
            while (left > 0 && (p[at - t->lengths[i] + left - 1] | 0x20) == t->words[i][left - 1])
                left--;
            if (left == 0)
                return at - t->lengths[i];
        }
    if (kinds & TOKEN_SAYS && token_is_wide(p, low, at) && token_wide(t, p, low, at))
        return at;
    return -1;
}

/* Whether such a word ends before `at`, or one before another that may stand between it and what
   is at `at`; with signs between. */
static int token_says(
    const TokenTable *t, const unsigned char *p, Py_ssize_t low, Py_ssize_t at
) {
    Py_ssize_t i = token_word(p, low, at);
    if (token_named(t, p, low, i, TOKEN_SAYS) >= 0)
        return 1;
    i = token_named(t, p, low, i, TOKEN_LABEL | TOKEN_VERB);
    if (i < 0)
        return 0;
    for (;;) {
        Py_ssize_t before = i;
        i = token_word(p, low, i);
        while (i > low && (p[i - 1] == ',' || p[i - 1] == ';' || p[i - 1] == '{' || p[i - 1] == '-'))
            i--;
        if (i == before)
            break;
    }
    return token_named(t, p, low, i, TOKEN_SAYS) >= 0;
}

/* The same of the sign at `at`. The first behind a word is enough: so each gap is gone through once,
   however many signs are in it. */
static inline int token_assigns(
    const TokenTable *t, const unsigned char *p, Py_ssize_t low, Py_ssize_t at
) {
    return !token_assigned(p, low, at) && token_says(t, p, low, at);
}

/* Whether a user of curl may stand before the colon at `at`. */
static __attribute__((noinline)) int token_user(
    const unsigned char *p, Py_ssize_t low, Py_ssize_t at
) {
    Py_ssize_t i = at;
    unsigned char c;
    for (; i > low && at - i < TOKEN_USER; i--) {
        if (token_no_user[p[i - 1]])
            break;
    }
    if (i == at || i == low)
        return 0;
    /* The letter of an escaped tab, or of an escaped letter of the user. */
    if (p[i - 1] == '\\' && (token_blank(p[i]) || p[i] == 'u'))
        return 1;
    while (i > low) {
        c = p[i - 1];
        if (c == ' ' || c == '\t' || c == '"' || c == '\'' || c == '\\' || c == '=')
            i--;
        else if (c == 't' && i - 1 > low && p[i - 2] == '\\')
            i -= 2;
        else
            break;
    }
    if (i - low >= 2 && p[i - 1] == 'u' && p[i - 2] == '-')
        return 1;
    return i - low >= 5 && memcmp(p + i - 5, "-user", 5) == 0;
}

/* Whether the sign at `at` stands behind a quote of JSON inside a string, and no word before that
   says anything. Most keys are told by this. */
static inline int token_no_word(
    const TokenTable *t, const unsigned char *p, Py_ssize_t low, Py_ssize_t at
) {
    Py_ssize_t i = at - 1;
    if (i - low < 4 || p[i] != '"' || p[i - 1] != '\\')
        return 0;
    while (i > low && p[i - 1] == '\\')
        i--;
    return i - low >= 2 && token_alnum(p[i - 1]) && p[i - 2] != '\\'
           && !token_pair(t->ends, p[i - 2], p[i - 1]) && !token_is_wide(p, low, i);
}

/* Whether no word that says something stands before the sign at `at`, or before the space or quote
   there; where an escape or more signs stand between, that is not known here. */
static inline int token_says_nothing(
    const TokenTable *t, const unsigned char *p, Py_ssize_t low, Py_ssize_t at
) {
    Py_ssize_t i = p[at - 1] == ' ' || p[at - 1] == '"' ? at - 1 : at;
    /* Of several signs the first is enough. */
    if (p[at - 1] == ':' || p[at - 1] == '=')
        return 1;
    if (i - low < TOKEN_ESCAPE + 1 || (p[i - 1] | p[i - 2]) >= 0x80 || p[i - 2] == '\\'
        || p[i - TOKEN_ESCAPE] == '\\' || p[i - TOKEN_ESCAPE - 1] == '\\' || token_gaps[p[i - 1]])
        return 0;
    return token_named(t, p, low, i, TOKEN_SAYS | TOKEN_LABEL | TOKEN_VERB) < 0;
}

/* Whether the colon or equals sign at `at` may stand before a secret; `coded`: what stands before
   it may be encoded. */
static int token_sign(
    const TokenTable *t, const unsigned char *p, Py_ssize_t low, Py_ssize_t at, Py_ssize_t high,
    int coded
) {
    unsigned char next = at + 1 < high ? p[at + 1] : ' ';
    if (at == low)
        return 0;
    /* The end of a line, or a quote. */
    if (next == '\\' && at + 2 < high && (token_blank(p[at + 2]) || p[at + 2] == '"'))
        next = ' ';
    if (coded)
        for (Py_ssize_t i = at; i > low && at - i < 12; i--)
            if (p[i - 1] == '%')
                return 1;
    if (token_no_word(t, p, low, at))
        return 0;
    if (!token_says_nothing(t, p, low, at) && token_assigns(t, p, low, at))
        return 1;
    return p[at] == ':' && next > ' ' && next != '"' && !(next == '/' && at + 2 < high
           && p[at + 2] == '/') && token_user(p, low, at);
}

/* Whether a value may stand behind the word whose "pass" ends at `at`, and no sign before it. */
static int token_passes(
    const TokenTable *t, const unsigned char *p, Py_ssize_t low, Py_ssize_t at, Py_ssize_t high
) {
    Py_ssize_t end = at + 1;
    unsigned char c;
    if ((p[at - 2] | 0x20) != 'a')
        return 0;
    while (end < high && (unsigned char)((p[end] | 0x20) - 'a') < 26 && end - at < TOKEN_WORD)
        end++;
    if (end == high || token_named(t, p, low, end, TOKEN_SAYS) < 0)
        return 0;
    c = p[end];
    if (c != ' ')
        return c == '"' || c == '\'' || c == '`' || c == '>' || c == '\\' || c == '\t' || c == '\n'
               || c == '\r' || c == ']' || c == '*' || c >= 0x80;
    /* The end of a longer name: of a constant, a flag. */
    if (at - 4 >= low && (token_byte(p[at - 4]) || p[at - 4] == '\\'))
        return 1;
    c = end + 1 < high ? p[end + 1] : ' ';
    if (c == '"' || c == '\'' || c == '`' || c == '\\' || c == ' ' || c == '\t' || c == '*')
        return 1;
    for (int i = 1; i < t->word_count; i++) {
        Py_ssize_t behind = end + 1 + t->lengths[i];
        if (t->kinds[i] & TOKEN_VERB && behind < high && !token_alnum(p[behind])
            && memcmp(p + end + 1, t->words[i], t->lengths[i]) == 0)
            return 1;
    }
    return 0;
}

/* Whether the byte before `at` is a letter or digit to a reader: the end of an escape is not. */
static inline int token_joined(const unsigned char *p, Py_ssize_t low, Py_ssize_t at) {
    if (at == low || !token_alnum(p[at - 1]))
        return 0;
    return !(at - low >= 2 && p[at - 2] == '\\')
           && !(at - low >= 6 && p[at - 6] == '\\' && p[at - 5] == 'u');
}

#if defined(__SSE2__)
#define TOKEN_EQUAL(v, c) _mm_cmpeq_epi8(v, _mm_set1_epi8((char)(c)))
static inline __m128i token_within(__m128i v, int first, int count) {
    __m128i off = _mm_sub_epi8(v, _mm_set1_epi8((char)first));
    return _mm_cmpeq_epi8(_mm_min_epu8(off, _mm_set1_epi8((char)(count - 1))), off);
}
#endif

/* Where the letters and digits from `at` on end. */
static inline Py_ssize_t token_alnums(const unsigned char *p, Py_ssize_t at, Py_ssize_t high) {
#if defined(__SSE2__)
    for (; at + 16 <= high; at += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(p + at));
        int rest = 0xffff & ~_mm_movemask_epi8(_mm_or_si128(
            token_within(_mm_or_si128(v, _mm_set1_epi8(0x20)), 'a', 26), token_within(v, '0', 10)));
        if (rest)
            return at + __builtin_ctz((unsigned)rest);
    }
#endif
    while (at < high && token_alnum(p[at]))
        at++;
    return at;
}

#if defined(__SSE2__)
/* Whether no token begins in the run of token bytes around `at`, which has been gone back to
   `from`; `end` then becomes its end. 0 where that has to be told byte by byte: one may begin, it is
   long, or escapes are in it or right before it. */
static inline int token_nowhere(
    const TokenTable *t, const unsigned char *p, Py_ssize_t low, Py_ssize_t from, Py_ssize_t at,
    Py_ssize_t high, Py_ssize_t *end
) {
    uint64_t alnums = 0, bytes = 0, dots = 0, starts;
    __m128i before;
    unsigned slants;
    int length;
    if (from - low < 16 || high - from < 66)
        return 0;
    before = _mm_loadu_si128((const __m128i *)(p + from - 16));
    slants = (unsigned)_mm_movemask_epi8(TOKEN_EQUAL(before, '\\'));
    /* An escape whose end may stand before a byte of the run. */
    if (slants >> 15 || (slants << 1 & (unsigned)_mm_movemask_epi8(TOKEN_EQUAL(before, 'u')) & 0xf800))
        return 0;
    for (int i = 0; i < 64; i += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(p + from + i));
        __m128i alnum = _mm_or_si128(token_within(_mm_or_si128(v, _mm_set1_epi8(0x20)), 'a', 26),
                                     token_within(v, '0', 10));
        __m128i dot = TOKEN_EQUAL(v, '.');
        __m128i other = _mm_or_si128(
            _mm_or_si128(TOKEN_EQUAL(v, '/'), TOKEN_EQUAL(v, '-')),
            _mm_or_si128(TOKEN_EQUAL(v, '+'), TOKEN_EQUAL(_mm_or_si128(v, _mm_set1_epi8(0x21)), 0x7f)));
        alnums |= (uint64_t)(unsigned)_mm_movemask_epi8(alnum) << i;
        bytes |= (uint64_t)(unsigned)_mm_movemask_epi8(_mm_or_si128(alnum, other)) << i;
        dots |= (uint64_t)(unsigned)_mm_movemask_epi8(dot) << i;
        /* Most end here. */
        if (i == 16 && (uint32_t)(bytes | dots) != ~0u)
            break;
    }
    /* Dots are of it only before `at`; but for those it may be as long as a token with anchors. */
    if (!~(bytes | dots) || __builtin_ctzll(~(bytes | dots)) >= TOKEN_ANCHORED)
        return 0;
    bytes |= dots & ((1ull << (at - from)) - 1);
    length = __builtin_ctzll(~bytes);
    if (p[from + length] == '\\' && p[from + length + 1] == '/')
        return 0;
    starts = alnums & ~(alnums << 1 | (token_alnum(p[from - 1]) != 0)) & ((1ull << length) - 1);
    for (; starts; starts &= starts - 1) {
        const unsigned char *x = p + from + __builtin_ctzll(starts);
        if (t->seconds[x[0]][x[1] >> 6 & 1] >> (x[1] & 63) & 1 && token_prefix(t, x, p + high - x))
            return 0;
    }
    *end = from + length;
    return 1;
}
#endif

/* Where in the run of token bytes from `at` on, or shortly before it, a secret may begin, or -1;
   `end` becomes the end of the run. `low` is where the text begins, `high` where it ends. `said`: a
   word before it may say secret. */
static inline Py_ssize_t token_run(
    const TokenTable *t, const unsigned char *p, Py_ssize_t low, Py_ssize_t at, Py_ssize_t high,
    int said, Py_ssize_t *end
) {
    Py_ssize_t i = at, slash = -1, from;
    *end = at + 1;
    if (at > low) {
        if (p[at - 1] == '%' || said)
            return at;
        if (p[at - 1] == ':' && p[at] == 'A' && at - 1 > low
            && (unsigned char)(p[at - 2] - '0') < 10)
            return at;
        while (i > low && at - i < TOKEN_BACK && (token_byte(p[i - 1]) || p[i - 1] == '.'))
            i--;
    }
    from = i;
#if defined(__SSE2__)
    if (token_nowhere(t, p, low, from, at, high, end))
        return -1;
#endif
    for (int alnum = 0, before = 0; i < high; i++, before = alnum) {
        alnum = token_alnum(p[i]);
        /* What is escaped ends near the beginning, so that letters may be apart there. */
        if (alnum && before && i >= from + TOKEN_ESCAPE) {
            i = token_alnums(p, i, high) - 1;
            continue;
        }
        if (!alnum && !token_byte(p[i]) && !(p[i] == '.' && i < at)) {
            if (p[i] != '\\' || i + 1 >= high || p[i + 1] != '/')
                break;
            slash = slash < 0 ? i : slash;
        }
        if (i < at + TOKEN_ESCAPE && token_joined(p, low, i))
            continue;
        if (alnum && token_prefix(t, p + i, high - i))
            return i;
        if (i < at + TOKEN_ESCAPE && high - i >= TOKEN_ANCHORED && token_apart(p, low, i)
            && token_goes_on(p + i) && token_anchor(t, p + i, high - i))
            return i;
    }
    *end = i;
    if (slash >= 0 && i - at > TOKEN_ANCHORED) {
        i = token_anchor_in(t, p, at, i);
        if (i >= 0)
            return i - 2 * TOKEN_HEAD > at ? i - 2 * TOKEN_HEAD : at;
    }
    return -1;
}

/* Whether the country of an IBAN stands before the digit at `at`. */
static inline int token_country(
    const TokenTable *t, const unsigned char *p, Py_ssize_t low, Py_ssize_t at
) {
    return at - low >= 2 && token_pair(t->countries, p[at - 2], p[at - 1])
           && !token_joined(p, low, at - 2);
}

/* Where five dashes stand before BEGIN, in the dashes from `at` on; or -1. */
static inline Py_ssize_t token_begin(const unsigned char *p, Py_ssize_t at, Py_ssize_t high) {
    while (at < high && p[at] == '-')
        at++;
    return at + 5 <= high && memcmp(p + at, "BEGIN", 5) == 0 ? at - 5 : -1;
}

/* The masks of 64 bytes: token bytes, s, p, dashes, backslashes, colons and equals signs. */
static inline void token_masks(
    const unsigned char *p, uint64_t *token, uint64_t *s, uint64_t *first, uint64_t *dash,
    uint64_t *slant, uint64_t *sign
) {
    *token = *s = *first = *dash = *slant = *sign = 0;
#if defined(__SSE2__)
    for (int i = 0; i < 64; i += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(p + i));
        __m128i small = _mm_or_si128(v, _mm_set1_epi8(0x20));
        __m128i dashes = TOKEN_EQUAL(v, '-');
        __m128i all = _mm_or_si128(
            _mm_or_si128(token_within(small, 'a', 26), token_within(v, '/', 11)),
            _mm_or_si128(_mm_or_si128(dashes, TOKEN_EQUAL(v, '+')),
                         TOKEN_EQUAL(_mm_or_si128(v, _mm_set1_epi8(0x21)), 0x7f)));
        *token |= (uint64_t)(unsigned)_mm_movemask_epi8(all) << i;
        *dash |= (uint64_t)(unsigned)_mm_movemask_epi8(dashes) << i;
        *slant |= (uint64_t)(unsigned)_mm_movemask_epi8(TOKEN_EQUAL(v, '\\')) << i;
        *s |= (uint64_t)(unsigned)_mm_movemask_epi8(TOKEN_EQUAL(small, 's')) << i;
        *first |= (uint64_t)(unsigned)_mm_movemask_epi8(TOKEN_EQUAL(small, 'p')) << i;
        *sign |= (uint64_t)(unsigned)_mm_movemask_epi8(
                     _mm_or_si128(TOKEN_EQUAL(v, ':'), TOKEN_EQUAL(v, '='))) << i;
    }
#else
    for (int i = 0; i < 64; i++) {
        uint64_t bit = 1ull << i;
        if (token_byte(p[i]))
            *token |= bit;
        if (p[i] == '-')
            *dash |= bit;
        if (p[i] == '\\')
            *slant |= bit;
        if ((p[i] | 0x20) == 's')
            *s |= bit;
        if ((p[i] | 0x20) == 'p')
            *first |= bit;
        if (p[i] == ':' || p[i] == '=')
            *sign |= bit;
    }
#endif
}

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <immintrin.h>

#define TOKEN_BITS(x, y) \
    ((uint64_t)(uint32_t)_mm256_movemask_epi8(x) | (uint64_t)(uint32_t)_mm256_movemask_epi8(y) << 32)
#define TOKEN_ALL(c) _mm256_set1_epi8((char)(c))
#define TOKEN_IS(v, c) _mm256_cmpeq_epi8(v, TOKEN_ALL(c))
#define TOKEN_RANGE(v, low, count) _mm256_cmpeq_epi8( \
    _mm256_min_epu8(_mm256_sub_epi8(v, TOKEN_ALL(low)), TOKEN_ALL((count) - 1)), \
    _mm256_sub_epi8(v, TOKEN_ALL(low)))
#define TOKEN_BYTES(v, small) _mm256_or_si256( \
    _mm256_or_si256(TOKEN_RANGE(small, 'a', 26), TOKEN_RANGE(v, '/', 11)), \
    _mm256_or_si256(_mm256_or_si256(TOKEN_IS(v, '-'), TOKEN_IS(v, '+')), \
                    TOKEN_IS(_mm256_or_si256(v, TOKEN_ALL(0x21)), 0x7f)))

/* The same with wider vectors. */
__attribute__((target("avx2")))
static __attribute__((noinline)) void token_masks_wide(
    const unsigned char *p, uint64_t *token, uint64_t *s, uint64_t *first, uint64_t *dash,
    uint64_t *slant, uint64_t *sign
) {
    const __m256i a = _mm256_loadu_si256((const __m256i *)p);
    const __m256i b = _mm256_loadu_si256((const __m256i *)(p + 32));
    const __m256i small_a = _mm256_or_si256(a, TOKEN_ALL(0x20));
    const __m256i small_b = _mm256_or_si256(b, TOKEN_ALL(0x20));
    *token = TOKEN_BITS(TOKEN_BYTES(a, small_a), TOKEN_BYTES(b, small_b));
    *s = TOKEN_BITS(TOKEN_IS(small_a, 's'), TOKEN_IS(small_b, 's'));
    *first = TOKEN_BITS(TOKEN_IS(small_a, 'p'), TOKEN_IS(small_b, 'p'));
    *dash = TOKEN_BITS(TOKEN_IS(a, '-'), TOKEN_IS(b, '-'));
    *slant = TOKEN_BITS(TOKEN_IS(a, '\\'), TOKEN_IS(b, '\\'));
    *sign = TOKEN_BITS(_mm256_or_si256(TOKEN_IS(a, ':'), TOKEN_IS(a, '=')),
                       _mm256_or_si256(TOKEN_IS(b, ':'), TOKEN_IS(b, '=')));
}
#undef TOKEN_BYTES
#undef TOKEN_RANGE
#undef TOKEN_IS
#undef TOKEN_ALL
#undef TOKEN_BITS
#else
#define token_masks_wide token_masks
#endif

/* What the masks of the block before were, as far as what follows may go on with them. */
typedef struct {
    /* In another order than masks have them: two that lie beside each other in both are copied
       as one vector, for which the processor waits where they have just been written. */
    uint64_t s, first;
    uint64_t busy;               /* a run or dashes may go on */
    uint64_t token, dash;
} TokenRuns;

/* Ends of the first `length` bits of each run, `length` a power of two; `before` goes before. */
static inline uint64_t token_ends(uint64_t bits, uint64_t before, int length) {
    for (int i = 1; i < length; i *= 2) {
        uint64_t more = bits & (bits << i | before >> (64 - i));
        before &= before << i;
        bits = more;
    }
    return bits;
}

/* The last bytes of the first sixteen of runs, and in `dashes` the fifth of dashes in a row. */
static __attribute__((noinline)) uint64_t token_busy(
    TokenRuns *r, uint64_t token, uint64_t dash, uint64_t *dashes
) {
    uint64_t five = token_ends(dash, r->dash, 4) & (dash << 4 | r->dash >> 60);
    uint64_t five_before = token_ends(r->dash, 0, 4) & r->dash << 4;
    uint64_t sixteen = token_ends(token, r->token, TOKEN_RUN);
    uint64_t before = token_ends(r->token, 0, TOKEN_RUN);
    *dashes = five & ~(five << 1 | five_before >> 63);
    return sixteen & ~(sixteen << 1 | before >> 63);
}

/* The same, and in `words` the last s of "pass". */
static inline __attribute__((always_inline)) uint64_t token_events(
    TokenRuns *r, uint64_t token, uint64_t s, uint64_t first, uint64_t dash, uint64_t *dashes,
    uint64_t *words
) {
    /* Sixteen in a row fill eight that begin at a multiple of eight: a byte of ones. */
    uint64_t rest = ~token, events = 0;
    uint64_t busy = ((rest - 0x0101010101010101ull) & token & 0x8080808080808080ull)
                    | (dash & dash >> 1) | dash >> 63;
    *words = s & (s << 1 | r->s >> 63) & (first << 3 | r->first >> 61);
    *dashes = 0;
    if (busy | r->busy) {
        uint64_t run = token & token >> 1;
        int joined = (~token ? __builtin_ctzll(rest) : 64)
                     + (~r->token ? __builtin_clzll(~r->token) : 64);
        run &= run >> 2;
        run &= run >> 4;
        run &= run >> 8;
        if (run || joined >= TOKEN_RUN || (dash & (dash << 1 | r->dash >> 63)))
            events = token_busy(r, token, dash, dashes);
    }
    r->s = s;
    r->first = first;
    r->token = token;
    r->dash = dash;
    r->busy = busy;
    return events;
}

/* The next place from `at` on at which a text from `low` to `high` has to be read closely for
   secrets, or `high`. `all`: every run counts; `wide`: the machine has AVX2. */
static Py_ssize_t token_mark(
    const TokenTable *t, const unsigned char *p, Py_ssize_t low, Py_ssize_t at, Py_ssize_t high,
    int all, int wide
) {
    TokenRuns runs;
    Py_ssize_t base = at, done = at;
    uint64_t signed_ = 0;        /* the last byte before the block is a sign */
    memset(&runs, 0, sizeof runs);
    while (base < high) {
        unsigned char rest[64];
        const unsigned char *block = p + base;
        uint64_t token, s, first, dash, slant, sign, events, dashes, words, left;
        if (base + 64 > high) {
            memset(rest, ' ', 64);
            memcpy(rest, block, (size_t)(high - base));
            block = rest;
        }
        if (wide)
            token_masks_wide(block, &token, &s, &first, &dash, &slant, &sign);
        else
            token_masks(block, &token, &s, &first, &dash, &slant, &sign);
        /* An escaped slash is a slash. */
        for (left = slant; left; left &= left - 1) {
            Py_ssize_t place = base + __builtin_ctzll(left);
            if (place + 1 < high && p[place + 1] == '/')
                token |= left & (0 - left);
        }
        events = token_events(&runs, token, s, first, dash, &dashes, &words);
        if (!all) {
            /* Of several signs the first is enough. */
            uint64_t behind = sign << 1 | signed_;
            signed_ = sign >> 63;
            sign &= ~behind;
        }
        for (left = events | dashes | words | sign; left; left &= left - 1) {
            int bit = __builtin_ctzll(left);
            uint64_t one = 1ull << bit;
            Py_ssize_t place = base + bit;
            if (words & one && (all || token_passes(t, p, low, place, high)))
                return place - 3 > at ? place - 3 : at;
            if (sign & one && token_sign(t, p, low, place, high, all))
                return place;
            if (dashes & one) {
                /* Where every run counts, one of more dashes does. */
                Py_ssize_t near = place + TOKEN_RUN + 5;
                Py_ssize_t begin = token_begin(p, place, all && near < high ? near : high);
                if (begin >= 0)
                    return begin;
            }
            if (events & one && place >= done) {
                Py_ssize_t run = place - (TOKEN_RUN - 1);
                Py_ssize_t begin = all ? run
                                       : token_run(t, p, low, run, high, token_said(t, p, low, run),
                                                   &done);
                if (begin >= 0)
                    return begin > at ? begin : at;
            }
        }
        base += 64;
    }
    return high;
}
#endif
