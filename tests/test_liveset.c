/* test_liveset.c - liveset.c beside a plain bitmap; what it takes. */
#include "log/liveset.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/lib/random.h"

enum { SPAN = 5 * LIVESET_SPAN + 777, BASE = 3 * LIVESET_SPAN - 100, BITS = 200000 };

struct model {
    struct liveset set;
    uint8_t *there; /* of SPAN LSNs from BASE on */
};

static void model_init(struct model *m)
{
    memset(m, 0, sizeof *m);
    m->there = calloc(SPAN, 1);
    assert_non_null(m->there);
}

static void model_fini(struct model *m)
{
    liveset_fini(&m->set);
    free(m->there);
}

static void model_add(struct model *m, uint64_t i)
{
    assert_int_equal(liveset_reserve(&m->set, BASE + i, BASE + i, NULL), OK);
    liveset_add(&m->set, BASE + i);
    m->there[i] = 1;
}

static void model_remove(struct model *m, uint64_t i)
{
    assert_int_equal(liveset_remove(&m->set, BASE + i), m->there[i]);
    m->there[i] = 0;
}

static void model_compare(struct model *m, uint64_t from, uint64_t n)
{
    static uint64_t bits[BITS / 64 + 1];
    uint64_t count = 0;

    assert_null(liveset_check(&m->set));
    liveset_copy(&m->set, BASE + from, n, bits);
    for (uint64_t i = 0; i < n; i++) {
        assert_int_equal(bits[i / 64] >> i % 64 & 1, m->there[from + i]);
        count += m->there[from + i];
    }
    assert_true(n % 64 == 0 || bits[n / 64] >> n % 64 == 0);
    assert_int_equal(liveset_count(&m->set, BASE + from, BASE + from + n - 1), count);
}

static void it_is_what_a_bitmap_is(void **state)
{
    struct random r = random_seeded("liveset");
    struct model m;

    (void)state;
    model_init(&m);
    for (int round = 0; round < 200; round++) {
        uint64_t from = random_below(&r, SPAN - 1), n = random_below(&r, SPAN - from) % BITS + 1;
        unsigned kind = (unsigned)random_below(&r, 3), each = (unsigned)random_below(&r, 40) + 1;
        if (from + n > SPAN)
            n = SPAN - from;
        for (uint64_t i = from; i < from + n; i += 1 + random_below(&r, each))
            if (kind == 0)
                model_add(&m, i);
            else
                model_remove(&m, i);
        for (int i = 0; i < 100; i++) {
            uint64_t at = random_below(&r, SPAN);
            assert_int_equal(liveset_has(&m.set, BASE + at), m.there[at]);
        }
        model_compare(&m, from, n);
        from -= from < 64 ? 0 : (BASE + from) % 64; /* whole words */
        model_compare(&m, from, n);
    }
    model_compare(&m, 0, BITS);
    model_fini(&m);
}

static void what_lies_thin_takes_two_bytes(void **state)
{
    struct liveset s = { 0 };

    (void)state;
    for (uint64_t i = 0; i < 100 * (uint64_t)LIVESET_SPAN; i++) {
        assert_int_equal(liveset_reserve(&s, i, i, NULL), OK);
        liveset_add(&s, i);
    }
    assert_true(s.bytes <= 100 * LIVESET_SPAN / 8 + 16384); /* thick: a bit each */
    for (uint64_t i = 0; i < 100 * (uint64_t)LIVESET_SPAN; i++)
        if (i % 100 != 0)
            liveset_remove(&s, i);
    assert_null(liveset_check(&s));
    assert_int_equal(s.n_members, LIVESET_SPAN);
    assert_true(s.bytes <= 4 * s.n_members);
    for (uint64_t i = 0; i < 100 * (uint64_t)LIVESET_SPAN; i += 100)
        assert_true(liveset_remove(&s, i));
    assert_true(s.n <= 1); /* the last one, which grows */
    liveset_fini(&s);
}

static void an_empty_one_has_nothing(void **state)
{
    struct liveset s = { 0 };
    uint64_t bits[2] = { 7, 7 };

    (void)state;
    assert_false(liveset_has(&s, 5));
    assert_false(liveset_remove(&s, 5));
    assert_int_equal(liveset_count(&s, 0, UINT64_MAX), 0);
    liveset_copy(&s, 3, 100, bits);
    assert_int_equal(bits[0] | bits[1], 0);
    assert_null(liveset_check(&s));
    liveset_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_one_has_nothing),
        cmocka_unit_test(it_is_what_a_bitmap_is),
        cmocka_unit_test(what_lies_thin_takes_two_bytes),
    };
    return cmocka_run_group_tests_name("liveset", tests, NULL, NULL);
}
