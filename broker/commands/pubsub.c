/*
 * pubsub.c - SUBSCRIBE and its relatives, PUBLISH, PUBSUB.
 *
 * Every name of a SUBSCRIBE or UNSUBSCRIBE is confirmed by a message of its own, with how many subscriptions are left: channels and
 * patterns counted together, shard channels for themselves. These confirmations are replies (they stand in the order of
 * requests, in an EXEC's array too) that look like messages, and CLIENT REPLY does not keep them back.
 *
 * Channels have nothing to do with keys or databases, so nothing here waits for the log by itself; a message waits for what its
 * publisher has done before (engine/push.c).
 */
#include "broker/pubsub/pubsub.h"
#include "broker/engine/engine.h"
#include "broker/engine/reply.h"

/* ---- subscribing ---- */

static size_t pubsub_n_counted(const struct client *c, enum pubsub_kind kind)
{
    if (kind == PUBSUB_SHARD)
        return pubsub_n(c, PUBSUB_SHARD);
    return pubsub_n(c, PUBSUB_CHANNEL) + pubsub_n(c, PUBSUB_PATTERN);
}

/* `name` NULL: there was none. */
static void pubsub_confirm(struct client *c, enum pubsub_kind kind, bool left,
                           const struct slice *name)
{
    static const char *const words[PUBSUB_KINDS][2] = {
        { "subscribe", "unsubscribe" },
        { "psubscribe", "punsubscribe" },
        { "ssubscribe", "sunsubscribe" },
    };

    c->reply_kept = true;
    reply_push(c, 3);
    reply_str(c, words[kind][left]);
    if (name == NULL)
        reply_null(c);
    else
        reply_bulk(c, name->p, name->n);
}

static void pubsub_join(struct engine *e, struct client *c, enum pubsub_kind kind,
                        const struct slice *argv, size_t argc)
{
    for (size_t i = 1; i < argc; i++) {
        struct err err;
        int rc = pubsub_subscribe(e, c, kind, argv[i], &err);
        if (rc != OK) {
            reply_error(c, "%s %s", rc == ERR_NOMEM ? "OOM" : "ERR", err.text);
            return;
        }
        pubsub_confirm(c, kind, false, &argv[i]);
        reply_u64(c, pubsub_n_counted(c, kind));
    }
}

static void pubsub_leave_all(struct engine *e, struct client *c, enum pubsub_kind kind)
{
    struct slice name = pubsub_any(c, kind);

    if (name.p == NULL) {
        pubsub_confirm(c, kind, true, NULL);
        reply_u64(c, pubsub_n_counted(c, kind));
    }
    for (; name.p != NULL; name = pubsub_any(c, kind)) {
        pubsub_confirm(c, kind, true, &name);
        pubsub_unsubscribe(e, c, kind, name);
        reply_u64(c, pubsub_n_counted(c, kind));
    }
}

static void pubsub_leave(struct engine *e, struct client *c, enum pubsub_kind kind,
                         const struct slice *argv, size_t argc)
{
    if (argc == 1) {
        pubsub_leave_all(e, c, kind);
        return;
    }
    for (size_t i = 1; i < argc; i++) {
        pubsub_confirm(c, kind, true, &argv[i]);
        pubsub_unsubscribe(e, c, kind, argv[i]);
        reply_u64(c, pubsub_n_counted(c, kind));
    }
}

static void pubsub_subscribe_command(struct engine *e, struct client *c, const struct slice *argv,
                                     size_t argc)
{
    pubsub_join(e, c, PUBSUB_CHANNEL, argv, argc);
}

static void pubsub_psubscribe(struct engine *e, struct client *c, const struct slice *argv,
                              size_t argc)
{
    pubsub_join(e, c, PUBSUB_PATTERN, argv, argc);
}

/* The others are allowed in a transaction only because they always were. */
static void pubsub_ssubscribe(struct engine *e, struct client *c, const struct slice *argv,
                              size_t argc)
{
    if (c->in_exec)
        reply_error(c, "ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client");
    else
        pubsub_join(e, c, PUBSUB_SHARD, argv, argc);
}

