/*
 * connset.c - serves all connections, round by round.
 *
 *   callbacks        connset_enter: engine_round_begin, once
 *                    conn_on_readable: parse, execute                      ... for each ready socket
 *   end of round     those woken or left over execute what they have kept
 *                    engine_round_end: the batch goes to the log
 *                    conn_settle for each connection touched               one writev each
 *   log has moved    conn_settle for each connection whose gate waits
 *
 * A connection is in several lists at once, each for one question: who was touched (dirty), who has input to
 * execute (ready), whose replies wait for the log (waiting), who waits until the log has caught up (stalled), who has
 * let too much output pile up (heavy).
 * by_activity holds all in the order of their last input, so that idle ones are found at its front, without
 * looking at the others; no timer runs unless something has a deadline.
 */
#include "broker/net/connset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/engine/cold.h"
#include "broker/engine/engine.h"
#include "broker/logger.h"
#include "broker/net/listener.h"
#include "broker/net/loop.h"

enum { CONNSET_TIMER_MAX_MS = 60000 }; /* a clock set back must not make a deadline late by hours */

static void connset_on_again(void *ctx)
{
    connset_enter(ctx);
}

/* ---- idle clients ---- */

static uint64_t connset_idle_at(const struct connset *s)
{
    const struct conn *first = TAILQ_FIRST(&s->by_activity);
    uint64_t timeout_ms = (uint64_t)s->engine->config->timeout_s * 1000;

    return timeout_ms == 0 || first == NULL ? UINT64_MAX : first->client.active_ms + timeout_ms;
}

static void connset_close_idle(struct connset *s)
{
    while (connset_idle_at(s) <= s->engine->now_ms) {
        struct conn *c = TAILQ_FIRST(&s->by_activity);
        c->client.active_ms = s->engine->now_ms;
        connset_touch(s, c);
        if (c->client.blocked != NULL || c->client.subscriber != NULL ||
            (c->client.cold != NULL && outbuf_size(&c->client.out) == 0))
            /* it waits for us, not we for it */
            continue;
        logger_write(s->logger, CONFIG_LOG_VERBOSE, "client %s has been idle for %lld s",
                     c->client.addr, (long long)s->engine->config->timeout_s);
        c->client.close_now = true;
        connset_mark_dirty(s, c);
    }
}

/* ---- clients that do not read ---- */

static uint64_t connset_soft_at_of(const struct connset *s, bool subscribers)
{
    const struct config *config = s->engine->config;
    const struct conn *first = TAILQ_FIRST(&s->heavy[subscribers]);
    uint64_t soft_s = subscribers ? config->output_pubsub.soft_s : config->output_normal.soft_s;

    return first == NULL ? UINT64_MAX : first->soft_since_ms + soft_s * 1000;
}

static uint64_t connset_soft_at(const struct connset *s)
{
    uint64_t normal = connset_soft_at_of(s, false), pubsub = connset_soft_at_of(s, true);

    return normal < pubsub ? normal : pubsub;
}

/* conn_settle closes those who have had their time. */
static void connset_look_at_heavy(struct connset *s)
{
    struct conn *c;

    if (connset_soft_at(s) > s->engine->now_ms)
        return;
    for (int subscribers = 0; subscribers < 2; subscribers++) {
        TAILQ_FOREACH(c, &s->heavy[subscribers], heavy)
        connset_mark_dirty(s, c);
    }
}

/* ---- time ---- */

static void connset_on_time(void *ctx)
{
    struct connset *s = ctx;

    s->timer_at_ms = UINT64_MAX;
    connset_enter(s);
    connset_close_idle(s);
    connset_look_at_heavy(s);
}

/* A timer that is early is harmless, and most deadlines move away; so it is set only to come earlier. */
static void connset_set_timer(struct connset *s)
{
    uint64_t now = s->engine->now_ms, at = engine_next_deadline_ms(s->engine);
    uint64_t idle = connset_idle_at(s), soft = connset_soft_at(s), in_ms;

    if (idle < at)
        at = idle;
    if (soft < at)
        at = soft;
    if (at >= s->timer_at_ms)
        return;
    in_ms = at > now ? at - now : 0;
    if (in_ms > CONNSET_TIMER_MAX_MS)
        in_ms = CONNSET_TIMER_MAX_MS;
    s->timer_at_ms = now + in_ms;
    loop_timer_set(s->timer, in_ms);
}

