/*
 * journal.c - records of groups are applied, groups of checkpoints loaded. What was written is read here; journal_write.c writes it.
 *
 * A `struct journal_in` knows where reading is and whom to tell of what is wrong. IDs come as sets (idset.h), what belongs to each ID in
 * columns behind the set. A set is gone over twice: first to its end, which says where the columns lie and that all of it is sound,
 * then in chunks of JOURNAL_CHUNK IDs that are applied one after the other. So a record is refused before it has changed anything, and
 * whatever number it claims, memory is had for what is there.
 *
 *   J1  A record that is refused has changed nothing.
 *   J2  What is applied fits the group: slots have consumers, parked entries have keys. The one exception are records up to the
 *       checkpoint's end_lsn, whose consumer may be gone by now: group_rebuild gives back what such a one holds.
 */
#include "groups/journal.h"
#include <assert.h>
#include <inttypes.h>
#include "groups/groups.h"
#include "groups/journal_form.h"
#include "log/record.h"

/* What is left of a record or an item. */
struct journal_in {
    const uint8_t *p, *end;
    uint64_t lsn; /* 0: an item of a checkpoint */
    uint8_t type;
    uint64_t end_lsn;
    struct err *e;
};

static int journal_corrupt(const struct journal_in *in, const char *what)
{
    if (in->lsn == 0)
        return err_set(in->e, ERR_CORRUPT, "a group in the checkpoint: %s", what);
    return err_set(in->e, ERR_CORRUPT, "record %" PRIu64 " of type %u: %s", in->lsn, in->type,
                   what);
}

static int journal_read_u64(struct journal_in *in, uint64_t *out)
{
    return varint_get(&in->p, in->end, out) ? OK : journal_corrupt(in, "a number is cut short");
}

static int journal_read_id(struct journal_in *in, struct id *out)
{
    return id_get(&in->p, in->end, out) ? OK : journal_corrupt(in, "an ID is cut short");
}

static int journal_read_str(struct journal_in *in, struct slice *out)
{
    return slice_get(&in->p, in->end, out) ? OK : journal_corrupt(in, "a string is cut short");
}

static int journal_read_end(const struct journal_in *in)
{
    return in->p == in->end ? OK : journal_corrupt(in, "bytes are left over");
}

/* A number up to `max`. */
static int journal_read_max(struct journal_in *in, uint64_t max, const char *what, uint64_t *out)
{
    int rc = journal_read_u64(in, out);

    return rc == OK && *out > max ? journal_corrupt(in, what) : rc;
}

/* A slot from `min` (0: nobody, too) on. */
static int journal_read_slot(struct journal_in *in, uint16_t min, uint16_t *out)
{
    uint64_t v = 0;
    int rc = journal_read_max(in, PEL_SLOT_MAX, "there is no such slot", &v);

    if (rc == OK && v < min)
        rc = journal_corrupt(in, "the slot is nobody's");
    if (rc == OK)
        *out = (uint16_t)v;
    return rc;
}

static int journal_read_entries_read(struct journal_in *in, int64_t *out)
{
    uint64_t v = 0;
    int rc = journal_read_max(in, (uint64_t)INT64_MAX + 1,
                              "more entries are read than there can be", &v);

    if (rc == OK)
        *out = v == 0 ? -1 : (int64_t)(v - 1);
    return rc;
}

struct journal_place {
    struct id last;
    int64_t entries_read;
    uint64_t n_behind;
};

static int journal_read_position(struct journal_in *in, struct journal_place *out)
{
    int rc = journal_read_id(in, &out->last);

    if (rc == OK)
        rc = journal_read_entries_read(in, &out->entries_read);
    return rc == OK ? journal_read_u64(in, &out->n_behind) : rc;
}

static int journal_read_backoff(struct journal_in *in, struct group_options *x)
{
    uint64_t n = 0;
    int rc = journal_read_max(in, GROUP_BACKOFF_MAX, "BACKOFF has too many delays", &n);

    x->n_backoff = (size_t)n;
    for (size_t i = 0; rc == OK && i < x->n_backoff; i++)
        rc = journal_read_u64(in, &x->backoff_ms[i]);
    return rc;
}

