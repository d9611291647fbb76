/*
 * dlq.c - `beck dlq ls|show|redrive|purge`: dead-letter streams.
 *
 * A dead letter is an entry of an ordinary stream: its own fields, then those that say where it
 * comes from, whose names begin with beck-. What does not have them all is printed as the entry
 * that it is, and keeps `purge` from taking an ordinary stream for one of dead letters.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/event.h"
#include "cli/groups.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/print.h"

enum { DLQ_PAGE = 100, DLQ_ORIGINS = 6 };

/* ---- ls ---- */

/* One group that names a dead-letter stream. */
struct dlq_use {
    size_t i; /* its three strings begin at list_at(strings, i): dlq, stream, group */
    const struct list *strings;
};

struct dlq_ls {
    struct list strings;
    struct output out;
};

static int dlq_ls_one(void *context, struct beck_slice stream, const struct beck_reply *info)
{
    struct dlq_ls *ls = context;
    const struct beck_reply *dlq = beck_reply_get(info, "dlq");
    const struct beck_reply *group = beck_reply_get(info, "name");

    if (dlq == NULL || group == NULL || beck_reply_string(dlq).n == 0)
        return EXIT_OK;
    list_add(&ls->strings, beck_reply_string(dlq));
    list_add(&ls->strings, stream);
    list_add(&ls->strings, beck_reply_string(group));
    return EXIT_OK;
}

static struct beck_slice dlq_use_at(const struct dlq_use *use, size_t i)
{
    return list_at(use->strings, use->i + i);
}

static int dlq_compare_slices(struct beck_slice a, struct beck_slice b)
{
    int order = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);

    return order != 0 ? order : (a.n > b.n) - (a.n < b.n);
}

static int dlq_compare_uses(const void *a, const void *b)
{
    int order = 0;

    for (size_t i = 0; i < 3 && order == 0; i++)
        order = dlq_compare_slices(dlq_use_at(a, i), dlq_use_at(b, i));
    return order;
}

/* A row for one dead-letter stream, which n groups name. */
static int dlq_ls_row(struct dlq_ls *ls, const struct dlq_use *uses, size_t n)
{
    struct beck_slice args[] = { beck_str("XLEN"), dlq_use_at(uses, 0) };
    const struct beck_reply *reply;
    struct text *t = &ls->out.text;
    bool json = ls->out.cli->globals.json;
    int rc = cli_call(ls->out.cli, args, 2, &reply);

    if (rc != BECK_OK)
        return cli_fail(ls->out.cli, rc, NULL);
    if (json) {
        text_put_str(t, "{\"dlq\":");
        json_put_bytes(t, args[1]);
        text_printf(t, ",\"entries\":%" PRId64 ",\"groups\":[", beck_reply_integer(reply));
    } else {
        text_printf(t, "%12" PRId64 "  ", beck_reply_integer(reply));
        print_word(t, args[1]);
    }
    for (size_t i = 0; i < n; i++) {
        text_put_str(t, !json ? (i == 0 ? "  " : ", ") : i == 0 ? "{\"stream\":" : ",{\"stream\":");
        (json ? json_put_bytes : print_word)(t, dlq_use_at(&uses[i], 1));
        text_put_str(t, json ? ",\"group\":" : " ");
        (json ? json_put_bytes : print_word)(t, dlq_use_at(&uses[i], 2));
        text_put_str(t, json ? "}" : "");
    }
    text_put_str(t, json ? "]}\n" : "\n");
    return output_flush_if_full(&ls->out);
}

