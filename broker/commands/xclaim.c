/*
 * xclaim.c - XCLAIM.
 *
 * Each ID is looked at as the ones before it have left it, so one that is named twice is claimed twice if the second time
 * it is idle enough still. To read each block once, and to have one ascending record, the IDs are sorted first; equal ones
 * stay in the order in which they were named, and the reply has all of them in that order.
 *
 * Whether a pending entry has been deleted its group knows. So JUSTID reads nothing, but for IDs that FORCE makes pending:
 * those are looked for.
 */
#include <stdlib.h>
#include "broker/commands/claims.h"
#include "broker/engine/args.h"
#include "broker/engine/reply.h"

struct xclaim_item {
    struct id id;
    size_t place;
    size_t claim; /* its number + 1; 0: it is not claimed */
};

struct xclaim {
    uint64_t min_idle_ms;
    uint64_t time_ms; /* of delivery */
    int64_t retry;    /* -1: the count goes up */
    bool force, id_only;
    struct id last;
    size_t n;
    struct xclaim_item *items;
    struct claims claims;
    uint64_t n_behind; /* the group's, if `last` moves it */
};

enum { XCLAIM_IDS_AT = 5 };

/* ---- arguments ---- */

static bool xclaim_bad_option(struct client *c, const char *name)
{
    reply_error(c, "ERR Invalid %s option argument for XCLAIM", name);
    return false;
}

/* A time as clients give it: one of the future, or before all time, is now. */
static uint64_t xclaim_time(const struct engine *e, int64_t ms)
{
    return ms < 0 || (uint64_t)ms > e->now_ms ? e->now_ms : (uint64_t)ms;
}

static bool xclaim_idle_option(const struct engine *e, struct client *c, struct slice value,
                               struct xclaim *x)
{
    int64_t ms;

    if (!args_i64(value, &ms))
        return xclaim_bad_option(c, "IDLE");
    if (__builtin_sub_overflow((int64_t)e->now_ms, ms, &ms))
        ms = -1;
    x->time_ms = xclaim_time(e, ms);
    return true;
}

/* An option with a value; false if an error has been replied. */
static bool xclaim_value_option(const struct engine *e, struct client *c, struct slice word,
                                struct slice value, struct xclaim *x)
{
    int64_t ms;

    if (args_word(word, "idle"))
        return xclaim_idle_option(e, c, value, x);
    if (args_word(word, "time")) {
        if (!args_i64(value, &ms))
            return xclaim_bad_option(c, "TIME");
        x->time_ms = xclaim_time(e, ms);
        return true;
    }
    if (args_word(word, "retrycount"))
        return args_i64(value, &x->retry) || xclaim_bad_option(c, "RETRYCOUNT");
    if (streams_parse_id(value, 0, &x->last))
        return true;
    streams_bad_id(c);
    return false;
}

static bool xclaim_has_value(struct slice word)
{
    return args_word(word, "idle") || args_word(word, "time") || args_word(word, "retrycount") ||
           args_word(word, "lastid");
}

static bool xclaim_parse_options(const struct engine *e, struct client *c, const struct slice *argv,
                                 size_t argc, size_t i, struct xclaim *x)
{
    for (; i < argc; i++) {
        if (args_word(argv[i], "force")) {
            x->force = true;
        } else if (args_word(argv[i], "justid")) {
            x->id_only = true;
        } else if (i + 1 < argc && xclaim_has_value(argv[i])) {
            if (!xclaim_value_option(e, c, argv[i], argv[i + 1], x))
                return false;
            i++;
        } else {
            reply_error(c, "ERR Unrecognized XCLAIM option '%.*s'", reply_echo_n(argv[i]),
                        (const char *)argv[i].p);
            return false;
        }
    }
    return true;
}

/* Reads everything; false if an error has been replied. xclaim_fini in any case. */
static bool xclaim_parse(const struct engine *e, struct client *c, const struct slice *argv,
                         size_t argc, struct xclaim *x)
{
    int64_t min_idle_ms;

    *x = (struct xclaim){ .time_ms = e->now_ms, .retry = -1 };
    if (!args_i64(argv[4], &min_idle_ms)) {
        reply_error(c, "ERR Invalid min-idle-time argument for XCLAIM");
        return false;
    }
    x->min_idle_ms = min_idle_ms > 0 ? (uint64_t)min_idle_ms : 0;
    x->items = calloc(argc, sizeof *x->items);
    if (x->items == NULL || claims_init(&x->claims, argc - XCLAIM_IDS_AT, NULL) != OK) {
        reply_error(c, "OOM no memory for %zu IDs", argc - XCLAIM_IDS_AT);
        return false;
    }
    while (XCLAIM_IDS_AT + x->n < argc &&
           streams_parse_id(argv[XCLAIM_IDS_AT + x->n], 0, &x->items[x->n].id)) {
        x->items[x->n].place = x->n;
        x->n++;
    }
    return xclaim_parse_options(e, c, argv, argc, XCLAIM_IDS_AT + x->n, x);
}

