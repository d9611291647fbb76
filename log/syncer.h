/* syncer.h - when an fdatasync of the log is due, and what one that is done has made durable and proven. Essay: syncer.c.
 *
 * It decides; the writer calls fdatasync, writes markers and has the lock. */
#ifndef LOG_SYNCER_H
#define LOG_SYNCER_H
#include <stdbool.h>
#include <stdint.h>
#include "log/batch.h"

struct syncer {
    uint64_t interval_ns;           /* of LOG_INTERVAL */
    uint64_t asked_lsn;             /* the highest that somebody builds on */
    uint64_t always_lsn, always_ns; /* the last `always` batch: end, time it was written */
    /* when the first `interval` byte was written that no fdatasync covers; 0: none */
    uint64_t since_ns;
    struct {                       /* the fdatasync in flight */
        uint64_t lsn, claimed_lsn; /* what it makes durable, and what the frames tell of that */
        uint64_t since_ns;         /* of the first `interval` byte that it covers; 0: none */
    } running;
    uint64_t proved_lsn; /* durable frames tell that this is durable */
    bool marked;         /* a marker is written and not synced */
    uint64_t mean_ns;    /* of recent ones */
    bool measured;
};

/* What the syncer has to know of the log to decide. */
struct syncer_log {
    uint64_t now_ns, written_lsn, durable_lsn;
    bool may_mark; /* a marker can be written, and nothing newer is on its way */
};

/* Everything up to last_lsn is durable, and known to be. */
void syncer_init(struct syncer *s, uint64_t interval_ns, uint64_t last_lsn);

/* A batch has been written, at `now_ns`. */
void syncer_wrote(struct syncer *s, const struct batch *b, uint64_t now_ns);
void syncer_ask(struct syncer *s, uint64_t lsn);

bool syncer_is_due(const struct syncer *s, const struct syncer_log *l);
/* When an fdatasync or a marker is due: 0 if one is now, UINT64_MAX if none will be unless something happens. */
uint64_t syncer_deadline(const struct syncer *s, const struct syncer_log *l);
/* Whether the disk has lately been so fast that who waits may as well do it himself. */
bool syncer_is_fast(const struct syncer *s);

/* One begins: it covers what is written, whose last frame claims that claimed_lsn is durable. */
void syncer_begin(struct syncer *s, uint64_t written_lsn, uint64_t claimed_lsn);
/* It is done, after so long; returns the LSN that is durable now. */
uint64_t syncer_end(struct syncer *s, uint64_t took_ns);
/* All that is written is durable, and a file's name proves it. */
void syncer_changed_file(struct syncer *s, uint64_t written_lsn);

/* When the oldest `interval` byte was written that is not durable; 0: there is none. */
uint64_t syncer_oldest_ns(const struct syncer *s);

#endif
