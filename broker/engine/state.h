/* state.h - what the log says: names, objects, streams. Changed only by the apply functions, which replay and
 * commands both call; they read no clock, no configuration and no hash order.
 *
 * An object has one name; a name maps to at most one object. Databases are separate namespaces. */
#ifndef BROKER_ENGINE_STATE_H
#define BROKER_ENGINE_STATE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "broker/config.h"
#include "broker/engine/wheel.h"
#include "groups/groups.h"
#include "log/dict.h"
#include "log/err.h"
#include "log/id.h"
#include "log/delset.h"
#include "log/liveset.h"
#include "log/log.h"
#include "log/record.h"
#include "log/stream.h"

struct digest;  /* engine/digest.h */
struct history; /* cache/history.h */
struct history_view;
struct idmp;   /* engine/idmp.h */
struct replay; /* engine/replay.h */
struct save;   /* engine/save.h */
struct idmp_item;

enum object_type { OBJECT_STREAM = 1, OBJECT_STRING = 2, OBJECT_HASH = 3, OBJECT_LIST = 4 };

enum object_flag {
    OBJECT_NAME_OUT = 1, /* where the name would stand is a struct slice: memory of its own */
    OBJECT_OUT = 2,  /* where a string's bytes would stand is a pointer to a struct object_bytes */
    OBJECT_COLD = 4, /* the value is not in memory; it is backed then */
    OBJECT_BACKED = 8,    /* one record of the log has all of the value */
    OBJECT_BACK = 16,     /* that record's LSN stands in front of the name; else it is rev */
    OBJECT_STALE = 32,    /* until when it is kept for GETLEASE stands there too */
    OBJECT_ALWAYS = 64,   /* of a value: rev is an effect of the class `always` */
    OBJECT_DIGESTED = 128 /* the digest's */
};

/* What has a name: the head of a stream, which has more in front of it, or all of a value's memory. There are very many of
 * them, so every byte counts: 36 of them here, then come, packed, what the flags say, the name and the value. A value
 * moves whenever its size changes: whoever changes it gets the new address. */
struct object {
    struct dict_node
        node; /* in its database's dictionary, by name; must be first. node.extra: object_size */
    uint64_t
        rev : 48; /* LSN of the record that changed it last; of a stream, that bound its name */
    uint64_t
        wheel : 16; /* the slot of its entry in the database's wheel, and of which turn that is */
    uint64_t expiry_ms : 48; /* 0: none */
    uint64_t type : 4, db : 4, flags : 8;
    uint16_t name_n; /* bytes of the name; if OBJECT_NAME_OUT, of the slice */
    uint16_t clock;  /* when it was used, or how often: broker/cache/evict.c */
    uint8_t bytes[];
};

/* A long string. */
struct object_bytes {
    size_t cap;
    uint8_t bytes[];
};

enum {
    OBJECT_HEAD = offsetof(struct object, bytes),
    OBJECT_NAME_MAX = UINT16_MAX - 1, /* of a name inside */
    OBJECT_INSIDE_MAX = 4096,         /* bytes of a string inside */
    OBJECT_WHEEL_TURN = 0x8000        /* in object.wheel; slots are below it */
};
static const uint64_t OBJECT_EXPIRY_MAX = (1ull << 48) - 1;

static inline void object_set_rev(struct object *o, uint64_t lsn)
{
    o->rev = lsn & (((uint64_t)1 << 48) - 1);
}

static inline void object_set_expiry(struct object *o, uint64_t ms)
{
    o->expiry_ms = ms & (((uint64_t)1 << 48) - 1);
}

/* Bytes between the head and the name. */
static inline size_t object_extras(const struct object *o)
{
    return (o->flags & OBJECT_BACK ? 8 : 0) + (o->flags & OBJECT_STALE ? 8 : 0);
}

/* Borrowed until the object changes. */
static inline struct slice object_name(const struct object *o)
{
    const uint8_t *at = o->bytes + object_extras(o);
    struct slice name;

    if (!(o->flags & OBJECT_NAME_OUT))
        return slice_of(at, o->name_n);
    memcpy(&name, at, sizeof name);
    return name;
}

static inline bool object_is_value(const struct object *o)
{
    return o->type != OBJECT_STREAM;
}

/* Where the value stands. */
static inline const uint8_t *object_value_at(const struct object *o)
{
    return o->bytes + object_extras(o) + o->name_n;
}

