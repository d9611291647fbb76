/*
 * state.c - what the log says: which names there are, and what they name.
 *
 * Everything here is an effect: a record's type chooses a function, its body gives the arguments. A
 * command and a replay call the same functions with the same arguments, so they come to the same state; that
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
 *   S6  A stream's tail has entries, or is NULL.
 *   S7  What the tail has lives: n_entries is no less.
 *   S8  Nothing in the tail is below the floor or among the deleted.
 */
#include "broker/engine/state.h"
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include "broker/engine/digest.h"
#include "broker/engine/idmp.h"
#include "log/bytes.h"
#include "log/entry.h"
#include "log/record.h"

enum {
    STATE_HEAP_FIRST = 16,
    STATE_REPLAY_REAP = 64, /* freed after each record of a replay */
};

static struct object *state_of_node(const struct dict_node *node)
{
    return (struct object *)(uintptr_t)node; /* node is its first member */
}

static struct object *state_of_oid_node(const struct dict_node *node)
{
    return (struct object *)((uintptr_t)node - offsetof(struct object, oid_node));
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

/* Takes every object out of a dict, into the list of those to be freed. */
static void state_collect(void *ctx, struct dict_node *node)
{
    state_push(ctx, state_of_node(node));
}

static void state_collect_all(struct dict *names, struct object **list)
{
    uint64_t cursor = 0;

    do
        cursor = dict_scan(names, cursor, state_collect, list);
    while (cursor != 0);
    dict_fini(names);
}

void state_fini(struct state *s)
{
    struct object *list = s->dropped;

    for (int db = 0; db < CONFIG_DATABASES; db++) {
        state_collect_all(&s->dbs[db].names, &list);
        free(s->dbs[db].expiries);
    }
    while (s->graves != NULL) {
        struct state_grave *grave = s->graves;
        s->graves = grave->next;
        state_collect_all(&grave->names, &list);
        free(grave);
    }
    while (list != NULL) {
        struct object *o = list;
        list = state_of_node(o->node.next);
        state_free_object(o);
    }
    dict_fini(&s->oids);
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
    if (s->digest != NULL)
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
                     size_t len)
{
    assert(id_cmp(id, st->last_id) > 0); /* S4 */
    state_before(s, &st->object, DIGEST_HEADER);
    stream_index_append(st->tail, entry);
    st->last_id = id;
    st->entries_added++;
    st->n_entries++;
    st->bytes += len;
}

/* ---- effects: removing entries ---- */

int state_prepare_remove(struct stream *st, size_t n, struct err *e)
{
    int rc = stream_need_more(st, e);

    if (id_cmp(st->last_id, ID_MAX) == 0)
        n++; /* nothing is above it: a floor cannot say that it is gone */
    if (rc == OK && n > 0)
        rc = delset_reserve(&st->more->deletes, n, e);
    return rc;
}

/* A tail that has become empty is no tail (S6). */
static void stream_drop_empty_tail(struct stream *st)
{
    if (stream_index_n(st->tail) > 0)
        return;
    stream_index_free(st->tail);
    st->tail = NULL;
}

static void stream_raise_floor(struct stream *st, struct id floor)
{
    if (id_cmp(floor, st->more->floor) > 0)
        st->more->floor = floor;
}

/* All entries are gone: what is known of single ones need not be kept. */
static void stream_floor_behind_all(struct stream *st)
{
    struct id floor = st->last_id;

    if (!id_next(&floor))
        delset_add(&st->more->deletes, floor);
    stream_raise_floor(st, floor);
}

static void stream_set_left(struct stream *st, struct state_left left)
{
    stream_drop_empty_tail(st);
    st->n_entries = left.n;
    st->bytes = left.bytes;
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
 * up to it is gone. */
static void stream_remove(struct stream *st, struct id id)
{
    bool first = stream_n_sealed(st) == 0 && id_cmp(id, stream_tail_first(st)) == 0;
    struct id floor = id;

    stream_index_delete(st->tail, id);
    st->n_entries -= st->n_entries > 0;
    if (first && id_next(&floor))
        stream_raise_floor(st, floor);
    else
        delset_add(&st->more->deletes, id);
    if (id_cmp(id, st->more->max_deleted) > 0)
        st->more->max_deleted = id;
}

void state_remove(struct state *s, struct stream *st, const struct id *ids, size_t n,
                  struct state_left left)
{
    state_before(s, &st->object, DIGEST_REMOVE);
    for (size_t i = 0; i < n; i++)
        stream_remove(st, ids[i]);
    assert(left.n >= stream_index_n(st->tail));
    stream_set_left(st, left);
}

void state_cut(struct state *s, struct stream *st, struct id first, struct state_left left)
{
    state_before(s, &st->object, DIGEST_REMOVE);
    if (left.n == 0) {
        stream_index_free(st->tail);
        st->tail = NULL;
    } else {
        if (st->tail != NULL)
            stream_index_trim(st->tail, first);
        stream_raise_floor(st, first);
    }
    assert(left.n >= stream_index_n(st->tail));
    stream_set_left(st, left);
}

/* ---- effects: headers ---- */

bool state_may_set_id(const struct stream *st, struct id last)
{
    return st->n_entries == 0 || !id_next(&last) || !delset_next(stream_deletes(st), &last);
}

/* The stream as one that was created by the record `lsn`. */
static void state_begin_anew(struct state *s, struct stream *st, uint64_t lsn)
{
    struct object *o = &st->object;

    dict_remove(&s->oids, &o->oid_node);
    o->oid = lsn;
    st->due_s = 0;
    o->rev = lsn;
    dict_add(&s->oids, &o->oid_node, state_oid_key(&o->oid_node));
    st->sealed_last = ID_MIN;
    st->more->floor = ID_MIN;
    delset_unref(st->more->deletes);
    st->more->deletes = NULL;
}

void state_set_id(struct state *s, struct stream *st, struct id last, uint64_t added,
                  struct id max_deleted, uint64_t lsn)
{
    state_before(s, &st->object, DIGEST_HEADER);
    if (st->n_entries == 0 && id_cmp(last, st->last_id) < 0)
        state_begin_anew(s, st, lsn);
    st->last_id = last;
    st->added_when_empty += added - st->entries_added;
    st->entries_added = added;
    st->more->max_deleted = max_deleted;
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

/* The part of a removal that an object in a dictionary needs; it stays in memory, without a name. */
static void state_take_out(struct state *s, struct object *o)
{
    struct state_db *d = &s->dbs[o->db];

    assert(o->generation == d->generation); /* S1 */
    dict_remove(&d->names, &o->node);
    state_heap_remove(d, o);
    s->n_objects--;
}

void state_unbind(struct state *s, struct object *o)
{
    state_take_out(s, o);
    dict_remove(&s->oids, &o->oid_node);
    state_push(&s->dropped, o);
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

/* Moves o to another name, of memory that becomes o's. */
static void state_rename(struct state *s, struct object *o, int db, struct slice own_name)
{
    struct object *other = state_find(s, db, own_name);

    if (other != NULL)
        state_unbind(s, other);
    state_take_out(s, o);
    state_free_name(o);
    o->name = own_name;
    o->slot = state_slot(own_name);
    o->db = (uint8_t)db;
    o->generation = s->dbs[db].generation;
    dict_add(&s->dbs[db].names, &o->node, own_name);
    s->n_objects++;
}

int state_bind(struct state *s, struct object *o, int db, struct slice name, uint64_t expiry_ms,
               uint64_t lsn, struct err *e)
{
    struct state_db *d = &s->dbs[db];
    bool renamed = db != o->db || !slice_equal(name, o->name);
    struct slice own_name = { 0 };
    int rc = OK;

    if (expiry_ms != 0)
        rc = state_heap_reserve(d, e);
    if (rc == OK && renamed)
        rc = state_copy_name(name, &own_name, e);
    if (rc != OK)
        return rc;
    state_before(s, o, DIGEST_HEADER);
    if (renamed)
        state_rename(s, o, db, own_name);
    state_heap_remove(d, o);
    o->expiry_ms = expiry_ms;
    if (expiry_ms != 0)
        state_heap_add(d, o);
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
static bool state_reap_object(struct object *o, size_t *budget)
{
    struct stream *st = (struct stream *)o;
    uint64_t n = stream_index_n(st->tail);

    if (n > *budget) {
        struct id id;
        entry_id(stream_index_at(st->tail, stream_index_nth(st->tail, *budget)), &id);
        stream_index_trim(st->tail, id);
        *budget = 0;
        return false;
    }
    *budget -= (size_t)n;
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

bool state_reap(struct state *s, size_t budget)
{
    if (s->digest != NULL)
        return false; /* it may still have to look at them */
    while (budget > 0 && (s->dropped != NULL || s->graves != NULL)) {
        struct object *o = s->dropped;
        if (o == NULL) {
            state_dig(s);
            budget--;
            continue;
        }
        struct object *next = state_of_node(o->node.next);
        if (state_reap_object(o, &budget))
            s->dropped = next;
    }
    return s->dropped != NULL || s->graves != NULL;
}

/* ---- records ---- */

/* What is left of a record's body, and where to complain. */
struct state_reader {
    const struct log_record *r;
    const uint8_t *p, *end;
    struct err *e;
};

static int state_corrupt(const struct state_reader *in, const char *what)
{
    return err_set(in->e, ERR_CORRUPT, "record %" PRIu64 " of type %u: %s", in->r->lsn, in->r->type,
                   what);
}

static int state_read_u64(struct state_reader *in, uint64_t *out)
{
    return varint_get(&in->p, in->end, out) ? OK : state_corrupt(in, "a number is cut short");
}

static int state_read_id(struct state_reader *in, struct id *out)
{
    return id_get(&in->p, in->end, out) ? OK : state_corrupt(in, "an ID is cut short");
}

static int state_read_str(struct state_reader *in, struct slice *out)
{
    return slice_get(&in->p, in->end, out) ? OK : state_corrupt(in, "a string is cut short");
}

static int state_read_end(const struct state_reader *in)
{
    return in->p == in->end ? OK : state_corrupt(in, "bytes are left over");
}

static int state_read_u32(struct state_reader *in, uint32_t *out)
{
    uint64_t v;
    int rc = state_read_u64(in, &v);

    if (rc == OK && v > UINT32_MAX)
        rc = state_corrupt(in, "a number is too large");
    if (rc == OK)
        *out = (uint32_t)v;
    return rc;
}

/* db and str key, as four types begin. */
static int state_read_key(struct state_reader *in, int *db, struct slice *key)
{
    uint64_t v;
    int rc = state_read_u64(in, &v);

    if (rc == OK && v >= CONFIG_DATABASES)
        rc = state_corrupt(in, "there is no such database");
    if (rc == OK)
        rc = state_read_str(in, key);
    if (rc == OK)
        *db = (int)v;
    return rc;
}

static int state_read_object(const struct state *s, struct state_reader *in, struct object **out)
{
    uint64_t oid;
    int rc = state_read_u64(in, &oid);

    if (rc != OK)
        return rc;
    *out = state_find_oid(s, oid);
    return *out != NULL ? OK : state_corrupt(in, "there is no such object");
}

static int state_read_stream(const struct state *s, struct state_reader *in, struct stream **out)
{
    struct object *o;
    int rc = state_read_object(s, in, &o);

    if (rc != OK)
        return rc;
    if (o->type != OBJECT_STREAM)
        return state_corrupt(in, "the object is no stream");
    *out = (struct stream *)o;
    return OK;
}

static int state_apply_stream(struct state *s, struct state_reader *in)
{
    struct slice key = { 0 };
    struct stream *st;
    int db = 0;
    int rc = state_read_key(in, &db, &key);

    if (rc == OK)
        rc = state_read_end(in);
    if (rc != OK)
        return rc;
    if (state_find(s, db, key) != NULL)
        return state_corrupt(in, "the name is bound already");
    if (dict_find(&s->oids, slice_of(&in->r->lsn, sizeof in->r->lsn)) != NULL)
        return state_corrupt(in, "the object is there already");
    rc = state_reserve_stream(s, key, &st, in->e);
    if (rc == OK)
        state_add_stream(s, st, in->r->lsn, db);
    return rc;
}

/* The entry that the rest of the body has to be, checked against its stream. */
static int state_read_entry(struct state_reader *in, const struct stream *st, struct id *id)
{
    if (!entry_check(in->p, in->end, id))
        return state_corrupt(in, "the entry is malformed");
    if (id_cmp(*id, st->last_id) <= 0)
        return state_corrupt(in, "the entry's ID does not grow");
    return OK;
}

static int state_apply_entry(struct state *s, struct state_reader *in)
{
    struct stream *st = NULL;
    struct id id = ID_MIN;
    int rc = state_read_stream(s, in, &st);

    if (rc == OK)
        rc = state_read_entry(in, st, &id);
    if (rc == OK)
        rc = stream_index_reserve(&st->tail, in->e);
    if (rc == OK)
        state_add_entry(s, st, id, in->p, (size_t)(in->end - in->p));
    return rc;
}

static int state_apply_entry_idmp(struct state *s, struct state_reader *in)
{
    struct slice producer = { 0 }, iid = { 0 };
    struct idmp_item *item = NULL;
    uint64_t now_ms = in->r->clock >> 16;
    struct stream *st = NULL;
    struct id id = ID_MIN;
    int rc = state_read_stream(s, in, &st);

    if (rc == OK)
        rc = state_read_str(in, &producer);
    if (rc == OK)
        rc = state_read_str(in, &iid);
    if (rc == OK)
        rc = state_read_entry(in, st, &id);
    if (rc == OK)
        rc = stream_index_reserve(&st->tail, in->e);
    if (rc != OK)
        return rc;
    rc = state_prepare_idmp(s, st, producer, iid, now_ms, &item, in->e);
    if (rc == ERR_CORRUPT)
        return state_corrupt(in, "no settings of the stream's idempotence came before");
    if (rc != OK)
        return rc;
    state_add_entry(s, st, id, in->p, (size_t)(in->end - in->p));
    idmp_commit(st->more->idmp, item, id, now_ms);
    return OK;
}

/* n IDs, up to the end of the record, checked as a whole; *in stands at the first one afterwards. */
static int state_read_ids(struct state_reader *in, uint64_t *n)
{
    struct state_reader ids;
    struct id id;
    int rc = state_read_u64(in, n);

    if (rc == OK && *n > (uint64_t)(in->end - in->p) / 2)
        rc = state_corrupt(in, "more IDs than bytes");
    ids = *in;
    for (uint64_t i = 0; i < *n && rc == OK; i++)
        rc = state_read_id(&ids, &id);
    return rc == OK ? state_read_end(&ids) : rc;
}

static int state_read_left(struct state_reader *in, struct state_left *left)
{
    int rc = state_read_u64(in, &left->n);
    return rc == OK ? state_read_u64(in, &left->bytes) : rc;
}

/* Whether the entries still in memory are no more than what is said to be left. */
static int state_check_left(const struct state_reader *in, const struct stream *st,
                            struct state_left left)
{
    if (stream_index_n(st->tail) > left.n)
        return state_corrupt(in, "more entries are there than are left");
    return OK;
}

/* What a cut leaves of a stream that lies in memory as a whole. */
static struct state_left stream_left_from(const struct stream *st, struct id first)
{
    struct state_left left = { st->n_entries, st->bytes };
    struct stream_pos pos = stream_index_begin(st->tail);
    const uint8_t *entry;
    struct id id;

    for (; (entry = stream_index_at(st->tail, pos)) != NULL; stream_index_next(st->tail, &pos)) {
        entry_id(entry, &id);
        if (id_cmp(id, first) >= 0)
            break;
        left.n--;
        left.bytes -= (uint64_t)(entry_end(entry) - entry);
    }
    return left;
}

static int state_apply_remove(struct state *s, struct state_reader *in)
{
    struct state_left left = { 0, 0 };
    struct stream *st = NULL;
    struct id id = ID_MIN;
    uint64_t n = 0;
    int rc = state_read_stream(s, in, &st);

    if (rc == OK)
        rc = state_read_left(in, &left);
    if (rc == OK)
        rc = state_read_ids(in, &n);
    if (rc == OK)
        rc = state_prepare_remove(st, (size_t)n, in->e);
    if (rc != OK)
        return rc;
    state_before(s, &st->object, DIGEST_REMOVE);
    for (uint64_t i = 0; i < n && rc == OK; i++) {
        rc = state_read_id(in, &id);
        if (rc == OK)
            stream_remove(st, id);
    }
    if (rc == OK)
        rc = state_check_left(in, st, left);
    if (rc == OK)
        stream_set_left(st, left);
    return rc;
}

static int state_apply_cut(struct state *s, struct state_reader *in)
{
    struct state_left left = { 0, 0 };
    struct stream *st = NULL;
    struct id first = ID_MIN;
    int rc = state_read_stream(s, in, &st);

    if (rc == OK)
        rc = state_read_id(in, &first);
    if (rc == OK)
        rc = state_read_left(in, &left);
    if (rc == OK)
        rc = state_read_end(in);
    if (rc == OK)
        rc = state_prepare_remove(st, 0, in->e);
    if (rc == OK && left.n > 0 && id_cmp(first, st->last_id) > 0)
        rc = state_corrupt(in, "entries are left below the first one");
    if (rc == OK && left.n > 0 && left.n < stream_left_from(st, first).n - stream_n_sealed(st))
        rc = state_corrupt(in, "more entries are there than are left");
    if (rc == OK)
        state_cut(s, st, first, left);
    return rc;
}

static void state_remove_one(struct state *s, struct stream *st, struct id id)
{
    const uint8_t *entry = stream_index_at(st->tail, stream_index_seek(st->tail, id));
    struct id found = ID_MIN;

    if (entry != NULL)
        entry_id(entry, &found);
    if (entry != NULL && id_cmp(found, id) == 0)
        state_remove(s, st, &id, 1,
                     (struct state_left){ st->n_entries - 1,
                                          st->bytes - (uint64_t)(entry_end(entry) - entry) });
}

static int state_apply_delete(struct state *s, struct state_reader *in)
{
    struct stream *st = NULL;
    struct id id = ID_MIN;
    uint64_t n = 0;
    int rc = state_read_stream(s, in, &st);

    if (rc == OK)
        rc = state_read_ids(in, &n);
    for (uint64_t i = 0; i < n && rc == OK; i++) {
        rc = state_prepare_remove(st, 1, in->e);
        if (rc == OK)
            rc = state_read_id(in, &id);
        if (rc == OK)
            state_remove_one(s, st, id);
    }
    return rc;
}

static int state_apply_trim(struct state *s, struct state_reader *in)
{
    struct stream *st = NULL;
    struct id first = ID_MIN;
    int rc = state_read_stream(s, in, &st);

    if (rc == OK)
        rc = state_read_id(in, &first);
    if (rc == OK)
        rc = state_read_end(in);
    if (rc == OK)
        rc = state_prepare_remove(st, 0, in->e);
    if (rc == OK)
        state_cut(s, st, first, stream_left_from(st, first));
    return rc;
}

/* One of the settings, checked, into x. */
static int state_read_setting(struct state_reader *in, uint32_t *which, struct stream_settings *x)
{
    uint64_t tag = 0, value = 0;
    int rc = state_read_u64(in, &tag);

    if (rc == OK)
        rc = state_read_u64(in, &value);
    if (rc != OK)
        return rc;
    if (tag == 0 || tag >= SETTING_COUNT)
        return state_corrupt(in, "there is no such setting");
    if (tag == SETTING_CODEC && value > 0 && (value - 1) >> 8 > LOG_CODEC_ZSTD)
        return state_corrupt(in, "there is no such codec");
    if (tag == SETTING_DURABILITY && value > 0 && value - 1 > LOG_ALWAYS)
        return state_corrupt(in, "there is no such class of durability");
    *which |= 1u << tag;
    if (value == 0) {
        x->set &= ~(1u << tag);
    } else {
        x->set |= 1u << tag;
        x->values[tag] = value - 1;
    }
    return OK;
}

static int state_apply_settings(struct state *s, struct state_reader *in)
{
    struct stream_settings x = { 0 };
    struct stream *st = NULL;
    uint32_t which = 0;
    uint64_t n = 0;
    int rc = state_read_stream(s, in, &st);

    if (rc == OK)
        rc = state_read_u64(in, &n);
    for (uint64_t i = 0; i < n && rc == OK; i++)
        rc = state_read_setting(in, &which, &x);
    if (rc == OK)
        rc = state_read_end(in);
    if (rc == OK)
        rc = state_prepare_configure(st, in->e);
    if (rc == OK)
        state_configure(s, st, which, &x);
    return rc;
}

/* The ID of the last entry in memory, 0-0 if there is none. */
static struct id state_top_id(const struct stream *st)
{
    struct stream_pos pos = stream_index_end(st->tail);
    struct id id = ID_MIN;

    if (stream_index_prev(st->tail, &pos))
        entry_id(stream_index_at(st->tail, pos), &id);
    return id;
}

static int state_apply_set_id(struct state *s, struct state_reader *in)
{
    struct id last = ID_MIN, max_deleted = ID_MIN;
    struct stream *st = NULL;
    uint64_t added = 0;
    int rc = state_read_stream(s, in, &st);

    if (rc == OK)
        rc = state_read_id(in, &last);
    if (rc == OK)
        rc = state_read_u64(in, &added);
    if (rc == OK)
        rc = state_read_id(in, &max_deleted);
    if (rc == OK)
        rc = state_read_end(in);
    if (rc != OK)
        return rc;
    if (id_cmp(last, state_top_id(st)) < 0)
        return state_corrupt(in, "the last ID is below an entry"); /* S4 */
    rc = state_prepare_remove(st, 0, in->e);
    if (rc == OK)
        state_set_id(s, st, last, added, max_deleted, in->r->lsn);
    return rc;
}

static int state_apply_name(struct state *s, struct state_reader *in)
{
    struct slice key = { 0 };
    struct object *o = NULL;
    uint64_t expiry_ms = 0;
    int db = 0;
    int rc = state_read_key(in, &db, &key);

    if (rc == OK)
        rc = state_read_object(s, in, &o);
    if (rc == OK)
        rc = state_read_u64(in, &expiry_ms);
    if (rc == OK)
        rc = state_read_end(in);
    if (rc == OK)
        rc = state_bind(s, o, db, key, expiry_ms, in->r->lsn, in->e);
    return rc;
}

static int state_apply_unname(struct state *s, struct state_reader *in)
{
    struct slice key = { 0 };
    uint64_t rev = 0;
    struct object *o;
    int db = 0;
    int rc = state_read_key(in, &db, &key);

    if (rc == OK && (in->p == in->end || *in->p++ > REASON_EVICT))
        rc = state_corrupt(in, "there is no such reason");
    if (rc == OK)
        rc = state_read_u64(in, &rev);
    if (rc == OK)
        rc = state_read_end(in);
    if (rc != OK)
        return rc;
    o = state_find(s, db, key);
    if (o != NULL && o->rev == rev)
        state_unbind(s, o);
    return OK;
}

static int state_apply_flush(struct state *s, struct state_reader *in)
{
    uint64_t db = 0; /* + 1 */
    int rc = state_read_u64(in, &db);

    if (rc == OK)
        rc = state_read_end(in);
    if (rc == OK && db > CONFIG_DATABASES)
        rc = state_corrupt(in, "there is no such database");
    if (rc == OK)
        state_flush(s, (int)db - 1);
    return rc;
}

static int state_apply_idmp_config(struct state *s, struct state_reader *in)
{
    uint32_t duration_s = 0, maxsize = 0;
    struct stream *st = NULL;
    int rc = state_read_stream(s, in, &st);

    if (rc == OK)
        rc = state_read_u32(in, &duration_s);
    if (rc == OK)
        rc = state_read_u32(in, &maxsize);
    if (rc == OK)
        rc = state_read_end(in);
    if (rc == OK && (duration_s > IDMP_DURATION_MAX_S || maxsize > IDMP_MAXSIZE_MAX))
        rc = state_corrupt(in, "settings of idempotence out of range");
    if (rc == OK)
        rc = state_prepare_idmp_config(st, in->e);
    if (rc == OK)
        state_set_idmp(s, st, duration_s, maxsize);
    return rc;
}

static int state_apply_any(struct state *s, struct state_reader *in)
{
    switch (in->r->type) {
    case RECORD_SKIP: return OK; /* the log's own */
    case RECORD_STREAM: return state_apply_stream(s, in);
    case RECORD_ENTRY: return state_apply_entry(s, in);
    case RECORD_ENTRY_IDMP: return state_apply_entry_idmp(s, in);
    case RECORD_DELETE: return state_apply_delete(s, in);
    case RECORD_TRIM: return state_apply_trim(s, in);
    case RECORD_SETID: return state_apply_set_id(s, in);
    case RECORD_NAME: return state_apply_name(s, in);
    case RECORD_UNNAME: return state_apply_unname(s, in);
    case RECORD_FLUSH: return state_apply_flush(s, in);
    case RECORD_IDMP_CONFIG: return state_apply_idmp_config(s, in);
    case RECORD_REMOVE: return state_apply_remove(s, in);
    case RECORD_CUT: return state_apply_cut(s, in);
    case RECORD_SETTINGS: return state_apply_settings(s, in);
    }
    return in->r->type >= RECORD_IGNORABLE ? OK : state_corrupt(in, "unknown type");
}

int state_apply(struct state *s, const struct log_record *r, struct err *e)
{
    struct state_reader in = { r, r->body, r->body + r->len, e };
    int rc = state_apply_any(s, &in);

    if (rc == OK && (s->dropped != NULL || s->graves != NULL))
        state_reap(s, STATE_REPLAY_REAP);
    return rc;
}

/* ---- looking at everything ---- */

static const char *state_check_object(const struct state *s, const struct object *o, int db)
{
    const struct stream *st = (const struct stream *)o;
    const struct state_db *d = &s->dbs[db];

    if (o->db != db || o->generation != d->generation || state_find_oid(s, o->oid) != o)
        return "S1: an object is not where its name is";
    if (o->slot != state_slot(o->name))
        return "an object's slot is not its name's";
    if ((o->expiry_ms != 0) != (o->expiry_slot != UINT32_MAX))
        return "S2: an expiry without a place in the heap, or a place without one";
    if (o->expiry_ms != 0 && (o->expiry_slot >= d->n_expiries || d->expiries[o->expiry_slot] != o))
        return "S2: another object is in the heap's place";
    if (id_cmp(state_top_id(st), st->last_id) > 0)
        return "S4: an entry above the last ID";
    if (st->tail != NULL && stream_index_n(st->tail) == 0)
        return "S6: a tail without entries";
    if (stream_index_n(st->tail) > st->n_entries)
        return "S7: more entries in the tail than live";
    if (st->tail != NULL && id_cmp(stream_tail_first(st), stream_floor(st)) < 0)
        return "S8: an entry below the floor";
    return stream_index_check(st->tail);
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
