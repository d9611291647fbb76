/*
 * changes.c - see changes.h.
 *
 * The log has one stream of changes (change.h). Each database has a view of it, beck:changes, and one for each
 * `changes-view`, beck:changes:NAME. A view is a struct stream that is in the table by oid only, so records of groups find it, and
 * in no dictionary of names: changes_find is asked where a name is looked up and no key has it. (So a key that had such a name before
 * the setting was made hides the view until it is deleted.)
 *
 *   oid           16 + db of a database's own; the LSN of its RECORD_VIEW of another one, which is also where it begins
 *   sealed_last   as high as can be, so nobody looks for its entries in a tail
 *   floor         where the history begins, or the view
 *   n_entries, entries_added, last_id     counted as changes are added
 *
 *   RECORD_HISTORY   id first, n          changes below `first` (n of them since the store began) are no history any more
 *   RECORD_VIEW      1, db, str name, u8 values, str prefix      a view is made
 *                    0, oid                                       it is gone
 *
 * Names come from the configuration and are not in the log: they are a way to address what is there.
 *
 * The floor moves by a record, since what is dropped below it, and what groups lose, has to be the same for whoever
 * replays the log. It moves at the end of a round, once a second at most.
 *
 *   X1  A view's numbers are those of history.h: n_entries is history_n, last_id and entries_added are v->last and v->n.
 *   X2  A view's object has the place of its database, whatever was swapped; its generation does not count.
 *   X3  What a checkpoint has of the history is the first thing in it, so as_of is not above that of any group of a view.
 */
#include "broker/cache/changes.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "broker/engine/blocking.h"
#include "broker/engine/reply.h"
#include "broker/engine/transaction.h"
#include "log/record.h"

enum {
    CHANGES_GONE = 0,
    CHANGES_MADE = 1,
    CHANGES_NAME_MAX = 1024, /* of a stream, on the stack; longer ones get memory */
    CHANGES_RECORD = 4 * VARINT_MAX + 64,
    CHANGES_SAVED_MARK = 4 * VARINT_MAX,
    CHANGES_SAVED_POINT = 3 * VARINT_MAX,
    CHANGES_SAVED_HEAD = 12 * VARINT_MAX
};

/* ---- names ---- */

static struct slice changes_key(const struct state *s)
{
    return s->history->key;
}

bool changes_is_name(const struct state *s, struct slice name)
{
    struct slice key;

    if (s->history == NULL || (key = changes_key(s)).n == 0 || name.n < key.n ||
        memcmp(name.p, key.p, key.n) != 0)
        return false;
    return name.n == key.n || name.p[key.n] == ':';
}

static struct history_view *changes_find_view(const struct history *h, int db, struct slice name)
{
    struct history_view *v = h->views[db];

    while (v != NULL && !slice_equal(v->name, name))
        v = v->next;
    return v;
}

struct object *changes_find(const struct state *s, int db, struct slice name)
{
    const struct history_view *v;
    size_t skip;

    if (!changes_is_name(s, name))
        return NULL;
    skip = changes_key(s).n + (name.n > changes_key(s).n);
    if (name.n == skip && name.n > changes_key(s).n)
        return NULL; /* "beck:changes:" */
    v = changes_find_view(s->history, db, slice_of(name.p + skip, name.n - skip));
    return v == NULL ? NULL : &v->st->object;
}

/* What a view is called: the caller's to free. */
static int changes_full_name(struct slice key, struct slice name, struct slice *out, struct err *e)
{
    size_t n = key.n + (name.n > 0) + name.n;
    uint8_t *p = malloc(n + 1);

    if (p == NULL)
        return err_set(e, ERR_NOMEM, "the name of a view of changes");
    if (key.n > 0)
        memcpy(p, key.p, key.n);
    if (name.n > 0) {
        p[key.n] = ':';
        memcpy(p + key.n + 1, name.p, name.n);
    }
    *out = slice_of(p, n);
    return OK;
}

