/*
 * config.c - every setting of beckd, from one table.
 *
 * A row says what a setting is called, of which kind and within which bounds it is, where it lives in
 * struct config, what it is if nobody says anything, whether CONFIG SET may change it, and one line about
 * it. Files, flags, CONFIG GET, CONFIG SET and --help only walk over the table.
 *
 * A value is text until config_put has understood it; a bad one gives a reason in Redis's words ("argument
 * must be ..."). Who called adds where the value stood: a flag, a line of a file, a CONFIG SET.
 *
 * Clients read settings that Beck does not have, to learn how the server behaves. config_facts answers
 * those with what is true here (`save` is empty, `appendonly` yes); nobody can set them.
 */
#include "broker/config.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "broker/cache/memory.h"
#include "broker/engine/args.h"
#include "broker/engine/glob.h"
#include "broker/pubsub/notify.h"
#include "log/id.h"
#include "log/log.h"

enum { CONFIG_LINE_MAX = 64 << 10, CONFIG_WORDS_MAX = 64, CONFIG_VALUE_MAX = 32 << 10 };

enum config_kind {
    CONFIG_INT,    /* int64_t */
    CONFIG_OCTAL,  /* int64_t, written as an octal number */
    CONFIG_BYTES,  /* uint64_t, with a unit */
    CONFIG_MEMORY, /* maxmemory: as CONFIG_BYTES; the default is the machine's */
    CONFIG_AGE,    /* int64_t, milliseconds, written with a unit */
    CONFIG_BOOL,   /* bool, yes or no */
    CONFIG_ENUM,   /* int64_t, one of `names` by position */
    CONFIG_STRING, /* char *, NULL for "" */
    CONFIG_LIST,   /* bind */
    CONFIG_LIMITS, /* client-output-buffer-limit */
    CONFIG_CODEC,  /* int64_t, as settings_codec makes it */
    CONFIG_RULES,  /* stream-settings */
    CONFIG_VIEWS,  /* changes-view */
    CONFIG_EVENTS  /* notify-keyspace-events: int64_t of enum notify_class */
};

struct config_row {
    const char *name;
    enum config_kind kind;
    size_t offset;
    int64_t min, max;
    const char *preset;       /* the default, as text */
    bool changeable;          /* by CONFIG SET */
    const char *const *names; /* CONFIG_ENUM */
    const char *doc;
};

static const char *const config_levels[] = { "debug", "verbose", "notice", "warning", NULL };
static const char *const config_policies[] = {
    "volatile-lru",   "volatile-lfu", "volatile-random",
    "volatile-ttl",   "allkeys-lru",  "allkeys-lfu",
    "allkeys-random", "noeviction",   NULL
}; /* enum evict_policy */
static const char *const config_classes[] = { "os", "interval", "always",
                                              NULL }; /* enum log_class */

#define AT(field) offsetof(struct config, field)

