/* test_hashes.c - hashes on a simulated disk: fields that expire with the clock handed in, HGETEX, HSETEX, HGETDEL, and what a
 * restart keeps. What Redis 7.0 has too is compared with it in tests/e2e/differential_hashes.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "broker/cache/cache.h"
#include "tests/lib/random.h"
#include "tests/lib/rig.h"

/* What a command says, now and, if it only reads, after the process was killed and started again. */
#define keeps(r, want, ...)                                 \
    do {                                                    \
        assert_string_equal(rig_say(r, __VA_ARGS__), want); \
        rig_restart(r, true);                               \
        assert_string_equal(rig_say(r, __VA_ARGS__), want); \
    } while (0)

/* The last words of the messages that the client has been sent, separated by blanks. */
static void hears_events(struct rig *r, struct client *c, const char *want)
{
    char text[256] = "";
    size_t at = 0;

    for (const char *p = rig_hear(r, c); (p = strstr(p, "$7\r\nmessage\r\n")) != NULL;) {
        p = strstr(p, "__:h\r\n") + strlen("__:h\r\n");
        p = strchr(p, '\n') + 1;
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%.*s", at == 0 ? "" : " ",
                               (int)strcspn(p, "\r"), p);
    }
    assert_string_equal(text, want);
}

static void two_fields(struct rig *r)
{
    says(r, ":2\r\n", "HSET h a 1 b 2");
}

/* ---- HEXPIRE and its kin ---- */

/* The command is the first of its round, so no record has removed the field yet. */
static void a_field_is_gone_at_its_millisecond_for_every_reader(void **state)
{
    static const struct {
        const char *command, *before, *after;
    } cases[] = {
        { "HGET h a", "$1\r\n1\r\n", "$-1\r\n" },
        { "HMGET h a b", "*2\r\n$1\r\n1\r\n$1\r\n2\r\n", "*2\r\n$-1\r\n$1\r\n2\r\n" },
        { "HLEN h", ":2\r\n", ":1\r\n" },
        { "HEXISTS h a", ":1\r\n", ":0\r\n" },
        { "HSTRLEN h a", ":1\r\n", ":0\r\n" },
        { "HGETALL h", "*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n",
          "*2\r\n$1\r\nb\r\n$1\r\n2\r\n" },
        { "HKEYS h", "*2\r\n$1\r\na\r\n$1\r\nb\r\n", "*1\r\n$1\r\nb\r\n" },
        { "HVALS h", "*2\r\n$1\r\n1\r\n$1\r\n2\r\n", "*1\r\n$1\r\n2\r\n" },
        { "HSCAN h 0 NOVALUES", "*2\r\n$1\r\n0\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n",
          "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nb\r\n" },
        { "HRANDFIELD h 5", NULL, "*1\r\n$1\r\nb\r\n" },
        { "HRANDFIELD h -2", NULL, "*2\r\n$1\r\nb\r\n$1\r\nb\r\n" },
        { "HRANDFIELD h", NULL, "$1\r\nb\r\n" },
        { "HTTL h FIELDS 1 a", "*1\r\n:1\r\n", "*1\r\n:-2\r\n" },
        { "HSETNX h a 9", ":0\r\n", ":1\r\n" },
        { "HSET h a 9", ":0\r\n", ":1\r\n" },
        { "HDEL h a", ":1\r\n", ":0\r\n" },
        { "HINCRBY h a 5", ":6\r\n", ":5\r\n" },
        { "HINCRBYFLOAT h a 5", "$1\r\n6\r\n", "$1\r\n5\r\n" },
        { "HEXPIRE h 5 FIELDS 1 a", "*1\r\n:1\r\n", "*1\r\n:-2\r\n" },
        { "HPERSIST h FIELDS 1 a", "*1\r\n:1\r\n", "*1\r\n:-2\r\n" },
        { "HGETEX h FIELDS 1 a", "*1\r\n$1\r\n1\r\n", "*1\r\n$-1\r\n" },
        { "HGETDEL h FIELDS 1 a", "*1\r\n$1\r\n1\r\n", "*1\r\n$-1\r\n" },
        { "HSETEX h FXX FIELDS 1 a 9", ":1\r\n", ":0\r\n" },
    };
    struct rig *r = rig_begin();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int late = 0; late < 2; late++) {
            const char *want = late ? cases[i].after : cases[i].before;
            print_message("  %s\n", cases[i].command);
            rig_say(r, "DEL h");
            two_fields(r);
            says(r, "*1\r\n:1\r\n", "HPEXPIRE h 1000 FIELDS 1 a");
            simio_advance_ms(r->disk, late ? 1000 : 999);
            if (want != NULL)
                says(r, want, "%s", cases[i].command);
        }
    }
    rig_free(r);
}

