/* delset.h - the deleted IDs of a stream whose entries still lie in a segment or in the arena: a
 * sorted set that threads share.
 *
 * The engine's thread owns a stream's set and changes it; others read a reference, which never
 * changes: what is shared is copied before it is changed, all but its pages of DELSET_PAGE IDs, of which
 * those change hands that stay as they are. NULL is the empty set everywhere. Essay: delset.c. */
#ifndef LOG_DELSET_H
#define LOG_DELSET_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/err.h"
#include "log/id.h"

enum { DELSET_PAGE = 256 }; /* IDs, at most */

struct delset; /* counted */

struct delset *delset_ref(struct delset *d); /* any thread; returns d */
void delset_unref(struct delset *d);         /* any thread */

/* Makes room so that the next `n` delset_add cannot fail; copies what is shared. It holds until the next
 * delset_ref, delset_cut or delset_subtract. Errors: ERR_NOMEM, with the set as it was. */
must_check int delset_reserve(struct delset **set, size_t n, struct err *e);
void delset_add(struct delset **set, struct id id); /* one that is there already changes nothing */

/* Removes what is below `floor`; and what is also in `other` and within [from, to]. Where memory for
 * that runs out, IDs stay, which does no harm. */
void delset_cut(struct delset **set, struct id floor);
void delset_subtract(struct delset **set, const struct delset *other, struct id from, struct id to);

bool delset_has(const struct delset *d, struct id id);
uint64_t delset_count(const struct delset *d, struct id from, struct id to); /* of [from, to] */
/* Moves *id to the smallest member >= *id; false if there is none. */
bool delset_next(const struct delset *d, struct id *id);
uint64_t delset_n(const struct delset *d);
size_t delset_bytes(const struct delset *d);

/* NULL, or the name of the first invariant found broken. */
const char *delset_check(const struct delset *d);

#endif
