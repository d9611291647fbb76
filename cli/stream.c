/*
 * stream.c - `beck stream ls|info|rm`: which streams there are, what they hold, and away with them.
 *
 * ls asks XINFO STREAM for a page of names at a time in one pipeline, and prints as it goes. A stream that is deleted meanwhile is left out. rm looks at
 * the type first, so that it never removes what is no stream.
 */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/json.h"
#include "cli/names.h"
#include "cli/output.h"
#include "cli/print.h"

/* ---- ls ---- */

static void stream_put_row(struct output *out, struct beck_slice name,
                           const struct beck_reply *info)
{
    const struct beck_reply *length = beck_reply_get(info, "length");
    const struct beck_reply *last = beck_reply_get(info, "last-generated-id");
    const struct beck_reply *groups = beck_reply_get(info, "groups");
    struct text *t = &out->text;

    if (length == NULL || last == NULL)
        return;
    if (!out->cli->globals.json) {
        text_printf(t, "%12lld  %-22s  ", (long long)beck_reply_integer(length),
                    beck_reply_string(last).p);
        print_word(t, name);
        text_put_char(t, '\n');
        return;
    }
    text_put_str(t, "{\"stream\":");
    json_put_bytes(t, name);
    text_printf(t, ",\"entries\":%lld,\"last-id\":", (long long)beck_reply_integer(length));
    json_put_bytes(t, beck_reply_string(last));
    text_printf(t, ",\"groups\":%lld}\n",
                groups != NULL ? (long long)beck_reply_integer(groups) : 0);
}

/* What `stream ls` works on. */
struct stream_ls {
    struct output out;
    uint64_t n_rows;
};

/* Asks about all `names` at once and prints a row for each that is still there. */
static int stream_ls_page(void *context, const struct list *names)
{
    struct stream_ls *ls = context;
    struct cli *cli = ls->out.cli;

    for (size_t i = 0; i < names->n; i++) {
        struct beck_slice args[] = { beck_str("XINFO"), beck_str("STREAM"), list_at(names, i) };
        int rc = beck_client_append(cli->client, args, 3);
        if (rc != BECK_OK)
            return cli_fail(cli, rc, NULL);
    }
    for (size_t i = 0; i < names->n; i++) {
        const struct beck_reply *info;
        int rc = beck_client_receive(cli->client, &info);
        if (rc != BECK_OK && rc != BECK_ERR_SERVER)
            return cli_fail(cli, rc, NULL);
        if (rc == BECK_OK) {
            ls->n_rows++;
            stream_put_row(&ls->out, list_at(names, i), info);
        }
    }
    return output_flush_if_full(&ls->out);
}

static int stream_ls_run(struct cli *cli, const void *options, int argc, char **argv)
{
    struct stream_ls ls = { 0 };
    int status = cli_connect(cli);

    (void)options;
    if (status != EXIT_OK)
        return status;
    output_init(&ls.out, cli);
    if (!cli->globals.json)
        text_put_str(&ls.out.text, "     ENTRIES  LAST ID                 STREAM\n");
    status = names_scan(cli, "stream", argc > 0 ? argv[0] : "*", stream_ls_page, &ls);
    if (status == EXIT_OK)
        status = output_flush(&ls.out);
    if (status == EXIT_OK && ls.n_rows == 0)
        fputs("There are no such streams. Make one with: beck produce STREAM\n", stderr);
    output_fini(&ls.out);
    return status;
}

const struct command command_stream_ls = {
    .name = "stream ls",
    .arguments = "[PATTERN]",
    .summary = "list streams with their length and last ID",
    .text =
        "Lists the streams of the database, or those whose name matches the pattern (* and ? as in "
        "a "
        "shell, quoted). With --json a line is an object with stream, entries, last-id, groups.",
    .max_args = 1,
    .run = stream_ls_run,
};

/* ---- info ---- */

/* An entry [id, fields]: as an object with _id, or as the ID and name=value. */
static void stream_put_entry(struct text *t, const struct beck_reply *entry, bool json)
{
    const struct beck_reply *fields = beck_reply_at(entry, 1);
    const struct beck_reply *at;

    if (fields == NULL) {
        text_put_str(t, json ? "null" : "(none)");
        return;
    }
    text_put_str(t, json ? "{\"_id\":" : "");
    if (json)
        json_put_bytes(t, beck_reply_string(beck_reply_at(entry, 0)));
    else
        text_put_slice(t, beck_reply_string(beck_reply_at(entry, 0)));
    at = beck_reply_first(fields);
    for (size_t n = beck_reply_count(fields), i = 0; i < n; i++) {
        text_put_char(t, (json ? ",:" : " =")[i % 2]);
        if (!json)
            print_word(t, beck_reply_string(at));
        else if (i % 2 == 0)
            json_put_name(t, beck_reply_string(at));
        else
            json_put_value(t, beck_reply_string(at));
        at = i + 1 < n ? beck_reply_next(at) : at;
    }
    text_put_str(t, json ? "}" : "");
}

static bool stream_is_entry(const struct beck_reply *value)
{
    return beck_reply_type(value) == BECK_REPLY_ARRAY || beck_reply_type(value) == BECK_REPLY_NIL;
}

