/* test_log.c - the log as the engine uses it, on a simulated disk and without threads: what a start
 * gives back, how far the limits go, what the classes promise, and what an operator is told.
 * Crashes at any moment are test_crash's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/bytes.h"
#include "log/crc32c.h"
#include "log/log.h"
#include "log/record.h"
#include "log/store.h"
#include "log/wal.h"
#include "tests/lib/simio.h"

#define DIR "data"
enum { TYPE = 0x80, FILE_BYTES = LOG_FILE_BYTES_MIN, BATCH_MAX = 64 << 20 };

/* One log on one disk, and what its last start replayed. */
struct bed {
    struct simio *disk;
    struct log *log;
    struct log_options options;
    struct log_recovery info;
    struct err err;
    uint64_t clock;
    uint64_t n, n_skips, first_lsn, last_lsn, last_clock, bytes; /* replayed, without SKIP */
    uint64_t bad;                                                /* bodies that are not as filled */
};

/* A body's bytes follow from its LSN. */
static void fill(uint8_t *p, size_t len, uint64_t lsn)
{
    memset(p, (int)(lsn % 251), len);
    if (len > 0)
        p[len - 1] = (uint8_t)len;
}

static bool is_filled(const uint8_t *p, size_t len, uint64_t lsn)
{
    for (size_t i = 0; i + 1 < len; i++)
        if (p[i] != lsn % 251)
            return false;
    return len == 0 || p[len - 1] == (uint8_t)len;
}

static int replay(void *ctx, const struct log_record *r, struct err *e)
{
    struct bed *b = ctx;

    (void)e;
    if (r->type == RECORD_SKIP) {
        b->n_skips++;
        return OK;
    }
    if (b->n++ == 0)
        b->first_lsn = r->lsn;
    else
        assert_true(r->lsn > b->last_lsn);
    assert_int_equal(r->type, TYPE);
    assert_true(r->clock >= b->last_clock);
    b->last_lsn = r->lsn;
    b->last_clock = r->clock;
    b->bytes += r->len;
    b->bad += !is_filled(r->body, r->len, r->lsn);
    return OK;
}

static struct bed *bed_new(void)
{
    struct bed *b = calloc(1, sizeof *b);

    assert_non_null(b);
    b->disk = simio_new(1);
    b->options = (struct log_options){ .io = simio_io(b->disk),
                                       .dir = DIR,
                                       .file_bytes = FILE_BYTES,
                                       .batch_bytes_max = BATCH_MAX,
                                       .interval_ms = 1000,
                                       .host.replay = replay,
                                       .host.ctx = b };
    return b;
}

static int bed_open(struct bed *b)
{
    b->n = b->n_skips = b->first_lsn = b->last_lsn = b->last_clock = b->bytes = 0;
    b->err = (struct err){ 0 };
    b->log = NULL;
    return log_open(&b->options, &b->log, &b->info, &b->err);
}

static void must_open(struct bed *b)
{
    if (bed_open(b) != OK)
        fail_msg("log_open: %s", b->err.text);
    assert_int_equal(b->bad, 0);
    if (b->clock < b->info.last_clock)
        b->clock = b->info.last_clock;
}

static void bed_close(struct bed *b)
{
    if (log_close(b->log, &b->err) != OK)
        fail_msg("log_close: %s", b->err.text);
    b->log = NULL;
}

/* The process dies; what it wrote is there. */
static void bed_kill(struct bed *b)
{
    log_abandon(b->log);
    b->log = NULL;
    simio_restart(b->disk);
}

static void bed_free(struct bed *b)
{
    log_abandon(b->log);
    simio_free(b->disk);
    free(b);
}

static void settle(struct bed *b)
{
    while (log_step(b->log))
        ;
}

/* Adds a record to the open batch. */
static uint64_t add(struct bed *b, enum log_class class, size_t len)
{
    uint64_t lsn;
    uint8_t *p;

    if (log_open_bytes(b->log) == 0)
        log_set_clock(b->log, ++b->clock);
    if (log_reserve(b->log, len + 16, &b->err) != OK)
        fail_msg("log_reserve: %s", b->err.text);
    p = log_append(b->log, TYPE, class, len, &lsn);
    fill(p, len, lsn);
    return lsn;
}

/* A batch of n records. */
static uint64_t put(struct bed *b, enum log_class class, size_t n, size_t len)
{
    uint64_t lsn = 0;

    for (size_t i = 0; i < n; i++)
        lsn = add(b, class, len);
    log_commit(b->log, false);
    return lsn;
}

static const char *path_of(uint64_t first_lsn)
{
    static char path[64];
    char name[WAL_NAME_MAX];

    wal_name(first_lsn, name);
    snprintf(path, sizeof path, DIR "/%s", name);
    return path;
}

/* ---- what a start gives back ---- */

static void a_new_store_begins_at_lsn_1024(void **state)
{
    struct bed *b = bed_new();

    (void)state;
    must_open(b);
    assert_true(b->info.created);
    assert_int_equal(log_last_lsn(b->log), LOG_FIRST_LSN - 1);
    assert_int_equal(log_durable_lsn(b->log), LOG_FIRST_LSN - 1);
    assert_int_equal(put(b, LOG_OS, 1, 10), LOG_FIRST_LSN);
    bed_close(b);
    bed_free(b);
}

static void records_come_back_in_order_with_lsn_clock_and_body(void **state)
{
    struct bed *b = bed_new();
    static const size_t lengths[] = { 0, 1, 125, 126, 127, 128, 5000, 16382, 16383, 16384 };

    (void)state;
    must_open(b);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        put(b, LOG_OS, 1, lengths[i]);
        put(b, LOG_OS, 3, lengths[i]);
    }
    settle(b);
    bed_close(b);
    must_open(b);
    assert_false(b->info.created);
    assert_true(b->info.clean);
    assert_int_equal(b->n, 40);
    assert_int_equal(b->info.n_records, 40);
    assert_int_equal(b->first_lsn, LOG_FIRST_LSN);
    assert_int_equal(b->last_lsn, LOG_FIRST_LSN + 39);
    assert_int_equal(b->info.last_clock, 20);
    bed_free(b);
}

