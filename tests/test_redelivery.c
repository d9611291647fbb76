/* test_redelivery.c - claims about what groups do when time passes: whole engine, simulated disk, and a clock that the test
 * moves. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "broker/engine/redelivery.h"
#include "broker/engine/grouplog.h"
#include "tests/lib/random.h"
#include "tests/lib/rig.h"

/* a reply of XREADGROUP with the entry n-1 of "s" */
#define ENTRY(n) "*2\r\n$3\r\n" n "-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n"
#define READ(n)  "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n" ENTRY(n)

static void add(struct rig *r, unsigned n)
{
    char want[32];

    snprintf(want, sizeof want, "$3\r\n%u-1\r\n", n);
    says(r, want, "XADD s %u-1 f v", n);
}

/* A stream "s" with the entry 1-1 and a group "g" with these options. */
static struct rig *grouped(const char *options)
{
    struct rig *r = rig_begin();

    add(r, 1);
    says(r, OKAY, "XGROUP CREATE s g 0 %s", options);
    return r;
}

static const char *read_one(struct rig *r, const char *consumer)
{
    return rig_say(r, "XREADGROUP GROUP g %s COUNT 1 STREAMS s >", consumer);
}

#define reads(r, consumer, want) assert_string_equal(read_one(r, consumer), want)

/* ---- what becomes ready ---- */

static void what_is_not_acknowledged_in_time_is_handed_out_again_by_itself(void **state)
{
    struct rig *r = grouped("ACKWAIT 1000");

    (void)state;
    reads(r, "a", READ("1"));
    rig_pass(r, 999);
    reads(r, "b", NOTHING);
    rig_pass(r, 1);
    reads(r, "b", READ("1"));
    rig_pass(r, 999);
    reads(r, "a", NOTHING);
    says(r, ":1\r\n", "XACK s g 1-1");
    rig_pass(r, 10000);
    reads(r, "a", NOTHING);
    rig_redelivery(r);
    rig_free(r);
}

static void until_it_is_handed_out_again_it_has_its_owner_and_can_be_acknowledged(void **state)
{
    struct rig *r = grouped("ACKWAIT 1000");

    (void)state;
    reads(r, "a", READ("1"));
    rig_pass(r, 5000);
    says(r, "*1\r\n*4\r\n$3\r\n1-1\r\n$1\r\na\r\n:5000\r\n:1\r\n", "XPENDING s g - + 10");
    says(r, ":1\r\n", "XACK s g 1-1");
    reads(r, "b", NOTHING);
    rig_free(r);
}

static void a_reader_that_waits_wakes_when_something_becomes_ready(void **state)
{
    struct rig *r = grouped("ACKWAIT 1000");
    struct client waiting;

    (void)state;
    rig_join(r, &waiting);
    reads(r, "a", READ("1"));
    rig_tell(r, &waiting, "XREADGROUP GROUP g b BLOCK 0 STREAMS s >");
    rig_pass(r, 999);
    hears(r, &waiting, "");
    rig_pass(r, 1);
    hears(r, &waiting, READ("1"));
    rig_leave(r, &waiting);
    rig_free(r);
}

static void a_backoff_counts_from_the_failure_and_the_last_one_repeats(void **state)
{
    static const uint64_t waits_ms[] = { 10, 200, 200, 200 };
    struct rig *r = grouped("ACKWAIT 1000 BACKOFF 2 10 200");

    (void)state;
    reads(r, "a", READ("1"));
    for (size_t i = 0; i < sizeof waits_ms / sizeof waits_ms[0]; i++) {
        rig_pass(r, 1000 + waits_ms[i] - 1);
        reads(r, "b", NOTHING);
        rig_pass(r, 1);
        reads(r, "a", READ("1"));
    }
    rig_free(r);
}

