/*
 * streams_read.c - XLEN, XRANGE, XREVRANGE and XREAD.
 *
 * What lies in a stream's tail is replied at once, as is what lies in segments if it is in memory and little; everything
 * else is made by workers (streams_range.c). Inside EXEC all has been loaded beforehand, and nothing waits.
 *
 * Replies announce how many elements follow, so XREAD decides before it writes: one pass over the tails finds what each
 * gives within COUNT, MAXCOUNT and MAXSIZE, a second one writes. Both ask the same function, so nothing has to be kept
 * between them. Where something is sealed, entries are written aside first, and counted.
 *
 * XREAD BLOCK that finds nothing leaves a copy of its keys, IDs and limits with engine/blocking.c; `$` and
 * `+` are resolved to IDs by then. When one of its keys changes, the whole request is tried again: it
 * replies with all its streams that have something by then, as Redis does since 7.2. A key that has been
 * deleted, or that holds something else, has nothing to give and keeps the client waiting.
 *
 * Whether a stream has anything behind an ID may itself have to be read. Then a worker finds out, and if there is nothing,
 * the command goes on, knowing that (range_seen): it blocks, or replies null.
 */
#include "broker/commands/streams_read.h"
#include <assert.h>
#include <stdlib.h>
#include "broker/commands/streams.h"
#include "broker/commands/streams_range.h"
#include "broker/cache/changes.h"
#include "broker/engine/args.h"
#include "broker/engine/blocking.h"
#include "broker/engine/cursor.h"
#include "broker/engine/reply.h"

void streams_xlen(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct stream *st;

    (void)argc;
    if (streams_find(e, c, argv[1], &st))
        reply_u64(c, st == NULL ? 0 : st->n_entries);
}

/* ---- XRANGE and XREVRANGE ---- */

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

struct xrange {
    struct id from, to;
    uint64_t count; /* UINT64_MAX: no limit */
    bool backwards;
};

/* Whether all that is asked for lies in the tail; how many entries these are, and where. */
static bool xrange_in_tail(const struct stream *st, const struct xrange *q,
                           struct streams_span *span, uint64_t *n)
{
    *span = streams_span(st, q->from, q->to);
    *n = stream_index_count(st->tail, span->from, span->to, q->count);
    return streams_is_in_tail(st, q->from) || (q->backwards && *n == q->count);
}

static struct range_budget xrange_budget(const struct xrange *q)
{
    return (struct range_budget){
        .count = q->count, .entries = UINT64_MAX, .bytes = UINT64_MAX, .empty = true
    };
}

/* A range that waits for room: the key and what is wanted of it. */
struct xrange_waiting {
    struct xrange q;
    int db;
    size_t n_key;
    uint8_t key[];
};

static void xrange_reply(struct engine *e, struct client *c, struct slice key,
                         const struct xrange *q);

/* See range_request.again. */
static void xrange_again(struct engine *e, struct client *c, void *ctx,
                         const struct range_seen *seen)
{
    struct xrange_waiting *w = ctx;

    (void)seen;
    xrange_reply(e, c, slice_of(w->key, w->n_key), &w->q);
    free(w);
}

/* Workers make the reply. */
static void xrange_wait(struct engine *e, struct client *c, struct slice key,
                        const struct stream *st, const struct xrange *q)
{
    const struct range_part part = { .st = st, .from = q->from, .to = q->to };
    struct xrange_waiting *w = malloc(sizeof *w + key.n);
    const struct range_request request = { .backwards = q->backwards,
                                           .budget = xrange_budget(q),
                                           .parts = &part,
                                           .n = 1,
                                           .ctx = w,
                                           .again = xrange_again };

    if (w == NULL) {
        reply_error(c, "OOM no memory to wait for a range");
        return;
    }
    w->q = *q;
    w->n_key = key.n;
    if (key.n > 0)
        memcpy(w->key, key.p, key.n);
    range_start(e, c, &request);
}

/* Replies from both parts, if what is sealed is in memory and the reply small, or inside EXEC. False: nothing has been
 * replied. */
