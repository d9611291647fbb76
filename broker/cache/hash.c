/*
 * hash.c - the fields of a hash: packed while they are few and short, in a table when not.
 *
 * Packed: one piece of memory with the fields in the order in which they were first set, each
 *
 *   str field | varint 2 x length of value + (1 if it expires) | value | varint expiry, if it does
 *
 * Looking is walking, which for up to HASH_PACKED_N fields of at most HASH_PACKED_BYTES is as fast as hashing, and takes a
 * tenth of the memory. The first field too many, or too long, makes it a table, and it stays one.
 *
 * Table: a dict of items, each in memory of its own with name, value and, if it expires, its time and its place in a heap by
 * that time. So the field that expires first is known, and what has expired is found without looking at what has not.
 *
 *   H1  A packed hash has at most HASH_PACKED_N fields, none with a name or value of more than HASH_PACKED_BYTES.
 *   H2  An item is in the heap exactly if it has an expiry; the heap's parent is never later than its children.
 *   H3  n, n_expiring and bytes are what a walk would count.
 */
#include "broker/cache/hash.h"
#include <assert.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include "log/dict.h"

enum { HASH_PACKED_N = 128, HASH_PACKED_BYTES = 64, HASH_FIRST = 48, HASH_HEAP_FIRST = 16 };

struct hash_item {
    struct dict_node node; /* must be first */
    uint32_t n_field, n_value;
    uint32_t room;   /* for bytes */
    uint32_t slot;   /* in the heap; UINT32_MAX: in none */
    uint64_t expiry; /* 0: none */
    uint8_t bytes[]; /* field, value */
};

struct hash_table {
    struct dict dict;
    struct hash_item **heap;
    size_t cap_heap;
    uint64_t cursor; /* of hash_shrink */
};

struct hash {
    uint8_t *packed; /* NULL: it has none, or is a table */
    struct hash_table *table;
    const uint8_t *seed;
    uint32_t used, cap; /* of packed */
    uint32_t n, n_expiring;
    size_t bytes;
    uint64_t next_expiry; /* of a packed one: not later than the first */
};

static int hash_nomem(struct err *e)
{
    return err_set(e, ERR_NOMEM, "no memory for a field of a hash");
}

int hash_new(const uint8_t seed[16], struct hash **out, struct err *e)
{
    struct hash *h = calloc(1, sizeof *h);

    if (h == NULL)
        return hash_nomem(e);
    h->seed = seed;
    h->bytes = malloc_usable_size(h);
    *out = h;
    return OK;
}

/* ---- packed ---- */

/* The field at p, which ends before `end`; returns where the next one begins. */
static const uint8_t *hash_packed_read(const uint8_t *p, const uint8_t *end, struct hash_field *f)
{
    uint64_t n = 0;
    bool sound = slice_get(&p, end, &f->field) && varint_get(&p, end, &n);

    assert(sound && n / 2 <= (uint64_t)(end - p));
    f->value = slice_of(p, (size_t)(n / 2));
    p += n / 2;
    f->expiry_ms = 0;
    if (n & 1)
        sound = varint_get(&p, end, &f->expiry_ms);
    assert(sound);
    (void)sound;
    return p;
}

static size_t hash_packed_size(const struct hash_field *f)
{
    uint64_t n = 2 * (uint64_t)f->value.n + (f->expiry_ms != 0);

    return slice_size(f->field) + varint_size(n) + f->value.n +
           (f->expiry_ms != 0 ? varint_size(f->expiry_ms) : 0);
}

static void hash_packed_put(uint8_t *p, const struct hash_field *f)
{
    p = slice_put(p, f->field);
    p = varint_put(p, 2 * (uint64_t)f->value.n + (f->expiry_ms != 0));
    if (f->value.n > 0)
        memcpy(p, f->value.p, f->value.n);
    if (f->expiry_ms != 0)
        varint_put(p + f->value.n, f->expiry_ms);
}

/* Where the field is, and where it ends; false if it is not there. */
static bool hash_packed_find(const struct hash *h, struct slice field, struct hash_field *f,
                             size_t *from, size_t *to)
{
    const uint8_t *p = h->packed, *end = p + h->used;

    while (p < end) {
        const uint8_t *next = hash_packed_read(p, end, f);
        if (slice_equal(f->field, field)) {
            *from = (size_t)(p - h->packed);
            *to = (size_t)(next - h->packed);
            return true;
        }
        p = next;
    }
    return false;
}

