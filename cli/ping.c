/* ping.c - `beck ping`: is the server there, and how long does an answer take. */
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/json.h"
#include "cli/output.h"

static int ping_run(struct cli *cli, const void *options, int argc, char **argv)
{
    struct beck_slice args[] = { beck_str("PING") };
    const struct beck_reply *reply;
    struct output out;
    double began, ms;
    int status = cli_connect(cli);
    int rc;

    (void)options;
    (void)argc;
    (void)argv;
    if (status != EXIT_OK)
        return status;
    began = cli_now();
    rc = cli_call(cli, args, 1, &reply);
    ms = (cli_now() - began) * 1000;
    if (rc != BECK_OK)
        return cli_fail(cli, rc, NULL);
    output_init(&out, cli);
    if (cli->globals.json) {
        text_put_str(&out.text, "{\"reply\":");
        json_put_bytes(&out.text, beck_reply_string(reply));
        text_put_str(&out.text, ",\"server\":");
        json_put_bytes(&out.text, beck_str(beck_client_address(cli->client)));
        text_printf(&out.text, ",\"ms\":%.3f}\n", ms);
    } else {
        text_put_slice(&out.text, beck_reply_string(reply));
        text_printf(&out.text, " from %s in %.3f ms\n", beck_client_address(cli->client), ms);
    }
    status = output_flush(&out);
    output_fini(&out);
    return status;
}

const struct command command_ping = {
    .name = "ping",
    .arguments = "",
    .summary = "ask whether the server is there",
    .text = "Connects, sends PING and prints the answer with the time it took. Ends with status 3 "
            "if there is no "
            "connection.",
    .max_args = 0,
    .run = ping_run,
};
