/* tracking.h - CLIENT TRACKING: which client may have cached which key, and telling it when the key changes.
 *
 * By default the keys that a client reads are remembered, and it is told of each once, when it changes, expires or is evicted; with
 * BCAST it is told of all changes of keys with its prefixes, at the ends of rounds, and nothing is remembered. Names are those of all
 * databases together, as in Redis. While nobody tracks, a read or a change costs one comparison. */
#ifndef BROKER_PUBSUB_TRACKING_H
#define BROKER_PUBSUB_TRACKING_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/bytes.h"
#include "log/err.h"

struct client;
struct command;
struct engine;
struct tracking;

enum tracking_flag {
    TRACKING_BCAST = 1 << 0,
    TRACKING_OPTIN = 1 << 1,  /* only what is read behind CLIENT CACHING YES */
    TRACKING_OPTOUT = 1 << 2, /* all but that behind CLIENT CACHING NO */
    TRACKING_NOLOOP = 1 << 3, /* not of its own changes */
    TRACKING_BROKEN =
        1 << 4, /* there was something to tell, and whom it is redirected to has gone */
    TRACKING_CACHING = 1 << 5, /* CLIENT CACHING has been said of the next command */
    TRACKING_OPTIONS = TRACKING_BCAST | TRACKING_OPTIN | TRACKING_OPTOUT | TRACKING_NOLOOP,
};

enum {
    TRACKING_PREFIX_MAX = 1 << 10,   /* bytes of a prefix */
    TRACKING_PREFIXES_MAX = 1 << 10, /* of a client */
    TRACKING_ITEMS_A_KEY = 16, /* clients remembered, for each key of tracking-table-max-keys */
};

struct tracking_options {
    unsigned flags;        /* of TRACKING_OPTIONS */
    struct client *target; /* whom invalidations are redirected to; NULL: nobody */
    const struct slice *prefixes;
    size_t n_prefixes; /* with TRACKING_BCAST; 0: every key, as by an empty prefix */
};

struct tracking_stats {
    size_t n_clients, n_keys, n_items, n_prefixes;
};

/* `hash_key` (16 bytes) is borrowed. Errors: ERR_NOMEM. */
must_check int tracking_new(const uint8_t hash_key[16], struct tracking **out, struct err *err);
void tracking_free(struct tracking *t); /* nobody tracks any more; NULL is fine */

/* The client tracks from now on by these options, which the caller has found to fit each other and what held before; prefixes add to
 * those it has. Errors: ERR_NOMEM, ERR_TOO_BIG (prefixes), and then it tracks as before. */
must_check int tracking_on(struct engine *e, struct client *c, const struct tracking_options *o,
                           struct err *err);
void tracking_off(struct engine *e, struct client *c); /* fine if it does not track */

/* Of a client that tracks: its flags; whom it redirects to, 0 if nobody; its i-th prefix. */
unsigned tracking_flags(const struct client *c);
uint64_t tracking_redirect(const struct client *c);
size_t tracking_n_prefixes(const struct client *c);
struct slice tracking_prefix(const struct client *c, size_t i);

/* CLIENT CACHING has been said. */
void tracking_set_caching(struct client *c);

/* A client that tracks has run a command: remembers its keys, if it reads. Then, when all of the request is over (command NULL: there is
 * no such one), forgets CLIENT CACHING, unless that was it. */
void tracking_remember(struct engine *e, struct client *c, const struct command *command,
                       const struct slice *argv, size_t argc);
void tracking_command_over(struct client *c, const struct command *command);

/* The key has changed or is gone; whoever tracks it will be told. By e->current's doing, if that is not NULL. */
void tracking_key_changed(struct engine *e, struct slice key);
void tracking_flushed(
    struct engine
        *e); /* any number of keys are gone: all who track are told to forget everything */

/* At the end of a round: tells of the changes for BCAST, keeps the table within tracking-table-max-keys. True: more is to be done. */
bool tracking_round_end(struct engine *e);

void tracking_client_gone(struct engine *e, struct client *c);
void tracking_get_stats(const struct engine *e, struct tracking_stats *out);

/* Walks everything; NULL, or the name of the first invariant found broken. */
const char *tracking_check(const struct engine *e);

#endif