static int hash_packed_reserve(struct hash *h, size_t used, struct err *e)
{
    size_t cap = h->cap == 0 ? HASH_FIRST : h->cap;
    uint8_t *packed;

    if (used <= h->cap)
        return OK;
    while (cap < used)
        cap += cap / 2;
    packed = realloc(h->packed, cap);
    if (packed == NULL)
        return hash_nomem(e);
    h->bytes += malloc_usable_size(packed) - h->cap;
    h->packed = packed;
    h->cap = (uint32_t)malloc_usable_size(packed);
    return OK;
}

static void hash_note_expiry(struct hash *h, uint64_t expiry_ms)
{
    if (expiry_ms == 0)
        return;
    if (h->n_expiring++ == 0 || expiry_ms < h->next_expiry)
        h->next_expiry = expiry_ms;
}

/* The next expiry may be too early then. */
static void hash_forget_expiry(struct hash *h, uint64_t expiry_ms)
{
    if (expiry_ms != 0 && --h->n_expiring == 0)
        h->next_expiry = 0;
}

/* Replaces bytes [from, to) of the packed ones by the field. */
static int hash_packed_replace(struct hash *h, size_t from, size_t to, const struct hash_field *f,
                               struct err *e)
{
    size_t size = f == NULL ? 0 : hash_packed_size(f), used = h->used - (to - from) + size;
    int rc = hash_packed_reserve(h, used, e);

    if (rc != OK)
        return rc;
    if (h->used > to)
        memmove(h->packed + from + size, h->packed + to, h->used - to);
    h->used = (uint32_t)used;
    if (f != NULL)
        hash_packed_put(h->packed + from, f);
    return OK;
}

static int hash_packed_set(struct hash *h, const struct hash_field *f, bool *is_new, struct err *e)
{
    struct hash_field old = { .expiry_ms = 0 };
    size_t from = h->used, to = h->used;
    int rc;

    *is_new = !hash_packed_find(h, f->field, &old, &from, &to);
    if (*is_new) {
        from = h->used;
        to = h->used;
        old.expiry_ms = 0;
    }
    rc = hash_packed_replace(h, from, to, f, e);
    if (rc != OK)
        return rc;
    hash_forget_expiry(h, old.expiry_ms);
    hash_note_expiry(h, f->expiry_ms);
    h->n += *is_new;
    return OK;
}

/* ---- the heap of a table ---- */

static void hash_heap_place(struct hash_table *t, size_t i, struct hash_item *x)
{
    t->heap[i] = x;
    x->slot = (uint32_t)i;
}

static void hash_heap_up(struct hash_table *t, size_t i, struct hash_item *x)
{
    while (i > 0 && t->heap[(i - 1) / 2]->expiry > x->expiry) {
        hash_heap_place(t, i, t->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    hash_heap_place(t, i, x);
}

static void hash_heap_down(struct hash_table *t, size_t n, size_t i, struct hash_item *x)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child + 1 < n && t->heap[child + 1]->expiry < t->heap[child]->expiry)
            child++;
        if (child >= n || t->heap[child]->expiry >= x->expiry)
            break;
        hash_heap_place(t, i, t->heap[child]);
        i = child;
    }
    hash_heap_place(t, i, x);
}

static int hash_heap_reserve(struct hash *h, struct err *e)
{
    struct hash_table *t = h->table;
    size_t cap = t->cap_heap == 0 ? HASH_HEAP_FIRST : 2 * t->cap_heap;
    struct hash_item **heap;

    if (h->n_expiring < t->cap_heap)
        return OK;
    heap = realloc(t->heap, cap * sizeof(struct hash_item *));
    if (heap == NULL)
        return hash_nomem(e);
    h->bytes += (cap - t->cap_heap) * sizeof(struct hash_item *);
    t->heap = heap;
    t->cap_heap = cap;
    return OK;
}

/* H2; room has been made. */
static void hash_heap_add(struct hash *h, struct hash_item *x)
{
    if (x->expiry != 0)
        hash_heap_up(h->table, h->n_expiring++, x);
}

static void hash_heap_remove(struct hash *h, struct hash_item *x)
{
    struct hash_table *t = h->table;
    size_t i = x->slot;
    struct hash_item *last;

    if (x->slot == UINT32_MAX)
        return;
    x->slot = UINT32_MAX;
    last = t->heap[--h->n_expiring];
    if (last == x)
        return;
    hash_heap_down(t, h->n_expiring, i, last);
    hash_heap_up(t, last->slot, last);
}

