/* test_backup.c - the copy of a store in use has what it should and nothing else, whatever happens meanwhile; and a check finds
 * what is damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/backup.h"
#include "log/bytes.h"
#include "log/check.h"
#include "log/checkpoint.h"
#include "log/crc32c.h"
#include "log/io.h"
#include "log/store.h"
#include "tests/lib/segments.h"
#include "tests/lib/walbed.h"

enum { N_SEGMENTS = 2, CHECKPOINT = LOG_FIRST_LSN + 150 };

/* A store of a log, two segments and a checkpoint. */
struct source {
    struct walbed *log;
    struct simio *disk;
    struct manifest manifest;
    struct segment_info segments[N_SEGMENTS];
    uint64_t obsolete[1];
    struct segment *open[N_SEGMENTS];
    struct view *view;
    struct wal_file *files; /* held */
    size_t n_files;
    uint64_t lsn; /* durable up to it */
    struct err err;
};

/* ---- the source ---- */

static void put_store(struct simio *disk)
{
    uint8_t store[STORE_BYTES] = "BECKSTO";

    put_u32le(store + 8, STORE_VERSION);
    memcpy(store + 24, segments_uuid, WAL_UUID_BYTES);
    put_u32le(store + STORE_BYTES - 4, crc32c(0, store, STORE_BYTES - 4));
    simio_put(disk, "data/STORE", store, sizeof store);
}

static void put_segments(struct source *s)
{
    struct random r = { .state = 5 };
    struct entries list = { 0 };

    for (uint64_t oid = 1024; oid < 1034; oid++) {
        struct id last = { 1700000000000, 0 };
        entries_grow(&list, &r, oid, &last, 200, 50);
    }
    for (size_t i = 0; i < N_SEGMENTS; i++) {
        segments_write(s->disk, i + 2, 4096, BLOCK_LZ4, &list, i * 1000, i * 1000 + 1000,
                       &s->segments[i]);
        s->open[i] = segments_open(s->disk, i + 2);
    }
    entries_fini(&list);
    s->view = calloc(1, sizeof *s->view + sizeof s->open);
    assert_non_null(s->view);
    s->view->n = N_SEGMENTS;
    memcpy(s->view->segments, s->open, sizeof s->open);
}

static void put_checkpoint(struct source *s)
{
    struct checkpoint_writer *w;
    struct io *io = simio_io(s->disk);

    assert_int_equal(checkpoint_create(io, "data", segments_uuid, CHECKPOINT, &w, &s->err), OK);
    assert_int_equal(checkpoint_put(w, CHECKPOINT, slice_str("some state"), &s->err), OK);
    assert_int_equal(checkpoint_finish(w, CHECKPOINT, 1, &s->manifest.checkpoints[0], &s->err), OK);
    s->manifest.n_checkpoints = 1;
}

/* What is written from now on is not in the backup. */
static void hold(struct source *s)
{
    s->lsn = s->log->next_lsn - 1;
    writer_request_sync(s->log->writer, s->lsn);
    walbed_settle(s->log);
    assert_true(writer_durable(s->log->writer) >= s->lsn);
    assert_int_equal(writer_hold(s->log->writer, &s->files, &s->n_files, &s->err), OK);
}

static struct source *source_new(bool sealed)
{
    struct source *s = calloc(1, sizeof *s);
    uint64_t written = 0;

    assert_non_null(s);
    s->log = walbed_new();
    s->disk = s->log->disk;
    manifest_init(&s->manifest);
    walbed_open(s->log);
    put_store(s->disk);
    walbed_put(s->log, 30);
    if (sealed) {
        put_segments(s);
        put_checkpoint(s);
        s->manifest.generation = 7;
        s->manifest.next_ordinal = 9;
        s->manifest.segments = s->segments;
        s->manifest.n_segments = N_SEGMENTS;
        s->obsolete[0] = 1;
        s->manifest.obsolete = s->obsolete;
        s->manifest.n_obsolete = 1;
        s->manifest.sealed_lsn = s->segments[N_SEGMENTS - 1].lsn_last;
        s->manifest.wal_first = writer_first_needed(s->log->writer, CHECKPOINT);
        assert_true(s->manifest.wal_first > LOG_FIRST_LSN);
        assert_int_equal(manifest_write(simio_io(s->disk), "data", segments_uuid, &s->manifest,
                                        &written, &s->err),
                         OK);
    } else {
        s->view = calloc(1, sizeof *s->view);
        assert_non_null(s->view);
    }
    hold(s);
    return s;
}

static void source_free(struct source *s)
{
    for (size_t i = 0; i < N_SEGMENTS; i++)
        segment_unref(s->open[i]);
    free(s->view);
    free(s->files);
    walbed_free(s->log);
    free(s);
}