static int journal_read_order_by(struct journal_in *in, struct group_options *x)
{
    int rc = journal_read_str(in, &x->order_by);

    if (rc == OK && x->order_by.n > GROUP_FIELD_MAX)
        rc = journal_corrupt(in, "ORDERBY's field is too long");
    return rc == OK ? journal_read_u64(in, &x->order_seed) : rc;
}

static int journal_read_option(struct journal_in *in, uint64_t tag, struct group_options *x)
{
    switch (tag) {
    case GROUP_ACKWAIT: return journal_read_u64(in, &x->ack_wait_ms);
    case GROUP_MAXDELIVER: return journal_read_u64(in, &x->max_deliver);
    case GROUP_DLQ: return journal_read_str(in, &x->dlq);
    case GROUP_BACKOFF: return journal_read_backoff(in, x);
    case GROUP_MAXPENDING: return journal_read_u64(in, &x->max_pending);
    case GROUP_CONSUMERTTL: return journal_read_u64(in, &x->consumer_ttl_ms);
    case GROUP_ORDERBY: return journal_read_order_by(in, x);
    default: return journal_corrupt(in, "an option of the group is not known");
    }
}

/* Strings stay where they were read. */
static int journal_read_options(struct journal_in *in, unsigned *which, struct group_options *x)
{
    uint64_t n = 0, tag = 0;
    int rc = journal_read_max(in, GROUP_OPTION_COUNT - 1, "a group has fewer options", &n);

    *which = 0;
    *x = GROUP_OPTIONS_NONE;
    for (; rc == OK && n > 0; n--) {
        rc = journal_read_u64(in, &tag);
        if (rc == OK && tag < GROUP_OPTION_COUNT && (*which & 1u << tag) != 0)
            rc = journal_corrupt(in, "an option of the group comes twice");
        if (rc == OK)
            rc = journal_read_option(in, tag, x);
        if (rc == OK)
            *which |= 1u << tag;
    }
    return rc;
}

/* ---- sets and columns ---- */

/* IDs of a record with what belongs to each: read to the end once, then in chunks. */
struct journal_set {
    struct idset_reader ids;
    uint64_t n;
    struct id last;
    const uint8_t *counts, *keys; /* NULL: none; `end` bounds both */
    const uint8_t *end;
};

/* Some of them. */
struct journal_chunk {
    struct id ids[JOURNAL_CHUNK];
    uint64_t counts[JOURNAL_CHUNK];
    uint32_t keys[JOURNAL_CHUNK];
    size_t n;
};

/* Opens a set at in->p and goes to its end. */
static int journal_read_set(struct journal_in *in, struct journal_set *s)
{
    struct idset_reader r;

    *s = (struct journal_set){ .end = in->end };
    if (!idset_open(&r, in->p, in->end, IDSET_MAX))
        return journal_corrupt(in, "the number of IDs is cut short, or too large");
    s->ids = r;
    s->n = r.left;
    while (idset_next(&r, &s->last)) {
    }
    if (r.left > 0)
        return journal_corrupt(in, "IDs are malformed, or do not ascend");
    in->p = r.p;
    return OK;
}

static int journal_read_counts(struct journal_in *in, struct journal_set *s)
{
    uint64_t count = 0;
    int rc = OK;

    s->counts = in->p;
    for (uint64_t i = 0; rc == OK && i < s->n; i++)
        rc = journal_read_max(in, PEL_COUNT_FATAL, "an entry is delivered too often", &count);
    return rc;
}

static int journal_read_keys(struct journal_in *in, struct journal_set *s)
{
    if (s->n > (uint64_t)(in->end - in->p) / 4)
        return journal_corrupt(in, "keys are cut short");
    s->keys = in->p;
    in->p += s->n * 4;
    return OK;
}

/* The next IDs of a set that was read to its end before; false if there is none. */
static bool journal_next_chunk(struct journal_set *s, struct journal_chunk *c)
{
    for (c->n = 0; c->n < JOURNAL_CHUNK && idset_next(&s->ids, &c->ids[c->n]); c->n++) {
        bool sound = s->counts == NULL || varint_get(&s->counts, s->end, &c->counts[c->n]);
        assert(sound);
        if (s->keys != NULL) {
            c->keys[c->n] = get_u32le(s->keys);
            s->keys += 4;
        }
    }
    return c->n > 0;
}

