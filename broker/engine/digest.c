/*
 * digest.c - a hash of the whole logical state.
 *
 * The hash of one object is the XXH3_128 of its header and of what its entries, and its groups, come to:
 *
 *   header   db, type, str name, expiry_ms, id last, entries_added, n_entries, id max_deleted, settings, 16 bytes of
 *            idmp_digest
 *   entries  the sum modulo 2^128 of the XXH3_128 of each one, as it lies in the log; an entry has its ID in it
 *   groups   if there are any: the sum modulo 2^128 of the XXH3_128 of each one's head, consumers and pending entries
 *            (engine/groupdigest.c)
 *
 * A value's hash is that of engine/valuedigest.c.
 *
 * Left out is what another process may have otherwise: oids, LSNs, hash keys, the order of tables, and where entries lie.
 * A sum does not mind the latter: the tail is hashed here, on the engine's thread, what is in segments by the log's
 * workers from what the stream was (log/reader.h). The digest is the sum modulo 2^128 of the objects' hashes.
 *
 *   gather    the objects, from the table by oid
 *   sort      them by oid, as they lie in segments: then each block is decoded once. By a worker, if they are many
 *   visit     one after the other: header, tail, groups, and a snapshot of what is sealed, some at a time to a worker
 *   scan      values, by their names: at once what is in memory; what is cold by a worker, many at a time, in the order of records
 *
 * Made in slices, it is still the digest of one moment. Three rules pin that version while commands go on:
 *
 *   - Before an object that has not been hashed yet loses entries, or they lose their addresses, its tail is hashed as
 *     a whole, and the snapshot taken.
 *   - Before its header or a group changes or an entry is added, the header is kept in a `pin`, with the ID of the entry
 *     that was then the last; entries above it are left out later. Pending entries, which may be many, are not kept: from
 *     then on each group makes up for what changes (pel_sum).
 *   - Before an object is dropped, its tail is hashed in the same way. What is flushed stays in the table by oid until the
 *     digest is done (state_reap waits), and hears like others that addresses end.
 *
 * A value is hashed before it changes, unless the scan has been there: its place in the table, and its revision, tell.
 *
 *   G1  object.digested is number if a pin has its header, number + 1 if it is in the sum (or on its way there) or does
 *       not belong there, less if neither.
 *   G2  Numbers grow by 2 with each digest.
 *   G3  Entries in segments have smaller IDs than the tail's first one.
 *
 * The client waits like a reader that blocks, for a key of the empty name; a false wake-up costs nothing. If it goes away,
 * the digest is abandoned: workers see that and give up, the last one to be done frees it.
 */
#include "broker/engine/digest.h"
#include <assert.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>
#include "broker/engine/blocking.h"
#include "broker/engine/groupdigest.h"
#include "broker/engine/engine.h"
#include "broker/engine/idmp.h"
#include "broker/engine/reply.h"
#include "broker/engine/valuedigest.h"
#include "log/entry.h"

enum {
    DIGEST_SUM_BYTES = 16,
    /* Without the name; with the sums of the entries and of the groups. */
    DIGEST_HEADER_MAX = (9 + 2 * SETTING_COUNT) * VARINT_MAX + 16 + 2 * DIGEST_SUM_BYTES,
    DIGEST_BATCH = 256,         /* streams that a worker gets at a time */
    DIGEST_JOBS_MAX = 2,        /* under way */
    DIGEST_SORT_HERE = 1024,    /* so many are sorted on the engine's thread */
    DIGEST_LOOK_AROUND = 1024,  /* entries between two looks at whether it is still wanted */
    DIGEST_COLD_FIRST = 1 << 8, /* cold values that a worker gets at a time, at first */
    DIGEST_COLD_MAX = 1 << 17,  /* and at most: 4 MiB */
    DIGEST_WORTH = 256          /* bytes of a value that count as an entry */
};

struct digest_header {
    struct id top; /* ID of the last entry of the tail that counts */
    size_t n;
    uint8_t *bytes;             /* owned; there is room for two sums behind them */
    struct groupdigest *groups; /* owned; NULL: the stream has none, or they are in sum_groups */
    bool has_groups;
    uint64_t sum_groups[2];
};

struct digest_pin {
    struct dict_node node; /* must be first */
    struct object *object; /* the key: an oid may change (state_set_id) */
    struct digest_header header;
};