static void after_a_clean_end_lsns_go_on_without_a_gap(void **state)
{
    struct bed *b = bed_new();

    (void)state;
    for (uint64_t i = 0; i < 5; i++) {
        must_open(b);
        assert_int_equal(b->n, i);
        assert_int_equal(put(b, LOG_OS, 1, 10), LOG_FIRST_LSN + i);
        bed_close(b);
    }
    bed_free(b);
}

static void after_an_unclean_end_lsns_jump_by_a_logged_record(void **state)
{
    struct bed *b = bed_new();
    uint64_t lsn;

    (void)state;
    must_open(b);
    lsn = put(b, LOG_OS, 1, 10);
    bed_kill(b);
    must_open(b);
    assert_false(b->info.clean);
    assert_int_equal(put(b, LOG_OS, 1, 10), lsn + 1 + LOG_SKIP_LSNS);
    bed_close(b);
    must_open(b);
    assert_int_equal(b->n, 2);
    assert_int_equal(b->n_skips, 1);
    assert_int_equal(b->last_lsn, lsn + 1 + LOG_SKIP_LSNS);
    assert_int_equal(put(b, LOG_OS, 1, 10), lsn + 2 + LOG_SKIP_LSNS);
    bed_free(b);
}

static void the_clock_is_carried_over_a_start_without_records(void **state)
{
    struct bed *b = bed_new();

    (void)state;
    must_open(b);
    b->clock = (uint64_t)77 << 16;
    put(b, LOG_OS, 1, 10);
    for (int i = 0; i < 3; i++) {
        bed_kill(b);
        must_open(b);
        assert_int_equal(b->info.last_clock, ((uint64_t)77 << 16) + 1);
    }
    bed_free(b);
}

static void what_was_not_committed_is_not_there(void **state)
{
    struct bed *b = bed_new();

    (void)state;
    must_open(b);
    put(b, LOG_OS, 2, 10);
    add(b, LOG_OS, 10);
    assert_int_equal(log_open_bytes(b->log), 12);
    bed_kill(b);
    must_open(b);
    assert_int_equal(b->n, 2);
    bed_free(b);
}

static void closing_commits_what_is_open(void **state)
{
    struct bed *b = bed_new();

    (void)state;
    must_open(b);
    add(b, LOG_OS, 10);
    bed_close(b);
    must_open(b);
    assert_int_equal(b->n, 1);
    assert_true(b->info.clean);
    bed_free(b);
}

static int refusing_replay(void *ctx, const struct log_record *r, struct err *e)
{
    (void)ctx;
    return err_set(e, ERR_CORRUPT, "record %llu makes no sense", (unsigned long long)r->lsn);
}

static void an_error_of_the_host_ends_the_start(void **state)
{
    struct bed *b = bed_new();
    uint64_t before;

    (void)state;
    must_open(b);
    put(b, LOG_OS, 3, 10);
    bed_close(b);
    before = simio_digest(b->disk);
    b->options.host.replay = refusing_replay;
    assert_int_equal(bed_open(b), ERR_CORRUPT);
    assert_string_equal(b->err.text, "record 1024 makes no sense");
    assert_true(before == simio_digest(b->disk));
    bed_free(b);
}

/* ---- files ---- */

static void a_full_file_is_followed_by_another(void **state)
{
    struct bed *b = bed_new();
    struct log_stats s;

    (void)state;
    must_open(b);
    settle(b);
    for (int i = 0; i < 1000; i++) {
        put(b, LOG_OS, 4, 100);
        settle(b);
    }
    log_get_stats(b->log, &s);
    assert_in_range(s.n_files, 7, 9);
    bed_close(b);
    must_open(b);
    assert_int_equal(b->n, 4000);
    assert_int_equal(b->info.n_files, s.n_files);
    bed_free(b);
}

static void a_batch_longer_than_a_file_gets_a_longer_file(void **state)
{
    struct bed *b = bed_new();
    size_t n;
    uint64_t lsn;

    (void)state;
    must_open(b);
    put(b, LOG_OS, 1, 10);
    lsn = put(b, LOG_OS, 300, 1000);
    settle(b);
    assert_int_equal(log_written_lsn(b->log), lsn);
    assert_non_null(simio_bytes(b->disk, path_of(LOG_FIRST_LSN + 1), &n));
    assert_true(n > 300 * 1000);
    put(b, LOG_OS, 1, 10);
    settle(b);
    bed_close(b);
    must_open(b);
    assert_int_equal(b->n, 302);
    bed_free(b);
}

static void names_that_are_not_the_logs_are_left_alone(void **state)
{
    struct bed *b = bed_new();
    size_t n;

    (void)state;
    must_open(b);
    put(b, LOG_OS, 1, 10);
    bed_close(b);
    simio_put(b->disk, DIR "/notes.txt", "mine", 4);
    simio_put(b->disk, DIR "/wal-1024.log", "mine", 4);
    must_open(b);
    bed_close(b);
    assert_memory_equal(simio_bytes(b->disk, DIR "/notes.txt", &n), "mine", 4);
    assert_memory_equal(simio_bytes(b->disk, DIR "/wal-1024.log", &n), "mine", 4);
    bed_free(b);
}

static void a_clean_end_leaves_no_spare_files(void **state)
{
    struct bed *b = bed_new();
    size_t n;

    (void)state;
    must_open(b);
    settle(b);
    assert_non_null(simio_bytes(b->disk, DIR "/" WAL_NEXT_NAME, &n));
    assert_int_equal(n, FILE_BYTES);
    assert_non_null(simio_bytes(b->disk, DIR "/" WAL_RESERVE_NAME, &n));
    bed_close(b);
    assert_null(simio_bytes(b->disk, DIR "/" WAL_NEXT_NAME, &n));
    assert_null(simio_bytes(b->disk, DIR "/" WAL_RESERVE_NAME, &n));
    bed_free(b);
}

