/*
 * cold.c - commands that wait for what is on the disk.
 *
 * The engine's thread never waits for the disk. What a command needs beyond memory is fetched by the log's workers while
 * the client's connection stands still and all others go on. Everything that is fetched is a piece of work in steps:
 *
 *              cold_start                 log_submit: run()               cold_turn: done()
 *   command ───────────────► waiting ───────────────────────► running ──► ready ───┬──► freed    COLD_OVER
 *                               ▲       (a place is free)     on a worker          │
 *                               ├──────────────────────────────────────────────────┤             COLD_MORE
 *                               └──── draining ◄───────────────────────────────────┘             COLD_DRAIN
 *                        (the client has read)
 *
 * A load, the kind that is in this file, has one step: it reads and pins the wanted blocks. Then the command is executed
 * anew, with nothing kept from its first try, so whatever has happened to the keys meanwhile cannot confuse it. It may want
 * something else then (the block behind an index page, a segment that a merge has put in another's place); all pins stay
 * until it has run. After COLD_ROUNDS_MAX tries it runs with what there is, and reads the rest on the spot.
 *
 * A work that needs the arena pinned, or memory of which there is a limited amount, may have to wait for room before
 * its first step: until another gives some back (cold_wait_room). Works that wait for clients who do not read are then
 * asked whether they can do without theirs.
 *
 * `done` of a job is called from within the log's turn. It only notes that the work is ready; what follows, which may append
 * records, is done by cold_turn, in a round like every command.
 *
 *   C1  client.cold is the one work whose `client` it is, and NULL if there is none.
 *   C2  n_running works are with the log, at most COLD_WORKS_MAX; if any wait, it is that many.
 *   C3  A work is in the queue of its place, unless it is running or nowhere.
 */
#include "broker/engine/cold.h"
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include "broker/cache/cache.h"
#include "broker/cache/changes.h"
#include "broker/engine/args.h"
#include "broker/engine/engine.h"
#include "broker/engine/reply.h"
#include "broker/engine/transaction.h"

enum {
    COLD_DECODERS_MAX = 16, /* kept for the next step */
    COLD_IN_VAIN_MAX = 1024 /* tries for room while nobody has any */
};

struct cold_queue {
    struct cold_work *first, *last;
    size_t n;
};

struct cold_load {
    struct cold_work work; /* must be first */
    struct wants *wants;
    size_t n, n_loaded; /* those before n_loaded are pinned */
    unsigned rounds;
    struct slice *argv; /* a copy; NULL: the server's own load */
    size_t argc;
    struct cold_load *own_next, *own_prev; /* of the server's own */
    void (*then)(struct engine *e, void *ctx, int rc);
    void *ctx;
    int rc;
    struct err err;
};

struct cold {
    struct engine *engine; /* NULL: the engine is gone; the last work with the log frees this */
    struct log *log;
    struct cold_queue waiting, ready, roomless, draining;
    struct cold_load *own;     /* list of the server's own loads */
    struct cold_load *telling; /* the one whose `then` is being called */
    size_t n_running;
    uint64_t room_used; /* of COLD_ROOM_BYTES */
    size_t n_pins;
    size_t
        n_in_vain; /* how often there was no room though nobody had any, since it was found last */
    pthread_mutex_t lock; /* of what follows, which workers use */
    struct block_decoder *decoders[COLD_DECODERS_MAX];
    size_t n_decoders;
};

/* ---- queues ---- */

static void cold_push(struct cold_queue *q, struct cold_work *w)
{
    w->next = NULL;
    w->prev = q->last;
    if (q->last != NULL)
        q->last->next = w;
    else
        q->first = w;
    q->last = w;
    q->n++;
}

static void cold_remove(struct cold_queue *q, struct cold_work *w)
{
    if (w->prev != NULL)
        w->prev->next = w->next;
    else
        q->first = w->next;
    if (w->next != NULL)
        w->next->prev = w->prev;
    else
        q->last = w->prev;
    q->n--;
}

static struct cold_work *cold_pop(struct cold_queue *q)
{
    struct cold_work *w = q->first;

    if (w != NULL)
        cold_remove(q, w);
    return w;
}

/* ---- the way of a work ---- */

static struct cold_work *cold_of_job(struct job *j)
{
    return (struct cold_work *)(void *)j; /* its first member */
}

struct blockcache *cold_cache(const struct cold_work *w)
{
    return log_cache(w->cold->log);
}

/* One that is free, or a new one; NULL if memory ran out. There are as many as the log has workers for reading. */
static struct block_decoder *cold_take_decoder(struct cold *cold)
{
    struct block_decoder *d = NULL;

