/* test_xdlq.c - claims about XDLQ: what a redrive gives back, that nothing is lost or doubled on the way, and that nobody
 * waits for it. Whole engine, simulated disk, and a clock that the test moves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "broker/engine/redelivery.h"
#include "broker/engine/cold.h"
#include "tests/lib/rig.h"

#define REDRIVEN(n, appended, left)                                                             \
    "*6\r\n$8\r\nredriven\r\n:" n "\r\n$8\r\nappended\r\n:" appended "\r\n$4\r\nleft\r\n:" left \
    "\r\n"
#define OPTIONS "ACKWAIT 1000000 MAXDELIVER 1 DLQ d"

/* What is in memory only is forgotten. */
static void cool(struct rig *r)
{
    rig_seal(r);
    rig_restart(r, false);
}

/* Everything that the group of stream "s" has read fails for good. */
static void kill_all(struct rig *r, const char *group)
{
    const char *reply;

    do
        reply = rig_say(r, "XREADGROUP GROUP %s alice COUNT 1000 STREAMS s >", group);
    while (reply[1] != '-');
    rig_pass(r, 1000000);
}

/* A stream "s" with n entries, all of which are dead letters of the group "g" in "d". */
static struct rig *dead(unsigned n)
{
    struct rig *r = rig_grouped(n, OPTIONS);

    kill_all(r, "g");
    assert_int_equal(rig_len(r, "d"), n);
    return r;
}

/* ---- what a redrive does ---- */

static void a_dead_letter_becomes_pending_again_as_if_it_had_never_been_delivered(void **state)
{
    struct rig *r = dead(2);

    (void)state;
    says(r, OKAY, "XGROUP CREATE s other $");
    says(r, REDRIVEN("2", "0", "0"), "XDLQ REDRIVE d s g");
    assert_int_equal(rig_len(r, "d"), 0);
    assert_int_equal(rig_len(r, "s"), 2);
    says(r,
         "*2\r\n*4\r\n$3\r\n1-1\r\n$0\r\n\r\n:-1\r\n:0\r\n*4\r\n$3\r\n2-1\r\n$0\r\n\r\n:-1\r\n:"
         "0\r\n",
         "XPENDING s g - + 10");
    assert_int_equal(rig_pending(r, "s", "other"), 0);
    says(r, "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$2\r\nv1\r\n",
         "XREADGROUP GROUP g bob COUNT 1 STREAMS s >");
    says(r, ":2\r\n", "XACK s g 1-1 2-1");
    says(r, REDRIVEN("0", "0", "0"), "XDLQ REDRIVE d s g");
    rig_free(r);
}

static void a_reader_that_waits_gets_what_is_redriven(void **state)
{
    struct rig *r = dead(1);
    struct client waiting;

    (void)state;
    rig_join(r, &waiting);
    rig_tell(r, &waiting, "XREADGROUP GROUP g bob BLOCK 0 STREAMS s >");
    says(r, REDRIVEN("1", "0", "0"), "XDLQ REDRIVE d s g");
    assert_non_null(strstr(rig_hear(r, &waiting), "$3\r\n1-1\r\n"));
    rig_leave(r, &waiting);
    rig_free(r);
}

static void count_bounds_what_goes_and_the_oldest_go_first(void **state)
{
    struct rig *r = dead(5);

    (void)state;
    says(r, ":1\r\n", "XDEL s 1-1");
    says(r, REDRIVEN("2", "0", "1"), "XDLQ REDRIVE d s g COUNT 2"); /* past what is left */
    assert_int_equal(rig_pending(r, "s", "g"), 2);
    has(r, "\r\n$3\r\n2-1\r\n$3\r\n3-1\r\n", "XPENDING s g");
    assert_int_equal(rig_len(r, "d"), 3);
    says(r, REDRIVEN("2", "0", "1"), "XDLQ REDRIVE d s g COUNT 100");
    assert_int_equal(rig_len(r, "d"), 1);
    rig_free(r);
}

static void what_is_gone_from_the_stream_is_left_or_appended_for_all_groups(void **state)
{
    struct rig *r = dead(3);

    (void)state;
    says(r, OKAY, "XGROUP CREATE s other $");
    says(r, ":1\r\n", "XDEL s 2-1");
    says(r, REDRIVEN("2", "0", "1"), "XDLQ REDRIVE d s g");
    assert_int_equal(rig_len(r, "d"), 1);
    says(r, REDRIVEN("0", "1", "0"), "XDLQ REDRIVE d s g ALLGROUPS");
    assert_int_equal(rig_len(r, "d"), 0);
    assert_int_equal(rig_len(r, "s"), 3);
    assert_non_null(
        strstr(rig_say(r, "XREADGROUP GROUP other c STREAMS s >"),
               "*2\r\n$1\r\nf\r\n$2\r\nv2\r\n")); /* without what a dead letter has besides */
    rig_free(r);
}

