/*
 * group.c - one consumer group: its position, its consumers, and the two structures of what is pending, kept in step.
 *
 *   consumers   by name in a dictionary, by number (slot) in an array; the pel knows slots only
 *   pel         every entry that is held, nacked or parked
 *   order       with ORDERBY: which keys pending entries hold, and which parked ones wait for them
 *
 * A change of an entry is one step from what it was to what it is: group_leave takes what it was out of the order, group_enter puts
 * in what it is. A dead entry is pending and holds no key; that an entry dies, or is not dead any more, is the third way in which
 * the order changes, and the pel tells (group_step). A group without ORDERBY looks at no former entry where it need not.
 *
 * Records are applied once more at a start, to a group that a checkpoint saved while they were made. Its entries may be newer than the
 * record, and the order could not follow; so a group that was loaded has none until group_rebuild makes it from the entries.
 *
 * Room: group_prepare(n) has the pel and the order ready for n entries. A dead entry that lives again needs a key's node, too,
 * so the order is kept ready for all of them.
 *
 *   G1  slots[c->slot] == c for each consumer; no slot below lowest_slot is free.
 *   G2  With an order: it has a holder for each entry that is pending, not dead and has a key, and a parked ID for each parked one.
 *   G3  Without ORDERBY nothing is parked (after group_rebuild).
 */
#include "groups/group.h"
#include <assert.h>
#include <stdlib.h>
#include "log/siphash.h"

enum {
    GROUP_SLOTS_MIN = 4,
    GROUP_CHUNK = 128, /* entries that a walk looks at together */
};

const struct group_options GROUP_OPTIONS_NONE;

static const struct pel_filter GROUP_ANY = {
    .kinds = PEL_HELD | PEL_NACKED | PEL_SKIPPED,
    .held_until = UINT64_MAX,
    .nacked_until = UINT64_MAX,
};
static const struct pel_filter GROUP_PARKED = { .kinds = PEL_SKIPPED };

/* ---- being there ---- */

static struct consumer *group_consumer_of(const struct dict_node *node)
{
    return (struct consumer *)(uintptr_t)node; /* node is its first member */
}

static struct slice group_consumer_name(const struct dict_node *node)
{
    return group_consumer_of(node)->name;
}

int group_new(const uint8_t hash_key[16], struct slice name, struct group **out, struct err *e)
{
    struct group *g = calloc(1, sizeof *g + name.n);
    uint8_t *bytes;

    if (g == NULL)
        return err_set(e, ERR_NOMEM, "a group");
    if (pel_new(false, &g->pel, e) != OK) {
        free(g);
        return ERR_NOMEM;
    }
    bytes = (uint8_t *)(g + 1);
    bytes_copy(bytes, name.p, name.n);
    g->name = slice_of(bytes, name.n);
    g->entries_read = -1;
    g->lowest_slot = 1;
    g->alarm_ms = g->claim_idle_ms = UINT64_MAX;
    dict_init(&g->consumers, hash_key, group_consumer_name);
    *out = g;
    return OK;
}

static void group_free_options(struct group_options *x)
{
    if (x != NULL)
        pel_free(x->pel);
    free(x);
}

bool group_free_some(struct group *g, size_t budget)
{
    if (g == NULL)
        return true;
    if (g->pel != NULL) {
        if (!pel_free_some(g->pel, budget))
            return false;
        g->pel = NULL;
    }
    for (; budget > 0 && g->n_slots > 0; budget--)
        free(g->slots[--g->n_slots]);
    if (g->n_slots > 0)
        return false;
    dict_fini(&g->consumers);
    free(g->slots);
    group_free_options(g->options);
    order_free(g->order);
    free(g);
    return true;
}

void group_free(struct group *g)
{
    while (!group_free_some(g, SIZE_MAX)) {
    }
}

/* ---- what its options say ---- */

static bool group_is_ordered(const struct group *g)
{
    return group_options(g)->order_by.n > 0;
}

uint64_t group_max_pending(const struct group *g)
{
    if (group_options(g)->max_pending != 0)
        return group_options(g)->max_pending;
    return group_is_ordered(g) ? GROUP_ORDERED_PENDING_MAX : UINT64_MAX;
}

