/*
 * engine.c - the one order in which everything happens.
 *
 * A request is looked up, checked (arity, authentication, a transaction that is open, a full disk), room for
 * its effects is made in the log, and its handler runs. The handler reads the state, decides, appends records
 * and applies them; it replies into the client's output. Then the reply is marked at the gate with what it
 * has to wait for:
 *
 *   written   the last LSN there is: whoever saw the state may have seen all of it
 *   durable   always-class effects that the reply tells of: an object's own for a hit, the last removal of a name
 *             for a miss, all of them for a look at the whole keyspace, its own for a write
 *
 * Time is read once a round. The clock is hybrid, milliseconds << 16 | counter: a round is later than the one
 * before even if the wall clock stands still or goes back. A key expires for readers by that clock at once; it
 * leaves the state by a record only, when a command writes it or when the wheel of expiries comes to it.
 *
 * What may take long is done in slices at the end of a round: expiry, giving memory back, resizing tables,
 * the digest. engine_next_deadline_ms asks for another round while something is left.
 *
 *   E1  The clock never goes back, within a process or across a restart.
 *   E2  Between two log_commits lie whole commands; an EXEC is one command.
 *   E3  A command has room in the log for all of its records before its first effect.
 *   E4  Nothing in a record comes from engine_random, a hash order or the configuration alone.
 */
#include "broker/engine/engine.h"
#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "broker/cache/cache.h"
#include "broker/cache/evict.h"
#include "broker/cache/lease.h"
#include "broker/cache/changes.h"
#include "broker/engine/blocking.h"
#include "broker/engine/cold.h"
#include "broker/engine/digest.h"
#include "broker/engine/push.h"
#include "broker/engine/reading.h"
#include "broker/engine/redelivery.h"
#include "broker/engine/replay.h"
#include "broker/engine/reply.h"
#include "broker/engine/retention.h"
#include "broker/engine/transaction.h"
#include "broker/pubsub/notify.h"
#include "broker/pubsub/pubsub.h"
#include "broker/pubsub/tracking.h"
#include "log/io.h"
#include "log/record.h"

enum {
    ENGINE_EXPIRE_SLICE = 256,   /* keys that leave in a round */
    ENGINE_EXPIRE_LOOKS = 1024,  /* entries of the wheel that are looked at */
    ENGINE_REAP_SLICE = 3000,    /* entries or objects freed a round: about a millisecond */
    ENGINE_DICT_SLICE = 256,     /* buckets a round */
    ENGINE_DIGEST_SLICE = 20000, /* entries hashed a round */
    ENGINE_RETRY_MS = 100,       /* after expiry found no room in the log */
    ENGINE_RECORD = 64,          /* what a record of the engine's own takes beside the name in it */
    ENGINE_CLOCK_BITS = 16,
    ENGINE_LINE_MAX = 512, /* of what the operator is told */
};

static const uint64_t ENGINE_MS_MAX = (1ull << 48) - 1;

/* ---- life ---- */

/* A lease has ended without a value: who waits for the key may take it. */
static void engine_lease_ended(void *ctx, int db, struct slice key)
{
    struct engine *e = ctx;
    blocking_ready(e->blocking, db, key);
}

int engine_init(struct engine *e, struct config *config, struct io *io,
                const struct engine_host *host, struct err *err)
{
    uint8_t hash_key[16];
    int rc;

    *e = (struct engine){ .config = config, .io = io, .host = *host, .rules_version = 1 };
    if (io->random(io, hash_key, sizeof hash_key) != 0 ||
        io->random(io, e->rng, sizeof e->rng) != 0)
        return err_sys(err, ERR_IO, "read randomness");
    state_init(&e->state, hash_key);
    e->state.now_ms = io->wall_ms(io);
    rc = changes_open(&e->state, config_changes_key(config), err);
    if (rc == OK)
        rc = watching_new(e->state.hash_key, &e->watching, err);
    if (rc == OK)
        rc = pubsub_new(e->state.hash_key, &e->pubsub, err);
    if (rc == OK)
        rc = tracking_new(e->state.hash_key, &e->tracking, err);
    if (rc == OK)
        rc = cold_new(e, &e->cold, err);
    if (rc == OK)
        rc = retention_new(&e->retention, err);
    if (rc == OK)
        rc = redelivery_new(&e->redelivery, err);
    if (rc == OK)
        rc = readings_new(e, &e->readings, err);
    if (rc == OK)
        rc = blocking_new(e, e->state.hash_key, engine_reply_done, &e->blocking, err);
    if (rc == OK)
        rc = leases_new(e->state.hash_key, engine_lease_ended, e, &e->leases, err);
    if (rc == OK)
        rc = evict_new(&e->evict, err);
    if (rc != OK)
        engine_fini(e);
    return rc;
}

void engine_stop(struct engine *e)
{
    digest_free(e->state.digest);
    cold_free(e->cold);
    e->state.digest = NULL;
    e->cold = NULL;
}

