/* test_hash.c - hash.c beside an array of fields, with memory that fails; and hashes as bytes and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/lib/memory.h"

#define malloc  memory_malloc
#define calloc  memory_calloc
#define realloc memory_realloc
#define free    memory_free
#include "broker/cache/hash.c"
#undef malloc
#undef calloc
#undef realloc
#undef free
#include "broker/cache/value.h"

enum { NAMES = 3000, STEPS = 40000, LONG = 300, EXPIRED_MAX = 50 };

static const uint8_t SEED[16] = { 2, 7, 1, 8, 2, 8 };

struct item {
    bool there, seen;
    size_t n;
    uint64_t fill; /* of the value's bytes */
    uint64_t expiry_ms;
    uint64_t order; /* when it was first set */
};

struct model {
    struct hash *h;
    struct item items[NAMES];
    size_t n_names; /* that are used */
    size_t n;
    uint64_t order;
    struct random r;
};

static struct slice item_name(size_t i)
{
    static char name[2 * HASH_PACKED_BYTES];
    int n = snprintf(name, sizeof name, i % 50 == 49 ? "%064zu" : "f%zu", i);

    return slice_of(name, (size_t)n);
}

static size_t item_number(struct slice name)
{
    char text[2 * HASH_PACKED_BYTES] = "";

    memcpy(text, name.p, name.n);
    return strtoul(text + (text[0] == 'f'), NULL, 10);
}

static struct slice item_value(const struct item *x)
{
    static uint8_t bytes[LONG + 8];

    for (size_t i = 0; i < x->n; i += 8)
        put_u64le(bytes + i, x->fill + i);
    return slice_of(bytes, x->n);
}

static void assert_is(const struct hash_field *f, const struct item *x)
{
    assert_true(slice_equal(f->value, item_value(x)));
    assert_int_equal(f->expiry_ms, x->expiry_ms);
}

struct walk {
    struct model *m;
    size_t n;
    uint64_t order;
};

static void walk_each(void *ctx, const struct hash_field *f)
{
    struct walk *w = ctx;
    struct item *x = &w->m->items[item_number(f->field)];

    assert_true(x->there && !x->seen);
    assert_is(f, x);
    assert_true(!hash_is_packed(w->m->h) || x->order > w->order);
    w->order = x->order;
    x->seen = true;
    w->n++;
}

static void model_compare(struct model *m)
{
    struct walk w = { .m = m };
    uint64_t cursor = 0, next = 0;
    size_t n_expiring = 0;

    assert_null(hash_check(m->h));
    do
        cursor = hash_scan(m->h, cursor, walk_each, &w);
    while (cursor != 0);
    assert_int_equal(w.n, m->n);
    assert_int_equal(hash_n(m->h), m->n);
    for (size_t i = 0; i < m->n_names; i++) {
        struct item *x = &m->items[i];
        x->seen = false;
        if (!x->there || x->expiry_ms == 0)
            continue;
        n_expiring++;
        next = next == 0 || x->expiry_ms < next ? x->expiry_ms : next;
    }
    assert_int_equal(hash_n_expiring(m->h), n_expiring);
    assert_int_equal(hash_next_expiry(m->h), next);
}

static uint64_t model_some_expiry(struct model *m)
{
    return random_below(&m->r, 3) == 0 ? 1 + random_below(&m->r, 1000) : 0;
}

/* With memory that may fail: either all has happened, or nothing. */
static void model_set(struct model *m, size_t i, struct item x, bool fails)
{
    struct hash_field f = { item_name(i), item_value(&x), x.expiry_ms };
    bool is_new, was_packed = hash_is_packed(m->h);
    int rc;

    memory_random = fails ? &m->r : NULL;
    rc = hash_set(&m->h, SEED, &f, &is_new, NULL);
    memory_random = NULL;
    if (rc != OK) {
        assert_int_equal(rc, ERR_NOMEM);
        assert_int_equal(hash_is_packed(m->h), was_packed);
        return;
    }
    assert_int_equal(is_new, !m->items[i].there);
    x.there = true;
    x.order = is_new ? ++m->order : m->items[i].order;
    m->n += is_new;
    m->items[i] = x;
}

static void model_delete(struct model *m, size_t i)
{
    memory_random = &m->r;
    assert_int_equal(hash_delete(&m->h, item_name(i)), m->items[i].there);
    memory_random = NULL;
    m->n -= m->items[i].there;
    m->items[i].there = false;
}

