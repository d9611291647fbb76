/*
 * conn.c - one connection.
 *
 *   socket --read--> input --resp--> engine_execute --> outbuf --gate--> socket
 *
 * Input. A connection at rest holds no buffer: everybody reads into one that the set owns, and nearly
 * always a read brings whole requests, which are executed right there. What is left over is kept: a
 * short rest is copied back in front of the next read; a long one (a big argument is arriving) stays in a
 * buffer of its own that doubles with the bytes received and ends exactly where the argument will, so
 * that the argument is never moved again before the engine has it. An announced length alone
 * makes nothing grow.
 *
 * Output leaves in conn_settle, at the end of the round or when the log has news. Only a socket that is full
 * is watched for writing.
 *
 * A connection does not execute (and, but for the first case, does not read) while
 *   - its client is blocked in a command, or its command waits for what is not in memory: input is read ahead,
 *     up to client-query-buffer-limit, since its end can only be noticed by reading;
 *   - CONN_PAUSE_OUTPUT bytes wait to be sent: a client that never reads gets no more;
 *   - it has made CONN_PASS_OUTPUT bytes in this round: it goes on in the next one, behind the others;
 *   - the log is behind with writing: otherwise memory would fill with what cannot leave.
 */
#include "broker/net/conn.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "broker/engine/cold.h"
#include "broker/engine/engine.h"
#include "broker/engine/reply.h"
#include "broker/logger.h"
#include "broker/net/connset.h"
#include "broker/net/lookahead.h"
#include "broker/net/loop.h"

enum { CONN_IOV_MAX = 64, CONN_ROOM_MIN = 4 << 10, CONN_DRAIN_READS = 16 };

static void conn_on_readable(void *ctx);
static void conn_on_writable(void *ctx);

/* ---- executing ---- */

static bool conn_may_execute(const struct conn *c)
{
    return c->client.blocked == NULL && c->client.cold == NULL && !c->client.close_after_reply &&
           !c->client.close_now;
}

/* A browser that was lured into sending a form here speaks HTTP; none of its lines may count. */
static bool conn_is_http(const struct resp_request *r)
{
    struct slice word = r->argv[0];

    return (word.n == 4 && strncasecmp((const char *)word.p, "post", 4) == 0) ||
           (word.n == 5 && strncasecmp((const char *)word.p, "host:", 5) == 0);
}

static void conn_broke_protocol(struct conn *c, const char *text)
{
    logger_write(c->set->logger, CONFIG_LOG_VERBOSE, "client %s: %s", c->client.addr, text);
    reply_error(&c->client, "ERR %s", text);
    gate_mark(&c->client.gate, outbuf_end(&c->client.out), 0, 0);
    c->client.close_after_reply = true;
}

static void conn_execute(struct conn *c, const struct resp_request *r)
{
    if (r->is_inline && conn_is_http(r)) {
        logger_write(c->set->logger, CONFIG_LOG_WARNING,
                     "client %s speaks HTTP, as a browser lured into it would: closed",
                     c->client.addr);
        c->client.close_now = true;
        return;
    }
    engine_execute(c->set->engine, &c->client, r->argv, r->argc);
}

/* Whether the connection has made enough output for now: others go first, or the client must read. */
static bool conn_has_said_enough(struct conn *c, uint64_t output_max)
{
    if (outbuf_size(&c->client.out) > CONN_PAUSE_OUTPUT) {
        c->is_paused = true;
        return true;
    }
    if (outbuf_end(&c->client.out) > output_max) {
        connset_mark_ready(c->set, c);
        return true;
    }
    return false;
}

/* Executes the requests in [p, p + n); returns how many bytes they took. */
static size_t conn_run(struct conn *c, uint8_t *p, size_t n)
{
    const struct config *config = c->set->engine->config;
    uint64_t output_max = outbuf_end(&c->client.out) + CONN_PASS_OUTPUT;
    uint8_t *at = p, *end = p + n;
    struct lookahead lookahead = { 0 };
    struct resp_request request;

    while (at < end && conn_may_execute(c) && !conn_has_said_enough(c, output_max)) {
        switch (resp_parse(&c->resp, &c->set->args, config->max_bulk_len, c->client.authenticated,
                           at, end, &request)) {
        case RESP_REQUEST:
            at += request.size;
            if (at < end)
                lookahead_step(&lookahead, state_names(&c->set->engine->state, c->client.db), at,
                               end);
            if (request.argc > 0)
                conn_execute(c, &request);
            break;
        case RESP_MORE: return (size_t)(at - p);
        case RESP_ERROR: conn_broke_protocol(c, request.error); break;
        case RESP_NOMEM: c->client.close_now = true; break;
        }
    }
    if (c->client.close_after_reply || c->client.close_now)
        return n; /* nothing behind it counts */
    return (size_t)(at - p);
}

/* ---- input ---- */

static void conn_drop_input(struct conn *c)
{
    free(c->in);
    c->in = NULL;
    c->in_len = c->in_cap = 0;
}

