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
#include <stdlib.h>
#include <string.h>
#include "groups/pelpage.h"
#include "groups/room.h"

enum {
    NODE_MAX = 64, /* children; a uint64_t has a bit for each */
    NODE_SMALL = NODE_MAX / 4,
    NODE_JOINED = NODE_MAX * 3 / 4, /* children of two nodes that are made one */
    PAGE_SMALL = PEL_PAGE / 4,
    PAGE_JOINED = PEL_PAGE * 3 / 4,
    PAGE_MIN = 8, /* places, and the step of their number */
    LEVELS = 8,   /* of nodes at most: far more than memory has room for */
    TALLY_MIN = 4,
    OLDEST_TRIES = 16, /* pages that pel_oldest_ms makes exact at most */
};

struct sum {
    uint32_t n[3];            /* by kind: see sum_n_of */
    uint32_t n_ready, n_dead; /* of these */
    bool rough;
    uint64_t slots;     /* a bit for each slot % 64 of those that are held or nacked */
    uint64_t held_ms;   /* the least time_ms of what is held */
    uint64_t nacked_ms; /* of what is nacked */
    uint64_t due_ms;    /* the least moment since when one is ready */
    uint64_t event_ms;  /* the least moment at which something becomes of one that waits */
};
static const struct sum SUM_EMPTY = {
    .held_ms = UINT64_MAX, .nacked_ms = UINT64_MAX, .due_ms = UINT64_MAX, .event_ms = UINT64_MAX
};

struct node {
    size_t n;
    void *child[NODE_MAX]; /* nodes, or pages in the lowest level */
    struct id low[NODE_MAX];
    struct sum sum[NODE_MAX];
};

/* From the root to a page. */
struct path {
    struct node *node[LEVELS];
    size_t at[LEVELS];
    struct pelpage *page;
    struct id lo, hi; /* its entries are >= lo and, if `bounded`, < hi */
    bool bounded;
    size_t i; /* where the last entry that was looked for is, or would be */
};

/* How many entries are held by each slot: a hash table with linear probing. Slots that hold nothing any more stay in it
 * until it is made anew. */
struct cell {
    uint32_t n;
    uint32_t slot_and_1; /* 0: free */
};
struct tally {
    struct cell *cells;
    size_t cap, used; /* a power of two, or 0; of it, not free */
};

struct pel {
    void *root; /* a node, or a page if height is 0; NULL: nothing */
    size_t height, n_pages, n_nodes;
    struct sum sum;
    bool ordered, at_path; /* at_path: `path` is right */
    struct path path;
    struct tally tally;
    struct room room;
    struct id gone_below;
    struct pel_rule rule;
    bool stale; /* pages from stale_from on do not know the rule yet */
    struct id stale_from;
    uint64_t now_ms; /* of the last pel_step */
    struct pel_sum *summing;
    struct id summing_gone_below; /* as it was when that began */
};

