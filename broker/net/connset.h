/* connset.h - all connections of a broker, and the rounds in which they are served.
 *
 * A round begins with the first callback that has work (connset_enter), collects the requests of all
 * connections that are ready, and ends with connset_round_end: one batch to the log, one write to each socket.
 * Belongs to the loop's thread. */
#ifndef BROKER_NET_CONNSET_H
#define BROKER_NET_CONNSET_H
#include "broker/net/conn.h"

struct engine;
struct logger;
struct loop;
struct loop_timer;

struct connset {
    struct engine *engine;
    struct loop *loop;
    struct logger *logger;
    struct resp_args args;        /* arguments of the request being executed */
    uint8_t *buffer;              /* CONN_READ_BYTES for reading */
    struct conn_list by_activity; /* all of them, the longest silent first */
    struct conn_list dirty, ready, waiting, stalled;
    struct conn_list
        heavy[2]; /* above the soft limit of output, the longest first: subscribers in [1] */
    size_t n;
    struct loop_timer *again; /* starts a round for those that are ready */
    struct loop_timer *timer; /* the engine's next deadline, or a client's idle time */
    uint64_t timer_at_ms;     /* on the engine's clock; UINT64_MAX: not set */
    bool in_round;
    bool draining; /* the server stops: nothing is read any more */
};

/* Everything is borrowed until connset_fini. Errors: ERR_NOMEM. */
must_check int connset_init(struct connset *s, struct engine *engine, struct loop *loop,
                            struct logger *logger, struct err *e);
void connset_fini(struct connset *s); /* closes all connections */

/* Takes over an accepted socket; a client too many is told and closed. */
void connset_accept(struct connset *s, int fd, bool is_unix, const char *addr, const char *laddr);

/* Work has come: opens a round if none is open. */
void connset_enter(struct connset *s);

/* Executes what is ready, ends the engine's round, and settles every connection concerned. */
void connset_round_end(struct connset *s);

/* The log has moved: opens gates, and lets those go on who waited for it. */
void connset_log_moved(struct connset *s);

/* The engine's host functions: output for a client, or an end of its blocking, by somebody else's command. */
void connset_wake_client(struct connset *s, struct client *client);

/* Stops reading; connections close when what was read is answered. */
void connset_drain(struct connset *s);

/* The log has failed for good: tells those who wait for it. */
void connset_fail(struct connset *s, const char *why);

/* ---- for conn.c ---- */
void connset_mark_dirty(struct connset *s, struct conn *c);
void connset_mark_ready(struct connset *s, struct conn *c);
void connset_mark_stalled(struct connset *s, struct conn *c);
void connset_mark_waiting(struct connset *s, struct conn *c, bool waits);
void connset_mark_heavy(struct connset *s, struct conn *c, bool heavy);
void connset_touch(struct connset *s, struct conn *c);
void connset_forget(struct connset *s, struct conn *c);

#endif
