/*
 * keeper.c - the arena's parts, the segments' view, and whose turn it is.
 *
 * The engine's thread decides, workers do. Everything that is decided is decided in keeper_turn, where each of those who
 * have something under way looks whether its last job is over, and begins the next:
 *
 *   sealer   closed parts of the arena -> segments (sealer.c)
 *   saver    the host's state -> checkpoints (saver.c)
 *   merger   segments -> fewer segments without what is dead (merger.c)
 *   errands  checks and backups (errand.c)
 *   clerk    manifests; removal of what they do without; space in reserve (clerk.c)
 *
 * So nothing of theirs needs a lock: what a job was given is the job's until it is over. A turn does a slice; whoever has
 * more says so (`more`), whoever waits for a time says when (keeping_wake_at), whoever waits for the log to become
 * durable says up to where (keeping_is_durable), and a thread that has news pokes.
 *
 *   P1  Records are in exactly one of: a part that is closed or active, a segment that counts. (Streams change over one by
 *       one, sealer.c.)
 *   P2  The view has the segments of the last manifest that is durable, or of one before it whose files are all still there.
 *   P3  Nothing is named by a manifest before the log is durable up to what it reflects.
 */
#include "log/keeper.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "log/blockcache.h"
#include "log/bug.h"
#include "log/io.h"
#include "log/keeping.h"
#include "log/writer.h"

enum {
    KEEPER_READERS = 2,    /* threads */
    KEEPER_LOOK_AT = 1024, /* batches after which it is asked how many bytes of the log there are */
    KEEPER_WORK_SLICE = 2000,
};

/* ---- the arena ---- */

struct arena *keeper_arena(struct keeper *k)
{
    return k->parts.active;
}

int keeper_reserve(struct keeper *k, size_t n, struct err *e)
{
    return arena_reserve_runs(k->parts.active, n, e);
}

void keeper_took(struct keeper *k, const uint8_t *p, size_t n, uint64_t first_lsn,
                 uint64_t last_lsn)
{
    parts_took(&k->parts, p, n, first_lsn, last_lsn);
    k->last_lsn = last_lsn;
    k->more |=
        k->seals != NULL || k->merges != NULL; /* they may have been asked for in this batch */
}

/* What has been given to the log, padding and headers included. */
static void keeper_look_at_wal(struct keeper *k)
{
    struct log_stats stats;
    uint64_t bytes;

    if (k->writer == NULL)
        return;
    writer_get_stats(k->writer, &stats);
    bytes = k->wal_before + stats.written_bytes;
    if (bytes > k->parts.wal_bytes)
        k->parts.wal_bytes = bytes;
}

void keeper_batch_end(struct keeper *k)
{
    if ((++k->n_batches & (KEEPER_LOOK_AT - 1)) == 0)
        keeper_look_at_wal(k);
    if (parts_batch_end(&k->parts))
        k->more = true;
}

bool keeper_is_full(const struct keeper *k)
{
    return atomic_load(&k->parts.full);
}

struct log_pin *keeper_pin(struct keeper *k)
{
    return parts_pin(&k->parts);
}

/* ---- segments ---- */

int keeping_reserve(struct keeper *k, size_t n, struct err *e)
{
    struct manifest *m = &k->manifest;

    if (m->n_segments == m->cap_segments) {
        size_t cap = 2 * m->cap_segments + 16;
        struct segment_info *segments = realloc(m->segments, cap * sizeof *segments);
        if (segments == NULL)
            return err_set(e, ERR_NOMEM, "no memory for the list of segments");
        m->segments = segments;
        m->cap_segments = cap;
    }
    if (m->cap_obsolete - m->n_obsolete < n) {
        size_t cap = 2 * m->cap_obsolete + n;
        uint64_t *obsolete = realloc(m->obsolete, cap * sizeof *obsolete);
        if (obsolete == NULL)
            return err_set(e, ERR_NOMEM, "no memory for the list of segments");
        m->obsolete = obsolete;
        m->cap_obsolete = cap;
    }
    if (m->n_segments >= MANIFEST_SEGMENTS_MAX)
        return err_set(e, ERR_TOO_BIG, "%s: has %d segments, which is the limit", k->dir,
                       MANIFEST_SEGMENTS_MAX);
    return OK;
}

