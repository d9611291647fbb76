/* writer.h - batches into files in one order, made durable as their classes ask. Essay: writer.c.
 *
 * writer_commit, writer_step, writer_close and writer_abandon belong to the engine's thread; the
 * rest may be called from any. */
#ifndef LOG_WRITER_H
#define LOG_WRITER_H
#include <stdbool.h>
#include <stdint.h>
#include "log/batch.h"
#include "log/cursor.h"
#include "log/err.h"
#include "log/log.h"

struct writer;

struct writer_options {
    struct io *io;       /* borrowed until the writer is closed */
    const char *dir;     /* the same */
    const uint8_t *uuid; /* WAL_UUID_BYTES; the same */
    uint64_t file_bytes;
    uint64_t interval_ms;
    bool threads;
    void (*on_progress)(void *ctx);
    void *ctx;
    const struct wal_file *files; /* that are there, the oldest first, the cursor's last; copied */
    size_t n_files;
};

/* Starts at the cursor, all before which is durable; takes its descriptor over, on failure too.
 * Errors: ERR_NOMEM, ERR_IO (no thread). */
must_check int writer_open(const struct writer_options *options, const struct cursor *cursor,
                           struct writer **out, struct err *e);

/* Hands a batch on: written before the call returns if it may be, else queued. Returns an empty
 * batch for reuse, or NULL if there is none. */
struct batch *writer_commit(struct writer *w, struct batch *b, bool sync_now);

/* Makes what is committed up to `lsn` durable soon, whatever its class. Any thread. */
void writer_request_sync(struct writer *w, uint64_t lsn);

/* Nothing is written any more: something else of the store failed in a way after which its files are not known
 * to be what they should (writer_failure tells). Any thread. */
void writer_break(struct writer *w, const struct err *e);

/* Without threads: one piece of work; false if none is due. */
bool writer_step(struct writer *w);

/* Writes what is queued, syncs, marks the close, frees. Errors: ERR_IO, ERR_FULL (the queue could
 * not be written). */
must_check int writer_close(struct writer *w, struct err *e);

/* Frees without writing anything. */
void writer_abandon(struct writer *w);

uint64_t writer_written(const struct writer *w);
uint64_t writer_durable(const struct writer *w);
uint64_t writer_released(struct writer *w);
bool writer_is_full(const struct writer *w);
uint64_t writer_queued_bytes(const struct writer *w);
int writer_failure(const struct writer *w, struct err *e);

/* ---- the files of the log ---- */

/* Where the log has to begin if nothing up to `lsn` is needed: the first LSN of the file that has the record after it, or
 * of the newest file. */
uint64_t writer_first_needed(struct writer *w, uint64_t lsn);

/* Removes the files before the one that `wal_first` names (a manifest says durably that they are not needed), the oldest
 * first, so that a crash leaves no gap. Blocks in file operations; one thread at a time. Errors: ERR_IO; if the directory
 * cannot be synced, the log has failed. */
must_check int writer_release(struct writer *w, uint64_t wal_first, struct err *e);

/* From writer_hold to writer_unhold no file is removed: writer_release leaves them to a later call of it. *out becomes a list
 * of the files that there are (the caller's, to free). Errors: ERR_NOMEM (nothing is held). */
must_check int writer_hold(struct writer *w, struct wal_file **out, size_t *n, struct err *e);
void writer_unhold(struct writer *w);

/* Whether a batch of `bytes` would find room in the files that are there already. The engine's
 * thread. */
bool writer_has_room(struct writer *w, uint64_t bytes);

void writer_get_stats(struct writer *w, struct log_stats *out);

#endif
