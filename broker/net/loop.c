/*
 * loop.c - libevent, and how a round begins and ends.
 *
 * A turn of the loop waits once and then calls back for each ready descriptor. What those callbacks did
 * belongs together: it becomes one batch of the log and one write to each socket. So the first callback
 * that calls loop_round activates an event without descriptor; it is of the same priority as all others,
 * hence queued behind those that are ready already, and runs when they have run. An event of lower priority
 * would make libevent wait (and ask the kernel) twice for each round.
 *
 * Other threads make themselves heard through an eventfd. It is watched edge-triggered and so never needs
 * to be read; `waking` saves the write(2) when one is under way already.
 */
#include "broker/net/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { LOOP_SIGNALS_MAX = 4 };

struct loop_signal {
    struct event event;
    loop_fn *fn;
    void *ctx;
};

struct loop {
    struct loop_options options;
    struct event_base *base;
    struct event round;
    bool in_round;
    struct event wake;
    int wake_fd;
    atomic_bool waking;
    struct loop_signal signals[LOOP_SIGNALS_MAX];
    int n_signals;
};

struct loop_watch {
    struct event read, write;
    loop_fn *on_readable, *on_writable;
    void *ctx;
    bool reading, writing;
};

struct loop_timer {
    struct event event;
    loop_fn *fn;
    void *ctx;
};

static void loop_on_round(evutil_socket_t fd, short what, void *ctx)
{
    struct loop *l = ctx;

    (void)fd, (void)what;
    l->in_round = false; /* what on_round_end leaves undone may ask for another one */
    l->options.on_round_end(l->options.ctx);
}

static void loop_on_wake(evutil_socket_t fd, short what, void *ctx)
{
    struct loop *l = ctx;

    (void)fd, (void)what;
    atomic_store(&l->waking, false);
    l->options.on_wake(l->options.ctx);
}

static int loop_open(struct loop *l, struct err *e)
{
    struct event_config *config = event_config_new();

    if (config == NULL)
        return err_set(e, ERR_NOMEM, "event loop");
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    l->base = event_base_new_with_config(config);
    event_config_free(config);
    if (l->base == NULL)
        return err_set(e, ERR_IO, "event loop: libevent found no way to wait for descriptors");
    l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (l->wake_fd < 0)
        return err_sys(e, ERR_IO, "eventfd");
    event_assign(&l->round, l->base, -1, 0, loop_on_round, l);
    event_assign(&l->wake, l->base, l->wake_fd, EV_READ | EV_PERSIST | EV_ET, loop_on_wake, l);
    if (event_add(&l->wake, NULL) != 0)
        return err_set(e, ERR_IO, "event loop: cannot watch the eventfd");
    return OK;
}

int loop_new(const struct loop_options *options, struct loop **out, struct err *e)
{
    struct loop *l = calloc(1, sizeof *l);
    int rc;

    if (l == NULL)
        return err_set(e, ERR_NOMEM, "event loop");
    l->options = *options;
    l->wake_fd = -1;
    atomic_init(&l->waking, false);
    rc = loop_open(l, e);
    if (rc != OK) {
        loop_free(l);
        return rc;
    }
    *out = l;
    return OK;
}

void loop_free(struct loop *l)
{
    if (l == NULL)
        return;
    for (int i = 0; i < l->n_signals; i++)
        event_del(&l->signals[i].event);
    if (l->base != NULL) {
        if (event_initialized(&l->wake))
            event_del(&l->wake);
        if (event_initialized(&l->round))
            event_del(&l->round);
        event_base_free(l->base);
    }
    if (l->wake_fd >= 0)
        close(l->wake_fd);
    free(l);
}

int loop_run(struct loop *l, struct err *e)
{
    if (event_base_dispatch(l->base) < 0)
        return err_sys(e, ERR_IO, "event loop");
    return OK;
}

void loop_stop(struct loop *l)
{
    event_base_loopbreak(l->base);
}

void loop_round(struct loop *l)
{
    if (l->in_round)
        return;
    l->in_round = true;
    event_active(&l->round, EV_READ, 0);
}

