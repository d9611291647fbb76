/*
 * state.c - what the log says: which names there are, and what they name.
 *
 * Everything here is an effect: each type of record has its function, its body gives the arguments. A
 * command and a replay (engine/replay.c) call the same functions with the same arguments, so they come to the same state; that
 * is why nothing in here may look at a clock, at the configuration or at the order of a hash table.
 *
 *   name --dict of its database--> object <--dict by oid-- records that change it
 *
 * Removing is two things. A name is gone at once, for every lookup; the memory behind it, which may be
 * that of a million streams or of a stream of a hundred million entries, goes in slices (state_reap):
 * single objects hang in `dropped`, a flushed database's dictionary becomes a `grave` as it is and a new one
 * takes its place. Objects in a grave still stand in the table by oid; their generation tells that they are gone.
 *
 *   S1  An object that has a name is in its database's dict under it, in the dict by oid, and nowhere else;
 *       its generation is its database's.
 *   S2  An object with an expiry is in its database's heap at expiry_slot; the heap's parent is never later
 *       than its children.
 *   S3  n_objects is the number of objects that have a name.
 *   S4  A stream's last_id is no smaller than the ID of any of its entries.
 *   S5  While a digest is made (state.digest), it hears of every change before it happens.
 *   S6  What the tail has lives: n_entries is no less, and none of it is below the floor.
 *   S7  What happens to a stream's entries is told to its groups, which know by the record's LSN whether they have it: n_behind
 *       of each is the number of entries that live at or below its last_id.
 *
 * A group leaves like a name: at once for every lookup, and its memory, which may be that of ten million pending entries, in
 * slices.
 */
#include "broker/engine/state.h"
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include "broker/engine/digest.h"
#include "broker/engine/idmp.h"
#include "broker/engine/replay.h"
#include "broker/engine/save.h"
#include "log/bytes.h"
#include "log/entry.h"
#include "log/record.h"

enum {
    STATE_HEAP_FIRST = 16,
};

static struct object *state_of_node(const struct dict_node *node)
{
    return (struct object *)(uintptr_t)node; /* node is its first member */
}

static struct slice state_name_key(const struct dict_node *node)
{
    return state_of_node(node)->name;
}

static struct slice state_oid_key(const struct dict_node *node)
{
    return slice_of(&state_of_oid_node(node)->oid, sizeof(uint64_t));
}

/* ---- what streams have rarely ---- */

const struct stream_more STREAM_MORE_NONE = { 0 };
const struct stream_idmp STREAM_IDMP_NONE = { 0 };
const struct stream_settings STREAM_SETTINGS_NONE = { 0 };

static void stream_free_more(struct stream_more *m)
{
    if (m == NULL)
        return;
    delset_unref(m->deletes);
    if (m->idmp != NULL)
        idmp_free(m->idmp->map);
    groups_free(m->groups);
    free(m->idmp);
    free(m->settings);
    free(m);
}

/* Makes *p point to zeroed memory of that size, if it is NULL. */
static int stream_need(void **p, size_t bytes, struct err *e)
{
    if (*p == NULL)
        *p = calloc(1, bytes);
    return *p != NULL ? OK : err_set(e, ERR_NOMEM, "keep what a stream has of its own");
}

static int stream_need_more(struct stream *st, struct err *e)
{
    void *p = st->more;
    int rc = stream_need(&p, sizeof *st->more, e);

    st->more = p;
    return rc;
}

/* ---- memory ---- */

void state_init(struct state *s, const uint8_t hash_key[16])
{
    memset(s, 0, sizeof *s);
    memcpy(s->hash_key, hash_key, sizeof s->hash_key);
    stream_memory_init(&s->tails);
    dict_init(&s->oids, s->hash_key, state_oid_key);
    for (int db = 0; db < CONFIG_DATABASES; db++)
        dict_init(&s->dbs[db].names, s->hash_key, state_name_key);
}

/* A name lies behind its stream, where the first one was put, or in memory of its own. */
static bool state_name_is_inside(const struct object *o)
{
    return o->name.p == (const uint8_t *)((const struct stream *)(const void *)o + 1);
}

static void state_free_name(struct object *o)
{
    if (!state_name_is_inside(o))
        free((void *)(uintptr_t)o->name.p);
}

static void state_free_object(struct object *o)
{
    struct stream *st = (struct stream *)o;

    stream_index_free(st->tail);
    stream_free_more(st->more);
    state_free_name(o);
    free(st);
}

