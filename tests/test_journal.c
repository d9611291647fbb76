/*
 * test_journal.c - groups changed directly, beside groups that are only told by records, and by a checkpoint and records.
 *
 * A random life of a stream with groups writes each change as a record and applies it. A replay of the records has to give the same
 * groups. So has a checkpoint whose items were saved one at a time while the life went on, together with the records since it
 * began, and some from before.
 *
 * The sources are included with allocation functions of which the n-th fails.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/lib/memory.h"
#include "tests/lib/random.h"

#define malloc  memory_malloc
#define calloc  memory_calloc
#define realloc memory_realloc
#include "groups/order.c"
#include "groups/group.c"
#include "groups/groups.c"
#include "groups/journal_write.c"
#include "groups/journal.c"
#undef malloc
#undef calloc
#undef realloc

enum {
    N_IDS = 400, /* of the stream's life */
    N_NAMES = 5,
    N_KEYS = 12,
    SOME = 12, /* IDs of a record at most */
    OID = 4711,
    RECORDS_MAX = 4000,
    ITEMS_MAX = 4000,
    STREAM_ADDED = 200, /* what the stream's own records say, in the test's words */
    STREAM_REMOVED = 201,
    STREAM_CUT = 202,
};

static const uint8_t HASH_KEYS[2][16] = { "a hash key 12345", "another one 6789" };

struct record {
    uint8_t type;
    uint64_t lsn;
    uint8_t *p;
    size_t n;
    struct id ids[SOME]; /* of what happens in the stream */
    size_t n_ids;
    uint64_t n_cut;
    bool all;
};

struct item { /* of a checkpoint */
    bool pending;
    uint64_t as_of;
    uint8_t *p;
    size_t n;
};

struct world {
    struct random *r;
    struct groups *gs;
    uint64_t lsn;
    bool live[N_IDS];
    size_t top; /* IDs that were added */
    struct record records[RECORDS_MAX];
    size_t n_records;
    struct item items[ITEMS_MAX];
    size_t n_items;
    uint64_t start_lsn, end_lsn; /* of the checkpoint */
    uint64_t saved_gid;          /* the group that is being saved, or was last */
    struct id saved_from;
    bool saving_entries;
};

static struct id nth_id(size_t i)
{
    return (struct id){ 1000 + i / 4, i % 4 * (i / 4 % 3 == 0 ? 1 : 1000) };
}

static struct slice nth_name(const char *kind, size_t i)
{
    static char text[32];

    snprintf(text, sizeof text, "%s %zu", kind, i);
    return slice_str(text);
}

/* ---- what happens ---- */

static struct record *world_record(struct world *w, uint8_t type, size_t size)
{
    struct record *x = &w->records[w->n_records++];

    assert_true(w->n_records < RECORDS_MAX);
    *x = (struct record){ .type = type, .lsn = ++w->lsn, .n = size };
    x->p = malloc(size + 1);
    assert_non_null(x->p);
    return x;
}

/* The bytes have been written up to `end`. */
static void world_written(const struct record *x, const uint8_t *end)
{
    assert_ptr_equal(end, x->p + x->n);
}

static uint64_t world_count_behind(const struct world *w, struct id last)
{
    uint64_t n = 0;

    for (size_t i = 0; i < w->top; i++)
        n += w->live[i] && id_cmp(nth_id(i), last) <= 0;
    return n;
}

static struct group *world_group(struct world *w)
{
    size_t n = groups_n(w->gs);

    return n == 0 ? NULL : groups_at(w->gs, random_below(w->r, n));
}

static struct journal_to world_to(const struct group *g)
{
    return (struct journal_to){ OID, g->gid };
}

static unsigned world_options(struct world *w, const struct group *g, struct group_options *x)
{
    unsigned which = (unsigned)random_u64(w->r) & JOURNAL_ALL_OPTIONS;

    *x = (struct group_options){ .ack_wait_ms = random_below(w->r, 3) * 100,
                                 .max_deliver = random_below(w->r, 3),
                                 .max_pending = random_below(w->r, 2) * UINT64_MAX,
                                 .consumer_ttl_ms = random_below(w->r, 2),
                                 .n_backoff = random_below(w->r, GROUP_BACKOFF_MAX + 1),
                                 .order_seed = random_u64(w->r) };
    for (size_t i = 0; i < x->n_backoff; i++)
        x->backoff_ms[i] = i * 1000;
    if (random_below(w->r, 2) == 0)
        x->dlq = slice_str("dead letters");
    if (random_below(w->r, 3) != 0)
        x->order_by = slice_str("hex");
    if (g != NULL && (pel_n(g->pel) > 0 || pel_n_parked(g->pel) > 0))
        which &= ~(1u << GROUP_ORDERBY);
    return which;
}

static void world_create(struct world *w)
{
    struct slice name = nth_name("group", random_below(w->r, N_NAMES));
    struct id last = nth_id(random_below(w->r, w->top + 2));
    struct group_options x, *options;
    struct order *order;
    struct group *g;
    struct record *rec;
    unsigned which;

    if (groups_find(w->gs, name) != NULL)
        return;
    assert_int_equal(groups_prepare(w->gs, name, &g, NULL), OK);
    if (random_below(w->r, 2) == 0) {
        which = world_options(w, NULL, &x);
        assert_int_equal(group_prepare_options(g, which, &x, &options, &order, NULL), OK);
        group_apply_options(g, options, order);
    }
    group_set_position(g, last, (int64_t)random_below(w->r, 9) - 1, world_count_behind(w, last));
    rec = world_record(w, RECORD_GROUP, journal_group_size(OID, g));
    world_written(rec, journal_group_put(rec->p, OID, g));
    groups_add(w->gs, g, rec->lsn);
}

