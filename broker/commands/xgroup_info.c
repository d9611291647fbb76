/*
 * xgroup_info.c - XINFO GROUPS, XINFO CONSUMERS, and what XINFO STREAM FULL says of groups.
 *
 * Fields and values are Redis's, and so is `lag`: not the number of entries to come, which BECK GROUP has, but what Redis makes
 * of its counter, nil where it gives up. The first that applies:
 *
 *   L1  nothing was ever added, or nothing is there:                                   0
 *   L2  the position and the last deletion lie before the first entry:                 the stream's length
 *   L3  entries-read is known, and nothing was deleted from the position on:           entries-added less that
 *   L4  the position is where it can be counted from: the last ID, or the first entry's while nothing behind it is deleted
 *   L5  else:                                                                          nil
 *
 * Where the first entry lies may have to be read. Mostly it need not be: the group knows how many entries it has behind it, which
 * tells on what side of the first one it is, and that is all that is asked for unless something was deleted just
 * there. Only then is it read, or wanted beforehand.
 *
 * With FULL each consumer shows the first of its pending entries. They are gathered for all consumers by one walk over what the
 * group has pending, which ends as soon as all have what they show.
 */
#include <assert.h>
#include <stdlib.h>
#include "broker/commands/xgroup.h"
#include "broker/engine/cursor.h"
#include "broker/engine/redelivery.h"
#include "broker/engine/reply.h"

enum { XGROUP_SLICE = 128 /* pending entries looked up at a time */ };

/* ---- lag ---- */

enum xgroup_lag {
    XGROUP_LAG_IS,
    XGROUP_LAG_NIL,
    XGROUP_LAG_ASKS /* for the first entry's ID */
};

/* Whether everything that was deleted one by one lies before the first entry. */
static enum xgroup_lag xgroup_is_clean(const struct stream *st, const struct group *g,
                                       const struct id *first, bool *out)
{
    struct id deleted = stream_max_deleted(st);

    *out = id_cmp(deleted, ID_MIN) == 0 || id_cmp(deleted, stream_floor(st)) < 0 ||
           (g->n_behind == 0 && id_cmp(deleted, g->last_id) <= 0);
    if (!*out && first == NULL)
        return XGROUP_LAG_ASKS;
    if (!*out)
        *out = id_cmp(deleted, *first) < 0;
    return XGROUP_LAG_IS;
}

/* L4: the group knows nothing, its position may. */
static enum xgroup_lag xgroup_estimate(const struct stream *st, const struct group *g,
                                       const struct id *first, bool clean, int64_t *out)
{
    if (id_cmp(g->last_id, ID_MIN) != 0 && id_cmp(g->last_id, stream_max_deleted(st)) < 0)
        return XGROUP_LAG_NIL;
    if (id_cmp(g->last_id, st->last_id) == 0) {
        *out = 0;
        return XGROUP_LAG_IS;
    }
    if (id_cmp(g->last_id, st->last_id) > 0 || !clean || g->n_behind != 1)
        return XGROUP_LAG_NIL;
    if (first == NULL)
        return XGROUP_LAG_ASKS;
    *out = (int64_t)(st->n_entries - 1);
    return id_cmp(g->last_id, *first) == 0 ? XGROUP_LAG_IS : XGROUP_LAG_NIL;
}

/* `first`: of the stream's first entry, NULL: it is not known. */
static enum xgroup_lag xgroup_lag(const struct stream *st, const struct group *g,
                                  const struct id *first, int64_t *out)
{
    struct id deleted = stream_max_deleted(st);
    bool clean = false;

    *out = 0;
    if (st->entries_added == 0 || st->n_entries == 0)
        return XGROUP_LAG_IS;
    if (g->entries_read >= 0 && (id_cmp(deleted, ID_MIN) == 0 || id_cmp(deleted, g->last_id) < 0) &&
        g->n_behind > 0) {
        *out = (int64_t)st->entries_added - g->entries_read;
        return XGROUP_LAG_IS;
    }
    if (g->n_behind <= 1 && xgroup_is_clean(st, g, first, &clean) == XGROUP_LAG_ASKS)
        return XGROUP_LAG_ASKS;
    if (g->n_behind == 0 && clean) {
        *out = (int64_t)st->n_entries;
        return XGROUP_LAG_IS;
    }
    return xgroup_estimate(st, g, first, clean, out);
}

