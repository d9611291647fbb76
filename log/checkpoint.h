/* checkpoint.h - the host's state (names, headers, deleted IDs, settings) in a file, written while it changes.
 *
 *   ckpt-<start_lsn>.ck     header, chunks, trailer
 *
 * A chunk is what the host serialised in one go, exact as of its LSN. The log from start_lsn on brings all chunks to
 * the same moment: who applies it skips, object by object, what its chunk has seen. end_lsn is the LSN at the
 * last chunk: what is not in the checkpoint and was created at or before start_lsn was gone by then. The payload is the
 * host's; format of both: docs/format.md. */
#ifndef LOG_CHECKPOINT_H
#define LOG_CHECKPOINT_H
#include "log/bytes.h"
#include "log/err.h"
#include "log/io.h"
#include "log/manifest.h"

enum { CHECKPOINT_NAME_MAX = 40, CHECKPOINT_CHUNK_MAX = 64 << 20 };

void checkpoint_name(uint64_t start_lsn, bool unfinished, char out[CHECKPOINT_NAME_MAX]);
bool checkpoint_name_parse(const char *name, uint64_t *start_lsn, bool *unfinished);

struct checkpoint_writer; /* one thread at a time; borrows io, dir */

/* Begins ckpt-<start_lsn>.ck.tmp, replacing a left-over. Errors: ERR_USAGE (there is a checkpoint of that LSN, whose name it
 * cannot take), ERR_FULL, ERR_IO, ERR_NOMEM. */
must_check int checkpoint_create(struct io *io, const char *dir, const uint8_t *uuid,
                                 uint64_t start_lsn, struct checkpoint_writer **out, struct err *e);
/* Up to CHECKPOINT_CHUNK_MAX bytes; none: does nothing. as_of_lsn does not go back. Chunks are compressed (lz4), checksummed
 * and numbered. Errors: ERR_FULL, ERR_IO, ERR_NOMEM. */
must_check int checkpoint_put(struct checkpoint_writer *w, uint64_t as_of_lsn, struct slice payload,
                              struct err *e);
/* Makes it durable and gives it its name; the directory's fsync is the caller's. Frees the writer in any case. The caller has
 * seen to it that the WAL is durable up to end_lsn before a manifest names the checkpoint. */
must_check int checkpoint_finish(struct checkpoint_writer *w, uint64_t end_lsn, uint64_t clock,
                                 struct manifest_checkpoint *out, struct err *e);
void checkpoint_discard(struct checkpoint_writer *w); /* removes the file; NULL is fine */

/* Reads and checks the checkpoint that began at start_lsn; *out (may be NULL) becomes what a manifest says of it. `expect`
 * may be NULL: nothing is known. Errors: ERR_CORRUPT (file, offset, what), ERR_FORMAT, ERR_IO, ERR_NOMEM. */
must_check int checkpoint_verify(struct io *io, const char *dir, const uint8_t *uuid,
                                 uint64_t start_lsn, const struct manifest_checkpoint *expect,
                                 struct manifest_checkpoint *out, struct err *e);

/* Checks the whole file first; only a sound one is given to `each`, chunk by chunk in order. Errors: ERR_CORRUPT,
 * ERR_FORMAT, ERR_IO, ERR_NOMEM, or each's. */
must_check int checkpoint_load(struct io *io, const char *dir, const uint8_t *uuid,
                               const struct manifest_checkpoint *expect,
                               int (*each)(void *ctx, uint64_t as_of_lsn, struct slice payload,
                                           struct err *e),
                               void *ctx, struct err *e);

#endif