static void a_dead_letter_without_fields_of_its_own_is_always_left(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    rig_say(r, "XADD s 1-1 f v");
    says(r, OKAY, "XGROUP CREATE s g 0 " OPTIONS);
    rig_say(r, "XREADGROUP GROUP g alice STREAMS s >");
    says(r, ":1\r\n", "XDEL s 1-1");
    rig_pass(r, 1000000);
    assert_int_equal(rig_len(r, "d"), 1);
    says(r, REDRIVEN("0", "0", "1"), "XDLQ REDRIVE d s g ALLGROUPS");
    rig_free(r);
}

static void other_groups_letters_and_other_entries_are_not_touched(void **state)
{
    struct rig *r = dead(2);

    (void)state;
    says(r, OKAY, "XGROUP CREATE s h 0 " OPTIONS);
    kill_all(r, "h");
    rig_say(r, "XADD d * some thing");
    assert_int_equal(rig_len(r, "d"), 5);
    says(r, REDRIVEN("2", "0", "0"), "XDLQ REDRIVE d s h");
    assert_int_equal(rig_len(r, "d"), 3);
    assert_int_equal(rig_pending(r, "s", "h"), 2);
    assert_int_equal(rig_pending(r, "s", "g"), 0);
    rig_free(r);
}

static void a_stream_made_anew_has_none_of_the_originals(void **state)
{
    struct rig *r = dead(1);

    (void)state;
    says(r, ":1\r\n", "DEL s");
    rig_say(r, "XADD s 2-1 f v");
    says(r, OKAY, "XGROUP CREATE s g 0");
    says(r, REDRIVEN("0", "0", "1"), "XDLQ REDRIVE d s g");
    rig_free(r);
}

static void an_entry_that_died_twice_is_redriven_once(void **state)
{
    struct rig *r = dead(2);

    (void)state;
    rig_say(r, "XCLAIM s g bob 0 1-1 FORCE");
    rig_pass(r, 1000000);
    assert_int_equal(rig_len(r, "d"), 3);
    says(r, REDRIVEN("3", "0", "0"), "XDLQ REDRIVE d s g");
    assert_int_equal(rig_pending(r, "s", "g"), 2);
    rig_free(r);
}

static void the_key_of_an_ordered_group_is_taken_again(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    rig_say(r, "XADD s 1-1 user u n 1");
    says(r, OKAY, "XGROUP CREATE s g 0 " OPTIONS " ORDERBY user");
    kill_all(r, "g");
    says(r, REDRIVEN("1", "0", "0"), "XDLQ REDRIVE d s g");
    rig_say(r, "XADD s 2-1 user u n 2");
    has(r, "1-1", "XREADGROUP GROUP g a COUNT 1 STREAMS s >");
    says(r, NOTHING, "XREADGROUP GROUP g b STREAMS s >"); /* 2-1 waits for it */
    says(r, ":1\r\n", "XACK s g 1-1");
    has(r, "2-1", "XREADGROUP GROUP g b STREAMS s >");
    rig_free(r);
}

/* ---- what is refused ---- */

