/*
 * command.c - the table of commands, finding one by name, and what else is told from the table.
 *
 * Each file of broker/commands/ brings its part. A request's name is looked up in a small hash
 * table over all parts, open addressing, a quarter full at most. The hash and the first comparison
 * work on the name as two 64-bit words (its first and last eight bytes, which overlap or are
 * padded), with the bit set that makes letters lower case. For names of at most sixteen letters,
 * nearly all, equal words mean equal names; the others are compared byte by byte.
 *
 * The table is filled before main begins and never changed afterwards: two brokers in one process
 * read the same one, as they read the parts.
 *
 * docs/protocol.md is printed from here too, so it cannot tell of a command that does not exist.
 */
#include "broker/engine/command.h"
#include <assert.h>
#include <string.h>
#include "broker/engine/args.h"
#include "broker/engine/client.h"
#include "broker/engine/reply.h"

enum {
    COMMAND_SLOTS = 1024, /* a power of two, at least four times the commands */
    COMMAND_NAME_MAX = 64,
    COMMAND_LINE_MAX = 512,
};

struct command_words { /* a name, cut into words */
    uint64_t head, tail;
};

struct command_slot {
    struct command_words words;
    const struct command *command; /* NULL: free */
    size_t n;                      /* length of the name */
    bool exact;                    /* equal words are proof enough */
};

static const struct command *const command_parts[] = {
    connection_commands, server_commands, key_commands,     stream_commands,      xgroup_commands,
    xreadgroup_commands, xack_commands,   xdlq_commands,    transaction_commands, pubsub_commands,
    script_commands,     beck_commands,   string_commands,  revision_commands,    lease_commands,
    hash_commands,       list_commands,   changes_commands,
};

enum { COMMAND_PARTS = sizeof command_parts / sizeof command_parts[0] };

static struct command_slot command_slots[COMMAND_SLOTS]; /* written by command_build only */

static inline uint64_t command_load(const uint8_t *p, size_t n)
{
    uint64_t v = 0;

    memcpy(&v, p, n);
    return v;
}

static inline struct command_words command_words(struct slice name)
{
    const uint64_t lower = 0x2020202020202020u;
    struct command_words w;

    if (name.n >= 8) {
        w.head = command_load(name.p, 8);
        w.tail = command_load(name.p + name.n - 8, 8);
    } else if (name.n >= 4) {
        w.head = command_load(name.p, 4);
        w.tail = command_load(name.p + name.n - 4, 4);
    } else {
        w.head = name.n > 0 ? name.p[0] : 0;
        w.tail = name.n > 0 ? (uint64_t)name.p[name.n / 2] << 8 | name.p[name.n - 1] : 0;
    }
    w.head |= lower;
    w.tail |= lower;
    return w;
}

static inline size_t command_hash(struct command_words w, size_t n)
{
    uint64_t h = (w.head ^ (w.tail << 23 | w.tail >> 41)) + n;
    return (size_t)(h * 0x9e3779b97f4a7c15u >> 54) & (COMMAND_SLOTS - 1);
}

static uint8_t command_lower(uint8_t b)
{
    return b >= 'A' && b <= 'Z' ? (uint8_t)(b + 'a' - 'A') : b;
}

