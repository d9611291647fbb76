/* engine.h - the one order: executes commands against the state, appends their effects to the log.
 *
 * One thread. It touches no socket and no clock of its own: the host brings requests and the time, and
 * carries output away. A round is what happens between engine_round_begin and engine_round_end: all its
 * records are one batch (more if they grow large), and its replies wait for that batch.
 *
 *     engine_round_begin(e)                          reads the clock once
 *       engine_execute(e, c, argv, argc)   ...       any number, from any client
 *     engine_round_end(e)                            expiry slice, log_commit
 *
 * then the host sends each client's output up to gate_open(&c->gate, log_released_lsn, log_durable_lsn). */
#ifndef BROKER_ENGINE_ENGINE_H
#define BROKER_ENGINE_ENGINE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "broker/config.h"
#include "broker/engine/client.h"
#include "broker/engine/command.h"
#include "broker/engine/heap.h"
#include "broker/engine/save.h"
#include "broker/engine/state.h"
#include "log/err.h"
#include "log/log.h"

struct io;
struct cold;       /* who waits for what is not in memory; engine/cold.c */
struct blocking;   /* who waits for which key; engine/blocking.c */
struct retention;  /* what is to be removed when; engine/retention.c */
struct redelivery; /* what groups do when time passes; engine/redelivery.c */
struct evict;      /* what leaves memory; cache/evict.c */
struct leases;     /* who computes which missing value; cache/lease.c */
struct pubsub;     /* who subscribes to what; pubsub/pubsub.c */
struct tracking;   /* who has cached which key; pubsub/tracking.c */
struct watching;   /* who watches which key; engine/transaction.c */
struct readings;   /* who waits for which group; engine/reading.c */

/* What the engine asks of the layer around it. Every function may be called inside engine_execute; none
 * calls back into the engine. */
struct engine_host {
    void *ctx;
    /* `c` got output, or is no longer blocked, outside an engine_execute of its own. */
    void (*wake)(void *ctx, struct client *c);
    /* SHUTDOWN: stop as on SIGTERM. */
    void (*shutdown)(void *ctx);
    /* A setting changed by CONFIG SET, for what the host holds copies of (maxclients, timeout, log level). */
    void (*config_changed)(void *ctx, const char *key);
    /* Something for the operator to know: a line, without its end. */
    void (*complain)(void *ctx, const char *text);
};

struct engine_stats {
    uint64_t n_commands, n_connections, n_rejected_connections, n_expired_keys, n_errors;
    uint64_t n_unexpected_errors, bytes_in, bytes_out, keyspace_hits, keyspace_misses;
    uint64_t n_evicted_keys, n_spilled_values, n_loaded_values;
    uint64_t n_evicted_clients, n_output_limit_closed, n_query_limit_closed;
};

struct engine {
    struct config *config; /* borrowed */
    struct io *io;         /* borrowed: clock and randomness only */
    struct log *log;       /* borrowed */
    struct engine_host host;
    struct state state;
    struct heap heap;
    struct save save; /* of the checkpoint that is being written */
    uint64_t clock;   /* hybrid, this round's: ms << 16 | counter; never goes back */
    uint64_t now_ms;  /* clock >> 16 */
    uint64_t started_ms;
    uint64_t rng[2]; /* for RANDOMKEY and the like; never in a record's way */
    uint64_t next_client_id;
    struct client *clients; /* list */
    size_t n_clients;
    struct blocking *blocking;
    struct watching *watching;
    struct pubsub *pubsub;
    struct tracking *tracking;
    size_t n_trackers;                 /* clients that track; 0: nothing of it costs anything */
    struct client *current;            /* whose command is being executed, or NULL */
    struct client *pushed, *push_held; /* engine/push.c */
    struct cold *cold;
    struct retention *retention;
    struct readings *readings;
    struct redelivery *redelivery;
    struct leases *leases;
    struct evict *evict;
    bool counts_uses;   /* objects tell how often they were used, not when */
    bool has_limits;    /* the configuration limits some streams, by default or by pattern */
    bool waits_written; /* a reply of this round needs only `written`: no inline sync then */
    bool waits_durable; /* a reply of this round needs `durable` */
    bool asking;        /* a command is asked what it needs: nothing happens */
    const uint8_t *
        found_key; /* the argument of the command that begins which has been looked up already; NULL: none */
    struct object *found; /* what it is */
    bool executing_multi; /* inside EXEC */
    size_t
        promised; /* bytes of the log that the command being executed may use, and those of an EXEC behind it */
    bool failed;              /* the log failed: nothing is executed any more */
    size_t n_digest_waits;    /* clients that wait for BECK DIGEST */
    bool busy;                /* the last round left work behind: run another one soon */
    uint64_t expire_again_ms; /* no expiry before: there was no room to log it */
    uint64_t round_written, round_durable; /* the watermarks when the round began */
    uint16_t rules_version;                /* of the configuration's stream-settings; never 0 */
    uint64_t received_bytes; /* field names and values of entries appended since the start */
    struct engine_stats stats;
};

