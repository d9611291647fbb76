/*
 * streams_range.c - replies of any length from segments, made by workers while the client reads.
 *
 * A reply is begun with a snapshot: for each stream what segments have of it (struct sealed), and the addresses of
 * the entries in its tail, which a pin keeps valid. Nothing that comes later changes it: not a trim, a delete, a merge, nor the
 * end of the stream. So the number of entries, which RESP wants first, can be promised and kept.
 *
 *   step 1    counts (mostly from index pages), then writes the head and the first entries
 *   step n    writes entries, until COLD_CHUNK_BYTES of RESP are there
 *   done      moves them to the client's output, without copying; the next step begins when the client has less than
 *             COLD_OUTPUT_MAX before it
 *
 * Between steps the reader keeps its block, so a replay reads every block once; it holds that block, a chunk of
 * output and eight bytes for each entry of the tail, however long the reply.
 *
 * A worker writes into a client of its own, of which only output and protocol are used: the functions that write entries do
 * not know the difference.
 *
 * Of a view of changes (cache/changes.h) the snapshot has what the log's stream of changes has in the range, and the view's filter: the
 * first step leaves of the tail's addresses those that are shown, and a change becomes an entry right before it is written.
 *
 * Where a block turns out to be damaged after the head has left, the promise cannot be kept, and RESP has no way to say so in
 * the middle of an array: what was made is sent and the connection closed, with a line in the broker's log.
 */
#include "broker/commands/streams_range.h"
#include <assert.h>
#include <stdlib.h>
#include "broker/commands/streams.h"
#include "broker/engine/cursor.h"
#include "broker/engine/reply.h"
#include "log/entry.h"

enum { RANGE_WALK_MAX = 4096 }; /* so many are counted by looking at each, in the reply's order */

struct range_source { /* what one stream gives */
    struct slice key;
    struct id from, to;
    struct sealed sealed;
    bool has_sealed;
    const uint8_t **tail; /* those within [from, to], in order; lies behind the sources */
    uint64_t n_tail;
    struct range_seen seen;     /* if it gives nothing */
    struct view_filter *filter; /* of a view of changes; NULL: it is none */
    struct sealed later;        /* where the tail's entries are by now, if has_later */
    bool has_later;
    struct id next;                    /* the first of them to be replied */
    uint64_t n_sealed_out, n_tail_out; /* that are replied; with the first step */
};

struct range {
    struct cold_work work; /* must be first */
    bool keyed, backwards, begun;
    struct range_budget budget;
    void *ctx;
    void (*again)(struct engine *e, struct client *c, void *ctx, const struct range_seen *seen);
    struct client reply; /* what the worker writes to */
    uint64_t n_parts;    /* sources that give something */
    uint64_t n_moved;    /* bytes that have become the client's */
    size_t at;           /* the source being written; n: all are */
    uint64_t sealed_left, tail_left;
    struct reader reader; /* of source `at`, if is_open */
    struct view_room room;
    bool is_open, in_source;
    bool trades, untradable; /* the next step is a trade; one has failed */
    int rc;
    struct err err;
    size_t n;
    struct range_source sources[];
};

static struct range *range_of(struct cold_work *w)
{
    return (struct range *)(void *)w; /* its first member */
}

/* ---- budgets ---- */

/* Bytes around a stream's entries: its array, its key, the entries' array. */
static uint64_t range_key_bytes(struct slice key)
{
    return key.n + 32;
}

struct range_fit range_fit_begin(const struct range_budget *b, struct slice key)
{
    struct range_fit f = { .max = b->count < b->entries ? b->count : b->entries,
                           .used = range_key_bytes(key) };
    return f;
}

bool range_fit_take(struct range_fit *f, struct range_budget *b, const uint8_t *entry)
{
    uint64_t bytes;

    if (f->full || f->n >= f->max)
        return false;
    if (b->bytes != UINT64_MAX) {
        bytes = streams_entry_reply_size(entry);
        if ((f->used > b->bytes || bytes > b->bytes - f->used) && !b->empty) {
            f->full = true;
            return false;
        }
        f->used += bytes;
    }
    b->empty = false;
    f->n++;
    return true;
}

