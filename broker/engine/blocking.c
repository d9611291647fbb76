/*
 * blocking.c - clients that wait for keys.
 *
 * Three structures meet. A dictionary for each database knows the keys that somebody waits for; each
 * key has a list of its waiters, oldest first; a heap of waiters is ordered by deadline. One waiter (struct
 * blocked) is one allocation with a link for each of its keys:
 *
 *   dict of names ──► key "a" ──► link of w1 ──► link of w2         heap: [w2] [w1] ...
 *                     key "b" ──► link of w1
 *
 * A key that nobody waits for any more leaves the dictionary, so blocking_ready costs a test of the number
 * of waiters while nobody waits, and one lookup else. Ready keys stand in a list in the order in which they
 * became ready; serving takes the first one and lets its waiters try in order. A waiter that finds nothing
 * stays where it is: its turn and its deadline are kept, so a false wake-up costs it nothing.
 *
 *   B1  A waiter is in the lists of all its keys, in the heap if it has a deadline, and its client
 *       points to it.
 *   B2  A key in the dictionary has at least one waiter.
 *   B3  The heap's parents are not later than their children; equal deadlines go in order of arrival.
 */
#include "broker/engine/blocking.h"
#include <assert.h>
#include <stdlib.h>
#include "broker/config.h"
#include "broker/engine/client.h"
#include "log/dict.h"
#include "broker/engine/reply.h"

struct blocking_link { /* one waiter in the list of one of its keys */
    struct blocked *waiter;
    struct blocking_key *key;
    struct blocking_link *next, *prev;
};

struct blocking_key {
    struct dict_node node; /* must be first */
    struct blocking_link *first, *last;
    struct blocking_key *ready_next, *ready_prev;
    bool ready;
    int db;
    size_t len;
    uint8_t name[];
};

struct blocked {
    struct client *client;
    uint64_t deadline_ms, number; /* number: how many waited before it */
    size_t heap_slot;             /* SIZE_MAX: no deadline */
    blocking_try *serve;
    void (*late)(struct engine *e, struct client *c, void *ctx);
    void (*release)(void *ctx);
    void *ctx;
    size_t n_links;
    struct blocking_link links[];
};

struct blocking {
    struct engine *engine;
    blocking_done *done;
    struct dict dbs[CONFIG_DATABASES];
    struct blocking_key *ready_first, *ready_last;
    const struct blocking_key *served; /* its waiters try now */
    struct blocked **heap;
    size_t n_heap, cap_heap;
    size_t n_waiters, n_keys;
    uint64_t next_number;
};

/* ---- the heap of deadlines ---- */

static bool blocking_earlier(const struct blocked *a, const struct blocked *b)
{
    if (a->deadline_ms != b->deadline_ms)
        return a->deadline_ms < b->deadline_ms;
    return a->number < b->number;
}

static void blocking_heap_set(struct blocking *b, size_t i, struct blocked *w)
{
    b->heap[i] = w;
    w->heap_slot = i;
}

static void blocking_heap_up(struct blocking *b, size_t i, struct blocked *w)
{
    for (size_t parent; i > 0; i = parent) {
        parent = (i - 1) / 2;
        if (!blocking_earlier(w, b->heap[parent]))
            break;
        blocking_heap_set(b, i, b->heap[parent]);
    }
    blocking_heap_set(b, i, w);
}

static void blocking_heap_down(struct blocking *b, size_t i, struct blocked *w)
{
    for (size_t child; (child = 2 * i + 1) < b->n_heap; i = child) {
        if (child + 1 < b->n_heap && blocking_earlier(b->heap[child + 1], b->heap[child]))
            child++;
        if (!blocking_earlier(b->heap[child], w))
            break;
        blocking_heap_set(b, i, b->heap[child]);
    }
    blocking_heap_set(b, i, w);
}

