/* test_gate.c - claims about when a reply may leave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include "broker/net/gate.h"

static void a_reply_that_needs_nothing_leaves_at_once(void **state)
{
    struct gate g;

    (void)state;
    gate_init(&g);
    gate_mark(&g, 10, 0, 0);
    assert_false(gate_waits(&g));
    assert_int_equal(gate_open(&g, 0, 0), 10);
    gate_fini(&g);
}

static void a_reply_waits_for_both_watermarks(void **state)
{
    struct gate g;

    (void)state;
    gate_init(&g);
    gate_mark(&g, 10, 5, 3);
    assert_true(gate_waits(&g));
    assert_int_equal(gate_open(&g, 4, 9), 0);
    assert_int_equal(gate_open(&g, 9, 2), 0);
    assert_int_equal(gate_open(&g, 5, 3), 10);
    assert_false(gate_waits(&g));
    gate_fini(&g);
}

static void replies_leave_in_order_and_wait_for_those_before(void **state)
{
    struct gate g;

    (void)state;
    gate_init(&g);
    gate_mark(&g, 10, 7, 0);
    gate_mark(&g, 20, 0, 0); /* needs nothing, but stands behind one that does */
    gate_mark(&g, 30, 8, 0);
    gate_mark(&g, 40, 0, 6);
    assert_int_equal(gate_open(&g, 6, 6), 0);
    assert_int_equal(gate_open(&g, 7, 0), 20);
    assert_int_equal(gate_open(&g, 8, 5), 30);
    assert_int_equal(gate_open(&g, 8, 6), 40);
    gate_fini(&g);
}

static void what_has_passed_once_is_not_waited_for_again(void **state)
{
    struct gate g;

    (void)state;
    gate_init(&g);
    gate_mark(&g, 10, 7, 7);
    assert_int_equal(gate_open(&g, 7, 7), 10);
    gate_mark(&g, 20, 6, 7);
    assert_false(gate_waits(&g));
    assert_int_equal(gate_open(&g, 7, 7), 20);
    gate_mark(&g, 30, 8, 0);
    assert_true(gate_waits(&g));
    gate_fini(&g);
}

static void any_number_of_replies_needs_little_memory_and_all_leave_in_the_end(void **state)
{
    struct gate g;

    (void)state;
    gate_init(&g);
    for (uint64_t i = 1; i <= 100000; i++)
        gate_mark(&g, i * 10, i, i);
    assert_true(g.cap <= 16);
    assert_int_equal(gate_open(&g, 3, 2), 20);
    assert_int_equal(gate_open(&g, 99999, 99999), 150);
    assert_int_equal(gate_open(&g, 100000, 100000), 1000000);
    assert_false(gate_waits(&g));
    gate_fini(&g);
}

static uint64_t next_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

static void nothing_ever_leaves_early_and_everything_leaves(void **state)
{
    enum { MARKS = 4096 };
    const char *given = getenv("SEED"), *scale = getenv("SCALE");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    uint64_t s = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    size_t rounds = (size_t)(50.0 * (scale != NULL ? strtod(scale, NULL) : 1.0)) + 1;
    static struct gate_mark model[MARKS];

    (void)state;
    print_message("  SEED=%llu, %zu rounds\n", (unsigned long long)seed, rounds);
    for (size_t round = 0; round < rounds; round++) {
        uint64_t lsn = 1, released = 0, durable = 0, end = 0, opened = 0;
        size_t n = 0, first = 0; /* marks made, and those that the model has let go */
        struct gate g;

        gate_init(&g);
        while (n < MARKS) {
            lsn += next_random(&s) % 3;
            end += 1 + next_random(&s) % 20;
            model[n].end = end;
            model[n].need_written = next_random(&s) % 3 == 0 ? 0 : lsn;
            model[n].need_durable = next_random(&s) % 2 == 0 ? 0 : lsn;
            gate_mark(&g, end, model[n].need_written, model[n].need_durable);
            n++;
            if (next_random(&s) % 4 == 0)
                released += next_random(&s) % (lsn - released + 1);
            if (next_random(&s) % 8 == 0)
                durable += next_random(&s) % (released > durable ? released - durable + 1 : 1);
            opened = gate_open(&g, released, durable);
            while (first < n && model[first].need_written <= released &&
                   model[first].need_durable <= durable)
                first++;
            assert_true(opened <= (first > 0 ? model[first - 1].end : 0)); /* never early */
            if (first == n && g.n == 0)
                assert_int_equal(opened, end);
        }
        assert_int_equal(gate_open(&g, lsn, lsn), end);
        assert_false(gate_waits(&g));
        gate_fini(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reply_that_needs_nothing_leaves_at_once),
        cmocka_unit_test(a_reply_waits_for_both_watermarks),
        cmocka_unit_test(replies_leave_in_order_and_wait_for_those_before),
        cmocka_unit_test(what_has_passed_once_is_not_waited_for_again),
        cmocka_unit_test(any_number_of_replies_needs_little_memory_and_all_leave_in_the_end),
        cmocka_unit_test(nothing_ever_leaves_early_and_everything_leaves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
