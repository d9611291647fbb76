/*
 * xreadgroup_look.c - a look at a request, and what is made so by it.
 *
 * What xreadgroup_find.c finds has no effect yet. Here is decided whether it is a reply; if so its records are appended and
 * the reply is put together from what was written aside.
 *
 * What has been found while more of it is cold is a reply if it is enough, in entries or bytes, or if the reader has waited for
 * XREADGROUP_TRIES loads. After twice as many, which can only be if something keeps taking away what is loaded, it reads by
 * itself.
 *
 * Inside EXEC nothing waits. What the request needs has been loaded and pinned beforehand, and it takes what is there. If even the
 * first entry is not, because a command before it has changed what comes next, it reads that on the spot.
 *
 * A stream that is named twice in a request gives the second time what is left then. So a look ends before a group's second
 * turn; what comes from there on is looked at when the first part has been made so, and gives what is in memory.
 *
 *   X1  Everything that can be refused is refused before the first record; only memory can run out later, and then what has been
 *       handed out is pending and in the history.
 *   X2  A look that finds nothing has no effect, but that dead letters move.
 *   X3  The records of a look that parks or drops entries and gives none are a step forward; then it looks again.
 */
#include "broker/commands/streams.h"
#include "broker/commands/xgroup.h"
#include "broker/commands/xreadgroup.h"
#include "broker/engine/deadletter.h"
#include "broker/engine/reply.h"

enum {
    XREADGROUP_TRIES = 8,    /* loads after which what there is will do */
    XREADGROUP_RECORDS = 4,  /* of a stream at most, of these one of a consumer */
    XREADGROUP_STEPS = 1000, /* looks that give nothing, one behind the other */
};

/* ---- what the log has to take ---- */

size_t xreadgroup_bound_of(uint64_t n_streams, uint64_t n_ids, size_t names)
{
    return grouplog_bound((size_t)n_streams * XREADGROUP_RECORDS, (size_t)n_ids) + names;
}

/* For what the parts [from, to) give. */
static size_t xreadgroup_bound_found(const struct xreadgroup *r,
                                     const struct xreadgroup_part *parts, size_t from, size_t to)
{
    uint64_t n_ids = 0;

    for (size_t i = from; i < to; i++)
        n_ids += parts[i].again.n + parts[i].fresh.n + parts[i].parked.n + parts[i].drop.n;
    return xreadgroup_bound_of(to - from, n_ids, (to - from) * r->consumer.n) + ENGINE_RESERVE;
}

/* ---- effects ---- */

void xreadgroup_fail(struct client *c, int rc, const struct err *err)
{
    if (rc == ERR_FULL)
        reply_error(c, "ERR %s", err->text);
    else
        streams_reply_failure(c, rc, err);
}

/* The consumer is named, and made if it is not there yet. */
static int xreadgroup_name(struct engine *e, struct client *c, const struct xreadgroup *r,
                           struct xreadgroup_part *part, struct err *err)
{
    int rc = OK;

    if (part->consumer == NULL) /* unless it was made for the same stream, named before */
        part->consumer = group_find_consumer(part->g, r->consumer);
    if (part->consumer == NULL)
        rc =
            grouplog_add_consumer(e, c, part->st, part->g, r->consumer, true, &part->consumer, err);
    if (rc == OK)
        xgroup_saw(e, part->st, part->g, part->consumer);
    return rc;
}

int xreadgroup_name_all(struct engine *e, struct client *c, const struct xreadgroup *r,
                        struct xreadgroup_part *parts, size_t from, size_t to, struct err *err)
{
    int rc = OK;

    for (size_t i = from; i < to && rc == OK; i++)
        if (parts[i].is_visited)
            rc = xreadgroup_name(e, c, r, &parts[i], err);
    return rc;
}

/* Pending entries are handed out again, or shown to who has them. */
static int xreadgroup_hand_out(struct engine *e, struct client *c, struct xreadgroup_part *part,
                               bool is_new, struct err *err)
{
    struct group_change x = {
        .slot = part->consumer->slot, .active = is_new, .time_ms = e->now_ms, .active_ms = e->now_ms
    };
    int rc;

    if (part->again.n == 0)
        return OK;
    rc = xreadgroup_sort(&part->again, err);
    x.ids = part->again.ids;
    x.counts = part->again.counts;
    x.n = part->again.n;
    if (rc == OK)
        rc = grouplog_change(e, c, part->st, part->g, &x, true, err);
    for (size_t i = 0; rc == OK && is_new && i < x.n; i++)
        part->g->n_redelivered += x.counts[i] > 1;
    return rc;
}

