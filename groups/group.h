/* group.h - one consumer group of a stream: where it has got to, its consumers, what is pending, its options.
 *
 * Memory only. The functions that change it are effects: each has a record (groups/journal.h), and commands and replay call
 * the same ones. They read no clock and no configuration, and cannot fail within what group_prepare made room for. */
#ifndef GROUPS_GROUP_H
#define GROUPS_GROUP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "groups/order.h"
#include "groups/pel.h"
#include "log/dict.h"
#include "log/err.h"
#include "log/id.h"

enum {
    GROUP_BACKOFF_MAX = 32,             /* delays of BACKOFF */
    GROUP_FIELD_MAX = 1024,             /* bytes of the name of ORDERBY's field */
    GROUP_PARKED_MAX = 10000,           /* entries skipped by ORDERBY at a time */
    GROUP_ORDERED_PENDING_MAX = 100000, /* MAXPENDING of a group with ORDERBY that has none */
};

enum consumer_list { /* of engine/roster.c */
                     CONSUMER_UNLISTED,
                     CONSUMER_TIMELY, /* group.oldest .. newest, by seen_ms */
                     CONSUMER_LATE,   /* the ring chores.late */
};

struct consumer {
    struct dict_node node; /* in its group, by name; must be first */
    struct slice name;     /* owned, behind the struct */
    uint64_t lsn;          /* of the record that made it */
    uint64_t active_ms;    /* when it last got entries; 0: never */
    uint16_t slot;
    /* not of the state: */
    uint64_t seen_ms;               /* the last command that named it, on the engine's clock */
    uint32_t n_waiting;             /* connections that block as this consumer */
    struct consumer *older, *newer; /* by when CONSUMERTTL has to look at it; engine/roster.c */
    uint8_t listed;                 /* enum consumer_list: where these links are */
};

/* What XGROUP CFGSET sets; zero, NULL or empty: not set. */
struct group_options {
    uint64_t ack_wait_ms, max_deliver, max_pending, consumer_ttl_ms;
    uint64_t backoff_ms[GROUP_BACKOFF_MAX];
    size_t n_backoff;
    struct slice dlq;      /* name of a stream in the same database */
    struct slice order_by; /* a field */
    uint64_t order_seed;   /* of the hash of its values, chosen when ORDERBY is set */
    struct pel *pel; /* from group_prepare_options to group_apply_options: for entries with keys */
};

enum group_option { /* numbers in records: never changed or reused */
                    GROUP_ACKWAIT = 1,
                    GROUP_MAXDELIVER = 2,
                    GROUP_DLQ = 3,
                    GROUP_BACKOFF = 4,
                    GROUP_MAXPENDING = 5,
                    GROUP_CONSUMERTTL = 6,
                    GROUP_ORDERBY = 7,
                    GROUP_OPTION_COUNT = 8
};

/* What engine/redelivery.c and engine/roster.c keep of a group, besides its alarm and the list of consumers; zero at first. */
struct group_chores {
    struct consumer *late;   /* ring of consumers whose time has passed while they hold something */
    uint32_t n_late, n_look; /* how many they are; of these, to be looked at again now */
    uint64_t late_ms;        /* when they are at the latest */
    uint64_t move_ms;        /* no dead entry is moved before; UINT64_MAX: one is being read */
    struct id move_from;     /* the next one to be moved: those before could not be */
    bool move_singly;        /* each by itself, since some cannot be */
    uint32_t complained;     /* bits of error codes that the operator has been told of */
};

struct group {
    uint64_t gid;         /* LSN of the record that made it; never reused */
    struct slice name;    /* owned */
    struct id last_id;    /* last delivered */
    int64_t entries_read; /* Redis's counter; -1: not known */
    uint64_t n_behind;    /* live entries of the stream with ID <= last_id, exactly */
    struct pel *pel;
    struct dict consumers;   /* by name */
    struct consumer **slots; /* by slot; [0] is NULL */
    size_t n_slots;
    size_t lowest_slot;            /* no slot below it is free */
    struct group_options *options; /* NULL: none, it behaves as in Redis */
    struct order *order; /* with ORDERBY only; NULL from loading a checkpoint to group_rebuild */
    /* not of the state: */
    struct id
        *highest; /* borrowed: raised to last_id wherever that goes; NULL: nobody wants to know */
    uint64_t
        always_lsn; /* of the last always-class effect on it that is not also one on its stream */
    uint64_t as_of; /* at a start: records up to this one are in it */
    uint64_t n_redelivered, n_dead_lettered; /* since the start */
    uint64_t n_lost; /* the same: of a view of changes, entries that were gone before it got them */
    struct consumer *oldest, *newest; /* see consumer.older */
    struct group_chores chores;
    uint64_t alarm_ms;      /* engine/redelivery.c: when it is to be looked at; UINT64_MAX: not */
    uint64_t claim_idle_ms; /* the least min-idle of connections that block with CLAIM */
    uint32_t n_claiming;    /* those connections */
    uint64_t looked;        /* commands/xreadgroup_look.c: the last look that came to it */
    struct group *next;     /* of those that were dropped: engine/state.c */
};

/* A group with a name and nothing else, gid 0. `hash_key` (16 bytes) is borrowed. Errors: ERR_NOMEM. */
must_check int group_new(const uint8_t hash_key[16], struct slice name, struct group **out,
                         struct err *e);
bool group_free_some(struct group *g, size_t budget); /* as pel_free_some; NULL is fine */
void group_free(struct group *g);

