/*
 * xnack.c - XNACK.
 *
 * A consumer gives entries back, and says how that counts: SILENT, it was not the entry's fault; FAIL, it was; FATAL, nobody
 * will ever do better. Words come in any order behind the mode. Each ID is looked at as the ones before have left it; equal ones
 * are brought together, and one change made of them.
 *
 * From when on an entry may be handed out again says DELAY, in every group; else the group's BACKOFF, by how often the entry has
 * been delivered, so SILENT, which takes that delivery back, waits as FAIL does; else it is at once.
 *
 * What has failed for the last time, in a group with a dead-letter stream, moves there before the reply, as it was pending
 * before the command. Where that is not possible now (in EXEC, on a full disk, another type has the name), it stays pending and
 * engine/redelivery.c does it later.
 */
#include <inttypes.h>
#include <stdlib.h>
#include "broker/commands/claims.h"
#include "broker/commands/xgroup_options.h"
#include "broker/engine/args.h"
#include "broker/engine/deadletter.h"
#include "broker/engine/reply.h"

enum xnack_mode { XNACK_SILENT, XNACK_FAIL, XNACK_FATAL };

struct xnack_item {
    struct id id;
    struct pel_entry was; /* as it is pending; of one that FORCE makes: count 0 */
    bool is_new, done;
    uint64_t count, time_ms; /* what it becomes */
    uint64_t n;              /* how often it is named */
};

struct xnack {
    enum xnack_mode mode;
    bool force;
    int64_t retry, delay_ms; /* -1: not given */
    size_t ids_at, n_ids;    /* in argv */
    struct xnack_item *items;
    size_t n;
};

/* ---- arguments ---- */

static bool xnack_parse_mode(struct client *c, struct slice word, struct xnack *x)
{
    if (args_word(word, "silent"))
        x->mode = XNACK_SILENT;
    else if (args_word(word, "fail"))
        x->mode = XNACK_FAIL;
    else if (args_word(word, "fatal"))
        x->mode = XNACK_FATAL;
    else
        reply_error(c, "ERR mode must be SILENT, FAIL, or FATAL");
    return args_word(word, "silent") || args_word(word, "fail") || args_word(word, "fatal");
}

/* IDS numids id ... at argv[*i], which moves to the last of them; false if an error has been replied. */
static bool xnack_parse_ids(struct client *c, const struct slice *argv, size_t argc, size_t *i,
                            struct xnack *x)
{
    int64_t n;

    if (!args_i64_in(argv[*i + 1], 1, INT32_MAX, &n)) {
        reply_error(c, "ERR numids must be a positive integer");
        return false;
    }
    if ((uint64_t)n > argc - *i - 2) {
        reply_error(c, "ERR number of IDs doesn't match numids");
        return false;
    }
    x->ids_at = *i + 2;
    x->n_ids = (size_t)n;
    *i = x->ids_at + x->n_ids - 1;
    return true;
}

static bool xnack_parse_retry(struct client *c, struct slice value, struct xnack *x)
{
    if (!args_i64(value, &x->retry)) {
        reply_not_integer(c);
        return false;
    }
    if (x->retry < 0)
        reply_error(c, "ERR Invalid RETRYCOUNT value, must be >= 0");
    return x->retry >= 0;
}

static bool xnack_parse_delay(struct client *c, struct slice value, struct xnack *x)
{
    if (args_i64_in(value, 0, (int64_t)XGROUP_DURATION_MAX_MS, &x->delay_ms))
        return true;
    reply_error(c, "ERR DELAY must be a number of milliseconds from 0 to %" PRIu64,
                XGROUP_DURATION_MAX_MS);
    return false;
}

/* The option at argv[*i], which moves to its last word; false if an error has been replied. */
static bool xnack_parse_option(struct client *c, const struct slice *argv, size_t argc, size_t *i,
                               struct xnack *x)
{
    struct slice word = argv[*i];
    bool more = *i + 1 < argc;

    if (args_word(word, "force")) {
        x->force = true;
        return true;
    }
    if (more && args_word(word, "ids"))
        return xnack_parse_ids(c, argv, argc, i, x);
    if (more && args_word(word, "retrycount"))
        return xnack_parse_retry(c, argv[++*i], x);
    if (more && args_word(word, "delay"))
        return xnack_parse_delay(c, argv[++*i], x);
    if (!more && args_word(word, "delay"))
        reply_error(c, "ERR syntax error, DELAY needs a value");
    else
        reply_error(c, "ERR Unrecognized XNACK option '%.*s'", reply_echo_n(word),
                    (const char *)word.p);
    return false;
}