static void an_entry_that_is_nacked_comes_back_when_its_delay_has_passed(void **state)
{
    struct rig *r = grouped("BACKOFF 1 100");
    struct client waiting;

    (void)state;
    rig_join(r, &waiting);
    reads(r, "a", READ("1"));
    rig_tell(r, &waiting, "XREADGROUP GROUP g b BLOCK 0 STREAMS s >");
    says(r, ":1\r\n", "XNACK s g FAIL IDS 1 1-1 DELAY 700");
    rig_pass(r, 699);
    hears(r, &waiting, "");
    rig_pass(r, 1);
    hears(r, &waiting, READ("1"));
    says(r, ":1\r\n", "XNACK s g FAIL IDS 1 1-1");
    rig_pass(r, 99);
    reads(r, "a", NOTHING);
    rig_pass(r, 1);
    reads(r, "a", READ("1"));
    rig_leave(r, &waiting);
    rig_free(r);
}

static void a_reader_with_claim_wakes_when_something_is_idle_enough(void **state)
{
    struct rig *r = grouped("");
    struct client waiting;
    const char *heard;

    (void)state;
    rig_join(r, &waiting);
    reads(r, "a", READ("1"));
    rig_pass(r, 100);
    rig_tell(r, &waiting, "XREADGROUP GROUP g b BLOCK 0 CLAIM 500 STREAMS s >");
    rig_pass(r, 399);
    hears(r, &waiting, "");
    rig_pass(r, 1);
    heard = rig_hear(r, &waiting);
    assert_non_null(strstr(heard, "$3\r\n1-1\r\n"));
    assert_non_null(strstr(heard, ":500\r\n:1\r\n"));
    rig_leave(r, &waiting);
    rig_free(r);
}

static void a_delay_ends_for_a_reader_with_claim_in_a_plain_group(void **state)
{
    struct rig *r = grouped("");
    struct client waiting;

    (void)state;
    rig_join(r, &waiting);
    reads(r, "a", READ("1"));
    says(r, ":1\r\n", "XNACK s g FAIL IDS 1 1-1 DELAY 300");
    rig_tell(r, &waiting, "XREADGROUP GROUP g b BLOCK 0 CLAIM 0 STREAMS s >");
    rig_pass(r, 299);
    hears(r, &waiting, "");
    rig_pass(r, 1);
    assert_non_null(strstr(rig_hear(r, &waiting), "$3\r\n1-1\r\n"));
    rig_leave(r, &waiting);
    rig_free(r);
}

/* An entry that was deleted stays pending and is never claimed by a read: it must not keep the engine busy. */
static void a_reader_with_claim_who_cannot_have_what_is_idle_costs_little(void **state)
{
    struct rig *r = grouped("");
    struct client waiting;

    (void)state;
    rig_join(r, &waiting);
    reads(r, "a", READ("1"));
    says(r, ":1\r\n", "XDEL s 1-1");
    rig_tell(r, &waiting, "XREADGROUP GROUP g b BLOCK 0 CLAIM 100 STREAMS s >");
    rig_pass(r, 1000); /* settles */
    hears(r, &waiting, "");
    assert_true(redelivery_next_ms(&r->e) > r->e.now_ms);
    add(r, 2);
    assert_non_null(strstr(rig_hear(r, &waiting), "$3\r\n2-1\r\n"));
    rig_leave(r, &waiting);
    rig_free(r);
}

static void what_was_delivered_too_often_is_dead_and_stays_without_a_stream_for_it(void **state)
{
    struct rig *r = grouped("ACKWAIT 100 MAXDELIVER 2");

    (void)state;
    reads(r, "a", READ("1"));
    rig_pass(r, 100);
    reads(r, "a", READ("1"));
    rig_pass(r, 100);
    reads(r, "a", NOTHING);
    assert_int_equal(pel_n_dead(rig_group(r, "s", "g")->pel), 1);
    says(r, "*1\r\n*4\r\n$3\r\n1-1\r\n$1\r\na\r\n:100\r\n:2\r\n", "XPENDING s g - + 10");
    assert_int_equal(rig_redelivery(r).n_dead_lettered, 0);
    says(r, ":1\r\n", "XACK s g 1-1");
    rig_free(r);
}

