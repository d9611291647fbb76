/* when.h - where to begin reading a stream: start, end, an ID, a time. */
#ifndef CLI_WHEN_H
#define CLI_WHEN_H
#include <stdbool.h>
#include <stdint.h>

enum when_kind {
    WHEN_START,
    WHEN_END,
    WHEN_ID,  /* `id` as XRANGE takes it: "5", "5-1", "(5-1" */
    WHEN_AGO, /* `ms` before now */
};

struct when {
    enum when_kind kind;
    char id[44]; /* with a parenthesis, two numbers of 20 digits and a hyphen */
    uint64_t ms;
};

/* Reads start, end, an ID ("5", "5-1", "(5-1" for behind it), a number of milliseconds since 1970
 * (which is an ID too), a date or time of RFC 3339 (UTC unless it names a zone), or "90s ago" (ms s
 * m h d w). False if it is none of these. */
bool when_parse(const char *text, struct when *out);

#endif
