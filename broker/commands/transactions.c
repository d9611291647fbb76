/*
 * transactions.c - MULTI, EXEC, DISCARD, WATCH, UNWATCH.
 *
 * They run at once inside a transaction instead of being queued. A MULTI or WATCH where it is not allowed is an
 * error of its own and does not spoil the transaction. EXEC is engine/transaction.c's.
 */
#include "broker/engine/engine.h"
#include "broker/engine/reply.h"
#include "broker/engine/transaction.h"

static void transactions_multi(struct engine *e, struct client *c, const struct slice *argv,
                               size_t argc)
{
    (void)e;
    (void)argv;
    (void)argc;
    if (c->in_multi) {
        reply_error(c, "ERR MULTI calls can not be nested");
        return;
    }
    c->in_multi = true;
    reply_ok(c);
}

static void transactions_discard(struct engine *e, struct client *c, const struct slice *argv,
                                 size_t argc)
{
    (void)argv;
    (void)argc;
    if (!c->in_multi) {
        reply_error(c, "ERR DISCARD without MULTI");
        return;
    }
    transaction_discard(e, c);
    reply_ok(c);
}

static void transactions_watch(struct engine *e, struct client *c, const struct slice *argv,
                               size_t argc)
{
    if (c->in_multi) {
        reply_error(c, "ERR WATCH inside MULTI is not allowed");
        return;
    }
    for (size_t i = 1; i < argc; i++) {
        struct err err;
        int rc = transaction_watch(e, c, argv[i], &err);
        if (rc != OK) {
            reply_error(c, "%s %s", rc == ERR_NOMEM ? "OOM" : "ERR", err.text);
            return;
        }
    }
    reply_ok(c);
}

static void transactions_unwatch(struct engine *e, struct client *c, const struct slice *argv,
                                 size_t argc)
{
    (void)argv;
    (void)argc;
    transaction_unwatch(e, c);
    reply_ok(c);
}

enum {
    FLAGS_OWN =
        CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_FAST | CMD_ALLOW_BUSY | CMD_NO_TOUCH_KEYS,
    FLAGS_EXEC = CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_SKIP_SLOWLOG | CMD_NOW,
};

const struct command transaction_commands[] = {
    { .name = "discard",
      .handler = transactions_discard,
      .arity = 1,
      .flags = FLAGS_OWN | CMD_NOW,
      .categories = CAT_TRANSACTION,
      .group = "transactions",
      .since = "2.0.0",
      .complexity = "O(N) in queued commands.",
      .summary = "Forgets what was queued since MULTI",
      .syntax = "" },
    { .name = "exec",
      .handler = transaction_exec,
      .arity = 1,
      .flags = FLAGS_EXEC,
      .categories = CAT_TRANSACTION,
      .group = "transactions",
      .since = "1.2.0",
      .complexity = "Depends on the queued commands.",
      .summary = "Runs what was queued since MULTI as one: all of it or, after a crash, none",
      .syntax = "" },
    { .name = "multi",
      .handler = transactions_multi,
      .arity = 1,
      .flags = FLAGS_OWN | CMD_NOW,
      .categories = CAT_TRANSACTION,
      .group = "transactions",
      .since = "1.2.0",
      .complexity = "O(1)",
      .summary = "Begins a transaction: what follows is queued until EXEC",
      .syntax = "" },
    { .name = "unwatch",
      .handler = transactions_unwatch,
      .arity = 1,
      .flags = FLAGS_OWN,
      .categories = CAT_TRANSACTION,
      .group = "transactions",
      .since = "2.2.0",
      .complexity = "O(N) in watched keys.",
      .summary = "Forgets the keys watched by this connection",
      .syntax = "" },
    { .name = "watch",
      .handler = transactions_watch,
      .arity = -2,
      .flags = FLAGS_OWN | CMD_NOW,
      .categories = CAT_TRANSACTION,
      .first_key = 1,
      .last_key = -1,
      .key_step = 1,
      .group = "transactions",
      .since = "2.2.0",
      .complexity = "O(1) for every key.",
      .summary = "Lets the next EXEC fail if one of these keys changes before it",
      .syntax = "key [key ...]",
      .key_flags = "RO" },
    { .name = NULL },
};