static uint64_t pel_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t pel_plus(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* ---- what becomes of an entry ---- */

enum fate_kind {
    FATE_NONE, /* nothing; at when_ms, which may be never, its delay ends */
    FATE_READY,
    FATE_DEAD
};
struct fate {
    enum fate_kind kind;
    uint64_t when_ms;
};

static bool pel_is_last(const struct pel_rule *rule, uint64_t count)
{
    return rule->buries &&
           (count == PEL_COUNT_FATAL || (rule->max_deliver != 0 && count >= rule->max_deliver));
}

static uint64_t pel_backoff(const struct pel_rule *rule, uint64_t count)
{
    uint64_t i = count == 0 ? 0 : count - 1;

    if (rule->n_backoff == 0)
        return 0;
    return rule->backoff_ms[i < rule->n_backoff ? i : rule->n_backoff - 1];
}

static struct fate pel_fate_nacked(const struct pel_rule *rule, uint64_t time_ms, uint64_t count)
{
    if (pel_is_last(rule, count))
        return (struct fate){ FATE_DEAD, 0 };
    return (struct fate){ rule->redelivers ? FATE_READY : FATE_NONE, time_ms };
}

static struct fate pel_fate_held(const struct pel_rule *rule, uint64_t time_ms, uint64_t count)
{
    uint64_t failed_ms = pel_plus(time_ms, rule->ack_wait_ms);

    if (rule->ack_wait_ms == 0)
        return (struct fate){ FATE_NONE, UINT64_MAX };
    if (pel_is_last(rule, count))
        return (struct fate){ FATE_DEAD, failed_ms };
    if (!rule->redelivers)
        return (struct fate){ FATE_NONE, UINT64_MAX };
    return (struct fate){ FATE_READY, pel_plus(failed_ms, pel_backoff(rule, count)) };
}

static struct fate pel_fate(const struct pel *p, const struct pelpage *pg, size_t i)
{
    if (pelpage_slot(pg, i) == PEL_PARKED)
        return (struct fate){ FATE_NONE, UINT64_MAX };
    if ((pelpage_marks(pg, i) & PELPAGE_NACKED) != 0)
        return pel_fate_nacked(&p->rule, pelpage_time(pg, i), pelpage_count(pg, i));
    if (p->rule.ack_wait_ms == 0)
        return (struct fate){ FATE_NONE, UINT64_MAX };
    return pel_fate_held(&p->rule, pelpage_time(pg, i), pelpage_count(pg, i));
}

/* When pel_step has to look at an entry that waits. A delay that is over needs no look. */
static uint64_t pel_event_ms(const struct pel *p, struct fate f)
{
    return f.kind == FATE_NONE && f.when_ms <= p->now_ms ? UINT64_MAX : f.when_ms;
}

/* Since when an entry that is marked as ready is so. By a rule that has changed since it may be no more; 0 then. */
static uint64_t pel_due_ms(const struct pel *p, const struct pelpage *pg, size_t i)
{
    struct fate f = pel_fate(p, pg, i);
    return f.kind == FATE_READY ? f.when_ms : 0;
}

/* ---- sums ---- */

/* What an entry adds to a sum. */
struct trait {
    enum pel_kind kind;
    unsigned marks;
    uint64_t slot_bit, time_ms, due_ms, event_ms;
};

static uint64_t pel_slot_bit(uint16_t slot)
{
    return (uint64_t)1 << slot % 64;
}

static enum pel_kind pel_kind(const struct pelpage *pg, size_t i)
{
    if (pelpage_slot(pg, i) == PEL_PARKED)
        return PEL_SKIPPED;
    return (pelpage_marks(pg, i) & PELPAGE_NACKED) != 0 ? PEL_NACKED : PEL_HELD;
}

static void pel_trait(const struct pel *p, const struct pelpage *pg, size_t i, struct trait *t)
{
    t->kind = pel_kind(pg, i);
    t->marks = pelpage_marks(pg, i);
    t->slot_bit = t->kind == PEL_SKIPPED ? 0 : pel_slot_bit(pelpage_slot(pg, i));
    t->time_ms = pelpage_time(pg, i);
    t->due_ms = t->event_ms = UINT64_MAX;
    if ((t->marks & PELPAGE_READY) != 0)
        t->due_ms = pel_due_ms(p, pg, i);
    else if ((t->marks & PELPAGE_DEAD) == 0)
        t->event_ms = pel_event_ms(p, pel_fate(p, pg, i));
}

/* Of a kind, whose values are 1, 2, 4. */
static uint32_t sum_n_of(const struct sum *s, enum pel_kind kind)
{
    return s->n[kind >> 1];
}

static uint32_t sum_n(const struct sum *s)
{
    return s->n[0] + s->n[1] + s->n[2];
}

static void sum_add(struct sum *s, const struct trait *t)
{
    s->n[t->kind >> 1]++;
    s->n_ready += (t->marks & PELPAGE_READY) != 0;
    s->n_dead += (t->marks & PELPAGE_DEAD) != 0;
    s->slots |= t->slot_bit;
    if (t->kind == PEL_HELD)
        s->held_ms = pel_min(s->held_ms, t->time_ms);
    else if (t->kind == PEL_NACKED)
        s->nacked_ms = pel_min(s->nacked_ms, t->time_ms);
    s->due_ms = pel_min(s->due_ms, t->due_ms);
    s->event_ms = pel_min(s->event_ms, t->event_ms);
}

static void sum_remove(struct sum *s, enum pel_kind kind, unsigned marks)
{
    s->n[kind >> 1]--;
    s->n_ready -= (marks & PELPAGE_READY) != 0;
    s->n_dead -= (marks & PELPAGE_DEAD) != 0;
    s->rough = true;
}

static void sum_add_sum(struct sum *s, const struct sum *x)
{
    for (size_t i = 0; i < 3; i++)
        s->n[i] += x->n[i];
    s->n_ready += x->n_ready;
    s->n_dead += x->n_dead;
    s->rough = s->rough || x->rough;
    s->slots |= x->slots;
    s->held_ms = pel_min(s->held_ms, x->held_ms);
    s->nacked_ms = pel_min(s->nacked_ms, x->nacked_ms);
    s->due_ms = pel_min(s->due_ms, x->due_ms);
    s->event_ms = pel_min(s->event_ms, x->event_ms);
}

static struct sum pel_page_sum(const struct pel *p, const struct pelpage *pg)
{
    struct sum s = SUM_EMPTY;
    struct trait t;

    for (size_t i = 0; i < pg->n; i++) {
        pel_trait(p, pg, i, &t);
        sum_add(&s, &t);
    }
    return s;
}

static struct sum node_sum(const struct node *n)
{
    struct sum s = SUM_EMPTY;

    for (size_t i = 0; i < n->n; i++)
        sum_add_sum(&s, &n->sum[i]);
    return s;
}

/* ---- the tally ---- */

static struct cell *tally_find(struct cell *cells, size_t cap, uint16_t slot)
{
    size_t i = slot * (size_t)0x9E3779B1u >> 8 & (cap - 1);

    while (cells[i].slot_and_1 != 0 && cells[i].slot_and_1 != slot + 1u)
        i = (i + 1) & (cap - 1);
    return &cells[i];
}

static size_t tally_cap(size_t used)
{
    size_t cap = TALLY_MIN;

    while (cap < 2 * used)
        cap *= 2;
    return cap;
}

/* Into a larger table, or one without what holds nothing. */
static void tally_rehash(struct tally *t, struct room *room)
{
    size_t used = 1, cap;
    struct cell *cells;

    for (size_t i = 0; i < t->cap; i++)
        used += t->cells[i].n != 0;
    cap = tally_cap(used);
    cells = room_get(room, cap * sizeof *cells);
    memset(cells, 0, cap * sizeof *cells);
    for (size_t i = 0; i < t->cap; i++)
        if (t->cells[i].n != 0)
            *tally_find(cells, cap, (uint16_t)(t->cells[i].slot_and_1 - 1)) = t->cells[i];
    room_put(room, t->cells);
    *t = (struct tally){ cells, cap, used - 1 };
}

static void tally_add(struct tally *t, struct room *room, uint16_t slot)
{
    struct cell *cell = t->cap == 0 ? NULL : tally_find(t->cells, t->cap, slot);

    if (cell == NULL || (cell->slot_and_1 == 0 && 4 * (t->used + 1) > 3 * t->cap)) {
        tally_rehash(t, room);
        cell = tally_find(t->cells, t->cap, slot);
    }
    t->used += cell->slot_and_1 == 0;
    cell->slot_and_1 = slot + 1u;
    cell->n++;
}

static void tally_remove(struct tally *t, uint16_t slot)
{
    struct cell *cell = tally_find(t->cells, t->cap, slot);

    assert(cell->n > 0); /* E4 */
    cell->n--;
}

uint64_t pel_n_of(const struct pel *p, uint16_t slot)
{
    return p->tally.cap == 0 ? 0 : tally_find(p->tally.cells, p->tally.cap, slot)->n;
}

/* ---- making and freeing ---- */

int pel_new(bool ordered, struct pel **out, struct err *e)
{
    struct pel *p = calloc(1, sizeof *p);

    if (p == NULL)
        return err_set(e, ERR_NOMEM, "pending entries");
    p->ordered = ordered;
    p->sum = SUM_EMPTY;
    *out = p;
    return OK;
}

/* Frees the last page, and the nodes that have nothing else; returns how many entries it had. */
static size_t pel_free_page(struct pel *p)
{
    struct node *above[LEVELS];
    void *at = p->root;
    size_t n, depth = 0;

    for (; depth < p->height; depth++) {
        above[depth] = at;
        at = above[depth]->child[above[depth]->n - 1];
    }
    n = ((struct pelpage *)at)->n;
    room_put(&p->room, at);
    while (depth > 0 && --above[depth - 1]->n == 0)
        room_put(&p->room, above[--depth]);
    if (depth == 0)
        p->root = NULL;
    return n;
}

bool pel_free_some(struct pel *p, size_t budget)
{
    if (p == NULL)
        return true;
    p->at_path = false;
    while (p->root != NULL) {
        size_t n = pel_free_page(p);
        if (p->root != NULL && n >= budget)
            return false;
        budget -= n < budget ? n : budget;
    }
    room_put(&p->room, p->tally.cells);
    room_fini(&p->room);
    free(p);
    return true;
}

void pel_free(struct pel *p)
{
    bool done = pel_free_some(p, SIZE_MAX);
    assert(done);
}

/* ---- finding ---- */

/* The child that has `id`, or would have it. */
static size_t node_find(const struct node *n, struct id id)
{
    size_t from = 1, left = n->n - 1;

    while (left > 0) {
        size_t half = left / 2;
        if (id_cmp(n->low[from + half], id) <= 0) {
            from += half + 1;
            left -= half + 1;
        } else {
            left = half;
        }
    }
    return from - 1;
}

/* The sum over the child that a path takes at a depth; at 0, over everything. */
static struct sum *path_sum(struct pel *p, const struct path *path, size_t depth)
{
    return depth == 0 ? &p->sum : &path->node[depth - 1]->sum[path->at[depth - 1]];
}

/* The path goes to that child of the node at `depth`. */
static void path_descend(const struct pel *p, struct path *path, size_t depth, size_t at)
{
    void *child = path->node[depth]->child[at];

    path->at[depth] = at;
    if (depth + 1 < p->height)
        path->node[depth + 1] = child;
    else
        path->page = child;
}

static void path_begin(const struct pel *p, struct path *path)
{
    if (p->height > 0)
        path->node[0] = p->root;
    else
        path->page = p->root;
}

/* What IDs the page at the end of the path has. */
static void path_bound(const struct pel *p, struct path *path)
{
    path->lo = ID_MIN;
    path->bounded = false;
    for (size_t d = 0; d < p->height; d++) {
        const struct node *n = path->node[d];
        size_t at = path->at[d];
        if (at > 0)
            path->lo = n->low[at];
        if (at + 1 < n->n) {
            path->hi = n->low[at + 1];
            path->bounded = true;
        }
    }
}

static void path_find(const struct pel *p, struct path *path, struct id id)
{
    path_begin(p, path);
    for (size_t d = 0; d < p->height; d++)
        path_descend(p, path, d, node_find(path->node[d], id));
    path_bound(p, path);
}

/* Where in its page the entry may be, if IDs grow evenly there. */
static size_t path_guess(const struct path *path, struct id id)
{
    uint64_t all = path->hi.ms - path->lo.ms, part = id.ms - path->lo.ms;

    if (!path->bounded || all == 0 || all > UINT32_MAX)
        return path->page->n / 2u;
    return (size_t)(part * path->page->n / all);
}

/* The entry's place in the page at the end of the path, into path->i; whether it is there. */
static bool path_place(struct path *path, struct id id)
{
    bool found;

    path->i = pelpage_find(path->page, id, path_guess(path, id), &found);
    return found;
}

/* The same in the page where the last one was found: mostly in the same place, behind it, or behind all. */
static bool path_place_again(struct path *path, struct id id)
{
    const struct pelpage *pg = path->page;
    bool found;

    if (path->i < pg->n && id_cmp(pelpage_id(pg, path->i), id) == 0)
        return true;
    if (pg->n > 0 && id_cmp(pelpage_id(pg, pg->n - 1u), id) < 0) {
        path->i = pg->n;
        return false;
    }
    path->i = pelpage_find(pg, id, path->i, &found);
    return found;
}

/* p->path leads to where `id` is, or would be. False if it is not there. */
static bool pel_find(struct pel *p, struct id id)
{
    struct path *path = &p->path;

    if (p->root == NULL)
        return false;
    if (!p->at_path || id_cmp(id, path->lo) < 0 || (path->bounded && id_cmp(id, path->hi) >= 0)) {
        path_find(p, path, id);
        p->at_path = true;
        return path_place(path, id);
    }
    return path_place_again(path, id);
}

/* ---- sums along a path ---- */

static void path_refresh_nodes(struct pel *p, const struct path *path, size_t depth)
{
    for (size_t d = depth; d > 0; d--)
        *path_sum(p, path, d - 1) = node_sum(path->node[d - 1]);
}

/* The sum of its page is made anew, and those above it. */
static void path_refresh(struct pel *p, const struct path *path)
{
    *path_sum(p, path, p->height) = pel_page_sum(p, path->page);
    path_refresh_nodes(p, path, p->height);
}

static void path_refresh_if_rough(struct pel *p, const struct path *path)
{
    if (path_sum(p, path, p->height)->rough)
        path_refresh(p, path);
}

static void path_add(struct pel *p, const struct path *path)
{
    struct trait t;

    pel_trait(p, path->page, path->i, &t);
    if (t.kind == PEL_HELD)
        tally_add(&p->tally, &p->room, pelpage_slot(path->page, path->i));
    for (size_t d = 0; d <= p->height; d++)
        sum_add(path_sum(p, path, d), &t);
}

static void path_remove(struct pel *p, const struct path *path)
{
    enum pel_kind kind = pel_kind(path->page, path->i);
    unsigned marks = pelpage_marks(path->page, path->i);

    if (kind == PEL_HELD)
        tally_remove(&p->tally, pelpage_slot(path->page, path->i));
    for (size_t d = 0; d <= p->height; d++)
        sum_remove(path_sum(p, path, d), kind, marks);
}

/* ---- nodes ---- */

static void node_open(struct node *n, size_t at)
{
    size_t behind = n->n - at;

    memmove(n->child + at + 1, n->child + at, behind * sizeof n->child[0]);
    memmove(n->low + at + 1, n->low + at, behind * sizeof n->low[0]);
    memmove(n->sum + at + 1, n->sum + at, behind * sizeof n->sum[0]);
    n->n++;
}

static void node_close(struct node *n, size_t at)
{
    size_t behind = n->n - at - 1;

    memmove(n->child + at, n->child + at + 1, behind * sizeof n->child[0]);
    memmove(n->low + at, n->low + at + 1, behind * sizeof n->low[0]);
    memmove(n->sum + at, n->sum + at + 1, behind * sizeof n->sum[0]);
    n->n--;
}

/* Appends n children of `from`, from `at` on. */
static void node_append(struct node *to, const struct node *from, size_t at, size_t n)
{
    memcpy(to->child + to->n, from->child + at, n * sizeof to->child[0]);
    memcpy(to->low + to->n, from->low + at, n * sizeof to->low[0]);
    memcpy(to->sum + to->n, from->sum + at, n * sizeof to->sum[0]);
    to->n += n;
}

static void node_set(struct node *n, size_t at, void *child, struct id low, const struct sum *sum)
{
    n->child[at] = child;
    n->low[at] = low;
    n->sum[at] = *sum;
}

static struct node *pel_new_node(struct pel *p)
{
    struct node *n = room_get(&p->room, sizeof *n);

    n->n = 0;
    p->n_nodes++;
    return n;
}

static void pel_free_node(struct pel *p, struct node *n)
{
    room_put(&p->room, n);
    p->n_nodes--;
}

/* The root gets a node above it. */
static void pel_grow(struct pel *p, void *right, struct id low, const struct sum *sum)
{
    struct node *n = pel_new_node(p);
    struct id first = p->height == 0 ? pelpage_id(p->root, 0) : ((struct node *)p->root)->low[0];

    assert(p->height < LEVELS);
    n->n = 2;
    node_set(n, 0, p->root, first, &p->sum);
    node_set(n, 1, right, low, sum);
    p->root = n;
    p->height++;
    p->sum = node_sum(n);
}

/* The children from `at` on, of a full node, go to one behind it. */
static struct node *pel_split_node(struct pel *p, struct node *n, size_t at)
{
    struct node *right = pel_new_node(p);

    node_append(right, n, at, n->n - at);
    n->n = at;
    return right;
}

/* A child comes behind the one that the path takes at depth - 1; the sums above it are made anew. The path is wrong then. */
static void pel_add_child(struct pel *p, struct path *path, size_t depth, void *child,
                          struct id low, const struct sum *sum)
{
    struct node *n, *right;
    struct sum right_sum;
    size_t at;

    p->at_path = false;
    if (depth == 0) {
        pel_grow(p, child, low, sum);
        return;
    }
    n = path->node[depth - 1];
    at = path->at[depth - 1] + 1;
    if (n->n < NODE_MAX) {
        node_open(n, at);
        node_set(n, at, child, low, sum);
        path_refresh_nodes(p, path, depth);
        return;
    }
    /* At the end of everything a new node begins: lists grow there, and leave full nodes. */
    right = pel_split_node(p, n, path->bounded ? NODE_MAX / 2 : NODE_MAX);
    if (at > n->n || right->n == 0) {
        at -= n->n;
        node_open(right, at);
        node_set(right, at, child, low, sum);
    } else {
        node_open(n, at);
        node_set(n, at, child, low, sum);
    }
    *path_sum(p, path, depth - 1) = node_sum(n);
    right_sum = node_sum(right);
    pel_add_child(p, path, depth - 1, right, right->low[0], &right_sum);
}

/* A root with one child is not needed. */
static void pel_shrink(struct pel *p)
{
    while (p->height > 0 && ((struct node *)p->root)->n == 1) {
        struct node *n = p->root;
        p->root = n->child[0];
        p->sum = n->sum[0];
        p->height--;
        pel_free_node(p, n);
    }
}

/* The node at `depth` is joined with a neighbour if both are small. */
static void pel_join_nodes(struct pel *p, struct path *path, size_t depth)
{
    struct node *above = path->node[depth - 1], *left, *right;
    size_t at = path->at[depth - 1];

    if (path->node[depth]->n >= NODE_SMALL || above->n < 2)
        return;
    at = at + 1 < above->n ? at : at - 1;
    left = above->child[at];
    right = above->child[at + 1];
    if (left->n + right->n > NODE_JOINED)
        return;
    node_append(left, right, 0, right->n);
    above->sum[at] = node_sum(left);
    node_close(above, at + 1);
    pel_free_node(p, right);
}

/* The child that the path takes at depth - 1 is no more; what is above it goes if it has nothing else, sums are made anew.
 * The path is wrong then. */
static void pel_remove_child(struct pel *p, struct path *path, size_t depth)
{
    p->at_path = false;
    while (depth > 0) {
        struct node *n = path->node[depth - 1];
        node_close(n, path->at[depth - 1]);
        if (n->n > 0)
            break;
        pel_free_node(p, n);
        depth--;
    }
    if (depth == 0) {
        p->root = NULL;
        p->height = 0;
        p->sum = SUM_EMPTY;
        return;
    }
    path_refresh_nodes(p, path, depth);
    for (size_t d = depth; d-- > 1;)
        pel_join_nodes(p, path, d);
    pel_shrink(p);
}

/* ---- pages ---- */

static size_t pel_places(size_t n)
{
    size_t cap = (n + PAGE_MIN - 1) / PAGE_MIN * PAGE_MIN;
    return cap < PEL_PAGE ? cap : PEL_PAGE;
}

/* An empty page of that shape. NULL if memory ran out, unless it is `needed`. */
static struct pelpage *pel_get_page(struct pel *p, unsigned shape, size_t cap, bool needed)
{
    size_t bytes = pelpage_bytes(shape, cap);
    struct pelpage *pg = needed ? room_get(&p->room, bytes) : room_try(&p->room, bytes);

    p->n_pages += pg != NULL;
    return pg;
}

/* For the span. */
static struct pelpage *pel_new_page(struct pel *p, const struct pelpage_span *s, size_t n,
                                    bool needed)
{
    unsigned shape =
        (pelpage_span_is_wide(s) ? PELPAGE_WIDE : 0u) | (p->ordered ? PELPAGE_KEYED : 0u);
    struct pelpage *pg = pel_get_page(p, shape, pel_places(n), needed);

    if (pg != NULL)
        pelpage_init(pg, shape, pel_places(n), s);
    return pg;
}

/* For entries of a narrow page. */
static struct pelpage *pel_new_page_like(struct pel *p, const struct pelpage *like, size_t n,
                                         bool needed)
{
    struct pelpage *pg = pel_get_page(p, like->shape, pel_places(n), needed);

    if (pg != NULL)
        pelpage_init_like(pg, like, pel_places(n));
    return pg;
}

static void pel_drop_page(struct pel *p, struct pelpage *pg)
{
    room_put(&p->room, pg);
    p->n_pages--;
}

/* The page at the end of the path is another one from now on, with the same entries. */
static void path_replace_page(struct pel *p, struct path *path, struct pelpage *pg)
{
    pel_drop_page(p, path->page);
    path->page = pg;
    if (p->height == 0)
        p->root = pg;
    else
        path->node[p->height - 1]->child[path->at[p->height - 1]] = pg;
}

/* The page gets n places, or fewer if it cannot have more, in the shape that it needs with x (NULL: without). */
static void path_remake_page(struct pel *p, struct path *path, const struct pel_entry *x, size_t n,
                             bool needed)
{
    struct pelpage_span s = { .any = false };
    struct pelpage *pg;

    if (!pelpage_is_wide(path->page) && (x == NULL || pelpage_fits(path->page, x))) {
        pg = pel_new_page_like(p, path->page, n, needed);
    } else {
        pelpage_span_add_page(&s, path->page);
        if (x != NULL)
            pelpage_span_add(&s, x);
        pg = pel_new_page(p, &s, n, needed);
    }
    if (pg == NULL)
        return;
    pelpage_append(pg, path->page, 0, path->page->n);
    path_replace_page(p, path, pg);
}

/* How many places a page gets that has n entries and gets more. */
static size_t pel_growth(size_t n)
{
    return n + (n / 2 < PAGE_MIN ? PAGE_MIN : n / 2);
}

/* x can be written into the page. */
static void path_fit_page(struct pel *p, struct path *path, const struct pel_entry *x)
{
    struct pelpage_span s = { .any = false };

    if (pelpage_fits(path->page, x))
        return;
    pelpage_span_add_page(&s, path->page);
    pelpage_span_add(&s, x);
    if (pelpage_span_is_wide(&s))
        path_remake_page(p, path, x, pel_growth(path->page->n), true);
    else
        pelpage_rebase(path->page, &s);
}

/* x goes to a page of its own, behind all. */
static void pel_begin_page(struct pel *p, struct path *path, const struct pel_entry *x)
{
    struct pelpage_span s = { .any = false };
    struct pelpage *pg;

    pelpage_span_add(&s, x);
    pg = pel_new_page(p, &s, PEL_PAGE, false);
    if (pg == NULL)
        pg = pel_new_page(p, &s, PAGE_MIN, true);
    pel_add_child(p, path, p->height, pg, x->id, &SUM_EMPTY);
}

/* The upper half of a full page goes to one behind it. */
static void pel_split_page(struct pel *p, struct path *path)
{
    struct pelpage_span s = { .any = false };
    struct pelpage *left = path->page, *right;
    size_t half = left->n / 2u;
    struct sum sum;

    pelpage_span_add_page(&s, left);
    right = pel_new_page(p, &s, pel_growth(half), true);
    pelpage_append(right, left, half, left->n - half);
    pelpage_close(left, half, left->n - half);
    path_remake_page(p, path, NULL, pel_growth(half), false);
    *path_sum(p, path, p->height) = pel_page_sum(p, path->page);
    sum = pel_page_sum(p, right);
    pel_add_child(p, path, p->height, right, pelpage_id(right, 0), &sum);
}

/* The first page of all. */
static void pel_begin(struct pel *p, const struct pel_entry *x)
{
    struct pelpage_span s = { .any = false };

    pelpage_span_add(&s, x);
    p->root = pel_new_page(p, &s, PAGE_MIN, true);
    p->at_path = false;
}

/* The page where x belongs, at the end of p->path, has a place for it. */
static void pel_make_place(struct pel *p, const struct pel_entry *x)
{
    struct path *path = &p->path;

    if (p->root == NULL) {
        pel_begin(p, x);
    } else if (path->page->n == PEL_PAGE) {
        if (path->i == PEL_PAGE && !path->bounded)
            pel_begin_page(p, path, x);
        else
            pel_split_page(p, path);
    }
    pel_find(p, x->id);
    if (path->page->n == path->page->cap)
        path_remake_page(p, path, x, pel_growth(path->page->n), true);
    path_fit_page(p, path, x);
}

/* Joins the page with a neighbour, if both together are few. True if so; the path is wrong then. */
static bool pel_join_pages(struct pel *p, struct path *path)
{
    struct pelpage_span s = { .any = false };
    struct pelpage *pg, *left, *right;
    struct node *above;
    size_t at;

    if (p->height == 0 || path->node[p->height - 1]->n < 2)
        return false;
    above = path->node[p->height - 1];
    at = path->at[p->height - 1];
    if (at + 1 == above->n || (at > 0 && sum_n(&above->sum[at - 1]) < sum_n(&above->sum[at + 1])))
        at--;
    if (sum_n(&above->sum[at]) + sum_n(&above->sum[at + 1]) > PAGE_JOINED)
        return false;
    left = above->child[at];
    right = above->child[at + 1];
    pelpage_span_add_page(&s, left);
    pelpage_span_add_page(&s, right);
    pg = pel_new_page(p, &s, (size_t)left->n + right->n, false);
    if (pg == NULL)
        return false;
    pelpage_append(pg, left, 0, left->n);
    pelpage_append(pg, right, 0, right->n);
    pel_drop_page(p, left);
    pel_drop_page(p, right);
    above->child[at] = pg;
    above->sum[at] = pel_page_sum(p, pg);
    path->at[p->height - 1] = at + 1;
    pel_remove_child(p, path, p->height);
    return true;
}

/* After entries were removed from the page: it goes if it is empty, else takes less room. Where they went from the front, the
 * rest will soon follow. */
static void pel_tidy(struct pel *p, struct path *path, bool from_front)
{
    struct pelpage *pg = path->page;
    size_t n = pg->n, surplus = pg->cap - n;

    if (n == 0) {
        pel_drop_page(p, pg);
        pel_remove_child(p, path, p->height);
    } else if (n < PAGE_SMALL && pel_join_pages(p, path)) {
        return;
    } else if (surplus > (from_front ? pg->cap / 2u : PAGE_MIN + n / 8)) {
        path_remake_page(p, path, NULL, n, false);
    }
}

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
        path_find(p, &path, s->next);
        n = pel_sum_page(p, &path, pelpage_find(path.page, s->next, 0, &found), budget);
        budget -= n;
    }
    return !s->over;
}