static const struct config_row config_rows[] = {
    { "port", CONFIG_INT, AT(port), 0, 65535, "7878", false, NULL,
      "TCP port; 0 takes a free one and the ready line tells which" },
    { "bind", CONFIG_LIST, AT(bind), 0, 0, "127.0.0.1 -::1", false, NULL,
      "addresses to listen on; one with a leading - may be missing; \"\": no TCP" },
    { "unixsocket", CONFIG_STRING, AT(unixsocket), 0, 0, "", false, NULL,
      "path of a Unix socket to listen on, too" },
    { "unixsocketperm", CONFIG_OCTAL, AT(unixsocketperm), 0, 0777, "700", false, NULL,
      "its permissions, octal" },
    { "tcp-backlog", CONFIG_INT, AT(tcp_backlog), 1, INT_MAX, "511", false, NULL,
      "connections that may wait to be accepted" },
    { "tcp-keepalive", CONFIG_INT, AT(tcp_keepalive_s), 0, INT_MAX, "300", true, NULL,
      "seconds between probes of a silent TCP peer; 0: none" },
    { "protected-mode", CONFIG_BOOL, AT(protected_mode), 0, 0, "yes", true, NULL,
      "refuse to listen beyond loopback without a password" },
    { "requirepass", CONFIG_STRING, AT(requirepass), 0, 0, "", true, NULL,
      "password that clients must give by AUTH; \"\": none" },
    { "maxclients", CONFIG_INT, AT(maxclients), 1, UINT32_MAX, "10000", true, NULL,
      "clients at the same time" },
    { "timeout", CONFIG_INT, AT(timeout_s), 0, INT_MAX, "0", true, NULL,
      "seconds after which an idle client is closed; 0: never" },
    { "client-query-buffer-limit", CONFIG_BYTES, AT(query_buffer_limit), 1 << 20, INT64_MAX, "1gb",
      true, NULL, "unparsed input of one client" },
    { "client-output-buffer-limit", CONFIG_LIMITS, AT(output_normal), 0, 0,
      "normal 0 0 0 pubsub 32mb 8mb 60", true, NULL,
      "unsent output of one client, for each class: hard limit, soft limit, seconds above it" },
    { "maxmemory", CONFIG_MEMORY, AT(maxmemory), 0, INT64_MAX, "half of what there is", true, NULL,
      "bytes that names and values of the cache take in memory; 0: no limit" },
    { "maxmemory-policy", CONFIG_ENUM, AT(maxmemory_policy), 0, 0, "noeviction", true,
      config_policies,
      "which keys leave when that is not enough: noeviction (none), allkeys-lru, ..." },
    { "maxmemory-spill", CONFIG_BOOL, AT(maxmemory_spill), 0, 0, "yes", true, NULL,
      "values that are not used leave memory first; they stay in the log and are read from there" },
    { "maxmemory-samples", CONFIG_INT, AT(maxmemory_samples), 1, INT_MAX, "5", true, NULL,
      "keys among which the one to leave is chosen; more than 64 count as 64" },
    { "lfu-log-factor", CONFIG_INT, AT(lfu_log_factor), 0, INT_MAX, "10", true, NULL,
      "how slowly the counter of uses grows, with a policy of -lfu" },
    { "lfu-decay-time", CONFIG_INT, AT(lfu_decay_time), 0, INT_MAX, "1", true, NULL,
      "minutes after which it falls by one; 0: never" },
    { "dir", CONFIG_STRING, AT(dir), 0, 0, "./beck-data", false, NULL,
      "the store; created if it is not there" },
    { "stream-durability", CONFIG_ENUM, AT(stream_durability), 0, 0, "always", true, config_classes,
      "when an append is acknowledged: always (on disk), interval (written, synced soon), os "
      "(written)" },
    { "cache-durability", CONFIG_ENUM, AT(cache_durability), 0, 0, "interval", true, config_classes,
      "the same for values of the cache" },
    { "sync-interval-ms", CONFIG_INT, AT(interval_ms), 1, 60000, "1000", false, NULL,
      "what `interval` may lose when the power goes, at most twice this" },
    { "wal-file-bytes", CONFIG_BYTES, AT(wal_file_bytes), LOG_FILE_BYTES_MIN, INT64_C(1) << 40,
      "16mb", false, NULL, "size of a file of the log" },
    { "arena-bytes", CONFIG_BYTES, AT(arena_bytes), LOG_PART_BYTES_MIN, INT64_C(1) << 32, "16mb",
      false, NULL, "records in memory after which their entries are sealed; up to 3 times this" },
    { "arena-age-ms", CONFIG_INT, AT(arena_age_ms), 1, INT64_MAX / 1000000, "3600000", false, NULL,
      "milliseconds after which less than that is sealed, if it is 1mb at least" },
    { "cache-bytes", CONFIG_BYTES, AT(cache_bytes), 64 << 10, INT64_C(1) << 40, "16mb", true, NULL,
      "memory for blocks of sealed entries that were read" },
    { "checkpoint-bytes", CONFIG_BYTES, AT(checkpoint_bytes), 64 << 10, INT64_C(1) << 40, "64mb",
      false, NULL, "log written after which a checkpoint is due, which bounds what a start reads" },
    { "max-batch-bytes", CONFIG_BYTES, AT(max_batch_bytes), 1 << 20, INT64_C(1) << 32, "256mb",
      false, NULL, "what one command, or one MULTI ... EXEC, may write" },
    { "proto-max-bulk-len", CONFIG_BYTES, AT(max_bulk_len), 1 << 20, 512 << 20, "64mb", true, NULL,
      "size of one argument" },
    { "salvage", CONFIG_BOOL, AT(salvage), 0, 0, "no", false, NULL,
      "start on a damaged store: set what is damaged aside in quarantine/ and serve the rest" },
    { "stream-codec", CONFIG_CODEC, AT(stream_codec), 0, 0, "auto", true, NULL,
      "how sealed entries are compressed: none, lz4, zstd, zstd:1 to zstd:19, or auto" },
    { "retention-age-ms", CONFIG_INT, AT(retention_age_ms), 0, INT64_MAX, "0", true, NULL,
      "age in milliseconds from which entries are removed; 0: none" },
    { "retention-bytes", CONFIG_BYTES, AT(retention_bytes), 0, INT64_MAX, "0", true, NULL,
      "size to which a stream is cut by removing its oldest entries; 0: none" },
    { "retention-len", CONFIG_INT, AT(retention_len), 0, INT64_MAX, "0", true, NULL,
      "number of entries to which a stream is cut in the same way; 0: none" },
    { "stream-settings", CONFIG_RULES, AT(stream_settings), 0, 0, "", true, NULL,
      "pattern OPTION value [OPTION value ...]: XCFGSET's options for streams of such names" },
    { "stream-node-max-entries", CONFIG_INT, AT(stream_node_max_entries), 0, INT64_MAX, "100", true,
      NULL, "entries that an approximate trim (~) may leave beyond its limit" },
    { "stream-idmp-duration", CONFIG_INT, AT(idmp_duration_s), 1, 86400, "100", true, NULL,
      "seconds for which an idempotence ID is remembered" },
    { "stream-idmp-maxsize", CONFIG_INT, AT(idmp_maxsize), 1, 10000, "100", true, NULL,
      "idempotence IDs remembered of each producer" },
    { "tracking-table-max-keys", CONFIG_INT, AT(tracking_table_max_keys), 0, INT64_MAX, "1000000",
      true, NULL, "keys remembered for CLIENT TRACKING; 0: no limit" },
    { "notify-keyspace-events", CONFIG_EVENTS, AT(notify_classes), 0, 0, "", true, NULL,
      "events of keys to publish, by Redis's letters: K, E or both, and classes; \"\": none" },
    { "changes-key", CONFIG_STRING, AT(changes_key), 0, 0, "beck:changes", true, NULL,
      "name under which each database's changes are read as a stream; \"\": none" },
    { "changes-view", CONFIG_VIEWS, AT(changes_views), 0, 0, "", true, NULL,
      "NAME PREFIX [VALUES yes]: those of keys that begin so, read as changes-key:NAME" },
    { "cache-history-age", CONFIG_AGE, AT(cache_history_age_ms), 1000, INT64_MAX / 1000000, "1h",
      true, NULL, "how long changes of the cache are kept at most, as 30s, 5m, 1h, 2d" },
    { "cache-history-bytes", CONFIG_BYTES, AT(cache_history_bytes), 1 << 20, INT64_C(1) << 50,
      "256mb", true, NULL, "how many bytes of them are kept at most" },
    { "loglevel", CONFIG_ENUM, AT(log_level), 0, 0, "notice", true, config_levels,
      "what goes to stderr: debug, verbose, notice, warning" },
};