void keeping_replace(struct keeper *k, struct segment *const *old, size_t n,
                     const struct segment_info *info)
{
    struct manifest *m = &k->manifest;
    size_t i = n == 0 ? m->n_segments : 0, n_new = info != NULL;

    while (n > 0 && m->segments[i].ordinal != segment_info(old[0])->ordinal)
        i++;
    assert(i + n <= m->n_segments && m->n_segments + n_new - n <= m->cap_segments);
    for (size_t j = 0; j < n; j++) {
        assert(m->segments[i + j].ordinal == segment_info(old[j])->ordinal);
        m->obsolete[m->n_obsolete++] = m->segments[i + j].ordinal;
    }
    memmove(m->segments + i + n_new, m->segments + i + n,
            (m->n_segments - i - n) * sizeof m->segments[0]);
    if (info != NULL)
        m->segments[i] = *info;
    m->n_segments += n_new - n;
}

int keeping_show(struct keeper *k, struct segment *const *old, size_t n, struct segment *segment,
                 struct err *e)
{
    const struct view *v = k->view;
    size_t i = n == 0 ? v->n : 0, n_new = segment != NULL, n_all = v->n + n_new - n;
    struct segment **all = malloc((n_all + 1) * sizeof(struct segment *));
    struct view *next = NULL;

    if (all != NULL) {
        while (n > 0 && v->segments[i] != old[0])
            i++;
        assert(i + n <= v->n);
        memcpy(all, v->segments, i * sizeof(struct segment *));
        all[i] = segment;
        memcpy(all + i + n_new, v->segments + i + n, (v->n - i - n) * sizeof(struct segment *));
        next = view_new(all, n_all);
        free(all);
    }
    if (next == NULL)
        return err_set(e, ERR_NOMEM, "no memory for the list of segments");
    view_unref(k->view);
    k->view = next;
    return OK;
}

void keeper_check(struct keeper *k, uint64_t last_lsn, struct log_request *r)
{
    errand_ask(k, last_lsn, NULL, r);
}

void keeper_backup(struct keeper *k, uint64_t last_lsn, const char *to, struct log_request *r)
{
    errand_ask(k, last_lsn, to, r);
}

void keeper_note_garbage(struct keeper *k, uint64_t n, uint64_t bytes)
{
    (void)n;
    merger_note_garbage(k, bytes);
}

uint64_t keeper_sealed_lsn(const struct keeper *k)
{
    return k->sealed_lsn;
}

bool keeper_has_sealed(const struct keeper *k)
{
    return k->view->n > 0;
}

void keeper_get_sealed(struct keeper *k, uint64_t oid, struct sealed *out)
{
    out->view = view_ref(k->view);
    out->n_segments = sealer_count(k, oid);
}

/* ---- what they share ---- */

bool keeping_is_durable(struct keeper *k, uint64_t lsn)
{
    if (k->writer == NULL)
        return k->replay_durable >= lsn;
    if (writer_durable(k->writer) >= lsn)
        return true;
    writer_request_sync(k->writer, lsn);
    if (k->waits_lsn == 0 || lsn < k->waits_lsn)
        k->waits_lsn = lsn;
    return writer_durable(k->writer) >= lsn; /* it may have come just before waits_lsn was set */
}

bool keeping_answer(struct keeper *k, struct states *s, uint64_t *reflects)
{
    const struct log_host *h = &k->o.host;

    if (k->last_lsn > *reflects && !(s->changes.asked && BUG(BUG_CHANGES_ASKED_EARLY)))
        *reflects = k->last_lsn;
    if (s->changes.asked) {
        states_answer_changes(s, h);
        return true;
    }
    for (uint32_t n = 0; n < k->o.work_slice && s->n_answered < s->n; n++) {
        size_t i = s->n_answered++;
        s->states[i] = (struct log_stream_state){ 0 };
        h->describe(h->ctx, s->oids[i], &s->states[i]);
    }
    if (s->n_answered < s->n) {
        k->more = true;
        return false;
    }
    s->n_answered = 0;
    return true;
}

uint64_t keeping_failed(struct keeper *k, const char *what, int rc, const struct err *e)
{
    k->stats.n_job_errors++;
    snprintf(k->stats.last_job_error, sizeof k->stats.last_job_error, "%s: %.150s", what, e->text);
    if (rc == ERR_FULL)
        k->clerk.reserve.given_up = true;
    k->more = true;
    return k->now_ns + KEEPER_S;
}