static bool xnack_parse(struct client *c, const struct slice *argv, size_t argc, struct xnack *x)
{
    *x = (struct xnack){ .retry = -1, .delay_ms = -1 };
    if (!xnack_parse_mode(c, argv[3], x))
        return false;
    for (size_t i = 4; i < argc; i++)
        if (!xnack_parse_option(c, argv, argc, &i, x))
            return false;
    if (x->n_ids == 0)
        reply_error(c, "ERR syntax error, expected IDS keyword");
    return x->n_ids > 0;
}

/* ---- IDs ---- */

static int xnack_cmp(const void *a, const void *b)
{
    return id_cmp(((const struct xnack_item *)a)->id, ((const struct xnack_item *)b)->id);
}

/* Reads the IDs into x->items, ascending, equal ones as one; false if an error has been replied. The items are freed by the
 * caller in any case. */
static bool xnack_take_ids(struct client *c, const struct slice *argv, struct xnack *x)
{
    x->items = calloc(x->n_ids, sizeof *x->items);
    if (x->items == NULL) {
        reply_error(c, "OOM no memory for %zu IDs", x->n_ids);
        return false;
    }
    for (size_t i = 0; i < x->n_ids; i++) {
        x->items[i].n = 1;
        if (!streams_parse_id(argv[x->ids_at + i], 0, &x->items[i].id)) {
            streams_bad_id(c);
            return false;
        }
    }
    qsort(x->items, x->n_ids, sizeof x->items[0], xnack_cmp);
    for (size_t i = 0; i < x->n_ids; i++) {
        if (x->n > 0 && id_cmp(x->items[x->n - 1].id, x->items[i].id) == 0)
            x->items[x->n - 1].n++;
        else
            x->items[x->n++] = x->items[i];
    }
    return true;
}

/* ---- what becomes of them ---- */

static uint64_t xnack_count(const struct xnack *x, const struct xnack_item *item)
{
    if (x->retry >= 0)
        return (uint64_t)x->retry;
    switch (x->mode) {
    case XNACK_SILENT: return item->was.count > item->n ? item->was.count - item->n : 0;
    case XNACK_FATAL: return PEL_COUNT_FATAL;
    default: return item->was.count;
    }
}

/* How long it is not handed out. */
static uint64_t xnack_wait_ms(const struct group *g, const struct xnack *x,
                              const struct xnack_item *item)
{
    uint64_t failures = x->retry >= 0 ? (uint64_t)x->retry : item->was.count;

    if (x->delay_ms >= 0)
        return (uint64_t)x->delay_ms;
    if (group_options(g)->n_backoff == 0 || group_buries(g, item->count))
        return 0;
    return group_backoff_ms(g, failures > 0 ? failures : 1);
}

static bool xnack_has_dlq(const struct group *g)
{
    return group_options(g)->dlq.n > 0;
}

/* What is pending, and what FORCE makes so; item->n is 0 for others. Errors: as claims_seek. */
static int xnack_look(const struct engine *e, const struct group *g, const struct xnack *x,
                      struct cursor *at, struct xnack_item *item, bool prefault, struct err *err)
{
    struct pel_entry found = { .key = 0 };
    bool there = true;
    int rc = OK;

    item->is_new = !pel_get(g->pel, item->id, &found) || found.slot == PEL_PARKED;
    item->was = found;
    if (item->is_new)
        item->was = (struct pel_entry){ .id = item->id, .key = found.key };
    item->count = xnack_count(x, item);
    item->time_ms = e->now_ms + xnack_wait_ms(g, x, item);
    if (item->is_new && !x->force)
        there = false;
    else if (item->is_new || (prefault && xnack_has_dlq(g) && group_buries(g, item->count)))
        rc = claims_seek(at, &item->was, &there, err);
    if (rc != OK)
        return rc;
    if (item->is_new && there && item->was.key == 0)
        item->was.key = claims_key(g, cursor_at(at));
    if (item->is_new && !there)
        item->n = 0;
    return OK;
}

/* All items. What has to be read and is not in memory is noted in `wants`, or read on the spot if that is NULL. */
static int xnack_gather(struct engine *e, const struct stream *st, const struct group *g,
                        struct xnack *x, struct wants *wants, struct err *err)
{
    struct cursor at;
    int rc = OK;

    cursor_open(&at, e, st, wants != NULL ? CURSOR_RESIDENT : CURSOR_ON_THE_SPOT, wants);
    for (size_t i = 0; i < x->n; i++) {
        rc = xnack_look(e, g, x, &at, &x->items[i], wants != NULL, err);
        if (rc != OK && (rc != ERR_COLD || wants->bytes - wants->largest > WANTS_BYTES_MAX))
            break;
    }
    cursor_close(&at);
    return rc;
}

/* ---- effects ---- */

struct xnack_batch { /* those that become pending from one moment on */
    struct id *ids;
    uint64_t *counts;
    uint32_t *keys;
    size_t n;
};