static void state_push(struct object **list, struct object *o)
{
    o->node.next = *list == NULL ? NULL : &(*list)->node;
    *list = o;
}

static void state_collect(void *ctx, struct dict_node *node)
{
    state_push(ctx, state_of_oid_node(node));
}

void state_fini(struct state *s)
{
    struct object *list = s->dropped; /* all others are in the table by oid */
    uint64_t cursor = 0;

    do
        cursor = dict_scan(&s->oids, cursor, state_collect, &list);
    while (cursor != 0);
    replay_free(s);
    for (int db = 0; db < CONFIG_DATABASES; db++) {
        dict_fini(&s->dbs[db].names);
        free(s->dbs[db].expiries);
    }
    while (s->graves != NULL) {
        struct state_grave *grave = s->graves;
        s->graves = grave->next;
        dict_fini(&grave->names);
        free(grave);
    }
    while (list != NULL) {
        struct object *o = list;
        list = state_of_node(o->node.next);
        state_free_object(o);
    }
    while (s->dropped_groups != NULL) {
        struct group *g = s->dropped_groups;
        s->dropped_groups = g->next;
        group_free(g);
    }
    dict_fini(&s->oids);
    stream_index_free(s->changes);
    liveset_fini(&s->live);
    stream_memory_fini(&s->tails);
}

/* ---- lookups ---- */

struct object *state_find(const struct state *s, int db, struct slice name)
{
    return state_of_node(dict_find(&s->dbs[db].names, name));
}

struct object *state_find_oid(const struct state *s, uint64_t oid)
{
    struct dict_node *node = dict_find(&s->oids, slice_of(&oid, sizeof oid));
    struct object *o;

    if (node == NULL)
        return NULL;
    o = state_of_oid_node(node);
    return o->generation == s->dbs[o->db].generation ? o : NULL;
}

/* The slot of a name: CRC16 (CCITT, as XMODEM computes it) of what stands between its first { and the next }, or
 * of all of it, modulo 16,384. Clients of a cluster compute the same. */
static uint16_t state_slot(struct slice name)
{
    const uint8_t *open = name.n > 0 ? memchr(name.p, '{', name.n) : NULL;
    unsigned crc = 0;

    if (open != NULL) {
        const uint8_t *from = open + 1;
        const uint8_t *close = memchr(from, '}', (size_t)(name.p + name.n - from));
        if (close != NULL && close > from)
            name = slice_of(from, (size_t)(close - from));
    }
    for (size_t i = 0; i < name.n; i++) {
        crc ^= (unsigned)name.p[i] << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1;
    }
    return crc & 16383;
}

/* ---- the heap of expiries ---- */

static void state_heap_put(struct state_db *d, size_t i, struct object *o)
{
    d->expiries[i] = o;
    o->expiry_slot = (uint32_t)i;
}

static void state_heap_up(struct state_db *d, size_t i, struct object *o)
{
    while (i > 0 && d->expiries[(i - 1) / 2]->expiry_ms > o->expiry_ms) {
        state_heap_put(d, i, d->expiries[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    state_heap_put(d, i, o);
}

static void state_heap_down(struct state_db *d, size_t i, struct object *o)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child + 1 < d->n_expiries &&
            d->expiries[child + 1]->expiry_ms < d->expiries[child]->expiry_ms)
            child++;
        if (child >= d->n_expiries || d->expiries[child]->expiry_ms >= o->expiry_ms)
            break;
        state_heap_put(d, i, d->expiries[child]);
        i = child;
    }
    state_heap_put(d, i, o);
}

static void state_heap_remove(struct state_db *d, struct object *o)
{
    size_t i = o->expiry_slot;
    struct object *last;

    if (i == UINT32_MAX)
        return;
    o->expiry_slot = UINT32_MAX;
    last = d->expiries[--d->n_expiries];
    if (last == o)
        return;
    state_heap_down(d, i, last);
    state_heap_up(d, last->expiry_slot, last);
}

static void state_heap_add(struct state_db *d, struct object *o)
{
    assert(d->n_expiries < d->cap_expiries);
    state_heap_up(d, d->n_expiries++, o);
}

static int state_heap_reserve(struct state_db *d, struct err *e)
{
    size_t cap = d->cap_expiries == 0 ? STATE_HEAP_FIRST : d->cap_expiries * 2;
    struct object **heap;

    if (d->n_expiries < d->cap_expiries)
        return OK;
    if (cap > UINT32_MAX)
        return err_set(e, ERR_NOMEM, "keep the expiries of %zu keys", cap);
    heap = realloc(d->expiries, cap * sizeof *heap);
    if (heap == NULL)
        return err_set(e, ERR_NOMEM, "keep the expiries of %zu keys", cap);
    d->expiries = heap;
    d->cap_expiries = cap;
    return OK;
}

