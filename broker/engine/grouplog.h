/* grouplog.h - changing groups: each function appends the record and applies it, so nothing changes a group without its
 * record. For commands, and for what the engine does by itself (`c` NULL).
 *
 * The caller has made room in the log: grouplog_bound of all IDs and records together, by its command.bound or by
 * engine_reserve. Memory is had here; where a function can fail nothing has happened then. Each tells redelivery.h, and wakes who waits
 * for what has become possible; no caller calls engine_key_changed for a change of a group alone, which WATCH does not see.
 *
 * Classes: a delivery (and a consumer made on the way) at most `interval`, since losing it only means that it is done again; all else the
 * stream's. Effects on a group alone raise group.always_lsn, not the stream's: a read of new entries does not wait for others'
 * acknowledgements. grouplog_need is what a reply that shows a group's state calls. */
#ifndef BROKER_ENGINE_GROUPLOG_H
#define BROKER_ENGINE_GROUPLOG_H
#include "broker/engine/engine.h"
#include "groups/groups.h"

enum { GROUPLOG_ACK_IDS = 256 /* of a record, in a group that has parked some */ };

/* What `records` records about `ids` IDs take in the log at most. */
static inline size_t grouplog_bound(size_t records, size_t ids)
{
    return records * (JOURNAL_RECORD_MAX + 16) + ids * JOURNAL_ID_MAX;
}

/* A reply shows what the group is: it waits for that. */
void grouplog_need(struct client *c, const struct group *g);

/* XGROUP CREATE; `options` NULL: none. Errors: ERR_FULL (GROUPS_MAX), ERR_NOMEM. */
must_check int grouplog_create(struct engine *e, struct client *c, struct stream *st,
                               struct slice name, struct id last, int64_t entries_read,
                               uint64_t n_behind, unsigned which,
                               const struct group_options *options, struct group **out,
                               struct err *err);
void grouplog_drop(struct engine *e, struct client *c, struct stream *st, struct group *g);
void grouplog_set_position(struct engine *e, struct client *c, struct stream *st, struct group *g,
                           struct id last, int64_t entries_read, uint64_t n_behind);
/* Errors: ERR_NOMEM. */
must_check int grouplog_set_options(struct engine *e, struct client *c, struct stream *st,
                                    struct group *g, unsigned which,
                                    const struct group_options *options, struct err *err);

/* Makes a consumer. `reading`: on the way to a delivery. Errors: ERR_FULL (PEL_SLOT_MAX), ERR_NOMEM. */
must_check int grouplog_add_consumer(struct engine *e, struct client *c, struct stream *st,
                                     struct group *g, struct slice name, bool reading,
                                     struct consumer **out, struct err *err);
/* Returns how many entries it held. */
uint64_t grouplog_drop_consumer(struct engine *e, struct client *c, struct stream *st,
                                struct group *g, struct consumer *consumer, bool hand_back);

/* Errors of both: ERR_NOMEM. */
must_check int grouplog_deliver(struct engine *e, struct client *c, struct stream *st,
                                struct group *g, const struct group_delivery *d, struct err *err);
/* `reading`: it hands entries out (redelivery, CLAIM, history): a delivery. */
must_check int grouplog_change(struct engine *e, struct client *c, struct stream *st,
                               struct group *g, const struct group_change *x, bool reading,
                               struct err *err);

/* Those of the IDs (strictly ascending) that are pending are not any more; no record if none is. Returns how many were. */
uint64_t grouplog_ack(struct engine *e, struct client *c, struct stream *st, struct group *g,
                      const struct id *ids, size_t n);
/* The same of what is parked as well, on the way to a delivery: it is gone from the stream, or handed out and not kept. */
uint64_t grouplog_drop_entries(struct engine *e, struct client *c, struct stream *st,
                               struct group *g, const struct id *ids, size_t n);
/* As the first in all groups, for DELREF; and for all below `first`. */
void grouplog_unref(struct engine *e, struct client *c, struct stream *st, const struct id *ids,
                    size_t n);
void grouplog_unref_below(struct engine *e, struct client *c, struct stream *st, struct id first);

#endif
