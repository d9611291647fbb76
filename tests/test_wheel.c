/* test_wheel.c - broker/engine/wheel.c beside a plain list of deadlines. */
#include "broker/engine/wheel.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/lib/random.h"

enum { KEYS = 500, ROUNDS = 4000 };

struct key {
    uint64_t due_ms; /* 0: none */
    uint16_t slot;
};

struct world {
    struct wheel wheel;
    struct key keys[KEYS]; /* a key's hash is its place */
    uint64_t now_ms;
    size_t n_asked;
};

/* Takes what has come up; every key whose time has come must be among it. */
static void take(struct world *w)
{
    uint32_t hash, peeked = 0;
    uint16_t slot;
    bool known = false;

    while (wheel_take(&w->wheel, w->now_ms, &hash, &slot)) {
        struct key *k = &w->keys[hash];
        w->n_asked++;
        assert_true(!known || hash == peeked);
        known = k->due_ms <= w->now_ms && wheel_peek(&w->wheel, 0, &peeked);
        if (k->slot != slot)
            continue; /* an entry that was left behind */
        k->slot = WHEEL_NONE;
        if (k->due_ms != 0 && k->due_ms <= w->now_ms)
            k->due_ms = 0;
        else if (k->due_ms != 0)
            assert_int_equal(wheel_add(&w->wheel, hash, k->due_ms, &k->slot, NULL), OK);
    }
    for (size_t i = 0; i < KEYS; i++)
        assert_true(w->keys[i].due_ms == 0 || w->keys[i].due_ms + WHEEL_TICK_MS > w->now_ms);
    assert_null(wheel_check(&w->wheel));
}

static void whoever_is_due_comes_up(void **state)
{
    static const uint64_t far[] = { 10, 1000, 100000, 10000000, 100000000000, 30000000000000 };
    struct random r = random_seeded("wheel");
    struct world *w = calloc(1, sizeof *w);

    (void)state;
    assert_non_null(w);
    w->now_ms = 1700000000000 + random_below(&r, 1u << 30);
    wheel_begin(&w->wheel, w->now_ms);
    for (int i = 0; i < ROUNDS; i++) {
        uint32_t key = (uint32_t)random_below(&r, KEYS);
        struct key *k = &w->keys[key];
        uint64_t next;
        k->due_ms = w->now_ms + 1 + random_below(&r, far[random_below(&r, 6)]);
        assert_int_equal(wheel_add(&w->wheel, key, k->due_ms, &k->slot, NULL), OK);
        next = wheel_next_ms(&w->wheel);
        for (size_t n = 0; n < KEYS; n++) /* it wakes in time */
            assert_true(w->keys[n].due_ms == 0 || next < w->keys[n].due_ms + WHEEL_TICK_MS);
        if (random_below(&r, 4) != 0)
            continue;
        w->now_ms += random_below(&r, far[random_below(&r, i % 100 == 0 ? 6 : 3)]);
        take(w);
    }
    w->now_ms += 60000000000000;
    take(w);
    wheel_fini(&w->wheel);
    free(w);
}

/* A deadline that is put off again and again has one entry, and is asked a few times. */
static void putting_off_costs_nothing(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    struct key *k = &w->keys[7];

    (void)state;
    assert_non_null(w);
    w->now_ms = 1700000000000;
    wheel_begin(&w->wheel, w->now_ms);
    for (int i = 0; i < 100000; i++) {
        w->now_ms += 1000;
        k->due_ms = w->now_ms + 172800000;
        assert_int_equal(wheel_add(&w->wheel, 7, k->due_ms, &k->slot, NULL), OK);
        assert_int_equal(w->wheel.n, 1);
        take(w);
    }
    assert_true(w->n_asked < 100);
    wheel_fini(&w->wheel);
    free(w);
}

static void a_million_of_one_time_take_five_bytes_each(void **state)
{
    struct wheel *w = calloc(1, sizeof *w);
    uint32_t hash;
    uint16_t slot;
    size_t n = 0;

    (void)state;
    assert_non_null(w);
    wheel_begin(w, 1700000000000);
    for (uint32_t i = 0; i < 1000000; i++) {
        slot = WHEEL_NONE;
        assert_int_equal(wheel_add(w, i, 1700000100000, &slot, NULL), OK);
    }
    assert_true(w->bytes <= 5500000);
    while (wheel_take(w, 1700000100016, &hash, &slot))
        n++;
    assert_int_equal(n, 1000000);
    assert_int_equal(w->bytes, 0);
    wheel_fini(w);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whoever_is_due_comes_up),
        cmocka_unit_test(putting_off_costs_nothing),
        cmocka_unit_test(a_million_of_one_time_take_five_bytes_each),
    };
    return cmocka_run_group_tests_name("wheel", tests, NULL, NULL);
}
