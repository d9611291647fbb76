/* test_xnack.c - claims about XNACK: whole engine, simulated disk, and a clock that the test moves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/lib/rig.h"

#define READ "XREADGROUP GROUP g c STREAMS s >"

/* XPENDING shows the entry as nobody's, with that count. */
static void nacked(struct rig *r, const char *id, const char *count)
{
    char want[200];

    snprintf(want, sizeof want, "*1\r\n*4\r\n$%zu\r\n%s\r\n$0\r\n\r\n:-1\r\n:%s\r\n", strlen(id),
             id, count);
    says(r, want, "XPENDING s g %s %s 1", id, id);
}

/* ---- as in Redis ---- */

static void each_mode_counts_in_its_own_way(void **state)
{
    struct rig *r = rig_delivered(4, "");

    (void)state;
    says(r, ":1\r\n", "XNACK s g SILENT IDS 1 1-1");
    nacked(r, "1-1", "0");
    says(r, ":1\r\n", "XNACK s g SILENT IDS 1 1-1");
    nacked(r, "1-1", "0");
    says(r, ":1\r\n", "xnack s g fail ids 1 2-1");
    nacked(r, "2-1", "1");
    says(r, ":1\r\n", "XNACK s g FATAL IDS 1 3-1");
    nacked(r, "3-1", "9223372036854775807");
    says(r, ":2\r\n", "XNACK s g FATAL IDS 2 3-1 4-1 RETRYCOUNT 7");
    nacked(r, "3-1", "7");
    nacked(r, "4-1", "7");
    rig_restart(r, true);
    nacked(r, "4-1", "7");
    assert_int_equal(rig_pending(r, "s", "g"), 4);
    rig_free(r);
}

static void only_pending_ids_count_each_as_often_as_it_is_named(void **state)
{
    struct rig *r = rig_delivered(2, "");

    (void)state;
    says(r, ":2\r\n", "XNACK s g FAIL IDS 3 1-1 9-9 1-1");
    nacked(r, "1-1", "1");
    says(r, "*1\r\n$3\r\n2-1\r\n", "XCLAIM s g c 0 2-1 JUSTID RETRYCOUNT 5");
    says(r, ":2\r\n", "XNACK s g SILENT IDS 2 2-1 2-1");
    nacked(r, "2-1", "3");
    rig_free(r);
}

static void options_come_in_any_order(void **state)
{
    struct rig *r = rig_delivered(2, "");

    (void)state;
    says(r, ":1\r\n", "XNACK s g FAIL FORCE RETRYCOUNT 42 IDS 1 1-1");
    nacked(r, "1-1", "42");
    says(r, ":1\r\n", "XNACK s g FAIL RETRYCOUNT 5 DELAY 10 IDS 1 1-1 FORCE");
    nacked(r, "1-1", "5");
    says(r, ":1\r\n", "XNACK s g FAIL IDS 1 1-1 DELAY 10 RETRYCOUNT 6");
    nacked(r, "1-1", "6");
    rig_free(r);
}

static void force_makes_pending_what_the_stream_has(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    for (int i = 1; i <= 4; i++)
        rig_say(r, "XADD s %d-1 f v", i);
    says(r, OKAY, "XGROUP CREATE s g 0");
    says(r, ":0\r\n", "XNACK s g FAIL IDS 2 1-1 9-9");
    says(r, ":1\r\n", "XNACK s g FAIL IDS 2 1-1 9-9 FORCE");
    nacked(r, "1-1", "0");
    says(r, ":1\r\n", "XNACK s g FATAL IDS 1 2-1 FORCE");
    nacked(r, "2-1", "9223372036854775807");
    says(r, ":2\r\n", "XNACK s g SILENT FORCE IDS 2 3-1 3-1 RETRYCOUNT 3");
    nacked(r, "3-1", "3");
    has(r, "$3\r\n0-0\r\n", "XINFO GROUPS s"); /* where the group has got to is as it was */
    rig_free(r);
}

static void a_deleted_entry_can_still_be_given_back(void **state)
{
    struct rig *r = rig_delivered(2, "");

    (void)state;
    says(r, ":1\r\n", "XDEL s 1-1");
    says(r, ":1\r\n", "XNACK s g FAIL IDS 1 1-1");
    nacked(r, "1-1", "1");
    rig_free(r);
}

