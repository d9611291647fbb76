/*
 * hashes_scan.c - HSCAN, HRANDFIELD: some fields of a hash.
 *
 * A scan is that of the hash's table: whatever is there from the first call to the last is seen at least once. A small hash comes as a
 * whole, whatever COUNT says, as in Redis.
 *
 * Random fields are picked one by one while that is cheap: not many different ones are wanted, and none has expired. Else those that
 * readers see are gathered first, in memory for a moment, and drawn from there. More than an output may hold are not made:
 * the client, which would be closed for it, is closed at once.
 */
#include <stdlib.h>
#include "broker/commands/hashes.h"
#include "broker/engine/args.h"
#include "broker/engine/glob.h"
#include "broker/engine/reply.h"

enum {
    HASHES_DRAWN_MAX = 128 << 20
}; /* unsent output, with fields drawn again and again, if the client has no limit */

/* ---- HSCAN ---- */

struct hashes_scan {
    const struct engine *e;
    struct client body; /* the fields; their number comes before them */
    struct slice pattern;
    bool all, values;
    uint64_t count, n_visited;
    size_t n;
};

static bool hashes_scan_count(struct client *c, struct slice text, struct hashes_scan *x)
{
    int64_t n;

    if (!args_i64(text, &n)) {
        reply_not_integer(c);
        return false;
    }
    if (n < 1) {
        reply_syntax_error(c);
        return false;
    }
    x->count = (uint64_t)n;
    return true;
}

static bool hashes_scan_options(struct client *c, const struct slice *argv, size_t argc,
                                struct hashes_scan *x)
{
    for (size_t i = 3; i < argc; i++) {
        bool more = i + 1 < argc;
        if (more && args_word(argv[i], "count")) {
            if (!hashes_scan_count(c, argv[++i], x))
                return false;
        } else if (more && args_word(argv[i], "match")) {
            x->pattern = argv[++i];
            x->all = slice_equal(x->pattern, slice_str("*"));
        } else if (args_word(argv[i], "novalues")) {
            x->values = false;
        } else {
            reply_syntax_error(c);
            return false;
        }
    }
    return true;
}

static void hashes_scan_field(void *ctx, const struct hash_field *f)
{
    struct hashes_scan *x = ctx;

    x->n_visited++;
    if (!cache_field_is_there(x->e, f) || !(x->all || glob_match(x->pattern, f->field, false)))
        return;
    reply_bulk(&x->body, f->field.p, f->field.n);
    if (x->values)
        reply_bulk(&x->body, f->value.p, f->value.n);
    x->n += x->values ? 2 : 1;
}

/* COUNT is how many fields are looked at; in a sparse table at most ten times as many buckets. */
static uint64_t hashes_scan_some(struct hash *h, uint64_t cursor, struct hashes_scan *x)
{
    uint64_t buckets = 0;

    do
        cursor = hash_scan(h, cursor, hashes_scan_field, x);
    while (cursor != 0 && x->n_visited < x->count && ++buckets / 10 < x->count);
    return cursor;
}

void hashes_hscan(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct hashes_scan x = {
        .e = e, .body = { .proto = c->proto }, .all = true, .values = true, .count = 10
    };
    uint64_t cursor;
    struct object *o;

    if (!args_cursor(argv[2], &cursor)) {
        reply_error(c, "ERR invalid cursor");
        return;
    }
    if (!cache_read(e, c, argv[1], OBJECT_HASH, &o) ||
        (o != NULL && !hashes_scan_options(c, argv, argc, &x)))
        return;
    outbuf_init(&x.body.out);
    cursor = o == NULL ? 0 : hashes_scan_some(cache_hash(o), cursor, &x);
    reply_array(c, 2);
    reply_u64_bulk(c, cursor);
    reply_array(c, x.n);
    outbuf_move(&c->out, &x.body.out);
    outbuf_fini(&x.body.out);
}

/* ---- HRANDFIELD ---- */

struct hashes_draw {
    struct engine *e;
    struct client *c;
    struct hash *h;
    bool values;                 /* WITHVALUES */
    bool one;                    /* no count: the reply is no array */
    struct hash_field *gathered; /* NULL: they are picked from the hash */
    size_t n;                    /* fields that readers see */
};

static void hashes_reply_field(const struct hashes_draw *x, const struct hash_field *f)
{
    if (x->values && x->c->proto >= 3)
        reply_array(x->c, 2);
    reply_bulk(x->c, f->field.p, f->field.n);
    if (x->values)
        reply_bulk(x->c, f->value.p, f->value.n);
}

static void hashes_reply_drawn(const struct hashes_draw *x, uint64_t n)
{
    reply_array(x->c, x->values && x->c->proto < 3 ? 2 * n : n);
}

static void hashes_gather_field(void *ctx, const struct hash_field *f)
{
    struct hashes_draw *x = ctx;

    if (cache_field_is_there(x->e, f))
        x->gathered[x->n++] = *f;
}

/* Gathers all that readers see; false after an error reply. */
static bool hashes_gather_all(struct hashes_draw *x)
{
    uint64_t cursor = 0;

    x->gathered = malloc((hash_n(x->h) + 1) * sizeof *x->gathered);
    if (x->gathered == NULL) {
        cache_nomem(x->c);
        return false;
    }
    x->n = 0;
    do
        cursor = hash_scan(x->h, cursor, hashes_gather_field, x);
    while (cursor != 0);
    return true;
}

