/* test_reply.c - claims about the bytes of replies, in both protocol versions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "broker/engine/command.h"
#include "broker/engine/reply.h"

/* Takes everything that was replied as a string, and empties the output. */
static char *taken(struct client *c, char *out, size_t cap)
{
    struct iovec iov[64];
    int n_iov = outbuf_peek(&c->out, outbuf_end(&c->out), iov, 64);
    size_t n = 0;

    for (int i = 0; i < n_iov; i++) {
        assert_true(n + iov[i].iov_len < cap);
        memcpy(out + n, iov[i].iov_base, iov[i].iov_len);
        n += iov[i].iov_len;
    }
    out[n] = '\0';
    outbuf_consume(&c->out, n);
    return out;
}

static void client_start(struct client *c, int proto)
{
    memset(c, 0, sizeof *c);
    c->proto = proto;
    outbuf_init(&c->out);
}

#define replies(c, call, want)                                        \
    do {                                                              \
        char replied[4096];                                           \
        call;                                                         \
        assert_string_equal(taken(c, replied, sizeof replied), want); \
    } while (0)

static void what_both_versions_share(void **state)
{
    (void)state;
    for (int proto = 2; proto <= 3; proto++) {
        struct client c;
        client_start(&c, proto);
        replies(&c, reply_simple(&c, "PONG"), "+PONG\r\n");
        replies(&c, reply_ok(&c), "+OK\r\n");
        replies(&c, reply_bulk(&c, "", 0), "$0\r\n\r\n");
        replies(&c, reply_bulk(&c, NULL, 0), "$0\r\n\r\n");
        replies(&c, reply_str(&c, "hello"), "$5\r\nhello\r\n");
        replies(&c, reply_array(&c, 0), "*0\r\n");
        replies(&c, reply_array(&c, 1000), "*1000\r\n");
        replies(&c, reply_error(&c, "ERR %s %d", "no", 7), "-ERR no 7\r\n");
        replies(&c, reply_u64(&c, UINT64_MAX), ":18446744073709551615\r\n");
        replies(&c, reply_u64_bulk(&c, 7), "$1\r\n7\r\n");
        replies(&c, reply_u64_bulk(&c, 1234567890), "$10\r\n1234567890\r\n");
        replies(&c, reply_u64_bulk(&c, UINT64_MAX), "$20\r\n18446744073709551615\r\n");
        outbuf_fini(&c.out);
    }
}

static void what_differs_between_versions(void **state)
{
    struct client two, three;

    (void)state;
    client_start(&two, 2);
    client_start(&three, 3);
    replies(&two, reply_null(&two), "$-1\r\n");
    replies(&three, reply_null(&three), "_\r\n");
    replies(&two, reply_null_array(&two), "*-1\r\n");
    replies(&three, reply_null_array(&three), "_\r\n");
    replies(&two, reply_map(&two, 7), "*14\r\n");
    replies(&three, reply_map(&three, 7), "%7\r\n");
    replies(&two, reply_set(&two, 3), "*3\r\n");
    replies(&three, reply_set(&three, 3), "~3\r\n");
    replies(&two, reply_push(&two, 2), "*2\r\n");
    replies(&three, reply_push(&three, 2), ">2\r\n");
    replies(&two, reply_bool(&two, true), ":1\r\n");
    replies(&three, reply_bool(&three, true), "#t\r\n");
    replies(&three, reply_bool(&three, false), "#f\r\n");
    replies(&two, reply_verbatim(&two, "text", 4), "$4\r\ntext\r\n");
    replies(&three, reply_verbatim(&three, "text", 4), "=8\r\ntxt:text\r\n");
    replies(&two, reply_double(&two, 0.1), "$3\r\n0.1\r\n");
    replies(&three, reply_double(&three, 0.1), ",0.1\r\n");
    replies(&three, reply_double(&three, -1.0 / 3), ",-0.3333333333333333\r\n");
    replies(&three, reply_double(&three, 3), ",3\r\n");
    replies(&three, reply_double(&three, 1.0 / 0.0), ",inf\r\n");
    replies(&two, reply_double(&two, -1.0 / 0.0), "$4\r\n-inf\r\n");
    outbuf_fini(&two.out);
    outbuf_fini(&three.out);
}

static void numbers_are_as_printf_writes_them(void **state)
{
    static const int64_t edges[] = {
        0, 9, 10, 11, 99, 100, 101, 999, 1000, 9999, 10000, INT64_MAX
    };
    struct client c;

    (void)state;
    client_start(&c, 2);
    for (size_t i = 0; i < 2 * sizeof edges / sizeof edges[0] + 3000; i++) {
        int64_t v = i < 3000 ? (int64_t)i - 1500 : edges[(i - 3000) / 2] * ((i & 1) != 0 ? -1 : 1);
        char want[64];
        snprintf(want, sizeof want, ":%lld\r\n", (long long)v);
        replies(&c, reply_int(&c, v), want);
    }
    replies(&c, reply_int(&c, INT64_MIN), ":-9223372036854775808\r\n");
    outbuf_fini(&c.out);
}

