/* roster.h - the consumers of a group by when a command named them last: who has been idle for CONSUMERTTL vanishes. Essay:
 * roster.c.
 *
 * Belongs to the engine's thread. For engine/redelivery.c, which has the time. */
#ifndef BROKER_ENGINE_ROSTER_H
#define BROKER_ENGINE_ROSTER_H
#include <stdbool.h>
#include <stdint.h>
#include "broker/engine/engine.h"
#include "groups/groups.h"

enum { ROSTER_SLICE = 64 /* consumers that roster_pass looks at */ };

/* The consumer is named now. */
void roster_seen(const struct engine *e, struct group *g, struct consumer *c);
/* After a start: all that nobody has named yet were named when the engine started. */
void roster_enroll(const struct engine *e, struct group *g);

/* Something in the group has changed: who was busy may be no longer. */
static inline void roster_changed(struct group *g)
{
    g->chores.n_look = g->chores.n_late;
}

/* When roster_pass has something to do; UINT64_MAX: never. */
uint64_t roster_next_ms(const struct group *g);
/* Has consumers vanish whose time has come, a slice of them, and adds to *n_gone how many. False: the log has no room now. */
must_check bool roster_pass(struct engine *e, struct stream *st, struct group *g, uint64_t *n_gone);

/* NULL, or the name of the first invariant found broken. */
const char *roster_check(const struct group *g);

#endif