void range_fit_end(const struct range_fit *f, struct range_budget *b)
{
    if (f->n == 0)
        return;
    if (b->bytes != UINT64_MAX)
        b->bytes = f->used < b->bytes ? b->bytes - f->used : 0;
    if (b->entries != UINT64_MAX)
        b->entries -= f->n;
}

/* ---- at once ---- */

static bool range_holds(const struct range_part *p, const uint8_t *entry)
{
    struct id id;

    entry_id(entry, &id);
    return id_cmp(p->from, id) <= 0 && id_cmp(id, p->to) <= 0;
}

/* Whether so much is too much for a reply at once. */
static bool range_is_too_much(const struct cursor *at, const struct client *sink, uint64_t n,
                              bool whole)
{
    if (!at->has_sealed)
        return !whole && n > RANGE_AT_ONCE_TAIL_MAX;
    if (whole)
        return outbuf_size(&sink->out) > RANGE_WHOLE_BYTES_MAX;
    return n > RANGE_AT_ONCE_MAX || outbuf_size(&sink->out) > RANGE_AT_ONCE_BYTES;
}

static int range_collect_from(struct cursor *at, const struct range_part *p, bool backwards,
                              bool whole, struct range_budget *b, struct range_fit *fit,
                              struct client *sink, struct err *err)
{
    const uint8_t *entry;
    int rc = OK;

    if (fit->max > 0)
        rc = backwards ? cursor_seek_back(at, p->to, err) : cursor_seek(at, p->from, err);
    while (rc == OK && (entry = cursor_at(at)) != NULL && range_holds(p, entry) &&
           range_fit_take(fit, b, entry)) {
        streams_reply_entry(sink, entry);
        if (range_is_too_much(at, sink, fit->n, whole))
            return err_set(err, ERR_TOO_BIG, "too many entries for a reply at once");
        if (fit->n < fit->max)
            rc = backwards ? cursor_prev(at, err) : cursor_next(at, err);
    }
    if (rc == OK && sink->out.failed)
        rc = err_set(err, ERR_NOMEM, "no memory for a reply");
    return rc;
}

int range_collect(struct engine *e, const struct client *c, const struct range_part *part,
                  bool backwards, bool whole, struct range_budget *b, struct range_collect *out,
                  struct err *err)
{
    struct range_fit fit = range_fit_begin(b, part->key);
    struct client sink = { .proto = c->proto };
    struct cursor at;
    int rc;

    outbuf_init(&sink.out);
    cursor_open(&at, e, part->st, whole ? CURSOR_ON_THE_SPOT : CURSOR_RESIDENT, NULL);
    cursor_narrow(&at, part->from, part->to);
    rc = range_collect_from(&at, part, backwards, whole, b, &fit, &sink, err);
    cursor_close(&at);
    if (rc != OK) {
        outbuf_fini(&sink.out);
        return rc;
    }
    range_fit_end(&fit, b);
    out->out = sink.out;
    out->n = fit.n;
    return OK;
}

/* Of a view: from where its first entry may be on, and all, since nobody knows how many changes that takes. */
static bool range_want_changes(const struct engine *e, const struct stream *st, struct id *from,
                               uint64_t *count)
{
    struct id end;

    *count = UINT64_MAX;
    return history_part(e->state.history, changes_view(st), from, &end);
}

void range_want(struct engine *e, const struct stream *st, struct id from, struct id to,
                uint64_t count, bool backwards, struct wants *wants)
{
    struct sealed sealed;
    struct reader reader;

    if (changes_view(st) != NULL && !range_want_changes(e, st, &from, &count))
        return;
    if (id_cmp(from, cursor_sealed_last(e, st)) > 0 || !cold_get_sealed(e, st, &sealed))
        return;
    cold_reader(e, &sealed, wants, false, &reader);
    err_ignore(reader_want(&reader, from, to, count, backwards, NULL)); /* it runs into it again */
    reader_fini(&reader);
    sealed_fini(&sealed);
}