static void world_drop(struct world *w, struct group *g)
{
    struct record *rec = world_record(w, RECORD_GROUP_DROP, journal_drop_size(world_to(g)));

    world_written(rec, journal_drop_put(rec->p, world_to(g)));
    groups_take(w->gs, g);
    group_free(g);
}

static void world_set_position(struct world *w, struct group *g)
{
    struct id last = nth_id(random_below(w->r, w->top + 2));
    int64_t read = (int64_t)random_below(w->r, 9) - 1;
    uint64_t behind = world_count_behind(w, last);
    struct record *rec = world_record(w, RECORD_GROUP_POSITION,
                                      journal_position_size(world_to(g), last, read, behind));

    world_written(rec, journal_position_put(rec->p, world_to(g), last, read, behind));
    group_set_position(g, last, read, behind);
}

static void world_set_options(struct world *w, struct group *g)
{
    struct group_options x, *options;
    struct order *order;
    unsigned which = world_options(w, g, &x);
    struct record *rec =
        world_record(w, RECORD_GROUP_OPTIONS, journal_options_size(world_to(g), which, &x));

    world_written(rec, journal_options_put(rec->p, world_to(g), which, &x));
    assert_int_equal(group_prepare_options(g, which, &x, &options, &order, NULL), OK);
    group_apply_options(g, options, order);
}

static void world_add_consumer(struct world *w, struct group *g)
{
    struct slice name = nth_name("consumer", random_below(w->r, N_NAMES));
    struct consumer *c;
    struct record *rec;

    if (group_find_consumer(g, name) != NULL)
        return;
    assert_int_equal(group_prepare_consumer(g, name, &c, NULL), OK);
    rec = world_record(w, RECORD_CONSUMER, journal_consumer_size(world_to(g), c));
    world_written(rec, journal_consumer_put(rec->p, world_to(g), c));
    group_add_consumer(g, c, rec->lsn);
}

/* The slot of some consumer, or nobody's. */
static uint16_t world_slot(struct world *w, const struct group *g)
{
    size_t slot = random_below(w->r, N_NAMES + 1);

    return group_consumer_at(g, (uint16_t)slot) == NULL ? PEL_NOBODY : (uint16_t)slot;
}

static void world_drop_consumer(struct world *w, struct group *g)
{
    uint16_t slot = world_slot(w, g);
    bool back = random_below(w->r, 2) == 0;
    struct record *rec;

    if (slot == PEL_NOBODY)
        return;
    rec = world_record(w, RECORD_CONSUMER_DROP,
                       journal_consumer_drop_size(world_to(g), slot, back, w->lsn));
    world_written(rec, journal_consumer_drop_put(rec->p, world_to(g), slot, back, rec->lsn - 1));
    group_drop_consumer(g, slot, back, rec->lsn - 1);
}

static uint32_t world_key(size_t i)
{
    return (uint32_t)(i * i % N_KEYS); /* 0: an entry without the field */
}

/* New entries: those whose key is busy are parked. */
static void world_deliver(struct world *w, struct group *g)
{
    struct id ids[SOME], parked[SOME];
    uint32_t keys[SOME], parked_keys[SOME];
    struct group_delivery d = { .slot = world_slot(w, g),
                                .time_ms = 5000 + w->lsn,
                                .last = g->last_id,
                                .entries_read = g->entries_read,
                                .ids = ids,
                                .parked = parked };
    bool taken[N_KEYS] = { false };
    struct record *rec;

    d.keys = g->order == NULL ? NULL : keys;
    d.parked_keys = g->order == NULL ? NULL : parked_keys;
    for (size_t i = 0; i < w->top && d.n + d.n_parked < SOME / 2; i++) {
        uint32_t key = world_key(i);
        if (!w->live[i] || id_cmp(nth_id(i), g->last_id) <= 0)
            continue;
        d.last = nth_id(i);
        if (g->order != NULL && key != 0 && (order_is_busy(g->order, key) || taken[key])) {
            parked[d.n_parked] = nth_id(i);
            parked_keys[d.n_parked++] = key;
            continue;
        }
        taken[key] = true;
        ids[d.n] = nth_id(i);
        keys[d.n++] = key;
    }
    d.n_behind = world_count_behind(w, d.last);
    rec = world_record(w, RECORD_DELIVER, journal_deliver_size(world_to(g), &d));
    world_written(rec, journal_deliver_put(rec->p, world_to(g), &d));
    assert_int_equal(group_prepare(g, d.n + d.n_parked, ID_MIN, NULL), OK);
    group_deliver(g, &d);
}

/* Some that are pending or parked, and some that live and are not; ascending. */
static size_t world_some(struct world *w, const struct group *g, bool alive, struct id *ids)
{
    struct pel_entry x;
    size_t n = 0;

    for (size_t i = random_below(w->r, w->top + 1); i < w->top && n < SOME; i++)
        if (random_below(w->r, 3) == 0 && ((alive && w->live[i]) || pel_get(g->pel, nth_id(i), &x)))
            ids[n++] = nth_id(i);
    return n;
}

