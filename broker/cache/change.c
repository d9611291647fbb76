/*
 * change.c - one change of a value as the entry of a stream, and back.
 *
 * The entry is one that every part of the log already knows how to seal by column, merge and read. Its first field's
 * name is the same two bytes in most entries, and so costs nothing in a segment; all other names are empty. What
 * belongs together is in a pair of its own: numbers that say how (meta), then bytes as they came.
 *
 * A number at the end of meta that is zero is left out: a `set` without expiry has one byte of it. Elements are
 * written as strings, `width` of them each:
 *
 *             hash                     list
 *   put       field, value, expiry     position, value
 *   remove    field                    from, to
 *   expel     field                    -
 *   fttl      field                    -
 *
 *   J1  What change_put writes takes change_size bytes exactly, is a whole entry, and is read back as what it was.
 *   J2  A reader believes nothing: op, database, type, expiry and the number of strings are checked by change_read, each
 *       element's numbers by change_next, before anyone acts on them. Lengths have been checked by entry_check.
 */
#include "broker/cache/change.h"
#include <assert.h>
#include "broker/config.h"
#include "broker/engine/state.h"
#include "log/entry.h"

enum {
    CHANGE_META_MAX = 3, /* numbers */
    CHANGE_WIDTH_MAX = 3 /* strings of an element */
};

static const uint64_t CHANGE_MS_MAX = (1ull << 48) - 1;

/* What follows the key. */
struct change_kind {
    uint8_t n_meta;   /* numbers at most */
    uint8_t n_needed; /* at least */
    bool value, to, elements;
};

static const struct change_kind CHANGE_KINDS[CHANGE_OPS] = {
    [CHANGE_SET] = { .n_meta = 3, .n_needed = 1, .value = true },
    [CHANGE_IMAGE] = { .n_meta = 1, .n_needed = 1, .value = true },
    [CHANGE_PUT] = { .n_meta = 1, .n_needed = 1, .elements = true },
    [CHANGE_REMOVE] = { .n_meta = 2, .n_needed = 1, .elements = true },
    [CHANGE_EXPEL] = { .n_meta = 2, .n_needed = 1, .elements = true },
    [CHANGE_PATCH] = { .n_meta = 2, .value = true },
    [CHANGE_TTL] = { .n_meta = 3 },
    [CHANGE_FIELD_TTL] = { .n_meta = 1, .elements = true },
    [CHANGE_RENAME] = { .n_meta = 2, .to = true },
    [CHANGE_SWAP] = { .n_meta = 1 },
};

static inline int64_t change_unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1 ^ (0 - (v & 1)));
}

static inline uint64_t change_zigzag(int64_t v)
{
    return v < 0 ? ~((uint64_t)v << 1) : (uint64_t)v << 1;
}

/* Strings that one element takes; 0: there are none of that type. */
static unsigned change_width(enum change_op op, unsigned type)
{
    if (type == OBJECT_HASH)
        return op == CHANGE_PUT ? 3 : 1;
    if (type == OBJECT_LIST)
        return op == CHANGE_PUT || op == CHANGE_REMOVE ? 2 : 0;
    return 0;
}

/* ---- writing ---- */

/* Meta as numbers; returns how many are written. */
static unsigned change_meta(const struct change *x, uint64_t out[CHANGE_META_MAX])
{
    unsigned n = CHANGE_KINDS[x->op].n_meta;

    out[0] = x->type;
    out[1] = x->gone;
    switch (x->op) {
    case CHANGE_SET:
        out[1] = x->expiry_ms;
        out[2] = x->stale_ms;
        break;
    case CHANGE_TTL:
        out[0] = x->expiry_ms;
        out[1] = x->stale_ms;
        out[2] = x->type;
        break;
    case CHANGE_FIELD_TTL: out[0] = x->expiry_ms; break;
    case CHANGE_PATCH:
        out[0] = x->offset;
        out[1] = x->length;
        break;
    case CHANGE_RENAME:
        out[0] = (uint64_t)x->to_db;
        out[1] = x->type;
        break;
    case CHANGE_SWAP: out[0] = (uint64_t)x->to_db; break;
    default: break;
    }
    while (n > 0 && out[n - 1] == 0)
        n--;
    return n;
}

static size_t change_meta_size(const uint64_t *meta, unsigned n)
{
    size_t size = 0;

    for (unsigned i = 0; i < n; i++)
        size += varint_size(meta[i]);
    return size;
}

