/* test_pel.c - pending entries against a sorted array: every query after random changes, sums while it changes, no memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "groups/pel.h"
#include "tests/lib/nomemory.h"
#include "tests/lib/random.h"

enum { MODEL_MAX = 12000, ANSWERS = 64, SLOTS = 12 };

/* ---- the model ---- */

struct model {
    struct pel_entry *x; /* by ID; `ready` beside it */
    bool *ready;
    size_t n;
    struct pel_rule rule;
    struct id gone_below;
};

struct world {
    struct random r;
    struct pel *p;
    struct model m;
    bool ordered;
    unsigned strange; /* percent of entries that need a wide page */
    uint64_t now_ms;
    uint64_t backoff[4];
    struct pel_sum sum;
    bool summing;
    uint64_t want_sum[2];
};

static size_t model_find(const struct model *m, struct id id, bool *found)
{
    size_t lo = 0, hi = m->n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (id_cmp(m->x[mid].id, id) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    *found = lo < m->n && id_cmp(m->x[lo].id, id) == 0;
    return lo;
}

static void model_remove_at(struct model *m, size_t i)
{
    memmove(m->x + i, m->x + i + 1, (m->n - i - 1) * sizeof m->x[0]);
    memmove(m->ready + i, m->ready + i + 1, m->n - i - 1);
    m->n--;
}

static struct pel_entry model_view(const struct model *m, size_t i)
{
    struct pel_entry x = m->x[i];
    x.gone = x.gone || id_cmp(x.id, m->gone_below) < 0;
    return x;
}

static void model_set(struct model *m, const struct pel_entry *x, bool ordered)
{
    bool found, gone;
    size_t i = model_find(m, x->id, &found);

    gone = found && m->x[i].gone;
    if (!found) {
        assert_true(m->n < MODEL_MAX);
        memmove(m->x + i + 1, m->x + i, (m->n - i) * sizeof m->x[0]);
        memmove(m->ready + i + 1, m->ready + i, m->n - i);
        m->n++;
    }
    m->x[i] = *x;
    m->x[i].gone = x->gone || gone;
    m->x[i].dead = false;
    m->ready[i] = false;
    if (!ordered)
        m->x[i].key = 0;
    if (x->slot == PEL_PARKED)
        m->x[i].nacked = false;
}

static enum pel_kind model_kind(const struct pel_entry *x)
{
    return x->slot == PEL_PARKED ? PEL_SKIPPED : x->nacked ? PEL_NACKED : PEL_HELD;
}

static uint64_t plus(uint64_t a, uint64_t b)
{
    return a + b < a ? UINT64_MAX : a + b;
}

/* When the entry has failed, and when it may be handed out again then. */
static bool model_fails(const struct pel_rule *r, const struct pel_entry *x, uint64_t *failed,
                        uint64_t *due)
{
    uint64_t i = x->count == 0 ? 0 : x->count - 1;

    if (model_kind(x) == PEL_SKIPPED || (!x->nacked && r->ack_wait_ms == 0))
        return false;
    *failed = x->nacked ? 0 : plus(x->time_ms, r->ack_wait_ms);
    *due = x->time_ms;
    if (!x->nacked)
        *due = plus(*failed,
                    r->n_backoff == 0 ? 0 : r->backoff_ms[i < r->n_backoff ? i : r->n_backoff - 1]);
    return true;
}

static bool model_last(const struct pel_rule *r, const struct pel_entry *x)
{
    return r->buries &&
           (x->count == PEL_COUNT_FATAL || (r->max_deliver != 0 && x->count >= r->max_deliver));
}

/* What the entry is at that moment, by the rule. */
static void model_judge(const struct pel_rule *r, const struct pel_entry *x, uint64_t now,
                        bool *ready, bool *dead)
{
    uint64_t failed, due;

    *ready = *dead = false;
    if (!model_fails(r, x, &failed, &due))
        return;
    if (model_last(r, x))
        *dead = failed <= now;
    else
        *ready = r->redelivers && due <= now;
}

static bool model_passes(const struct pel_filter *f, const struct pel_entry *x)
{
    switch (model_kind(x)) {
    case PEL_HELD:
        return (f->kinds & PEL_HELD) != 0 && (!f->by_slot || f->slot == x->slot) &&
               x->time_ms <= f->held_until;
    case PEL_NACKED: return (f->kinds & PEL_NACKED) != 0 && x->time_ms <= f->nacked_until;
    case PEL_SKIPPED: return (f->kinds & PEL_SKIPPED) != 0;
    }
    return false;
}

/* ---- comparing ---- */

static void same(const struct world *w, const struct pel_entry *got, const struct pel_entry *want,
                 const char *what)
{
    if (id_cmp(got->id, want->id) != 0 || got->time_ms != want->time_ms ||
        got->count != want->count || got->key != want->key || got->slot != want->slot ||
        got->nacked != want->nacked || got->gone != want->gone || got->dead != want->dead)
        fail_msg("%s at %llu: got %llu-%llu slot %u time %llu count %llu, want %llu-%llu slot %u "
                 "time %llu count %llu",
                 what, (unsigned long long)w->now_ms, (unsigned long long)got->id.ms,
                 (unsigned long long)got->id.seq, got->slot, (unsigned long long)got->time_ms,
                 (unsigned long long)got->count, (unsigned long long)want->id.ms,
                 (unsigned long long)want->id.seq, want->slot, (unsigned long long)want->time_ms,
                 (unsigned long long)want->count);
}

static void compare_numbers(const struct world *w)
{
    const struct model *m = &w->m;
    uint64_t n[5] = { 0 }, ready = 0, dead = 0, of[SLOTS] = { 0 }, oldest = UINT64_MAX;

    for (size_t i = 0; i < m->n; i++) {
        n[model_kind(&m->x[i])]++;
        ready += m->ready[i];
        dead += m->x[i].dead;
        if (model_kind(&m->x[i]) == PEL_HELD) {
            of[m->x[i].slot]++;
            oldest = m->x[i].time_ms < oldest ? m->x[i].time_ms : oldest;
        }
    }
    assert_int_equal(pel_n(w->p), n[PEL_HELD] + n[PEL_NACKED]);
    assert_int_equal(pel_n_nacked(w->p), n[PEL_NACKED]);
    assert_int_equal(pel_n_parked(w->p), n[PEL_SKIPPED]);
    assert_int_equal(pel_n_ready(w->p), ready);
    assert_int_equal(pel_n_dead(w->p), dead);
    for (uint16_t s = 0; s < SLOTS; s++)
        assert_int_equal(pel_n_of(w->p, s), of[s]);
    if (oldest == UINT64_MAX)
        assert_true(pel_oldest_ms(w->p) == UINT64_MAX);
    else
        assert_true(pel_oldest_ms(w->p) <= oldest);
}

static struct id some_id(struct world *w)
{
    struct model *m = &w->m;

    if (m->n > 0 && random_below(&w->r, 10) < 8) {
        struct id id = m->x[random_below(&w->r, m->n)].id;
        if (random_below(&w->r, 4) == 0)
            id.seq++;
        return id;
    }
    return random_below(&w->r, 4) == 0 ? ID_MAX : ID_MIN;
}

static uint64_t some_time(struct world *w)
{
    switch (random_below(&w->r, 8)) {
    case 0: return UINT64_MAX;
    case 1: return 0;
    case 2: return w->now_ms + random_below(&w->r, 1000);
    default: return w->now_ms - random_below(&w->r, w->now_ms < 5000 ? w->now_ms + 1 : 5000);
    }
}

static struct pel_filter some_filter(struct world *w)
{
    struct pel_filter f = { .kinds = (unsigned)random_below(&w->r, 8),
                            .by_slot = random_below(&w->r, 2) == 0,
                            .slot = (uint16_t)random_below(&w->r, SLOTS),
                            .held_until = some_time(w),
                            .nacked_until = some_time(w) };
    return f;
}

static void compare_list(struct world *w)
{
    struct pel_filter f = some_filter(w);
    struct pel_entry got[ANSWERS], one;
    struct id from = some_id(w);
    size_t max = 1 + random_below(&w->r, ANSWERS), k = 0;
    size_t n = pel_list(w->p, from, &f, max, got);
    bool found;

    for (size_t i = model_find(&w->m, from, &found); i < w->m.n && k < max; i++) {
        struct pel_entry want = model_view(&w->m, i);
        if (!model_passes(&f, &want))
            continue;
        assert_true(k < n);
        same(w, &got[k++], &want, "list");
    }
    assert_int_equal(n, k);
    assert_int_equal(pel_next(w->p, from, &f, &one), n > 0);
    if (n > 0)
        same(w, &one, &got[0], "next");
}

static void compare_prev(struct world *w)
{
    struct pel_filter f = some_filter(w);
    struct id from = some_id(w);
    struct pel_entry got;
    bool found, there = pel_prev(w->p, from, &f, &got);
    size_t i = model_find(&w->m, from, &found);

    for (i += found; i-- > 0;) {
        struct pel_entry want = model_view(&w->m, i);
        if (!model_passes(&f, &want))
            continue;
        assert_true(there);
        same(w, &got, &want, "prev");
        return;
    }
    assert_false(there);
}

static void compare_get(struct world *w)
{
    struct id id = some_id(w);
    struct pel_entry got, want;
    bool found;
    size_t i = model_find(&w->m, id, &found);

    assert_int_equal(pel_get(w->p, id, &got), found);
    if (found) {
        want = model_view(&w->m, i);
        same(w, &got, &want, "get");
    }
}

static void compare_dead(struct world *w)
{
    struct id from = some_id(w);
    struct pel_entry got[ANSWERS];
    size_t n = pel_dead(w->p, from, ANSWERS, got), k = 0;
    bool found;

    for (size_t i = model_find(&w->m, from, &found); i < w->m.n && k < ANSWERS; i++) {
        struct pel_entry want = model_view(&w->m, i);
        if (want.dead) {
            assert_true(k < n);
            same(w, &got[k++], &want, "dead");
        }
    }
    assert_int_equal(n, k);
}

/* An entry and what it is ordered by: rank, time, ID. */
struct ranked {
    struct pel_entry x;
    uint64_t rank, time;
};

static int ranked_cmp(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;

    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    if (x->time != y->time)
        return x->time < y->time ? -1 : 1;
    return id_cmp(x->x.id, y->x.id);
}

static void compare_ranked(struct world *w, struct ranked *want, size_t n_want, size_t max,
                           const struct pel_entry *got, size_t n, const char *what)
{
    qsort(want, n_want, sizeof *want, ranked_cmp);
    assert_int_equal(n, n_want < max ? n_want : max);
    for (size_t i = 0; i < n; i++)
        same(w, &got[i], &want[i].x, what);
}

static void compare_oldest(struct world *w)
{
    struct pel_filter f = some_filter(w);
    struct ranked *want = calloc(MODEL_MAX, sizeof *want);
    struct pel_entry got[ANSWERS];
    size_t n, n_want = 0, max = random_below(&w->r, ANSWERS + 1);

    assert_non_null(want);
    f.kinds &= PEL_HELD | PEL_NACKED;
    for (size_t i = 0; i < w->m.n; i++) {
        struct pel_entry x = model_view(&w->m, i);
        if (model_passes(&f, &x))
            want[n_want++] = (struct ranked){ x, !x.nacked, x.time_ms };
    }
    n = pel_oldest(w->p, &f, max, got);
    compare_ranked(w, want, n_want, max, got, n, "oldest");
    free(want);
}

static void compare_ready(struct world *w)
{
    struct ranked *want = calloc(MODEL_MAX, sizeof *want);
    struct pel_entry got[ANSWERS];
    size_t n, n_want = 0, max = random_below(&w->r, ANSWERS + 1);

    assert_non_null(want);
    for (size_t i = 0; i < w->m.n; i++) {
        struct pel_entry x = model_view(&w->m, i);
        uint64_t failed, due;
        if (w->m.ready[i]) {
            assert_true(model_fails(&w->m.rule, &x, &failed, &due));
            want[n_want++] = (struct ranked){ x, 0, due };
        }
    }
    n = pel_ready(w->p, max, got);
    compare_ranked(w, want, n_want, max, got, n, "ready");
    free(want);
}

static void world_check(const struct world *w)
{
    const char *broken = pel_check(w->p);

    if (broken != NULL)
        fail_msg("%s", broken);
}

static void world_compare(struct world *w)
{
    world_check(w);
    compare_numbers(w);
    compare_list(w);
    compare_prev(w);
    compare_get(w);
    compare_dead(w);
    compare_oldest(w);
    compare_ready(w);
    world_check(w);
}

/* ---- doing ---- */

static void reserve(struct world *w, size_t n)
{
    struct err e;
    assert_int_equal(pel_reserve(w->p, n, ID_MIN, &e), OK);
}

static void do_set(struct world *w, const struct pel_entry *x)
{
    reserve(w, 1);
    pel_set(w->p, x);
    model_set(&w->m, x, w->ordered);
}

static struct pel_entry some_entry(struct world *w, struct id id)
{
    static const uint64_t COUNTS[] = { 0, 254, 255, 256, 1000000, INT64_MAX - 1, INT64_MAX };
    static const uint64_t TIMES[] = {
        0, 1, UINT32_MAX, ((uint64_t)1 << 44) - 1, (uint64_t)1 << 44, UINT64_MAX
    };
    bool strange = random_below(&w->r, 100) < w->strange;
    size_t kind = random_below(&w->r, 20);
    struct pel_entry x = { .id = id, .count = 1 + random_below(&w->r, 4) };

    x.slot = (uint16_t)(1 + random_below(&w->r, SLOTS - 1));
    x.nacked = kind < 4;
    if (kind == 19)
        x.slot = PEL_PARKED;
    if (x.nacked && random_below(&w->r, 2) == 0)
        x.slot = PEL_NOBODY;
    x.gone = random_below(&w->r, 10) == 0;
    x.dead = random_below(&w->r, 10) == 0; /* not looked at */
    x.key = (uint32_t)random_u64(&w->r);
    x.time_ms = w->now_ms - random_below(&w->r, w->now_ms < 300 ? w->now_ms + 1 : 300) +
                (x.nacked ? random_below(&w->r, 500) : 0);
    if (strange && random_below(&w->r, 2) == 0)
        x.time_ms = TIMES[random_below(&w->r, sizeof TIMES / sizeof TIMES[0])];
    if (strange || random_below(&w->r, 50) == 0)
        x.count = strange ? COUNTS[random_below(&w->r, sizeof COUNTS / sizeof COUNTS[0])]
                          : PEL_COUNT_FATAL;
    return x;
}

static struct id new_id(struct world *w)
{
    struct id last = w->m.n == 0 ? (struct id){ 1000, 0 } : w->m.x[w->m.n - 1].id;

    if (random_below(&w->r, 100) < w->strange) {
        if (random_below(&w->r, 2) == 0 && last.ms < UINT64_MAX / 2)
            return (struct id){ last.ms + ((uint64_t)1 << (20 + random_below(&w->r, 20))), 0 };
        return (struct id){ last.ms, last.seq + (last.seq < UINT64_MAX / 2
                                                     ? (uint64_t)1 << random_below(&w->r, 40)
                                                     : 1) };
    }
    if (random_below(&w->r, 3) == 0)
        return (struct id){ last.ms, last.seq + 1 };
    return (struct id){ last.ms + random_below(&w->r, 20) + 1, random_below(&w->r, 3) };
}

static void do_append(struct world *w)
{
    size_t n = 1 + random_below(&w->r, random_below(&w->r, 8) == 0 ? 1000 : 30);

    if (w->m.n + n > MODEL_MAX)
        return;
    for (size_t i = 0; i < n; i++) {
        struct pel_entry x = some_entry(w, new_id(w));
        do_set(w, &x);
    }
}

/* Between others, around one place, or anew what is there. */
static void do_insert(struct world *w)
{
    size_t n = 1 + random_below(&w->r, random_below(&w->r, 8) == 0 ? 500 : 8);
    bool down = random_below(&w->r, 2) == 0;
    struct id id = some_id(w);

    if (w->m.n + n > MODEL_MAX || id.seq == UINT64_MAX)
        return;
    for (size_t i = 0; i < n; i++) {
        struct pel_entry x = some_entry(w, id);
        do_set(w, &x);
        if (down ? !id_prev(&id) : !id_next(&id))
            return;
    }
}

static void do_remove_at(struct world *w, size_t i)
{
    struct pel_entry want = model_view(&w->m, i), got;

    assert_true(pel_remove(w->p, want.id, &got));
    same(w, &got, &want, "remove");
    model_remove_at(&w->m, i);
}

static void do_remove(struct world *w)
{
    size_t n = 1 + random_below(&w->r, random_below(&w->r, 8) == 0 ? 1500 : 30);
    size_t from = random_below(&w->r, 3) == 0 || w->m.n == 0 ? 0 : random_below(&w->r, w->m.n);
    bool apart = random_below(&w->r, 2) == 0;
    struct id id = some_id(w);
    bool found;

    for (size_t i = 0; i < n && w->m.n > 0; i++) {
        if (apart)
            do_remove_at(w, random_below(&w->r, w->m.n));
        else if (from < w->m.n)
            do_remove_at(w, from);
    }
    model_find(&w->m, id, &found);
    if (!found)
        assert_false(pel_remove(w->p, id, NULL));
}

static void do_gone(struct world *w)
{
    struct id id = some_id(w);
    bool found;
    size_t i = model_find(&w->m, id, &found);

    assert_int_equal(pel_mark_gone(w->p, id), found);
    if (found)
        w->m.x[i].gone = true;
}

static void do_gone_below(struct world *w)
{
    struct id id = some_id(w);

    if (random_below(&w->r, 10) != 0)
        return;
    if (random_below(&w->r, 2) == 0) {
        pel_begin_anew(w->p);
        for (size_t i = 0; i < w->m.n; i++)
            w->m.x[i].gone = model_view(&w->m, i).gone;
        w->m.gone_below = ID_MIN;
        return;
    }
    pel_mark_gone_below(w->p, id);
    if (id_cmp(id, w->m.gone_below) > 0)
        w->m.gone_below = id;
}

static void do_drop_slot(struct world *w, bool hand_back)
{
    uint16_t slot = (uint16_t)(1 + random_below(&w->r, SLOTS - 1));
    uint64_t want = 0, time_ms = w->now_ms + random_below(&w->r, 100);

    for (size_t i = w->m.n; i-- > 0;) {
        struct pel_entry *x = &w->m.x[i];
        if (x->slot != slot)
            continue;
        if (x->nacked) {
            x->slot = PEL_NOBODY;
            continue;
        }
        want++;
        if (hand_back) {
            x->nacked = true;
            x->slot = PEL_NOBODY;
            x->time_ms = time_ms;
            w->m.ready[i] = false;
        } else {
            model_remove_at(&w->m, i);
        }
    }
    assert_int_equal(hand_back ? pel_hand_back(w->p, slot, time_ms) : pel_drop_slot(w->p, slot),
                     want);
}

static void do_drop_some(struct world *w, bool parked)
{
    struct id first = some_id(w);
    uint64_t want = 0;

    if (random_below(&w->r, 8) != 0 || (!parked && id_cmp(first, ID_MAX) == 0))
        return;
    for (size_t i = w->m.n; i-- > 0;) {
        if (parked ? w->m.x[i].slot == PEL_PARKED
                   : id_cmp(w->m.x[i].id, first) < 0 && !model_view(&w->m, i).gone) {
            model_remove_at(&w->m, i);
            want++;
        }
    }
    assert_int_equal(parked ? pel_drop_parked(w->p) : pel_drop_below(w->p, first), want);
}

/* Told of what is dead and of what is not any more: just that. */
static void step_tells(void *ctx, const struct pel_entry *x)
{
    struct world *w = ctx;
    bool found, ready, dead;
    size_t i = model_find(&w->m, x->id, &found);

    assert_true(found);
    model_judge(&w->m.rule, &w->m.x[i], w->now_ms, &ready, &dead);
    assert_int_equal(x->dead, dead);
    assert_int_not_equal(w->m.x[i].dead, dead);
    w->m.x[i].dead = dead;
}

static uint64_t model_next_ms(const struct world *w)
{
    uint64_t next = UINT64_MAX;

    for (size_t i = 0; i < w->m.n; i++) {
        uint64_t failed, due, when;
        if (w->m.ready[i] || w->m.x[i].dead || !model_fails(&w->m.rule, &w->m.x[i], &failed, &due))
            continue;
        when = model_last(&w->m.rule, &w->m.x[i]) ? failed : due;
        if (!w->m.rule.redelivers && !model_last(&w->m.rule, &w->m.x[i]) && !w->m.x[i].nacked)
            continue;
        if (when > w->now_ms && when < next)
            next = when;
    }
    return next;
}

static void do_step(struct world *w)
{
    w->now_ms += random_below(&w->r, 4) == 0 ? random_below(&w->r, 2000) : random_below(&w->r, 50);
    while (pel_step(w->p, w->now_ms, 1 + random_below(&w->r, 10), step_tells, w))
        world_check(w);
    for (size_t i = 0; i < w->m.n; i++) {
        bool dead;
        model_judge(&w->m.rule, &w->m.x[i], w->now_ms, &w->m.ready[i], &dead);
        assert_int_equal(w->m.x[i].dead, dead);
    }
    assert_true(pel_next_ms(w->p) > w->now_ms);
    assert_true(pel_next_ms(w->p) <= model_next_ms(w));
}

static void do_rule(struct world *w)
{
    struct pel_rule rule = { .backoff_ms = w->backoff };

    if (random_below(&w->r, 10) != 0)
        return;
    for (size_t i = 0; i < 4; i++)
        w->backoff[i] = random_below(&w->r, 300);
    rule.n_backoff = random_below(&w->r, 5);
    rule.ack_wait_ms = random_below(&w->r, 2) == 0 ? 0 : random_below(&w->r, 400);
    rule.max_deliver = random_below(&w->r, 4);
    rule.redelivers = random_below(&w->r, 4) != 0;
    rule.buries = random_below(&w->r, 3) != 0;
    w->m.rule = rule;
    pel_set_rule(w->p, &rule);
    do_step(w); /* until then who is ready is by the former rule */
}

/* ---- sums ---- */

static void hash_entry(void *ctx, const struct pel_entry *x, uint64_t out[2])
{
    struct random r = { x->id.ms };

    (void)ctx;
    assert_false(x->dead);
    r.state = random_u64(&r) ^ x->id.seq;
    r.state = random_u64(&r) ^ x->time_ms;
    r.state = random_u64(&r) ^ x->count;
    r.state = random_u64(&r) ^ x->key;
    r.state = random_u64(&r) ^ ((uint64_t)x->slot << 2 | (uint64_t)x->nacked << 1 | x->gone);
    out[0] = random_u64(&r);
    out[1] = random_u64(&r);
}

static void model_sum(const struct model *m, uint64_t out[2])
{
    unsigned __int128 sum = 0;

    for (size_t i = 0; i < m->n; i++) {
        struct pel_entry x = model_view(m, i);
        uint64_t hash[2];
        x.dead = false;
        hash_entry(NULL, &x, hash);
        sum += (unsigned __int128)hash[1] << 64 | hash[0];
    }
    out[0] = (uint64_t)sum;
    out[1] = (uint64_t)(sum >> 64);
}

static void do_sum(struct world *w)
{
    if (!w->summing) {
        w->sum = (struct pel_sum){ .hash = hash_entry };
        pel_sum_begin(w->p, &w->sum);
        model_sum(&w->m, w->want_sum);
        w->summing = true;
        return;
    }
    if (pel_sum_step(w->p, random_below(&w->r, 1000)))
        return;
    assert_true(w->sum.over);
    pel_sum_end(w->p);
    w->summing = false;
    if (w->sum.sum[0] != w->want_sum[0] || w->sum.sum[1] != w->want_sum[1])
        fail_msg("the sum is not that of the moment when it began");
}

/* ---- lives ---- */

static void world_init(struct world *w, bool ordered, unsigned strange)
{
    struct err e;

    w->ordered = ordered;
    w->strange = strange;
    w->now_ms = 5000;
    w->m =
        (struct model){ .x = calloc(MODEL_MAX, sizeof w->m.x[0]), .ready = calloc(MODEL_MAX, 1) };
    assert_non_null(w->m.x);
    assert_non_null(w->m.ready);
    w->m.rule.backoff_ms = w->backoff;
    w->summing = false;
    assert_int_equal(pel_new(ordered, &w->p, &e), OK);
}

static void world_fini(struct world *w)
{
    while (!pel_free_some(w->p, 500))
        ;
    free(w->m.x);
    free(w->m.ready);
}

static void world_act(struct world *w)
{
    switch (random_below(&w->r, 16)) {
    case 0:
    case 1:
    case 2: do_append(w); break;
    case 3:
    case 4: do_insert(w); break;
    case 5:
    case 6:
    case 7:
    case 8: do_remove(w); break;
    case 9: do_gone(w); break;
    case 10: do_gone_below(w); break;
    case 11: do_drop_slot(w, random_below(&w->r, 2) == 0); break;
    case 12: do_drop_some(w, random_below(&w->r, 2) == 0); break;
    case 13: do_rule(w); break;
    case 14: do_sum(w); break;
    default: do_step(w); break;
    }
}

static void lives(const char *name, bool ordered, unsigned strange)
{
    struct world w = { .r = random_seeded(name) };

    for (size_t life = random_rounds(6); life > 0; life--) {
        world_init(&w, ordered, strange);
        for (int i = 0; i < 400; i++) {
            world_act(&w);
            world_compare(&w);
        }
        world_fini(&w);
    }
}

static void a_list_is_like_a_sorted_array(void **state)
{
    (void)state;
    lives("narrow", false, 0);
}

static void keys_are_kept_where_there_are_any(void **state)
{
    (void)state;
    lives("ordered", true, 0);
}

static void numbers_of_any_size_are_kept(void **state)
{
    (void)state;
    lives("a few strange", false, 1);
    lives("strange", false, 30);
    lives("strange, ordered", true, 10);
}

/* ---- no memory ---- */

static void what_was_reserved_cannot_fail(void **state)
{
    struct world w = { .r = random_seeded("no memory") };

    (void)state;
    if (!MALLOC_FAILS)
        skip();
    for (size_t life = random_rounds(40); life > 0; life--) {
        struct pel_entry x[700];
        size_t n = 1 + random_below(&w.r, 700);
        bool down = random_below(&w.r, 2) == 0;
        size_t before = n_pieces;
        struct id id;
        world_init(&w, random_below(&w.r, 2) == 0, (unsigned)random_below(&w.r, 3) * 30);
        for (size_t i = random_below(&w.r, 20); i > 0; i--)
            world_act(&w);
        id = some_id(&w);
        for (size_t i = 0; i < n; i++) {
            x[i] = some_entry(&w, random_below(&w.r, 3) == 0 ? some_id(&w) : id);
            if (!(down ? id_prev(&id) : id_next(&id)))
                id = some_id(&w);
        }
        if (w.m.n + n <= MODEL_MAX) {
            reserve(&w, n);
            no_memory = true;
            for (size_t i = 0; i < n; i++)
                pel_set(w.p, &x[i]);
            no_memory = false;
            for (size_t i = 0; i < n; i++)
                model_set(&w.m, &x[i], w.ordered);
        }
        world_compare(&w);
        world_fini(&w);
        assert_int_equal(n_pieces, before);
    }
}

/* Each entry goes to another full page, has to make it wide, and comes from a new consumer. */
static void so_many_pages_as_are_needed_are_reserved(void **state)
{
    enum { PAGES = 100 };
    struct pel *p;
    struct err e;

    (void)state;
    if (!MALLOC_FAILS)
        skip();
    assert_int_equal(pel_new(false, &p, &e), OK);
    assert_int_equal(pel_reserve(p, PAGES * PEL_PAGE, ID_MIN, &e), OK);
    for (uint64_t i = 0; i < PAGES * PEL_PAGE; i++)
        pel_set(p, &(struct pel_entry){ .id = { i, 0 }, .slot = 1 });
    assert_int_equal(pel_reserve(p, PAGES, ID_MIN, &e), OK);
    no_memory = true;
    for (uint16_t i = 0; i < PAGES; i++)
        pel_set(p, &(struct pel_entry){ .id = { (i * 256u) + 100, 1 }, .slot = i, .count = 1000 });
    no_memory = false;
    assert_null(pel_check(p));
    assert_int_equal(pel_n(p), PAGES * (PEL_PAGE + 1));
    pel_free(p);
}

/* Behind all others, wide from some on, from ever new consumers: first into a page that has few places. */
static void what_goes_behind_needs_less(void **state)
{
    enum { N = 5 * PEL_PAGE };
    struct random r = random_seeded("behind");
    struct pel *p;
    struct err e;

    (void)state;
    if (!MALLOC_FAILS)
        skip();
    for (size_t life = random_rounds(200); life > 0; life--) {
        size_t had = random_below(&r, 3 * PEL_PAGE), n = 1 + random_below(&r, N);
        uint64_t wide = random_below(&r, n + 1);
        assert_int_equal(pel_new(random_below(&r, 2) == 0, &p, &e), OK);
        assert_int_equal(pel_reserve(p, had, ID_MIN, &e), OK);
        for (uint64_t i = 0; i < had; i++)
            pel_set(p, &(struct pel_entry){ .id = { i, 0 }, .slot = 1 });
        assert_int_equal(pel_reserve(p, n, (struct id){ had, 0 }, &e), OK);
        no_memory = true;
        for (uint64_t i = 0; i < n; i++)
            pel_set(p, &(struct pel_entry){ .id = { had + i, i },
                                            .slot = (uint16_t)(i % 60000),
                                            .count = i < wide ? 1 : 1000 });
        no_memory = false;
        assert_null(pel_check(p));
        assert_int_equal(pel_n(p), had + n);
        pel_free(p);
    }
}

static void without_memory_nothing_is_reserved(void **state)
{
    struct pel *p;
    struct err e;
    int rc;

    (void)state;
    if (!MALLOC_FAILS)
        skip();
    assert_int_equal(pel_new(false, &p, &e), OK);
    no_memory = true;
    rc = pel_reserve(p, 1000, ID_MIN, &e);
    no_memory = false;
    assert_int_equal(rc, ERR_NOMEM);
    assert_null(pel_check(p));
    pel_free(p);
}

/* ---- size ---- */

enum { MILLION = 1000000 };

static struct pel *filled(bool ordered)
{
    struct pel *p;
    struct err e;

    assert_int_equal(pel_new(ordered, &p, &e), OK);
    for (uint64_t i = 0; i < MILLION; i++) {
        struct pel_entry x = { .id = { 1700000000000 + i / 3, i % 3 },
                               .time_ms = 1700000000000 + i / 100,
                               .count = 1,
                               .slot = (uint16_t)(1 + i % 50) };
        if (i % 100 == 0)
            assert_int_equal(pel_reserve(p, 100, ID_MIN, &e), OK);
        pel_set(p, &x);
    }
    assert_int_equal(pel_n(p), MILLION);
    return p;
}

static void assert_bytes(const struct pel *p, double most)
{
    double each = (double)pel_bytes(p) / (double)pel_n(p);

    print_message("  %.2f bytes an entry, of %llu\n", each, (unsigned long long)pel_n(p));
    assert_true(each <= most);
    assert_null(pel_check(p));
}

static void an_entry_takes_few_bytes(void **state)
{
    struct pel *p = filled(false);

    (void)state;
    assert_bytes(p, 16);
    for (uint64_t i = 0; i < MILLION / 2; i++)
        assert_true(pel_remove(p, (struct id){ 1700000000000 + i / 3, i % 3 }, NULL));
    assert_bytes(p, 16);
    pel_free(p);
    p = filled(true);
    assert_bytes(p, 20);
    pel_free(p);
}

/* Behind the last entry of the third page, which is full, each in front of the one before: all could begin pages of their own. */
static void few_bytes_also_for_what_comes_in_between(void **state)
{
    struct pel *p = filled(false);
    struct err e;

    (void)state;
    for (uint64_t i = 40000; i-- > 0;) {
        struct pel_entry x = { .id = { 1700000000000 + PEL_PAGE - 1, 3 + i }, .slot = 1 };
        assert_int_equal(pel_reserve(p, 1, ID_MIN, &e), OK);
        pel_set(p, &x);
    }
    assert_bytes(p, 17);
    pel_free(p);
}

static void few_bytes_also_after_random_acks(void **state)
{
    struct pel *p = filled(false);
    struct random r = random_seeded("random acks");

    (void)state;
    for (unsigned left = MILLION; left > MILLION / 10; left = (unsigned)pel_n(p)) {
        for (unsigned i = 0; i < MILLION / 20; i++) {
            uint64_t k = random_below(&r, MILLION);
            pel_remove(p, (struct id){ 1700000000000 + k / 3, k % 3 }, NULL);
        }
        assert_bytes(p, 20);
    }
    pel_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_is_like_a_sorted_array),
        cmocka_unit_test(keys_are_kept_where_there_are_any),
        cmocka_unit_test(numbers_of_any_size_are_kept),
        cmocka_unit_test(what_was_reserved_cannot_fail),
        cmocka_unit_test(so_many_pages_as_are_needed_are_reserved),
        cmocka_unit_test(what_goes_behind_needs_less),
        cmocka_unit_test(without_memory_nothing_is_reserved),
        cmocka_unit_test(an_entry_takes_few_bytes),
        cmocka_unit_test(few_bytes_also_for_what_comes_in_between),
        cmocka_unit_test(few_bytes_also_after_random_acks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
