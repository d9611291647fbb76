/* test_seal_threads.c - sealing, merging and saving by threads of their own, while the engine's appends and reads. The
 * streams are what the model says at every moment; the thread checker looks at the rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>

#include "tests/lib/crash.h"

static void what_is_read_is_what_was_written_whatever_threads_do_meanwhile(void **state)
{
    struct crash_options options;
    struct crash_result result = { .why = "" };

    (void)state;
    crash_options_get(&options);
    seal_threads(&options, &result);
    print_message("  seed %" PRIu64 ": %" PRIu64 " operations, %" PRIu64 " starts\n", options.seed,
                  result.n_ops, result.n_opens);
    if (result.why[0] != '\0')
        fail_msg("%s", result.why);
    assert_true(result.n_opens > 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_read_is_what_was_written_whatever_threads_do_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
