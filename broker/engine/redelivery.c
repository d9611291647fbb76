/*
 * redelivery.c - what groups do when time passes and nobody says anything.
 *
 * A group that waits for a time stands in a heap with it (group.alarm_ms). The time is the earliest of
 *
 *   pel_next_ms        an entry's ACKWAIT, backoff or delay ends: it becomes ready, dead or claimable
 *   claims             the entry that was delivered first is idle enough for somebody who blocks with CLAIM
 *   consumers          CONSUMERTTL of the one that was named longest ago (roster.c)
 *   dead letters       the next try to move them, at once if none has failed
 *
 * The first two change nothing that is logged, and are done when a round begins (redelivery_begin), so that its commands see
 * what its time says: the group's pending entries step on, and readers of the key are woken if there may be something
 * for them. The other two make records, and are done when it ends (redelivery_step). In between the group stands in a queue
 * of work, and has no place in the heap.
 *
 * The heap names groups by oid and gid and is never searched, as that of retention.c: a group that is dropped, or gets an
 * earlier time, leaves an entry behind that is void. Each push looks at two more places and takes void ones out. A time
 * that is too early costs a look.
 *
 * Dead letters move DEADLETTER_BATCH at a time, from the lowest ID on. What is not in memory is loaded, for REDELIVERY_LOADS
 * groups at once, and moved while it is pinned. If a batch fails for what it is made of, its entries are tried one by one,
 * and one that cannot be read is passed over. Whatever failed is tried again a second later.
 *
 * After a start a walk over all names gives each group its time.
 *
 *   D1  g->alarm_ms is UINT64_MAX (none), REDELIVERY_WORKING (in the queue), or a heap entry has exactly this oid, gid and
 *       time.
 *   D2  A round does REDELIVERY_LOOKS looks and REDELIVERY_WORKS works at most, each of which is bounded.
 */
#include "broker/engine/redelivery.h"
#include <assert.h>
#include <stdlib.h>
#include "broker/engine/blocking.h"
#include "broker/engine/cold.h"
#include "broker/engine/deadletter.h"
#include "broker/engine/grouplog.h"
#include "broker/engine/roster.h"

enum {
    REDELIVERY_LOOKS = 1000,     /* at groups whose time has come, a round */
    REDELIVERY_PAGES = 16,       /* of pending entries, a look */
    REDELIVERY_MORE = 250,       /* looks for which one counts that has found so much to do */
    REDELIVERY_WORKS = 16,       /* groups that do what is logged, a round */
    REDELIVERY_BUCKETS = 256,    /* of the name tables, a round of the walk */
    REDELIVERY_WALKED = 256,     /* groups, a round of the walk */
    REDELIVERY_LOADS = 8,        /* groups whose dead letters are being read */
    REDELIVERY_TRIES = 8,        /* loads for the same entries behind each other */
    REDELIVERY_FAILED_MS = 1000, /* until a move that failed is tried again */
    REDELIVERY_RETRY_MS = 100,   /* after there was no room in the log, or no free load */
    REDELIVERY_CLAIM_MS = 50, /* until what is idle enough, but was not claimed, is offered again */
};

#define REDELIVERY_NEVER   UINT64_MAX
#define REDELIVERY_WORKING 0 /* group.alarm_ms while it is in the queue of work */

struct redelivery_group { /* a group that may be gone */
    uint64_t oid, gid;
};

struct redelivery_due {
    uint64_t at_ms;
    struct redelivery_group group;
};

struct redelivery_load {
    struct redelivery_group group;
    size_t n; /* entries that are being read, from chores.move_from on */
    unsigned tries;
    bool busy;
};

struct redelivery_queue { /* [first, n) */
    struct redelivery_group *at;
    size_t first, n, cap;
};

struct redelivery {
    struct redelivery_due *heap;
    size_t n, cap;
    size_t sweep; /* where the next void entry is looked for */
    struct redelivery_queue work;
    struct redelivery_load loads[REDELIVERY_LOADS];
    size_t n_loads;
    uint64_t again_ms; /* nothing is logged before: there was no room */
    bool walking;      /* over all names: where it is, */
    int db;
    uint64_t cursor;
    struct redelivery_queue found; /* and streams there that have groups; gid: the last one seen */
    struct redelivery_stats stats;
};

int redelivery_new(struct redelivery **out, struct err *e)
{
    struct redelivery *r = calloc(1, sizeof *r);

    if (r == NULL)
        return err_set(e, ERR_NOMEM, "redelivery");
    *out = r;
    return OK;
}