/* ---- tables ---- */

static struct hash_item *hash_item_of(const struct dict_node *node)
{
    return (struct hash_item *)(uintptr_t)node; /* node is its first member */
}

static struct slice hash_item_key(const struct dict_node *node)
{
    const struct hash_item *x = hash_item_of(node);
    return slice_of(x->bytes, x->n_field);
}

static void hash_item_read(const struct hash_item *x, struct hash_field *f)
{
    *f = (struct hash_field){ .field = slice_of(x->bytes, x->n_field),
                              .value = slice_of(x->bytes + x->n_field, x->n_value),
                              .expiry_ms = x->expiry };
}

static struct hash_item *hash_item_new(struct hash *h, const struct hash_field *f)
{
    struct hash_item *x = malloc(sizeof *x + f->field.n + f->value.n);

    if (x == NULL)
        return NULL;
    x->room = (uint32_t)(malloc_usable_size(x) - sizeof *x);
    x->n_field = (uint32_t)f->field.n;
    x->slot = UINT32_MAX;
    if (f->field.n > 0)
        memcpy(x->bytes, f->field.p, f->field.n);
    h->bytes += malloc_usable_size(x);
    return x;
}

static void hash_item_free(struct hash *h, struct hash_item *x)
{
    h->bytes -= malloc_usable_size(x);
    free(x);
}

static void hash_item_fill(struct hash_item *x, const struct hash_field *f)
{
    x->n_value = (uint32_t)f->value.n;
    x->expiry = f->expiry_ms;
    if (f->value.n > 0)
        memmove(x->bytes + x->n_field, f->value.p, f->value.n);
}

/* The dict's own tables take about two pointers for each node at most: they are counted as one. */
static size_t hash_share(void)
{
    return sizeof(void *);
}

static void hash_table_add(struct hash *h, struct hash_item *x)
{
    dict_add(&h->table->dict, &x->node, hash_item_key(&x->node));
    hash_heap_add(h, x);
    h->bytes += hash_share();
    h->n++;
}

static void hash_table_remove(struct hash *h, struct hash_item *x)
{
    hash_heap_remove(h, x);
    dict_remove(&h->table->dict, &x->node);
    h->bytes -= hash_share();
    h->n--;
    hash_item_free(h, x);
}

static struct hash_item *hash_table_find(const struct hash *h, struct slice field)
{
    return hash_item_of(dict_find(&h->table->dict, field));
}

static int hash_table_set(struct hash *h, const struct hash_field *f, bool *is_new, struct err *e)
{
    struct hash_item *old = hash_table_find(h, f->field), *x = old;
    int rc = f->expiry_ms != 0 ? hash_heap_reserve(h, e) : OK;

    if (rc != OK)
        return rc;
    *is_new = old == NULL;
    if (old == NULL || f->field.n + f->value.n > old->room ||
        f->field.n + f->value.n < old->room / 2)
        x = hash_item_new(h, f);
    if (x == NULL)
        return hash_nomem(e);
    if (x == old) {
        hash_heap_remove(h, x);
        hash_item_fill(x, f);
        hash_heap_add(h, x);
        return OK;
    }
    hash_item_fill(x, f);
    if (old != NULL)
        hash_table_remove(h, old);
    hash_table_add(h, x);
    return OK;
}

/* ---- from packed to table ---- */

static void hash_table_free(struct hash_table *t)
{
    if (t == NULL)
        return;
    dict_fini(&t->dict);
    free(t->heap);
    free(t);
}

static void hash_table_each(void *ctx, struct dict_node *node)
{
    hash_table_remove(ctx, hash_item_of(node));
}

static void hash_table_clear(struct hash *h)
{
    uint64_t cursor = 0;

    do
        cursor = dict_scan(&h->table->dict, cursor, hash_table_each, h);
    while (cursor != 0);
}

