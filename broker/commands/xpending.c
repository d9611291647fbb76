/*
 * xpending.c - XPENDING: what of a group is delivered and not acknowledged.
 *
 * Two forms: numbers for the whole group, and entries of a range of IDs, filtered by idle time and owner. The group's pending
 * entries find what passes without looking at what does not (groups/pel.h), some at a time: the number that a client asks for
 * is only compared with. How many there are is known behind the last one, and RESP wants it first, so they are
 * written aside.
 *
 * Nacked entries belong to nobody: they are shown with an empty name and an idle time of -1, pass every IDLE, and are in the
 * list of no consumer. What ORDERBY keeps back is not delivered, and not shown.
 */
#include "broker/commands/xgroup.h"
#include <stdlib.h>
#include "broker/engine/args.h"
#include "broker/engine/reply.h"

enum { XPENDING_SLICE = 128 /* entries looked up at a time */ };

struct xpending {
    bool summary;
    struct id from, to;
    uint64_t count;
    int64_t min_idle_ms;
    const struct slice *consumer; /* NULL: of all */
};

/* ---- arguments ---- */

/* Reads start, end, count and what may follow, from argv[i] on. */
static bool xpending_parse_range(struct client *c, const struct slice *argv, size_t argc, size_t i,
                                 struct xpending *q)
{
    int64_t count;

    if (!args_i64(argv[i + 2], &count)) {
        reply_not_integer(c);
        return false;
    }
    q->count = count < 0 ? 0 : (uint64_t)count;
    q->consumer = i + 3 < argc ? &argv[i + 3] : NULL;
    return streams_parse_bound(c, argv[i], false, &q->from) &&
           streams_parse_bound(c, argv[i + 1], true, &q->to);
}

static bool xpending_parse(struct client *c, const struct slice *argv, size_t argc,
                           struct xpending *q)
{
    bool idle = argc >= 6 && args_word(argv[3], "idle");

    *q = (struct xpending){ .summary = argc == 3 };
    if (q->summary)
        return true;
    if (argc < 6 || argc > 9) {
        reply_syntax_error(c);
        return false;
    }
    if (idle && !args_i64(argv[4], &q->min_idle_ms)) {
        reply_not_integer(c);
        return false;
    }
    if (idle && argc < 8) {
        reply_syntax_error(c);
        return false;
    }
    return xpending_parse_range(c, argv, argc, idle ? 5 : 3, q);
}

/* ---- numbers ---- */

static const struct pel_filter xpending_all = { .kinds = PEL_HELD | PEL_NACKED,
                                                .held_until = UINT64_MAX,
                                                .nacked_until = UINT64_MAX };

static void xpending_reply_consumers(struct client *c, const struct group *g,
                                     struct consumer *const *list)
{
    size_t n = 0, n_all = group_n_consumers(g);

    for (size_t i = 0; i < n_all; i++)
        n += pel_n_of(g->pel, list[i]->slot) > 0;
    reply_array(c, n);
    for (size_t i = 0; i < n_all; i++) {
        uint64_t n_of = pel_n_of(g->pel, list[i]->slot);

        if (n_of == 0)
            continue;
        reply_array(c, 2);
        reply_bulk(c, list[i]->name.p, list[i]->name.n);
        reply_u64_bulk(c, n_of);
    }
}

static void xpending_summary(struct client *c, const struct group *g)
{
    struct pel_entry first, last;
    struct consumer **list;

    if (!pel_next(g->pel, ID_MIN, &xpending_all, &first) ||
        !pel_prev(g->pel, ID_MAX, &xpending_all, &last)) {
        reply_array(c, 4);
        reply_int(c, 0);
        reply_null(c);
        reply_null(c);
        reply_null_array(c);
        return;
    }
    list = group_list_consumers(g);
    if (list == NULL && group_n_consumers(g) > 0) {
        reply_error(c, "OOM not enough memory to list the consumers");
        return;
    }
    reply_array(c, 4);
    reply_u64(c, pel_n(g->pel));
    reply_id(c, first.id);
    reply_id(c, last.id);
    xpending_reply_consumers(c, g, list);
    free(list);
}

/* ---- entries ---- */

static void xpending_reply_entry(struct client *c, const struct group *g, uint64_t now_ms,
                                 const struct pel_entry *x)
{
    const struct consumer *owner = x->nacked ? NULL : group_consumer_at(g, x->slot);

    reply_array(c, 4);
    reply_id(c, x->id);
    reply_bulk(c, owner == NULL ? NULL : owner->name.p, owner == NULL ? 0 : owner->name.n);
    if (x->nacked)
        reply_int(c, -1);
    else
        reply_u64(c, now_ms > x->time_ms ? now_ms - x->time_ms : 0);
    reply_u64(c, x->count);
}

/* What passes; false if that is certainly nothing. */
static bool xpending_filter(const struct group *g, uint64_t now_ms, const struct xpending *q,
                            struct pel_filter *out)
{
    const struct consumer *owner;

    *out = xpending_all;
    if (q->min_idle_ms > 0 && (uint64_t)q->min_idle_ms > now_ms)
        out->kinds = PEL_NACKED;
    else if (q->min_idle_ms > 0)
        out->held_until = now_ms - (uint64_t)q->min_idle_ms;
    if (q->consumer == NULL)
        return true;
    owner = group_find_consumer(g, *q->consumer);
    if (owner == NULL)
        return false;
    out->kinds &= PEL_HELD;
    out->by_slot = true;
    out->slot = owner->slot;
    return out->kinds != 0;
}

/* Writes the entries of the range that pass; returns how many. */
static uint64_t xpending_collect(struct client *sink, const struct group *g, uint64_t now_ms,
                                 const struct xpending *q, const struct pel_filter *filter)
{
    struct pel_entry entries[XPENDING_SLICE];
    struct id from = q->from;
    uint64_t n = 0;

    while (n < q->count) {
        uint64_t left = q->count - n;
        size_t max = left < XPENDING_SLICE ? (size_t)left : XPENDING_SLICE;
        size_t got = pel_list(g->pel, from, filter, max, entries);

        for (size_t i = 0; i < got; i++) {
            if (id_cmp(entries[i].id, q->to) > 0)
                return n;
            xpending_reply_entry(sink, g, now_ms, &entries[i]);
            n++;
        }
        if (got < max)
            break;
        from = entries[got - 1].id;
        if (!id_next(&from))
            break;
    }
    return n;
}

static void xpending_range(struct engine *e, struct client *c, const struct group *g,
                           const struct xpending *q)
{
    struct client sink = { .proto = c->proto };
    struct pel_filter filter;
    uint64_t n = 0;

    outbuf_init(&sink.out);
    if (xpending_filter(g, e->now_ms, q, &filter))
        n = xpending_collect(&sink, g, e->now_ms, q, &filter);
    if (sink.out.failed) {
        reply_error(c, "OOM not enough memory for the reply");
        outbuf_fini(&sink.out);
        return;
    }
    reply_array(c, n);
    outbuf_move(&c->out, &sink.out);
}

void xpending_pending(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct xpending q;
    struct stream *st;
    struct group *g;

    if (!xpending_parse(c, argv, argc, &q) || !xgroup_find(e, c, argv[1], argv[2], &st, &g))
        return;
    if (g == NULL)
        xgroup_no_key_or_group(c, argv[1], argv[2], "");
    else if (q.summary)
        xpending_summary(c, g);
    else
        xpending_range(e, c, g, &q);
}
