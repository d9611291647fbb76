/*
 * keys.c - commands on keys of any type: removing, naming, expiring, looking for them.
 *
 * A key that has expired by the engine's clock is not there for any of them, whether or not a record has
 * removed it yet. Everything over the whole keyspace waits for all always-class effects (engine_need_all).
 */
#include "broker/commands/keys.h"
#include <stdlib.h>
#include "broker/cache/cache.h"
#include "broker/cache/evict.h"
#include "broker/cache/lease.h"
#include "broker/commands/expiry.h"
#include "broker/engine/args.h"
#include "broker/engine/glob.h"
#include "broker/engine/reply.h"
#include "broker/pubsub/notify.h"
#include "log/record.h"

const char *keys_type_name(const struct object *o)
{
    switch (o->type) {
    case OBJECT_STREAM: return "stream";
    case OBJECT_STRING: return "string";
    case OBJECT_HASH: return "hash";
    case OBJECT_LIST: return "list";
    default: return "none";
    }
}

/* ---- there or not ---- */

/* That a key is not to be there ends its lease, also if it was not: what is being computed for it is old. */
static void keys_del(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    int64_t n = 0;

    for (size_t i = 1; i < argc; i++) {
        struct object *o = engine_lookup_write(e, c, argv[i]);
        lease_end(e->leases, c->db, argv[i]);
        if (o == NULL)
            continue;
        engine_unname(e, c, o, REASON_DEL);
        notify(e, NOTIFY_GENERIC, "del", c->db, argv[i]);
        n++;
    }
    reply_int(c, n);
}

/* A key named twice counts twice. */
static void keys_exists(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    int64_t n = 0;

    for (size_t i = 1; i < argc; i++)
        n += engine_peek(e, c, argv[i]) != NULL;
    reply_int(c, n);
}

/* The same, and a use of the keys, whatever CLIENT NO-TOUCH says. */
static void keys_touch(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    int64_t n = 0;

    for (size_t i = 1; i < argc; i++) {
        struct object *o = engine_peek(e, c, argv[i]);
        if (o != NULL)
            evict_touch(e, o);
        n += o != NULL;
    }
    reply_int(c, n);
}

static void keys_type(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    const struct object *o = engine_peek(e, c, argv[1]);

    (void)argc;
    reply_simple(c, o == NULL ? "none" : keys_type_name(o));
}

/* ---- names ---- */

/* Gives the object argv[1] the name argv[2]; the caller has found out that it may. */
static bool keys_give_name(struct engine *e, struct client *c, struct object *o,
                           const struct slice *argv)
{
    struct err err;

    if (engine_bind(e, c, o, c->db, argv[2], o->expiry_ms, &err) != OK) {
        cache_nomem(c);
        return false;
    }
    engine_key_changed(e, c->db, argv[1]);
    engine_key_changed(e, c->db, argv[2]);
    notify(e, NOTIFY_NEW, "new", c->db, argv[2]);
    notify(e, NOTIFY_GENERIC, "rename_from", c->db, argv[1]);
    notify(e, NOTIFY_GENERIC, "rename_to", c->db, argv[2]);
    return true;
}

static void keys_rename(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct object *o = engine_lookup_write(e, c, argv[1]);

    (void)argc;
    if (o == NULL) {
        reply_no_such_key(c);
        return;
    }
    if (!slice_equal(argv[1], argv[2])) {
        (void)engine_lookup_write(e, c, argv[2]); /* an expired one leaves by a record of its own */
        if (!keys_give_name(e, c, o, argv))
            return;
    }
    reply_ok(c);
}

static void keys_renamenx(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct object *o = engine_lookup_write(e, c, argv[1]);

    (void)argc;
    if (o == NULL) {
        reply_no_such_key(c);
        return;
    }
    if (slice_equal(argv[1], argv[2]) || engine_lookup_write(e, c, argv[2]) != NULL) {
        reply_int(c, 0);
        return;
    }
    if (keys_give_name(e, c, o, argv))
        reply_int(c, 1);
}

/* ---- expiry ---- */

enum { EXPIRE_NX = 1, EXPIRE_XX = 2, EXPIRE_GT = 4, EXPIRE_LT = 8 };

