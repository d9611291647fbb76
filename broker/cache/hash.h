/* hash.h - the fields of a hash in memory: packed one behind the other while they are few and short, in a table
 * when not. Fields may expire; who looks sees them until they are removed (engine's business), with their time. */
#ifndef BROKER_CACHE_HASH_H
#define BROKER_CACHE_HASH_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/bytes.h"
#include "log/err.h"

struct hash;

struct hash_field { /* bytes are borrowed until the hash changes */
    struct slice field, value;
    uint64_t expiry_ms; /* 0: none */
};

enum { HASH_STRING_MAX = 1 << 30 }; /* bytes of a field's name or value */

/* A hash moves when it grows: what changes it takes the place where its owner keeps the pointer. Errors: ERR_NOMEM. */
must_check int hash_new(struct hash **out, struct err *e);
void hash_free(struct hash *h); /* NULL is fine; O(n): use hash_shrink for large ones */
/* Frees about `budget` fields' worth of a hash that nobody uses any more; false when it is gone. */
bool hash_shrink(struct hash *h, size_t budget);

/* Sets a field, whose bytes do not lie in the hash itself. *is_new tells whether it was not there. `seed` (16 bytes, borrowed
 * as long as the hash lives, always the same) keys its table. Errors: ERR_NOMEM, ERR_TOO_BIG (HASH_STRING_MAX): nothing has
 * changed. */
must_check int hash_set(struct hash **h, const uint8_t seed[16], const struct hash_field *f,
                        bool *is_new, struct err *e);
bool hash_delete(struct hash **h, struct slice field); /* false: it was not there */
/* Changes a field's expiry alone; false: it is not there. It may need memory: *rc is OK, or ERR_NOMEM with nothing changed. */
bool hash_set_expiry(struct hash **h, struct slice field, uint64_t expiry_ms, int *rc);
bool hash_find(const struct hash *h, struct slice field, struct hash_field *out);

size_t hash_n(const struct hash *h);
size_t hash_bytes(const struct hash *h);      /* of memory that it takes, kept up to date: O(1) */
size_t hash_n_expiring(const struct hash *h); /* fields with an expiry */
/* The earliest expiry of a field, 0 if none has one. O(1). */
uint64_t hash_next_expiry(const struct hash *h);
/* Fields that have expired at now_ms, at most `max`, the earliest among them (bytes borrowed). Returns how many; O(max). */
size_t hash_expired(struct hash *h, uint64_t now_ms, struct hash_field *out, size_t max);

/* Walks fields by a cursor as dict_scan does (0 at the beginning and at the end): a packed hash comes whole in one call, in the order
 * in which fields were first set. */
uint64_t hash_scan(struct hash *h, uint64_t cursor,
                   void (*each)(void *ctx, const struct hash_field *f), void *ctx);
bool hash_random(struct hash *h, uint64_t r, struct hash_field *out); /* false: empty */
bool hash_is_packed(const struct hash *h); /* for OBJECT ENCODING: listpack or hashtable */
const char *hash_check(const struct hash *h);

#endif
