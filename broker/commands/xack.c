/*
 * xack.c - XACK, XACKDEL, and the table of what is done with pending entries.
 *
 * XACK is half of what a consumer does, so it costs what the IDs cost: they are read into an array on the stack, mostly
 * ascending as they were handed out, and one record and one walk over the pending entries does the rest.
 *
 * What a group with ORDERBY has skipped is not delivered, and so not pending for any command here: an acknowledgement of
 * such an ID is one of something that nobody has got, and counts for nothing.
 */
#include "broker/commands/claims.h"
#include "broker/commands/deletion.h"
#include "broker/commands/idlist.h"
#include "broker/commands/xgroup.h"
#include "broker/engine/reply.h"

/* ---- XACK ---- */

static void xack_ack(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct idlist x;
    struct stream *st;
    struct group *g;

    if (!xgroup_find_write(e, c, argv[1], argv[2], &st, &g))
        return;
    if (g == NULL) {
        reply_int(c, 0);
        return;
    }
    if (idlist_parse(c, argv + 3, argc - 3, &x)) {
        idlist_sort(&x);
        reply_u64(c, grouplog_ack(e, c, st, g, x.ids, x.n));
    }
    idlist_fini(&x);
}

static size_t xack_ack_bound(const struct slice *argv, size_t argc)
{
    (void)argv;
    return grouplog_bound(1 + argc / GROUPLOG_ACK_IDS, argc);
}

/* ---- XACKDEL ---- */

/* Only what is pending in the group, and of equal IDs the first, is dealt with. */
static void xackdel_choose(const struct group *g, struct deletion *d)
{
    struct pel_entry entry;

    for (size_t i = 0; i < d->n; i++) {
        struct deletion_item *item = &d->items[i];

        item->skip = deletion_repeats(d, i) || !pel_get(g->pel, item->id, &entry) ||
                     entry.slot == PEL_PARKED;
        if (!item->skip)
            item->code = DELETION_DONE;
    }
}

/* The IDs that are dealt with, to d->ids. */
static size_t xackdel_chosen(struct deletion *d)
{
    size_t n = 0;

    for (size_t i = 0; i < d->n; i++)
        if (!d->items[i].skip)
            d->ids[n++] = d->items[i].id;
    return n;
}

/* ACKED: what other groups still need is acknowledged here, and stays. */
static void xackdel_spare(const struct stream *st, struct deletion *d)
{
    for (size_t i = 0; i < d->n; i++) {
        struct deletion_item *item = &d->items[i];

        if (item->skip || groups_have_acked(stream_groups(st), item->id))
            continue;
        item->code = DELETION_REFERENCED;
        item->found = false;
    }
}

static int xackdel_run(struct engine *e, struct client *c, struct slice key, struct stream *st,
                       struct group *g, enum trim_refs refs, struct deletion *d, struct err *err)
{
    size_t n;
    int rc;

    deletion_sort(d);
    xackdel_choose(g, d);
    rc = deletion_look(e, st, d, NULL, err);
    if (rc == OK)
        rc = deletion_prepare(e, st, d, err);
    if (rc != OK)
        return rc;
    n = xackdel_chosen(d);
    if (n == 0)
        return OK;
    if (refs == TRIM_DELREF)
        grouplog_unref(e, c, st, d->ids, n);
    else
        grouplog_ack(e, c, st, g, d->ids, n);
    if (refs == TRIM_ACKED)
        xackdel_spare(st, d);
    deletion_apply(e, c, key, st, d);
    return OK;
}

static void xack_ackdel(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct deletion_request x;
    struct deletion d;
    struct stream *st;
    struct group *g;
    struct err err;
    int rc;

    if (!deletion_request(c, argv, argc, 3, &x) ||
        !xgroup_find_write(e, c, argv[1], argv[2], &st, &g))
        return;
    if (g == NULL) {
        deletion_reply_none(c, x.n_ids);
        return;
    }
    if (deletion_parse(c, argv + x.ids_at, x.n_ids, &d)) {
        rc = xackdel_run(e, c, argv[1], st, g, x.refs, &d, &err);
        if (rc == OK)
            deletion_reply(c, &d);
        else
            streams_reply_failure(c, rc, &err);
    }
    deletion_fini(&d);
}

