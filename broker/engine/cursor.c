/*
 * cursor.c - walks a stream's two parts as one.
 *
 *   segments: entries up to sealed_last     tail: the rest
 *   [ a  b  c  d  e  f ]                    [ g  h  i ]
 *                     ^ reader               ^ pos
 *
 * The tail is in memory always, the other part only where the block cache has it. What is missing is noted for the
 * workers, or, where nobody can wait any more, read on the spot; then only from the first miss on, so that what is counted is
 * what was really missing.
 */
#include "broker/engine/cursor.h"
#include <inttypes.h>
#include "broker/engine/cold.h"
#include "log/entry.h"

const struct stream_index *cursor_tail(const struct engine *e, const struct stream *st)
{
    return changes_view(st) != NULL ? e->state.changes : st->tail;
}

struct id cursor_sealed_last(const struct engine *e, const struct stream *st)
{
    return changes_view(st) != NULL ? e->state.changes_sealed_last : st->sealed_last;
}

static void cursor_begin(struct cursor *c, struct engine *e, const struct stream *st,
                         enum cursor_mode mode)
{
    *c = (struct cursor){ .engine = e, .st = st, .mode = mode, .view = changes_view(st) };
    c->tail = cursor_tail(e, st);
    c->sealed_last = cursor_sealed_last(e, st);
    c->pos = stream_index_end(c->tail);
    c->from = c->view != NULL ? history_first(e->state.history, c->view) : ID_MIN;
    c->to = ID_MAX;
}

void cursor_open(struct cursor *c, struct engine *e, const struct stream *st, enum cursor_mode mode,
                 struct wants *wants)
{
    cursor_begin(c, e, st, mode);
    c->has_sealed = cold_get_sealed(e, st, &c->sealed);
    if (c->has_sealed)
        cold_reader(e, &c->sealed, wants, false, &c->reader);
}

void cursor_open_tail(struct cursor *c, struct engine *e, const struct stream *st)
{
    cursor_begin(c, e, st, CURSOR_RESIDENT);
}

void cursor_narrow(struct cursor *c, struct id from, struct id to)
{
    if (id_cmp(from, c->from) > 0)
        c->from = from;
    if (id_cmp(to, c->to) < 0)
        c->to = to;
    if (!c->has_sealed)
        return;
    if (id_cmp(from, c->sealed.floor) > 0)
        c->sealed.floor = from;
    if (id_cmp(to, c->sealed.last) < 0)
        c->sealed.last = to;
}

void cursor_close(struct cursor *c)
{
    view_room_fini(&c->room);
    if (!c->has_sealed)
        return;
    reader_fini(&c->reader);
    sealed_fini(&c->sealed);
    c->has_sealed = false;
}

/* Whether an operation of the reader that ended with `rc` is to be tried again, reading on the spot. */
static bool cursor_goes_on(struct cursor *c, int rc)
{
    if (rc != ERR_COLD || c->mode != CURSOR_ON_THE_SPOT || c->spot)
        return false;
    c->spot = true;
    reader_fini(&c->reader);
    cold_reader(c->engine, &c->sealed, NULL, true, &c->reader);
    return true;
}

static int cursor_reader_seek(struct cursor *c, struct id id, bool back, struct err *e)
{
    int rc;

    do
        rc = back ? reader_seek_back(&c->reader, id, e) : reader_seek(&c->reader, id, e);
    while (cursor_goes_on(c, rc));
    return rc;
}

static int cursor_take_sealed(struct cursor *c, int rc)
{
    c->entry = rc == OK ? reader_at(&c->reader, &c->len) : NULL;
    c->in_sealed = c->entry != NULL;
    return rc;
}

static void cursor_take_tail(struct cursor *c)
{
    c->entry = stream_index_at(c->tail, c->pos);
    c->in_sealed = false;
}

/* ---- from entry to entry, whatever they are ---- */

