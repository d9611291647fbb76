/* arena.h - a part of the memory for records: taken front to back, at addresses that stay until arena_fini.
 *
 * arena_reserve makes sure that the next takes of so many bytes in all lie in one chunk; arena_take
 * then cannot fail. What of it are records of the log is noted as runs, so that whoever seals the part finds them
 * all. One thread, the engine's, takes; others may read what was taken. */
#ifndef LOG_ARENA_H
#define LOG_ARENA_H
#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
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

/* Chunks of ARENA_CHUNK_BYTES from parts that are gone, for parts to come: their pages are there already. The
 * engine's thread. */
struct arena_spares {
    uint8_t **chunks;
    size_t n, max;
    bool warm; /* a first chunk may be large: there have been many records lately */
};

/* Keeps at most `max` of them. Errors: ERR_NOMEM. */
must_check int arena_spares_init(struct arena_spares *s, size_t max, struct err *e);
void arena_spares_fini(struct arena_spares *s);
/* Gives the spare memory back: nothing is being appended. */
void arena_spares_drop(struct arena_spares *s);

/* Whole records, one behind the other. */
struct arena_run {
    const uint8_t *p;
    size_t n;
};

struct arena {
    uint8_t *at, *end;    /* what is left of the chunk in use */
    enum arena_kind kind; /* which one that is; its at in `open` is behind the times */
    struct arena_open open[ARENA_N_KINDS];
    struct arena_chunk *chunks;
    size_t n, cap;
    uint64_t bytes; /* mapped in all */
    struct arena_spares *spares;
    struct arena_run *runs;
    size_t n_runs, cap_runs;
    uint64_t record_bytes;        /* of all runs */
    uint64_t first_lsn, last_lsn; /* of the records; 0 and 0: there are none */
    struct arena *next;           /* the keeper's */
    atomic_uint pins;             /* who needs the addresses, besides the keeper */
    uint64_t since_ns,
        since_wal; /* when, and at which byte of the log, the first record came: the keeper's */
};

/* `spares` (borrowed) gives and takes chunks; NULL: none. */
void arena_init(struct arena *a, struct arena_spares *spares);
void arena_fini(struct arena *a);

/* Makes room for `n` more runs. Errors: ERR_NOMEM. */
must_check int arena_reserve_runs(struct arena *a, size_t n, struct err *e);

/* The `n` bytes at p, taken from here, are records of a batch that begins with `first_lsn` and ends with `last_lsn`. A
 * run that adjoins the last one needs no room. */
void arena_note(struct arena *a, const uint8_t *p, size_t n, uint64_t first_lsn, uint64_t last_lsn);

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
