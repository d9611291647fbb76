/*
 * trim.c - takes entries off the front of a stream.
 *
 * What `~` and LIMIT leave to the server is decided here and logged as its effect: the ID of the first entry that stays.
 * Redis trims whole nodes of its radix tree, each of stream-node-max-entries entries from the stream's first one on;
 * there are no such nodes here, but the counts that clients see are theirs as long as entries leave by whole nodes: node k
 * holds the entries added as number k * max and up since the stream last was empty.
 *
 * A plan finds out how many entries go, how many bytes these are, and which is the first that stays. The number is plain
 * arithmetic but for MINID; the other two are looked up:
 *
 *   segments: n_sealed live ones            tail: k live ones              added (by XADD)
 *   [ . . . . . . . . . . . . . ]           [ . . . . . . ]                [ . ]
 *     n < n_sealed: the index's                n < n_sealed + k: the bytes on the shorter side of the cut are
 *     counts lead to the n-th                  summed up, the others follow from the stream's total
 *
 * Retention cuts segments only where a block begins: exactly there nothing but index pages has to be read, and the block that
 * stays is whole.
 */
#include "broker/engine/trim.h"
#include <assert.h>
#include <inttypes.h>
#include "broker/engine/cold.h"
#include "log/entry.h"
#include "log/record.h"

struct trim_work { /* one plan being made */
    const struct stream *st;
    const struct trim *trim;
    const struct trim_added *added;
    uint64_t n_sealed, n_tail, n_added;
    struct reader *reader; /* NULL: nothing lives in segments */
};

static uint64_t trim_total(const struct trim_work *w)
{
    return w->n_sealed + w->n_tail + w->n_added;
}

/* ---- counting in nodes ---- */

/* The part of `excess` that is whole nodes, within the limit. Where references count, the node in which it ends is cut inside, if all
 * of it is within the limit. */
static uint64_t trim_whole_nodes(const struct engine *e, const struct trim_work *w, uint64_t excess)
{
    uint64_t node = (uint64_t)e->config->stream_node_max_entries, n_entries = trim_total(w);
    uint64_t gone = w->st->entries_added - w->st->added_when_empty - w->st->n_entries;
    uint64_t removed = 0, next = n_entries;

    if (node > 0)
        next = node - gone % node; /* left of the first node */
    while (removed < n_entries) {
        uint64_t n = next < n_entries - removed ? next : n_entries - removed;

        if (w->trim->limit > 0 && n > w->trim->limit - removed)
            break;
        if (n > excess - removed)
            return w->trim->refs == TRIM_KEEPREF ? removed : excess;
        removed += n;
        next = node;
    }
    return removed;
}

/* ---- the tail ---- */

static uint64_t trim_entry_bytes(const uint8_t *entry)
{
    return (uint64_t)(entry_end(entry) - entry);
}

/* Bytes of the tail's entries number `from` and up, `n` of them. */
static uint64_t trim_tail_bytes(const struct stream *st, uint64_t from, uint64_t n)
{
    struct stream_pos pos = stream_index_nth(st->tail, from);
    uint64_t bytes = 0;

    for (; n > 0; n--, stream_index_next(st->tail, &pos))
        bytes += trim_entry_bytes(stream_index_at(st->tail, pos));
    return bytes;
}

/* A cut behind everything sealed and `k` entries of the tail. */
static void trim_cut_tail(const struct trim_work *w, uint64_t k, struct trim_cut *out)
{
    out->n = w->n_sealed + k;
    if (w->n_sealed == 0 && k <= w->n_tail / 2)
        out->bytes = trim_tail_bytes(w->st, 0, k);
    else
        out->bytes = w->st->bytes - trim_tail_bytes(w->st, k, w->n_tail - k);
    if (k < w->n_tail)
        entry_id(stream_index_at(w->st->tail, stream_index_nth(w->st->tail, k)), &out->first);
    else
        out->first = w->added->id;
}

/* ---- segments ---- */

/* What segments have is not what the stream counts: one is missing, or another than was written. */
static int trim_differs(const struct trim_work *w, struct err *err)
{
    return err_set(err, ERR_CORRUPT,
                   "stream %" PRIu64 " has other entries in its segments than it should have",
                   w->st->oid);
}

static int trim_cut_sealed(struct trim_work *w, uint64_t n, struct trim_cut *out, struct err *err)
{
    const uint8_t *entry;
    uint64_t bytes = 0;
    size_t len;
    int rc;

    if (w->reader == NULL)
        return trim_differs(w, err);
    rc = reader_seek_nth(w->reader, n, &bytes, err);
    if (rc != OK)
        return rc;
    entry = reader_at(w->reader, &len);
    if (entry == NULL || bytes > w->st->bytes)
        return trim_differs(w, err);
    entry_id(entry, &out->first);
    out->n = n;
    out->bytes = bytes;
    return OK;
}

