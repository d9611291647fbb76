/* loop.h - waits for sockets, time, signals and other threads, and calls who is concerned.
 *
 * The one module that knows libevent. Everything here belongs to the thread that calls loop_run, but for
 * loop_wake. Callbacks may call everything here, loop_stop included; a watch may be freed inside its own
 * callback. */
#ifndef BROKER_NET_LOOP_H
#define BROKER_NET_LOOP_H
#include <stdbool.h>
#include <stdint.h>
#include "log/err.h"

struct loop;
struct loop_watch; /* one descriptor */
struct loop_timer;

typedef void loop_fn(void *ctx);

struct loop_options {
    loop_fn
        *on_round_end; /* once after the callbacks that called loop_round, before the next wait */
    loop_fn *on_wake;  /* loop_wake has been called since the last on_wake began */
    void *ctx;
};

/* Errors: ERR_NOMEM, ERR_IO. */
must_check int loop_new(const struct loop_options *options, struct loop **out, struct err *e);

/* Frees the loop; its watches and timers have been freed before. NULL is fine. */
void loop_free(struct loop *l);

/* Serves until loop_stop. Errors: ERR_IO. */
must_check int loop_run(struct loop *l, struct err *e);
void loop_stop(struct loop *l);

/* Asks for on_round_end at the end of this round; any number of times. */
void loop_round(struct loop *l);

/* Any thread, any time until loop_free: on_wake will be called. */
void loop_wake(struct loop *l);

/* Calls `on_signal` in the loop when the process gets that signal. One loop in a process may do that. */
must_check int loop_on_signal(struct loop *l, int number, loop_fn *on_signal, void *ctx,
                              struct err *e);

/* Watches `fd`, borrowed, for nothing yet; the functions may be NULL. Errors: ERR_NOMEM. */
must_check int loop_watch_new(struct loop *l, int fd, loop_fn *on_readable, loop_fn *on_writable,
                              void *ctx, struct loop_watch **out, struct err *e);
void loop_watch_free(struct loop_watch *w);

/* Whether on_readable (on_writable) is wanted. Errors of the system are taken as readiness: the call that
 * follows will show them. */
void loop_watch_read(struct loop_watch *w, bool on);
void loop_watch_write(struct loop_watch *w, bool on);

/* A timer that is not set. Errors: ERR_NOMEM. */
must_check int loop_timer_new(struct loop *l, loop_fn *on_time, void *ctx, struct loop_timer **out,
                              struct err *e);
void loop_timer_free(struct loop_timer *t);
void loop_timer_set(struct loop_timer *t,
                    uint64_t in_ms); /* replaces an earlier setting; 0: the next turn */
void loop_timer_clear(struct loop_timer *t);

#endif