static int cursor_go(struct cursor *c, struct id id, struct err *e)
{
    int rc;

    if (c->has_sealed && id_cmp(id, c->sealed_last) <= 0) {
        rc = cursor_take_sealed(c, cursor_reader_seek(c, id, false, e));
        if (rc != OK || c->entry != NULL)
            return rc;
    }
    c->pos = stream_index_seek(c->tail, id);
    cursor_take_tail(c);
    return OK;
}

/* To the last sealed entry up to `id`. */
static int cursor_back_into_sealed(struct cursor *c, struct id id, struct err *e)
{
    c->entry = NULL;
    return c->has_sealed ? cursor_take_sealed(c, cursor_reader_seek(c, id, true, e)) : OK;
}

static int cursor_go_back(struct cursor *c, struct id id, struct err *e)
{
    struct id behind = id;

    c->pos = id_next(&behind) ? stream_index_seek(c->tail, behind) : stream_index_end(c->tail);
    if (!stream_index_prev(c->tail, &c->pos))
        return cursor_back_into_sealed(c, id, e);
    cursor_take_tail(c);
    return OK;
}

/* The reader moves on from the entry that the cursor is at. */
static int cursor_reader_step(struct cursor *c, bool back, struct err *e)
{
    struct id id;
    int rc;

    entry_id(c->entry, &id);
    rc = back ? reader_prev(&c->reader, e) : reader_next(&c->reader, e);
    if (!cursor_goes_on(c, rc))
        return rc;
    if (back ? !id_prev(&id) : !id_next(&id))
        return OK; /* a reader that has not been moved is at no entry */
    return cursor_reader_seek(c, id, back, e);
}

static int cursor_step(struct cursor *c, struct err *e)
{
    int rc;

    if (!c->in_sealed) {
        stream_index_next(c->tail, &c->pos);
        cursor_take_tail(c);
        return OK;
    }
    rc = cursor_take_sealed(c, cursor_reader_step(c, false, e));
    if (rc != OK || c->entry != NULL)
        return rc;
    c->pos = stream_index_begin(c->tail);
    cursor_take_tail(c);
    return OK;
}

static int cursor_step_back(struct cursor *c, struct err *e)
{
    if (c->in_sealed)
        return cursor_take_sealed(c, cursor_reader_step(c, true, e));
    if (!stream_index_prev(c->tail, &c->pos))
        return cursor_back_into_sealed(c, c->sealed_last, e);
    cursor_take_tail(c);
    return OK;
}

/* ---- views of changes ---- */

static struct id cursor_id(const struct cursor *c)
{
    struct id id;

    entry_id(c->entry, &id);
    return id;
}

static bool cursor_shows(const struct cursor *c)
{
    return view_shows(c->view->filter, c->entry);
}

/* The change that the cursor is at becomes the entry that stands for it; one that is beyond what is of interest, none. */
static int cursor_show(struct cursor *c, struct err *e)
{
    struct id id = cursor_id(c);
    int rc = OK;

    if (id_cmp(id, c->from) < 0 || id_cmp(id, c->to) > 0)
        c->entry = NULL;
    else
        rc = view_map(c->view->filter, c->entry, &c->room, &c->entry, &c->len, e);
    if (rc != OK)
        c->entry = NULL;
    c->has_shown = true;
    return rc;
}

/* One more change is passed over. */
static int cursor_pass(struct cursor *c, struct err *e)
{
    if (c->has_shown && c->mode == CURSOR_RESIDENT && ++c->n_passed > CURSOR_PASSES_MAX)
        return err_set(e, ERR_TOO_BIG, "too many changes lie between two of the view");
    return OK;
}

/* On from the change that it is at, to one that is shown, or to the first at or behind `end`. */
static int cursor_pass_to(struct cursor *c, struct id end, struct err *e)
{
    int rc = OK;

    while (rc == OK && c->entry != NULL && id_cmp(cursor_id(c), end) < 0 && !cursor_shows(c)) {
        rc = cursor_pass(c, e);
        if (rc == OK)
            rc = cursor_step(c, e);
    }
    return rc;
}

