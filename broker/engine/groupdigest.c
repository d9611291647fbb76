/*
 * groupdigest.c - the groups of a stream in a digest.
 *
 * The hash of a group is the XXH3_128 of
 *
 *   head      str name, id last_id, entries_read, n_behind, options; the sum of the XXH3_128 of each consumer (str name, active_ms)
 *   pending   the sum of the XXH3_128 of each entry: id, time, count, key, what it is, hash of the name of its consumer
 *
 * all sums modulo 2^128. Left out are gids and slots, which are another process's own business, seen-times, which are no state, and
 * whether a pending entry has been deleted from the stream, which the stream says.
 *
 * A group may have ten million pending entries and change all the time. So only the head is made at once, and what each slot stood for
 * is kept; the entries follow in slices by a pel_sum, which makes up for changes. That needs a hash which depends on nothing but the
 * entry: a slot that was taken later hashes as nobody's, whoever has it by then.
 */
#include "broker/engine/groupdigest.h"
#include <stdlib.h>
#include <xxhash.h>
#include "log/bytes.h"

enum {
    GROUPDIGEST_SUM_BYTES = 16,
    /* Without names; with two sums. */
    GROUPDIGEST_HEAD_MAX = (16 + GROUP_BACKOFF_MAX) * VARINT_MAX + 2 * GROUPDIGEST_SUM_BYTES,
    GROUPDIGEST_ENTRY_MAX = 6 * VARINT_MAX + 8,
    GROUPDIGEST_LIST = 256, /* entries that are looked at together */
};

struct groupdigest_group {
    struct group *g;
    uint64_t *names; /* by slot: the hashes of the consumers' names then */
    size_t n_names;
    uint8_t *head; /* there is room for the sum of the entries behind it */
    size_t n_head;
    struct pel_sum sum;
};

struct groupdigest {
    size_t n, at;
    struct groupdigest_group groups[];
};

static void groupdigest_add(uint64_t sum[2], XXH128_hash_t hash)
{
    sum[0] += hash.low64;
    sum[1] += hash.high64 + (sum[0] < hash.low64);
}

static uint8_t *groupdigest_put_sum(uint8_t *p, const uint64_t sum[2])
{
    put_u64le(p, sum[0]);
    put_u64le(p + 8, sum[1]);
    return p + GROUPDIGEST_SUM_BYTES;
}

/* ---- the head ---- */

static uint8_t *groupdigest_put_options(uint8_t *p, const struct group_options *x)
{
    p = varint_put(varint_put(p, x->ack_wait_ms), x->max_deliver);
    p = varint_put(varint_put(p, x->max_pending), x->consumer_ttl_ms);
    p = varint_put(p, x->n_backoff);
    for (size_t i = 0; i < x->n_backoff; i++)
        p = varint_put(p, x->backoff_ms[i]);
    return varint_put(slice_put(slice_put(p, x->dlq), x->order_by), x->order_seed);
}

static bool groupdigest_add_consumer(const struct consumer *c, uint64_t sum[2])
{
    uint8_t *bytes = malloc(c->name.n + 2 * VARINT_MAX);
    uint8_t *p;

    if (bytes == NULL)
        return false;
    p = varint_put(slice_put(bytes, c->name), c->active_ms);
    groupdigest_add(sum, XXH3_128bits(bytes, (size_t)(p - bytes)));
    free(bytes);
    return true;
}

/* Hashes the consumers, and keeps their names' hashes by slot. */
static bool groupdigest_take_consumers(struct groupdigest_group *x, uint64_t sum[2])
{
    const struct group *g = x->g;

    x->names = calloc(g->n_slots + 1, sizeof *x->names);
    if (x->names == NULL)
        return false;
    x->n_names = g->n_slots;
    for (size_t slot = 0; slot < g->n_slots; slot++) {
        const struct consumer *c = g->slots[slot];
        if (c == NULL)
            continue;
        x->names[slot] = XXH3_64bits(c->name.p, c->name.n);
        if (!groupdigest_add_consumer(c, sum))
            return false;
    }
    return true;
}

/* On failure groupdigest_free_group is to be called all the same. */
static bool groupdigest_take(struct groupdigest_group *x, struct group *g)
{
    const struct group_options *options = group_options(g);
    uint64_t consumers[2] = { 0, 0 };
    uint8_t *p;

    *x = (struct groupdigest_group){ .g = g };
    if (!groupdigest_take_consumers(x, consumers))
        return false;
    x->head = malloc(GROUPDIGEST_HEAD_MAX + g->name.n + options->dlq.n + options->order_by.n);
    if (x->head == NULL)
        return false;
    p = id_put(slice_put(x->head, g->name), g->last_id);
    p = varint_put(varint_put(p, (uint64_t)g->entries_read), g->n_behind);
    p = groupdigest_put_sum(groupdigest_put_options(p, options), consumers);
    x->n_head = (size_t)(p - x->head);
    return true;
}

