/* introspect.h - COMMAND: what the table of commands says, for clients that ask. */
#ifndef BROKER_COMMANDS_INTROSPECT_H
#define BROKER_COMMANDS_INTROSPECT_H
#include "broker/engine/command.h"

extern const struct command introspect_subcommands[]; /* of COMMAND */

/* COMMAND without a subcommand. */
command_handler introspect_command;

#endif
