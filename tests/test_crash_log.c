/* test_crash_log.c - the log loses nothing that it promised, whatever the disk does. See tests/lib/crash.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "tests/lib/crash.h"

static void suite_holds(const char *name)
{
    struct crash_options options;
    struct crash_result result = { .why = "" };
    struct timespec began, ended;

    crash_options_get(&options);
    print_message("  seed %" PRIu64 ", scale %g%s\n", options.seed, options.scale,
                  options.full ? ", full" : "");
    clock_gettime(CLOCK_MONOTONIC, &began);
    for (size_t i = 0; i < CRASH_SUITES; i++)
        if (strcmp(crash_suites[i].name, name) == 0)
            crash_suites[i].run(&options, &result);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    print_message("  %" PRIu64 " operations, %" PRIu64 " images, %" PRIu64 " starts, %.1f s\n",
                  result.n_ops, result.n_images, result.n_opens,
                  (double)(ended.tv_sec - began.tv_sec) +
                      (double)(ended.tv_nsec - began.tv_nsec) * 1e-9);
    if (result.why[0] != '\0')
        fail_msg("%s", result.why);
    assert_true(result.n_opens > 0);
}

static void interval_syncs_when_due_and_holds_replies_at_twice_that(void **state)
{
    (void)state;
    suite_holds("deadlines");
}

static void a_crash_at_any_operation_leaves_a_prefix_with_all_that_was_durable(void **state)
{
    (void)state;
    suite_holds("crash points");
}

static void an_error_at_any_operation_loses_nothing_that_was_promised(void **state)
{
    (void)state;
    suite_holds("errors");
}

static void damage_is_refused_or_harmless(void **state)
{
    (void)state;
    suite_holds("damage");
}

static void random_lives_with_crashes_and_errors_keep_every_promise(void **state)
{
    (void)state;
    suite_holds("random lives");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(interval_syncs_when_due_and_holds_replies_at_twice_that),
        cmocka_unit_test(a_crash_at_any_operation_leaves_a_prefix_with_all_that_was_durable),
        cmocka_unit_test(an_error_at_any_operation_loses_nothing_that_was_promised),
        cmocka_unit_test(damage_is_refused_or_harmless),
        cmocka_unit_test(random_lives_with_crashes_and_errors_keep_every_promise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