/* Keeps n bytes at p, which may lie in c->in already, as the input. */
static void conn_keep(struct conn *c, const uint8_t *p, size_t n)
{
    if (n == 0) {
        conn_drop_input(c);
        return;
    }
    if (n > c->in_cap) { /* then p is not in c->in */
        uint8_t *in = realloc(c->in, n);
        if (in == NULL) {
            c->client.close_now = true;
            return;
        }
        c->in = in;
        c->in_cap = n;
    }
    memmove(c->in, p, n);
    c->in_len = n;
}

static bool conn_log_is_behind(struct conn *c)
{
    if (!log_is_backed_up(c->set->engine->log))
        return false;
    connset_mark_stalled(c->set, c);
    return true;
}

void conn_run_kept(struct conn *c)
{
    size_t done;

    if (c->in_len == 0 || conn_log_is_behind(c))
        return;
    done = conn_run(c, c->in, c->in_len);
    if (done > 0)
        conn_keep(c, c->in + done, c->in_len - done);
}

static void conn_count_input(struct conn *c, size_t n)
{
    c->client.bytes_in += n;
    c->client.active_ms = c->set->engine->now_ms;
    c->set->engine->stats.bytes_in += n;
}

/* read(2) with its outcomes sorted: true if *out_n > 0 bytes have come. */
static bool conn_receive(struct conn *c, uint8_t *p, size_t room, size_t *out_n)
{
    ssize_t n = read(c->client.fd, p, room);

    if (n > 0) {
        *out_n = (size_t)n;
        conn_count_input(c, *out_n);
        return true;
    }
    if (n == 0)
        c->eof = true;
    else if (errno != EAGAIN && errno != EINTR)
        c->client.close_now = true;
    return false;
}

/* The ordinary way: into the shared buffer, behind what was left over. */
static void conn_read_shared(struct conn *c)
{
    uint8_t *buffer = c->set->buffer;
    size_t n = c->in_len, got, done = 0;

    if (!conn_receive(c, buffer + n, CONN_READ_BYTES - n, &got))
        return;
    if (n > 0)
        memcpy(buffer, c->in, n);
    n += got;
    if (!conn_log_is_behind(c))
        done = conn_run(c, buffer, n);
    if (done < n || c->in != NULL)
        conn_keep(c, buffer + done, n - done);
}

/* Room for more in the connection's own buffer: as much again as there is, but not beyond the end of the
 * argument that is arriving. */
static bool conn_make_room(struct conn *c)
{
    uint64_t need = resp_need(&c->resp);
    size_t cap = c->in_len * 2;
    uint8_t *in;

    if (c->in_cap - c->in_len >= CONN_ROOM_MIN || (c->in_cap > c->in_len && c->in_cap == need))
        return true;
    if (cap < CONN_READ_BYTES)
        cap = CONN_READ_BYTES;
    if (need > c->in_len && need < cap)
        cap = (size_t)need;
    in = realloc(c->in, cap);
    if (in == NULL) {
        c->client.close_now = true;
        return false;
    }
    c->in = in;
    c->in_cap = cap;
    return true;
}

static void conn_read_own(struct conn *c)
{
    size_t got;

    if (!conn_make_room(c) || !conn_receive(c, c->in + c->in_len, c->in_cap - c->in_len, &got))
        return;
    c->in_len += got;
    conn_run_kept(c);
}

static void conn_on_readable(void *ctx)
{
    struct conn *c = ctx;

    connset_enter(c->set);
    connset_touch(c->set, c);
    if (c->in_len <= CONN_CARRY_MAX && resp_need(&c->resp) <= CONN_READ_BYTES)
        conn_read_shared(c);
    else
        conn_read_own(c);
    connset_mark_dirty(c->set, c);
}

/* ---- output ---- */

/* Sends what lies below `limit`; true if the socket is full. */
static bool conn_send(struct conn *c, uint64_t limit)
{
    struct iovec iov[CONN_IOV_MAX];
    size_t sent = 0;
    int n;

    while ((n = outbuf_peek(&c->client.out, limit, iov, CONN_IOV_MAX)) > 0) {
        ssize_t done = writev(c->client.fd, iov, n);
        if (done < 0) {
            if (errno == EINTR)
                continue;
            if (errno != EAGAIN)
                c->client.close_now = true;
            return errno == EAGAIN;
        }
        outbuf_consume(&c->client.out, (size_t)done);
        c->client.bytes_out += (size_t)done;
        c->set->engine->stats.bytes_out += (size_t)done;
        sent += (size_t)done;
        if (sent >= CONN_PASS_WRITE && outbuf_size(&c->client.out) > 0)
            return true;
    }
    return false;
}

static void conn_on_writable(void *ctx)
{
    struct conn *c = ctx;

    connset_enter(c->set);
    connset_mark_dirty(c->set, c);
}

static size_t conn_output_memory(const struct conn *c)
{
    return c->client.out.memory + c->client.aside.memory;
}

