/*
 * replay.c - the state as a checkpoint and the log's records say it.
 *
 * A checkpoint is written while commands run, so its objects are of different moments. Each is exact as of a record,
 * `as_of`; the log from start_lsn on brings all of them to the same one. For a record and the object that it changes:
 *
 *   unknown oid       the object was gone when the checkpoint came to it, if the record is not later than end_lsn
 *                     (or it is new: STREAM, later than start_lsn, makes it); else the log is damaged
 *   lsn <= as_of      the object has it: only addresses of entries are still needed, where they live and are not in a
 *                     segment
 *   lsn > as_of       is applied
 *
 * A name may be claimed by two objects: it passed from one to the other while the checkpoint was written, and each was
 * saved when it had it. The later binding (rev) has the name; the other object is kept without one, `displaced`, with
 * its claim, until the record comes that took its name away: then it gets another one, or is gone. In the end nobody is
 * displaced. In the same way a flush removes what is older than itself only: the rest was saved after it.
 *
 * While a checkpoint is loaded, object.always_lsn holds as_of. It can stay: what a checkpoint has is durable.
 *
 *   R1  A displaced object is in the table by oid, in no dictionary of names and in no heap; it is in one list of claims.
 */
#include "broker/engine/replay.h"
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include "broker/cache/changes.h"
#include "broker/cache/restore.h"
#include "broker/engine/idmp.h"
#include "log/bug.h"
#include "log/bytes.h"
#include "log/entry.h"
#include "log/record.h"

enum { REPLAY_REAP = 64 /* freed after each record */, REPLAY_CLOCK_BITS = 16 };

/* Displaced objects that claim one name: a list by node.next. */
struct replay_claim {
    struct dict_node node; /* must be first */
    struct object *first;  /* never NULL */
};

struct replay {
    uint64_t start_lsn, end_lsn;
    struct dict claims[CONFIG_DATABASES]; /* by name */
    size_t n_displaced;
    bool doubts_live; /* of replay_doubt_live */
};

/* ---- names that two objects claim ---- */

static struct replay_claim *replay_claim_of(const struct dict_node *node)
{
    return (struct replay_claim *)(uintptr_t)node; /* node is its first member */
}

static struct slice replay_claim_key(const struct dict_node *node)
{
    return object_name(replay_claim_of(node)->first);
}

static struct object *replay_next(const struct object *o)
{
    return (struct object *)o->node.next; /* node is its first member */
}

/* Takes o out of the names, if it is in them, and remembers its claim. */
static int replay_displace(struct state *s, struct object *o, struct err *e)
{
    struct dict *claims = &s->replay->claims[state_db_of(s, o)];
    struct replay_claim *claim = replay_claim_of(dict_find(claims, object_name(o)));

    if (state_has_name(s, o))
        state_take_name(s, o);
    if (claim == NULL) {
        claim = malloc(sizeof *claim);
        if (claim == NULL)
            return err_set(e, ERR_NOMEM, "keep an object without its name");
        claim->first = o;
        o->node.next = NULL;
        dict_add(claims, &claim->node, object_name(o));
    } else {
        o->node.next = &claim->first->node;
        claim->first = o;
    }
    s->replay->n_displaced++;
    return OK;
}

/* Takes o out of the claims, if it is in them. */
static void replay_forget_claim(struct state *s, struct object *o)
{
    struct dict *claims = s->replay == NULL ? NULL : &s->replay->claims[state_db_of(s, o)];
    struct replay_claim *claim =
        claims == NULL ? NULL : replay_claim_of(dict_find(claims, object_name(o)));
    struct object *before;

    if (claim == NULL)
        return;
    if (claim->first == o && replay_next(o) == NULL) {
        dict_remove(claims, &claim->node);
        free(claim);
    } else if (claim->first == o) {
        claim->first = replay_next(o);
    } else {
        for (before = claim->first; before != NULL && replay_next(before) != o;)
            before = replay_next(before);
        if (before == NULL)
            return;
        before->node.next = o->node.next;
    }
    s->replay->n_displaced--;
}

/* An object is gone, with or without a name. */
static void replay_drop(struct state *s, struct object *o)
{
    if (state_has_name(s, o)) {
        state_unbind(s, o);
        return;
    }
    replay_forget_claim(s, o);
    state_drop(s, o);
}

/* Of those that claim (db, name), the displaced one that the record `rev` bound; NULL if there is none. */
static struct object *replay_find_claim(const struct state *s, int db, struct slice name,
                                        uint64_t rev)
{
    struct replay_claim *claim =
        s->replay == NULL ? NULL : replay_claim_of(dict_find(&s->replay->claims[db], name));
    struct object *o = claim == NULL ? NULL : claim->first;

    while (o != NULL && o->rev != rev)
        o = replay_next(o);
    return o;
}

/* Of those that claim the name, all who are older than the record are gone, but for `keep`. */
static void replay_drop_claims(struct state *s, int db, struct slice name, uint64_t lsn,
                               const struct object *keep)
{
    struct replay_claim *claim = s->replay == NULL || s->replay->n_displaced == 0
                                     ? NULL
                                     : replay_claim_of(dict_find(&s->replay->claims[db], name));
    struct object *next;

    for (struct object *o = claim == NULL ? NULL : claim->first; o != NULL; o = next) {
        next = replay_next(o);
        if (o != keep && o->rev < lsn)
            replay_drop(s, o);
    }
}

