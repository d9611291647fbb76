/*
 * saved.c - values as a checkpoint has them.
 *
 *   value   type | db << 4, flags, str name, rev, [back LSN], [expiry], [stale until], what the flags say
 *             1 BACKED    size: a record of the log has it, rev or
 *             2 BACK      the one whose LSN is given
 *             4 EXPIRES   and
 *             8 STALE     have the times with them
 *            16 WHOLE     str contents, as cache/value.h has them
 *   piece   type | db << 4, str name, elements: for each a byte 1, and behind the last one a byte 0
 *             string      offset, str bytes
 *             hash        str field, str value, expiry
 *             list        zigzag position, str value
 *
 * A backed value is a few numbers, whatever its size, and cold after a start. One that is in memory only has its contents with
 * it; if they are many, in pieces that follow, each of the moment at which it was made. They may be newer than the value's
 * revision: then the records of what happened meanwhile come, which are absolute, and put everything right.
 */
#include "broker/cache/saved.h"
#include "broker/cache/effect.h"
#include "broker/cache/value.h"
#include "broker/engine/replay.h"

enum saved_flags {
    SAVED_BACKED = 1,
    SAVED_BACK = 2,
    SAVED_EXPIRES = 4,
    SAVED_STALE = 8,
    SAVED_WHOLE = 16,
    SAVED_FLAGS = 31
};

enum { SAVED_HEAD_MAX = 3 + 7 * VARINT_MAX };

static inline uint64_t saved_zigzag(int64_t v)
{
    return v < 0 ? ~((uint64_t)v << 1) : (uint64_t)v << 1;
}

static inline int64_t saved_unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1 ^ (0 - (v & 1)));
}

/* ---- writing ---- */

/* Bytes of the contents of a hot value; SIZE_MAX if they are certainly too many. */
static size_t saved_contents_size(const struct object *o, size_t whole)
{
    size_t memory = o->type == OBJECT_HASH   ? hash_bytes(object_pointer(o))
                    : o->type == OBJECT_LIST ? list_bytes(object_pointer(o))
                                             : object_size(o);

    if (memory / 4 > whole)
        return SIZE_MAX;
    return o->type == OBJECT_HASH   ? value_hash_size(object_pointer(o))
           : o->type == OBJECT_LIST ? value_list_size(object_pointer(o))
                                    : memory;
}

static uint8_t *saved_put_contents(uint8_t *p, const struct object *o, size_t n)
{
    if (o->type == OBJECT_STRING)
        return slice_put(p, object_string(o));
    p = varint_put(p, n);
    return o->type == OBJECT_HASH ? value_put_hash(p, object_pointer(o))
                                  : value_put_list(p, object_pointer(o));
}

static unsigned saved_flags(const struct object *o, size_t contents, size_t whole)
{
    return (o->flags & OBJECT_BACKED ? SAVED_BACKED : 0u) |
           (o->flags & OBJECT_BACKED && object_back_lsn(o) != o->rev ? SAVED_BACK : 0u) |
           (o->expiry_ms != 0 ? SAVED_EXPIRES : 0u) | (object_stale_ms(o) != 0 ? SAVED_STALE : 0u) |
           (!(o->flags & OBJECT_BACKED) && contents <= whole ? SAVED_WHOLE : 0u);
}

bool saved_put_value(struct log_buffer *out, int db, struct object *o, size_t whole)
{
    size_t contents = o->flags & OBJECT_BACKED ? SIZE_MAX : saved_contents_size(o, whole);
    unsigned flags = saved_flags(o, contents, whole);
    uint8_t *p = log_buffer_grow(out, SAVED_HEAD_MAX + object_name(o).n +
                                          (flags & SAVED_WHOLE ? contents : 0));

    if (p == NULL)
        return false;
    *p++ = (uint8_t)(o->type | (unsigned)db << 4);
    *p++ = (uint8_t)flags;
    p = varint_put(slice_put(p, object_name(o)), o->rev);
    if (flags & SAVED_BACK)
        p = varint_put(p, object_back_lsn(o));
    if (flags & SAVED_EXPIRES)
        p = varint_put(p, o->expiry_ms);
    if (flags & SAVED_STALE)
        p = varint_put(p, object_stale_ms(o));
    if (flags & SAVED_BACKED)
        p = varint_put(p, object_size(o));
    if (flags & SAVED_WHOLE)
        p = saved_put_contents(p, o, contents);
    out->n = (size_t)(p - out->p);
    return !(flags & (SAVED_BACKED | SAVED_WHOLE));
}

