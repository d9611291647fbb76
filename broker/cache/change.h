/* change.h - a change of a cache value, as its record lies in the log and as readers of beck:changes get it.
 *
 * RECORD_CHANGE is `oid 1, entry`: an entry (log/entry.h) of the log's one stream of changes, whose ID is
 * <ms of the batch>-<LSN of the record>. So changes are sealed, merged and read as entries of streams are; their
 * first field's name says what happened and in which database, its value is the key:
 *
 *   { op, db }  key
 *   ""          meta        varints, as the kind says (none of them: not there); zeros at the end are left out
 *   ""          what follows, a pair for each string
 *
 *   op      meta                          strings
 *   set     type, expiry, stale until     the whole value: a string's bytes, or as value_encode makes it
 *   image   type                          the same, of a value that was there: no change, its revision stays
 *   put     type                          elements: of a hash field, value, expiry (varint; empty: none); of a list
 *                                         position (zigzag varint), value; n of them
 *   remove  type, gone                    of a hash fields; of a list ranges (from, to: zigzag varints), inclusive. With
 *                                         `gone` the key is gone too, since nothing was left in it. Reason `expire`: op expel
 *   expel   as remove                     fields whose time had come
 *   patch   offset, length after          a string's bytes from offset on
 *   ttl     expiry, stale until, type     the key's
 *   fttl    expiry                        of these fields of a hash; 0: none
 *   del, expire, evict   -                the key is gone
 *   rename  db, type                      the new name; whatever had it is gone
 *   flush   -                             db 255: of all databases; key empty. Streams go too
 *   swap    db                            the databases have changed places; key empty
 *
 * All of it are effects: absolute, and applying one again changes nothing. A change belongs to a key that may be
 * older than it only: an object whose rev is not below the record's LSN has it already (engine/replay.c). */
#ifndef BROKER_CACHE_CHANGE_H
#define BROKER_CACHE_CHANGE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/bytes.h"
#include "log/err.h"
#include "log/id.h"

enum { CHANGE_OID = 1 }; /* the stream of changes; below LOG_FIRST_LSN, so no object's */
enum { CHANGE_DB_ALL = 255 };

enum change_op { /* numbers are in the log: never changed or reused */
                 CHANGE_SET = 1,
                 CHANGE_IMAGE = 2,
                 CHANGE_PUT = 3,
                 CHANGE_REMOVE = 4,
                 CHANGE_EXPEL = 5,
                 CHANGE_PATCH = 6,
                 CHANGE_TTL = 7,
                 CHANGE_FIELD_TTL = 8,
                 CHANGE_DEL = 9,
                 CHANGE_EXPIRE = 10,
                 CHANGE_EVICT = 11,
                 CHANGE_RENAME = 12,
                 CHANGE_FLUSH = 13,
                 CHANGE_SWAP = 14,
                 CHANGE_OPS = 15
};

/* One element of an aggregate, in what is put or removed. Borrowed bytes. */
struct element {
    int64_t pos, to;    /* of a list: position; of a range to be removed its last one too */
    struct slice field; /* of a hash */
    struct slice value;
    uint64_t expiry_ms; /* of a hash's field; 0: none */
};

struct change {
    enum change_op op;
    int db;
    struct slice key;
    unsigned type; /* enum object_type */
    uint64_t expiry_ms, stale_ms;
    uint64_t offset, length; /* of a patch */
    bool gone;
    int to_db;
    struct slice to;    /* of a rename */
    struct slice value; /* of set, image, patch */
    const struct element *elements;
    size_t n_elements; /* of put, remove, expel, fttl */
};

/* Bytes of the record's body, with that ID; and writing it at p: returns the end. */
size_t change_size(struct id id, const struct change *x);
uint8_t *change_put(uint8_t *p, struct id id, const struct change *x);

/* Reads the entry of a record, which entry_check has found whole. Elements are not read: change_next gives them one by
 * one, from *at on (begin with change_begin), false at the end. Errors: ERR_CORRUPT (says what does not fit). */
must_check int change_read(const uint8_t *entry, struct change *out, struct err *e);
struct change_at {
    const uint8_t *p;
    uint64_t left; /* strings */
    bool bad;      /* something did not fit: an error for whoever replays */
};
void change_begin(const uint8_t *entry, struct change_at *at);
bool change_next(struct change_at *at, const struct change *x, struct element *out);

/* For those who only look through: what happened, where and to which key. False if it is no change. */
bool change_peek(const uint8_t *entry, enum change_op *op, int *db, struct slice *key);

#endif
