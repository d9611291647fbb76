/*
 * xgroup.c - XGROUP, what all commands of groups share, and the table of what groups are made and looked at by.
 *
 * Order of checks, errors and replies are Redis's; what is ours comes behind: options as words of CREATE and CFGSET
 * (xgroup_options.c), and the last word of DELCONSUMER. XPENDING is in xpending.c, XINFO's part in xgroup_info.c.
 *
 * A group knows how many live entries of the stream lie at or below its position. Where the position is set to an ID in the
 * middle, they are counted here: in memory, or by the index of the segments, for which the prefault asks. 0 and $ need no
 * reading.
 *
 * DELCONSUMER in a group with options hands back what the consumer holds, for whoever comes next; in a plain one it is lost
 * to the group, as in Redis.
 */
#include "broker/commands/xgroup.h"
#include "broker/commands/xgroup_options.h"
#include "broker/engine/args.h"
#include "broker/engine/cursor.h"
#include "broker/engine/redelivery.h"
#include "broker/engine/reply.h"
#include "broker/pubsub/notify.h"

/* ---- shared ---- */

static void xgroup_of(struct client *c, const struct stream *st, struct slice name,
                      struct group **g)
{
    *g = st == NULL ? NULL : groups_find(stream_groups(st), name);
    if (*g != NULL)
        grouplog_need(c, *g);
}

bool xgroup_find(struct engine *e, struct client *c, struct slice key, struct slice name,
                 struct stream **st, struct group **g)
{
    if (!streams_find(e, c, key, st))
        return false;
    xgroup_of(c, *st, name, g);
    return true;
}

bool xgroup_find_write(struct engine *e, struct client *c, struct slice key, struct slice name,
                       struct stream **st, struct group **g)
{
    if (!streams_find_write(e, c, key, st))
        return false;
    xgroup_of(c, *st, name, g);
    return true;
}

const struct group *xgroup_peek(const struct engine *e, const struct client *c, struct slice key,
                                struct slice name, const struct stream **st)
{
    *st = streams_peek(e, c, key);
    return *st == NULL ? NULL : groups_find(stream_groups(*st), name);
}

void xgroup_no_key_or_group(struct client *c, struct slice key, struct slice name,
                            const char *suffix)
{
    reply_error(c, "NOGROUP No such key '%.*s' or consumer group '%.*s'%s", reply_echo_n(key),
                (const char *)key.p, reply_echo_n(name), (const char *)name.p, suffix);
}

void xgroup_no_group(struct client *c, struct slice key, struct slice name)
{
    reply_error(c, "NOGROUP No such consumer group '%.*s' for key name '%.*s'", reply_echo_n(name),
                (const char *)name.p, reply_echo_n(key), (const char *)key.p);
}

/* What a command failed for: -OOM, -IOERR, or the limit that it ran into. */
static void xgroup_reply_failure(struct client *c, int rc, const struct err *err)
{
    if (rc == ERR_FULL)
        reply_error(c, "ERR %s", err->text);
    else
        streams_reply_failure(c, rc, err);
}

void xgroup_saw(struct engine *e, struct stream *st, struct group *g, struct consumer *consumer)
{
    redelivery_seen(e, st, g, consumer);
}

/* XGROUP's word for a key that is not there. False: it has been replied. */
static bool xgroup_has_key(struct client *c, const struct stream *st)
{
    if (st == NULL)
        reply_error(c, "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE "
                       "you may want to use the MKSTREAM option to create an empty stream "
                       "automatically.");
    return st != NULL;
}

/* For the subcommands that change a group which is there. False: an error has been replied. */
static bool xgroup_get(struct engine *e, struct client *c, const struct slice *argv,
                       struct stream **st, struct group **g)
{
    if (!xgroup_find_write(e, c, argv[2], argv[3], st, g) || !xgroup_has_key(c, *st))
        return false;
    if (*g == NULL)
        xgroup_no_group(c, argv[2], argv[3]);
    return *g != NULL;
}