static struct backup backup_of(struct source *s, struct simio *disk)
{
    return (struct backup){ .io = simio_io(disk),
                            .dir = "data",
                            .uuid = segments_uuid,
                            .to = "copy",
                            .manifest = &s->manifest,
                            .files = s->files,
                            .n_files = s->n_files,
                            .lsn = s->lsn };
}

static struct check check_of(struct source *s)
{
    return (struct check){ .io = simio_io(s->disk),
                           .dir = "data",
                           .uuid = segments_uuid,
                           .manifest = &s->manifest,
                           .view = s->view,
                           .files = s->files,
                           .n_files = s->n_files,
                           .lsn = s->lsn };
}

/* ---- the copy ---- */

struct count {
    const char *dir;
    size_t n;
};

static void count_file(void *ctx, const char *path)
{
    struct count *c = ctx;

    c->n += strncmp(path, c->dir, strlen(c->dir)) == 0;
}

static size_t n_files_in(struct simio *disk, const char *dir)
{
    struct count c = { .dir = dir };

    simio_each_file(disk, count_file, &c);
    return c.n;
}

static bool is_store(struct simio *disk)
{
    size_t n;

    return simio_bytes(disk, "copy/STORE", &n) != NULL;
}

/* The copy has the records up to s->lsn, from where its log begins. */
static void assert_log_opens(struct source *s, struct simio *disk)
{
    struct walbed *b = walbed_new();
    struct simio *own = b->disk;

    b->disk = disk;
    b->options.io = simio_io(disk);
    b->options.dir = "copy";
    b->recover.created = false;
    b->recover.start.wal_first = s->manifest.wal_first;
    if (walbed_start(b) != OK)
        fail_msg("the copy: %s", b->err.text);
    assert_int_equal(b->first_lsn, s->manifest.wal_first);
    assert_int_equal(b->last_lsn, s->lsn);
    assert_int_equal(b->result.info.dropped_bytes, 0);
    b->options.io->close(b->options.io, b->result.cursor.fd);
    free(b->result.files);
    b->disk = own;
    walbed_free(b);
}

/* STORE can be read, the manifest is the same, and all that it names is there and sound. */
static void assert_is_the_store(struct source *s, struct simio *disk)
{
    struct io *io = simio_io(disk);
    struct manifest m;
    struct store store;
    bool found;

    assert_int_equal(store_open(&store, io, "copy", &s->err), OK);
    assert_false(store.is_new);
    assert_memory_equal(store.uuid, segments_uuid, WAL_UUID_BYTES);
    store_close(&store, io);
    assert_int_equal(manifest_read(io, "copy", segments_uuid, &m, &found, &s->err), OK);
    assert_int_equal(found, s->manifest.generation > 0);
    assert_int_equal(m.n_segments, s->manifest.n_segments);
    assert_int_equal(m.n_checkpoints, s->manifest.n_checkpoints);
    assert_int_equal(m.n_obsolete, 0);
    assert_int_equal(m.wal_first, s->manifest.wal_first);
    for (size_t i = 0; i < m.n_segments; i++) {
        struct segment *g;
        assert_int_equal(segment_open(io, "copy", segments_uuid, m.segments[i].ordinal,
                                      &m.segments[i], &g, &s->err),
                         OK);
        assert_int_equal(segment_verify(g, NULL, NULL, &s->err), OK);
        segment_unref(g);
    }
    for (size_t i = 0; i < m.n_checkpoints; i++)
        assert_int_equal(checkpoint_verify(io, "copy", segments_uuid, m.checkpoints[i].start_lsn,
                                           &m.checkpoints[i], NULL, &s->err),
                         OK);
    manifest_fini(&m);
    assert_log_opens(s, disk);
}

/* ---- backups ---- */

static void the_copy_is_the_store_at_its_lsn(void **state)
{
    (void)state;
    for (int sealed = 0; sealed < 2; sealed++) {
        struct source *s = source_new(sealed);
        struct backup b = backup_of(s, s->disk);

        walbed_put(s->log, 3); /* meanwhile */
        assert_int_equal(backup_run(&b, &s->err), OK);
        assert_int_equal(b.n_files_made, n_files_in(s->disk, "copy/"));
        assert_true(b.bytes < 20u * WALBED_FILE_BYTES);
        simio_crash(s->disk, SIMIO_MIXED, 5); /* it is durable */
        assert_is_the_store(s, s->disk);
        source_free(s);
    }
}