void loop_wake(struct loop *l)
{
    const uint64_t one = 1;
    ssize_t n;

    if (atomic_exchange(&l->waking, true))
        return;
    n = write(l->wake_fd, &one, sizeof one);
    (void)n; /* it can only fail when the counter is full, and then the loop is awake */
}

static void loop_on_signal_event(evutil_socket_t fd, short what, void *ctx)
{
    struct loop_signal *s = ctx;

    (void)fd, (void)what;
    s->fn(s->ctx);
}

int loop_on_signal(struct loop *l, int number, loop_fn *on_signal, void *ctx, struct err *e)
{
    struct loop_signal *s = &l->signals[l->n_signals];

    if (l->n_signals == LOOP_SIGNALS_MAX)
        return err_set(e, ERR_FULL, "event loop: no room for signal %d", number);
    s->fn = on_signal;
    s->ctx = ctx;
    event_assign(&s->event, l->base, number, EV_SIGNAL | EV_PERSIST, loop_on_signal_event, s);
    if (event_add(&s->event, NULL) != 0)
        return err_set(e, ERR_IO, "event loop: cannot catch signal %d", number);
    l->n_signals++;
    return OK;
}

/* ---- descriptors ---- */

static void loop_on_readable(evutil_socket_t fd, short what, void *ctx)
{
    struct loop_watch *w = ctx;

    (void)fd, (void)what;
    w->on_readable(w->ctx);
}

static void loop_on_writable(evutil_socket_t fd, short what, void *ctx)
{
    struct loop_watch *w = ctx;

    (void)fd, (void)what;
    w->on_writable(w->ctx);
}

int loop_watch_new(struct loop *l, int fd, loop_fn *on_readable, loop_fn *on_writable, void *ctx,
                   struct loop_watch **out, struct err *e)
{
    struct loop_watch *w = calloc(1, sizeof *w);

    if (w == NULL)
        return err_set(e, ERR_NOMEM, "watch of a descriptor");
    w->on_readable = on_readable;
    w->on_writable = on_writable;
    w->ctx = ctx;
    event_assign(&w->read, l->base, fd, EV_READ | EV_PERSIST, loop_on_readable, w);
    event_assign(&w->write, l->base, fd, EV_WRITE | EV_PERSIST, loop_on_writable, w);
    *out = w;
    return OK;
}

void loop_watch_free(struct loop_watch *w)
{
    if (w == NULL)
        return;
    event_del(&w->read);
    event_del(&w->write);
    free(w);
}

static void loop_switch(struct event *event, bool *state, bool on)
{
    if (*state == on)
        return;
    if ((on ? event_add(event, NULL) : event_del(event)) == 0)
        *state = on;
}

void loop_watch_read(struct loop_watch *w, bool on)
{
    loop_switch(&w->read, &w->reading, on);
}

void loop_watch_write(struct loop_watch *w, bool on)
{
    loop_switch(&w->write, &w->writing, on);
}

/* ---- time ---- */

static void loop_on_timer(evutil_socket_t fd, short what, void *ctx)
{
    struct loop_timer *t = ctx;

    (void)fd, (void)what;
    t->fn(t->ctx);
}

int loop_timer_new(struct loop *l, loop_fn *on_time, void *ctx, struct loop_timer **out,
                   struct err *e)
{
    struct loop_timer *t = calloc(1, sizeof *t);

    if (t == NULL)
        return err_set(e, ERR_NOMEM, "timer");
    t->fn = on_time;
    t->ctx = ctx;
    evtimer_assign(&t->event, l->base, loop_on_timer, t);
    *out = t;
    return OK;
}

void loop_timer_free(struct loop_timer *t)
{
    if (t == NULL)
        return;
    evtimer_del(&t->event);
    free(t);
}

void loop_timer_set(struct loop_timer *t, uint64_t in_ms)
{
    const struct timeval tv = { .tv_sec = (time_t)(in_ms / 1000),
                                .tv_usec = (suseconds_t)(in_ms % 1000 * 1000) };

    evtimer_add(&t->event, &tv);
}

void loop_timer_clear(struct loop_timer *t)
{
    evtimer_del(&t->event);
}
