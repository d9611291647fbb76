/* test_pool.c - every job is run once and comes back once, on the engine's thread, whatever the order, with threads and
 * without. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "log/pool.h"
#include "tests/lib/random.h"

struct counted {
    struct job job;
    struct pool *pool;
    pthread_t engine;
    int n_run, n_done, again; /* how often it is submitted anew */
    int *order, *n_order;     /* of runs, or NULL */
    int id;
    sem_t *gate; /* run waits for it, if not NULL */
};

static void counted_run(struct job *j)
{
    struct counted *c = (struct counted *)j;

    if (c->gate != NULL)
        sem_wait(c->gate);
    c->n_run++;
    if (c->order != NULL)
        c->order[(*c->n_order)++] = c->id;
}

static void counted_done(struct job *j)
{
    struct counted *c = (struct counted *)j;

    assert_true(pthread_equal(pthread_self(), c->engine));
    c->n_done++;
    if (c->again > 0 && !pool_is_stopping(c->pool)) {
        c->again--;
        pool_submit(c->pool, j);
    }
}

static struct counted counted_new(struct pool *p, enum pool_lane lane)
{
    return (struct counted){ .job = { .lane = lane, .run = counted_run, .done = counted_done },
                             .pool = p,
                             .engine = pthread_self() };
}

static struct pool *pool_of(unsigned readers, unsigned builders, unsigned mergers)
{
    struct pool_options o = { .n_threads = { readers, builders, mergers } };
    struct pool *p = NULL;
    struct err e = { 0 };

    if (pool_new(&o, &p, &e) != OK)
        fail_msg("pool_new: %s", e.text);
    return p;
}

static void without_threads_a_step_runs_the_one_that_is_picked(void **state)
{
    struct pool *p = pool_of(0, 0, 0);
    int order[3], n = 0;
    struct counted c[3];

    (void)state;
    for (int i = 0; i < 3; i++) {
        c[i] = counted_new(p, (enum pool_lane)i);
        c[i].id = i;
        c[i].order = order;
        c[i].n_order = &n;
        pool_submit(p, &c[i].job);
    }
    assert_true(pool_step(p, 4));
    assert_true(pool_step(p, 1));
    assert_true(pool_step(p, 7));
    assert_false(pool_step(p, 0));
    assert_int_equal(order[0], 1);
    assert_int_equal(order[1], 2);
    assert_int_equal(order[2], 0);
    assert_int_equal(c[0].n_done + c[1].n_done + c[2].n_done, 0);
    assert_true(pool_turn(p));
    assert_int_equal(c[0].n_done + c[1].n_done + c[2].n_done, 3);
    assert_false(pool_turn(p));
    pool_free(p);
}

static void a_job_may_be_submitted_again_by_its_own_done(void **state)
{
    struct pool *p = pool_of(0, 0, 0);
    struct counted c = counted_new(p, POOL_BUILD);

    (void)state;
    c.again = 5;
    pool_submit(p, &c.job);
    while (pool_wait(p))
        assert_true(pool_turn(p));
    assert_int_equal(c.n_run, 6);
    assert_int_equal(c.n_done, 6);
    pool_free(p);
}

static void threads_run_all_and_the_engine_gets_all_back(void **state)
{
    enum { N = 2000 };
    struct random r = random_seeded("pool");
    struct pool *p = pool_of(2, 1, 1);
    struct counted *c = calloc(N, sizeof *c);

    (void)state;
    assert_non_null(c);
    for (int i = 0; i < N; i++) {
        c[i] = counted_new(p, (enum pool_lane)random_below(&r, POOL_N_LANES));
        c[i].again = (int)random_below(&r, 3);
        pool_submit(p, &c[i].job);
        if (random_below(&r, 4) == 0)
            pool_turn(p);
    }
    while (pool_wait(p))
        pool_turn(p);
    for (int i = 0; i < N; i++) {
        assert_int_equal(c[i].again, 0);
        assert_int_equal(c[i].n_run, c[i].n_done);
        assert_true(c[i].n_run >= 1);
    }
    free(c);
    pool_free(p);
}

static void a_long_merge_holds_no_read_up(void **state)
{
    struct pool *p = pool_of(1, 1, 1);
    struct counted merge = counted_new(p, POOL_MERGE), read = counted_new(p, POOL_READ);
    sem_t gate;

    (void)state;
    sem_init(&gate, 0, 0);
    merge.gate = &gate;
    pool_submit(p, &merge.job);
    pool_submit(p, &read.job);
    while (read.n_done == 0) {
        assert_true(pool_wait(p));
        pool_turn(p);
    }
    assert_int_equal(merge.n_done, 0);
    sem_post(&gate);
    assert_true(pool_wait(p));
    pool_turn(p);
    assert_int_equal(merge.n_done, 1);
    pool_free(p);
    sem_destroy(&gate);
}

static void at_the_end_what_has_not_begun_is_given_back_unrun(void **state)
{
    struct pool *p = pool_of(0, 1, 0);
    struct counted c[3];

    (void)state;
    for (int i = 0; i < 3; i++) {
        c[i] = counted_new(p, i == 0 ? POOL_BUILD : POOL_MERGE);
        c[i].again = 100;
        pool_submit(p, &c[i].job);
    }
    pool_free(p);
    assert_true(c[0].n_run <= 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(c[i].n_done, 1);
        assert_true(i == 0 || c[i].n_run == 0);
    }
}

static void count_told(void *ctx)
{
    atomic_fetch_add((atomic_int *)ctx, 1);
}

static void the_engine_is_told_of_every_job_that_has_run(void **state)
{
    atomic_int told = 0;
    struct pool_options o = { .n_threads = { 1, 0, 0 }, .on_done = count_told, .ctx = &told };
    struct pool *p;
    struct err e = { 0 };
    struct counted c[10];

    (void)state;
    assert_int_equal(pool_new(&o, &p, &e), OK);
    for (int i = 0; i < 10; i++) {
        c[i] = counted_new(p, POOL_READ);
        pool_submit(p, &c[i].job);
    }
    while (pool_wait(p))
        pool_turn(p);
    pool_free(p); /* the thread has ended: it has told of the last one too */
    assert_int_equal(atomic_load(&told), 10);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_threads_a_step_runs_the_one_that_is_picked),
        cmocka_unit_test(a_job_may_be_submitted_again_by_its_own_done),
        cmocka_unit_test(threads_run_all_and_the_engine_gets_all_back),
        cmocka_unit_test(a_long_merge_holds_no_read_up),
        cmocka_unit_test(at_the_end_what_has_not_begun_is_given_back_unrun),
        cmocka_unit_test(the_engine_is_told_of_every_job_that_has_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
