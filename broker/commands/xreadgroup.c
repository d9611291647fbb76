/*
 * xreadgroup.c - XREADGROUP: reading for a group, now or later.
 *
 * A request is read from its words, then looked at as often as needed: what do its streams give (xreadgroup_find.c)? If
 * they give something, the records that make it so are appended, and the reply is put together from what was written aside.
 * If they give nothing, and it may block, a copy of it waits in engine/blocking.c; when one of its keys changes it is looked at
 * again, all of it, with the deadline that it has had from the beginning.
 *
 * If something has to be read from disk first, it waits in the same way, blocking or not, while that is loaded
 * (engine/reading.c). One that does not block gets null if there is nothing after all. It is looked at again when the load is there,
 * and may miss more; but what has been found by then is a reply if it is enough, in entries or bytes, or if it has waited for
 * XREADGROUP_TRIES loads. After twice as many, which only a cache can bring about that is too small for what is pinned, it
 * reads by itself.
 *
 * Inside EXEC nothing waits. What the request needs has been loaded and pinned beforehand, and it takes what is there. If even the
 * first entry is not, because a command before it has changed what comes next, it reads that on the spot.
 *
 * A consumer is made when it is named for the first time, for those streams whose turn has come.
 *
 *   X1  Everything that can be refused is refused before the first record; only memory can run out later, and then what has been
 *       handed out is pending and in the history.
 *   X2  A look that finds nothing has no effect.
 *   X3  The records of a look that parks entries and gives none are a step forward; then it looks again.
 */
#include "broker/commands/xreadgroup.h"
#include <assert.h>
#include <stdlib.h>
#include "broker/commands/streams.h"
#include "broker/commands/xgroup.h"
#include "broker/engine/args.h"
#include "broker/engine/blocking.h"
#include "broker/engine/cold.h"
#include "broker/engine/deadletter.h"
#include "broker/engine/reply.h"

enum {
    XREADGROUP_INLINE = 4,   /* streams for which no memory is needed */
    XREADGROUP_TRIES = 8,    /* loads after which what there is will do */
    XREADGROUP_RECORDS = 4,  /* of a stream at most, of these one of a consumer */
    XREADGROUP_STEPS = 1000, /* looks that park entries, one behind the other */
};

/* ---- the request ---- */

/* Reads GROUP, CLAIM or NOACK at argv[*i] and moves *i behind it. False if an error has been replied. */
static bool xreadgroup_word(struct client *c, const struct slice *argv, size_t argc, size_t *i,
                            struct xreadgroup *r)
{
    int64_t ms;

    if (args_word(argv[*i], "noack")) {
        r->noack = true;
        *i += 1;
        return true;
    }
    if (argc - *i > 2 && args_word(argv[*i], "group")) {
        r->group = argv[*i + 1];
        r->consumer = argv[*i + 2];
        *i += 3;
        return true;
    }
    if (argc - *i <= 1 || !args_word(argv[*i], "claim")) {
        reply_syntax_error(c);
        return false;
    }
    if (!args_i64(argv[*i + 1], &ms)) {
        reply_error(c, "ERR min-idle-time is not an integer or out of range");
        return false;
    }
    if (ms < 0) {
        reply_error(c, "ERR min-idle-time must be a positive integer");
        return false;
    }
    r->claims = true;
    r->min_idle_ms = (uint64_t)ms;
    *i += 2;
    return true;
}

/* Reads the option at argv[*i]; false if an error has been replied. */
static bool xreadgroup_option(struct engine *e, struct client *c, const struct slice *argv,
                              size_t argc, size_t *i, struct xreadgroup *r)
{
    int taken = argc - *i > 1 ? streams_limits_option(e, c, argv[*i], argv[*i + 1], &r->limits) : 0;

    if (taken == 0)
        return xreadgroup_word(c, argv, argc, i, r);
    *i += 2;
    return taken > 0;
}

