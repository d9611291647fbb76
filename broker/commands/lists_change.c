/*
 * lists_change.c - LREM, LTRIM, LINSERT: lists changed in the middle.
 *
 * What is removed leaves holes between positions: a record has the ranges. An element is put between two others where their
 * positions have a hole between them. If they have none, the elements from there to the nearest hole, or to the nearer end
 * of the list, move by one position: the same record has them with their new ones, so a start that applies it twice, or from
 * the middle of another checkpoint, comes to the same list.
 *
 * Only the list tells how much is written, so room for it is made before the record (engine_reserve_more).
 */
#include <assert.h>
#include <stdlib.h>
#include "broker/commands/lists.h"
#include "broker/engine/args.h"
#include "broker/engine/reply.h"
#include "broker/pubsub/notify.h"

/* ---- LREM ---- */

struct lrem {
    struct element *ranges;
    size_t n, cap;
    uint64_t n_found;
};

/* Another element to be removed. `adjoins`: no element that stays is between it and the one before. */
static bool lrem_add(struct lrem *x, int64_t pos, bool adjoins)
{
    size_t cap = x->cap == 0 ? 8 : x->cap * 2;

    x->n_found++;
    if (adjoins) {
        struct element *last = &x->ranges[x->n - 1];
        if (pos < last->pos)
            last->pos = pos;
        else
            last->to = pos;
        return true;
    }
    if (x->n == x->cap) {
        struct element *grown = realloc(x->ranges, cap * sizeof *grown);
        if (grown == NULL)
            return false;
        x->ranges = grown;
        x->cap = cap;
    }
    x->ranges[x->n++] = (struct element){ .pos = pos, .to = pos };
    return true;
}

/* Finds up to `max` elements of that value, from one end on; false if memory ran out. */
static bool lrem_find(const struct list *l, struct slice value, enum lists_side side, uint64_t max,
                      struct lrem *x)
{
    struct list_at at;
    bool found = false;
    bool more = list_seek(l, side == LISTS_LEFT ? 0 : list_n(l) - 1, &at);

    while (more && x->n_found < max) {
        bool adjoins = found;
        found = slice_equal(at.value, value);
        if (found && !lrem_add(x, at.pos, adjoins))
            return false;
        more = side == LISTS_LEFT ? list_next(l, &at) : list_prev(l, &at);
    }
    return true;
}

void lists_lrem(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct lrem x = { NULL, 0, 0, 0 };
    struct object *o;
    int64_t count;
    uint64_t max;

    (void)argc;
    if (!args_i64(argv[2], &count)) {
        reply_not_integer(c);
        return;
    }
    if (!cache_write(e, c, argv[1], OBJECT_LIST, &o))
        return;
    max = count == 0 ? UINT64_MAX : count < 0 ? 0 - (uint64_t)count : (uint64_t)count;
    if (o != NULL &&
        !lrem_find(cache_list(o), argv[3], count < 0 ? LISTS_RIGHT : LISTS_LEFT, max, &x)) {
        cache_nomem(c);
    } else if (x.n == 0) {
        reply_int(c, 0);
    } else if (engine_reserve_more(e, c, x.n * LISTS_ELEMENT_BYTES)) {
        lists_remove(e, c, argv[1], o, x.ranges, x.n, "lrem");
        reply_u64(c, x.n_found);
    }
    free(x.ranges);
}

/* ---- LTRIM ---- */

/* What is outside of the elements [from, to], as LTRIM counts them: two ranges at most. */
static size_t ltrim_ranges(const struct list *l, int64_t from, int64_t to, struct element ranges[2])
{
    int64_t len = (int64_t)list_n(l);
    struct list_at at;
    size_t n = 0;

    from = from < -len ? 0 : from < 0 ? from + len : from;
    to = to < 0 ? to + len : to;
    if (from > to || from >= len) {
        ranges[0] = (struct element){ .pos = list_first(l), .to = list_last(l) };
        return 1;
    }
    if (from > 0 && list_seek(l, (uint64_t)from, &at))
        ranges[n++] = (struct element){ .pos = list_first(l), .to = at.pos - 1 };
    if (to < len - 1 && list_seek(l, (uint64_t)to + 1, &at))
        ranges[n++] = (struct element){ .pos = at.pos, .to = list_last(l) };
    return n;
}

void lists_ltrim(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct element ranges[2];
    int64_t from, to;
    struct object *o;
    size_t n;

    (void)argc;
    if (!args_i64(argv[2], &from) || !args_i64(argv[3], &to)) {
        reply_not_integer(c);
        return;
    }
    if (!cache_write(e, c, argv[1], OBJECT_LIST, &o))
        return;
    reply_ok(c);
    if (o == NULL)
        return;
    n = ltrim_ranges(cache_list(o), from, to, ranges);
    if (n > 0) {
        lists_remove(e, c, argv[1], o, ranges, n, "ltrim");
    } else {
        engine_key_changed(e, c->db, argv[1]); /* WATCH sees a change in Redis too */
        notify(e, NOTIFY_LIST, "ltrim", c->db, argv[1]);
    }
}