static struct slice change_number(uint8_t *scratch, uint64_t v)
{
    return slice_of(scratch, (size_t)(varint_put(scratch, v) - scratch));
}

/* The strings of an element; numbers are made in `scratch`, which has room for two. */
static unsigned change_strings(const struct change *x, const struct element *el, uint8_t *scratch,
                               struct slice out[CHANGE_WIDTH_MAX])
{
    unsigned type = x->op == CHANGE_FIELD_TTL ? OBJECT_HASH : x->type;

    if (type == OBJECT_HASH) {
        out[0] = el->field;
        out[1] = el->value;
        out[2] = el->expiry_ms == 0 ? slice_of(scratch, 0) : change_number(scratch, el->expiry_ms);
    } else {
        out[0] = change_number(scratch, change_zigzag(el->pos));
        out[1] = x->op == CHANGE_PUT ? el->value
                                     : change_number(scratch + VARINT_MAX, change_zigzag(el->to));
    }
    return change_width(x->op, type);
}

static size_t change_elements_size(const struct change *x)
{
    uint8_t scratch[2 * VARINT_MAX];
    struct slice strings[CHANGE_WIDTH_MAX];
    size_t size = 0;

    for (size_t i = 0; i < x->n_elements; i++) {
        unsigned n = change_strings(x, &x->elements[i], scratch, strings);
        for (unsigned k = 0; k < n; k++)
            size += 1 + slice_size(strings[k]);
    }
    return size;
}

static uint64_t change_pairs(const struct change *x)
{
    const struct change_kind *kind = &CHANGE_KINDS[x->op];
    unsigned type = x->op == CHANGE_FIELD_TTL ? OBJECT_HASH : x->type;
    uint64_t n = 1u + (kind->n_meta > 0) + kind->value + kind->to;

    return kind->elements ? n + (uint64_t)x->n_elements * change_width(x->op, type) : n;
}

size_t change_size(struct id id, const struct change *x)
{
    const struct change_kind *kind = &CHANGE_KINDS[x->op];
    uint64_t meta[CHANGE_META_MAX];
    size_t size = varint_size(CHANGE_OID) + id_size(id) + varint_size(change_pairs(x));

    size += 3 + slice_size(x->key);
    if (kind->n_meta > 0)
        size += 2 + change_meta_size(meta, change_meta(x, meta)); /* below 128 bytes */
    if (kind->value)
        size += 1 + slice_size(x->value);
    if (kind->to)
        size += 1 + slice_size(x->to);
    return kind->elements ? size + change_elements_size(x) : size;
}

static inline uint8_t *change_put_string(uint8_t *p, struct slice s)
{
    *p++ = 0; /* a name */
    return slice_put(p, s);
}

static uint8_t *change_put_meta(uint8_t *p, const struct change *x)
{
    uint64_t meta[CHANGE_META_MAX];
    unsigned n = change_meta(x, meta);

    *p++ = 0;
    *p++ = (uint8_t)change_meta_size(meta, n);
    for (unsigned i = 0; i < n; i++)
        p = varint_put(p, meta[i]);
    return p;
}

static uint8_t *change_put_elements(uint8_t *p, const struct change *x)
{
    uint8_t scratch[2 * VARINT_MAX];
    struct slice strings[CHANGE_WIDTH_MAX];

    for (size_t i = 0; i < x->n_elements; i++) {
        unsigned n = change_strings(x, &x->elements[i], scratch, strings);
        for (unsigned k = 0; k < n; k++)
            p = change_put_string(p, strings[k]);
    }
    return p;
}

uint8_t *change_put(uint8_t *p, struct id id, const struct change *x)
{
    const struct change_kind *kind = &CHANGE_KINDS[x->op];

    assert(x->op >= CHANGE_SET && x->op < CHANGE_OPS);
    p = id_put(varint_put(p, CHANGE_OID), id);
    p = varint_put(p, change_pairs(x));
    *p++ = 2;
    *p++ = (uint8_t)x->op;
    *p++ = (uint8_t)x->db;
    p = slice_put(p, x->key);
    if (kind->n_meta > 0)
        p = change_put_meta(p, x);
    if (kind->value)
        p = change_put_string(p, x->value);
    if (kind->to)
        p = change_put_string(p, x->to);
    return kind->elements ? change_put_elements(p, x) : p;
}

