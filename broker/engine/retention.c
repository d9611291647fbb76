/*
 * retention.c - limits that the server keeps by itself.
 *
 * A stream that has a limit has a time at which it is looked at, stream.due_s, and stands with it in a heap. When the
 * time has come, a cut is planned for each limit (trim.h), and the one that takes most is done by a record.
 *
 *   age     due when its first entry is too old, and that by as much as may be tolerated
 *   bytes,  due a second after an append that went beyond the limit, or at once if it went far
 *   len
 *
 * RETENTION-ACKED holds back what some group has not acknowledged yet: no cut goes beyond the first such entry, until that is older
 * than RETENTION-ACKED-MAX-AGE. A stream whose limits ask for more than groups let go is `held`: appends do not bring it back
 * here, only acknowledgements do, once a second at most, or that age. Without any other limit, what all groups have
 * acknowledged is what goes. A stream without groups is held by nobody.
 *
 * Tolerated are 1 s or 1 % of a limit, whichever is more. Within that, whole blocks are cut off where entries are sealed,
 * which reads nothing but the index; only what would be late otherwise is cut at the very entry. What must be read is
 * loaded by workers, for RETENTION_LOADS streams at a time; the others wait.
 *
 * The first ID of a stream that is sealed is not known before it has been read once: such a stream is due at once, and
 * learns by that when it really is.
 *
 * The heap holds 16 bytes for each stream that has a limit and at least one entry; others cost nothing. It names
 * streams by oid and is never searched: a stream that is dropped, or gets an earlier time, leaves an entry behind that
 * is void. Each push looks at two more places of the heap and takes void ones out, so there are never more than about as
 * many of them as of the others.
 *
 * Defaults hold for streams that are already there: retention_walk goes over all names, a few buckets a round.
 *
 *   R1  st->due_s is 0 (nothing to do), RETENTION_LOADING, or a heap entry has exactly this oid and time.
 *   R2  Nothing that is inside all limits is ever removed.
 *   R3  A round looks at no more than RETENTION_SLICE streams that are due.
 *   R4  Nothing that a group needs is removed from a stream with RETENTION-ACKED before its time.
 */
#include "broker/engine/retention.h"
#include <assert.h>
#include <stdlib.h>
#include "broker/engine/cold.h"
#include "broker/engine/grouplog.h"
#include "broker/engine/trim.h"
#include "broker/pubsub/notify.h"
#include "log/entry.h"

enum {
    RETENTION_SLICE = 1000,   /* streams a round */
    RETENTION_BUCKETS = 256,  /* of the name tables, a round */
    RETENTION_LOADS = 8,      /* streams whose blocks are being loaded */
    RETENTION_TRIES = 8,      /* loads for one stream behind each other */
    RETENTION_FAILED_S = 60,  /* until a stream whose blocks cannot be read is tried again */
    RETENTION_RETRY_MS = 100, /* after the log had no room */
    RETENTION_FAR_LEN = 100,  /* this far beyond a limit an append makes a cut due at once */
    RETENTION_FAR_BYTES = 64 << 10,
    RETENTION_RECORD = 512, /* bytes of log for a cut */
};

#define RETENTION_LOADING UINT32_MAX /* stream.due_s while its blocks are being loaded */
#define RETENTION_LATEST  (UINT32_MAX - 1)

struct retention_limits { /* 0: none */
    uint64_t age_ms, bytes, len;
    bool acked;            /* there are groups, whose entries wait for them */
    uint64_t acked_max_ms; /* at most so long */
};

struct retention_due {
    uint64_t oid;
    uint32_t due_s;
};

struct retention_load {
    struct retention *retention;
    uint64_t oid;
    unsigned tries;
    bool busy;
};

struct retention {
    struct retention_due *heap;
    size_t n, cap;
    size_t sweep; /* where the next void entry is looked for */
    struct retention_load loads[RETENTION_LOADS];
    size_t n_loads;
    uint64_t again_ms; /* nothing is done before: there was no room in the log */
    bool walking;
    int db; /* where the walk is */
    uint64_t cursor;
    struct retention_stats stats;
};

int retention_new(struct retention **out, struct err *e)
{
    struct retention *r = calloc(1, sizeof *r);

    if (r == NULL)
        return err_set(e, ERR_NOMEM, "retention");
    *out = r;
    return OK;
}

