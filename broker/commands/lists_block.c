/*
 * lists_block.c - BLPOP, BRPOP, BLMPOP, BLMOVE, BRPOPLPUSH: who finds nothing to pop waits for it.
 *
 * What waits is a copy of the request in engine/blocking.c. Whatever puts a list at one of its keys (a push, but RENAME, COPY, MOVE
 * or RESTORE as well) marks the key; after the command, or the whole EXEC, the keys are served in the order in which they were
 * marked, and those who wait for one in the order in which they came, while there are elements. A request that waits for
 * several keys so gets an element of the first that was filled; one that comes and finds several, of the first that it names. One
 * that moves an element to a list for which others wait marks that one in turn, and so on.
 *
 * Inside MULTI nothing waits: there it is as if the time had run out.
 *
 *   K1  A try that finds no list at the key changes nothing and replies nothing. A key of another type is no list; only
 *       a command that has just come is told of it.
 *   K2  What a try writes has room in the log before it changes anything.
 */
#include <math.h>
#include <stdlib.h>
#include "broker/commands/lists.h"
#include "broker/engine/args.h"
#include "broker/engine/blocking.h"
#include "broker/engine/decimal.h"
#include "broker/engine/reply.h"

enum lists_wait_kind { LISTS_WAIT_POP, LISTS_WAIT_MPOP, LISTS_WAIT_MOVE };

struct lists_wait {
    enum lists_wait_kind kind;
    enum lists_side side, to_side; /* to_side and `to` of a move */
    struct slice to;
    uint64_t count; /* of BLMPOP */
    uint64_t deadline_ms;
    const struct slice *keys;
    size_t n_keys;
};

/* A copy in one allocation: the keys, then the bytes of all names. */
static struct lists_wait *lists_wait_copy(const struct lists_wait *x)
{
    size_t bytes = x->to.n;
    struct lists_wait *copy;
    struct slice *keys;
    uint8_t *p;

    for (size_t i = 0; i < x->n_keys; i++)
        bytes += x->keys[i].n;
    copy = malloc(sizeof *copy + x->n_keys * sizeof *keys + bytes);
    if (copy == NULL)
        return NULL;
    *copy = *x;
    keys = (struct slice *)(void *)(copy + 1);
    p = (uint8_t *)(keys + x->n_keys);
    for (size_t i = 0; i <= x->n_keys; i++) {
        struct slice *name = i < x->n_keys ? &keys[i] : &copy->to;
        struct slice from = i < x->n_keys ? x->keys[i] : x->to;
        *name = slice_of(p, from.n);
        if (from.n > 0)
            memcpy(p, from.p, from.n);
        p += from.n;
    }
    copy->keys = keys;
    return copy;
}

/* Takes from the list at `key` what the request wants, and replies. */
static void lists_wait_take(struct engine *e, struct client *c, const struct lists_wait *x,
                            struct slice key, struct object *o)
{
    const struct lists_move m = {
        .from = key, .to = x->to, .from_side = x->side, .to_side = x->to_side
    };

    if (x->kind == LISTS_WAIT_MOVE) {
        lists_move_one(e, c, &m);
    } else if (x->kind == LISTS_WAIT_MPOP) {
        lists_take_some(e, c, key, o, x->side, x->count);
    } else {
        reply_array(c, 2);
        reply_bulk(c, key.p, key.n);
        lists_take(e, c, key, o, x->side, 1);
    }
}

/* A blocking_try. The key that others wait for as well is served alone, so that nobody takes from another one what somebody
 * waits for longer. */
static bool lists_wait_try(struct engine *e, struct client *c, void *ctx)
{
    const struct lists_wait *x = ctx;
    struct slice key = blocking_served_key(e->blocking);
    struct object *o = engine_lookup(e, c, key);

    if (o == NULL || o->type != OBJECT_LIST)
        return false;
    e->promised = 0; /* no command is being executed */
    if (engine_reserve_more(e, c, cache_bound(1, key.n + LISTS_ELEMENT_BYTES)) &&
        cache_heat(e, c, &o))
        lists_wait_take(e, c, x, key, o);
    return true;
}

