/*
 * grouplog.c - records about groups, and what follows from each.
 *
 * Every function does the same five things: it makes room in memory, tells the digest, appends the record, applies it by the
 * function of groups/group.h that a replay calls for that record too, and tells who waits. What can fail comes first.
 *
 * How safe a record has to be follows from what is lost with it. A delivery that a power loss takes back is done once more; an
 * acknowledgement that it takes back is an entry delivered twice although somebody was told that it is done. So a delivery is at
 * most of the class `interval`, and everything else of the stream's. The LSN of an always-class effect is kept with the group:
 * whoever reads new entries shows none of it and need not wait for it; whoever shows the group does. What changes which groups
 * there are or where they stand counts for the stream as well.
 *
 * A change wakes readers where it makes something possible for them. Handing entries out never does, nor does an acknowledgement
 * but in groups that bound what is in flight, or order it by key.
 */
#include "broker/engine/grouplog.h"
#include <assert.h>
#include "broker/engine/blocking.h"
#include "broker/engine/redelivery.h"
#include "broker/engine/retention.h"
#include "broker/pubsub/notify.h"
#include "log/record.h"

/* Where a change happens. */
struct grouplog {
    struct engine *e;
    struct client *c; /* NULL: the engine does it by itself */
    struct stream *st;
    struct group *g;
    bool reading; /* it hands entries out */
};

static void grouplog_raise(uint64_t *need, uint64_t lsn)
{
    if (*need < lsn)
        *need = lsn;
}

void grouplog_need(struct client *c, const struct group *g)
{
    grouplog_raise(&c->need_durable, g->always_lsn);
}

static struct journal_to grouplog_to(const struct grouplog *x)
{
    return (struct journal_to){ x->st->oid, x->g->gid };
}

/* A record about the group alone. */
static uint8_t *grouplog_append(const struct grouplog *x, uint8_t type, size_t len, uint64_t *lsn)
{
    enum log_class class = (enum log_class)engine_setting(x->e, x->st, SETTING_DURABILITY, NULL);
    uint8_t *p;

    if (x->reading && class > LOG_INTERVAL)
        class = LOG_INTERVAL;
    state_before_groups(&x->e->state, x->st);
    p = engine_append(x->e, x->c, type, class, len, lsn);
    if (class == LOG_ALWAYS)
        x->g->always_lsn = *lsn;
    return p;
}

/* A record that counts for the stream as well. */
static uint8_t *grouplog_append_to(const struct grouplog *x, uint8_t type, size_t len,
                                   uint64_t *lsn)
{
    state_before_groups(&x->e->state, x->st);
    return engine_append_to(x->e, x->c, &x->st->object, type, len, lsn);
}

static void grouplog_wake(struct engine *e, const struct stream *st)
{
    blocking_ready(e->blocking, state_db_of(&e->state, &st->object), stream_name(st));
}

/* The group has changed. */
static void grouplog_changed(const struct grouplog *x, bool wake)
{
    redelivery_changed(x->e, x->st, x->g);
    retention_acknowledged(x->e, x->st);
    if (wake)
        grouplog_wake(x->e, x->st);
}

/* ---- groups ---- */

/* A group that is not there yet, in all but its gid as it will be. */
static int grouplog_make(struct stream *st, struct slice name, unsigned which,
                         const struct group_options *options, struct group **out, struct err *err)
{
    struct group_options *taken = NULL;
    struct order *order = NULL;
    struct group *g;
    int rc = groups_prepare(st->more->groups, name, &g, err);

    if (rc != OK)
        return rc;
    if (options != NULL)
        rc = group_prepare_options(g, which, options, &taken, &order, err);
    if (rc != OK) {
        group_free(g);
        return rc;
    }
    if (options != NULL)
        group_apply_options(g, taken, order);
    *out = g;
    return OK;
}