/* Memory only; log_open is called after it with what host_init gives (engine/host.h), then engine_start.
 * Errors: ERR_NOMEM, ERR_IO (no randomness). */
must_check int engine_init(struct engine *e, struct config *config, struct io *io,
                           const struct engine_host *host, struct err *err);
/* All clients are gone, and no round will come: gives back what is the log's. Then the log is closed, which still asks the
 * engine what it needs (engine/host.h); engine_fini comes last. */
void engine_stop(struct engine *e);
void engine_fini(struct engine *e);

/* The log is open: takes it, sets the clock to no less than last_clock, seals the name table. */
must_check int engine_start(struct engine *e, struct log *log, const struct log_recovery *info,
                            struct err *err);

/* Fills in all of `c`, which joins the list of clients; the host sets addresses and fd afterwards. */
void engine_client_init(struct engine *e, struct client *c);
void engine_client_fini(struct engine *e,
                        struct client *c); /* leaves everything; frees what it holds */

/* The client of that number, or NULL; looks at one after the other. */
struct client *engine_find_client(const struct engine *e, uint64_t id);

void engine_round_begin(struct engine *e);
/* Executes one request; the reply, if it does not block, is in c->out with its mark in c->gate.
 * argc >= 1. Must not be called while c->blocked or c->cold. */
void engine_execute(struct engine *e, struct client *c, const struct slice *argv, size_t argc);
void engine_round_end(struct engine *e);

/* Milliseconds of the engine's clock at which engine_round_begin/end should run next even without
 * requests: blocked clients' time-outs, expiry. UINT64_MAX: never. */
uint64_t engine_next_deadline_ms(const struct engine *e);

/* Ends a reply to `c` that was made outside an engine_execute of its own (a blocked client served): marks it at
 * the gate and wakes the host. A blocking_done. */
void engine_reply_done(struct engine *e, struct client *c);

/* The same for a reply that is made piece by piece: what the output holds behind the last mark needs those watermarks.
 * Then, behind the last piece (or a whole reply), engine_reply_over: what CLIENT REPLY SKIP says is done. */
void engine_reply_part(struct engine *e, struct client *c, uint64_t need_written,
                       uint64_t need_durable);
void engine_reply_over(struct client *c);
/* What the output holds behind the last mark, and was not asked for, needs those watermarks. */
void engine_mark_output(struct engine *e, struct client *c, uint64_t need_written,
                        uint64_t need_durable);
void engine_wake(struct engine *e, struct client *c); /* the host's, if it has one */

