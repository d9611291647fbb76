/*
 * xdlq.c - XDLQ.
 */
#include "broker/engine/command.h"

const struct command xdlq_commands[] = {
    { .name = NULL },
};
