/*
 * broker.c - puts the parts together, and takes them apart in order.
 *
 * Opening: engine (memory only), log (replays into the engine), engine_start, sockets. Nobody can connect
 * before the state is complete. Running: the loop; see net/connset.c for what a round is. Stopping, by a
 * signal, SHUTDOWN or broker_stop: the listening sockets close, nothing more is read, what was read is
 * executed and answered once the log has it, then the loop ends. A client that does not read its answers
 * delays this by BROKER_STOP_MS at most. Closing syncs the log.
 *
 * If the log fails, nothing that waits for it can ever be acknowledged. The clients concerned are told, and
 * the broker ends at once: what comes after a restart is decided by what the disk really has.
 */
#include "broker/broker.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/engine/engine.h"
#include "broker/engine/host.h"
#include "broker/engine/retention.h"
#include "broker/logger.h"
#include "broker/net/anteroom.h"
#include "broker/net/connset.h"
#include "broker/net/listener.h"
#include "broker/net/loop.h"
#include "log/io.h"
#include "log/log.h"

enum {
    BROKER_STOP_MS = 3000,   /* how long slow readers may delay the end */
    BROKER_ACCEPT_MAX = 256, /* clients taken at once from one socket */
    BROKER_ACCEPT_PAUSE_MS = 100,
    BROKER_LOOK_MS = 1000 /* between two looks at what workers report, if they do not call */
};

struct broker;

struct broker_acceptor {
    struct broker *broker;
    struct listener_socket *socket;
    struct loop_watch *watch;
};

struct broker {
    struct config config;
    struct io io;
    struct logger logger;
    struct engine engine;
    bool engine_ready;
    struct log *log;
    struct loop *loop;
    struct connset conns;
    struct listener listener;
    struct anteroom *anteroom; /* while the store is being loaded */
    struct broker_acceptor acceptors[LISTENER_SOCKETS_MAX];
    struct loop_timer *accept_timer; /* after a pause because the system was short of something */
    struct loop_timer *stop_timer;
    atomic_bool stop_asked;
    bool stopping;
    bool disk_full;   /* as last told */
    uint64_t look_ms; /* when what workers report is looked at again, on the engine's clock */
    uint64_t n_job_errors, n_bad_segments, n_retention_failed; /* as last told */
    struct err failure; /* of the log; OK while there is none */
};

/* ---- accepting ---- */

static void broker_take_client(struct broker *b, const struct listener_socket *s, int fd)
{
    char addr[sizeof((struct client *)0)->addr], laddr[sizeof addr];

    listener_names(&b->listener, fd, s->is_unix, addr, laddr, sizeof addr);
    if (!s->is_unix)
        listener_tune(fd, b->config.tcp_keepalive_s);
    connset_accept(&b->conns, fd, s->is_unix, addr, laddr);
}

static void broker_take_guest(void *ctx, const struct listener_socket *s, int fd)
{
    broker_take_client(ctx, s, fd);
}

static void broker_listen(struct broker *b, bool on)
{
    for (size_t i = 0; i < b->listener.n; i++)
        loop_watch_read(b->acceptors[i].watch, on);
}

static void broker_on_accept_again(void *ctx)
{
    broker_listen(ctx, true);
}

static void broker_on_acceptable(void *ctx)
{
    struct broker_acceptor *a = ctx;
    struct broker *b = a->broker;
    struct err e;
    int fd;

    for (int i = 0; i < BROKER_ACCEPT_MAX; i++) {
        switch (listener_accept(&b->listener, a->socket, &fd, &e)) {
        case LISTENER_ACCEPTED: broker_take_client(b, a->socket, fd); break;
        case LISTENER_NONE: return;
        case LISTENER_REFUSED:
            b->engine.stats.n_rejected_connections++;
            logger_write(&b->logger, CONFIG_LOG_WARNING, "client refused: %s", e.text);
            break;
        case LISTENER_TIRED:
            logger_write(&b->logger, CONFIG_LOG_WARNING, "no clients accepted for %d ms: %s",
                         BROKER_ACCEPT_PAUSE_MS, e.text);
            broker_listen(b, false);
            loop_timer_set(b->accept_timer, BROKER_ACCEPT_PAUSE_MS);
            return;
        }
    }
}

static void broker_close_listener(struct broker *b)
{
    for (size_t i = 0; i < LISTENER_SOCKETS_MAX; i++) {
        loop_watch_free(b->acceptors[i].watch);
        b->acceptors[i].watch = NULL;
    }
    listener_close(&b->listener);
}