/* ---- effects ---- */

static void state_before(struct state *s, struct object *o, enum digest_change change)
{
    if (s->digest != NULL && o->oid != 0)    /* it has been added */
        digest_before(s->digest, o, change); /* S5 */
}

int state_reserve_stream(struct state *s, struct slice name, struct stream **out, struct err *e)
{
    struct stream *st = malloc(sizeof *st + name.n);

    (void)s;
    if (st == NULL)
        return err_set(e, ERR_NOMEM, "make a stream");
    memset(st, 0, sizeof *st);
    if (name.n > 0)
        memcpy(st + 1, name.p, name.n);
    st->object.name = slice_of(st + 1, name.n);
    st->object.expiry_slot = UINT32_MAX;
    st->object.type = OBJECT_STREAM;
    st->object.slot = state_slot(name);
    *out = st;
    return OK;
}

void state_discard_stream(struct stream *st)
{
    state_free_object(&st->object);
}

void state_add_stream(struct state *s, struct stream *st, uint64_t lsn, int db)
{
    struct object *o = &st->object;

    o->oid = lsn;
    o->rev = lsn;
    o->db = (uint8_t)db;
    o->generation = s->dbs[db].generation;
    /* That it is new tells that a former object of the name is gone. */
    if (o->always_lsn < s->last_always_unbind)
        o->always_lsn = s->last_always_unbind;
    if (s->digest != NULL)
        digest_skip(s->digest, o);
    dict_add(&s->dbs[db].names, &o->node, o->name);
    dict_add(&s->oids, &o->oid_node, state_oid_key(&o->oid_node));
    s->n_objects++;
}

void state_add_entry(struct state *s, struct stream *st, struct id id, const uint8_t *entry,
                     size_t len, uint64_t lsn)
{
    assert(id_cmp(id, st->last_id) > 0); /* S4 */
    state_before(s, &st->object, DIGEST_HEADER);
    if (entry != NULL)
        stream_index_append(st->tail, entry);
    else
        st->sealed_last = id;
    st->last_id = id;
    st->entries_added++;
    st->n_entries++;
    st->bytes += len;
    if (stream_groups(st) != NULL)
        groups_entry_added(st->more->groups, id, lsn); /* S7 */
}

/* ---- changes ---- */

int state_prepare_changes(struct state *s, size_t n, struct err *e)
{
    return stream_index_reserve(&s->tails, &s->changes, n, e);
}

void state_add_change(struct state *s, struct id id, const uint8_t *entry)
{
    assert(id_cmp(id, s->changes_last) > 0);
    if (entry != NULL)
        stream_index_append(s->changes, entry);
    else
        s->changes_sealed_last = id;
    s->changes_last = id;
}

const uint8_t *state_find_change(const struct state *s, uint64_t lsn)
{
    const uint8_t *entry = stream_index_at(s->changes, stream_index_seek_seq(s->changes, lsn));
    struct id id;

    if (entry == NULL)
        return NULL;
    entry_id(entry, &id);
    return id.seq == lsn ? entry : NULL;
}

/* What is in memory only never gets into a segment, or is found there when all of it is looked for. */
static void state_note_change_garbage(struct state *s, uint64_t n, uint64_t bytes)
{
    s->garbage.n += n;
    s->garbage.bytes += bytes;
}

void state_end_change(struct state *s, uint64_t lsn, uint64_t bytes)
{
    if (liveset_remove(&s->live, lsn) && lsn < s->changes_floor.seq)
        state_note_change_garbage(s, 1, bytes);
}

void state_set_changes_floor(struct state *s, struct id floor, uint64_t bytes)
{
    if (floor.seq <= s->changes_floor.seq)
        return;
    s->changes_floor = floor;
    state_note_change_garbage(s, 1, bytes);
}

static void state_changes_sealed(struct state *s, struct id last)
{
    struct id first = last;

    if (id_cmp(last, s->changes_sealed_last) > 0)
        s->changes_sealed_last = last;
    if (id_next(&first))
        stream_index_trim(s->changes, first);
    if (stream_index_n(s->changes) == 0) {
        stream_index_free(s->changes);
        s->changes = NULL;
    }
}

/* ---- addresses ---- */