/* The history has a copy of it. */
static int changes_keep_key(struct history *h, struct slice key, struct err *e)
{
    uint8_t *copy = malloc(key.n + 1);

    if (copy == NULL)
        return err_set(e, ERR_NOMEM, "the name of the stream of changes");
    bytes_copy(copy, key.p, key.n);
    free(h->own_key);
    h->own_key = copy;
    h->key = slice_of(copy, key.n);
    return OK;
}

int changes_set_key(struct state *s, struct slice key, struct err *e)
{
    struct slice name;
    int rc = changes_keep_key(s->history, key, e);

    for (int db = 0; db < CONFIG_DATABASES; db++)
        for (struct history_view *v = s->history->views[db]; v != NULL && rc == OK; v = v->next) {
            struct object *o = &v->st->object;

            rc = changes_full_name(key, v->name, &name, e);
            if (rc != OK)
                return rc;
            rc = state_claim(s, o, db, name, 0, o->rev, e);
            free((void *)(uintptr_t)name.p);
            v->st->rules_version = 0; /* another pattern may match */
        }
    return rc;
}

/* ---- views ---- */

struct changes_what { /* a view to be made */
    uint64_t oid;
    int db;
    struct slice name, prefix;
    bool values;
    struct id start;
};

/* The stream of a view that nobody sees yet. */
static int changes_new_stream(struct state *s, const struct changes_what *w, struct stream **out,
                              struct err *e)
{
    struct slice name;
    int rc = changes_full_name(changes_key(s), w->name, &name, e);

    if (rc != OK)
        return rc;
    rc = state_reserve_stream(s, name, out, e);
    free((void *)(uintptr_t)name.p);
    if (rc != OK)
        return rc;
    (*out)->oid = w->oid;
    object_set_rev(&(*out)->object, w->oid);
    (*out)->object.db = s->place[w->db] & 15u;
    (*out)->sealed_last = ID_MAX;
    rc = state_prepare_remove(s, *out, 0, e); /* it has more */
    if (rc != OK)
        state_discard_stream(*out);
    return rc;
}

static int changes_make(struct state *s, const struct changes_what *w, struct history_view **out,
                        struct err *e)
{
    struct view_filter *filter = NULL;
    struct stream *st = NULL;
    struct history_view *v;
    int rc = view_filter_new(w->db, w->prefix, w->values, &filter, e);

    if (rc == OK)
        rc = changes_new_stream(s, w, &st, e);
    if (rc == OK) {
        rc = history_view_new(st, filter, w->name, w->start, &v, e);
        if (rc != OK)
            state_discard_stream(st);
    }
    view_filter_unref(filter); /* the view has it */
    if (rc != OK)
        return rc;
    st->more->view = v;
    history_add_view(s->history, v);
    st->more->floor = history_first(s->history, v);
    state_add_nameless(s, st);
    *out = v;
    return OK;
}

static void changes_drop(struct state *s, struct history_view *v)
{
    struct stream *st = v->st;

    history_take_view(s->history, v);
    history_view_free(v);
    st->more->view = NULL;
    st->n_entries = 0; /* none of its own */
    state_drop(s, &st->object);
}

int changes_open(struct state *s, struct slice key, struct err *e)
{
    struct history_view *v;
    int rc;

    s->history = malloc(sizeof *s->history);
    if (s->history == NULL)
        return err_set(e, ERR_NOMEM, "the history of changes");
    history_init(s->history);
    rc = changes_keep_key(s->history, key, e);
    for (int db = 0; db < CONFIG_DATABASES && rc == OK; db++) {
        struct changes_what w = { .oid = CHANGES_OID + (uint64_t)db, .db = db };
        rc = changes_make(s, &w, &v, e);
    }
    return rc;
}

