/*
 * column.c - what entries have in common, made visible to a compressor.
 *
 * A column of values is written in the first of these ways that fits all of them:
 *
 *   ints     canonical decimal integers of 64 bits, as numbers
 *   digits   values of one length with digits in the same places and otherwise the same, like timestamps: the
 *            digits as one number, the rest once
 *   words    few different values: the number of each in a dictionary, which all columns share, since
 *            columns often have the same values
 *   shared   values that begin like the one before: how many bytes they share with it, lengths, the rest
 *   strings  lengths and bytes
 *
 * Numbers are written as they are, less the smallest; or zigzag; or as differences, zigzag: whichever
 * has the fewest bits. Then byte by byte: all lowest bytes, all second ones, up to the highest that is needed. A
 * column of equal numbers so takes no byte at all, whatever it means.
 *
 *   head   │ what describes a column: a few varints       body   │ plane 0 │ plane 1 │ bytes │ ...
 *
 * Each plane and each run of bytes is a part of the body: parts differ in kind, and the compressor is told.
 *
 * Reading hands out value after value, in the rows' order, from as many cursors as there are columns.
 */
#include "log/column.h"
#include <stdlib.h>
#include <xxhash.h>

enum {
    WORD_SLOTS = 4 * COLUMN_WORDS_MAX, /* of the hash table; a power of two */
    WORD_PROBES = 32,                  /* more than that is an attack: no word then */
    WORD_FREE = UINT16_MAX,
    SHARED_SAMPLE = 64, /* values looked at to see whether they begin alike */
    DIGITS_MAX = 18,    /* fit 63 bits */
    INT_TEXT_MAX = 20,
};

struct column_word {
    struct slice text;
    uint16_t slot;
    uint16_t was; /* its number before the column's words were sorted */
};

/* ---- buffers ---- */

/* Room for n bytes at the buffer's end; NULL if memory ran out. */
static uint8_t *column_room(struct column_writer *w, struct column_buffer *b, size_t n)
{
    if (n > b->cap - b->n) {
        size_t cap = b->cap + b->cap / 2 + n + 256;
        uint8_t *p = realloc(b->p, cap);
        if (p == NULL) {
            w->failed = true;
            return NULL;
        }
        b->p = p;
        b->cap = cap;
    }
    return b->p + b->n;
}

bool column_writer_init(struct column_writer *w)
{
    *w = (struct column_writer){ 0 };
    w->words = malloc(COLUMN_WORDS_MAX * sizeof w->words[0]);
    w->slots = malloc(WORD_SLOTS * sizeof w->slots[0]);
    if (w->words == NULL || w->slots == NULL)
        return false;
    column_writer_reset(w);
    memset(w->slots, 0xff, WORD_SLOTS * sizeof w->slots[0]);
    return true;
}

void column_writer_fini(struct column_writer *w)
{
    free(w->head.p);
    free(w->body.p);
    free(w->ends.p);
    free(w->numbers.p);
    free(w->words);
    free(w->slots);
}

void column_writer_reset(struct column_writer *w)
{
    w->head.n = w->body.n = w->ends.n = 0;
    for (size_t i = 0; i < w->n_words; i++)
        w->slots[w->words[i].slot] = WORD_FREE;
    w->n_words = 0;
    w->failed = false;
}

static void column_buffer_shrink(struct column_buffer *b, size_t bytes)
{
    if (b->cap <= bytes)
        return;
    free(b->p);
    *b = (struct column_buffer){ 0 };
}

void column_writer_shrink(struct column_writer *w, size_t bytes)
{
    column_buffer_shrink(&w->head, bytes);
    column_buffer_shrink(&w->body, bytes);
    column_buffer_shrink(&w->ends, bytes);
    column_buffer_shrink(&w->numbers, bytes);
}

static void column_end_part(struct column_writer *w)
{
    uint8_t *p = column_room(w, &w->ends, sizeof w->body.n);

    if (p == NULL)
        return;
    memcpy(p, &w->body.n, sizeof w->body.n);
    w->ends.n += sizeof w->body.n;
}