static void expired_fields_leave_by_themselves_and_with_the_last_the_key(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    two_fields(r);
    says(r, "*2\r\n:1\r\n:1\r\n", "HEXPIRE h 10 FIELDS 2 a b");
    rig_pass(r, 9999);
    says(r, ":2\r\n", "HLEN h");
    simio_advance_ms(r->disk, 1);
    says(r, "*0\r\n", "HGETALL h");
    rig_pass(r, 50);
    assert_null(state_find(&r->e.state, 0, slice_str("h")));
    says(r, "+none\r\n", "TYPE h");
    rig_restart(r, true);
    says(r, "+none\r\n", "TYPE h");
    says(r, ":1\r\n", "HSET h a 9");
    says(r, "*1\r\n:-1\r\n", "HTTL h FIELDS 1 a");
    rig_free(r);
}

static void times_survive_a_restart_and_pass_while_nothing_runs(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    says(r, ":3\r\n", "HSET h a 1 b 2 c 3");
    says(r, "*2\r\n:1\r\n:1\r\n", "HPEXPIRE h 5000 FIELDS 2 a b");
    says(r, "*1\r\n:1\r\n", "HPEXPIRE h 9000 FIELDS 1 b");
    rig_restart(r, true);
    has(r, "*3\r\n:5000\r\n:9000\r\n:-1\r\n", "HPTTL h FIELDS 3 a b c");
    rig_kill(r, SIMIO_KILL);
    simio_advance_ms(r->disk, 5000);
    rig_start(r);
    says(r, "*3\r\n$-1\r\n$1\r\n2\r\n$1\r\n3\r\n", "HMGET h a b c");
    rig_settle(r);
    says(r, ":2\r\n", "HLEN h");
    rig_free(r);
}

static void conditions_decide_field_by_field(void **state)
{
    static const struct {
        const char *command, *want;
    } steps[] = {
        { "HPEXPIRE h 1000 XX FIELDS 2 a b", "*2\r\n:0\r\n:0\r\n" },
        { "HPEXPIRE h 1000 GT FIELDS 1 a", "*1\r\n:0\r\n" }, /* without one it is later than any */
        { "HPEXPIRE h 1000 NX FIELDS 2 a x", "*2\r\n:1\r\n:-2\r\n" },
        { "HPEXPIRE h 2000 NX FIELDS 2 a b", "*2\r\n:0\r\n:1\r\n" },
        { "HPEXPIRE h 1500 GT FIELDS 2 a b", "*2\r\n:1\r\n:0\r\n" },
        { "HPEXPIRE h 1800 LT FIELDS 3 a b c", "*3\r\n:0\r\n:1\r\n:1\r\n" },
        { "HPEXPIRE h 9000 xx FIELDS 2 a c", "*2\r\n:1\r\n:1\r\n" },
        { "HPEXPIRETIME h FIELDS 3 a b c",
          "*3\r\n:1700000009000\r\n:1700000001800\r\n:1700000009000\r\n" },
        { "HEXPIREAT h 1700000100 FIELDS 1 a", "*1\r\n:1\r\n" },
        { "HPEXPIREAT h 1700000100001 FIELDS 1 b", "*1\r\n:1\r\n" },
        { "HEXPIRETIME h FIELDS 3 a b x", "*3\r\n:1700000100\r\n:1700000101\r\n:-2\r\n" },
        { "HTTL h FIELDS 2 a b", "*2\r\n:100\r\n:101\r\n" },
        { "HPTTL h FIELDS 2 a b", "*2\r\n:100000\r\n:100001\r\n" },
        { "HPERSIST h FIELDS 3 a a x", "*3\r\n:1\r\n:-1\r\n:-2\r\n" },
        { "HTTL h FIELDS 2 a b", "*2\r\n:-1\r\n:101\r\n" },
    };
    struct rig *r = rig_begin();

    (void)state;
    says(r, ":3\r\n", "HSET h a 1 b 2 c 3");
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        print_message("  %s\n", steps[i].command);
        says(r, steps[i].want, "%s", steps[i].command);
    }
    keeps(r, "*2\r\n:1700000101\r\n:-1\r\n", "HEXPIRETIME h FIELDS 2 b a");
    rig_free(r);
}