/* ---- reading ---- */

/* Reads as many numbers as meta has, the others are 0. False: too few, too many, or cut short. */
static bool change_get_meta(struct slice in, const struct change_kind *kind,
                            uint64_t out[CHANGE_META_MAX])
{
    const uint8_t *p = in.p, *end = in.p + in.n;
    unsigned n = 0;

    memset(out, 0, CHANGE_META_MAX * sizeof *out);
    while (p < end) {
        if (n == kind->n_meta || !varint_get(&p, end, &out[n]))
            return false;
        n++;
    }
    return n >= kind->n_needed;
}

static const char *change_take_type(struct change *x, uint64_t type)
{
    bool whole = x->op == CHANGE_SET || x->op == CHANGE_IMAGE;

    if (whole ? type != OBJECT_STRING && type != OBJECT_HASH && type != OBJECT_LIST
              : type > UINT8_MAX || change_width(x->op, (unsigned)type) == 0)
        return "its type has no such change";
    x->type = (unsigned)type;
    return NULL;
}

static const char *change_take_times(struct change *x, uint64_t expiry_ms, uint64_t stale_ms)
{
    if (expiry_ms > CHANGE_MS_MAX || stale_ms > CHANGE_MS_MAX)
        return "its expiry is out of range";
    x->expiry_ms = expiry_ms;
    x->stale_ms = stale_ms;
    return stale_ms > 0 && (expiry_ms == 0 || stale_ms < expiry_ms)
               ? "it is stale before it expires"
               : NULL;
}

/* Of what has no type of its own to say: which one the key is of, so that readers know. */
static const char *change_take_key_type(struct change *x, uint64_t type)
{
    if (type > OBJECT_LIST)
        return "its key can be of no such type";
    x->type = (unsigned)type;
    return NULL;
}

static const char *change_take_to_db(struct change *x, uint64_t db)
{
    if (db >= CONFIG_DATABASES)
        return "there is no such database to go to";
    x->to_db = (int)db;
    return NULL;
}

static const char *change_take_meta(struct change *x, const uint64_t *meta)
{
    const char *wrong;

    switch (x->op) {
    case CHANGE_SET:
        wrong = change_take_type(x, meta[0]);
        return wrong != NULL ? wrong : change_take_times(x, meta[1], meta[2]);
    case CHANGE_IMAGE:
    case CHANGE_PUT: return change_take_type(x, meta[0]);
    case CHANGE_REMOVE:
    case CHANGE_EXPEL:
        x->gone = meta[1] == 1;
        return meta[1] > 1 ? "it does not say whether the key is gone"
                           : change_take_type(x, meta[0]);
    case CHANGE_PATCH:
        x->offset = meta[0];
        x->length = meta[1];
        return NULL;
    case CHANGE_TTL:
        wrong = change_take_key_type(x, meta[2]);
        return wrong != NULL ? wrong : change_take_times(x, meta[0], meta[1]);
    case CHANGE_FIELD_TTL: x->type = OBJECT_HASH; return change_take_times(x, meta[0], 0);
    case CHANGE_RENAME:
        wrong = change_take_key_type(x, meta[1]);
        return wrong != NULL ? wrong : change_take_to_db(x, meta[0]);
    case CHANGE_SWAP: return change_take_to_db(x, meta[0]);
    default: return NULL;
    }
}

/* What the strings behind meta are. */
static const char *change_take_strings(struct change *x, const uint8_t *p, uint64_t n)
{
    const struct change_kind *kind = &CHANGE_KINDS[x->op];
    struct slice ignored;

    if (kind->elements) {
        unsigned width = change_width(x->op, x->type);
        x->n_elements = (size_t)(n / width);
        return n % width != 0 || n == 0 ? "its elements are not whole" : NULL;
    }
    if (n != (uint64_t)kind->value + kind->to)
        return "it has not the strings that it should have";
    if (n == 1)
        entry_str(entry_str(p, &ignored), kind->value ? &x->value : &x->to);
    if (x->op == CHANGE_PATCH && (x->offset > x->length || x->value.n > x->length - x->offset))
        return "it ends behind the value's end";
    return NULL;
}

/* Op, database and key of the first pair; the position behind it. NULL: it is no change. */
static const uint8_t *change_head(const uint8_t *entry, enum change_op *op, int *db,
                                  struct slice *key, uint64_t *n_pairs)
{
    struct slice name;
    struct id id;
    const uint8_t *p = entry_varint(entry_id(entry, &id), n_pairs);

