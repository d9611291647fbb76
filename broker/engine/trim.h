/* trim.h - taking entries off the front of a stream: what a trim removes is decided first (it may have to be read),
 * then done by a record. For commands and for retention. */
#ifndef BROKER_ENGINE_TRIM_H
#define BROKER_ENGINE_TRIM_H
#include "broker/engine/engine.h"
#include "log/reader.h"

enum trim_by { TRIM_NONE, TRIM_MAXLEN, TRIM_MINID, TRIM_BYTES };

enum trim_refs {               /* what becomes of the entries of groups */
                 TRIM_KEEPREF, /* they stay pending there */
                 TRIM_DELREF,  /* they do not */
                 TRIM_ACKED,   /* only what every group has acknowledged goes */
};

struct trim {
    enum trim_by by;
    enum trim_refs refs;
    bool approx; /* ~ of XTRIM and XADD: only whole nodes, as Redis counts them */
    bool blocks; /* retention: where sealed, only at a block's start; never more than asked for */
    uint64_t limit; /* with ~: remove at most so many; 0: no limit */
    bool limit_given;
    uint64_t maxlen;   /* entries that stay */
    uint64_t maxbytes; /* bytes (as rows) that stay at most */
    struct id minid;   /* the lowest that stays */
};

struct trim_added { /* an entry about to be appended, which counts as if it were there */
    struct id id;
    uint64_t bytes;
};

struct trim_cut {
    struct id first;   /* what is below goes; meaningless if everything goes */
    uint64_t n, bytes; /* that go, what is about to be appended included; n == 0: nothing */
};

/* Decides. Touches nothing. `added` and `wants` may be NULL; without the latter what is missing is read on the spot, and
 * that is counted. Errors: ERR_COLD (what is missing is in `wants`, to be loaded; then again), ERR_CORRUPT, ERR_IO,
 * ERR_NOMEM. */
must_check int trim_plan(struct engine *e, const struct stream *st, const struct trim *trim,
                         const struct trim_added *added, struct wants *wants, struct trim_cut *out,
                         struct err *err);

/* Makes room in the state, so that the trim_apply that follows cannot fail. Errors: ERR_NOMEM. */
must_check int trim_prepare(struct engine *e, struct stream *st, struct err *err);

/* Does it (cut->n > 0) by a record, for which room has been made; what was about to be appended has been. `c` NULL: the
 * server's own. The caller calls engine_key_changed. */
void trim_apply(struct engine *e, struct client *c, struct stream *st, const struct trim_cut *cut);

#endif