/* Of a value, cold ones too: a string's bytes, a hash's fields, a list's elements. */
static inline size_t object_size(const struct object *o)
{
    return o->node.extra;
}

/* Of a hot hash or list: a struct hash or list. */
static inline void *object_pointer(const struct object *o)
{
    void *p;

    memcpy(&p, object_value_at(o), sizeof p);
    return p;
}

/* A hot string's bytes; borrowed until it changes. */
static inline struct slice object_string(const struct object *o)
{
    if (o->flags & OBJECT_OUT)
        return slice_of(((const struct object_bytes *)object_pointer(o))->bytes, object_size(o));
    return slice_of(object_value_at(o), object_size(o));
}

/* LSN of the record that has all of a backed value. */
static inline uint64_t object_back_lsn(const struct object *o)
{
    uint64_t lsn = o->rev;

    if (o->flags & OBJECT_BACK)
        memcpy(&lsn, o->bytes, sizeof lsn);
    return lsn;
}

/* Until when a key that has expired for everybody else is kept for GETLEASE; 0: it is not. */
static inline uint64_t object_stale_ms(const struct object *o)
{
    uint64_t ms = 0;

    if (o->flags & OBJECT_STALE)
        memcpy(&ms, o->bytes + (o->flags & OBJECT_BACK ? 8 : 0), sizeof ms);
    return ms;
}

/* When it leaves by its own time; 0: never. */
static inline uint64_t object_end_ms(const struct object *o)
{
    return o->flags & OBJECT_STALE ? object_stale_ms(o) : o->expiry_ms;
}

/* Idempotence of a stream; engine/idmp.h. */
struct stream_idmp {
    struct idmp *map;             /* NULL: nothing is remembered */
    uint32_t duration_s, maxsize; /* 0: the configuration's */
    uint64_t iids_added, iids_duplicates;
};

/* What RECORD_SETTINGS sets. */
struct stream_settings {
    uint32_t set; /* 1 << tag: the stream has a value of its own */
    uint64_t values[SETTING_COUNT];
};

/* What most streams do not have. */
struct stream_more {
    struct id floor;        /* entries below it are gone, though segments may still have them */
    struct id max_deleted;  /* max-deleted-entry-id */
    struct delset *deletes; /* entries at or above the floor that are gone */
    struct stream_idmp *idmp;
    struct stream_settings *settings;
    struct groups *groups; /* NULL: none */
    struct history_view
        *view; /* it shows changes (broker/cache/changes.h); NULL: it has entries of its own */
};

/* Entries are in segments, in the tail, or in both until `sealed` has been told; those that live count once. */
struct stream {
    struct dict_node oid_node; /* in the table by oid; must be first */
    uint64_t oid;
    uint64_t always_lsn; /* LSN of the last always-class effect on it; 0: none */
    uint32_t generation; /* its database's when it was bound; another one now: flushed since */
    uint32_t digested;   /* number of the last digest that has it (engine/digest.h) */
    struct stream_index *tail; /* unsealed entries; NULL or empty: none */
    struct stream_more *more;  /* NULL: none of it */
    struct id last_id;
    struct id sealed_last; /* no entry in a segment has a larger ID */
    uint64_t n_entries;    /* that live */
    uint64_t bytes;        /* of those, as rows (log/entry.h) */
    uint64_t entries_added;
    /* entries_added when it last had no entry: for whole nodes of XTRIM ~ */
    uint64_t added_when_empty;
    /* not of the state, and not in a checkpoint: */
    uint32_t due_s;         /* of engine/retention.c */
    uint16_t rules_version; /* the engine's when `rule` was found; 0: it was not */
    uint8_t rule;           /* of the configuration's stream-settings */
    bool held;              /* of engine/retention.c: groups keep what should go */
    struct object object;   /* must be last: its name is behind it */
};

/* NULL for NULL. */
static inline struct stream *stream_of(const struct object *o)
{
    return o == NULL ? NULL : (struct stream *)((uintptr_t)o - offsetof(struct stream, object));
}

/* Borrowed until it is renamed. */
static inline struct slice stream_name(const struct stream *st)
{
    return object_name(&st->object);
}

/* LSN of the last always-class effect on it that whoever sees it has to wait for; 0: none. */
static inline uint64_t object_always_lsn(const struct object *o)
{
    if (!object_is_value(o))
        return stream_of(o)->always_lsn;
    return o->flags & OBJECT_ALWAYS ? o->rev : 0;
}