/* Makes a table of what is packed. */
static int hash_unpack(struct hash *h, struct err *e)
{
    struct hash table = { .seed = h->seed, .table = calloc(1, sizeof *table.table) };
    const uint8_t *p = h->packed, *end = p + h->used;
    bool is_new;
    int rc = OK;

    if (table.table == NULL)
        return hash_nomem(e);
    dict_init(&table.table->dict, h->seed, hash_item_key);
    table.bytes = malloc_usable_size(h) + malloc_usable_size(table.table);
    while (rc == OK && p < end) {
        struct hash_field f;
        p = hash_packed_read(p, end, &f);
        rc = hash_table_set(&table, &f, &is_new, e);
    }
    if (rc != OK) {
        hash_table_clear(&table);
        hash_table_free(table.table);
        return rc;
    }
    free(h->packed);
    *h = table;
    return OK;
}

/* ---- changing ---- */

static bool hash_fits_packed(const struct hash *h, const struct hash_field *f)
{
    return h->n < HASH_PACKED_N && f->field.n <= HASH_PACKED_BYTES &&
           f->value.n <= HASH_PACKED_BYTES;
}

int hash_set(struct hash *h, const struct hash_field *f, bool *is_new, struct err *e)
{
    struct hash_field old;
    size_t from, to;
    int rc = OK;

    if (h->table == NULL && !hash_fits_packed(h, f)) {
        bool replaces = f->field.n <= HASH_PACKED_BYTES && f->value.n <= HASH_PACKED_BYTES &&
                        hash_packed_find(h, f->field, &old, &from, &to);
        if (!replaces)
            rc = hash_unpack(h, e);
    }
    if (rc != OK)
        return rc;
    return h->table != NULL ? hash_table_set(h, f, is_new, e) : hash_packed_set(h, f, is_new, e);
}

bool hash_delete(struct hash *h, struct slice field)
{
    struct hash_field old;
    size_t from, to;

    if (h->table != NULL) {
        struct hash_item *x = hash_table_find(h, field);
        if (x != NULL)
            hash_table_remove(h, x);
        return x != NULL;
    }
    if (!hash_packed_find(h, field, &old, &from, &to))
        return false;
    hash_forget_expiry(h, old.expiry_ms);
    h->n--;
    return hash_packed_replace(h, from, to, NULL, NULL) == OK; /* it needs no memory */
}

bool hash_set_expiry(struct hash *h, struct slice field, uint64_t expiry_ms, int *rc)
{
    struct hash_field f;
    size_t from, to;

    *rc = OK;
    if (h->table != NULL) {
        struct hash_item *x = hash_table_find(h, field);
        if (x != NULL && expiry_ms != 0)
            *rc = hash_heap_reserve(h, NULL);
        if (x == NULL || *rc != OK)
            return x != NULL;
        hash_heap_remove(h, x);
        x->expiry = expiry_ms;
        hash_heap_add(h, x);
        return true;
    }
    if (!hash_packed_find(h, field, &f, &from, &to))
        return false;
    {
        uint8_t copy[2 * HASH_PACKED_BYTES]; /* what is replaced moves */
        struct hash_field next = { .field = slice_of(copy, f.field.n),
                                   .value = slice_of(copy + f.field.n, f.value.n),
                                   .expiry_ms = expiry_ms };
        uint64_t was = f.expiry_ms;
        memcpy(copy, f.field.p, f.field.n);
        memcpy(copy + f.field.n, f.value.p, f.value.n);
        *rc = hash_packed_replace(h, from, to, &next, NULL);
        if (*rc == OK) {
            hash_forget_expiry(h, was);
            hash_note_expiry(h, expiry_ms);
        }
    }
    return true;
}

/* ---- looking ---- */

bool hash_find(const struct hash *h, struct slice field, struct hash_field *out)
{
    size_t from, to;

    if (h->table != NULL) {
        const struct hash_item *x = hash_table_find(h, field);
        if (x != NULL)
            hash_item_read(x, out);
        return x != NULL;
    }
    return hash_packed_find(h, field, out, &from, &to);
}

size_t hash_n(const struct hash *h)
{
    return h->n;
}

size_t hash_bytes(const struct hash *h)
{
    return h->bytes;
}

size_t hash_n_expiring(const struct hash *h)
{
    return h->n_expiring;
}

uint64_t hash_next_expiry(const struct hash *h)
{
    if (h->n_expiring == 0)
        return 0;
    return h->table != NULL ? h->table->heap[0]->expiry : h->next_expiry;
}

/* Takes expired items of the heap below i, as many as still fit. */
static size_t hash_heap_expired(const struct hash *h, size_t i, uint64_t now_ms,
                                struct hash_field *out, size_t n, size_t max)
{
    if (i >= h->n_expiring || n == max || h->table->heap[i]->expiry > now_ms)
        return n;
    hash_item_read(h->table->heap[i], &out[n++]);
    n = hash_heap_expired(h, 2 * i + 1, now_ms, out, n, max);
    return hash_heap_expired(h, 2 * i + 2, now_ms, out, n, max);
}