void engine_fini(struct engine *e)
{
    engine_stop(e);
    retention_free(e->retention);
    redelivery_free(e->redelivery);
    readings_free(e->readings);
    leases_free(e->leases);
    evict_free(e->evict);
    blocking_free(e->blocking);
    watching_free(e->watching);
    pubsub_free(e->pubsub);
    tracking_free(e->tracking);
    changes_close(&e->state);
    state_fini(&e->state);
    e->retention = NULL;
    e->redelivery = NULL;
    e->readings = NULL;
    e->leases = NULL;
    e->evict = NULL;
    e->blocking = NULL;
    e->watching = NULL;
    e->pubsub = NULL;
    e->tracking = NULL;
}

/* E1: later than all before, and no earlier than the wall clock. */
static void engine_advance_clock(struct engine *e)
{
    uint64_t wall_ms = e->io->wall_ms(e->io);

    if (wall_ms > ENGINE_MS_MAX)
        wall_ms = ENGINE_MS_MAX;
    e->clock++;
    if (e->clock < wall_ms << ENGINE_CLOCK_BITS)
        e->clock = wall_ms << ENGINE_CLOCK_BITS;
    e->now_ms = e->clock >> ENGINE_CLOCK_BITS;
    e->state.now_ms = e->now_ms;
}

/* Whether the configuration limits any stream. */
static bool engine_has_limits(const struct config *config)
{
    const struct settings_rules *rules = &config->stream_settings;

    if (config->retention_age_ms != 0 || config->retention_bytes != 0 || config->retention_len != 0)
        return true;
    for (size_t i = 0; i < rules->n; i++)
        if (rules->rules[i].given & RETENTION_TAGS)
            return true;
    return false;
}

/* Whether more would have to be behind the group than the stream has, or less; it is put right. */
static bool engine_fit_group(const struct stream *st, struct group *g)
{
    bool all = id_cmp(g->last_id, st->last_id) >= 0;

    if (all ? g->n_behind == st->n_entries : g->n_behind <= st->n_entries)
        return false;
    g->n_behind = st->n_entries;
    return true;
}

static void engine_complain_of(struct engine *e, const struct stream *st, const struct group *g,
                               const char *what)
{
    engine_complain(e, "group %.*s of stream %.*s: %s; that is put right", (int)g->name.n,
                    (const char *)g->name.p, (int)stream_name(st).n,
                    (const char *)stream_name(st).p, what);
}

/* The group is complete now; what does not fit in it, or does not fit its stream, is put right, which the operator is told. */
static int engine_rebuild_group(struct engine *e, struct stream *st, struct group *g,
                                struct err *err)
{
    char what[ENGINE_LINE_MAX];
    uint64_t n_repaired;
    int rc = group_rebuild(g, &n_repaired, err);

    g->as_of = 0; /* of the start, which is over */
    if (rc != OK)
        return rc;
    snprintf(what, sizeof what, "%" PRIu64 " pending entries did not fit its consumers and options",
             n_repaired);
    if (n_repaired > 0)
        engine_complain_of(e, st, g, what);
    if (engine_fit_group(st, g))
        engine_complain_of(e, st, g, "the number of entries behind it did not fit the stream");
    return OK;
}

static int engine_rebuild_groups(struct engine *e, struct stream *st, struct err *err)
{
    int rc = OK;

    for (size_t i = 0; rc == OK && i < groups_n(stream_groups(st)); i++)
        rc = engine_rebuild_group(e, st, groups_at(stream_groups(st), i), err);
    return rc;
}

struct engine_rebuild {
    struct engine *e;
    struct err *err;
    int rc;
};

static void engine_rebuild_node(void *ctx, struct dict_node *node)
{
    struct engine_rebuild *x = ctx;

    if (x->rc == OK)
        x->rc = engine_rebuild_groups(x->e, state_of_oid_node(node), x->err);
}

static int engine_rebuild(struct engine *e, struct err *err)
{
    struct engine_rebuild x = { e, err, OK };
    uint64_t cursor = 0;

    if (!e->state.has_groups)
        return OK;
    do
        cursor = dict_scan(&e->state.oids, cursor, engine_rebuild_node, &x);
    while (cursor != 0 && x.rc == OK);
    return x.rc;
}

int engine_start(struct engine *e, struct log *log, const struct log_recovery *info,
                 struct err *err)
{
    int rc = replay_end(&e->state, err);

    if (rc == OK)
        rc = engine_rebuild(e, err);
    if (rc != OK)
        return rc;
    e->log = log;
    cold_open(e->cold, log);
    if (info->last_clock > e->clock)
        e->clock = info->last_clock;
    engine_advance_clock(e);
    e->started_ms = e->now_ms;
    e->has_limits = engine_has_limits(e->config);
    retention_walk(e);
    redelivery_walk(e);
    return OK;
}

