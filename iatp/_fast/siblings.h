/* What names a member of an object of JSON besides its own key: a member beside it whose string is
   a name ({"name": "ssn", "value": …}), or the key of the object ({"ssn": {"value": …}}).

   The bytes are valid JSON up to the member; only those before it are looked at. */
#ifndef IATP_SIBLINGS_H
#define IATP_SIBLINGS_H

#include "tokens.h"

/* So many members before it are looked at, in so many bytes. */
#define NAMES_MOST 4
#define NAMES_BYTES 512

typedef struct {
    const unsigned char *p;
    Py_ssize_t at;               /* a member begins here */
    Py_ssize_t low;
    int left;
    Py_ssize_t start, end;       /* of the last name */
} Names;

static inline Py_ssize_t names_space(const Names *n, Py_ssize_t at) {
    while (at > n->low && (n->p[at - 1] == ' ' || n->p[at - 1] == '\n' || n->p[at - 1] == '\t'
                           || n->p[at - 1] == '\r'))
        at--;
    return at;
}

/* Where the string begins whose closing quote stands before `at`, its quote too; or -1. */
static inline Py_ssize_t names_string(const Names *n, Py_ssize_t at) {
    const unsigned char *p = n->p;
    if (at - n->low < 2 || p[at - 1] != '"')
        return -1;
    for (at -= 2; at >= n->low; at--) {
        Py_ssize_t slant = at;
        if (p[at] != '"')
            continue;
        while (slant > n->low && p[slant - 1] == '\\')
            slant--;
        if ((at - slant) % 2 == 0)
            return at;
    }
    return -1;
}

/* Begins before the member whose key, with its quote, stands at `key`. */
static inline void names_begin(Names *n, const unsigned char *p, Py_ssize_t key) {
    n->p = p;
    n->at = key;
    n->low = key > NAMES_BYTES ? key - NAMES_BYTES : 0;
    n->left = NAMES_MOST;
}

/* Whether there is one more name; the nearest first. */
static int names_next(Names *n, const TokenTable *t) {
    const unsigned char *p = n->p;
    while (n->left >= 0) {
        Py_ssize_t at = names_space(n, n->at), end, start, key;
        int named = 0;
        if (at <= n->low)
            break;
        if (p[at - 1] == '{') {
            n->left = -1;
            at = names_space(n, at - 1);
            if (at <= n->low || p[at - 1] != ':')
                break;
            end = names_space(n, at - 1);
            start = names_string(n, end);
            if (start < 0)
                break;
            n->start = start + 1;
            n->end = end - 1;
            return 1;
        }
        if (p[at - 1] != ',' || n->left-- == 0)
            break;
        end = start = names_space(n, at - 1);
        if (end <= n->low)
            break;
        if (p[end - 1] == '"') {
            start = names_string(n, end);
            if (start < 0)
                break;
            named = 1;
        } else
            while (start > n->low && (token_alnum(p[start - 1]) || p[start - 1] == '.'
                                      || p[start - 1] == '-' || p[start - 1] == '+'))
                start--;
        at = names_space(n, start);
        if (start == end || at <= n->low || p[at - 1] != ':')
            break;
        key = names_space(n, at - 1);
        n->at = names_string(n, key);
        if (n->at < 0)
            break;
        if (named && token_named(t, p, n->at + 1, key - 1, TOKEN_TITLE) >= 0) {
            n->start = start + 1;
            n->end = end - 1;
            return 1;
        }
    }
    n->left = -1;
    return 0;
}
#endif
