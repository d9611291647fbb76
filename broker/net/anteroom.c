/*
 * anteroom.c - answers while the engine can not.
 *
 * The engine's thread is inside log_open, which may take seconds for ten million keys. Here is all that is needed until
 * then: poll, a small buffer for each connection, the parser of requests, three replies. Nothing is shared with the engine but
 * the listening sockets, which only this thread accepts from until anteroom_close.
 *
 * A reply that does not fit into the socket's buffer is a client that sends without reading: its connection is closed.
 */
#include "broker/net/anteroom.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include "broker/engine/args.h"
#include "broker/net/resp.h"
#include "broker/version.h"

struct anteroom_guest {
    int fd; /* -1: gone */
    const struct listener_socket *socket;
    struct resp resp;
    uint8_t *input; /* ANTEROOM_INPUT_MAX */
    size_t n;
};

struct anteroom {
    struct listener *listener;
    const struct config *config;
    struct resp_args args;
    pthread_t thread;
    int stop_fd;
    struct anteroom_guest guests[ANTEROOM_GUESTS_MAX];
    size_t n;
};

/* ---- one connection ---- */

/* The guest leaves; its socket is the caller's. */
static int anteroom_part(struct anteroom_guest *g)
{
    int fd = g->fd;

    resp_fini(&g->resp);
    free(g->input);
    *g = (struct anteroom_guest){ .fd = -1 };
    return fd;
}

static void anteroom_dismiss(struct anteroom_guest *g)
{
    close(anteroom_part(g));
}

static bool anteroom_send(struct anteroom_guest *g, const char *text, size_t n)
{
    return send(g->fd, text, n, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)n;
}

static bool anteroom_info(struct anteroom_guest *g)
{
    static const char lines[] =
        "# Server\r\nredis_version:" BECKD_REDIS_VERSION "\r\nbeck_version:" BECKD_VERSION
        "\r\nredis_mode:standalone\r\n\r\n# Persistence\r\nloading:1\r\n"
        "async_loading:0\r\n\r\n# Replication\r\nrole:master\r\n";
    char text[sizeof lines + 32];
    int n = snprintf(text, sizeof text, "$%zu\r\n%s\r\n", sizeof lines - 1, lines);

    return anteroom_send(g, text, (size_t)n);
}

/* Answers one request; false: the connection is at its end. */
static bool anteroom_answer(const struct anteroom *a, struct anteroom_guest *g,
                            const struct resp_request *r)
{
    static const char loading[] = "-LOADING Redis is loading the dataset in memory\r\n";
    static const char noauth[] = "-NOAUTH Authentication required.\r\n";
    bool open = a->config->requirepass == NULL || a->config->requirepass[0] == '\0';

    if (r->argc == 0)
        return true;
    if (args_word(r->argv[0], "quit")) {
        anteroom_send(g, "+OK\r\n", 5);
        return false;
    }
    if (args_word(r->argv[0], "info"))
        return open ? anteroom_info(g) : anteroom_send(g, noauth, sizeof noauth - 1);
    return anteroom_send(g, loading, sizeof loading - 1);
}

/* Answers what is whole of the input; false: the connection is at its end. */
static bool anteroom_serve(struct anteroom *a, struct anteroom_guest *g)
{
    size_t at = 0;
    bool goes_on = true;

    while (goes_on && at < g->n) {
        struct resp_request r;
        enum resp_result result = resp_parse(&g->resp, &a->args, a->config->max_bulk_len, true,
                                             g->input + at, g->input + g->n, &r);
        if (result == RESP_MORE)
            break;
        if (result != RESP_REQUEST)
            return false;
        at += r.size;
        goes_on = anteroom_answer(a, g, &r);
    }
    memmove(g->input, g->input + at, g->n - at);
    g->n -= at;
    return goes_on && g->n < ANTEROOM_INPUT_MAX;
}

static void anteroom_read(struct anteroom *a, struct anteroom_guest *g)
{
    ssize_t n = recv(g->fd, g->input + g->n, ANTEROOM_INPUT_MAX - g->n, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0)
        g->n += (size_t)n;
    if (n <= 0 || !anteroom_serve(a, g))
        anteroom_dismiss(g);
}

