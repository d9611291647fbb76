/* backup.h - makes a second store out of one that is in use. Essay: backup.c. */
#ifndef LOG_BACKUP_H
#define LOG_BACKUP_H
#include <stdint.h>
#include "log/chain.h"
#include "log/err.h"
#include "log/manifest.h"

struct io;
struct pool;

struct backup {
    struct io *io;
    const char *dir;     /* of the store */
    const uint8_t *uuid; /* of the store */
    const char *to;      /* of the copy: created, or empty */
    /* What the copy will have, but for what is obsolete. Its segments and checkpoints stay where they are until backup_run is
     * back. */
    const struct manifest *manifest;
    /* The log, held (writer_hold) after the manifest was true; and the end of a batch up to which it is durable and which is
     * not below what the manifest's files reflect. */
    const struct wal_file *files;
    size_t n_files;
    uint64_t lsn;
    const struct pool
        *pool; /* when it stops, the backup is given up; NULL: it goes on to its end */

    uint64_t n_files_made,
        bytes; /* out: files of the copy; bytes that were copied, links not counted */
};

/* Makes the copy, durable when it returns. Blocks in file operations, for minutes if segments cannot be linked. On failure
 * the files that were made are removed; the directory stays. Errors: ERR_USAGE (the directory cannot be used), ERR_CORRUPT
 * (the log's file and offset: it is damaged), ERR_FULL, ERR_IO, ERR_NOMEM. */
must_check int backup_run(struct backup *b, struct err *e);

#endif
