/*
 * test_cache.c - values of keys through their whole life: in memory, in the log, in segments and checkpoints, and back.
 *
 * Each test says commands to a server on a simulated disk (tests/lib/rig.h). What is asked after a start is answered from
 * what the disk has: from records alone, from a checkpoint alone, or from both with changes between.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "broker/cache/cache.h"
#include "tests/lib/rig.h"

enum { LONG = 9000 /* bytes of a text of which a hundred are more than the history is kept by */ };

#define NONE "$-1\r\n"

struct digest_sum {
    uint64_t sum[2];
};

static struct digest_sum digest_now(struct rig *r)
{
    const char *broken = state_check(&r->e.state);
    struct digest_sum d;

    if (broken != NULL)
        fail_msg("%s", broken);
    assert_int_equal(state_digest(&r->e.state, r->log, r->e.clock, d.sum, NULL), OK);
    return d;
}

/* A start finds what was there. */
static void again(struct rig *r, bool killed)
{
    struct digest_sum before = digest_now(r), after;

    rig_restart(r, killed);
    after = digest_now(r);
    assert_memory_equal(&before, &after, sizeof before);
}

static struct object *find(struct rig *r, const char *key)
{
    return state_find(&r->e.state, 0, slice_str(key));
}

static bool is_cold(struct rig *r, const char *key)
{
    assert_non_null(find(r, key));
    return find(r, key)->flags & OBJECT_COLD;
}

/* The change that backs a key's value; 0: none does. */
static uint64_t back_lsn(struct rig *r, const char *key)
{
    assert_non_null(find(r, key));
    return find(r, key)->flags & OBJECT_BACKED ? object_back_lsn(find(r, key)) : 0;
}

/* Everything that is dead leaves the disk: no history is kept, and files are merged. */
static void merge(struct rig *r)
{
    r->config.cache_history_age_ms = 1;
    r->config.cache_history_bytes = 1;
    rig_pass(r, 3000);
    says(r, OKAY, "SET filler %0*d", LONG, 1);
    rig_pass(r, 3000);
    assert_int_equal(rig_say(r, "BECK MERGE")[0], '*');
    assert_int_equal(rig_say(r, "BECK MERGE")[0], '*');
}

/* ---- a start ---- */

/* One of each kind of value, in two databases. */
static void fill(struct rig *r)
{
    says(r, OKAY, "SET s value");
    says(r, OKAY, "SET t v PX 100000");
    says(r, OKAY, "SET e \"\"");
    says(r, ":6\r\n", "APPEND s 2");
    says(r, ":3001\r\n", "SETRANGE big 3000 x");
    says(r, ":3\r\n", "HSET h a 1 b 2 c 3");
    says(r, ":1\r\n", "HSET h2 only 1");
    says(r, "*1\r\n:1\r\n", "HPEXPIRE h 100000 FIELDS 1 a");
    says(r, ":1\r\n", "HDEL h b");
    says(r, ":4\r\n", "RPUSH l 1 2 3 4");
    says(r, "$1\r\n1\r\n", "LPOP l");
    says(r, ":4\r\n", "LINSERT l AFTER 2 x");
    says(r, OKAY, "SELECT 3");
    says(r, OKAY, "SET s other");
    says(r, OKAY, "SELECT 0");
}

/* Changes of each kind. */
static void change(struct rig *r)
{
    says(r, OKAY, "RENAME s r");
    says(r, ":1\r\n", "HSET h d 4");
    says(r, ":5\r\n", "RPUSH l 9");
    says(r, ":1\r\n", "HDEL h2 only");
    says(r, ":1\r\n", "PERSIST t");
    says(r, ":1\r\n", "MOVE r 3");
    says(r, OKAY, "SWAPDB 3 4");
    says(r, ":1\r\n", "COPY h hc");
    says(r, ":1\r\n", "PEXPIRE hc 50000");
    says(r, ":3001\r\n", "SETRANGE big 2000 yy");
}