/* A record says that `keep` (NULL: somebody who is gone by now) has the name from `lsn` on: whoever had it before is
 * gone. */
static void replay_drop_older(struct state *s, int db, struct slice name, uint64_t lsn,
                              const struct object *keep)
{
    struct object *o = state_find(s, db, name);

    if (o != NULL && o != keep && o->rev < lsn)
        replay_drop(s, o);
    replay_drop_claims(s, db, name, lsn, keep);
}

/* Gives o, which has no name and is in no list of claims, the name that it claims, unless a later binding has it. */
static int replay_place(struct state *s, struct object *o, struct err *e)
{
    struct object *holder = state_find(s, state_db_of(s, o), object_name(o));
    bool later = holder == NULL || o->rev > holder->rev;
    int rc = OK;

    if (BUG(BUG_NAME_LOSER_KEPT) && holder != NULL)
        later = !later;
    if (!later)
        return replay_displace(s, o, e);
    if (holder != NULL && object_is_value(holder))
        state_unbind(s, holder); /* nothing that comes will ask for it */
    else if (holder != NULL)
        rc = replay_displace(s, holder, e);
    return rc == OK ? state_bind(s, o, state_db_of(s, o), object_name(o), o->expiry_ms, o->rev, e)
                    : rc;
}

/* ---- a start ---- */

int replay_begin(struct state *s, struct err *e)
{
    struct replay *x = calloc(1, sizeof *x);

    if (x == NULL)
        return err_set(e, ERR_NOMEM, "load a checkpoint");
    for (int db = 0; db < CONFIG_DATABASES; db++)
        dict_init(&x->claims[db], s->hash_key, replay_claim_key);
    s->replay = x;
    return OK;
}

int replay_add(struct state *s, struct stream *st, uint64_t as_of, struct err *e)
{
    struct object *o = &st->object;

    if (state_find_oid(s, st->oid) != NULL) {
        state_discard_stream(st);
        return OK;
    }
    st->always_lsn = as_of;
    state_add_nameless(s, st);
    return replay_place(s, o, e);
}

int replay_add_value(struct state *s, int db, struct slice name, const struct state_value *v,
                     struct object **out, struct err *e)
{
    struct object *holder = state_find(s, db, name);
    int rc = OK;

    if (holder != NULL && holder->rev > v->rev)
        return err_set(e, ERR_CORRUPT, "a key is there already, and newer");
    if (holder != NULL && object_is_value(holder)) {
        replay_doubt_live(s);
        state_unbind(s, holder);
    } else if (holder != NULL) {
        rc = replay_displace(s, holder, e);
    }
    return rc == OK ? state_replace_value(s, db, name, NULL, v, out, e) : rc;
}

void replay_doubt_live(struct state *s)
{
    if (s->replay != NULL)
        s->replay->doubts_live = true;
}

struct replay_live {
    struct state *s;
    struct err *e;
    int rc;
};

static void replay_live(struct replay_live *x, uint64_t lsn)
{
    if (x->rc == OK)
        x->rc = liveset_reserve(&x->s->live, lsn, lsn, x->e);
    if (x->rc == OK)
        liveset_add(&x->s->live, lsn);
}

static void replay_live_node(void *ctx, struct dict_node *node)
{
    const struct object *o = state_of_node(node);

    if (object_is_value(o) && o->flags & OBJECT_BACKED)
        replay_live(ctx, object_back_lsn(o));
}

/* Whatever backs a value lives, and what has done so while a start may need it. */
static int replay_settle_live(struct state *s, struct err *e)
{
    struct replay_live x = { s, e, OK };

    for (size_t i = s->first_ending; i < s->n_endings; i++)
        replay_live(&x, s->endings[i].lsn);

    for (int db = 0; db < CONFIG_DATABASES; db++) {
        uint64_t cursor = 0;
        do
            cursor = dict_scan(&s->dbs[db].names, cursor, replay_live_node, &x);
        while (cursor != 0);
    }
    return x.rc;
}

void replay_loaded(struct state *s, uint64_t start_lsn, uint64_t end_lsn)
{
    s->replay->start_lsn = start_lsn;
    s->replay->end_lsn = end_lsn;
}

static void replay_free_claim(void *ctx, struct dict_node *node)
{
    (void)ctx;
    free(replay_claim_of(node));
}

void replay_free(struct state *s)
{
    if (s->replay == NULL)
        return;
    for (int db = 0; db < CONFIG_DATABASES; db++) {
        uint64_t cursor = 0;
        do
            cursor = dict_scan(&s->replay->claims[db], cursor, replay_free_claim, NULL);
        while (cursor != 0);
        dict_fini(&s->replay->claims[db]);
    }
    free(s->replay);
    s->replay = NULL;
}

int replay_end(struct state *s, struct err *e)
{
    int rc = OK;

    changes_replayed(s);
    if (s->replay == NULL)
        return OK;
    if (s->replay->n_displaced > 0)
        rc = err_set(e, ERR_CORRUPT,
                     "%zu objects of the checkpoint have lost their names to others, and no record "
                     "says why",
                     s->replay->n_displaced);
    if (rc == OK && s->replay->doubts_live)
        rc = replay_settle_live(s, e);
    replay_free(s);
    return rc;
}

