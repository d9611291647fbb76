/* beck.h - what the files of the BECK commands share: waiting for work of the log, and their handlers. */
#ifndef BROKER_COMMANDS_BECK_H
#define BROKER_COMMANDS_BECK_H
#include "broker/engine/command.h"
#include "log/log.h"

/* A request of the log for which a client waits; the first member of what a command needs. It lives until the log
 * is done, whether the client is still there or not. */
struct beck_request {
    struct log_request request; /* must be first */
    struct engine *engine;
    struct client *client; /* NULL: gone */
    int db;                /* where the client waits */
    bool done;
    int rc;
    struct err err;
    void (*reply)(struct client *c, struct beck_request *r); /* when it is done, whatever rc is */
    void (*free)(struct beck_request *r);
};

/* `c` waits for `r`, whose reply and free are set, and which is zero otherwise. Then the caller hands r->request to the
 * log. False: an error has been replied, and `r` is freed. */
must_check bool beck_wait(struct engine *e, struct client *c, struct beck_request *r);

command_handler beck_log, beck_seal, beck_merge, beck_check, beck_backup, beck_stream, beck_group;

#endif
