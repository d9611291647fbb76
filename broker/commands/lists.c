/*
 * lists.c - lists: pushing, popping, reading and setting elements; and the table of all list commands.
 *
 * A list is elements in order of a position, a number of 64 bits (cache/list.h). What is pushed gets the position before the
 * first or behind the last element, what is popped leaves from there: one record with the values, or with a range of
 * positions, whatever the length of the list. The others are in lists_change.c (LREM, LTRIM, LINSERT), lists_find.c
 * (LPOS), lists_move.c (LMOVE and what pops from the first of several keys) and lists_block.c (all that wait).
 *
 * A list without elements does not exist: the record that removes the last one says that the key is gone.
 *
 *   L1  A handler has all memory and all room in the log before its first effect, and then replies; a pop replies first, since
 *       what it replies with is gone afterwards.
 *   L2  No object is used after a change of any key: it may have moved.
 */
#include "broker/commands/lists.h"
#include <assert.h>
#include <stdlib.h>
#include "broker/engine/args.h"
#include "broker/engine/reply.h"
#include "broker/pubsub/notify.h"

enum { LISTS_INLINE = 16 }; /* elements of a push that need no memory of their own */

bool lists_parse_side(struct client *c, struct slice word, enum lists_side *out)
{
    if (args_word(word, "left"))
        *out = LISTS_LEFT;
    else if (args_word(word, "right"))
        *out = LISTS_RIGHT;
    else
        reply_syntax_error(c);
    return args_word(word, "left") || args_word(word, "right");
}

/* ---- pushing ---- */

/* Elements for what is pushed, one after the other. */
static void lists_place(const struct object *o, enum lists_side side, const struct slice *values,
                        size_t n, struct element *out)
{
    int64_t step = side == LISTS_LEFT ? -1 : 1;
    int64_t pos = o == NULL            ? -1
                  : side == LISTS_LEFT ? list_first(cache_list(o))
                                       : list_last(cache_list(o));

    if (o == NULL && side == LISTS_LEFT)
        pos = 0;
    for (size_t i = 0; i < n; i++) {
        pos += step;
        out[i] = (struct element){ .pos = pos, .value = values[i] };
    }
}

bool lists_has_positions(struct client *c, const struct object *o)
{
    const struct list *l = o == NULL ? NULL : cache_list(o);

    if (l == NULL || (list_first(l) > INT64_MIN / 2 && list_last(l) < INT64_MAX / 2))
        return true;
    reply_error(c, "ERR the list has no positions left");
    return false;
}

/* Puts the values at an end of the list, which is made if o is NULL; *out is it. False after an error reply. */
static bool lists_put(struct engine *e, struct client *c, struct slice key, struct object *o,
                      enum lists_side side, const struct slice *values, size_t n,
                      struct object **out)
{
    struct element few[LISTS_INLINE], *elements = n <= LISTS_INLINE ? few : NULL;
    size_t n_new;
    struct err err;
    int rc = ERR_NOMEM;

    if (!lists_has_positions(c, o))
        return false;
    if (elements == NULL)
        elements = malloc(n * sizeof *elements);
    if (elements != NULL) {
        lists_place(o, side, values, n, elements);
        rc = cache_put(e, c, key, o, OBJECT_LIST, elements, n, &n_new, out, &err);
    }
    if (elements != few)
        free(elements);
    if (rc != OK)
        cache_nomem(c);
    return rc == OK;
}

static void lists_push(struct engine *e, struct client *c, const struct slice *argv, size_t argc,
                       enum lists_side side, bool only_if_there)
{
    struct object *o;

    if (!cache_write(e, c, argv[1], OBJECT_LIST, &o))
        return;
    if (o == NULL && only_if_there) {
        reply_int(c, 0);
        return;
    }
    if (!lists_put(e, c, argv[1], o, side, argv + 2, argc - 2, &o))
        return;
    reply_u64(c, cache_length(o));
    notify(e, NOTIFY_LIST, side == LISTS_LEFT ? "lpush" : "rpush", c->db, argv[1]);
}

static void lists_lpush(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    lists_push(e, c, argv, argc, LISTS_LEFT, false);
}

static void lists_rpush(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    lists_push(e, c, argv, argc, LISTS_RIGHT, false);
}

static void lists_lpushx(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    lists_push(e, c, argv, argc, LISTS_LEFT, true);
}

static void lists_rpushx(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    lists_push(e, c, argv, argc, LISTS_RIGHT, true);
}

/* ---- popping ---- */

