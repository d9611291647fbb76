/* restore.h - changes of values applied once more, at a start (engine/replay.c). */
#ifndef BROKER_CACHE_RESTORE_H
#define BROKER_CACHE_RESTORE_H
#include "broker/cache/change.h"
#include "broker/engine/state.h"

/* Applies a change of a key's value, whose record is `lsn` and later than the checkpoint's start; a value that has it already
 * stays as it is. `complete`: all keys that are to be there by then are. What else had the name, and is older, is gone
 * already. Not for `flush` and `swap`. Errors: ERR_CORRUPT (what does not fit), ERR_NOMEM, or those of reading what is cold. */
must_check int restore_change(struct state *s, const struct change *x, const uint8_t *entry,
                              uint64_t lsn, bool complete, struct err *e);

#endif
