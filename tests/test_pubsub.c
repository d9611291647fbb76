/* test_pubsub.c - claims about channels, about messages between replies, and about tracked keys, on a whole engine without
 * sockets. That they are as Redis's is differential_pubsub's and differential_tracking's to show. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include "broker/engine/reply.h"
#include "broker/pubsub/pubsub.h"
#include "broker/pubsub/tracking.h"
#include "tests/lib/random.h"
#include "tests/lib/rig.h"

#define MESSAGE2(channel, n, text) \
    "*3\r\n$7\r\nmessage\r\n$1\r\n" channel "\r\n$" n "\r\n" text "\r\n"
#define MESSAGE3(channel, n, text) \
    ">3\r\n$7\r\nmessage\r\n$1\r\n" channel "\r\n$" n "\r\n" text "\r\n"
#define INVALID(n, key) ">2\r\n$10\r\ninvalidate\r\n*1\r\n$" n "\r\n" key "\r\n"
#define INVALID_ALL     ">2\r\n$10\r\ninvalidate\r\n_\r\n"

/* A client that subscribes to a channel, in either protocol. */
static void join(struct rig *r, struct client *c, int proto, const char *channel)
{
    rig_join(r, c);
    c->proto = proto;
    rig_tell(r, c, "SUBSCRIBE %s", channel);
    rig_hear(r, c);
}

/* Has `c` say something in a round, and the log do nothing. */
static void mutter(struct rig *r, struct client *c, const char *line)
{
    struct slice argv[16];
    size_t argc = 0;

    for (const char *at = line; *at != '\0'; at += strspn(at, " ")) {
        argv[argc++] = slice_of(at, strcspn(at, " "));
        at += argv[argc - 1].n;
    }
    engine_execute(&r->e, c, argv, argc);
}

static bool is_held(const struct rig *r, struct client *c)
{
    return gate_open(&c->gate, log_released_lsn(r->log), log_durable_lsn(r->log)) <
           outbuf_end(&c->out);
}

static void sound(const struct rig *r)
{
    assert_null(pubsub_check(&r->e));
    assert_null(tracking_check(&r->e));
}

/* ---- channels ---- */

static void a_long_message_is_encoded_once_for_each_protocol(void **state)
{
    static char text[2000];
    struct rig *r = rig_begin();
    struct client c[6];
    struct iovec iov[6];

    (void)state;
    memset(text, 'x', sizeof text - 1);
    for (int i = 0; i < 6; i++)
        join(r, &c[i], 2 + i % 2, "a");
    says(r, ":6\r\n", "PUBLISH a %s", text);
    for (int i = 0; i < 6; i++)
        assert_int_equal(outbuf_peek(&c[i].out, UINT64_MAX, &iov[i], 1), 1);
    for (int i = 2; i < 6; i++) {
        assert_ptr_equal(iov[i].iov_base, iov[i % 2].iov_base);
        assert_int_equal(iov[i].iov_len, iov[i % 2].iov_len);
    }
    assert_ptr_not_equal(iov[0].iov_base, iov[1].iov_base);
    for (int i = 0; i < 6; i++)
        rig_leave(r, &c[i]);
    rig_free(r);
}

static void what_is_published_inside_exec_waits_for_all_of_it(void **state)
{
    struct rig *r = rig_begin();
    struct client c;

    (void)state;
    r->config.stream_durability = LOG_ALWAYS;
    join(r, &c, 2, "a");
    engine_round_begin(&r->e);
    mutter(r, &r->c, "MULTI");
    mutter(r, &r->c, "PUBLISH a m");
    mutter(r, &r->c, "XADD s * f v");
    mutter(r, &r->c, "EXEC");
    assert_int_equal(c.gate.need_durable, r->e.state.highest_always);
    assert_true(c.gate.need_durable > 0);
    assert_true(is_held(r, &c));
    engine_round_end(&r->e);
    rig_settle(r);
    assert_false(is_held(r, &c));
    hears(r, &c, MESSAGE2("a", "1", "m"));
    rig_leave(r, &c);
    rig_free(r);
}

