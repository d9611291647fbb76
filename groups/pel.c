/*
 * pel.c - the pending entries of a group: a B+tree by ID, whose nodes sum up what is below them.
 *
 *                    ┌ sum ┐ of everything
 *              node  │ low │ child │ sum │ ...           up to NODE_MAX children; `low` is at most the child's first ID
 *                      │
 *           node │ low │ child │ sum │ ...
 *                          │
 *                   page │ entries by ID │              pelpage.c: up to PEL_PAGE entries, 15 bytes each
 *
 * All pages are equally deep; a small list is one page, without a node. A sum counts the entries of each kind and has a
 * least time for each thing that is looked for: so who asks for the oldest, the due, those of one consumer or those idle for
 * an hour passes over whatever cannot have any.
 *
 * Counts are exact. The rest of a sum is a bound: adding keeps it exact, removing leaves it where it is and marks the sums
 * from the page upwards as rough. Who comes to a rough page for nothing makes its sum exact, and those above it: a removal
 * pays for that once.
 *
 * Time: each entry waits, or is ready, or dead, as its marks say. What becomes of it, and when, follows from the rule
 * (pel_fate); a sum has the least such moment of those that wait, and pel_step goes to the pages where it has come. A new
 * rule is brought to all pages by a cursor, `stale_from`. Being ready or dead is memory's affair and saved nowhere.
 *
 * Parts: peltree.c has the tree and pel_new, _free, _reserve, _check; pelpage.c the pages; pelseek.c finds by filter and ID,
 * pelpick.c by time; here is what changes entries. room.c is where memory comes from.
 *
 * Memory: everything comes from a room, so that pel_set cannot fail (pel_reserve counts what the worst n need). Making pages
 * smaller and joining them is done where memory for it is to be had, and left otherwise.
 *
 * The entries of below `gone_below` are gone whatever their marks say: cutting a stream costs nothing here.
 *
 *   E1  Entries ascend from page to page; no page and no node is empty, a root that is a node has two children.
 *   E2  A child's IDs are at or above its `low` and below the next one's.
 *   E3  A sum's counts are exact, its times are no later and its slots no fewer than what is below it; they are exact where
 *       the sum is not rough. The sum over a node is that of the sums in it.
 *   E4  tally has how many entries each slot holds.
 *   E5  No entry is dead and ready, and no parked one is either.
 */
#include "groups/pel.h"
#include <assert.h>
#include "groups/pelseek.h"
#include "groups/peltree.h"

/* ---- hashing while it changes ---- */

static void pel_sum_plus(uint64_t sum[2], const uint64_t x[2])
{
    sum[0] += x[0];
    sum[1] += x[1] + (sum[0] < x[0]);
}

static void pel_sum_minus(uint64_t sum[2], const uint64_t x[2])
{
    uint64_t borrow = sum[0] < x[0];

    sum[0] -= x[0];
    sum[1] -= x[1] + borrow;
}

/* The hash of an entry as the sum sees it: what was cut from the stream since it began is not gone for it. */
static void pel_sum_hash(const struct pel *p, const struct pelpage *pg, size_t i, uint64_t out[2])
{
    const struct pel_sum *s = p->summing;
    struct pel_entry x;

    pelpage_read(pg, i, &x);
    x.gone = x.gone || id_cmp(x.id, p->summing_gone_below) < 0;
    x.dead = false;
    s->hash(s->ctx, &x, out);
}

static bool pel_sum_awaits(const struct pel *p, const struct pelpage *pg, size_t i)
{
    return p->summing != NULL && !p->summing->over &&
           id_cmp(pelpage_id(pg, i), p->summing->next) >= 0;
}

/* The entry will not be as it is when the sum comes to it. */
static void pel_before_change(struct pel *p, const struct pelpage *pg, size_t i)
{
    uint64_t hash[2];

    if (!pel_sum_awaits(p, pg, i))
        return;
    pel_sum_hash(p, pg, i, hash);
    pel_sum_plus(p->summing->sum, hash);
}

/* The entry was not as it is when the sum began. */
static void pel_after_change(struct pel *p, const struct pelpage *pg, size_t i)
{
    uint64_t hash[2];

    if (!pel_sum_awaits(p, pg, i))
        return;
    pel_sum_hash(p, pg, i, hash);
    pel_sum_minus(p->summing->sum, hash);
}

void pel_sum_begin(struct pel *p, struct pel_sum *s)
{
    assert(p->summing == NULL);
    p->summing = s;
    p->summing_gone_below = p->gone_below;
    s->next = ID_MIN;
    s->over = p->root == NULL;
    s->sum[0] = s->sum[1] = 0;
}

