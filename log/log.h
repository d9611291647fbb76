/* log.h - the log: append records, know when they are written and durable, seal what has become old, read
 * it all back.
 *
 * One thread, the engine's, calls everything here but what says otherwise. The log has threads of its own: the
 * writer takes batches that could not be written inline and opens the next file, the syncer calls fdatasync, and
 * workers seal, merge, write checkpoints and read what is cold. Records live in the log's arena, in memory and at
 * a fixed address, until they are sealed: log_turn tells the host before an address ends. Entries of streams are then
 * in segments (log/reader.h), everything else in what the host saves in checkpoints.
 *
 * Format and recovery: docs/format.md and the essays of wal.c, writer.c, recover.c, segment.c and keeper.c. */
#ifndef LOG_LOG_H
#define LOG_LOG_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/delset.h"
#include "log/err.h"
#include "log/id.h"
#include "log/pool.h"
#include "log/reader.h"

struct io;
struct log;

/* How safe an effect must be before its reply may leave; a batch has its records' strongest. */
enum log_class {
    LOG_OS,       /* written; synced when the file is full */
    LOG_INTERVAL, /* written; an fdatasync starts within interval_ms */
    LOG_ALWAYS,   /* durable */
};

enum {
    LOG_FIRST_LSN = 1024, /* smaller numbers are reserved */
    LOG_CHANGES_OID = 1,  /* of the stream of changes (RECORD_CHANGE): its IDs are <ms>-<LSN> */
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
    const uint8_t *body; /* in the arena until it is sealed; if `sealed`, for this call only */
    size_t len;
    bool sealed; /* its entry is in a segment: not to be indexed by address */
};

/* How the entries of a stream are to be compressed. */
enum log_codec { LOG_CODEC_AUTO, LOG_CODEC_NONE, LOG_CODEC_LZ4, LOG_CODEC_ZSTD };

/* What the host knows of a stream, for whoever rewrites its entries. */
struct log_stream_state {
    bool alive; /* false: all its entries may go */
    struct id floor;
    struct delset *deletes; /* a reference, which the asker gives back; or NULL */
    enum log_codec codec;
    int level; /* 0: the codec's default */
    /* Of the stream of changes alone, which has neither floor nor deletes: changes whose LSN is at or above keep_from.seq
     * stay; of the others those that live (log_host.live_changes). */
    struct id keep_from;
};

/* Bytes that grow: what the host serialises into. */
struct log_buffer {
    uint8_t *p; /* malloc'ed; the log's */
    size_t n, cap;
    bool failed; /* memory ran out */
};
/* Room for `n` more bytes at p + n; NULL (and failed) if there is no memory. */
uint8_t *log_buffer_grow(struct log_buffer *b, size_t n);

/* What the log asks of the owner of streams and names. All calls come on the engine's thread, inside log_open,
 * log_turn or log_close; none calls back into the log but where it says so. */
struct log_host {
    void *ctx;

    /* At a start. `load` gets the checkpoint's chunks, if there is one, in order; then `loaded` says between which LSNs
     * they were made (0 and 0: there is none). Then `replay` takes every record from the earliest that may still be
     * needed, in LSN order, whole batches only: of those up to start_lsn only entries (and what removes them) matter,
     * where !r->sealed. An error ends log_open with it. */
    int (*load)(void *ctx, uint64_t as_of_lsn, struct slice chunk, struct err *e);
    int (*loaded)(void *ctx, uint64_t start_lsn, uint64_t end_lsn, struct err *e);
    int (*replay)(void *ctx, const struct log_record *r, struct err *e);

    /* What is still wanted of a stream. Unknown ones are not alive. */
    void (*describe)(void *ctx, uint64_t oid, struct log_stream_state *out);
    /* Of the changes with LSNs in [first, last]: how many are live, each being all of some value; and which of `n` from `first`
     * on: bit i of `bits` (64 in each word, to be overwritten) is set for first + i. One that is not live any
     * more never is again. */
    uint64_t (*count_changes)(void *ctx, uint64_t first, uint64_t last);
    void (*live_changes)(void *ctx, uint64_t first, uint64_t n, uint64_t *bits);
    /* Its entries up to `last` are readable from segments from now on: forget their addresses. */
    void (*sealed)(void *ctx, uint64_t oid, struct id last);
    /* The entries of `folded` within [from, to] lie nowhere any more: they need not be remembered as deleted. */
    void (*folded)(void *ctx, uint64_t oid, const struct delset *folded, struct id from,
                   struct id to);

    /* A checkpoint: save_begin, then save_some until it returns false, each adding about `budget` objects' worth to
     * *out; other calls and records come in between. save_end also ends one that was given up. */
    void (*save_begin)(void *ctx);
    bool (*save_some)(void *ctx, size_t budget, struct log_buffer *out);
    void (*save_end)(void *ctx);

