/*
 * xack.c - XACK, XACKDEL.
 */
#include "broker/engine/command.h"

const struct command xack_commands[] = {
    { .name = NULL },
};
