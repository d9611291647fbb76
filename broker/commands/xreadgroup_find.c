/*
 * xreadgroup_find.c - what a reader of a group gets, and what follows from that for the group.
 *
 * Nothing is changed here. Entries are written aside as they will be replied, straight from where they lie; the IDs and what
 * else the records need are noted beside. So a reader that finds nothing, or something that has to be read from disk first, has
 * done nothing at all, and can look again from the beginning.
 *
 * `>` gives, until COUNT, MAXCOUNT, MAXSIZE or the limits of one reply are reached:
 *
 *   ready      pending entries that have failed, in groups that redeliver; longest due first
 *   claimed    with CLAIM: nacked ones, then those that have been held for so long; oldest first
 *   parked     with ORDERBY: skipped earlier, and nobody has their key now; by ID
 *   new        with ORDERBY those whose key is taken, by others or in this reply, are skipped and parked
 *
 * Where something is cold it is noted, and nothing behind it is given, so that nothing is overtaken. What was found before
 * may be enough for a reply all the same; that is for xreadgroup.c to say.
 *
 * An entry that is to be handed out and is gone from the stream: of ready and parked ones it is noted, for they would come up
 * again and again; a claimed one is passed over and stays pending, as in Redis; in a history it is shown without fields.
 */
#include <assert.h>
#include <stdlib.h>
#include "broker/commands/streams.h"
#include "broker/commands/streams_range.h"
#include "broker/commands/xreadgroup.h"
#include "broker/engine/reply.h"
#include "log/entry.h"

enum { FIND_HISTORY = 256 /* pending entries that are listed at a time */ };

struct find { /* while the parts are looked at, one after the other */
    struct engine *engine;
    const struct xreadgroup_look *look;
    struct client sink;   /* entries are written to it */
    uint64_t left;        /* entries that the reply still takes */
    uint64_t left_parked; /* entries that may be parked for it */
    uint64_t left_gone;   /* that may turn out to be gone: the next look goes on */
    uint64_t bytes;       /* that it has in earlier parts */
    uint64_t bytes_max;
    bool is_empty; /* it has no entry yet: one goes in, however large */
    /* of the part: */
    const struct xreadgroup_key *key;
    struct xreadgroup_part *part;
    uint64_t max; /* entries of it */
    struct wants *wants;
    struct cursor at; /* for entries by ID, if it is open */
    bool is_open;
    uint32_t
        *taken; /* keys that are taken by what this part gives: a hash table, 0 where it is empty */
    size_t n_taken, cap_taken;
    struct err *err;
};

/* ---- lists ---- */

static bool list_widen(struct xreadgroup_list *l, size_t cap, bool keys, bool counts)
{
    struct id *ids = realloc(l->ids, cap * sizeof *ids);
    uint32_t *new_keys = NULL;
    uint64_t *new_counts = NULL;

    if (ids != NULL)
        l->ids = ids;
    if (keys && (new_keys = realloc(l->keys, cap * sizeof *new_keys)) != NULL)
        l->keys = new_keys;
    if (counts && (new_counts = realloc(l->counts, cap * sizeof *new_counts)) != NULL)
        l->counts = new_counts;
    return ids != NULL && (!keys || new_keys != NULL) && (!counts || new_counts != NULL);
}

/* Room for one more; a first one makes room for `first`. */
static int list_reserve(struct xreadgroup_list *l, uint64_t first, bool keys, bool counts,
                        struct err *err)
{
    size_t cap = l->cap > 0 ? 2 * l->cap : first < 128 ? (size_t)first + 1 : 128;

    if (l->n < l->cap)
        return OK;
    if (!list_widen(l, cap, keys, counts))
        return err_set(err, ERR_NOMEM, "no memory to note %zu entries", cap);
    l->cap = cap;
    return OK;
}

static void list_fini(struct xreadgroup_list *l)
{
    free(l->ids);
    free(l->keys);
    free(l->counts);
}

struct list_item {
    struct id id;
    uint64_t count;
};

static int list_compare(const void *a, const void *b)
{
    return id_cmp(((const struct list_item *)a)->id, ((const struct list_item *)b)->id);
}