/* Whether some group's lag cannot be told without the first entry's ID. */
static bool xgroup_asks_first(const struct stream *st)
{
    const struct groups *gs = stream_groups(st);
    int64_t lag;

    for (size_t i = 0; i < groups_n(gs); i++)
        if (xgroup_lag(st, groups_at(gs, i), NULL, &lag) == XGROUP_LAG_ASKS)
            return true;
    return false;
}

/* ---- fields ---- */

static void xgroup_put(struct client *c, const char *name, uint64_t value)
{
    reply_str(c, name);
    reply_u64(c, value);
}

static void xgroup_put_name(struct client *c, struct slice name)
{
    reply_str(c, "name");
    reply_bulk(c, name.p, name.n);
}

/* The three fields from the position on; `first` is known if it is asked for. */
static void xgroup_put_position(struct client *c, const struct stream *st, const struct group *g,
                                const struct id *first)
{
    int64_t lag;

    reply_str(c, "last-delivered-id");
    reply_id(c, g->last_id);
    reply_str(c, "entries-read");
    if (g->entries_read < 0)
        reply_null(c);
    else
        reply_int(c, g->entries_read);
    reply_str(c, "lag");
    if (xgroup_lag(st, g, first, &lag) == XGROUP_LAG_IS)
        reply_int(c, lag);
    else
        reply_null(c);
}

static uint64_t xgroup_age(uint64_t now_ms, uint64_t then_ms)
{
    return now_ms > then_ms ? now_ms - then_ms : 0;
}

/* ---- GROUPS ---- */

static void xgroup_reply_groups(struct client *c, const struct stream *st, const struct id *first)
{
    const struct groups *gs = stream_groups(st);

    reply_array(c, groups_n(gs));
    for (size_t i = 0; i < groups_n(gs); i++) {
        const struct group *g = groups_at(gs, i);

        grouplog_need(c, g);
        reply_map(c, 6);
        xgroup_put_name(c, g->name);
        xgroup_put(c, "consumers", group_n_consumers(g));
        xgroup_put(c, "pending", pel_n(g->pel));
        xgroup_put_position(c, st, g, first);
    }
}

void xgroup_xinfo_groups(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct stream *st = streams_find_there(e, c, argv[2]);
    struct id first = ID_MIN;
    struct err err;
    bool asks;
    int rc = OK;

    (void)argc;
    if (st == NULL)
        return;
    asks = xgroup_asks_first(st);
    if (asks)
        rc = cursor_first_id(e, st, CURSOR_ON_THE_SPOT, NULL, &first, &err);
    if (rc == OK)
        xgroup_reply_groups(c, st, asks ? &first : NULL);
    else
        streams_reply_failure(c, rc, &err);
}

void xgroup_xinfo_groups_prefault(struct engine *e, struct client *c, const struct slice *argv,
                                  size_t argc, struct wants *wants)
{
    const struct stream *st = streams_peek(e, c, argv[2]);
    struct id first;

    (void)argc;
    if (st != NULL && stream_n_sealed(st) > 0 && xgroup_asks_first(st))
        err_ignore(cursor_first_id(e, st, CURSOR_RESIDENT, wants, &first, NULL)); /* they tell */
}

/* ---- CONSUMERS ---- */

static void xgroup_reply_consumers(struct engine *e, struct client *c, const struct group *g,
                                   struct consumer *const *list)
{
    size_t n = group_n_consumers(g);

