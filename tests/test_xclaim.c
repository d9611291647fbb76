/* test_xclaim.c - claims about XCLAIM and XAUTOCLAIM: whole engine, simulated disk, and a clock that the test moves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/lib/rig.h"

#define EMPTY "*0\r\n"

/* The row of XPENDING: who has the entry, for how long, how often delivered. */
static void pends(struct rig *r, const char *id, const char *owner, unsigned long idle,
                  unsigned long count)
{
    char want[200];

    snprintf(want, sizeof want, "*1\r\n*4\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n:%lu\r\n:%lu\r\n",
             strlen(id), id, strlen(owner), owner, idle, count);
    says(r, want, "XPENDING s g %s %s 1", id, id);
}

/* ---- XCLAIM ---- */

static void a_claim_takes_what_is_idle_enough_and_counts_a_delivery(void **state)
{
    struct rig *r = rig_delivered(3, "");

    (void)state;
    rig_pass(r, 1000);
    says(r, EMPTY, "XCLAIM s g d 1001 1-1");
    says(r, "*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$2\r\nv1\r\n", "XCLAIM s g d 1000 1-1 9-9");
    pends(r, "1-1", "d", 0, 2);
    pends(r, "2-1", "c", 1000, 1);
    says(r, "*1\r\n$3\r\n2-1\r\n", "XCLAIM s g d 0 2-1 JUSTID");
    pends(r, "2-1", "d", 0, 1);
    rig_restart(r, true);
    pends(r, "1-1", "d", 0, 2);
    rig_free(r);
}

static void the_reply_has_the_order_of_the_request(void **state)
{
    struct rig *r = rig_delivered(3, "");

    (void)state;
    says(r, "*3\r\n$3\r\n3-1\r\n$3\r\n1-1\r\n$3\r\n2-1\r\n",
         "XCLAIM s g d 0 3-1 7-7 1-1 2-1 JUSTID");
    rig_free(r);
}

static void an_id_that_comes_twice_is_claimed_twice_if_it_may(void **state)
{
    struct rig *r = rig_delivered(1, "");

    (void)state;
    rig_pass(r, 5000);
    says(r, "*1\r\n$3\r\n1-1\r\n", "XCLAIM s g d 5000 1-1 1-1 JUSTID");
    has(r, "*2\r\n*2\r\n", "XCLAIM s g d 0 1-1 1-1");
    pends(r, "1-1", "d", 0, 3);
    has(r, "*2\r\n*2\r\n", "XCLAIM s g d 0 1-1 1-1 RETRYCOUNT 7 IDLE 3");
    pends(r, "1-1", "d", 3, 7);
    rig_free(r);
}

static void idle_time_and_count_can_be_given(void **state)
{
    struct rig *r = rig_delivered(1, "");
    unsigned long now;

    (void)state;
    rig_say(r, "XCLAIM s g d 0 1-1 IDLE 777 RETRYCOUNT 5");
    pends(r, "1-1", "d", 777, 5);
    rig_say(r, "XCLAIM s g d 0 1-1 RETRYCOUNT -1 IDLE -5"); /* not given; now */
    pends(r, "1-1", "d", 0, 6);
    now = (unsigned long)r->e.now_ms;
    rig_say(r, "XCLAIM s g d 0 1-1 JUSTID TIME %lu", now - 99);
    pends(r, "1-1", "d", 99, 6);
    rig_say(r, "XCLAIM s g d 0 1-1 JUSTID TIME %lu", now + 1000);
    pends(r, "1-1", "d", 0, 6);
    rig_say(r, "XCLAIM s g d 0 1-1 JUSTID IDLE 9223372036854775807");
    pends(r, "1-1", "d", 0, 6);
    rig_say(r, "XCLAIM s g d 0 1-1 JUSTID IDLE -9223372036854775808");
    pends(r, "1-1", "d", 0, 6);
    rig_free(r);
}