void column_put_head(struct column_writer *w, uint64_t v)
{
    uint8_t *p = column_room(w, &w->head, VARINT_MAX);

    if (p != NULL)
        w->head.n += (size_t)(varint_put(p, v) - p);
}

void column_put_head_bytes(struct column_writer *w, const uint8_t *from, size_t n)
{
    uint8_t *p = column_room(w, &w->head, n);

    if (p == NULL)
        return;
    bytes_copy(p, from, n);
    w->head.n += n;
}

uint8_t *column_put_room(struct column_writer *w, size_t n)
{
    uint8_t *p = column_room(w, &w->body, n);

    if (p == NULL || n == 0)
        return p;
    w->body.n += n;
    column_end_part(w);
    return p;
}

void column_put_bytes(struct column_writer *w, const uint8_t *from, size_t n)
{
    uint8_t *p = column_put_room(w, n);

    if (p != NULL)
        bytes_copy(p, from, n);
}

/* ---- numbers ---- */

static uint64_t column_zigzag(uint64_t v)
{
    return v << 1 ^ (0 - (v >> 63));
}

static unsigned column_bits(uint64_t v)
{
    return 64u - (unsigned)__builtin_clzll(v | 1);
}

uint64_t *column_numbers(struct column_writer *w, size_t n)
{
    w->numbers.n = 0;
    return (uint64_t *)(void *)column_room(w, &w->numbers, n * sizeof(uint64_t));
}

/* Which way takes the fewest bits; *min is the smallest number, as signed ones. */
static enum column_mode column_choose(const uint64_t *x, size_t n, uint64_t *min)
{
    uint64_t zigzag = 0, delta = 0, plain = 0, before = x[0];
    int64_t low = (int64_t)x[0];

    for (size_t i = 0; i < n; i++) {
        zigzag += column_bits(column_zigzag(x[i]));
        delta += column_bits(column_zigzag(x[i] - before));
        before = x[i];
        if ((int64_t)x[i] < low)
            low = (int64_t)x[i];
    }
    for (size_t i = 0; i < n; i++)
        plain += column_bits(x[i] - (uint64_t)low);
    *min = (uint64_t)low;
    if (plain <= zigzag && plain <= delta)
        return COLUMN_PLAIN;
    return zigzag <= delta ? COLUMN_ZIGZAG : COLUMN_DELTA;
}

/* Makes numbers what is stored of them. */
static uint64_t column_transform(uint64_t *x, size_t n, enum column_mode mode, uint64_t min)
{
    uint64_t all = 0, before = x[0];

    for (size_t i = 0; i < n; i++) {
        uint64_t v = x[i];
        x[i] = mode == COLUMN_PLAIN    ? v - min
               : mode == COLUMN_ZIGZAG ? column_zigzag(v)
                                       : column_zigzag(v - before);
        before = v;
        all |= x[i];
    }
    return all;
}

void column_put_numbers(struct column_writer *w, uint64_t *x, size_t n)
{
    uint64_t min, first, all;
    enum column_mode mode;
    unsigned width = 0;
    uint8_t *p;

    if (w->failed)
        return;
    first = x[0];
    mode = column_choose(x, n, &min);
    for (all = column_transform(x, n, mode, min); all != 0; all >>= 8)
        width++;
    column_put_head(w, mode << 4 | width);
    if (mode != COLUMN_ZIGZAG)
        column_put_head(w, column_zigzag(mode == COLUMN_PLAIN ? min : first));
    p = column_room(w, &w->body, width * n);
    if (p == NULL)
        return;
    for (unsigned k = 0; k < width; k++) {
        for (size_t i = 0; i < n; i++)
            p[i] = (uint8_t)(x[i] >> 8 * k);
        p += n;
        w->body.n += n;
        column_end_part(w);
    }
}

/* ---- values ---- */

