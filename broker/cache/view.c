/*
 * view.c - see view.h. The log has one stream of changes, for all databases and in a form of its own (change.h); beck:changes is a
 * way to look at it, and costs nothing until somebody looks.
 *
 *   the log's      { op db } key, "" meta, "" bytes ...           of any database
 *   shown          op, key, type, rev, [to], [values]              of one, by prefix
 *
 * What is shown does not depend on how a value happens to be written: elements put or removed, bytes patched, a new expiry
 * are all `set`, and what left nothing behind is `del` or `expire`, so that who keeps a copy of the keys keeps the right ones.
 * Who wants to keep the values as well asks for VALUES, where it says what is set, and what is removed:
 *
 *   a string         value (offset before it: these bytes from there on)
 *   a hash           field, value ...; removed: a field; whole: the hash is no more than this
 *   a list           position, value ...; removed: from to; whole
 *   an expiry        expires, in ms, 0: none; behind fields, of these
 *
 *   V1  view_shows and view_map look at nothing but the entry and the filter, so a change is shown the same at any time.
 *   V2  A change that concerns all keys (flush, swap) is in every view of its databases, one that moves a key in those of both
 *       names and both databases.
 */
#include "broker/cache/view.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "broker/engine/state.h"
#include "log/entry.h"

enum { VIEW_NUMBER_MAX = 48, VIEW_ROOM_MIN = 256 };

/* ---- filters ---- */

int view_filter_new(int db, struct slice prefix, bool values, struct view_filter **out,
                    struct err *e)
{
    struct view_filter *f = malloc(sizeof *f + prefix.n);

    if (f == NULL)
        return err_set(e, ERR_NOMEM, "a view of changes");
    atomic_init(&f->n_refs, 1);
    f->db = db;
    f->values = values;
    if (prefix.n > 0)
        memcpy(f + 1, prefix.p, prefix.n);
    f->prefix = slice_of(f + 1, prefix.n);
    *out = f;
    return OK;
}

struct view_filter *view_filter_ref(struct view_filter *f)
{
    if (f != NULL)
        atomic_fetch_add_explicit(&f->n_refs, 1, memory_order_relaxed);
    return f;
}

void view_filter_unref(struct view_filter *f)
{
    if (f != NULL && atomic_fetch_sub_explicit(&f->n_refs, 1, memory_order_acq_rel) == 1)
        free(f);
}

static bool view_has(const struct view_filter *f, int db, struct slice key)
{
    return db == f->db && key.n >= f->prefix.n &&
           (f->prefix.n == 0 || memcmp(key.p, f->prefix.p, f->prefix.n) == 0);
}

/* V2, for what concerns two keys or databases. */
static bool view_has_either(const struct view_filter *f, const uint8_t *entry)
{
    struct change x;

    if (change_read(entry, &x, NULL) != OK)
        return false;
    if (x.op == CHANGE_SWAP)
        return x.db == f->db || x.to_db == f->db;
    return view_has(f, x.db, x.key) || view_has(f, x.to_db, x.to);
}

bool view_shows_change(const struct view_filter *f, enum change_op op, int db, struct slice key,
                       const uint8_t *entry)
{
    switch (op) {
    case CHANGE_IMAGE: return false;
    case CHANGE_FLUSH: return db == CHANGE_DB_ALL || db == f->db;
    case CHANGE_SWAP:
    case CHANGE_RENAME: return view_has_either(f, entry);
    default: return view_has(f, db, key);
    }
}

bool view_shows(const struct view_filter *f, const uint8_t *entry)
{
    enum change_op op;
    struct slice key;
    int db;

    return change_peek(entry, &op, &db, &key) && view_shows_change(f, op, db, key, entry);
}

/* ---- words ---- */