static void xack_ackdel_prefault(struct engine *e, struct client *c, const struct slice *argv,
                                 size_t argc, struct wants *wants)
{
    struct deletion_request x;
    const struct stream *st;

    if (deletion_request(c, argv, argc, 3, &x) && xgroup_peek(e, c, argv[1], argv[2], &st) != NULL)
        deletion_prefault(e, c, argv[1], argv + x.ids_at, x.n_ids, wants);
}

/* ---- the table ---- */

#define XACK_KEY \
    .categories = CAT_STREAM, .first_key = 1, .last_key = 1, .key_step = 1, .group = "stream"

const struct command xack_commands[] = {
    { .name = "xack",
      .handler = xack_ack,
      .bound = xack_ack_bound,
      .arity = -4,
      .flags = CMD_WRITE | CMD_OF_GROUPS | CMD_FAST,
      XACK_KEY,
      .since = "5.0.0",
      .complexity = "O(log N) for each ID; O(1) where they follow each other",
      .summary = "Acknowledges entries of a group; tells how many were pending",
      .syntax = "key group id [id ...]",
      .key_flags = "RW UPDATE" },
    { .name = "xackdel",
      .handler = xack_ackdel,
      .prefault = xack_ackdel_prefault,
      .bound = xack_ack_bound,
      .arity = -6,
      .flags = CMD_WRITE | CMD_FAST,
      XACK_KEY,
      .since = "8.2.0",
      .complexity = "O(log N) for each ID",
      .summary = "Acknowledges entries of a group and removes them from the stream; tells for each "
                 "ID what became of it",
      .syntax = "key group [KEEPREF | DELREF | ACKED] IDS numids id [id ...]",
      .key_flags = "RW DELETE" },
    { .name = "xautoclaim",
      .handler = xclaim_autoclaim,
      .prefault = xautoclaim_prefault,
      .bound = xautoclaim_bound,
      .arity = -6,
      .flags = CMD_WRITE | CMD_OF_GROUPS | CMD_FAST,
      XACK_KEY,
      .since = "6.2.0",
      .complexity = "O(COUNT)",
      .summary = "Gives entries of a group that have been pending for so long to a consumer; tells "
                 "where to go on",
      .syntax = "key group consumer min-idle-time start [COUNT count] [JUSTID]",
      .key_flags = "RW DELETE",
      .tips = "nondeterministic_output" },
    { .name = "xclaim",
      .handler = xclaim_claim,
      .prefault = xclaim_claim_prefault,
      .bound = xclaim_claim_bound,
      .arity = -6,
      .flags = CMD_WRITE | CMD_OF_GROUPS | CMD_FAST,
      XACK_KEY,
      .since = "5.0.0",
      .complexity = "O(log N) for each ID",
      .summary = "Gives pending entries of a group to a consumer",
      .syntax =
          "key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds] "
          "[RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]",
      .key_flags = "RW UPDATE",
      .tips = "nondeterministic_output" },
    { .name = "xnack",
      .handler = xnack_nack,
      .prefault = xnack_prefault,
      .bound = xnack_bound,
      .arity = -7,
      .flags = CMD_WRITE | CMD_OF_GROUPS | CMD_FAST,
      XACK_KEY,
      .since = "8.8.0",
      .complexity = "O(log N) for each ID",
      .summary =
          "Gives pending entries back to their group, to be handed out again, at once or after a "
          "delay",
      .syntax =
          "key group <SILENT | FAIL | FATAL> IDS numids id [id ...] [RETRYCOUNT count] [FORCE] "
          "[DELAY milliseconds]",
      .key_flags = "RW UPDATE" },
    { .name = NULL },
};
