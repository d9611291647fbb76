/*
 * xdlq.c - XDLQ: the table, and the walk over a dead-letter stream that its commands make.
 *
 * There may be a million dead letters, most of them in segments. So a command looks at some hundred of them a round, while
 * its client waits; everybody else goes on, and may change the stream between two slices, even rename it. The walk is a
 * work of engine/cold.c: between slices a worker has its turn, which reads what the last slice did not find in memory.
 *
 *   command ──► worker: reads the wants, pins them ──► slice, in a round ──┬──► the reply   XDLQ_OVER
 *                        ▲                                                 │
 *                        └─────────────────────────────────────────────────┘   XDLQ_MORE, XDLQ_COLD
 *
 * What was read stays pinned until a slice gets on, as an entry may need several blocks at once. One that does not after
 * XDLQ_LOADS_MAX reads is looked at on the spot.
 *
 * Entries that came after the command are left to the next one. A client that goes away ends the walk where it is.
 */
#include "broker/commands/xdlq.h"
#include <assert.h>
#include "broker/commands/streams.h"
#include "broker/engine/reply.h"
#include "broker/engine/engine.h"

/* ---- the walk ---- */

static struct xdlq_walk *xdlq_walk_of(struct cold_work *w)
{
    return (struct xdlq_walk *)(void *)w; /* its first member */
}

static void xdlq_run(struct cold_work *work, struct block_decoder *decoder)
{
    struct xdlq_walk *w = xdlq_walk_of(work);

    if (w->n_loads == 0)
        return;
    if (decoder == NULL)
        w->rc = err_set(&w->err, ERR_NOMEM, "no memory to decode what is stored");
    else
        w->rc = wants_load(&w->loads[w->n_loads - 1], cold_cache(work), decoder, &w->err);
}

static void xdlq_drop_loads(struct xdlq_walk *w, size_t n)
{
    for (size_t i = 0; i < n; i++)
        wants_fini(&w->loads[i], cold_cache(&w->work));
    memmove(w->loads, w->loads + n, (w->n_loads - n) * sizeof w->loads[0]);
    w->n_loads -= n;
}

static void xdlq_free(struct cold_work *work)
{
    struct xdlq_walk *w = xdlq_walk_of(work);

    xdlq_drop_loads(w, w->n_loads);
    w->free(w);
}

static void xdlq_raise(struct client *c, struct xdlq_walk *w)
{
    if (w->work.need_written < c->need_written)
        w->work.need_written = c->need_written;
    if (w->work.need_durable < c->need_durable)
        w->work.need_durable = c->need_durable;
}

/* A slice, with what was loaded for it in memory. */
static enum xdlq_next xdlq_slice(struct engine *e, struct client *c, struct xdlq_walk *w)
{
    bool on_the_spot = w->n_loads == XDLQ_LOADS_MAX;
    struct id before = w->next;
    enum xdlq_next next;
    struct wants wants;

    wants_init(&wants);
    w->mode = on_the_spot ? CURSOR_ON_THE_SPOT : CURSOR_RESIDENT;
    w->wants = on_the_spot ? NULL : &wants;
    next = w->slice(e, c, w);
    if (next != XDLQ_COLD || id_cmp(before, w->next) != 0)
        xdlq_drop_loads(w, w->n_loads);
    assert(next != XDLQ_COLD || !on_the_spot);
    if (next == XDLQ_COLD)
        w->loads[w->n_loads++] = wants;
    else
        wants_fini(&wants, cold_cache(&w->work));
    if (log_open_bytes(e->log) > LOG_BATCH_BYTES_SOFT)
        log_commit(e->log, false);
    return next;
}

static enum cold_next xdlq_done(struct engine *e, struct cold_work *work)
{
    struct xdlq_walk *w = xdlq_walk_of(work);
    struct client *c = work->client;
    uint64_t start = outbuf_end(&c->out);
    enum xdlq_next next = XDLQ_OVER;

    if (w->rc != OK)
        streams_reply_failure(c, w->rc, &w->err);
    else
        next = xdlq_slice(e, c, w);
    xdlq_raise(c, w);
    if (next != XDLQ_OVER)
        return COLD_MORE;
    if (reply_is_error_at(c, start))
        e->stats.n_errors++;
    engine_reply_part(e, c, work->need_written, work->need_durable);
    engine_reply_over(c);
    return COLD_OVER;
}

void xdlq_start(struct engine *e, struct client *c, struct xdlq_walk *w)
{
    static const struct cold_kind kind = { xdlq_run, xdlq_done, xdlq_free, NULL };

    w->work.kind = &kind;
    cold_start(e, c, &w->work);
}

struct stream *xdlq_stream(const struct engine *e, const struct xdlq_walk *w)
{
    struct stream *st = w->oid == 0 ? NULL : state_find_oid(&e->state, w->oid);

    if (st == NULL || !state_is_there(&e->state, &st->object) || engine_is_expired(e, &st->object))
        return NULL;
    return st;
}

void xdlq_advance(struct xdlq_walk *w, struct id id)
{
    w->next = id;
    w->ended = !id_next(&w->next) || id_cmp(w->next, w->last) > 0;
}

/* ---- the table ---- */

#define XDLQ_COMMON .categories = CAT_STREAM, .group = "stream", .since = "beck 0.3"

static const struct command xdlq_subcommands[] = {
    { .name = "xdlq|help",
      .handler = command_help,
      .arity = 2,
      .flags = CMD_LOADING | CMD_STALE | CMD_NO_TOUCH_KEYS,
      XDLQ_COMMON,
      .complexity = "O(1)",
      .summary = "This text",
      .syntax = "" },
    { .name = "xdlq|info",
      .handler = xdlq_info,
      .arity = 3,
      .flags = CMD_READONLY | CMD_NO_MULTI,
      XDLQ_COMMON,
      .first_key = 2,
      .last_key = 2,
      .key_step = 1,
      .complexity = "O(N) in the entries of the dead-letter stream, a slice at a time",
      .summary =
          "Counts the dead letters of a stream by the stream and group that they come from, and by "
          "reason",
      .syntax = "dlq",
      .key_flags = "RO ACCESS" },
    { .name = "xdlq|redrive",
      .handler = xdlq_redrive,
      .arity = -5,
      .flags = CMD_WRITE | CMD_DENYOOM | CMD_NO_MULTI,
      XDLQ_COMMON,
      .first_key = 2,
      .last_key = 3,
      .key_step = 1,
      .complexity = "O(N) in the entries of the dead-letter stream, a slice at a time",
      .summary = "Gives dead letters back to the group that they come from, oldest first, where "
                 "the stream "
                 "still has the original; tells how many were redriven, appended anew (ALLGROUPS) "
                 "and left",
      .syntax = "dlq stream group [COUNT count] [ALLGROUPS]",
      .key_flags = "RW ACCESS DELETE;RW UPDATE" },
    { .name = NULL },
};

const struct command xdlq_commands[] = {
    { .name = "xdlq",
      .arity = -2,
      XDLQ_COMMON,
      .complexity = "Depends on subcommand.",
      .summary = "Commands for dead-letter streams",
      .syntax = "",
      .subcommands = xdlq_subcommands },
    { .name = NULL },
};