void lists_remove(struct engine *e, struct client *c, struct slice key, struct object *o,
                  const struct element *ranges, size_t n, const char *event)
{
    bool gone = cache_remove(e, c, o, ranges, n, false);

    notify(e, NOTIFY_LIST, event, c->db, key);
    if (gone)
        notify(e, NOTIFY_GENERIC, "del", c->db, key);
}

void lists_take(struct engine *e, struct client *c, struct slice key, struct object *o,
                enum lists_side side, uint64_t n)
{
    const struct list *l = cache_list(o);
    struct element range;
    struct list_at at;
    bool more = list_seek(l, side == LISTS_LEFT ? 0 : list_n(l) - 1, &at);

    assert(n > 0 && n <= list_n(l));
    range.pos = at.pos;
    range.to = at.pos;
    for (; n > 0 && more; n--) {
        reply_bulk(c, at.value.p, at.value.n);
        *(side == LISTS_LEFT ? &range.to : &range.pos) = at.pos;
        more = side == LISTS_LEFT ? list_next(l, &at) : list_prev(l, &at);
    }
    assert(n == 0);
    lists_remove(e, c, key, o, &range, 1, side == LISTS_LEFT ? "lpop" : "rpop");
}

/* LPOP key count. */
static void lists_pop_some(struct engine *e, struct client *c, const struct slice *argv,
                           struct object *o, enum lists_side side, uint64_t count)
{
    if (o == NULL) {
        reply_null_array(c);
        return;
    }
    if (count > cache_length(o))
        count = cache_length(o);
    reply_array(c, count);
    if (count > 0)
        lists_take(e, c, argv[1], o, side, count);
}

static void lists_pop(struct engine *e, struct client *c, const struct slice *argv, size_t argc,
                      enum lists_side side)
{
    struct object *o;
    int64_t count = 1;

    if (argc > 3) {
        reply_wrong_arity(c, command_find(argv[0]));
        return;
    }
    if (argc == 3 && !args_i64_in(argv[2], 0, INT64_MAX, &count)) {
        reply_error(c, "ERR value is out of range, must be positive");
        return;
    }
    if (!cache_write(e, c, argv[1], OBJECT_LIST, &o))
        return;
    if (argc == 3)
        lists_pop_some(e, c, argv, o, side, (uint64_t)count);
    else if (o == NULL)
        reply_null(c);
    else
        lists_take(e, c, argv[1], o, side, 1);
}

static void lists_lpop(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    lists_pop(e, c, argv, argc, LISTS_LEFT);
}

static void lists_rpop(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    lists_pop(e, c, argv, argc, LISTS_RIGHT);
}

/* ---- reading ---- */

/* The length is known of a list that is not in memory too. */
static void lists_llen(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    const struct object *o = engine_lookup(e, c, argv[1]);

    (void)argc;
    if (o != NULL && o->type != OBJECT_LIST)
        reply_wrong_type(c);
    else
        reply_u64(c, o == NULL ? 0 : cache_length(o));
}

/* The elements from `from` on, which are there. */
static void lists_reply_range(struct client *c, const struct list *l, uint64_t from, uint64_t n)
{
    struct list_at at;
    bool more = list_seek(l, from, &at);

    reply_array(c, n);
    for (; n > 0; n--) {
        assert(more);
        reply_bulk(c, at.value.p, at.value.n);
        more = list_next(l, &at);
    }
}

/* An index as Redis counts, from the end if negative; below the first one it is -1. */
static int64_t lists_index(int64_t index, uint64_t n)
{
    if (index < 0)
        index += (int64_t)n;
    return index < 0 ? -1 : index;
}

static void lists_lrange(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    int64_t from, to, n;
    struct object *o;

    (void)argc;
    if (!args_i64(argv[2], &from) || !args_i64(argv[3], &to)) {
        reply_not_integer(c);
        return;
    }
    if (!cache_read(e, c, argv[1], OBJECT_LIST, &o))
        return;
    n = o == NULL ? 0 : (int64_t)cache_length(o);
    from = lists_index(from, (uint64_t)n);
    to = lists_index(to, (uint64_t)n);
    if (from < 0)
        from = 0;
    if (to >= n)
        to = n - 1;
    if (from > to)
        reply_array(c, 0);
    else
        lists_reply_range(c, cache_list(o), (uint64_t)from, (uint64_t)(to - from + 1));
}

/* The element of that index; false: there is none. */
static bool lists_at(const struct object *o, int64_t index, struct list_at *out)
{
    index = lists_index(index, cache_length(o));
    return index >= 0 && list_seek(cache_list(o), (uint64_t)index, out);
}

