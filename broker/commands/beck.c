/*
 * beck.c - what no other server has, under one name: the table of the BECK commands.
 *
 * DIGEST tells whether two stores say the same (engine/digest.c). LOG gives the log's figures (beck_log.c), STREAM what
 * is ours of a stream (beck_stream.c), GROUP of consumer groups (beck_group.c). SEAL, MERGE, CHECK and BACKUP have the log's workers do what takes long
 * (beck_work.c).
 */
#include "broker/commands/beck.h"
#include "broker/engine/args.h"
#include "broker/engine/digest.h"
#include "broker/engine/engine.h"
#include "broker/engine/reply.h"

static void beck_digest(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    bool sync = argc == 3 && args_word(argv[2], "sync");

    if (argc > 3 || (argc == 3 && !sync))
        reply_syntax_error(c);
    else
        digest_command(e, c, sync);
}

#define BECK_ADMIN                                                                       \
    .flags = CMD_ADMIN | CMD_NOSCRIPT | CMD_NO_MULTI | CMD_BLOCKING | CMD_NO_TOUCH_KEYS, \
    .categories = CAT_ADMIN | CAT_DANGEROUS, .group = "beck", .since = "beck 0.2"

static const struct command beck_subcommands[] = {
    { .name = "beck|backup",
      .handler = beck_backup,
      .arity = 3,
      BECK_ADMIN,
      .complexity = "O(N) in the files of the store, which are linked where that is possible",
      .summary =
          "Makes a copy of the store, which another beckd can open, and tells up to which LSN. The "
          "path is absolute, and of a directory that is new or empty",
      .syntax = "directory" },
    { .name = "beck|check",
      .handler = beck_check,
      .arity = 2,
      BECK_ADMIN,
      .complexity = "O(N) in everything that is stored",
      .summary =
          "Reads and checks every file of the store; lists what is damaged, the first 100 places "
          "of it, as maps of file, offset and what is wrong there",
      .syntax = "" },
    { .name = "beck|digest",
      .handler = beck_digest,
      .arity = -2,
      .flags = CMD_READONLY,
      .categories = CAT_KEYSPACE | CAT_DANGEROUS,
      .group = "beck",
      .since = "beck 0.1",
      .complexity = "O(N) in everything that is stored",
      .summary = "The last LSN and a 128-bit hash of the whole state, the same for stores that "
                 "say the same. Worked out in slices; with SYNC at once",
      .syntax = "[SYNC]" },
    { .name = "beck|group",
      .handler = beck_group,
      .arity = -3,
      .flags = CMD_READONLY | CMD_NO_MULTI,
      .categories = CAT_STREAM,
      .first_key = 2,
      .last_key = 2,
      .key_step = 1,
      .group = "beck",
      .since = "beck 0.3",
      .complexity = "O(N) with N the number of groups",
      .summary = "A consumer group's figures and options, or those of all groups of a stream. lag: "
                 "entries not delivered yet, exactly; lag-ms: the age of the oldest of them; lost: "
                 "of a view of "
                 "changes, gone before they were delivered; parked: kept back by ORDERBY; due: to "
                 "be delivered again; dead: failed for the last time, and not in "
                 "a dead-letter stream; lost, redelivered, dead-lettered: since the start",
      .syntax = "key [group]",
      .key_flags = "RO ACCESS",
      .tips = "nondeterministic_output" },
    { .name = "beck|help",
      .handler = command_help,
      .arity = 2,
      .flags = CMD_LOADING | CMD_STALE | CMD_NO_TOUCH_KEYS,
      .group = "beck",
      .since = "beck 0.1",
      .complexity = "O(1)",
      .summary = "This text",
      .syntax = "" },
    { .name = "beck|log",
      .handler = beck_log,
      .arity = 2,
      .flags = CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_NO_TOUCH_KEYS,
      .categories = CAT_ADMIN,
      .group = "beck",
      .since = "beck 0.1",
      .complexity = "O(1)",
      .summary = "Watermarks, files, bytes, background work, cache, retention and what groups do "
                 "by themselves, as a map of figures",
      .syntax = "" },
    { .name = "beck|merge",
      .handler = beck_merge,
      .arity = 2,
      BECK_ADMIN,
      .complexity = "O(N) in everything that is stored",
      .summary =
          "Seals, then rewrites all segments into as few as possible, compressed more strongly, "
          "and waits for that",
      .syntax = "" },
    { .name = "beck|seal",
      .handler = beck_seal,
      .arity = 2,
      BECK_ADMIN,
      .complexity = "O(N) in what is not sealed",
      .summary =
          "Seals all that is not, writes a checkpoint, and waits for both; tells up to which LSN",
      .syntax = "" },
    { .name = "beck|stream",
      .handler = beck_stream,
      .arity = 3,
      .flags = CMD_READONLY | CMD_NO_MULTI,
      .categories = CAT_STREAM,
      .first_key = 2,
      .last_key = 2,
      .key_step = 1,
      .group = "beck",
      .since = "beck 0.2",
      .complexity = "O(N) in the segments that have entries of the stream",
      .summary =
          "What holds for a stream, and from where (stream, pattern, default), and where its "
          "entries are: in memory, in segments, bytes on disk",
      .syntax = "key",
      .key_flags = "RO ACCESS" },
    { .name = NULL },
};

const struct command beck_commands[] = {
    { .name = "beck",
      .arity = -2,
      .group = "beck",
      .since = "beck 0.1",
      .complexity = "Depends on subcommand.",
      .summary = "Commands of Beck's own",
      .syntax = "",
      .subcommands = beck_subcommands },
    { .name = NULL },
};
