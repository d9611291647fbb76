/* test_deadletter.c - claims about entries that have failed for the last time: what a dead letter says, and that each
 * entry is in one place, whatever happens. Whole engine, simulated disk, and a clock that the test moves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "broker/engine/deadletter.h"
#include "log/entry.h"
#include "tests/lib/random.h"
#include "tests/lib/rig.h"

static void read_all(struct rig *r)
{
    assert_int_equal(rig_say(r, "XREADGROUP GROUP g alice STREAMS s >")[1], '1');
}

/* What the dead letters say, from the first on: a line of "field=value ..." for each. */
static const char *letters(struct rig *r, const char *key)
{
    static char text[1 << 16];
    const char *at = rig_say(r, "XRANGE %s - +", key);
    size_t n = 0, n_strings;

    text[0] = '\0';
    for (at = strstr(at, "\r\n*2\r\n"); at != NULL; at = strstr(at, "\r\n*2\r\n")) {
        at = strchr(strstr(at + 6, "\r\n") + 2, '*'); /* behind the ID */
        n_strings = strtoull(at + 1, NULL, 10);
        for (size_t i = 0; i < n_strings; i++) {
            size_t len;

            at = strstr(at, "\r\n") + 2;
            len = strtoull(at + 1, NULL, 10);
            at = strstr(at, "\r\n") + 2;
            n += (size_t)snprintf(text + n, sizeof text - n, "%.*s%s", (int)len, at,
                                  i + 1 == n_strings ? "\n"
                                  : i % 2 == 0       ? "="
                                                     : " ");
            at += len;
        }
    }
    return text;
}

#define ORIGIN(id) "beck-origin-stream=s beck-origin-id=" id " beck-origin-group=g beck-consumer="

/* ---- what a dead letter says ---- */

static void a_dead_letter_has_its_own_fields_and_then_where_it_is_from(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    says(r, "$3\r\n7-3\r\n", "XADD s 7-3 color red size 4");
    says(r, OKAY, "XGROUP CREATE s g 0 ACKWAIT 100 MAXDELIVER 2 DLQ d");
    read_all(r);
    rig_pass(r, 100);
    says(r, ":0\r\n", "EXISTS d");
    rig_say(r, "XREADGROUP GROUP g bob STREAMS s >");
    rig_pass(r, 100);
    assert_string_equal(letters(r, "d"), "color=red size=4 beck-origin-stream=s beck-origin-id=7-3 "
                                         "beck-origin-group=g beck-consumer=bob beck-deliveries=2 "
                                         "beck-reason=timeout\n");
    assert_int_equal(rig_pending(r, "s", "g"), 0);
    assert_int_equal(rig_len(r, "s"), 1); /* other groups may need it */
    assert_int_equal(rig_redelivery(r).n_dead_lettered, 1);
    rig_free(r);
}

static void the_reason_tells_how_it_failed(void **state)
{
    struct rig *r = rig_grouped(4, "ACKWAIT 100000 MAXDELIVER 1 DLQ d");

    (void)state;
    read_all(r);
    says(r, ":1\r\n", "XNACK s g FAIL IDS 1 1-1");
    says(r, ":1\r\n", "XNACK s g FATAL IDS 1 2-1");
    says(r, ":1\r\n", "XDEL s 3-1");
    rig_pass(r, 100000);
    assert_string_equal(
        letters(r, "d"),
        "f=v1 " ORIGIN(
            "1-1") "alice beck-deliveries=1 beck-reason=nack\n"
                   "f=v2 " ORIGIN("2-1") "alice beck-deliveries=1 beck-reason=fatal\n" ORIGIN(
                       "3-1") "alice beck-deliveries=1 beck-reason=gone\n"
                              "f=v4 " ORIGIN(
                                  "4-1") "alice beck-deliveries=1 beck-reason=timeout\n");
    assert_int_equal(rig_pending(r, "s", "g"), 0);
    assert_int_equal(rig_redelivery(r).n_gone, 1);
    rig_free(r);
}

static void fatal_means_dead_at_once_however_often_it_may_be_delivered(void **state)
{
    struct rig *r = rig_grouped(1, "ACKWAIT 100 DLQ d");

    (void)state;
    read_all(r);
    says(r, ":1\r\n", "XNACK s g FATAL IDS 1 1-1");
    rig_settle(r);
    assert_string_equal(letters(r, "d"),
                        "f=v1 " ORIGIN("1-1") "alice beck-deliveries=1 beck-reason=fatal\n");
    rig_free(r);
}

