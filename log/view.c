/* view.c - see view.h. A view is made once and then only counted, so it needs no lock. */
#include "log/view.h"

#include <assert.h>
#include <stdlib.h>

struct view *view_new(struct segment *const *segments, size_t n)
{
    struct view *v = malloc(sizeof *v + n * sizeof v->segments[0]);

    if (v == NULL)
        return NULL;
    atomic_init(&v->refs, 1);
    v->n = n;
    for (size_t i = 0; i < n; i++) {
        assert(i == 0 ||
               segment_info(segments[i - 1])->lsn_last < segment_info(segments[i])->lsn_first);
        v->segments[i] = segment_ref(segments[i]);
    }
    return v;
}

struct view *view_ref(struct view *v)
{
    atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
    return v;
}

void view_unref(struct view *v)
{
    if (v == NULL || atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < v->n; i++)
        segment_unref(v->segments[i]);
    free(v);
}