static bool xrange_at_once(struct engine *e, struct client *c, const struct stream *st,
                           const struct xrange *q)
{
    const struct range_part part = { .st = st, .from = q->from, .to = q->to };
    struct range_budget budget = xrange_budget(q);
    struct range_collect collect;
    struct err err;
    int rc = range_collect(e, c, &part, q->backwards, c->in_exec, &budget, &collect, &err);

    if (rc == OK) {
        reply_array(c, collect.n);
        outbuf_move(&c->out, &collect.out);
    } else if (c->in_exec) {
        streams_reply_failure(c, rc, &err);
    }
    return rc == OK || c->in_exec;
}

static void xrange_reply(struct engine *e, struct client *c, struct slice key,
                         const struct xrange *q)
{
    struct streams_span span;
    struct stream *st;
    uint64_t n;

    if (!streams_find(e, c, key, &st))
        return;
    if (st == NULL)
        reply_array(c, 0);
    else if (changes_is_behind(c, st, q->from, true))
        return;
    else if (q->count == 0)
        reply_null_array(c);
    else if (!xrange_in_tail(st, q, &span, &n)) {
        if (!xrange_at_once(e, c, st, q))
            xrange_wait(e, c, key, st, q);
    } else if (n > RANGE_AT_ONCE_TAIL_MAX && !c->in_exec)
        xrange_wait(e, c, key, st, q);
    else if (q->backwards)
        streams_reply_entries_back(c, st, span.to, n);
    else
        streams_reply_entries(c, st, span.from, n);
}

/* Reads the arguments of both; false if an error has been replied. */
static bool xrange_parse(struct client *c, const struct slice *argv, size_t argc, bool backwards,
                         struct xrange *q)
{
    int64_t count;

    if (!streams_parse_bound(c, argv[backwards ? 3 : 2], false, &q->from) ||
        !streams_parse_bound(c, argv[backwards ? 2 : 3], true, &q->to) ||
        !range_parse_count(c, argv, argc, &count))
        return false;
    q->count = count < 0 ? UINT64_MAX : (uint64_t)count;
    q->backwards = backwards;
    return true;
}

static void range_reply(struct engine *e, struct client *c, const struct slice *argv, size_t argc,
                        bool backwards)
{
    struct xrange q;

    if (xrange_parse(c, argv, argc, backwards, &q))
        xrange_reply(e, c, argv[1], &q);
}

/* Outside of EXEC a range waits for itself, so it needs nothing beforehand. */
static void range_prefault(struct engine *e, struct client *c, const struct slice *argv,
                           size_t argc, bool backwards, struct wants *wants)
{
    const struct stream *st;
    struct xrange q;

    if (!c->in_exec || !xrange_parse(c, argv, argc, backwards, &q))
        return;
    st = streams_peek(e, c, argv[1]);
    if (st != NULL)
        range_want(e, st, q.from, q.to, q.count, backwards, wants);
}

void streams_xrange_prefault(struct engine *e, struct client *c, const struct slice *argv,
                             size_t argc, struct wants *wants)
{
    range_prefault(e, c, argv, argc, false, wants);
}

void streams_xrevrange_prefault(struct engine *e, struct client *c, const struct slice *argv,
                                size_t argc, struct wants *wants)
{
    range_prefault(e, c, argv, argc, true, wants);
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
    struct streams_limits limits;
    size_t n; /* streams */
    const struct slice *keys;
    struct id *after;        /* each stream's entries with a larger ID are wanted */
    struct range_seen *seen; /* what is known of each; NULL: nothing */
};

const struct streams_limits STREAMS_LIMITS_NONE = {
    .count = UINT64_MAX, .maxcount = UINT64_MAX, .maxsize = UINT64_MAX, .deadline_ms = UINT64_MAX
};

static bool limits_positive(struct client *c, struct slice value, const char *name, uint64_t *out)
{
    int64_t n;

    if (!args_i64(value, &n)) {
        reply_not_integer(c);
        return false;
    }
    if (n < 1) {
        reply_error(c, "ERR %s must be a positive integer", name);
        return false;
    }
    *out = (uint64_t)n;
    return true;
}

