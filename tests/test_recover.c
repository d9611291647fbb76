/* test_recover.c - a log that does not begin at its first record: what is read, what goes where, what is refused, and how
 * files are given back.
 *
 * The keeper's part is played by the test: it says what segments and a checkpoint have, and notes what it is given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/io.h"
#include "tests/lib/walbed.h"

/* A log of 30 batches in some 5 files, closed. */
static struct walbed *bed_with_files(struct walbed_names *files)
{
    struct walbed *b = walbed_new();

    walbed_open(b);
    walbed_put(b, 30);
    walbed_close(b);
    *files = walbed_files(b->disk, "data");
    assert_true(files->n >= 5);
    return b;
}

static const char *path_of(uint64_t first_lsn)
{
    static char path[64];
    char name[WAL_NAME_MAX];

    wal_name(first_lsn, name);
    snprintf(path, sizeof path, "data/%s", name);
    return path;
}

enum { LAST = LOG_FIRST_LSN + 30 * WALBED_RECORDS - 1 };

/* ---- what is read ---- */

static void without_a_manifest_everything_is_read(void **state)
{
    struct walbed_names files;
    struct walbed *b = bed_with_files(&files);

    (void)state;
    walbed_open(b);
    assert_true(b->result.info.clean);
    assert_int_equal(b->first_lsn, LOG_FIRST_LSN);
    assert_int_equal(b->last_lsn, LAST);
    assert_int_equal(b->n_sealed, 0);
    assert_int_equal(b->took_first, LOG_FIRST_LSN);
    assert_int_equal(b->took_last, LAST);
    walbed_free(b);
}

/* One byte of a record stands for the batch that has it. */
static void what_is_sealed_is_replayed_but_not_kept(void **state)
{
    struct walbed_names files;
    struct walbed *b = bed_with_files(&files);

    (void)state;
    b->recover.start.sealed_lsn = LOG_FIRST_LSN + 12 * WALBED_RECORDS - 1;
    walbed_open(b);
    assert_int_equal(b->n, 30 * WALBED_RECORDS);
    assert_int_equal(b->n_sealed, 12 * WALBED_RECORDS);
    assert_int_equal(b->took_first, LOG_FIRST_LSN + 12 * WALBED_RECORDS);
    assert_int_equal(b->n_took, 18);
    assert_true(b->arena.bytes <
                19 * WALBED_RECORDS * (WALBED_BODY + 16) + ARENA_FIRST_BYTES + ARENA_CHUNK_BYTES);
    walbed_free(b);
}

static void between_batches_of_files_before_the_last_the_keeper_has_its_turn(void **state)
{
    struct walbed_names files;
    struct walbed *b = bed_with_files(&files);

    (void)state;
    walbed_open(b);
    assert_int_equal(b->durable_lsn, files.first_lsn[files.n - 1] - 1);
    assert_int_equal(b->n_turns, (b->durable_lsn + 1 - LOG_FIRST_LSN) / WALBED_RECORDS);
    walbed_kill(b);
    b->turn_rc = ERR_FULL;
    assert_int_equal(walbed_start(b), ERR_FULL);
    assert_string_equal(b->err.text, "the disk is full");
    assert_int_equal(b->n_turns, 1);
    walbed_free(b);
}

/* The checkpoint and the segments do not need the files before; the older checkpoint may. */
static void files_that_nothing_loaded_needs_are_neither_read_nor_removed(void **state)
{
    struct walbed_names files, after;
    struct walbed *b = bed_with_files(&files);
    uint64_t ops;

    (void)state;
    b->recover.start.sealed_lsn = files.first_lsn[3] + 5;
    b->recover.start.start_lsn = b->recover.start.end_lsn = files.first_lsn[3] - 1;
    for (size_t i = 0; i < 3; i++) /* reading them would fail */
        for (uint64_t pos = 0; pos < WALBED_FILE_BYTES; pos += SIMIO_SECTOR)
            simio_break_sector(b->disk, path_of(files.first_lsn[i]), pos);
    ops = simio_n_ops(b->disk);
    walbed_open(b);
    assert_true(simio_n_ops(b->disk) > ops);
    assert_int_equal(b->first_lsn, files.first_lsn[3]);
    assert_int_equal(b->last_lsn, LAST);
    assert_int_equal(b->result.info.n_files, files.n - 3);
    assert_int_equal(b->result.n_files, files.n);
    after = walbed_files(b->disk, "data");
    assert_int_equal(after.n, files.n);
    assert_memory_equal(after.first_lsn, files.first_lsn, sizeof after.first_lsn);
    assert_string_equal(b->result.info.note, "");
    walbed_free(b);
}

