/* deadletter.h - entries that have failed for the last time move to their group's dead-letter stream. Essay:
 * deadletter.c. */
#ifndef BROKER_ENGINE_DEADLETTER_H
#define BROKER_ENGINE_DEADLETTER_H
#include "broker/engine/engine.h"
#include "broker/engine/grouplog.h"
#include "log/reader.h"

enum deadletter_reason { DEADLETTER_TIMEOUT, DEADLETTER_NACK, DEADLETTER_FATAL, DEADLETTER_GONE };

enum {
    DEADLETTER_BATCH = 64,          /* entries that are moved by one batch */
    DEADLETTER_BYTES_MAX = 4 << 20, /* of these, if they are several */
};

/* A dead letter as it lies in the stream of them; slices of the entry. */
struct deadletter {
    struct slice stream, group, consumer, reason; /* where it comes from, who had it, why */
    struct id id;                                 /* that it had there */
    uint64_t n_own;                               /* its own fields, which stand before these, */
    struct slice own;                             /* as in log/entry.h */
};
/* False: the entry is no dead letter. */
bool deadletter_parse(const uint8_t *entry, struct deadletter *out);

/* Moves those n (1..DEADLETTER_BATCH) pending entries, ascending, each as it is (or was right before the command: owner
 * and count are those of the failed delivery): copies them, makes them pending no longer, in one batch. Outside of EXEC.
 * Makes its own room in the log, so what the caller has made before is used up; and may end the open batch before. `c`
 * NULL: the engine's own doing. `fatal`[i]: by XNACK FATAL, else by another XNACK; NULL: told from the entry.
 * Errors, with nothing done: ERR_COLD (some are not in memory: `wants`, if not NULL, has what is missing), ERR_USAGE (there
 * is no name, it is the stream's own, or there are no IDs left), ERR_FULL, ERR_TOO_BIG (fewer may be moved, or one never),
 * ERR_IO, ERR_CORRUPT, ERR_NOMEM. */
must_check int deadletter_move(struct engine *e, struct client *c, struct stream *st,
                               struct group *g, const struct pel_entry *entries, const bool *fatal,
                               size_t n, struct wants *wants, struct err *err);

#endif