/* An object that is being hashed. */
struct digest_part {
    struct digest_header header;
    uint64_t entries[2];
    bool has_sealed;
    struct sealed sealed;
    bool has_tail;
    struct id tail_first; /* what is not below it is in the tail (G3) */
};

/* An object of which only groups are still to be hashed. */
struct digest_rest {
    struct digest_rest *next;
    struct digest_part part;
};

struct digest_batch { /* for a worker */
    struct job job;   /* must be first */
    struct digest *digest;
    size_t n;
    struct digest_part parts[DIGEST_BATCH];
    uint64_t sum[2];
    int rc;
    struct err err;
};

struct digest_item {
    uint64_t oid;
    struct object *object;
};

struct digest_sort {
    struct job job; /* must be first */
    struct digest *digest;
};

/* Names that are scanned for values: a database's, or what they were before it was flushed. */
struct digest_names {
    struct dict *names;
    int db;
    uint64_t cursor;
    bool scanned;
};

struct digest_cold { /* cold values, for a worker */
    struct job job;  /* must be first */
    struct digest *digest;
    struct valuedigest *values;
    size_t n, cap;
    struct sealed sealed;
    uint64_t sealed_lsn; /* that has records up to there */
    uint64_t sum[2];
    int rc;
    struct err err;
};

enum digest_phase { DIGEST_GATHER, DIGEST_SORT, DIGEST_VISIT, DIGEST_SCAN, DIGEST_DONE };

struct digest {
    struct state *state;
    struct log *log; /* NULL: nothing is sealed */
    struct client *owner;
    uint64_t lsn, clock; /* of the pinned version */
    uint64_t sum[2];
    uint32_t number;                        /* G2 */
    uint32_t generations[CONFIG_DATABASES]; /* then; what was flushed before has a smaller one */
    bool at_once; /* all of it now, and sealed entries are read on the spot */
    enum digest_phase phase;
    uint64_t cursor; /* of the scan that gathers */
    struct digest_item *items;
    size_t n_items, cap_items, visited;
    int rc; /* OK, or what went wrong */
    struct err err;
    struct dict pins;
    struct object *current; /* being hashed, entries of the tail from `next` on */
    struct id next;
    struct digest_part part;
    struct digest_rest *rests;
    struct digest_batch *batch; /* being filled, or NULL */
    struct digest_names names[CONFIG_DATABASES];
    int scanning;             /* of them */
    struct digest_cold *cold; /* being filled, or NULL */
    size_t worth;             /* of the values that were hashed, in entries */
    struct digest_sort sort;
    unsigned n_jobs;       /* with workers */
    atomic_bool abandoned; /* nobody wants it any more */
};

static void digest_add(uint64_t sum[2], uint64_t low, uint64_t high)
{
    sum[0] += low;
    sum[1] += high + (sum[0] < low);
}

static int digest_fail(struct digest *d, int rc, const struct err *e)
{
    if (d->rc == OK) {
        d->rc = rc;
        if (e != NULL)
            d->err = *e;
    }
    return rc;
}

static void digest_fail_nomem(struct digest *d)
{
    digest_fail(d, ERR_NOMEM, NULL);
}

/* ---- one object ---- */

static uint8_t *digest_put_settings(uint8_t *p, const struct stream_settings *x)
{
    p = varint_put(p, x->set);
    for (unsigned tag = 1; tag < SETTING_COUNT; tag++)
        if (x->set >> tag & 1)
            p = varint_put(p, x->values[tag]);
    return p;
}

static bool digest_put_header(const struct object *o, int db, uint64_t clock,
                              struct digest_header *h)
{
    const struct stream *st = stream_of(o);
    uint64_t idmp[2] = { 0, 0 };
    uint8_t *p = malloc(DIGEST_HEADER_MAX + object_name(o).n);

    assert(o->type == OBJECT_STREAM);
    if (p == NULL)
        return false;
    *h = (struct digest_header){ .bytes = p, .top = state_tail_last(st) };
    idmp_digest(stream_idmp(st), clock >> 16, idmp);
    p = varint_put(varint_put(p, (uint64_t)db), o->type);
    p = varint_put(slice_put(p, object_name(o)), o->expiry_ms);
    p = varint_put(varint_put(id_put(p, st->last_id), st->entries_added), st->n_entries);
    p = digest_put_settings(id_put(p, stream_max_deleted(st)), stream_settings(st));
    put_u64le(p, idmp[0]);
    put_u64le(p + 8, idmp[1]);
    h->n = (size_t)(p + 16 - h->bytes);
    return true;
}