/* Takes in the entries of the page from i on, n at most; returns how many. */
static size_t pel_sum_page(struct pel *p, const struct path *path, size_t i, size_t n)
{
    const struct pelpage *pg = path->page;
    size_t end = pg->n - i < n ? pg->n : i + n;
    uint64_t hash[2];

    for (size_t k = i; k < end; k++) {
        pel_sum_hash(p, pg, k, hash);
        pel_sum_plus(p->summing->sum, hash);
    }
    if (end < pg->n)
        p->summing->next = pelpage_id(pg, end);
    else if (path->bounded)
        p->summing->next = path->hi;
    else
        p->summing->over = true;
    return end - i;
}

bool pel_sum_step(struct pel *p, size_t budget)
{
    struct pel_sum *s = p->summing;
    struct path path;
    bool found;

    assert(s != NULL);
    if (p->root == NULL)
        s->over = true;
    while (!s->over && budget > 0) {
        size_t n;
        pelpath_find(p, &path, s->next);
        n = pel_sum_page(p, &path, pelpage_find(path.page, s->next, 0, &found), budget);
        budget -= n;
    }
    return !s->over;
}

void pel_sum_end(struct pel *p)
{
    p->summing = NULL;
}

void pel_sum_move(struct pel *from, struct pel *to)
{
    if (from->summing == NULL)
        return;
    assert(from->root == NULL && to->root == NULL);
    to->summing = from->summing;
    to->summing_gone_below = from->summing_gone_below;
    from->summing = NULL;
}

/* ---- one entry ---- */

static unsigned pel_marks_of(const struct pel_entry *x)
{
    bool nacked = x->nacked && x->slot != PEL_PARKED;
    return (nacked ? PELPAGE_NACKED : 0u) | (x->gone ? PELPAGE_GONE : 0u);
}

static void pel_replace(struct pel *p, const struct pel_entry *x)
{
    struct path *path = &p->path;
    unsigned gone = pelpage_marks(path->page, path->i) & PELPAGE_GONE;

    pelpath_fit_page(p, path, x);
    pel_before_change(p, path->page, path->i);
    pelpath_remove(p, path);
    pelpage_write(path->page, path->i, x, pel_marks_of(x) | gone);
    pelpath_add(p, path);
    pel_after_change(p, path->page, path->i);
}

void pel_set(struct pel *p, const struct pel_entry *x)
{
    struct path *path = &p->path;

    if (pel_find(p, x->id)) {
        pel_replace(p, x);
        return;
    }
    if (p->root == NULL || path->page->n == path->page->cap || !pelpage_fits(path->page, x))
        pel_make_place(p, x);
    pelpage_open(path->page, path->i);
    pelpage_write(path->page, path->i, x, pel_marks_of(x));
    if (path->i == 0)
        pelpath_lower(p, path, x->id);
    pelpath_add(p, path);
    pel_after_change(p, path->page, path->i);
}

bool pel_remove(struct pel *p, struct id id, struct pel_entry *out)
{
    struct path *path = &p->path;

    if (!pel_find(p, id))
        return false;
    if (out != NULL)
        pel_read(p, path->page, path->i, out);
    pel_before_change(p, path->page, path->i);
    pelpath_remove(p, path);
    pelpage_close(path->page, path->i, 1);
    pel_tidy(p, path, path->i == 0);
    return true;
}

bool pel_get(const struct pel *p, struct id id, struct pel_entry *out)
{
    if (!pel_find(pel_mutable(p), id))
        return false;
    pel_read(p, p->path.page, p->path.i, out);
    return true;
}

bool pel_mark_gone(struct pel *p, struct id id)
{
    struct path *path = &p->path;

    if (!pel_find(p, id))
        return false;
    pel_before_change(p, path->page, path->i);
    pelpage_set_marks(path->page, path->i, pelpage_marks(path->page, path->i) | PELPAGE_GONE);
    pel_after_change(p, path->page, path->i);
    return true;
}

void pel_mark_gone_below(struct pel *p, struct id first)
{
    if (id_cmp(first, p->gone_below) > 0)
        p->gone_below = first;
}

/* Marks the entries of the page that are below gone_below. */
static void pel_mark_page(struct pel *p, struct pelpage *pg)
{
    for (size_t i = 0; i < pg->n && id_cmp(pelpage_id(pg, i), p->gone_below) < 0; i++) {
        pel_before_change(p, pg, i);
        pelpage_set_marks(pg, i, pelpage_marks(pg, i) | PELPAGE_GONE);
        pel_after_change(p, pg, i);
    }
}

void pel_begin_anew(struct pel *p)
{
    struct path path = { .hi = ID_MIN, .bounded = p->root != NULL };

    while (path.bounded && id_cmp(path.hi, p->gone_below) < 0) {
        pelpath_find(p, &path, path.hi);
        pel_mark_page(p, path.page);
    }
    p->gone_below = ID_MIN;
}