/* The same backwards, to the first before `begin`. */
static int cursor_pass_back_to(struct cursor *c, struct id begin, struct err *e)
{
    int rc = OK;

    while (rc == OK && c->entry != NULL && id_cmp(cursor_id(c), begin) >= 0 && !cursor_shows(c)) {
        rc = cursor_pass(c, e);
        if (rc == OK)
            rc = cursor_step_back(c, e);
    }
    return rc;
}

/* The first entry of the view at or behind `id`. */
static int cursor_search(struct cursor *c, struct id id, struct err *e)
{
    struct id end;
    int rc = OK;

    if (id_cmp(id, c->from) < 0)
        id = c->from;
    while (rc == OK && history_part(c->engine->state.history, c->view, &id, &end) &&
           id_cmp(id, c->to) <= 0) {
        rc = cursor_go(c, id, e);
        if (rc == OK)
            rc = cursor_pass_to(c, end, e);
        if (rc == OK && c->entry != NULL && cursor_shows(c))
            return cursor_show(c, e);
        if (id_cmp(end, ID_MAX) == 0)
            break;
        id = end;
    }
    c->entry = NULL;
    return rc;
}

/* The last one at or before it. */
static int cursor_search_back(struct cursor *c, struct id id, struct err *e)
{
    struct id begin;
    int rc = OK;

    if (id_cmp(id, c->to) > 0)
        id = c->to;
    while (rc == OK && id_cmp(id, c->from) >= 0 &&
           history_part_back(c->engine->state.history, c->view, &id, &begin)) {
        rc = cursor_go_back(c, id, e);
        if (rc == OK)
            rc = cursor_pass_back_to(c, begin, e);
        if (rc == OK && c->entry != NULL && cursor_shows(c))
            return cursor_show(c, e);
        id = begin;
        if (!id_prev(&id))
            break;
    }
    c->entry = NULL;
    return rc;
}

/* Goes on from a step that led to a change, or to the end. */
static int cursor_stepped(struct cursor *c, int rc, bool back, struct err *e)
{
    if (rc != OK || c->entry == NULL)
        return rc;
    if (cursor_shows(c))
        return cursor_show(c, e);
    return back ? cursor_search_back(c, cursor_id(c), e) : cursor_search(c, cursor_id(c), e);
}

/* ---- for those who look ---- */

int cursor_seek(struct cursor *c, struct id id, struct err *e)
{
    return c->view != NULL ? cursor_search(c, id, e) : cursor_go(c, id, e);
}

int cursor_seek_back(struct cursor *c, struct id id, struct err *e)
{
    return c->view != NULL ? cursor_search_back(c, id, e) : cursor_go_back(c, id, e);
}

int cursor_next(struct cursor *c, struct err *e)
{
    int rc = cursor_step(c, e);
    return c->view != NULL ? cursor_stepped(c, rc, false, e) : rc;
}

int cursor_prev(struct cursor *c, struct err *e)
{
    int rc = cursor_step_back(c, e);
    return c->view != NULL ? cursor_stepped(c, rc, true, e) : rc;
}

static int cursor_edge_id(struct engine *e, const struct stream *st, enum cursor_mode mode,
                          struct wants *wants, bool last, struct id *out, struct err *err)
{
    struct id id = ID_MIN;
    struct cursor c;
    int rc;

    cursor_open(&c, e, st, mode, wants);
    rc = last ? cursor_seek_back(&c, ID_MAX, err) : cursor_seek(&c, ID_MIN, err);
    if (rc == OK && cursor_at(&c) != NULL)
        entry_id(cursor_at(&c), &id);
    cursor_close(&c);
    if (rc == OK)
        *out = id;
    return rc;
}