extern const struct stream_more STREAM_MORE_NONE;
extern const struct stream_idmp STREAM_IDMP_NONE;
extern const struct stream_settings STREAM_SETTINGS_NONE;

static inline const struct stream_more *stream_more(const struct stream *st)
{
    return st->more == NULL ? &STREAM_MORE_NONE : st->more;
}

static inline struct id stream_floor(const struct stream *st)
{
    return stream_more(st)->floor;
}

static inline struct id stream_max_deleted(const struct stream *st)
{
    return stream_more(st)->max_deleted;
}

/* Borrowed; NULL: none. */
static inline struct delset *stream_deletes(const struct stream *st)
{
    return stream_more(st)->deletes;
}

/* Never NULL. */
static inline const struct stream_idmp *stream_idmp(const struct stream *st)
{
    return stream_more(st)->idmp == NULL ? &STREAM_IDMP_NONE : st->more->idmp;
}

/* Never NULL. */
static inline const struct stream_settings *stream_settings(const struct stream *st)
{
    return stream_more(st)->settings == NULL ? &STREAM_SETTINGS_NONE : st->more->settings;
}

/* The groups of a stream; NULL: none. */
static inline struct groups *stream_groups(const struct stream *st)
{
    return st->more == NULL ? NULL : st->more->groups;
}

/* How many entries live in segments only. */
static inline uint64_t stream_n_sealed(const struct stream *st)
{
    return st->n_entries - stream_index_n(st->tail);
}

struct state_db {
    struct dict names;    /* name -> struct object */
    struct wheel *wheel;  /* of what expires; NULL: nothing has yet */
    struct wheel *former; /* while the wheel is made anew: the one before it; else NULL */
    uint64_t renewed;     /* up to where: a cursor of names */
    uint16_t turn;        /* OBJECT_WHEEL_TURN or not: what objects note with slots of `wheel` */
    size_t n_expiring;    /* names with an expiry */
    uint32_t generation;  /* +1 with each flush */
};

/* What has no name any more and waits for its memory to be given back, a little at a time. */
struct state_grave {
    struct state_grave *next;
    struct dict names; /* of a flushed database, as it was */
    uint64_t cursor;   /* of a scan that takes the objects out */
};

/* A change that was all of a value until the record `at` changed a part of it: it lives on while a start may have to apply that
 * record to it. */
struct state_ending {
    uint64_t lsn, at, bytes;
};

/* More than any stream can hold: a number read from somewhere that exceeds it is wrong, and one below can be added to. */
static const uint64_t STATE_ENTRIES_MAX = 1ull << 62;

/* What is left in a stream after a removal, as the record says; or what is gone. */
struct state_left {
    uint64_t n, bytes;
};

struct state {
    struct state_db dbs[CONFIG_DATABASES]; /* object.db is a place in it */
    uint8_t place[CONFIG_DATABASES]; /* of a database in dbs; its inverse: SWAPDB exchanges two */
    uint8_t number[CONFIG_DATABASES];
    uint64_t now_ms;  /* what wheels begin with */
    struct dict oids; /* by oid; flushed ones too, until they are freed */
    size_t n_objects; /* that have a name */
    struct stream_memory tails;
    struct object *dropped; /* list by node.next: to be freed */
    size_t used_bytes;      /* of names and values */
    size_t n_cold;          /* values that are not in memory */
    uint16_t new_clock;     /* what a new object's begins with: broker/cache/evict.c */
    struct state_grave *graves;
    struct group *dropped_groups; /* list by next: to be freed */
    uint32_t digest_number;       /* of the last digest made in slices; see digest.c */
    struct digest *digest;        /* the one being made of a pinned version, or NULL */
    uint64_t last_always_unbind;  /* LSN of the last always-class removal of a name */
    uint64_t highest_always;      /* LSN of the last always-class effect of any kind */
    struct save *save;            /* the checkpoint being written, or NULL */
    struct state_left garbage;    /* gone from segments since the log was told (log_note_garbage) */
    struct replay *replay;        /* at a start, while a checkpoint is completed; else NULL */
    /* Counts live entries of segments with IDs in [from, to], for old records that do not; NULL: there are none. */
    int (*measure)(void *ctx, const struct stream *st, struct id from, struct id to, uint64_t *n,
                   uint64_t *bytes, struct err *e);
    void *measure_ctx;
    bool has_groups; /* there has been a group since the start */
    bool own_always; /* a stream may have LOG_ALWAYS as a setting of its own */
    /* The stream of changes (broker/cache/change.h), as the log has it; it has no object. */
    struct stream_index *changes;  /* those that are not in a segment; NULL or empty: none */
    struct id changes_last;        /* of all */
    struct id changes_sealed_last; /* none in a segment has a larger ID */
    struct id changes_floor;       /* readers see none below it: the history begins there */
    struct history
        *history;        /* of them, and who may look at it: broker/cache/changes.h; NULL: nobody */
    struct liveset live; /* LSNs of those that are all of some value */
    struct state_ending *endings; /* of those that are not any more, but that a start may need */
    size_t n_endings, first_ending, cap_endings;
    /* Finds one of those that are sealed, waiting for the disk; for a start. */
    int (*find_change)(void *ctx, uint64_t lsn, struct log_change *out, struct err *e);
    uint8_t hash_key[16]; /* SipHash, random for each store: a checkpoint has it */
};