/* A canonical decimal integer of int64_t. */
static bool column_int(struct slice s, uint64_t *out)
{
    size_t minus = s.n > 0 && s.p[0] == '-', n = s.n - minus;
    const uint8_t *p = s.p + minus;
    uint64_t v = 0;

    if (n == 0 || n > INT_TEXT_MAX - 1 || (p[0] == '0' && (n > 1 || minus)))
        return false;
    for (size_t i = 0; i < n; i++) {
        unsigned digit = (unsigned)p[i] - '0';
        if (digit > 9)
            return false;
        v = v * 10 + digit; /* 19 digits fit */
    }
    if (v > (uint64_t)INT64_MAX + minus)
        return false;
    *out = minus ? 0 - v : v;
    return true;
}

static bool column_try_ints(struct column_writer *w, const struct slice *v, size_t n)
{
    uint64_t *x = column_numbers(w, n);

    if (x == NULL)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!column_int(v[i], &x[i]))
            return false;
    column_put_head(w, COLUMN_INTS);
    column_put_numbers(w, x, n);
    return true;
}

static bool column_is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* The digits of s as a number, if the rest of it is as in `pattern`. */
static bool column_digits(struct slice s, struct slice pattern, uint64_t *out)
{
    uint64_t v = 0;

    if (s.n != pattern.n)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (column_is_digit(pattern.p[i])) {
            if (!column_is_digit(s.p[i]))
                return false;
            v = v * 10 + (s.p[i] - '0');
        } else if (s.p[i] != pattern.p[i]) {
            return false;
        }
    }
    *out = v;
    return true;
}

static bool column_try_digits(struct column_writer *w, const struct slice *v, size_t n)
{
    struct slice pattern = v[0];
    size_t digits = 0;
    uint64_t *x;

    if (pattern.n > COLUMN_PATTERN_MAX)
        return false;
    for (size_t i = 0; i < pattern.n; i++)
        digits += column_is_digit(pattern.p[i]);
    if (digits == 0 || digits > DIGITS_MAX)
        return false;
    x = column_numbers(w, n);
    if (x == NULL)
        return false;
    for (size_t i = 0; i < n; i++)
        if (i > 0 && slice_equal(v[i], v[i - 1]))
            x[i] = x[i - 1];
        else if (!column_digits(v[i], pattern, &x[i]))
            return false;
    column_put_head(w, COLUMN_DIGITS);
    column_put_head(w, pattern.n);
    column_put_head_bytes(w, pattern.p, pattern.n);
    column_put_numbers(w, x, n);
    return true;
}

/* ---- words ---- */

static size_t column_slot(struct slice s)
{
    uint64_t v = 0, tail = 0;

    if (s.n > 16)
        return (size_t)XXH3_64bits(s.p, s.n) & (WORD_SLOTS - 1);
    if (s.n >= 8) {
        v = get_u64le(s.p);
        tail = get_u64le(s.p + s.n - 8);
    } else {
        for (size_t i = 0; i < s.n; i++)
            v = v << 8 | s.p[i];
    }
    v = (v ^ s.n) * 0x9e3779b97f4a7c15u ^ tail;
    return (size_t)((v * 0xbf58476d1ce4e5b9u) >> 40) & (WORD_SLOTS - 1);
}

/* The number of a word, a new one if need be; WORD_FREE if it cannot be one. */
static uint16_t column_word(struct column_writer *w, struct slice s)
{
    size_t slot = column_slot(s);

    for (unsigned i = 0; i < WORD_PROBES; i++, slot = (slot + 1) & (WORD_SLOTS - 1)) {
        uint16_t at = w->slots[slot];
        if (at != WORD_FREE) {
            if (slice_equal(w->words[at].text, s))
                return at;
            continue;
        }
        if (w->n_words == COLUMN_WORDS_MAX)
            return WORD_FREE;
        at = (uint16_t)w->n_words++;
        w->words[at] = (struct column_word){ .text = s, .slot = (uint16_t)slot, .was = at };
        w->slots[slot] = at;
        return at;
    }
    return WORD_FREE;
}

