/*
 * consume.c - see consume.h.
 *
 * Sockets block; requests are sent on all connections before the first reply is read, so that the server always has
 * something to do. Of a reply only the IDs are looked at: RESP2's [[key, [[id, [name, value, ...]], ...]]].
 */
#include "tests/lib/consume.h"
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "tests/lib/walk.h"

enum { CONSUME_INPUT = 1 << 20, CONSUME_ID_MAX = 48 };

enum consume_state { CONSUME_READING, CONSUME_ACKING, CONSUME_OVER };

struct consume_conn {
    int fd;
    enum consume_state state;
    uint8_t *input;
    size_t n, cap;
    char (*ids)[CONSUME_ID_MAX];
    size_t n_ids;
};

struct consume_run {
    const struct consume *q;
    struct consume_conn *conns;
    uint64_t n;
    struct err *e;
};

static void *consume_need(void *p)
{
    if (p == NULL) {
        fputs("out of memory\n", stderr);
        exit(1);
    }
    return p;
}

/* ---- replies ---- */

/* Takes the IDs out of a whole reply of XREADGROUP. */
static int consume_take(struct consume_run *r, struct consume_conn *c, const uint8_t *p,
                        const uint8_t *end)
{
    long long n = 0, bytes = 0;

    c->n_ids = 0;
    if (p[1] == '-')
        return OK;              /* there is nothing */
    for (int i = 0; i < 2; i++) /* of streams, of the stream */
        p = walk_line(p, end, &n);
    p = walk_line(walk_skip(p, end), end, &n);
    if (n < 0 || (size_t)n > r->q->count)
        return err_set(r->e, ERR_PROTO, "%lld entries where %zu were asked for", n, r->q->count);
    for (; n > 0; n--) {
        const uint8_t *id = walk_line(walk_line(p, end, &bytes), end, &bytes);
        if (bytes <= 0 || bytes >= CONSUME_ID_MAX)
            return err_set(r->e, ERR_PROTO, "an ID of %lld bytes", bytes);
        memcpy(c->ids[c->n_ids], id, (size_t)bytes);
        c->ids[c->n_ids++][bytes] = 0;
        p = walk_skip(p, end);
    }
    return OK;
}

/* Reads until a whole reply lies in c->input. */
static int consume_read(struct consume_run *r, struct consume_conn *c)
{
    c->n = 0;
    do {
        ssize_t got;
        if (c->cap - c->n < CONSUME_INPUT / 4) {
            c->cap *= 2;
            c->input = consume_need(realloc(c->input, c->cap));
        }
        got = recv(c->fd, c->input + c->n, c->cap - c->n, 0);
        if (got <= 0)
            return err_set(r->e, ERR_IO, "the server closed the connection: %s", strerror(errno));
        c->n += (size_t)got;
    } while (walk_skip(c->input, c->input + c->n) == NULL);
    if (c->input[0] == '-')
        return err_set(r->e, ERR_PROTO, "the server replied %.*s", (int)c->n - 2, c->input);
    return OK;
}

/* ---- requests ---- */

static int consume_send(struct consume_run *r, struct consume_conn *c, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(c->fd, p, n, MSG_NOSIGNAL);
        if (sent < 0)
            return err_sys(r->e, ERR_IO, "send to the server");
        p += sent;
        n -= (size_t)sent;
    }
    return OK;
}

/* A request as it is written: what does not fit is a mistake of this file. */
struct consume_text {
    char *p;
    size_t n, cap;
};

__attribute__((format(printf, 2, 3))) static void consume_put(struct consume_text *t,
                                                              const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(t->p + t->n, t->cap - t->n, format, args);
    va_end(args);
    assert(n > 0 && (size_t)n < t->cap - t->n);
    t->n += (size_t)n;
}

static void consume_word(struct consume_text *t, const char *word)
{
    consume_put(t, "$%zu\r\n%s\r\n", strlen(word), word);
}

