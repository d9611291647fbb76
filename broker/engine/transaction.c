/*
 * transaction.c - MULTI, EXEC and WATCH.
 *
 * Between MULTI and EXEC commands are only copied; they were looked up and checked for arity and permission
 * when they came. EXEC adds up what they may write at most and has the log make room for it before
 * the first one runs, so that it can refuse as a whole but never stop half way. While it runs nothing is
 * committed, hence its records are in one batch.
 *
 * What its commands need and is not in memory is loaded first (engine/cold.c): each says what it is, as the keys are
 * now, and EXEC is executed again when all of it is there. A command that needs something else because of those
 * before it reads it on the spot.
 *
 * A watched key is a node with a list of those who watch it; a client has a list of what it watches.
 *
 *   keys: "a" --> watch of client 1 --> watch of client 3
 *         "b" --> watch of client 1
 *
 * Every change of a key says so (engine_key_changed) and makes its watchers dirty. A key that expires
 * changes when its clock runs out, even if the record that removes it comes later: EXEC looks itself. A
 * key that had expired before WATCH counts as missing, so its removal changes nothing.
 *
 *   T1  A watched key's list is not empty; each watch is in its key's list and in its client's.
 *   T2  n_queued commands are in `queued`, queued_bytes is the memory that their arguments take.
 */
#include "broker/engine/transaction.h"
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include "broker/engine/args.h"
#include "broker/engine/cold.h"
#include "broker/engine/engine.h"
#include "broker/engine/reply.h"

enum { TRANSACTION_QUEUE_FIRST = 16 };

struct watched {
    struct dict_node node; /* must be first */
    struct watch *first;
    struct slice name; /* lies behind the struct */
};

struct watch {
    struct watch *client_next;
    struct watch *key_next, **key_at; /* what points to this one */
    struct watched *key;
    struct client *client;
    int db;
    bool expired; /* it was when WATCH came */
};

struct watching {
    struct dict dbs[CONFIG_DATABASES];
    size_t n; /* watches */
};

static struct watched *watched_of_node(const struct dict_node *node)
{
    return (struct watched *)(uintptr_t)node; /* node is its first member */
}

static struct slice watched_key(const struct dict_node *node)
{
    return watched_of_node(node)->name;
}

int watching_new(const uint8_t hash_key[16], struct watching **out, struct err *e)
{
    struct watching *w = calloc(1, sizeof *w);

    if (w == NULL)
        return err_set(e, ERR_NOMEM, "make the table of watched keys");
    for (int db = 0; db < CONFIG_DATABASES; db++)
        dict_init(&w->dbs[db], hash_key, watched_key);
    *out = w;
    return OK;
}

void watching_free(struct watching *w)
{
    if (w == NULL)
        return;
    assert(w->n == 0);
    for (int db = 0; db < CONFIG_DATABASES; db++)
        dict_fini(&w->dbs[db]);
    free(w);
}

/* ---- watching ---- */

/* The node of a key, made if it is not there. */
static struct watched *watched_get(struct watching *w, int db, struct slice key)
{
    struct watched *k = watched_of_node(dict_find(&w->dbs[db], key));

    if (k != NULL)
        return k;
    k = malloc(sizeof *k + key.n);
    if (k == NULL)
        return NULL;
    k->first = NULL;
    if (key.n > 0)
        memcpy(k + 1, key.p, key.n);
    k->name = slice_of(k + 1, key.n);
    dict_add(&w->dbs[db], &k->node, k->name);
    return k;
}

/* Looks at who watches the key rather than at what the client watches: that may be far more. */
static bool transaction_watches(const struct engine *e, const struct client *c, struct slice key)
{
    const struct watched *k = watched_of_node(dict_find(&e->watching->dbs[c->db], key));

    for (const struct watch *w = k == NULL ? NULL : k->first; w != NULL; w = w->key_next)
        if (w->client == c)
            return true;
    return false;
}

int transaction_watch(struct engine *e, struct client *c, struct slice key, struct err *err)
{
    struct watch *w;
    const struct object *o = state_find(&e->state, c->db, key);

    if (transaction_watches(e, c, key))
        return OK;
    if (c->n_watches >= CLIENT_WATCH_MAX)
        return err_set(err, ERR_TOO_BIG, "too many watched keys: the limit is %d",
                       CLIENT_WATCH_MAX);
    w = malloc(sizeof *w);
    if (w == NULL)
        return err_set(err, ERR_NOMEM, "watch a key");
    w->key = watched_get(e->watching, c->db, key);
    if (w->key == NULL) {
        free(w);
        return err_set(err, ERR_NOMEM, "watch a key");
    }
    w->client = c;
    w->db = c->db;
    w->expired = o != NULL && engine_is_expired(e, o);
    w->client_next = c->watches;
    c->watches = w;
    w->key_next = w->key->first;
    w->key_at = &w->key->first;
    if (w->key_next != NULL)
        w->key_next->key_at = &w->key_next;
    w->key->first = w;
    c->n_watches++;
    e->watching->n++;
    return OK;
}

