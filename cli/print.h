/* print.h - replies and bytes for people, and replies as JSON. */
#ifndef CLI_PRINT_H
#define CLI_PRINT_H
#include "cli/text.h"

/* Bytes as one word: as they are if they are printable without blanks and quotes, else quoted. */
void print_word(struct text *t, struct beck_slice s);

/* Bytes in quotes, with \n, \" and \xNN for what cannot be printed. */
void print_quoted(struct text *t, struct beck_slice s);

/* The first bytes of s in quotes, at most `max` of them, and dots if that is not all. */
void print_start(struct text *t, struct beck_slice s, size_t max);

/* A reply for people, several lines if need be, each with an end. Strings at the top are printed as
 * they are, or quoted with `quote` if they hold what a terminal should not get. */
void print_reply(struct text *t, const struct beck_reply *r, bool quote);

/* A reply as JSON, without a line end. Strings are strings or {"base64":...}, maps are objects. */
void print_json(struct text *t, const struct beck_reply *r);

#endif
