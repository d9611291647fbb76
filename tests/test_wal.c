/* test_wal.c - headers of files and frames are what docs/format.md says, and nothing else passes
 * for one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <assert.h>
#include <string.h>

#include "log/bytes.h"
#include "log/crc32c.h"
#include "log/log.h"
#include "log/wal.h"

static const struct wal_header sample_header = { .uuid = "0123456789abcde",
                                                 .flags = WAL_RECOVERED,
                                                 .size = 65536,
                                                 .first_lsn = 1024,
                                                 .first_index = 7,
                                                 .salt = 0x1122334455667788,
                                                 .prev_end = 4096,
                                                 .prev_crc = 0xcafe };

static const struct wal_frame sample_frame = { .synced_lsn = 1030,
                                               .prev_crc = 0xcafe,
                                               .payload_len = 3,
                                               .flags = 0,
                                               .term = 1,
                                               .count = 1,
                                               .index = 7,
                                               .first_lsn = 1031,
                                               .clock = (uint64_t)5 << 16 | 2 };

/* ---- names ---- */

static void a_file_is_named_after_its_first_lsn(void **state)
{
    char name[WAL_NAME_MAX];
    uint64_t lsn = 0;

    (void)state;
    wal_name(1024, name);
    assert_string_equal(name, "wal-00000000000000001024.log");
    assert_true(wal_name_parse(name, &lsn));
    assert_int_equal(lsn, 1024);
    wal_name(UINT64_MAX, name);
    assert_string_equal(name, "wal-18446744073709551615.log");
    assert_true(wal_name_parse(name, &lsn));
    assert_true(lsn == UINT64_MAX);
}

static void other_names_are_not_files_of_the_log(void **state)
{
    static const char *const names[] = {
        "",
        "STORE",
        WAL_NEXT_NAME,
        WAL_RESERVE_NAME,
        "wal-1024.log",
        "wal-0000000000000001024.log",
        "wal-000000000000000001024.log",
        "wal-00000000000000001024.lo",
        "wal-00000000000000001024.log~",
        "wal-0000000000000000102x.log",
        "wal-+0000000000000001024.log",
        "wal-18446744073709551616.log",
        "WAL-00000000000000001024.log",
        "quarantine",
    };

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        uint64_t lsn = 5;
        print_message("  %s\n", names[i]);
        assert_false(wal_name_parse(names[i], &lsn));
        assert_int_equal(lsn, 5);
    }
}

/* ---- file headers ---- */

static void a_file_header_is_read_as_it_was_written(void **state)
{
    uint8_t bytes[WAL_HEADER_BYTES];
    struct wal_header h;
    struct err e = { 0 };

    (void)state;
    wal_header_put(bytes, &sample_header);
    assert_int_equal(wal_header_get(bytes, &h, &e), OK);
    assert_memory_equal(h.uuid, sample_header.uuid, WAL_UUID_BYTES);
    assert_int_equal(h.flags, WAL_RECOVERED);
    assert_int_equal(h.size, 65536);
    assert_int_equal(h.first_lsn, 1024);
    assert_int_equal(h.first_index, 7);
    assert_true(h.salt == 0x1122334455667788);
    assert_int_equal(h.prev_end, 4096);
    assert_int_equal(h.prev_crc, 0xcafe);
}

static void a_file_header_lies_as_documented(void **state)
{
    static const uint8_t start[80] = "BECKWAL\0"
                                     "\1\0\0\0"
                                     "\1\0\0\0"
                                     "0123456789abcde\0"
                                     "\0\4\0\0\0\0\0\0"
                                     "\7\0\0\0\0\0\0\0"
                                     "\x88\x77\x66\x55\x44\x33\x22\x11"
                                     "\0\x10\0\0\0\0\0\0"
                                     "\xfe\xca\0\0"
                                     "\0\0\0\0"
                                     "\0\0\1\0\0\0\0";
    uint8_t bytes[WAL_HEADER_BYTES];

    (void)state;
    wal_header_put(bytes, &sample_header);
    assert_memory_equal(bytes, start, sizeof start);
    for (size_t i = 80; i < WAL_HEADER_BYTES - 4; i++)
        assert_int_equal(bytes[i], 0);
    assert_int_equal(get_u32le(bytes + WAL_HEADER_BYTES - 4),
                     crc32c(0, bytes, WAL_HEADER_BYTES - 4));
}

