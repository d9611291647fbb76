/*
 * host.c - streams in plain arrays, and the rules of a fuzzy checkpoint applied one object at a time.
 *
 * A chunk of a checkpoint is exact as of one LSN, and each stream carries that as `as_of`. A record that a stream has
 * seen changes nothing but where its entries lie; one that it has not seen changes everything. Names are a claim of
 * each stream: a newer claim displaces an older one, until a record says what became of that. All lookups are
 * linear searches: there are a dozen streams.
 */
#include "tests/lib/host.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "log/bug.h"
#include "log/entry.h"

static void host_notes(struct host *h, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void host_notes(struct host *h, const char *format, ...)
{
    va_list args;

    if (h->why[0] != '\0')
        return;
    va_start(args, format);
    vsnprintf(h->why, sizeof h->why, format, args);
    va_end(args);
}

static void *host_alloc(void *old, size_t n)
{
    void *p = realloc(old, n);

    if (p == NULL)
        abort();
    return p;
}

/* ---- streams ----------------------------------------------------------------------------------- */

static void host_free_stream(struct host_stream *s)
{
    delset_unref(s->deletes);
    free(s->tail);
    free(s);
}

struct host *host_new(void)
{
    struct host *h = host_alloc(NULL, sizeof *h);

    memset(h, 0, sizeof *h);
    sem_init(&h->progress, 0, 0);
    return h;
}

void host_free(struct host *h)
{
    if (h == NULL)
        return;
    for (size_t i = 0; i < h->n; i++)
        host_free_stream(h->streams[i]);
    free(h->streams);
    free(h->values);
    free(h->changes.tail);
    sem_destroy(&h->progress);
    free(h);
}

struct host_stream *host_find(const struct host *h, uint64_t oid)
{
    for (size_t i = 0; i < h->n; i++)
        if (h->streams[i]->oid == oid)
            return h->streams[i];
    return NULL;
}

struct host_stream *host_find_name(const struct host *h, uint32_t name)
{
    for (size_t i = 0; i < h->n; i++)
        if (h->streams[i]->name == name && !h->streams[i]->displaced)
            return h->streams[i];
    return NULL;
}

static struct host_stream *host_add(struct host *h, uint64_t oid)
{
    struct host_stream *s = host_alloc(NULL, sizeof *s);
    size_t i = h->n;

    memset(s, 0, sizeof *s);
    s->oid = oid;
    if (h->n == h->cap) {
        h->cap = h->cap ? 2 * h->cap : 16;
        h->streams = host_alloc(h->streams, h->cap * sizeof(struct host_stream *));
    }
    for (; i > 0 && h->streams[i - 1]->oid > oid; i--)
        h->streams[i] = h->streams[i - 1];
    h->streams[i] = s;
    h->n++;
    return s;
}

static void host_remove(struct host *h, size_t i)
{
    host_free_stream(h->streams[i]);
    memmove(h->streams + i, h->streams + i + 1, (h->n - i - 1) * sizeof(struct host_stream *));
    h->n--;
}

/* ---- values ------------------------------------------------------------------------------------ */

struct host_value *host_find_value(const struct host *h, uint32_t key)
{
    for (size_t i = 0; i < h->n_values; i++)
        if (h->values[i].key == key)
            return &h->values[i];
    return NULL;
}

const struct host_entry *host_find_change(const struct host *h, uint64_t lsn)
{
    for (size_t i = 0; i < h->changes.n_tail; i++)
        if (h->changes.tail[i].id.seq == lsn)
            return &h->changes.tail[i];
    return NULL;
}

static void host_set_value(struct host *h, uint32_t key, uint64_t lsn)
{
    struct host_value *v = host_find_value(h, key);
    size_t i = h->n_values;

    if (v != NULL) {
        v->lsn = lsn;
        return;
    }
    if (h->n_values == h->cap_values) {
        h->cap_values = h->cap_values ? 2 * h->cap_values : 16;
        h->values = host_alloc(h->values, h->cap_values * sizeof *h->values);
    }
    for (; i > 0 && h->values[i - 1].key > key; i--)
        h->values[i] = h->values[i - 1];
    h->values[i] = (struct host_value){ key, lsn };
    h->n_values++;
}

static void host_drop_value(struct host *h, struct host_value *v)
{
    size_t i = (size_t)(v - h->values);

    memmove(v, v + 1, (h->n_values - i - 1) * sizeof *v);
    h->n_values--;
}

/* Of two streams with one name the newer binding has it. */
static void host_claim(struct host *h, struct host_stream *s)
{
    s->displaced = false;
    for (size_t i = 0; i < h->n; i++) {
        struct host_stream *o = h->streams[i];
        bool older = o->rev < s->rev;
        if (o == s || o->displaced || o->name != s->name)
            continue;
        if (BUG(BUG_NAME_LOSER_KEPT))
            older = !older;
        if (older)
            o->displaced = true;
        else
            s->displaced = true;
    }
}

/* ---- records ----------------------------------------------------------------------------------- */

struct record_reader {
    const uint8_t *at, *end;
    bool ok;
};

static uint64_t take_u64(struct record_reader *r)
{
    uint64_t v = 0;
    r->ok = r->ok && varint_get(&r->at, r->end, &v);
    return v;
}

static struct id take_id(struct record_reader *r)
{
    struct id id = { 0, 0 };
    r->ok = r->ok && id_get(&r->at, r->end, &id);
    return id;
}

/* A name is four bytes: a number. */
static uint32_t take_name(struct record_reader *r)
{
    struct slice s = { NULL, 0 };

    r->ok = r->ok && slice_get(&r->at, r->end, &s) && s.n == 4;
    return r->ok ? get_u32le(s.p) : 0;
}

static bool is_seen(const struct host_stream *s, uint64_t lsn)
{
    return lsn <= s->as_of && !BUG(BUG_REPLAY_COUNTS_TWICE);
}

static void tail_add(struct host_stream *s, struct id id, const uint8_t *at, size_t len)
{
    if (s->n_tail == s->cap_tail) {
        s->cap_tail = s->cap_tail ? 2 * s->cap_tail : 16;
        s->tail = host_alloc(s->tail, s->cap_tail * sizeof *s->tail);
    }
    s->tail[s->n_tail++] = (struct host_entry){ id, at, len };
}

/* Takes out what lies below `first`, or is `first` itself with `exactly`. */
static void tail_drop(struct host_stream *s, struct id first, bool exactly)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n_tail; i++) {
        int cmp = id_cmp(s->tail[i].id, first);
        if (exactly ? cmp != 0 : cmp >= 0)
            s->tail[n++] = s->tail[i];
    }
    s->n_tail = n;
}