static void lists_lindex(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct object *o;
    struct list_at at;
    int64_t index;

    (void)argc;
    if (!cache_read(e, c, argv[1], OBJECT_LIST, &o))
        return;
    if (o == NULL)
        reply_null(c);
    else if (!args_i64(argv[2], &index))
        reply_not_integer(c);
    else if (lists_at(o, index, &at))
        reply_bulk(c, at.value.p, at.value.n);
    else
        reply_null(c);
}

/* ---- setting ---- */

static void lists_set(struct engine *e, struct client *c, const struct slice *argv,
                      struct object *o, int64_t pos)
{
    const struct element element = { .pos = pos, .value = argv[3] };
    size_t n_new;
    struct err err;

    if (cache_put(e, c, argv[1], o, OBJECT_LIST, &element, 1, &n_new, &o, &err) != OK) {
        cache_nomem(c);
        return;
    }
    reply_ok(c);
    notify(e, NOTIFY_LIST, "lset", c->db, argv[1]);
}

static void lists_lset(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct object *o;
    struct list_at at;
    int64_t index;

    (void)argc;
    if (!cache_write(e, c, argv[1], OBJECT_LIST, &o))
        return;
    if (o == NULL)
        reply_no_such_key(c);
    else if (!args_i64(argv[2], &index))
        reply_not_integer(c);
    else if (!lists_at(o, index, &at))
        reply_error(c, "ERR index out of range");
    else
        lists_set(e, c, argv, o, at.pos);
}

/* ---- the table ---- */

static size_t lists_bound(const struct slice *argv, size_t argc)
{
    (void)argv;
    return cache_bound(2, LISTS_ELEMENT_BYTES * argc);
}

#define LIST_COMMAND(verb, function, args, flag_bits, last, uses, version, cost, text, form)      \
    {                                                                                             \
        .name = verb, .handler = function, .arity = args, .flags = flag_bits,                     \
        .categories = CAT_LIST, .first_key = 1, .last_key = last, .key_step = 1, .group = "list", \
        .since = version, .complexity = cost, .summary = text, .syntax = form, .key_flags = uses, \
        .prefault = cache_prefault, .bound = (flag_bits)&CMD_WRITE ? lists_bound : NULL           \
    }
#define COUNTED_LIST_COMMAND(verb, function, args, flag_bits, at, version, text, form)             \
    {                                                                                              \
        .name = verb, .handler = function, .arity = args, .flags = (flag_bits) | CMD_MOVABLE_KEYS, \
        .categories = CAT_LIST, .key_count_at = at, .key_step = 1, .group = "list",                \
        .since = version, .complexity = "O(N+M) in keys named and elements popped",                \
        .summary = text, .syntax = form, .key_flags = "RW ACCESS DELETE",                          \
        .prefault = cache_prefault, .bound = lists_bound                                           \
    }

enum {
    FLAGS_PUSH = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
    FLAGS_POP = CMD_WRITE | CMD_FAST,
    FLAGS_BLOCK = CMD_WRITE | CMD_NOSCRIPT | CMD_BLOCKING,
};

static const char USES_MOVE[] = "RW ACCESS DELETE;RW INSERT";

