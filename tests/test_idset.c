/* test_idset.c - ascending IDs in few bytes: what they cost, that they come back, and what readers refuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "log/idset.h"
#include "tests/lib/random.h"

enum { MANY = 20000 };

/* The set of n IDs, which has to come back as it was; returns its bytes. */
static size_t there_and_back(const struct id *ids, size_t n)
{
    size_t size = idset_size(ids, n);
    uint8_t *p = malloc(size);
    struct idset_reader r;
    struct id id;

    assert_non_null(p);
    assert_true(size <= IDSET_HEAD_MAX + n * IDSET_ID_MAX);
    assert_ptr_equal(idset_put(p, ids, n), p + size);
    assert_true(idset_open(&r, p, p + size, n));
    assert_int_equal(r.left, n);
    for (size_t i = 0; i < n; i++) {
        assert_true(idset_next(&r, &id));
        assert_int_equal(id_cmp(id, ids[i]), 0);
    }
    assert_false(idset_next(&r, &id));
    assert_int_equal(r.left, 0);
    assert_ptr_equal(r.p, p + size);
    free(p);
    return size;
}

static struct id *make_ids(size_t n, struct id first, struct id step)
{
    struct id *ids = calloc(n, sizeof *ids);

    assert_non_null(ids);
    for (size_t i = 0; i < n; i++, first.ms += step.ms, first.seq += step.seq)
        ids[i] = first;
    return ids;
}

static void a_run_costs_a_handful_of_bytes_whatever_its_length(void **state)
{
    static const struct {
        const char *why;
        struct id first, step;
        size_t max;
    } cases[] = {
        { "pipelined in one millisecond", { 1790000000000, 0 }, { 0, 1 }, 14 },
        { "from somewhere in it", { 1790000000000, 77 }, { 0, 1 }, 14 },
        { "every seventh of it", { 1790000000000, 3 }, { 0, 7 }, 16 },
        { "one each millisecond", { 1790000000000, 0 }, { 1, 0 }, 14 },
        { "one each second, at a seq", { 1790000000000, 5 }, { 1000, 0 }, 18 },
        { "seqs that go down", { 1790000000000, 1u << 20 }, { 3, (uint64_t)-2 }, 20 },
        { "steps as large as they can be", { 1, 0 }, { UINT64_MAX / MANY, 1 }, 48 },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct id *ids = make_ids(MANY, cases[i].first, cases[i].step);
        print_message("  %s\n", cases[i].why);
        assert_true(there_and_back(ids, MANY) <= cases[i].max);
        free(ids);
    }
}

static void irregular_ids_cost_about_two_bytes_each(void **state)
{
    struct random r = random_seeded("idset");
    struct id *ids = make_ids(MANY, (struct id){ 1790000000000, 0 }, ID_MIN);
    double each;
    (void)state;

    for (size_t i = 1; i < MANY; i++) { /* up to 5 in a millisecond, gaps up to 20 */
        ids[i] = ids[i - 1];
        if (random_below(&r, 5) == 0)
            ids[i] = (struct id){ ids[i].ms + 1 + random_below(&r, 20), 0 };
        else
            ids[i].seq++;
    }
    each = (double)there_and_back(ids, MANY) / MANY;
    print_message("  several in a millisecond: %.2f bytes\n", each);
    assert_true(each < 0.6);
    for (size_t i = 1; i < MANY; i++)
        ids[i] = (struct id){ ids[i - 1].ms + 1 + random_below(&r, 30), 0 };
    each = (double)there_and_back(ids, MANY) / MANY;
    print_message("  one in some milliseconds: %.2f bytes\n", each);
    assert_true(each < 1.1);
    for (size_t i = 1; i < MANY; i++) { /* a half of them, at random */
        ids[i] = ids[i - 1];
        if (random_below(&r, 8) == 0)
            ids[i] = (struct id){ ids[i].ms + 1 + random_below(&r, 20), random_below(&r, 3) };
        else
            ids[i].seq += 1 + random_below(&r, 3);
    }
    each = (double)there_and_back(ids, MANY) / MANY;
    print_message("  some of them: %.2f bytes\n", each);
    assert_true(each < 2.2);
    free(ids);
}