/* What the digest has to know of the groups: `at_once`, all of it; else what is not pending, and they begin to make up
 * for changes of what is. */
static bool digest_take_groups(const struct object *o, bool at_once, struct digest_header *h)
{
    const struct groups *gs = stream_groups(stream_of(o));

    h->has_groups = groups_n(gs) > 0;
    if (!h->has_groups)
        return true;
    if (at_once)
        return groupdigest_now(gs, h->sum_groups);
    h->groups = groupdigest_begin(gs);
    return h->groups != NULL;
}

static void digest_free_header(struct digest_header *h)
{
    groupdigest_end(h->groups);
    free(h->bytes);
    h->groups = NULL;
    h->bytes = NULL;
}

static bool digest_make_header(const struct digest *d, const struct object *o, bool at_once,
                               struct digest_header *h)
{
    *h = (struct digest_header){ 0 };
    if (digest_put_header(o, d->names[o->db].db, d->clock, h) && digest_take_groups(o, at_once, h))
        return true;
    digest_free_header(h);
    return false;
}

static void digest_entry(uint64_t sum[2], const uint8_t *entry, size_t len)
{
    XXH128_hash_t h = XXH3_128bits(entry, len);
    digest_add(sum, h.low64, h.high64);
}

/* Hashes up to `budget` entries of the tail in [*next, top]; true when that was all. */
static bool digest_tail(const struct stream *st, struct id *next, struct id top, size_t *budget,
                        uint64_t sum[2])
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
        digest_entry(sum, entry, (size_t)(entry_end(entry) - entry));
        stream_index_next(st->tail, &pos);
    }
    return true;
}

/* Keeps what segments have of it now. */
static void digest_take_sealed(struct log *log, const struct stream *st, struct digest_part *part)
{
    const uint8_t *first = stream_index_at(st->tail, stream_index_begin(st->tail));

    part->has_sealed = log != NULL && stream_n_sealed(st) > 0 &&
                       stream_more(st)->view == NULL; /* which has no entries of its own */
    part->has_tail = first != NULL;
    if (first != NULL)
        entry_id(first, &part->tail_first);
    if (part->has_sealed)
        log_get_sealed(log, st->oid, stream_floor(st), stream_deletes(st), st->sealed_last,
                       &part->sealed);
}

static int digest_read_all(struct digest_part *part, struct reader *r, const atomic_bool *abandoned,
                           struct err *e)
{
    int rc = reader_seek(r, part->sealed.floor, e);
    const uint8_t *entry;
    struct id id;
    size_t len;

    for (size_t n = 0; rc == OK && (entry = reader_at(r, &len)) != NULL; n++) {
        entry_id(entry, &id);
        if (part->has_tail && id_cmp(id, part->tail_first) >= 0)
            break;
        if (n % DIGEST_LOOK_AROUND == 0 && atomic_load(abandoned))
            break; /* the hash is not wanted */
        digest_entry(part->entries, entry, len);
        rc = reader_next(r, e);
    }
    return rc;
}

/* Hashes the sealed entries. May wait for the disk. */
static int digest_read_sealed(struct digest_part *part, struct blockcache *cache,
                              struct block_decoder *decoder, const atomic_bool *abandoned,
                              struct err *e)
{
    struct reader reader;
    int rc;

    if (!part->has_sealed)
        return OK;
    reader_init(&reader, &part->sealed, cache, decoder, NULL);
    rc = digest_read_all(part, &reader, abandoned, e);
    reader_fini(&reader);
    return rc;
}

static uint8_t *digest_put_sum(uint8_t *p, const uint64_t sum[2])
{
    put_u64le(p, sum[0]);
    put_u64le(p + 8, sum[1]);
    return p + DIGEST_SUM_BYTES;
}