static void a_time_that_has_passed_removes_fields(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    says(r, ":3\r\n", "HSET h a 1 b 2 c 3");
    says(r, "*3\r\n:2\r\n:-2\r\n:-2\r\n", "HEXPIRE h 0 FIELDS 3 a a x");
    says(r, "*1\r\n:0\r\n", "HEXPIREAT h 1 GT FIELDS 1 b");
    keeps(r, ":2\r\n", "HLEN h");
    says(r, "*2\r\n:2\r\n:2\r\n", "HPEXPIREAT h 1 FIELDS 2 b c");
    keeps(r, "+none\r\n", "TYPE h");
    rig_free(r);
}

static void a_field_named_twice_is_the_second_time_what_it_has_become(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    two_fields(r);
    says(r, "*3\r\n:1\r\n:0\r\n:1\r\n", "HEXPIRE h 10 NX FIELDS 3 a a b");
    says(r, "*2\r\n:1\r\n:1\r\n", "HEXPIRE h 20 FIELDS 2 a a");
    says(r, "*2\r\n:1\r\n:0\r\n", "HEXPIRE h 30 GT FIELDS 2 a a");
    says(r, "*3\r\n$1\r\n1\r\n$-1\r\n$1\r\n2\r\n", "HGETDEL h FIELDS 3 a a b");
    says(r, ":0\r\n", "EXISTS h");
    two_fields(r);
    says(r, "*2\r\n$1\r\n1\r\n$-1\r\n", "HGETEX h EX 0 FIELDS 2 a a");
    says(r, ":1\r\n", "HDEL h b b b");
    says(r, ":0\r\n", "EXISTS h");
    rig_free(r);
}

static void setting_a_value_ends_its_time_but_adding_to_it_does_not(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    says(r, ":3\r\n", "HSET h a 1 b 2 c 3");
    says(r, "*3\r\n:1\r\n:1\r\n:1\r\n", "HEXPIRE h 100 FIELDS 3 a b c");
    says(r, ":0\r\n", "HSET h a 5");
    says(r, ":3\r\n", "HINCRBY h b 1");
    says(r, "$3\r\n3.5\r\n", "HINCRBYFLOAT h c 0.5");
    keeps(r, "*3\r\n:-1\r\n:100\r\n:100\r\n", "HTTL h FIELDS 3 a b c");
    says(r, "*1\r\n:-1\r\n", "HTTL h FIELDS 1 a");
    rig_free(r);
}

static void renaming_and_copying_keep_the_times_of_fields(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    two_fields(r);
    says(r, "*1\r\n:1\r\n", "HEXPIRE h 10 FIELDS 1 a");
    says(r, OKAY, "RENAME h g");
    says(r, ":1\r\n", "COPY g h");
    keeps(r, "*2\r\n:10\r\n:-1\r\n", "HTTL g FIELDS 2 a b");
    says(r, "*2\r\n:10\r\n:-1\r\n", "HTTL h FIELDS 2 a b");
    rig_pass(r, 10000);
    says(r, "*2\r\n$1\r\nb\r\n$1\r\n2\r\n", "HGETALL g");
    says(r, "*2\r\n$1\r\nb\r\n$1\r\n2\r\n", "HGETALL h");
    rig_free(r);
}

static bool is_cold(struct rig *r, const char *key)
{
    return state_find(&r->e.state, 0, slice_str(key))->flags & OBJECT_COLD;
}