static void world_change(struct world *w, struct group *g)
{
    struct id ids[SOME];
    uint64_t counts[SOME];
    uint32_t keys[SOME];
    struct group_change x = { .slot = world_slot(w, g),
                              .time_ms = 5000 + w->lsn,
                              .active_ms = w->lsn,
                              .count = 1 + random_below(w->r, 3),
                              .ids = ids };
    struct record *rec;

    x.n = world_some(w, g, true, ids);
    x.nacked = x.slot == PEL_NOBODY || random_below(w->r, 3) == 0;
    x.active = x.slot != PEL_NOBODY && random_below(w->r, 2) == 0;
    for (size_t i = 0; i < x.n; i++) {
        counts[i] = random_below(w->r, 5) == 0 ? PEL_COUNT_FATAL : i;
        keys[i] = 1 + (uint32_t)random_below(w->r, N_KEYS);
    }
    x.counts = random_below(w->r, 2) == 0 ? counts : NULL;
    x.keys = g->order != NULL && random_below(w->r, 2) == 0 ? keys : NULL;
    rec = world_record(w, RECORD_PENDING, journal_change_size(world_to(g), &x));
    world_written(rec, journal_change_put(rec->p, world_to(g), &x));
    assert_int_equal(group_prepare(g, x.n, ID_MIN, NULL), OK);
    group_change(g, &x);
}

static void world_deliver_parked(struct world *w, struct group *g)
{
    struct id ids[1];
    uint32_t key;
    struct group_change x = { .slot = world_slot(w, g),
                              .active = true,
                              .time_ms = 5000 + w->lsn,
                              .count = 1,
                              .ids = ids,
                              .n = 1 };
    struct record *rec;

    if (g->order == NULL || x.slot == PEL_NOBODY || !order_next(g->order, ID_MIN, ids, &key))
        return;
    rec = world_record(w, RECORD_PENDING, journal_change_size(world_to(g), &x));
    world_written(rec, journal_change_put(rec->p, world_to(g), &x));
    group_change(g, &x);
}

static void world_ack(struct world *w, struct group *g)
{
    struct id ids[SOME];
    size_t n = world_some(w, g, false, ids);
    bool every = random_below(w->r, 4) == 0;
    struct journal_to to = { OID, every ? 0 : g->gid };
    struct record *rec = world_record(w, RECORD_ACK, journal_ack_size(to, ids, n));

    world_written(rec, journal_ack_put(rec->p, to, ids, n));
    if (every)
        groups_forget(w->gs, ids, n, rec->lsn);
    else
        group_ack(g, ids, n);
}

static void world_unref(struct world *w)
{
    struct id first = nth_id(random_below(w->r, w->top + 1));
    struct record *rec = world_record(w, RECORD_UNREF, journal_unref_size(OID, first));

    world_written(rec, journal_unref_put(rec->p, OID, first));
    groups_forget_below(w->gs, first, rec->lsn);
}

/* What the stream's records say, here and at a replay. */
static void stream_tell(const struct record *x, struct groups *gs)
{
    if (x->type == STREAM_ADDED)
        groups_entry_added(gs, x->ids[0], x->lsn);
    else if (x->type == STREAM_REMOVED)
        groups_entries_removed(gs, x->ids, x->n_ids, x->lsn);
    else
        groups_entries_cut(gs, x->ids[0], x->n_cut, x->all, x->lsn);
}

static void world_add(struct world *w)
{
    struct record *rec;

    if (w->top == N_IDS)
        return;
    rec = world_record(w, STREAM_ADDED, 0);
    rec->ids[0] = nth_id(w->top);
    w->live[w->top++] = true;
    stream_tell(rec, w->gs);
}

static void world_remove(struct world *w)
{
    struct record *rec = world_record(w, STREAM_REMOVED, 0);

    for (size_t i = 0; i < w->top && rec->n_ids < SOME; i++) {
        if (!w->live[i] || random_below(w->r, 20) != 0)
            continue;
        rec->ids[rec->n_ids++] = nth_id(i);
        w->live[i] = false;
    }
    stream_tell(rec, w->gs);
}

static void world_cut(struct world *w)
{
    size_t first = random_below(w->r, w->top + 1) * random_below(w->r, 2);
    struct record *rec = world_record(w, STREAM_CUT, 0);

    rec->ids[0] = nth_id(first);
    for (size_t i = 0; i < first; i++) {
        rec->n_cut += w->live[i];
        w->live[i] = false;
    }
    rec->all = true;
    for (size_t i = first; i < w->top; i++)
        rec->all = rec->all && !w->live[i];
    stream_tell(rec, w->gs);
}

static void world_step_group(struct world *w, struct group *g)
{
    switch (random_below(w->r, 40)) {
    case 0: world_drop(w, g); break;
    case 1: world_set_position(w, g); break;
    case 2:
    case 3: world_set_options(w, g); break;
    case 4:
    case 5:
    case 6: world_add_consumer(w, g); break;
    case 7: world_drop_consumer(w, g); break;
    case 8: world_unref(w); break;
    case 9:
    case 10:
    case 11:
    case 12: world_change(w, g); break;
    case 13:
    case 14:
    case 15:
    case 16: world_ack(w, g); break;
    case 17:
    case 18:
    case 19:
    case 20: world_deliver_parked(w, g); break;
    default: world_deliver(w, g); break;
    }
}