    reply_array(c, n);
    for (size_t i = 0; i < n; i++) {
        const struct consumer *x = list[i];

        reply_map(c, 4);
        xgroup_put_name(c, x->name);
        xgroup_put(c, "pending", pel_n_of(g->pel, x->slot));
        xgroup_put(c, "idle", xgroup_age(e->now_ms, redelivery_seen_ms(e, x)));
        reply_str(c, "inactive");
        if (x->active_ms == 0)
            reply_int(c, -1);
        else
            reply_u64(c, xgroup_age(e->now_ms, x->active_ms));
    }
}

void xgroup_xinfo_consumers(struct engine *e, struct client *c, const struct slice *argv,
                            size_t argc)
{
    struct consumer **list;
    struct stream *st;
    struct group *g;

    (void)argc;
    if (!xgroup_find(e, c, argv[2], argv[3], &st, &g))
        return;
    if (st == NULL) {
        reply_no_such_key(c);
        return;
    }
    if (g == NULL) {
        xgroup_no_group(c, argv[2], argv[3]);
        return;
    }
    list = group_list_consumers(g);
    if (list == NULL && group_n_consumers(g) > 0)
        reply_error(c, "OOM not enough memory to list the consumers");
    else
        xgroup_reply_consumers(e, c, g, list);
    free(list);
}

/* ---- STREAM FULL ---- */

static const struct pel_filter xgroup_pending = { .kinds = PEL_HELD | PEL_NACKED,
                                                  .held_until = UINT64_MAX,
                                                  .nacked_until = UINT64_MAX };
static const struct pel_filter xgroup_held = { .kinds = PEL_HELD, .held_until = UINT64_MAX };

struct xgroup_row { /* a pending entry of a consumer */
    struct id id;
    uint64_t time_ms, count;
};

struct xgroup_rows { /* of a slot: those from `rows` on */
    struct xgroup_row *rows;
    size_t n, max;
};

struct xgroup_gathered { /* by slot */
    struct xgroup_rows *slots;
    struct xgroup_row *rows;
    size_t left; /* rows to come */
};

static void xgroup_gathered_fini(struct xgroup_gathered *x)
{
    free(x->slots);
    free(x->rows);
}

/* Makes room for what each consumer will show. */
static bool xgroup_gathered_init(const struct group *g, uint64_t count, struct xgroup_gathered *x)
{
    size_t at = 0;

    *x = (struct xgroup_gathered){ .slots = calloc(g->n_slots + 1, sizeof *x->slots) };
    if (x->slots == NULL)
        return false;
    for (size_t slot = 1; slot < g->n_slots; slot++) {
        uint64_t n = g->slots[slot] == NULL ? 0 : pel_n_of(g->pel, (uint16_t)slot);

        x->slots[slot].max = (size_t)(n < count ? n : count);
        x->left += x->slots[slot].max;
    }
    x->rows = calloc(x->left + 1, sizeof *x->rows);
    for (size_t slot = 1; slot < g->n_slots && x->rows != NULL; slot++) {
        x->slots[slot].rows = x->rows + at;
        at += x->slots[slot].max;
    }
    return x->rows != NULL;
}

static void xgroup_gather_entry(const struct group *g, struct xgroup_gathered *x,
                                const struct pel_entry *entry)
{
    struct xgroup_rows *s = entry->slot < g->n_slots ? &x->slots[entry->slot] : NULL;

    if (s == NULL || s->n == s->max)
        return;
    s->rows[s->n++] = (struct xgroup_row){ entry->id, entry->time_ms, entry->count };
    x->left--;
}

static void xgroup_gather(const struct group *g, struct xgroup_gathered *x)
{
    struct pel_entry entries[XGROUP_SLICE];
    struct id from = ID_MIN;

    while (x->left > 0) {
        size_t n = pel_list(g->pel, from, &xgroup_held, XGROUP_SLICE, entries);

        for (size_t i = 0; i < n; i++)
            xgroup_gather_entry(g, x, &entries[i]);
        if (n < XGROUP_SLICE)
            return;
        from = entries[n - 1].id;
        if (!id_next(&from))
            return;
    }
}

