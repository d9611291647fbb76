/* test_lists.c - lists on a simulated disk: what a restart keeps, how positions move, who is served when; what Redis has too is
 * compared with it in tests/e2e/differential_lists.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/lib/random.h"
#include "tests/lib/rig.h"

enum { MODEL_MAX = 400, MODEL_WORD = 16, MODEL_REPLY = MODEL_MAX * (MODEL_WORD + 10) + 64 };

/* The elements of a list, separated by blanks, as LRANGE gives them. */
static void holds(struct rig *r, const char *key, const char *want)
{
    char text[MODEL_REPLY], *at = text;
    const char *reply = rig_say(r, "LRANGE %s 0 -1", key);
    size_t n = strtoul(reply + 1, NULL, 10);

    assert_int_equal(reply[0], '*');
    text[0] = '\0';
    for (reply = strchr(reply, '\n') + 1; n > 0; n--) {
        size_t len = strtoul(reply + 1, NULL, 10);
        reply = strchr(reply, '\n') + 1;
        at += snprintf(at, (size_t)(text + sizeof text - at), "%s%.*s", at == text ? "" : " ",
                       (int)len, reply);
        reply += len + 2;
    }
    assert_string_equal(text, want);
}

/* As it is now, and after the process was killed and started again. */
static void keeps(struct rig *r, const char *key, const char *want)
{
    holds(r, key, want);
    rig_restart(r, true);
    holds(r, key, want);
}

/* ---- what a restart keeps ---- */

static void elements_at_both_ends_are_there_after_a_restart(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    says(r, ":3\r\n", "RPUSH l a b c");
    says(r, ":5\r\n", "LPUSH l y x");
    keeps(r, "l", "x y a b c");
    says(r, "$1\r\nx\r\n", "LPOP l");
    says(r, "*2\r\n$1\r\nc\r\n$1\r\nb\r\n", "RPOP l 2");
    keeps(r, "l", "y a");
    says(r, ":3\r\n", "RPUSH l d");
    keeps(r, "l", "y a d");
    rig_free(r);
}

static void a_list_that_was_emptied_is_gone_and_begins_anew(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    rig_say(r, "RPUSH l a b");
    says(r, "*2\r\n$1\r\na\r\n$1\r\nb\r\n", "LPOP l 10");
    says(r, "+none\r\n", "TYPE l");
    rig_restart(r, true);
    says(r, "+none\r\n", "TYPE l");
    says(r, ":1\r\n", "LPUSH l z");
    keeps(r, "l", "z");
    rig_free(r);
}

static void an_element_takes_a_hole_or_others_make_room(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    rig_say(r, "RPUSH l a b c d e f");
    says(r, ":7\r\n", "LINSERT l BEFORE b 1"); /* a moves: its end is nearer */
    keeps(r, "l", "a 1 b c d e f");
    says(r, ":8\r\n", "LINSERT l AFTER e 2"); /* f moves */
    keeps(r, "l", "a 1 b c d e 2 f");
    says(r, ":1\r\n", "LREM l 1 c"); /* a hole */
    says(r, ":8\r\n", "LINSERT l AFTER b 3");
    keeps(r, "l", "a 1 b 3 d e 2 f");
    says(r, ":1\r\n", "LREM l 1 1");
    says(r, ":8\r\n", "LINSERT l BEFORE 3 4"); /* b moves into the hole */
    keeps(r, "l", "a b 4 3 d e 2 f");
    says(r, ":9\r\n", "LINSERT l BEFORE a 5");
    says(r, ":10\r\n", "LINSERT l AFTER f 6");
    keeps(r, "l", "5 a b 4 3 d e 2 f 6");
    rig_free(r);
}

static void ranges_are_removed_by_one_record(void **state)
{
    struct rig *r = rig_begin();
    uint64_t before;

    (void)state;
    for (int i = 0; i < 100; i++)
        rig_say(r, "RPUSH l a a b");
    before = log_last_lsn(r->log);
    says(r, ":200\r\n", "LREM l 0 a");
    assert_int_equal(log_last_lsn(r->log), before + 1);
    says(r, OKAY, "LTRIM l 10 -11");
    assert_int_equal(log_last_lsn(r->log), before + 2);
    says(r, ":80\r\n", "LLEN l");
    rig_restart(r, true);
    says(r, ":80\r\n", "LLEN l");
    rig_free(r);
}