static void force_makes_pending_what_the_stream_has(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    rig_say(r, "XADD s 1-1 f v");
    rig_say(r, "XADD s 2-1 f v");
    says(r, OKAY, "XGROUP CREATE s g 0");
    says(r, EMPTY, "XCLAIM s g c 0 1-1");
    has(r, "1-1", "XCLAIM s g c 99999 1-1 FORCE");
    pends(r, "1-1", "c", 0, 2);
    says(r, "*1\r\n$3\r\n2-1\r\n", "XCLAIM s g c 99999 2-1 3-1 FORCE JUSTID");
    pends(r, "2-1", "c", 0, 1);
    says(r, EMPTY, "XPENDING s g 3-1 3-1 1");
    rig_free(r);
}

static void what_is_deleted_leaves_the_group_when_it_is_claimed(void **state)
{
    struct rig *r = rig_delivered(3, "");

    (void)state;
    says(r, ":1\r\n", "XDEL s 2-1");
    says(r, EMPTY, "XCLAIM s g d 99999 2-1 2-1");
    says(r, EMPTY, "XPENDING s g 2-1 2-1 1");
    says(r, ":1\r\n", "XTRIM s MAXLEN 1");
    says(r, "*1\r\n$3\r\n3-1\r\n", "XCLAIM s g d 0 1-1 3-1 JUSTID");
    says(r, "*4\r\n:1\r\n$3\r\n3-1\r\n$3\r\n3-1\r\n*1\r\n*2\r\n$1\r\nd\r\n$1\r\n1\r\n",
         "XPENDING s g");
    rig_restart(r, true);
    says(r, "*4\r\n:1\r\n$3\r\n3-1\r\n$3\r\n3-1\r\n*1\r\n*2\r\n$1\r\nd\r\n$1\r\n1\r\n",
         "XPENDING s g");
    rig_free(r);
}

static void a_consumer_is_made_even_if_it_gets_nothing(void **state)
{
    struct rig *r = rig_delivered(1, "");

    (void)state;
    says(r, EMPTY, "XCLAIM s g new 0 9-9");
    has(r, "$3\r\nnew\r\n", "XINFO CONSUMERS s g");
    says(r, "*3\r\n$3\r\n0-0\r\n*0\r\n*0\r\n", "XAUTOCLAIM s g other 1000 0");
    has(r, "$5\r\nother\r\n", "XINFO CONSUMERS s g");
    rig_free(r);
}

static void lastid_only_goes_on(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    for (int i = 1; i <= 9; i++)
        rig_say(r, "XADD s %d-1 f v", i);
    says(r, OKAY, "XGROUP CREATE s g 4-1");
    says(r, EMPTY, "XCLAIM s g c 0 1-1 LASTID 2-1");
    has(r, "$3\r\n4-1\r\n", "XINFO GROUPS s");
    says(r, EMPTY, "XCLAIM s g c 0 1-1 LASTID 7-1");
    has(r, "$3\r\n7-1\r\n", "XINFO GROUPS s");
    rig_restart(r, true);
    has(r, "*1\r\n*2\r\n$3\r\n8-1\r\n", "XREADGROUP GROUP g c COUNT 1 STREAMS s >");
    has(r, "lag\r\n:1\r\n", "BECK GROUP s g");
    rig_free(r);
}

/* Three entries of one key, of which the first is delivered and the others are skipped. */
static struct rig *ordered(void)
{
    struct rig *r = rig_begin();

    for (int i = 1; i <= 3; i++)
        rig_say(r, "XADD s %d-1 k a", i);
    says(r, OKAY, "XGROUP CREATE s g 0 ORDERBY k");
    has(r, "1-1", "XREADGROUP GROUP g c STREAMS s >");
    return r;
}

static void lastid_loses_nothing_that_was_skipped(void **state)
{
    struct rig *r = ordered();

    (void)state;
    rig_say(r, "XADD s 4-1 k b");
    says(r, EMPTY, "XCLAIM s g c 0 9-9 LASTID 4-1");
    says(r, ":1\r\n", "XACK s g 1-1");
    has(r, "2-1", "XREADGROUP GROUP g c STREAMS s >");
    says(r, ":1\r\n", "XACK s g 2-1");
    has(r, "3-1", "XREADGROUP GROUP g c STREAMS s >");
    rig_free(r);
}

