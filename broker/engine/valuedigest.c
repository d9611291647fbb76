/*
 * valuedigest.c - the hash of a value.
 *
 *   value    XXH3_128 of its head's hash and its contents' hash
 *   head     db, type, str name, rev, expiry, stale until
 *   string   XXH3_128 of its bytes
 *   hash     the sum modulo 2^128 of the hashes of its fields: tables have no order
 *   list     the hash of what comes before and of the element, one after the other; positions do not count
 *
 * The revision is in it, as readers may ask for it. How a value lies in memory, and which record backs it, is not.
 */
#include "broker/engine/valuedigest.h"
#include <stdlib.h>
#include <xxhash.h>
#include "broker/cache/change.h"
#include "broker/cache/hash.h"
#include "broker/cache/list.h"
#include "log/entry.h"

static void valuedigest_sum(uint64_t sum[2], XXH128_hash_t h)
{
    sum[0] += h.low64;
    sum[1] += h.high64 + (sum[0] < h.low64);
}

static XXH128_hash_t valuedigest_words(const uint64_t *words, size_t n)
{
    uint8_t bytes[5 * 8];

    for (size_t i = 0; i < n; i++)
        put_u64le(bytes + 8 * i, words[i]);
    return XXH3_128bits(bytes, 8 * n);
}

/* ---- contents ---- */

static void valuedigest_field(void *ctx, const struct hash_field *f)
{
    XXH128_hash_t field = XXH3_128bits(f->field.p, f->field.n);
    XXH128_hash_t value = XXH3_128bits(f->value.p, f->value.n);
    const uint64_t words[] = { field.low64, field.high64, value.low64, value.high64, f->expiry_ms };

    valuedigest_sum(ctx, valuedigest_words(words, 5));
}

static void valuedigest_element(uint64_t sum[2], struct slice value)
{
    XXH128_hash_t element = XXH3_128bits(value.p, value.n), h;
    const uint64_t words[] = { sum[0], sum[1], element.low64, element.high64 };

    h = valuedigest_words(words, 4);
    sum[0] = h.low64;
    sum[1] = h.high64;
}

static void valuedigest_bytes(uint64_t sum[2], struct slice bytes)
{
    valuedigest_sum(sum, XXH3_128bits(bytes.p, bytes.n));
}

static void valuedigest_hot(const struct object *o, uint64_t sum[2])
{
    struct list_at at;
    uint64_t cursor = 0;
    bool more;

    if (o->type == OBJECT_STRING) {
        valuedigest_bytes(sum, object_string(o));
    } else if (o->type == OBJECT_HASH) {
        do
            cursor = hash_scan(object_pointer(o), cursor, valuedigest_field, sum);
        while (cursor != 0);
    } else {
        for (more = list_seek(object_pointer(o), 0, &at); more;
             more = list_next(object_pointer(o), &at))
            valuedigest_element(sum, at.value);
    }
}

/* The same of a value as its record has it (cache/value.h); false if that is none. */
static bool valuedigest_stored(unsigned type, struct slice bytes, uint64_t sum[2])
{
    const uint8_t *p = bytes.p, *end = bytes.p + bytes.n;
    struct hash_field f;
    uint64_t n, pos;

    if (type == OBJECT_STRING) {
        valuedigest_bytes(sum, bytes);
        return true;
    }
    if (!varint_get(&p, end, &n))
        return false;
    for (; n > 0; n--) {
        if (type == OBJECT_LIST ? !varint_get(&p, end, &pos) : !slice_get(&p, end, &f.field))
            return false;
        if (!slice_get(&p, end, &f.value) ||
            (type == OBJECT_HASH && !varint_get(&p, end, &f.expiry_ms)))
            return false;
        if (type == OBJECT_HASH)
            valuedigest_field(sum, &f);
        else
            valuedigest_element(sum, f.value);
    }
    return p == end;
}

static bool valuedigest_entry(unsigned type, const uint8_t *entry, uint64_t sum[2])
{
    struct change x;

    return change_read(entry, &x, NULL) == OK && x.type == type &&
           (x.op == CHANGE_SET || x.op == CHANGE_IMAGE) && valuedigest_stored(type, x.value, sum);
}

/* ---- values ---- */

void valuedigest_begin(const struct object *o, int db, struct valuedigest *out)
{
    struct slice name = object_name(o);
    XXH128_hash_t h = XXH3_128bits(name.p, name.n);
    const uint64_t words[] = { h.low64, h.high64, (uint64_t)db << 8 | o->type, o->rev,
                               o->expiry_ms ^ object_stale_ms(o) << 16 };

    h = valuedigest_words(words, 5);
    *out = (struct valuedigest){ { h.low64, h.high64 }, object_back_lsn(o), o->type };
}

static void valuedigest_end(const struct valuedigest *x, const uint64_t contents[2],
                            uint64_t sum[2])
{
    const uint64_t words[] = { x->head[0], x->head[1], contents[0], contents[1] };

    valuedigest_sum(sum, valuedigest_words(words, 4));
}

bool valuedigest_add(const struct valuedigest *x, const struct state *s, const struct object *o,
                     uint64_t sum[2])
{
    uint64_t contents[2] = { 0, 0 };
    const uint8_t *entry;

    if (!(o->flags & OBJECT_COLD)) {
        valuedigest_hot(o, contents);
    } else {
        entry = state_find_change(s, x->lsn);
        if (entry == NULL || !valuedigest_entry(x->type, entry, contents))
            return false;
    }
    valuedigest_end(x, contents, sum);
    return true;
}

static int valuedigest_cmp(const void *a, const void *b)
{
    const struct valuedigest *x = a, *y = b;
    return x->lsn < y->lsn ? -1 : x->lsn > y->lsn;
}

static int valuedigest_read_one(const struct valuedigest *x, struct reader *r, uint64_t sum[2],
                                struct err *e)
{
    uint64_t contents[2] = { 0, 0 };
    const uint8_t *entry;
    struct id id = ID_MIN;
    size_t len;
    int rc = reader_seek_lsn(r, x->lsn, e);

    if (rc != OK)
        return rc;
    entry = reader_at(r, &len);
    if (entry != NULL)
        entry_id(entry, &id);
    if (entry == NULL || id.seq != x->lsn || !valuedigest_entry(x->type, entry, contents))
        return err_set(e, ERR_CORRUPT, "record %llu, which a value is in, is not there",
                       (unsigned long long)x->lsn);
    valuedigest_end(x, contents, sum);
    return OK;
}

int valuedigest_read(struct valuedigest *x, size_t n, const struct sealed *sealed,
                     struct blockcache *cache, struct block_decoder *decoder,
                     const atomic_bool *abandoned, uint64_t sum[2], struct err *e)
{
    struct reader r;
    int rc = OK;

    if (n > 0)
        qsort(x, n, sizeof *x, valuedigest_cmp);
    reader_init(&r, sealed, cache, decoder, NULL);
    for (size_t i = 0; i < n && rc == OK && !atomic_load(abandoned); i++)
        rc = valuedigest_read_one(&x[i], &r, sum, e);
    reader_fini(&r);
    return rc;
}