/* From now on clients are served, those first who came meanwhile. */
static int broker_open_doors(struct broker *b, struct err *e)
{
    int rc = OK;

    anteroom_close(b->anteroom, broker_take_guest, b);
    b->anteroom = NULL;
    for (size_t i = 0; rc == OK && i < b->listener.n; i++) {
        struct broker_acceptor *a = &b->acceptors[i];
        a->broker = b;
        a->socket = &b->listener.sockets[i];
        rc = loop_watch_new(b->loop, a->socket->fd, broker_on_acceptable, NULL, a, &a->watch, e);
        if (rc == OK)
            loop_watch_read(a->watch, true);
    }
    return rc;
}

/* ---- stopping ---- */

static void broker_on_stop_time(void *ctx)
{
    struct broker *b = ctx;

    logger_write(&b->logger, CONFIG_LOG_WARNING,
                 "%zu clients have not read their answers and are closed", b->conns.n);
    loop_stop(b->loop);
}

static void broker_begin_stop(void *ctx)
{
    struct broker *b = ctx;

    if (b->stopping) { /* asked again: whoever does that does not want to wait */
        loop_stop(b->loop);
        return;
    }
    b->stopping = true;
    logger_write(&b->logger, CONFIG_LOG_NOTICE, "stopping: %zu clients to answer", b->conns.n);
    broker_close_listener(b);
    loop_timer_clear(b->accept_timer);
    loop_timer_set(b->stop_timer, BROKER_STOP_MS);
    connset_drain(&b->conns);
}

void broker_stop(struct broker *b)
{
    atomic_store(&b->stop_asked, true);
    loop_wake(b->loop);
}

/* Tells the operator when the disk becomes full, and when it no longer is. */
static void broker_look_at_disk(struct broker *b)
{
    bool full = log_is_full(b->log);

    if (full == b->disk_full)
        return;
    b->disk_full = full;
    if (full)
        logger_write(&b->logger, CONFIG_LOG_WARNING,
                     "the disk is full: appends are refused until %" PRIu64
                     " bytes are free for %s; reading goes on",
                     2 * b->config.wal_file_bytes, b->config.dir);
    else
        logger_write(&b->logger, CONFIG_LOG_NOTICE,
                     "the disk has room again: appends are accepted");
}

/* Tells the operator what workers have met. Nothing of it stops the broker. */
static void broker_look_at_work(struct broker *b)
{
    struct retention_stats retention;
    struct log_stats log;

    b->look_ms = b->engine.now_ms + BROKER_LOOK_MS;
    log_get_stats(b->log, &log);
    retention_get_stats(&b->engine, &retention);
    if (log.n_job_errors > b->n_job_errors)
        logger_write(&b->logger, CONFIG_LOG_WARNING,
                     "background work failed, and is tried again when there is cause: %s (%" PRIu64
                     " times since the start)",
                     log.last_job_error, log.n_job_errors);
    if (log.n_bad_segments > b->n_bad_segments)
        logger_write(&b->logger, CONFIG_LOG_WARNING,
                     "damage in sealed entries, in %" PRIu64
                     " segments by now: commands that need them fail, all others go on; BECK CHECK "
                     "lists the places",
                     log.n_bad_segments);
    if (retention.n_failed > b->n_retention_failed)
        logger_write(&b->logger, CONFIG_LOG_WARNING,
                     "entries beyond a limit could not be removed, and will be later: %s",
                     retention.last_error.code == OK ? "no memory, or nothing could be loaded"
                                                     : retention.last_error.text);
    b->n_job_errors = log.n_job_errors;
    b->n_bad_segments = log.n_bad_segments;
    b->n_retention_failed = retention.n_failed;
}

/* After each turn: has the log failed, is the disk full, is everybody answered? */
static void broker_look_around(struct broker *b)
{
    struct err e;

    if (b->failure.code == OK && log_failure(b->log, &e) != OK) {
        b->failure = e;
        logger_write(&b->logger, CONFIG_LOG_WARNING,
                     "the log has failed, nothing can be stored: %s", e.text);
        connset_fail(&b->conns, e.text);
        loop_stop(b->loop);
    }
    broker_look_at_disk(b);
    if (b->engine.now_ms >= b->look_ms)
        broker_look_at_work(b);
    if (b->stopping && b->conns.n == 0)
        loop_stop(b->loop);
}