static bool limits_count(struct client *c, struct slice value, uint64_t *out)
{
    int64_t n;

    if (!args_i64(value, &n)) {
        reply_not_integer(c);
        return false;
    }
    *out = n > 0 ? (uint64_t)n : UINT64_MAX;
    return true;
}

static bool limits_block(struct engine *e, struct client *c, struct slice value,
                         struct streams_limits *l)
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
    l->blocks = true;
    l->deadline_ms = ms == 0 ? UINT64_MAX : e->now_ms + (uint64_t)ms;
    return true;
}

int streams_limits_option(struct engine *e, struct client *c, struct slice word, struct slice value,
                          struct streams_limits *l)
{
    bool ok;

    if (args_word(word, "count"))
        ok = limits_count(c, value, &l->count);
    else if (args_word(word, "block"))
        ok = limits_block(e, c, value, l);
    else if (args_word(word, "maxcount"))
        ok = limits_positive(c, value, "MAXCOUNT", &l->maxcount);
    else if (args_word(word, "maxsize"))
        ok = limits_positive(c, value, "MAXSIZE", &l->maxsize);
    else
        return 0;
    return ok ? 1 : -1;
}

bool streams_limits_check(struct client *c, const struct streams_limits *l)
{
    if (l->maxcount == UINT64_MAX || l->count == UINT64_MAX || l->maxcount >= l->count)
        return true;
    reply_error(c, "ERR MAXCOUNT must be greater than or equal to COUNT");
    return false;
}

/* Reads the option at argv[*i]; false if an error has been replied. */
static bool xread_option(struct engine *e, struct client *c, const struct slice *argv, size_t argc,
                         size_t *i, struct xread *r)
{
    static const char *const of_groups[] = { "noack", "group",
                                             "claim" }; /* the first has no value */
    static const char *const shown[] = { "NOACK", "GROUP", "CLAIM" };
    struct slice word = argv[*i];
    bool more = *i + 1 < argc;
    int taken = more ? streams_limits_option(e, c, word, argv[*i + 1], &r->limits) : 0;

    *i += 2;
    if (taken != 0)
        return taken > 0;
    for (size_t k = 0; k < sizeof of_groups / sizeof of_groups[0]; k++) {
        if ((!more && k > 0) || !args_word(word, of_groups[k]))
            continue;
        reply_error(c,
                    "ERR The %s option is only supported by XREADGROUP. You called XREAD instead.",
                    shown[k]);
        return false;
    }
    reply_syntax_error(c);
    return false;
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
    if (!streams_limits_check(c, &r->limits))
        return false;
    r->keys = argv + at;
    r->n = (argc - at) / 2;
    return true;
}

/* The ID after which to read: as given, or of the last entry for "$", or of the one before it for "+". */
static bool xread_resolve(struct engine *e, struct client *c, struct slice key, struct slice text,
                          struct id *out)
{
    struct stream *st;
    struct err err;
    int rc;

    if (!streams_find(e, c, key, &st))
        return false;
    if (text.n == 1 && text.p[0] == '$') {
        *out = st == NULL ? ID_MIN : st->last_id;
        return true;
    }
    if (text.n == 1 && text.p[0] == '+') {
        *out = st == NULL ? ID_MIN : st->last_id;
        if (st == NULL || st->n_entries == 0)
            return true;
        rc = cursor_top_id(e, st, CURSOR_ON_THE_SPOT, NULL, out, &err);
        if (rc != OK)
            streams_reply_failure(c, rc, &err);
        id_prev(out);
        return rc == OK;
    }
    if (text.n == 1 && text.p[0] == '>') {
        reply_error(c, "ERR The > ID can be specified only when calling XREADGROUP using the GROUP "
                       "<group> <consumer> option.");
        return false;
    }
    if (streams_parse_id(text, 0, out))
        return !changes_is_behind(c, st, *out, false);
    streams_bad_id(c);
    return false;
}

/* ---- XREAD: the reply ---- */

