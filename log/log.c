/*
 * log.c - the log as the engine sees it: a store that is open, a batch that fills, watermarks that
 * follow.
 *
 * Records go straight into the arena's active part and are described by the open batch; log_commit hands that to
 * the writer, and tells the keeper, which closes the part when it is full. The engine's thread alone touches arena and batch, so appending takes no lock and
 * cannot fail: log_reserve has provided arena, batch and extent before. What is between two commits
 * is one atomic batch of the file.
 */
#include "log/log.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "log/arena.h"
#include "log/batch.h"
#include "log/blockcache.h"
#include "log/entry.h"
#include "log/io.h"
#include "log/parts.h"
#include "log/keeper.h"
#include "log/recover.h"
#include "log/store.h"
#include "log/writer.h"

/* How often, in bytes of a batch, the disk's free space is looked at. */
enum { LOG_SPACE_STEP = 1 << 20 };

struct log {
    struct io *io;
    char *dir;
    struct store store;
    struct keeper *keeper;
    struct arena *arena; /* the keeper's active part */
    struct writer *writer;
    uint64_t batch_bytes_max, file_bytes;
    uint64_t clock;
    uint64_t next_lsn, next_index;
    struct batch *batch;    /* being filled, or empty; NULL until log_reserve makes one */
    uint64_t space_checked; /* bytes of this batch that the disk has been seen to have room for */
    struct block_decoder
        *decoder; /* of the reads that cannot wait for a worker; made by the first */
    uint64_t n_cold_sync_reads;
};

/* ---- opening and closing ---- */

static int log_check_options(const struct log_options *o, struct err *e)
{
    if (o->file_bytes < LOG_FILE_BYTES_MIN || o->file_bytes > INT64_MAX / 4)
        return err_set(e, ERR_USAGE, "the size of a log file has to be at least %d bytes",
                       LOG_FILE_BYTES_MIN);
    if (o->frame_bytes_max > LOG_FRAME_BYTES_MAX)
        return err_set(e, ERR_USAGE, "a frame holds at most %d bytes", LOG_FRAME_BYTES_MAX);
    if (o->part_bytes != 0 && o->part_bytes < LOG_PART_BYTES_MIN)
        return err_set(e, ERR_USAGE, "a part of the arena has to hold at least %d bytes",
                       LOG_PART_BYTES_MIN);
    return OK;
}

static int log_start_writer(struct log *l, const struct log_options *o,
                            const struct recover_result *found, struct err *e)
{
    struct writer_options w = { .io = l->io,
                                .dir = l->dir,
                                .uuid = l->store.uuid,
                                .file_bytes = o->file_bytes,
                                .interval_ms = o->interval_ms,
                                .threads = o->threads,
                                .on_progress = o->host.on_progress,
                                .ctx = o->host.ctx,
                                .files = found->files,
                                .n_files = found->n_files };

    l->next_lsn = found->cursor.next_lsn;
    l->next_index = found->cursor.next_index;
    l->clock = found->info.last_clock;
    return writer_open(&w, &found->cursor, &l->writer, e);
}

/* With the log read back: everything that goes on from here. */
static int log_begin(struct log *l, const struct log_options *o, struct recover_result *found,
                     struct err *e)
{
    int rc = OK;

    if (l->store.is_new)
        rc = store_commit(&l->store, l->io, l->dir, e);
    if (rc != OK) {
        l->io->close(l->io, found->cursor.fd);
        return rc;
    }
    rc = log_start_writer(l, o, found, e);
    if (rc == OK)
        rc = keeper_begin(l->keeper, l->writer, &found->info, e);
    return rc;
}

static int log_reserve_run(struct keeper *k, struct err *e)
{
    return keeper_reserve(k, 1, e);
}

static int log_recover(struct log *l, const struct log_options *o, struct log_recovery *info,
                       struct err *e)
{
    struct recover_options r = { .log = o,
                                 .uuid = l->store.uuid,
                                 .created = l->store.is_new,
                                 .sink = { .keeper = l->keeper,
                                           .arena = keeper_arena,
                                           .reserve = log_reserve_run,
                                           .took = keeper_took,
                                           .batch_end = keeper_batch_end,
                                           .replay_turn = keeper_replay_turn } };
    struct recover_result found;
    int rc = keeper_load(l->keeper, &r.start, e);