/* Rows in the order of the names. A stream may have been seen twice. */
static int dlq_ls_rows(struct dlq_ls *ls)
{
    size_t n = 0, n_seen = ls->strings.n / 3, of_one;
    struct dlq_use *uses = calloc(n_seen + 1, sizeof *uses);
    int status = uses == NULL ? EXIT_RUNTIME : EXIT_OK;

    for (size_t i = 0; status == EXIT_OK && i < n_seen; i++)
        uses[i] = (struct dlq_use){ 3 * i, &ls->strings };
    if (status == EXIT_OK && n_seen > 0)
        qsort(uses, n_seen, sizeof *uses, dlq_compare_uses);
    for (size_t i = 0; status == EXIT_OK && i < n_seen; i++)
        if (n == 0 || dlq_compare_uses(&uses[n - 1], &uses[i]) != 0)
            uses[n++] = uses[i];
    for (size_t i = 0; status == EXIT_OK && i < n; i += of_one) {
        of_one = 1;
        while (i + of_one < n &&
               dlq_compare_slices(dlq_use_at(&uses[i], 0), dlq_use_at(&uses[i + of_one], 0)) == 0)
            of_one++;
        status = dlq_ls_row(ls, uses + i, of_one);
    }
    free(uses);
    return status;
}

static int dlq_ls_run(struct cli *cli, const void *options, int argc, char **argv)
{
    struct dlq_ls ls = { 0 };
    int status = cli_connect(cli);

    (void)options;
    (void)argc;
    (void)argv;
    if (status != EXIT_OK)
        return status;
    output_init(&ls.out, cli);
    status = groups_each(cli, NULL, 0, dlq_ls_one, &ls);
    if (status == EXIT_OK && !cli->globals.json)
        text_put_str(&ls.out.text, "     ENTRIES  DLQ  STREAM GROUP, ...\n");
    if (status == EXIT_OK)
        status = dlq_ls_rows(&ls);
    if (status == EXIT_OK)
        status = output_flush(&ls.out);
    if (status == EXIT_OK && ls.strings.n == 0)
        fputs("No group has a dead-letter stream. Set one with: beck group set STREAM GROUP --dlq "
              "NAME\n",
              stderr);
    output_fini(&ls.out);
    list_fini(&ls.strings);
    return status;
}

const struct command command_dlq_ls = {
    .name = "dlq ls",
    .arguments = "",
    .summary = "list the dead-letter streams that groups name",
    .text = "Lists the streams that groups have as their --dlq, with their length and those "
            "groups. With --json a line is an object with dlq, entries, groups.",
    .max_args = 0,
    .run = dlq_ls_run,
};

/* ---- show ---- */

/* The fields that say where a dead letter comes from, and how JSON names them. */
static const struct {
    const char *field, *json;
} dlq_origins[DLQ_ORIGINS] = {
    { "beck-origin-stream", "stream" },  { "beck-origin-id", "id" },
    { "beck-origin-group", "group" },    { "beck-consumer", "consumer" },
    { "beck-deliveries", "deliveries" }, { "beck-reason", "reason" },
};

struct dlq_letter {
    struct beck_slice origins[DLQ_ORIGINS];
    const struct beck_reply *own; /* the entry's own fields */
    size_t n_own;                 /* names and values */
};

/* Takes an entry apart; false if it is no dead letter. The last six fields are the origin, since an
 * entry's own may have any names. */
static bool dlq_get(const struct event *event, struct dlq_letter *out)
{
    const struct beck_reply *at = beck_reply_first(event->fields);
    size_t n = beck_reply_count(event->fields);

    if (n < (size_t)2 * DLQ_ORIGINS)
        return false;
    out->own = at;
    out->n_own = n - (size_t)2 * DLQ_ORIGINS;
    for (size_t i = 0; i < out->n_own; i++)
        at = beck_reply_next(at);
    for (size_t i = 0; i < DLQ_ORIGINS; i++) {
        const struct beck_reply *value = beck_reply_next(at);
        struct beck_slice name = beck_reply_string(at);
        if (strcmp(name.p, dlq_origins[i].field) != 0)
            return false;
        out->origins[i] = beck_reply_string(value);
        at = i + 1 < DLQ_ORIGINS ? beck_reply_next(value) : at;
    }
    return true;
}