static uint64_t replay_start_lsn(const struct state *s)
{
    return s->replay == NULL ? 0 : s->replay->start_lsn;
}

static uint64_t replay_end_lsn(const struct state *s)
{
    return s->replay == NULL ? 0 : s->replay->end_lsn;
}

/* Whether the object is so new that it has the record already. */
static bool replay_has(const struct object *o, uint64_t lsn)
{
    return lsn <= stream_of(o)->always_lsn && !BUG(BUG_REPLAY_COUNTS_TWICE);
}

/* ---- reading records ---- */

/* What is left of a record's body, and where to complain. */
struct replay_record {
    const struct log_record *r;
    const uint8_t *p, *end;
    struct err *e;
};

static int replay_corrupt(const struct replay_record *in, const char *what)
{
    return err_set(in->e, ERR_CORRUPT, "record %" PRIu64 " of type %u: %s", in->r->lsn, in->r->type,
                   what);
}

static int replay_read_u64(struct replay_record *in, uint64_t *out)
{
    return varint_get(&in->p, in->end, out) ? OK : replay_corrupt(in, "a number is cut short");
}

static int replay_read_id(struct replay_record *in, struct id *out)
{
    return id_get(&in->p, in->end, out) ? OK : replay_corrupt(in, "an ID is cut short");
}

static int replay_read_str(struct replay_record *in, struct slice *out)
{
    return slice_get(&in->p, in->end, out) ? OK : replay_corrupt(in, "a string is cut short");
}

static int replay_read_end(const struct replay_record *in)
{
    return in->p == in->end ? OK : replay_corrupt(in, "bytes are left over");
}

static int replay_read_u32(struct replay_record *in, uint32_t *out)
{
    uint64_t v;
    int rc = replay_read_u64(in, &v);

    if (rc == OK && v > UINT32_MAX)
        rc = replay_corrupt(in, "a number is too large");
    if (rc == OK)
        *out = (uint32_t)v;
    return rc;
}

/* db and str key, as four types begin. */
static int replay_read_key(struct replay_record *in, int *db, struct slice *key)
{
    uint64_t v;
    int rc = replay_read_u64(in, &v);

    if (rc == OK && v >= CONFIG_DATABASES)
        rc = replay_corrupt(in, "there is no such database");
    if (rc == OK)
        rc = replay_read_str(in, key);
    if (rc == OK)
        *db = (int)v;
    return rc;
}

static bool replay_is_of_groups(uint8_t type)
{
    return type >= RECORD_GROUP && type <= RECORD_UNREF;
}

/* The object of an oid; *out is NULL if it was gone when the checkpoint was made. */
static int replay_read_object(const struct state *s, struct replay_record *in, struct object **out)
{
    struct stream *st;
    uint64_t oid;
    int rc = replay_read_u64(in, &oid);

    if (rc != OK)
        return rc;
    st = state_find_oid(s, oid);
    *out = st == NULL ? NULL : &st->object;
    if (*out == NULL && in->r->lsn > replay_end_lsn(s))
        return replay_corrupt(in, "there is no such object");
    if (st != NULL && changes_view(st) != NULL && !replay_is_of_groups(in->r->type))
        return replay_corrupt(in, "a view of changes has nothing of its own but groups");
    return OK;
}

static int replay_read_stream(const struct state *s, struct replay_record *in, struct stream **out)
{
    struct object *o = NULL;
    int rc = replay_read_object(s, in, &o);

    if (rc == OK)
        *out = o == NULL ? NULL : stream_of(o);
    return rc;
}

/* ---- streams and entries ---- */

static int replay_apply_stream(struct state *s, struct replay_record *in)
{
    uint64_t lsn = in->r->lsn;
    struct slice key = { 0 };
    struct object *holder;
    struct stream *st;
    int db = 0;
    int rc = replay_read_key(in, &db, &key);

    if (rc == OK)
        rc = replay_read_end(in);
    if (rc != OK)
        return rc;
    if (dict_find(&s->oids, slice_of(&lsn, sizeof lsn)) != NULL)
        return lsn <= replay_end_lsn(s) ? OK : replay_corrupt(in, "the object is there already");
    if (lsn <= replay_start_lsn(s))
        return OK; /* it was gone by then */
    holder = state_find(s, db, key);
    if (holder != NULL && holder->rev < lsn)
        return replay_corrupt(in, "the name is bound already");
    rc = state_reserve_stream(s, key, &st, in->e);
    if (rc != OK)
        return rc;
    if (holder == NULL) {
        state_add_stream(s, st, lsn, db);
        return OK;
    }
    st->oid = lsn;
    object_set_rev(&st->object, lsn);
    st->object.db = s->place[db] & 15u;
    state_add_nameless(s, st);
    return replay_displace(s, &st->object, in->e);
}

/* An entry that the object's numbers have already: its address, if it lives and is in no segment. */
static int replay_index_entry(struct state *s, struct replay_record *in, struct stream *st,
                              struct id id)
{
    int rc;

