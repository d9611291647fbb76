/*
 * beck_group.c - BECK GROUP: what Beck knows of consumer groups beyond XINFO, whose fields are Redis's.
 *
 * `lag` is how many live entries the group has not delivered yet, exactly, also where entries were deleted or trimmed; those
 * that ORDERBY keeps back count. `lag-ms` is the age of the oldest of them, by its ID. Which one that is, the group tells if it
 * keeps any back, the tail if the group has got so far; else it has to be looked for in the segments. Then all else is
 * taken down at once and a worker looks, some groups a step, at the stream as it was at that moment.
 */
#include <stdlib.h>
#include "broker/commands/beck.h"
#include "broker/commands/xgroup.h"
#include "broker/engine/cold.h"
#include "broker/engine/reply.h"
#include "broker/engine/cursor.h"
#include "log/entry.h"

enum { BECK_GROUP_STEP = 64 /* groups that a worker looks for at a time */ };

struct beck_group_one {
    struct slice name;
    struct group_options options; /* its names lie with the request */
    struct id last_id;
    int64_t entries_read;
    uint64_t lag, lost, pending, parked, due, dead, nacked, consumers;
    uint64_t redelivered, dead_lettered;
    uint64_t held_since_ms;   /* UINT64_MAX: nothing is held */
    uint64_t waiting_from_ms; /* the oldest undelivered entry; UINT64_MAX: none */
    bool asks;                /* that one is in segments */
};

struct beck_group {
    struct cold_work work; /* must be first */
    bool list;             /* all groups of the stream */
    uint64_t now_ms, tail_ms;
    struct sealed sealed;
    bool has_sealed;
    size_t at; /* groups before it are complete */
    int rc;    /* of reading */
    struct err err;
    uint8_t *text; /* what the slices point to */
    size_t n;
    struct beck_group_one groups[];
};

static struct beck_group *beck_group_of(struct cold_work *w)
{
    return (struct beck_group *)(void *)w; /* its first member */
}

static void beck_group_free(struct cold_work *w)
{
    struct beck_group *x = beck_group_of(w);

    if (x->has_sealed)
        sealed_fini(&x->sealed);
    free(x->text);
    free(x);
}

/* ---- what the engine knows ---- */

static uint64_t beck_group_held_since(const struct group *g)
{
    const struct pel_filter held = { .kinds = PEL_HELD, .held_until = UINT64_MAX };
    struct pel_entry x;

    return pel_oldest(g->pel, &held, 1, &x) == 1 ? x.time_ms : UINT64_MAX;
}

/* The time of the tail's first entry behind `id`; UINT64_MAX: there is none. */
static uint64_t beck_group_in_tail(const struct stream *st, struct id id)
{
    const uint8_t *entry =
        id_next(&id) ? stream_index_at(st->tail, stream_index_seek(st->tail, id)) : NULL;

    if (entry == NULL)
        return UINT64_MAX;
    entry_id(entry, &id);
    return id.ms;
}

/* The same in a view of changes, as far as it can be told without reading. */
static uint64_t beck_group_in_view(struct engine *e, const struct stream *st, struct id id)
{
    struct cursor at;
    uint64_t ms = UINT64_MAX;

    cursor_open(&at, e, st, CURSOR_RESIDENT, NULL);
    if (id_next(&id) && cursor_seek(&at, id, NULL) == OK && cursor_at(&at) != NULL) {
        entry_id(cursor_at(&at), &id);
        ms = id.ms;
    }
    cursor_close(&at);
    return ms;
}

static void beck_group_take_waiting(struct engine *e, const struct stream *st,
                                    const struct group *g, struct beck_group_one *x)
{
    const struct pel_filter parked = { .kinds = PEL_SKIPPED };
    struct pel_entry first;

    x->waiting_from_ms = UINT64_MAX;
    if (pel_next(g->pel, ID_MIN, &parked, &first))
        x->waiting_from_ms = first.id.ms;
    else if (changes_view(st) != NULL)
        x->waiting_from_ms = beck_group_in_view(e, st, g->last_id);
    else if (stream_n_sealed(st) == 0 || id_cmp(g->last_id, st->sealed_last) >= 0)
        x->waiting_from_ms = beck_group_in_tail(st, g->last_id);
    else
        x->asks = x->lag > 0;
}