/* New entries are handed out, or parked. */
static int xreadgroup_deliver(struct engine *e, struct client *c, struct xreadgroup_part *part,
                              bool noack, struct err *err)
{
    uint64_t n = part->fresh.n + part->parked.n;
    struct group_delivery d = { .slot = noack ? PEL_NOBODY : part->consumer->slot,
                                .time_ms = e->now_ms,
                                .last = part->last,
                                .n_behind = part->g->n_behind + n,
                                .parked = part->parked.ids,
                                .parked_keys = part->parked.keys,
                                .n_parked = part->parked.n };

    if (n == 0)
        return OK;
    d.entries_read = xreadgroup_entries_read(part);
    if (!noack) {
        d.ids = part->fresh.ids;
        d.keys = part->fresh.keys;
        d.n = part->fresh.n;
    }
    return grouplog_deliver(e, c, part->st, part->g, &d, err);
}

static int xreadgroup_apply_part(struct engine *e, struct client *c, const struct xreadgroup *r,
                                 size_t i, struct xreadgroup_part *part, struct err *err)
{
    int rc = xreadgroup_sort(&part->drop, err);

    if (rc == OK && part->drop.n > 0)
        grouplog_drop_entries(e, c, part->st, part->g, part->drop.ids, part->drop.n);
    if (rc == OK)
        rc = xreadgroup_hand_out(e, c, part, r->keys[i].is_new, err);
    if (rc == OK)
        rc = xreadgroup_deliver(e, c, part, r->noack, err);
    return rc;
}

/* What follows from what was found. */
static int xreadgroup_apply(struct engine *e, struct client *c, const struct xreadgroup *r,
                            struct xreadgroup_part *parts, size_t from, size_t to, struct err *err)
{
    int rc = xreadgroup_name_all(e, c, r, parts, from, to, err);

    for (size_t i = from; i < to && rc == OK; i++)
        if (parts[i].is_visited)
            rc = xreadgroup_apply_part(e, c, r, i, &parts[i], err);
    return rc;
}

/* Entries that were to be handed out again and are gone from the stream move to the dead-letter stream, as many as one batch
 * takes; what cannot be moved now comes up again. */
static bool xreadgroup_bury(struct engine *e, struct client *c, const struct xreadgroup *r,
                            const struct xreadgroup_part *parts)
{
    bool any = false;

    for (size_t i = 0; i < r->n && !c->in_exec; i++) {
        const struct xreadgroup_part *part = &parts[i];
        size_t n = part->n_gone < DEADLETTER_BATCH ? part->n_gone : DEADLETTER_BATCH;

        if (part->n_gone > 0)
            any |= deadletter_move(e, c, part->st, part->g, part->gone, NULL, n, NULL, NULL) == OK;
    }
    return any;
}

/* ---- the reply ---- */

static bool xreadgroup_gives(const struct xreadgroup *r, const struct xreadgroup_part *parts,
                             size_t i)
{
    return parts[i].is_visited && (parts[i].n > 0 || (!r->keys[i].is_new && !parts[i].is_cold));
}

static size_t xreadgroup_count_parts(const struct xreadgroup *r,
                                     const struct xreadgroup_part *parts)
{
    size_t n = 0;

    for (size_t i = 0; i < r->n; i++)
        n += xreadgroup_gives(r, parts, i);
    return n;
}

static void xreadgroup_reply(struct client *c, const struct xreadgroup *r,
                             struct xreadgroup_part *parts)
{
    streams_reply_parts(c, xreadgroup_count_parts(r, parts));
    for (size_t i = 0; i < r->n; i++) {
        if (!xreadgroup_gives(r, parts, i))
            continue;
        if (!r->keys[i].is_new)
            grouplog_need(c, parts[i].g);
        streams_reply_part(c, r->keys[i].name);
        reply_array(c, parts[i].n);
        outbuf_move(&c->out, &parts[i].out);
    }
}

/* ---- a look ---- */

struct xreadgroup_sum xreadgroup_sum(const struct xreadgroup *r,
                                     const struct xreadgroup_part *parts)
{
    struct xreadgroup_sum sum = { 0 };

    for (size_t i = 0; i < r->n; i++) {
        sum.n += parts[i].n;
        sum.n_changed += parts[i].parked.n + parts[i].drop.n;
        sum.bytes += outbuf_size(&parts[i].out);
        sum.is_cold |= parts[i].is_cold;
    }
    return sum;
}

/* Whether what has been found will do as a reply, though some of it is missing. */
static bool xreadgroup_is_enough(const struct client *c, const struct xreadgroup_sum *sum,
                                 unsigned n_tries)
{
    if (!sum->is_cold)
        return true;
    if (sum->n == 0)
        return false;
    return c->in_exec || n_tries >= XREADGROUP_TRIES || sum->n >= XREADGROUP_ENOUGH ||
           sum->bytes >= XREADGROUP_ENOUGH_BYTES;
}