    pthread_mutex_lock(&cold->lock);
    if (cold->n_decoders > 0)
        d = cold->decoders[--cold->n_decoders];
    pthread_mutex_unlock(&cold->lock);
    return d != NULL ? d : block_decoder_new();
}

static void cold_give_decoder(struct cold *cold, struct block_decoder *d)
{
    pthread_mutex_lock(&cold->lock);
    if (cold->n_decoders < COLD_DECODERS_MAX) {
        cold->decoders[cold->n_decoders++] = d;
        d = NULL;
    }
    pthread_mutex_unlock(&cold->lock);
    block_decoder_free(d);
}

static void cold_job_run(struct job *j)
{
    struct cold_work *w = cold_of_job(j);
    struct block_decoder *d = cold_take_decoder(w->cold);

    w->kind->run(w, d);
    if (d != NULL)
        cold_give_decoder(w->cold, d);
}

static void cold_job_done(struct job *j);

static void cold_submit(struct cold_work *w)
{
    w->place = COLD_RUNNING;
    w->job.lane = POOL_READ;
    w->job.run = cold_job_run;
    w->job.done = cold_job_done;
    w->cold->n_running++;
    log_submit(w->cold->log, &w->job);
}

static void cold_enqueue(struct cold_work *w)
{
    struct cold *cold = w->cold;

    if (cold->n_running < COLD_WORKS_MAX) {
        cold_submit(w);
        return;
    }
    w->place = COLD_WAITING;
    cold_push(&cold->waiting, w);
}

static void cold_destroy(struct cold *cold)
{
    while (cold->n_decoders > 0)
        block_decoder_free(cold->decoders[--cold->n_decoders]);
    pthread_mutex_destroy(&cold->lock);
    free(cold);
}

static void cold_job_done(struct job *j)
{
    struct cold_work *w = cold_of_job(j);
    struct cold *cold = w->cold;
    struct cold_work *next;

    cold->n_running--;
    if (cold->engine != NULL) {
        w->place = COLD_READY;
        cold_push(&cold->ready, w);
        next = cold_pop(&cold->waiting);
        if (next != NULL)
            cold_submit(next);
        return;
    }
    w->kind->free(w);
    if (cold->n_running == 0)
        cold_destroy(cold);
}

static void cold_attach(struct engine *e, struct client *c, struct cold_work *w)
{
    assert(c->cold == NULL);
    w->cold = e->cold;
    w->client = c;
    w->need_written = c->need_written;
    if (w->need_written < log_last_lsn(e->log))
        w->need_written = log_last_lsn(e->log);
    w->need_durable = c->need_durable;
    c->cold = w; /* C1 */
}

void cold_start(struct engine *e, struct client *c, struct cold_work *w)
{
    cold_attach(e, c, w);
    cold_enqueue(w);
}

/* ---- room ---- */

bool cold_take_room(struct engine *e, struct cold_work *w, uint64_t bytes, bool pin)
{
    struct cold *cold = e->cold;

    if (cold->room_used > 0 &&
        (cold->room_used >= COLD_ROOM_BYTES || bytes > COLD_ROOM_BYTES - cold->room_used))
        return false;
    if (pin && (w->pin = log_pin(e->log)) == NULL)
        return false;
    w->cold = cold;
    cold->n_pins += pin;
    cold->n_in_vain = 0;
    w->room = bytes;
    cold->room_used += bytes;
    return true;
}

/* Those without room try again in the next turn, in order. */
static void cold_room_came(struct cold *cold)
{
    struct cold_work *w;

    while ((w = cold_pop(&cold->roomless)) != NULL) {
        w->place = COLD_READY;
        cold_push(&cold->ready, w);
    }
}

void cold_give_room(struct cold_work *w)
{
    struct cold *cold = w->cold;

    if (w->pin != NULL) {
        log_unpin(w->pin);
        cold->n_pins--;
    }
    cold->room_used -= w->room;
    w->pin = NULL;
    w->room = 0;
    cold_room_came(cold);
}

static bool cold_room_is_held(const struct cold *cold)
{
    return cold->n_pins > 0 || cold->room_used > 0;
}

/* What has been unpinned is free only after a turn of the log: so it may be asked for in vain for a while. */
bool cold_wait_room(struct engine *e, struct client *c, struct cold_work *w)
{
    struct cold *cold = e->cold;

    if (!cold_room_is_held(cold) && ++cold->n_in_vain > COLD_IN_VAIN_MAX)
        return false;
    cold_attach(e, c, w);
    w->place = COLD_ROOMLESS;
    cold_push(&cold->roomless, w);
    return true;
}

