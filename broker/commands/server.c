/*
 * server.c - commands about the server as a whole: settings, counting, emptying, ending.
 *
 * A single node answers for itself: ROLE is a master without replicas, WAIT finds none, and CLUSTER
 * is disabled, in Redis's words. INFO and COMMAND have files of their own.
 *
 * CONFIG GET and SET go by the table in broker/config.c; the host hears of each setting that
 * changed. A configuration file is never written: CONFIG REWRITE says so.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include "broker/commands/info.h"
#include "broker/commands/introspect.h"
#include "broker/engine/args.h"
#include "broker/engine/engine.h"
#include "broker/engine/reply.h"

/* ---- the keyspace as a whole ---- */

static void server_dbsize(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    (void)argv;
    (void)argc;
    engine_need_all(e, c);
    reply_u64(c, state_names(&e->state, c->db)->n);
}

static void server_flush(struct engine *e, struct client *c, const struct slice *argv, size_t argc,
                         int db)
{
    if (argc > 2 || (argc == 2 && !args_word(argv[1], "async") && !args_word(argv[1], "sync"))) {
        reply_syntax_error(c);
        return;
    }
    engine_flush(e, c, db); /* memory is given back in slices, whichever was asked for */
    reply_ok(c);
}

static void server_flushdb(struct engine *e, struct client *c, const struct slice *argv,
                           size_t argc)
{
    server_flush(e, c, argv, argc, c->db);
}

static void server_flushall(struct engine *e, struct client *c, const struct slice *argv,
                            size_t argc)
{
    server_flush(e, c, argv, argc, -1);
}

/* ---- CONFIG ---- */

struct
    server_settings { /* what CONFIG GET found: every name once, a name asked for as it was asked */
    struct server_setting {
        char *key, *value;
    } * at;
    size_t n, cap;
    struct slice asked; /* the pattern at hand, if it is a plain name */
    bool failed;        /* memory ran out */
};

static void server_settings_fini(struct server_settings *s)
{
    for (size_t i = 0; i < s->n; i++) {
        free(s->at[i].key);
        free(s->at[i].value);
    }
    free(s->at);
}

static bool server_settings_grow(struct server_settings *s)
{
    size_t cap = s->cap == 0 ? 32 : 2 * s->cap;
    struct server_setting *at;

    if (s->n < s->cap)
        return true;
    at = realloc(s->at, cap * sizeof *at);
    if (at == NULL)
        return false;
    s->at = at;
    s->cap = cap;
    return true;
}

/* A setting that a pattern matched; called by config_get. */
static void server_settings_add(void *ctx, const char *key, const char *value)
{
    struct server_settings *s = ctx;

    for (size_t i = 0; i < s->n; i++)
        if (strcasecmp(s->at[i].key, key) == 0)
            return;
    if (s->failed || !server_settings_grow(s)) {
        s->failed = true;
        return;
    }
    s->at[s->n].key = s->asked.n > 0 ? args_copy(s->asked) : strdup(key);
    s->at[s->n].value = strdup(value);
    s->failed = s->at[s->n].key == NULL || s->at[s->n].value == NULL;
    s->n++;
}

static bool server_is_plain(struct slice pattern)
{
    for (size_t i = 0; i < pattern.n; i++)
        if (pattern.p[i] == '*' || pattern.p[i] == '?' || pattern.p[i] == '[')
            return false;
    return true;
}

static void server_config_get(struct engine *e, struct client *c, const struct slice *argv,
                              size_t argc)
{
    struct server_settings s = { 0 };

    for (size_t i = 2; i < argc; i++) {
        s.asked = server_is_plain(argv[i]) ? argv[i] : slice_of(NULL, 0);
        config_get(e->config, argv[i], server_settings_add, &s);
    }
    if (s.failed) {
        reply_error(c, "ERR out of memory");
    } else {
        reply_map(c, s.n);
        for (size_t i = 0; i < s.n; i++) {
            reply_str(c, s.at[i].key);
            reply_str(c, s.at[i].value);
        }
    }
    server_settings_fini(&s);
}

