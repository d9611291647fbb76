/* cache.h - the values of keys, for commands: what they are, and changing them by records.
 *
 * A value is *hot*, in memory, or *cold*: then only its name, type, size, expiry and revision are. A command that needs
 * bytes has `cache_prefault` (or one of its own) in the command table, so that its keys are hot when the handler runs; what is
 * cold all the same is read on the spot by cache_read, counted. Each change is one record (cache/change.h), whose LSN is the
 * key's new revision, and calls engine_key_changed. Pointers to objects end with the next change of the key: an object may move.
 *
 * All write functions append and apply; room in the log has been made (engine_bound has the arguments; a command that writes
 * more has a `bound`, cache_bound). They fail with ERR_NOMEM only, with nothing changed (of several elements the first
 * ones may have been set, and recorded): cache_nomem replies. */
#ifndef BROKER_CACHE_CACHE_H
#define BROKER_CACHE_CACHE_H
#include "broker/cache/change.h"
#include "broker/cache/hash.h"
#include "broker/cache/list.h"
#include "broker/engine/command.h"
#include "broker/engine/engine.h"

/* ---- reading ---- */

/* The key's value for a reader, hot: *out NULL if there is none. False after an error reply: it is of another type
 * (WRONGTYPE), or could not be read (IOERR). A hash's expired fields are still in it: see cache_field_is_there. */
must_check bool cache_read(struct engine *e, struct client *c, struct slice key,
                           enum object_type type, struct object **out);
/* The same for a command about to write it: what has expired is removed by a record first, a hash's fields too. */
must_check bool cache_write(struct engine *e, struct client *c, struct slice key,
                            enum object_type type, struct object **out);
/* An object of any type that was looked up: makes it hot. False after an error reply (IOERR). It may move: *o. */
must_check bool cache_heat(struct engine *e, struct client *c, struct object **o);

struct slice cache_string(const struct object *o); /* hot; borrowed until the key changes */
size_t cache_length(
    const struct object *o); /* a string's length, a hash's fields, a list's elements; cold too */
struct hash *cache_hash(const struct object *o); /* hot; only to be read */
struct list *cache_list(const struct object *o);
static inline bool cache_field_is_there(const struct engine *e, const struct hash_field *f)
{
    return f->expiry_ms == 0 || f->expiry_ms > e->now_ms;
}

/* Wants what is cold of the command's keys (by the table's key positions). */
command_prefault cache_prefault;

/* ---- writing ---- */

enum { CACHE_KEEP_TTL = -1 };

/* Sets a string, whatever the name has now (old: what engine_lookup_write gave, may be NULL, or a stream).
 * expiry_ms absolute, 0 none; stale_ms: until when it is kept for GETLEASE, 0 none. *out (may be NULL): the object. */
must_check int cache_set(struct engine *e, struct client *c, struct slice key, struct object *old,
                         struct slice value, uint64_t expiry_ms, uint64_t stale_ms,
                         struct object **out, struct err *err);
/* Writes into a string (o NULL: an empty one is made): bytes from `offset` on, zeros before it where there are none.
 * One record with the bytes alone if the value is large, else `set`. */
must_check int cache_patch(struct engine *e, struct client *c, struct slice key, struct object *o,
                           uint64_t offset, struct slice bytes, struct object **out,
                           struct err *err);
/* Sets elements of a hash or list; o NULL: it is made. n_new: how many were not there. One record. */
must_check int cache_put(struct engine *e, struct client *c, struct slice key, struct object *o,
                         enum object_type type, const struct element *elements, size_t n,
                         size_t *n_new, struct object **out, struct err *err);
/* Removes elements that are there; `expired`: since their time had come. True if nothing is left and the key is gone. */
bool cache_remove(struct engine *e, struct client *c, struct object *o,
                  const struct element *elements, size_t n, bool expired);
/* The key's own expiry, 0 for none; of a stream too. What it was kept for GETLEASE beyond it ends. */
must_check int cache_set_expiry(struct engine *e, struct client *c, struct object *o,
                                uint64_t expiry_ms, struct err *err);
/* Of these fields (there, and of elements[i].field): one record for one expiry. */
must_check int cache_set_field_expiry(struct engine *e, struct client *c, struct object *o,
                                      const struct element *elements, size_t n, uint64_t expiry_ms,
                                      struct err *err);
/* A copy under another name, in one `set`: a hot value (or a stream: ERR_USAGE). What is there is gone. */
must_check int cache_copy(struct engine *e, struct client *c, const struct object *o, int db,
                          struct slice name, struct err *err);
/* Bytes of log that a copy takes, beside its name's: for engine_reserve_more, which comes before. */
size_t cache_copy_bound(const struct object *o);
/* Deleting and renaming: engine_unname and engine_bind, which know values as well as streams. */

void cache_nomem(struct client *c); /* -OOM, as Redis says it */
/* For command.bound: bytes of records that a handler appends beyond its arguments. */
size_t cache_bound(size_t n_records, size_t bytes);

/* ---- for the engine ---- */

/* Of a value: what engine_unname and engine_bind do. The caller tells who watches the key; its name is borrowed from the log. */
struct slice cache_delete(struct engine *e, struct client *c, struct object *o, unsigned reason);
must_check int cache_rename(struct engine *e, struct client *c, struct object *o, int db,
                            struct slice name, struct err *err);
/* Records only: a database (-1: each) is emptied; two change places. */
void cache_flush(struct engine *e, struct client *c, enum log_class class, int db);
void cache_swap(struct engine *e, struct client *c, enum log_class class, int a, int b);
/* Of a hot hash: fields whose time has come leave, some of them, and maybe the key. False: there is no room to log it. */
bool cache_expire_fields(struct engine *e, struct object *o);
/* Writes a record of all of a hot value that is not backed, which backs it then; its revision stays. *o may move.
 * Errors: ERR_TOO_BIG (above 1 MiB), ERR_FULL, ERR_NOMEM: nothing has changed. */
must_check int cache_image(struct engine *e, struct object **o, struct err *err);

/* Revision of a key: LSN of the record that changed it last. */
uint64_t cache_revision(const struct object *o);

#endif