int cursor_first_id(struct engine *e, const struct stream *st, enum cursor_mode mode,
                    struct wants *wants, struct id *out, struct err *err)
{
    return cursor_edge_id(e, st, mode, wants, false, out, err);
}

int cursor_top_id(struct engine *e, const struct stream *st, enum cursor_mode mode,
                  struct wants *wants, struct id *out, struct err *err)
{
    return cursor_edge_id(e, st, mode, wants, true, out, err);
}

/* ---- counting ---- */

static uint64_t cursor_count_tail(const struct stream *st, struct id from, struct id to)
{
    struct stream_pos first = stream_index_seek(st->tail, from);
    struct stream_pos end =
        id_next(&to) ? stream_index_seek(st->tail, to) : stream_index_end(st->tail);

    return stream_index_between(st->tail, first, end);
}

static int cursor_count_sealed(struct cursor *c, struct id from, struct id to, uint64_t *out,
                               struct err *e)
{
    uint64_t n = 0, bytes;
    int rc = OK;

    if (c->has_sealed) {
        do
            rc = reader_count(&c->reader, from, to, UINT64_MAX, &n, &bytes, e);
        while (cursor_goes_on(c, rc));
    }
    if (rc == OK && n > stream_n_sealed(c->st))
        rc = err_set(e, ERR_CORRUPT,
                     "stream %" PRIu64 " has more entries in segments than it counts", c->st->oid);
    if (rc == OK)
        *out = n;
    return rc;
}

/* How many entries of the view lie at or behind `id`: those in its part are looked at. */
static int cursor_count_behind(struct cursor *c, struct id id, uint64_t *out, struct err *e)
{
    struct id end;
    uint64_t n = 0;
    int rc;

    *out = 0;
    if (id_cmp(id, c->from) <= 0) {
        *out = c->st->n_entries;
        return OK;
    }
    if (!history_part(c->engine->state.history, c->view, &id, &end))
        return OK;
    *out = history_behind(c->engine->state.history, c->view, id, &end);
    c->has_shown = false; /* a part is not too much */
    rc = cursor_search(c, id, e);
    while (rc == OK && c->entry != NULL && id_cmp(cursor_id(c), end) < 0) {
        n++;
        c->has_shown = false;
        rc = cursor_next(c, e);
    }
    *out += n;
    return rc;
}

static int cursor_count_view(struct cursor *c, struct id from, struct id to, uint64_t *out,
                             struct err *e)
{
    uint64_t n = 0, n_beyond = 0;
    int rc = cursor_count_behind(c, from, &n, e);

    if (rc == OK && id_next(&to))
        rc = cursor_count_behind(c, to, &n_beyond, e);
    if (rc == OK)
        *out = n - n_beyond;
    return rc;
}

int cursor_count(struct engine *e, const struct stream *st, struct id from, struct id to,
                 enum cursor_mode mode, struct wants *wants, uint64_t *out, struct err *err)
{
    bool whole = id_cmp(from, stream_floor(st)) <= 0 && id_cmp(to, st->sealed_last) >= 0;
    uint64_t n = 0;
    struct cursor c;
    int rc = OK;

    if (id_cmp(from, to) > 0) {
        *out = 0;
        return OK;
    }
    if (changes_view(st) != NULL) {
        cursor_open(&c, e, st, mode, wants);
        rc = cursor_count_view(&c, from, to, out, err);
        cursor_close(&c);
        return rc;
    }
    if (whole) {
        n = stream_n_sealed(st);
    } else if (stream_n_sealed(st) > 0 && id_cmp(from, st->sealed_last) <= 0) {
        cursor_open(&c, e, st, mode, wants);
        rc = cursor_count_sealed(&c, from, to, &n, err);
        cursor_close(&c);
    }
    if (rc == OK)
        *out = n + cursor_count_tail(st, from, to);
    return rc;
}