    if (in->r->sealed || id_cmp(id, stream_floor(st)) < 0 || delset_has(stream_deletes(st), id))
        return OK;
    if (stream_index_n(st->tail) > 0 && id_cmp(id, state_tail_last(st)) <= 0)
        return replay_corrupt(in, "the entry's ID does not grow");
    if (id_cmp(id, st->last_id) > 0 || stream_n_sealed(st) == 0)
        return replay_corrupt(in, "the checkpoint does not have the entry");
    rc = stream_index_reserve(&s->tails, &st->tail, 1, in->e);
    if (rc == OK)
        stream_index_append(st->tail, in->p);
    return rc;
}

/* The entry that the rest of the body has to be, which the stream does not have yet. */
static int replay_add_entry(struct state *s, struct replay_record *in, struct stream *st,
                            struct id id)
{
    int rc = OK;

    if (id_cmp(id, st->last_id) <= 0)
        return replay_corrupt(in, "the entry's ID does not grow");
    if (!in->r->sealed)
        rc = stream_index_reserve(&s->tails, &st->tail, 1, in->e);
    if (rc == OK)
        state_add_entry(s, st, id, in->r->sealed ? NULL : in->p, (size_t)(in->end - in->p),
                        in->r->lsn);
    return rc;
}

static int replay_check_entry(struct replay_record *in, struct id *id)
{
    return entry_check(in->p, in->end, id) ? OK : replay_corrupt(in, "the entry is malformed");
}

static int replay_apply_entry(struct state *s, struct replay_record *in)
{
    struct stream *st = NULL;
    struct id id = ID_MIN;
    int rc = replay_read_stream(s, in, &st);

    if (rc == OK)
        rc = replay_check_entry(in, &id);
    if (rc != OK || st == NULL)
        return rc;
    if (replay_has(&st->object, in->r->lsn))
        return replay_index_entry(s, in, st, id);
    return replay_add_entry(s, in, st, id);
}

static int replay_add_idmp(struct state *s, struct replay_record *in, struct stream *st,
                           struct slice producer, struct slice iid, struct id id)
{
    uint64_t now_ms = in->r->clock >> 16;
    struct idmp_item *item = NULL;
    int rc = state_prepare_idmp(s, st, producer, iid, now_ms, &item, in->e);

    if (rc == ERR_CORRUPT)
        return replay_corrupt(in, "no settings of the stream's idempotence came before");
    if (rc != OK)
        return rc;
    rc = replay_add_entry(s, in, st, id);
    if (rc == OK)
        idmp_commit(st->more->idmp, item, id, now_ms);
    else
        idmp_discard(item);
    return rc;
}

static int replay_apply_entry_idmp(struct state *s, struct replay_record *in)
{
    struct slice producer = { 0 }, iid = { 0 };
    struct stream *st = NULL;
    struct id id = ID_MIN;
    int rc = replay_read_stream(s, in, &st);

    if (rc == OK)
        rc = replay_read_str(in, &producer);
    if (rc == OK)
        rc = replay_read_str(in, &iid);
    if (rc == OK)
        rc = replay_check_entry(in, &id);
    if (rc != OK || st == NULL)
        return rc;
    if (replay_has(&st->object, in->r->lsn))
        return replay_index_entry(s, in, st, id);
    return replay_add_idmp(s, in, st, producer, iid, id);
}

/* ---- removals ---- */

/* n IDs, up to the end of the record, checked as a whole; *in stands at the first one afterwards. */
static int replay_read_ids(struct replay_record *in, uint64_t *n)
{
    struct replay_record ids;
    struct id id;
    int rc = replay_read_u64(in, n);

    if (rc == OK && *n > (uint64_t)(in->end - in->p) / 2)
        rc = replay_corrupt(in, "more IDs than bytes");
    ids = *in;
    for (uint64_t i = 0; i < *n && rc == OK; i++)
        rc = replay_read_id(&ids, &id);
    return rc == OK ? replay_read_end(&ids) : rc;
}

static int replay_read_left(struct replay_record *in, struct state_left *left)
{
    int rc = replay_read_u64(in, &left->n);

    if (rc == OK && left->n > STATE_ENTRIES_MAX)
        rc = replay_corrupt(in, "no stream has so many entries");
    return rc == OK ? replay_read_u64(in, &left->bytes) : rc;
}

/* How many entries of the tail are below `first`, and their bytes. */
static struct state_left replay_tail_below(const struct stream *st, struct id first)
{
    struct stream_pos pos = stream_index_begin(st->tail);
    struct state_left below = { 0, 0 };
    const uint8_t *entry;
    struct id id;

    for (; (entry = stream_index_at(st->tail, pos)) != NULL; stream_index_next(st->tail, &pos)) {
        entry_id(entry, &id);
        if (id_cmp(id, first) >= 0)
            break;
        below.n++;
        below.bytes += (uint64_t)(entry_end(entry) - entry);
    }
    return below;
}

static const uint8_t *replay_find_entry(const struct stream *st, struct id id)
{
    const uint8_t *entry = stream_index_at(st->tail, stream_index_seek(st->tail, id));
    struct id found;

    if (entry == NULL)
        return NULL;
    entry_id(entry, &found);
    return id_cmp(found, id) == 0 ? entry : NULL;
}