int grouplog_create(struct engine *e, struct client *c, struct stream *st, struct slice name,
                    struct id last, int64_t entries_read, uint64_t n_behind, unsigned which,
                    const struct group_options *options, struct group **out, struct err *err)
{
    struct grouplog x = { e, c, st, NULL, false };
    uint64_t lsn;
    uint8_t *p;
    int rc = state_prepare_groups(&e->state, st, err);

    if (rc == OK)
        rc = grouplog_make(st, name, which, options, &x.g, err);
    if (rc != OK)
        return rc;
    group_set_position(x.g, last, entries_read, n_behind);
    p = grouplog_append_to(&x, RECORD_GROUP, journal_group_size(st->oid, x.g), &lsn);
    journal_group_put(p, st->oid, x.g);
    groups_add(st->more->groups, x.g, lsn);
    grouplog_changed(&x, true);
    notify(e, NOTIFY_STREAM, "xgroup-create", state_db_of(&e->state, &st->object), stream_name(st));
    *out = x.g;
    return OK;
}

void grouplog_drop(struct engine *e, struct client *c, struct stream *st, struct group *g)
{
    struct grouplog x = { e, c, st, g, false };
    struct journal_to to = grouplog_to(&x);
    uint64_t lsn;
    uint8_t *p = grouplog_append_to(&x, RECORD_GROUP_DROP, journal_drop_size(to), &lsn);

    journal_drop_put(p, to);
    groups_take(st->more->groups, g);
    state_drop_group(&e->state, g);
    retention_acknowledged(e, st);
    grouplog_wake(e, st);
    notify(e, NOTIFY_STREAM, "xgroup-destroy", state_db_of(&e->state, &st->object),
           stream_name(st));
}

void grouplog_set_position(struct engine *e, struct client *c, struct stream *st, struct group *g,
                           struct id last, int64_t entries_read, uint64_t n_behind)
{
    struct grouplog x = { e, c, st, g, false };
    struct journal_to to = grouplog_to(&x);
    size_t len = journal_position_size(to, last, entries_read, n_behind);
    uint64_t lsn;
    uint8_t *p = grouplog_append_to(&x, RECORD_GROUP_POSITION, len, &lsn);

    journal_position_put(p, to, last, entries_read, n_behind);
    group_set_position(g, last, entries_read, n_behind);
    grouplog_changed(&x, true);
}

int grouplog_set_options(struct engine *e, struct client *c, struct stream *st, struct group *g,
                         unsigned which, const struct group_options *options, struct err *err)
{
    struct grouplog x = { e, c, st, g, false };
    struct journal_to to = grouplog_to(&x);
    struct group_options *taken;
    struct order *order;
    uint64_t lsn;
    uint8_t *p;
    int rc = group_prepare_options(g, which, options, &taken, &order, err);

    if (rc != OK)
        return rc;
    p = grouplog_append(&x, RECORD_GROUP_OPTIONS, journal_options_size(to, which, options), &lsn);
    journal_options_put(p, to, which, options);
    group_apply_options(g, taken, order);
    grouplog_changed(&x, true);
    return OK;
}

/* ---- consumers ---- */

int grouplog_add_consumer(struct engine *e, struct client *c, struct stream *st, struct group *g,
                          struct slice name, bool reading, struct consumer **out, struct err *err)
{
    struct grouplog x = { e, c, st, g, reading };
    struct journal_to to = grouplog_to(&x);
    uint64_t lsn;
    uint8_t *p;
    int rc = group_prepare_consumer(g, name, out, err);

    if (rc != OK)
        return rc;
    p = grouplog_append(&x, RECORD_CONSUMER, journal_consumer_size(to, *out), &lsn);
    journal_consumer_put(p, to, *out);
    group_add_consumer(g, *out, lsn);
    notify(e, NOTIFY_STREAM, "xgroup-createconsumer", state_db_of(&e->state, &st->object),
           stream_name(st));
    return OK;
}