static int column_word_cmp(const void *a, const void *b)
{
    const struct column_word *x = a, *y = b;
    size_t n = x->text.n < y->text.n ? x->text.n : y->text.n;
    int order = n > 0 ? memcmp(x->text.p, y->text.p, n) : 0;

    return order != 0 ? order : (x->text.n > y->text.n) - (x->text.n < y->text.n);
}

/* Sorts the words from `old` on, which share more with their neighbours then, and renames them in x. */
static void column_sort_words(struct column_writer *w, size_t old, uint64_t *x, size_t n)
{
    uint16_t now[COLUMN_WORDS_MAX];

    qsort(w->words + old, w->n_words - old, sizeof w->words[0], column_word_cmp);
    for (size_t i = old; i < w->n_words; i++) {
        struct column_word *word = &w->words[i];
        now[word->was] = (uint16_t)i;
        w->slots[word->slot] = word->was = (uint16_t)i;
    }
    for (size_t i = 0; i < n; i++)
        if (x[i] >= old)
            x[i] = now[x[i]];
}

/* The last words leave in the order in which they came, so no search misses one that stays. */
static void column_forget_words(struct column_writer *w, size_t old)
{
    while (w->n_words > old)
        w->slots[w->words[--w->n_words].slot] = WORD_FREE;
}

static bool column_try_words(struct column_writer *w, const struct slice *v, size_t n)
{
    uint64_t *x = column_numbers(w, n);
    size_t old = w->n_words;

    if (x == NULL)
        return false;
    for (size_t i = 0; i < n; i++) {
        x[i] = column_word(w, v[i]);
        if (x[i] == WORD_FREE || w->n_words - old > i / 2 + SHARED_SAMPLE) {
            column_forget_words(w, old);
            return false;
        }
    }
    if (w->n_words - old > n / 2 + 1) {
        column_forget_words(w, old);
        return false;
    }
    column_sort_words(w, old, x, n);
    column_put_head(w, COLUMN_WORDS);
    column_put_numbers(w, x, n);
    return true;
}

/* ---- strings ---- */

static size_t column_shared(struct slice a, struct slice b)
{
    size_t n = a.n < b.n ? a.n : b.n, i = 0;

    if (n > COLUMN_SHARED_MAX)
        n = COLUMN_SHARED_MAX;
    while (i < n && a.p[i] == b.p[i])
        i++;
    return i;
}

/* Whether a third of the first values' bytes are shared. */
static bool column_is_shared(const struct slice *v, size_t n)
{
    size_t shared = 0, bytes = 0;

    for (size_t i = 1; i < n && i < SHARED_SAMPLE; i++) {
        shared += column_shared(v[i - 1], v[i]);
        bytes += v[i].n;
    }
    return shared > bytes / 3;
}

/* The bytes of values behind those that they share; `shared` may be NULL. */
static void column_put_rests(struct column_writer *w, const struct slice *v, size_t n,
                             const uint8_t *shared, size_t bytes)
{
    uint8_t *p;

    column_put_head(w, bytes);
    p = column_put_room(w, bytes);
    if (p == NULL)
        return;
    for (size_t i = 0; i < n; i++) {
        size_t skip = shared != NULL ? shared[i] : 0;
        bytes_copy(p, v[i].p + skip, v[i].n - skip);
        p += v[i].n - skip;
    }
}

