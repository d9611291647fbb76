/* test_strings.c - what strings and keys have that Redis 7.0 has not: revisions, leases, conditions on values, INCREX, MSETEX.
 * What it has is compared with it in tests/e2e/differential_strings.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "broker/cache/cache.h"
#include "broker/cache/lease.h"
#include "tests/lib/rig.h"

#define NIL    "$-1\r\n"
#define ONE    ":1\r\n"
#define ZERO   ":0\r\n"
#define SYNTAX "-ERR syntax error\r\n"
#define BULK5  "$5\r\n"

/* The revision that GETREV tells of a key; 0: it is not there. */
static uint64_t rev(struct rig *r, const char *key)
{
    const char *colon = strrchr(rig_say(r, "GETREV %s", key), ':');
    return colon == NULL ? 0 : strtoull(colon + 1, NULL, 10);
}

/* ---- revisions ---- */

static void every_change_gives_a_new_revision(void **state)
{
    static const char *const changes[] = {
        "SET k v",      "SET k v",       "SET k v KEEPTTL", "APPEND k x",  "SETRANGE k 0 y",
        "EXPIRE k 100", "PERSIST k",     "GETSET k 5",      "INCR k",      "INCRBYFLOAT k 1",
        "INCREX k",     "GETEX k EX 50", "MSET k 1 k 2",    "RENAME k k2", "RENAME k2 k",
        "MOVE k 1",     "COPY l k",
    };
    struct rig *r = rig_begin();
    uint64_t before = 0;

    (void)state;
    says(r, OKAY, "SET l other");
    says(r, NIL, "GETREV k");
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        print_message("  %s\n", changes[i]);
        assert_int_not_equal(rig_say(r, "%s", changes[i])[0], '-');
        uint64_t after = rev(r, "k");
        if (after != 0)
            assert_true(after > before);
        before = after > before ? after : before;
    }
    rig_free(r);
}

static void reading_gives_none(void **state)
{
    static const char *const reads[] = {
        "GET k",      "GETEX k",           "STRLEN k", "GETRANGE k 0 1", "TTL k",
        "SET k v NX", "SETRANGE k 0 \"\"", "DIGEST k", "PERSIST k",      "EXISTS k",
        "SETNX k 1",  "MSETNX k 1 j 2",    "GETREV k", "IFREV k 1"
    };
    struct rig *r = rig_begin();
    uint64_t before;

    (void)state;
    says(r, OKAY, "SET k v");
    before = rev(r, "k");
    for (size_t i = 0; i < sizeof reads / sizeof reads[0]; i++) {
        print_message("  %s\n", reads[i]);
        assert_int_not_equal(rig_say(r, "%s", reads[i])[0], '-');
        assert_true(rev(r, "k") == before);
    }
    rig_free(r);
}

static void a_revision_outlives_restarts_and_is_never_given_twice(void **state)
{
    struct rig *r = rig_begin();
    uint64_t first, second;

    (void)state;
    says(r, OKAY, "SET k v");
    first = rev(r, "k");
    rig_restart(r, true);
    assert_true(rev(r, "k") == first);
    says(r, ONE, "DEL k");
    says(r, OKAY, "SET k v");
    second = rev(r, "k");
    assert_true(second > first);
    rig_seal(r);
    rig_restart(r, false);
    assert_true(rev(r, "k") == second);
    has(r, "$1\r\nv\r\n", "GETREV k");
    rig_free(r);
}

static void set_and_delex_hold_to_a_revision(void **state)
{
    struct rig *r = rig_begin();
    uint64_t first, now;

    (void)state;
    says(r, NIL, "SET k v IFREV 5");
    assert_int_equal(rig_say(r, "SET k v IFREV 0")[0], ':');
    first = rev(r, "k");
    says(r, NIL, "SET k w IFREV 0");
    says(r, NIL, "SET k w IFREV %d", (int)first + 1);
    assert_true(strtoull(rig_say(r, "SET k w EX 100 IFREV %d", (int)first) + 1, NULL, 10) > first);
    now = rev(r, "k");
    assert_true(now > first);
    says(r, ":100\r\n", "TTL k");
    says(r, ZERO, "DELEX k IFREV %d", (int)first);
    says(r, ONE, "DELEX k IFREV %d", (int)now);
    says(r, ZERO, "DELEX k IFREV %d", (int)now);
    says(r, ZERO, "DELEX k IFREV 0");
    rig_free(r);
}

