/* test_writer.c - the log with its threads, on a real directory: who writes when, and that nobody
 * waits for the wrong one.
 *
 * The tests' io is the real one with gates: a write or an fdatasync that finds its gate closed
 * waits until the test opens it. Nothing sleeps: the tests wait for on_progress, or for somebody to
 * arrive at a gate. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log/io.h"
#include "log/log.h"
#include "log/record.h"
#include "tests/lib/random.h"

enum { TYPE = 0x80 };

#ifdef __SANITIZE_THREAD__
enum {
    HUGE_BYTES = 32 << 20
}; /* the checker looks at each byte, and more of them tell it nothing */
#else
enum { HUGE_BYTES = 512 << 20 };
#endif

struct gate {
    bool closed, fails;
    int n_waiting;
    uint64_t n_passed;
};

/* A log in a directory of its own, the gates in front of its disk, and what its last start
 * replayed. */
struct bed {
    struct io io; /* first: the functions get it */
    struct io real;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct gate writes, syncs;
    uint64_t n_progress;
    char dir[64];
    struct log *log;
    struct log_options options;
    struct err err;
    uint64_t clock, n, last_lsn, n_bad;
};

/* ---- the disk with gates ---- */

static bool gate_pass(struct bed *b, struct gate *g)
{
    bool fails;

    pthread_mutex_lock(&b->lock);
    g->n_waiting++;
    pthread_cond_broadcast(&b->changed);
    while (g->closed)
        pthread_cond_wait(&b->changed, &b->lock);
    g->n_waiting--;
    g->n_passed++;
    fails = g->fails;
    pthread_mutex_unlock(&b->lock);
    errno = EIO;
    return !fails;
}

