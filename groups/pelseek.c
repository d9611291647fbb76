/*
 * pelseek.c - pending entries by ID that pass a filter: past nodes and pages whose sums say that they have none.
 *
 * A sum may promise what is not there: where its times are rough, or where the oldest entry and the consumer's are different
 * ones. A rough page that was looked at for nothing gets an exact sum (essay of pel.c).
 */
#include "groups/pelseek.h"
#include <assert.h>

static bool query_may_filter(const struct pel_filter *f, const struct sum *s)
{
    if ((f->kinds & PEL_HELD) != 0 && sum_n_of(s, PEL_HELD) > 0 && s->held_ms <= f->held_until &&
        (!f->by_slot || (s->slots & pel_slot_bit(f->slot)) != 0))
        return true;
    if ((f->kinds & PEL_NACKED) != 0 && sum_n_of(s, PEL_NACKED) > 0 &&
        s->nacked_ms <= f->nacked_until)
        return true;
    return (f->kinds & PEL_SKIPPED) != 0 && sum_n_of(s, PEL_SKIPPED) > 0;
}

/* Whether what the sum is over may have an answer. */
static bool query_may(const struct query *q, const struct sum *s)
{
    switch (q->by) {
    case QUERY_FILTER: return query_may_filter(&q->f, s);
    case QUERY_DEAD: return s->n_dead > 0;
    case QUERY_SLOT: return (s->slots & pel_slot_bit(q->f.slot)) != 0;
    case QUERY_DUE: return s->event_ms <= q->until;
    }
    return false;
}

static bool query_passes(const struct pel *p, const struct query *q, const struct pelpage *pg,
                         size_t i)
{
    if (q->by == QUERY_DEAD)
        return (pelpage_marks(pg, i) & PELPAGE_DEAD) != 0;
    assert(q->by == QUERY_FILTER);
    return pelfilter_passes(p, &q->f, pg, i);
}

/* Below the node at `depth`, the first page that may have an answer with ID >= *from (NULL: any). */
static bool path_seek_below(const struct pel *p, struct path *path, size_t depth,
                            const struct id *from, const struct query *q)
{
    const struct node *n;

    if (depth == p->height)
        return true;
    n = path->node[depth];
    for (size_t i = from == NULL ? 0 : pelnode_find(n, *from); i < n->n; i++, from = NULL) {
        if (!query_may(q, &n->sum[i]))
            continue;
        pelpath_descend(p, path, depth, i);
        if (path_seek_below(p, path, depth + 1, from, q))
            return true;
    }
    return false;
}

/* The same backwards: ID <= *from. */
static bool path_seek_back_below(const struct pel *p, struct path *path, size_t depth,
                                 const struct id *from, const struct query *q)
{
    const struct node *n;

    if (depth == p->height)
        return true;
    n = path->node[depth];
    for (size_t i = from == NULL ? n->n : pelnode_find(n, *from) + 1; i-- > 0; from = NULL) {
        if (!query_may(q, &n->sum[i]))
            continue;
        pelpath_descend(p, path, depth, i);
        if (path_seek_back_below(p, path, depth + 1, from, q))
            return true;
    }
    return false;
}

bool pelpath_seek(const struct pel *p, struct path *path, struct id from, const struct query *q)
{
    if (p->root == NULL || !query_may(q, &p->sum))
        return false;
    pelpath_begin(p, path);
    if (!path_seek_below(p, path, 0, &from, q))
        return false;
    pelpath_bound(p, path);
    return true;
}

/* ... to the last one that may have an answer with ID <= from. */
static bool pelpath_seek_back(const struct pel *p, struct path *path, struct id from,
                              const struct query *q)
{
    if (p->root == NULL || !query_may(q, &p->sum))
        return false;
    pelpath_begin(p, path);
    if (!path_seek_back_below(p, path, 0, &from, q))
        return false;
    pelpath_bound(p, path);
    return true;
}

static size_t pel_query(const struct pel *p, struct id from, const struct query *q, size_t max,
                        struct pel_entry *out)
{
    struct path path;
    size_t n = 0;
    bool found;

    while (n < max && pelpath_seek(p, &path, from, q)) {
        size_t before = n, i = pelpage_find(path.page, from, 0, &found);
        for (; i < path.page->n && n < max; i++)
            if (query_passes(p, q, path.page, i))
                pel_read(p, path.page, i, &out[n++]);
        if (n == before)
            pelpath_refresh_if_rough(pel_mutable(p), &path);
        if (!path.bounded)
            break;
        from = path.hi;
    }
    return n;
}

bool pel_next(const struct pel *p, struct id from, const struct pel_filter *f,
              struct pel_entry *out)
{
    return pel_list(p, from, f, 1, out) == 1;
}

size_t pel_list(const struct pel *p, struct id from, const struct pel_filter *f, size_t max,
                struct pel_entry *out)
{
    struct query q = { QUERY_FILTER, *f, 0 };
    return pel_query(p, from, &q, max, out);
}

size_t pel_dead(const struct pel *p, struct id from, size_t max, struct pel_entry *out)
{
    struct query q = { .by = QUERY_DEAD };
    return pel_query(p, from, &q, max, out);
}

bool pel_prev(const struct pel *p, struct id from, const struct pel_filter *f,
              struct pel_entry *out)
{
    struct query q = { QUERY_FILTER, *f, 0 };
    struct path path;
    bool found;

    while (pelpath_seek_back(p, &path, from, &q)) {
        size_t i = pelpage_find(path.page, from, PEL_PAGE, &found);
        for (i += found; i-- > 0;) {
            if (query_passes(p, &q, path.page, i)) {
                pel_read(p, path.page, i, out);
                return true;
            }
        }
        pelpath_refresh_if_rough(pel_mutable(p), &path);
        from = path.lo;
        if (!id_prev(&from))
            break;
    }
    return false;
}