void changes_close(struct state *s)
{
    if (s->history == NULL)
        return;
    for (int db = 0; db < CONFIG_DATABASES; db++)
        for (struct history_view *v = s->history->views[db]; v != NULL; v = v->next)
            v->st->more->view = NULL;
    history_fini(s->history);
    free(s->history->own_key);
    free(s->history);
    s->history = NULL;
}

void changes_swapped(struct state *s, int a, int b)
{
    const int dbs[] = { a, b };

    for (size_t i = 0; s->history != NULL && i < 2; i++)
        for (struct history_view *v = s->history->views[dbs[i]]; v != NULL; v = v->next)
            v->st->object.db = s->place[dbs[i]] & 15u; /* X2 */
}

/* ---- counting ---- */

/* See history_added. */
static void changes_counted(void *ctx, struct history_view *v, struct id id)
{
    const struct state *s = ctx;
    struct stream *st = v->st;

    if (s->highest_always == id.seq) /* the record that was just appended */
        st->always_lsn = id.seq;
    state_before_groups(ctx, st); /* its header changes */
    st->n_entries++;
    st->entries_added++;
    st->last_id = id;
    groups_entry_added(stream_groups(st), id, id.seq);
}

void changes_added(struct state *s, struct id id, const uint8_t *entry, size_t len)
{
    if (s->history != NULL && id.seq > s->history->as_of)
        history_added(s->history, id, entry, len, changes_counted, s);
}

/* ---- the floor ---- */

/* About how many bytes of what the floor passes are no value's. */
static uint64_t changes_garbage(const struct state *s, size_t mark)
{
    const struct history_mark *from = &s->history->marks[0], *to = &s->history->marks[mark];
    uint64_t n = to->n - from->n, live = liveset_count(&s->live, from->id.seq, to->id.seq - 1);

    return n == 0 || live >= n ? 0 : (to->bytes - from->bytes) / n * (n - live);
}

/* What each group has not been given and will not be: told by BECK GROUP, since the start. */
static void changes_count_lost(struct groups *gs, struct id last_lost, uint64_t lost, uint64_t lsn)
{
    for (size_t i = 0; i < groups_n(gs); i++) {
        struct group *g = groups_at(gs, i);

        if (g->as_of < lsn && id_cmp(g->last_id, last_lost) < 0)
            g->n_lost += lost - (g->n_behind < lost ? g->n_behind : lost);
    }
}

static void changes_cut(struct state *s, struct history_view *v, size_t mark, uint64_t lsn)
{
    uint64_t lost = history_lost(s->history, v, mark);
    struct stream *st = v->st;

    if (lost == 0)
        return;
    state_before_groups(s, st);
    changes_count_lost(stream_groups(st), v->points[mark].last, lost, lsn);
    groups_entries_cut(stream_groups(st), s->history->marks[mark].id, lost, lost == st->n_entries,
                       lsn);
    st->n_entries -= lost;
}

static void changes_move(struct state *s, size_t mark, uint64_t lsn)
{
    struct history *h = s->history;
    uint64_t garbage = changes_garbage(s, mark);

    for (int db = 0; db < CONFIG_DATABASES; db++)
        for (struct history_view *v = h->views[db]; v != NULL; v = v->next)
            changes_cut(s, v, mark, lsn);
    history_move(h, mark);
    for (int db = 0; db < CONFIG_DATABASES; db++)
        for (struct history_view *v = h->views[db]; v != NULL; v = v->next)
            v->st->more->floor = history_first(h, v);
    state_set_changes_floor(s, history_floor(h), garbage);
}

/* ---- a start ---- */

static int changes_corrupt(const struct log_record *r, const char *what, struct err *e)
{
    return err_set(e, ERR_CORRUPT, "record %" PRIu64 " of type %u: %s", r->lsn, r->type, what);
}

