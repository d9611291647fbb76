/* groups.h - what the commands about consumer groups share. */
#ifndef CLI_GROUPS_H
#define CLI_GROUPS_H
#include <stdbool.h>

#include "cli/list.h"
#include "cli/when.h"

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

/* What groups_each calls: `info` has the fields of BECK GROUP, or as many as XINFO GROUPS has, and
 * lives for the call. Anything but EXIT_OK ends the walk. */
typedef int groups_visitor(void *context, struct beck_slice stream, const struct beck_reply *info);

/* Visits the groups of the n streams, or of all streams of the database if n is 0. EXIT_OK, or the
 * status to end with: EXIT_RUNTIME or EXIT_PARTIAL if streams are not there. */
int groups_each(struct cli *cli, char *const *streams, int n, groups_visitor *visit, void *context);

/* Adds "stream":..., "group":... and all other fields of `info`, without braces. */
void groups_put_json(struct text *t, struct beck_slice stream, const struct beck_reply *info);

/* An integer of `info`; `otherwise` if it is not there or nil. */
int64_t groups_number(const struct beck_reply *info, const char *field, int64_t otherwise);

/* Sends the words as one command. As beck_client_call. */
int groups_call(struct cli *cli, const struct list *words, const struct beck_reply **out);

#endif
