/* names.h - the names of a database's keys, a page at a time. */
#ifndef CLI_NAMES_H
#define CLI_NAMES_H
#include "cli/list.h"

struct cli;

/* Calls `each` with the names of all keys of a type (NULL: of any) that match `pattern`, a page at a time, as long as it
 * returns EXIT_OK. EXIT_OK, or the status to end with (after a message). A key that is there all
 * the time is seen at least once; one that comes or goes meanwhile may be. */
int names_scan(struct cli *cli, const char *type, const char *pattern,
               int (*each)(void *context, const struct list *page), void *context);

#endif