static void an_entry_that_was_trimmed_moves_with_its_origin_alone(void **state)
{
    struct rig *r = rig_grouped(3, "ACKWAIT 100 MAXDELIVER 1 DLQ d");

    (void)state;
    read_all(r);
    says(r, ":2\r\n", "XTRIM s MAXLEN 1");
    rig_pass(r, 100);
    assert_string_equal(
        letters(r, "d"),
        ORIGIN("1-1") "alice beck-deliveries=1 beck-reason=gone\n" ORIGIN(
            "2-1") "alice beck-deliveries=1 beck-reason=gone\n"
                   "f=v3 " ORIGIN("3-1") "alice beck-deliveries=1 beck-reason=timeout\n");
    rig_free(r);
}

/* Bytes of an entry with these words as fields and values. */
static size_t entry_of(const char *words, uint8_t *out)
{
    struct slice strings[64];
    size_t n = 0;

    for (const char *at = words; *at != '\0'; at += strspn(at, " ")) {
        strings[n++] = slice_of(at, strcspn(at, " "));
        at += strcspn(at, " ");
    }
    return (size_t)(entry_put(out, (struct id){ 9, 9 }, strings, n) - out);
}

static void what_is_no_dead_letter_is_told_from_one(void **state)
{
#define SIX(id)                                                                     \
    "beck-origin-stream s beck-origin-id " id " beck-origin-group g beck-consumer " \
    "c beck-deliveries 3 beck-reason nack"
    static const struct {
        const char *why, *words;
        int64_t n_own; /* -1: it is none */
    } cases[] = {
        { "nothing of its own", SIX("5-6"), 0 },
        { "two fields", "a 1 b 2 " SIX("5-6"), 2 },
        { "one that died before", "a 1 " SIX("1-1") " " SIX("5-6"), 7 },
        { "something behind it", SIX("5-6") " a 1", -1 },
        { "no ID", SIX("5"), -1 },
        { "an ID that is none", SIX("5-x"), -1 },
        { "a large ID", SIX("99999999999999999999-1"), -1 },
        { "one is missing", "beck-origin-stream s beck-origin-id 5-6 beck-origin-group g", -1 },
        { "another order",
          "beck-reason s beck-origin-id 5-6 beck-origin-group g beck-consumer c "
          "beck-deliveries 3 beck-origin-stream nack",
          -1 },
        { "an entry", "a 1", -1 },
    };
#undef SIX
    uint8_t entry[1024];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct deadletter d;

        print_message("  %s\n", cases[i].why);
        entry_of(cases[i].words, entry);
        assert_int_equal(deadletter_parse(entry, &d), cases[i].n_own >= 0);
        if (cases[i].n_own < 0)
            continue;
        assert_int_equal(d.n_own, cases[i].n_own);
        assert_int_equal(id_cmp(d.id, (struct id){ 5, 6 }), 0);
        assert_true(slice_equal(d.stream, slice_str("s")));
        assert_true(slice_equal(d.group, slice_str("g")));
        assert_true(slice_equal(d.consumer, slice_str("c")));
        assert_true(slice_equal(d.reason, slice_str("nack")));
    }
}

/* ---- where it goes ---- */

static void the_stream_is_made_in_the_database_and_its_readers_wake(void **state)
{
    struct rig *r = rig_begin();
    struct client waiting;

    (void)state;
    rig_join(r, &waiting);
    rig_tell(r, &waiting, "SELECT 3");
    rig_tell(r, &waiting, "XREAD BLOCK 0 STREAMS d $");
    assert_string_equal(rig_hear(r, &waiting), OKAY);
    says(r, OKAY, "SELECT 3");
    says(r, "$3\r\n1-1\r\n", "XADD s 1-1 f v");
    says(r, OKAY, "XGROUP CREATE s g 0 ACKWAIT 100 MAXDELIVER 1 DLQ d");
    read_all(r);
    rig_pass(r, 100);
    assert_non_null(strstr(rig_hear(r, &waiting), "beck-reason"));
    says(r, ":1\r\n", "EXISTS d");
    says(r, OKAY, "SELECT 0");
    says(r, ":0\r\n", "EXISTS d");
    rig_leave(r, &waiting);
    rig_free(r);
}