static void after_a_start_fields_expire_without_being_asked_for(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    two_fields(r);
    says(r, ":1\r\n", "HSETEX g PX 5000 FIELDS 2 a 1 b 2");
    rig_seal(r);
    rig_restart(r, false);
    assert_true(is_cold(r, "h"));
    says(r, ":2\r\n", "HLEN h");
    assert_true(is_cold(r, "h"));
    assert_false(is_cold(r, "g")); /* nobody else would know the time */
    rig_pass(r, 4999);
    says(r, ":2\r\n", "HLEN g");
    simio_advance_ms(r->disk, 1);
    says(r, ":0\r\n", "HLEN g");
    rig_pass(r, 50); /* by the wheel, whose slots are some milliseconds wide */
    assert_null(state_find(&r->e.state, 0, slice_str("g")));
    says(r, ":0\r\n", "EXISTS g");
    keeps(r, "*2\r\n$1\r\n1\r\n$1\r\n2\r\n", "HVALS h");
    rig_free(r);
}

static void many_fields_may_expire_at_once(void **state)
{
    enum { N = 3000 };
    struct rig *r = rig_begin();

    (void)state;
    for (int i = 0; i < N; i++) {
        rig_say(r, "HSET h f%d %d", i, i);
        if (i % 10 != 0)
            says(r, "*1\r\n:1\r\n", "HPEXPIREAT h 1700000060000 FIELDS 1 f%d", i);
    }
    rig_pass(r, 60000);
    says(r, ":300\r\n", "HLEN h");
    assert_int_equal(cache_length(state_find(&r->e.state, 0, slice_str("h"))), 300);
    keeps(r, "$3\r\n100\r\n", "HGET h f100");
    rig_free(r);
}

/* ---- HGETEX, HSETEX, HGETDEL ---- */

static void hgetex_reads_and_sets_times(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    two_fields(r);
    says(r, "*3\r\n$1\r\n1\r\n$-1\r\n$1\r\n2\r\n", "HGETEX h FIELDS 3 a x b");
    says(r, "*2\r\n:-1\r\n:-1\r\n", "HTTL h FIELDS 2 a b");
    says(r, "*1\r\n$1\r\n1\r\n", "HGETEX h EX 100 FIELDS 1 a");
    says(r, "*1\r\n$1\r\n2\r\n", "HGETEX h pxat 1800000000000 FIELDS 1 b");
    keeps(r, "*1\r\n:1800000000\r\n", "HEXPIRETIME h FIELDS 1 b");
    says(r, "*2\r\n$1\r\n1\r\n$1\r\n2\r\n", "HGETEX h PERSIST FIELDS 2 a b");
    keeps(r, "*2\r\n:-1\r\n:-1\r\n", "HTTL h FIELDS 2 a b");
    says(r, "*1\r\n$1\r\n1\r\n", "HGETEX h EXAT 1 FIELDS 1 a");
    says(r, "*1\r\n$-1\r\n", "HGETEX h PX 5 FIELDS 1 a");
    says(r, "*1\r\n$1\r\n2\r\n", "HGETEX h PX 0 FIELDS 1 b");
    says(r, ":0\r\n", "EXISTS h");
    says(r, "*2\r\n$-1\r\n$-1\r\n", "HGETEX h EX 5 FIELDS 2 a b");
    says(r, ":0\r\n", "EXISTS h");
    rig_free(r);
}

