/*
 * group_change.c - `beck group create|set|rm|reset`.
 *
 * reset gives XGROUP SETID what Redis's lag needs (ENTRIESREAD) where it is known exactly: at the
 * stream's end, and at its start unless entries were deleted in between. How many entries lie
 * between two places the lag tells for those two; else they are read and counted, in a dry run
 * only.
 */
#include <inttypes.h>
#include <stdio.h>

#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/groups.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/print.h"

enum { COUNT_PAGE = 1000 };

/* ---- Settings ---- */

struct group_settings {
    const char *from, *dlq, *backoff, *order_by;                     /* NULL: not given */
    uint64_t ack_wait_ms, max_deliver, max_pending, consumer_ttl_ms; /* or OPTION_NOT_GIVEN */
    bool mkstream;
};

#define OPTION(name, value, kind, field, help)                             \
    {                                                                      \
        0, name, value, kind, offsetof(struct group_settings, field), help \
    }
#define SETTINGS                                                                            \
    OPTION("ackwait", "DURATION", OPTION_DURATION, ack_wait_ms,                             \
           "Hand out again what is not acknowledged for so long."),                         \
        OPTION("maxdeliver", "N", OPTION_NUMBER, max_deliver,                               \
               "Hand out an entry at most N times."),                                       \
        OPTION("dlq", "STREAM", OPTION_TEXT, dlq,                                           \
               "Where an entry goes whose last delivery has failed."),                      \
        OPTION("backoff", "DURATIONS", OPTION_TEXT, backoff,                                \
               "How long the first, second, ... redelivery waits: 1s,5s,30s."),             \
        OPTION("max-pending", "N", OPTION_NUMBER, max_pending,                              \
               "Hand out nothing new while N entries are pending."),                        \
        OPTION("consumer-ttl", "DURATION", OPTION_DURATION, consumer_ttl_ms,                \
               "Remove consumers without pending entries that were not seen for so long."), \
        OPTION("order-by", "FIELD", OPTION_TEXT, order_by,                                  \
               "Hand out one entry at a time for each value of this field, in their order.")

static const struct option_spec create_specs[] = {
    OPTION("from", "WHERE", OPTION_TEXT, from,
           "Begin at: start, end, an ID, (ID for behind it, or a time (start)."),
    OPTION("mkstream", NULL, OPTION_FLAG, mkstream, "Make the stream if it does not exist."),
    SETTINGS,
};

static const struct option_spec set_specs[] = { SETTINGS };

#define NOT_GIVEN                                                     \
    .ack_wait_ms = OPTION_NOT_GIVEN, .max_deliver = OPTION_NOT_GIVEN, \
    .max_pending = OPTION_NOT_GIVEN, .consumer_ttl_ms = OPTION_NOT_GIVEN

static const struct group_settings create_defaults = { .from = "start", NOT_GIVEN };
static const struct group_settings set_defaults = { NOT_GIVEN };

static void group_add_number(struct list *words, const char *name, uint64_t value)
{
    char text[24];

    if (value == OPTION_NOT_GIVEN)
        return;
    snprintf(text, sizeof text, "%" PRIu64, value);
    list_add(words, beck_str(name));
    list_add(words, beck_str(text));
}

static void group_add_text(struct list *words, const char *name, const char *value)
{
    if (value == NULL)
        return;
    list_add(words, beck_str(name));
    list_add(words, beck_str(value));
}

/* Reads "1s,5s,30s" into `delays`, as numbers of milliseconds. False if a part is no duration. */
static bool group_parse_backoff(const char *text, struct list *delays)
{
    char part[WHEN_DURATION_MAX], number[24];
    uint64_t ms;

    while (*text != '\0') {
        size_t n = strcspn(text, ",");
        if (n >= sizeof part)
            return false;
        snprintf(part, sizeof part, "%.*s", (int)n, text);
        if (!when_parse_duration(part, &ms) || (text[n] == ',' && text[n + 1] == '\0'))
            return false;
        snprintf(number, sizeof number, "%" PRIu64, ms);
        list_add(delays, beck_str(number));
        text += n + (text[n] == ',');
    }
    return true;
}

