/*
 * lookback.c - see lookback.h.
 *
 * Nobody keeps an index of changes by key: what happened to one is found by looking at all of them. That is done by a worker, in
 * steps of some ten thousand changes, over a snapshot as a range's reply has it (streams_range.c): the segments of this moment, and the
 * addresses of what is in no segment yet, which a pin keeps valid. So the engine's thread does no more than copying the addresses, and
 * other works come in between.
 */
#include "broker/commands/lookback.h"
#include <assert.h>
#include <stdlib.h>
#include "broker/cache/changes.h"
#include "broker/engine/reply.h"
#include "log/entry.h"

enum { LOOKBACK_STEP = 20000 /* changes */ };

static struct lookback *lookback_of(struct cold_work *w)
{
    return (struct lookback *)(void *)w; /* its first member */
}

void lookback_fail(struct lookback *l, int rc, const char *what)
{
    l->rc = err_set(&l->err, rc, "%s", what);
}

/* ---- on a worker ---- */

static bool lookback_see(struct lookback *l, const uint8_t *entry)
{
    struct id id;

    entry_id(entry, &id);
    if (id_cmp(id, l->from) < 0 || !l->kind->see(l, id, entry))
        l->is_over = true;
    return !l->is_over && l->rc == OK;
}

static void lookback_run_tail(struct lookback *l, size_t *budget)
{
    while (l->n_tail > 0 && *budget > 0) {
        --*budget;
        if (!lookback_see(l, l->tail[--l->n_tail]))
            return;
    }
}

static void lookback_run_sealed(struct lookback *l, struct block_decoder *decoder, size_t budget)
{
    const uint8_t *entry = NULL;
    size_t len;

    if (!l->is_open) {
        reader_init(&l->reader, &l->sealed, cold_cache(&l->work), decoder, NULL);
        l->is_open = true;
        l->rc = reader_seek_back(&l->reader, l->to, &l->err);
    }
    l->reader.decoder = decoder; /* another worker's than the step before */
    while (l->rc == OK && (entry = reader_at(&l->reader, &len)) != NULL && budget-- > 0) {
        if (!lookback_see(l, entry))
            return;
        l->rc = reader_prev(&l->reader, &l->err);
    }
    l->is_over |= entry == NULL;
}

/* A step. */
static void lookback_run(struct cold_work *w, struct block_decoder *decoder)
{
    struct lookback *l = lookback_of(w);
    size_t budget = LOOKBACK_STEP;

    if (decoder == NULL) {
        lookback_fail(l, ERR_NOMEM, "no memory to decode what is stored");
        return;
    }
    lookback_run_tail(l, &budget);
    if (l->n_tail > 0 || l->is_over || l->rc != OK)
        return;
    if (l->has_sealed)
        lookback_run_sealed(l, decoder, budget);
    else
        l->is_over = true;
}

/* ---- on the engine's thread ---- */

static void lookback_free(struct cold_work *w)
{
    struct lookback *l = lookback_of(w);

    if (l->is_open)
        reader_fini(&l->reader);
    if (l->has_sealed)
        sealed_fini(&l->sealed);
    if (w->room > 0 || w->pin != NULL)
        cold_give_room(w);
    free(l->tail);
    l->kind->free(l);
    free(l);
}

/* What is in no segment within the bounds. False: there is no room, or no memory (l->rc). */
static bool lookback_take_tail(struct engine *e, struct lookback *l)
{
    const struct stream_index *tail = e->state.changes;
    struct stream_pos pos = stream_index_seek(tail, l->from), end = stream_index_end(tail);
    struct id behind = l->to;
    uint64_t n;

    if (id_next(&behind))
        end = stream_index_seek(tail, behind);
    n = stream_index_count(tail, pos, end, UINT64_MAX);
    if (!cold_take_room(e, &l->work, n * sizeof *l->tail, n > 0))
        return false;
    l->tail = malloc((size_t)n * sizeof *l->tail + 1);
    if (l->tail == NULL) {
        lookback_fail(l, ERR_NOMEM, "no memory to look at what has changed");
        return true;
    }
    for (; l->n_tail < n; stream_index_next(tail, &pos))
        l->tail[l->n_tail++] = stream_index_at(tail, pos);
    return true;
}

/* Takes the snapshot; false: there is no room for it now. */
static bool lookback_begin(struct engine *e, struct lookback *l)
{
    struct id floor = history_floor(e->state.history);

    if (id_cmp(l->from, floor) < 0)
        l->from = floor;
    if (!lookback_take_tail(e, l))
        return false;
    l->is_begun = true;
    l->has_sealed = log_has_sealed(e->log);
    if (l->has_sealed)
        log_get_sealed(e->log, LOG_CHANGES_OID, l->from, NULL, e->state.changes_sealed_last,
                       &l->sealed);
    return true;
}

static void lookback_reply(struct engine *e, struct client *c, struct lookback *l)
{
    if (l->rc != OK) {
        reply_error(c, "%s %s", l->rc == ERR_NOMEM ? "OOM" : "IOERR", l->err.text);
        e->stats.n_errors++;
    } else {
        l->kind->reply(c, l);
    }
    engine_reply_part(e, c, l->work.need_written, l->work.need_durable);
    engine_reply_over(c);
}

/* Behind a step, or where there may be room now. */
static enum cold_next lookback_done(struct engine *e, struct cold_work *w)
{
    struct lookback *l = lookback_of(w);
    struct client *c = w->client;

    if (!l->is_begun) {
        if (lookback_begin(e, l)) {
            w->need_written = log_last_lsn(e->log);
            return COLD_MORE;
        }
        c->cold = NULL;
        c->need_durable = w->need_durable;
        if (cold_wait_room(e, c, w))
            return COLD_KEPT;
        lookback_fail(l, ERR_NOMEM, "no room to look at what has changed");
        c->cold = w;
    }
    if (l->rc == OK && !l->is_over)
        return COLD_MORE;
    lookback_reply(e, c, l);
    return COLD_OVER;
}

static const struct cold_kind lookback_work = { lookback_run, lookback_done, lookback_free, NULL };

void lookback_start(struct engine *e, struct client *c, struct lookback *l)
{
    l->work.kind = &lookback_work;
    if (lookback_begin(e, l)) {
        cold_start(e, c, &l->work);
        return;
    }
    if (cold_wait_room(e, c, &l->work))
        return;
    lookback_free(&l->work);
    reply_error(c, "OOM no room to look at what has changed");
}