void state_init(struct state *s, const uint8_t hash_key[16]);
void state_fini(struct state *s);

/* The stream of a node of the table by oid. */
static inline struct stream *state_of_oid_node(const struct dict_node *node)
{
    return (struct stream *)(uintptr_t)node; /* node is its first member */
}

/* The object of a node of a dictionary of names. */
static inline struct object *state_of_node(const struct dict_node *node)
{
    return (struct object *)(uintptr_t)node; /* node is its first member */
}

/* The database that an object is in, and the names of one. */
static inline int state_db_of(const struct state *s, const struct object *o)
{
    return s->number[o->db];
}

static inline struct dict *state_names(struct state *s, int db)
{
    return &s->dbs[s->place[db]].names;
}

/* Names are hashed by that key from now on; nothing must have one yet. Those of a checkpoint then come in the order in which they
 * stand in the tables. */
void state_adopt_hash_key(struct state *s, const uint8_t hash_key[16]);

/* Lookups; NULL if there is none. Expiry is not looked at. */
struct object *state_find(const struct state *s, int db, struct slice name);
struct stream *state_find_oid(const struct state *s, uint64_t oid);

/* The effects, one function for each record type. Memory for them must be had beforehand: a function that
 * can run out of memory says so, and is called before the record is appended or not at all. */
must_check int state_reserve_stream(struct state *s, struct slice name, struct stream **out,
                                    struct err *e);
void state_discard_stream(struct stream *st); /* a reserved one that was not added */
void state_add_stream(struct state *s, struct stream *st, uint64_t lsn, int db);
/* stream_index_reserve has been called; with an idempotence ID, state_prepare_idmp too, and idmp_commit follows.
 * `len` is the entry's. `entry` NULL: it is in a segment. Here as below, `lsn` is the record's. */
void state_add_entry(struct state *s, struct stream *st, struct id id, const uint8_t *entry,
                     size_t len, uint64_t lsn);

/* Makes room for one state_remove of `n` IDs, state_cut, state_set_id. */
must_check int state_prepare_remove(struct state *s, struct stream *st, size_t n, struct err *e);
/* Entries (ascending) that live, wherever they lie, are gone: RECORD_REMOVE. And the same by a trim: RECORD_SIFT. */
void state_remove(struct state *s, struct stream *st, const struct id *ids, size_t n,
                  struct state_left left, uint64_t lsn);
void state_sift(struct state *s, struct stream *st, const struct id *ids, size_t n,
                struct state_left left, uint64_t lsn);
/* All entries below `first`, all there are if left.n is 0, are gone: RECORD_CUT. */
void state_cut(struct state *s, struct stream *st, struct id first, struct state_left left,
               uint64_t lsn);

/* A stream without entries whose last ID goes back begins anew under the record's LSN as its oid (no ID of an oid
 * may come twice). */
bool state_may_set_id(const struct stream *st,
                      struct id last); /* else: above it is a deleted one */
bool state_begins_anew(const struct stream *st, struct id last);
void state_set_id(struct state *s, struct stream *st, struct id last, uint64_t added,
                  struct id max_deleted, uint64_t lsn);

/* The stream has groups from now on, if none yet. Errors: ERR_NOMEM. */
must_check int state_prepare_groups(struct state *s, struct stream *st, struct err *e);
/* Some group of the stream is about to change, by the functions of groups/group.h or journal_apply. */
void state_before_groups(struct state *s, struct stream *st);
/* A group that was taken out of its stream waits for its memory to be given back. */
void state_drop_group(struct state *s, struct group *g);

