/*
 * consume.c - `beck consume STREAM`: entries of a stream, as JSON Lines or readably.
 *
 * Reading is XRANGE in pages, each beginning behind the last entry of the one before. A page has as
 * many entries as make about PAGE_BYTES, going by the page before, at most PAGE_MAX; should one
 * still be larger than a reply may be, it is asked for again in smaller pieces on a new connection.
 * The next page is asked for before the current one is printed, so that the server works meanwhile.
 * A page that is not full is the stream's present end. With --follow, XREAD BLOCK goes on from
 * there; each round is BLOCK_MS long, so that a server that has died is noticed.
 *
 * With --group another module does all of it: worker.c.
 *
 * --from end needs the last ID as it is now, not XREAD's `$`, which would mean another moment in
 * each round and lose what came between two.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/event.h"
#include "cli/groups.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/worker.h"

enum {
    PAGE_FIRST = 100,
    PAGE_MAX = 1000,
    PAGE_BYTES = 256 << 10,
    BLOCK_MS = 5000,
    BATCH_MAX = 10000
};

struct consume_options {
    const char *from, *field, *ack;
    uint64_t count;
    bool follow, with_id, exit_empty;
    struct worker_options worker; /* what only a group has */
};

struct consume {
    struct cli *cli;
    const struct consume_options *options;
    struct beck_slice stream;
    struct output out;
    struct event_style style;
    struct progress progress;
    char next[EVENT_ID_MAX +
              1];  /* where reading goes on: "-", an ID, or "(" and the last ID that was read */
    uint64_t page; /* entries to ask for at once */
    uint64_t printed;
};

/* Reads one entry of a page; false after a message if it is none. */
static bool consume_entry(const struct consume *c, const struct beck_reply *r, struct event *out)
{
    if (event_get(r, out) && out->fields != NULL)
        return true;
    cli_message(c->cli, "the server sent something that is no entry of a stream");
    return false;
}

/* Prints an array of entries. EXIT_OK, or the status to end with. */
static int consume_print(struct consume *c, const struct beck_reply *entries)
{
    const struct beck_reply *at = beck_reply_first(entries);
    int status = EXIT_OK;

    for (size_t n = beck_reply_count(entries); n > 0 && status == EXIT_OK; n--) {
        struct event entry;
        if (!consume_entry(c, at, &entry))
            return EXIT_RUNTIME;
        event_put(&c->out.text, &entry, &c->style);
        c->printed++;
        if (n > 1)
            at = beck_reply_next(at);
        status = output_flush_if_full(&c->out);
    }
    return status;
}

/* Goes on behind the last entry of a page, with a page size that suits it. False if it is none. */
static bool consume_advance(struct consume *c, const struct beck_reply *entries)
{
    const struct beck_reply *at = beck_reply_first(entries);
    uint64_t n = beck_reply_count(entries), bytes = 0, suits;
    struct event entry = { 0 };

    for (uint64_t i = 0; i < n; i++) {
        if (i > 0)
            at = beck_reply_next(at);
        if (!consume_entry(c, at, &entry))
            return false;
        bytes += event_bytes(&entry);
    }
    suits = PAGE_BYTES / (bytes / n + 1);
    c->page = suits > PAGE_MAX ? PAGE_MAX : suits > 0 ? suits : 1;
    snprintf(c->next, sizeof c->next, "(%s", entry.id.p);
    return true;
}

/* As cli_fail; says where to go on if the connection was lost in the middle. */
static int consume_fail(const struct consume *c, int rc)
{
    int status = cli_fail(c->cli, rc, NULL);

    if (c->next[0] == '(' && rc != BECK_ERR_SERVER && rc != BECK_ERR_INTERRUPTED)
        fprintf(stderr, "Entries up to %s are printed; go on behind it with: --from '%s'\n",
                c->next + 1, c->next);
    return status;
}

/* How many entries to ask for next. */
static uint64_t consume_page(const struct consume *c, uint64_t under_way)
{
    uint64_t left = c->options->count - c->printed - under_way;

    return c->options->count == 0 || left > c->page ? c->page : left;
}

