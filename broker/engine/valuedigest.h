/* valuedigest.h - what values come to in a digest, and reading those that are cold. Only engine/digest.c uses it. */
#ifndef BROKER_ENGINE_VALUEDIGEST_H
#define BROKER_ENGINE_VALUEDIGEST_H
#include <stdatomic.h>
#include "broker/engine/state.h"

/* Of a value without its contents. */
struct valuedigest {
    uint64_t head[2];
    uint64_t lsn; /* of the record that has the contents */
    unsigned type;
};

void valuedigest_begin(const struct object *o, int db, struct valuedigest *out);

/* Adds the value's hash to the sum, with its contents from memory; false: it is cold. */
bool valuedigest_add(const struct valuedigest *x, const struct state *s, const struct object *o,
                     uint64_t sum[2]);

/* Of n values, whose records are sealed: sorts them, reads them and adds their hashes. May wait for the disk. Errors:
 * ERR_CORRUPT, ERR_IO, ERR_NOMEM. */
must_check int valuedigest_read(struct valuedigest *x, size_t n, const struct sealed *sealed,
                                struct blockcache *cache, struct block_decoder *decoder,
                                const atomic_bool *abandoned, uint64_t sum[2], struct err *e);

#endif
