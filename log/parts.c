/*
 * parts.c - where records are until they are sealed.
 *
 * One part is active and gets all records. When it is full at the end of a batch it is closed, and a new one begins; a
 * part so holds whole batches, and may exceed its size by one. At most LOG_PARTS_SEALING_MAX are closed: while that many
 * wait for the sealer, the active part grows, and the log is backed up.
 *
 * A part is full when it holds part_bytes of records; when the log took KEEPER_PART_WAL_MAX bytes for them (with `always`, each
 * small batch takes a sector), so that a start has a bounded log to read; when it is old, so that memory and the log of
 * a quiet server go as well; and when it is asked for.
 *
 * A part goes when it is sealed and nobody has pinned its addresses. Its chunks become spares; after some seconds in
 * which none was closed, these go too.
 */
#include "log/parts.h"

#include <assert.h>
#include <stdlib.h>

#define NEVER UINT64_MAX

enum {
    PARTS_WAL_MAX = 64 << 20,
    PARTS_IDLE_S = 10,
};

/* ---- one part ---- */

static struct arena *parts_new_part(struct parts *p)
{
    struct arena *a = malloc(sizeof *a);
    struct err e;

    if (a == NULL)
        return NULL;
    arena_init(a, &p->spares);
    a->since_wal = p->wal_bytes;
    a->since_ns = p->now_ns;
    if (arena_reserve_runs(a, 1, &e) != OK) {
        free(a);
        return NULL;
    }
    return a;
}

static void parts_free_part(struct arena *a)
{
    assert(atomic_load(&a->pins) == 0);
    arena_fini(a);
    free(a);
}

static bool parts_is_aging(const struct parts *p)
{
    return !p->passive && p->active->record_bytes >= LOG_PART_AGED_BYTES;
}

static bool parts_is_full(const struct parts *p)
{
    const struct arena *a = p->active;

    if (a->first_lsn == 0)
        return false;
    if (a->first_lsn <= p->close_up_to)
        return true;
    if (p->passive)
        return false;
    return a->record_bytes >= p->part_bytes || p->wal_bytes - a->since_wal >= PARTS_WAL_MAX ||
           (parts_is_aging(p) && p->now_ns - a->since_ns >= p->part_age_ns);
}

/* ---- from one to the next ---- */

void parts_took(struct parts *p, const uint8_t *bytes, size_t n, uint64_t first_lsn,
                uint64_t last_lsn)
{
    bool aged = parts_is_aging(p);

    arena_note(p->active, bytes, n, first_lsn, last_lsn);
    p->wal_bytes += n;
    if (parts_is_aging(p) != aged)
        p->more = true;
}

static bool parts_close(struct parts *p)
{
    struct arena *next = parts_new_part(p);

    if (next == NULL)
        return false; /* the active one grows until there is memory for a new one */
    *p->closed_tail = p->active;
    p->closed_tail = &p->active->next;
    p->n_closed++;
    p->active = next;
    return true;
}

static void parts_set_backed_up(struct parts *p, bool backed_up)
{
    if (p->backed_up == backed_up)
        return;
    p->backed_up = backed_up;
    atomic_store(&p->full, backed_up);
}

bool parts_batch_end(struct parts *p)
{
    bool is_full = parts_is_full(p);

    if (is_full && p->n_closed >= LOG_PARTS_SEALING_MAX) {
        parts_set_backed_up(p, !p->passive && p->active->record_bytes >= p->part_bytes);
        return false;
    }
    parts_set_backed_up(p, false);
    return is_full && parts_close(p);
}

bool parts_are_sealed(const struct parts *p, uint64_t lsn)
{
    if (p->closed != NULL && p->closed->first_lsn <= lsn)
        return false;
    return p->active->first_lsn == 0 || p->active->first_lsn > lsn;
}

/* ---- the end of one ---- */

void parts_drop(struct parts *p)
{
    struct arena *a = p->closed;

    p->closed = a->next;
    if (p->closed == NULL)
        p->closed_tail = &p->closed;
    p->n_closed--;
    a->next = p->pinned;
    p->pinned = a;
    p->n_pinned++;
    p->idle_ns = p->now_ns + PARTS_IDLE_S * (uint64_t)1000000000;
}

