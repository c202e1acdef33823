/* What walk.h needs to know of a group of blocks, one in each lane of a vector. Included once for
   each width: LANES_COUNT lanes, and what differs between AVX2 and AVX-512.

   LANES_UP moves each lane to the next and puts the last of others into the first, LANES_DOWN to the
   one before and puts 0 into the last; LANES_TOPS and
   LANES_FULL are one bit for each lane whose top bit is set, or all of them, LANES_SET for each that
   is not 0; LANES_SPREAD is all ones in the lanes of these bits. Whether a byte of LANES_VECTOR, at
   first LANES_MOST, is a control character or beyond ASCII, LANES_ODD says. */

typedef uint64_t LANES(Words) __attribute__((vector_size(8 * LANES_COUNT)));
#define WORDS LANES(Words)
#define LOAD(x) (*(const WORDS *)(x))
#define STORE(to, x) (*(WORDS *)(to) = (x))

/* For each byte, the bit of the byte `count` places before it; CARRY goes first, and keeps all for the
   next group, of which the last block counts. PAIR makes a mask of what is set here and `count`
   places before, EITHER of what is set in one of both; of what these carry only the first bits are
   wrong, for which nobody asks. */
#define CARRY(x) \
    const WORDS x##_up = (WORDS)LANES_UP(x, LOAD(c->x)); \
    STORE(c->x, x)
#define BEFORE(x, count) ((x) << (count) | x##_up >> (64 - (count)))
#define PAIR(to, x, count) \
    const WORDS to = x & BEFORE(x, count), to##_up = x##_up & x##_up << (count)
#define EITHER(to, x, count) \
    const WORDS to = x | BEFORE(x, count), to##_up = x##_up | x##_up << (count)
#define LAST(x) ((x)[LANES_COUNT - 1])

/* a + b as one number, the first lane lowest; `carry` comes into it and out of it. */
static inline __attribute__((always_inline)) LANES_TARGET
void LANES(add)(const WORDS *a, const WORDS *b, uint64_t *carry, WORDS *to) {
    WORDS sum = *a + *b;
    unsigned over = LANES_TOPS((*a & *b) | ((*a | *b) & ~sum)), full = LANES_FULL(sum);
    unsigned carries = ((over << 1 | (unsigned)*carry) + full) ^ full;
    *carry = carries >> LANES_COUNT & 1;
    *to = sum - (WORDS)LANES_SPREAD(carries);
}

/* The backslashes that begin an escape, and in `escaped` the bytes behind them; `carry` as for
   walk_slants. Whether one lane ends with such a backslash says how the next begins: that is taken
   from the turn before, until all agree, of which most often the first does. */
static inline __attribute__((always_inline)) LANES_TARGET
WORDS LANES(slants)(WORDS slant, uint64_t *carry, WORDS *escaped) {
    const unsigned first = (unsigned)*carry;
    unsigned begins = first, ends;
    for (;;) {
        const WORDS before = (WORDS)LANES_SPREAD(begins) >> 63, free = slant & ~before;
        const WORDS code = ((free << 1 | WALK_ODD) - free) ^ WALK_ODD, starts = code & slant;
        ends = LANES_TOPS(starts);
        *escaped = code ^ (slant | before);
        if (((ends << 1 | first) & ((1u << LANES_COUNT) - 1)) == begins) {
            *carry = ends >> (LANES_COUNT - 1);
            return starts;
        }
        begins = (ends << 1 | first) & ((1u << LANES_COUNT) - 1);
    }
}

/* Leaves of `bits`, in the group from `base` on, those of the places `at` of which `holds` is true.
   Lanes without any are no turn of the loop: how many have some is harder to foretell than how many
   one has. */
#define KEEP(bits, at, holds) { \
        MaskWords each; \
        STORE(each, bits); \
        for (unsigned lanes = LANES_SET(bits); lanes; lanes &= lanes - 1) { \
            const int lane = __builtin_ctz(lanes); \
            uint64_t left = each[lane], kept = 0; \
            for (; left; left &= left - 1) { \
                const Py_ssize_t at = base + lane * WALK_BLOCK + __builtin_ctzll(left); \
                kept |= (uint64_t)((holds) != 0) << __builtin_ctzll(left); \
            } \
            each[lane] = kept; \
        } \
        bits = LOAD(each); \
    }