/* Asks for n entries from c->next on. */
static int consume_ask(struct consume *c, uint64_t n)
{
    char count[24];
    struct beck_slice args[] = { beck_str("XRANGE"), c->stream,         beck_str(c->next),
                                 beck_str("+"),      beck_str("COUNT"), { count, 0 } };
    int rc;

    args[5].n = (size_t)snprintf(count, sizeof count, "%" PRIu64, n);
    rc = beck_client_append(c->cli->client, args, 6);
    return rc == BECK_OK ? beck_client_flush(c->cli->client) : rc;
}

/* After a reply that was too big: connects anew, to go on with fewer entries at once. BECK_OK, or
 * why it cannot go on. */
static int consume_shrink(struct consume *c)
{
    if (c->page == 1)
        return BECK_ERR_TOO_BIG;
    c->page = c->page > 16 ? c->page / 16 : 1;
    return beck_client_connect(c->cli->client);
}

/* Handles one page; *asked is how many entries were asked for, and then how many the next page on
 * its way has: 0 at the end. */
static int consume_take_page(struct consume *c, uint64_t *asked)
{
    const struct beck_reply *page = NULL;
    int rc = beck_client_receive(c->cli->client, &page);
    uint64_t n = rc == BECK_OK ? beck_reply_count(page) : 0;
    bool full = n == *asked;
    int status = EXIT_OK;

    *asked = 0;
    if (rc == BECK_ERR_TOO_BIG)
        rc = consume_shrink(c);
    else if (rc == BECK_OK && n == 0)
        return EXIT_OK;
    else if (rc == BECK_OK && !consume_advance(c, page))
        return EXIT_RUNTIME;
    if (rc == BECK_OK && (full || n == 0) && consume_page(c, n) > 0) {
        *asked = consume_page(c, n);
        rc = consume_ask(c, *asked);
    }
    if (n > 0)
        status = consume_print(c, page);
    return status == EXIT_OK && rc != BECK_OK ? consume_fail(c, rc) : status;
}

/* Reads from c->next to the present end. */
static int consume_range(struct consume *c)
{
    uint64_t asked = consume_page(c, 0);
    int status = EXIT_OK;
    int rc = consume_ask(c, asked);

    if (rc != BECK_OK)
        return consume_fail(c, rc);
    while (asked > 0 && status == EXIT_OK) {
        int signal = cli_signal(c->cli);
        status = signal != 0 ? EXIT_SIGNAL + signal : consume_take_page(c, &asked);
        progress_tell(&c->progress, c->printed, c->printed);
    }
    return status;
}

/* The entries in XREAD's reply about one stream: [[key, entries]], or {key: entries} in RESP3. */
static const struct beck_reply *consume_entries(const struct beck_reply *reply)
{
    const struct beck_reply *first = beck_reply_first(reply);

    if (first != NULL && beck_reply_type(reply) == BECK_REPLY_MAP)
        return beck_reply_next(first);
    return first != NULL ? beck_reply_at(first, 1) : NULL;
}

static int consume_wait(struct consume *c)
{
    char count[24], block[24];
    struct beck_slice args[] = { beck_str("XREAD"), beck_str("COUNT"),    { count, 0 },
                                 beck_str("BLOCK"), { block, 0 },         beck_str("STREAMS"),
                                 c->stream,         beck_str(c->next + 1) };
    const struct beck_reply *reply, *entries;
    int rc;

    args[2].n = (size_t)snprintf(count, sizeof count, "%" PRIu64, consume_page(c, 0));
    args[4].n = (size_t)snprintf(block, sizeof block, "%d", BLOCK_MS);
    rc = cli_call(c->cli, args, 8, &reply);
    if (rc == BECK_ERR_TOO_BIG) {
        rc = consume_shrink(c);
        return rc == BECK_OK ? EXIT_OK : consume_fail(c, rc);
    }
    if (rc != BECK_OK)
        return consume_fail(c, rc);
    if (beck_reply_type(reply) == BECK_REPLY_NIL)
        return EXIT_OK;
    entries = consume_entries(reply);
    if (entries == NULL || beck_reply_count(entries) == 0 || !consume_advance(c, entries))
        return EXIT_RUNTIME;
    return consume_print(c, entries);
}

