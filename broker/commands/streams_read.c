/*
 * streams_read.c - XLEN, XRANGE, XREVRANGE and XREAD.
 *
 * Replies announce how many elements follow, so XREAD decides before it writes: one pass over the
 * streams finds what each gives within COUNT, MAXCOUNT and MAXSIZE, a second one writes. Both ask the
 * same function, so nothing has to be kept between them.
 *
 * XREAD BLOCK that finds nothing leaves a copy of its keys, IDs and limits with engine/blocking.c; `$` and
 * `+` are resolved to IDs by then. When one of its keys changes, the whole request is tried again: it
 * replies with all its streams that have something by then, as Redis does since 7.2. A key that has been
 * deleted, or that holds something else, has nothing to give and keeps the client waiting.
 */
#include <assert.h>
#include <stdlib.h>
#include "broker/commands/streams.h"
#include "broker/engine/args.h"
#include "broker/engine/blocking.h"
#include "broker/engine/reply.h"

void streams_xlen(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct stream *st;

    (void)argc;
    if (streams_find(e, c, argv[1], &st))
        reply_u64(c, st == NULL ? 0 : st->n_entries);
}

/* ---- XRANGE and XREVRANGE ---- */

/* A bound: an ID, "-", "+", or "(" and an ID for what lies behind (before) it. */
static bool range_parse(struct client *c, struct slice text, bool is_end, struct id *out)
{
    bool exclusive = text.n > 1 && text.p[0] == '(';
    uint64_t missing_seq = is_end ? UINT64_MAX : 0;
    bool ok = exclusive ? streams_parse_id(slice_of(text.p + 1, text.n - 1), missing_seq, out)
                        : streams_parse_id_or_end(text, missing_seq, out);

    if (!ok) {
        streams_bad_id(c);
        return false;
    }
    if (exclusive && !(is_end ? id_prev(out) : id_next(out))) {
        reply_error(c, "ERR invalid %s ID for the interval", is_end ? "end" : "start");
        return false;
    }
    return true;
}

/* Reads [COUNT n] ...; -1: none was given. */
static bool range_parse_count(struct client *c, const struct slice *argv, size_t argc,
                              int64_t *count)
{
    *count = -1;
    for (size_t i = 4; i < argc; i += 2) {
        if (i + 1 == argc || !args_word(argv[i], "count")) {
            reply_syntax_error(c);
            return false;
        }
        if (!args_i64(argv[i + 1], count)) {
            reply_not_integer(c);
            return false;
        }
        if (*count < 0)
            *count = 0;
    }
    return true;
}

static void range_reply(struct engine *e, struct client *c, const struct slice *argv, size_t argc,
                        bool backwards)
{
    struct id from, to;
    struct streams_span span;
    struct stream *st;
    int64_t count;
    uint64_t n;

    if (!range_parse(c, argv[backwards ? 3 : 2], false, &from) ||
        !range_parse(c, argv[backwards ? 2 : 3], true, &to) ||
        !range_parse_count(c, argv, argc, &count) || !streams_find(e, c, argv[1], &st))
        return;
    if (st == NULL) {
        reply_array(c, 0);
        return;
    }
    if (count == 0) {
        reply_null_array(c);
        return;
    }
    span = streams_span(st, from, to);
    n = stream_index_count(st->tail, span.from, span.to, count < 0 ? UINT64_MAX : (uint64_t)count);
    if (backwards)
        streams_reply_entries_back(c, st, span.to, n);
    else
        streams_reply_entries(c, st, span.from, n);
}

void streams_xrange(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    range_reply(e, c, argv, argc, false);
}

void streams_xrevrange(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    range_reply(e, c, argv, argc, true);
}

/* ---- XREAD: the request ---- */

enum { XREAD_KEYS_INLINE = 16 };

struct xread {
    uint64_t count, maxcount, maxsize; /* UINT64_MAX: no limit */
    bool blocks;
    uint64_t block_ms;
    size_t n; /* streams */
    const struct slice *keys;
    struct id *after; /* each stream's entries with a larger ID are wanted */
};