/* A tail that has become empty is no tail. */
static void stream_drop_empty_tail(struct stream *st)
{
    if (stream_index_n(st->tail) > 0)
        return;
    stream_index_free(st->tail);
    st->tail = NULL;
}

void state_forget_entry(struct stream *st, struct id id)
{
    if (stream_index_delete(st->tail, id))
        stream_drop_empty_tail(st);
}

void state_forget_below(struct stream *st, struct id first, bool all)
{
    if (all) {
        stream_index_free(st->tail);
        st->tail = NULL;
    } else if (stream_index_trim(st->tail, first) > 0) {
        stream_drop_empty_tail(st);
    }
}

void state_sealed(struct state *s, uint64_t oid, struct id last)
{
    struct dict_node *node = dict_find(&s->oids, slice_of(&oid, sizeof oid));
    struct stream *st = node == NULL ? NULL : (struct stream *)state_of_oid_node(node);
    struct id first = last;

    if (oid == LOG_CHANGES_OID)
        state_changes_sealed(s, last);
    if (st == NULL || st->object.type != OBJECT_STREAM)
        return;
    state_before(s, &st->object, DIGEST_REMOVE);
    if (id_cmp(last, st->sealed_last) > 0)
        st->sealed_last = last;
    state_forget_below(st, first, !id_next(&first));
}

void state_folded(struct stream *st, const struct delset *folded, struct id from, struct id to)
{
    if (stream_deletes(st) != NULL)
        delset_subtract(&st->more->deletes, folded, from, to);
}

/* ---- effects: removing entries ---- */

/* A digest hears of it here: it keeps the deleted IDs as they are, and room for more is in a set that nobody else has. */
int state_prepare_remove(struct state *s, struct stream *st, size_t n, struct err *e)
{
    int rc = stream_need_more(st, e);

    state_before(s, &st->object, DIGEST_REMOVE);
    if (id_cmp(st->last_id, ID_MAX) == 0)
        n++; /* nothing is above it: a floor cannot say that it is gone */
    if (rc == OK && n > 0)
        rc = delset_reserve(&st->more->deletes, n, e);
    return rc;
}

static void stream_raise_floor(struct stream *st, struct id floor)
{
    if (id_cmp(floor, st->more->floor) > 0)
        st->more->floor = floor;
}

/* n_sealed of the entries that are gone are in segments: their bytes are the mean. */
static void state_note_garbage(struct state *s, uint64_t n_sealed, struct state_left gone)
{
    s->garbage.n += n_sealed;
    s->garbage.bytes += gone.n > n_sealed ? gone.bytes / gone.n * n_sealed : gone.bytes;
}

/* All entries are gone: what is known of single ones need not be kept. */
static void stream_floor_behind_all(struct stream *st)
{
    struct id floor = st->last_id;

    if (!id_next(&floor))
        delset_add(&st->more->deletes, floor);
    stream_raise_floor(st, floor);
}

/* n_sealed: how many lived in segments only before. */
static void state_set_left(struct state *s, struct stream *st, uint64_t n_sealed,
                           struct state_left left)
{
    struct state_left gone = { st->n_entries - left.n, st->bytes - left.bytes };

    stream_drop_empty_tail(st);
    st->n_entries = left.n;
    st->bytes = left.bytes;
    if (stream_n_sealed(st) < n_sealed)
        state_note_garbage(s, n_sealed - stream_n_sealed(st), gone);
    if (left.n == 0) {
        stream_floor_behind_all(st);
        st->added_when_empty = st->entries_added;
    }
    delset_cut(&st->more->deletes, st->more->floor);
}

static struct id stream_tail_first(const struct stream *st)
{
    const uint8_t *entry = stream_index_at(st->tail, stream_index_begin(st->tail));
    struct id id = ID_MAX;

    if (entry != NULL)
        entry_id(entry, &id);
    return id;
}

/* One entry is gone. Whether it lies in a segment, now or soon, is not known: so its ID is kept, unless everything
 * up to it is gone, which is so for the first one where none lives in segments only. */
static void stream_remove(struct stream *st, bool none_sealed, struct id id)
{
    bool first = none_sealed && id_cmp(id, stream_tail_first(st)) == 0;
    struct id floor = id;

    stream_index_delete(st->tail, id);
    if (first && id_next(&floor))
        stream_raise_floor(st, floor);
    else
        delset_add(&st->more->deletes, id);
}

void state_sift(struct state *s, struct stream *st, const struct id *ids, size_t n,
                struct state_left left, uint64_t lsn)
{
    uint64_t n_sealed = stream_n_sealed(st);

