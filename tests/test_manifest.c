/* test_manifest.c - what was written is read, anything else is refused, and a failure leaves the old one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/bytes.h"
#include "log/crc32c.h"
#include "log/io.h"
#include "log/log.h"
#include "log/manifest.h"
#include "tests/lib/simio.h"

#define PATH "data/" MANIFEST_NAME

static const uint8_t uuid[WAL_UUID_BYTES] = "0123456789abcde";

static struct simio *disk_new(void)
{
    struct simio *disk = simio_new(1);

    assert_int_equal(simio_io(disk)->mkdir(simio_io(disk), "data"), 0);
    assert_int_equal(simio_io(disk)->sync_dir(simio_io(disk), "."), 0);
    return disk;
}

static struct segment_info segment(uint64_t ordinal, uint64_t first, uint64_t last)
{
    return (struct segment_info){ .ordinal = ordinal,
                                  .lsn_first = first,
                                  .lsn_last = last,
                                  .file_bytes = 5000 + ordinal,
                                  .trailer_crc = 0xabcd0000 + (uint32_t)ordinal,
                                  .n_blocks = 7,
                                  .n_entries = 100,
                                  .n_streams = 3,
                                  .raw_bytes = 123456,
                                  .oid_first = 1024,
                                  .oid_last = first,
                                  .max_ms = 1700000000000,
                                  .level = 2 };
}

/* Two checkpoints, two segments, an obsolete one. */
static void sample(struct manifest *m)
{
    static struct segment_info segments[2];
    static uint64_t obsolete[1] = { 3 };

    segments[0] = segment(5, 1024, 2000);
    segments[1] = segment(4, 2001, 3000);
    *m = (struct manifest){ .generation = 9,
                            .next_ordinal = 6,
                            .sealed_lsn = 3000,
                            .wal_first = 1900,
                            .clock = (uint64_t)1700000000000 << 16,
                            .segments = segments,
                            .n_segments = 2,
                            .checkpoints = { { 2500, 2600, 900, 0x1234 },
                                             { 1950, 1950, 800, 0x5678 } },
                            .n_checkpoints = 2,
                            .obsolete = obsolete,
                            .n_obsolete = 1 };
}

static void write_sample(struct simio *disk)
{
    struct manifest m;
    uint64_t written = 0;
    struct err e = { 0 };

    sample(&m);
    assert_int_equal(manifest_write(simio_io(disk), "data", uuid, &m, &written, &e), OK);
    assert_int_equal(written, 96 + 2 * 32 + 2 * 96 + 8 + 4);
}

static int read_it(struct simio *disk, struct manifest *m, struct err *e)
{
    bool found = true;
    int rc = manifest_read(simio_io(disk), "data", uuid, m, &found, e);

    assert_int_equal(found, rc == OK);
    return rc;
}

/* Whether it is refused in one line that names the file. */
static void assert_refused(struct simio *disk, int code, const char *what)
{
    struct manifest m;
    struct err e = { 0 };

    assert_int_equal(read_it(disk, &m, &e), code);
    assert_non_null(strstr(e.text, PATH));
    assert_null(strchr(e.text, '\n'));
    if (what != NULL && strstr(e.text, what) == NULL)
        fail_msg("'%s' does not say '%s'", e.text, what);
    assert_int_equal(m.n_segments, 0);
}

static void what_was_written_is_read(void **state)
{
    struct simio *disk = disk_new();
    struct manifest want, got;
    struct err e = { 0 };

    (void)state;
    write_sample(disk);
    sample(&want);
    assert_int_equal(read_it(disk, &got, &e), OK);
    assert_int_equal(got.generation, 9);
    assert_int_equal(got.next_ordinal, 6);
    assert_int_equal(got.sealed_lsn, 3000);
    assert_int_equal(got.wal_first, 1900);
    assert_true(got.clock == want.clock);
    assert_int_equal(got.n_segments, 2);
    for (size_t i = 0; i < 2; i++) {
        const struct segment_info *a = &got.segments[i], *b = &want.segments[i];
        assert_int_equal(a->ordinal, b->ordinal);
        assert_int_equal(a->lsn_first, b->lsn_first);
        assert_int_equal(a->lsn_last, b->lsn_last);
        assert_int_equal(a->file_bytes, b->file_bytes);
        assert_int_equal(a->trailer_crc, b->trailer_crc);
        assert_int_equal(a->n_blocks, b->n_blocks);
        assert_int_equal(a->n_entries, b->n_entries);
        assert_int_equal(a->n_streams, b->n_streams);
        assert_int_equal(a->raw_bytes, b->raw_bytes);
        assert_int_equal(a->oid_first, b->oid_first);
        assert_int_equal(a->oid_last, b->oid_last);
        assert_int_equal(a->max_ms, b->max_ms);
        assert_int_equal(a->level, b->level);
    }
    assert_int_equal(got.n_checkpoints, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(got.checkpoints[i].start_lsn, want.checkpoints[i].start_lsn);
        assert_int_equal(got.checkpoints[i].end_lsn, want.checkpoints[i].end_lsn);
        assert_int_equal(got.checkpoints[i].file_bytes, want.checkpoints[i].file_bytes);
        assert_int_equal(got.checkpoints[i].crc, want.checkpoints[i].crc);
    }
    assert_int_equal(got.n_obsolete, 1);
    assert_int_equal(got.obsolete[0], 3);
    manifest_fini(&got);
    simio_free(disk);
}

