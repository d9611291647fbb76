/*
 * listener.c - opens what clients connect to.
 *
 * A TCP address is what `bind` says: a numeric address, a name, or one with a leading minus that may be
 * missing (a machine without IPv6). With port 0 the first address takes a free port and the others follow;
 * should another process have that port on one of them, everything is let go and tried again.
 *
 * A Unix socket may be there from a process that was killed. It is removed if nobody answers on it, and only
 * if it is a socket: a wrong path must not cost somebody a file.
 *
 * When descriptors run out, accept(2) fails and the client stays in the queue, so the loop would call again
 * at once and for ever. The spare descriptor is closed to take that client after all, tell it, and let it
 * go; then the spare is opened again.
 */
#include "broker/net/listener.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { LISTENER_PORT_TRIES = 20, LISTENER_FLAGS = SOCK_NONBLOCK | SOCK_CLOEXEC };

/* ---- TCP ---- */

static uint16_t listener_port_of(int fd)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof a;

    if (getsockname(fd, (struct sockaddr *)&a, &n) != 0)
        return 0;
    if (a.ss_family == AF_INET6)
        return ntohs(((struct sockaddr_in6 *)&a)->sin6_port);
    return ntohs(((struct sockaddr_in *)&a)->sin_port);
}

static int listener_bind(const struct addrinfo *a, int backlog, int *out_fd)
{
    int fd = socket(a->ai_family, a->ai_socktype | LISTENER_FLAGS, a->ai_protocol);
    int one = 1, failed;

    if (fd < 0)
        return -1;
    failed = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (failed == 0 && a->ai_family == AF_INET6)
        failed = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    if (failed != 0 || bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, backlog) != 0) {
        int sys = errno;
        close(fd);
        errno = sys;
        return -1;
    }
    *out_fd = fd;
    return 0;
}

/* Whether an address that may be missing is: the machine does not have it, or not its family. */
static bool listener_is_missing(int sys)
{
    return sys == EADDRNOTAVAIL || sys == EAFNOSUPPORT || sys == EPROTONOSUPPORT;
}

/* Listens on one address of the configuration; *out_fd is -1 if it is missing and may be. */
static int listener_open_address(const char *address, uint16_t port, int backlog, int *out_fd,
                                 struct err *e)
{
    struct addrinfo hints = { .ai_family = AF_UNSPEC,
                              .ai_socktype = SOCK_STREAM,
                              .ai_flags = AI_PASSIVE };
    struct addrinfo *found;
    bool optional = *address == '-';
    char service[8];
    int rc;

    address += optional;
    *out_fd = -1;
    snprintf(service, sizeof service, "%u", port);
    if (strcmp(address, "*") == 0)
        hints.ai_family = AF_INET;
    if (strcmp(address, "::*") == 0)
        hints.ai_family = AF_INET6;
    rc = getaddrinfo(strchr(address, '*') != NULL ? NULL : address, service, &hints, &found);
    if (rc != 0)
        return optional ? OK : err_set(e, ERR_USAGE, "bind %s: %s", address, gai_strerror(rc));
    rc = listener_bind(found, backlog, out_fd);
    freeaddrinfo(found);
    if (rc == 0 || (optional && listener_is_missing(errno)))
        return OK;
    return err_sys(e, ERR_IO, "listen on %s port %u", address, port);
}

static void listener_close_sockets(struct listener *l)
{
    for (size_t i = 0; i < l->n; i++)
        close(l->sockets[i].fd);
    l->n = 0;
}

static int listener_open_addresses(const struct config *c, struct listener *l, struct err *e)
{
    uint16_t port = (uint16_t)c->port;

    for (size_t i = 0; i < c->n_bind; i++) {
        int fd, rc = listener_open_address(c->bind[i], port, (int)c->tcp_backlog, &fd, e);
        if (rc != OK)
            return rc;
        if (fd < 0)
            continue;
        l->sockets[l->n].fd = fd;
        l->sockets[l->n].is_unix = false;
        l->n++;
        port = l->port = listener_port_of(fd);
    }
    if (c->n_bind > 0 && l->n == 0)
        return err_set(e, ERR_IO, "none of the addresses of bind exists here");
    return OK;
}

static int listener_open_tcp(const struct config *c, struct listener *l, struct err *e)
{
    int rc = listener_open_addresses(c, l, e);

    for (int i = 0; c->port == 0 && rc != OK && e->sys == EADDRINUSE && i < LISTENER_PORT_TRIES;
         i++) {
        listener_close_sockets(l);
        rc = listener_open_addresses(c, l, e);
    }
    return rc;
}

/* ---- Unix ---- */

/* Removes a socket that nobody listens on. */
static int listener_remove_stale(const struct sockaddr_un *a, struct err *e)
{
    struct stat st;
    int fd, alive;

    if (lstat(a->sun_path, &st) != 0)
        return errno == ENOENT ? OK : err_sys(e, ERR_IO, "unixsocket %s", a->sun_path);
    if (!S_ISSOCK(st.st_mode))
        return err_set(e, ERR_USAGE,
                       "unixsocket %s: there is a file that is no socket; remove it or choose "
                       "another path",
                       a->sun_path);
    fd = socket(AF_UNIX, SOCK_STREAM | LISTENER_FLAGS, 0);
    if (fd < 0)
        return err_sys(e, ERR_IO, "unixsocket %s", a->sun_path);
    alive = connect(fd, (const struct sockaddr *)a, sizeof *a) == 0 || errno == EAGAIN;
    close(fd);
    if (alive)
        return err_set(e, ERR_LOCKED, "unixsocket %s: another process listens on it", a->sun_path);
    if (unlink(a->sun_path) != 0 && errno != ENOENT)
        return err_sys(e, ERR_IO, "remove the old socket %s", a->sun_path);
    return OK;
}

