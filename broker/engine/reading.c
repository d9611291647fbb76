/*
 * reading.c - fifty consumers of a group that wait cost about as much as one.
 *
 * Readers that find nothing wait in blocking.c, in the order in which they came, and try again when their key changes. Two
 * things would make that expensive. What a group has next may have to be read from disk: if each reader asked for it, the
 * same blocks would be read and waited for many times. And a change wakes everybody, of whom one may find something.
 *
 * So readers of one group meet here while they wait. One load at a time is under way for the group, begun by the first of them,
 * of what that one needs and some of what comes behind it. When it is there all are served in order, from memory, before what
 * was loaded can be dropped again; the first who misses something begins the next load. If that is the one who began the last
 * one, all that was loaded for it stays pinned until it has been served, so it gets on however small the cache is. And who has found nothing says so:
 * while no record has been appended since, in the same round, whoever waits for no more than that one need not look.
 *
 *   R1  A reading exists as long as somebody is bound to it or a load is under way; there is one for each gid.
 *   R2  group.n_claiming and claim_idle_ms are those of the waits with CLAIM that are bound to it, consumer.n_waiting
 *       those that are bound as that consumer.
 *
 * Groups come and go while somebody waits, and a stream may begin anew under another oid. Nothing here points to a group; whoever
 * is unbound looks for it by oid and gid, or else by name and gid.
 */
#include "broker/engine/reading.h"
#include <assert.h>
#include <stdlib.h>
#include "broker/engine/blocking.h"
#include "broker/engine/cold.h"
#include "broker/engine/grouplog.h"
#include "broker/engine/redelivery.h"
#include "log/dict.h"

struct reading {
    struct dict_node node; /* by gid; must be first */
    uint64_t gid;
    struct reading_wait *first, *last;
    bool is_loading, is_waking;
    struct reading_wait *load_of; /* who has begun it; NULL: it waits no longer */
    struct reading_wait *ended;   /* whose load has just ended, while those who wait try again */
    int ended_rc;
    struct wants pinned; /* what has been loaded for load_of, which has not been served yet */
    /* nobody with an idle_ms of at least this has anything to read, */
    uint64_t nothing_idle_ms;
    uint64_t nothing_lsn, nothing_clock; /* as long as these two do not change */
};

struct readings {
    struct dict by_gid;
    uint64_t n_looks;
};

static struct slice reading_name(const struct dict_node *node)
{
    const struct reading *r = (const struct reading *)(const void *)node;

    return slice_of(&r->gid, sizeof r->gid);
}

int readings_new(struct engine *e, struct readings **out, struct err *err)
{
    struct readings *rs = calloc(1, sizeof *rs);

    if (rs == NULL)
        return err_set(err, ERR_NOMEM, "table of those who wait for groups");
    dict_init(&rs->by_gid, e->state.hash_key, reading_name);
    *out = rs;
    return OK;
}

void readings_free(struct readings *rs)
{
    if (rs == NULL)
        return;
    assert(rs->by_gid.n == 0);
    dict_fini(&rs->by_gid);
    free(rs);
}

uint64_t reading_look(struct engine *e)
{
    return ++e->readings->n_looks;
}

static struct reading *reading_get(struct engine *e, uint64_t gid)
{
    struct slice name = slice_of(&gid, sizeof gid);
    struct dict *d = &e->readings->by_gid;
    struct reading *r = (struct reading *)(void *)dict_find(d, name);

    if (r != NULL || (r = calloc(1, sizeof *r)) == NULL)
        return r;
    r->gid = gid;
    dict_add(d, &r->node, name);
    return r;
}

/* R1 */
static void reading_drop_if_unused(struct engine *e, struct reading *r)
{
    if (r->first != NULL || r->is_loading || r->is_waking)
        return;
    wants_fini(&r->pinned, log_cache(e->log));
    dict_remove(&e->readings->by_gid, &r->node);
    free(r);
}

/* ---- who waits ---- */

static struct group *reading_group_of(const struct engine *e, struct object *o, uint64_t gid,
                                      struct stream **st)
{
    if (o == NULL || o->type != OBJECT_STREAM || !state_is_there(&e->state, o))
        return NULL;
    *st = stream_of(o);
    return groups_by_gid(stream_groups(*st), gid);
}

/* The group that `w` is bound to, NULL if it is gone. */
static struct group *reading_group(const struct engine *e, const struct reading_wait *w,
                                   struct stream **st)
{
    struct stream *found = state_find_oid(&e->state, w->oid);
    struct group *g =
        reading_group_of(e, found == NULL ? NULL : &found->object, w->reading->gid, st);

    if (g != NULL)
        return g;
    return reading_group_of(e, engine_find_key(e, w->db, w->key), w->reading->gid, st);
}

static void reading_link(struct reading *r, struct reading_wait *w)
{
    w->reading = r;
    w->next = NULL;
    w->prev = r->last;
    if (r->last != NULL)
        r->last->next = w;
    else
        r->first = w;
    r->last = w;
}

static void reading_unlink(struct reading *r, struct reading_wait *w)
{
    if (w->prev != NULL)
        w->prev->next = w->next;
    else
        r->first = w->next;
    if (w->next != NULL)
        w->next->prev = w->prev;
    else
        r->last = w->prev;
    if (r->load_of == w)
        r->load_of = NULL;
    if (r->ended == w)
        r->ended = NULL;
    w->reading = NULL;
}

