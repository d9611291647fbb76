/*
 * help.c - `beck help`, --help, and docs/man/beck.1.
 *
 * All of it comes from the tables that also drive the parsing, so nothing can be told that is not
 * so, or left untold. docs/man/beck.1 is what `beck help --man` prints; a test compares them. Texts
 * are paragraphs; `beck X` in backquotes becomes bold in the man page, indented lines are examples.
 */
#include "cli/help.h"

#include <stdio.h>

#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/json.h"
#include "cli/output.h"

enum { HELP_WIDTH = 80, HELP_COLUMN = 30 };

static const char help_intro[] =
    "beck puts events into streams of a Beck server (or any that speaks the Redis protocol), gets "
    "them out "
    "again, and looks after streams. Data goes to stdout, everything else to stderr.";

static const struct {
    const char *code, *meaning;
} help_exits[] = {
    { "0", "all went well" },
    { "1", "the server refused, or something failed on the way" },
    { "2", "wrong usage or settings" },
    { "3", "no connection, or the login was refused" },
    { "4", "no answer in time; with --exit-empty, nothing to read" },
    { "5", "only a part was done" },
    { "130, 143", "ended by SIGINT or SIGTERM" },
};

static const struct {
    const char *name, *meaning;
} help_environment[] = {
    { "BECK_URL", "The server, as for --url." },
    { "BECK_PASSWORD", "The password, unless -a or --password-file is given." },
    { "NO_COLOR", "If set and not empty, messages have no colour on a terminal." },
};

static const char help_json[] = "`beck produce` reads JSON Lines and `beck consume --json` prints "
                                "them, and what is read is what is printed: "
                                "a stream's fields are bytes, and each JSON value has its bytes. A "
                                "number, true, false and null are stored "
                                "as their text, digit for digit; an array or object as its text "
                                "without blanks between its parts. A string "
                                "is stored as it is, so that other clients see plain values, "
                                "unless its bytes are themselves a JSON text "
                                "(7, null, [1], \"x\"): then it is stored as JSON, with its "
                                "quotes. Bytes that are not UTF-8 are printed as "
                                "{\"base64\":\"...\"} and such an object is read as those bytes; a "
                                "field name that is not UTF-8 as "
                                "\"base64:...\".";

/* ---- Plain text ---- */

/* Adds words, broken at HELP_WIDTH and indented by `indent`; `at` columns are used already. */
static void help_put_words(struct text *t, const char *p, size_t n, size_t at, size_t indent)
{
    const char *end = p + n;
    bool first = true;

    while (p < end) {
        size_t len = strcspn(p, " \n");
        len = len < (size_t)(end - p) ? len : (size_t)(end - p);
        if (!first && at + 1 + len > HELP_WIDTH) {
            text_printf(t, "\n%*s", (int)indent, "");
            at = indent;
            first = true;
        }
        if (!first)
            text_put_char(t, ' ');
        text_put(t, p, len);
        at += len + !first;
        first = false;
        p += len + (p + len < end);
    }
    text_put_char(t, '\n');
}

/* The length of the block at p: an indented line, or a paragraph up to an empty or indented one. */
static size_t help_block(const char *p)
{
    size_t n = strcspn(p, "\n");

    if (*p == ' ' || n == 0)
        return n;
    while (p[n] == '\n' && p[n + 1] != '\n' && p[n + 1] != ' ' && p[n + 1] != '\0')
        n += 1 + strcspn(p + n + 1, "\n");
    return n;
}

static void help_put_text(struct text *t, const char *p)
{
    while (*p != '\0') {
        size_t n = help_block(p);
        if (*p == ' ' || n == 0) {
            text_put(t, p, n);
            text_put_char(t, '\n');
        } else {
            help_put_words(t, p, n, 0, 0);
        }
        p += n + (p[n] == '\n');
    }
}

/* A name, then its meaning from HELP_COLUMN on. */
static void help_put_item(struct text *t, const char *name, size_t n, const char *meaning)
{
    text_put_str(t, "  ");
    text_put(t, name, n);
    if (n + 2 >= HELP_COLUMN)
        text_printf(t, "\n%*s", HELP_COLUMN, "");
    else
        text_printf(t, "%*s", (int)(HELP_COLUMN - 2 - n), "");
    help_put_words(t, meaning, strlen(meaning), HELP_COLUMN, HELP_COLUMN);
}