uint64_t group_backoff_ms(const struct group *g, uint64_t count)
{
    const struct group_options *x = group_options(g);

    if (x->n_backoff == 0)
        return 0;
    if (count == 0)
        count = 1;
    return x->backoff_ms[count < x->n_backoff ? count - 1 : x->n_backoff - 1];
}

bool group_buries(const struct group *g, uint64_t count)
{
    uint64_t max = group_options(g)->max_deliver;

    return !group_is_plain(g) && (count == PEL_COUNT_FATAL || (max != 0 && count >= max));
}

uint32_t group_key(const struct group *g, struct slice value)
{
    uint8_t seed[16] = { 0 };
    uint64_t hash;

    put_u64le(seed, group_options(g)->order_seed);
    hash = siphash13(seed, value.p, value.n);
    hash = (hash ^ hash >> 32) & UINT32_MAX;
    return hash == 0 ? 1 : (uint32_t)hash;
}

/* ---- consumers ---- */

struct consumer *group_find_consumer(const struct group *g, struct slice name)
{
    return group_consumer_of(dict_find(&g->consumers, name));
}

struct consumer *group_consumer_at(const struct group *g, uint16_t slot)
{
    return slot < g->n_slots ? g->slots[slot] : NULL;
}

size_t group_n_consumers(const struct group *g)
{
    return g->consumers.n;
}

static int group_compare_names(const void *a, const void *b)
{
    struct slice x = (*(struct consumer *const *)a)->name, y = (*(struct consumer *const *)b)->name;
    int order = memcmp(x.p, y.p, x.n < y.n ? x.n : y.n);

    return order != 0 ? order : x.n < y.n ? -1 : x.n > y.n;
}

struct consumer **group_list_consumers(const struct group *g)
{
    struct consumer **list = g->consumers.n == 0 ? NULL : malloc(g->consumers.n * sizeof *list);
    size_t n = 0;

    if (list == NULL)
        return NULL;
    for (size_t i = 1; i < g->n_slots; i++)
        if (g->slots[i] != NULL)
            list[n++] = g->slots[i];
    assert(n == g->consumers.n); /* G1 */
    qsort(list, n, sizeof list[0], group_compare_names);
    return list;
}

/* Room for that slot. */
static int group_reserve_slot(struct group *g, size_t slot, struct err *e)
{
    size_t n = g->n_slots < GROUP_SLOTS_MIN ? GROUP_SLOTS_MIN : g->n_slots;
    struct consumer **slots;

    if (slot < g->n_slots)
        return OK;
    while (n <= slot)
        n *= 2;
    slots = realloc(g->slots, n * sizeof slots[0]);
    if (slots == NULL)
        return err_set(e, ERR_NOMEM, "room for %zu consumers", n);
    memset(slots + g->n_slots, 0, (n - g->n_slots) * sizeof slots[0]);
    g->slots = slots;
    g->n_slots = n;
    return OK;
}

static void group_find_slot(struct group *g)
{
    while (g->lowest_slot < g->n_slots && g->slots[g->lowest_slot] != NULL)
        g->lowest_slot++;
}

int group_prepare_consumer(struct group *g, struct slice name, struct consumer **out, struct err *e)
{
    group_find_slot(g);
    if (g->lowest_slot > PEL_SLOT_MAX)
        return err_set(e, ERR_FULL, "a group has at most %d consumers", PEL_SLOT_MAX);
    return group_prepare_consumer_at(g, name, (uint16_t)g->lowest_slot, out, e);
}

int group_prepare_consumer_at(struct group *g, struct slice name, uint16_t slot,
                              struct consumer **out, struct err *e)
{
    struct consumer *c;
    uint8_t *bytes;
    int rc = group_reserve_slot(g, slot, e);

    if (rc != OK)
        return rc;
    c = calloc(1, sizeof *c + name.n);
    if (c == NULL)
        return err_set(e, ERR_NOMEM, "a consumer");
    bytes = (uint8_t *)(c + 1);
    bytes_copy(bytes, name.p, name.n);
    c->name = slice_of(bytes, name.n);
    c->slot = slot;
    *out = c;
    return OK;
}

