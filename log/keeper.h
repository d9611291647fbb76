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

/* Reads the manifest, opens the segments it names, sets foreign files aside, removes what is known to be replaced,
 * starts the pool. With o->salvage, missing or damaged segments are set aside and left out. Errors: as log_open. */
must_check int keeper_open(const struct log_options *o, const uint8_t *uuid, bool created,
                           struct log_recovery *info, struct keeper **out, struct err *e);
/* Waits for jobs to end (they give up soon) and frees; the log's last manifest has been written by keeper_finish. */
void keeper_close(struct keeper *k); /* NULL is fine */

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
/* The log is complete; from now on the writer tells what is durable, and gives files of the log back. */
void keeper_begin(struct keeper *k, struct writer *w);

/* ---- the arena ---- */

/* The part that records go to. */
struct arena *keeper_arena(struct keeper *k);
/* `n` bytes at p hold whole records, the first of which is `first_lsn`, all up to `last_lsn`. */
must_check int keeper_reserve(struct keeper *k,
                              struct err *e); /* so that the next keeper_took cannot fail */
void keeper_took(struct keeper *k, const uint8_t *p, size_t n, uint64_t first_lsn,
                 uint64_t last_lsn);
/* A batch has ended: the active part is closed here if it is full. */
void keeper_batch_end(struct keeper *k);
bool keeper_is_full(const struct keeper *k); /* any thread */

/* ---- what log.h promises ---- */
bool keeper_turn(struct keeper *k);
uint64_t keeper_next_turn_ns(const struct keeper *k);
bool keeper_step(struct keeper *k, uint64_t pick);
struct pool *keeper_pool(struct keeper *k);
struct blockcache *keeper_cache(const struct keeper *k);
struct view *keeper_view(const struct keeper *k);
void keeper_get_stats(const struct keeper *k, struct log_stats *out); /* adds its own */

#endif