uint64_t grouplog_drop_consumer(struct engine *e, struct client *c, struct stream *st,
                                struct group *g, struct consumer *consumer, bool hand_back)
{
    struct grouplog x = { e, c, st, g, false };
    struct journal_to to = grouplog_to(&x);
    uint16_t slot = consumer->slot;
    size_t len = journal_consumer_drop_size(to, slot, hand_back, e->now_ms);
    uint64_t lsn, n;
    uint8_t *p = grouplog_append(&x, RECORD_CONSUMER_DROP, len, &lsn);

    journal_consumer_drop_put(p, to, slot, hand_back, e->now_ms);
    n = group_drop_consumer(g, slot, hand_back, e->now_ms);
    grouplog_changed(&x, n > 0);
    notify(e, NOTIFY_STREAM, "xgroup-delconsumer", state_db_of(&e->state, &st->object),
           stream_name(st));
    return n;
}

/* ---- pending entries ---- */

/* New entries go behind all others, unless some are parked, which come after those that are delivered. */
static struct id grouplog_lowest(const struct group_delivery *d)
{
    return d->n_parked > 0 || d->n == 0 ? ID_MIN : d->ids[0];
}

int grouplog_deliver(struct engine *e, struct client *c, struct stream *st, struct group *g,
                     const struct group_delivery *d, struct err *err)
{
    struct grouplog x = { e, c, st, g, true };
    struct journal_to to = grouplog_to(&x);
    uint64_t lsn;
    uint8_t *p;
    int rc = group_prepare(g, d->n + d->n_parked, grouplog_lowest(d), err);

    if (rc != OK)
        return rc;
    p = grouplog_append(&x, RECORD_DELIVER, journal_deliver_size(to, d), &lsn);
    journal_deliver_put(p, to, d);
    group_deliver(g, d);
    grouplog_changed(&x, false);
    return OK;
}

/* How many of n IDs one record takes: so many come in a command that names a million. */
static size_t grouplog_few(size_t n)
{
    return n < IDSET_MAX ? n : IDSET_MAX;
}

static void grouplog_change_few(const struct grouplog *x, const struct group_change *change)
{
    struct journal_to to = grouplog_to(x);
    uint64_t lsn;
    uint8_t *p = grouplog_append(x, RECORD_PENDING, journal_change_size(to, change), &lsn);

    journal_change_put(p, to, change);
    group_change(x->g, change);
}

int grouplog_change(struct engine *e, struct client *c, struct stream *st, struct group *g,
                    const struct group_change *change, bool reading, struct err *err)
{
    struct grouplog x = { e, c, st, g, reading };
    struct group_change few = *change;
    int rc = group_prepare(g, change->n, ID_MIN, err);

    if (rc != OK)
        return rc;
    for (size_t i = 0; i == 0 || i < change->n; i += few.n) {
        few.n = grouplog_few(change->n - i);
        few.ids = change->ids + i;
        few.counts = change->counts == NULL ? NULL : change->counts + i;
        few.keys = change->keys == NULL ? NULL : change->keys + i;
        grouplog_change_few(&x, &few);
    }
    grouplog_changed(&x, !reading);
    return OK;
}

/* Applied first, since only that tells whether there is anything to log: it cannot fail, and nobody sees the order. */
static uint64_t grouplog_remove_few(const struct grouplog *x, const struct id *ids, size_t n)
{
    struct journal_to to = grouplog_to(x);
    uint64_t lsn, n_acked;
    uint8_t *p;

    state_before_groups(&x->e->state, x->st);
    n_acked = group_ack(x->g, ids, n);
    if (n_acked > 0) {
        p = grouplog_append(x, RECORD_ACK, journal_ack_size(to, ids, n), &lsn);
        journal_ack_put(p, to, ids, n);
    }
    return n_acked;
}

static uint64_t grouplog_remove(const struct grouplog *x, const struct id *ids, size_t n)
{
    uint64_t n_acked = 0;

    for (size_t i = 0; i < n; i += IDSET_MAX)
        n_acked += grouplog_remove_few(x, ids + i, grouplog_few(n - i));
    return n_acked;
}

