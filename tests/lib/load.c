/*
 * load.c - the load generator behind the benchmarks; see load.h.
 *
 * A connection is a request under way and a parser of replies. The parser keeps nothing but counts: how many
 * values the reply still needs, how many bytes of a bulk string to skip, and the piece of a line at the end of
 * what was read; so the generator costs far less than the server that it measures. The one thing that it picks
 * out is the ID of an entry: the bulk string right behind an array header of two.
 */
#include "tests/lib/load.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>
#include "log/id.h"

struct load_conn {
    int fd;
    const uint8_t *at, *end; /* what is still to be sent */
    size_t n_waiting;        /* replies of this pipeline that are not there yet */
    uint64_t sent_ns;
    /* the parser */
    uint64_t left; /* values that the reply still needs; 0 between replies */
    size_t skip;   /* bytes of a bulk string, its CR LF included, still to come */
    char line[128];
    size_t n_line;
    bool pair, in_id; /* the last line was *2; the bulk string under way is an ID */
    char id[ID_TEXT_MAX + 2];
    size_t n_id;
    /* a replay */
    char request[256];
    uint64_t n_entries, n_asked; /* read so far; the same when the request under way was sent */
    bool done;
};

struct load {
    struct load_conn *conns;
    size_t n_conns, n_running;
    int epoll;
    uint8_t *buf;
    uint64_t n_bytes;
    uint32_t *samples_us;
    size_t n_samples, cap_samples;
    /* gives c its next requests; false if there are none */
    bool (*next)(struct load *l, struct load_conn *c);
    size_t pipeline;
    const struct load_requests *requests;
    size_t cursor, n_left;
    /* at a fixed rate */
    double per_s;             /* 0: as fast as replies come */
    uint64_t began_ns, n_due; /* the number of the next request */
    struct load_conn **idle;
    size_t n_idle;
    const char *key;
    size_t chunk;
    struct err *e;
};

enum { LOAD_BUF = 256 << 10, LOAD_SILENCE_MS = 60000 };

static void *load_need(void *p)
{
    if (p == NULL) {
        fputs("out of memory\n", stderr);
        exit(1);
    }
    return p;
}

static uint64_t load_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- requests ---- */

static void load_add_bytes(struct load_requests *r, const void *p, size_t n)
{
    while (r->cap_bytes - r->n_bytes < n) {
        r->cap_bytes = r->cap_bytes ? 2 * r->cap_bytes : 1 << 20;
        r->bytes = load_need(realloc(r->bytes, r->cap_bytes));
    }
    memcpy(r->bytes + r->n_bytes, p, n);
    r->n_bytes += n;
}

/* What has been added since the last one is a request. */
static void load_add_end(struct load_requests *r)
{
    if (r->n == r->cap) {
        r->cap = r->cap ? 2 * r->cap : 1024;
        r->ends = load_need(realloc(r->ends, r->cap * sizeof *r->ends));
    }
    r->ends[r->n++] = r->n_bytes;
}

void load_add(struct load_requests *r, const struct slice *argv, size_t argc)
{
    char head[32];

    load_add_bytes(r, head, (size_t)snprintf(head, sizeof head, "*%zu\r\n", argc));
    for (size_t i = 0; i < argc; i++) {
        load_add_bytes(r, head, (size_t)snprintf(head, sizeof head, "$%zu\r\n", argv[i].n));
        load_add_bytes(r, argv[i].p, argv[i].n);
        load_add_bytes(r, "\r\n", 2);
    }
    load_add_end(r);
}

void load_add_raw(struct load_requests *r, const void *p, size_t n)
{
    load_add_bytes(r, p, n);
    load_add_end(r);
}

void load_requests_fini(struct load_requests *r)
{
    free(r->bytes);
    free(r->ends);
    memset(r, 0, sizeof *r);
}

/* ---- the parser of replies ---- */

/* One value is complete; true if the reply is with it. */
static bool load_value_done(struct load_conn *c)
{
    return --c->left == 0;
}

