/* judge.h - lets the power fail on a disk in every way at one moment, starts a log on each image, and has it
 * judged. Essay: judge.c. */
#ifndef TESTS_LIB_JUDGE_H
#define TESTS_LIB_JUDGE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "tests/lib/crash.h"
#include "tests/lib/simio.h"

enum { JUDGE_WHY_MAX = 700 };

/* Whose log is judged: a model that knows what may and what must be found. */
struct subject {
    void *ctx;
    /* Starts a log on `disk`, compares all of it with the model, and ends it again: how many of the model's records
     * it has. False with `why` if that failed or found what cannot be. */
    bool (*find)(void *ctx, struct simio *disk, size_t *n, char why[JUDGE_WHY_MAX]);
    /* Whether n records may be what a crash in `mode` has left at this moment. */
    bool (*check)(void *ctx, size_t n, enum simio_mode mode, char why[JUDGE_WHY_MAX]);
    /* Looks at the log's watermarks. */
    void (*poll)(void *ctx);
    /* Says what was wrong; always false. And whether nothing was so far. */
    bool (*fails)(void *ctx, const char *text);
    bool (*holds)(void *ctx);
};

struct seen { /* an image that was judged */
    uint64_t digest;
    size_t n;
};

struct judge {
    struct subject subject;
    struct simio *disk; /* the one that lives; borrowed */
    struct crash_result *result;
    struct {
        struct seen *at;
        size_t n, cap;
    } cache;
    uint64_t rng;
    uint64_t max_variants, max_inner; /* images of a mode at an operation, and at one of a start */
    bool (*wants)(const struct judge *j, const struct simio_op *op); /* NULL: all that change */
    uint64_t modes;                                                  /* bit for each */
    uint64_t from;                                                   /* for `wants` */
    uint64_t one_in; /* the same: of so many operations, chosen by rng */
    char where[160];
};

/* A simio_hook with a struct judge. */
void judge_on_op(void *ctx, const struct simio_op *op);
void judge_now(struct judge *j);

/* A fault in the middle of a life, and how the life ends after it. */
struct judge_fault {
    const char *name;
    enum simio_fault fault;
    uint64_t n_times;
    enum simio_mode after;
};
/* A judge's `wants`: the first operations behind `from`, where the fault was. Before it, the life is one without faults,
 * which others judge. */
bool judge_wants_after_fault(const struct judge *j, const struct simio_op *op);

/* To be called when what was appended and not found becomes something else: after each start. */
void judge_forget(struct judge *j);

#endif