/* The n IDs at *in in memory of their own; they ascend. *n_tail is how many of them are in the tail. */
static int replay_take_ids(struct replay_record *in, const struct stream *st, size_t n,
                           struct id **out, uint64_t *n_tail)
{
    struct id *ids = malloc(n * sizeof *ids + 1);
    int rc = ids != NULL ? OK : err_set(in->e, ERR_NOMEM, "read %zu IDs", n);

    *n_tail = 0;
    for (size_t i = 0; i < n && rc == OK; i++) {
        rc = replay_read_id(in, &ids[i]);
        if (rc == OK && i > 0 && id_cmp(ids[i - 1], ids[i]) >= 0)
            rc = replay_corrupt(in, "IDs do not ascend");
        if (rc == OK)
            *n_tail += replay_find_entry(st, ids[i]) != NULL;
    }
    if (rc != OK) {
        free(ids);
        return rc;
    }
    *out = ids;
    return OK;
}

static int replay_remove(struct state *s, struct replay_record *in, struct stream *st,
                         const struct id *ids, size_t n, uint64_t n_tail, struct state_left left)
{
    int rc;

    if (replay_has(&st->object, in->r->lsn)) {
        for (size_t i = 0; i < n; i++)
            state_forget_entry(st, ids[i]);
        return OK;
    }
    if (left.n < stream_index_n(st->tail) - n_tail)
        return replay_corrupt(in, "more entries are there than are left");
    rc = state_prepare_remove(s, st, n, in->e);
    if (rc == OK && in->r->type == RECORD_SIFT)
        state_sift(s, st, ids, n, left, in->r->lsn);
    else if (rc == OK)
        state_remove(s, st, ids, n, left, in->r->lsn);
    return rc;
}

static int replay_apply_remove(struct state *s, struct replay_record *in)
{
    struct state_left left = { 0, 0 };
    struct stream *st = NULL;
    struct id *ids = NULL;
    uint64_t n = 0, n_tail = 0;
    int rc = replay_read_stream(s, in, &st);

    if (rc == OK)
        rc = replay_read_left(in, &left);
    if (rc == OK)
        rc = replay_read_ids(in, &n);
    if (rc != OK || st == NULL)
        return rc;
    rc = replay_take_ids(in, st, (size_t)n, &ids, &n_tail);
    if (rc == OK)
        rc = replay_remove(s, in, st, ids, (size_t)n, n_tail, left);
    free(ids);
    return rc;
}

static int replay_cut(struct state *s, struct replay_record *in, struct stream *st, struct id first,
                      struct state_left left)
{
    int rc;

    if (replay_has(&st->object, in->r->lsn)) {
        state_forget_below(st, left.n > 0 ? first : ID_MAX, left.n == 0);
        return OK;
    }
    if (left.n > 0 && id_cmp(first, st->last_id) > 0)
        return replay_corrupt(in, "entries are left below the first one");
    if (left.n > 0 && left.n < stream_index_n(st->tail) - replay_tail_below(st, first).n)
        return replay_corrupt(in, "more entries are there than are left");
    rc = state_prepare_remove(s, st, 0, in->e);
    if (rc == OK)
        state_cut(s, st, first, left, in->r->lsn);
    return rc;
}

static int replay_apply_cut(struct state *s, struct replay_record *in)
{
    struct state_left left = { 0, 0 };
    struct stream *st = NULL;
    struct id first = ID_MIN;
    int rc = replay_read_stream(s, in, &st);

    if (rc == OK)
        rc = replay_read_id(in, &first);
    if (rc == OK)
        rc = replay_read_left(in, &left);
    if (rc == OK)
        rc = replay_read_end(in);
    return rc != OK || st == NULL ? rc : replay_cut(s, in, st, first, left);
}

/* ---- removals of format 1, which do not say what is left ---- */

/* Entries of segments that live and have IDs in [from, to]. */
static int replay_measure(const struct state *s, struct replay_record *in, const struct stream *st,
                          struct id from, struct id to, struct state_left *out)
{
    *out = (struct state_left){ 0, 0 };
    if (stream_n_sealed(st) == 0)
        return OK;
    if (s->measure == NULL)
        return replay_corrupt(in, "the entries are not in memory");
    return s->measure(s->measure_ctx, st, from, to, &out->n, &out->bytes, in->e);
}

static int replay_old_remove(struct state *s, struct replay_record *in, struct stream *st,
                             struct id id)
{
    const uint8_t *entry = replay_find_entry(st, id);
    struct state_left gone = { 1, entry != NULL ? (uint64_t)(entry_end(entry) - entry) : 0 };
    int rc = entry != NULL ? OK : replay_measure(s, in, st, id, id, &gone);

    if (rc == OK && gone.n > 0)
        rc = state_prepare_remove(s, st, 1, in->e);
    if (rc == OK && gone.n > 0)
        state_remove(s, st, &id, 1,
                     (struct state_left){ st->n_entries - 1, st->bytes - gone.bytes }, in->r->lsn);
    return rc;
}

