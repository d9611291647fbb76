/* journal.h - effects on groups as records, and groups in checkpoints: bytes and back.
 *
 * Sizes are exact; the put functions return the end. Each body begins with the stream's oid, and the group's gid but for
 * RECORD_GROUP and RECORD_UNREF. Format: docs/format.md. */
#ifndef GROUPS_JOURNAL_H
#define GROUPS_JOURNAL_H
#include "groups/group.h"
#include "log/idset.h"
#include "log/bytes.h"

struct groups;

/* Bytes that a record about n IDs takes at most, head and all: JOURNAL_RECORD_MAX + n * JOURNAL_ID_MAX. On top come the length
 * of a group's or consumer's name, and with options JOURNAL_OPTIONS_MAX and the lengths of their names. */
enum {
    JOURNAL_RECORD_MAX = 160,
    JOURNAL_ID_MAX = IDSET_ID_MAX + VARINT_MAX + 4,
    JOURNAL_OPTIONS_MAX = (GROUP_BACKOFF_MAX + 8) * VARINT_MAX + GROUP_OPTION_COUNT,
};

struct journal_to { /* whom it is about */
    uint64_t oid, gid;
};

/* RECORD_GROUP: with the group as it is about to be added */
size_t journal_group_size(uint64_t oid, const struct group *g);
uint8_t *journal_group_put(uint8_t *p, uint64_t oid, const struct group *g);
/* RECORD_GROUP_DROP */
size_t journal_drop_size(struct journal_to to);
uint8_t *journal_drop_put(uint8_t *p, struct journal_to to);
/* RECORD_GROUP_POSITION */
size_t journal_position_size(struct journal_to to, struct id last, int64_t entries_read,
                             uint64_t n_behind);
uint8_t *journal_position_put(uint8_t *p, struct journal_to to, struct id last,
                              int64_t entries_read, uint64_t n_behind);
/* RECORD_GROUP_OPTIONS: those in `which`, as they are in x */
size_t journal_options_size(struct journal_to to, unsigned which, const struct group_options *x);
uint8_t *journal_options_put(uint8_t *p, struct journal_to to, unsigned which,
                             const struct group_options *x);
/* RECORD_CONSUMER */
size_t journal_consumer_size(struct journal_to to, const struct consumer *c);
uint8_t *journal_consumer_put(uint8_t *p, struct journal_to to, const struct consumer *c);
/* RECORD_CONSUMER_DROP */
size_t journal_consumer_drop_size(struct journal_to to, uint16_t slot, bool hand_back,
                                  uint64_t time_ms);
uint8_t *journal_consumer_drop_put(uint8_t *p, struct journal_to to, uint16_t slot, bool hand_back,
                                   uint64_t time_ms);
/* RECORD_DELIVER */
size_t journal_deliver_size(struct journal_to to, const struct group_delivery *d);
uint8_t *journal_deliver_put(uint8_t *p, struct journal_to to, const struct group_delivery *d);
/* RECORD_PENDING */
size_t journal_change_size(struct journal_to to, const struct group_change *x);
uint8_t *journal_change_put(uint8_t *p, struct journal_to to, const struct group_change *x);
/* RECORD_ACK: IDs strictly ascending; gid 0: in every group of the stream, as groups_forget does */
size_t journal_ack_size(struct journal_to to, const struct id *ids, size_t n);
uint8_t *journal_ack_put(uint8_t *p, struct journal_to to, const struct id *ids, size_t n);
/* RECORD_UNREF */
size_t journal_unref_size(uint64_t oid, struct id first);
uint8_t *journal_unref_put(uint8_t *p, uint64_t oid, struct id first);

/* Applies one of those records to the groups of the stream that its oid named; [p, end) is the body behind the oid. *gs may
 * be NULL and is made if need be; a dropped group is put into *dropped for the caller to free. `end_lsn`: of the checkpoint;
 * groups and consumers that are not known are no error up to there, they were gone when it was made; nor is a group whose name
 * one with a larger gid has already.
 * Errors: ERR_CORRUPT (what does not fit), ERR_NOMEM. */
must_check int journal_apply(struct groups **gs, const uint8_t hash_key[16], uint8_t type,
                             uint64_t lsn, const uint8_t *p, const uint8_t *end, uint64_t end_lsn,
                             struct group **dropped, struct err *e);

/* ---- checkpoints ---- */

/* A group without its pending entries: name, numbers, options, consumers. */
size_t journal_save_group_size(const struct group *g);
uint8_t *journal_save_group(uint8_t *p, const struct group *g);
/* Pending entries from *from on, at most `n`; moves *from behind the last one; *more says whether others follow. At most
 * JOURNAL_RECORD_MAX + n * JOURNAL_SAVED_MAX bytes. */
enum { JOURNAL_SAVED_MAX = JOURNAL_ID_MAX + 2 * VARINT_MAX + 4 };
uint8_t *journal_save_pending(uint8_t *p, const struct group *g, struct id *from, size_t n,
                              bool *more);

/* Reads what those wrote; *p is moved behind it. A group that is there already (a later copy) is read and not added. Of two
 * with the same name the one with the larger gid stays: the other one was dropped while the checkpoint was written.
 * Pending entries of an unknown group are read and forgotten. Errors: ERR_CORRUPT (a text that says what), ERR_NOMEM. */
must_check int journal_load_group(struct groups **gs, const uint8_t hash_key[16], uint64_t as_of,
                                  const uint8_t **p, const uint8_t *end, struct err *e);
must_check int journal_load_pending(struct groups *gs, const uint8_t **p, const uint8_t *end,
                                    struct err *e);

#endif
