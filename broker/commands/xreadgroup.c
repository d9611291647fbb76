/*
 * xreadgroup.c - XREADGROUP.
 */
#include "broker/engine/command.h"

const struct command xreadgroup_commands[] = {
    { .name = NULL },
};