static void dlq_put_json(struct text *t, const struct event *event, const struct dlq_letter *letter)
{
    text_put_str(t, "{\"_id\":");
    json_put_bytes(t, event->id);
    for (size_t i = 0; i < DLQ_ORIGINS; i++) {
        bool number = strcmp(dlq_origins[i].json, "deliveries") == 0;
        text_printf(t, ",\"%s\":", dlq_origins[i].json);
        (number ? json_put_value : json_put_bytes)(t, letter->origins[i]);
    }
    text_put_str(t, ",\"fields\":");
    event_put_json_fields(t, letter->own, letter->n_own);
    text_put_str(t, "}\n");
}

/* "5-0: orders 1-1, group mail: nack at delivery 3 to worker-1", and the fields below. */
static void dlq_put_readable(struct text *t, const struct event *event,
                             const struct dlq_letter *letter)
{
    text_put_slice(t, event->id);
    text_put_str(t, ": ");
    print_word(t, letter->origins[0]);
    text_put_char(t, ' ');
    print_word(t, letter->origins[1]);
    text_put_str(t, ", group ");
    print_word(t, letter->origins[2]);
    text_put_str(t, ": ");
    print_word(t, letter->origins[5]);
    text_put_str(t, " at delivery ");
    print_word(t, letter->origins[4]);
    if (letter->origins[3].n > 0) {
        text_put_str(t, " to ");
        print_word(t, letter->origins[3]);
    }
    text_put_str(t, letter->n_own > 0 ? "\n   " : "");
    event_put_readable_fields(t, letter->own, letter->n_own);
    text_put_char(t, '\n');
}

static void dlq_put(struct output *out, const struct event *event)
{
    struct event_style style = { .json = out->cli->globals.json, .with_id = true };
    struct dlq_letter letter;

    if (!dlq_get(event, &letter))
        event_put(&out->text, event, &style);
    else if (style.json)
        dlq_put_json(&out->text, event, &letter);
    else
        dlq_put_readable(&out->text, event, &letter);
}

struct dlq_show_options {
    uint64_t count;
};

/* Prints a page; `from` becomes where the next one begins. */
static int dlq_show_page(struct output *out, const struct beck_reply *page, char *from)
{
    const struct beck_reply *at = beck_reply_first(page);
    int status = EXIT_OK;

    for (size_t n = beck_reply_count(page); n > 0 && status == EXIT_OK; n--) {
        struct event event;
        if (!event_get(at, &event) || event.fields == NULL)
            return EXIT_RUNTIME;
        dlq_put(out, &event);
        snprintf(from, EVENT_ID_MAX + 1, "(%s", event.id.p);
        at = n > 1 ? beck_reply_next(at) : at;
        status = output_flush_if_full(out);
    }
    return status;
}

static int dlq_show(struct output *out, const char *dlq, uint64_t count)
{
    char from[EVENT_ID_MAX + 1] = "-", want[24];
    uint64_t left = count > 0 ? count : UINT64_MAX;
    int status = EXIT_OK;
    size_t asked, n;

    do {
        struct beck_slice args[] = { beck_str("XRANGE"), beck_str(dlq),     beck_str(from),
                                     beck_str("+"),      beck_str("COUNT"), { want, 0 } };
        const struct beck_reply *page;
        int rc;
        asked = left < DLQ_PAGE ? (size_t)left : DLQ_PAGE;
        args[5].n = (size_t)snprintf(want, sizeof want, "%zu", asked);
        rc = cli_call(out->cli, args, 6, &page);
        if (rc != BECK_OK)
            return cli_fail(out->cli, rc, NULL);
        n = beck_reply_count(page);
        left -= n;
        status = dlq_show_page(out, page, from);
    } while (status == EXIT_OK && n == asked && left > 0);
    return status == EXIT_OK ? output_flush(out) : status;
}

