/* test_errand.c - backups and checks of a log that seals, merges and goes on meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/bytes.h"
#include "log/io.h"
#include "log/log.h"
#include "tests/lib/host.h"
#include "tests/lib/random.h"
#include "tests/lib/simio.h"

enum { N_STREAMS = 5, PART_BYTES = 16 << 10, MOMENTS_MAX = 4096 };

/* What the streams have in all. */
struct sum {
    uint64_t n, bytes, last_seq, added;
};

struct moment {
    uint64_t lsn;
    struct sum sum;
};

struct bed {
    struct simio *disk;
    struct host *host;
    struct log *log;
    struct log_options options;
    struct log_recovery info;
    struct random random;
    uint64_t oids[N_STREAMS], seq, clock;
    struct moment moments[MOMENTS_MAX];
    size_t n_moments;
    struct err err;
};

static struct bed *bed_new(uint64_t seed)
{
    struct bed *b = calloc(1, sizeof *b);

    assert_non_null(b);
    b->disk = simio_new(seed);
    b->random.state = seed;
    b->options = (struct log_options){ .io = simio_io(b->disk),
                                       .dir = "data",
                                       .file_bytes = LOG_FILE_BYTES_MIN,
                                       .batch_bytes_max = 1 << 20,
                                       .interval_ms = 1000,
                                       .part_bytes = PART_BYTES,
                                       .checkpoint_bytes = 32 << 10 };
    return b;
}

static int bed_open(struct bed *b)
{
    int rc;

    b->host = host_new();
    host_set_calls(b->host, &b->options.host);
    host_enter(b->host);
    rc = log_open(&b->options, &b->log, &b->info, &b->err);
    host_leave(b->host);
    if (rc == OK)
        rc = host_complete(b->host, &b->err);
    if (rc == OK && b->clock < b->info.last_clock)
        b->clock = b->info.last_clock;
    return rc;
}

static void must_open(struct bed *b)
{
    if (bed_open(b) != OK)
        fail_msg("log_open: %s", b->err.text);
    assert_string_equal(b->host->why, "");
}

static void bed_kill(struct bed *b)
{
    host_enter(b->host);
    log_abandon(b->log);
    host_leave(b->host);
    host_free(b->host);
    b->log = NULL;
    b->host = NULL;
}

static void bed_free(struct bed *b)
{
    if (b->host != NULL)
        bed_kill(b);
    simio_free(b->disk);
    free(b);
}

static struct sum sum_of(const struct host *h)
{
    struct sum s = { 0 };

    for (size_t i = 0; i < h->n; i++) {
        s.n += h->streams[i]->n;
        s.bytes += h->streams[i]->bytes;
        s.added += h->streams[i]->added;
        if (h->streams[i]->last.seq > s.last_seq)
            s.last_seq = h->streams[i]->last.seq;
    }
    return s;
}

/* Ends the batch, and notes what there is then. */
static void commit(struct bed *b)
{
    assert_true(b->n_moments < MOMENTS_MAX);
    b->moments[b->n_moments++] =
        (struct moment){ .lsn = log_last_lsn(b->log), .sum = sum_of(b->host) };
    log_commit(b->log, false);
}

static struct sum sum_at(const struct bed *b, uint64_t lsn)
{
    for (size_t i = 0; i < b->n_moments; i++)
        if (b->moments[i].lsn == lsn)
            return b->moments[i].sum;
    fail_msg("LSN %llu is not the end of a batch", (unsigned long long)lsn);
    return (struct sum){ 0 };
}

static bool step(struct bed *b)
{
    bool did;

    host_enter(b->host);
    did = log_step_pick(b->log, random_u64(&b->random));
    host_leave(b->host);
    return did;
}

static void settle(struct bed *b)
{
    while (step(b))
        ;
}

static uint64_t append(struct bed *b, enum record_type type, const uint8_t *body, size_t n)
{
    uint64_t lsn;

    if (!host_append(b->host, b->log, type, LOG_OS, body, n, &lsn, &b->err))
        fail_msg("append: %s", b->err.text);
    return lsn;
}

static void create_streams(struct bed *b)
{
    for (uint8_t i = 0; i < N_STREAMS; i++) {
        uint8_t body[8], name[4] = { i }, *p = body; /* the host's names are numbers */
        p = varint_put(p, 0);
        p = slice_put(p, slice_of(name, sizeof name));
        b->oids[i] = append(b, RECORD_STREAM, body, (size_t)(p - body));
    }
    commit(b);
}

static void append_entries(struct bed *b, int n)
{
    while (n-- > 0) {
        uint8_t body[1024], value[700], *p = body;
        for (size_t i = 0; i < sizeof value; i++)
            value[i] = (uint8_t)random_u64(&b->random);
        p = varint_put(p, b->oids[random_below(&b->random, N_STREAMS)]);
        p = varint_put(p, 1000);
        p = varint_put(p, ++b->seq);
        p = varint_put(p, 1);
        p = slice_put(p, slice_str("field"));
        p = slice_put(p, slice_of(value, sizeof value));
        b->clock += 1 << 16;
        log_set_clock(b->log, b->clock);
        append(b, RECORD_ENTRY, body, (size_t)(p - body));
        if (random_below(&b->random, 4) == 0)
            commit(b);
    }
    commit(b);
}