/* Makes c->next "(ID" for XREAD: where nothing was read, of the ID before the one to begin at. */
static void consume_step_back(struct consume *c)
{
    uint64_t ms, seq;
    char *end;

    if (c->next[0] == '(')
        return;
    ms = c->next[0] == '-' ? 0 : strtoull(c->next, &end, 10);
    seq = c->next[0] != '-' && *end == '-' ? strtoull(end + 1, NULL, 10) : 0;
    if (seq > 0) {
        seq--;
    } else if (ms > 0) {
        ms--;
        seq = UINT64_MAX;
    }
    snprintf(c->next, sizeof c->next, "(%" PRIu64 "-%" PRIu64, ms, seq);
}

static int consume_follow(struct consume *c)
{
    uint64_t timeout_ms = c->cli->globals.timeout_ms;
    int status = output_flush(&c->out);

    consume_step_back(c);
    if (timeout_ms > 0)
        beck_client_set_timeout(c->cli->client, timeout_ms + BLOCK_MS);
    while (status == EXIT_OK && (c->options->count == 0 || c->printed < c->options->count)) {
        status = consume_wait(c);
        if (status == EXIT_OK)
            status = output_flush(&c->out);
        progress_tell(&c->progress, c->printed, 0);
    }
    return status;
}

/* Goes on behind the stream's last ID, or behind 0-0 if it does not exist. */
static int consume_find_end(struct consume *c)
{
    struct beck_slice args[] = { beck_str("XINFO"), beck_str("STREAM"), c->stream };
    const struct beck_reply *reply, *id;
    int rc = cli_call(c->cli, args, 3, &reply);

    snprintf(c->next, sizeof c->next, "(0-0");
    if (rc == BECK_ERR_SERVER && strcmp(beck_last_error(c->cli->client), "ERR no such key") == 0)
        return EXIT_OK;
    if (rc != BECK_OK)
        return cli_fail(c->cli, rc, NULL);
    id = beck_reply_get(reply, "last-generated-id");
    if (id != NULL && beck_reply_string(id).n < sizeof c->next - 1)
        snprintf(c->next, sizeof c->next, "(%s", beck_reply_string(id).p);
    return EXIT_OK;
}

/* Nothing was there: says so if the stream is not there at all, and gives the status. */
static int consume_nothing(struct consume *c)
{
    struct beck_slice args[] = { beck_str("EXISTS"), c->stream };
    const struct beck_reply *reply;
    int rc = cli_call(c->cli, args, 2, &reply);

    if (rc != BECK_OK)
        return cli_fail(c->cli, rc, NULL);
    if (beck_reply_integer(reply) > 0)
        return c->options->exit_empty ? EXIT_NOTHING : EXIT_OK;
    cli_message(c->cli, "there is no stream \"%.*s\" at %s", (int)c->stream.n, c->stream.p,
                beck_client_address(c->cli->client));
    fputs("See what there is with: beck stream ls\nWait for it with: --follow\n", stderr);
    return c->options->exit_empty ? EXIT_NOTHING : EXIT_RUNTIME;
}

/* The stream's length for the progress line, 0 if it does not matter or is not known. */
static uint64_t consume_total(struct consume *c, const struct when *from)
{
    struct beck_slice args[] = { beck_str("XLEN"), c->stream };
    const struct beck_reply *reply;

    if (!(c->cli->stderr_is_terminal || c->cli->globals.progress) || from->kind != WHEN_START ||
        c->options->follow)
        return 0;
    if (c->options->count > 0)
        return c->options->count;
    return cli_call(c->cli, args, 2, &reply) == BECK_OK ? (uint64_t)beck_reply_integer(reply) : 0;
}

static int consume_work(struct consume *c, const struct when *from)
{
    uint64_t now = 0;
    int status;

    switch (from->kind) {
    case WHEN_START: snprintf(c->next, sizeof c->next, "-"); break;
    case WHEN_ID: snprintf(c->next, sizeof c->next, "%s", from->id); break;
    case WHEN_END: return c->options->follow ? consume_find_end(c) : EXIT_OK;
    case WHEN_AGO:
        status = cli_server_time(c->cli, &now);
        if (status != EXIT_OK)
            return status;
        snprintf(c->next, sizeof c->next, "%" PRIu64, now > from->ms ? now - from->ms : 0);
    }
    return consume_range(c);
}

