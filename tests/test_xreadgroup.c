/* test_xreadgroup.c - XREADGROUP with the whole engine on a simulated disk: what is handed out to whom, in what order, waiting for
 * it, and where it is read from.
 *
 * Replies are compared in a short form: [..] arrays and maps, bulks as they are, :n numbers, ~ null, -text errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "broker/engine/blocking.h"
#include "broker/engine/grouplog.h"
#include "broker/engine/redelivery.h"
#include "tests/lib/random.h"
#include "tests/lib/rig.h"

enum { SHORT_TEXT = RIG_TEXT, READERS = 50 };

/* ---- the short form ---- */

struct shortened {
    const char *in;
    char *out, *end;
};

static void short_put(struct shortened *s, const char *p, size_t n)
{
    assert_true(n < (size_t)(s->end - s->out));
    memcpy(s->out, p, n);
    s->out += n;
    *s->out = '\0';
}

static void short_one(struct shortened *s)
{
    char type = *s->in++;
    size_t line = strcspn(s->in, "\r");
    long long n = strtoll(s->in, NULL, 10);
    const char *text = s->in;

    s->in += line + 2;
    if (type == '_' || n < 0) {
        short_put(s, "~", 1);
    } else if (type == '$') {
        short_put(s, s->in, (size_t)n);
        s->in += n + 2;
    } else if (type == '*' || type == '%') {
        short_put(s, "[", 1);
        for (long long i = 0; i < (type == '%' ? 2 * n : n); i++) {
            if (i > 0)
                short_put(s, " ", 1);
            short_one(s);
        }
        short_put(s, "]", 1);
    } else {
        short_put(s, &type, type != '+');
        short_put(s, text, line);
    }
}

static const char *shorten(const char *reply)
{
    static char text[SHORT_TEXT];
    struct shortened s = { reply, text, text + sizeof text };

    text[0] = '\0';
    while (*s.in != '\0')
        short_one(&s);
    return text;
}

static void expect_reply(const char *reply, const char *want, int line)
{
    const char *got = shorten(reply);

    if (strcmp(got, want) != 0)
        fail_msg("line %d:\n  %s\nand not\n  %s", line, got, want);
}

#define expect(r, want, ...)     expect_reply(rig_say(r, __VA_ARGS__), want, __LINE__)
#define expect_heard(r, c, want) expect_reply(rig_hear(r, c), want, __LINE__)

/* ---- the state ---- */

static struct consumer *consumer_of(struct rig *r, const char *name)
{
    return group_find_consumer(rig_group(r, "s", "g"), slice_str(name));
}

static struct pel_entry pending_of(struct rig *r, uint64_t ms)
{
    struct pel_entry x = { .count = 0 };

    pel_get(rig_group(r, "s", "g")->pel, (struct id){ ms, 0 }, &x);
    return x;
}

/* Nothing is broken, whatever the test has done. */
static void check(struct rig *r)
{
    const struct stream *st = rig_stream(r, "s");
    const char *broken = redelivery_check(&r->e);

    assert_null(broken);
    assert_null(blocking_check(r->e.blocking));
    broken = st == NULL ? NULL : groups_check(stream_groups(st));
    if (broken != NULL)
        fail_msg("%s", broken);
}

/* A stream `s` with entries 1-0 .. n-0, whose field k has the given values in turn (NULL: "v"), and a group `g`. */
static struct rig *begin_with(unsigned n, const char *values, const char *options)
{
    struct rig *r = rig_begin();

    for (unsigned i = 1; i <= n; i++)
        rig_say(r, "XADD s %u-0 k %c", i, values == NULL ? 'v' : values[(i - 1) % strlen(values)]);
    expect(r, "OK", "XGROUP CREATE s g 0 MKSTREAM%s%s", options[0] != '\0' ? " " : "", options);
    return r;
}

/* All other clients leave, waiting or not. */
static void end(struct rig *r)
{
    struct client *next;

    check(r);
    for (struct client *c = r->e.clients; c != NULL; c = next) {
        next = c->next;
        if (c != &r->c)
            rig_leave(r, c);
    }
    rig_free(r);
}

/* ---- new entries ---- */

static void a_new_entry_goes_to_one_consumer(void **state)
{
    struct rig *r = begin_with(5, NULL, "");

    (void)state;
    expect(r, "[[s [[1-0 [k v]] [2-0 [k v]]]]]", "XREADGROUP GROUP g a COUNT 2 STREAMS s >");
    expect(r, "[[s [[3-0 [k v]] [4-0 [k v]] [5-0 [k v]]]]]", "XREADGROUP GROUP g b STREAMS s >");
    expect(r, "~", "XREADGROUP GROUP g b STREAMS s >");
    assert_int_equal(pel_n_of(rig_group(r, "s", "g")->pel, consumer_of(r, "a")->slot), 2);
    assert_int_equal(pel_n_of(rig_group(r, "s", "g")->pel, consumer_of(r, "b")->slot), 3);
    assert_int_equal(pending_of(r, 4).count, 1);
    assert_int_equal(pending_of(r, 4).time_ms, r->e.now_ms);
    rig_say(r, "HELLO 3");
    rig_say(r, "XADD s 6-0 k v");
    expect(r, "[s [[6-0 [k v]]]]", "XREADGROUP GROUP g b STREAMS s >");
    end(r);
}

static void a_restart_gives_back_who_has_what(void **state)
{
    struct rig *r = begin_with(6, NULL, "");
    struct pel_entry x;

    (void)state;
    rig_say(r, "XREADGROUP GROUP g a COUNT 2 STREAMS s >");
    rig_pass(r, 1000);
    rig_say(r, "XREADGROUP GROUP g b COUNT 2 STREAMS s >");
    x = pending_of(r, 3);
    rig_kill(r, SIMIO_KILL);
    rig_start(r);
    assert_int_equal(pending_of(r, 3).time_ms, x.time_ms);
    assert_int_equal(pending_of(r, 3).slot, consumer_of(r, "b")->slot);
    expect(r, "[[s [[5-0 [k v]] [6-0 [k v]]]]]", "XREADGROUP GROUP g c STREAMS s >");
    assert_int_equal(rig_group(r, "s", "g")->entries_read, 6);
    end(r);
}

