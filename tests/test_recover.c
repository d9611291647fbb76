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

#include "log/arena.h"
#include "log/batch.h"
#include "log/bytes.h"
#include "log/io.h"
#include "log/record.h"
#include "log/recover.h"
#include "log/writer.h"
#include "tests/lib/simio.h"

enum { TYPE = 0x80, FILE_BYTES = LOG_FILE_BYTES_MIN, BODY = 1000, PER_BATCH = 10 };

static const uint8_t uuid[WAL_UUID_BYTES] = "0123456789abcde";

struct bed {
    struct simio *disk;
    struct log_options options;
    struct recover_options recover;
    struct recover_result result;
    struct writer *writer;
    struct batch *batch;
    uint64_t next_lsn, next_index;
    uint8_t records[PER_BATCH * (BODY + 16)]; /* as they lie in a batch */
    struct err err;

    /* what a start gave */
    struct arena arena;
    uint64_t n, n_sealed, first_lsn, last_lsn;
    uint64_t n_took, took_first, took_last, n_ends;
    const uint8_t *took;
    size_t took_bytes;
    uint64_t n_turns, durable_lsn;
    int turn_rc;
};

/* ---- the keeper and the host ---- */

static struct arena *sink_arena(struct keeper *k)
{
    return &((struct bed *)k)->arena;
}

static int sink_reserve(struct keeper *k, struct err *e)
{
    (void)k;
    (void)e;
    return OK;
}

static void sink_took(struct keeper *k, const uint8_t *p, size_t n, uint64_t first, uint64_t last)
{
    struct bed *b = (struct bed *)k;

    assert_int_equal(b->n_took, b->n_ends);
    assert_true(b->n_took == 0 || first > b->took_last);
    if (b->n_took++ == 0)
        b->took_first = first;
    b->took_last = last;
    b->took = p;
    b->took_bytes = n;
}

static void sink_batch_end(struct keeper *k)
{
    struct bed *b = (struct bed *)k;

    assert_int_equal(b->last_lsn, b->took_last);
    b->n_ends++;
}

static int sink_turn(struct keeper *k, uint64_t durable_lsn, struct err *e)
{
    struct bed *b = (struct bed *)k;

    assert_int_equal(durable_lsn, b->last_lsn);
    b->n_turns++;
    b->durable_lsn = durable_lsn;
    return b->turn_rc == OK ? OK : err_set(e, b->turn_rc, "the disk is full");
}

static int replay(void *ctx, const struct log_record *r, struct err *e)
{
    struct bed *b = ctx;

    (void)e;
    if (b->n++ == 0)
        b->first_lsn = r->lsn;
    else
        assert_true(r->lsn > b->last_lsn);
    b->last_lsn = r->lsn;
    b->n_sealed += r->sealed;
    if (r->type == RECORD_SKIP)
        return OK;
    assert_int_equal(r->len, BODY);
    assert_int_equal(get_u64le(r->body), r->lsn);
    if (!r->sealed) /* it is where the keeper was told */
        assert_true(r->body > b->took && r->body < b->took + b->took_bytes);
    return OK;
}

static struct bed *bed_new(void)
{
    struct bed *b = calloc(1, sizeof *b);
    struct io *io;

    assert_non_null(b);
    b->disk = simio_new(1);
    io = simio_io(b->disk);
    assert_int_equal(io->mkdir(io, "data"), 0);
    assert_int_equal(io->sync_dir(io, "."), 0);
    b->options = (struct log_options){ .io = io,
                                       .dir = "data",
                                       .file_bytes = FILE_BYTES,
                                       .batch_bytes_max = 1 << 20,
                                       .interval_ms = 1000,
                                       .host.replay = replay,
                                       .host.ctx = b };
    b->recover = (struct recover_options){ .log = &b->options,
                                           .uuid = uuid,
                                           .created = true,
                                           .start.wal_first = LOG_FIRST_LSN,
                                           .sink = { .keeper = (struct keeper *)b,
                                                     .arena = sink_arena,
                                                     .reserve = sink_reserve,
                                                     .took = sink_took,
                                                     .batch_end = sink_batch_end,
                                                     .replay_turn = sink_turn } };
    arena_init(&b->arena, NULL);
    return b;
}

