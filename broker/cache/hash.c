/*
 * hash.c - the fields of a hash: packed while they are few and short, in a table when not.
 *
 * Packed, a hash is one piece of memory: twelve bytes, then the fields in the order in which they were first set, each
 *
 *   length | name | length of the value, + 128 if it expires | value | expiry in 6 bytes, if it does
 *
 * Looking is walking, which for up to HASH_PACKED_N fields of at most HASH_PACKED_BYTES is about as fast as hashing, and takes a
 * third of the memory or less. The first field too many, or too long, makes it a table, and it stays one.
 *
 * Table: a dict of items, each in memory of its own with name, value and, if it expires, its time and its place in a heap by
 * that time. So the field that expires first is known, and what has expired is found without looking at what has not.
 *
 *   H1  A packed hash has at most HASH_PACKED_N fields, none with a name or value of more than HASH_PACKED_BYTES.
 *   H2  An item is in the heap exactly if it has an expiry, at its `slot`; the heap's parent is never later than its children.
 *   H3  Numbers of fields, the next expiry and bytes are what a walk would find.
 *   H4  Memory is had before anything changes: a call that fails has changed nothing.
 */
#include "broker/cache/hash.h"
#include <assert.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include "log/dict.h"

enum {
    HASH_PACKED_N = 512, /* both as in Redis */
    HASH_PACKED_BYTES = 64,
    HASH_EXPIRES = 128, /* in the byte before a value */
    HASH_EXPIRY_BYTES = 6,
    HASH_USED_BITS = 20,
    HASH_SLACK_SHIFT = 4, /* of a packed one's memory, so much is for what comes next */
    HASH_HEAP_FIRST = 8
};

static_assert(HASH_PACKED_N < 1 << (32 - HASH_USED_BITS), "their number fits its bits");
static_assert(HASH_PACKED_N * (2 + 2 * HASH_PACKED_BYTES + HASH_EXPIRY_BYTES) < 1 << HASH_USED_BITS,
              "a packed hash's size fits its bits");

/* What both forms begin with; all but is_table is for packed ones. */
struct hash_head {
    uint64_t next_expiry_ms : 48; /* 0: none */
    uint64_t n : 15;
    uint64_t is_table : 1;
};

struct hash {
    struct hash_head head;
    uint32_t used : HASH_USED_BITS, n_expiring : 32 - HASH_USED_BITS;
    uint8_t bytes[];
};

struct hash_item {
    struct dict_node node; /* must be first; its `extra` is the length of the name */
    uint32_t n_value : 31, expires : 1;
    uint8_t bytes[]; /* struct hash_time if it expires; field, value */
};

struct hash_time {
    uint64_t expiry_ms;
    uint64_t slot; /* in the heap */
};

struct hash_table {
    struct hash_head head; /* must be first */
    struct dict dict;
    struct hash_item **heap;
    size_t n_heap, cap_heap;
    size_t n_bytes;  /* of items */
    uint64_t cursor; /* of hash_shrink */
};

/* Bytes of a piece of memory, with what malloc keeps beside it. */
static size_t hash_piece(const void *p)
{
    return malloc_usable_size((void *)(uintptr_t)p) + sizeof(size_t);
}

static int hash_nomem(struct err *e)
{
    return err_set(e, ERR_NOMEM, "no memory for a field of a hash");
}

/* ---- packed ---- */

int hash_new(struct hash **out, struct err *e)
{
    struct hash *h = malloc(sizeof *h);

    if (h == NULL)
        return hash_nomem(e);
    *h = (struct hash){ .used = 0 };
    *out = h;
    return OK;
}

static uint64_t hash_get_expiry(const uint8_t *p)
{
    return get_u32le(p) | (uint64_t)get_u16le(p + 4) << 32;
}

static void hash_put_expiry(uint8_t *p, uint64_t expiry_ms)
{
    put_u32le(p, (uint32_t)expiry_ms);
    put_u16le(p + 4, (uint16_t)(expiry_ms >> 32));
}