void keeping_broken(struct keeper *k, const struct err *e)
{
    k->broken = *e;
    if (k->writer != NULL)
        writer_break(k->writer, e);
}

int keeping_failure(const struct keeper *k, struct err *e)
{
    if (k->broken.code != OK) {
        if (e != NULL)
            *e = k->broken;
        return k->broken.code;
    }
    return k->writer == NULL ? OK : writer_failure(k->writer, e);
}

/* ---- requests ---- */

static void keeper_ask(struct log_request **list, struct log_request *r)
{
    r->next = NULL;
    while (*list != NULL)
        list = &(*list)->next;
    *list = r;
}

void keeper_seal(struct keeper *k, uint64_t last_lsn, struct log_request *r)
{
    r->lsn = last_lsn;
    r->n_files = k->stats.n_seals; /* until it is done; as bytes */
    r->bytes = k->stats.sealed_bytes_written;
    keeper_ask(&k->seals, r);
    k->parts.close_up_to = last_lsn;
    k->more = true;
}

void keeper_seal_soon(struct keeper *k, uint64_t last_lsn)
{
    if (k->passive || k->parts.active->record_bytes < LOG_PART_AGED_BYTES)
        return;
    k->parts.close_up_to = last_lsn;
    k->more = true;
}

void keeper_merge(struct keeper *k, uint64_t last_lsn, struct log_request *r)
{
    r->lsn = last_lsn;
    r->n_files = k->stats.n_merges;
    r->bytes = k->stats.merged_bytes_written;
    keeper_ask(&k->merges, r);
    k->parts.close_up_to = last_lsn;
    k->more = true;
}

static void keeper_finish_request(struct keeper *k, struct log_request **at, int rc,
                                  const struct err *e)
{
    struct log_request *r = *at;
    bool is_seal = at == &k->seals;

    *at = r->next;
    r->n_files = (is_seal ? k->stats.n_seals : k->stats.n_merges) - r->n_files;
    r->bytes = (is_seal ? k->stats.sealed_bytes_written : k->stats.merged_bytes_written) - r->bytes;
    r->done(r, rc, e);
}

void keeping_finish_merge(struct keeper *k, int rc, const struct err *e)
{
    keeper_finish_request(k, &k->merges, rc, e);
}

void keeping_fail_requests(struct keeper *k, struct log_request **list, int rc, const struct err *e)
{
    while (*list != NULL)
        keeper_finish_request(k, list, rc, e);
}

static void keeper_turn_requests(struct keeper *k)
{
    struct err none = { 0 };

    while (!k->batch_open && k->seals != NULL && parts_are_sealed(&k->parts, k->seals->lsn) &&
           (k->o.host.save_begin == NULL || saver_has(k, k->seals->lsn))) {
        keeper_finish_request(k, &k->seals, OK, &none);
        arena_spares_drop(&k->parts.spares);
    }
}

/* ---- the turn ---- */

bool keeper_is_due(struct keeper *k)
{
    if (k->more || k->parts.more || atomic_load(&k->poked))
        return true;
    if ((k->seals != NULL || k->merges != NULL || k->errands != NULL) &&
        keeping_failure(k, NULL) != OK)
        return true;
    if (k->waits_lsn != 0 && k->writer != NULL && writer_durable(k->writer) >= k->waits_lsn)
        return true;
    return k->next_ns != KEEPER_NEVER && k->o.io->monotonic_ns(k->o.io) >= k->next_ns;
}

static void keeper_turn_all(struct keeper *k)
{
    k->waits_lsn = 0;
    k->next_ns = parts_turn(&k->parts, k->now_ns);
    sealer_turn(k);
    saver_turn(k);
    merger_turn(k);
    clerk_turn(k);
    keeper_turn_requests(k);
    errand_turn(k);
}

bool keeper_turn(struct keeper *k, uint64_t last_lsn, uint64_t clock, bool batch_open)
{
    struct err e;

    if (!keeper_is_due(k))
        return false;
    atomic_store(&k->poked, false);
    k->more = false;
    k->last_lsn = last_lsn;
    k->clock = clock;
    k->batch_open = batch_open;
    k->now_ns = k->o.io->monotonic_ns(k->o.io);
    pool_turn(k->pool);
    if (keeping_failure(k, &e) != OK) {
        keeping_fail_requests(k, &k->seals, ERR_IO, &e);
        keeping_fail_requests(k, &k->merges, ERR_IO, &e);
        errand_turn(k);
        k->next_ns = KEEPER_NEVER;
        return k->more = false;
    }
    if (!batch_open)
        keeper_batch_end(k);
    keeper_turn_all(k);
    k->more |= k->parts.more;
    if (!batch_open)
        keeper_batch_end(k); /* what was full may be closed now */
    return k->more;
}

