/*
 * watch.c - `beck watch` and `beck hist`: what happens to keys, and what happened to one.
 *
 * watch reads beck:changes, or a view of it, as any stream is read: from now on, or from a place in it. A connection that
 * was lost ends it, and tells the ID with which --from goes on. hist asks KEYHIST.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/groups.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/print.h"

enum { WATCH_BLOCK_MS = 10000, WATCH_TIME_MAX = 32 };

/* A moment as people read it: date and time in UTC, with milliseconds. */
static void watch_put_time(struct text *t, uint64_t ms)
{
    time_t s = (time_t)(ms / 1000);
    char text[WATCH_TIME_MAX];
    struct tm tm;

    if (gmtime_r(&s, &tm) == NULL || strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        text_put_u64(t, ms);
    else
        text_printf(t, "%s.%03dZ", text, (int)(ms % 1000));
}

/* ---- watch ---- */

struct watch_options {
    const char *stream, *from;
    uint64_t count;
};

static const struct watch_options watch_defaults = { .stream = "beck:changes", .from = "end" };

struct watch {
    struct output out;
    const struct watch_options *options;
    const char *prefix;
    char next[WHEN_ID_MAX]; /* the ID read last */
    uint64_t n_printed;
};

/* `set user:7 string 4711 field value`: operation, key and what else there is, without the fields' names. */
static void watch_put(struct watch *w, struct beck_slice id, const struct beck_reply *fields)
{
    const struct beck_reply *at = beck_reply_first(fields);
    struct text *t = &w->out.text;
    bool json = w->out.cli->globals.json;

    if (json) {
        text_put_str(t, "{\"_id\":");
        json_put_bytes(t, id);
    } else {
        watch_put_time(t, strtoull(id.p, NULL, 10));
    }
    for (size_t n = beck_reply_count(fields), i = 0; i < n; i++) {
        if (json && i % 2 == 0) {
            text_put_char(t, ',');
            json_put_name(t, beck_reply_string(at));
        } else if (json) {
            text_put_char(t, ':');
            json_put_value(t, beck_reply_string(at));
        } else if (i % 2 == 1) {
            text_put_str(t, "  ");
            print_word(t, beck_reply_string(at));
        }
        at = i + 1 < n ? beck_reply_next(at) : at;
    }
    text_put_str(t, json ? "}\n" : "\n");
    w->n_printed++;
}

static bool watch_wants(const struct watch *w, const struct beck_reply *fields)
{
    const struct beck_reply *key = beck_reply_get(fields, "key");
    size_t n = w->prefix != NULL ? strlen(w->prefix) : 0;
    struct beck_slice s;

    if (n == 0 || key == NULL)
        return true;
    s = beck_reply_string(key);
    return s.n == 0 || (s.n >= n && memcmp(s.p, w->prefix, n) == 0); /* a flush has no key */
}

static bool watch_is_over(const struct watch *w)
{
    return w->options->count > 0 && w->n_printed >= w->options->count;
}

static int watch_take(struct watch *w, const struct beck_reply *entries)
{
    const struct beck_reply *at = beck_reply_first(entries);

    for (size_t n = beck_reply_count(entries); n > 0 && !watch_is_over(w); n--) {
        const struct beck_reply *id = beck_reply_at(at, 0), *fields = beck_reply_at(at, 1);
        if (id == NULL || fields == NULL)
            return EXIT_RUNTIME;
        snprintf(w->next, sizeof w->next, "%s", beck_reply_string(id).p);
        if (watch_wants(w, fields))
            watch_put(w, beck_reply_string(id), fields);
        at = n > 1 ? beck_reply_next(at) : at;
    }
    return output_flush(&w->out);
}

/* The entries of XREAD's reply from one stream; NULL if there are none. */
static const struct beck_reply *watch_entries(const struct beck_reply *reply)
{
    const struct beck_reply *first;

    if (beck_reply_type(reply) == BECK_REPLY_MAP)
        return beck_reply_at(reply, 1);
    first = beck_reply_first(reply);
    return first == NULL ? NULL : beck_reply_at(first, 1);
}

/* After an error: where to go on. */
static int watch_fail(const struct watch *w, int rc)
{
    int status = cli_fail(w->out.cli, rc, w->options->stream);

    if (status == EXIT_CONNECTION || status == EXIT_RUNTIME)
        fprintf(stderr, "Go on behind what was printed with: --from '(%s'\n", w->next);
    return status;
}

static int watch_step(struct watch *w)
{
    char block[24];
    struct beck_slice args[] = { beck_str("XREAD"),
                                 beck_str("COUNT"),
                                 beck_str("1000"),
                                 beck_str("BLOCK"),
                                 { block, 0 },
                                 beck_str("STREAMS"),
                                 beck_str(w->options->stream),
                                 beck_str(w->next) };
    const struct beck_reply *reply, *entries;
    int rc;

    args[4].n = (size_t)snprintf(block, sizeof block, "%d", WATCH_BLOCK_MS);
    rc = cli_call(w->out.cli, args, 8, &reply);
    if (rc != BECK_OK)
        return watch_fail(w, rc);
    entries = watch_entries(reply);
    return entries == NULL ? EXIT_OK : watch_take(w, entries);
}

/* "$" once: from then on IDs, so that nothing is missed between two calls. */
static int watch_find_end(struct watch *w)
{
    struct beck_slice args[] = { beck_str("XINFO"), beck_str("STREAM"),
                                 beck_str(w->options->stream) };
    const struct beck_reply *reply, *id;
    int rc = cli_call(w->out.cli, args, 3, &reply);

    if (rc != BECK_OK)
        return cli_fail(w->out.cli, rc, w->options->stream);
    id = beck_reply_get(reply, "last-generated-id");
    if (id != NULL)
        snprintf(w->next, sizeof w->next, "%s", beck_reply_string(id).p);
    return EXIT_OK;
}

static int watch_run(struct cli *cli, const void *options, int argc, char **argv)
{
    struct watch w = { .options = options, .prefix = argc > 0 ? argv[0] : NULL };
    struct groups_place place;
    int status = groups_parse_place(cli, "--from", w.options->from, &place);

    if (status == EXIT_OK)
        status = cli_connect(cli);
    if (status == EXIT_OK)
        status = groups_find_place(cli, &place);
    if (status != EXIT_OK)
        return status;
    output_init(&w.out, cli);
    snprintf(w.next, sizeof w.next, "%s", place.id);
    if (place.when.kind == WHEN_END)
        status = watch_find_end(&w);
    if (cli->globals.timeout_ms > 0)
        beck_client_set_timeout(cli->client, cli->globals.timeout_ms + WATCH_BLOCK_MS);
    while (status == EXIT_OK && !watch_is_over(&w))
        status = watch_step(&w);
    output_fini(&w.out);
    return status;
}

static const struct option_spec watch_specs[] = {
    { 'f', "from", "PLACE", OPTION_TEXT, offsetof(struct watch_options, from),
      "Where to begin: start (of what is kept), end (the default), an ID, a time, \"10m ago\"." },
    { 'c', "count", "N", OPTION_NUMBER, offsetof(struct watch_options, count),
      "End after N changes." },
    { 0, "stream", "NAME", OPTION_TEXT, offsetof(struct watch_options, stream),
      "The stream of changes: beck:changes, or a view, beck:changes:NAME." },
};

const struct command command_watch = {
    .name = "watch",
    .arguments = "[PREFIX]",
    .summary = "print changes of keys as they happen",
    .text = "Prints each change of a key (of those that begin with PREFIX) when it happens: the "
            "time, what "
            "happened (set, del, expire, evict, rename, flush), the key, its type and its new "
            "revision. With --json a "
            "line is an object with _id, op, key, type, rev and to. With --from it begins with "
            "what has happened "
            "already, as far as the server keeps it.\n"
            "\n"
            "    beck watch session:\n"
            "    beck watch --from '1h ago' --json",
    .options = watch_specs,
    .n_options = sizeof watch_specs / sizeof watch_specs[0],
    .defaults = &watch_defaults,
    .options_bytes = sizeof watch_defaults,
    .max_args = 1,
    .run = watch_run,
};

/* ---- hist ---- */

struct hist_options {
    uint64_t count;
};

static const struct hist_options hist_defaults = { .count = 20 };

/* [rev, ms, op, what belongs to it ...] */
static void hist_put(struct text *t, const struct beck_reply *row, bool json)
{
    const struct beck_reply *rev = beck_reply_at(row, 0), *ms = beck_reply_at(row, 1);
    const struct beck_reply *op = beck_reply_at(row, 2);
    size_t n = beck_reply_count(row);

    if (op == NULL)
        return;
    if (json) {
        text_printf(t, "{\"rev\":%" PRId64 ",\"ms\":%" PRId64 ",\"op\":", beck_reply_integer(rev),
                    beck_reply_integer(ms));
        json_put_bytes(t, beck_reply_string(op));
        for (size_t i = 3; i < n; i++) {
            text_put_str(t, i == 3 ? ",\"values\":[" : ",");
            json_put_value(t, beck_reply_string(beck_reply_at(row, i)));
        }
        text_put_str(t, n > 3 ? "]}\n" : "}\n");
        return;
    }
    watch_put_time(t, (uint64_t)beck_reply_integer(ms));
    text_printf(t, "  %10" PRId64 "  %s", beck_reply_integer(rev), beck_reply_string(op).p);
    for (size_t i = 3; i < n; i++) {
        text_put_str(t, "  ");
        print_word(t, beck_reply_string(beck_reply_at(row, i)));
    }
    text_put_char(t, '\n');
}

static int hist_run(struct cli *cli, const void *options, int argc, char **argv)
{
    const struct hist_options *o = options;
    char count[24];
    struct beck_slice args[] = {
        beck_str("KEYHIST"), beck_str(argv[0]), beck_str("COUNT"), { count, 0 }
    };
    const struct beck_reply *reply, *at;
    struct output out;
    int status = cli_connect(cli), rc;

    (void)argc;
    if (status != EXIT_OK)
        return status;
    args[3].n = (size_t)snprintf(count, sizeof count, "%" PRIu64, o->count);
    rc = cli_call(cli, args, 4, &reply);
    if (rc != BECK_OK)
        return cli_fail(cli, rc, argv[0]);
    if (beck_reply_count(reply) == 0) {
        cli_message(cli,
                    "nothing has happened to \"%s\" in the time that is kept (cache-history-age)",
                    argv[0]);
        return EXIT_NOTHING;
    }
    output_init(&out, cli);
    at = beck_reply_first(reply);
    for (size_t n = beck_reply_count(reply); n > 0; n--) {
        hist_put(&out.text, at, cli->globals.json);
        at = n > 1 ? beck_reply_next(at) : at;
    }
    status = output_flush(&out);
    output_fini(&out);
    return status;
}

static const struct option_spec hist_specs[] = {
    { 'c', "count", "N", OPTION_NUMBER, offsetof(struct hist_options, count),
      "At most N changes (20)." },
};

const struct command command_hist = {
    .name = "hist",
    .arguments = "KEY",
    .summary = "print what happened to a key, the newest first",
    .text = "Prints the changes of one key that the server still keeps (cache-history-age, "
            "cache-history-bytes), the newest first: "
            "the time, the revision, what happened, and what was set. With --json a line is an "
            "object with rev, "
            "ms, op, values. `beck get --rev` prints what a revision left. Ends with status 4 if "
            "nothing is known.\n"
            "\n"
            "    beck hist config:prices",
    .options = hist_specs,
    .n_options = sizeof hist_specs / sizeof hist_specs[0],
    .defaults = &hist_defaults,
    .options_bytes = sizeof hist_defaults,
    .min_args = 1,
    .max_args = 1,
    .run = hist_run,
};