static void times_hold_across_a_restart(void **state)
{
    (void)state;
    for (int killed = 0; killed < 2; killed++) {
        struct rig *r = grouped("ACKWAIT 1000 CONSUMERTTL 500000");

        reads(r, "a", READ("1"));
        rig_pass(r, 400);
        rig_restart(r, killed);
        assert_int_equal(rig_redelivery(r).n_scheduled, 1);
        rig_pass(r, 599);
        reads(r, "b", NOTHING);
        rig_pass(r, 1);
        reads(r, "b", READ("1"));
        rig_free(r);
    }
}

static void what_became_due_while_the_server_was_down_is_handed_out_at_once(void **state)
{
    struct rig *r = grouped("ACKWAIT 1000");

    (void)state;
    reads(r, "a", READ("1"));
    rig_stop(r);
    simio_advance_ms(r->disk, 100000);
    rig_start(r);
    rig_settle(r);
    reads(r, "b", READ("1"));
    rig_free(r);
}

/* ---- groups that change meanwhile ---- */

static void groups_and_streams_that_go_leave_nothing_that_is_looked_at(void **state)
{
    static const char *const ends[] = { "XGROUP DESTROY s g", "DEL s", "FLUSHALL", "RENAME s t",
                                        "PEXPIRE s 10" };

    (void)state;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct rig *r = grouped("ACKWAIT 1000 MAXDELIVER 1 DLQ d CONSUMERTTL 2000");

        reads(r, "a", READ("1"));
        assert_int_not_equal(rig_say(r, "%s", ends[i])[0], '-');
        rig_pass(r, 5000);
        assert_int_equal(rig_len(r, "d"), strncmp(ends[i], "RENAME", 6) == 0);
        assert_int_equal(redelivery_next_ms(&r->e), UINT64_MAX);
        assert_int_equal(rig_redelivery(r).n_scheduled, 0);
        rig_free(r);
    }
}

static void a_stream_that_begins_anew_keeps_its_groups_times(void **state)
{
    struct rig *r = grouped("ACKWAIT 1000 CONSUMERTTL 3000");

    (void)state;
    reads(r, "a", READ("1"));
    says(r, ":1\r\n", "XACK s g 1-1");
    says(r, ":1\r\n", "XTRIM s MAXLEN 0");
    says(r, OKAY, "XSETID s 0-0");
    rig_redelivery(r);
    rig_pass(r, 3000);
    assert_int_equal(rig_redelivery(r).n_consumers_expired, 1);
    rig_free(r);
}

static void options_that_change_count_for_what_is_pending(void **state)
{
    struct rig *r = grouped("");

    (void)state;
    reads(r, "a", READ("1"));
    rig_pass(r, 5000);
    says(r, OKAY, "XGROUP CFGSET s g ACKWAIT 6000");
    reads(r, "b", NOTHING);
    rig_pass(r, 1000);
    reads(r, "b", READ("1"));
    says(r, OKAY, "XGROUP CFGSET s g ACKWAIT 0");
    rig_pass(r, 100000);
    reads(r, "a", NOTHING);
    rig_free(r);
}

static void plain_groups_have_no_time(void **state)
{
    struct rig *r = grouped("");

    (void)state;
    for (unsigned n = 2; n < 10; n++)
        add(r, n);
    rig_say(r, "XREADGROUP GROUP g a STREAMS s >");
    says(r, ":2\r\n", "XACK s g 1-1 3-1");
    assert_int_equal(rig_redelivery(r).n_scheduled, 0);
    assert_int_equal(redelivery_next_ms(&r->e), UINT64_MAX);
    rig_free(r);
}

/* ---- bounds ---- */

