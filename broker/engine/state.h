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
#include "groups/groups.h"
#include "log/dict.h"
#include "log/err.h"
#include "log/id.h"
#include "log/delset.h"
#include "log/liveset.h"
#include "log/log.h"
#include "log/record.h"
#include "log/stream.h"

struct digest; /* engine/digest.h */
struct idmp;   /* engine/idmp.h */
struct replay; /* engine/replay.h */
struct save;   /* engine/save.h */
struct idmp_item;

enum object_type { OBJECT_STREAM = 1, OBJECT_STRING = 2, OBJECT_HASH = 3, OBJECT_LIST = 4 };

struct object {
    struct dict_node node;     /* in its database's dictionary, by name; must be first */
    struct dict_node oid_node; /* in the table by oid */
    uint64_t oid;
    uint64_t rev;         /* LSN of the record that bound the name (create, rename, expiry) */
    uint64_t expiry_ms;   /* 0: none */
    uint64_t always_lsn;  /* LSN of the last always-class effect on it; 0: none */
    struct slice name;    /* owned, follows the object in memory or separately after a rename */
    uint32_t expiry_slot; /* place in the database's expiry heap; UINT32_MAX: none */
    uint32_t generation;  /* its database's when it was bound; another one now: flushed since */
    uint32_t digested;    /* number of the last digest that has it (engine/digest.h) */
    uint16_t slot;        /* of 16,384, CRC16 of the name's hash tag */
    uint8_t type;
    uint8_t db;
};

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
};

/* Entries are in segments, in the tail, or in both until `sealed` has been told; those that live count once. */
struct stream {
    struct object object;      /* must be first */
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
};

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
    struct dict names;        /* name -> struct object */
    struct object **expiries; /* heap by expiry_ms */
    size_t n_expiries, cap_expiries;
    uint32_t generation; /* +1 with each flush */
};

/* What has no name any more and waits for its memory to be given back, a little at a time. */
struct state_grave {
    struct state_grave *next;
    struct dict names; /* of a flushed database, as it was */
    uint64_t cursor;   /* of a scan that takes the objects out */
};

/* More than any stream can hold: a number read from somewhere that exceeds it is wrong, and one below can be added to. */
static const uint64_t STATE_ENTRIES_MAX = 1ull << 62;

/* What is left in a stream after a removal, as the record says; or what is gone. */
struct state_left {
    uint64_t n, bytes;
};

struct state {
    struct state_db dbs[CONFIG_DATABASES];
    struct dict oids; /* by oid; flushed ones too, until they are freed */
    size_t n_objects; /* that have a name */
    struct stream_memory tails;
    struct object *dropped; /* list by node.next: to be freed */
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
    struct liveset live;           /* LSNs of those that are all of some value */
    uint8_t hash_key[16];          /* SipHash, random for each process */
};

void state_init(struct state *s, const uint8_t hash_key[16]);
void state_fini(struct state *s);

/* The object of a node of the table by oid. */
static inline struct object *state_of_oid_node(const struct dict_node *node)
{
    return (struct object *)((uintptr_t)node - offsetof(struct object, oid_node));
}

/* Lookups; NULL if there is none. Expiry is not looked at. */
struct object *state_find(const struct state *s, int db, struct slice name);
struct object *state_find_oid(const struct state *s, uint64_t oid);

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

/* Binds o to (db, name), which may be what it has already; `lsn` is the record's, or will be: since it can fail
 * with ERR_NOMEM (nothing has changed then), engine_bind calls it first. */
must_check int state_bind(struct state *s, struct object *o, int db, struct slice name,
                          uint64_t expiry_ms, uint64_t lsn, struct err *e);
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
/* Adds an object whose name, db, oid and rev are set to the table by oid only. */
void state_add_nameless(struct state *s, struct object *o);
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

/* The object of db that expires first, or NULL. */
static inline struct object *state_next_expiry(const struct state *s, int db)
{
    const struct state_db *d = &s->dbs[db];
    return d->n_expiries > 0 ? d->expiries[0] : NULL;
}

/* Walks everything; NULL, or the name of the first invariant found broken. */
const char *state_check(const struct state *s);

/* Hash of the whole logical state at that hybrid clock, the sum of the objects' hashes modulo 2^128; two halves,
 * low first. O(everything); reads what is sealed on the spot (`log` NULL: nothing is). engine/digest.c has it in slices
 * too. Errors: ERR_NOMEM, ERR_IO, ERR_CORRUPT. */
must_check int state_digest(struct state *s, struct log *log, uint64_t clock, uint64_t sum[2],
                            struct err *e);

#endif