/* Tells the engine about a setting, by its name in lower case. */
static void server_config_changed(struct engine *e, struct slice key)
{
    char name[64];
    size_t n = key.n < sizeof name - 1 ? key.n : sizeof name - 1;

    for (size_t i = 0; i < n; i++)
        name[i] = (char)(key.p[i] >= 'A' && key.p[i] <= 'Z' ? key.p[i] + 'a' - 'A' : key.p[i]);
    name[n] = '\0';
    engine_config_changed(e, name);
}

static void server_config_set(struct engine *e, struct client *c, const struct slice *argv,
                              size_t argc)
{
    struct err err = { 0 };

    if (argc % 2 != 0) {
        reply_syntax_error(c);
        return;
    }
    if (config_set_all(e->config, argv + 2, argc - 2, &err) != OK) {
        reply_error(c, "ERR %s", err.text);
        return;
    }
    for (size_t i = 2; i < argc; i += 2)
        server_config_changed(e, argv[i]);
    reply_ok(c);
}

static void server_config_resetstat(struct engine *e, struct client *c, const struct slice *argv,
                                    size_t argc)
{
    (void)argv;
    (void)argc;
    memset(&e->stats, 0, sizeof e->stats);
    reply_ok(c);
}

static void server_config_rewrite(struct engine *e, struct client *c, const struct slice *argv,
                                  size_t argc)
{
    (void)argv;
    (void)argc;
    if (e->config->config_file == NULL)
        reply_error(c, "ERR The server is running without a config file");
    else
        reply_error(c,
                    "ERR Rewriting config file: it is never changed by the server, write '%s' "
                    "yourself",
                    e->config->config_file);
}

/* ---- the node ---- */

static void server_time(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    (void)argv;
    (void)argc;
    reply_array(c, 2);
    reply_u64_bulk(c, e->now_ms / 1000);
    reply_u64_bulk(c, e->now_ms % 1000 * 1000);
}

static void server_role(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    (void)e;
    (void)argv;
    (void)argc;
    reply_array(c, 3);
    reply_str(c, "master");
    reply_int(c, 0);
    reply_array(c, 0);
}

/* There are no replicas and none will come while this waits, so it does not wait. */
static void server_wait(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    int64_t n, timeout_ms;

    (void)e;
    (void)argc;
    if (!args_i64(argv[1], &n))
        reply_not_integer(c);
    else if (!args_i64(argv[2], &timeout_ms))
        reply_error(c, "ERR timeout is not an integer or out of range");
    else if (timeout_ms < 0)
        reply_error(c, "ERR timeout is negative");
    else
        reply_int(c, 0);
}

static void server_shutdown(struct engine *e, struct client *c, const struct slice *argv,
                            size_t argc)
{
    bool save = false, nosave = false, abort = false, other = false;

    for (size_t i = 1; i < argc; i++) {
        if (args_word(argv[i], "nosave")) {
            nosave = true;
        } else if (args_word(argv[i], "save")) {
            save = true;
        } else if (args_word(argv[i], "abort")) {
            abort = true;
        } else if (args_word(argv[i], "now") || args_word(argv[i], "force")) {
            other = true;
        } else {
            reply_syntax_error(c);
            return;
        }
    }
    if ((abort && (save || nosave || other)) || (save && nosave))
        reply_syntax_error(c);
    else if (abort)
        reply_error(c, "ERR No shutdown in progress.");
    else
        e->host.shutdown(e->host.ctx); /* no reply: the connection ends when all is safe */
}

/* What only a cluster or its replicas have: CLUSTER, READONLY, READWRITE. */
static void server_cluster(struct engine *e, struct client *c, const struct slice *argv,
                           size_t argc)
{
    (void)e;
    (void)argv;
    (void)argc;
    reply_error(c, "ERR This instance has cluster support disabled");
}