/* Reads everything but the IDs. *at is where the keys begin, as many IDs follow. */
static bool xreadgroup_parse(struct engine *e, struct client *c, const struct slice *argv,
                             size_t argc, struct xreadgroup *r, size_t *at)
{
    *at = 0;
    for (size_t i = 1; i < argc && *at == 0;) {
        if (i + 1 < argc && args_word(argv[i], "streams"))
            *at = i + 1;
        else if (!xreadgroup_option(e, c, argv, argc, &i, r))
            return false;
    }
    if (*at == 0) {
        reply_syntax_error(c);
        return false;
    }
    if ((argc - *at) % 2 != 0) {
        reply_error(c, "ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID or "
                       "'>' must be specified.");
        return false;
    }
    if (r->group.p == NULL) {
        reply_error(c, "ERR Missing GROUP option for XREADGROUP");
        return false;
    }
    r->n = (argc - *at) / 2;
    return streams_limits_check(c, &r->limits);
}

/* Where the first key stands; 0: nowhere. */
static size_t xreadgroup_streams_at(const struct slice *argv, size_t argc)
{
    for (size_t i = 1; i + 1 < argc;) {
        if (args_word(argv[i], "streams"))
            return i + 1;
        i += args_word(argv[i], "noack") ? 1 : args_word(argv[i], "group") ? 3 : 2;
    }
    return 0;
}

static size_t xreadgroup_keys(const struct slice *argv, size_t argc, size_t *out)
{
    size_t at = xreadgroup_streams_at(argv, argc);

    if (at == 0 || (argc - at) % 2 != 0)
        return 0;
    for (size_t i = 0; i < (argc - at) / 2; i++)
        out[i] = at + i;
    return (argc - at) / 2;
}

static bool xreadgroup_parse_id(struct client *c, struct slice text, struct xreadgroup_key *out)
{
    char byte = text.n == 1 ? (char)text.p[0] : '\0';

    out->is_new = byte == '>';
    if (out->is_new)
        return true;
    if (byte == '$' || byte == '+') {
        reply_error(c,
                    "ERR The %c ID is meaningless in the context of XREADGROUP: you want to read "
                    "the history of this consumer by specifying a proper ID, or use the > ID to "
                    "get new messages. The %c ID would just return an empty result set.",
                    byte, byte);
        return false;
    }
    if (streams_parse_id(text, 0, &out->after))
        return true;
    streams_bad_id(c);
    return false;
}

/* ---- the streams as they are now ---- */

/* A command_prefault may look only, and counts nothing. */
static bool xreadgroup_stream(struct engine *e, struct client *c, struct slice key, bool peeks,
                              struct stream **out)
{
    if (!peeks)
        return streams_find(e, c, key, out);
    *out = (struct stream *)(uintptr_t)streams_peek(e, c, key);
    return true;
}

/* The stream, group and consumer of each key; false if an error has been replied. `ids` (NULL: they have been read) stand
 * behind each other as the keys do. */
static bool xreadgroup_resolve(struct engine *e, struct client *c, const struct xreadgroup *r,
                               const struct slice *ids, bool peeks, struct xreadgroup_part *parts)
{
    for (size_t i = 0; i < r->n; i++) {
        struct xreadgroup_key *key = &r->keys[i];
        struct xreadgroup_part *part = &parts[i];

        if (!xreadgroup_stream(e, c, key->name, peeks, &part->st))
            return false;
        part->g = part->st == NULL ? NULL : groups_find(stream_groups(part->st), r->group);
        if (part->g == NULL) {
            xgroup_no_key_or_group(c, key->name, r->group, " in XREADGROUP with GROUP option");
            return false;
        }
        if (ids != NULL && !xreadgroup_parse_id(c, ids[i], key))
            return false;
        part->consumer = group_find_consumer(part->g, r->consumer);
    }
    return true;
}

/* Redis forgets CLAIM once it has come to a history. */
static void xreadgroup_spread_claim(struct xreadgroup *r)
{
    bool claims = r->claims;

    for (size_t i = 0; i < r->n; i++) {
        claims = claims && r->keys[i].is_new;
        r->keys[i].claims = claims;
    }
}

/* ---- what the log may have to take ---- */

