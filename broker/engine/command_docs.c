/*
 * command_docs.c - docs/protocol.md: an introduction written by hand, and every command from the
 * table.
 *
 * `beckd --print-commands` prints it. The list of commands cannot disagree with what the broker
 * does, since dispatch reads the same rows; what the introduction says of limits is checked by the
 * tests that hit them.
 */
#include <assert.h>
#include <ctype.h>
#include <string.h>
#include "broker/engine/command.h"

static const char command_docs_intro[] =
    "# The protocol\n"
    "\n"
    "<!-- Printed by `beckd --print-commands`; change broker/engine/command_docs.c or the table. "
    "-->\n"
    "\n"
    "Beck speaks the Redis protocol, RESP2 and RESP3, over TCP and a Unix socket: any Redis "
    "client\n"
    "works, with its defaults. What a command of Redis does here is what it does in Redis 8, error "
    "texts\n"
    "included. `INFO` says `redis_version:8.8.0`, and `beck_version` for Beck itself.\n"
    "\n"
    "## Requests and replies\n"
    "\n"
    "A request is an array of bulk strings; a line of words (`PING\\r\\n`) is understood too, so "
    "that a\n"
    "terminal is client enough. Requests may be sent without waiting for replies; replies come in "
    "order.\n"
    "\n"
    "| first byte | type | RESP2 | RESP3 |\n"
    "|---|---|---|---|\n"
    "| `+` `-` `:` `$` `*` | simple string, error, integer, bulk string, array | yes | yes |\n"
    "| `_` | null | `$-1` or `*-1` | yes |\n"
    "| `%` | map | array, key and value in turn | yes |\n"
    "| `~` | set | array | yes |\n"
    "| `#` `,` | boolean, double | integer, bulk string | yes |\n"
    "| `=` | verbatim text | bulk string | yes |\n"
    "| `>` | push, not a reply to anything | - | yes |\n"
    "\n"
    "A connection starts with RESP2; `HELLO 3` switches, and its reply has its fields in the "
    "order\n"
    "`server version proto id mode role modules`.\n"
    "\n"
    "An error starts with a word in capitals that programs may look at:\n"
    "\n"
    "| word | meaning |\n"
    "|---|---|\n"
    "| `ERR` | anything that has no word of its own: syntax, ranges, limits |\n"
    "| `WRONGTYPE` | the key holds another type |\n"
    "| `NOAUTH`, `WRONGPASS`, `NOPROTO` | log in first; wrong password; no such protocol version "
    "|\n"
    "| `EXECABORT` | a command of the transaction was refused when it was queued |\n"
    "| `UNBLOCKED` | `CLIENT UNBLOCK id ERROR` ended the wait |\n"
    "| `DISKFULL` | no room left: commands that read or free space, and those of consumer groups, "
    "still work |\n"
    "| `OOM` | not enough memory for this request |\n"
    "| `IOERR` | the log cannot be written; the server ends |\n"
    "\n"
    "## When a reply leaves\n"
    "\n"
    "A reply leaves only when what it tells is safe, in the sense of the durability of the keys "
    "that it\n"
    "is about: `always` (on disk), `interval` (handed to the system, synced within a second) or "
    "`os`\n"
    "(handed to the system). This holds for reads too: nobody sees an entry that a power failure "
    "could\n"
    "still take back. Replies of one connection stay in order, so one that waits holds those "
    "behind it.\n"
    "All that arrives together is made safe together, which is why pipelines and many connections "
    "cost\n"
    "little more than one command. The records of a MULTI ... EXEC are one batch: after a crash "
    "all of\n"
    "them are there, or none.\n"
    "\n"
    "## Limits\n"
    "\n"
    "| what | limit | beyond it |\n"
    "|---|---|---|\n"
    "| one argument | `proto-max-bulk-len`, 64 MiB | error, then the connection is closed |\n"
    "| an inline command, or the line of a length | 64 KiB | the same |\n"
    "| before AUTH | 10 arguments, 16 KiB each | the same |\n"
    "| input of a client that is not executed | `client-query-buffer-limit`, 1 GiB | closed |\n"
    "| output that a client does not read | `client-output-buffer-limit`: none, 32 MiB for "
    "subscribers | closed |\n"
    "| the same, whatever that limit says | 64 MiB | no more of its commands are executed until it "
    "reads |\n"
    "| the same, with what HRANDFIELD draws for a negative count | 128 MiB, or that limit | closed "
    "|\n"
    "| connections | `maxclients`, 10,000 | error, then closed |\n"
    "| what one command or transaction writes | `max-batch-bytes`, 256 MiB | error, nothing is "
    "done |\n"
    "| commands in a transaction | 1,048,576 | error, and EXEC refuses |\n"
    "| stored entries that one command has to look at (not XRANGE, XREVRANGE, XREAD) | 8 MiB | "
    "error, nothing is done |\n"
    "| the same of a transaction | 8 MiB a command, of any kind, and 32 MiB | EXEC refuses |\n"
    "| commands that wait for the disk | 1,024 at a time | further ones wait in order |\n"
    "| keys that a client watches | 65,536 | error |\n"
    "| a client's name | 256 bytes | error |\n"
    "| databases | 16 | error |\n"
    "| a channel's name | 32 KiB | error; keys that long have no keyspace events |\n"
    "| a pattern of PSUBSCRIBE | 1 KiB, and 65,536 different ones | error |\n"
    "| names that a client subscribes to | 64 MiB, each counted with 128 bytes more | error |\n"
    "| a prefix of CLIENT TRACKING | 1 KiB, and 1,024 of a client | error |\n"
    "| keys remembered for CLIENT TRACKING | `tracking-table-max-keys`, 1,000,000; 16 clients for "
    "each | clients are told that some have changed |\n"
    "\n"
    "## What differs from Redis\n"
    "\n"
    "- Everything is durable: `CONFIG GET` says `appendonly yes` and `save \"\"`, and setting "
    "these is\n"
    "  refused. There is no SAVE and no BGREWRITEAOF.\n"
    "- There are strings, hashes, lists and streams. Commands of other types are unknown "
    "commands.\n"
    "- One node: `ROLE` is a master without replicas, `WAIT` replies 0 at once, every CLUSTER "
    "subcommand\n"
    "  says that cluster support is disabled. There are no modules.\n"
    "- There is no interpreter of scripts. EVAL and EVALSHA run those that are known by their "
    "SHA1, "
    "whether they\n"
    "  were loaded or not: Lock of Python's redis, redlock 4 and 5, compare and delete as Redis's "
    "page on locks\n"
    "  has it, rate-limiter-flexible 2 to 11, rate-limit-redis 4 and 6. Another one is NOSCRIPT "
    "for "
    "EVALSHA, and\n"
    "  an error that names its SHA1 for EVAL and SCRIPT LOAD.\n"
    "- A client's own messages come behind the reply of what made them, also inside EXEC. A "
    "message "
    "leaves when\n"
    "  what its publisher did before is safe.\n"
    "- There is one user, `default`.\n"
    "- `CLIENT PAUSE` is refused. A QUIT closes the connection even "
    "while replies\n"
    "  are switched off.\n"
    "- `FLUSHALL` and `FLUSHDB` take no time whatever is stored; SYNC and ASYNC mean the same.\n"
    "- `TIME` has a resolution of a millisecond, and does not go back when the system's clock "
    "does.\n"
    "- `CONFIG REWRITE` is refused: the server never changes its configuration file.\n"
    "- `INFO` has a section `log`; sections that tell of forks, replicas or scripts are short.\n"
    "\n"
    "What no other server has is under `BECK`, never a changed meaning of something known.\n";