/* ---- limits ---- */

static void a_batch_may_be_as_long_as_the_limit_and_no_longer(void **state)
{
    struct bed *b = bed_new();
    uint64_t lsn;
    uint8_t *p;

    (void)state;
    b->options.batch_bytes_max = 10000;
    must_open(b);
    assert_int_equal(log_reserve(b->log, 10001, &b->err), ERR_TOO_BIG);
    assert_non_null(strstr(b->err.text, "10001"));
    assert_non_null(strstr(b->err.text, "10000"));
    assert_int_equal(log_reserve(b->log, SIZE_MAX, &b->err), ERR_TOO_BIG);
    assert_int_equal(log_reserve(b->log, 10000, &b->err), OK);
    p = log_append(b->log, TYPE, LOG_OS, 1000, &lsn);
    fill(p, 1000, lsn);
    assert_int_equal(log_open_bytes(b->log), 1003);
    assert_int_equal(log_reserve(b->log, 8997, &b->err), OK);
    assert_int_equal(log_reserve(b->log, 8998, &b->err), ERR_TOO_BIG);
    log_commit(b->log, false);
    assert_int_equal(log_reserve(b->log, 10000, &b->err), OK);
    settle(b);
    bed_close(b);
    must_open(b);
    assert_int_equal(b->n, 1);
    bed_free(b);
}

/* Sets everything from `from` on to zero, as if it had not been written. */
static void erase(struct simio *disk, const char *path, size_t from)
{
    size_t n;
    const uint8_t *p = simio_bytes(disk, path, &n);
    uint8_t *copy = malloc(n);

    assert_non_null(copy);
    memcpy(copy, p, n);
    memset(copy + from, 0, n - from);
    simio_put(disk, path, copy, n);
    free(copy);
}

/* Where frames of the file start behind its first batch, markers left out; the end of the last one
 * comes last. */
static size_t find_frames(const struct simio *disk, const char *path, uint64_t index, size_t *out,
                          size_t max)
{
    size_t size, n = 0, pos = WAL_HEADER_BYTES;
    const uint8_t *p = simio_bytes(disk, path, &size);
    struct wal_header h;
    struct wal_frame f;
    struct err e = { 0 };

    assert_int_equal(wal_header_get(p, &h, &e), OK);
    while (pos + WAL_FRAME_BYTES <= size) {
        if (!wal_frame_get(p + pos, wal_seed(h.salt), &f)) {
            pos += 8;
            continue;
        }
        if (f.index == index) {
            assert_true(n + 1 < max);
            out[n++] = pos;
            out[n] = pos + wal_frame_size(f.payload_len);
        }
        pos += wal_frame_size(f.payload_len);
    }
    return n;
}

/* Starts from a copy of the disk on which the file ends at `from`. Returns how many records are
 * there. */
static uint64_t count_after_cut(const struct bed *b, const char *path, size_t from)
{
    struct bed cut = *b;
    uint64_t n;

    cut.disk = simio_copy(b->disk);
    cut.options.io = simio_io(cut.disk);
    cut.options.host.ctx = &cut;
    erase(cut.disk, path, from);
    must_open(&cut);
    assert_false(cut.info.clean);
    n = cut.n;
    log_abandon(cut.log);
    simio_free(cut.disk);
    return n;
}

/* A batch in a file of its own, of which every cut at and in a frame is tried. */
static void check_cuts(struct bed *b, uint64_t n_before, uint64_t n_batch, size_t want_frames)
{
    size_t at[64], n;
    char path[64];

    snprintf(path, sizeof path, "%s", path_of(LOG_FIRST_LSN + n_before));
    n = find_frames(b->disk, path, 2, at, 64);
    assert_int_equal(n, want_frames);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(count_after_cut(b, path, at[i]), n_before);
        assert_int_equal(count_after_cut(b, path, at[i] + WAL_FRAME_BYTES), n_before);
        assert_int_equal(count_after_cut(b, path, at[i + 1] - 9), n_before);
    }
    assert_int_equal(count_after_cut(b, path, at[n]), n_before + n_batch);
}

static void a_batch_of_200000_records_is_all_there_or_not_at_all(void **state)
{
    struct bed *b = bed_new();

    (void)state;
    must_open(b);
    put(b, LOG_OS, 10, 10);
    put(b, LOG_OS, 200000, 6);
    settle(b);
    bed_kill(b);
    check_cuts(b, 10, 200000, 4);
    bed_free(b);
}

/* As large as a value may be with CRASH=full, which takes a minute; else as many frames of less. */
static void a_record_cut_by_many_frames_is_all_there_or_not_at_all(void **state)
{
    const char *crash = getenv("CRASH");
    uint32_t frame_bytes = crash != NULL && strcmp(crash, "full") == 0 ? 16 << 20 : 64 << 10;
    struct bed *b = bed_new();

    (void)state;
    b->options.frame_bytes_max = frame_bytes;
    b->options.batch_bytes_max = 40 * (uint64_t)frame_bytes;
    must_open(b);
    put(b, LOG_OS, 10, 10);
    add(b, LOG_OS, 3);
    add(b, LOG_OS, 32 * (size_t)frame_bytes);
    put(b, LOG_OS, 1, 3);
    settle(b);
    bed_kill(b);
    check_cuts(b, 10, 3, 33);
    bed_free(b);
}

/* Frames of one byte cut records within their lengths. */
static void records_cut_at_every_byte_come_back(void **state)
{
    struct bed *b = bed_new();

    (void)state;
    b->options.frame_bytes_max = 1;
    must_open(b);
    add(b, LOG_OS, 0);
    add(b, LOG_OS, 300);
    put(b, LOG_OS, 1, 1);
    settle(b);
    bed_close(b);
    must_open(b);
    assert_int_equal(b->n, 3);
    assert_int_equal(b->bytes, 301);
    bed_free(b);
}

