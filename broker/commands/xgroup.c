/*
 * xgroup.c - XGROUP, and the table of what groups are made and shown by.
 */
#include "broker/engine/command.h"

const struct command xgroup_commands[] = {
    { .name = NULL },
};