static int bed_open(struct bed *b)
{
    int rc;

    arena_fini(&b->arena);
    arena_init(&b->arena, NULL);
    b->n = b->n_sealed = b->first_lsn = b->last_lsn = 0;
    b->n_took = b->took_first = b->took_last = b->n_ends = b->n_turns = b->durable_lsn = 0;
    b->err = (struct err){ 0 };
    rc = recover_run(&b->recover, &b->result, &b->err);
    assert_int_equal(b->n_took, b->n_ends + (rc != OK && b->n_took > b->n_ends));
    return rc;
}

static void must_open(struct bed *b)
{
    struct writer_options w = { .io = b->options.io,
                                .dir = "data",
                                .uuid = uuid,
                                .file_bytes = FILE_BYTES,
                                .interval_ms = 1000 };

    if (bed_open(b) != OK)
        fail_msg("recover_run: %s", b->err.text);
    b->recover.created = false;
    w.files = b->result.files;
    w.n_files = b->result.n_files;
    b->next_lsn = b->result.cursor.next_lsn;
    b->next_index = b->result.cursor.next_index;
    assert_int_equal(writer_open(&w, &b->result.cursor, &b->writer, &b->err), OK);
    free(b->result.files);
}

static void bed_kill(struct bed *b)
{
    writer_abandon(b->writer);
    b->writer = NULL;
    simio_restart(b->disk);
}

static void bed_close(struct bed *b)
{
    assert_int_equal(writer_close(b->writer, &b->err), OK);
    b->writer = NULL;
}

static void bed_free(struct bed *b)
{
    writer_abandon(b->writer);
    batch_free(b->batch);
    arena_fini(&b->arena);
    simio_free(b->disk);
    free(b);
}

static void settle(struct bed *b)
{
    while (writer_step(b->writer))
        ;
}

/* A batch of PER_BATCH records, whose bodies begin with their LSN. */
static void put_batch(struct bed *b, enum log_class class)
{
    uint8_t *p = b->records;

    if (b->batch == NULL)
        b->batch = batch_new();
    assert_non_null(b->batch);
    assert_int_equal(batch_reserve_extent(b->batch, &b->err), OK);
    b->batch->first_lsn = b->next_lsn;
    b->batch->index = b->next_index++;
    b->batch->classes = (uint8_t)(1u << class);
    for (int i = 0; i < PER_BATCH; i++) {
        uint8_t *start = p;
        p = varint_put(p, 1 + BODY);
        *p++ = TYPE;
        memset(p, 0, BODY);
        put_u64le(p, b->next_lsn++);
        p += BODY;
        batch_add(b->batch, start, (size_t)(p - start));
    }
    b->batch = writer_commit(b->writer, b->batch, false);
    settle(b);
}

static void put(struct bed *b, int n_batches)
{
    while (n_batches-- > 0)
        put_batch(b, LOG_OS);
}

struct names {
    size_t n;
    uint64_t first_lsn[64];
};

static void note_name(void *ctx, const char *path)
{
    struct names *names = ctx;

    if (strncmp(path, "data/", 5) == 0 && wal_name_parse(path + 5, &names->first_lsn[names->n]))
        names->n++;
}

static struct names wal_files(struct bed *b)
{
    struct names names = { 0 };

    simio_each_file(b->disk, note_name, &names);
    return names;
}

/* A log of 30 batches in some 5 files, closed. */
static struct bed *bed_with_files(struct names *files)
{
    struct bed *b = bed_new();