static void xclaim_fini(struct xclaim *x)
{
    free(x->items);
    claims_fini(&x->claims);
}

/* ---- what is claimed ---- */

static int xclaim_cmp(const void *a, const void *b)
{
    const struct xclaim_item *x = a, *y = b;
    int order = id_cmp(x->id, y->id);

    return order != 0 ? order : x->place < y->place ? -1 : x->place > y->place;
}

static int xclaim_cmp_place(const void *a, const void *b)
{
    const struct xclaim_item *x = a, *y = b;

    return x->place < y->place ? -1 : x->place > y->place;
}

/* The entry as it is pending, or as FORCE would make it. False: it is not to be claimed. */
static bool xclaim_pending(const struct group *g, const struct xclaim *x, struct id id,
                           struct pel_entry *out, bool *is_new)
{
    struct pel_entry entry = { .key = 0 };
    bool found = pel_get(g->pel, id, &entry);

    *is_new = !found || entry.slot == PEL_PARKED;
    *out = entry;
    if (*is_new) /* nobody's, so nothing has to be idle; a parked one keeps its key */
        *out = (struct pel_entry){ .id = id, .count = 1, .key = entry.key, .nacked = true };
    return !*is_new || x->force;
}

/* Whether it is in the stream. Errors: as claims_seek. */
static int xclaim_look(const struct xclaim *x, struct cursor *at, const struct pel_entry *entry,
                       bool is_new, bool *out, struct err *err)
{
    if (is_new || !x->id_only)
        return claims_seek(at, entry, out, err);
    *out = !entry->gone && id_cmp(entry->id, stream_floor(at->st)) >= 0;
    return OK;
}

/* Claims the entry as often as it is named. */
static int xclaim_take(const struct engine *e, struct xclaim *x, const struct cursor *at,
                       struct pel_entry *entry, struct xclaim_item *items, size_t n,
                       struct err *err)
{
    bool claimed = false;

    for (size_t i = 0; i < n; i++) {
        if (!entry->nacked && !claims_is_idle(entry, x->min_idle_ms, e->now_ms))
            continue;
        entry->nacked = false;
        entry->time_ms = x->time_ms;
        if (x->retry >= 0)
            entry->count = (uint64_t)x->retry;
        else if (!x->id_only)
            entry->count = claims_count(entry->count);
        items[i].claim = x->claims.n + 1;
        claimed = true;
    }
    return claimed ? claims_add(&x->claims, entry->id, entry->count, entry->key,
                                x->id_only ? NULL : at, err)
                   : OK;
}

/* One ID, named n times. */
static int xclaim_gather_one(const struct engine *e, const struct group *g, struct xclaim *x,
                             struct cursor *at, struct xclaim_item *items, size_t n,
                             struct err *err)
{
    struct pel_entry entry;
    bool is_new, there;
    int rc;

    if (!xclaim_pending(g, x, items->id, &entry, &is_new))
        return OK;
    rc = xclaim_look(x, at, &entry, is_new, &there, err);
    if (rc != OK)
        return rc;
    if (!there) {
        if (!is_new)
            claims_add_gone(&x->claims, entry.id);
        return OK;
    }
    if (is_new && entry.key == 0)
        entry.key = claims_key(g, cursor_at(at));
    return xclaim_take(e, x, at, &entry, items, n, err);
}

/* Sorts the items, and finds out what becomes of each. What is not in memory is noted in `wants`, or read on the spot if that
 * is NULL. */
static int xclaim_gather(struct engine *e, const struct stream *st, const struct group *g,
                         struct xclaim *x, struct wants *wants, struct err *err)
{
    struct cursor at;
    int rc = OK;