static void check(struct rig *r)
{
    says(r, ":6\r\n", "DBSIZE");
    says(r, NONE, "GET s");
    says(r, "$1\r\nv\r\n", "GET t");
    says(r, ":-1\r\n", "PTTL t");
    says(r, "$0\r\n\r\n", "GET e");
    says(r, "$2\r\nyy\r\n", "GETRANGE big 2000 2001");
    says(r, "$1\r\nx\r\n", "GETRANGE big 3000 -1");
    says(r, ":3001\r\n", "STRLEN big");
    says(r, "*3\r\n$1\r\n1\r\n$1\r\n3\r\n$1\r\n4\r\n", "HMGET h a c d");
    says(r, "*3\r\n$1\r\n1\r\n$1\r\n3\r\n$1\r\n4\r\n", "HMGET hc a c d");
    says(r, ":3\r\n", "HLEN h");
    assert_int_not_equal(rig_say(r, "PTTL hc")[1], '-');
    says(r, "*5\r\n$1\r\n2\r\n$1\r\nx\r\n$1\r\n3\r\n$1\r\n4\r\n$1\r\n9\r\n", "LRANGE l 0 -1");
    says(r, OKAY, "SELECT 4");
    says(r, "$6\r\nvalue2\r\n", "GET r");
    says(r, "$5\r\nother\r\n", "GET s");
    says(r, OKAY, "SELECT 0");
}

static void values_are_there_again_after_a_start_from_records(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    fill(r);
    change(r);
    check(r);
    for (int i = 0; i < 2; i++) {
        again(r, i == 0);
        assert_false(is_cold(r, "t"));
        check(r);
    }
    rig_free(r);
}

static void values_are_there_again_after_a_start_from_a_checkpoint(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    fill(r);
    change(r);
    rig_seal(r);
    again(r, false);
    assert_true(is_cold(r, "t"));    /* its record has it */
    assert_false(is_cold(r, "big")); /* a part of it has changed: the checkpoint has it */
    check(r);
    assert_false(is_cold(r, "t"));
    again(r, true);
    check(r);
    rig_free(r);
}

static void values_are_there_again_after_a_start_from_a_checkpoint_and_records(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    fill(r);
    rig_seal(r);
    again(r, true);
    change(r);
    again(r, true); /* what was cold is read to be changed */
    check(r);
    rig_free(r);
}

static void revisions_and_what_backs_a_value_survive_a_start(void **state)
{
    struct rig *r = rig_begin();
    uint64_t rev, back;

    (void)state;
    says(r, OKAY, "SET k v");
    back = find(r, "k")->rev;
    says(r, ":1\r\n", "PEXPIRE k 100000");
    says(r, OKAY, "RENAME k m");
    rev = find(r, "m")->rev;
    assert_true(rev > back);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(find(r, "m")->rev, rev);
        assert_int_equal(back_lsn(r, "m"), back);
        says(r, "$1\r\nv\r\n", "GET m");
        if (i == 1)
            rig_seal(r);
        again(r, i == 0);
    }
    rig_free(r);
}

/* ---- what is gone ---- */

static void what_was_deleted_overwritten_or_has_expired_never_comes_back(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    says(r, OKAY, "SET deleted old");
    says(r, OKAY, "SET overwritten old");
    says(r, OKAY, "SET expired old PX 1000");
    says(r, OKAY, "SET renamed old");
    says(r, OKAY, "SET evicted old");
    says(r, ":1\r\n", "HSET emptied f v");
    says(r, ":1\r\n", "RPUSH popped v");
    rig_seal(r);
    says(r, ":1\r\n", "DEL deleted");
    says(r, OKAY, "SET overwritten new");
    rig_pass(r, 1001);
    says(r, OKAY, "RENAME renamed elsewhere");
    says(r, ":1\r\n", "HDEL emptied f");
    says(r, "$1\r\nv\r\n", "RPOP popped");
    for (int i = 0; i < 4; i++) {
        says(r, NONE, "GET deleted");
        says(r, "$3\r\nnew\r\n", "GET overwritten");
        says(r, NONE, "GET expired");
        says(r, NONE, "GET renamed");
        says(r, "$3\r\nold\r\n", "GET elsewhere");
        says(r, ":0\r\n", "EXISTS emptied popped");
        if (i == 1)
            rig_seal(r);
        if (i == 2)
            merge(r);
        again(r, i % 2 == 0);
    }
    rig_free(r);
}

static void a_flush_takes_what_came_before_it_and_nothing_that_came_after(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    says(r, OKAY, "SET a 1");
    says(r, ":1\r\n", "RPUSH l 1");
    has(r, "1-1", "XADD x 1-1 f v");
    rig_seal(r);
    says(r, OKAY, "FLUSHDB");
    says(r, OKAY, "SET b 2");
    again(r, true);
    says(r, ":1\r\n", "DBSIZE");
    rig_seal(r);
    merge(r);
    again(r, true);
    says(r, NONE, "GET a");
    says(r, "$1\r\n2\r\n", "GET b");
    says(r, ":0\r\n", "EXISTS l x");
    rig_free(r);
}