void engine_client_init(struct engine *e, struct client *c)
{
    *c = (struct client){ .engine = e, .id = ++e->next_client_id, .proto = 2, .fd = -1 };
    outbuf_init(&c->out);
    outbuf_init(&c->aside);
    gate_init(&c->gate);
    c->authenticated = e->config->requirepass == NULL || e->config->requirepass[0] == '\0';
    c->created_ms = e->now_ms;
    c->active_ms = e->now_ms;
    c->next = e->clients;
    if (c->next != NULL)
        c->next->prev = c;
    e->clients = c;
    e->n_clients++;
}

void engine_client_fini(struct engine *e, struct client *c)
{
    blocking_client_gone(e->blocking, c);
    cold_client_gone(c);
    transaction_discard(e, c);
    pubsub_client_gone(e, c);
    tracking_client_gone(e, c);
    push_client_gone(c);
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        e->clients = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    e->n_clients--;
    outbuf_fini(&c->out);
    gate_fini(&c->gate);
    free(c->name);
    free(c->lib_name);
    free(c->lib_ver);
}

struct client *engine_find_client(const struct engine *e, uint64_t id)
{
    for (struct client *at = e->clients; at != NULL; at = at->next)
        if (at->id == id)
            return at;
    return NULL;
}

/* ---- the end of a reply ---- */

static inline void engine_raise(uint64_t *need, uint64_t lsn)
{
    if (*need < lsn)
        *need = lsn;
}

void engine_mark_output(struct engine *e, struct client *c, uint64_t need_written,
                        uint64_t need_durable)
{
    if (need_durable > e->round_durable)
        e->waits_durable = true;
    else if (need_written > e->round_written)
        e->waits_written = true;
    gate_mark(&c->gate, outbuf_end(&c->out), need_written, need_durable);
}

/* The reply from `start` on is complete: it gets its mark, unless the client wants none. */
static void engine_mark(struct engine *e, struct client *c, uint64_t start)
{
    if ((c->reply_off || c->reply_skip) && !c->reply_kept)
        outbuf_truncate(&c->out, start);
    c->reply_kept = false;
    if (outbuf_end(&c->out) != start)
        engine_mark_output(e, c, c->need_written, c->need_durable);
}

/* Where the part of the output begins that has no mark yet. */
static uint64_t engine_marked_end(const struct client *c)
{
    const struct gate *g = &c->gate;
    return g->n > 0 ? g->marks[(g->first + g->n - 1) & (g->cap - 1)].end : g->open_end;
}

void engine_wake(struct engine *e, struct client *c)
{
    if (e->host.wake != NULL)
        e->host.wake(e->host.ctx, c);
}

void engine_reply_part(struct engine *e, struct client *c, uint64_t need_written,
                       uint64_t need_durable)
{
    c->need_written = need_written;
    c->need_durable = need_durable;
    engine_mark(e, c, engine_marked_end(c));
    c->need_written = 0;
    c->need_durable = 0;
}

void engine_reply_done(struct engine *e, struct client *c)
{
    engine_raise(&c->need_written, log_last_lsn(e->log));
    engine_reply_part(e, c, c->need_written, c->need_durable);
    engine_wake(e, c);
}

void engine_reply_over(struct client *c)
{
    c->reply_skip = c->reply_skip_next;
    c->reply_skip_next = false;
}

/* ---- executing ---- */

size_t engine_bound(const struct command *command, const struct slice *argv, size_t argc)
{
    size_t bytes = ENGINE_RESERVE + ENGINE_RESERVE_ARG * argc;
    int last = command->last_key < 0 ? (int)argc + command->last_key : command->last_key;

    for (size_t i = 0; i < argc; i++)
        bytes += argv[i].n;
    for (int i = command->first_key; i > 0 && i <= last && (size_t)i < argc; i += command->key_step)
        bytes += argv[i].n + ENGINE_RESERVE_KEY; /* of a record that says that it is gone */
    if (command->bound != NULL)
        bytes += command->bound(argv, argc);
    return bytes;
}

bool engine_reserve(struct engine *e, struct client *c, size_t bytes)
{
    struct err err; /* filled on failure only: it is large */
    int rc = log_reserve(e->log, bytes, &err);

    if (rc == ERR_TOO_BIG && log_open_bytes(e->log) > 0 && !e->executing_multi) {
        log_commit(e->log, false); /* E2: what is open are whole commands */
        rc = log_reserve(e->log, bytes, &err);
    }
    if (rc == ERR_TOO_BIG)
        reply_error(
            c, "ERR the request may need %zu bytes of log, more than max-batch-bytes (%" PRIu64 ")",
            bytes, e->config->max_batch_bytes);
    else if (rc == ERR_FULL)
        reply_error(c, "DISKFULL no room left on disk: %s", err.text);
    else if (rc == ERR_NOMEM)
        reply_error(c, "OOM not enough memory for the request");
    else if (rc != OK)
        reply_error(c, "IOERR the log failed: %s", err.text);
    return rc == OK;
}

bool engine_reserve_more(struct engine *e, struct client *c, size_t bytes)
{
    if (!engine_reserve(e, c, e->promised + bytes))
        return false;
    e->promised += bytes;
    return true;
}