static int replay_apply_delete(struct state *s, struct replay_record *in)
{
    struct stream *st = NULL;
    struct id id = ID_MIN;
    uint64_t n = 0;
    int rc = replay_read_stream(s, in, &st);

    if (rc == OK)
        rc = replay_read_ids(in, &n);
    for (uint64_t i = 0; i < n && rc == OK && st != NULL; i++) {
        rc = replay_read_id(in, &id);
        if (rc == OK && replay_has(&st->object, in->r->lsn))
            state_forget_entry(st, id);
        else if (rc == OK)
            rc = replay_old_remove(s, in, st, id);
    }
    return rc;
}

static int replay_apply_trim(struct state *s, struct replay_record *in)
{
    struct state_left below, sealed = { 0, 0 };
    struct id first = ID_MIN, last;
    struct stream *st = NULL;
    int rc = replay_read_stream(s, in, &st);

    if (rc == OK)
        rc = replay_read_id(in, &first);
    if (rc == OK)
        rc = replay_read_end(in);
    last = first;
    if (rc != OK || st == NULL || !id_prev(&last))
        return rc;
    if (replay_has(&st->object, in->r->lsn)) {
        state_forget_below(st, first, false);
        return OK;
    }
    rc = replay_measure(s, in, st, ID_MIN, last, &sealed);
    if (rc == OK && sealed.n > stream_n_sealed(st))
        rc = replay_corrupt(in, "more entries are in segments than the stream has");
    if (rc == OK)
        rc = state_prepare_remove(s, st, 0, in->e);
    if (rc != OK)
        return rc;
    below = replay_tail_below(st, first);
    state_cut(s, st, first,
              (struct state_left){ st->n_entries - below.n - sealed.n,
                                   st->bytes - below.bytes - sealed.bytes },
              in->r->lsn);
    return OK;
}

/* ---- settings ---- */

/* One of the settings, checked, into x. */
static int replay_read_setting(struct replay_record *in, uint32_t *which, struct stream_settings *x)
{
    uint64_t tag = 0, value = 0; /* + 1, or 0 for none */
    int rc = replay_read_u64(in, &tag);
    const char *wrong;

    if (rc == OK)
        rc = replay_read_u64(in, &value);
    if (rc != OK)
        return rc;
    wrong = state_setting_error(tag, value == 0 ? 0 : value - 1);
    if (wrong != NULL)
        return replay_corrupt(in, wrong);
    *which |= 1u << tag;
    x->set = value == 0 ? x->set & ~(1u << tag) : x->set | 1u << tag;
    x->values[tag] = value == 0 ? 0 : value - 1;
    return OK;
}

static int replay_apply_settings(struct state *s, struct replay_record *in)
{
    struct stream_settings x = { 0 };
    struct stream *st = NULL;
    uint32_t which = 0;
    uint64_t n = 0;
    int rc = replay_read_stream(s, in, &st);

    if (rc == OK)
        rc = replay_read_u64(in, &n);
    for (uint64_t i = 0; i < n && rc == OK; i++)
        rc = replay_read_setting(in, &which, &x);
    if (rc == OK)
        rc = replay_read_end(in);
    if (rc != OK || st == NULL || replay_has(&st->object, in->r->lsn))
        return rc;
    rc = state_prepare_configure(st, in->e);
    if (rc == OK)
        state_configure(s, st, which, &x);
    return rc;
}

static int replay_apply_set_id(struct state *s, struct replay_record *in)
{
    struct id last = ID_MIN, max_deleted = ID_MIN;
    struct stream *st = NULL;
    uint64_t added = 0;
    int rc = replay_read_stream(s, in, &st);

    if (rc == OK)
        rc = replay_read_id(in, &last);
    if (rc == OK)
        rc = replay_read_u64(in, &added);
    if (rc == OK)
        rc = replay_read_id(in, &max_deleted);
    if (rc == OK)
        rc = replay_read_end(in);
    if (rc != OK || st == NULL || replay_has(&st->object, in->r->lsn))
        return rc;
    if (id_cmp(last, state_tail_last(st)) < 0 ||
        (st->n_entries > 0 && id_cmp(last, stream_floor(st)) < 0))
        return replay_corrupt(in, "the last ID is below an entry"); /* S4 */
    if (state_begins_anew(st, last) && state_find_oid(s, in->r->lsn) != NULL) {
        replay_drop(s, &st->object); /* it was saved once more after that */
        return OK;
    }
    rc = state_prepare_remove(s, st, 0, in->e);
    if (rc == OK)
        state_set_id(s, st, last, added, max_deleted, in->r->lsn);
    return rc;
}

static int replay_apply_idmp_config(struct state *s, struct replay_record *in)
{
    uint32_t duration_s = 0, maxsize = 0;
    struct stream *st = NULL;
    int rc = replay_read_stream(s, in, &st);

    if (rc == OK)
        rc = replay_read_u32(in, &duration_s);
    if (rc == OK)
        rc = replay_read_u32(in, &maxsize);
    if (rc == OK)
        rc = replay_read_end(in);
    if (rc == OK && (duration_s > IDMP_DURATION_MAX_S || maxsize > IDMP_MAXSIZE_MAX))
        rc = replay_corrupt(in, "settings of idempotence out of range");
    if (rc != OK || st == NULL || replay_has(&st->object, in->r->lsn))
        return rc;
    rc = state_prepare_idmp_config(st, in->e);
    if (rc == OK)
        state_set_idmp(s, st, duration_s, maxsize);
    return rc;
}

