/* test_arena.c - memory for records stays where it is, and reservations cost nothing they do not
 * use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "log/arena.h"
#include "tests/lib/random.h"

enum { LSN = 1024 };

static uint8_t *take(struct arena *a, size_t n)
{
    struct err e = { 0 };

    assert_int_equal(arena_reserve(a, n, &e), OK);
    return arena_take(a, n);
}

/* Takes all but the last `left` bytes of the first chunk. */
static void fill_first(struct arena *a, size_t left)
{
    for (size_t n = ARENA_FIRST_BYTES; n > ARENA_LARGE_BYTES; n -= ARENA_LARGE_BYTES)
        take(a, ARENA_LARGE_BYTES);
    take(a, ARENA_LARGE_BYTES - left);
}

static void what_was_taken_stays_where_and_as_it_was(void **state)
{
    enum { N = 3000 };
    struct random r = random_seeded("arena");
    struct arena a;
    uint8_t *p[N];
    size_t n[N];

    (void)state;
    arena_init(&a, NULL);
    for (size_t i = 0; i < N; i++) {
        n[i] = 1 + random_below(&r, i % 100 == 0 ? 3 * ARENA_CHUNK_BYTES / 2 : 5000);
        p[i] = take(&a, n[i]);
        memset(p[i], (int)i, n[i]);
    }
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(p[i][0], (uint8_t)i);
        assert_memory_equal(p[i], p[i] + n[i] / 2, n[i] - n[i] / 2);
    }
    arena_fini(&a);
}

static void takes_within_one_reservation_adjoin(void **state)
{
    struct arena a;
    struct err e = { 0 };
    uint8_t *first;

    (void)state;
    arena_init(&a, NULL);
    fill_first(&a, 10);
    assert_int_equal(arena_reserve(&a, 3000, &e), OK);
    first = arena_take(&a, 1000);
    assert_ptr_equal(arena_take(&a, 1500), first + 1000);
    assert_ptr_equal(arena_take(&a, 500), first + 2500);
    arena_fini(&a);
}

static void a_huge_record_gets_a_chunk_of_its_own(void **state)
{
    struct arena a;
    uint8_t *p;

    (void)state;
    arena_init(&a, NULL);
    take(&a, 100);
    p = take(&a, (size_t)512 << 20);
    p[0] = 1;
    p[((size_t)512 << 20) - 1] = 2;
    assert_true(a.bytes <= ((uint64_t)512 << 20) + ARENA_CHUNK_BYTES);
    arena_fini(&a);
    assert_int_equal(a.bytes, 0);
}

/* Commands reserve for the worst case: ten thousand times a megabyte, each to use ten bytes. */
static void what_is_reserved_and_not_taken_goes_back(void **state)
{
    struct arena a;
    struct err e = { 0 };

    (void)state;
    arena_init(&a, NULL);
    for (int i = 0; i < 10000; i++) {
        assert_int_equal(arena_reserve(&a, (size_t)1 << 20, &e), OK);
        arena_take(&a, 10);
    }
    assert_true(a.bytes <= (uint64_t)10000 * 4096 + ((size_t)1 << 20));
    arena_fini(&a);
}

/* A large record between small ones leaves their chunk to them. */
static void large_and_small_reservations_do_not_waste_each_others_chunks(void **state)
{
    struct arena a;
    uint8_t *small = NULL;
    size_t taken = 0;

    (void)state;
    arena_init(&a, NULL);
    fill_first(&a, 0);
    for (int i = 0; i < 200; i++) {
        uint8_t *p = take(&a, 100);
        if (i > 0)
            assert_ptr_equal(p, small + 100);
        small = p;
        take(&a, (size_t)3 << 20);
        taken += 100 + ((size_t)3 << 20);
    }
    assert_true(a.bytes <= taken + ARENA_FIRST_BYTES + ARENA_CHUNK_BYTES);
    arena_fini(&a);
}

static void an_idle_arena_is_small(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a, NULL);
    assert_int_equal(a.bytes, 0);
    take(&a, 100);
    assert_int_equal(a.bytes, ARENA_FIRST_BYTES);
    arena_fini(&a);
}