void engine_call(struct engine *e, struct client *c, const struct command *command,
                 const struct slice *argv, size_t argc)
{
    uint64_t start = outbuf_end(&c->out);

    c->n_commands++;
    c->last_command = command;
    e->stats.n_commands++;
    if (!changes_refuse(e, c, command, argv, argc))
        command->handler(e, c, argv, argc);
    if (c->tracker != NULL)
        tracking_remember(e, c, command, argv, argc);
    if (reply_is_error_at(c, start))
        e->stats.n_errors++;
}

/* A request is refused before it ran: an open transaction cannot succeed any more. */
static void engine_refused(struct engine *e, struct client *c)
{
    e->stats.n_errors++;
    if (c->in_multi)
        c->multi_failed = true;
}

/* Refuses what was asked for; an EXEC names the reason in an error of its own. */
static void engine_refuse(struct engine *e, struct client *c, const struct command *command,
                          const char *code, const char *why)
{
    char text[128];

    snprintf(text, sizeof text, "%s %s", code, why);
    if (command->handler == transaction_exec)
        transaction_refuse(e, c, text);
    else
        reply_error(c, "%s", text);
}

/* In RESP2 a subscriber gets messages where replies would be: only what changes its subscriptions is possible. */
static void engine_refuse_subscribed(struct engine *e, struct client *c,
                                     const struct command *command)
{
    char why[128];

    snprintf(why, sizeof why,
             "Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are "
             "allowed in this context",
             command->name);
    if (command->handler == transaction_exec)
        transaction_refuse(e, c, why);
    else
        reply_error(c, "ERR %s", why);
}

/* The command that argv asks for; NULL after an error reply. */
static const struct command *engine_find(struct engine *e, struct client *c,
                                         const struct slice *argv, size_t argc)
{
    const struct command *command = command_find(argv[0]);

    if (command == NULL) {
        reply_unknown_command(c, argv, argc);
        return NULL;
    }
    if (command->subcommands != NULL && argc > 1) {
        const struct command *container = command;
        command = command_find_sub(container, argv[1]);
        if (command == NULL) {
            reply_unknown_subcommand(c, container, argv[1]);
            return NULL;
        }
    }
    if (command->arity > 0 ? argc == (size_t)command->arity : argc >= (size_t)-command->arity)
        return command;
    if (command->handler == transaction_exec)
        transaction_refuse(e, c, "wrong number of arguments for 'exec' command");
    else
        reply_wrong_arity(c, command);
    return NULL;
}

static bool engine_takes_space(const struct client *c, const struct command *command)
{
    return command_takes_space(command) ||
           (command->handler == transaction_exec && transaction_takes_space(c));
}

/* Inside MULTI that is every command, since waiting for EXEC takes memory too. */
static bool engine_takes_memory(const struct client *c, const struct command *command)
{
    return command->flags & CMD_DENYOOM || (c->in_multi && !(command->flags & CMD_NOW)) ||
           (command->handler == transaction_exec && transaction_takes_memory(c));
}

/* Whether the client may run the command now; false after an error reply. */
static bool engine_allows(struct engine *e, struct client *c, const struct command *command)
{
    if (!c->authenticated && !(command->flags & CMD_NO_AUTH)) {
        engine_refuse(e, c, command, "NOAUTH", "Authentication required.");
        return false;
    }
    if (c->in_multi && (command->flags & CMD_NO_MULTI)) {
        reply_error(c, "ERR Command not allowed inside a transaction");
        return false;
    }
    if (c->subscriber != NULL && c->proto < 3 && !(command->flags & CMD_SUBSCRIBED)) {
        engine_refuse_subscribed(e, c, command);
        return false;
    }
    if (evict_is_full(e) && engine_takes_memory(c, command)) {
        engine_refuse(e, c, command, "OOM", "command not allowed when used memory > 'maxmemory'.");
        return false;
    }
    if (command->flags & CMD_NO_TOUCH_KEYS)
        return true;
    if (e->failed) {
        engine_refuse(e, c, command, "IOERR", "the log failed; the server is going down");
        return false;
    }
    if (engine_takes_space(c, command) && log_is_full(e->log)) {
        engine_refuse(e, c, command, "DISKFULL",
                      "no room left on disk: only what reads or frees space is possible");
        return false;
    }
    return true;
}

/* Between commands: an open batch that has grown large goes to the log. */
static inline void engine_commit_if_large(struct engine *e)
{
    if (log_open_bytes(e->log) > LOG_BATCH_BYTES_SOFT)
        log_commit(e->log, false);
}

static void engine_run(struct engine *e, struct client *c, const struct command *command,
                       const struct slice *argv, size_t argc)
{
    if (command->prefault != NULL && cold_prefault(e, c, command, argv, argc))
        return;
    e->promised = command->flags & CMD_WRITE ? engine_bound(command, argv, argc) : 0;
    if (e->promised > 0 && !engine_reserve(e, c, e->promised)) {
        e->found_key = NULL;
        e->stats.n_errors++;
        return;
    }
    engine_call(e, c, command, argv, argc);
    e->found_key = NULL;
    e->promised = 0;
    if (!(command->flags & CMD_NO_TOUCH_KEYS))
        engine_raise(&c->need_written, log_last_lsn(e->log));
}