/* Without a group: reads from `from` on. */
static int consume_stream(struct consume *c, const struct when *from)
{
    int status = cli_connect(c->cli);

    if (status != EXIT_OK)
        return status;
    output_init(&c->out, c->cli);
    progress_init(&c->progress, c->cli, consume_total(c, from));
    c->progress.shown = c->progress.shown && !(c->out.terminal && !c->cli->globals.progress);
    status = consume_work(c, from);
    if (status == EXIT_OK && c->options->follow)
        status = consume_follow(c);
    else if (status == EXIT_OK && c->printed == 0)
        status = consume_nothing(c);
    if (status == EXIT_OK || status == EXIT_RUNTIME || c->out.regular) {
        int rc = output_flush(&c->out);
        status = status == EXIT_OK ? rc : status;
    }
    progress_end(&c->progress);
    output_fini(&c->out);
    return status;
}

/* What excludes what, with a group and without. EXIT_OK, or EXIT_USAGE after a message. */
static int consume_check(const struct cli *cli, const struct consume_options *o)
{
    bool none = strcmp(o->ack, "none") == 0;

    if (o->worker.group == NULL &&
        (o->worker.consumer != NULL || o->worker.exec != NULL || o->worker.batch > 0 ||
         o->worker.claim_idle_ms != OPTION_NOT_GIVEN || o->worker.block_ms != OPTION_NOT_GIVEN ||
         strcmp(o->ack, "auto") != 0))
        return cli_usage(cli, "--consumer, --ack, --exec, --batch, --block and --claim-idle want "
                              "--group");
    if (!none && strcmp(o->ack, "auto") != 0 && strcmp(o->ack, "manual") != 0)
        return cli_usage(cli, "--ack: \"%s\" is neither auto, manual nor none", o->ack);
    if (o->worker.exec != NULL && strcmp(o->ack, "auto") != 0)
        return cli_usage(cli, "--exec acknowledges by how the command ends: it excludes --ack %s",
                         o->ack);
    if (o->worker.exec != NULL && o->field != NULL)
        return cli_usage(cli, "--exec and --field exclude each other");
    if (none && o->worker.claim_idle_ms != OPTION_NOT_GIVEN)
        return cli_usage(cli, "--ack none and --claim-idle exclude each other: what is taken over "
                              "has to be acknowledged");
    if (o->worker.batch > BATCH_MAX)
        return cli_usage(cli, "--batch is at most %d", BATCH_MAX);
    return EXIT_OK;
}

/* As a consumer of a group. */
static int consume_group(struct cli *cli, const struct consume_options *o, const char *stream)
{
    struct worker_options worker = o->worker;

    worker.from = o->from;
    worker.count = o->count;
    worker.exit_empty = o->exit_empty;
    worker.ack = strcmp(o->ack, "auto") == 0     ? WORKER_ACK_AUTO
                 : strcmp(o->ack, "manual") == 0 ? WORKER_ACK_MANUAL
                                                 : WORKER_ACK_NONE;
    worker.style.json = cli->globals.json || worker.exec != NULL;
    worker.style.with_id = o->with_id;
    worker.style.field = o->field;
    return worker_run(cli, stream, &worker);
}

static int consume_run(struct cli *cli, const void *options, int argc, char **argv)
{
    const struct consume_options *o = options;
    struct consume c = { .cli = cli, .options = o, .page = PAGE_FIRST };
    struct groups_place from;
    int status = consume_check(cli, o);

    (void)argc;
    if (status == EXIT_OK)
        status = groups_parse_place(cli, "--from", o->from != NULL ? o->from : "start", &from);
    if (status != EXIT_OK)
        return status;
    if (o->worker.group != NULL)
        return consume_group(cli, o, argv[0]);
    c.stream = beck_str(argv[0]);
    c.style.json = cli->globals.json;
    c.style.with_id = o->with_id;
    c.style.field = o->field;
    return consume_stream(&c, &from.when);
}

#define OPTION(letter, name, value, kind, field, help)                           \
    {                                                                            \
        letter, name, value, kind, offsetof(struct consume_options, field), help \
    }