static void watch_free(struct watching *all, struct watch *w)
{
    *w->key_at = w->key_next;
    if (w->key_next != NULL)
        w->key_next->key_at = w->key_at;
    if (w->key->first == NULL) {
        dict_remove(&all->dbs[w->db], &w->key->node);
        free(w->key);
    }
    free(w);
    all->n--;
}

void transaction_unwatch(struct engine *e, struct client *c)
{
    while (c->watches != NULL) {
        struct watch *w = c->watches;
        c->watches = w->client_next;
        watch_free(e->watching, w);
    }
    c->n_watches = 0;
    c->multi_dirty = false;
}

size_t transaction_n_watched(const struct client *c)
{
    size_t n = 0;

    for (const struct watch *w = c->watches; w != NULL; w = w->client_next)
        n++;
    return n;
}

/* The key was changed, or removed. */
static void watched_touch(struct watched *k, bool removed)
{
    for (struct watch *w = k->first; w != NULL; w = w->key_next) {
        if (w->expired && removed)
            w->expired = false;
        else
            w->client->multi_dirty = true;
    }
}

void transaction_key_changed(struct engine *e, int db, struct slice key)
{
    struct watched *k;

    if (e->watching->n == 0)
        return;
    k = watched_of_node(dict_find(&e->watching->dbs[db], key));
    if (k != NULL)
        watched_touch(k, state_find(&e->state, db, key) == NULL);
}

struct transaction_flushed {
    const struct state *state;
    int db, other; /* a key there counts too */
};

static void transaction_flush_node(void *ctx, struct dict_node *node)
{
    const struct transaction_flushed *flushed = ctx;
    struct watched *k = watched_of_node(node);

    if (state_find(flushed->state, flushed->db, k->name) != NULL ||
        state_find(flushed->state, flushed->other, k->name) != NULL)
        watched_touch(k, true);
}

static void transaction_touch_all(struct engine *e, int db, int other)
{
    struct transaction_flushed flushed = { &e->state, db, other };
    uint64_t cursor = 0;

    do
        cursor = dict_scan(&e->watching->dbs[db], cursor, transaction_flush_node, &flushed);
    while (cursor != 0);
}

void transaction_flush(struct engine *e, int db)
{
    for (int i = 0; i < CONFIG_DATABASES && e->watching->n > 0; i++)
        if (db < 0 || db == i)
            transaction_touch_all(e, i, i);
}

void transaction_swap(struct engine *e, int a, int b)
{
    if (e->watching->n == 0)
        return;
    transaction_touch_all(e, a, b);
    transaction_touch_all(e, b, a);
}

/* Whether a watched key has expired since, with or without a record that says so. */
static bool transaction_expired(const struct engine *e, const struct client *c)
{
    for (const struct watch *w = c->watches; w != NULL; w = w->client_next) {
        const struct object *o = state_find(&e->state, w->db, w->key->name);
        if (!w->expired && o != NULL && engine_is_expired(e, o))
            return true;
    }
    return false;
}

/* ---- the queue ---- */

static void transaction_forget_queue(struct client *c)
{
    for (size_t i = 0; i < c->n_queued; i++)
        free(c->queued[i].argv);
    free(c->queued);
    c->queued = NULL;
    c->n_queued = 0;
    c->cap_queued = 0;
    c->queued_bytes = 0;
}

void transaction_discard(struct engine *e, struct client *c)
{
    transaction_forget_queue(c);
    transaction_unwatch(e, c);
    c->in_multi = false;
    c->multi_failed = false;
}

bool transaction_takes_space(const struct client *c)
{
    for (size_t i = 0; i < c->n_queued; i++)
        if (command_takes_space(c->queued[i].command))
            return true;
    return false;
}

bool transaction_takes_memory(const struct client *c)
{
    for (size_t i = 0; i < c->n_queued; i++)
        if (c->queued[i].command->flags & CMD_DENYOOM)
            return true;
    return false;
}

static bool transaction_grow_queue(struct client *c)
{
    size_t cap = c->cap_queued == 0 ? TRANSACTION_QUEUE_FIRST : c->cap_queued * 2;
    struct client_queued *queued;

    if (c->n_queued < c->cap_queued)
        return true;
    queued = realloc(c->queued, cap * sizeof *queued);
    if (queued == NULL)
        return false;
    c->queued = queued;
    c->cap_queued = cap;
    return true;
}

static size_t transaction_bytes(const struct slice *argv, size_t argc)
{
    size_t bytes = 0;

    for (size_t i = 0; i < argc; i++)
        bytes += argv[i].n;
    return bytes;
}