static void revisions_are_of_any_type(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    says(r, "$3\r\n1-1\r\n", "XADD s 1-1 f v");
    has(r, "*2\r\n$-1\r\n:", "GETREV s");
    says(r, ZERO, "DELEX s IFREV 1");
    says(r, ONE, "IFREV s %d none 0", (int)rev(r, "s"));
    says(r, ONE, "DELEX s IFREV %d", (int)rev(r, "s"));
    says(r, ZERO, "EXISTS s");
    rig_free(r);
}

static void revisions_that_are_none_are_refused(void **state)
{
    static const struct {
        const char *command, *reply;
    } cases[] = {
        { "SET k v IFREV", SYNTAX },
        { "SET k v IFREV 1 NX", SYNTAX },
        { "SET k v XX IFREV 1", SYNTAX },
        { "SET k v IFEQ a IFREV 1", SYNTAX },
        { "SET k v GET IFREV 1", SYNTAX },
        { "SET k v IFREV 1 GET", SYNTAX },
        { "SET k v IFREV x", "-ERR a revision is a number from 0 on\r\n" },
        { "SET k v IFREV -1", "-ERR a revision is a number from 0 on\r\n" },
        { "DELEX k IFREV x", "-ERR a revision is a number from 0 on\r\n" },
        { "IFREV k x", "-ERR a revision is a number from 0 on\r\n" },
        { "IFREV k 1 l", "-ERR wrong number of arguments for 'ifrev' command\r\n" },
        { "IFREV k", "-ERR wrong number of arguments for 'ifrev' command\r\n" },
        { "GETREV", "-ERR wrong number of arguments for 'getrev' command\r\n" },
    };
    struct rig *r = rig_begin();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        says(r, cases[i].reply, "%s", cases[i].command);
    says(r, ZERO, "EXISTS k");
    rig_free(r);
}

static void ifrev_lets_exec_run_or_not(void **state)
{
    struct rig *r = rig_begin();
    uint64_t of_k;

    (void)state;
    says(r, OKAY, "SET k v");
    of_k = rev(r, "k");
    says(r, OKAY, "MULTI");
    says(r, "+QUEUED\r\n", "SET k w");
    says(r, "+QUEUED\r\n", "IFREV k %d none 0", (int)of_k); /* asked for before anything runs */
    says(r, "*2\r\n+OK\r\n:1\r\n", "EXEC");
    says(r, OKAY, "MULTI");
    says(r, "+QUEUED\r\n", "SET l v");
    says(r, "+QUEUED\r\n", "IFREV k %d", (int)of_k);
    says(r, NOTHING, "EXEC");
    says(r, ZERO, "EXISTS l");
    says(r, OKAY, "MULTI");
    says(r, "+QUEUED\r\n", "IFREV k 0 l");
    says(r, NOTHING, "EXEC");
    says(r, ZERO, "IFREV k %d", (int)of_k);
    rig_free(r);
}

/* ---- conditions on values ---- */