static void noack_hands_out_and_keeps_nothing(void **state)
{
    struct rig *r = begin_with(3, NULL, "");

    (void)state;
    expect(r, "[[s [[1-0 [k v]] [2-0 [k v]]]]]", "XREADGROUP GROUP g a COUNT 2 NOACK STREAMS s >");
    assert_int_equal(pel_n(rig_group(r, "s", "g")->pel), 0);
    assert_int_equal(rig_group(r, "s", "g")->n_behind, 2);
    assert_int_equal(rig_group(r, "s", "g")->entries_read, 2);
    assert_int_equal(consumer_of(r, "a")->active_ms, 0);
    end(r);
}

static void limits_hold_for_all_streams_of_a_request(void **state)
{
    static const struct {
        const char *limits, *want;
    } cases[] = {
        { "COUNT 2", "[[s [[1-0 [k v]] [2-0 [k v]]]] [t [[1-0 [k v]] [2-0 [k v]]]]]" },
        { "MAXCOUNT 3", "[[s [[1-0 [k v]] [2-0 [k v]] [3-0 [k v]]]]]" },
        { "COUNT 2 MAXCOUNT 3", "[[s [[1-0 [k v]] [2-0 [k v]]]] [t [[1-0 [k v]]]]]" },
        { "COUNT 0 MAXCOUNT 1", "[[s [[1-0 [k v]]]]]" },
        { "MAXSIZE 1", "[[s [[1-0 [k v]]]]]" },
        { "MAXSIZE 50", "[[s [[1-0 [k v]] [2-0 [k v]]]]]" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rig *r = begin_with(3, NULL, "");

        print_message("  %s\n", cases[i].limits);
        for (int k = 1; k <= 3; k++)
            rig_say(r, "XADD t %d-0 k v", k);
        rig_say(r, "XGROUP CREATE t g 0");
        expect(r, cases[i].want, "XREADGROUP GROUP g a %s STREAMS s t > >", cases[i].limits);
        if (strstr(cases[i].want, "[t") == NULL)
            assert_null(group_find_consumer(rig_group(r, "t", "g"), slice_str("a")));
        end(r);
    }
}

static void a_stream_that_is_named_twice_gives_what_is_left_then(void **state)
{
    struct rig *r = begin_with(4, NULL, "");

    (void)state;
    expect(r,
           "[[s [[1-0 [k v]] [2-0 [k v]]]] [s [[3-0 [k v]] [4-0 [k v]]]] [s [[1-0 [k v]] [2-0 [k "
           "v]]]]]",
           "XREADGROUP GROUP g a COUNT 2 STREAMS s s s > > 0");
    end(r);
}

static void what_is_wrong_is_said_as_redis_does(void **state)
{
    static const struct {
        const char *request, *want;
    } cases[] = {
        { "GROUP g c COUNT x STREAMS s >", "-ERR value is not an integer or out of range" },
        { "COUNT 1 BLOCK 0 STREAMS s >", "-ERR Missing GROUP option for XREADGROUP" },
        { "GROUP g c NOACK STREAMS s > x", "-ERR Unbalanced 'xreadgroup' list of streams: for each "
                                           "stream key an ID or '>' must be specified." },
        { "GROUP g c BLOCK -1 STREAMS s >", "-ERR timeout is negative" },
        { "GROUP g c BLOCK x STREAMS s >", "-ERR timeout is not an integer or out of range" },
        { "GROUP g c MAXCOUNT 0 STREAMS s >", "-ERR MAXCOUNT must be a positive integer" },
        { "GROUP g c MAXSIZE -1 STREAMS s >", "-ERR MAXSIZE must be a positive integer" },
        { "GROUP g c COUNT 2 MAXCOUNT 1 STREAMS n >",
          "-ERR MAXCOUNT must be greater than or equal to COUNT" },
        { "GROUP g c CLAIM 5.5 STREAMS s >",
          "-ERR min-idle-time is not an integer or out of range" },
        { "GROUP g c CLAIM -0 STREAMS s >",
          "-ERR min-idle-time is not an integer or out of range" },
        { "GROUP g c CLAIM -1 STREAMS s >", "-ERR min-idle-time must be a positive integer" },
        { "GROUP g c CLAIM STREAMS s >", "-ERR min-idle-time is not an integer or out of range" },
        { "GROUP no c COUNT 1 STREAMS s $",
          "-NOGROUP No such key 's' or consumer group 'no' in XREADGROUP with GROUP option" },
        { "GROUP g c COUNT 1 STREAMS n >",
          "-NOGROUP No such key 'n' or consumer group 'g' in XREADGROUP with GROUP option" },
        { "GROUP g c COUNT 1 STREAMS s +",
          "-ERR The + ID is meaningless in the context of XREADGROUP: you want to read the history "
          "of this consumer by specifying a proper ID, or use the > ID to get new messages. The + "
          "ID would just return an empty result set." },
        { "GROUP g c COUNT 1 STREAMS s -",
          "-ERR Invalid stream ID specified as stream command argument" },
        { "GROUP g c COUNT 1 COUNT STREAMS", "-ERR value is not an integer or out of range" },
        { "GROUP g c COUNT 1 NOACK STREAMS", "-ERR syntax error" },
        { "GROUP g c FOO 1 STREAMS s 0", "-ERR syntax error" },
    };
    struct rig *r = begin_with(1, NULL, "");

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("  %s\n", cases[i].request);
        expect(r, cases[i].want, "XREADGROUP %s", cases[i].request);
        assert_null(consumer_of(r, "c"));
    }
    expect(r, "-ERR The CLAIM option is only supported by XREADGROUP. You called XREAD instead.",
           "XREAD CLAIM 1 STREAMS s 0");
    end(r);
}

/* ---- history ---- */

static void a_history_shows_what_the_consumer_has(void **state)
{
    struct rig *r = begin_with(5, NULL, "");
    uint64_t active_ms;

    (void)state;
    expect(r, "[[s []]]", "XREADGROUP GROUP g a BLOCK 1000 STREAMS s 0");
    rig_say(r, "XREADGROUP GROUP g a COUNT 3 STREAMS s >");
    rig_say(r, "XREADGROUP GROUP g b STREAMS s >");
    active_ms = consumer_of(r, "a")->active_ms;
    rig_say(r, "XDEL s 2-0");
    rig_pass(r, 1000);
    expect(r, "[[s [[2-0 ~] [3-0 [k v]]]]]", "XREADGROUP GROUP g a STREAMS s 1-0");
    assert_int_equal(pending_of(r, 1).count, 1);
    assert_int_equal(pending_of(r, 2).count, 1);
    assert_int_equal(pending_of(r, 3).count, 2);
    assert_true(pending_of(r, 2).time_ms < r->e.now_ms);
    assert_true(pending_of(r, 3).time_ms >= active_ms + 1000);
    assert_int_equal(consumer_of(r, "a")->active_ms, active_ms);
    expect(r, "[[s [[1-0 [k v]]]]]", "XREADGROUP GROUP g a COUNT 1 CLAIM 0 STREAMS s 0");
    end(r);
}

