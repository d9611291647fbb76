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
 *   S1  An object that has a name is in its database's dict under it, a stream also in the dict by oid, and nowhere else;
 *       its generation is its database's.
 *   S2  An object that will expire has an entry in its database's wheel, in the slot that it notes, no later than that. While
 *       the wheel is made anew, it may be in the former one.
 *   S3  n_objects is the number of objects that have a name.
 *   S4  A stream's last_id is no smaller than the ID of any of its entries.
 *   S5  While a digest is made (state.digest), it hears of every change before it happens.
 *   S6  What the tail has lives: n_entries is no less, and none of it is below the floor.
 *   S8  `live` has the LSNs of the records that back values, one for each backed value, those in `endings`, and no others.
 *   S9  used_bytes is what names and values take, n_cold how many values are not in memory.
 *   S7  What happens to a stream's entries is told to its groups, which know by the record's LSN whether they have it: n_behind
 *       of each is the number of entries that live at or below its last_id.
 *
 * A group leaves like a name: at once for every lookup, and its memory, which may be that of ten million pending entries, in
 * slices.
 *
 * Entries of the wheel stay when their key goes. Where many keys come with a far expiry and go before it, they would pile up:
 * once there are more of them than names, and some, the wheel is made anew. A new one takes its place at once, the names
 * are gone through, some each round, and those that note a slot of the former one get an entry in the new one; then the former one
 * goes. A bit beside the slot tells which of the two it is of.
 */
#include "broker/engine/state.h"
#include "broker/cache/changes.h"
#include <assert.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdlib.h>
#include "broker/cache/hash.h"
#include "broker/cache/list.h"
#include "broker/engine/digest.h"
#include "broker/engine/idmp.h"
#include "broker/engine/replay.h"
#include "broker/engine/save.h"
#include "log/bytes.h"
#include "log/entry.h"
#include "log/record.h"

enum {
    STATE_AHEAD = 4,             /* entries of the wheel */
    STATE_SLACK = 48,            /* bytes that a value's memory may be too large by */
    STATE_BURY_MAX = 1000,       /* elements of a value that are freed at once */
    STATE_WHEEL_SLACK = 1 << 16, /* entries that nobody notes any more, beside one for each name */
    STATE_ENDINGS_FIRST = 64,
    STATE_STRING_MORE = 1 << 20, /* bytes of room behind a long string that grows, at most */
};

static struct slice state_name_key(const struct dict_node *node)
{
    return object_name(state_of_node(node));
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
    for (int db = 0; db < CONFIG_DATABASES; db++) {
        dict_init(&s->dbs[db].names, s->hash_key, state_name_key);
        s->place[db] = s->number[db] = (uint8_t)db;
    }
}

static size_t state_object_bytes(const struct object *o)
{
    const void *p = o->type == OBJECT_STREAM ? (const void *)stream_of(o) : o;

    return malloc_usable_size((void *)(uintptr_t)p) +
           sizeof(size_t); /* and what malloc keeps with it */
}

static void state_free_name(struct object *o)
{
    if (o->flags & OBJECT_NAME_OUT)
        free((void *)(uintptr_t)object_name(o).p);
}

static void state_free_stream(struct stream *st)
{
    stream_index_free(st->tail);
    stream_free_more(st->more);
    state_free_name(&st->object);
    free(st);
}

/* A value's memory but for what may be large. */
static void state_free_value(struct object *o)
{
    state_free_name(o);
    free(o);
}

static bool state_has_pointer(const struct object *o)
{
    return !(o->flags & OBJECT_COLD) &&
           (o->flags & OBJECT_OUT || o->type == OBJECT_HASH || o->type == OBJECT_LIST);
}

/* Frees about `budget` elements of what the value points to; true when all of it is gone. */
static bool state_shrink_value(const struct object *o, size_t budget)
{
    if (!state_has_pointer(o))
        return true;
    switch (o->type) {
    case OBJECT_HASH: return !hash_shrink(object_pointer(o), budget);
    case OBJECT_LIST: return !list_shrink(object_pointer(o), budget);
    default: free(object_pointer(o)); return true;
    }
}

static void state_free_object(struct object *o)
{
    if (o->type == OBJECT_STREAM) {
        state_free_stream(stream_of(o));
        return;
    }
    while (!state_shrink_value(o, SIZE_MAX))
        ;
    state_free_value(o);
}

static void state_push(struct object **list, struct object *o)
{
    o->node.next = *list == NULL ? NULL : &(*list)->node;
    *list = o;
}

/* The scan has the next node already. */
static void state_free_node(void *ctx, struct dict_node *node)
{
    (void)ctx;
    if (state_of_node(node)->type != OBJECT_STREAM)
        state_free_object(state_of_node(node));
}

static void state_free_oid_node(void *ctx, struct dict_node *node)
{
    (void)ctx;
    state_free_stream(state_of_oid_node(node));
}

/* Frees a dictionary and the values in it; streams are in the table by oid. */
static void state_free_names(struct dict *names)
{
    uint64_t cursor = 0;

    do
        cursor = dict_scan(names, cursor, state_free_node, NULL);
    while (cursor != 0);
    dict_fini(names);
}

static void state_free_wheel(struct wheel **w)
{
    if (*w != NULL)
        wheel_fini(*w);
    free(*w);
    *w = NULL;
}

static void state_free_wheels(struct state_db *d)
{
    state_free_wheel(&d->wheel);
    state_free_wheel(&d->former);
}

void state_fini(struct state *s)
{
    uint64_t cursor = 0;

    replay_free(s);
    for (int db = 0; db < CONFIG_DATABASES; db++) {
        state_free_names(&s->dbs[db].names);
        state_free_wheels(&s->dbs[db]);
    }
    while (s->graves != NULL) {
        struct state_grave *grave = s->graves;
        s->graves = grave->next;
        state_free_names(&grave->names);
        free(grave);
    }
    while (s->dropped != NULL) {
        struct object *o = s->dropped;
        s->dropped = state_of_node(o->node.next);
        state_free_object(o);
    }
    do
        cursor = dict_scan(&s->oids, cursor, state_free_oid_node, NULL);
    while (cursor != 0);
    while (s->dropped_groups != NULL) {
        struct group *g = s->dropped_groups;
        s->dropped_groups = g->next;
        group_free(g);
    }
    dict_fini(&s->oids);
    stream_index_free(s->changes);
    liveset_fini(&s->live);
    free(s->endings);
    stream_memory_fini(&s->tails);
}

