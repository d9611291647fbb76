/*
 * introspect.c - COMMAND: the table of commands as Redis's clients expect it.
 *
 * A command is described by ten elements: name, arity, flags, first key, last key, step, ACL
 * categories, tips, key specifications, subcommands. Flags and most categories follow from the bits
 * of `flags`, in Redis's order. Key specifications are told from the same numbers that dispatch
 * uses: one range of keys at an index; or one key each where key_flags treats them differently; or
 * the first half of what follows a keyword.
 */
#include "broker/commands/introspect.h"
#include <stdio.h>
#include <stdlib.h>
#include "broker/commands/syntax.h"
#include "broker/engine/args.h"
#include "broker/engine/engine.h"
#include "broker/engine/glob.h"
#include "broker/engine/reply.h"

struct introspect_bit {
    unsigned bit;
    const char *name;
};

static const struct introspect_bit introspect_flags[] = {
    { CMD_WRITE, "write" },
    { CMD_READONLY, "readonly" },
    { CMD_DENYOOM, "denyoom" },
    { CMD_ADMIN, "admin" },
    { CMD_PUBSUB, "pubsub" },
    { CMD_NOSCRIPT, "noscript" },
    { CMD_BLOCKING, "blocking" },
    { CMD_LOADING, "loading" },
    { CMD_STALE, "stale" },
    { CMD_SCRIPT, "skip_monitor" },
    { CMD_SKIP_SLOWLOG, "skip_slowlog" },
    { CMD_FAST, "fast" },
    { CMD_NO_AUTH, "no_auth" },
    { CMD_NO_ASYNC_LOADING, "no_async_loading" },
    { CMD_NO_MULTI, "no_multi" },
    { CMD_SCRIPT, "no_mandatory_keys" },
    { CMD_MOVABLE_KEYS, "movablekeys" },
    { CMD_ALLOW_BUSY, "allow_busy" },
};

/* A category is there if one of these flags or categories is, and none of `unless`. */
static const struct {
    unsigned flags, categories, unless;
    const char *name;
} introspect_categories[] = {
    { 0, CAT_KEYSPACE, 0, "@keyspace" },
    { CMD_READONLY, 0, 0, "@read" },
    { CMD_WRITE, 0, 0, "@write" },
    { 0, CAT_LIST, 0, "@list" },
    { 0, CAT_HASH, 0, "@hash" },
    { 0, CAT_STRING, 0, "@string" },
    { 0, CAT_STREAM, 0, "@stream" },
    { CMD_PUBSUB, CAT_PUBSUB, 0, "@pubsub" },
    { CMD_ADMIN, CAT_ADMIN, 0, "@admin" },
    { CMD_FAST, 0, 0, "@fast" },
    { ~0u, ~0u, CMD_FAST, "@slow" },
    { CMD_BLOCKING, 0, 0, "@blocking" },
    { CMD_ADMIN, CAT_DANGEROUS, 0, "@dangerous" },
    { 0, CAT_CONNECTION, 0, "@connection" },
    { 0, CAT_TRANSACTION, 0, "@transaction" },
    { 0, CAT_SCRIPTING, 0, "@scripting" },
};

enum {
    INTROSPECT_FLAGS = sizeof introspect_flags / sizeof introspect_flags[0],
    INTROSPECT_CATEGORIES = sizeof introspect_categories / sizeof introspect_categories[0],
};

static bool introspect_in_category(const struct command *cmd, size_t i)
{
    if (cmd->flags & CMD_SCRIPT && introspect_categories[i].flags == CMD_READONLY)
        return false; /* a script is neither a read nor a write */
    if (introspect_categories[i].unless != 0)
        return (cmd->flags & introspect_categories[i].unless) == 0;
    return (cmd->flags & introspect_categories[i].flags) != 0 ||
           (cmd->categories & introspect_categories[i].categories) != 0;
}

static void introspect_reply_flags(struct client *c, const struct command *cmd)
{
    size_t n = 0;

    for (size_t i = 0; i < INTROSPECT_FLAGS; i++)
        n += (cmd->flags & introspect_flags[i].bit) != 0;
    reply_set(c, n);
    for (size_t i = 0; i < INTROSPECT_FLAGS; i++)
        if ((cmd->flags & introspect_flags[i].bit) != 0)
            reply_simple(c, introspect_flags[i].name);
}