/* Parked entries wait for a key. */
static int journal_check_parked(const struct journal_in *in, const struct journal_set *s)
{
    for (uint64_t i = 0; i < s->n; i++)
        if (get_u32le(s->keys + 4 * i) == 0)
            return journal_corrupt(in, "a parked entry has no key");
    return OK;
}

/* ---- records of groups ---- */

/* The group of a record; *out is NULL if it has the record, or was gone when the checkpoint was made. */
static int journal_read_group(struct journal_in *in, const struct groups *gs, struct group **out)
{
    uint64_t gid = 0;
    int rc = journal_read_u64(in, &gid);

    if (rc != OK)
        return rc;
    *out = groups_by_gid(gs, gid);
    if (*out == NULL && in->lsn > in->end_lsn)
        return journal_corrupt(in, "there is no such group");
    if (*out != NULL && (*out)->as_of >= in->lsn)
        *out = NULL;
    return OK;
}

/* A slot must have a consumer. */
static int journal_check_slot(const struct journal_in *in, const struct group *g, uint16_t slot)
{
    if (g == NULL || slot == PEL_NOBODY || in->lsn <= in->end_lsn ||
        group_consumer_at(g, slot) != NULL)
        return OK;
    return journal_corrupt(in, "the slot has no consumer");
}

static bool journal_has_keys(const struct group *g)
{
    return group_options(g)->order_by.n > 0;
}

/* Keys belong to ORDERBY. */
static int journal_check_keys(const struct journal_in *in, const struct group *g, bool any)
{
    return g != NULL && any && !journal_has_keys(g) ? journal_corrupt(in, "the group has no keys")
                                                    : OK;
}

static int journal_make_groups(struct groups **gs, const uint8_t hash_key[16], struct err *e)
{
    return *gs == NULL ? groups_new(hash_key, gs, e) : OK;
}

/* The order of a group that a checkpoint had is made at the end of the replay. */
static int journal_set_options(struct group *g, unsigned which, const struct group_options *x,
                               bool loaded, struct err *e)
{
    struct group_options *options;
    struct order *order;
    int rc = group_prepare_options(g, which, x, &options, &order, e);

    if (rc != OK)
        return rc;
    group_apply_options(g, options, order);
    if (loaded) {
        order_free(g->order);
        g->order = NULL;
    }
    return OK;
}

/* A group as a record or an item begins it. */
struct journal_form {
    struct slice name; /* strings stay where they were read */
    struct journal_place place;
    unsigned which;
    struct group_options options;
};

static int journal_read_form(struct journal_in *in, struct journal_form *f)
{
    int rc = journal_read_str(in, &f->name);

    if (rc == OK)
        rc = journal_read_position(in, &f->place);
    return rc == OK ? journal_read_options(in, &f->which, &f->options) : rc;
}

/* A group of that form, which is not added yet. */
static int journal_make_group(struct groups *gs, const struct journal_in *in,
                              const struct journal_form *f, bool loaded, struct group **out)
{
    struct group *g;
    int rc = groups_prepare(gs, f->name, &g, in->e);

    if (rc == ERR_FULL)
        return journal_corrupt(in, "there are more groups than a stream can have");
    if (rc != OK)
        return rc;
    group_set_position(g, f->place.last, f->place.entries_read, f->place.n_behind);
    if (f->which != 0)
        rc = journal_set_options(g, f->which, &f->options, loaded, in->e);
    if (rc == OK)
        *out = g;
    else
        group_free(g);
    return rc;
}

static int journal_apply_group(struct groups **gs, const uint8_t hash_key[16],
                               struct journal_in *in)
{
    struct journal_form form = { 0 };
    const struct group *other;
    struct group *g;
    int rc = journal_read_form(in, &form);

    if (rc == OK)
        rc = journal_read_end(in);
    if (rc != OK || groups_by_gid(*gs, in->lsn) != NULL)
        return rc;
    other = groups_find(*gs, form.name);
    if (other != NULL)
        return other->gid > in->lsn ? OK : journal_corrupt(in, "the group is there already");
    rc = journal_make_groups(gs, hash_key, in->e);
    if (rc == OK)
        rc = journal_make_group(*gs, in, &form, false, &g);
    if (rc == OK)
        groups_add(*gs, g, in->lsn);
    return rc;
}

