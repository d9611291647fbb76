/* test_evict.c - more than `maxmemory`: values leave memory and are read back, keys are evicted in the policy's order, and what
 * needs memory is refused when nothing may leave. The whole engine on a simulated disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "broker/cache/evict.h"
#include "tests/lib/random.h"
#include "tests/lib/rig.h"

enum { KEYS = 3000, VALUE = 200 };

#define OOM "-OOM command not allowed when used memory > 'maxmemory'.\r\n"

static const char *value_of(unsigned i)
{
    static char text[VALUE + 1];
    int n = snprintf(text, sizeof text, "v%u-", i);

    memset(text + n, 'a' + (char)(i % 26), (size_t)(VALUE - n));
    return text;
}

static void set_key(struct rig *r, unsigned i)
{
    says(r, OKAY, "SET k%u %s", i, value_of(i));
}

static void set_keys(struct rig *r, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++)
        set_key(r, i);
}

static void get_key(struct rig *r, unsigned i)
{
    char want[VALUE + 32];

    snprintf(want, sizeof want, "$%d\r\n%s\r\n", VALUE, value_of(i));
    says(r, want, "GET k%u", i);
}

static bool key_is_there(struct rig *r, unsigned i)
{
    return strcmp(rig_say(r, "EXISTS k%u", i), ":1\r\n") == 0;
}

static const struct object *key_object(struct rig *r, unsigned i)
{
    char name[32];
    const struct object *o;

    snprintf(name, sizeof name, "k%u", i);
    o = state_find(&r->e.state, 0, slice_str(name));
    assert_non_null(o);
    return o;
}

static bool key_is_cold(struct rig *r, unsigned i)
{
    return key_object(r, i)->flags & OBJECT_COLD;
}

static void assert_whole(struct rig *r)
{
    const char *broken = state_check(&r->e.state);

    if (broken != NULL)
        fail_msg("%s", broken);
}

/* Sets maxmemory to a share of what is used now, and lets everything leave that will. */
static void squeeze(struct rig *r, unsigned percent)
{
    size_t used = r->e.state.used_bytes;

    says(r, OKAY, "CONFIG SET maxmemory %zu", used / 100 * percent);
    rig_settle(r);
}

static void assert_within(struct rig *r)
{
    assert_in_range(r->e.state.used_bytes, 1, r->config.maxmemory);
}

/* ---- spilling ---- */

static void what_leaves_memory_is_read_back(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    set_keys(r, 0, KEYS);
    rig_seal(r);
    squeeze(r, 60);
    assert_within(r);
    assert_in_range(r->e.state.n_cold, KEYS / 10, KEYS - 1);
    assert_int_equal(r->e.stats.n_evicted_keys, 0);
    for (unsigned i = 0; i < KEYS; i++)
        get_key(r, i);
    assert_within(r);
    assert_true(r->e.stats.n_loaded_values > 0);
    assert_whole(r);
    rig_restart(r, true);
    for (unsigned i = 0; i < KEYS; i += 7)
        get_key(r, i);
    assert_whole(r);
    rig_free(r);
}

static void keys_that_are_used_stay_in_memory(void **state)
{
    enum { HOT = 200, ROUNDS = 40, COLD_A_ROUND = 60 };
    struct rig *r = rig_begin();
    struct random rnd = random_seeded("hot");
    unsigned n_cold = 0;

    (void)state;
    set_keys(r, 0, KEYS);
    rig_seal(r);
    squeeze(r, 55); /* what is left has place for about a fifth of the values */
    for (unsigned i = 0; i < ROUNDS; i++) {
        rig_pass(r, 1000);
        for (unsigned k = 0; k < HOT; k++) {
            n_cold += i > 1 && key_is_cold(r, k);
            get_key(r, k);
        }
        for (unsigned k = 0; k < COLD_A_ROUND; k++)
            get_key(r, HOT + (unsigned)random_below(&rnd, KEYS - HOT));
    }
    assert_within(r);
    assert_in_range(n_cold, 0, HOT * ROUNDS / 50);
    rig_free(r);
}