static size_t xreadgroup_bound_of(uint64_t n_streams, uint64_t n_ids, size_t names)
{
    return grouplog_bound((size_t)n_streams * XREADGROUP_RECORDS, (size_t)n_ids) + names;
}

/* A command_bound: an ID that is handed out, or dropped on the way to one, and those that are parked. */
static size_t xreadgroup_bound(const struct slice *argv, size_t argc)
{
    size_t at = xreadgroup_streams_at(argv, argc), n = at == 0 ? 0 : (argc - at) / 2, names = 0;
    int64_t count = XREADGROUP_MAX, value;

    for (size_t i = 1; i + 2 < at; i++) {
        if (args_word(argv[i], "count") && args_i64(argv[i + 1], &value))
            count = value > 0 && value < XREADGROUP_MAX ? value : XREADGROUP_MAX;
        if (args_word(argv[i], "group"))
            names = argv[i + 2].n;
    }
    if (n > 0 && (uint64_t)count > XREADGROUP_MAX / n)
        count = XREADGROUP_MAX;
    else
        count *= (int64_t)n;
    return xreadgroup_bound_of(n, 2 * (uint64_t)count + XREADGROUP_PARKED_MAX, n * names);
}

/* The same for what has been found. */
static size_t xreadgroup_bound_found(const struct xreadgroup *r,
                                     const struct xreadgroup_part *parts, size_t from, size_t to)
{
    uint64_t n_ids = 0;

    for (size_t i = from; i < to; i++)
        n_ids += parts[i].again.n + parts[i].fresh.n + parts[i].parked.n + parts[i].drop.n;
    return xreadgroup_bound_of(to - from, n_ids, (to - from) * r->consumer.n) + ENGINE_RESERVE;
}

/* ---- effects ---- */

static void xreadgroup_fail(struct client *c, int rc, const struct err *err)
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

static int xreadgroup_name_all(struct engine *e, struct client *c, const struct xreadgroup *r,
                               struct xreadgroup_part *parts, size_t from, size_t to,
                               struct err *err)
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
    return rc == OK ? grouplog_change(e, c, part->st, part->g, &x, true, err) : rc;
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
        grouplog_ack(e, c, part->st, part->g, part->drop.ids, part->drop.n);
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

        if (n > 0)
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

enum xreadgroup_outcome {
    XREADGROUP_REPLIED,
    XREADGROUP_NOTHING,
    XREADGROUP_COLD,
    XREADGROUP_AGAIN /* nothing to reply, but a step has been made: X3 */
};

struct xreadgroup_sum { /* of all parts */
    uint64_t n, n_changed, bytes;
    bool is_cold;
};