/* ---- counting: on a worker ---- */

static bool range_has(const struct range_source *s, const uint8_t *entry)
{
    struct id id;

    entry_id(entry, &id);
    return id_cmp(s->from, id) <= 0 && id_cmp(id, s->to) <= 0;
}

/* Whether the source gives what is there, an entry or a change. */
static bool range_shows(const struct range_source *s, const uint8_t *entry)
{
    return s->filter == NULL || view_shows(s->filter, entry);
}

/* What is there as it is replied: of a change, the entry that stands for it. */
static int range_map(struct range *r, const struct range_source *s, const uint8_t *entry,
                     const uint8_t **out)
{
    size_t len;

    *out = entry;
    return s->filter == NULL ? OK : view_map(s->filter, entry, &r->room, out, &len, &r->err);
}

/* Takes it from the budget, if it still fits; its size counts only where bytes do. */
static int range_take(struct range *r, const struct range_source *s, struct range_fit *fit,
                      const uint8_t *entry, bool *out)
{
    int rc = r->budget.bytes == UINT64_MAX ? OK : range_map(r, s, entry, &entry);

    *out = rc == OK && range_fit_take(fit, &r->budget, entry);
    return rc;
}

static int range_seek(struct range *r, const struct range_source *s, struct reader *reader,
                      struct err *e)
{
    return r->backwards ? reader_seek_back(reader, s->to, e) : reader_seek(reader, s->from, e);
}

static int range_step(struct range *r, struct reader *reader, struct err *e)
{
    return r->backwards ? reader_prev(reader, e) : reader_next(reader, e);
}

static int range_walk_sealed(struct range *r, struct range_source *s, struct reader *reader,
                             struct range_fit *fit)
{
    int rc = range_seek(r, s, reader, &r->err);
    const uint8_t *entry;
    bool taken = true;
    size_t len;

    while (rc == OK && (entry = reader_at(reader, &len)) != NULL && range_has(s, entry)) {
        if (range_shows(s, entry))
            rc = range_take(r, s, fit, entry, &taken);
        if (rc != OK || !taken)
            break;
        s->n_sealed_out += range_shows(s, entry);
        if (fit->n >= fit->max)
            break;
        rc = range_step(r, reader, &r->err);
    }
    return rc;
}

static int range_count_sealed(struct range *r, struct range_source *s,
                              struct block_decoder *decoder, struct range_fit *fit)
{
    struct reader reader;
    uint64_t bytes;
    int rc;

    if (!s->has_sealed || fit->n >= fit->max)
        return OK;
    reader_init(&reader, &s->sealed, cold_cache(&r->work), decoder, NULL);
    if (s->filter != NULL || r->budget.bytes != UINT64_MAX || fit->max - fit->n <= RANGE_WALK_MAX) {
        rc = range_walk_sealed(r, s, &reader, fit);
    } else {
        rc = reader_count(&reader, s->from, s->to, fit->max - fit->n, &s->n_sealed_out, &bytes,
                          &r->err);
        fit->n += rc == OK ? s->n_sealed_out : 0;
    }
    reader_fini(&reader);
    return rc;
}

/* Of a view's tail only what it shows is left. */
static void range_sift_tail(struct range_source *s)
{
    uint64_t n = 0;

    for (uint64_t i = 0; i < s->n_tail && s->filter != NULL; i++)
        if (view_shows(s->filter, s->tail[i]))
            s->tail[n++] = s->tail[i];
    if (s->filter != NULL)
        s->n_tail = n;
}