static bool xread_limit(struct client *c, struct slice word, struct slice value, uint64_t *out)
{
    int64_t n;

    if (!args_i64(value, &n)) {
        reply_not_integer(c);
        return false;
    }
    if (n < 1) {
        reply_error(c, "ERR %s must be positive",
                    args_word(word, "maxcount") ? "MAXCOUNT" : "MAXSIZE");
        return false;
    }
    *out = (uint64_t)n;
    return true;
}

static bool xread_count(struct client *c, struct slice value, uint64_t *out)
{
    int64_t n;

    if (!args_i64(value, &n)) {
        reply_not_integer(c);
        return false;
    }
    *out = n > 0 ? (uint64_t)n : UINT64_MAX;
    return true;
}

static bool xread_block(struct engine *e, struct client *c, struct slice value, struct xread *r)
{
    int64_t ms;

    if (!args_i64(value, &ms)) {
        reply_error(c, "ERR timeout is not an integer or out of range");
        return false;
    }
    if (ms < 0) {
        reply_error(c, "ERR timeout is negative");
        return false;
    }
    if (ms > INT64_MAX - (int64_t)e->now_ms) {
        reply_error(c, "ERR timeout is out of range");
        return false;
    }
    r->blocks = true;
    r->block_ms = (uint64_t)ms;
    return true;
}

/* Reads the option at argv[*i]; false if an error has been replied. */
static bool xread_option(struct engine *e, struct client *c, const struct slice *argv, size_t argc,
                         size_t *i, struct xread *r)
{
    struct slice word = argv[*i];
    bool more = *i + 1 < argc, ok = false;

    if (more && args_word(word, "count"))
        ok = xread_count(c, argv[*i + 1], &r->count);
    else if (more && args_word(word, "block"))
        ok = xread_block(e, c, argv[*i + 1], r);
    else if (more && args_word(word, "maxcount"))
        ok = xread_limit(c, word, argv[*i + 1], &r->maxcount);
    else if (more && args_word(word, "maxsize"))
        ok = xread_limit(c, word, argv[*i + 1], &r->maxsize);
    else if ((more && args_word(word, "group")) || args_word(word, "noack"))
        reply_error(c,
                    "ERR The %s option is only supported by XREADGROUP. You called XREAD instead.",
                    args_word(word, "group") ? "GROUP" : "NOACK");
    else
        reply_syntax_error(c);
    *i += 2;
    return ok;
}

/* Where "STREAMS key [key ...] id [id ...]" has its first key; 0 if there is none. */
static size_t xread_streams_at(const struct slice *argv, size_t argc)
{
    for (size_t i = 1; i + 1 < argc; i += 2)
        if (args_word(argv[i], "streams"))
            return i + 1;
    return 0;
}

size_t streams_xread_keys(const struct slice *argv, size_t argc, size_t *out)
{
    size_t at = xread_streams_at(argv, argc);

    if (at == 0 || (argc - at) % 2 != 0)
        return 0;
    for (size_t i = 0; i < (argc - at) / 2; i++)
        out[i] = at + i;
    return (argc - at) / 2;
}

/* Reads everything but the IDs. */
static bool xread_parse(struct engine *e, struct client *c, const struct slice *argv, size_t argc,
                        struct xread *r)
{
    size_t at = 0;

    for (size_t i = 1; i < argc && at == 0;) {
        if (i + 1 < argc && args_word(argv[i], "streams"))
            at = i + 1;
        else if (!xread_option(e, c, argv, argc, &i, r))
            return false;
    }
    if (at == 0) {
        reply_syntax_error(c);
        return false;
    }
    if ((argc - at) % 2 != 0) {
        reply_error(
            c, "ERR Unbalanced 'xread' list of streams: for each stream key an ID, '+', or '$' "
               "must be specified.");
        return false;
    }
    if (r->maxcount != UINT64_MAX && r->count != UINT64_MAX && r->maxcount < r->count) {
        reply_error(c, "ERR MAXCOUNT must be greater than or equal to COUNT");
        return false;
    }
    r->keys = argv + at;
    r->n = (argc - at) / 2;
    return true;
}