/* ---- positions ---- */

/* An ID, or $; with `ends` also - and +, as SETID takes them. */
static bool xgroup_parse_position(struct client *c, struct slice text, const struct stream *st,
                                  bool ends, struct id *out)
{
    bool ok = true;

    if (text.n == 1 && text.p[0] == '$')
        *out = st == NULL ? ID_MIN : st->last_id;
    else
        ok = ends ? streams_parse_id_or_end(text, 0, out) : streams_parse_id(text, 0, out);
    if (!ok)
        streams_bad_id(c);
    return ok;
}

/* How many live entries a group at `id` has behind it. */
static int xgroup_count_behind(struct engine *e, const struct stream *st, struct id id,
                               enum cursor_mode mode, struct wants *wants, uint64_t *out,
                               struct err *err)
{
    if (st != NULL && id_cmp(id, ID_MIN) > 0)
        return cursor_count(e, st, ID_MIN, id, mode, wants, out, err);
    *out = 0;
    return OK;
}

static void xgroup_position_prefault(struct engine *e, struct client *c, const struct slice *argv,
                                     size_t argc, struct wants *wants)
{
    const struct stream *st = streams_peek(e, c, argv[2]);
    uint64_t n;
    struct id id;

    (void)argc;
    if (st != NULL && xgroup_parse_position(c, argv[4], st, true, &id))
        err_ignore(
            xgroup_count_behind(e, st, id, CURSOR_RESIDENT, wants, &n, NULL)); /* the wants tell */
}

/* ---- CREATE and SETID ---- */

struct xgroup_words { /* what follows the position */
    bool mkstream;
    int64_t entries_read;
    struct xgroup_options options;
};

/* 0: the word at argv[*i] makes no sense there; -1: an error has been replied. */
static int xgroup_entries_read(struct client *c, struct slice value, size_t *i,
                               struct xgroup_words *x)
{
    if (!args_i64(value, &x->entries_read)) {
        reply_not_integer(c);
        return -1;
    }
    if (x->entries_read < -1) {
        reply_error(c, "ERR value for ENTRIESREAD must be positive or -1");
        return -1;
    }
    *i += 2;
    return 1;
}

static int xgroup_word(struct client *c, const struct slice *argv, size_t argc, bool create,
                       size_t *i, struct xgroup_words *x)
{
    if (args_word(argv[*i], "entriesread") && *i + 1 < argc)
        return xgroup_entries_read(c, argv[*i + 1], i, x);
    if (!create)
        return 0;
    if (!args_word(argv[*i], "mkstream"))
        return xgroup_options_read(c, argv, argc, i, &x->options);
    x->mkstream = true;
    *i += 1;
    return 1;
}

static bool xgroup_parse_words(struct client *c, const struct slice *argv, size_t argc, bool create,
                               struct xgroup_words *x)
{
    *x = (struct xgroup_words){ .entries_read = -1 };
    for (size_t i = 5; i < argc;) {
        int rc = xgroup_word(c, argv, argc, create, &i, x);

        if (rc == 0)
            reply_subcommand_syntax(c, command_find(argv[0]), argv[1]);
        if (rc <= 0)
            return false;
    }
    return true;
}

/* Nobody has read more than there ever was. */
static int64_t xgroup_clamp_read(const struct stream *st, int64_t entries_read)
{
    bool fits = entries_read < 0 || (uint64_t)entries_read <= st->entries_added;

    return fits ? entries_read : (int64_t)st->entries_added;
}

/* `st` NULL: the stream is made too. */
static int xgroup_make(struct engine *e, struct client *c, const struct slice *argv,
                       struct stream *st, const struct xgroup_words *x, struct id id,
                       struct err *err)
{
    const struct xgroup_options *options = &x->options;
    struct group *g;
    uint64_t n_behind;
    int rc = xgroup_count_behind(e, st, id, CURSOR_ON_THE_SPOT, NULL, &n_behind, err);