/* Nothing of a dead value is left in the files once no history keeps it. */
static void merges_keep_the_latest_value_of_each_key_only(void **state)
{
    struct rig *r = rig_begin();
    uint64_t before, after;

    (void)state;
    for (int i = 0; i < 300; i++)
        says(r, OKAY, "SET k%d %0*d", i % 3, LONG, i);
    rig_seal(r);
    before = rig_figure(r, "segment_entries");
    merge(r);
    after = rig_figure(r, "segment_entries");
    print_message("  %" PRIu64 " entries, then %" PRIu64 "\n", before, after);
    assert_true(before >= 300);
    assert_in_range(after, 3, 150); /* the history ends at a mark: there is one in each MiB */
    again(r, true);
    has(r, "297\r\n", "GET k0");
    has(r, "299\r\n", "GET k2");
    rig_free(r);
}

/* A start may have to apply a part's change to the whole that an older record has, though nothing else needs that any more. */
static void what_a_value_was_before_a_part_changed_stays_while_a_start_may_need_it(void **state)
{
    struct rig *r = rig_begin();
    uint64_t back;

    (void)state;
    says(r, ":2\r\n", "HSET h a 1 b 2");
    back = find(r, "h")->rev;
    rig_seal(r);
    says(r, ":1\r\n", "HSET h c 3");
    assert_int_equal(back_lsn(r, "h"), 0);
    assert_true(liveset_has(&r->e.state.live, back));
    again(r, true);
    says(r, "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n", "HMGET h a b c");
    assert_true(liveset_has(&r->e.state.live, back));
    for (int i = 0; i < 300; i++)
        says(r, OKAY, "SET filler %0*d", LONG, i);
    for (int i = 0; i < 3; i++) /* no start begins before the change any more */
        rig_seal(r);
    rig_pass(r, 1000);
    assert_false(liveset_has(&r->e.state.live, back));
    again(r, true);
    says(r, "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n", "HMGET h a b c");
    rig_free(r);
}

/* ---- cold values ---- */

/* A server whose keys s, h and l are sealed, and cold. */
static struct rig *begin_cold(void)
{
    struct rig *r = rig_begin();

    says(r, OKAY, "SET s value");
    says(r, ":2\r\n", "HSET h a 1 b 2");
    says(r, ":3\r\n", "RPUSH l 1 2 3");
    rig_seal(r);
    rig_restart(r, false);
    assert_true(is_cold(r, "s") && is_cold(r, "h") && is_cold(r, "l"));
    return r;
}

static void what_is_cold_is_read_when_it_is_wanted(void **state)
{
    struct rig *r = begin_cold();

    (void)state;
    says(r, ":2\r\n", "HLEN h"); /* numbers are there */
    says(r, ":3\r\n", "LLEN l");
    says(r, ":1\r\n", "PEXPIRE s 100000");
    assert_true(is_cold(r, "s"));
    says(r, "$5\r\nvalue\r\n", "GET s");
    says(r, "$1\r\n2\r\n", "HGET h b");
    says(r, "$1\r\n3\r\n", "RPOP l");
    assert_false(is_cold(r, "s") || is_cold(r, "h") || is_cold(r, "l"));
    again(r, true);
    says(r, "*2\r\n$1\r\n1\r\n$1\r\n2\r\n", "LRANGE l 0 -1");
    rig_free(r);
}

static void a_transaction_has_what_is_cold_of_all_its_keys(void **state)
{
    struct rig *r = begin_cold();
    uint64_t reads;

    (void)state;
    reads = rig_figure(r, "sync_reads");
    says(r, OKAY, "MULTI");
    says(r, "+QUEUED\r\n", "APPEND s 2");
    says(r, "+QUEUED\r\n", "HINCRBY h a 5");
    says(r, "+QUEUED\r\n", "LPOP l");
    says(r, "+QUEUED\r\n", "XADD x 1-1 f v");
    says(r, "*4\r\n:6\r\n:6\r\n$1\r\n1\r\n$3\r\n1-1\r\n", "EXEC");
    assert_int_equal(rig_figure(r, "sync_reads"), reads); /* nobody waited for the disk */
    again(r, true);
    says(r, "$6\r\nvalue2\r\n", "GET s");
    rig_free(r);
}

