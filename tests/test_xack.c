/* test_xack.c - claims about XACK, XACKDEL and what XDELEX does to references: whole engine, simulated disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/lib/rig.h"

/* ---- XACK ---- */

static void what_was_pending_is_counted_once_in_any_order(void **state)
{
    struct rig *r = rig_delivered(6, "");

    (void)state;
    says(r, ":2\r\n", "XACK s g 1-1 2-1");
    says(r, ":0\r\n", "XACK s g 1-1 2-1");
    says(r, ":2\r\n", "XACK s g 5-1 99-1 3-1 5-1 1");
    assert_int_equal(rig_pending(r, "s", "g"), 2);
    says(r, ":2\r\n", "XACK s g 6-1 4-1");
    assert_int_equal(rig_pending(r, "s", "g"), 0);
    rig_free(r);
}

static void nothing_is_acknowledged_if_one_id_is_none(void **state)
{
    struct rig *r = rig_delivered(3, "");

    (void)state;
    says(r, "-ERR Invalid stream ID specified as stream command argument\r\n",
         "XACK s g 1-1 2-1 x 3-1");
    assert_int_equal(rig_pending(r, "s", "g"), 3);
    rig_free(r);
}

static void without_key_or_group_nothing_is_pending(void **state)
{
    struct rig *r = rig_delivered(1, "");

    (void)state;
    says(r, ":0\r\n", "XACK none g 1-1");
    says(r, ":0\r\n", "XACK s none 1-1");
    says(r, ":0\r\n", "XACK s none x"); /* IDs are not looked at then */
    says(r, "-ERR wrong number of arguments for 'xack' command\r\n", "XACK s g");
    rig_free(r);
}

static void more_ids_than_lie_on_the_stack_are_taken(void **state)
{
    struct rig *r = rig_delivered(1000, "");
    char *words = malloc(1000 * 16);
    size_t n = 0;

    (void)state;
    for (int i = 1; i <= 500; i++)
        n += (size_t)snprintf(words + n, 16, " %d-1", i);
    says(r, ":500\r\n", "XACK s g%s", words);
    n = 0;
    for (int i = 1000; i > 500; i--)
        n += (size_t)snprintf(words + n, 16, " %d-1", i);
    says(r, ":500\r\n", "XACK s g%s", words);
    free(words);
    rig_free(r);
}

static void an_acknowledgement_never_comes_back(void **state)
{
    struct rig *r = rig_delivered(5, "");

    (void)state;
    says(r, ":3\r\n", "XACK s g 1-1 3-1 5-1");
    rig_restart(r, true);
    assert_int_equal(rig_pending(r, "s", "g"), 2);
    says(r, ":0\r\n", "XACK s g 1-1 3-1 5-1");
    says(r, ":2\r\n", "XACK s g 2-1 4-1");
    rig_free(r);
}

static void what_was_skipped_for_its_key_is_not_pending(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    for (int i = 1; i <= 3; i++)
        rig_say(r, "XADD s %d-1 key a", i);
    says(r, OKAY, "XGROUP CREATE s g 0 ORDERBY key");
    assert_int_equal(rig_say(r, "XREADGROUP GROUP g c STREAMS s >")[0], '*');
    assert_int_equal(rig_pending(r, "s", "g"), 1);
    says(r, ":0\r\n", "XACK s g 2-1 3-1");
    says(r, "*2\r\n:-1\r\n:-1\r\n", "XACKDEL s g IDS 2 2-1 3-1");
    says(r, ":1\r\n", "XACK s g 1-1 2-1");
    has(r, "2-1", "XREADGROUP GROUP g c STREAMS s >");
    rig_free(r);
}

/* ---- XACKDEL ---- */

static void both_groups_read(struct rig *r)
{
    says(r, OKAY, "XGROUP CREATE s h 0");
    assert_int_equal(rig_say(r, "XREADGROUP GROUP h d STREAMS s >")[0], '*');
}

static void acknowledged_and_deleted_other_groups_keep_their_reference(void **state)
{
    struct rig *r = rig_delivered(3, "");

    (void)state;
    both_groups_read(r);
    says(r, "*3\r\n:1\r\n:-1\r\n:-1\r\n", "XACKDEL s g IDS 3 1-1 1-1 9-9");
    assert_int_equal(rig_len(r, "s"), 2);
    assert_int_equal(rig_pending(r, "s", "g"), 2);
    assert_int_equal(rig_pending(r, "s", "h"), 3);
    says(r, "*1\r\n:1\r\n", "XACKDEL s h KEEPREF IDS 1 1-1"); /* though it is gone */
    assert_int_equal(rig_pending(r, "s", "h"), 2);
    rig_free(r);
}

