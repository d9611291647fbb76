/*
 * order.c - which keys are taken, and what waits for them: a table by key, lists of parked entries, a tree of keys whose turn it is.
 *
 *   buckets ──► key │ holders │ parked: first ... last │      a list of IDs, ascending
 *                      0           3-0, 7-1, 9-0
 *                                   │
 *   turns   ──► tree by the first parked ID, of the keys with holders 0 and something parked
 *
 * Both kinds of nodes lie in arrays and name each other by their places, so order_reserve is two arrays that grow, and nothing
 * else needs memory. The tree is a treap (Seidel, Aragon: Randomized search trees, 1996): a search tree by ID, a heap by a priority that
 * is the key's hash under a seed of this process; so its depth is logarithmic whatever is asked of it.
 *
 *   O1  A key has a node exactly while it has holders or parked entries.
 *   O2  IDs of a list strictly ascend.
 *   O3  A key is in the tree exactly while it has parked entries and no holders.
 *   O4  Free nodes of each kind are as many as order_reserve announced, less what was used since.
 */
#include "groups/order.h"
#include <assert.h>
#include <stdlib.h>
#include "log/bytes.h"

enum { ORDER_CAP_MIN = 16 };

static const uint32_t ORDER_NONE = UINT32_MAX;

struct order_key {
    uint32_t key, holders;
    uint32_t first, last; /* parked */
    uint32_t next;        /* of the bucket's chain; of the free ones */
    uint32_t left, right; /* in the tree */
};

struct order_parked {
    struct id id;
    uint32_t next, prev; /* of the key's list; next: of the free ones */
};

struct order {
    uint64_t seed;
    struct order_key *keys;
    struct order_parked *parked;
    uint32_t *buckets; /* as many as cap_keys, a power of two */
    uint32_t cap_keys, cap_parked;
    uint32_t n_keys, n_parked; /* that are used */
    uint32_t free_keys, free_parked;
    uint32_t root;
};