static void the_records_of_a_frame_are_bounded(void **state)
{
    struct bed *b = bed_new();
    size_t at[8];

    (void)state;
    b->options.file_bytes = 8 << 20;
    must_open(b);
    put(b, LOG_OS, WAL_RECORDS_MAX, 1);
    put(b, LOG_OS, WAL_RECORDS_MAX + 1, 1);
    settle(b);
    assert_int_equal(find_frames(b->disk, path_of(LOG_FIRST_LSN), 1, at, 8), 1);
    assert_int_equal(find_frames(b->disk, path_of(LOG_FIRST_LSN), 2, at, 8), 2);
    bed_close(b);
    must_open(b);
    assert_int_equal(b->n, 2 * WAL_RECORDS_MAX + 1);
    bed_free(b);
}

/* ---- classes and watermarks ---- */

static void os_is_written_at_once_and_synced_with_the_file(void **state)
{
    struct bed *b = bed_new();
    uint64_t lsn;

    (void)state;
    must_open(b);
    settle(b);
    lsn = put(b, LOG_OS, 3, 100);
    assert_int_equal(log_written_lsn(b->log), lsn);
    assert_int_equal(log_released_lsn(b->log), lsn);
    simio_advance_ms(b->disk, 100000);
    assert_false(log_step(b->log));
    assert_int_equal(log_durable_lsn(b->log), LOG_FIRST_LSN - 1);
    put(b, LOG_OS, 1, FILE_BYTES);
    assert_true(log_step(b->log));
    assert_int_equal(log_durable_lsn(b->log), lsn);
    bed_free(b);
}

static void interval_is_synced_when_its_time_has_come(void **state)
{
    struct bed *b = bed_new();
    uint64_t lsn;

    (void)state;
    must_open(b);
    settle(b);
    lsn = put(b, LOG_INTERVAL, 1, 100);
    simio_advance_ms(b->disk, 600);
    lsn = put(b, LOG_INTERVAL, 1, 100);
    simio_advance_ms(b->disk, 399);
    assert_false(log_step(b->log));
    simio_advance_ms(b->disk, 1);
    assert_true(log_step(b->log));
    assert_int_equal(log_durable_lsn(b->log), lsn);
    simio_advance_ms(b->disk, 100000);
    assert_false(log_step(b->log));
    bed_free(b);
}

static void interval_holds_replies_at_twice_its_time(void **state)
{
    struct bed *b = bed_new();
    uint64_t first, second;

    (void)state;
    must_open(b);
    settle(b);
    first = put(b, LOG_INTERVAL, 1, 100);
    simio_advance_ms(b->disk, 1999);
    assert_int_equal(log_released_lsn(b->log), first);
    second = put(b, LOG_INTERVAL, 1, 100);
    simio_advance_ms(b->disk, 1);
    assert_int_equal(log_written_lsn(b->log), second);
    assert_int_equal(log_released_lsn(b->log), first);
    assert_true(log_step(b->log));
    assert_int_equal(log_released_lsn(b->log), second);
    bed_free(b);
}

static void always_is_synced_at_once_for_all_that_has_gathered(void **state)
{
    struct bed *b = bed_new();
    struct log_stats before, after;
    uint64_t lsn = 0;

    (void)state;
    must_open(b);
    settle(b);
    log_get_stats(b->log, &before);
    for (int i = 0; i < 10; i++)
        lsn = put(b, LOG_ALWAYS, 1, 100);
    assert_int_equal(log_written_lsn(b->log), lsn);
    assert_true(log_durable_lsn(b->log) < lsn);
    assert_true(log_step(b->log));
    assert_int_equal(log_durable_lsn(b->log), lsn);
    log_get_stats(b->log, &after);
    assert_int_equal(after.n_syncs - before.n_syncs, 1);
    assert_int_equal(after.n_always_records - before.n_always_records, 10);
    bed_free(b);
}

/* 20 ms after the last `always` batch a marker proves it; then there is nothing to do, for ever. */
static void silence_after_always_is_marked_once(void **state)
{
    struct bed *b = bed_new();
    uint64_t ops;

    (void)state;
    must_open(b);
    settle(b);
    put(b, LOG_ALWAYS, 1, 100);
    settle(b);
    simio_advance_ms(b->disk, 19);
    assert_false(log_step(b->log));
    simio_advance_ms(b->disk, 1);
    assert_true(log_step(b->log));
    settle(b);
    ops = simio_n_ops(b->disk);
    for (int i = 0; i < 100; i++) {
        simio_advance_ms(b->disk, 1000);
        assert_false(log_step(b->log));
    }
    assert_int_equal(simio_n_ops(b->disk), ops);
    bed_free(b);
}

static void a_marker_makes_damage_to_the_last_batch_known(void **state)
{
    struct bed *b = bed_new();
    size_t at[4];

    (void)state;
    must_open(b);
    settle(b);
    put(b, LOG_ALWAYS, 1, 100);
    settle(b);
    simio_advance_ms(b->disk, 20);
    settle(b);
    bed_kill(b);
    assert_int_equal(find_frames(b->disk, path_of(LOG_FIRST_LSN), 1, at, 4), 1);
    simio_poke(b->disk, path_of(LOG_FIRST_LSN), at[0] + 70, 99);
    assert_int_equal(bed_open(b), ERR_CORRUPT);
    bed_free(b);
}