uint64_t keeper_next_turn_ns(const struct keeper *k)
{
    return k->more || k->parts.more ? 0 : k->next_ns;
}

/* A job is over; on a worker's thread. (When the log becomes durable, keeper_is_due sees it by itself.) */
static void keeper_poke(void *keeper)
{
    struct keeper *k = keeper;

    atomic_store(&k->poked, true);
    if (k->o.host.on_progress != NULL)
        k->o.host.on_progress(k->o.host.ctx);
}

int keeper_replay_turn(struct keeper *k, uint64_t durable_lsn, struct err *e)
{
    k->replay_durable = durable_lsn;
    while (k->parts.closed != NULL) {
        bool full = k->parts.n_closed >= LOG_PARTS_SEALING_MAX;
        keeper_turn(k, k->last_lsn, k->clock, false);
        if (keeping_failure(k, e) != OK)
            return e->code;
        if (!full || (!k->more && !pool_wait(k->pool)))
            break; /* there is room, or what is missing is not a job's to do: the arena grows */
    }
    return OK;
}

/* ---- asking ---- */

struct pool *keeper_pool(struct keeper *k)
{
    return k->pool;
}

struct blockcache *keeper_cache(const struct keeper *k)
{
    return k->cache;
}

bool keeper_lacks_space(const struct keeper *k)
{
    return atomic_load(&k->no_space);
}

int keeper_hold(struct keeper *k, struct keeper_hold *out, struct err *e)
{
    int rc;

    manifest_init(&out->manifest);
    rc = manifest_copy(&out->manifest, &k->clerk.manifests.durable, e);
    if (rc != OK) {
        manifest_fini(&out->manifest);
        return rc;
    }
    out->manifest.n_obsolete = 0;
    out->view = view_ref(k->view);
    k->n_holds++;
    return OK;
}

void keeper_unhold(struct keeper *k, struct keeper_hold *h)
{
    assert(k->n_holds > 0);
    k->n_holds--;
    k->more = true;
    view_unref(h->view);
    manifest_fini(&h->manifest);
}

static void keeper_count_segments(const struct keeper *k, struct log_stats *out)
{
    out->n_segments = k->view->n;
    for (size_t i = 0; i < k->view->n; i++) {
        const struct segment *s = k->view->segments[i];
        const struct segment_info *info = segment_info(s);
        out->segment_bytes += info->file_bytes;
        out->segment_raw_bytes += info->raw_bytes;
        out->segment_entries += info->n_entries;
        out->n_bad_segments += segment_is_bad(s);
    }
}

uint64_t keeper_first_lsn(const struct keeper *k)
{
    return k->clerk.manifests.durable.wal_first;
}

void keeper_get_stats(struct keeper *k, struct log_stats *out)
{
    const struct manifest *m = &k->clerk.manifests.durable;
    const struct log_stats *s = &k->stats;

    keeper_count_segments(k, out);
    parts_count(&k->parts, out);
    merger_count(k, out);
    out->sealed_lsn = m->sealed_lsn;
    out->checkpoint_lsn = m->n_checkpoints > 0 ? m->checkpoints[0].start_lsn : 0;
    out->wal_first_lsn = m->wal_first;
    out->n_seals = s->n_seals;
    out->n_merges = s->n_merges;
    out->n_checkpoints = s->n_checkpoints;
    out->n_manifests = s->n_manifests;
    out->n_job_errors = s->n_job_errors;
    out->sealed_bytes_written = s->sealed_bytes_written;
    out->merged_bytes_written = s->merged_bytes_written;
    out->checkpoint_bytes_written = s->checkpoint_bytes_written;
    out->manifest_bytes_written = s->manifest_bytes_written;
    out->n_set_aside = s->n_set_aside;
    memcpy(out->last_job_error, s->last_job_error, sizeof out->last_job_error);
    blockcache_get_stats(k->cache, &out->cache);
}

/* ---- opening and closing ---- */