static void what_is_cold_is_renamed_moved_copied_and_deleted(void **state)
{
    struct rig *r = begin_cold();

    (void)state;
    says(r, OKAY, "RENAME s t");
    says(r, ":1\r\n", "COPY h h2");
    says(r, ":1\r\n", "MOVE l 5");
    says(r, ":1\r\n", "DEL h");
    again(r, true);
    says(r, "$5\r\nvalue\r\n", "GET t");
    says(r, "$1\r\n2\r\n", "HGET h2 b");
    says(r, OKAY, "SELECT 5");
    says(r, "$1\r\n1\r\n", "LINDEX l 0");
    rig_free(r);
}

static void an_image_backs_a_value_and_is_no_change(void **state)
{
    struct rig *r = rig_begin();
    struct object *o;
    uint64_t rev;

    (void)state;
    says(r, ":1\r\n", "HSET h a 1");
    says(r, ":1\r\n", "HSET h b 2");
    o = find(r, "h");
    rev = o->rev;
    assert_int_equal(back_lsn(r, "h"), 0);
    engine_round_begin(&r->e);
    assert_int_equal(cache_image(&r->e, &o, NULL), OK);
    engine_round_end(&r->e);
    rig_settle(r);
    assert_int_equal(find(r, "h")->rev, rev);
    assert_true(back_lsn(r, "h") > rev);
    again(r, true);
    assert_int_equal(find(r, "h")->rev, rev);
    rig_seal(r);
    again(r, false);
    assert_true(is_cold(r, "h"));
    says(r, "*2\r\n$1\r\n1\r\n$1\r\n2\r\n", "HMGET h a b");
    rig_free(r);
}

static void a_value_too_large_for_an_image_stays_in_memory(void **state)
{
    struct rig *r = rig_begin();
    struct object *o;

    (void)state;
    says(r, ":1100001\r\n", "SETRANGE big 1100000 x");
    o = find(r, "big");
    engine_round_begin(&r->e);
    assert_int_equal(cache_image(&r->e, &o, NULL), ERR_TOO_BIG);
    engine_round_end(&r->e);
    rig_seal(r);
    again(r, false); /* the checkpoint has it, in pieces */
    assert_false(is_cold(r, "big"));
    says(r, ":1100001\r\n", "STRLEN big");
    says(r, "$1\r\nx\r\n", "GETRANGE big -1 -1");
    rig_free(r);
}

/* ---- classes ---- */

static void a_reply_about_a_value_waits_as_its_class_says(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    says(r, OKAY, "SET k v");
    assert_int_equal(r->e.state.highest_always, 0);
    r->config.cache_durability = LOG_ALWAYS;
    says(r, OKAY, "SET k w");
    assert_int_equal(r->e.state.highest_always, find(r, "k")->rev);
    assert_int_equal(object_always_lsn(find(r, "k")), find(r, "k")->rev);
    says(r, ":1\r\n", "DEL k");
    assert_int_equal(r->e.state.last_always_unbind, log_last_lsn(r->log));
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_there_again_after_a_start_from_records),
        cmocka_unit_test(values_are_there_again_after_a_start_from_a_checkpoint),
        cmocka_unit_test(values_are_there_again_after_a_start_from_a_checkpoint_and_records),
        cmocka_unit_test(revisions_and_what_backs_a_value_survive_a_start),
        cmocka_unit_test(what_was_deleted_overwritten_or_has_expired_never_comes_back),
        cmocka_unit_test(a_flush_takes_what_came_before_it_and_nothing_that_came_after),
        cmocka_unit_test(merges_keep_the_latest_value_of_each_key_only),
        cmocka_unit_test(what_a_value_was_before_a_part_changed_stays_while_a_start_may_need_it),
        cmocka_unit_test(what_is_cold_is_read_when_it_is_wanted),
        cmocka_unit_test(a_transaction_has_what_is_cold_of_all_its_keys),
        cmocka_unit_test(what_is_cold_is_renamed_moved_copied_and_deleted),
        cmocka_unit_test(an_image_backs_a_value_and_is_no_change),
        cmocka_unit_test(a_value_too_large_for_an_image_stays_in_memory),
        cmocka_unit_test(a_reply_about_a_value_waits_as_its_class_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
