/*
 * idlist.c - IDs that a command names.
 *
 * Up to IDLIST_INLINE of them, which is more than most acknowledge at a time, lie on the caller's stack. How many there are
 * is bounded by the arguments that were sent, never by a number among them.
 */
#include "broker/commands/idlist.h"
#include <stdlib.h>
#include "broker/engine/reply.h"

/* Room for n, with none in it. False if memory ran out. */
static bool idlist_init(struct idlist *x, size_t n)
{
    x->n = 0;
    x->ids = n <= IDLIST_INLINE ? x->few : malloc(n * sizeof x->ids[0]);
    return x->ids != NULL;
}

void idlist_fini(struct idlist *x)
{
    if (x->ids != x->few)
        free(x->ids);
}

bool idlist_parse(struct client *c, const struct slice *argv, size_t n, struct idlist *x)
{
    if (!idlist_init(x, n)) {
        reply_error(c, "OOM no memory for %zu IDs", n);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (!streams_parse_id(argv[i], 0, &x->ids[i])) {
            streams_bad_id(c);
            return false;
        }
    }
    x->n = n;
    return true;
}

static int idlist_cmp(const void *a, const void *b)
{
    return id_cmp(*(const struct id *)a, *(const struct id *)b);
}

void idlist_sort(struct idlist *x)
{
    size_t i = 1, n = 0;

    while (i < x->n && id_cmp(x->ids[i - 1], x->ids[i]) < 0)
        i++;
    if (i >= x->n)
        return;
    qsort(x->ids, x->n, sizeof x->ids[0], idlist_cmp);
    for (i = 0; i < x->n; i++)
        if (n == 0 || id_cmp(x->ids[n - 1], x->ids[i]) != 0)
            x->ids[n++] = x->ids[i];
    x->n = n;
}
