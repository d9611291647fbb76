/*
 * journal_write.c - effects on groups as records, and groups for checkpoints.
 *
 * Each body is written by one function to a `struct journal`, which either counts or has a place to write to; so a size is exact,
 * whatever the fields. IDs are a set (idset.h), what belongs to each ID a column behind the set. docs/format.md has the bytes.
 *
 * A record is absolute: what it says of an ID holds whatever that was before. So entries may be saved in items of different moments, and
 * records of any age be applied to them, as long as the latest come last.
 */
#include "groups/journal.h"
#include "groups/journal_form.h"

static const unsigned JOURNAL_ALL_OPTIONS = (1u << GROUP_OPTION_COUNT) - (1u << GROUP_ACKWAIT);

struct journal {
    uint8_t *p; /* NULL: only counts */
    size_t n;
};

static void journal_u64(struct journal *o, uint64_t v)
{
    if (o->p == NULL)
        o->n += varint_size(v);
    else
        o->p = varint_put(o->p, v);
}

static void journal_id(struct journal *o, struct id id)
{
    journal_u64(o, id.ms);
    journal_u64(o, id.seq);
}

static void journal_str(struct journal *o, struct slice s)
{
    if (o->p == NULL)
        o->n += slice_size(s);
    else
        o->p = slice_put(o->p, s);
}

static void journal_ids(struct journal *o, const struct id *ids, size_t n)
{
    if (o->p == NULL)
        o->n += idset_size(ids, n);
    else
        o->p = idset_put(o->p, ids, n);
}

static void journal_u32(struct journal *o, uint32_t v)
{
    if (o->p == NULL) {
        o->n += sizeof v;
    } else {
        put_u32le(o->p, v);
        o->p += sizeof v;
    }
}

static void journal_keys(struct journal *o, const uint32_t *keys, size_t n)
{
    for (size_t i = 0; i < n; i++)
        journal_u32(o, keys[i]);
}

static void journal_to(struct journal *o, struct journal_to to)
{
    journal_u64(o, to.oid);
    journal_u64(o, to.gid);
}

/* Small numbers of either sign are small: 0, -1, 1, -2, ... */
static uint64_t journal_zigzag(uint64_t difference)
{
    return difference << 1 ^ (0 - (difference >> 63));
}

static void journal_position(struct journal *o, struct id last, int64_t entries_read,
                             uint64_t n_behind)
{
    journal_id(o, last);
    journal_u64(o, (uint64_t)entries_read + 1);
    journal_u64(o, n_behind);
}

static void journal_option(struct journal *o, enum group_option tag, const struct group_options *x)
{
    journal_u64(o, tag);
    switch (tag) {
    case GROUP_ACKWAIT: journal_u64(o, x->ack_wait_ms); break;
    case GROUP_MAXDELIVER: journal_u64(o, x->max_deliver); break;
    case GROUP_DLQ: journal_str(o, x->dlq); break;
    case GROUP_BACKOFF:
        journal_u64(o, x->n_backoff);
        for (size_t i = 0; i < x->n_backoff; i++)
            journal_u64(o, x->backoff_ms[i]);
        break;
    case GROUP_MAXPENDING: journal_u64(o, x->max_pending); break;
    case GROUP_CONSUMERTTL: journal_u64(o, x->consumer_ttl_ms); break;
    case GROUP_ORDERBY:
        journal_str(o, x->order_by);
        journal_u64(o, x->order_by.n > 0 ? x->order_seed : 0);
        break;
    case GROUP_OPTION_COUNT: break;
    }
}

static void journal_options(struct journal *o, unsigned which, const struct group_options *x)
{
    journal_u64(o, (uint64_t)__builtin_popcount(which));
    for (unsigned tag = GROUP_ACKWAIT; tag < GROUP_OPTION_COUNT; tag++)
        if (which & 1u << tag)
            journal_option(o, (enum group_option)tag, x);
}

static void journal_all_options(struct journal *o, const struct group *g)
{
    journal_options(o, group_is_plain(g) ? 0 : JOURNAL_ALL_OPTIONS, group_options(g));
}

static void journal_group(struct journal *o, uint64_t oid, const struct group *g)
{
    journal_u64(o, oid);
    journal_str(o, g->name);
    journal_position(o, g->last_id, g->entries_read, g->n_behind);
    journal_all_options(o, g);
}

static void journal_consumer_drop(struct journal *o, struct journal_to to, uint16_t slot,
                                  bool hand_back, uint64_t time_ms)
{
    journal_to(o, to);
    journal_u64(o, slot);
    journal_u64(o, hand_back);
    if (hand_back)
        journal_u64(o, time_ms);
}