    /* On the log's threads: a watermark moved, space came or went, work is done, or the log failed: wake the engine, which
     * calls log_turn. May be NULL, as all above that a host without streams does not need. */
    void (*on_progress)(void *ctx);
};

struct log_options {
    struct io *io;            /* borrowed until log_close */
    const char *dir;          /* created if it is not there; borrowed for the call */
    uint64_t file_bytes;      /* LOG_FILE_BYTES_MIN.. */
    uint64_t batch_bytes_max; /* limit of log_reserve */
    uint64_t interval_ms;     /* T of LOG_INTERVAL */
    bool salvage;             /* damage to synced data: set it aside in quarantine/ and go on */
    uint32_t frame_bytes_max; /* for tests: longest payload of a frame; 0: LOG_FRAME_BYTES_MAX */
    bool threads;             /* false: nothing happens in the background, log_step does the work */
    /* Zero in any of these: the default. The arena's part is sealed when it holds part_bytes of records, or part_age_ms
     * (1 h) after its first one if there are LOG_PART_AGED_BYTES. */
    uint64_t part_bytes; /* LOG_PART_BYTES_DEFAULT */
    uint64_t part_age_ms;
    uint64_t cache_bytes;      /* decoded blocks: LOG_CACHE_BYTES_DEFAULT */
    uint64_t checkpoint_bytes; /* of WAL after which a checkpoint is due: 32 MiB */
    uint64_t tier_bytes;  /* 128 MiB; merges make segments of up to 32 times as many raw bytes */
    uint32_t block_bytes; /* raw bytes of a block: BLOCK_RAW_DEFAULT */
    uint32_t work_slice;  /* streams that log_turn handles at most in one call: 2,000 */
    bool keep_all;        /* for tests: neither merges nor checkpoints nor seals unless asked to */
    struct log_host host;
};

enum {
    LOG_PART_BYTES_DEFAULT = 16 << 20,
    LOG_PART_BYTES_MIN = 4 << 10,
    LOG_PART_AGED_BYTES = 1 << 20,
    LOG_PARTS_SEALING_MAX = 2, /* if the active one is full too, log_is_backed_up */
    LOG_CACHE_BYTES_DEFAULT = 16 << 20,
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
    uint64_t n_segments,
        n_set_aside;       /* files opened; files that belong to nothing: in quarantine/ */
    bool older_checkpoint; /* the newest was damaged (it is in quarantine/ now) */
    char note
        [320]; /* names what was set aside, or what was damaged and could be done without; else empty */
};

/* Opens the store in `dir`, replaying every record, and is ready for appends when it returns. *out is set before the
 * host's first call, which may look at what is sealed; NULL after a failure.
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

/* Whether more than LOG_QUEUE_BYTES_MAX wait for the writer, or the arena is full and waits for the sealer: whoever
 * feeds the log should stop reading those who write until on_progress, or until log_turn has seen to it. Nothing refuses to
 * append; a batch or two may go beyond it. While log_is_full, only the first counts. Any thread. */
enum { LOG_QUEUE_BYTES_MAX = 64 << 20 };
bool log_is_backed_up(const struct log *l);

/* Whether only what frees space may be written: no further file, or not what is kept for sealing, could be allocated.
 * Any thread. */
bool log_is_full(const struct log *l);

/* OK, or the failure after which nothing will ever be written again; the process has to end. Any
 * thread. */
int log_failure(const struct log *l, struct err *e);

/* ---- background work ---- */

/* What the engine has to do for the workers, a slice of it: called once a round and whenever on_progress woke the
 * engine. Calls the host, and `done` of jobs. True if there is more to do at once. Cheap when there is nothing. */
bool log_turn(struct log *l);

/* When log_turn should be called even if nothing happens, on io's monotonic clock; UINT64_MAX: never. */
uint64_t log_next_turn_ns(const struct log *l);

/* Without threads: does one piece of background work (write, open a file, sync, a step of a job); false if there
 * was none. Deadlines are those of io's clock. Which one of several is up to `log_step_pick`'s number. */
bool log_step(struct log *l);
bool log_step_pick(struct log *l, uint64_t pick);

/* Runs a job of the host's on a worker that may wait for the disk; `done` comes in log_turn. */
void log_submit(struct log *l, struct job *j);

/* What is asked for by an operator. `done` is called in log_turn, once; the request is the caller's and stays where
 * it is until then. In log_close it is called with ERR_IO. */