static void a_message_waits_for_what_its_publisher_did_before_and_for_nobody_else(void **state)
{
    struct rig *r = rig_begin();
    struct client c, other, writer;

    (void)state;
    r->config.stream_durability = LOG_ALWAYS;
    join(r, &c, 2, "a");
    join(r, &other, 2, "b");
    rig_join(r, &writer);
    engine_round_begin(&r->e);
    mutter(r, &writer, "XADD s * f v");
    mutter(r, &writer, "PUBLISH a look");
    mutter(r, &r->c, "PUBLISH b no");
    assert_int_equal(c.gate.need_durable, r->e.state.highest_always);
    assert_int_equal(other.gate.need_durable, 0);
    engine_round_end(&r->e);
    rig_settle(r);
    rig_leave(r, &c);
    rig_leave(r, &other);
    rig_leave(r, &writer);
    rig_free(r);
}

static void messages_stand_between_replies(void **state)
{
    struct rig *r = rig_begin();
    struct client c;

    (void)state;
    join(r, &c, 3, "a");
    rig_tell(r, &c, "PUBLISH a 1");
    hears(r, &c, ":1\r\n" MESSAGE3("a", "1", "1"));
    rig_tell(r, &c, "MULTI");
    rig_tell(r, &c, "PUBLISH a 2");
    rig_tell(r, &c, "PING");
    rig_hear(r, &c);
    rig_tell(r, &c, "EXEC");
    hears(r, &c, "*2\r\n:1\r\n+PONG\r\n" MESSAGE3("a", "1", "2"));
    rig_tell(r, &c, "XREAD BLOCK 0 STREAMS s $");
    rig_say(r, "PUBLISH a 3");
    hears(r, &c, MESSAGE3("a", "1", "3"));
    rig_tell(r, &r->c, "MULTI");
    rig_tell(r, &r->c, "PUBLISH a 4");
    rig_tell(r, &r->c, "XADD s 1-1 f v");
    rig_hear(r, &r->c);
    rig_tell(r, &r->c, "EXEC");
    hears(r, &c,
          "%1\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n" MESSAGE3(
              "a", "1", "4"));
    rig_leave(r, &c);
    rig_free(r);
}

/* Workers make the reply piece by piece; messages come meanwhile. */
static void a_message_does_not_cut_into_a_reply_that_workers_make(void **state)
{
    static const char last[] = MESSAGE3("a", "1", "3");
    struct rig *r = rig_begin();
    struct client c;
    const char *text;

    (void)state;
    rig_add(r, "s", 3000);
    rig_seal(r);
    says(r, OKAY, "CONFIG SET cache-bytes 65536");
    join(r, &c, 3, "a");
    r->lazy = true;
    rig_tell(r, &c, "XRANGE s - +");
    assert_non_null(c.cold);
    for (int i = 1; i <= 3; i++)
        says(r, ":1\r\n", "PUBLISH a %d", i);
    assert_int_equal(outbuf_size(&c.out), 0);
    r->lazy = false;
    rig_settle(r);
    text = rig_hear(r, &c);
    assert_int_equal(strncmp(text, "*3000\r\n", 7), 0);
    assert_string_equal(text + strlen(text) - (sizeof last - 1), last);
    text = strstr(text, "message");
    assert_non_null(text);
    assert_int_equal(strlen(text), 3 * (sizeof last - 1) - (sizeof ">3\r\n$7\r\n" - 1));
    rig_leave(r, &c);
    rig_free(r);
}

