/*
 * lists_move.c - LMOVE and RPOPLPUSH, LMPOP: elements from one list to another, or from the first of several.
 *
 * A move is two records, one for each key: the element is put first, since only that can fail, and removed then. In a list that
 * is moved onto itself it so is there twice between the records, which are of the same batch; the list never is empty.
 */
#include <stdlib.h>
#include "broker/commands/lists.h"
#include "broker/engine/args.h"
#include "broker/engine/reply.h"
#include "broker/pubsub/notify.h"

/* ---- LMOVE, RPOPLPUSH ---- */

/* Where the element that is moved stands. */
static struct list_at lists_move_at(const struct object *o, enum lists_side side)
{
    const struct list *l = cache_list(o);
    struct list_at at = { .pos = 0 };

    (void)list_seek(l, side == LISTS_LEFT ? 0 : list_n(l) - 1, &at); /* a list is not empty */
    return at;
}

/* Puts the value, which is the caller's, into the target `o`, which is made if it is NULL. */
static bool lists_move_put(struct engine *e, struct client *c, const struct lists_move *m,
                           struct object *o, struct slice value)
{
    bool left = m->to_side == LISTS_LEFT;
    int64_t pos = o == NULL ? 0
                  : left    ? list_first(cache_list(o)) - 1
                            : list_last(cache_list(o)) + 1;
    const struct element element = { .pos = pos, .value = value };
    size_t n_new;
    struct err err;

    if (cache_put(e, c, m->to, o, OBJECT_LIST, &element, 1, &n_new, &o, &err) != OK) {
        cache_nomem(c);
        return false;
    }
    notify(e, NOTIFY_LIST, left ? "lpush" : "rpush", c->db, m->to);
    return true;
}

/* The value is a copy, since the list that has it may change. */
static void lists_move_value(struct engine *e, struct client *c, const struct lists_move *m,
                             struct object *to, struct slice value, int64_t pos)
{
    const struct element range = { .pos = pos, .to = pos };
    bool left = m->from_side == LISTS_LEFT;

    if (!engine_reserve_more(
            e, c, cache_bound(2, value.n + m->from.n + m->to.n + 2 * LISTS_ELEMENT_BYTES)) ||
        !lists_move_put(e, c, m, to, value))
        return;
    reply_bulk(c, value.p, value.n);
    lists_remove(e, c, m->from, state_find(&e->state, c->db, m->from), &range, 1,
                 left ? "lpop" : "rpop");
}

void lists_move_one(struct engine *e, struct client *c, const struct lists_move *m)
{
    struct list_at at;
    struct object *to;
    uint8_t *copy;

    if (!cache_write(e, c, m->to, OBJECT_LIST, &to) || !lists_has_positions(c, to))
        return;
    at = lists_move_at(state_find(&e->state, c->db, m->from), m->from_side);
    copy = malloc(at.value.n + 1);
    if (copy == NULL) {
        cache_nomem(c);
        return;
    }
    memcpy(copy, at.value.p, at.value.n);
    lists_move_value(e, c, m, to, slice_of(copy, at.value.n), at.pos);
    free(copy);
}

static void lists_move(struct engine *e, struct client *c, const struct lists_move *m)
{
    struct object *o;

    if (!cache_write(e, c, m->from, OBJECT_LIST, &o))
        return;
    if (o == NULL)
        reply_null(c);
    else
        lists_move_one(e, c, m);
}

void lists_lmove(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct lists_move m = { .from = argv[1], .to = argv[2] };

    (void)argc;
    if (lists_parse_side(c, argv[3], &m.from_side) && lists_parse_side(c, argv[4], &m.to_side))
        lists_move(e, c, &m);
}

void lists_rpoplpush(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    const struct lists_move m = {
        .from = argv[1], .to = argv[2], .from_side = LISTS_RIGHT, .to_side = LISTS_LEFT
    };

    (void)argc;
    lists_move(e, c, &m);
}

/* ---- LMPOP ---- */

bool lists_parse_mpop(struct client *c, const struct slice *argv, size_t argc, size_t at,
                      struct lists_mpop *out)
{
    int64_t n_keys, count = 1;
    size_t left = argc - at - 1; /* behind the number */

    if (!args_i64_in(argv[at], 1, INT64_MAX, &n_keys)) {
        reply_error(c, "ERR numkeys should be greater than 0");
        return false;
    }
    if ((uint64_t)n_keys >= left) {
        reply_syntax_error(c);
        return false;
    }
    *out = (struct lists_mpop){ .keys = argv + at + 1, .n_keys = (size_t)n_keys };
    at += (size_t)n_keys + 1;
    if (!lists_parse_side(c, argv[at], &out->side))
        return false;
    left = argc - at - 1;
    if (left >= 2 && args_word(argv[at + 1], "count")) {
        if (!args_i64_in(argv[at + 2], 1, INT64_MAX, &count)) {
            reply_error(c, "ERR count should be greater than 0");
            return false;
        }
        left -= 2;
    }
    out->count = (uint64_t)count;
    if (left > 0)
        reply_syntax_error(c);
    return left == 0;
}

void lists_take_some(struct engine *e, struct client *c, struct slice key, struct object *o,
                     enum lists_side side, uint64_t count)
{
    if (count > cache_length(o))
        count = cache_length(o);
    reply_array(c, 2);
    reply_bulk(c, key.p, key.n);
    reply_array(c, count);
    lists_take(e, c, key, o, side, count);
}

void lists_lmpop(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct lists_mpop x;

    if (!lists_parse_mpop(c, argv, argc, 1, &x))
        return;
    for (size_t i = 0; i < x.n_keys; i++) {
        struct object *o;
        if (!cache_write(e, c, x.keys[i], OBJECT_LIST, &o))
            return;
        if (o != NULL) {
            lists_take_some(e, c, x.keys[i], o, x.side, x.count);
            return;
        }
    }
    reply_null_array(c);
}