static void server_module_list(struct engine *e, struct client *c, const struct slice *argv,
                               size_t argc)
{
    (void)e;
    (void)argv;
    (void)argc;
    reply_array(c, 0);
}

/* ---- the table ---- */

enum {
    FLAGS_PLAIN = CMD_LOADING | CMD_STALE | CMD_NO_TOUCH_KEYS,
    FLAGS_ADMIN = FLAGS_PLAIN | CMD_ADMIN | CMD_NOSCRIPT,
    FLAGS_STALE = CMD_STALE | CMD_NO_TOUCH_KEYS,
    FLAGS_SLOTS = CMD_ADMIN | CMD_STALE | CMD_NO_ASYNC_LOADING | CMD_NO_TOUCH_KEYS,
};

#define CONFIG_SUB(verb, function, args, flag_bits, version, cost, text, form, hints)             \
    {                                                                                             \
        .name = "config|" verb, .handler = function, .arity = args, .flags = flag_bits,           \
        .group = "server", .since = version, .complexity = cost, .summary = text, .syntax = form, \
        .tips = hints                                                                             \
    }

static const struct command server_config[] = {
    CONFIG_SUB("get", server_config_get, -3, FLAGS_ADMIN, "2.0.0", "O(N) in settings",
               "The settings whose names match any of the patterns", "parameter [parameter ...]",
               NULL),
    CONFIG_SUB("help", command_help, 2, FLAGS_PLAIN, "5.0.0", "O(1)", "This text", "", NULL),
    CONFIG_SUB("resetstat", server_config_resetstat, 2, FLAGS_ADMIN, "2.0.0", "O(1)",
               "Sets the counters of INFO to 0", "",
               "request_policy:all_nodes;response_policy:all_succeeded"),
    CONFIG_SUB("rewrite", server_config_rewrite, 2, FLAGS_ADMIN, "2.8.0", "O(1)",
               "Refused: the configuration file is never written by the server", "",
               "request_policy:all_nodes;response_policy:all_succeeded"),
    CONFIG_SUB("set", server_config_set, -4, FLAGS_ADMIN, "2.0.0", "O(N) in settings",
               "Changes settings of the running server, all of them or none",
               "parameter value [parameter value ...]",
               "request_policy:all_nodes;response_policy:all_succeeded"),
    { .name = NULL },
};

#define CLUSTER_SUB(verb, args, flag_bits, hints)                                              \
    {                                                                                          \
        .name = "cluster|" verb, .handler = server_cluster, .arity = args, .flags = flag_bits, \
        .group = "cluster", .since = "3.0.0", .complexity = "O(1)",                            \
        .summary = "Refused: cluster support is disabled", .syntax = "", .tips = hints         \
    }

