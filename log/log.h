/* log.h - the log: append records, know when they are written and durable, get them back at a
 * start.
 *
 * One thread, the engine's, calls everything here but what says otherwise. The log has two threads
 * of its own: the writer takes batches that could not be written inline and opens the next file,
 * the syncer calls fdatasync. Records live in the log's arena, in memory and at a fixed address,
 * from log_append (or replay) until log_close; the file gets them from there.
 *
 * Format and recovery: docs/format.md and the essays of wal.c, writer.c and recover.c. */
#ifndef LOG_LOG_H
#define LOG_LOG_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/err.h"

struct io;
struct log;

/* How safe an effect must be before its reply may leave; a batch has its records' strongest. */
enum log_class {
    LOG_OS,       /* written; synced when the file is full */
    LOG_INTERVAL, /* written; an fdatasync starts within interval_ms */
    LOG_ALWAYS,   /* durable */
};

enum {
    LOG_FIRST_LSN = 1024,              /* smaller numbers are reserved */
    LOG_FILE_BYTES_DEFAULT = 16 << 20, /* a file grows beyond it for a batch that needs more */
    LOG_FILE_BYTES_MIN = 64 << 10,
    LOG_FRAME_BYTES_MAX = 16 << 20,
    LOG_SKIP_LSNS = 1 << 20, /* how far LSNs jump after an unclean start */
};

struct log_record {
    uint64_t lsn;
    uint64_t
        clock; /* the batch's hybrid clock: ms << 16 | counter. The only time that apply knows. */
    uint8_t type;        /* enum record_type, checked by the callee */
    const uint8_t *body; /* in the arena: stays until log_close */
    size_t len;
};

/* Takes one record at a start, in LSN order, whole batches only. An error ends log_open with it. */
typedef int log_replay_fn(void *ctx, const struct log_record *r, struct err *e);

struct log_options {
    struct io *io;            /* borrowed until log_close */
    const char *dir;          /* created if it is not there; borrowed for the call */
    uint64_t file_bytes;      /* LOG_FILE_BYTES_MIN.. */
    uint64_t batch_bytes_max; /* limit of log_reserve */
    uint64_t interval_ms;     /* T of LOG_INTERVAL */
    bool salvage;             /* damage to synced data: set it aside in quarantine/ and go on */
    uint32_t frame_bytes_max; /* for tests: longest payload of a frame; 0: LOG_FRAME_BYTES_MAX */
    bool threads;             /* false: nothing happens in the background, log_step does the work */
    log_replay_fn *replay;
    /* Called on the log's threads when a watermark moved, space came or went, or the log failed:
     * wake the engine. May be NULL. */
    void (*on_progress)(void *ctx);
    void *ctx;
};

/* What a start found; for one line in the broker's log. */
struct log_recovery {
    bool created; /* a new store */
    bool clean;   /* the last process closed it */
    uint64_t n_records;
    uint64_t n_files;
    uint64_t bytes;          /* read */
    uint64_t dropped_bytes;  /* of a torn, never acknowledged tail */
    uint64_t salvaged_bytes; /* set aside because salvage was asked for */
    uint64_t last_clock;     /* the highest stamp seen; the clock must not go below it */
};

/* Opens the store in `dir`, replaying every record, and is ready for appends when it returns.
 * Errors: ERR_LOCKED, ERR_FORMAT (not a store, newer, not empty), ERR_CORRUPT (names file and
 * offset; the directory is unchanged), ERR_IO, ERR_FULL, ERR_NOMEM, or replay's. The text is one
 * line for the operator: which file, what is wrong, what to do. */
must_check int log_open(const struct log_options *options, struct log **out,
                        struct log_recovery *info, struct err *e);

/* Writes and syncs what is there, marks the store as cleanly closed, and frees everything. After a
 * failure of the log nothing is written. Errors: ERR_IO; `l` is freed in any case. NULL is fine. */
int log_close(struct log *l, struct err *e);

/* Frees `l` without writing or syncing anything, as if the process ended here. */
void log_abandon(struct log *l);

/* The clock of the batch that the next log_append opens: ms << 16 | counter. */
void log_set_clock(struct log *l, uint64_t clock);

/* Makes room in memory so that appends of `bytes` in all (bodies, plus 16 a record) cannot fail
 * before the next log_reserve. Looks at the disk only above 1 MiB. Errors: ERR_TOO_BIG (with what
 * the open batch holds, above batch_bytes_max), ERR_FULL, ERR_NOMEM. */
must_check int log_reserve(struct log *l, size_t bytes, struct err *e);

/* Adds a record of `len` body bytes to the open batch and returns where the caller has to write
 * them, at once. *out_lsn is its number. Never fails within what log_reserve granted. */
uint8_t *log_append(struct log *l, uint8_t type, enum log_class class, size_t len,
                    uint64_t *out_lsn);

/* Bytes that the open batch holds, 0 if none is open. The engine commits between commands when they
 * exceed LOG_BATCH_BYTES_SOFT; what is between two commits is atomic. */
enum { LOG_BATCH_BYTES_SOFT = 1 << 20 };
size_t log_open_bytes(const struct log *l);

/* Ends the open batch, if any, and hands it on: written inline if nothing is queued, being written
 * or synced, else queued. With sync_now, which says that all who wait need durability, an `always`
 * batch is also synced inline while the disk has lately been fast enough. Never waits for another
 * thread. */
void log_commit(struct log *l, bool sync_now);

/* The LSN of the last record appended (committed or not). */
uint64_t log_last_lsn(const struct log *l);

/* Watermarks, inclusive. Any thread. log_released_lsn is the written one as replies may use it: it
 * stands still while the oldest unsynced `interval` byte is 2 interval_ms old. */
uint64_t log_written_lsn(const struct log *l);
uint64_t log_durable_lsn(const struct log *l);
uint64_t log_released_lsn(const struct log *l);

/* Whether more than LOG_QUEUE_BYTES_MAX wait for the writer: whoever feeds the log should stop
 * reading those who write until on_progress. Nothing refuses to append; a batch or two may go
 * beyond it. Any thread. */
enum { LOG_QUEUE_BYTES_MAX = 64 << 20 };
bool log_is_backed_up(const struct log *l);

/* Whether only what frees space may be written: no further file could be allocated. Any thread. */
bool log_is_full(const struct log *l);

/* OK, or the failure after which nothing will ever be written again; the process has to end. Any
 * thread. */
int log_failure(const struct log *l, struct err *e);

/* Without threads: does one piece of background work (write, open a file, sync); false if there was
 * none. Deadlines are those of io's clock. */
bool log_step(struct log *l);

struct log_stats {
    uint64_t n_files, file_bytes; /* on disk, preallocated space included */
    uint64_t written_bytes;       /* given to pwritev, headers and padding included */
    uint64_t record_bytes;        /* records as they lie in frames */
    uint64_t n_batches, n_inline, n_queued, n_slow_inline; /* slow: over 1 ms */
    uint64_t n_syncs, n_inline_syncs, n_always_records;
    uint64_t sync_ns_total, sync_ns_max;
    uint64_t queued_bytes; /* waiting for the writer now */
    uint64_t arena_bytes;
    uint64_t n_full; /* times the disk-full state was entered */
};
void log_get_stats(const struct log *l, struct log_stats *out);

/* What identifies the store: 16 random bytes made when it was created; borrowed until log_close. */
const uint8_t *log_uuid(const struct log *l);

#endif
