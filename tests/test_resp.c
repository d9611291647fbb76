/* test_resp.c - claims about the request parser. The texts of errors are those of redis-server 7.0.15. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include "broker/net/resp.h"
#include "tests/lib/respcheck.h"

enum { MAX_BULK = 1 << 20 };

struct parsed { /* what one call said, its arguments joined by '|' */
    enum resp_result result;
    char text[256];
    size_t size;
};

static struct parsed parse_n(const void *p, size_t n, bool authenticated)
{
    struct parsed out = { .text = "" };
    struct resp_request request;
    struct resp_args args;
    struct resp r;
    struct err e;
    uint8_t *copy = malloc(n > 0 ? n : 1);
    size_t used = 0;

    memcpy(copy, p, n);
    assert_int_equal(resp_args_init(&args, &e), OK);
    resp_init(&r);
    out.result = resp_parse(&r, &args, MAX_BULK, authenticated, copy, copy + n, &request);
    if (out.result == RESP_ERROR)
        snprintf(out.text, sizeof out.text, "%s", request.error);
    if (out.result == RESP_REQUEST) {
        out.size = request.size;
        for (size_t i = 0; i < request.argc; i++)
            used += (size_t)snprintf(out.text + used, sizeof out.text - used, "%s%.*s",
                                     i > 0 ? "|" : "", (int)request.argv[i].n,
                                     (const char *)request.argv[i].p);
    }
    resp_fini(&r);
    resp_args_fini(&args);
    free(copy);
    return out;
}

static struct parsed parse(const char *text, bool authenticated)
{
    return parse_n(text, strlen(text), authenticated);
}

static void whole_requests_are_split_into_their_arguments(void **state)
{
    static const struct {
        const char *in, *want;
        size_t rest; /* bytes behind the request */
    } cases[] = {
        { "*1\r\n$4\r\nPING\r\n", "PING", 0 },
        { "*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n*1\r\n", "ECHO|hi", 4 },
        { "*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", "ECHO|", 0 },
        { "*2\r\n$4\r\nECHO\r\n$12\r\n123456789012\r\n", "ECHO|123456789012", 0 },
        { "*1\r\n$4\r\nPINGxx", "PING", 0 },  /* what ends an argument is not looked at */
        { "*1\rx$4\r\nPING\r\n", "PING", 0 }, /* nor what follows a CR */
        { "*0\r\n*1\r\n", "", 4 },
        { "*-1\r\n", "", 0 },
        { "*-10\r\nPING\r\n", "", 6 },
        { "PING\r\nPING\r\n", "PING", 6 },
        { "PING\nPING\n", "PING", 5 },
        { "\r\nPING\r\n", "", 6 },
        { "  SET \t a\v1 \r\n", "SET|a|1", 0 },
        { "$4\r\nPING\r\n", "$4", 6 },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct parsed got = parse(cases[i].in, true);
        print_message("  %zu: %s\n", i, cases[i].want);
        assert_int_equal(got.result, RESP_REQUEST);
        assert_string_equal(got.text, cases[i].want);
        assert_int_equal(got.size, strlen(cases[i].in) - cases[i].rest);
    }
}