/* A file whose first record comes one too late has not what is needed. */
static void reading_begins_with_the_file_that_has_the_first_record_needed(void **state)
{
    struct walbed_names files;
    struct walbed *b = bed_with_files(&files);

    (void)state;
    for (uint64_t covered = files.first_lsn[2] - 3; covered < files.first_lsn[2] + 3; covered++) {
        struct simio *disk = simio_copy(b->disk);
        struct simio *whole = b->disk;
        uint64_t want = files.first_lsn[covered + 1 >= files.first_lsn[2] ? 2 : 1];

        b->disk = disk;
        b->options.io = simio_io(disk);
        b->recover.start = (struct keeper_start){
            .wal_first = LOG_FIRST_LSN, .sealed_lsn = LAST, .start_lsn = covered, .end_lsn = LAST
        };
        walbed_open(b);
        assert_int_equal(b->first_lsn, want);
        walbed_kill(b);
        b->recover.start.sealed_lsn = covered;
        b->recover.start.start_lsn = LAST;
        walbed_open(b);
        assert_int_equal(b->first_lsn, want);
        walbed_kill(b);
        simio_free(disk);
        b->disk = whole;
        b->options.io = simio_io(whole);
    }
    walbed_free(b);
}

static void without_a_checkpoint_all_that_is_kept_is_read(void **state)
{
    struct walbed_names files;
    struct walbed *b = bed_with_files(&files);

    (void)state;
    b->recover.start.sealed_lsn = LAST;
    walbed_open(b);
    assert_int_equal(b->n, 30 * WALBED_RECORDS);
    assert_int_equal(b->n_sealed, b->n);
    walbed_free(b);
}

static void the_clock_of_a_checkpoint_counts(void **state)
{
    struct walbed_names files;
    struct walbed *b = bed_with_files(&files);

    (void)state;
    b->recover.start.clock = 77;
    walbed_open(b);
    assert_int_equal(b->result.info.last_clock, 77);
    walbed_free(b);
}

/* ---- what is released ---- */

static void files_before_the_first_one_needed_are_removed(void **state)
{
    struct walbed_names files, after;
    struct walbed *b = bed_with_files(&files);

    (void)state;
    b->recover.start = (struct keeper_start){ .wal_first = files.first_lsn[2],
                                              .sealed_lsn = files.first_lsn[2] + 1,
                                              .start_lsn = files.first_lsn[2] + 1,
                                              .end_lsn = files.first_lsn[2] + 1 };
    walbed_open(b);
    assert_int_equal(b->first_lsn, files.first_lsn[2]);
    assert_int_equal(b->last_lsn, LAST);
    after = walbed_files(b->disk, "data");
    assert_int_equal(after.n, files.n - 2);
    assert_int_equal(after.first_lsn[0], files.first_lsn[2]);
    walbed_put(b, 10);
    walbed_close(b);
    walbed_open(b);
    assert_int_equal(b->last_lsn, LAST + 10 * WALBED_RECORDS);
    walbed_free(b);
}

/* How many of the files are gone; those that are there are the newest, and can be read. */
static size_t after_a_crash(struct walbed *b, const struct simio *crashed, uint64_t variant,
                            const struct walbed_names *files)
{
    struct walbed_names after;
    size_t gone;

    b->disk = simio_copy(crashed);
    b->options.io = simio_io(b->disk);
    simio_crash(b->disk, SIMIO_PREFIX, variant);
    after = walbed_files(b->disk, "data");
    assert_true(after.n >= files->n - 3 && after.n <= files->n);
    gone = files->n - after.n;
    for (size_t i = 0; i < after.n; i++)
        assert_int_equal(after.first_lsn[i], files->first_lsn[gone + i]);
    walbed_open(b);
    assert_true(b->last_lsn >= LAST);
    walbed_kill(b);
    simio_free(b->disk);
    return gone;
}

/* Removed oldest first: what is there after any crash is a log that can be read. */
static void a_crash_while_files_are_removed_leaves_no_gap(void **state)
{
    struct walbed_names files;
    struct walbed *b = bed_with_files(&files);
    struct simio *whole = b->disk;
    size_t n_seen[4] = { 0 };

    (void)state;
    b->recover.start = (struct keeper_start){
        .wal_first = files.first_lsn[3], .sealed_lsn = LAST, .start_lsn = LAST, .end_lsn = LAST
    };
    for (uint64_t at = 0, n_faults = 1; n_faults > 0; at++) {
        struct simio *crashed = simio_copy(whole);

        b->options.io = simio_io(crashed);
        simio_fault_at(crashed, simio_n_ops(crashed) + at, 1, SIMIO_CRASH);
        if (walbed_start(b) == OK) {
            b->options.io->close(b->options.io, b->result.cursor.fd);
            free(b->result.files);
        }
        n_faults = simio_n_faults(crashed);
        for (uint64_t variant = 0; variant < 8; variant++)
            n_seen[after_a_crash(b, crashed, variant, &files)]++;
        simio_free(crashed);
    }
    for (size_t i = 0; i <= 3; i++)
        assert_true(n_seen[i] > 0);
    b->disk = whole;
    walbed_free(b);
}