/* Messages that the client's command and its consequences have sent wait for what they did, and for what the client did before. */
static void engine_settle_pushes(struct engine *e, const struct client *c, uint64_t always_before)
{
    uint64_t need = c->gate.need_durable;

    if (need < c->need_durable)
        need = c->need_durable;
    if (e->state.highest_always > always_before && need < e->state.highest_always)
        need = e->state.highest_always;
    push_settle(e, need);
}

void engine_execute(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    uint64_t start = outbuf_end(&c->out), always = e->state.highest_always;
    const struct command *command;

    assert(argc >= 1);
    assert(c->blocked == NULL && c->cold == NULL);
    c->need_written = 0;
    c->need_durable = 0;
    c->active_ms = e->now_ms;
    e->current = c;
    command = engine_find(e, c, argv, argc);
    if (command == NULL || !engine_allows(e, c, command))
        engine_refused(e, c);
    else if (c->in_multi && !(command->flags & CMD_NOW))
        transaction_queue(e, c, command, argv, argc);
    else
        engine_run(e, c, command, argv, argc);
    engine_mark(e, c, start);
    if (c->cold == NULL)
        engine_reply_over(c);
    if (c->tracker != NULL && c->cold == NULL)
        tracking_command_over(c, command);
    e->current = NULL;
    changes_signal(e);
    if (blocking_has_ready(e->blocking))
        blocking_serve(e->blocking);
    if (e->pushed != NULL)
        engine_settle_pushes(e, c, always);
    engine_commit_if_large(e);
}

/* ---- rounds ---- */

void engine_round_begin(struct engine *e)
{
    engine_advance_clock(e);
    log_set_clock(e->log, e->clock);
    e->round_written = log_released_lsn(e->log);
    e->round_durable = log_durable_lsn(e->log);
    e->waits_written = false;
    e->waits_durable = false;
    e->failed = log_failure(e->log, NULL) != OK;
    err_ignore(state_prepare_changes(&e->state, STREAM_CHUNK, NULL)); /* cache.c */
    evict_begin(e);
    leases_expire(e->leases, e->now_ms);
    blocking_expire(e->blocking, e->now_ms);
    redelivery_begin(e);
}

/* Removes keys whose time has come, up to a slice of them. */
static bool engine_has_ended(const struct engine *e, const struct object *o)
{
    return object_end_ms(o) != 0 && object_end_ms(o) <= e->now_ms;
}

/* The key leaves, or fields of a hash do. False: there is no room for a record. */
static bool engine_expire_one(struct engine *e, struct object *o)
{
    if (!engine_has_ended(e, o))
        return cache_expire_fields(e, o);
    if (log_reserve(e->log, object_name(o).n + ENGINE_RECORD, NULL) == OK) {
        engine_unname(e, NULL, o, REASON_EXPIRE);
        return true;
    }
    err_ignore(state_watch_expiry(&e->state, o, NULL)); /* else it leaves when it is asked for */
    return false;
}

static void engine_expire(struct engine *e)
{
    size_t looks = ENGINE_EXPIRE_LOOKS;
    struct object *o;

    if (e->failed || e->expire_again_ms > e->now_ms)
        return;
    for (int left = ENGINE_EXPIRE_SLICE; left > 0; left--) {
        o = state_take_expired(&e->state, e->now_ms, &looks);
        if (o == NULL)
            return;
        if (!engine_expire_one(e, o)) {
            e->expire_again_ms = e->now_ms + ENGINE_RETRY_MS;
            return;
        }
        engine_commit_if_large(e);
    }
}

/* What the log's workers need, and what is told them. */
static bool engine_turn_log(struct engine *e)
{
    struct state_left *garbage = &e->state.garbage;

    state_settle_changes(&e->state, log_first_lsn(e->log));
    if (garbage->n > 0)
        log_note_garbage(e->log, garbage->n, garbage->bytes);
    *garbage = (struct state_left){ 0, 0 };
    return log_turn(e->log);
}

void engine_round_end(struct engine *e)
{
    heap_grown(&e->heap);
    uint64_t always = e->state.highest_always;

    engine_expire(e);
    changes_turn(e);
    e->busy = engine_turn_log(e);
    cold_turn(e);
    e->busy |= retention_step(e);
    e->busy |= redelivery_step(e);
    e->busy |= digest_step(e, ENGINE_DIGEST_SLICE);
    changes_signal(e);
    if (blocking_has_ready(e->blocking))
        blocking_serve(e->blocking);
    e->busy |= tracking_round_end(e);
    push_settle_all(e, e->state.highest_always > always ? e->state.highest_always : 0);
    e->busy |= evict_step(e);
    e->busy |= state_reap(&e->state, ENGINE_REAP_SLICE);
    state_step(&e->state, ENGINE_DICT_SLICE);
    log_commit(e->log, e->waits_durable && !e->waits_written);
}

