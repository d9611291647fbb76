/* test_segment.c - a sealed file gives back what was put into it, and never anything else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "log/crc32c.h"
#include "log/entry.h"
#include "log/segfile.h"
#include "log/segment.h"
#include "tests/lib/segments.h"

/* Streams of all sizes: most small, a few that fill blocks. */
static void make_streams(struct entries *l, struct random *r, size_t n_streams, size_t most)
{
    uint64_t oid = 1024;

    for (size_t i = 0; i < n_streams; i++) {
        struct id last = { 1700000000000 + random_below(r, 1000000), 0 };
        oid += 1 + random_below(r, 20);
        entries_grow(l, r, oid, &last, 1 + random_below(r, random_below(r, 8) == 0 ? most : 4),
                     random_below(r, 60));
    }
}

static uint64_t sum_bytes(const struct entries *l)
{
    uint64_t n = 0;

    for (size_t i = 0; i < l->n; i++)
        n += l->at[i].len;
    return n;
}

static uint64_t count_streams(const struct entries *l)
{
    uint64_t n = 0;

    for (size_t i = 0; i < l->n; i++)
        n += i == 0 || l->at[i].oid != l->at[i - 1].oid;
    return n;
}

/* Compares the rows of a block with the list from *at on. False if one differs. */
static bool rows_match(const struct block *b, const struct entries *l, size_t *at)
{
    for (uint32_t run = 0; run < b->n_runs; run++) {
        for (uint32_t i = 0; i < b->runs[run].n; i++) {
            uint32_t row = b->runs[run].first + i;
            const struct entry *x = &l->at[*at];
            if (*at >= l->n || b->runs[run].oid != x->oid ||
                b->offsets[row + 1] - b->offsets[row] != x->len ||
                memcmp(block_entry(b, row), x->p, x->len) != 0)
                return false;
            ++*at;
        }
    }
    return true;
}

enum outcome { SAME, REFUSED, DIFFERENT };

/* Reads every block, by the index. What is refused has to say where. */
static enum outcome read_blocks(struct segment *s, const struct entries *l)
{
    struct block_decoder *c = block_decoder_new();
    enum outcome outcome = SAME;
    size_t at = 0;

    for (uint32_t p = 0; p < segment_n_pages(s) && outcome == SAME; p++) {
        struct segment_page *page = NULL;
        struct err e = { 0 };
        if (segment_read_page(s, p, &page, &e) != OK) {
            assert_non_null(strstr(e.text, segment_path(s)));
            assert_non_null(strstr(e.text, "byte "));
            outcome = REFUSED;
            break;
        }
        for (uint32_t i = 0; i < page->n && outcome == SAME; i++) {
            struct block *b = NULL;
            if (segment_read_block(s, c, &page->blocks[i], &b, &e) != OK) {
                assert_non_null(strstr(e.text, segment_path(s)));
                assert_non_null(strstr(e.text, "byte "));
                outcome = REFUSED;
            } else if (!rows_match(b, l, &at)) {
                outcome = DIFFERENT;
            }
            block_unref(b);
        }
        segment_page_unref(page);
    }
    block_decoder_free(c);
    if (outcome == SAME && at != l->n)
        outcome = DIFFERENT;
    return outcome;
}

static enum outcome read_streams(struct segment *s, const struct entries *l)
{
    struct segment_streams *it = NULL;
    struct segment_stream st;
    struct err e = { 0 };
    bool more = true;
    size_t at = 0;
    enum outcome outcome = SAME;

    assert_int_equal(segment_streams_open(s, &it, &e), OK);
    while (outcome == SAME) {
        uint64_t n = 0, bytes = 0;
        size_t from = at;
        if (segment_streams_next(it, &st, &more, &e) != OK) {
            assert_non_null(strstr(e.text, segment_path(s)));
            outcome = REFUSED;
            break;
        }
        if (!more)
            break;
        for (; at < l->n && l->at[at].oid == l->at[from].oid; at++, n++)
            bytes += l->at[at].len;
        if (n == 0 || st.oid != l->at[from].oid || st.n != n || st.raw_bytes != bytes ||
            id_cmp(st.last, l->at[at - 1].id) != 0)
            outcome = DIFFERENT;
    }
    segment_streams_close(it);
    if (outcome == SAME && at != l->n)
        outcome = DIFFERENT;
    return outcome;
}