static void every_write_gives_the_key_a_new_revision(void **state)
{
    static const char *const writes[] = {
        "RPUSH l a b c d",      "LPUSH l x",           "LPOP l",       "RPOP l",
        "LSET l 0 z",           "LINSERT l AFTER z y", "LREM l 1 y",   "LTRIM l 1 -1",
        "LMOVE l l LEFT RIGHT", "RPOPLPUSH l l",       "EXPIRE l 100", "LPUSHX l q",
        "LMPOP 1 l LEFT",
    };
    struct rig *r = rig_begin();
    uint64_t rev = 0;

    (void)state;
    for (size_t i = 0; i < sizeof writes / sizeof writes[0]; i++) {
        const struct object *o;
        print_message("  %s\n", writes[i]);
        rig_say(r, "%s", writes[i]);
        o = state_find(&r->e.state, 0, slice_str("l"));
        assert_non_null(o);
        assert_true(o->rev > rev);
        rev = o->rev;
    }
    rig_free(r);
}

/* ---- bounds ---- */

static void an_insert_that_moves_more_than_a_batch_holds_is_refused(void **state)
{
    struct rig *r = rig_new(1);
    char value[1001];

    (void)state;
    r->config.max_batch_bytes = 256 << 10;
    rig_start(r);
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    for (int i = 0; i < 600; i++)
        rig_say(r, "RPUSH l %s%d", value, i);
    has(r, "-ERR the request may need ", "LINSERT l AFTER %s300 x", value);
    has(r, "more than max-batch-bytes", "LINSERT l AFTER %s300 x", value);
    says(r, ":600\r\n", "LLEN l");
    says(r, ":601\r\n", "LINSERT l AFTER %s100 x", value);
    says(r, OKAY, "MULTI"); /* what is refused inside EXEC leaves the others as they are */
    says(r, "+QUEUED\r\n", "RPUSH m 1");
    says(r, "+QUEUED\r\n", "LINSERT l AFTER %s300 y", value);
    says(r, "+QUEUED\r\n", "RPUSH m 2");
    has(r, "*3\r\n:1\r\n-ERR the request may need ", "EXEC");
    rig_restart(r, true);
    says(r, ":601\r\n", "LLEN l");
    holds(r, "m", "1 2");
    rig_free(r);
}

static void numbers_of_keys_are_bounded_by_the_arguments(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    says(r, "-ERR syntax error\r\n", "LMPOP 9223372036854775807 l LEFT");
    says(r, "-ERR syntax error\r\n", "BLMPOP 0 9223372036854775807 l LEFT");
    says(r, "-ERR numkeys should be greater than 0\r\n", "LMPOP 9223372036854775808 l LEFT");
    says(r, "-ERR timeout is out of range\r\n", "BLPOP l 1e16");
    says(r, "-ERR timeout is out of range\r\n", "BLPOP l inf");
    says(r, "-ERR timeout is negative\r\n", "BLPOP l -inf");
    says(r, "-ERR timeout is out of range\r\n", "BLPOP l 9223372036854775");
    rig_free(r);
}

/* ---- waiting ---- */

static void the_first_that_came_is_served_first(void **state)
{
    struct rig *r = rig_begin();
    struct client a, b, c;

    (void)state;
    rig_join(r, &a);
    rig_join(r, &b);
    rig_join(r, &c);
    rig_tell(r, &a, "BLPOP l 0");
    rig_tell(r, &b, "BRPOP m l 0");
    rig_tell(r, &c, "BLMPOP 0 1 l LEFT COUNT 5");
    says(r, ":1\r\n", "RPUSH l 1");
    hears(r, &a, "*2\r\n$1\r\nl\r\n$1\r\n1\r\n");
    hears(r, &b, "");
    says(r, ":4\r\n", "RPUSH l 2 3 4 5");
    hears(r, &b, "*2\r\n$1\r\nl\r\n$1\r\n5\r\n");
    hears(r, &c, "*2\r\n$1\r\nl\r\n*3\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n4\r\n");
    says(r, ":0\r\n", "EXISTS l");
    rig_leave(r, &a);
    rig_leave(r, &b);
    rig_leave(r, &c);
    rig_free(r);
}