static void saved_put_field(void *ctx, const struct hash_field *f)
{
    struct log_buffer *out = ctx;
    uint8_t *p = log_buffer_grow(out, 1 + 3 * VARINT_MAX + f->field.n + f->value.n);

    if (p == NULL)
        return;
    *p++ = 1;
    p = varint_put(slice_put(slice_put(p, f->field), f->value), f->expiry_ms);
    out->n = (size_t)(p - out->p);
}

static bool saved_put_fields(struct log_buffer *out, struct hash *h, struct saved_place *at,
                             size_t limit)
{
    do
        at->cursor = hash_scan(h, at->cursor, saved_put_field, out);
    while (at->cursor != 0 && out->n < limit && !out->failed);
    return at->cursor != 0;
}

static bool saved_put_elements(struct log_buffer *out, const struct list *l, struct saved_place *at,
                               size_t limit)
{
    struct list_at i;
    bool more = list_seek_pos(l, at->begun ? at->pos : INT64_MIN, &i);

    for (; more && out->n < limit; more = list_next(l, &i)) {
        uint8_t *p = log_buffer_grow(out, 1 + 2 * VARINT_MAX + i.value.n);
        if (p == NULL)
            return false;
        *p++ = 1;
        p = slice_put(varint_put(p, saved_zigzag(i.pos)), i.value);
        out->n = (size_t)(p - out->p);
    }
    at->pos = more ? i.pos : at->pos;
    at->begun = true;
    return more;
}

static bool saved_put_bytes(struct log_buffer *out, struct slice string, struct saved_place *at,
                            size_t bytes)
{
    size_t n = at->cursor >= string.n ? 0 : string.n - (size_t)at->cursor;
    uint8_t *p;

    if (n > bytes)
        n = bytes;
    p = log_buffer_grow(out, 1 + 2 * VARINT_MAX + n);
    if (p == NULL || n == 0)
        return false;
    *p++ = 1;
    p = slice_put(varint_put(p, at->cursor), slice_of(string.p + at->cursor, n));
    out->n = (size_t)(p - out->p);
    at->cursor += n;
    return at->cursor < string.n;
}

bool saved_put_piece(struct log_buffer *out, int db, struct object *o, struct saved_place *at,
                     size_t bytes)
{
    size_t limit = out->n + bytes;
    uint8_t *p = log_buffer_grow(out, SAVED_HEAD_MAX + object_name(o).n);
    bool more;

    if (p == NULL)
        return false;
    *p++ = (uint8_t)(o->type | (unsigned)db << 4);
    out->n = (size_t)(slice_put(p, object_name(o)) - out->p);
    if (o->type == OBJECT_HASH)
        more = saved_put_fields(out, object_pointer(o), at, limit);
    else if (o->type == OBJECT_LIST)
        more = saved_put_elements(out, object_pointer(o), at, limit);
    else
        more = saved_put_bytes(out, object_string(o), at, bytes);
    p = log_buffer_grow(out, 1);
    if (p != NULL)
        out->p[out->n++] = 0;
    return more && !out->failed;
}

/* ---- loading ---- */

struct saved_reader {
    struct state *s;
    const uint8_t *p, *end;
    struct err *e;
};

static int saved_corrupt(const struct saved_reader *in, const char *what)
{
    return err_set(in->e, ERR_CORRUPT, "a value of the checkpoint: %s", what);
}

static int saved_get(struct saved_reader *in, uint64_t *out)
{
    return varint_get(&in->p, in->end, out) ? OK : saved_corrupt(in, "a number is cut short");
}

static int saved_get_slice(struct saved_reader *in, struct slice *out)
{
    return slice_get(&in->p, in->end, out) ? OK : saved_corrupt(in, "a string is cut short");
}

/* Type, database and name; flags if they are wanted. */
static int saved_get_head(struct saved_reader *in, enum object_type *type, int *db, unsigned *flags,
                          struct slice *name)
{
    size_t n = flags != NULL ? 2 : 1;