/* BACKOFF n ms ...; 0 alone removes. EXIT_OK, or EXIT_USAGE after a message. */
static int group_add_backoff(const struct cli *cli, struct list *words, const char *text)
{
    struct list delays = { 0 };
    bool ok = text == NULL || group_parse_backoff(text, &delays);

    if (text != NULL && strcmp(text, "0") == 0)
        list_clear(&delays);
    if (ok && text != NULL)
        group_add_number(words, "BACKOFF", delays.n);
    for (size_t i = 0; ok && i < delays.n; i++)
        list_add(words, list_at(&delays, i));
    list_fini(&delays);
    return ok ? EXIT_OK
              : cli_usage(cli, "--backoff: \"%s\" is no list of durations such as 1s,5s,30s", text);
}

/* The words of XGROUP CFGSET. EXIT_OK, or EXIT_USAGE after a message. */
static int group_add_settings(const struct cli *cli, struct list *words,
                              const struct group_settings *s)
{
    group_add_number(words, "ACKWAIT", s->ack_wait_ms);
    group_add_number(words, "MAXDELIVER", s->max_deliver);
    group_add_text(words, "DLQ", s->dlq);
    group_add_number(words, "MAXPENDING", s->max_pending);
    group_add_number(words, "CONSUMERTTL", s->consumer_ttl_ms);
    group_add_text(words, "ORDERBY", s->order_by);
    return group_add_backoff(cli, words, s->backoff);
}

static void group_begin(struct list *words, const char *verb, char **argv)
{
    list_add(words, beck_str("XGROUP"));
    list_add(words, beck_str(verb));
    list_add(words, beck_str(argv[0]));
    list_add(words, beck_str(argv[1]));
}

/* With --json: {"created":"GROUP","stream":"STREAM"}. */
static int group_tell(struct cli *cli, const char *what, char **argv)
{
    struct output out;
    int status;

    if (!cli->globals.json)
        return EXIT_OK;
    output_init(&out, cli);
    text_printf(&out.text, "{\"%s\":", what);
    json_put_bytes(&out.text, beck_str(argv[1]));
    text_put_str(&out.text, ",\"stream\":");
    json_put_bytes(&out.text, beck_str(argv[0]));
    text_put_str(&out.text, "}\n");
    status = output_flush(&out);
    output_fini(&out);
    return status;
}

static int group_refused(struct cli *cli, int rc, char **argv)
{
    const char *text = beck_last_error(cli->client);

    if (rc != BECK_ERR_SERVER || !groups_is_none(cli))
        return cli_fail(cli, rc, NULL);
    if (strncmp(text, "NOGROUP", 7) == 0)
        return groups_none(cli, beck_str(argv[0]), beck_str(argv[1]));
    cli_message(cli, "there is no stream \"%s\" at %s", argv[0], beck_client_address(cli->client));
    fputs("See what there is with: beck stream ls\nMake it along with the group: beck group create "
          "--mkstream STREAM GROUP\n",
          stderr);
    return EXIT_RUNTIME;
}

/* ---- create ---- */

static int group_create(struct cli *cli, const struct group_settings *s, struct list *words,
                        char **argv)
{
    const struct beck_reply *reply;
    struct groups_place place;
    int status = groups_parse_place(cli, "--from", s->from, &place);
    int rc;

    if (status == EXIT_OK)
        status = group_add_settings(cli, words, s); /* wrong ones are told before connecting */
    list_clear(words);
    if (status == EXIT_OK)
        status = cli_connect(cli);
    if (status == EXIT_OK)
        status = groups_find_place(cli, &place);
    if (status != EXIT_OK)
        return status;
    group_begin(words, "CREATE", argv);
    list_add(words, beck_str(place.id));
    if (s->mkstream)
        list_add(words, beck_str("MKSTREAM"));
    status = group_add_settings(cli, words, s);
    if (status != EXIT_OK)
        return status;
    rc = groups_call(cli, words, &reply);
    if (rc == BECK_OK)
        return group_tell(cli, "created", argv);
    status = group_refused(cli, rc, argv);
    if (strncmp(beck_last_error(cli->client), "BUSYGROUP", 9) == 0)
        fputs("Change its settings with: beck group set\nHave it read from somewhere else with: "
              "beck group reset\n",
              stderr);
    return status;
}

static int group_create_run(struct cli *cli, const void *options, int argc, char **argv)
{
    struct list words = { 0 };
    int status = group_create(cli, options, &words, argv);

    (void)argc;
    list_fini(&words);
    return status;
}

