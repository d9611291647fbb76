/*
 * test_groups_model.c - groups beside a model of arrays: random commands, deletes, trims, time, seals, restarts.
 *
 * The model keeps of each group what docs/groups.md says and nothing else: a sorted array of what is pending, looked through from one
 * end to the other. After each step every group's pending entries have to be the model's, in each detail, and so lag, due, dead and
 * parked; replies have to be those that the model makes. The clock moves only where the test moves it.
 *
 * IDs are n-0, so the model knows them by n. Values of the field k are v1 .. v4; an entry of key 0 does not have the field.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "groups/groups.h"
#include "tests/lib/random.h"
#include "tests/lib/rig.h"

enum {
    STREAMS = 2,
    GROUPS = 4,    /* of a stream */
    CONSUMERS = 4, /* of a group */
    KEYS = 4,
    LIVE_MAX = 48, /* entries of a stream */
    PENDING_MAX = 256,
    PENDING_MANY = 64, /* from so many on they are acknowledged */
    IDS_MAX = 8,       /* that a command names */
    DELAYS_MAX = 3,
    TEXT_MAX = 1 << 16,
    NOBODY = -1,
    LOOKS_MAX = 1000,
};

struct entry { /* that is pending, or parked */
    uint64_t id, time_ms, count;
    int owner; /* NOBODY: nacked, or parked */
    int key;   /* 0: none, or the group does not order */
    bool nacked, parked;
};

struct options {
    uint64_t ack_wait, max_deliver, max_pending;
    size_t n_backoff;
    uint64_t backoff[DELAYS_MAX];
    bool has_dlq, ordered;
};

struct team { /* a group */
    bool exists;
    struct options options;
    uint64_t last_id;
    bool consumers[CONSUMERS];
    size_t n;
    struct entry pending[PENDING_MAX]; /* by ID */
};

struct flow { /* a stream */
    bool exists;
    uint64_t last_id, n_letters; /* in its dead-letter stream */
    struct id sealed_last;       /* of the stream when it was last read as a whole */
    bool is_cold; /* replies may have fewer entries than are asked for, but for one */
    size_t n;
    uint64_t ids[LIVE_MAX + 1];
    int keys[LIVE_MAX + 1];
    struct team teams[GROUPS];
};

struct text {
    size_t n;
    char p[TEXT_MAX];
};

struct numbers { /* of a group; or in how many comparisons they were not 0 */
    uint64_t lag, behind, pending, nacked, parked, due, dead;
};

struct world {
    struct rig *rig;
    struct random random;
    size_t step;
    uint64_t now_ms;
    struct flow flows[STREAMS];
    struct text command, want;
    struct numbers seen;
};

static size_t below(struct world *w, size_t n)
{
    return random_below(&w->random, n);
}

static bool one_in(struct world *w, size_t n)
{
    return below(w, n) == 0;
}

static void put(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put(struct text *t, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    t->n += (size_t)vsnprintf(t->p + t->n, sizeof t->p - t->n, format, args);
    va_end(args);
    assert_true(t->n < sizeof t->p);
}

/* ---- the model: entries ---- */

static bool options_any(const struct options *x)
{
    return x->ack_wait != 0 || x->max_deliver != 0 || x->max_pending != 0 || x->n_backoff != 0 ||
           x->has_dlq || x->ordered;
}

/* Where it is among the live ones; -1: it is not. */
static int flow_find(const struct flow *f, uint64_t id)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->ids[i] == id)
            return (int)i;
    return -1;
}

static bool flow_has(const struct flow *f, uint64_t id)
{
    return flow_find(f, id) >= 0;
}

static int team_key(const struct flow *f, const struct team *t, uint64_t id)
{
    return t->options.ordered ? f->keys[flow_find(f, id)] : 0;
}

static struct entry *team_find(struct team *t, uint64_t id)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->pending[i].id == id)
            return &t->pending[i];
    return NULL;
}

static struct entry *team_find_delivered(struct team *t, uint64_t id)
{
    struct entry *x = team_find(t, id);

    return x == NULL || x->parked ? NULL : x;
}

static void team_remove(struct team *t, uint64_t id)
{
    struct entry *x = team_find(t, id);
    size_t i = x == NULL ? t->n : (size_t)(x - t->pending);

    if (x == NULL)
        return;
    t->n--;
    memmove(x, x + 1, (t->n - i) * sizeof *x);
}

static void team_set(struct team *t, const struct entry *x)
{
    size_t i = 0;

    team_remove(t, x->id);
    assert_true(t->n < PENDING_MAX);
    while (i < t->n && t->pending[i].id < x->id)
        i++;
    memmove(t->pending + i + 1, t->pending + i, (t->n - i) * sizeof *x);
    t->pending[i] = *x;
    t->n++;
}

/* ---- the model: failure ---- */

enum fate { WAITS, READY, DEAD };

static uint64_t team_backoff(const struct team *t, uint64_t count)
{
    size_t n = t->options.n_backoff, i = count == 0 ? 1 : count < n ? (size_t)count : n;

    return n == 0 ? 0 : t->options.backoff[i - 1];
}

static bool team_buries(const struct team *t, uint64_t count)
{
    uint64_t max = t->options.max_deliver;

    return options_any(&t->options) && (count == PEL_COUNT_FATAL || (max != 0 && count >= max));
}

/* What has become of an entry by now; if it is ready, since when in *due. */
static enum fate team_fate(const struct world *w, const struct team *t, const struct entry *x,
                           uint64_t *due)
{
    uint64_t failed = x->time_ms + t->options.ack_wait;

    if (x->parked || (!x->nacked && (t->options.ack_wait == 0 || failed > w->now_ms)))
        return WAITS;
    if (team_buries(t, x->count))
        return DEAD;
    if (t->options.ack_wait == 0 && t->options.n_backoff == 0)
        return WAITS;
    *due = x->nacked ? x->time_ms : failed + team_backoff(t, x->count);
    return *due <= w->now_ms ? READY : WAITS;
}

static struct numbers team_count(const struct world *w, const struct flow *f, const struct team *t)
{
    struct numbers n = { 0 };
    uint64_t due;