    state_before(s, &st->object, DIGEST_REMOVE);
    for (size_t i = 0; i < n; i++)
        stream_remove(st, n_sealed == 0, ids[i]);
    assert(left.n >= stream_index_n(st->tail));
    groups_entries_removed(st->more->groups, ids, n, lsn); /* S7 */
    state_set_left(s, st, n_sealed, left);
}

void state_remove(struct state *s, struct stream *st, const struct id *ids, size_t n,
                  struct state_left left, uint64_t lsn)
{
    state_sift(s, st, ids, n, left, lsn);
    if (n > 0 && id_cmp(ids[n - 1], st->more->max_deleted) > 0)
        st->more->max_deleted = ids[n - 1];
}

void state_cut(struct state *s, struct stream *st, struct id first, struct state_left left,
               uint64_t lsn)
{
    uint64_t n_sealed = stream_n_sealed(st);

    state_before(s, &st->object, DIGEST_REMOVE);
    state_forget_below(st, first, left.n == 0);
    if (left.n > 0)
        stream_raise_floor(st, first);
    assert(left.n >= stream_index_n(st->tail));
    groups_entries_cut(st->more->groups, first, st->n_entries - left.n, left.n == 0, lsn); /* S7 */
    state_set_left(s, st, n_sealed, left);
}

/* ---- effects: headers ---- */

bool state_may_set_id(const struct stream *st, struct id last)
{
    return st->n_entries == 0 || !id_next(&last) || !delset_next(stream_deletes(st), &last);
}

bool state_begins_anew(const struct stream *st, struct id last)
{
    return st->n_entries == 0 && id_cmp(last, st->last_id) < 0;
}

/* The stream as one that was created by the record `lsn`. */
static void state_begin_anew(struct state *s, struct stream *st, uint64_t lsn)
{
    struct object *o = &st->object;

    if (s->digest != NULL)
        digest_found(s->digest, o);
    dict_remove(&s->oids, &o->oid_node);
    o->oid = lsn;
    st->due_s = 0;
    o->rev = lsn;
    if (s->save != NULL)
        save_found(s->save, lsn);
    dict_add(&s->oids, &o->oid_node, state_oid_key(&o->oid_node));
    st->sealed_last = ID_MIN;
    st->more->floor = ID_MIN;
    delset_unref(st->more->deletes);
    st->more->deletes = NULL;
    groups_begin_anew(st->more->groups, lsn);
}

/* No group has read more entries than were added. */
static void state_clamp_groups(struct stream *st, uint64_t added, uint64_t lsn)
{
    for (size_t i = 0; i < groups_n(stream_groups(st)); i++) {
        struct group *g = groups_at(stream_groups(st), i);
        if (g->as_of < lsn && g->entries_read > 0 && (uint64_t)g->entries_read > added)
            g->entries_read = (int64_t)added;
    }
}

void state_set_id(struct state *s, struct stream *st, struct id last, uint64_t added,
                  struct id max_deleted, uint64_t lsn)
{
    state_before(s, &st->object, DIGEST_HEADER);
    if (state_begins_anew(st, last))
        state_begin_anew(s, st, lsn);
    st->last_id = last;
    st->added_when_empty += added - st->entries_added;
    st->entries_added = added;
    st->more->max_deleted = max_deleted;
    state_clamp_groups(st, added, lsn);
}

/* ---- effects: groups ---- */

int state_prepare_groups(struct state *s, struct stream *st, struct err *e)
{
    int rc = stream_need_more(st, e);

    if (rc == OK && st->more->groups == NULL)
        rc = groups_new(s->hash_key, &st->more->groups, e);
    s->has_groups |= rc == OK;
    return rc;
}

void state_before_groups(struct state *s, struct stream *st)
{
    state_before(s, &st->object, DIGEST_HEADER);
}

void state_drop_group(struct state *s, struct group *g)
{
    g->next = s->dropped_groups;
    s->dropped_groups = g;
}

int state_prepare_idmp_config(struct stream *st, struct err *e)
{
    int rc = stream_need_more(st, e);
    void *p;

    if (rc != OK)
        return rc;
    p = st->more->idmp;
    rc = stream_need(&p, sizeof *st->more->idmp, e);
    st->more->idmp = p;
    return rc;
}

void state_set_idmp(struct state *s, struct stream *st, uint32_t duration_s, uint32_t maxsize)
{
    state_before(s, &st->object, DIGEST_HEADER);
    idmp_configure(st->more->idmp, duration_s, maxsize);
}