static void introspect_reply_categories(struct client *c, const struct command *cmd)
{
    size_t n = 0;

    for (size_t i = 0; i < INTROSPECT_CATEGORIES; i++)
        n += introspect_in_category(cmd, i);
    reply_set(c, n);
    for (size_t i = 0; i < INTROSPECT_CATEGORIES; i++)
        if (introspect_in_category(cmd, i))
            reply_simple(c, introspect_categories[i].name);
}

/* ---- lists in one string ---- */

/* The part of `list` up to `separator`; *list moves behind it. False at the end. */
static bool introspect_part(struct slice *list, uint8_t separator, struct slice *out)
{
    if (list->n == 0)
        return false;
    const uint8_t *end = memchr(list->p, separator, list->n);
    size_t n = end == NULL ? list->n : (size_t)(end - list->p);
    size_t used = end == NULL ? n : n + 1;
    *out = slice_of(list->p, n);
    *list = slice_of(list->p + used, list->n - used);
    return true;
}

static size_t introspect_parts(struct slice list, uint8_t separator)
{
    struct slice part;
    size_t n = 0;

    while (introspect_part(&list, separator, &part))
        n++;
    return n;
}

/* Redis writes what may be done in capitals, two letters, and what for in small ones. */
static void introspect_reply_simple(struct client *c, struct slice word)
{
    char text[64];
    size_t n = word.n < sizeof text - 1 ? word.n : sizeof text - 1;

    for (size_t i = 0; i < n; i++) {
        uint8_t b = word.p[i];
        text[i] = (char)(n > 2 && b >= 'A' && b <= 'Z' ? b + 'a' - 'A' : b);
    }
    text[n] = '\0';
    reply_simple(c, text);
}

/* The words of "RW access delete" as a set of simple strings. */
static void introspect_reply_words(struct client *c, struct slice words)
{
    struct slice word;

    reply_set(c, introspect_parts(words, ' '));
    while (introspect_part(&words, ' ', &word))
        introspect_reply_simple(c, word);
}

static void introspect_reply_tips(struct client *c, const struct command *cmd)
{
    struct slice tips = slice_str(cmd->tips != NULL ? cmd->tips : ""), tip;

    reply_set(c, introspect_parts(tips, ';'));
    while (introspect_part(&tips, ';', &tip))
        reply_bulk(c, tip.p, tip.n);
}

/* ---- key specifications ---- */

static struct slice introspect_key_flags(const struct command *cmd)
{
    if (cmd->key_flags != NULL)
        return slice_str(cmd->key_flags);
    return slice_str((cmd->flags & CMD_WRITE) != 0 ? "RW update" : "RO");
}

/* What happens to the i-th key of the arguments. */
static struct slice introspect_flags_of(const struct command *cmd, size_t i)
{
    struct slice list = introspect_key_flags(cmd), part = { NULL, 0 };

    for (size_t at = 0; at <= i && introspect_part(&list, ';', &part); at++)
        ;
    return part;
}

static void introspect_reply_begin(struct client *c, int index)
{
    reply_str(c, "begin_search");
    reply_map(c, 2);
    reply_str(c, "type");
    reply_str(c, "index");
    reply_str(c, "spec");
    reply_map(c, 1);
    reply_str(c, "index");
    reply_int(c, index);
}

/* "begin_search" and "find_keys" of one specification: keys at an index. */
static void introspect_reply_range(struct client *c, int index, int last, int step, int limit)
{
    introspect_reply_begin(c, index);
    reply_str(c, "find_keys");
    reply_map(c, 2);
    reply_str(c, "type");
    reply_str(c, "range");
    reply_str(c, "spec");
    reply_map(c, 3);
    reply_str(c, "lastkey");
    reply_int(c, last);
    reply_str(c, "keystep");
    reply_int(c, step);
    reply_str(c, "limit");
    reply_int(c, limit);
}

/* The same for keys that follow their number. */
static void introspect_reply_keynum(struct client *c, int index, int step)
{
    introspect_reply_begin(c, index);
    reply_str(c, "find_keys");
    reply_map(c, 2);
    reply_str(c, "type");
    reply_str(c, "keynum");
    reply_str(c, "spec");
    reply_map(c, 3);
    reply_str(c, "keynumidx");
    reply_int(c, 0);
    reply_str(c, "firstkey");
    reply_int(c, 1);
    reply_str(c, "keystep");
    reply_int(c, step);
}

/* The same for keys that follow a word: the first half of what is left. Where it may stand at the earliest says the arity: at
 * least a key and its ID follow. */
