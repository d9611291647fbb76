/* clerk.h - writes manifests, then removes what they say is not needed, and keeps some space in reserve. Essay:
 * clerk.c. The engine's thread. */
#ifndef LOG_CLERK_H
#define LOG_CLERK_H
#include <stdbool.h>
#include <stdint.h>
#include "log/manifest.h"
#include "log/spare.h"
#include "log/work.h"

#define CLERK_RESERVE_NAME "work-reserve"

enum { CLERK_CHECKPOINTS_MAX = 4 };

struct writer;

/* Writes manifests, one at a time, each from the newest state. */
struct manifest_work {
    struct work work;        /* first */
    struct manifest copy;    /* the one being written */
    struct manifest durable; /* the last one that was */
    uint64_t wanted;         /* the generation that has all changes */
    uint64_t written;        /* the one that is durable */
    uint64_t bytes;
    bool writes;       /* one is under way, or over and not looked at */
    bool starved;      /* the last one failed for lack of space */
    uint64_t retry_ns; /* not before; 0: none */
};

/* Removes files. */
struct cleaning {
    struct work work; /* first */
    struct writer *writer;
    bool removes;       /* as `writes` above */
    uint64_t *ordinals; /* of segments: this job's */
    size_t n_ordinals;
    uint64_t checkpoints[CLERK_CHECKPOINTS_MAX]; /* start LSNs of replaced ones, the oldest first */
    size_t n_checkpoints, n_removing;            /* the first n_removing are the job's */
    uint64_t checkpoints_from;                   /* the generation that names none of these */
    uint64_t obsolete_from; /* the one that has all obsolete segments as such */
    uint64_t wal_first;     /* of the manifest that is durable */
    uint64_t removing_wal;  /* the same as this job began */
    uint64_t released;      /* files of the log before it are gone */
    uint64_t retry_ns;
};

/* A file whose space is given up for one seal, one checkpoint, one manifest when there is no other. */
struct reserve {
    struct work work; /* first */
    struct spare spare;
    uint64_t bytes;
    bool works;       /* as `writes` above */
    bool gives_up;    /* what it does */
    bool given_up;    /* somebody needs the space */
    uint64_t next_ns; /* when to try to make it again */
};

struct clerk {
    struct manifest_work manifests;
    struct cleaning cleaning;
    struct reserve reserve;
};

struct keeper;

/* keeper.manifest has been read. Errors: ERR_NOMEM. */
must_check int clerk_init(struct keeper *k, struct err *e);
void clerk_turn(struct keeper *k);
void clerk_fini(struct keeper *k, bool abandon); /* no job of it runs */

#endif