/* All has been hashed: adds the object to the sum. */
static void digest_finish(struct digest_part *part, uint64_t sum[2])
{
    struct digest_header *h = &part->header;
    uint8_t *p = h->bytes + h->n;
    XXH128_hash_t hash;

    p = digest_put_sum(p, part->entries);
    if (h->has_groups)
        p = digest_put_sum(p, h->sum_groups);
    hash = XXH3_128bits(h->bytes, (size_t)(p - h->bytes));
    digest_add(sum, hash.low64, hash.high64);
}

static void digest_free_part(struct digest_part *part)
{
    digest_free_header(&part->header);
    if (part->has_sealed)
        sealed_fini(&part->sealed);
}

/* ---- life ---- */

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

static void digest_init(struct digest *d, struct state *s, struct log *log, uint64_t clock)
{
    memset(d, 0, sizeof *d);
    dict_init(&d->pins, s->hash_key, digest_pin_key);
    atomic_init(&d->abandoned, false);
    d->state = s;
    d->log = log;
    d->clock = clock;
    for (int db = 0; db < CONFIG_DATABASES; db++) {
        d->generations[db] = s->dbs[db].generation;
        d->names[db] = (struct digest_names){ &s->dbs[db].names, s->number[db], 0, false };
    }
}

static void digest_free_pin(void *ctx, struct dict_node *node)
{
    (void)ctx;
    digest_free_header(&digest_pin_of_node(node)->header);
    free(digest_pin_of_node(node));
}

static void digest_free_batch(struct digest_batch *b)
{
    for (size_t i = 0; b != NULL && i < b->n; i++)
        digest_free_part(&b->parts[i]);
    free(b);
}

static void digest_free_cold(struct digest_cold *x)
{
    if (x == NULL)
        return;
    sealed_fini(&x->sealed);
    free(x->values);
    free(x);
}

/* Lets go of the objects and their groups, which may be freed from now on. */
static void digest_let_go(struct digest *d)
{
    uint64_t cursor = 0;

    do
        cursor = dict_scan(&d->pins, cursor, digest_free_pin, NULL);
    while (cursor != 0);
    dict_fini(&d->pins);
    if (d->current != NULL)
        digest_free_part(&d->part);
    d->current = NULL;
    while (d->rests != NULL) {
        struct digest_rest *rest = d->rests;
        d->rests = rest->next;
        digest_free_part(&rest->part);
        free(rest);
    }
}

static void digest_fini(struct digest *d)
{
    digest_free_batch(d->batch);
    digest_free_cold(d->cold);
    free(d->items);
}

void digest_free(struct digest *d)
{
    if (d == NULL)
        return;
    if (!atomic_exchange(&d->abandoned, true))
        digest_let_go(d);
    if (d->n_jobs > 0)
        return; /* the last job does it */
    digest_fini(d);
    free(d);
}

static void digest_job_done(struct digest *d)
{
    d->n_jobs--;
    if (atomic_load(&d->abandoned))
        digest_free(d);
}

/* ---- gathering ---- */

static bool digest_is_done(const struct digest *d, const struct object *o)
{
    return !d->at_once && stream_of(o)->digested > d->number; /* G1 */
}

/* A view of changes that has never had any, nor a group, is no state. */
static bool digest_is_blank(const struct stream *st)
{
    return stream_more(st)->view != NULL && st->entries_added == 0 &&
           groups_n(stream_groups(st)) == 0;
}

/* What is flushed does not count; views of changes are not. */
static bool digest_has(const struct digest *d, const struct object *o)
{
    const struct stream *st = stream_of(o);

    if (digest_is_done(d, o) || digest_is_blank(st))
        return false;
    return stream_more(st)->view != NULL || st->generation >= d->generations[o->db];
}

static void digest_push(struct digest *d, struct object *o)
{
    size_t cap = d->cap_items == 0 ? 64 : d->cap_items * 2;
    struct digest_item *items = d->items;

    if (d->n_items == d->cap_items) {
        items = realloc(items, cap * sizeof *items);
        if (items == NULL) {
            digest_fail_nomem(d);
            return;
        }
        d->items = items;
        d->cap_items = cap;
    }
    items[d->n_items++] = (struct digest_item){ stream_of(o)->oid, o };
}

void digest_found(struct digest *d, struct object *o)
{
    if (d->phase == DIGEST_GATHER && d->rc == OK && digest_has(d, o))
        digest_push(d, o);
}