static void set_and_delex_compare_values(void **state)
{
    static const struct {
        const char *command, *reply;
    } cases[] = {
        { "SET k w IFEQ v", NIL },
        { "SET k hello IFNE v", OKAY },
        { "SET k x IFEQ v", NIL },
        { "SET k x IFEQ v GET", "$5\r\nhello\r\n" },
        { "SET k hello IFEQ hello GET EX 100", "$5\r\nhello\r\n" },
        { "TTL k", ":100\r\n" },
        { "DIGEST k", "$16\r\n9555e8555c62dcfd\r\n" },
        { "SET k x IFDEQ 9555E8555C62DCFE", NIL },
        { "SET k hello IFDEQ 9555E8555C62DCFD KEEPTTL", OKAY },
        { "TTL k", ":100\r\n" },
        { "SET k x IFDNE 9555e8555c62dcfd", NIL },
        { "SET k hello IFDNE 0000000000000000", OKAY },
        { "SET k x IFDEQ 9555e8555c62dcf", "-ERR must be exactly 16 hexadecimal characters\r\n" },
        { "SET k x IFEQ hello NX", SYNTAX },
        { "SET k x IFEQ hello IFNE v", SYNTAX },
        { "SET none x IFDEQ 1", NIL },
        { "SET none2 x IFDNE 1", OKAY },
        { "DELEX k IFEQ v", ZERO },
        { "DELEX k IFDNE 9555e8555c62dcfd", ZERO },
        { "DELEX k FOO v", "-ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE\r\n" },
        { "DELEX k IFEQ", "-ERR wrong number of arguments for 'delex' command\r\n" },
        { "DELEX none FOO v", ZERO },
        { "DELEX k IFDEQ 1", "-ERR must be exactly 16 hexadecimal characters\r\n" },
        { "DELEX k IFNE v", ONE },
        { "DELEX none2", ONE },
        { "DIGEST k", NIL },
        { "SET v8 v8", OKAY },
        { "DIGEST v8", "$16\r\n0cc76dbb41381419\r\n" },
        { "XADD s 1-1 f v", "$3\r\n1-1\r\n" },
        { "SET s x IFEQ v",
          "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n" },
        { "DELEX s IFEQ v", "-ERR Key should be of string type if conditions are specified\r\n" },
        { "DELEX s", ONE },
    };
    struct rig *r = rig_begin();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("  %s\n", cases[i].command);
        says(r, cases[i].reply, "%s", cases[i].command);
    }
    rig_free(r);
}

static void msetex_sets_all_or_none(void **state)
{
    static const struct {
        const char *command, *reply;
    } cases[] = {
        { "MSETEX 2 a 1 b 2 EX 100 NX", ONE },
        { "TTL b", ":100\r\n" },
        { "MSETEX 2 b 3 c 4 NX", ZERO },
        { "MSETEX 2 b 3 c 4 XX", ZERO },
        { "MSETEX 2 a 5 b 6 KEEPTTL XX", ONE },
        { "TTL a", ":100\r\n" },
        { "MGET a b c", "*3\r\n$1\r\n5\r\n$1\r\n6\r\n$-1\r\n" },
        { "MSETEX 1 a 7", ONE },
        { "TTL a", ":-1\r\n" },
        { "MSETEX x a 1", "-ERR invalid numkeys value\r\n" },
        { "MSETEX 0 a 1", "-ERR invalid numkeys value\r\n" },
        { "MSETEX 2147483648 a 1", "-ERR invalid numkeys value\r\n" },
        { "MSETEX 2147483647 a 1", "-ERR wrong number of key-value pairs\r\n" },
        { "MSETEX 2 a 1 b", "-ERR wrong number of key-value pairs\r\n" },
        { "MSETEX 1 a 1 FOO", SYNTAX },
        { "MSETEX 1 a 1 GET", SYNTAX },
        { "MSETEX 1 a 1 NX XX", SYNTAX },
        { "MSETEX 1 a 1 EX 1 PX 1", SYNTAX },
        { "MSETEX 1 a 1 EX 0", "-ERR invalid expire time in 'msetex' command\r\n" },
        { "MSETEX 1 a 1 PXAT 1", ONE },
        { "EXISTS a", ZERO },
        { "COMMAND GETKEYS MSETEX 2 a 1 b 2 NX", "*2\r\n$1\r\na\r\n$1\r\nb\r\n" },
    };
    struct rig *r = rig_begin();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("  %s\n", cases[i].command);
        says(r, cases[i].reply, "%s", cases[i].command);
    }
    rig_free(r);
}

