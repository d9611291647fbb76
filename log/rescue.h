/* rescue.h - what can still be read of a damaged segment, as a new one. Essay: rescue.c. */
#ifndef LOG_RESCUE_H
#define LOG_RESCUE_H
#include <stdbool.h>
#include <stdint.h>
#include "log/segment.h"

/* A stretch of keys, both ends included, of which nothing can be read. */
struct rescue_lost {
    uint64_t pos; /* in the damaged file */
    uint64_t oid_from, oid_to;
    struct id from, to;
    uint64_t n; /* entries; 0: not known */
};

struct rescue {
    struct io *io;
    const char *dir;
    const uint8_t *uuid;
    const struct segment_info *info; /* of the damaged one, as the manifest has it */
    uint64_t ordinal;                /* of the new one: never used before */
    void (*lost)(void *ctx, const struct rescue_lost *l);
    void *ctx;

    struct segment_info made; /* out; it stands for the same LSNs */
    uint64_t n_lost;          /* stretches */
};

/* Writes the new segment, durable under its unfinished name (segment_publish), even if nothing can be read: then it has no
 * entry. The damaged file stays as it is. Errors: ERR_CORRUPT (there is no file), ERR_FULL, ERR_IO, ERR_NOMEM: there is no new
 * one. */
must_check int rescue_run(struct rescue *r, struct err *e);

#endif