static struct xreadgroup_sum xreadgroup_sum(const struct xreadgroup *r,
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
static enum xreadgroup_outcome xreadgroup_run(struct engine *e, struct client *c,
                                              const struct xreadgroup *r,
                                              struct xreadgroup_part *parts, unsigned n_tries,
                                              bool reserved)
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

/* ---- waiting ---- */

struct xreadgroup_waiter {
    struct engine *engine;
    struct xreadgroup r;
    bool blocks;
    unsigned n_tries; /* looks that found something to be read first */
    struct reading_wait
        waits[]; /* one for each stream; then the keys, and the bytes of all names */
};

static struct slice xreadgroup_copy_name(uint8_t **p, struct slice name)
{
    struct slice copy = slice_of(*p, name.n);

    if (name.n > 0)
        memcpy(*p, name.p, name.n);
    *p += name.n;
    return copy;
}

/* A copy of the request, in one allocation. */
static struct xreadgroup_waiter *xreadgroup_waiter_new(struct engine *e, const struct client *c,
                                                       const struct xreadgroup *r)
{
    size_t bytes = r->group.n + r->consumer.n;
    struct xreadgroup_waiter *w;
    uint8_t *p;

    for (size_t i = 0; i < r->n; i++)
        bytes += r->keys[i].name.n;
    w = malloc(sizeof *w + r->n * (sizeof w->waits[0] + sizeof r->keys[0]) + bytes);
    if (w == NULL)
        return NULL;
    *w = (struct xreadgroup_waiter){ .engine = e, .r = *r, .blocks = r->limits.blocks };
    w->r.keys = (struct xreadgroup_key *)(void *)(w->waits + r->n);
    p = (uint8_t *)(w->r.keys + r->n);
    w->r.group = xreadgroup_copy_name(&p, r->group);
    w->r.consumer = xreadgroup_copy_name(&p, r->consumer);
    for (size_t i = 0; i < r->n; i++) {
        w->r.keys[i] = r->keys[i];
        w->r.keys[i].name = xreadgroup_copy_name(&p, r->keys[i].name);
        w->waits[i] = (struct reading_wait){
            .db = c->db,
            .key = w->r.keys[i].name,
            .consumer = w->r.consumer,
            .idle_ms = w->r.keys[i].claims ? r->min_idle_ms : UINT64_MAX,
        };
    }
    return w;
}

static void xreadgroup_release(void *ctx)
{
    struct xreadgroup_waiter *w = ctx;

    for (size_t i = 0; i < w->r.n; i++)
        reading_unbind(w->engine, &w->waits[i]);
    free(w);
}

/* What has been found is nothing, or cold: it waits for the groups as they are now, and for what is to be loaded. Errors:
 * ERR_NOMEM, ERR_TOO_BIG. */
static int xreadgroup_expect(struct engine *e, struct xreadgroup_waiter *w,
                             struct xreadgroup_part *parts, bool found_nothing, struct err *err)
{
    int rc = OK;

    for (size_t i = 0; i < w->r.n && rc == OK; i++) {
        struct reading_wait *wait = &w->waits[i];

        wait->is_cold = !found_nothing;
        rc = reading_bind(e, wait, parts[i].st, parts[i].g, parts[i].consumer, err);
        if (rc == OK && found_nothing)
            reading_found_nothing(e, wait);
        if (rc == OK && parts[i].is_cold) {
            rc = reading_load(e, wait, &parts[i].wants, err);
            if (rc == OK)
                wants_init(&parts[i].wants); /* they have been taken over */
        }
    }
    return rc;
}

static void xreadgroup_cannot_wait(struct client *c, int rc)
{
    reply_error(c, rc == ERR_NOMEM ? "OOM no memory to wait for a group"
                                   : "ERR an entry is too large to be read for a group");
}

static bool xreadgroup_is_idle(const struct engine *e, const struct xreadgroup_waiter *w)
{
    for (size_t i = 0; i < w->r.n; i++)
        if (!reading_is_idle(e, &w->waits[i]))
            return false;
    return true;
}

/* Whether what it waited for could not be read: that has been replied then. */
static bool xreadgroup_has_failed(const struct engine *e, struct client *c,
                                  const struct xreadgroup_waiter *w)
{
    for (size_t i = 0; i < w->r.n; i++) {
        int rc = reading_failure(&w->waits[i]);

        if (rc == OK)
            continue;
        reply_error(c, "%s %s", rc == ERR_NOMEM ? "OOM" : "IOERR", cold_load_text(e));
        return true;
    }
    return false;
}

/* Looks at a request that waits. True: it has been replied to. */
static bool xreadgroup_retry(struct engine *e, struct client *c, struct xreadgroup_waiter *w,
                             struct xreadgroup_part *parts)
{
    enum xreadgroup_outcome outcome;
    struct err err;
    int rc;

    if (!xreadgroup_resolve(e, c, &w->r, NULL, false, parts))
        return true;
    outcome = xreadgroup_run(e, c, &w->r, parts, w->n_tries, false);
    if (outcome == XREADGROUP_REPLIED)
        return true;
    if (outcome == XREADGROUP_NOTHING && !w->blocks) {
        reply_null_array(c);
        return true;
    }
    w->n_tries = outcome == XREADGROUP_COLD ? w->n_tries + 1 : 0;
    rc = xreadgroup_expect(e, w, parts, outcome == XREADGROUP_NOTHING, &err);
    if (rc != OK)
        xreadgroup_cannot_wait(c, rc);
    return rc != OK;
}

static struct xreadgroup_part *xreadgroup_parts(struct client *c, size_t n,
                                                struct xreadgroup_part few[XREADGROUP_INLINE])
{
    struct xreadgroup_part *parts = n <= XREADGROUP_INLINE ? few : malloc(n * sizeof *parts);

    if (parts != NULL)
        xreadgroup_parts_init(parts, n);
    else
        reply_error(c, "OOM no memory for %zu streams", n);
    return parts;
}

/* A blocking_try. */
static bool xreadgroup_try(struct engine *e, struct client *c, void *ctx)
{
    struct xreadgroup_part few[XREADGROUP_INLINE], *parts;
    struct xreadgroup_waiter *w = ctx;
    bool over;

    if (xreadgroup_is_idle(e, w))
        return false;
    if (xreadgroup_has_failed(e, c, w))
        return true;
    parts = xreadgroup_parts(c, w->r.n, few);
    if (parts == NULL)
        return true;
    over = xreadgroup_retry(e, c, w, parts);
    xreadgroup_parts_fini(e, parts, w->r.n);
    if (parts != few)
        free(parts);
    return over;
}

static int xreadgroup_block(struct engine *e, struct client *c, struct xreadgroup_waiter *w)
{
    struct slice few[XREADGROUP_INLINE], *names = few;
    struct blocking_wait wait = { .n_keys = w->r.n,
                                  .deadline_ms = w->blocks ? w->r.limits.deadline_ms : UINT64_MAX,
                                  .serve = xreadgroup_try,
                                  .release = xreadgroup_release,
                                  .ctx = w };
    struct err err;
    int rc = OK;

    if (w->r.n > XREADGROUP_INLINE)
        names = malloc(w->r.n * sizeof *names);
    if (names == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < w->r.n; i++)
        names[i] = w->r.keys[i].name;
    wait.keys = names;
    rc = blocking_block(e->blocking, c, &wait, &err);
    if (names != few)
        free(names);
    return rc;
}

/* The client waits from now on. */
static void xreadgroup_wait(struct engine *e, struct client *c, const struct xreadgroup *r,
                            struct xreadgroup_part *parts, bool found_nothing)
{
    struct xreadgroup_waiter *w = xreadgroup_waiter_new(e, c, r);
    struct err err;
    int rc = w == NULL ? ERR_NOMEM : xreadgroup_block(e, c, w);

    if (rc != OK) {
        free(w);
        xreadgroup_cannot_wait(c, rc);
        return;
    }
    rc = xreadgroup_expect(e, w, parts, found_nothing, &err);
    if (rc == OK)
        return;
    blocking_client_gone(e->blocking, c); /* frees w */
    xreadgroup_cannot_wait(c, rc);
}

/* ---- the command ---- */

/* With what has been read of the request, whose IDs stand behind its keys. */
static void xreadgroup_begin(struct engine *e, struct client *c, const struct slice *ids,
                             struct xreadgroup *r, struct xreadgroup_part *parts)
{
    enum xreadgroup_outcome outcome;
    struct err err;
    int rc;

    if (!xreadgroup_resolve(e, c, r, ids, false, parts))
        return;
    xreadgroup_spread_claim(r);
    outcome = xreadgroup_run(e, c, r, parts, 0, true);
    if (outcome == XREADGROUP_REPLIED)
        return;
    rc = xreadgroup_name_all(e, c, r, parts, 0, r->n, &err);
    if (rc != OK)
        xreadgroup_fail(c, rc, &err);
    else if (outcome == XREADGROUP_COLD || (r->limits.blocks && !c->in_exec))
        xreadgroup_wait(e, c, r, parts, outcome == XREADGROUP_NOTHING);
    else
        reply_null_array(c);
}

/* Keys and parts of a request, on the stack if they are few. */
struct xreadgroup_memory {
    struct xreadgroup_key keys[XREADGROUP_INLINE];
    struct xreadgroup_part parts[XREADGROUP_INLINE];
};

/* Makes the keys, without their IDs, and empty parts; NULL if an error has been replied. */
static struct xreadgroup_part *xreadgroup_take(struct client *c, const struct slice *names,
                                               struct xreadgroup_memory *m, struct xreadgroup *r)
{
    struct xreadgroup_part *parts = xreadgroup_parts(c, r->n, m->parts);

    if (parts == NULL)
        return NULL;
    r->keys = parts == m->parts ? m->keys : malloc(r->n * sizeof *r->keys);
    if (r->keys == NULL) {
        free(parts);
        reply_error(c, "OOM no memory for %zu streams", r->n);
        return NULL;
    }
    for (size_t i = 0; i < r->n; i++)
        r->keys[i] = (struct xreadgroup_key){ .name = names[i] };
    return parts;
}

static void xreadgroup_give(struct engine *e, const struct xreadgroup_memory *m,
                            const struct xreadgroup *r, struct xreadgroup_part *parts)
{
    xreadgroup_parts_fini(e, parts, r->n);
    if (parts == m->parts)
        return;
    free(parts);
    free(r->keys);
}

void xreadgroup_read(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct xreadgroup r = { .limits = STREAMS_LIMITS_NONE };
    struct xreadgroup_part *parts;
    struct xreadgroup_memory m;
    size_t at;

    if (!xreadgroup_parse(e, c, argv, argc, &r, &at) ||
        (parts = xreadgroup_take(c, argv + at, &m, &r)) == NULL)
        return;
    xreadgroup_begin(e, c, argv + at + r.n, &r, parts);
    xreadgroup_give(e, &m, &r, parts);
}

static void xreadgroup_prefault_parts(struct engine *e, struct client *c,
                                      const struct xreadgroup *r, struct xreadgroup_part *parts,
                                      struct wants *wants)
{
    const struct xreadgroup_look look = { r, CURSOR_RESIDENT, 1, wants };
    struct xreadgroup_sum sum;

    err_ignore(
        xreadgroup_find(e, c, &look, parts, 0, r->n, NULL)); /* the command runs into it again */
    sum = xreadgroup_sum(r, parts);
    if (sum.n >= XREADGROUP_ENOUGH || sum.bytes >= XREADGROUP_ENOUGH_BYTES)
        wants_fini(wants, log_cache(e->log));
}

/* Outside of EXEC it waits for itself, so it needs nothing beforehand. */
static void xreadgroup_prefault(struct engine *e, struct client *c, const struct slice *argv,
                                size_t argc, struct wants *wants)
{
    struct xreadgroup r = { .limits = STREAMS_LIMITS_NONE };
    struct xreadgroup_part *parts;
    struct xreadgroup_memory m;
    size_t at;

    if (!c->in_exec || !xreadgroup_parse(e, c, argv, argc, &r, &at) ||
        (parts = xreadgroup_take(c, argv + at, &m, &r)) == NULL)
        return;
    if (xreadgroup_resolve(e, c, &r, argv + at + r.n, true, parts)) {
        xreadgroup_spread_claim(&r);
        xreadgroup_prefault_parts(e, c, &r, parts, wants);
    }
    xreadgroup_give(e, &m, &r, parts);
}

const struct command xreadgroup_commands[] = {
    { .name = "xreadgroup",
      .handler = xreadgroup_read,
      .prefault = xreadgroup_prefault,
      .bound = xreadgroup_bound,
      .arity = -7,
      .flags = CMD_WRITE | CMD_BLOCKING | CMD_MOVABLE_KEYS,
      .categories = CAT_STREAM,
      .get_keys = xreadgroup_keys,
      .group = "stream",
      .since = "5.0.0",
      .complexity = "O(log N + M) for each stream with M the number of entries replied",
      .summary = "Hands entries of streams out to a consumer of a group, new ones or those that it "
                 "has already, or waits for some",
      .syntax = "GROUP group consumer [COUNT count] [MAXCOUNT maxcount] [MAXSIZE maxsize] [BLOCK "
                "milliseconds] [CLAIM min-idle-time] [NOACK] STREAMS key [key ...] id [id "
                "...]",
      .key_flags = "RO ACCESS",
      .key_word = "STREAMS" },
    { .name = NULL },
};
