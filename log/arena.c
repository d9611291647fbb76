/*
 * arena.c - chunks of anonymous memory that records live in until they are sealed.
 *
 * A record is written once, here, and goes to the file from here; indexes point at it. So its
 * address must never change, which rules out anything that moves when it grows. Chunks are mapped
 * rather than allocated: untouched pages cost nothing, and a chunk given back really goes back.
 * All records of a part leave together, when the part has become a segment (keeper.c).
 *
 * Touching memory for the first time is the largest cost of appending: about 2 us a page of 4 KiB
 * on a virtual machine, 50 ns a record of 100 bytes; as part of a huge page it is a quarter of
 * that. So chunks are aligned huge pages, but for the first one, which an idle server should not
 * pay 2 MiB for; and the chunks of a part that is gone are kept as spares for the next one, whose records
 * then touch no new page at all.
 *
 * Two chunks are open: one for usual reservations and one for those above ARENA_LARGE_BYTES, which
 * gets small pages and, for a huge record, just its size. A large reservation that does not fit
 * thus costs nothing of the chunk that the small ones fill. What is left of a chunk when a
 * reservation of its own kind does not fit it is never used. Of large chunks its whole pages are unmapped, so
 * however much larger than the records reservations are, little is lost; of a small one it is less than
 * ARENA_LARGE_BYTES, and not worth breaking a huge page for.
 */
#include "log/arena.h"

#include <stdlib.h>
#include <sys/mman.h>

enum {
    ARENA_PAGE_BYTES = 4096, /* where pages are larger, trimming fails and the chunk stays whole */
    ARENA_LARGE_CHUNK_BYTES = 1 << 20, /* at least */
};

/* ---- spares ---- */

int arena_spares_init(struct arena_spares *s, size_t max, struct err *e)
{
    *s = (struct arena_spares){ .max = max };
    s->chunks = calloc(max, sizeof *s->chunks);
    return s->chunks == NULL ? err_set(e, ERR_NOMEM, "no memory for the log's records") : OK;
}

void arena_spares_drop(struct arena_spares *s)
{
    while (s->n > 0)
        munmap(s->chunks[--s->n], ARENA_CHUNK_BYTES);
    s->warm = false;
}

void arena_spares_fini(struct arena_spares *s)
{
    arena_spares_drop(s);
    free(s->chunks);
    *s = (struct arena_spares){ 0 };
}

/* Keeps the chunk if it may; false if it is to be unmapped. */
static bool arena_spare(struct arena_spares *s, const struct arena_chunk *c)
{
    bool is_whole =
        c->size == ARENA_CHUNK_BYTES && ((uintptr_t)c->base & (ARENA_CHUNK_BYTES - 1)) == 0;

    if (s == NULL || !is_whole || s->n == s->max)
        return false;
    s->chunks[s->n++] = c->base;
    return true;
}

/* ---- a part ---- */

void arena_init(struct arena *a, struct arena_spares *spares)
{
    *a = (struct arena){ .spares = spares };
}

void arena_fini(struct arena *a)
{
    for (size_t i = 0; i < a->n; i++)
        if (a->chunks[i].size > 0 && !arena_spare(a->spares, &a->chunks[i]))
            munmap(a->chunks[i].base, a->chunks[i].size);
    free(a->chunks);
    free(a->runs);
    arena_init(a, a->spares);
}

int arena_reserve_runs(struct arena *a, size_t n, struct err *e)
{
    size_t cap = a->cap_runs == 0 ? 16 : a->cap_runs;
    struct arena_run *runs;

    if (n <= a->cap_runs - a->n_runs)
        return OK;
    while (cap - a->n_runs < n)
        cap *= 2;
    runs = realloc(a->runs, cap * sizeof *runs);
    if (runs == NULL)
        return err_set(e, ERR_NOMEM, "no memory for the log's records");
    a->runs = runs;
    a->cap_runs = cap;
    return OK;
}