/* ---- groups ---- */

/* A record of groups/journal.h. Each group knows itself which ones it has. */
static int replay_apply_group(struct state *s, struct replay_record *in)
{
    struct group *dropped = NULL;
    struct stream *st = NULL;
    int rc = replay_read_stream(s, in, &st);

    if (rc != OK || st == NULL || in->r->lsn <= replay_start_lsn(s))
        return rc; /* every group was saved later than that */
    rc = state_prepare_groups(s, st, in->e);
    if (rc == OK)
        rc = journal_apply(&st->more->groups, s->hash_key, in->r->type, in->r->lsn, in->p, in->end,
                           replay_end_lsn(s), &dropped, in->e);
    if (dropped != NULL)
        state_drop_group(s, dropped);
    return rc;
}

/* ---- names ---- */

/* The object has (db, name) from this record on, unless one that was saved later has it. */
static int replay_name(struct state *s, struct replay_record *in, struct object *o, int db,
                       struct slice name, uint64_t expiry_ms)
{
    struct object *holder = state_find(s, db, name);
    int rc;

    if (!state_has_name(s, o))
        replay_forget_claim(s, o);
    if (holder == NULL || holder == o)
        return state_bind(s, o, db, name, expiry_ms, in->r->lsn, in->e);
    rc = state_claim(s, o, db, name, expiry_ms, in->r->lsn, in->e);
    return rc == OK ? replay_displace(s, o, in->e) : rc;
}

static int replay_apply_name(struct state *s, struct replay_record *in)
{
    struct slice key = { 0 };
    struct object *o = NULL;
    uint64_t expiry_ms = 0;
    int db = 0;
    int rc = replay_read_key(in, &db, &key);

    if (rc == OK)
        rc = replay_read_object(s, in, &o);
    if (rc == OK)
        rc = replay_read_u64(in, &expiry_ms);
    if (rc == OK)
        rc = replay_read_end(in);
    if (rc != OK)
        return rc;
    replay_drop_older(s, db, key, in->r->lsn, o);
    if (o == NULL || replay_has(o, in->r->lsn))
        return OK;
    return replay_name(s, in, o, db, key, expiry_ms);
}

static int replay_apply_unname(struct state *s, struct replay_record *in)
{
    struct slice key = { 0 };
    uint64_t rev = 0;
    struct object *o;
    int db = 0;
    int rc = replay_read_key(in, &db, &key);

    if (rc == OK && (in->p == in->end || *in->p++ > REASON_EVICT))
        rc = replay_corrupt(in, "there is no such reason");
    if (rc == OK)
        rc = replay_read_u64(in, &rev);
    if (rc == OK)
        rc = replay_read_end(in);
    if (rc != OK)
        return rc;
    o = state_find(s, db, key);
    if (o == NULL || o->rev != rev)
        o = replay_find_claim(s, db, key, rev);
    if (o != NULL)
        replay_drop(s, o);
    return OK;
}

struct replay_flush {
    struct state *s;
    uint64_t lsn;
};

static void replay_flush_node(void *ctx, struct dict_node *node)
{
    struct object *o = (struct object *)(void *)node;
    const struct replay_flush *f = ctx;

    if (object_is_value(o) ? o->rev < f->lsn : !replay_has(o, f->lsn))
        replay_drop(f->s, o);
}

static void replay_flush_claim(void *ctx, struct dict_node *node)
{
    struct object *next;

    for (struct object *o = replay_claim_of(node)->first; o != NULL; o = next) {
        next = replay_next(o);
        replay_flush_node(ctx, &o->node); /* the last one takes the claim with it */
    }
}

static void replay_flush_all(struct dict *d, void (*each)(void *, struct dict_node *),
                             struct replay_flush *f)
{
    uint64_t cursor = 0;

    do
        cursor = dict_scan(d, cursor, each, f);
    while (cursor != 0);
}

static void replay_flush_db(struct state *s, int db, uint64_t lsn)
{
    struct replay_flush f = { s, lsn };

    if (s->replay != NULL)
        replay_flush_all(&s->replay->claims[db], replay_flush_claim, &f);
    if (lsn > replay_end_lsn(s))
        state_flush(s, db);
    else
        replay_flush_all(state_names(s, db), replay_flush_node, &f);
}

static int replay_apply_flush(struct state *s, struct replay_record *in)
{
    uint64_t db = 0; /* + 1 */
    int rc = replay_read_u64(in, &db);

    if (rc == OK)
        rc = replay_read_end(in);
    if (rc == OK && db > CONFIG_DATABASES)
        rc = replay_corrupt(in, "there is no such database");
    for (int i = 0; i < CONFIG_DATABASES && rc == OK; i++)
        if (db == 0 || (uint64_t)i == db - 1)
            replay_flush_db(s, i, in->r->lsn);
    return rc;
}

/* ---- values ---- */

/* Says which record, to what is wrong with its change. */
static int replay_where(const struct replay_record *in, int rc)
{
    if (rc != OK && in->e != NULL)
        err_ignore(err_add(in->e, "record %" PRIu64, in->r->lsn)); /* it is rc */
    return rc;
}

