/* replay.h - the state made out of a checkpoint and of the log's records.
 *
 * Without a checkpoint: replay_apply for each record. With one: replay_begin, replay_add for each object that was saved
 * (engine/save.h), replay_loaded, replay_apply for each record, replay_end. The rules are in replay.c. */
#ifndef BROKER_ENGINE_REPLAY_H
#define BROKER_ENGINE_REPLAY_H
#include "broker/engine/state.h"

/* Errors: ERR_NOMEM. */
must_check int replay_begin(struct state *s, struct err *e);

/* A saved object, exact as of the record `as_of`: its name, database, oid, rev and expiry are set. One whose oid is
 * there already is a later copy of the same and discarded. Takes st over, in any case. Errors: ERR_NOMEM. */
must_check int replay_add(struct state *s, struct stream *st, uint64_t as_of, struct err *e);

/* A saved value, which has that name unless something else had it later. Takes nothing over on an error. `out` is NULL
 * then, or where it is. Errors: ERR_CORRUPT (an older one comes after a newer one), ERR_NOMEM. */
must_check int replay_add_value(struct state *s, int db, struct slice name,
                                const struct state_value *v, struct object **out, struct err *e);

/* One record may have backed two values while the checkpoint was written: which records live is found out at the end. */
void replay_doubt_live(struct state *s);

/* The log's numbers when the checkpoint was begun and ended: log_host.loaded. */
void replay_loaded(struct state *s, uint64_t start_lsn, uint64_t end_lsn);

/* Applies one record. Errors: ERR_CORRUPT (names what does not fit), ERR_NOMEM, or state.measure's. Records of types
 * that the engine does not own (RECORD_SKIP) are ignored. */
must_check int replay_apply(struct state *s, const struct log_record *r, struct err *e);

/* All records have been applied. Errors: ERR_CORRUPT: an object has lost its name, and no record says why. */
must_check int replay_end(struct state *s, struct err *e);

void replay_free(struct state *s); /* of replay_begin; does nothing if it was not called */

#endif