static const struct command server_cluster_subs[] = {
    CLUSTER_SUB("addslots", -3, FLAGS_SLOTS, NULL),
    CLUSTER_SUB("addslotsrange", -4, FLAGS_SLOTS, NULL),
    CLUSTER_SUB("bumpepoch", 2, FLAGS_SLOTS, "nondeterministic_output"),
    CLUSTER_SUB("count-failure-reports", 3, FLAGS_STALE | CMD_ADMIN, "nondeterministic_output"),
    CLUSTER_SUB("countkeysinslot", 3, FLAGS_STALE, NULL),
    CLUSTER_SUB("delslots", -3, FLAGS_SLOTS, NULL),
    CLUSTER_SUB("delslotsrange", -4, FLAGS_SLOTS, NULL),
    CLUSTER_SUB("failover", -2, FLAGS_SLOTS, NULL),
    CLUSTER_SUB("flushslots", 2, FLAGS_SLOTS, NULL),
    CLUSTER_SUB("forget", 3, FLAGS_SLOTS, NULL),
    CLUSTER_SUB("getkeysinslot", 4, FLAGS_STALE, "nondeterministic_output"),
    CLUSTER_SUB("help", 2, FLAGS_PLAIN, NULL),
    CLUSTER_SUB("info", 2, FLAGS_STALE, "nondeterministic_output"),
    CLUSTER_SUB("keyslot", 3, FLAGS_STALE, NULL),
    CLUSTER_SUB("links", 2, FLAGS_STALE, "nondeterministic_output"),
    CLUSTER_SUB("meet", -4, FLAGS_SLOTS, NULL),
    CLUSTER_SUB("myid", 2, FLAGS_STALE, NULL),
    CLUSTER_SUB("myshardid", 2, FLAGS_STALE, "nondeterministic_output"),
    CLUSTER_SUB("nodes", 2, FLAGS_STALE, "nondeterministic_output"),
    CLUSTER_SUB("replicas", 3, FLAGS_STALE | CMD_ADMIN, "nondeterministic_output"),
    CLUSTER_SUB("replicate", 3, FLAGS_SLOTS, NULL),
    CLUSTER_SUB("reset", -2, FLAGS_STALE | CMD_ADMIN | CMD_NOSCRIPT, NULL),
    CLUSTER_SUB("saveconfig", 2, FLAGS_SLOTS, NULL),
    CLUSTER_SUB("set-config-epoch", 3, FLAGS_SLOTS, NULL),
    CLUSTER_SUB("setslot", -4, FLAGS_SLOTS, NULL),
    CLUSTER_SUB("shards", 2, FLAGS_PLAIN, "nondeterministic_output"),
    CLUSTER_SUB("slaves", 3, FLAGS_STALE | CMD_ADMIN, "nondeterministic_output"),
    CLUSTER_SUB("slots", 2, FLAGS_PLAIN, "nondeterministic_output"),
    { .name = NULL },
};

static const struct command server_module[] = {
    { .name = "module|help",
      .handler = command_help,
      .arity = 2,
      .flags = FLAGS_PLAIN,
      .group = "server",
      .since = "5.0.0",
      .complexity = "O(1)",
      .summary = "This text",
      .syntax = "" },
    { .name = "module|list",
      .handler = server_module_list,
      .arity = 2,
      .flags = CMD_ADMIN | CMD_NOSCRIPT | CMD_NO_TOUCH_KEYS,
      .group = "server",
      .since = "4.0.0",
      .complexity = "O(1)",
      .summary = "An empty list: there are no modules",
      .syntax = "",
      .tips = "nondeterministic_output_order" },
    { .name = NULL },
};