/* ---- CLAIM ---- */

static void claim_takes_the_longest_idle_then_new_ones(void **state)
{
    struct rig *r = begin_with(5, NULL, "");

    (void)state;
    rig_say(r, "XREADGROUP GROUP g a COUNT 1 STREAMS s >");
    rig_pass(r, 100);
    rig_say(r, "XREADGROUP GROUP g a COUNT 2 STREAMS s >");
    rig_say(r, "XREADGROUP GROUP g b STREAMS s 0");
    r->lazy = true;
    rig_pass(r, 50);
    rig_say(r, "XDEL s 2-0");
    expect(r, "[[s [[4-0 [k v] :0 :0]]]]", "XREADGROUP GROUP g b COUNT 1 CLAIM 1000 STREAMS s >");
    assert_int_equal(pending_of(r, 1).slot, consumer_of(r, "a")->slot);
    expect(r, "[[s [[1-0 [k v] :150 :1] [3-0 [k v] :50 :1] [5-0 [k v] :0 :0]]]]",
           "XREADGROUP GROUP g b NOACK CLAIM 50 STREAMS s >");
    assert_int_equal(pending_of(r, 1).slot, consumer_of(r, "b")->slot);
    assert_int_equal(pending_of(r, 1).count, 2);
    assert_int_equal(pending_of(r, 2).slot, consumer_of(r, "a")->slot); /* deleted: passed over */
    assert_int_equal(pending_of(r, 5).count, 0);                        /* NOACK */
    end(r);
}

static void claim_finds_what_lives_behind_many_that_do_not(void **state)
{
    struct rig *r = begin_with(2000, NULL, "");

    (void)state;
    rig_say(r, "XREADGROUP GROUP g a STREAMS s >");
    rig_say(r, "XTRIM s MINID 1990-0");
    rig_say(r, "XDEL s 1990-0");
    rig_pass(r, 10);
    expect(r, "[[s [[1991-0 [k v] :10 :1]]]]", "XREADGROUP GROUP g b COUNT 1 CLAIM 5 STREAMS s >");
    end(r);
}

static void claim_is_forgotten_behind_a_history(void **state)
{
    struct rig *r = begin_with(2, NULL, "");

    (void)state;
    rig_say(r, "XADD t 1-0 k v");
    rig_say(r, "XGROUP CREATE t g 0");
    expect(r, "[[s []] [t [[1-0 [k v]]]]]", "XREADGROUP GROUP g a CLAIM 0 STREAMS s t 0 >");
    end(r);
}

/* ---- waiting ---- */

static void waiting_readers_are_served_in_order(void **state)
{
    struct rig *r = begin_with(0, NULL, "");
    struct client c[3];

    (void)state;
    for (int i = 0; i < 3; i++) {
        rig_join(r, &c[i]);
        rig_tell(r, &c[i], "XREADGROUP GROUP g c%d COUNT 1 BLOCK 0 STREAMS s >", i);
    }
    assert_int_equal(consumer_of(r, "c1")->n_waiting, 1);
    rig_say(r, "XADD s 1-0 k v");
    expect_heard(r, &c[0], "[[s [[1-0 [k v]]]]]");
    expect_heard(r, &c[1], "");
    rig_say(r, "XADD s 2-0 k v");
    expect_heard(r, &c[1], "[[s [[2-0 [k v]]]]]");
    assert_int_equal(consumer_of(r, "c1")->n_waiting, 0);
    assert_int_equal(consumer_of(r, "c2")->n_waiting, 1);
    rig_leave(r, &c[2]);
    assert_int_equal(consumer_of(r, "c2")->n_waiting, 0);
    end(r);
}

static void a_false_wake_up_does_not_restart_the_time(void **state)
{
    struct rig *r = begin_with(1, NULL, "");
    struct client c;

    (void)state;
    rig_say(r, "XREADGROUP GROUP g b STREAMS s >");
    rig_join(r, &c);
    rig_tell(r, &c, "XREADGROUP GROUP g a BLOCK 100 STREAMS s >");
    rig_pass(r, 60);
    rig_say(r, "MULTI");
    rig_say(r, "XADD s 2-0 k v");
    rig_say(r, "XDEL s 2-0");
    rig_say(r, "EXEC");
    expect_heard(r, &c, "");
    rig_pass(r, 39);
    expect_heard(r, &c, "");
    rig_pass(r, 2);
    expect_heard(r, &c, "~");
    end(r);
}

static void a_reader_is_told_that_its_group_is_gone(void **state)
{
    static const char *const ends[] = { "DEL s", "FLUSHALL", "XGROUP DESTROY s g", "RENAME s t" };

    (void)state;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct rig *r = begin_with(1, NULL, "");
        struct client c;

        print_message("  %s\n", ends[i]);
        rig_say(r, "XREADGROUP GROUP g b STREAMS s >");
        rig_join(r, &c);
        rig_tell(r, &c, "XREADGROUP GROUP g a BLOCK 0 CLAIM 100000 STREAMS s >");
        rig_say(r, "%s", ends[i]);
        expect_heard(
            r, &c,
            "-NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option");
        end(r);
    }
}

static void a_reader_goes_on_with_the_stream_that_takes_the_name(void **state)
{
    struct rig *r = begin_with(1, NULL, "");
    struct client c;

    (void)state;
    rig_say(r, "XREADGROUP GROUP g b STREAMS s >");
    rig_say(r, "XADD t 7-0 k v");
    rig_say(r, "XGROUP CREATE t g 0");
    rig_join(r, &c);
    rig_tell(r, &c, "XREADGROUP GROUP g a BLOCK 0 STREAMS s >");
    rig_say(r, "RENAME t s");
    expect_heard(r, &c, "[[s [[7-0 [k v]]]]]");
    end(r);
}

