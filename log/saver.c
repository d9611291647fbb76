/*
 * saver.c - when a checkpoint is due, and how it comes to count.
 *
 *   creates   the file; its start is the last LSN now
 *   saves     the host serialises a slice a turn, a worker writes it meanwhile others wait; commands come in between, so
 *             each chunk says as of which LSN it is exact
 *   finishes  the file is durable, under its name
 *   waits     until the log is durable up to the last chunk's LSN: else the checkpoint would know more than the log
 *   names     a manifest tells of it, in place of the older one of the two that it had
 *
 * Due: at each seal as long as checkpoints are small (a start then replays only what is unsealed), else when so much
 * of the log has come since the last one's start that writing it again is worth it; and when it is asked for.
 */
#include "log/saver.h"

#include <assert.h>
#include <stdlib.h>
#include "log/bug.h"
#include "log/keeping.h"

enum { SAVER_SMALL_BYTES = 1 << 20, SAVER_TIMES = 2 };

uint8_t *log_buffer_grow(struct log_buffer *b, size_t n)
{
    size_t cap = b->cap == 0 ? 4096 : b->cap;
    uint8_t *p;

    if (b->failed || n > SIZE_MAX / 4 - b->n) {
        b->failed = true;
        return NULL;
    }
    while (cap - b->n < n)
        cap *= 2;
    if (cap > b->cap) {
        p = realloc(b->p, cap);
        if (p == NULL) {
            b->failed = true;
            return NULL;
        }
        b->p = p;
        b->cap = cap;
    }
    return b->p + b->n;
}

/* ---- on a worker ---- */

static int saver_create(struct work *w, struct err *e)
{
    struct saver *s = (struct saver *)w;
    struct keeper *k = w->keeper;

    return checkpoint_create(k->o.io, k->dir, k->uuid, s->start_lsn, &s->writer, e);
}

static int saver_put(struct work *w, struct err *e)
{
    struct saver *s = (struct saver *)w;

    return checkpoint_put(s->writer, s->as_of, slice_of(s->chunk.p, s->chunk.n), e);
}

static int saver_finish(struct work *w, struct err *e)
{
    struct saver *s = (struct saver *)w;
    struct checkpoint_writer *writer = s->writer;

    s->writer = NULL;
    return checkpoint_finish(writer, s->end_lsn, s->clock, &s->done, e);
}

static int saver_discard(struct work *w, struct err *e)
{
    struct saver *s = (struct saver *)w;

    (void)e;
    checkpoint_discard(s->writer);
    s->writer = NULL;
    return OK;
}

/* ---- deciding ---- */

static uint64_t saver_last_start(const struct keeper *k)
{
    return k->manifest.n_checkpoints == 0 ? 0 : k->manifest.checkpoints[0].start_lsn;
}

static bool saver_is_due(const struct keeper *k)
{
    const struct saver *s = &k->saver;
    const struct manifest *m = &k->manifest;
    uint64_t since = k->parts.wal_bytes - s->last_wal, bytes = 0;

    if (k->writer == NULL || k->o.host.save_begin == NULL)
        return false;
    if (s->asked_lsn > saver_last_start(k))
        return true;
    if (k->passive)
        return false;
    if (m->n_checkpoints > 0)
        bytes = m->checkpoints[0].file_bytes;
    if (s->again || (s->asked && bytes < SAVER_SMALL_BYTES))
        return true;
    return since >= k->o.checkpoint_bytes && since >= SAVER_TIMES * bytes;
}

static void saver_failed(struct keeper *k, int rc, const struct err *e)
{
    struct saver *s = &k->saver;

    if (s->state == SAVER_SAVES || s->state == SAVER_CREATES)
        k->o.host.save_end(k->o.host.ctx);
    s->state = SAVER_IDLE;
    s->retry_ns = keeping_failed(k, "writing a checkpoint", rc, e);
    s->again = !k->passive;
    s->starved = s->again && rc == ERR_FULL;
    keeping_fail_requests(k, &k->seals, rc, e);
    if (s->writer != NULL)
        work_start(k, &s->work, POOL_BUILD, saver_discard);
}

static void saver_begin(struct keeper *k)
{
    struct saver *s = &k->saver;

    s->asked = false;
    s->start_lsn = s->as_of = k->last_lsn;
    s->start_wal = k->parts.wal_bytes;
    k->o.host.save_begin(k->o.host.ctx);
    s->state = SAVER_CREATES;
    work_start(k, &s->work, POOL_BUILD, saver_create);
}

