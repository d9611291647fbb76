/* test_decimal.c - broker/engine/decimal.c: fractions as text, as Redis has them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "broker/engine/decimal.h"

static void texts_that_are_no_numbers_are_refused(void **state)
{
    static const char *const cases[] = { "",     " 1",     "1 ",      "x",       "1x",  "nan",
                                         "-nan", "1e5000", "-1e5000", "1e-6000", "--1", "1,5" };
    long double v = 7;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("  \"%s\"\n", cases[i]);
        assert_false(decimal_parse(slice_str(cases[i]), &v));
    }
    assert_false(decimal_parse(slice_of("1\0", 2), &v));
    assert_true(v == 7);
}

static void texts_of_any_length_are_bounded(void **state)
{
    char text[DECIMAL_TEXT_MAX];
    long double v;

    (void)state;
    memset(text, '0', sizeof text);
    text[0] = '1';
    text[1] = '.';
    assert_false(decimal_parse(slice_of(text, sizeof text), &v));
    assert_true(decimal_parse(slice_of(text, sizeof text - 1), &v));
    assert_true(v == 1);
}

static void numbers_are_read_in_every_form_that_strtold_takes(void **state)
{
    static const struct {
        const char *text;
        long double want;
    } cases[] = { { "0", 0 },      { "-0", 0 },         { "+5", 5 },
                  { "1e3", 1000 }, { "0x10", 16 },      { ".5", 0.5L },
                  { "5.", 5 },     { "-2.25", -2.25L }, { "inf", INFINITY } };
    long double v;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("  %s\n", cases[i].text);
        assert_true(decimal_parse(slice_str(cases[i].text), &v));
        assert_true(v == cases[i].want);
    }
}

static void numbers_are_written_without_zeros_at_the_end(void **state)
{
    static const struct {
        long double v;
        const char *want;
    } cases[] = { { 0, "0" },        { -0.0L, "0" },    { 3000, "3000" },
                  { 10.6L, "10.6" }, { -1.5L, "-1.5" }, { 1e-20L, "0" },
                  { -1e-20L, "0" },  { 100, "100" },    { 0.1L + 0.2L, "0.3" } };
    char text[DECIMAL_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(decimal_format(cases[i].v, text), strlen(cases[i].want));
        assert_string_equal(text, cases[i].want);
    }
}

static void the_largest_number_fits(void **state)
{
    char text[DECIMAL_TEXT_MAX];
    long double v;

    (void)state;
    assert_true(decimal_parse(slice_str("-1.18e4932"), &v));
    assert_int_equal(decimal_format(v, text), 4934);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_that_are_no_numbers_are_refused),
        cmocka_unit_test(texts_of_any_length_are_bounded),
        cmocka_unit_test(numbers_are_read_in_every_form_that_strtold_takes),
        cmocka_unit_test(numbers_are_written_without_zeros_at_the_end),
        cmocka_unit_test(the_largest_number_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