static void force_takes_a_skipped_entry_and_holds_its_key(void **state)
{
    struct rig *r = ordered();

    (void)state;
    says(r, EMPTY, "XCLAIM s g d 0 2-1");
    says(r, "*1\r\n$3\r\n2-1\r\n", "XCLAIM s g d 0 2-1 FORCE JUSTID");
    says(r, ":1\r\n", "XACK s g 1-1");
    says(r, "*-1\r\n", "XREADGROUP GROUP g c STREAMS s >");
    says(r, ":1\r\n", "XACK s g 2-1");
    has(r, "3-1", "XREADGROUP GROUP g c STREAMS s >");
    rig_free(r);
}

static void errors_are_those_of_redis_and_come_in_its_order(void **state)
{
    static const struct {
        const char *command, *want;
    } cases[] = {
        { "XCLAIM none g c x y", "-NOGROUP No such key 'none' or consumer group 'g'\r\n" },
        { "XCLAIM s none c x y", "-NOGROUP No such key 's' or consumer group 'none'\r\n" },
        { "XCLAIM s g c x 1-1", "-ERR Invalid min-idle-time argument for XCLAIM\r\n" },
        { "XCLAIM s g c 0 x", "-ERR Unrecognized XCLAIM option 'x'\r\n" },
        { "XCLAIM s g c 0 1-1 x", "-ERR Unrecognized XCLAIM option 'x'\r\n" },
        { "XCLAIM s g c 0 1-1 IDLE", "-ERR Unrecognized XCLAIM option 'IDLE'\r\n" },
        { "XCLAIM s g c 0 1-1 IDLE x", "-ERR Invalid IDLE option argument for XCLAIM\r\n" },
        { "XCLAIM s g c 0 1-1 TIME x", "-ERR Invalid TIME option argument for XCLAIM\r\n" },
        { "XCLAIM s g c 0 1-1 RETRYCOUNT x",
          "-ERR Invalid RETRYCOUNT option argument for XCLAIM\r\n" },
        { "XCLAIM s g c 0 1-1 LASTID x",
          "-ERR Invalid stream ID specified as stream command argument\r\n" },
        { "XCLAIM s g c -5 9-9", EMPTY },
        { "XCLAIM s g c 0 JUSTID", EMPTY },
        { "XAUTOCLAIM none g c x 0", "-ERR Invalid min-idle-time argument for XAUTOCLAIM\r\n" },
        { "XAUTOCLAIM none g c 0 x",
          "-ERR Invalid stream ID specified as stream command argument\r\n" },
        { "XAUTOCLAIM none g c 0 (18446744073709551615-18446744073709551615",
          "-ERR invalid start ID for the interval\r\n" },
        { "XAUTOCLAIM none g c 0 0 COUNT 0", "-ERR COUNT must be > 0\r\n" },
        { "XAUTOCLAIM none g c 0 0 COUNT 576460752303423488", "-ERR COUNT must be > 0\r\n" },
        { "XAUTOCLAIM none g c 0 0 COUNT", "-ERR syntax error\r\n" },
        { "XAUTOCLAIM none g c 0 0 FORCE", "-ERR syntax error\r\n" },
        { "XAUTOCLAIM none g c 0 0", "-NOGROUP No such key 'none' or consumer group 'g'\r\n" },
        { "XAUTOCLAIM s none c 0 0", "-NOGROUP No such key 's' or consumer group 'none'\r\n" },
    };
    struct rig *r = rig_delivered(1, "");

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("  %s\n", cases[i].command);
        says(r, cases[i].want, "%s", cases[i].command);
    }
    rig_free(r);
}

/* ---- XAUTOCLAIM ---- */

