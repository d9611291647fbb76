/* lookback.h - goes through the changes that the history has, from the newest to the oldest, on a worker. Essay: lookback.c. */
#ifndef BROKER_COMMANDS_LOOKBACK_H
#define BROKER_COMMANDS_LOOKBACK_H
#include <stdbool.h>
#include "broker/cache/change.h"
#include "broker/engine/cold.h"
#include "broker/engine/engine.h"

struct lookback;

struct lookback_kind {
    /* On a worker: one more change; false: no others are of interest. What went wrong: lookback_fail. */
    bool (*see)(struct lookback *l, struct id id, const uint8_t *entry);
    /* On the engine's thread: all have been seen, or enough of them. Replies. */
    void (*reply)(struct client *c, struct lookback *l);
    void (*free)(struct lookback *l); /* what the kind has in it, not the memory itself */
};

/* The first member of what a kind needs, in memory of its own (malloc, zeroed). */
struct lookback {
    struct cold_work work; /* must be first */
    const struct lookback_kind *kind;
    struct id from,
        to; /* IDs of changes that are looked at; lookback_start sees to it that all of them are history */
    bool is_begun, is_over;
    struct sealed sealed;
    bool has_sealed, is_open;
    struct reader reader;
    const uint8_t **tail;
    uint64_t n_tail; /* of these, not seen yet */
    int rc;
    struct err err;
};

/* The client waits for its reply; l->kind, l->from and l->to are set. Takes `l` over. */
void lookback_start(struct engine *e, struct client *c, struct lookback *l);

/* On a worker. */
void lookback_fail(struct lookback *l, int rc, const char *what);

#endif
