/*
 * syncer.c - when an fdatasync is due.
 *
 * For `always` as soon as such a batch is written (while one is in flight others gather: group commit), for `interval` T after
 * the first byte that waits for it, for `os` when the file is full; and at once when it is asked for, by who builds on what is
 * written. 20 ms after the last `always` batch, unless a later frame has told so durably, a SYNC marker says that it is durable,
 * so that a start can tell damage to it from a torn tail; after that there is no deadline.
 *
 *   Y1  What is durable only grows, and is what had been written when an fdatasync began that ended well.
 *   Y2  An `interval` byte has its time from the first one that no fdatasync covers; one that begins takes the time over.
 */
#include "log/syncer.h"

#define NEVER UINT64_MAX
#define MS    ((uint64_t)1000000) /* in ns */

enum {
    SYNCER_FAST_NS = 300000, /* mean time of recent ones up to which they are made inline */
    SYNCER_MEAN_SHIFT = 3,   /* weight of the newest in that mean: 1/8 */
    SYNCER_MARK_AFTER_MS = 20
};

void syncer_init(struct syncer *s, uint64_t interval_ns, uint64_t last_lsn)
{
    *s = (struct syncer){ .interval_ns = interval_ns, .proved_lsn = last_lsn };
}

void syncer_wrote(struct syncer *s, const struct batch *b, uint64_t now_ns)
{
    if (batch_has(b, LOG_ALWAYS)) {
        s->always_lsn = batch_last_lsn(b);
        s->always_ns = now_ns;
    }
    if (batch_has(b, LOG_INTERVAL) && s->since_ns == 0)
        s->since_ns = now_ns;
}

void syncer_ask(struct syncer *s, uint64_t lsn)
{
    if (lsn > s->asked_lsn)
        s->asked_lsn = lsn;
}

bool syncer_is_due(const struct syncer *s, const struct syncer_log *l)
{
    if (s->always_lsn > l->durable_lsn || s->marked)
        return true;
    if (s->asked_lsn > l->durable_lsn && s->asked_lsn <= l->written_lsn)
        return true;
    return s->since_ns != 0 && l->now_ns - s->since_ns >= s->interval_ns;
}

uint64_t syncer_deadline(const struct syncer *s, const struct syncer_log *l)
{
    uint64_t mark_ns = s->always_ns + SYNCER_MARK_AFTER_MS * MS, at = NEVER;

    if (syncer_is_due(s, l))
        return 0;
    if (s->since_ns != 0)
        at = s->since_ns + s->interval_ns;
    if (l->may_mark && s->always_lsn > s->proved_lsn && mark_ns < at)
        at = mark_ns;
    return at;
}

bool syncer_is_fast(const struct syncer *s)
{
    return s->measured && s->mean_ns < SYNCER_FAST_NS;
}

void syncer_begin(struct syncer *s, uint64_t written_lsn, uint64_t claimed_lsn)
{
    s->running.lsn = written_lsn;
    s->running.claimed_lsn = claimed_lsn;
    s->running.since_ns = s->since_ns; /* Y2 */
    s->since_ns = 0;
    s->marked = false;
}

uint64_t syncer_end(struct syncer *s, uint64_t took_ns)
{
    if (s->running.claimed_lsn > s->proved_lsn)
        s->proved_lsn = s->running.claimed_lsn;
    s->running.since_ns = 0;
    s->mean_ns = s->measured ? s->mean_ns - (s->mean_ns >> SYNCER_MEAN_SHIFT) +
                                   (took_ns >> SYNCER_MEAN_SHIFT)
                             : took_ns;
    s->measured = true;
    return s->running.lsn; /* Y1 */
}

void syncer_changed_file(struct syncer *s, uint64_t written_lsn)
{
    s->proved_lsn = written_lsn;
    s->since_ns = 0;
    s->marked = false;
}

uint64_t syncer_oldest_ns(const struct syncer *s)
{
    return s->running.since_ns != 0 ? s->running.since_ns : s->since_ns;
}