static void apply_stream(struct host *h, const struct log_record *r, struct record_reader *in)
{
    struct host_stream *s = host_find(h, r->lsn);
    uint32_t name;

    take_u64(in);
    name = take_name(in);
    if (!in->ok || s != NULL || r->lsn <= h->start_lsn)
        return;
    s = host_add(h, r->lsn);
    s->name = name;
    s->rev = r->lsn;
    host_claim(h, s);
}

static void apply_entry(struct host *h, struct host_stream *s, const struct log_record *r,
                        struct record_reader *in)
{
    size_t len = (size_t)(in->end - in->at);
    struct id id;

    in->ok = in->ok && entry_check(in->at, in->end, &id);
    if (!in->ok)
        return;
    if (r->sealed && id_cmp(id, s->sealed_last) > 0)
        s->sealed_last = id;
    if (!r->sealed && id_cmp(id, s->floor) >= 0 && !delset_has(s->deletes, id))
        tail_add(s, id, in->at, len);
    if (is_seen(s, r->lsn))
        return;
    if (id_cmp(id, s->last) <= 0)
        host_notes(h, "LSN %" PRIu64 ": an entry's ID isn't above the last one", r->lsn);
    s->n++;
    s->bytes += len;
    s->added++;
    s->last = id;
}

static void apply_remove(struct host_stream *s, const struct log_record *r,
                         struct record_reader *in)
{
    uint64_t n_left = take_u64(in), bytes_left = take_u64(in), n = take_u64(in);
    bool seen = is_seen(s, r->lsn);
    struct err e;

    for (uint64_t i = 0; i < n && in->ok; i++) {
        struct id id = take_id(in);
        tail_drop(s, id, true);
        if (seen)
            continue;
        if (delset_reserve(&s->deletes, 1, &e) != OK)
            abort();
        delset_add(&s->deletes, id);
        if (id_cmp(id, s->max_deleted) > 0)
            s->max_deleted = id;
    }
    if (!seen) {
        s->n = n_left;
        s->bytes = bytes_left;
    }
}

static void apply_cut(struct host_stream *s, const struct log_record *r, struct record_reader *in)
{
    struct id first = take_id(in);
    uint64_t n_left = take_u64(in), bytes_left = take_u64(in);

    if (!in->ok)
        return;
    tail_drop(s, n_left == 0 ? ID_MAX : first, false);
    if (is_seen(s, r->lsn))
        return;
    s->floor = first;
    delset_cut(&s->deletes, first);
    s->n = n_left;
    s->bytes = bytes_left;
}

