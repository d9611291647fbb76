/*
 * history.c - see history.h.
 *
 *     floor                                             now
 *       |        |        |        |        |    |
 *       m0       m1       m2       m3       m4            marks, a MiB of changes apart
 *   n:  812      905      905      951      990           entries of one view before each
 *
 * Between m1 and m2 this view has nothing: whoever looks for its entries goes from one to the other without reading what
 * lies between. It has as many entries as there are now, less 812. When the floor moves to m2, 93 are gone, and that without
 * any of them being looked at. A reader that has seen the last one before the floor has lost nothing, however far back
 * that was: the points have that ID, too.
 *
 * Marks follow from the changes alone, so a replay makes the same ones. What a checkpoint has of them is as of a record.
 *
 *   H1  Marks ascend, by ID and bytes; the first change behind marks[i] has its ID. Without a change there is no mark.
 *   H2  A view's points ascend as well, and do not exceed what it has: v->n, v->last.
 *   H3  Two marks are `spacing` bytes apart at least.
 */
#include "broker/cache/history.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

void history_init(struct history *h)
{
    *h = (struct history){ .spacing = HISTORY_MARK_BYTES };
}

void history_fini(struct history *h)
{
    for (int db = 0; db < CONFIG_DATABASES; db++)
        while (h->views[db] != NULL) {
            struct history_view *v = h->views[db];
            h->views[db] = v->next;
            history_view_free(v);
        }
}

/* ---- views ---- */

int history_view_new(struct stream *st, struct view_filter *filter, struct slice name,
                     struct id start, struct history_view **out, struct err *e)
{
    struct history_view *v = calloc(1, sizeof *v + name.n);

    if (v == NULL || (v->points = calloc(HISTORY_MARKS_MAX, sizeof *v->points)) == NULL) {
        free(v);
        return err_set(e, ERR_NOMEM, "a view of changes");
    }
    v->st = st;
    v->filter = view_filter_ref(filter);
    v->start = start;
    if (name.n > 0)
        memcpy(v + 1, name.p, name.n);
    v->name = slice_of(v + 1, name.n);
    *out = v;
    return OK;
}

void history_view_free(struct history_view *v)
{
    if (v == NULL)
        return;
    view_filter_unref(v->filter);
    free(v->points);
    free(v);
}

void history_add_view(struct history *h, struct history_view *v)
{
    struct history_view **at = &h->views[v->filter->db];

    while (*at != NULL)
        at = &(*at)->next;
    v->next = NULL;
    *at = v;
}

void history_take_view(struct history *h, struct history_view *v)
{
    struct history_view **at = &h->views[v->filter->db];

    while (*at != v)
        at = &(*at)->next;
    *at = v->next;
    v->next = NULL;
}

/* ---- marks ---- */

/* Each other mark goes, but not the first. */
static void history_thin(struct history *h)
{
    size_t n = (h->n_marks + 1) / 2;

    for (size_t i = 1; i < n; i++)
        h->marks[i] = h->marks[2 * i];
    for (int db = 0; db < CONFIG_DATABASES; db++)
        for (struct history_view *v = h->views[db]; v != NULL; v = v->next)
            for (size_t i = 1; i < n; i++)
                v->points[i] = v->points[2 * i];
    h->n_marks = n;
    h->spacing *= 2;
}

static void history_mark(struct history *h, struct id id)
{
    if (h->n_marks == HISTORY_MARKS_MAX)
        history_thin(h);
    if (h->n_marks > 0 && h->bytes - h->marks[h->n_marks - 1].bytes < h->spacing)
        return;
    h->marks[h->n_marks] = (struct history_mark){ .id = id, .n = h->n, .bytes = h->bytes };
    for (int db = 0; db < CONFIG_DATABASES; db++)
        for (struct history_view *v = h->views[db]; v != NULL; v = v->next)
            v->points[h->n_marks] = (struct history_point){ .last = v->last, .n = v->n };
    h->n_marks++;
}

/* The databases that a change may be shown in: bits. */
static uint32_t history_concerns(enum change_op op, int db)
{
    if (op == CHANGE_RENAME || op == CHANGE_SWAP || db == CHANGE_DB_ALL)
        return (1u << CONFIG_DATABASES) - 1;
    return 1u << db;
}

void history_added(struct history *h, struct id id, const uint8_t *entry, size_t len,
                   void (*counted)(void *ctx, struct history_view *v, struct id id), void *ctx)
{
    uint32_t concerned = 0;
    enum change_op op;
    struct slice key;
    int db;

    if (h->n_marks == 0 || h->bytes - h->marks[h->n_marks - 1].bytes >= h->spacing)
        history_mark(h, id);
    if (change_peek(entry, &op, &db, &key))
        concerned = history_concerns(op, db);
    for (; concerned != 0; concerned &= concerned - 1) {
        int at = __builtin_ctz(concerned);

        for (struct history_view *v = h->views[at]; v != NULL; v = v->next) {
            if (!view_shows_change(v->filter, op, db, key, entry))
                continue;
            v->n++;
            v->last = id;
            h->changed |= 1u << at;
            counted(ctx, v, id);
        }
    }
    h->n++;
    h->bytes += len;
    h->last = id;
}

struct id history_floor(const struct history *h)
{
    return h->n_marks > 0 && h->marks[0].n > 0 ? h->marks[0].id : ID_MIN;
}

size_t history_due(const struct history *h, uint64_t now_ms, uint64_t age_ms, uint64_t bytes)
{
    size_t i = 0;

    while (i + 1 < h->n_marks) {
        const struct history_mark *next = &h->marks[i + 1];
        bool old = next->id.ms < now_ms && now_ms - next->id.ms > age_ms;

        if (!old && h->bytes - next->bytes < bytes)
            break;
        i++;
    }
    return i;
}

