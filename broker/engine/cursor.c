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

void cursor_open(struct cursor *c, struct engine *e, const struct stream *st, enum cursor_mode mode,
                 struct wants *wants)
{
    *c = (struct cursor){ .engine = e, .st = st, .mode = mode };
    c->pos = stream_index_end(st->tail);
    c->has_sealed = cold_get_sealed(e, st, &c->sealed);
    if (c->has_sealed)
        cold_reader(e, &c->sealed, wants, false, &c->reader);
}

void cursor_open_tail(struct cursor *c, struct engine *e, const struct stream *st)
{
    *c = (struct cursor){ .engine = e, .st = st, .pos = stream_index_end(st->tail) };
}

void cursor_narrow(struct cursor *c, struct id from, struct id to)
{
    if (!c->has_sealed)
        return;
    if (id_cmp(from, c->sealed.floor) > 0)
        c->sealed.floor = from;
    if (id_cmp(to, c->sealed.last) < 0)
        c->sealed.last = to;
}

void cursor_close(struct cursor *c)
{
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
    c->entry = stream_index_at(c->st->tail, c->pos);
    c->in_sealed = false;
}

int cursor_seek(struct cursor *c, struct id id, struct err *e)
{
    int rc;

    if (c->has_sealed && id_cmp(id, c->st->sealed_last) <= 0) {
        rc = cursor_take_sealed(c, cursor_reader_seek(c, id, false, e));
        if (rc != OK || c->entry != NULL)
            return rc;
    }
    c->pos = stream_index_seek(c->st->tail, id);
    cursor_take_tail(c);
    return OK;
}

/* To the last sealed entry up to `id`. */
static int cursor_back_into_sealed(struct cursor *c, struct id id, struct err *e)
{
    c->entry = NULL;
    return c->has_sealed ? cursor_take_sealed(c, cursor_reader_seek(c, id, true, e)) : OK;
}

int cursor_seek_back(struct cursor *c, struct id id, struct err *e)
{
    struct id behind = id;

    c->pos =
        id_next(&behind) ? stream_index_seek(c->st->tail, behind) : stream_index_end(c->st->tail);
    if (!stream_index_prev(c->st->tail, &c->pos))
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

int cursor_next(struct cursor *c, struct err *e)
{
    int rc;

    if (!c->in_sealed) {
        stream_index_next(c->st->tail, &c->pos);
        cursor_take_tail(c);
        return OK;
    }
    rc = cursor_take_sealed(c, cursor_reader_step(c, false, e));
    if (rc != OK || c->entry != NULL)
        return rc;
    c->pos = stream_index_begin(c->st->tail);
    cursor_take_tail(c);
    return OK;
}

int cursor_prev(struct cursor *c, struct err *e)
{
    if (c->in_sealed)
        return cursor_take_sealed(c, cursor_reader_step(c, true, e));
    if (!stream_index_prev(c->st->tail, &c->pos))
        return cursor_back_into_sealed(c, c->st->sealed_last, e);
    cursor_take_tail(c);
    return OK;
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
