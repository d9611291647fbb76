/* evict.h - what leaves memory when there is more than `maxmemory`: values first, which the log has, then keys.
 *
 * Each object has 16 bits that tell when it was used, in seconds (they begin again after 18 hours: an object that has not been used for
 * longer seems to have been used later), or, if the policy is one of -lfu, how often: a counter of 8 bits as Redis's, which grows
 * the more slowly the larger it is, and the minute, of 256, up to which it has fallen. */
#ifndef BROKER_CACHE_EVICT_H
#define BROKER_CACHE_EVICT_H
#include <stdbool.h>
#include <stdint.h>
#include "broker/engine/engine.h"

enum evict_policy { /* in the order of the setting's names, which is Redis's */
                    EVICT_VOLATILE_LRU,
                    EVICT_VOLATILE_LFU,
                    EVICT_VOLATILE_RANDOM,
                    EVICT_VOLATILE_TTL,
                    EVICT_ALL_LRU,
                    EVICT_ALL_LFU,
                    EVICT_ALL_RANDOM,
                    EVICT_NONE
};

struct evict; /* one of an engine */

must_check int evict_new(struct evict **out, struct err *e);
void evict_free(struct evict *ev); /* NULL is fine */

static inline bool evict_counts_uses(const struct config *config)
{
    return config->maxmemory_policy == EVICT_ALL_LFU ||
           config->maxmemory_policy == EVICT_VOLATILE_LFU;
}

/* At the beginning of a round: the time by which objects are marked. */
void evict_begin(struct engine *e);
/* An object has been used. */
void evict_count_use(struct engine *e, struct object *o);
static inline void evict_touch(struct engine *e, struct object *o)
{
    if (e->counts_uses)
        evict_count_use(e, o);
    else
        o->clock = e->state.new_clock;
}

/* A cold value is hot again. */
void evict_loaded(struct engine *e, const struct object *o);

/* At the end of a round: values and keys leave, some of them. True: there is more to do at once. */
bool evict_step(struct engine *e);
/* Whether memory is full and nothing may leave it: commands that need some are refused. */
bool evict_is_full(const struct engine *e);
/* The configuration has changed. */
void evict_reconsider(struct engine *e);

/* For OBJECT: how many seconds ago it was used, and the counter of uses. */
uint64_t evict_idle_s(const struct engine *e, const struct object *o);
unsigned evict_frequency(const struct engine *e, const struct object *o);

#endif
