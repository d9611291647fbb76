/* scan.h - reads one file of the log front to back, frame by frame, believing nothing.
 *
 * A scan knows frames, not batches: whether LSNs and indexes go on is the caller's question. */
#ifndef LOG_SCAN_H
#define LOG_SCAN_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/cursor.h"
#include "log/err.h"
#include "log/wal.h"

struct io;

enum { SCAN_WINDOW_BYTES = 256 << 10 };

struct scan {
    struct io *io; /* borrowed */
    int fd;        /* owned; -1: none */
    uint64_t size; /* of the file as it is */
    struct wal_header header;
    uint32_t seed;
    uint64_t pos; /* behind the last frame accepted */
    uint32_t prev_crc;
    uint8_t *window; /* bytes [window_pos, window_pos + window_n) of the file */
    uint64_t window_pos;
    size_t window_n;
    char path[CURSOR_PATH_MAX];
};

/* One frame that scan_frame found. */
struct scan_frame {
    struct wal_frame head;
    uint64_t pos; /* of the header */
    uint8_t raw[WAL_FRAME_BYTES];
};

/* What can be wrong with a file as a whole; the others are errors of the machine. */
enum scan_header { SCAN_HEADER_OK, SCAN_HEADER_BAD };

/* Opens dir/name and reads its header. *state says whether that is sound and of the store `uuid`
 * (why not is in *e); if not, only scan_hunt and scan_bytes are possible. Errors: ERR_IO,
 * ERR_NOMEM, ERR_FORMAT. */
must_check int scan_open(struct scan *s, struct io *io, const char *dir, const char *name,
                         const uint8_t *uuid, enum scan_header *state, struct err *e);
void scan_close(struct scan *s);

/* Goes back to the first frame. */
void scan_rewind(struct scan *s);

/* Looks for the next frame at s->pos or, behind zeros, at the sector after it: a sound header that
 * continues the chain, within the file. *found says whether it is there. Moves nothing. Errors:
 * ERR_IO. */
must_check int scan_frame(struct scan *s, struct scan_frame *out, bool *found, struct err *e);

/* Reads the frame's payload to `to` and checks its CRC and padding; *sound is the answer. Errors:
 * ERR_IO. */
must_check int scan_payload(struct scan *s, const struct scan_frame *f, uint8_t *to, bool *sound,
                            struct err *e);

/* Goes on behind the frame. */
void scan_accept(struct scan *s, const struct scan_frame *f);

/* What lies in the rest of a file behind damage or its end. */
struct scan_finds {
    uint64_t n_frames;
    uint64_t synced_lsn; /* highest that a sound header claims */
    uint64_t seen_lsn;   /* highest of a record */
    uint64_t clock;      /* highest */
    uint64_t
        end; /* behind the last byte that is not zero; where the search began if there is none */
};

/* Searches [from, end of file) in steps of 8 bytes for sound frame headers, and adds what it finds.
 * With `salted` false the file's salt is unknown, and frames count whose payload CRC is right.
 * Errors: ERR_IO. */
must_check int scan_hunt(struct scan *s, uint64_t from, bool salted, struct scan_finds *out,
                         struct err *e);

/* Points *out at n <= SCAN_WINDOW_BYTES bytes at `pos`, borrowed until the next call; *got of them
 * exist (fewer than n at the end of the file). Errors: ERR_IO. */
must_check int scan_bytes(struct scan *s, uint64_t pos, size_t n, const uint8_t **out, size_t *got,
                          struct err *e);

#endif