static void a_file_header_with_a_flipped_bit_is_refused(void **state)
{
    uint8_t bytes[WAL_HEADER_BYTES];
    struct wal_header h;
    struct err e = { 0 };

    (void)state;
    wal_header_put(bytes, &sample_header);
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(wal_header_get(bytes, &h, &e), ERR_CORRUPT);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

/* With a checksum that is right: what a newer program may have written. */
static void a_file_header_of_a_newer_format_is_refused_as_such(void **state)
{
    static const struct {
        const char *why;
        size_t at;
    } cases[] = { { "version", 8 }, { "flags", 12 }, { "reserved", 68 }, { "zeros", 4000 } };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t bytes[WAL_HEADER_BYTES];
        struct wal_header h;
        struct err e = { 0 };

        print_message("  %s\n", cases[i].why);
        wal_header_put(bytes, &sample_header);
        bytes[cases[i].at] |= 2;
        put_u32le(bytes + WAL_HEADER_BYTES - 4, crc32c(0, bytes, WAL_HEADER_BYTES - 4));
        assert_int_equal(wal_header_get(bytes, &h, &e), ERR_FORMAT);
    }
}

/* ---- frames ---- */

static uint32_t put_frame(uint8_t *p, struct wal_frame f, uint32_t seed, const char *payload)
{
    f.payload_crc = crc32c(wal_frame_put_once(p, &f), payload, f.payload_len);
    return wal_frame_put(p, seed, &f);
}

static void a_frame_header_lies_as_documented(void **state)
{
    static const uint8_t want[] =
        "BLK1"
        "....\6\4\0\0\0\0\0\0\xfe\xca\0\0\3\0\0\0\0\1\0\0"
        "....\1\0\0\0\1\0\0\0\7\0\0\0\0\0\0\0\7\4\0\0\0\0\0\0\2\0\5\0\0\0\0\0";
    uint32_t seed = wal_seed(0x1122334455667788);
    uint8_t bytes[WAL_FRAME_BYTES];
    uint32_t crc;

    (void)state;
    static_assert(sizeof want == WAL_FRAME_BYTES + 1, "the sample is one header");
    crc = put_frame(bytes, sample_frame, seed, "abc");
    assert_memory_equal(bytes, want, 4);
    assert_memory_equal(bytes + 8, want + 8, 20);
    assert_memory_equal(bytes + 32, want + 32, 32);
    assert_int_equal(seed, crc32c(0, "\x88\x77\x66\x55\x44\x33\x22\x11", 8));
    assert_int_equal(get_u32le(bytes + 4), crc32c(seed, bytes + 8, 56));
    assert_int_equal(get_u32le(bytes + 4), crc);
    assert_int_equal(get_u32le(bytes + 28), crc32c(crc32c(0, bytes + 32, 32), "abc", 3));
}

static void a_frame_header_is_read_as_it_was_written(void **state)
{
    uint8_t bytes[WAL_FRAME_BYTES];
    struct wal_frame f;

    (void)state;
    put_frame(bytes, sample_frame, 9, "abc");
    assert_true(wal_frame_get(bytes, 9, &f));
    assert_int_equal(f.synced_lsn, 1030);
    assert_int_equal(f.prev_crc, 0xcafe);
    assert_int_equal(f.payload_len, 3);
    assert_int_equal(f.term, 1);
    assert_int_equal(f.count, 1);
    assert_int_equal(f.index, 7);
    assert_int_equal(f.first_lsn, 1031);
    assert_int_equal(f.clock, sample_frame.clock);
}