/* Takes a whole line; true if it completes a reply. */
static bool load_line(struct load *l, struct load_conn *c, bool *failed)
{
    long long n = c->n_line > 1 ? strtoll(c->line + 1, NULL, 10) : 0;
    bool pair = c->pair;

    c->pair = false;
    if (c->left == 0)
        c->left = 1;
    switch (c->line[0]) {
    case '-':
        *failed = true;
        err_set(l->e, ERR_PROTO, "the server replied %.*s", (int)c->n_line - 2, c->line);
        return false;
    case '$':
        if (n < 0)
            return load_value_done(c);
        c->skip = (size_t)n + 2;
        c->in_id = pair;
        c->n_id = pair ? 0 : c->n_id;
        return false;
    case '*':
        c->left += n > 0 ? (uint64_t)n : 0;
        c->pair = n == 2;
        return load_value_done(c);
    default: return load_value_done(c);
    }
}

/* Takes up to n bytes of the bulk string under way; returns how many. */
static size_t load_skip(struct load_conn *c, const uint8_t *p, size_t n)
{
    size_t take = n < c->skip ? n : c->skip;

    if (c->in_id && c->n_id + take <= sizeof c->id) {
        memcpy(c->id + c->n_id, p, take);
        c->n_id += take;
    }
    c->skip -= take;
    if (c->skip == 0 && c->in_id) {
        c->n_id -= 2; /* its CR LF */
        c->n_entries++;
        c->in_id = false;
    }
    return take;
}

static bool load_parse(struct load *l, struct load_conn *c, const uint8_t *p, size_t n)
{
    const uint8_t *end = p + n;
    bool failed = false;

    while (p < end && !failed) {
        bool whole;
        if (c->skip > 0) {
            p += load_skip(c, p, (size_t)(end - p));
            whole = c->skip == 0 && load_value_done(c);
        } else {
            const uint8_t *lf = memchr(p, '\n', (size_t)(end - p));
            size_t take = (size_t)((lf ? lf + 1 : end) - p);
            if (take > sizeof c->line - 1 - c->n_line)
                take = sizeof c->line - 1 - c->n_line;
            memcpy(c->line + c->n_line, p, take);
            c->n_line += take;
            c->line[c->n_line] = 0;
            p += take;
            whole = lf != NULL && load_line(l, c, &failed);
            c->n_line = lf ? 0 : c->n_line;
        }
        c->n_waiting -= whole;
    }
    return !failed;
}

/* ---- connections ---- */

static int load_connect(const struct load_target *t, struct load_conn *c, struct err *e)
{
    int on = 1;

    c->fd = socket(t->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return err_sys(e, ERR_IO, "socket");
    if (t->address.ss_family != AF_UNIX)
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(c->fd, (const struct sockaddr *)&t->address, t->n_address) != 0)
        return err_sys(e, ERR_IO, "connect");
    return OK;
}

static int load_write(struct load *l, struct load_conn *c)
{
    struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };

    while (c->at < c->end) {
        ssize_t n = send(c->fd, c->at, (size_t)(c->end - c->at), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
            ev.events |= EPOLLOUT;
            epoll_ctl(l->epoll, EPOLL_CTL_MOD, c->fd, &ev);
            return OK;
        }
        if (n < 0)
            return err_sys(l->e, ERR_IO, "send");
        c->at += n;
        l->n_bytes += (uint64_t)n;
    }
    return OK;
}

static int load_begin(struct load *l, struct load_conn *c)
{
    if (!l->next(l, c)) {
        c->done = true;
        l->n_running--;
        return OK;
    }
    c->sent_ns = load_now_ns();
    return load_write(l, c);
}

static void load_sample(struct load *l, uint64_t ns)
{
    if (l->n_samples == l->cap_samples) {
        l->cap_samples = l->cap_samples ? 2 * l->cap_samples : 1 << 16;
        l->samples_us = load_need(realloc(l->samples_us, l->cap_samples * sizeof *l->samples_us));
    }
    l->samples_us[l->n_samples++] = (uint32_t)(ns / 1000);
}