static void state_take_oid_node(void *ctx, struct dict_node *node)
{
    struct state *s = ctx;

    dict_remove(&s->oids, node);
    state_push(&s->dropped, &state_of_oid_node(node)->object); /* for the moment */
}

void state_adopt_hash_key(struct state *s, const uint8_t hash_key[16])
{
    uint64_t cursor = 0;

    assert(s->n_objects == 0 && s->dropped == NULL);
    do
        cursor = dict_scan(&s->oids, cursor, state_take_oid_node, s);
    while (cursor != 0);
    memcpy(s->hash_key, hash_key, sizeof s->hash_key);
    while (s->dropped != NULL) {
        struct stream *st = stream_of(s->dropped);
        s->dropped = s->dropped->node.next == NULL ? NULL : state_of_node(s->dropped->node.next);
        dict_add(&s->oids, &st->oid_node, state_oid_key(&st->oid_node));
    }
}

/* ---- lookups ---- */

struct object *state_find(const struct state *s, int db, struct slice name)
{
    return state_of_node(dict_find(&s->dbs[s->place[db]].names, name));
}

struct stream *state_find_oid(const struct state *s, uint64_t oid)
{
    struct dict_node *node = dict_find(&s->oids, slice_of(&oid, sizeof oid));
    struct stream *st;

    if (node == NULL)
        return NULL;
    st = state_of_oid_node(node);
    if (st->generation == s->dbs[st->object.db].generation)
        return st;
    return stream_more(st)->view != NULL ? st : NULL; /* which no flush concerns */
}

/* ---- when objects expire ---- */

/* When something of it ends by itself: it, or a field of a hash. */
static uint64_t state_due_ms(const struct object *o)
{
    uint64_t due = object_end_ms(o), field = 0;

    if (o->type == OBJECT_HASH && !(o->flags & OBJECT_COLD))
        field = hash_next_expiry(object_pointer(o));
    return field != 0 && (due == 0 || field < due) ? field : due;
}

static struct wheel *state_new_wheel(uint64_t now_ms)
{
    struct wheel *w = calloc(1, sizeof *w);

    if (w != NULL)
        wheel_begin(w, now_ms);
    return w;
}

/* Whether it is a slot of the wheel that is, not of the former one. */
static bool state_is_slot(const struct state_db *d, uint16_t slot)
{
    return slot != WHEEL_NONE && (slot & OBJECT_WHEEL_TURN) == d->turn;
}

/* S2: for an object of that hash and database, which notes `slot`. */
static int state_watch(struct state *s, int place, uint32_t hash, uint64_t due_ms, uint16_t *slot,
                       struct err *e)
{
    struct state_db *d = &s->dbs[place];
    uint16_t at = state_is_slot(d, *slot) ? *slot & (OBJECT_WHEEL_TURN - 1) : WHEEL_NONE;
    int rc = OK;

    if (due_ms == 0)
        return OK;
    if (d->wheel == NULL)
        d->wheel = state_new_wheel(s->now_ms);
    if (d->wheel == NULL)
        return err_set(e, ERR_NOMEM, "keep the expiries of a database");
    rc = wheel_add(d->wheel, hash, due_ms, &at, e);
    if (rc == OK)
        *slot = at | d->turn;
    return rc;
}

int state_watch_expiry(struct state *s, struct object *o, struct err *e)
{
    uint16_t slot = o->wheel;
    int rc = state_watch(s, o->db, o->node.hash, state_due_ms(o), &slot, e);

    o->wheel = slot;
    return rc;
}

struct state_expired {
    uint16_t slot;
    uint64_t now_ms;
    struct object *found;
    struct state *s;
};

/* One of an entry's hash: its entry has come up; if its time has not come, it gets another one. */
static void state_expired_node(void *ctx, struct dict_node *node)
{
    struct state_expired *x = ctx;
    struct object *o = state_of_node(node);
    uint64_t due = state_due_ms(o);

    if (o->wheel != x->slot || x->found != NULL)
        return;
    if (due != 0 && due <= x->now_ms) {
        x->found = o;
        return;
    }
    o->wheel = WHEEL_NONE;
    if (state_watch_expiry(x->s, o, NULL) != OK)
        x->found = o; /* whoever takes it will try again */
}

/* The objects of entries that come up soon are asked for: finding them is waiting for memory, mostly. */
static void state_expect(const struct state_db *d, const struct wheel *w)
{
    uint32_t hash;

    if (wheel_peek(w, 2 * STATE_AHEAD, &hash))
        dict_expect_bucket(&d->names, (uint64_t)hash << 32);
    if (wheel_peek(w, STATE_AHEAD, &hash))
        dict_expect_node(&d->names, (uint64_t)hash << 32);
    if (wheel_peek(w, STATE_AHEAD / 2, &hash))
        dict_expect_rest(&d->names, (uint64_t)hash << 32);
}

/* The next entry that has come up, of either wheel. */
static bool state_take_entry(struct state_db *d, uint64_t now_ms, uint32_t *hash, uint16_t *slot)
{
    uint16_t turn = d->turn;
    bool found = d->wheel != NULL && wheel_take(d->wheel, now_ms, hash, slot);

    if (!found && d->former != NULL) {
        turn ^= OBJECT_WHEEL_TURN;
        found = wheel_take(d->former, now_ms, hash, slot);
    }
    if (!found)
        return false;
    state_expect(d, turn == d->turn ? d->wheel : d->former);
    *slot |= turn;
    return true;
}

static struct object *state_take_expired_of(struct state *s, int db, uint64_t now_ms,
                                            size_t *budget)
{
    struct state_db *d = &s->dbs[db];
    struct state_expired x = { .now_ms = now_ms, .s = s };
    uint32_t hash;

    while (*budget > 0 && state_take_entry(d, now_ms, &hash, &x.slot)) {
        --*budget;
        dict_each_hash(&d->names, hash, state_expired_node, &x);
        if (x.found != NULL) {
            x.found->wheel = WHEEL_NONE;
            return x.found;
        }
    }
    return NULL;
}

struct object *state_take_expired(struct state *s, uint64_t now_ms, size_t *budget)
{
    struct object *o = NULL;