static void a_reservation_beyond_all_memory_is_refused(void **state)
{
    struct arena a;
    struct err e = { 0 };
    uint8_t *p;

    (void)state;
    arena_init(&a, NULL);
    p = take(&a, 10);
    assert_int_equal(arena_reserve(&a, SIZE_MAX - 5, &e), ERR_NOMEM);
    assert_int_equal(arena_reserve(&a, SIZE_MAX / 4, &e), ERR_NOMEM);
    assert_ptr_equal(take(&a, 10), p + 10);
    arena_fini(&a);
}

static void what_is_given_back_is_taken_again(void **state)
{
    struct arena a;
    uint8_t *p;

    (void)state;
    arena_init(&a, NULL);
    take(&a, 10);
    p = take(&a, 500);
    arena_untake(&a, 500);
    assert_ptr_equal(take(&a, 20), p);
    arena_fini(&a);
}

static void a_part_that_is_gone_leaves_its_chunks_to_the_next(void **state)
{
    struct arena_spares spares;
    struct arena a;
    struct err e = { 0 };
    uint8_t *p[4], *q;

    (void)state;
    assert_int_equal(arena_spares_init(&spares, 3, &e), OK);
    arena_init(&a, &spares);
    fill_first(&a, 0);
    for (int i = 0; i < 4; i++) {
        p[i] = take(&a, ARENA_LARGE_BYTES);
        for (size_t n = ARENA_LARGE_BYTES; n < ARENA_CHUNK_BYTES; n += ARENA_LARGE_BYTES)
            take(&a, ARENA_LARGE_BYTES);
    }
    take(&a, (size_t)5 << 20); /* of a size that nobody else has use for */
    arena_fini(&a);
    assert_int_equal(spares.n, 3);
    for (int i = 0; i < 3; i++) {
        q = take(&a, ARENA_LARGE_BYTES);
        assert_true(q == p[0] || q == p[1] || q == p[2] || q == p[3]);
        assert_int_equal(spares.n, 2 - i);
        for (size_t n = ARENA_LARGE_BYTES; n < ARENA_CHUNK_BYTES; n += ARENA_LARGE_BYTES)
            take(&a, ARENA_LARGE_BYTES);
    }
    arena_fini(&a);
    arena_spares_drop(&spares); /* idle: small again */
    take(&a, 10);
    assert_int_equal(a.bytes, ARENA_FIRST_BYTES);
    arena_fini(&a);
    arena_spares_fini(&spares);
}

static void runs_are_all_records_in_order_and_nothing_else(void **state)
{
    struct random r = random_seeded("runs");
    struct arena a;
    struct err e = { 0 };
    uint64_t lsn = LSN, n = 0;
    uint8_t next = 0;

    (void)state;
    arena_init(&a, NULL);
    for (int i = 0; i < 3000; i++) {
        size_t len = 1 + random_below(&r, i % 100 == 0 ? 2 * ARENA_LARGE_BYTES : 3000);
        uint8_t *p;
        assert_int_equal(arena_reserve(&a, 2 * len, &e), OK);
        assert_int_equal(arena_reserve_runs(&a, 1, &e), OK);
        p = arena_take(&a, len);
        for (size_t j = 0; j < len; j++)
            p[j] = (uint8_t)n++;
        arena_note(&a, p, len, lsn, lsn + 9);
        lsn += 10;
    }
    assert_int_equal(a.first_lsn, LSN);
    assert_int_equal(a.last_lsn, lsn - 1);
    assert_int_equal(a.record_bytes, n);
    for (size_t i = 0; i < a.n_runs; i++)
        for (size_t j = 0; j < a.runs[i].n; j++, n--)
            assert_int_equal(a.runs[i].p[j], next++);
    assert_int_equal(n, 0);
    assert_true(a.n_runs < 1000); /* what adjoins is one run */
    arena_fini(&a);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_taken_stays_where_and_as_it_was),
        cmocka_unit_test(takes_within_one_reservation_adjoin),
        cmocka_unit_test(a_huge_record_gets_a_chunk_of_its_own),
        cmocka_unit_test(what_is_reserved_and_not_taken_goes_back),
        cmocka_unit_test(large_and_small_reservations_do_not_waste_each_others_chunks),
        cmocka_unit_test(an_idle_arena_is_small),
        cmocka_unit_test(a_reservation_beyond_all_memory_is_refused),
        cmocka_unit_test(what_is_given_back_is_taken_again),
        cmocka_unit_test(a_part_that_is_gone_leaves_its_chunks_to_the_next),
        cmocka_unit_test(runs_are_all_records_in_order_and_nothing_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
