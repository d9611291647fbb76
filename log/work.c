/*
 * work.c - between the pool's jobs and the keeper's turns.
 *
 * A worker only sees its `struct work` and what belongs to the same work; it returns what the engine's thread then looks
 * at in keeper_turn. That work ends, not how, is all that `done` tells.
 */
#include "log/work.h"

#include <assert.h>
#include "log/keeping.h"

static void work_run(struct job *j)
{
    struct work *w = (struct work *)j;

    w->err = (struct err){ 0 };
    w->rc = w->run(w, &w->err);
}

static void work_done(struct job *j)
{
    struct work *w = (struct work *)j;

    w->running = false;
    w->keeper->more = true;
}

void work_start(struct keeper *k, struct work *w, enum pool_lane lane,
                int (*run)(struct work *w, struct err *e))
{
    assert(!w->running);
    w->keeper = k;
    w->run = run;
    w->running = true;
    w->rc = ERR_IO; /* if it is not run any more */
    w->job = (struct job){ .lane = lane, .run = work_run, .done = work_done };
    pool_submit(k->pool, &w->job);
}
