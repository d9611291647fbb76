/*
 * digest.c - a hash of the whole logical state.
 *
 * The hash of one object is the XXH3_128 of its header followed by its entries as they lie in the log:
 *
 *   header   db, type, str name, expiry_ms, id last, entries_added, id max_deleted, 16 bytes of idmp_digest
 *
 * Left out is what another process may have otherwise: oids, LSNs, hash keys, the order of tables. The
 * digest is the sum modulo 2^128 of the objects' hashes.
 *
 * Made in slices, it is still the digest of one moment. Three rules pin that version while commands go on:
 *
 *   - Before an object that has not been hashed yet loses entries, it is hashed as a whole.
 *   - Before its header changes or an entry is added, the header is kept in a `pin`, with the ID of the entry
 *     that was then the last; entries above it are left out later.
 *   - An object that loses its name stays in memory until the digest is done (state_reap waits).
 *
 * So every object of the pinned version is found in one of four places, looked through in this order: the
 * databases, the pins (an object may have been renamed to where the scan had already been), the objects dropped
 * since, the databases flushed since.
 *
 *   G1  object.digested is number if a pin has its header, number + 1 if it is in the sum or does not belong
 *       there, less if neither.
 *   G2  Numbers grow by 2 with each digest.
 *
 * The client waits like a reader that blocks, for a key of the empty name; a false wake-up costs nothing.
 */
#include "broker/engine/digest.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>
#include "broker/engine/blocking.h"
#include "broker/engine/engine.h"
#include "broker/engine/idmp.h"
#include "broker/engine/reply.h"
#include "log/entry.h"

enum { DIGEST_HEADER_MAX = 8 * VARINT_MAX + 16 + 16 }; /* without the name */

struct digest_header {
    struct id top; /* ID of the last entry that counts */
    size_t n;
    uint8_t *bytes;
};

struct digest_pin {
    struct dict_node node;       /* must be first */
    struct object *object;       /* the key: an oid may change (state_set_id) */
    struct digest_header header; /* its bytes lie behind the struct */
};

enum digest_phase { DIGEST_LIVE, DIGEST_PINS, DIGEST_DROPPED, DIGEST_GRAVES, DIGEST_DONE };

struct digest {
    struct state *state;
    struct client *owner;
    uint64_t lsn, clock; /* of the pinned version */
    uint64_t sum[2];
    uint32_t number; /* G2 */
    enum digest_phase phase;
    int db; /* where the scan is */
    uint64_t cursor;
    struct object *dropped, *dropped_end; /* the ones before `end` were dropped since */
    struct state_grave *grave, *grave_end;
    struct object **work; /* found and not hashed yet */
    size_t n_work, cap_work;
    bool failed; /* memory ran out */
    struct dict pins;
    struct object *current; /* being hashed, entries from `next` on */
    struct id next, top;
    XXH3_state_t *hash;
};

/* ---- one object ---- */

static void digest_add(uint64_t sum[2], uint64_t low, uint64_t high)
{
    sum[0] += low;
    sum[1] += high + (sum[0] < low);
}

static struct id digest_top(const struct stream *st)
{
    struct stream_pos pos = stream_index_end(st->tail);
    struct id id = ID_MIN;

    if (stream_index_prev(st->tail, &pos))
        entry_id(stream_index_at(st->tail, pos), &id);
    return id;
}

static size_t digest_header_max(const struct object *o)
{
    return DIGEST_HEADER_MAX + o->name.n;
}

/* Writes the header into h->bytes, which has room for digest_header_max. */
static void digest_make_header(const struct object *o, uint64_t clock, struct digest_header *h)
{
    const struct stream *st = (const struct stream *)o;
    uint64_t idmp[2] = { 0, 0 };
    uint8_t *p = h->bytes;

    assert(o->type == OBJECT_STREAM);
    idmp_digest(stream_idmp(st), clock >> 16, idmp);
    p = varint_put(varint_put(p, o->db), o->type);
    p = varint_put(slice_put(p, o->name), o->expiry_ms);
    p = varint_put(id_put(p, st->last_id), st->entries_added);
    p = id_put(p, stream_max_deleted(st));
    put_u64le(p, idmp[0]);
    put_u64le(p + 8, idmp[1]);
    h->n = (size_t)(p + 16 - h->bytes);
    h->top = digest_top(st);
}

