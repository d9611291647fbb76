/* blocking.h - clients that wait for keys: who waits for which, in what order, and until when.
 *
 * A command that finds nothing to reply with leaves its client here, with a callback that tries again.
 * A change of a key only marks it ready (blocking_ready, cheap when nobody waits); after the command,
 * or after the whole EXEC, blocking_serve lets the waiters of the ready keys try, first come first
 * served. A waiter that still finds nothing keeps its place and its deadline. */
#ifndef BROKER_ENGINE_BLOCKING_H
#define BROKER_ENGINE_BLOCKING_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/bytes.h"
#include "log/err.h"

struct blocking;
struct client;
struct engine;

/* Tries to reply to `c`, which waits no longer if this returns true; false: nothing was replied. Must not
 * block, unblock or free any client. It may change keys. */
typedef bool blocking_try(struct engine *e, struct client *c, void *ctx);

/* Called when `c` waits no longer (served, timed out, unblocked) and its reply is complete in c->out:
 * the engine marks the gate with c's needs and wakes the host. Not called by blocking_client_gone. */
typedef void blocking_done(struct engine *e, struct client *c);

struct blocking_wait {
    const struct slice
        *keys;            /* borrowed for the call; names in c->db; a name may stand there twice */
    size_t n_keys;        /* 1.. */
    uint64_t deadline_ms; /* of the engine's clock; UINT64_MAX: never */
    blocking_try *serve;
    /* Replies when its time is over or CLIENT UNBLOCK ends it; NULL: a null array. */
    void (*late)(struct engine *e, struct client *c, void *ctx);
    void (*release)(
        void *ctx); /* frees ctx, when `c` waits no longer for whatever reason; may be NULL */
    void *ctx;      /* taken over on success */
};

/* `hash_key` (16 bytes) is borrowed. Errors: ERR_NOMEM. */
must_check int blocking_new(struct engine *e, const uint8_t hash_key[16], blocking_done *done,
                            struct blocking **out, struct err *err);
void blocking_free(struct blocking *b); /* nobody must be waiting; NULL is fine */

/* `c` waits from now on: c->blocked is set and no reply is made. Errors: ERR_NOMEM; `c` then does not wait,
 * and ctx is still the caller's. */
must_check int blocking_block(struct blocking *b, struct client *c,
                              const struct blocking_wait *wait, struct err *err);

/* The key was created, appended to, bound to another object or removed. Nothing is served yet. */
void blocking_ready(struct blocking *b, int db, struct slice key);

/* Every key of the database (-1: of all) was touched: FLUSHDB, FLUSHALL. */
void blocking_ready_all(struct blocking *b, int db);

/* Serves the waiters of ready keys until no key is ready. Called after each command and after EXEC. */
void blocking_serve(struct blocking *b);

/* The key whose waiters are served: for a blocking_try that may take from that one alone. Borrowed for the try; in c->db. */
struct slice blocking_served_key(const struct blocking *b);

/* Whether blocking_serve would have something to do. */
bool blocking_has_ready(const struct blocking *b);

/* Replies to those whose deadline is at or before now_ms, in order of deadline; returns how many. */
size_t blocking_expire(struct blocking *b, uint64_t now_ms);

/* The earliest deadline; UINT64_MAX if there is none. */
uint64_t blocking_next_deadline_ms(const struct blocking *b);

/* CLIENT UNBLOCK: ends c's wait as a time-out or with -UNBLOCKED. False if it does not wait. */
bool blocking_unblock(struct blocking *b, struct client *c, bool with_error);

/* `c` goes away, or gives up waiting (RESET): no reply, `done` is not called. Fine if it does not wait. */
void blocking_client_gone(struct blocking *b, struct client *c);

/* For INFO: clients waiting, keys waited for. */
size_t blocking_n_clients(const struct blocking *b);
size_t blocking_n_keys(const struct blocking *b);

/* Walks everything; NULL, or the name of the first invariant found broken. */
const char *blocking_check(struct blocking *b);

#endif