enum { CONFIG_N_ROWS = sizeof config_rows / sizeof config_rows[0] };

/* Other names of rows, for flags and files. */
static const struct {
    const char *name, *row;
} config_aliases[] = {
    { "log-level", "loglevel" },
};

/* What clients ask for and nobody can change. */
static const struct {
    const char *name, *value;
} config_facts[] = {
    { "save", "" },
    { "appendonly", "yes" },
    { "appendfsync", NULL }, /* follows stream-durability */
    { "databases", "16" },
    { "cluster-enabled", "no" },
    { "daemonize", "no" },
    { "io-threads", "1" },
    { "list-max-listpack-size", "-2" },
    { "list-max-ziplist-size", "-2" },
    { "list-compress-depth", "0" },
    { "hash-max-listpack-entries", "512" },
    { "hash-max-listpack-value", "64" },
    { "hash-max-ziplist-entries", "512" },
    { "hash-max-ziplist-value", "64" },
    { "set-max-intset-entries", "512" },
    { "set-max-listpack-entries", "128" },
    { "set-max-listpack-value", "64" },
    { "zset-max-listpack-entries", "128" },
    { "zset-max-listpack-value", "64" },
    { "zset-max-ziplist-entries", "128" },
    { "zset-max-ziplist-value", "64" },
    { "stream-node-max-bytes", "4096" },
    { "lazyfree-lazy-user-del", "no" },
    { "lazyfree-lazy-user-flush", "no" },
    { "slowlog-log-slower-than", "10000" },
    { "slowlog-max-len", "128" },
    { "latency-monitor-threshold", "0" },
    { "replica-read-only", "yes" },
    { "min-replicas-to-write", "0" },
    { "tls-port", "0" },
};

/* ---- one value ---- */

static void *config_field(const struct config *c, const struct config_row *row)
{
    return (char *)(uintptr_t)c + row->offset;
}

static bool config_parse_int(const char *text, int base, int64_t *out)
{
    char *end;
    long long v;

    if (*text == '\0' || isspace((unsigned char)*text) || *text == '+')
        return false;
    errno = 0;
    v = strtoll(text, &end, base);
    if (errno != 0 || *end != '\0')
        return false;
    *out = v;
    return true;
}

static int config_out_of_bounds(const struct config_row *row, struct err *e)
{
    return err_set(e, ERR_USAGE, "argument must be between %lld and %lld inclusive",
                   (long long)row->min, (long long)row->max);
}

static int config_put_int(struct config *c, const struct config_row *row, const char *text,
                          struct err *e)
{
    int64_t v;

    if (!config_parse_int(text, row->kind == CONFIG_OCTAL ? 8 : 10, &v))
        return err_set(e, ERR_USAGE, "argument couldn't be parsed into an integer");
    if (v < row->min || v > row->max) {
        if (row->kind == CONFIG_OCTAL)
            return err_set(e, ERR_USAGE, "argument must be between %llo and %llo inclusive",
                           (unsigned long long)row->min, (unsigned long long)row->max);
        return config_out_of_bounds(row, e);
    }
    *(int64_t *)config_field(c, row) = v;
    return OK;
}

static int config_put_bytes(struct config *c, const struct config_row *row, const char *text,
                            struct err *e)
{
    uint64_t v;

    if (!args_bytes(slice_str(text), &v))
        return err_set(e, ERR_USAGE, "argument must be a memory value");
    if (v < (uint64_t)row->min || v > (uint64_t)row->max)
        return config_out_of_bounds(row, e);
    *(uint64_t *)config_field(c, row) = v;
    return OK;
}

/* The units of CONFIG_AGE, the largest last. */
static const struct {
    const char *name;
    int64_t ms;
} config_units[] = {
    { "ms", 1 }, { "s", 1000 }, { "m", 60 * 1000 }, { "h", 3600 * 1000 }, { "d", 24 * 3600 * 1000 },
};

enum { CONFIG_N_UNITS = sizeof config_units / sizeof config_units[0] };

/* How many milliseconds the unit has; 0: it is none. None at all is milliseconds. */
static int64_t config_unit(const char *name)
{
    for (size_t i = 0; i < CONFIG_N_UNITS; i++)
        if (*name == '\0' || strcasecmp(name, config_units[i].name) == 0)
            return config_units[i].ms;
    return 0;
}

static int config_put_age(struct config *c, const struct config_row *row, const char *text,
                          struct err *e)
{
    size_t digits = strspn(text, "0123456789");
    int64_t unit = config_unit(text + digits);
    uint64_t n;

    if (unit == 0 || !id_parse_u64(slice_of(text, digits), &n))
        return err_set(e, ERR_USAGE, "argument must be a time, as 1500ms, 30s, 5m, 1h or 2d");
    if (n > (uint64_t)(row->max / unit) || (int64_t)n * unit < row->min)
        return config_out_of_bounds(row, e);
    *(int64_t *)config_field(c, row) = (int64_t)n * unit;
    return OK;
}

/* In the largest unit that it is a whole number of. */
static void config_show_age(int64_t ms, char *out, size_t size)
{
    size_t i = CONFIG_N_UNITS - 1;

    while (i > 0 && ms % config_units[i].ms != 0)
        i--;
    snprintf(out, size, "%lld%s", (long long)(ms / config_units[i].ms), config_units[i].name);
}

