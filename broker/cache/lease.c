/*
 * lease.c - leases, by key and by when they end.
 *
 * When a popular value is missing, all of its readers would compute it at once. A lease lets one of them: the others get the
 * old value if there is one, wait, or go away. The one sets the value with its token, which is refused if somebody wrote or
 * deleted the key meanwhile: what it computed may be from before that.
 *
 * A lease is one allocation with its key, in a dictionary of its database and in a heap by its end. That a server restarts
 * ends all of them; tokens are random, so one from before is never taken for another.
 *
 *   L1  Each lease is in its database's dictionary and in the heap, at `slot`.
 *   L2  The heap's parents do not end later than their children.
 *   L3  n <= LEASES_MAX, and the keys' bytes <= LEASES_BYTES_MAX.
 */
#include "broker/cache/lease.h"
#include <assert.h>
#include <stdlib.h>
#include "broker/config.h"
#include "log/dict.h"

struct lease {
    struct dict_node node; /* must be first */
    uint64_t until_ms, number;
    size_t slot, key_n;
    int db;
    uint8_t key[];
};

struct leases {
    struct dict dbs[CONFIG_DATABASES];
    struct lease **heap;
    size_t n, cap, bytes;
    void (*ended)(void *ctx, int db, struct slice key);
    void *ctx;
};

enum { LEASES_FIRST = 64 };

static struct lease *lease_of_node(const struct dict_node *node)
{
    return (struct lease *)(uintptr_t)node; /* node is its first member */
}

static struct slice lease_key(const struct dict_node *node)
{
    const struct lease *x = lease_of_node(node);
    return slice_of(x->key, x->key_n);
}

int leases_new(const uint8_t hash_key[16], void (*ended)(void *ctx, int db, struct slice key),
               void *ctx, struct leases **out, struct err *e)
{
    struct leases *l = calloc(1, sizeof *l);

    if (l == NULL)
        return err_set(e, ERR_NOMEM, "make the table of leases");
    for (int db = 0; db < CONFIG_DATABASES; db++)
        dict_init(&l->dbs[db], hash_key, lease_key);
    l->ended = ended;
    l->ctx = ctx;
    *out = l;
    return OK;
}

void leases_free(struct leases *l)
{
    if (l == NULL)
        return;
    lease_end_all(l, -1);
    for (int db = 0; db < CONFIG_DATABASES; db++)
        dict_fini(&l->dbs[db]);
    free(l->heap);
    free(l);
}

/* ---- the heap ---- */

static void lease_put(struct leases *l, size_t slot, struct lease *x)
{
    l->heap[slot] = x;
    x->slot = slot;
}

static void lease_up(struct leases *l, size_t slot, struct lease *x)
{
    for (; slot > 0 && l->heap[(slot - 1) / 2]->until_ms > x->until_ms; slot = (slot - 1) / 2)
        lease_put(l, slot, l->heap[(slot - 1) / 2]);
    lease_put(l, slot, x);
}

static void lease_down(struct leases *l, size_t slot, struct lease *x)
{
    for (size_t child; (child = 2 * slot + 1) < l->n; slot = child) {
        if (child + 1 < l->n && l->heap[child + 1]->until_ms < l->heap[child]->until_ms)
            child++;
        if (l->heap[child]->until_ms >= x->until_ms)
            break;
        lease_put(l, slot, l->heap[child]);
    }
    lease_put(l, slot, x);
}

static void lease_free(struct leases *l, struct lease *x)
{
    struct lease *last = l->heap[--l->n];

    if (last != x && x->slot > 0 && l->heap[(x->slot - 1) / 2]->until_ms > last->until_ms)
        lease_up(l, x->slot, last);
    else if (last != x)
        lease_down(l, x->slot, last);
    dict_remove(&l->dbs[x->db], &x->node);
    l->bytes -= x->key_n;
    free(x);
}

static bool leases_grow(struct leases *l)
{
    size_t cap = l->cap == 0 ? LEASES_FIRST : 2 * l->cap;
    struct lease **heap;

    if (l->n < l->cap)
        return true;
    heap = realloc(l->heap, cap * sizeof(struct lease *));
    if (heap == NULL)
        return false;
    l->heap = heap;
    l->cap = cap;
    return true;
}

