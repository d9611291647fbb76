/* peltree.h - the tree of pending entries, for the parts of pel.c that look, choose and change: pelseek.c, pelpick.c.
 *
 * Essay and invariants: pel.c. */
#ifndef GROUPS_PELTREE_H
#define GROUPS_PELTREE_H
#include "groups/pelpage.h"
#include "groups/room.h"

enum {
    NODE_MAX = 64, /* children; a uint64_t has a bit for each */
    LEVELS = 8,    /* of nodes at most: far more than memory has room for */
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
extern const struct sum SUM_EMPTY;

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

/* Making bounds exact, and keeping a path that was found, changes nothing that anybody sees: who only looks does that too. */
static inline struct pel *pel_mutable(const struct pel *p)
{
    return (struct pel *)(uintptr_t)p;
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

struct fate pel_fate_nacked(const struct pel_rule *rule, uint64_t time_ms, uint64_t count);
struct fate pel_fate_held(const struct pel_rule *rule, uint64_t time_ms, uint64_t count);
struct fate pel_fate(const struct pel *p, const struct pelpage *pg, size_t i);

static inline uint64_t pel_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline enum pel_kind pel_kind(const struct pelpage *pg, size_t i)
{
    if (pelpage_slot(pg, i) == PEL_PARKED)
        return PEL_SKIPPED;
    return (pelpage_marks(pg, i) & PELPAGE_NACKED) != 0 ? PEL_NACKED : PEL_HELD;
}

static inline void pel_read(const struct pel *p, const struct pelpage *pg, size_t i,
                            struct pel_entry *x)
{
    pelpage_read(pg, i, x);
    x->gone = x->gone || id_cmp(x->id, p->gone_below) < 0;
}

/* ---- sums ---- */

static inline uint64_t pel_slot_bit(uint16_t slot)
{
    return (uint64_t)1 << slot % 64;
}

/* Of a kind, whose values are 1, 2, 4. */
static inline uint32_t sum_n_of(const struct sum *s, enum pel_kind kind)
{
    return s->n[kind >> 1];
}

static inline uint32_t sum_n(const struct sum *s)
{
    return s->n[0] + s->n[1] + s->n[2];
}

struct sum pel_page_sum(const struct pel *p, const struct pelpage *pg); /* exact */
struct sum pel_node_sum(const struct node *n);

/* The sum over the child that a path takes at a depth; at 0, over everything. */
static inline struct sum *path_sum(struct pel *p, const struct path *path, size_t depth)
{
    return depth == 0 ? &p->sum : &path->node[depth - 1]->sum[path->at[depth - 1]];
}

/* ---- the tally ---- */

void peltally_add(struct tally *t, struct room *room, uint16_t slot);
void peltally_remove(struct tally *t, uint16_t slot);
uint64_t peltally_n(const struct tally *t, uint16_t slot);

/* ---- paths ---- */

/* The child that has `id`, or would have it. */
size_t pelnode_find(const struct node *n, struct id id);
/* To the root; to that child of the node at `depth`; what IDs the page at the end has. */
void pelpath_begin(const struct pel *p, struct path *path);
void pelpath_descend(const struct pel *p, struct path *path, size_t depth, size_t at);
void pelpath_bound(const struct pel *p, struct path *path);
/* To the page where the entry is, or would be; there is one. */
void pelpath_find(const struct pel *p, struct path *path, struct id id);
/* p->path leads to where `id` is, or would be. False if it is not there. */
bool pel_find(struct pel *p, struct id id);

/* The entry path->i is counted (no more) in the sums of its page and above, and in the tally. */
void pelpath_add(struct pel *p, const struct path *path);
void pelpath_remove(struct pel *p, const struct path *path);
/* The sum of its page is made anew, and those above it. */
void pelpath_refresh(struct pel *p, const struct path *path);
void pelpath_refresh_if_rough(struct pel *p, const struct path *path);

/* ---- changing pages ---- */

/* x can be written into the page. */
void pelpath_fit_page(struct pel *p, struct path *path, const struct pel_entry *x);
/* x, whose place p->path leads to, gets one in a page where it fits. */
void pel_make_place(struct pel *p, const struct pel_entry *x);
/* Whoever looks for an entry that has come in front has to find the way: each `low` on it is at most its ID. */
void pelpath_lower(const struct pel *p, const struct path *path, struct id id);
/* After entries were removed from the page: it goes if it is empty, else takes less room. Where they went from the front, the
 * rest will soon follow. */
void pel_tidy(struct pel *p, struct path *path, bool from_front);

#endif