static void apply_setid(struct host_stream *s, const struct log_record *r, struct record_reader *in)
{
    struct id last = take_id(in), max_deleted;
    uint64_t added = take_u64(in);

    max_deleted = take_id(in);
    if (!in->ok || is_seen(s, r->lsn))
        return;
    s->last = last;
    s->added = added;
    s->max_deleted = max_deleted;
}

/* What a change that is whole says; false: it says nothing. */
static bool change_says(const uint8_t *entry, bool *set, uint32_t *key)
{
    struct slice op, name;
    struct id id;
    uint64_t n;
    const uint8_t *p = entry_varint(entry_id(entry, &id), &n);

    if (n == 0)
        return false;
    entry_str(entry_str(p, &op), &name);
    *set = slice_equal(op, slice_str("set"));
    if (name.n != 4 || (!*set && !slice_equal(op, slice_str("del"))))
        return false;
    *key = get_u32le(name.p);
    return true;
}

/* A key that has a value of a later change, from a checkpoint, keeps it. */
static void apply_change(struct host *h, const struct log_record *r, struct record_reader *in)
{
    uint64_t oid = take_u64(in);
    struct host_value *v;
    uint32_t key = 0;
    bool set = false;
    struct id id;

    in->ok = in->ok && oid == LOG_CHANGES_OID && entry_check(in->at, in->end, &id) &&
             id.seq == r->lsn && change_says(in->at, &set, &key);
    if (!in->ok)
        return;
    if (id_cmp(id, h->changes.last) <= 0)
        host_notes(h, "LSN %" PRIu64 ": a change's ID isn't above the last one", r->lsn);
    h->changes.last = id;
    if (r->sealed)
        h->changes.sealed_last = id;
    else
        tail_add(&h->changes, id, in->at, (size_t)(in->end - in->at));
    v = host_find_value(h, key);
    if (v != NULL && v->lsn >= r->lsn)
        return;
    if (set)
        host_set_value(h, key, r->lsn);
    else if (v != NULL)
        host_drop_value(h, v);
}

static void apply_history(struct host *h, struct record_reader *in)
{
    struct id first = take_id(in);

    if (in->ok && first.seq > h->changes.floor.seq)
        h->changes.floor = first;
}

/* Everybody else of that name is gone, unless he got it later, or was saved later. */
static void apply_name(struct host *h, const struct log_record *r, struct record_reader *in)
{
    struct host_stream *s;
    uint64_t oid;
    uint32_t name;

    take_u64(in);
    name = take_name(in);
    oid = take_u64(in);
    take_u64(in);
    if (!in->ok)
        return;
    for (size_t i = h->n; i-- > 0;) {
        struct host_stream *o = h->streams[i];
        if (o->oid != oid && o->name == name && o->rev < r->lsn && o->as_of < r->lsn)
            host_remove(h, i);
    }
    s = host_find(h, oid);
    if (s == NULL && r->lsn > h->end_lsn)
        in->ok = false;
    if (s == NULL || is_seen(s, r->lsn))
        return;
    s->name = name;
    s->rev = r->lsn;
    host_claim(h, s);
}

static void apply_unname(struct host *h, const struct log_record *r, struct record_reader *in)
{
    uint32_t name;
    uint64_t rev;

    take_u64(in);
    name = take_name(in);
    in->ok = in->ok && in->at++ < in->end;
    rev = take_u64(in);
    if (!in->ok)
        return;
    for (size_t i = h->n; i-- > 0;) {
        struct host_stream *o = h->streams[i];
        if (o->name == name && o->rev == rev && o->as_of < r->lsn)
            host_remove(h, i);
    }
}

static void apply_flush(struct host *h, const struct log_record *r)
{
    for (size_t i = h->n; i-- > 0;)
        if (h->streams[i]->as_of < r->lsn)
            host_remove(h, i);
}

