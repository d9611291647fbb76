/*
 * leases.c - GETLEASE: a value, or the right to be the one who computes it.
 *
 * It replies [state, value, token]:
 *
 *   hit     the key is there: its value, no token
 *   lease   it is not, and this caller is to compute it: the value that was kept for that (SET ... STALE), or nil, and a
 *           token for SET ... LEASE, which sets the key unless it was written or deleted meanwhile, or `ms` are over
 *   stale   somebody else computes it: the value that was kept
 *   miss    somebody else computes it, and none was kept; with WAIT only after that time, during which the value may come,
 *           or the lease end without one: then the first who waits has the next
 *
 * Nothing of it is in the log (cache/lease.h). A caller that goes away without setting the key holds its lease to the end.
 */
#include "broker/cache/lease.h"
#include <stdlib.h>
#include "broker/cache/cache.h"
#include "broker/engine/args.h"
#include "broker/engine/blocking.h"
#include "broker/engine/reply.h"

struct leases_wait { /* a caller that waits for what another computes */
    uint64_t ms;
    size_t key_n;
    uint8_t key[];
};

static void leases_reply(struct client *c, const char *state, const struct object *o,
                         const char *token)
{
    reply_array(c, 3);
    reply_str(c, state);
    if (o == NULL) {
        reply_null(c);
    } else {
        struct slice value = cache_string(o);
        reply_bulk(c, value.p, value.n);
    }
    if (token == NULL)
        reply_null(c);
    else
        reply_bulk(c, token, LEASE_TOKEN_N);
}

/* What was kept of a key that has expired, hot; *out NULL: nothing. False after an error reply. */
static bool leases_find_stale(struct engine *e, struct client *c, struct slice key,
                              struct object **out)
{
    struct object *o = state_find(&e->state, c->db, key);

    *out = NULL;
    if (o == NULL || o->type != OBJECT_STRING || object_stale_ms(o) <= e->now_ms)
        return true;
    if (!cache_heat(e, c, &o))
        return false;
    *out = o;
    return true;
}

static void leases_take(struct engine *e, struct client *c, struct slice key,
                        const struct object *stale, uint64_t ms)
{
    uint64_t number = engine_random(e);
    char token[LEASE_TOKEN_N];
    struct err err;
    int rc = lease_take(e->leases, c->db, key, e->now_ms + ms, number, &err);

    if (rc == ERR_NOMEM) {
        cache_nomem(c);
    } else if (rc != OK) {
        reply_error(c, "ERR %s", err.text);
    } else {
        lease_token(number, token);
        leases_reply(c, "lease", stale, token);
    }
}

/* Replies what there is to reply; false: that is `miss`, and nothing was replied. */
static bool leases_try(struct engine *e, struct client *c, struct slice key, uint64_t ms)
{
    struct object *o;

    if (!cache_read(e, c, key, OBJECT_STRING, &o))
        return true;
    if (o != NULL) {
        leases_reply(c, "hit", o, NULL);
        return true;
    }
    if (!leases_find_stale(e, c, key, &o))
        return true;
    if (!lease_is_taken(e->leases, c->db, key, e->now_ms)) {
        leases_take(e, c, key, o, ms);
        return true;
    }
    if (o != NULL)
        leases_reply(c, "stale", o, NULL);
    return o != NULL;
}

/* ---- waiting ---- */

static bool leases_serve(struct engine *e, struct client *c, void *ctx)
{
    const struct leases_wait *w = ctx;
    return leases_try(e, c, slice_of(w->key, w->key_n), w->ms);
}

static void leases_late(struct engine *e, struct client *c, void *ctx)
{
    (void)e;
    (void)ctx;
    leases_reply(c, "miss", NULL, NULL);
}

/* Has the client wait for the key; false if there is no memory for that. */
static bool leases_block(struct engine *e, struct client *c, struct slice key, uint64_t ms,
                         uint64_t wait_ms)
{
    struct leases_wait *w = malloc(sizeof *w + key.n);
    struct blocking_wait wait = { .keys = &key,
                                  .n_keys = 1,
                                  .deadline_ms = e->now_ms + wait_ms,
                                  .serve = leases_serve,
                                  .late = leases_late,
                                  .release = free,
                                  .ctx = w };
    struct err err;

    if (w == NULL)
        return false;
    w->ms = ms;
    w->key_n = key.n;
    bytes_copy(w->key, key.p, key.n);
    if (blocking_block(e->blocking, c, &wait, &err) == OK)
        return true;
    free(w);
    return false;
}

/* Reads the times; false after an error reply. */
static bool leases_times(struct client *c, const struct slice *argv, size_t argc, int64_t *ms,
                         int64_t *wait_ms)
{
    *wait_ms = 0;
    if (argc != 3 && (argc != 5 || !args_word(argv[3], "wait"))) {
        reply_syntax_error(c);
        return false;
    }
    if (!args_i64_in(argv[2], 1, LEASE_MS_MAX, ms)) {
        reply_error(c, "ERR a lease lasts from 1 to %d milliseconds", LEASE_MS_MAX);
        return false;
    }
    if (argc == 5 && !args_i64_in(argv[4], 0, LEASE_MS_MAX, wait_ms)) {
        reply_error(c, "ERR WAIT is from 0 to %d milliseconds", LEASE_MS_MAX);
        return false;
    }
    return true;
}

static void leases_getlease(struct engine *e, struct client *c, const struct slice *argv,
                            size_t argc)
{
    int64_t ms, wait_ms;

    if (!leases_times(c, argv, argc, &ms, &wait_ms) || leases_try(e, c, argv[1], (uint64_t)ms))
        return;
    if (wait_ms == 0 || c->in_exec)
        leases_late(e, c, NULL);
    else if (!leases_block(e, c, argv[1], (uint64_t)ms, (uint64_t)wait_ms))
        cache_nomem(c);
}

const struct command lease_commands[] = {
    { .name = "getlease",
      .handler = leases_getlease,
      .arity = -3,
      .flags = CMD_READONLY | CMD_BLOCKING | CMD_NOSCRIPT,
      .categories = CAT_STRING,
      .first_key = 1,
      .last_key = 1,
      .key_step = 1,
      .group = "string",
      .since = "beck 0.4",
      .complexity = "O(log N) in leases",
      .summary = "The value of a string, or a lease to compute it: [state, value, token]",
      .syntax = "key milliseconds [WAIT milliseconds]",
      .key_flags = "RO ACCESS",
      .prefault = cache_prefault },
    { .name = NULL },
};