/* The field at p; returns where the next one begins. */
static inline const uint8_t *hash_packed_read(const uint8_t *p, struct hash_field *f)
{
    uint8_t head;

    f->field = slice_of(p + 1, *p);
    p += 1 + *p;
    head = *p;
    f->value = slice_of(p + 1, head & (HASH_EXPIRES - 1));
    p = f->value.p + f->value.n;
    if (head < HASH_EXPIRES) {
        f->expiry_ms = 0;
        return p;
    }
    f->expiry_ms = hash_get_expiry(p);
    return p + HASH_EXPIRY_BYTES;
}

static size_t hash_packed_size(const struct hash_field *f)
{
    return 2 + f->field.n + f->value.n + (f->expiry_ms != 0 ? HASH_EXPIRY_BYTES : 0);
}

static void hash_packed_put(uint8_t *p, const struct hash_field *f)
{
    *p++ = (uint8_t)f->field.n;
    bytes_copy(p, f->field.p, f->field.n);
    p += f->field.n;
    *p++ = (uint8_t)(f->value.n | (f->expiry_ms != 0 ? HASH_EXPIRES : 0));
    bytes_copy(p, f->value.p, f->value.n);
    if (f->expiry_ms != 0)
        hash_put_expiry(p + f->value.n, f->expiry_ms);
}

/* Where a field lies among the packed ones. */
struct hash_place {
    size_t from, to; /* both `used` if it is not there */
    struct hash_field f;
};

static bool hash_packed_find(const struct hash *h, struct slice field, struct hash_place *at)
{
    const uint8_t *p = h->bytes, *end = p + h->used;

    while (p < end) {
        const uint8_t *next = hash_packed_read(p, &at->f);
        if (slice_equal(at->f.field, field)) {
            at->from = (size_t)(p - h->bytes);
            at->to = (size_t)(next - h->bytes);
            return true;
        }
        p = next;
    }
    at->from = h->used;
    at->to = h->used;
    return false;
}

/* A piece of memory that is right for so many bytes of fields. */
static struct hash *hash_packed_alloc(size_t used)
{
    size_t size = offsetof(struct hash, bytes) + used + (used >> HASH_SLACK_SHIFT);

    return malloc(size < sizeof(struct hash) ? sizeof(struct hash) : size);
}

static bool hash_packed_fits(const struct hash *h, size_t used)
{
    size_t room = malloc_usable_size((void *)(uintptr_t)h) - offsetof(struct hash, bytes);

    return used <= room && room - used < room / 2 + 32;
}

/* Makes room for `size` bytes where [from, to) is, which goes; what is behind it moves. False: no memory, and nothing has changed. */
static bool hash_packed_splice(struct hash **at, size_t from, size_t to, size_t size)
{
    struct hash *h = *at, *next = h;
    size_t used = h->used - (to - from) + size, rest = h->used - to;

    if (!hash_packed_fits(h, used)) {
        next = hash_packed_alloc(used);
        if (next == NULL && used > h->used)
            return false;
        if (next == NULL)
            next = h; /* it stays larger than it has to be */
    }
    if (next != h)
        memcpy(next, h, offsetof(struct hash, bytes) + from);
    memmove(next->bytes + from + size, h->bytes + to, rest);
    next->used = (uint32_t)used & ((1u << HASH_USED_BITS) - 1);
    if (next != h)
        free(h);
    *at = next;
    return true;
}

/* After an expiry has come or gone (H3). */
static void hash_packed_note(struct hash *h, uint64_t old_ms, uint64_t new_ms)
{
    const uint8_t *p = h->bytes, *end = p + h->used;
    struct hash_field f;

    if (old_ms != 0)
        h->n_expiring--;
    if (new_ms != 0)
        h->n_expiring++;
    if (new_ms != 0 && (h->head.next_expiry_ms == 0 || new_ms <= h->head.next_expiry_ms)) {
        h->head.next_expiry_ms = new_ms & ((1ull << 48) - 1);
    } else if (old_ms != 0 && old_ms == h->head.next_expiry_ms) { /* the next one is another */
        h->head.next_expiry_ms = 0;
        while (p < end) {
            p = hash_packed_read(p, &f);
            if (f.expiry_ms != 0 &&
                (h->head.next_expiry_ms == 0 || f.expiry_ms < h->head.next_expiry_ms))
                h->head.next_expiry_ms = f.expiry_ms & ((1ull << 48) - 1);
        }
    }
}