static int range_count_tail(struct range *r, struct range_source *s, struct range_fit *fit)
{
    uint64_t n = 0;
    bool taken = true;
    int rc = OK;

    if (r->budget.bytes == UINT64_MAX) {
        n = fit->max - fit->n < s->n_tail ? fit->max - fit->n : s->n_tail;
        fit->n += n;
        r->budget.empty &= n == 0;
    }
    while (r->budget.bytes != UINT64_MAX && n < s->n_tail && rc == OK && taken) {
        rc = range_take(r, s, fit, s->tail[n], &taken);
        n += taken;
    }
    s->n_tail_out = n;
    return rc;
}

static int range_count_source(struct range *r, struct range_source *s, struct block_decoder *d)
{
    struct range_fit fit = range_fit_begin(&r->budget, s->key);
    int rc = OK;

    range_sift_tail(s);
    if (r->backwards)
        rc = range_count_tail(r, s, &fit);
    if (rc == OK)
        rc = range_count_sealed(r, s, d, &fit);
    if (rc == OK && !r->backwards)
        rc = range_count_tail(r, s, &fit);
    range_fit_end(&fit, &r->budget);
    r->n_parts += fit.n > 0;
    return rc;
}

/* ---- writing: on a worker ---- */

static void range_put_head(struct range *r)
{
    if (!r->keyed)
        return;
    if (r->reply.proto >= 3)
        reply_map(&r->reply, r->n_parts);
    else
        reply_array(&r->reply, r->n_parts);
}

/* The next source that gives something begins, if the one before is at its end. */
static bool range_begin_source(struct range *r)
{
    const struct range_source *s;

    if (r->in_source)
        return true;
    while (r->keyed && r->at < r->n &&
           r->sources[r->at].n_sealed_out + r->sources[r->at].n_tail_out == 0)
        r->at++;
    if (r->at == r->n)
        return false;
    s = &r->sources[r->at];
    if (r->keyed) {
        if (r->reply.proto < 3)
            reply_array(&r->reply, 2);
        reply_bulk(&r->reply, s->key.p, s->key.n);
    }
    reply_array(&r->reply, s->n_sealed_out + s->n_tail_out);
    r->sealed_left = s->n_sealed_out;
    r->tail_left = s->n_tail_out;
    r->in_source = true;
    return true;
}

static bool range_chunk_is_full(const struct range *r)
{
    return outbuf_size(&r->reply.out) >= COLD_CHUNK_BYTES;
}

static int range_short(struct range *r, const struct range_source *s)
{
    return err_set(&r->err, ERR_CORRUPT,
                   "stream %llu has fewer entries in its segments than their index says",
                   (unsigned long long)s->sealed.oid);
}

static int range_put_entry(struct range *r, const struct range_source *s, const uint8_t *entry)
{
    int rc = range_map(r, s, entry, &entry);

    if (rc == OK)
        streams_reply_entry(&r->reply, entry);
    return rc;
}

/* Writes what is left of a part that is in segments, from the entry `first` on. */
static int range_put_from(struct range *r, const struct sealed *sealed, struct id first,
                          uint64_t *left, struct block_decoder *decoder)
{
    const struct range_source *s = &r->sources[r->at];
    const uint8_t *entry;
    size_t len;
    int rc = OK;

    if (*left == 0)
        return OK;
    if (!r->is_open) {
        reader_init(&r->reader, sealed, cold_cache(&r->work), decoder, NULL);
        r->is_open = true;
        rc = r->backwards ? reader_seek_back(&r->reader, first, &r->err)
                          : reader_seek(&r->reader, first, &r->err);
    }
    r->reader.decoder = decoder; /* another worker's than the step before */
    while (rc == OK && *left > 0 && !range_chunk_is_full(r)) {
        entry = reader_at(&r->reader, &len);
        if (entry == NULL || !range_has(s, entry))
            return range_short(r, s);
        if (range_shows(s, entry)) {
            rc = range_put_entry(r, s, entry);
            --*left;
        }
        if (rc == OK && *left > 0)
            rc = range_step(r, &r->reader, &r->err);
    }
    if (*left == 0) {
        reader_fini(&r->reader);
        r->is_open = false;
    }
    return rc;
}