static int dlq_show_run(struct cli *cli, const void *options, int argc, char **argv)
{
    const struct dlq_show_options *o = options;
    struct output out;
    int status = cli_connect(cli);

    (void)argc;
    if (status != EXIT_OK)
        return status;
    output_init(&out, cli);
    status = dlq_show(&out, argv[0], o->count);
    output_fini(&out);
    return status;
}

static const struct option_spec dlq_show_specs[] = {
    { 'c', "count", "N", OPTION_NUMBER, offsetof(struct dlq_show_options, count),
      "Print the first N; 0 means all (0)." },
};

static const struct dlq_show_options dlq_show_defaults = { 0 };

const struct command command_dlq_show = {
    .name = "dlq show",
    .arguments = "DLQ",
    .summary = "print dead letters: where they come from, why, and what they are",
    .text = "Prints the dead letters, oldest first: ID, origin, group, why it died (timeout, nack, "
            "fatal, or gone: nothing but its origin was left), at which delivery and to which "
            "consumer, and its fields. With --json a line is an object with _id, stream, id, "
            "group, consumer, deliveries, reason, fields. Entries that are no dead letters are "
            "printed as `beck consume --with-id` does.",
    .options = dlq_show_specs,
    .n_options = sizeof dlq_show_specs / sizeof dlq_show_specs[0],
    .defaults = &dlq_show_defaults,
    .options_bytes = sizeof dlq_show_defaults,
    .min_args = 1,
    .max_args = 1,
    .run = dlq_show_run,
};

/* ---- redrive ---- */

struct dlq_redrive_options {
    uint64_t count;
    bool all_groups;
};

static int dlq_redrive_tell(struct cli *cli, const struct beck_reply *reply)
{
    int64_t redriven = groups_number(reply, "redriven", 0);
    int64_t appended = groups_number(reply, "appended", 0);
    int64_t left = groups_number(reply, "left", 0);
    struct output out;
    int status;

    output_init(&out, cli);
    text_printf(&out.text,
                cli->globals.json
                    ? "{\"redriven\":%" PRId64 ",\"appended\":%" PRId64 ",\"left\":%" PRId64 "}\n"
                    : "%" PRId64 " redriven, %" PRId64 " appended, %" PRId64 " left\n",
                redriven, appended, left);
    status = output_flush(&out);
    output_fini(&out);
    if (left > 0)
        fputs("Those that are left are gone from the stream. Append them anew, for all its groups, "
              "with --all-groups.\n",
              stderr);
    return status == EXIT_OK && left > 0 ? EXIT_PARTIAL : status;
}

static int dlq_redrive_run(struct cli *cli, const void *options, int argc, char **argv)
{
    const struct dlq_redrive_options *o = options;
    struct beck_slice args[8] = { beck_str("XDLQ"), beck_str("REDRIVE") };
    const struct beck_reply *reply;
    char count[24];
    size_t n = 2;
    int status = cli_connect(cli);
    int rc;

    if (status != EXIT_OK)
        return status;
    for (int i = 0; i < argc; i++)
        args[n++] = beck_str(argv[i]);
    if (o->count > 0) {
        args[n++] = beck_str("COUNT");
        args[n++] = beck_bytes(count, (size_t)snprintf(count, sizeof count, "%" PRIu64, o->count));
    }
    if (o->all_groups)
        args[n++] = beck_str("ALLGROUPS");
    rc = cli_call(cli, args, n, &reply);
    if (rc == BECK_ERR_SERVER && strncmp(beck_last_error(cli->client), "NOGROUP", 7) == 0)
        return groups_none(cli, beck_str(argv[1]), beck_str(argv[2]));
    return rc == BECK_OK ? dlq_redrive_tell(cli, reply) : cli_fail(cli, rc, NULL);
}