/* While somebody waits for room: who holds some and waits for a client is asked for it. */
static void cold_look_for_room(struct engine *e)
{
    struct cold *cold = e->cold;

    if (cold->roomless.n == 0)
        return;
    if (!cold_room_is_held(cold))
        cold_room_came(cold);
    for (struct cold_work *w = cold->draining.first, *next; w != NULL; w = next) {
        next = w->next;
        if (w->pin == NULL || w->kind->make_room == NULL || !w->kind->make_room(e, w))
            continue;
        cold_remove(&cold->draining, w);
        cold_enqueue(w);
    }
}

/* ---- behind a step ---- */

/* The work's client, if it has one, waits no longer. */
static void cold_end(struct cold_work *w)
{
    if (w->client != NULL && w->client->cold == w)
        w->client->cold = NULL;
    w->client = NULL;
}

bool cold_has_ready(const struct engine *e)
{
    return e->cold->ready.n > 0;
}

static void cold_step_done(struct engine *e, struct cold_work *w)
{
    struct client *c = w->client;

    w->place = COLD_NOWHERE;
    if (c == NULL && !w->own) {
        w->kind->free(w);
        return;
    }
    switch (w->kind->done(e, w)) {
    case COLD_KEPT: return;
    case COLD_MORE: cold_enqueue(w); break;
    case COLD_DRAIN:
        w->place = COLD_DRAINING;
        cold_push(&w->cold->draining, w);
        cold_client_drained(c);
        break;
    case COLD_OVER:
        cold_end(w);
        w->kind->free(w);
        break;
    }
    if (c != NULL)
        engine_wake(e, c);
}

void cold_turn(struct engine *e)
{
    for (size_t n = e->cold->ready.n; n > 0; n--)
        cold_step_done(e, cold_pop(&e->cold->ready));
    cold_look_for_room(e);
}

void cold_client_drained(struct client *c)
{
    struct cold_work *w = c->cold;

    if (w == NULL || w->place != COLD_DRAINING || outbuf_size(&c->out) >= COLD_OUTPUT_MAX)
        return;
    cold_remove(&w->cold->draining, w);
    cold_enqueue(w);
}

void cold_client_gone(struct client *c)
{
    struct cold_work *w = c->cold;

    if (w == NULL)
        return;
    cold_end(w);
    if (w->place == COLD_RUNNING || w->place == COLD_READY)
        return; /* freed when its step is done */
    if (w->place == COLD_WAITING)
        cold_remove(&w->cold->waiting, w);
    if (w->place == COLD_ROOMLESS)
        cold_remove(&w->cold->roomless, w);
    if (w->place == COLD_DRAINING)
        cold_remove(&w->cold->draining, w);
    w->kind->free(w);
}

/* ---- loads ---- */

static struct cold_load *cold_load_of(struct cold_work *w)
{
    return (struct cold_load *)(void *)w; /* its first member */
}

static void cold_load_run(struct cold_work *w, struct block_decoder *decoder)
{
    struct cold_load *l = cold_load_of(w);

    if (decoder == NULL)
        l->rc = err_set(&l->err, ERR_NOMEM, "no memory to decode what is stored");
    for (; l->rc == OK && l->n_loaded < l->n; l->n_loaded++)
        l->rc = wants_load(&l->wants[l->n_loaded], cold_cache(w), decoder, &l->err);
}

/* The data cannot be had: so the command fails, and nothing else. */
static void cold_load_failed(struct engine *e, struct client *c, const struct cold_load *l)
{
    char text[sizeof l->err.text + 16];

    snprintf(text, sizeof text, "%s %s", l->rc == ERR_NOMEM ? "OOM" : "IOERR", l->err.text);
    if (c->in_multi)
        transaction_refuse(e, c, text);
    else
        reply_error(c, "%s", text);
    e->stats.n_errors++;
    engine_reply_part(e, c, 0, 0);
    engine_reply_over(c);
}

/* Tells the server's own load how it ended, once. */
static void cold_load_tell(struct engine *e, struct cold_load *l, int rc)
{
    if (l->own_prev != NULL)
        l->own_prev->own_next = l->own_next;
    else
        l->work.cold->own = l->own_next;
    if (l->own_next != NULL)
        l->own_next->own_prev = l->own_prev;
    l->work.own = false;
    l->work.cold->telling = l;
    l->then(e, l->ctx, rc);
    l->work.cold->telling = NULL;
}