static int hash_packed_set(struct hash **h, const struct hash_place *at, const struct hash_field *f,
                           bool is_new, struct err *e)
{
    uint64_t old_ms = is_new ? 0 : at->f.expiry_ms;

    if (!hash_packed_splice(h, at->from, at->to, hash_packed_size(f)))
        return hash_nomem(e);
    hash_packed_put((*h)->bytes + at->from, f);
    (*h)->head.n += is_new;
    hash_packed_note(*h, old_ms, f->expiry_ms);
    return OK;
}

static bool hash_packed_delete(struct hash **h, struct slice field)
{
    struct hash_place at;

    if (!hash_packed_find(*h, field, &at))
        return false;
    (void)hash_packed_splice(h, at.from, at.to, 0); /* needs no memory */
    (*h)->head.n--;
    hash_packed_note(*h, at.f.expiry_ms, 0);
    return true;
}

/* Six bytes come, go or change behind the value. */
static bool hash_packed_set_expiry(struct hash **h, struct slice field, uint64_t expiry_ms, int *rc)
{
    struct hash_place at;
    size_t head, size = expiry_ms != 0 ? HASH_EXPIRY_BYTES : 0;
    uint8_t *p;

    if (!hash_packed_find(*h, field, &at))
        return false;
    head = at.from + 1 + at.f.field.n;
    if (!hash_packed_splice(h, head + 1 + at.f.value.n, at.to, size)) {
        *rc = ERR_NOMEM;
        return true;
    }
    p = (*h)->bytes + head;
    *p = (uint8_t)(at.f.value.n | (expiry_ms != 0 ? HASH_EXPIRES : 0));
    if (expiry_ms != 0)
        hash_put_expiry(p + 1 + at.f.value.n, expiry_ms);
    hash_packed_note(*h, at.f.expiry_ms, expiry_ms);
    return true;
}

/* ---- items of a table ---- */

static inline struct hash_table *hash_table_of(const struct hash *h)
{
    return (struct hash_table *)(uintptr_t)h;
}

static inline struct hash_item *hash_item_of(const struct dict_node *node)
{
    return (struct hash_item *)(uintptr_t)node;
}

static struct hash_time hash_item_time(const struct hash_item *x)
{
    struct hash_time t = { .expiry_ms = 0 };

    if (x->expires)
        memcpy(&t, x->bytes, sizeof t);
    return t;
}

static inline const uint8_t *hash_item_bytes(const struct hash_item *x)
{
    return x->bytes + (x->expires ? sizeof(struct hash_time) : 0);
}

static struct slice hash_item_key(const struct dict_node *node)
{
    const struct hash_item *x = hash_item_of(node);

    return slice_of(hash_item_bytes(x), x->node.extra);
}

static void hash_item_read(const struct hash_item *x, struct hash_field *f)
{
    f->field = slice_of(hash_item_bytes(x), x->node.extra);
    f->value = slice_of(f->field.p + f->field.n, x->n_value);
    f->expiry_ms = hash_item_time(x).expiry_ms;
}

static size_t hash_item_size(const struct hash_field *f)
{
    return offsetof(struct hash_item, bytes) + (f->expiry_ms != 0 ? sizeof(struct hash_time) : 0) +
           f->field.n + f->value.n;
}

static struct hash_item *hash_item_new(const struct hash_field *f)
{
    struct hash_item *x = malloc(hash_item_size(f));
    struct hash_time t = { .expiry_ms = f->expiry_ms };
    uint8_t *p;

    if (x == NULL)
        return NULL;
    x->node.extra = (uint32_t)f->field.n;
    x->n_value = f->value.n & INT32_MAX;
    x->expires = f->expiry_ms != 0;
    p = x->bytes;
    if (x->expires) {
        memcpy(p, &t, sizeof t);
        p += sizeof t;
    }
    bytes_copy(p, f->field.p, f->field.n);
    bytes_copy(p + f->field.n, f->value.p, f->value.n);
    return x;
}