void pel_sum_end(struct pel *p)
{
    p->summing = NULL;
}

/* ---- one entry ---- */

static void pel_read(const struct pel *p, const struct pelpage *pg, size_t i, struct pel_entry *x)
{
    pelpage_read(pg, i, x);
    x->gone = x->gone || id_cmp(x->id, p->gone_below) < 0;
}

static unsigned pel_marks_of(const struct pel_entry *x)
{
    bool nacked = x->nacked && x->slot != PEL_PARKED;
    return (nacked ? PELPAGE_NACKED : 0u) | (x->gone ? PELPAGE_GONE : 0u);
}

static void pel_replace(struct pel *p, const struct pel_entry *x)
{
    struct path *path = &p->path;
    unsigned gone = pelpage_marks(path->page, path->i) & PELPAGE_GONE;

    path_fit_page(p, path, x);
    pel_before_change(p, path->page, path->i);
    path_remove(p, path);
    pelpage_write(path->page, path->i, x, pel_marks_of(x) | gone);
    path_add(p, path);
    pel_after_change(p, path->page, path->i);
}

/* Whoever looks for it has to find the way: each `low` on it is at most x's ID. */
static void path_lower(const struct pel *p, const struct path *path, struct id id)
{
    for (size_t d = 0; d < p->height; d++) {
        struct id *low = &path->node[d]->low[path->at[d]];
        if (id_cmp(id, *low) < 0)
            *low = id;
    }
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
        path_lower(p, path, x->id);
    path_add(p, path);
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
    path_remove(p, path);
    pelpage_close(path->page, path->i, 1);
    pel_tidy(p, path, path->i == 0);
    return true;
}