void group_add_consumer(struct group *g, struct consumer *c, uint64_t lsn)
{
    assert(g->slots[c->slot] == NULL); /* G1 */
    c->lsn = lsn;
    g->slots[c->slot] = c;
    dict_add(&g->consumers, &c->node, c->name);
}

void group_unlist_consumer(struct group *g, struct consumer *c)
{
    struct group_chores *x = &g->chores;

    if (c->listed == CONSUMER_TIMELY) {
        *(c->older != NULL ? &c->older->newer : &g->oldest) = c->newer;
        *(c->newer != NULL ? &c->newer->older : &g->newest) = c->older;
    } else if (c->listed == CONSUMER_LATE) {
        c->older->newer = c->newer;
        c->newer->older = c->older;
        if (x->late == c)
            x->late = c->newer == c ? NULL : c->newer;
        x->n_late--;
        if (x->n_look > x->n_late)
            x->n_look = x->n_late;
    }
    c->older = c->newer = NULL;
    c->listed = CONSUMER_UNLISTED;
}

/* What the slot holds gives its keys back. */
static void group_release_slot(struct group *g, uint16_t slot)
{
    struct pel_filter f = { .kinds = PEL_HELD, .by_slot = true, .slot = slot };
    struct pel_entry x;
    struct id from = ID_MIN;

    f.held_until = UINT64_MAX;
    for (bool more = true; more && pel_next(g->pel, from, &f, &x); more = id_next(&from)) {
        if (!x.dead)
            order_release(g->order, x.key);
        from = x.id;
    }
}

uint64_t group_drop_consumer(struct group *g, uint16_t slot, bool hand_back, uint64_t time_ms)
{
    struct consumer *c = g->slots[slot];
    uint64_t n;

    if (!hand_back && g->order != NULL)
        group_release_slot(g, slot);
    n = hand_back ? pel_hand_back(g->pel, slot, time_ms) : pel_drop_slot(g->pel, slot);
    group_unlist_consumer(g, c);
    dict_remove(&g->consumers, &c->node);
    g->slots[slot] = NULL;
    if (slot < g->lowest_slot)
        g->lowest_slot = slot;
    free(c);
    return n;
}

/* ---- entries ---- */

/* The entry will not be as it was: what it holds is free, or it is parked no longer. */
static void group_leave(struct group *g, const struct pel_entry *x)
{
    if (g->order == NULL || x->key == 0)
        return;
    if (x->slot == PEL_PARKED)
        order_unpark(g->order, x->key, x->id);
    else if (!x->dead)
        order_release(g->order, x->key);
}

static void group_enter(struct group *g, const struct pel_entry *x)
{
    if (g->order == NULL || x->key == 0)
        return;
    if (x->slot == PEL_PARKED)
        order_park(g->order, x->key, x->id);
    else
        order_hold(g->order, x->key);
}

/* The entry is as said from now on. */
static void group_set(struct group *g, const struct pel_entry *x)
{
    struct pel_entry was;

    if (g->order != NULL && pel_get(g->pel, x->id, &was))
        group_leave(g, &was);
    pel_set(g->pel, x);
    group_enter(g, x);
}

static bool group_remove(struct group *g, struct id id)
{
    struct pel_entry was;

    if (!pel_remove(g->pel, id, &was))
        return false;
    group_leave(g, &was);
    return true;
}

/* Removes what passes of the entries below `first`, one by one, for the order's sake. */
static void group_remove_below(struct group *g, struct id first, const struct pel_filter *f)
{
    struct pel_entry x;
    struct id from = ID_MIN;

    while (pel_next(g->pel, from, f, &x) && id_cmp(x.id, first) < 0) {
        if (!x.gone)
            group_remove(g, x.id);
        from = x.id;
        id_next(&from); /* there is one: `first` */
    }
}

int group_prepare(struct group *g, size_t n, struct id lowest, struct err *e)
{
    int rc = pel_reserve(g->pel, n, lowest, e);

    if (rc == OK && g->order != NULL)
        rc = order_reserve(g->order, n + pel_n_dead(g->pel), e);
    return rc;
}

static void group_move(struct group *g, struct id last)
{
    g->last_id = last;
    if (g->highest != NULL && id_cmp(last, *g->highest) > 0)
        *g->highest = last;
}

