/* redelivery.h - what groups do when time passes: entries become ready again or dead, the dead move to their dead-letter
 * stream, idle consumers vanish, readers wake. Essay: redelivery.c.
 *
 * Belongs to the engine's thread. A group without options, delays or waiting CLAIM readers costs nothing here. */
#ifndef BROKER_ENGINE_REDELIVERY_H
#define BROKER_ENGINE_REDELIVERY_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "broker/engine/engine.h"
#include "groups/groups.h"

struct redelivery;

/* Errors: ERR_NOMEM. */
must_check int redelivery_new(struct redelivery **out, struct err *e);
void redelivery_free(struct redelivery *r); /* NULL is fine */

/* A start: looks at every stream that has groups, a slice a round. */
void redelivery_walk(struct engine *e);

/* The group has changed, or who waits for it has: when to look at it next may have. Cheap. */
void redelivery_changed(struct engine *e, struct stream *st, struct group *g);

/* The stream goes on under another oid. */
void redelivery_began_anew(struct engine *e, struct stream *st);

/* A command has named the consumer, or a connection that blocked as it does so no longer: its CONSUMERTTL begins anew. */
void redelivery_seen(struct engine *e, struct stream *st, struct group *g, struct consumer *c);
/* When a command named it last, for who shows it: after a start this begins anew. */
static inline uint64_t redelivery_seen_ms(const struct engine *e, const struct consumer *c)
{
    return c->seen_ms == 0 ? e->started_ms : c->seen_ms;
}

/* Right after the round's clock was set: what is due by it becomes ready, and readers of those keys are woken. */
void redelivery_begin(struct engine *e);
/* At the end of a round: dead letters and idle consumers, a slice of them. True if there is more to do at once. */
bool redelivery_step(struct engine *e);
/* When there is something to do next, on the engine's clock; UINT64_MAX: never. */
uint64_t redelivery_next_ms(const struct engine *e);

struct redelivery_stats {
    uint64_t n_scheduled; /* groups that have a time, and entries of the heap that are void */
    uint64_t n_dead_lettered, n_gone; /* moved since the start; of these without their fields */
    uint64_t n_failed; /* moves that could not be read or logged, and are tried again */
    uint64_t n_consumers_expired;
};
/* Dead entries of the group have moved, n_gone of them without their fields. */
void redelivery_count_moved(struct engine *e, struct group *g, uint64_t n, uint64_t n_gone);
void redelivery_get_stats(const struct engine *e, struct redelivery_stats *out);

/* NULL, or the name of the first invariant found broken. */
const char *redelivery_check(struct engine *e);

#endif
