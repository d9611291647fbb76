/*
 * strings.c - strings: the table of their commands, and those that read or take a whole value.
 *
 * Setting is strings_set.c's, numbers strings_number.c's, parts strings_range.c's. A value that is not in memory has been
 * asked for before the handler runs (cache_prefault).
 *
 * DIGEST is XXH3 with 64 bits, as hexadecimal digits with leading zeros, as Redis 8.4 gives it: clients compute it themselves
 * to compare with.
 */
#include "broker/commands/strings.h"
#include <xxhash.h>
#include "broker/commands/expiry.h"
#include "broker/engine/args.h"
#include "broker/engine/reply.h"
#include "broker/pubsub/notify.h"

static void strings_reply(struct client *c, const struct object *o)
{
    if (o == NULL) {
        reply_null(c);
        return;
    }
    struct slice value = cache_string(o);
    reply_bulk(c, value.p, value.n);
}

/* ---- reading ---- */

static void strings_get(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct object *o;

    (void)argc;
    if (cache_read(e, c, argv[1], OBJECT_STRING, &o))
        strings_reply(c, o);
}

/* A key of another type is as good as none. */
static void strings_mget(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    reply_array(c, argc - 1);
    for (size_t i = 1; i < argc; i++) {
        struct object *o = engine_lookup(e, c, argv[i]);
        if (o == NULL || o->type != OBJECT_STRING)
            reply_null(c);
        else if (cache_heat(e, c, &o))
            strings_reply(c, o);
    }
}

static void strings_strlen(struct engine *e, struct client *c, const struct slice *argv,
                           size_t argc)
{
    const struct object *o = engine_lookup(e, c, argv[1]);

    (void)argc;
    if (o == NULL)
        reply_int(c, 0);
    else if (o->type != OBJECT_STRING)
        reply_wrong_type(c);
    else
        reply_u64(c, cache_length(o));
}

void strings_digest(struct slice value, char out[STRINGS_DIGEST_N])
{
    static const char digits[] = "0123456789abcdef";
    uint64_t hash = XXH3_64bits(value.p, value.n);

    for (int i = STRINGS_DIGEST_N - 1; i >= 0; i--, hash >>= 4)
        out[i] = digits[hash & 15];
}

/* Hexadecimal digits count in any case. */
static bool strings_same_digest(struct slice a, const char b[STRINGS_DIGEST_N])
{
    for (size_t i = 0; i < STRINGS_DIGEST_N; i++) {
        uint8_t digit = a.p[i];
        if ((digit >= 'A' && digit <= 'F' ? digit + 'a' - 'A' : digit) != (uint8_t)b[i])
            return false;
    }
    return true;
}

bool strings_compare(struct client *c, enum strings_condition condition, struct slice value,
                     struct slice want, bool *out)
{
    char digest[STRINGS_DIGEST_N];

    if (condition == STRINGS_IFEQ || condition == STRINGS_IFNE) {
        *out = slice_equal(value, want) == (condition == STRINGS_IFEQ);
        return true;
    }
    if (want.n != STRINGS_DIGEST_N) {
        reply_error(c, "ERR must be exactly 16 hexadecimal characters");
        return false;
    }
    strings_digest(value, digest);
    *out = strings_same_digest(want, digest) == (condition == STRINGS_IFDEQ);
    return true;
}

static void strings_digest_command(struct engine *e, struct client *c, const struct slice *argv,
                                   size_t argc)
{
    char digest[STRINGS_DIGEST_N];
    struct object *o;

    (void)argc;
    if (!cache_read(e, c, argv[1], OBJECT_STRING, &o))
        return;
    if (o == NULL) {
        reply_null(c);
        return;
    }
    strings_digest(cache_string(o), digest);
    reply_bulk(c, digest, sizeof digest);
}

/* ---- reading, and changing what is left ---- */

static void strings_getdel(struct engine *e, struct client *c, const struct slice *argv,
                           size_t argc)
{
    struct object *o;

    (void)argc;
    if (!cache_write(e, c, argv[1], OBJECT_STRING, &o))
        return;
    strings_reply(c, o);
    if (o == NULL)
        return;
    engine_unname(e, c, o, REASON_DEL);
    notify(e, NOTIFY_GENERIC, "del", c->db, argv[1]);
}

/* GETEX's options; false after an error reply. *text: the time's number, if the unit has one. */
static bool strings_getex_options(struct client *c, const struct slice *argv, size_t argc,
                                  enum expiry_unit *unit, bool *persist, struct slice *text)
{
    static const struct {
        const char *word;
        enum expiry_unit unit;
    } units[] = {
        { "ex", EXPIRY_EX }, { "px", EXPIRY_PX }, { "exat", EXPIRY_EXAT }, { "pxat", EXPIRY_PXAT }
    };
    bool known = argc == 2;

    *unit = EXPIRY_NONE;
    *persist = argc == 3 && args_word(argv[2], "persist");
    for (size_t i = 0; i < sizeof units / sizeof units[0] && argc == 4; i++) {
        if (!args_word(argv[2], units[i].word))
            continue;
        *unit = units[i].unit;
        *text = argv[3];
        known = true;
    }
    if (known || *persist)
        return true;
    reply_syntax_error(c);
    return false;
}