/* Hashes up to `budget` entries of [*next, top]; true when that was all. */
static bool digest_entries(XXH3_state_t *hash, const struct stream *st, struct id *next,
                           struct id top, size_t *budget)
{
    struct stream_pos pos = stream_index_seek(st->tail, *next);
    const uint8_t *entry;

    while ((entry = stream_index_at(st->tail, pos)) != NULL) {
        entry_id(entry, next);
        if (id_cmp(*next, top) > 0)
            return true;
        if (*budget == 0)
            return false;
        --*budget;
        XXH3_128bits_update(hash, entry, (size_t)(entry_end(entry) - entry));
        stream_index_next(st->tail, &pos);
    }
    return true;
}

static void digest_finish(XXH3_state_t *hash, uint64_t sum[2])
{
    XXH128_hash_t h = XXH3_128bits_digest(hash);
    digest_add(sum, h.low64, h.high64);
}

/* The whole object in one go. */
static void digest_whole(XXH3_state_t *hash, const struct object *o,
                         const struct digest_header *header, uint64_t sum[2])
{
    struct id next = ID_MIN;
    size_t budget = SIZE_MAX;

    XXH3_128bits_reset(hash);
    XXH3_128bits_update(hash, header->bytes, header->n);
    digest_entries(hash, (const struct stream *)o, &next, header->top, &budget);
    digest_finish(hash, sum);
}

/* ---- at once ---- */

struct digest_all {
    uint64_t clock, *sum;
    XXH3_state_t *hash;
    bool failed;
};

static bool digest_now(XXH3_state_t *hash, const struct object *o, uint64_t clock, uint64_t sum[2])
{
    struct digest_header header = { .bytes = malloc(digest_header_max(o)) };

    if (header.bytes == NULL)
        return false;
    digest_make_header(o, clock, &header);
    digest_whole(hash, o, &header, sum);
    free(header.bytes);
    return true;
}

static void digest_all_node(void *ctx, struct dict_node *node)
{
    struct digest_all *all = ctx;

    if (!digest_now(all->hash, (const struct object *)(const void *)node, all->clock, all->sum))
        all->failed = true;
}

int state_digest(const struct state *s, uint64_t clock, uint64_t sum[2], struct err *e)
{
    struct digest_all all = { clock, sum, XXH3_createState(), false };

    sum[0] = 0;
    sum[1] = 0;
    if (all.hash == NULL)
        return err_set(e, ERR_NOMEM, "make a digest");
    for (int db = 0; db < CONFIG_DATABASES; db++) {
        uint64_t cursor = 0;
        do /* a scan marks the dict as being scanned, and no more */
            cursor = dict_scan((struct dict *)(uintptr_t)&s->dbs[db].names, cursor, digest_all_node,
                               &all);
        while (cursor != 0);
    }
    XXH3_freeState(all.hash);
    return all.failed ? err_set(e, ERR_NOMEM, "make a digest") : OK;
}

/* ---- in slices ---- */

static struct digest_pin *digest_pin_of_node(const struct dict_node *node)
{
    return (struct digest_pin *)(uintptr_t)node; /* node is its first member */
}

static struct slice digest_pin_key(const struct dict_node *node)
{
    return slice_of(&digest_pin_of_node(node)->object, sizeof(struct object *));
}

static struct digest_pin *digest_pin_find(const struct digest *d, const struct object *o)
{
    return digest_pin_of_node(dict_find(&d->pins, slice_of(&o, sizeof o)));
}

static struct digest *digest_new(struct state *s, struct client *owner, uint64_t lsn,
                                 uint64_t clock)
{
    struct digest *d = calloc(1, sizeof *d);

    if (d == NULL)
        return NULL;
    d->hash = XXH3_createState();
    if (d->hash == NULL) {
        free(d);
        return NULL;
    }
    dict_init(&d->pins, s->hash_key, digest_pin_key);
    d->state = s;
    d->owner = owner;
    d->lsn = lsn;
    d->clock = clock;
    s->digest_number += 2;
    d->number = s->digest_number;
    d->dropped_end = s->dropped;
    d->grave_end = s->graves;
    return d;
}

static void digest_free_pin(void *ctx, struct dict_node *node)
{
    (void)ctx;
    free(digest_pin_of_node(node));
}

void digest_free(struct digest *d)
{
    uint64_t cursor = 0;

    if (d == NULL)
        return;
    do
        cursor = dict_scan(&d->pins, cursor, digest_free_pin, NULL);
    while (cursor != 0);
    dict_fini(&d->pins);
    XXH3_freeState(d->hash);
    free(d->work);
    free(d);
}