#define OPTION(letter, name, value, kind, field, help)                               \
    {                                                                                \
        letter, name, value, kind, offsetof(struct dlq_redrive_options, field), help \
    }

static const struct option_spec dlq_redrive_specs[] = {
    OPTION('c', "count", "N", OPTION_NUMBER, count, "Redrive at most N; 0 means all (0)."),
    OPTION(0, "all-groups", NULL, OPTION_FLAG, all_groups,
           "Append to the stream what is gone from it; all its groups then get it."),
};

static const struct dlq_redrive_options dlq_redrive_defaults = { 0 };

const struct command command_dlq_redrive = {
    .name = "dlq redrive",
    .arguments = "DLQ STREAM GROUP",
    .summary = "give dead letters back to the group that they come from",
    .text = "Makes the dead letters of that stream and group pending there again, as if never "
            "delivered, and takes them from the DLQ. Prints how many were redriven, appended to "
            "the stream (--all-groups) and left. Ends with status 5 if some were left. With --json "
            "it is an object with redriven, appended, left.",
    .options = dlq_redrive_specs,
    .n_options = sizeof dlq_redrive_specs / sizeof dlq_redrive_specs[0],
    .defaults = &dlq_redrive_defaults,
    .options_bytes = sizeof dlq_redrive_defaults,
    .min_args = 3,
    .max_args = 3,
    .run = dlq_redrive_run,
};
#undef OPTION

/* ---- purge ---- */

struct dlq_purge_options {
    const char *before;
    bool yes;
};

/* Whether the stream begins with a dead letter. EXIT_OK, or the status after a message. */
static int dlq_purge_check(struct cli *cli, const char *dlq)
{
    struct beck_slice args[] = { beck_str("XRANGE"), beck_str(dlq),     beck_str("-"),
                                 beck_str("+"),      beck_str("COUNT"), beck_str("1") };
    const struct beck_reply *reply;
    struct dlq_letter letter;
    struct event event;
    int rc = cli_call(cli, args, 6, &reply);

    if (rc != BECK_OK)
        return cli_fail(cli, rc, NULL);
    if (beck_reply_count(reply) == 0)
        return EXIT_OK;
    if (event_get(beck_reply_first(reply), &event) && event.fields != NULL &&
        dlq_get(&event, &letter))
        return EXIT_OK;
    cli_message(cli, "\"%s\" does not begin with a dead letter", dlq);
    fprintf(stderr, "Remove a stream with: beck stream rm %s\n", dlq);
    return EXIT_RUNTIME;
}

/* How many entries there are before `id`, or in all. */
static int dlq_purge_count(struct cli *cli, const char *dlq, const char *id, uint64_t *out)
{
    char from[EVENT_ID_MAX + 1] = "-", to[WHEN_ID_MAX] = "+";
    size_t n;

    if (id != NULL)
        when_put_before(id, to);
    *out = 0;
    do {
        struct beck_slice args[] = { beck_str("XRANGE"), beck_str(dlq),     beck_str(from),
                                     beck_str(to),       beck_str("COUNT"), beck_str("100") };
        const struct beck_reply *reply, *last;
        int rc = cli_call(cli, args, 6, &reply);
        if (rc != BECK_OK)
            return cli_fail(cli, rc, NULL);
        n = beck_reply_count(reply);
        last = n > 0 ? beck_reply_first(beck_reply_at(reply, n - 1)) : NULL;
        if (last != NULL)
            snprintf(from, sizeof from, "(%s", beck_reply_string(last).p);
        *out += n;
    } while (n == DLQ_PAGE);
    return EXIT_OK;
}

static int dlq_purge_trim(struct cli *cli, const char *dlq, const char *id, uint64_t *out)
{
    struct beck_slice args[] = { beck_str("XTRIM"), beck_str(dlq),
                                 beck_str(id != NULL ? "MINID" : "MAXLEN"),
                                 beck_str(id != NULL ? id : "0") };
    const struct beck_reply *reply;
    int rc = cli_call(cli, args, 4, &reply);

    if (rc != BECK_OK)
        return cli_fail(cli, rc, NULL);
    *out = (uint64_t)beck_reply_integer(reply);
    return EXIT_OK;
}