static void without_options_it_does_not_come_back_by_reading(void **state)
{
    struct rig *r = rig_delivered(1, "");

    (void)state;
    says(r, ":1\r\n", "XNACK s g FAIL IDS 1 1-1");
    says(r, NOTHING, READ);
    has(r, "1-1", "XREADGROUP GROUP g c CLAIM 99999 STREAMS s >");
    rig_free(r);
}

static void errors_are_those_of_redis_and_come_in_its_order(void **state)
{
    static const struct {
        const char *command, *want;
    } cases[] = {
        { "XNACK none g x IDS 1 y", "-NOGROUP No such key 'none' or consumer group 'g'\r\n" },
        { "XNACK s none x IDS 1 y", "-NOGROUP No such key 's' or consumer group 'none'\r\n" },
        { "XNACK s g FAIL RETRYCOUNT 5", "-ERR wrong number of arguments for 'xnack' command\r\n" },
        { "XNACK s g x IDS 1 y", "-ERR mode must be SILENT, FAIL, or FATAL\r\n" },
        { "XNACK s g FAIL IDS 0 1-1", "-ERR numids must be a positive integer\r\n" },
        { "XNACK s g FAIL IDS x 1-1", "-ERR numids must be a positive integer\r\n" },
        { "XNACK s g FAIL IDS 2147483648 1-1", "-ERR numids must be a positive integer\r\n" },
        { "XNACK s g FAIL IDS 2147483647 1-1", "-ERR number of IDs doesn't match numids\r\n" },
        { "XNACK s g FAIL IDS 1 1-1 2-0", "-ERR Unrecognized XNACK option '2-0'\r\n" },
        { "XNACK s g FAIL IDS 1 1-1 FATAL", "-ERR Unrecognized XNACK option 'FATAL'\r\n" },
        { "XNACK s g FAIL IDS 1 1-1 IDS", "-ERR Unrecognized XNACK option 'IDS'\r\n" },
        { "XNACK s g FAIL IDS 1 1-1 DELAY", "-ERR syntax error, DELAY needs a value\r\n" },
        { "XNACK s g FAIL IDS 1 1-1 RETRYCOUNT",
          "-ERR Unrecognized XNACK option 'RETRYCOUNT'\r\n" },
        { "XNACK s g FAIL FORCE FORCE FORCE", "-ERR syntax error, expected IDS keyword\r\n" },
        { "XNACK s g FAIL IDS 1 1-1 RETRYCOUNT x",
          "-ERR value is not an integer or out of range\r\n" },
        { "XNACK s g FAIL IDS 1 1-1 RETRYCOUNT -1",
          "-ERR Invalid RETRYCOUNT value, must be >= 0\r\n" },
        { "XNACK s g FAIL IDS 2 1-1 x",
          "-ERR Invalid stream ID specified as stream command argument\r\n" },
        { "XNACK s g FAIL IDS 1 1-1 DELAY -1",
          "-ERR DELAY must be a number of milliseconds from 0 to 1099511627776\r\n" },
        { "XNACK s g FAIL IDS 1 1-1 DELAY 1099511627777",
          "-ERR DELAY must be a number of milliseconds from 0 to 1099511627776\r\n" },
        { "XNACK s g FAIL IDS 1 1-1 DELAY soon",
          "-ERR DELAY must be a number of milliseconds from 0 to 1099511627776\r\n" },
    };
    struct rig *r = rig_delivered(1, "");

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("  %s\n", cases[i].command);
        says(r, cases[i].want, "%s", cases[i].command);
    }
    has(r, "$1\r\nc\r\n", "XPENDING s g - + 1"); /* nothing has happened */
    rig_free(r);
}

/* ---- delays ---- */

static void a_delay_holds_in_a_plain_group_too(void **state)
{
    struct rig *r = rig_delivered(1, "");

    (void)state;
    says(r, ":1\r\n", "XNACK s g FAIL IDS 1 1-1 DELAY 1000");
    nacked(r, "1-1", "1");
    rig_pass(r, 999);
    says(r, NOTHING, "XREADGROUP GROUP g c CLAIM 0 STREAMS s >");
    rig_restart(r, true);
    says(r, NOTHING, "XREADGROUP GROUP g c CLAIM 0 STREAMS s >");
    rig_pass(r, 1);
    has(r, "1-1", "XREADGROUP GROUP g c CLAIM 0 STREAMS s >");
    rig_free(r);
}