int changes_replay_history(struct state *s, const struct log_record *r, struct err *e)
{
    const uint8_t *p = r->body, *end = p + r->len;
    struct id first;
    uint64_t n;
    size_t mark;

    if (!id_get(&p, end, &first) || !varint_get(&p, end, &n) || p != end)
        return changes_corrupt(r, "it does not say where the history begins", e);
    if (s->history == NULL || r->lsn <= s->history->as_of)
        return OK;
    mark = history_find(s->history, first);
    if (mark == SIZE_MAX || s->history->marks[mark].n != n)
        return changes_corrupt(r, "the history cannot begin there", e);
    changes_move(s, mark, r->lsn);
    return OK;
}

static int changes_read_what(const struct log_record *r, const uint8_t *p, const uint8_t *end,
                             struct changes_what *out, struct err *e)
{
    uint64_t db, values;

    *out = (struct changes_what){ .oid = r->lsn, .start = { r->clock >> 16, r->lsn } };
    if (!varint_get(&p, end, &db) || !slice_get(&p, end, &out->name) ||
        !varint_get(&p, end, &values) || !slice_get(&p, end, &out->prefix) || p != end)
        return changes_corrupt(r, "a view of changes is cut short", e);
    if (db >= CONFIG_DATABASES || values > 1 || out->name.n == 0 || out->name.n > VIEW_NAME_MAX ||
        out->prefix.n > VIEW_PREFIX_MAX)
        return changes_corrupt(r, "there can be no such view of changes", e);
    out->db = (int)db;
    out->values = values == 1;
    return OK;
}

static int changes_replay_made(struct state *s, const struct log_record *r, const uint8_t *p,
                               const uint8_t *end, struct err *e)
{
    struct history_view *v;
    struct changes_what w;
    int rc = changes_read_what(r, p, end, &w, e);

    if (rc != OK || s->history == NULL || r->lsn <= s->history->as_of)
        return rc;
    if (changes_find_view(s->history, w.db, w.name) != NULL)
        return changes_corrupt(r, "the view of changes is there already", e);
    return changes_make(s, &w, &v, e);
}

static int changes_replay_gone(struct state *s, const struct log_record *r, const uint8_t *p,
                               const uint8_t *end, struct err *e)
{
    struct stream *st;
    uint64_t oid;

    if (!varint_get(&p, end, &oid) || p != end || oid < LOG_FIRST_LSN)
        return changes_corrupt(r, "it does not say which view of changes is gone", e);
    if (s->history == NULL || r->lsn <= s->history->as_of)
        return OK;
    st = state_find_oid(s, oid);
    if (st == NULL || changes_view(st) == NULL)
        return changes_corrupt(r, "there is no such view of changes", e);
    changes_drop(s, changes_view(st));
    return OK;
}

int changes_replay_view(struct state *s, const struct log_record *r, struct err *e)
{
    const uint8_t *p = r->body, *end = p + r->len;
    uint64_t what;

    if (!varint_get(&p, end, &what) || what > CHANGES_MADE)
        return changes_corrupt(r, "neither made nor gone", e);
    return what == CHANGES_MADE ? changes_replay_made(s, r, p, end, e)
                                : changes_replay_gone(s, r, p, end, e);
}

void changes_replayed(struct state *s)
{
    if (s->history == NULL)
        return;
    s->history->as_of = 0;
    s->history->changed = 0;
    for (int db = 0; db < CONFIG_DATABASES; db++)
        changes_swapped(s, db, db); /* the checkpoint may say so */
}

/* ---- checkpoints ---- */

/*
 *   history   spacing, n, bytes, id last, n_marks, n times (id, n, bytes), n_views, n times view
 *   view      oid, db, str name, u8 values, str prefix, id start, id last, n, for each mark (id last, n)
 */
static size_t changes_n_views(const struct history *h)
{
    size_t n = 0;

    for (int db = 0; db < CONFIG_DATABASES; db++)
        for (const struct history_view *v = h->views[db]; v != NULL; v = v->next)
            n++;
    return n;
}

