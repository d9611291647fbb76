/* strings.h - what the files of string commands share. */
#ifndef BROKER_COMMANDS_STRINGS_H
#define BROKER_COMMANDS_STRINGS_H
#include "broker/cache/cache.h"
#include "broker/engine/command.h"

struct client;
struct engine;

/* strings_set.c: whole values */
command_handler strings_set, strings_setnx, strings_setex, strings_psetex, strings_getset,
    strings_mset, strings_msetnx, strings_msetex;
command_prefault strings_set_prefault;
command_bound strings_mset_bound, strings_msetex_bound;

/* strings_number.c */
command_handler strings_incr, strings_decr, strings_incrby, strings_decrby, strings_incrbyfloat,
    strings_increx;
command_bound strings_float_bound;

/* strings_range.c: parts of values */
command_handler strings_getrange, strings_setrange, strings_append;
command_bound strings_patch_bound;

/* Conditions on what a string has, of SET and DELEX. */
enum strings_condition { STRINGS_IFEQ, STRINGS_IFNE, STRINGS_IFDEQ, STRINGS_IFDNE };

enum { STRINGS_DIGEST_N = 16 };

/* XXH3 of a value, 64 bits, as hexadecimal digits. */
void strings_digest(struct slice value, char out[STRINGS_DIGEST_N]);
/* Whether the value meets the condition. False after an error reply: `want` cannot be a digest. */
must_check bool strings_compare(struct client *c, enum strings_condition condition,
                                struct slice value, struct slice want, bool *out);

/* Sets a string as commands do that keep what expiry it has; false after an error reply. */
must_check bool strings_replace(struct engine *e, struct client *c, struct slice key,
                                struct object *o, struct slice value);

#endif