static void bad_requests_are_refused(void **state)
{
    static const struct {
        const char *request, *want;
    } cases[] = {
        { "XDLQ REDRIVE d s", "-ERR wrong number of arguments" },
        { "XDLQ REDRIVE d s g COUNT", "-ERR syntax error" },
        { "XDLQ REDRIVE d s g COUNT x", "-ERR COUNT must be" },
        { "XDLQ REDRIVE d s g COUNT 0", "-ERR COUNT must be" },
        { "XDLQ REDRIVE d s g COUNT -1", "-ERR COUNT must be" },
        { "XDLQ REDRIVE d s g SOME", "-ERR syntax error" },
        { "XDLQ REDRIVE d s none", "-NOGROUP No such key 's' or consumer group 'none'" },
        { "XDLQ REDRIVE d none g", "-NOGROUP No such key 'none' or consumer group 'g'" },
        { "XDLQ REDRIVE s s g",
          "-ERR the dead-letter stream must be another stream than the one to redrive to" },
        { "XDLQ INFO none", "-ERR no such key" },
        { "XDLQ INFO", "-ERR wrong number of arguments" },
        { "XDLQ NONE", "-ERR unknown subcommand" },
    };
    struct rig *r = dead(1);

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("  %s\n", cases[i].request);
        assert_int_equal(
            strncmp(rig_say(r, "%s", cases[i].request), cases[i].want, strlen(cases[i].want)), 0);
    }
    says(r, REDRIVEN("0", "0", "0"), "XDLQ REDRIVE none s g");
    says(r, OKAY, "MULTI");
    assert_int_equal(rig_say(r, "XDLQ REDRIVE d s g")[0], '-');
    says(r, OKAY, "DISCARD");
    assert_int_equal(rig_say(r, "XDLQ HELP")[0], '*');
    assert_int_equal(rig_len(r, "d"), 1);
    rig_free(r);
}

static void both_streams_are_keys_of_the_command(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    says(r, "*2\r\n$1\r\nd\r\n$1\r\ns\r\n", "COMMAND GETKEYS XDLQ REDRIVE d s g");
    says(r, "*1\r\n$1\r\nd\r\n", "COMMAND GETKEYS XDLQ INFO d");
    rig_free(r);
}

static void on_a_full_disk_nothing_is_redriven(void **state)
{
    struct rig *r = dead(3);
    const char *reply = "";

    (void)state;
    simio_set_capacity(r->disk, simio_used_bytes(r->disk), true);
    for (int i = 0; strncmp(reply, "-DISKFULL", 9) != 0; i++) {
        assert_true(i < 100000);
        reply = rig_say(r, "XADD filler * f %01000d", i);
    }
    assert_int_equal(strncmp(rig_say(r, "XDLQ REDRIVE d s g"), "-DISKFULL", 9), 0);
    assert_int_equal(rig_len(r, "d"), 3);
    assert_int_equal(rig_say(r, "XDLQ INFO d")[0], '*');
    simio_set_capacity(r->disk, 0, true);
    rig_pass(r, 5000);
    says(r, REDRIVEN("3", "0", "0"), "XDLQ REDRIVE d s g");
    rig_free(r);
}

/* ---- many, and cold ---- */

static void what_is_not_in_memory_is_read_by_workers(void **state)
{
    struct rig *r = dead(3000);

    (void)state;
    for (unsigned i = 100; i < 3000; i += 100)
        rig_say(r, "XDEL s %u-1", i);
    cool(r);
    has(r, "$7\r\nentries\r\n:3000\r\n", "XDLQ INFO d");
    cool(r);
    says(r, REDRIVEN("2971", "0", "29"), "XDLQ REDRIVE d s g");
    assert_int_equal(rig_len(r, "d"), 29);
    assert_int_equal(rig_pending(r, "s", "g"), 2971);
    assert_int_equal(rig_figure(r, "sync_reads"), 0);
    rig_free(r);
}

static void what_has_to_be_read_first_does_not_make_others_count_twice(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    rig_say(r, "XADD s 1-1 f %050000d", 1); /* each in a block of its own */
    rig_say(r, "XADD s 2-1 f %050000d", 2);
    says(r, OKAY, "XGROUP CREATE s g 0 " OPTIONS);
    rig_say(r, "XREADGROUP GROUP g alice STREAMS s >");
    says(r, ":1\r\n", "XNACK s g FAIL IDS 1 2-1"); /* the first letter: its original is cold */
    says(r, ":1\r\n", "XNACK s g FAIL IDS 1 1-1"); /* the second one's is gone, as all know */
    says(r, ":1\r\n", "XTRIM s MINID 2-1");
    cool(r);
    says(r, REDRIVEN("1", "0", "1"), "XDLQ REDRIVE d s g");
    rig_free(r);
}

/* A redrive begins; its slices come with the next rounds. */
static void begin(struct rig *r, struct client *c)
{
    const struct slice argv[] = { slice_str("XDLQ"), slice_str("REDRIVE"), slice_str("d"),
                                  slice_str("s"),    slice_str("g"),       slice_str("ALLGROUPS") };

    engine_round_begin(&r->e);
    engine_execute(&r->e, c, argv, sizeof argv / sizeof argv[0]);
    engine_round_end(&r->e);
}