/* state_prepare_idmp_config is called before state_set_idmp. */
must_check int state_prepare_idmp_config(struct stream *st, struct err *e);
void state_set_idmp(struct state *s, struct stream *st, uint32_t duration_s, uint32_t maxsize);
must_check int state_prepare_idmp(struct state *s, struct stream *st, struct slice producer,
                                  struct slice iid, uint64_t now_ms, struct idmp_item **out,
                                  struct err *e); /* see idmp_prepare */
void state_count_duplicate(struct stream *st);    /* an idempotence ID came again; no effect */

/* NULL, or why RECORD_SETTINGS may not set it to that. */
const char *state_setting_error(uint64_t tag, uint64_t value);
/* Sets those of `x` that are in `which` (bits 1 << tag; one that is not in x->set becomes the configuration's):
 * RECORD_SETTINGS. state_prepare_configure is called before. */
must_check int state_prepare_configure(struct stream *st, struct err *e);
void state_configure(struct state *s, struct stream *st, uint32_t which,
                     const struct stream_settings *x);

/* Binds a stream's object to (db, name), which may be what it has already; `lsn` is the record's, or will be: since it can fail
 * with ERR_NOMEM (nothing has changed then), engine_bind calls it first. */
must_check int state_bind(struct state *s, struct object *o, int db, struct slice name,
                          uint64_t expiry_ms, uint64_t lsn, struct err *e);

/* ---- values ---- */

struct state_value {
    enum object_type type;
    unsigned flags; /* of OBJECT_COLD, OBJECT_BACKED, OBJECT_ALWAYS */
    uint64_t rev;
    uint64_t back_lsn; /* of the record that backs it; 0: none does, or it is rev */
    uint64_t expiry_ms, stale_ms;
    struct slice bytes; /* of a hot string; may be in the object that is replaced */
    void *
        pointer; /* a hot hash or list, which becomes the object's on success; so may the memory of a long string */
    size_t size; /* of all but hot strings: object_size */
};

/* The name has that value from now on, whatever it had. Errors: ERR_NOMEM, with nothing changed. */
must_check int state_put_value(struct state *s, int db, struct slice name,
                               const struct state_value *v, struct object **out, struct err *e);
/* The same for who has looked the name up: `old` is what it has, NULL for nothing. */
must_check int state_replace_value(struct state *s, int db, struct slice name, struct object *old,
                                   const struct state_value *v, struct object **out, struct err *e);
/* What the value *o is now, but for itself: flags, rev, back_lsn, expiry_ms, stale_ms and size of v; type, bytes and pointer
 * do not count. With OBJECT_COLD a hot value leaves memory (the pointer's hash or list is freed by and by). *o may move. Errors as
 * above; there are none if neither back_lsn, stale_ms nor expiry_ms are new. */
must_check int state_set_value(struct state *s, struct object **o, const struct state_value *v,
                               struct err *e);
/* What v says as it is now: for state_set_value. */
void state_get_value(const struct object *o, struct state_value *v);
/* The cold value *o is in memory again: v as state_get_value gave it, less OBJECT_COLD, with bytes or pointer. Errors as above. */
must_check int state_heat_value(struct state *s, struct object **o, const struct state_value *v,
                                struct err *e);
/* Bytes into a hot string from offset on, which is not behind its end; it is not backed then. v as in state_set_value. */
must_check int state_patch_value(struct state *s, struct object **o, uint64_t offset,
                                 struct slice bytes, const struct state_value *v, struct err *e);
/* The value gets another name, whose former owner is gone. Errors: ERR_NOMEM, with nothing changed. */
must_check int state_rename_value(struct state *s, struct object **o, int db, struct slice name,
                                  uint64_t rev, unsigned flags, struct err *e);
/* A value is about to change inside: a digest hears of it. */
void state_before_change(struct state *s, struct object *o);
/* A hot hash or list, which is at `value` now, has changed inside: no record backs it any more. Cannot fail. */
void state_touch_value(struct state *s, struct object *o, void *value, size_t size, uint64_t rev,
                       bool always);
/* Two databases change places. */
void state_swap(struct state *s, int a, int b);
/* Bytes of memory that an object takes, with what it points to; of a stream its head alone. */
size_t state_whole_bytes(const struct object *o);
/* A hash or list has so many bytes more, or fewer. */
static inline void state_account(struct state *s, size_t before, size_t after)
{
    s->used_bytes += after - before;
}