const char *cold_load_text(const struct engine *e)
{
    return e->cold->telling->err.text;
}

void cold_load_keep(struct engine *e, struct wants *to)
{
    struct cold_load *l = e->cold->telling;

    for (size_t i = 0; i < l->n; i++)
        wants_join(to, &l->wants[i], cold_cache(&l->work));
}

static enum cold_next cold_load_done(struct engine *e, struct cold_work *w)
{
    struct cold_load *l = cold_load_of(w);
    struct client *c = w->client;

    if (w->own) {
        cold_load_tell(e, l, l->rc);
        return COLD_OVER;
    }
    c->cold = NULL;
    if (l->rc != OK) {
        cold_load_failed(e, c, l);
        return COLD_OVER;
    }
    c->cold_again = w;
    engine_execute(e, c, l->argv, l->argc);
    c->cold_again = NULL;
    if (c->cold == w)
        return COLD_KEPT;
    return COLD_OVER;
}

static void cold_load_free(struct cold_work *w)
{
    struct cold_load *l = cold_load_of(w);

    for (size_t i = 0; i < l->n; i++)
        wants_fini(&l->wants[i], cold_cache(w));
    free(l->wants);
    free(l->argv);
    free(l);
}

static const struct cold_kind cold_load_kind = { cold_load_run, cold_load_done, cold_load_free,
                                                 NULL };

static bool cold_load_add(struct cold_load *l, struct wants *wants, size_t n)
{
    struct wants *all = realloc(l->wants, (l->n + n) * sizeof *all);

    if (all == NULL)
        return false;
    l->wants = all;
    for (size_t i = 0; i < n; i++)
        l->wants[l->n++] = wants[i];
    return true;
}

static uint64_t cold_load_bytes(const struct cold_load *l)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < l->n; i++)
        bytes += l->wants[i].bytes;
    return bytes;
}

static struct cold_load *cold_load_new(struct engine *e, const struct slice *argv, size_t argc)
{
    struct cold_load *l = calloc(1, sizeof *l);

    if (l == NULL)
        return NULL;
    l->work.kind = &cold_load_kind;
    l->work.cold = e->cold;
    l->argc = argc;
    if (argc > 0 && (l->argv = args_copy_all(argv, argc)) == NULL) {
        free(l);
        return NULL;
    }
    return l;
}

/* ---- waiting for a load ---- */

static void cold_drop_wants(struct engine *e, struct wants *wants, size_t n)
{
    for (size_t i = 0; i < n; i++)
        wants_fini(&wants[i], log_cache(e->log));
}

static void cold_refuse(struct engine *e, struct client *c, const char *text)
{
    if (c->in_multi)
        transaction_refuse(e, c, text);
    else
        reply_error(c, "%s", text);
    e->stats.n_errors++;
}

/* NULL, or why the wants are not to be loaded. */
static const char *cold_check_wants(const struct wants *wants, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (wants[i].failed)
            return "OOM no memory to note what has to be read";
        if (wants[i].bytes - wants[i].largest > WANTS_BYTES_MAX)
            return "ERR the command needs more than 8 MiB of stored entries at once: ask for less "
                   "in one command";
    }
    return NULL;
}

bool cold_wait(struct engine *e, struct client *c, const struct slice *argv, size_t argc,
               struct wants *wants, size_t n)
{
    struct cold_load *l = c->cold_again != NULL ? cold_load_of(c->cold_again) : NULL;
    const char *why = cold_check_wants(wants, n);
    bool again = l != NULL;

    if (why == NULL && again && l->rounds >= COLD_ROUNDS_MAX) {
        cold_drop_wants(e, wants, n);
        return false;
    }
    if (why == NULL && !again && (l = cold_load_new(e, argv, argc)) == NULL)
        why = "OOM no memory to wait for what has to be read";
    if (why == NULL && !cold_load_add(l, wants, n)) {
        why = "OOM no memory to wait for what has to be read";
        if (!again)
            cold_load_free(&l->work);
    } else if (why == NULL && cold_load_bytes(l) > COLD_EXEC_BYTES_MAX && c->in_multi) {
        why = "ERR its commands need more than 32 MiB of stored entries at once";
        n = 0; /* they are in the load */
        if (!again)
            cold_load_free(&l->work);
    }
    if (why != NULL) {
        cold_drop_wants(e, wants, n);
        cold_refuse(e, c, why);
        return true;
    }
    l->rounds++;
    cold_start(e, c, &l->work);
    return true;
}