static int config_put_bool(struct config *c, const struct config_row *row, const char *text,
                           struct err *e)
{
    bool *field = config_field(c, row);

    if (strcasecmp(text, "yes") != 0 && strcasecmp(text, "no") != 0)
        return err_set(e, ERR_USAGE, "argument must be 'yes' or 'no'");
    *field = strcasecmp(text, "yes") == 0;
    return OK;
}

static int config_put_enum(struct config *c, const struct config_row *row, const char *text,
                           struct err *e)
{
    char all[160] = "";

    for (size_t i = 0; row->names[i] != NULL; i++) {
        size_t used = strlen(all);
        if (strcasecmp(text, row->names[i]) == 0) {
            *(int64_t *)config_field(c, row) = (int64_t)i;
            return OK;
        }
        snprintf(all + used, sizeof all - used, "%s%s", i > 0 ? ", " : "", row->names[i]);
    }
    return err_set(e, ERR_USAGE, "argument(s) must be one of the following: %s", all);
}

static int config_put_string(struct config *c, const struct config_row *row, const char *text,
                             struct err *e)
{
    char **field = config_field(c, row);
    char *copy = NULL;

    if (*text != '\0') {
        copy = strdup(text);
        if (copy == NULL)
            return err_set(e, ERR_NOMEM, "setting %s", row->name);
    }
    free(*field);
    *field = copy;
    return OK;
}

/* Cuts `text` at its blanks; returns how many words, or more than `max` if there are more. */
static size_t config_split(char *text, char **words, size_t max)
{
    size_t n = 0;

    for (;;) {
        text += strspn(text, " \t");
        if (*text == '\0')
            return n;
        if (n == max)
            return max + 1;
        words[n++] = text;
        text += strcspn(text, " \t");
        if (*text != '\0')
            *text++ = '\0';
    }
}

static void config_free_binds(struct config *c)
{
    for (size_t i = 0; i < c->n_bind; i++)
        free(c->bind[i]);
    c->n_bind = 0;
}

static int config_put_binds(struct config *c, const char *text, struct err *e)
{
    char copy[CONFIG_VALUE_MAX], *words[CONFIG_BINDS_MAX];
    size_t n;

    if (strlen(text) >= sizeof copy)
        return err_set(e, ERR_USAGE, "Too many bind addresses specified.");
    memcpy(copy, text, strlen(text) + 1);
    n = config_split(copy, words, CONFIG_BINDS_MAX);
    if (n > CONFIG_BINDS_MAX)
        return err_set(e, ERR_USAGE, "Too many bind addresses specified.");
    config_free_binds(c);
    for (size_t i = 0; i < n; i++) {
        c->bind[i] = strdup(words[i]);
        if (c->bind[i] == NULL)
            return err_set(e, ERR_NOMEM, "setting bind");
        c->n_bind = i + 1;
    }
    return OK;
}

/* One class of clients: its name, then hard, soft and seconds. Nobody is a replica here, so what is said
 * about those is checked and dropped. */
static int config_put_limit(struct config *c, char *const *words, struct err *e)
{
    struct config_client_limit limit, *field;

    if (strcasecmp(words[0], "normal") == 0)
        field = &c->output_normal;
    else if (strcasecmp(words[0], "pubsub") == 0)
        field = &c->output_pubsub;
    else if (strcasecmp(words[0], "slave") == 0 || strcasecmp(words[0], "replica") == 0)
        field = NULL;
    else
        return err_set(e, ERR_USAGE,
                       "Invalid client class specified in buffer limit configuration.");
    if (!args_bytes(slice_str(words[1]), &limit.hard_bytes) ||
        !args_bytes(slice_str(words[2]), &limit.soft_bytes) ||
        !id_parse_u64(slice_str(words[3]), &limit.soft_s) || limit.soft_s > UINT32_MAX)
        return err_set(
            e, ERR_USAGE,
            "Error in hard, soft or soft_seconds setting in buffer limit configuration.");
    if (field != NULL)
        *field = limit;
    return OK;
}

static int config_put_limits(struct config *c, const char *text, struct err *e)
{
    char copy[CONFIG_VALUE_MAX], *words[16];
    size_t n = 0;

    if (strlen(text) < sizeof copy) {
        memcpy(copy, text, strlen(text) + 1);
        n = config_split(copy, words, 16);
    }
    if (n == 0 || n > 16 || n % 4 != 0)
        return err_set(e, ERR_USAGE, "Wrong number of arguments in buffer limit configuration.");
    for (size_t i = 0; i < n; i += 4) {
        int rc = config_put_limit(c, words + i, e);
        if (rc != OK)
            return rc;
    }
    return OK;
}

static int config_put_codec(struct config *c, const struct config_row *row, const char *text,
                            struct err *e)
{
    uint64_t v;
    int rc = settings_parse(SETTING_CODEC, slice_str(text), &v, e);

    if (rc == OK)
        *(int64_t *)config_field(c, row) = (int64_t)v;
    return rc;
}

/* Replaces all rules, or none if one is bad. */
static int config_put_rules(struct config *c, const char *text, struct err *e)
{
    struct settings_rules rules = { NULL, 0, NULL };
    int rc = settings_rules_add(&rules, text, e);

    if (rc != OK)
        return rc;
    settings_rules_fini(&c->stream_settings);
    c->stream_settings = rules;
    return OK;
}