/* When the log wants a round, on the engine's clock. */
static uint64_t engine_next_log_ms(const struct engine *e)
{
    uint64_t at_ns = log_next_turn_ns(e->log), now_ns;

    if (at_ns == UINT64_MAX)
        return UINT64_MAX;
    now_ns = e->io->monotonic_ns(e->io);
    return e->now_ms + (at_ns > now_ns ? (at_ns - now_ns) / 1000000 + 1 : 0);
}

uint64_t engine_next_deadline_ms(const struct engine *e)
{
    uint64_t next = blocking_next_deadline_ms(e->blocking), log_ms, expiry_ms;

    if (e->busy || cold_has_ready(e))
        return e->now_ms;
    if (e->failed)
        return next;
    log_ms = engine_next_log_ms(e);
    if (log_ms < next)
        next = log_ms;
    if (leases_next_ms(e->leases) < next)
        next = leases_next_ms(e->leases);
    if (retention_next_ms(e) < next)
        next = retention_next_ms(e);
    if (redelivery_next_ms(e) < next)
        next = redelivery_next_ms(e);
    expiry_ms = state_next_expiry_ms(&e->state);
    if (expiry_ms < e->expire_again_ms)
        expiry_ms = e->expire_again_ms;
    return expiry_ms < next ? expiry_ms : next;
}

/* ---- for commands ---- */

const struct settings_rule *engine_rule(const struct engine *e, struct stream *st)
{
    const struct settings_rules *rules = &e->config->stream_settings;

    if (rules->n == 0)
        return NULL;
    if (st->rules_version != e->rules_version) {
        st->rule = (uint8_t)settings_rules_find(rules, stream_name(st));
        st->rules_version = e->rules_version;
    }
    return st->rule < rules->n ? &rules->rules[st->rule] : NULL;
}

static uint64_t engine_default(const struct engine *e, enum record_setting tag)
{
    switch (tag) {
    case SETTING_RETENTION_AGE: return (uint64_t)e->config->retention_age_ms;
    case SETTING_RETENTION_BYTES: return e->config->retention_bytes;
    case SETTING_RETENTION_LEN: return (uint64_t)e->config->retention_len;
    case SETTING_CODEC: return (uint64_t)e->config->stream_codec;
    case SETTING_DURABILITY: return (uint64_t)e->config->stream_durability;
    default: return 0; /* RETENTION-ACKED is a matter of streams and patterns */
    }
}

uint64_t engine_setting(const struct engine *e, struct stream *st, enum record_setting tag,
                        enum engine_origin *origin)
{
    const struct stream_settings *own = stream_settings(st);
    const struct settings_rule *rule;
    enum engine_origin ignored;

    if (origin == NULL)
        origin = &ignored;
    *origin = ENGINE_OF_STREAM;
    if (own->set >> tag & 1)
        return own->values[tag];
    rule = engine_rule(e, st);
    *origin = ENGINE_OF_PATTERN;
    if (rule != NULL && rule->given >> tag & 1)
        return rule->values[tag];
    *origin = ENGINE_OF_CONFIG;
    return engine_default(e, tag);
}

void engine_config_changed(struct engine *e, const char *key)
{
    bool rules = strcmp(key, "stream-settings") == 0;

    if (rules && ++e->rules_version == 0)
        e->rules_version = 1;
    if (rules || strncmp(key, "retention-", 10) == 0) {
        e->has_limits = engine_has_limits(e->config);
        retention_walk(e);
    }
    if (strncmp(key, "maxmemory", 9) == 0 || strncmp(key, "lfu-", 4) == 0)
        evict_reconsider(e);
    changes_config_changed(e, key);
    if (strcmp(key, "cache-bytes") == 0)
        log_set_cache_bytes(e->log, e->config->cache_bytes);
    if (e->host.config_changed != NULL)
        e->host.config_changed(e->host.ctx, key);
}

static enum log_class engine_class(const struct engine *e, struct object *o)
{
    assert(o->type == OBJECT_STREAM);
    return (enum log_class)engine_setting(e, stream_of(o), SETTING_DURABILITY, NULL);
}

uint8_t *engine_append(struct engine *e, struct client *c, uint8_t type, enum log_class class,
                       size_t len, uint64_t *out_lsn)
{
    uint8_t *body = log_append(e->log, type, class, len, out_lsn);

    if (class == LOG_ALWAYS) {
        e->state.highest_always = *out_lsn;
        if (c != NULL)
            engine_raise(&c->need_durable, *out_lsn);
    }
    if (c != NULL)
        engine_raise(&c->need_written, *out_lsn);
    return body;
}

uint8_t *engine_append_to(struct engine *e, struct client *c, struct object *o, uint8_t type,
                          size_t len, uint64_t *out_lsn)
{
    enum log_class class = engine_class(e, o);
    uint8_t *body = engine_append(e, c, type, class, len, out_lsn);

    if (class == LOG_ALWAYS)
        stream_of(o)->always_lsn = *out_lsn;
    return body;
}