    must_open(b);
    put(b, 30);
    bed_close(b);
    *files = wal_files(b);
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

enum { LAST = LOG_FIRST_LSN + 30 * PER_BATCH - 1 };

/* ---- what is read ---- */

static void without_a_manifest_everything_is_read(void **state)
{
    struct names files;
    struct bed *b = bed_with_files(&files);

    (void)state;
    must_open(b);
    assert_true(b->result.info.clean);
    assert_int_equal(b->first_lsn, LOG_FIRST_LSN);
    assert_int_equal(b->last_lsn, LAST);
    assert_int_equal(b->n_sealed, 0);
    assert_int_equal(b->took_first, LOG_FIRST_LSN);
    assert_int_equal(b->took_last, LAST);
    bed_free(b);
}

/* One byte of a record stands for the batch that has it. */
static void what_is_sealed_is_replayed_but_not_kept(void **state)
{
    struct names files;
    struct bed *b = bed_with_files(&files);

    (void)state;
    b->recover.start.sealed_lsn = LOG_FIRST_LSN + 12 * PER_BATCH - 1;
    must_open(b);
    assert_int_equal(b->n, 30 * PER_BATCH);
    assert_int_equal(b->n_sealed, 12 * PER_BATCH);
    assert_int_equal(b->took_first, LOG_FIRST_LSN + 12 * PER_BATCH);
    assert_int_equal(b->n_took, 18);
    assert_true(b->arena.bytes <
                19 * PER_BATCH * (BODY + 16) + ARENA_FIRST_BYTES + ARENA_CHUNK_BYTES);
    bed_free(b);
}

static void between_batches_of_files_before_the_last_the_keeper_has_its_turn(void **state)
{
    struct names files;
    struct bed *b = bed_with_files(&files);

    (void)state;
    must_open(b);
    assert_int_equal(b->durable_lsn, files.first_lsn[files.n - 1] - 1);
    assert_int_equal(b->n_turns, (b->durable_lsn + 1 - LOG_FIRST_LSN) / PER_BATCH);
    bed_kill(b);
    b->turn_rc = ERR_FULL;
    assert_int_equal(bed_open(b), ERR_FULL);
    assert_string_equal(b->err.text, "the disk is full");
    assert_int_equal(b->n_turns, 1);
    bed_free(b);
}

/* The checkpoint and the segments do not need the files before; the older checkpoint may. */
static void files_that_nothing_loaded_needs_are_neither_read_nor_removed(void **state)
{
    struct names files, after;
    struct bed *b = bed_with_files(&files);
    uint64_t ops;

    (void)state;
    b->recover.start.sealed_lsn = files.first_lsn[3] + 5;
    b->recover.start.start_lsn = b->recover.start.end_lsn = files.first_lsn[3] - 1;
    for (size_t i = 0; i < 3; i++) /* reading them would fail */
        for (uint64_t pos = 0; pos < FILE_BYTES; pos += SIMIO_SECTOR)
            simio_break_sector(b->disk, path_of(files.first_lsn[i]), pos);
    ops = simio_n_ops(b->disk);
    must_open(b);
    assert_true(simio_n_ops(b->disk) > ops);
    assert_int_equal(b->first_lsn, files.first_lsn[3]);
    assert_int_equal(b->last_lsn, LAST);
    assert_int_equal(b->result.info.n_files, files.n - 3);
    assert_int_equal(b->result.n_files, files.n);
    after = wal_files(b);
    assert_memory_equal(&after, &files, sizeof after);
    assert_string_equal(b->result.info.note, "");
    bed_free(b);
}

/* A file whose first record comes one too late has not what is needed. */
static void reading_begins_with_the_file_that_has_the_first_record_needed(void **state)
{
    struct names files;
    struct bed *b = bed_with_files(&files);

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
        must_open(b);
        assert_int_equal(b->first_lsn, want);
        bed_kill(b);
        b->recover.start.sealed_lsn = covered;
        b->recover.start.start_lsn = LAST;
        must_open(b);
        assert_int_equal(b->first_lsn, want);
        bed_kill(b);
        simio_free(disk);
        b->disk = whole;
        b->options.io = simio_io(whole);
    }
    bed_free(b);
}

static void without_a_checkpoint_all_that_is_kept_is_read(void **state)
{
    struct names files;
    struct bed *b = bed_with_files(&files);

    (void)state;
    b->recover.start.sealed_lsn = LAST;
    must_open(b);
    assert_int_equal(b->n, 30 * PER_BATCH);
    assert_int_equal(b->n_sealed, b->n);
    bed_free(b);
}

static void the_clock_of_a_checkpoint_counts(void **state)
{
    struct names files;
    struct bed *b = bed_with_files(&files);

    (void)state;
    b->recover.start.clock = 77;
    must_open(b);
    assert_int_equal(b->result.info.last_clock, 77);
    bed_free(b);
}

/* ---- what is released ---- */

static void files_before_the_first_one_needed_are_removed(void **state)
{
    struct names files, after;
    struct bed *b = bed_with_files(&files);

    (void)state;
    b->recover.start = (struct keeper_start){ .wal_first = files.first_lsn[2],
                                              .sealed_lsn = files.first_lsn[2] + 1,
                                              .start_lsn = files.first_lsn[2] + 1,
                                              .end_lsn = files.first_lsn[2] + 1 };
    must_open(b);
    assert_int_equal(b->first_lsn, files.first_lsn[2]);
    assert_int_equal(b->last_lsn, LAST);
    after = wal_files(b);
    assert_int_equal(after.n, files.n - 2);
    assert_int_equal(after.first_lsn[0], files.first_lsn[2]);
    put(b, 10);
    bed_close(b);
    must_open(b);
    assert_int_equal(b->last_lsn, LAST + 10 * PER_BATCH);
    bed_free(b);
}