static int journal_apply_drop(struct groups *gs, struct journal_in *in, struct group **dropped)
{
    struct group *g = NULL;
    int rc = journal_read_group(in, gs, &g);

    if (rc == OK)
        rc = journal_read_end(in);
    if (rc == OK && g != NULL) {
        groups_take(gs, g);
        *dropped = g;
    }
    return rc;
}

static int journal_apply_position(struct groups *gs, struct journal_in *in)
{
    struct journal_place place = { 0 };
    struct group *g = NULL;
    int rc = journal_read_group(in, gs, &g);

    if (rc == OK)
        rc = journal_read_position(in, &place);
    if (rc == OK)
        rc = journal_read_end(in);
    if (rc == OK && g != NULL)
        group_set_position(g, place.last, place.entries_read, place.n_behind);
    return rc;
}

static int journal_apply_options(struct groups *gs, struct journal_in *in)
{
    struct group_options x;
    unsigned which = 0;
    struct group *g = NULL;
    int rc = journal_read_group(in, gs, &g);

    if (rc == OK)
        rc = journal_read_options(in, &which, &x);
    if (rc == OK)
        rc = journal_read_end(in);
    if (rc == OK && g != NULL)
        rc = journal_set_options(g, which, &x, g->as_of != 0, in->e);
    return rc;
}

static int journal_apply_consumer(struct groups *gs, struct journal_in *in)
{
    struct slice name = { 0 };
    struct consumer *c;
    struct group *g = NULL;
    uint16_t slot = 0;
    int rc = journal_read_group(in, gs, &g);

    if (rc == OK)
        rc = journal_read_slot(in, 1, &slot);
    if (rc == OK)
        rc = journal_read_str(in, &name);
    if (rc == OK)
        rc = journal_read_end(in);
    if (rc != OK || g == NULL)
        return rc;
    if (group_consumer_at(g, slot) != NULL || group_find_consumer(g, name) != NULL)
        return journal_corrupt(in, "the consumer is there already, or its slot taken");
    rc = group_prepare_consumer_at(g, name, slot, &c, in->e);
    if (rc == OK)
        group_add_consumer(g, c, in->lsn);
    return rc;
}

static int journal_apply_consumer_drop(struct groups *gs, struct journal_in *in)
{
    struct group *g = NULL;
    uint16_t slot = 0;
    uint64_t hand_back = 0, time_ms = 0;
    int rc = journal_read_group(in, gs, &g);

    if (rc == OK)
        rc = journal_read_slot(in, 1, &slot);
    if (rc == OK)
        rc = journal_read_max(in, 1, "flags are not known", &hand_back);
    if (rc == OK && hand_back != 0)
        rc = journal_read_u64(in, &time_ms);
    if (rc == OK)
        rc = journal_read_end(in);
    if (rc == OK)
        rc = journal_check_slot(in, g, slot);
    if (rc == OK && g != NULL && group_consumer_at(g, slot) != NULL)
        group_drop_consumer(g, slot, hand_back != 0, time_ms);
    return rc;
}

/* ---- records of entries ---- */

struct journal_delivery {
    struct group_delivery d;
    struct journal_set ids, parked;
};

static int journal_read_delivery_sets(struct journal_in *in, uint64_t flags,
                                      struct journal_delivery *x)
{
    int rc = OK;

    if (flags & DELIVER_IDS)
        rc = journal_read_set(in, &x->ids);
    if (rc == OK && flags & DELIVER_KEYS)
        rc = journal_read_keys(in, &x->ids);
    if (rc == OK && flags & DELIVER_PARKED)
        rc = journal_read_set(in, &x->parked);
    if (rc == OK && flags & DELIVER_PARKED)
        rc = journal_read_keys(in, &x->parked);
    if (rc == OK)
        rc = journal_check_parked(in, &x->parked);
    if (rc == OK && x->ids.n > 0 && x->d.slot == PEL_NOBODY)
        rc = journal_corrupt(in, "entries are delivered to nobody");
    if (rc == OK && !(flags & DELIVER_LAST))
        x->d.last = id_cmp(x->ids.last, x->parked.last) > 0 ? x->ids.last : x->parked.last;
    return rc == OK ? journal_read_end(in) : rc;
}

