/*
 * xautoclaim.c - XAUTOCLAIM.
 *
 * Walks the pending entries by ID, looks at ten times COUNT of them at most, and says where to go on: so each call is short,
 * however many are pending, and a caller who follows the cursor to 0-0 has been told of everything. In a group with many
 * pending entries the cursor goes to the next one that could be claimed now, which the pages' summaries know; in a
 * smaller one to the next that is pending, as in Redis.
 *
 * A reply has XAUTOCLAIM_MAX entries at most, or about WANTS_BYTES_MAX, and ends before an entry that would have to be read by
 * the engine's thread: the cursor points to what is left.
 */
#include "broker/commands/claims.h"
#include "broker/engine/args.h"
#include "broker/engine/reply.h"

enum {
    XAUTOCLAIM_COUNT = 100, /* without COUNT */
    XAUTOCLAIM_MAX = 16384,
    XAUTOCLAIM_LOOKS = 10,   /* entries that are looked at, for each of COUNT */
    XAUTOCLAIM_SLICE = 64,   /* of them at a time */
    XAUTOCLAIM_JUMPS = 10000 /* pending entries from which on the cursor jumps */
};

static const struct pel_filter XAUTOCLAIM_ALL = { .kinds = PEL_HELD | PEL_NACKED,
                                                  .held_until = UINT64_MAX,
                                                  .nacked_until = UINT64_MAX };

struct xautoclaim {
    uint64_t min_idle_ms;
    struct id from; /* then: behind what was looked at */
    bool over;      /* that was the last of all IDs */
    int64_t count;
    bool id_only;
    struct claims claims;
};

/* ---- arguments ---- */

static bool xautoclaim_options(struct client *c, const struct slice *argv, size_t argc,
                               struct xautoclaim *x)
{
    for (size_t i = 6; i < argc; i++) {
        if (args_word(argv[i], "justid")) {
            x->id_only = true;
        } else if (args_word(argv[i], "count") && i + 1 < argc) {
            if (!args_i64_in(argv[++i], 1, INT64_MAX / 16, &x->count)) {
                reply_error(c, "ERR COUNT must be > 0");
                return false;
            }
        } else {
            reply_syntax_error(c);
            return false;
        }
    }
    return true;
}

/* Reads everything; false if an error has been replied. */
static bool xautoclaim_parse(struct client *c, const struct slice *argv, size_t argc,
                             struct xautoclaim *x)
{
    int64_t min_idle_ms;

    *x = (struct xautoclaim){ .count = XAUTOCLAIM_COUNT };
    if (!args_i64(argv[4], &min_idle_ms)) {
        reply_error(c, "ERR Invalid min-idle-time argument for XAUTOCLAIM");
        return false;
    }
    x->min_idle_ms = min_idle_ms > 0 ? (uint64_t)min_idle_ms : 0;
    if (!streams_parse_bound(c, argv[5], false, &x->from) || !xautoclaim_options(c, argv, argc, x))
        return false;
    if (x->count > XAUTOCLAIM_MAX)
        x->count = XAUTOCLAIM_MAX;
    return true;
}

/* ---- the walk ---- */

/* What may be claimed now. */
static struct pel_filter xautoclaim_filter(const struct engine *e, const struct xautoclaim *x)
{
    struct pel_filter f = XAUTOCLAIM_ALL;

    if (e->now_ms < x->min_idle_ms)
        f.kinds = PEL_NACKED;
    else if (x->min_idle_ms > 0)
        f.held_until = e->now_ms - x->min_idle_ms;
    f.nacked_until = e->now_ms;
    return f;
}

static bool xautoclaim_may_take(const struct engine *e, const struct xautoclaim *x,
                                const struct pel_entry *entry)
{
    if (entry->nacked)
        return entry->time_ms <= e->now_ms;
    return claims_is_idle(entry, x->min_idle_ms, e->now_ms);
}

/* What becomes of one entry. Errors: as claims_seek and claims_add, with nothing done. */
static int xautoclaim_look(const struct engine *e, struct xautoclaim *x, struct cursor *at,
                           const struct pel_entry *entry, struct err *err)
{
    bool there = !entry->gone && id_cmp(entry->id, stream_floor(at->st)) >= 0;
    int rc = OK;

    if (there && !xautoclaim_may_take(e, x, entry))
        return OK;
    if (there && !x->id_only)
        rc = claims_seek(at, entry, &there, err);
    if (rc != OK)
        return rc;
    if (there)
        return claims_add(&x->claims, entry->id,
                          x->id_only ? entry->count : claims_count(entry->count), entry->key,
                          x->id_only ? NULL : at, err);
    claims_add_gone(&x->claims, entry->id);
    return OK;
}

/* Whether the call has done its share. */
static bool xautoclaim_is_full(const struct xautoclaim *x)
{
    return x->claims.n + x->claims.n_gone >= x->claims.cap ||
           x->claims.shown_bytes >= WANTS_BYTES_MAX;
}

/* Whether to leave the rest to the next call, rather than to fail or to wait. */
static bool xautoclaim_may_stop(const struct xautoclaim *x, int rc)
{
    return (rc == ERR_COLD || rc == ERR_TOO_BIG) && x->claims.n + x->claims.n_gone > 0;
}

/* The walk. x->from is moved behind what was looked at. In a prefault what is not in memory counts as claimed, so that all of a
 * call is asked for. */