static void a_fast_disk_is_synced_inline_and_a_slow_one_is_not(void **state)
{
    struct bed *b = bed_new();
    struct log_stats s;
    uint64_t lsn;
    int n = 0;

    (void)state;
    must_open(b);
    settle(b);
    add(b, LOG_ALWAYS, 10);
    log_commit(b->log, true);
    assert_true(log_durable_lsn(b->log) < log_last_lsn(b->log)); /* nothing is known yet */
    settle(b);
    lsn = add(b, LOG_ALWAYS, 10);
    log_commit(b->log, true);
    assert_int_equal(log_durable_lsn(b->log), lsn);
    lsn = add(b, LOG_INTERVAL, 10);
    log_commit(b->log, true);
    assert_true(log_durable_lsn(b->log) < lsn);
    lsn = put(b, LOG_ALWAYS, 1, 10);
    assert_true(log_durable_lsn(b->log) < lsn);
    settle(b);
    simio_set_latency_ns(b->disk, SIMIO_SYNC, 5000000);
    for (int i = 0; i < 10; i++) {
        add(b, LOG_ALWAYS, 10);
        log_commit(b->log, true);
        settle(b);
    }
    log_get_stats(b->log, &s);
    assert_int_equal(s.n_inline_syncs, 2);
    simio_set_latency_ns(b->disk, SIMIO_SYNC, 100000);
    while (n++ < 100 && s.n_inline_syncs == 2) {
        add(b, LOG_ALWAYS, 10);
        log_commit(b->log, true);
        settle(b);
        log_get_stats(b->log, &s);
    }
    assert_int_equal(s.n_inline_syncs, 3); /* it comes back */
    bed_free(b);
}

/* How many ms pass until batches are written inline again. */
static uint64_t pause_ms(struct bed *b)
{
    for (uint64_t ms = 0; ms <= 5000; ms++) {
        uint64_t lsn = put(b, LOG_OS, 1, 10);
        if (log_written_lsn(b->log) == lsn)
            return ms;
        settle(b);
        assert_int_equal(log_written_lsn(b->log), lsn);
        simio_advance_ms(b->disk, 1);
    }
    return UINT64_MAX;
}

static void slow_inline_writes_are_followed_by_longer_and_longer_pauses(void **state)
{
    static const uint64_t want[] = { 10, 20, 40, 80, 160, 320, 640, 1000, 1000 };
    struct bed *b = bed_new();
    struct log_stats s;

    (void)state;
    b->options.file_bytes = 1 << 20;
    must_open(b);
    settle(b);
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        simio_set_latency_ns(b->disk, SIMIO_WRITE, 1500000);
        put(b, LOG_OS, 1, 10);
        simio_set_latency_ns(b->disk, SIMIO_WRITE, 0);
        assert_int_equal(pause_ms(b), want[i]);
    }
    log_get_stats(b->log, &s);
    assert_int_equal(s.n_slow_inline, sizeof want / sizeof want[0]);
    simio_advance_ms(b->disk, 3000); /* long ago: the next one may be chance again */
    simio_set_latency_ns(b->disk, SIMIO_WRITE, 1500000);
    put(b, LOG_OS, 1, 10);
    simio_set_latency_ns(b->disk, SIMIO_WRITE, 0);
    assert_int_equal(pause_ms(b), 10);
    bed_free(b);
}

static void a_batch_never_overtakes_a_queued_one(void **state)
{
    struct bed *b = bed_new();
    uint64_t first, second;

    (void)state;
    must_open(b);
    settle(b);
    first = put(b, LOG_OS, 1, FILE_BYTES); /* needs another file, so it is queued */
    second = put(b, LOG_OS, 1, 10);
    assert_true(log_written_lsn(b->log) < first);
    settle(b);
    assert_int_equal(log_written_lsn(b->log), second);
    bed_close(b);
    must_open(b);
    assert_int_equal(b->n, 2);
    bed_free(b);
}

static void the_first_frame_after_a_sync_starts_a_sector(void **state)
{
    struct bed *b = bed_new();
    size_t at[4];

    (void)state;
    must_open(b);
    settle(b);
    for (int i = 0; i < 5; i++) {
        put(b, LOG_ALWAYS, 1, 10);
        settle(b);
        put(b, LOG_OS, 1, 10);
    }
    for (uint64_t index = 1; index <= 10; index++) {
        assert_int_equal(find_frames(b->disk, path_of(LOG_FIRST_LSN), index, at, 4), 1);
        assert_int_equal(at[0] % 512 == 0, index % 2 == 0 || index == 1);
    }
    bed_free(b);
}

/* ---- full disks and failing ones ---- */

static void a_full_disk_is_told_and_ends_by_itself(void **state)
{
    struct bed *b = bed_new();
    uint64_t lsn = 0;
    struct log_stats s;

    (void)state;
    simio_set_capacity(b->disk, 6 * FILE_BYTES, true);
    must_open(b);
    settle(b);
    assert_false(log_is_full(b->log));
    for (int i = 0; i < 1000 && !log_is_full(b->log); i++) {
        lsn = put(b, LOG_OS, 1, 1000);
        settle(b);
    }
    assert_true(log_is_full(b->log));
    assert_int_equal(log_written_lsn(b->log), lsn);
    assert_int_equal(log_reserve(b->log, 2 << 20, &b->err), ERR_FULL);
    simio_set_capacity(b->disk, 20 * FILE_BYTES, true);
    assert_false(log_step(b->log)); /* not before a second has passed */
    simio_advance_ms(b->disk, 1000);
    settle(b);
    assert_false(log_is_full(b->log));
    log_get_stats(b->log, &s);
    assert_int_equal(s.n_full, 1);
    assert_int_equal(log_failure(b->log, &b->err), OK);
    bed_free(b);
}

