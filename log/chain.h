/* chain.h - reads the files of a log that is in use, up to an LSN: for backups and checks.
 *
 * What is read is durable and never changes; what is written behind it meanwhile is not looked at. */
#ifndef LOG_CHAIN_H
#define LOG_CHAIN_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/err.h"
#include "log/scan.h"
#include "log/wal.h"

struct io;

struct chain {
    struct io *io;
    const char *dir;
    const uint8_t *uuid;
    const struct wal_file
        *files; /* held (writer_hold), the oldest first; those needed begin with the first */
    size_t n_files;
    uint64_t lsn; /* the end of a batch, durable: nothing behind it is read */
};

/* Calls `each` for the files that have records up to chain->lsn, at least for the first one, in order. The scan stands
 * behind the last frame that counts. *why says what is wrong with the file at s->pos (for a bad header: 0); NULL: nothing.
 * Payloads have been read. Errors: ERR_IO, ERR_NOMEM, ERR_FORMAT, or each's, which end it. */
must_check int chain_each(const struct chain *chain,
                          int (*each)(void *ctx, struct scan *s, const char *why, struct err *e),
                          void *ctx, struct err *e);

#endif