void engine_add_stream(struct engine *e, struct client *c, struct stream *st, int db,
                       struct slice name)
{
    size_t len = varint_size((uint64_t)db) + slice_size(name);
    uint64_t lsn;
    uint8_t *p = engine_append_to(e, c, &st->object, RECORD_STREAM, len, &lsn);

    slice_put(varint_put(p, (uint64_t)db), name);
    state_add_stream(&e->state, st, lsn, db);
    notify(e, NOTIFY_NEW, "new", db, name);
}

bool engine_next_id(const struct engine *e, struct id last, struct id *out)
{
    if (last.ms < e->now_ms) {
        *out = (struct id){ e->now_ms, 0 };
        return true;
    }
    *out = last;
    return id_next(out);
}

void engine_add_entry(struct engine *e, struct client *c, struct stream *st, struct id id,
                      struct slice body)
{
    size_t len = varint_size(st->oid) + id_size(id) + body.n;
    uint64_t lsn;
    uint8_t *p = engine_append_to(e, c, &st->object, RECORD_ENTRY, len, &lsn), *entry;

    entry = varint_put(p, st->oid);
    memcpy(id_put(entry, id), body.p, body.n);
    state_add_entry(&e->state, st, id, entry, id_size(id) + body.n, lsn);
}

struct object *engine_find_key(const struct engine *e, int db, struct slice key)
{
    struct object *o = state_find(&e->state, db, key);
    return o != NULL ? o : changes_find(&e->state, db, key);
}

/* What the key is, by what cold_prefault has found if this is the command's first look at it. */
static inline struct object *engine_take_found(struct engine *e, int db, struct slice key)
{
    bool found = e->found_key != NULL && e->found_key == key.p;

    e->found_key = NULL;
    return found ? e->found : engine_find_key(e, db, key);
}

/* A value's revision may be a record of a weaker class, written after cache-durability was lowered; nobody would sync that. What
 * was an effect of the class `always` is no newer than the last of all. */
static void engine_raise_always(const struct engine *e, struct client *c, const struct object *o)
{
    uint64_t lsn = object_always_lsn(o);

    engine_raise(&c->need_durable, lsn < e->state.highest_always ? lsn : e->state.highest_always);
}

struct object *engine_peek(struct engine *e, struct client *c, struct slice key)
{
    struct object *o = engine_take_found(e, c->db, key);

    if (o != NULL)
        engine_raise_always(e, c, o); /* that it expires too is told by a record */
    if (o != NULL && !engine_is_expired(e, o)) {
        e->stats.keyspace_hits++;
        return o;
    }
    engine_raise(&c->need_durable, e->state.last_always_unbind);
    e->stats.keyspace_misses++;
    if (!e->asking)
        notify(e, NOTIFY_MISS, "keymiss", c->db, key);
    return NULL;
}

struct object *engine_lookup(struct engine *e, struct client *c, struct slice key)
{
    struct object *o = engine_peek(e, c, key);

    if (o != NULL && !c->no_touch)
        evict_touch(e, o);
    return o;
}

/* A stream of changes is refused before a command writes, but shows itself to one that has just removed the key that hid it and
 * names it again. To that there is no key. */
static bool engine_is_uncovered(const struct engine *e, const struct client *c,
                                const struct object *o)
{
    return o->type == OBJECT_STREAM && changes_view(stream_of(o)) != NULL && !e->asking &&
           c->last_command != NULL && !(c->last_command->flags & CMD_OF_GROUPS);
}

struct object *engine_lookup_write(struct engine *e, struct client *c, struct slice key)
{
    struct object *o = engine_take_found(e, c->db, key);

    if (o == NULL || engine_is_uncovered(e, c, o)) {
        engine_raise(&c->need_durable, e->state.last_always_unbind);
        return NULL;
    }
    engine_raise_always(e, c, o);
    if (!engine_is_expired(e, o)) {
        if (!c->no_touch)
            evict_touch(e, o);
        return o;
    }
    engine_unname(e, c, o, REASON_EXPIRE);
    return NULL;
}

/* Tells those who watch the key, wait for it or have cached it. */
static void engine_key_touched(struct engine *e, int db, struct slice key)
{
    if (e->n_trackers > 0)
        tracking_key_changed(e, key);
    transaction_key_changed(e, db, key);
    blocking_ready(e->blocking, db, key);
}

/* A stream loses its name by a record. */
static void engine_unname_stream(struct engine *e, struct client *c, struct object *o,
                                 unsigned reason)
{
    int db = state_db_of(&e->state, o);
    size_t len = varint_size((uint64_t)db) + slice_size(object_name(o)) + 1 + varint_size(o->rev);
    enum log_class class = engine_class(e, o);
    uint64_t lsn;
    uint8_t *p = engine_append(e, c, RECORD_UNNAME, class, len, &lsn);

    p = slice_put(varint_put(p, (uint64_t)db), object_name(o));
    *p++ = (uint8_t)reason;
    varint_put(p, o->rev);
    if (class == LOG_ALWAYS)
        e->state.last_always_unbind = lsn;
    state_unbind(&e->state, o); /* its memory stays until the round's end */
}