static void introspect_reply_keyword(struct client *c, const struct command *cmd)
{
    reply_str(c, "begin_search");
    reply_map(c, 2);
    reply_str(c, "type");
    reply_str(c, "keyword");
    reply_str(c, "spec");
    reply_map(c, 2);
    reply_str(c, "keyword");
    reply_str(c, cmd->key_word);
    reply_str(c, "startfrom");
    reply_int(c, -cmd->arity - 3);
    reply_str(c, "find_keys");
    reply_map(c, 2);
    reply_str(c, "type");
    reply_str(c, "range");
    reply_str(c, "spec");
    reply_map(c, 3);
    reply_str(c, "lastkey");
    reply_int(c, -1);
    reply_str(c, "keystep");
    reply_int(c, 1);
    reply_str(c, "limit");
    reply_int(c, 2);
}

static void introspect_reply_spec_flags(struct client *c, struct slice flags)
{
    reply_map(c, 3);
    reply_str(c, "flags");
    introspect_reply_words(c, flags);
}

static void introspect_reply_specs(struct client *c, const struct command *cmd)
{
    struct slice list = introspect_key_flags(cmd), flags;
    size_t n = introspect_parts(list, ';');

    if (cmd->key_word != NULL) {
        reply_set(c, 1);
        introspect_reply_spec_flags(c, list);
        introspect_reply_keyword(c, cmd);
    } else if (cmd->key_count_at > 0) {
        reply_set(c, 1);
        introspect_reply_spec_flags(c, list);
        introspect_reply_keynum(c, cmd->key_count_at, cmd->key_step);
    } else if (cmd->first_key == 0) {
        reply_set(c, 0);
    } else if (n == 1) {
        int last = cmd->last_key < 0 ? cmd->last_key : cmd->last_key - cmd->first_key;
        reply_set(c, 1);
        introspect_reply_spec_flags(c, list);
        introspect_reply_range(c, cmd->first_key, last, cmd->key_step, 0);
    } else {
        reply_set(c, n);
        for (int i = 0; introspect_part(&list, ';', &flags); i++) {
            introspect_reply_spec_flags(c, flags);
            introspect_reply_range(c, cmd->first_key + i, 0, 1, 0);
        }
    }
}

/* ---- COMMAND, COMMAND INFO ---- */

static size_t introspect_n_subs(const struct command *cmd)
{
    size_t n = 0;

    for (const struct command *s = cmd->subcommands; s != NULL && s->name != NULL; s++)
        n++;
    return n;
}

static void introspect_reply_info(struct client *c, const struct command *cmd)
{
    reply_array(c, 10);
    reply_str(c, cmd->name);
    reply_int(c, cmd->arity);
    introspect_reply_flags(c, cmd);
    reply_int(c, cmd->key_word != NULL ? 0 : cmd->first_key);
    reply_int(c, cmd->key_word != NULL ? 0 : cmd->last_key);
    reply_int(c, cmd->key_word != NULL || cmd->key_count_at > 0 ? 0 : cmd->key_step);
    introspect_reply_categories(c, cmd);
    introspect_reply_tips(c, cmd);
    introspect_reply_specs(c, cmd);
    reply_set(c, introspect_n_subs(cmd));
    for (const struct command *s = cmd->subcommands; s != NULL && s->name != NULL; s++)
        introspect_reply_info(c, s);
}

static void introspect_reply_all(struct client *c)
{
    size_t n = command_count();

    reply_array(c, n);
    for (size_t i = 0; i < n; i++)
        introspect_reply_info(c, command_at(i));
}

void introspect_command(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    (void)e;
    (void)argv;
    (void)argc;
    introspect_reply_all(c);
}

/* A command by "xadd" or "xinfo|stream", or NULL. */
static const struct command *introspect_find(struct slice name)
{
    struct slice rest = name, word;
    const struct command *cmd;

    if (!introspect_part(&rest, '|', &word))
        return NULL;
    cmd = command_find(word);
    return cmd == NULL || word.n == name.n ? cmd : command_find_sub(cmd, rest);
}

static void introspect_info(struct engine *e, struct client *c, const struct slice *argv,
                            size_t argc)
{
    (void)e;
    if (argc == 2) {
        introspect_reply_all(c);
        return;
    }
    reply_array(c, argc - 2);
    for (size_t i = 2; i < argc; i++) {
        const struct command *cmd = introspect_find(argv[i]);
        if (cmd != NULL)
            introspect_reply_info(c, cmd);
        else
            reply_null(c);
    }
}

