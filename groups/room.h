/* room.h - memory for a structure whose changes must not fail: what they may need is set aside beforehand.
 *
 * A piece comes from malloc; only where that has none it is cut from the block set aside, which is never touched otherwise
 * and so costs addresses, no memory. */
#ifndef GROUPS_ROOM_H
#define GROUPS_ROOM_H
#include <stddef.h>
#include "log/err.h"

struct room_block;

struct room { /* all zero: empty */
    struct room_block *spare;
    size_t bytes; /* of the pieces in use, with what they cost besides */
};

enum { ROOM_HEAD = 16 };
/* What a piece of n bytes takes from what is set aside. */
static inline size_t room_cost(size_t n)
{
    return ROOM_HEAD + ((n + 15) & ~(size_t)15);
}

/* Sets aside `bytes` (sum of room_cost), no matter how many are now; gives a surplus back. Errors: ERR_NOMEM, nothing changed. */
must_check int room_reserve(struct room *r, size_t bytes, struct err *e);
void *room_get(struct room *r, size_t n); /* within what is set aside; never NULL */
void *room_try(struct room *r, size_t n); /* NULL if malloc has none */
void room_put(struct room *r, void *p);   /* NULL is fine */
void room_fini(struct room *r);           /* the block; all pieces are back */

#endif
