/* states.h - what is still wanted of a number of streams: asked by a worker, answered by the engine.
 *
 * The worker fills in the oids, the engine's thread asks the host (log_host.describe) for `states` of the same
 * places, the worker goes on with them. The two never have it at the same time. */
#ifndef LOG_STATES_H
#define LOG_STATES_H
#include "log/log.h"

enum { STATES_MAX = 1024 }; /* a slice of work for the engine's thread */

struct states {
    size_t n,
        n_answered; /* the latter is the engine's: it takes more than one turn if there are many */
    uint64_t oids[STATES_MAX];                  /* ascending */
    struct log_stream_state states[STATES_MAX]; /* of oids[0 .. n), once answered; else zero */
};

/* What a step of work that needs them ends with. */
enum step {
    STEP_ASKS,  /* the states have to be answered before the next step */
    STEP_WORKS, /* the next step goes on: this one has done enough for one */
    STEP_DONE,
};

/* Gives back what the states refer to, and empties it. Any thread. */
void states_clear(struct states *s);

#endif
