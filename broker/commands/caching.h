/* caching.h - CLIENT TRACKING and its relatives, for the table in connection.c. */
#ifndef BROKER_COMMANDS_CACHING_H
#define BROKER_COMMANDS_CACHING_H
#include "broker/engine/command.h"

command_handler caching_tracking; /* CLIENT TRACKING */
command_handler caching_info;     /* CLIENT TRACKINGINFO */
command_handler caching_next;     /* CLIENT CACHING */
command_handler caching_redirect; /* CLIENT GETREDIR */

#endif