static void hsetex_sets_all_or_nothing(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    says(r, ":0\r\n", "HSETEX h FXX FIELDS 1 a 1");
    says(r, ":0\r\n", "EXISTS h");
    says(r, ":1\r\n", "HSETEX h FNX EX 100 FIELDS 2 a 1 b 2");
    says(r, ":0\r\n", "HSETEX h FNX FIELDS 2 c 3 b 9");
    says(r, ":0\r\n", "HSETEX h FXX FIELDS 2 c 3 b 9");
    says(r, ":2\r\n", "HLEN h");
    keeps(r, "*2\r\n:100\r\n:100\r\n", "HTTL h FIELDS 2 a b");
    says(r, ":1\r\n", "HSETEX h EX 60 FXX FIELDS 1 a 5");
    says(r, ":1\r\n", "HSETEX h KEEPTTL FIELDS 2 a 6 c 7");
    says(r, ":1\r\n", "HSETEX h FIELDS 1 b 8");
    says(r, "*3\r\n:60\r\n:-1\r\n:-1\r\n", "HTTL h FIELDS 3 a b c");
    keeps(r, "*3\r\n$1\r\n6\r\n$1\r\n8\r\n$1\r\n7\r\n", "HMGET h a b c");
    says(r, ":1\r\n", "HSETEX h EXAT 1 FIELDS 3 a 1 x 2 a 3");
    keeps(r, ":2\r\n", "HLEN h");
    says(r, ":1\r\n", "HSETEX h PX 0 FIELDS 2 b 1 c 2");
    says(r, ":0\r\n", "EXISTS h");
    says(r, ":1\r\n", "HSETEX none EX 0 FIELDS 1 b 1");
    says(r, ":0\r\n", "EXISTS none");
    rig_free(r);
}

static void hgetdel_reads_and_removes(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    says(r, ":3\r\n", "HSET h a 1 b 2 c 3");
    says(r, "*2\r\n$1\r\n1\r\n$-1\r\n", "HGETDEL h FIELDS 2 a x");
    keeps(r, ":2\r\n", "HLEN h");
    says(r, "*2\r\n$1\r\n2\r\n$1\r\n3\r\n", "HGETDEL h fields 2 b c");
    keeps(r, "+none\r\n", "TYPE h");
    says(r, "*1\r\n$-1\r\n", "HGETDEL h FIELDS 1 a");
    rig_free(r);
}

/* ---- errors ---- */

#define WRONG(name)  "-ERR wrong number of arguments for '" name "' command\r\n"
#define MISPLACED    "-ERR Mandatory argument FIELDS is missing or not at the right position\r\n"
#define MISMATCH     "-ERR The `numfields` parameter must match the number of arguments\r\n"
#define NO_NUMBER    "-ERR Number of fields must be a positive integer\r\n"
#define SMALL_NUMBER "-ERR Parameter `numFields` should be greater than 0\r\n"
#define NEGATIVE     "-ERR invalid expire time, must be >= 0\r\n"
#define INVALID(cmd) "-ERR invalid expire time in '" cmd "' command\r\n"
#define NO_INTEGER   "-ERR value is not an integer or out of range\r\n"
#define WRONGTYPE    "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"