    for (size_t i = 0; i < f->n; i++)
        n.behind += f->ids[i] <= t->last_id;
    for (size_t i = 0; i < t->n; i++) {
        const struct entry *x = &t->pending[i];
        enum fate fate = team_fate(w, t, x, &due);

        n.pending += !x->parked;
        n.nacked += x->nacked;
        n.parked += x->parked;
        n.due += fate == READY;
        n.dead += fate == DEAD;
    }
    n.lag = f->n - n.behind + n.parked;
    return n;
}

/* What is dead by now moves to the dead-letter stream. */
static void flow_bury(const struct world *w, struct flow *f, struct team *t)
{
    uint64_t due;

    for (size_t i = 0; t->options.has_dlq && i < t->n;) {
        if (team_fate(w, t, &t->pending[i], &due) == DEAD) {
            team_remove(t, t->pending[i].id);
            f->n_letters++;
        } else {
            i++;
        }
    }
}

static void world_bury(struct world *w)
{
    w->now_ms = w->rig->e.now_ms;
    for (size_t s = 0; s < STREAMS; s++)
        for (size_t g = 0; g < GROUPS; g++)
            flow_bury(w, &w->flows[s], &w->flows[s].teams[g]);
}

/* ---- the model: entries of the stream go ---- */

static void flow_delete(struct flow *f, uint64_t id)
{
    int i = flow_find(f, id);

    if (i < 0)
        return;
    f->n--;
    memmove(f->ids + i, f->ids + i + 1, (f->n - (size_t)i) * sizeof f->ids[0]);
    memmove(f->keys + i, f->keys + i + 1, (f->n - (size_t)i) * sizeof f->keys[0]);
    for (size_t g = 0; g < GROUPS; g++) {
        struct entry *x = team_find(&f->teams[g], id);
        if (x != NULL && x->parked)
            team_remove(&f->teams[g], id);
    }
}

static void flow_forget(struct flow *f, uint64_t id)
{
    for (size_t g = 0; g < GROUPS; g++)
        team_remove(&f->teams[g], id);
}

/* ---- the model: reading ---- */

struct given {
    uint64_t id, idle_ms, count;
};

struct look { /* at what `>` gives */
    struct world *w;
    struct flow *f;
    struct team *t;
    int consumer;
    uint64_t count, left_gone;
    int64_t claim_ms; /* -1: no CLAIM */
    bool noack;
    bool busy[KEYS + 1], held[KEYS + 1], taken[KEYS + 1];
    size_t n, n_again, n_drop, n_fresh, n_parked;
    struct given given[2 * PENDING_MAX];
    struct entry again[PENDING_MAX], fresh[LIVE_MAX + 1], parked[LIVE_MAX + 1];
    uint64_t drop[PENDING_MAX];
    size_t n_letters;
    uint64_t last_id;
};

struct due {
    struct entry *x;
    uint64_t at_ms;
};

static int due_compare(const void *a, const void *b)
{
    const struct due *x = a, *y = b;

    if (x->at_ms != y->at_ms)
        return x->at_ms < y->at_ms ? -1 : 1;
    return x->x->id < y->x->id ? -1 : x->x->id > y->x->id;
}

static uint64_t count_after(uint64_t count)
{
    return count < PEL_COUNT_FATAL - 1 ? count + 1 : count;
}

static bool look_is_full(const struct look *l)
{
    return l->n >= l->count;
}

static void look_give(struct look *l, uint64_t id, uint64_t idle_ms, uint64_t count)
{
    l->given[l->n++] = (struct given){ id, idle_ms, count };
}

/* Hands a pending entry out once more. */
static void look_again(struct look *l, const struct entry *x)
{
    uint64_t now_ms = l->w->now_ms;

    look_give(l, x->id, x->nacked ? now_ms : now_ms - x->time_ms, x->count);
    l->taken[x->key] = true;
    l->again[l->n_again++] = (struct entry){ .id = x->id,
                                             .time_ms = now_ms,
                                             .count = count_after(x->count),
                                             .owner = l->consumer,
                                             .key = x->key };
}

static void look_ready(struct look *l)
{
    struct due due[PENDING_MAX];
    size_t n = 0;

    for (size_t i = 0; i < l->t->n; i++) {
        due[n].x = &l->t->pending[i];
        n += team_fate(l->w, l->t, due[n].x, &due[n].at_ms) == READY;
    }
    qsort(due, n, sizeof due[0], due_compare);
    for (size_t i = 0; i < n && i < 2 * l->count && !look_is_full(l) && l->left_gone > 0; i++) {
        if (flow_has(l->f, due[i].x->id)) {
            look_again(l, due[i].x);
            continue;
        }
        l->left_gone--;
        l->drop[l->n_drop++] = due[i].x->id;
        l->n_letters += l->t->options.has_dlq;
    }
}

static bool look_has_given(const struct look *l, uint64_t id)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->given[i].id == id)
            return true;
    return false;
}

static bool look_may_claim(const struct look *l, const struct entry *x)
{
    uint64_t due, idle_ms = l->w->now_ms - x->time_ms;

    if (x->parked || !flow_has(l->f, x->id) || look_has_given(l, x->id) ||
        team_fate(l->w, l->t, x, &due) == DEAD)
        return false;
    return x->nacked ? x->time_ms <= l->w->now_ms : idle_ms >= (uint64_t)l->claim_ms;
}

static void look_claim(struct look *l)
{
    struct due due[PENDING_MAX];
    size_t n = 0;

    for (int nacked = 1; nacked >= 0; nacked--) {
        size_t first = n;

        for (size_t i = 0; i < l->t->n; i++)
            if (l->t->pending[i].nacked == nacked && look_may_claim(l, &l->t->pending[i]))
                due[n++] = (struct due){ &l->t->pending[i], l->t->pending[i].time_ms };
        qsort(due + first, n - first, sizeof due[0], due_compare);
    }
    for (size_t i = 0; i < n && !look_is_full(l); i++)
        look_again(l, due[i].x);
}

