/*
 * test_order.c - the keys of a group with ORDERBY beside naive ones: an array of holders, an array of who is parked.
 *
 * The module's source is included with allocation functions that fail when told to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/lib/memory.h"
#include "tests/lib/random.h"

#define malloc  memory_malloc
#define calloc  memory_calloc
#define realloc memory_realloc
#include "groups/order.c"
#undef malloc
#undef calloc
#undef realloc

enum { N_KEYS = 40, N_IDS = 500 };

static const uint8_t KEY[16] = "any sixteen byte";

/* What should be so. Key k is 1 + k; the ID of i is as nth_id says. */
struct model {
    struct order *order;
    unsigned holders[N_KEYS];
    uint32_t parked[N_IDS]; /* the key; 0: not parked */
    size_t n_parked;
};

static struct id nth_id(size_t i)
{
    return (struct id){ 1000 + i / 3, i % 3 * (UINT64_MAX / 3) };
}

static bool model_is_free(const struct model *m, uint32_t key)
{
    return m->holders[key - 1] == 0;
}

/* The first parked entry from i on that is the first of its key, and whose key is free; N_IDS: none. */
static size_t model_next(const struct model *m, size_t from)
{
    bool seen[N_KEYS] = { false };

    for (size_t i = 0; i < N_IDS; i++) {
        uint32_t key = m->parked[i];
        if (key == 0)
            continue;
        if (i >= from && !seen[key - 1] && model_is_free(m, key))
            return i;
        seen[key - 1] = true;
    }
    return N_IDS;
}

static bool model_is_busy(const struct model *m, uint32_t key)
{
    bool busy = m->holders[key - 1] > 0;

    for (size_t i = 0; i < N_IDS; i++)
        busy = busy || m->parked[i] == key;
    return busy;
}

static void assert_model(const struct model *m, struct random *r)
{
    size_t from = random_below(r, N_IDS), want = model_next(m, from);
    uint32_t key = 1 + (uint32_t)random_below(r, N_KEYS);
    const char *bad = order_check(m->order);
    struct id id;

    if (bad != NULL)
        fail_msg("%s", bad);
    assert_int_equal(order_n_parked(m->order), m->n_parked);
    assert_int_equal(order_is_busy(m->order, key), model_is_busy(m, key));
    assert_int_equal(order_next(m->order, nth_id(from), &id, &key), want < N_IDS);
    if (want < N_IDS) {
        assert_int_equal(id_cmp(id, nth_id(want)), 0);
        assert_int_equal(key, m->parked[want]);
    }
}

static void model_park(struct model *m, size_t i, uint32_t key)
{
    if (m->parked[i] != 0)
        return;
    order_park(m->order, key, nth_id(i));
    m->parked[i] = key;
    m->n_parked++;
}

static void model_unpark(struct model *m, size_t i)
{
    if (m->parked[i] == 0)
        return;
    order_unpark(m->order, m->parked[i], nth_id(i));
    m->parked[i] = 0;
    m->n_parked--;
}

static void model_step(struct model *m, struct random *r)
{
    uint32_t key = 1 + (uint32_t)random_below(r, N_KEYS);
    size_t i = random_below(r, N_IDS);

    switch (random_below(r, 9)) {
    case 0:
    case 1:
        order_hold(m->order, key);
        m->holders[key - 1]++;
        break;
    case 2:
    case 3:
        if (m->holders[key - 1] > 0) {
            order_release(m->order, key);
            m->holders[key - 1]--;
        }
        break;
    case 4:
    case 5:
    case 6: model_park(m, i, key); break;
    case 7: model_unpark(m, i); break;
    case 8:
        i = model_next(m, i);
        if (i < N_IDS)
            model_unpark(m, i);
        break;
    }
    if (random_below(r, 2000) == 0) {
        order_unpark_all(m->order);
        memset(m->parked, 0, sizeof m->parked);
        m->n_parked = 0;
    }
}

static void the_order_agrees_with_a_naive_one_and_outlives_lack_of_memory(void **state)
{
    struct random r = random_seeded("order");
    struct model m = { 0 };
    (void)state;

    memory_random = &r;
    while (order_new(KEY, &m.order, NULL) != OK) {
    }
    for (size_t i = 0; i < random_rounds(60000); i++) {
        if (order_reserve(m.order, 1, NULL) == OK) {
            memory_random = NULL; /* what was reserved needs none, or this crashes */
            model_step(&m, &r);
            memory_random = &r;
        }
        assert_model(&m, &r);
    }
    memory_random = NULL;
    order_free(m.order);
}

static void what_was_reserved_needs_no_memory(void **state)
{
    struct order *o;
    struct random sometimes = { 0 };
    (void)state;

    assert_int_equal(order_new(KEY, &o, NULL), OK);
    assert_int_equal(order_reserve(o, 1000, NULL), OK);
    memory_random = &sometimes;
    for (uint32_t i = 1; i <= 500; i++) {
        order_hold(o, i);
        order_park(o, i, nth_id(i));
    }
    memory_random = NULL;
    assert_null(order_check(o));
    order_free(o);
}

static void no_key_is_never_taken(void **state)
{
    struct order *o;
    struct id id;
    uint32_t key;
    (void)state;

    assert_int_equal(order_new(KEY, &o, NULL), OK);
    order_hold(o, 0);
    assert_false(order_is_busy(o, 0));
    order_release(o, 0);
    assert_false(order_is_busy(o, 7));
    assert_false(order_next(o, ID_MIN, &id, &key));
    assert_null(order_check(o));
    order_free(o);
}

static void the_first_of_each_free_key_comes_in_the_order_of_ids(void **state)
{
    static const uint32_t KEYS[] = { 5, 6, 5, 7, 6, 8 };
    static const size_t WANT[] = { 1, 3, 5 }; /* 5 is taken; 4 waits behind 1 */
    struct order *o;
    struct id id, from = ID_MIN;
    uint32_t key;
    (void)state;

    assert_int_equal(order_new(KEY, &o, NULL), OK);
    assert_int_equal(order_reserve(o, 10, NULL), OK);
    order_hold(o, 5);
    for (size_t i = 0; i < 6; i++)
        order_park(o, KEYS[i], nth_id(i));
    for (size_t i = 0; i < 3; i++) {
        assert_true(order_next(o, from, &id, &key));
        assert_int_equal(id_cmp(id, nth_id(WANT[i])), 0);
        assert_int_equal(key, KEYS[WANT[i]]);
        from = id;
        assert_true(id_next(&from));
    }
    assert_false(order_next(o, from, &id, &key));
    order_release(o, 5);
    assert_true(order_next(o, ID_MIN, &id, &key));
    assert_int_equal(id_cmp(id, nth_id(0)), 0);
    order_free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_order_agrees_with_a_naive_one_and_outlives_lack_of_memory),
        cmocka_unit_test(what_was_reserved_needs_no_memory),
        cmocka_unit_test(no_key_is_never_taken),
        cmocka_unit_test(the_first_of_each_free_key_comes_in_the_order_of_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