size_t history_find(const struct history *h, struct id id)
{
    for (size_t i = 0; i < h->n_marks; i++)
        if (id_cmp(h->marks[i].id, id) == 0)
            return i;
    return SIZE_MAX;
}

void history_move(struct history *h, size_t mark)
{
    size_t left = h->n_marks - mark;

    memmove(h->marks, h->marks + mark, left * sizeof h->marks[0]);
    for (int db = 0; db < CONFIG_DATABASES; db++)
        for (struct history_view *v = h->views[db]; v != NULL; v = v->next)
            memmove(v->points, v->points + mark, left * sizeof v->points[0]);
    h->n_marks = left;
}

/* ---- what a view has ---- */

uint64_t history_lost(const struct history *h, const struct history_view *v, size_t mark)
{
    return h->n_marks == 0 ? 0 : v->points[mark].n - v->points[0].n;
}

uint64_t history_n(const struct history *h, const struct history_view *v)
{
    return h->n_marks == 0 ? 0 : v->n - v->points[0].n;
}

struct id history_last_lost(const struct history *h, const struct history_view *v)
{
    return h->n_marks == 0 ? ID_MIN : v->points[0].last;
}

struct id history_first(const struct history *h, const struct history_view *v)
{
    struct id floor = history_floor(h);
    return id_cmp(floor, v->start) < 0 ? v->start : floor;
}

/* The part that an ID lies in: from which mark on; there is one. An ID before all lies in the first. */
static size_t history_at(const struct history *h, struct id id)
{
    size_t low = 0, high = h->n_marks;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;

        if (id_cmp(h->marks[middle].id, id) <= 0)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* How many entries the view has before part i. */
static uint64_t history_before(const struct history *h, const struct history_view *v, size_t i)
{
    return i < h->n_marks ? v->points[i].n : v->n;
}

static struct id history_end(const struct history *h, size_t i)
{
    return i + 1 < h->n_marks ? h->marks[i + 1].id : ID_MAX;
}

bool history_part(const struct history *h, const struct history_view *v, struct id *id,
                  struct id *end)
{
    size_t i = h->n_marks == 0 || id_cmp(*id, v->last) > 0 ? h->n_marks : history_at(h, *id);

    for (; i < h->n_marks; i++) {
        if (history_before(h, v, i) == history_before(h, v, i + 1))
            continue;
        if (id_cmp(*id, h->marks[i].id) < 0)
            *id = h->marks[i].id;
        *end = history_end(h, i);
        return true;
    }
    return false;
}

bool history_part_back(const struct history *h, const struct history_view *v, struct id *id,
                       struct id *begin)
{
    size_t i = h->n_marks == 0 || id_cmp(*id, h->marks[0].id) < 0 ? 0 : history_at(h, *id) + 1;

    for (; i > 0; i--) {
        struct id last = history_end(h, i - 1);

        if (history_before(h, v, i - 1) == history_before(h, v, i))
            continue;
        if (id_cmp(last, ID_MAX) != 0)
            id_prev(&last);
        if (id_cmp(last, *id) < 0)
            *id = last;
        *begin = h->marks[i - 1].id;
        return true;
    }
    return false;
}

uint64_t history_behind(const struct history *h, const struct history_view *v, struct id id,
                        struct id *end)
{
    size_t i = h->n_marks == 0 ? 0 : history_at(h, id);

    *end = history_end(h, i);
    return v->n - history_before(h, v, i + 1);
}

static void history_narrow_back(const struct history *h, const struct history_view *v,
                                uint64_t count, struct id *from, struct id to)
{
    size_t at = history_at(h, to), i = at;

    while (i > 0 && v->points[at].n - v->points[i].n < count)
        i--;
    if (v->points[at].n - v->points[i].n >= count && id_cmp(*from, h->marks[i].id) < 0)
        *from = h->marks[i].id;
}

void history_narrow(const struct history *h, const struct history_view *v, uint64_t count,
                    bool backwards, struct id *from, struct id *to)
{
    size_t begin, i;

    if (h->n_marks == 0 || count == UINT64_MAX)
        return;
    if (backwards) {
        history_narrow_back(h, v, count, from, *to);
        return;
    }
    begin = i = history_at(h, *from) + 1;
    while (i < h->n_marks && v->points[i].n - v->points[begin].n < count)
        i++;
    if (i < h->n_marks && id_cmp(h->marks[i].id, *to) <= 0) {
        *to = h->marks[i].id;
        id_prev(to);
    }
}

/* ---- looking at everything ---- */

static const char *history_check_view(const struct history *h, const struct history_view *v)
{
    for (size_t i = 0; i < h->n_marks; i++) {
        if (v->points[i].n > history_before(h, v, i + 1))
            return "H2: a view has fewer entries than before";
        if (id_cmp(v->points[i].last, v->last) > 0)
            return "H2: a view had an entry above its last one";
    }
    return NULL;
}

const char *history_check(const struct history *h)
{
    const char *broken = NULL;

    for (size_t i = 1; i < h->n_marks; i++) {
        if (id_cmp(h->marks[i - 1].id, h->marks[i].id) >= 0)
            return "H1: marks do not ascend";
        if (h->marks[i].bytes - h->marks[i - 1].bytes < h->spacing / 2)
            return "H3: marks are too near";
    }
    for (int db = 0; db < CONFIG_DATABASES && broken == NULL; db++)
        for (struct history_view *v = h->views[db]; v != NULL && broken == NULL; v = v->next)
            broken = history_check_view(h, v);
    return broken;
}