static int xnack_batch_init(struct xnack_batch *b, size_t n, struct err *e)
{
    *b = (struct xnack_batch){ .ids = calloc(n, sizeof *b->ids),
                               .counts = calloc(n, sizeof *b->counts),
                               .keys = calloc(n, sizeof *b->keys) };
    if (b->ids == NULL || b->counts == NULL || b->keys == NULL)
        return err_set(e, ERR_NOMEM, "no memory for %zu IDs", n);
    return OK;
}

static void xnack_batch_fini(struct xnack_batch *b)
{
    free(b->ids);
    free(b->counts);
    free(b->keys);
}

/* Takes the items from number `i` on that have its time. */
static void xnack_batch_fill(struct xnack_batch *b, struct xnack *x, size_t i)
{
    uint64_t time_ms = x->items[i].time_ms;

    for (b->n = 0; i < x->n; i++) {
        struct xnack_item *item = &x->items[i];

        if (item->done || item->n == 0 || item->time_ms != time_ms)
            continue;
        b->ids[b->n] = item->id;
        b->counts[b->n] = item->count;
        b->keys[b->n++] = item->was.key;
        item->done = true;
    }
}

/* All are nacked: by a record for each moment from which on some may be handed out, which are no more than BACKOFF has
 * delays. */
static int xnack_apply(struct engine *e, struct client *c, struct stream *st, struct group *g,
                       struct xnack *x, struct err *err)
{
    struct xnack_batch b;
    int rc = xnack_batch_init(&b, x->n, err);

    for (size_t i = 0; i < x->n && rc == OK; i++) {
        struct group_change change = { .slot = PEL_NOBODY, .nacked = true };

        if (x->items[i].done || x->items[i].n == 0)
            continue;
        change.time_ms = x->items[i].time_ms;
        xnack_batch_fill(&b, x, i);
        change.ids = b.ids;
        change.counts = b.counts;
        change.keys = g->order != NULL ? b.keys : NULL;
        change.n = b.n;
        rc = grouplog_change(e, c, st, g, &change, false, err);
    }
    xnack_batch_fini(&b);
    return rc;
}

/* Moves what is dead now to the dead-letter stream, as far as that is possible. */
static void xnack_bury(struct engine *e, struct client *c, struct stream *st, struct group *g,
                       const struct xnack *x)
{
    struct pel_entry dead[DEADLETTER_BATCH];
    bool fatal[DEADLETTER_BATCH];
    size_t n = 0;

    for (size_t i = 0; i < x->n; i++) {
        const struct xnack_item *item = &x->items[i];

        if (item->n > 0 && !item->is_new && group_buries(g, item->count)) {
            fatal[n] = x->mode == XNACK_FATAL;
            dead[n++] = item->was;
        }
        if (n > 0 && (n == DEADLETTER_BATCH || i + 1 == x->n)) {
            if (deadletter_move(e, c, st, g, dead, fatal, n, NULL, NULL) != OK)
                return; /* they stay pending, and are tried again */
            n = 0;
        }
    }
}

static void xnack_run(struct engine *e, struct client *c, struct stream *st, struct group *g,
                      struct xnack *x)
{
    uint64_t n = 0;
    struct err err;
    int rc = xnack_gather(e, st, g, x, NULL, &err);

    if (rc == OK)
        rc = xnack_apply(e, c, st, g, x, &err);
    if (rc != OK) {
        claims_reply_failure(c, rc, &err);
        return;
    }
    for (size_t i = 0; i < x->n; i++)
        n += x->items[i].n;
    if (xnack_has_dlq(g) && !e->executing_multi)
        xnack_bury(e, c, st, g, x);
    reply_u64(c, n);
}

void xnack_nack(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct stream *st;
    struct group *g;
    struct xnack x;

    if (!xgroup_find_write(e, c, argv[1], argv[2], &st, &g))
        return;
    if (g == NULL) {
        xgroup_no_key_or_group(c, argv[1], argv[2], "");
        return;
    }
    if (xnack_parse(c, argv, argc, &x) && xnack_take_ids(c, argv, &x))
        xnack_run(e, c, st, g, &x);
    free(x.items);
}

void xnack_prefault(struct engine *e, struct client *c, const struct slice *argv, size_t argc,
                    struct wants *wants)
{
    const struct stream *st;
    const struct group *g = xgroup_peek(e, c, argv[1], argv[2], &st);
    struct xnack x;

    if (g == NULL || stream_n_sealed(st) == 0)
        return;
    if (xnack_parse(c, argv, argc, &x) && xnack_take_ids(c, argv, &x))
        err_ignore(xnack_gather(e, st, g, &x, wants, NULL)); /* the wants tell */
    free(x.items);
}

size_t xnack_bound(const struct slice *argv, size_t argc)
{
    (void)argv;
    return grouplog_bound(GROUP_BACKOFF_MAX + 2, argc);
}