/* Frees sealed parts that nobody needs any more. */
static void parts_reap(struct parts *p)
{
    struct arena **at = &p->pinned;

    while (*at != NULL) {
        struct arena *a = *at;
        if (atomic_load(&a->pins) > 0) {
            at = &a->next;
            continue;
        }
        *at = a->next;
        p->n_pinned--;
        parts_free_part(a);
    }
}

uint64_t parts_turn(struct parts *p, uint64_t now_ns)
{
    uint64_t at = NEVER;

    p->now_ns = now_ns;
    p->more = false;
    parts_reap(p);
    if (p->active->first_lsn == 0)
        p->active->since_ns = now_ns;
    if (parts_is_aging(p) && p->n_closed < LOG_PARTS_SEALING_MAX)
        at = p->active->since_ns + p->part_age_ns;
    if (p->spares.n > 0 && now_ns >= p->idle_ns)
        arena_spares_drop(&p->spares);
    else if (p->spares.n > 0 && p->idle_ns < at)
        at = p->idle_ns;
    return at;
}

/* ---- pins ---- */

struct log_pin {
    size_t n;
    struct arena *parts[];
};

struct log_pin *parts_pin(struct parts *p)
{
    size_t n = p->n_closed + 1, i = 0;
    struct log_pin *pin;

    parts_reap(p);
    if (p->n_pinned + n > LOG_PINNED_PARTS_MAX)
        return NULL; /* all of these may be sealed before it is given back */
    pin = malloc(sizeof *pin + n * sizeof pin->parts[0]);
    if (pin == NULL)
        return NULL;
    pin->n = n;
    pin->parts[i++] = p->active;
    for (struct arena *a = p->closed; a != NULL; a = a->next)
        pin->parts[i++] = a;
    assert(i == n);
    for (i = 0; i < n; i++)
        atomic_fetch_add(&pin->parts[i]->pins, 1);
    return pin;
}

void parts_unpin(struct log_pin *pin)
{
    if (pin == NULL)
        return;
    for (size_t i = 0; i < pin->n; i++)
        atomic_fetch_sub(&pin->parts[i]->pins, 1);
    free(pin);
}

/* ---- all of them ---- */

void parts_count(const struct parts *p, struct log_stats *out)
{
    out->arena_bytes = p->active->bytes + p->spares.n * (uint64_t)ARENA_CHUNK_BYTES;
    out->unsealed_bytes = p->active->record_bytes;
    for (const struct arena *a = p->closed; a != NULL; a = a->next) {
        out->arena_bytes += a->bytes;
        out->unsealed_bytes += a->record_bytes;
    }
    for (const struct arena *a = p->pinned; a != NULL; a = a->next)
        out->arena_bytes += a->bytes;
    out->n_parts_sealing = p->n_closed;
    out->pinned_parts = p->n_pinned;
}

int parts_init(struct parts *p, const struct log_options *o, bool passive, uint64_t now_ns,
               struct err *e)
{
    *p = (struct parts){ .part_bytes = o->part_bytes,
                         .part_age_ns = o->part_age_ms * 1000000,
                         .passive = passive,
                         .now_ns = now_ns };
    p->closed_tail = &p->closed;
    if (arena_spares_init(&p->spares, o->part_bytes / ARENA_CHUNK_BYTES + 1, e) != OK)
        return e->code;
    p->active = parts_new_part(p);
    return p->active == NULL ? err_set(e, ERR_NOMEM, "no memory for the log's records") : OK;
}

static void parts_free_list(struct arena *a)
{
    while (a != NULL) {
        struct arena *next = a->next;
        parts_free_part(a);
        a = next;
    }
}

void parts_fini(struct parts *p)
{
    parts_free_list(p->active);
    parts_free_list(p->closed);
    parts_free_list(p->pinned);
    arena_spares_fini(&p->spares);
}