/* Leaves out->n == 0 if n is. */
static int trim_cut_at(struct trim_work *w, uint64_t n, struct trim_cut *out, struct err *err)
{
    *out = (struct trim_cut){ .n = 0 };
    if (n == 0)
        return OK;
    if (n < w->n_sealed)
        return trim_cut_sealed(w, n, out, err);
    if (n < trim_total(w)) {
        trim_cut_tail(w, n - w->n_sealed, out);
        return OK;
    }
    out->n = trim_total(w);
    out->bytes = w->st->bytes + (w->added != NULL ? w->added->bytes : 0);
    return OK;
}

/* ---- how many go ---- */

/* Entries in segments below minid, at most `max` of them. */
static int trim_sealed_below(struct trim_work *w, uint64_t max, uint64_t *out, struct err *err)
{
    struct id last = w->trim->minid;
    uint64_t bytes;
    int rc;

    *out = 0;
    if (w->n_sealed == 0 || !id_prev(&last))
        return OK;
    *out = w->n_sealed;
    if (id_cmp(last, w->st->sealed_last) >= 0)
        return OK;
    if (w->reader == NULL)
        return trim_differs(w, err);
    rc = reader_count(w->reader, ID_MIN, last, max, out, &bytes, err);
    return rc == OK && *out > w->n_sealed ? trim_differs(w, err) : rc;
}

static uint64_t trim_tail_below(const struct trim_work *w)
{
    const struct stream_index *tail = w->st->tail;

    return stream_index_between(tail, stream_index_begin(tail),
                                stream_index_seek(tail, w->trim->minid));
}

/* How many entries at the front the threshold does not keep; with ~ and LIMIT not counted beyond that. */
static int trim_excess(struct trim_work *w, uint64_t *out, struct err *err)
{
    const struct trim *t = w->trim;
    uint64_t max = t->approx && t->limit > 0 ? t->limit : UINT64_MAX;
    int rc;

    if (t->by == TRIM_MAXLEN) {
        *out = trim_total(w) > t->maxlen ? trim_total(w) - t->maxlen : 0;
        return OK;
    }
    rc = trim_sealed_below(w, max, out, err);
    if (rc == OK)
        *out += trim_tail_below(w);
    if (rc == OK && w->added != NULL && id_cmp(w->added->id, t->minid) < 0)
        *out += 1;
    return rc;
}

/* ---- retention ---- */

/* Whether the tail alone has so many bytes. */
static bool trim_tail_has_bytes(const struct trim_work *w, uint64_t bytes)
{
    struct stream_pos pos = stream_index_end(w->st->tail);
    uint64_t sum = 0;

    while (sum < bytes && stream_index_prev(w->st->tail, &pos))
        sum += trim_entry_bytes(stream_index_at(w->st->tail, pos));
    return sum >= bytes;
}

/* How many entries of the tail go if its last ones may have `maxbytes` bytes. */
static uint64_t trim_tail_over_bytes(const struct trim_work *w)
{
    struct stream_pos pos = stream_index_end(w->st->tail);
    uint64_t left = w->trim->maxbytes, n = w->n_tail;

    while (stream_index_prev(w->st->tail, &pos)) {
        uint64_t bytes = trim_entry_bytes(stream_index_at(w->st->tail, pos));

        if (bytes > left)
            break;
        left -= bytes;
        n--;
    }
    return n;
}

/* Whether nothing in segments is to stay. */
static bool trim_all_sealed_go(const struct trim_work *w)
{
    const struct trim *t = w->trim;

    if (w->n_sealed == 0)
        return true;
    if (t->by == TRIM_MAXLEN)
        return trim_total(w) - w->n_sealed >= t->maxlen;
    if (t->by == TRIM_MINID)
        return id_cmp(t->minid, w->st->sealed_last) > 0;
    return trim_tail_has_bytes(w, t->maxbytes);
}

static int trim_at_block(struct trim_work *w, struct trim_cut *out, struct err *err)
{
    const struct trim *t = w->trim;
    uint64_t n = UINT64_MAX, bytes = UINT64_MAX;
    struct id below = t->by == TRIM_MINID ? t->minid : ID_MAX;
    int rc;

    *out = (struct trim_cut){ .n = 0 };
    if (t->by == TRIM_MAXLEN)
        n = trim_total(w) > t->maxlen ? trim_total(w) - t->maxlen : 0;
    if (t->by == TRIM_BYTES)
        bytes = w->st->bytes > t->maxbytes ? w->st->bytes - t->maxbytes : 0;
    if (n == 0 || bytes == 0)
        return OK;
    if (w->reader == NULL)
        return trim_differs(w, err);
    rc = reader_cut(w->reader, n, bytes, below, &out->first, &out->n, &out->bytes, err);
    return rc == OK && (out->n > w->n_sealed || out->bytes > w->st->bytes) ? trim_differs(w, err)
                                                                           : rc;
}