/* ---- the heap of a table ---- */

static void hash_heap_place(struct hash_table *t, size_t i, struct hash_item *x)
{
    struct hash_time time = hash_item_time(x);

    time.slot = i;
    memcpy(x->bytes, &time, sizeof time);
    t->heap[i] = x;
}

static uint64_t hash_heap_ms(const struct hash_table *t, size_t i)
{
    return hash_item_time(t->heap[i]).expiry_ms;
}

static void hash_heap_up(struct hash_table *t, size_t i, struct hash_item *x)
{
    uint64_t ms = hash_item_time(x).expiry_ms;

    for (; i > 0 && hash_heap_ms(t, (i - 1) / 2) > ms; i = (i - 1) / 2)
        hash_heap_place(t, i, t->heap[(i - 1) / 2]);
    hash_heap_place(t, i, x);
}

static void hash_heap_down(struct hash_table *t, size_t i, struct hash_item *x)
{
    uint64_t ms = hash_item_time(x).expiry_ms;

    for (;;) {
        size_t child = 2 * i + 1;
        if (child + 1 < t->n_heap && hash_heap_ms(t, child + 1) < hash_heap_ms(t, child))
            child++;
        if (child >= t->n_heap || hash_heap_ms(t, child) >= ms)
            break;
        hash_heap_place(t, i, t->heap[child]);
        i = child;
    }
    hash_heap_place(t, i, x);
}

/* Makes room for one more. */
static bool hash_heap_reserve(struct hash_table *t)
{
    size_t cap = t->cap_heap == 0 ? HASH_HEAP_FIRST : 2 * t->cap_heap;
    struct hash_item **heap;

    if (t->n_heap < t->cap_heap)
        return true;
    heap = realloc(t->heap, cap * sizeof(struct hash_item *));
    if (heap == NULL)
        return false;
    t->heap = heap;
    t->cap_heap = cap;
    return true;
}

static void hash_heap_add(struct hash_table *t, struct hash_item *x)
{
    if (x->expires)
        hash_heap_up(t, t->n_heap++, x);
}

static void hash_heap_remove(struct hash_table *t, struct hash_item *x)
{
    size_t i = hash_item_time(x).slot;
    struct hash_item *last;

    if (!x->expires)
        return;
    assert(i < t->n_heap && t->heap[i] == x); /* H2 */
    last = t->heap[--t->n_heap];
    if (last == x)
        return;
    hash_heap_down(t, i, last);
    hash_heap_up(t, hash_item_time(last).slot, last);
}

/* ---- tables ---- */

static void hash_table_add(struct hash_table *t, struct hash_item *x)
{
    dict_add(&t->dict, &x->node, hash_item_key(&x->node));
    hash_heap_add(t, x);
    t->n_bytes += hash_piece(x);
}

static void hash_table_drop(struct hash_table *t, struct hash_item *x)
{
    t->n_bytes -= hash_piece(x);
    free(x);
}

static void hash_table_remove(struct hash_table *t, struct hash_item *x)
{
    hash_heap_remove(t, x);
    dict_remove(&t->dict, &x->node);
    hash_table_drop(t, x);
}

static void hash_table_replace(struct hash_table *t, struct hash_item *old, struct hash_item *x)
{
    hash_heap_remove(t, old);
    dict_replace(&t->dict, &old->node, &x->node);
    hash_heap_add(t, x);
    t->n_bytes += hash_piece(x);
    hash_table_drop(t, old);
}

static struct hash_item *hash_table_find(const struct hash_table *t, struct slice field)
{
    return hash_item_of(dict_find(&t->dict, field));
}