size_t changes_save_max(const struct state *s)
{
    const struct history *h = s->history;
    size_t view =
        CHANGES_SAVED_HEAD + VIEW_NAME_MAX + VIEW_PREFIX_MAX + h->n_marks * CHANGES_SAVED_POINT;

    return CHANGES_SAVED_HEAD + h->n_marks * CHANGES_SAVED_MARK + changes_n_views(h) * view;
}

void changes_save_begin(struct state *s)
{
    for (int db = 0; s->history != NULL && db < CONFIG_DATABASES; db++)
        for (struct history_view *v = s->history->views[db]; v != NULL; v = v->next)
            v->is_saved = false;
}

bool changes_is_saved(const struct stream *st)
{
    return changes_view(st)->is_saved;
}

static uint8_t *changes_save_view(uint8_t *p, const struct history *h, struct history_view *v)
{
    p = varint_put(varint_put(p, v->st->oid), (uint64_t)v->filter->db);
    p = varint_put(slice_put(p, v->name), v->filter->values);
    p = id_put(id_put(slice_put(p, v->filter->prefix), v->start), v->last);
    p = varint_put(p, v->n);
    for (size_t i = 0; i < h->n_marks; i++)
        p = varint_put(id_put(p, v->points[i].last), v->points[i].n);
    v->is_saved = true;
    return p;
}

uint8_t *changes_save(struct state *s, uint8_t *p)
{
    struct history *h = s->history;

    p = varint_put(varint_put(varint_put(p, h->spacing), h->n), h->bytes);
    p = varint_put(id_put(p, h->last), h->n_marks);
    for (size_t i = 0; i < h->n_marks; i++)
        p = varint_put(varint_put(id_put(p, h->marks[i].id), h->marks[i].n), h->marks[i].bytes);
    p = varint_put(p, changes_n_views(h));
    for (int db = 0; db < CONFIG_DATABASES; db++)
        for (struct history_view *v = h->views[db]; v != NULL; v = v->next)
            p = changes_save_view(p, h, v);
    return p;
}

static int changes_bad_save(struct err *e, const char *what)
{
    return err_set(e, ERR_CORRUPT, "checkpoint, the history of changes: %s", what);
}

static int changes_load_marks(struct history *h, const uint8_t **p, const uint8_t *end,
                              struct err *e)
{
    uint64_t n;

    if (!varint_get(p, end, &h->spacing) || !varint_get(p, end, &h->n) ||
        !varint_get(p, end, &h->bytes) || !id_get(p, end, &h->last) || !varint_get(p, end, &n))
        return changes_bad_save(e, "a number is cut short");
    if (n > HISTORY_MARKS_MAX || h->spacing < 1 || h->spacing > INT64_MAX)
        return changes_bad_save(e, "it cannot have so many marks");
    for (h->n_marks = 0; h->n_marks < n; h->n_marks++) {
        struct history_mark *m = &h->marks[h->n_marks];

        if (!id_get(p, end, &m->id) || !varint_get(p, end, &m->n) || !varint_get(p, end, &m->bytes))
            return changes_bad_save(e, "a mark is cut short");
        if (m->n > h->n || m->bytes > h->bytes || id_cmp(m->id, h->last) > 0)
            return changes_bad_save(e, "a mark lies behind all changes");
    }
    return OK;
}

/* The view of that oid: there, or made. */
static int changes_load_which(struct state *s, const struct changes_what *w,
                              struct history_view **out, struct err *e)
{
    struct stream *st = state_find_oid(s, w->oid);

    if (st != NULL && changes_view(st) != NULL && w->oid < LOG_FIRST_LSN) {
        *out = changes_view(st);
        return w->db == (*out)->filter->db && w->name.n == 0
                   ? OK
                   : changes_bad_save(e, "a view of another database");
    }
    if (st != NULL || w->oid < LOG_FIRST_LSN || w->name.n == 0 ||
        changes_find_view(s->history, w->db, w->name) != NULL)
        return changes_bad_save(e, "a view that cannot be");
    return changes_make(s, w, out, e);
}