/* ---- rounds ---- */

void connset_enter(struct connset *s)
{
    if (s->in_round)
        return;
    s->in_round = true;
    engine_round_begin(s->engine);
    loop_round(s->loop);
}

/* Once through those that are ready now; who becomes ready meanwhile has its turn in the next round. */
static void connset_run_ready(struct connset *s)
{
    struct conn *last = TAILQ_LAST(&s->ready, conn_list), *c;

    while ((c = TAILQ_FIRST(&s->ready)) != NULL) {
        TAILQ_REMOVE(&s->ready, c, ready);
        c->is_ready = false;
        conn_run_kept(c);
        connset_mark_dirty(s, c);
        if (c == last)
            break;
    }
}

static void connset_settle_dirty(struct connset *s)
{
    uint64_t released = log_released_lsn(s->engine->log), durable = log_durable_lsn(s->engine->log);
    struct conn *c;

    while ((c = TAILQ_FIRST(&s->dirty)) != NULL) {
        TAILQ_REMOVE(&s->dirty, c, dirty);
        c->is_dirty = false;
        conn_settle(c, released, durable);
    }
}

/* Those who waited until the log had caught up go on, if it has; false if there is none. */
static bool connset_resume_stalled(struct connset *s)
{
    struct conn *c;

    if (TAILQ_EMPTY(&s->stalled) || log_is_backed_up(s->engine->log))
        return false;
    while ((c = TAILQ_FIRST(&s->stalled)) != NULL) {
        TAILQ_REMOVE(&s->stalled, c, stalled);
        c->is_stalled = false;
        connset_mark_ready(s, c);
    }
    return true;
}

void connset_round_end(struct connset *s)
{
    connset_run_ready(s);
    engine_round_end(s->engine);
    connset_resume_stalled(s); /* a part of the arena may have been given back just now */
    s->in_round = false;
    connset_settle_dirty(s);
    resp_args_trim(&s->args);
    if (!TAILQ_EMPTY(&s->ready))
        loop_timer_set(s->again, 0);
    connset_set_timer(s);
}

void connset_log_moved(struct connset *s)
{
    struct conn *c, *next;

    if (connset_resume_stalled(s))
        connset_enter(s);
    for (c = TAILQ_FIRST(&s->waiting); c != NULL; c = next) {
        next = TAILQ_NEXT(c, waiting);
        connset_mark_dirty(s, c);
    }
    if (!s->in_round)
        connset_settle_dirty(s);
    if (cold_has_ready(s->engine))
        connset_enter(s);
    if (!TAILQ_EMPTY(&s->ready))
        loop_timer_set(s->again, 0);
}

void connset_wake_client(struct connset *s, struct client *client)
{
    struct conn *c = (struct conn *)client;

    connset_enter(s);
    connset_mark_dirty(s, c);
    if (client->blocked == NULL && client->cold == NULL && c->in_len > 0)
        connset_mark_ready(s, c);
}

/* ---- lists ---- */

void connset_mark_dirty(struct connset *s, struct conn *c)
{
    if (c->is_dirty)
        return;
    c->is_dirty = true;
    TAILQ_INSERT_TAIL(&s->dirty, c, dirty);
}

void connset_mark_ready(struct connset *s, struct conn *c)
{
    if (c->is_ready)
        return;
    c->is_ready = true;
    TAILQ_INSERT_TAIL(&s->ready, c, ready);
}

void connset_mark_stalled(struct connset *s, struct conn *c)
{
    if (c->is_stalled)
        return;
    c->is_stalled = true;
    TAILQ_INSERT_TAIL(&s->stalled, c, stalled);
}

void connset_mark_waiting(struct connset *s, struct conn *c, bool waits)
{
    if (c->is_waiting == waits)
        return;
    c->is_waiting = waits;
    if (waits)
        TAILQ_INSERT_TAIL(&s->waiting, c, waiting);
    else
        TAILQ_REMOVE(&s->waiting, c, waiting);
}