static void introspect_count(struct engine *e, struct client *c, const struct slice *argv,
                             size_t argc)
{
    (void)e;
    (void)argv;
    (void)argc;
    reply_u64(c, command_count());
}

/* ---- COMMAND DOCS ---- */

static void introspect_reply_pair(struct client *c, const char *key, const char *value)
{
    reply_str(c, key);
    reply_str(c, value);
}

/* A name and what is known of it. */
static void introspect_reply_docs(struct client *c, const struct command *cmd)
{
    size_t n_subs = introspect_n_subs(cmd);
    bool has_arguments = cmd->syntax[0] != '\0';

    reply_str(c, cmd->name);
    reply_map(c, 4 + (size_t)has_arguments + (n_subs > 0));
    introspect_reply_pair(c, "summary", cmd->summary);
    introspect_reply_pair(c, "since", cmd->since);
    introspect_reply_pair(c, "group", cmd->group);
    introspect_reply_pair(c, "complexity", cmd->complexity);
    if (has_arguments) {
        reply_str(c, "arguments");
        syntax_reply(c, cmd->syntax);
    }
    if (n_subs == 0)
        return;
    reply_str(c, "subcommands");
    reply_map(c, n_subs);
    for (const struct command *s = cmd->subcommands; s->name != NULL; s++)
        introspect_reply_docs(c, s);
}

static void introspect_docs(struct engine *e, struct client *c, const struct slice *argv,
                            size_t argc)
{
    size_t n = 0;

    (void)e;
    if (argc == 2) {
        reply_map(c, command_count());
        for (size_t i = 0; i < command_count(); i++)
            introspect_reply_docs(c, command_at(i));
        return;
    }
    for (size_t i = 2; i < argc; i++)
        n += introspect_find(argv[i]) != NULL;
    reply_map(c, n);
    for (size_t i = 2; i < argc; i++) {
        const struct command *cmd = introspect_find(argv[i]);
        if (cmd != NULL)
            introspect_reply_docs(c, cmd);
    }
}

/* ---- COMMAND LIST ---- */

enum introspect_filter { INTROSPECT_ALL, INTROSPECT_NONE, INTROSPECT_PATTERN, INTROSPECT_CATEGORY };

static bool introspect_passes(const struct command *cmd, enum introspect_filter filter,
                              struct slice value)
{
    if (filter == INTROSPECT_PATTERN)
        return glob_match(value, slice_str(cmd->name), true);
    if (filter == INTROSPECT_CATEGORY) {
        for (size_t i = 0; i < INTROSPECT_CATEGORIES; i++)
            if (args_word(value, introspect_categories[i].name + 1))
                return introspect_in_category(cmd, i);
        return false;
    }
    return filter == INTROSPECT_ALL;
}

/* Counts the names that pass the filter, and replies with them if c is not NULL. */
static size_t introspect_names(struct client *c, enum introspect_filter filter, struct slice value)
{
    size_t n = 0;

    for (size_t i = 0; i < command_count(); i++) {
        const struct command *cmd = command_at(i);
        const struct command *s = filter == INTROSPECT_ALL ? NULL : cmd->subcommands;
        if (introspect_passes(cmd, filter, value)) {
            n++;
            if (c != NULL)
                reply_str(c, cmd->name);
        }
        for (; s != NULL && s->name != NULL; s++) {
            if (!introspect_passes(s, filter, value))
                continue;
            n++;
            if (c != NULL)
                reply_str(c, s->name);
        }
    }
    return n;
}

static void introspect_list(struct engine *e, struct client *c, const struct slice *argv,
                            size_t argc)
{
    enum introspect_filter filter = INTROSPECT_ALL;
    struct slice value = { NULL, 0 };

    (void)e;
    if (argc > 2) {
        if (argc != 5 || !args_word(argv[2], "filterby")) {
            reply_syntax_error(c);
            return;
        }
        value = argv[4];
        if (args_word(argv[3], "module")) {
            filter = INTROSPECT_NONE;
        } else if (args_word(argv[3], "aclcat")) {
            filter = INTROSPECT_CATEGORY;
        } else if (args_word(argv[3], "pattern")) {
            filter = INTROSPECT_PATTERN;
        } else {
            reply_syntax_error(c);
            return;
        }
    }
    if (filter == INTROSPECT_ALL)
        reply_set(c, introspect_names(NULL, filter, value));
    else
        reply_array(c, introspect_names(NULL, filter, value));
    introspect_names(c, filter, value);
}

