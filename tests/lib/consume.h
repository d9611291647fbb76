/* consume.h - consumers of a group for benchmarks: connections that read new entries and acknowledge them. */
#ifndef TESTS_LIB_CONSUME_H
#define TESTS_LIB_CONSUME_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/err.h"
#include "tests/lib/load.h"

struct consume {
    const char *key, *group; /* words without blanks; the group exists */
    size_t connections;      /* 1..LOAD_CONNECTIONS_MAX, consumers c0, c1, ... */
    size_t count;            /* COUNT of XREADGROUP */
    bool ack;                /* each reply is acknowledged by one XACK */
    uint64_t max;            /* ends when so many entries have come; 0: when there are no more */
};

/* One request under way on each connection: XREADGROUP, then XACK of what came, and again, until all are told that there is
 * nothing. *n is the number of entries. Errors: ERR_IO, ERR_PROTO (an error reply, or fewer acknowledged than were sent). */
must_check int consume(const struct load_target *t, const struct consume *q, uint64_t *n,
                       struct err *e);

#endif