/* splitmix64's finisher: all of a key's bits move all of the hash's. */
static inline uint64_t order_hash(const struct order *o, uint32_t key)
{
    uint64_t z = key ^ o->seed;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline uint32_t *order_bucket(const struct order *o, uint32_t key)
{
    return &o->buckets[order_hash(o, key) & (o->cap_keys - 1)];
}

int order_new(const uint8_t hash_key[16], struct order **out, struct err *e)
{
    struct order *o = calloc(1, sizeof *o);

    if (o == NULL)
        return err_set(e, ERR_NOMEM, "the keys of a group");
    o->seed = get_u64le(hash_key) ^ get_u64le(hash_key + 8);
    o->free_keys = o->free_parked = o->root = ORDER_NONE;
    *out = o;
    return OK;
}

void order_free(struct order *o)
{
    if (o == NULL)
        return;
    free(o->keys);
    free(o->parked);
    free(o->buckets);
    free(o);
}

/* ---- room ---- */

/* The capacity that holds n; 0 if there is none. */
static uint32_t order_capacity(size_t n)
{
    size_t cap = ORDER_CAP_MIN;

    if (n > UINT32_MAX / 2)
        return 0;
    while (cap < n)
        cap *= 2;
    return (uint32_t)cap;
}

static void order_fill_buckets(struct order *o, uint32_t *buckets, uint32_t cap)
{
    uint32_t *old = o->buckets, old_cap = o->cap_keys;

    for (uint32_t b = 0; b < cap; b++)
        buckets[b] = ORDER_NONE;
    o->buckets = buckets;
    o->cap_keys = cap;
    for (uint32_t b = 0; b < old_cap; b++) {
        for (uint32_t i = old[b], next; i != ORDER_NONE; i = next) {
            uint32_t *head = order_bucket(o, o->keys[i].key);
            next = o->keys[i].next;
            o->keys[i].next = *head;
            *head = i;
        }
    }
    free(old);
}

static int order_grow_keys(struct order *o, uint32_t cap, struct err *e)
{
    struct order_key *keys = realloc(o->keys, cap * sizeof *keys);
    uint32_t *buckets;
    uint32_t old_cap = o->cap_keys;

    if (keys != NULL)
        o->keys = keys;
    buckets = keys == NULL ? NULL : malloc(cap * sizeof *buckets);
    if (buckets == NULL)
        return err_set(e, ERR_NOMEM, "room for %u keys of a group", cap);
    order_fill_buckets(o, buckets, cap);
    for (uint32_t i = cap; i-- > old_cap;) {
        o->keys[i].next = o->free_keys;
        o->free_keys = i;
    }
    return OK;
}

static int order_grow_parked(struct order *o, uint32_t cap, struct err *e)
{
    struct order_parked *parked = realloc(o->parked, cap * sizeof *parked);

    if (parked == NULL)
        return err_set(e, ERR_NOMEM, "room for %u skipped entries of a group", cap);
    o->parked = parked;
    for (uint32_t i = cap; i-- > o->cap_parked;) {
        parked[i].next = o->free_parked;
        o->free_parked = i;
    }
    o->cap_parked = cap;
    return OK;
}

int order_reserve(struct order *o, size_t n, struct err *e)
{
    uint32_t keys = n > UINT32_MAX ? 0 : order_capacity(o->n_keys + n);
    uint32_t parked = n > UINT32_MAX ? 0 : order_capacity(o->n_parked + n);
    int rc = OK;

    if (keys == 0 || parked == 0)
        return err_set(e, ERR_NOMEM, "room for %zu keys of a group", n);
    if (keys > o->cap_keys)
        rc = order_grow_keys(o, keys, e);
    if (rc == OK && parked > o->cap_parked)
        rc = order_grow_parked(o, parked, e);
    return rc;
}

/* ---- the tree ---- */

static inline struct id order_first_id(const struct order *o, uint32_t i)
{
    return o->parked[o->keys[i].first].id;
}

static inline bool order_above(const struct order *o, uint32_t a, uint32_t b)
{
    return order_hash(o, o->keys[a].key) >= order_hash(o, o->keys[b].key);
}

static void order_tree_add(struct order *o, uint32_t i)
{
    uint32_t *at = &o->root, *left = &o->keys[i].left, *right = &o->keys[i].right, t;
    struct id id = order_first_id(o, i);

    while (*at != ORDER_NONE && order_above(o, *at, i))
        at = id_cmp(order_first_id(o, *at), id) < 0 ? &o->keys[*at].right : &o->keys[*at].left;
    t = *at;
    *at = i;
    while (t != ORDER_NONE) { /* what was there is split around i */
        if (id_cmp(order_first_id(o, t), id) < 0) {
            *left = t;
            left = &o->keys[t].right;
            t = *left;
        } else {
            *right = t;
            right = &o->keys[t].left;
            t = *right;
        }
    }
    *left = *right = ORDER_NONE;
}

static void order_tree_remove(struct order *o, uint32_t i)
{
    uint32_t *at = &o->root, left = o->keys[i].left, right = o->keys[i].right;
    struct id id = order_first_id(o, i);

    while (*at != i) {
        assert(*at != ORDER_NONE); /* O3 */
        at = id_cmp(order_first_id(o, *at), id) < 0 ? &o->keys[*at].right : &o->keys[*at].left;
    }
    while (left != ORDER_NONE && right != ORDER_NONE) {
        if (order_above(o, left, right)) {
            *at = left;
            at = &o->keys[left].right;
            left = *at;
        } else {
            *at = right;
            at = &o->keys[right].left;
            right = *at;
        }
    }
    *at = left != ORDER_NONE ? left : right;
}

static bool order_has_turn(const struct order *o, uint32_t i)
{
    return o->keys[i].holders == 0 && o->keys[i].first != ORDER_NONE;
}

bool order_next(const struct order *o, struct id from, struct id *id, uint32_t *key)
{
    uint32_t best = ORDER_NONE;

    for (uint32_t t = o->root; t != ORDER_NONE;) {
        bool in = id_cmp(order_first_id(o, t), from) >= 0;
        if (in)
            best = t;
        t = in ? o->keys[t].left : o->keys[t].right;
    }
    if (best == ORDER_NONE)
        return false;
    *id = order_first_id(o, best);
    *key = o->keys[best].key;
    return true;
}

/* ---- keys ---- */

static uint32_t order_find(const struct order *o, uint32_t key)
{
    uint32_t i = o->cap_keys == 0 ? ORDER_NONE : *order_bucket(o, key);

    while (i != ORDER_NONE && o->keys[i].key != key)
        i = o->keys[i].next;
    return i;
}

static uint32_t order_find_or_add(struct order *o, uint32_t key)
{
    uint32_t i = order_find(o, key), *head;

    if (i != ORDER_NONE)
        return i;
    i = o->free_keys;
    assert(i != ORDER_NONE); /* O4 */
    o->free_keys = o->keys[i].next;
    head = order_bucket(o, key);
    o->keys[i] =
        (struct order_key){ key, 0, ORDER_NONE, ORDER_NONE, *head, ORDER_NONE, ORDER_NONE };
    *head = i;
    o->n_keys++;
    return i;
}

/* Gives the node back if nothing needs it (O1). */
static void order_tidy(struct order *o, uint32_t i)
{
    uint32_t *at = order_bucket(o, o->keys[i].key);

    if (o->keys[i].holders > 0 || o->keys[i].first != ORDER_NONE)
        return;
    while (*at != i)
        at = &o->keys[*at].next;
    *at = o->keys[i].next;
    o->keys[i].next = o->free_keys;
    o->free_keys = i;
    o->n_keys--;
}

void order_hold(struct order *o, uint32_t key)
{
    uint32_t i;

    if (key == 0)
        return;
    i = order_find_or_add(o, key);
    if (order_has_turn(o, i))
        order_tree_remove(o, i);
    o->keys[i].holders++;
}

void order_release(struct order *o, uint32_t key)
{
    uint32_t i = order_find(o, key);

    if (key == 0)
        return;
    assert(i != ORDER_NONE && o->keys[i].holders > 0);
    o->keys[i].holders--;
    if (order_has_turn(o, i))
        order_tree_add(o, i);
    order_tidy(o, i);
}

bool order_is_busy(const struct order *o, uint32_t key)
{
    return key != 0 && order_find(o, key) != ORDER_NONE; /* O1 */
}

/* ---- parked entries ---- */

/* Puts the node into the key's list; new ones mostly come last. */
static void order_link(struct order *o, struct order_key *k, uint32_t i)
{
    uint32_t prev = k->last, next;

    while (prev != ORDER_NONE && id_cmp(o->parked[prev].id, o->parked[i].id) > 0)
        prev = o->parked[prev].prev;
    next = prev == ORDER_NONE ? k->first : o->parked[prev].next;
    o->parked[i].prev = prev;
    o->parked[i].next = next;
    *(prev == ORDER_NONE ? &k->first : &o->parked[prev].next) = i;
    *(next == ORDER_NONE ? &k->last : &o->parked[next].prev) = i;
}

static void order_unlink(struct order *o, struct order_key *k, uint32_t i)
{
    uint32_t prev = o->parked[i].prev, next = o->parked[i].next;

    *(prev == ORDER_NONE ? &k->first : &o->parked[prev].next) = next;
    *(next == ORDER_NONE ? &k->last : &o->parked[next].prev) = prev;
}

void order_park(struct order *o, uint32_t key, struct id id)
{
    uint32_t k = order_find_or_add(o, key), i = o->free_parked;

    assert(key != 0 && i != ORDER_NONE); /* O4 */
    o->free_parked = o->parked[i].next;
    o->parked[i].id = id;
    if (order_has_turn(o, k))
        order_tree_remove(o, k);
    order_link(o, &o->keys[k], i);
    if (order_has_turn(o, k))
        order_tree_add(o, k);
    o->n_parked++;
}

void order_unpark(struct order *o, uint32_t key, struct id id)
{
    uint32_t k = order_find(o, key), i = k == ORDER_NONE ? ORDER_NONE : o->keys[k].first;

    while (i != ORDER_NONE && id_cmp(o->parked[i].id, id) < 0)
        i = o->parked[i].next;
    assert(i != ORDER_NONE && id_cmp(o->parked[i].id, id) == 0);
    if (order_has_turn(o, k))
        order_tree_remove(o, k);
    order_unlink(o, &o->keys[k], i);
    if (order_has_turn(o, k))
        order_tree_add(o, k);
    o->parked[i].next = o->free_parked;
    o->free_parked = i;
    o->n_parked--;
    order_tidy(o, k);
}

/* The key's whole list becomes free. */
static void order_unpark_key(struct order *o, struct order_key *k)
{
    if (k->first == ORDER_NONE)
        return;
    o->parked[k->last].next = o->free_parked;
    o->free_parked = k->first;
    k->first = k->last = ORDER_NONE;
}

void order_unpark_all(struct order *o)
{
    for (uint32_t b = 0; b < o->cap_keys; b++) {
        for (uint32_t i = o->buckets[b], next; i != ORDER_NONE; i = next) {
            next = o->keys[i].next;
            order_unpark_key(o, &o->keys[i]);
            order_tidy(o, i);
        }
    }
    o->n_parked = 0;
    o->root = ORDER_NONE;
}

uint64_t order_n_parked(const struct order *o)
{
    return o->n_parked;
}

/* ---- checking ---- */

/* How many keys are in the tree, each in its place; UINT32_MAX if one is not. */
static uint32_t order_count_turns(const struct order *o)
{
    uint32_t n = 0, key;
    struct id from = ID_MIN;

    while (order_next(o, from, &from, &key)) {
        if (!order_has_turn(o, order_find(o, key)) || n++ > o->n_keys)
            return UINT32_MAX;
        if (!id_next(&from))
            break;
    }
    return n;
}

static const char *order_check_list(const struct order *o, const struct order_key *k, uint32_t *n)
{
    uint32_t prev = ORDER_NONE;

    for (uint32_t i = k->first; i != ORDER_NONE; i = o->parked[i].next, ++*n) {
        if (o->parked[i].prev != prev)
            return "O2: a list's links do not agree";
        if (prev != ORDER_NONE && id_cmp(o->parked[prev].id, o->parked[i].id) >= 0)
            return "O2: parked entries of a key do not ascend";
        prev = i;
    }
    return prev == k->last ? NULL : "O2: a list does not end with its last";
}

static uint32_t order_count_free(const struct order *o)
{
    uint32_t n = 0;

    for (uint32_t i = o->free_parked; i != ORDER_NONE && n <= o->cap_parked; i = o->parked[i].next)
        n++;
    return n;
}

const char *order_check(const struct order *o)
{
    uint32_t n_keys = 0, n_parked = 0, n_turns = 0;
    const char *bad = NULL;

    for (uint32_t b = 0; b < o->cap_keys; b++) {
        for (uint32_t i = o->buckets[b]; i != ORDER_NONE; i = o->keys[i].next, n_keys++) {
            const struct order_key *k = &o->keys[i];
            if (k->holders == 0 && k->first == ORDER_NONE)
                return "O1: a key that nobody needs has a node";
            n_turns += order_has_turn(o, i);
            bad = order_check_list(o, k, &n_parked);
            if (bad != NULL)
                return bad;
        }
    }
    if (n_keys != o->n_keys || n_parked != o->n_parked)
        return "O1: keys or parked entries are not as many as counted";
    if (order_count_turns(o) != n_turns)
        return "O3: the tree is not the keys whose turn it is";
    return order_count_free(o) == o->cap_parked - o->n_parked ? NULL : "O4: a node is lost";
}