static void the_key_that_was_filled_first_serves_who_waits_for_several(void **state)
{
    struct rig *r = rig_begin();
    struct client a, b;

    (void)state;
    rig_join(r, &a);
    rig_join(r, &b);
    rig_tell(r, &a, "BLPOP k2 0");
    rig_tell(r, &b, "BLPOP k1 k2 0");
    says(r, OKAY, "MULTI");
    rig_say(r, "RPUSH k1 x");
    rig_say(r, "RPUSH k2 y");
    has(r, "*2\r\n", "EXEC");
    hears(r, &a, "*2\r\n$2\r\nk2\r\n$1\r\ny\r\n");
    hears(r, &b, "*2\r\n$2\r\nk1\r\n$1\r\nx\r\n");
    rig_leave(r, &a);
    rig_leave(r, &b);
    rig_free(r);
}

static void inside_multi_nothing_waits_and_all_pushes_are_made_first(void **state)
{
    struct rig *r = rig_begin();
    struct client a;

    (void)state;
    rig_join(r, &a);
    rig_tell(r, &a, "BLPOP l 0");
    says(r, OKAY, "MULTI");
    rig_say(r, "BLPOP none 0");
    rig_say(r, "LPUSH l 1");
    rig_say(r, "LPUSH l 2");
    rig_say(r, "LPOP l");
    says(r, "*4\r\n*-1\r\n:1\r\n:2\r\n$1\r\n2\r\n", "EXEC");
    hears(r, &a, "*2\r\n$1\r\nl\r\n$1\r\n1\r\n");
    rig_leave(r, &a);
    rig_free(r);
}

static void an_element_moves_along_a_chain_of_those_who_wait(void **state)
{
    struct rig *r = rig_begin();
    struct client a, b, c;

    (void)state;
    rig_join(r, &a);
    rig_join(r, &b);
    rig_join(r, &c);
    rig_tell(r, &c, "BLPOP l3 0");
    rig_tell(r, &b, "BRPOPLPUSH l2 l3 0");
    rig_tell(r, &a, "BLMOVE l1 l2 LEFT LEFT 0");
    says(r, ":1\r\n", "RPUSH l1 x");
    hears(r, &a, "$1\r\nx\r\n");
    hears(r, &b, "$1\r\nx\r\n");
    hears(r, &c, "*2\r\n$2\r\nl3\r\n$1\r\nx\r\n");
    says(r, ":0\r\n", "EXISTS l1 l2 l3");
    rig_leave(r, &a);
    rig_leave(r, &b);
    rig_leave(r, &c);
    rig_restart(r, true);
    says(r, ":0\r\n", "EXISTS l1 l2 l3");
    rig_free(r);
}

static void what_brings_a_list_to_an_awaited_key_wakes(void **state)
{
    struct rig *r = rig_begin();
    struct client a;

    (void)state;
    rig_join(r, &a);
    rig_say(r, "RPUSH src 1 2 3");
    rig_tell(r, &a, "BLPOP l 0");
    says(r, OKAY, "SET l text"); /* of another type: it waits on */
    says(r, ":1\r\n", "DEL l");
    hears(r, &a, "");
    says(r, OKAY, "RENAME src l");
    hears(r, &a, "*2\r\n$1\r\nl\r\n$1\r\n1\r\n");
    rig_tell(r, &a, "BLPOP m 0");
    says(r, ":1\r\n", "COPY l m");
    hears(r, &a, "*2\r\n$1\r\nm\r\n$1\r\n2\r\n");
    rig_tell(r, &a, "SELECT 1");
    rig_hear(r, &a);
    rig_tell(r, &a, "BLPOP l 0");
    says(r, ":1\r\n", "MOVE l 1");
    hears(r, &a, "*2\r\n$1\r\nl\r\n$1\r\n2\r\n");
    rig_leave(r, &a);
    rig_free(r);
}

