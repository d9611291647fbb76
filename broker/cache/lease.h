/* lease.h - leases: who computes a value that is missing or old, one caller for each key at a time.
 *
 * In memory only. A lease ends when its key is written or removed by a command, when its time is over, or when there are more
 * leases than their bounds allow: then the one that would end first does. Belongs to the engine's thread. */
#ifndef BROKER_CACHE_LEASE_H
#define BROKER_CACHE_LEASE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/bytes.h"
#include "log/err.h"

enum {
    LEASES_MAX = 100000,
    LEASES_BYTES_MAX = 16 << 20, /* of their keys */
    LEASE_KEY_MAX = 64 << 10,
    LEASE_MS_MAX = 3600 * 1000,
    LEASE_TOKEN_N = 16, /* hexadecimal digits */
};

struct leases;

/* `ended` (may be NULL) is called when a lease ends by its time or by the bounds, so that somebody else may take it.
 * `hash_key` (16 bytes) is borrowed. Errors: ERR_NOMEM. */
must_check int leases_new(const uint8_t hash_key[16],
                          void (*ended)(void *ctx, int db, struct slice key), void *ctx,
                          struct leases **out, struct err *e);
void leases_free(struct leases *l); /* NULL is fine */

/* Whether somebody has the key at that time. */
bool lease_is_taken(const struct leases *l, int db, struct slice key, uint64_t now_ms);

/* Gives a key that is not taken away until until_ms; `number` becomes the token. Errors: ERR_TOO_BIG (the key is longer than
 * LEASE_KEY_MAX), ERR_NOMEM. */
must_check int lease_take(struct leases *l, int db, struct slice key, uint64_t until_ms,
                          uint64_t number, struct err *e);
void lease_token(uint64_t number, char out[LEASE_TOKEN_N]);

/* Whether this is the token of the key's lease, which lasts. */
bool lease_holds(const struct leases *l, int db, struct slice key, struct slice token,
                 uint64_t now_ms);

/* The key has been written; or all of a database (-1: of all) have. Cheap while there are none. */
void lease_end(struct leases *l, int db, struct slice key);
void lease_end_all(struct leases *l, int db);

/* Ends those whose time is over. */
void leases_expire(struct leases *l, uint64_t now_ms);
uint64_t leases_next_ms(
    const struct leases *l); /* when the next one is; UINT64_MAX: there is none */

size_t leases_n(const struct leases *l);
/* Walks everything; NULL, or the name of the first invariant found broken. */
const char *leases_check(const struct leases *l);

#endif
