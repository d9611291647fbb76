/* work.h - a job of the keeper's: one of a kind is under way at a time, and what comes next is decided when it
 * is over. */
#ifndef LOG_WORK_H
#define LOG_WORK_H
#include <stdbool.h>
#include "log/err.h"
#include "log/pool.h"

struct keeper;

struct work {
    struct job job; /* first */
    struct keeper *keeper;
    int (*run)(struct work *w, struct err *e); /* on a worker */
    bool running;
    int rc; /* of the last one, with `err` if it failed */
    struct err err;
};

/* Submits it; a turn comes when it is over. It is not running. */
void work_start(struct keeper *k, struct work *w, enum pool_lane lane,
                int (*run)(struct work *w, struct err *e));

#endif
