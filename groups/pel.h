/* pel.h - the pending entries of a group, by ID: who has each, since when, how often it was handed out.
 *
 * 14 to 20 bytes an entry: pages of up to PEL_PAGE entries under a tree whose nodes sum up what is below them, so that what
 * is asked for by owner, by age or by due time is found without looking at everything. Essay: pel.c.
 *
 * Memory only, one thread. Functions that add take what pel_reserve has made room for, and cannot fail. */
#ifndef GROUPS_PEL_H
#define GROUPS_PEL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/err.h"
#include "log/id.h"

struct pel;

enum {
    PEL_PAGE = 256,
    PEL_NOBODY = 0,       /* a slot: no consumer */
    PEL_SLOT_MAX = 65000, /* consumers of a group at most */
    PEL_PARKED = 65535,   /* a slot: skipped by a group with ORDERBY, not delivered yet */
};

/* A count that only XNACK FATAL gives; adding to a count stops below it. */
static const uint64_t PEL_COUNT_FATAL = INT64_MAX;

struct pel_entry {
    struct id id;
    uint64_t time_ms; /* of delivery; if nacked, from when it may be handed out again */
    uint64_t count;   /* deliveries, up to PEL_COUNT_FATAL */
    uint32_t key;     /* hash of the ORDERBY field, 0 if it has none or the group no ORDERBY */
    uint16_t
        slot; /* of its consumer; if nacked, of the last that had it, or PEL_NOBODY; or PEL_PARKED */
    bool nacked;
    bool gone; /* deleted from the stream */
    bool dead; /* it has failed for the last time, and stays: pel_step says so */
};

enum pel_kind { PEL_HELD = 1, PEL_NACKED = 2, PEL_SKIPPED = 4 /* parked */ };

/* What a group's options say of failures. An entry fails when it is nacked, or has been held for ack_wait_ms. It is dead
 * then if its count has reached max_deliver or is PEL_COUNT_FATAL. Else it is ready after backoff_ms[count - 1] (the last
 * one for all further), if it was held; a nacked one, to whose time_ms that has been added already, at time_ms. */
struct pel_rule {
    uint64_t ack_wait_ms;       /* 0: what is held does not fail */
    uint64_t max_deliver;       /* 0: no limit */
    const uint64_t *backoff_ms; /* borrowed for as long as the rule is set */
    size_t n_backoff;
    bool redelivers; /* false: nothing is ready */
    bool buries;     /* false: nothing is dead */
};

/* `ordered`: entries have keys. Errors: ERR_NOMEM. */
must_check int pel_new(bool ordered, struct pel **out, struct err *e);
/* Frees about `budget` entries' worth; true when all is gone, p too. NULL is fine. */
bool pel_free_some(struct pel *p, size_t budget);
void pel_free(struct pel *p); /* at once */

/* Makes room so that the next `n` pel_set of IDs at or above `lowest` cannot fail. Far less is set aside if that is above
 * everything, and they come in order. Errors: ERR_NOMEM, nothing changed. */
must_check int pel_reserve(struct pel *p, size_t n, struct id lowest, struct err *e);
/* Adds the entry, or replaces the one with its ID; `gone` stays set once it is. x->dead is not looked at:
 * whether it is ready or dead is for the next pel_step to say. */
void pel_set(struct pel *p, const struct pel_entry *x);
/* False if it is not there. *out (may be NULL) is what it was. Ascending IDs one after the other are fast; so they are for
 * pel_set and pel_get. */
bool pel_remove(struct pel *p, struct id id, struct pel_entry *out);
bool pel_get(const struct pel *p, struct id id, struct pel_entry *out);
/* The entry, if it is there, has been deleted from the stream; false if it is not. */
bool pel_mark_gone(struct pel *p, struct id id);
/* All entries below `first` have, those to come too. */
void pel_mark_gone_below(struct pel *p, struct id first);
/* What has that mark keeps it, but entries to come below are not gone. */
void pel_begin_anew(struct pel *p);

/* A consumer leaves. What it holds is removed, or nacked by nobody with that time_ms; returns how many that were. Nacked
 * entries that it had last are nobody's. What is dead stays so. A time_ms beyond the year 2527 counts as that. O(pages that
 * may have it). */
