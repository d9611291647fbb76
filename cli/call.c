/* call.c - `beck call CMD ARG...`: any command, its reply readably or as JSON. */
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/print.h"

static int call_send(struct cli *cli, int argc, char **argv, const struct beck_reply **reply)
{
    struct beck_slice *args = calloc((size_t)argc, sizeof *args);
    int rc;

    if (args == NULL)
        return BECK_ERR_NOMEM;
    for (int i = 0; i < argc; i++)
        args[i] = beck_str(argv[i]);
    rc = cli_call(cli, args, (size_t)argc, reply);
    free(args);
    return rc;
}

static int call_run(struct cli *cli, const void *options, int argc, char **argv)
{
    const struct beck_reply *reply = NULL;
    struct output out;
    int status = cli_connect(cli);
    int rc;

    (void)options;
    if (status != EXIT_OK)
        return status;
    rc = call_send(cli, argc, argv, &reply);
    if (rc != BECK_OK && (reply == NULL || !cli->globals.json))
        return cli_fail(cli, rc, NULL);
    output_init(&out, cli);
    if (cli->globals.json) {
        print_json(&out.text, reply);
        text_put_char(&out.text, '\n');
    } else {
        print_reply(&out.text, reply, out.terminal);
    }
    status = output_flush(&out);
    output_fini(&out);
    return status == EXIT_OK ? cli_status(cli, rc) : status;
}

const struct command command_call = {
    .name = "call",
    .arguments = "CMD [ARG...]",
    .summary = "send any command and print its reply",
    .text = "Sends the command with its arguments as they are and prints the reply: arrays "
            "numbered, maps as "
            "names and values, strings in quotes where they are within something. With --json the "
            "reply is "
            "one JSON value; an error is {\"error\":\"...\"}. An error reply ends with status 1. "
            "beck's own "
            "options stand before the command.\n"
            "\n"
            "    beck call XADD orders '*' total 12.50\n"
            "    beck call --json XINFO STREAM orders",
    .min_args = 1,
    .max_args = -1,
    .verbatim = true,
    .run = call_run,
};