void transaction_queue(struct engine *e, struct client *c, const struct command *command,
                       const struct slice *argv, size_t argc)
{
    size_t bytes = transaction_bytes(argv, argc), memory = bytes + argc * sizeof *argv;
    struct slice *copy = NULL;

    if (c->multi_failed) {
        reply_simple(c, "QUEUED"); /* EXEC will refuse: nothing needs to be kept */
        return;
    }
    if (c->n_queued >= CLIENT_MULTI_MAX) {
        reply_error(c, "ERR too many commands in a transaction: the limit is %d", CLIENT_MULTI_MAX);
    } else if (memory > e->config->max_batch_bytes ||
               c->queued_bytes > e->config->max_batch_bytes - memory) {
        reply_error(c, "ERR the transaction is larger than max-batch-bytes (%" PRIu64 ")",
                    e->config->max_batch_bytes);
    } else {
        if (transaction_grow_queue(c))
            copy = args_copy_all(argv, argc);
        if (copy == NULL)
            reply_error(c, "OOM no memory to queue the command");
    }
    if (copy == NULL) {
        transaction_forget_queue(c);
        c->multi_failed = true;
        return;
    }
    c->queued[c->n_queued++] = (struct client_queued){ command, copy, argc };
    c->queued_bytes += memory;
    reply_simple(c, "QUEUED");
}

/* ---- EXEC ---- */

static size_t transaction_bound(const struct client *c)
{
    size_t bytes = 0;

    for (size_t i = 0; i < c->n_queued; i++) {
        const struct client_queued *q = &c->queued[i];
        if (q->command->flags & CMD_WRITE)
            bytes += engine_bound(q->command, q->argv, q->argc);
    }
    return bytes;
}

/* `left`: what the log has room for. */
static void transaction_run(struct engine *e, struct client *c, size_t left)
{
    e->executing_multi = true;
    c->in_exec = true;
    reply_array(c, c->n_queued);
    for (size_t i = 0; i < c->n_queued; i++) {
        const struct client_queued *q = &c->queued[i];
        e->promised = left;
        engine_call(e, c, q->command, q->argv, q->argc);
        if (q->command->flags & CMD_WRITE)
            left -= engine_bound(q->command, q->argv, q->argc);
    }
    c->in_exec = false;
    e->executing_multi = false;
}

void transaction_refuse(struct engine *e, struct client *c, const char *why)
{
    reply_error(c, "EXECABORT Transaction discarded because of: %s", why);
    transaction_discard(e, c);
}

/* Adds what one command needs to the list; false if memory ran out. */
static bool transaction_ask(struct engine *e, struct client *c, const struct client_queued *q,
                            struct wants **list, size_t *n)
{
    struct wants wants, *grown;

    if (!cold_ask(e, c, q->command, q->argv, q->argc, &wants))
        return true;
    grown = realloc(*list, (*n + 1) * sizeof **list);
    if (grown == NULL) {
        wants_fini(&wants, log_cache(e->log));
        return false;
    }
    *list = grown;
    (*list)[(*n)++] = wants;
    return true;
}

/* Has EXEC wait for what its commands need. False: nothing is missing. */
static bool transaction_prefault(struct engine *e, struct client *c, const struct slice *argv,
                                 size_t argc)
{
    struct wants *wants = NULL;
    bool complete = true, waits = false;
    size_t n = 0;

    if (!log_has_sealed(e->log))
        return false;
    c->in_exec = true;
    for (size_t i = 0; i < c->n_queued && complete; i++)
        complete = transaction_ask(e, c, &c->queued[i], &wants, &n);
    c->in_exec = false;
    if (n > 0)
        waits = cold_wait(e, c, argv, argc, wants, n);
    free(wants);
    return waits;
}

/* Whether all of its commands let it run. */
static bool transaction_holds(struct engine *e, struct client *c)
{
    for (size_t i = 0; i < c->n_queued; i++) {
        const struct client_queued *q = &c->queued[i];
        if (q->command->condition != NULL && !q->command->condition(e, c, q->argv, q->argc))
            return false;
    }
    return true;
}

void transaction_exec(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    size_t bound;

    if (!c->in_multi) {
        reply_error(c, "ERR EXEC without MULTI");
        return;
    }
    if (transaction_expired(e, c) || !transaction_holds(e, c))
        c->multi_dirty = true;
    if (c->multi_failed) {
        reply_error(c, "EXECABORT Transaction discarded because of previous errors.");
    } else if (c->multi_dirty) {
        engine_need_all(e, c); /* it tells that somebody changed something */
        reply_null_array(c);
    } else {
        if (transaction_prefault(e, c, argv, argc))
            return;
        bound = transaction_bound(c);
        transaction_unwatch(e, c); /* what it changes itself is no matter */
        if (bound == 0 || engine_reserve(e, c, bound))
            transaction_run(e, c, bound);
    }
    transaction_discard(e, c);
}
