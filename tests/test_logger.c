/* test_logger.c - claims about lines of the log: one an event, harmless, and never too many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <unistd.h>
#include <cmocka.h>
#include "broker/logger.h"
#include "log/io.h"

struct clock { /* an io of which only the clocks work */
    struct io io;
    uint64_t ns;
};

static uint64_t clock_wall_ms(struct io *io)
{
    return UINT64_C(1795509000123) + ((struct clock *)io)->ns / 1000000;
}

static uint64_t clock_monotonic_ns(struct io *io)
{
    return ((struct clock *)io)->ns;
}

struct fixture {
    struct clock clock;
    struct logger logger;
    int64_t level;
    int fds[2];
    char text[1 << 17];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->clock.io.wall_ms = clock_wall_ms;
    f->clock.io.monotonic_ns = clock_monotonic_ns;
    f->level = CONFIG_LOG_NOTICE;
    if (pipe(f->fds) != 0)
        return -1;
    fcntl(f->fds[0], F_SETFL, O_NONBLOCK);
    logger_init(&f->logger, &f->clock.io, &f->level, f->fds[1]);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    close(f->fds[0]);
    close(f->fds[1]);
    free(f);
    return 0;
}

/* What has been written since the last call, as one string. */
static const char *written(struct fixture *f)
{
    ssize_t n = read(f->fds[0], f->text, sizeof f->text - 1);

    f->text[n > 0 ? n : 0] = '\0';
    return f->text;
}

static size_t count_lines(const char *text)
{
    size_t n = 0;

    while ((text = strchr(text, '\n')) != NULL) {
        text++;
        n++;
    }
    return n;
}

static void a_line_has_time_level_and_text(void **state)
{
    struct fixture *f = *state;

    logger_write(&f->logger, CONFIG_LOG_NOTICE, "%d clients", 3);
    assert_string_equal(written(f), "2026-11-24T08:30:00.123Z notice 3 clients\n");
    logger_write(&f->logger, CONFIG_LOG_WARNING, "hot");
    assert_string_equal(written(f), "2026-11-24T08:30:00.123Z warning hot\n");
}

static void lines_below_the_level_are_not_written_and_the_level_may_change(void **state)
{
    struct fixture *f = *state;

    logger_write(&f->logger, CONFIG_LOG_VERBOSE, "quiet");
    assert_string_equal(written(f), "");
    f->level = CONFIG_LOG_DEBUG;
    logger_write(&f->logger, CONFIG_LOG_VERBOSE, "heard");
    assert_int_equal(count_lines(written(f)), 1);
}

static void whatever_a_client_says_stays_on_one_line_of_bounded_length(void **state)
{
    struct fixture *f = *state;
    char longer[4 * LOGGER_LINE_MAX];

    logger_write(&f->logger, CONFIG_LOG_WARNING, "name %s", "a\nb\x1b[31m\tc\x7f");
    assert_non_null(strstr(written(f), "name a?b?[31m?c?\n"));
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    logger_write(&f->logger, CONFIG_LOG_WARNING, "%s", longer);
    assert_int_equal(count_lines(written(f)), 1);
    assert_true(strlen(f->text) <= LOGGER_LINE_MAX);
}

static void a_flood_is_cut_and_the_next_line_tells_how_many_were_lost(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < LOGGER_BURST + 50; i++)
        logger_write(&f->logger, CONFIG_LOG_NOTICE, "line %d", i);
    assert_int_equal(count_lines(written(f)), LOGGER_BURST);
    f->clock.ns += 1000000000;
    for (int i = 0; i < 100; i++)
        logger_write(&f->logger, CONFIG_LOG_NOTICE, "later %d", i);
    assert_int_equal(count_lines(written(f)), LOGGER_PER_S + 1);
    assert_non_null(strstr(f->text, " 50 lines were too many"));
    f->clock.ns += UINT64_C(3600000000000);
    for (int i = 0; i < 2 * LOGGER_BURST; i++)
        logger_write(&f->logger, CONFIG_LOG_NOTICE, "much later %d", i);
    assert_int_equal(count_lines(written(f)), LOGGER_BURST + 1); /* patience is not saved up */
}

#define WITH_LOGGER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_LOGGER(a_line_has_time_level_and_text),
        WITH_LOGGER(lines_below_the_level_are_not_written_and_the_level_may_change),
        WITH_LOGGER(whatever_a_client_says_stays_on_one_line_of_bounded_length),
        WITH_LOGGER(a_flood_is_cut_and_the_next_line_tells_how_many_were_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
