/* idmp.h - which idempotence IDs a stream has seen lately: (producer, iid) -> the ID of the entry.
 *
 * XADD ... IDMP appends an entry only if its (producer, iid) is not remembered. It is remembered for the
 * stream's duration, and only the newest `maxsize` of each producer are. The map is state: it changes by
 * RECORD_ENTRY_IDMP and RECORD_IDMP_CONFIG alone, and time is the batch's. The first RECORD_ENTRY_IDMP of a
 * stream is preceded by a RECORD_IDMP_CONFIG, so that applying it needs no configuration.
 *
 * Applying RECORD_ENTRY_IDMP is idmp_prepare (before the record is appended), state_add_entry, idmp_commit;
 * RECORD_IDMP_CONFIG is idmp_configure. */
#ifndef BROKER_ENGINE_IDMP_H
#define BROKER_ENGINE_IDMP_H
#include "broker/engine/state.h"
#include "log/bytes.h"
#include "log/err.h"
#include "log/id.h"

struct idmp;
struct idmp_item; /* one (producer, iid) */

enum { IDMP_DURATION_MAX_S = 86400, IDMP_MAXSIZE_MAX = 10000 };

/* Whether (producer, iid) is remembered at now_ms; *out is then the ID that it got. */
bool idmp_find(const struct stream_idmp *x, struct slice producer, struct slice iid,
               uint64_t now_ms, struct id *out);

/* Makes everything that remembering (producer, iid) needs, and forgets what has expired at now_ms. `hash_key`
 * (16 bytes) is borrowed for the stream's life. *out goes to idmp_commit before anything else is done with
 * the stream's map, or to idmp_discard.
 * Errors: ERR_NOMEM, ERR_CORRUPT (no RECORD_IDMP_CONFIG came before). */
must_check int idmp_prepare(struct stream_idmp *x, const uint8_t hash_key[16],
                            struct slice producer, struct slice iid, uint64_t now_ms,
                            struct idmp_item **out, struct err *e);

/* Remembers it, forgets the producer's oldest above maxsize, and counts it in x->iids_added. */
void idmp_commit(struct stream_idmp *x, struct idmp_item *item, struct id id, uint64_t now_ms);
void idmp_discard(struct idmp_item *item); /* NULL is fine */

/* Sets both and forgets everything. */
void idmp_configure(struct stream_idmp *x, uint32_t duration_s, uint32_t maxsize);

/* What is remembered, in order of insertion, what has expired lately included: the item after `after` (NULL: the first),
 * or NULL. Borrowed until the map changes. */
struct idmp_entry {
    struct slice producer, iid;
    struct id id;
    uint64_t at_ms;
};
const struct idmp_item *idmp_next(const struct stream_idmp *x, const struct idmp_item *after,
                                  struct idmp_entry *out);

/* Remembers what was remembered once, in the same order; does not count it. Errors: ERR_NOMEM, ERR_CORRUPT (it is there
 * already, earlier than the last one, or more than maxsize). */
must_check int idmp_restore(struct stream_idmp *x, const uint8_t hash_key[16],
                            const struct idmp_entry *entry, struct err *e);

struct idmp_counts {
    uint64_t n_producers, n_iids;
};
struct idmp_counts idmp_count(const struct stream_idmp *x, uint64_t now_ms);

/* Adds the hash of settings and of what is remembered at now_ms to sum, modulo 2^128, low half first. Order of
 * insertion matters, hash order does not. x->iids_added is in it, x->iids_duplicates is not. */
void idmp_digest(const struct stream_idmp *x, uint64_t now_ms, uint64_t sum[2]);

size_t idmp_bytes(const struct idmp *m); /* NULL: 0 */
void idmp_free(struct idmp *m);          /* NULL is fine */

/* The name that IDMPAUTO gives an entry: a hash of its fields and values that does not depend on their order. */
enum { IDMP_AUTO_BYTES = 16 };
void idmp_auto(const struct slice *strings, size_t n_strings, uint8_t out[IDMP_AUTO_BYTES]);

/* Walks everything; NULL, or the name of the first invariant found broken. */
const char *idmp_check(const struct stream_idmp *x);

#endif