/* ---- many at once ---- */

/* What happens to the entries that a sweep comes to. */
struct sweep {
    struct query q; /* which pages it goes to */
    bool (*takes)(const struct sweep *w, const struct pelpage *pg, size_t i); /* it is removed */
    void (*changes)(struct pel *p, struct sweep *w, struct path *path);       /* or NULL */
    uint64_t time_ms;
    struct id from, to; /* it goes from this ID on, and below that one if it is bounded */
    bool bounded;
    uint64_t n; /* entries so far */
};

/* The entry leaves the page, whose sums will be made anew. */
static void sweep_forget(struct pel *p, const struct pelpage *pg, size_t i)
{
    pel_before_change(p, pg, i);
    if (pel_kind(pg, i) == PEL_HELD)
        peltally_remove(&p->tally, pelpage_slot(pg, i));
}

/* Removes from the page what the sweep takes, without its sums; returns how many. */
static size_t sweep_take(struct pel *p, const struct sweep *w, struct pelpage *pg)
{
    uint8_t kept[PEL_PAGE];
    size_t n = 0, taken;

    for (size_t i = 0; i < pg->n; i++) {
        if (w->takes(w, pg, i))
            sweep_forget(p, pg, i);
        else
            kept[n++] = (uint8_t)i;
    }
    taken = pg->n - n;
    if (taken > 0)
        pelpage_keep(pg, kept, n);
    return taken;
}

static void sweep_page(struct pel *p, struct sweep *w, struct path *path)
{
    size_t taken = w->takes == NULL ? 0 : sweep_take(p, w, path->page);

    if (w->changes != NULL)
        w->changes(p, w, path);
    w->n += taken;
    pelpath_refresh(p, path);
    if (taken > 0)
        pel_tidy(p, path, false);
}

/* Goes to all pages that may have an answer. */
static uint64_t pel_sweep(struct pel *p, struct sweep *w)
{
    struct path path;
    bool more = !w->bounded || id_cmp(w->from, w->to) < 0;

    p->at_path = false;
    for (struct id from = w->from; more && pelpath_seek(p, &path, from, &w->q);) {
        from = path.hi;
        more = path.bounded && (!w->bounded || id_cmp(from, w->to) < 0);
        sweep_page(p, w, &path);
    }
    return w->n;
}

static bool sweep_takes_held(const struct sweep *w, const struct pelpage *pg, size_t i)
{
    return pelpage_slot(pg, i) == w->q.f.slot && pel_kind(pg, i) == PEL_HELD;
}

static bool sweep_takes_parked(const struct sweep *w, const struct pelpage *pg, size_t i)
{
    (void)w;
    return pelpage_slot(pg, i) == PEL_PARKED;
}

/* Within the bounds, and in the stream. */
static bool sweep_takes_there(const struct sweep *w, const struct pelpage *pg, size_t i)
{
    struct id id = pelpage_id(pg, i);

    return (pelpage_marks(pg, i) & PELPAGE_GONE) == 0 && id_cmp(id, w->from) >= 0 &&
           id_cmp(id, w->to) < 0;
}

/* Entry i is nobody's, nacked from time_ms on. It stays dead if it is; whether it is ready is for pel_step to say. */
static void sweep_free_entry(struct pel *p, struct pelpage *pg, size_t i, uint64_t time_ms)
{
    struct pel_entry x;
    unsigned marks = (pelpage_marks(pg, i) & ~(unsigned)PELPAGE_READY) | PELPAGE_NACKED;

    pel_before_change(p, pg, i);
    pelpage_read(pg, i, &x);
    x.slot = PEL_NOBODY;
    x.time_ms = time_ms;
    pelpage_write(pg, i, &x, marks);
    pel_after_change(p, pg, i);
}

/* What was last the slot's is nobody's. */
static void sweep_forgets(struct pel *p, struct sweep *w, struct path *path)
{
    struct pelpage *pg = path->page;

    for (size_t i = 0; i < pg->n; i++) {
        unsigned ready = pelpage_marks(pg, i) & PELPAGE_READY;
        if (pelpage_slot(pg, i) != w->q.f.slot || pel_kind(pg, i) != PEL_NACKED)
            continue;
        sweep_free_entry(p, pg, i, pelpage_time(pg, i));
        pelpage_set_marks(pg, i, pelpage_marks(pg, i) | ready);
    }
}

static void sweep_hands_back(struct pel *p, struct sweep *w, struct path *path)
{
    struct pelpage *pg = path->page;

    sweep_forgets(p, w, path);
    for (size_t i = 0; i < pg->n; i++) {
        if (!sweep_takes_held(w, pg, i))
            continue;
        peltally_remove(&p->tally, w->q.f.slot);
        sweep_free_entry(p, pg, i, w->time_ms);
        w->n++;
    }
}