/* The ID after which to read: as given, or of the last entry for "$", or of the one before it for "+". */
static bool xread_resolve(struct engine *e, struct client *c, struct slice key, struct slice text,
                          struct id *out)
{
    struct stream *st;

    if (!streams_find(e, c, key, &st))
        return false;
    if (text.n == 1 && text.p[0] == '$') {
        *out = st == NULL ? ID_MIN : st->last_id;
        return true;
    }
    if (text.n == 1 && text.p[0] == '+') {
        *out = st == NULL ? ID_MIN : st->last_id;
        if (st != NULL && st->n_entries > 0) {
            *out = streams_top_id(st);
            id_prev(out);
        }
        return true;
    }
    if (text.n == 1 && text.p[0] == '>') {
        reply_error(c, "ERR The > ID can be specified only when calling XREADGROUP using the GROUP "
                       "<group> <consumer> option.");
        return false;
    }
    if (streams_parse_id(text, 0, out))
        return true;
    streams_bad_id(c);
    return false;
}

/* ---- XREAD: the reply ---- */

struct xread_part { /* what one stream gives */
    const struct stream *st;
    struct stream_pos from;
    uint64_t n; /* entries */
};

struct xread_budget { /* of the streams from here on */
    uint64_t entries, bytes;
    bool empty; /* nothing has been taken yet: one entry goes through, however large */
};

/* Bytes around a stream's entries: its array, its key, the entries' array. */
static uint64_t xread_key_bytes(struct slice key)
{
    return key.n + 32;
}

/* How many of at most n entries from `from` on fit; takes their bytes. */
static uint64_t xread_fit(const struct stream *st, struct stream_pos from, uint64_t n,
                          struct slice key, struct xread_budget *b)
{
    uint64_t used = xread_key_bytes(key), fits = 0;

    for (; fits < n; fits++) {
        uint64_t bytes = streams_entry_reply_size(stream_index_at(st->tail, from));

        if ((used > b->bytes || bytes > b->bytes - used) && !b->empty)
            break;
        b->empty = false;
        used += bytes;
        stream_index_next(st->tail, &from);
    }
    if (fits > 0)
        b->bytes = used < b->bytes ? b->bytes - used : 0;
    return fits;
}

/* What stream i gives within the budget, which shrinks by it. */
static struct xread_part xread_part(const struct engine *e, const struct client *c,
                                    const struct xread *r, size_t i, struct xread_budget *b)
{
    const struct object *o = state_find(&e->state, c->db, r->keys[i]);
    struct xread_part part = { .st = (const struct stream *)(const void *)o };
    struct streams_span span;
    struct id from = r->after[i];

    if (o == NULL || o->type != OBJECT_STREAM || engine_is_expired(e, o) ||
        id_cmp(from, part.st->last_id) >= 0 || !id_next(&from))
        return part;
    span = streams_span(part.st, from, ID_MAX);
    part.from = span.from;
    part.n = stream_index_count(part.st->tail, span.from, span.to,
                                r->count < b->entries ? r->count : b->entries);
    if (r->maxsize != UINT64_MAX)
        part.n = xread_fit(part.st, part.from, part.n, r->keys[i], b);
    b->entries -= b->entries == UINT64_MAX ? 0 : part.n;
    return part;
}

static struct xread_budget xread_budget(const struct xread *r)
{
    return (struct xread_budget){ .entries = r->maxcount, .bytes = r->maxsize, .empty = true };
}