static void delref_takes_the_references_of_all_groups(void **state)
{
    struct rig *r = rig_delivered(2, "");

    (void)state;
    both_groups_read(r);
    says(r, "*2\r\n:1\r\n:1\r\n", "XACKDEL s g DELREF IDS 2 1-1 2-1");
    assert_int_equal(rig_pending(r, "s", "g") + rig_pending(r, "s", "h"), 0);
    says(r, "*2\r\n:-1\r\n:-1\r\n", "XACKDEL s h DELREF IDS 2 1-1 2-1");
    assert_int_equal(rig_len(r, "s"), 0);
    rig_free(r);
}

static void acked_deletes_when_the_last_group_has_acknowledged(void **state)
{
    struct rig *r = rig_delivered(2, "");

    (void)state;
    both_groups_read(r);
    says(r, "*2\r\n:2\r\n:2\r\n", "XACKDEL s g ACKED IDS 2 2-1 1-1");
    assert_int_equal(rig_pending(r, "s", "g"), 0);
    assert_int_equal(rig_len(r, "s"), 2);
    says(r, "*2\r\n:1\r\n:1\r\n", "XACKDEL s h IDS 2 1-1 2-1 ACKED");
    assert_int_equal(rig_len(r, "s"), 0);
    rig_restart(r, true);
    assert_int_equal(rig_len(r, "s"), 0);
    assert_int_equal(rig_pending(r, "s", "g") + rig_pending(r, "s", "h"), 0);
    rig_free(r);
}

static void a_group_that_has_not_read_it_keeps_an_entry(void **state)
{
    struct rig *r = rig_delivered(2, "");

    (void)state;
    says(r, OKAY, "XGROUP CREATE s h 1-1");
    says(r, "*2\r\n:1\r\n:2\r\n", "XACKDEL s g ACKED IDS 2 1-1 2-1");
    assert_int_equal(rig_len(r, "s"), 1);
    rig_free(r);
}

static void without_key_or_group_every_id_is_unknown(void **state)
{
    struct rig *r = rig_delivered(1, "");

    (void)state;
    says(r, "*2\r\n:-1\r\n:-1\r\n", "XACKDEL none g IDS 2 1-1 x");
    says(r, "*1\r\n:-1\r\n", "XACKDEL s none IDS 1 1-1");
    says(r, "-ERR Invalid stream ID specified as stream command argument\r\n",
         "XACKDEL s g IDS 2 1-1 x");
    assert_int_equal(rig_pending(r, "s", "g"), 1);
    rig_free(r);
}

static void the_arguments_of_ids_are_bounded_by_what_was_sent(void **state)
{
    static const struct {
        const char *words, *want;
    } cases[] = {
        { "IDS 0 1-1", "-ERR Number of IDs must be a positive integer\r\n" },
        { "IDS -1 1-1", "-ERR Number of IDs must be a positive integer\r\n" },
        { "IDS x 1-1", "-ERR Number of IDs must be a positive integer\r\n" },
        { "IDS 2 1-1", "-ERR The `numids` parameter must match the number of arguments\r\n" },
        { "IDS 9223372036854775807 1-1",
          "-ERR The `numids` parameter must match the number of arguments\r\n" },
        { "IDS 1 1-1 2-1", "-ERR syntax error\r\n" },
        { "KEEPREF IDS 1 1-1 DELREF", "-ERR syntax error\r\n" },
        { "KEEPREF DELREF ACKED", "-ERR syntax error\r\n" },
        { "FORCE IDS 1 1-1", "-ERR syntax error\r\n" },
        { "IDS 1 1-1 IDS", "-ERR syntax error\r\n" },
        { "IDS 1 7-7 IDS 1 8-8", "*1\r\n:-1\r\n" },
    };
    struct rig *r = rig_delivered(1, "");

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("  %s\n", cases[i].words);
        says(r, cases[i].want, "XACKDEL s g %s", cases[i].words);
        says(r, cases[i].want, "XDELEX s %s", cases[i].words);
    }
    assert_int_equal(rig_pending(r, "s", "g"), 1);
    rig_free(r);
}