/* Whether `sent` is `name`, which is in lower case, up to letter case. */
static bool command_same(const char *name, size_t n, struct slice sent)
{
    if (sent.n != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (command_lower(sent.p[i]) != (uint8_t)name[i])
            return false;
    return true;
}

static void command_insert(const struct command *command)
{
    struct slice name = slice_str(command->name);
    struct command_words words = command_words(name);
    size_t i = command_hash(words, name.n);

    while (command_slots[i].command != NULL)
        i = (i + 1) % COMMAND_SLOTS;
    command_slots[i].words = words;
    command_slots[i].command = command;
    command_slots[i].n = name.n;
    command_slots[i].exact =
        name.n <= 16 && strspn(command->name, "abcdefghijklmnopqrstuvwxyz") == name.n;
}

__attribute__((constructor)) static void command_build(void)
{
    size_t n = 0;

    for (size_t part = 0; part < COMMAND_PARTS; part++) {
        for (const struct command *c = command_parts[part]; c->name != NULL; c++) {
            command_insert(c);
            n++;
        }
    }
    assert(n <= COMMAND_SLOTS / 4);
}

const struct command *command_find(struct slice name)
{
    struct command_words w = command_words(name);
    size_t i = command_hash(w, name.n);

    for (; command_slots[i].command != NULL; i = (i + 1) % COMMAND_SLOTS) {
        const struct command_slot *s = &command_slots[i];
        if (s->words.head != w.head || s->words.tail != w.tail || s->n != name.n)
            continue;
        if (s->exact || command_same(s->command->name, s->n, name))
            return s->command;
    }
    return NULL;
}

const struct command *command_find_sub(const struct command *container, struct slice name)
{
    size_t prefix = strlen(container->name) + 1;

    if (container->subcommands == NULL)
        return NULL;
    for (const struct command *s = container->subcommands; s->name != NULL; s++)
        if (command_same(s->name + prefix, strlen(s->name + prefix), name))
            return s;
    return NULL;
}

size_t command_count(void)
{
    size_t n = 0;

    for (size_t part = 0; part < COMMAND_PARTS; part++)
        for (const struct command *c = command_parts[part]; c->name != NULL; c++)
            n++;
    return n;
}

const struct command *command_at(size_t i)
{
    assert(i < command_count());
    for (size_t part = 0; part < COMMAND_PARTS; part++)
        for (const struct command *c = command_parts[part]; c->name != NULL; c++)
            if (i-- == 0)
                return c;
    return NULL;
}

/* Keys whose number is an argument. */
static size_t command_counted_keys(const struct command *command, const struct slice *argv,
                                   size_t argc, size_t *out)
{
    size_t at = (size_t)command->key_count_at, step = (size_t)command->key_step;
    int64_t n;

    assert(step > 0);
    if (at >= argc || !args_i64_in(argv[at], 1, (int64_t)((argc - at - 1) / step), &n))
        return 0;
    for (size_t i = 0; i < (size_t)n; i++)
        out[i] = at + 1 + i * step;
    return (size_t)n;
}

size_t command_keys(const struct command *command, const struct slice *argv, size_t argc,
                    size_t *out)
{
    size_t n = 0;

    if (command->get_keys != NULL)
        return command->get_keys(argv, argc, out);
    if (command->key_count_at > 0)
        return command_counted_keys(command, argv, argc, out);
    if (command->first_key <= 0 || command->key_step <= 0)
        return 0;
    int64_t last = command->last_key;
    if (last < 0)
        last += (int64_t)argc;
    for (int64_t i = command->first_key; i <= last && i < (int64_t)argc; i += command->key_step)
        out[n++] = (size_t)i;
    return n;
}

/* "XINFO STREAM" of "xinfo|stream". */
static const char *command_title(const struct command *command, char out[COMMAND_NAME_MAX])
{
    size_t i = 0;

    for (; command->name[i] != '\0'; i++) {
        char b = command->name[i];
        assert(i + 1 < COMMAND_NAME_MAX);
        out[i] = b == '|' ? ' ' : b >= 'a' && b <= 'z' ? (char)(b - 'a' + 'A') : b;
    }
    out[i] = '\0';
    return out;
}

void command_help(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    const struct command *container = command_find(argv[0]);
    char title[COMMAND_NAME_MAX], line[COMMAND_LINE_MAX];
    size_t n = 0;

    (void)e;
    (void)argc;
    assert(container != NULL && container->subcommands != NULL);
    for (const struct command *s = container->subcommands; s->name != NULL; s++)
        n++;
    reply_array(c, 1 + 2 * n);
    snprintf(line, sizeof line,
             "%s <subcommand> [argument ...]. Its subcommands:", command_title(container, title));
    reply_simple(c, line);
    for (const struct command *s = container->subcommands; s->name != NULL; s++) {
        const char *word = command_title(s, title) + strlen(container->name) + 1;
        bool more = s->syntax != NULL && s->syntax[0] != '\0';
        snprintf(line, sizeof line, "%s%s%s", word, more ? " " : "", more ? s->syntax : "");
        reply_simple(c, line);
        snprintf(line, sizeof line, "    %s", s->summary);
        reply_simple(c, line);
    }
}