/* Records that begin with an oid. */
static void apply_to_stream(struct host *h, const struct log_record *r, struct record_reader *in)
{
    struct host_stream *s = host_find(h, take_u64(in));

    if (s == NULL) { /* gone before the checkpoint's end */
        in->ok = in->ok && r->lsn <= h->end_lsn;
        return;
    }
    switch (r->type) {
    case RECORD_ENTRY_IDMP: {
        struct slice text;
        in->ok = in->ok && slice_get(&in->at, in->end, &text) && slice_get(&in->at, in->end, &text);
        apply_entry(h, s, r, in);
        break;
    }
    case RECORD_ENTRY: apply_entry(h, s, r, in); break;
    case RECORD_REMOVE: apply_remove(s, r, in); break;
    case RECORD_CUT: apply_cut(s, r, in); break;
    case RECORD_SETID: apply_setid(s, r, in); break;
    default: in->ok = false;
    }
}

static int host_apply(struct host *h, const struct log_record *r, struct err *e)
{
    struct record_reader in = { r->body, r->body + r->len, true };

    if (r->lsn > h->last_lsn)
        h->last_lsn = r->lsn;
    switch (r->type) {
    case RECORD_STREAM: apply_stream(h, r, &in); break;
    case RECORD_NAME: apply_name(h, r, &in); break;
    case RECORD_UNNAME: apply_unname(h, r, &in); break;
    case RECORD_FLUSH: apply_flush(h, r); break;
    case RECORD_CHANGE: apply_change(h, r, &in); break;
    case RECORD_HISTORY: apply_history(h, &in); break;
    default: apply_to_stream(h, r, &in);
    }
    if (!in.ok)
        return err_set(e, ERR_CORRUPT, "LSN %" PRIu64 ": a record of type %d that fits nothing",
                       r->lsn, r->type);
    return OK;
}

/* ---- what the log calls ------------------------------------------------------------------------ */

static struct host *host_asked(void *ctx, const char *what)
{
    struct host *h = ctx;

    if (h->inside == 0)
        host_notes(h, "the log calls `%s` from a call that mustn't", what);
    h->n_asked++;
    return h;
}

static int host_replay(void *ctx, const struct log_record *r, struct err *e)
{
    struct host *h = host_asked(ctx, "replay");

    if (!h->is_loaded)
        host_notes(h, "records are replayed before `loaded`");
    if (r->lsn <= h->last_replayed)
        host_notes(h, "LSN %" PRIu64 " replayed after %" PRIu64, r->lsn, h->last_replayed);
    if (r->clock < h->last_clock)
        host_notes(h, "the clock goes back at LSN %" PRIu64, r->lsn);
    h->last_replayed = r->lsn;
    h->last_clock = r->clock;
    h->n_replayed++;
    if (r->type == RECORD_SKIP)
        return OK;
    if (h->on_replay != NULL)
        h->on_replay(h->replay_ctx, r);
    return host_apply(h, r, e);
}

static int host_loaded(void *ctx, uint64_t start_lsn, uint64_t end_lsn, struct err *e)
{
    struct host *h = host_asked(ctx, "loaded");

    (void)e;
    if (h->is_loaded)
        host_notes(h, "`loaded` is called twice");
    if (start_lsn > end_lsn)
        host_notes(h, "a checkpoint from %" PRIu64 " to %" PRIu64, start_lsn, end_lsn);
    if (h->n > 0 && end_lsn == 0)
        host_notes(h, "a checkpoint was loaded, and there is none");
    for (size_t i = 0; i < h->n; i++)
        if (h->streams[i]->as_of < start_lsn || h->streams[i]->as_of > end_lsn)
            host_notes(
                h, "a chunk as of %" PRIu64 ", the checkpoint goes from %" PRIu64 " to %" PRIu64,
                h->streams[i]->as_of, start_lsn, end_lsn);
    h->is_loaded = true;
    h->start_lsn = start_lsn;
    h->end_lsn = end_lsn;
    if (h->last_lsn > end_lsn)
        host_notes(h, "a checkpoint up to %" PRIu64 " has LSN %" PRIu64, end_lsn, h->last_lsn);
    return OK;
}

static void host_describe(void *ctx, uint64_t oid, struct log_stream_state *out)
{
    struct host *h = host_asked(ctx, "describe");
    struct host_stream *s = host_find(h, oid);

    memset(out, 0, sizeof *out);
    if (oid == LOG_CHANGES_OID) {
        out->alive = true;
        out->keep_from = h->changes.floor;
    }
    if (s == NULL)
        return;
    out->alive = true;
    out->floor = s->floor;
    out->deletes = delset_ref(s->deletes);
    out->codec = (enum log_codec)(oid % 4);
}

static uint64_t host_count_changes(void *ctx, uint64_t first, uint64_t last)
{
    struct host *h = host_asked(ctx, "count_changes");
    uint64_t n = 0;

    for (size_t i = 0; i < h->n_values; i++)
        n += h->values[i].lsn >= first && h->values[i].lsn <= last;
    return n;
}