void redelivery_free(struct redelivery *r)
{
    if (r == NULL)
        return;
    free(r->heap);
    free(r->work.at);
    free(r->found.at);
    free(r);
}

/* ---- groups by their numbers ---- */

static struct redelivery_group redelivery_name(const struct stream *st, const struct group *g)
{
    return (struct redelivery_group){ st->oid, g->gid };
}

/* NULL: it is gone, or its stream has no name any more. */
static struct group *redelivery_find(const struct engine *e, struct redelivery_group x,
                                     struct stream **out)
{
    struct stream *st = state_find_oid(&e->state, x.oid);

    if (st == NULL || engine_is_expired(e, &st->object) || !state_is_there(&e->state, &st->object))
        return NULL;
    *out = st;
    return groups_by_gid(stream_groups(st), x.gid);
}

/* ---- queues ---- */

static bool redelivery_push(struct redelivery_queue *q, struct redelivery_group x)
{
    if (q->first == q->n)
        q->first = q->n = 0;
    if (q->n == q->cap && q->first > q->cap / 2) {
        memmove(q->at, q->at + q->first, (q->n - q->first) * sizeof *q->at);
        q->n -= q->first;
        q->first = 0;
    }
    if (q->n == q->cap) {
        size_t cap = q->cap == 0 ? 16 : q->cap * 2;
        struct redelivery_group *at = realloc(q->at, cap * sizeof *at);

        if (at == NULL)
            return false;
        q->at = at;
        q->cap = cap;
    }
    q->at[q->n++] = x;
    return true;
}

static size_t redelivery_queued(const struct redelivery_queue *q)
{
    return q->n - q->first;
}

/* ---- the heap ---- */

static bool redelivery_earlier(const struct redelivery_due *a, const struct redelivery_due *b)
{
    if (a->at_ms != b->at_ms)
        return a->at_ms < b->at_ms;
    return a->group.gid < b->group.gid;
}