static void one_command_cannot_fill_a_subscriber_beyond_its_limit(void **state)
{
    struct rig *r = rig_begin();
    struct client slow, other;

    (void)state;
    r->config.output_pubsub.hard_bytes = 20000;
    join(r, &slow, 2, "a");
    join(r, &other, 2, "b");
    rig_tell(r, &r->c, "MULTI");
    for (int i = 0; i < 1000; i++)
        rig_tell(r, &r->c, "PUBLISH a %0100d", i);
    rig_hear(r, &r->c);
    rig_tell(r, &r->c, "EXEC");
    rig_hear(r, &r->c);
    assert_true(slow.over_limit);
    assert_true(slow.out.memory <= 20000 + OUTBUF_CHUNK + 1024);
    assert_false(other.over_limit);
    rig_leave(r, &slow);
    rig_leave(r, &other);
    rig_free(r);
}

static void names_and_subscriptions_are_limited(void **state)
{
    static char name[PUBSUB_NAME_MAX + 2];
    struct rig *r = rig_begin();
    struct client c;
    size_t each = PUBSUB_NAME_MAX + PUBSUB_EACH, n = PUBSUB_CLIENT_BYTES_MAX / each;

    (void)state;
    memset(name, 'n', PUBSUB_NAME_MAX + 1);
    rig_join(r, &c);
    c.proto = 3;
    rig_tell(r, &c, "SUBSCRIBE %s", name);
    hears(r, &c, "-ERR a channel's name is longer than 32768 bytes\r\n");
    says(r, "-ERR a channel's name is longer than 32768 bytes\r\n", "PUBLISH %s m", name);
    rig_tell(r, &c, "PSUBSCRIBE %.*s", PUBSUB_PATTERN_MAX + 1, name);
    hears(r, &c, "-ERR a pattern is longer than 1024 bytes\r\n");
    for (size_t i = 0; i <= n; i++) {
        snprintf(name, 10, "%09zu", i);
        name[9] = 'n';
        rig_tell(r, &c, "SUBSCRIBE %.*s", PUBSUB_NAME_MAX, name);
        assert_int_equal(rig_hear(r, &c)[0], i < n ? '>' : '-');
    }
    assert_int_equal(pubsub_n(&c, PUBSUB_CHANNEL), n);
    sound(r);
    rig_leave(r, &c);
    sound(r);
    assert_int_equal(pubsub_n_names(&r->e, PUBSUB_CHANNEL), 0);
    rig_free(r);
}

static void patterns_are_limited_for_all_clients_together(void **state)
{
    struct rig *r = rig_begin();
    struct client c[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        rig_join(r, &c[i]);
        c[i].proto = 3;
    }
    engine_round_begin(&r->e);
    for (int i = 0; i <= PUBSUB_PATTERNS_MAX; i++) {
        char line[64];
        snprintf(line, sizeof line, "PSUBSCRIBE p%d", i);
        mutter(r, &c[i % 2], line);
    }
    mutter(r, &c[1], "PSUBSCRIBE p0"); /* is there */
    engine_round_end(&r->e);
    assert_int_equal(pubsub_n_names(&r->e, PUBSUB_PATTERN), PUBSUB_PATTERNS_MAX);
    assert_int_equal(pubsub_n(&c[0], PUBSUB_PATTERN), PUBSUB_PATTERNS_MAX / 2);
    assert_int_equal(pubsub_n(&c[1], PUBSUB_PATTERN), PUBSUB_PATTERNS_MAX / 2 + 1);
    for (int i = 0; i < 2; i++)
        rig_leave(r, &c[i]);
    sound(r);
    rig_free(r);
}