    if (rc == OK)
        rc = recover_run(&r, &found, e);
    if (rc != OK)
        return rc;
    rc = log_begin(l, o, &found, e);
    free(found.files);
    if (rc == OK && info != NULL)
        *info = found.info;
    return rc;
}

static void log_free(struct log *l)
{
    keeper_close(l->keeper);
    batch_free(l->batch);
    block_decoder_free(l->decoder);
    store_close(&l->store, l->io);
    free(l->dir);
    free(l);
}

int log_open(const struct log_options *o, struct log **out, struct log_recovery *info,
             struct err *e)
{
    struct log *l;
    struct err own;
    int rc;

    if (e == NULL)
        e = &own; /* err_add wants one */
    rc = log_check_options(o, e);
    if (rc != OK)
        return rc;
    l = calloc(1, sizeof *l);
    if (l == NULL)
        return err_set(e, ERR_NOMEM, "no memory for the log");
    l->io = o->io;
    l->store.fd = -1;
    l->batch_bytes_max = o->batch_bytes_max;
    l->file_bytes = o->file_bytes;
    l->space_checked = LOG_SPACE_STEP;
    l->dir = strdup(o->dir);
    rc = l->dir == NULL ? err_set(e, ERR_NOMEM, "no memory for the log") : OK;
    if (rc == OK)
        rc = store_open(&l->store, l->io, l->dir, e);
    if (rc == OK)
        rc = keeper_open(o, l->store.uuid, l->store.is_new, &l->keeper, e);
    *out = l; /* the host may look at what is sealed while it replays */
    if (rc == OK)
        rc = log_recover(l, o, info, e);
    if (rc != OK) {
        *out = NULL;
        log_abandon(l);
        return rc;
    }
    l->arena = keeper_arena(l->keeper);
    return OK;
}

int log_close(struct log *l, struct err *e)
{
    int rc;

    if (l == NULL)
        return OK;
    log_commit(l, false);
    keeper_stop(l->keeper, false);
    rc = writer_close(l->writer, e);
    log_free(l);
    return rc;
}

void log_abandon(struct log *l)
{
    if (l == NULL)
        return;
    if (l->keeper != NULL)
        keeper_stop(l->keeper, true);
    if (l->writer != NULL)
        writer_abandon(l->writer);
    log_free(l);
}

/* ---- appending ---- */

void log_set_clock(struct log *l, uint64_t clock)
{
    assert(clock >= l->clock); /* the clock never goes back */
    l->clock = clock;
}

/* Whether the disk has room for a batch of `bytes`, beyond the file that has to be allocated after
 * it. */
static int log_check_space(struct log *l, uint64_t bytes, struct err *e)
{
    uint64_t free_bytes;

    if (writer_has_room(l->writer, bytes + bytes / 8 + LOG_SPACE_STEP))
        return OK;
    if (l->io->space(l->io, l->dir, &free_bytes) != 0)
        return err_sys(e, ERR_IO, "%s: asking for free space", l->dir);
    if (free_bytes < l->file_bytes || free_bytes - l->file_bytes < bytes + bytes / 8)
        return err_set(e, ERR_FULL, "%s: %llu bytes free on the disk do not hold a batch of %llu",
                       l->dir, (unsigned long long)free_bytes, (unsigned long long)bytes);
    return OK;
}

/* What log_reserve does only now and then. */
static int log_reserve_slow(struct log *l, size_t bytes, struct err *e)
{
    uint64_t total = (uint64_t)l->batch->bytes + bytes;
    int rc;

    if (total > l->space_checked) {
        rc = log_check_space(l, total + LOG_SPACE_STEP, e);
        if (rc != OK)
            return rc;
        l->space_checked = total + LOG_SPACE_STEP;
    }
    rc = arena_reserve(l->arena, bytes, e);
    if (rc == OK)
        rc = batch_reserve_extent(l->batch, e);
    return rc == OK ? keeper_reserve(l->keeper, l->batch->n_extents + 2, e) : rc;
}