static void redelivery_up(struct redelivery *r, size_t i, struct redelivery_due x)
{
    while (i > 0 && redelivery_earlier(&x, &r->heap[(i - 1) / 2])) {
        r->heap[i] = r->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    r->heap[i] = x;
}

static void redelivery_down(struct redelivery *r, size_t i, struct redelivery_due x)
{
    size_t child;

    while ((child = 2 * i + 1) < r->n) {
        if (child + 1 < r->n && redelivery_earlier(&r->heap[child + 1], &r->heap[child]))
            child++;
        if (!redelivery_earlier(&r->heap[child], &x))
            break;
        r->heap[i] = r->heap[child];
        i = child;
    }
    r->heap[i] = x;
}

static void redelivery_remove(struct redelivery *r, size_t i)
{
    struct redelivery_due last = r->heap[--r->n];

    if (i == r->n)
        return;
    if (i > 0 && redelivery_earlier(&last, &r->heap[(i - 1) / 2]))
        redelivery_up(r, i, last);
    else
        redelivery_down(r, i, last);
}

/* The group of an entry; NULL if the entry is void. */
static struct group *redelivery_group_of(const struct engine *e, const struct redelivery_due *x,
                                         struct stream **st)
{
    struct group *g = redelivery_find(e, x->group, st);

    return g != NULL && g->alarm_ms == x->at_ms ? g : NULL;
}

static void redelivery_sweep(struct engine *e)
{
    struct redelivery *r = e->redelivery;
    struct stream *st;

    for (int i = 0; i < 2 && r->n > 0; i++) {
        if (r->sweep >= r->n)
            r->sweep = 0;
        if (redelivery_group_of(e, &r->heap[r->sweep], &st) == NULL)
            redelivery_remove(r, r->sweep);
        else
            r->sweep++;
    }
}

/* The group is looked at at that time and no other. Where there is no memory for it, it is not: a later change tries
 * again. */
static void redelivery_schedule(struct engine *e, struct stream *st, struct group *g,
                                uint64_t at_ms)
{
    struct redelivery *r = e->redelivery;

    if (at_ms == 0)
        at_ms = 1; /* D1: not REDELIVERY_WORKING */
    if (at_ms == g->alarm_ms)
        return;
    g->alarm_ms = REDELIVERY_NEVER;
    if (at_ms == REDELIVERY_NEVER)
        return;
    redelivery_sweep(e);
    if (r->n == r->cap) {
        size_t cap = r->cap == 0 ? 64 : r->cap * 2;
        struct redelivery_due *heap = realloc(r->heap, cap * sizeof *heap);

        if (heap == NULL)
            return;
        r->heap = heap;
        r->cap = cap;
    }
    g->alarm_ms = at_ms;
    redelivery_up(r, r->n++, (struct redelivery_due){ at_ms, redelivery_name(st, g) });
}

/* ---- times ---- */

static uint64_t redelivery_add(uint64_t ms, uint64_t more_ms)
{
    return more_ms < REDELIVERY_NEVER - ms ? ms + more_ms : REDELIVERY_NEVER;
}

static uint64_t redelivery_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* When the entry that was delivered first is idle enough for who blocks with CLAIM. These have tried just now: if it is
 * already, it is something that they cannot have. */
static uint64_t redelivery_claim_ms(const struct engine *e, const struct group *g)
{
    uint64_t at;

    if (g->n_claiming == 0)
        return REDELIVERY_NEVER;
    at = redelivery_add(pel_oldest_ms(g->pel), g->claim_idle_ms);
    return at > e->now_ms ? at : redelivery_add(e->now_ms, REDELIVERY_CLAIM_MS);
}

static uint64_t redelivery_move_ms(const struct group *g)
{
    bool any = pel_n_dead(g->pel) > 0 && group_options(g)->dlq.n > 0;

    return any ? g->chores.move_ms : REDELIVERY_NEVER;
}

/* When the group has work to do that is logged. */
static uint64_t redelivery_work_ms(const struct group *g)
{
    return redelivery_min(redelivery_move_ms(g), roster_next_ms(g));
}

/* Gives the group its time, which may be earlier than the one that it has. */
static void redelivery_look_at(struct engine *e, struct stream *st, struct group *g)
{
    uint64_t at = redelivery_min(pel_next_ms(g->pel), redelivery_claim_ms(e, g));

    at = redelivery_min(at, redelivery_work_ms(g));
    if (at < g->alarm_ms)
        redelivery_schedule(e, st, g, at > e->now_ms ? at : e->now_ms);
}

void redelivery_changed(struct engine *e, struct stream *st, struct group *g)
{
    roster_changed(g);
    if (g->alarm_ms != REDELIVERY_WORKING)
        redelivery_look_at(e, st, g);
}

void redelivery_began_anew(struct engine *e, struct stream *st)
{
    struct groups *gs = stream_groups(st);
    struct group *g = groups_next_gid(gs, 0);

    for (; g != NULL; g = groups_next_gid(gs, g->gid)) {
        g->alarm_ms = REDELIVERY_NEVER;
        g->chores.move_ms = 0;
        redelivery_changed(e, st, g);
    }
}

void redelivery_seen(struct engine *e, struct stream *st, struct group *g, struct consumer *c)
{
    bool first = g->oldest == NULL;

    roster_seen(e, g, c);
    if (first)
        redelivery_changed(e, st, g);
}

/* ---- what becomes ready ---- */

static void redelivery_wake(struct engine *e, const struct stream *st)
{
    blocking_ready(e->blocking, state_db_of(&e->state, &st->object), stream_name(st));
}

/* The group goes on in the queue of work if it has any, else into the heap. */
static void redelivery_go_on(struct engine *e, struct stream *st, struct group *g)
{
    g->alarm_ms = REDELIVERY_NEVER;
    if (redelivery_work_ms(g) <= e->now_ms &&
        redelivery_push(&e->redelivery->work, redelivery_name(st, g)))
        g->alarm_ms = REDELIVERY_WORKING;
    else
        redelivery_look_at(e, st, g);
}

/* The group's time has come. True: it has more to do at this time. */
static bool redelivery_look(struct engine *e, struct stream *st, struct group *g)
{
    uint64_t n_ready = pel_n_ready(g->pel), n_dead = pel_n_dead(g->pel);
    bool more = false;

    if (pel_next_ms(g->pel) <= e->now_ms)
        more = group_step(g, e->now_ms, REDELIVERY_PAGES);
    if (pel_n_ready(g->pel) != n_ready || pel_n_dead(g->pel) != n_dead || g->n_claiming > 0)
        redelivery_wake(e, st); /* the dead keep no key taken */
    if (more)
        redelivery_schedule(e, st, g, e->now_ms);
    else
        redelivery_go_on(e, st, g);
    return more;
}

void redelivery_begin(struct engine *e)
{
    struct redelivery *r = e->redelivery;
    int left = REDELIVERY_LOOKS;

    while (!e->failed && left > 0 && r->n > 0 && r->heap[0].at_ms <= e->now_ms) {
        struct stream *st = NULL;
        struct group *g = redelivery_group_of(e, &r->heap[0], &st);

        redelivery_remove(r, 0);
        left--; /* a void one costs a lookup, too */
        if (g == NULL)
            continue;
        g->alarm_ms = REDELIVERY_NEVER;
        if (redelivery_look(e, st, g))
            left -= REDELIVERY_MORE;
    }
}

/* ---- dead letters ---- */

static void redelivery_loaded(struct engine *e, void *ctx, int rc);

void redelivery_count_moved(struct engine *e, struct group *g, uint64_t n, uint64_t n_gone)
{
    g->n_dead_lettered += n;
    e->redelivery->stats.n_dead_lettered += n;
    e->redelivery->stats.n_gone += n_gone;
}

static struct redelivery_load *redelivery_free_load(struct redelivery *r)
{
    for (size_t i = 0; i < REDELIVERY_LOADS; i++)
        if (!r->loads[i].busy)
            return &r->loads[i];
    return NULL;
}

/* Something went wrong: counted, and told once for each group and kind until a move succeeds. */
static void redelivery_complain(struct engine *e, const struct stream *st, struct group *g,
                                const struct err *err)
{
    uint32_t kind = 1u << (err->code & 31);
    struct slice key = stream_name(st);

    e->redelivery->stats.n_failed++;
    if (g->chores.complained & kind)
        return;
    g->chores.complained |= kind;
    engine_complain(e,
                    "group %.*s of stream %.*s: entries that have failed for the last time cannot "
                    "be moved to the dead-letter stream, and stay: %s",
                    (int)(g->name.n < 100 ? g->name.n : 100), (const char *)g->name.p,
                    (int)(key.n < 100 ? key.n : 100), (const char *)key.p, err->text);
}

/* Nothing is moved for a while; then all are tried anew. */
static void redelivery_move_later(const struct engine *e, struct group *g)
{
    g->chores.move_ms = redelivery_add(e->now_ms, REDELIVERY_FAILED_MS);
    g->chores.move_from = ID_MIN;
    g->chores.move_singly = false;
}

/* Whether a move failed for what is in the entries, so that it may succeed for others. */
static bool redelivery_is_theirs(int rc)
{
    return rc == ERR_IO || rc == ERR_CORRUPT || rc == ERR_TOO_BIG;
}

/* A move of n entries, from `first` on, has failed. */
static void redelivery_move_failed(struct engine *e, const struct stream *st, struct group *g,
                                   struct id first, size_t n, const struct err *err)
{
    struct group_chores *x = &g->chores;

    if (redelivery_is_theirs(err->code) && n > 1) {
        x->move_singly = true;
        return;
    }
    redelivery_complain(e, st, g, err);
    x->move_from = first;
    if (!redelivery_is_theirs(err->code) || !id_next(&x->move_from))
        redelivery_move_later(e, g);
}

static void redelivery_move_succeeded(struct group *g)
{
    struct group_chores *x = &g->chores;

    if (pel_n_dead(g->pel) == 0) {
        x->complained = 0;
        x->move_singly = false;
        x->move_from = ID_MIN;
    }
    x->complained &= 1u << ERR_IO | 1u << ERR_CORRUPT | 1u << ERR_TOO_BIG; /* of others */
}

/* Has read what `wants` names. Errors: as of cold_load; ERR_IO: that has been done in vain. */
static int redelivery_load(struct engine *e, const struct stream *st, struct group *g,
                           struct wants *wants, size_t n, unsigned tries, struct err *err)
{
    struct redelivery *r = e->redelivery;
    struct redelivery_load *load = redelivery_free_load(r);
    int rc;

    if (load == NULL) {
        g->chores.move_ms = redelivery_add(e->now_ms, REDELIVERY_RETRY_MS);
        return OK;
    }
    if (tries >= REDELIVERY_TRIES)
        return err_set(err, ERR_IO, "they are not in memory however often they are read");
    *load = (struct redelivery_load){ redelivery_name(st, g), n, tries + 1, true };
    rc = cold_load(e, wants, redelivery_loaded, load, err);
    load->busy = rc == OK;
    if (rc != OK)
        return rc;
    wants_init(wants); /* they have been taken over */
    r->n_loads++;
    g->chores.move_ms = REDELIVERY_NEVER;
    return OK;
}

/* Moves what comes next of the dead ones, at most `max`. */
static void redelivery_move(struct engine *e, struct stream *st, struct group *g, size_t max,
                            unsigned tries)
{
    struct pel_entry entries[DEADLETTER_BATCH];
    size_t n = pel_dead(g->pel, g->chores.move_from, max, entries);
    struct wants wants;
    struct err err = { 0 };
    int rc;

    if (n == 0) { /* those that are left have failed */
        redelivery_move_later(e, g);
        return;
    }
    wants_init(&wants);
    rc = deadletter_move(e, NULL, st, g, entries, NULL, n, &wants, &err);
    if (rc == OK)
        redelivery_move_succeeded(g);
    else if (rc == ERR_COLD)
        rc = redelivery_load(e, st, g, &wants, n, tries, &err);
    if (rc != OK)
        redelivery_move_failed(e, st, g, entries[0].id, n, &err);
    wants_fini(&wants, log_cache(e->log));
}

static void redelivery_loaded(struct engine *e, void *ctx, int rc)
{
    struct redelivery_load *load = ctx;
    struct stream *st = NULL;
    struct group *g = redelivery_find(e, load->group, &st);
    struct pel_entry first;
    struct err err;

    load->busy = false;
    e->redelivery->n_loads--;
    if (g == NULL)
        return;
    g->chores.move_ms = 0;
    if (rc != OK && cold_load_text(e)[0] == '\0')
        return; /* the server stops */
    if (redelivery_move_ms(g) == 0 && rc == OK) {
        redelivery_move(e, st, g, load->n, load->tries);
    } else if (redelivery_move_ms(g) == 0 &&
               pel_dead(g->pel, g->chores.move_from, 1, &first) == 1) {
        err_ignore(err_set(&err, rc, "%s", cold_load_text(e))); /* told below */
        redelivery_move_failed(e, st, g, first.id, load->n, &err);
    }
    redelivery_changed(e, st, g);
}

/* ---- after a start ---- */

static void redelivery_enroll(struct engine *e, struct stream *st, struct group *g)
{
    roster_enroll(e, g);
    redelivery_changed(e, st, g);
}

static void redelivery_enroll_all(struct engine *e, struct stream *st)
{
    struct group *g = NULL;

    while ((g = groups_next_gid(stream_groups(st), g == NULL ? 0 : g->gid)) != NULL)
        redelivery_enroll(e, st, g);
}

static void redelivery_walk_node(void *ctx, struct dict_node *node)
{
    struct object *o = (struct object *)(void *)node;
    struct stream *st = stream_of(o);
    struct engine *e = ctx;

    if (o->type != OBJECT_STREAM || groups_n(stream_groups(st)) == 0)
        return;
    if (!redelivery_push(&e->redelivery->found, (struct redelivery_group){ st->oid, 0 }))
        redelivery_enroll_all(e, st); /* there is no memory to do it by and by */
}

void redelivery_walk(struct engine *e)
{
    struct redelivery *r = e->redelivery;

    r->walking = e->state.n_objects > 0;
    r->db = 0;
    r->cursor = 0;
}

static void redelivery_walk_names(struct engine *e)
{
    struct redelivery *r = e->redelivery;

    for (int i = 0; i < REDELIVERY_BUCKETS && r->walking; i++) {
        r->cursor = dict_scan(&e->state.dbs[r->db].names, r->cursor, redelivery_walk_node, e);
        if (r->cursor != 0)
            continue;
        if (++r->db == CONFIG_DATABASES)
            r->walking = false;
    }
}

/* The next group of the streams that have been found; false if there is none. */
static bool redelivery_walk_group(struct engine *e)
{
    struct redelivery_queue *q = &e->redelivery->found;
    struct redelivery_group *x = &q->at[q->first];
    struct stream *st;
    struct group *g;

    if (redelivery_queued(q) == 0)
        return false;
    st = state_find_oid(&e->state, x->oid);
    g = st == NULL ? NULL : groups_next_gid(stream_groups(st), x->gid);
    if (g == NULL) {
        q->first++;
        return true;
    }
    x->gid = g->gid;
    redelivery_enroll(e, st, g);
    return true;
}

static bool redelivery_is_walking(const struct redelivery *r)
{
    return r->walking || redelivery_queued(&r->found) > 0;
}

static void redelivery_walk_step(struct engine *e)
{
    struct redelivery *r = e->redelivery;

    if (redelivery_queued(&r->found) == 0)
        redelivery_walk_names(e);
    for (int i = 0; i < REDELIVERY_WALKED && redelivery_walk_group(e); i++)
        ;
}

/* ---- rounds ---- */

static void redelivery_do(struct engine *e, struct stream *st, struct group *g)
{
    if (redelivery_move_ms(g) <= e->now_ms)
        redelivery_move(e, st, g, g->chores.move_singly ? 1 : DEADLETTER_BATCH, 0);
    if (!roster_pass(e, st, g, &e->redelivery->stats.n_consumers_expired))
        e->redelivery->again_ms = e->now_ms + REDELIVERY_RETRY_MS;
    if (log_open_bytes(e->log) > LOG_BATCH_BYTES_SOFT)
        log_commit(e->log, false);
    redelivery_go_on(e, st, g);
}

bool redelivery_step(struct engine *e)
{
    struct redelivery *r = e->redelivery;
    size_t left = redelivery_queued(&r->work);

    if (e->failed)
        return false;
    if (redelivery_is_walking(r))
        redelivery_walk_step(e);
    if (left > REDELIVERY_WORKS)
        left = REDELIVERY_WORKS;
    for (; left > 0 && r->again_ms <= e->now_ms; left--) {
        struct stream *st = NULL;
        struct group *g = redelivery_find(e, r->work.at[r->work.first++], &st);

        if (g != NULL && g->alarm_ms == REDELIVERY_WORKING)
            redelivery_do(e, st, g);
    }
    return redelivery_is_walking(r) ||
           (redelivery_queued(&r->work) > 0 && r->again_ms <= e->now_ms);
}

uint64_t redelivery_next_ms(const struct engine *e)
{
    const struct redelivery *r = e->redelivery;
    uint64_t at = r->n > 0 ? r->heap[0].at_ms : REDELIVERY_NEVER;

    if (redelivery_is_walking(r))
        return e->now_ms;
    if (redelivery_queued(&r->work) > 0)
        at = redelivery_min(at, r->again_ms > e->now_ms ? r->again_ms : e->now_ms);
    return at;
}

void redelivery_get_stats(const struct engine *e, struct redelivery_stats *out)
{
    *out = e->redelivery->stats;
    out->n_scheduled = e->redelivery->n;
}

/* ---- checking ---- */

static bool redelivery_has_place(const struct redelivery *r, struct redelivery_group x,
                                 uint64_t at_ms)
{
    const struct redelivery_queue *q = &r->work;

    for (size_t i = q->first; at_ms == REDELIVERY_WORKING && i < q->n; i++)
        if (q->at[i].oid == x.oid && q->at[i].gid == x.gid)
            return true;
    for (size_t i = 0; at_ms != REDELIVERY_WORKING && i < r->n; i++)
        if (r->heap[i].group.oid == x.oid && r->heap[i].group.gid == x.gid &&
            r->heap[i].at_ms == at_ms)
            return true;
    return at_ms == REDELIVERY_NEVER;
}

struct redelivery_checking {
    const struct engine *engine;
    const char *broken;
};

static void redelivery_check_node(void *ctx, struct dict_node *node)
{
    struct redelivery_checking *x = ctx;
    struct object *o = (struct object *)(void *)node;
    const struct stream *st = stream_of(o);
    struct group *g = NULL;

    while (o->type == OBJECT_STREAM &&
           (g = groups_next_gid(stream_groups(st), g == NULL ? 0 : g->gid)) != NULL) {
        if (!redelivery_has_place(x->engine->redelivery, redelivery_name(st, g), g->alarm_ms))
            x->broken = "D1: a group's place";
        if (roster_check(g) != NULL)
            x->broken = roster_check(g);
    }
}

const char *redelivery_check(struct engine *e)
{
    const struct redelivery *r = e->redelivery;
    struct redelivery_checking x = { e, NULL };
    size_t n_busy = 0;

    for (size_t i = 1; i < r->n; i++)
        if (redelivery_earlier(&r->heap[i], &r->heap[(i - 1) / 2]))
            return "the heap is in order";
    for (size_t i = 0; i < REDELIVERY_LOADS; i++)
        n_busy += r->loads[i].busy;
    if (n_busy != r->n_loads)
        return "the number of loads";
    for (int db = 0; db < CONFIG_DATABASES; db++) {
        uint64_t cursor = 0;

        do
            cursor = dict_scan(&e->state.dbs[db].names, cursor, redelivery_check_node, &x);
        while (cursor != 0);
    }
    return x.broken;
}