static void digest_gather_node(void *ctx, struct dict_node *node)
{
    digest_found(ctx, &state_of_oid_node(node)->object);
}

static int digest_cmp(const void *a, const void *b)
{
    const struct digest_item *x = a, *y = b;
    return x->oid < y->oid ? -1 : x->oid > y->oid;
}

static void digest_sort_items(struct digest *d)
{
    if (d->n_items > 0)
        qsort(d->items, d->n_items, sizeof d->items[0], digest_cmp);
}

static void digest_sort_run(struct job *j)
{
    digest_sort_items(((struct digest_sort *)j)->digest);
}

static void digest_sort_done(struct job *j)
{
    struct digest *d = ((struct digest_sort *)j)->digest;

    d->phase = DIGEST_VISIT;
    digest_job_done(d);
}

/* All have been found. In which order they are visited matters only for what is in segments. */
static void digest_begin_sort(struct digest *d)
{
    d->phase = DIGEST_VISIT;
    if (d->log == NULL || !log_has_sealed(d->log))
        return;
    if (d->at_once || d->n_items <= DIGEST_SORT_HERE) {
        digest_sort_items(d);
        return;
    }
    d->phase = DIGEST_SORT;
    d->sort = (struct digest_sort){
        .job = { .lane = POOL_READ, .run = digest_sort_run, .done = digest_sort_done }, .digest = d
    };
    d->n_jobs++;
    log_submit(d->log, &d->sort.job);
}

static void digest_gather(struct digest *d)
{
    d->cursor = dict_scan(&d->state->oids, d->cursor, digest_gather_node, d);
    if (d->cursor == 0)
        digest_begin_sort(d);
}

/* ---- with workers ---- */

static void digest_batch_run(struct job *j)
{
    struct digest_batch *b = (struct digest_batch *)j;
    struct block_decoder *decoder = block_decoder_new();

    if (decoder == NULL)
        b->rc = err_set(&b->err, ERR_NOMEM, "read what is sealed");
    for (size_t i = 0; i < b->n && b->rc == OK; i++) {
        b->rc = digest_read_sealed(&b->parts[i], log_cache(b->digest->log), decoder,
                                   &b->digest->abandoned, &b->err);
        if (b->rc == OK)
            digest_finish(&b->parts[i], b->sum);
    }
    block_decoder_free(decoder);
}

static void digest_batch_done(struct job *j)
{
    struct digest_batch *b = (struct digest_batch *)j;
    struct digest *d = b->digest;

    if (b->rc == OK)
        digest_add(d->sum, b->sum[0], b->sum[1]);
    else
        digest_fail(d, b->rc, &b->err);
    digest_free_batch(b);
    digest_job_done(d);
}

static void digest_submit_batch(struct digest *d)
{
    struct digest_batch *b = d->batch;

    d->batch = NULL;
    d->n_jobs++;
    log_submit(d->log, &b->job);
}

/* The part, which has sealed entries, is a worker's from now on. */
static void digest_give_part(struct digest *d, struct digest_part *part)
{
    struct digest_batch *b = d->batch;

    if (b == NULL) {
        b = malloc(sizeof *b);
        if (b == NULL) {
            digest_free_part(part);
            digest_fail_nomem(d);
            return;
        }
        b->job =
            (struct job){ .lane = POOL_READ, .run = digest_batch_run, .done = digest_batch_done };
        b->digest = d;
        b->n = 0;
        b->sum[0] = b->sum[1] = 0;
        b->rc = OK;
        d->batch = b;
    }
    b->parts[b->n++] = *part;
    if (b->n == DIGEST_BATCH)
        digest_submit_batch(d);
}

/* ---- values ---- */

static int digest_read_cold(struct digest_cold *x, struct block_decoder *decoder)
{
    if (decoder == NULL)
        return err_set(&x->err, ERR_NOMEM, "read what is sealed");
    return valuedigest_read(x->values, x->n, &x->sealed, log_cache(x->digest->log), decoder,
                            &x->digest->abandoned, x->sum, &x->err);
}

static void digest_cold_run(struct job *j)
{
    struct digest_cold *x = (struct digest_cold *)j;
    struct block_decoder *decoder = block_decoder_new();

    x->rc = digest_read_cold(x, decoder);
    block_decoder_free(decoder);
}

