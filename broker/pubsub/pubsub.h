/* pubsub.h - channels: who has subscribed to what, and messages to all of them. Nothing of it is kept or logged.
 *
 * A channel is there while somebody subscribes to it. Patterns are as in KEYS. Shard channels, a space of names of their own, are what
 * Redis's clusters have; here there is one shard. */
#ifndef BROKER_PUBSUB_PUBSUB_H
#define BROKER_PUBSUB_PUBSUB_H
#include <stddef.h>
#include <stdint.h>
#include "log/bytes.h"
#include "log/err.h"

struct client;
struct engine;
struct pubsub;

enum pubsub_kind { PUBSUB_CHANNEL, PUBSUB_PATTERN, PUBSUB_SHARD, PUBSUB_KINDS };

enum {
    PUBSUB_NAME_MAX = 32 << 10,    /* bytes of a channel's name */
    PUBSUB_PATTERN_MAX = 1 << 10,  /* bytes of a pattern: with the former, what a match may take */
    PUBSUB_PATTERNS_MAX = 1 << 16, /* different patterns, of all clients */
    PUBSUB_CLIENT_BYTES_MAX =
        64 << 20, /* names that a client subscribes to, each with PUBSUB_EACH more */
    PUBSUB_EACH = 128
};

/* `hash_key` (16 bytes) is borrowed. Errors: ERR_NOMEM. */
must_check int pubsub_new(const uint8_t hash_key[16], struct pubsub **out, struct err *err);
void pubsub_free(struct pubsub *p); /* nobody subscribes any more; NULL is fine */

/* The client subscribes; no change if it did. Errors: ERR_TOO_BIG (one of the limits), ERR_NOMEM, with nothing changed. */
must_check int pubsub_subscribe(struct engine *e, struct client *c, enum pubsub_kind kind,
                                struct slice name, struct err *err);
void pubsub_unsubscribe(struct engine *e, struct client *c, enum pubsub_kind kind,
                        struct slice name); /* fine if it did not */

/* One of the names that the client subscribes to, borrowed until it no longer does; p is NULL if there are none. */
struct slice pubsub_any(const struct client *c, enum pubsub_kind kind);
size_t pubsub_n(const struct client *c, enum pubsub_kind kind); /* how many there are */

void pubsub_client_gone(struct engine *e, struct client *c); /* from all of them; RESET too */

/* Sends the message to who subscribes to that channel, of kind PUBSUB_CHANNEL or PUBSUB_SHARD, and to those whose patterns match; returns
 * how often it is sent. `channel` is of PUBSUB_NAME_MAX bytes at most; both are borrowed for the call. */
size_t pubsub_publish(struct engine *e, enum pubsub_kind kind, struct slice channel,
                      struct slice message);

/* Names somebody subscribes to, who does, and a walk over those that match (p NULL: all). */
size_t pubsub_n_names(const struct engine *e, enum pubsub_kind kind);
size_t pubsub_n_subscribers(const struct engine *e, enum pubsub_kind kind, struct slice name);
void pubsub_each(const struct engine *e, enum pubsub_kind kind, struct slice glob,
                 void (*each)(void *ctx, struct slice name), void *ctx);
size_t pubsub_n_clients(const struct engine *e); /* who subscribe to something */

/* Walks everything; NULL, or the name of the first invariant found broken. */
const char *pubsub_check(const struct engine *e);

#endif