const struct command command_group_create = {
    .name = "group create",
    .arguments = "STREAM GROUP",
    .summary = "make a consumer group",
    .text = "Makes a group that begins to read where --from says. Without any of the settings it "
            "behaves as in Redis. With --ackwait or --backoff an entry whose delivery has failed "
            "(was not acknowledged in time, or was given back by XNACK) is handed out again by "
            "itself, to whoever reads next. With --maxdeliver and --dlq it moves to the "
            "dead-letter stream when its last delivery has failed. Durations are 500ms, 30s, 5m, "
            "2h, 1d. Settings can be changed later: `beck group set`.\n"
            "\n"
            "    beck group create orders mail --ackwait 30s --maxdeliver 5 \\\n"
            "        --backoff 1s,10s,1m --dlq orders-dead",
    .options = create_specs,
    .n_options = sizeof create_specs / sizeof create_specs[0],
    .defaults = &create_defaults,
    .options_bytes = sizeof create_defaults,
    .min_args = 2,
    .max_args = 2,
    .run = group_create_run,
};

/* ---- set ---- */

static int group_set(struct cli *cli, const struct group_settings *s, struct list *words,
                     char **argv)
{
    const struct beck_reply *reply;
    size_t n;
    int status, rc;

    group_begin(words, "CFGSET", argv);
    n = words->n;
    status = group_add_settings(cli, words, s);
    if (status == EXIT_OK && words->n == n)
        status = cli_usage(cli, "which setting?");
    if (status == EXIT_OK)
        status = cli_connect(cli);
    if (status != EXIT_OK)
        return status;
    rc = groups_call(cli, words, &reply);
    return rc == BECK_OK ? group_tell(cli, "changed", argv) : group_refused(cli, rc, argv);
}

static int group_set_run(struct cli *cli, const void *options, int argc, char **argv)
{
    struct list words = { 0 };
    int status = group_set(cli, options, &words, argv);

    (void)argc;
    list_fini(&words);
    return status;
}

const struct command command_group_set = {
    .name = "group set",
    .arguments = "STREAM GROUP",
    .summary = "change the settings of a consumer group",
    .text = "Changes the settings that are named and leaves the others. 0 (for --dlq and "
            "--order-by an empty text) removes one. `beck group info` tells what is set.",
    .options = set_specs,
    .n_options = sizeof set_specs / sizeof set_specs[0],
    .defaults = &set_defaults,
    .options_bytes = sizeof set_defaults,
    .min_args = 2,
    .max_args = 2,
    .run = group_set_run,
};

/* ---- What a group has now, for rm and reset ---- */

struct group_now {
    struct beck_slice group;
    bool found;
    int64_t pending, lag; /* lag -1: not known */
    char last_id[WHEN_ID_MAX];
};

static int group_now_one(void *context, struct beck_slice stream, const struct beck_reply *info)
{
    struct group_now *now = context;
    const struct beck_reply *name = beck_reply_get(info, "name");
    const struct beck_reply *last_id = beck_reply_get(info, "last-delivered-id");

    (void)stream;
    if (name == NULL || last_id == NULL || beck_reply_string(name).n != now->group.n ||
        memcmp(beck_reply_string(name).p, now->group.p, now->group.n) != 0)
        return EXIT_OK;
    now->found = true;
    now->pending = groups_number(info, "pending", 0);
    now->lag = groups_number(info, "lag", -1);
    snprintf(now->last_id, sizeof now->last_id, "%s", beck_reply_string(last_id).p);
    return EXIT_OK;
}

static int group_find(struct cli *cli, char **argv, struct group_now *out)
{
    int status;

    memset(out, 0, sizeof *out);
    out->group = beck_str(argv[1]);
    status = groups_each(cli, argv, 1, group_now_one, out);
    if (status != EXIT_OK || out->found)
        return status;
    return groups_none(cli, beck_str(argv[0]), out->group);
}

/* ---- rm ---- */

struct group_rm_options {
    bool force;
};

static int group_rm_run(struct cli *cli, const void *options, int argc, char **argv)
{
    const struct group_rm_options *o = options;
    struct beck_slice args[] = { beck_str("XGROUP"), beck_str("DESTROY"), beck_str(argv[0]),
                                 beck_str(argv[1]) };
    const struct beck_reply *reply;
    struct group_now now;
    int status = cli_connect(cli);
    int rc;

    (void)argc;
    if (status == EXIT_OK)
        status = group_find(cli, argv, &now);
    if (status != EXIT_OK)
        return status;
    if (now.pending > 0 && !o->force) {
        cli_message(cli, "\"%s\" has %" PRId64 " pending entries", argv[1], now.pending);
        fputs("Remove it all the same with --force.\n", stderr);
        return EXIT_RUNTIME;
    }
    rc = cli_call(cli, args, 4, &reply);
    return rc == BECK_OK ? group_tell(cli, "removed", argv) : group_refused(cli, rc, argv);
}