/* Makes so what the parts [from, to) give. `reserved`: the log has room for it. */
static bool xreadgroup_make(struct engine *e, struct client *c, const struct xreadgroup *r,
                            struct xreadgroup_part *parts, size_t from, size_t to, bool reserved)
{
    struct err err;
    int rc;

    if (!reserved && !engine_reserve(e, c, xreadgroup_bound_found(r, parts, from, to)))
        return false;
    rc = xreadgroup_apply(e, c, r, parts, from, to, &err);
    if (rc != OK)
        xreadgroup_fail(c, rc, &err);
    return rc == OK;
}

/* How far a look gets before it comes to a group for the second time: what that gives depends on what has been made so
 * by then. */
static size_t xreadgroup_reach(struct engine *e, const struct xreadgroup *r,
                               const struct xreadgroup_part *parts, size_t from)
{
    uint64_t look = r->n > 1 ? reading_look(e) : 0;
    size_t i = from;

    if (r->n == 1)
        return 1;
    for (; i < r->n && parts[i].g->looked != look; i++)
        parts[i].g->looked = look;
    return i;
}

/* What the streams from `from` on give, which have been named before in the request, goes into the same reply, if it is in
 * memory. False if an error has been replied. */
static bool xreadgroup_look_again(struct engine *e, struct client *c,
                                  const struct xreadgroup_look *look, struct xreadgroup_part *parts,
                                  size_t from)
{
    const struct xreadgroup *r = look->request;
    struct err err;
    int rc = OK;

    for (size_t to; from < r->n && rc == OK; from = to) {
        to = xreadgroup_reach(e, r, parts, from);
        for (size_t i = from; i < to; i++)
            parts[i].consumer = group_find_consumer(parts[i].g, r->consumer);
        rc = xreadgroup_find(e, c, look, parts, from, to, &err);
        if (rc == OK && !xreadgroup_make(e, c, r, parts, from, to, c->in_exec))
            return false;
    }
    if (rc != OK)
        xreadgroup_fail(c, rc, &err);
    return rc == OK;
}

/* Looks once. Of what is cold the parts keep what they want. */
static enum xreadgroup_outcome xreadgroup_look(struct engine *e, struct client *c,
                                               const struct xreadgroup *r,
                                               struct xreadgroup_part *parts, unsigned n_tries,
                                               enum cursor_mode mode, bool reserved)
{
    const struct xreadgroup_look look = { r, mode, c->in_exec ? 0 : XREADGROUP_AHEAD, NULL };
    size_t to = xreadgroup_reach(e, r, parts, 0);
    struct xreadgroup_sum sum;
    struct err err;
    bool replies;
    int rc = xreadgroup_find(e, c, &look, parts, 0, to, &err);

    if (rc != OK) {
        xreadgroup_fail(c, rc, &err);
        return XREADGROUP_REPLIED;
    }
    sum = xreadgroup_sum(r, parts);
    if (xreadgroup_bury(e, c, r, parts)) {
        sum.n_changed++;
        reserved = false;
    }
    replies = xreadgroup_is_enough(c, &sum, n_tries) && xreadgroup_count_parts(r, parts) > 0;
    if (!replies && (sum.n > 0 || sum.n_changed == 0))
        return sum.is_cold ? XREADGROUP_COLD : XREADGROUP_NOTHING;
    if (!xreadgroup_make(e, c, r, parts, 0, to, reserved))
        return XREADGROUP_REPLIED;
    if (!replies)
        return XREADGROUP_AGAIN;
    if (xreadgroup_look_again(e, c, &look, parts, to))
        xreadgroup_reply(c, r, parts);
    return XREADGROUP_REPLIED;
}

/* Looks until there is something, nothing, or something to be read first. */
enum xreadgroup_outcome xreadgroup_run(struct engine *e, struct client *c,
                                       const struct xreadgroup *r, struct xreadgroup_part *parts,
                                       unsigned n_tries, bool reserved)
{
    enum cursor_mode mode = n_tries < 2 * XREADGROUP_TRIES ? CURSOR_RESIDENT : CURSOR_ON_THE_SPOT;
    enum xreadgroup_outcome outcome = xreadgroup_look(e, c, r, parts, n_tries, mode, reserved);

    if (c->in_exec && outcome == XREADGROUP_COLD) {
        xreadgroup_parts_clear(e, parts, r->n);
        outcome = xreadgroup_look(e, c, r, parts, n_tries, CURSOR_ON_THE_SPOT, reserved);
    }
    for (int i = 0; i < XREADGROUP_STEPS && outcome == XREADGROUP_AGAIN && !c->in_exec; i++) {
        xreadgroup_parts_clear(e, parts, r->n);
        outcome = xreadgroup_look(e, c, r, parts, n_tries, mode, false);
    }
    return outcome == XREADGROUP_AGAIN ? XREADGROUP_NOTHING : outcome;
}