static void gate_set(struct bed *b, struct gate *g, bool closed)
{
    pthread_mutex_lock(&b->lock);
    g->closed = closed;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

static void gate_await(struct bed *b, struct gate *g)
{
    pthread_mutex_lock(&b->lock);
    while (g->n_waiting == 0)
        pthread_cond_wait(&b->changed, &b->lock);
    pthread_mutex_unlock(&b->lock);
}

static ssize_t bed_pwritev(struct io *io, int fd, const struct iovec *iov, int n, uint64_t pos)
{
    struct bed *b = (struct bed *)io;

    return gate_pass(b, &b->writes) ? b->real.pwritev(&b->real, fd, iov, n, pos) : -1;
}

static int bed_fdatasync(struct io *io, int fd)
{
    struct bed *b = (struct bed *)io;

    return gate_pass(b, &b->syncs) ? b->real.fdatasync(&b->real, fd) : -1;
}

/* ---- the log ---- */

static void on_progress(void *ctx)
{
    struct bed *b = ctx;

    pthread_mutex_lock(&b->lock);
    b->n_progress++;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

static int replay(void *ctx, const struct log_record *r, struct err *e)
{
    struct bed *b = ctx;

    (void)e;
    if (r->type == RECORD_SKIP)
        return OK;
    b->n++;
    b->n_bad +=
        r->len > 0 && (r->body[0] != (uint8_t)r->lsn || r->body[r->len - 1] != (uint8_t)r->lsn);
    b->n_bad += r->lsn <= b->last_lsn;
    b->last_lsn = r->lsn;
    return OK;
}

static struct bed *bed_new(void)
{
    struct bed *b = calloc(1, sizeof *b);
    const char *tmp = getenv("TMPDIR");

    assert_non_null(b);
    io_init_real(&b->real);
    b->io = b->real;
    b->io.pwritev = bed_pwritev;
    b->io.fdatasync = bed_fdatasync;
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->changed, NULL);
    assert_true(snprintf(b->dir, sizeof b->dir, "%s/beck.XXXXXX", tmp == NULL ? "/tmp" : tmp) <
                (int)sizeof b->dir);
    assert_non_null(mkdtemp(b->dir));
    b->options = (struct log_options){ .io = &b->io,
                                       .dir = b->dir,
                                       .file_bytes = 1 << 20,
                                       .batch_bytes_max = 256 << 20,
                                       .interval_ms = 1000,
                                       .threads = true,
                                       .host.replay = replay,
                                       .host.on_progress = on_progress,
                                       .host.ctx = b };
    return b;
}

static void must_open(struct bed *b)
{
    struct log_recovery info;

    b->n = b->last_lsn = 0;
    if (log_open(&b->options, &b->log, &info, &b->err) != OK)
        fail_msg("log_open: %s", b->err.text);
    assert_int_equal(b->n_bad, 0);
    b->clock = info.last_clock;
}

static void must_close(struct bed *b)
{
    if (log_close(b->log, &b->err) != OK)
        fail_msg("log_close: %s", b->err.text);
    b->log = NULL;
}

static int remove_one(void *ctx, const char *name)
{
    char path[400];

    snprintf(path, sizeof path, "%s/%s", (const char *)ctx, name);
    unlink(path);
    return 0;
}

static void bed_free(struct bed *b)
{
    log_abandon(b->log);
    b->real.list(&b->real, b->dir, remove_one, b->dir);
    rmdir(b->dir);
    pthread_cond_destroy(&b->changed);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

static uint64_t add(struct bed *b, enum log_class class, size_t len)
{
    uint64_t lsn;
    uint8_t *p;

    if (log_open_bytes(b->log) == 0)
        log_set_clock(b->log, ++b->clock);
    if (log_reserve(b->log, len + 16, &b->err) != OK)
        fail_msg("log_reserve: %s", b->err.text);
    p = log_append(b->log, TYPE, class, len, &lsn);
    memset(p, (uint8_t)lsn, len);
    return lsn;
}

static uint64_t put(struct bed *b, enum log_class class, size_t n, size_t len)
{
    uint64_t lsn = 0;

    for (size_t i = 0; i < n; i++)
        lsn = add(b, class, len);
    log_commit(b->log, false);
    return lsn;
}

/* Waits until on_progress has been called and the watermark has passed `lsn`. */
static void await(struct bed *b, uint64_t (*watermark)(const struct log *l), uint64_t lsn)
{
    pthread_mutex_lock(&b->lock);
    while (watermark(b->log) < lsn && log_failure(b->log, &b->err) == OK)
        pthread_cond_wait(&b->changed, &b->lock);
    pthread_mutex_unlock(&b->lock);
    assert_true(watermark(b->log) >= lsn);
}

/* ---- tests ---- */

static void what_is_committed_gets_durable_and_comes_back(void **state)
{
    struct bed *b = bed_new();
    struct random r = random_seeded("writer");
    uint64_t n = 0, lsn = 0, written = 0, durable = 0;

    (void)state;
    must_open(b);
    for (size_t round = random_rounds(3000); round > 0; round--) {
        enum log_class class = random_below(&r, 4) == 0   ? LOG_ALWAYS
                               : random_below(&r, 2) == 0 ? LOG_INTERVAL
                                                          : LOG_OS;
        size_t count = 1 + random_below(&r, 64);
        for (size_t i = 0; i < count; i++)
            lsn = add(b, class, random_below(&r, round % 100 == 0 ? 100000 : 200));
        log_commit(b->log, random_below(&r, 2) == 0);
        n += count;
        assert_true(log_durable_lsn(b->log) >= durable);
        durable = log_durable_lsn(b->log);
        assert_true(log_written_lsn(b->log) >= written);
        written = log_written_lsn(b->log);
        assert_true(written >= durable && written <= lsn);
        if (random_below(&r, 500) == 0)
            await(b, log_written_lsn, lsn);
    }
    lsn = put(b, LOG_ALWAYS, 1, 10);
    await(b, log_durable_lsn, lsn);
    must_close(b);
    must_open(b);
    assert_int_equal(b->n, n + 1);
    assert_int_equal(b->last_lsn, lsn);
    bed_free(b);
}

static void written_advances_while_an_fdatasync_takes_its_time(void **state)
{
    struct bed *b = bed_new();
    uint64_t first, second;

    (void)state;
    must_open(b);
    gate_set(b, &b->syncs, true);
    first = put(b, LOG_ALWAYS, 1, 10);
    gate_await(b, &b->syncs);
    second = put(b, LOG_INTERVAL, 1, 10);
    await(b, log_written_lsn, second);
    assert_int_equal(log_released_lsn(b->log), second);
    assert_true(log_durable_lsn(b->log) < first);
    gate_set(b, &b->syncs, false);
    await(b, log_durable_lsn, first);
    bed_free(b);
}

static void always_batches_share_the_fdatasync_after_the_one_in_flight(void **state)
{
    struct bed *b = bed_new();
    struct log_stats before, after;
    uint64_t lsn = 0;

    (void)state;
    b->options.file_bytes = 16 << 20;
    must_open(b);
    log_get_stats(b->log, &before);
    gate_set(b, &b->syncs, true);
    put(b, LOG_ALWAYS, 1, 10);
    gate_await(b, &b->syncs);
    for (int i = 0; i < 100; i++)
        lsn = put(b, LOG_ALWAYS, 1, 10);
    await(b, log_written_lsn, lsn);
    gate_set(b, &b->syncs, false);
    await(b, log_durable_lsn, lsn);
    log_get_stats(b->log, &after);
    assert_int_equal(after.n_syncs - before.n_syncs, 2);
    bed_free(b);
}

static void a_commit_never_waits_for_the_disk_of_a_batch_that_is_queued(void **state)
{
    struct bed *b = bed_new();
    uint64_t lsn = 0;

    (void)state;
    must_open(b);
    gate_set(b, &b->writes, true);
    put(b, LOG_OS, 1, 2 << 20); /* too long to be written inline */
    gate_await(b, &b->writes);
    for (int i = 0; i < 1000; i++)
        lsn = put(b, LOG_OS, 1, 10);
    assert_true(log_written_lsn(b->log) < LOG_FIRST_LSN);
    gate_set(b, &b->writes, false);
    await(b, log_written_lsn, lsn);
    must_close(b);
    must_open(b);
    assert_int_equal(b->n, 1001);
    bed_free(b);
}

static void a_queue_above_its_bound_is_told_until_it_is_gone(void **state)
{
    struct bed *b = bed_new();
    struct log_stats s;
    uint64_t lsn = 0;

    (void)state;
    must_open(b);
    gate_set(b, &b->writes, true);
    for (int i = 0; i < 32; i++) {
        assert_false(log_is_backed_up(b->log));
        lsn = put(b, LOG_OS, 1, 2 << 20);
    }
    assert_true(log_is_backed_up(b->log)); /* 64 MiB and their lengths */
    log_get_stats(b->log, &s);
    assert_true(s.queued_bytes > LOG_QUEUE_BYTES_MAX);
    gate_set(b, &b->writes, false);
    await(b, log_written_lsn, lsn);
    assert_false(log_is_backed_up(b->log));
    log_get_stats(b->log, &s);
    assert_int_equal(s.queued_bytes, 0);
    bed_free(b);
}

static void closing_writes_what_is_queued(void **state)
{
    struct bed *b = bed_new();

    (void)state;
    must_open(b);
    gate_set(b, &b->writes, true);
    put(b, LOG_OS, 1, 2 << 20);
    gate_await(b, &b->writes);
    for (int i = 0; i < 100; i++)
        put(b, LOG_OS, 1, 10);
    gate_set(b, &b->writes, false);
    must_close(b);
    must_open(b);
    assert_int_equal(b->n, 101);
    bed_free(b);
}

static void a_failed_fdatasync_is_told_and_is_the_end(void **state)
{
    struct bed *b = bed_new();
    uint64_t durable, n_syncs;

    (void)state;
    must_open(b);
    durable = log_durable_lsn(b->log);
    b->syncs.fails = true;
    put(b, LOG_ALWAYS, 1, 10);
    pthread_mutex_lock(&b->lock);
    while (log_failure(b->log, &b->err) == OK)
        pthread_cond_wait(&b->changed, &b->lock);
    n_syncs = b->syncs.n_passed;
    b->syncs.fails = false;
    pthread_mutex_unlock(&b->lock);
    assert_non_null(strstr(b->err.text, "Input/output error"));
    for (int i = 0; i < 100; i++)
        put(b, LOG_ALWAYS, 1, 10);
    assert_int_equal(log_durable_lsn(b->log), durable);
    assert_int_equal(log_close(b->log, &b->err), ERR_IO);
    b->log = NULL;
    assert_int_equal(b->syncs.n_passed, n_syncs);
    bed_free(b);
}

static void interval_gets_durable_without_anybody_asking(void **state)
{
    struct bed *b = bed_new();
    uint64_t lsn;

    (void)state;
    b->options.interval_ms = 5;
    must_open(b);
    lsn = put(b, LOG_INTERVAL, 1, 10);
    await(b, log_durable_lsn, lsn);
    bed_free(b);
}

/* What a start can prove after a crash: the marker is there without another write. */
static void silence_after_always_gets_a_marker(void **state)
{
    struct bed *b = bed_new();
    uint64_t n_writes, lsn;

    (void)state;
    must_open(b);
    lsn = put(b, LOG_ALWAYS, 1, 10);
    await(b, log_durable_lsn, lsn);
    pthread_mutex_lock(&b->lock);
    n_writes = b->writes.n_passed;
    while (b->writes.n_passed == n_writes)
        pthread_cond_wait(&b->changed, &b->lock);
    pthread_mutex_unlock(&b->lock);
    log_abandon(b->log);
    must_open(b);
    assert_int_equal(b->n, 1);
    bed_free(b);
}

static void two_logs_live_in_one_process(void **state)
{
    struct bed *a = bed_new(), *b = bed_new();
    uint64_t lsn = 0;

    (void)state;
    must_open(a);
    must_open(b);
    for (int i = 0; i < 100; i++) {
        put(a, LOG_ALWAYS, 1, 10);
        lsn = put(b, LOG_ALWAYS, 2, 10);
    }
    await(a, log_durable_lsn, LOG_FIRST_LSN + 99);
    await(b, log_durable_lsn, lsn);
    must_close(a);
    must_open(a);
    assert_int_equal(a->n, 100);
    bed_free(a);
    bed_free(b);
}

/* The largest argument that a client may be allowed to send. */
static void a_record_of_512_mib_comes_back(void **state)
{
    struct bed *b = bed_new();
    uint64_t lsn;

    (void)state;
    b->options.batch_bytes_max = (uint64_t)600 << 20;
    must_open(b);
    put(b, LOG_ALWAYS, 1, 10);
    lsn = put(b, LOG_ALWAYS, 1, HUGE_BYTES);
    await(b, log_durable_lsn, lsn);
    put(b, LOG_ALWAYS, 1, 10);
    must_close(b);
    must_open(b);
    assert_int_equal(b->n, 3);
    must_close(b);
    bed_free(b);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_committed_gets_durable_and_comes_back),
        cmocka_unit_test(written_advances_while_an_fdatasync_takes_its_time),
        cmocka_unit_test(always_batches_share_the_fdatasync_after_the_one_in_flight),
        cmocka_unit_test(a_commit_never_waits_for_the_disk_of_a_batch_that_is_queued),
        cmocka_unit_test(a_queue_above_its_bound_is_told_until_it_is_gone),
        cmocka_unit_test(closing_writes_what_is_queued),
        cmocka_unit_test(a_failed_fdatasync_is_told_and_is_the_end),
        cmocka_unit_test(interval_gets_durable_without_anybody_asking),
        cmocka_unit_test(silence_after_always_gets_a_marker),
        cmocka_unit_test(two_logs_live_in_one_process),
        cmocka_unit_test(a_record_of_512_mib_comes_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
