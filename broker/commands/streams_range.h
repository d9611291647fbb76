/* streams_range.h - replies of entries that workers make: ranges that are not in memory, or too long for one reply
 * at once. */
#ifndef BROKER_COMMANDS_STREAMS_RANGE_H
#define BROKER_COMMANDS_STREAMS_RANGE_H
#include "broker/engine/cold.h"
#include "broker/engine/engine.h"

enum {
    RANGE_AT_ONCE_MAX = 1000,      /* entries that are replied at once, where some are sealed */
    RANGE_AT_ONCE_BYTES = 1 << 20, /* the same, of the reply */
    RANGE_AT_ONCE_TAIL_MAX = 16 * 1024, /* entries that are replied at once, where none is */
    RANGE_WHOLE_BYTES_MAX =
        4 * WANTS_BYTES_MAX /* of a reply that cannot wait, where some are sealed */
};

/* What is left for the streams of an XREAD from some one on. */
struct range_budget {
    uint64_t count;          /* entries of each stream */
    uint64_t entries, bytes; /* of all together; UINT64_MAX: no limit */
    bool empty;              /* nothing has been taken yet: one entry goes through, however large */
};

/* Of one stream, while entries are taken from the budget. */
struct range_fit {
    uint64_t n, max, used;
    bool full; /* something did not fit: nothing behind it is looked at */
};
struct range_fit range_fit_begin(const struct range_budget *b, struct slice key);
/* Whether the next entry still fits; it is taken then. */
bool range_fit_take(struct range_fit *f, struct range_budget *b, const uint8_t *entry);
void range_fit_end(const struct range_fit *f, struct range_budget *b);

/* No entry of stream `oid` up to `upto` is of interest, as has been found out. */
struct range_seen {
    uint64_t oid;
    struct id upto;
};

struct range_part {
    const struct stream *st; /* NULL: gives nothing */
    struct slice key;        /* for the reply; in `ctx`, if the reply has keys */
    struct id from, to;
};

/* Entries written aside, for a reply at once. */
struct range_collect {
    struct outbuf out;
    uint64_t n;
};

/* Collects what the part gives within the budget, which shrinks by it; b->count, backwards as for a request. If some of it is
 * sealed it must be in memory and little; with `whole` it may be up to RANGE_WHOLE_BYTES_MAX, and is read on the spot if
 * need be. Errors: ERR_COLD, ERR_TOO_BIG (streams_reply_failure has a text), ERR_CORRUPT, ERR_IO, ERR_NOMEM. */
must_check int range_collect(struct engine *e, const struct client *c,
                             const struct range_part *part, bool backwards, bool whole,
                             struct range_budget *b, struct range_collect *out, struct err *err);

/* Notes all blocks that the range, at most `count` entries of it, needs, unless all of them are in memory. */
void range_want(struct engine *e, const struct stream *st, struct id from, struct id to,
                uint64_t count, bool backwards, struct wants *wants);

struct range_request {
    bool keyed;     /* as XREAD replies: keys with their entries, streams without any left out */
    bool backwards; /* not with `keyed` */
    struct range_budget budget;
    const struct range_part *parts; /* borrowed for the call */
    size_t n;
    void *ctx; /* taken over, for the next two; with free() */
    /* There is nothing to reply (of a keyed one), or there may be room now for what there was no room for: goes on with the
     * command from `ctx`, which is its own again. seen[i] tells of part i; NULL in the second case. */
    void (*again)(struct engine *e, struct client *c, void *ctx, const struct range_seen *seen);
};

/* The client waits for its reply, which is made from what the streams are now. */
void range_start(struct engine *e, struct client *c, const struct range_request *q);

#endif
