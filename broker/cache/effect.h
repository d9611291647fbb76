/* effect.h - what changes of values do to the state: one way for commands and for a start (engine/replay.c).
 * */
#ifndef BROKER_CACHE_EFFECT_H
#define BROKER_CACHE_EFFECT_H
#include "broker/cache/change.h"
#include "broker/engine/state.h"

enum { EFFECT_STRING_MAX = 512 << 20 }; /* bytes */

/* Puts a change's bytes into a string, *o, or into a new one (NULL) of that name; what was not there is zeros. `v` is what
 * the value is from now on but for its bytes. Errors: ERR_NOMEM, with nothing changed. */
must_check int effect_patch(struct state *s, const struct change *x, const struct state_value *v,
                            struct object **o, struct err *e);

/* An empty hash or list; for effect_free unless it becomes an object's. */
must_check int effect_new(unsigned type, void **out, struct err *e);
void effect_free(unsigned type, void *value); /* NULL is fine */
/* A value as bytes (cache/value.h) makes them; of a string nothing is made. */
must_check int effect_decode(const struct state *s, unsigned type, struct slice bytes, void **out,
                             struct err *e);
size_t effect_n(unsigned type, const void *value);
/* Whether the record that has all of it may back it: not a hash whose fields expire, which has to be in memory, since nobody
 * else knows when they do. */
bool effect_may_back(unsigned type, const void *value);
/* How many elements there are in such bytes, without making any; false if that cannot be. */
bool effect_count(unsigned type, struct slice bytes, size_t *out);

/* Reads the record that backs a cold value, on the spot if it is not in memory: the value is hot then. Errors: ERR_CORRUPT,
 * ERR_IO, ERR_NOMEM. */
must_check int effect_heat(struct state *s, struct object **o, struct err *e);

/* One element; *value may move. Errors: ERR_NOMEM, with nothing changed. */
must_check int effect_put(const struct state *s, unsigned type, void **value,
                          const struct element *el, bool *is_new, struct err *e);
void effect_remove(unsigned type, void **value, const struct element *el);
/* Of a hash's field; does nothing if it is not there. Errors: as above. */
must_check int effect_set_expiry(void **value, struct slice field, uint64_t expiry_ms,
                                 struct err *e);

/* What is in a hot hash or list is about to change: *value is it. Behind the last change: the memory that it takes, the number
 * of its elements and its revision are told; it is not backed any more. Neither fails. */
size_t effect_begin(struct state *s, struct object *o, void **value);
void effect_end(struct state *s, struct object *o, void *value, size_t begun, uint64_t rev,
                bool always);

#endif