static int xautoclaim_walk(const struct engine *e, const struct group *g, struct xautoclaim *x,
                           struct cursor *at, struct wants *wants, struct err *err)
{
    uint64_t looks = x->claims.cap * (uint64_t)XAUTOCLAIM_LOOKS, n_cold = 0;
    struct pel_entry entries[XAUTOCLAIM_SLICE];
    size_t n, i = 0;

    for (n = 1; n > 0 && looks > 0 && !x->over && !xautoclaim_is_full(x); looks -= i) {
        n = pel_list(g->pel, x->from, &XAUTOCLAIM_ALL,
                     looks < XAUTOCLAIM_SLICE ? (size_t)looks : XAUTOCLAIM_SLICE, entries);
        for (i = 0; i < n && !xautoclaim_is_full(x); i++) {
            int rc = xautoclaim_look(e, x, at, &entries[i], err);

            if (wants != NULL && rc == ERR_COLD && wants->bytes <= WANTS_BYTES_MAX &&
                ++n_cold < x->claims.cap)
                rc = OK;
            if (rc != OK)
                return rc;
            x->from = entries[i].id;
            x->over = !id_next(&x->from);
        }
    }
    return OK;
}

/* Where the next call has to begin. */
static struct id xautoclaim_next(const struct engine *e, const struct group *g,
                                 const struct xautoclaim *x)
{
    struct pel_filter f =
        pel_n(g->pel) >= XAUTOCLAIM_JUMPS ? xautoclaim_filter(e, x) : XAUTOCLAIM_ALL;
    struct pel_entry entry;

    return !x->over && pel_next(g->pel, x->from, &f, &entry) ? entry.id : ID_MIN;
}

/* Gathers what is claimed; x->claims is to be freed in any case. If nothing has loaded the first entry of a call, that one is
 * read on the spot, so that each call gets on. */
static int xautoclaim_gather(struct engine *e, const struct stream *st, const struct group *g,
                             struct xautoclaim *x, struct wants *wants, struct err *err)
{
    uint64_t n = pel_n(g->pel);
    struct cursor at;
    int rc = claims_init(&x->claims, n < (uint64_t)x->count ? (size_t)n : (size_t)x->count, err);

    if (rc != OK)
        return rc;
    cursor_open(&at, e, st, CURSOR_RESIDENT, wants);
    rc = xautoclaim_walk(e, g, x, &at, wants, err);
    cursor_close(&at);
    if (rc == ERR_COLD && wants == NULL && !xautoclaim_may_stop(x, rc)) {
        x->claims.cap = 1;
        cursor_open(&at, e, st, CURSOR_ON_THE_SPOT, NULL);
        rc = xautoclaim_walk(e, g, x, &at, NULL, err);
        cursor_close(&at);
    }
    return xautoclaim_may_stop(x, rc) ? OK : rc;
}

/* ---- the command ---- */

static int xautoclaim_run(struct engine *e, struct client *c, struct slice name, struct stream *st,
                          struct group *g, struct xautoclaim *x, struct err *err)
{
    struct consumer *consumer;
    int rc = xautoclaim_gather(e, st, g, x, NULL, err);

    if (rc == OK)
        rc = claims_consumer(e, c, st, g, name, &consumer, err);
    return rc == OK ? claims_apply(e, c, st, g, &x->claims, consumer, e->now_ms, err) : rc;
}

static void xautoclaim_reply(struct client *c, const struct xautoclaim *x, struct id next)
{
    reply_array(c, 3);
    reply_id(c, next);
    reply_array(c, x->claims.n);
    for (size_t i = 0; i < x->claims.n; i++)
        claims_reply(c, &x->claims, i, x->id_only);
    reply_array(c, x->claims.n_gone);
    for (size_t i = 0; i < x->claims.n_gone; i++)
        reply_id(c, x->claims.gone[i]);
}

void xclaim_autoclaim(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct xautoclaim x;
    struct stream *st;
    struct group *g;
    struct err err;
    int rc;

    if (!xautoclaim_parse(c, argv, argc, &x) || !xgroup_find_write(e, c, argv[1], argv[2], &st, &g))
        return;
    if (g == NULL) {
        xgroup_no_key_or_group(c, argv[1], argv[2], "");
        return;
    }
    rc = xautoclaim_run(e, c, argv[3], st, g, &x, &err);
    if (rc == OK)
        xautoclaim_reply(c, &x, xautoclaim_next(e, g, &x));
    else
        claims_reply_failure(c, rc, &err);
    claims_fini(&x.claims);
}

void xautoclaim_prefault(struct engine *e, struct client *c, const struct slice *argv, size_t argc,
                         struct wants *wants)
{
    const struct stream *st;
    const struct group *g = xgroup_peek(e, c, argv[1], argv[2], &st);
    struct xautoclaim x;

    if (g == NULL || stream_n_sealed(st) == 0 || !xautoclaim_parse(c, argv, argc, &x) || x.id_only)
        return;
    err_ignore(xautoclaim_gather(e, st, g, &x, wants, NULL)); /* the wants tell */
    claims_fini(&x.claims);
}

size_t xautoclaim_bound(const struct slice *argv, size_t argc)
{
    int64_t count = XAUTOCLAIM_COUNT, n;

    for (size_t i = 6; i + 1 < argc; i++)
        if (args_word(argv[i], "count") && args_i64_in(argv[i + 1], 1, INT64_MAX, &n))
            count = n > count ? n : count;
    return grouplog_bound(3, 2 * (size_t)(count < XAUTOCLAIM_MAX ? count : XAUTOCLAIM_MAX));
}
