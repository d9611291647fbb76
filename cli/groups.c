/* groups.c - see groups.h. */
#include "cli/groups.h"

#include <inttypes.h>
#include <stdio.h>

#include "cli/cli.h"

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
