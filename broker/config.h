/* config.h - every setting of beckd: defaults, a file of `key value` lines, `--key value` flags, CONFIG.
 *
 * One table in config.c holds name, type, bounds, default, whether CONFIG SET may change it, and one line
 * of documentation; parser, --help, the man page and CONFIG GET all come from it. Precedence: default,
 * file, flag. Sizes may end in kb, mb, gb (1024) or k, m, g (1000), as in redis.conf. */
#ifndef BROKER_CONFIG_H
#define BROKER_CONFIG_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "broker/settings.h"
#include "broker/views.h"
#include "log/bytes.h"
#include "log/err.h"

enum { CONFIG_BINDS_MAX = 16, CONFIG_DATABASES = 16 };

enum config_log_level {
    CONFIG_LOG_DEBUG,
    CONFIG_LOG_VERBOSE,
    CONFIG_LOG_NOTICE,
    CONFIG_LOG_WARNING
};

struct config_client_limit {                 /* client-output-buffer-limit, one class of clients */
    uint64_t hard_bytes, soft_bytes, soft_s; /* 0: no limit */
};

struct config {
    /* listening */
    int64_t port;                 /* 7878; 0 takes a free one */
    char *bind[CONFIG_BINDS_MAX]; /* default "127.0.0.1" and "::1" where there is one */
    size_t n_bind;
    char *unixsocket;       /* NULL: none */
    int64_t unixsocketperm; /* 0700 */
    int64_t tcp_backlog, tcp_keepalive_s;
    bool protected_mode; /* refuse listeners beyond loopback while there is no password */
    char *requirepass;   /* NULL or "": none */
    /* clients */
    int64_t maxclients;          /* 10,000, lowered to what the descriptor limit allows */
    int64_t timeout_s;           /* close idle clients; 0: never */
    uint64_t query_buffer_limit; /* client-query-buffer-limit, 1gb: one client's unparsed input */
    struct config_client_limit output_normal, output_pubsub;
    /* the cache: broker/cache/evict.h */
    uint64_t maxmemory;       /* bytes of names and values; 0: no limit. Half of what there is */
    int64_t maxmemory_policy; /* enum evict_policy */
    bool maxmemory_spill; /* values leave memory, and stay in the log, before keys are evicted */
    int64_t maxmemory_samples;
    int64_t lfu_log_factor, lfu_decay_time; /* minutes */
    /* the log */
    char *dir;                 /* ./beck-data */
    int64_t stream_durability; /* enum log_class; always */
    int64_t cache_durability;  /* enum log_class; interval */
    int64_t interval_ms;       /* T of `interval`: 1000 */
    uint64_t wal_file_bytes;   /* size of a WAL file: 16mb */
    uint64_t arena_bytes;      /* a part of the arena: 16mb */
    int64_t arena_age_ms;      /* 1 h */
    uint64_t cache_bytes;      /* 16mb */
    uint64_t checkpoint_bytes; /* 32mb */
    uint64_t max_batch_bytes;  /* 256mb */
    uint64_t max_bulk_len;     /* proto-max-bulk-len: 64mb, at most 512mb */
    bool salvage;
    /* streams: what holds where neither XCFGSET nor a pattern says something else */
    int64_t stream_codec;                    /* as settings_codec makes it */
    int64_t retention_age_ms, retention_len; /* 0: none */
    uint64_t retention_bytes;
    struct settings_rules stream_settings; /* by pattern */
    int64_t stream_node_max_entries;       /* 100: what `~` trims to, as Redis's default */
    int64_t idmp_duration_s;               /* stream-idmp-duration: 100 */
    int64_t idmp_maxsize;                  /* stream-idmp-maxsize: 100 */
    int64_t tracking_table_max_keys;       /* 0: no limit */
    int64_t
        notify_classes; /* notify-keyspace-events: enum notify_class of broker/pubsub/notify.h */
    /* the changes of the cache's keys */
    char *changes_key; /* NULL: they cannot be read */
    struct view_rules changes_views;
    int64_t cache_history_age_ms; /* 1 h */
    uint64_t cache_history_bytes; /* 256mb */
    /* the process */
    int64_t log_level; /* enum config_log_level */
    char *config_file; /* as given, or NULL */
};

/* Fills in the defaults. Errors: ERR_NOMEM. */
must_check int config_init(struct config *c, struct err *e);
void config_fini(struct config *c);

/* Where changes can be read; empty: nowhere. Borrowed until it is set. */
static inline struct slice config_changes_key(const struct config *c)
{
    return c->changes_key == NULL ? slice_of("", 0) : slice_str(c->changes_key);
}

/* Reads `--key value`, `--key=value` and `--config FILE`. Errors: ERR_USAGE, with the flag or file:line, what was
 * wrong, and a suggestion for an unknown key; ERR_IO. --help and --version are main's. */
must_check int config_parse_args(struct config *c, int argc, char **argv, struct err *e);

/* Checks what single values cannot show: a listener beyond loopback without password, and the like. */
must_check int config_check(const struct config *c, struct err *e);

/* CONFIG SET of one key. Applies at once to *c; the broker reads it from there. Errors: ERR_USAGE for an unknown
 * key, an immutable one or a bad value; its text is what follows "ERR " in Redis's reply, whole. ERR_NOMEM. */
must_check int config_set(struct config *c, struct slice key, struct slice value, struct err *e);

/* The same for argc / 2 pairs of key and value: all of them, or none and an error. */
must_check int config_set_all(struct config *c, const struct slice *argv, size_t argc,
                              struct err *e);

/* Calls `each` for every key that matches the glob (with CONFIG GET's Redis names and values too: `save`
 * "", `appendonly` yes, `appendfsync` after the class of streams, `databases`, ...). */
void config_get(const struct config *c, struct slice glob,
                void (*each)(void *ctx, const char *key, const char *value), void *ctx);

/* maxmemory-policy as text. */
const char *config_policy(const struct config *c);

/* Prints the table as the text of --help, to stdout. */
void config_print_help(void);

#endif