/* Gives a key the expiry, or takes it away (0); one that is past removes the key. False if there is no memory. */
static bool strings_expire(struct engine *e, struct client *c, struct slice key, struct object *o,
                           uint64_t expiry_ms)
{
    struct err err;

    if (expiry_is_past(e, expiry_ms)) {
        engine_unname(e, c, o, REASON_DEL);
        notify(e, NOTIFY_GENERIC, "del", c->db, key);
        return true;
    }
    if (cache_set_expiry(e, c, o, expiry_ms, &err) != OK)
        return false;
    notify(e, NOTIFY_GENERIC, expiry_ms == 0 ? "persist" : "expire", c->db, key);
    return true;
}

static void strings_getex(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct slice text = { NULL, 0 };
    enum expiry_unit unit;
    uint64_t expiry_ms = 0, start = outbuf_end(&c->out);
    bool persist;
    struct object *o;

    if (!strings_getex_options(c, argv, argc, &unit, &persist, &text) ||
        !cache_write(e, c, argv[1], OBJECT_STRING, &o))
        return;
    if (o != NULL && unit != EXPIRY_NONE && !expiry_read(e, c, unit, text, "getex", &expiry_ms))
        return;
    strings_reply(c, o);
    if (o == NULL || (unit == EXPIRY_NONE && !(persist && o->expiry_ms != 0)))
        return;
    if (!strings_expire(e, c, argv[1], o, expiry_ms)) {
        outbuf_truncate(&c->out, start);
        cache_nomem(c);
    }
}

/* ---- the table ---- */

#define STRING_KEYS(verb, function, args, flag_bits, uses, last, step, version, cost, text, form) \
    .name = verb, .handler = function, .arity = args, .flags = flag_bits,                         \
    .categories = CAT_STRING, .first_key = 1, .last_key = last, .key_step = step,                 \
    .group = "string", .since = version, .complexity = cost, .summary = text, .syntax = form,     \
    .key_flags = uses
#define STRING_COMMAND(verb, function, args, flag_bits, uses, version, cost, text, form) \
    STRING_KEYS(verb, function, args, flag_bits, uses, 1, 1, version, cost, text, form)

static const char STRINGS_OVER_SHARDS[] =
    "request_policy:multi_shard;response_policy:all_succeeded";
static const char STRINGS_LOWEST[] = "request_policy:multi_shard;response_policy:agg_min";

enum {
    STRINGS_READ = CMD_READONLY | CMD_FAST,
    STRINGS_WRITE = CMD_WRITE | CMD_DENYOOM,
    STRINGS_CHANGE = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
};

