/* keeping.h - the keeper from within: what keeper.c shares with those that do its work (log/sealer.h, log/saver.h,
 * log/merger.h). Nobody else includes it.
 *
 * All of it belongs to the engine's thread, but what a job that is running was given. */
#ifndef LOG_KEEPING_H
#define LOG_KEEPING_H
#include <stdatomic.h>
#include "log/attic.h"
#include "log/clerk.h"
#include "log/errand.h"
#include "log/keeper.h"
#include "log/merger.h"
#include "log/parts.h"
#include "log/pool.h"
#include "log/saver.h"
#include "log/sealer.h"
#include "log/view.h"
#include "log/work.h"

#define KEEPER_NEVER UINT64_MAX
#define KEEPER_S     ((uint64_t)1000000000) /* in ns */

struct keeper {
    struct log_options o; /* with the defaults in their places */
    char *dir;
    uint8_t uuid[WAL_UUID_BYTES];
    bool passive;          /* does nothing that it is not asked for */
    struct writer *writer; /* NULL during a replay */
    struct pool *pool;
    struct blockcache *cache;

    uint64_t last_lsn, clock; /* of the host's state */
    bool batch_open;          /* that has records of it which are not in the parts yet */
    uint64_t replay_durable;  /* during a replay: the writer's watermark */
    uint64_t now_ns;          /* of this turn */
    uint64_t next_ns;         /* when something is due */
    uint64_t waits_lsn;       /* somebody waits for it to be durable; 0: nobody */
    atomic_bool poked;        /* a thread has news */
    bool more;                /* there is more to do at once */

    struct parts parts;
    uint64_t wal_before; /* bytes of the log that were there at the start */
    uint64_t n_batches;

    struct manifest manifest; /* as the next one will be */
    struct view *view;
    uint64_t sealed_lsn; /* installed */
    struct clerk clerk;
    atomic_bool no_space; /* there is no reserve */
    struct sealer sealer;
    struct saver saver;
    struct merger merger;
    unsigned n_holds; /* nothing is removed */

    struct log_request *seals, *merges; /* asked for */
    struct errand *errands;             /* the same: checks and backups */
    struct log_stats stats;
    struct attic attic;           /* at a start */
    bool older_checkpoint, dirty; /* what a start found; the manifest is to be written for it */
    struct err broken;            /* code OK: it is not */
};

/* Whether everything up to `lsn` is durable; if not, it will be soon, and there is a turn then. */
bool keeping_is_durable(struct keeper *k, uint64_t lsn);

/* The next manifest has to be written; returns its generation, which is durable once keeping_is_written says so. */
uint64_t keeping_edit(struct keeper *k);
bool keeping_is_written(const struct keeper *k, uint64_t generation);

/* Makes room for one more segment, and `n` more obsolete ones, in the manifest. Errors: ERR_NOMEM, ERR_TOO_BIG. */
must_check int keeping_reserve(struct keeper *k, size_t n, struct err *e);
/* Replaces the segments with those ordinals, which adjoin, by `info` (NULL: by nothing) in the next manifest; with n == 0
 * it comes behind all others. Within what keeping_reserve made room for. */
void keeping_replace(struct keeper *k, struct segment *const *old, size_t n,
                     const struct segment_info *info);
/* The same in the view; takes a reference of `segment`. Errors: ERR_NOMEM. */
must_check int keeping_show(struct keeper *k, struct segment *const *old, size_t n,
                            struct segment *segment, struct err *e);

/* Answers a slice of what a step of work asks; false if there is more: in the next turn. *reflects becomes the LSN that has
 * to be durable before anything is built on the answers. */
bool keeping_answer(struct keeper *k, struct states *s, uint64_t *reflects);

/* A job failed: counted and told. If that was for lack of space, the reserve is given up. Returns when to try again. */
uint64_t keeping_failed(struct keeper *k, const char *what, int rc, const struct err *e);
/* The files are not known to be what they should: the log fails. */
void keeping_broken(struct keeper *k, const struct err *e);
int keeping_failure(const struct keeper *k, struct err *e); /* the log's, or that; OK: none */
/* Answers the first who asked for a merge. */
void keeping_finish_merge(struct keeper *k, int rc, const struct err *e);
/* Who asked for a seal or a merge is told that it failed. */
void keeping_fail_requests(struct keeper *k, struct log_request **list, int rc,
                           const struct err *e);

static inline void keeping_wake_at(struct keeper *k, uint64_t ns)
{
    if (ns < k->next_ns)
        k->next_ns = ns;
}

#endif