static void names_are_read_back_and_no_others(void **state)
{
    static const char *const others[] = { "st-1.seg",
                                          "st-0000000000000000000a.seg",
                                          "st-99999999999999999999.seg",
                                          "st-00000000000000000001.seg.tm",
                                          "st-00000000000000000001.seg.tmpx",
                                          "wal-00000000000000001024.log",
                                          "" };
    char name[SEGMENT_NAME_MAX];
    uint64_t ordinal;
    bool unfinished;

    (void)state;
    segment_name(UINT64_MAX, false, name);
    assert_string_equal(name, "st-18446744073709551615.seg");
    assert_true(segment_name_parse(name, &ordinal, &unfinished));
    assert_true(ordinal == UINT64_MAX && !unfinished);
    segment_name(7, true, name);
    assert_string_equal(name, "st-00000000000000000007.seg.tmp");
    assert_true(segment_name_parse(name, &ordinal, &unfinished));
    assert_true(ordinal == 7 && unfinished);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_false(segment_name_parse(others[i], &ordinal, &unfinished));
}

static void what_is_put_is_read(void **state)
{
    struct random r = random_seeded("segment");

    (void)state;
    for (size_t round = 0; round < random_rounds(30); round++) {
        struct simio *disk = segments_disk(1);
        struct entries l = { 0 };
        struct segment_info info;
        struct segment *s;
        struct err e = { 0 };

        make_streams(&l, &r, 1 + random_below(&r, 300), 1 + random_below(&r, 2000));
        segments_write(disk, 5, (uint32_t)(200 + random_below(&r, 4000)),
                       (enum block_codec)random_below(&r, BLOCK_N_CODECS), &l, 0, l.n, &info);
        assert_int_equal(
            segment_open(simio_io(disk), SEGMENTS_DIR, segments_uuid, 5, &info, &s, &e), OK);
        assert_true(info.n_entries == l.n && info.raw_bytes == sum_bytes(&l));
        assert_true(info.n_streams == count_streams(&l));
        assert_true(info.oid_first == l.at[0].oid && info.oid_last == l.at[l.n - 1].oid);
        for (size_t i = 0; i < l.n; i++)
            assert_true(segment_may_have(s, l.at[i].oid) && l.at[i].id.ms <= info.max_ms);
        assert_int_equal(read_blocks(s, &l), SAME);
        assert_int_equal(read_streams(s, &l), SAME);
        assert_int_equal(segment_verify(s, NULL, NULL, &e), OK);
        segment_unref(s);
        entries_fini(&l);
        simio_free(disk);
    }
}

static void a_segment_without_entries_opens_and_has_nothing(void **state)
{
    struct simio *disk = segments_disk(1);
    struct entries l = { 0 };
    struct segment_info info;
    struct segment *s;
    struct err e = { 0 };

    (void)state;
    segments_write(disk, 1, 0, BLOCK_LZ4, &l, 0, 0, &info);
    s = segments_open(disk, 1);
    assert_true(info.n_blocks == 0 && info.oid_first == 0 && info.oid_last == 0);
    assert_false(segment_may_have(s, 0));
    assert_int_equal(segment_n_pages(s), 0);
    assert_int_equal(read_streams(s, &l), SAME);
    assert_int_equal(segment_verify(s, NULL, NULL, &e), OK);
    segment_unref(s);
    simio_free(disk);
}