static void hashes_and_lists_get_an_image_first(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    for (unsigned i = 0; i < 300; i++) {
        says(r, ":1\r\n", "HSET h%u a %s", i, value_of(i));
        says(r, ":1\r\n", "HSET h%u b %s", i, value_of(i + 1)); /* no record has all of it now */
        says(r, ":1\r\n", "RPUSH l%u %s", i, value_of(i));
        says(r, ":2\r\n", "RPUSH l%u %s", i, value_of(i + 2));
    }
    squeeze(r, 50);
    set_keys(r, 0, 400); /* so that the images are sealed */
    rig_settle(r);
    assert_within(r);
    assert_true(r->e.state.n_cold > 300);
    for (unsigned i = 0; i < 300; i++) {
        has(r, value_of(i + 1), "HGET h%u b", i);
        has(r, value_of(i), "LINDEX l%u 0", i);
        has(r, value_of(i + 2), "LINDEX l%u 1", i);
    }
    assert_whole(r);
    assert_int_equal(r->e.stats.n_evicted_keys, 0);
    rig_restart(r, true);
    for (unsigned i = 0; i < 300; i += 5) {
        has(r, value_of(i + 1), "HGET h%u b", i);
        has(r, value_of(i + 2), "LINDEX l%u 1", i);
    }
    rig_free(r);
}

static void what_is_not_sealed_stays_and_no_key_leaves_for_it(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    says(r, OKAY, "CONFIG SET maxmemory-policy allkeys-lru");
    set_keys(r, 0, 100); /* in the arena: less than a part of it */
    squeeze(r, 80);
    assert_int_equal(r->e.state.n_cold, 0);
    assert_int_equal(r->e.stats.n_evicted_keys, 0);
    assert_false(evict_is_full(&r->e));
    rig_seal(r);
    rig_settle(r);
    assert_within(r);
    assert_true(r->e.state.n_cold > 0);
    assert_int_equal(r->e.stats.n_evicted_keys, 0);
    rig_free(r);
}

static void a_list_too_large_for_an_image_stays(void **state)
{
    struct rig *r = rig_begin();
    const struct object *o;

    (void)state;
    for (unsigned i = 1; i <= 6000; i++)
        has(r, ":", "RPUSH large %s", value_of(i));
    rig_seal(r);
    squeeze(r, 50);
    o = state_find(&r->e.state, 0, slice_str("large"));
    assert_non_null(o);
    assert_false(o->flags & OBJECT_COLD);
    assert_true(evict_is_full(
        &r->e)); /* and nothing is tried again and again: squeeze has come to an end */
    has(r, value_of(6000), "LINDEX large -1");
    says(r, OKAY, "CONFIG SET maxmemory-policy allkeys-lru");
    rig_settle(r);
    says(r, ":0\r\n", "EXISTS large");
    rig_free(r);
}

static void spill_no_keeps_values_in_memory(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    says(r, OKAY, "CONFIG SET maxmemory-spill no maxmemory-policy allkeys-random");
    set_keys(r, 0, 1000);
    rig_seal(r);
    squeeze(r, 50);
    assert_within(r);
    assert_int_equal(r->e.state.n_cold, 0);
    assert_in_range(r->e.stats.n_evicted_keys, 450, 650);
    rig_free(r);
}

static void a_value_read_back_leaves_again_when_keys_alone_fill_memory(void **state)
{
    struct rig *r = rig_begin();
    size_t keys_bytes;

    (void)state;
    set_keys(r, 0, 1000);
    rig_seal(r);
    squeeze(r, 1); /* less than the keys: nothing stays */
    assert_int_equal(r->e.state.n_cold, 1000);
    keys_bytes = r->e.state.used_bytes;
    assert_true(evict_is_full(&r->e));
    for (unsigned i = 0; i < 1000; i++) {
        get_key(r, i);
        assert_in_range(r->e.state.used_bytes, 1, keys_bytes + keys_bytes / 50); /* malloc's mood */
    }
    rig_free(r);
}

/* ---- evicting ---- */

/* A server with `n` keys, evicting only. */
static struct rig *evicting(const char *policy, unsigned n)
{
    struct rig *r = rig_begin();

    says(r, OKAY, "CONFIG SET maxmemory-spill no maxmemory-policy %s maxmemory-samples 10", policy);
    set_keys(r, 0, n);
    return r;
}

static unsigned count_keys(struct rig *r, unsigned from, unsigned to)
{
    unsigned n = 0;

    for (unsigned i = from; i < to; i++)
        n += key_is_there(r, i);
    return n;
}