const char *view_op(const struct change *x)
{
    switch (x->op) {
    case CHANGE_SET:
    case CHANGE_PUT:
    case CHANGE_PATCH:
    case CHANGE_TTL:
    case CHANGE_FIELD_TTL: return "set";
    case CHANGE_REMOVE: return x->gone ? "del" : "set";
    case CHANGE_EXPEL: return x->gone ? "expire" : "set";
    case CHANGE_DEL: return "del";
    case CHANGE_EXPIRE: return "expire";
    case CHANGE_EVICT: return "evict";
    case CHANGE_RENAME: return "rename";
    case CHANGE_FLUSH: return "flush";
    case CHANGE_SWAP: return "swap";
    default: return NULL;
    }
}

const char *view_type(const struct change *x)
{
    if (x->gone)
        return "none";
    if (x->op == CHANGE_PATCH)
        return "string";
    switch (x->type) {
    case OBJECT_STREAM: return "stream";
    case OBJECT_STRING: return "string";
    case OBJECT_HASH: return "hash";
    case OBJECT_LIST: return "list";
    default: return "none";
    }
}

/* ---- values ---- */

static void view_put_text(struct view_sink *sink, const char *name, const char *text)
{
    sink->each(sink, name, slice_str(text));
}

static void view_put_u64(struct view_sink *sink, const char *name, uint64_t v)
{
    char text[VIEW_NUMBER_MAX];

    snprintf(text, sizeof text, "%" PRIu64, v);
    view_put_text(sink, name, text);
}

static void view_put_place(struct view_sink *sink, const char *name, int64_t pos)
{
    char text[VIEW_NUMBER_MAX];

    snprintf(text, sizeof text, "%" PRId64, pos);
    view_put_text(sink, name, text);
}

static void view_put_removed(struct view_sink *sink, unsigned type, const struct element *el)
{
    char text[VIEW_NUMBER_MAX];

    if (type == OBJECT_HASH) {
        sink->each(sink, "removed", el->field);
        return;
    }
    snprintf(text, sizeof text, "%" PRId64 " %" PRId64, el->pos, el->to);
    view_put_text(sink, "removed", text);
}

static void view_put_element(struct view_sink *sink, unsigned type, const struct element *el)
{
    if (type == OBJECT_HASH)
        sink->each(sink, "field", el->field);
    else
        view_put_place(sink, "position", el->pos);
    sink->each(sink, "value", el->value);
    if (el->expiry_ms != 0)
        view_put_u64(sink, "expires", el->expiry_ms);
}

/* A whole hash or list, as cache/value.h has it. */
static bool view_put_whole(struct view_sink *sink, const struct change *x)
{
    const uint8_t *p = x->value.p, *end = p + x->value.n;
    struct element el = { 0 };
    uint64_t n, step;

    if (!varint_get(&p, end, &n))
        return false;
    view_put_text(sink, "whole", "yes");
    for (; n > 0; n--) {
        if (x->type == OBJECT_HASH ? !slice_get(&p, end, &el.field) : !varint_get(&p, end, &step))
            return false;
        if (x->type == OBJECT_LIST)
            el.pos = (int64_t)((uint64_t)el.pos + (step >> 1 ^ (0 - (step & 1))));
        if (!slice_get(&p, end, &el.value) ||
            (x->type == OBJECT_HASH && !varint_get(&p, end, &el.expiry_ms)))
            return false;
        view_put_element(sink, x->type, &el);
    }
    return p == end;
}

static void view_put_elements(struct view_sink *sink, const struct change *x, const uint8_t *entry)
{
    struct change_at at;
    struct element el;

    change_begin(entry, &at);
    while (change_next(&at, x, &el)) {
        if (x->op == CHANGE_PUT)
            view_put_element(sink, x->type, &el);
        else if (x->op == CHANGE_FIELD_TTL)
            sink->each(sink, "field", el.field);
        else
            view_put_removed(sink, x->type, &el);
    }
    sink->failed |= at.bad;
}

