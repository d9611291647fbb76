/* text.c - see text.h. Growth doubles, so that putting is constant time on average. */
#include "cli/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void text_out_of_memory(void)
{
    fputs("beck: out of memory\n", stderr);
    exit(1);
}

void text_grow(struct text *t, size_t n)
{
    size_t cap = t->cap == 0 ? 256 : t->cap;
    char *p;

    if (n > SIZE_MAX / 4 - t->n)
        text_out_of_memory();
    while (cap - t->n < n)
        cap *= 2;
    p = realloc(t->p, cap);
    if (p == NULL)
        text_out_of_memory();
    t->p = p;
    t->cap = cap;
}

void text_fini(struct text *t)
{
    free(t->p);
    memset(t, 0, sizeof *t);
}

void text_printf(struct text *t, const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0)
        return;
    text_room(t, (size_t)n + 1);
    va_start(args, format);
    vsnprintf(t->p + t->n, (size_t)n + 1, format, args);
    va_end(args);
    t->n += (size_t)n;
}

void text_put_u64(struct text *t, uint64_t v)
{
    char digits[20];
    size_t n = sizeof digits;

    do
        digits[--n] = (char)('0' + v % 10);
    while ((v /= 10) > 0);
    text_put(t, digits + n, sizeof digits - n);
}