/* What is written behind the LSN while it is read, in the same file or in later ones, changes nothing. */
static void appends_meanwhile_are_not_in_it(void **state)
{
    (void)state;
    for (int n = 0; n < 25; n++) {
        struct source *s = source_new(false);
        struct backup b = backup_of(s, s->disk);

        walbed_put(s->log, n);
        free(s->files); /* as they are now */
        writer_unhold(s->log->writer);
        assert_int_equal(writer_hold(s->log->writer, &s->files, &s->n_files, &s->err), OK);
        b.files = s->files;
        b.n_files = s->n_files;
        assert_int_equal(backup_run(&b, &s->err), OK);
        assert_is_the_store(s, s->disk);
        source_free(s);
    }
}

/* Between a SKIP record and the next one the last LSN is that of no record. */
static void a_store_just_started_can_be_copied(void **state)
{
    struct source *s = source_new(false);
    struct backup b;

    (void)state;
    walbed_kill(s->log);
    walbed_open(s->log);
    assert_true(s->log->next_lsn > s->lsn + LOG_SKIP_LSNS);
    free(s->files);
    hold(s);
    b = backup_of(s, s->disk);
    assert_int_equal(backup_run(&b, &s->err), OK);
    source_free(s);
}

static int no_link(struct io *io, const char *from, const char *to)
{
    (void)io;
    (void)from;
    (void)to;
    errno = EXDEV;
    return -1;
}

static void what_cannot_be_linked_is_copied(void **state)
{
    struct source *s = source_new(true);
    struct backup b = backup_of(s, s->disk);

    (void)state;
    simio_io(s->disk)->link = no_link;
    assert_int_equal(backup_run(&b, &s->err), OK);
    assert_true(b.bytes > s->segments[0].file_bytes + s->segments[1].file_bytes);
    simio_poke(s->disk, "data/st-00000000000000000002.seg", 5000, 1); /* not the same file */
    simio_crash(s->disk, SIMIO_MIXED, 5);
    assert_is_the_store(s, s->disk);
    source_free(s);
}

static void a_directory_that_holds_anything_is_refused(void **state)
{
    struct source *s = source_new(true);
    struct io *io = simio_io(s->disk);
    struct backup b = backup_of(s, s->disk);

    (void)state;
    io->mkdir(io, "copy");
    simio_put(s->disk, "copy/letter", "dear", 4);
    assert_int_equal(backup_run(&b, &s->err), ERR_USAGE);
    print_message("  %s\n", s->err.text);
    assert_int_equal(n_files_in(s->disk, "copy/"), 1);
    b.to = "data";
    assert_int_equal(backup_run(&b, &s->err), ERR_USAGE);
    b.to = "no/such/place";
    assert_int_equal(backup_run(&b, &s->err), ERR_USAGE);
    print_message("  %s\n", s->err.text);
    b.to = "copy"; /* an empty one is fine */
    simio_remove(s->disk, "copy/letter");
    assert_int_equal(backup_run(&b, &s->err), OK);
    assert_is_the_store(s, s->disk);
    source_free(s);
}

static void damage_to_the_log_is_told_and_nothing_is_left(void **state)
{
    struct source *s = source_new(true);
    struct backup b = backup_of(s, s->disk);

    (void)state;
    simio_poke(s->disk, "data/wal-00000000000000001174.log", 9000, 0xee);
    assert_int_equal(backup_run(&b, &s->err), ERR_CORRUPT);
    print_message("  %s\n", s->err.text);
    assert_non_null(strstr(s->err.text, "01174.log"));
    assert_int_equal(n_files_in(s->disk, "copy/"), 0);
    source_free(s);
}

/* Every operation fails in its turn: what was made is removed, and the store is as it was. */
static void a_failure_leaves_nothing(void **state)
{
    static const enum simio_fault faults[] = { SIMIO_EIO, SIMIO_ENOSPC, SIMIO_SHORT };
    struct source *s = source_new(true);

    (void)state;
    for (size_t f = 0; f < sizeof faults / sizeof faults[0]; f++)
        for (uint64_t at = 0, n_faults = 1; n_faults > 0; at++) {
            struct simio *disk = simio_copy(s->disk);
            struct backup b = backup_of(s, disk);
            int rc;

            simio_fault_at(disk, simio_n_ops(disk) + at, 1, faults[f]);
            rc = backup_run(&b, &s->err);
            n_faults = simio_n_faults(disk);
            simio_fault_at(disk, 0, 0, SIMIO_NO_FAULT);
            if (rc == OK)
                assert_is_the_store(s, disk);
            else
                assert_int_equal(n_files_in(disk, "copy/"), 0);
            assert_true(rc == OK || n_faults > 0);
            simio_free(disk);
        }
    source_free(s);
}

