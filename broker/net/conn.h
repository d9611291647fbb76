/* conn.h - one connection: reads requests, has the engine execute them, writes what the gate lets go.
 *
 * Belongs to the loop's thread. A connection is closed in one place only, conn_settle at the end of a round;
 * everything else marks it. */
#ifndef BROKER_NET_CONN_H
#define BROKER_NET_CONN_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include "broker/engine/client.h"
#include "broker/net/resp.h"

struct connset;
struct loop_watch;

enum {
    CONN_READ_BYTES = 64 << 10,  /* the buffer that connections share for reading */
    CONN_CARRY_MAX = 16 << 10,   /* a longer rest of input is read on where it is */
    CONN_PASS_OUTPUT = 1 << 20,  /* output after which a connection lets others go first */
    CONN_PASS_WRITE = 4 << 20,   /* the same for bytes sent at once */
    CONN_PAUSE_OUTPUT = 64 << 20 /* unsent output at which nothing more is executed for a client */
};

struct conn {
    struct client client; /* must be first: the engine knows only this */
    struct connset *set;
    struct loop_watch *watch;
    struct resp resp;
    uint8_t *in; /* input that is not executed yet; NULL: none */
    size_t in_len, in_cap;
    uint64_t soft_since_ms; /* in the list of those above the soft limit of output, since then */
    bool is_unix;
    bool eof;      /* the client has sent its last byte */
    bool is_heavy; /* in that list, of its class then */
    bool is_heavy_subscriber;
    bool is_dirty;   /* in the set's list of what this round has touched */
    bool is_ready;   /* in the list of those with input to execute in the next round */
    bool is_waiting; /* in the list of those whose gate waits for the log */
    bool is_paused;  /* too much unsent output */
    bool is_stalled; /* in the list of those that wait until the log has caught up */
    TAILQ_ENTRY(conn) by_activity, dirty, ready, waiting, stalled, heavy;
};

TAILQ_HEAD(conn_list, conn);

/* A connection of the accepted socket `fd`, which it takes over on success. Errors: ERR_NOMEM. */
must_check int conn_open(struct connset *set, int fd, bool is_unix, struct conn **out,
                         struct err *e);

/* Leaves the engine and every list, closes the socket, frees. */
void conn_close(struct conn *c);

/* Executes the input that has been kept, as far as that is possible. */
void conn_run_kept(struct conn *c);

/* The end of a round, or news from the log: sends what may leave, then closes the connection if it is at its
 * end (`c` is gone then), or decides what it waits for. */
void conn_settle(struct conn *c, uint64_t released, uint64_t durable);

/* The log has failed: drops the replies that it holds back, says why, and sends once what the socket takes. */
void conn_fail(struct conn *c, const char *text);

/* Whether there is something left to do before a stopping server may close it. */
bool conn_is_busy(const struct conn *c);

#endif