static void a_random_life_of_subscriptions_goes_as_a_table_says(void **state)
{
    enum { CLIENTS = 5, NAMES = 4, STEPS = 4000 };
    static const char *const names[NAMES] = { "a", "b", "a*", "?" };
    static const bool matches[NAMES][2] = {
        { true, false }, { false, true }, { true, false }, { true, true }
    };
    static const char *const words[PUBSUB_KINDS] = { "", "P", "S" };
    bool on[CLIENTS][PUBSUB_KINDS][NAMES] = { { { false } } };
    struct rig *r = rig_begin();
    struct client c[CLIENTS];
    struct random rng = random_seeded("subscriptions");
    size_t steps = random_rounds(STEPS);

    (void)state;
    for (int i = 0; i < CLIENTS; i++) {
        rig_join(r, &c[i]);
        c[i].proto = 3;
    }
    for (size_t step = 0; step < steps; step++) {
        size_t i = random_below(&rng, CLIENTS), kind = random_below(&rng, PUBSUB_KINDS);
        size_t name = random_below(&rng, NAMES), to = random_below(&rng, 2), want = 0;
        bool join_it = random_below(&rng, 2) == 0;

        if (random_below(&rng, 40) == 0) {
            rig_leave(r, &c[i]);
            rig_join(r, &c[i]);
            c[i].proto = 3;
            memset(on[i], 0, sizeof on[i]);
            continue;
        }
        rig_tell(r, &c[i], "%s%sSUBSCRIBE %s", words[kind], join_it ? "" : "UN", names[name]);
        on[i][kind][name] = join_it;
        for (size_t k = 0; k < CLIENTS; k++) {
            want += on[k][PUBSUB_CHANNEL][to];
            for (size_t n = 0; n < NAMES; n++)
                want += on[k][PUBSUB_PATTERN][n] && matches[n][to];
            rig_hear(r, &c[k]);
        }
        assert_int_equal(strtoull(rig_say(r, "PUBLISH %s m", names[to]) + 1, NULL, 10), want);
        sound(r);
    }
    for (int i = 0; i < CLIENTS; i++)
        rig_leave(r, &c[i]);
    rig_free(r);
}

/* ---- tracking ---- */

static void track(struct rig *r, struct client *c, const char *how)
{
    rig_join(r, c);
    c->proto = 3;
    rig_tell(r, c, "CLIENT TRACKING ON%s", how);
    hears(r, c, OKAY);
}

static void a_key_that_was_read_is_told_of_once(void **state)
{
    struct rig *r = rig_begin();
    struct client c;

    (void)state;
    track(r, &c, "");
    rig_tell(r, &c, "XLEN s");
    rig_hear(r, &c);
    rig_say(r, "XADD s 1-1 f v");
    hears(r, &c, INVALID("1", "s"));
    rig_say(r, "XADD s 2-1 f v");
    hears(r, &c, "");
    sound(r);
    rig_leave(r, &c);
    rig_free(r);
}

static void expiry_and_flush_are_changes(void **state)
{
    struct rig *r = rig_begin();
    struct client c, b;

    (void)state;
    track(r, &c, "");
    track(r, &b, " BCAST");
    rig_say(r, "XADD s 1-1 f v");
    says(r, ":1\r\n", "PEXPIRE s 1000");
    rig_hear(r, &b);
    rig_tell(r, &c, "XLEN s");
    rig_hear(r, &c);
    rig_pass(r, 2000);
    hears(r, &c, INVALID("1", "s"));
    hears(r, &b, INVALID("1", "s"));
    rig_tell(r, &c, "XLEN s");
    rig_hear(r, &c);
    rig_say(r, "FLUSHDB");
    hears(r, &c, INVALID_ALL);
    hears(r, &b, INVALID_ALL);
    rig_say(r, "XADD s 1-1 f v");
    hears(r, &c, ""); /* forgotten with all others */
    sound(r);
    rig_leave(r, &c);
    rig_leave(r, &b);
    rig_free(r);
}

static void changes_of_a_round_are_told_together_in_order(void **state)
{
    struct rig *r = rig_begin();
    struct client all, quiet;

    (void)state;
    track(r, &all, " BCAST PREFIX k");
    track(r, &quiet, " BCAST PREFIX k NOLOOP");
    engine_round_begin(&r->e);
    mutter(r, &r->c, "XADD k2 1-1 f v");
    mutter(r, &quiet, "XADD k1 1-1 f v");
    mutter(r, &r->c, "XADD other 1-1 f v");
    mutter(r, &r->c, "XADD k2 2-1 f v");
    mutter(r, &quiet, "XADD k2 3-1 f v"); /* its own as well, but not alone */
    engine_round_end(&r->e);
    rig_settle(r);
    hears(r, &all, ">2\r\n$10\r\ninvalidate\r\n*2\r\n$2\r\nk1\r\n$2\r\nk2\r\n");
    hears(r, &quiet, "$3\r\n1-1\r\n$3\r\n3-1\r\n" INVALID("2", "k2"));
    sound(r);
    rig_leave(r, &all);
    rig_leave(r, &quiet);
    rig_free(r);
}