    for (int db = 0; db < CONFIG_DATABASES && o == NULL; db++)
        o = state_take_expired_of(s, db, now_ms, budget);
    return o;
}

uint64_t state_next_expiry_ms(const struct state *s)
{
    uint64_t next = UINT64_MAX;

    for (int db = 0; db < CONFIG_DATABASES; db++) {
        const struct wheel *both[] = { s->dbs[db].wheel, s->dbs[db].former };
        for (int i = 0; i < 2; i++)
            if (both[i] != NULL && wheel_next_ms(both[i]) < next)
                next = wheel_next_ms(both[i]);
    }
    return next;
}

struct state_renewal {
    struct state *s;
    struct state_db *d;
    bool failed;
};

/* An object that has an entry in the former wheel gets one in the new one, if it still needs it. */
static void state_renew_node(void *ctx, struct dict_node *node)
{
    struct state_renewal *x = ctx;
    struct object *o = state_of_node(node);
    uint16_t slot = o->wheel;

    if (slot == WHEEL_NONE || state_is_slot(x->d, slot))
        return;
    o->wheel = WHEEL_NONE;
    if (state_watch_expiry(x->s, o, NULL) == OK)
        return;
    o->wheel = slot;
    x->failed = true;
}

/* Without memory it goes on where it is, later. */
static void state_renew(struct state *s, struct state_db *d, size_t n)
{
    struct state_renewal x = { s, d, false };

    for (; n > 0; n--) {
        uint64_t next = dict_scan(&d->names, d->renewed, state_renew_node, &x);
        if (x.failed)
            return;
        d->renewed = next;
        if (next == 0) {
            state_free_wheel(&d->former);
            return;
        }
    }
}

static void state_begin_renewal(struct state *s, struct state_db *d)
{
    struct wheel *w = state_new_wheel(s->now_ms);

    if (w == NULL)
        return; /* later, then */
    d->former = d->wheel;
    d->wheel = w;
    d->turn ^= OBJECT_WHEEL_TURN;
    d->renewed = 0;
}

void state_step(struct state *s, size_t n)
{
    for (int db = 0; db < CONFIG_DATABASES; db++) {
        struct state_db *d = &s->dbs[db];
        dict_step(&d->names, n);
        if (d->former != NULL)
            state_renew(s, d, n);
        else if (d->wheel != NULL && d->wheel->n > d->names.n + STATE_WHEEL_SLACK)
            state_begin_renewal(s, d);
    }
    dict_step(&s->oids, n);
}

/* ---- effects ---- */

static void state_before_value(struct state *s, struct object *o)
{
    if (s->digest != NULL)
        digest_before(s->digest, o, DIGEST_VALUE); /* S5 */
}