static const struct {
    const char *group, *title;
} command_docs_groups[] = {
    { "stream", "Streams" },
    { "generic", "Keys" },
    { "string", "Strings" },
    { "hash", "Hashes" },
    { "list", "Lists" },
    { "transactions", "Transactions" },
    { "pubsub", "Publish and subscribe" },
    { "scripting", "Scripts" },
    { "connection", "Connection" },
    { "server", "Server" },
    { "cluster", "Cluster" },
    { "beck", "Beck" },
};

enum { COMMAND_DOCS_GROUPS = sizeof command_docs_groups / sizeof command_docs_groups[0] };

static void command_docs_title(FILE *f, const char *name)
{
    for (; *name != '\0'; name++)
        fputc(*name == '|' ? ' ' : toupper((unsigned char)*name), f);
}

static void command_docs_flags(FILE *f, const struct command *c)
{
    if (c->flags & CMD_WRITE)
        fprintf(f, ", writes");
    if (c->flags & CMD_READONLY)
        fprintf(f, ", reads");
    if (c->flags & CMD_BLOCKING)
        fprintf(f, ", may wait");
    if (command_takes_space(c))
        fprintf(f, ", takes disk space");
    if (c->flags & CMD_NO_MULTI)
        fprintf(f, ", not in MULTI");
    if (c->flags & CMD_NO_AUTH)
        fprintf(f, ", before AUTH too");
}

static void command_docs_row(FILE *f, const struct command *c)
{
    fprintf(f, "\n- **`");
    command_docs_title(f, c->name);
    fprintf(f, "%s%s`**\n  %s.\n  *since %s, %s", c->syntax[0] != '\0' ? " " : "", c->syntax,
            c->summary, c->since, c->complexity);
    command_docs_flags(f, c);
    fprintf(f, "*\n");
}

static void command_docs_command(FILE *f, const struct command *c)
{
    if (c->handler != NULL)
        command_docs_row(f, c);
    for (const struct command *s = c->subcommands; s != NULL && s->name != NULL; s++)
        command_docs_row(f, s);
}

/* CLUSTER's many subcommands all reply the same. */
static void command_docs_cluster(FILE *f)
{
    fprintf(f, "\nREADONLY, READWRITE and every subcommand of CLUSTER reply\n"
               "`-ERR This instance has cluster support disabled`.\n");
}

void command_print_docs(FILE *f)
{
    size_t n = command_count(), n_printed = 0;

    fputs(command_docs_intro, f);
    for (size_t g = 0; g < COMMAND_DOCS_GROUPS; g++) {
        const char *group = command_docs_groups[g].group;
        fprintf(f, "\n## %s\n", command_docs_groups[g].title);
        if (strcmp(group, "cluster") == 0)
            command_docs_cluster(f);
        for (size_t i = 0; i < n; i++) {
            const struct command *c = command_at(i);
            if (strcmp(c->group, group) != 0)
                continue;
            if (strcmp(group, "cluster") != 0)
                command_docs_command(f, c);
            n_printed++;
        }
    }
    assert(n_printed == n); /* every group has a title */
}