/* The last ID of the sets, 0-0 if they are empty. */
static struct id journal_deliver_last(const struct group_delivery *d, bool ids)
{
    struct id a = ids ? d->ids[d->n - 1] : ID_MIN;
    struct id b = d->n_parked > 0 ? d->parked[d->n_parked - 1] : ID_MIN;

    return id_cmp(a, b) > 0 ? a : b;
}

static void journal_deliver(struct journal *o, struct journal_to to, const struct group_delivery *d)
{
    bool ids = d->n > 0 && d->slot != PEL_NOBODY;
    bool last = id_cmp(journal_deliver_last(d, ids), d->last) != 0;

    journal_to(o, to);
    journal_u64(o, d->slot);
    journal_u64(o, (last ? DELIVER_LAST : 0u) | (ids ? DELIVER_IDS : 0u) |
                       (ids && d->keys != NULL ? DELIVER_KEYS : 0u) |
                       (d->n_parked > 0 ? DELIVER_PARKED : 0u));
    journal_u64(o, d->time_ms);
    if (last)
        journal_id(o, d->last);
    journal_u64(o, (uint64_t)d->entries_read + 1);
    journal_u64(o, d->n_behind);
    if (ids)
        journal_ids(o, d->ids, d->n);
    if (ids && d->keys != NULL)
        journal_keys(o, d->keys, d->n);
    if (d->n_parked > 0) {
        journal_ids(o, d->parked, d->n_parked);
        journal_keys(o, d->parked_keys, d->n_parked);
    }
}

static void journal_change(struct journal *o, struct journal_to to, const struct group_change *x)
{
    journal_to(o, to);
    journal_u64(o, x->slot);
    journal_u64(o, (x->nacked ? PENDING_NACKED : 0u) | (x->active ? PENDING_ACTIVE : 0u) |
                       (x->counts != NULL ? PENDING_COUNTS : 0u) |
                       (x->keys != NULL ? PENDING_KEYS : 0u));
    journal_u64(o, x->time_ms);
    if (x->active)
        journal_u64(o, x->active_ms);
    if (x->counts == NULL)
        journal_u64(o, x->count);
    journal_ids(o, x->ids, x->n);
    for (size_t i = 0; x->counts != NULL && i < x->n; i++)
        journal_u64(o, x->counts[i]);
    if (x->keys != NULL)
        journal_keys(o, x->keys, x->n);
}

size_t journal_group_size(uint64_t oid, const struct group *g)
{
    struct journal o = { NULL, 0 };

    journal_group(&o, oid, g);
    return o.n;
}

uint8_t *journal_group_put(uint8_t *p, uint64_t oid, const struct group *g)
{
    struct journal o = { p, 0 };

    journal_group(&o, oid, g);
    return o.p;
}

size_t journal_drop_size(struct journal_to to)
{
    return varint_size(to.oid) + varint_size(to.gid);
}

uint8_t *journal_drop_put(uint8_t *p, struct journal_to to)
{
    return varint_put(varint_put(p, to.oid), to.gid);
}

size_t journal_position_size(struct journal_to to, struct id last, int64_t entries_read,
                             uint64_t n_behind)
{
    struct journal o = { NULL, journal_drop_size(to) };

    journal_position(&o, last, entries_read, n_behind);
    return o.n;
}

uint8_t *journal_position_put(uint8_t *p, struct journal_to to, struct id last,
                              int64_t entries_read, uint64_t n_behind)
{
    struct journal o = { journal_drop_put(p, to), 0 };

    journal_position(&o, last, entries_read, n_behind);
    return o.p;
}

size_t journal_options_size(struct journal_to to, unsigned which, const struct group_options *x)
{
    struct journal o = { NULL, journal_drop_size(to) };

    journal_options(&o, which & JOURNAL_ALL_OPTIONS, x);
    return o.n;
}

uint8_t *journal_options_put(uint8_t *p, struct journal_to to, unsigned which,
                             const struct group_options *x)
{
    struct journal o = { journal_drop_put(p, to), 0 };

    journal_options(&o, which & JOURNAL_ALL_OPTIONS, x);
    return o.p;
}

size_t journal_consumer_size(struct journal_to to, const struct consumer *c)
{
    return journal_drop_size(to) + varint_size(c->slot) + slice_size(c->name);
}

uint8_t *journal_consumer_put(uint8_t *p, struct journal_to to, const struct consumer *c)
{
    return slice_put(varint_put(journal_drop_put(p, to), c->slot), c->name);
}

