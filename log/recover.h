/* recover.h - what a start does: reads the log back, judges its end, and begins a fresh file.
 * Essay: recover.c. */
#ifndef LOG_RECOVER_H
#define LOG_RECOVER_H
#include <stdbool.h>
#include <stdint.h>
#include "log/arena.h"
#include "log/cursor.h"
#include "log/err.h"
#include "log/log.h"

struct recover_result {
    struct cursor cursor; /* where the log goes on; the caller owns its descriptor */
    struct log_recovery info;
    uint64_t n_files, files_bytes; /* of the log, as they are now */
};

/* Replays the log of the locked store `uuid` in o->dir; its records stay in the arena. With
 * `created` there is none yet, and the first file is made. On failure the directory is as it was,
 * but for files that hold nothing (WAL_NEXT_NAME, WAL_RESERVE_NAME). Errors: as log_open. */
must_check int recover_run(const struct log_options *o, const uint8_t *uuid, bool created,
                           struct arena *arena, struct recover_result *out, struct err *e);

#endif
