/* groupdigest.h - what the groups of a stream come to in a digest. Only engine/digest.c uses it. */
#ifndef BROKER_ENGINE_GROUPDIGEST_H
#define BROKER_ENGINE_GROUPDIGEST_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "groups/groups.h"

struct groupdigest;

/* Adds the hashes of all groups to the sum, at once. False: no memory. */
bool groupdigest_now(const struct groups *gs, uint64_t sum[2]);

/* Keeps what the groups are now, but for pending entries, which make up for changes from now on; NULL: no memory. The
 * groups must not be freed before groupdigest_end, but may be taken out of the stream. */
struct groupdigest *groupdigest_begin(const struct groups *gs);

/* Hashes about *budget pending entries and takes them off it; adds to the sum what is complete. True: there is more. */
bool groupdigest_step(struct groupdigest *x, size_t *budget, uint64_t sum[2]);

void groupdigest_end(struct groupdigest *x); /* at any time; NULL is fine */

#endif