static bool is_cold(struct rig *r, const char *key)
{
    return state_find(&r->e.state, 0, slice_str(key))->flags & OBJECT_COLD;
}

static void the_length_of_a_list_is_known_without_reading_it(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    rig_say(r, "RPUSH l a b c");
    rig_seal(r);
    rig_restart(r, false);
    assert_true(is_cold(r, "l"));
    says(r, ":3\r\n", "LLEN l");
    assert_true(is_cold(r, "l"));
    says(r, ":4\r\n", "RPUSH l d");
    assert_false(is_cold(r, "l"));
    keeps(r, "l", "a b c d");
    rig_free(r);
}

static void who_waits_is_served_from_a_list_that_is_not_in_memory(void **state)
{
    struct rig *r = rig_begin();
    struct client a;

    (void)state;
    rig_say(r, "RPUSH src 1 2 3");
    rig_seal(r);
    rig_restart(r, false);
    assert_true(is_cold(r, "src"));
    rig_join(r, &a);
    rig_tell(r, &a, "BRPOP l 0");
    says(r, OKAY, "RENAME src l");
    hears(r, &a, "*2\r\n$1\r\nl\r\n$1\r\n3\r\n");
    rig_leave(r, &a);
    keeps(r, "l", "1 2");
    rig_free(r);
}

static void waiting_ends_at_its_millisecond(void **state)
{
    struct rig *r = rig_begin();
    struct client a, b;

    (void)state;
    rig_join(r, &a);
    rig_join(r, &b);
    rig_tell(r, &a, "BLPOP l 1.5");
    rig_tell(r, &b, "BLMOVE l m LEFT LEFT 0.0011");
    rig_pass(r, 1);
    hears(r, &b, "");
    rig_pass(r, 1); /* fractions of a millisecond are rounded up */
    hears(r, &b, NOTHING);
    rig_pass(r, 1497);
    hears(r, &a, "");
    rig_pass(r, 1);
    hears(r, &a, NOTHING);
    rig_leave(r, &a);
    rig_leave(r, &b);
    rig_free(r);
}

static void a_move_to_what_is_no_list_is_told_to_who_waited(void **state)
{
    struct rig *r = rig_begin();
    struct client a, b;

    (void)state;
    rig_join(r, &a);
    rig_join(r, &b);
    says(r, OKAY, "SET text v");
    rig_tell(r, &a, "BLMOVE l text LEFT LEFT 0");
    rig_tell(r, &b, "BLPOP l 0");
    says(r, ":1\r\n", "RPUSH l x");
    assert_non_null(strstr(rig_hear(r, &a), "-WRONGTYPE "));
    hears(r, &b, "*2\r\n$1\r\nl\r\n$1\r\nx\r\n");
    rig_leave(r, &a);
    rig_leave(r, &b);
    rig_free(r);
}

/* ---- a model ---- */

struct model {
    char words[MODEL_MAX][MODEL_WORD];
    size_t n;
};

static void model_insert(struct model *m, size_t at, const char *word)
{
    assert_true(m->n < MODEL_MAX && at <= m->n);
    memmove(m->words[at + 1], m->words[at], (m->n - at) * MODEL_WORD);
    snprintf(m->words[at], MODEL_WORD, "%s", word);
    m->n++;
}

static void model_remove(struct model *m, size_t at)
{
    memmove(m->words[at], m->words[at + 1], (m->n - at - 1) * MODEL_WORD);
    m->n--;
}

static size_t model_find(const struct model *m, const char *word)
{
    size_t i = 0;

    while (i < m->n && strcmp(m->words[i], word) != 0)
        i++;
    return i;
}

static void model_check(struct rig *r, const struct model *m)
{
    static char want[MODEL_REPLY];
    size_t at = 0;

    want[0] = '\0';
    for (size_t i = 0; i < m->n; i++)
        at += (size_t)snprintf(want + at, sizeof want - at, "%s%s", i == 0 ? "" : " ", m->words[i]);
    holds(r, "l", want);
}

