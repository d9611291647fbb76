/* journal_form.h - what journal.c and journal_write.c share: bits in the log, never changed. */
#ifndef GROUPS_JOURNAL_FORM_H
#define GROUPS_JOURNAL_FORM_H
#include "groups/group.h"

enum {
    DELIVER_LAST = 1,   /* the last ID is given; else it is the last one of the sets */
    DELIVER_IDS = 2,    /* a set of IDs that are pending now */
    DELIVER_KEYS = 4,   /* with a key each */
    DELIVER_PARKED = 8, /* a set of IDs that are parked, with a key each */
    DELIVER_ALL = 15,

    PENDING_NACKED = 1,
    PENDING_ACTIVE = 2, /* when its consumer became active */
    PENDING_COUNTS = 4, /* a count each; else one for all */
    PENDING_KEYS = 8,
    PENDING_ALL = 15,

    SAVED_NACKED = 1,
    SAVED_GONE = 2,
    SAVED_KEY = 4,
    SAVED_SHIFT = 3, /* the slot lies above */
};

enum { JOURNAL_CHUNK = 256 }; /* IDs that are dealt with together */

#endif
