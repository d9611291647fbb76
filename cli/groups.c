/*
 * groups.c - see groups.h.
 *
 * Groups are told of by BECK GROUP, for a page of streams at a time in one pipeline. A server that
 * does not know it is asked XINFO GROUPS, whose fields have the same names where it has them.
 */
#include "cli/groups.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/json.h"
#include "cli/names.h"
#include "cli/print.h"

int groups_parse_place(const struct cli *cli, const char *option, const char *text,
                       struct groups_place *out)
{
    if (when_parse(text, &out->when))
        return EXIT_OK;
    return cli_usage(cli,
                     "%s: \"%s\" is neither start, end, an ID such as 1700000000000-0, nor a time "
                     "such as 2026-01-31T12:00:00Z or \"2h ago\"",
                     option, text);
}

int groups_find_place(struct cli *cli, struct groups_place *place)
{
    uint64_t now_ms = 0;
    char since[WHEN_ID_MAX];
    int status;

    switch (place->when.kind) {
    case WHEN_START: snprintf(place->id, sizeof place->id, "0-0"); break;
    case WHEN_END: snprintf(place->id, sizeof place->id, "$"); break;
    case WHEN_ID: when_put_before(place->when.id, place->id); break;
    case WHEN_AGO:
        status = cli_server_time(cli, &now_ms);
        if (status != EXIT_OK)
            return status;
        snprintf(since, sizeof since, "%" PRIu64,
                 now_ms > place->when.ms ? now_ms - place->when.ms : 0);
        when_put_before(since, place->id);
    }
    return EXIT_OK;
}

bool groups_is_none(const struct cli *cli)
{
    const char *text = beck_last_error(cli->client);

    return strncmp(text, "NOGROUP", 7) == 0 || strcmp(text, "ERR no such key") == 0 ||
           strncmp(text, "ERR The XGROUP subcommand requires the key to exist", 51) == 0;
}

int groups_none(const struct cli *cli, struct beck_slice stream, struct beck_slice group)
{
    cli_message(cli, "there is no group \"%.*s\" of a stream \"%.*s\" at %s", (int)group.n, group.p,
                (int)stream.n, stream.p, beck_client_address(cli->client));
    fputs("See which there are with: beck group ls\n"
          "Make one with: beck group create STREAM GROUP --from start\n",
          stderr);
    return EXIT_RUNTIME;
}

/* ---- All groups ---- */

struct groups_walk {
    struct cli *cli;
    groups_visitor *visit;
    void *context;
    bool named; /* streams were named: one that is missing is told */
    bool plain; /* the server has no BECK GROUP */
    size_t n_seen, n_missing;
};

static int groups_ask(struct groups_walk *walk, const struct list *streams)
{
    int rc = BECK_OK;

    for (size_t i = 0; i < streams->n && rc == BECK_OK; i++) {
        struct beck_slice beck[] = { beck_str("BECK"), beck_str("GROUP"), list_at(streams, i) };
        struct beck_slice xinfo[] = { beck_str("XINFO"), beck_str("GROUPS"), list_at(streams, i) };
        rc = beck_client_append(walk->cli->client, walk->plain ? xinfo : beck, 3);
    }
    return rc;
}

static int groups_visit(struct groups_walk *walk, struct beck_slice stream,
                        const struct beck_reply *groups)
{
    const struct beck_reply *at = beck_reply_first(groups);
    int status = EXIT_OK;

    walk->n_seen++;
    for (size_t n = beck_reply_count(groups); n > 0 && status == EXIT_OK; n--) {
        status = walk->visit(walk->context, stream, at);
        at = n > 1 ? beck_reply_next(at) : at;
    }
    return status;
}

/* An error about one stream: EXIT_OK if the walk goes on. */
static int groups_refused(struct groups_walk *walk, struct beck_slice stream, int rc)
{
    if (rc != BECK_ERR_SERVER || (walk->named && !groups_is_none(walk->cli)))
        return cli_fail(walk->cli, rc, NULL);
    walk->n_missing++;
    if (walk->named)
        cli_message(walk->cli, "there is no stream \"%.*s\" at %s", (int)stream.n, stream.p,
                    beck_client_address(walk->cli->client));
    return EXIT_OK;
}

static bool groups_is_unknown(const struct cli *cli)
{
    return strncmp(beck_last_error(cli->client), "ERR unknown", 11) == 0 ||
           strncmp(beck_last_error(cli->client), "ERR Unknown", 11) == 0;
}

static int groups_page(void *context, const struct list *streams)
{
    struct groups_walk *walk = context;
    int rc = groups_ask(walk, streams);
    int status = rc == BECK_OK ? EXIT_OK : cli_fail(walk->cli, rc, NULL);
    bool again = false;

    for (size_t i = 0; i < streams->n && status == EXIT_OK; i++) {
        const struct beck_reply *reply;
        rc = beck_client_receive(walk->cli->client, &reply);
        if (rc == BECK_OK)
            status = groups_visit(walk, list_at(streams, i), reply);
        else if (rc == BECK_ERR_SERVER && !walk->plain && groups_is_unknown(walk->cli))
            again = true;
        else
            status = groups_refused(walk, list_at(streams, i), rc);
    }
    if (!again || status != EXIT_OK)
        return status;
    walk->plain = true;
    return groups_page(walk, streams);
}

int groups_each(struct cli *cli, char *const *streams, int n, groups_visitor *visit, void *context)
{
    struct groups_walk walk = { .cli = cli, .visit = visit, .context = context, .named = n > 0 };
    struct list names = { 0 };
    int status;

    if (n == 0)
        return names_scan(cli, "stream", "*", groups_page, &walk);
    for (int i = 0; i < n; i++)
        list_add(&names, beck_str(streams[i]));
    status = groups_page(&walk, &names);
    list_fini(&names);
    if (status == EXIT_OK && walk.n_missing > 0) {
        fputs("See what there is with: beck stream ls\n", stderr);
        status = walk.n_seen > 0 ? EXIT_PARTIAL : EXIT_RUNTIME;
    }
    return status;
}

void groups_put_json(struct text *t, struct beck_slice stream, const struct beck_reply *info)
{
    const struct beck_reply *at = beck_reply_first(info);

    text_put_str(t, "\"stream\":");
    json_put_bytes(t, stream);
    for (size_t n = beck_reply_count(info); n > 1; n -= 2) {
        const struct beck_reply *value = beck_reply_next(at);
        bool name = strcmp(beck_reply_string(at).p, "name") == 0;
        text_put_char(t, ',');
        json_put_name(t, name ? beck_str("group") : beck_reply_string(at));
        text_put_char(t, ':');
        print_json(t, value);
        at = n > 2 ? beck_reply_next(value) : at;
    }
}

int64_t groups_number(const struct beck_reply *info, const char *field, int64_t otherwise)
{
    const struct beck_reply *value = beck_reply_get(info, field);

    if (value == NULL || beck_reply_type(value) != BECK_REPLY_INTEGER)
        return otherwise;
    return beck_reply_integer(value);
}

int groups_call(struct cli *cli, const struct list *words, const struct beck_reply **out)
{
    struct beck_slice *args = calloc(words->n, sizeof *args);
    int rc;

    if (args == NULL)
        return BECK_ERR_NOMEM;
    for (size_t i = 0; i < words->n; i++)
        args[i] = list_at(words, i);
    rc = cli_call(cli, args, words->n, out);
    free(args);
    return rc;
}