/* ---- leases ---- */

static struct lease *lease_find(const struct leases *l, int db, struct slice key)
{
    return l->n == 0 ? NULL : lease_of_node(dict_find(&l->dbs[db], key));
}

bool lease_is_taken(const struct leases *l, int db, struct slice key, uint64_t now_ms)
{
    const struct lease *x = lease_find(l, db, key);
    return x != NULL && x->until_ms > now_ms;
}

/* The lease ends without its key having been written. */
static void lease_give_back(struct leases *l, struct lease *x)
{
    if (l->ended != NULL)
        l->ended(l->ctx, x->db, slice_of(x->key, x->key_n));
    lease_free(l, x);
}

static struct lease *lease_new(struct leases *l, struct slice key)
{
    struct lease *x = leases_grow(l) ? malloc(sizeof *x + key.n) : NULL;

    if (x == NULL)
        return NULL;
    x->key_n = key.n;
    bytes_copy(x->key, key.p, key.n);
    return x;
}

int lease_take(struct leases *l, int db, struct slice key, uint64_t until_ms, uint64_t number,
               struct err *e)
{
    struct lease *x;

    if (key.n > LEASE_KEY_MAX)
        return err_set(e, ERR_TOO_BIG, "a key of more than %d bytes has no leases", LEASE_KEY_MAX);
    lease_end(l, db, key); /* one whose time is over */
    while (l->n >= LEASES_MAX || l->bytes + key.n > LEASES_BYTES_MAX)
        lease_give_back(l, l->heap[0]); /* L3 */
    x = lease_new(l, key);
    if (x == NULL)
        return err_set(e, ERR_NOMEM, "remember a lease");
    x->db = db;
    x->until_ms = until_ms;
    x->number = number;
    dict_add(&l->dbs[db], &x->node, key);
    l->bytes += key.n;
    lease_up(l, l->n++, x);
    return OK;
}

void lease_token(uint64_t number, char out[LEASE_TOKEN_N])
{
    for (int i = LEASE_TOKEN_N - 1; i >= 0; i--, number >>= 4)
        out[i] = "0123456789abcdef"[number & 15];
}

bool lease_holds(const struct leases *l, int db, struct slice key, struct slice token,
                 uint64_t now_ms)
{
    const struct lease *x = lease_find(l, db, key);
    char mine[LEASE_TOKEN_N];

    if (x == NULL || x->until_ms <= now_ms)
        return false;
    lease_token(x->number, mine);
    return slice_equal(token, slice_of(mine, sizeof mine));
}

void lease_end(struct leases *l, int db, struct slice key)
{
    struct lease *x = lease_find(l, db, key);

    if (x != NULL)
        lease_free(l, x);
}

void lease_end_all(struct leases *l, int db)
{
    for (size_t i = l->n; i-- > 0;) {
        while (i < l->n && (db < 0 || l->heap[i]->db == db))
            lease_free(l, l->heap[i]);
    }
}

void leases_expire(struct leases *l, uint64_t now_ms)
{
    while (l->n > 0 && l->heap[0]->until_ms <= now_ms)
        lease_give_back(l, l->heap[0]);
}

uint64_t leases_next_ms(const struct leases *l)
{
    return l->n == 0 ? UINT64_MAX : l->heap[0]->until_ms;
}

size_t leases_n(const struct leases *l)
{
    return l->n;
}

const char *leases_check(const struct leases *l)
{
    size_t n = 0, bytes = 0;

    for (int db = 0; db < CONFIG_DATABASES; db++)
        n += l->dbs[db].n;
    if (n != l->n)
        return "L1: as many in the dictionaries as in the heap";
    for (size_t i = 0; i < l->n; i++) {
        const struct lease *x = l->heap[i];
        bytes += x->key_n;
        if (x->slot != i || lease_find(l, x->db, slice_of(x->key, x->key_n)) != x)
            return "L1: each lease is where it should be";
        if (i > 0 && l->heap[(i - 1) / 2]->until_ms > x->until_ms)
            return "L2: the heap is in order";
    }
    return l->n > LEASES_MAX || bytes > LEASES_BYTES_MAX || bytes != l->bytes ? "L3: bounds" : NULL;
}