static int config_put_views(struct config *c, const char *text, struct err *e)
{
    struct view_rules rules = { NULL, 0, NULL };
    int rc = view_rules_add(&rules, text, e);

    if (rc != OK)
        return rc;
    view_rules_fini(&c->changes_views);
    c->changes_views = rules;
    return OK;
}

/* The letters of notify-keyspace-events with what they stand for, in the order in which they are shown. */
static const struct {
    char letter;
    unsigned classes;
} config_events[] = {
    { 'A', NOTIFY_ALL },      { 'g', NOTIFY_GENERIC }, { '$', NOTIFY_STRING },
    { 'l', NOTIFY_LIST },     { 's', NOTIFY_SET },     { 'h', NOTIFY_HASH },
    { 'z', NOTIFY_ZSET },     { 'x', NOTIFY_EXPIRED }, { 'e', NOTIFY_EVICTED },
    { 't', NOTIFY_STREAM },   { 'd', NOTIFY_MODULE },  { 'K', NOTIFY_KEYSPACE },
    { 'E', NOTIFY_KEYEVENT }, { 'm', NOTIFY_MISS },    { 'n', NOTIFY_NEW },
};

enum { CONFIG_N_EVENTS = sizeof config_events / sizeof config_events[0] };

static int config_put_events(struct config *c, const struct config_row *row, const char *text,
                             struct err *e)
{
    unsigned classes = 0;

    for (; *text != '\0'; text++) {
        size_t i = 0;
        while (i < CONFIG_N_EVENTS && config_events[i].letter != *text)
            i++;
        if (i == CONFIG_N_EVENTS)
            return err_set(e, ERR_USAGE, "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.");
        classes |= config_events[i].classes;
    }
    *(int64_t *)config_field(c, row) = classes;
    return OK;
}

static const char *config_show_events(unsigned classes, char *out)
{
    char *at = out;

    for (size_t i = 0; i < CONFIG_N_EVENTS; i++) {
        if ((classes & config_events[i].classes) != config_events[i].classes)
            continue;
        *at++ = config_events[i].letter;
        classes &= ~config_events[i].classes;
    }
    *at = '\0';
    return out;
}

static int config_put(struct config *c, const struct config_row *row, const char *text,
                      struct err *e)
{
    switch (row->kind) {
    case CONFIG_INT:
    case CONFIG_OCTAL: return config_put_int(c, row, text, e);
    case CONFIG_BYTES:
    case CONFIG_MEMORY: return config_put_bytes(c, row, text, e);
    case CONFIG_AGE: return config_put_age(c, row, text, e);
    case CONFIG_BOOL: return config_put_bool(c, row, text, e);
    case CONFIG_ENUM: return config_put_enum(c, row, text, e);
    case CONFIG_STRING: return config_put_string(c, row, text, e);
    case CONFIG_LIST: return config_put_binds(c, text, e);
    case CONFIG_LIMITS: return config_put_limits(c, text, e);
    case CONFIG_CODEC: return config_put_codec(c, row, text, e);
    case CONFIG_RULES: return config_put_rules(c, text, e);
    case CONFIG_VIEWS: return config_put_views(c, text, e);
    case CONFIG_EVENTS: return config_put_events(c, row, text, e);
    }
    return err_set(e, ERR_USAGE, "a row of unknown kind");
}

/* The value as CONFIG GET tells it, in `out` or in the configuration itself. */
static const char *config_show(const struct config *c, const struct config_row *row, char *out,
                               size_t size)
{
    const void *field = config_field(c, row);
    size_t used = 0;

    out[0] = '\0';
    switch (row->kind) {
    case CONFIG_INT: snprintf(out, size, "%lld", (long long)*(const int64_t *)field); break;
    case CONFIG_OCTAL:
        snprintf(out, size, "%llo", (unsigned long long)*(const int64_t *)field);
        break;
    case CONFIG_BYTES:
    case CONFIG_MEMORY:
        snprintf(out, size, "%llu", (unsigned long long)*(const uint64_t *)field);
        break;
    case CONFIG_AGE: config_show_age(*(const int64_t *)field, out, size); break;
    case CONFIG_BOOL: return *(const bool *)field ? "yes" : "no";
    case CONFIG_ENUM: return row->names[*(const int64_t *)field];
    case CONFIG_STRING: return *(char *const *)field == NULL ? "" : *(char *const *)field;
    case CONFIG_LIST:
        for (size_t i = 0; i < c->n_bind && used < size; i++)
            used += (size_t)snprintf(out + used, size - used, "%s%s", i > 0 ? " " : "", c->bind[i]);
        break;
    case CONFIG_LIMITS:
        snprintf(out, size,
                 "normal %llu %llu %llu slave 268435456 67108864 60 pubsub %llu %llu %llu",
                 (unsigned long long)c->output_normal.hard_bytes,
                 (unsigned long long)c->output_normal.soft_bytes,
                 (unsigned long long)c->output_normal.soft_s,
                 (unsigned long long)c->output_pubsub.hard_bytes,
                 (unsigned long long)c->output_pubsub.soft_bytes,
                 (unsigned long long)c->output_pubsub.soft_s);
        break;
    case CONFIG_CODEC:
        assert(size >= SETTINGS_SHOW_MAX);
        return settings_show(SETTING_CODEC, *(const uint64_t *)field, out);
    case CONFIG_RULES: return c->stream_settings.text == NULL ? "" : c->stream_settings.text;
    case CONFIG_VIEWS: return c->changes_views.text == NULL ? "" : c->changes_views.text;
    case CONFIG_EVENTS: return config_show_events((unsigned)*(const int64_t *)field, out);
    }
    return out;
}

/* ---- rows ---- */

