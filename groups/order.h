/* order.h - the keys of a group with ORDERBY: which are taken, and which skipped entries wait for which.
 *
 * A key is the hash of the field's value; 0 is no key. It is taken while an entry with it is pending and not dead. Entries
 * that were skipped because their key was taken are parked, in the order of their IDs. Not saved: made anew from the
 * pending entries (group_rebuild). */
#ifndef GROUPS_ORDER_H
#define GROUPS_ORDER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/err.h"
#include "log/id.h"

struct order;

/* `hash_key` (16 bytes) is borrowed. Errors: ERR_NOMEM. */
must_check int order_new(const uint8_t hash_key[16], struct order **out, struct err *e);
void order_free(struct order *o); /* NULL is fine */

/* Makes room so that the next n order_hold or order_park cannot fail. Errors: ERR_NOMEM. */
must_check int order_reserve(struct order *o, size_t n, struct err *e);

/* One more (one less) pending entry has the key. */
void order_hold(struct order *o, uint32_t key);
void order_release(struct order *o, uint32_t key);
/* Whether an entry with that key has to be skipped: it is taken, or others are parked with it. Never for 0. */
bool order_is_busy(const struct order *o, uint32_t key);

/* No two entries have the same ID, and the key is not 0. Fast where IDs of a key ascend. */
void order_park(struct order *o, uint32_t key, struct id id);
/* The entry is parked no longer: delivered, or gone. It may be any one of its key. */
void order_unpark(struct order *o, uint32_t key, struct id id);
void order_unpark_all(struct order *o);
uint64_t order_n_parked(const struct order *o);
/* Whether there is one that may be delivered: the first one of a key that is free; of all these the one with the lowest ID,
 * at or above `from`. */
bool order_next(const struct order *o, struct id from, struct id *id, uint32_t *key);

const char *order_check(const struct order *o);

#endif