const struct command string_commands[] = {
    { STRING_COMMAND("append", strings_append, 3, STRINGS_CHANGE, "RW INSERT", "2.0.0", "O(1)",
                     "Appends to a string, which is made if it is not there; replies its length",
                     "key value"),
      .prefault = cache_prefault, .bound = strings_patch_bound },
    { STRING_COMMAND("decr", strings_decr, 2, STRINGS_CHANGE, "RW ACCESS UPDATE", "1.0.0", "O(1)",
                     "Takes 1 from a number, which is 0 if it is not there", "key"),
      .prefault = cache_prefault },
    { STRING_COMMAND("decrby", strings_decrby, 3, STRINGS_CHANGE, "RW ACCESS UPDATE", "1.0.0",
                     "O(1)", "Takes so much from a number, which is 0 if it is not there",
                     "key decrement"),
      .prefault = cache_prefault },
    { STRING_COMMAND("digest", strings_digest_command, 2, STRINGS_READ, "RO ACCESS", "8.4.0",
                     "O(N) in the length of the value",
                     "XXH3 of a string: 16 hexadecimal digits, to compare values by", "key"),
      .prefault = cache_prefault },
    { STRING_COMMAND("get", strings_get, 2, STRINGS_READ, "RO ACCESS", "1.0.0", "O(1)",
                     "The value of a string", "key"),
      .prefault = cache_prefault },
    { STRING_COMMAND("getdel", strings_getdel, 2, CMD_WRITE | CMD_FAST, "RW ACCESS DELETE", "6.2.0",
                     "O(1)", "The value of a string, which is removed", "key"),
      .prefault = cache_prefault },
    { STRING_COMMAND("getex", strings_getex, -2, CMD_WRITE | CMD_FAST, "RW ACCESS UPDATE", "6.2.0",
                     "O(1)", "The value of a string, which gets another expiry",
                     "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT "
                     "unix-time-milliseconds | PERSIST]"),
      .prefault = cache_prefault },
    { STRING_COMMAND("getrange", strings_getrange, 4, CMD_READONLY, "RO ACCESS", "2.4.0",
                     "O(N) in the length of the part", "A part of a string", "key start end"),
      .prefault = cache_prefault },
    { STRING_COMMAND("getset", strings_getset, 3, STRINGS_CHANGE, "RW ACCESS UPDATE", "1.0.0",
                     "O(1)", "Sets a string and replies what it had before", "key value"),
      .prefault = cache_prefault },
    { STRING_COMMAND("incr", strings_incr, 2, STRINGS_CHANGE, "RW ACCESS UPDATE", "1.0.0", "O(1)",
                     "Adds 1 to a number, which is 0 if it is not there", "key"),
      .prefault = cache_prefault },
    { STRING_COMMAND("incrby", strings_incrby, 3, STRINGS_CHANGE, "RW ACCESS UPDATE", "1.0.0",
                     "O(1)", "Adds so much to a number, which is 0 if it is not there",
                     "key increment"),
      .prefault = cache_prefault },
    { STRING_COMMAND("incrbyfloat", strings_incrbyfloat, 3, STRINGS_CHANGE, "RW ACCESS UPDATE",
                     "2.6.0", "O(1)", "Adds a fraction to a number, which is 0 if it is not there",
                     "key increment"),
      .prefault = cache_prefault, .bound = strings_float_bound },
    { STRING_COMMAND("increx", strings_increx, -2, STRINGS_CHANGE, "RW ACCESS UPDATE", "8.8.0",
                     "O(1)",
                     "Adds to a number within bounds and sets its expiry; replies it and what was "
                     "added",
                     "key [BYFLOAT increment | BYINT increment] [LBOUND lowerbound] [UBOUND "
                     "upperbound] [SATURATE] [EX seconds | PX milliseconds | EXAT "
                     "unix-time-seconds | PXAT unix-time-milliseconds | PERSIST] [ENX]"),
      .prefault = cache_prefault, .bound = strings_float_bound },
    { STRING_KEYS("mget", strings_mget, -2, STRINGS_READ, "RO ACCESS", -1, 1, "1.0.0",
                  "O(1) for every key", "The values of strings", "key [key ...]"),
      .prefault = cache_prefault, .tips = "request_policy:multi_shard" },
    { STRING_KEYS("mset", strings_mset, -3, STRINGS_WRITE, "OW UPDATE", -1, 2, "1.0.1",
                  "O(1) for every key", "Sets strings", "key value [key value ...]"),
      .bound = strings_mset_bound, .tips = STRINGS_OVER_SHARDS },
    { .name = "msetex",
      .handler = strings_msetex,
      .arity = -4,
      .flags = STRINGS_WRITE | CMD_MOVABLE_KEYS,
      .categories = CAT_STRING,
      .key_count_at = 1,
      .key_step = 2,
      .group = "string",
      .since = "8.4.0",
      .complexity = "O(1) for every key",
      .summary = "Sets strings with one expiry, if none or all of them are there",
      .syntax = "numkeys key value [key value ...] [NX | XX] [EX seconds | PX milliseconds | "
                "EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
      .key_flags = "OW UPDATE",
      .bound = strings_msetex_bound,
      .tips = STRINGS_OVER_SHARDS },
    { STRING_KEYS("msetnx", strings_msetnx, -3, STRINGS_WRITE, "OW INSERT", -1, 2, "1.0.1",
                  "O(1) for every key", "Sets strings if none of them is there",
                  "key value [key value ...]"),
      .bound = strings_mset_bound, .tips = STRINGS_LOWEST },
    { STRING_COMMAND("psetex", strings_psetex, 4, STRINGS_WRITE, "OW UPDATE", "2.6.0", "O(1)",
                     "Sets a string that expires after so many milliseconds",
                     "key milliseconds value") },
    { STRING_COMMAND("set", strings_set, -3, STRINGS_WRITE, "RW ACCESS UPDATE variable_flags",
                     "1.0.0", "O(1)", "Sets a string, under conditions and with an expiry",
                     "key value [NX | XX | IFEQ match-value | IFNE match-value | IFDEQ "
                     "match-digest | IFDNE match-digest | IFREV revision] [GET] [EX seconds | PX "
                     "milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | "
                     "KEEPTTL] [STALE seconds] [LEASE token]"),
      .prefault = strings_set_prefault },
    { STRING_COMMAND("setex", strings_setex, 4, STRINGS_WRITE, "OW UPDATE", "2.0.0", "O(1)",
                     "Sets a string that expires after so many seconds", "key seconds value") },
    { STRING_COMMAND("setnx", strings_setnx, 3, STRINGS_CHANGE, "OW INSERT", "1.0.0", "O(1)",
                     "Sets a string if it is not there", "key value") },
    { STRING_COMMAND("setrange", strings_setrange, 4, STRINGS_WRITE, "RW UPDATE", "2.2.0", "O(1)",
                     "Writes into a string from an offset on; replies its length",
                     "key offset value"),
      .prefault = cache_prefault, .bound = strings_patch_bound },
    { STRING_COMMAND("strlen", strings_strlen, 2, STRINGS_READ, "RO", "2.2.0", "O(1)",
                     "The length of a string", "key") },
    { STRING_COMMAND("substr", strings_getrange, 4, CMD_READONLY, "RO ACCESS", "1.0.0",
                     "O(N) in the length of the part", "A part of a string: GETRANGE's old name",
                     "key start end"),
      .prefault = cache_prefault },
    { .name = NULL },
};