static void keeper_set_options(struct keeper *k, const struct log_options *o)
{
    k->o = *o;
    if (k->o.part_bytes == 0)
        k->o.part_bytes = LOG_PART_BYTES_DEFAULT;
    if (k->o.part_age_ms == 0)
        k->o.part_age_ms = (uint64_t)3600 * 1000;
    if (k->o.cache_bytes == 0)
        k->o.cache_bytes = LOG_CACHE_BYTES_DEFAULT;
    if (k->o.checkpoint_bytes == 0)
        k->o.checkpoint_bytes = 32 << 20;
    if (k->o.tier_bytes == 0)
        k->o.tier_bytes = 128 << 20;
    if (k->o.work_slice == 0)
        k->o.work_slice = KEEPER_WORK_SLICE;
    k->passive = o->keep_all || o->host.describe == NULL;
}

static int keeper_start_pool(struct keeper *k, struct err *e)
{
    struct pool_options p = { .on_done = keeper_poke, .ctx = k };

    if (k->o.threads) {
        p.n_threads[POOL_READ] = KEEPER_READERS;
        p.n_threads[POOL_BUILD] = 1;
        p.n_threads[POOL_MERGE] = 1;
    }
    return pool_new(&p, &k->pool, e);
}

/* What the operator may do. */
static void keeper_advise(struct err *e, const char *advice)
{
    size_t len = strlen(e->text);

    snprintf(e->text + len, sizeof e->text - len, "%s", advice);
}

/* Opens what the manifest names. With salvage, what cannot be opened is left out, and set aside later. */
static int keeper_open_segments(struct keeper *k, struct err *e)
{
    struct manifest *m = &k->manifest;
    struct segment **all = calloc(m->n_segments + 1, sizeof(struct segment *));
    size_t n = 0;
    int rc = all == NULL ? err_set(e, ERR_NOMEM, "no memory for the list of segments") : OK;

    for (size_t i = 0; rc == OK && i < m->n_segments; i++) {
        char name[SEGMENT_NAME_MAX];
        rc = segment_open(k->o.io, k->dir, k->uuid, m->segments[i].ordinal, &m->segments[i],
                          &all[n], e);
        if (rc == OK) {
            m->segments[n++] = m->segments[i];
        } else if (k->o.salvage && (rc == ERR_CORRUPT || rc == ERR_FORMAT || rc == ERR_IO)) {
            segment_name(m->segments[i].ordinal, false, name);
            rc = attic_add(&k->attic, name, "damaged or missing", e);
            k->dirty = true;
        }
    }
    if (rc == ERR_CORRUPT || rc == ERR_IO)
        keeper_advise(
            e, "; restore it from a backup, or start once with --salvage to go on without it");
    if (rc == OK) {
        m->n_segments = n;
        k->view = view_new(all, n);
        rc = k->view == NULL ? err_set(e, ERR_NOMEM, "no memory for the list of segments") : OK;
    }
    for (size_t i = 0; all != NULL && i < n; i++)
        segment_unref(all[i]);
    free(all);
    return rc;
}

static int keeper_open_files(struct keeper *k, bool created, struct err *e)
{
    struct io *io = k->o.io;
    bool found = false;
    int rc = OK;

    if (!created)
        rc = manifest_read(io, k->dir, k->uuid, &k->manifest, &found, e);
    k->attic = (struct attic){ .io = io, .dir = k->dir, .uuid = k->uuid, .keep_all = k->o.salvage };
    if (rc == OK && !created)
        rc = attic_scan(&k->attic, &k->manifest, e);
    if (rc == OK)
        rc = keeper_open_segments(k, e);
    if (rc != OK)
        return rc;
    if (k->attic.next_ordinal > k->manifest.next_ordinal)
        k->manifest.next_ordinal = k->attic.next_ordinal;
    k->sealed_lsn = k->manifest.sealed_lsn;
    k->last_lsn = k->sealed_lsn;
    return clerk_init(k, e);
}

int keeper_open(const struct log_options *o, const uint8_t *uuid, bool created, struct keeper **out,
                struct err *e)
{
    struct keeper *k = calloc(1, sizeof *k);
    int rc;