/* A slice of the host's state. */
static void saver_slice(struct keeper *k)
{
    struct saver *s = &k->saver;
    struct log_host *h = &k->o.host;
    struct err e;

    if (s->work.rc != OK) {
        saver_failed(k, s->work.rc, &s->work.err);
        return;
    }
    if (s->state == SAVER_SAVES && !s->more) {
        h->save_end(h->ctx);
        s->end_lsn = s->as_of;
        s->clock = k->clock;
        s->state = SAVER_FINISHES;
        work_start(k, &s->work, POOL_BUILD, saver_finish);
        return;
    }
    s->state = SAVER_SAVES;
    s->chunk.n = 0;
    s->more = h->save_some(h->ctx, k->o.work_slice, &s->chunk);
    s->as_of = k->last_lsn;
    if (s->chunk.failed) {
        s->chunk.failed = false;
        saver_failed(k, err_set(&e, ERR_NOMEM, "no memory for a checkpoint"), &e);
    } else if (s->chunk.n == 0) {
        k->more = true;
    } else {
        work_start(k, &s->work, POOL_BUILD, saver_put);
    }
}

/* The file has its name: from here on it is removed by the cleaner. */
static void saver_finished(struct keeper *k)
{
    struct saver *s = &k->saver;

    free(s->chunk.p);
    s->chunk = (struct log_buffer){ 0 };
    if (s->work.rc != OK)
        saver_failed(k, s->work.rc, &s->work.err);
    else
        s->state = SAVER_WAITS;
}

static void saver_name(struct keeper *k)
{
    struct saver *s = &k->saver;
    struct manifest *m = &k->manifest;
    struct cleaning *c = &k->clerk.cleaning;

    if (m->n_checkpoints == MANIFEST_CHECKPOINTS_MAX) {
        assert(c->n_checkpoints < CLERK_CHECKPOINTS_MAX);
        c->checkpoints[c->n_checkpoints++] = m->checkpoints[--m->n_checkpoints].start_lsn;
    }
    for (size_t i = m->n_checkpoints++; i > 0; i--)
        m->checkpoints[i] = m->checkpoints[i - 1];
    m->checkpoints[0] = s->done;
    s->generation = c->checkpoints_from = keeping_edit(k);
    s->state = SAVER_NAMES;
}

static void saver_named(struct keeper *k)
{
    struct saver *s = &k->saver;

    s->last_wal = s->start_wal;
    s->retry_ns = 0;
    s->again = s->starved = false;
    s->state = SAVER_IDLE;
    k->stats.n_checkpoints++;
    k->stats.checkpoint_bytes_written += s->done.file_bytes;
    k->more = true;
}

static void saver_idle(struct keeper *k)
{
    struct saver *s = &k->saver;

    if (!saver_is_due(k) || k->last_lsn <= saver_last_start(k) ||
        k->clerk.cleaning.n_checkpoints == CLERK_CHECKPOINTS_MAX)
        return;
    if (s->retry_ns > k->now_ns)
        keeping_wake_at(k, s->retry_ns);
    else
        saver_begin(k);
}

void saver_turn(struct keeper *k)
{
    struct saver *s = &k->saver;
    bool again = true;

    while (again && !s->work.running) {
        enum saver_state was = s->state;

        switch (s->state) {
        case SAVER_IDLE: saver_idle(k); break;
        case SAVER_CREATES:
        case SAVER_SAVES: saver_slice(k); break;
        case SAVER_FINISHES: saver_finished(k); break;
        case SAVER_WAITS:
            if (BUG(BUG_MANIFEST_BEFORE_SYNC) || keeping_is_durable(k, s->end_lsn))
                saver_name(k);
            break;
        case SAVER_NAMES:
            if (keeping_is_written(k, s->generation))
                saver_named(k);
            break;
        }
        again = s->state != was;
    }
}

void saver_sealed(struct keeper *k)
{
    k->saver.asked = true;
}

bool saver_has(struct keeper *k, uint64_t lsn)
{
    struct saver *s = &k->saver;
    bool has = saver_last_start(k) >= lsn && s->state != SAVER_NAMES;

    if (!has && lsn > s->asked_lsn) {
        s->asked_lsn = lsn;
        k->more = true; /* nothing else may be going on */
    }
    return has;
}

void saver_fini(struct keeper *k)
{
    struct saver *s = &k->saver;

    if (s->state == SAVER_CREATES || s->state == SAVER_SAVES)
        k->o.host.save_end(k->o.host.ctx);
    checkpoint_discard(s->writer);
    s->writer = NULL;
    free(s->chunk.p);
    s->chunk = (struct log_buffer){ 0 };
    s->state = SAVER_IDLE;
}
