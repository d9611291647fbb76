/* info.c - `beck info [SECTION...]`: what INFO tells, as it is or as JSON. */
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/json.h"
#include "cli/output.h"

/* A value as JSON: numbers as numbers, all else as a string. */
static void info_put_value(struct text *t, struct beck_slice value)
{
    bool number = value.n > 0 && (value.p[0] == '-' || (value.p[0] >= '0' && value.p[0] <= '9'));

    if (number && json_is_text(value.p, value.n))
        text_put_slice(t, value);
    else
        json_put_bytes(t, value);
}

/* One line without its end: "# Section", "name:value" or nothing. *open says whether a section is
 * open, *first whether nothing is in it yet. */
static void info_put_line(struct text *t, struct beck_slice line, bool *open, bool *first)
{
    const char *colon = memchr(line.p, ':', line.n);

    if (line.n > 2 && line.p[0] == '#') {
        if (*open)
            text_put_str(t, "},");
        json_put_bytes(t, beck_bytes(line.p + 2, line.n - 2));
        text_put_str(t, ":{");
        *open = *first = true;
    } else if (colon != NULL && *open) {
        if (!*first)
            text_put_char(t, ',');
        *first = false;
        json_put_bytes(t, beck_bytes(line.p, (size_t)(colon - line.p)));
        text_put_char(t, ':');
        info_put_value(t, beck_bytes(colon + 1, line.n - (size_t)(colon - line.p) - 1));
    }
}

static void info_put_json(struct text *t, struct beck_slice info)
{
    const char *end = info.p + info.n;
    bool open = false, first = true;

    text_put_char(t, '{');
    for (const char *at = info.p; at < end;) {
        const char *feed = memchr(at, '\n', (size_t)(end - at));
        size_t n = (size_t)((feed != NULL ? feed : end) - at);
        info_put_line(t, beck_bytes(at, n > 0 && at[n - 1] == '\r' ? n - 1 : n), &open, &first);
        at += n + (feed != NULL);
    }
    text_put_str(t, open ? "}}\n" : "}\n");
}

/* The text without carriage returns. */
static void info_put_text(struct text *t, struct beck_slice info)
{
    for (size_t i = 0; i < info.n; i++)
        if (info.p[i] != '\r')
            text_put_char(t, info.p[i]);
}

static int info_run(struct cli *cli, const void *options, int argc, char **argv)
{
    const struct beck_reply *reply;
    struct beck_slice *args = calloc((size_t)argc + 1, sizeof *args);
    struct output out;
    int status = cli_connect(cli);
    int rc;

    (void)options;
    if (status != EXIT_OK || args == NULL) {
        free(args);
        return status != EXIT_OK ? status : EXIT_RUNTIME;
    }
    args[0] = beck_str("INFO");
    for (int i = 0; i < argc; i++)
        args[i + 1] = beck_str(argv[i]);
    rc = cli_call(cli, args, (size_t)argc + 1, &reply);
    free(args);
    if (rc != BECK_OK)
        return cli_fail(cli, rc, NULL);
    output_init(&out, cli);
    if (cli->globals.json)
        info_put_json(&out.text, beck_reply_string(reply));
    else
        info_put_text(&out.text, beck_reply_string(reply));
    status = output_flush(&out);
    output_fini(&out);
    return status;
}

const struct command command_info = {
    .name = "info",
    .arguments = "[SECTION...]",
    .summary = "print what the server tells about itself",
    .text = "Prints the server's INFO: all default sections, or those named. With --json it is an "
            "object of "
            "sections, with numbers as numbers.",
    .max_args = -1,
    .run = info_run,
};
