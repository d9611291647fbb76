/*
 * value.c - a hash or list as bytes, and back.
 *
 * Whoever decodes gets bytes that a checksum has covered, and believes them as little as if none had: each count is compared
 * with what is left before anything is made from it, and what is made takes a bounded multiple of the bytes that it came from.
 *
 *   V1  value_put_x writes value_x_size bytes, and value_get_x gives back what was written.
 *   V2  Bytes that are too few or too many, fields that come twice, positions that do not ascend and times beyond 48 bits are
 *       ERR_CORRUPT; nothing is left allocated then.
 */
#include "broker/cache/value.h"

static const uint64_t VALUE_MS_MAX = (1ull << 48) - 1;

static inline int64_t value_unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1 ^ (0 - (v & 1)));
}

static inline uint64_t value_zigzag(int64_t v)
{
    return (uint64_t)v << 1 ^ (v < 0 ? UINT64_MAX : 0);
}

/* ---- hashes ---- */

static void value_hash_walk(struct hash *h, void (*each)(void *, const struct hash_field *),
                            void *ctx)
{
    uint64_t cursor = 0;

    do
        cursor = hash_scan(h, cursor, each, ctx);
    while (cursor != 0);
}

static void value_count_field(void *ctx, const struct hash_field *f)
{
    size_t *size = ctx;

    *size += slice_size(f->field) + slice_size(f->value) + varint_size(f->expiry_ms);
}

size_t value_hash_size(struct hash *h)
{
    size_t size = varint_size(hash_n(h));

    value_hash_walk(h, value_count_field, &size);
    return size;
}

static void value_put_field(void *ctx, const struct hash_field *f)
{
    uint8_t **p = ctx;

    *p = slice_put(*p, f->field);
    *p = slice_put(*p, f->value);
    *p = varint_put(*p, f->expiry_ms);
}

uint8_t *value_put_hash(uint8_t *p, struct hash *h)
{
    p = varint_put(p, hash_n(h));
    value_hash_walk(h, value_put_field, &p);
    return p;
}

static int value_get_field(struct hash **h, const uint8_t seed[16], const uint8_t **p,
                           const uint8_t *end, struct err *e)
{
    struct hash_field f;
    bool is_new;
    int rc;

    if (!slice_get(p, end, &f.field) || !slice_get(p, end, &f.value) ||
        !varint_get(p, end, &f.expiry_ms) || f.expiry_ms > VALUE_MS_MAX)
        return err_set(e, ERR_CORRUPT, "a hash's field is cut short, or its expiry is no time");
    rc = hash_set(h, seed, &f, &is_new, e);
    if (rc == OK && !is_new)
        return err_set(e, ERR_CORRUPT, "a hash's field is there twice");
    return rc;
}

int value_get_hash(struct slice bytes, const uint8_t seed[16], struct hash **out, struct err *e)
{
    enum { FIELD_MIN = 3 }; /* bytes of a field */
    const uint8_t *p = bytes.p, *end = bytes.p + bytes.n;
    struct hash *h = NULL;
    uint64_t n;
    int rc;

    if (!varint_get(&p, end, &n) || n > (uint64_t)(end - p) / FIELD_MIN)
        return err_set(e, ERR_CORRUPT, "a hash with more fields than bytes for them");
    rc = hash_new(&h, e);
    for (; rc == OK && n > 0; n--)
        rc = value_get_field(&h, seed, &p, end, e);
    if (rc == OK && p != end)
        rc = err_set(e, ERR_CORRUPT, "%zu bytes behind the fields of a hash", (size_t)(end - p));
    if (rc == OK)
        *out = h;
    else
        hash_free(h);
    return rc;
}

/* ---- lists ---- */

size_t value_list_size(const struct list *l)
{
    size_t size = varint_size(list_n(l));
    int64_t before = 0;
    struct list_at at;

    for (bool more = list_seek(l, 0, &at); more; more = list_next(l, &at)) {
        size += varint_size(value_zigzag((int64_t)((uint64_t)at.pos - (uint64_t)before))) +
                slice_size(at.value);
        before = at.pos;
    }
    return size;
}

uint8_t *value_put_list(uint8_t *p, const struct list *l)
{
    int64_t before = 0;
    struct list_at at;

    p = varint_put(p, list_n(l));
    for (bool more = list_seek(l, 0, &at); more; more = list_next(l, &at)) {
        p = varint_put(p, value_zigzag((int64_t)((uint64_t)at.pos - (uint64_t)before)));
        p = slice_put(p, at.value);
        before = at.pos;
    }
    return p;
}

static int value_get_element(struct list *l, const uint8_t **p, const uint8_t *end, struct err *e)
{
    int64_t before = list_n(l) > 0 ? list_last(l) : 0, pos;
    struct slice value;
    uint64_t v;

    if (!varint_get(p, end, &v) || !slice_get(p, end, &value))
        return err_set(e, ERR_CORRUPT, "a list's element is cut short");
    pos = (int64_t)((uint64_t)before + (uint64_t)value_unzigzag(v));
    if (list_n(l) > 0 && pos <= before)
        return err_set(e, ERR_CORRUPT, "a list's positions do not ascend");
    return list_put(l, pos, value, e);
}

int value_get_list(struct slice bytes, struct list **out, struct err *e)
{
    enum { ELEMENT_MIN = 2 }; /* bytes of an element */
    const uint8_t *p = bytes.p, *end = bytes.p + bytes.n;
    struct list *l = NULL;
    uint64_t n;
    int rc;

    if (!varint_get(&p, end, &n) || n > (uint64_t)(end - p) / ELEMENT_MIN)
        return err_set(e, ERR_CORRUPT, "a list with more elements than bytes for them");
    rc = list_new(&l, e);
    for (; rc == OK && n > 0; n--)
        rc = value_get_element(l, &p, end, e);
    if (rc == OK && p != end)
        rc = err_set(e, ERR_CORRUPT, "%zu bytes behind the elements of a list", (size_t)(end - p));
    if (rc == OK)
        *out = l;
    else
        list_free(l);
    return rc;
}