static void model_step(struct rig *r, struct model *m, struct random *rnd)
{
    char word[MODEL_WORD], pivot[MODEL_WORD];
    size_t at, i;

    snprintf(word, sizeof word, "w%zu", random_below(rnd, 30));
    snprintf(pivot, sizeof pivot, "w%zu", random_below(rnd, 30));
    at = model_find(m, pivot);
    switch (m->n > MODEL_MAX / 2 ? 5 : random_below(rnd, 9)) {
    case 0:
    case 1:
        rig_say(r, "RPUSH l %s", word);
        model_insert(m, m->n, word);
        break;
    case 2:
        rig_say(r, "LPUSH l %s", word);
        model_insert(m, 0, word);
        break;
    case 3:
        rig_say(r, "LINSERT l BEFORE %s %s", pivot, word);
        if (at < m->n)
            model_insert(m, at, word);
        break;
    case 4:
        rig_say(r, "LINSERT l AFTER %s %s", pivot, word);
        if (at < m->n)
            model_insert(m, at + 1, word);
        break;
    case 5:
        rig_say(r, "LREM l 0 %s", pivot);
        for (i = m->n; i > 0; i--)
            if (strcmp(m->words[i - 1], pivot) == 0)
                model_remove(m, i - 1);
        break;
    case 6:
        rig_say(r, "LPOP l");
        if (m->n > 0)
            model_remove(m, 0);
        break;
    case 7:
        rig_say(r, "LMOVE l l RIGHT LEFT");
        if (m->n > 0) {
            snprintf(word, sizeof word, "%s", m->words[m->n - 1]);
            model_remove(m, m->n - 1);
            model_insert(m, 0, word);
        }
        break;
    default:
        if (m->n > 0) {
            i = random_below(rnd, m->n);
            rig_say(r, "LSET l %zu %s", i, word);
            snprintf(m->words[i], MODEL_WORD, "%s", word);
        }
        break;
    }
}

static void random_changes_are_those_of_a_plain_array(void **state)
{
    static struct model m;
    struct random rnd = random_seeded("lists");
    struct rig *r = rig_new(rnd.state);

    (void)state;
    rig_start(r);
    for (size_t i = 0; i < random_rounds(1500); i++) {
        model_step(r, &m, &rnd);
        if (random_below(&rnd, 20) == 0)
            model_check(r, &m);
        if (random_below(&rnd, 60) == 0)
            rig_seal(r); /* a start then finds the value in a segment, if it is all in one record */
        if (random_below(&rnd, 60) == 0)
            rig_restart(r, random_below(&rnd, 2) == 0);
    }
    model_check(r, &m);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elements_at_both_ends_are_there_after_a_restart),
        cmocka_unit_test(a_list_that_was_emptied_is_gone_and_begins_anew),
        cmocka_unit_test(an_element_takes_a_hole_or_others_make_room),
        cmocka_unit_test(ranges_are_removed_by_one_record),
        cmocka_unit_test(every_write_gives_the_key_a_new_revision),
        cmocka_unit_test(an_insert_that_moves_more_than_a_batch_holds_is_refused),
        cmocka_unit_test(numbers_of_keys_are_bounded_by_the_arguments),
        cmocka_unit_test(the_first_that_came_is_served_first),
        cmocka_unit_test(the_key_that_was_filled_first_serves_who_waits_for_several),
        cmocka_unit_test(inside_multi_nothing_waits_and_all_pushes_are_made_first),
        cmocka_unit_test(an_element_moves_along_a_chain_of_those_who_wait),
        cmocka_unit_test(what_brings_a_list_to_an_awaited_key_wakes),
        cmocka_unit_test(the_length_of_a_list_is_known_without_reading_it),
        cmocka_unit_test(who_waits_is_served_from_a_list_that_is_not_in_memory),
        cmocka_unit_test(waiting_ends_at_its_millisecond),
        cmocka_unit_test(a_move_to_what_is_no_list_is_told_to_who_waited),
        cmocka_unit_test(random_changes_are_those_of_a_plain_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