static void groupdigest_free_group(struct groupdigest_group *x)
{
    free(x->names);
    free(x->head);
}

/* ---- pending entries ---- */

static uint64_t groupdigest_owner(const struct groupdigest_group *x, uint16_t slot)
{
    return slot < x->n_names ? x->names[slot] : 0;
}

/* Of struct pel_sum. */
static void groupdigest_hash(void *ctx, const struct pel_entry *entry, uint64_t out[2])
{
    enum pel_kind kind = entry->slot == PEL_PARKED ? PEL_SKIPPED
                         : entry->nacked           ? PEL_NACKED
                                                   : PEL_HELD;
    uint8_t bytes[GROUPDIGEST_ENTRY_MAX];
    uint8_t *p = varint_put(varint_put(id_put(bytes, entry->id), entry->time_ms), entry->count);
    XXH128_hash_t hash;

    p = varint_put(p, entry->key);
    *p++ = (uint8_t)kind;
    put_u64le(p, groupdigest_owner(ctx, entry->slot));
    hash = XXH3_128bits(bytes, (size_t)(p + 8 - bytes));
    out[0] = hash.low64;
    out[1] = hash.high64;
}

/* The entries come to `pending`: adds the group's hash. */
static void groupdigest_finish(struct groupdigest_group *x, const uint64_t pending[2],
                               uint64_t sum[2])
{
    uint8_t *p = groupdigest_put_sum(x->head + x->n_head, pending);
    groupdigest_add(sum, XXH3_128bits(x->head, (size_t)(p - x->head)));
}

static void groupdigest_list(struct groupdigest_group *x, uint64_t pending[2])
{
    const struct pel_filter all = { .kinds = PEL_HELD | PEL_NACKED | PEL_SKIPPED,
                                    .held_until = UINT64_MAX,
                                    .nacked_until = UINT64_MAX };
    struct pel_entry entries[GROUPDIGEST_LIST];
    struct id from = ID_MIN;
    size_t n;

    do {
        n = pel_list(x->g->pel, from, &all, GROUPDIGEST_LIST, entries);
        for (size_t i = 0; i < n; i++) {
            uint64_t hash[2];
            groupdigest_hash(x, &entries[i], hash);
            groupdigest_add(pending, (XXH128_hash_t){ hash[0], hash[1] });
            from = entries[i].id;
        }
    } while (n == GROUPDIGEST_LIST && id_next(&from));
}

bool groupdigest_now(const struct groups *gs, uint64_t sum[2])
{
    struct groupdigest_group x;
    bool ok = true;

    for (size_t i = 0; i < groups_n(gs) && ok; i++) {
        uint64_t pending[2] = { 0, 0 };
        ok = groupdigest_take(&x, groups_at(gs, i));
        if (ok) {
            groupdigest_list(&x, pending);
            groupdigest_finish(&x, pending, sum);
        }
        groupdigest_free_group(&x);
    }
    return ok;
}

/* ---- in slices ---- */

struct groupdigest *groupdigest_begin(const struct groups *gs)
{
    size_t n = groups_n(gs);
    struct groupdigest *x = calloc(1, sizeof *x + n * sizeof x->groups[0]);

    if (x == NULL)
        return NULL;
    for (; x->n < n; x->n++) {
        struct groupdigest_group *of = &x->groups[x->n];
        if (!groupdigest_take(of, groups_at(gs, x->n))) {
            groupdigest_free_group(of);
            groupdigest_end(x);
            return NULL;
        }
        of->sum = (struct pel_sum){ .hash = groupdigest_hash, .ctx = of };
        pel_sum_begin(of->g->pel, &of->sum);
    }
    return x;
}

bool groupdigest_step(struct groupdigest *x, size_t *budget, uint64_t sum[2])
{
    for (; x->at<x->n && * budget> 0; x->at++) {
        struct groupdigest_group *of = &x->groups[x->at];
        uint64_t n = pel_n(of->g->pel) + pel_n_parked(of->g->pel);

        if (pel_sum_step(of->g->pel, *budget)) {
            *budget = 0;
            return true;
        }
        pel_sum_end(of->g->pel);
        groupdigest_finish(of, of->sum.sum, sum);
        *budget -= n < *budget ? (size_t)n + 1 : *budget;
    }
    return x->at < x->n;
}

void groupdigest_end(struct groupdigest *x)
{
    if (x == NULL)
        return;
    for (size_t i = 0; i < x->n; i++) {
        if (i >= x->at)
            pel_sum_end(x->groups[i].g->pel);
        groupdigest_free_group(&x->groups[i]);
    }
    free(x);
}