static bool list_is_sorted(const struct xreadgroup_list *l)
{
    for (size_t i = 1; i < l->n; i++)
        if (id_cmp(l->ids[i - 1], l->ids[i]) >= 0)
            return false;
    return true;
}

int xreadgroup_sort(struct xreadgroup_list *l, struct err *err)
{
    struct list_item *items;

    assert(l->keys == NULL);
    if (list_is_sorted(l))
        return OK;
    items = malloc(l->n * sizeof *items);
    if (items == NULL)
        return err_set(err, ERR_NOMEM, "no memory to sort %zu entries", l->n);
    for (size_t i = 0; i < l->n; i++)
        items[i] = (struct list_item){ l->ids[i], l->counts != NULL ? l->counts[i] : 0 };
    qsort(items, l->n, sizeof *items, list_compare);
    for (size_t i = 0; i < l->n; i++) {
        l->ids[i] = items[i].id;
        if (l->counts != NULL)
            l->counts[i] = items[i].count;
    }
    free(items);
    return OK;
}

void xreadgroup_parts_init(struct xreadgroup_part *parts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        parts[i] = (struct xreadgroup_part){ .st = NULL };
        outbuf_init(&parts[i].out);
    }
}

static void part_fini(struct engine *e, struct xreadgroup_part *part)
{
    outbuf_fini(&part->out);
    list_fini(&part->again);
    list_fini(&part->fresh);
    list_fini(&part->parked);
    list_fini(&part->drop);
    free(part->gone);
    wants_fini(&part->wants, log_cache(e->log));
}

void xreadgroup_parts_fini(struct engine *e, struct xreadgroup_part *parts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        part_fini(e, &parts[i]);
}

void xreadgroup_parts_clear(struct engine *e, struct xreadgroup_part *parts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct xreadgroup_part was = parts[i];

        part_fini(e, &parts[i]);
        xreadgroup_parts_init(&parts[i], 1);
        parts[i].st = was.st;
        parts[i].g = was.g;
        parts[i].consumer = was.consumer;
    }
}

/* ---- keys that are taken ---- */

static size_t taken_slot(const struct find *f, uint32_t key)
{
    size_t i = key & (f->cap_taken - 1); /* it is a hash */

    while (f->taken[i] != 0 && f->taken[i] != key)
        i = (i + 1) & (f->cap_taken - 1);
    return i;
}

static bool taken_has(const struct find *f, uint32_t key)
{
    return f->n_taken > 0 && f->taken[taken_slot(f, key)] != 0;
}

static int taken_widen(struct find *f)
{
    uint32_t *old = f->taken;
    size_t cap = f->cap_taken;

    f->cap_taken = cap == 0 ? 64 : 2 * cap;
    f->taken = calloc(f->cap_taken, sizeof *f->taken);
    if (f->taken == NULL) {
        f->taken = old;
        f->cap_taken = cap;
        return err_set(f->err, ERR_NOMEM, "no memory for %zu keys", 2 * cap);
    }
    for (size_t i = 0; i < cap; i++)
        if (old[i] != 0)
            f->taken[taken_slot(f, old[i])] = old[i];
    free(old);
    return OK;
}

static int taken_add(struct find *f, uint32_t key)
{
    int rc = 2 * f->n_taken >= f->cap_taken ? taken_widen(f) : OK;
    size_t i;

    if (rc != OK || key == 0)
        return rc;
    i = taken_slot(f, key);
    f->n_taken += f->taken[i] == 0;
    f->taken[i] = key;
    return OK;
}

/* ---- entries ---- */

static bool find_is_full(const struct find *f)
{
    return f->part->n >= f->max ||
           (!f->is_empty && f->bytes + outbuf_size(&f->sink.out) >= f->bytes_max);
}

/* Replies an entry. The last two are shown with CLAIM only. */
static void find_put(struct find *f, const uint8_t *entry, uint64_t idle_ms, uint64_t count)
{
    if (!f->key->claims) {
        streams_reply_entry(&f->sink, entry);
    } else {
        streams_reply_entry_of(&f->sink, entry, 4);
        reply_u64(&f->sink, idle_ms);
        reply_u64(&f->sink, count);
    }
    f->part->n++;
    f->is_empty = false;
}

