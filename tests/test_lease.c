/* test_lease.c - one holder for each key, until it is written, its time is over or the bounds are reached. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "broker/cache/lease.h"
#include "tests/lib/random.h"

static const uint8_t KEY[16] = { 7 };

struct ended {
    unsigned n;
    int db;
    char last[64];
};

static void lease_note(void *ctx, int db, struct slice key)
{
    struct ended *x = ctx;

    x->n++;
    x->db = db;
    snprintf(x->last, sizeof x->last, "%.*s", (int)key.n, (const char *)key.p);
}

static struct leases *lease_some(struct ended *ended)
{
    struct leases *l;

    *ended = (struct ended){ 0 };
    assert_int_equal(leases_new(KEY, lease_note, ended, &l, NULL), OK);
    return l;
}

static void take(struct leases *l, int db, const char *key, uint64_t until_ms, uint64_t number)
{
    assert_int_equal(lease_take(l, db, slice_str(key), until_ms, number, NULL), OK);
    assert_null(leases_check(l));
}

static bool holds(const struct leases *l, const char *key, uint64_t number, uint64_t now_ms)
{
    char token[LEASE_TOKEN_N];

    lease_token(number, token);
    return lease_holds(l, 0, slice_str(key), slice_of(token, sizeof token), now_ms);
}

static void a_lease_lasts_until_its_time_is_over(void **state)
{
    struct ended ended;
    struct leases *l = lease_some(&ended);

    (void)state;
    assert_true(leases_next_ms(l) == UINT64_MAX);
    take(l, 0, "a", 100, 0xabc);
    take(l, 0, "b", 50, 2);
    assert_int_equal(leases_next_ms(l), 50);
    assert_true(holds(l, "a", 0xabc, 99));
    assert_false(holds(l, "a", 0xabc, 100));
    assert_false(holds(l, "a", 0xabd, 99));
    assert_false(holds(l, "c", 0xabc, 99));
    assert_false(lease_holds(l, 1, slice_str("a"), slice_str("0000000000000abc"), 99));
    assert_true(lease_holds(l, 0, slice_str("a"), slice_str("0000000000000abc"), 99));
    assert_false(lease_holds(l, 0, slice_str("a"), slice_str("abc"), 99));
    assert_true(lease_is_taken(l, 0, slice_str("a"), 99));
    assert_false(lease_is_taken(l, 0, slice_str("a"), 100));
    leases_expire(l, 99);
    assert_int_equal(ended.n, 1);
    assert_string_equal(ended.last, "b");
    leases_expire(l, 100);
    assert_string_equal(ended.last, "a");
    assert_int_equal(leases_n(l), 0);
    leases_free(l);
}

static void writing_ends_it_and_tells_nobody(void **state)
{
    struct ended ended;
    struct leases *l = lease_some(&ended);

    (void)state;
    take(l, 0, "a", 100, 1);
    take(l, 1, "a", 100, 2);
    lease_end(l, 0, slice_str("b"));
    lease_end(l, 0, slice_str("a"));
    assert_false(holds(l, "a", 1, 0));
    assert_int_equal(leases_n(l), 1);
    lease_end_all(l, 0);
    assert_int_equal(leases_n(l), 1);
    lease_end_all(l, 1);
    assert_int_equal(leases_n(l), 0);
    assert_int_equal(ended.n, 0);
    leases_free(l);
}

static void at_the_bounds_the_one_that_ends_first_goes(void **state)
{
    static char big[LEASE_KEY_MAX + 1];
    struct ended ended;
    struct leases *l = lease_some(&ended);
    char key[32];
    struct err e;

    (void)state;
    for (unsigned i = 0; i < LEASES_MAX; i++) {
        snprintf(key, sizeof key, "%u", i);
        assert_int_equal(lease_take(l, 0, slice_str(key), 1000 + (i * 7919) % LEASES_MAX, i, NULL),
                         OK);
    }
    assert_int_equal(ended.n, 0);
    take(l, 0, "more", 5, 1);
    assert_int_equal(ended.n, 1);
    assert_string_equal(ended.last, "0");
    assert_int_equal(leases_n(l), LEASES_MAX);
    for (unsigned i = 0; i < LEASES_BYTES_MAX / LEASE_KEY_MAX; i++) {
        memcpy(big, &i, sizeof i);
        assert_int_equal(lease_take(l, 0, slice_of(big, LEASE_KEY_MAX), 1u << 30, i, NULL), OK);
    }
    assert_null(leases_check(l));
    assert_int_equal(leases_n(l), LEASES_BYTES_MAX / LEASE_KEY_MAX);
    assert_int_equal(lease_take(l, 0, slice_of(big, LEASE_KEY_MAX + 1), 9, 1, &e), ERR_TOO_BIG);
    leases_free(l);
}

enum { MODEL_KEYS = 40, MODEL_STEPS = 20000 };

/* Random leases of a few keys beside an array. */
static void they_are_what_a_plain_model_says(void **state)
{
    static struct {
        uint64_t until_ms, number;
    } model[3][MODEL_KEYS];
    struct random r = random_seeded("leases");
    uint64_t now_ms = 0;
    struct ended ended;
    struct leases *l = lease_some(&ended);

    (void)state;
    memset(model, 0, sizeof model);
    for (uint64_t i = 1; i < MODEL_STEPS; i++) {
        unsigned db = (unsigned)random_below(&r, 3), k = (unsigned)random_below(&r, MODEL_KEYS);
        char key[16], token[LEASE_TOKEN_N];
        snprintf(key, sizeof key, "key%u", k);
        lease_token(model[db][k].number, token);
        bool lasts = model[db][k].until_ms > now_ms;
        assert_int_equal(lease_is_taken(l, (int)db, slice_str(key), now_ms), lasts);
        assert_int_equal(
            lease_holds(l, (int)db, slice_str(key), slice_of(token, sizeof token), now_ms), lasts);
        switch (random_below(&r, 8)) {
        case 0: leases_expire(l, ++now_ms); break;
        case 1:
            lease_end(l, (int)db, slice_str(key));
            model[db][k].until_ms = 0;
            break;
        case 2:
            if (random_below(&r, 50) != 0)
                break;
            lease_end_all(l, (int)db);
            memset(model[db], 0, sizeof model[db]);
            break;
        default:
            if (lasts)
                break;
            model[db][k].until_ms = now_ms + 1 + random_below(&r, 30);
            model[db][k].number = i;
            take(l, (int)db, key, model[db][k].until_ms, i);
        }
        assert_null(leases_check(l));
    }
    leases_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lease_lasts_until_its_time_is_over),
        cmocka_unit_test(writing_ends_it_and_tells_nobody),
        cmocka_unit_test(at_the_bounds_the_one_that_ends_first_goes),
        cmocka_unit_test(they_are_what_a_plain_model_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
