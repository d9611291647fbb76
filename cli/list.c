/* list.c - see list.h. */
#include "cli/list.h"

#include <stdlib.h>

void list_fini(struct list *l)
{
    text_fini(&l->bytes);
    free(l->ends);
    memset(l, 0, sizeof *l);
}

void list_clear(struct list *l)
{
    l->bytes.n = 0;
    l->n = 0;
}

void list_add(struct list *l, struct beck_slice s)
{
    struct text ends = { (char *)l->ends, l->n * sizeof *l->ends, l->cap * sizeof *l->ends };

    text_put_slice(&l->bytes, s);
    text_put(&ends, (const char *)&l->bytes.n, sizeof l->bytes.n);
    l->ends = (size_t *)(void *)ends.p;
    l->cap = ends.cap / sizeof *l->ends;
    l->n++;
}

struct beck_slice list_at(const struct list *l, size_t i)
{
    size_t from = i > 0 ? l->ends[i - 1] : 0;

    return beck_bytes(l->bytes.p + from, l->ends[i] - from);
}
