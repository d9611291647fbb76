/* column.h - numbers and values one below the other: written as bytes that compress well, and read back one
 * by one. Essay and bytes: column.c; format: docs/format.md, "A column".
 *
 * What describes columns goes to `head`, their bytes to `body`; a reader takes both in the order in which
 * they were written. Everything read is hostile: nothing is allocated here, and no cursor leaves its
 * bytes. */
#ifndef LOG_COLUMN_H
#define LOG_COLUMN_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/bytes.h"
#include "log/err.h"

enum {
    COLUMN_WORDS_MAX = 1 << 12, /* different values in a dictionary */
    COLUMN_SHARED_MAX = 255,    /* bytes that a value can share with the one before */
    COLUMN_PATTERN_MAX = 64,    /* bytes of a value that is digits in fixed places */
    COLUMN_SLACK = 32,          /* bytes behind its end that column_next may write to */
};

/* ---- writing ---- */

struct column_buffer {
    uint8_t *p;
    size_t n, cap;
};

struct column_word; /* a dictionary's */

struct column_writer {
    struct column_buffer head, body;
    struct column_buffer ends; /* size_t each: where parts of the body end */
    struct column_buffer numbers;
    struct column_word *words; /* COLUMN_WORDS_MAX */
    uint16_t *slots;           /* a hash table of them */
    size_t n_words;
    bool failed; /* memory ran out: what is written is worth nothing */
};

/* False if memory ran out; column_writer_fini is fine then too. */
must_check bool column_writer_init(struct column_writer *w);
void column_writer_fini(struct column_writer *w);
/* Empties it; buffers stay. */
void column_writer_reset(struct column_writer *w);
/* Gives back what is larger than `bytes`. */
void column_writer_shrink(struct column_writer *w, size_t bytes);

/* Room for n numbers, to be filled and given to column_put_numbers; NULL if memory ran out. */
uint64_t *column_numbers(struct column_writer *w, size_t n);
void column_put_numbers(struct column_writer *w, uint64_t *x, size_t n); /* changes x; n > 0 */
/* Bytes as they are, a part of their own; the reader has to know how many. */
void column_put_bytes(struct column_writer *w, const uint8_t *from, size_t n);
/* The same for the caller to fill; NULL if memory ran out. */
uint8_t *column_put_room(struct column_writer *w, size_t n);
void column_put_head(struct column_writer *w, uint64_t v);
void column_put_head_bytes(struct column_writer *w, const uint8_t *from, size_t n);
/* A column of values, which stay where they are until column_put_words, n > 0. */
void column_put_values(struct column_writer *w, const struct slice *v, size_t n);
/* The dictionary of all columns written so far. */
void column_put_words(struct column_writer *w);

/* ---- reading ---- */

struct column_source {
    const uint8_t *head, *head_end;
    const uint8_t *body, *body_end;
};

enum column_mode { COLUMN_PLAIN, COLUMN_ZIGZAG, COLUMN_DELTA, COLUMN_N_MODES };

struct column_numbers {
    const uint8_t *at; /* the next number's lowest byte; the others lie `stride` apart */
    size_t stride;
    uint64_t base; /* with COLUMN_DELTA: the number before */
    uint8_t mode, width;
};

bool column_get_head(struct column_source *s, uint64_t *out);
bool column_get_numbers(struct column_source *s, size_t n, struct column_numbers *out);
/* NULL if there are not so many. */
const uint8_t *column_get_bytes(struct column_source *s, size_t n);

static inline int64_t column_unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1 ^ (0 - (v & 1)));
}

/* The next number; for the caller to know that there is one. */
static inline uint64_t column_number(struct column_numbers *c)
{
    uint64_t v = 0;

    if (c->width == 1) {
        v = *c->at;
    } else if (c->width == 2) {
        v = (uint64_t)(c->at[0] | c->at[c->stride] << 8);
    } else {
        for (unsigned i = 0; i < c->width; i++)
            v |= (uint64_t)c->at[i * c->stride] << 8 * i;
    }
    c->at += c->width > 0;
    if (c->mode == COLUMN_PLAIN)
        return c->base + v;
    v = (uint64_t)column_unzigzag(v);
    if (c->mode == COLUMN_ZIGZAG)
        return v;
    return c->base += v;
}

/* A dictionary's values, each as `varint length, bytes`. */
struct column_words {
    const uint8_t *p;
    const uint32_t *offsets; /* n + 1 */
    size_t n;
};

enum column_kind {
    COLUMN_STRINGS,
    COLUMN_SHARED,
    COLUMN_INTS,
    COLUMN_DIGITS,
    COLUMN_WORDS,
    COLUMN_N_KINDS,
};

struct column {
    struct column_numbers numbers; /* lengths, integers, digits or words */
    uint8_t kind;
    const uint8_t *shared;            /* COLUMN_SHARED: a byte for each value */
    struct slice bytes;               /* what is left of them */
    struct slice before;              /* the value written last */
    const struct column_words *words; /* COLUMN_WORDS; the caller's to set */
    struct slice pattern;             /* COLUMN_DIGITS */
    uint64_t digits;                  /* of the value written last */
};

/* A column of n values. */
bool column_get_values(struct column_source *s, size_t n, struct column *out);

/* Writes the next value at p as `varint length, bytes`, which must end by `end`; returns where it ends, NULL if
 * that is not so or the column is damaged. Up to COLUMN_SLACK bytes behind `end` may be
 * overwritten. The value has to stay there until the next one is written. */
uint8_t *column_next(struct column *c, uint8_t *p, const uint8_t *end);

/* Reads a dictionary: at most n_max values, of at most `cap` bytes in all, to p (with COLUMN_SLACK bytes more) and
 * `offsets` (n_max + 1). False if it is damaged. */
bool column_get_words(struct column_source *s, size_t n_max, uint8_t *p, size_t cap,
                      uint32_t *offsets, struct column_words *out);

#endif
