/* lists.h - what the commands on lists share: broker/commands/lists*.c. */
#ifndef BROKER_COMMANDS_LISTS_H
#define BROKER_COMMANDS_LISTS_H
#include "broker/cache/cache.h"

enum lists_side { LISTS_LEFT, LISTS_RIGHT };

/* Bytes of a record that one element takes beside its value, at most: two positions as strings. */
enum { LISTS_ELEMENT_BYTES = 2 * (VARINT_MAX + 2) + VARINT_MAX };

/* "LEFT" or "RIGHT"; false after an error reply. */
bool lists_parse_side(struct client *c, struct slice word, enum lists_side *out);

/* Whether positions are left at both ends of the list (NULL: a new one): no number of pushes uses them up, but files may say
 * anything. False after an error reply. */
bool lists_has_positions(struct client *c, const struct object *o);

/* LEFT|RIGHT [COUNT n] behind a number of keys: LMPOP and BLMPOP, whose argv[at] is that number. False after an error reply. */
struct lists_mpop {
    const struct slice *keys;
    size_t n_keys;
    enum lists_side side;
    uint64_t count;
};
bool lists_parse_mpop(struct client *c, const struct slice *argv, size_t argc, size_t at,
                      struct lists_mpop *out);

/* Removes elements that are there (ranges of positions) by a record; the key goes with the last of them. */
void lists_remove(struct engine *e, struct client *c, struct slice key, struct object *o,
                  const struct element *ranges, size_t n, const char *event);

/* Takes n (1..length) elements from an end: replies with a bulk string for each, then removes them. */
void lists_take(struct engine *e, struct client *c, struct slice key, struct object *o,
                enum lists_side side, uint64_t n);

/* The reply of LMPOP, with at most `count` elements. */
void lists_take_some(struct engine *e, struct client *c, struct slice key, struct object *o,
                     enum lists_side side, uint64_t count);

/* Takes an element from an end of the list `from`, which is there and hot, to one of the list `to`, which may not be there, or be
 * the same; replies with it, or with an error. */
struct lists_move {
    struct slice from, to;
    enum lists_side from_side, to_side;
};
void lists_move_one(struct engine *e, struct client *c, const struct lists_move *m);

command_handler lists_lrem, lists_ltrim, lists_linsert, lists_lpos, lists_lmove, lists_rpoplpush,
    lists_lmpop;
command_handler lists_blpop, lists_brpop, lists_blmove, lists_brpoplpush, lists_blmpop;

#endif