static void world_step(struct world *w)
{
    struct group *g = world_group(w);
    const char *bad;

    switch (g == NULL ? 0 : random_below(w->r, 12)) {
    case 0: world_create(w); break;
    case 1:
    case 2:
    case 3:
    case 4: world_add(w); break;
    case 5: world_remove(w); break;
    case 6:
        if (random_below(w->r, 4) == 0)
            world_cut(w);
        break;
    default: world_step_group(w, g); break;
    }
    bad = groups_check(w->gs);
    if (bad != NULL)
        fail_msg("%s", bad);
    for (size_t i = 0; i < groups_n(w->gs); i++)
        assert_int_equal(groups_at(w->gs, i)->n_behind,
                         world_count_behind(w, groups_at(w->gs, i)->last_id));
}

static void world_begin(struct world *w, struct random *r)
{
    *w = (struct world){ .r = r, .lsn = 100 };
    assert_int_equal(groups_new(HASH_KEYS[0], &w->gs, NULL), OK);
}

static void world_end(struct world *w)
{
    for (size_t i = 0; i < w->n_records; i++)
        free(w->records[i].p);
    for (size_t i = 0; i < w->n_items; i++)
        free(w->items[i].p);
    groups_free(w->gs);
}

/* ---- a checkpoint, an item at a time ---- */

static struct item *world_item(struct world *w, bool pending, size_t max)
{
    struct item *x = &w->items[w->n_items++];

    assert_true(w->n_items < ITEMS_MAX);
    *x = (struct item){ .pending = pending, .as_of = w->lsn, .p = malloc(max) };
    assert_non_null(x->p);
    return x;
}

/* Saves an item more; false if all are saved. */
static bool world_save(struct world *w)
{
    struct group *g = w->saving_entries ? groups_by_gid(w->gs, w->saved_gid) : NULL;
    size_t n = 1 + random_below(w->r, 5);
    struct item *x;

    if (g != NULL) {
        x = world_item(w, true, JOURNAL_RECORD_MAX + n * JOURNAL_SAVED_MAX);
        x->n =
            (size_t)(journal_save_pending(x->p, g, &w->saved_from, n, &w->saving_entries) - x->p);
        assert_true(x->n <= JOURNAL_RECORD_MAX + n * JOURNAL_SAVED_MAX);
        return true;
    }
    g = groups_next_gid(w->gs, w->saved_gid);
    if (g == NULL)
        return false;
    x = world_item(w, false, journal_save_group_size(g));
    x->n = (size_t)(journal_save_group(x->p, g) - x->p);
    assert_int_equal(x->n, journal_save_group_size(g));
    w->saved_gid = g->gid;
    w->saved_from = ID_MIN;
    w->saving_entries = true;
    return true;
}

static void world_load(const struct world *w, struct groups **gs)
{
    struct err e = { 0 };

    for (size_t i = 0; i < w->n_items; i++) {
        const struct item *x = &w->items[i];
        const uint8_t *p = x->p;
        int rc = x->pending ? journal_load_pending(*gs, &p, x->p + x->n, &e)
                            : journal_load_group(gs, HASH_KEYS[1], x->as_of, &p, x->p + x->n, &e);
        if (rc != OK)
            fail_msg("%s", e.text);
        assert_ptr_equal(p, x->p + x->n);
    }
}

static int record_apply(const struct record *x, struct groups **gs, uint64_t end_lsn, struct err *e)
{
    const uint8_t *p = x->p, *end = x->p + x->n;
    struct group *dropped = NULL;
    uint64_t oid = 0;
    int rc;

    if (x->type >= STREAM_ADDED) {
        stream_tell(x, *gs);
        return OK;
    }
    assert_true(varint_get(&p, end, &oid));
    assert_int_equal(oid, OID);
    rc = journal_apply(gs, HASH_KEYS[1], x->type, x->lsn, p, end, end_lsn, &dropped, e);
    group_free(dropped);
    return rc;
}

static void world_replay(const struct world *w, struct groups **gs, uint64_t from, uint64_t end_lsn)
{
    struct err e = { 0 };

    for (size_t i = 0; i < w->n_records; i++)
        if (w->records[i].lsn > from && record_apply(&w->records[i], gs, end_lsn, &e) != OK)
            fail_msg("%s", e.text);
}

/* ---- being the same ---- */

static void assert_same_consumers(const struct group *a, const struct group *b)
{
    assert_int_equal(group_n_consumers(a), group_n_consumers(b));
    for (uint16_t slot = 1; slot <= N_NAMES; slot++) {
        const struct consumer *x = group_consumer_at(a, slot), *y = group_consumer_at(b, slot);
        assert_int_equal(x == NULL, y == NULL);
        if (x == NULL)
            continue;
        assert_true(slice_equal(x->name, y->name));
        assert_int_equal(x->lsn, y->lsn);
        assert_int_equal(x->active_ms, y->active_ms);
    }
}

static void assert_same_options(const struct group *a, const struct group *b)
{
    const struct group_options *x = group_options(a), *y = group_options(b);

    assert_int_equal(group_is_plain(a), group_is_plain(b));
    assert_int_equal(x->ack_wait_ms, y->ack_wait_ms);
    assert_int_equal(x->max_deliver, y->max_deliver);
    assert_int_equal(x->max_pending, y->max_pending);
    assert_int_equal(x->consumer_ttl_ms, y->consumer_ttl_ms);
    assert_int_equal(x->n_backoff, y->n_backoff);
    assert_memory_equal(x->backoff_ms, y->backoff_ms, x->n_backoff * sizeof x->backoff_ms[0]);
    assert_true(slice_equal(x->dlq, y->dlq) && slice_equal(x->order_by, y->order_by));
    assert_int_equal(x->order_seed, y->order_seed);
}