static void the_writer_gives_files_back_oldest_first(void **state)
{
    struct walbed *b = walbed_new();
    struct walbed_names files, after;
    struct log_stats stats = { 0 };
    uint64_t first;

    (void)state;
    walbed_open(b);
    walbed_put(b, 30);
    files = walbed_files(b->disk, "data");
    writer_get_stats(b->writer, &stats);
    assert_int_equal(stats.n_files, files.n);
    assert_int_equal(stats.file_bytes, files.n * WALBED_FILE_BYTES);
    assert_int_equal(writer_first_needed(b->writer, 0), LOG_FIRST_LSN);
    assert_int_equal(writer_first_needed(b->writer, files.first_lsn[2] - 2), files.first_lsn[1]);
    assert_int_equal(writer_first_needed(b->writer, files.first_lsn[2] - 1), files.first_lsn[2]);
    assert_int_equal(writer_first_needed(b->writer, UINT64_MAX / 2), files.first_lsn[files.n - 1]);
    first = writer_first_needed(b->writer, files.first_lsn[2]);
    assert_int_equal(first, files.first_lsn[2]);
    assert_int_equal(writer_release(b->writer, first, &b->err), OK);
    after = walbed_files(b->disk, "data");
    assert_int_equal(after.n, files.n - 2);
    assert_int_equal(after.first_lsn[0], files.first_lsn[2]);
    writer_get_stats(b->writer, &stats);
    assert_int_equal(stats.n_files, after.n);
    assert_int_equal(writer_first_needed(b->writer, 0), files.first_lsn[2]);
    assert_int_equal(writer_release(b->writer, UINT64_MAX, &b->err), OK);
    assert_int_equal(walbed_files(b->disk, "data").n, 1); /* never the one that is written */
    walbed_put(b, 10);
    walbed_close(b);
    walbed_free(b);
}

static void files_that_are_held_stay(void **state)
{
    struct walbed *b = walbed_new();
    struct wal_file *held;
    struct walbed_names files;
    size_t n;

    (void)state;
    walbed_open(b);
    walbed_put(b, 30);
    files = walbed_files(b->disk, "data");
    assert_int_equal(writer_hold(b->writer, &held, &n, &b->err), OK);
    assert_int_equal(n, files.n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(held[i].first_lsn, files.first_lsn[i]);
        assert_int_equal(held[i].bytes, WALBED_FILE_BYTES);
    }
    assert_int_equal(writer_release(b->writer, files.first_lsn[3], &b->err), OK);
    assert_int_equal(walbed_files(b->disk, "data").n, files.n);
    writer_unhold(b->writer);
    assert_int_equal(writer_release(b->writer, files.first_lsn[3], &b->err), OK);
    assert_int_equal(walbed_files(b->disk, "data").n, files.n - 3);
    free(held);
    walbed_free(b);
}

static void what_is_asked_for_is_synced_whatever_its_class(void **state)
{
    struct walbed *b = walbed_new();

    (void)state;
    walbed_open(b);
    walbed_put(b, 2);
    assert_true(writer_durable(b->writer) < b->next_lsn - 1);
    writer_request_sync(b->writer, b->next_lsn - 1);
    walbed_settle(b);
    assert_int_equal(writer_durable(b->writer), b->next_lsn - 1);
    walbed_free(b);
}

/* ---- what is refused ---- */

static void assert_refused(struct walbed *b, const char *what)
{
    uint64_t before = simio_digest(b->disk);

    assert_int_equal(walbed_start(b), ERR_CORRUPT);
    print_message("  %s\n", b->err.text);
    assert_non_null(strstr(b->err.text, what));
    assert_non_null(strstr(b->err.text, "--salvage"));
    assert_null(strchr(b->err.text, '\n'));
    assert_true(before == simio_digest(b->disk));
}

static void a_log_that_ends_below_a_checkpoint_or_a_segment_is_damaged(void **state)
{
    struct walbed_names files;
    struct walbed *b = bed_with_files(&files);

    (void)state;
    b->recover.start.start_lsn = LAST - 5;
    b->recover.start.end_lsn = LAST + 1;
    assert_refused(b, "was durable and cannot be read");
    b->recover.start.start_lsn = b->recover.start.end_lsn = 0;
    b->recover.start.sealed_lsn = LAST + 3;
    assert_refused(b, "were durable and cannot be read");
    b->recover.start.sealed_lsn = LAST;
    walbed_open(b);
    walbed_kill(b);
    b->recover.start.sealed_lsn = LAST + 3;
    b->recover.start.wal_first = files.first_lsn[2];
    b->recover.start.start_lsn = b->recover.start.end_lsn = LAST + LOG_SKIP_LSNS + 5;
    b->options.salvage = true; /* no LSN is given twice */
    walbed_open(b);
    assert_true(b->next_lsn > LAST + LOG_SKIP_LSNS + 5);
    walbed_free(b);
}

