/* keys.h - what the files of commands on keys of any type share. */
#ifndef BROKER_COMMANDS_KEYS_H
#define BROKER_COMMANDS_KEYS_H
#include "broker/engine/command.h"
#include "broker/engine/state.h"

struct client;
struct engine;

/* As TYPE says it. */
const char *keys_type_name(const struct object *o);

/* A database's number; false after an error reply. */
must_check bool keys_parse_db(struct client *c, struct slice text, int *out);

/* keys_dbs.c: keys between databases */
command_handler keys_copy, keys_move, keys_swapdb;

/* keys_object.c: what keys are made of */
extern const struct command keys_object_subs[], keys_memory_subs[];

#endif
