/* conf.h - the settings of a client as the other modules see them; the functions are in beck.h. */
#ifndef CLIENT_CONF_H
#define CLIENT_CONF_H
#include "client/fail.h"

struct beck_conf {
    char *host;                   /* NULL with a path */
    char *path;                   /* NULL with a host */
    char *user, *password, *name; /* NULL if not set */
    uint64_t port, db;
    uint64_t proto;
    uint64_t connect_timeout_ms, timeout_ms;
    uint64_t max_reply_bytes, max_reply_elements;
    struct fail fail;
};

/* A copy, to be given to beck_conf_free. Errors: BECK_ERR_NOMEM. */
BECK_MUST_CHECK int conf_copy(const struct beck_conf *conf, struct beck_conf **out);

#endif