/* The commonest case: the command has one key, and it is not cold. It is remembered, so that the command need not look for it
 * again; not within EXEC, where others come before it. */
static bool cold_is_hot(struct engine *e, const struct client *c, const struct command *command,
                        const struct slice *argv, size_t argc)
{
    size_t at = (size_t)command->first_key;

    if (command->prefault != cache_prefault)
        return false;
    if (e->state.n_cold == 0)
        return true;
    if (at == 0 || command->last_key != command->first_key || at >= argc || argv[at].n == 0)
        return false;
    e->found = engine_find_key(e, c->db, argv[at]);
    if (e->found != NULL && e->found->flags & OBJECT_COLD)
        return false;
    e->found_key = c->in_exec ? NULL : argv[at].p;
    return true;
}

bool cold_ask(struct engine *e, struct client *c, const struct command *command,
              const struct slice *argv, size_t argc, struct wants *out)
{
    uint64_t start = outbuf_end(&c->out), written = c->need_written, durable = c->need_durable;

    if (command->prefault == NULL || !log_has_sealed(e->log) ||
        cold_is_hot(e, c, command, argv, argc))
        return false;
    wants_init(out);
    e->asking = true;
    command->prefault(e, c, argv, argc, out);
    e->asking = false;
    outbuf_truncate(&c->out, start);
    c->need_written = written;
    c->need_durable = durable;
    if (out->n > 0 || out->failed)
        return true;
    wants_fini(out, log_cache(e->log));
    return false;
}

bool cold_prefault(struct engine *e, struct client *c, const struct command *command,
                   const struct slice *argv, size_t argc)
{
    struct wants wants;

    return cold_ask(e, c, command, argv, argc, &wants) && cold_wait(e, c, argv, argc, &wants, 1);
}

int cold_load(struct engine *e, struct wants *wants,
              void (*then)(struct engine *e, void *ctx, int rc), void *ctx, struct err *err)
{
    const char *why = cold_check_wants(wants, 1);
    struct cold_load *l;

    if (why != NULL)
        return err_set(err, wants->failed ? ERR_NOMEM : ERR_TOO_BIG, "%s", why);
    l = cold_load_new(e, NULL, 0);
    if (l == NULL || !cold_load_add(l, wants, 1)) {
        free(l);
        return err_set(err, ERR_NOMEM, "wait for what has to be read");
    }
    l->work.own = true;
    l->then = then;
    l->ctx = ctx;
    l->own_next = e->cold->own;
    if (l->own_next != NULL)
        l->own_next->own_prev = l;
    e->cold->own = l;
    cold_enqueue(&l->work);
    return OK;
}

/* ---- readers ---- */

bool cold_get_sealed(struct engine *e, const struct stream *st, struct sealed *out)
{
    if (st->n_entries == stream_index_n(st->tail) || !log_has_sealed(e->log))
        return false;
    if (changes_view(st) != NULL) {
        log_get_sealed(e->log, LOG_CHANGES_OID, stream_floor(st), NULL,
                       e->state.changes_sealed_last, out);
        return true;
    }
    log_get_sealed(e->log, st->oid, stream_floor(st), stream_deletes(st), st->sealed_last, out);
    return true;
}

void cold_reader(struct engine *e, const struct sealed *s, struct wants *wants, bool on_the_spot,
                 struct reader *out)
{
    reader_init(out, s, log_cache(e->log), on_the_spot ? log_sync_decoder(e->log) : NULL, wants);
}

/* ---- beginning and end ---- */

int cold_new(struct engine *e, struct cold **out, struct err *err)
{
    struct cold *cold = calloc(1, sizeof *cold);

    if (cold == NULL)
        return err_set(err, ERR_NOMEM, "make the list of commands that wait for the disk");
    cold->engine = e;
    pthread_mutex_init(&cold->lock, NULL); /* cannot fail without attributes */
    *out = cold;
    return OK;
}

void cold_open(struct cold *cold, struct log *log)
{
    cold->log = log;
}

void cold_free(struct cold *cold)
{
    struct cold_work *w;

    if (cold == NULL)
        return;
    while (cold->own != NULL)
        cold_load_tell(cold->engine, cold->own, ERR_IO);
    while ((w = cold_pop(&cold->waiting)) != NULL || (w = cold_pop(&cold->ready)) != NULL)
        w->kind->free(w);
    assert(cold->roomless.n == 0 && cold->draining.n == 0); /* they have clients */
    cold->engine = NULL;
    if (cold->n_running == 0)
        cold_destroy(cold);
}
