/* syntax.h - a command's syntax, written as one line in the table, as the tree that COMMAND DOCS
 * tells. */
#ifndef BROKER_COMMANDS_SYNTAX_H
#define BROKER_COMMANDS_SYNTAX_H
#include <stddef.h>

struct client;

/* How many arguments stand at the top of the line. */
size_t syntax_count(const char *line);

/* Replies with them: an array of maps. */
void syntax_reply(struct client *c, const char *line);

#endif