bool pel_get(const struct pel *p, struct id id, struct pel_entry *out)
{
    struct path path;

    if (p->root == NULL)
        return false;
    path_find(p, &path, id);
    if (!path_place(&path, id))
        return false;
    pel_read(p, path.page, path.i, out);
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
        path_find(p, &path, path.hi);
        pel_mark_page(p, path.page);
    }
    p->gone_below = ID_MIN;
}

/* ---- looking for what may be there ---- */

/* What is looked for: by the filter, or what is dead, ready, parked, or has to do with a slot. */
struct query {
    enum { QUERY_FILTER, QUERY_DEAD, QUERY_SLOT, QUERY_DUE } by;
    struct pel_filter f;
    uint64_t until; /* QUERY_DUE: has an event by then */
};

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

static bool filter_passes(const struct pel_filter *f, const struct pelpage *pg, size_t i)
{
    enum pel_kind kind = pel_kind(pg, i);

    if ((f->kinds & kind) == 0)
        return false;
    if (kind == PEL_NACKED)
        return pelpage_time(pg, i) <= f->nacked_until;
    if (kind == PEL_SKIPPED)
        return true;
    return (!f->by_slot || pelpage_slot(pg, i) == f->slot) && pelpage_time(pg, i) <= f->held_until;
}

static bool query_passes(const struct query *q, const struct pelpage *pg, size_t i)
{
    if (q->by == QUERY_DEAD)
        return (pelpage_marks(pg, i) & PELPAGE_DEAD) != 0;
    assert(q->by == QUERY_FILTER);
    return filter_passes(&q->f, pg, i);
}