static void increx_adds_within_bounds(void **state)
{
    static const struct {
        const char *command, *reply;
    } cases[] = {
        { "INCREX n", "*2\r\n:1\r\n:1\r\n" },
        { "INCREX n BYINT 9 UBOUND 10", "*2\r\n:10\r\n:9\r\n" },
        { "INCREX n BYINT 1 UBOUND 10 EX 100", "*2\r\n:10\r\n:0\r\n" },
        { "TTL n", ":-1\r\n" },
        { "INCREX n BYINT 5 UBOUND 12 SATURATE EX 100 ENX", "*2\r\n:12\r\n:2\r\n" },
        { "TTL n", ":100\r\n" },
        { "INCREX n EX 200 ENX", "*2\r\n:13\r\n:1\r\n" },
        { "TTL n", ":100\r\n" },
        { "INCREX n BYINT -20 LBOUND 0 SATURATE", "*2\r\n:0\r\n:-13\r\n" },
        { "INCREX n PERSIST", "*2\r\n:1\r\n:1\r\n" },
        { "TTL n", ":-1\r\n" },
        { "INCREX none BYINT 5 LBOUND 10", "*2\r\n:0\r\n:0\r\n" },
        { "EXISTS none", ZERO },
        { "SET n 9223372036854775800", OKAY },
        { "INCREX n BYINT 100", "*2\r\n:9223372036854775800\r\n:0\r\n" },
        { "INCREX n BYINT 1 SATURATE UBOUND -9223372036854775808",
          "-ERR applied increment would overflow\r\n" },
        { "INCREX n BYINT 100 SATURATE", "*2\r\n:9223372036854775807\r\n:7\r\n" },
        { "SET n 50", OKAY },
        { "INCREX n BYINT 5 UBOUND 30 SATURATE", "*2\r\n:30\r\n:-20\r\n" },
        { "SET f 1.5", OKAY },
        { "INCREX f BYFLOAT 0.25", "*2\r\n$4\r\n1.75\r\n$4\r\n0.25\r\n" },
        { "INCREX f BYFLOAT 100 UBOUND 42.5", "*2\r\n$4\r\n1.75\r\n$1\r\n0\r\n" },
        { "INCREX f BYFLOAT 100 UBOUND 42.5 SATURATE", "*2\r\n$4\r\n42.5\r\n$5\r\n40.75\r\n" },
        { "INCREX f", "-ERR value is not an integer or out of range\r\n" },
        { "SET f inf", OKAY },
        { "INCREX f BYFLOAT 1", "-ERR value cannot be Infinity\r\n" },
        { "INCREX f BYFLOAT inf", "-ERR BYFLOAT increment cannot be Infinity\r\n" },
        { "INCREX f BYFLOAT x", "-ERR Increment is not a valid float\r\n" },
        { "INCREX n BYINT x", "-ERR Increment is not an integer or out of range\r\n" },
        { "INCREX n LBOUND x", "-ERR LBOUND is not an integer or out of range\r\n" },
        { "INCREX n LBOUND 5 UBOUND 4", "-ERR LBOUND can't be greater than UBOUND\r\n" },
        { "INCREX n ENX", "-ERR ENX flag requires an expiration\r\n" },
        { "INCREX n EX 0", "-ERR invalid expire time in 'increx' command\r\n" },
        { "INCREX n EX 1 PX 1", SYNTAX },
        { "INCREX n EX 1 EX 1", SYNTAX },
        { "INCREX n BYINT 1 BYFLOAT 1", SYNTAX },
        { "INCREX n PERSIST ENX EX 1", SYNTAX },
        { "INCREX n LBOUND", SYNTAX },
        { "INCREX n FOO", SYNTAX },
        { "INCREX n EXAT 1", "*2\r\n:31\r\n:1\r\n" },
        { "EXISTS n", ZERO },
        { "XADD s 1-1 f v", "$3\r\n1-1\r\n" },
        { "INCREX s", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n" },
    };
    struct rig *r = rig_begin();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("  %s\n", cases[i].command);
        says(r, cases[i].reply, "%s", cases[i].command);
    }
    has(r, "server", "HELLO 3");
    says(r, OKAY, "SET f 1.5");
    says(r, "*2\r\n,2\r\n,0.5\r\n", "INCREX f BYFLOAT 0.5");
    rig_free(r);
}

/* ---- leases ---- */