static void digest_end_cold(struct digest *d, struct digest_cold *x)
{
    if (x->rc == OK)
        digest_add(d->sum, x->sum[0], x->sum[1]);
    else
        digest_fail(d, x->rc, &x->err);
    digest_free_cold(x);
}

static void digest_cold_done(struct job *j)
{
    struct digest_cold *x = (struct digest_cold *)j;
    struct digest *d = x->digest;

    digest_end_cold(d, x);
    digest_job_done(d);
}

/* What was gathered is read: by a worker, or now. */
static void digest_submit_cold(struct digest *d)
{
    struct digest_cold *x = d->cold;

    d->cold = NULL;
    if (d->at_once) {
        x->rc = digest_read_cold(x, log_sync_decoder(d->log));
        digest_end_cold(d, x);
        return;
    }
    x->job = (struct job){ .lane = POOL_READ, .run = digest_cold_run, .done = digest_cold_done };
    d->n_jobs++;
    log_submit(d->log, &x->job);
}

static struct digest_cold *digest_new_cold(struct digest *d)
{
    struct digest_cold *x = calloc(1, sizeof *x);

    if (x == NULL)
        return NULL;
    x->digest = d;
    x->sealed_lsn = log_sealed_lsn(d->log);
    log_get_sealed(d->log, LOG_CHANGES_OID, ID_MIN, NULL, ID_MAX, &x->sealed);
    return x;
}

/* Room for one more; false: no memory. */
static bool digest_grow_cold(struct digest *d)
{
    struct digest_cold *x = d->cold;
    size_t cap;
    struct valuedigest *values;

    if (x == NULL)
        x = d->cold = digest_new_cold(d);
    if (x == NULL)
        return false;
    if (x->n < x->cap)
        return true;
    cap = x->cap == 0 ? DIGEST_COLD_FIRST : x->cap * 2;
    values = realloc(x->values, cap * sizeof *values);
    if (values == NULL)
        return false;
    x->values = values;
    x->cap = cap;
    return true;
}

/* A cold value's record lives now, so segments as they are now have it. */
static void digest_add_cold(struct digest *d, const struct valuedigest *v)
{
    if (d->cold != NULL && (v->lsn > d->cold->sealed_lsn || d->cold->n == DIGEST_COLD_MAX))
        digest_submit_cold(d);
    if (d->log == NULL || !digest_grow_cold(d)) {
        digest_fail_nomem(d);
        return;
    }
    d->cold->values[d->cold->n++] = *v;
}

static void digest_value(struct digest *d, const struct object *o, int db)
{
    struct valuedigest v;

    valuedigest_begin(o, db, &v);
    if (!valuedigest_add(&v, d->state, o, d->sum))
        digest_add_cold(d, &v);
    d->worth += 1 + object_size(o) / DIGEST_WORTH;
}

static bool digest_has_value(const struct digest *d, const struct digest_names *names,
                             const struct object *o)
{
    if (!d->at_once && o->rev > d->lsn)
        return false;
    return !names->scanned &&
           (names->cursor == 0 || !dict_scan_passed(names->cursor, o->node.hash));
}

static void digest_scan_node(void *ctx, struct dict_node *node)
{
    const struct object *o = state_of_node(node);
    struct digest *d = ctx;
    const struct digest_names *names = &d->names[d->scanning];

    if (object_is_value(o) && d->rc == OK && digest_has_value(d, names, o))
        digest_value(d, o, names->db);
}

/* Hashes the values of a few buckets. */
static void digest_scan(struct digest *d, size_t *budget)
{
    struct digest_names *names = &d->names[d->scanning];
    uint64_t next;

    d->worth = 1;
    next = dict_scan(names->names, names->cursor, digest_scan_node, d);
    names->cursor = next;
    names->scanned = next == 0;
    d->scanning += names->scanned;
    *budget -= d->worth < *budget ? d->worth : *budget;
    if (d->scanning < CONFIG_DATABASES)
        return;
    if (d->cold != NULL)
        digest_submit_cold(d);
    d->phase = DIGEST_DONE;
}

void digest_moved(struct digest *d, const struct dict *from, struct dict *to)
{
    for (int i = 0; i < CONFIG_DATABASES; i++)
        if (d->names[i].names == from)
            d->names[i].names = to;
}