/* The options of the EXPIRE family; false after an error reply. */
static bool keys_expire_options(struct client *c, const struct slice *argv, size_t argc,
                                unsigned *out)
{
    unsigned options = 0;

    for (size_t i = 3; i < argc; i++) {
        if (args_word(argv[i], "nx")) {
            options |= EXPIRE_NX;
        } else if (args_word(argv[i], "xx")) {
            options |= EXPIRE_XX;
        } else if (args_word(argv[i], "gt")) {
            options |= EXPIRE_GT;
        } else if (args_word(argv[i], "lt")) {
            options |= EXPIRE_LT;
        } else {
            reply_error(c, "ERR Unsupported option %.*s", (int)(argv[i].n < 128 ? argv[i].n : 128),
                        (const char *)argv[i].p);
            return false;
        }
    }
    if (options & EXPIRE_NX && options != EXPIRE_NX) {
        reply_error(c, "ERR NX and XX, GT or LT options at the same time are not compatible");
        return false;
    }
    if (options & EXPIRE_GT && options & EXPIRE_LT) {
        reply_error(c, "ERR GT and LT options at the same time are not compatible");
        return false;
    }
    *out = options;
    return true;
}

/* Whether the options let a key with this expiry (0: none) have the new one. */
static bool keys_expire_allowed(unsigned options, uint64_t expiry_ms, int64_t when_ms)
{
    bool later = expiry_ms == 0 ? false : when_ms > (int64_t)expiry_ms;
    bool earlier = expiry_ms == 0 ? true : when_ms < (int64_t)expiry_ms;

    if (options & EXPIRE_NX && expiry_ms != 0)
        return false;
    if (options & EXPIRE_XX && expiry_ms == 0)
        return false;
    if (options & EXPIRE_GT && !later)
        return false;
    return !(options & EXPIRE_LT) || earlier;
}

/* Sets the expiry, or takes it away (0); false after an error reply. */
static bool keys_write_expiry(struct engine *e, struct client *c, struct slice key,
                              struct object *o, uint64_t expiry_ms)
{
    struct err err;

    if (cache_set_expiry(e, c, o, expiry_ms, &err) != OK) {
        cache_nomem(c);
        return false;
    }
    notify(e, NOTIFY_GENERIC, expiry_ms == 0 ? "persist" : "expire", c->db, key);
    return true;
}

/* One that is past removes the key. */
static void keys_set_expiry(struct engine *e, struct client *c, const struct slice *argv,
                            size_t argc, enum expiry_unit unit, const char *name)
{
    unsigned options;
    int64_t when_ms;
    struct object *o;

    if (!keys_expire_options(c, argv, argc, &options) ||
        !expiry_read_any(e, c, unit, argv[2], name, &when_ms))
        return;
    o = engine_lookup_write(e, c, argv[1]);
    if (o == NULL || !keys_expire_allowed(options, o->expiry_ms, when_ms)) {
        reply_int(c, 0);
        return;
    }
    if (when_ms <= (int64_t)e->now_ms) {
        engine_unname(e, c, o, REASON_DEL);
        notify(e, NOTIFY_GENERIC, "del", c->db, argv[1]);
    } else if (!keys_write_expiry(e, c, argv[1], o, (uint64_t)when_ms)) {
        return;
    }
    reply_int(c, 1);
}

static void keys_expire(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    keys_set_expiry(e, c, argv, argc, EXPIRY_EX, "expire");
}

static void keys_pexpire(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    keys_set_expiry(e, c, argv, argc, EXPIRY_PX, "pexpire");
}

static void keys_expireat(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    keys_set_expiry(e, c, argv, argc, EXPIRY_EXAT, "expireat");
}

static void keys_pexpireat(struct engine *e, struct client *c, const struct slice *argv,
                           size_t argc)
{
    keys_set_expiry(e, c, argv, argc, EXPIRY_PXAT, "pexpireat");
}

static void keys_persist(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct object *o = engine_lookup_write(e, c, argv[1]);

    (void)argc;
    if (o == NULL || o->expiry_ms == 0)
        reply_int(c, 0);
    else if (keys_write_expiry(e, c, argv[1], o, 0))
        reply_int(c, 1);
}

/* The TTL family: -2 without the key, -1 without an expiry; counted from base_ms, rounded to unit_ms. */
static void keys_get_expiry(struct engine *e, struct client *c, struct slice key, uint64_t base_ms,
                            uint64_t unit_ms)
{
    const struct object *o = engine_peek(e, c, key);

    if (o == NULL)
        reply_int(c, -2);
    else if (o->expiry_ms == 0)
        reply_int(c, -1);
    else
        reply_u64(c, (o->expiry_ms - base_ms + unit_ms / 2) / unit_ms);
}