static const struct option_spec group_rm_specs[] = {
    { 0, "force", NULL, OPTION_FLAG, offsetof(struct group_rm_options, force),
      "Also if entries are pending." },
};

static const struct group_rm_options group_rm_defaults = { false };

const struct command command_group_rm = {
    .name = "group rm",
    .arguments = "STREAM GROUP",
    .summary = "remove a consumer group",
    .text = "Removes the group, its consumers and its place in the stream; the stream keeps its "
            "entries. A group with pending entries is left, unless --force is given.",
    .options = group_rm_specs,
    .n_options = sizeof group_rm_specs / sizeof group_rm_specs[0],
    .defaults = &group_rm_defaults,
    .options_bytes = sizeof group_rm_defaults,
    .min_args = 2,
    .max_args = 2,
    .run = group_rm_run,
};

/* ---- reset ---- */

struct group_reset_options {
    const char *to;
    bool dry_run;
};

struct group_reset {
    struct cli *cli;
    const struct group_reset_options *options;
    char **argv;
    struct groups_place place;
    struct group_now now;
    int64_t length;
    int64_t entries_read; /* -1: not known */
    int64_t moved;        /* entries between the two places; -1: not counted */
};

/* Learns of the stream what the place needs. */
static int group_reset_look(struct group_reset *r)
{
    struct beck_slice args[] = { beck_str("XINFO"), beck_str("STREAM"), beck_str(r->argv[0]) };
    const struct beck_reply *reply, *last, *deleted;
    int rc = cli_call(r->cli, args, 3, &reply);
    int64_t added;

    if (rc != BECK_OK)
        return group_refused(r->cli, rc, r->argv);
    last = beck_reply_get(reply, "last-generated-id");
    deleted = beck_reply_get(reply, "max-deleted-entry-id");
    added = groups_number(reply, "entries-added", -1);
    r->length = groups_number(reply, "length", 0);
    r->entries_read = -1;
    if (r->place.when.kind == WHEN_END && last != NULL) {
        snprintf(r->place.id, sizeof r->place.id, "%s", beck_reply_string(last).p);
        r->entries_read = added;
    } else if (r->place.when.kind == WHEN_START && added >= 0 && deleted != NULL &&
               strcmp(beck_reply_string(deleted).p, "0-0") == 0) {
        r->entries_read = added - r->length;
    }
    return EXIT_OK;
}

/* Counts the entries behind `after`, up to `to`. */
static int group_reset_count(struct group_reset *r, const char *after, const char *to)
{
    char from[WHEN_ID_MAX + 1];
    size_t n;

    snprintf(from, sizeof from, "(%s", after);
    r->moved = 0;
    do {
        struct beck_slice args[] = { beck_str("XRANGE"), beck_str(r->argv[0]), beck_str(from),
                                     beck_str(to),       beck_str("COUNT"),    beck_str("1000") };
        const struct beck_reply *reply, *last;
        int rc = cli_call(r->cli, args, 6, &reply);
        if (rc != BECK_OK)
            return cli_fail(r->cli, rc, NULL);
        n = beck_reply_count(reply);
        last = n > 0 ? beck_reply_first(beck_reply_at(reply, n - 1)) : NULL;
        if (last != NULL)
            snprintf(from, sizeof from, "(%s", beck_reply_string(last).p);
        r->moved += (int64_t)n;
    } while (n == COUNT_PAGE);
    return EXIT_OK;
}

static int group_reset_measure(struct group_reset *r)
{
    int forward = when_compare(r->place.id, r->now.last_id);

    r->moved = -1;
    if (!r->options->dry_run)
        return EXIT_OK;
    if (r->place.when.kind == WHEN_START && r->now.lag >= 0)
        r->moved = r->length - r->now.lag;
    else if (r->place.when.kind == WHEN_END && r->now.lag >= 0)
        r->moved = r->now.lag;
    else if (forward > 0)
        return group_reset_count(r, r->now.last_id, r->place.id);
    else
        return group_reset_count(r, r->place.id, r->now.last_id);
    return EXIT_OK;
}