/* Any field, the same one as often as it comes. */
static void hashes_draw_any(const struct hashes_draw *x)
{
    uint64_t r = engine_random(x->e);
    struct hash_field f;

    if (x->gathered != NULL)
        f = x->gathered[r % x->n];
    else if (!hash_random(x->h, r, &f))
        return;
    hashes_reply_field(x, &f);
}

/* Whether the client has been given more than it may have, or than one reply is worth if there is no limit; it is closed then. */
static bool hashes_is_too_much(const struct hashes_draw *x)
{
    uint64_t limit = x->e->config->output_normal.hard_bytes;

    if (limit == 0)
        limit = HASHES_DRAWN_MAX;
    if (!x->c->out.failed && outbuf_size(&x->c->out) <= limit)
        return false;
    x->c->close_now = true;
    return true;
}

/* A negative count: so many, with repetitions. */
static void hashes_draw_many(struct hashes_draw *x, uint64_t n)
{
    hashes_reply_drawn(x, n);
    for (uint64_t i = 0; i < n && !hashes_is_too_much(x); i++)
        hashes_draw_any(x);
}

/* `n` of the gathered ones, all different: the rest of a shuffle is not done. */
static void hashes_draw_gathered(struct hashes_draw *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t j = i + (size_t)(engine_random(x->e) % (x->n - i));
        struct hash_field f = x->gathered[j];
        x->gathered[j] = x->gathered[i];
        x->gathered[i] = f;
        hashes_reply_field(x, &f);
    }
}

/* Adds a field, known by the place of its bytes, to a table of 2^bits places; false if it is in it. */
static bool hashes_mark(const uint8_t **marks, unsigned bits, const uint8_t *p)
{
    size_t mask = ((size_t)1 << bits) - 1;
    size_t i = (size_t)((uint64_t)(uintptr_t)p * 0x9e3779b97f4a7c15u >> (64 - bits));

    for (; marks[i] != NULL; i = (i + 1) & mask)
        if (marks[i] == p)
            return false;
    marks[i] = p;
    return true;
}

/* `n` different ones, less than a third of all: those that have been drawn are marked. False if memory ran out. */
static bool hashes_draw_marked(struct hashes_draw *x, size_t n)
{
    unsigned bits = 2;
    const uint8_t **marks;

    while (((size_t)1 << bits) < 2 * n)
        bits++;
    marks = calloc((size_t)1 << bits, sizeof *marks);
    if (marks == NULL)
        return false;
    hashes_reply_drawn(x, n);
    while (n > 0) {
        struct hash_field f;
        if (!hash_random(x->h, engine_random(x->e), &f) || !hashes_mark(marks, bits, f.field.p))
            continue;
        hashes_reply_field(x, &f);
        n--;
    }
    free(marks);
    return true;
}

/* A count that is not negative: so many different ones, or all. */
static void hashes_draw_different(struct hashes_draw *x, uint64_t count)
{
    size_t n = count < x->n ? (size_t)count : x->n;

    if (x->gathered == NULL && n < x->n / 3) {
        if (!hashes_draw_marked(x, n))
            cache_nomem(x->c);
    } else if (x->gathered != NULL || hashes_gather_all(x)) {
        hashes_reply_drawn(x, n);
        hashes_draw_gathered(x, n);
    }
}

static void hashes_draw(struct hashes_draw *x, const struct object *o, int64_t count)
{
    x->n = hashes_count(x->e, o);
    x->h = cache_hash(o);
    if (x->n < hash_n(x->h) && !hashes_gather_all(x))
        return;
    if (x->n == 0 || count == 0) {
        if (x->one)
            reply_null(x->c);
        else
            reply_array(x->c, 0);
    } else if (x->one) {
        hashes_draw_any(x);
    } else if (count < 0) {
        hashes_draw_many(x, 0 - (uint64_t)count);
    } else {
        hashes_draw_different(x, (uint64_t)count);
    }
    free(x->gathered);
}

/* The count and WITHVALUES; false after an error reply. */
static bool hashes_draw_parse(struct client *c, const struct slice *argv, size_t argc,
                              struct hashes_draw *x, int64_t *count)
{
    x->one = argc == 2;
    if (x->one)
        return true;
    if (!args_i64(argv[2], count)) {
        reply_not_integer(c);
        return false;
    }
    if (*count == INT64_MIN) {
        reply_error(c, "ERR value is out of range, value must between -9223372036854775807 and "
                       "9223372036854775807");
        return false;
    }
    x->values = argc > 3;
    if (argc > 4 || (argc == 4 && !args_word(argv[3], "withvalues"))) {
        reply_syntax_error(c);
        return false;
    }
    if (x->values && (*count < -INT64_MAX / 2 || *count > INT64_MAX / 2)) {
        reply_error(c, "ERR value is out of range");
        return false;
    }
    return true;
}

void hashes_hrandfield(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct hashes_draw x = { .e = e, .c = c };
    int64_t count = 1;
    struct object *o;

    if (!hashes_draw_parse(c, argv, argc, &x, &count) ||
        !cache_read(e, c, argv[1], OBJECT_HASH, &o))
        return;
    if (o != NULL)
        hashes_draw(&x, o, count);
    else if (x.one)
        reply_null(c);
    else
        reply_array(c, 0);
}