static void keys_ttl(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    (void)argc;
    keys_get_expiry(e, c, argv[1], e->now_ms, 1000);
}

static void keys_pttl(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    (void)argc;
    keys_get_expiry(e, c, argv[1], e->now_ms, 1);
}

static void keys_expiretime(struct engine *e, struct client *c, const struct slice *argv,
                            size_t argc)
{
    (void)argc;
    keys_get_expiry(e, c, argv[1], 0, 1000);
}

static void keys_pexpiretime(struct engine *e, struct client *c, const struct slice *argv,
                             size_t argc)
{
    (void)argc;
    keys_get_expiry(e, c, argv[1], 0, 1);
}

/* ---- looking for keys ---- */

struct keys_found {
    const struct engine *engine;
    const struct object **objects;
    size_t n, cap, n_visited;
    bool failed;
    bool all; /* no pattern */
    struct slice pattern, type;
};

static bool keys_wanted(const struct keys_found *f, const struct object *o)
{
    if (engine_is_expired(f->engine, o))
        return false;
    if (f->type.p != NULL && !args_word(f->type, keys_type_name(o)))
        return false;
    return f->all || glob_match(f->pattern, object_name(o), false);
}

/* Called by dict_scan for each key. */
static void keys_visit(void *ctx, struct dict_node *node)
{
    struct keys_found *f = ctx;
    const struct object *o = state_of_node(node);

    f->n_visited++;
    if (f->failed || !keys_wanted(f, o))
        return;
    if (f->n == f->cap) {
        size_t cap = f->cap == 0 ? 64 : f->cap * 2;
        const struct object **objects = realloc(f->objects, cap * sizeof(const struct object *));
        if (objects == NULL) {
            f->failed = true;
            return;
        }
        f->objects = objects;
        f->cap = cap;
    }
    f->objects[f->n++] = o;
}

static void keys_reply_name(struct client *c, const struct object *o)
{
    struct slice name = object_name(o);
    reply_bulk(c, name.p, name.n);
}

static void keys_reply(struct client *c, const struct keys_found *f)
{
    reply_array(c, f->n);
    for (size_t i = 0; i < f->n; i++)
        keys_reply_name(c, f->objects[i]);
}

static void keys_set_pattern(struct keys_found *f, struct slice pattern)
{
    f->pattern = pattern;
    f->all = slice_equal(pattern, slice_str("*"));
}

static void keys_keys(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct keys_found f = { .engine = e };
    uint64_t cursor = 0;

    (void)argc;
    keys_set_pattern(&f, argv[1]);
    do
        cursor = dict_scan(state_names(&e->state, c->db), cursor, keys_visit, &f);
    while (cursor != 0);
    engine_need_all(e, c);
    if (f.failed)
        cache_nomem(c);
    else
        keys_reply(c, &f);
    free(f.objects);
}

/* A cursor as strtoul would read it: nothing at all is 0, a sign is allowed. */
static bool keys_parse_cursor(struct slice text, uint64_t *out)
{
    bool negative = text.n > 0 && text.p[0] == '-';
    uint64_t v = 0;

    if (text.n > 0) {
        size_t sign = negative || text.p[0] == '+';
        if (!id_parse_u64(slice_of(text.p + sign, text.n - sign), &v))
            return false;
    }
    *out = negative ? 0 - v : v;
    return true;
}

struct keys_scan {
    uint64_t cursor;
    int64_t count;
};

/* SCAN's arguments; false after an error reply. */
static bool keys_scan_options(struct client *c, const struct slice *argv, size_t argc,
                              struct keys_scan *scan, struct keys_found *f)
{
    if (!keys_parse_cursor(argv[1], &scan->cursor)) {
        reply_error(c, "ERR invalid cursor");
        return false;
    }
    for (size_t i = 2; i < argc; i += 2) {
        if (i + 1 < argc && args_word(argv[i], "count")) {
            if (!args_i64(argv[i + 1], &scan->count)) {
                reply_not_integer(c);
                return false;
            }
            if (scan->count >= 1)
                continue;
        } else if (i + 1 < argc && args_word(argv[i], "match")) {
            keys_set_pattern(f, argv[i + 1]);
            continue;
        } else if (i + 1 < argc && args_word(argv[i], "type")) {
            f->type = argv[i + 1];
            continue;
        }
        reply_syntax_error(c);
        return false;
    }
    return true;
}