static void a_copy_is_its_own(void **state)
{
    struct manifest m, copy, nothing;
    struct err e = { 0 };

    (void)state;
    sample(&m);
    assert_int_equal(manifest_copy(&copy, &m, &e), OK);
    assert_ptr_not_equal(copy.segments, m.segments);
    assert_memory_equal(copy.segments, m.segments, 2 * sizeof *m.segments);
    assert_int_equal(copy.obsolete[0], 3);
    manifest_fini(&copy);
    manifest_init(&m);
    assert_int_equal(m.wal_first, LOG_FIRST_LSN);
    assert_int_equal(manifest_copy(&nothing, &m, &e), OK);
    assert_int_equal(nothing.n_segments, 0);
    manifest_fini(&nothing);
}

static void none_is_no_error(void **state)
{
    struct simio *disk = disk_new();
    struct manifest m;
    bool found = true;
    struct err e = { 0 };

    (void)state;
    assert_int_equal(manifest_read(simio_io(disk), "data", uuid, &m, &found, &e), OK);
    assert_false(found);
    assert_int_equal(m.generation, 0);
    assert_int_equal(m.wal_first, LOG_FIRST_LSN);
    simio_free(disk);
}

/* A log that has everything needs none: what else there is was never named. */
static void one_that_is_lost_is_told(void **state)
{
    struct simio *disk = disk_new();
    struct manifest m;
    struct err e = { 0 };

    (void)state;
    simio_put(disk, "data/ckpt-00000000000000002000.ck.tmp", "unfinished", 10);
    simio_put(disk, "data/wal-00000000000000001900.log", "log", 3);
    assert_int_equal(manifest_read(simio_io(disk), "data", uuid, &m, &(bool){ true }, &e), OK);
    simio_put(disk, "data/st-00000000000000000002.seg", "segment", 7);
    assert_refused(disk, ERR_CORRUPT, "is missing; `beck log repair`");
    simio_put(disk, "data/wal-00000000000000001024.log", "log", 3);
    assert_int_equal(manifest_read(simio_io(disk), "data", uuid, &m, &(bool){ true }, &e), OK);
    simio_remove(disk, "data/wal-00000000000000001024.log");
    simio_remove(disk, "data/st-00000000000000000002.seg");
    simio_put(disk, "data/ckpt-00000000000000002000.ck", "checkpoint", 10);
    assert_refused(disk, ERR_CORRUPT, "is missing; `beck log repair`");
    simio_free(disk);
}

static void every_flipped_bit_is_noticed(void **state)
{
    struct simio *disk = disk_new();
    const uint8_t *p;
    size_t n;

    (void)state;
    write_sample(disk);
    simio_bytes(disk, PATH, &n);
    for (size_t i = 0; i < n; i++)
        for (int bit = 0; bit < 8; bit++) {
            p = simio_bytes(disk, PATH, &n);
            simio_poke(disk, PATH, i, p[i] ^ (uint8_t)(1 << bit));
            assert_refused(disk, ERR_CORRUPT, "beck log repair");
            p = simio_bytes(disk, PATH, &n);
            simio_poke(disk, PATH, i, p[i] ^ (uint8_t)(1 << bit));
        }
    simio_free(disk);
}