const struct command list_commands[] = {
    LIST_COMMAND("blmove", lists_blmove, 6, FLAGS_BLOCK | CMD_DENYOOM, 2, USES_MOVE, "6.2.0",
                 "O(1)", "Moves an element from one list to another; waits for one",
                 "source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout"),
    COUNTED_LIST_COMMAND("blmpop", lists_blmpop, -5, CMD_WRITE | CMD_BLOCKING, 2, "7.0.0",
                         "Pops elements from the first list that has any; waits for some",
                         "timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]"),
    LIST_COMMAND("blpop", lists_blpop, -3, FLAGS_BLOCK, -2, "RW ACCESS DELETE", "2.0.0",
                 "O(N) in keys named",
                 "Pops the first element of the first list that has any; "
                 "waits for one",
                 "key [key ...] timeout"),
    LIST_COMMAND("brpop", lists_brpop, -3, FLAGS_BLOCK, -2, "RW ACCESS DELETE", "2.0.0",
                 "O(N) in keys named",
                 "Pops the last element of the first list that has any; "
                 "waits for one",
                 "key [key ...] timeout"),
    LIST_COMMAND("brpoplpush", lists_brpoplpush, 4, FLAGS_BLOCK | CMD_DENYOOM, 2, USES_MOVE,
                 "2.2.0", "O(1)",
                 "Moves the last element of a list to the head of another; waits "
                 "for one",
                 "source destination timeout"),
    LIST_COMMAND("lindex", lists_lindex, 3, CMD_READONLY, 1, "RO ACCESS", "1.0.0",
                 "O(N) in pages of elements up to it, from the nearer end",
                 "The element of an index", "key index"),
    LIST_COMMAND("linsert", lists_linsert, 5, CMD_WRITE | CMD_DENYOOM, 1, "RW INSERT", "2.2.0",
                 "O(N) in elements up to the pivot, and in those that make room",
                 "Puts an element before or behind another one",
                 "key <BEFORE | AFTER> pivot element"),
    { .name = "llen",
      .handler = lists_llen,
      .arity = 2,
      .flags = CMD_READONLY | CMD_FAST,
      .categories = CAT_LIST,
      .first_key = 1,
      .last_key = 1,
      .key_step = 1,
      .group = "list",
      .since = "1.0.0",
      .complexity = "O(1)",
      .summary = "How many elements a list has",
      .syntax = "key",
      .key_flags = "RO" },
    LIST_COMMAND("lmove", lists_lmove, 5, CMD_WRITE | CMD_DENYOOM, 2, USES_MOVE, "6.2.0", "O(1)",
                 "Moves an element from one list to another",
                 "source destination <LEFT | RIGHT> <LEFT | RIGHT>"),
    COUNTED_LIST_COMMAND("lmpop", lists_lmpop, -4, CMD_WRITE, 1, "7.0.0",
                         "Pops elements from the first list that has any",
                         "numkeys key [key ...] <LEFT | RIGHT> [COUNT count]"),
    LIST_COMMAND("lpop", lists_lpop, -2, FLAGS_POP, 1, "RW ACCESS DELETE", "1.0.0",
                 "O(N) in elements popped", "Pops elements from the head of a list", "key [count]"),
    LIST_COMMAND("lpos", lists_lpos, -3, CMD_READONLY, 1, "RO ACCESS", "6.0.6",
                 "O(N) in elements compared", "The index of elements with a value",
                 "key element [RANK rank] [COUNT num-matches] [MAXLEN len]"),
    LIST_COMMAND("lpush", lists_lpush, -3, FLAGS_PUSH, 1, "RW INSERT", "1.0.0",
                 "O(N) in elements pushed", "Puts elements at the head of a list",
                 "key element [element ...]"),
    LIST_COMMAND("lpushx", lists_lpushx, -3, FLAGS_PUSH, 1, "RW INSERT", "2.2.0",
                 "O(N) in elements pushed", "Puts elements at the head of a list if there is one",
                 "key element [element ...]"),
    LIST_COMMAND("lrange", lists_lrange, 4, CMD_READONLY, 1, "RO ACCESS", "1.0.0",
                 "O(S+N) in pages of elements up to the first, and in elements replied",
                 "A range of elements", "key start stop"),
    LIST_COMMAND("lrem", lists_lrem, 4, CMD_WRITE, 1, "RW DELETE", "1.0.0",
                 "O(N) in elements compared", "Removes elements with a value", "key count element"),
    LIST_COMMAND("lset", lists_lset, 4, CMD_WRITE | CMD_DENYOOM, 1, "RW UPDATE", "1.0.0",
                 "O(N) in pages of elements up to it, from the nearer end",
                 "Sets the element of an index", "key index element"),
    LIST_COMMAND("ltrim", lists_ltrim, 4, CMD_WRITE, 1, "RW DELETE", "1.0.0",
                 "O(N) in pages of elements removed", "Removes all but a range of elements",
                 "key start stop"),
    LIST_COMMAND("rpop", lists_rpop, -2, FLAGS_POP, 1, "RW ACCESS DELETE", "1.0.0",
                 "O(N) in elements popped", "Pops elements from the end of a list", "key [count]"),
    LIST_COMMAND("rpoplpush", lists_rpoplpush, 3, CMD_WRITE | CMD_DENYOOM, 2, USES_MOVE, "1.2.0",
                 "O(1)", "Moves the last element of a list to the head of another",
                 "source destination"),
    LIST_COMMAND("rpush", lists_rpush, -3, FLAGS_PUSH, 1, "RW INSERT", "1.0.0",
                 "O(N) in elements pushed", "Puts elements at the end of a list",
                 "key element [element ...]"),
    LIST_COMMAND("rpushx", lists_rpushx, -3, FLAGS_PUSH, 1, "RW INSERT", "2.2.0",
                 "O(N) in elements pushed", "Puts elements at the end of a list if there is one",
                 "key element [element ...]"),
    { .name = NULL },
};