/* Below the node at `depth`, the first page that may have an answer with ID >= *from (NULL: any). */
static bool path_seek_below(const struct pel *p, struct path *path, size_t depth,
                            const struct id *from, const struct query *q)
{
    const struct node *n;

    if (depth == p->height)
        return true;
    n = path->node[depth];
    for (size_t i = from == NULL ? 0 : node_find(n, *from); i < n->n; i++, from = NULL) {
        if (!query_may(q, &n->sum[i]))
            continue;
        path_descend(p, path, depth, i);
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
    for (size_t i = from == NULL ? n->n : node_find(n, *from) + 1; i-- > 0; from = NULL) {
        if (!query_may(q, &n->sum[i]))
            continue;
        path_descend(p, path, depth, i);
        if (path_seek_back_below(p, path, depth + 1, from, q))
            return true;
    }
    return false;
}

/* The path leads to the first page that may have an answer with ID >= from (the last one with ID <= from). */
static bool path_seek(const struct pel *p, struct path *path, struct id from, const struct query *q)
{
    if (p->root == NULL || !query_may(q, &p->sum))
        return false;
    path_begin(p, path);
    if (!path_seek_below(p, path, 0, &from, q))
        return false;
    path_bound(p, path);
    return true;
}

static bool path_seek_back(const struct pel *p, struct path *path, struct id from,
                           const struct query *q)
{
    if (p->root == NULL || !query_may(q, &p->sum))
        return false;
    path_begin(p, path);
    if (!path_seek_back_below(p, path, 0, &from, q))
        return false;
    path_bound(p, path);
    return true;
}

/* Sums are bounds, and making them exact changes nothing that anybody sees: those who only look do that too. */
static struct pel *pel_mutable(const struct pel *p)
{
    return (struct pel *)(uintptr_t)p;
}

static size_t pel_query(const struct pel *p, struct id from, const struct query *q, size_t max,
                        struct pel_entry *out)
{
    struct path path;
    size_t n = 0;
    bool found;

    while (n < max && path_seek(p, &path, from, q)) {
        size_t before = n, i = pelpage_find(path.page, from, 0, &found);
        for (; i < path.page->n && n < max; i++)
            if (query_passes(q, path.page, i))
                pel_read(p, path.page, i, &out[n++]);
        if (n == before)
            path_refresh_if_rough(pel_mutable(p), &path);
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

    while (path_seek_back(p, &path, from, &q)) {
        size_t i = pelpage_find(path.page, from, PEL_PAGE, &found);
        for (i += found; i-- > 0;) {
            if (query_passes(&q, path.page, i)) {
                pel_read(p, path.page, i, out);
                return true;
            }
        }
        path_refresh_if_rough(pel_mutable(p), &path);
        from = path.lo;
        if (!id_prev(&from))
            break;
    }
    return false;
}

/* ---- the first by time ---- */

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
           filter_passes(k->f, pg, i);
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

/* The child not in `seen` with the least bound, of those that may have something that is wanted; n->n if there is none. */
static size_t pick_child(const struct pick *k, const struct node *n, uint64_t seen)
{
    uint64_t least = UINT64_MAX, bound;
    size_t best = n->n;

    for (size_t i = 0; i < n->n; i++) {
        if ((seen >> i & 1) != 0 || !pick_bound(k, &n->sum[i], &bound))
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
            n->sum[i] = node_sum(n->child[i]);
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
        p->sum = node_sum(p->root);
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
    path_begin(p, path);
    for (size_t d = 0; d < p->height; d++) {
        const struct node *n = path->node[d];
        size_t best = 0;
        for (size_t i = 1; i < n->n; i++)
            if (n->sum[i].held_ms < n->sum[best].held_ms)
                best = i;
        path_descend(p, path, d, best);
    }
}

uint64_t pel_oldest_ms(const struct pel *p)
{
    struct path path;

    for (int i = 0; i < OLDEST_TRIES && sum_n_of(&p->sum, PEL_HELD) > 0 && p->sum.rough; i++) {
        path_find_oldest(p, &path);
        if (!path_sum(pel_mutable(p), &path, p->height)->rough)
            break;
        path_refresh(pel_mutable(p), &path);
    }
    return sum_n_of(&p->sum, PEL_HELD) == 0 ? UINT64_MAX : p->sum.held_ms;
}

/* ---- many at once ---- */

/* What happens to the entries that a sweep comes to. */
struct sweep {
    struct query q;
    bool (*takes)(const struct sweep *w, const struct pelpage *pg, size_t i); /* it is removed */
    void (*changes)(struct pel *p, struct sweep *w, struct path *path);       /* or NULL */
    uint64_t time_ms;
    uint64_t n; /* entries so far */
};

/* Removes from the page what the sweep takes, without its sums; returns how many. */
static size_t sweep_take(struct pel *p, const struct sweep *w, struct path *path)
{
    struct pelpage *pg = path->page;
    size_t taken = 0;

    for (size_t i = pg->n; i-- > 0;) {
        if (!w->takes(w, pg, i))
            continue;
        pel_before_change(p, pg, i);
        if (pel_kind(pg, i) == PEL_HELD)
            tally_remove(&p->tally, pelpage_slot(pg, i));
        pelpage_close(pg, i, 1);
        taken++;
    }
    return taken;
}

static void sweep_page(struct pel *p, struct sweep *w, struct path *path)
{
    size_t taken = w->takes == NULL ? 0 : sweep_take(p, w, path);

    if (w->changes != NULL)
        w->changes(p, w, path);
    w->n += taken;
    path_refresh(p, path);
    if (taken > 0)
        pel_tidy(p, path, false);
}

/* Goes to all pages that may have an answer. */
static uint64_t pel_sweep(struct pel *p, struct sweep *w)
{
    struct path path;
    struct id from = ID_MIN;

    p->at_path = false;
    while (path_seek(p, &path, from, &w->q)) {
        bool more = path.bounded;
        struct id next = path.hi;
        sweep_page(p, w, &path);
        if (!more)
            break;
        from = next;
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
        tally_remove(&p->tally, w->q.f.slot);
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

/* Removes the first n entries of the page. */
static void pel_drop_first(struct pel *p, struct path *path, size_t n)
{
    struct pelpage *pg = path->page;

    for (size_t i = 0; i < n; i++) {
        pel_before_change(p, pg, i);
        if (pel_kind(pg, i) == PEL_HELD)
            tally_remove(&p->tally, pelpage_slot(pg, i));
    }
    pelpage_close(pg, 0, n);
    path_refresh(p, path);
    pel_tidy(p, path, true);
}

uint64_t pel_drop_below(struct pel *p, struct id first)
{
    struct path path;
    uint64_t n = 0;
    size_t i = 1;
    bool found;

    p->at_path = false;
    while (p->root != NULL && i > 0) {
        path_find(p, &path, ID_MIN);
        i = pelpage_find(path.page, first, PEL_PAGE, &found);
        if (i > 0)
            pel_drop_first(p, &path, i);
        n += i;
    }
    return n;
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

/* ---- what n pel_set may need ---- */

/* New pages, if each entry goes where it costs most. A page is made anew for want of places, which gives it PAGE_MIN more at
 * least, and between two such times once to be wide; it is split, after which each half can take PEL_PAGE / 4 at least. */
static size_t pel_most_pages(const struct pel *p, size_t n)
{
    size_t first = 5 * (p->n_pages + 1), later = 2 * n / PAGE_MIN + 2 * n / (PEL_PAGE / 4);
    return first + later < 2 * n ? first + later : 2 * n;
}

static size_t pel_most_nodes(const struct pel *p, size_t n)
{
    size_t split, nodes;

    if (p->n_pages <= 1 && sum_n(&p->sum) + n <= PEL_PAGE)
        return 0;
    split = p->n_pages + n / (PEL_PAGE / 4) + 2;
    split = split < n ? split : n;
    nodes = p->n_nodes + p->height + 1 + split / (NODE_MAX / 8);
    return nodes < split * (p->height + 1) ? nodes : split * (p->height + 1);
}

int pel_reserve(struct pel *p, size_t n, struct err *e)
{
    size_t all = sum_n(&p->sum) + n, slots = p->tally.used + n;
    unsigned shape = PELPAGE_WIDE | (p->ordered ? PELPAGE_KEYED : 0u);
    size_t page = pelpage_bytes(shape, pel_places(pel_growth(all < PEL_PAGE ? all : PEL_PAGE)));
    size_t bytes;

    if (n > UINT32_MAX - (size_t)sum_n(&p->sum))
        return err_set(e, ERR_NOMEM, "%zu more pending entries", n);
    bytes = pel_most_pages(p, n) * room_cost(page);
    bytes += pel_most_nodes(p, n) * room_cost(sizeof(struct node));
    if (n > 0 && 4 * slots > 3 * p->tally.cap)
        bytes += 4 * room_cost(tally_cap(slots) * sizeof(struct cell));
    return room_reserve(&p->room, bytes, e);
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
    path_refresh(p, path);
}

bool pel_step(struct pel *p, uint64_t now_ms, size_t budget,
              void (*each)(void *ctx, const struct pel_entry *x), void *ctx)
{
    struct query q = { .by = QUERY_DUE, .until = now_ms };
    struct path path;

    p->now_ms = now_ms;
    for (; budget > 0 && path_seek(p, &path, ID_MIN, &q); budget--)
        pel_step_page(p, &path, each, ctx);
    p->stale = p->stale && p->root != NULL;
    for (; budget > 0 && p->stale; budget--) {
        path_find(p, &path, p->stale_from);
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

/* ---- checking ---- */

static bool check_bounds(const struct sum *sum, const struct sum *exact)
{
    return sum->held_ms <= exact->held_ms && sum->nacked_ms <= exact->nacked_ms &&
           sum->due_ms <= exact->due_ms && sum->event_ms <= exact->event_ms &&
           (exact->slots & ~sum->slots) == 0;
}

static bool check_equal(const struct sum *sum, const struct sum *exact)
{
    return check_bounds(sum, exact) && check_bounds(exact, sum);
}

/* Bounds of due and event times are as of the rule that a page knows: they are not compared while it is stale. */
static const char *check_sum(const struct pel *p, const struct sum *sum, const struct sum *exact)
{
    struct sum s = *sum, x = *exact;

    if (memcmp(s.n, x.n, sizeof s.n) != 0 || s.n_ready != x.n_ready || s.n_dead != x.n_dead)
        return "E3: the counts of a sum are exact";
    if (p->stale)
        s.due_ms = x.due_ms = s.event_ms = x.event_ms = 0;
    else if (x.event_ms > s.event_ms && s.event_ms <= p->now_ms)
        s.event_ms = x.event_ms; /* delays that were over before pel_step came to them */
    if (!check_bounds(&s, &x))
        return "E3: nothing is earlier than its sum says";
    if (!s.rough && !check_equal(&s, &x))
        return "E3: a sum that is not rough is exact";
    return NULL;
}

static const char *check_page(const struct pel *p, const struct pelpage *pg, struct sum *exact)
{
    const char *broken = pelpage_check(pg);

    if (broken != NULL)
        return broken;
    if (pg->n == 0)
        return "E1: no page is empty";
    for (size_t i = 0; i < pg->n; i++) {
        unsigned marks = pelpage_marks(pg, i) & (PELPAGE_DEAD | PELPAGE_READY);
        if (marks == (PELPAGE_DEAD | PELPAGE_READY) ||
            (marks != 0 && pelpage_slot(pg, i) == PEL_PARKED))
            return "E5: an entry is dead, ready or neither";
    }
    *exact = pel_page_sum(p, pg);
    return NULL;
}

struct check {
    const struct pel *p;
    size_t n_pages, n_nodes;
};

static struct id check_first(const struct pel *p, const void *at, size_t depth)
{
    return depth == p->height ? pelpage_id(at, 0)
                              : check_first(p, ((const struct node *)at)->child[0], depth + 1);
}

static struct id check_last(const struct pel *p, const void *at, size_t depth)
{
    const struct node *n = at;

    if (depth == p->height)
        return pelpage_id(at, ((const struct pelpage *)at)->n - 1u);
    return check_last(p, n->child[n->n - 1], depth + 1);
}

static const char *check_order(const struct pel *p, const struct node *n, size_t depth)
{
    if (n->n == 0 || n->n > NODE_MAX || (depth == 0 && n->n < 2))
        return "E1: no node is empty or too full, and the root is needed";
    for (size_t i = 0; i < n->n; i++) {
        if (id_cmp(n->low[i], check_first(p, n->child[i], depth + 1)) > 0)
            return "E2: a child's IDs are not below its low";
        if (i + 1 < n->n && id_cmp(check_last(p, n->child[i], depth + 1), n->low[i + 1]) >= 0)
            return "E2: a child's IDs are below the next one's low";
    }
    return NULL;
}

static const char *check_node_sum(const struct node *n, const struct sum *sum)
{
    struct sum want = node_sum(n);
    return check_equal(sum, &want) && sum->rough == want.rough
               ? NULL
               : "E3: the sum over a node is that of the sums in it";
}

static const char *check_below(struct check *c, const void *at, size_t depth, struct sum *exact)
{
    const struct node *n = at;
    const char *broken = NULL;

    if (depth == c->p->height) {
        c->n_pages++;
        return check_page(c->p, at, exact);
    }
    c->n_nodes++;
    *exact = SUM_EMPTY;
    for (size_t i = 0; broken == NULL && i < n->n; i++) {
        struct sum child = SUM_EMPTY;
        broken = check_below(c, n->child[i], depth + 1, &child);
        if (broken == NULL && depth + 1 < c->p->height)
            broken = check_node_sum(n->child[i], &n->sum[i]);
        if (broken == NULL)
            broken = check_sum(c->p, &n->sum[i], &child);
        sum_add_sum(exact, &child);
    }
    return broken != NULL ? broken : check_order(c->p, n, depth);
}

static const char *check_tally(const struct pel *p)
{
    uint64_t n = 0;

    for (size_t i = 0; i < p->tally.cap; i++)
        n += p->tally.cells[i].n;
    return n == sum_n_of(&p->sum, PEL_HELD) ? NULL : "E4: the tally has all that is held";
}

const char *pel_check(const struct pel *p)
{
    struct check c = { p, 0, 0 };
    struct sum exact = SUM_EMPTY;
    const char *broken = NULL;

    if (p->root != NULL)
        broken = check_below(&c, p->root, 0, &exact);
    if (broken == NULL && p->height > 0)
        broken = check_node_sum(p->root, &p->sum);
    if (broken == NULL)
        broken = check_sum(p, &p->sum, &exact);
    if (broken == NULL && (c.n_pages != p->n_pages || c.n_nodes != p->n_nodes))
        broken = "E1: pages and nodes are counted";
    return broken != NULL ? broken : check_tally(p);
}