static int journal_read_delivery(struct journal_in *in, struct journal_delivery *x)
{
    uint64_t flags = 0;
    int rc = journal_read_slot(in, 0, &x->d.slot);

    if (rc == OK)
        rc = journal_read_max(in, DELIVER_ALL, "flags are not known", &flags);
    if (rc == OK)
        rc = journal_read_u64(in, &x->d.time_ms);
    if (rc == OK && flags & DELIVER_LAST)
        rc = journal_read_id(in, &x->d.last);
    if (rc == OK)
        rc = journal_read_entries_read(in, &x->d.entries_read);
    if (rc == OK)
        rc = journal_read_u64(in, &x->d.n_behind);
    return rc == OK ? journal_read_delivery_sets(in, flags, x) : rc;
}

/* Delivers both sets, a chunk of each at a time. */
static int journal_deliver_chunks(struct group *g, struct journal_delivery *x, struct err *e)
{
    struct journal_chunk ids, parked;
    bool more = true;
    int rc = OK;

    x->d.ids = ids.ids;
    x->d.keys = x->ids.keys == NULL ? NULL : ids.keys;
    x->d.parked = parked.ids;
    x->d.parked_keys = parked.keys;
    while (rc == OK && more) {
        more = journal_next_chunk(&x->ids, &ids);
        more = journal_next_chunk(&x->parked, &parked) || more;
        x->d.n = ids.n;
        x->d.n_parked = parked.n;
        rc = group_prepare(g, ids.n + parked.n, ID_MIN, e);
        if (rc == OK)
            group_deliver(g, &x->d);
    }
    return rc;
}

static int journal_apply_deliver(struct groups *gs, struct journal_in *in)
{
    struct journal_delivery x = { 0 };
    struct group *g = NULL;
    int rc = journal_read_group(in, gs, &g);

    if (rc == OK)
        rc = journal_read_delivery(in, &x);
    if (rc == OK)
        rc = journal_check_slot(in, g, x.d.slot);
    if (rc == OK)
        rc = journal_check_keys(in, g, x.ids.keys != NULL || x.parked.n > 0);
    return rc == OK && g != NULL ? journal_deliver_chunks(g, &x, in->e) : rc;
}

static int journal_read_change(struct journal_in *in, struct group_change *x, struct journal_set *s)
{
    uint64_t flags = 0;
    int rc = journal_read_slot(in, 0, &x->slot);

    if (rc == OK)
        rc = journal_read_max(in, PENDING_ALL, "flags are not known", &flags);
    x->nacked = (flags & PENDING_NACKED) != 0;
    x->active = (flags & PENDING_ACTIVE) != 0;
    if (rc == OK && x->slot == PEL_NOBODY && !x->nacked)
        rc = journal_corrupt(in, "entries are held by nobody");
    if (rc == OK)
        rc = journal_read_u64(in, &x->time_ms);
    if (rc == OK && x->active)
        rc = journal_read_u64(in, &x->active_ms);
    if (rc == OK && !(flags & PENDING_COUNTS))
        rc = journal_read_max(in, PEL_COUNT_FATAL, "entries are delivered too often", &x->count);
    if (rc == OK)
        rc = journal_read_set(in, s);
    if (rc == OK && flags & PENDING_COUNTS)
        rc = journal_read_counts(in, s);
    if (rc == OK && flags & PENDING_KEYS)
        rc = journal_read_keys(in, s);
    return rc == OK ? journal_read_end(in) : rc;
}

static int journal_apply_pending(struct groups *gs, struct journal_in *in)
{
    struct group_change x = { 0 };
    struct journal_set s;
    struct journal_chunk c;
    struct group *g = NULL;
    int rc = journal_read_group(in, gs, &g);

    if (rc == OK)
        rc = journal_read_change(in, &x, &s);
    if (rc == OK)
        rc = journal_check_slot(in, g, x.slot);
    if (rc == OK)
        rc = journal_check_keys(in, g, s.keys != NULL);
    if (rc != OK || g == NULL)
        return rc;
    x.ids = c.ids;
    x.counts = s.counts == NULL ? NULL : c.counts;
    x.keys = s.keys == NULL ? NULL : c.keys;
    for (bool more = true; rc == OK && more;) { /* also if there is no ID: the consumer is active */
        more = journal_next_chunk(&s, &c);
        x.n = c.n;
        rc = group_prepare(g, c.n, ID_MIN, in->e);
        if (rc == OK)
            group_change(g, &x);
    }
    return rc;
}