static void a_full_disk_leaves_a_reserve_of_one_file(void **state)
{
    struct bed *b = bed_new();
    uint64_t n = 0, lsn = 0;

    (void)state;
    simio_set_capacity(b->disk, 6 * FILE_BYTES, true);
    must_open(b);
    settle(b);
    while (!log_is_full(b->log)) {
        lsn = put(b, LOG_OS, 1, 1000);
        settle(b);
    }
    while (log_written_lsn(b->log) == lsn && n < 1000) {
        lsn = put(b, LOG_OS, 1, 1000);
        settle(b);
        n++;
    }
    assert_true(n * 1000 >= FILE_BYTES); /* a reserve was there, and what does not fit waits */
    assert_int_equal(log_failure(b->log, &b->err), OK);
    assert_true(log_released_lsn(b->log) < lsn);
    simio_set_capacity(b->disk, 20 * FILE_BYTES, true);
    simio_advance_ms(b->disk, 1000);
    settle(b);
    assert_int_equal(log_written_lsn(b->log), lsn);
    bed_close(b);
    must_open(b);
    assert_int_equal(b->last_lsn, lsn);
    bed_free(b);
}

static void a_write_refused_for_space_goes_on_in_the_next_file(void **state)
{
    struct bed *b = bed_new();
    uint64_t lsn;

    (void)state;
    b->options.frame_bytes_max = 500;
    must_open(b);
    settle(b);
    put(b, LOG_ALWAYS, 2, 1000);
    simio_fault_at(b->disk, simio_n_ops(b->disk) + 3, 1, SIMIO_ENOSPC); /* within a run of frames */
    lsn = put(b, LOG_ALWAYS, 5, 1000);
    assert_true(log_written_lsn(b->log) < lsn);
    assert_true(log_is_full(b->log));
    settle(b);
    assert_int_equal(log_durable_lsn(b->log), lsn);
    bed_kill(b);
    must_open(b);
    assert_int_equal(b->n, 7);
    assert_int_equal(b->info.n_files, 2);
    bed_free(b);
}

static void after_a_failed_write_nothing_is_acknowledged(void **state)
{
    struct bed *b = bed_new();
    uint64_t lsn;

    (void)state;
    must_open(b);
    settle(b);
    lsn = put(b, LOG_ALWAYS, 1, 10);
    settle(b);
    simio_fault_at(b->disk, simio_n_ops(b->disk), 1, SIMIO_EIO);
    put(b, LOG_ALWAYS, 1, 10);
    assert_int_equal(log_failure(b->log, &b->err), ERR_IO);
    assert_non_null(strstr(b->err.text, "wal-00000000000000001024.log"));
    for (int i = 0; i < 10; i++)
        put(b, LOG_ALWAYS, 1, 10);
    settle(b);
    assert_int_equal(log_written_lsn(b->log), lsn);
    assert_int_equal(log_durable_lsn(b->log), lsn);
    assert_int_equal(log_close(b->log, &b->err), ERR_IO);
    b->log = NULL;
    simio_restart(b->disk);
    must_open(b);
    assert_int_equal(b->last_lsn, lsn);
    bed_free(b);
}

static void a_failed_sync_is_not_tried_again(void **state)
{
    struct bed *b = bed_new();
    uint64_t lsn, durable;

    (void)state;
    must_open(b);
    settle(b);
    durable = log_durable_lsn(b->log);
    lsn = put(b, LOG_ALWAYS, 1, 10);
    simio_fault_at(b->disk, simio_n_ops(b->disk), 1, SIMIO_EIO);
    settle(b);
    assert_int_equal(log_failure(b->log, &b->err), ERR_IO);
    assert_int_equal(log_written_lsn(b->log), lsn);
    assert_int_equal(log_durable_lsn(b->log), durable);
    assert_false(log_step(b->log));
    bed_free(b);
}

/* ---- what an operator is told ---- */

/* A store with three durable batches in each of two files. */
static struct bed *bed_with_two_files(void)
{
    struct bed *b = bed_new();

    must_open(b);
    settle(b);
    for (int i = 0; i < 3; i++)
        put(b, LOG_ALWAYS, 1, 15000);
    settle(b);
    for (int i = 0; i < 3; i++) {
        put(b, LOG_ALWAYS, 1, 18000);
        settle(b);
    }
    bed_close(b);
    return b;
}

/* STORE with a field changed and the checksum right. */
static void patch_store(struct bed *b, size_t at, uint8_t value)
{
    uint8_t bytes[STORE_BYTES];
    size_t n;

    memcpy(bytes, simio_bytes(b->disk, DIR "/STORE", &n), STORE_BYTES);
    bytes[at] = value;
    put_u32le(bytes + STORE_BYTES - 4, crc32c(0, bytes, STORE_BYTES - 4));
    simio_put(b->disk, DIR "/STORE", bytes, STORE_BYTES);
}

static void harm_foreign(struct bed *b)
{
    simio_remove(b->disk, DIR "/STORE");
    simio_remove(b->disk, path_of(LOG_FIRST_LSN));
    simio_remove(b->disk, path_of(LOG_FIRST_LSN + 3));
    simio_put(b->disk, DIR "/photo.jpg", "x", 1);
}

static void harm_no_store(struct bed *b)
{
    simio_remove(b->disk, DIR "/STORE");
}

static void harm_newer(struct bed *b)
{
    patch_store(b, 8, 2);
}

static void harm_incompat(struct bed *b)
{
    patch_store(b, 16, 4);
}

static void harm_magic(struct bed *b)
{
    simio_put(b->disk, DIR "/STORE",
              "something else entirely, and longer than a STORE needs to be.....", 64);
}

static void harm_store_bit(struct bed *b)
{
    simio_poke(b->disk, DIR "/STORE", 30, 1);
}

static void harm_store_short(struct bed *b)
{
    simio_cut(b->disk, DIR "/STORE", 63);
}

static void harm_store_long(struct bed *b)
{
    simio_cut(b->disk, DIR "/STORE", 65);
}

static void harm_no_first_file(struct bed *b)
{
    simio_remove(b->disk, path_of(LOG_FIRST_LSN));
}

static void harm_first_header(struct bed *b)
{
    simio_poke(b->disk, path_of(LOG_FIRST_LSN), 3000, 1);
}