static void errors_are_those_of_redis_and_come_in_its_order(void **state)
{
    static const struct {
        const char *command, *want;
    } cases[] = {
        { "HEXPIRE h 1 FIELDS 1", WRONG("hexpire") },
        { "HEXPIRE s x FIELD 0 a", WRONGTYPE },
        { "HEXPIRE h x FIELD 0 a", NO_INTEGER },
        { "HEXPIRE h -1 FIELD 0 a", NEGATIVE },
        { "HEXPIRE h 70368744178 FIELDS 1 a", INVALID("hexpire") },
        { "HEXPIRE h 9223372036854775807 FIELDS 1 a", INVALID("hexpire") },
        { "HPEXPIRE h 70368744177663 FIELDS 1 a", INVALID("hpexpire") },
        { "HEXPIREAT h 70368744178 FIELDS 1 a", INVALID("hexpireat") },
        { "HPEXPIREAT h 70368744177664 FIELDS 1 a", INVALID("hpexpireat") },
        { "HEXPIRE h 1 FIELD 1 a", MISPLACED },
        { "HEXPIRE h 1 NX GT FIELDS 1 a", MISPLACED },
        { "HEXPIRE h 1 FIELDS 0 a", SMALL_NUMBER },
        { "HEXPIRE h 1 FIELDS x a", SMALL_NUMBER },
        { "HEXPIRE h 1 FIELDS -5 a", SMALL_NUMBER },
        { "HEXPIRE h 1 FIELDS 9223372036854775808 a", SMALL_NUMBER },
        { "HEXPIRE h 1 FIELDS 2 a", MISMATCH },
        { "HEXPIRE h 1 NX FIELDS 1", MISMATCH },
        { "HEXPIRE h 1 FIELDS 9223372036854775807 a", MISMATCH },
        { "HEXPIRE h 1 FIELDS 1 a NX", MISMATCH },
        { "HTTL h FIELDS 1", WRONG("httl") },
        { "HTTL s FIELD 0 a", WRONGTYPE },
        { "HTTL h FIELD 1 a", MISPLACED },
        { "HPTTL h FIELDS 0 a", NO_NUMBER },
        { "HEXPIRETIME h FIELDS 2 a", MISMATCH },
        { "HPEXPIRETIME h FIELDS 9223372036854775807 a", MISMATCH },
        { "HPERSIST s FIELD 0 a", WRONGTYPE },
        { "HPERSIST h FIELD 1 a", MISPLACED },
        { "HPERSIST h FIELDS 0 a", NO_NUMBER },
        { "HPERSIST h FIELDS 3 a b", MISMATCH },
        { "HGETDEL h FIELDS 1", WRONG("hgetdel") },
        { "HGETDEL s FIELD 0 a", WRONGTYPE },
        { "HGETDEL h FIELD 1 a", MISPLACED },
        { "HGETDEL h FIELDS x a", NO_NUMBER },
        { "HGETDEL h FIELDS 9223372036854775807 a", MISMATCH },
        { "HGETEX h FIELDS 1", WRONG("hgetex") },
        { "HGETEX s EX x FIELD 0 a", WRONGTYPE },
        { "HGETEX h EX x FIELDS 1 a", NO_INTEGER },
        { "HGETEX h EX -1 FIELDS 1 a", NEGATIVE },
        { "HGETEX h PXAT 70368744177664 FIELDS 1 a", INVALID("hgetex") },
        { "HGETEX h EX 1 FIELDS", WRONG("hgetex") },
        { "HGETEX h PERSIST FIELDS 1", MISMATCH },
        { "HGETEX h EX 1 PERSIST FIELDS 1 a", MISPLACED },
        { "HGETEX h FOO FIELDS 1 a", MISPLACED },
        { "HGETEX h FIELDS 0 a", NO_NUMBER },
        { "HGETEX h FIELDS 2147483648 a", MISMATCH },
        { "HSETEX h FIELDS 1 a", WRONG("hsetex") },
        { "HSETEX s FIELDS 1 a 1", WRONGTYPE },
        { "HSETEX s FOO FIELDS 1 a 1", "-ERR unknown argument: FOO\r\n" },
        { "HSETEX h FNX FXX FIELDS 1 a 1",
          "-ERR Only one of FXX or FNX arguments can be specified\r\n" },
        { "HSETEX h FNX FNX FIELDS 1 a 1",
          "-ERR Only one of FXX or FNX arguments can be specified\r\n" },
        { "HSETEX h EX 1 KEEPTTL FIELDS 1 a 1",
          "-ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified\r\n" },
        { "HSETEX h KEEPTTL KEEPTTL FNX PX", "-ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL "
                                             "arguments can be specified\r\n" },
        { "HSETEX h FNX FIELDS 1 a", WRONG("hsetex") },
        { "HSETEX h FIELDS x a 1", "-ERR invalid number of fields\r\n" },
        { "HSETEX h FIELDS 0 a 1", "-ERR invalid number of fields\r\n" },
        { "HSETEX h FIELDS 2147483648 a 1", "-ERR invalid number of fields\r\n" },
        { "HSETEX h FIELDS 2147483647 a 1", WRONG("hsetex") },
        { "HSETEX h FIELDS 2 a 1", WRONG("hsetex") },
        { "HSETEX h FIELDS 1 a 1 b", WRONG("hsetex") },
        { "HSETEX h FIELDS 1 a 1 b 2", WRONG("hsetex") },
        { "HSETEX h EX x FIELDS 1 a 1", NO_INTEGER },
        { "HSETEX none FXX EX -5 FIELDS 1 a 1", NEGATIVE },
        { "HSETEX h EXAT 99999999999 FIELDS 1 a 1", INVALID("hsetex") },
    };
    struct rig *r = rig_begin();

    (void)state;
    two_fields(r);
    rig_add(r, "s", 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("  %s\n", cases[i].command);
        says(r, cases[i].want, "%s", cases[i].command);
    }
    says(r, "*2\r\n:-1\r\n:-1\r\n", "HTTL h FIELDS 2 a b");
    says(r, "*2\r\n:-2\r\n:-2\r\n", "HEXPIRE none 1 FIELDS 2 a b");
    says(r, "*2\r\n:-2\r\n:-2\r\n", "HTTL none FIELDS 2 a b");
    says(r, "*1\r\n:-2\r\n", "HPERSIST none FIELDS 1 a");
    rig_free(r);
}