static int journal_apply_ack(struct groups *gs, struct journal_in *in)
{
    struct journal_in every = *in;
    struct journal_set s;
    struct journal_chunk c;
    struct group *g = NULL;
    uint64_t gid = 0;
    int rc = journal_read_u64(&every, &gid);

    if (rc == OK && gid == 0)
        in->p = every.p;
    else
        rc = journal_read_group(in, gs, &g);
    if (rc == OK)
        rc = journal_read_set(in, &s);
    if (rc == OK)
        rc = journal_read_end(in);
    while (rc == OK && journal_next_chunk(&s, &c)) {
        if (gid == 0)
            groups_forget(gs, c.ids, c.n, in->lsn);
        else if (g != NULL)
            group_ack(g, c.ids, c.n);
    }
    return rc;
}

static int journal_apply_unref(struct groups *gs, struct journal_in *in)
{
    struct id first = ID_MIN;
    int rc = journal_read_id(in, &first);

    if (rc == OK)
        rc = journal_read_end(in);
    if (rc == OK)
        groups_forget_below(gs, first, in->lsn);
    return rc;
}

int journal_apply(struct groups **gs, const uint8_t hash_key[16], uint8_t type, uint64_t lsn,
                  const uint8_t *p, const uint8_t *end, uint64_t end_lsn, struct group **dropped,
                  struct err *e)
{
    struct journal_in in = {
        .p = p, .end = end, .lsn = lsn, .type = type, .end_lsn = end_lsn, .e = e
    };

    *dropped = NULL;
    switch (type) {
    case RECORD_GROUP: return journal_apply_group(gs, hash_key, &in);
    case RECORD_GROUP_DROP: return journal_apply_drop(*gs, &in, dropped);
    case RECORD_GROUP_POSITION: return journal_apply_position(*gs, &in);
    case RECORD_GROUP_OPTIONS: return journal_apply_options(*gs, &in);
    case RECORD_CONSUMER: return journal_apply_consumer(*gs, &in);
    case RECORD_CONSUMER_DROP: return journal_apply_consumer_drop(*gs, &in);
    case RECORD_DELIVER: return journal_apply_deliver(*gs, &in);
    case RECORD_PENDING: return journal_apply_pending(*gs, &in);
    case RECORD_ACK: return journal_apply_ack(*gs, &in);
    case RECORD_UNREF: return journal_apply_unref(*gs, &in);
    default: return journal_corrupt(&in, "no record of a group");
    }
}

/* ---- loading ---- */

static int journal_load_consumer(struct journal_in *in, struct group *g)
{
    struct slice name = { 0 };
    uint64_t lsn = 0, active_ms = 0;
    uint16_t slot = 0;
    struct consumer *c;
    int rc = journal_read_slot(in, 1, &slot);

    if (rc == OK)
        rc = journal_read_u64(in, &lsn);
    if (rc == OK)
        rc = journal_read_u64(in, &active_ms);
    if (rc == OK)
        rc = journal_read_str(in, &name);
    if (rc == OK && (group_consumer_at(g, slot) != NULL || group_find_consumer(g, name) != NULL))
        rc = journal_corrupt(in, "a consumer or its slot comes twice");
    if (rc == OK)
        rc = group_prepare_consumer_at(g, name, slot, &c, in->e);
    if (rc != OK)
        return rc;
    c->active_ms = active_ms;
    group_add_consumer(g, c, lsn);
    return OK;
}

static int journal_load_consumers(struct journal_in *in, struct group *g)
{
    uint64_t n = 0;
    int rc = journal_read_u64(in, &n);

    for (; rc == OK && n > 0; n--)
        rc = journal_load_consumer(in, g);
    return rc;
}

/* Adds what was read, or frees it: the group is there already, or its name has passed to a later one. */
static void journal_load_add(struct groups *gs, struct group *g, uint64_t gid)
{
    struct group *other = groups_find(gs, g->name);

    if (groups_by_gid(gs, gid) != NULL || (other != NULL && other->gid > gid)) {
        group_free(g);
        return;
    }
    if (other != NULL) {
        groups_take(gs, other);
        group_free(other);
    }
    groups_add(gs, g, gid);
}