    if (rc == OK && st == NULL) {
        rc = state_reserve_stream(&e->state, argv[2], &st, err);
        if (rc == OK) {
            engine_add_stream(e, c, st, c->db, argv[2]);
            engine_key_changed(e, c->db, argv[2]);
        }
    }
    if (rc != OK)
        return rc;
    return grouplog_create(e, c, st, argv[3], id, xgroup_clamp_read(st, x->entries_read), n_behind,
                           options->which, options->which != 0 ? &options->x : NULL, &g, err);
}

static void xgroup_create(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct xgroup_words x;
    struct stream *st;
    struct group *g;
    struct err err;
    struct id id;
    int rc;

    if (!xgroup_parse_words(c, argv, argc, true, &x) ||
        !xgroup_find_write(e, c, argv[2], argv[3], &st, &g) ||
        (!x.mkstream && !xgroup_has_key(c, st)) ||
        !xgroup_parse_position(c, argv[4], st, false, &id))
        return;
    if (g != NULL) {
        reply_error(c, "BUSYGROUP Consumer Group name already exists");
        return;
    }
    if (!xgroup_options_check(e, c, argv[2], NULL, &x.options))
        return;
    rc = xgroup_make(e, c, argv, st, &x, id, &err);
    if (rc == OK)
        reply_ok(c);
    else
        xgroup_reply_failure(c, rc, &err);
}

static void xgroup_setid(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct xgroup_words x;
    struct stream *st;
    struct group *g;
    uint64_t n_behind;
    struct err err;
    struct id id;
    int rc;

    if (!xgroup_parse_words(c, argv, argc, false, &x) || !xgroup_get(e, c, argv, &st, &g) ||
        !xgroup_parse_position(c, argv[4], st, true, &id))
        return;
    rc = xgroup_count_behind(e, st, id, CURSOR_ON_THE_SPOT, NULL, &n_behind, &err);
    if (rc != OK) {
        xgroup_reply_failure(c, rc, &err);
        return;
    }
    grouplog_set_position(e, c, st, g, id, xgroup_clamp_read(st, x.entries_read), n_behind);
    notify(e, NOTIFY_STREAM, "xgroup-setid", c->db, argv[2]);
    reply_ok(c);
}

/* ---- DESTROY, CFGSET ---- */

static void xgroup_destroy(struct engine *e, struct client *c, const struct slice *argv,
                           size_t argc)
{
    struct stream *st;
    struct group *g;

    (void)argc;
    if (!xgroup_find_write(e, c, argv[2], argv[3], &st, &g) || !xgroup_has_key(c, st))
        return;
    if (g != NULL)
        grouplog_drop(e, c, st, g);
    reply_int(c, g != NULL);
}

static bool xgroup_parse_options(struct client *c, const struct slice *argv, size_t argc,
                                 struct xgroup_options *o)
{
    *o = (struct xgroup_options){ 0 };
    if (argc == 4) {
        reply_error(c, "ERR At least one option must be specified");
        return false;
    }
    for (size_t i = 4; i < argc;) {
        int rc = xgroup_options_read(c, argv, argc, &i, o);

        if (rc == 0)
            reply_error(c,
                        "ERR Unrecognized XGROUP CFGSET option '%.*s', must be ACKWAIT, "
                        "MAXDELIVER, DLQ, BACKOFF, MAXPENDING, CONSUMERTTL or ORDERBY",
                        reply_echo_n(argv[i]), (const char *)argv[i].p);
        if (rc <= 0)
            return false;
    }
    return true;
}

static void xgroup_cfgset(struct engine *e, struct client *c, const struct slice *argv, size_t argc)
{
    struct xgroup_options o;
    struct stream *st;
    struct group *g;
    struct err err;
    int rc = OK;

    if (!xgroup_parse_options(c, argv, argc, &o) || !xgroup_get(e, c, argv, &st, &g) ||
        !xgroup_options_check(e, c, argv[2], g, &o))
        return;
    if (o.which != 0)
        rc = grouplog_set_options(e, c, st, g, o.which, &o.x, &err);
    if (rc == OK)
        reply_ok(c);
    else
        xgroup_reply_failure(c, rc, &err);
}