/* ---- what the parts call ---- */

static void broker_on_round_end(void *ctx)
{
    struct broker *b = ctx;

    connset_round_end(&b->conns);
    broker_look_around(b);
}

static void broker_on_wake(void *ctx)
{
    struct broker *b = ctx;

    if (atomic_exchange(&b->stop_asked, false) && !b->stopping)
        broker_begin_stop(b);
    connset_log_moved(&b->conns);
    connset_enter(&b->conns); /* at the round's end the log has its turn */
    broker_look_around(b);
    b->look_ms = 0; /* of which one may be to tell */
}

static void broker_on_progress(void *ctx)
{
    struct engine *e = ctx;
    struct broker *b = e->host.ctx;

    loop_wake(b->loop);
}

static void broker_host_wake(void *ctx, struct client *c)
{
    struct broker *b = ctx;

    connset_wake_client(&b->conns, c);
}

static void broker_host_shutdown(void *ctx)
{
    broker_stop(ctx);
}

static void broker_host_config_changed(void *ctx, const char *key)
{
    struct broker *b = ctx;

    /* Nothing is copied: limits are read from the configuration where they apply. */
    logger_write(&b->logger, CONFIG_LOG_NOTICE, "setting changed: %s", key);
}

static void broker_host_complain(void *ctx, const char *text)
{
    struct broker *b = ctx;

    logger_write(&b->logger, CONFIG_LOG_WARNING, "%s", text);
}

/* ---- beginning and end ---- */

/* What the start found: a line, and one more for each thing that is not as a clean stop leaves it. */
static void broker_tell_store(struct broker *b, const struct log_recovery *info, uint64_t ms)
{
    const char *dir = b->config.dir;
    struct log_stats stats;

    log_get_stats(b->log, &stats);
    logger_write(&b->logger, CONFIG_LOG_NOTICE,
                 "store %s %s: %" PRIu64 " records in %" PRIu64 " files, %" PRIu64
                 " bytes read in %" PRIu64 " ms; %" PRIu64 " segments with %" PRIu64
                 " entries, checkpoint at %" PRIu64,
                 dir,
                 info->created ? "created"
                 : info->clean ? "opened"
                               : "recovered",
                 info->n_records, info->n_files, info->bytes, ms, stats.n_segments,
                 stats.segment_entries, stats.checkpoint_lsn);
    if (info->dropped_bytes > 0)
        logger_write(&b->logger, CONFIG_LOG_NOTICE,
                     "%" PRIu64 " bytes at the end of the log were not whole and never "
                     "acknowledged: dropped",
                     info->dropped_bytes);
    if (info->salvaged_bytes > 0)
        logger_write(&b->logger, CONFIG_LOG_WARNING,
                     "%" PRIu64 " damaged bytes were set aside in %s/quarantine",
                     info->salvaged_bytes, dir);
    if (info->older_checkpoint)
        logger_write(&b->logger, CONFIG_LOG_WARNING,
                     "the newest checkpoint is damaged and is in %s/quarantine now; the one before "
                     "and the log have all of it",
                     dir);
    if (info->n_set_aside > 0)
        logger_write(&b->logger, CONFIG_LOG_WARNING,
                     "%" PRIu64 " files are not in use and were moved to %s/quarantine, to be "
                     "looked at and removed by hand: %s",
                     info->n_set_aside, dir, info->note);
    else if (info->note[0] != '\0')
        logger_write(&b->logger, CONFIG_LOG_WARNING, "%s", info->note);
}

static int broker_open_log(struct broker *b, struct log_recovery *info, struct err *e)
{
    struct log_options options = { .io = &b->io,
                                   .dir = b->config.dir,
                                   .file_bytes = b->config.wal_file_bytes,
                                   .batch_bytes_max = b->config.max_batch_bytes,
                                   .interval_ms = (uint64_t)b->config.interval_ms,
                                   .salvage = b->config.salvage,
                                   .threads = true,
                                   .part_bytes = b->config.arena_bytes,
                                   .part_age_ms = (uint64_t)b->config.arena_age_ms,
                                   .cache_bytes = b->config.cache_bytes,
                                   .checkpoint_bytes = b->config.checkpoint_bytes };
    uint64_t began = b->io.monotonic_ns(&b->io);
    int rc;

    host_init(&b->engine, &options.host);
    options.host.on_progress = broker_on_progress;
    rc = log_open(&options, &b->engine.log, info, e);
    if (rc != OK)
        return rc;
    b->log = b->engine.log;
    broker_tell_store(b, info, (b->io.monotonic_ns(&b->io) - began) / 1000000);
    return OK;
}