/* Tells the operator, in the broker's log. */
void engine_complain(struct engine *e, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- for commands ---- */

/* Adds a record. The caller fills the returned bytes, then calls the matching apply function of state.h.
 * Room for it has been made: the arguments' bytes + ENGINE_RESERVE_ARG each, for keys again their bytes +
 * ENGINE_RESERVE_KEY each, and ENGINE_RESERVE; every record takes its body and 16 bytes of it. Raises c->need_*
 * by the class (c may be NULL: a record of the engine's own). */
enum { ENGINE_RESERVE = 256, ENGINE_RESERVE_ARG = 20, ENGINE_RESERVE_KEY = 96 };
uint8_t *engine_append(struct engine *e, struct client *c, uint8_t type, enum log_class class,
                       size_t len, uint64_t *out_lsn);

/* The same for an effect on an object (a new one as well, right before it is added): the class is that of its
 * type by the configuration, and o->always_lsn is kept. What commands use wherever they have an object. */
uint8_t *engine_append_to(struct engine *e, struct client *c, struct object *o, uint8_t type,
                          size_t len, uint64_t *out_lsn);

/* Makes a reserved stream (state_reserve_stream) the one of that name, by a record; nothing of that name is there. The caller
 * calls engine_key_changed. */
void engine_add_stream(struct engine *e, struct client *c, struct stream *st, int db,
                       struct slice name);

/* The ID that `*` gives in a stream whose last one is `last`; false if there are none left. */
bool engine_next_id(const struct engine *e, struct id last, struct id *out);

/* Appends an entry by a record: its ID, above all others, and `body`, what follows the ID in log/entry.h. Room has been made in
 * the log, ENGINE_RESERVE_ENTRY and the body, and in the stream's tail. The caller calls retention_appended and
 * engine_key_changed. */
enum { ENGINE_RESERVE_ENTRY = 3 * VARINT_MAX + 16 };
void engine_add_entry(struct engine *e, struct client *c, struct stream *st, struct id id,
                      struct slice body);

/* The object of a name, or what shows changes under it; NULL: there is none. Expiry is not looked at. */
struct object *engine_find_key(const struct engine *e, int db, struct slice key);

/* The object of a name as readers see it: NULL if there is none or it has expired. Raises c's needs: what
 * is told, presence or absence, must be safe (design: docs/architecture.md, "The gate"). */
struct object *engine_lookup(struct engine *e, struct client *c, struct slice key);

/* The same for a command that tells of the key without using it: which keys leave memory first does not change. */
struct object *engine_peek(struct engine *e, struct client *c, struct slice key);

/* The same for a command about to write the key: an expired object is removed by a record first. */
struct object *engine_lookup_write(struct engine *e, struct client *c, struct slice key);

/* Deletes a name by a record (REASON_*) and calls engine_key_changed. */
void engine_unname(struct engine *e, struct client *c, struct object *o, unsigned reason);

/* Gives o this name and expiry by a record; an object that has the name is gone. A value keeps its expiry, which
 * cache_set_expiry changes. The caller calls engine_key_changed. Errors: ERR_NOMEM, with nothing changed. */
must_check int engine_bind(struct engine *e, struct client *c, struct object *o, int db,
                           struct slice name, uint64_t expiry_ms, struct err *err);

/* Removes every key of the database (-1: of all) by a record, with all that follows for who watches or waits. */
void engine_flush(struct engine *e, struct client *c, int db);

/* Two databases change places by a record, with all that follows for who watches or waits. */
void engine_swap(struct engine *e, struct client *c, int a, int b);

/* Calls a command's handler, which replies or blocks: for EXEC and for what runs commands of its own. */
void engine_call(struct engine *e, struct client *c, const struct command *command,
                 const struct slice *argv, size_t argc);

/* How many bytes a command with these arguments may add to the log, and making room for so many. The latter
 * replies with an error and returns false where there is none; nothing has happened then. */
size_t engine_bound(const struct command *command, const struct slice *argv, size_t argc);
bool engine_reserve(struct engine *e, struct client *c, size_t bytes);

/* Inside a handler, before its first effect (or in a blocking_try): room for `bytes` beyond what engine_bound said, where only
 * the state tells how much is written. What the commands behind it in an EXEC have been promised stays promised. False
 * after an error reply: the command must not change anything then. */
must_check bool engine_reserve_more(struct engine *e, struct client *c, size_t bytes);

/* How much output the client may let pile up, by its class. */
static inline const struct config_client_limit *engine_output_limit(const struct client *c)
{
    const struct config *config = c->engine->config;
    return c->subscriber != NULL ? &config->output_pubsub : &config->output_normal;
}

/* Whether o has expired by the engine's clock: it is then still in the state, but no reader sees it. */
static inline bool engine_is_expired(const struct engine *e, const struct object *o)
{
    return o->expiry_ms != 0 && o->expiry_ms <= e->now_ms;
}

/* What holds for a stream: its own setting, or that of the first pattern of the configuration that matches its name, or
 * the configuration's. *origin (may be NULL) tells which. */
enum engine_origin { ENGINE_OF_STREAM, ENGINE_OF_PATTERN, ENGINE_OF_CONFIG };
uint64_t engine_setting(const struct engine *e, struct stream *st, enum record_setting tag,
                        enum engine_origin *origin);

/* The pattern that matches the stream's name, or NULL. */
const struct settings_rule *engine_rule(const struct engine *e, struct stream *st);

/* A setting of the configuration has changed. */
void engine_config_changed(struct engine *e, const char *key);

/* 64 random bits; never to decide what a record says. */
uint64_t engine_random(struct engine *e);

/* To be called after each change of a key: marks watchers dirty, wakes readers that block on it, ends its lease. */
void engine_key_changed(struct engine *e, int db, struct slice key);

/* A read over the whole keyspace (DBSIZE, KEYS, SCAN, ...): waits for all always-class effects. */
void engine_need_all(struct engine *e, struct client *c);

#endif