    if (k == NULL)
        return err_set(e, ERR_NOMEM, "no memory for the log");
    keeper_set_options(k, o);
    memcpy(k->uuid, uuid, sizeof k->uuid);
    manifest_init(&k->manifest);
    k->next_ns = KEEPER_NEVER;
    k->now_ns = o->io->monotonic_ns(o->io);
    k->dir = strdup(o->dir);
    rc = k->dir == NULL ? err_set(e, ERR_NOMEM, "no memory for the log") : OK;
    if (rc == OK)
        rc = parts_init(&k->parts, &k->o, k->passive, k->now_ns, e);
    if (rc == OK)
        rc = blockcache_new(k->o.cache_bytes, &k->cache, e);
    if (rc == OK)
        rc = keeper_open_files(k, created, e);
    if (rc == OK)
        rc = keeper_start_pool(k, e);
    if (rc != OK) {
        keeper_close(k);
        return rc;
    }
    *out = k;
    return OK;
}

/* ---- a start ---- */

struct keeper_loading {
    struct keeper *k;
    bool given; /* the host has got something */
};

static int keeper_give(void *ctx, uint64_t as_of_lsn, struct slice chunk, struct err *e)
{
    struct keeper_loading *l = ctx;

    l->given = true;
    return l->k->o.host.load(l->k->o.host.ctx, as_of_lsn, chunk, e);
}

/* The newest checkpoint cannot be used: it is set aside, and the next one is. */
static int keeper_drop_newest(struct keeper *k, struct err *e)
{
    struct manifest *m = &k->manifest;
    char name[CHECKPOINT_NAME_MAX];

    checkpoint_name(m->checkpoints[0].start_lsn, false, name);
    m->n_checkpoints--;
    memmove(m->checkpoints, m->checkpoints + 1, m->n_checkpoints * sizeof m->checkpoints[0]);
    k->dirty = k->older_checkpoint = true;
    return attic_add(&k->attic, name, "damaged", e);
}

int keeper_load(struct keeper *k, struct keeper_start *out, struct err *e)
{
    struct manifest *m = &k->manifest;
    struct keeper_loading l = { .k = k };
    const struct log_host *h = &k->o.host;
    int rc = OK;

    *out = (struct keeper_start){ .wal_first = m->wal_first,
                                  .sealed_lsn = m->sealed_lsn,
                                  .clock = m->clock };
    k->clock = m->clock;
    while (m->n_checkpoints > 0 && h->load != NULL) {
        rc = checkpoint_load(k->o.io, k->dir, k->uuid, &m->checkpoints[0], keeper_give, &l, e);
        if (rc == OK) {
            out->start_lsn = m->checkpoints[0].start_lsn;
            out->end_lsn = m->checkpoints[0].end_lsn;
            break;
        }
        if ((rc != ERR_CORRUPT && rc != ERR_IO) || l.given)
            return rc;
        if (m->n_checkpoints == 1 && m->wal_first != LOG_FIRST_LSN) {
            keeper_advise(e, "; restore it from a backup"); /* the log alone has not all of it */
            return rc;
        }
        rc = keeper_drop_newest(k, e);
        if (rc != OK)
            return rc;
    }
    return h->loaded == NULL ? OK : h->loaded(h->ctx, out->start_lsn, out->end_lsn, e);
}

int keeper_begin(struct keeper *k, struct writer *w, struct log_recovery *info, struct err *e)
{
    int rc = attic_settle(&k->attic, info, e);

    if (rc != OK)
        return rc;
    k->writer = w;
    k->wal_before = info->bytes;
    if (k->parts.wal_bytes < k->wal_before)
        k->parts.wal_bytes = k->wal_before;
    k->stats.n_set_aside = info->n_set_aside;
    info->older_checkpoint = k->older_checkpoint;
    info->n_segments = k->view->n;
    if (k->dirty)
        keeping_edit(k);
    k->more = true;
    return OK;
}

/* ---- the end ---- */

void keeper_stop(struct keeper *k, bool abandon)
{
    struct err e;

    pool_free(k->pool);
    k->pool = NULL;
    err_set(&e, ERR_IO, "the log is closed");
    keeping_fail_requests(k, &k->seals, ERR_IO, &e);
    keeping_fail_requests(k, &k->merges, ERR_IO, &e);
    errand_fini(k);
    sealer_fini(k, abandon);
    saver_fini(k);
    merger_fini(k, abandon);
    clerk_fini(k, abandon);
}

void keeper_close(struct keeper *k)
{
    if (k == NULL)
        return;
    if (k->pool != NULL)
        keeper_stop(k, true);
    parts_fini(&k->parts);
    view_unref(k->view);
    blockcache_free(k->cache);
    manifest_fini(&k->manifest);
    attic_fini(&k->attic);
    free(k->dir);
    free(k);
}