/* How many of the files are gone; those that are there are the newest, and can be read. */
static size_t after_a_crash(struct bed *b, const struct simio *crashed, uint64_t variant,
                            const struct names *files)
{
    struct names after;
    size_t gone;

    b->disk = simio_copy(crashed);
    b->options.io = simio_io(b->disk);
    simio_crash(b->disk, SIMIO_PREFIX, variant);
    after = wal_files(b);
    assert_true(after.n >= files->n - 3 && after.n <= files->n);
    gone = files->n - after.n;
    for (size_t i = 0; i < after.n; i++)
        assert_int_equal(after.first_lsn[i], files->first_lsn[gone + i]);
    must_open(b);
    assert_true(b->last_lsn >= LAST);
    bed_kill(b);
    simio_free(b->disk);
    return gone;
}

/* Removed oldest first: what is there after any crash is a log that can be read. */
static void a_crash_while_files_are_removed_leaves_no_gap(void **state)
{
    struct names files;
    struct bed *b = bed_with_files(&files);
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
        if (bed_open(b) == OK) {
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
    bed_free(b);
}

static void the_writer_gives_files_back_oldest_first(void **state)
{
    struct bed *b = bed_new();
    struct names files, after;
    struct log_stats stats = { 0 };
    uint64_t first;

    (void)state;
    must_open(b);
    put(b, 30);
    files = wal_files(b);
    writer_get_stats(b->writer, &stats);
    assert_int_equal(stats.n_files, files.n);
    assert_int_equal(stats.file_bytes, files.n * FILE_BYTES);
    assert_int_equal(writer_first_needed(b->writer, 0), LOG_FIRST_LSN);
    assert_int_equal(writer_first_needed(b->writer, files.first_lsn[2] - 2), files.first_lsn[1]);
    assert_int_equal(writer_first_needed(b->writer, files.first_lsn[2] - 1), files.first_lsn[2]);
    assert_int_equal(writer_first_needed(b->writer, UINT64_MAX / 2), files.first_lsn[files.n - 1]);
    first = writer_first_needed(b->writer, files.first_lsn[2]);
    assert_int_equal(first, files.first_lsn[2]);
    assert_int_equal(writer_release(b->writer, first, &b->err), OK);
    after = wal_files(b);
    assert_int_equal(after.n, files.n - 2);
    assert_int_equal(after.first_lsn[0], files.first_lsn[2]);
    writer_get_stats(b->writer, &stats);
    assert_int_equal(stats.n_files, after.n);
    assert_int_equal(writer_first_needed(b->writer, 0), files.first_lsn[2]);
    assert_int_equal(writer_release(b->writer, UINT64_MAX, &b->err), OK);
    assert_int_equal(wal_files(b).n, 1); /* never the one that is written */
    put(b, 10);
    bed_close(b);
    bed_free(b);
}

static void files_that_are_held_stay(void **state)
{
    struct bed *b = bed_new();
    struct wal_file *held;
    struct names files;
    size_t n;

    (void)state;
    must_open(b);
    put(b, 30);
    files = wal_files(b);
    assert_int_equal(writer_hold(b->writer, &held, &n, &b->err), OK);
    assert_int_equal(n, files.n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(held[i].first_lsn, files.first_lsn[i]);
        assert_int_equal(held[i].bytes, FILE_BYTES);
    }
    assert_int_equal(writer_release(b->writer, files.first_lsn[3], &b->err), OK);
    assert_int_equal(wal_files(b).n, files.n);
    writer_unhold(b->writer);
    assert_int_equal(writer_release(b->writer, files.first_lsn[3], &b->err), OK);
    assert_int_equal(wal_files(b).n, files.n - 3);
    free(held);
    bed_free(b);
}

static void what_is_asked_for_is_synced_whatever_its_class(void **state)
{
    struct bed *b = bed_new();

    (void)state;
    must_open(b);
    put(b, 2);
    assert_true(writer_durable(b->writer) < b->next_lsn - 1);
    writer_request_sync(b->writer, b->next_lsn - 1);
    settle(b);
    assert_int_equal(writer_durable(b->writer), b->next_lsn - 1);
    bed_free(b);
}

/* ---- what is refused ---- */

static void assert_refused(struct bed *b, const char *what)
{
    uint64_t before = simio_digest(b->disk);

    assert_int_equal(bed_open(b), ERR_CORRUPT);
    print_message("  %s\n", b->err.text);
    assert_non_null(strstr(b->err.text, what));
    assert_non_null(strstr(b->err.text, "--salvage"));
    assert_null(strchr(b->err.text, '\n'));
    assert_true(before == simio_digest(b->disk));
}

static void a_log_that_ends_below_a_checkpoint_or_a_segment_is_damaged(void **state)
{
    struct names files;
    struct bed *b = bed_with_files(&files);

    (void)state;
    b->recover.start.start_lsn = LAST - 5;
    b->recover.start.end_lsn = LAST + 1;
    assert_refused(b, "was durable and cannot be read");
    b->recover.start.start_lsn = b->recover.start.end_lsn = 0;
    b->recover.start.sealed_lsn = LAST + 3;
    assert_refused(b, "were durable and cannot be read");
    b->recover.start.sealed_lsn = LAST;
    must_open(b);
    bed_kill(b);
    b->recover.start.sealed_lsn = LAST + 3;
    b->recover.start.wal_first = files.first_lsn[2];
    b->recover.start.start_lsn = b->recover.start.end_lsn = LAST + LOG_SKIP_LSNS + 5;
    b->options.salvage = true; /* no LSN is given twice */
    must_open(b);
    assert_true(b->next_lsn > LAST + LOG_SKIP_LSNS + 5);
    bed_free(b);
}

static void a_file_that_is_needed_and_missing_is_damage(void **state)
{
    struct names files;
    struct bed *b = bed_with_files(&files);

    (void)state;
    b->recover.start.wal_first = files.first_lsn[1];
    b->recover.start.sealed_lsn = files.first_lsn[1];
    b->recover.start.start_lsn = b->recover.start.end_lsn = files.first_lsn[1];
    simio_remove(b->disk, path_of(files.first_lsn[1]));
    assert_refused(b, "is missing");
    assert_non_null(strstr(b->err.text, path_of(files.first_lsn[1])));
    b->options.salvage = true;
    must_open(b);
    assert_int_equal(b->n, 0);
    assert_int_equal(wal_files(b).first_lsn[0], files.first_lsn[1]);
    assert_true(b->next_lsn > LAST + LOG_SKIP_LSNS);
    put(b, 3);
    bed_close(b);
    b->options.salvage = false;
    must_open(b);
    assert_int_equal(b->n, 1 + 3 * PER_BATCH);
    bed_free(b);
}

static void a_file_that_is_missing_among_those_read_is_damage(void **state)
{
    struct names files;
    struct bed *b = bed_with_files(&files);

    (void)state;
    b->recover.start.sealed_lsn = b->recover.start.start_lsn = files.first_lsn[1];
    b->recover.start.end_lsn = files.first_lsn[1];
    simio_remove(b->disk, path_of(files.first_lsn[2]));
    assert_refused(b, "cannot be read");
    bed_free(b);
}

static void a_missing_file_that_only_the_older_checkpoint_needs_is_noted(void **state)
{
    struct names files;
    struct bed *b = bed_with_files(&files);

    (void)state;
    b->recover.start.sealed_lsn = b->recover.start.start_lsn = files.first_lsn[3];
    b->recover.start.end_lsn = LAST;
    simio_remove(b->disk, path_of(LOG_FIRST_LSN));
    must_open(b);
    assert_int_equal(b->first_lsn, files.first_lsn[3]);
    assert_non_null(strstr(b->result.info.note, path_of(LOG_FIRST_LSN)));
    bed_free(b);
}

/* Its own header is where the chain begins, so it has to be good. */
static void a_bad_header_of_the_first_file_needed_is_damage(void **state)
{
    struct names files;
    struct bed *b = bed_with_files(&files);

    (void)state;
    b->recover.start.wal_first = files.first_lsn[1];
    b->recover.start.sealed_lsn = b->recover.start.start_lsn = files.first_lsn[1];
    b->recover.start.end_lsn = files.first_lsn[1];
    simio_poke(b->disk, path_of(files.first_lsn[1]), 40, 0xee);
    assert_refused(b, "checksum");
    b->options.salvage = true;
    must_open(b);
    assert_int_equal(b->n, 0);
    assert_int_equal(wal_files(b).n, 1);
    assert_int_equal(wal_files(b).first_lsn[0], files.first_lsn[1]);
    bed_free(b);
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
