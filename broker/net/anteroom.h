/* anteroom.h - where clients wait while the store is being loaded: they are let in, and told so.
 *
 * A thread of its own accepts and answers: INFO says loading:1, everything else gets -LOADING, as from Redis. When the store
 * is there, the connections go on as if they had just come. */
#ifndef BROKER_NET_ANTEROOM_H
#define BROKER_NET_ANTEROOM_H
#include "broker/config.h"
#include "broker/net/listener.h"
#include "log/err.h"

enum {
    ANTEROOM_GUESTS_MAX = 1000,   /* more wait in the system's backlog */
    ANTEROOM_INPUT_MAX = 16 << 10 /* bytes of one request; a longer one ends its connection */
};

struct anteroom;

/* Opens. `listener` and `config` are borrowed until anteroom_close; nobody else accepts meanwhile. Errors: ERR_NOMEM, ERR_IO. */
must_check int anteroom_open(struct listener *listener, const struct config *config,
                             struct anteroom **out, struct err *e);

/* Ends the thread and frees everything. Connections between two requests are given to `take` (NULL: closed), which owns them from
 * then on; those in the middle of one are closed. NULL is fine. */
void anteroom_close(struct anteroom *a,
                    void (*take)(void *ctx, const struct listener_socket *socket, int fd),
                    void *ctx);

#endif