const struct command server_commands[] = {
    { .name = "cluster",
      .arity = -2,
      .group = "cluster",
      .since = "3.0.0",
      .complexity = "Depends on subcommand.",
      .summary = "Refused: cluster support is disabled",
      .syntax = "",
      .subcommands = server_cluster_subs },
    { .name = "command",
      .handler = introspect_command,
      .arity = -1,
      .flags = FLAGS_PLAIN,
      .categories = CAT_CONNECTION,
      .group = "server",
      .since = "2.8.13",
      .complexity = "O(N) in commands",
      .summary = "Arity, flags and keys of every command",
      .syntax = "",
      .tips = "nondeterministic_output_order",
      .subcommands = introspect_subcommands },
    { .name = "config",
      .arity = -2,
      .group = "server",
      .since = "2.0.0",
      .complexity = "Depends on subcommand.",
      .summary = "Commands about settings",
      .syntax = "",
      .subcommands = server_config },
    { .name = "dbsize",
      .handler = server_dbsize,
      .arity = 1,
      .flags = CMD_READONLY | CMD_FAST,
      .categories = CAT_KEYSPACE,
      .group = "server",
      .since = "1.0.0",
      .complexity = "O(1)",
      .summary = "How many keys the database has",
      .syntax = "",
      .tips = "request_policy:all_shards;response_policy:agg_sum" },
    { .name = "flushall",
      .handler = server_flushall,
      .arity = -1,
      .flags = CMD_WRITE,
      .categories = CAT_KEYSPACE | CAT_DANGEROUS,
      .group = "server",
      .since = "1.0.0",
      .complexity = "O(1); memory is given back in the background",
      .summary = "Removes every key of every database",
      .syntax = "[ASYNC | SYNC]",
      .tips = "request_policy:all_shards;response_policy:all_succeeded" },
    { .name = "flushdb",
      .handler = server_flushdb,
      .arity = -1,
      .flags = CMD_WRITE,
      .categories = CAT_KEYSPACE | CAT_DANGEROUS,
      .group = "server",
      .since = "1.0.0",
      .complexity = "O(1); memory is given back in the background",
      .summary = "Removes every key of the database",
      .syntax = "[ASYNC | SYNC]",
      .tips = "request_policy:all_shards;response_policy:all_succeeded" },
    { .name = "info",
      .handler = info_command,
      .arity = -1,
      .flags = CMD_LOADING | CMD_STALE,
      .categories = CAT_DANGEROUS,
      .group = "server",
      .since = "1.0.0",
      .complexity = "O(N) in connections",
      .summary = "Figures about the running server, by section",
      .syntax = "[section [section ...]]",
      .tips = "nondeterministic_output;request_policy:all_shards;response_policy:special" },
    { .name = "module",
      .arity = -2,
      .group = "server",
      .since = "4.0.0",
      .complexity = "Depends on subcommand.",
      .summary = "Commands about modules, which there are none of",
      .syntax = "",
      .subcommands = server_module },
    { .name = "readonly",
      .handler = server_cluster,
      .arity = 1,
      .flags = FLAGS_PLAIN | CMD_FAST,
      .categories = CAT_CONNECTION,
      .group = "cluster",
      .since = "3.0.0",
      .complexity = "O(1)",
      .summary = "Refused: cluster support is disabled",
      .syntax = "" },
    { .name = "readwrite",
      .handler = server_cluster,
      .arity = 1,
      .flags = FLAGS_PLAIN | CMD_FAST,
      .categories = CAT_CONNECTION,
      .group = "cluster",
      .since = "3.0.0",
      .complexity = "O(1)",
      .summary = "Refused: cluster support is disabled",
      .syntax = "" },
    { .name = "role",
      .handler = server_role,
      .arity = 1,
      .flags = FLAGS_PLAIN | CMD_NOSCRIPT | CMD_FAST,
      .categories = CAT_ADMIN | CAT_DANGEROUS,
      .group = "server",
      .since = "2.8.12",
      .complexity = "O(1)",
      .summary = "The node's role: a master without replicas",
      .syntax = "" },
    { .name = "shutdown",
      .handler = server_shutdown,
      .arity = -1,
      .flags = FLAGS_ADMIN | CMD_NO_MULTI | CMD_ALLOW_BUSY,
      .group = "server",
      .since = "1.0.0",
      .complexity = "O(1)",
      .summary = "Answers what was read, makes everything durable and ends the server",
      .syntax = "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]" },
    { .name = "time",
      .handler = server_time,
      .arity = 1,
      .flags = FLAGS_PLAIN | CMD_FAST,
      .group = "server",
      .since = "2.6.0",
      .complexity = "O(1)",
      .summary = "The server's clock: seconds and microseconds",
      .syntax = "",
      .tips = "nondeterministic_output" },
    { .name = "wait",
      .handler = server_wait,
      .arity = 3,
      .flags = CMD_NOSCRIPT | CMD_NO_TOUCH_KEYS,
      .categories = CAT_CONNECTION,
      .group = "generic",
      .since = "3.0.0",
      .complexity = "O(1)",
      .summary = "How many replicas have the writes: 0, at once",
      .syntax = "numreplicas timeout",
      .tips = "request_policy:all_shards;response_policy:agg_min" },
    { .name = NULL },
};
