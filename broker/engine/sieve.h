/* sieve.h - trims that respect what groups refer to: XTRIM and XADD with KEEPREF, DELREF or ACKED. Essay: sieve.c. */
#ifndef BROKER_ENGINE_SIEVE_H
#define BROKER_ENGINE_SIEVE_H
#include "broker/engine/trim.h"

enum {
    SIEVE_IDS_MAX = 4096, /* entries that a call takes out of the middle */
    /* How far a call looks for them: so many entries; fewer, if there are more than 10 groups, but never fewer than the
     * second number. */
    SIEVE_LOOKS = 10000,
    SIEVE_LOOKS_MIN = 100,
    /* What the records of sieve_apply take in the log at most. */
    SIEVE_BOUND = SIEVE_IDS_MAX * 2 * VARINT_MAX + 256,
};

struct sieve {
    enum trim_refs refs;
    struct trim_cut cut; /* off the front */
    struct id *ids;      /* ACKED: what goes besides, ascending; none is below cut.first */
    size_t n;
    uint64_t bytes; /* of those */
};

/* Decides, as trim_plan does; `out` is to be given to sieve_fini in any case. Errors: as trim_plan. */
must_check int sieve_plan(struct engine *e, const struct stream *st, const struct trim *trim,
                          const struct trim_added *added, struct wants *wants, struct sieve *out,
                          struct err *err);
void sieve_fini(struct sieve *x);

/* How many entries go. */
static inline uint64_t sieve_n(const struct sieve *x)
{
    return x->cut.n + x->n;
}

/* Makes room in the state for sieve_apply. Errors: ERR_NOMEM. */
must_check int sieve_prepare(struct engine *e, struct stream *st, const struct sieve *x,
                             struct err *err);

/* Does it by records, for which room has been made; returns how many entries have gone. What was about to be appended has been.
 * The caller calls engine_key_changed. */
uint64_t sieve_apply(struct engine *e, struct client *c, struct stream *st, const struct sieve *x);

#endif