static void many_groups_that_are_due_together_are_done_by_and_by(void **state)
{
    enum { GROUPS = 3000 };
    struct rig *r = rig_begin();
    int rounds = 0;

    (void)state;
    r->lazy = true;
    add(r, 1);
    for (int i = 0; i < GROUPS; i++) {
        says(r, OKAY, "XGROUP CREATE s g%d 0 ACKWAIT 1000", i);
        rig_say(r, "XREADGROUP GROUP g%d a STREAMS s >", i);
    }
    simio_advance_ms(r->disk, 2000);
    do {
        rig_round(r);
        rounds++;
    } while (redelivery_next_ms(&r->e) <= r->e.now_ms);
    assert_in_range(rounds, 3, 6);
    for (int i = 0; i < GROUPS; i++) {
        char name[16];
        struct group *g;

        snprintf(name, sizeof name, "g%d", i);
        g = groups_find(stream_groups(rig_stream(r, "s")), slice_str(name));
        assert_int_equal(pel_n_ready(g->pel), 1);
    }
    r->lazy = false;
    rig_free(r);
}

static void entries_of_the_heap_that_are_void_do_not_gather(void **state)
{
    struct rig *r = grouped("ACKWAIT 1000000");

    (void)state;
    reads(r, "a", READ("1"));
    for (int i = 0; i < 1000; i++) { /* each time is earlier than the one before */
        says(r, OKAY, "XGROUP CFGSET s g ACKWAIT %d", 999999 - i);
        assert_true(rig_redelivery(r).n_scheduled <= 4);
    }
    rig_free(r);
}

/* ---- consumers ---- */

static bool has_consumer(struct rig *r, const char *name)
{
    return group_find_consumer(rig_group(r, "s", "g"), slice_str(name)) != NULL;
}

static void a_consumer_without_pending_entries_vanishes_when_its_time_has_passed(void **state)
{
    struct rig *r = grouped("CONSUMERTTL 1000");

    (void)state;
    says(r, ":1\r\n", "XGROUP CREATECONSUMER s g idle");
    rig_pass(r, 500);
    says(r, ":1\r\n", "XGROUP CREATECONSUMER s g later");
    rig_pass(r, 499);
    assert_true(has_consumer(r, "idle"));
    rig_pass(r, 1);
    assert_false(has_consumer(r, "idle"));
    assert_true(has_consumer(r, "later"));
    rig_pass(r, 500);
    assert_false(has_consumer(r, "later"));
    assert_int_equal(rig_redelivery(r).n_consumers_expired, 2);
    assert_int_equal(redelivery_next_ms(&r->e), UINT64_MAX);
    rig_restart(r, true);
    assert_false(has_consumer(r, "idle")); /* it is a record */
    rig_free(r);
}

static void each_command_that_names_a_consumer_begins_its_time_anew(void **state)
{
    struct rig *r = grouped("CONSUMERTTL 1000");

    (void)state;
    says(r, ":1\r\n", "XGROUP CREATECONSUMER s g a");
    for (int i = 0; i < 5; i++) {
        rig_pass(r, 900);
        rig_say(r, "XREADGROUP GROUP g a STREAMS s 0");
        assert_true(has_consumer(r, "a"));
    }
    rig_pass(r, 1000);
    assert_false(has_consumer(r, "a"));
    rig_free(r);
}

static void a_consumer_that_holds_entries_stays_until_it_does_not(void **state)
{
    struct rig *r = grouped("CONSUMERTTL 1000");

    (void)state;
    reads(r, "a", READ("1"));
    rig_pass(r, 60000);
    assert_true(has_consumer(r, "a"));
    says(r, ":1\r\n", "XACK s g 1-1");
    rig_settle(r);
    assert_false(has_consumer(r, "a"));
    assert_int_equal(rig_redelivery(r).n_consumers_expired, 1);
    rig_free(r);
}