/* ---- LINSERT ---- */

/* The elements from the place up to the nearest hole, which will move by one position to make one. */
struct linsert {
    int64_t pos;          /* of the new element, when they have moved */
    int64_t step;         /* -1: they move towards the head */
    uint64_t n;           /* how many */
    struct list_at first; /* of them, as they are counted from the place on */
};

/* The place before the element `at`, or behind it. */
static void linsert_look(const struct list *l, struct list_at at, bool before, struct linsert *out)
{
    struct list_at left = at, right = at;
    bool has_left = !before || list_prev(l, &left), has_right = before || list_next(l, &right);
    struct list_at left_end = left, right_end = right, next;

    *out = (struct linsert){ .n = 0 };
    if (!has_left || !has_right) {
        out->pos = has_left ? left.pos + 1 : right.pos - 1;
        return;
    }
    if (right.pos - left.pos > 1) {
        out->pos = left.pos + 1;
        return;
    }
    for (out->n = 1;; out->n++) { /* as many on both sides, until one has room behind them */
        next = left_end;
        if (!list_prev(l, &next) || next.pos < left_end.pos - 1) {
            out->step = -1;
            break;
        }
        left_end = next;
        next = right_end;
        if (!list_next(l, &next) || next.pos > right_end.pos + 1) {
            out->step = 1;
            break;
        }
        right_end = next;
    }
    out->first = out->step < 0 ? left : right;
    out->pos = out->first.pos;
}

/* The next element that moves, which is there. */
static void linsert_next(const struct list *l, const struct linsert *x, struct list_at *at)
{
    bool more = x->step < 0 ? list_prev(l, at) : list_next(l, at);

    assert(more);
}

static size_t linsert_bytes(const struct list *l, const struct linsert *x)
{
    struct list_at at = x->first;
    size_t bytes = 0;

    for (uint64_t i = 0; i < x->n; i++) {
        if (i > 0)
            linsert_next(l, x, &at);
        bytes += at.value.n;
    }
    return bytes;
}

/* Elements with their new positions and bytes of their own: the list changes while they are put. Then the new one, which takes
 * the place of the first. */
static void linsert_fill(const struct list *l, const struct linsert *x, struct slice value,
                         struct element *elements, uint8_t *bytes)
{
    struct list_at at = x->first;

    for (uint64_t i = 0; i < x->n; i++) {
        if (i > 0)
            linsert_next(l, x, &at);
        elements[i] =
            (struct element){ .pos = at.pos + x->step, .value = slice_of(bytes, at.value.n) };
        if (at.value.n > 0)
            memcpy(bytes, at.value.p, at.value.n);
        bytes += at.value.n;
    }
    elements[x->n] = (struct element){ .pos = x->pos, .value = value };
}

static void linsert_run(struct engine *e, struct client *c, const struct slice *argv,
                        struct object *o, const struct linsert *x)
{
    const struct list *l = cache_list(o);
    size_t n = (size_t)x->n + 1, bytes = linsert_bytes(l, x), n_new;
    struct element *elements;
    struct err err;

    if (x->n > 0 && !engine_reserve_more(e, c, bytes + n * LISTS_ELEMENT_BYTES))
        return;
    elements = malloc(n * sizeof *elements + bytes);
    if (elements == NULL) {
        cache_nomem(c);
        return;
    }
    linsert_fill(l, x, argv[4], elements, (uint8_t *)(elements + n));
    if (cache_put(e, c, argv[1], o, OBJECT_LIST, elements, n, &n_new, &o, &err) == OK) {
        reply_u64(c, cache_length(o));
        notify(e, NOTIFY_LIST, "linsert", c->db, argv[1]);
    } else {
        cache_nomem(c);
    }
    free(elements);
}

/* The first element of that value. */
static bool linsert_find(const struct list *l, struct slice pivot, struct list_at *out)
{
    bool more = list_seek(l, 0, out);

    while (more && !slice_equal(out->value, pivot))
        more = list_next(l, out);
    return more;
}

void lists_linsert(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    bool before = args_word(argv[2], "before");
    struct linsert x;
    struct list_at at;
    struct object *o;

    (void)argc;
    if (!before && !args_word(argv[2], "after")) {
        reply_syntax_error(c);
        return;
    }
    if (!cache_write(e, c, argv[1], OBJECT_LIST, &o))
        return;
    if (o == NULL) {
        reply_int(c, 0);
        return;
    }
    if (!linsert_find(cache_list(o), argv[3], &at)) {
        reply_int(c, -1);
        return;
    }
    if (!lists_has_positions(c, o))
        return;
    linsert_look(cache_list(o), at, before, &x);
    linsert_run(e, c, argv, o, &x);
}