static void help_put_options(struct text *t, const struct option_spec *specs, size_t n)
{
    struct text name = { 0 };

    for (size_t i = 0; i < n; i++) {
        name.n = 0;
        if (specs[i].letter == 0)
            text_put_str(&name, "    ");
        options_put_name(&name, &specs[i]);
        help_put_item(t, name.p, name.n, specs[i].help);
    }
    text_fini(&name);
}

static void help_put_usage(struct text *t, const struct command *command)
{
    text_printf(t, "beck %s [OPTION...]%s%s\n", command->name,
                *command->arguments != '\0' ? " " : "", command->arguments);
}

void help_put_command(struct text *t, const struct command *command)
{
    text_put_str(t, "Usage: ");
    help_put_usage(t, command);
    text_put_char(t, '\n');
    help_put_text(t, command->text);
    if (command->n_options > 0) {
        text_put_str(t, "\nOptions:\n");
        help_put_options(t, command->options, command->n_options);
    }
    text_put_str(t, "\nOptions of every command:\n");
    help_put_options(t, globals_options, n_globals_options);
}

void help_put_overview(struct text *t)
{
    text_put_str(t, "Usage: beck [OPTION...] COMMAND [OPTION...] [ARGUMENT...]\n\n");
    help_put_text(t, help_intro);
    text_put_str(t, "\nCommands (`beck help COMMAND` tells more):\n");
    for (size_t i = 0; commands[i] != NULL; i++)
        help_put_item(t, commands[i]->name, strlen(commands[i]->name), commands[i]->summary);
    text_put_str(t, "\nOptions of every command:\n");
    help_put_options(t, globals_options, n_globals_options);
    help_put_item(t, "    --help", 10, "Print help, of a command if one is named.");
    help_put_item(t, "    --version", 13, "Print the version.");
    text_put_str(t, "\nExit status:\n");
    for (size_t i = 0; i < sizeof help_exits / sizeof help_exits[0]; i++)
        help_put_item(t, help_exits[i].code, strlen(help_exits[i].code), help_exits[i].meaning);
    text_put_str(t, "\nEnvironment:\n");
    for (size_t i = 0; i < sizeof help_environment / sizeof help_environment[0]; i++)
        help_put_item(t, help_environment[i].name, strlen(help_environment[i].name),
                      help_environment[i].meaning);
}

/* ---- man(7) ---- */

/* Adds text as roff takes it literally; backquotes switch bold on and off. */
static void help_put_roff(struct text *t, const char *p, size_t n)
{
    bool bold = false;

    for (size_t i = 0; i < n; i++) {
        if ((i == 0 || p[i - 1] == '\n') && (p[i] == '.' || p[i] == '\''))
            text_put_str(t, "\\&");
        if (p[i] == '-')
            text_put_str(t, "\\-");
        else if (p[i] == '\\')
            text_put_str(t, "\\e");
        else if (p[i] == '~')
            text_put_str(t, "\\(ti");
        else if (p[i] == '\'')
            text_put_str(t, "\\(aq");
        else if (p[i] == '`')
            text_put_str(t, (bold = !bold) ? "\\fB" : "\\fR");
        else
            text_put_char(t, p[i]);
    }
}

static void help_put_roff_text(struct text *t, const char *p)
{
    bool example = false;

    while (*p != '\0') {
        size_t n = help_block(p);
        if ((*p == ' ') != example) {
            text_put_str(t, example ? ".EE\n" : ".PP\n.EX\n");
            example = !example;
        }
        if (n == 0) {
            text_put_str(t, p[1] == ' ' || p[1] == '\0' ? "" : ".PP\n");
        } else {
            help_put_roff(t, p, n);
            text_put_char(t, '\n');
        }
        p += n + (p[n] == '\n');
    }
    if (example)
        text_put_str(t, ".EE\n");
}

static void help_put_roff_options(struct text *t, const struct option_spec *specs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        text_put_str(t, ".TP\n");
        if (specs[i].letter != 0)
            text_printf(t, "\\fB\\-%c\\fR, ", specs[i].letter);
        text_put_str(t, "\\fB\\-\\-");
        help_put_roff(t, specs[i].name, strlen(specs[i].name));
        text_put_str(t, "\\fR");
        if (specs[i].value != NULL)
            text_printf(t, " \\fI%s\\fR", specs[i].value);
        text_put_char(t, '\n');
        help_put_roff(t, specs[i].help, strlen(specs[i].help));
        text_put_char(t, '\n');
    }
}

static void help_put_roff_item(struct text *t, const char *name, const char *meaning)
{
    text_printf(t, ".TP\n.B %s\n", name);
    help_put_roff(t, meaning, strlen(meaning));
    text_put_char(t, '\n');
}