static void a_stream_of_more_than_half_a_block_ends_its_block(void **state)
{
    struct random r = { 1 };
    struct simio *disk = segments_disk(1);
    struct segment_page *page = NULL;
    struct entries l = { 0 };
    struct segment *s;
    struct err e = { 0 };

    (void)state;
    for (uint64_t oid = 2000; oid < 2003; oid++) {
        struct id last = { 0, 0 };
        entries_grow(&l, &r, oid, &last, 100, 20);
    }
    segments_write(disk, 1, 1 << 13, BLOCK_LZ4, &l, 0, l.n, NULL);
    s = segments_open(disk, 1);
    assert_int_equal(segment_read_page(s, 0, &page, &e), OK);
    assert_int_equal(page->n, 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_true(page->blocks[i].one_stream && page->blocks[i].oid == 2000 + i);
    segment_page_unref(page);
    segment_unref(s);
    entries_fini(&l);
    simio_free(disk);
}

/* Copies whole blocks of one segment into another one. */
static void copied_blocks_are_read_as_they_were(void **state)
{
    struct random r = { 7 };
    struct simio *disk = segments_disk(1);
    struct segment_options o;
    struct segment_writer *w = NULL;
    struct segment_page *page = NULL;
    struct segment_info info;
    struct entries l = { 0 };
    struct id last = { 5, 5 };
    struct segment *s;
    struct err e = { 0 };

    (void)state;
    entries_grow(&l, &r, 3000, &last, 2000, 30);
    segments_write(disk, 1, 1 << 10, BLOCK_ZSTD, &l, 0, l.n, NULL);
    s = segments_open(disk, 1);
    segments_options(disk, 2, 1 << 10, &o);
    assert_int_equal(segment_create(&o, &w, &e), OK);
    for (uint32_t p = 0; p < segment_n_pages(s); p++) {
        assert_int_equal(segment_read_page(s, p, &page, &e), OK);
        for (uint32_t i = 0; i < page->n; i++) {
            const struct segment_block *b = &page->blocks[i];
            uint8_t *bytes = malloc(b->bytes);
            struct block_head head;
            assert_int_equal(segment_read_raw(s, b, bytes, &head, &e), OK);
            assert_int_equal(segment_put_block(w, b->oid, b->first, b->last, &head,
                                               slice_of(bytes, b->bytes), &e),
                             OK);
            free(bytes);
        }
        segment_page_unref(page);
    }
    segment_unref(s);
    assert_int_equal(segment_finish(w, &info, &e), OK);
    assert_int_equal(segment_publish(o.io, o.dir, 2, &e), OK);
    s = segments_open(disk, 2);
    assert_true(info.n_entries == l.n && info.raw_bytes == sum_bytes(&l));
    assert_int_equal(read_blocks(s, &l), SAME);
    assert_int_equal(segment_verify(s, NULL, NULL, &e), OK);
    segment_unref(s);
    entries_fini(&l);
    simio_free(disk);
}

static void the_filter_is_right_when_it_says_no_and_rarely_wrong_otherwise(void **state)
{
    enum { N = 20000 };
    struct random r = { 3 };
    struct simio *disk = segments_disk(1);
    struct entries l = { 0 };
    struct segment *s;
    size_t wrong = 0;

    (void)state;
    for (uint64_t i = 0; i < N; i++)
        entries_add(&l, &r, 5000 + 2 * i, (struct id){ i, 0 }, 0);
    segments_write(disk, 1, 0, BLOCK_LZ4, &l, 0, l.n, NULL);
    s = segments_open(disk, 1);
    for (uint64_t i = 0; i < N; i++) {
        assert_true(segment_may_have(s, 5000 + 2 * i));
        wrong += i + 1 < N && segment_may_have(s, 5001 + 2 * i);
    }
    print_message("  %zu of %d others pass\n", wrong, N);
    assert_true(wrong < N / 40);
    assert_false(segment_may_have(s, 4999) || segment_may_have(s, 5000 + 2 * N));
    assert_true(segment_memory(s) <= 512 + 2 * N + (size_t)segment_n_pages(s) * 32);
    segment_unref(s);
    entries_fini(&l);
    simio_free(disk);
}

static void count_read(void *ctx, const struct simio_op *op)
{
    if (op->kind == SIMIO_READ)
        *(size_t *)ctx += op->n;
}

static void opening_does_not_read_the_data(void **state)
{
    struct random r = { 9 };
    struct simio *disk = segments_disk(1);
    struct entries l = { 0 };
    struct segment_info info;
    struct id last = { 0, 0 };
    struct segment *s;
    size_t n_read = 0;

    (void)state;
    entries_grow(&l, &r, 3000, &last, 30000, 30);
    segments_write(disk, 1, 1 << 10, BLOCK_NONE, &l, 0, l.n, &info);
    simio_set_hook(disk, count_read, &n_read);
    s = segments_open(disk, 1);
    print_message("  %zu bytes of %llu are read, %zu stay in memory\n", n_read,
                  (unsigned long long)info.file_bytes, segment_memory(s));
    assert_true(segment_n_pages(s) > 3);
    assert_true(n_read <= SEGMENT_HEADER_BYTES + SEGMENT_TRAILER_BYTES + 8 +
                              (size_t)segment_n_pages(s) * SEGFILE_KEY_BYTES);
    segment_unref(s);
    entries_fini(&l);
    simio_free(disk);
}

static void count_file(void *ctx, const char *path)
{
    (void)path;
    ++*(size_t *)ctx;
}

/* Writes a segment that may fail; returns what failed. */
static int write_once(struct simio *disk, const struct entries *l, struct segment_info *info,
                      struct err *e)
{
    struct segment_options o;
    struct segment_writer *w = NULL;
    int rc;

    segments_options(disk, 4, 512, &o);
    rc = segment_create(&o, &w, e);
    for (size_t i = 0; i < l->n && rc == OK; i++) {
        rc = segment_put(w, l->at[i].oid, l->at[i].p, l->at[i].len, BLOCK_NONE, 0, e);
        if (rc != OK)
            segment_discard(w);
    }
    return rc != OK ? rc : segment_finish(w, info, e);
}

static void a_write_that_fails_leaves_no_file(void **state)
{
    static const enum simio_fault faults[] = { SIMIO_EIO, SIMIO_ENOSPC, SIMIO_SHORT };
    struct random r = { 11 };
    struct entries l = { 0 };
    struct id last = { 0, 0 };

    (void)state;
    entries_grow(&l, &r, 3000, &last, 8000, 200); /* a few buffers full */
    for (size_t f = 0; f < 3; f++) {
        bool failed = true;
        for (uint64_t n = 0; failed; n++) {
            struct simio *disk = segments_disk(1);
            struct segment_info info;
            struct err e = { 0 };
            size_t files = 0;
            int rc;

            simio_fault_at(disk, simio_n_ops(disk) + n, 1, faults[f]);
            rc = write_once(disk, &l, &info, &e);
            failed = simio_n_faults(disk) > 0;
            simio_each_file(disk, count_file, &files);
            if (rc == OK)
                assert_int_equal(files, 1);
            else
                assert_true(rc == (faults[f] == SIMIO_ENOSPC ? ERR_FULL : ERR_IO));
            if (rc != OK && strstr(e.text, "left-over") == NULL)
                assert_int_equal(files, 0);
            simio_free(disk);
        }
    }
    entries_fini(&l);
}

/* A segment with everything in it: shared blocks, own blocks, two index pages, a Bloom filter. */
static void make_small(struct simio *disk, struct entries *l, bool filter)
{
    struct random r = { 21 };

    for (uint64_t i = 0; i < (filter ? 70 : 4); i++) {
        struct id last = { 1000, 0 };
        entries_grow(l, &r, 2000 + 3 * i, &last, i % 3 == 2 ? 12 : 1, 4);
    }
    segments_write(disk, 1, 100, BLOCK_LZ4, l, 0, l->n, NULL);
}

static enum outcome read_all(struct simio *disk, const struct entries *l)
{
    struct segment *s = NULL;
    struct err e = { 0 };
    enum outcome blocks, streams;

    if (segment_open(simio_io(disk), SEGMENTS_DIR, segments_uuid, 1, NULL, &s, &e) != OK) {
        assert_non_null(strstr(e.text, "st-00000000000000000001.seg"));
        assert_non_null(strstr(e.text, "byte "));
        return REFUSED;
    }
    for (size_t i = 0; i < l->n; i++)
        assert_true(segment_may_have(s, l->at[i].oid));
    blocks = read_blocks(s, l);
    streams = read_streams(s, l);
    assert_true(segment_is_bad(s) == (blocks == REFUSED || streams == REFUSED));
    assert_int_equal(segment_verify(s, NULL, NULL, &e) == OK, blocks == SAME && streams == SAME);
    segment_unref(s);
    if (blocks == DIFFERENT || streams == DIFFERENT)
        return DIFFERENT;
    return blocks == SAME && streams == SAME ? SAME : REFUSED;
}

static void a_flipped_bit_is_refused_wherever_it_is(void **state)
{
    struct simio *disk = segments_disk(1);
    struct entries l = { 0 };
    char path[64];
    size_t n, zeros = 0;
    const uint8_t *bytes;

    (void)state;
    make_small(disk, &l, true);
    segments_path(1, path);
    assert_int_equal(read_all(disk, &l), SAME);
    bytes = simio_bytes(disk, path, &n);
    for (size_t i = 0; i < n; i++) {
        uint8_t was = bytes[i];
        simio_poke(disk, path, i, (uint8_t)(was ^ 1u << i % 8));
        if (read_all(disk, &l) != REFUSED) {
            print_message("  byte %zu of %zu\n", i, n);
            zeros++;
        }
        simio_poke(disk, path, i, was);
        bytes = simio_bytes(disk, path, &n);
    }
    assert_int_equal(zeros, 0);
    entries_fini(&l);
    simio_free(disk);
}

static void a_file_of_another_length_is_refused(void **state)
{
    struct simio *disk = segments_disk(1);
    struct entries l = { 0 };
    char path[64];
    uint8_t *copy;
    const uint8_t *bytes;
    size_t n;

    (void)state;
    make_small(disk, &l, false);
    segments_path(1, path);
    bytes = simio_bytes(disk, path, &n);
    copy = malloc(n);
    memcpy(copy, bytes, n);
    for (size_t len = 0; len < n; len += len < SEGMENT_HEADER_BYTES - 4 ? 97 : 1) {
        simio_put(disk, path, copy, len);
        assert_int_equal(read_all(disk, &l), REFUSED);
    }
    simio_put(disk, path, copy, n);
    simio_cut(disk, path, n + 1);
    assert_int_equal(read_all(disk, &l), REFUSED);
    free(copy);
    entries_fini(&l);
    simio_free(disk);
}

static void what_is_not_the_segment_asked_for_is_refused(void **state)
{
    struct simio *disk = segments_disk(1);
    struct entries l = { 0 };
    struct segment_info info;
    struct segment *s = NULL;
    struct err e = { 0 };
    struct io *io = simio_io(disk);
    uint8_t other[WAL_UUID_BYTES] = "another store..";

    (void)state;
    make_small(disk, &l, false);
    segments_write(disk, 2, 100, BLOCK_LZ4, &l, 0, l.n, &info);
    assert_int_equal(segment_open(io, SEGMENTS_DIR, other, 1, NULL, &s, &e), ERR_CORRUPT);
    assert_non_null(strstr(e.text, "another store"));
    info.ordinal = 1;
    assert_int_equal(segment_open(io, SEGMENTS_DIR, segments_uuid, 1, &info, &s, &e), ERR_CORRUPT);
    assert_non_null(strstr(e.text, "manifest"));
    assert_int_equal(io->rename(io, SEGMENTS_DIR "/st-00000000000000000002.seg",
                                SEGMENTS_DIR "/st-00000000000000000003.seg"),
                     0);
    assert_int_equal(segment_open(io, SEGMENTS_DIR, segments_uuid, 3, NULL, &s, &e), ERR_CORRUPT);
    assert_non_null(strstr(e.text, "than its name says"));
    assert_int_equal(segment_open(io, SEGMENTS_DIR, segments_uuid, 9, NULL, &s, &e), ERR_CORRUPT);
    entries_fini(&l);
    simio_free(disk);
}

struct found {
    size_t n;
    uint64_t pos;
};

static void note(void *ctx, const char *path, uint64_t pos, const char *what)
{
    struct found *f = ctx;

    assert_string_equal(path, SEGMENTS_DIR "/st-00000000000000000001.seg");
    assert_null(strstr(what, path));
    f->n++;
    f->pos = pos;
}

static void verify_names_each_damaged_block_and_the_others_stay_readable(void **state)
{
    struct simio *disk = segments_disk(1);
    struct block_decoder *c = block_decoder_new();
    struct segment_page *page = NULL;
    struct entries l = { 0 };
    struct found found = { 0 };
    struct block *b = NULL;
    struct segment *s;
    struct err e = { 0 };
    char path[64];

    (void)state;
    make_small(disk, &l, true);
    segments_path(1, path);
    s = segments_open(disk, 1);
    assert_int_equal(segment_read_page(s, 0, &page, &e), OK);
    simio_poke(disk, path, page->blocks[3].pos + 40, 0xff);
    assert_int_equal(segment_verify(s, note, &found, &e), ERR_CORRUPT);
    assert_true(found.n == 1 && found.pos == page->blocks[3].pos);
    simio_break_sector(disk, path, page->blocks[7].pos);
    found.n = 0;
    assert_int_equal(segment_verify(s, note, &found, &e), ERR_CORRUPT);
    assert_true(found.n >= 2 && segment_is_bad(s));
    assert_int_equal(segment_read_block(s, c, &page->blocks[3], &b, &e), ERR_CORRUPT);
    assert_int_equal(segment_read_block(s, c, &page->blocks[0], &b, &e), OK);
    block_unref(b);
    segment_page_unref(page);
    segment_unref(s);
    block_decoder_free(c);
    entries_fini(&l);
    simio_free(disk);
}

/* Changes a byte and puts right the checksums of filter and trailer. */
static void change_unseen(struct simio *disk, const char *path, size_t pos, uint8_t by)
{
    size_t n;
    const uint8_t *bytes = simio_bytes(disk, path, &n);
    uint8_t *copy = malloc(n), *tail = copy + n - SEGMENT_TRAILER_BYTES;
    uint32_t seed = wal_seed(get_u64le(bytes + 64));
    uint64_t filter, keys;

    memcpy(copy, bytes, n);
    copy[pos] ^= by;
    filter = get_u64le(tail + 32);
    keys = get_u64le(tail + 40);
    put_u32le(tail + 100, crc32c(seed, copy + filter, (size_t)(keys - filter)));
    put_u32le(tail + 124, crc32c(seed, tail, 124));
    simio_put(disk, path, copy, n);
    free(copy);
}

static void verify_finds_what_checksums_do_not_show(void **state)
{
    char path[64];
    size_t n;

    (void)state;
    segments_path(1, path);
    for (int what = 0; what < 2; what++) {
        struct simio *disk = segments_disk(1);
        struct entries l = { 0 };
        struct segment *s;
        struct err e = { 0 };
        const uint8_t *bytes;
        uint64_t filter;

        make_small(disk, &l, true);
        bytes = simio_bytes(disk, path, &n);
        filter = get_u64le(bytes + n - SEGMENT_TRAILER_BYTES + 32);
        while (what == 1 && bytes[filter] == 0)
            filter++;
        change_unseen(disk, path, what == 0 ? n - SEGMENT_TRAILER_BYTES + 88 : (size_t)filter,
                      what == 0 ? 1 : bytes[filter]);
        s = segments_open(disk, 1);
        assert_int_equal(segment_verify(s, NULL, NULL, &e), ERR_CORRUPT);
        assert_non_null(strstr(e.text, what == 0 ? "highest time" : "the filter does not have"));
        segment_unref(s);
        entries_fini(&l);
        simio_free(disk);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_read_back_and_no_others),
        cmocka_unit_test(what_is_put_is_read),
        cmocka_unit_test(a_segment_without_entries_opens_and_has_nothing),
        cmocka_unit_test(a_stream_of_more_than_half_a_block_ends_its_block),
        cmocka_unit_test(copied_blocks_are_read_as_they_were),
        cmocka_unit_test(the_filter_is_right_when_it_says_no_and_rarely_wrong_otherwise),
        cmocka_unit_test(opening_does_not_read_the_data),
        cmocka_unit_test(a_write_that_fails_leaves_no_file),
        cmocka_unit_test(a_flipped_bit_is_refused_wherever_it_is),
        cmocka_unit_test(a_file_of_another_length_is_refused),
        cmocka_unit_test(what_is_not_the_segment_asked_for_is_refused),
        cmocka_unit_test(verify_finds_what_checksums_do_not_show),
        cmocka_unit_test(verify_names_each_damaged_block_and_the_others_stay_readable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
