/*
 * main.c - `beck`: finds the command, reads its options, runs it.
 *
 * Options that every command has may stand before the command or behind it. A command's name is one
 * word or two ("stream ls"). What is not known gets the nearest name as a suggestion.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/help.h"
#include "cli/output.h"

const struct command *const commands[] = {
    &command_produce,    &command_consume,     &command_stream_ls,   &command_stream_info,
    &command_stream_rm,  &command_group_ls,    &command_group_info,  &command_group_create,
    &command_group_set,  &command_group_rm,    &command_group_reset, &command_dlq_ls,
    &command_dlq_show,   &command_dlq_redrive, &command_dlq_purge,   &command_get,
    &command_set,        &command_del,         &command_ttl,         &command_keys,
    &command_watch,      &command_hist,        &command_ping,        &command_info,
    &command_call,       &command_log_stat,    &command_log_verify,  &command_log_dump,
    &command_log_repair, &command_log_salvage, &command_help,        NULL,
};

/* Prints what `put` adds to a text. */
static int main_print(struct cli *cli, const struct command *command, enum options_result what)
{
    struct output out;
    int status;

    output_init(&out, cli);
    if (what == OPTIONS_VERSION)
        text_printf(&out.text, "beck %s\n", beck_version());
    else if (command != NULL)
        help_put_command(&out.text, command);
    else
        help_put_overview(&out.text);
    status = output_flush(&out);
    output_fini(&out);
    return status;
}

/* The command that argv[0] (and argv[1]) name; *words is how many words its name has. */
static const struct command *main_find(int argc, char **argv, int *words)
{
    for (size_t i = 0; commands[i] != NULL; i++) {
        const char *name = commands[i]->name;
        size_t first = strcspn(name, " ");
        if (strlen(argv[0]) != first || memcmp(name, argv[0], first) != 0)
            continue;
        *words = name[first] == '\0' ? 1 : 2;
        if (name[first] == '\0' || (argc > 1 && strcmp(name + first + 1, argv[1]) == 0))
            return commands[i];
    }
    return NULL;
}

/* The first word of `stream ls` or `log stat`, when the second is missing or wrong: adds the commands that begin so.
 * False if there is none. */
static bool main_put_family(struct text *t, const char *word)
{
    size_t n = strlen(word);

    for (size_t i = 0; commands[i] != NULL; i++)
        if (strncmp(commands[i]->name, word, n) == 0 && commands[i]->name[n] == ' ')
            text_printf(t, "%s%s", t->n > 0 ? ", " : "", commands[i]->name);
    return t->n > 0;
}

static int main_unknown(struct cli *cli, int argc, char **argv)
{
    struct text names = { 0 };
    bool family = main_put_family(&names, argv[0]);
    bool second = family && argc > 1 && argv[1][0] != '-';
    const char *best = NULL;
    char word[64];

    if (family && !second) {
        int status = cli_usage(cli, "%s what? There are: %.*s", argv[0], (int)names.n, names.p);
        text_fini(&names);
        return status;
    }
    text_fini(&names);
    snprintf(word, sizeof word, "%s%s%s", argv[0], second ? " " : "", second ? argv[1] : "");
    for (size_t i = 0; commands[i] != NULL; i++) {
        const char *name = commands[i]->name;
        if ((options_is_near(word, name) || (second && strstr(name, argv[1]) != NULL)) &&
            (best == NULL || options_distance(word, name) < options_distance(word, best)))
            best = name;
    }
    if (best != NULL)
        return cli_usage(cli, "there is no command \"%s\"; did you mean: beck %s?", word, best);
    return cli_usage(cli, "there is no command \"%s\"", word);
}

/* Reads the options behind the command's name and runs it. argv[0] is the last word of the name. */
static int main_run(struct cli *cli, int argc, char **argv)
{
    const struct command *command = cli->command;
    void *options = calloc(1, command->options_bytes + 1);
    struct option_set sets[2] = { { command->options, command->n_options, options },
                                  { globals_options, n_globals_options, &cli->globals } };
    struct text why = { 0 };
    int rest = argc, status;
    enum options_result result;

    if (options == NULL)
        return EXIT_RUNTIME;
    if (command->options_bytes > 0)
        memcpy(options, command->defaults, command->options_bytes);
    result = options_parse(sets, 2, argc, argv, command->verbatim, &rest, &why);
    if (result == OPTIONS_BAD)
        status = cli_usage(cli, "%.*s", (int)why.n, why.p);
    else if (result != OPTIONS_OK)
        status = main_print(cli, command, result);
    else if (argc - rest < command->min_args)
        status = cli_usage(cli, "something is missing");
    else if (command->max_args >= 0 && argc - rest > command->max_args)
        status = cli_usage(cli, "\"%s\" is too much", argv[rest + command->max_args]);
    else
        status = command->run(cli, options, argc - rest, argv + rest);
    text_fini(&why);
    free(options);
    return status;
}

static int main_command(struct cli *cli, int argc, char **argv)
{
    struct option_set set = { globals_options, n_globals_options, &cli->globals };
    struct text why = { 0 };
    int rest = argc, words = 1, status;
    enum options_result result = options_parse(&set, 1, argc, argv, true, &rest, &why);

    if (result == OPTIONS_BAD) {
        status = cli_usage(cli, "%.*s", (int)why.n, why.p);
        text_fini(&why);
        return status;
    }
    if (result != OPTIONS_OK)
        return main_print(cli, NULL, result);
    if (rest == argc) {
        fputs("beck: which command? Try: beck help\n", stderr);
        return EXIT_USAGE;
    }
    cli->command = main_find(argc - rest, argv + rest, &words);
    if (cli->command == NULL)
        return main_unknown(cli, argc - rest, argv + rest);
    rest += words - 1;
    return main_run(cli, argc - rest, argv + rest);
}

/* Releases what may hold a password. */
static void main_forget(char *secret)
{
    if (secret != NULL)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}

int main(int argc, char **argv)
{
    const char *no_colour = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    bool dumb = term != NULL && strcmp(term, "dumb") == 0;
    struct cli cli = { .globals = { .timeout_ms = 30000, .connect_timeout_ms = 5000 },
                       .signal_fd = -1 };
    int status;

    cli.stderr_is_terminal = isatty(STDERR_FILENO) == 1 && !dumb;
    cli.colour = cli.stderr_is_terminal && (no_colour == NULL || *no_colour == '\0');
    status = main_command(&cli, argc, argv);
    beck_client_free(cli.client);
    beck_conf_free(cli.conf);
    main_forget(cli.globals.password);
    main_forget(cli.globals.url);
    if (cli.signal_fd >= 0)
        close(cli.signal_fd);
    return status;
}
