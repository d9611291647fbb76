/* arena.h - memory for records: taken front to back, at addresses that stay until arena_fini.
 *
 * arena_reserve makes sure that the next takes of so many bytes in all lie in one chunk; arena_take
 * then cannot fail. One thread, the engine's, takes; others may read what was taken. */
#ifndef LOG_ARENA_H
#define LOG_ARENA_H
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include "log/err.h"

enum {
    ARENA_FIRST_BYTES = 256 << 10, /* of the first chunk */
    ARENA_CHUNK_BYTES = 2 << 20,   /* of those after it: a huge page */
    ARENA_LARGE_BYTES = 64 << 10   /* reservations above it get chunks of another kind */
};

struct arena_chunk {
    uint8_t *base;
    size_t size; /* mapped bytes */
};

/* A chunk that still has room. */
struct arena_open {
    uint8_t *at, *end;
    size_t chunk; /* its place in `chunks`, meaningless if at == NULL */
};

enum arena_kind { ARENA_SMALL, ARENA_LARGE, ARENA_N_KINDS };

struct arena {
    uint8_t *at, *end;    /* what is left of the chunk in use */
    enum arena_kind kind; /* which one that is; its at in `open` is behind the times */
    struct arena_open open[ARENA_N_KINDS];
    struct arena_chunk *chunks;
    size_t n, cap;
    uint64_t bytes; /* mapped in all */
};

void arena_init(struct arena *a);
void arena_fini(struct arena *a);

/* Goes on in a chunk with room for `bytes`, a new one if need be. Errors: ERR_NOMEM; nothing has
 * changed then. */
must_check int arena_grow(struct arena *a, size_t bytes, struct err *e);

/* Makes the next takes of `bytes` in all adjoin. Errors: ERR_NOMEM. */
must_check static inline int arena_reserve(struct arena *a, size_t bytes, struct err *e)
{
    return bytes <= (size_t)(a->end - a->at) ? OK : arena_grow(a, bytes, e);
}

/* Takes n bytes of what was reserved. */
static inline uint8_t *arena_take(struct arena *a, size_t n)
{
    uint8_t *p = a->at;

    assert(n <= (size_t)(a->end - p));
    a->at = p + n;
    return p;
}

/* Gives back the last `n` bytes taken, which came from one reservation, the last. */
static inline void arena_untake(struct arena *a, size_t n)
{
    a->at -= n;
}

#endif