static void model_set_expiry(struct model *m, size_t i, bool fails)
{
    uint64_t expiry_ms = model_some_expiry(m);
    int rc;

    memory_random = fails ? &m->r : NULL;
    assert_int_equal(hash_set_expiry(&m->h, item_name(i), expiry_ms, &rc), m->items[i].there);
    memory_random = NULL;
    assert_true(rc == OK || rc == ERR_NOMEM);
    if (rc == OK && m->items[i].there)
        m->items[i].expiry_ms = expiry_ms;
}

static void model_look(struct model *m, size_t i)
{
    struct hash_field f;

    assert_int_equal(hash_find(m->h, item_name(i), &f), m->items[i].there);
    if (m->items[i].there)
        assert_is(&f, &m->items[i]);
    assert_int_equal(hash_random(m->h, random_u64(&m->r), &f), m->n > 0);
    if (m->n > 0)
        assert_is(&f, &m->items[item_number(f.field)]);
}

/* Those that have expired, and the earliest is among them. */
static void model_expire(struct model *m)
{
    struct hash_field out[EXPIRED_MAX];
    uint64_t now_ms = random_below(&m->r, 30), first = hash_next_expiry(m->h), least = UINT64_MAX;
    size_t max = 1 + random_below(&m->r, EXPIRED_MAX), n_due = 0, n;
    size_t numbers[EXPIRED_MAX];

    for (size_t i = 0; i < m->n_names; i++)
        n_due += m->items[i].there && m->items[i].expiry_ms != 0 && m->items[i].expiry_ms <= now_ms;
    n = hash_expired(m->h, now_ms, out, max);
    assert_int_equal(n, n_due < max ? n_due : max);
    for (size_t i = 0; i < n; i++) {
        numbers[i] = item_number(out[i].field);
        assert_is(&out[i], &m->items[numbers[i]]);
        assert_in_range(out[i].expiry_ms, 1, now_ms);
        least = out[i].expiry_ms < least ? out[i].expiry_ms : least;
    }
    if (n == n_due && n > 0)
        assert_int_equal(least, first);
    for (size_t i = 0; i < n; i++)
        model_delete(m, numbers[i]);
}

static size_t model_length(struct model *m)
{
    if (m->n_names > HASH_PACKED_N)
        return random_below(&m->r, random_below(&m->r, 20) == 0 ? LONG : 40);
    return random_below(&m->r, HASH_PACKED_BYTES + 1);
}

static void model_step(struct model *m)
{
    size_t i = random_below(&m->r, m->n_names);
    bool fails = random_below(&m->r, 4) == 0;

    switch (random_below(&m->r, 10)) {
    case 0:
    case 1:
    case 2: model_delete(m, i); break;
    case 3: model_set_expiry(m, i, fails); break;
    case 4: model_look(m, i); break;
    case 5:
        if (random_below(&m->r, 40) == 0)
            model_expire(m);
        break;
    default:
        model_set(m, i,
                  (struct item){ .n = model_length(m),
                                 .fill = random_u64(&m->r),
                                 .expiry_ms = model_some_expiry(m) },
                  fails);
        break;
    }
}

static void model_bytes_and_back(struct model *m)
{
    size_t size = value_hash_size(m->h);
    uint8_t *bytes = malloc(size);
    struct hash *was = m->h;

    assert_non_null(bytes);
    assert_ptr_equal(value_put_hash(bytes, m->h), bytes + size);
    assert_int_equal(value_get_hash(slice_of(bytes, size), SEED, &m->h, NULL), OK);
    model_compare(m);
    hash_free(m->h);
    m->h = was;
    free(bytes);
}

static void model_live(struct model *m, size_t n_names)
{
    m->n_names = n_names;
    m->n = 0;
    memset(m->items, 0, sizeof m->items);
    assert_int_equal(hash_new(&m->h, NULL), OK);
    for (unsigned i = 0; i < STEPS; i++) {
        model_step(m);
        if (i % 500 == 0)
            model_compare(m);
        if (i % 10000 == 0)
            model_bytes_and_back(m);
    }
    model_compare(m);
    assert_int_equal(hash_is_packed(m->h), n_names <= HASH_PACKED_N);
    hash_free(m->h);
}