/* The entry of that ID, NULL if it is gone. */
static int find_read(struct find *f, struct id id, const uint8_t **out)
{
    struct id found = ID_MAX;
    const uint8_t *entry;
    int rc;

    if (!f->is_open)
        cursor_open(&f->at, f->engine, f->part->st, f->look->mode, f->wants);
    f->is_open = true;
    rc = cursor_seek(&f->at, id, f->err);
    if (rc != OK)
        return rc;
    entry = cursor_at(&f->at);
    if (entry != NULL)
        entry_id(entry, &found);
    *out = entry != NULL && id_cmp(found, id) == 0 ? entry : NULL;
    return OK;
}

static int find_again(struct find *f, struct id id, uint64_t count)
{
    struct xreadgroup_list *l = &f->part->again;
    int rc = list_reserve(l, f->max, false, true, f->err);

    if (rc == OK) {
        l->ids[l->n] = id;
        l->counts[l->n++] = count;
    }
    return rc;
}

static int find_drop(struct find *f, struct id id)
{
    struct xreadgroup_list *l = &f->part->drop;
    int rc = list_reserve(l, f->max, false, false, f->err);

    if (rc == OK)
        l->ids[l->n++] = id;
    return rc;
}

static uint64_t find_count_after(uint64_t count)
{
    return count < PEL_COUNT_FATAL - 1 ? count + 1 : count;
}

/* Whether the walk over pending entries, of which one gave `rc`, is over; a cold one ends only what is given. */
static bool find_stops(struct find *f, int *rc)
{
    if (*rc == ERR_COLD) {
        f->part->is_cold = true;
        *rc = OK;
        return f->look->ahead == 0 || f->wants->bytes >= XREADGROUP_LOAD_BYTES;
    }
    return *rc != OK;
}

/* How long it has been held; of a nacked one Redis tells the time since 1970. */
static uint64_t find_idle_ms(const struct find *f, const struct pel_entry *x)
{
    uint64_t now_ms = f->engine->now_ms;

    if (x->nacked)
        return now_ms;
    return now_ms > x->time_ms ? now_ms - x->time_ms : 0;
}

/* Gives a pending entry that is to be handed out again; *gone: it is not in the stream. Once something is cold, further ones
 * are only looked for. */
static int find_hand_out(struct find *f, const struct pel_entry *x, bool *gone)
{
    const uint8_t *entry = NULL;
    int rc = x->gone ? OK : find_read(f, x->id, &entry);

    *gone = rc == OK && entry == NULL;
    if (rc != OK || entry == NULL || f->part->is_cold)
        return rc;
    rc = find_again(f, x->id, find_count_after(x->count));
    if (rc == OK && x->key != 0 && f->part->g->order != NULL)
        rc = taken_add(f, x->key);
    if (rc == OK)
        find_put(f, entry, find_idle_ms(f, x), x->count);
    return rc;
}

/* ---- what is ready ---- */

static int find_note_gone(struct find *f, const struct pel_entry *x, size_t n)
{
    struct xreadgroup_part *part = f->part;

    f->left_gone--;
    if (group_options(part->g)->dlq.n == 0)
        return find_drop(f, x->id);
    if (part->gone == NULL && (part->gone = malloc(n * sizeof *part->gone)) == NULL)
        return err_set(f->err, ERR_NOMEM, "no memory to note entries that are gone");
    part->gone[part->n_gone++] = *x;
    return OK;
}

static int find_ready_of(struct find *f, const struct pel_entry *entries, size_t n)
{
    bool gone = false;
    int rc = OK;

    for (size_t i = 0; i < n && !find_is_full(f) && f->left_gone > 0; i++) {
        rc = find_hand_out(f, &entries[i], &gone);
        if (rc == OK && gone)
            rc = find_note_gone(f, &entries[i], n);
        if (find_stops(f, &rc))
            break;
    }
    return rc;
}

