/* info.h - INFO: what is to be known about the running broker, as text in sections. */
#ifndef BROKER_COMMANDS_INFO_H
#define BROKER_COMMANDS_INFO_H
#include "broker/engine/command.h"

command_handler info_command;

#endif