static void backoff_waits_by_how_often_it_was_delivered(void **state)
{
    struct rig *r = rig_delivered(1, "BACKOFF 2 100 1000");

    (void)state;
    says(r, ":1\r\n", "XNACK s g FAIL IDS 1 1-1"); /* the first delivery has failed */
    rig_pass(r, 99);
    says(r, NOTHING, READ);
    rig_pass(r, 1);
    has(r, "1-1", READ);
    for (int i = 0; i < 2; i++) { /* the last delay repeats */
        says(r, ":1\r\n", "XNACK s g FAIL IDS 1 1-1");
        rig_pass(r, 999);
        says(r, NOTHING, READ);
        rig_pass(r, 1);
        has(r, "1-1", READ);
    }
    rig_free(r);
}

static void silent_waits_as_the_delivery_that_it_takes_back(void **state)
{
    struct rig *r = rig_delivered(1, "BACKOFF 2 100 1000");

    (void)state;
    for (int i = 0; i < 3; i++) {
        says(r, ":1\r\n", "XNACK s g SILENT IDS 1 1-1");
        nacked(r, "1-1", "0");
        rig_pass(r, 99);
        says(r, NOTHING, READ);
        rig_pass(r, 1);
        has(r, "1-1", READ);
    }
    rig_free(r);
}

static void a_delay_beats_backoff_each_entry_has_its_own(void **state)
{
    struct rig *r = rig_delivered(3, "BACKOFF 3 100 200 300");

    (void)state;
    says(r, "*1\r\n$3\r\n2-1\r\n", "XCLAIM s g c 0 2-1 JUSTID RETRYCOUNT 2");
    says(r, "*1\r\n$3\r\n3-1\r\n", "XCLAIM s g c 0 3-1 JUSTID RETRYCOUNT 3");
    says(r, ":3\r\n", "XNACK s g FAIL IDS 3 3-1 2-1 1-1");
    rig_restart(r, true);
    for (int i = 1; i <= 3; i++) {
        char id[16];

        snprintf(id, sizeof id, "%d-1", i);
        rig_pass(r, 99);
        says(r, NOTHING, READ);
        rig_pass(r, 1);
        has(r, id, READ);
    }
    says(r, ":1\r\n", "XNACK s g FAIL IDS 1 2-1 DELAY 0");
    has(r, "2-1", READ);
    says(r, ":1\r\n", "XNACK s g FAIL IDS 1 2-1 DELAY 5000");
    rig_pass(r, 4999);
    says(r, NOTHING, READ);
    rig_pass(r, 1);
    has(r, "2-1", READ);
    rig_free(r);
}

/* ---- the last failure ---- */

static void what_fails_for_the_last_time_moves_at_once(void **state)
{
    struct rig *r = rig_delivered(3, "MAXDELIVER 2 BACKOFF 1 10 DLQ dead");
    const char *reply;

    (void)state;
    says(r, ":1\r\n", "XNACK s g FAIL IDS 1 1-1");
    says(r, ":0\r\n", "EXISTS dead");
    rig_pass(r, 10);
    has(r, "1-1", READ);
    says(r, ":1\r\n", "XNACK s g FAIL IDS 1 1-1");
    assert_int_equal(rig_pending(r, "s", "g"), 2);
    reply = rig_say(r, "XRANGE dead - +");
    assert_non_null(strstr(reply, "beck-reason\r\n$4\r\nnack\r\n"));
    assert_non_null(strstr(reply, "beck-consumer\r\n$1\r\nc\r\n"));
    assert_non_null(strstr(reply, "beck-deliveries\r\n$1\r\n2\r\n"));
    assert_non_null(strstr(reply, "beck-origin-id\r\n$3\r\n1-1\r\n"));
    says(r, ":2\r\n", "XNACK s g FATAL IDS 3 3-1 2-1 1-1");
    assert_int_equal(rig_pending(r, "s", "g"), 0);
    has(r, "beck-reason\r\n$5\r\nfatal\r\n", "XREVRANGE dead + - COUNT 1");
    assert_int_equal(rig_len(r, "dead"), 3);
    rig_restart(r, true);
    assert_int_equal(rig_len(r, "dead"), 3);
    assert_int_equal(rig_pending(r, "s", "g"), 0);
    rig_free(r);
}