void group_set_position(struct group *g, struct id last, int64_t entries_read, uint64_t n_behind)
{
    group_move(g, last);
    g->entries_read = entries_read;
    g->n_behind = n_behind;
    if (pel_n_parked(g->pel) > 0)
        pel_drop_parked(g->pel);
    if (g->order != NULL)
        order_unpark_all(g->order);
}

static void group_active(struct group *g, uint16_t slot, uint64_t time_ms)
{
    struct consumer *c = group_consumer_at(g, slot);

    if (c != NULL)
        c->active_ms = time_ms;
}

void group_deliver(struct group *g, const struct group_delivery *d)
{
    struct pel_entry x = { .time_ms = d->time_ms, .count = 1, .slot = d->slot };

    group_move(g, d->last);
    g->entries_read = d->entries_read;
    g->n_behind = d->n_behind;
    group_active(g, d->slot, d->time_ms);
    for (size_t i = 0; d->slot != PEL_NOBODY && i < d->n; i++) {
        x.id = d->ids[i];
        x.key = d->keys == NULL ? 0 : d->keys[i];
        group_set(g, &x);
    }
    x = (struct pel_entry){ .slot = PEL_PARKED };
    for (size_t i = 0; i < d->n_parked; i++) {
        x.id = d->parked[i];
        x.key = d->parked_keys[i];
        group_set(g, &x);
    }
}

/* What the change says of its i-th entry. */
static struct pel_entry group_changed(const struct group *g, const struct group_change *x, size_t i)
{
    struct pel_entry was = { 0 };
    struct pel_entry is = { .id = x->ids[i], .time_ms = x->time_ms, .slot = x->slot };

    if (x->slot == PEL_NOBODY || (x->keys == NULL && group_is_ordered(g)))
        if (!pel_get(g->pel, is.id, &was) || was.slot == PEL_PARKED)
            was.slot = PEL_NOBODY;
    is.count = x->counts == NULL ? x->count : x->counts[i];
    is.key = x->keys == NULL ? was.key : x->keys[i];
    is.nacked = x->nacked;
    if (x->nacked && x->slot == PEL_NOBODY)
        is.slot = was.slot;
    return is;
}

void group_change(struct group *g, const struct group_change *x)
{
    struct pel_entry is;

    if (x->active)
        group_active(g, x->slot, x->active_ms);
    for (size_t i = 0; i < x->n; i++) {
        is = group_changed(g, x, i);
        group_set(g, &is);
    }
}

uint64_t group_ack(struct group *g, const struct id *ids, size_t n)
{
    uint64_t removed = 0;

    for (size_t i = 0; i < n; i++)
        removed += group_remove(g, ids[i]);
    return removed;
}

/* ---- what happens in the stream ---- */

static void group_entry_removed(struct group *g, struct id id)
{
    struct pel_entry x;

    if (g->n_behind > 0 && id_cmp(id, g->last_id) <= 0)
        g->n_behind--;
    if (pel_n_parked(g->pel) > 0 && pel_get(g->pel, id, &x) && x.slot == PEL_PARKED)
        group_remove(g, id);
    else
        pel_mark_gone(g->pel, id);
}

void group_entries_removed(struct group *g, const struct id *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        group_entry_removed(g, ids[i]);
}

void group_entries_cut(struct group *g, struct id first, uint64_t n_cut, bool all)
{
    if (all || id_cmp(first, g->last_id) > 0 || n_cut > g->n_behind)
        g->n_behind = 0;
    else
        g->n_behind -= n_cut;
    if (pel_n_parked(g->pel) > 0)
        group_remove_below(g, first, &GROUP_PARKED);
    pel_mark_gone_below(g->pel, first);
}

void group_forget_below(struct group *g, struct id first)
{
    if (g->order != NULL)
        group_remove_below(g, first, &GROUP_ANY);
    else
        pel_drop_below(g->pel, first);
}

void group_begin_anew(struct group *g)
{
    pel_begin_anew(g->pel);
}

/* ---- options ---- */

static bool group_options_any(const struct group_options *x)
{
    return x->ack_wait_ms != 0 || x->max_deliver != 0 || x->max_pending != 0 ||
           x->consumer_ttl_ms != 0 || x->n_backoff != 0 || x->dlq.n > 0 || x->order_by.n > 0;
}