static void column_put_strings(struct column_writer *w, const struct slice *v, size_t n)
{
    bool shares = column_is_shared(v, n);
    uint64_t *x = column_numbers(w, n);
    size_t bytes = 0;
    uint8_t *shared;

    if (x == NULL)
        return;
    for (size_t i = 0; i < n; i++)
        bytes += (x[i] = v[i].n);
    column_put_head(w, shares ? COLUMN_SHARED : COLUMN_STRINGS);
    column_put_numbers(w, x, n);
    if (!shares) {
        column_put_rests(w, v, n, NULL, bytes);
        return;
    }
    shared = column_room(w, &w->numbers, n); /* the numbers are written */
    if (shared == NULL)
        return;
    shared[0] = 0;
    for (size_t i = 1; i < n; i++)
        bytes -= (shared[i] = (uint8_t)column_shared(v[i - 1], v[i]));
    column_put_bytes(w, shared, n);
    column_put_rests(w, v, n, shared, bytes);
}

void column_put_values(struct column_writer *w, const struct slice *v, size_t n)
{
    if (w->failed || column_try_ints(w, v, n) || column_try_digits(w, v, n) ||
        column_try_words(w, v, n))
        return;
    column_put_strings(w, v, n);
}

void column_put_words(struct column_writer *w)
{
    struct slice *texts;

    column_put_head(w, w->n_words);
    if (w->failed || w->n_words == 0)
        return;
    texts = malloc(w->n_words * sizeof texts[0]);
    if (texts == NULL) {
        w->failed = true;
        return;
    }
    for (size_t i = 0; i < w->n_words; i++)
        texts[i] = w->words[i].text;
    column_put_strings(w, texts, w->n_words);
    free(texts);
}

/* ---- reading ---- */

bool column_get_head(struct column_source *s, uint64_t *out)
{
    return varint_get(&s->head, s->head_end, out);
}

const uint8_t *column_get_bytes(struct column_source *s, size_t n)
{
    const uint8_t *p = s->body;

    if (n > (size_t)(s->body_end - s->body))
        return NULL;
    s->body += n;
    return p;
}

bool column_get_numbers(struct column_source *s, size_t n, struct column_numbers *out)
{
    uint64_t what, base = 0;

    if (!column_get_head(s, &what) || what >> 4 >= COLUMN_N_MODES || (what & 15) > 8)
        return false;
    out->mode = (uint8_t)(what >> 4);
    out->width = what & 15;
    if (out->mode != COLUMN_ZIGZAG && !column_get_head(s, &base))
        return false;
    if (n > SIZE_MAX / 8)
        return false;
    out->base = (uint64_t)column_unzigzag(base);
    out->stride = n;
    out->at = column_get_bytes(s, n * out->width);
    return out->at != NULL;
}

static bool column_get_pattern(struct column_source *s, struct slice *out)
{
    return slice_get(&s->head, s->head_end, out) && out->n <= COLUMN_PATTERN_MAX;
}

static bool column_get_rests(struct column_source *s, struct slice *out)
{
    uint64_t n;

    if (!column_get_head(s, &n) || n > (uint64_t)(s->body_end - s->body))
        return false;
    *out = slice_of(column_get_bytes(s, (size_t)n), (size_t)n);
    return true;
}

bool column_get_values(struct column_source *s, size_t n, struct column *out)
{
    uint64_t kind;

    *out = (struct column){ 0 };
    if (!column_get_head(s, &kind) || kind >= COLUMN_N_KINDS)
        return false;
    out->kind = (uint8_t)kind;
    if (kind == COLUMN_DIGITS && !column_get_pattern(s, &out->pattern))
        return false;
    if (!column_get_numbers(s, n, &out->numbers))
        return false;
    if (kind == COLUMN_SHARED) {
        out->shared = column_get_bytes(s, n);
        if (out->shared == NULL)
            return false;
    }
    return (kind != COLUMN_SHARED && kind != COLUMN_STRINGS) || column_get_rests(s, &out->bytes);
}

/* ---- values, one after the other ---- */

static const char column_pairs[] = "00010203040506070809101112131415161718192021222324252627282930"
                                   "31323334353637383940414243444546474849505152535455565758596061"
                                   "62636465666768697071727374757677787980818283848586878889909192"
                                   "93949596979899";

