/*
 * lists_find.c - LPOS: where in a list a value stands.
 *
 * How many matches there are is known at the end only, and the reply begins with their number: they are written into an output of
 * their own, which then moves behind it.
 */
#include "broker/commands/lists.h"
#include "broker/engine/args.h"
#include "broker/engine/reply.h"

struct lpos {
    uint64_t skip;    /* matches before the first that counts */
    uint64_t count;   /* matches wanted; UINT64_MAX: all */
    uint64_t max_len; /* elements to compare */
    enum lists_side side;
    bool many; /* COUNT was given: the reply is an array */
};

static bool lpos_rank(struct client *c, struct slice text, struct lpos *x)
{
    int64_t rank;

    if (!args_i64(text, &rank)) {
        reply_not_integer(c);
        return false;
    }
    if (rank == 0) {
        reply_error(c, "ERR RANK can't be zero: use 1 to start from the first match, 2 from the "
                       "second ... or use negative to start from the end of the list");
        return false;
    }
    x->side = rank < 0 ? LISTS_RIGHT : LISTS_LEFT;
    x->skip = (rank < 0 ? 0 - (uint64_t)rank : (uint64_t)rank) - 1;
    return true;
}

/* A number of which 0 means all. */
static bool lpos_number(struct client *c, const char *name, struct slice text, uint64_t *out)
{
    int64_t n;

    if (!args_i64_in(text, 0, INT64_MAX, &n)) {
        reply_error(c, "ERR %s can't be negative", name);
        return false;
    }
    *out = n == 0 ? UINT64_MAX : (uint64_t)n;
    return true;
}

static bool lpos_option(struct client *c, struct slice word, struct slice value, struct lpos *x)
{
    if (args_word(word, "rank"))
        return lpos_rank(c, value, x);
    if (args_word(word, "maxlen"))
        return lpos_number(c, "MAXLEN", value, &x->max_len);
    if (args_word(word, "count")) {
        x->many = true;
        return lpos_number(c, "COUNT", value, &x->count);
    }
    reply_syntax_error(c);
    return false;
}

static bool lpos_parse(struct client *c, const struct slice *argv, size_t argc, struct lpos *x)
{
    for (size_t i = 3; i < argc; i += 2) {
        if (i + 1 == argc) {
            reply_syntax_error(c);
            return false;
        }
        if (!lpos_option(c, argv[i], argv[i + 1], x))
            return false;
    }
    return true;
}

/* Replies to `out` with the index of each match; returns how many. */
static uint64_t lpos_find(struct client *out, const struct list *l, struct slice value,
                          const struct lpos *x)
{
    uint64_t n = 0, n_seen = 0, len = list_n(l), i = 0;
    struct list_at at;
    bool more = list_seek(l, x->side == LISTS_LEFT ? 0 : len - 1, &at);

    for (; more && i < x->max_len && n < x->count; i++) {
        if (slice_equal(at.value, value) && n_seen++ >= x->skip) {
            reply_u64(out, x->side == LISTS_LEFT ? i : len - 1 - i);
            n++;
        }
        more = x->side == LISTS_LEFT ? list_next(l, &at) : list_prev(l, &at);
    }
    return n;
}

void lists_lpos(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct lpos x = { .count = 1, .max_len = UINT64_MAX };
    struct client body = { .proto = c->proto };
    struct object *o;
    uint64_t n = 0;

    if (!lpos_parse(c, argv, argc, &x) || !cache_read(e, c, argv[1], OBJECT_LIST, &o))
        return;
    outbuf_init(&body.out);
    if (o != NULL)
        n = lpos_find(&body, cache_list(o), argv[2], &x);
    if (x.many)
        reply_array(c, n);
    else if (n == 0)
        reply_null(c);
    outbuf_move(&c->out, &body.out);
    outbuf_fini(&body.out);
}