static void a_consumer_with_a_connection_that_waits_is_never_idle(void **state)
{
    struct rig *r = grouped("CONSUMERTTL 1000");
    struct client waiting;

    (void)state;
    rig_join(r, &waiting);
    reads(r, "other", READ("1"));
    rig_tell(r, &waiting, "XREADGROUP GROUP g a BLOCK 0 STREAMS s >");
    rig_pass(r, 500000);
    assert_true(has_consumer(r, "a"));
    rig_leave(r, &waiting);
    rig_pass(r, 2000);
    assert_false(has_consumer(r, "a"));
    assert_true(has_consumer(r, "other"));
    rig_redelivery(r);
    rig_free(r);
}

static void after_a_restart_the_time_begins_anew(void **state)
{
    (void)state;
    for (int killed = 0; killed < 2; killed++) {
        struct rig *r = grouped("CONSUMERTTL 1000");

        says(r, ":1\r\n", "XGROUP CREATECONSUMER s g a");
        rig_pass(r, 900);
        rig_restart(r, killed);
        rig_pass(r, 990);
        assert_true(has_consumer(r, "a"));
        rig_pass(r, 20);
        assert_false(has_consumer(r, "a"));
        rig_redelivery(r);
        rig_free(r);
    }
}

static void a_ttl_that_is_set_later_counts_from_what_was_before(void **state)
{
    struct rig *r = grouped("");

    (void)state;
    says(r, ":1\r\n", "XGROUP CREATECONSUMER s g a");
    rig_pass(r, 900);
    says(r, OKAY, "XGROUP CFGSET s g CONSUMERTTL 1000");
    rig_pass(r, 99);
    assert_true(has_consumer(r, "a"));
    rig_pass(r, 1);
    assert_false(has_consumer(r, "a"));
    says(r, ":1\r\n", "XGROUP CREATECONSUMER s g a");
    says(r, OKAY, "XGROUP CFGSET s g CONSUMERTTL 0");
    rig_pass(r, 1000000);
    assert_true(has_consumer(r, "a"));
    rig_free(r);
}

static void a_consumer_that_is_dropped_leaves_the_lists(void **state)
{
    struct rig *r = grouped("CONSUMERTTL 1000");

    (void)state;
    reads(r, "busy", READ("1"));
    says(r, ":1\r\n", "XGROUP CREATECONSUMER s g a");
    says(r, ":1\r\n", "XGROUP CREATECONSUMER s g b");
    says(r, ":0\r\n", "XGROUP DELCONSUMER s g a");
    rig_redelivery(r);
    rig_pass(r, 5000); /* "busy" is late now */
    says(r, ":1\r\n", "XGROUP DELCONSUMER s g busy DISCARD");
    rig_redelivery(r);
    rig_pass(r, 5000);
    assert_int_equal(group_n_consumers(rig_group(r, "s", "g")), 0);
    rig_free(r);
}

static void thousands_of_consumers_go_a_slice_a_round(void **state)
{
    enum { CONSUMERS = 5000, SLICE = 64 };
    struct rig *r = grouped("CONSUMERTTL 1000");

    (void)state;
    r->lazy = true;
    for (int i = 0; i < CONSUMERS; i++)
        says(r, ":1\r\n", "XGROUP CREATECONSUMER s g c%d", i);
    simio_advance_ms(r->disk, 2000);
    while (group_n_consumers(rig_group(r, "s", "g")) > 0) {
        size_t n = group_n_consumers(rig_group(r, "s", "g"));

        rig_round(r);
        assert_true(n - group_n_consumers(rig_group(r, "s", "g")) <= SLICE);
        assert_true(redelivery_next_ms(&r->e) <= r->e.now_ms ||
                    group_n_consumers(rig_group(r, "s", "g")) == 0);
    }
    r->lazy = false;
    rig_free(r);
}

/* Random commands of several consumers; what is pending is ready exactly when it should be, and no consumer is there too
 * long. */
