/* push.h - what a client is sent without having asked for it: messages of channels, invalidations of what it has cached.
 *
 * It is encoded once for each protocol version and then shared by all who get it. It goes between replies, never into one, and leaves
 * through the gate when what it tells is safe: what the command has done that made it, and what its connection did before. */
#ifndef BROKER_ENGINE_PUSH_H
#define BROKER_ENGINE_PUSH_H
#include <stdbool.h>
#include <stddef.h>
#include "log/bytes.h"

struct client;
struct engine;

enum push_last { PUSH_NOTHING, PUSH_LIST, PUSH_NULL, PUSH_NUMBER };

struct push {
    const struct slice *words; /* the first elements */
    size_t n_words;
    enum push_last with; /* a last element: an array of names, null, or a number */
    const struct slice *list;
    size_t n_list;
    uint64_t number;
    struct outbuf_shared
        *encoded[2]; /* in RESP2 and RESP3, where it was needed: push_over frees them */
};

/* Sends it to `c`, as a RESP3 push or, in RESP2, as an array. Borrows what it points to for the call. A client that is beyond its limit of
 * output gets nothing any more, and is closed. */
void push_send(struct engine *e, struct client *c, struct push *p);
/* The same in RESP2's or RESP3's form, whatever the client speaks. */
void push_send_as(struct engine *e, struct client *c, struct push *p, int proto);
void push_over(struct push *p);

/* What has been sent since the last call waits for the log up to here, and for that durable LSN; what can goes behind the output of
 * its client. To be called where no reply is being made: at the end of a command or of a round. */
void push_settle(struct engine *e, uint64_t need_durable);

/* The same at the end of a round, with what was held back because workers made replies. */
void push_settle_all(struct engine *e, uint64_t need_durable);

void push_client_gone(struct client *c);

#endif