void engine_unname(struct engine *e, struct client *c, struct object *o, unsigned reason)
{
    int db = state_db_of(&e->state, o);
    struct slice name = object_name(o);

    if (object_is_value(o))
        name = cache_delete(e, c, o, reason);
    else
        engine_unname_stream(e, c, o, reason);
    if (reason == REASON_EXPIRE)
        e->stats.n_expired_keys++;
    else
        lease_end(e->leases, db, name);
    engine_key_touched(e, db, name);
    if (reason == REASON_EXPIRE)
        notify(e, NOTIFY_EXPIRED, "expired", db, name);
}

static int engine_bind_stream(struct engine *e, struct client *c, struct object *o, int db,
                              struct slice name, uint64_t expiry_ms, struct err *err)
{
    size_t len = varint_size((uint64_t)db) + slice_size(name) + varint_size(stream_of(o)->oid) +
                 varint_size(expiry_ms);
    bool renamed = db != state_db_of(&e->state, o) || !slice_equal(name, object_name(o));
    struct stream *st = stream_of(o);
    uint64_t lsn = log_last_lsn(e->log) + 1; /* what the record will get */
    uint8_t *p;
    int rc = state_bind(&e->state, o, db, name, expiry_ms, lsn, err);

    if (rc != OK)
        return rc;
    if (renamed)
        st->rules_version = 0; /* another pattern may match */
    p = engine_append_to(e, c, o, RECORD_NAME, len, &lsn);
    assert(lsn == o->rev);
    p = slice_put(varint_put(p, (uint64_t)db), name);
    varint_put(varint_put(p, st->oid), expiry_ms);
    if (renamed && st->always_lsn == lsn)
        e->state.last_always_unbind = lsn; /* the former name, and whoever had the new one */
    if (renamed)
        retention_changed(e, st);
    return OK;
}

int engine_bind(struct engine *e, struct client *c, struct object *o, int db, struct slice name,
                uint64_t expiry_ms, struct err *err)
{
    if (!object_is_value(o))
        return engine_bind_stream(e, c, o, db, name, expiry_ms, err);
    assert(expiry_ms == o->expiry_ms); /* cache_set_expiry changes it */
    return cache_rename(e, c, o, db, name, err);
}

/* The strongest class that something may have. */
static enum log_class engine_strongest_class(const struct engine *e)
{
    const struct settings_rules *rules = &e->config->stream_settings;
    uint64_t class = (uint64_t)e->config->stream_durability;

    if ((uint64_t)e->config->cache_durability > class)
        class = (uint64_t)e->config->cache_durability;
    for (size_t i = 0; i < rules->n; i++)
        if (rules->rules[i].given >> SETTING_DURABILITY & 1 &&
            rules->rules[i].values[SETTING_DURABILITY] > class)
            class = rules->rules[i].values[SETTING_DURABILITY];
    return e->state.own_always ? LOG_ALWAYS : (enum log_class) class;
}

void engine_flush(struct engine *e, struct client *c, int db)
{
    enum log_class class = engine_strongest_class(e);

    cache_flush(e, c, class, db);
    if (class == LOG_ALWAYS)
        e->state.last_always_unbind = log_last_lsn(e->log);
    tracking_flushed(e);
    transaction_flush(e, db);
    state_flush(&e->state, db);
    lease_end_all(e->leases, db);
    blocking_ready_all(e->blocking, db);
}

void engine_swap(struct engine *e, struct client *c, int a, int b)
{
    enum log_class class = engine_strongest_class(e);
    const int both[] = { a, b };

    if (a == b)
        return;
    cache_swap(e, c, class, a, b);
    if (class == LOG_ALWAYS)
        e->state.last_always_unbind = log_last_lsn(e->log);
    tracking_flushed(e); /* any name may stand for something else now */
    transaction_swap(e, a, b);
    state_swap(&e->state, a, b);
    for (int i = 0; i < 2; i++) {
        lease_end_all(e->leases, both[i]);
        blocking_ready_all(e->blocking, both[i]);
    }
}

void engine_key_changed(struct engine *e, int db, struct slice key)
{
    lease_end(e->leases, db, key);
    engine_key_touched(e, db, key);
}

void engine_need_all(struct engine *e, struct client *c)
{
    engine_raise(&c->need_durable, e->state.highest_always);
}

void engine_complain(struct engine *e, const char *format, ...)
{
    char text[ENGINE_LINE_MAX];
    va_list args;

    if (e->host.complain == NULL)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    e->host.complain(e->host.ctx, text);
}

/* splitmix64, by Sebastiano Vigna (https://prng.di.unimi.it/splitmix64.c), on the first word. */
uint64_t engine_random(struct engine *e)
{
    uint64_t z = e->rng[0] += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (z ^ z >> 31) + e->rng[1];
}