static void xgroup_put_consumer(struct engine *e, struct client *c, const struct group *g,
                                const struct consumer *x, const struct xgroup_rows *rows)
{
    reply_map(c, 5);
    xgroup_put_name(c, x->name);
    xgroup_put(c, "seen-time", redelivery_seen_ms(e, x));
    reply_str(c, "active-time");
    if (x->active_ms == 0)
        reply_int(c, -1);
    else
        reply_u64(c, x->active_ms);
    xgroup_put(c, "pel-count", pel_n_of(g->pel, x->slot));
    reply_str(c, "pending");
    reply_array(c, rows->n);
    for (size_t i = 0; i < rows->n; i++) {
        reply_array(c, 3);
        reply_id(c, rows->rows[i].id);
        reply_u64(c, rows->rows[i].time_ms);
        reply_u64(c, rows->rows[i].count);
    }
}

static void xgroup_put_row(struct client *c, const struct group *g, const struct pel_entry *x)
{
    const struct consumer *owner = x->nacked ? NULL : group_consumer_at(g, x->slot);

    reply_array(c, 4);
    reply_id(c, x->id);
    reply_bulk(c, owner == NULL ? NULL : owner->name.p, owner == NULL ? 0 : owner->name.n);
    reply_u64(c, x->nacked ? 0 : x->time_ms);
    reply_u64(c, x->count);
}

static void xgroup_put_pending(struct client *c, const struct group *g, uint64_t count)
{
    struct pel_entry entries[XGROUP_SLICE];
    uint64_t n = pel_n(g->pel);
    struct id from = ID_MIN;
    uint64_t left = n < count ? n : count;

    reply_str(c, "pending");
    reply_array(c, left);
    while (left > 0) {
        size_t max = left < XGROUP_SLICE ? (size_t)left : XGROUP_SLICE;
        size_t got = pel_list(g->pel, from, &xgroup_pending, max, entries);

        assert(got == max); /* the group counts what it has */
        for (size_t i = 0; i < got; i++)
            xgroup_put_row(c, g, &entries[i]);
        left -= got;
        from = entries[got - 1].id;
        if (!id_next(&from))
            assert(left == 0);
    }
}

static bool xgroup_put_consumers(struct engine *e, struct client *c, const struct group *g,
                                 uint64_t count)
{
    struct consumer **list = group_list_consumers(g);
    struct xgroup_gathered gathered = { 0 };
    size_t n = group_n_consumers(g);
    bool ok = (list != NULL || n == 0) && xgroup_gathered_init(g, count, &gathered);

    if (ok) {
        xgroup_gather(g, &gathered);
        reply_str(c, "consumers");
        reply_array(c, n);
        for (size_t i = 0; i < n; i++)
            xgroup_put_consumer(e, c, g, list[i], &gathered.slots[list[i]->slot]);
    }
    xgroup_gathered_fini(&gathered);
    free(list);
    return ok;
}

bool xgroup_reply_full(struct engine *e, struct client *c, const struct stream *st, struct id first,
                       uint64_t count)
{
    const struct groups *gs = stream_groups(st);
    bool ok = true;

    reply_array(c, groups_n(gs));
    for (size_t i = 0; ok && i < groups_n(gs); i++) {
        const struct group *g = groups_at(gs, i);

        grouplog_need(c, g);
        reply_map(c, 8);
        xgroup_put_name(c, g->name);
        xgroup_put_position(c, st, g, &first);
        xgroup_put(c, "pel-count", pel_n(g->pel));
        xgroup_put(c, "nacked-count", pel_n_nacked(g->pel));
        xgroup_put_pending(c, g, count);
        ok = xgroup_put_consumers(e, c, g, count);
    }
    return ok;
}
