/* save.h - the state's objects as bytes, for checkpoints, and back.
 *
 * Saving goes on while commands run: a slice at a time, each object as it is when its turn comes. One may come twice.
 * Loading takes what save_some made, in any number of pieces cut where it returned. Format: docs/format.md. */
#ifndef BROKER_ENGINE_SAVE_H
#define BROKER_ENGINE_SAVE_H
#include "broker/cache/saved.h"
#include "broker/engine/state.h"

struct save_name { /* of a key whose value is to be saved */
    int db;
    struct slice name; /* owned */
};

struct save {
    struct state *state;
    uint64_t cursor;  /* of the scan of the objects */
    bool scanned;     /* all of it */
    bool has_history; /* of changes: that comes first */
    bool failed;      /* memory ran out */
    uint64_t *oids;   /* found and not saved yet */
    size_t n, cap;
    uint64_t
        rest_oid; /* an object whose deleted IDs from `rest` on are still to be saved; 0: none */
    struct id rest;
    uint64_t groups_oid;    /* a stream whose groups after `gid` are still to be saved; 0: none */
    uint64_t gid;           /* the group saved last */
    bool in_pending;        /* of that one pending entries are still to be saved */
    struct id next_pending; /* from this one on */
    size_t n_pending;       /* so many in one go */
    /* values: */
    bool counted;             /* how many there are has been said */
    int place;                /* of state.dbs: being scanned */
    uint64_t names;           /* the cursor of that */
    struct save_name *values; /* found, and not saved yet */
    size_t n_values, cap_values;
    struct save_name whose; /* of which pieces are still to come; name.p NULL: of none */
    struct saved_place at;
    size_t whole, piece; /* bytes: of a value's contents in one go, of a piece of more */
};

void save_begin(struct save *x, struct state *s);

/* Adds about `budget` objects' worth to *out. False if everything has been saved, or memory ran out (out->failed). */
bool save_some(struct save *x, size_t budget, struct log_buffer *out);

/* An object has another oid from now on: the scan may not come to it. */
void save_found(struct save *x, uint64_t oid);

/* A value has another name from now on: the scan may not come to it. */
void save_found_value(struct save *x, int db, struct slice name);

/* What was saved so far does not count any more: save_some ends with out->failed. */
void save_give_up(struct save *x);

void save_end(struct save *x); /* at any time */

/* Adds the objects of a piece to a state for which replay_begin has been called; all of it is as of that record.
 * Errors: ERR_CORRUPT (what is wrong, and where), ERR_NOMEM. */
must_check int save_load(struct state *s, uint64_t as_of, struct slice chunk, struct err *e);

#endif