static int dlq_purge_tell(struct cli *cli, const struct dlq_purge_options *o, uint64_t n)
{
    struct output out;
    int status;

    output_init(&out, cli);
    if (cli->globals.json)
        text_printf(&out.text, "{\"%s\":%" PRIu64 "}\n", o->yes ? "removed" : "would-remove", n);
    else
        text_printf(&out.text, "%" PRIu64 " dead letters %s\n", n,
                    o->yes ? "removed" : "would be removed");
    status = output_flush(&out);
    output_fini(&out);
    if (!o->yes)
        fputs("Remove them with --yes.\n", stderr);
    return status;
}

/* The ID before which letters go; NULL: all. `out` has WHEN_ID_MAX bytes. */
static int dlq_purge_place(struct cli *cli, const struct when *before, char *out, const char **id)
{
    uint64_t now_ms = 0;
    int status = EXIT_OK;

    *id = before->kind == WHEN_END ? NULL : out;
    if (before->kind == WHEN_AGO)
        status = cli_server_time(cli, &now_ms);
    if (before->kind == WHEN_AGO)
        snprintf(out, WHEN_ID_MAX, "%" PRIu64, now_ms > before->ms ? now_ms - before->ms : 0);
    else
        snprintf(out, WHEN_ID_MAX, "%s", before->kind == WHEN_ID ? before->id : "0");
    return status;
}

static int dlq_purge_run(struct cli *cli, const void *options, int argc, char **argv)
{
    const struct dlq_purge_options *o = options;
    char place[WHEN_ID_MAX];
    const char *id = NULL;
    struct when before;
    uint64_t n = 0;
    int status;

    (void)argc;
    if (!when_parse(o->before, &before) || before.id[0] == '(')
        return cli_usage(cli,
                         "--before: \"%s\" is neither an ID nor a time such as "
                         "2026-01-31T12:00:00Z or \"7d ago\"",
                         o->before);
    status = cli_connect(cli);
    if (status == EXIT_OK)
        status = dlq_purge_place(cli, &before, place, &id);
    if (status == EXIT_OK)
        status = dlq_purge_check(cli, argv[0]);
    if (status == EXIT_OK)
        status = (o->yes ? dlq_purge_trim : dlq_purge_count)(cli, argv[0], id, &n);
    return status == EXIT_OK ? dlq_purge_tell(cli, o, n) : status;
}

static const struct option_spec dlq_purge_specs[] = {
    { 0, "before", "WHEN", OPTION_TEXT, offsetof(struct dlq_purge_options, before),
      "Only what died before this time, or has a smaller ID (end)." },
    { 0, "yes", NULL, OPTION_FLAG, offsetof(struct dlq_purge_options, yes),
      "Do it; else it only says how many that would be." },
};

static const struct dlq_purge_options dlq_purge_defaults = { .before = "end" };

const struct command command_dlq_purge = {
    .name = "dlq purge",
    .arguments = "DLQ",
    .summary = "remove dead letters",
    .text = "Removes the dead letters, or the old ones among them, for good. Without --yes it only "
            "says how many that would be. A stream that does not begin with a dead letter is left "
            "alone. With --json it is {\"removed\":N} or {\"would-remove\":N}.\n"
            "\n"
            "    beck dlq purge orders-dead --before '30d ago' --yes",
    .options = dlq_purge_specs,
    .n_options = sizeof dlq_purge_specs / sizeof dlq_purge_specs[0],
    .defaults = &dlq_purge_defaults,
    .options_bytes = sizeof dlq_purge_defaults,
    .min_args = 1,
    .max_args = 1,
    .run = dlq_purge_run,
};