/* A stream as XREAD looks at it; NULL if there is nothing behind r->after[i], else *from is the first ID wanted. */
static const struct stream *xread_stream(const struct engine *e, const struct client *c,
                                         const struct xread *r, size_t i, struct id *from)
{
    const struct stream *st = streams_peek(e, c, r->keys[i]);

    if (st == NULL)
        return NULL;
    *from = r->after[i];
    if (r->seen != NULL && r->seen[i].oid == st->oid && id_cmp(*from, r->seen[i].upto) < 0)
        *from = r->seen[i].upto;
    return id_cmp(*from, st->last_id) < 0 && id_next(from) ? st : NULL;
}

static struct range_budget xread_budget(const struct xread *r)
{
    return (struct range_budget){ .count = r->limits.count,
                                  .entries = r->limits.maxcount,
                                  .bytes = r->limits.maxsize,
                                  .empty = true };
}

struct xread_part { /* what one stream gives, if that lies in its tail */
    const struct stream *st;
    struct stream_pos from;
    uint64_t n;
    bool elsewhere; /* it may have something in segments */
};

/* How many entries of the tail from `from` on fit. */
static uint64_t xread_fit(const struct stream *st, struct stream_pos from, uint64_t n,
                          struct slice key, struct range_budget *b)
{
    struct range_fit fit = range_fit_begin(b, key);

    if (b->bytes == UINT64_MAX) {
        fit.n = n < fit.max ? n : fit.max;
    } else {
        while (fit.n < n && range_fit_take(&fit, b, stream_index_at(st->tail, from)))
            stream_index_next(st->tail, &from);
    }
    range_fit_end(&fit, b);
    return fit.n;
}

/* What stream i gives within the budget, which shrinks by it. */
static struct xread_part xread_part(const struct engine *e, const struct client *c,
                                    const struct xread *r, size_t i, struct range_budget *b)
{
    struct xread_part part = { .st = NULL };
    struct streams_span span;
    struct id from;

    part.st = xread_stream(e, c, r, i, &from);
    if (part.st == NULL)
        return part;
    part.elsewhere = !streams_is_in_tail(part.st, from);
    span = streams_span(part.st, from, ID_MAX);
    part.from = span.from;
    part.n = stream_index_count(part.st->tail, span.from, span.to,
                                b->count < b->entries ? b->count : b->entries);
    part.n = xread_fit(part.st, part.from, part.n, r->keys[i], b);
    return part;
}

enum xread_outcome { XREAD_NOTHING, XREAD_REPLIED, XREAD_ELSEWHERE };

void streams_reply_parts(struct client *c, size_t n)
{
    if (c->proto >= 3)
        reply_map(c, n);
    else
        reply_array(c, n);
}

void streams_reply_part(struct client *c, struct slice key)
{
    if (c->proto < 3)
        reply_array(c, 2);
    reply_bulk(c, key.p, key.n);
}

/* Replies if all there is lies in the tails and is not too much; nothing is replied otherwise. */
static enum xread_outcome xread_from_tails(struct engine *e, struct client *c,
                                           const struct xread *r)
{
    struct range_budget budget = xread_budget(r);
    uint64_t n_entries = 0;
    size_t n_parts = 0;

    for (size_t i = 0; i < r->n; i++) {
        struct xread_part part = xread_part(e, c, r, i, &budget);
        if (part.elsewhere)
            return XREAD_ELSEWHERE;
        n_parts += part.n > 0;
        n_entries += part.n;
    }
    if (n_parts == 0)
        return XREAD_NOTHING;
    if (n_entries > RANGE_AT_ONCE_TAIL_MAX && !c->in_exec)
        return XREAD_ELSEWHERE;
    streams_reply_parts(c, n_parts);
    budget = xread_budget(r);
    for (size_t i = 0; i < r->n; i++) {
        struct xread_part part = xread_part(e, c, r, i, &budget);

        if (part.n == 0)
            continue;
        streams_reply_part(c, r->keys[i]);
        streams_reply_entries(c, part.st, part.from, part.n);
    }
    return XREAD_REPLIED;
}

/* Makes the part of stream i in `body`, nothing if it has nothing. */
static int xread_collect(struct engine *e, struct client *c, const struct xread *r, size_t i,
                         struct range_budget *budget, struct client *body, size_t *n_parts,
                         struct err *err)
{
    struct range_part part = { .key = r->keys[i], .to = ID_MAX };
    struct range_collect collect;
    int rc;

