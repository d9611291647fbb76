/* commands.h - the commands' tables; each is defined in the file of its name. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H
#include "cli/options.h"

extern const struct command command_produce;
extern const struct command command_consume;
extern const struct command command_stream_ls;
extern const struct command command_stream_info;
extern const struct command command_stream_rm;
extern const struct command command_group_ls;
extern const struct command command_group_info;
extern const struct command command_group_create;
extern const struct command command_group_set;
extern const struct command command_group_rm;
extern const struct command command_group_reset;
extern const struct command command_dlq_ls;
extern const struct command command_dlq_show;
extern const struct command command_dlq_redrive;
extern const struct command command_dlq_purge;
extern const struct command command_get;
extern const struct command command_set;
extern const struct command command_del;
extern const struct command command_ttl;
extern const struct command command_keys;
extern const struct command command_watch;
extern const struct command command_hist;
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
