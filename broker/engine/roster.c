/*
 * roster.c - consumers that nobody names any more vanish.
 *
 * Consumers of a group stand in a list by when they were named, so only its front can be due:
 *
 *   oldest ◄──► ... ◄──► newest        named: to the end
 *     │
 *     │ its time has passed, but it holds entries or has a connection that waits
 *     ▼
 *   ring of late ones                  looked at when something in the group has changed, and after another CONSUMERTTL
 *
 * So a consumer costs a step when it is named, and one when its time has passed, however many there are. One that becomes free
 * late vanishes at once.
 *
 * When somebody was named is no part of the state. The lists are there in groups without CONSUMERTTL too, as they may get it; what is
 * not in a list yet after a start comes to the front.
 *
 *   T1  A consumer is in the list, in the ring or in neither, as consumer.listed says; the list is in the order of seen_ms.
 *   T2  Of the ring, the next n_look from chores.late on are to be looked at now.
 */
#include "broker/engine/roster.h"
#include "broker/engine/grouplog.h"

enum { ROSTER_RECORD = 64 /* bytes beside what grouplog_bound says */ };

static uint64_t roster_add(uint64_t ms, uint64_t more_ms)
{
    return more_ms < UINT64_MAX - ms ? ms + more_ms : UINT64_MAX;
}

/* ---- lists ---- */

static void roster_put_last(struct group *g, struct consumer *c)
{
    c->older = g->newest;
    *(g->newest != NULL ? &g->newest->newer : &g->oldest) = c;
    g->newest = c;
    c->listed = CONSUMER_TIMELY;
}

static void roster_put_first(struct group *g, struct consumer *c)
{
    c->newer = g->oldest;
    *(g->oldest != NULL ? &g->oldest->older : &g->newest) = c;
    g->oldest = c;
    c->listed = CONSUMER_TIMELY;
}

/* Into the ring, before the one that is looked at next: so last. */
static void roster_put_late(struct group *g, struct consumer *c)
{
    struct group_chores *x = &g->chores;

    if (x->late == NULL) {
        c->older = c->newer = c;
        x->late = c;
    } else {
        c->newer = x->late;
        c->older = x->late->older;
        c->older->newer = c;
        c->newer->older = c;
    }
    x->n_late++;
    c->listed = CONSUMER_LATE;
}

void roster_seen(const struct engine *e, struct group *g, struct consumer *c)
{
    c->seen_ms = e->now_ms;
    if (c->listed == CONSUMER_TIMELY && g->newest == c)
        return;
    group_unlist_consumer(g, c);
    roster_put_last(g, c);
}

void roster_enroll(const struct engine *e, struct group *g)
{
    for (size_t slot = 1; slot < g->n_slots; slot++) {
        struct consumer *c = g->slots[slot];

        if (c == NULL || c->listed != CONSUMER_UNLISTED)
            continue;
        c->seen_ms = e->started_ms;
        roster_put_first(g, c);
    }
}

/* ---- time ---- */

uint64_t roster_next_ms(const struct group *g)
{
    uint64_t ttl_ms = group_options(g)->consumer_ttl_ms, at = UINT64_MAX, late;

    if (ttl_ms == 0)
        return UINT64_MAX;
    if (g->oldest != NULL)
        at = roster_add(g->oldest->seen_ms, ttl_ms);
    if (g->chores.n_late == 0)
        return at;
    late = g->chores.n_look > 0 ? 0 : g->chores.late_ms;
    return late < at ? late : at;
}

static bool roster_has_passed(const struct engine *e, const struct group *g,
                              const struct consumer *c)
{
    return roster_add(c->seen_ms, group_options(g)->consumer_ttl_ms) <= e->now_ms;
}

static bool roster_is_busy(const struct group *g, const struct consumer *c)
{
    return c->n_waiting > 0 || pel_n_of(g->pel, c->slot) > 0;
}

static bool roster_drop(struct engine *e, struct stream *st, struct group *g, struct consumer *c,
                        uint64_t *n_gone)
{
    if (log_reserve(e->log, grouplog_bound(1, 0) + ROSTER_RECORD, NULL) != OK)
        return false;
    grouplog_drop_consumer(e, NULL, st, g, c, false);
    ++*n_gone;
    return true;
}

/* The front of the list, as far as its time has passed. */
static bool roster_pass_timely(struct engine *e, struct stream *st, struct group *g, int *left,
                               uint64_t *n_gone)
{
    struct consumer *c;

    for (; *left > 0 && (c = g->oldest) != NULL && roster_has_passed(e, g, c); --*left) {
        if (roster_is_busy(g, c)) {
            group_unlist_consumer(g, c);
            roster_put_late(g, c);
        } else if (!roster_drop(e, st, g, c, n_gone)) {
            return false;
        }
    }
    return true;
}

static bool roster_pass_late(struct engine *e, struct stream *st, struct group *g, int left,
                             uint64_t *n_gone)
{
    struct group_chores *x = &g->chores;

    if (x->n_late > 0 && x->late_ms <= e->now_ms) {
        x->late_ms = roster_add(e->now_ms, group_options(g)->consumer_ttl_ms);
        x->n_look = x->n_late;
    }
    for (; left > 0 && x->n_look > 0; left--) {
        struct consumer *c = x->late;

        if (roster_is_busy(g, c) || !roster_has_passed(e, g, c)) {
            x->late = c->newer;
            x->n_look--;
        } else if (!roster_drop(e, st, g, c, n_gone)) {
            return false;
        }
    }
    return true;
}

bool roster_pass(struct engine *e, struct stream *st, struct group *g, uint64_t *n_gone)
{
    int left = ROSTER_SLICE;

    if (roster_next_ms(g) > e->now_ms)
        return true;
    return roster_pass_timely(e, st, g, &left, n_gone) && roster_pass_late(e, st, g, left, n_gone);
}

/* ---- checking ---- */

const char *roster_check(const struct group *g)
{
    size_t n_timely = 0, n_late = 0, n_listed = 0;
    const struct consumer *prev = NULL, *late = g->chores.late;

    for (const struct consumer *c = g->oldest; c != NULL; prev = c, c = c->newer, n_timely++)
        if (c->older != prev || c->listed != CONSUMER_TIMELY ||
            (prev != NULL && prev->seen_ms > c->seen_ms))
            return "T1: the list of consumers";
    for (const struct consumer *c = late; n_late < g->chores.n_late; c = c->newer, n_late++)
        if (c == NULL || c->listed != CONSUMER_LATE || c->newer->older != c)
            return "T1: the ring of late consumers";
    for (size_t slot = 1; slot < g->n_slots; slot++)
        n_listed += g->slots[slot] != NULL && g->slots[slot]->listed != CONSUMER_UNLISTED;
    if (g->newest != prev || n_listed != n_timely + n_late || (late == NULL) != (n_late == 0))
        return "T1: the number of consumers";
    return g->chores.n_look <= g->chores.n_late ? NULL : "T2: those to be looked at";
}