    if ((size_t)(in->end - in->p) < n)
        return saved_corrupt(in, "its beginning is cut short");
    *type = (enum object_type)(in->p[0] & 15);
    *db = in->p[0] >> 4;
    if (flags != NULL)
        *flags = in->p[1];
    in->p += n;
    if (*type != OBJECT_STRING && *type != OBJECT_HASH && *type != OBJECT_LIST)
        return saved_corrupt(in, "there is no such type");
    if (flags != NULL && (*flags > SAVED_FLAGS || (*flags & SAVED_BACKED && *flags & SAVED_WHOLE) ||
                          (*flags & SAVED_BACK && !(*flags & SAVED_BACKED))))
        return saved_corrupt(in, "flags that do not fit");
    return saved_get_slice(in, name);
}

static int saved_get_numbers(struct saved_reader *in, unsigned flags, uint64_t as_of,
                             struct state_value *v)
{
    int rc = saved_get(in, &v->rev);

    if (rc == OK && flags & SAVED_BACK)
        rc = saved_get(in, &v->back_lsn);
    if (rc == OK && flags & SAVED_EXPIRES)
        rc = saved_get(in, &v->expiry_ms);
    if (rc == OK && flags & SAVED_STALE)
        rc = saved_get(in, &v->stale_ms);
    if (rc != OK)
        return rc;
    if (v->rev < LOG_FIRST_LSN || v->rev > as_of || v->back_lsn > as_of ||
        (flags & SAVED_BACK && v->back_lsn < LOG_FIRST_LSN) || v->expiry_ms > OBJECT_EXPIRY_MAX ||
        v->stale_ms > OBJECT_EXPIRY_MAX)
        return saved_corrupt(in, "numbers that no value can have");
    return OK;
}

/* What the value is, or that nothing is in it yet. */
static int saved_get_contents(struct saved_reader *in, unsigned flags, struct state_value *v)
{
    uint64_t size = 0;
    int rc = OK;

    if (flags & SAVED_BACKED) {
        v->flags = OBJECT_BACKED | OBJECT_COLD;
        rc = saved_get(in, &size);
        v->size = (size_t)size;
        return rc == OK && size > UINT32_MAX ? saved_corrupt(in, "no value is so large") : rc;
    }
    if (flags & SAVED_WHOLE)
        rc = saved_get_slice(in, &v->bytes);
    if (rc == OK && flags & SAVED_WHOLE)
        rc = effect_decode(in->s, v->type, v->bytes, &v->pointer, in->e);
    else if (rc == OK && v->type != OBJECT_STRING)
        rc = effect_new(v->type, &v->pointer, in->e);
    if (rc == OK)
        v->size = v->pointer != NULL ? effect_n(v->type, v->pointer) : v->bytes.n;
    return rc;
}

int saved_load_value(struct state *s, uint64_t as_of, const uint8_t **p, const uint8_t *end,
                     struct err *e)
{
    struct saved_reader in = { s, *p, end, e };
    struct state_value v = { 0 };
    struct slice name = { 0 };
    struct object *o;
    unsigned flags = 0;
    int db = 0, rc = saved_get_head(&in, &v.type, &db, &flags, &name);

    if (rc == OK)
        rc = saved_get_numbers(&in, flags, as_of, &v);
    if (rc == OK)
        rc = saved_get_contents(&in, flags, &v);
    if (rc != OK)
        return rc;
    *p = in.p;
    rc = replay_add_value(s, db, name, &v, &o, e);
    if (rc != OK)
        effect_free(v.type, v.pointer);
    return rc;
}

/* ---- looking ahead ---- */

/* Passes over a backed value at p, behind its first byte; where it ends, or NULL. */
static const uint8_t *saved_skim(const uint8_t *p, const uint8_t *end, int *db, struct slice *name,
                                 uint64_t *lsn)
{
    uint64_t number;
    unsigned flags;
    int n_numbers;

    if (end - p < 2)
        return NULL;
    *db = *p++ >> 4;
    flags = *p++;
    if (!(flags & SAVED_BACKED) || flags & SAVED_WHOLE || !slice_get(&p, end, name))
        return NULL;
    n_numbers = 2 + __builtin_popcount(flags & (SAVED_BACK | SAVED_EXPIRES | SAVED_STALE));
    for (int i = 0; i < n_numbers; i++)
        if (!varint_get(&p, end, i <= (flags & SAVED_BACK ? 1 : 0) ? lsn : &number))
            return NULL;
    return p;
}