static uint64_t find_least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static int find_entries(struct find *f, uint64_t n, struct pel_entry **out)
{
    *out = malloc((size_t)n * sizeof **out);
    return *out != NULL ? OK : err_set(f->err, ERR_NOMEM, "no memory for pending entries");
}

static int find_compare(const void *a, const void *b)
{
    return id_cmp(((const struct pel_entry *)a)->id, ((const struct pel_entry *)b)->id);
}

/* Of those that are ready, the first ones, more of them if some are gone: they come in the same order each time. */
static int find_ready(struct find *f)
{
    struct pel *pel = f->part->g->pel;
    uint64_t n = group_redelivers(f->part->g) ? find_least(pel_n_ready(pel), 2 * f->max) : 0;
    struct pel_entry *entries;
    int rc = n == 0 ? OK : find_entries(f, n, &entries);

    if (rc != OK || n == 0)
        return rc;
    rc = find_ready_of(f, entries, pel_ready(pel, (size_t)n, entries));
    if (f->part->n_gone > 1)
        qsort(f->part->gone, f->part->n_gone, sizeof f->part->gone[0], find_compare);
    free(entries);
    return rc;
}

/* ---- what CLAIM takes ---- */

/* Whether the part hands it out already, being ready: those came before. */
static bool find_has(const struct xreadgroup_list *sorted, struct id id)
{
    size_t low = 0, high = sorted->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int cmp = id_cmp(sorted->ids[middle], id);

        if (cmp == 0)
            return true;
        if (cmp < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

static int find_claimed_of(struct find *f, const struct xreadgroup_list *ready,
                           const struct pel_entry *entries, size_t n)
{
    bool gone = false;
    int rc = OK;

    for (size_t i = 0; i < n && !find_is_full(f); i++) {
        if (find_has(ready, entries[i].id))
            continue;
        rc = find_hand_out(f, &entries[i], &gone);
        if (find_stops(f, &rc))
            break;
    }
    return rc;
}

static struct pel_filter find_claim_filter(const struct find *f)
{
    uint64_t now_ms = f->engine->now_ms, min_ms = f->look->request->min_idle_ms;
    struct pel_filter filter = { .kinds = PEL_NACKED, .nacked_until = now_ms, .is_living = true };

    if (now_ms >= min_ms) {
        filter.kinds |= PEL_HELD;
        filter.held_until = now_ms - min_ms;
    }
    return filter;
}

/* IDs of what is handed out so far, sorted; the part's own list stays in the order of the reply. */
static int find_sorted(struct find *f, struct xreadgroup_list *out)
{
    const struct xreadgroup_list *from = &f->part->again;

    *out = (struct xreadgroup_list){ .n = from->n };
    if (from->n == 0)
        return OK;
    out->ids = malloc(from->n * sizeof *out->ids);
    if (out->ids == NULL)
        return err_set(f->err, ERR_NOMEM, "no memory to note %zu entries", from->n);
    memcpy(out->ids, from->ids, from->n * sizeof *out->ids);
    return xreadgroup_sort(out, f->err);
}

static int find_claimed(struct find *f)
{
    struct pel *pel = f->part->g->pel;
    const struct pel_filter filter = find_claim_filter(f);
    uint64_t n = find_least(pel_n(pel), f->max + f->part->again.n);
    struct xreadgroup_list ready;
    struct pel_entry *entries = NULL;
    int rc;

    if (n == 0 || find_is_full(f) || f->part->is_cold)
        return OK;
    rc = find_sorted(f, &ready);
    if (rc == OK)
        rc = find_entries(f, n, &entries);
    if (rc == OK)
        rc = find_claimed_of(f, &ready, entries, pel_oldest(pel, &filter, (size_t)n, entries));
    free(entries);
    list_fini(&ready);
    return rc;
}

/* ---- what is parked ---- */

/* A parked entry that is handed out is pending from now on; or, with NOACK, nowhere any more. */
static int find_unpark(struct find *f, struct id id, uint32_t key)
{
    const uint8_t *entry = NULL;
    bool noack = f->look->request->noack;
    int rc = find_read(f, id, &entry);

    if (rc != OK || f->part->is_cold)
        return rc;
    f->left_gone -= entry == NULL;
    rc = entry == NULL || noack ? find_drop(f, id) : find_again(f, id, 1);
    if (rc == OK && entry != NULL && !noack)
        rc = taken_add(f, key);
    if (rc == OK && entry != NULL)
        find_put(f, entry, 0, 0);
    return rc;
}

static int find_parked(struct find *f)
{
    struct order *order = f->part->g->order;
    struct id id = ID_MIN;
    uint32_t key;
    int rc = OK;

    if (order == NULL || f->part->is_cold)
        return OK;
    while (rc == OK && !find_is_full(f) && f->left_gone > 0 && order_next(order, id, &id, &key)) {
        if (!taken_has(f, key))
            rc = find_unpark(f, id, key);
        if (find_stops(f, &rc) || !id_next(&id))
            break;
    }
    return rc;
}

/* ---- what is new ---- */

/* The key of an entry by the value of ORDERBY's field, 0 if it does not have that. */
static uint32_t find_key(const struct group *g, const uint8_t *entry)
{
    struct slice field, name, value;
    uint64_t n;
    struct id id;

    field = group_options(g)->order_by;
    for (entry = entry_varint(entry_id(entry, &id), &n); n > 0; n--) {
        entry = entry_str(entry_str(entry, &name), &value);
        if (slice_equal(name, field))
            return group_key(g, value);
    }
    return 0;
}

/* How many entries may be taken from the stream: delivered, which MAXPENDING bounds, or skipped. */
static uint64_t find_room(const struct group *g)
{
    uint64_t most = group_max_pending(g);
    uint64_t n = pel_n(g->pel) - pel_n_dead(g->pel) + pel_n_parked(g->pel);

    return n < most ? most - n : 0;
}

/* How many of these may be skipped. Without ORDERBY none is. */
static uint64_t find_room_parked(const struct find *f)
{
    uint64_t n = pel_n_parked(f->part->g->pel);

    if (f->part->g->order == NULL)
        return UINT64_MAX;
    return n < GROUP_PARKED_MAX ? find_least(GROUP_PARKED_MAX - n, f->left_parked) : 0;
}

static int find_skip(struct find *f, struct id id, uint32_t key)
{
    struct xreadgroup_list *l = &f->part->parked;
    int rc = list_reserve(l, XREADGROUP_PARKED_MAX, true, false, f->err);

    if (rc == OK) {
        l->ids[l->n] = id;
        l->keys[l->n++] = key;
    }
    return rc;
}

/* Whether the entry has to wait for its key. One that is pending itself, when the group has gone back, does not: it stays the
 * one that is in flight. */
static bool find_has_to_wait(const struct find *f, struct id id, uint32_t key)
{
    const struct group *g = f->part->g;
    struct pel_entry pending;

    if (key == 0 || (!order_is_busy(g->order, key) && !taken_has(f, key)))
        return false;
    return !pel_get(g->pel, id, &pending);
}

/* Gives the entry that the cursor is at, or skips it. */
static int find_take(struct find *f, const uint8_t *entry)
{
    struct xreadgroup_list *l = &f->part->fresh;
    const struct group *g = f->part->g;
    bool ordered = g->order != NULL;
    uint32_t key = ordered ? find_key(g, entry) : 0;
    int rc = OK;

    entry_id(entry, &f->part->last);
    if (find_has_to_wait(f, f->part->last, key))
        return find_skip(f, f->part->last, key);
    rc = list_reserve(l, f->max, ordered, false, f->err);
    if (rc == OK && key != 0 && !f->look->request->noack)
        rc = taken_add(f, key);
    if (rc != OK)
        return rc;
    if (ordered)
        l->keys[l->n] = key;
    l->ids[l->n++] = f->part->last;
    find_put(f, entry, 0, 0);
    return OK;
}

/* Whether another entry may be taken from the stream. */
static bool find_wants_more(const struct find *f, uint64_t room, uint64_t room_parked)
{
    const struct xreadgroup_part *part = f->part;
    uint64_t n = part->parked.n + (f->look->request->noack ? 0 : part->fresh.n);

    return !find_is_full(f) && n < room && part->parked.n < room_parked;
}

static int find_new_from(struct find *f, struct cursor *at, struct id from)
{
    uint64_t room = find_room(f->part->g), room_parked = find_room_parked(f);
    int rc = OK;

    if (!find_wants_more(f, room, room_parked))
        return OK;
    rc = cursor_seek(at, from, f->err);
    while (rc == OK && cursor_at(at) != NULL) {
        rc = find_take(f, cursor_at(at));
        if (rc != OK || !find_wants_more(f, room, room_parked))
            break;
        rc = cursor_next(at, f->err);
    }
    return rc;
}

/* What is cold among new entries: as much as is needed and some of what comes then. */
static void find_want(struct find *f, struct id from)
{
    f->part->is_cold = true;
    if (f->look->ahead == 0)
        return;
    range_want(f->engine, f->part->st, from, ID_MAX, f->max + f->look->ahead, false, f->wants);
    wants_trim(f->wants, XREADGROUP_LOAD_BYTES);
}

static int find_new(struct find *f)
{
    const struct stream *st = f->part->st;
    struct id from = f->part->g->last_id;
    struct cursor at;
    int rc;

    if (f->part->is_cold || find_is_full(f) || id_cmp(from, st->last_id) >= 0 || !id_next(&from))
        return OK;
    if (streams_is_in_tail(st, from))
        cursor_open_tail(&at, f->engine, st);
    else
        cursor_open(&at, f->engine, st, f->look->mode, NULL);
    rc = find_new_from(f, &at, from);
    cursor_close(&at);
    if (rc == ERR_COLD) {
        find_want(f, from);
        rc = OK;
    }
    return rc == ERR_TOO_BIG ? OK : rc; /* a view gives no more for now */
}

/*
 * Redis counts each entry: one more, if the count is known, the group is not before the stream's first entry and nothing
 * has been deleted from where it is on; otherwise, what can be said of the entry's ID alone. Whether the group has anything
 * behind it (n_behind) tells the same as a look at the stream's first ID. From the second entry on, either all count or none
 * is known, up to the stream's last.
 */
int64_t xreadgroup_entries_read(const struct xreadgroup_part *part)
{
    const struct stream *st = part->st;
    const struct group *g = part->g;
    struct id deleted = stream_max_deleted(st), first;
    bool has_deleted = id_cmp(deleted, ID_MIN) != 0, was_first = g->n_behind == 0;
    uint64_t n = part->fresh.n + part->parked.n;
    int64_t read;

    assert(n > 0);
    first = part->parked.n > 0 &&
                    (part->fresh.n == 0 || id_cmp(part->parked.ids[0], part->fresh.ids[0]) < 0)
                ? part->parked.ids[0]
                : part->fresh.ids[0];
    if (g->entries_read >= 0 && !was_first && (!has_deleted || id_cmp(g->last_id, deleted) > 0))
        read = g->entries_read + 1;
    else if (has_deleted && id_cmp(first, deleted) < 0)
        read = -1;
    else if (id_cmp(first, st->last_id) == 0)
        read = (int64_t)st->entries_added;
    else
        read = was_first ? (int64_t)(st->entries_added - st->n_entries) + 1 : -1;
    if (n == 1)
        return read;
    if (read >= 0)
        return read + (int64_t)(n - 1);
    if (id_cmp(part->last, st->last_id) == 0 && (!has_deleted || id_cmp(part->last, deleted) > 0))
        return (int64_t)st->entries_added;
    return -1;
}

/* ---- history ---- */

/* Shows what the consumer has; one that is dead stays as it is. */
static int find_show(struct find *f, const struct pel_entry *x)
{
    const uint8_t *entry = NULL;
    int rc = x->gone ? OK : find_read(f, x->id, &entry);

    if (rc != OK || f->part->is_cold)
        return rc;
    if (entry != NULL) {
        streams_reply_entry(&f->sink, entry);
    } else {
        reply_array(&f->sink, 2);
        reply_id(&f->sink, x->id);
        reply_null_array(&f->sink);
    }
    f->part->n++;
    f->is_empty = false;
    return entry == NULL || x->dead ? OK : find_again(f, x->id, find_count_after(x->count));
}

static int find_history(struct find *f)
{
    struct pel_entry entries[FIND_HISTORY];
    struct pel_filter filter = { .kinds = PEL_HELD, .by_slot = true, .held_until = UINT64_MAX };
    struct id from = f->key->after;
    size_t n = FIND_HISTORY;
    int rc = OK;

    if (f->part->consumer == NULL || !id_next(&from))
        return OK;
    filter.slot = f->part->consumer->slot;
    while (n == FIND_HISTORY && !find_is_full(f)) {
        size_t max = (size_t)find_least(f->max - f->part->n, FIND_HISTORY);

        n = pel_list(f->part->g->pel, from, &filter, max, entries);
        for (size_t i = 0; i < n && !find_is_full(f); i++) {
            rc = find_show(f, &entries[i]);
            if (find_stops(f, &rc))
                return rc;
        }
        if (n == 0)
            break;
        from = entries[n - 1].id;
        if (!id_next(&from))
            break;
    }
    return rc;
}

/* ---- the whole ---- */

static int find_part(struct find *f)
{
    int rc = OK;

    if (!f->key->is_new)
        return find_history(f);
    rc = find_ready(f);
    if (rc == OK && f->key->claims && f->left_gone > 0)
        rc = find_claimed(f);
    if (rc == OK && f->left_gone > 0)
        rc = find_parked(f);
    if (rc == OK && f->left_gone > 0)
        rc = find_new(f);
    return rc;
}

static uint64_t find_bytes(const struct outbuf *out, const struct xreadgroup_key *key)
{
    return outbuf_size(out) + key->name.n + 32; /* about what is around the entries */
}

/* What the parts before have left. */
static void find_begin(struct find *f, const struct xreadgroup_part *parts, size_t n)
{
    const struct xreadgroup *r = f->look->request;

    f->left = find_least(r->limits.maxcount, XREADGROUP_MAX);
    f->left_parked = XREADGROUP_PARKED_MAX;
    f->left_gone = find_least(r->limits.count, XREADGROUP_MAX);
    f->bytes_max = find_least(r->limits.maxsize, XREADGROUP_BYTES_MAX);
    f->is_empty = true;
    for (size_t i = 0; i < n; i++) {
        f->left -= parts[i].n;
        f->left_parked -= parts[i].parked.n;
        f->left_gone -= find_least(f->left_gone, parts[i].drop.n + parts[i].n_gone);
        f->is_empty &= parts[i].n == 0;
        if (parts[i].n > 0)
            f->bytes += find_bytes(&parts[i].out, &r->keys[i]);
    }
}

/* The part is found: its output is its own. */
static void find_end_part(struct find *f)
{
    if (f->is_open)
        cursor_close(&f->at);
    f->is_open = false;
    free(f->taken);
    f->taken = NULL;
    f->n_taken = f->cap_taken = 0;
    f->left -= f->part->n;
    f->left_parked -= f->part->parked.n;
    if (f->part->n > 0)
        f->bytes += find_bytes(&f->sink.out, f->key);
    f->part->out = f->sink.out;
    outbuf_init(&f->sink.out);
}

int xreadgroup_find(struct engine *e, struct client *c, const struct xreadgroup_look *look,
                    struct xreadgroup_part *parts, size_t from, size_t to, struct err *err)
{
    struct find f = { .engine = e, .look = look, .sink = { .proto = c->proto }, .err = err };
    int rc = OK;

    outbuf_init(&f.sink.out);
    find_begin(&f, parts, from);
    for (size_t i = from; i < to && rc == OK; i++) {
        if (f.left == 0 || (!f.is_empty && f.bytes >= f.bytes_max))
            break;
        f.key = &look->request->keys[i];
        f.part = &parts[i];
        f.part->is_visited = true;
        f.max = find_least(look->request->limits.count, f.left);
        f.wants = look->wants != NULL ? look->wants : &f.part->wants;
        rc = find_part(&f);
        if (rc == OK && f.sink.out.failed)
            rc = err_set(err, ERR_NOMEM, "no memory for a reply");
        find_end_part(&f);
    }
    return rc;
}