static int range_put_sealed(struct range *r, struct block_decoder *decoder)
{
    const struct range_source *s = &r->sources[r->at];

    return range_put_from(r, &s->sealed, r->backwards ? s->to : s->from, &r->sealed_left, decoder);
}

/* Which of the tail's addresses is the next if `left` of them are to come. */
static uint64_t range_tail_at(const struct range *r, const struct range_source *s, uint64_t left)
{
    return r->backwards ? s->n_tail - (s->n_tail_out - left) - 1 : s->n_tail_out - left;
}

static int range_put_tail(struct range *r, struct block_decoder *decoder)
{
    const struct range_source *s = &r->sources[r->at];
    int rc = OK;

    if (s->has_later)
        return range_put_from(r, &s->later, s->next, &r->tail_left, decoder);
    for (; rc == OK && r->tail_left > 0 && !range_chunk_is_full(r); r->tail_left--)
        rc = range_put_entry(r, s, s->tail[range_tail_at(r, s, r->tail_left)]);
    return rc;
}

static int range_put(struct range *r, struct block_decoder *decoder)
{
    int rc = OK;

    while (rc == OK && !range_chunk_is_full(r) && range_begin_source(r)) {
        if (r->backwards)
            rc = range_put_tail(r, decoder);
        if (rc == OK && (!r->backwards || r->tail_left == 0))
            rc = range_put_sealed(r, decoder);
        if (rc == OK && !r->backwards && r->sealed_left == 0)
            rc = range_put_tail(r, decoder);
        if (r->sealed_left == 0 && r->tail_left == 0) {
            r->in_source = false;
            r->at++;
        }
    }
    return rc;
}

/* ---- trading the tail for segments ---- */

/*
 * A client that does not read would keep the arena pinned for as long as it likes, and others could not get a pin. But what
 * was the tail when its reply was begun is sealed sooner or later. Then the entries are read from there, if they
 * are the same: the segments have either all entries of the snapshot and perhaps some that were deleted before it, or
 * those of the snapshot without some that were deleted after it; so if the number is right, they are the right ones.
 */
static bool range_needs_tail(const struct range *r, size_t i)
{
    const struct range_source *s = &r->sources[i];

    if (s->has_later || s->n_tail_out == 0 || i < r->at)
        return false;
    return i > r->at || !r->in_source || r->tail_left > 0;
}

static struct id range_tail_id(const struct range_source *s, uint64_t i)
{
    struct id id;

    entry_id(s->tail[i], &id);
    return id;
}

/* See cold_kind.make_room. */
static bool range_make_room(struct engine *e, struct cold_work *w)
{
    struct range *r = range_of(w);

    if (r->untradable)
        return false;
    for (size_t i = 0; i < r->n; i++) {
        const struct range_source *s = &r->sources[i];
        const struct stream *st = state_find_oid(&e->state, s->seen.oid);

        if (!range_needs_tail(r, i))
            continue;
        if (st == NULL)
            return false;
        if (id_cmp(range_tail_id(s, s->n_tail - 1), cursor_sealed_last(e, st)) > 0)
            return false;
    }
    for (size_t i = 0; i < r->n; i++) {
        struct range_source *s = &r->sources[i];

        if (!range_needs_tail(r, i))
            continue;
        log_get_sealed(e->log, s->filter != NULL ? LOG_CHANGES_OID : s->seen.oid,
                       range_tail_id(s, 0), NULL, range_tail_id(s, s->n_tail - 1), &s->later);
        s->has_later = true;
    }
    r->trades = true;
    return true;
}