/* Takes an object whose time has come by now_ms out of the wheels, or, of a hash, that has a field whose time has; NULL: there is
 * none, or *budget looks have been made. It comes up again only if state_watch_expiry is called. */
struct object *state_take_expired(struct state *s, uint64_t now_ms, size_t *budget);
/* It is to come up when its time has come (again). Errors: ERR_NOMEM. */
must_check int state_watch_expiry(struct state *s, struct object *o, struct err *e);
/* When state_take_expired will have something to look at; UINT64_MAX: never. */
uint64_t state_next_expiry_ms(const struct state *s);

/* What tables and wheels have to do once in a while, about n buckets of each; called once a round. */
void state_step(struct state *s, size_t n);

/* ---- names of streams and values ---- */

/* After these two an object is gone for every lookup; its memory goes with later calls of state_reap. */
void state_unbind(struct state *s, struct object *o);
void state_flush(struct state *s, int db); /* -1: all databases */

/* ---- changes ---- */

/* Makes room for the next `n` (1..STREAM_CHUNK) state_add_change. Errors: ERR_NOMEM. */
must_check int state_prepare_changes(struct state *s, size_t n, struct err *e);
/* RECORD_CHANGE: one more change, whose ID's seq is the record's LSN. `entry` NULL: it is in a segment. */
void state_add_change(struct state *s, struct id id, const uint8_t *entry);
/* The change of that record among those that are not sealed; NULL: it is not one of them. Valid until state_sealed. */
const uint8_t *state_find_change(const struct state *s, uint64_t lsn);
/* A value is no longer what this record says: the record may go once it is not history either. Does nothing if it was not
 * live. `bytes`: of its entry, about. */
void state_end_change(struct state *s, uint64_t lsn, uint64_t bytes);
/* Records before `lsn` will not be applied again: changes that these would have been applied to need not live for that. */
void state_settle_changes(struct state *s, uint64_t lsn);
/* Changes below `floor` are not history any more; `bytes`: of those that were and do not live, about. */
void state_set_changes_floor(struct state *s, struct id floor, uint64_t bytes);

/* ---- where entries lie ---- */

/* Those of that stream up to `last` are in segments: their addresses end. Of one that was flushed too, until it is freed. */
void state_sealed(struct state *s, uint64_t oid, struct id last);
/* IDs of `folded` within [from, to] lie nowhere any more: they need not be remembered as deleted. */
void state_folded(struct stream *st, const struct delset *folded, struct id from, struct id to);
/* Forget addresses only, of one entry, of those below `first` or of all. */
void state_forget_entry(struct stream *st, struct id id);
void state_forget_below(struct stream *st, struct id first, bool all);
/* The ID of the last entry of the tail, 0-0 if there is none. */
struct id state_tail_last(const struct stream *st);

/* ---- objects without a name, at a start (engine/replay.c) ---- */

bool state_has_name(const struct state *s, const struct object *o);
/* Whether readers can find it: it has a name, or shows changes. */
bool state_is_there(const struct state *s, const struct object *o);
/* Adds a stream whose name, db, oid and rev are set to the table by oid only. */
void state_add_nameless(struct state *s, struct stream *st);
/* Takes o out of the names, where it is; its fields stay. */
void state_take_name(struct state *s, struct object *o);
/* Sets what state_bind sets, but leaves o without a name. Errors: ERR_NOMEM. */
must_check int state_claim(struct state *s, struct object *o, int db, struct slice name,
                           uint64_t expiry_ms, uint64_t lsn, struct err *e);
/* An object without a name is gone. */
void state_drop(struct state *s, struct object *o);

/* Frees what was dropped, about `budget` entries or objects of it; false when nothing is left to free. */
bool state_reap(struct state *s, size_t budget);
bool state_has_garbage(const struct state *s); /* whether anything waits for that */

/* Walks everything; NULL, or the name of the first invariant found broken. */
const char *state_check(const struct state *s);

/* Hash of the whole logical state at that hybrid clock, the sum of the objects' hashes modulo 2^128; two halves,
 * low first. O(everything); reads what is sealed on the spot (`log` NULL: nothing is). engine/digest.c has it in slices
 * too. Errors: ERR_NOMEM, ERR_IO, ERR_CORRUPT. */
must_check int state_digest(struct state *s, struct log *log, uint64_t clock, uint64_t sum[2],
                            struct err *e);

#endif