static const struct option_spec consume_specs[] = {
    OPTION(0, "from", "WHERE", OPTION_TEXT, from,
           "Begin at: start, end, an ID, (ID for behind it, or a time (start). With --group: make "
           "the group there if it does not exist."),
    OPTION('c', "count", "N", OPTION_NUMBER, count, "End after N entries; 0 means all (0)."),
    OPTION('f', "follow", NULL, OPTION_FLAG, follow,
           "At the stream's end wait for more; a consumer of a group does."),
    OPTION(0, "with-id", NULL, OPTION_FLAG, with_id,
           "Print the ID too: with --json as the first field, _id."),
    OPTION(0, "field", "NAME", OPTION_TEXT, field,
           "Print only this field's bytes, a line for each entry."),
    OPTION(0, "exit-empty", NULL, OPTION_FLAG, exit_empty,
           "End with status 4 if there was nothing to read. With --group: do not wait for more."),
    OPTION('g', "group", "NAME", OPTION_TEXT, worker.group, "Read as a consumer of this group."),
    OPTION(0, "consumer", "NAME", OPTION_TEXT, worker.consumer,
           "The consumer's name, the same at each start (HOST-PID, removed at the end)."),
    OPTION(0, "ack", "HOW", OPTION_TEXT, ack,
           "auto: acknowledge what is printed; manual: leave it pending; none: nothing becomes "
           "pending (auto)."),
    OPTION('e', "exec", "CMD", OPTION_TEXT, worker.exec,
           "Run CMD by /bin/sh -c for each entry, instead of printing it."),
    OPTION(0, "batch", "N", OPTION_NUMBER, worker.batch,
           "Get N entries at once (100; with --exec 1)."),
    OPTION(0, "block", "MS", OPTION_MS, worker.block_ms,
           "End after so long without an entry: milliseconds, or 30s, 5m, 2h (wait forever)."),
    OPTION(0, "claim-idle", "MS", OPTION_MS, worker.claim_idle_ms,
           "Take over entries that are pending for other consumers for so long."),
};

static const struct consume_options consume_defaults = {
    .ack = "auto",
    .worker = { .claim_idle_ms = OPTION_NOT_GIVEN, .block_ms = OPTION_NOT_GIVEN },
};

const struct command command_consume = {
    .name = "consume",
    .arguments = "STREAM",
    .summary = "print the entries of a stream",
    .text = "Prints entries from where --from says up to the stream's present end, or up to "
            "--count. With "
            "--follow it then waits for further entries and prints them as they come.\n"
            "\n"
            "Times are RFC 3339 (2026-01-31, 2026-01-31T12:00:00Z; UTC unless a zone is named), "
            "milliseconds "
            "since 1970, or relative to the server's clock: \"90s ago\", \"2h ago\", with ms, s, "
            "m, h, d, w.\n"
            "\n"
            "Without --json a line is the ID and the fields as name=value, quoted where they hold "
            "blanks. With "
            "--json it is an object with the fields as `beck produce` takes them.\n"
            "\n"
            "With --group it is a consumer of that group: the entries are shared among all its "
            "consumers, and an entry is acknowledged when it is printed. It waits for more "
            "unless --block or --exit-empty is given. A consumer whose name is given begins with "
            "what is still pending for it. After a lost connection it connects again.\n"
            "\n"
            "With --exec a command works on each entry, one at a time. It gets the entry on its "
            "stdin as a line of JSON (as --json prints it), and BECK_STREAM, BECK_GROUP, "
            "BECK_CONSUMER and BECK_ID in its environment. If it ends with status 0 the entry is "
            "acknowledged; with 75 it is given back for a later attempt, which does not count as "
            "one (XNACK SILENT); with any other status, or by a signal, it has failed (XNACK "
            "FAIL), and the group's --backoff, --maxdeliver and --dlq decide (see `beck group "
            "create`). The group's --ackwait should be longer than the command takes. After "
            "SIGINT or SIGTERM the command that runs may end, and entries that nobody has begun "
            "to work on are given back; a second signal kills the command. Ends with status 5 if "
            "a command did not end with 0.\n"
            "\n"
            "    beck consume flights --json > flights.jsonl\n"
            "    beck consume orders --from '2h ago' --follow --json --with-id\n"
            "    beck consume orders --group mail --from start --exec './send-mail'",
    .options = consume_specs,
    .n_options = sizeof consume_specs / sizeof consume_specs[0],
    .defaults = &consume_defaults,
    .options_bytes = sizeof consume_defaults,
    .min_args = 1,
    .max_args = 1,
    .run = consume_run,
};
