/*
 * peltree.c - the B+tree of pending entries: its sums, nodes and pages, and how it grows and shrinks. Essay: pel.c.
 */
#include "groups/peltree.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    NODE_SMALL = NODE_MAX / 3,
    NODE_JOINED = NODE_MAX * 7 / 8, /* children of two nodes that are made one */
    PAGE_SMALL = PEL_PAGE / 3,
    PAGE_JOINED = PEL_PAGE * 7 / 8,
    PAGE_MIN = 8, /* places, and the step of their number */
    PAGE_REMAKES =
        12, /* times that a page is made until it has PEL_PAGE places and is wide, at most */
    TALLY_MIN = 4,
};

const struct sum SUM_EMPTY = {
    .held_ms = UINT64_MAX, .nacked_ms = UINT64_MAX, .due_ms = UINT64_MAX, .event_ms = UINT64_MAX
};

static uint64_t pel_plus(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* ---- what becomes of an entry ---- */

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

struct fate pel_fate_nacked(const struct pel_rule *rule, uint64_t time_ms, uint64_t count)
{
    if (pel_is_last(rule, count))
        return (struct fate){ FATE_DEAD, 0 };
    return (struct fate){ rule->redelivers ? FATE_READY : FATE_NONE, time_ms };
}

struct fate pel_fate_held(const struct pel_rule *rule, uint64_t time_ms, uint64_t count)
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

struct fate pel_fate(const struct pel *p, const struct pelpage *pg, size_t i)
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

struct sum pel_page_sum(const struct pel *p, const struct pelpage *pg)
{
    struct sum s = SUM_EMPTY;
    struct trait t;

    for (size_t i = 0; i < pg->n; i++) {
        pel_trait(p, pg, i, &t);
        sum_add(&s, &t);
    }
    return s;
}

struct sum pel_node_sum(const struct node *n)
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

void peltally_add(struct tally *t, struct room *room, uint16_t slot)
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

void peltally_remove(struct tally *t, uint16_t slot)
{
    struct cell *cell = tally_find(t->cells, t->cap, slot);

    assert(cell->n > 0); /* E4 */
    cell->n--;
}

uint64_t peltally_n(const struct tally *t, uint16_t slot)
{
    return t->cap == 0 ? 0 : tally_find(t->cells, t->cap, slot)->n;
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
size_t pelnode_find(const struct node *n, struct id id)
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

/* The path goes to that child of the node at `depth`. */
void pelpath_descend(const struct pel *p, struct path *path, size_t depth, size_t at)
{
    void *child = path->node[depth]->child[at];

    path->at[depth] = at;
    if (depth + 1 < p->height)
        path->node[depth + 1] = child;
    else
        path->page = child;
}

void pelpath_begin(const struct pel *p, struct path *path)
{
    if (p->height > 0)
        path->node[0] = p->root;
    else
        path->page = p->root;
}

/* What IDs the page at the end of the path has. */
void pelpath_bound(const struct pel *p, struct path *path)
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

void pelpath_find(const struct pel *p, struct path *path, struct id id)
{
    pelpath_begin(p, path);
    for (size_t d = 0; d < p->height; d++)
        pelpath_descend(p, path, d, pelnode_find(path->node[d], id));
    pelpath_bound(p, path);
}

/* Where in its page the entry may be, if IDs grow evenly there. */
static size_t path_guess(const struct path *path, struct id id)
{
    uint64_t all = path->hi.ms - path->lo.ms, part = id.ms - path->lo.ms;

    if (!path->bounded)
        return path->page->n; /* behind all */
    if (all == 0 || all > UINT32_MAX)
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
bool pel_find(struct pel *p, struct id id)
{
    struct path *path = &p->path;

    if (p->root == NULL)
        return false;
    if (!p->at_path || id_cmp(id, path->lo) < 0 || (path->bounded && id_cmp(id, path->hi) >= 0)) {
        pelpath_find(p, path, id);
        p->at_path = true;
        return path_place(path, id);
    }
    return path_place_again(path, id);
}

/* ---- sums along a path ---- */

static void path_refresh_nodes(struct pel *p, const struct path *path, size_t depth)
{
    for (size_t d = depth; d > 0; d--)
        *path_sum(p, path, d - 1) = pel_node_sum(path->node[d - 1]);
}

/* The sum of its page is made anew, and those above it. */
void pelpath_refresh(struct pel *p, const struct path *path)
{
    *path_sum(p, path, p->height) = pel_page_sum(p, path->page);
    path_refresh_nodes(p, path, p->height);
}

void pelpath_refresh_if_rough(struct pel *p, const struct path *path)
{
    if (path_sum(p, path, p->height)->rough)
        pelpath_refresh(p, path);
}

void pelpath_add(struct pel *p, const struct path *path)
{
    struct trait t;

    pel_trait(p, path->page, path->i, &t);
    if (t.kind == PEL_HELD)
        peltally_add(&p->tally, &p->room, pelpage_slot(path->page, path->i));
    for (size_t d = 0; d <= p->height; d++)
        sum_add(path_sum(p, path, d), &t);
}

void pelpath_remove(struct pel *p, const struct path *path)
{
    enum pel_kind kind = pel_kind(path->page, path->i);
    unsigned marks = pelpage_marks(path->page, path->i);

    if (kind == PEL_HELD)
        peltally_remove(&p->tally, pelpage_slot(path->page, path->i));
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
    p->sum = pel_node_sum(n);
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
    *path_sum(p, path, depth - 1) = pel_node_sum(n);
    right_sum = pel_node_sum(right);
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
    above->sum[at] = pel_node_sum(left);
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
void pelpath_fit_page(struct pel *p, struct path *path, const struct pel_entry *x)
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
void pel_make_place(struct pel *p, const struct pel_entry *x)
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
    pelpath_fit_page(p, path, x);
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
void pel_tidy(struct pel *p, struct path *path, bool from_front)
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

void pelpath_lower(const struct pel *p, const struct path *path, struct id id)
{
    for (size_t d = 0; d < p->height; d++) {
        struct id *low = &path->node[d]->low[path->at[d]];
        if (id_cmp(id, *low) < 0)
            *low = id;
    }
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

/* The same, if all go behind everything, in order: each page begins with few places and gets more. */
static size_t pel_most_pages_behind(size_t n)
{
    size_t pages = (n / PEL_PAGE + 2) * PAGE_REMAKES;
    return pages < 2 * n ? pages : 2 * n;
}

static size_t pel_most_nodes_behind(const struct pel *p, size_t n)
{
    size_t split = n / PEL_PAGE + 2;
    return split * (p->height + 1);
}

/* Whether everything is below `id`. */
static bool pel_is_below(const struct pel *p, struct id id)
{
    const void *at = p->root;
    const struct pelpage *pg;

    if (at == NULL)
        return true;
    for (size_t d = 0; d < p->height; d++)
        at = ((const struct node *)at)->child[((const struct node *)at)->n - 1];
    pg = at;
    return id_cmp(pelpage_id(pg, pg->n - 1u), id) < 0;
}

int pel_reserve(struct pel *p, size_t n, struct id lowest, struct err *e)
{
    bool behind = pel_is_below(p, lowest);
    size_t all = sum_n(&p->sum) + n, slots = p->tally.used + n;
    unsigned shape = PELPAGE_WIDE | (p->ordered ? PELPAGE_KEYED : 0u);
    size_t page = pelpage_bytes(shape, pel_places(pel_growth(all < PEL_PAGE ? all : PEL_PAGE)));
    size_t bytes;

    if (n > UINT32_MAX - (size_t)sum_n(&p->sum))
        return err_set(e, ERR_NOMEM, "%zu more pending entries", n);
    bytes = (behind ? pel_most_pages_behind(n) : pel_most_pages(p, n)) * room_cost(page);
    bytes += (behind ? pel_most_nodes_behind(p, n) : pel_most_nodes(p, n)) *
             room_cost(sizeof(struct node));
    if (n > 0 && 4 * slots > 3 * p->tally.cap)
        bytes += 4 * room_cost(tally_cap(slots) * sizeof(struct cell));
    return room_reserve(&p->room, bytes, e);
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
    struct sum want = pel_node_sum(n);
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