/* How many entries segments have of what was the source's tail. */
static int range_count_later(const struct range_source *s, struct reader *reader, uint64_t *n)
{
    const uint8_t *entry;
    uint64_t bytes;
    size_t len;
    int rc;

    if (s->filter == NULL)
        return reader_count(reader, s->later.floor, s->later.last, UINT64_MAX, n, &bytes, NULL);
    for (rc = reader_seek(reader, s->later.floor, NULL);
         rc == OK && (entry = reader_at(reader, &len)) != NULL; rc = reader_next(reader, NULL))
        *n += view_shows(s->filter, entry);
    return rc;
}

/* The step of a trade: looks whether segments have the same entries. What cannot be read is no failure: it is not
 * needed. */
static void range_run_trade(struct range *r, struct block_decoder *decoder)
{
    for (size_t i = 0; i < r->n && !r->untradable; i++) {
        struct range_source *s = &r->sources[i];
        struct reader reader;
        uint64_t n = 0;

        if (!s->has_later)
            continue;
        reader_init(&reader, &s->later, cold_cache(&r->work), decoder, NULL);
        r->untradable =
            decoder == NULL || range_count_later(s, &reader, &n) != OK || n != s->n_tail;
        reader_fini(&reader);
    }
}

static enum cold_next range_traded(struct range *r)
{
    r->trades = false;
    for (size_t i = 0; i < r->n; i++) {
        struct range_source *s = &r->sources[i];
        uint64_t left = i == r->at && r->in_source ? r->tail_left : s->n_tail_out;

        if (!s->has_later)
            continue;
        if (r->untradable) {
            sealed_fini(&s->later);
            s->has_later = false;
        } else {
            s->next = range_tail_id(s, range_tail_at(r, s, left));
        }
    }
    if (!r->untradable)
        cold_give_room(&r->work);
    return COLD_DRAIN;
}

/* ---- a step: on a worker ---- */

static void range_run(struct cold_work *w, struct block_decoder *decoder)
{
    struct range *r = range_of(w);

    if (r->trades) {
        range_run_trade(r, decoder);
        return;
    }
    if (decoder == NULL)
        r->rc = err_set(&r->err, ERR_NOMEM, "no memory to decode what is stored");
    if (!r->begun) {
        for (size_t i = 0; i < r->n && r->rc == OK; i++)
            r->rc = range_count_source(r, &r->sources[i], decoder);
        if (r->rc == OK && (r->n_parts > 0 || !r->keyed))
            range_put_head(r);
        r->begun = true;
    }
    if (r->rc == OK && (r->n_parts > 0 || !r->keyed))
        r->rc = range_put(r, decoder);
}

/* ---- behind a step: on the engine's thread ---- */

static void range_release(struct range *r)
{
    if (r->is_open)
        reader_fini(&r->reader);
    r->is_open = false;
    for (; r->n > 0; r->n--) {
        struct range_source *s = &r->sources[r->n - 1];

        if (s->has_sealed)
            sealed_fini(&s->sealed);
        if (s->has_later)
            sealed_fini(&s->later);
        view_filter_unref(s->filter);
    }
    if (r->work.room > 0 || r->work.pin != NULL)
        cold_give_room(&r->work);
}

static void range_free(struct cold_work *w)
{
    struct range *r = range_of(w);

    range_release(r);
    view_room_fini(&r->room);
    outbuf_fini(&r->reply.out);
    free(r->ctx);
    free(r);
}

static enum cold_next range_failed(struct engine *e, struct client *c, const struct range *r)
{
    if (r->n_moved == 0) {
        reply_error(c, "%s %s", r->rc == ERR_NOMEM ? "OOM" : "IOERR", r->err.text);
        e->stats.n_errors++;
    } else {
        engine_complain(e, "client %s closed in the middle of a reply: %s", c->addr, r->err.text);
        c->close_after_reply = true;
    }
    engine_reply_part(e, c, r->work.need_written, r->work.need_durable);
    engine_reply_over(c);
    return COLD_OVER;
}