static void pubsub_unsubscribe_command(struct engine *e, struct client *c, const struct slice *argv,
                                       size_t argc)
{
    pubsub_leave(e, c, PUBSUB_CHANNEL, argv, argc);
}

static void pubsub_punsubscribe(struct engine *e, struct client *c, const struct slice *argv,
                                size_t argc)
{
    pubsub_leave(e, c, PUBSUB_PATTERN, argv, argc);
}

static void pubsub_sunsubscribe(struct engine *e, struct client *c, const struct slice *argv,
                                size_t argc)
{
    pubsub_leave(e, c, PUBSUB_SHARD, argv, argc);
}

/* ---- publishing ---- */

static void pubsub_send_to(struct engine *e, struct client *c, enum pubsub_kind kind,
                           const struct slice *argv)
{
    if (argv[1].n > PUBSUB_NAME_MAX)
        reply_error(c, "ERR a channel's name is longer than %d bytes", PUBSUB_NAME_MAX);
    else
        reply_u64(c, pubsub_publish(e, kind, argv[1], argv[2]));
}

static void pubsub_publish_command(struct engine *e, struct client *c, const struct slice *argv,
                                   size_t argc)
{
    (void)argc;
    pubsub_send_to(e, c, PUBSUB_CHANNEL, argv);
}

static void pubsub_spublish(struct engine *e, struct client *c, const struct slice *argv,
                            size_t argc)
{
    (void)argc;
    pubsub_send_to(e, c, PUBSUB_SHARD, argv);
}

/* ---- PUBSUB ---- */

static void pubsub_count_name(void *ctx, struct slice name)
{
    size_t *n = ctx;

    (void)name;
    ++*n;
}

static void pubsub_reply_name(void *ctx, struct slice name)
{
    reply_bulk(ctx, name.p, name.n);
}

static void pubsub_list(struct engine *e, struct client *c, enum pubsub_kind kind,
                        const struct slice *argv, size_t argc)
{
    struct slice glob = argc == 3 ? argv[2] : slice_of(NULL, 0);
    size_t n = 0;

    if (argc > 3) {
        reply_subcommand_syntax(c, command_find(argv[0]), argv[1]);
        return;
    }
    pubsub_each(e, kind, glob, pubsub_count_name, &n);
    reply_array(c, n);
    pubsub_each(e, kind, glob, pubsub_reply_name, c);
}

static void pubsub_channels(struct engine *e, struct client *c, const struct slice *argv,
                            size_t argc)
{
    pubsub_list(e, c, PUBSUB_CHANNEL, argv, argc);
}

static void pubsub_shardchannels(struct engine *e, struct client *c, const struct slice *argv,
                                 size_t argc)
{
    pubsub_list(e, c, PUBSUB_SHARD, argv, argc);
}

static void pubsub_count(struct engine *e, struct client *c, enum pubsub_kind kind,
                         const struct slice *argv, size_t argc)
{
    reply_array(c, 2 * (argc - 2));
    for (size_t i = 2; i < argc; i++) {
        reply_bulk(c, argv[i].p, argv[i].n);
        reply_u64(c, pubsub_n_subscribers(e, kind, argv[i]));
    }
}

static void pubsub_numsub(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    pubsub_count(e, c, PUBSUB_CHANNEL, argv, argc);
}

static void pubsub_shardnumsub(struct engine *e, struct client *c, const struct slice *argv,
                               size_t argc)
{
    pubsub_count(e, c, PUBSUB_SHARD, argv, argc);
}

static void pubsub_numpat(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    (void)argv;
    (void)argc;
    reply_u64(c, pubsub_n_names(e, PUBSUB_PATTERN));
}

/* ---- the table ---- */

enum {
    FLAGS_OWN = CMD_PUBSUB | CMD_LOADING | CMD_STALE | CMD_NO_TOUCH_KEYS,
    FLAGS_JOIN = FLAGS_OWN | CMD_NOSCRIPT | CMD_SUBSCRIBED,
    FLAGS_SEND = FLAGS_OWN | CMD_FAST,
    FLAGS_HELP = CMD_LOADING | CMD_STALE | CMD_NO_TOUCH_KEYS,
};