/* The value is about to be another, or to go. */
static void digest_before_value(struct digest *d, const struct object *o)
{
    const struct digest_names *names = &d->names[o->db];

    /* What came after a flush is new. */
    if (names->names == &d->state->dbs[o->db].names && digest_has_value(d, names, o))
        digest_value(d, o, names->db);
}

/* ---- visiting ---- */

void digest_skip(struct digest *d, struct object *o)
{
    stream_of(o)->digested = d->number + 1;
}

/* Starts hashing o: its header now, or the one that was pinned. False: no memory. */
static bool digest_begin(struct digest *d, struct object *o, struct digest_part *part)
{
    struct digest_pin *pin =
        !d->at_once && stream_of(o)->digested == d->number ? digest_pin_find(d, o) : NULL;

    *part = (struct digest_part){ 0 };
    if (pin != NULL) {
        part->header = pin->header;
        pin->header.groups = NULL;
        pin->header.bytes = NULL;
    } else if (!digest_make_header(d, o, d->at_once, &part->header)) {
        digest_fail_nomem(d);
        return false;
    }
    digest_take_sealed(d->log, stream_of(o), part);
    return true;
}

/* All but what is sealed has been hashed. */
static void digest_end_part(struct digest *d, struct digest_part *part)
{
    struct err e;
    int rc = OK;

    if (part->has_sealed && !d->at_once) {
        digest_give_part(d, part);
        return;
    }
    if (part->has_sealed)
        rc = digest_read_sealed(part, log_cache(d->log), log_sync_decoder(d->log), &d->abandoned,
                                &e);
    if (rc == OK)
        digest_finish(part, d->sum);
    else
        digest_fail(d, rc, &e);
    digest_free_part(part);
}

/* The tail of o has been hashed; its groups may be hashed at any time. */
static void digest_end(struct digest *d, struct object *o, struct digest_part *part)
{
    struct digest_rest *rest;

    if (!d->at_once)
        stream_of(o)->digested = d->number + 1;
    if (part->header.groups == NULL) {
        digest_end_part(d, part);
        return;
    }
    rest = malloc(sizeof *rest);
    if (rest == NULL) {
        digest_free_part(part);
        digest_fail_nomem(d);
        return;
    }
    *rest = (struct digest_rest){ d->rests, *part };
    d->rests = rest;
}

/* Hashes about `budget` pending entries. */
static void digest_rest_step(struct digest *d, size_t *budget)
{
    struct digest_rest *rest = d->rests;
    struct digest_header *h = &rest->part.header;

    if (groupdigest_step(h->groups, budget, h->sum_groups))
        return;
    groupdigest_end(h->groups);
    h->groups = NULL;
    d->rests = rest->next;
    digest_end_part(d, &rest->part);
    free(rest);
}

static void digest_end_current(struct digest *d)
{
    struct object *o = d->current;

    d->current = NULL;
    digest_end(d, o, &d->part);
}

static void digest_pin(struct digest *d, struct object *o)
{
    struct digest_pin *pin = malloc(sizeof *pin);

    if (pin == NULL || !digest_make_header(d, o, false, &pin->header)) {
        free(pin);
        digest_fail_nomem(d);
        return;
    }
    pin->object = o;
    dict_add(&d->pins, &pin->node, digest_pin_key(&pin->node));
    stream_of(o)->digested = d->number;
}

/* Hashes the tail of o to its end before it loses entries; what is being hashed at the moment goes on afterwards. */
static void digest_include(struct digest *d, struct object *o)
{
    const struct stream *st = stream_of(o);
    size_t budget = SIZE_MAX;
    struct digest_part part;
    struct id next = ID_MIN;

    if (d->current == o) {
        digest_tail(st, &d->next, d->part.header.top, &budget, d->part.entries);
        digest_end_current(d);
    } else if (digest_begin(d, o, &part)) {
        digest_tail(st, &next, part.header.top, &budget, part.entries);
        digest_end(d, o, &part);
    }
}

void digest_before(struct digest *d, struct object *o, enum digest_change change)
{
    if (change != DIGEST_VALUE && digest_is_blank(stream_of(o)))
        digest_skip(d, o); /* it begins after the digest */
    if (change == DIGEST_VALUE && d->rc == OK)
        digest_before_value(d, o);
    if (change == DIGEST_VALUE || d->rc != OK || !digest_has(d, o))
        return;
    if (change == DIGEST_REMOVE)
        digest_include(d, o);
    else if (stream_of(o)->digested != d->number && d->current != o)
        digest_pin(d, o);
}