/* Whether the client has let more output pile up than it may. */
static bool conn_over_output_limit(struct conn *c)
{
    const struct config_client_limit *limit = engine_output_limit(&c->client);
    uint64_t now = c->set->engine->now_ms;
    size_t size = conn_output_memory(c);

    if (c->client.over_limit || (limit->hard_bytes > 0 && size > limit->hard_bytes))
        return true;
    connset_mark_heavy(c->set, c, limit->soft_bytes > 0 && size > limit->soft_bytes);
    return c->is_heavy && now - c->soft_since_ms >= limit->soft_s * 1000;
}

static bool conn_over_input_limit(const struct conn *c)
{
    uint64_t limit = c->set->engine->config->query_buffer_limit;

    return c->in_len + resp_memory(&c->resp) + c->client.queued_bytes > limit;
}

static bool conn_check_limits(struct conn *c)
{
    struct engine_stats *stats = &c->set->engine->stats;

    if (c->client.out.failed || c->client.gate.failed) {
        logger_write(c->set->logger, CONFIG_LOG_WARNING,
                     "client %s closed: out of memory for its replies", c->client.addr);
        return false;
    }
    if ((conn_output_memory(c) > 0 || c->is_heavy) && conn_over_output_limit(c)) {
        logger_write(
            c->set->logger, CONFIG_LOG_WARNING,
            "client %s closed: %zu bytes of unsent output exceed client-output-buffer-limit",
            c->client.addr, conn_output_memory(c));
        stats->n_output_limit_closed++;
        return false;
    }
    if (conn_over_input_limit(c)) {
        logger_write(c->set->logger, CONFIG_LOG_WARNING,
                     "client %s closed: its input exceeds client-query-buffer-limit",
                     c->client.addr);
        stats->n_query_limit_closed++;
        return false;
    }
    return true;
}

bool conn_is_busy(const struct conn *c)
{
    return outbuf_size(&c->client.out) > 0 || c->client.cold != NULL || c->is_ready ||
           c->is_paused || c->is_stalled;
}

static bool conn_is_over(const struct conn *c)
{
    if (c->client.close_now)
        return true;
    if (c->client.close_after_reply)
        return outbuf_size(&c->client.out) == 0;
    return (c->eof || c->set->draining) && !conn_is_busy(c);
}

static bool conn_wants_input(const struct conn *c)
{
    if (c->eof || c->set->draining || c->client.close_after_reply)
        return false;
    return !c->is_ready && !c->is_paused && !c->is_stalled;
}

void conn_settle(struct conn *c, uint64_t released, uint64_t durable)
{
    uint64_t limit = gate_open(&c->client.gate, released, durable);
    bool full = false;

    if (!c->client.close_now && limit > c->client.out.read_pos)
        full = conn_send(c, limit);
    if (!c->client.close_now)
        cold_client_drained(&c->client);
    if (c->is_paused && outbuf_size(&c->client.out) <= CONN_PAUSE_OUTPUT / 2) {
        c->is_paused = false;
        connset_mark_ready(c->set, c);
    }
    if (conn_is_over(c) || !conn_check_limits(c)) {
        conn_close(c);
        return;
    }
    c->client.input_bytes = c->in_len;
    c->client.input_free = c->in_cap - c->in_len;
    loop_watch_write(c->watch, full);
    loop_watch_read(c->watch, conn_wants_input(c));
    connset_mark_waiting(c->set, c, gate_waits(&c->client.gate));
}

void conn_fail(struct conn *c, const char *text)
{
    outbuf_truncate(&c->client.out, c->client.gate.open_end);
    reply_error(&c->client, "IOERR %s", text);
    conn_send(c, outbuf_end(&c->client.out));
}

/* ---- beginning and end ---- */

int conn_open(struct connset *set, int fd, bool is_unix, struct conn **out, struct err *e)
{
    struct conn *c = calloc(1, sizeof *c);

    if (c == NULL)
        return err_set(e, ERR_NOMEM, "connection");
    if (loop_watch_new(set->loop, fd, conn_on_readable, conn_on_writable, c, &c->watch, e) != OK) {
        free(c);
        return e->code;
    }
    c->set = set;
    c->is_unix = is_unix;
    resp_init(&c->resp);
    outbuf_init(&c->client.out);
    gate_init(&c->client.gate);
    engine_client_init(set->engine, &c->client);
    c->client.fd = fd;
    loop_watch_read(c->watch, true);
    *out = c;
    return OK;
}

/* Unread input would make close(2) send a reset, which can overtake the last reply on its way. */
static void conn_drain_socket(struct conn *c)
{
    if (shutdown(c->client.fd, SHUT_WR) != 0)
        return;
    for (int i = 0; i < CONN_DRAIN_READS; i++) {
        if (read(c->client.fd, c->set->buffer, CONN_READ_BYTES) <= 0)
            return;
    }
}

void conn_close(struct conn *c)
{
    logger_write(c->set->logger, CONFIG_LOG_VERBOSE, "client %s closed", c->client.addr);
    engine_client_fini(c->set->engine, &c->client);
    connset_forget(c->set, c);
    loop_watch_free(c->watch);
    if (!c->eof)
        conn_drain_socket(c);
    close(c->client.fd);
    outbuf_fini(&c->client.out);
    gate_fini(&c->client.gate);
    resp_fini(&c->resp);
    free(c->in);
    free(c);
}
