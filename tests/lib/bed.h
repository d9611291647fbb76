/* bed.h - what the benchmarks of beckd beside redis-server share: where both run, how they start, what a line says. */
#ifndef TESTS_LIB_BED_H
#define TESTS_LIB_BED_H
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include "log/err.h"
#include "tests/lib/server.h"

struct bed {
    const char *program;       /* for messages; borrowed, as all that follow */
    const char *only;          /* the part that is wanted; NULL: all */
    const char *base;          /* where servers have their directories */
    const char *beckd, *redis; /* programs */
    char preload[PATH_MAX];    /* of preload_syncs.c */
    bool missed;               /* a limit was */
};

/* Looks for the programs and the directory; prints what is missing, and that `target` makes it. */
must_check bool bed_find(struct bed *b, const char *target);

bool bed_wants(const struct bed *b, const char *part);
/* The argument of an option; exits with 2 if it is no number of 1..max. */
size_t bed_number(const struct bed *b, const char *text, size_t max);

/* Starts beckd in class `interval`, with one more option (NULL: none); redis-server with `appendfsync everysec`. */
must_check int bed_beckd(const struct bed *b, struct server *s, const char *option,
                         const char *value, struct err *e);
must_check int bed_redis(const struct bed *b, struct server *s, struct err *e);
/* Kills beckd, starts it again and gives the time to the first answer to `request`. */
must_check int bed_beckd_again(const struct bed *b, struct server *s, const char *request,
                               double *seconds, struct err *e);

/* Errors say what was asked. */
must_check int bed_ask(const struct server *s, const char *request, struct err *e);
struct server_cost bed_cost(const struct server *s);

/* Prints what was measured, and if limit > 0 whether it was met. */
void bed_line(struct bed *b, const char *what, double value, const char *unit, double limit);
/* Sorts them. */
double bed_median(double *values, size_t n);

#endif