/* Takes into `to` what `which` names of x; strings stay x's. */
static void group_merge_options(struct group_options *to, unsigned which,
                                const struct group_options *x)
{
    if (which & 1u << GROUP_ACKWAIT)
        to->ack_wait_ms = x->ack_wait_ms;
    if (which & 1u << GROUP_MAXDELIVER)
        to->max_deliver = x->max_deliver;
    if (which & 1u << GROUP_DLQ)
        to->dlq = x->dlq;
    if (which & 1u << GROUP_BACKOFF) {
        to->n_backoff = x->n_backoff;
        memcpy(to->backoff_ms, x->backoff_ms, sizeof to->backoff_ms);
    }
    if (which & 1u << GROUP_MAXPENDING)
        to->max_pending = x->max_pending;
    if (which & 1u << GROUP_CONSUMERTTL)
        to->consumer_ttl_ms = x->consumer_ttl_ms;
    if (which & 1u << GROUP_ORDERBY) {
        to->order_by = x->order_by;
        to->order_seed = x->order_by.n > 0 ? x->order_seed : 0;
    }
}

/* A copy that has its strings behind itself. */
static int group_copy_options(const struct group_options *x, struct group_options **out,
                              struct err *e)
{
    struct group_options *copy = malloc(sizeof *copy + x->dlq.n + x->order_by.n);
    uint8_t *bytes;

    if (copy == NULL)
        return err_set(e, ERR_NOMEM, "options of a group");
    *copy = *x;
    bytes = (uint8_t *)(copy + 1);
    bytes_copy(bytes, x->dlq.p, x->dlq.n);
    bytes_copy(bytes + x->dlq.n, x->order_by.p, x->order_by.n);
    copy->dlq = slice_of(bytes, x->dlq.n);
    copy->order_by = slice_of(bytes + x->dlq.n, x->order_by.n);
    copy->pel = NULL;
    *out = copy;
    return OK;
}

int group_prepare_options(const struct group *g, unsigned which, const struct group_options *x,
                          struct group_options **out, struct order **order, struct err *e)
{
    struct group_options merged = *group_options(g), *options = NULL;
    struct order *keys = NULL;
    bool begins;
    int rc = OK;

    group_merge_options(&merged, which, x);
    begins = merged.order_by.n > 0 && (which & 1u << GROUP_ORDERBY) != 0;
    if (group_options_any(&merged))
        rc = group_copy_options(&merged, &options, e);
    if (rc == OK && begins)
        rc = order_new(g->consumers.hash_key, &keys, e);
    if (rc == OK && begins)
        rc = pel_new(true, &options->pel, e);
    if (rc != OK) {
        order_free(keys);
        group_free_options(options);
        return rc;
    }
    *out = options;
    *order = keys;
    return OK;
}

static void group_set_rule(struct group *g)
{
    const struct group_options *x = group_options(g);
    struct pel_rule rule = { .ack_wait_ms = x->ack_wait_ms,
                             .max_deliver = x->max_deliver,
                             .backoff_ms = x->backoff_ms,
                             .n_backoff = x->n_backoff,
                             .redelivers = group_redelivers(g),
                             .buries = !group_is_plain(g) };

    pel_set_rule(g->pel, &rule);
}

static void group_replace_pel(struct group *g, struct pel *pel)
{
    pel_sum_move(g->pel, pel);
    pel_free(g->pel);
    g->pel = pel;
}

void group_apply_options(struct group *g, struct group_options *options, struct order *order)
{
    struct group_options *old = g->options;
    bool was_ordered = group_is_ordered(g);
    struct pel *pel;

    g->options = options;
    if (options != NULL && options->pel != NULL) {
        group_replace_pel(g, options->pel);
        options->pel = NULL;
    } else if (was_ordered && !group_is_ordered(g) && pel_new(false, &pel, NULL) == OK) {
        group_replace_pel(g, pel); /* else it keeps one whose entries are larger */
    }
    if (order != NULL || !group_is_ordered(g)) {
        order_free(g->order);
        g->order = order;
    }
    group_set_rule(g);
    group_free_options(old);
}

/* ---- time ---- */

static void group_died_or_lives(void *ctx, const struct pel_entry *x)
{
    struct group *g = ctx;

    if (x->dead)
        order_release(g->order, x->key);
    else
        order_hold(g->order, x->key);
}