static void a_stream_that_begins_anew_keeps_its_readers(void **state)
{
    struct rig *r = begin_with(1, NULL, "");
    struct client c;

    (void)state;
    rig_say(r, "XREADGROUP GROUP g b NOACK STREAMS s >");
    rig_say(r, "XTRIM s MAXLEN 0");
    rig_join(r, &c);
    rig_tell(r, &c, "XREADGROUP GROUP g a BLOCK 0 CLAIM 100 STREAMS s >");
    expect(r, "OK", "XSETID s 0-1");
    assert_int_equal(consumer_of(r, "a")->n_waiting, 1);
    rig_leave(r, &c);
    assert_int_equal(consumer_of(r, "a")->n_waiting, 0);
    assert_int_equal(rig_group(r, "s", "g")->n_claiming, 0);
    end(r);
}

static void new_entries_do_not_wait_for_others_acknowledgements(void **state)
{
    struct rig *r = rig_new(1);
    uint64_t lsn;

    (void)state;
    r->config.stream_durability = LOG_ALWAYS;
    rig_start(r);
    for (int i = 1; i <= 3; i++)
        rig_say(r, "XADD s %d-0 k v", i);
    rig_say(r, "XGROUP CREATE s g 0");
    rig_say(r, "XREADGROUP GROUP g a COUNT 1 STREAMS s >");
    rig_say(r, "XACK s g 1-0");
    lsn = rig_group(r, "s", "g")->always_lsn;
    assert_int_equal(lsn, log_last_lsn(r->log));
    r->lazy = true;
    rig_say(r, "XREADGROUP GROUP g a COUNT 1 STREAMS s >");
    assert_true(r->c.need_durable < lsn);
    rig_say(r, "XREADGROUP GROUP g a COUNT 1 STREAMS s 0");
    assert_true(r->c.need_durable >= lsn);
    end(r);
}

static void a_reader_with_claim_wakes_when_something_is_idle_enough(void **state)
{
    struct rig *r = begin_with(1, NULL, "");
    struct client c, d;

    (void)state;
    rig_say(r, "XREADGROUP GROUP g b STREAMS s >");
    rig_join(r, &c);
    rig_join(r, &d);
    rig_tell(r, &d, "XREADGROUP GROUP g d BLOCK 0 CLAIM 300 STREAMS s >");
    rig_tell(r, &c, "XREADGROUP GROUP g a BLOCK 0 CLAIM 100 STREAMS s >");
    assert_int_equal(rig_group(r, "s", "g")->claim_idle_ms, 100);
    rig_pass(r, 90);
    expect_heard(r, &c, "");
    rig_pass(r, 10);
    expect_heard(r, &c, "[[s [[1-0 [k v] :100 :1]]]]");
    assert_int_equal(rig_group(r, "s", "g")->claim_idle_ms, 300);
    assert_int_equal(rig_group(r, "s", "g")->n_claiming, 1);
    rig_pass(r, 299);
    expect_heard(r, &d, "");
    rig_pass(r, 1);
    expect_heard(r, &d, "[[s [[1-0 [k v] :300 :2]]]]");
    assert_int_equal(rig_group(r, "s", "g")->n_claiming, 0);
    end(r);
}

static void several_streams_wait_for_any(void **state)
{
    struct rig *r = begin_with(0, NULL, "");
    struct client c;

    (void)state;
    rig_say(r, "XGROUP CREATE t g 0 MKSTREAM");
    rig_join(r, &c);
    rig_tell(r, &c, "XREADGROUP GROUP g a COUNT 2 MAXCOUNT 3 BLOCK 0 STREAMS s t > >");
    rig_say(r, "MULTI");
    for (int i = 1; i <= 3; i++) {
        rig_say(r, "XADD t %d-0 k v", i);
        rig_say(r, "XADD s %d-0 k v", i);
    }
    rig_say(r, "EXEC");
    expect_heard(r, &c, "[[s [[1-0 [k v]] [2-0 [k v]]]] [t [[1-0 [k v]]]]]");
    end(r);
}

static void inside_exec_nothing_blocks(void **state)
{
    struct rig *r = begin_with(1, NULL, "");

    (void)state;
    rig_say(r, "MULTI");
    rig_say(r, "XREADGROUP GROUP g a BLOCK 0 STREAMS s >");
    rig_say(r, "XREADGROUP GROUP g a BLOCK 0 STREAMS s >");
    expect(r, "[[[s [[1-0 [k v]]]]] ~]", "EXEC");
    end(r);
}

/* ---- what is cold ---- */

/* n entries of about 100 bytes in segments, with a cache that keeps next to nothing. */
static struct rig *begin_cold(unsigned n, const char *options)
{
    struct rig *r = rig_new(1);
    char value[101];

    memset(value, 'x', 100);
    value[100] = '\0';
    r->config.cache_bytes = 64 << 10;
    rig_start(r);
    for (unsigned i = 1; i <= n; i++)
        rig_say(r, "XADD s %u-0 k %s", i, value);
    expect(r, "OK", "XGROUP CREATE s g 0%s%s", options[0] != '\0' ? " " : "", options);
    rig_seal(r);
    return r;
}

/* How many entries a reply has, which begin with ID first. */
static unsigned count_from(const char *reply, unsigned first)
{
    const char *got = shorten(reply), *at = got;
    unsigned n = 0;
    char id[32];

    for (;; n++) {
        snprintf(id, sizeof id, "[%u-0 [", first + n);
        at = strstr(at, id);
        if (at == NULL)
            break;
    }
    if (n == 0)
        print_message("  instead of %u-0: %.200s\n", first, got);
    return n;
}

static void what_is_cold_is_read_by_workers(void **state)
{
    struct rig *r = begin_cold(3000, "");
    unsigned first = 1, n;

    (void)state;
    for (; first <= 3000; first += n) {
        n = count_from(rig_say(r, "XREADGROUP GROUP g a COUNT 100 STREAMS s >"), first);
        assert_int_equal(n, 100);
    }
    expect(r, "~", "XREADGROUP GROUP g a STREAMS s >");
    assert_int_equal(pel_n(rig_group(r, "s", "g")->pel), 3000);
    assert_int_equal(rig_figure(r, "sync_reads"), 0);
    end(r);
}