static void digest_visit(struct digest *d)
{
    if (d->visited < d->n_items) {
        struct object *o = d->items[d->visited++].object;
        if (!digest_is_done(d, o) && digest_begin(d, o, &d->part)) {
            d->current = o;
            d->next = ID_MIN;
        }
    } else if (d->batch != NULL) {
        digest_submit_batch(d);
    } else {
        d->phase = DIGEST_SCAN;
    }
}

/* Whether nothing can be done before a worker has ended. */
static bool digest_must_wait(const struct digest *d)
{
    return d->phase == DIGEST_SORT || d->n_jobs >= DIGEST_JOBS_MAX ||
           (d->phase == DIGEST_DONE && d->n_jobs > 0);
}

static bool digest_is_complete(const struct digest *d)
{
    return d->rc != OK || (d->phase == DIGEST_DONE && d->n_jobs == 0);
}

static void digest_run(struct digest *d, size_t budget)
{
    while (budget > 0 && !digest_is_complete(d) && !digest_must_wait(d)) {
        const struct stream *st = d->current == NULL ? NULL : stream_of(d->current);

        if (st != NULL) {
            if (digest_tail(st, &d->next, d->part.header.top, &budget, d->part.entries))
                digest_end_current(d);
            continue;
        }
        if (d->rests != NULL) {
            digest_rest_step(d, &budget);
            continue;
        }
        if (d->phase == DIGEST_SCAN) {
            digest_scan(d, &budget);
            continue;
        }
        budget--;
        if (d->phase == DIGEST_GATHER)
            digest_gather(d);
        else
            digest_visit(d);
    }
}

/* ---- at once ---- */

int state_digest(struct state *s, struct log *log, uint64_t clock, uint64_t sum[2], struct err *e)
{
    struct digest d;
    int rc;

    digest_init(&d, s, log, clock);
    d.at_once = true;
    digest_run(&d, SIZE_MAX);
    rc = d.rc;
    if (rc == ERR_NOMEM)
        err_ignore(err_set(e, rc, "make a digest"));
    else if (rc != OK && e != NULL)
        *e = d.err;
    sum[0] = d.sum[0];
    sum[1] = d.sum[1];
    digest_let_go(&d);
    digest_fini(&d);
    return rc;
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

static void digest_reply_error(struct client *c, int rc, const struct err *e)
{
    if (rc == ERR_NOMEM)
        digest_reply_nomem(c);
    else
        reply_error(c, "IOERR %s", e->text);
}

static struct digest *digest_new(struct engine *e, struct client *owner)
{
    struct digest *d = malloc(sizeof *d);

    if (d == NULL)
        return NULL;
    digest_init(d, &e->state, e->log, e->clock);
    d->owner = owner;
    d->lsn = log_last_lsn(e->log);
    e->state.digest_number += 2;
    d->number = e->state.digest_number;
    return d;
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
        e->state.digest = digest_new(e, c);
        if (e->state.digest == NULL)
            digest_reply_nomem(c);
        return e->state.digest == NULL;
    }
    if (d->owner != c || !digest_is_complete(d))
        return false;
    engine_need_all(e, c);
    if (d->rc != OK)
        digest_reply_error(c, d->rc, &d->err);
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
    struct err err;
    uint64_t sum[2];
    int rc;

    if (!sync && !c->in_exec) {
        digest_wait(e, c);
        return;
    }
    engine_need_all(e, c);
    rc = state_digest(&e->state, e->log, e->clock, sum, &err);
    if (rc == OK)
        digest_reply(c, log_last_lsn(e->log), sum);
    else
        digest_reply_error(c, rc, &err);
}

bool digest_step(struct engine *e, size_t budget)
{
    struct digest *d = e->state.digest;

    if (e->n_digest_waits == 0)
        return false;
    if (d != NULL)
        digest_run(d, budget);
    if (d != NULL && !digest_is_complete(d))
        return !digest_must_wait(d);
    for (int db = 0; db < CONFIG_DATABASES; db++)
        blocking_ready(e->blocking, db, slice_of("", 0));
    return true;
}