static int changes_load_numbers(struct history *h, struct history_view *v, uint64_t as_of,
                                const uint8_t **p, const uint8_t *end, struct err *e)
{
    struct stream *st = v->st;

    if (!id_get(p, end, &v->last) || !varint_get(p, end, &v->n))
        return changes_bad_save(e, "a view is cut short");
    for (size_t i = 0; i < h->n_marks; i++)
        if (!id_get(p, end, &v->points[i].last) || !varint_get(p, end, &v->points[i].n))
            return changes_bad_save(e, "a view is cut short");
    if (v->n > h->n || id_cmp(v->last, h->last) > 0 || (h->n_marks > 0 && v->points[0].n > v->n))
        return changes_bad_save(e, "a view has more than there is");
    st->last_id = v->last;
    st->entries_added = v->n;
    st->n_entries = history_n(h, v);
    st->always_lsn = as_of; /* what a checkpoint has is durable */
    return OK;
}

static int changes_load_view(struct state *s, uint64_t as_of, const uint8_t **p, const uint8_t *end,
                             struct err *e)
{
    struct changes_what w = { .oid = 0 };
    struct history_view *v = NULL;
    uint64_t db, values;
    int rc;

    if (!varint_get(p, end, &w.oid) || !varint_get(p, end, &db) || !slice_get(p, end, &w.name) ||
        !varint_get(p, end, &values) || !slice_get(p, end, &w.prefix) || !id_get(p, end, &w.start))
        return changes_bad_save(e, "a view is cut short");
    if (db >= CONFIG_DATABASES || values > 1 || w.name.n > VIEW_NAME_MAX ||
        w.prefix.n > VIEW_PREFIX_MAX || w.oid > as_of)
        return changes_bad_save(e, "a view that cannot be");
    w.db = (int)db;
    w.values = values == 1;
    rc = changes_load_which(s, &w, &v, e);
    return rc == OK ? changes_load_numbers(s->history, v, as_of, p, end, e) : rc;
}

int changes_load(struct state *s, uint64_t as_of, const uint8_t **p, const uint8_t *end,
                 struct err *e)
{
    struct history *h = s->history;
    uint64_t n = 0;
    int rc;

    if (h == NULL || h->as_of != 0)
        return changes_bad_save(e, "it comes twice");
    rc = changes_load_marks(h, p, end, e);
    if (rc == OK && !varint_get(p, end, &n))
        rc = changes_bad_save(e, "a number is cut short");
    for (; rc == OK && n > 0; n--)
        rc = changes_load_view(s, as_of, p, end, e);
    if (rc != OK)
        return rc;
    h->as_of = as_of;
    for (int db = 0; db < CONFIG_DATABASES; db++)
        for (struct history_view *v = h->views[db]; v != NULL; v = v->next)
            v->st->more->floor = history_first(h, v);
    if (history_check(h) != NULL)
        return changes_bad_save(e, history_check(h));
    state_set_changes_floor(s, history_floor(h), 0);
    /* Where they lie is not saved: in segments, but for those that the log has and that are not in one. */
    if (id_cmp(h->last, s->changes_sealed_last) > 0)
        s->changes_sealed_last = h->last;
    return OK;
}

/* ---- the engine: the floor ---- */

static void changes_move_floor(struct engine *e, size_t mark)
{
    const struct history_mark *m = &e->state.history->marks[mark];
    uint64_t lsn;
    uint8_t *p;

    if (log_reserve(e->log, CHANGES_RECORD, NULL) != OK)
        return; /* tried again in the next round */
    p = engine_append(e, NULL, RECORD_HISTORY, LOG_OS, id_size(m->id) + varint_size(m->n), &lsn);
    varint_put(id_put(p, m->id), m->n);
    changes_move(&e->state, mark, lsn);
    e->state.history->moved_ms = e->now_ms;
}