static void host_live_changes(void *ctx, uint64_t first, uint64_t n, uint64_t *bits)
{
    struct host *h = host_asked(ctx, "live_changes");

    memset(bits, 0, (size_t)((n + 63) / 64) * sizeof *bits);
    for (size_t i = 0; i < h->n_values; i++) {
        uint64_t at = h->values[i].lsn - first;
        if (h->values[i].lsn >= first && at < n)
            bits[at / 64] |= 1ull << at % 64;
    }
}

static void host_sealed(void *ctx, uint64_t oid, struct id last)
{
    struct host *h = host_asked(ctx, "sealed");
    struct host_stream *s = oid == LOG_CHANGES_OID ? &h->changes : host_find(h, oid);
    struct id first = last;

    h->n_sealed_calls++;
    if (s == NULL)
        return;
    if (id_cmp(last, s->last) > 0)
        host_notes(h, "sealed up to an ID that stream %" PRIu64 " never had", oid);
    if (id_cmp(last, s->sealed_last) > 0)
        s->sealed_last = last;
    if (id_next(&first))
        tail_drop(s, first, false);
}

static void host_folded(void *ctx, uint64_t oid, const struct delset *folded, struct id from,
                        struct id to)
{
    struct host *h = host_asked(ctx, "folded");
    struct host_stream *s = host_find(h, oid);

    h->n_folded_calls++;
    if (s != NULL)
        delset_subtract(&s->deletes, folded, from, to);
}

/* ---- checkpoints ------------------------------------------------------------------------------- */

/* A chunk: the last LSN, where the history begins, n, of n values key and LSN; then of each stream: oid, name, rev, last, floor, max_deleted, n, bytes, added, n, n times id */
static size_t host_save_one(uint8_t *p, const struct host_stream *s)
{
    uint8_t *at = p;
    struct id id = { 0, 0 };
    uint64_t n = delset_n(s->deletes);

    at = varint_put(at, s->oid);
    at = varint_put(at, s->name);
    at = varint_put(at, s->rev);
    at = id_put(at, s->last);
    at = id_put(at, s->floor);
    at = id_put(at, s->max_deleted);
    at = varint_put(at, s->n);
    at = varint_put(at, s->bytes);
    at = varint_put(at, s->added);
    at = varint_put(at, n);
    for (uint64_t i = 0; i < n && delset_next(s->deletes, &id); i++) {
        at = id_put(at, id);
        err_ignore(id_next(&id) ? OK : ERR_NOMEM); /* the last one there can be has no next */
    }
    return (size_t)(at - p);
}

/* What a chunk begins with: values too, at most *budget, which becomes what is left of it; false if there are more. */
static bool host_save_head(struct host *h, size_t *budget, struct log_buffer *out)
{
    uint8_t *p = log_buffer_grow(out, (2 * h->n_values + 6) * VARINT_MAX), *at = p;
    size_t first = 0, n = 0;

    if (p == NULL)
        abort();
    while (first < h->n_values && h->values[first].key < h->saved_key)
        first++;
    n = h->n_values - first < *budget ? h->n_values - first : *budget;
    at = id_put(varint_put(at, h->last_lsn), h->changes.floor);
    at = varint_put(at, n);
    for (size_t i = first; i < first + n; i++) {
        at = varint_put(varint_put(at, h->values[i].key), h->values[i].lsn);
        h->saved_key = h->values[i].key + 1ull;
    }
    h->n_asked += n;
    out->n += (size_t)(at - p);
    *budget -= n;
    return first + n == h->n_values;
}

static void host_save_begin(void *ctx)
{
    struct host *h = host_asked(ctx, "save_begin");

    if (h->saving)
        host_notes(h, "a checkpoint begins before the last one has ended");
    h->saving = true;
    h->saved_oid = h->saved_key = 0;
    h->n_saves++;
}

static bool host_save_some(void *ctx, size_t budget, struct log_buffer *out)
{
    struct host *h = host_asked(ctx, "save_some");

    if (!h->saving)
        host_notes(h, "save_some without save_begin");
    if (!host_save_head(h, &budget, out))
        return true;
    for (size_t i = 0; i < h->n; i++) {
        const struct host_stream *s = h->streams[i];
        size_t max = (12 + 2 * (size_t)delset_n(s->deletes) + 6) * VARINT_MAX;
        uint8_t *p;
        if (s->oid <= h->saved_oid)
            continue;
        if (budget-- == 0)
            return true;
        p = log_buffer_grow(out, max);
        if (p == NULL)
            abort();
        out->n += host_save_one(p, s);
        h->saved_oid = s->oid;
        h->n_asked++;
    }
    return false;
}