static void a_stream_in_many_segments_is_read_from_where_the_group_is(void **state)
{
    struct rig *r = begin_cold(100, "");
    unsigned first = 1, n;

    (void)state;
    for (unsigned i = 101; i <= 4000; i++) {
        rig_say(r, "XADD s %u-0 k %s", i, "0123456789012345678901234567890123456789");
        rig_say(r, "XADD t %u-0 k %s", i, "0123456789012345678901234567890123456789");
        if (i % 100 == 0)
            rig_seal(r);
    }
    for (; first <= 4000; first += n) {
        n = count_from(rig_say(r, "XREADGROUP GROUP g a COUNT 50 STREAMS s >"), first);
        assert_int_equal(n, 50);
    }
    assert_int_equal(rig_figure(r, "sync_reads"), 0);
    end(r);
}

static void many_cold_readers_are_served_in_order_from_one_load(void **state)
{
    struct rig *r = begin_cold(10000, "");
    static struct client c[READERS];
    unsigned first = 1;
    uint64_t n_loads;

    (void)state;
    r->lazy = true;
    for (int i = 0; i < READERS; i++) {
        rig_join(r, &c[i]);
        engine_round_begin(&r->e);
        engine_round_end(&r->e);
    }
    n_loads = 0;
    for (int i = 0; i < READERS; i++)
        rig_tell(r, &c[i], "XREADGROUP GROUP g c%d COUNT 100 %sSTREAMS s >", i,
                 i % 2 == 0 ? "BLOCK 0 " : "");
    for (int step = 0; step < 10000 && first <= 100 * READERS; step++) {
        rig_round(r);
        n_loads += log_step(r->log);
        for (const char *heard = ""; first <= 100 * READERS; first += 100) {
            heard = rig_hear(r, &c[first / 100]);
            if (heard[0] == '\0')
                break;
            assert_int_equal(count_from(heard, first), 100);
        }
    }
    assert_int_equal(first, 100 * READERS + 1);
    print_message("  %u steps of workers for %d readers\n", (unsigned)n_loads, READERS);
    assert_true(n_loads < 15);
    r->lazy = false;
    assert_int_equal(rig_figure(r, "sync_reads"), 0);
    end(r);
}

static void who_waits_for_what_turns_out_to_be_gone_gets_nothing(void **state)
{
    struct rig *r = begin_cold(300, "");
    struct client c, d;

    (void)state;
    rig_join(r, &c);
    rig_join(r, &d);
    r->lazy = true;
    rig_tell(r, &c, "XREADGROUP GROUP g a COUNT 100 STREAMS s >");
    rig_tell(r, &d, "XREADGROUP GROUP g b COUNT 100 BLOCK 0 STREAMS s >");
    rig_say(r, "XTRIM s MAXLEN 0");
    r->lazy = false;
    rig_settle(r);
    expect_heard(r, &c, "~");
    expect_heard(r, &d, "");
    rig_say(r, "XADD s 1000-0 k v");
    expect_heard(r, &d, "[[s [[1000-0 [k v]]]]]");
    end(r);
}

static void nobody_is_forgotten_when_a_load_was_for_another(void **state)
{
    struct rig *r = begin_cold(3000, "");
    struct client c, d;

    (void)state;
    rig_say(r, "XREADGROUP GROUP g b COUNT 500 STREAMS s >");
    rig_say(r, "XREADGROUP GROUP g x COUNT 500 STREAMS s >");
    rig_join(r, &c);
    rig_join(r, &d);
    r->lazy = true;
    rig_tell(r, &c, "XREADGROUP GROUP g a BLOCK 0 STREAMS s >");
    rig_tell(r, &d, "XREADGROUP GROUP g b STREAMS s 0");
    rig_say(r, "XGROUP SETID s g $");
    r->lazy = false;
    rig_settle(r);
    expect_heard(r, &c, "");
    assert_int_equal(count_from(rig_hear(r, &d), 1), 500);
    end(r);
}

static void a_history_waits_for_what_another_stream_gives(void **state)
{
    struct rig *r = begin_cold(300, "");
    const char *got;

    (void)state;
    rig_say(r, "XADD t 1-0 k v");
    rig_say(r, "XGROUP CREATE t g 0");
    got = rig_say(r, "XREADGROUP GROUP g a COUNT 10 STREAMS t s 0 >");
    assert_int_equal(count_from(got, 1), 10);
    assert_non_null(strstr(shorten(got), "[t []]"));
    end(r);
}

static void a_group_may_vanish_while_something_is_loaded_for_it(void **state)
{
    static const char *const ends[] = { "DEL s", "XGROUP DESTROY s g", "RENAME s t", "FLUSHALL" };

    (void)state;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct rig *r = begin_cold(300, "");
        struct client c, d;

        print_message("  %s\n", ends[i]);
        rig_join(r, &c);
        rig_join(r, &d);
        r->lazy = true;
        rig_tell(r, &c, "XREADGROUP GROUP g a COUNT 100 STREAMS s >");
        rig_tell(r, &d, "XREADGROUP GROUP g b COUNT 100 BLOCK 0 STREAMS s >");
        rig_leave(r, &d);
        rig_say(r, "%s", ends[i]);
        r->lazy = false;
        rig_settle(r);
        expect_heard(
            r, &c,
            "-NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option");
        end(r);
    }
}

/* All but the first sector of each segment cannot be read any more. */
static void break_segment(void *ctx, const char *path)
{
    struct rig *r = ctx;

    size_t n;

    if (strstr(path, ".seg") == NULL)
        return;
    simio_bytes(r->disk, path, &n);
    for (size_t at = 512; at < n; at += 512)
        simio_break_sector(r->disk, path, at);
}

static void what_cannot_be_read_is_told_to_each_who_needs_it(void **state)
{
    struct rig *r = begin_cold(3000, "");
    struct client c, d;
    const char *heard;

    (void)state;
    simio_each_file(r->disk, break_segment, r);
    r->lazy = true;
    rig_join(r, &c);
    rig_join(r, &d);
    rig_tell(r, &c, "XREADGROUP GROUP g a STREAMS s >");
    rig_tell(r, &d, "XREADGROUP GROUP g b BLOCK 0 STREAMS s >");
    r->lazy = false;
    rig_settle(r);
    heard = shorten(rig_hear(r, &c));
    print_message("  %s\n", heard);
    assert_int_equal(strncmp(heard, "-IOERR ", 7), 0);
    assert_non_null(strstr(heard, ".seg"));
    assert_int_equal(strncmp(rig_hear(r, &d), "-IOERR ", 7), 0);
    assert_int_equal(rig_figure(r, "sync_reads"), 0);
    assert_int_equal(pel_n(rig_group(r, "s", "g")->pel), 0);
    end(r);
}