static int group_reset_set(struct group_reset *r)
{
    struct list words = { 0 };
    const struct beck_reply *reply;
    int rc;

    group_begin(&words, "SETID", r->argv);
    list_add(&words, beck_str(r->place.id));
    if (r->entries_read >= 0)
        group_add_number(&words, "ENTRIESREAD", (uint64_t)r->entries_read);
    rc = groups_call(r->cli, &words, &reply);
    list_fini(&words);
    return rc == BECK_OK ? EXIT_OK : group_refused(r->cli, rc, r->argv);
}

static void group_reset_put_json(const struct group_reset *r, struct text *t)
{
    text_put_str(t, r->options->dry_run ? "{\"would-reset\":" : "{\"reset\":");
    json_put_bytes(t, beck_str(r->argv[1]));
    text_put_str(t, ",\"stream\":");
    json_put_bytes(t, beck_str(r->argv[0]));
    text_printf(t, ",\"from\":\"%s\",\"to\":\"%s\",\"entries\":", r->now.last_id, r->place.id);
    if (r->moved >= 0)
        text_printf(t, "%" PRId64 ",\"pending\":%" PRId64 "}\n", r->moved, r->now.pending);
    else
        text_printf(t, "null,\"pending\":%" PRId64 "}\n", r->now.pending);
}

static void group_reset_put_readable(const struct group_reset *r, struct text *t)
{
    bool forward = when_compare(r->place.id, r->now.last_id) > 0;

    print_word(t, r->now.group);
    text_printf(t, " %s from %s to %s", r->options->dry_run ? "would go" : "goes", r->now.last_id,
                r->place.id);
    if (r->moved >= 0)
        text_printf(t, ": %s %" PRId64 " entries, which %s", forward ? "over" : "back by", r->moved,
                    forward ? "would not be delivered" : "would be delivered again");
    if (r->now.pending > 0)
        text_printf(t, "; %" PRId64 " stay pending", r->now.pending);
    text_put_char(t, '\n');
}

static int group_reset(struct group_reset *r)
{
    struct output out;
    int status = group_find(r->cli, r->argv, &r->now);

    if (status == EXIT_OK)
        status = groups_find_place(r->cli, &r->place);
    if (status == EXIT_OK)
        status = group_reset_look(r);
    if (status == EXIT_OK)
        status = group_reset_measure(r);
    if (status == EXIT_OK && !r->options->dry_run)
        status = group_reset_set(r);
    if (status != EXIT_OK)
        return status;
    output_init(&out, r->cli);
    if (r->cli->globals.json)
        group_reset_put_json(r, &out.text);
    else
        group_reset_put_readable(r, &out.text);
    status = output_flush(&out);
    output_fini(&out);
    return status;
}

static int group_reset_run(struct cli *cli, const void *options, int argc, char **argv)
{
    struct group_reset r = { .cli = cli, .options = options, .argv = argv };
    int status;

    (void)argc;
    if (r.options->to == NULL)
        return cli_usage(cli, "--to is missing: start, end, an ID or a time");
    status = groups_parse_place(cli, "--to", r.options->to, &r.place);
    if (status == EXIT_OK)
        status = cli_connect(cli);
    return status == EXIT_OK ? group_reset(&r) : status;
}

static const struct option_spec group_reset_specs[] = {
    { 0, "to", "WHERE", OPTION_TEXT, offsetof(struct group_reset_options, to),
      "Go to: start, end, an ID, (ID for behind it, or a time." },
    { 0, "dry-run", NULL, OPTION_FLAG, offsetof(struct group_reset_options, dry_run),
      "Only tell from where to where that is, and how many entries." },
};

static const struct group_reset_options group_reset_defaults = { .to = NULL };

const struct command command_group_reset = {
    .name = "group reset",
    .arguments = "STREAM GROUP",
    .summary = "have a consumer group read from another place on",
    .text = "Moves the group: what it delivers next is the entry at --to. What is pending stays "
            "so. Prints where it was and where it is; with --dry-run also how many entries lie "
            "between, which for an ID or a time have to be read. With --json it is an object with "
            "reset (or would-reset), stream, from, to, entries, pending.\n"
            "\n"
            "    beck group reset orders mail --to '2h ago' --dry-run",
    .options = group_reset_specs,
    .n_options = sizeof group_reset_specs / sizeof group_reset_specs[0],
    .defaults = &group_reset_defaults,
    .options_bytes = sizeof group_reset_defaults,
    .min_args = 2,
    .max_args = 2,
    .run = group_reset_run,
};