static void random_groups_follow_their_clock(void **state)
{
    struct random rnd = random_seeded("random_groups");
    struct rig *r = grouped("ACKWAIT 50 CONSUMERTTL 300 BACKOFF 2 5 10");

    (void)state;
    for (unsigned i = 2; i < 2000; i++) {
        unsigned c = (unsigned)random_below(&rnd, 8), id = 1 + (unsigned)random_below(&rnd, i);

        switch (random_below(&rnd, 6)) {
        case 0: rig_say(r, "XADD s %u-1 f v", i); break;
        case 1: rig_say(r, "XREADGROUP GROUP g c%u COUNT 3 STREAMS s >", c); break;
        case 2: rig_say(r, "XACK s g %u-1 %u-1 %u-1", id, id + 1, id + 2); break;
        case 3: rig_say(r, "XNACK s g FAIL IDS 1 %u-1", id); break;
        case 4: rig_pass(r, random_below(&rnd, 40)); break;
        default: rig_say(r, "XCLAIM s g c%u 0 %u-1", c, id); break;
        }
        if (random_below(&rnd, 200) == 0)
            rig_restart(r, random_below(&rnd, 2) == 0);
        rig_redelivery(r);
        assert_true(redelivery_next_ms(&r->e) > r->e.now_ms);
        assert_true(pel_next_ms(rig_group(r, "s", "g")->pel) > r->e.now_ms);
    }
    rig_pass(r, 50 + 10);
    assert_int_equal(pel_n_ready(rig_group(r, "s", "g")->pel), pel_n(rig_group(r, "s", "g")->pel));
    rig_pass(r, 1000);
    for (const struct consumer *c = rig_group(r, "s", "g")->oldest; c != NULL; c = c->newer)
        assert_true(c->seen_ms + 300 > r->e.now_ms);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_acknowledged_in_time_is_handed_out_again_by_itself),
        cmocka_unit_test(until_it_is_handed_out_again_it_has_its_owner_and_can_be_acknowledged),
        cmocka_unit_test(a_reader_that_waits_wakes_when_something_becomes_ready),
        cmocka_unit_test(a_backoff_counts_from_the_failure_and_the_last_one_repeats),
        cmocka_unit_test(an_entry_that_is_nacked_comes_back_when_its_delay_has_passed),
        cmocka_unit_test(a_reader_with_claim_wakes_when_something_is_idle_enough),
        cmocka_unit_test(a_delay_ends_for_a_reader_with_claim_in_a_plain_group),
        cmocka_unit_test(a_reader_with_claim_who_cannot_have_what_is_idle_costs_little),
        cmocka_unit_test(what_was_delivered_too_often_is_dead_and_stays_without_a_stream_for_it),
        cmocka_unit_test(times_hold_across_a_restart),
        cmocka_unit_test(what_became_due_while_the_server_was_down_is_handed_out_at_once),
        cmocka_unit_test(groups_and_streams_that_go_leave_nothing_that_is_looked_at),
        cmocka_unit_test(a_stream_that_begins_anew_keeps_its_groups_times),
        cmocka_unit_test(options_that_change_count_for_what_is_pending),
        cmocka_unit_test(plain_groups_have_no_time),
        cmocka_unit_test(many_groups_that_are_due_together_are_done_by_and_by),
        cmocka_unit_test(entries_of_the_heap_that_are_void_do_not_gather),
        cmocka_unit_test(a_consumer_without_pending_entries_vanishes_when_its_time_has_passed),
        cmocka_unit_test(each_command_that_names_a_consumer_begins_its_time_anew),
        cmocka_unit_test(a_consumer_that_holds_entries_stays_until_it_does_not),
        cmocka_unit_test(a_consumer_with_a_connection_that_waits_is_never_idle),
        cmocka_unit_test(after_a_restart_the_time_begins_anew),
        cmocka_unit_test(a_ttl_that_is_set_later_counts_from_what_was_before),
        cmocka_unit_test(a_consumer_that_is_dropped_leaves_the_lists),
        cmocka_unit_test(thousands_of_consumers_go_a_slice_a_round),
        cmocka_unit_test(random_groups_follow_their_clock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
