/*
 * pelpick.c - the pending entries that come first by time: what CLAIM takes, what is ready.
 *
 * The best `max` so far are a heap in the caller's array. Children are gone to in the order of the least time that each may
 * have, and left out once that is not among the best any more. No memory is needed for that, and few pages more are
 * looked at than those that have one of the best.
 */
#include "groups/pelseek.h"

enum { OLDEST_TRIES = 16 }; /* pages that pel_oldest_ms makes exact at most */

/* The entries of one kind with the least times, `max` of them: a heap in `out`, the last of them on top. */
struct pick {
    struct pel *p;
    enum { PICK_NACKED, PICK_HELD, PICK_READY } what;
    const struct pel_filter *f; /* of the first two */
    size_t n, max;
    struct pel_entry *out;
    uint64_t until; /* later ones are not taken */
};

static uint64_t pick_entry_time(const struct pick *k, const struct pel_entry *x)
{
    struct fate f;

    if (k->what != PICK_READY)
        return x->time_ms;
    f = x->nacked ? pel_fate_nacked(&k->p->rule, x->time_ms, x->count)
                  : pel_fate_held(&k->p->rule, x->time_ms, x->count);
    return f.kind == FATE_READY ? f.when_ms : 0;
}

static bool pick_before(const struct pick *k, const struct pel_entry *a, const struct pel_entry *b)
{
    uint64_t x = pick_entry_time(k, a), y = pick_entry_time(k, b);
    return x != y ? x < y : id_cmp(a->id, b->id) < 0;
}

static void pick_swap(struct pel_entry *a, struct pel_entry *b)
{
    struct pel_entry x = *a;
    *a = *b;
    *b = x;
}

static void pick_sift_down(struct pick *k, size_t n)
{
    for (size_t i = 0, child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && pick_before(k, &k->out[child], &k->out[child + 1]))
            child++;
        if (!pick_before(k, &k->out[i], &k->out[child]))
            break;
        pick_swap(&k->out[i], &k->out[child]);
    }
}

static void pick_sift_up(struct pick *k, size_t i)
{
    for (; i > 0 && pick_before(k, &k->out[(i - 1) / 2], &k->out[i]); i = (i - 1) / 2)
        pick_swap(&k->out[(i - 1) / 2], &k->out[i]);
}

static bool pick_passes(const struct pick *k, const struct pelpage *pg, size_t i)
{
    if (k->what == PICK_READY)
        return (pelpage_marks(pg, i) & PELPAGE_READY) != 0;
    return pel_kind(pg, i) == (k->what == PICK_HELD ? PEL_HELD : PEL_NACKED) &&
           pelfilter_passes(k->p, k->f, pg, i);
}

/* The least time that something below the sum may have; false if there is nothing. */
static bool pick_bound(const struct pick *k, const struct sum *s, uint64_t *out)
{
    switch (k->what) {
    case PICK_NACKED: *out = s->nacked_ms; return sum_n_of(s, PEL_NACKED) > 0;
    case PICK_READY: *out = s->due_ms; return s->n_ready > 0;
    case PICK_HELD: break;
    }
    *out = s->held_ms;
    return sum_n_of(s, PEL_HELD) > 0 &&
           (!k->f->by_slot || (s->slots & pel_slot_bit(k->f->slot)) != 0);
}

/* Whether one of that time, with an ID that is at least `low`, would be taken. */
static bool pick_wants(const struct pick *k, uint64_t time_ms, struct id low)
{
    uint64_t last;

    if (time_ms > k->until)
        return false;
    if (k->n < k->max)
        return true;
    last = pick_entry_time(k, &k->out[0]);
    return time_ms < last || (time_ms == last && id_cmp(low, k->out[0].id) < 0);
}

static void pick_page(struct pick *k, const struct pelpage *pg)
{
    struct pel_entry x;

    for (size_t i = 0; i < pg->n; i++) {
        if (!pick_passes(k, pg, i))
            continue;
        pel_read(k->p, pg, i, &x);
        if (!pick_wants(k, pick_entry_time(k, &x), x.id))
            continue;
        if (k->n < k->max) {
            k->out[k->n] = x;
            pick_sift_up(k, k->n++);
        } else {
            k->out[0] = x;
            pick_sift_down(k, k->n);
        }
    }
}