static void look_parked(struct look *l)
{
    bool seen[KEYS + 1] = { false };

    for (size_t i = 0; i < l->t->n && !look_is_full(l); i++) {
        const struct entry *x = &l->t->pending[i];

        if (!x->parked || seen[x->key])
            continue;
        seen[x->key] = true;
        if (l->held[x->key] || l->taken[x->key])
            continue;
        look_give(l, x->id, 0, 0);
        if (l->noack) {
            l->drop[l->n_drop++] = x->id;
            continue;
        }
        l->taken[x->key] = true;
        l->again[l->n_again++] = (struct entry){
            .id = x->id, .time_ms = l->w->now_ms, .count = 1, .owner = l->consumer, .key = x->key
        };
    }
}

static void look_new(struct look *l)
{
    struct numbers n = team_count(l->w, l->f, l->t);
    uint64_t most = l->t->options.max_pending, room = UINT64_MAX;

    if (most != 0)
        room = n.pending - n.dead + n.parked < most ? most - (n.pending - n.dead + n.parked) : 0;
    for (size_t i = 0; i < l->f->n; i++) {
        struct entry x = { .id = l->f->ids[i], .time_ms = l->w->now_ms, .count = 1 };

        if (x.id <= l->t->last_id)
            continue;
        if (look_is_full(l) || l->n_parked + (l->noack ? 0 : l->n_fresh) >= room)
            break;
        l->last_id = x.id;
        x.key = l->t->options.ordered ? l->f->keys[i] : 0;
        x.owner = l->consumer;
        if (x.key != 0 && (l->busy[x.key] || l->taken[x.key]) && team_find(l->t, x.id) == NULL) {
            l->parked[l->n_parked++] =
                (struct entry){ .id = x.id, .key = x.key, .owner = NOBODY, .parked = true };
            continue;
        }
        l->taken[x.key] |= !l->noack;
        look_give(l, x.id, 0, 0);
        l->fresh[l->n_fresh++] = x;
    }
}

static void look_apply(struct look *l)
{
    for (size_t i = 0; i < l->n_drop; i++)
        team_remove(l->t, l->drop[i]);
    l->f->n_letters += l->n_letters;
    for (size_t i = 0; i < l->n_again; i++)
        team_set(l->t, &l->again[i]);
    for (size_t i = 0; i < l->n_fresh && !l->noack; i++)
        team_set(l->t, &l->fresh[i]);
    for (size_t i = 0; i < l->n_parked; i++)
        team_set(l->t, &l->parked[i]);
    if (l->last_id > l->t->last_id)
        l->t->last_id = l->last_id;
}

/* Looks once; true: there is nothing to reply yet, but something has changed. */
static bool look_once(struct look *l)
{
    uint64_t due;

    memset(l->busy, 0, sizeof l->busy);
    memset(l->held, 0, sizeof l->held);
    memset(l->taken, 0, sizeof l->taken);
    l->n = l->n_again = l->n_drop = l->n_fresh = l->n_parked = l->n_letters = 0;
    l->left_gone = l->count;
    for (size_t i = 0; i < l->t->n; i++) {
        const struct entry *x = &l->t->pending[i];
        bool holds = !x->parked && team_fate(l->w, l->t, x, &due) != DEAD;

        l->held[x->key] |= holds;
        l->busy[x->key] |= holds || x->parked;
    }
    l->taken[0] = l->held[0] = l->busy[0] = false;
    look_ready(l);
    if (l->claim_ms >= 0 && l->left_gone > 0)
        look_claim(l);
    if (l->left_gone > 0)
        look_parked(l);
    if (l->left_gone > 0)
        look_new(l);
    look_apply(l);
    return l->n == 0 && l->n_drop + l->n_parked > 0;
}

/* ---- what replies look like ---- */

static void put_bulk(struct text *t, const char *s)
{
    put(t, "$%zu\r\n%s\r\n", strlen(s), s);
}

static void put_id(struct text *t, uint64_t id)
{
    char s[32];

    snprintf(s, sizeof s, id == 0 ? "0-0" : "%" PRIu64 "-0", id);
    put_bulk(t, s);
}

static void put_entry(struct text *t, const struct flow *f, uint64_t id, int elements)
{
    int key = f->keys[flow_find(f, id)];
    char value[8];

    snprintf(value, sizeof value, "v%d", key);
    put(t, "*%d\r\n", elements);
    put_id(t, id);
    put(t, "*2\r\n");
    put_bulk(t, key == 0 ? "x" : "k");
    put_bulk(t, value);
}

/* ---- commands ---- */

