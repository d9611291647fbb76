/*
 * group.c - `beck group ls|info`: the consumer groups of streams, and one of them in full.
 *
 * What a server does not tell (Redis has no BECK GROUP) is a hyphen in the table and not there in
 * JSON.
 */
#include <inttypes.h>
#include <stdio.h>

#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/groups.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/print.h"

/* How long ago, in one unit. */
static void group_put_age(char *out, size_t size, int64_t ms)
{
    static const struct {
        int64_t ms;
        const char *name;
    } units[] = { { 86400000, "d" }, { 3600000, "h" }, { 60000, "m" }, { 1000, "s" }, { 1, "ms" } };
    size_t i = 0;

    while (i + 1 < sizeof units / sizeof units[0] && ms < units[i].ms)
        i++;
    snprintf(out, size, "%" PRId64 "%s", ms / units[i].ms, units[i].name);
}

/* ---- ls ---- */

struct group_ls {
    struct output out;
    uint64_t n_rows;
};

/* A field as a column of that width. */
static void group_put_column(struct text *t, const struct beck_reply *info, const char *field,
                             int width)
{
    int64_t value = groups_number(info, field, -1);

    if (value < 0)
        text_printf(t, "%*s  ", width, "-");
    else
        text_printf(t, "%*" PRId64 "  ", width, value);
}

static void group_put_row(struct text *t, struct beck_slice stream, const struct beck_reply *info)
{
    const struct beck_reply *name = beck_reply_get(info, "name");
    int64_t lag_ms = groups_number(info, "lag-ms", -1);
    char age[24] = "-";

    if (lag_ms >= 0)
        group_put_age(age, sizeof age, lag_ms);
    group_put_column(t, info, "consumers", 9);
    group_put_column(t, info, "pending", 10);
    group_put_column(t, info, "lag", 10);
    text_printf(t, "%8s  ", age);
    group_put_column(t, info, "due", 8);
    group_put_column(t, info, "dead", 6);
    print_word(t, stream);
    text_put_char(t, ' ');
    print_word(t, name != NULL ? beck_reply_string(name) : beck_str(""));
    text_put_char(t, '\n');
}

static int group_ls_one(void *context, struct beck_slice stream, const struct beck_reply *info)
{
    struct group_ls *ls = context;

    ls->n_rows++;
    if (ls->out.cli->globals.json) {
        text_put_char(&ls->out.text, '{');
        groups_put_json(&ls->out.text, stream, info);
        text_put_str(&ls->out.text, "}\n");
    } else {
        group_put_row(&ls->out.text, stream, info);
    }
    return output_flush_if_full(&ls->out);
}

static int group_ls_run(struct cli *cli, const void *options, int argc, char **argv)
{
    struct group_ls ls = { 0 };
    int status = cli_connect(cli);

    (void)options;
    if (status != EXIT_OK)
        return status;
    output_init(&ls.out, cli);
    if (!cli->globals.json)
        text_put_str(&ls.out.text, "CONSUMERS     PENDING         LAG  LAG TIME       DUE    DEAD  "
                                   "STREAM GROUP\n");
    status = groups_each(cli, argv, argc, group_ls_one, &ls);
    if (status == EXIT_OK || status == EXIT_PARTIAL) {
        int rc = output_flush(&ls.out);
        status = rc != EXIT_OK ? rc : status;
    }
    if (status == EXIT_OK && ls.n_rows == 0)
        fputs("There are no groups. Make one with: beck group create STREAM GROUP\n", stderr);
    output_fini(&ls.out);
    return status;
}

const struct command command_group_ls = {
    .name = "group ls",
    .arguments = "[STREAM...]",
    .summary = "list consumer groups with what is pending and how far behind they are",
    .text = "Lists the groups of the streams, or of all streams: consumers, entries that are "
            "pending, entries that were not delivered yet (lag) and the age of the oldest of them, "
            "pending ones that are due to be handed out again, and dead ones, which are not handed "
            "out any more and have nowhere to go. With --json a line is an object with all that "
            "BECK GROUP tells.",
    .max_args = -1,
    .run = group_ls_run,
};

/* ---- info ---- */

struct group_info {
    struct output out;
    struct beck_slice group;
    bool found;
};

/* Whether a setting is set: not 0 and not empty. */
static bool group_is_set(const struct beck_reply *value)
{
    return beck_reply_integer(value) != 0 || beck_reply_string(value).n > 0 ||
           beck_reply_count(value) > 0;
}

static void group_put_duration(struct text *t, const struct beck_reply *value)
{
    char duration[WHEN_DURATION_MAX];

    when_put_duration((uint64_t)beck_reply_integer(value), duration);
    text_put_str(t, duration);
}

/* A setting's value, as `group set` takes it. */
static void group_put_setting(struct text *t, const char *field, const struct beck_reply *value)
{
    const struct beck_reply *at = beck_reply_first(value);

    if (strcmp(field, "ackwait") == 0 || strcmp(field, "consumerttl") == 0)
        group_put_duration(t, value);
    else if (beck_reply_type(value) == BECK_REPLY_INTEGER)
        text_printf(t, "%" PRId64, beck_reply_integer(value));
    else if (at == NULL)
        print_word(t, beck_reply_string(value));
    for (size_t n = beck_reply_count(value); n > 0; n--) {
        group_put_duration(t, at);
        if (n > 1) {
            text_put_char(t, ',');
            at = beck_reply_next(at);
        }
    }
}