static void assert_same_entries(const struct group *a, const struct group *b)
{
    for (size_t i = 0; i < N_IDS; i++) {
        struct pel_entry x = { 0 }, y = { 0 };
        assert_int_equal(pel_get(a->pel, nth_id(i), &x), pel_get(b->pel, nth_id(i), &y));
        assert_int_equal(x.time_ms, y.time_ms);
        assert_int_equal(x.count, y.count);
        assert_int_equal(x.key, y.key);
        assert_int_equal(x.slot, y.slot);
        assert_int_equal(x.nacked, y.nacked);
        assert_int_equal(x.gone, y.gone);
    }
    assert_int_equal(pel_n(a->pel), pel_n(b->pel));
    assert_int_equal(pel_n_parked(a->pel), pel_n_parked(b->pel));
}

static void assert_same_order(const struct group *a, const struct group *b)
{
    struct id x = ID_MIN, y = ID_MIN;
    uint32_t key;

    assert_int_equal(a->order == NULL, b->order == NULL);
    if (a->order == NULL)
        return;
    assert_int_equal(order_next(a->order, ID_MIN, &x, &key),
                     order_next(b->order, ID_MIN, &y, &key));
    assert_int_equal(id_cmp(x, y), 0);
    assert_int_equal(order_n_parked(a->order), order_n_parked(b->order));
    for (key = 0; key <= N_KEYS; key++)
        assert_int_equal(order_is_busy(a->order, key), order_is_busy(b->order, key));
}

static void assert_same(const struct groups *a, const struct groups *b)
{
    assert_int_equal(groups_n(a), groups_n(b));
    for (size_t i = 0; i < groups_n(a); i++) {
        const struct group *x = groups_at(a, i), *y = groups_at(b, i);
        assert_int_equal(x->gid, y->gid);
        assert_true(slice_equal(x->name, y->name));
        assert_int_equal(id_cmp(x->last_id, y->last_id), 0);
        assert_int_equal(x->entries_read, y->entries_read);
        assert_int_equal(x->n_behind, y->n_behind);
        assert_same_consumers(x, y);
        assert_same_options(x, y);
        assert_same_entries(x, y);
        assert_same_order(x, y);
    }
    assert_null(groups_check(b));
}

static void rebuild(struct groups *gs)
{
    for (size_t i = 0; i < groups_n(gs); i++) {
        uint64_t n_repaired = 1;
        assert_int_equal(group_rebuild(groups_at(gs, i), &n_repaired, NULL), OK);
        assert_int_equal(n_repaired, 0);
    }
}

/* ---- claims ---- */

static struct world world;

static void records_alone_give_the_same_groups(void **state)
{
    struct random r = random_seeded("journal");
    (void)state;

    for (size_t life = 0; life < random_rounds(60); life++) {
        struct groups *gs = NULL;
        world_begin(&world, &r);
        for (size_t i = 0; i < 1200; i++)
            world_step(&world);
        world_replay(&world, &gs, 0, 0);
        assert_same(world.gs, gs);
        rebuild(gs);
        assert_same(world.gs, gs);
        groups_free(gs);
        world_end(&world);
    }
}

/* Saves for a while, then lives on; loads and replays. */
static void live_save_and_load(struct random *r)
{
    struct groups *gs = NULL;
    size_t before = random_below(r, 800), after = random_below(r, 400);

    world_begin(&world, r);
    for (size_t i = 0; i < before; i++)
        world_step(&world);
    world.start_lsn = world.lsn;
    while (world_save(&world))
        for (size_t n = random_below(r, 12); n > 0; n--)
            world_step(&world);
    world.end_lsn = world.lsn;
    for (size_t i = 0; i < after; i++)
        world_step(&world);
    world_load(&world, &gs);
    world_replay(&world, &gs, world.start_lsn - random_below(r, world.start_lsn), world.end_lsn);
    rebuild(gs);
    assert_same(world.gs, gs);
    groups_free(gs);
    world_end(&world);
}

static void items_of_different_moments_and_the_records_since_give_the_same_groups(void **state)
{
    struct random r = random_seeded("journal");
    (void)state;

    for (size_t life = 0; life < random_rounds(300); life++)
        live_save_and_load(&r);
}

/* Groups with everything, for what follows. */
static void world_fill(struct random *r)
{
    world_begin(&world, r);
    for (size_t i = 0; i < 600; i++)
        world_step(&world);
}

static void a_record_that_is_cut_or_too_long_is_refused_and_changes_nothing(void **state)
{
    struct random r = random_seeded("journal");
    struct groups *gs = NULL, *same = NULL;
    struct err e;
    (void)state;

    world_fill(&r);
    for (size_t i = 0; i < world.n_records; i++) {
        struct record x = world.records[i];
        size_t oid = varint_size(OID);
        for (x.n = oid; x.type < STREAM_ADDED && x.n < world.records[i].n; x.n++)
            assert_int_equal(record_apply(&x, &gs, 0, &e), ERR_CORRUPT);
        x.n = world.records[i].n + 1;
        if (x.type < STREAM_ADDED) {
            x.p[x.n - 1] = 0;
            assert_int_equal(record_apply(&x, &gs, 0, &e), ERR_CORRUPT);
        }
        x = world.records[i];
        assert_int_equal(record_apply(&x, &gs, 0, &e), OK);
    }
    world_replay(&world, &same, 0, 0);
    assert_same(same, gs);
    groups_free(same);
    groups_free(gs);
    world_end(&world);
}