static uint8_t *beck_group_keep(uint8_t *p, struct slice *s)
{
    if (s->n > 0)
        memcpy(p, s->p, s->n);
    s->p = p;
    return p + s->n;
}

static uint8_t *beck_group_take_one(struct engine *e, const struct stream *st,
                                    const struct group *g, uint8_t *text, struct beck_group_one *x)
{
    *x = (struct beck_group_one){ .name = g->name,
                                  .options = *group_options(g),
                                  .last_id = g->last_id,
                                  .entries_read = g->entries_read,
                                  .lost = g->n_lost,
                                  .pending = pel_n(g->pel),
                                  .parked = pel_n_parked(g->pel),
                                  .due = pel_n_ready(g->pel),
                                  .dead = pel_n_dead(g->pel),
                                  .nacked = pel_n_nacked(g->pel),
                                  .consumers = group_n_consumers(g),
                                  .redelivered = g->n_redelivered,
                                  .dead_lettered = g->n_dead_lettered,
                                  .held_since_ms = beck_group_held_since(g) };
    x->lag = st->n_entries - g->n_behind + x->parked;
    beck_group_take_waiting(e, st, g, x);
    text = beck_group_keep(text, &x->name);
    text = beck_group_keep(text, &x->options.dlq);
    return beck_group_keep(text, &x->options.order_by);
}

static size_t beck_group_text(const struct group *g)
{
    return g->name.n + group_options(g)->dlq.n + group_options(g)->order_by.n;
}

/* Of that group, or all of the stream; NULL if memory ran out. */
static struct beck_group *beck_group_take(struct engine *e, struct client *c,
                                          const struct stream *st, struct group *only)
{
    const struct groups *gs = stream_groups(st);
    size_t n = only != NULL ? 1 : groups_n(gs), n_text = 1;
    struct beck_group *x = calloc(1, sizeof *x + n * sizeof x->groups[0]);
    uint8_t *text;

    for (size_t i = 0; i < n; i++)
        n_text += beck_group_text(only != NULL ? only : groups_at(gs, i));
    text = malloc(n_text);
    if (x == NULL || text == NULL) {
        free(x);
        free(text);
        return NULL;
    }
    x->list = only == NULL;
    x->now_ms = e->now_ms;
    x->tail_ms = beck_group_in_tail(st, ID_MIN);
    x->text = text;
    x->n = n;
    for (size_t i = 0; i < n; i++) {
        const struct group *g = only != NULL ? only : groups_at(gs, i);

        grouplog_need(c, g);
        text = beck_group_take_one(e, st, g, text, &x->groups[i]);
    }
    return x;
}

/* ---- what segments know ---- */

/* Moves x->at to the next group that asks. False: there is none. */
static bool beck_group_asks(struct beck_group *x)
{
    while (x->at < x->n && !x->groups[x->at].asks)
        x->at++;
    return x->at < x->n;
}

static int beck_group_look(struct beck_group *x, struct reader *reader, struct beck_group_one *one,
                           struct err *e)
{
    struct id id = one->last_id;
    const uint8_t *entry = NULL;
    size_t len;
    int rc = OK;

    if (id_next(&id))
        rc = reader_seek(reader, id, e);
    if (rc == OK)
        entry = reader_at(reader, &len);
    one->waiting_from_ms = x->tail_ms;
    if (entry != NULL) {
        entry_id(entry, &id);
        one->waiting_from_ms = id.ms;
    }
    one->asks = false;
    return rc;
}

static void beck_group_run(struct cold_work *w, struct block_decoder *decoder)
{
    struct beck_group *x = beck_group_of(w);
    struct reader reader;

    reader_init(&reader, &x->sealed, cold_cache(w), decoder, NULL);
    for (size_t i = 0; i < BECK_GROUP_STEP && x->rc == OK && beck_group_asks(x); i++)
        x->rc = beck_group_look(x, &reader, &x->groups[x->at], &x->err);
    reader_fini(&reader);
}

/* ---- the reply ---- */

static void beck_group_put(struct client *c, const char *name, uint64_t value)
{
    reply_str(c, name);
    reply_u64(c, value);
}

static void beck_group_put_slice(struct client *c, const char *name, struct slice value)
{
    reply_str(c, name);
    reply_bulk(c, value.p, value.n);
}