/* COUNT is how many keys are looked at; in a sparse table at most ten times as many buckets. */
static void keys_scan(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct keys_found f = { .engine = e, .all = true };
    struct keys_scan scan = { .count = 10 };
    uint64_t buckets = 0;

    if (!keys_scan_options(c, argv, argc, &scan, &f))
        return;
    do
        scan.cursor = dict_scan(state_names(&e->state, c->db), scan.cursor, keys_visit, &f);
    while (scan.cursor != 0 && f.n_visited < (uint64_t)scan.count &&
           ++buckets / 10 < (uint64_t)scan.count);
    engine_need_all(e, c);
    if (f.failed) {
        cache_nomem(c);
    } else {
        reply_array(c, 2);
        reply_u64_bulk(c, scan.cursor);
        keys_reply(c, &f);
    }
    free(f.objects);
}

static void keys_randomkey(struct engine *e, struct client *c, const struct slice *argv,
                           size_t argc)
{
    enum { TRIES = 100 }; /* among keys that have nearly all expired none may be found */
    const struct object *o = NULL;

    (void)argv;
    (void)argc;
    engine_need_all(e, c);
    for (int i = 0; i < TRIES; i++) {
        struct dict_node *node = dict_random(state_names(&e->state, c->db), engine_random(e));
        o = node == NULL ? NULL : state_of_node(node);
        if (o == NULL || !engine_is_expired(e, o))
            break;
        o = NULL;
    }
    if (o == NULL)
        reply_null(c);
    else
        keys_reply_name(c, o);
}

/* ---- the table ---- */

#define KEY_COMMAND(verb, function, args, flag_bits, last, uses, version, cost, text, form, tip)   \
    {                                                                                              \
        .name = verb, .handler = function, .arity = args, .flags = flag_bits,                      \
        .categories = CAT_KEYSPACE, .first_key = 1, .last_key = last, .key_step = 1,               \
        .group = "generic", .since = version, .complexity = cost, .summary = text, .syntax = form, \
        .key_flags = uses, .tips = tip                                                             \
    }

static const char TIP_SUM[] = "request_policy:multi_shard;response_policy:agg_sum";

#define SET_EXPIRY(verb, function, version, text, form)                            \
    KEY_COMMAND(verb, function, -3, CMD_WRITE | CMD_FAST, 1, "RW UPDATE", version, \
                "O(log N) in keys that expire", text, "key " form " [NX | XX | GT | LT]", NULL)
#define GET_EXPIRY(verb, function, version, text, tip)                                             \
    KEY_COMMAND(verb, function, 2, CMD_READONLY | CMD_FAST, 1, "RO ACCESS", version, "O(1)", text, \
                "key", tip)
#define OVER_ALL(verb, function, args, bits, version, cost, text, form, tip)     \
    {                                                                            \
        .name = verb, .handler = function, .arity = args, .flags = CMD_READONLY, \
        .categories = CAT_KEYSPACE | bits, .group = "generic", .since = version, \
        .complexity = cost, .summary = text, .syntax = form, .tips = tip         \
    }

