/* test_list.c - list.c beside a sorted array, with memory that fails; and lists as bytes and back. */
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
#include "broker/cache/list.c"
#undef malloc
#undef calloc
#undef realloc
#undef free
#include "broker/cache/value.h"

enum { ELEMENTS_MAX = 6000, STEPS = 60000, LONG = 9000 };

static const uint8_t SEED[16] = { 2, 7, 1, 8, 2, 8 };

struct item {
    int64_t pos;
    size_t n;
    uint64_t fill; /* of its bytes */
};

struct model {
    struct list *l;
    struct item items[ELEMENTS_MAX]; /* ascending */
    size_t n;
    struct random r;
};

static struct slice item_value(const struct item *x)
{
    static uint8_t bytes[LONG + 8];

    for (size_t i = 0; i < x->n; i += 8)
        put_u64le(bytes + i, x->fill + i);
    return slice_of(bytes, x->n);
}

static void assert_is(const struct list_at *at, const struct item *x)
{
    assert_true(at->pos == x->pos);
    assert_true(slice_equal(at->value, item_value(x)));
}

/* How many items are below pos. */
static size_t model_below(const struct model *m, int64_t pos)
{
    size_t low = 0, high = m->n;

    while (low < high) {
        size_t middle = (low + high) / 2;
        if (m->items[middle].pos < pos)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void model_insert(struct model *m, struct item x)
{
    size_t i = model_below(m, x.pos);

    if (i == m->n || m->items[i].pos != x.pos) {
        memmove(&m->items[i + 1], &m->items[i], (m->n - i) * sizeof x);
        m->n++;
    }
    m->items[i] = x;
}

static void model_compare(struct model *m)
{
    struct list_at at;
    size_t i = 0;

    assert_null(list_check(m->l));
    assert_int_equal(list_n(m->l), m->n);
    assert_true(list_first(m->l) == (m->n > 0 ? m->items[0].pos : 0));
    assert_true(list_last(m->l) == (m->n > 0 ? m->items[m->n - 1].pos : -1));
    for (bool more = list_seek(m->l, 0, &at); more; more = list_next(m->l, &at))
        assert_is(&at, &m->items[i++]);
    assert_int_equal(i, m->n);
    if (m->n == 0)
        return;
    assert_true(list_seek(m->l, m->n - 1, &at));
    do
        assert_is(&at, &m->items[--i]);
    while (list_prev(m->l, &at));
    assert_int_equal(i, 0);
}

/* With memory that may fail: either all has happened, or nothing. */
static void model_put(struct model *m, struct item x, bool fails)
{
    size_t bytes = list_bytes(m->l);
    int rc;

    memory_random = fails ? &m->r : NULL;
    rc = list_put(m->l, x.pos, item_value(&x), NULL);
    memory_random = NULL;
    if (rc == OK)
        model_insert(m, x);
    else
        assert_int_equal(rc, ERR_NOMEM);
    if (rc != OK && list_bytes(m->l) != bytes) /* the directory may have grown */
        model_compare(m);
}

static void model_remove(struct model *m, int64_t from, int64_t to)
{
    size_t i = model_below(m, from), k = i;

    while (k < m->n && m->items[k].pos <= to)
        k++;
    memory_random = &m->r;
    assert_int_equal(list_remove(m->l, from, to), k - i);
    memory_random = NULL;
    memmove(&m->items[i], &m->items[k], (m->n - k) * sizeof m->items[0]);
    m->n -= k - i;
}

static void model_look(struct model *m)
{
    size_t i = random_below(&m->r, m->n + 2);
    struct list_at at;
    int64_t pos;

    assert_int_equal(list_seek(m->l, i, &at), i < m->n);
    if (i < m->n)
        assert_is(&at, &m->items[i]);
    pos = (i < m->n ? m->items[i].pos : list_last(m->l)) + (int64_t)random_below(&m->r, 4) - 2;
    i = model_below(m, pos);
    assert_int_equal(list_seek_pos(m->l, pos, &at), i < m->n);
    if (i < m->n)
        assert_is(&at, &m->items[i]);
    i = i < m->n && m->items[i].pos == pos ? i + 1 : i;
    assert_int_equal(list_seek_pos_back(m->l, pos, &at), i > 0);
    if (i > 0)
        assert_is(&at, &m->items[i - 1]);
}

static size_t model_length(struct model *m)
{
    switch (random_below(&m->r, 40)) {
    case 0: return random_below(&m->r, LONG);
    case 1: return random_below(&m->r, 300);
    default: return random_below(&m->r, 20);
    }
}

static int64_t model_some_pos(struct model *m)
{
    if (m->n == 0)
        return 0;
    return m->items[random_below(&m->r, m->n)].pos + (int64_t)random_below(&m->r, 3) - 1;
}

static void model_push(struct model *m, bool fails)
{
    struct item x = { .n = model_length(m), .fill = random_u64(&m->r) };
    int64_t far = random_below(&m->r, 50) == 0 ? (int64_t)random_below(&m->r, 100000) : 0;

    if (m->n == ELEMENTS_MAX)
        return;
    x.pos = random_below(&m->r, 2) == 0 ? list_last(m->l) + 1 + far : list_first(m->l) - 1 - far;
    model_put(m, x, fails);
}

static void model_step(struct model *m, unsigned way)
{
    bool fails = random_below(&m->r, 4) == 0;
    int64_t pos = model_some_pos(m);

    switch (random_below(&m->r, 12)) {
    case 0:
    case 1:
        if (m->n < ELEMENTS_MAX)
            model_put(m, (struct item){ pos, model_length(m), random_u64(&m->r) }, fails);
        break;
    case 2: model_remove(m, pos, pos); break;
    case 3:
        if (random_below(&m->r, 60) == 0)
            model_remove(m, pos, pos + (int64_t)random_below(&m->r, 3000));
        break;
    case 4:
    case 5:
        if (m->n > 0 && way % 2 == 0)
            model_remove(m, list_first(m->l), list_first(m->l));
        break;
    case 6:
    case 7:
        if (m->n > 0 && way / 2 % 2 == 0)
            model_remove(m, list_last(m->l), list_last(m->l));
        break;
    case 8: model_look(m); break;
    default: model_push(m, fails); break;
    }
}

static void model_bytes_and_back(struct model *m)
{
    size_t size = value_list_size(m->l);
    uint8_t *bytes = malloc(size);
    struct list *was = m->l;

    assert_non_null(bytes);
    assert_ptr_equal(value_put_list(bytes, m->l), bytes + size);
    assert_int_equal(value_get_list(slice_of(bytes, size), &m->l, NULL), OK);
    model_compare(m);
    list_free(was);
    free(bytes);
}

static void it_is_what_a_sorted_array_is(void **state)
{
    struct random seed = random_seeded("list");
    struct model *m = calloc(1, sizeof *m);

    (void)state;
    assert_non_null(m);
    for (size_t round = random_rounds(8); round > 0; round--) {
        m->r.state = random_u64(&seed);
        m->n = 0;
        assert_int_equal(list_new(&m->l, NULL), OK);
        for (unsigned i = 0; i < STEPS; i++) {
            model_step(m, i / 5000);
            if (i % 1000 == 0)
                model_compare(m);
            if (i % 15000 == 0)
                model_bytes_and_back(m);
        }
        model_compare(m);
        list_free(m->l);
    }
    assert_int_equal(memory_held, 0);
    free(m);
}

static void positions_reach_both_ends_of_the_numbers(void **state)
{
    static const int64_t POSITIONS[] = { 0, INT64_MAX, INT64_MIN, INT64_MAX - 1, INT64_MIN + 1,
                                         5, -5 };
    struct model *m = calloc(1, sizeof *m);

    (void)state;
    assert_non_null(m);
    assert_int_equal(list_new(&m->l, NULL), OK);
    for (size_t i = 0; i < sizeof POSITIONS / sizeof POSITIONS[0]; i++) {
        model_put(m, (struct item){ POSITIONS[i], 9, i }, false);
        model_compare(m);
        model_bytes_and_back(m);
    }
    model_remove(m, INT64_MIN, -5);
    model_remove(m, 5, INT64_MAX);
    model_compare(m);
    assert_int_equal(m->n, 1);
    list_free(m->l);
    free(m);
}

static void a_queue_takes_no_more_than_what_is_in_it(void **state)
{
    struct list *l;
    size_t bytes;

    (void)state;
    assert_int_equal(list_new(&l, NULL), OK);
    bytes = list_bytes(l);
    for (int64_t i = 0; i < 200000; i++) {
        assert_int_equal(list_put(l, i, slice_str("a task, of 20 bytes."), NULL), OK);
        if (i >= 1000)
            assert_int_equal(list_remove(l, i - 1000, i - 1000), 1);
        assert_true(list_bytes(l) < bytes + (size_t)3 * 4096 + 1000 * 22);
    }
    assert_int_equal(list_remove(l, 0, INT64_MAX), 1000);
    assert_true(list_bytes(l) < bytes + 1000);
    assert_null(list_check(l));
    list_free(l);
}

static void what_is_large_goes_in_slices(void **state)
{
    unsigned n = 0;
    struct list *l;

    (void)state;
    assert_int_equal(list_new(&l, NULL), OK);
    for (int64_t i = 0; i < 20000; i++)
        assert_int_equal(list_put(l, -i, slice_str("x"), NULL), OK);
    while (list_shrink(l, 2000))
        n++;
    assert_in_range(n, 4, 12);
    assert_int_equal(memory_held, 0);
}

static void assert_corrupt(const char *bytes, size_t n)
{
    struct list *l = NULL;

    assert_int_equal(value_get_list(slice_of(bytes, n), &l, NULL), ERR_CORRUPT);
    assert_null(l);
    assert_int_equal(memory_held, 0);
}

static void bytes_that_are_no_list_are_refused(void **state)
{
    struct list *l;

    (void)state;
    assert_corrupt("", 0);
    assert_corrupt("\x01", 1);
    assert_corrupt("\xff\xff\xff\xff\x7f\x02\x01x", 8); /* more than bytes */
    assert_corrupt("\x01\x02\x05x", 4);                 /* a value cut short */
    assert_corrupt("\x01\x02\x01xy", 5);                /* too many */
    assert_corrupt("\x02\x02\x01x\x00\x01y", 7);        /* the same position */
    assert_corrupt("\x02\x02\x01x\x01\x01y", 7);        /* a lower one */
    assert_corrupt("\x02\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00\x02\x00",
                   14); /* over the end */
    assert_int_equal(value_get_list(slice_of("\x02\x02\x01x\x02\x01y", 7), &l, NULL), OK);
    assert_int_equal(list_n(l), 2);
    list_free(l);
}

static void an_element_too_large_is_refused(void **state)
{
    struct list *l;

    (void)state;
    assert_int_equal(list_new(&l, NULL), OK);
    assert_int_equal(list_put(l, 0, slice_of(SEED, (size_t)LIST_VALUE_MAX + 1), NULL), ERR_TOO_BIG);
    assert_int_equal(list_n(l), 0);
    list_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_what_a_sorted_array_is),
        cmocka_unit_test(positions_reach_both_ends_of_the_numbers),
        cmocka_unit_test(a_queue_takes_no_more_than_what_is_in_it),
        cmocka_unit_test(what_is_large_goes_in_slices),
        cmocka_unit_test(bytes_that_are_no_list_are_refused),
        cmocka_unit_test(an_element_too_large_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