static void items_that_are_cut_are_refused(void **state)
{
    struct random r = random_seeded("journal");
    struct groups *gs = NULL;
    struct err e;
    (void)state;

    world_fill(&r);
    while (world_save(&world)) {
    }
    for (size_t i = 0; i < world.n_items; i++) {
        const struct item *x = &world.items[i];
        for (size_t n = 0; n <= x->n; n++) {
            const uint8_t *p = x->p;
            int rc = x->pending ? journal_load_pending(gs, &p, x->p + n, &e)
                                : journal_load_group(&gs, HASH_KEYS[1], x->as_of, &p, x->p + n, &e);
            assert_int_equal(rc, n < x->n ? ERR_CORRUPT : OK);
            assert_ptr_equal(p, n < x->n ? x->p : x->p + n);
            assert_null(groups_check(gs));
        }
    }
    rebuild(gs);
    assert_same(world.gs, gs);
    groups_free(gs);
    world_end(&world);
}

static void where_memory_runs_out_groups_stay_sound(void **state)
{
    struct random r = random_seeded("journal");
    size_t failures = 0;
    struct groups *gs = NULL;
    struct err e;
    (void)state;

    world_fill(&r);
    for (size_t i = 0; i < world.n_records; i++) {
        for (long nth = 0;; nth++) {
            int rc;
            memory_left = nth;
            rc = record_apply(&world.records[i], &gs, 0, &e);
            memory_left = -1;
            assert_null(groups_check(gs));
            if (rc == OK)
                break;
            assert_int_equal(rc, ERR_NOMEM);
            failures++;
        }
    }
    assert_same(world.gs, gs);
    assert_true(failures > 20);
    for (size_t i = 0; i < groups_n(gs); i++) { /* and group_rebuild, which begins anew */
        uint64_t n;
        memory_left = 0;
        if (group_options(groups_at(gs, i))->order_by.n > 0)
            assert_int_equal(group_rebuild(groups_at(gs, i), &n, NULL), ERR_NOMEM);
        memory_left = -1;
        assert_int_equal(group_rebuild(groups_at(gs, i), &n, NULL), OK);
    }
    assert_same(world.gs, gs);
    groups_free(gs);
    world_end(&world);
}

/* ---- what does not fit ---- */

struct bytes {
    uint8_t p[512];
    size_t n;
};

static void bytes_add(struct bytes *b, uint64_t v)
{
    b->n = (size_t)(varint_put(b->p + b->n, v) - b->p);
}

/* A group of gid 7 with consumer 1, ordered if so, with 1-0 pending. */
static struct groups *small_groups(bool ordered)
{
    static const struct id ID = { 1, 0 };
    struct group_options x = { .order_by = slice_str("hex") }, *options;
    struct group_delivery d = { .slot = 1, .time_ms = 9, .last = ID, .ids = &ID, .n = 1 };
    struct groups *gs;
    struct group *g;
    struct consumer *c;
    struct order *order;

    assert_int_equal(groups_new(HASH_KEYS[0], &gs, NULL), OK);
    assert_int_equal(groups_prepare(gs, slice_str("g"), &g, NULL), OK);
    assert_int_equal(
        group_prepare_options(g, ordered ? 1u << GROUP_ORDERBY : 0, &x, &options, &order, NULL),
        OK);
    group_apply_options(g, options, order);
    assert_int_equal(group_prepare_consumer(g, slice_str("c"), &c, NULL), OK);
    group_add_consumer(g, c, 8);
    assert_int_equal(group_prepare(g, 1, ID_MIN, NULL), OK);
    group_deliver(g, &d);
    groups_add(gs, g, 7);
    return gs;
}