static const struct config_row *config_find(const char *name)
{
    for (size_t i = 0; i < sizeof config_aliases / sizeof config_aliases[0]; i++) {
        if (strcasecmp(config_aliases[i].name, name) == 0)
            name = config_aliases[i].row;
    }
    for (size_t i = 0; i < CONFIG_N_ROWS; i++) {
        if (strcasecmp(config_rows[i].name, name) == 0)
            return &config_rows[i];
    }
    return NULL;
}

static bool config_is_fact(const char *name)
{
    for (size_t i = 0; i < sizeof config_facts / sizeof config_facts[0]; i++) {
        if (strcasecmp(config_facts[i].name, name) == 0)
            return true;
    }
    return false;
}

/* Levenshtein distance; names are short, and what is longer is far from all of them. */
static size_t config_distance(const char *a, const char *b)
{
    enum { MAX = 48 };
    size_t row[MAX + 1], n = strlen(a), m = strlen(b);

    if (n > MAX || m > MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = diagonal + (tolower((unsigned char)a[i - 1]) != b[j - 1]);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[m];
}

static int config_unknown(const char *name, struct err *e)
{
    const char *closest = NULL;
    size_t least = SIZE_MAX;

    if (config_is_fact(name))
        return err_set(e, ERR_USAGE, "'%s' cannot be set", name);
    for (size_t i = 0; i < CONFIG_N_ROWS; i++) {
        size_t distance = config_distance(name, config_rows[i].name);
        if (distance < least) {
            least = distance;
            closest = config_rows[i].name;
        }
    }
    if (closest != NULL && least <= 3 && least < strlen(closest))
        return err_set(e, ERR_USAGE, "unknown setting '%.60s', did you mean '%s'?", name, closest);
    return err_set(e, ERR_USAGE, "unknown setting '%.60s', see --help", name);
}

static int config_put_preset(struct config *c, const struct config_row *row, struct err *e)
{
    if (row->kind != CONFIG_MEMORY)
        return config_put(c, row, row->preset, e);
    *(uint64_t *)config_field(c, row) = memory_available() / 2;
    return OK;
}

int config_init(struct config *c, struct err *e)
{
    memset(c, 0, sizeof *c);
    for (size_t i = 0; i < CONFIG_N_ROWS; i++) {
        int rc = config_put_preset(c, &config_rows[i], e);
        if (rc != OK) {
            assert(rc == ERR_NOMEM); /* the table's own defaults are good */
            config_fini(c);
            return rc;
        }
    }
    return OK;
}

void config_fini(struct config *c)
{
    config_free_binds(c);
    settings_rules_fini(&c->stream_settings);
    view_rules_fini(&c->changes_views);
    for (size_t i = 0; i < CONFIG_N_ROWS; i++) {
        if (config_rows[i].kind == CONFIG_STRING) {
            char **field = config_field(c, &config_rows[i]);
            free(*field);
            *field = NULL;
        }
    }
    free(c->config_file);
    c->config_file = NULL;
}

/* As config_put, but of what may be said repeatedly, each time counts. */
static int config_add(struct config *c, const struct config_row *row, const char *text,
                      struct err *e)
{
    if (row->kind == CONFIG_RULES)
        return settings_rules_add(&c->stream_settings, text, e);
    if (row->kind == CONFIG_VIEWS)
        return view_rules_add(&c->changes_views, text, e);
    return config_put(c, row, text, e);
}

/* ---- files ---- */

/* One character of a double-quoted part, moving *at behind it. */
static char config_unescape(const char **at)
{
    static const char names[] = "nrtba", bytes[] = "\n\r\t\b\a";
    const char *name;
    char c = *(*at)++;

    if (c != '\\' || **at == '\0')
        return c;
    c = *(*at)++;
    name = strchr(names, c);
    return name != NULL ? bytes[name - names] : c;
}

/* Takes the next word of a line, unquoted, onto the end of `out`, which never becomes longer than the line.
 * False if a quote is not closed or something follows it at once. */
static bool config_word(const char **at, char *out)
{
    const char *p = *at;

    while (*p != '\0' && *p != ' ' && *p != '\t') {
        if (*p == '"' || *p == '\'') {
            char quote = *p++;
            while (*p != '\0' && *p != quote)
                *out++ = quote == '"' ? config_unescape(&p) : *p++;
            if (*p++ != quote || (*p != '\0' && *p != ' ' && *p != '\t'))
                return false;
            break;
        }
        *out++ = *p++;
    }
    *out = '\0';
    *at = p;
    return true;
}

/* "key value", where a value of several words is joined by blanks. `value` has room for the line. */
static int config_line(struct config *c, const char *line, char *key, char *value, struct err *e)
{
    const struct config_row *row;
    size_t n_words = 0;
    char *end = value;

    line += strspn(line, " \t");
    if (*line == '\0' || *line == '#')
        return OK;
    if (!config_word(&line, key))
        return err_set(e, ERR_USAGE, "unbalanced quotes");
    value[0] = '\0';
    for (line += strspn(line, " \t"); *line != '\0'; line += strspn(line, " \t")) {
        if (n_words++ > 0)
            *end++ = ' ';
        if (!config_word(&line, end))
            return err_set(e, ERR_USAGE, "unbalanced quotes");
        end += strlen(end);
    }
    row = config_find(key);
    if (row == NULL)
        return config_unknown(key, e);
    if (n_words == 0)
        return err_set(e, ERR_USAGE, "'%s' needs a value", row->name);
    if (config_add(c, row, value, e) != OK)
        return err_add(e, "bad value '%.80s' for %s", value, row->name);
    return OK;
}

static int config_read(struct config *c, FILE *file, const char *path, char *room, struct err *e)
{
    char *line = room, *key = room + CONFIG_LINE_MAX, *value = room + 2 * CONFIG_LINE_MAX;

    for (unsigned n = 1; fgets(line, CONFIG_LINE_MAX, file) != NULL; n++) {
        size_t len = strlen(line);
        if (len == CONFIG_LINE_MAX - 1 && line[len - 1] != '\n')
            return err_set(e, ERR_USAGE, "%s:%u: the line is too long", path, n);
        while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
            line[--len] = '\0';
        if (config_line(c, line, key, value, e) != OK)
            return err_add(e, "%s:%u", path, n);
    }
    if (ferror(file))
        return err_sys(e, ERR_IO, "read %s", path);
    return OK;
}

static int config_read_file(struct config *c, const char *path, struct err *e)
{
    char *room = malloc(3 * CONFIG_LINE_MAX), *copy = strdup(path);
    FILE *file = NULL;
    int rc;

    if (room == NULL || copy == NULL) {
        rc = err_set(e, ERR_NOMEM, "read %s", path);
        goto done;
    }
    file = fopen(path, "re");
    if (file == NULL) {
        rc = err_sys(e, ERR_IO, "read %s", path);
        goto done;
    }
    rc = config_read(c, file, path, room, e);
    if (rc == OK) {
        free(c->config_file);
        c->config_file = copy;
        copy = NULL;
    }
done:
    if (file != NULL)
        fclose(file);
    free(room);
    free(copy);
    return rc;
}

/* ---- flags ---- */

/* A flag taken apart: "--key=value", or "--key" whose value is the next argument. */
struct config_flag {
    const struct config_row *row; /* NULL: --config */
    const char *value;
    int n_args;
};

/* A bool may stand alone and then means yes. */
static bool config_flag_alone(const struct config_row *row, const char *next)
{
    return row != NULL && row->kind == CONFIG_BOOL && (next == NULL || strncmp(next, "--", 2) == 0);
}

static int config_take_flag(const char *arg, const char *next, struct config_flag *out,
                            struct err *e)
{
    const char *equals = strchr(arg, '=');
    size_t n = equals != NULL ? (size_t)(equals - arg) : strlen(arg);
    char key[64];

    if (strncmp(arg, "--", 2) != 0 || n == 2 || n - 2 >= sizeof key)
        return err_set(e, ERR_USAGE, "'%.80s' is no flag; settings are given as --key value", arg);
    memcpy(key, arg + 2, n - 2);
    key[n - 2] = '\0';
    out->row = config_find(key);
    if (out->row == NULL && strcmp(key, "config") != 0)
        return config_unknown(key, e);
    out->n_args = 1;
    if (equals != NULL) {
        out->value = equals + 1;
    } else if (config_flag_alone(out->row, next)) {
        out->value = "yes";
    } else {
        out->value = next;
        out->n_args = 2;
    }
    if (out->value == NULL)
        return err_set(e, ERR_USAGE, "--%s needs a value", key);
    return OK;
}

/* One walk over the flags: reads the files that --config names, or applies the others. Of rules in flags, the first
 * takes the place of those in files. */
static int config_walk_args(struct config *c, int argc, char **argv, bool files, struct err *e)
{
    struct config_flag flag = { 0 };
    unsigned has_rules = 0; /* bits of the kinds */
    int rc = OK;

    for (int i = 1; i < argc && rc == OK; i += flag.n_args) {
        rc = config_take_flag(argv[i], i + 1 < argc ? argv[i + 1] : NULL, &flag, e);
        if (rc != OK)
            return rc;
        if (flag.row == NULL && files)
            rc = config_read_file(c, flag.value, e);
        if (flag.row == NULL || files)
            continue;
        rc = has_rules >> flag.row->kind & 1 ? config_add(c, flag.row, flag.value, e)
                                             : config_put(c, flag.row, flag.value, e);
        if (rc != OK)
            return err_add(e, "bad value '%.80s' for --%s", flag.value, flag.row->name);
        if (flag.row->kind == CONFIG_RULES || flag.row->kind == CONFIG_VIEWS)
            has_rules |= 1u << flag.row->kind;
    }
    return rc;
}

int config_parse_args(struct config *c, int argc, char **argv, struct err *e)
{
    int rc = config_walk_args(c, argc, argv, true, e);

    return rc == OK ? config_walk_args(c, argc, argv, false, e) : rc;
}

/* ---- checks across values ---- */

static bool config_is_loopback(const char *address)
{
    if (*address == '-')
        address++;
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0 ||
           strcmp(address, "localhost") == 0;
}

int config_check(const struct config *c, struct err *e)
{
    bool open = c->requirepass == NULL && c->protected_mode;

    for (size_t i = 0; open && i < c->n_bind; i++) {
        if (!config_is_loopback(c->bind[i]))
            return err_set(
                e, ERR_USAGE,
                "bind %s: anyone who reaches this address could read and write everything; "
                "set requirepass, bind to loopback only, or say --protected-mode no",
                c->bind[i]);
    }
    if (c->n_bind == 0 && c->unixsocket == NULL)
        return err_set(e, ERR_USAGE, "nothing to listen on: bind and unixsocket are both empty");
    if (c->dir == NULL)
        return err_set(e, ERR_USAGE, "dir must not be empty");
    if (c->max_batch_bytes < c->max_bulk_len)
        return err_set(e, ERR_USAGE,
                       "max-batch-bytes (%llu) must not be less than proto-max-bulk-len (%llu)",
                       (unsigned long long)c->max_batch_bytes, (unsigned long long)c->max_bulk_len);
    return OK;
}

/* ---- CONFIG ---- */

/* A second configuration of the same values, to change and then take or drop as a whole. */
static int config_copy(const struct config *c, struct config *out, struct err *e)
{
    char text[CONFIG_VALUE_MAX];
    int rc = config_init(out, e);

    if (rc != OK)
        return rc;
    for (size_t i = 0; rc == OK && i < CONFIG_N_ROWS; i++)
        rc =
            config_put(out, &config_rows[i], config_show(c, &config_rows[i], text, sizeof text), e);
    if (rc == OK && c->config_file != NULL) {
        out->config_file = strdup(c->config_file);
        if (out->config_file == NULL)
            rc = err_set(e, ERR_NOMEM, "copying the configuration");
    }
    if (rc != OK)
        config_fini(out);
    return rc;
}

static int config_set_failed(const char *key, const char *why, struct err *e)
{
    return err_set(e, ERR_USAGE, "CONFIG SET failed (possibly related to argument '%s') - %s", key,
                   why);
}

static bool config_text(struct slice s, char *out, size_t size)
{
    if (s.n >= size || (s.n > 0 && memchr(s.p, '\0', s.n) != NULL))
        return false;
    if (s.n > 0)
        memcpy(out, s.p, s.n);
    out[s.n] = '\0';
    return true;
}

/* One pair of a CONFIG SET, applied to a copy. */
static int config_set_pair(struct config *c, struct slice key, struct slice value, struct err *e)
{
    char name[64], text[CONFIG_VALUE_MAX];
    const struct config_row *row = NULL;
    struct err why;

    if (config_text(key, name, sizeof name))
        row = config_find(name);
    else
        snprintf(name, sizeof name, "%.*s", (int)(key.n < 60 ? key.n : 60), (const char *)key.p);
    if (row == NULL && !config_is_fact(name))
        return err_set(e, ERR_USAGE, "Unknown option or number of arguments for CONFIG SET - '%s'",
                       name);
    if (row == NULL || !row->changeable)
        return config_set_failed(name, "can't set immutable config", e);
    if (!config_text(value, text, sizeof text))
        return config_set_failed(name, "argument is too long or holds a zero byte", e);
    if (config_put(c, row, text, &why) == OK)
        return OK;
    return why.code == ERR_NOMEM ? err_set(e, ERR_NOMEM, "%s", why.text)
                                 : config_set_failed(name, why.text, e);
}

static int config_no_duplicates(const struct slice *argv, size_t argc, struct err *e)
{
    for (size_t i = 0; i < argc; i += 2) {
        for (size_t j = 0; j < i; j += 2) {
            if (argv[i].n == argv[j].n &&
                strncasecmp((const char *)argv[i].p, (const char *)argv[j].p, argv[i].n) == 0) {
                char name[64];
                return config_set_failed(config_text(argv[i], name, sizeof name) ? name : "?",
                                         "duplicate parameter", e);
            }
        }
    }
    return OK;
}

int config_set_all(struct config *c, const struct slice *argv, size_t argc, struct err *e)
{
    struct config copy, old;
    struct err why;
    int rc;

    assert(argc % 2 == 0);
    if (argc > 2 * (size_t)CONFIG_N_ROWS)
        return err_set(e, ERR_USAGE,
                       "Unknown option or number of arguments for CONFIG SET - '...'");
    rc = config_no_duplicates(argv, argc, e);
    if (rc == OK)
        rc = config_copy(c, &copy, e);
    if (rc != OK)
        return rc;
    for (size_t i = 0; rc == OK && i < argc; i += 2)
        rc = config_set_pair(&copy, argv[i], argv[i + 1], e);
    if (rc == OK && config_check(&copy, &why) != OK)
        rc = err_set(e, ERR_USAGE, "CONFIG SET failed - %s", why.text);
    if (rc == OK) {
        old = *c;
        *c = copy;
        copy = old;
    }
    config_fini(&copy);
    return rc;
}

int config_set(struct config *c, struct slice key, struct slice value, struct err *e)
{
    const struct slice pair[2] = { key, value };

    return config_set_all(c, pair, 2, e);
}

/* What appendfsync would be called in Redis for the class of streams. */
static const char *config_appendfsync(const struct config *c)
{
    switch (c->stream_durability) {
    case LOG_ALWAYS: return "always";
    case LOG_INTERVAL: return "everysec";
    default: return "no";
    }
}

void config_get(const struct config *c, struct slice glob,
                void (*each)(void *ctx, const char *key, const char *value), void *ctx)
{
    char text[CONFIG_VALUE_MAX];

    for (size_t i = 0; i < CONFIG_N_ROWS; i++) {
        const struct config_row *row = &config_rows[i];
        if (glob_match(glob, slice_str(row->name), true))
            each(ctx, row->name, config_show(c, row, text, sizeof text));
    }
    for (size_t i = 0; i < sizeof config_facts / sizeof config_facts[0]; i++) {
        const char *value = config_facts[i].value;
        if (glob_match(glob, slice_str(config_facts[i].name), true))
            each(ctx, config_facts[i].name, value != NULL ? value : config_appendfsync(c));
    }
}

const char *config_policy(const struct config *c)
{
    return config_policies[c->maxmemory_policy];
}

void config_print_help(void)
{
    for (size_t i = 0; i < CONFIG_N_ROWS; i++) {
        const struct config_row *row = &config_rows[i];
        printf("  --%-26s %s", row->name, row->doc);
        if (row->names == NULL)
            printf(" (%s)\n", *row->preset != '\0' ? row->preset : "none");
        else
            printf("; default %s\n", row->preset);
    }
}