static bool digest_is_done(const struct digest *d, const struct object *o)
{
    return o->digested > d->number; /* G1 */
}

void digest_skip(struct digest *d, struct object *o)
{
    o->digested = d->number + 1;
}

/* The object that is being hashed is complete. */
static void digest_end_current(struct digest *d)
{
    digest_finish(d->hash, d->sum);
    d->current->digested = d->number + 1;
    d->current = NULL;
}

/* Starts hashing o: its header now, or the one that was pinned. */
static void digest_begin(struct digest *d, struct object *o)
{
    struct digest_pin *pin = o->digested == d->number ? digest_pin_find(d, o) : NULL;
    struct digest_header header = { 0 };

    if (pin != NULL) {
        header = pin->header;
    } else {
        header.bytes = malloc(digest_header_max(o));
        if (header.bytes == NULL) {
            d->failed = true;
            return;
        }
        digest_make_header(o, d->clock, &header);
    }
    XXH3_128bits_reset(d->hash);
    XXH3_128bits_update(d->hash, header.bytes, header.n);
    if (pin == NULL)
        free(header.bytes);
    d->current = o;
    d->next = ID_MIN;
    d->top = header.top;
}

static void digest_pin(struct digest *d, struct object *o)
{
    struct digest_pin *pin = malloc(sizeof *pin + digest_header_max(o));

    if (pin == NULL) {
        d->failed = true;
        return;
    }
    pin->object = o;
    pin->header.bytes = (uint8_t *)(pin + 1);
    digest_make_header(o, d->clock, &pin->header);
    dict_add(&d->pins, &pin->node, digest_pin_key(&pin->node));
    o->digested = d->number;
}

/* Hashes o to its end before it loses entries; what is being hashed at the moment goes on afterwards. */
static void digest_include(struct digest *d, struct object *o)
{
    struct digest_pin *pin = o->digested == d->number ? digest_pin_find(d, o) : NULL;
    size_t budget = SIZE_MAX;
    XXH3_state_t *hash;

    if (d->current == o) {
        digest_entries(d->hash, (const struct stream *)o, &d->next, d->top, &budget);
        digest_end_current(d);
        return;
    }
    hash = XXH3_createState();
    if (hash == NULL)
        d->failed = true;
    else if (pin != NULL)
        digest_whole(hash, o, &pin->header, d->sum);
    else if (!digest_now(hash, o, d->clock, d->sum))
        d->failed = true;
    XXH3_freeState(hash);
    o->digested = d->number + 1;
}

void digest_before(struct digest *d, struct object *o, enum digest_change change)
{
    if (d->failed || digest_is_done(d, o))
        return;
    if (change == DIGEST_REMOVE)
        digest_include(d, o);
    else if (o->digested != d->number && d->current != o)
        digest_pin(d, o);
}

static void digest_push(struct digest *d, struct object *o)
{
    struct object **work;
    size_t cap;

    if (digest_is_done(d, o))
        return;
    if (d->n_work == d->cap_work) {
        cap = d->cap_work == 0 ? 16 : d->cap_work * 2;
        work = realloc(d->work, cap * sizeof *work);
        if (work == NULL) {
            d->failed = true;
            return;
        }
        d->work = work;
        d->cap_work = cap;
    }
    d->work[d->n_work++] = o;
}

static void digest_push_node(void *ctx, struct dict_node *node)
{
    digest_push(ctx, (struct object *)node);
}

static void digest_push_pin(void *ctx, struct dict_node *node)
{
    digest_push(ctx, digest_pin_of_node(node)->object);
}

/* Looks for objects in the next bucket, or at the next dropped one. */
static void digest_look(struct digest *d)
{
    switch (d->phase) {
    case DIGEST_LIVE:
        d->cursor = dict_scan(&d->state->dbs[d->db].names, d->cursor, digest_push_node, d);
        if (d->cursor == 0 && ++d->db == CONFIG_DATABASES)
            d->phase = DIGEST_PINS;
        break;
    case DIGEST_PINS:
        d->cursor = dict_scan(&d->pins, d->cursor, digest_push_pin, d);
        if (d->cursor == 0) {
            d->phase = DIGEST_DROPPED;
            d->dropped = d->state->dropped;
            d->grave = d->state->graves;
        }
        break;
    case DIGEST_DROPPED:
        if (d->dropped == d->dropped_end) {
            d->phase = DIGEST_GRAVES;
            break;
        }
        digest_push(d, d->dropped);
        d->dropped = (struct object *)d->dropped->node.next;
        break;
    case DIGEST_GRAVES:
        if (d->grave == d->grave_end) {
            d->phase = DIGEST_DONE;
            break;
        }
        d->cursor = dict_scan(&d->grave->names, d->cursor, digest_push_node, d);
        if (d->cursor == 0)
            d->grave = d->grave->next;
        break;
    case DIGEST_DONE: break;
    }
}