static inline bool group_is_plain(const struct group *g)
{
    return g->options == NULL;
}
extern const struct group_options GROUP_OPTIONS_NONE;
static inline const struct group_options *group_options(const struct group *g)
{
    return g->options == NULL ? &GROUP_OPTIONS_NONE : g->options;
}
/* Whether `>` hands out again what has failed. */
static inline bool group_redelivers(const struct group *g)
{
    return group_options(g)->ack_wait_ms != 0 || group_options(g)->n_backoff != 0;
}
/* How many entries may be pending, those that are dead aside, and parked together; UINT64_MAX: no bound. */
uint64_t group_max_pending(const struct group *g);
/* The delay before redelivery number `count` (1..), by BACKOFF. */
uint64_t group_backoff_ms(const struct group *g, uint64_t count);
/* Whether an entry that fails having been delivered so often is dead. */
bool group_buries(const struct group *g, uint64_t count);
/* The hash that ORDERBY has for a value; never 0. */
uint32_t group_key(const struct group *g, struct slice value);

struct consumer *group_find_consumer(const struct group *g, struct slice name); /* or NULL */
struct consumer *group_consumer_at(const struct group *g, uint16_t slot);       /* or NULL */
size_t group_n_consumers(const struct group *g);
/* All of them by name, as bytes compare; the array is the caller's, NULL if memory ran out or there is none. */
struct consumer **group_list_consumers(const struct group *g);

/* ---- effects ---- */

/* Room for effects on n IDs in all, at or above `lowest`: see pel_reserve. Errors: ERR_NOMEM, nothing changed. */
must_check int group_prepare(struct group *g, size_t n, struct id lowest, struct err *e);

/* Where it has got to: XGROUP SETID. What is parked is forgotten. */
void group_set_position(struct group *g, struct id last, int64_t entries_read, uint64_t n_behind);

/* The group's options with those of `x` that are in `which` (bits 1 << enum group_option) taken over, as a copy for
 * group_apply_options; *out is NULL if none is set. *order is NULL if the keys stay as they are. Errors: ERR_NOMEM. */
must_check int group_prepare_options(const struct group *g, unsigned which,
                                     const struct group_options *x, struct group_options **out,
                                     struct order **order, struct err *e);
/* Takes both over and frees the former ones. Where ORDERBY is set or removed nothing is pending or parked: what a checkpoint
 * may have of later entries is forgotten, since the log has all of it. */
void group_apply_options(struct group *g, struct group_options *options, struct order *order);

/* A new consumer in the lowest slot that is free (ERR_FULL: there is none; ERR_NOMEM), not added yet. */
must_check int group_prepare_consumer(struct group *g, struct slice name, struct consumer **out,
                                      struct err *e);
/* The same in a slot that is known to be free, 1..PEL_SLOT_MAX: for replay. */
must_check int group_prepare_consumer_at(struct group *g, struct slice name, uint16_t slot,
                                         struct consumer **out, struct err *e);
void group_add_consumer(struct group *g, struct consumer *c, uint64_t lsn);
/* Takes it out of the list that it is in. Not of the state: engine/roster.c makes them. */
void group_unlist_consumer(struct group *g, struct consumer *c);
/* The consumer leaves its group, and the list of g->oldest, and is freed. What it held is pending no longer; or is nacked by nobody from time_ms on if
 * `hand_back`. Returns how many entries that were. */
uint64_t group_drop_consumer(struct group *g, uint16_t slot, bool hand_back, uint64_t time_ms);

/* New entries are handed out to `slot`, and some parked: XREADGROUP `>`. */
struct group_delivery {
    uint16_t
        slot; /* PEL_NOBODY: with NOACK; nothing becomes pending then (nor with n 0, which names who has read) */
    uint64_t time_ms;
    struct id last; /* where the group has got to */
    int64_t entries_read;
    uint64_t n_behind;
    const struct id *ids; /* ascending, n of them: pending with count 1 */
    const uint32_t *keys; /* NULL: no ORDERBY */
    size_t n;
    const struct id *parked; /* the same, for those that are skipped */
    const uint32_t *parked_keys;
    size_t n_parked;
};
void group_deliver(struct group *g, const struct group_delivery *d);

/* Entries are pending as said, whether they were before or not: claimed, redelivered, nacked, redriven; and parked ones
 * that are delivered. */
struct group_change {
    uint16_t slot; /* if nacked: PEL_NOBODY leaves the slots as they are */
    bool nacked;
    bool active; /* the consumer has got entries at time_ms */
    uint64_t time_ms, active_ms;
    const struct id *ids;   /* strictly ascending */
    const uint64_t *counts; /* NULL: `count` for all */
    uint64_t count;
    const uint32_t *keys; /* NULL: as they are, 0 for new ones */
    size_t n;
};
void group_change(struct group *g, const struct group_change *x);

/* These are pending (or parked) no longer; returns how many were. IDs in any order, ascending is fast. */
uint64_t group_ack(struct group *g, const struct id *ids, size_t n);

/* ---- what happens in the stream ---- */

/* These entries, which were live, are deleted: n_behind, marks. What is parked of them is forgotten. */
void group_entries_removed(struct group *g, const struct id *ids, size_t n);
/* All entries below `first` are, n_cut that lived; all there were if `all`. */
void group_entries_cut(struct group *g, struct id first, uint64_t n_cut, bool all);
/* Pending entries below `first` are forgotten, but for those that the stream does not have: XTRIM DELREF. */
void group_forget_below(struct group *g, struct id first);
/* See groups_begin_anew. */
void group_begin_anew(struct group *g);

/* ---- time ---- */

/* As pel_step; keeps which keys are free. */
bool group_step(struct group *g, uint64_t now_ms, size_t budget);

/* After everything was loaded and replayed: makes `order` anew, gives back to the group what consumers hold that do not
 * exist, drops what the options make impossible. Returns how many entries were repaired. Errors: ERR_NOMEM. */
must_check int group_rebuild(struct group *g, uint64_t *n_repaired, struct err *e);

const char *group_check(const struct group *g);

#endif