/* Takes a lease of the key, whose token is kept, and whose value is to be `value` (a reply). */
static void lease(struct rig *r, const char *value, char token[LEASE_TOKEN_N + 1],
                  const char *options)
{
    char want[64];
    const char *reply = rig_say(r, "GETLEASE k %s", options);

    snprintf(want, sizeof want, "*3\r\n$5\r\nlease\r\n%s$16\r\n", value);
    assert_int_equal(strncmp(reply, want, strlen(want)), 0);
    memcpy(token, reply + strlen(want), LEASE_TOKEN_N);
    token[LEASE_TOKEN_N] = '\0';
}

#define MISS  "*3\r\n$4\r\nmiss\r\n$-1\r\n$-1\r\n"
#define HIT   "*3\r\n$3\r\nhit\r\n$1\r\nv\r\n$-1\r\n"
#define STALE "*3\r\n$5\r\nstale\r\n$1\r\nv\r\n$-1\r\n"

static void one_caller_computes_a_missing_value(void **state)
{
    struct rig *r = rig_begin();
    char token[LEASE_TOKEN_N + 1];

    (void)state;
    lease(r, NIL, token, "1000");
    says(r, MISS, "GETLEASE k 1000");
    says(r, NIL, "SET k v LEASE 0123456789abcdef");
    says(r, OKAY, "SET k v LEASE %s", token);
    says(r, HIT, "GETLEASE k 1000");
    says(r, NIL, "SET k v LEASE %s", token);
    rig_free(r);
}

static void a_stale_value_is_for_getlease_alone(void **state)
{
    struct rig *r = rig_begin();
    char token[LEASE_TOKEN_N + 1];

    (void)state;
    says(r, OKAY, "SET k v EX 10 STALE 20");
    says(r, HIT, "GETLEASE k 1000");
    rig_pass(r, 10000);
    says(r, NIL, "GET k");
    says(r, ZERO, "EXISTS k");
    says(r, ":-2\r\n", "TTL k");
    lease(r, "$1\r\nv\r\n", token, "1000");
    says(r, STALE, "GETLEASE k 1000");
    rig_restart(r, true);
    lease(r, "$1\r\nv\r\n", token, "1000"); /* leases are gone, what is kept is not */
    rig_pass(r, 20000);
    lease(r, NIL, token, "1000");
    says(r, OKAY, "SET k w LEASE %s", token);
    rig_free(r);
}

static void a_lease_ends_when_its_key_is_written(void **state)
{
    static const char *const writes[] = { "SET k x",        "DEL k",    "APPEND k x",
                                          "MSET j 1 k 2",   "FLUSHALL", "RENAME j k",
                                          "XADD k 1-1 f v", "INCR k",   "SWAPDB 0 1",
                                          "COPY j k" };
    struct rig *r = rig_begin();
    char token[LEASE_TOKEN_N + 1];

    (void)state;
    for (size_t i = 0; i < sizeof writes / sizeof writes[0]; i++) {
        print_message("  %s\n", writes[i]);
        says(r, OKAY, "FLUSHALL");
        says(r, OKAY, "SET j 1");
        lease(r, NIL, token, "1000");
        assert_int_not_equal(rig_say(r, "%s", writes[i])[0], '-');
        says(r, NIL, "SET k v LEASE %s", token);
    }
    rig_free(r);
}

static void expiry_ends_no_lease(void **state)
{
    struct rig *r = rig_begin();
    char token[LEASE_TOKEN_N + 1];

    (void)state;
    says(r, OKAY, "SET k v PX 10 STALE 1");
    rig_pass(r, 10);
    lease(r, "$1\r\nv\r\n", token, "10000");
    rig_pass(r, 1100); /* what was kept is removed */
    says(r, ZERO, "DBSIZE");
    says(r, OKAY, "SET k w LEASE %s", token);
    rig_free(r);
}

static void a_lease_ends_when_its_time_is_over(void **state)
{
    struct rig *r = rig_begin();
    char token[LEASE_TOKEN_N + 1], next[LEASE_TOKEN_N + 1];

    (void)state;
    lease(r, NIL, token, "1000");
    rig_pass(r, 999);
    says(r, MISS, "GETLEASE k 1000");
    rig_pass(r, 1);
    says(r, NIL, "SET k v LEASE %s", token);
    lease(r, NIL, next, "1000");
    says(r, NIL, "SET k v LEASE %s", token);
    says(r, OKAY, "SET k v LEASE %s", next);
    rig_free(r);
}