size_t hash_expired(struct hash *h, uint64_t now_ms, struct hash_field *out, size_t max)
{
    const uint8_t *p = h->packed, *end = p + h->used;
    uint64_t next = UINT64_MAX;
    size_t n = 0;

    if (h->n_expiring == 0 || hash_next_expiry(h) > now_ms)
        return 0;
    if (h->table != NULL)
        return hash_heap_expired(h, 0, now_ms, out, 0, max);
    while (p < end) {
        struct hash_field f;
        p = hash_packed_read(p, end, &f);
        if (f.expiry_ms == 0)
            continue;
        if (f.expiry_ms <= now_ms && n < max)
            out[n++] = f;
        if (f.expiry_ms < next)
            next = f.expiry_ms;
    }
    h->next_expiry = next; /* exactly, until fields are removed */
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
    struct hash_walk w = { each, ctx };
    const uint8_t *p = h->packed, *end = p + h->used;

    if (h->table != NULL)
        return dict_scan(&h->table->dict, cursor, hash_walk_node, &w);
    while (p < end) {
        struct hash_field f;
        p = hash_packed_read(p, end, &f);
        each(ctx, &f);
    }
    return 0;
}

bool hash_random(struct hash *h, uint64_t r, struct hash_field *out)
{
    const uint8_t *p = h->packed, *end = p + h->used;

    if (h->n == 0)
        return false;
    if (h->table != NULL) {
        hash_item_read(hash_item_of(dict_random(&h->table->dict, r)), out);
        return true;
    }
    for (uint64_t i = r % h->n + 1; i > 0; i--)
        p = hash_packed_read(p, end, out);
    return true;
}

bool hash_is_packed(const struct hash *h)
{
    return h->table == NULL;
}

/* ---- the end ---- */

struct hash_shrinking {
    struct hash *h;
    size_t n;
};

static void hash_shrink_each(void *ctx, struct dict_node *node)
{
    struct hash_shrinking *x = ctx;

    hash_table_remove(x->h, hash_item_of(node));
    x->n++;
}

bool hash_shrink(struct hash *h, size_t budget)
{
    struct hash_shrinking x = { h, 0 };

    while (h->table != NULL && h->n > 0 && x.n < budget)
        h->table->cursor = dict_scan(&h->table->dict, h->table->cursor, hash_shrink_each, &x);
    if (h->table != NULL && h->n > 0)
        return true;
    hash_free(h);
    return false;
}

void hash_free(struct hash *h)
{
    if (h == NULL)
        return;
    if (h->table != NULL)
        hash_table_clear(h);
    hash_table_free(h->table);
    free(h->packed);
    free(h);
}

/* ---- for tests ---- */

struct hash_count {
    size_t n, n_expiring, bytes;
    uint64_t first;
};

static void hash_count_each(void *ctx, const struct hash_field *f)
{
    struct hash_count *c = ctx;

    c->n++;
    c->n_expiring += f->expiry_ms != 0;
    if (f->expiry_ms != 0 && (c->first == 0 || f->expiry_ms < c->first))
        c->first = f->expiry_ms;
}

static const char *hash_check_heap(const struct hash *h)
{
    for (size_t i = 0; i < h->n_expiring; i++) {
        const struct hash_item *x = h->table->heap[i];
        if (x->slot != i || x->expiry == 0 ||
            (i > 0 && h->table->heap[(i - 1) / 2]->expiry > x->expiry))
            return "H2, the heap";
    }
    return dict_check(&h->table->dict);
}

const char *hash_check(const struct hash *h)
{
    struct hash_count c = { 0 };
    uint64_t cursor = 0;

    do
        cursor = hash_scan((struct hash *)(uintptr_t)h, cursor, hash_count_each, &c);
    while (cursor != 0);
    if (c.n != h->n || c.n_expiring != h->n_expiring)
        return "H3";
    if (c.n_expiring > 0 && hash_next_expiry(h) > c.first)
        return "an expiry is earlier than the next one";
    if (h->table == NULL && h->n > HASH_PACKED_N)
        return "H1";
    return h->table != NULL ? hash_check_heap(h) : NULL;
}