static void lists_wait_begin(struct engine *e, struct client *c, const struct lists_wait *x)
{
    struct lists_wait *copy = lists_wait_copy(x);
    struct blocking_wait wait = { .keys = x->keys,
                                  .n_keys = x->n_keys,
                                  .deadline_ms = x->deadline_ms,
                                  .serve = lists_wait_try,
                                  .release = free,
                                  .ctx = copy };
    struct err err;

    if (copy != NULL && blocking_block(e->blocking, c, &wait, &err) == OK)
        return;
    free(copy);
    reply_error(c, "OOM no memory to wait for %zu lists", x->n_keys);
}

/* A request that has just come. */
static void lists_wait_run(struct engine *e, struct client *c, const struct lists_wait *x)
{
    for (size_t i = 0; i < x->n_keys; i++) {
        struct object *o;
        if (!cache_write(e, c, x->keys[i], OBJECT_LIST, &o))
            return;
        if (o != NULL) {
            lists_wait_take(e, c, x, x->keys[i], o);
            return;
        }
    }
    if (!c->in_exec)
        lists_wait_begin(e, c, x);
    else if (x->kind == LISTS_WAIT_MOVE)
        reply_null(c);
    else
        reply_null_array(c);
}

/* Seconds, a fraction rounded up to milliseconds, as a time of the engine's clock; 0 is never. False after an error reply. */
static bool lists_parse_timeout(struct engine *e, struct client *c, struct slice text,
                                uint64_t *deadline_ms)
{
    const long double max = (long double)(INT64_MAX - (int64_t)e->now_ms);
    long double ms;

    if (!decimal_parse(text, &ms)) {
        reply_error(c, "ERR timeout is not a float or out of range");
        return false;
    }
    ms = ceill(ms * 1000);
    if (ms >= max) {
        reply_error(c, "ERR timeout is out of range");
        return false;
    }
    if (ms < 0) {
        reply_error(c, "ERR timeout is negative");
        return false;
    }
    *deadline_ms = ms == 0 ? UINT64_MAX : e->now_ms + (uint64_t)ms;
    return true;
}

static void lists_block_pop(struct engine *e, struct client *c, const struct slice *argv,
                            size_t argc, enum lists_side side)
{
    struct lists_wait x = {
        .kind = LISTS_WAIT_POP, .side = side, .keys = argv + 1, .n_keys = argc - 2
    };

    if (lists_parse_timeout(e, c, argv[argc - 1], &x.deadline_ms))
        lists_wait_run(e, c, &x);
}

void lists_blpop(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    lists_block_pop(e, c, argv, argc, LISTS_LEFT);
}

void lists_brpop(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    lists_block_pop(e, c, argv, argc, LISTS_RIGHT);
}

void lists_blmove(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct lists_wait x = { .kind = LISTS_WAIT_MOVE, .to = argv[2], .keys = argv + 1, .n_keys = 1 };

    (void)argc;
    if (lists_parse_side(c, argv[3], &x.side) && lists_parse_side(c, argv[4], &x.to_side) &&
        lists_parse_timeout(e, c, argv[5], &x.deadline_ms))
        lists_wait_run(e, c, &x);
}

void lists_brpoplpush(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct lists_wait x = { .kind = LISTS_WAIT_MOVE,
                            .side = LISTS_RIGHT,
                            .to_side = LISTS_LEFT,
                            .to = argv[2],
                            .keys = argv + 1,
                            .n_keys = 1 };

    (void)argc;
    if (lists_parse_timeout(e, c, argv[3], &x.deadline_ms))
        lists_wait_run(e, c, &x);
}

void lists_blmpop(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct lists_wait x = { .kind = LISTS_WAIT_MPOP };
    struct lists_mpop pop;

    if (!lists_parse_mpop(c, argv, argc, 2, &pop) ||
        !lists_parse_timeout(e, c, argv[1], &x.deadline_ms))
        return;
    x.side = pop.side;
    x.count = pop.count;
    x.keys = pop.keys;
    x.n_keys = pop.n_keys;
    lists_wait_run(e, c, &x);
}