/* The command goes on: nothing was found, or there may be room now. */
static enum cold_next range_again(struct engine *e, struct range *r, const struct range_seen *seen)
{
    struct client *c = r->work.client;
    void *ctx = r->ctx;

    r->ctx = NULL;
    range_release(r);
    c->cold = NULL;
    c->need_written = 0;
    c->need_durable = r->work.need_durable;
    r->again(e, c, ctx, seen);
    if (c->cold == NULL) {
        engine_reply_part(e, c, log_last_lsn(e->log), c->need_durable);
        engine_reply_over(c);
    }
    return COLD_OVER;
}

static enum cold_next range_found_nothing(struct engine *e, struct range *r)
{
    struct range_seen *seen = calloc(r->n, sizeof *seen);
    enum cold_next next;

    if (seen == NULL) {
        r->rc = err_set(&r->err, ERR_NOMEM, "no memory for %zu IDs", r->n);
        return range_failed(e, r->work.client, r);
    }
    for (size_t i = 0; i < r->n; i++)
        seen[i] = r->sources[i].seen;
    next = range_again(e, r, seen);
    free(seen);
    return next;
}

static enum cold_next range_done(struct engine *e, struct cold_work *w)
{
    struct range *r = range_of(w);
    struct client *c = w->client;

    if (!r->begun)
        return range_again(e, r, NULL);
    if (r->trades)
        return range_traded(r);
    if (r->reply.out.failed)
        r->rc = err_set(&r->err, ERR_NOMEM, "no memory for a part of the reply");
    if (r->rc != OK && r->n_moved == 0)
        outbuf_truncate(&r->reply.out, 0);
    r->n_moved += outbuf_size(&r->reply.out);
    outbuf_move(&c->out, &r->reply.out);
    if (r->rc != OK)
        return range_failed(e, c, r);
    if (r->keyed && r->n_parts == 0)
        return range_found_nothing(e, r);
    if (c->reply_off || c->reply_skip)
        r->at = r->n; /* nobody wants the rest */
    engine_reply_part(e, c, w->need_written, w->need_durable);
    if (r->at < r->n)
        return COLD_DRAIN;
    engine_reply_over(c);
    return COLD_OVER;
}

static const struct cold_kind range_kind = { range_run, range_done, range_free, range_make_room };

/* ---- the snapshot ---- */

struct range_tail { /* which entries of a stream's tail are within */
    struct stream_pos from;
    uint64_t n;
};

static struct range_tail range_tail_of(const struct engine *e, const struct range_part *p)
{
    struct range_tail t = { stream_index_begin(NULL), 0 };
    const struct stream_index *tail;
    struct id to = p->to;
    struct stream_pos end;

    if (p->st == NULL)
        return t;
    tail = cursor_tail(e, p->st);
    end = id_next(&to) ? stream_index_seek(tail, to) : stream_index_end(tail);
    t.from = stream_index_seek(tail, p->from);
    t.n = stream_index_count(tail, t.from, end, UINT64_MAX);
    return t;
}

/* A part of the request. Of a view: no more of the changes than there must be for the COUNT, and none that are no history. */
static struct range_part range_part_of(const struct engine *e, const struct range_request *q,
                                       size_t i)
{
    struct range_part p = q->parts[i];

    if (p.st == NULL || changes_view(p.st) == NULL)
        return p;
    if (id_cmp(p.from, stream_floor(p.st)) < 0)
        p.from = stream_floor(p.st);
    history_narrow(e->state.history, changes_view(p.st), q->budget.count, q->backwards, &p.from,
                   &p.to);
    return p;
}

/* Addresses that are not needed: in order, a COUNT takes the first of them or, backwards, the last. */
static void range_limit_tail(const struct range_request *q, const struct range_part *p,
                             struct range_tail *t)
{
    uint64_t skip;

