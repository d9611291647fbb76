/* world.h - a log on a simulated disk, and a model that knows what may and what must be found after a crash.
 *
 * The model is the list of all records appended, and the highest watermarks that the log has ever shown. It
 * stands for the engine and its gate: what a watermark has passed counts as told to a client at that moment. */
#ifndef TESTS_LIB_WORLD_H
#define TESTS_LIB_WORLD_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/log.h"
#include "tests/lib/crash.h"
#include "tests/lib/simio.h"

#define WORLD_DIR "data"

struct record { /* one that was appended; its body follows from the LSN */
    uint64_t lsn, clock;
    uint64_t batch;
    uint64_t written_ns; /* when the written watermark was first seen past it; 0: not yet */
    uint64_t told_ns;    /* when the watermark that its reply waits for was; 0: not yet */
    uint32_t len;
    uint8_t type;
    uint8_t class; /* of its batch */
};

struct world {
    struct simio *disk;
    struct log *log; /* NULL: no process runs */
    struct log_options options;
    struct record *records;                    /* those that are not known to be lost */
    size_t n_records, cap_records, first_open; /* [first_open, n_records) are not committed yet */
    size_t n_told;                             /* records[0 .. n_told) are told */
    uint64_t n_batches;
    uint64_t lsn_given; /* highest ever, also to records that were lost */
    uint64_t last_committed;
    uint64_t clock;
    uint64_t written, released, durable; /* highest watermarks seen since the last start */
    bool failed;                         /* the log said so */
    bool was_full;                       /* the log was seen full */
    bool closed; /* the last process ended in good order, and the disk had room for it to say so */
    uint64_t n_refused; /* appends */
    bool
        synced_only; /* nothing may be concluded from `written`: the disk took back what it had shown */
    char close_error[200];
    struct crash_result *result;
    char where[200]; /* for messages: suite and step */
};

/* A disk of its own, seeded, and no store on it yet. */
void world_init(struct world *w, uint64_t seed, struct crash_result *result);
void world_fini(struct world *w);

/* The result's first failure; later ones are dropped. Always false. */
bool world_fails(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool world_holds(const struct world *w);

/* One start on `disk` with the model as judge of what is replayed. */
struct start {
    const struct world *w;
    int rc;
    struct err err;
    struct log *log;
    struct log_recovery info;
    size_t n;            /* records replayed: the model's first n */
    uint64_t n_replayed; /* with the log's own */
    uint64_t last_lsn, last_clock;
    bool gaps;     /* records of the model may be missing in between (salvage) */
    char why[500]; /* what was wrong with the replay; empty if nothing */
};
void start_run(struct start *s, const struct world *w, struct simio *disk, bool salvage);

/* Whether what a start found is what `mode` must have left. False, with s->why, if not. */
bool start_check(struct start *s, const struct world *w, enum simio_mode mode);

/* The next process: opens the log on the world's disk after a crash in `mode`, checks, and goes on from there. False if
 * it couldn't (w->log is NULL then); that is a failure unless a fault may have caused it. */
bool world_open(struct world *w, enum simio_mode mode, bool may_fail);

/* The process ends without (with) a good order. world_close is false if log_close failed. */
void world_abandon(struct world *w);
bool world_close(struct world *w);

/* Adds `n` records of `len` bytes to the open batch; false if it was refused (disk full). */
bool world_append(struct world *w, enum log_class class, size_t n, size_t len);
void world_commit(struct world *w, bool sync_now);

/* log_step until there is nothing to do, at most `max` times; 0: without limit. */
void world_step(struct world *w, size_t max);

/* Looks at the watermarks, checks them, and notes what is told by now. Not to be called inside log_open. */
void world_poll(struct world *w);

/* Records that were committed and are not told. */
size_t world_untold(const struct world *w);

#endif