static void the_least_recently_used_leave_first(void **state)
{
    struct rig *r = evicting("allkeys-lru", 1000);

    (void)state;
    for (unsigned i = 0; i < 1000; i += 2) {
        rig_pass(r, 100);
        get_key(r, i);
    }
    squeeze(r, 60);
    assert_within(r);
    says(r, OKAY, "CONFIG SET maxmemory 0");
    for (unsigned i = 0; i < 1000; i += 2) /* those used last are there, but for a few */
        assert_true(i < 300 || key_is_there(r, i));
    assert_in_range(r->e.stats.n_evicted_keys, 380, 460);
    assert_whole(r);
    rig_free(r);
}

static void the_least_frequently_used_leave_first(void **state)
{
    struct rig *r = evicting("allkeys-lfu", 600);

    (void)state;
    for (unsigned k = 0; k < 20; k++)
        for (unsigned i = 0; i < 300; i++)
            get_key(r, i);
    assert_true(evict_frequency(&r->e, key_object(r, 0)) > 5);
    squeeze(r, 60);
    says(r, OKAY, "CONFIG SET maxmemory 0");
    assert_in_range(count_keys(r, 0, 300), 290, 300);
    assert_in_range(count_keys(r, 300, 600), 40, 70);
    rig_free(r);
}

static void a_counter_falls_with_time(void **state)
{
    struct rig *r = evicting("allkeys-lfu", 1);
    unsigned used;

    (void)state;
    for (unsigned k = 0; k < 100; k++)
        get_key(r, 0);
    used = evict_frequency(&r->e, key_object(r, 0));
    assert_in_range(used, 8, 30);
    rig_pass(r, 3 * 60000);
    assert_int_equal(evict_frequency(&r->e, key_object(r, 0)), used - 3);
    says(r, OKAY, "CONFIG SET lfu-decay-time 0");
    assert_int_equal(evict_frequency(&r->e, key_object(r, 0)), used);
    rig_free(r);
}

static void the_next_to_expire_leave_first(void **state)
{
    struct rig *r = evicting("volatile-ttl", 800);

    (void)state;
    for (unsigned i = 0; i < 400; i++)
        says(r, ":1\r\n", "EXPIRE k%u %u", i, 10000 + 100 * i);
    squeeze(r, 75);
    says(r, OKAY, "CONFIG SET maxmemory 0");
    assert_int_equal(count_keys(r, 400, 800), 400);
    assert_in_range(count_keys(r, 0, 100), 0, 5);
    assert_in_range(count_keys(r, 300, 400), 90, 100);
    rig_free(r);
}

static void keys_without_expiry_are_not_volatile(void **state)
{
    static const char *const policies[] = { "volatile-lru", "volatile-lfu", "volatile-random" };

    (void)state;
    for (size_t p = 0; p < sizeof policies / sizeof policies[0]; p++) {
        struct rig *r = evicting(policies[p], 400);
        for (unsigned i = 0; i < 100; i++)
            says(r, ":1\r\n", "EXPIRE k%u 10000", i);
        squeeze(r, 50); /* more than those that may leave */
        assert_int_equal(count_keys(r, 0, 100), 0);
        assert_int_equal(count_keys(r, 100, 400), 300);
        says(r, OOM, "SET another value");
        says(r, ":1\r\n", "EXPIRE k200 10000"); /* one more may leave now */
        rig_settle(r);
        assert_false(key_is_there(r, 200));
        rig_free(r);
    }
}

static void an_eviction_is_a_change_and_stays(void **state)
{
    struct rig *r = evicting("allkeys-random", 300);
    bool there[300];

    (void)state;
    squeeze(r, 50);
    for (unsigned i = 0; i < 300; i++)
        there[i] = key_is_there(r, i);
    rig_stop(r);
    r->config.maxmemory = 0;
    rig_start(r);
    for (unsigned i = 0; i < 300; i++)
        assert_int_equal(key_is_there(r, i), there[i]);
    assert_whole(r);
    rig_free(r);
}

