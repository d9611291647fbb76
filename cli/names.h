/* names.h - the names of a database's streams, a page at a time. */
#ifndef CLI_NAMES_H
#define CLI_NAMES_H
#include <stddef.h>

#include "cli/text.h"

struct cli;

/* One page of names; owned, since a reply lives only until the next one. */
struct names {
    struct text bytes; /* the names behind each other */
    size_t *ends;      /* where each ends in bytes */
    size_t n, cap;
};

void names_fini(struct names *names);

/* Adds a name behind the others; it is copied. */
void names_add(struct names *names, struct beck_slice name);

/* Name i, borrowed until the names change. */
struct beck_slice names_at(const struct names *names, size_t i);

/* Calls `each` with the names of all streams that match `pattern`, a page at a time, as long as it
 * returns EXIT_OK. EXIT_OK, or the status to end with (after a message). A stream that is there all
 * the time is seen at least once; one that comes or goes meanwhile may be. */
int names_scan(struct cli *cli, const char *pattern,
               int (*each)(void *context, const struct names *page), void *context);

#endif