static void others_go_on_while_it_walks(void **state)
{
    struct rig *r = dead(3000);
    struct client redriving;
    uint64_t before = 3000;
    int slices = 0;

    (void)state;
    rig_join(r, &redriving);
    r->lazy = true;
    begin(r, &redriving);
    while (redriving.cold != NULL) {
        uint64_t n = rig_len(r, "d"); /* another client's command, between two slices */

        assert_true(before - n <= 256);
        slices += n < before;
        before = n;
        rig_round(r);
        log_step(r->log);
    }
    assert_true(slices >= 3000 / 256);
    assert_string_equal(rig_hear(r, &redriving), REDRIVEN("3000", "0", "0"));
    rig_leave(r, &redriving);
    r->lazy = false;
    rig_free(r);
}

/* Begins a redrive of many in a client of its own, and stops after a slice or two. */
static void begin_redrive(struct rig *r, struct client *c)
{
    rig_join(r, c);
    r->lazy = true;
    begin(r, c);
    while (rig_len(r, "d") == 1000) {
        rig_round(r);
        log_step(r->log);
    }
    r->lazy = false;
    assert_non_null(c->cold);
}

static void what_happens_meanwhile_is_heeded(void **state)
{
    static const struct {
        const char *event, *want;
    } cases[] = {
        { "XGROUP DESTROY s g", "-NOGROUP No such key 's' or consumer group 'g'\r\n" },
        { "DEL s", "-NOGROUP No such key 's' or consumer group 'g'\r\n" },
        { "FLUSHALL", NULL },
        { "DEL d", NULL },
        { "RENAME d e", REDRIVEN("1000", "0", "0") },
        { "RENAME s t", REDRIVEN("1000", "0", "0") },
        { "XADD d * beck-origin-stream s beck-origin-id 1-1 beck-origin-group g beck-consumer c "
          "beck-deliveries 1 beck-reason nack",
          REDRIVEN("1000", "0", "0") },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rig *r = dead(1000);
        struct client c;
        const char *heard;

        print_message("  %s\n", cases[i].event);
        begin_redrive(r, &c);
        assert_int_not_equal(rig_say(r, "%s", cases[i].event)[0], '-');
        rig_settle(r);
        assert_null(c.cold);
        heard = rig_hear(r, &c);
        assert_true(heard[0] == '*' || heard[0] == '-');
        if (cases[i].want != NULL)
            assert_string_equal(heard, cases[i].want);
        assert_null(redelivery_check(&r->e));
        rig_leave(r, &c);
        rig_free(r);
    }
}

static void a_client_that_goes_away_ends_it_between_two_slices(void **state)
{
    struct rig *r = dead(1000);
    struct client c;
    uint64_t left;

    (void)state;
    begin_redrive(r, &c);
    rig_leave(r, &c);
    rig_settle(r);
    left = rig_len(r, "d");
    assert_in_range(left, 1, 999);
    assert_int_equal(left + rig_pending(r, "s", "g"), 1000);
    rig_free(r);
}

/* The end at operation number k of the redrive; false if it was over before. */
static bool crash_at(uint64_t k, enum simio_mode mode)
{
    struct rig *r = rig_begin();
    struct client c;
    bool down;

    for (unsigned i = 1; i <= 400; i++)
        rig_say(r, "XADD s %u-1 f v%u", i, i);
    says(r, OKAY, "XGROUP CREATE s g 0 " OPTIONS);
    kill_all(r, "g");
    rig_say(r, "XDEL s 7-1");
    rig_join(r, &c);
    says(r, OKAY, "XCFGSET s DURABILITY always");
    says(r, ":1\r\n", "XGROUP CREATECONSUMER s g bob"); /* what was before is safe */
    simio_fault_at(r->disk, simio_n_ops(r->disk) + k, 1, SIMIO_CRASH);
    begin(r, &c);
    for (int i = 0; i < 20; i++) {
        rig_round(r);
        log_step(r->log);
    }
    down = simio_is_down(r->disk);
    rig_leave(r, &c);
    simio_fault_at(r->disk, 0, 0, SIMIO_NO_FAULT);
    rig_kill(r, mode);
    rig_start(r);
    assert_int_equal(rig_len(r, "d") + rig_pending(r, "s", "g") + (rig_len(r, "s") == 400), 400);
    rig_free(r);
    return down;
}

static void at_whatever_moment_it_ends_each_letter_is_in_one_place(void **state)
{
    static const enum simio_mode modes[] = { SIMIO_KILL, SIMIO_PREFIX, SIMIO_MIXED };

    (void)state;
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
        for (uint64_t k = 0; crash_at(k, modes[i]); k++)
            ;
}