static void whoever_has_left_is_not_looked_at(void **state)
{
    struct rig *r = rig_begin();
    struct client all, gone;

    (void)state;
    track(r, &all, " BCAST");
    track(r, &gone, " BCAST NOLOOP");
    engine_round_begin(&r->e);
    mutter(r, &gone, "XADD k 1-1 f v");
    rig_leave(r, &gone);
    engine_round_end(&r->e);
    rig_settle(r);
    hears(r, &all, INVALID("1", "k"));
    sound(r);
    rig_leave(r, &all);
    rig_free(r);
}

static void the_table_is_kept_to_its_limit_by_telling(void **state)
{
    struct rig *r = rig_begin();
    struct tracking_stats stats;
    struct client c;

    (void)state;
    r->config.tracking_table_max_keys = 100;
    track(r, &c, "");
    for (int i = 0; i < 1000; i++)
        rig_tell(r, &c, "EXISTS k%d", i);
    tracking_get_stats(&r->e, &stats);
    assert_int_equal(stats.n_keys, 100);
    assert_int_equal(stats.n_items, 100);
    sound(r);
    rig_hear(r, &c);
    rig_say(r, "CLIENT TRACKING OFF");
    rig_tell(r, &c, "CLIENT TRACKING OFF");
    rig_settle(r);
    tracking_get_stats(&r->e, &stats);
    assert_int_equal(stats.n_keys + stats.n_items + stats.n_clients, 0);
    rig_leave(r, &c);
    rig_free(r);
}

/* Many clients that read few keys are limited too. */
static void clients_of_a_key_are_limited(void **state)
{
    enum { CLIENTS = 3 * TRACKING_ITEMS_A_KEY };
    static struct client c[CLIENTS];
    struct rig *r = rig_begin();
    struct tracking_stats stats;

    (void)state;
    r->config.tracking_table_max_keys = 1;
    for (int i = 0; i < CLIENTS; i++) {
        track(r, &c[i], "");
        rig_tell(r, &c[i], "EXISTS k");
        rig_hear(r, &c[i]);
        tracking_get_stats(&r->e, &stats);
        assert_true(stats.n_items < 2 * TRACKING_ITEMS_A_KEY);
    }
    sound(r);
    for (int i = 0; i < CLIENTS; i++)
        rig_leave(r, &c[i]);
    rig_free(r);
}

static void prefixes_are_limited_and_must_not_overlap(void **state)
{
    static char line[(TRACKING_PREFIXES_MAX + 1) * 16];
    struct rig *r = rig_begin();
    struct client c;
    size_t n = 0;

    (void)state;
    rig_join(r, &c);
    c.proto = 3;
    for (int i = 0; i < 200; i++)
        n += (size_t)snprintf(line + n, sizeof line - n, " PREFIX %04d", i);
    rig_tell(r, &c, "CLIENT TRACKING ON BCAST%s", line);
    hears(r, &c, OKAY);
    rig_tell(r, &c, "CLIENT TRACKING ON BCAST PREFIX 0001x");
    assert_non_null(strstr(rig_hear(r, &c), "overlaps with an existing prefix '0001'"));
    rig_tell(r, &c, "CLIENT TRACKING ON BCAST PREFIX %0*d", TRACKING_PREFIX_MAX + 1, 9);
    rig_hear(r, &c);
    sound(r);
    assert_int_equal(tracking_n_prefixes(&c), 200);
    for (int i = 200; i < 2 * TRACKING_PREFIXES_MAX; i++)
        rig_tell(r, &c, "CLIENT TRACKING ON BCAST PREFIX %04d", i);
    assert_int_equal(tracking_n_prefixes(&c), TRACKING_PREFIXES_MAX);
    sound(r);
    rig_leave(r, &c);
    rig_free(r);
}