/* Which bytes of the group from `base` on are of UUIDs in quotes, `ends` being the last of four dashes
   that stand as those do. One that begins before the group is told from there on. */
static inline __attribute__((always_inline)) LANES_TARGET
WORDS LANES(uuids)(Walk *w, Py_ssize_t base, WORDS ends) {
    uint64_t each[LANES_COUNT + 2] __attribute__((aligned(64))) = {w->carries.uuid};
    MaskWords last;
    STORE(last, ends);
    for (unsigned lanes = LANES_SET(ends); lanes; lanes &= lanes - 1) {
        const int lane = __builtin_ctz(lanes);
        for (uint64_t left = last[lane]; left; left &= left - 1) {
            const int at = lane * WALK_BLOCK + __builtin_ctzll(left) - WALK_UUID_LAST;
            const int from = at < 0 ? 0 : at, place = from % WALK_BLOCK;
            uint64_t bytes = walk_is_uuid(w, base + at) ? (1ull << (WALK_UUID + at - from)) - 1 : 0;
            each[from / WALK_BLOCK] |= bytes << place;
            each[from / WALK_BLOCK + 1] |= bytes >> 1 >> (WALK_BLOCK - 1 - place);
        }
    }
    w->carries.uuid = each[LANES_COUNT];
    return LOAD(each);
}

/* Whether anywhere a run of base64 or of a token becomes long enough, five dashes follow each other,
   or "p?ss", a colon or an equals sign stands; tells the group, from `base` on, where. */
static inline __attribute__((always_inline)) LANES_TARGET
int LANES(runs)(
    Walk *w, Py_ssize_t base, const WORDS *in, const WORDS *tokens, const WORDS *s_,
    const WORDS *dash_, const WORDS *assigns, WORDS *closely
) {
    Carries *c = &w->carries;
    Group *g = &w->group;
    const WORDS run = *tokens, s = *s_, dash = *dash_;
    CARRY(run);
    PAIR(run2, run, 1);
    PAIR(run4, run2, 2);
    PAIR(run8, run4, 4);
    PAIR(run16, run8, 8);
    const WORDS coded = run8 & BEFORE(run8, WALK_RUN - 8) & *in;
    const WORDS events = run16 & ~BEFORE(run16, 1);
    CARRY(s);
    WORDS words = s & BEFORE(s, 1);
    if (LANES_ANY(words))
        KEEP(words, at, at >= 3 && (w->p[at - 3] | 0x20) == 'p')
    CARRY(dash);
    PAIR(dash2, dash, 1);
    const WORDS dash5 = dash2 & BEFORE(dash2, 2) & BEFORE(dash, 4);
    const WORDS dash5_up = dash2_up & dash2_up << 2 & dash_up << 4;
    const WORDS dashes = dash5 & ~BEFORE(dash5, 1);
    STORE(g->coded, coded);
    STORE(g->events, events);
    STORE(g->words, words);
    STORE(g->dashes, dashes);
    STORE(g->assigns, *assigns);
    *closely |= coded | events | words | dashes | *assigns;
    return LANES_ANY(coded | events | words | dashes | *assigns);
}

/* Reads the group from `base` on: WALK_BLOCKS, WALK_QUIET where nothing in it has to be looked at,
   WALK_PLAIN where it is inside a string, too, or WALK_INVALID. */