/* Overwrites the value, and the expiry of one that has one, if it fits as it is. */
static bool hash_item_overwrite(struct hash_table *t, struct hash_item *x,
                                const struct hash_field *f)
{
    size_t size = hash_item_size(f), room = malloc_usable_size(x);
    struct hash_time time = { .expiry_ms = f->expiry_ms };

    if (x->expires != (f->expiry_ms != 0) || size > room || room - size > room / 2 + 16)
        return false;
    bytes_copy((uint8_t *)(uintptr_t)hash_item_bytes(x) + x->node.extra, f->value.p, f->value.n);
    x->n_value = f->value.n & INT32_MAX;
    if (x->expires) {
        hash_heap_remove(t, x);
        memcpy(x->bytes, &time, sizeof time);
        hash_heap_add(t, x);
    }
    return true;
}

static int hash_table_set(struct hash_table *t, const struct hash_field *f, bool *is_new,
                          struct err *e)
{
    struct hash_item *old = hash_table_find(t, f->field), *x;

    *is_new = old == NULL;
    if (old != NULL && hash_item_overwrite(t, old, f))
        return OK;
    if (f->expiry_ms != 0 && !hash_heap_reserve(t))
        return hash_nomem(e);
    x = hash_item_new(f);
    if (x == NULL)
        return hash_nomem(e);
    if (old != NULL)
        hash_table_replace(t, old, x);
    else
        hash_table_add(t, x);
    return OK;
}

static bool hash_table_set_expiry(struct hash_table *t, struct slice field, uint64_t expiry_ms,
                                  int *rc)
{
    struct hash_item *x = hash_table_find(t, field);
    struct hash_time time = { .expiry_ms = expiry_ms };
    struct hash_field f;
    bool is_new;

    if (x == NULL)
        return false;
    if (x->expires && expiry_ms != 0) {
        hash_heap_remove(t, x);
        memcpy(x->bytes, &time, sizeof time);
        hash_heap_add(t, x);
    } else if (x->expires || expiry_ms != 0) {
        hash_item_read(x, &f);
        f.expiry_ms = expiry_ms;
        *rc = hash_table_set(t, &f, &is_new, NULL); /* a new item is made before the old one goes */
    }
    return true;
}

static void hash_clear_each(void *ctx, struct dict_node *node)
{
    hash_table_remove(ctx, hash_item_of(node));
}

static void hash_table_free(struct hash_table *t)
{
    uint64_t cursor = 0;

    do
        cursor = dict_scan(&t->dict, cursor, hash_clear_each, t);
    while (cursor != 0);
    dict_fini(&t->dict);
    free(t->heap);
    free(t);
}

static struct hash_table *hash_table_new(const uint8_t seed[16])
{
    struct hash_table *t = calloc(1, sizeof *t);

    if (t == NULL)
        return NULL;
    t->head.is_table = 1;
    dict_init(&t->dict, seed, hash_item_key);
    return t;
}

/* Makes a table of what is packed, and sets a field in it. */
static int hash_unpack(struct hash **h, const uint8_t seed[16], const struct hash_field *f,
                       bool *is_new, struct err *e)
{
    const uint8_t *p = (*h)->bytes, *end = p + (*h)->used;
    struct hash_table *t = hash_table_new(seed);
    struct hash_field old;
    int rc = OK;

    if (t == NULL)
        return hash_nomem(e);
    while (rc == OK && p < end) {
        p = hash_packed_read(p, &old);
        rc = hash_table_set(t, &old, is_new, e);
    }
    if (rc == OK)
        rc = hash_table_set(t, f, is_new, e);
    if (rc != OK) {
        hash_table_free(t);
        return rc;
    }
    free(*h);
    *h = (struct hash *)t;
    return OK;
}

/* ---- changing ---- */

static bool hash_is_short(const struct hash_field *f)
{
    return f->field.n <= HASH_PACKED_BYTES && f->value.n <= HASH_PACKED_BYTES;
}

int hash_set(struct hash **h, const uint8_t seed[16], const struct hash_field *f, bool *is_new,
             struct err *e)
{
    struct hash_place at;

