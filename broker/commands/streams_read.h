/* streams_read.h - what XREAD and XREADGROUP share: their limits, and the heads of their replies. */
#ifndef BROKER_COMMANDS_STREAMS_READ_H
#define BROKER_COMMANDS_STREAMS_READ_H
#include "broker/engine/engine.h"

struct streams_limits {
    uint64_t count, maxcount, maxsize; /* UINT64_MAX: no limit */
    bool blocks;
    uint64_t deadline_ms; /* of the engine's clock; UINT64_MAX: it blocks for ever */
};
extern const struct streams_limits STREAMS_LIMITS_NONE;

/* Takes the value of COUNT, MAXCOUNT, MAXSIZE or BLOCK. 0: it is another word; -1: an error has been replied. */
int streams_limits_option(struct engine *e, struct client *c, struct slice word, struct slice value,
                          struct streams_limits *l);
/* Whether they fit together; false if an error has been replied. */
must_check bool streams_limits_check(struct client *c, const struct streams_limits *l);

/* The head of a reply of n streams, and of one of them, behind which its entries follow. */
void streams_reply_parts(struct client *c, size_t n);
void streams_reply_part(struct client *c, struct slice key);

#endif
