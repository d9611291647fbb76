/* crash.h - the crash suites of the log: what must hold whatever a disk does, checked against a model.
 *
 * The suites are functions rather than cmocka tests, because tests/test_planted_bugs.c runs them too, on a
 * log with a bug in it, to see that they fail. Essay and invariants: crash.c. */
#ifndef TESTS_LIB_CRASH_H
#define TESTS_LIB_CRASH_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct crash_options {
    uint64_t seed;
    double scale; /* multiplies rounds and subsets */
    bool full;    /* every byte and every subset that can be numbered */
};

struct crash_result {
    char why[1200];    /* empty: everything held; else what failed, and where */
    uint64_t n_ops;    /* file operations of the traces */
    uint64_t n_images; /* disks after a crash, an error or damage */
    uint64_t n_opens;  /* of the log on them */
};

typedef void crash_suite(const struct crash_options *options, struct crash_result *out);

/* T2: a scripted life of the log; the power fails before each operation, in every mode, and again at each operation of
 * the start that follows. */
crash_suite crash_points;

/* T4: the same life with each operation failing in each way. */
crash_suite crash_errors;

/* T5: small stores with each byte changed, cut at each length, frames repeated and swapped, and more. */
crash_suite crash_damage;

/* T3: random lives with several crashes and errors each. */
crash_suite crash_random;

/* The promises about time: interval syncs when it is due, and holds what would be lost. */
crash_suite crash_deadlines;

struct crash_named {
    const char *name;
    crash_suite *run;
};
extern const struct crash_named crash_suites[];
enum { CRASH_SUITES = 5 };

/* The same over everything that is sealed: segments, merges, checkpoints, manifests, backups (sealcrash.c). T8 is
 * seal_full: disks of many sizes that fill up and are given room again. */
crash_suite seal_points, seal_errors, seal_damage, seal_random, seal_full;

/* Random lives with the log's own threads, for the thread checker: no crash but a kill, nothing replays. */
crash_suite seal_threads;
extern const struct crash_named seal_suites[];
enum { SEAL_SUITES = 5 };

/* Options from SEED (else the time), SCALE and CRASH. */
void crash_options_get(struct crash_options *out);

#endif