static void state_before(struct state *s, struct object *o, enum digest_change change)
{
    if (s->digest != NULL && stream_of(o)->oid != 0) /* it has been added */
        digest_before(s->digest, o, change);         /* S5 */
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

int state_reserve_stream(struct state *s, struct slice name, struct stream **out, struct err *e)
{
    struct slice own = name;
    bool inside = name.n <= OBJECT_NAME_MAX;
    size_t room =
        inside && name.n > sizeof name ? name.n : sizeof name; /* another name stands outside */
    struct stream *st = malloc(offsetof(struct stream, object) + OBJECT_HEAD + room);
    int rc = OK;

    (void)s;
    if (st == NULL)
        return err_set(e, ERR_NOMEM, "make a stream");
    memset(st, 0, offsetof(struct stream, object) + OBJECT_HEAD);
    st->object.type = OBJECT_STREAM;
    if (!inside) {
        rc = state_copy_name(name, &own, e);
        st->object.flags = OBJECT_NAME_OUT;
        st->object.name_n = sizeof own;
        memcpy(st->object.bytes, &own, sizeof own);
    } else {
        st->object.name_n = (uint16_t)name.n;
        if (name.n > 0)
            memcpy(st->object.bytes, name.p, name.n);
    }
    if (rc != OK) {
        free(st);
        return rc;
    }
    *out = st;
    return OK;
}

void state_discard_stream(struct stream *st)
{
    state_free_stream(st);
}

void state_add_stream(struct state *s, struct stream *st, uint64_t lsn, int db)
{
    struct object *o = &st->object;

    st->oid = lsn;
    object_set_rev(o, lsn);
    o->db = s->place[db] & 15u;
    st->generation = s->dbs[o->db].generation;
    /* That it is new tells that a former object of the name is gone. */
    if (st->always_lsn < s->last_always_unbind)
        st->always_lsn = s->last_always_unbind;
    if (s->digest != NULL)
        digest_skip(s->digest, o);
    dict_add(&s->dbs[o->db].names, &o->node, object_name(o));
    dict_add(&s->oids, &st->oid_node, state_oid_key(&st->oid_node));
    s->used_bytes += state_object_bytes(o);
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

/* Without memory to remember it, it lives until the next start. */
static void state_end_later(struct state *s, uint64_t lsn, uint64_t at, uint64_t bytes)
{
    size_t cap = s->cap_endings == 0 ? STATE_ENDINGS_FIRST : s->cap_endings * 2;
    struct state_ending *grown;

    if (s->n_endings == s->cap_endings && s->first_ending > s->n_endings / 2) {
        s->n_endings -= s->first_ending;
        memmove(s->endings, s->endings + s->first_ending, s->n_endings * sizeof *s->endings);
        s->first_ending = 0;
    } else if (s->n_endings == s->cap_endings) {
        grown = realloc(s->endings, cap * sizeof *grown);
        if (grown == NULL)
            return;
        s->endings = grown;
        s->cap_endings = cap;
    }
    s->endings[s->n_endings++] = (struct state_ending){ lsn, at, bytes };
}

void state_settle_changes(struct state *s, uint64_t lsn)
{
    while (s->first_ending < s->n_endings && s->endings[s->first_ending].at < lsn) {
        const struct state_ending *x = &s->endings[s->first_ending++];
        state_end_change(s, x->lsn, x->bytes);
    }
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
    err_ignore(state_prepare_changes(s, STREAM_CHUNK, NULL)); /* some come in the same round */
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
    struct stream *st = node == NULL ? NULL : state_of_oid_node(node);
    struct id first = last;

    if (oid == LOG_CHANGES_OID)
        state_changes_sealed(s, last);
    if (st == NULL)
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
    dict_remove(&s->oids, &st->oid_node);
    st->oid = lsn;
    st->due_s = 0;
    object_set_rev(o, lsn);
    if (s->save != NULL)
        save_found(s->save, lsn);
    dict_add(&s->oids, &st->oid_node, state_oid_key(&st->oid_node));
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

/* ---- effects: values ---- */

size_t state_whole_bytes(const struct object *o)
{
    size_t bytes = state_object_bytes(o);

    if (!object_is_value(o) || !state_has_pointer(o))
        return bytes;
    if (o->type == OBJECT_HASH)
        return bytes + hash_bytes(object_pointer(o));
    if (o->type == OBJECT_LIST)
        return bytes + list_bytes(object_pointer(o));
    return bytes + malloc_usable_size(object_pointer(o));
}

/* Bytes of the record that backs a value, about. */
static uint64_t state_back_bytes(const struct object *o)
{
    return object_name(o).n + object_size(o);
}

/* S9: the object is counted, or not any more. */
static void state_count(struct state *s, const struct object *o)
{
    s->used_bytes += state_whole_bytes(o);
    s->n_cold += (o->flags & OBJECT_COLD) != 0;
}

static void state_uncount(struct state *s, const struct object *o)
{
    s->used_bytes -= state_whole_bytes(o);
    s->n_cold -= (o->flags & OBJECT_COLD) != 0;
}

/* What a value that is going is part of: memory that is used, records that live. */
static void state_forget_value(struct state *s, struct object *o)
{
    state_uncount(s, o);
    if (o->flags & OBJECT_BACKED)
        state_end_change(s, object_back_lsn(o), state_back_bytes(o));
}

/* A value without a name: its memory goes now, or by and by if there is much of it. */
static void state_bury(struct state *s, struct object *o)
{
    if (state_has_pointer(o) && object_size(o) > STATE_BURY_MAX && o->type != OBJECT_STRING)
        state_push(&s->dropped, o);
    else
        state_free_object(o);
}

static void state_remove_value(struct state *s, struct object *o)
{
    state_before_value(s, o);
    state_forget_value(s, o);
    s->dbs[o->db].n_expiring -= o->expiry_ms != 0;
    dict_remove(&s->dbs[o->db].names, &o->node);
    s->n_objects--;
    state_bury(s, o);
}

void state_get_value(const struct object *o, struct state_value *v)
{
    *v = (struct state_value){
        .type = (enum object_type)o->type,
        .flags = o->flags & (OBJECT_COLD | OBJECT_BACKED | OBJECT_ALWAYS),
        .rev = o->rev,
        .back_lsn = o->flags & OBJECT_BACKED ? object_back_lsn(o) : 0,
        .expiry_ms = o->expiry_ms,
        .stale_ms = object_stale_ms(o),
        .size = object_size(o),
    };
    if (o->flags & OBJECT_COLD)
        return;
    if (o->type == OBJECT_STRING)
        v->bytes = object_string(o);
    else
        v->pointer = object_pointer(o);
}

/* How a value lies: what is in front of the name, how much the name takes, how much the value. */
struct state_layout {
    unsigned flags; /* of OBJECT_NAME_OUT, OBJECT_OUT, OBJECT_BACK, OBJECT_STALE and v's */
    size_t extras, name, value;
};

static void state_lay_out(const struct state_value *v, size_t name_n, struct state_layout *out)
{
    bool cold = v->flags & OBJECT_COLD, string = v->type == OBJECT_STRING;
    bool back = v->flags & OBJECT_BACKED && v->back_lsn != 0 && v->back_lsn != v->rev;
    bool name_out = name_n > OBJECT_NAME_MAX, value_out = string && v->bytes.n > OBJECT_INSIDE_MAX;

    *out = (struct state_layout){
        .flags = v->flags | (back ? OBJECT_BACK : 0u) | (v->stale_ms != 0 ? OBJECT_STALE : 0u) |
                 (name_out ? OBJECT_NAME_OUT : 0u) | (!cold && value_out ? OBJECT_OUT : 0u),
        .extras = (back ? 8u : 0u) + (v->stale_ms != 0 ? 8u : 0u),
        .name = name_out ? sizeof(struct slice) : name_n,
        .value = cold                   ? 0
                 : string && !value_out ? v->bytes.n
                                        : sizeof(void *),
    };
}

/* Writes what stands in front of the name, and all numbers. */
static void state_fill_head(struct object *o, const struct state_value *v,
                            const struct state_layout *l)
{
    uint8_t *p = o->bytes;

    object_set_rev(o, v->rev);
    object_set_expiry(o, v->expiry_ms);
    o->type = v->type & 15;
    o->flags = l->flags & 255;
    o->node.extra =
        (uint32_t)(v->type == OBJECT_STRING && !(v->flags & OBJECT_COLD) ? v->bytes.n : v->size);
    if (l->flags & OBJECT_BACK) {
        memcpy(p, &v->back_lsn, 8);
        p += 8;
    }
    if (l->flags & OBJECT_STALE)
        memcpy(p, &v->stale_ms, 8);
}

/* A long string in memory of its own. */
static struct object_bytes *state_copy_bytes(struct slice bytes)
{
    struct object_bytes *b = malloc(sizeof *b + bytes.n);

    if (b == NULL)
        return NULL;
    b->cap = malloc_usable_size(b) - sizeof *b;
    memcpy(b->bytes, bytes.p, bytes.n);
    return b;
}

static void state_fill_value(struct object *o, const struct state_value *v,
                             const struct state_layout *l, void *out)
{
    uint8_t *p = o->bytes + l->extras + l->name;

    if (v->flags & OBJECT_COLD)
        return;
    if (v->type == OBJECT_STRING && !(l->flags & OBJECT_OUT)) {
        if (v->bytes.n > 0)
            memmove(p, v->bytes.p, v->bytes.n);
    } else {
        memcpy(p, &out, sizeof out);
    }
}

static uint64_t state_value_due_ms(const struct state_value *v)
{
    uint64_t due = v->stale_ms != 0 ? v->stale_ms : v->expiry_ms, field = 0;

    if (v->type == OBJECT_HASH && v->pointer != NULL)
        field = hash_next_expiry(v->pointer);
    return field != 0 && (due == 0 || field < due) ? field : due;
}

/* Everything that a value needs and that may not be there: room in the liveset, an entry in the wheel. `old` NULL: a new name. */
static int state_prepare_value(struct state *s, int db, uint32_t hash, const struct state_value *v,
                               const struct object *old, uint16_t *slot, struct err *e)
{
    uint64_t back = v->back_lsn != 0 ? v->back_lsn : v->rev;
    int rc = OK;

    *slot = old != NULL ? old->wheel : WHEEL_NONE;
    if (v->flags & OBJECT_BACKED)
        rc = liveset_reserve(&s->live, back, back, e);
    if (rc == OK)
        rc = state_watch(s, s->place[db], hash, state_value_due_ms(v), slot, e);
    return rc;
}

/* The record that backs the value now lives. The one that did does not, or not for long, if but a part of it has changed. */
static void state_set_live(struct state *s, const struct object *old, const struct state_value *v)
{
    uint64_t back = v->back_lsn != 0 ? v->back_lsn : v->rev;
    bool was = old != NULL && old->flags & OBJECT_BACKED;

    if (v->flags & OBJECT_BACKED) {
        if (was && object_back_lsn(old) != back)
            state_end_change(s, object_back_lsn(old), state_back_bytes(old));
        liveset_add(&s->live, back);
    } else if (was) {
        state_end_later(s, object_back_lsn(old), v->rev, state_back_bytes(old));
    }
}

/* Whether the value can be written over the old one, where it is. */
static bool state_fits(const struct object *o, const struct state_layout *l)
{
    const unsigned shape = OBJECT_NAME_OUT | OBJECT_BACK | OBJECT_STALE;
    size_t used, need = OBJECT_HEAD + l->extras + l->name + l->value, have;

    if ((o->flags & shape) != (l->flags & shape))
        return false;
    if (o->type == OBJECT_STRING && !(o->flags & (OBJECT_OUT | OBJECT_COLD))) {
        used = OBJECT_HEAD + l->extras + l->name + object_size(o);
        if (need <= used && used - need < STATE_SLACK / 2)
            return true; /* without asking malloc, which touches memory in front of it */
    }
    have = malloc_usable_size((void *)(uintptr_t)o);
    return need <= have && have - need < STATE_SLACK;
}

/* What a value pointed to, an object of `type` and `size`, goes: now, or by and by if there is much of it. */
static void state_let_go(struct state *s, enum object_type type, size_t size, void *pointer)
{
    struct object *husk = malloc(OBJECT_HEAD + sizeof pointer);

    if (pointer == NULL || husk == NULL || size <= STATE_BURY_MAX || type == OBJECT_STRING) {
        if (pointer != NULL && type == OBJECT_HASH)
            hash_free(pointer);
        else if (pointer != NULL && type == OBJECT_LIST)
            list_free(pointer);
        else
            free(pointer);
        free(husk);
        return;
    }
    memset(husk, 0, OBJECT_HEAD); /* it waits for its end as an object without a name */
    husk->type = type & 15;
    husk->node.extra = (uint32_t)size;
    memcpy(husk->bytes, &pointer, sizeof pointer);
    state_push(&s->dropped, husk);
}

/* What writing a value takes beside it. */
struct state_writing {
    struct state_layout l;
    struct object *o;      /* where it will be */
    void *pointer, *fresh; /* what it will point to; if that was made for it */
    struct slice name;     /* of memory of its own, made for it; p NULL: none */
};

static void state_cancel(const struct state_writing *w, const struct object *old)
{
    free(w->fresh);
    free((void *)(uintptr_t)w->name.p);
    if (w->o != old)
        free(w->o);
}

/* Gets all memory that the value needs. */
static int state_get_ready(const struct state_value *v, struct slice name, struct object *old,
                           struct state_writing *w, struct err *e)
{
    int rc = OK;

    *w = (struct state_writing){ .o = old, .pointer = v->pointer };
    state_lay_out(v, name.n, &w->l);
    if (w->l.flags & OBJECT_OUT && old != NULL && old->flags & OBJECT_OUT &&
        object_string(old).p == v->bytes.p)
        w->pointer = object_pointer(old);
    else if (w->l.flags & OBJECT_OUT && v->pointer == NULL)
        w->pointer = w->fresh = state_copy_bytes(v->bytes);
    if (w->l.flags & OBJECT_OUT && w->pointer == NULL)
        rc = ERR_NOMEM;
    if (rc == OK && (old == NULL || !state_fits(old, &w->l)))
        w->o = malloc(OBJECT_HEAD + w->l.extras + w->l.name + w->l.value);
    if (rc == OK && w->o == NULL)
        rc = ERR_NOMEM;
    if (rc == OK && w->l.flags & OBJECT_NAME_OUT && old == NULL)
        rc = state_copy_name(name, &w->name, e);
    if (rc == OK)
        return OK;
    state_cancel(w, old);
    return err_set(e, ERR_NOMEM, "no memory for a value of %zu bytes", v->bytes.n);
}

/* The head and name of a new object, which may take an old one's place. */
static void state_begin_object(const struct state *s, const struct state_writing *w,
                               struct slice name, const struct object *old)
{
    struct object *o = w->o;
    uint8_t *at = o->bytes + w->l.extras;

    memset(o, 0, OBJECT_HEAD);
    o->name_n = (uint16_t)w->l.name;
    o->clock = old != NULL ? old->clock : s->new_clock;
    if (!(w->l.flags & OBJECT_NAME_OUT))
        memcpy(at, name.n > 0 ? name.p : at, name.n);
    else if (old != NULL)
        memcpy(at, old->bytes + object_extras(old), sizeof name);
    else
        memcpy(at, &w->name, sizeof name);
}

/* Puts it where it is found. */
static void state_place_object(struct state *s, struct object *o, struct object *old, uint32_t hash)
{
    struct dict *names = &s->dbs[o->db].names;

    if (old == NULL) {
        o->node.hash = hash;
        dict_insert(names, &o->node);
        s->n_objects++;
    } else if (o != old) {
        dict_replace(names, &old->node, &o->node);
        free(old);
    }
}

/* The former value's place in what is counted, or the new one's. */
static void state_count_value(struct state *s, const struct object *o, int sign, bool bytes)
{
    size_t expiring = o->expiry_ms != 0;

    s->dbs[o->db].n_expiring += sign > 0 ? expiring : -expiring;
    if (bytes && sign > 0)
        state_count(s, o);
    else if (bytes)
        state_uncount(s, o);
}

/* Everything is there: `old` (NULL: none) becomes v in w->o. Nothing of what is counted changes if `in_place`. */
static void state_write_ready(struct state *s, int db, struct slice name, struct object *old,
                              const struct state_value *v, const struct state_writing *w,
                              uint32_t hash, uint16_t slot)
{
    bool in_place = w->o == old && w->pointer == NULL && !state_has_pointer(old) &&
                    !((old->flags | v->flags) & OBJECT_COLD); /* a short string, mostly */

    if (old != NULL && old->rev != v->rev)
        state_before_value(s, old); /* it is another value now, not only elsewhere */
    if (old != NULL)
        state_count_value(s, old, -1, !in_place);
    state_set_live(s, old, v);
    if (w->o != old)
        state_begin_object(s, w, name, old);
    state_fill_value(w->o, v, &w->l, w->pointer);
    state_fill_head(w->o, v, &w->l);
    w->o->db = s->place[db] & 15u;
    w->o->wheel = slot;
    state_place_object(s, w->o, old, hash);
    state_count_value(s, w->o, 1, !in_place);
}

/* The heart of it: the value of `old` (which has that name, or NULL) becomes v; *out is where it is. */
static int state_write_value(struct state *s, int db, struct slice name, struct object *old,
                             const struct state_value *v, struct object **out, struct err *e)
{
    uint32_t hash =
        old != NULL ? old->node.hash : (uint32_t)(dict_hash(s->hash_key, name.p, name.n) >> 32);
    void *gone = old != NULL && state_has_pointer(old) ? object_pointer(old) : NULL;
    size_t gone_size = gone != NULL ? object_size(old) : 0;
    enum object_type gone_type = gone != NULL ? (enum object_type)old->type : OBJECT_STRING;
    struct state_writing w;
    uint16_t slot = WHEEL_NONE;
    int rc = state_get_ready(v, name, old, &w, e);

    if (rc != OK)
        return rc;
    rc = state_prepare_value(s, db, hash, v, old, &slot, e);
    if (rc != OK) {
        state_cancel(&w, old);
        return rc;
    }
    state_write_ready(s, db, name, old, v, &w, hash, slot);
    if (gone != w.pointer)
        state_let_go(s, gone_type, gone_size, gone);
    *out = w.o;
    return OK;
}

int state_put_value(struct state *s, int db, struct slice name, const struct state_value *v,
                    struct object **out, struct err *e)
{
    return state_replace_value(s, db, name, state_find(s, db, name), v, out, e);
}

int state_replace_value(struct state *s, int db, struct slice name, struct object *old,
                        const struct state_value *v, struct object **out, struct err *e)
{
    struct object *stream = NULL;
    int rc;

    if (old != NULL && !object_is_value(old)) {
        stream = old;
        old = NULL;
    }
    rc = state_write_value(s, db, name, old, v, out, e);
    if (rc == OK && stream != NULL)
        state_unbind(s, stream);
    return rc;
}

int state_set_value(struct state *s, struct object **o, const struct state_value *v, struct err *e)
{
    struct state_value now;

    state_get_value(*o, &now);
    now.flags = v->flags;
    now.rev = v->rev;
    now.back_lsn = v->back_lsn;
    now.expiry_ms = v->expiry_ms;
    now.stale_ms = v->stale_ms;
    now.size = v->size;
    if (now.flags & OBJECT_COLD)
        now.pointer = NULL;
    if (now.flags & OBJECT_COLD && now.type == OBJECT_STRING)
        now.size = object_size(*o);
    return state_write_value(s, state_db_of(s, *o), object_name(*o), *o, &now, o, e);
}

int state_heat_value(struct state *s, struct object **o, const struct state_value *v, struct err *e)
{
    return state_write_value(s, state_db_of(s, *o), object_name(*o), *o, v, o, e);
}

void state_before_change(struct state *s, struct object *o)
{
    state_before_value(s, o);
}

void state_touch_value(struct state *s, struct object *o, void *value, size_t size, uint64_t rev,
                       bool always)
{
    uint8_t *at = o->bytes + (object_value_at(o) - o->bytes);

    if (o->flags & OBJECT_BACKED)
        state_end_later(s, object_back_lsn(o), rev, state_back_bytes(o));
    o->flags &= (uint8_t)~OBJECT_BACKED;
    if (always)
        o->flags |= OBJECT_ALWAYS;
    object_set_rev(o, rev);
    o->node.extra = (uint32_t)size;
    memcpy(at, &value, sizeof value);
}

/* A long string with the bytes in it, and room for more. */
static struct object_bytes *state_patched(struct slice old, size_t length, uint64_t offset,
                                          struct slice bytes)
{
    size_t more = length / 2 < STATE_STRING_MORE ? length / 2 : STATE_STRING_MORE;
    struct object_bytes *b = malloc(sizeof *b + length + more);

    if (b == NULL)
        return NULL;
    b->cap = malloc_usable_size(b) - sizeof *b;
    if (old.n > 0)
        memcpy(b->bytes, old.p, old.n);
    memcpy(b->bytes + offset, bytes.p, bytes.n);
    return b;
}

static int state_write_now(struct state *s, struct object **o, const struct state_value *now,
                           struct err *e)
{
    return state_write_value(s, state_db_of(s, *o), object_name(*o), *o, now, o, e);
}

int state_patch_value(struct state *s, struct object **o, uint64_t offset, struct slice bytes,
                      const struct state_value *v, struct err *e)
{
    struct slice old = object_string(*o);
    size_t length = offset + bytes.n > old.n ? (size_t)offset + bytes.n : old.n;
    struct object_bytes *b = (*o)->flags & OBJECT_OUT ? object_pointer(*o) : NULL;
    struct state_value now = *v;
    int rc;

    now.type = OBJECT_STRING;
    if (b != NULL && length <= b->cap) { /* where it is */
        now.bytes = slice_of(old.p, length);
        rc = state_write_now(s, o, &now, e);
        if (rc == OK)
            memcpy(b->bytes + offset, bytes.p, bytes.n);
        return rc;
    }
    b = state_patched(old, length, offset, bytes);
    if (b == NULL)
        return err_set(e, ERR_NOMEM, "no memory for a value of %zu bytes", length);
    now.bytes = slice_of(b->bytes, length);
    now.pointer = length > OBJECT_INSIDE_MAX ? b : NULL;
    rc = state_write_now(s, o, &now, e);
    if (rc != OK || now.pointer == NULL)
        free(b);
    return rc;
}

int state_rename_value(struct state *s, struct object **o, int db, struct slice name, uint64_t rev,
                       unsigned flags, struct err *e)
{
    struct object *other = state_find(s, db, name), *from = *o;
    struct state_value v;
    int rc;

    assert(other != from);
    state_get_value(from, &v);
    if (v.flags & OBJECT_BACKED)
        v.back_lsn = object_back_lsn(from);
    if (state_has_pointer(from))
        v.pointer = object_pointer(from); /* a long string's memory too */
    v.rev = rev;
    v.flags = (v.flags & ~(unsigned)OBJECT_ALWAYS) | flags;
    rc = state_write_value(s, db, name, NULL, &v, o, e);
    if (rc != OK)
        return rc;
    if (other != NULL)
        state_unbind(s, other);
    (*o)->clock = from->clock;
    if (s->save != NULL)
        save_found_value(s->save, db, name);
    /* What it points to and the record that backs it are the new one's by now. */
    state_before_value(s, from);
    state_uncount(s, from);
    s->dbs[from->db].n_expiring -= from->expiry_ms != 0;
    dict_remove(&s->dbs[from->db].names, &from->node);
    s->n_objects--;
    state_free_value(from);
    return OK;
}

void state_swap(struct state *s, int a, int b)
{
    uint8_t place = s->place[a];

    if (s->save != NULL)
        save_give_up(s->save);
    s->place[a] = s->place[b];
    s->place[b] = place;
    s->number[s->place[a]] = (uint8_t)a;
    s->number[s->place[b]] = (uint8_t)b;
    changes_swapped(s, a, b);
}

/* ---- effects: names ---- */

bool state_is_there(const struct state *s, const struct object *o)
{
    return (!object_is_value(o) && stream_more(stream_of(o))->view != NULL) || state_has_name(s, o);
}

bool state_has_name(const struct state *s, const struct object *o)
{
    return state_find(s, state_db_of(s, o), object_name(o)) == o;
}

/* Out of the names; the entry in the wheel stays, and finds nobody. */
static void state_take_out(struct state *s, struct object *o)
{
    dict_remove(&s->dbs[o->db].names, &o->node);
    s->dbs[o->db].n_expiring -= o->expiry_ms != 0;
    o->wheel = WHEEL_NONE;
    s->used_bytes -= state_object_bytes(o);
    s->n_objects--;
}

void state_take_name(struct state *s, struct object *o)
{
    assert(stream_of(o)->generation == s->dbs[o->db].generation); /* S1 */
    state_take_out(s, o);
}

void state_drop(struct state *s, struct object *o)
{
    state_before(s, o, DIGEST_REMOVE); /* from now on nobody tells it that addresses end */
    dict_remove(&s->oids, &stream_of(o)->oid_node);
    state_push(&s->dropped, o);
}

void state_unbind(struct state *s, struct object *o)
{
    if (object_is_value(o)) {
        state_remove_value(s, o);
        return;
    }
    state_take_name(s, o);
    state_drop(s, o);
}

void state_add_nameless(struct state *s, struct stream *st)
{
    st->generation = s->dbs[st->object.db].generation;
    dict_add(&s->oids, &st->oid_node, state_oid_key(&st->oid_node));
}

/* Takes a stream's object out of its names' dictionary, if it is in one; its name is (db, own_name) then. A name of memory of
 * its own (`own_name` is not its present one) becomes the object's. */
static void state_rename(struct state *s, struct object *o, int db, struct slice own_name)
{
    if (state_has_name(s, o))
        state_take_name(s, o);
    if (own_name.p != object_name(o).p) {
        state_free_name(o);
        o->flags |= OBJECT_NAME_OUT;
        o->name_n = sizeof own_name;
        memcpy(o->bytes, &own_name, sizeof own_name);
    }
    o->db = s->place[db] & 15u;
    stream_of(o)->generation = s->dbs[o->db].generation;
}

static void state_give_name(struct state *s, struct object *o)
{
    struct object *other = state_find(s, state_db_of(s, o), object_name(o));

    if (other != NULL)
        state_unbind(s, other);
    dict_add(&s->dbs[o->db].names, &o->node, object_name(o));
    s->dbs[o->db].n_expiring += o->expiry_ms != 0;
    s->used_bytes += state_object_bytes(o);
    s->n_objects++;
}

/* The name in memory that o may have: its own, or a copy. */
static int state_own_name(const struct object *o, struct slice name, struct slice *out,
                          struct err *e)
{
    *out = object_name(o);
    return slice_equal(name, *out) ? OK : state_copy_name(name, out, e);
}

int state_bind(struct state *s, struct object *o, int db, struct slice name, uint64_t expiry_ms,
               uint64_t lsn, struct err *e)
{
    struct slice own_name = { 0 };
    uint16_t slot =
        s->place[db] == o->db && slice_equal(name, object_name(o)) ? o->wheel : WHEEL_NONE;
    uint32_t hash = (uint32_t)(dict_hash(s->hash_key, name.p, name.n) >> 32);
    int rc = state_own_name(o, name, &own_name, e);

    if (rc == OK)
        rc = state_watch(s, s->place[db], hash, expiry_ms, &slot, e);
    if (rc != OK) {
        if (own_name.p != NULL && own_name.p != object_name(o).p)
            free((void *)(uintptr_t)own_name.p);
        return rc;
    }
    state_before(s, o, DIGEST_HEADER);
    if (s->place[db] != o->db || own_name.p != object_name(o).p || !state_has_name(s, o)) {
        state_rename(s, o, db, own_name);
        state_give_name(s, o);
    }
    s->dbs[o->db].n_expiring += (size_t)(expiry_ms != 0) - (size_t)(o->expiry_ms != 0);
    o->wheel = slot;
    object_set_expiry(o, expiry_ms);
    object_set_rev(o, lsn);
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
    object_set_expiry(o, expiry_ms);
    object_set_rev(o, lsn);
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
    if (s->digest != NULL)
        digest_moved(s->digest, &d->names, &grave->names);
    grave->cursor = 0;
    grave->next = s->graves;
    s->graves = grave;
    state_free_wheels(d);
    d->n_expiring = 0;
    d->generation++;
}

void state_flush(struct state *s, int db)
{
    for (int i = 0; i < CONFIG_DATABASES; i++)
        if (db < 0 || i == db)
            state_flush_one(s, &s->dbs[s->place[i]]);
}

/* ---- giving memory back ---- */

/* Frees about `budget` entries' worth of the object; true when all of it is gone. */
static bool state_reap_stream(struct state *s, struct stream *st, size_t *budget)
{
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
    state_free_stream(st);
    return true;
}

static bool state_reap_object(struct state *s, struct object *o, size_t *budget)
{
    size_t n = object_size(o) < *budget ? object_size(o) : *budget;

    if (o->type == OBJECT_STREAM)
        return state_reap_stream(s, stream_of(o), budget);
    if (!state_shrink_value(o, *budget)) {
        o->node.extra -= (uint32_t)n;
        *budget = 0;
        return false;
    }
    *budget -= n < *budget ? n + 1 : *budget;
    state_free_value(o);
    return true;
}

static void state_exhume(void *ctx, struct dict_node *node)
{
    struct state *s = ctx;
    struct object *o = state_of_node(node);

    dict_remove(&s->graves->names, node);
    if (o->type == OBJECT_STREAM) {
        s->used_bytes -= state_object_bytes(o);
        dict_remove(&s->oids, &stream_of(o)->oid_node);
    } else {
        state_forget_value(s, o);
    }
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

static const char *state_check_stream(const struct state *s, const struct stream *st)
{
    const char *broken;

    if (st->generation != s->dbs[st->object.db].generation || state_find_oid(s, st->oid) != st)
        return "S1: a stream is not where its name is";
    if (id_cmp(state_tail_last(st), st->last_id) > 0)
        return "S4: an entry above the last ID";
    if (stream_index_n(st->tail) > st->n_entries)
        return "S6: more entries in the tail than live";
    if (stream_index_n(st->tail) > 0 && id_cmp(stream_tail_first(st), stream_floor(st)) < 0)
        return "S6: an entry below the floor";
    broken = state_check_groups(st);
    return broken != NULL ? broken : stream_index_check(st->tail);
}

static const char *state_check_value(const struct state *s, const struct object *o)
{
    bool hot = !(o->flags & OBJECT_COLD);
    const char *broken = NULL;

    if (!hot && !(o->flags & OBJECT_BACKED))
        return "a value that is nowhere";
    if (o->flags & OBJECT_BACKED && !liveset_has(&s->live, object_back_lsn(o)))
        return "S8: a record that backs a value is not live";
    if (hot && o->type == OBJECT_HASH) {
        broken = hash_check(object_pointer(o));
        if (hash_n(object_pointer(o)) != object_size(o))
            broken = "a hash's size";
    }
    if (hot && o->type == OBJECT_LIST) {
        broken = list_check(object_pointer(o));
        if (list_n(object_pointer(o)) != object_size(o))
            broken = "a list's size";
    }
    return broken;
}

static bool state_is_watched(const struct state_db *d, const struct object *o)
{
    const struct wheel *w = state_is_slot(d, o->wheel) ? d->wheel : d->former;
    uint16_t slot = o->wheel & (OBJECT_WHEEL_TURN - 1);

    return slot != WHEEL_NONE && w != NULL && wheel_covers(w, slot, state_due_ms(o));
}

static const char *state_check_object(const struct state *s, const struct object *o, int db)
{
    if (o->db != (unsigned)db || !state_has_name(s, o))
        return "S1: an object is not where its name is";
    if (state_due_ms(o) != 0 && !state_is_watched(&s->dbs[db], o))
        return "S2: an expiry without an entry in the wheel, or with a later one";
    return object_is_value(o) ? state_check_value(s, o) : state_check_stream(s, stream_of(o));
}

struct state_checked {
    const struct state *s;
    int db;
    size_t n, n_backed, n_cold, n_expiring, bytes;
    const char *broken;
};

static void state_check_node(void *ctx, struct dict_node *node)
{
    struct state_checked *checked = ctx;

    if (checked->broken == NULL)
        checked->broken = state_check_object(checked->s, state_of_node(node), checked->db);
    checked->n++;
    checked->n_expiring += state_of_node(node)->expiry_ms != 0;
    checked->bytes += state_whole_bytes(state_of_node(node));
    checked->n_cold += (state_of_node(node)->flags & OBJECT_COLD) != 0;
    checked->n_backed +=
        object_is_value(state_of_node(node)) && state_of_node(node)->flags & OBJECT_BACKED;
}

/* Changes that live on for a start only. */
static size_t state_n_ending(const struct state *s)
{
    size_t n = 0;

    for (size_t i = s->first_ending; i < s->n_endings; i++)
        n += liveset_has(&s->live, s->endings[i].lsn);
    return n;
}

const char *state_check(const struct state *s)
{
    struct state_checked checked = { .s = s, .broken = dict_check(&s->oids) };

    for (; checked.db < CONFIG_DATABASES && checked.broken == NULL; checked.db++) {
        struct state_db *d = (struct state_db *)(uintptr_t)&s->dbs[checked.db];
        uint64_t cursor = 0;
        checked.broken = dict_check(&d->names);
        if (checked.broken == NULL && d->wheel != NULL)
            checked.broken = wheel_check(d->wheel);
        if (checked.broken == NULL && d->former != NULL)
            checked.broken = wheel_check(d->former);
        do
            cursor = dict_scan(&d->names, cursor, state_check_node, &checked);
        while (cursor != 0);
    }
    if (checked.broken == NULL && checked.n != s->n_objects)
        checked.broken = "S3: n_objects is not the number of objects";
    if (checked.broken == NULL)
        checked.broken = liveset_check(&s->live);
    if (checked.broken == NULL && s->graves == NULL &&
        checked.n_backed + state_n_ending(s) != s->live.n_members)
        checked.broken = "S8: records live that back nothing";
    if (checked.broken == NULL && s->graves == NULL && checked.bytes != s->used_bytes)
        checked.broken = "S9: used_bytes";
    if (checked.broken == NULL && s->graves == NULL && checked.n_cold != s->n_cold)
        checked.broken = "S9: n_cold";
    return checked.broken;
}