const struct command key_commands[] = {
    KEY_COMMAND("copy", keys_copy, -3, CMD_WRITE | CMD_DENYOOM, 2, "RO ACCESS;OW UPDATE", "6.2.0",
                "O(N) in the size of the value", "Copies a value to another key",
                "source destination [DB destination-db] [REPLACE]", NULL),
    KEY_COMMAND("del", keys_del, -2, CMD_WRITE, -1, "RM DELETE", "1.0.0", "O(1) for every key",
                "Removes keys and says how many there were", "key [key ...]", TIP_SUM),
    KEY_COMMAND("exists", keys_exists, -2, CMD_READONLY | CMD_FAST, -1, "RO", "1.0.0",
                "O(1) for every key", "How many of the keys are there", "key [key ...]", TIP_SUM),
    SET_EXPIRY("expire", keys_expire, "1.0.0", "Lets a key expire after so many seconds",
               "seconds"),
    SET_EXPIRY("expireat", keys_expireat, "1.2.0", "Lets a key expire at a Unix time in seconds",
               "unix-time-seconds"),
    GET_EXPIRY("expiretime", keys_expiretime, "7.0.0",
               "The Unix time in seconds at which a key expires", NULL),
    OVER_ALL("keys", keys_keys, 2, CAT_DANGEROUS, "1.0.0", "O(N) in keys of the database",
             "All keys whose names match a pattern", "pattern",
             "request_policy:all_shards;nondeterministic_output_order"),
    { .name = "memory",
      .arity = -2,
      .group = "server",
      .since = "4.0.0",
      .complexity = "Depends on subcommand.",
      .summary = "How much memory keys take",
      .syntax = "",
      .subcommands = keys_memory_subs },
    KEY_COMMAND("move", keys_move, 3, CMD_WRITE | CMD_FAST, 1, "RW ACCESS UPDATE", "1.0.0", "O(1)",
                "Gives a key to another database", "key db", NULL),
    { .name = "object",
      .arity = -2,
      .group = "generic",
      .since = "2.2.3",
      .complexity = "Depends on subcommand.",
      .summary = "What keys are made of, and how they are used",
      .syntax = "",
      .subcommands = keys_object_subs },
    KEY_COMMAND("persist", keys_persist, 2, CMD_WRITE | CMD_FAST, 1, "RW UPDATE", "2.2.0",
                "O(log N) in keys that expire", "Lets a key expire no more", "key", NULL),
    SET_EXPIRY("pexpire", keys_pexpire, "2.6.0", "Lets a key expire after so many milliseconds",
               "milliseconds"),
    SET_EXPIRY("pexpireat", keys_pexpireat, "2.6.0",
               "Lets a key expire at a Unix time in milliseconds", "unix-time-milliseconds"),
    GET_EXPIRY("pexpiretime", keys_pexpiretime, "7.0.0",
               "The Unix time in milliseconds at which a key expires", NULL),
    GET_EXPIRY("pttl", keys_pttl, "2.6.0", "How many milliseconds a key has left",
               "nondeterministic_output"),
    OVER_ALL("randomkey", keys_randomkey, 1, 0, "1.0.0", "O(1)", "The name of some key", "",
             "request_policy:all_shards;nondeterministic_output"),
    KEY_COMMAND("rename", keys_rename, 3, CMD_WRITE, 2, "RW ACCESS DELETE;OW UPDATE", "1.0.0",
                "O(1)", "Gives a key another name; one that has it is removed", "key newkey", NULL),
    KEY_COMMAND("renamenx", keys_renamenx, 3, CMD_WRITE | CMD_FAST, 2, "RW ACCESS DELETE;OW INSERT",
                "1.0.0", "O(1)", "Gives a key another name unless it is taken", "key newkey", NULL),
    OVER_ALL("scan", keys_scan, -2, 0, "2.8.0",
             "O(COUNT) for each call, O(N) in keys until the cursor is 0 again",
             "Some of the keys, and a cursor for the next call",
             "cursor [MATCH pattern] [COUNT count] [TYPE type]",
             "nondeterministic_output;request_policy:special"),
    { .name = "swapdb",
      .handler = keys_swapdb,
      .arity = 3,
      .flags = CMD_WRITE | CMD_FAST,
      .categories = CAT_KEYSPACE | CAT_DANGEROUS,
      .group = "server",
      .since = "4.0.0",
      .complexity = "O(N) in watched and awaited keys",
      .summary = "Two databases change places",
      .syntax = "index1 index2" },
    KEY_COMMAND("touch", keys_touch, -2, CMD_READONLY | CMD_FAST, -1, "RO", "3.2.1",
                "O(1) for every key", "How many of the keys are there; marks them as used",
                "key [key ...]", TIP_SUM),
    GET_EXPIRY("ttl", keys_ttl, "1.0.0", "How many seconds a key has left",
               "nondeterministic_output"),
    KEY_COMMAND("type", keys_type, 2, CMD_READONLY | CMD_FAST, 1, "RO", "1.0.0", "O(1)",
                "What kind of value a key has", "key", NULL),
    KEY_COMMAND("unlink", keys_del, -2, CMD_WRITE | CMD_FAST, -1, "RM DELETE", "4.0.0",
                "O(1) for every key", "Removes keys, as DEL does: memory is given back bit by bit",
                "key [key ...]", TIP_SUM),
    { .name = NULL },
};