static void hscan_may_leave_out_the_values(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    two_fields(r);
    says(r, "*2\r\n$1\r\n0\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n", "HSCAN h 0 NOVALUES");
    says(r, "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nb\r\n", "HSCAN h 0 MATCH b novalues COUNT 10");
    says(r, "-ERR syntax error\r\n", "HSCAN h 0 NOVALUES x");
    rig_free(r);
}

static void more_random_fields_than_an_output_may_hold_are_not_made(void **state)
{
    struct rig *r = rig_new(1);

    (void)state;
    r->config.output_normal.hard_bytes = 64 << 10;
    rig_start(r);
    two_fields(r);
    rig_say(r, "HRANDFIELD h -4000000000000000000");
    assert_true(r->c.close_now);
    rig_free(r);
}

static void random_fields_have_an_end_without_a_limit_of_the_output(void **state)
{
    struct rig *r = rig_new(1);

    (void)state;
    rig_start(r);
    two_fields(r);
    rig_say(r, "HRANDFIELD h -9223372036854775807");
    assert_true(r->c.close_now);
    assert_false(r->c.out.failed);
    rig_free(r);
}

static void events_are_told_in_redis_order(void **state)
{
    static const struct {
        const char *command, *want;
    } cases[] = {
        { "HSET h a 1 b 2 c 3", "new hset" },
        { "HEXPIRE h 10 FIELDS 1 a", "hexpire" },
        { "HGETEX h PERSIST FIELDS 1 a", "hpersist" },
        { "HEXPIRE h 10 FIELDS 1 a", "hexpire" },
        { "HPERSIST h FIELDS 1 a", "hpersist" },
        { "HSETEX h EX 5 FIELDS 1 d 1", "hset hexpire" },
        { "HINCRBY h a 1", "hincrby" },
        { "HINCRBYFLOAT h a 1", "hincrbyfloat" },
        { "HGETDEL h FIELDS 1 a", "hdel" },
        { "HSETNX h b 1", "" },
        { "HDEL h x", "" },
        { "HDEL h b", "hdel" },
        { "HEXPIRE h 0 FIELDS 1 c", "hdel" },
        { "PING", "" },
    };
    struct rig *r = rig_begin();
    struct client a;

    (void)state;
    rig_join(r, &a);
    says(r, OKAY, "CONFIG SET notify-keyspace-events KAn");
    rig_tell(r, &a, "SUBSCRIBE __keyspace@0__:h");
    rig_hear(r, &a);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("  %s\n", cases[i].command);
        rig_say(r, "%s", cases[i].command);
        hears_events(r, &a, cases[i].want);
    }
    rig_pass(r, 5000);
    hears_events(r, &a, "hexpired del");
    rig_leave(r, &a);
    rig_free(r);
}

/* ---- a model ---- */

enum { MODEL_FIELDS = 40 };

struct model {
    int value[MODEL_FIELDS]; /* -1: not there */
    uint64_t expiry_ms[MODEL_FIELDS];
};

static bool model_has(const struct rig *r, const struct model *m, size_t i)
{
    return m->value[i] >= 0 && (m->expiry_ms[i] == 0 || m->expiry_ms[i] > r->e.now_ms);
}