    qsort(x->items, x->n, sizeof x->items[0], xclaim_cmp);
    cursor_open(&at, e, st, wants != NULL ? CURSOR_RESIDENT : CURSOR_ON_THE_SPOT, wants);
    for (size_t i = 0, next; i < x->n; i = next) {
        for (next = i + 1; next < x->n && id_cmp(x->items[next].id, x->items[i].id) == 0;)
            next++;
        rc = xclaim_gather_one(e, g, x, &at, x->items + i, next - i, err);
        if (rc != OK && (rc != ERR_COLD || wants->bytes - wants->largest > WANTS_BYTES_MAX))
            break;
    }
    cursor_close(&at);
    return rc;
}

/* LASTID: how many entries are behind the group then. */
static int xclaim_count(struct engine *e, const struct stream *st, const struct group *g,
                        struct xclaim *x, struct wants *wants, struct err *err)
{
    struct id from = g->last_id;
    uint64_t n = 0;
    int rc;

    if (id_cmp(x->last, g->last_id) <= 0)
        return OK;
    id_next(&from);
    rc = cursor_count(e, st, from, x->last, wants != NULL ? CURSOR_RESIDENT : CURSOR_ON_THE_SPOT,
                      wants, &n, err);
    x->n_behind = g->n_behind + n;
    return rc;
}

/* ---- effects ---- */

/* A group with ORDERBY keeps what it has skipped: it gets there as by reading. */
static int xclaim_set_last(struct engine *e, struct client *c, struct stream *st, struct group *g,
                           const struct xclaim *x, struct err *err)
{
    const struct group_delivery d = { .slot = PEL_NOBODY,
                                      .time_ms = e->now_ms,
                                      .last = x->last,
                                      .entries_read = g->entries_read,
                                      .n_behind = x->n_behind };

    if (id_cmp(x->last, g->last_id) <= 0)
        return OK;
    if (g->order != NULL)
        return grouplog_deliver(e, c, st, g, &d, err);
    grouplog_set_position(e, c, st, g, x->last, g->entries_read, x->n_behind);
    return OK;
}

static int xclaim_run(struct engine *e, struct client *c, struct slice name, struct stream *st,
                      struct group *g, struct xclaim *x, struct err *err)
{
    struct consumer *consumer;
    int rc = xclaim_gather(e, st, g, x, NULL, err);

    if (rc == OK)
        rc = xclaim_count(e, st, g, x, NULL, err);
    if (rc == OK)
        rc = claims_consumer(e, c, st, g, name, &consumer, err);
    if (rc == OK)
        rc = xclaim_set_last(e, c, st, g, x, err);
    return rc == OK ? claims_apply(e, c, st, g, &x->claims, consumer, x->time_ms, err) : rc;
}

static void xclaim_reply(struct client *c, struct xclaim *x)
{
    size_t n = 0;

    qsort(x->items, x->n, sizeof x->items[0], xclaim_cmp_place);
    for (size_t i = 0; i < x->n; i++)
        n += x->items[i].claim > 0;
    reply_array(c, n);
    for (size_t i = 0; i < x->n; i++)
        if (x->items[i].claim > 0)
            claims_reply(c, &x->claims, x->items[i].claim - 1, x->id_only);
}

void xclaim_claim(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct stream *st;
    struct group *g;
    struct xclaim x;
    struct err err;
    int rc;

    if (!xgroup_find_write(e, c, argv[1], argv[2], &st, &g))
        return;
    if (g == NULL) {
        xgroup_no_key_or_group(c, argv[1], argv[2], "");
        return;
    }
    if (xclaim_parse(e, c, argv, argc, &x)) {
        rc = xclaim_run(e, c, argv[3], st, g, &x, &err);
        if (rc == OK)
            xclaim_reply(c, &x);
        else
            claims_reply_failure(c, rc, &err);
    }
    xclaim_fini(&x);
}

void xclaim_claim_prefault(struct engine *e, struct client *c, const struct slice *argv,
                           size_t argc, struct wants *wants)
{
    const struct stream *st;
    const struct group *g = xgroup_peek(e, c, argv[1], argv[2], &st);
    struct xclaim x;

    if (g == NULL || stream_n_sealed(st) == 0)
        return;
    if (xclaim_parse(e, c, argv, argc, &x)) { /* the wants tell */
        err_ignore(xclaim_gather(e, st, g, &x, wants, NULL));
        err_ignore(xclaim_count(e, st, g, &x, wants, NULL));
    }
    xclaim_fini(&x);
}

size_t xclaim_claim_bound(const struct slice *argv, size_t argc)
{
    (void)argv;
    return grouplog_bound(4, 2 * argc);
}
