/* bug.h - bugs on demand, so that the crash suites can show that they would be noticed.
 *
 * Each BUG(n) marks the one line that keeps a promise, and breaks it when a test built with
 * BECK_PLANTED_BUGS asks for it. In every other build the condition is the constant 0. */
#ifndef LOG_BUG_H
#define LOG_BUG_H

enum planted_bug {
    BUG_NONE,
    BUG_ACK_BEFORE_SYNC,        /* durable_lsn moves before fdatasync returned */
    BUG_NO_DIRECTORY_SYNC,      /* a renamed file's entry is not made durable */
    BUG_INLINE_OVERTAKES_QUEUE, /* a batch is written inline although another one is queued */
    BUG_RETRY_FAILED_SYNC,      /* a failed fdatasync is tried again and believed */
    BUG_APPEND_TO_OLD_FILE,     /* a start appends to the file it found instead of copying it */
    BUG_STOP_AT_BAD_CRC,     /* the first invalid frame is taken for the end, whatever was synced */
    BUG_ROTATE_WITHOUT_SYNC, /* the old file is not synced before the next one is begun */
    BUG_TORN_RUN_ACCEPTED,   /* an unfinished run of frames counts as a batch */
    BUG_CLOCK_NOT_CARRIED,   /* a start does not tell the highest stamp */
    BUG_UNALIGNED_AFTER_SYNC,   /* the first frame after an fdatasync shares a sector */
    BUG_SYNCED_BEFORE_DURABLE,  /* a frame's synced_lsn claims what is only written */
    BUG_MANIFEST_BEFORE_SYNC,   /* a manifest names what reflects records that are not durable */
    BUG_SEGMENT_NOT_SYNCED,     /* a segment is installed without its fdatasync */
    BUG_UNLINK_BEFORE_MANIFEST, /* merged inputs are removed before the manifest is durable */
    BUG_WAL_RELEASED_EARLY,     /* WAL is released that only the newest checkpoint covers */
    BUG_CHECKPOINT_END_IGNORED, /* a WAL that ends below the checkpoint's end_lsn is accepted */
    BUG_REPLAY_COUNTS_TWICE,    /* records that a chunk has seen are applied again */
    BUG_DELETES_FORGOTTEN,      /* a merge's install drops deleted IDs that it has not folded */
    BUG_SEAL_REVIVES,    /* entries deleted before their sealing are sealed, and not remembered */
    BUG_INSTALL_AT_ONCE, /* a new segment counts for streams whose tail still has its entries */
    BUG_NAME_LOSER_KEPT, /* of two bindings of a name the older one wins */
    BUG_CHANGE_DROPPED,  /* a merge takes a live change for dead */
    BUG_HISTORY_DROPPED, /* a merge does not know that changes are history */
    BUG_CHANGES_ASKED_EARLY, /* what is built on which changes live does not wait for what they reflect */
    BUG_CHANGES_KEPT,        /* a merge takes every change for live */
    BUG_COUNT
};

#ifdef BECK_PLANTED_BUGS
extern int planted_bug; /* enum planted_bug; defined by the test */
#define BUG(n) (planted_bug == (n))
#else
#define BUG(n) 0
#endif

#endif