    part.st = xread_stream(e, c, r, i, &part.from);
    if (part.st == NULL)
        return OK;
    rc = range_collect(e, c, &part, false, c->in_exec, budget, &collect, err);
    if (rc != OK || collect.n == 0)
        return rc;
    streams_reply_part(body, r->keys[i]);
    reply_array(body, collect.n);
    outbuf_move(&body->out, &collect.out);
    *n_parts += 1;
    return OK;
}

/* The same where something is sealed: it must be in memory, and the reply small, unless inside EXEC. */
static enum xread_outcome xread_at_once(struct engine *e, struct client *c, const struct xread *r)
{
    struct range_budget budget = xread_budget(r);
    struct client body = { .proto = c->proto };
    size_t n_parts = 0;
    struct err err;
    int rc = OK;

    outbuf_init(&body.out);
    for (size_t i = 0; i < r->n && rc == OK; i++) {
        rc = xread_collect(e, c, r, i, &budget, &body, &n_parts, &err);
        if (outbuf_size(&body.out) > RANGE_AT_ONCE_BYTES && !c->in_exec)
            rc = ERR_TOO_BIG;
    }
    if (rc == OK && n_parts > 0) {
        streams_reply_parts(c, n_parts);
        outbuf_move(&c->out, &body.out);
    }
    outbuf_fini(&body.out);
    if (rc == OK)
        return n_parts > 0 ? XREAD_REPLIED : XREAD_NOTHING;
    if (!c->in_exec)
        return XREAD_ELSEWHERE;
    streams_reply_failure(c, rc, &err);
    return XREAD_REPLIED;
}

/* ---- XREAD: waiting ---- */

/* A copy of a request, in one allocation: what is known of its streams, IDs, keys and the keys' bytes follow. */
static struct xread *xread_copy(const struct xread *r)
{
    size_t bytes = 0;
    struct xread *copy;
    struct slice *keys;
    uint8_t *p;

    for (size_t i = 0; i < r->n; i++)
        bytes += r->keys[i].n;
    copy = malloc(sizeof *copy + r->n * (sizeof r->seen[0] + sizeof r->after[0] + sizeof *keys) +
                  bytes);
    if (copy == NULL)
        return NULL;
    *copy = *r;
    copy->seen = (struct range_seen *)(void *)(copy + 1);
    copy->after = (struct id *)(void *)(copy->seen + r->n);
    keys = (struct slice *)(void *)(copy->after + r->n);
    p = (uint8_t *)(keys + r->n);
    for (size_t i = 0; i < r->n; i++) {
        copy->seen[i] = r->seen != NULL ? r->seen[i] : (struct range_seen){ .oid = 0 };
        copy->after[i] = r->after[i];
        keys[i] = slice_of(p, r->keys[i].n);
        if (r->keys[i].n > 0)
            memcpy(p, r->keys[i].p, r->keys[i].n);
        p += r->keys[i].n;
    }
    copy->keys = keys;
    return copy;
}

static void xread_no_memory(struct client *c, const struct xread *r)
{
    reply_error(c, "OOM no memory to wait for %zu streams", r->n);
}

static void xread_again(struct engine *e, struct client *c, void *ctx,
                        const struct range_seen *seen);

/* Workers look for what there is, and make the reply. */
static void xread_start(struct engine *e, struct client *c, const struct xread *r)
{
    struct range_request request = {
        .keyed = true, .budget = xread_budget(r), .n = r->n, .again = xread_again
    };
    struct range_part *parts = calloc(r->n, sizeof *parts);
    struct xread *copy = xread_copy(r);

    if (parts == NULL || copy == NULL) {
        free(parts);
        free(copy);
        xread_no_memory(c, r);
        return;
    }
    for (size_t i = 0; i < r->n; i++) {
        parts[i].st = xread_stream(e, c, r, i, &parts[i].from);
        parts[i].key = copy->keys[i];
        parts[i].to = ID_MAX;
    }
    request.parts = parts;
    request.ctx = copy;
    range_start(e, c, &request);
    free(parts);
}