bool group_step(struct group *g, uint64_t now_ms, size_t budget)
{
    return pel_step(g->pel, now_ms, budget, g->order == NULL ? NULL : group_died_or_lives, g);
}

/* ---- after a start ---- */

/* Whether some entry is held by a slot that no consumer has. */
static bool group_has_orphans(const struct group *g)
{
    uint64_t n = pel_n_nacked(g->pel);

    for (size_t i = 1; i < g->n_slots; i++)
        if (g->slots[i] != NULL)
            n += pel_n_of(g->pel, (uint16_t)i);
    return n != pel_n(g->pel);
}

/* Gives back what is held by a slot that no consumer has. */
static uint64_t group_adopt_orphans(struct group *g)
{
    struct pel_filter f = { .kinds = PEL_HELD, .held_until = UINT64_MAX };
    struct id from = ID_MIN;
    struct pel_entry x;
    uint64_t n = 0;

    if (!group_has_orphans(g))
        return 0;
    for (bool more = true; more && pel_next(g->pel, from, &f, &x); more = id_next(&from)) {
        if (group_consumer_at(g, x.slot) == NULL)
            n += pel_hand_back(g->pel, x.slot, x.time_ms);
        from = x.id;
    }
    return n;
}

static int group_rebuild_order(struct group *g, struct err *e)
{
    struct pel_entry x[GROUP_CHUNK];
    struct id from = ID_MIN;
    size_t n = GROUP_CHUNK;
    int rc = OK;

    order_free(g->order);
    g->order = NULL;
    if (group_is_ordered(g))
        rc = order_new(g->consumers.hash_key, &g->order, e);
    if (g->order == NULL || rc != OK)
        return rc;
    rc = order_reserve(g->order, pel_n(g->pel) + pel_n_parked(g->pel), e);
    while (rc == OK && n == GROUP_CHUNK) {
        n = pel_list(g->pel, from, &GROUP_ANY, GROUP_CHUNK, x);
        for (size_t i = 0; i < n; i++)
            if (!x[i].dead)
                group_enter(g, &x[i]);
        if (n == 0 || (from = x[n - 1].id, !id_next(&from)))
            break;
    }
    return rc;
}

int group_rebuild(struct group *g, uint64_t *n_repaired, struct err *e)
{
    *n_repaired = group_adopt_orphans(g);
    if (!group_is_ordered(g))
        *n_repaired += pel_drop_parked(g->pel);
    return group_rebuild_order(g, e);
}

/* ---- checking ---- */

static const char *group_check_consumers(const struct group *g)
{
    size_t n = 0;

    if (g->n_slots > 0 && g->slots[0] != NULL)
        return "G1: nobody is a consumer";
    for (size_t i = 1; i < g->n_slots; i++) {
        if (i < g->lowest_slot && g->slots[i] == NULL)
            return "G1: a slot below the lowest that is free is free";
        if (g->slots[i] == NULL)
            continue;
        if (g->slots[i]->slot != i || group_find_consumer(g, g->slots[i]->name) != g->slots[i])
            return "G1: a consumer is not in its slot, or not under its name";
        n++;
    }
    return n == g->consumers.n ? dict_check(&g->consumers) : "G1: a consumer has no slot";
}

/* The order made anew from the entries says the same. */
static const char *group_check_order(const struct group *g)
{
    struct pel_entry x;
    struct id from = ID_MIN;
    uint64_t n_parked = 0;

    for (bool more = true; more && pel_next(g->pel, from, &GROUP_ANY, &x); more = id_next(&from)) {
        n_parked += x.slot == PEL_PARKED && x.key != 0;
        if (!x.dead && x.key != 0 && !order_is_busy(g->order, x.key))
            return "G2: an entry's key is not taken";
        from = x.id;
    }
    return n_parked == order_n_parked(g->order) ? order_check(g->order)
                                                : "G2: not as many are parked as are remembered";
}

const char *group_check(const struct group *g)
{
    const char *bad = group_check_consumers(g);

    if (bad == NULL)
        bad = pel_check(g->pel);
    if (bad == NULL && g->order != NULL)
        bad = group_check_order(g);
    return bad;
}