int journal_load_group(struct groups **gs, const uint8_t hash_key[16], uint64_t as_of,
                       const uint8_t **p, const uint8_t *end, struct err *e)
{
    struct journal_in in = { .p = *p, .end = end, .e = e };
    struct journal_form form = { 0 };
    struct group *g = NULL;
    uint64_t gid = 0;
    int rc = journal_read_u64(&in, &gid);

    if (rc == OK && (gid == 0 || gid > as_of))
        rc = journal_corrupt(&in, "its number is of a later time");
    if (rc == OK)
        rc = journal_read_form(&in, &form);
    if (rc == OK)
        rc = journal_make_groups(gs, hash_key, e);
    if (rc == OK)
        rc = journal_make_group(*gs, &in, &form, true, &g);
    if (rc == OK)
        rc = journal_load_consumers(&in, g);
    if (rc != OK) {
        group_free(g);
        return rc;
    }
    g->as_of = as_of;
    journal_load_add(*gs, g, gid);
    *p = in.p;
    return OK;
}

/* The difference that journal_zigzag has made small. */
static uint64_t journal_unzigzag(uint64_t v)
{
    return v >> 1 ^ (0 - (v & 1));
}

/* What is saved of one entry besides its ID. */
static int journal_load_entry(struct journal_in *in, uint64_t *time_ms, struct pel_entry *x)
{
    uint64_t slot = 0, difference = 0;
    int rc = journal_read_u64(in, &slot);

    *x = (struct pel_entry){ .nacked = (slot & SAVED_NACKED) != 0,
                             .gone = (slot & SAVED_GONE) != 0 };
    if (rc == OK && slot >> SAVED_SHIFT > PEL_SLOT_MAX && slot >> SAVED_SHIFT != PEL_PARKED)
        rc = journal_corrupt(in, "an entry has no such slot");
    x->slot = (uint16_t)(slot >> SAVED_SHIFT);
    if (rc == OK)
        rc = journal_read_u64(in, &difference);
    if (rc == OK)
        rc = journal_read_max(in, PEL_COUNT_FATAL, "an entry is delivered too often", &x->count);
    if (rc == OK && slot & SAVED_KEY && in->end - in->p < 4)
        rc = journal_corrupt(in, "a key is cut short");
    if (rc == OK && slot & SAVED_KEY) {
        x->key = get_u32le(in->p);
        in->p += 4;
    }
    if (rc == OK && x->slot == PEL_PARKED && (x->key == 0 || x->nacked))
        rc = journal_corrupt(in, "a parked entry has no key, or is nacked");
    if (rc == OK && x->slot == PEL_NOBODY && !x->nacked)
        rc = journal_corrupt(in, "an entry is held by nobody");
    *time_ms += journal_unzigzag(difference);
    x->time_ms = *time_ms;
    return rc;
}

/* The entries of a set; into a group if there is one. Keys that it does not have are those of records to come. */
static int journal_load_entries(struct journal_in *in, struct journal_set *s, struct group *g)
{
    struct pel_entry x;
    struct id id;
    uint64_t time_ms = 0, n_reserved = 0;
    int rc = OK;

    while (rc == OK && idset_next(&s->ids, &id)) {
        rc = journal_load_entry(in, &time_ms, &x);
        if (rc != OK || g == NULL)
            continue;
        x.id = id;
        if (!journal_has_keys(g))
            x.key = 0;
        if (n_reserved-- == 0) { /* a set may say that it has far more than it has */
            n_reserved = s->ids.left < JOURNAL_CHUNK ? s->ids.left : JOURNAL_CHUNK;
            rc = pel_reserve(g->pel, (size_t)n_reserved + 1, id, in->e);
        }
        if (rc == OK)
            pel_set(g->pel, &x);
    }
    return rc;
}

int journal_load_pending(struct groups *gs, const uint8_t **p, const uint8_t *end, struct err *e)
{
    struct journal_in in = { .p = *p, .end = end, .e = e };
    struct journal_set s;
    uint64_t gid = 0;
    int rc = journal_read_u64(&in, &gid);

    if (rc == OK)
        rc = journal_read_set(&in, &s);
    if (rc == OK)
        rc = journal_load_entries(&in, &s, groups_by_gid(gs, gid));
    if (rc == OK)
        *p = in.p;
    return rc;
}