static void every_other_length_is_noticed(void **state)
{
    struct simio *disk = disk_new();
    size_t n;

    (void)state;
    write_sample(disk);
    simio_bytes(disk, PATH, &n);
    simio_cut(disk, PATH, n + 1);
    assert_refused(disk, ERR_CORRUPT, NULL);
    for (size_t i = n; i-- > 0;) {
        simio_cut(disk, PATH, i);
        assert_refused(disk, ERR_CORRUPT, NULL);
    }
    simio_cut(disk, PATH, 64 << 20);
    assert_refused(disk, ERR_CORRUPT, "too long");
    simio_free(disk);
}

/* The checksum is right in all of these. */
static void fields_that_cannot_be_are_refused(void **state)
{
    enum { SEGMENT = 96 + 2 * 32, OBSOLETE = SEGMENT + 2 * 96 };
    static const struct {
        const char *why;
        size_t at, n;
        uint64_t value;
        int code;
        const char *what;
    } cases[] = {
        { "newer version", 8, 4, 2, ERR_FORMAT, "newer beckd" },
        { "unknown feature", 16, 4, 4, ERR_FORMAT, "0x4" },
        { "reserved field of the head", 20, 4, 1, ERR_FORMAT, "newer beckd" },
        { "reserved field behind the counts", 92, 4, 1, ERR_FORMAT, "newer beckd" },
        { "another store", 24, 1, 'x', ERR_CORRUPT, "another store" },
        { "generation 0", 40, 8, 0, ERR_CORRUPT, "zero" },
        { "no ordinal left", 48, 8, 0, ERR_CORRUPT, "zero" },
        { "ordinal above the next", 48, 8, 5, ERR_CORRUPT, "ordinal" },
        { "sealed below a segment", 56, 8, 2999, ERR_CORRUPT, "not sealed" },
        { "sealed to the end of time", 56, 8, UINT64_MAX, ERR_CORRUPT, "LSN" },
        { "the log from nowhere", 64, 8, 5, ERR_CORRUPT, "LSN" },
        { "the log from too late on", 64, 8, 1952, ERR_CORRUPT, "not kept" },
        { "more segments than there are", 80, 4, 3, ERR_CORRUPT, "counts" },
        { "segments beyond the limit", 80, 4, 1u << 31, ERR_CORRUPT, "counts" },
        { "three checkpoints", 84, 4, 3, ERR_CORRUPT, "counts" },
        { "more obsolete ones", 88, 4, UINT32_MAX, ERR_CORRUPT, "counts" },
        { "a checkpoint that ends before it starts", 96 + 8, 8, 2499, ERR_CORRUPT, "checkpoint" },
        { "checkpoints the wrong way round", 96, 8, 1950, ERR_CORRUPT, "older" },
        { "a checkpoint's reserved field", 96 + 28, 4, 1, ERR_CORRUPT, "reserved" },
        { "a segment's LSN that is none", SEGMENT + 8, 8, 1023, ERR_CORRUPT, "contradicts" },
        { "a segment that ends before it starts", SEGMENT + 16, 8, 1023, ERR_CORRUPT,
          "contradicts" },
        { "overlapping segments", SEGMENT + 16, 8, 2001, ERR_CORRUPT, "overlap" },
        { "a segment shorter than its ends", SEGMENT + 24, 8, 4000, ERR_CORRUPT, "contradicts" },
        { "more streams than entries", SEGMENT + 40, 8, 101, ERR_CORRUPT, "contradicts" },
        { "streams the wrong way round", SEGMENT + 56, 8, 1025, ERR_CORRUPT, "contradicts" },
        { "a stream newer than its entries", SEGMENT + 64, 8, 2000, ERR_CORRUPT, "contradicts" },
        { "a segment's reserved byte", SEGMENT + 95, 1, 1, ERR_CORRUPT, "reserved" },
        { "one ordinal twice", SEGMENT, 8, 4, ERR_CORRUPT, "one ordinal" },
        { "an obsolete one that is not", OBSOLETE, 8, 4, ERR_CORRUPT, "one ordinal" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct simio *disk = disk_new();
        uint8_t bytes[512];
        size_t n;

        print_message("  %s\n", cases[i].why);
        write_sample(disk);
        simio_bytes(disk, PATH, &n);
        assert_true(n <= sizeof bytes);
        memcpy(bytes, simio_bytes(disk, PATH, &n), n);
        for (size_t k = 0; k < cases[i].n; k++)
            bytes[cases[i].at + k] = (uint8_t)(cases[i].value >> 8 * k);
        put_u32le(bytes + n - 4, crc32c(0, bytes, n - 4));
        simio_put(disk, PATH, bytes, n);
        assert_refused(disk, cases[i].code, cases[i].what);
        simio_free(disk);
    }
}

/* Each operation fails in its turn; then the machine loses power at each. What is read is the old one or the new. */
static void a_failure_or_a_crash_leaves_the_old_one_or_the_new(void **state)
{
    static const enum simio_fault faults[] = { SIMIO_EIO, SIMIO_ENOSPC, SIMIO_SHORT, SIMIO_CRASH };
    int n_old = 0, n_new = 0;

    (void)state;
    for (size_t f = 0; f < sizeof faults / sizeof faults[0]; f++)
        for (uint64_t at = 0;; at++) {
            struct simio *disk = disk_new();
            struct manifest m, got;
            uint64_t written = 0;
            struct err e = { 0 };
            int rc;

            write_sample(disk);
            sample(&m);
            m.generation = 10;
            m.n_segments = 1;
            simio_fault_at(disk, simio_n_ops(disk) + at, 1, faults[f]);
            rc = manifest_write(simio_io(disk), "data", uuid, &m, &written, &e);
            assert_true(rc == OK || rc == ERR_IO || (rc == ERR_FULL && faults[f] == SIMIO_ENOSPC));
            if (simio_n_faults(disk) == 0) {
                assert_int_equal(rc, OK);
                simio_free(disk);
                break;
            }
            if (rc == ERR_FULL) { /* the old one still holds */
                assert_int_equal(read_it(disk, &got, &e), OK);
                assert_int_equal(got.generation, 9);
                manifest_fini(&got);
            }
            for (uint64_t variant = 0; variant < 20; variant++) {
                struct simio *copy = simio_copy(disk);
                simio_crash(copy, SIMIO_MIXED, variant);
                assert_int_equal(read_it(copy, &got, &e), OK);
                assert_int_equal(got.n_segments, got.generation == 9 ? 2 : 1);
                assert_true(rc != OK || got.generation == 10);
                n_old += got.generation == 9;
                n_new += got.generation == 10 && rc != OK;
                manifest_fini(&got);
                simio_free(copy);
            }
            simio_free(disk);
        }
    assert_true(n_old > 0 && n_new > 0);
}

static void a_left_over_is_replaced(void **state)
{
    struct simio *disk = disk_new();
    struct manifest got;
    struct err e = { 0 };

    (void)state;
    simio_put(disk, PATH ".tmp", "a longer text than a manifest's head", 36);
    simio_cut(disk, PATH ".tmp", 10000);
    write_sample(disk);
    assert_int_equal(read_it(disk, &got, &e), OK);
    manifest_fini(&got);
    assert_null(simio_bytes(disk, PATH ".tmp", &(size_t){ 0 }));
    simio_free(disk);
}

static void the_largest_one_is_read_again(void **state)
{
    struct simio *disk = disk_new();
    struct manifest m, got;
    uint64_t written = 0;
    struct err e = { 0 };

    (void)state;
    manifest_init(&m);
    m.generation = 1;
    m.segments = calloc(MANIFEST_SEGMENTS_MAX, sizeof *m.segments);
    assert_non_null(m.segments);
    for (uint64_t i = 0; i < MANIFEST_SEGMENTS_MAX; i++)
        m.segments[i] = segment(MANIFEST_SEGMENTS_MAX - i, 1024 + 10 * i, 1033 + 10 * i);
    m.n_segments = MANIFEST_SEGMENTS_MAX;
    m.next_ordinal = MANIFEST_SEGMENTS_MAX + 1;
    m.sealed_lsn = 1033 + 10 * (uint64_t)MANIFEST_SEGMENTS_MAX;
    assert_int_equal(manifest_write(simio_io(disk), "data", uuid, &m, &written, &e), OK);
    assert_int_equal(read_it(disk, &got, &e), OK);
    assert_int_equal(got.n_segments, MANIFEST_SEGMENTS_MAX);
    assert_int_equal(got.segments[77].lsn_first, m.segments[77].lsn_first);
    manifest_fini(&got);
    manifest_fini(&m);
    simio_free(disk);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(a_copy_is_its_own),
        cmocka_unit_test(none_is_no_error),
        cmocka_unit_test(one_that_is_lost_is_told),
        cmocka_unit_test(every_flipped_bit_is_noticed),
        cmocka_unit_test(every_other_length_is_noticed),
        cmocka_unit_test(fields_that_cannot_be_are_refused),
        cmocka_unit_test(a_failure_or_a_crash_leaves_the_old_one_or_the_new),
        cmocka_unit_test(a_left_over_is_replaced),
        cmocka_unit_test(the_largest_one_is_read_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
