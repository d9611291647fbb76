/* groups.h - what the commands about consumer groups share. */
#ifndef CLI_GROUPS_H
#define CLI_GROUPS_H
#include <stdbool.h>

#include "cli/when.h"
#include "client/beck.h"

struct cli;

/* Where a group stands: what it reads next is behind `id`. */
struct groups_place {
    struct when when;
    char id[WHEN_ID_MAX]; /* as XGROUP takes it: an ID, or $ */
};

/* Reads start, end, an ID or a time, as an option's value. EXIT_OK, or EXIT_USAGE after a message. */
int groups_parse_place(const struct cli *cli, const char *option, const char *text,
                       struct groups_place *out);

/* Finds the ID, by the server's clock if need be. EXIT_OK, or the status to end with. */
int groups_find_place(struct cli *cli, struct groups_place *place);

/* Whether the last error says that there is no such group, or no such key. */
bool groups_is_none(const struct cli *cli);

/* Says that there is no such group, and how to make it. Returns EXIT_RUNTIME. */
int groups_none(const struct cli *cli, struct beck_slice stream, struct beck_slice group);

#endif