/* Goes on from the start of a block, entry by entry, until what stays has `maxbytes` bytes at most. */
static int trim_sealed_over_bytes(struct trim_work *w, struct trim_cut *out, struct err *err)
{
    uint64_t n = out->n, bytes = out->bytes;
    const uint8_t *entry = NULL;
    size_t len;
    int rc = reader_seek(w->reader, n > 0 ? out->first : ID_MIN, err);

    while (rc == OK && (entry = reader_at(w->reader, &len)) != NULL && bytes < w->st->bytes &&
           w->st->bytes - bytes > w->trim->maxbytes) {
        n++;
        bytes += len;
        rc = reader_next(w->reader, err);
    }
    if (rc != OK)
        return rc;
    if (n > w->n_sealed || bytes > w->st->bytes || (entry == NULL && n < w->n_sealed))
        return trim_differs(w, err);
    if (entry == NULL)
        return trim_cut_at(w, n, out, err);
    *out = (struct trim_cut){ .n = n, .bytes = bytes };
    entry_id(entry, &out->first);
    return OK;
}

/* ---- the plan ---- */

static int trim_decide(struct engine *e, struct trim_work *w, struct trim_cut *out, struct err *err)
{
    uint64_t n = 0;
    int rc = OK;

    if ((w->trim->blocks || w->trim->by == TRIM_BYTES) && !trim_all_sealed_go(w)) {
        rc = trim_at_block(w, out, err);
        if (rc == OK && !w->trim->blocks && w->st->bytes - out->bytes > w->trim->maxbytes)
            rc = trim_sealed_over_bytes(w, out, err);
        return rc;
    }
    if (w->trim->by == TRIM_BYTES)
        n = w->n_sealed + trim_tail_over_bytes(w);
    else
        rc = trim_excess(w, &n, err);
    if (rc == OK && w->trim->approx)
        n = trim_whole_nodes(e, w, n);
    return rc == OK ? trim_cut_at(w, n, out, err) : rc;
}

static int trim_try(struct engine *e, struct trim_work *w, const struct sealed *sealed,
                    struct wants *wants, bool on_the_spot, struct trim_cut *out, struct err *err)
{
    struct reader reader;
    int rc;

    if (sealed == NULL)
        return trim_decide(e, w, out, err);
    cold_reader(e, sealed, wants, on_the_spot, &reader);
    w->reader = &reader;
    rc = trim_decide(e, w, out, err);
    w->reader = NULL;
    reader_fini(&reader);
    return rc;
}

int trim_plan(struct engine *e, const struct stream *st, const struct trim *trim,
              const struct trim_added *added, struct wants *wants, struct trim_cut *out,
              struct err *err)
{
    struct trim_work w = { .st = st,
                           .trim = trim,
                           .added = added,
                           .n_sealed = stream_n_sealed(st),
                           .n_tail = stream_index_n(st->tail),
                           .n_added = added != NULL };
    struct sealed sealed;
    bool has_sealed = cold_get_sealed(e, st, &sealed);
    int rc = trim_try(e, &w, has_sealed ? &sealed : NULL, wants, false, out, err);

    if (rc == ERR_COLD && wants == NULL)
        rc = trim_try(e, &w, &sealed, NULL, true, out, err);
    if (has_sealed)
        sealed_fini(&sealed);
    return rc;
}

/* ---- doing it ---- */

int trim_prepare(struct engine *e, struct stream *st, struct err *err)
{
    return state_prepare_remove(
        &e->state, st, 1, err); /* one that is appended before may have the largest ID of all */
}

void trim_apply(struct engine *e, struct client *c, struct stream *st, const struct trim_cut *cut)
{
    struct state_left left = { st->n_entries - cut->n, st->bytes - cut->bytes };
    uint64_t lsn;
    struct id first = cut->first;
    size_t len;
    uint8_t *p;

    assert(cut->n > 0 && cut->n <= st->n_entries && cut->bytes <= st->bytes);
    if (left.n == 0) {
        left.bytes = 0;
        first = st->last_id;
        id_next(&first); /* where there is none, that nothing is left says it */
    }
    len = varint_size(st->oid) + id_size(first) + varint_size(left.n) + varint_size(left.bytes);
    p = engine_append_to(e, c, &st->object, RECORD_CUT, len, &lsn);
    p = id_put(varint_put(p, st->oid), first);
    varint_put(varint_put(p, left.n), left.bytes);
    state_cut(&e->state, st, first, left, lsn);
}
