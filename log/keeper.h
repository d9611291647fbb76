/* keeper.h - keeps what is sealed: parts of the arena become segments, segments are merged, checkpoints written,
 * manifests brought up to date, the WAL released. Essay: keeper.c.
 *
 * The engine's thread calls everything. What takes time are jobs of a pool (log/pool.h), each a chain of steps; what a
 * step decides is decided in keeper_turn. */
#ifndef LOG_KEEPER_H
#define LOG_KEEPER_H
#include "log/arena.h"
#include "log/log.h"
#include "log/manifest.h"

struct batch;
struct keeper;
struct writer;

/* Reads the manifest, opens the segments it names, starts the pool. With o->salvage, missing or damaged segments are left
 * out. `o` is copied. Errors: as log_open. */
must_check int keeper_open(const struct log_options *o, const uint8_t *uuid, bool created,
                           struct keeper **out, struct err *e);
/* Ends all jobs (they give up soon) and tells those who asked for something. With `abandon` files are left as they
 * are. */
void keeper_stop(struct keeper *k, bool abandon);
/* Frees it; keeper_stop has been called if it began. Nobody needs an address in the arena any more. NULL is fine. */
void keeper_close(struct keeper *k);

/* ---- a start ---- */

struct keeper_start {            /* what recovery has to know */
    uint64_t wal_first;          /* names the first file of the log that counts */
    uint64_t sealed_lsn;         /* entries up to it are in segments */
    uint64_t start_lsn, end_lsn; /* of the checkpoint that was loaded; 0: none */
    uint64_t clock;
};
/* Loads the newest checkpoint that is sound into the host, and tells it `loaded`. Errors: as checkpoint_load, or the
 * host's. */
must_check int keeper_load(struct keeper *k, struct keeper_start *out, struct err *e);
/* Between two batches of a replay, whose records up to `lsn` are durable whatever comes after: where the arena is full,
 * seals, and waits for it. */
must_check int keeper_replay_turn(struct keeper *k, uint64_t durable_lsn, struct err *e);
/* The log is complete; from now on the writer tells what is durable, and gives files of the log back. Sets foreign
 * files aside and removes what is known to be replaced; adds to `info`. Errors: ERR_IO, ERR_FULL. */
must_check int keeper_begin(struct keeper *k, struct writer *w, struct log_recovery *info,
                            struct err *e);
/* ---- the arena ---- */

/* The part that records go to. */
struct arena *keeper_arena(struct keeper *k);
/* Makes sure that the next `n` of keeper_took cannot fail. Errors: ERR_NOMEM. */
must_check int keeper_reserve(struct keeper *k, size_t n, struct err *e);
/* `n` bytes at p hold whole records of a batch, whose LSNs are first_lsn to last_lsn. */
void keeper_took(struct keeper *k, const uint8_t *p, size_t n, uint64_t first_lsn,
                 uint64_t last_lsn);
/* A batch has ended: the active part is closed here if it is full. */
void keeper_batch_end(struct keeper *k);
bool keeper_is_full(const struct keeper *k); /* any thread */

/* ---- what log.h promises ---- */

/* The state is that after `last_lsn`, the clock's highest stamp `clock`; with `batch_open` the active part is not closed.
 * True if there is more to do at once. */
bool keeper_turn(struct keeper *k, uint64_t last_lsn, uint64_t clock, bool batch_open);
bool keeper_is_due(struct keeper *k); /* whether keeper_turn would do anything */
uint64_t keeper_next_turn_ns(const struct keeper *k);
struct pool *keeper_pool(struct keeper *k);
struct blockcache *keeper_cache(const struct keeper *k);
void keeper_seal(struct keeper *k, uint64_t last_lsn, struct log_request *r);
void keeper_seal_soon(struct keeper *k, uint64_t last_lsn);
void keeper_merge(struct keeper *k, uint64_t last_lsn, struct log_request *r);
void keeper_check(struct keeper *k, uint64_t last_lsn, struct log_request *r);
void keeper_backup(struct keeper *k, uint64_t last_lsn, const char *to, struct log_request *r);
void keeper_note_garbage(struct keeper *k, uint64_t n, uint64_t bytes);
uint64_t keeper_sealed_lsn(const struct keeper *k);
bool keeper_has_sealed(const struct keeper *k);
void keeper_get_sealed(struct keeper *k, uint64_t oid, struct sealed *out); /* view, n_segments */
struct log_pin *keeper_pin(struct keeper *k);
bool keeper_lacks_space(const struct keeper *k);                /* any thread */
uint64_t keeper_first_lsn(const struct keeper *k);              /* log_first_lsn */
void keeper_get_stats(struct keeper *k, struct log_stats *out); /* adds its own */

/* ---- for backups and checks ---- */

/* What there is, durably. Until keeper_unhold, none of it is removed. */
struct keeper_hold {
    struct manifest manifest; /* the last one written; generation 0: none yet */
    struct view *view;
};
must_check int keeper_hold(struct keeper *k, struct keeper_hold *out, struct err *e);
void keeper_unhold(struct keeper *k, struct keeper_hold *h);

#endif