static void blocking_heap_remove(struct blocking *b, struct blocked *w)
{
    size_t i = w->heap_slot;
    struct blocked *moved;

    if (i == SIZE_MAX)
        return;
    w->heap_slot = SIZE_MAX;
    moved = b->heap[--b->n_heap];
    if (moved == w)
        return;
    if (i > 0 && blocking_earlier(moved, b->heap[(i - 1) / 2]))
        blocking_heap_up(b, i, moved);
    else
        blocking_heap_down(b, i, moved);
}

static int blocking_heap_reserve(struct blocking *b, struct err *e)
{
    size_t cap = b->cap_heap == 0 ? 16 : b->cap_heap * 2;
    struct blocked **heap;

    if (b->n_heap < b->cap_heap)
        return OK;
    heap = realloc(b->heap, cap * sizeof heap[0]);
    if (heap == NULL)
        return err_set(e, ERR_NOMEM, "deadlines of %zu blocked clients", cap);
    b->heap = heap;
    b->cap_heap = cap;
    return OK;
}

/* ---- keys and their waiters ---- */

static struct slice blocking_key_name(const struct dict_node *node)
{
    const struct blocking_key *k = (const struct blocking_key *)(const void *)node;

    return slice_of(k->name, k->len);
}

static struct blocking_key *blocking_find(struct blocking *b, int db, struct slice name)
{
    return (struct blocking_key *)(void *)dict_find(&b->dbs[db], name);
}

static void blocking_ready_push(struct blocking *b, struct blocking_key *k)
{
    if (k->ready)
        return;
    k->ready = true;
    k->ready_next = NULL;
    k->ready_prev = b->ready_last;
    if (b->ready_last != NULL)
        b->ready_last->ready_next = k;
    else
        b->ready_first = k;
    b->ready_last = k;
}

static void blocking_ready_remove(struct blocking *b, struct blocking_key *k)
{
    if (!k->ready)
        return;
    k->ready = false;
    if (k->ready_prev != NULL)
        k->ready_prev->ready_next = k->ready_next;
    else
        b->ready_first = k->ready_next;
    if (k->ready_next != NULL)
        k->ready_next->ready_prev = k->ready_prev;
    else
        b->ready_last = k->ready_prev;
}

/* The key, new if nobody waits for it yet; NULL if memory ran out. */
static struct blocking_key *blocking_key_get(struct blocking *b, int db, struct slice name,
                                             struct err *e)
{
    struct blocking_key *k = blocking_find(b, db, name);

    if (k != NULL)
        return k;
    k = malloc(sizeof *k + name.n);
    if (k == NULL) {
        err_ignore(err_set(e, ERR_NOMEM, "a key to wait for")); /* NULL tells it */
        return NULL;
    }
    *k = (struct blocking_key){ .db = db, .len = name.n };
    if (name.n > 0)
        memcpy(k->name, name.p, name.n);
    dict_add(&b->dbs[db], &k->node, name);
    b->n_keys++;
    return k;
}

static void blocking_key_drop(struct blocking *b, struct blocking_key *k)
{
    blocking_ready_remove(b, k);
    dict_remove(&b->dbs[k->db], &k->node);
    b->n_keys--;
    free(k);
}

static void blocking_link(struct blocking_key *k, struct blocked *w)
{
    struct blocking_link *l = &w->links[w->n_links++];

    *l = (struct blocking_link){ .waiter = w, .key = k, .prev = k->last };
    if (k->last != NULL)
        k->last->next = l;
    else
        k->first = l;
    k->last = l;
}

static void blocking_unlink(struct blocking *b, struct blocking_link *l)
{
    struct blocking_key *k = l->key;

    if (l->prev != NULL)
        l->prev->next = l->next;
    else
        k->first = l->next;
    if (l->next != NULL)
        l->next->prev = l->prev;
    else
        k->last = l->prev;
    if (k->first == NULL)
        blocking_key_drop(b, k);
}

/* ---- a client's wait ---- */

