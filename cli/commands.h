/* commands.h - the commands' tables; each is defined in the file of its name. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H
#include "cli/options.h"

extern const struct command command_produce;
extern const struct command command_consume;
extern const struct command command_stream_ls;
extern const struct command command_stream_info;
extern const struct command command_stream_rm;
extern const struct command command_ping;
extern const struct command command_info;
extern const struct command command_call;
extern const struct command command_log_stat;
extern const struct command command_log_verify;
extern const struct command command_log_dump;
extern const struct command command_log_repair;
extern const struct command command_log_salvage;
extern const struct command command_help;

#endif