/* ---- COMMAND GETKEYS ---- */

static const struct command *introspect_resolve(const struct slice *argv, size_t argc)
{
    const struct command *cmd = command_find(argv[0]);

    if (cmd != NULL && cmd->subcommands != NULL && argc > 1)
        return command_find_sub(cmd, argv[1]);
    return cmd;
}

static bool introspect_arity_fits(const struct command *cmd, size_t argc)
{
    return cmd->arity >= 0 ? argc == (size_t)cmd->arity : argc >= (size_t)-cmd->arity;
}

/* Finds the keys of the command in argv; replies with an error and returns false if it has none. */
static bool introspect_keys(struct client *c, const struct slice *argv, size_t argc,
                            const struct command **out, size_t *positions, size_t *n)
{
    const struct command *cmd = introspect_resolve(argv, argc);

    if (cmd == NULL)
        reply_error(c, "ERR Invalid command specified");
    else if (cmd->first_key == 0 && cmd->get_keys == NULL && cmd->key_count_at == 0)
        reply_error(c, "ERR The command has no key arguments");
    else if (!introspect_arity_fits(cmd, argc))
        reply_error(c, "ERR Invalid number of arguments specified for command");
    else if ((*n = command_keys(cmd, argv, argc, positions)) == 0)
        reply_error(c, "ERR Invalid arguments specified for command");
    else {
        *out = cmd;
        return true;
    }
    return false;
}

static void introspect_getkeys_of(struct client *c, const struct slice *argv, size_t argc,
                                  bool with_flags)
{
    const struct command *cmd;
    size_t *positions = malloc(argc * sizeof *positions);
    size_t n = 0;

    if (positions == NULL) {
        reply_error(c, "ERR out of memory");
        return;
    }
    if (introspect_keys(c, argv, argc, &cmd, positions, &n)) {
        reply_array(c, n);
        for (size_t i = 0; i < n; i++) {
            const struct slice *key = &argv[positions[i]];
            if (with_flags)
                reply_array(c, 2);
            reply_bulk(c, key->p, key->n);
            if (with_flags)
                introspect_reply_words(c, introspect_flags_of(cmd, i));
        }
    }
    free(positions);
}

static void introspect_getkeys(struct engine *e, struct client *c, const struct slice *argv,
                               size_t argc)
{
    (void)e;
    introspect_getkeys_of(c, argv + 2, argc - 2, false);
}

static void introspect_getkeysandflags(struct engine *e, struct client *c, const struct slice *argv,
                                       size_t argc)
{
    (void)e;
    introspect_getkeys_of(c, argv + 2, argc - 2, true);
}

/* ---- the table ---- */

#define COMMAND_SUB(verb, function, args, version, cost, text, form, hints)                       \
    {                                                                                             \
        .name = "command|" verb, .handler = function, .arity = args,                              \
        .flags = CMD_LOADING | CMD_STALE | CMD_NO_TOUCH_KEYS, .categories = CAT_CONNECTION,       \
        .group = "server", .since = version, .complexity = cost, .summary = text, .syntax = form, \
        .tips = hints                                                                             \
    }

const struct command introspect_subcommands[] = {
    COMMAND_SUB("count", introspect_count, 2, "2.8.13", "O(1)", "How many commands there are", "",
                NULL),
    COMMAND_SUB("docs", introspect_docs, -2, "7.0.0", "O(N) in commands",
                "What the documentation says about commands", "[command-name [command-name ...]]",
                "nondeterministic_output_order"),
    COMMAND_SUB("getkeys", introspect_getkeys, -3, "2.8.13", "O(N) in arguments",
                "Which arguments of a command are keys", "command [arg [arg ...]]", NULL),
    COMMAND_SUB("getkeysandflags", introspect_getkeysandflags, -3, "7.0.0", "O(N) in arguments",
                "Which arguments of a command are keys, and what happens to them",
                "command [arg [arg ...]]", NULL),
    COMMAND_SUB("help", command_help, 2, "5.0.0", "O(1)", "This text", "", NULL),
    COMMAND_SUB("info", introspect_info, -2, "2.8.13", "O(N) in commands",
                "Arity, flags and keys of commands", "[command-name [command-name ...]]",
                "nondeterministic_output_order"),
    COMMAND_SUB("list", introspect_list, -2, "7.0.0", "O(N) in commands", "The names of commands",
                "[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]",
                "nondeterministic_output_order"),
    { .name = NULL },
};