static void waiting_ends_with_the_value_the_lease_or_the_time(void **state)
{
    struct rig *r = rig_begin();
    char token[LEASE_TOKEN_N + 1];
    struct client a, b;

    (void)state;
    rig_join(r, &a);
    rig_join(r, &b);
    lease(r, NIL, token, "1000");
    rig_tell(r, &a, "GETLEASE k 500 WAIT 100");
    hears(r, &a, "");
    rig_tell(r, &b, "GETLEASE k 500 WAIT 5000");
    rig_pass(r, 99);
    hears(r, &a, "");
    rig_pass(r, 1);
    hears(r, &a, MISS);
    hears(r, &b, "");
    says(r, OKAY, "SET k v LEASE %s", token);
    hears(r, &b, HIT);
    says(r, ONE, "DEL k");
    lease(r, NIL, token, "1000");
    rig_tell(r, &a, "GETLEASE k 500 WAIT 5000");
    rig_tell(r, &b, "GETLEASE k 500 WAIT 5000");
    rig_pass(r, 1000); /* the lease ends without a value: who waits longest has the next */
    assert_int_equal(strncmp(rig_hear(r, &a), "*3\r\n$5\r\nlease\r\n", 15), 0);
    hears(r, &b, "");
    says(r, OKAY, "SET k v");
    hears(r, &b, HIT);
    rig_leave(r, &a);
    rig_leave(r, &b);
    rig_free(r);
}

static void nobody_waits_inside_exec(void **state)
{
    struct rig *r = rig_begin();
    char token[LEASE_TOKEN_N + 1];

    (void)state;
    lease(r, NIL, token, "1000");
    says(r, OKAY, "MULTI");
    says(r, "+QUEUED\r\n", "GETLEASE k 500 WAIT 100");
    says(r, "*1\r\n" MISS, "EXEC");
    rig_free(r);
}

static void leases_that_make_no_sense_are_refused(void **state)
{
    static const struct {
        const char *command, *reply;
    } cases[] = {
        { "GETLEASE k 0", "-ERR a lease lasts from 1 to 3600000 milliseconds\r\n" },
        { "GETLEASE k x", "-ERR a lease lasts from 1 to 3600000 milliseconds\r\n" },
        { "GETLEASE k 3600001", "-ERR a lease lasts from 1 to 3600000 milliseconds\r\n" },
        { "GETLEASE k 1 WAIT -1", "-ERR WAIT is from 0 to 3600000 milliseconds\r\n" },
        { "GETLEASE k 1 WAIT", SYNTAX },
        { "GETLEASE k 1 FOO 1", SYNTAX },
        { "SET k v STALE 1", "-ERR STALE requires an expiration\r\n" },
        { "SET k v KEEPTTL STALE 1", SYNTAX },
        { "SET k v EX 1 STALE 0", "-ERR invalid stale time in 'set' command\r\n" },
        { "SET k v EX 1 STALE x", "-ERR invalid stale time in 'set' command\r\n" },
        { "SET k v EX 1 STALE", SYNTAX },
        { "SET k v LEASE", SYNTAX },
        { "SET k v LEASE x GET", SYNTAX },
        { "XADD k 1-1 f v", "$3\r\n1-1\r\n" },
        { "GETLEASE k 1",
          "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n" },
    };
    struct rig *r = rig_begin();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        says(r, cases[i].reply, "%s", cases[i].command);
    rig_free(r);
}

/* ---- databases ---- */

static void moves_between_databases_outlive_a_kill(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    says(r, OKAY, "MSET a 1 b 2 c 3");
    says(r, ONE, "EXPIRE a 100");
    says(r, ONE, "MOVE a 1");
    says(r, ONE, "COPY b a DB 2");
    says(r, OKAY, "SWAPDB 0 1");
    rig_restart(r, true);
    says(r, "$1\r\n1\r\n", "GET a");
    says(r, ":100\r\n", "TTL a");
    says(r, ONE, "DBSIZE");
    says(r, OKAY, "SELECT 1");
    says(r, "*3\r\n$-1\r\n$1\r\n2\r\n$1\r\n3\r\n", "MGET a b c");
    says(r, OKAY, "SELECT 2");
    says(r, "$1\r\n2\r\n", "GET a");
    rig_free(r);
}