LANES_TARGET
static int LANES(walk_group)(Walk *w, Py_ssize_t base) {
    const WORDS none = {0};
    Carries *c = &w->carries;
    Group *g = &w->group;
    Masks m;
    unsigned char rest[WALK_BLOCK];
    const unsigned char *last = rest;
    int count = LANES_COUNT;
    WORDS closely = none;
    LANES_ROWS
    LANES_VECTOR least = LANES_MOST;
    if (w->n - base < LANES_COUNT * WALK_BLOCK) {
        Py_ssize_t left = (w->n - base) % WALK_BLOCK;
        count = (int)((w->n - base) / WALK_BLOCK) + 1;
        memset(rest, ' ', WALK_BLOCK);
        memcpy(rest, w->p + w->n - left, (size_t)left);
#define CLEAR(name) STORE(m.name, none);
        MASKS_EACH(CLEAR)
#undef CLEAR
        STORE(m.space, ~none);
    } else
        last = w->p + base + (LANES_COUNT - 1) * WALK_BLOCK;
    for (int i = 0; i < count; i++)
        LANES_TEXT(i == count - 1 ? last : w->p + base + i * WALK_BLOCK, &m, i, &least);
    w->lanes = count;
    const WORDS tokens_ = LOAD(m.token), dash_ = LOAD(m.dash), s_ = LOAD(m.s);
    const WORDS assign = LOAD(m.assign);
    const int odd = LANES_ODD(least);

    if (c->in_string && !w->nested
        && !(odd | c->escaped | c->letters | c->wide | LAST(c->opens) >> 63
             | LAST(c->point) >> 63 | c->after_point)
        && !LANES_ANY(LOAD(m.quote) | LOAD(m.backslash) | LOAD(m.digit) | LOAD(m.at)
                      | LOAD(m.code))) {
        const WORDS all = ~none;
        int found = LANES(runs)(w, base, &all, &tokens_, &s_, &dash_, &assign, &closely);
        c->apart = 0;
#define CLEAR(name) STORE(c->name, none);
        CARRIES_TEXT(CLEAR)
#undef CLEAR
        STORE(c->alpha, tokens_);
        STORE(c->minus, dash_);
        c->users = LANES_ANY(dash_) ? WALK_USER : c->users ? c->users - 1 : 0;
        if (!found)
            return WALK_PLAIN;
        STORE(g->in, all);
        STORE(g->closely, closely);
        STORE(g->opens, none);
        STORE(g->closes, none);
        STORE(g->starts, none);
        STORE(g->brackets, none);
        STORE(g->splits, none);
        STORE(g->calls, none);
        STORE(g->keys, none);
        STORE(g->wrong[IN_ROOT], none);
        STORE(g->wrong[IN_OBJECT], none);
        STORE(g->wrong[IN_ARRAY], none);
        STORE(g->look, none);
        STORE(g->nine, none);
        STORE(g->signs, none);
        STORE(g->codes, none);
        STORE(g->countries, none);
        STORE(g->firsts, none);
        STORE(g->outer, none);
        return WALK_BLOCKS;
    }
    for (int i = 0; i < count; i++)
        LANES_REST(i == count - 1 ? last : w->p + base + i * WALK_BLOCK, &m, i);
    WORDS control = none, high = none;
    if (odd) {
        for (int i = 0; i < count; i++)
            LANES_RARE(i == count - 1 ? last : w->p + base + i * WALK_BLOCK, &m, i);
        control = LOAD(m.control);
        high = LOAD(m.high);
    }

    /* Escapes and characters beyond ASCII. */
    WORDS escaped = none, units = none, letters = none, slashes = none, gaps = none, marks = none;
    WORDS more = none, said = none;
    if (LANES_ANY(LOAD(m.backslash)) || c->escaped | c->letters | c->wide) {
        const WORDS other = LANES(slants)(LOAD(m.backslash), &c->escaped, &escaped)
                            & ~(LOAD(m.simple) >> 1 | (WORDS)LANES_DOWN(LOAD(m.simple)) << 63);
        if (LANES_ANY(other) || c->letters | c->gap | c->wide) {
            uint64_t each[5][LANES_COUNT] __attribute__((aligned(64)));
            MaskWords left;
            STORE(left, other);
            for (int i = 0; i < LANES_COUNT; i++)
                if (!walk_escapes(w, base + i * WALK_BLOCK, left[i], &each[0][i], &each[1][i],
                                  &each[2][i], &each[3][i], &each[4][i]))
                    return WALK_INVALID;
            units = LOAD(each[0]);
            letters = LOAD(each[1]);
            slashes = LOAD(each[2]);
            gaps = LOAD(each[3]);
            more = LOAD(each[4]);
        }
    }
    if (odd || c->high_bytes) {
        uint64_t each[3][LANES_COUNT] __attribute__((aligned(64)));
        for (int i = 0; i < LANES_COUNT; i++)
            if (!walk_characters(w, base + i * WALK_BLOCK, high[i], &each[0][i], &each[1][i],
                                 &each[2][i]))
                return WALK_INVALID;
        marks = LOAD(each[0]);
        more |= LOAD(each[1]);
        said = LOAD(each[2]);
    }

    /* Strings. */
    const WORDS quote = LOAD(m.quote) & ~escaped, digit = LOAD(m.digit), dot = LOAD(m.dot);
    const WORDS dash = LOAD(m.dash), opening = LOAD(m.opening), curly = LOAD(m.curly);
    WORDS in = ~none, opens = none, closes = none, firsts = none, brackets = none;
    WORDS comma = none, colon = none, members = none, starts = none, look = none;
    WORDS digits = none, dots = none, splits = none;
    /* Most of a long string: as if nothing of this had been there. */
    const int inside = c->in_string && !(LAST(c->opens) >> 63) && !LANES_ANY(quote);
    if (!inside) {
        in = quote;
        in ^= in << 1;
        in ^= in << 2;
        in ^= in << 4;
        in ^= in << 8;
        in ^= in << 16;
        in ^= in << 32;
        unsigned odd = LANES_TOPS(in);
        odd ^= odd << 1;
        odd ^= odd << 2;
        odd ^= odd << 4;
        in ^= (WORDS)LANES_SPREAD(odd << 1 ^ (c->in_string ? ~0u : 0u));
        c->in_string ^= odd >> (LANES_COUNT - 1) & 1;
        opens = quote & in;
        closes = quote & ~in;
        CARRY(opens);
        const WORDS bracket = LOAD(m.bracket), space = LOAD(m.space);
        /* What begins like JSON, or may once its escapes are undone or spaces are passed. */
        firsts = BEFORE(opens, 1) & ((bracket & opening) | space | LOAD(m.backslash));

        /* Tokens. A carry goes from one through what is none to the next. */
        comma = LOAD(m.comma) & ~in;
        /* Of the two signs the colon is the one with this bit. */
        colon = assign & opening & ~in;
        brackets = bracket & ~in;
        const WORDS scalar = ~(LOAD(m.comma) | (assign & opening) | bracket | space | quote | in);
        CARRY(scalar);
        starts = scalar & ~BEFORE(scalar, 1);
        const WORDS between = ~(comma | colon | brackets | opens | starts);
        const WORDS curly_open = brackets & opening & curly;
        const WORDS square_open = brackets & opening & ~curly;
#define FOLLOW(x) \
        CARRY(x); \
        WORDS after_##x = BEFORE(x, 1); \
        LANES(add)(&after_##x, &between, &c->after_##x, &after_##x); \
        after_##x &= ~between
        /* Two masks tell a comma, which is in both, from a colon and a curly bracket. */
        const WORDS mark = comma | colon, names = comma | curly_open;
        FOLLOW(mark);
        FOLLOW(names);
        FOLLOW(square_open);
        const WORDS key = opens & after_names;
        FOLLOW(key);
#undef FOLLOW
        const WORDS room = after_mark | after_square_open, no_end = room | after_names;
        const WORDS values = starts | curly_open | square_open;
        WORDS bad = values & ~room;
        bad |= opens & ~no_end;
        bad |= comma & no_end;
        bad |= brackets & ~opening & after_mark;
        bad |= colon & ~after_key;
        if (LANES_ANY(bad))
            return WALK_INVALID;
        /* What stands behind a comma and is not a key, or behind what would be one and is no colon:
           only in an array. */
        members = (values & after_mark & after_names) | (after_key & ~colon);

        /* Numbers: whatever is not [-]digits[.digits], with no 0 before other digits, is looked at.
           Of a word, its first letter. */
        const WORDS minuses = dash & scalar;
        digits = digit & scalar;
        dots = dot & scalar;
        const WORDS others = scalar & ~(digit | dot | dash);
        CARRY(others);
        CARRY(digits);
        CARRY(dots);
        CARRY(minuses);
        look = others & ~BEFORE(others, 1);
        WORDS words = look & starts;
        if (LANES_ANY(words))
            KEEP(words, at, walk_word(w, at))
        look &= ~words;
        look |= dots & ~BEFORE(digits, 1);
        look |= BEFORE(dots, 1) & ~digits;
        look |= minuses & ~starts;
        look |= BEFORE(minuses, 1) & ~digits;
        const WORDS zeros = LOAD(m.zero) & digits & (starts | BEFORE(minuses, 1));
        CARRY(zeros);
        look |= BEFORE(zeros, 1) & digits;
        /* What stands behind a block may be anything. */
        splits = square_open
                 & ((space | (digits & (digits >> 1 | 1ull << 63))
                     | (opens & (digit >> 1 | 1ull << 63))) >> 1 | 1ull << 63);
    }
    if (odd && LANES_ANY(control & in))
        return WALK_INVALID;

    /* Rows. In a string, a mark is a digit or what may stand for one, or for a separator: an
       escape, a character beyond ASCII. In a number only the digits before its point count. */
    marks = (marks | digit | gaps) & in & ~letters;
    const WORDS both = marks | digits;
    CARRY(both);
    const WORDS joined = BEFORE(both, 1) & (both >> 1 | 1ull << 63) & in;
    const WORDS point = (dot & joined) | dots;
    const WORDS joiners = LOAD(m.joiner) & joined;
    WORDS sum = both, behind = none;
    /* A sum carries the bit behind a point through the digits there, to what follows. */
    if (LANES_ANY(point) || LAST(c->point) >> 63 || c->after_point) {
        CARRY(point);
        const WORDS first = BEFORE(point, 1);
        LANES(add)(&both, &first, &c->after_point, &sum);
        behind = sum & ~both;
        look |= behind & dots;
    }
    const WORDS minus = dash;
    CARRY(minus);
    const WORDS fourth = dash & BEFORE(minus, 5) & BEFORE(minus, 10) & BEFORE(minus, 15);
    WORDS uuid = none;
    if (c->uuid || LANES_ANY(fourth))
        uuid = LANES(uuids)(w, base, fourth);
    const WORDS row = (marks | joiners | (digits & sum)) & ~uuid;
    const WORDS apart = joiners | more;
    g->row_before = LAST(c->row);
    g->joiners_before = c->apart;
    c->apart = LAST(apart);
    CARRY(row);
    PAIR(row2, row, 1);
    PAIR(row4, row2, 2);
    PAIR(row8, row4, 4);
    CARRY(joiners);
    WORDS nine = row8 & BEFORE(row, 8);
    if (LANES_ANY(nine)) {
        /* Nine digits without a joiner are nine bytes, with one ten; with more of them, eleven. So a
           date is none. */
        EITHER(some2, joiners, 1);
        EITHER(some4, some2, 2);
        const WORDS some8 = some4 | BEFORE(some4, 4);
        PAIR(two4, some2, 2);
        const WORDS two8 = two4 | BEFORE(two4, 4) | (some4 & BEFORE(some4, 4));
        nine &= ~(some8 | BEFORE(joiners, 8));
        nine |= row8 & BEFORE(row8, 2) & ~(two8 | (some8 & BEFORE(some2, 8)));
        nine |= row8 & BEFORE(row8, 3);
    }
    const WORDS codes = in & (LOAD(m.code) | (LOAD(m.backslash) & escaped));
    const WORDS signs = (in & LOAD(m.at)) | codes;

    /* Secrets and IBANs. */
    const WORDS alpha = LOAD(m.alpha), tail = LOAD(m.tail), tail2 = LOAD(m.tail2), ell = LOAD(m.ell);
    CARRY(alpha);
    /* What is beyond ASCII, or the escape of a letter there. */
    const WORDS beyond = high | letters;
    CARRY(tail2);
    CARRY(ell);
    /* Of words with an l before the last letter only "default" says something: most are "role". */
    const WORDS ends = (tail & BEFORE(tail2, 1)) | (tail & ~LOAD(m.e) & BEFORE(ell, 1));
    CARRY(ends);
    CARRY(beyond);
    CARRY(units);
    /* An escape may be what a key ends in, too. */
    const WORDS hidden = BEFORE(units, 6) | BEFORE(units, 7);
    const WORDS run = (tokens_ | slashes) & in & ~uuid, s = s_ & in, strokes = dash & in;
    /* Colons and equals signs behind a letter or digit, or behind the quote of JSON inside a string
       and that, once or twice escaped, where a word may end that says something: one of `ends`, or a
       verb, which ends in s.
       Behind a user of curl any colon counts. */
    const WORDS alnum = alpha | digit, quoted = LOAD(m.quote) & escaped;
    const WORDS backslash = LOAD(m.backslash), lasts = ends | s_;
    CARRY(alnum);
    CARRY(quoted);
    CARRY(lasts);
    CARRY(backslash);
    CARRY(gaps);
    WORDS users = alpha & BEFORE(minus, 1), assigns = assign & in;
    if (LANES_ANY(users))
        KEEP(users, at, (w->p[at] | 0x20) == 'u')
    c->users = LANES_ANY(users) ? WALK_USER : c->users ? c->users - 1 : 0;
    if (LANES_ANY(assigns)) {
        /* Behind the end of a word, so many bytes before, whose last two letters are those it seems. */
#define WORD(count) \
        (BEFORE(alnum, count) \
         & ~(BEFORE(beyond, count) | BEFORE(beyond, count + 1) | BEFORE(gaps, count) \
             | BEFORE(backslash, count + 1)))
        WORDS bare = WORD(1);
        if (c->users)
            bare &= ~opening;
        const WORDS deep = BEFORE(quoted, 1) & WORD(3);
        const WORDS deeper = BEFORE(quoted, 1) & BEFORE(backslash, 3) & WORD(5);
#undef WORD
        assigns &= ~((bare & ~BEFORE(lasts, 1)) | (deep & ~BEFORE(lasts, 3))
                     | (deeper & ~BEFORE(lasts, 5)));
        WORDS word = assigns & (bare | deep | deeper);
        assigns &= ~word;
        if (LANES_ANY(word))
            KEEP(word, at, walk_may_say(w, at))
        assigns |= word;
    }
    /* No letter or digit stands before a country, unless it is of an escape. */
    const WORDS countries = marks & BEFORE(alpha, 1) & BEFORE(alpha, 2)
                            & ~(BEFORE(alnum, 3) & ~BEFORE(backslash, 4) & ~BEFORE(backslash, 8))
                            & ~uuid;
    LANES(runs)(w, base, &in, &run, &s, &strokes, &assigns, &closely);

    const WORDS in_calls = in & (units | said | (behind & LOAD(m.e)));
    /* Right behind a key stands neither a comma nor a bracket. */
    WORDS keys = closes & (BEFORE(ends, 1) | BEFORE(beyond, 1) | BEFORE(beyond, 2) | hidden)
                 & ~((comma | brackets) >> 1);
    if (LANES_ANY(keys))
        KEEP(keys, at, walk_value(w, at) >= 0)
    closely |= firsts | look | nine | signs | countries;
    STORE(g->opens, opens);
    STORE(g->starts, starts);
    STORE(g->brackets, brackets);
    STORE(g->opening, opening);
    STORE(g->curly, curly);
    STORE(g->wrong[IN_ROOT], members | colon | comma);
    STORE(g->wrong[IN_OBJECT], members);
    STORE(g->wrong[IN_ARRAY], colon);
    if (!w->nested && w->value_at < 0 && !LANES_ANY(closely | in_calls | keys | splits))
        return WALK_QUIET;
    STORE(g->in, in);
    STORE(g->closes, closes);
    STORE(g->splits, splits);
    STORE(g->calls, in_calls);
    STORE(g->keys, keys);
    STORE(g->firsts, firsts);
    STORE(g->look, look);
    STORE(g->nine, nine);
    STORE(g->row, row);
    STORE(g->joiners, apart);
    STORE(g->signs, signs);
    STORE(g->codes, codes | units);
    const WORDS exponents = in & LOAD(m.e) & BEFORE(both, 1) & ~uuid;
    /* Behind which stands a digit, or what may be before one. */
    const WORDS squares = in & LOAD(m.bracket) & opening & ~curly
                          & ((LOAD(m.space) | backslash | digit) >> 1 | 1ull << 63)
                          & ~(quoted >> 2 & ~(digit >> 3) & ~0ull >> 3);
    STORE(g->exponents, exponents);
    STORE(g->squares, squares);
    STORE(g->inner, exponents | squares | assigns);
    STORE(g->countries, countries);
    STORE(g->closely, closely);
    STORE(g->outer, ~in | opens | in_calls | keys);
    return WALK_BLOCKS;
}
#undef WORDS
#undef LOAD
#undef STORE
#undef CARRY
#undef BEFORE
#undef PAIR
#undef EITHER
#undef KEEP
#undef LAST
#undef LANES
#undef LANES_COUNT
#undef LANES_TARGET
#undef LANES_ROWS
#undef LANES_VECTOR
#undef LANES_MOST
#undef LANES_ODD
#undef LANES_RARE
#undef LANES_TEXT
#undef LANES_REST
#undef LANES_UP
#undef LANES_DOWN
#undef LANES_TOPS
#undef LANES_FULL
#undef LANES_SPREAD
#undef LANES_ANY
#undef LANES_SET
