/* test_crash_seal.c - what is sealed, merged, saved and backed up is what was written, whatever the disk does. See
 * tests/lib/sealcrash.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "tests/lib/crash.h"

static void suite_holds(crash_suite *run)
{
    struct crash_options options;
    struct crash_result result = { .why = "" };
    struct timespec began, ended;

    crash_options_get(&options);
    print_message("  seed %" PRIu64 ", scale %g%s\n", options.seed, options.scale,
                  options.full ? ", full" : "");
    clock_gettime(CLOCK_MONOTONIC, &began);
    run(&options, &result);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    print_message("  %" PRIu64 " operations, %" PRIu64 " images, %" PRIu64 " starts, %.1f s\n",
                  result.n_ops, result.n_images, result.n_opens,
                  (double)(ended.tv_sec - began.tv_sec) +
                      (double)(ended.tv_nsec - began.tv_nsec) * 1e-9);
    if (result.why[0] != '\0')
        fail_msg("%s", result.why);
    assert_true(result.n_opens > 0);
}

static void a_crash_at_any_operation_of_sealing_merging_and_saving_loses_nothing(void **state)
{
    (void)state;
    suite_holds(seal_points);
}

static void an_error_at_any_operation_costs_at_most_that_job(void **state)
{
    (void)state;
    suite_holds(seal_errors);
}

static void damage_to_what_is_sealed_is_refused_or_harmless(void **state)
{
    (void)state;
    suite_holds(seal_damage);
}

static void random_lives_of_streams_are_what_the_model_says(void **state)
{
    (void)state;
    suite_holds(seal_random);
}

static void a_full_disk_can_be_read_emptied_and_used_again(void **state)
{
    (void)state;
    suite_holds(seal_full);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crash_at_any_operation_of_sealing_merging_and_saving_loses_nothing),
        cmocka_unit_test(damage_to_what_is_sealed_is_refused_or_harmless),
        cmocka_unit_test(random_lives_of_streams_are_what_the_model_says),
        cmocka_unit_test(a_full_disk_can_be_read_emptied_and_used_again),
        cmocka_unit_test(an_error_at_any_operation_costs_at_most_that_job),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