/* A store with segments and checkpoints, and some that is in the log only. */
static struct bed *bed_with_store(uint64_t seed)
{
    struct bed *b = bed_new(seed);

    must_open(b);
    create_streams(b);
    for (int i = 0; i < 20; i++) {
        append_entries(b, 50);
        settle(b);
    }
    append_entries(b, 10);
    return b;
}

struct asked {
    struct log_request request; /* first */
    bool done;
    int rc;
    size_t n_found;
    char path[200], text[400];
};

static void done(struct log_request *r, int rc, const struct err *e)
{
    struct asked *a = (struct asked *)r;

    assert_false(a->done);
    a->done = true;
    a->rc = rc;
    if (rc != OK)
        snprintf(a->text, sizeof a->text, "%s", e->text);
}

static void found(struct log_request *r, const char *path, uint64_t pos, const char *what)
{
    struct asked *a = (struct asked *)r;

    assert_false(a->done);
    print_message("  %s, byte %llu: %s\n", path, (unsigned long long)pos, what);
    snprintf(a->path, sizeof a->path, "%s", path);
    a->n_found++;
}

static struct asked asked_new(void)
{
    return (struct asked){ .request = { .done = done, .found = found } };
}

static void finish(struct bed *b, struct asked *a)
{
    while (!a->done)
        assert_true(step(b));
}

/* ---- the tests ---- */

static void a_backup_has_what_there_was_when_it_was_asked_for(void **state)
{
    struct random seeds = random_seeded("a backup");

    (void)state;
    for (size_t round = 0; round < random_rounds(10); round++) {
        struct bed *b = bed_with_store(random_u64(&seeds) % 1000000);
        struct asked a = asked_new();
        uint64_t lsn = log_last_lsn(b->log);
        struct sum want, got;

        log_backup(b->log, "copy", &a.request);
        for (int i = 0; i < 40;
             i++) { /* it goes on: parts are sealed, checkpoints written, the log released */
            append_entries(b, 10);
            for (size_t n = random_below(&b->random, 60); n > 0; n--)
                step(b);
        }
        finish(b, &a);
        assert_int_equal(a.rc, OK);
        assert_true(a.request.lsn >= lsn);
        want = sum_at(b, a.request.lsn);
        assert_true(a.request.n_files > 3);
        settle(b);
        bed_kill(b);
        simio_crash(b->disk, SIMIO_MIXED, 1);
        b->options.dir = "copy";
        must_open(b);
        got = sum_of(b->host);
        assert_memory_equal(&got, &want, sizeof got);
        assert_true(b->info.n_segments > 0);
        assert_true(log_last_lsn(b->log) > a.request.lsn);
        append_entries(b, 10);
        settle(b);
        bed_kill(b);
        b->options.dir = "data"; /* the original is what it was */
        must_open(b);
        assert_true(sum_of(b->host).n >= want.n);
        bed_free(b);
    }
}

static void a_check_finds_what_is_damaged_and_nothing_else(void **state)
{
    struct bed *b = bed_with_store(3);
    struct asked sound = asked_new(), bad = asked_new();
    struct log_stats stats;

    (void)state;
    log_check(b->log, &sound.request);
    append_entries(b, 100);
    finish(b, &sound);
    if (sound.rc != OK)
        fail_msg("%s", sound.text);
    assert_true(sound.request.n_files > 3 && sound.request.bytes > 0);
    settle(b);
    log_get_stats(b->log, &stats);
    assert_true(stats.n_segments > 0);
    simio_poke(b->disk, "data/MANIFEST", 100, 0xee);
    log_check(b->log, &bad.request);
    finish(b, &bad);
    assert_int_equal(bad.rc, ERR_CORRUPT);
    assert_int_equal(bad.n_found, 1);
    assert_string_equal(bad.path, "data/MANIFEST");
    bed_free(b);
}

static void what_is_asked_for_ends_with_the_log(void **state)
{
    (void)state;
    for (int n_steps = 0; n_steps < 30; n_steps++) {
        struct bed *b = bed_with_store(4);
        struct asked backup = asked_new(), check = asked_new();
        int rc;

        settle(b);
        append_entries(b, 3);
        log_backup(b->log, "copy", &backup.request);
        log_check(b->log, &check.request);
        for (int i = 0; i < n_steps; i++)
            step(b);
        host_enter(b->host);
        rc = log_close(b->log, &b->err);
        host_leave(b->host);
        assert_int_equal(rc, OK);
        assert_true(backup.done && check.done);
        assert_true(backup.rc == OK || backup.rc == ERR_IO);
        host_free(b->host);
        b->host = NULL;
        must_open(b);
        bed_free(b);
    }
}

static void a_backup_that_fails_harms_nothing(void **state)
{
    struct bed *b = bed_with_store(5);
    struct asked a = asked_new();

    (void)state;
    log_backup(b->log, "data", &a.request);
    finish(b, &a);
    assert_int_equal(a.rc, ERR_USAGE);
    print_message("  %s\n", a.text);
    append_entries(b, 10);
    settle(b);
    bed_kill(b);
    must_open(b);
    bed_free(b);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_backup_has_what_there_was_when_it_was_asked_for),
        cmocka_unit_test(a_check_finds_what_is_damaged_and_nothing_else),
        cmocka_unit_test(what_is_asked_for_ends_with_the_log),
        cmocka_unit_test(a_backup_that_fails_harms_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