static void what_does_not_fit_is_refused_in_words(void **state)
{
    static const struct {
        const char *want;
        uint8_t type;
        uint64_t v[12];
        size_t n;
    } cases[] = {
        { "there is no such group", RECORD_GROUP_DROP, { 6 }, 1 },
        { "the group is there already", RECORD_GROUP, { 1, 'g', 0, 0, 0, 0, 0 }, 7 },
        { "an option of the group is not known", RECORD_GROUP_OPTIONS, { 7, 1, 8, 0 }, 4 },
        { "a group has fewer options", RECORD_GROUP_OPTIONS, { 7, 8 }, 2 },
        { "an option of the group comes twice", RECORD_GROUP_OPTIONS, { 7, 2, 1, 5, 1, 6 }, 6 },
        { "BACKOFF has too many delays", RECORD_GROUP_OPTIONS, { 7, 1, 4, 33 }, 4 },
        { "ORDERBY's field is too long",
          RECORD_GROUP_OPTIONS,
          { 7, 1, 7, 0 /* grown below */ },
          3 },
        { "more entries are read", RECORD_GROUP_POSITION, { 7, 0, 0, (1ull << 63) + 1, 0 }, 5 },
        { "the consumer is there already", RECORD_CONSUMER, { 7, 2, 1, 'c' }, 4 },
        { "its slot taken", RECORD_CONSUMER, { 7, 1, 1, 'd' }, 4 },
        { "the slot is nobody's", RECORD_CONSUMER, { 7, 0, 1, 'd' }, 4 },
        { "there is no such slot", RECORD_CONSUMER, { 7, PEL_SLOT_MAX + 1, 1, 'd' }, 4 },
        { "the slot has no consumer", RECORD_CONSUMER_DROP, { 7, 2, 0 }, 3 },
        { "flags are not known", RECORD_CONSUMER_DROP, { 7, 1, 2 }, 3 },
        { "flags are not known", RECORD_DELIVER, { 7, 1, 16, 9, 0, 0, 0 }, 7 },
        { "entries are delivered to nobody", RECORD_DELIVER, { 7, 0, 2, 9, 0, 0, 1, 4 }, 8 },
        { "the slot has no consumer", RECORD_DELIVER, { 7, 2, 2, 9, 0, 0, 1, 4 }, 8 },
        { "IDs are malformed", RECORD_DELIVER, { 7, 1, 2, 9, 0, 0, 2, 4, 7 << 2 | 1 }, 9 },
        { "the number of IDs", RECORD_DELIVER, { 7, 1, 2, 9, 0, 0, IDSET_MAX + 1, 4, 1 }, 9 },
        { "keys are cut short", RECORD_DELIVER, { 7, 1, 6, 9, 0, 0, 1, 4, 1, 1, 1 }, 11 },
        { "the group has no keys", RECORD_DELIVER, { 7, 1, 6, 9, 0, 0, 1, 4, 1, 1, 1, 1 }, 12 },
        { "a parked entry has no key", RECORD_DELIVER, { 7, 1, 8, 9, 0, 0, 1, 4, 0, 0, 0, 0 }, 12 },
        { "entries are held by nobody", RECORD_PENDING, { 7, 0, 0, 9, 1, 1, 4 }, 7 },
        { "entries are delivered too often", RECORD_PENDING, { 7, 1, 0, 9, 1ull << 63, 1, 4 }, 7 },
        { "an entry is delivered too often", RECORD_PENDING, { 7, 1, 4, 9, 1, 4, 1ull << 63 }, 7 },
        { "the slot has no consumer", RECORD_PENDING, { 7, 3, 1, 9, 1, 1, 4 }, 7 },
        { "there is no such group", RECORD_ACK, { 6, 0 }, 2 },
        { "bytes are left over", RECORD_UNREF, { 1, 0, 0 }, 3 },
        { "no record of a group", RECORD_ENTRY, { 7 }, 1 },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct groups *gs = small_groups(false);
        struct bytes b = { .n = 0 };
        struct group *dropped;
        struct err e = { 0 };
        print_message("  %s\n", cases[i].want);
        for (size_t k = 0; k < cases[i].n; k++)
            bytes_add(&b, cases[i].v[k]);
        if (strstr(cases[i].want, "ORDERBY") != NULL) {
            uint8_t big[2048] = { 0 };
            memcpy(big, b.p, b.n);
            b.n = (size_t)(varint_put(big + b.n, GROUP_FIELD_MAX + 1) - big) + GROUP_FIELD_MAX + 1;
            assert_int_equal(journal_apply(&gs, HASH_KEYS[0], cases[i].type, 50, big, big + b.n, 0,
                                           &dropped, &e),
                             ERR_CORRUPT);
        } else {
            assert_int_equal(journal_apply(&gs, HASH_KEYS[0], cases[i].type, 50, b.p, b.p + b.n, 0,
                                           &dropped, &e),
                             ERR_CORRUPT);
        }
        assert_non_null(strstr(e.text, cases[i].want));
        assert_null(groups_check(gs));
        groups_free(gs);
    }
}

static void what_was_gone_when_the_checkpoint_was_made_is_no_error(void **state)
{
    struct groups *gs = small_groups(false);
    struct group *dropped = NULL;
    struct bytes b = { .n = 0 }, c = { .n = 0 };
    struct err e;
    uint64_t n = 0;
    (void)state;

    bytes_add(&b, 6); /* a group that nobody knows */
    assert_int_equal(
        journal_apply(&gs, HASH_KEYS[0], RECORD_GROUP_DROP, 50, b.p, b.p + b.n, 50, &dropped, &e),
        OK);
    assert_null(dropped);
    for (size_t i = 0; i < 8; i++) /* 1-1 for slot 3, which is nobody's */
        bytes_add(&c, ((uint64_t[]){ 7, 3, 2, 9, 0, 0, 1, 4 | 2 })[i]);
    bytes_add(&c, 1);
    assert_int_equal(
        journal_apply(&gs, HASH_KEYS[0], RECORD_DELIVER, 50, c.p, c.p + c.n, 50, &dropped, &e), OK);
    assert_int_equal(pel_n_nacked(groups_at(gs, 0)->pel), 0);
    assert_int_equal(group_rebuild(groups_at(gs, 0), &n, NULL), OK);
    assert_int_equal(n, 1);
    assert_int_equal(pel_n_nacked(groups_at(gs, 0)->pel), 1);
    assert_null(groups_check(gs));
    groups_free(gs);
}

static void a_later_group_of_that_name_wins(void **state)
{
    struct groups *from = small_groups(false), *gs = NULL;
    struct group *g = groups_at(from, 0);
    uint8_t old[256], young[256];
    const uint8_t *p, *end;
    struct err e;
    (void)state;

    end = journal_save_group(old, g);
    g->gid = 12;
    journal_save_group(young, g);
    g->gid = 7;
    for (size_t order = 0; order < 2; order++) {
        for (size_t i = 0; i < 2; i++) {
            p = (i ^ order) == 0 ? old : young;
            assert_int_equal(journal_load_group(&gs, HASH_KEYS[1], 20, &p, p + (end - old), &e),
                             OK);
        }
        assert_int_equal(groups_n(gs), 1);
        assert_int_equal(groups_at(gs, 0)->gid, 12);
        groups_free(gs);
        gs = NULL;
    }
    p = young;
    assert_int_equal(journal_load_group(&gs, HASH_KEYS[1], 11, &p, p + (end - old), &e),
                     ERR_CORRUPT);
    groups_free(gs);
    groups_free(from);
}

