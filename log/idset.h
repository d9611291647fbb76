/* idset.h - ascending IDs in few bytes: what was delivered or acknowledged, in records and checkpoints.
 *
 * IDs that follow each other within a millisecond, or at a constant step, cost a few bytes a run; others one or two bytes
 * each. Format: docs/format.md. */
#ifndef LOG_IDSET_H
#define LOG_IDSET_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/id.h"

enum {
    IDSET_MAX = 1 << 20, /* IDs of a set: a few bytes may stand for so many, but not for more */
    IDSET_ID_MAX = 2 * VARINT_MAX + 2,
    IDSET_HEAD_MAX = VARINT_MAX
};

/* Bytes of n strictly ascending IDs, at most IDSET_MAX, and writing them at p; returns the end. At most
 * IDSET_HEAD_MAX + n * IDSET_ID_MAX. */
size_t idset_size(const struct id *ids, size_t n);
uint8_t *idset_put(uint8_t *p, const struct id *ids, size_t n);

/* Reading. A run may stand for far more IDs than it has bytes. */
struct idset_reader {
    const uint8_t *p, *end; /* p: where the set ends, once all IDs have been read */
    uint64_t left;          /* IDs to come */
    uint64_t run;           /* of these, IDs of the run being read: each is `last` plus `step` */
    struct id last, step;   /* modulo 2^64 in each half */
    bool any;               /* an ID has been read */
};
/* False if the number of IDs is cut short, or above `max` or IDSET_MAX. */
bool idset_open(struct idset_reader *r, const uint8_t *p, const uint8_t *end, uint64_t max);
/* False at the end (r->left is 0), or where the bytes are malformed, which includes IDs that do not ascend (it is not). */
bool idset_next(struct idset_reader *r, struct id *out);

#endif
