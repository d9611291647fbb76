/* command.h - the one table of commands: dispatch, COMMAND, docs/protocol.md and ACL categories
 * come from it. */
#ifndef BROKER_ENGINE_COMMAND_H
#define BROKER_ENGINE_COMMAND_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "log/bytes.h"

struct client;
struct engine;
struct wants;

enum command_flag {
    CMD_WRITE = 1 << 0,
    CMD_READONLY = 1 << 1,
    CMD_DENYOOM = 1 << 2, /* takes disk space: refused with -DISKFULL when the disk is full */
    CMD_ADMIN = 1 << 3,
    CMD_NOSCRIPT = 1 << 4,
    CMD_BLOCKING = 1 << 5,
    CMD_FAST = 1 << 6,
    CMD_LOADING = 1 << 7,
    CMD_STALE = 1 << 8,
    CMD_NO_AUTH = 1 << 9,       /* allowed before AUTH */
    CMD_NO_MULTI = 1 << 10,     /* refused inside MULTI */
    CMD_MOVABLE_KEYS = 1 << 11, /* key positions come from get_keys */
    CMD_PUBSUB = 1 << 12,
    CMD_NOW = 1 << 13, /* runs at once inside MULTI: EXEC, DISCARD, MULTI, WATCH, QUIT, RESET */
    CMD_NO_TOUCH_KEYS = 1 << 14, /* no keyspace in it: its reply waits for nothing */
    CMD_ALLOW_BUSY = 1 << 15,
    CMD_NO_ASYNC_LOADING = 1 << 16,
    CMD_SKIP_SLOWLOG = 1 << 17,
    CMD_SUBSCRIBED = 1 << 19, /* possible while subscribed in RESP2 */
    CMD_SCRIPT =
        1 << 20, /* EVAL: it may have no keys, and its script says what it does with them */
    CMD_RESERVE =
        1
        << 18, /* with CMD_DENYOOM, which Redis says of it: runs on a full disk all the same, from what is
                           * kept for that */
    CMD_OF_GROUPS =
        1 << 19 /* changes groups of a stream, not its entries: of views of changes, too */
};

/* ACL categories beyond those that follow from flags */
enum command_category {
    CAT_KEYSPACE = 1 << 0,
    CAT_STRING = 1 << 1,
    CAT_HASH = 1 << 2,
    CAT_LIST = 1 << 3,
    CAT_STREAM = 1 << 4,
    CAT_PUBSUB = 1 << 5,
    CAT_CONNECTION = 1 << 6,
    CAT_TRANSACTION = 1 << 7,
    CAT_DANGEROUS = 1 << 8,
    CAT_SCRIPTING = 1 << 9,
    CAT_ADMIN = 1 << 10
};

/* argv[0] is the command's name as sent; argv and its bytes are borrowed for the call. Replies
 * exactly once, or blocks (engine/blocking.h). Checks everything before its first effect. */
typedef void command_handler(struct engine *e, struct client *c, const struct slice *argv,
                             size_t argc);

/* Adds to `wants` what of the log the handler, called now with these arguments, would have to read and is not in
 * memory. Changes nothing; what it replies is thrown away, so a handler's own parsing can be used. */
typedef void command_prefault(struct engine *e, struct client *c, const struct slice *argv,
                              size_t argc, struct wants *wants);

/* How many bytes more than engine_bound says the handler may add to the log with these arguments. */
typedef size_t command_bound(const struct slice *argv, size_t argc);

/* Whether a command of a transaction lets it run: asked at EXEC, before anything runs. */
typedef bool command_condition(struct engine *e, struct client *c, const struct slice *argv,
                               size_t argc);

/* Writes the positions of the keys in argv into out (room for argc); returns how many, or 0 if the
 * arguments make no sense. */
typedef size_t command_get_keys(const struct slice *argv, size_t argc, size_t *out);

struct command {
    const char *name;         /* lower case; "xinfo|stream" for a subcommand */
    command_handler *handler; /* NULL for a container whose subcommands have them */
    int arity;                /* argc exactly, or at least -arity; the container word counts */
    unsigned flags, categories;
    /* 0: no keys; last_key may be negative, counted from the end */
    int first_key, last_key, key_step;
    command_get_keys *get_keys; /* with CMD_MOVABLE_KEYS, unless key_count_at says it */
    int key_count_at; /* the argument that says how many keys follow it, key_step apart; 0: none */
    const char *
        group; /* "stream", "generic", "connection", "server", "transactions", "pubsub", "scripting", "beck" */
    const char *since; /* Redis's version, or "beck 0.1" */
    const char *complexity;
    const char *summary; /* one line, our words */
    /* what follows the name: "key [NOMKSTREAM] ... field value [field value ...]" */
    const char *syntax;
    const struct command *subcommands; /* ends with a NULL name; NULL if none */
    /* For COMMAND INFO, in Redis's words. key_flags: what happens to the keys, "RW update"; several
     * keys with a treatment of their own each: "RW access delete;OW update". NULL: told from
     * CMD_WRITE and CMD_READONLY. */
    const char *key_flags;
    const char *key_word; /* keys follow this word up to the middle of what is left: "STREAMS" */
    command_prefault *prefault;   /* NULL: it never needs what may be cold */
    command_bound *bound;         /* NULL: none; see engine_bound */
    command_condition *condition; /* NULL: none */
    const char *tips; /* "nondeterministic_output;request_policy:all_shards"; NULL if none */
};

/* Whether it is refused on a full disk. */
static inline bool command_takes_space(const struct command *c)
{
    return (c->flags & (CMD_DENYOOM | CMD_RESERVE)) == CMD_DENYOOM;
}

/* Each file of broker/commands/ gives its part, ending with a NULL name. */
extern const struct command connection_commands[], server_commands[], key_commands[],
    stream_commands[], xgroup_commands[], xreadgroup_commands[], xack_commands[], xdlq_commands[],
    transaction_commands[], pubsub_commands[], script_commands[], beck_commands[];
extern const struct command string_commands[], revision_commands[], lease_commands[],
    hash_commands[], list_commands[], changes_commands[];

/* The command of that name in any case, or NULL. Constant time; called once for each request. */
const struct command *command_find(struct slice name);

/* The subcommand of a container, or NULL. */
const struct command *command_find_sub(const struct command *container, struct slice name);

/* All top-level commands, in table order, for COMMAND and the documentation. */
size_t command_count(void);
const struct command *command_at(size_t i);

/* The handler of every HELP subcommand: what the table says about the container argv[0]. */
command_handler command_help;

/* Prints docs/protocol.md. */
void command_print_docs(FILE *f);

/* Positions of keys in argv, for COMMAND GETKEYS; see command_get_keys. */
size_t command_keys(const struct command *command, const struct slice *argv, size_t argc,
                    size_t *out);

#endif