/* Takes the waiter out of everything and frees it. */
static void blocking_forget(struct blocking *b, struct blocked *w)
{
    for (size_t i = 0; i < w->n_links; i++)
        blocking_unlink(b, &w->links[i]);
    blocking_heap_remove(b, w);
    w->client->blocked = NULL;
    if (w->release != NULL)
        w->release(w->ctx);
    b->n_waiters--;
    free(w);
}

/* The wait is over and its reply is made. */
static void blocking_finish(struct blocking *b, struct blocked *w)
{
    struct client *c = w->client;

    blocking_forget(b, w);
    b->done(b->engine, c);
}

/* Links `w` to each key once, however often it is named. */
static int blocking_link_all(struct blocking *b, struct blocked *w,
                             const struct blocking_wait *wait, struct err *e)
{
    for (size_t i = 0; i < wait->n_keys; i++) {
        struct blocking_key *k = blocking_key_get(b, w->client->db, wait->keys[i], e);

        if (k == NULL)
            return ERR_NOMEM;
        if (k->last == NULL || k->last->waiter != w)
            blocking_link(k, w);
    }
    return OK;
}

int blocking_block(struct blocking *b, struct client *c, const struct blocking_wait *wait,
                   struct err *err)
{
    struct blocked *w;
    int rc = blocking_heap_reserve(b, err);

    assert(c->blocked == NULL);
    assert(wait->n_keys > 0);
    if (rc != OK)
        return rc;
    w = malloc(sizeof *w + wait->n_keys * sizeof w->links[0]);
    if (w == NULL)
        return err_set(err, ERR_NOMEM, "wait for %zu keys", wait->n_keys);
    *w = (struct blocked){ .client = c,
                           .deadline_ms = wait->deadline_ms,
                           .number = b->next_number++,
                           .heap_slot = SIZE_MAX,
                           .serve = wait->serve,
                           .late = wait->late };
    b->n_waiters++;
    c->blocked = w;
    rc = blocking_link_all(b, w, wait, err);
    if (rc != OK) {
        blocking_forget(b, w);
        return rc;
    }
    w->release = wait->release;
    w->ctx = wait->ctx;
    if (w->deadline_ms != UINT64_MAX)
        blocking_heap_up(b, b->n_heap++, w);
    return OK;
}

static void blocking_reply_late(struct blocking *b, struct blocked *w)
{
    if (w->late == NULL)
        reply_null_array(w->client);
    else
        w->late(b->engine, w->client, w->ctx);
}

bool blocking_unblock(struct blocking *b, struct client *c, bool with_error)
{
    if (c->blocked == NULL)
        return false;
    if (with_error)
        reply_error(c, "UNBLOCKED client unblocked via CLIENT UNBLOCK");
    else
        blocking_reply_late(b, c->blocked);
    blocking_finish(b, c->blocked);
    return true;
}

void blocking_client_gone(struct blocking *b, struct client *c)
{
    if (c->blocked != NULL)
        blocking_forget(b, c->blocked);
}

/* ---- ready keys ---- */

void blocking_ready(struct blocking *b, int db, struct slice key)
{
    struct blocking_key *k = b->n_waiters == 0 ? NULL : blocking_find(b, db, key);

    if (k != NULL)
        blocking_ready_push(b, k);
}

static void blocking_ready_node(void *ctx, struct dict_node *node)
{
    blocking_ready_push(ctx, (struct blocking_key *)(void *)node);
}

void blocking_ready_all(struct blocking *b, int db)
{
    for (int i = 0; i < CONFIG_DATABASES; i++) {
        uint64_t cursor = 0;

        if ((db >= 0 && db != i) || b->dbs[i].n == 0)
            continue;
        do
            cursor = dict_scan(&b->dbs[i], cursor, blocking_ready_node, b);
        while (cursor != 0);
    }
}