/* The change is found by its record from now on. */
static int replay_index_change(struct state *s, struct replay_record *in, struct id id)
{
    int rc = OK;

    if (id.seq != in->r->lsn || id.ms != in->r->clock >> REPLAY_CLOCK_BITS ||
        id_cmp(id, s->changes_last) <= 0)
        return replay_corrupt(in, "the change has another record's ID");
    if (!in->r->sealed)
        rc = state_prepare_changes(s, 1, in->e);
    if (rc != OK)
        return rc;
    state_add_change(s, id, in->r->sealed ? NULL : in->p);
    changes_added(s, id, in->p, (size_t)(in->end - in->p));
    return OK;
}

static int replay_swap(struct state *s, struct replay_record *in, const struct change *x)
{
    if (in->r->lsn <= replay_end_lsn(s))
        return replay_corrupt(in, "databases were swapped while the checkpoint was written");
    if (x->db == x->to_db)
        return replay_corrupt(in, "a database is swapped with itself");
    state_swap(s, x->db, x->to_db);
    return OK;
}

static int replay_change(struct state *s, struct replay_record *in, const struct change *x)
{
    int rc;

    if (x->op == CHANGE_SWAP)
        return replay_swap(s, in, x);
    for (int i = 0; i < CONFIG_DATABASES && x->op == CHANGE_FLUSH; i++)
        if (x->db == CHANGE_DB_ALL || i == x->db)
            replay_flush_db(s, i, in->r->lsn);
    if (x->op == CHANGE_FLUSH)
        return OK;
    if (x->op == CHANGE_SET)
        replay_drop_claims(s, x->db, x->key, in->r->lsn, NULL);
    if (x->op == CHANGE_RENAME)
        replay_drop_older(s, x->to_db, x->to, in->r->lsn,
                          NULL); /* even if who took it is not there */
    rc = restore_change(s, x, in->p, in->r->lsn, in->r->lsn > replay_end_lsn(s), in->e);
    return replay_where(in, rc);
}

static int replay_apply_change(struct state *s, struct replay_record *in)
{
    struct id id = ID_MIN;
    struct change x;
    uint64_t oid = 0;
    int rc = replay_read_u64(in, &oid);

    if (rc == OK && oid != CHANGE_OID)
        rc = replay_corrupt(in, "it belongs to another stream than that of changes");
    if (rc == OK)
        rc = replay_check_entry(in, &id);
    if (rc == OK)
        rc = replay_where(in, change_read(in->p, &x, in->e));
    if (rc == OK)
        rc = replay_index_change(s, in, id);
    if (rc != OK || in->r->lsn <= replay_start_lsn(s))
        return rc; /* every value was saved later than that */
    return replay_change(s, in, &x);
}

/* ---- any record ---- */

/* Whether it says something of a name alone, which every object of the checkpoint has since. */
static bool replay_names(uint8_t type)
{
    return type == RECORD_NAME || type == RECORD_UNNAME || type == RECORD_FLUSH;
}

static int replay_apply_any(struct state *s, struct replay_record *in)
{
    if (in->r->lsn <= replay_start_lsn(s) && replay_names(in->r->type))
        return OK; /* databases may have changed places since */
    switch (in->r->type) {
    case RECORD_SKIP: return OK; /* the log's own */
    case RECORD_STREAM: return replay_apply_stream(s, in);
    case RECORD_ENTRY: return replay_apply_entry(s, in);
    case RECORD_ENTRY_IDMP: return replay_apply_entry_idmp(s, in);
    case RECORD_DELETE: return replay_apply_delete(s, in);
    case RECORD_TRIM: return replay_apply_trim(s, in);
    case RECORD_SETID: return replay_apply_set_id(s, in);
    case RECORD_NAME: return replay_apply_name(s, in);
    case RECORD_UNNAME: return replay_apply_unname(s, in);
    case RECORD_FLUSH: return replay_apply_flush(s, in);
    case RECORD_IDMP_CONFIG: return replay_apply_idmp_config(s, in);
    case RECORD_REMOVE:
    case RECORD_SIFT: return replay_apply_remove(s, in);
    case RECORD_CUT: return replay_apply_cut(s, in);
    case RECORD_SETTINGS: return replay_apply_settings(s, in);
    case RECORD_CHANGE: return replay_apply_change(s, in);
    case RECORD_GROUP:
    case RECORD_GROUP_DROP:
    case RECORD_GROUP_POSITION:
    case RECORD_GROUP_OPTIONS:
    case RECORD_CONSUMER:
    case RECORD_CONSUMER_DROP:
    case RECORD_DELIVER:
    case RECORD_PENDING:
    case RECORD_ACK:
    case RECORD_UNREF: return replay_apply_group(s, in);
    case RECORD_HISTORY: return changes_replay_history(s, in->r, in->e);
    case RECORD_VIEW: return changes_replay_view(s, in->r, in->e);
    }
    return in->r->type >= RECORD_IGNORABLE ? OK : replay_corrupt(in, "unknown type");
}

int replay_apply(struct state *s, const struct log_record *r, struct err *e)
{
    struct replay_record in = { r, r->body, r->body + r->len, e };
    int rc = replay_apply_any(s, &in);

    if (rc == OK && state_has_garbage(s))
        state_reap(s, REPLAY_REAP);
    return rc;
}