int state_prepare_idmp(struct state *s, struct stream *st, struct slice producer, struct slice iid,
                       uint64_t now_ms, struct idmp_item **out, struct err *e)
{
    int rc = state_prepare_idmp_config(st, e);

    if (rc != OK)
        return rc;
    state_before(s, &st->object, DIGEST_HEADER);
    return idmp_prepare(st->more->idmp, s->hash_key, producer, iid, now_ms, out, e);
}

void state_count_duplicate(struct stream *st)
{
    st->more->idmp->iids_duplicates++; /* what knows the ID has both */
}

const char *state_setting_error(uint64_t tag, uint64_t value)
{
    if (tag == 0 || tag >= SETTING_COUNT)
        return "there is no such setting";
    if (tag == SETTING_CODEC && value >> 8 > LOG_CODEC_ZSTD)
        return "there is no such codec";
    if (tag == SETTING_DURABILITY && value > LOG_ALWAYS)
        return "there is no such class of durability";
    if (tag == SETTING_RETENTION_ACKED && value > 1)
        return "it is neither yes nor no";
    return NULL;
}

int state_prepare_configure(struct stream *st, struct err *e)
{
    int rc = stream_need_more(st, e);
    void *p;

    if (rc != OK)
        return rc;
    p = st->more->settings;
    rc = stream_need(&p, sizeof *st->more->settings, e);
    st->more->settings = p;
    return rc;
}

void state_configure(struct state *s, struct stream *st, uint32_t which,
                     const struct stream_settings *x)
{
    struct stream_settings *to = st->more->settings;

    state_before(s, &st->object, DIGEST_HEADER);
    for (int tag = 1; tag < SETTING_COUNT; tag++)
        if (which >> tag & 1)
            to->values[tag] = x->set >> tag & 1 ? x->values[tag] : 0;
    to->set = (to->set & ~which) | (x->set & which);
    if (to->set >> SETTING_DURABILITY & 1 && to->values[SETTING_DURABILITY] == LOG_ALWAYS)
        s->own_always = true;
}

/* ---- effects: names ---- */

bool state_has_name(const struct state *s, const struct object *o)
{
    return state_find(s, o->db, o->name) == o;
}

void state_take_name(struct state *s, struct object *o)
{
    struct state_db *d = &s->dbs[o->db];

    assert(o->generation == d->generation); /* S1 */
    dict_remove(&d->names, &o->node);
    state_heap_remove(d, o);
    s->n_objects--;
}

void state_drop(struct state *s, struct object *o)
{
    state_before(s, o, DIGEST_REMOVE); /* from now on nobody tells it that addresses end */
    dict_remove(&s->oids, &o->oid_node);
    state_push(&s->dropped, o);
}

void state_unbind(struct state *s, struct object *o)
{
    state_take_name(s, o);
    state_drop(s, o);
}

void state_add_nameless(struct state *s, struct object *o)
{
    o->generation = s->dbs[o->db].generation;
    dict_add(&s->oids, &o->oid_node, state_oid_key(&o->oid_node));
}

static int state_copy_name(struct slice name, struct slice *out, struct err *e)
{
    uint8_t *copy = malloc(name.n > 0 ? name.n : 1);

    if (copy == NULL)
        return err_set(e, ERR_NOMEM, "copy a name of %zu bytes", name.n);
    if (name.n > 0)
        memcpy(copy, name.p, name.n);
    *out = slice_of(copy, name.n);
    return OK;
}

/* Takes o out of its names' dictionary, if it is in one; its name is (db, own_name) then, of memory that becomes o's. */
static void state_rename(struct state *s, struct object *o, int db, struct slice own_name)
{
    if (state_has_name(s, o))
        state_take_name(s, o);
    if (own_name.p != o->name.p)
        state_free_name(o);
    o->name = own_name;
    o->slot = state_slot(own_name);
    o->db = (uint8_t)db;
    o->generation = s->dbs[db].generation;
}

static void state_give_name(struct state *s, struct object *o)
{
    struct object *other = state_find(s, o->db, o->name);

    if (other != NULL)
        state_unbind(s, other);
    dict_add(&s->dbs[o->db].names, &o->node, o->name);
    s->n_objects++;
}

/* The name in memory that o may have: its own, or a copy. */
static int state_own_name(const struct object *o, struct slice name, struct slice *out,
                          struct err *e)
{
    *out = o->name;
    return slice_equal(name, o->name) ? OK : state_copy_name(name, out, e);
}