static void model_check(struct rig *r, const struct model *m)
{
    char want[64];
    size_t n = 0;

    for (size_t i = 0; i < MODEL_FIELDS; i++) {
        const char *reply = rig_say(r, "HGET h f%zu", i);
        bool there = model_has(r, m, i);
        char number[16];
        n += there;
        snprintf(number, sizeof number, "%d", m->value[i]);
        snprintf(want, sizeof want, "$%zu\r\n%s\r\n", strlen(number), number);
        assert_string_equal(reply, there ? want : "$-1\r\n");
        snprintf(want, sizeof want, "*1\r\n:%lld\r\n",
                 !there                 ? -2
                 : m->expiry_ms[i] == 0 ? -1
                                        : (long long)m->expiry_ms[i]);
        says(r, want, "HPEXPIRETIME h FIELDS 1 f%zu", i);
    }
    snprintf(want, sizeof want, ":%zu\r\n", n);
    says(r, want, "HLEN h");
}

static void model_step(struct rig *r, struct model *m, struct random *rnd)
{
    size_t i = random_below(rnd, MODEL_FIELDS);
    int v = (int)random_below(rnd, 1000);
    uint64_t ms = 1 + random_below(rnd, 3000);

    switch (random_below(rnd, 6)) {
    case 0:
    case 1:
        rig_say(r, "HSET h f%zu %d", i, v);
        m->value[i] = v;
        m->expiry_ms[i] = 0;
        break;
    case 2:
        rig_say(r, "HDEL h f%zu", i);
        m->value[i] = -1;
        m->expiry_ms[i] = 0;
        break;
    case 3:
        rig_say(r, "HPEXPIREAT h %llu FIELDS 1 f%zu", (unsigned long long)(r->e.now_ms + ms + 50),
                i);
        if (model_has(r, m, i))
            m->expiry_ms[i] = r->e.now_ms + ms + 50;
        break;
    case 4:
        rig_say(r, "HINCRBY h f%zu %d", i, v);
        m->value[i] = (model_has(r, m, i) ? m->value[i] : 0) + v;
        if (m->expiry_ms[i] <= r->e.now_ms)
            m->expiry_ms[i] = 0;
        break;
    default: rig_pass(r, ms / 10); break;
    }
}

static void random_changes_and_times_are_those_of_a_plain_array(void **state)
{
    struct random rnd = random_seeded("hashes");
    struct rig *r = rig_new(rnd.state);
    struct model m;

    (void)state;
    for (size_t i = 0; i < MODEL_FIELDS; i++) {
        m.value[i] = -1;
        m.expiry_ms[i] = 0;
    }
    rig_start(r);
    for (size_t i = 0; i < random_rounds(1500); i++) {
        model_step(r, &m, &rnd);
        if (random_below(&rnd, 40) == 0)
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
        cmocka_unit_test(a_field_is_gone_at_its_millisecond_for_every_reader),
        cmocka_unit_test(expired_fields_leave_by_themselves_and_with_the_last_the_key),
        cmocka_unit_test(times_survive_a_restart_and_pass_while_nothing_runs),
        cmocka_unit_test(conditions_decide_field_by_field),
        cmocka_unit_test(a_time_that_has_passed_removes_fields),
        cmocka_unit_test(a_field_named_twice_is_the_second_time_what_it_has_become),
        cmocka_unit_test(setting_a_value_ends_its_time_but_adding_to_it_does_not),
        cmocka_unit_test(renaming_and_copying_keep_the_times_of_fields),
        cmocka_unit_test(after_a_start_fields_expire_without_being_asked_for),
        cmocka_unit_test(many_fields_may_expire_at_once),
        cmocka_unit_test(hgetex_reads_and_sets_times),
        cmocka_unit_test(hsetex_sets_all_or_nothing),
        cmocka_unit_test(hgetdel_reads_and_removes),
        cmocka_unit_test(errors_are_those_of_redis_and_come_in_its_order),
        cmocka_unit_test(hscan_may_leave_out_the_values),
        cmocka_unit_test(more_random_fields_than_an_output_may_hold_are_not_made),
        cmocka_unit_test(random_fields_have_an_end_without_a_limit_of_the_output),
        cmocka_unit_test(events_are_told_in_redis_order),
        cmocka_unit_test(random_changes_and_times_are_those_of_a_plain_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
