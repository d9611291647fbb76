/* lines.h - the lines of a file or pipe, from a big buffer; the caller decides when to read. */
#ifndef CLI_LINES_H
#define CLI_LINES_H
#include <stdbool.h>

#include "client/beck.h"

enum { LINES_LINE_MAX = 512 << 20 }; /* bytes: the largest argument a server can be told to take */

enum lines_result {
    LINES_LINE, /* here is one */
    LINES_MORE, /* read first */
    LINES_END,  /* there are no more */
    LINES_TOO_LONG
};

struct lines {
    int fd;
    bool regular; /* a file: reading never waits for somebody */
    bool ended;
    char *buf;
    size_t at, len, cap;
    size_t scanned;  /* bytes behind `at` known to hold no line end */
    uint64_t number; /* of the line given out last, from 1 */
    uint64_t bytes;  /* given out, line ends included */
    uint64_t total;  /* the file's size, 0 if unknown */
};

/* `fd` is borrowed. */
void lines_init(struct lines *l, int fd);
void lines_fini(struct lines *l);

/* The next line without its line feed, borrowed until lines_read. */
enum lines_result lines_next(struct lines *l, struct beck_slice *out);

/* Reads once. 0, or errno; interrupted and would-block count as 0. */
int lines_read(struct lines *l);

#endif