static void a_file_that_is_needed_and_missing_is_damage(void **state)
{
    struct walbed_names files;
    struct walbed *b = bed_with_files(&files);

    (void)state;
    b->recover.start.wal_first = files.first_lsn[1];
    b->recover.start.sealed_lsn = files.first_lsn[1];
    b->recover.start.start_lsn = b->recover.start.end_lsn = files.first_lsn[1];
    simio_remove(b->disk, path_of(files.first_lsn[1]));
    assert_refused(b, "is missing");
    assert_non_null(strstr(b->err.text, path_of(files.first_lsn[1])));
    b->options.salvage = true;
    walbed_open(b);
    assert_int_equal(b->n, 0);
    assert_int_equal(walbed_files(b->disk, "data").first_lsn[0], files.first_lsn[1]);
    assert_true(b->next_lsn > LAST + LOG_SKIP_LSNS);
    walbed_put(b, 3);
    walbed_close(b);
    b->options.salvage = false;
    walbed_open(b);
    assert_int_equal(b->n, 1 + 3 * WALBED_RECORDS);
    walbed_free(b);
}

static void a_file_that_is_missing_among_those_read_is_damage(void **state)
{
    struct walbed_names files;
    struct walbed *b = bed_with_files(&files);

    (void)state;
    b->recover.start.sealed_lsn = b->recover.start.start_lsn = files.first_lsn[1];
    b->recover.start.end_lsn = files.first_lsn[1];
    simio_remove(b->disk, path_of(files.first_lsn[2]));
    assert_refused(b, "cannot be read");
    walbed_free(b);
}

static void a_missing_file_that_only_the_older_checkpoint_needs_is_noted(void **state)
{
    struct walbed_names files;
    struct walbed *b = bed_with_files(&files);

    (void)state;
    b->recover.start.sealed_lsn = b->recover.start.start_lsn = files.first_lsn[3];
    b->recover.start.end_lsn = LAST;
    simio_remove(b->disk, path_of(LOG_FIRST_LSN));
    walbed_open(b);
    assert_int_equal(b->first_lsn, files.first_lsn[3]);
    assert_non_null(strstr(b->result.info.note, path_of(LOG_FIRST_LSN)));
    walbed_free(b);
}

/* Its own header is where the chain begins, so it has to be good. */
static void a_bad_header_of_the_first_file_needed_is_damage(void **state)
{
    struct walbed_names files;
    struct walbed *b = bed_with_files(&files);

    (void)state;
    b->recover.start.wal_first = files.first_lsn[1];
    b->recover.start.sealed_lsn = b->recover.start.start_lsn = files.first_lsn[1];
    b->recover.start.end_lsn = files.first_lsn[1];
    simio_poke(b->disk, path_of(files.first_lsn[1]), 40, 0xee);
    assert_refused(b, "checksum");
    b->options.salvage = true;
    walbed_open(b);
    assert_int_equal(b->n, 0);
    assert_int_equal(walbed_files(b->disk, "data").n, 1);
    assert_int_equal(walbed_files(b->disk, "data").first_lsn[0], files.first_lsn[1]);
    walbed_free(b);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_manifest_everything_is_read),
        cmocka_unit_test(what_is_sealed_is_replayed_but_not_kept),
        cmocka_unit_test(between_batches_of_files_before_the_last_the_keeper_has_its_turn),
        cmocka_unit_test(files_that_nothing_loaded_needs_are_neither_read_nor_removed),
        cmocka_unit_test(reading_begins_with_the_file_that_has_the_first_record_needed),
        cmocka_unit_test(without_a_checkpoint_all_that_is_kept_is_read),
        cmocka_unit_test(the_clock_of_a_checkpoint_counts),
        cmocka_unit_test(files_before_the_first_one_needed_are_removed),
        cmocka_unit_test(a_crash_while_files_are_removed_leaves_no_gap),
        cmocka_unit_test(the_writer_gives_files_back_oldest_first),
        cmocka_unit_test(files_that_are_held_stay),
        cmocka_unit_test(what_is_asked_for_is_synced_whatever_its_class),
        cmocka_unit_test(a_log_that_ends_below_a_checkpoint_or_a_segment_is_damaged),
        cmocka_unit_test(a_file_that_is_needed_and_missing_is_damage),
        cmocka_unit_test(a_file_that_is_missing_among_those_read_is_damage),
        cmocka_unit_test(a_missing_file_that_only_the_older_checkpoint_needs_is_noted),
        cmocka_unit_test(a_bad_header_of_the_first_file_needed_is_damage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