static void digest_run(struct digest *d, size_t budget)
{
    while (budget > 0 && d->phase != DIGEST_DONE && !d->failed) {
        if (d->current != NULL) {
            if (digest_entries(d->hash, (const struct stream *)d->current, &d->next, d->top,
                               &budget))
                digest_end_current(d);
        } else if (d->n_work > 0) {
            struct object *o = d->work[--d->n_work];
            if (!digest_is_done(d, o))
                digest_begin(d, o);
        } else {
            digest_look(d);
            budget--;
        }
    }
}

/* ---- BECK DIGEST ---- */

struct digest_wait { /* what blocking.c keeps for a client that waits */
    struct engine *engine;
    struct client *client;
};

static void digest_reply(struct client *c, uint64_t lsn, const uint64_t sum[2])
{
    char text[33];

    snprintf(text, sizeof text, "%016" PRIx64 "%016" PRIx64, sum[1], sum[0]);
    reply_array(c, 2);
    reply_u64(c, lsn);
    reply_str(c, text);
}

static void digest_reply_nomem(struct client *c)
{
    reply_error(c, "OOM not enough memory for a digest");
}

static void digest_drop(struct engine *e)
{
    digest_free(e->state.digest);
    e->state.digest = NULL;
}

/* A blocking_try: replies when the client's own digest is done, and starts it when it is its turn. */
static bool digest_serve(struct engine *e, struct client *c, void *ctx)
{
    struct digest *d = e->state.digest;

    (void)ctx;
    if (d == NULL) {
        e->state.digest = digest_new(&e->state, c, log_last_lsn(e->log), e->clock);
        if (e->state.digest == NULL)
            digest_reply_nomem(c);
        return e->state.digest == NULL;
    }
    if (d->owner != c || (d->phase != DIGEST_DONE && !d->failed))
        return false;
    engine_need_all(e, c);
    if (d->failed)
        digest_reply_nomem(c);
    else
        digest_reply(c, d->lsn, d->sum);
    digest_drop(e);
    return true;
}

static void digest_release(void *ctx)
{
    struct digest_wait *wait = ctx;
    struct engine *e = wait->engine;

    if (e->state.digest != NULL && e->state.digest->owner == wait->client)
        digest_drop(e);
    e->n_digest_waits--;
    free(wait);
}

static void digest_wait(struct engine *e, struct client *c)
{
    struct slice key = slice_of("", 0);
    struct digest_wait *ctx = malloc(sizeof *ctx);
    struct blocking_wait wait = { .keys = &key,
                                  .n_keys = 1,
                                  .deadline_ms = UINT64_MAX,
                                  .serve = digest_serve,
                                  .release = digest_release,
                                  .ctx = ctx };

    if (ctx == NULL || blocking_block(e->blocking, c, &wait, NULL) != OK) {
        free(ctx);
        digest_reply_nomem(c);
        return;
    }
    *ctx = (struct digest_wait){ e, c };
    e->n_digest_waits++;
    blocking_ready(e->blocking, c->db, key);
}

void digest_command(struct engine *e, struct client *c, bool sync)
{
    uint64_t sum[2];

    if (!sync && !c->in_exec) {
        digest_wait(e, c);
        return;
    }
    engine_need_all(e, c);
    if (state_digest(&e->state, e->clock, sum, NULL) == OK)
        digest_reply(c, log_last_lsn(e->log), sum);
    else
        digest_reply_nomem(c);
}

bool digest_step(struct engine *e, size_t budget)
{
    struct digest *d = e->state.digest;

    if (e->n_digest_waits == 0)
        return false;
    if (d != NULL)
        digest_run(d, budget);
    if (d == NULL || d->failed || d->phase == DIGEST_DONE)
        for (int db = 0; db < CONFIG_DATABASES; db++)
            blocking_ready(e->blocking, db, slice_of("", 0));
    return true;
}
