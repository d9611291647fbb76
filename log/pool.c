/*
 * pool.c - lanes of jobs, threads that run them, and the way back.
 *
 * Each lane has a queue and threads of its own: a merge that takes minutes never stands before a read that somebody
 * waits for. A job moves from its lane's queue to a thread, then to the list of those that have run, and pool_turn takes it
 * from there; it is in one of these places at a time, so one link in the job is enough.
 *
 * `lock` guards queues and counts; neither `run` nor `done` nor on_done is called with it. n_ran is read without it, so
 * that a pool_turn that finds nothing costs one load. What `run` wrote is seen by `done`: the lock lies between them.
 *
 * Mergers run when nobody else wants the processor (SCHED_IDLE): one that works for a minute would otherwise take its turn
 * before the engine often enough to be seen in the latency of commands, at any niceness. Builders are as urgent as the
 * engine: who appends waits for them once the arena is full.
 */
#include "log/pool.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

struct queue {
    struct job *head, **tail;
    size_t n;
};

struct pool_thread {
    struct pool *pool;
    enum pool_lane lane;
    pthread_t id;
};

struct pool {
    struct pool_options o;
    pthread_mutex_t lock;
    pthread_cond_t work[POOL_N_LANES]; /* something waits there, or the end */
    pthread_cond_t ran_one;
    struct queue waiting[POOL_N_LANES];
    struct queue ran;
    size_t n_running;
    atomic_size_t n_ran; /* of `ran` */
    atomic_bool stopping;
    struct pool_thread *threads;
    size_t n_threads; /* that were started */
};

/* ---- queues ---- */

static void queue_init(struct queue *q)
{
    *q = (struct queue){ .tail = &q->head };
}

static void queue_put(struct queue *q, struct job *j)
{
    j->next = NULL;
    *q->tail = j;
    q->tail = &j->next;
    q->n++;
}

/* Takes the i-th out, i < n. */
static struct job *queue_take(struct queue *q, size_t i)
{
    struct job **at = &q->head, *j;

    assert(i < q->n);
    while (i-- > 0)
        at = &(*at)->next;
    j = *at;
    *at = j->next;
    if (q->tail == &j->next)
        q->tail = at;
    q->n--;
    return j;
}

/* ---- running ---- */

/* Runs a job that has been taken out of its queue; the lock is held before and after. */
static void pool_run(struct pool *p, struct job *j)
{
    p->n_running++;
    pthread_mutex_unlock(&p->lock);
    j->run(j);
    pthread_mutex_lock(&p->lock);
    p->n_running--;
    queue_put(&p->ran, j);
    atomic_store(&p->n_ran, p->ran.n);
    pthread_cond_broadcast(&p->ran_one);
    pthread_mutex_unlock(&p->lock);
    if (p->o.on_done != NULL)
        p->o.on_done(p->o.ctx);
    pthread_mutex_lock(&p->lock);
}