static void a_stream_of_dead_letters_that_has_expired_is_made_anew(void **state)
{
    struct rig *r = rig_grouped(2, "ACKWAIT 100 MAXDELIVER 1 DLQ d");

    (void)state;
    rig_say(r, "XADD d 5-5 a b");
    says(r, ":1\r\n", "PEXPIRE d 50");
    read_all(r);
    simio_advance_ms(r->disk, 50); /* to be removed at the end of this round */
    says(r, ":1\r\n", "XNACK s g FAIL IDS 1 1-1");
    assert_int_equal(rig_len(r, "d"), 1);
    rig_pass(r, 50);
    assert_int_equal(rig_len(r, "d"), 2);
    rig_free(r);
}

static void many_move_in_batches_and_ids_go_on_where_they_are_ahead_of_the_clock(void **state)
{
    struct rig *r = rig_grouped(200, "ACKWAIT 100 MAXDELIVER 1 DLQ d");

    (void)state;
    rig_say(r, "XADD d 99999999999999-18446744073709551600 a b");
    for (int i = 0; i < 2; i++)
        rig_say(r, "XREADGROUP GROUP g alice COUNT 100 STREAMS s >");
    rig_pass(r, 100);
    assert_int_equal(rig_len(r, "d"), 201);
    assert_int_equal(rig_pending(r, "s", "g"), 0);
    has(r, "100000000000000-", "XREVRANGE d + - COUNT 1");
    has(r, "\r\n200-1\r\n", "XREVRANGE d + - COUNT 1");
    rig_free(r);
}

/* ---- what can keep it from moving ---- */

static void the_stream_itself_takes_no_dead_letters_until_it_has_another_name(void **state)
{
    struct rig *r = rig_grouped(1, "ACKWAIT 100 MAXDELIVER 1 DLQ d");

    (void)state;
    read_all(r);
    says(r, OKAY, "RENAME s d");
    rig_pass(r, 100);
    for (uint64_t n = 1; n <= 5; n++) { /* a try each second */
        assert_int_equal(rig_redelivery(r).n_failed, n);
        rig_pass(r, 999);
        assert_int_equal(rig_redelivery(r).n_failed, n);
        rig_pass(r, 1);
    }
    assert_int_equal(rig_len(r, "d"), 1);
    says(r, OKAY, "RENAME d s");
    rig_pass(r, 1000);
    assert_int_equal(rig_len(r, "d"), 1);
    assert_int_equal(rig_pending(r, "s", "g"), 0);
    rig_free(r);
}

struct told {
    int n;
    char last[512];
};

static void tell(void *ctx, const char *text)
{
    struct told *told = ctx;

    told->n++;
    snprintf(told->last, sizeof told->last, "%s", text);
}

static void pass_seconds(struct rig *r, int n)
{
    while (n-- > 0)
        rig_pass(r, 1000);
}

static void the_operator_is_told_once_until_it_works_again(void **state)
{
    struct rig *r = rig_grouped(2, "ACKWAIT 100 MAXDELIVER 1 DLQ d");
    struct told told = { 0 };

    (void)state;
    r->e.host.ctx = &told;
    r->e.host.complain = tell;
    says(r, OKAY, "RENAME s d");
    rig_say(r, "XREADGROUP GROUP g alice COUNT 1 STREAMS d >");
    pass_seconds(r, 5);
    assert_int_equal(told.n, 1);
    assert_non_null(strstr(told.last, "group g of stream d"));
    says(r, OKAY, "RENAME d s");
    rig_pass(r, 1000);
    assert_int_equal(rig_pending(r, "s", "g"), 0);
    says(r, ":1\r\n", "DEL d");
    says(r, OKAY, "RENAME s d");
    rig_say(r, "XREADGROUP GROUP g alice COUNT 1 STREAMS d >");
    pass_seconds(r, 5);
    assert_int_equal(told.n, 2);
    rig_free(r);
}

static void a_stream_without_ids_takes_no_more(void **state)
{
    struct rig *r = rig_grouped(2, "ACKWAIT 100 MAXDELIVER 1 DLQ d");

    (void)state;
    rig_say(r, "XADD d 18446744073709551615-18446744073709551614 a b");
    read_all(r);
    rig_pass(r, 3000);
    assert_int_equal(rig_len(r, "d"), 1); /* there is one ID, for two */
    assert_int_equal(rig_pending(r, "s", "g"), 2);
    says(r, ":1\r\n", "DEL d");
    rig_pass(r, 1000);
    assert_int_equal(rig_len(r, "d"), 2);
    rig_free(r);
}