    if (f->field.n > HASH_STRING_MAX || f->value.n > HASH_STRING_MAX)
        return err_set(e, ERR_TOO_BIG, "a field of %zu and %zu bytes", f->field.n, f->value.n);
    if ((*h)->head.is_table)
        return hash_table_set(hash_table_of(*h), f, is_new, e);
    *is_new = !hash_packed_find(*h, f->field, &at);
    if (hash_is_short(f) && (*h)->head.n + *is_new <= HASH_PACKED_N)
        return hash_packed_set(h, &at, f, *is_new, e);
    return hash_unpack(h, seed, f, is_new, e);
}

bool hash_delete(struct hash **h, struct slice field)
{
    struct hash_item *x;

    if (!(*h)->head.is_table)
        return hash_packed_delete(h, field);
    x = hash_table_find(hash_table_of(*h), field);
    if (x != NULL)
        hash_table_remove(hash_table_of(*h), x);
    return x != NULL;
}

bool hash_set_expiry(struct hash **h, struct slice field, uint64_t expiry_ms, int *rc)
{
    *rc = OK;
    if ((*h)->head.is_table)
        return hash_table_set_expiry(hash_table_of(*h), field, expiry_ms, rc);
    return hash_packed_set_expiry(h, field, expiry_ms, rc);
}

/* ---- looking ---- */

bool hash_find(const struct hash *h, struct slice field, struct hash_field *out)
{
    const struct hash_item *x;
    struct hash_place at;

    if (!h->head.is_table) {
        if (!hash_packed_find(h, field, &at))
            return false;
        *out = at.f;
        return true;
    }
    x = hash_table_find(hash_table_of(h), field);
    if (x != NULL)
        hash_item_read(x, out);
    return x != NULL;
}

size_t hash_n(const struct hash *h)
{
    return h->head.is_table ? hash_table_of(h)->dict.n : h->head.n;
}

size_t hash_bytes(const struct hash *h)
{
    const struct hash_table *t = hash_table_of(h);
    size_t bytes = hash_piece(h);

    if (!h->head.is_table)
        return bytes;
    for (int i = 0; i < 2; i++)
        if (t->dict.caps[i] > DICT_CAP_MIN)
            bytes += t->dict.caps[i] * sizeof(struct dict_node *);
    return bytes + t->n_bytes + t->cap_heap * sizeof(struct hash_item *);
}

size_t hash_n_expiring(const struct hash *h)
{
    return h->head.is_table ? hash_table_of(h)->n_heap : h->n_expiring;
}

uint64_t hash_next_expiry(const struct hash *h)
{
    const struct hash_table *t = hash_table_of(h);

    if (!h->head.is_table)
        return h->head.next_expiry_ms;
    return t->n_heap > 0 ? hash_heap_ms(t, 0) : 0;
}

/* Takes expired items of the heap from i down, as many as still fit. */
static size_t hash_heap_expired(const struct hash_table *t, size_t i, uint64_t now_ms,
                                struct hash_field *out, size_t n, size_t max)
{
    if (i >= t->n_heap || n == max || hash_heap_ms(t, i) > now_ms)
        return n;
    hash_item_read(t->heap[i], &out[n++]);
    n = hash_heap_expired(t, 2 * i + 1, now_ms, out, n, max);
    return hash_heap_expired(t, 2 * i + 2, now_ms, out, n, max);
}

size_t hash_expired(struct hash *h, uint64_t now_ms, struct hash_field *out, size_t max)
{
    const uint8_t *p = h->bytes, *end = p + h->used;
    struct hash_field f;
    size_t n = 0;

    if (hash_next_expiry(h) == 0 || hash_next_expiry(h) > now_ms)
        return 0;
    if (h->head.is_table)
        return hash_heap_expired(hash_table_of(h), 0, now_ms, out, 0, max);
    while (p < end && n < max) {
        p = hash_packed_read(p, &f);
        if (f.expiry_ms != 0 && f.expiry_ms <= now_ms)
            out[n++] = f;
    }
    return n;
}

struct hash_walk {
    void (*each)(void *ctx, const struct hash_field *f);
    void *ctx;
};

static void hash_walk_node(void *ctx, struct dict_node *node)
{
    const struct hash_walk *w = ctx;
    struct hash_field f;

    hash_item_read(hash_item_of(node), &f);
    w->each(w->ctx, &f);
}