/* At most INT_TEXT_MAX + 1 bytes. */
static uint8_t *column_next_int(struct column *c, uint8_t *p)
{
    uint64_t v = column_number(&c->numbers), u = (int64_t)v < 0 ? 0 - v : v;
    uint8_t text[INT_TEXT_MAX], *at = text + sizeof text;
    size_t n;

    while (u >= 100) {
        at -= 2;
        memcpy(at, column_pairs + 2 * (u % 100), 2);
        u /= 100;
    }
    if (u >= 10) {
        at -= 2;
        memcpy(at, column_pairs + 2 * u, 2);
    } else {
        *--at = (uint8_t)('0' + u);
    }
    if ((int64_t)v < 0)
        *--at = '-';
    n = (size_t)(text + sizeof text - at);
    *p = (uint8_t)n;
    bytes_copy(p + 1, at, n);
    return p + 1 + n;
}

static uint8_t *column_next_digits(struct column *c, uint8_t *p, const uint8_t *end)
{
    uint64_t v = column_number(&c->numbers);
    size_t n = c->pattern.n;

    if (n > (size_t)(end - p))
        return NULL;
    *p++ = (uint8_t)n;
    if (c->before.p != NULL && v == c->digits) {
        bytes_copy(p, c->before.p, n);
    } else {
        c->digits = v;
        for (size_t i = n; i-- > 0;) {
            uint8_t fixed = c->pattern.p[i];
            if (column_is_digit(fixed)) {
                p[i] = (uint8_t)('0' + v % 10);
                v /= 10;
            } else {
                p[i] = fixed;
            }
        }
    }
    c->before = slice_of(p, n);
    return p + n;
}

static uint8_t *column_next_word(struct column *c, uint8_t *p, const uint8_t *end)
{
    uint64_t at = column_number(&c->numbers);
    size_t n;

    if (at >= c->words->n)
        return NULL;
    n = c->words->offsets[at + 1] - c->words->offsets[at];
    if (n > (size_t)(end - p))
        return NULL;
    bytes_copy(p, c->words->p + c->words->offsets[at], n);
    return p + n;
}

static uint8_t *column_next_string(struct column *c, uint8_t *p, const uint8_t *end)
{
    uint64_t n = column_number(&c->numbers);
    size_t shared = c->shared != NULL ? *c->shared++ : 0;

    if (n > (uint64_t)(end - p) || shared > n || shared > c->before.n || n - shared > c->bytes.n)
        return NULL;
    p = varint_put(p, n);
    bytes_copy(p, c->before.p, shared);
    bytes_copy(p + shared, c->bytes.p, (size_t)n - shared);
    c->bytes.p += n - shared;
    c->bytes.n -= (size_t)n - shared;
    c->before = slice_of(p, (size_t)n);
    return p + n;
}

uint8_t *column_next(struct column *c, uint8_t *p, const uint8_t *end)
{
    if (p > end)
        return NULL;
    switch (c->kind) {
    case COLUMN_INTS: return column_next_int(c, p);
    case COLUMN_DIGITS: return column_next_digits(c, p, end);
    case COLUMN_WORDS: return column_next_word(c, p, end);
    default: return column_next_string(c, p, end);
    }
}

bool column_get_words(struct column_source *s, size_t n_max, uint8_t *p, size_t cap,
                      uint32_t *offsets, struct column_words *out)
{
    const uint8_t *start = p, *end = p + cap;
    struct column c;
    uint64_t n;

    *out = (struct column_words){ .p = p, .offsets = offsets };
    if (!column_get_head(s, &n) || n > n_max)
        return false;
    if (n == 0)
        return true;
    if (!column_get_values(s, (size_t)n, &c) || c.kind == COLUMN_WORDS)
        return false;
    offsets[0] = 0;
    for (size_t i = 0; i < n; i++) {
        p = column_next(&c, p, end);
        if (p == NULL || p > end)
            return false;
        offsets[i + 1] = (uint32_t)(p - start);
    }
    out->n = (size_t)n;
    return true;
}
