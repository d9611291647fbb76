/* reading.h - what connections that wait to read the same group share. Essay: reading.c.
 *
 * Belongs to the engine's thread. */
#ifndef BROKER_ENGINE_READING_H
#define BROKER_ENGINE_READING_H
#include <stdbool.h>
#include <stdint.h>
#include "broker/engine/engine.h"
#include "groups/groups.h"

struct reading;
struct readings;

/* One who waits for one group. In the waiter's memory, as are the two names. */
struct reading_wait {
    int db;
    struct slice key, consumer;
    uint64_t idle_ms; /* of CLAIM; UINT64_MAX: without */
    bool is_cold;     /* it waits for what has to be read, not for something to happen */
    /* reading.c's: */
    struct reading *reading; /* NULL: not bound */
    uint64_t oid, consumer_lsn;
    struct reading_wait *next, *prev; /* of the same group */
};

/* Errors: ERR_NOMEM. */
must_check int readings_new(struct engine *e, struct readings **out, struct err *err);
void readings_free(struct readings *rs); /* nobody waits; NULL is fine */

/* A number that no look at groups has had; see group.looked. */
uint64_t reading_look(struct engine *e);

/* `w` waits for this group from now on, as that consumer (NULL: there is none yet); for another one before, or for none.
 * Errors: ERR_NOMEM; it is then not bound. */
must_check int reading_bind(struct engine *e, struct reading_wait *w, struct stream *st,
                            struct group *g, struct consumer *consumer, struct err *err);
void reading_unbind(struct engine *e, struct reading_wait *w); /* fine if it is not bound */

/* Whether a look at the group would certainly give nothing to `w`. Costs next to nothing. */
bool reading_is_idle(const struct engine *e, const struct reading_wait *w);
/* A look has found that there is nothing for `w`, at this moment. */
void reading_found_nothing(const struct engine *e, const struct reading_wait *w);

/* Has the wants loaded for `w`, which is bound, and takes them over; if something is being loaded for its group already,
 * drops them. Then all who wait for the group try again, with that in memory. Errors: as cold_load, the wants are still the
 * caller's. */
must_check int reading_load(struct engine *e, struct reading_wait *w, struct wants *wants,
                            struct err *err);
/* Why the load that was for `w`, which tries again now, has failed (text: cold_load_text); OK: it has not. */
int reading_failure(const struct reading_wait *w);

#endif