/* A number that is small, large or at the end of all numbers. */
static uint64_t any_u64(struct random *r)
{
    uint64_t v = random_u64(r) >> random_below(r, 64);

    return random_below(r, 4) == 0 ? UINT64_MAX - v % 3 : v;
}

static int compare_ids(const void *a, const void *b)
{
    return id_cmp(*(const struct id *)a, *(const struct id *)b);
}

static void any_ascending_ids_come_back(void **state)
{
    struct random r = random_seeded("idset");
    struct id ids[64];
    (void)state;

    for (size_t round = 0; round < random_rounds(20000); round++) {
        size_t n = random_below(&r, 64), m = 0;
        for (size_t i = 0; i < n; i++) {
            ids[i] = (struct id){ any_u64(&r), any_u64(&r) };
            if (i > 0 && random_below(&r, 2) == 0)
                ids[i] = (struct id){ ids[i - 1].ms + random_below(&r, 2), ids[i - 1].seq + 1 };
        }
        qsort(ids, n, sizeof ids[0], compare_ids);
        for (size_t i = 0; i < n; i++)
            if (m == 0 || id_cmp(ids[m - 1], ids[i]) < 0)
                ids[m++] = ids[i];
        there_and_back(ids, m);
    }
}

static void the_least_and_the_greatest_id_come_back(void **state)
{
    static const struct id ids[] = {
        { 0, 0 }, { 0, 1 }, { 1, UINT64_MAX }, { UINT64_MAX, UINT64_MAX }
    };
    (void)state;

    there_and_back(ids, 0);
    there_and_back(ids, 1);
    there_and_back(ids, 4);
    there_and_back(ids + 3, 1);
}

static void malformed_sets_are_refused_at_the_place(void **state)
{
    static const struct {
        const char *why;
        size_t n;
        uint8_t p[16];
        int sound; /* IDs that are given before; -1: not even opened */
    } cases[] = {
        { "no number", 0, { 0 }, -1 },
        { "a number that is cut short", 1, { 0x80 }, -1 },
        { "more IDs than asked for", 2, { 101, 0 }, -1 },
        { "no IDs", 1, { 3 }, 0 },
        { "a mark that is cut short", 2, { 3, 0x80 }, 0 },
        { "a seq that is missing", 2, { 3, 4 << 2 | 2 }, 0 },
        { "a millisecond that is missing", 2, { 3, 0 }, 0 },
        { "a run longer than the set", 5, { 3, 4 << 2 | 2, 1, 2 << 2 | 1, 0 }, 1 },
        { "the same ID again", 6, { 3, 4 << 2 | 2, 1, 2, 0, 0 }, 1 },
        { "a step of nothing", 6, { 3, 0, 0, 0, 3, 0 }, 1 },
        { "a seq that wraps around",
          14,
          { 2, 4 << 2 | 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1, 0 },
          1 },
        { "milliseconds that wrap around",
          15,
          { 2, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 7, 1 << 2, 0 },
          1 },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct idset_reader r;
        struct id id;
        int n = 0;
        print_message("  %s\n", cases[i].why);
        if (!idset_open(&r, cases[i].p, cases[i].p + cases[i].n, 100)) {
            assert_int_equal(cases[i].sound, -1);
            continue;
        }
        while (idset_next(&r, &id))
            n++;
        assert_int_equal(n, cases[i].sound);
        assert_true(r.left > 0);
    }
}

static void a_few_bytes_stand_for_a_million_ids_at_most(void **state)
{
    uint8_t p[64] = { 0 }, *end = varint_put(p, IDSET_MAX + 1);
    struct idset_reader r;
    (void)state;

    assert_false(idset_open(&r, p, end, UINT64_MAX));
    end = varint_put(p, IDSET_MAX);
    assert_true(idset_open(&r, p, end, UINT64_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_costs_a_handful_of_bytes_whatever_its_length),
        cmocka_unit_test(irregular_ids_cost_about_two_bytes_each),
        cmocka_unit_test(any_ascending_ids_come_back),
        cmocka_unit_test(the_least_and_the_greatest_id_come_back),
        cmocka_unit_test(malformed_sets_are_refused_at_the_place),
        cmocka_unit_test(a_few_bytes_stand_for_a_million_ids_at_most),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