int log_reserve(struct log *l, size_t bytes, struct err *e)
{
    struct batch *b = l->batch;

    if (b == NULL) {
        b = l->batch = batch_new();
        if (b == NULL)
            return err_set(e, ERR_NOMEM, "no memory for a batch of records");
    }
    if (b->bytes > l->batch_bytes_max || bytes > l->batch_bytes_max - b->bytes)
        return err_set(e, ERR_TOO_BIG, "a batch of %llu bytes exceeds the limit of %llu",
                       (unsigned long long)b->bytes + bytes,
                       (unsigned long long)l->batch_bytes_max);
    if (b->bytes + bytes > l->space_checked || bytes > (size_t)(l->arena->end - l->arena->at) ||
        b->n_extents == b->cap_extents)
        return log_reserve_slow(l, bytes, e);
    return OK;
}

uint8_t *log_append(struct log *l, uint8_t type, enum log_class class, size_t len,
                    uint64_t *out_lsn)
{
    struct batch *b = l->batch;
    size_t head = varint_size((uint64_t)len + 1);
    uint8_t *start = arena_take(l->arena, head + 1 + len), *p;

    p = varint_put(start, (uint64_t)len + 1);
    *p++ = type;
    if (b->n_records == 0) {
        b->first_lsn = l->next_lsn;
        b->clock = l->clock;
    }
    batch_add(b, start, head + 1 + len);
    b->classes |= (uint8_t)(1u << class);
    b->n_always += class == LOG_ALWAYS;
    *out_lsn = l->next_lsn++;
    return p;
}

size_t log_open_bytes(const struct log *l)
{
    return l->batch == NULL ? 0 : l->batch->bytes;
}

void log_commit(struct log *l, bool sync_now)
{
    struct batch *b = l->batch;

    if (log_open_bytes(l) == 0)
        return;
    b->index = l->next_index++;
    for (size_t i = 0; i < b->n_extents; i++)
        keeper_took(l->keeper, b->extents[i].p, b->extents[i].n, b->first_lsn, batch_last_lsn(b));
    l->batch = writer_commit(l->writer, b, sync_now);
    l->space_checked = LOG_SPACE_STEP;
    keeper_batch_end(l->keeper);
    l->arena = keeper_arena(l->keeper);
}

/* ---- background work ---- */

bool log_turn(struct log *l)
{
    bool more = keeper_turn(l->keeper, l->next_lsn - 1, l->clock, log_open_bytes(l) > 0);

    l->arena = keeper_arena(l->keeper);
    return more;
}

uint64_t log_next_turn_ns(const struct log *l)
{
    return keeper_next_turn_ns(l->keeper);
}

bool log_step_pick(struct log *l, uint64_t pick)
{
    enum { WRITER, WORKER, TURN, N };

    for (uint64_t i = 0; i < N; i++)
        switch ((pick + i) % N) {
        case WRITER:
            if (writer_step(l->writer))
                return true;
            break;
        case WORKER:
            if (pool_step(keeper_pool(l->keeper), (size_t)(pick / N)))
                return true;
            break;
        default:
            if (!keeper_is_due(l->keeper))
                break;
            log_turn(l);
            return true;
        }
    return false;
}

bool log_step(struct log *l)
{
    return log_step_pick(l, 0);
}

void log_submit(struct log *l, struct job *j)
{
    pool_submit(keeper_pool(l->keeper), j);
}

void log_seal(struct log *l, struct log_request *r)
{
    keeper_seal(l->keeper, l->next_lsn - 1, r);
}

void log_seal_soon(struct log *l)
{
    keeper_seal_soon(l->keeper, l->next_lsn - 1);
}

void log_merge(struct log *l, struct log_request *r)
{
    keeper_merge(l->keeper, l->next_lsn - 1, r);
}

void log_check(struct log *l, struct log_request *r)
{
    keeper_check(l->keeper, l->next_lsn - 1, r);
}

void log_backup(struct log *l, const char *dir, struct log_request *r)
{
    keeper_backup(l->keeper, l->next_lsn - 1, dir, r);
}

void log_note_garbage(struct log *l, uint64_t n, uint64_t bytes)
{
    keeper_note_garbage(l->keeper, n, bytes);
}

/* ---- what is sealed ---- */

void log_get_sealed(struct log *l, uint64_t oid, struct id floor, struct delset *deletes,
                    struct id last, struct sealed *out)
{
    *out =
        (struct sealed){ .oid = oid, .floor = floor, .last = last, .deletes = delset_ref(deletes) };
    keeper_get_sealed(l->keeper, oid, out);
}