/* ---- consumers ---- */

static void xgroup_createconsumer(struct engine *e, struct client *c, const struct slice *argv,
                                  size_t argc)
{
    struct consumer *consumer;
    struct stream *st;
    struct group *g;
    struct err err;
    int rc;

    (void)argc;
    if (!xgroup_get(e, c, argv, &st, &g))
        return;
    consumer = group_find_consumer(g, argv[4]);
    if (consumer != NULL) {
        if (!group_is_plain(g)) /* in Redis its idle time goes on */
            xgroup_saw(e, st, g, consumer);
        reply_int(c, 0);
        return;
    }
    rc = grouplog_add_consumer(e, c, st, g, argv[4], false, &consumer, &err);
    if (rc != OK) {
        xgroup_reply_failure(c, rc, &err);
        return;
    }
    xgroup_saw(e, st, g, consumer);
    reply_int(c, 1);
}

static void xgroup_delconsumer(struct engine *e, struct client *c, const struct slice *argv,
                               size_t argc)
{
    bool hand_back = argc == 6 && args_word(argv[5], "handback");
    bool discard = argc == 6 && args_word(argv[5], "discard");
    struct consumer *consumer;
    struct stream *st;
    struct group *g;

    if (argc > 5 && !hand_back && !discard) {
        reply_error(c, "ERR the last word of XGROUP DELCONSUMER must be HANDBACK or DISCARD");
        return;
    }
    if (!xgroup_get(e, c, argv, &st, &g))
        return;
    consumer = group_find_consumer(g, argv[4]);
    hand_back = hand_back || (!discard && !group_is_plain(g));
    reply_u64(c, consumer == NULL ? 0 : grouplog_drop_consumer(e, c, st, g, consumer, hand_back));
}

/* ---- the table ---- */

static size_t xgroup_bound(const struct slice *argv, size_t argc)
{
    (void)argv;
    (void)argc;
    return grouplog_bound(2, 0); /* names and options are in the arguments */
}

#define XGROUP_SUBCOMMAND \
    .categories = CAT_STREAM, .first_key = 2, .last_key = 2, .key_step = 1, .group = "stream"

