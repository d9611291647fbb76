/* text.h - bytes that grow at the end. The command line has nothing to save when memory is out: it
 * says so and ends with status 1. */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "client/beck.h"

struct text {
    char *p;
    size_t n, cap;
};

/* Makes room for `n` more bytes (slow path of text_room). */
void text_grow(struct text *t, size_t n);
void text_fini(struct text *t);

/* Formatted text behind what is there. */
void text_printf(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts decimal digits of `v`. */
void text_put_u64(struct text *t, uint64_t v);

/* Where the next byte goes, with room for n of them. */
static inline char *text_room(struct text *t, size_t n)
{
    if (t->cap - t->n < n)
        text_grow(t, n);
    return t->p + t->n;
}

static inline void text_put(struct text *t, const char *p, size_t n)
{
    char *to = text_room(t, n);

    if (n > 0)
        memcpy(to, p, n);
    t->n += n;
}

static inline void text_put_char(struct text *t, char c)
{
    *text_room(t, 1) = c;
    t->n++;
}

static inline void text_put_str(struct text *t, const char *s)
{
    text_put(t, s, strlen(s));
}

static inline void text_put_slice(struct text *t, struct beck_slice s)
{
    text_put(t, s.p, s.n);
}

#endif