void view_values(const struct change *x, const uint8_t *entry, struct view_sink *sink)
{
    switch (x->op) {
    case CHANGE_PATCH:
        view_put_u64(sink, "offset", x->offset);
        sink->each(sink, "value", x->value);
        break;
    case CHANGE_SET:
        if (x->type == OBJECT_STRING)
            sink->each(sink, "value", x->value);
        else
            sink->failed |= !view_put_whole(sink, x);
        break;
    case CHANGE_PUT:
    case CHANGE_REMOVE:
    case CHANGE_EXPEL:
    case CHANGE_FIELD_TTL: view_put_elements(sink, x, entry); break;
    default: break;
    }
    if (x->op == CHANGE_TTL || x->op == CHANGE_FIELD_TTL ||
        (x->op == CHANGE_SET && x->expiry_ms != 0))
        view_put_u64(sink, "expires", x->expiry_ms);
}

/* ---- the entry ---- */

struct view_entry {
    struct view_sink sink; /* must be first */
    uint8_t *p;            /* NULL: it is measured only */
    size_t bytes;
    uint64_t n_pairs;
};

/* A view_sink.each. */
static void view_add(struct view_sink *sink, const char *name, struct slice value)
{
    struct view_entry *out = (struct view_entry *)(void *)sink; /* its first member */
    struct slice word = slice_str(name);

    if (out->p != NULL)
        out->p = slice_put(slice_put(out->p, word), value);
    out->bytes += slice_size(word) + slice_size(value);
    out->n_pairs++;
}

/* Where it went: the other name, or the other database. */
static void view_put_to(struct view_sink *sink, const struct view_filter *f, const struct change *x)
{
    if (x->op == CHANGE_SWAP) {
        view_put_u64(sink, "to", (uint64_t)(x->db == f->db ? x->to_db : x->db));
        return;
    }
    sink->each(sink, "to", x->to);
    if (x->db == x->to_db)
        return;
    if (f->db == x->db)
        view_put_u64(sink, "to-db", (uint64_t)x->to_db);
    else
        view_put_u64(sink, "from-db", (uint64_t)x->db);
}

static void view_put(struct view_sink *sink, const struct view_filter *f, const struct change *x,
                     struct id id, const uint8_t *entry)
{
    view_put_text(sink, "op", view_op(x));
    sink->each(sink, "key", x->key);
    view_put_text(sink, "type", view_type(x));
    view_put_u64(sink, "rev", id.seq);
    if (x->op == CHANGE_RENAME || x->op == CHANGE_SWAP)
        view_put_to(sink, f, x);
    if (f->values)
        view_values(x, entry, sink);
}

static int view_make_room(struct view_room *r, size_t n, struct err *e)
{
    size_t cap = r->cap == 0 ? VIEW_ROOM_MIN : r->cap;
    uint8_t *p;

    if (n <= r->cap)
        return OK;
    while (cap < n)
        cap *= 2;
    p = realloc(r->p, cap);
    if (p == NULL)
        return err_set(e, ERR_NOMEM, "no memory for a change of %zu bytes", n);
    r->p = p;
    r->cap = cap;
    return OK;
}

void view_room_fini(struct view_room *r)
{
    free(r->p);
    *r = (struct view_room){ 0 };
}

int view_map(const struct view_filter *f, const uint8_t *entry, struct view_room *room,
             const uint8_t **out, size_t *len, struct err *e)
{
    struct view_entry measure = { .sink = { .each = view_add } }, put = measure;
    struct change x;
    struct id id;
    size_t head;
    int rc = change_read(entry, &x, e);

    if (rc != OK)
        return rc;
    entry_id(entry, &id);
    view_put(&measure.sink, f, &x, id, entry);
    if (measure.sink.failed)
        return err_set(e, ERR_CORRUPT, "change %" PRIu64 " has a value that does not fit its type",
                       id.seq);
    head = id_size(id) + varint_size(measure.n_pairs);
    rc = view_make_room(room, head + measure.bytes, e);
    if (rc != OK)
        return rc;
    put.p = varint_put(id_put(room->p, id), measure.n_pairs);
    view_put(&put.sink, f, &x, id, entry);
    assert(put.p == room->p + head + measure.bytes); /* V1 */
    *out = room->p;
    *len = head + measure.bytes;
    return OK;
}