static void streams_are_never_evicted(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    says(r, OKAY, "CONFIG SET maxmemory-policy allkeys-random");
    for (unsigned i = 0; i < 50; i++)
        has(r, "-", "XADD s%u 1-1 a b", i);
    set_keys(r, 0, 50);
    squeeze(r, 1);
    assert_int_equal(count_keys(r, 0, 50), 0);
    for (unsigned i = 0; i < 50; i++)
        says(r, ":1\r\n", "EXISTS s%u", i);
    rig_free(r);
}

/* ---- nothing may leave ---- */

static void what_needs_memory_is_refused_and_reads_go_on(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    set_keys(r, 0, 100);
    rig_seal(r);
    squeeze(r, 1);
    says(r, OOM, "SET k1 x");
    says(r, OOM, "HSET h a b");
    says(r, OOM, "RPUSH l a");
    get_key(r, 1);
    says(r, ":1\r\n", "DEL k1");
    says(r, OKAY, "CONFIG SET maxmemory 0");
    says(r, OKAY, "SET k1 x");
    rig_free(r);
}

static void a_transaction_is_refused_when_it_is_queued(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    set_keys(r, 0, 100);
    rig_seal(r);
    squeeze(r, 1);
    says(r, OKAY, "MULTI");
    says(r, OOM, "GET k1");
    says(r, "-EXECABORT Transaction discarded because of previous errors.\r\n", "EXEC");
    says(r, OKAY, "CONFIG SET maxmemory 0");
    says(r, OKAY, "MULTI");
    says(r, "+QUEUED\r\n", "SET k1 x");
    r->config.maxmemory = 1;
    rig_round(r);
    says(r,
         "-EXECABORT Transaction discarded because of: OOM command not allowed when used memory > "
         "'maxmemory'.\r\n",
         "EXEC");
    says(r, OKAY, "CONFIG SET maxmemory 0");
    get_key(r, 1);
    rig_free(r);
}

static void looking_at_a_key_is_no_use_of_it(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    set_key(r, 1);
    rig_pass(r, 20000);
    says(r, ":1\r\n", "EXISTS k1");
    says(r, "+string\r\n", "TYPE k1");
    says(r, ":-1\r\n", "TTL k1");
    says(r, OKAY, "CLIENT NO-TOUCH on");
    get_key(r, 1);
    says(r, ":20\r\n", "OBJECT IDLETIME k1");
    says(r, ":1\r\n", "TOUCH k1");
    says(r, ":0\r\n", "OBJECT IDLETIME k1");
    rig_pass(r, 5000);
    says(r, OKAY, "CLIENT NO-TOUCH off");
    get_key(r, 1);
    says(r, ":0\r\n", "OBJECT IDLETIME k1");
    rig_free(r);
}

static void info_tells_it(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    set_keys(r, 0, 500);
    rig_seal(r);
    squeeze(r, 60);
    has(r, "maxmemory_policy:noeviction\r\n", "INFO memory");
    has(r, "spilled_keys:", "INFO memory");
    assert_null(strstr(rig_say(r, "INFO memory"), "spilled_keys:0\r\n"));
    assert_null(strstr(rig_say(r, "INFO stats"), "spilled_values:0\r\n"));
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_leaves_memory_is_read_back),
        cmocka_unit_test(keys_that_are_used_stay_in_memory),
        cmocka_unit_test(hashes_and_lists_get_an_image_first),
        cmocka_unit_test(what_is_not_sealed_stays_and_no_key_leaves_for_it),
        cmocka_unit_test(a_list_too_large_for_an_image_stays),
        cmocka_unit_test(spill_no_keeps_values_in_memory),
        cmocka_unit_test(a_value_read_back_leaves_again_when_keys_alone_fill_memory),
        cmocka_unit_test(the_least_recently_used_leave_first),
        cmocka_unit_test(the_least_frequently_used_leave_first),
        cmocka_unit_test(a_counter_falls_with_time),
        cmocka_unit_test(the_next_to_expire_leave_first),
        cmocka_unit_test(keys_without_expiry_are_not_volatile),
        cmocka_unit_test(an_eviction_is_a_change_and_stays),
        cmocka_unit_test(streams_are_never_evicted),
        cmocka_unit_test(what_needs_memory_is_refused_and_reads_go_on),
        cmocka_unit_test(a_transaction_is_refused_when_it_is_queued),
        cmocka_unit_test(looking_at_a_key_is_no_use_of_it),
        cmocka_unit_test(info_tells_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