static void say(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Begins a command; words may be added. */
static void say(struct world *w, const char *format, ...)
{
    va_list args;

    w->command.n = w->want.n = 0;
    va_start(args, format);
    w->command.n = (size_t)vsnprintf(w->command.p, sizeof w->command.p, format, args);
    va_end(args);
}

static const char *hear(struct world *w)
{
    const char *reply = rig_say(w->rig, "%s", w->command.p);

    w->now_ms = w->rig->e.now_ms;
    return reply;
}

/* The reply has to be w->want. */
static void expect(struct world *w)
{
    const char *reply = hear(w);

    w->want.p[w->want.n] = '\0';
    if (strcmp(reply, w->want.p) != 0)
        fail_msg("step %zu: %s\n--- replied\n%s--- instead of\n%s", w->step, w->command.p, reply,
                 w->want.p);
}

struct ids {
    size_t n;
    uint64_t at[IDS_MAX];
};

static bool ids_have(const struct ids *x, uint64_t id)
{
    for (size_t i = 0; i < x->n; i++)
        if (x->at[i] == id)
            return true;
    return false;
}

/* A few different IDs: of pending entries, of the stream, and some that are nowhere. */
static struct ids some_ids(struct world *w, const struct flow *f, const struct team *t)
{
    struct ids x = { 0 };
    size_t n = 1 + below(w, IDS_MAX);

    for (size_t i = 0; i < n; i++) {
        uint64_t id = 1 + below(w, (size_t)f->last_id + 2);

        if (t != NULL && t->n > 0 && !one_in(w, 5))
            id = t->pending[below(w, t->n)].id;
        else if (f->n > 0 && !one_in(w, 5))
            id = f->ids[below(w, f->n)];
        if (!ids_have(&x, id))
            x.at[x.n++] = id;
    }
    return x;
}

static void put_ids(struct text *t, const struct ids *x)
{
    for (size_t i = 0; i < x->n; i++)
        put(t, " %" PRIu64 "-0", x->at[i]);
}

/* Where a command acts. */
struct place {
    size_t s, g;
    struct flow *f;
    struct team *t;
};

static void op_add(struct world *w, const struct place *p)
{
    struct flow *f = p->f;
    int key = (int)below(w, KEYS + 1);

    f->last_id += 1 + below(w, 3);
    f->ids[f->n] = f->last_id;
    f->keys[f->n++] = key;
    f->exists = true;
    say(w, "XADD s%zu %" PRIu64 "-0 %s v%d", p->s, f->last_id, key == 0 ? "x" : "k", key);
    put_id(&w->want, f->last_id);
    expect(w);
    if (f->n <= LIVE_MAX - 1)
        return;
    say(w, "XTRIM s%zu MAXLEN %d", p->s, LIVE_MAX / 2);
    put(&w->want, ":%zu\r\n", f->n - LIVE_MAX / 2);
    while (f->n > LIVE_MAX / 2)
        flow_delete(f, f->ids[0]);
    expect(w);
}

static void op_del(struct world *w, const struct place *p)
{
    struct ids x = some_ids(w, p->f, p->t);
    bool unref = one_in(w, 4);
    size_t n = 0;

    if (unref)
        say(w, "XDELEX s%zu DELREF IDS %zu", p->s, x.n);
    else
        say(w, "XDEL s%zu", p->s);
    put_ids(&w->command, &x);
    if (unref)
        put(&w->want, "*%zu\r\n", x.n);
    for (size_t i = 0; i < x.n; i++) {
        if (unref)
            put(&w->want, ":%d\r\n", flow_has(p->f, x.at[i]) ? 1 : -1);
        n += flow_has(p->f, x.at[i]);
        flow_delete(p->f, x.at[i]);
        if (unref)
            flow_forget(p->f, x.at[i]);
    }
    if (!unref)
        put(&w->want, ":%zu\r\n", n);
    expect(w);
}

static void op_trim(struct world *w, const struct place *p)
{
    size_t left = one_in(w, 20) ? 0 : p->f->n - below(w, p->f->n / 4 + 1);

    say(w, "XTRIM s%zu MAXLEN %zu", p->s, left);
    put(&w->want, ":%zu\r\n", p->f->n - left);
    while (p->f->n > left)
        flow_delete(p->f, p->f->ids[0]);
    expect(w);
}

static void op_read(struct world *w, const struct place *p)
{
    static struct look l; /* large */
    bool counts = !one_in(w, 6);
    int elements;

    l = (struct look){ .w = w, .f = p->f, .t = p->t, .consumer = (int)below(w, CONSUMERS) };
    l.count = counts ? 1 + below(w, 8) : LOOKS_MAX;
    if (p->f->is_cold) {
        counts = true;
        l.count = 1;
    }
    l.claim_ms = one_in(w, 4) ? (int64_t)below(w, 200) : -1;
    l.noack = one_in(w, 10);
    p->t->consumers[l.consumer] = true;
    while (look_once(&l)) {
    }
    say(w, "XREADGROUP GROUP g%zu c%d", p->g, l.consumer);
    if (counts)
        put(&w->command, " COUNT %" PRIu64, l.count);
    if (l.claim_ms >= 0)
        put(&w->command, " CLAIM %" PRId64, l.claim_ms);
    put(&w->command, "%s STREAMS s%zu >", l.noack ? " NOACK" : "", p->s);
    if (l.n > 0)
        put(&w->want, "*1\r\n*2\r\n$2\r\ns%zu\r\n*%zu\r\n", p->s, l.n);
    else
        put(&w->want, "*-1\r\n");
    elements = l.claim_ms >= 0 ? 4 : 2;
    for (size_t i = 0; i < l.n; i++) {
        put_entry(&w->want, p->f, l.given[i].id, elements);
        if (elements == 4)
            put(&w->want, ":%" PRIu64 "\r\n:%" PRIu64 "\r\n", l.given[i].idle_ms, l.given[i].count);
    }
    expect(w);
}

static void op_history(struct world *w, const struct place *p)
{
    uint64_t after = one_in(w, 2) ? 0 : below(w, (size_t)p->f->last_id + 2), due;
    size_t count = p->f->is_cold ? 1 : 1 + below(w, 20), n = 0;
    int consumer = (int)below(w, CONSUMERS);
    static struct text rows;

    p->t->consumers[consumer] = true;
    say(w, "XREADGROUP GROUP g%zu c%d COUNT %zu STREAMS s%zu %" PRIu64 "-0", p->g, consumer, count,
        p->s, after);
    rows.n = 0;
    rows.p[0] = '\0';
    for (size_t i = 0; i < p->t->n && n < count; i++) {
        struct entry *x = &p->t->pending[i];

        if (x->id <= after || x->parked || x->owner != consumer)
            continue;
        n++;
        if (!flow_has(p->f, x->id)) {
            put(&rows, "*2\r\n");
            put_id(&rows, x->id);
            put(&rows, "*-1\r\n");
            continue;
        }
        put_entry(&rows, p->f, x->id, 2);
        if (team_fate(w, p->t, x, &due) == DEAD)
            continue;
        x->count = count_after(x->count);
        x->time_ms = w->now_ms;
    }
    put(&w->want, "*1\r\n*2\r\n$2\r\ns%zu\r\n*%zu\r\n%s", p->s, n, rows.p);
    expect(w);
}

static void op_ack(struct world *w, const struct place *p)
{
    struct ids x = some_ids(w, p->f, p->t);
    size_t n = 0;

    say(w, "XACK s%zu g%zu", p->s, p->g);
    put_ids(&w->command, &x);
    for (size_t i = 0; i < x.n; i++) {
        if (team_find_delivered(p->t, x.at[i]) == NULL)
            continue;
        n++;
        team_remove(p->t, x.at[i]);
    }
    put(&w->want, ":%zu\r\n", n);
    expect(w);
}

struct claim { /* as XCLAIM has it */
    int consumer;
    uint64_t min_idle_ms, idle_ms;
    int64_t retry;
    bool force, id_only;
};

/* What XCLAIM does with one ID; whether it is in the reply. */
static bool claim_one(struct world *w, const struct place *p, const struct claim *c, uint64_t id)
{
    struct entry *was = team_find_delivered(p->t, id);
    struct entry x = { .id = id, .count = 1, .nacked = true };

    if (was == NULL && (!c->force || !flow_has(p->f, id)))
        return false;
    if (!flow_has(p->f, id)) {
        team_remove(p->t, id);
        return false;
    }
    if (was != NULL)
        x = *was;
    else
        x.key = team_key(p->f, p->t, id);
    if (!x.nacked && w->now_ms - x.time_ms < c->min_idle_ms)
        return false;
    x.time_ms = w->now_ms - c->idle_ms;
    x.nacked = false;
    x.owner = c->consumer;
    if (c->retry >= 0)
        x.count = (uint64_t)c->retry;
    else if (!c->id_only && x.count < PEL_COUNT_FATAL)
        x.count++;
    team_set(p->t, &x);
    return true;
}

static void op_claim(struct world *w, const struct place *p)
{
    struct ids x = some_ids(w, p->f, p->t);
    struct claim c = { .consumer = (int)below(w, CONSUMERS), .retry = -1 };
    static struct text rows;
    size_t n = 0;

    c.min_idle_ms = one_in(w, 2) ? 0 : below(w, 200);
    c.force = one_in(w, 4);
    c.id_only = one_in(w, 4);
    say(w, "XCLAIM s%zu g%zu c%d %" PRIu64, p->s, p->g, c.consumer, c.min_idle_ms);
    put_ids(&w->command, &x);
    if (one_in(w, 4))
        put(&w->command, " IDLE %" PRIu64, c.idle_ms = below(w, 300));
    if (one_in(w, 4))
        put(&w->command, " RETRYCOUNT %" PRId64, c.retry = (int64_t)below(w, 4));
    put(&w->command, "%s%s", c.force ? " FORCE" : "", c.id_only ? " JUSTID" : "");
    p->t->consumers[c.consumer] = true;
    rows.n = 0;
    rows.p[0] = '\0';
    for (size_t i = 0; i < x.n; i++) {
        if (!claim_one(w, p, &c, x.at[i]))
            continue;
        n++;
        if (c.id_only)
            put_id(&rows, x.at[i]);
        else
            put_entry(&rows, p->f, x.at[i], 2);
    }
    put(&w->want, "*%zu\r\n%s", n, rows.p);
    expect(w);
}

static bool autoclaim_may_take(const struct world *w, const struct entry *x, uint64_t min_idle_ms)
{
    if (x->nacked)
        return x->time_ms <= w->now_ms;
    return w->now_ms - x->time_ms >= min_idle_ms;
}

/* What XAUTOCLAIM does with the entries from `start` on; returns where the next call begins. */
static uint64_t autoclaim_walk(struct world *w, const struct place *p, const struct claim *c,
                               uint64_t start, size_t count, struct ids *claimed, struct ids *gone)
{
    size_t looks = 10 * count;

    for (size_t i = 0; i < p->t->n;) {
        struct entry *x = &p->t->pending[i];

        if (x->parked || x->id < start) {
            i++;
            continue;
        }
        if (looks-- == 0 || claimed->n + gone->n == count)
            return x->id;
        if (!flow_has(p->f, x->id)) {
            gone->at[gone->n++] = x->id;
            team_remove(p->t, x->id);
            continue;
        }
        i++;
        if (!autoclaim_may_take(w, x, c->min_idle_ms))
            continue;
        claimed->at[claimed->n++] = x->id;
        x->nacked = false;
        x->owner = c->consumer;
        x->time_ms = w->now_ms;
        x->count += !c->id_only && x->count < PEL_COUNT_FATAL;
    }
    return 0;
}

static void op_autoclaim(struct world *w, const struct place *p)
{
    uint64_t start = one_in(w, 2) ? 0 : below(w, (size_t)p->f->last_id + 2);
    size_t count = p->f->is_cold ? 1 : 1 + below(w, IDS_MAX);
    struct claim c = { .consumer = (int)below(w, CONSUMERS) };
    struct ids claimed = { 0 }, gone = { 0 };

    c.min_idle_ms = one_in(w, 2) ? 0 : below(w, 200);
    c.id_only = one_in(w, 4);
    p->t->consumers[c.consumer] = true;
    say(w, "XAUTOCLAIM s%zu g%zu c%d %" PRIu64 " %" PRIu64 " COUNT %zu%s", p->s, p->g, c.consumer,
        c.min_idle_ms, start, count, c.id_only ? " JUSTID" : "");
    put(&w->want, "*3\r\n");
    put_id(&w->want, autoclaim_walk(w, p, &c, start, count, &claimed, &gone));
    put(&w->want, "*%zu\r\n", claimed.n);
    for (size_t i = 0; i < claimed.n; i++) {
        if (c.id_only)
            put_id(&w->want, claimed.at[i]);
        else
            put_entry(&w->want, p->f, claimed.at[i], 2);
    }
    put(&w->want, "*%zu\r\n", gone.n);
    for (size_t i = 0; i < gone.n; i++)
        put_id(&w->want, gone.at[i]);
    expect(w);
}

enum nack_mode { SILENT, FAIL, FATAL };
static const char *const nack_words[] = { "SILENT", "FAIL", "FATAL" };

static uint64_t nack_count(enum nack_mode mode, int64_t retry, uint64_t count)
{
    if (retry >= 0)
        return (uint64_t)retry;
    if (mode == FATAL)
        return PEL_COUNT_FATAL;
    return mode == SILENT && count > 0 ? count - 1 : count;
}

/* What XNACK does with one ID; whether it counts. */
static bool nack_one(struct world *w, const struct place *p, enum nack_mode mode, int64_t retry,
                     int64_t delay_ms, bool force, uint64_t id)
{
    struct entry *was = team_find_delivered(p->t, id);
    struct entry x = { .id = id };
    uint64_t failures;

    if (was == NULL && (!force || !flow_has(p->f, id)))
        return false;
    if (was != NULL)
        x = *was;
    else
        x.key = team_key(p->f, p->t, id);
    failures = retry >= 0 ? (uint64_t)retry : x.count;
    x.count = nack_count(mode, retry, x.count);
    x.nacked = true;
    x.owner = NOBODY;
    x.time_ms = w->now_ms;
    if (delay_ms >= 0)
        x.time_ms += (uint64_t)delay_ms;
    else if (!team_buries(p->t, x.count))
        x.time_ms += team_backoff(p->t, failures);
    team_set(p->t, &x);
    return true;
}

static void op_nack(struct world *w, const struct place *p)
{
    struct ids x = some_ids(w, p->f, p->t);
    enum nack_mode mode = one_in(w, 10) ? FATAL : one_in(w, 3) ? SILENT : FAIL;
    int64_t retry = one_in(w, 6) ? (int64_t)below(w, 4) : -1;
    int64_t delay_ms = one_in(w, 4) ? (int64_t)below(w, 300) : -1;
    bool force = one_in(w, 6);
    size_t n = 0;

    say(w, "XNACK s%zu g%zu %s IDS %zu", p->s, p->g, nack_words[mode], x.n);
    put_ids(&w->command, &x);
    if (delay_ms >= 0)
        put(&w->command, " DELAY %" PRId64, delay_ms);
    if (retry >= 0)
        put(&w->command, " RETRYCOUNT %" PRId64, retry);
    if (force)
        put(&w->command, " FORCE");
    for (size_t i = 0; i < x.n; i++)
        n += nack_one(w, p, mode, retry, delay_ms, force, x.at[i]);
    put(&w->want, ":%zu\r\n", n);
    expect(w);
}

static void op_setid(struct world *w, const struct place *p)
{
    uint64_t id = one_in(w, 3) ? 0 : below(w, (size_t)p->f->last_id + 1);

    say(w, "XGROUP SETID s%zu g%zu %" PRIu64 "-0", p->s, p->g, id);
    put(&w->want, "+OK\r\n");
    p->t->last_id = id;
    for (size_t i = 0; i < p->t->n;) {
        if (p->t->pending[i].parked)
            team_remove(p->t, p->t->pending[i].id);
        else
            i++;
    }
    expect(w);
}

static void op_delconsumer(struct world *w, const struct place *p)
{
    int consumer = (int)below(w, CONSUMERS);
    size_t word = below(w, 3), n = 0;
    static const char *const words[] = { "", " HANDBACK", " DISCARD" };
    bool hand_back = word == 1 || (word == 0 && options_any(&p->t->options));

    say(w, "XGROUP DELCONSUMER s%zu g%zu c%d%s", p->s, p->g, consumer, words[word]);
    p->t->consumers[consumer] = false;
    for (size_t i = 0; i < p->t->n;) {
        struct entry *x = &p->t->pending[i];

        if (x->parked || x->owner != consumer) {
            i++;
            continue;
        }
        n++;
        if (!hand_back) {
            team_remove(p->t, x->id);
            continue;
        }
        x->owner = NOBODY;
        x->nacked = true;
        x->time_ms = w->now_ms;
        i++;
    }
    put(&w->want, ":%zu\r\n", n);
    expect(w);
}

/* Draws some options into `x`, and puts their words; `some`: each with a chance. */
static void draw_options(struct world *w, const struct place *p, bool some, struct options *x)
{
    static const uint64_t waits[] = { 0, 40, 200 }, delays[] = { 0, 10, 150 };

    if (!some || one_in(w, 3))
        put(&w->command, " ACKWAIT %" PRIu64, x->ack_wait = waits[below(w, 3)]);
    if (!some || one_in(w, 3))
        put(&w->command, " MAXDELIVER %" PRIu64, x->max_deliver = below(w, 5));
    if (!some || one_in(w, 3))
        put(&w->command, " MAXPENDING %" PRIu64,
            x->max_pending = one_in(w, 2) ? 0 : 3 + below(w, 20));
    if (!some || one_in(w, 3)) {
        x->has_dlq = one_in(w, 2);
        if (x->has_dlq)
            put(&w->command, " DLQ d%zu", p->s);
        else
            put(&w->command, " DLQ \"\"");
    }
    if (!some || one_in(w, 3)) {
        put(&w->command, " BACKOFF %zu", x->n_backoff = below(w, DELAYS_MAX + 1));
        for (size_t i = 0; i < x->n_backoff; i++)
            put(&w->command, " %" PRIu64, x->backoff[i] = delays[below(w, 3)]);
    }
    if (!some || one_in(w, 3)) {
        x->ordered = one_in(w, 2);
        put(&w->command, " ORDERBY %s", x->ordered ? "k" : "\"\"");
    }
}

static void op_cfgset(struct world *w, const struct place *p)
{
    struct options x = p->t->options;
    size_t before;

    say(w, "XGROUP CFGSET s%zu g%zu", p->s, p->g);
    before = w->command.n;
    if (one_in(w, 5)) {
        x = (struct options){ 0 };
        put(&w->command, " ACKWAIT 0 MAXDELIVER 0 MAXPENDING 0 DLQ \"\" BACKOFF 0 ORDERBY \"\"");
    } else {
        draw_options(w, p, true, &x);
    }
    if (w->command.n == before)
        return;
    if (x.ordered != p->t->options.ordered && p->t->n > 0) {
        assert_int_equal(hear(w)[0], '-');
        return;
    }
    put(&w->want, "+OK\r\n");
    p->t->options = x;
    expect(w);
}

static void op_create(struct world *w, const struct place *p)
{
    uint64_t id = one_in(w, 2) ? 0 : below(w, (size_t)p->f->last_id + 1);

    *p->t = (struct team){ .exists = true, .last_id = id };
    p->f->exists = true;
    say(w, "XGROUP CREATE s%zu g%zu %" PRIu64 "-0 MKSTREAM", p->s, p->g, id);
    if (!one_in(w, 3))
        draw_options(w, p, one_in(w, 2), &p->t->options);
    put(&w->want, "+OK\r\n");
    expect(w);
}

static void op_destroy(struct world *w, const struct place *p)
{
    p->t->exists = false;
    p->t->n = 0;
    say(w, "XGROUP DESTROY s%zu g%zu", p->s, p->g);
    put(&w->want, ":1\r\n");
    expect(w);
}

/* The stream, or the one of its dead letters, goes. */
static void op_drop(struct world *w, const struct place *p)
{
    bool letters = !one_in(w, 5);

    say(w, "DEL %c%zu", letters ? 'd' : 's', p->s);
    put(&w->want, ":%d\r\n", letters ? p->f->n_letters > 0 : p->f->exists);
    if (letters) {
        p->f->n_letters = 0;
    } else {
        uint64_t n_letters = p->f->n_letters;

        *p->f = (struct flow){ .n_letters = n_letters };
    }
    expect(w);
}

static void op_pass(struct world *w, const struct place *p)
{
    (void)p;
    say(w, "(time passes)");
    rig_pass(w->rig, 1 + below(w, one_in(w, 4) ? 300 : 20));
}

static void op_seal(struct world *w, const struct place *p)
{
    (void)p;
    say(w, "BECK SEAL");
    assert_int_not_equal(hear(w)[0], '-');
}

static void op_restart(struct world *w, const struct place *p)
{
    bool kill = one_in(w, 2);

    (void)p;
    say(w, "(restart, %s)", kill ? "killed" : "in good order");
    rig_restart(w->rig, kill);
    for (size_t s = 0; s < STREAMS; s++)
        w->flows[s].is_cold = true;
}

/* ---- comparing ---- */

static const struct stream *world_stream(const struct world *w, char letter, size_t s)
{
    char name[3] = { letter, (char)('0' + s), '\0' };

    return rig_stream(w->rig, name);
}

static struct group *world_group(const struct world *w, size_t s, size_t g)
{
    const struct stream *st = world_stream(w, 's', s);
    char name[3] = { 'g', (char)('0' + g), '\0' };

    return st == NULL ? NULL : groups_find(stream_groups(st), slice_str(name));
}

static void differ(const struct world *w, size_t s, size_t g, const char *what, uint64_t is,
                   uint64_t want)
{
    if (is != want)
        fail_msg("step %zu: %s\ns%zu g%zu: %s is %" PRIu64 ", not %" PRIu64, w->step, w->command.p,
                 s, g, what, is, want);
}

static void compare_entry(const struct world *w, size_t s, size_t g, const struct group *group,
                          const struct pel_entry *is, const struct entry *want)
{
    const struct consumer *c =
        is->nacked || is->slot == PEL_PARKED ? NULL : group_consumer_at(group, is->slot);
    int owner = c == NULL ? NOBODY : c->name.p[1] - '0';

    differ(w, s, g, "an ID", is->id.ms, want->id);
    differ(w, s, g, "parked", is->slot == PEL_PARKED, want->parked);
    differ(w, s, g, "nacked", is->nacked, want->nacked);
    differ(w, s, g, "the owner", (uint64_t)owner, (uint64_t)want->owner);
    differ(w, s, g, "the time", is->time_ms, want->time_ms);
    differ(w, s, g, "the count", is->count, want->count);
    differ(w, s, g, "having a key", is->key != 0, want->key != 0);
    differ(w, s, g, "being gone", is->gone, !flow_has(&w->flows[s], want->id));
}

static void compare_pending(const struct world *w, size_t s, size_t g, const struct group *group)
{
    static const struct pel_filter all = { .kinds = PEL_HELD | PEL_NACKED | PEL_SKIPPED,
                                           .held_until = UINT64_MAX,
                                           .nacked_until = UINT64_MAX };
    const struct team *t = &w->flows[s].teams[g];
    struct pel_entry entries[PENDING_MAX + 1];
    size_t n = pel_list(group->pel, ID_MIN, &all, PENDING_MAX + 1, entries);

    for (size_t i = 0; i < n && i < t->n; i++)
        compare_entry(w, s, g, group, &entries[i], &t->pending[i]);
    differ(w, s, g, "the number of entries", n, t->n);
}

static void compare_group(struct world *w, size_t s, size_t g)
{
    const struct team *t = &w->flows[s].teams[g];
    const struct group *group = world_group(w, s, g);
    struct numbers n = team_count(w, &w->flows[s], t);
    size_t n_consumers = 0;

    differ(w, s, g, "being there", group != NULL, t->exists);
    if (group == NULL)
        return;
    compare_pending(w, s, g, group);
    for (size_t i = 0; i < CONSUMERS; i++)
        n_consumers += t->consumers[i];
    differ(w, s, g, "the number of consumers", group_n_consumers(group), n_consumers);
    differ(w, s, g, "the last ID", group->last_id.ms, t->last_id);
    differ(w, s, g, "what is behind", group->n_behind, n.behind);
    differ(w, s, g, "pending", pel_n(group->pel), n.pending);
    differ(w, s, g, "nacked", pel_n_nacked(group->pel), n.nacked);
    differ(w, s, g, "parked", pel_n_parked(group->pel), n.parked);
    differ(w, s, g, "due", pel_n_ready(group->pel), n.due);
    differ(w, s, g, "dead", pel_n_dead(group->pel), n.dead);
    w->seen.parked += n.parked > 0;
    w->seen.due += n.due > 0;
    w->seen.dead += n.dead > 0;
    w->seen.nacked += n.nacked > 0;
}

static void compare(struct world *w)
{
    for (size_t s = 0; s < STREAMS; s++) {
        const struct stream *st = world_stream(w, 's', s), *letters = world_stream(w, 'd', s);

        differ(w, s, 0, "the number of live entries", st == NULL ? 0 : st->n_entries,
               w->flows[s].n);
        differ(w, s, 0, "the number of dead letters", letters == NULL ? 0 : letters->n_entries,
               w->flows[s].n_letters);
        for (size_t g = 0; g < GROUPS; g++)
            compare_group(w, s, g);
    }
}

/* ---- comparing what clients are shown ---- */

static void show_numbers(struct world *w, const struct place *p)
{
    static const char *const names[] = { "lag", "pending", "parked", "due", "dead", "nacked" };
    struct numbers n = team_count(w, p->f, p->t);
    const uint64_t values[] = { n.lag, n.pending, n.parked, n.due, n.dead, n.nacked };
    const char *reply, *at;
    char word[32];

    say(w, "BECK GROUP s%zu g%zu", p->s, p->g);
    reply = hear(w);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(word, sizeof word, "\r\n%s\r\n:", names[i]);
        at = strstr(reply, word);
        assert_non_null(at);
        differ(w, p->s, p->g, names[i], strtoull(at + strlen(word), NULL, 10), values[i]);
    }
}