static void a_second_batch_of_ids_takes_the_place_of_the_first(void **state)
{
    struct rig *r = rig_delivered(2, "");

    (void)state;
    says(r, "*1\r\n:1\r\n", "XACKDEL s g IDS 1 1-1 IDS 1 2-1");
    says(r, "*1\r\n:1\r\n", "XDELEX s IDS 1 9-9 IDS 1 1-1");
    assert_int_equal(rig_pending(r, "s", "g"), 1);
    rig_free(r);
}

/* ---- XDELEX ---- */

static void xdelex_keeps_what_is_referred_to(void **state)
{
    struct rig *r = rig_delivered(4, "");

    (void)state;
    says(r, ":2\r\n", "XACK s g 1-1 3-1");
    says(r, "*5\r\n:1\r\n:2\r\n:2\r\n:1\r\n:-1\r\n", "XDELEX s ACKED IDS 5 1-1 2-1 2-1 3-1 1-1");
    assert_int_equal(rig_len(r, "s"), 2);
    says(r, "*2\r\n:2\r\n:-1\r\n",
         "XDELEX s ACKED IDS 2 99-1 0-7"); /* beyond what was read; before */
    says(r, "*2\r\n:1\r\n:-1\r\n", "XDELEX s KEEPREF IDS 2 2-1 2-1");
    says(r, "*1\r\n:2\r\n", "XDELEX s ACKED IDS 1 2-1"); /* pending still, though it is gone */
    assert_int_equal(rig_pending(r, "s", "g"), 2);
    rig_free(r);
}

static void xdelex_drops_references_even_of_what_is_gone(void **state)
{
    struct rig *r = rig_delivered(3, "");

    (void)state;
    says(r, ":1\r\n", "XDEL s 1-1");
    assert_int_equal(rig_pending(r, "s", "g"), 3);
    says(r, "*2\r\n:-1\r\n:1\r\n", "XDELEX s DELREF IDS 2 1-1 2-1");
    assert_int_equal(rig_pending(r, "s", "g"), 1);
    rig_restart(r, true);
    assert_int_equal(rig_pending(r, "s", "g"), 1);
    assert_int_equal(rig_len(r, "s"), 1);
    rig_free(r);
}

static void without_groups_everything_is_acknowledged(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    rig_say(r, "XADD s 1-1 f v");
    rig_say(r, "XADD s 2-1 f v");
    says(r, "*2\r\n:1\r\n:-1\r\n", "XDELEX s ACKED IDS 2 2-1 3-1");
    rig_free(r);
}

static void sealed_entries_are_deleted_and_acknowledged_together(void **state)
{
    struct rig *r = rig_delivered(100, "");

    (void)state;
    rig_seal(r);
    rig_restart(r, true); /* nothing is in memory */
    says(r, "*3\r\n:1\r\n:1\r\n:-1\r\n", "XACKDEL s g IDS 3 50-1 7-1 700-1");
    assert_int_equal(rig_len(r, "s"), 98);
    assert_int_equal(rig_pending(r, "s", "g"), 98);
    assert_int_equal(rig_figure(r, "sync_reads"), 0);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_pending_is_counted_once_in_any_order),
        cmocka_unit_test(nothing_is_acknowledged_if_one_id_is_none),
        cmocka_unit_test(without_key_or_group_nothing_is_pending),
        cmocka_unit_test(more_ids_than_lie_on_the_stack_are_taken),
        cmocka_unit_test(an_acknowledgement_never_comes_back),
        cmocka_unit_test(what_was_skipped_for_its_key_is_not_pending),
        cmocka_unit_test(acknowledged_and_deleted_other_groups_keep_their_reference),
        cmocka_unit_test(delref_takes_the_references_of_all_groups),
        cmocka_unit_test(acked_deletes_when_the_last_group_has_acknowledged),
        cmocka_unit_test(a_group_that_has_not_read_it_keeps_an_entry),
        cmocka_unit_test(without_key_or_group_every_id_is_unknown),
        cmocka_unit_test(the_arguments_of_ids_are_bounded_by_what_was_sent),
        cmocka_unit_test(a_second_batch_of_ids_takes_the_place_of_the_first),
        cmocka_unit_test(xdelex_keeps_what_is_referred_to),
        cmocka_unit_test(xdelex_drops_references_even_of_what_is_gone),
        cmocka_unit_test(without_groups_everything_is_acknowledged),
        cmocka_unit_test(sealed_entries_are_deleted_and_acknowledged_together),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