static int consume_ask(struct consume_run *r, struct consume_conn *c)
{
    char bytes[1024], consumer[32], count[32];
    struct consume_text request = { .p = bytes, .cap = sizeof bytes };
    const char *words[] = { "XREADGROUP", "GROUP",   r->q->group, consumer, "COUNT",
                            count,        "STREAMS", r->q->key,   ">" };

    snprintf(consumer, sizeof consumer, "c%td", c - r->conns);
    snprintf(count, sizeof count, "%zu", r->q->count);
    consume_put(&request, "*%zu\r\n", sizeof words / sizeof words[0]);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        consume_word(&request, words[i]);
    c->state = CONSUME_READING;
    return consume_send(r, c, request.p, request.n);
}

static int consume_ack(struct consume_run *r, struct consume_conn *c)
{
    struct consume_text request = { .cap = 1024 + c->n_ids * (CONSUME_ID_MAX + 16) };
    int rc;

    request.p = consume_need(malloc(request.cap));
    consume_put(&request, "*%zu\r\n", 3 + c->n_ids);
    consume_word(&request, "XACK");
    consume_word(&request, r->q->key);
    consume_word(&request, r->q->group);
    for (size_t i = 0; i < c->n_ids; i++)
        consume_word(&request, c->ids[i]);
    c->state = CONSUME_ACKING;
    rc = consume_send(r, c, request.p, request.n);
    free(request.p);
    return rc;
}

/* ---- one connection's turn ---- */

static int consume_on_entries(struct consume_run *r, struct consume_conn *c)
{
    int rc = consume_take(r, c, c->input, c->input + c->n);

    r->n += c->n_ids;
    if (rc != OK)
        return rc;
    if (c->n_ids > 0 && r->q->ack)
        return consume_ack(r, c);
    if (c->n_ids > 0 && (r->q->max == 0 || r->n < r->q->max))
        return consume_ask(r, c);
    c->state = CONSUME_OVER;
    return OK;
}

static int consume_on_acked(struct consume_run *r, struct consume_conn *c)
{
    long long n = 0;

    walk_line(c->input, c->input + c->n, &n);
    if (n != (long long)c->n_ids)
        return err_set(r->e, ERR_PROTO, "%lld of %zu entries were acknowledged", n, c->n_ids);
    if (r->q->max == 0 || r->n < r->q->max)
        return consume_ask(r, c);
    c->state = CONSUME_OVER;
    return OK;
}

static int consume_turn(struct consume_run *r, struct consume_conn *c)
{
    int rc = consume_read(r, c);

    if (rc == OK && c->state == CONSUME_READING)
        return consume_on_entries(r, c);
    return rc == OK ? consume_on_acked(r, c) : rc;
}

static int consume_open(struct consume_run *r, const struct load_target *t, struct consume_conn *c)
{
    c->fd = socket(t->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (const struct sockaddr *)&t->address, t->n_address) != 0)
        return err_sys(r->e, ERR_IO, "connect to the server");
    c->cap = CONSUME_INPUT;
    c->input = consume_need(malloc(c->cap));
    c->ids = consume_need(malloc(r->q->count * sizeof *c->ids));
    return consume_ask(r, c);
}

static void consume_close(struct consume_conn *c)
{
    if (c->fd >= 0)
        close(c->fd);
    free(c->input);
    free(c->ids);
}

int consume(const struct load_target *t, const struct consume *q, uint64_t *n, struct err *e)
{
    struct consume_run r = { .q = q, .e = e };
    size_t open = q->connections;
    int rc = OK;

    r.conns = consume_need(calloc(q->connections, sizeof *r.conns));
    for (size_t i = 0; i < q->connections; i++)
        r.conns[i].fd = -1;
    for (size_t i = 0; i < q->connections && rc == OK; i++)
        rc = consume_open(&r, t, &r.conns[i]);
    for (size_t i = 0; open > 0 && rc == OK; i = (i + 1) % q->connections) {
        if (r.conns[i].state == CONSUME_OVER)
            continue;
        rc = consume_turn(&r, &r.conns[i]);
        open -= r.conns[i].state == CONSUME_OVER;
    }
    for (size_t i = 0; i < q->connections; i++)
        consume_close(&r.conns[i]);
    free(r.conns);
    *n = r.n;
    return rc;
}