static void pending_entries_that_are_cold_are_read_too(void **state)
{
    struct rig *r = begin_cold(3000, "");
    unsigned first = 1, n;

    (void)state;
    rig_say(r, "XREADGROUP GROUP g a COUNT 1000 STREAMS s >");
    rig_say(r, "XREADGROUP GROUP g a COUNT 1000 STREAMS s >");
    rig_say(r, "XREADGROUP GROUP g a COUNT 1000 STREAMS s >");
    for (; first <= 3000; first += n) {
        n = count_from(rig_say(r, "XREADGROUP GROUP g a COUNT 500 STREAMS s %u", first - 1), first);
        assert_true(n > 0);
    }
    assert_int_equal(pending_of(r, 2500).count, 2);
    rig_pass(r, 100);
    for (first = 1; first <= 3000; first += n) {
        n = count_from(rig_say(r, "XREADGROUP GROUP g b COUNT 500 CLAIM 50 STREAMS s >"), first);
        assert_true(n > 0);
    }
    assert_int_equal(pending_of(r, 2500).count, 3);
    assert_int_equal(rig_figure(r, "sync_reads"), 0);
    end(r);
}

static void inside_exec_what_is_cold_has_been_loaded(void **state)
{
    struct rig *r = begin_cold(1000, "");
    const char *got;

    (void)state;
    rig_say(r, "XREADGROUP GROUP g b COUNT 100 STREAMS s >");
    rig_say(r, "MULTI");
    rig_say(r, "XREADGROUP GROUP g a COUNT 10 STREAMS s >");
    rig_say(r, "XREADGROUP GROUP g b STREAMS s 0");
    got = rig_say(r, "EXEC");
    assert_int_equal(count_from(got, 101), 10);
    assert_int_equal(count_from(got, 1), 100);
    assert_int_equal(rig_figure(r, "sync_reads"), 0);
    end(r);
}

static void everything_at_once_is_given_in_parts(void **state)
{
    struct rig *r = begin_cold(5000, "");
    unsigned first = 1, n;

    (void)state;
    for (; first <= 5000; first += n) {
        n = count_from(rig_say(r, "XREADGROUP GROUP g a STREAMS s >"), first);
        assert_true(n >= 1000 || first + n > 5000);
    }
    assert_int_equal(first, 5001);
    end(r);
}

/* ---- redelivery ---- */

static void what_is_ready_comes_first(void **state)
{
    struct rig *r = begin_with(4, NULL, "ACKWAIT 1000");

    (void)state;
    rig_say(r, "XREADGROUP GROUP g a COUNT 1 STREAMS s >");
    rig_pass(r, 10);
    rig_say(r, "XREADGROUP GROUP g a COUNT 1 STREAMS s >");
    rig_say(r, "XREADGROUP GROUP g b COUNT 1 STREAMS s 1-0");
    rig_pass(r, 2000);
    expect(r, "[[s [[1-0 [k v]]]]]", "XREADGROUP GROUP g b COUNT 1 STREAMS s >");
    expect(r, "[[s [[2-0 [k v]] [3-0 [k v]] [4-0 [k v]]]]]", "XREADGROUP GROUP g b STREAMS s >");
    assert_int_equal(pending_of(r, 1).count, 2);
    assert_int_equal(pending_of(r, 1).slot, consumer_of(r, "b")->slot);
    assert_int_equal(pending_of(r, 3).count, 1);
    has(r, "redelivered\r\n:2\r\n", "BECK GROUP s g");
    end(r);
}

static void with_claim_nothing_is_handed_out_twice(void **state)
{
    struct rig *r = begin_with(3, NULL, "ACKWAIT 1000");

    (void)state;
    rig_say(r, "XREADGROUP GROUP g a COUNT 1 STREAMS s >");
    rig_pass(r, 600);
    rig_say(r, "XREADGROUP GROUP g a COUNT 1 STREAMS s >");
    rig_pass(r, 600);
    expect(r, "[[s [[1-0 [k v] :1200 :1] [2-0 [k v] :600 :1] [3-0 [k v] :0 :0]]]]",
           "XREADGROUP GROUP g b CLAIM 500 STREAMS s >");
    end(r);
}

static void a_waiting_reader_gets_what_becomes_ready(void **state)
{
    struct rig *r = begin_with(1, NULL, "ACKWAIT 1000");
    struct client c;

    (void)state;
    rig_say(r, "XREADGROUP GROUP g a STREAMS s >");
    rig_join(r, &c);
    rig_tell(r, &c, "XREADGROUP GROUP g b BLOCK 0 STREAMS s >");
    rig_pass(r, 900);
    expect_heard(r, &c, "");
    rig_pass(r, 101);
    expect_heard(r, &c, "[[s [[1-0 [k v]]]]]");
    end(r);
}

static void what_is_ready_and_gone_is_pending_no_longer(void **state)
{
    struct rig *r = begin_with(3, NULL, "ACKWAIT 1000");

    (void)state;
    rig_say(r, "XREADGROUP GROUP g a COUNT 2 STREAMS s >");
    rig_say(r, "XDEL s 1-0");
    rig_pass(r, 2000);
    expect(r, "[[s [[2-0 [k v]]]]]", "XREADGROUP GROUP g b COUNT 1 STREAMS s >");
    rig_say(r, "XDEL s 2-0");
    rig_pass(r, 2000);
    expect(r, "[[s [[3-0 [k v]]]]]", "XREADGROUP GROUP g b COUNT 1 STREAMS s >");
    assert_int_equal(pel_n(rig_group(r, "s", "g")->pel), 1);
    rig_say(r, "XDEL s 3-0");
    rig_pass(r, 2000);
    expect(r, "~", "XREADGROUP GROUP g b STREAMS s >");
    assert_int_equal(pel_n(rig_group(r, "s", "g")->pel), 0);
    end(r);
}

