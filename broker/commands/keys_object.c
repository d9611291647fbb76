/*
 * keys_object.c - OBJECT and MEMORY: what keys are made of.
 *
 * OBJECT ENCODING names what Redis would hold such a value in, which clients and people know; a string that was changed in
 * place is not remembered to have been. Nothing is shared, so REFCOUNT is 1. MEMORY USAGE is what maxmemory counts
 * of a key: its memory, not its share of tables. None of them counts as a use of the key.
 */
#include "broker/cache/cache.h"
#include "broker/cache/evict.h"
#include "broker/commands/keys.h"
#include "broker/engine/args.h"
#include "broker/engine/reply.h"

enum {
    OBJECT_INT_MAX = 20,  /* digits of a number that Redis keeps as one */
    OBJECT_EMBEDDED = 44, /* bytes of a string that it keeps in one piece with its head */
};

static const char *object_string_encoding(const struct object *o)
{
    int64_t ignored;

    if (object_size(o) <= OBJECT_INT_MAX && args_i64(cache_string(o), &ignored))
        return "int";
    return object_size(o) <= OBJECT_EMBEDDED ? "embstr" : "raw";
}

static const char *object_encoding(const struct object *o)
{
    switch (o->type) {
    case OBJECT_STRING: return object_string_encoding(o);
    case OBJECT_HASH: return hash_is_packed(cache_hash(o)) ? "listpack" : "hashtable";
    case OBJECT_LIST: return list_is_packed(cache_list(o)) ? "listpack" : "quicklist";
    default: return "stream";
    }
}

/* The key that a subcommand is about; NULL after a reply. */
static struct object *object_find(struct engine *e, struct client *c, struct slice key)
{
    struct object *o = engine_peek(e, c, key);

    if (o == NULL)
        reply_null(c);
    return o;
}

static void object_encoding_command(struct engine *e, struct client *c, const struct slice *argv,
                                    size_t argc)
{
    struct object *o = object_find(e, c, argv[2]);

    (void)argc;
    if (o == NULL || (o->type != OBJECT_STREAM && !cache_heat(e, c, &o)))
        return;
    reply_str(c, object_encoding(o));
}

static void object_refcount(struct engine *e, struct client *c, const struct slice *argv,
                            size_t argc)
{
    (void)argc;
    if (object_find(e, c, argv[2]) != NULL)
        reply_int(c, 1);
}

/* OBJECT IDLETIME and FREQ: one of them is known, as the policy says. False after an error reply. */
static bool object_is_tracked(const struct engine *e, struct client *c, bool uses)
{
    static const char why[] = "Please note that when switching between policies at runtime LRU and "
                              "LFU data will take some "
                              "time to adjust.";

    if (evict_counts_uses(e->config) == uses)
        return true;
    if (uses)
        reply_error(c,
                    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. %s",
                    why);
    else
        reply_error(c, "ERR An LFU maxmemory policy is selected, idle time not tracked. %s", why);
    return false;
}

static void object_freq(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    const struct object *o = object_find(e, c, argv[2]);

    (void)argc;
    if (o != NULL && object_is_tracked(e, c, true))
        reply_u64(c, evict_frequency(e, o));
}

static void object_idletime(struct engine *e, struct client *c, const struct slice *argv,
                            size_t argc)
{
    const struct object *o = object_find(e, c, argv[2]);

    (void)argc;
    if (o != NULL && object_is_tracked(e, c, false))
        reply_u64(c, evict_idle_s(e, o));
}

const struct command keys_object_subs[] = {
    { .name = "object|encoding",
      .handler = object_encoding_command,
      .arity = 3,
      .flags = CMD_READONLY,
      .categories = CAT_KEYSPACE,
      .first_key = 2,
      .last_key = 2,
      .key_step = 1,
      .group = "generic",
      .since = "2.2.3",
      .complexity = "O(1)",
      .summary = "What Redis would hold such a value in",
      .syntax = "key",
      .key_flags = "RO",
      .prefault = cache_prefault,
      .tips = "nondeterministic_output" },
    { .name = "object|freq",
      .handler = object_freq,
      .arity = 3,
      .flags = CMD_READONLY,
      .categories = CAT_KEYSPACE,
      .first_key = 2,
      .last_key = 2,
      .key_step = 1,
      .group = "generic",
      .since = "4.0.0",
      .complexity = "O(1)",
      .summary = "How often a key was used lately, on a logarithmic scale to 255",
      .syntax = "key",
      .key_flags = "RO",
      .tips = "nondeterministic_output" },
    { .name = "object|help",
      .handler = command_help,
      .arity = 2,
      .flags = CMD_LOADING | CMD_STALE | CMD_NO_TOUCH_KEYS,
      .categories = CAT_KEYSPACE,
      .group = "generic",
      .since = "6.2.0",
      .complexity = "O(1)",
      .summary = "This text",
      .syntax = "" },
    { .name = "object|idletime",
      .handler = object_idletime,
      .arity = 3,
      .flags = CMD_READONLY,
      .categories = CAT_KEYSPACE,
      .first_key = 2,
      .last_key = 2,
      .key_step = 1,
      .group = "generic",
      .since = "2.2.3",
      .complexity = "O(1)",
      .summary = "How many seconds ago a key was used",
      .syntax = "key",
      .key_flags = "RO",
      .tips = "nondeterministic_output" },
    { .name = "object|refcount",
      .handler = object_refcount,
      .arity = 3,
      .flags = CMD_READONLY,
      .categories = CAT_KEYSPACE,
      .first_key = 2,
      .last_key = 2,
      .key_step = 1,
      .group = "generic",
      .since = "2.2.3",
      .complexity = "O(1)",
      .summary = "1: no value is shared",
      .syntax = "key",
      .key_flags = "RO",
      .tips = "nondeterministic_output" },
    { .name = NULL },
};

/* ---- MEMORY ---- */

static void memory_usage(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    int64_t samples;

    for (size_t i = 3; i < argc; i += 2) {
        if (!args_word(argv[i], "samples") || i + 1 == argc) {
            reply_syntax_error(c);
            return;
        }
        if (!args_i64(argv[i + 1], &samples)) {
            reply_not_integer(c);
            return;
        }
        if (samples < 0) {
            reply_syntax_error(c);
            return;
        }
    }
    const struct object *o = object_find(e, c, argv[2]);
    if (o != NULL)
        reply_u64(c, state_whole_bytes(o)); /* exactly: nothing has to be sampled */
}

const struct command keys_memory_subs[] = {
    { .name = "memory|help",
      .handler = command_help,
      .arity = 2,
      .flags = CMD_LOADING | CMD_STALE | CMD_NO_TOUCH_KEYS,
      .group = "server",
      .since = "4.0.0",
      .complexity = "O(1)",
      .summary = "This text",
      .syntax = "" },
    { .name = "memory|usage",
      .handler = memory_usage,
      .arity = -3,
      .flags = CMD_READONLY,
      .first_key = 2,
      .last_key = 2,
      .key_step = 1,
      .group = "server",
      .since = "4.0.0",
      .complexity = "O(1)",
      .summary = "How many bytes of memory a key and its value take",
      .syntax = "key [SAMPLES count]",
      .key_flags = "RO" },
    { .name = NULL },
};
