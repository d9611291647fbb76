/* sealworld.h - a log with streams on a simulated disk, sealed, merged and saved all the time, and a model that knows
 * what every reader must see. Essay and invariants: sealworld.c. */
#ifndef TESTS_LIB_SEALWORLD_H
#define TESTS_LIB_SEALWORLD_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "log/log.h"
#include "tests/lib/crash.h"
#include "tests/lib/host.h"
#include "tests/lib/judge.h"
#include "tests/lib/simio.h"

#define SEALWORLD_DIR "data"

enum { SEALWORLD_REQUESTS = 4 };

struct op { /* a record that was appended */
    uint64_t lsn, clock, batch;
    uint64_t oid, rev;
    uint32_t name; /* of a change: its key */
    uint8_t type, class;
    bool set; /* a change: the key has a value afterwards */
    struct id
        id; /* of an entry or change; the first one left after a cut; where the history begins */
    struct id *ids; /* that were removed */
    size_t n_ids;
};

struct model_stream {
    uint64_t oid, rev;
    uint32_t name;
    struct id *ids; /* live entries; their bytes follow from oid and ID */
    size_t n, cap;
    struct id last, floor;
    uint64_t bytes, added;
};

struct model_value {
    uint32_t key;
    size_t op; /* that set it */
};

struct model { /* what the first n_ops operations make */
    struct model_stream *streams;
    size_t n, cap, n_ops;
    struct model_value *values;
    size_t n_values, cap_values;
    uint64_t history; /* LSN at which it begins */
};

enum sealworld_role { ROLE_NONE, ROLE_TURN, ROLE_STEP, ROLE_APPEND, ROLE_COMMIT };

enum sealworld_what { ASK_SEAL, ASK_MERGE, ASK_CHECK, ASK_BACKUP };

struct sealworld {
    struct simio *disk;
    struct log *log; /* NULL: no process runs */
    struct log_options options;
    struct host *host;
    struct op *ops; /* those that are not known to be lost */
    size_t n_ops, cap_ops, first_open;
    struct model now; /* all of them */
    struct model at;  /* as far as somebody asked last */
    uint64_t n_batches, lsn_given, last_committed, clock;
    uint64_t largest_batch;    /* bytes */
    uint64_t written, durable; /* highest watermarks since the last start */
    bool failed, was_full;
    bool limited; /* the disk had no room for everything, once */
    bool
        faulty; /* an operation may fail, or has failed: background work may be given up, reads may fail */
    bool unsynced; /* nothing may be concluded from `written` */
    uint64_t n_refused, n_bad_reads, n_backups, n_asked;
    uint64_t n_seals, n_merges, n_checkpoints; /* of logs that have ended */
    struct sealworld_request {
        struct log_request r; /* must be first */
        struct sealworld *w;
        bool pending;
        int rc;
        char text[200], dir[40];
        enum sealworld_what what;
    } requests[SEALWORLD_REQUESTS];
    enum sealworld_role role;
    uint64_t rng, n_compared;
    uint64_t
        work_one_in; /* of starts on images: one in so many also works on, and is compared again */
    struct crash_result *result;
    char where[200];
};

void sealworld_init(struct sealworld *w, uint64_t seed, struct crash_result *result);
void sealworld_fini(struct sealworld *w);
bool sealworld_fails(struct sealworld *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
bool sealworld_holds(const struct sealworld *w);
struct subject sealworld_subject(struct sealworld *w);

/* One start in `dir` of a disk, which is compared with the model. */
struct sealstart {
    struct sealworld *w;
    struct host *host;
    struct log *log;
    struct log_recovery info;
    int rc; /* of log_open, or of a read that failed */
    struct err err;
    size_t n;                /* of the model's operations */
    char why[JUDGE_WHY_MAX]; /* what was wrong; empty: nothing */
};
void sealstart_run(struct sealstart *s, struct sealworld *w, struct simio *disk, const char *dir,
                   bool salvage);
void sealstart_end(struct sealstart *s); /* as if the process ended */
/* Compares everything; with s->why or a read's s->rc. */
void sealstart_compare(struct sealstart *s);
/* All the background work there is; false, with s->why, if it never ends. */
bool sealstart_work(struct sealstart *s, size_t max);

/* The next process on the world's disk, after a crash in `mode`. */
bool sealworld_open(struct sealworld *w, enum simio_mode mode, bool may_fail);
void sealworld_abandon(struct sealworld *w);
bool sealworld_close(struct sealworld *w, char text[200]);

/* What a life is made of. They do nothing where there is nothing to do it to; appends wait while the log is backed up. */
void sealworld_create(struct sealworld *w, uint32_t name, enum log_class class);
void sealworld_add(struct sealworld *w, uint32_t name, size_t n, enum log_class class);
void sealworld_remove(struct sealworld *w, uint32_t name, size_t n, enum log_class class);
void sealworld_cut(struct sealworld *w, uint32_t name, size_t keep, enum log_class class);
void sealworld_drop(struct sealworld *w, uint32_t name, enum log_class class);
void sealworld_rename(struct sealworld *w, uint32_t name, uint32_t to, enum log_class class);
void sealworld_flush(struct sealworld *w, enum log_class class);
/* n values of keys from `name` on, or n keys without one; the history becomes the newest n changes. */
void sealworld_set(struct sealworld *w, uint32_t name, size_t n, enum log_class class);
void sealworld_unset(struct sealworld *w, uint32_t name, size_t n, enum log_class class);
void sealworld_forget(struct sealworld *w, size_t n, enum log_class class);
void sealworld_commit(struct sealworld *w, bool sync_now);
/* `n` steps and turns, in the log's order or in a random one; 0: until there is nothing to do. */
void sealworld_work(struct sealworld *w, size_t n, bool random);
void sealworld_ask(struct sealworld *w, enum sealworld_what what);
bool sealworld_is_asking(const struct sealworld *w);

void sealworld_poll(struct sealworld *w);
/* Compares what readers see now with the model; a read that fails is a failure unless `faulty`. */
void sealworld_compare(struct sealworld *w);
/* After a merge of everything: no change is in a segment that neither lives nor is history. */
void sealworld_check_changes(struct sealworld *w);
/* What is on the disk is what there has to be: no file that nothing explains, bounded when all is gone. */
void sealworld_check_files(struct sealworld *w, uint64_t max_bytes);
/* To be called in the disk's hook. */
void sealworld_on_op(struct sealworld *w, const struct simio_op *op);

#endif