static int broker_open_parts(struct broker *b, struct err *e)
{
    const struct loop_options loop = { broker_on_round_end, broker_on_wake, b };
    const struct engine_host host = { b, broker_host_wake, broker_host_shutdown,
                                      broker_host_config_changed, broker_host_complain };
    struct log_recovery info;
    int rc = loop_new(&loop, &b->loop, e);

    if (rc == OK)
        rc = engine_init(&b->engine, &b->config, &b->io, &host, e);
    if (rc != OK)
        return rc;
    b->engine_ready = true;
    heap_begin(&b->engine.heap);
    rc = listener_open(&b->config, &b->listener, e);
    if (rc == OK)
        rc = anteroom_open(&b->listener, &b->config, &b->anteroom, e);
    if (rc == OK)
        rc = broker_open_log(b, &info, e);
    if (rc == OK)
        rc = engine_start(&b->engine, b->log, &info, e);
    if (rc == OK)
        rc = connset_init(&b->conns, &b->engine, b->loop, &b->logger, e);
    if (rc == OK)
        rc = loop_timer_new(b->loop, broker_on_accept_again, b, &b->accept_timer, e);
    if (rc == OK)
        rc = loop_timer_new(b->loop, broker_on_stop_time, b, &b->stop_timer, e);
    if (rc == OK)
        rc = broker_open_doors(b, e);
    if (rc == OK)
        b->config.port = b->listener.port; /* what CONFIG GET and INFO tell when it was 0 */
    return rc;
}

/* Frees what clients are served with; the engine stays for the log, which still asks it things. */
static void broker_close_parts(struct broker *b)
{
    anteroom_close(b->anteroom, NULL, NULL);
    broker_close_listener(b);
    connset_fini(&b->conns);
    loop_timer_free(b->accept_timer);
    loop_timer_free(b->stop_timer);
    if (b->engine_ready)
        engine_stop(&b->engine);
}

static void broker_free(struct broker *b)
{
    if (b->engine_ready)
        engine_fini(&b->engine);
    loop_free(b->loop); /* after the log's threads, which wake it */
}

int broker_open(const struct config *config, struct broker **out, struct err *e)
{
    struct broker *b = calloc(1, sizeof *b);
    int rc;

    if (b == NULL)
        return err_set(e, ERR_NOMEM, "broker");
    b->config = *config;
    b->listener.spare_fd = -1;
    atomic_init(&b->stop_asked, false);
    io_init_real(&b->io);
    logger_init(&b->logger, &b->io, &b->config.log_level, STDERR_FILENO);
    rc = broker_open_parts(b, e);
    if (rc != OK) {
        struct err later;
        broker_close_parts(b);
        err_ignore(log_close(b->log, &later)); /* the first failure is the one to tell */
        broker_free(b);
        free(b);
        return rc;
    }
    *out = b;
    return OK;
}

int broker_catch_signals(struct broker *b, struct err *e)
{
    static const int numbers[] = { 15 /* SIGTERM */, 2 /* SIGINT */ };

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        int rc = loop_on_signal(b->loop, numbers[i], broker_begin_stop, b, e);
        if (rc != OK)
            return rc;
    }
    return OK;
}

int broker_run(struct broker *b, struct err *e)
{
    int rc = loop_run(b->loop, e);

    if (rc == OK && b->failure.code != OK) {
        *e = b->failure;
        return ERR_IO;
    }
    return rc;
}

int broker_close(struct broker *b, struct err *e)
{
    int rc;

    if (b == NULL)
        return OK;
    broker_close_parts(b);
    if (b->failure.code == OK) {
        rc = log_close(b->log, e);
    } else { /* broker_run has told it */
        log_abandon(b->log);
        rc = OK;
    }
    logger_write(&b->logger, CONFIG_LOG_NOTICE, "stopped: %s",
                 rc != OK                ? e->text
                 : b->failure.code != OK ? "failed"
                                         : "all is stored");
    broker_free(b);
    config_fini(&b->config);
    free(b);
    return rc;
}

uint16_t broker_port(const struct broker *b)
{
    return b->listener.port;
}

const struct config *broker_config(const struct broker *b)
{
    return &b->config;
}