static void what_is_ready_and_gone_moves_to_the_dead_letters(void **state)
{
    struct rig *r = begin_with(3, NULL, "ACKWAIT 1000 DLQ dead");

    (void)state;
    rig_say(r, "XREADGROUP GROUP g a COUNT 2 STREAMS s >");
    rig_say(r, "XDEL s 1-0");
    rig_pass(r, 2000);
    expect(r, "[[s [[2-0 [k v]] [3-0 [k v]]]]]", "XREADGROUP GROUP g b STREAMS s >");
    assert_int_equal(pel_n(rig_group(r, "s", "g")->pel), 2);
    assert_int_equal(rig_len(r, "dead"), 1);
    has(r, "gone", "XRANGE dead - +");
    end(r);
}

static void at_maxpending_a_reader_waits_for_an_acknowledgement(void **state)
{
    struct rig *r = begin_with(5, NULL, "MAXPENDING 2");
    struct client c;

    (void)state;
    expect(r, "[[s [[1-0 [k v]] [2-0 [k v]]]]]", "XREADGROUP GROUP g a STREAMS s >");
    expect(r, "~", "XREADGROUP GROUP g a STREAMS s >");
    rig_join(r, &c);
    rig_tell(r, &c, "XREADGROUP GROUP g a BLOCK 0 STREAMS s >");
    rig_say(r, "XADD s 6-0 k v");
    expect_heard(r, &c, "");
    rig_say(r, "XACK s g 2-0");
    expect_heard(r, &c, "[[s [[3-0 [k v]]]]]");
    end(r);
}

/* ---- ORDERBY ---- */

static void one_entry_of_a_key_is_in_flight(void **state)
{
    struct rig *r = begin_with(7, "aabacba", "ORDERBY k");

    (void)state;
    /* 1 a, 2 a, 3 b, 4 a, 5 c, 6 b, 7 a */
    expect(r, "[[s [[1-0 [k a]] [3-0 [k b]]]]]", "XREADGROUP GROUP g a COUNT 2 STREAMS s >");
    expect(r, "[[s [[5-0 [k c]]]]]", "XREADGROUP GROUP g b STREAMS s >");
    assert_int_equal(pel_n_parked(rig_group(r, "s", "g")->pel), 4);
    expect(r, "~", "XREADGROUP GROUP g b STREAMS s >");
    rig_say(r, "XADD s 8-0 x y");
    expect(r, "[[s [[8-0 [x y]]]]]", "XREADGROUP GROUP g b STREAMS s >");
    rig_kill(r, SIMIO_KILL);
    rig_start(r);
    rig_say(r, "XACK s g 1-0 3-0");
    expect(r, "[[s [[2-0 [k a]] [6-0 [k b]]]]]", "XREADGROUP GROUP g b STREAMS s >");
    assert_int_equal(pending_of(r, 2).count, 1);
    rig_say(r, "XACK s g 2-0");
    expect(r, "[[s [[4-0 [k a]]]]]", "XREADGROUP GROUP g b NOACK STREAMS s >");
    expect(r, "[[s [[7-0 [k a]]]]]", "XREADGROUP GROUP g b STREAMS s >");
    assert_int_equal(pel_n_parked(rig_group(r, "s", "g")->pel), 0);
    end(r);
}

static void a_reader_waits_for_a_key_to_be_free(void **state)
{
    struct rig *r = begin_with(2, "a", "ORDERBY k");
    struct client c;

    (void)state;
    rig_say(r, "XREADGROUP GROUP g a STREAMS s >");
    rig_join(r, &c);
    rig_tell(r, &c, "XREADGROUP GROUP g b BLOCK 0 STREAMS s >");
    expect_heard(r, &c, "");
    rig_say(r, "XACK s g 1-0");
    expect_heard(r, &c, "[[s [[2-0 [k a]]]]]");
    end(r);
}

static void what_is_in_flight_stays_so_when_the_group_goes_back(void **state)
{
    struct rig *r = begin_with(3, "aab", "ORDERBY k");

    (void)state;
    rig_say(r, "XREADGROUP GROUP g a COUNT 1 STREAMS s >");
    rig_say(r, "XGROUP SETID s g 0");
    expect(r, "[[s [[1-0 [k a]] [3-0 [k b]]]]]", "XREADGROUP GROUP g b STREAMS s >");
    assert_int_equal(pending_of(r, 1).slot, consumer_of(r, "b")->slot);
    assert_int_equal(pending_of(r, 1).count, 1);
    rig_say(r, "XACK s g 1-0");
    expect(r, "[[s [[2-0 [k a]]]]]", "XREADGROUP GROUP g b STREAMS s >");
    end(r);
}

static void the_look_ahead_is_bounded_and_goes_on(void **state)
{
    struct rig *r = begin_with(3000, "a", "ORDERBY k");

    (void)state;
    rig_say(r, "XADD s 3001-0 k b");
    expect(r, "[[s [[1-0 [k a]]]]]", "XREADGROUP GROUP g a COUNT 1 STREAMS s >");
    expect(r, "[[s [[3001-0 [k b]]]]]", "XREADGROUP GROUP g a COUNT 1 STREAMS s >");
    assert_int_equal(pel_n_parked(rig_group(r, "s", "g")->pel), 2999);
    for (int i = 0; i < 20000; i++)
        rig_say(r, "XADD s %d-0 k %c", 4000 + i, i < 12000 ? 'a' : 'c');
    expect(r, "~", "XREADGROUP GROUP g a COUNT 1 STREAMS s >");
    assert_int_equal(pel_n_parked(rig_group(r, "s", "g")->pel), GROUP_PARKED_MAX);
    expect(r, "~", "XREADGROUP GROUP g a COUNT 1 STREAMS s >");
    rig_say(r, "XACK s g 1-0");
    expect(r, "[[s [[2-0 [k a]]]]]", "XREADGROUP GROUP g a COUNT 1 STREAMS s >");
    end(r);
}

/* ---- entries_read ---- */

struct naive { /* what Redis counts, from a list of what lives */
    struct id live[4096], last_id, max_deleted, group_last;
    size_t n;
    uint64_t added;
    int64_t read;
};

static struct id naive_first(const struct naive *x)
{
    return x->n > 0 ? x->live[0] : ID_MIN;
}

static int64_t naive_estimate(const struct naive *x, struct id id)
{
    struct id first = naive_first(x);

    if (x->added == 0)
        return 0;
    if (x->n == 0 && id_cmp(id, x->last_id) <= 0)
        return (int64_t)x->added;
    if (id_cmp(id, ID_MIN) != 0 && id_cmp(id, x->max_deleted) < 0)
        return -1;
    if (id_cmp(id, x->last_id) == 0)
        return (int64_t)x->added;
    if (id_cmp(id, x->last_id) > 0)
        return -1;
    if (id_cmp(x->max_deleted, ID_MIN) == 0 || id_cmp(x->max_deleted, first) < 0) {
        if (id_cmp(id, first) < 0)
            return (int64_t)(x->added - x->n);
        if (id_cmp(id, first) == 0)
            return (int64_t)(x->added - x->n) + 1;
    }
    return -1;
}