static void it_is_what_an_array_of_fields_is(void **state)
{
    struct random seed = random_seeded("hash");
    struct model *m = calloc(1, sizeof *m);

    (void)state;
    assert_non_null(m);
    for (size_t round = random_rounds(6); round > 0; round--) {
        m->r.state = random_u64(&seed);
        model_live(m, 1 + random_below(&m->r, HASH_PACKED_N));
        model_live(m, HASH_PACKED_N * 2 + random_below(&m->r, NAMES - HASH_PACKED_N * 2));
    }
    assert_int_equal(memory_held, 0);
    free(m);
}

static struct hash *hash_of(size_t n_fields, size_t n_value)
{
    static const uint8_t bytes[4096] = { 'x' };
    struct hash *h;
    bool is_new;

    assert_int_equal(hash_new(&h, NULL), OK);
    for (size_t i = 0; i < n_fields; i++) {
        struct hash_field f = { item_name(i), slice_of(bytes, n_value), 0 };
        assert_int_equal(hash_set(&h, SEED, &f, &is_new, NULL), OK);
        assert_true(is_new);
    }
    return h;
}

static void assert_packed(size_t n_fields, size_t n_value, bool packed)
{
    struct hash *h = hash_of(n_fields, n_value);

    assert_int_equal(hash_is_packed(h), packed);
    assert_null(hash_check(h));
    hash_free(h);
}

static void it_is_packed_as_long_as_it_is_in_redis(void **state)
{
    (void)state;
    assert_packed(512, 64, true);
    assert_packed(513, 64, false);
    assert_packed(512, 65, false);
    assert_packed(1, 65, false);
    assert_packed(50, 64, true); /* number 49 has a name of 64 bytes */
}

static void five_short_fields_take_one_small_piece_of_memory(void **state)
{
    struct hash *h = hash_of(5, 10);

    (void)state;
    assert_int_equal(memory_held, 1);
    assert_in_range(hash_bytes(h), 1, 5 * (2 + 2 + 10) + 12 + 16);
    hash_free(h);
}

static void what_is_large_goes_in_slices(void **state)
{
    struct hash *h = hash_of(3000, 10);
    unsigned n = 0;

    (void)state;
    while (hash_shrink(h, 500))
        n++;
    assert_in_range(n, 4, 30);
    assert_int_equal(memory_held, 0);
}

static void assert_corrupt(const char *bytes, size_t n)
{
    struct hash *h = NULL;

    assert_int_equal(value_get_hash(slice_of(bytes, n), SEED, &h, NULL), ERR_CORRUPT);
    assert_null(h);
    assert_int_equal(memory_held, 0);
}

static void bytes_that_are_no_hash_are_refused(void **state)
{
    struct hash *h;

    (void)state;
    assert_corrupt("", 0);
    assert_corrupt("\x01", 1);
    assert_corrupt("\xff\xff\xff\xff\x7f\x01x\x01y\x00", 10);         /* more than bytes */
    assert_corrupt("\x01\x05x\x01y\x00", 6);                          /* a name cut short */
    assert_corrupt("\x01\x01x\x01y", 5);                              /* no expiry */
    assert_corrupt("\x01\x01x\x01y\x00z", 7);                         /* too many */
    assert_corrupt("\x02\x01x\x01y\x00\x01x\x01z\x00", 11);           /* twice */
    assert_corrupt("\x01\x01x\x01y\x80\x80\x80\x80\x80\x80\x40", 12); /* no time */
    assert_int_equal(value_get_hash(slice_of("\x01\x01x\x01y\x09", 6), SEED, &h, NULL), OK);
    assert_int_equal(hash_next_expiry(h), 9);
    hash_free(h);
}

static void a_field_too_large_is_refused(void **state)
{
    struct hash_field f = { slice_str("f"), slice_of(SEED, (size_t)HASH_STRING_MAX + 1), 0 };
    struct hash *h = hash_of(1, 1);
    bool is_new;

    (void)state;
    assert_int_equal(hash_set(&h, SEED, &f, &is_new, NULL), ERR_TOO_BIG);
    assert_int_equal(hash_n(h), 1);
    hash_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_what_an_array_of_fields_is),
        cmocka_unit_test(it_is_packed_as_long_as_it_is_in_redis),
        cmocka_unit_test(five_short_fields_take_one_small_piece_of_memory),
        cmocka_unit_test(what_is_large_goes_in_slices),
        cmocka_unit_test(bytes_that_are_no_hash_are_refused),
        cmocka_unit_test(a_field_too_large_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
