/* pool.h - work that takes long, away from the engine's thread, and its results back to it.
 *
 * The one place where threads of the log's workers meet the engine: a job's `run` is called on a worker's thread, then its
 * `done` by pool_turn, on the engine's. Between the two the job belongs to the pool. Without threads, pool_step runs
 * jobs, one a call, so a test decides the order. */
#ifndef LOG_POOL_H
#define LOG_POOL_H
#include <stdbool.h>
#include <stddef.h>
#include "log/err.h"

enum pool_lane {
    POOL_READ,  /* somebody waits: cold reads */
    POOL_BUILD, /* seal, checkpoint, manifest */
    POOL_MERGE, /* merge, check, backup: may take minutes */
    POOL_N_LANES
};

struct job {
    struct job *next; /* the pool's */
    enum pool_lane lane;
    void (*run)(struct job *j);
    void (*done)(struct job *j); /* may free it or submit it again */
};

struct pool;

struct pool_options {
    unsigned n_threads[POOL_N_LANES]; /* of each lane; all 0: no threads */
    void (*on_done)(void *ctx); /* called on a worker's thread: pool_turn has something to do */
    void *ctx;
};

/* Mergers run when the processor has nothing else to do. Errors: ERR_NOMEM, ERR_IO (no thread). */
must_check int pool_new(const struct pool_options *o, struct pool **out, struct err *e);
/* Lets running jobs end; those not begun are not run; `done` is called for all, with pool_is_stopping true, also for what
 * it submits then. NULL is fine. */
void pool_free(struct pool *p);
bool pool_is_stopping(const struct pool *p); /* any thread: long jobs look at it and give up */

void pool_submit(struct pool *p, struct job *j); /* any thread */

/* Calls `done` of jobs that have run; true if there were any. The engine's thread. */
bool pool_turn(struct pool *p);
/* Waits until some job has run, if any is under way or waiting; false if none is. */
bool pool_wait(struct pool *p);

/* Without threads: runs one job of those waiting, the `pick`-th (modulo their number); false if there is none. */
bool pool_step(struct pool *p, size_t pick);

#endif