static void harm_payload(struct bed *b)
{
    simio_poke(b->disk, path_of(LOG_FIRST_LSN), 4096 + 512 + 100, 1);
}

static void harm_second_header(struct bed *b)
{
    simio_poke(b->disk, path_of(LOG_FIRST_LSN + 3), 3000, 1);
}

static void harm_other_store(struct bed *b)
{
    uint8_t header[WAL_HEADER_BYTES];
    struct wal_header h;
    size_t n;

    assert_int_equal(
        wal_header_get(simio_bytes(b->disk, path_of(LOG_FIRST_LSN + 3), &n), &h, &b->err), OK);
    h.uuid[0] ^= 1;
    wal_header_put(header, &h);
    for (size_t i = 0; i < sizeof header; i++)
        simio_poke(b->disk, path_of(LOG_FIRST_LSN + 3), i, header[i]);
}

static void a_store_that_cannot_be_used_is_refused_in_one_line_and_left_as_it_is(void **state)
{
    static const struct {
        const char *why;
        void (*harm)(struct bed *b);
        int code;
        const char *file, *what, *advice;
    } cases[] = {
        { "foreign files", harm_foreign, ERR_FORMAT, DIR ":", "no store", "give --dir" },
        { "STORE is gone", harm_no_store, ERR_CORRUPT, DIR "/STORE", "is missing", "backup" },
        { "newer version", harm_newer, ERR_FORMAT, DIR "/STORE", "format 2", "newer beckd" },
        { "unknown feature", harm_incompat, ERR_FORMAT, DIR "/STORE", "0x4", "newer beckd" },
        { "not a STORE", harm_magic, ERR_FORMAT, DIR "/STORE", "not Beck's", "give --dir" },
        { "STORE damaged", harm_store_bit, ERR_CORRUPT, DIR "/STORE", "checksum", "backup" },
        { "STORE cut", harm_store_short, ERR_CORRUPT, DIR "/STORE", "shorter", "backup" },
        { "STORE longer", harm_store_long, ERR_CORRUPT, DIR "/STORE", "longer", "backup" },
        { "first file gone", harm_no_first_file, ERR_CORRUPT, "01024.log", "missing", "--salvage" },
        { "first header", harm_first_header, ERR_CORRUPT, "01024.log", "checksum", "--salvage" },
        { "record", harm_payload, ERR_CORRUPT, "01024.log", "damaged at byte 4096", "--salvage" },
        { "second header", harm_second_header, ERR_CORRUPT, "01027.log", "checksum", "--salvage" },
        { "file of another store", harm_other_store, ERR_CORRUPT, "01027.log", "another store",
          "--salvage" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bed *b = bed_with_two_files();
        uint64_t before;

        cases[i].harm(b);
        before = simio_digest(b->disk);
        assert_int_equal(bed_open(b), cases[i].code);
        print_message("  %s: %s\n", cases[i].why, b->err.text);
        assert_null(strchr(b->err.text, '\n'));
        assert_non_null(strstr(b->err.text, cases[i].file));
        assert_non_null(strstr(b->err.text, cases[i].what));
        assert_non_null(strstr(b->err.text, cases[i].advice));
        assert_true(before == simio_digest(b->disk));
        bed_free(b);
    }
}

/* Its frames may have been in the part that is gone. A closed log is known to be whole. */
static void a_newest_file_that_is_cut_short_is_damaged_unless_it_was_closed(void **state)
{
    struct bed *b = bed_with_two_files();

    (void)state;
    simio_cut(b->disk, path_of(LOG_FIRST_LSN), FILE_BYTES - 1);
    simio_cut(b->disk, path_of(LOG_FIRST_LSN + 3), FILE_BYTES - 1);
    must_open(b);
    assert_int_equal(b->n, 6);
    bed_kill(b);
    simio_cut(b->disk, path_of(LOG_FIRST_LSN + 3), FILE_BYTES - 1);
    assert_int_equal(bed_open(b), ERR_CORRUPT);
    print_message("  %s\n", b->err.text);
    assert_non_null(strstr(b->err.text, "cut off at byte 65535"));
    assert_non_null(strstr(b->err.text, "records from 1030 on may be missing"));
    b->options.salvage = true;
    must_open(b);
    assert_int_equal(b->n, 6);
    bed_free(b);
}

static void a_store_in_use_is_refused(void **state)
{
    struct bed *b = bed_new();
    struct log *second;
    struct err e = { 0 };

    (void)state;
    must_open(b);
    assert_int_equal(log_open(&b->options, &second, NULL, &e), ERR_LOCKED);
    assert_string_equal(
        e.text,
        DIR "/STORE: in use by another beckd; stop that one, or give this one another --dir");
    bed_free(b);
}

static void a_disk_without_room_for_a_start_is_told(void **state)
{
    struct bed *b = bed_with_two_files();

    (void)state;
    simio_set_capacity(b->disk, simio_used_bytes(b->disk) + 1000, true);
    assert_int_equal(bed_open(b), ERR_FULL);
    print_message("  %s\n", b->err.text);
    assert_non_null(strstr(b->err.text, "start again"));
    simio_set_capacity(b->disk, 0, true);
    must_open(b);
    assert_int_equal(b->n, 6);
    bed_free(b);
}

/* ---- salvage ---- */

struct kept {
    size_t n;
    char path[4][120];
};

static void note_quarantine(void *ctx, const char *path)
{
    struct kept *k = ctx;

    if (strstr(path, "/quarantine/") != NULL && k->n < 4)
        snprintf(k->path[k->n++], sizeof k->path[0], "%s", path);
}

static void salvage_goes_on_before_the_damage_and_keeps_the_rest(void **state)
{
    struct bed *b = bed_with_two_files();
    struct kept kept = { 0 };
    uint8_t *old;
    size_t n;

    (void)state;
    harm_payload(b);
    old = malloc(FILE_BYTES);
    assert_non_null(old);
    memcpy(old, simio_bytes(b->disk, path_of(LOG_FIRST_LSN), &n), FILE_BYTES);
    assert_int_equal(bed_open(b), ERR_CORRUPT);
    b->options.salvage = true;
    must_open(b);
    assert_int_equal(b->n, 0);
    assert_true(b->info.salvaged_bytes > FILE_BYTES);
    assert_true(log_last_lsn(b->log) >= LOG_FIRST_LSN + 5 + LOG_SKIP_LSNS);
    simio_each_file(b->disk, note_quarantine, &kept);
    assert_int_equal(kept.n, 2);
    assert_non_null(strstr(kept.path[0], "01024.log."));
    assert_memory_equal(simio_bytes(b->disk, kept.path[0], &n), old, FILE_BYTES);
    assert_non_null(strstr(kept.path[1], "01027.log."));
    put(b, LOG_ALWAYS, 1, 10);
    settle(b);
    bed_close(b);
    b->options.salvage = false;
    must_open(b);
    assert_int_equal(b->n, 1);
    assert_true(b->info.clean);
    free(old);
    bed_free(b);
}

static void salvage_of_a_later_file_keeps_the_files_before(void **state)
{
    struct bed *b = bed_with_two_files();

    (void)state;
    harm_second_header(b);
    b->options.salvage = true;
    must_open(b);
    assert_int_equal(b->n, 3);
    assert_true(log_last_lsn(b->log) >= LOG_FIRST_LSN + 5 + LOG_SKIP_LSNS);
    bed_free(b);
}

static void salvage_without_any_file_begins_anew(void **state)
{
    struct bed *b = bed_with_two_files();

    (void)state;
    simio_remove(b->disk, path_of(LOG_FIRST_LSN));
    simio_remove(b->disk, path_of(LOG_FIRST_LSN + 3));
    assert_int_equal(bed_open(b), ERR_CORRUPT);
    b->options.salvage = true;
    must_open(b);
    assert_int_equal(b->n, 0);
    put(b, LOG_OS, 1, 10);
    bed_close(b);
    b->options.salvage = false;
    must_open(b);
    assert_int_equal(b->n, 1);
    bed_free(b);
}

static void salvage_of_a_sound_store_changes_nothing(void **state)
{
    struct bed *b = bed_with_two_files();
    struct kept kept = { 0 };

    (void)state;
    b->options.salvage = true;
    must_open(b);
    assert_int_equal(b->n, 6);
    assert_true(b->info.clean);
    simio_each_file(b->disk, note_quarantine, &kept);
    assert_int_equal(kept.n, 0);
    bed_free(b);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_store_begins_at_lsn_1024),
        cmocka_unit_test(records_come_back_in_order_with_lsn_clock_and_body),
        cmocka_unit_test(after_a_clean_end_lsns_go_on_without_a_gap),
        cmocka_unit_test(after_an_unclean_end_lsns_jump_by_a_logged_record),
        cmocka_unit_test(the_clock_is_carried_over_a_start_without_records),
        cmocka_unit_test(what_was_not_committed_is_not_there),
        cmocka_unit_test(closing_commits_what_is_open),
        cmocka_unit_test(an_error_of_the_host_ends_the_start),
        cmocka_unit_test(a_full_file_is_followed_by_another),
        cmocka_unit_test(a_batch_longer_than_a_file_gets_a_longer_file),
        cmocka_unit_test(names_that_are_not_the_logs_are_left_alone),
        cmocka_unit_test(a_clean_end_leaves_no_spare_files),
        cmocka_unit_test(a_batch_may_be_as_long_as_the_limit_and_no_longer),
        cmocka_unit_test(a_batch_of_200000_records_is_all_there_or_not_at_all),
        cmocka_unit_test(a_record_cut_by_many_frames_is_all_there_or_not_at_all),
        cmocka_unit_test(records_cut_at_every_byte_come_back),
        cmocka_unit_test(the_records_of_a_frame_are_bounded),
        cmocka_unit_test(os_is_written_at_once_and_synced_with_the_file),
        cmocka_unit_test(interval_is_synced_when_its_time_has_come),
        cmocka_unit_test(interval_holds_replies_at_twice_its_time),
        cmocka_unit_test(always_is_synced_at_once_for_all_that_has_gathered),
        cmocka_unit_test(silence_after_always_is_marked_once),
        cmocka_unit_test(a_marker_makes_damage_to_the_last_batch_known),
        cmocka_unit_test(a_fast_disk_is_synced_inline_and_a_slow_one_is_not),
        cmocka_unit_test(slow_inline_writes_are_followed_by_longer_and_longer_pauses),
        cmocka_unit_test(a_batch_never_overtakes_a_queued_one),
        cmocka_unit_test(the_first_frame_after_a_sync_starts_a_sector),
        cmocka_unit_test(a_full_disk_is_told_and_ends_by_itself),
        cmocka_unit_test(a_full_disk_leaves_a_reserve_of_one_file),
        cmocka_unit_test(a_write_refused_for_space_goes_on_in_the_next_file),
        cmocka_unit_test(after_a_failed_write_nothing_is_acknowledged),
        cmocka_unit_test(a_failed_sync_is_not_tried_again),
        cmocka_unit_test(a_store_that_cannot_be_used_is_refused_in_one_line_and_left_as_it_is),
        cmocka_unit_test(a_newest_file_that_is_cut_short_is_damaged_unless_it_was_closed),
        cmocka_unit_test(a_store_in_use_is_refused),
        cmocka_unit_test(a_disk_without_room_for_a_start_is_told),
        cmocka_unit_test(salvage_goes_on_before_the_damage_and_keeps_the_rest),
        cmocka_unit_test(salvage_of_a_later_file_keeps_the_files_before),
        cmocka_unit_test(salvage_without_any_file_begins_anew),
        cmocka_unit_test(salvage_of_a_sound_store_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