void arena_note(struct arena *a, const uint8_t *p, size_t n, uint64_t first_lsn, uint64_t last_lsn)
{
    struct arena_run *last = a->n_runs > 0 ? &a->runs[a->n_runs - 1] : NULL;

    assert(last_lsn >= a->last_lsn);
    if (last != NULL && last->p + last->n == p) {
        last->n += n;
    } else {
        assert(a->n_runs < a->cap_runs);
        a->runs[a->n_runs++] = (struct arena_run){ p, n };
    }
    if (a->first_lsn == 0)
        a->first_lsn = first_lsn;
    a->last_lsn = last_lsn;
    a->record_bytes += n;
}

/* ---- chunks ---- */

static size_t arena_round(size_t bytes, size_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

/* Unmaps the whole pages behind what the chunk holds. */
static void arena_trim(struct arena *a, struct arena_open *o)
{
    struct arena_chunk *c;
    size_t keep;

    if (o->at == NULL)
        return;
    c = &a->chunks[o->chunk];
    keep = arena_round((size_t)(o->at - c->base), ARENA_PAGE_BYTES);
    if (keep == c->size || munmap(c->base + keep, c->size - keep) != 0)
        return;
    a->bytes -= c->size - keep;
    c->size = keep;
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

static uint8_t *arena_map(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

/* A chunk that is one huge page, if the kernel has one. */
static uint8_t *arena_map_huge(struct arena_spares *spares)
{
    uint8_t *p;
    size_t before;

    if (spares != NULL) {
        spares->warm = true;
        if (spares->n > 0)
            return spares->chunks[--spares->n];
    }
    p = arena_map(2 * (size_t)ARENA_CHUNK_BYTES);
    if (p == NULL)
        return NULL;
    before = (size_t)(-(uintptr_t)p & (ARENA_CHUNK_BYTES - 1));
    if (before > 0)
        munmap(p, before);
    munmap(p + before + ARENA_CHUNK_BYTES, ARENA_CHUNK_BYTES - before);
    p += before;
    madvise(p, ARENA_CHUNK_BYTES, MADV_HUGEPAGE); /* without effect where there are none */
    return p;
}

/* Maps a chunk for a reservation that no open one has room for. */
static int arena_add(struct arena *a, enum arena_kind kind, size_t bytes, struct err *e)
{
    struct arena_open *o = &a->open[kind];
    size_t size = ARENA_CHUNK_BYTES;
    uint8_t *p;
    int rc = arena_grow_table(a, e);

    if (rc != OK)
        return rc;
    if (kind == ARENA_LARGE)
        size = bytes < ARENA_LARGE_CHUNK_BYTES ? ARENA_LARGE_CHUNK_BYTES
                                               : arena_round(bytes, ARENA_PAGE_BYTES);
    else if (o->at == NULL && (a->spares == NULL || !a->spares->warm))
        size = ARENA_FIRST_BYTES;
    p = size == ARENA_CHUNK_BYTES && kind == ARENA_SMALL ? arena_map_huge(a->spares)
                                                         : arena_map(size);
    if (p == NULL)
        return err_sys(e, ERR_NOMEM, "no memory for %zu bytes of records", bytes);
    if (kind == ARENA_LARGE)
        arena_trim(a, o);
    *o = (struct arena_open){ p, p + size, a->n };
    a->chunks[a->n++] = (struct arena_chunk){ p, size };
    a->bytes += size;
    return OK;
}

int arena_grow(struct arena *a, size_t bytes, struct err *e)
{
    enum arena_kind kind = bytes > ARENA_LARGE_BYTES ? ARENA_LARGE : ARENA_SMALL;
    struct arena_open *o = &a->open[kind];

    if (bytes > SIZE_MAX / 2)
        return err_set(e, ERR_NOMEM, "no memory for %zu bytes of records", bytes);
    a->open[a->kind].at = a->at;
    if (bytes > (size_t)(o->end - o->at)) {
        int rc = arena_add(a, kind, bytes, e);
        if (rc != OK)
            return rc;
    }
    a->kind = kind;
    a->at = o->at;
    a->end = o->end;
    return OK;
}