static void show_summary(struct world *w, const struct place *p)
{
    uint64_t held[CONSUMERS] = { 0 }, low = 0, high = 0;
    size_t n = 0, n_holders = 0;
    char count[24];

    for (size_t i = 0; i < p->t->n; i++) {
        const struct entry *x = &p->t->pending[i];

        if (x->parked)
            continue;
        low = n++ == 0 ? x->id : low;
        high = x->id;
        if (x->owner != NOBODY)
            n_holders += held[x->owner]++ == 0;
    }
    say(w, "XPENDING s%zu g%zu", p->s, p->g);
    put(&w->want, "*4\r\n:%zu\r\n", n);
    if (n == 0) {
        put(&w->want, "$-1\r\n$-1\r\n*-1\r\n");
    } else {
        put_id(&w->want, low);
        put_id(&w->want, high);
        put(&w->want, "*%zu\r\n", n_holders);
    }
    for (int i = 0; i < CONSUMERS; i++) {
        if (held[i] == 0)
            continue;
        snprintf(count, sizeof count, "%" PRIu64, held[i]);
        put(&w->want, "*2\r\n$2\r\nc%d\r\n", i);
        put_bulk(&w->want, count);
    }
    expect(w);
}

static void show_pending(struct world *w, const struct place *p)
{
    struct numbers n = team_count(w, p->f, p->t);

    say(w, "XPENDING s%zu g%zu - + %d", p->s, p->g, PENDING_MAX);
    put(&w->want, "*%" PRIu64 "\r\n", n.pending);
    for (size_t i = 0; i < p->t->n; i++) {
        const struct entry *x = &p->t->pending[i];

        if (x->parked)
            continue;
        put(&w->want, "*4\r\n");
        put_id(&w->want, x->id);
        if (x->owner == NOBODY)
            put(&w->want, "$0\r\n\r\n:-1\r\n");
        else
            put(&w->want, "$2\r\nc%d\r\n:%" PRIu64 "\r\n", x->owner, w->now_ms - x->time_ms);
        put(&w->want, ":%" PRIu64 "\r\n", x->count);
    }
    expect(w);
}

