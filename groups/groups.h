/* groups.h - the groups of one stream: the public header of this folder. NULL is the stream without groups, everywhere.
 *
 * Belongs to the engine's thread. */
#ifndef GROUPS_GROUPS_H
#define GROUPS_GROUPS_H
#include "groups/group.h"
#include "log/idset.h"
#include "groups/journal.h"
#include "groups/pel.h"

enum { GROUPS_MAX = 16384 /* of a stream */ };

struct groups;

/* Errors: ERR_NOMEM. */
must_check int groups_new(const uint8_t hash_key[16], struct groups **out, struct err *e);
/* Frees about *budget entries' worth, which is taken from *budget; true when all is gone. Nothing else may be done with it
 * then. NULL is fine. */
bool groups_free_some(struct groups *gs, size_t *budget);
void groups_free(struct groups *gs);

size_t groups_n(const struct groups *gs);
/* By name, as bytes compare: 0..groups_n - 1. */
struct group *groups_at(const struct groups *gs, size_t i);
struct group *groups_find(const struct groups *gs, struct slice name);
struct group *groups_by_gid(const struct groups *gs, uint64_t gid);
/* The first one made after that (0: the first of all), or NULL. */
struct group *groups_next_gid(const struct groups *gs, uint64_t gid);

/* A group that does not exist yet, and room for it; not added. Errors: ERR_FULL (GROUPS_MAX), ERR_NOMEM. */
must_check int groups_prepare(struct groups *gs, struct slice name, struct group **out,
                              struct err *e);
void groups_add(struct groups *gs, struct group *g, uint64_t gid);
/* Takes it out; the caller frees it, a little at a time. */
void groups_take(struct groups *gs, struct group *g);

/* ---- what happens in the stream; groups whose as_of is not below `lsn` have it already ---- */

void groups_entry_added(struct groups *gs, struct id id, uint64_t lsn);
void groups_entries_removed(struct groups *gs, const struct id *ids, size_t n, uint64_t lsn);
void groups_entries_cut(struct groups *gs, struct id first, uint64_t n_cut, bool all, uint64_t lsn);
/* They are pending or parked in no group any more (strictly ascending): DELREF. */
void groups_forget(struct groups *gs, const struct id *ids, size_t n, uint64_t lsn);
void groups_forget_below(struct groups *gs, struct id first, uint64_t lsn);
/* The stream, empty, begins anew: IDs that it had may come again. What is pending of them stays deleted until it does. */
void groups_begin_anew(struct groups *gs, uint64_t lsn);

/* ---- ACKED ---- */

/* Whether every group has delivered the entry, and in none it is pending or parked. True if there is no group. */
bool groups_have_acked(const struct groups *gs, struct id id);
/* What is below this, no group needs any more; ID_MAX if there is no group. `from`: the stream's first entry; ID_MIN is right
 * as well, and slower where much is pending that was trimmed. */
struct id groups_acked_below(const struct groups *gs, struct id from);

const char *groups_check(const struct groups *gs);

#endif