/* The fields as lines; settings that are not set are left out. */
static void group_put_fields(struct text *t, const struct beck_reply *info)
{
    static const char *const settings[] = { "ackwait",    "maxdeliver",  "dlq",     "backoff",
                                            "maxpending", "consumerttl", "orderby", NULL };
    const struct beck_reply *at = beck_reply_first(info);

    for (size_t n = beck_reply_count(info); n > 1; n -= 2) {
        const struct beck_reply *value = beck_reply_next(at);
        const char *field = beck_reply_string(at).p;
        size_t i = 0;
        while (settings[i] != NULL && strcmp(settings[i], field) != 0)
            i++;
        if (strcmp(field, "name") != 0 && (settings[i] == NULL || group_is_set(value))) {
            text_printf(t, "%s: ", field);
            if (beck_reply_type(value) == BECK_REPLY_NIL)
                text_put_str(t, "unknown");
            else
                group_put_setting(t, field, value);
            text_put_char(t, '\n');
        }
        at = n > 2 ? beck_reply_next(value) : at;
    }
}

static int group_info_one(void *context, struct beck_slice stream, const struct beck_reply *info)
{
    struct group_info *g = context;
    const struct beck_reply *name = beck_reply_get(info, "name");
    struct text *t = &g->out.text;

    if (name == NULL || beck_reply_string(name).n != g->group.n ||
        memcmp(beck_reply_string(name).p, g->group.p, g->group.n) != 0)
        return EXIT_OK;
    g->found = true;
    if (g->out.cli->globals.json) {
        text_put_char(t, '{');
        groups_put_json(t, stream, info);
        return EXIT_OK;
    }
    text_put_str(t, "stream: ");
    print_word(t, stream);
    text_put_str(t, "\ngroup: ");
    print_word(t, g->group);
    text_put_char(t, '\n');
    group_put_fields(t, info);
    return EXIT_OK;
}

static void group_put_consumer(struct text *t, const struct beck_reply *consumer)
{
    const struct beck_reply *name = beck_reply_get(consumer, "name");
    int64_t active_ms = groups_number(consumer, "inactive", -1);
    char seen[24], active[24] = "never";

    group_put_age(seen, sizeof seen, groups_number(consumer, "idle", 0));
    if (active_ms >= 0)
        group_put_age(active, sizeof active, active_ms);
    group_put_column(t, consumer, "pending", 10);
    text_printf(t, "%8s  %8s  ", seen, active);
    print_word(t, name != NULL ? beck_reply_string(name) : beck_str(""));
    text_put_char(t, '\n');
}

static void group_put_consumer_json(struct text *t, const struct beck_reply *consumer)
{
    const struct beck_reply *at = beck_reply_first(consumer);

    text_put_char(t, '{');
    for (size_t n = beck_reply_count(consumer), i = 0; i < n; i++) {
        if (i > 0)
            text_put_char(t, ",:"[i % 2]);
        print_json(t, at);
        at = i + 1 < n ? beck_reply_next(at) : at;
    }
    text_put_char(t, '}');
}

static void group_put_consumers(struct output *out, const struct beck_reply *consumers)
{
    const struct beck_reply *at = beck_reply_first(consumers);
    struct text *t = &out->text;
    bool json = out->cli->globals.json;

    text_put_str(t, json ? ",\"consumer-list\":[" : "\n   PENDING      SEEN    ACTIVE  CONSUMER\n");
    for (size_t n = beck_reply_count(consumers); n > 0; n--) {
        if (json)
            group_put_consumer_json(t, at);
        else
            group_put_consumer(t, at);
        if (n > 1 && json)
            text_put_char(t, ',');
        at = n > 1 ? beck_reply_next(at) : at;
    }
    text_put_str(t, json ? "]}\n" : "");
}

static int group_info_tell(struct group_info *g, char **argv)
{
    struct cli *cli = g->out.cli;
    struct beck_slice args[] = { beck_str("XINFO"), beck_str("CONSUMERS"), beck_str(argv[0]),
                                 g->group };
    const struct beck_reply *reply;
    int status = groups_each(cli, argv, 1, group_info_one, g);
    int rc;

    if (status != EXIT_OK)
        return status;
    if (!g->found)
        return groups_none(cli, beck_str(argv[0]), g->group);
    rc = cli_call(cli, args, 4, &reply);
    if (rc != BECK_OK)
        return cli_fail(cli, rc, NULL);
    group_put_consumers(&g->out, reply);
    return output_flush(&g->out);
}

static int group_info_run(struct cli *cli, const void *options, int argc, char **argv)
{
    struct group_info g = { .group = beck_str(argv[1]) };
    int status = cli_connect(cli);

    (void)options;
    (void)argc;
    if (status != EXIT_OK)
        return status;
    output_init(&g.out, cli);
    status = group_info_tell(&g, argv);
    output_fini(&g.out);
    return status;
}

const struct command command_group_info = {
    .name = "group info",
    .arguments = "STREAM GROUP",
    .summary = "tell about one consumer group and its consumers",
    .text = "Prints where the group has got to, how far behind it is, what is pending, the "
            "settings that it has, and its consumers: entries pending for each, when it was seen "
            "last and when it last got an entry. With --json it is one object with all that BECK "
            "GROUP tells, and the consumers as consumer-list.",
    .min_args = 2,
    .max_args = 2,
    .run = group_info_run,
};