static void inline_arguments_are_unquoted(void **state)
{
    static const struct {
        const char *in, *want;
    } cases[] = {
        { "PING ''\r\n", "PING|" },
        { "\"\"\r\n", "" },
        { "PING 'a b'\r\n", "PING|a b" },
        { "PING 'a\\'b'\r\n", "PING|a'b" },
        { "PING 'a\\nb'\r\n", "PING|a\\nb" },
        { "PING \"a\\x41\\n\\\"b\"\r\n", "PING|aA\n\"b" },
        { "PING \"\\q\\x4\\xzz\"\r\n", "PING|qx4xzz" },
        { "PING \"\\r\\t\\b\\a\\\\\"\r\n", "PING|\r\t\b\a\\" },
        { "PING a\"b\"\r\n", "PING|ab" },
        { "PING a'b c'\td\r\n", "PING|ab c|d" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct parsed got = parse(cases[i].in, true);
        print_message("  %s", cases[i].in);
        assert_int_equal(got.result, RESP_REQUEST);
        assert_string_equal(got.text, cases[i].want);
        assert_int_equal(got.size, strlen(cases[i].in));
    }
}

static void broken_requests_are_refused_in_redis_words(void **state)
{
    static const struct {
        const char *in, *want;
    } cases[] = {
        { "*x\r\n", "invalid multibulk length" },
        { "*\r\n", "invalid multibulk length" },
        { "*01\r\n", "invalid multibulk length" },
        { "*00\r\n", "invalid multibulk length" },
        { "*-0\r\n", "invalid multibulk length" },
        { "*+1\r\n", "invalid multibulk length" },
        { "* 1\r\n", "invalid multibulk length" },
        { "*1 \r\n", "invalid multibulk length" },
        { "*1\n$4\r\nPING\r\n", "invalid multibulk length" },
        { "*2147483648\r\n", "invalid multibulk length" },
        { "*99999999999999999999\r\n", "invalid multibulk length" },
        { "*9223372036854775808\r\n", "invalid multibulk length" },
        { "*1\r\nx4\r\n", "expected '$', got 'x'" },
        { "*2\r\n$4\r\nPING\r\n:3\r\n", "expected '$', got ':'" },
        { "*1\r\n$x\r\n", "invalid bulk length" },
        { "*1\r\n$\r\n", "invalid bulk length" },
        { "*1\r\n$-1\r\n", "invalid bulk length" },
        { "*1\r\n$04\r\n", "invalid bulk length" },
        { "*1\r\n$+4\r\n", "invalid bulk length" },
        { "*1\r\n$1048577\r\n", "invalid bulk length" },
        { "*1\r\n$18446744073709551615\r\n", "invalid bulk length" },
        { "PING \"\r\n", "unbalanced quotes in request" },
        { "PING \"a\"b\r\n", "unbalanced quotes in request" },
        { "PING 'a'b\r\n", "unbalanced quotes in request" },
        { "PING \"a\\\"\r\n", "unbalanced quotes in request" },
        { "PING a\"b c\"d\r\n", "unbalanced quotes in request" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct parsed got = parse(cases[i].in, true);
        print_message("  %zu: %s\n", i, cases[i].want);
        assert_int_equal(got.result, RESP_ERROR);
        assert_memory_equal(got.text, "Protocol error: ", 16);
        assert_string_equal(got.text + 16, cases[i].want);
    }
}

static void lines_that_do_not_end_are_refused_at_64_kib(void **state)
{
    static const struct {
        const char *head, *want;
    } cases[] = {
        { "a", "Protocol error: too big inline request" },
        { "*1", "Protocol error: too big mbulk count string" },
        { "*1\r\n$1", "Protocol error: too big bulk count string" },
    };
    uint8_t *line = malloc(RESP_LINE_MAX + 16);

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *start = strchr(cases[i].head, '$');
        size_t head = strlen(cases[i].head),
               before = start != NULL ? (size_t)(start - cases[i].head) : 0;
        struct parsed got;

        print_message("  %s\n", cases[i].want);
        memset(line, '1', RESP_LINE_MAX + 16);
        memcpy(line, cases[i].head, head);
        assert_int_equal(parse_n(line, before + RESP_LINE_MAX, true).result, RESP_MORE);
        got = parse_n(line, before + RESP_LINE_MAX + 1, true);
        assert_int_equal(got.result, RESP_ERROR);
        assert_string_equal(got.text, cases[i].want);
    }
    free(line);
}

static void strangers_have_narrow_limits(void **state)
{
    (void)state;
    assert_int_equal(parse("*10\r\n$4\r\nPING\r\n", false).result, RESP_MORE);
    assert_string_equal(parse("*11\r\n$4\r\nPING\r\n", false).text,
                        "Protocol error: unauthenticated multibulk length");
    assert_int_equal(parse("*1\r\n$16384\r\n", false).result, RESP_MORE);
    assert_string_equal(parse("*1\r\n$16385\r\n", false).text,
                        "Protocol error: unauthenticated bulk length");
    assert_int_equal(parse("*1\r\n$4\r\nPING\r\n", false).result, RESP_REQUEST);
}

static void a_request_that_is_not_whole_is_waited_for(void **state)
{
    static const char whole[] = "*3\r\n$3\r\nSET\r\n$12\r\n123456789012\r\n$100\r\n";

    (void)state;
    for (size_t n = 0; n < sizeof whole; n++)
        assert_int_equal(parse_n(whole, n, true).result, RESP_MORE);
}

static void an_announced_argument_says_how_many_bytes_are_needed(void **state)
{
    uint8_t text[] = "*2\r\n$3\r\nGET\r\n$1000000\r\nabc";
    struct resp_request request;
    struct resp_args args;
    struct resp r;
    struct err e;

    (void)state;
    assert_int_equal(resp_args_init(&args, &e), OK);
    resp_init(&r);
    assert_int_equal(resp_parse(&r, &args, MAX_BULK, true, text, text + 14, &request), RESP_MORE);
    assert_int_equal(resp_need(&r), 0);
    assert_int_equal(resp_parse(&r, &args, MAX_BULK, true, text, text + sizeof text - 1, &request),
                     RESP_MORE);
    assert_int_equal(resp_need(&r), sizeof text - 1 - 3 + 1000000 + 2);
    resp_fini(&r);
    resp_args_fini(&args);
}

/* Parses a request of n one-byte arguments in pieces of 64 KiB; returns how long the arguments' room was. */
static size_t parse_many(struct resp_args *args, size_t n)
{
    size_t head, size = 32 + 7 * n, at, given = 0;
    uint8_t *text = malloc(size);
    struct resp_request request;
    enum resp_result result = RESP_MORE;
    struct resp r;

    head = (size_t)snprintf((char *)text, size, "*%zu\r\n", n);
    for (size_t i = 0; i < n; i++)
        memcpy(text + head + 7 * i, "$1\r\nx\r\n", 7);
    at = head + 7 * n;
    resp_init(&r);
    while (result == RESP_MORE && given < at) {
        given = given + 65536 < at ? given + 65536 : at;
        result = resp_parse(&r, args, MAX_BULK, true, text, text + given, &request);
    }
    assert_int_equal(result, RESP_REQUEST);
    assert_int_equal(request.argc, n);
    assert_int_equal(request.size, at);
    for (size_t i = 0; i < n; i++)
        assert_true(request.argv[i].n == 1 && *request.argv[i].p == 'x');
    resp_fini(&r);
    free(text);
    return args->cap;
}

static void many_arguments_take_memory_only_while_they_are_there(void **state)
{
    struct resp_args args;
    struct err e;
    size_t usual;

    (void)state;
    assert_int_equal(resp_args_init(&args, &e), OK);
    usual = args.cap;
    for (size_t n = 1; n < 3000; n += 97)
        parse_many(&args, n);
    assert_true(parse_many(&args, 1000000) >= 1000000);
    resp_args_trim(&args);
    assert_int_equal(args.cap, usual);
    assert_int_equal(parse_many(&args, 5), usual);
    resp_args_fini(&args);
}

/* ---- random ---- */

static uint64_t next_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

/* A few valid requests, arrays and inline, one behind the other. */
static size_t make_requests(uint64_t *s, uint8_t *out, size_t size)
{
    static const uint8_t words[] = "abc'\"\\x4 \n";
    size_t used = 0, n_requests = 1 + next_random(s) % 4;

    for (size_t i = 0; i < n_requests; i++) {
        size_t argc = 1 + next_random(s) % (next_random(s) % 8 == 0 ? 120 : 6);
        bool is_inline = next_random(s) % 4 == 0;

        if (!is_inline)
            used += (size_t)snprintf((char *)out + used, size - used, "*%zu\r\n", argc);
        for (size_t j = 0; j < argc && used + 256 < size; j++) {
            size_t n = next_random(s) % (next_random(s) % 16 == 0 ? 1200 : 12);
            if (n > size - used - 128)
                n = size - used - 128;
            if (!is_inline)
                used += (size_t)snprintf((char *)out + used, size - used, "$%zu\r\n", n);
            for (size_t k = 0; k < n; k++)
                out[used++] = is_inline ? words[next_random(s) % 10] : (uint8_t)next_random(s);
            memcpy(out + used, is_inline ? "  " : "\r\n", 2);
            used += 2;
        }
        memcpy(out + used, "\r\n", is_inline ? 2 : 0);
        used += is_inline ? 2 : 0;
    }
    return used;
}

static size_t mutate(uint64_t *s, uint8_t *p, size_t n)
{
    static const char likely[] = "*$\r\n0123456789-+ '\"\\x:";
    size_t n_changes = next_random(s) % 5;

    for (size_t i = 0; i < n_changes && n > 1; i++) {
        size_t at = next_random(s) % n;
        switch (next_random(s) % 4) {
        case 0: p[at] = (uint8_t)next_random(s); break;
        case 1: p[at] = (uint8_t)likely[next_random(s) % (sizeof likely - 1)]; break;
        case 2:
            memmove(p + at, p + at + 1, n - at - 1);
            n--;
            break;
        default: n = at + 1;
        }
    }
    return n;
}

static void random_and_mutated_requests_neither_crash_nor_differ_by_how_they_arrive(void **state)
{
    const char *given = getenv("SEED"), *scale = getenv("SCALE");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    uint64_t s = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    size_t rounds = (size_t)(1000000.0 * (scale != NULL ? strtod(scale, NULL) : 1.0));
    struct respcheck *c = respcheck_new();
    static const size_t size = 8192;
    uint8_t *p = malloc(size);

    (void)state;
    print_message("  SEED=%llu, %zu inputs\n", (unsigned long long)seed, rounds);
    for (size_t i = 0; i < rounds; i++) {
        size_t n;
        const char *broken;
        if (next_random(&s) % 4 == 0) {
            n = next_random(&s) % 80;
            for (size_t k = 0; k < n; k++)
                p[k] = (uint8_t)next_random(&s);
        } else {
            n = mutate(&s, p, make_requests(&s, p, size));
        }
        broken = respcheck_run(c, p, n, next_random(&s));
        if (broken != NULL)
            fail_msg("input %zu: not true that %s", i, broken);
    }
    print_message("  %llu requests, %llu errors\n", (unsigned long long)respcheck_requests(c),
                  (unsigned long long)respcheck_errors(c));
    assert_true(respcheck_requests(c) > rounds / 2 && respcheck_errors(c) > rounds / 20);
    respcheck_free(c);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_requests_are_split_into_their_arguments),
        cmocka_unit_test(inline_arguments_are_unquoted),
        cmocka_unit_test(broken_requests_are_refused_in_redis_words),
        cmocka_unit_test(lines_that_do_not_end_are_refused_at_64_kib),
        cmocka_unit_test(strangers_have_narrow_limits),
        cmocka_unit_test(a_request_that_is_not_whole_is_waited_for),
        cmocka_unit_test(an_announced_argument_says_how_many_bytes_are_needed),
        cmocka_unit_test(many_arguments_take_memory_only_while_they_are_there),
        cmocka_unit_test(random_and_mutated_requests_neither_crash_nor_differ_by_how_they_arrive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