static const struct command xgroup_subcommands[] = {
    { .name = "xgroup|cfgset",
      .handler = xgroup_cfgset,
      .bound = xgroup_bound,
      .arity = -4,
      .flags = CMD_WRITE | CMD_OF_GROUPS,
      XGROUP_SUBCOMMAND,
      .since = "beck 0.3",
      .complexity = "O(1)",
      .summary =
          "Sets options of a group; those not named stay as they are, 0 or an empty name removes "
          "one. ACKWAIT: what is not acknowledged in time is delivered again; after BACKOFF's "
          "delays; MAXDELIVER times, then it moves to the stream DLQ. MAXPENDING: bounds what is "
          "in "
          "flight. CONSUMERTTL: consumers without pending entries vanish. ORDERBY: one entry in "
          "flight for each value of the field",
      .syntax =
          "key group [ACKWAIT milliseconds] [MAXDELIVER count] [DLQ stream] [BACKOFF numdelays "
          "milliseconds [milliseconds ...]] [MAXPENDING count] [CONSUMERTTL milliseconds] "
          "[ORDERBY field]",
      .key_flags = "RW UPDATE" },
    { .name = "xgroup|create",
      .handler = xgroup_create,
      .prefault = xgroup_position_prefault,
      .bound = xgroup_bound,
      .arity = -5,
      .flags = CMD_WRITE | CMD_OF_GROUPS | CMD_DENYOOM | CMD_RESERVE,
      XGROUP_SUBCOMMAND,
      .since = "5.0.0",
      .complexity = "O(1) at 0 and $; else O(N) in the blocks of entries before the ID",
      .summary = "Makes a consumer group that begins behind an ID; options as of XGROUP CFGSET",
      .syntax =
          "key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read] [ACKWAIT milliseconds] "
          "[MAXDELIVER count] [DLQ stream] [BACKOFF numdelays milliseconds [milliseconds ...]] "
          "[MAXPENDING count] [CONSUMERTTL milliseconds] [ORDERBY field]",
      .key_flags = "RW INSERT" },
    { .name = "xgroup|createconsumer",
      .handler = xgroup_createconsumer,
      .bound = xgroup_bound,
      .arity = 5,
      .flags = CMD_WRITE | CMD_OF_GROUPS | CMD_DENYOOM | CMD_RESERVE,
      XGROUP_SUBCOMMAND,
      .since = "6.2.0",
      .complexity = "O(1)",
      .summary = "Makes a consumer of a group; 0 if it was there",
      .syntax = "key group consumer",
      .key_flags = "RW INSERT" },
    { .name = "xgroup|delconsumer",
      .handler = xgroup_delconsumer,
      .bound = xgroup_bound,
      .arity = -5,
      .flags = CMD_WRITE | CMD_OF_GROUPS,
      XGROUP_SUBCOMMAND,
      .since = "5.0.0",
      .complexity = "O(N) in the pending entries of the consumer",
      .summary =
          "Removes a consumer; tells how many entries it held. They are handed back to the group "
          "if that has options, else discarded; a last word says which",
      .syntax = "key group consumer [HANDBACK | DISCARD]",
      .key_flags = "RW DELETE" },
    { .name = "xgroup|destroy",
      .handler = xgroup_destroy,
      .bound = xgroup_bound,
      .arity = 4,
      .flags = CMD_WRITE | CMD_OF_GROUPS,
      XGROUP_SUBCOMMAND,
      .since = "5.0.0",
      .complexity = "O(1); its pending entries are freed afterwards",
      .summary = "Removes a consumer group, and releases who waits in it with an error",
      .syntax = "key group",
      .key_flags = "RW DELETE" },
    { .name = "xgroup|help",
      .handler = command_help,
      .arity = 2,
      .flags = CMD_LOADING | CMD_STALE | CMD_NO_TOUCH_KEYS,
      .categories = CAT_STREAM,
      .group = "stream",
      .since = "5.0.0",
      .complexity = "O(1)",
      .summary = "This text",
      .syntax = "" },
    { .name = "xgroup|setid",
      .handler = xgroup_setid,
      .prefault = xgroup_position_prefault,
      .bound = xgroup_bound,
      .arity = -5,
      .flags = CMD_WRITE | CMD_OF_GROUPS,
      XGROUP_SUBCOMMAND,
      .since = "5.0.0",
      .complexity = "O(1) at 0 and $; else O(N) in the blocks of entries before the ID",
      .summary = "Has a group go on behind another ID",
      .syntax = "key group <id | $> [ENTRIESREAD entries-read]",
      .key_flags = "RW UPDATE" },
    { .name = NULL },
};

const struct command xgroup_commands[] = {
    { .name = "xgroup",
      .arity = -2,
      .group = "stream",
      .since = "5.0.0",
      .complexity = "Depends on subcommand.",
      .summary = "Commands that make, change and remove consumer groups",
      .syntax = "",
      .subcommands = xgroup_subcommands },
    { .name = "xpending",
      .handler = xpending_pending,
      .arity = -3,
      .flags = CMD_READONLY,
      .categories = CAT_STREAM,
      .first_key = 1,
      .last_key = 1,
      .key_step = 1,
      .group = "stream",
      .since = "5.0.0",
      .complexity = "O(C) with C consumers; with a range O(log N + M) with M the number of entries "
                    "replied",
      .summary = "Tells what of a group is delivered and not acknowledged: numbers, or the entries",
      .syntax = "key group [[IDLE min-idle-time] start end count [consumer]]",
      .key_flags = "RO ACCESS",
      .tips = "nondeterministic_output" },
    { .name = NULL },
};
