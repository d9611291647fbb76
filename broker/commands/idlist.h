/* idlist.h - the IDs that a command names, as numbers. */
#ifndef BROKER_COMMANDS_IDLIST_H
#define BROKER_COMMANDS_IDLIST_H
#include "broker/commands/streams.h"

enum { IDLIST_INLINE = 128 };

struct idlist {
    struct id *ids; /* `few`, or of the heap */
    size_t n;
    struct id few[IDLIST_INLINE]; /* not set where it is not needed */
};

/* Reads the n texts, all of them before anything can have happened; false if an error has been replied. idlist_fini in any
 * case. */
must_check bool idlist_parse(struct client *c, const struct slice *argv, size_t n,
                             struct idlist *x);
void idlist_fini(struct idlist *x);

/* Brings them into strictly ascending order; of equal ones one stays. Costs next to nothing if they are. */
void idlist_sort(struct idlist *x);

#endif