static void naive_deliver(struct naive *x, uint64_t count)
{
    for (size_t i = 0; i < x->n && count > 0; i++) {
        bool tomb;

        if (id_cmp(x->live[i], x->group_last) <= 0)
            continue;
        tomb = id_cmp(x->max_deleted, ID_MIN) != 0 && id_cmp(x->group_last, x->max_deleted) <= 0;
        if (x->read >= 0 && id_cmp(x->group_last, naive_first(x)) >= 0 && !tomb)
            x->read++;
        else
            x->read = naive_estimate(x, x->live[i]);
        x->group_last = x->live[i];
        count--;
    }
}

static void naive_remove(struct naive *x, size_t i)
{
    memmove(&x->live[i], &x->live[i + 1], (--x->n - i) * sizeof x->live[0]);
}

static void entries_read_is_what_redis_counts(void **state)
{
    struct random random = random_seeded("entries read");
    struct naive x = { .read = -1 };
    struct rig *r = begin_with(0, NULL, "");

    (void)state;
    r->lazy = true;
    for (unsigned step = 1; step <= 20000 && x.n < 4000; step++) {
        uint64_t what = random_below(&random, 20), n = 1 + random_below(&random, 5);

        if (what < 10) {
            rig_say(r, "XADD s %u-0 k v", step);
            x.live[x.n++] = x.last_id = (struct id){ step, 0 };
            x.added++;
        } else if (what < 13 && x.n > 0) {
            size_t i = (size_t)random_below(&random, what == 10 ? x.n : x.n < 3 ? x.n : 3);
            rig_say(r, "XDEL s %u-0", (unsigned)x.live[i].ms);
            if (id_cmp(x.live[i], x.max_deleted) > 0)
                x.max_deleted = x.live[i];
            naive_remove(&x, i);
        } else if (what == 13 && x.n > 0) {
            uint64_t left = x.n - random_below(&random, x.n < 4 ? x.n + 1 : 4);
            rig_say(r, "XTRIM s MAXLEN %u", (unsigned)left);
            while (x.n > left)
                naive_remove(&x, 0);
        } else if (what == 14 && random_below(&random, 10) == 0) {
            rig_say(r, "XGROUP SETID s g 0");
            x.group_last = ID_MIN;
            x.read = -1;
        } else {
            rig_say(r, "XREADGROUP GROUP g a COUNT %u NOACK STREAMS s >", (unsigned)n);
            naive_deliver(&x, n);
        }
        if (rig_group(r, "s", "g")->entries_read != x.read)
            fail_msg("step %u: %lld and not %lld", step,
                     (long long)rig_group(r, "s", "g")->entries_read, (long long)x.read);
    }
    end(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_entry_goes_to_one_consumer),
        cmocka_unit_test(a_restart_gives_back_who_has_what),
        cmocka_unit_test(noack_hands_out_and_keeps_nothing),
        cmocka_unit_test(limits_hold_for_all_streams_of_a_request),
        cmocka_unit_test(a_stream_that_is_named_twice_gives_what_is_left_then),
        cmocka_unit_test(what_is_wrong_is_said_as_redis_does),
        cmocka_unit_test(a_history_shows_what_the_consumer_has),
        cmocka_unit_test(claim_takes_the_longest_idle_then_new_ones),
        cmocka_unit_test(claim_finds_what_lives_behind_many_that_do_not),
        cmocka_unit_test(claim_is_forgotten_behind_a_history),
        cmocka_unit_test(waiting_readers_are_served_in_order),
        cmocka_unit_test(a_false_wake_up_does_not_restart_the_time),
        cmocka_unit_test(a_reader_is_told_that_its_group_is_gone),
        cmocka_unit_test(a_reader_goes_on_with_the_stream_that_takes_the_name),
        cmocka_unit_test(a_stream_that_begins_anew_keeps_its_readers),
        cmocka_unit_test(new_entries_do_not_wait_for_others_acknowledgements),
        cmocka_unit_test(a_reader_with_claim_wakes_when_something_is_idle_enough),
        cmocka_unit_test(several_streams_wait_for_any),
        cmocka_unit_test(inside_exec_nothing_blocks),
        cmocka_unit_test(what_is_cold_is_read_by_workers),
        cmocka_unit_test(a_stream_in_many_segments_is_read_from_where_the_group_is),
        cmocka_unit_test(many_cold_readers_are_served_in_order_from_one_load),
        cmocka_unit_test(who_waits_for_what_turns_out_to_be_gone_gets_nothing),
        cmocka_unit_test(nobody_is_forgotten_when_a_load_was_for_another),
        cmocka_unit_test(a_history_waits_for_what_another_stream_gives),
        cmocka_unit_test(a_group_may_vanish_while_something_is_loaded_for_it),
        cmocka_unit_test(what_cannot_be_read_is_told_to_each_who_needs_it),
        cmocka_unit_test(pending_entries_that_are_cold_are_read_too),
        cmocka_unit_test(inside_exec_what_is_cold_has_been_loaded),
        cmocka_unit_test(everything_at_once_is_given_in_parts),
        cmocka_unit_test(what_is_ready_comes_first),
        cmocka_unit_test(with_claim_nothing_is_handed_out_twice),
        cmocka_unit_test(a_waiting_reader_gets_what_becomes_ready),
        cmocka_unit_test(what_is_ready_and_gone_is_pending_no_longer),
        cmocka_unit_test(what_is_ready_and_gone_moves_to_the_dead_letters),
        cmocka_unit_test(at_maxpending_a_reader_waits_for_an_acknowledgement),
        cmocka_unit_test(one_entry_of_a_key_is_in_flight),
        cmocka_unit_test(a_reader_waits_for_a_key_to_be_free),
        cmocka_unit_test(what_is_in_flight_stays_so_when_the_group_goes_back),
        cmocka_unit_test(the_look_ahead_is_bounded_and_goes_on),
        cmocka_unit_test(entries_read_is_what_redis_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