/* Fills the log until nothing more is accepted. */
static void fill(struct rig *r)
{
    simio_set_capacity(r->disk, simio_used_bytes(r->disk), true);
    for (int i = 0; i < 100000; i++) {
        const char *reply = rig_say(r, "XADD filler * f %01000d", i);

        if (strncmp(reply, "-DISKFULL", 9) == 0)
            return;
        assert_int_equal(reply[0], '$');
    }
    fail_msg("the disk is never full");
}

static void on_a_full_disk_it_stays_and_moves_when_there_is_room(void **state)
{
    struct rig *r = rig_grouped(3, "ACKWAIT 100 MAXDELIVER 1 DLQ d");
    uint64_t n_failed;

    (void)state;
    read_all(r);
    fill(r);
    rig_say(r, "XRANGE s - +"); /* they are in memory again */
    r->lazy = true;             /* nothing is sealed, which would make room */
    pass_seconds(r, 5);
    n_failed = rig_redelivery(r).n_failed;
    assert_true(n_failed >= 4);
    assert_int_equal(rig_pending(r, "s", "g"), 3);
    says(r, ":0\r\n", "EXISTS d");
    says(r, ":1\r\n", "XNACK s g FAIL IDS 1 2-1"); /* which cannot move it either */
    assert_int_equal(rig_pending(r, "s", "g"), 3);
    simio_set_capacity(r->disk, 0, true);
    r->lazy = false;
    pass_seconds(r, 5);
    assert_int_equal(rig_len(r, "d"), 3);
    assert_int_equal(rig_pending(r, "s", "g"), 0);
    rig_free(r);
}

/* ---- entries that are not in memory ---- */

static void what_is_not_in_memory_is_read_by_workers_and_moves(void **state)
{
    struct rig *r = rig_grouped(500, "ACKWAIT 100 MAXDELIVER 1 DLQ d");

    (void)state;
    rig_seal(r);
    for (int i = 0; i < 5; i++)
        rig_say(r, "XREADGROUP GROUP g alice COUNT 100 STREAMS s >");
    rig_stop(r); /* the cache is empty after it */
    rig_start(r);
    rig_pass(r, 100);
    assert_int_equal(rig_len(r, "d"), 500);
    assert_int_equal(rig_figure(r, "sync_reads"), 0);
    has(r, "$2\r\nv1\r\n", "XRANGE d - + COUNT 1");
    rig_free(r);
}

static void groups_that_go_while_entries_are_read_are_left_alone(void **state)
{
    static const char *const ends[] = { "XGROUP DESTROY s g", "DEL s", "FLUSHALL" };

    (void)state;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct rig *r = rig_grouped(10, "ACKWAIT 100 MAXDELIVER 1 DLQ d");

        rig_seal(r);
        read_all(r);
        rig_stop(r);
        rig_start(r);
        simio_advance_ms(r->disk, 100);
        r->lazy = true; /* the workers do nothing yet */
        for (int k = 0; k < 5; k++)
            rig_round(r);
        assert_int_not_equal(rig_say(r, "%s", ends[i])[0], '-');
        r->lazy = false;
        rig_settle(r);
        assert_int_equal(rig_len(r, "d"), 0);
        rig_redelivery(r);
        rig_free(r);
    }
}

struct largest {
    struct simio *disk;
    char path[64];
    size_t n;
};

static void look_at_segment(void *ctx, const char *path)
{
    struct largest *x = ctx;
    size_t n = 0;

    if (strstr(path, ".seg") == NULL || simio_bytes(x->disk, path, &n) == NULL || n <= x->n)
        return;
    snprintf(x->path, sizeof x->path, "%s", path);
    x->n = n;
}

/* A sector in the middle of the largest segment cannot be read any more. */
static void damage(struct rig *r)
{
    struct largest x = { r->disk, "", 0 };

    simio_each_file(r->disk, look_at_segment, &x);
    assert_true(x.n > 30000);
    simio_break_sector(r->disk, x.path, x.n / 2 / SIMIO_SECTOR * SIMIO_SECTOR);
}