static int listener_open_unix(const struct config *c, struct listener *l, struct err *e)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd, rc;

    if (strlen(c->unixsocket) >= sizeof a.sun_path)
        return err_set(e, ERR_USAGE, "unixsocket %.120s: the path is longer than %zu bytes",
                       c->unixsocket, sizeof a.sun_path - 1);
    memcpy(a.sun_path, c->unixsocket, strlen(c->unixsocket) + 1);
    rc = listener_remove_stale(&a, e);
    if (rc != OK)
        return rc;
    fd = socket(AF_UNIX, SOCK_STREAM | LISTENER_FLAGS, 0);
    if (fd < 0)
        return err_sys(e, ERR_IO, "listen on %s", a.sun_path);
    if (bind(fd, (const struct sockaddr *)&a, sizeof a) != 0 ||
        (l->unix_path = strdup(a.sun_path)) == NULL ||
        chmod(a.sun_path, (mode_t)c->unixsocketperm) != 0 || listen(fd, (int)c->tcp_backlog) != 0) {
        rc = err_sys(e, ERR_IO, "listen on %s", a.sun_path);
        close(fd);
        return rc;
    }
    l->sockets[l->n].fd = fd;
    l->sockets[l->n].is_unix = true;
    l->n++;
    return OK;
}

int listener_open(const struct config *c, struct listener *out, struct err *e)
{
    struct listener l = { .spare_fd = -1 };
    int rc = listener_open_tcp(c, &l, e);

    if (rc == OK && c->unixsocket != NULL)
        rc = listener_open_unix(c, &l, e);
    if (rc == OK) {
        l.spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (l.spare_fd < 0)
            rc = err_sys(e, ERR_IO, "open /dev/null");
    }
    if (rc != OK) {
        listener_close(&l);
        return rc;
    }
    *out = l;
    return OK;
}

void listener_close(struct listener *l)
{
    listener_close_sockets(l);
    if (l->unix_path != NULL)
        unlink(l->unix_path);
    free(l->unix_path);
    l->unix_path = NULL;
    if (l->spare_fd >= 0)
        close(l->spare_fd);
    l->spare_fd = -1;
}

/* ---- clients ---- */

void listener_refuse(int fd)
{
    static const char text[] = "-ERR max number of clients reached\r\n";
    ssize_t n = send(fd, text, sizeof text - 1, MSG_NOSIGNAL | MSG_DONTWAIT);

    (void)n; /* whoever does not read it is closed without it */
    close(fd);
}

static enum listener_result listener_out_of_descriptors(struct listener *l,
                                                        const struct listener_socket *s,
                                                        struct err *e)
{
    int fd;

    err_ignore(err_sys(e, ERR_IO, "accept a client")); /* the reason, for the log */
    if (l->spare_fd >= 0)
        close(l->spare_fd);
    fd = accept4(s->fd, NULL, NULL, LISTENER_FLAGS);
    if (fd >= 0)
        listener_refuse(fd);
    l->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return fd >= 0 ? LISTENER_REFUSED : LISTENER_TIRED;
}

enum listener_result listener_accept(struct listener *l, const struct listener_socket *s,
                                     int *out_fd, struct err *e)
{
    int fd = accept4(s->fd, NULL, NULL, LISTENER_FLAGS);

    if (fd >= 0) {
        *out_fd = fd;
        return LISTENER_ACCEPTED;
    }
    switch (errno) {
    case EAGAIN:
    case EINTR:
    case ECONNABORTED: /* the client, or the network, gave up in the queue */
    case EPROTO:
    case EPERM: return LISTENER_NONE;
    case EMFILE:
    case ENFILE: return listener_out_of_descriptors(l, s, e);
    default: err_ignore(err_sys(e, ERR_IO, "accept a client")); return LISTENER_TIRED;
    }
}

static void listener_name(const struct sockaddr_storage *a, char *out, size_t size)
{
    char host[INET6_ADDRSTRLEN + 20], service[8];

    if (getnameinfo((const struct sockaddr *)a, sizeof *a, host, sizeof host, service,
                    sizeof service, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        snprintf(out, size, "?:0");
    else
        snprintf(out, size, a->ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, service);
}

void listener_names(const struct listener *l, int fd, bool is_unix, char *addr, char *laddr,
                    size_t size)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof a;

    if (is_unix) {
        snprintf(addr, size, "%.*s:0", (int)size - 3, l->unix_path);
        snprintf(laddr, size, "%.*s:0", (int)size - 3, l->unix_path);
        return;
    }
    memset(&a, 0, sizeof a);
    if (getpeername(fd, (struct sockaddr *)&a, &n) == 0)
        listener_name(&a, addr, size);
    n = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &n) == 0)
        listener_name(&a, laddr, size);
}

void listener_tune(int fd, int64_t keepalive_s)
{
    const int one = 1, n_probes = 3;
    int idle = (int)keepalive_s, interval = idle / 3 > 0 ? idle / 3 : 1;

    /* A connection works without any of these, so a failure is not worth losing it. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (keepalive_s == 0)
        return;
    if (idle > 32767)
        idle = 32767; /* the kernel's limit */
    if (interval > 32767)
        interval = 32767;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &n_probes, sizeof n_probes);
}