static void *pool_thread(void *arg)
{
    struct pool_thread *t = arg;
    struct pool *p = t->pool;
    struct queue *q = &p->waiting[t->lane];
    const struct sched_param none = { 0 };

    if (t->lane == POOL_MERGE) /* a hint; where it is refused, all are equal */
        err_ignore(pthread_setschedparam(pthread_self(), SCHED_IDLE, &none));
    pthread_mutex_lock(&p->lock);
    while (!atomic_load(&p->stopping)) {
        if (q->n > 0)
            pool_run(p, queue_take(q, 0));
        else
            pthread_cond_wait(&p->work[t->lane], &p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

bool pool_step(struct pool *p, size_t pick)
{
    size_t n = 0;

    assert(p->n_threads == 0);
    for (int lane = 0; lane < POOL_N_LANES; lane++)
        n += p->waiting[lane].n;
    if (n == 0)
        return false;
    pick %= n;
    for (int lane = 0; lane < POOL_N_LANES; lane++) {
        if (pick < p->waiting[lane].n) {
            pthread_mutex_lock(&p->lock);
            pool_run(p, queue_take(&p->waiting[lane], pick));
            pthread_mutex_unlock(&p->lock);
            break;
        }
        pick -= p->waiting[lane].n;
    }
    return true;
}

void pool_submit(struct pool *p, struct job *j)
{
    pthread_mutex_lock(&p->lock);
    queue_put(&p->waiting[j->lane], j);
    pthread_cond_signal(&p->work[j->lane]);
    pthread_mutex_unlock(&p->lock);
}

/* ---- back on the engine's thread ---- */

/* Calls `done` of all that is in the queue now; what they submit comes another time. */
static bool pool_finish(struct pool *p, struct queue *q)
{
    struct job *j;

    pthread_mutex_lock(&p->lock);
    j = q->head;
    queue_init(q);
    if (q == &p->ran)
        atomic_store(&p->n_ran, 0);
    pthread_mutex_unlock(&p->lock);
    if (j == NULL)
        return false;
    while (j != NULL) {
        struct job *next = j->next; /* `done` may free it */
        j->done(j);
        j = next;
    }
    return true;
}

bool pool_turn(struct pool *p)
{
    return atomic_load(&p->n_ran) > 0 && pool_finish(p, &p->ran);
}

bool pool_wait(struct pool *p)
{
    bool any;

    if (p->n_threads == 0)
        return p->ran.n > 0 || pool_step(p, 0);
    pthread_mutex_lock(&p->lock);
    for (;;) {
        size_t n = p->n_running;
        for (int lane = 0; lane < POOL_N_LANES; lane++)
            n += p->o.n_threads[lane] > 0 ? p->waiting[lane].n : 0;
        any = p->ran.n > 0;
        if (any || n == 0)
            break;
        pthread_cond_wait(&p->ran_one, &p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return any;
}

bool pool_is_stopping(const struct pool *p)
{
    return atomic_load(&p->stopping);
}

/* ---- beginning and ending ---- */

static int pool_start(struct pool *p, enum pool_lane lane, struct err *e)
{
    struct pool_thread *t = &p->threads[p->n_threads];

    *t = (struct pool_thread){ .pool = p, .lane = lane };
    errno = pthread_create(&t->id, NULL, pool_thread, t);
    if (errno != 0)
        return err_sys(e, ERR_IO, "starting a worker of the log");
    p->n_threads++;
    return OK;
}

int pool_new(const struct pool_options *o, struct pool **out, struct err *e)
{
    struct pool *p = calloc(1, sizeof *p);
    size_t n = 0;
    int rc = OK;

    for (int lane = 0; lane < POOL_N_LANES; lane++)
        n += o->n_threads[lane];
    if (p != NULL)
        p->threads = calloc(n + 1, sizeof *p->threads);
    if (p == NULL || p->threads == NULL) {
        free(p);
        return err_set(e, ERR_NOMEM, "no memory for the log's workers");
    }
    p->o = *o;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->ran_one, NULL);
    queue_init(&p->ran);
    for (int lane = 0; lane < POOL_N_LANES; lane++) {
        pthread_cond_init(&p->work[lane], NULL);
        queue_init(&p->waiting[lane]);
    }
    for (int lane = 0; rc == OK && lane < POOL_N_LANES; lane++)
        for (unsigned i = 0; rc == OK && i < o->n_threads[lane]; i++)
            rc = pool_start(p, (enum pool_lane)lane, e);
    if (rc != OK) {
        pool_free(p);
        return rc;
    }
    *out = p;
    return OK;
}

void pool_free(struct pool *p)
{
    bool more = true;

    if (p == NULL)
        return;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->stopping, true);
    for (int lane = 0; lane < POOL_N_LANES; lane++)
        pthread_cond_broadcast(&p->work[lane]);
    pthread_mutex_unlock(&p->lock);
    for (size_t i = 0; i < p->n_threads; i++)
        pthread_join(p->threads[i].id, NULL);
    while (more) {
        more = pool_finish(p, &p->ran);
        for (int lane = 0; lane < POOL_N_LANES; lane++)
            more |= pool_finish(p, &p->waiting[lane]);
    }
    for (int lane = 0; lane < POOL_N_LANES; lane++)
        pthread_cond_destroy(&p->work[lane]);
    pthread_cond_destroy(&p->ran_one);
    pthread_mutex_destroy(&p->lock);
    free(p->threads);
    free(p);
}