int state_bind(struct state *s, struct object *o, int db, struct slice name, uint64_t expiry_ms,
               uint64_t lsn, struct err *e)
{
    struct state_db *d = &s->dbs[db];
    struct slice own_name = { 0 };
    int rc = OK;

    if (expiry_ms != 0)
        rc = state_heap_reserve(d, e);
    if (rc == OK)
        rc = state_own_name(o, name, &own_name, e);
    if (rc != OK)
        return rc;
    state_before(s, o, DIGEST_HEADER);
    if (db != o->db || own_name.p != o->name.p || !state_has_name(s, o)) {
        state_rename(s, o, db, own_name);
        state_give_name(s, o);
    }
    state_heap_remove(d, o);
    o->expiry_ms = expiry_ms;
    if (expiry_ms != 0)
        state_heap_add(d, o);
    o->rev = lsn;
    return OK;
}

int state_claim(struct state *s, struct object *o, int db, struct slice name, uint64_t expiry_ms,
                uint64_t lsn, struct err *e)
{
    struct slice own_name;
    int rc = state_own_name(o, name, &own_name, e);

    if (rc != OK)
        return rc;
    state_rename(s, o, db, own_name);
    o->expiry_ms = expiry_ms;
    o->rev = lsn;
    return OK;
}

/* Without memory for a grave the names go one by one. */
static void state_unbind_node(void *ctx, struct dict_node *node)
{
    state_unbind(ctx, state_of_node(node));
}

static void state_flush_one(struct state *s, struct state_db *d)
{
    struct state_grave *grave;
    uint64_t cursor = 0;

    if (d->names.n == 0)
        return;
    grave = malloc(sizeof *grave);
    if (grave == NULL) {
        do
            cursor = dict_scan(&d->names, cursor, state_unbind_node, s);
        while (cursor != 0);
        return;
    }
    s->n_objects -= d->names.n;
    dict_take(&grave->names, &d->names);
    grave->cursor = 0;
    grave->next = s->graves;
    s->graves = grave;
    d->n_expiries = 0;
    d->generation++;
}

void state_flush(struct state *s, int db)
{
    for (int i = 0; i < CONFIG_DATABASES; i++)
        if (db < 0 || i == db)
            state_flush_one(s, &s->dbs[i]);
}

/* ---- giving memory back ---- */

/* Frees about `budget` entries' worth of the object; true when all of it is gone. */
static bool state_reap_object(struct state *s, struct object *o, size_t *budget)
{
    struct stream *st = (struct stream *)o;
    uint64_t n = stream_index_n(st->tail);

    if (stream_groups(st) != NULL) {
        if (!groups_free_some(st->more->groups, budget))
            return false;
        st->more->groups = NULL;
    }
    if (n > *budget) {
        n = *budget;
        stream_index_drop(st->tail, n); /* its entries may have lost their addresses */
        st->bytes -= st->bytes / st->n_entries * n;
        st->n_entries -= n;
        *budget = 0;
        return false;
    }
    *budget -= (size_t)n;
    if (stream_n_sealed(st) > 0)
        state_note_garbage(s, stream_n_sealed(st), (struct state_left){ st->n_entries, st->bytes });
    if (*budget > 0)
        --*budget;
    state_free_object(o);
    return true;
}

static void state_exhume(void *ctx, struct dict_node *node)
{
    struct state *s = ctx;
    struct object *o = state_of_node(node);

    dict_remove(&s->graves->names, node);
    dict_remove(&s->oids, &o->oid_node);
    state_push(&s->dropped, o);
}

/* Takes the objects of one bucket out of the first grave. */
static void state_dig(struct state *s)
{
    struct state_grave *grave = s->graves;

    grave->cursor = dict_scan(&grave->names, grave->cursor, state_exhume, s);
    if (grave->names.n > 0)
        return;
    s->graves = grave->next;
    dict_fini(&grave->names);
    free(grave);
}

/* Frees some of the first dropped group. */
static void state_reap_group(struct state *s, size_t budget)
{
    struct group *next = s->dropped_groups->next;

    if (group_free_some(s->dropped_groups, budget))
        s->dropped_groups = next;
}

bool state_has_garbage(const struct state *s)
{
    return s->dropped != NULL || s->graves != NULL || s->dropped_groups != NULL;
}