/* ---- sizes ---- */

static void the_largest_records_stay_within_their_bounds(void **state)
{
    static const struct journal_to to = { UINT64_MAX, UINT64_MAX };
    struct id ids[8];
    uint64_t counts[8];
    uint32_t keys[8];
    struct group_delivery d = { .slot = PEL_SLOT_MAX,
                                .time_ms = UINT64_MAX,
                                .last = ID_MAX,
                                .entries_read = INT64_MAX,
                                .n_behind = UINT64_MAX,
                                .ids = ids,
                                .keys = keys,
                                .n = 4,
                                .parked = ids + 4,
                                .parked_keys = keys,
                                .n_parked = 3 };
    struct group_change x = { .slot = PEL_SLOT_MAX,
                              .active = true,
                              .time_ms = UINT64_MAX,
                              .active_ms = UINT64_MAX,
                              .count = PEL_COUNT_FATAL,
                              .ids = ids,
                              .counts = counts,
                              .keys = keys,
                              .n = 8 };
    struct group_options o = {
        UINT64_MAX,        UINT64_MAX,       UINT64_MAX,       UINT64_MAX, { 0 },
        GROUP_BACKOFF_MAX, slice_str("dlq"), slice_str("hex"), UINT64_MAX, NULL
    };
    size_t head = 1 + VARINT_MAX;
    (void)state;

    for (size_t i = 0; i < 8; i++) {
        ids[i] = (struct id){ UINT64_MAX / 8 * (i + 1), UINT64_MAX - i };
        counts[i] = PEL_COUNT_FATAL;
        keys[i] = UINT32_MAX;
    }
    for (size_t i = 0; i < GROUP_BACKOFF_MAX; i++)
        o.backoff_ms[i] = UINT64_MAX;
    assert_true(head + journal_deliver_size(to, &d) <= JOURNAL_RECORD_MAX + 7 * JOURNAL_ID_MAX);
    assert_true(head + journal_change_size(to, &x) <= JOURNAL_RECORD_MAX + 8 * JOURNAL_ID_MAX);
    assert_true(head + journal_ack_size(to, ids, 8) <= JOURNAL_RECORD_MAX + 8 * JOURNAL_ID_MAX);
    assert_true(head + journal_options_size(to, JOURNAL_ALL_OPTIONS, &o) <=
                JOURNAL_RECORD_MAX + JOURNAL_OPTIONS_MAX + 6);
    assert_true(head + journal_position_size(to, ID_MAX, INT64_MAX, UINT64_MAX) <=
                JOURNAL_RECORD_MAX);
    assert_true(head + journal_consumer_drop_size(to, PEL_SLOT_MAX, true, UINT64_MAX) <=
                JOURNAL_RECORD_MAX);
}

/* What the journal costs an entry that is delivered and acknowledged, 100 at a time. */
static double cost(struct random *r, size_t per_ms, size_t gap_ms)
{
    enum { N = 100 };
    static const struct journal_to to = { 123456, 234567 };
    struct id ids[N];
    struct group_delivery d = { .slot = 3,
                                .time_ms = 1790000123456,
                                .entries_read = 123456,
                                .n_behind = 123456,
                                .ids = ids,
                                .n = N };

    ids[0] = (struct id){ 1790000000000, 0 };
    for (size_t i = 1; i < N; i++) {
        ids[i] = (struct id){ ids[i - 1].ms, ids[i - 1].seq + 1 };
        if (random_below(r, per_ms) == 0)
            ids[i] = (struct id){ ids[i - 1].ms + 1 + random_below(r, gap_ms), 0 };
    }
    d.last = ids[N - 1];
    return (double)(8 + journal_deliver_size(to, &d) + journal_ack_size(to, ids, N)) / N;
}

static void an_entry_delivered_and_acknowledged_costs_less_than_5_bytes(void **state)
{
    static const struct {
        const char *why;
        size_t per_ms, gap_ms;
        double max;
    } cases[] = {
        { "pipelined", 1000, 1, 1 },
        { "several in each millisecond", 4, 1, 2 },
        { "two in some milliseconds", 2, 20, 3 },
        { "one in some milliseconds", 1, 30, 3 },
        { "one in a second", 1, 1000, 5 },
    };
    struct random r = random_seeded("journal");
    (void)state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double bytes = cost(&r, cases[i].per_ms, cases[i].gap_ms);
        print_message("  %s: %.2f bytes\n", cases[i].why, bytes);
        assert_true(bytes < cases[i].max);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_alone_give_the_same_groups),
        cmocka_unit_test(items_of_different_moments_and_the_records_since_give_the_same_groups),
        cmocka_unit_test(a_record_that_is_cut_or_too_long_is_refused_and_changes_nothing),
        cmocka_unit_test(items_that_are_cut_are_refused),
        cmocka_unit_test(where_memory_runs_out_groups_stay_sound),
        cmocka_unit_test(what_does_not_fit_is_refused_in_words),
        cmocka_unit_test(what_was_gone_when_the_checkpoint_was_made_is_no_error),
        cmocka_unit_test(a_later_group_of_that_name_wins),
        cmocka_unit_test(the_largest_records_stay_within_their_bounds),
        cmocka_unit_test(an_entry_delivered_and_acknowledged_costs_less_than_5_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