uint64_t hash_scan(struct hash *h, uint64_t cursor,
                   void (*each)(void *ctx, const struct hash_field *f), void *ctx)
{
    const uint8_t *p = h->bytes, *end = p + h->used;
    struct hash_walk w = { each, ctx };
    struct hash_field f;

    if (h->head.is_table)
        return dict_scan(&hash_table_of(h)->dict, cursor, hash_walk_node, &w);
    while (p < end) {
        p = hash_packed_read(p, &f);
        each(ctx, &f);
    }
    return 0;
}

bool hash_random(struct hash *h, uint64_t r, struct hash_field *out)
{
    const uint8_t *p = h->bytes;

    if (hash_n(h) == 0)
        return false;
    if (h->head.is_table) {
        hash_item_read(hash_item_of(dict_random(&hash_table_of(h)->dict, r)), out);
        return true;
    }
    for (uint64_t i = r % h->head.n + 1; i > 0; i--)
        p = hash_packed_read(p, out);
    return true;
}

bool hash_is_packed(const struct hash *h)
{
    return !h->head.is_table;
}

/* ---- the end ---- */

void hash_free(struct hash *h)
{
    if (h != NULL && h->head.is_table)
        hash_table_free(hash_table_of(h));
    else
        free(h);
}

struct hash_shrinking {
    struct hash_table *t;
    size_t n;
};

static void hash_shrink_each(void *ctx, struct dict_node *node)
{
    struct hash_shrinking *x = ctx;

    hash_table_remove(x->t, hash_item_of(node));
    x->n++;
}

bool hash_shrink(struct hash *h, size_t budget)
{
    struct hash_shrinking x = { hash_table_of(h), 0 };
    size_t n_steps = 0;

    while (h->head.is_table && x.t->dict.n > 0 && x.n < budget && n_steps++ < budget)
        x.t->cursor = dict_scan(&x.t->dict, x.t->cursor, hash_shrink_each, &x);
    if (h->head.is_table && x.t->dict.n > 0)
        return true;
    hash_free(h);
    return false;
}

/* ---- for tests ---- */

struct hash_count {
    size_t n, n_expiring;
    uint64_t first;
    bool too_long;
};

static void hash_count_each(void *ctx, const struct hash_field *f)
{
    struct hash_count *c = ctx;

    c->n++;
    c->n_expiring += f->expiry_ms != 0;
    if (f->expiry_ms != 0 && (c->first == 0 || f->expiry_ms < c->first))
        c->first = f->expiry_ms;
    c->too_long = c->too_long || !hash_is_short(f);
}

static const char *hash_check_heap(const struct hash_table *t)
{
    for (size_t i = 0; i < t->n_heap; i++) {
        struct hash_time time = hash_item_time(t->heap[i]);
        if (time.slot != i || time.expiry_ms == 0)
            return "H2, an item's place";
        if (i > 0 && hash_heap_ms(t, (i - 1) / 2) > time.expiry_ms)
            return "H2, the order";
    }
    return dict_check(&t->dict);
}

static const char *hash_check_packed(const struct hash *h, const struct hash_count *c)
{
    const uint8_t *p = h->bytes, *end = p + h->used;
    struct hash_field f;

    while (p < end)
        p = hash_packed_read(p, &f);
    if (p != end || hash_bytes(h) < offsetof(struct hash, bytes) + h->used)
        return "the end of a packed hash";
    return c->n > HASH_PACKED_N || c->too_long ? "H1" : NULL;
}

const char *hash_check(const struct hash *h)
{
    struct hash_count c = { .n = 0 };
    uint64_t cursor = 0;

    do
        cursor = hash_scan((struct hash *)(uintptr_t)h, cursor, hash_count_each, &c);
    while (cursor != 0);
    if (c.n != hash_n(h) || c.n_expiring != hash_n_expiring(h) || c.first != hash_next_expiry(h))
        return "H3";
    return h->head.is_table ? hash_check_heap(hash_table_of(h)) : hash_check_packed(h, &c);
}