/* Lets the waiters of one key try, in order. The last of them takes the key with it when it goes. */
static void blocking_serve_key(struct blocking *b, struct blocking_key *k)
{
    for (struct blocking_link *l = k->first, *next; l != NULL; l = next) {
        struct blocked *w = l->waiter;

        next = l->next;
        b->served = k;
        if (w->serve(b->engine, w->client, w->ctx))
            blocking_finish(b, w);
    }
}

void blocking_serve(struct blocking *b)
{
    while (b->ready_first != NULL) {
        struct blocking_key *k = b->ready_first;

        blocking_ready_remove(b, k);
        blocking_serve_key(b, k);
        b->served = NULL;
    }
}

struct slice blocking_served_key(const struct blocking *b)
{
    assert(b->served != NULL);
    return slice_of(b->served->name, b->served->len);
}

bool blocking_has_ready(const struct blocking *b)
{
    return b->ready_first != NULL;
}

/* ---- time ---- */

size_t blocking_expire(struct blocking *b, uint64_t now_ms)
{
    size_t n = 0;

    for (; b->n_heap > 0 && b->heap[0]->deadline_ms <= now_ms; n++) {
        blocking_reply_late(b, b->heap[0]);
        blocking_finish(b, b->heap[0]);
    }
    return n;
}

uint64_t blocking_next_deadline_ms(const struct blocking *b)
{
    return b->n_heap == 0 ? UINT64_MAX : b->heap[0]->deadline_ms;
}

/* ---- the whole ---- */

int blocking_new(struct engine *e, const uint8_t hash_key[16], blocking_done *done,
                 struct blocking **out, struct err *err)
{
    struct blocking *b = calloc(1, sizeof *b);

    if (b == NULL)
        return err_set(err, ERR_NOMEM, "table of blocked clients");
    b->engine = e;
    b->done = done;
    for (int i = 0; i < CONFIG_DATABASES; i++)
        dict_init(&b->dbs[i], hash_key, blocking_key_name);
    *out = b;
    return OK;
}

void blocking_free(struct blocking *b)
{
    if (b == NULL)
        return;
    assert(b->n_waiters == 0);
    for (int i = 0; i < CONFIG_DATABASES; i++)
        dict_fini(&b->dbs[i]);
    free(b->heap);
    free(b);
}

size_t blocking_n_clients(const struct blocking *b)
{
    return b->n_waiters;
}

size_t blocking_n_keys(const struct blocking *b)
{
    return b->n_keys;
}

struct blocking_walk { /* what blocking_check found on its way through the dictionaries */
    const char *broken;
};

static void blocking_check_key(void *ctx, struct dict_node *node)
{
    const struct blocking_key *k = (const struct blocking_key *)(const void *)node;
    struct blocking_walk *walk = ctx;
    const struct blocking_link *prev = NULL;

    if (k->first == NULL)
        walk->broken = "B2: a key without waiters";
    for (const struct blocking_link *l = k->first; l != NULL; prev = l, l = l->next)
        if (l->key != k || l->prev != prev || l->waiter->client->blocked != l->waiter)
            walk->broken = "B1: a waiter's links";
    if (k->last != prev)
        walk->broken = "B1: the end of a key's list";
}

const char *blocking_check(struct blocking *b)
{
    struct blocking_walk walk = { NULL };
    size_t n_keys = 0;

    for (size_t i = 0; i < b->n_heap; i++) {
        if (b->heap[i]->heap_slot != i || b->heap[i]->client->blocked != b->heap[i])
            return "B1: a waiter's place in the heap";
        if (i > 0 && blocking_earlier(b->heap[i], b->heap[(i - 1) / 2]))
            return "B3: the heap's order";
    }
    for (int i = 0; i < CONFIG_DATABASES; i++) {
        uint64_t cursor = 0;

        n_keys += b->dbs[i].n;
        do
            cursor = dict_scan(&b->dbs[i], cursor, blocking_check_key, &walk);
        while (cursor != 0);
    }
    if (n_keys != b->n_keys)
        return "B2: the number of keys";
    return walk.broken;
}