void saved_look_ahead(struct state *s, struct saved_ahead *a, uint8_t kind, const uint8_t *p,
                      const uint8_t *end)
{
    enum { NODE = 8, REST = 4 }; /* how far ahead that is asked for */

    if (a->n > 0) {
        a->first = (a->first + 1) % SAVED_AHEAD;
        a->n--;
    }
    if (a->n == 0)
        a->at = p;
    while (a->n < SAVED_AHEAD && a->at < end && *a->at == kind) {
        unsigned i = (a->first + a->n) % SAVED_AHEAD;
        struct slice name;
        uint64_t lsn = 0;
        int db;
        const uint8_t *next = saved_skim(a->at + 1, end, &db, &name, &lsn);
        if (next == NULL || db >= CONFIG_DATABASES)
            break;
        a->keys[i].names = state_names(s, db);
        a->keys[i].hash = dict_hash(s->hash_key, name.p, name.n);
        dict_expect_bucket(a->keys[i].names, a->keys[i].hash);
        liveset_expect(&s->live, lsn);
        a->at = next;
        a->n++;
    }
    if (a->n > NODE) {
        unsigned node = (a->first + NODE) % SAVED_AHEAD, rest = (a->first + REST) % SAVED_AHEAD;
        dict_expect_node(a->keys[node].names, a->keys[node].hash);
        dict_expect_rest(a->keys[rest].names, a->keys[rest].hash);
    }
}

/* ---- pieces ---- */

static int saved_get_element(struct saved_reader *in, enum object_type type, struct element *el)
{
    uint64_t number = 0;
    int rc;

    *el = (struct element){ 0 };
    rc = type == OBJECT_HASH ? saved_get_slice(in, &el->field) : saved_get(in, &number);
    if (rc == OK)
        rc = saved_get_slice(in, &el->value);
    if (rc == OK && type == OBJECT_HASH)
        rc = saved_get(in, &el->expiry_ms);
    if (rc == OK && el->expiry_ms > OBJECT_EXPIRY_MAX)
        rc = saved_corrupt(in, "an expiry is out of range");
    el->pos = type == OBJECT_STRING ? (int64_t)number : saved_unzigzag(number);
    return rc;
}

/* Bytes of a string from el->pos on, which is not behind its end. */
static int saved_add_bytes(struct saved_reader *in, struct object **o, const struct element *el)
{
    size_t old = object_size(*o);
    struct state_value v;

    if (el->pos < 0 || (uint64_t)el->pos > old || el->value.n > EFFECT_STRING_MAX - old)
        return saved_corrupt(in, "bytes that are not behind what came before");
    state_get_value(*o, &v);
    return state_patch_value(in->s, o, (uint64_t)el->pos, el->value, &v, in->e);
}

static int saved_add(struct saved_reader *in, struct object **o, const struct element *el)
{
    void *value;
    size_t begun;
    bool is_new;
    int rc;

    if ((*o)->type == OBJECT_STRING)
        return saved_add_bytes(in, o, el);
    begun = effect_begin(in->s, *o, &value);
    rc = effect_put(in->s, (*o)->type, &value, el, &is_new, in->e);
    effect_end(in->s, *o, value, begun, (*o)->rev, false);
    return rc;
}

int saved_load_piece(struct state *s, const uint8_t **p, const uint8_t *end, struct err *e)
{
    struct saved_reader in = { s, *p, end, e };
    enum object_type type = OBJECT_STRING;
    struct slice name = { 0 };
    struct element el;
    struct object *o;
    int db = 0, rc = saved_get_head(&in, &type, &db, NULL, &name);

    if (rc != OK)
        return rc;
    o = state_find(s, db, name);
    if (o != NULL && (o->type != type || o->flags & (OBJECT_BACKED | OBJECT_COLD)))
        o = NULL; /* the piece is of another one, which something newer has replaced */
    while (rc == OK && in.p < end && *in.p == 1) {
        in.p++;
        rc = saved_get_element(&in, type, &el);
        if (rc == OK && o != NULL)
            rc = saved_add(&in, &o, &el);
    }
    if (rc == OK && (in.p == end || *in.p++ != 0))
        rc = saved_corrupt(&in, "its elements have no end");
    *p = in.p;
    return rc;
}