/* Takes those of the n IDs that are pending; what is parked has not been delivered yet. */
static size_t grouplog_pick(const struct group *g, const struct id *ids, size_t n, struct id *out)
{
    struct pel_entry entry;
    size_t picked = 0;

    for (size_t i = 0; i < n; i++)
        if (pel_get(g->pel, ids[i], &entry) && entry.slot != PEL_PARKED)
            out[picked++] = ids[i];
    return picked;
}

/* A few hundred IDs at a time: one more record costs less than the room that was made for so many. */
static uint64_t grouplog_ack_picked(const struct grouplog *x, const struct id *ids, size_t n)
{
    struct id picked[GROUPLOG_ACK_IDS];
    uint64_t n_acked = 0;

    for (size_t i = 0; i < n; i += GROUPLOG_ACK_IDS) {
        size_t few = n - i < GROUPLOG_ACK_IDS ? n - i : GROUPLOG_ACK_IDS;
        few = grouplog_pick(x->g, ids + i, few, picked);
        if (few > 0)
            n_acked += grouplog_remove(x, picked, few);
    }
    return n_acked;
}

static bool grouplog_is_bounded(const struct group *g)
{
    return g->order != NULL || group_options(g)->max_pending != 0;
}

uint64_t grouplog_ack(struct engine *e, struct client *c, struct stream *st, struct group *g,
                      const struct id *ids, size_t n)
{
    struct grouplog x = { e, c, st, g, false };
    uint64_t n_acked =
        pel_n_parked(g->pel) > 0 ? grouplog_ack_picked(&x, ids, n) : grouplog_remove(&x, ids, n);

    if (n_acked > 0)
        grouplog_changed(&x, grouplog_is_bounded(g));
    return n_acked;
}

uint64_t grouplog_drop_entries(struct engine *e, struct client *c, struct stream *st,
                               struct group *g, const struct id *ids, size_t n)
{
    struct grouplog x = { e, c, st, g, true };
    uint64_t n_dropped = grouplog_remove(&x, ids, n);

    if (n_dropped > 0)
        grouplog_changed(&x, grouplog_is_bounded(g));
    return n_dropped;
}

/* ---- in all groups ---- */

static void grouplog_all_changed(struct engine *e, struct stream *st)
{
    for (size_t i = 0; i < groups_n(stream_groups(st)); i++)
        redelivery_changed(e, st, groups_at(stream_groups(st), i));
    retention_acknowledged(e, st);
    grouplog_wake(e, st);
}

void grouplog_unref(struct engine *e, struct client *c, struct stream *st, const struct id *ids,
                    size_t n)
{
    const struct journal_to to = { st->oid, 0 };
    struct grouplog x = { e, c, st, NULL, false };
    uint64_t lsn;
    uint8_t *p;

    if (groups_n(stream_groups(st)) == 0 || n == 0)
        return;
    for (size_t i = 0, few; i < n; i += few) {
        few = grouplog_few(n - i);
        p = grouplog_append_to(&x, RECORD_ACK, journal_ack_size(to, ids + i, few), &lsn);
        journal_ack_put(p, to, ids + i, few);
        groups_forget(st->more->groups, ids + i, few, lsn);
    }
    grouplog_all_changed(e, st);
}

void grouplog_unref_below(struct engine *e, struct client *c, struct stream *st, struct id first)
{
    struct grouplog x = { e, c, st, NULL, false };
    size_t len = journal_unref_size(st->oid, first);
    uint64_t lsn;
    uint8_t *p;

    if (groups_n(stream_groups(st)) == 0)
        return;
    p = grouplog_append_to(&x, RECORD_UNREF, len, &lsn);
    journal_unref_put(p, st->oid, first);
    groups_forget_below(st->more->groups, first, lsn);
    grouplog_all_changed(e, st);
}