/* ---- INFO ---- */

static void info_counts_by_stream_group_and_reason(void **state)
{
    struct rig *r = dead(3);

    (void)state;
    rig_say(r, "XCLAIM s g bob 0 1-1 FORCE");
    says(r, ":1\r\n", "XNACK s g FATAL IDS 1 1-1");
    rig_settle(r);
    rig_say(r, "XADD d 99999999999999-1 some thing");
    assert_non_null(strstr(
        rig_say(r, "XDLQ INFO d"),
        "$7\r\norigins\r\n*2\r\n"
        "*8\r\n$6\r\nstream\r\n$1\r\ns\r\n$5\r\ngroup\r\n$1\r\ng\r\n$6\r\nreason\r\n$5\r\nfatal\r\n"
        "$7\r\nentries\r\n:1\r\n"
        "*8\r\n$6\r\nstream\r\n$1\r\ns\r\n$5\r\ngroup\r\n$1\r\ng\r\n$6\r\nreason\r\n$"
        "7\r\ntimeout\r\n"
        "$7\r\nentries\r\n:3\r\n"
        "$5\r\nother\r\n:0\r\n$7\r\nforeign\r\n:1\r\n"));
    assert_non_null(
        strstr(rig_say(r, "XDLQ INFO d"), "$7\r\nlast-id\r\n$16\r\n99999999999999-1\r\n"));
    rig_free(r);
}

static void info_of_an_empty_stream_has_nothing(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    rig_say(r, "XADD d 1-1 a b");
    rig_say(r, "XDEL d 1-1");
    says(r,
         "*12\r\n$7\r\nentries\r\n:0\r\n$8\r\nfirst-id\r\n$3\r\n0-0\r\n$7\r\nlast-id\r\n$3\r\n0-"
         "0\r\n"
         "$7\r\norigins\r\n*0\r\n$5\r\nother\r\n:0\r\n$7\r\nforeign\r\n:0\r\n",
         "XDLQ INFO d");
    rig_free(r);
}

static void info_names_ten_thousand_origins_and_sums_up_the_rest(void **state)
{
    struct rig *r = rig_begin();
    const char *reply;

    (void)state;
    r->lazy = true;
    for (int i = 0; i < 10010; i++)
        rig_say(r,
                "XADD d * beck-origin-stream s%d beck-origin-id 1-1 beck-origin-group g "
                "beck-consumer c beck-deliveries 1 beck-reason nack",
                i);
    r->lazy = false;
    reply = rig_say(r, "XDLQ INFO d");
    assert_non_null(strstr(reply, "$7\r\norigins\r\n*10000\r\n"));
    assert_non_null(strstr(reply, "$5\r\nother\r\n:10\r\n"));
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dead_letter_becomes_pending_again_as_if_it_had_never_been_delivered),
        cmocka_unit_test(a_reader_that_waits_gets_what_is_redriven),
        cmocka_unit_test(count_bounds_what_goes_and_the_oldest_go_first),
        cmocka_unit_test(what_is_gone_from_the_stream_is_left_or_appended_for_all_groups),
        cmocka_unit_test(a_dead_letter_without_fields_of_its_own_is_always_left),
        cmocka_unit_test(other_groups_letters_and_other_entries_are_not_touched),
        cmocka_unit_test(a_stream_made_anew_has_none_of_the_originals),
        cmocka_unit_test(an_entry_that_died_twice_is_redriven_once),
        cmocka_unit_test(the_key_of_an_ordered_group_is_taken_again),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(both_streams_are_keys_of_the_command),
        cmocka_unit_test(on_a_full_disk_nothing_is_redriven),
        cmocka_unit_test(what_is_not_in_memory_is_read_by_workers),
        cmocka_unit_test(what_has_to_be_read_first_does_not_make_others_count_twice),
        cmocka_unit_test(others_go_on_while_it_walks),
        cmocka_unit_test(what_happens_meanwhile_is_heeded),
        cmocka_unit_test(a_client_that_goes_away_ends_it_between_two_slices),
        cmocka_unit_test(at_whatever_moment_it_ends_each_letter_is_in_one_place),
        cmocka_unit_test(info_counts_by_stream_group_and_reason),
        cmocka_unit_test(info_of_an_empty_stream_has_nothing),
        cmocka_unit_test(info_names_ten_thousand_origins_and_sums_up_the_rest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
