/* parts.h - the arena: one part that gets all records, closed ones that are being sealed, and sealed ones whose addresses
 * somebody still needs. Essay: parts.c. The engine's thread, but where it says so. */
#ifndef LOG_PARTS_H
#define LOG_PARTS_H
#include <stdatomic.h>
#include <stdbool.h>
#include "log/arena.h"
#include "log/log.h"

struct parts {
    uint64_t part_bytes, part_age_ns;
    bool passive; /* a part is closed only if it is asked for */
    struct arena_spares spares;
    struct arena *active;
    struct arena *closed, **closed_tail; /* the oldest first */
    size_t n_closed;
    struct arena *pinned;
    size_t n_pinned;
    uint64_t close_up_to; /* the active part is closed if it begins at or before it */
    uint64_t now_ns;      /* of the last parts_turn */
    uint64_t wal_bytes;   /* given to the log, as far as is known */
    uint64_t idle_ns;     /* when the spare chunks go */
    bool backed_up;
    atomic_bool full; /* the same, for other threads */
    bool more;        /* parts_turn has something to do */
};

struct log_pin;

/* Errors: ERR_NOMEM. */
must_check int parts_init(struct parts *p, const struct log_options *o, bool passive,
                          uint64_t now_ns, struct err *e);
void parts_fini(struct parts *p); /* nothing is pinned */

/* See keeper_took. */
void parts_took(struct parts *p, const uint8_t *bytes, size_t n, uint64_t first_lsn,
                uint64_t last_lsn);
/* Between two batches: closes the active part if it is full. True if it did. */
bool parts_batch_end(struct parts *p);
/* Whether everything up to `lsn` has left memory. */
bool parts_are_sealed(const struct parts *p, uint64_t lsn);
/* The oldest closed part is not needed by the keeper any more. */
void parts_drop(struct parts *p);

/* Gives memory back. Returns when it has to be called again; UINT64_MAX: never. */
uint64_t parts_turn(struct parts *p, uint64_t now_ns);

struct log_pin *parts_pin(struct parts *p);
void parts_unpin(struct log_pin *pin); /* any thread; NULL is fine */
void parts_count(const struct parts *p, struct log_stats *out);

#endif
