/* client.h - one connection as the engine sees it: a session, its output and what it waits for.
 *
 * The net layer embeds it in its connection; a test makes one of its own and reads `out`. Belongs to the
 * engine's thread. Replies are written with reply.h. */
#ifndef BROKER_ENGINE_CLIENT_H
#define BROKER_ENGINE_CLIENT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "broker/net/gate.h"
#include "broker/net/outbuf.h"
#include "log/bytes.h"
#include "log/id.h"

struct cold_work; /* engine/cold.c */
struct command;
struct engine;
struct object;
struct subscriber; /* pubsub/pubsub.c */
struct tracker;    /* pubsub/tracking.c */
struct watch;      /* engine/transaction.c */
struct blocked;    /* engine/blocking.c */

enum {
    CLIENT_NAME_MAX = 256,
    CLIENT_MULTI_MAX = 1 << 20 /* queued commands */,
    CLIENT_WATCH_MAX = 1 << 16 /* watched keys */
};

struct client_queued { /* a command between MULTI and EXEC; argv and its bytes are one allocation */
    const struct command *command;
    struct slice *argv;
    size_t argc;
};

struct client {
    struct engine *engine;
    uint64_t id;
    struct client *next, *prev; /* the engine's list of clients */
    struct outbuf out;
    struct gate gate;
    /* what the reply being made must wait for; raised by the command, taken by the engine at its end */
    uint64_t need_written, need_durable;

    int proto; /* 2 or 3 */
    int db;
    bool authenticated;
    bool readonly_flag;
    bool close_after_reply; /* QUIT, protocol error: close once everything has left */
    bool close_now;         /* CLIENT KILL, output limit: close without waiting */
    bool reply_off, reply_skip, reply_skip_next; /* CLIENT REPLY */
    bool no_touch, no_evict;
    bool in_multi, multi_failed, multi_dirty; /* failed: EXECABORT; dirty: a watched key changed */
    bool in_exec;                             /* executing inside EXEC: nothing blocks */
    char *name, *lib_name, *lib_ver;          /* NULL: none */
    char addr[64], laddr[64];                 /* "127.0.0.1:4711", "/path:0" for a Unix socket */
    int fd;                                   /* for CLIENT LIST; -1 in tests */
    uint64_t created_ms, active_ms;           /* the engine's clock */
    const struct command *last_command;
    uint64_t n_commands, bytes_in, bytes_out;
    size_t input_bytes, input_free; /* kept up to date by net, for CLIENT LIST (qbuf, qbuf-free) */

    /* what it is sent unasked: engine/push.c */
    struct outbuf aside; /* until its reply is complete */
    struct client *push_next, **push_at;
    uint64_t push_durable;
    bool over_limit; /* of output, so it lacks messages: to be closed */
    bool reply_kept; /* the reply leaves whatever CLIENT REPLY says: SUBSCRIBE's */

    struct subscriber *subscriber; /* NULL: it subscribes to nothing */
    struct tracker *tracker;       /* NULL: CLIENT TRACKING is off */
    struct tracker *redirected;    /* of those whose invalidations come here; a list */

    struct client_queued *queued;
    size_t n_queued, cap_queued, queued_bytes;
    struct watch *watches; /* keys of WATCH */
    size_t n_watches;
    struct blocked
        *blocked; /* not NULL: waiting in a blocking command; net executes nothing further */
    struct cold_work
        *cold; /* not NULL: its command waits for what is not in memory; the same holds */
    struct cold_work *cold_again; /* while that command runs again: what it waited for */
};

#endif