void connset_mark_heavy(struct connset *s, struct conn *c, bool heavy)
{
    bool subscriber = c->client.subscriber != NULL;

    if (c->is_heavy == heavy && (!heavy || c->is_heavy_subscriber == subscriber))
        return;
    if (c->is_heavy)
        TAILQ_REMOVE(&s->heavy[c->is_heavy_subscriber], c, heavy);
    c->is_heavy = heavy;
    c->is_heavy_subscriber = subscriber;
    c->soft_since_ms = s->engine->now_ms;
    if (heavy)
        TAILQ_INSERT_TAIL(&s->heavy[subscriber], c, heavy);
}

void connset_touch(struct connset *s, struct conn *c)
{
    if (TAILQ_NEXT(c, by_activity) == NULL)
        return;
    TAILQ_REMOVE(&s->by_activity, c, by_activity);
    TAILQ_INSERT_TAIL(&s->by_activity, c, by_activity);
}

void connset_forget(struct connset *s, struct conn *c)
{
    TAILQ_REMOVE(&s->by_activity, c, by_activity);
    if (c->is_dirty)
        TAILQ_REMOVE(&s->dirty, c, dirty);
    if (c->is_ready)
        TAILQ_REMOVE(&s->ready, c, ready);
    if (c->is_stalled)
        TAILQ_REMOVE(&s->stalled, c, stalled);
    connset_mark_waiting(s, c, false);
    connset_mark_heavy(s, c, false);
    s->n--;
}

/* ---- beginning and end ---- */

int connset_init(struct connset *s, struct engine *engine, struct loop *loop, struct logger *logger,
                 struct err *e)
{
    int rc;

    memset(s, 0, sizeof *s);
    s->engine = engine;
    s->loop = loop;
    s->logger = logger;
    s->timer_at_ms = UINT64_MAX;
    TAILQ_INIT(&s->by_activity);
    TAILQ_INIT(&s->dirty);
    TAILQ_INIT(&s->ready);
    TAILQ_INIT(&s->waiting);
    TAILQ_INIT(&s->stalled);
    TAILQ_INIT(&s->heavy[0]);
    TAILQ_INIT(&s->heavy[1]);
    s->buffer = malloc(CONN_READ_BYTES);
    rc = s->buffer == NULL ? err_set(e, ERR_NOMEM, "read buffer") : resp_args_init(&s->args, e);
    if (rc == OK)
        rc = loop_timer_new(loop, connset_on_again, s, &s->again, e);
    if (rc == OK)
        rc = loop_timer_new(loop, connset_on_time, s, &s->timer, e);
    if (rc != OK)
        connset_fini(s);
    return rc;
}

void connset_fini(struct connset *s)
{
    if (s->buffer == NULL)
        return;
    while (!TAILQ_EMPTY(&s->by_activity))
        conn_close(TAILQ_FIRST(&s->by_activity));
    loop_timer_free(s->again);
    loop_timer_free(s->timer);
    resp_args_fini(&s->args);
    free(s->buffer);
    s->buffer = NULL;
}

void connset_accept(struct connset *s, int fd, bool is_unix, const char *addr, const char *laddr)
{
    struct engine_stats *stats = &s->engine->stats;
    struct conn *c;
    struct err e;

    connset_enter(s);
    if (s->n >= (uint64_t)s->engine->config->maxclients) {
        stats->n_rejected_connections++;
        listener_refuse(fd);
        return;
    }
    if (conn_open(s, fd, is_unix, &c, &e) != OK) {
        logger_write(s->logger, CONFIG_LOG_WARNING, "client %s refused: %s", addr, e.text);
        stats->n_rejected_connections++;
        close(fd);
        return;
    }
    stats->n_connections++;
    s->n++;
    TAILQ_INSERT_TAIL(&s->by_activity, c, by_activity);
    c->client.active_ms = s->engine->now_ms;
    snprintf(c->client.addr, sizeof c->client.addr, "%s", addr);
    snprintf(c->client.laddr, sizeof c->client.laddr, "%s", laddr);
    logger_write(s->logger, CONFIG_LOG_VERBOSE, "client %s connected", addr);
}

void connset_drain(struct connset *s)
{
    struct conn *c;

    s->draining = true;
    connset_enter(s);
    TAILQ_FOREACH(c, &s->by_activity, by_activity)
    connset_mark_dirty(s, c);
}

void connset_fail(struct connset *s, const char *why)
{
    struct conn *c;

    TAILQ_FOREACH(c, &s->by_activity, by_activity)
    {
        if (gate_waits(&c->client.gate) || c->is_stalled)
            conn_fail(c, why);
    }
}
