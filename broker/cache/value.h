/* value.h - a whole value as bytes, and back: for records `set` and `image` (cache/change.h) and for checkpoints.
 *
 *   string   its bytes
 *   hash     n, n times str field, str value, expiry (0: none)
 *   list     n, n times zigzag position as the difference to the one before, str value
 *
 * Types to come (set, zset) get forms of their own. */
#ifndef BROKER_CACHE_VALUE_H
#define BROKER_CACHE_VALUE_H
#include "broker/cache/hash.h"
#include "broker/cache/list.h"

size_t value_hash_size(struct hash *h), value_list_size(const struct list *l); /* exactly; O(n) */
uint8_t *value_put_hash(uint8_t *p, struct hash *h);
uint8_t *value_put_list(uint8_t *p, const struct list *l);
/* Errors: ERR_CORRUPT (what does not fit), ERR_NOMEM. */
must_check int value_get_hash(struct slice bytes, const uint8_t seed[16], struct hash **out,
                              struct err *e);
must_check int value_get_list(struct slice bytes, struct list **out, struct err *e);

#endif