static void autoclaim_takes_in_order_and_says_where_to_go_on(void **state)
{
    struct rig *r = rig_delivered(5, "");

    (void)state;
    rig_pass(r, 1000);
    says(r, "*3\r\n$3\r\n3-1\r\n*2\r\n$3\r\n1-1\r\n$3\r\n2-1\r\n*0\r\n",
         "XAUTOCLAIM s g d 1000 - COUNT 2 JUSTID");
    pends(r, "1-1", "d", 0, 1);
    says(r, "*3\r\n$3\r\n0-0\r\n*2\r\n$3\r\n4-1\r\n$3\r\n5-1\r\n*0\r\n",
         "XAUTOCLAIM s g d 1000 (3-1 JUSTID");
    has(r, "*3\r\n$3\r\n4-1\r\n*1\r\n*2\r\n$3\r\n3-1\r\n*2\r\n$1\r\nf\r\n$2\r\nv3\r\n*0\r\n",
        "XAUTOCLAIM s g d 1000 3-1 COUNT 1");
    pends(r, "3-1", "d", 0, 2);
    rig_free(r);
}

static void autoclaim_drops_and_lists_what_is_deleted_however_idle(void **state)
{
    struct rig *r = rig_delivered(5, "");

    (void)state;
    says(r, ":2\r\n", "XDEL s 2-1 4-1");
    says(r, "*3\r\n$3\r\n3-1\r\n*0\r\n*1\r\n$3\r\n2-1\r\n", "XAUTOCLAIM s g d 1000 0 COUNT 1");
    says(r, "*3\r\n$3\r\n0-0\r\n*0\r\n*1\r\n$3\r\n4-1\r\n", "XAUTOCLAIM s g d 1000 0");
    says(r, EMPTY, "XPENDING s g 2-1 2-1 1");
    rig_free(r);
}

static void deleted_entries_use_up_the_count(void **state)
{
    struct rig *r = rig_delivered(5, "");

    (void)state;
    says(r, ":2\r\n", "XDEL s 2-1 4-1");
    says(r, "*3\r\n$3\r\n3-1\r\n*1\r\n$3\r\n1-1\r\n*1\r\n$3\r\n2-1\r\n",
         "XAUTOCLAIM s g d 0 0 COUNT 2 JUSTID");
    says(r, "*3\r\n$3\r\n0-0\r\n*2\r\n$3\r\n3-1\r\n$3\r\n5-1\r\n*1\r\n$3\r\n4-1\r\n",
         "XAUTOCLAIM s g d 0 3-1 JUSTID");
    says(r, "*3\r\n$3\r\n0-0\r\n*3\r\n$3\r\n1-1\r\n$3\r\n3-1\r\n$3\r\n5-1\r\n*0\r\n",
         "XAUTOCLAIM s g d 0 0 JUSTID");
    rig_free(r);
}

static void autoclaim_looks_at_ten_times_its_count(void **state)
{
    struct rig *r = rig_delivered(25, "");

    (void)state;
    says(r, "*3\r\n$4\r\n11-1\r\n*0\r\n*0\r\n", "XAUTOCLAIM s g d 1000 0 COUNT 1");
    says(r, "*3\r\n$4\r\n21-1\r\n*0\r\n*0\r\n", "XAUTOCLAIM s g d 1000 11-1 COUNT 1");
    says(r, "*3\r\n$3\r\n0-0\r\n*0\r\n*0\r\n", "XAUTOCLAIM s g d 1000 21-1 COUNT 1");
    says(r, "*3\r\n$3\r\n0-0\r\n*0\r\n*0\r\n", "XAUTOCLAIM s g d 1000 0 COUNT 3");
    rig_free(r);
}

static void delayed_entries_are_passed_over_and_taken_by_id(void **state)
{
    struct rig *r = rig_delivered(2, "");

    (void)state;
    says(r, ":1\r\n", "XNACK s g FAIL IDS 1 1-1 DELAY 5000");
    rig_pass(r, 4999);
    says(r, "*3\r\n$3\r\n0-0\r\n*1\r\n$3\r\n2-1\r\n*0\r\n", "XAUTOCLAIM s g d 0 0 JUSTID");
    rig_pass(r, 1);
    says(r, "*3\r\n$3\r\n0-0\r\n*1\r\n$3\r\n1-1\r\n*0\r\n", "XAUTOCLAIM s g d 99999 0 JUSTID");
    says(r, ":1\r\n", "XNACK s g FAIL IDS 1 1-1 DELAY 5000");
    says(r, "*1\r\n$3\r\n1-1\r\n", "XCLAIM s g d 99999 1-1 JUSTID");
    rig_free(r);
}