void help_put_man(struct text *t)
{
    text_printf(
        t,
        ".\\\" Made by `beck help --man`: the text is in cli/, beside the code that it tells of.\n"
        ".TH BECK 1 2026-11-24 \"Beck %s\" \"Beck manual\"\n"
        ".SH NAME\nbeck \\- put events into streams and get them out again\n"
        ".SH SYNOPSIS\n\\fBbeck\\fR [\\fIoption\\fR...] \\fIcommand\\fR [\\fIoption\\fR...] "
        "[\\fIargument\\fR...]\n.SH DESCRIPTION\n",
        beck_version());
    help_put_roff_text(t, help_intro);
    text_put_str(t, ".SH COMMANDS\n");
    for (size_t i = 0; commands[i] != NULL; i++) {
        struct text usage = { 0 };
        help_put_usage(&usage, commands[i]);
        text_put_str(t, ".SS ");
        help_put_roff(t, usage.p, usage.n);
        text_fini(&usage);
        help_put_roff_text(t, commands[i]->text);
        help_put_roff_options(t, commands[i]->options, commands[i]->n_options);
    }
    text_put_str(t, ".SH OPTIONS OF EVERY COMMAND\n");
    help_put_roff_options(t, globals_options, n_globals_options);
    help_put_roff_item(t, "\\-\\-help", "Print help, of a command if one is named.");
    help_put_roff_item(t, "\\-\\-version", "Print the version.");
    text_put_str(t, ".SH EVENTS AS JSON\n");
    help_put_roff_text(t, help_json);
    text_put_str(t, ".SH EXIT STATUS\n");
    for (size_t i = 0; i < sizeof help_exits / sizeof help_exits[0]; i++)
        help_put_roff_item(t, help_exits[i].code, help_exits[i].meaning);
    text_put_str(t, ".SH ENVIRONMENT\n");
    for (size_t i = 0; i < sizeof help_environment / sizeof help_environment[0]; i++)
        help_put_roff_item(t, help_environment[i].name, help_environment[i].meaning);
    text_put_str(t, ".SH SEE ALSO\n.BR beckd (1),\n.BR libbeck (3)\n");
}

/* ---- The command ---- */

struct help_options {
    bool man;
};

static const struct command *help_find(int argc, char **argv)
{
    char name[64];

    snprintf(name, sizeof name, "%s%s%s", argv[0], argc > 1 ? " " : "", argc > 1 ? argv[1] : "");
    for (size_t i = 0; commands[i] != NULL; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static void help_put_commands_json(struct text *t)
{
    text_put_char(t, '{');
    for (size_t i = 0; commands[i] != NULL; i++) {
        if (i > 0)
            text_put_char(t, ',');
        json_put_bytes(t, beck_str(commands[i]->name));
        text_put_char(t, ':');
        json_put_bytes(t, beck_str(commands[i]->summary));
    }
    text_put_str(t, "}\n");
}

static int help_run(struct cli *cli, const void *options, int argc, char **argv)
{
    const struct help_options *o = options;
    const struct command *command = argc > 0 ? help_find(argc, argv) : NULL;
    struct output out;
    int status;

    if (argc > 0 && command == NULL)
        return cli_usage(cli, "there is no command \"%s%s%s\"", argv[0], argc > 1 ? " " : "",
                         argc > 1 ? argv[1] : "");
    output_init(&out, cli);
    if (o->man)
        help_put_man(&out.text);
    else if (cli->globals.json)
        help_put_commands_json(&out.text);
    else if (command != NULL)
        help_put_command(&out.text, command);
    else
        help_put_overview(&out.text);
    status = output_flush(&out);
    output_fini(&out);
    return status;
}

static const struct option_spec help_specs[] = {
    { 0, "man", NULL, OPTION_FLAG, offsetof(struct help_options, man),
      "Print this manual page's source." },
};

static const struct help_options help_defaults = { false };

const struct command command_help = {
    .name = "help",
    .arguments = "[COMMAND]",
    .summary = "explain beck, or one command",
    .text = "Prints all commands, or one command's help, which --help behind it prints too. With "
            "--json it is an "
            "object of the commands' names and what they do.",
    .options = help_specs,
    .n_options = sizeof help_specs / sizeof help_specs[0],
    .defaults = &help_defaults,
    .options_bytes = sizeof help_defaults,
    .max_args = 2,
    .run = help_run,
};