static void an_entry_that_cannot_be_read_does_not_keep_others(void **state)
{
    struct rig *r = rig_begin();
    struct random rnd = { 1 };
    char noise[1001] = "";
    struct told told = { 0 };
    uint64_t n_readable = 0, left;

    (void)state;
    for (unsigned i = 1; i <= 400; i++) {
        for (size_t k = 0; k < sizeof noise - 1; k++)
            noise[k] = (char)('!' + random_below(&rnd, 90));
        rig_say(r, "XADD s %u-1 f %s", i, noise);
    }
    says(r, OKAY, "XGROUP CREATE s g 0 ACKWAIT 100 MAXDELIVER 1 DLQ d");
    rig_seal(r);
    for (int i = 0; i < 4; i++)
        rig_say(r, "XREADGROUP GROUP g alice COUNT 100 STREAMS s >");
    rig_stop(r);
    damage(r);
    rig_start(r);
    r->e.host.ctx = &told;
    r->e.host.complain = tell;
    pass_seconds(r, 10);
    for (unsigned i = 1; i <= 400; i++)
        n_readable += rig_say(r, "XRANGE s %u-1 %u-1", i, i)[0] == '*';
    left = rig_pending(r, "s", "g");
    assert_in_range(n_readable, 1, 399);
    assert_int_equal(rig_len(r, "d"), n_readable);
    assert_int_equal(left, 400 - n_readable);
    assert_int_equal(told.n, 1);
    assert_true(rig_redelivery(r).n_failed > left);
    rig_free(r);
}

/* ---- crashes ---- */

static uint64_t behind(struct rig *r) /* entries of "s" that were not delivered */
{
    struct stream *st = rig_stream(r, "s");

    return st->n_entries - groups_at(stream_groups(st), 0)->n_behind;
}

/* A move under way, then the end at operation number k after its beginning; false if it was over before. */
static bool crash_at(uint64_t k, enum simio_mode mode, bool always)
{
    struct rig *r = rig_grouped(5, "ACKWAIT 100 MAXDELIVER 1 DLQ d");
    uint64_t n_letters, n;
    bool down;

    if (always)
        says(r, OKAY, "XCFGSET s DURABILITY always");
    read_all(r);
    says(r, ":1\r\n", "XNACK s g FAIL IDS 1 3-1"); /* has moved by now */
    simio_fault_at(r->disk, simio_n_ops(r->disk) + k, 1, SIMIO_CRASH);
    simio_advance_ms(r->disk, 100);
    for (int i = 0; i < 10; i++) {
        rig_round(r);
        log_step(r->log);
    }
    down = simio_is_down(r->disk);
    simio_fault_at(r->disk, 0, 0, SIMIO_NO_FAULT);
    rig_kill(r, mode);
    rig_start(r);
    rig_settle(r); /* time has passed: all that were delivered are dead */
    if (mode == SIMIO_KILL || always || rig_say(r, "XPENDING s g")[0] == '*') {
        n_letters = rig_len(r, "d");
        n = n_letters + rig_pending(r, "s", "g") + behind(r);
        assert_int_equal(n, 5);
        assert_true(n_letters == 5 || mode != SIMIO_KILL);
        assert_true(n_letters >= 1 || !always);
    }
    rig_redelivery(r);
    rig_free(r);
    return down;
}

static void at_whatever_moment_it_ends_each_entry_is_in_one_place(void **state)
{
    (void)state;
    for (int mode = 0; mode < SIMIO_N_MODES; mode++)
        for (int always = 0; always < 2; always++)
            for (uint64_t k = 0; crash_at(k, (enum simio_mode)mode, always); k++)
                ;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dead_letter_has_its_own_fields_and_then_where_it_is_from),
        cmocka_unit_test(the_reason_tells_how_it_failed),
        cmocka_unit_test(fatal_means_dead_at_once_however_often_it_may_be_delivered),
        cmocka_unit_test(an_entry_that_was_trimmed_moves_with_its_origin_alone),
        cmocka_unit_test(what_is_no_dead_letter_is_told_from_one),
        cmocka_unit_test(the_stream_is_made_in_the_database_and_its_readers_wake),
        cmocka_unit_test(a_stream_of_dead_letters_that_has_expired_is_made_anew),
        cmocka_unit_test(many_move_in_batches_and_ids_go_on_where_they_are_ahead_of_the_clock),
        cmocka_unit_test(the_stream_itself_takes_no_dead_letters_until_it_has_another_name),
        cmocka_unit_test(the_operator_is_told_once_until_it_works_again),
        cmocka_unit_test(a_stream_without_ids_takes_no_more),
        cmocka_unit_test(on_a_full_disk_it_stays_and_moves_when_there_is_room),
        cmocka_unit_test(what_is_not_in_memory_is_read_by_workers_and_moves),
        cmocka_unit_test(groups_that_go_while_entries_are_read_are_left_alone),
        cmocka_unit_test(an_entry_that_cannot_be_read_does_not_keep_others),
        cmocka_unit_test(at_whatever_moment_it_ends_each_entry_is_in_one_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
