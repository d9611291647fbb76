/*
 * transport.c - the only place that makes system calls on sockets.
 *
 * Sockets are non-blocking and close on exec. Waiting is poll(2) with what is left until a
 * deadline, on the socket and on the wake-up descriptor. A name that has several addresses gets
 * them tried in the system's order, each with its share of the time that is left, so that one that
 * swallows packets does not use up all of it. Writing never raises SIGPIPE.
 */
#include "client/transport.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "client/conf.h"

int64_t transport_now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t transport_deadline(uint64_t timeout_ms)
{
    return timeout_ms == 0 ? TRANSPORT_FOREVER : transport_now_ms() + (int64_t)timeout_ms;
}

/* What poll wants: the time until the deadline, at least 0. */
static int transport_left(int64_t deadline_ms)
{
    int64_t left;

    if (deadline_ms == TRANSPORT_FOREVER)
        return -1;
    left = deadline_ms - transport_now_ms();
    return left < 0 ? 0 : left > 1 << 30 ? 1 << 30 : (int)left;
}

int transport_wait(int fd, int wakeup_fd, short events, int64_t deadline_ms, short *out,
                   struct fail *f)
{
    struct pollfd fds[2] = { { .fd = fd, .events = events },
                             { .fd = wakeup_fd, .events = POLLIN } };

    for (;;) {
        int left = transport_left(deadline_ms);
        int n = poll(fds, 2, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_sys(f, BECK_ERR_IO, "waiting for the server");
        if (fds[1].revents != 0)
            return fail_set(f, BECK_ERR_INTERRUPTED, "interrupted");
        if (fds[0].revents != 0)
            break;
        if (left == 0)
            return fail_set(f, BECK_ERR_TIMEOUT, "the server did not answer in time");
    }
    *out = fds[0].revents;
    return BECK_OK;
}

void transport_address(const struct beck_conf *conf, char *out, size_t size)
{
    if (conf->path != NULL)
        snprintf(out, size, "unix:%s", conf->path);
    else if (strchr(conf->host, ':') != NULL)
        snprintf(out, size, "[%s]:%llu", conf->host, (unsigned long long)conf->port);
    else
        snprintf(out, size, "%s:%llu", conf->host, (unsigned long long)conf->port);
}

/* Waits until a connection attempt on `fd` has ended well. */
static int transport_await(int fd, int wakeup_fd, int64_t deadline_ms, struct fail *f)
{
    int error = 0;
    socklen_t n = sizeof error;
    short ready;
    int rc = transport_wait(fd, wakeup_fd, POLLOUT, deadline_ms, &ready, f);

    if (rc != BECK_OK)
        return rc;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0)
        return fail_sys(f, BECK_ERR_CONNECT, "cannot connect");
    errno = error;
    return error == 0 ? BECK_OK : fail_sys(f, BECK_ERR_CONNECT, "cannot connect");
}

/* One attempt at one address. */
static int transport_try(const struct sockaddr *address, socklen_t n, int wakeup_fd,
                         int64_t deadline_ms, int *out_fd, struct fail *f)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1;
    int rc = BECK_OK;

    if (fd < 0)
        return fail_sys(f, BECK_ERR_CONNECT, "cannot make a socket");
    if (address->sa_family != AF_UNIX) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* without it only slower */
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    }
    if (connect(fd, address, n) < 0) {
        if (errno == EINPROGRESS || errno == EINTR)
            rc = transport_await(fd, wakeup_fd, deadline_ms, f);
        else
            rc = fail_sys(f, BECK_ERR_CONNECT, "cannot connect");
    }
    if (rc != BECK_OK) {
        close(fd);
        return rc;
    }
    *out_fd = fd;
    return BECK_OK;
}

static int transport_connect_unix(const struct beck_conf *conf, int wakeup_fd, int64_t deadline_ms,
                                  int *out_fd, struct fail *f)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    size_t n = strlen(conf->path);

    if (n >= sizeof address.sun_path)
        return fail_set(f, BECK_ERR_CONNECT, "the path is longer than %zu bytes",
                        sizeof address.sun_path - 1);
    memcpy(address.sun_path, conf->path, n);
    return transport_try((const struct sockaddr *)&address, sizeof address, wakeup_fd, deadline_ms,
                         out_fd, f);
}

static int transport_connect_tcp(const struct beck_conf *conf, int wakeup_fd, int64_t deadline_ms,
                                 int *out_fd, struct fail *f)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
    struct addrinfo *list, *at;
    int64_t n_left = 0;
    char port[24];
    int rc;

    snprintf(port, sizeof port, "%llu", (unsigned long long)conf->port);
    rc = getaddrinfo(conf->host, port, &hints, &list);
    if (rc != 0)
        return fail_set(f, BECK_ERR_CONNECT, "cannot resolve the name: %s",
                        rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
    for (at = list; at != NULL; at = at->ai_next)
        n_left++;
    rc = BECK_ERR_CONNECT;
    for (at = list; at != NULL && rc != BECK_OK && rc != BECK_ERR_INTERRUPTED; at = at->ai_next) {
        int64_t now = transport_now_ms();
        int64_t until = deadline_ms == TRANSPORT_FOREVER ? TRANSPORT_FOREVER
                                                         : now + (deadline_ms - now) / n_left--;
        rc = transport_try(at->ai_addr, at->ai_addrlen, wakeup_fd, until, out_fd, f);
    }
    freeaddrinfo(list);
    return rc;
}

int transport_connect(const struct beck_conf *conf, int wakeup_fd, int64_t deadline_ms, int *out_fd,
                      struct fail *f)
{
    if (conf->path != NULL)
        return transport_connect_unix(conf, wakeup_fd, deadline_ms, out_fd, f);
    return transport_connect_tcp(conf, wakeup_fd, deadline_ms, out_fd, f);
}

int transport_send(int fd, const char *p, size_t n, size_t *out, struct fail *f)
{
    ssize_t sent;

    do
        sent = send(fd, p, n, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0) {
        *out = (size_t)sent;
        return BECK_OK;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return BECK_ERR_AGAIN;
    if (errno == EPIPE || errno == ECONNRESET)
        return fail_set(f, BECK_ERR_CLOSED, "the server closed the connection");
    return fail_sys(f, BECK_ERR_IO, "writing to the server");
}

int transport_receive(int fd, char *p, size_t n, size_t *out, struct fail *f)
{
    ssize_t got;

    do
        got = recv(fd, p, n, 0);
    while (got < 0 && errno == EINTR);
    if (got > 0) {
        *out = (size_t)got;
        return BECK_OK;
    }
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return BECK_ERR_AGAIN;
    if (got == 0 || errno == ECONNRESET)
        return fail_set(f, BECK_ERR_CLOSED, "the server closed the connection");
    return fail_sys(f, BECK_ERR_IO, "reading from the server");
}