static void host_save_end(void *ctx)
{
    struct host *h = host_asked(ctx, "save_end");

    if (!h->saving)
        host_notes(h, "save_end without save_begin");
    h->saving = false;
}

static void host_load_values(struct host *h, uint64_t as_of_lsn, struct record_reader *in)
{
    struct id floor = take_id(in);
    uint64_t n = take_u64(in);

    if (id_cmp(floor, h->changes.floor) > 0)
        h->changes.floor = floor;
    for (; n > 0 && in->ok; n--) {
        uint32_t key = (uint32_t)take_u64(in);
        uint64_t lsn = take_u64(in);
        in->ok = in->ok && lsn <= as_of_lsn && host_find_value(h, key) == NULL;
        if (in->ok)
            host_set_value(h, key, lsn);
    }
}

static int host_load(void *ctx, uint64_t as_of_lsn, struct slice chunk, struct err *e)
{
    struct host *h = host_asked(ctx, "load");
    struct record_reader in = { chunk.p, chunk.p + chunk.n, true };
    uint64_t last_lsn = take_u64(&in);

    if (last_lsn > h->last_lsn)
        h->last_lsn = last_lsn;
    host_load_values(h, as_of_lsn, &in);
    while (in.ok && in.at < in.end) {
        uint64_t oid = take_u64(&in), n;
        struct host_stream *s = host_find(h, oid);
        if (s != NULL || oid > as_of_lsn)
            return err_set(e, ERR_CORRUPT, "stream %" PRIu64 " stands twice in a checkpoint", oid);
        s = host_add(h, oid);
        s->as_of = as_of_lsn;
        s->name = (uint32_t)take_u64(&in);
        s->rev = take_u64(&in);
        s->last = s->sealed_last = take_id(&in);
        s->floor = take_id(&in);
        s->max_deleted = take_id(&in);
        s->n = take_u64(&in);
        s->bytes = take_u64(&in);
        s->added = take_u64(&in);
        n = take_u64(&in);
        for (; n > 0 && in.ok; n--) {
            if (delset_reserve(&s->deletes, 1, e) != OK)
                return ERR_NOMEM;
            delset_add(&s->deletes, take_id(&in));
        }
        host_claim(h, s);
    }
    return in.ok ? OK : err_set(e, ERR_CORRUPT, "a chunk of a checkpoint is cut short");
}

static void host_on_progress(void *ctx)
{
    struct host *h = ctx;
    sem_post(&h->progress);
}

void host_set_calls(struct host *h, struct log_host *out)
{
    *out = (struct log_host){ .ctx = h,
                              .load = host_load,
                              .loaded = host_loaded,
                              .replay = host_replay,
                              .describe = host_describe,
                              .count_changes = host_count_changes,
                              .live_changes = host_live_changes,
                              .sealed = host_sealed,
                              .folded = host_folded,
                              .save_begin = host_save_begin,
                              .save_some = host_save_some,
                              .save_end = host_save_end,
                              .on_progress = host_on_progress };
}

void host_enter(struct host *h)
{
    h->inside++;
    h->n_asked = 0;
}

void host_leave(struct host *h)
{
    assert(h->inside > 0);
    h->inside--;
}

int host_complete(struct host *h, struct err *e)
{
    for (size_t i = 0; i < h->n; i++) {
        struct host_stream *s = h->streams[i];
        if (s->displaced)
            return err_set(e, ERR_CORRUPT, "stream %" PRIu64 " has lost its name without a record",
                           s->oid);
        s->as_of = 0;
    }
    return OK;
}

/* ---- appending --------------------------------------------------------------------------------- */

bool host_append(struct host *h, struct log *l, enum record_type type, enum log_class class,
                 const uint8_t *body, size_t len, uint64_t *out_lsn, struct err *e)
{
    struct log_record r = { .type = (uint8_t)type, .len = len };
    uint8_t *p;
    int rc = log_reserve(l, len + 16, e);

    if (rc != OK)
        return false;
    p = log_append(l, (uint8_t)type, class, len, &r.lsn);
    memcpy(p, body, len);
    r.body = p;
    *out_lsn = r.lsn;
    rc = host_apply(h, &r, e);
    assert(rc == OK); /* our own record */
    return true;
}
