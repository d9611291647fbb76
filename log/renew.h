/* renew.h - the fresh file that every start begins, and what is done with what it replaces. Essay:
 * renew.c. */
#ifndef LOG_RENEW_H
#define LOG_RENEW_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/cursor.h"
#include "log/err.h"
#include "log/scan.h"

struct io;

/* What recovery found out. */
struct renew {
    struct io *io;
    const char *dir;
    const uint8_t *uuid;
    uint64_t file_bytes;
    uint32_t frame_bytes;
    struct scan *last;  /* the file that is copied up to last->pos; NULL: there is none to copy */
    bool last_is_sound; /* it has a header; else nothing of it is copied */
    const uint64_t *later; /* first LSNs of the files behind it, ascending */
    size_t n_later;
    bool quarantine; /* keep the rest of `last` and the later files; else later ones hold nothing */
    uint64_t next_lsn, next_index;
    uint64_t skip_to;        /* the LSN at which to go on, by a logged record; 0: at next_lsn */
    uint64_t clock;          /* the stamp of that record */
    uint64_t salvaged_bytes; /* out: put into quarantine/ */
};

/* Makes the copy, puts it in its place, and sets *c behind what it holds, which is all durable.
 * Errors: ERR_FULL (as before, but for files that hold nothing), ERR_IO, ERR_CORRUPT, ERR_NOMEM. */
must_check int renew_run(struct renew *r, struct cursor *c, struct err *e);

#endif