static void a_copy_has_room_in_a_transaction(void **state)
{
    struct rig *r = rig_begin();

    (void)state;
    says(r, OKAY, "MULTI");
    says(r, "+QUEUED\r\n", "SETRANGE k 200000 x");
    says(r, "+QUEUED\r\n", "COPY k l");
    says(r, "+QUEUED\r\n", "SET m v");
    says(r, "+QUEUED\r\n", "COPY l m REPLACE");
    says(r, "*4\r\n:200001\r\n:1\r\n+OK\r\n:1\r\n", "EXEC");
    rig_restart(r, true);
    says(r, ":200001\r\n", "STRLEN m");
    says(r, "$1\r\nx\r\n", "GETRANGE m -1 -1");
    rig_free(r);
}

static void what_is_cold_is_read_for_whoever_needs_it(void **state)
{
    static const struct {
        const char *command, *reply;
    } cases[] = {
        { "STRLEN a", ":2\r\n" },
        { "SET a 13 IFEQ 13", NIL },
        { "SET b 13 IFEQ 12 GET", "$2\r\n12\r\n" },
        { "INCR c", ":13\r\n" },
        { "APPEND d x", ":3\r\n" },
        { "SETRANGE e 1 x", ":2\r\n" },
        { "GETSET f 1", "$2\r\n12\r\n" },
        { "GETDEL g", "$2\r\n12\r\n" },
        { "DELEX h IFNE 12", ZERO },
        { "COPY h i", ONE },
        { "GET i", "$2\r\n12\r\n" },
        { "RENAME h j", OKAY },
        { "MGET j a none e", "*4\r\n$2\r\n12\r\n$2\r\n12\r\n$-1\r\n$2\r\n1x\r\n" },
        { "GETRANGE d 1 -1", "$2\r\n2x\r\n" },
    };
    struct rig *r = rig_begin();

    (void)state;
    says(r, OKAY, "MSET a 12 b 12 c 12 d 12 e 12 f 12 g 12 h 12");
    says(r, OKAY, "SET k v EX 10 STALE 100");
    rig_seal(r);
    rig_restart(r, false);
    rig_pass(r, 10000);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("  %s\n", cases[i].command);
        says(r, cases[i].reply, "%s", cases[i].command);
    }
    has(r, "$5\r\nlease\r\n$1\r\nv\r\n", "GETLEASE k 1000");
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_change_gives_a_new_revision),
        cmocka_unit_test(reading_gives_none),
        cmocka_unit_test(a_revision_outlives_restarts_and_is_never_given_twice),
        cmocka_unit_test(set_and_delex_hold_to_a_revision),
        cmocka_unit_test(revisions_are_of_any_type),
        cmocka_unit_test(revisions_that_are_none_are_refused),
        cmocka_unit_test(ifrev_lets_exec_run_or_not),
        cmocka_unit_test(set_and_delex_compare_values),
        cmocka_unit_test(msetex_sets_all_or_none),
        cmocka_unit_test(increx_adds_within_bounds),
        cmocka_unit_test(one_caller_computes_a_missing_value),
        cmocka_unit_test(a_stale_value_is_for_getlease_alone),
        cmocka_unit_test(a_lease_ends_when_its_key_is_written),
        cmocka_unit_test(expiry_ends_no_lease),
        cmocka_unit_test(a_lease_ends_when_its_time_is_over),
        cmocka_unit_test(waiting_ends_with_the_value_the_lease_or_the_time),
        cmocka_unit_test(nobody_waits_inside_exec),
        cmocka_unit_test(leases_that_make_no_sense_are_refused),
        cmocka_unit_test(moves_between_databases_outlive_a_kill),
        cmocka_unit_test(a_copy_has_room_in_a_transaction),
        cmocka_unit_test(what_is_cold_is_read_for_whoever_needs_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