/* Replies with all that there is, or has workers do it; false, with nothing done, if there is nothing. */
static bool xread_reply(struct engine *e, struct client *c, const struct xread *r)
{
    enum xread_outcome outcome = xread_from_tails(e, c, r);

    if (outcome == XREAD_ELSEWHERE)
        outcome = xread_at_once(e, c, r);
    if (outcome == XREAD_ELSEWHERE)
        xread_start(e, c, r);
    return outcome != XREAD_NOTHING;
}

static void xread_need(struct engine *e, struct client *c, const struct xread *r)
{
    for (size_t i = 0; i < r->n; i++)
        engine_lookup(e, c, r->keys[i]); /* for what the reply has to wait for */
}

/* A blocking_try. */
static bool xread_try(struct engine *e, struct client *c, void *ctx)
{
    const struct xread *r = ctx;

    xread_need(e, c, r);
    return xread_reply(e, c, r);
}

static void xread_wait(struct engine *e, struct client *c, const struct xread *r)
{
    struct xread *copy = xread_copy(r);
    struct blocking_wait wait = { .keys = r->keys,
                                  .n_keys = r->n,
                                  .deadline_ms = r->limits.deadline_ms,
                                  .serve = xread_try,
                                  .release = free,
                                  .ctx = copy };
    struct err err;

    if (copy != NULL) /* what is known may not hold for as long as this can last */
        memset(copy->seen, 0, copy->n * sizeof copy->seen[0]);
    if (copy != NULL && blocking_block(e->blocking, c, &wait, &err) == OK)
        return;
    free(copy);
    xread_no_memory(c, r);
}

static void xread_run(struct engine *e, struct client *c, const struct xread *r)
{
    if (xread_reply(e, c, r))
        return;
    if (r->limits.blocks && !c->in_exec)
        xread_wait(e, c, r);
    else
        reply_null_array(c);
}

/* See range_request.again: from here on those streams are known to have nothing up to there. */
static void xread_again(struct engine *e, struct client *c, void *ctx,
                        const struct range_seen *seen)
{
    struct xread *r = ctx;

    for (size_t i = 0; seen != NULL && i < r->n; i++)
        if (seen[i].oid != 0)
            r->seen[i] = seen[i];
    xread_need(e, c, r);
    xread_run(e, c, r);
    free(r);
}

void streams_xread(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct xread r = { .limits = STREAMS_LIMITS_NONE };
    struct id few[XREAD_KEYS_INLINE];
    bool known = true;

    if (!xread_parse(e, c, argv, argc, &r))
        return;
    r.after = r.n <= XREAD_KEYS_INLINE ? few : malloc(r.n * sizeof r.after[0]);
    if (r.after == NULL) {
        reply_error(c, "OOM no memory for %zu IDs", r.n);
        return;
    }
    for (size_t i = 0; i < r.n && known; i++)
        known = xread_resolve(e, c, r.keys[i], r.keys[r.n + i], &r.after[i]);
    if (known)
        xread_run(e, c, &r);
    if (r.after != few)
        free(r.after);
}

/* "+" needs the last entry's ID, and inside EXEC everything has to be there. */
void streams_xread_prefault(struct engine *e, struct client *c, const struct slice *argv,
                            size_t argc, struct wants *wants)
{
    struct xread r = { .limits = STREAMS_LIMITS_NONE };
    struct id id;

    if (!xread_parse(e, c, argv, argc, &r))
        return;
    for (size_t i = 0; i < r.n; i++) {
        const struct stream *st = streams_peek(e, c, r.keys[i]);
        struct slice text = r.keys[r.n + i];

        if (st == NULL)
            continue;
        if (text.n == 1 && text.p[0] == '+')
            err_ignore(
                cursor_top_id(e, st, CURSOR_RESIDENT, wants, &id, NULL)); /* the wants tell */
        else if (c->in_exec && streams_parse_id(text, 0, &id) && id_next(&id))
            range_want(e, st, id, ID_MAX,
                       r.limits.count < r.limits.maxcount ? r.limits.count : r.limits.maxcount,
                       false, wants);
    }
}