uint64_t pel_drop_slot(struct pel *p, uint16_t slot)
{
    struct sweep w = { .q = { .by = QUERY_SLOT, .f.slot = slot },
                       .takes = sweep_takes_held,
                       .changes = sweep_forgets };
    return pel_sweep(p, &w);
}

uint64_t pel_hand_back(struct pel *p, uint16_t slot, uint64_t time_ms)
{
    struct sweep w = { .q = { .by = QUERY_SLOT, .f.slot = slot },
                       .changes = sweep_hands_back,
                       .time_ms = pel_min(time_ms, PELPAGE_TIME_MAX) };
    return pel_sweep(p, &w);
}

uint64_t pel_drop_parked(struct pel *p)
{
    struct sweep w = { .q = { .by = QUERY_FILTER, .f.kinds = PEL_SKIPPED },
                       .takes = sweep_takes_parked };
    return pel_sweep(p, &w);
}

/* What is below gone_below is gone, so no call passes over the same entries again and again. */
uint64_t pel_drop_below(struct pel *p, struct id first)
{
    const struct pel_filter all = { .kinds = PEL_HELD | PEL_NACKED | PEL_SKIPPED,
                                    .held_until = UINT64_MAX,
                                    .nacked_until = UINT64_MAX };
    struct sweep w = { .q = { QUERY_FILTER, all, 0 },
                       .takes = sweep_takes_there,
                       .from = p->gone_below,
                       .to = first,
                       .bounded = true };
    return pel_sweep(p, &w);
}

/* ---- numbers ---- */

uint64_t pel_n(const struct pel *p)
{
    return (uint64_t)sum_n_of(&p->sum, PEL_HELD) + sum_n_of(&p->sum, PEL_NACKED);
}

uint64_t pel_n_nacked(const struct pel *p)
{
    return sum_n_of(&p->sum, PEL_NACKED);
}

uint64_t pel_n_parked(const struct pel *p)
{
    return sum_n_of(&p->sum, PEL_SKIPPED);
}

uint64_t pel_n_ready(const struct pel *p)
{
    return p->sum.n_ready;
}

uint64_t pel_n_dead(const struct pel *p)
{
    return p->sum.n_dead;
}

size_t pel_bytes(const struct pel *p)
{
    return sizeof *p + p->room.bytes;
}

uint64_t pel_n_of(const struct pel *p, uint16_t slot)
{
    return peltally_n(&p->tally, slot);
}

/* ---- time ---- */

void pel_set_rule(struct pel *p, const struct pel_rule *rule)
{
    p->rule = *rule;
    p->stale = p->root != NULL;
    p->stale_from = ID_MIN;
}

/* What marks an entry should have now. */
static unsigned pel_marks_now(const struct pel *p, const struct pelpage *pg, size_t i)
{
    struct fate f = pel_fate(p, pg, i);

    if (f.kind == FATE_NONE || f.when_ms > p->now_ms)
        return 0;
    return f.kind == FATE_READY ? PELPAGE_READY : PELPAGE_DEAD;
}

/* Brings a page up to the moment and the rule. */
static void pel_step_page(struct pel *p, const struct path *path,
                          void (*each)(void *ctx, const struct pel_entry *x), void *ctx)
{
    const unsigned mask = PELPAGE_READY | PELPAGE_DEAD;
    struct pelpage *pg = path->page;
    struct pel_entry x;

    for (size_t i = 0; i < pg->n; i++) {
        unsigned was = pelpage_marks(pg, i), now = (was & ~mask) | pel_marks_now(p, pg, i);
        if (was == now)
            continue;
        pelpage_set_marks(pg, i, now);
        if (((was ^ now) & PELPAGE_DEAD) == 0 || each == NULL)
            continue;
        pel_read(p, pg, i, &x);
        each(ctx, &x);
    }
    pelpath_refresh(p, path);
}

bool pel_step(struct pel *p, uint64_t now_ms, size_t budget,
              void (*each)(void *ctx, const struct pel_entry *x), void *ctx)
{
    struct query q = { .by = QUERY_DUE, .until = now_ms };
    struct path path;

    p->now_ms = now_ms;
    for (; budget > 0 && pelpath_seek(p, &path, ID_MIN, &q); budget--)
        pel_step_page(p, &path, each, ctx);
    p->stale = p->stale && p->root != NULL;
    for (; budget > 0 && p->stale; budget--) {
        pelpath_find(p, &path, p->stale_from);
        pel_step_page(p, &path, each, ctx);
        p->stale = path.bounded;
        p->stale_from = path.hi;
    }
    return p->stale || p->sum.event_ms <= now_ms;
}

uint64_t pel_next_ms(const struct pel *p)
{
    return p->stale ? 0 : p->sum.event_ms;
}