/* R2, where one with CLAIM has come or gone. */
static void reading_count_claims(struct engine *e, const struct reading *r, struct stream *st,
                                 struct group *g, uint64_t idle_ms, bool comes)
{
    bool least = g->n_claiming == 0 || idle_ms < g->claim_idle_ms;

    g->n_claiming += comes ? 1 : UINT32_MAX;
    if (comes && least) {
        g->claim_idle_ms = idle_ms;
    } else if (!comes && idle_ms == g->claim_idle_ms) {
        g->claim_idle_ms = UINT64_MAX;
        for (const struct reading_wait *w = r->first; w != NULL && g->claim_idle_ms > idle_ms;
             w = w->next)
            if (w->idle_ms < g->claim_idle_ms)
                g->claim_idle_ms = w->idle_ms;
    }
    redelivery_changed(e, st, g);
}

int reading_bind(struct engine *e, struct reading_wait *w, struct stream *st, struct group *g,
                 struct consumer *consumer, struct err *err)
{
    uint64_t lsn = consumer == NULL ? 0 : consumer->lsn;
    struct reading *r;

    if (w->reading != NULL && w->reading->gid == g->gid && w->consumer_lsn == lsn)
        return OK;
    reading_unbind(e, w);
    r = reading_get(e, g->gid);
    if (r == NULL)
        return err_set(err, ERR_NOMEM, "no memory to wait for a group");
    reading_link(r, w);
    w->oid = st->oid;
    w->consumer_lsn = lsn;
    if (consumer != NULL)
        consumer->n_waiting++;
    if (w->idle_ms != UINT64_MAX)
        reading_count_claims(e, r, st, g, w->idle_ms, true);
    return OK;
}

static void reading_leave_group(struct engine *e, const struct reading_wait *w,
                                const struct reading *r, struct stream *st, struct group *g)
{
    struct consumer *consumer = w->consumer_lsn == 0 ? NULL : group_find_consumer(g, w->consumer);

    if (consumer != NULL && consumer->lsn == w->consumer_lsn) {
        consumer->n_waiting--;
        if (group_options(g)->consumer_ttl_ms != 0)
            redelivery_seen(e, st, g, consumer);
    }
    if (w->idle_ms != UINT64_MAX)
        reading_count_claims(e, r, st, g, w->idle_ms, false);
}

void reading_unbind(struct engine *e, struct reading_wait *w)
{
    struct reading *r = w->reading;
    struct stream *st;
    struct group *g;

    if (r == NULL)
        return;
    g = reading_group(e, w, &st);
    reading_unlink(r, w);
    if (g != NULL)
        reading_leave_group(e, w, r, st, g);
    reading_drop_if_unused(e, r);
}

/* ---- finding nothing ---- */

bool reading_is_idle(const struct engine *e, const struct reading_wait *w)
{
    const struct reading *r = w->reading;

    if (r == NULL || r->ended == w)
        return false;
    if (r->is_loading)
        return true;
    return !w->is_cold && r->nothing_clock == e->clock && r->nothing_lsn == log_last_lsn(e->log) &&
           w->idle_ms >= r->nothing_idle_ms;
}

void reading_found_nothing(const struct engine *e, const struct reading_wait *w)
{
    struct reading *r = w->reading;

    if (r == NULL)
        return;
    r->nothing_clock = e->clock;
    r->nothing_lsn = log_last_lsn(e->log);
    r->nothing_idle_ms = w->idle_ms;
}

/* ---- loading ---- */

/* All who wait for the group try again: under its key, which may have been another one for some. */
static void reading_wake(struct engine *e, const struct reading *r)
{
    const struct reading_wait *before = NULL;

    for (const struct reading_wait *w = r->first; w != NULL; before = w, w = w->next)
        if (before == NULL || before->db != w->db || !slice_equal(before->key, w->key))
            blocking_ready(e->blocking, w->db, w->key);
    blocking_serve(e->blocking);
}

/* What was loaded stays pinned only if it was not enough for who began the load, who has begun another one then. */
static void reading_loaded(struct engine *e, void *ctx, int rc)
{
    struct reading *r = ctx;
    const struct reading_wait *began = r->load_of;

    r->is_loading = false;
    r->ended = r->load_of;
    r->ended_rc = rc;
    r->load_of = NULL;
    r->nothing_clock = 0;
    cold_load_keep(e, &r->pinned);
    r->is_waking = true;
    reading_wake(e, r);
    r->is_waking = false;
    if (began == NULL || r->load_of != began)
        wants_fini(&r->pinned, log_cache(e->log));
    r->ended = NULL;
    reading_drop_if_unused(e, r);
}

int reading_load(struct engine *e, struct reading_wait *w, struct wants *wants, struct err *err)
{
    struct reading *r = w->reading;
    int rc;

    if (r->is_loading) {
        wants_fini(wants, log_cache(e->log));
        return OK;
    }
    rc = cold_load(e, wants, reading_loaded, r, err);
    if (rc != OK)
        return rc;
    r->is_loading = true;
    r->load_of = w;
    return OK;
}

int reading_failure(const struct reading_wait *w)
{
    return w->reading != NULL && w->reading->ended == w ? w->reading->ended_rc : OK;
}
