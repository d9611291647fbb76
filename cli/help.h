/* help.h - the help of a command and the man page, both out of the commands' tables. */
#ifndef CLI_HELP_H
#define CLI_HELP_H
#include "cli/options.h"

/* Adds the overview: all commands, the options that all have, exit codes, environment. */
void help_put_overview(struct text *t);

/* Adds one command's help. */
void help_put_command(struct text *t, const struct command *command);

/* Adds docs/man/beck.1, man(7) source. */
void help_put_man(struct text *t);

#endif