static void stream_put_info(struct output *out, struct beck_slice name,
                            const struct beck_reply *info)
{
    const struct beck_reply *at = beck_reply_first(info);
    struct text *t = &out->text;
    bool json = out->cli->globals.json;

    text_put_str(t, json ? "{\"stream\":" : "stream: ");
    if (json)
        json_put_bytes(t, name);
    else
        print_word(t, name);
    for (size_t n = beck_reply_count(info), i = 0; i + 1 < n; i += 2) {
        const struct beck_reply *value = beck_reply_next(at);
        text_put_char(t, json ? ',' : '\n');
        if (json)
            json_put_name(t, beck_reply_string(at));
        else
            print_word(t, beck_reply_string(at));
        text_put_str(t, json ? ":" : ": ");
        if (stream_is_entry(value))
            stream_put_entry(t, value, json);
        else if (json)
            print_json(t, value);
        else if (beck_reply_type(value) == BECK_REPLY_INTEGER)
            text_printf(t, "%lld", (long long)beck_reply_integer(value));
        else
            print_word(t, beck_reply_string(value));
        at = i + 2 < n ? beck_reply_next(value) : at;
    }
    text_put_str(t, json ? "}\n" : "\n");
}

static int stream_no_such(struct cli *cli, const char *name)
{
    cli_message(cli, "there is no stream \"%s\" at %s", name, beck_client_address(cli->client));
    fputs("See what there is with: beck stream ls\n", stderr);
    return EXIT_RUNTIME;
}

static int stream_info_run(struct cli *cli, const void *options, int argc, char **argv)
{
    struct beck_slice args[] = { beck_str("XINFO"), beck_str("STREAM"), beck_str(argv[0]) };
    const struct beck_reply *reply;
    struct output out;
    int status = cli_connect(cli);
    int rc;

    (void)options;
    (void)argc;
    if (status != EXIT_OK)
        return status;
    rc = cli_call(cli, args, 3, &reply);
    if (rc == BECK_ERR_SERVER && strcmp(beck_last_error(cli->client), "ERR no such key") == 0)
        return stream_no_such(cli, argv[0]);
    if (rc != BECK_OK)
        return cli_fail(cli, rc, argv[0]);
    output_init(&out, cli);
    stream_put_info(&out, args[2], reply);
    status = output_flush(&out);
    output_fini(&out);
    return status;
}

const struct command command_stream_info = {
    .name = "stream info",
    .arguments = "STREAM",
    .summary = "tell about one stream",
    .text = "Prints what the server knows about the stream: its length, first and last entry, last "
            "ID, groups. "
            "With --json it is one object.",
    .min_args = 1,
    .max_args = 1,
    .run = stream_info_run,
};

/* ---- rm ---- */

enum stream_rm_result { RM_REMOVED, RM_REFUSED, RM_LOST };

/* Removes one stream. *status is set with RM_LOST. */
static enum stream_rm_result stream_rm_one(struct cli *cli, const char *name, int *status)
{
    struct beck_slice type[] = { beck_str("TYPE"), beck_str(name) };
    struct beck_slice del[] = { beck_str("DEL"), beck_str(name) };
    const struct beck_reply *reply;
    int rc = cli_call(cli, type, 2, &reply);

    if (rc == BECK_OK && strcmp(beck_reply_string(reply).p, "none") == 0) {
        stream_no_such(cli, name);
        return RM_REFUSED;
    }
    if (rc == BECK_OK && strcmp(beck_reply_string(reply).p, "stream") != 0) {
        cli_message(cli, "\"%s\" is no stream but a %s", name, beck_reply_string(reply).p);
        fprintf(stderr, "Remove it all the same with: beck call DEL %s\n", name);
        return RM_REFUSED;
    }
    if (rc == BECK_OK)
        rc = cli_call(cli, del, 2, &reply);
    if (rc == BECK_OK)
        return RM_REMOVED;
    *status = cli_fail(cli, rc, name);
    return rc == BECK_ERR_SERVER ? RM_REFUSED : RM_LOST;
}

static int stream_rm_run(struct cli *cli, const void *options, int argc, char **argv)
{
    struct output out;
    int n_removed = 0;
    int status = cli_connect(cli);

    (void)options;
    if (status != EXIT_OK)
        return status;
    output_init(&out, cli);
    for (int i = 0; i < argc && status == EXIT_OK; i++) {
        int lost = EXIT_OK;
        enum stream_rm_result result = stream_rm_one(cli, argv[i], &lost);
        n_removed += result == RM_REMOVED;
        if (result == RM_LOST)
            status = lost;
        if (result != RM_REMOVED)
            continue;
        if (cli->globals.json) {
            text_put_str(&out.text, "{\"removed\":");
            json_put_bytes(&out.text, beck_str(argv[i]));
            text_put_str(&out.text, "}\n");
        }
    }
    if (status == EXIT_OK && n_removed < argc)
        status = n_removed > 0 ? EXIT_PARTIAL : EXIT_RUNTIME;
    output_flush(&out);
    output_fini(&out);
    return status;
}

const struct command command_stream_rm = {
    .name = "stream rm",
    .arguments = "STREAM...",
    .summary = "remove streams",
    .text =
        "Removes the streams with all their entries and groups. Keys that are no streams are left. "
        "Ends with "
        "status 5 if only some could be removed. With --json a line is {\"removed\":\"STREAM\"}.",
    .min_args = 1,
    .max_args = -1,
    .run = stream_rm_run,
};
