/* listener.h - the sockets that clients connect to, and accepting from them. */
#ifndef BROKER_NET_LISTENER_H
#define BROKER_NET_LISTENER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "broker/config.h"
#include "log/err.h"

enum { LISTENER_SOCKETS_MAX = CONFIG_BINDS_MAX + 1 };

struct listener_socket {
    int fd;
    bool is_unix;
};

struct listener {
    struct listener_socket sockets[LISTENER_SOCKETS_MAX];
    size_t n;
    uint16_t port;   /* the one that was taken; 0: no TCP */
    char *unix_path; /* removed when the listener closes; NULL: none */
    int spare_fd;    /* given up for a moment when descriptors run out */
};

/* Opens all sockets of the configuration. With port 0 all addresses get the same free port.
 * Errors: ERR_IO, ERR_USAGE (an address that is none), ERR_LOCKED (another process listens on the Unix
 * socket), ERR_NOMEM; the text names the address. */
must_check int listener_open(const struct config *c, struct listener *out, struct err *e);

/* Closes what is open and removes the Unix socket. A listener of zeros with spare_fd -1 is fine. */
void listener_close(struct listener *l);

enum listener_result {
    LISTENER_ACCEPTED, /* *out_fd is a non-blocking socket that the caller owns */
    LISTENER_NONE,     /* nobody waits */
    LISTENER_REFUSED,  /* descriptors ran out: one client was told and closed; more may wait */
    LISTENER_TIRED     /* the system is short of something: try again in a while; e says of what */
};

/* Takes one waiting client. */
enum listener_result listener_accept(struct listener *l, const struct listener_socket *s,
                                     int *out_fd, struct err *e);

/* Tells a client that there are too many, and closes it. */
void listener_refuse(int fd);

/* Both ends of a connection as CLIENT LIST shows them: "127.0.0.1:4711", "[::1]:4711", "/path:0". */
void listener_names(const struct listener *l, int fd, bool is_unix, char *addr, char *laddr,
                    size_t size);

/* Options of a fresh TCP connection: no delay, and probes after keepalive_s seconds of silence (0: none). */
void listener_tune(int fd, int64_t keepalive_s);

#endif