bool state_reap(struct state *s, size_t budget)
{
    if (s->digest != NULL)
        return false; /* it may still have to look at them */
    if (s->dropped_groups != NULL) {
        state_reap_group(s, budget);
        return state_has_garbage(s);
    }
    while (budget > 0 && (s->dropped != NULL || s->graves != NULL)) {
        struct object *o = s->dropped;
        if (o == NULL) {
            state_dig(s);
            budget--;
            continue;
        }
        struct object *next = state_of_node(o->node.next);
        if (state_reap_object(s, o, &budget))
            s->dropped = next;
    }
    return state_has_garbage(s);
}

/* ---- looking at everything ---- */

struct id state_tail_last(const struct stream *st)
{
    struct stream_pos pos = stream_index_end(st->tail);
    struct id id = ID_MIN;

    if (stream_index_prev(st->tail, &pos))
        entry_id(stream_index_at(st->tail, pos), &id);
    return id;
}

/* S7, as far as it can be told without reading what is sealed. */
static const char *state_check_group(const struct stream *st, const struct group *g)
{
    struct stream_pos begin = stream_index_begin(st->tail), end = stream_index_end(st->tail);
    struct id above = g->last_id;
    uint64_t in_tail;

    if (id_next(&above))
        end = stream_index_seek(st->tail, above);
    in_tail = stream_index_between(st->tail, begin, end);
    if (g->n_behind < in_tail || g->n_behind - in_tail > stream_n_sealed(st))
        return "S7: n_behind of a group cannot be";
    if ((in_tail > 0 || id_cmp(g->last_id, st->last_id) >= 0) &&
        g->n_behind - in_tail != stream_n_sealed(st))
        return "S7: what is sealed is behind a group, and not in its n_behind";
    return NULL;
}

static const char *state_check_groups(const struct stream *st)
{
    const struct groups *gs = stream_groups(st);
    const char *broken = gs == NULL ? NULL : groups_check(gs);

    for (size_t i = 0; i < groups_n(gs) && broken == NULL; i++)
        broken = state_check_group(st, groups_at(gs, i));
    return broken;
}

static const char *state_check_object(const struct state *s, const struct object *o, int db)
{
    const struct stream *st = (const struct stream *)o;
    const struct state_db *d = &s->dbs[db];
    const char *broken;

    if (o->db != db || o->generation != d->generation || state_find_oid(s, o->oid) != o)
        return "S1: an object is not where its name is";
    if (o->slot != state_slot(o->name))
        return "an object's slot is not its name's";
    if ((o->expiry_ms != 0) != (o->expiry_slot != UINT32_MAX))
        return "S2: an expiry without a place in the heap, or a place without one";
    if (o->expiry_ms != 0 && (o->expiry_slot >= d->n_expiries || d->expiries[o->expiry_slot] != o))
        return "S2: another object is in the heap's place";
    if (id_cmp(state_tail_last(st), st->last_id) > 0)
        return "S4: an entry above the last ID";
    if (stream_index_n(st->tail) > st->n_entries)
        return "S6: more entries in the tail than live";
    if (stream_index_n(st->tail) > 0 && id_cmp(stream_tail_first(st), stream_floor(st)) < 0)
        return "S6: an entry below the floor";
    broken = state_check_groups(st);
    return broken != NULL ? broken : stream_index_check(st->tail);
}

struct state_checked {
    const struct state *s;
    int db;
    size_t n;
    const char *broken;
};

static void state_check_node(void *ctx, struct dict_node *node)
{
    struct state_checked *checked = ctx;

    if (checked->broken == NULL)
        checked->broken = state_check_object(checked->s, state_of_node(node), checked->db);
    checked->n++;
}

const char *state_check(const struct state *s)
{
    struct state_checked checked = { .s = s, .broken = dict_check(&s->oids) };

    for (; checked.db < CONFIG_DATABASES && checked.broken == NULL; checked.db++) {
        struct state_db *d = (struct state_db *)(uintptr_t)&s->dbs[checked.db];
        uint64_t cursor = 0;
        checked.broken = dict_check(&d->names);
        for (size_t i = 1; i < d->n_expiries && checked.broken == NULL; i++)
            if (d->expiries[(i - 1) / 2]->expiry_ms > d->expiries[i]->expiry_ms)
                checked.broken = "S2: a parent in the heap is later than its child";
        do
            cursor = dict_scan(&d->names, cursor, state_check_node, &checked);
        while (cursor != 0);
    }
    if (checked.broken == NULL && checked.n != s->n_objects)
        checked.broken = "S3: n_objects is not the number of objects";
    return checked.broken;
}