static void changes_turn_floor(struct engine *e)
{
    struct history *h = e->state.history;
    size_t mark;

    if (h->n_marks < 2 || (h->moved_ms != 0 && e->now_ms - h->moved_ms < CHANGES_TURN_MS))
        return;
    mark = history_due(h, e->now_ms, (uint64_t)e->config->cache_history_age_ms,
                       e->config->cache_history_bytes);
    if (mark > 0)
        changes_move_floor(e, mark);
}

/* ---- the engine: views ---- */

static const struct view_rule *changes_rule(const struct engine *e, const struct history_view *v)
{
    const struct view_rules *rules = &e->config->changes_views;

    for (size_t i = 0; i < rules->n; i++) {
        const struct view_rule *r = &rules->rules[i];
        if (slice_equal(v->name, slice_str(r->name)))
            return slice_equal(v->filter->prefix, slice_str(r->prefix)) &&
                           r->values == v->filter->values
                       ? r
                       : NULL;
    }
    return NULL;
}

static bool changes_remove_view(struct engine *e, struct history_view *v)
{
    struct stream *st = v->st;
    uint64_t lsn;
    uint8_t *p;

    if (log_reserve(e->log, CHANGES_RECORD, NULL) != OK)
        return false;
    p = engine_append(e, NULL, RECORD_VIEW, LOG_OS, 1 + varint_size(st->oid), &lsn);
    varint_put(varint_put(p, CHANGES_GONE), st->oid);
    engine_key_changed(e, v->filter->db, stream_name(st));
    changes_drop(&e->state, v);
    return true;
}

static bool changes_add_view(struct engine *e, int db, const struct view_rule *r)
{
    struct changes_what w = { .oid = log_last_lsn(e->log) + 1, /* what the record will get */
                              .db = db,
                              .name = slice_str(r->name),
                              .prefix = slice_str(r->prefix),
                              .values = r->values };
    struct history_view *v;
    uint64_t lsn;
    uint8_t *p;

    w.start = (struct id){ e->now_ms, w.oid };
    if (log_reserve(e->log, CHANGES_RECORD + VIEW_NAME_MAX + VIEW_PREFIX_MAX, NULL) != OK ||
        changes_make(&e->state, &w, &v, NULL) != OK)
        return false;
    p = engine_append(e, NULL, RECORD_VIEW, LOG_OS, 3 + slice_size(w.name) + slice_size(w.prefix),
                      &lsn);
    assert(lsn == w.oid);
    p = slice_put(varint_put(varint_put(p, CHANGES_MADE), (uint64_t)db), w.name);
    slice_put(varint_put(p, w.values), w.prefix);
    engine_key_changed(e, db, stream_name(v->st));
    return true;
}

/* Of one database: what is to go goes, what is to be is made. False: not all of it could be done. */
static bool changes_turn_views(struct engine *e, int db)
{
    const struct view_rules *rules = &e->config->changes_views;
    struct history *h = e->state.history;
    struct history_view *next;

    for (struct history_view *v = h->views[db]->next; v != NULL; v = next) {
        next = v->next;
        if (changes_rule(e, v) == NULL && !changes_remove_view(e, v))
            return false;
    }
    for (size_t i = 0; i < rules->n; i++)
        if (changes_find_view(h, db, slice_str(rules->rules[i].name)) == NULL &&
            !changes_add_view(e, db, &rules->rules[i]))
            return false;
    return true;
}

void changes_turn(struct engine *e)
{
    struct history *h = e->state.history;

    if (e->failed)
        return;
    changes_turn_floor(e);
    for (; h->next_db < CONFIG_DATABASES; h->next_db++)
        if (!changes_turn_views(e, h->next_db))
            return;
}