static void without_a_dead_letter_stream_the_dead_stay(void **state)
{
    struct rig *r = rig_delivered(1, "MAXDELIVER 1 BACKOFF 1 10");

    (void)state;
    says(r, ":1\r\n", "XNACK s g FAIL IDS 1 1-1");
    rig_pass(r, 100000);
    says(r, NOTHING, READ);
    nacked(r, "1-1", "1");
    rig_free(r);
}

static void many_die_in_one_command(void **state)
{
    struct rig *r = rig_delivered(200, "MAXDELIVER 1 DLQ dead");
    char *words = malloc(200 * 16);
    size_t n = 0;

    (void)state;
    for (int i = 1; i <= 200; i++)
        n += (size_t)snprintf(words + n, 16, " %d-1", i);
    says(r, ":200\r\n", "XNACK s g FAIL IDS 200%s", words);
    assert_int_equal(rig_len(r, "dead"), 200);
    assert_int_equal(rig_pending(r, "s", "g"), 0);
    free(words);
    rig_free(r);
}

static void cold_entries_are_loaded_before_they_move(void **state)
{
    struct rig *r = rig_delivered(200, "MAXDELIVER 1 DLQ dead");

    (void)state;
    rig_seal(r);
    rig_restart(r, true);
    says(r, ":2\r\n", "XNACK s g FAIL IDS 2 17-1 190-1");
    assert_int_equal(rig_len(r, "dead"), 2);
    has(r, "v190\r\n", "XREVRANGE dead + - COUNT 1");
    assert_int_equal(rig_figure(r, "sync_reads"), 0);
    rig_free(r);
}

static void inside_exec_the_dead_move_soon_after(void **state)
{
    struct rig *r = rig_delivered(1, "MAXDELIVER 1 DLQ dead");

    (void)state;
    says(r, OKAY, "MULTI");
    rig_say(r, "XNACK s g FAIL IDS 1 1-1");
    rig_say(r, "EXISTS dead");
    says(r, "*2\r\n:1\r\n:0\r\n", "EXEC");
    rig_settle(r);
    rig_pass(r, 1);
    assert_int_equal(rig_len(r, "dead"), 1);
    assert_int_equal(rig_pending(r, "s", "g"), 0);
    rig_free(r);
}

static void a_skipped_entry_is_not_pending_but_force_makes_it_so(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    for (int i = 1; i <= 2; i++)
        rig_say(r, "XADD s %d-1 k a", i);
    says(r, OKAY, "XGROUP CREATE s g 0 ORDERBY k");
    has(r, "1-1", READ);
    says(r, ":0\r\n", "XNACK s g FAIL IDS 1 2-1");
    says(r, ":1\r\n", "XNACK s g FAIL IDS 1 2-1 FORCE");
    nacked(r, "2-1", "0");
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_mode_counts_in_its_own_way),
        cmocka_unit_test(only_pending_ids_count_each_as_often_as_it_is_named),
        cmocka_unit_test(options_come_in_any_order),
        cmocka_unit_test(force_makes_pending_what_the_stream_has),
        cmocka_unit_test(a_deleted_entry_can_still_be_given_back),
        cmocka_unit_test(without_options_it_does_not_come_back_by_reading),
        cmocka_unit_test(errors_are_those_of_redis_and_come_in_its_order),
        cmocka_unit_test(a_delay_holds_in_a_plain_group_too),
        cmocka_unit_test(backoff_waits_by_how_often_it_was_delivered),
        cmocka_unit_test(silent_waits_as_the_delivery_that_it_takes_back),
        cmocka_unit_test(a_delay_beats_backoff_each_entry_has_its_own),
        cmocka_unit_test(what_fails_for_the_last_time_moves_at_once),
        cmocka_unit_test(without_a_dead_letter_stream_the_dead_stay),
        cmocka_unit_test(many_die_in_one_command),
        cmocka_unit_test(cold_entries_are_loaded_before_they_move),
        cmocka_unit_test(inside_exec_the_dead_move_soon_after),
        cmocka_unit_test(a_skipped_entry_is_not_pending_but_force_makes_it_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
