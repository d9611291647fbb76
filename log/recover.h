/* recover.h - what a start does: reads the log back, judges its end, and begins a fresh file.
 * Essay: recover.c. */
#ifndef LOG_RECOVER_H
#define LOG_RECOVER_H
#include <stdbool.h>
#include <stdint.h>
#include "log/arena.h"
#include "log/cursor.h"
#include "log/err.h"
#include "log/keeper.h"
#include "log/log.h"

/* Where records go: the functions that keeper.h has under these names. Without a keeper no record stays in memory. */
struct recover_sink {
    struct keeper *keeper;
    struct arena *(*arena)(struct keeper *k);
    int (*reserve)(struct keeper *k, struct err *e);
    void (*took)(struct keeper *k, const uint8_t *p, size_t n, uint64_t first_lsn,
                 uint64_t last_lsn);
    void (*batch_end)(struct keeper *k);
    int (*replay_turn)(struct keeper *k, uint64_t durable_lsn, struct err *e);
};

struct recover_options {
    const struct log_options *log;
    const uint8_t *uuid; /* of the locked store log->dir */
    bool created;        /* there is no log yet; the first file is made */
    struct keeper_start start;
    struct recover_sink sink;
};

struct recover_result {
    struct cursor cursor; /* where the log goes on; the caller owns its descriptor */
    struct log_recovery info;
    struct wal_file
        *files; /* of the log, as they are now, the oldest first; the caller's, to free */
    size_t n_files;
};

/* Replays the log from where it is still needed. Records that are not sealed stay in the keeper's arena. On failure the
 * directory is as it was, but for files that hold nothing (WAL_NEXT_NAME, WAL_RESERVE_NAME) and what the keeper sealed
 * meanwhile. Errors: as log_open. */
must_check int recover_run(const struct recover_options *options, struct recover_result *out,
                           struct err *e);

/* What a start would find. */
struct recover_verdict {
    struct log_recovery info;
    bool damaged;
    struct err damage;          /* what and where, for people */
    uint64_t next_lsn;          /* behind the last record that counts */
    uint64_t clock;             /* the highest stamp seen */
    char path[CURSOR_PATH_MAX]; /* the file, and its byte, where what counts ends */
    uint64_t pos;
};

/* Reads and judges the log as recover_run does, and changes nothing; log->salvage does not matter. The host's replay (which may be
 * NULL) gets the records of whole batches, for the call only. Errors: ERR_IO, ERR_NOMEM, ERR_FORMAT, or replay's. */
must_check int recover_look(const struct recover_options *options, struct recover_verdict *out,
                            struct err *e);

#endif