/* Whether all below the child is gone from the stream, and that is not wanted. */
static bool pick_is_gone(const struct pick *k, const struct node *n, size_t i)
{
    return k->f != NULL && k->f->is_living && i + 1 < n->n &&
           id_cmp(n->low[i + 1], k->p->gone_below) <= 0;
}

/* The child not in `seen` with the least bound, of those that may have something that is wanted; n->n if there is none. */
static size_t pick_child(const struct pick *k, const struct node *n, uint64_t seen)
{
    uint64_t least = UINT64_MAX, bound;
    size_t best = n->n;

    for (size_t i = 0; i < n->n; i++) {
        if ((seen >> i & 1) != 0 || pick_is_gone(k, n, i) || !pick_bound(k, &n->sum[i], &bound))
            continue;
        if ((best == n->n || bound < least) && pick_wants(k, bound, n->low[i])) {
            least = bound;
            best = i;
        }
    }
    return best;
}

static void pick_below(struct pick *k, void *at, size_t depth);

/* One after the other, the one that may have the least time first. A rough one is made exact, and then it may be another's
 * turn. */
static void pick_children(struct pick *k, struct node *n, size_t depth)
{
    bool lowest = depth + 1 == k->p->height;
    uint64_t seen = 0;
    size_t i;

    while ((i = pick_child(k, n, seen)) < n->n) {
        if (lowest && n->sum[i].rough) {
            n->sum[i] = pel_page_sum(k->p, n->child[i]);
            continue;
        }
        pick_below(k, n->child[i], depth + 1);
        if (!lowest && n->sum[i].rough)
            n->sum[i] = pel_node_sum(n->child[i]);
        seen |= (uint64_t)1 << i;
    }
}

static void pick_below(struct pick *k, void *at, size_t depth)
{
    if (depth < k->p->height)
        pick_children(k, at, depth);
    else
        pick_page(k, at);
}

/* Up to `max` in order, into k->out; returns how many. */
static size_t pick_run(struct pick *k)
{
    struct pel *p = k->p;
    uint64_t bound;

    if (k->max == 0 || p->root == NULL || !pick_bound(k, &p->sum, &bound) || bound > k->until)
        return 0;
    pick_below(k, p->root, 0);
    if (p->height > 0 && p->sum.rough)
        p->sum = pel_node_sum(p->root);
    for (size_t n = k->n; n > 1; n--) {
        pick_swap(&k->out[0], &k->out[n - 1]);
        pick_sift_down(k, n - 1);
    }
    return k->n;
}

size_t pel_oldest(struct pel *p, const struct pel_filter *f, size_t max, struct pel_entry *out)
{
    size_t n = 0;

    if ((f->kinds & PEL_NACKED) != 0) {
        struct pick k = { p, PICK_NACKED, f, 0, max, out, f->nacked_until };
        n += pick_run(&k);
    }
    if ((f->kinds & PEL_HELD) != 0) {
        struct pick k = { p, PICK_HELD, f, 0, max - n, out + n, f->held_until };
        n += pick_run(&k);
    }
    return n;
}

size_t pel_ready(struct pel *p, size_t max, struct pel_entry *out)
{
    struct pick k = { p, PICK_READY, NULL, 0, max, out, UINT64_MAX };
    return pick_run(&k);
}

/* The page that has the least held_ms, as far as is known. */
static void path_find_oldest(const struct pel *p, struct path *path)
{
    pelpath_begin(p, path);
    for (size_t d = 0; d < p->height; d++) {
        const struct node *n = path->node[d];
        size_t best = 0;
        for (size_t i = 1; i < n->n; i++)
            if (n->sum[i].held_ms < n->sum[best].held_ms)
                best = i;
        pelpath_descend(p, path, d, best);
    }
}

uint64_t pel_oldest_ms(const struct pel *p)
{
    struct path path;

    for (int i = 0; i < OLDEST_TRIES && sum_n_of(&p->sum, PEL_HELD) > 0 && p->sum.rough; i++) {
        path_find_oldest(p, &path);
        if (!path_sum(pel_mutable(p), &path, p->height)->rough)
            break;
        pelpath_refresh(pel_mutable(p), &path);
    }
    return sum_n_of(&p->sum, PEL_HELD) == 0 ? UINT64_MAX : p->sum.held_ms;
}
