/* states.h - what is still wanted of a number of streams: asked by a worker, answered by the engine.
 *
 * The worker fills in the oids, the engine's thread asks the host (log_host.describe) for `states` of the same
 * places, the worker goes on with them. The two never have it at the same time.
 *
 * Which of the changes (LOG_CHANGES_OID) live is asked likewise, but on the way, a range of LSNs at a time: there may be
 * any number of them. What dies after the answer counts as live. */
#ifndef LOG_STATES_H
#define LOG_STATES_H
#include "log/log.h"

enum {
    STATES_MAX = 1024,        /* a slice of work for the engine's thread */
    STATES_CHANGES = 1 << 18, /* LSNs of changes: the same */
};

/* Of the changes with LSNs in [first, last] (0 and 0: never asked): how many live, and if the range is not longer than
 * STATES_CHANGES, which. */
struct states_changes {
    bool asked;
    uint64_t first, last, n;
    uint64_t bits[STATES_CHANGES / 64];
};

struct states {
    size_t n,
        n_answered; /* the latter is the engine's: it takes more than one turn if there are many */
    uint64_t oids[STATES_MAX];                  /* ascending */
    struct log_stream_state states[STATES_MAX]; /* of oids[0 .. n), once answered; else zero */
    struct states_changes changes;
};

/* What a step of work that needs them ends with. */
enum step {
    STEP_ASKS, /* the states, or states.changes if they are asked, have to be answered before the next step */
    STEP_WORKS, /* the next step goes on: this one has done enough for one */
    STEP_DONE,
};

/* Has the changes with LSNs in [first, last] be asked; or from `first` on those below `end` of which it can be told which
 * live. */
void states_count_changes(struct states *s, uint64_t first, uint64_t last);
void states_ask_changes(struct states *s, uint64_t first, uint64_t end);

/* Answers that, on the engine's thread. Nothing lives if the host does not say. */
void states_answer_changes(struct states *s, const struct log_host *h);

/* Whether it is known which of the changes in [first, last] live; and of one for which it is. */
static inline bool states_know_changes(const struct states *s, uint64_t first, uint64_t last)
{
    const struct states_changes *c = &s->changes;
    return first <= last && first >= c->first && last <= c->last &&
           c->last - c->first < STATES_CHANGES;
}

static inline bool states_change_lives(const struct states *s, uint64_t lsn)
{
    uint64_t i = lsn - s->changes.first;
    return s->changes.bits[i / 64] >> i % 64 & 1;
}

/* How many in [first, last] live, of a range for which it is known. */
uint64_t states_n_live_changes(const struct states *s, uint64_t first, uint64_t last);

/* Gives back what the states refer to, and empties it. Any thread. */
void states_clear(struct states *s);

#endif