static void a_random_life_of_trackers_keeps_all_tables(void **state)
{
    enum { CLIENTS = 6, STEPS = 4000 };
    static const char *const ways[] = {
        "ON",       "ON NOLOOP", "ON BCAST",         "ON BCAST PREFIX k1 PREFIX k2",
        "ON OPTIN", "OFF",       "ON REDIRECT %llu", "ON BCAST PREFIX k3 REDIRECT %llu NOLOOP"
    };
    enum { WAYS = sizeof ways / sizeof ways[0] };
    struct rig *r = rig_begin();
    struct client c[CLIENTS];
    struct random rng = random_seeded("trackers");
    size_t steps = random_rounds(STEPS);

    (void)state;
    r->config.tracking_table_max_keys = 20;
    for (int i = 0; i < CLIENTS; i++)
        rig_join(r, &c[i]);
    for (size_t step = 0; step < steps; step++) {
        struct client *x = &c[random_below(&rng, CLIENTS)], *y = &c[random_below(&rng, CLIENTS)];
        int key = (int)random_below(&rng, 40);
        char how[64];

        switch (random_below(&rng, 8)) {
        case 0:
            snprintf(how, sizeof how, ways[random_below(&rng, WAYS)], (unsigned long long)y->id);
            rig_tell(r, x, "CLIENT TRACKING %s", how);
            break;
        case 1: rig_tell(r, x, "HELLO %d", 2 + (int)random_below(&rng, 2)); break;
        case 2:
            if (random_below(&rng, 5) == 0) {
                rig_leave(r, x);
                rig_join(r, x);
            }
            break;
        case 3: rig_tell(r, x, random_below(&rng, 9) == 0 ? "FLUSHALL" : "SUBSCRIBE a"); break;
        case 4: rig_tell(r, x, "XADD k%d * f v", key); break;
        case 5: rig_tell(r, x, "RESET"); break;
        default: rig_tell(r, x, "EXISTS k%d k%d", key, key + 1); break;
        }
        for (int i = 0; i < CLIENTS; i++)
            rig_hear(r, &c[i]);
        sound(r);
    }
    for (int i = 0; i < CLIENTS; i++)
        rig_leave(r, &c[i]);
    sound(r);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_message_is_encoded_once_for_each_protocol),
        cmocka_unit_test(what_is_published_inside_exec_waits_for_all_of_it),
        cmocka_unit_test(a_message_waits_for_what_its_publisher_did_before_and_for_nobody_else),
        cmocka_unit_test(messages_stand_between_replies),
        cmocka_unit_test(a_message_does_not_cut_into_a_reply_that_workers_make),
        cmocka_unit_test(one_command_cannot_fill_a_subscriber_beyond_its_limit),
        cmocka_unit_test(names_and_subscriptions_are_limited),
        cmocka_unit_test(patterns_are_limited_for_all_clients_together),
        cmocka_unit_test(a_random_life_of_subscriptions_goes_as_a_table_says),
        cmocka_unit_test(a_key_that_was_read_is_told_of_once),
        cmocka_unit_test(expiry_and_flush_are_changes),
        cmocka_unit_test(changes_of_a_round_are_told_together_in_order),
        cmocka_unit_test(whoever_has_left_is_not_looked_at),
        cmocka_unit_test(the_table_is_kept_to_its_limit_by_telling),
        cmocka_unit_test(clients_of_a_key_are_limited),
        cmocka_unit_test(prefixes_are_limited_and_must_not_overlap),
        cmocka_unit_test(a_random_life_of_trackers_keeps_all_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
