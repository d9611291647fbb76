/* claims.h - pending entries about to change hands, with what a reply shows of them: what XCLAIM and XAUTOCLAIM share.
 *
 * Gathered first, in ascending order, which may have to read; then claims_apply. */
#ifndef BROKER_COMMANDS_CLAIMS_H
#define BROKER_COMMANDS_CLAIMS_H
#include "broker/commands/xgroup.h"
#include "broker/engine/cursor.h"

struct claim {
    const uint8_t *entry; /* in the tail; or NULL */
    size_t at;            /* else: in bodies */
};

struct claims {
    struct id *ids; /* those that are claimed; all arrays have room for `cap` */
    uint64_t *counts;
    uint32_t *keys; /* of ORDERBY */
    struct claim *shown;
    size_t n, cap;
    struct id *gone; /* those that are pending no longer, since they are deleted */
    size_t n_gone;
    uint8_t *bodies; /* copies of sealed entries: the cursor that found them has moved on */
    size_t n_bodies, cap_bodies;
    uint64_t shown_bytes; /* of all entries that are shown */
};

/* Room for n that are claimed, and n that are gone. Errors: ERR_NOMEM. claims_fini in any case. */
must_check int claims_init(struct claims *x, size_t n, struct err *e);
void claims_fini(struct claims *x);

/* Seeks the live entry: *out is false if there is none; else the cursor is at it. Errors: as struct cursor. */
must_check int claims_seek(struct cursor *at, const struct pel_entry *entry, bool *out,
                           struct err *e);

/* One more is claimed, which had that key and gets that count. `at`: the cursor at its entry, or NULL if it is not shown.
 * Errors: ERR_NOMEM; ERR_TOO_BIG: of sealed entries more than WANTS_BYTES_MAX. Nothing is added then. */
must_check int claims_add(struct claims *x, struct id id, uint64_t count, uint32_t key,
                          const struct cursor *at, struct err *e);
void claims_add_gone(struct claims *x, struct id id);

/* The key that ORDERBY has for the entry; 0: the group has none, or the entry not that field. */
uint32_t claims_key(const struct group *g, const uint8_t *entry);

/* What a count becomes by one more delivery. */
static inline uint64_t claims_count(uint64_t count)
{
    return count < PEL_COUNT_FATAL ? count + 1 : count;
}

/* Whether an entry that is pending like that may be taken: held for min_idle_ms. */
static inline bool claims_is_idle(const struct pel_entry *entry, uint64_t min_idle_ms,
                                  uint64_t now_ms)
{
    return min_idle_ms == 0 || (entry->time_ms <= now_ms && now_ms - entry->time_ms >= min_idle_ms);
}

/* The consumer of that name, made if need be. Errors: as grouplog_add_consumer. */
must_check int claims_consumer(struct engine *e, struct client *c, struct stream *st,
                               struct group *g, struct slice name, struct consumer **out,
                               struct err *err);

/* What is gone leaves the group, what is claimed is the consumer's since time_ms. Errors: ERR_NOMEM. */
must_check int claims_apply(struct engine *e, struct client *c, struct stream *st, struct group *g,
                            const struct claims *x, const struct consumer *consumer,
                            uint64_t time_ms, struct err *err);

/* Replies number i: its ID, or with its fields. */
void claims_reply(struct client *c, const struct claims *x, size_t i, bool id_only);
/* Replies an error of any of these. */
void claims_reply_failure(struct client *c, int rc, const struct err *err);

command_prefault xclaim_claim_prefault, xautoclaim_prefault, xnack_prefault;
command_bound xclaim_claim_bound, xautoclaim_bound, xnack_bound;

#endif
