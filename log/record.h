/* record.h - the kinds of records in the log, and how their bodies lie.
 *
 * A record is `varint length, u8 type, body` (length counts type and body); its LSN is implied by
 * its place. Bodies are effects: absolute values, absolute times, IDs as assigned. `oid` is the LSN
 * of the record that created the object and is never reused. `str` is `varint length, bytes`; `id`
 * is two varints (ms, seq); everything else that is not marked is a varint. docs/format.md has the
 * same list with the reasons. A number is never changed or reused; types of RECORD_IGNORABLE and
 * above may be skipped by a reader that does not know them. */
#ifndef LOG_RECORD_H
#define LOG_RECORD_H

enum record_type {
    RECORD_SKIP = 1,   /* next_lsn: the LSNs up to it were given to nobody that can be trusted */
    RECORD_STREAM = 2, /* db, str key: a new empty stream with that name; its oid is this LSN */
    RECORD_ENTRY = 3,  /* oid, entry (see log/entry.h) */
    RECORD_ENTRY_IDMP = 4, /* oid, str producer, str iid, entry: with an idempotence ID */
    RECORD_DELETE = 5,     /* oid, n, n times id: those entries are gone. No longer written: 12 */
    RECORD_TRIM = 6,  /* oid, id first: all entries below `first` are gone. No longer written: 13 */
    RECORD_SETID = 7, /* oid, id last, entries_added, id max_deleted */
    RECORD_NAME = 8,  /* db, str key, oid, expiry_ms (0: none): the object's one name from now on.
                             * Another object of that name is gone, the object's former name too. */
    RECORD_UNNAME = 9, /* db, str key, u8 reason, rev (LSN of the record that bound it): gone. Does
                             * nothing if the name is bound by another record by now. */
    RECORD_FLUSH = 10, /* db + 1, or 0 for all: every name of it is gone */
    RECORD_IDMP_CONFIG = 11, /* oid, duration_s, maxsize: set, and the map emptied */
    RECORD_REMOVE =
        12,          /* oid, n_left, bytes_left, n, n times id, ascending: they are gone (each was
                           * there); what is left in the stream */
    RECORD_CUT = 13, /* oid, id first, n_left, bytes_left: all entries below `first` are gone, all
                           * if n_left is 0; what is left in the stream */
    RECORD_SETTINGS = 14, /* oid, n, n times (tag, value + 1, or 0: as the configuration says): enum
                           * record_setting; those not named keep their value */
    /* Of consumer groups (groups/journal.h); a gid is the LSN of the record that made the group. What follows is about
     * the group oid, gid: */
    RECORD_GROUP = 15,          /* a new group with that name; its gid is this LSN */
    RECORD_GROUP_DROP = 16,     /* it is gone */
    RECORD_GROUP_POSITION = 17, /* where it has got to */
    RECORD_GROUP_OPTIONS = 18,  /* some of its options */
    RECORD_CONSUMER = 19,       /* a new consumer */
    RECORD_CONSUMER_DROP = 20,  /* a consumer is gone */
    RECORD_DELIVER = 21,        /* new entries are handed out */
    RECORD_PENDING = 22,        /* entries are pending in that way */
    RECORD_ACK = 23,            /* entries are not pending any more */
    RECORD_UNREF = 24,          /* oid, id first: nor those below it, in any group of the stream */
    RECORD_SIFT = 25, /* as RECORD_REMOVE, but a trim: it does not count for max-deleted-entry-id */
    /* Of the cache; `entry` as in log/entry.h, its ID <ms of the batch>-<LSN of the record>: */
    RECORD_CHANGE = 26, /* oid 1, entry: a change of a key's value (broker/cache/change.h) */
    RECORD_HISTORY =
        27, /* id first, counts: changes below it are kept only while a value is in them */
    RECORD_VIEW = 28, /* a view of the changes is made or gone (broker/cache/changes.h) */
    RECORD_IGNORABLE = 0x80
};

/* What RECORD_SETTINGS sets. A number is never changed or reused; an unknown tag is refused. */
enum record_setting {
    SETTING_RETENTION_AGE = 1,           /* ms; 0: no limit */
    SETTING_RETENTION_BYTES = 2,         /* 0: no limit */
    SETTING_RETENTION_LEN = 3,           /* entries; 0: no limit */
    SETTING_CODEC = 4,                   /* enum log_codec << 8 | level */
    SETTING_DURABILITY = 5,              /* enum log_class */
    SETTING_RETENTION_ACKED = 6,         /* 1: what groups have not acknowledged stays */
    SETTING_RETENTION_ACKED_MAX_AGE = 7, /* ms, for which it does; 0: no limit */
    SETTING_COUNT = 8
};

enum record_reason { REASON_DEL = 0, REASON_EXPIRE = 1, REASON_EVICT = 2 };

#endif