/* Replies with all that there is; false, with nothing replied, if there is nothing. */
static bool xread_reply(struct engine *e, struct client *c, const struct xread *r)
{
    struct xread_budget budget = xread_budget(r);
    size_t n_parts = 0;

    for (size_t i = 0; i < r->n; i++)
        n_parts += xread_part(e, c, r, i, &budget).n > 0;
    if (n_parts == 0)
        return false;
    if (c->proto >= 3)
        reply_map(c, n_parts);
    else
        reply_array(c, n_parts);
    budget = xread_budget(r);
    for (size_t i = 0; i < r->n; i++) {
        struct xread_part part = xread_part(e, c, r, i, &budget);

        if (part.n == 0)
            continue;
        if (c->proto < 3)
            reply_array(c, 2);
        reply_bulk(c, r->keys[i].p, r->keys[i].n);
        streams_reply_entries(c, part.st, part.from, part.n);
    }
    return true;
}

/* ---- XREAD: waiting ---- */

struct
    xread_waiting { /* a request's copy; keys, IDs and the keys' bytes follow in the same memory */
    struct xread request;
};

static struct xread_waiting *xread_copy(const struct xread *r)
{
    size_t bytes = 0;
    struct xread_waiting *w;
    struct slice *keys;
    struct id *after;
    uint8_t *p;

    for (size_t i = 0; i < r->n; i++)
        bytes += r->keys[i].n;
    w = malloc(sizeof *w + r->n * (sizeof *keys + sizeof *after) + bytes);
    if (w == NULL)
        return NULL;
    w->request = *r;
    after = (struct id *)(void *)(w + 1);
    keys = (struct slice *)(void *)(after + r->n);
    p = (uint8_t *)(keys + r->n);
    for (size_t i = 0; i < r->n; i++) {
        after[i] = r->after[i];
        keys[i] = slice_of(p, r->keys[i].n);
        if (r->keys[i].n > 0)
            memcpy(p, r->keys[i].p, r->keys[i].n);
        p += r->keys[i].n;
    }
    w->request.keys = keys;
    w->request.after = after;
    return w;
}

/* A blocking_try. */
static bool xread_try(struct engine *e, struct client *c, void *ctx)
{
    const struct xread_waiting *w = ctx;

    for (size_t i = 0; i < w->request.n; i++)
        engine_lookup(e, c, w->request.keys[i]); /* for what the reply has to wait for */
    return xread_reply(e, c, &w->request);
}

static void xread_wait(struct engine *e, struct client *c, const struct xread *r)
{
    struct xread_waiting *w = xread_copy(r);
    struct blocking_wait wait = { .keys = r->keys,
                                  .n_keys = r->n,
                                  .deadline_ms = UINT64_MAX,
                                  .serve = xread_try,
                                  .release = free,
                                  .ctx = w };
    struct err err;

    if (r->block_ms > 0)
        wait.deadline_ms = e->now_ms + r->block_ms;
    if (w != NULL && blocking_block(e->blocking, c, &wait, &err) == OK)
        return;
    free(w);
    reply_error(c, "OOM no memory to wait for %zu streams", r->n);
}

static void xread_run(struct engine *e, struct client *c, const struct xread *r)
{
    for (size_t i = 0; i < r->n; i++)
        if (!xread_resolve(e, c, r->keys[i], r->keys[r->n + i], &r->after[i]))
            return;
    if (xread_reply(e, c, r))
        return;
    if (r->blocks && !c->in_exec)
        xread_wait(e, c, r);
    else
        reply_null_array(c);
}

void streams_xread(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct xread r = { .count = UINT64_MAX, .maxcount = UINT64_MAX, .maxsize = UINT64_MAX };
    struct id few[XREAD_KEYS_INLINE];

    if (!xread_parse(e, c, argv, argc, &r))
        return;
    r.after = r.n <= XREAD_KEYS_INLINE ? few : malloc(r.n * sizeof r.after[0]);
    if (r.after == NULL) {
        reply_error(c, "OOM no memory for %zu IDs", r.n);
        return;
    }
    xread_run(e, c, &r);
    if (r.after != few)
        free(r.after);
}