struct log_request {
    struct log_request *next; /* the log's */
    void (*done)(struct log_request *r, int rc, const struct err *e);
    /* of log_check: called in log_turn, before `done`, for each damaged place (the first 100 of them) */
    void (*found)(struct log_request *r, const char *path, uint64_t pos, const char *what);
    uint64_t n_files, bytes; /* what was done: sealed, merged, checked or copied */
    uint64_t lsn;            /* sealed up to; backed up to */
};
/* Seals everything that is there, writes a checkpoint, and is done when both are installed. */
void log_seal(struct log *l, struct log_request *r);
/* Somebody waits for what is in memory to be in segments: it is sealed as soon as there are LOG_PART_AGED_BYTES of it. */
void log_seal_soon(struct log *l);
/* Seals, then merges everything into as few segments as the largest tier allows. */
void log_merge(struct log *l, struct log_request *r);
/* Reads and checks every file. Errors (of `done`): ERR_CORRUPT if anything is damaged. */
void log_check(struct log *l, struct log_request *r);
/* Makes a store in `dir` (created; must be empty; copied) that has everything up to r->lsn, which is not below the last LSN now, under this
 * store's identity: hard links of what never changes (copies across file systems), and the WAL. Errors: ERR_USAGE,
 * ERR_IO, ERR_FULL. */
void log_backup(struct log *l, const char *dir, struct log_request *r);

/* ---- what is sealed ---- */

/* What segments have of a stream now; for sealed_fini. `deletes` is borrowed (a reference is taken). */
void log_get_sealed(struct log *l, uint64_t oid, struct id floor, struct delset *deletes,
                    struct id last, struct sealed *out);
struct blockcache *log_cache(const struct log *l);
void log_set_cache_bytes(struct log *l, uint64_t bytes);
/* Whether there is any segment at all: false makes the above needless. */
bool log_has_sealed(const struct log *l);
/* The decoder of the engine's own thread, for the reads that it may not avoid (they are counted). */
struct block_decoder *log_sync_decoder(struct log *l);

/* Records before it will not be replayed by any start. */
uint64_t log_first_lsn(const struct log *l);

/* Changes up to that LSN are in segments: readable from them, if they live or the history has them. */
uint64_t log_sealed_lsn(const struct log *l);

/* The change of one record, from a segment. `entry` (log/entry.h) and its `len` bytes are valid until log_change_fini. */
struct log_change {
    const uint8_t *entry;
    size_t len;
    struct block *block; /* a reference */
};
/* Finds it. What is missing in memory goes to `wants`; without them it is read on the spot, and counted.
 * Errors: ERR_COLD; ERR_CORRUPT (file and offset in the text, or no segment has it), ERR_IO, ERR_NOMEM. */
must_check int log_find_change(struct log *l, uint64_t lsn, struct wants *wants,
                               struct log_change *out, struct err *e);
void log_change_fini(struct log_change *c);

/* Keeps every address in the arena valid, whatever is sealed meanwhile. Any thread may unpin. At most
 * LOG_PINNED_PARTS_MAX parts live on for pins alone: NULL if this one would exceed that, or memory ran out. */
struct log_pin;
enum { LOG_PINNED_PARTS_MAX = 4 };
struct log_pin *log_pin(struct log *l);
void log_unpin(struct log_pin *p);

/* Tells that about so many entries and bytes (as rows) of sealed data are not wanted any more, changes that neither live
 * nor are history among them: when it is worth it, the log looks for segments to rewrite. */
void log_note_garbage(struct log *l, uint64_t n, uint64_t bytes);

/* For BECK STREAM and operators: segments that have entries of the stream, their share of bytes on disk. Reads what it
 * must: for workers. */
must_check int log_stream_disk(const struct sealed *s, uint64_t *n_segments, uint64_t *raw_bytes,
                               uint64_t *disk_bytes, struct err *e);

/* ---- figures ---- */

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
    uint64_t n_segments, segment_bytes, segment_raw_bytes, segment_entries; /* what there is */
    uint64_t segment_dead_bytes; /* raw, as last surveyed */
    uint64_t n_bad_segments;
    uint64_t n_parts_sealing, pinned_parts, unsealed_bytes;
    uint64_t sealed_lsn, checkpoint_lsn, wal_first_lsn;
    uint64_t n_seals, n_merges, n_checkpoints, n_manifests, n_job_errors;
    uint64_t sealed_bytes_written, merged_bytes_written, checkpoint_bytes_written,
        manifest_bytes_written; /* given to pwritev; with written_bytes: all there is */
    uint64_t n_cold_sync_reads; /* on the engine's thread */
    uint64_t n_set_aside;
    struct blockcache_stats cache;
    char last_job_error[200]; /* empty: none */
};
void log_get_stats(const struct log *l, struct log_stats *out);

/* What identifies the store: 16 random bytes made when it was created; borrowed until log_close. */
const uint8_t *log_uuid(const struct log *l);

#endif