/* After a crash at any moment the copy is a whole store or none. */
static void a_crash_leaves_a_whole_store_or_none(void **state)
{
    struct source *s = source_new(true);
    int n_whole = 0, n_none = 0;

    (void)state;
    for (uint64_t at = 0, n_faults = 1; n_faults > 0; at++) {
        struct simio *down = simio_copy(s->disk);
        struct backup b = backup_of(s, down);
        int rc;

        simio_fault_at(down, simio_n_ops(down) + at, 1, SIMIO_CRASH);
        rc = backup_run(&b, &s->err);
        n_faults = simio_n_faults(down);
        simio_fault_at(down, 0, 0, SIMIO_NO_FAULT);
        for (uint64_t variant = 0; variant < 10; variant++) {
            struct simio *disk = simio_copy(down);
            simio_crash(disk, variant == 0 ? SIMIO_KILL : SIMIO_MIXED, variant);
            assert_true(rc != OK || is_store(disk));
            n_whole += is_store(disk) && rc != OK;
            n_none += !is_store(disk);
            if (is_store(disk))
                assert_is_the_store(s, disk);
            simio_free(disk);
        }
        simio_free(down);
    }
    assert_true(n_whole > 0 && n_none > 0);
    source_free(s);
}

/* ---- checks ---- */

static void a_check_of_a_sound_store_finds_nothing(void **state)
{
    struct source *s = source_new(true);
    struct check c = check_of(s);

    (void)state;
    walbed_put(s->log, 3);
    if (check_run(&c, &s->err) != OK)
        fail_msg("%s", s->err.text);
    assert_int_equal(c.n_places, 0);
    assert_int_equal(c.n_files_read, 1 + 1 + N_SEGMENTS + s->n_files);
    assert_true(c.bytes > s->segments[0].file_bytes + s->segments[1].file_bytes +
                              30 * WALBED_RECORDS * WALBED_BODY);
    check_fini(&c);
    source_free(s);
}

/* One flipped byte in each of the files that count; then in all of them. */
static void a_check_tells_each_damaged_place_with_its_file(void **state)
{
    static const struct {
        const char *path;
        uint64_t pos;
    } harms[] = {
        { "data/MANIFEST", 60 },
        { "data/ckpt-00000000000000001174.ck", 70 },
        { "data/st-00000000000000000002.seg", 5000 },
        { "data/st-00000000000000000003.seg", 6000 },
        { "data/wal-00000000000000001174.log", 9000 },
        { "data/wal-00000000000000001224.log", 100 }, /* its header */
    };
    enum { N = sizeof harms / sizeof harms[0] };

    (void)state;
    for (size_t i = 0; i <= N; i++) {
        struct source *s = source_new(true);
        struct check c = check_of(s);

        for (size_t k = 0; k < N; k++)
            if (i == k || i == N) {
                size_t n;
                const uint8_t *p = simio_bytes(s->disk, harms[k].path, &n);
                assert_non_null(p);
                simio_poke(s->disk, harms[k].path, harms[k].pos, p[harms[k].pos] ^ 0x10);
            }
        assert_int_equal(check_run(&c, &s->err), ERR_CORRUPT);
        for (size_t k = 0; k < c.n_places; k++)
            print_message("  %s, byte %llu: %s\n", c.places[k].path,
                          (unsigned long long)c.places[k].pos, c.places[k].what);
        assert_int_equal(c.n_places, c.n_damaged);
        assert_true(i == N ? c.n_places >= N : c.n_places > 0);
        for (size_t k = 0; k < N; k++) {
            bool told = false;
            for (size_t p = 0; p < c.n_places; p++)
                told = told || strcmp(c.places[p].path, harms[k].path) == 0;
            assert_int_equal(told, i == k || i == N);
        }
        check_fini(&c);
        source_free(s);
    }
}

static void a_sector_that_cannot_be_read_is_a_place_too(void **state)
{
    struct source *s = source_new(true);
    struct check c = check_of(s);

    (void)state;
    simio_break_sector(s->disk, "data/st-00000000000000000002.seg", 5120);
    simio_break_sector(s->disk, "data/wal-00000000000000001174.log", 9216);
    assert_int_equal(check_run(&c, &s->err), ERR_CORRUPT);
    assert_true(c.n_places >= 2);
    check_fini(&c);
    source_free(s);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_copy_is_the_store_at_its_lsn),
        cmocka_unit_test(appends_meanwhile_are_not_in_it),
        cmocka_unit_test(a_store_just_started_can_be_copied),
        cmocka_unit_test(what_cannot_be_linked_is_copied),
        cmocka_unit_test(a_directory_that_holds_anything_is_refused),
        cmocka_unit_test(damage_to_the_log_is_told_and_nothing_is_left),
        cmocka_unit_test(a_failure_leaves_nothing),
        cmocka_unit_test(a_crash_leaves_a_whole_store_or_none),
        cmocka_unit_test(a_check_of_a_sound_store_finds_nothing),
        cmocka_unit_test(a_check_tells_each_damaged_place_with_its_file),
        cmocka_unit_test(a_sector_that_cannot_be_read_is_a_place_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