static void op_show(struct world *w, const struct place *p)
{
    show_numbers(w, p);
    show_summary(w, p);
    show_pending(w, p);
    assert_null(group_check(world_group(w, p->s, p->g)));
}

/* ---- the run ---- */

/* Whether something is due that has been deleted. While the one before it is read from disk, that may be dealt with. */
static bool team_has_ghosts(const struct world *w, const struct flow *f, const struct team *t)
{
    uint64_t due;

    for (size_t i = 0; i < t->n; i++)
        if (!flow_has(f, t->pending[i].id) && team_fate(w, t, &t->pending[i], &due) == READY)
            return true;
    return false;
}

/* What has been sealed, or was before a restart, may have to be read before it can be shown, and a reply goes out with what is
 * there. Mostly the stream is read first. */
static void warm_up(struct world *w, size_t s, const struct team *t)
{
    const struct stream *st = world_stream(w, 's', s);
    struct flow *f = &w->flows[s];

    f->is_cold |= st != NULL && id_cmp(st->sealed_last, f->sealed_last) != 0;
    if (st != NULL)
        f->sealed_last = st->sealed_last;
    if (!f->is_cold || (one_in(w, 2) && !team_has_ghosts(w, f, t)))
        return;
    say(w, "XRANGE s%zu - +", s);
    assert_int_equal(hear(w)[0], '*');
    f->is_cold = false;
}