struct blockcache *log_cache(const struct log *l)
{
    return keeper_cache(l->keeper);
}

void log_set_cache_bytes(struct log *l, uint64_t bytes)
{
    blockcache_set_limit(keeper_cache(l->keeper), bytes);
}

bool log_has_sealed(const struct log *l)
{
    return keeper_has_sealed(l->keeper);
}

struct block_decoder *log_sync_decoder(struct log *l)
{
    if (l->decoder == NULL)
        l->decoder = block_decoder_new();
    l->n_cold_sync_reads++;
    return l->decoder;
}

uint64_t log_first_lsn(const struct log *l)
{
    return keeper_first_lsn(l->keeper);
}

uint64_t log_sealed_lsn(const struct log *l)
{
    return keeper_sealed_lsn(l->keeper);
}

/* Takes the change that the reader is at; there must be one, of that record. */
static int log_take_change(const struct reader *r, uint64_t lsn, struct log_change *out,
                           struct err *e)
{
    const uint8_t *entry = reader_at(r, &out->len);
    struct id id = ID_MIN;

    if (entry != NULL)
        entry_id(entry, &id);
    if (id.seq != lsn)
        return err_set(e, ERR_CORRUPT, "no segment has the value that record %llu wrote",
                       (unsigned long long)lsn);
    out->entry = entry;
    out->block = block_ref(r->block);
    return OK;
}

static int log_read_change(struct log *l, const struct sealed *s, uint64_t lsn, struct wants *wants,
                           struct block_decoder *decoder, struct log_change *out, struct err *e)
{
    struct reader r;
    int rc;

    reader_init(&r, s, log_cache(l), decoder, wants);
    rc = reader_seek_lsn(&r, lsn, e);
    if (rc == OK)
        rc = log_take_change(&r, lsn, out, e);
    reader_fini(&r);
    return rc;
}

int log_find_change(struct log *l, uint64_t lsn, struct wants *wants, struct log_change *out,
                    struct err *e)
{
    struct block_decoder *decoder;
    struct sealed s;
    int rc;

    log_get_sealed(l, LOG_CHANGES_OID, ID_MIN, NULL, ID_MAX, &s);
    rc = log_read_change(l, &s, lsn, wants, NULL, out, e);
    if (rc == ERR_COLD && wants == NULL) {
        decoder = log_sync_decoder(l);
        rc = decoder == NULL ? err_set(e, ERR_NOMEM, "no memory to decode what is stored")
                             : log_read_change(l, &s, lsn, NULL, decoder, out, e);
    }
    sealed_fini(&s);
    return rc;
}

void log_change_fini(struct log_change *c)
{
    block_unref(c->block);
    *c = (struct log_change){ 0 };
}

struct log_pin *log_pin(struct log *l)
{
    return keeper_pin(l->keeper);
}

void log_unpin(struct log_pin *p)
{
    parts_unpin(p);
}

/* ---- asking ---- */

uint64_t log_last_lsn(const struct log *l)
{
    return l->next_lsn - 1;
}

uint64_t log_written_lsn(const struct log *l)
{
    return writer_written(l->writer);
}

uint64_t log_durable_lsn(const struct log *l)
{
    return writer_durable(l->writer);
}

uint64_t log_released_lsn(const struct log *l)
{
    return writer_released(l->writer);
}

bool log_is_backed_up(const struct log *l)
{
    if (writer_queued_bytes(l->writer) > LOG_QUEUE_BYTES_MAX)
        return true;
    return keeper_is_full(l->keeper) &&
           !log_is_full(l); /* what frees space may not have to wait for it */
}

bool log_is_full(const struct log *l)
{
    return writer_is_full(l->writer) || keeper_lacks_space(l->keeper);
}

int log_failure(const struct log *l, struct err *e)
{
    return writer_failure(l->writer, e);
}

void log_get_stats(const struct log *l, struct log_stats *out)
{
    writer_get_stats(l->writer, out);
    out->n_cold_sync_reads = l->n_cold_sync_reads;
    keeper_get_stats(l->keeper, out);
}

const uint8_t *log_uuid(const struct log *l)
{
    return l->store.uuid;
}
