/*
 * beck.c - what no other server has, under one name: BECK DIGEST, BECK LOG.
 *
 * DIGEST tells whether two stores say the same (engine/digest.c). LOG gives the log's figures as a
 * map, for programs; INFO has the same ones as text in its section "log".
 */
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

static void beck_log(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    const struct log *l = e->log;
    struct err err = { 0 };
    struct log_stats s;

    (void)argv;
    (void)argc;
    log_get_stats(l, &s);
    const struct {
        const char *name;
        uint64_t value;
    } figures[] = {
        { "last_lsn", log_last_lsn(l) },
        { "written_lsn", log_written_lsn(l) },
        { "durable_lsn", log_durable_lsn(l) },
        { "released_lsn", log_released_lsn(l) },
        { "full", log_is_full(l) },
        { "full_times", s.n_full },
        { "failed", log_failure(l, &err) != OK },
        { "files", s.n_files },
        { "file_bytes", s.file_bytes },
        { "written_bytes", s.written_bytes },
        { "record_bytes", s.record_bytes },
        { "queued_bytes", s.queued_bytes },
        { "arena_bytes", s.arena_bytes },
        { "batches", s.n_batches },
        { "batches_inline", s.n_inline },
        { "batches_queued", s.n_queued },
        { "inline_slow", s.n_slow_inline },
        { "always_records", s.n_always_records },
        { "fsyncs", s.n_syncs },
        { "fsyncs_inline", s.n_inline_syncs },
        { "fsync_usec_total", s.sync_ns_total / 1000 },
        { "fsync_usec_max", s.sync_ns_max / 1000 },
    };
    reply_map(c, sizeof figures / sizeof figures[0]);
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++) {
        reply_str(c, figures[i].name);
        reply_u64(c, figures[i].value);
    }
}

static const struct command beck_subcommands[] = {
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
      .group = "beck",
      .since = "beck 0.1",
      .complexity = "O(1)",
      .summary = "Watermarks, files, bytes and fsyncs of the log as a map of numbers",
      .syntax = "" },
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