    if (*n_pairs == 0)
        return NULL;
    p = entry_str(entry_str(p, &name), key);
    if (name.n != 2 || name.p[0] == 0 || name.p[0] >= CHANGE_OPS)
        return NULL;
    *op = (enum change_op)name.p[0];
    *db = name.p[1];
    if (*db >= CONFIG_DATABASES && !(*op == CHANGE_FLUSH && *db == CHANGE_DB_ALL))
        return NULL;
    if (key->n > 0 && (*op == CHANGE_FLUSH || *op == CHANGE_SWAP))
        return NULL;
    return p;
}

bool change_peek(const uint8_t *entry, enum change_op *op, int *db, struct slice *key)
{
    uint64_t n_pairs;
    return change_head(entry, op, db, key, &n_pairs) != NULL;
}

int change_read(const uint8_t *entry, struct change *out, struct err *e)
{
    struct change x = { .op = CHANGE_SET };
    uint64_t meta[CHANGE_META_MAX], left;
    const uint8_t *p = change_head(entry, &x.op, &x.db, &x.key, &left);
    const struct change_kind *kind = &CHANGE_KINDS[x.op];
    const char *wrong = NULL;
    struct slice s;

    if (p == NULL)
        return err_set(e, ERR_CORRUPT, "a change of a value: it does not say what happened where");
    left--;
    if (kind->n_meta > 0) {
        if (left-- == 0)
            return err_set(e, ERR_CORRUPT, "a change of a value: it does not say how");
        p = entry_str(entry_str(p, &s), &s);
        if (!change_get_meta(s, kind, meta))
            return err_set(e, ERR_CORRUPT, "a change of a value: it does not say how");
        wrong = change_take_meta(&x, meta);
    }
    if (wrong == NULL)
        wrong = change_take_strings(&x, p, left);
    if (wrong != NULL)
        return err_set(e, ERR_CORRUPT, "a change of a value: %s", wrong);
    *out = x;
    return OK;
}

void change_begin(const uint8_t *entry, struct change_at *at)
{
    enum change_op op = CHANGE_SET;
    struct slice s;
    uint64_t n;
    int db;

    *at = (struct change_at){ .p = change_head(entry, &op, &db, &s, &n) };
    if (at->p == NULL || !CHANGE_KINDS[op].elements || n < 2)
        return;
    at->p = entry_str(entry_str(at->p, &s), &s); /* meta */
    at->left = n - 2;
}

static struct slice change_next_string(struct change_at *at)
{
    struct slice s;

    at->p = entry_str(entry_str(at->p, &s), &s);
    at->left--;
    return s;
}

/* A string that is one varint, and nothing behind it. */
static bool change_get_number(struct slice s, uint64_t *out)
{
    const uint8_t *p = s.p, *end = s.p + s.n;
    return varint_get(&p, end, out) && p == end;
}

static bool change_get_position(struct slice s, int64_t *out)
{
    uint64_t v;

    if (!change_get_number(s, &v))
        return false;
    *out = change_unzigzag(v);
    return true;
}

static bool change_next_field(struct change_at *at, const struct change *x, struct element *out)
{
    struct slice expiry;

    out->field = change_next_string(at);
    if (x->op != CHANGE_PUT)
        return true;
    out->value = change_next_string(at);
    expiry = change_next_string(at);
    return expiry.n == 0 || (change_get_number(expiry, &out->expiry_ms) && out->expiry_ms > 0 &&
                             out->expiry_ms <= CHANGE_MS_MAX);
}

static bool change_next_place(struct change_at *at, const struct change *x, struct element *out)
{
    if (!change_get_position(change_next_string(at), &out->pos))
        return false;
    if (x->op == CHANGE_PUT) {
        out->value = change_next_string(at);
        return true;
    }
    return change_get_position(change_next_string(at), &out->to) && out->pos <= out->to;
}

bool change_next(struct change_at *at, const struct change *x, struct element *out)
{
    if (at->left < change_width(x->op, x->type) || at->left == 0 || at->bad)
        return false;
    *out = (struct element){ 0 };
    at->bad =
        x->type == OBJECT_HASH ? !change_next_field(at, x, out) : !change_next_place(at, x, out);
    return !at->bad;
}