    if (t->n <= q->budget.count || changes_view(p->st) != NULL)
        return;
    skip = q->backwards ? t->n - q->budget.count : 0;
    t->n = q->budget.count;
    if (skip > 0)
        t->from = stream_index_nth(
            p->st->tail,
            stream_index_between(p->st->tail, stream_index_begin(p->st->tail), t->from) + skip);
}

static struct range_tail range_tail(const struct engine *e, const struct range_request *q,
                                    const struct range_part *p)
{
    struct range_tail t = range_tail_of(e, p);

    range_limit_tail(q, p, &t);
    return t;
}

/* What is outside of the range need not be read only to find that it is. */
static void range_narrow(struct range_source *s)
{
    if (!s->has_sealed)
        return;
    if (id_cmp(s->from, s->sealed.floor) > 0)
        s->sealed.floor = s->from;
    if (id_cmp(s->to, s->sealed.last) < 0)
        s->sealed.last = s->to;
}

static void range_fill_source(struct engine *e, const struct range_request *q, size_t i,
                              struct range_source *s, const uint8_t ***addresses)
{
    const struct range_part part = range_part_of(e, q, i), *p = &part;
    struct range_tail t = range_tail(e, q, p);
    const struct stream_index *tail = p->st == NULL ? NULL : cursor_tail(e, p->st);

    *s = (struct range_source){ .key = p->key, .from = p->from, .to = p->to };
    s->tail = *addresses;
    s->n_tail = t.n;
    for (uint64_t k = 0; k < t.n; k++) {
        s->tail[k] = stream_index_at(tail, t.from);
        stream_index_next(tail, &t.from);
    }
    *addresses += t.n;
    if (p->st == NULL)
        return;
    if (changes_view(p->st) != NULL)
        s->filter = view_filter_ref(changes_view(p->st)->filter);
    if (id_cmp(p->from, cursor_sealed_last(e, p->st)) <= 0)
        s->has_sealed = cold_get_sealed(e, p->st, &s->sealed);
    range_narrow(s);
    s->seen.oid = p->st->oid;
    s->seen.upto = p->st->last_id;
    if (id_cmp(p->st->sealed_last, s->seen.upto) < 0)
        s->seen.upto = p->st->sealed_last;
}

static struct range *range_new(struct client *c, const struct range_request *q, uint64_t n_tail)
{
    size_t bytes = sizeof(struct range) + q->n * sizeof(struct range_source);
    struct range *r = calloc(1, bytes + (size_t)n_tail * sizeof(const uint8_t *));

    if (r == NULL)
        return NULL;
    r->work.kind = &range_kind;
    r->keyed = q->keyed;
    r->backwards = q->backwards;
    r->budget = q->budget;
    r->again = q->again;
    r->ctx = q->ctx;
    r->reply.proto = c->proto;
    outbuf_init(&r->reply.out);
    return r;
}

static void range_refuse(struct client *c, struct range *r, void *ctx)
{
    if (r != NULL)
        range_free(&r->work);
    else
        free(ctx);
    reply_error(c, "OOM no memory for a reply that has to be read from disk");
}

void range_start(struct engine *e, struct client *c, const struct range_request *q)
{
    const uint8_t **addresses;
    uint64_t n_tail = 0;
    struct range *r;

    for (size_t i = 0; i < q->n; i++) {
        const struct range_part p = range_part_of(e, q, i);
        n_tail += range_tail(e, q, &p).n;
    }
    r = range_new(c, q, n_tail);
    if (r == NULL) {
        range_refuse(c, NULL, q->ctx);
        return;
    }
    if (!cold_take_room(e, &r->work, n_tail * sizeof *addresses, n_tail > 0)) {
        if (!cold_wait_room(e, c, &r->work))
            range_refuse(c, r, NULL);
        return;
    }
    addresses = (const uint8_t **)(void *)&r->sources[q->n];
    for (; r->n < q->n; r->n++)
        range_fill_source(e, q, r->n, &r->sources[r->n], &addresses);
    cold_start(e, c, &r->work);
}
