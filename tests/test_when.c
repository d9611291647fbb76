/*
 * test_when.c - places in a stream and durations, as the command line takes them.
 *
 * The command line is no library, so the source is included.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "cli/when.c"

static void each_place_is_what_it_says(void **state)
{
    static const struct {
        const char *text;
        enum when_kind kind;
        const char *id;
        uint64_t ms;
    } cases[] = {
        { "start", WHEN_START, "", 0 },
        { "-", WHEN_START, "", 0 },
        { "end", WHEN_END, "", 0 },
        { "$", WHEN_END, "", 0 },
        { "5", WHEN_ID, "5", 0 },
        { "5-1", WHEN_ID, "5-1", 0 },
        { "(5-1", WHEN_ID, "(5-1", 0 },
        { "18446744073709551615-18446744073709551609", WHEN_ID,
          "18446744073709551615-18446744073709551609", 0 },
        { "1970-01-01", WHEN_ID, "0", 0 },
        { "2000-02-29T12:00:00Z", WHEN_ID, "951825600000", 0 },
        { "1970-01-01T02:00:03.5+02:00", WHEN_ID, "3500", 0 },
        { "90s ago", WHEN_AGO, "", 90000 },
        { "2 h ago", WHEN_AGO, "", 7200000 },
        { "1w ago", WHEN_AGO, "", 604800000 },
        { "0ms ago", WHEN_AGO, "", 0 },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct when when;
        print_message("  %s\n", cases[i].text);
        assert_true(when_parse(cases[i].text, &when));
        assert_int_equal(when.kind, cases[i].kind);
        assert_string_equal(when.id, cases[i].id);
        assert_int_equal(when.ms, cases[i].ms);
    }
}

static void what_is_no_place_is_refused(void **state)
{
    static const char *const cases[] = {
        "",
        "yesterday",
        "5-",
        "-5",
        "5-1-1",
        "(",
        "5 ",
        "1x ago",
        "ago",
        "2h",
        "2h  later",
        "2001-02-29",
        "1969-12-31",
        "1970-13-01",
        "1970-01-01T24:00",
        "1970-01-01T00:00+25:00",
        "99999999999999999999-1",
        "99999999999w ago",
        "18446744073709551w ago",
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct when when;
        print_message("  \"%s\"\n", cases[i]);
        assert_false(when_parse(cases[i], &when));
    }
}

static void a_group_stands_before_the_id_that_it_reads_first(void **state)
{
    static const struct {
        const char *id, *before;
    } cases[] = {
        { "5-1", "5-0" },
        { "5-0", "4-18446744073709551615" },
        { "5", "4-18446744073709551615" },
        { "0", "0-0" },
        { "0-0", "0-0" },
        { "0-1", "0-0" },
        { "(5-1", "5-1" },
        { "(5", "5-0" },
        { "(0", "0-0" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char before[WHEN_ID_MAX];
        print_message("  %s\n", cases[i].id);
        when_put_before(cases[i].id, before);
        assert_string_equal(before, cases[i].before);
    }
}

static void durations_are_read_and_written(void **state)
{
    static const struct {
        const char *text;
        uint64_t ms;
        const char *written;
    } cases[] = {
        { "0", 0, "0" },
        { "0s", 0, "0" },
        { "1ms", 1, "1ms" },
        { "500ms", 500, "500ms" },
        { "1000ms", 1000, "1s" },
        { "1500ms", 1500, "1500ms" },
        { "30s", 30000, "30s" },
        { "90s", 90000, "90s" },
        { "5m", 300000, "5m" },
        { "5min", 300000, "5m" },
        { "2h", 7200000, "2h" },
        { "24h", 86400000, "1d" },
        { "1d", 86400000, "1d" },
        { "2w", 1209600000, "14d" },
        { "10000000000000ms", 10000000000000, "10000000000s" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char written[WHEN_DURATION_MAX];
        uint64_t ms;
        print_message("  %s\n", cases[i].text);
        assert_true(when_parse_duration(cases[i].text, &ms));
        assert_int_equal(ms, cases[i].ms);
        when_put_duration(ms, written);
        assert_string_equal(written, cases[i].written);
    }
}

static void what_is_no_duration_is_refused(void **state)
{
    static const char *const cases[] = { "",
                                         "30",
                                         "s",
                                         "-1s",
                                         "1.5s",
                                         "1 s",
                                         "1s ",
                                         "1S",
                                         "1sec",
                                         "0x1s",
                                         "1s1s",
                                         "10000000000001ms",
                                         "99999999999w",
                                         "18446744073709551615ms",
                                         "99999999999999999999ms" };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t ms = 7;
        print_message("  \"%s\"\n", cases[i]);
        assert_false(when_parse_duration(cases[i], &ms));
        assert_int_equal(ms, 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_place_is_what_it_says),
        cmocka_unit_test(what_is_no_place_is_refused),
        cmocka_unit_test(a_group_stands_before_the_id_that_it_reads_first),
        cmocka_unit_test(durations_are_read_and_written),
        cmocka_unit_test(what_is_no_duration_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