void changes_config_changed(struct engine *e, const char *key)
{
    struct err err;

    if (strcmp(key, "changes-view") == 0)
        e->state.history->next_db = 0;
    if (strcmp(key, "changes-key") == 0 &&
        changes_set_key(&e->state, config_changes_key(e->config), &err) != OK)
        engine_complain(e, "changes-key: %s", err.text);
}

/* ---- the engine: who reads, and who must not write ---- */

void changes_signal_all(struct engine *e)
{
    struct history *h = e->state.history;

    for (; h->changed != 0; h->changed &= h->changed - 1) {
        int db = __builtin_ctz(h->changed);

        for (struct history_view *v = h->views[db]; v != NULL; v = v->next) {
            if (v->n_told == v->n)
                continue;
            v->n_told = v->n;
            if (changes_key(&e->state).n > 0) {
                transaction_key_changed(e, db, stream_name(v->st));
                blocking_ready(e->blocking, db, stream_name(v->st));
            }
        }
    }
}

static bool changes_refuse_key(struct engine *e, struct client *c, const struct command *command,
                               struct slice key)
{
    if (!changes_is_name(&e->state, key) || state_find(&e->state, c->db, key) != NULL)
        return false;
    if (command->flags & CMD_OF_GROUPS && changes_find(&e->state, c->db, key) != NULL)
        return false;
    reply_error(c,
                "ERR '%.*s' is a name of the stream of changes, which can only be read (see "
                "changes-key)",
                (int)(key.n < 128 ? key.n : 128), (const char *)key.p);
    return true;
}

/* Of commands whose keys are told by a function. */
static bool changes_refuse_movable(struct engine *e, struct client *c,
                                   const struct command *command, const struct slice *argv,
                                   size_t argc)
{
    size_t *at = malloc(argc * sizeof *at), n;
    bool refused = false;

    if (at == NULL) {
        reply_error(c, "OOM no memory for the keys of a command");
        return true;
    }
    n = command_keys(command, argv, argc, at);
    for (size_t i = 0; i < n && !refused; i++)
        refused = changes_refuse_key(e, c, command, argv[at[i]]);
    free(at);
    return refused;
}

bool changes_refuse_any(struct engine *e, struct client *c, const struct command *command,
                        const struct slice *argv, size_t argc)
{
    int last = command->last_key < 0 ? (int)argc + command->last_key : command->last_key;

    if (command->get_keys != NULL || command->key_count_at > 0)
        return changes_refuse_movable(e, c, command, argv, argc);
    for (int i = command->first_key; i > 0 && i <= last && (size_t)i < argc; i += command->key_step)
        if (changes_refuse_key(e, c, command, argv[i]))
            return true;
    return false;
}

bool changes_is_behind(struct client *c, const struct stream *st, struct id after, bool inclusive)
{
    const struct history_view *v = st == NULL ? NULL : changes_view(st);
    char text[ID_TEXT_MAX];
    struct id lost;
    int cmp;

    if (v == NULL || id_cmp(after, ID_MIN) == 0)
        return false;
    lost = history_last_lost(((const struct engine *)c->engine)->state.history, v);
    cmp = id_cmp(after, lost);
    if (inclusive ? cmp > 0 : cmp >= 0)
        return false;
    reply_error(c, "ERR BEHIND %.*s", (int)id_format(stream_floor(st), text), text);
    return true;
}

const char *changes_check(const struct state *s)
{
    const struct history *h = s->history;

    if (h == NULL)
        return NULL;
    for (int db = 0; db < CONFIG_DATABASES; db++)
        for (const struct history_view *v = h->views[db]; v != NULL; v = v->next) {
            const struct stream *st = v->st;
            if (st->n_entries != history_n(h, v) || st->entries_added != v->n ||
                id_cmp(st->last_id, v->last) != 0)
                return "X1: a view counts differently than the history";
            if (state_db_of(s, &st->object) != db)
                return "X2: a view is in another database";
        }
    return history_check(h);
}
