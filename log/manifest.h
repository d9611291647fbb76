/* manifest.h - the file MANIFEST: which segments and checkpoints there are, and where the WAL begins to count.
 *
 * Small, and written anew as a whole (temporary file, fsync, rename, fsync of the directory). What it does not
 * name is not part of the store. Essay: manifest.c; format: docs/format.md. */
#ifndef LOG_MANIFEST_H
#define LOG_MANIFEST_H
#include "log/segment.h"

#define MANIFEST_NAME "MANIFEST"

enum { MANIFEST_SEGMENTS_MAX = 65536, MANIFEST_CHECKPOINTS_MAX = 2 };

struct manifest_checkpoint {
    uint64_t start_lsn, end_lsn; /* names it; see checkpoint.h */
    uint64_t file_bytes;
    uint32_t crc; /* of its trailer */
};

struct manifest {
    uint64_t generation;   /* +1 with each one written */
    uint64_t next_ordinal; /* of segments */
    uint64_t sealed_lsn;   /* entries up to it are in the segments; 0: none */
    uint64_t wal_first;    /* first LSN of the oldest file of the log that is still needed */
    uint64_t clock;        /* highest stamp known */
    struct segment_info *segments; /* in order of LSN */
    size_t n_segments, cap_segments;
    struct manifest_checkpoint checkpoints[MANIFEST_CHECKPOINTS_MAX]; /* the newest first */
    size_t n_checkpoints;
    uint64_t
        *obsolete; /* ordinals of segments that are replaced and may still have to be unlinked */
    size_t n_obsolete, cap_obsolete;
};

void manifest_init(struct manifest *m); /* generation 0, nothing in it, wal_first LOG_FIRST_LSN */
void manifest_fini(struct manifest *m);
must_check int manifest_copy(struct manifest *to, const struct manifest *from, struct err *e);

/* *found is false, and *out as manifest_init makes it, if there is none. Checks everything that the file alone can
 * tell: LSNs ascending and disjoint, ordinals unique and below next_ordinal. Errors: ERR_CORRUPT (also if there is none, and
 * the log no longer begins at LOG_FIRST_LSN, while there are segments or checkpoints: one is lost), ERR_FORMAT (file, offset,
 * what, what to do), ERR_IO, ERR_NOMEM. */
must_check int manifest_read(struct io *io, const char *dir, const uint8_t *uuid,
                             struct manifest *out, bool *found, struct err *e);

/* Whether a manifest that was made by hand may be written: what manifest_read checks. Errors: ERR_CORRUPT, ERR_NOMEM. */
must_check int manifest_check(const struct manifest *m, struct err *e);

/* Writes it durably as generation m->generation (which the caller has raised). Blocks in fsync. Errors: ERR_FULL
 * (the old one still holds), ERR_IO (nothing is known any more: the process has to end). *written counts bytes. */
must_check int manifest_write(struct io *io, const char *dir, const uint8_t *uuid,
                              const struct manifest *m, uint64_t *written, struct err *e);

#endif