/* ---- the thread ---- */

static void anteroom_let_in(struct anteroom *a, const struct listener_socket *s)
{
    struct anteroom_guest g = { .socket = s, .fd = -1 };
    struct err ignored;

    if (a->n == ANTEROOM_GUESTS_MAX ||
        listener_accept(a->listener, s, &g.fd, &ignored) != LISTENER_ACCEPTED)
        return;
    g.input = malloc(ANTEROOM_INPUT_MAX);
    if (g.input == NULL) {
        close(g.fd);
        return;
    }
    resp_init(&g.resp);
    a->guests[a->n++] = g;
}

/* Those who have left make room. */
static void anteroom_tidy(struct anteroom *a)
{
    size_t n = 0;

    for (size_t i = 0; i < a->n; i++)
        if (a->guests[i].fd >= 0)
            a->guests[n++] = a->guests[i];
    a->n = n;
}

static void *anteroom_run(void *ctx)
{
    struct anteroom *a = ctx;
    struct pollfd fds[1 + LISTENER_SOCKETS_MAX + ANTEROOM_GUESTS_MAX];
    size_t n_doors = a->listener->n;

    for (;;) {
        size_t n = 0, n_guests = a->n;
        fds[n++] = (struct pollfd){ .fd = a->stop_fd, .events = POLLIN };
        for (size_t i = 0; i < n_doors; i++)
            fds[n++] =
                (struct pollfd){ .fd = n_guests < ANTEROOM_GUESTS_MAX ? a->listener->sockets[i].fd
                                                                      : -1,
                                 .events = POLLIN };
        for (size_t i = 0; i < n_guests; i++)
            fds[n++] = (struct pollfd){ .fd = a->guests[i].fd, .events = POLLIN };
        if (poll(fds, n, -1) < 0)
            continue; /* a signal */
        if (fds[0].revents != 0)
            return NULL;
        for (size_t i = 0; i < n_guests; i++)
            if (fds[1 + n_doors + i].revents != 0)
                anteroom_read(a, &a->guests[i]);
        anteroom_tidy(a);
        for (size_t i = 0; i < n_doors; i++)
            if (fds[1 + i].revents != 0)
                anteroom_let_in(a, &a->listener->sockets[i]);
    }
}

static void anteroom_free(struct anteroom *a)
{
    if (a->stop_fd >= 0)
        close(a->stop_fd);
    resp_args_fini(&a->args);
    free(a);
}

int anteroom_open(struct listener *listener, const struct config *config, struct anteroom **out,
                  struct err *e)
{
    struct anteroom *a = calloc(1, sizeof *a);
    int rc, code;

    if (a == NULL)
        return err_set(e, ERR_NOMEM, "no memory to answer clients meanwhile");
    a->listener = listener;
    a->config = config;
    a->stop_fd = eventfd(0, EFD_CLOEXEC);
    rc = a->stop_fd < 0 ? err_sys(e, ERR_IO, "eventfd") : resp_args_init(&a->args, e);
    if (rc != OK) {
        anteroom_free(a);
        return rc;
    }
    code = pthread_create(&a->thread, NULL, anteroom_run, a);
    if (code != 0) {
        anteroom_free(a);
        return err_set(e, ERR_IO, "start a thread: %s", strerror(code));
    }
    *out = a;
    return OK;
}

void anteroom_close(struct anteroom *a,
                    void (*take)(void *ctx, const struct listener_socket *socket, int fd),
                    void *ctx)
{
    const uint64_t one = 1;

    if (a == NULL)
        return;
    while (write(a->stop_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
    pthread_join(a->thread, NULL);
    for (size_t i = 0; i < a->n; i++) {
        struct anteroom_guest *g = &a->guests[i];
        const struct listener_socket *socket = g->socket;
        bool between = g->n == 0;
        int fd = anteroom_part(g);
        if (take != NULL && between)
            take(ctx, socket, fd);
        else
            close(fd);
    }
    anteroom_free(a);
}