/* How long ago that was; 0 for never. */
static void beck_group_put_age(struct client *c, const char *name, uint64_t now_ms,
                               uint64_t then_ms)
{
    beck_group_put(c, name, then_ms < now_ms ? now_ms - then_ms : 0);
}

static void beck_group_put_options(struct client *c, const struct group_options *x)
{
    beck_group_put(c, "ackwait", x->ack_wait_ms);
    beck_group_put(c, "maxdeliver", x->max_deliver);
    beck_group_put_slice(c, "dlq", x->dlq);
    reply_str(c, "backoff");
    reply_array(c, x->n_backoff);
    for (size_t i = 0; i < x->n_backoff; i++)
        reply_u64(c, x->backoff_ms[i]);
    beck_group_put(c, "maxpending", x->max_pending);
    beck_group_put(c, "consumerttl", x->consumer_ttl_ms);
    beck_group_put_slice(c, "orderby", x->order_by);
}

static void beck_group_reply_one(struct client *c, const struct beck_group_one *x, uint64_t now_ms)
{
    reply_map(c, 22);
    beck_group_put_slice(c, "name", x->name);
    reply_str(c, "last-delivered-id");
    reply_id(c, x->last_id);
    reply_str(c, "entries-read");
    if (x->entries_read < 0)
        reply_null(c);
    else
        reply_int(c, x->entries_read);
    beck_group_put(c, "lag", x->lag);
    beck_group_put_age(c, "lag-ms", now_ms, x->waiting_from_ms);
    beck_group_put(c, "lost", x->lost);
    beck_group_put(c, "pending", x->pending);
    beck_group_put(c, "parked", x->parked);
    beck_group_put(c, "due", x->due);
    beck_group_put(c, "dead", x->dead);
    beck_group_put(c, "nacked", x->nacked);
    beck_group_put(c, "consumers", x->consumers);
    beck_group_put_age(c, "oldest-pending-ms", now_ms, x->held_since_ms);
    beck_group_put(c, "redelivered", x->redelivered);
    beck_group_put(c, "dead-lettered", x->dead_lettered);
    beck_group_put_options(c, &x->options);
}

static void beck_group_reply(struct client *c, const struct beck_group *x)
{
    if (x->list)
        reply_array(c, x->n);
    for (size_t i = 0; i < x->n; i++)
        beck_group_reply_one(c, &x->groups[i], x->now_ms);
}

static enum cold_next beck_group_done(struct engine *e, struct cold_work *w)
{
    struct beck_group *x = beck_group_of(w);
    struct client *c = w->client;

    if (x->rc == OK && beck_group_asks(x))
        return COLD_MORE;
    if (x->rc == OK) {
        beck_group_reply(c, x);
    } else {
        reply_error(c, "%s %s", x->rc == ERR_NOMEM ? "OOM" : "IOERR", x->err.text);
        e->stats.n_errors++;
    }
    engine_reply_part(e, c, w->need_written, w->need_durable);
    engine_reply_over(c);
    return COLD_OVER;
}

/* The stream of argv[2], and the group of argv[3] if there is one. False: an error has been replied. */
static bool beck_group_find(struct engine *e, struct client *c, const struct slice *argv,
                            size_t argc, struct stream **st, struct group **g)
{
    *g = NULL;
    *st = streams_find_there(e, c, argv[2]);
    if (*st == NULL || argc == 3)
        return *st != NULL;
    *g = groups_find(stream_groups(*st), argv[3]);
    if (*g == NULL)
        xgroup_no_group(c, argv[2], argv[3]);
    return *g != NULL;
}

void beck_group(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    static const struct cold_kind kind = { .run = beck_group_run,
                                           .done = beck_group_done,
                                           .free = beck_group_free };
    struct beck_group *x;
    struct stream *st;
    struct group *g;

    if (argc > 4) {
        reply_subcommand_syntax(c, command_find(argv[0]), argv[1]);
        return;
    }
    if (!beck_group_find(e, c, argv, argc, &st, &g))
        return;
    x = beck_group_take(e, c, st, g);
    if (x == NULL) {
        reply_error(c, "OOM not enough memory to tell about groups");
        return;
    }
    x->has_sealed = beck_group_asks(x) && cold_get_sealed(e, st, &x->sealed);
    if (x->has_sealed) {
        x->work.kind = &kind;
        cold_start(e, c, &x->work);
    } else {
        beck_group_reply(c, x);
        beck_group_free(&x->work);
    }
}