#define PUBSUB(verb, function, args, flag_bits, version, cost, text, form)                       \
    {                                                                                            \
        .name = verb, .handler = function, .arity = args, .flags = flag_bits, .group = "pubsub", \
        .since = version, .complexity = cost, .summary = text, .syntax = form                    \
    }

/* A shard channel stands where a key would, so that clients of a cluster find its server. */
#define PUBSUB_SHARDED(verb, function, args, last, flag_bits, cost, text, form)               \
    {                                                                                         \
        .name = verb, .handler = function, .arity = args, .flags = flag_bits, .first_key = 1, \
        .last_key = last, .key_step = 1, .key_flags = "not_key", .group = "pubsub",           \
        .since = "7.0.0", .complexity = cost, .summary = text, .syntax = form                 \
    }

static const struct command pubsub_subcommands[] = {
    PUBSUB("pubsub|channels", pubsub_channels, -2, FLAGS_OWN, "2.8.0", "O(N) in channels",
           "The channels that somebody subscribes to", "[pattern]"),
    PUBSUB("pubsub|help", command_help, 2, FLAGS_HELP, "6.2.0", "O(1)", "This text", ""),
    PUBSUB("pubsub|numpat", pubsub_numpat, 2, FLAGS_OWN, "2.8.0", "O(1)",
           "How many different patterns there are", ""),
    PUBSUB("pubsub|numsub", pubsub_numsub, -2, FLAGS_OWN, "2.8.0", "O(N) in channels given",
           "How many subscribe to each channel, patterns not counted", "[channel [channel ...]]"),
    PUBSUB("pubsub|shardchannels", pubsub_shardchannels, -2, FLAGS_OWN, "7.0.0",
           "O(N) in shard channels", "The shard channels that somebody subscribes to", "[pattern]"),
    PUBSUB("pubsub|shardnumsub", pubsub_shardnumsub, -2, FLAGS_OWN, "7.0.0",
           "O(N) in channels given", "How many subscribe to each shard channel",
           "[shardchannel [shardchannel ...]]"),
    { .name = NULL },
};

const struct command pubsub_commands[] = {
    PUBSUB("psubscribe", pubsub_psubscribe, -2, FLAGS_JOIN, "2.0.0", "O(N) in patterns given",
           "Subscribes to the channels whose names match", "pattern [pattern ...]"),
    PUBSUB("publish", pubsub_publish_command, 3, FLAGS_SEND, "2.0.0",
           "O(N+M) in subscribers of the channel and patterns of all clients",
           "Sends a message to who subscribes to the channel; replies how many do",
           "channel message"),
    { .name = "pubsub",
      .arity = -2,
      .group = "pubsub",
      .since = "2.8.0",
      .complexity = "Depends on subcommand.",
      .summary = "Tells of channels and subscriptions",
      .syntax = "",
      .subcommands = pubsub_subcommands },
    PUBSUB("punsubscribe", pubsub_punsubscribe, -1, FLAGS_JOIN, "2.0.0", "O(N) in patterns given",
           "Ends subscriptions to patterns, or to all of them", "[pattern [pattern ...]]"),
    PUBSUB_SHARDED("spublish", pubsub_spublish, 3, 1, FLAGS_SEND, "O(N) in subscribers",
                   "Sends a message to who subscribes to the shard channel",
                   "shardchannel message"),
    PUBSUB_SHARDED("ssubscribe", pubsub_ssubscribe, -2, -1, FLAGS_JOIN, "O(N) in channels given",
                   "Subscribes to shard channels", "shardchannel [shardchannel ...]"),
    PUBSUB("subscribe", pubsub_subscribe_command, -2, FLAGS_JOIN, "2.0.0", "O(N) in channels given",
           "Subscribes to channels", "channel [channel ...]"),
    PUBSUB_SHARDED("sunsubscribe", pubsub_sunsubscribe, -1, -1, FLAGS_JOIN,
                   "O(N) in channels given", "Ends subscriptions to shard channels, or to all",
                   "[shardchannel [shardchannel ...]]"),
    PUBSUB("unsubscribe", pubsub_unsubscribe_command, -1, FLAGS_JOIN, "2.0.0",
           "O(N) in channels given", "Ends subscriptions to channels, or to all of them",
           "[channel [channel ...]]"),
    { .name = NULL },
};