static int load_readable(struct load *l, struct load_conn *c)
{
    ssize_t n = recv(c->fd, l->buf, LOAD_BUF, MSG_DONTWAIT);

    if (n < 0 && errno == EAGAIN)
        return OK;
    if (n < 0)
        return err_sys(l->e, ERR_IO, "recv");
    if (n == 0)
        return err_set(l->e, ERR_IO, "the server closed a connection");
    l->n_bytes += (uint64_t)n;
    if (!load_parse(l, c, l->buf, (size_t)n))
        return ERR_PROTO;
    if (c->n_waiting > 0)
        return OK;
    load_sample(l, load_now_ns() - c->sent_ns);
    if (l->per_s > 0) {
        l->idle[l->n_idle++] = c;
        return OK;
    }
    return load_begin(l, c);
}

static int load_event(struct load *l, const struct epoll_event *ev)
{
    struct load_conn *c = ev->data.ptr;
    struct epoll_event only_in = { .events = EPOLLIN, .data.ptr = c };

    if (c->done)
        return OK;
    if (ev->events & EPOLLOUT) {
        int rc = load_write(l, c);
        if (rc != OK)
            return rc;
        if (c->at == c->end)
            epoll_ctl(l->epoll, EPOLL_CTL_MOD, c->fd, &only_in);
    }
    return ev->events & ~(uint32_t)EPOLLOUT ? load_readable(l, c) : OK;
}

static int load_loop(struct load *l)
{
    struct epoll_event events[256];

    for (size_t i = 0; i < l->n_conns; i++) {
        int rc = load_begin(l, &l->conns[i]);
        if (rc != OK)
            return rc;
    }
    while (l->n_running > 0) {
        int n = epoll_wait(l->epoll, events, 256, LOAD_SILENCE_MS);
        if (n == 0)
            return err_set(l->e, ERR_IO, "no reply for %d s", LOAD_SILENCE_MS / 1000);
        for (int i = 0; i < n; i++) {
            int rc = load_event(l, &events[i]);
            if (rc != OK)
                return rc;
        }
    }
    return OK;
}

static uint64_t load_due_ns(const struct load *l)
{
    return l->began_ns + (uint64_t)((double)l->n_due * 1e9 / l->per_s);
}

/* Sends what is due by now over connections that have nothing under way. */
static int load_send_due(struct load *l)
{
    while (l->n_idle > 0 && l->n_left > 0 && load_due_ns(l) <= load_now_ns()) {
        struct load_conn *c = l->idle[--l->n_idle];
        int rc;
        l->next(l, c);
        c->sent_ns = load_due_ns(l);
        l->n_due++;
        rc = load_write(l, c);
        if (rc != OK)
            return rc;
    }
    return OK;
}

static int load_rate_loop(struct load *l)
{
    struct epoll_event events[256];
    int rc = OK;

    l->idle = load_need(malloc(l->n_conns * sizeof *l->idle));
    for (size_t i = 0; i < l->n_conns; i++)
        l->idle[l->n_idle++] = &l->conns[i];
    l->began_ns = load_now_ns();
    while (rc == OK && (l->n_left > 0 || l->n_idle < l->n_conns)) {
        uint64_t now = load_now_ns(), due = load_due_ns(l), wait = 1000000000;
        struct timespec timeout;
        int n;
        if (l->n_left > 0 && l->n_idle > 0)
            wait = due > now ? due - now : 0;
        timeout = (struct timespec){ (time_t)(wait / 1000000000), (long)(wait % 1000000000) };
        n = epoll_pwait2(l->epoll, events, 256, &timeout, NULL);
        for (int i = 0; rc == OK && i < n; i++)
            rc = load_event(l, &events[i]);
        if (rc == OK)
            rc = load_send_due(l);
    }
    free(l->idle);
    return rc;
}

static int load_compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static void load_summarise(struct load *l, uint64_t began_ns, struct load_result *out)
{
    out->seconds = (double)(load_now_ns() - began_ns) / 1e9;
    out->bytes = l->n_bytes;
    qsort(l->samples_us, l->n_samples, sizeof *l->samples_us, load_compare);
    out->p50_us = l->n_samples ? l->samples_us[l->n_samples / 2] : 0;
    out->max_us = l->n_samples ? l->samples_us[l->n_samples - 1] : 0;
    out->p99_us = l->n_samples ? l->samples_us[l->n_samples - 1 - l->n_samples / 100] : 0;
}