static void a_frame_header_with_a_flipped_bit_is_refused(void **state)
{
    uint8_t bytes[WAL_FRAME_BYTES];
    struct wal_frame f;

    (void)state;
    put_frame(bytes, sample_frame, 9, "abc");
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(wal_frame_get(bytes, 9, &f));
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void a_frame_of_another_file_is_refused(void **state)
{
    uint8_t bytes[WAL_FRAME_BYTES];
    struct wal_frame f;

    (void)state;
    put_frame(bytes, sample_frame, wal_seed(1), "abc");
    assert_true(wal_frame_get(bytes, wal_seed(1), &f));
    assert_false(wal_frame_get(bytes, wal_seed(2), &f));
}

/* A copy has another header around the same bytes. */
static void what_is_made_once_does_not_depend_on_the_file(void **state)
{
    struct wal_frame other = sample_frame;
    uint8_t a[WAL_FRAME_BYTES], b[WAL_FRAME_BYTES];

    (void)state;
    other.synced_lsn = 0;
    other.prev_crc = 1;
    put_frame(a, sample_frame, 1, "abc");
    put_frame(b, other, 2, "abc");
    assert_memory_equal(a + 28, b + 28, 36);
    assert_memory_not_equal(a, b, 28);
}

static void fields_out_of_bounds_are_refused_although_the_checksum_is_right(void **state)
{
    static const struct {
        const char *why;
        struct wal_frame f;
        bool want;
    } cases[] = {
        { "the longest payload", { .payload_len = LOG_FRAME_BYTES_MAX, .count = 1 }, true },
        { "a longer one", { .payload_len = LOG_FRAME_BYTES_MAX + 1, .count = 1 }, false },
        { "the most records", { .payload_len = 1, .count = WAL_RECORDS_MAX }, true },
        { "a last frame in which no record ends", { .payload_len = 1, .count = 0 }, false },
        { "records without bytes", { .count = 1 }, false },
        { "a run in which none ends yet", { .flags = WAL_MORE, .payload_len = 1 }, true },
        { "a run that starts without bytes", { .flags = WAL_MORE }, false },
        { "an unknown flag", { .flags = 16, .count = 1 }, false },
        { "a seal with MORE", { .flags = WAL_SEAL | WAL_MORE }, false },
        { "two markers in one", { .flags = WAL_SEAL | WAL_SYNC }, false },
        { "a marker", { .flags = WAL_SYNC }, true },
        { "a marker with records", { .flags = WAL_SYNC, .count = 1 }, false },
        { "a marker with a payload", { .flags = WAL_CLOSE, .payload_len = 1 }, false },
        { "a marker with an index", { .flags = WAL_SEAL, .index = 1 }, false },
        { "a marker with an LSN", { .flags = WAL_SEAL, .first_lsn = 1 }, false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t bytes[WAL_FRAME_BYTES];
        struct wal_frame f = cases[i].f, got;

        print_message("  %s\n", cases[i].why);
        f.payload_crc = wal_frame_put_once(bytes, &f);
        wal_frame_put(bytes, 3, &f);
        assert_int_equal(wal_frame_get(bytes, 3, &got), cases[i].want);
    }
}

static void frames_end_at_eight_bytes_and_sectors_at_512(void **state)
{
    (void)state;
    assert_int_equal(wal_frame_size(0), 64);
    assert_int_equal(wal_frame_size(1), 72);
    assert_int_equal(wal_frame_size(8), 72);
    assert_int_equal(wal_frame_size(9), 80);
    assert_int_equal(wal_frame_size(LOG_FRAME_BYTES_MAX), 64 + LOG_FRAME_BYTES_MAX);
    assert_int_equal(wal_sector_up(4096), 4096);
    assert_int_equal(wal_sector_up(4097), 4608);
    assert_int_equal(wal_sector_up(4608), 4608);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_named_after_its_first_lsn),
        cmocka_unit_test(other_names_are_not_files_of_the_log),
        cmocka_unit_test(a_file_header_is_read_as_it_was_written),
        cmocka_unit_test(a_file_header_lies_as_documented),
        cmocka_unit_test(a_file_header_with_a_flipped_bit_is_refused),
        cmocka_unit_test(a_file_header_of_a_newer_format_is_refused_as_such),
        cmocka_unit_test(a_frame_header_lies_as_documented),
        cmocka_unit_test(a_frame_header_is_read_as_it_was_written),
        cmocka_unit_test(a_frame_header_with_a_flipped_bit_is_refused),
        cmocka_unit_test(a_frame_of_another_file_is_refused),
        cmocka_unit_test(what_is_made_once_does_not_depend_on_the_file),
        cmocka_unit_test(fields_out_of_bounds_are_refused_although_the_checksum_is_right),
        cmocka_unit_test(frames_end_at_eight_bytes_and_sectors_at_512),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
