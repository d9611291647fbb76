/* cursor.h - the one place where the log grows: a file, a position in it, the chain up to there.
 *
 * Whoever may write at the moment owns it (writer.c). A call that fails leaves position and chain
 * as they were: what it wrote behind them is void. */
#ifndef LOG_CURSOR_H
#define LOG_CURSOR_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/batch.h"
#include "log/err.h"
#include "log/io.h"
#include "log/wal.h"

enum { CURSOR_PATH_MAX = 4096 + WAL_NAME_MAX };

struct cursor {
    struct io *io;          /* borrowed */
    int fd;                 /* owned; -1: none */
    uint64_t size, pos;     /* of the file; where the next frame goes */
    uint64_t file_lsn;      /* that names the file */
    uint64_t prev_end;      /* its header's link to the file before */
    uint32_t file_prev_crc; /* the same */
    uint64_t next_lsn, next_index;
    uint32_t seed, prev_crc;
    uint32_t frame_bytes;   /* longest payload of a frame: LOG_FRAME_BYTES_MAX but in tests */
    bool align;             /* the next frame starts at a sector: an fdatasync was issued */
    bool closed;            /* nothing more goes into this file: sealed, or the disk refused it */
    uint64_t synced_lsn;    /* what the next frame may claim to be durable */
    uint64_t claimed_lsn;   /* what the last frame claimed */
    uint64_t written_bytes; /* given to pwritev */
    char path[CURSOR_PATH_MAX]; /* for errors */
};

/* Takes over the descriptor of a file whose header is written and whose frames end at `pos`. */
void cursor_set_file(struct cursor *c, int fd, const char *dir, const struct wal_header *h,
                     uint64_t pos);

/* Upper bound of the bytes that the batch takes in a file, alignment included. */
uint64_t cursor_need(const struct cursor *c, const struct batch *b);

/* Whether it fits what is left, with WAL_TAIL_BYTES kept for markers. */
bool cursor_fits(const struct cursor *c, const struct batch *b);
bool cursor_fits_marker(const struct cursor *c); /* leaving room for the seal */

/* Writes the batch's frames. Errors: ERR_FULL (no space although it had been allocated), ERR_IO. */
must_check int cursor_write(struct cursor *c, const struct batch *b, struct err *e);

/* Writes a marker, one of WAL_MARKERS. Errors as cursor_write. */
must_check int cursor_mark(struct cursor *c, uint8_t flag, struct err *e);

/* Writes a frame of another file: the part made once is at `raw`, the payload's head.payload_len
 * bytes at `payload`, and head.synced_lsn is kept. Errors as cursor_write. */
must_check int cursor_copy(struct cursor *c, const uint8_t raw[WAL_FRAME_BYTES],
                           const struct wal_frame *head, const uint8_t *payload, struct err *e);

/* pwritev until everything is there. Errors: ERR_FULL (ENOSPC, EDQUOT), ERR_IO; the text names the
 * file. */
must_check int cursor_put(struct io *io, int fd, const char *path, struct iovec *iov, int n_iov,
                          uint64_t pos, struct err *e);

#endif