void retention_free(struct retention *r)
{
    if (r == NULL)
        return;
    free(r->heap);
    free(r);
}

/* ---- the heap ---- */

static bool retention_earlier(struct retention_due a, struct retention_due b)
{
    return a.due_s != b.due_s ? a.due_s < b.due_s : a.oid < b.oid; /* neighbours share blocks */
}

static void retention_up(struct retention *r, size_t i, struct retention_due x)
{
    while (i > 0 && retention_earlier(x, r->heap[(i - 1) / 2])) {
        r->heap[i] = r->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    r->heap[i] = x;
}

static void retention_down(struct retention *r, size_t i, struct retention_due x)
{
    size_t child;

    while ((child = 2 * i + 1) < r->n) {
        if (child + 1 < r->n && retention_earlier(r->heap[child + 1], r->heap[child]))
            child++;
        if (!retention_earlier(r->heap[child], x))
            break;
        r->heap[i] = r->heap[child];
        i = child;
    }
    r->heap[i] = x;
}

static void retention_remove(struct retention *r, size_t i)
{
    struct retention_due last = r->heap[--r->n];

    if (i == r->n)
        return;
    if (i > 0 && retention_earlier(last, r->heap[(i - 1) / 2]))
        retention_up(r, i, last);
    else
        retention_down(r, i, last);
}

/* The stream of an entry; NULL if the entry is void. */
static struct stream *retention_stream(const struct engine *e, struct retention_due x)
{
    struct stream *st = state_find_oid(&e->state, x.oid);

    return st != NULL && st->due_s == x.due_s ? st : NULL;
}

static void retention_sweep(struct engine *e)
{
    struct retention *r = e->retention;

    for (int i = 0; i < 2 && r->n > 0; i++) {
        if (r->sweep >= r->n)
            r->sweep = 0;
        if (retention_stream(e, r->heap[r->sweep]) == NULL)
            retention_remove(r, r->sweep);
        else
            r->sweep++;
    }
}

/* The stream is due at that time and no other. Where there is no memory for it, it is not: a later append or walk
 * tries again. */
static void retention_schedule(struct engine *e, struct stream *st, uint32_t due_s)
{
    struct retention *r = e->retention;

    if (due_s > RETENTION_LATEST)
        due_s = RETENTION_LATEST;
    if (due_s == st->due_s)
        return;
    retention_sweep(e);
    if (r->n == r->cap) {
        size_t cap = r->cap == 0 ? 64 : r->cap * 2;
        struct retention_due *heap = realloc(r->heap, cap * sizeof *heap);

        if (heap == NULL) {
            st->due_s = 0;
            return;
        }
        r->heap = heap;
        r->cap = cap;
    }
    st->due_s = due_s;
    retention_up(r, r->n++, (struct retention_due){ st->oid, due_s });
}

/* ---- limits and times ---- */

/* Whether there is something to keep to. */
static bool retention_limits(const struct engine *e, struct stream *st,
                             struct retention_limits *out)
{
    out->age_ms = engine_setting(e, st, SETTING_RETENTION_AGE, NULL);
    out->bytes = engine_setting(e, st, SETTING_RETENTION_BYTES, NULL);
    out->len = engine_setting(e, st, SETTING_RETENTION_LEN, NULL);
    out->acked = groups_n(stream_groups(st)) > 0 &&
                 engine_setting(e, st, SETTING_RETENTION_ACKED, NULL) != 0;
    out->acked_max_ms = 0;
    if (out->acked)
        out->acked_max_ms = engine_setting(e, st, SETTING_RETENTION_ACKED_MAX_AGE, NULL);
    return st->n_entries > 0 && ((out->age_ms | out->bytes | out->len) != 0 || out->acked);
}

/* Whether nothing but groups says what goes. */
static bool retention_is_by_groups(const struct retention_limits *x)
{
    return x->acked && (x->age_ms | x->bytes | x->len) == 0;
}

/* The age at which the first entry goes, whatever else; 0: none. */
static uint64_t retention_age_ms(const struct stream *st, const struct retention_limits *x)
{
    return st->held || retention_is_by_groups(x) ? x->acked_max_ms : x->age_ms;
}

/* Times are in seconds since the engine's start, beginning with 1. */
static uint32_t retention_second(const struct engine *e, uint64_t ms)
{
    uint64_t s = ms <= e->started_ms ? 1 : (ms - e->started_ms) / 1000 + 1;

    return s < RETENTION_LATEST ? (uint32_t)s : RETENTION_LATEST;
}

static uint32_t retention_now_s(const struct engine *e)
{
    return retention_second(e, e->now_ms);
}

/* How late an entry may leave, beside the second that times are rounded up to. */
static uint64_t retention_slack_ms(uint64_t age_ms)
{
    return age_ms / 100 > 1000 ? age_ms / 100 - 1000 : 0;
}

/* When an entry has to be gone by its age. */
static uint64_t retention_gone_ms(struct id id, uint64_t age_ms)
{
    uint64_t ms;

    if (__builtin_add_overflow(id.ms, age_ms, &ms) ||
        __builtin_add_overflow(ms, 1 + retention_slack_ms(age_ms), &ms))
        return UINT64_MAX - 1000;
    return ms;
}

/* The first second in which it is so late. */
static uint32_t retention_gone_s(const struct engine *e, struct id id, uint64_t age_ms)
{
    return retention_second(e, retention_gone_ms(id, age_ms) + 999);
}

static bool retention_is_over(const struct stream *st, const struct retention_limits *x)
{
    return (x->len != 0 && st->n_entries > x->len) || (x->bytes != 0 && st->bytes > x->bytes);
}

/* So far beyond a limit that it is not left alone for a second. */
static bool retention_is_far_over(const struct stream *st, const struct retention_limits *x)
{
    uint64_t len = x->len / 100 > RETENTION_FAR_LEN ? x->len / 100 : RETENTION_FAR_LEN;
    uint64_t bytes = x->bytes / 100 > RETENTION_FAR_BYTES ? x->bytes / 100 : RETENTION_FAR_BYTES;

    return (x->len != 0 && st->n_entries > x->len && st->n_entries - x->len > len) ||
           (x->bytes != 0 && st->bytes > x->bytes && st->bytes - x->bytes > bytes);
}

/* The stream's first ID, where it is known without reading: nothing of it is sealed. */
static bool retention_first_hot(const struct stream *st, struct id *out)
{
    const uint8_t *entry;

    if (stream_n_sealed(st) > 0 || st->tail == NULL)
        return false;
    entry = stream_index_at(st->tail, (struct stream_pos){ 0, 0 });
    if (entry == NULL)
        return false;
    entry_id(entry, out);
    return true;
}

/* When the stream is to be looked at, as far as can be told without reading; 0: never. With `known` a time that it has
 * for its age still holds. */
static uint32_t retention_wanted(const struct engine *e, struct stream *st, bool known)
{
    uint32_t now_s = retention_now_s(e);
    struct retention_limits x;
    uint64_t age_ms;
    struct id first;

    if (!retention_limits(e, st, &x))
        return 0;
    if (!st->held && retention_is_over(st, &x))
        return retention_is_far_over(st, &x) ? now_s : now_s + 1;
    age_ms = retention_age_ms(st, &x);
    if (age_ms == 0)
        return 0;
    if (known && st->due_s != 0)
        return st->due_s;
    return retention_first_hot(st, &first) ? retention_gone_s(e, first, age_ms) : now_s;
}

void retention_look(struct engine *e, struct stream *st)
{
    uint32_t due_s;

    if (st->due_s == RETENTION_LOADING || (st->due_s != 0 && st->due_s <= retention_now_s(e)))
        return;
    due_s = retention_wanted(e, st, true);
    if (due_s != 0 && (st->due_s == 0 || due_s < st->due_s))
        retention_schedule(e, st, due_s);
}

void retention_look_acked(struct engine *e, struct stream *st)
{
    uint32_t now_s = retention_now_s(e);
    struct retention_limits x;

    if (st->due_s == RETENTION_LOADING || (st->due_s != 0 && st->due_s <= now_s + 1))
        return;
    if (st->held || (retention_limits(e, st, &x) && retention_is_by_groups(&x)))
        retention_schedule(e, st, now_s + 1);
}

/* What only acknowledgements change has to be looked at once. */
static uint32_t retention_wanted_anew(const struct engine *e, struct stream *st)
{
    struct retention_limits x;

    st->held = false;
    if (retention_limits(e, st, &x) && retention_is_by_groups(&x))
        return retention_now_s(e);
    return retention_wanted(e, st, false);
}

void retention_changed(struct engine *e, struct stream *st)
{
    uint32_t due_s;

    if (st->due_s == RETENTION_LOADING)
        return; /* it is looked at when that is done */
    due_s = retention_wanted_anew(e, st);
    if (due_s == 0)
        st->due_s = 0;
    else if (st->due_s == 0 || due_s < st->due_s)
        retention_schedule(e, st, due_s); /* too early a time only costs a look */
}

/* ---- cutting ---- */

/* Whether the plan for one limit leaves no more behind than is tolerated. */
static bool retention_is_enough(const struct engine *e, const struct stream *st,
                                const struct retention_limits *x, enum trim_by by,
                                const struct trim_cut *cut)
{
    if (stream_n_sealed(st) == 0 || cut->n == st->n_entries)
        return true; /* the plan is exact */
    switch (by) {
    case TRIM_MAXLEN: return st->n_entries - cut->n <= x->len + x->len / 100;
    case TRIM_BYTES: return st->bytes - cut->bytes <= x->bytes + x->bytes / 100;
    default: return cut->n > 0 && retention_gone_ms(cut->first, x->age_ms) > e->now_ms;
    }
}

static int retention_plan_one(struct engine *e, const struct stream *st,
                              const struct retention_limits *x, enum trim_by by,
                              struct wants *wants, struct trim_cut *cut, struct err *err)
{
    struct trim trim = { .by = by, .blocks = true, .maxlen = x->len, .maxbytes = x->bytes };
    struct trim_cut one = { .n = 0 };
    int rc;

    if (by == TRIM_MINID)
        trim.minid = (struct id){ e->now_ms > x->age_ms ? e->now_ms - x->age_ms : 0, 0 };
    rc = trim_plan(e, st, &trim, NULL, wants, &one, err);
    if (rc == OK && !retention_is_enough(e, st, x, by, &one)) {
        trim.blocks = false;
        rc = trim_plan(e, st, &trim, NULL, wants, &one, err);
    }
    if (rc == OK && one.n > cut->n)
        *cut = one;
    return rc;
}

/* The cut that all limits together ask for. Errors: as trim_plan. */
static int retention_plan_limits(struct engine *e, const struct stream *st,
                                 const struct retention_limits *x, struct wants *wants,
                                 struct trim_cut *cut, struct err *err)
{
    int rc = OK;

    cut->n = 0;
    if (x->age_ms != 0)
        rc = retention_plan_one(e, st, x, TRIM_MINID, wants, cut, err);
    if (rc == OK && x->len != 0 && st->n_entries > x->len)
        rc = retention_plan_one(e, st, x, TRIM_MAXLEN, wants, cut, err);
    if (rc == OK && x->bytes != 0 && st->bytes > x->bytes)
        rc = retention_plan_one(e, st, x, TRIM_BYTES, wants, cut, err);
    return rc;
}

/* What groups let go: it is below that ID. */
static struct id retention_free_below(const struct engine *e, const struct stream *st,
                                      const struct retention_limits *x)
{
    struct id acked = groups_acked_below(stream_groups(st), stream_floor(st)), old = ID_MIN;

    if (x->acked_max_ms != 0 && e->now_ms > x->acked_max_ms)
        old.ms = e->now_ms - x->acked_max_ms;
    return id_cmp(acked, old) > 0 ? acked : old;
}

/* The cut that is to be made. *held: groups keep some of what the limits ask for. Errors: as trim_plan. */
static int retention_plan(struct engine *e, const struct stream *st,
                          const struct retention_limits *x, struct wants *wants,
                          struct trim_cut *cut, bool *held, struct err *err)
{
    struct trim trim = { .by = TRIM_MINID };
    int rc = retention_plan_limits(e, st, x, wants, cut, err);
    struct trim_cut most;

    *held = false;
    if (rc != OK || !x->acked || (cut->n == 0 && !retention_is_by_groups(x)))
        return rc;
    trim.minid = retention_free_below(e, st, x);
    rc = trim_plan(e, st, &trim, NULL, wants, &most, err);
    if (rc != OK)
        return rc;
    *held = most.n < cut->n;
    if (*held || retention_is_by_groups(x))
        *cut = most;
    return OK;
}

static void retention_cut(struct engine *e, struct stream *st, const struct trim_cut *cut)
{
    struct retention_stats *s = &e->retention->stats;

    s->n_cuts++;
    s->n_entries += cut->n;
    s->bytes += cut->bytes;
    trim_apply(e, NULL, st, cut);
    engine_key_changed(e, state_db_of(&e->state, &st->object), stream_name(st));
    notify(e, NOTIFY_STREAM, "xtrim", state_db_of(&e->state, &st->object), stream_name(st));
    if (log_open_bytes(e->log) > LOG_BATCH_BYTES_SOFT)
        log_commit(e->log, false);
}

/* The first ID of a stream, wherever it lies. Errors: as reader_seek. */
static int retention_first(struct engine *e, const struct stream *st, struct wants *wants,
                           struct id *out, struct err *err)
{
    const uint8_t *entry = NULL;
    struct sealed sealed;
    struct reader reader;
    size_t len;
    int rc = OK;

    if (stream_n_sealed(st) > 0 && cold_get_sealed(e, st, &sealed)) {
        cold_reader(e, &sealed, wants, false, &reader);
        rc = reader_seek(&reader, ID_MIN, err);
        entry = rc == OK ? reader_at(&reader, &len) : NULL;
        if (entry != NULL)
            entry_id(entry, out);
        reader_fini(&reader);
        sealed_fini(&sealed);
    }
    if (rc != OK || entry != NULL)
        return rc;
    *out = st->last_id;
    if (st->tail != NULL)
        entry = stream_index_at(st->tail, (struct stream_pos){ 0, 0 });
    if (entry != NULL)
        entry_id(entry, out);
    return OK;
}

/* After a look at it: when the stream is due next. `cut` says what went. Errors: as retention_first. */
static int retention_again(struct engine *e, struct stream *st, const struct retention_limits *x,
                           const struct trim_cut *cut, struct wants *wants, struct err *err)
{
    uint64_t age_ms = retention_age_ms(st, x);
    struct id first = cut->first;
    uint32_t due_s, now_s = retention_now_s(e);
    int rc = OK;

    if (st->n_entries == 0 || age_ms == 0) {
        st->due_s = 0;
        return OK;
    }
    if (cut->n == 0)
        rc = retention_first(e, st, wants, &first, err);
    if (rc != OK)
        return rc;
    due_s = retention_gone_s(e, first, age_ms);
    retention_schedule(e, st, due_s > now_s ? due_s : now_s + 1);
    return OK;
}

/* Plans, cuts, and says when to come again. ERR_COLD: something has to be loaded first. Other errors have been dealt
 * with. */
static int retention_work(struct engine *e, struct stream *st, struct wants *wants)
{
    struct trim_cut cut = { .n = 0 };
    struct retention_limits x;
    struct err err;
    bool held;
    int rc;

    if (!retention_limits(e, st, &x)) {
        st->due_s = 0;
        return OK;
    }
    rc = retention_plan(e, st, &x, wants, &cut, &held, &err);
    if (rc == OK)
        st->held = held;
    if (rc == OK && cut.n > 0)
        rc = trim_prepare(e, st, &err);
    if (rc == OK && cut.n > 0 && log_reserve(e->log, RETENTION_RECORD, &err) != OK) {
        e->retention->again_ms = e->now_ms + RETENTION_RETRY_MS;
        retention_schedule(e, st, retention_now_s(e));
        return OK;
    }
    if (rc == OK && cut.n > 0)
        retention_cut(e, st, &cut);
    if (rc == OK)
        rc = retention_again(e, st, &x, &cut, wants, &err);
    if (rc != OK && rc != ERR_COLD) {
        e->retention->stats.n_failed++;
        e->retention->stats.last_error = err;
        retention_schedule(e, st, retention_now_s(e) + RETENTION_FAILED_S);
    }
    return rc == ERR_COLD ? rc : OK;
}

/* ---- loading ---- */

static void retention_loaded(struct engine *e, void *ctx, int rc);

static struct retention_load *retention_free_load(struct retention *r)
{
    for (size_t i = 0; i < RETENTION_LOADS; i++)
        if (!r->loads[i].busy)
            return &r->loads[i];
    return NULL;
}

/* Looks at a stream; `load` is used if something has to be read for it. */
static void retention_do(struct engine *e, struct stream *st, struct retention_load *load,
                         unsigned tries)
{
    struct retention *r = e->retention;
    struct wants wants;
    struct err err;

    wants_init(&wants);
    if (retention_work(e, st, &wants) != ERR_COLD) {
        wants_fini(&wants, log_cache(e->log));
        return;
    }
    *load = (struct retention_load){ r, st->oid, tries + 1, true };
    if (tries < RETENTION_TRIES && !wants.failed &&
        cold_load(e, &wants, retention_loaded, load, &err) == OK) {
        r->n_loads++;
        st->due_s = RETENTION_LOADING;
        return;
    }
    load->busy = false;
    r->stats.n_failed++;
    wants_fini(&wants, log_cache(e->log));
    retention_schedule(e, st, retention_now_s(e) + 1);
}

static void retention_loaded(struct engine *e, void *ctx, int rc)
{
    struct retention_load *load = ctx;
    struct stream *st = state_find_oid(&e->state, load->oid);

    load->busy = false;
    load->retention->n_loads--;
    if (st == NULL || st->due_s != RETENTION_LOADING)
        return;
    st->due_s = 0;
    if (rc == OK) {
        retention_do(e, st, load, load->tries);
        return;
    }
    e->retention->stats.n_failed++;
    err_set(&e->retention->stats.last_error, rc, "segments of stream %.*s: %s",
            (int)(stream_name(st).n < 100 ? stream_name(st).n : 100),
            (const char *)stream_name(st).p, err_text(rc));
    retention_schedule(e, st, retention_now_s(e) + RETENTION_FAILED_S);
}

/* ---- rounds ---- */

static void retention_walk_node(void *ctx, struct dict_node *node)
{
    struct object *o = (struct object *)(void *)node;

    if (o->type == OBJECT_STREAM)
        retention_changed(ctx, stream_of(o));
}

void retention_walk(struct engine *e)
{
    struct retention *r = e->retention;

    r->walking = e->state.n_objects > 0;
    r->db = 0;
    r->cursor = 0;
}

static void retention_walk_step(struct engine *e)
{
    struct retention *r = e->retention;

    for (int i = 0; i < RETENTION_BUCKETS && r->walking; i++) {
        r->cursor = dict_scan(&e->state.dbs[r->db].names, r->cursor, retention_walk_node, e);
        if (r->cursor != 0)
            continue;
        if (++r->db == CONFIG_DATABASES)
            r->walking = false;
    }
}

bool retention_step(struct engine *e)
{
    struct retention *r = e->retention;
    size_t left = RETENTION_SLICE;

    if (e->failed)
        return false;
    if (r->walking)
        retention_walk_step(e);
    while (left > 0 && r->n > 0 && r->n_loads < RETENTION_LOADS && r->again_ms <= e->now_ms &&
           r->heap[0].due_s <= retention_now_s(e)) {
        struct stream *st = retention_stream(e, r->heap[0]);

        retention_remove(r, 0);
        left--; /* a void one costs a lookup, too */
        if (st == NULL)
            continue;
        st->due_s = 0;
        retention_do(e, st, retention_free_load(r), 0);
    }
    return r->walking || left == 0;
}

uint64_t retention_next_ms(const struct engine *e)
{
    const struct retention *r = e->retention;
    uint64_t at;

    if (r->walking)
        return e->now_ms;
    if (r->n == 0 || r->n_loads == RETENTION_LOADS)
        return UINT64_MAX;
    at = e->started_ms + (uint64_t)(r->heap[0].due_s - 1) * 1000;
    return at > r->again_ms ? at : r->again_ms;
}

void retention_get_stats(const struct engine *e, struct retention_stats *out)
{
    *out = e->retention->stats;
    out->n_scheduled = e->retention->n;
    out->walking = e->retention->walking;
}

const char *retention_check(const struct engine *e)
{
    const struct retention *r = e->retention;
    size_t n_busy = 0;

    for (size_t i = 1; i < r->n; i++)
        if (retention_earlier(r->heap[i], r->heap[(i - 1) / 2]))
            return "the heap is in order";
    for (size_t i = 0; i < RETENTION_LOADS; i++)
        n_busy += r->loads[i].busy;
    return n_busy == r->n_loads ? NULL : "the number of loads";
}