uint64_t pel_drop_slot(struct pel *p, uint16_t slot);
uint64_t pel_hand_back(struct pel *p, uint16_t slot, uint64_t time_ms);
/* Removes those below `first` that are not gone (all that are parked); returns how many. */
uint64_t pel_drop_below(struct pel *p, struct id first);
uint64_t pel_drop_parked(struct pel *p);

/* ---- numbers ---- */

uint64_t pel_n(const struct pel *p);                   /* held and nacked */
uint64_t pel_n_nacked(const struct pel *p);            /* of these */
uint64_t pel_n_parked(const struct pel *p);            /* besides */
uint64_t pel_n_of(const struct pel *p, uint16_t slot); /* held by it */
uint64_t pel_n_ready(
    const struct pel *p); /* as of the last pel_step and of what has changed since */
uint64_t pel_n_dead(const struct pel *p);
size_t pel_bytes(const struct pel *p); /* of memory; not what is set aside, which is not touched */

/* ---- looking ---- */

struct pel_filter {
    unsigned kinds; /* enum pel_kind, or'ed */
    bool by_slot;   /* of held ones those of `slot` only */
    uint16_t slot;
    uint64_t held_until;   /* of held ones those with time_ms <= it; UINT64_MAX: all */
    uint64_t nacked_until; /* of nacked ones those with time_ms <= it; UINT64_MAX: all */
    bool is_living;        /* those only that are neither gone nor dead */
};

/* The first entry with ID >= from (the last with ID <= from) that passes. */
bool pel_next(const struct pel *p, struct id from, const struct pel_filter *f,
              struct pel_entry *out);
bool pel_prev(const struct pel *p, struct id from, const struct pel_filter *f,
              struct pel_entry *out);
/* Up to `max` from ID `from` on, ascending; returns how many. */
size_t pel_list(const struct pel *p, struct id from, const struct pel_filter *f, size_t max,
                struct pel_entry *out);
/* Up to `max` that pass: nacked ones first, then by time_ms, equal ones by ID. In this order CLAIM takes. */
size_t pel_oldest(struct pel *p, const struct pel_filter *f, size_t max, struct pel_entry *out);
/* time_ms of the held entry that was delivered first, or less; UINT64_MAX: none. */
uint64_t pel_oldest_ms(const struct pel *p);

/* ---- time ---- */

/* From now on this rule holds; pel_step brings what is there up to it by and by. At first: neither redelivers nor buries. */
void pel_set_rule(struct pel *p, const struct pel_rule *rule);
/* Looks at what may have become ready or dead at now_ms, about `budget` pages of it; true if there is more to look at.
 * `each` (may be NULL) is told of entries that are dead from now on, or not any more (x->dead). */
bool pel_step(struct pel *p, uint64_t now_ms, size_t budget,
              void (*each)(void *ctx, const struct pel_entry *x), void *ctx);
/* When pel_step may find something next; UINT64_MAX: never. The ends of nacked entries' delays count too. */
uint64_t pel_next_ms(const struct pel *p);
/* Up to `max` that are ready, longest due first, equal ones by ID; and when the first became so (0: none). */
size_t pel_ready(struct pel *p, size_t max, struct pel_entry *out);
/* Up to `max` dead ones from that ID on, ascending. */
size_t pel_dead(const struct pel *p, struct id from, size_t max, struct pel_entry *out);

/* ---- hashing while it changes ---- */

/* A sum over all entries, parked ones too, as they were when it began; made a slice at a time. */
struct pel_sum {
    struct id next; /* entries below it are in */
    bool over;
    uint64_t sum[2]; /* modulo 2^128, low half first */
    /* The hash of x. `dead` is no part of the state. */
    void (*hash)(void *ctx, const struct pel_entry *x, uint64_t out[2]);
    void *ctx;
};
/* At most one at a time; changes of entries that are not in yet are made up for. `s` stays where it is until pel_sum_end. */
void pel_sum_begin(struct pel *p, struct pel_sum *s);
bool pel_sum_step(struct pel *p, size_t budget); /* true: there is more */
void pel_sum_end(struct pel *p);
/* `to` takes the place of `from`: if there is a sum, which both must be empty for, it goes on there. */
void pel_sum_move(struct pel *from, struct pel *to);

/* NULL, or the name of the first invariant found broken. */
const char *pel_check(const struct pel *p);

#endif