/* Follows the cursor until 0-0; returns how many entries were claimed. */
static size_t sweep(struct rig *r, const char *options, size_t *calls)
{
    char cursor[64] = "0";
    size_t n_all = 0;

    for (*calls = 0; *calls == 0 || strcmp(cursor, "0-0") != 0; (*calls)++) {
        const char *reply = rig_say(r, "XAUTOCLAIM s g d 500 %s %s", cursor, options);
        unsigned long len, n;

        assert_int_equal(sscanf(reply, "*3\r\n$%lu\r\n%63[0-9-]\r\n*%lu", &len, cursor, &n), 3);
        n_all += n;
    }
    return n_all;
}

static void following_the_cursor_finds_everything(void **state)
{
    struct rig *r = rig_delivered(1000, "");
    size_t calls;

    (void)state;
    rig_pass(r, 400);
    for (int i = 1; i <= 1000; i += 3)
        assert_int_equal(rig_say(r, "XCLAIM s g d 0 %d-1 JUSTID", i)[1], '1');
    rig_pass(r, 100);
    assert_int_equal(sweep(r, "COUNT 7", &calls), 666);
    assert_int_equal(sweep(r, "COUNT 7", &calls), 0);
    assert_true(calls >= 1000 / 70);
    rig_free(r);
}

static void cold_entries_are_claimed_without_holding_up_the_engine(void **state)
{
    struct rig *r = rig_delivered(500, "");
    size_t calls;

    (void)state;
    rig_seal(r);
    rig_restart(r, true);
    rig_pass(r, 1000);
    has(r, "v77\r\n", "XCLAIM s g d 0 77-1 3-1");
    assert_int_equal(sweep(r, "COUNT 50", &calls), 498);
    assert_int_equal(rig_figure(r, "sync_reads"), 0);
    rig_free(r);
}

static void justid_reads_nothing(void **state)
{
    struct rig *r = rig_delivered(500, "");
    uint64_t before;

    (void)state;
    rig_seal(r);
    says(r, ":1\r\n", "XDEL s 5-1");
    rig_restart(r, true);
    before = rig_figure(r, "cache_misses");
    says(r, "*1\r\n$3\r\n4-1\r\n", "XCLAIM s g d 0 4-1 5-1 JUSTID");
    has(r, "*499\r\n", "XAUTOCLAIM s g d 0 0 COUNT 1000 JUSTID");
    assert_int_equal(rig_figure(r, "cache_misses"), before);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_claim_takes_what_is_idle_enough_and_counts_a_delivery),
        cmocka_unit_test(the_reply_has_the_order_of_the_request),
        cmocka_unit_test(an_id_that_comes_twice_is_claimed_twice_if_it_may),
        cmocka_unit_test(idle_time_and_count_can_be_given),
        cmocka_unit_test(force_makes_pending_what_the_stream_has),
        cmocka_unit_test(what_is_deleted_leaves_the_group_when_it_is_claimed),
        cmocka_unit_test(a_consumer_is_made_even_if_it_gets_nothing),
        cmocka_unit_test(lastid_only_goes_on),
        cmocka_unit_test(lastid_loses_nothing_that_was_skipped),
        cmocka_unit_test(force_takes_a_skipped_entry_and_holds_its_key),
        cmocka_unit_test(errors_are_those_of_redis_and_come_in_its_order),
        cmocka_unit_test(autoclaim_takes_in_order_and_says_where_to_go_on),
        cmocka_unit_test(autoclaim_drops_and_lists_what_is_deleted_however_idle),
        cmocka_unit_test(deleted_entries_use_up_the_count),
        cmocka_unit_test(autoclaim_looks_at_ten_times_its_count),
        cmocka_unit_test(delayed_entries_are_passed_over_and_taken_by_id),
        cmocka_unit_test(following_the_cursor_finds_everything),
        cmocka_unit_test(cold_entries_are_claimed_without_holding_up_the_engine),
        cmocka_unit_test(justid_reads_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