struct op {
    void (*run)(struct world *w, const struct place *p);
    unsigned weight;
    bool needs_group;
};

static const struct op ops[] = {
    { op_add, 160, false },  { op_read, 200, true },  { op_history, 20, true },
    { op_ack, 120, true },   { op_claim, 40, true },  { op_autoclaim, 30, true },
    { op_nack, 60, true },   { op_setid, 4, true },   { op_delconsumer, 6, true },
    { op_cfgset, 10, true }, { op_destroy, 1, true }, { op_del, 20, false },
    { op_trim, 6, false },   { op_drop, 1, false },   { op_pass, 100, false },
    { op_show, 20, true },   { op_seal, 2, false },   { op_restart, 2, false },
};
enum { N_OPS = sizeof ops / sizeof ops[0] };

static const struct op *draw_op(struct world *w)
{
    size_t total = 0, at, i = 0;

    for (size_t k = 0; k < N_OPS; k++)
        total += ops[k].weight;
    for (at = below(w, total); at >= ops[i].weight; i++)
        at -= ops[i].weight;
    return &ops[i];
}

static void step(struct world *w)
{
    struct place p = { .s = below(w, STREAMS), .g = below(w, GROUPS) };
    const struct op *op = draw_op(w);

    p.f = &w->flows[p.s];
    p.t = &p.f->teams[p.g];
    warm_up(w, p.s, p.t);
    if (op->needs_group && !p.t->exists)
        op_create(w, &p);
    else if (op->needs_group && p.t->n > PENDING_MANY)
        op_ack(w, &p);
    else if (op->run == op_del && !p.f->exists)
        op_add(w, &p);
    else
        op->run(w, &p);
    world_bury(w);
    compare(w);
}

static void groups_are_what_a_model_of_arrays_is(void **state)
{
    static struct world w;
    size_t n_steps = random_rounds(100000);

    (void)state;
    w.random = random_seeded("groups_model");
    w.rig = rig_new(w.random.state);
    rig_start(w.rig);
    w.now_ms = w.rig->e.now_ms;
    for (; w.step < n_steps; w.step++)
        step(&w);
    printf("%zu steps; compared with something parked %" PRIu64 ", due %" PRIu64 ", dead %" PRIu64
           ", nacked %" PRIu64 " times\n",
           w.step, w.seen.parked, w.seen.due, w.seen.dead, w.seen.nacked);
    if (n_steps >= 10000)
        assert_true(w.seen.parked > 0 && w.seen.due > 0 && w.seen.dead > 0 && w.seen.nacked > 0);
    rig_free(w.rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_are_what_a_model_of_arrays_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