size_t journal_consumer_drop_size(struct journal_to to, uint16_t slot, bool hand_back,
                                  uint64_t time_ms)
{
    struct journal o = { NULL, 0 };

    journal_consumer_drop(&o, to, slot, hand_back, time_ms);
    return o.n;
}

uint8_t *journal_consumer_drop_put(uint8_t *p, struct journal_to to, uint16_t slot, bool hand_back,
                                   uint64_t time_ms)
{
    struct journal o = { p, 0 };

    journal_consumer_drop(&o, to, slot, hand_back, time_ms);
    return o.p;
}

size_t journal_deliver_size(struct journal_to to, const struct group_delivery *d)
{
    struct journal o = { NULL, 0 };

    journal_deliver(&o, to, d);
    return o.n;
}

uint8_t *journal_deliver_put(uint8_t *p, struct journal_to to, const struct group_delivery *d)
{
    struct journal o = { p, 0 };

    journal_deliver(&o, to, d);
    return o.p;
}

size_t journal_change_size(struct journal_to to, const struct group_change *x)
{
    struct journal o = { NULL, 0 };

    journal_change(&o, to, x);
    return o.n;
}

uint8_t *journal_change_put(uint8_t *p, struct journal_to to, const struct group_change *x)
{
    struct journal o = { p, 0 };

    journal_change(&o, to, x);
    return o.p;
}

size_t journal_ack_size(struct journal_to to, const struct id *ids, size_t n)
{
    return journal_drop_size(to) + idset_size(ids, n);
}

uint8_t *journal_ack_put(uint8_t *p, struct journal_to to, const struct id *ids, size_t n)
{
    return idset_put(journal_drop_put(p, to), ids, n);
}

size_t journal_unref_size(uint64_t oid, struct id first)
{
    return varint_size(oid) + id_size(first);
}

uint8_t *journal_unref_put(uint8_t *p, uint64_t oid, struct id first)
{
    return id_put(varint_put(p, oid), first);
}

/* ---- saving ---- */

static void journal_saved_group(struct journal *o, const struct group *g)
{
    journal_u64(o, g->gid);
    journal_str(o, g->name);
    journal_position(o, g->last_id, g->entries_read, g->n_behind);
    journal_all_options(o, g);
    journal_u64(o, group_n_consumers(g));
    for (size_t slot = 1; slot < g->n_slots; slot++) {
        const struct consumer *c = g->slots[slot];
        if (c == NULL)
            continue;
        journal_u64(o, slot);
        journal_u64(o, c->lsn);
        journal_u64(o, c->active_ms);
        journal_str(o, c->name);
    }
}

size_t journal_save_group_size(const struct group *g)
{
    struct journal o = { NULL, 0 };

    journal_saved_group(&o, g);
    return o.n;
}

uint8_t *journal_save_group(uint8_t *p, const struct group *g)
{
    struct journal o = { p, 0 };

    journal_saved_group(&o, g);
    return o.p;
}

static void journal_saved_entry(struct journal *o, const struct pel_entry *x, uint64_t time_ms)
{
    journal_u64(o, (uint64_t)x->slot << SAVED_SHIFT | (x->nacked ? SAVED_NACKED : 0u) |
                       (x->gone ? SAVED_GONE : 0u) | (x->key != 0 ? SAVED_KEY : 0u));
    journal_u64(o, journal_zigzag(x->time_ms - time_ms));
    journal_u64(o, x->count);
    if (x->key != 0)
        journal_u32(o, x->key);
}

uint8_t *journal_save_pending(uint8_t *p, const struct group *g, struct id *from, size_t n,
                              bool *more)
{
    struct pel_filter any = { .kinds = PEL_HELD | PEL_NACKED | PEL_SKIPPED,
                              .held_until = UINT64_MAX,
                              .nacked_until = UINT64_MAX };
    struct pel_entry x[JOURNAL_CHUNK];
    struct id ids[JOURNAL_CHUNK];
    struct journal o = { p, 0 };
    uint64_t time_ms = 0;

    n = pel_list(g->pel, *from, &any, n < JOURNAL_CHUNK ? n : JOURNAL_CHUNK, x);
    for (size_t i = 0; i < n; i++)
        ids[i] = x[i].id;
    journal_u64(&o, g->gid);
    journal_ids(&o, ids, n);
    for (size_t i = 0; i < n; i++) {
        journal_saved_entry(&o, &x[i], time_ms);
        time_ms = x[i].time_ms;
        *from = x[i].id;
    }
    *more = n > 0 && id_next(from) && pel_next(g->pel, *from, &any, &x[0]);
    return o.p;
}