static int load_run(struct load *l, const struct load_target *t, size_t connections,
                    struct load_result *out)
{
    uint64_t began_ns;
    int rc = OK;

    l->conns = load_need(calloc(connections, sizeof *l->conns));
    l->buf = load_need(malloc(LOAD_BUF));
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    for (; rc == OK && l->n_conns < connections; l->n_conns++) {
        struct load_conn *c = &l->conns[l->n_conns];
        struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };
        rc = load_connect(t, c, l->e);
        if (rc == OK && epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &ev) != 0)
            rc = err_sys(l->e, ERR_IO, "epoll_ctl");
    }
    l->n_running = l->n_conns;
    began_ns = load_now_ns();
    if (rc == OK)
        rc = l->per_s > 0 ? load_rate_loop(l) : load_loop(l);
    if (rc == OK)
        load_summarise(l, began_ns, out);
    for (size_t i = 0; i < l->n_conns; i++)
        close(l->conns[i].fd);
    close(l->epoll);
    free(l->samples_us);
    free(l->buf);
    return rc;
}

/* ---- the two loads ---- */

static bool load_next_requests(struct load *l, struct load_conn *c)
{
    const struct load_requests *r = l->requests;
    size_t n = l->pipeline < l->n_left ? l->pipeline : l->n_left;
    size_t first = l->cursor;

    if (n == 0)
        return false;
    if (n > r->n - first)
        n = r->n - first;
    c->at = r->bytes + (first ? r->ends[first - 1] : 0);
    c->end = r->bytes + r->ends[first + n - 1];
    c->n_waiting = n;
    l->n_left -= n;
    l->cursor = first + n == r->n ? 0 : first + n;
    return true;
}

int load_send(const struct load_target *t, size_t connections, size_t pipeline,
              const struct load_requests *r, size_t first, size_t count, struct load_result *out,
              struct err *e)
{
    struct load l = { .next = load_next_requests,
                      .pipeline = pipeline,
                      .requests = r,
                      .cursor = first % r->n,
                      .n_left = count,
                      .e = e };
    int rc = load_run(&l, t, connections, out);

    free(l.conns);
    out->n = count;
    return rc;
}

int load_rate(const struct load_target *t, size_t connections, const struct load_requests *r,
              size_t first, size_t count, double per_s, struct load_result *out, struct err *e)
{
    struct load l = { .next = load_next_requests,
                      .pipeline = 1,
                      .requests = r,
                      .cursor = first % r->n,
                      .n_left = count,
                      .per_s = per_s,
                      .e = e };
    int rc = load_run(&l, t, connections, out);

    free(l.conns);
    out->n = count;
    return rc;
}

static bool load_next_range(struct load *l, struct load_conn *c)
{
    char start[ID_TEXT_MAX + 4] = "-", chunk[24];
    int n, n_chunk = snprintf(chunk, sizeof chunk, "%zu", l->chunk);

    if (c->at != NULL && c->n_entries - c->n_asked < l->chunk)
        return false; /* the last reply was a short one */
    c->n_asked = c->n_entries;
    if (c->n_entries > 0)
        snprintf(start, sizeof start, "(%.*s", (int)c->n_id, c->id);
    n = snprintf(
        c->request, sizeof c->request,
        "*6\r\n$6\r\nXRANGE\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n$1\r\n+\r\n$5\r\nCOUNT\r\n$%d\r\n%s\r\n",
        strlen(l->key), l->key, strlen(start), start, n_chunk, chunk);
    c->at = (const uint8_t *)c->request;
    c->end = c->at + n;
    c->n_waiting = 1;
    return true;
}

int load_replay(const struct load_target *t, size_t connections, const char *key, size_t chunk,
                struct load_result *out, struct err *e)
{
    struct load l = { .next = load_next_range, .key = key, .chunk = chunk, .e = e };
    int rc = load_run(&l, t, connections, out);

    out->n = 0;
    for (size_t i = 0; i < l.n_conns; i++)
        out->n += l.conns[i].n_entries;
    free(l.conns);
    return rc;
}
