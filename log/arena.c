/*
 * arena.c - chunks of anonymous memory that records live in.
 *
 * A record is written once, here, and goes to the file from here; indexes point at it. So its address
 * must never change, which rules out anything that moves when it grows. Chunks are mapped rather than
 * allocated: untouched pages cost nothing, a chunk given back really goes back, and a huge record gets a
 * chunk of its own without disturbing the heap.
 *
 * When a reservation does not fit the newest chunk, what is left of that chunk is never used; its whole
 * pages are unmapped, so at most a page is lost however much larger than the records reservations are.
 */
#include "log/arena.h"

#include <stdlib.h>
#include <sys/mman.h>

enum { ARENA_PAGE = 4096 }; /* where pages are larger, trimming fails and the chunk stays whole */

void arena_init(struct arena *a)
{
    *a = (struct arena){ 0 };
}

void arena_fini(struct arena *a)
{
    for (size_t i = 0; i < a->n; i++)
        munmap(a->chunks[i].base, a->chunks[i].size);
    free(a->chunks);
    arena_init(a);
}

static size_t arena_round(size_t bytes)
{
    return (bytes + ARENA_CHUNK_BYTES - 1) & ~(size_t)(ARENA_CHUNK_BYTES - 1);
}

/* Unmaps the whole pages behind what the newest chunk holds. */
static void arena_trim(struct arena *a)
{
    struct arena_chunk *c;
    size_t keep;

    if (a->n == 0)
        return;
    c = &a->chunks[a->n - 1];
    keep = ((size_t)(a->at - c->base) + ARENA_PAGE - 1) & ~(size_t)(ARENA_PAGE - 1);
    if (keep == c->size || munmap(c->base + keep, c->size - keep) != 0)
        return;
    a->bytes -= c->size - keep;
    c->size = keep;
    if (keep == 0)
        a->n--;
}

static int arena_grow_table(struct arena *a, struct err *e)
{
    size_t cap = a->cap == 0 ? 16 : 2 * a->cap;
    struct arena_chunk *chunks;

    if (a->n < a->cap)
        return OK;
    chunks = realloc(a->chunks, cap * sizeof *chunks);
    if (chunks == NULL)
        return err_set(e, ERR_NOMEM, "no memory for the log's records");
    a->chunks = chunks;
    a->cap = cap;
    return OK;
}

int arena_grow(struct arena *a, size_t bytes, struct err *e)
{
    size_t size;
    void *p;
    int rc;

    if (bytes > SIZE_MAX / 2)
        return err_set(e, ERR_NOMEM, "no memory for %zu bytes of records", bytes);
    rc = arena_grow_table(a, e);
    if (rc != OK)
        return rc;
    size = arena_round(bytes == 0 ? 1 : bytes);
    p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
             0);
    if (p == MAP_FAILED)
        return err_sys(e, ERR_NOMEM, "no memory for %zu bytes of records", bytes);
    arena_trim(a);
    a->chunks[a->n++] = (struct arena_chunk){ p, size };
    a->bytes += size;
    a->at = p;
    a->end = a->at + size;
    return OK;
}