static void ids_have_the_length_of_their_text(void **state)
{
    static const struct id ids[] = { { 0, 0 },
                                     { 1, 9 },
                                     { 999, 9999 },
                                     { 1000, 9999 },
                                     { 1526919030474, 0 },
                                     { UINT64_MAX, UINT64_MAX } };
    struct client c;

    (void)state;
    client_start(&c, 3);
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        char text[64], want[80];
        int n = snprintf(text, sizeof text, "%llu-%llu", (unsigned long long)ids[i].ms,
                         (unsigned long long)ids[i].seq);
        snprintf(want, sizeof want, "$%d\r\n%s\r\n", n, text);
        replies(&c, reply_id(&c, ids[i]), want);
    }
    outbuf_fini(&c.out);
}

static void bulk_strings_of_any_length_are_whole(void **state)
{
    static char payload[3000], got[4000], want[4000];
    struct client c;

    (void)state;
    memset(payload, 'x', sizeof payload);
    client_start(&c, 2);
    for (size_t n = 0; n <= sizeof payload; n += n < 600 ? 1 : 97) {
        int head = snprintf(want, sizeof want, "$%zu\r\n", n);
        memcpy(want + head, payload, n);
        memcpy(want + head + n, "\r\n", 3);
        reply_bulk(&c, payload, n);
        assert_string_equal(taken(&c, got, sizeof got), want);
    }
    outbuf_fini(&c.out);
}

static void an_error_is_one_line(void **state)
{
    char text[3000], got[4096];
    struct client c;

    (void)state;
    client_start(&c, 3);
    replies(&c, reply_error(&c, "ERR a\r\nb\n"), "-ERR a  b\r\n");
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    reply_error(&c, "%s", text);
    assert_int_equal(strlen(taken(&c, got, sizeof got)), 1 + 1024 + 2);
    outbuf_fini(&c.out);
}

static void refusals_have_the_texts_of_redis(void **state)
{
    static const struct command container = { .name = "client" }, sub = { .name = "client|id" };
    struct slice argv[40];
    char got[4096];
    struct client c;

    (void)state;
    client_start(&c, 2);
    argv[0] = slice_str("foo");
    replies(&c, reply_unknown_command(&c, argv, 1),
            "-ERR unknown command 'foo', with args beginning with: \r\n");
    argv[1] = slice_str("a");
    argv[2] = slice_of("b\r\nc\0d", 6);
    replies(&c, reply_unknown_command(&c, argv, 3),
            "-ERR unknown command 'foo', with args beginning with: 'a' 'b  c' \r\n");
    for (size_t i = 1; i < 40; i++)
        argv[i] = slice_str("12345678");
    reply_unknown_command(&c, argv, 40);
    assert_string_equal(taken(&c, got, sizeof got),
                        "-ERR unknown command 'foo', with args beginning with: "
                        "'12345678' '12345678' '12345678' '12345678' '12345678' '12345678' "
                        "'12345678' '12345678' '12345678' '12345678' '12345678' '1234567' \r\n");
    replies(&c, reply_unknown_subcommand(&c, &container, slice_str("foo")),
            "-ERR unknown subcommand 'foo'. Try CLIENT HELP.\r\n");
    replies(&c, reply_wrong_arity(&c, &sub),
            "-ERR wrong number of arguments for 'client|id' command\r\n");
    replies(&c, reply_noauth(&c), "-NOAUTH Authentication required.\r\n");
    outbuf_fini(&c.out);
}

static void an_error_is_recognised_wherever_it_lies(void **state)
{
    static char filler[700];
    struct client c;

    (void)state;
    client_start(&c, 2);
    for (int i = 0; i < 200; i++) { /* errors at every place of several chunks */
        uint64_t pos = outbuf_end(&c.out);
        reply_error(&c, "ERR %0*d", 17 * (i % 50) + 1, i);
        assert_true(reply_is_error_at(&c, pos));
        pos = outbuf_end(&c.out);
        assert_false(reply_is_error_at(&c, pos));
        reply_bulk(&c, filler, sizeof filler - (size_t)i);
        assert_false(reply_is_error_at(&c, pos));
    }
    uint64_t pos = outbuf_end(&c.out);
    reply_error(&c, "ERR taken back");
    outbuf_truncate(&c.out, pos);
    assert_false(reply_is_error_at(&c, pos));
    outbuf_fini(&c.out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_both_versions_share),
        cmocka_unit_test(what_differs_between_versions),
        cmocka_unit_test(numbers_are_as_printf_writes_them),
        cmocka_unit_test(ids_have_the_length_of_their_text),
        cmocka_unit_test(bulk_strings_of_any_length_are_whole),
        cmocka_unit_test(an_error_is_one_line),
        cmocka_unit_test(refusals_have_the_texts_of_redis),
        cmocka_unit_test(an_error_is_recognised_wherever_it_lies),
    };
    return cmocka_run_group_tests_name("reply", tests, NULL, NULL);
}
