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

enum {
    WHEN_ID_MAX = 44, /* bytes with a parenthesis, two numbers of 20 digits, a hyphen, a zero */
    WHEN_DURATION_MAX = 24 /* bytes of a duration's text with its zero */
};

struct when {
    enum when_kind kind;
    char id[WHEN_ID_MAX];
    uint64_t ms;
};

/* Reads start, end, an ID ("5", "5-1", "(5-1" for behind it), a number of milliseconds since 1970
 * (which is an ID too), a date or time of RFC 3339 (UTC unless it names a zone), or "90s ago" (ms s
 * m h d w). False if it is none of these. */
bool when_parse(const char *text, struct when *out);

/* Writes (in WHEN_ID_MAX bytes) the ID to stand at so that reading goes on with what `id` names:
 * the one before it, or itself behind a parenthesis. */
void when_put_before(const char *id, char *out);

/* Whether ID a is less than, equal to or greater than b: negative, 0, positive. */
int when_compare(const char *a, const char *b);

/* Reads a duration such as 500ms, 30s, 5m, 2h, 1d, of at most some 300 years; 0 needs no unit.
 * False if it is none. */
bool when_parse_duration(const char *text, uint64_t *out_ms);

/* Writes a duration (in WHEN_DURATION_MAX bytes) in the largest unit that tells it exactly. */
void when_put_duration(uint64_t ms, char *out);

#endif
